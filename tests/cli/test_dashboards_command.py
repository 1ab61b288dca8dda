"""`streamwatch dashboards`: what it writes fits the site, and is what the tables would give for it."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from apps import pipeline
from helpers.ports import free_port
from streamwatch.cli import main
from streamwatch.cli.dashboards import command, filling
from streamwatch.cli.dashboards.filling import Site

ROOT = Path(__file__).parents[2]
TEAMS = ("job", "namespace", "cluster", "team")
LABELS = [("job",), TEAMS, ("namespace", "service")]
FULL = Site(TEAMS, "https://git.internal/me/streamwatch", "", "https://grafana.internal/g", "prom-1", 0.999)

each_labels = pytest.mark.parametrize("labels", LABELS, ids="-".join)


@functools.cache
def files(site: Site) -> dict[str, str]:
    """The files for a site, of which several tests ask something."""
    return filling.files(site)


def boards(site: Site) -> dict[str, Any]:
    """The dashboards for a site."""
    return {name: json.loads(text) for name, text in files(site).items() if name.startswith("dashboards/")}


def rule_files(site: Site) -> dict[str, str]:
    """The rule files for a site."""
    return {name: text for name, text in files(site).items() if name.startswith("rules/")}


def expressions(board: dict[str, Any]) -> list[str]:
    """Everything that a dashboard asks."""
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    asked += [annotation["expr"] for annotation in board["annotations"]["list"]]
    return asked + [one["definition"] for one in board["templating"]["list"] if "definition" in one]


# --- labels


@pytest.mark.slow
@each_labels
def test_rules_with_other_labels_are_what_the_tables_give(labels: tuple[str, ...]) -> None:
    """To the byte: what is put into a template is what the generator would have written."""
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    from dashboards import rules
    from dashboards.records import Options

    site = Site(labels, objective=0.999)
    generated = rules.filled(Options(keep=labels, objective=0.999))

    assert rule_files(site) == {f"rules/{name}": text for name, text in generated.items()}


@pytest.mark.slow
@each_labels
def test_labels_reach_every_query_variable_and_link(labels: tuple[str, ...]) -> None:
    """Wherever a job would be told apart, all labels are; no job is left where it is none of them."""
    for board in boards(Site(labels)).values():
        names = [one["name"] for one in board["templating"]["list"]]
        assert [name for name in names if name in TEAMS or name in labels] == [*labels]
        for expression in expressions(board):
            for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
                listed = group.split(", ")
                assert {*labels} <= {*listed} or not {*labels, "job"} & {*listed}, expression
            for matchers in re.findall(r"\{([^}]*)\}", expression):
                chosen = [label for label in labels if f'{label}=~"${label}' in matchers]
                assert chosen in ([], [*labels]), expression
        if "job" not in labels:
            assert not re.search(r"\bjob\b(?!_|:)", json.dumps([*expressions(board), board["templating"]]))
    alerts = rule_files(Site(labels, grafana="https://g.test"))["rules/streamwatch-alerts.yml"]
    for url in re.findall("dashboard_url: (.*)", alerts):
        assert all(f"var-{label}={{{{ urlquery $labels.{label} }}}}" in url for label in labels)
    assert all(
        f"{{{{ $labels.{label} }}}}" in said for said in re.findall("description: (.*)", alerts) for label in labels
    )


# --- addresses


def test_a_link_without_an_address_is_left_out() -> None:
    """Nothing leads to a mark, or to a domain of nobody's; what a dashboard of Grafana links to itself stays."""
    for name, text in files(Site()).items():
        if not name.startswith("mixin/"):
            assert not re.search(r"<(runbooks|page|grafana)>|\.example|runbook_url|dashboard_url", text), name
    for board in boards(Site()).values():
        assert not [link for panel in board["panels"] for link in panel.get("links", ())]
        assert ["streamwatch"] == board["links"][0]["tags"]


def linked(site: Site) -> set[str]:
    """The addresses in all dashboards and alerts."""
    urls = set(re.findall(r'"url": "(http[^"]*)"', "".join(map(json.dumps, boards(site).values()))))
    return urls | set(re.findall(r"_url: (\S+)", "".join(rule_files(site).values())))


