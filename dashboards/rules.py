"""The rules as files for Prometheus, and the runbooks that derive from the same tables.

python -m dashboards.rules    write the templates in the package, dashboards/rules/ and docs/runbooks/

`streamwatch dashboards` writes them with other labels, addresses and another objective.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import yaml

from dashboards import alerts, inhibitions, records, runbooks, waiting_rules
from dashboards.alerts import Alert
from dashboards.records import INTERVAL, Options, Record
from streamwatch.cli.dashboards import filling

FOLDER = Path(__file__).parent / "rules"


@dataclass(frozen=True)
class Group:
    """A group of rules that are evaluated one after the other, every `interval` minutes."""

    name: str
    interval: float
    rules: tuple[Record | Alert, ...]


def files(options: Options) -> dict[str, tuple[Group, ...]]:
    """Return every rule, by the file and the group in which it stands."""
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
    """A dumper that writes no reference to something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

_HEADER = "# Written by Streamwatch; do not edit. Prometheus 2.42 or later.\n"

_REMARKS = {
    "streamwatch-records-of-days.yml": "# Hours and days of other records are summed up: a minute is nothing.\n"
    "# pint file/disable rule/dependency\n"
}


#: The variables of the dashboards, by the label that each filters.
_VARIABLES = {
    "gen_ai_request_model": "model",
    "gen_ai_response_model": "snapshot",
    "server_address": "server",
    "streamwatch_anomaly": "kind",
}


def _dashboard(alert: Alert, options: Options) -> str:
    """Return the dashboard of an alert, with what is wrong selected in it."""
    variables = {label: label for label in options.keep}
    variables |= {label: _VARIABLES[label] for label in alert.labels if label in _VARIABLES}
    chosen = "&".join(f"var-{name}={{{{ urlquery $labels.{label} }}}}" for label, name in variables.items())
    return f"{filling.GRAFANA}/d/{alert.dashboard}" + (f"?{chosen}" if chosen else "")


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
            "runbook_url": f"{filling.RUNBOOKS}/{rule.name}{filling.PAGE}",
            "dashboard_url": _dashboard(rule, options),
        },
    }


def render(options: Options | None = None) -> dict[str, str]:
    """Return the template of every rule file, by its name."""
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


def filled(options: Options, site: filling.Site | None = None) -> dict[str, str]:
    """Return the text of every rule file as Prometheus reads it."""
    return {name: filling.rules(text, site or filling.Site()) for name, text in render(options).items()}


def write(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write the files that differ, and return them; what else is in the folder may be somebody else's, and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    stale = {folder / name: text for name, text in texts.items() if _written(folder / name) != text}
    for path, text in stale.items():
        path.write_text(text, "utf-8")
    return list(stale)


def _written(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def main() -> None:
    """Write the rules, and the runbooks that derive from the same tables; name the files that changed."""
    written = [
        *write(filling.TEMPLATES, render()),
        *write(FOLDER, filled(Options())),
        *write(filling.TEMPLATES, {"inhibit_rules.yaml": inhibitions.rendered()}),
        *write(inhibitions.FILE.parent, {inhibitions.FILE.name: inhibitions.configuration()}),
        *write(runbooks.FOLDER / "kinds", runbooks.render()),
        *write(runbooks.FOLDER, {**runbooks.filled(), "README.md": runbooks.index()}),
    ]
    for path in written:
        sys.stdout.write(f"{path.relative_to(FOLDER.parents[1])} written\n")


if __name__ == "__main__":
    main()
