"""Dashboards and rules out of their templates: with a site's labels, addresses, data source and objective.

A template is what the tables give for the label `job`, with marks where addresses belong. What is put into it is text,
so that the jsonnet mixin beside the templates can do the same. A link whose address is not known is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).with_name("templates")

#: What stands in a template: before the name of a runbook, behind it, and before the path of a dashboard.
RUNBOOKS, PAGE, GRAFANA = "<runbooks>", "<page>", "<grafana>"
#: The label that the templates have, and the objective.
LABEL, OBJECTIVE = "job", 0.99
#: Where Grafana is to find the dashboards.
FOLDER = "/var/lib/grafana/dashboards/streamwatch"


@dataclass(frozen=True)
class Site:
    """The differences between one installation and another.

    `labels` distinguish services. `repository` is the address of a repository that holds the runbooks, `pages` that of
    the built documentation, `grafana` that of Grafana; `datasource` the uid of the Prometheus that is chosen at first.
    """

    labels: tuple[str, ...] = (LABEL,)
    repository: str = ""
    pages: str = ""
    grafana: str = ""
    datasource: str = ""
    objective: float = OBJECTIVE
    folder: str = FOLDER

    def addresses(self) -> tuple[str, str]:
        """Return what stands before and behind the name of a runbook; nothing where no address is known."""
        if self.pages:
            return f"{self.pages.rstrip('/')}/docs/runbooks", ".html"
        if self.repository:
            return f"{self.repository.rstrip('/')}/blob/main/docs/runbooks", ".md"
        return "", ""


def files(site: Site) -> dict[str, str]:
    """Return the text of every file, by its path."""
    found = {f"dashboards/{path.name}": board(path.read_text("utf-8"), site) for path in templates("json")}
    found |= {f"rules/{path.name}": rules(path.read_text("utf-8"), site) for path in templates("yml")}
    found["provisioning/dashboards/streamwatch.yaml"] = _provisioning(site)
    found["alertmanager/inhibit_rules.yaml"] = _inhibitions(site)
    found |= {f"mixin/{path.name}": path.read_text("utf-8") for path in templates("*") if path.suffix != ".yaml"}
    found["mixin/config.libsonnet"] = _config(site)
    found["mixin/mixin.libsonnet"] = _mixin()
    return found


def templates(suffix: str) -> list[Path]:
    """Return the templates of a kind."""
    return sorted(TEMPLATES.glob(f"*.{suffix}"))


def board(template: str, site: Site) -> str:
    """Return a dashboard as Grafana imports it."""
    model = json.loads(_filled(template, site, '\\"'))
    variables = model["templating"]["list"]
    if site.datasource:
        variables[0]["current"] = {"text": site.datasource, "value": site.datasource}
    model["templating"]["list"] = [one for each in variables for one in _of_labels(each, site)]
    return json.dumps(_without_dead_links(model), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def rules(template: str, site: Site) -> str:
    """Return a rule file as Prometheus reads it."""
    lines = _filled(template, site, '"').splitlines(keepends=True)
    return "".join(line for line in lines if not _is_dead(line))


# --- what is put in


def _filled(template: str, site: Site, quote: str) -> str:
    for old, new in _replacements(site, quote):
        template = template.replace(old, new)
    return template


def _replacements(site: Site, quote: str) -> Iterator[tuple[str, str]]:
    """Return what is replaced, in this order; `quote` is how a quotation mark is written."""
    listed = ", ".join(site.labels)
    for before in ("by (", "on ("):
        yield f"{before}{LABEL}", f"{before}{listed}"
    for end in ("", "|"):
        yield f"{LABEL}=~{quote}$job{end}{quote}", ",".join(f"{one}=~{quote}${one}{end}{quote}" for one in site.labels)
    for form, between in (
        ("{{{{ $labels.{} }}}}", " "),
        ("{{{{{}}}}}", " "),
        ("var-{0}={{{{ urlquery $labels.{0} }}}}", "&"),
    ):
        yield form.format(LABEL), between.join(form.format(one) for one in site.labels)
    yield f"(1 - {OBJECTIVE:g})", f"(1 - {site.objective:g})"
    yield f"objective is {OBJECTIVE * 100:g}%", f"objective is {site.objective * 100:g}%"
    runbooks, page = site.addresses()
    if runbooks:
        yield RUNBOOKS, runbooks
        yield PAGE, page
    if site.grafana:
        yield GRAFANA, site.grafana.rstrip("/")


def _of_labels(variable: dict[str, Any], site: Site) -> list[dict[str, Any]]:
    """Return a variable; that of the job once for each label."""
    if variable["name"] != LABEL:
        return [variable]
    text = json.dumps(variable)
    return [
        {**json.loads(re.sub(rf"\b{LABEL}\b", label, text)), "label": "Job" if label == LABEL else label}
        for label in site.labels
    ]


def _is_dead(text: str) -> bool:
    return RUNBOOKS in text or GRAFANA in text


def _without_dead_links(value: Any) -> Any:
    """Return a model without the links whose address is not known."""
    if isinstance(value, list):
        return [_without_dead_links(one) for one in value if not (isinstance(one, dict) and _is_dead(_url(one)))]
    if isinstance(value, dict):
        return {key: _without_dead_links(one) for key, one in value.items()}
    return value


def _url(value: dict[str, Any]) -> str:
    return str(value.get("url", ""))


def _provisioning(site: Site) -> str:
    return (TEMPLATES / "streamwatch.yaml").read_text("utf-8").replace(FOLDER, site.folder)


def _inhibitions(site: Site) -> str:
    template = (TEMPLATES / "inhibit_rules.yaml").read_text("utf-8")
    return template.replace(f"equal: [{LABEL}", f"equal: [{', '.join(site.labels)}")


def _mixin() -> str:
    """Return the mixin with a line for each dashboard: jsonnet imports only what is named in its text."""
    lines = (f"    '{path.name}': board(importstr '{path.name}'),\n" for path in templates("json"))
    return (TEMPLATES / "mixin.libsonnet").read_text("utf-8").replace("    // <boards>\n", "".join(lines))


def _config(site: Site) -> str:
    """Return the mixin's configuration, with what is known of the site."""
    runbooks, page = site.addresses()
    known = {
        "labels": json.dumps([*site.labels]),
        "runbooks": json.dumps(runbooks),
        "page": json.dumps(page),
        "grafana": json.dumps(site.grafana.rstrip("/")),
        "datasource": json.dumps(site.datasource),
        "objective": f"{site.objective:g}",
    }
    text = (TEMPLATES / "config.libsonnet").read_text("utf-8")
    for name, value in known.items():
        written = value.replace("\\", r"\\")
        text = re.sub(rf"(?m)^(    {name}: ).*,$", rf"\g<1>{written},", text)
    return text