@pytest.mark.slow
def test_links_lead_to_pages_of_the_repository() -> None:
    """Each runbook is a file there; each dashboard one of ours."""
    urls = linked(FULL)
    pages = {
        url.removeprefix("https://git.internal/me/streamwatch/blob/main/") for url in urls if "git.internal" in url
    }
    assert pages
    for page in pages:
        any_of = page.replace("${__value.raw}", "*")
        assert list(ROOT.glob(any_of)), page
    ids = {board["uid"] for board in boards(FULL).values()}
    assert {url.partition("/g/d/")[2].partition("?")[0] for url in urls if "grafana.internal" in url} <= ids
    assert not [url for url in urls if "<" in url]


def test_links_lead_to_pages_of_the_site() -> None:
    """As Sphinx builds them: the same path, `.html`."""
    site = Site(pages="https://docs.internal/sw/")
    pages = set(linked(site))
    assert pages
    for page in pages:
        path = page.removeprefix("https://docs.internal/sw/").replace("${__value.raw}", "*")
        assert path.endswith(".html")
        assert list(ROOT.glob(path.removesuffix("html") + "md")), page


def test_the_data_source_and_the_objective_are_chosen() -> None:
    """The variable's first value, and the budget of the alert."""
    for board in boards(FULL).values():
        assert {"text": "prom-1", "value": "prom-1"} == board["templating"]["list"][0]["current"]
    alerts = rule_files(FULL)["rules/streamwatch-alerts.yml"]
    assert alerts.count("(1 - 0.999)") == 8
    assert "0.99)" not in alerts
    assert alerts.count("the objective is 99.9%") == 2


# --- the files


def test_what_is_committed_is_a_site_of_which_nothing_is_known() -> None:
    """The files that README.md has people import, and the ones of the package, are the same."""
    for name, text in files(Site()).items():
        folder, _, rest = name.partition("/")
        place = {
            "dashboards": "dashboards/json",
            "rules": "dashboards/rules",
            "provisioning": "dashboards/provisioning",
        }
        if folder in place:
            assert (ROOT / place[folder] / rest).read_text("utf-8") == text, name


def written(*arguments: object) -> Any:
    """What the command says."""
    return CliRunner().invoke(main, ["dashboards", *map(str, arguments)])


def test_what_was_written_is_found_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a check afterwards says nothing; with other options, or after an edit, it prints the difference."""
    monkeypatch.setattr(command, "files", files)
    options = ("--output", tmp_path / "to", "--labels", "job,namespace", "--grafana", "https://grafana.internal/")
    first = written(*options)
    site = Site(("job", "namespace"), grafana="https://grafana.internal")
    assert (0, {str(tmp_path / "to" / name) for name in files(site)}) == (first.exit_code, {*first.stdout.split()})
    assert all((tmp_path / "to" / name).read_text("utf-8") == text for name, text in files(site).items())

    assert (0, "") == ((same := written(*options, "--check")).exit_code, same.output)

    other = written("--output", tmp_path / "to", "--check")
    assert 1 == other.exit_code
    assert "-        sum by (job, namespace" in other.output

    alerts = tmp_path / "to" / "rules" / "streamwatch-alerts.yml"
    alerts.write_text(alerts.read_text("utf-8").replace("severity: critical", "severity: page", 1), "utf-8")
    (tmp_path / "to" / "dashboards" / "streamwatch-agent.json").unlink()
    edited = written(*options, "--check")
    assert 1 == edited.exit_code
    assert "-      severity: page\n+      severity: critical\n" in edited.stdout
    assert "streamwatch/dashboards/streamwatch-agent.json" in edited.stdout
    assert "severity: page" in alerts.read_text("utf-8"), "a check writes nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--labels", "job,name-space"), "'name-space' is not the name of a label"),
        (("--labels", ""), "'' is not the name of a label"),
        (("--grafana", "grafana.internal"), "is not an address"),
        (("--repository", 'https://x"y'), "is not an address"),
        (("--objective", "1"), "0<x<1"),
        (("--output", "/dev/null/x"), "cannot be written"),
    ],
)
def test_what_it_cannot_use_is_said(arguments: tuple[str, str], said: str, tmp_path: Path) -> None:
    """With exit code 2, and nothing is written."""
    ran = written("--output", tmp_path / "to", *arguments)
    assert 2 == ran.exit_code
    assert said in ran.stderr
    assert not (tmp_path / "to").exists()


def test_the_provisioning_names_the_folder(tmp_path: Path) -> None:
    """Where Grafana reads the dashboards on its own machine."""
    site = Site(folder="/srv/boards")
    assert "path: /srv/boards\n" in files(site)["provisioning/dashboards/streamwatch.yaml"]


# --- the mixin


@pytest.mark.slow
@pytest.mark.parametrize(
    "site",
    [Site(), FULL, Site(("namespace", "service"), pages="https://docs.internal")],
    ids=["plain", "full", "pages"],
)
def test_the_mixin_gives_the_same(site: Site, tmp_path: Path) -> None:
    """Evaluated by jsonnet itself: dashboards, records and alerts are those of the files."""
    document = pytest.importorskip("helpers.documents").document
    jsonnet = shutil.which("jsonnet")
    if not jsonnet:
        pytest.skip("jsonnet is not installed")
    for name, text in files(site).items():
        if name.startswith("mixin/"):
            (tmp_path / Path(name).name).write_text(text, "utf-8")
    shown = (
        "local m = import 'mixin.libsonnet'; {[name]: m[name] for name in std.objectFieldsAll(m) if name != '_config'}"
    )
    ran = subprocess.run([jsonnet, "-e", shown], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stderr
    mixin = json.loads(ran.stdout)

    assert {f"dashboards/{name}": one for name, one in mixin["grafanaDashboards"].items()} == boards(site)
    groups = {name: document(text)["groups"] for name, text in rule_files(site).items()}
    assert mixin["prometheusAlerts"]["groups"] == groups.pop("rules/streamwatch-alerts.yml")
    assert sorted(mixin["prometheusRules"]["groups"], key=str) == sorted(itertools.chain(*groups.values()), key=str)


# --- Prometheus


@pytest.mark.quick_cases(1)
@each_labels
def test_promtool_finds_nothing_to_complain_of(labels: tuple[str, ...], tmp_path: Path) -> None:
    """With every lint it has."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed: it comes with Prometheus")
    assert 0 == written("--output", tmp_path, "--labels", ",".join(labels), "--objective", "0.995").exit_code
    paths = [str(path) for path in sorted((tmp_path / "rules").iterdir())]
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stdout + ran.stderr


