"""`streamwatch dashboards`: dashboards, rules, provisioning and a mixin, written for a site or compared with it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import click

from streamwatch.cli.common.scraping import NoAnswerError
from streamwatch.cli.dashboards import deployed
from streamwatch.cli.dashboards.filling import FOLDER, LABEL, OBJECTIVE, Site, files


def _labels(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    wrong = [name for name in names if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name)]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not the name of a label")
    return names


def _address(context: click.Context, parameter: click.Parameter, text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s\"'<>]+", text):
        raise click.BadParameter(f"{text!r} is not an address such as https://grafana.internal")
    return text.rstrip("/")


@click.command()
@click.option("--output", metavar="FOLDER", type=click.Path(path_type=Path), default="streamwatch-dashboards",
              show_default=True, help="Write the files here.")  # fmt: skip
@click.option("--labels", metavar="NAMES", default=LABEL, show_default=True, callback=_labels,
              help="Distinguish services by these labels, such as job,namespace,cluster,team.")  # fmt: skip
@click.option("--repository", metavar="URL", default="", callback=_address,
              help="Link to the runbooks in this repository, such as https://HOST/OWNER/NAME.")  # fmt: skip
@click.option("--pages", metavar="URL", default="", callback=_address,
              help="Link to the runbooks of the documentation that is served here.")  # fmt: skip
@click.option("--grafana", metavar="URL", default="", callback=_address,
              help="Link from alerts to the dashboards of this Grafana.")  # fmt: skip
@click.option("--datasource", metavar="UID", default="", help="Choose this Prometheus at first.")
@click.option("--objective", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=OBJECTIVE,
              show_default=True, help="Set the share of streams that must end usable.")  # fmt: skip
@click.option("--folder", metavar="PATH", default=FOLDER, show_default=True,
              help="Let Grafana read the dashboards from this folder of its own machine.")  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; print what differs from the files in the folder.")
@click.option("--prometheus", metavar="URL", default="", callback=_address,
              help="With --check: compare with the rules that this Prometheus has loaded, not with files.")  # fmt: skip
def dashboards(output: Path, check: bool, prometheus: str, **given: Any) -> None:  # noqa: FBT001 -- click passes it by name
    """Write the Grafana dashboards, the Prometheus rules and a jsonnet mixin for your site.

    A link is left out where its address is not given. With --check the exit code is 1 if something differs.

    \b
    streamwatch dashboards --labels job,namespace --grafana https://grafana.internal --repository https://git.internal/me/sw
    streamwatch dashboards --labels job,namespace --check
    streamwatch dashboards --labels job,namespace --check --prometheus http://localhost:9090
    """  # noqa: D301 -- click keeps the lines after this character as they are
    wanted = files(Site(**given))
    if prometheus and not check:
        raise click.UsageError("--prometheus is for --check: this command writes files, and loads none")
    if check:
        differences = _differences(output, wanted, prometheus)
        click.echo("".join(differences), nl=False)
        if differences:
            click.get_current_context().exit(1)
        return
    for name, text in wanted.items():
        path = output / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise click.UsageError(f"{path} cannot be written: {error.strerror}") from error
        click.echo(str(path))


def _differences(output: Path, wanted: dict[str, str], prometheus: str) -> list[str]:
    """Return what differs from the files in a folder, or from the rules that a Prometheus has loaded."""
    if not prometheus:
        return [line for name, text in wanted.items() for line in _difference(output / name, name, text)]
    try:
        return deployed.differences(prometheus, [text for name, text in wanted.items() if name.startswith("rules/")])
    except NoAnswerError as error:
        raise click.UsageError(f"{prometheus}: {error}") from error


def _difference(path: Path, name: str, wanted: str) -> list[str]:
    """Return what a file lacks, and has too much, as lines of a diff."""
    try:
        there = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        there = ""
    before, after = there.splitlines(keepends=True), wanted.splitlines(keepends=True)
    return [*difflib.unified_diff(before, after, f"{path}", f"streamwatch/{name}")]
