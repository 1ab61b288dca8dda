"""The frame around the panels: variables, annotations, links and defaults, the same in every dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as d

from dashboards.names import VARIABLES, metric
from dashboards.panels import AMBER, BLUE, DATA_SOURCE, GREEN, VERMILION, Panel
from dashboards.promql import alerts, recorded
from dashboards.records import RELEASES
from streamwatch.export.instruments import ANOMALIES, BUILD, STREAMS

TAG = "streamwatch"
_HEADERS = {
    "job": "Job",
    "instance": "Instance",
    "model": "Model",
    "snapshot": "Snapshot",
    "sdk": "SDK version",
    "server": "Server",
    "kind": "Kind",
}
#: What is new was not there so long before; annotations are looked for at such steps.
_BEFORE, _STEP = "10m", "600s"
#: How far back "before" lies, for panels that compare: the deployment just now, today's, last week's.
_COMPARE = ("15m", "1h", "6h", "1d", "7d")
#: What a point of a fix rate is of: steps of a graph hold too few cases to say anything.
_POOLED = ("15m", "1h", "6h", "1d")


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it; the first row has none: it is the answer."""

    title: str
    panels: Sequence[Panel]


def build(
    name: str,
    uid: str,
    description: str,
    rows: Sequence[Row],
    *,
    compares: bool = False,
    of_processes: bool = False,
) -> d.Dashboard:
    """Return a whole dashboard; panels are numbered in order, so that links to one of them stay right.

    Records know no instance: only a dashboard of processes can choose one.
    """
    without = () if of_processes else ("instance",)
    board = (
        dashboard.Dashboard(f"Streamwatch / {name}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(d.DashboardCursorSync.CROSSHAIR)
        .variables(_variables(without, compares=compares))
        .annotations(_annotations(without))
        .link(_other_dashboards())
    )
    number = 0
    for row in rows:
        if row.title:
            number += 1
            board = board.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            board = board.with_panel(panel.id(number))
    return board.build()


def _other_dashboards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Streamwatch")
        .type(d.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _variables(without: tuple[str, ...], *, compares: bool) -> list[Any]:
    found = [dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")]
    found += [_label_variable(name, without) for name in VARIABLES if name not in without]
    if compares:
        found += [
            _duration("before", "Compare with", _COMPARE, "1d"),
            _duration("window", "Points of the last", _POOLED, "1h"),
        ]
    return found


def _duration(name: str, label: str, values: Sequence[str], default: str) -> dashboard.CustomVariable:
    options = [d.VariableOption(text=value, value=value, selected=value == default) for value in values]
    variable = dashboard.CustomVariable(name).label(label).values(",".join(values)).options(options)
    return variable.current(options[values.index(default)])


def _label_variable(name: str, without: tuple[str, ...]) -> dashboard.QueryVariable:
    row = ANOMALIES if name == "kind" else STREAMS
    chosen = {"job": (), "instance": ("job",)}.get(name, ("job", "instance"))
    filters = ",".join(f'{VARIABLES[other]}=~"${other}"' for other in chosen if other not in without)
    series = metric(row) + (f"{{{filters}}}" if filters else "")
    query = f"label_values({series}, {VARIABLES[name]})"
    everything = d.VariableOption(text="All", value="$__all", selected=True)
    return (
        dashboard.QueryVariable(name)
        .label(_HEADERS[name])
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .multi(multi=True)
        .include_all(include_all=True)
        # A stream that never said its model has no such label, and `.+` would hide the worst streams.
        .all_value(".+" if name in ("job", "instance") else ".*")
        .current(everything)
        .refresh(d.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(d.VariableSort.ALPHABETICAL_ASC)
    )


def _annotations(without: tuple[str, ...]) -> list[dashboard.AnnotationQuery]:
    series = recorded(RELEASES)
    chosen = ",".join(f'{name}=~"${name}"' for name in ("job", "instance") if name not in without)
    built = f"{metric(BUILD)}{{{chosen}}}"
    return [
        _annotation("Alerts firing", alerts("firing"), "{{alertname}}", VERMILION),
        _annotation("New model snapshot", _new(series, VARIABLES["snapshot"]), "{{gen_ai_response_model}}", BLUE),
        _annotation("New SDK version", _new(series, VARIABLES["sdk"]), "openai {{streamwatch_openai_version}}", GREEN),
        _annotation("New Streamwatch version", _new(built, "version"), "Streamwatch {{version}}", AMBER),
    ]


def _new(series: str, label: str) -> str:
    return f"count by ({label}) ({series}) unless count by ({label}) ({series} offset {_BEFORE})"


def _annotation(name: str, expression: str, title: str, color: str) -> dashboard.AnnotationQuery:
    target = prometheus.Dataquery().expr(expression).ref_id("Anno").datasource(DATA_SOURCE).range()
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(DATA_SOURCE)
        .enable(enable=True)
        .icon_color(color)
        .expr(expression)
        .step(_STEP)
        .title_format(name)
        .text_format(title)
        .target(target)
    )