PROGRAMS = pipeline.prometheus_programs()


@pytest.mark.e2e
@pytest.mark.parametrize("major", PROGRAMS)
def test_what_a_prometheus_has_loaded_is_compared_query_by_query(major: str, tmp_path: Path) -> None:
    """Whatever its own way of writing a query; a rule that is missing, changed or left over is named."""
    options = ("--labels", "job,team", "--objective", "0.995")
    assert 0 == written("--output", tmp_path, *options).exit_code
    records = tmp_path / "rules" / "streamwatch-records.yml"
    (tmp_path / "prometheus.yml").write_text('rule_files: ["rules/*.yml"]', "utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [PROGRAMS[major], f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    flags = [f"--web.listen-address={address}", "--web.enable-lifecycle"]
    with subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL) as program:
        try:
            pipeline.wait(lambda: "Ready" in pipeline.get(f"http://{address}/-/ready"), 30, "Prometheus")
            check = ("--check", "--prometheus", f"http://{address}/")
            same, other = written(*options, *check), written(*check)
            text = records.read_text("utf-8").replace(
                "  - record: job:streamwatch_processes:count\n", "  - record: job:mine:count\n"
            )
            records.write_text(text.replace("> 0", "> 7"), "utf-8")
            urllib.request.urlopen(
                urllib.request.Request(f"http://{address}/-/reload", method="POST"), timeout=10
            ).close()
            edited = written(*options, *check)
        finally:
            program.terminate()
    assert (0, "") == (same.exit_code, same.output)
    assert 1 == other.exit_code
    assert other.output.count("another query is loaded") > 50
    assert 1 == edited.exit_code
    said = edited.output.replace(f"http://{address}: ", "")
    assert "- streamwatch-records, job:mine:count: not of this release\n" in said
    assert "+ streamwatch-records, job:streamwatch_processes:count: not loaded\n" in said
    assert "! streamwatch-records, job:streamwatch_broken_per_stream:ratio5m: another query is loaded\n" in said


@pytest.mark.parametrize("arguments", [("--check",), ()])
def test_a_prometheus_that_is_none_is_said(arguments: tuple[str, ...]) -> None:
    """Nobody listens; or nothing was to be checked."""
    ran = written("--prometheus", f"http://127.0.0.1:{free_port()}", *arguments)
    assert 2 == ran.exit_code
    assert ("127.0.0.1" if arguments else "--prometheus is for --check") in ran.stderr
