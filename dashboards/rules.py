"""The rules as files for Prometheus, and the runbooks that derive from the same tables.

python -m dashboards.rules           write dashboards/rules/ and docs/runbooks/
python -m dashboards.rules --help    other addresses, another objective, other labels to keep
"""

from __future__ import annotations

import argparse
import re
import textwrap
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import yaml

from dashboards import alerts, records, runbooks, waiting_rules
from dashboards.alerts import Alert
from dashboards.records import GRAFANA, INTERVAL, OBJECTIVE, REPOSITORY, Options, Record

FOLDER = Path(__file__).parent / "rules"


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated one after the other, every `interval` minutes."""

    name: str
    interval: float
    rules: tuple[Record | Alert, ...]


def files(options: Options) -> dict[str, tuple[Group, ...]]:
    """Every rule, by the file and the group in which it stands."""
    minutes = (*records.short(options), *waiting_rules.records_of_minutes(options))
    days = (*records.long(options), *waiting_rules.records_of_days(options))
    told = (*alerts.alerts(options), *waiting_rules.alerts(options))
    return {
        "streamwatch-records.yml": (Group("streamwatch-records", INTERVAL, minutes),),
        "streamwatch-records-of-days.yml": (Group("streamwatch-records-of-days", 5 * INTERVAL, days),),
        "streamwatch-alerts.yml": (Group("streamwatch-alerts", INTERVAL, told),),
    }


# --- as YAML


class _Dumper(yaml.SafeDumper):
    """Nothing is said by reference to something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

_HEADER = "# Written by `python -m dashboards.rules`; do not edit. Prometheus 2.42 or later.\n"

_REMARKS = {
    "streamwatch-records-of-days.yml": "# Hours and days of other records are summed up: a minute is nothing.\n"
    "# pint file/disable rule/dependency\n"
}


#: The variables of the dashboards, by the label that each filters.
_VARIABLES = {
    "job": "job",
    "gen_ai_request_model": "model",
    "gen_ai_response_model": "snapshot",
    "server_address": "server",
    "streamwatch_anomaly": "kind",
}


def _dashboard(alert: Alert, options: Options) -> str:
    """The dashboard of an alert, with what is wrong selected in it."""
    labels = [label for label in (*options.keep, *alert.labels) if label in _VARIABLES]
    chosen = "&".join(f"var-{_VARIABLES[label]}={{{{ urlquery $labels.{label} }}}}" for label in labels)
    return f"{options.grafana}/d/{alert.dashboard}" + (f"?{chosen}" if chosen else "")


def _rule(rule: Record | Alert, options: Options) -> dict[str, Any]:
    expr = textwrap.dedent(rule.expr).strip("\n")
    if isinstance(rule, Record):
        return {"record": rule.name, "expr": expr, **({"labels": rule.labels} if rule.labels else {})}
    waits = (("for", rule.wait), ("keep_firing_for", rule.hold))
    return {
        "alert": rule.name,
        "expr": expr,
        **{name: options.time(minutes) for name, minutes in waits if minutes},
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{options.repository}/blob/main/docs/runbooks/{rule.name}.md",
            "dashboard_url": _dashboard(rule, options),
        },
    }


def render(options: Options | None = None) -> dict[str, str]:
    """The text of every rule file, by its name."""
    options = options or Options()
    rendered = {}
    for name, groups in files(options).items():
        document = {
            "groups": [
                {
                    "name": group.name,
                    "interval": options.time(group.interval),
                    "rules": [_rule(rule, options) for rule in group.rules],
                }
                for group in groups
            ]
        }
        text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=inf, allow_unicode=True)
        rendered[name] = _HEADER + _REMARKS.get(name, "") + text
    return rendered


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write the files; what else is in the folder may be somebody else's, and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")


def _labels(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    if not names or not all(re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} names no labels")
    return names


def main() -> None:
    """Write the rules, and the runbooks that derive from the same tables."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.rules", description="Write the Prometheus rules.")
    parser.add_argument("--repository", default=REPOSITORY, help=f"where the runbooks are (default: {REPOSITORY})")
    parser.add_argument("--grafana", default=GRAFANA, help=f"where the dashboards are (default: {GRAFANA})")
    parser.add_argument("--objective", type=float, default=OBJECTIVE, help="share of streams that must end usable")
    parser.add_argument("--keep", type=_labels, default=("job",), help="labels that tell services apart: job,namespace")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the rule files")
    given = parser.parse_args()
    options = Options(given.repository, given.grafana, given.keep, given.objective)
    write(given.output, render(options))
    if given.output == FOLDER:
        write(runbooks.FOLDER / "kinds", runbooks.render())
        write(runbooks.FOLDER, runbooks.filled(options))


if __name__ == "__main__":
    main()
