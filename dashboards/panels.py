"""The common look of all panels: colors, units, legends, links, and what is shown where nothing is.

A panel is built from queries and a description that says what to do; everything else has one look here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as m
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import prometheus as p
from grafana_foundation_sdk.models import units

from dashboards import records
from dashboards.names import metric
from streamwatch.cli.dashboards.filling import PAGE, RUNBOOKS
from streamwatch.core.vocabulary import ChunkType, Condition, Outcome, Severity, Verdict
from streamwatch.export.instruments import ANOMALIES, REORDER_DELAY, REORDER_DISTANCE

DATA_SOURCE = m.DataSourceRef(type_val="prometheus", uid="${datasource}")
#: Said by a panel that has nothing to show: a new installation is not an error, and neither is a healthy one.
NO_STREAMS, NOTHING_FOUND = "no streams yet", "nothing found yet"
_FINDINGS = (
    *(metric(row) for row in (ANOMALIES, REORDER_DISTANCE, REORDER_DELAY)),
    *map(
        records.total_of,
        (records.CASES, records.ANOMALIES, records.OF_JOBS[records.CASES][0], records.OF_JOBS[records.ANOMALIES][0]),
    ),
)

GREEN, BLUE, VERMILION, AMBER, MAGENTA, GRAY = "#1D8061", "#3B82C4", "#C43304", "#AC8C02", "#B238BE", "#8992A6"
#: One color for one word, everywhere. Each has a contrast of at least 3 : 1 to a light and to a dark panel, and
#: those of one group stay apart for people who see two colors only; the tests compute both.
COLORS = {
    Condition.CLEAN.value: GREEN,
    Condition.REPAIRED.value: BLUE,
    Condition.BROKEN.value: VERMILION,
    Severity.HAZARD.value: GRAY,
    Severity.DIALECT.value: BLUE,
    Severity.FAULT.value: VERMILION,
    Verdict.COMPLETE.value: GREEN,
    Verdict.ABANDONED.value: GRAY,
    Verdict.TRUNCATED.value: VERMILION,
    Verdict.ERROR.value: MAGENTA,
    Verdict.EMPTY.value: AMBER,
    Outcome.VERIFIED.value: GREEN,
    Outcome.UNVERIFIED.value: BLUE,
    Outcome.FAILED.value: VERMILION,
    Outcome.UNREPAIRED.value: GRAY,
    ChunkType.TEXT.value: BLUE,
    ChunkType.TOOL_CALL.value: MAGENTA,
    ChunkType.REASONING.value: AMBER,
    ChunkType.REFUSAL.value: VERMILION,
    ChunkType.FINISH.value: GREEN,
    ChunkType.LIFECYCLE.value: GRAY,
    ChunkType.ROLE.value: "#7A6FD0",
    ChunkType.USAGE.value: "#2E98C4",
    ChunkType.OTHER.value: "#A0705A",
}

#: Pixels: all big numbers are of one size, and the largest, 100.0 %, fits the smallest panel at 1280 pixels.
_NUMBER = 32
#: Points of a graph: what is drawn of six hours is five minutes apart, and a refresh reads little.
_POINTS = 72

#: Points of the small graph below a number.
_TREND = 24

Panel = Any  # the builders of the kinds of panel have no common type with the methods used here


@dataclass(frozen=True)
class Query:
    """A question to Prometheus, and the names of its series."""

    expression: str
    legend: str = "__auto"
    exemplars: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table: a query, its header, and how its numbers look; without a header, only its labels count."""

    header: str
    expression: str
    unit: str = units.LocaleFormat
    decimals: int = 0
    color: Sequence[tuple[float | None, str]] = ()
    #: What stands for numbers: (from, to), word, color.
    words: Sequence[tuple[tuple[float, float], str, str]] = ()


def share(header: str, expression: str, color: Sequence[tuple[float | None, str]] = ()) -> Column:
    """Return a column of shares, as percentages."""
    return Column(header, expression, units.PercentUnit, 1, color)


def end(header: str, expression: str, color: Sequence[tuple[float | None, str]] = ()) -> Column:
    """Return a column of ends of intervals: finer, for an end at 99.96 % is not 100 %."""
    return Column(header, expression, units.PercentUnit, 2, color)


def runbook(page: str) -> str:
    """Return the address of a page: an alert's name, or `kinds/<kind>`."""
    return f"{RUNBOOKS}/{page}{PAGE}"


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(d.DashboardLinkType.LINK).url(url).target_blank(target_blank=True)


def _steps(color: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    steps = [d.Threshold(value=value, color=name) for value, name in color]
    return dashboard.ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps(steps)


def _dressed(
    panel: Panel, title: str, description: str, page: str, size: tuple[int, int], nothing: str = NO_STREAMS
) -> Panel:
    """Return a panel with a title, a sentence that says what to do, the runbook, a word for nothing, and its size."""
    return (
        panel.title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .links([_link("Runbook", runbook(page))])
        .no_value(nothing)
        .span(size[0])
        .height(size[1])
    )


def _nothing(nothing: str, *expressions: str) -> str:
    """Return what a panel says when it is empty: streams without a finding are streams all the same."""
    if nothing:
        return nothing
    found = all(any(name in expression for name in _FINDINGS) for expression in expressions)
    return NOTHING_FOUND if found else NO_STREAMS


def _asked(panel: Panel, queries: Iterable[Query], *, at_end: bool, as_table: bool = False) -> Panel:
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(letter)
        target = target.datasource(DATA_SOURCE).editor_mode(p.QueryEditorMode.CODE)
        target = target.instant() if at_end else target.range()
        target = target.format(p.PromQueryFormat.TABLE if as_table else p.PromQueryFormat.TIME_SERIES)
        panel = panel.with_target(target.exemplar(exemplar=True) if query.exemplars else target)
    return panel


def number(
    title: str,
    description: str,
    page: str,
    query: Query,
    unit: str = units.PercentUnit,
    *,
    color: Sequence[tuple[float | None, str]] = ((None, GRAY),),
    size: tuple[int, int] = (4, 4),
    decimals: int | None = None,
    words: Sequence[tuple[tuple[float, float], str, str]] = (),
    trend: bool = False,
) -> Panel:
    """Return one big number for the whole range, or the word that stands for it; a trend has the number before."""
    panel = _dressed(stat.Panel(), title, description, page, size, _nothing("", query.expression))
    panel = (
        panel.unit(unit)
        .thresholds(_steps(color))
        .color_scheme(dashboard.FieldColor().mode(d.FieldColorModeId.THRESHOLDS))
        .color_mode(m.BigValueColorMode.VALUE)
        .graph_mode(m.BigValueGraphMode.AREA if trend else m.BigValueGraphMode.NONE)
        .text_mode(m.BigValueTextMode.VALUE)
        .justify_mode(m.BigValueJustifyMode.CENTER)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .text(common.VizTextDisplayOptions().value_size(_NUMBER))
    )
    panel = panel.mappings([_word(*one) for one in words]) if words else panel
    panel = panel.interval("1m").max_data_points(_TREND) if trend else panel
    return _asked(panel if decimals is None else panel.decimals(decimals), [query], at_end=not trend)


def _word(ends: tuple[float, float], word: str, color: str) -> d.RangeMap:
    """Return a word, in its color, for the numbers between two ends."""
    result = d.ValueMappingResult(text=word, color=color)
    return d.RangeMap(options=d.DashboardRangeMapOptions(from_val=ends[0], to=ends[1], result=result))


def lines(
    title: str,
    description: str,
    page: str,
    queries: Sequence[Query],
    unit: str,
    *,
    size: tuple[int, int] = (12, 8),
    stacked: bool = False,
    maximum: float | None = None,
    nothing: str = "",
) -> Panel:
    """Return values over time; a series with the name of a word in COLORS has its color."""
    nothing = _nothing(nothing, *(query.expression for query in queries))
    panel = _dressed(timeseries.Panel(), title, description, page, size, nothing)
    # Totals are recorded once a minute: shorter steps would be empty ones, and one with what belongs to two.
    panel = _graph(panel.unit(unit).min(0).interval("1m").max_data_points(_POINTS), stacked=stacked)
    for word, color in COLORS.items():
        if any(_may_be(query.legend, word) for query in queries):
            panel = panel.override_by_name(word, [_fixed(color)])
    if unit == units.PercentUnit:  # without it, a line of nothing but 0 gets an axis up to 10,000 %
        panel = panel.axis_soft_max(0.01)
    panel = panel if maximum is None else panel.max(maximum)
    return _asked(panel, queries, at_end=False)


def _graph(panel: Panel, *, stacked: bool) -> Panel:
    """Return how lines and areas look."""
    legend = common.VizLegendOptions().display_mode(m.LegendDisplayMode.LIST).placement(m.LegendPlacement.BOTTOM)
    return (
        panel.color_scheme(dashboard.FieldColor().mode(d.FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1 if stacked else 2)
        .fill_opacity(60 if stacked else 0)
        .show_points(m.VisibilityMode.NEVER if stacked else m.VisibilityMode.AUTO)
        .stacking(common.StackingConfig().mode(m.StackingMode.NORMAL if stacked else m.StackingMode.NONE).group("A"))
        .legend(legend.show_legend(show_legend=True).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(m.TooltipDisplayMode.MULTI).sort(m.SortOrder.DESCENDING))
    )


def _may_be(legend: str, word: str) -> bool:
    """Return whether a series of this legend can have this name: by the label whose values hold the word."""
    groups = {"condition": Condition, "severity": Severity, "verdict": Verdict, "outcome": Outcome, "chunk": ChunkType}
    return any(f"{{{{streamwatch_{name}}}}}" == legend and word in list(values) for name, values in groups.items())


def _fixed(color: str) -> d.DynamicConfigValue:
    return d.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def drawn(panel: Panel, name: str, color: str, *, dashed: bool = False, fill_to: str = "", width: int = 2) -> Panel:
    """Return one named line of a panel in its own color, dashed, or as the upper edge of a band."""
    properties = [_fixed(color), d.DynamicConfigValue(id_val="custom.lineWidth", value=width)]
    if dashed:
        style = {"fill": "dash", "dash": [8, 6]}
        properties.append(d.DynamicConfigValue(id_val="custom.lineStyle", value=style))
        properties.append(d.DynamicConfigValue(id_val="custom.showPoints", value="never"))
    properties.append(d.DynamicConfigValue(id_val="custom.fillOpacity", value=20 if fill_to else 0))
    if fill_to:
        properties.append(d.DynamicConfigValue(id_val="custom.fillBelowTo", value=fill_to))
    return panel.override_by_name(name, properties)


def unnamed(panel: Panel, *names: str) -> Panel:
    """Return lines that need no name in the legend and no points, as the edges of a band."""
    hidden = {"custom.hideFrom": {"legend": True, "tooltip": False, "viz": False}, "custom.showPoints": "never"}
    for name in names:
        panel = panel.override_by_name(name, [d.DynamicConfigValue(id_val=key, value=at) for key, at in hidden.items()])
    return panel


def rows(
    title: str,
    description: str,
    page: str,
    keys: Mapping[str, str],
    columns: Sequence[Column],
    *,
    size: tuple[int, int] = (12, 8),
    sort: str = "",
    nothing: str = "",
    links: Mapping[str, str] | None = None,
    widths: Mapping[str, int] | None = None,
) -> Panel:
    """Return a table: one row for each value of the labels `keys` (label: header), one query for each column."""
    nothing = _nothing(nothing, *(column.expression for column in columns))
    panel = _dressed(table.Panel(), title, description, page, size, nothing).unit(units.Short)
    panel = _asked(panel, [Query(column.expression) for column in columns], at_end=True, as_table=True)
    panel = _ordered(panel, keys, columns)
    for column in filter(lambda column: column.header, columns):
        panel = panel.override_by_name(column.header, _look(column))
    for label, header in keys.items():
        panel = panel.override_by_name(header, _key(label, (widths or {}).get(header)))
    for header, url in (links or {}).items():
        target = [{"title": "What it means, and what to do", "url": url, "targetBlank": True}]
        panel = panel.override_by_name(header, [d.DynamicConfigValue(id_val="links", value=target)])
    panel = panel.show_header(show_header=True).cell_height(m.TableCellHeight.SM).filterable(filterable=False)
    if sort:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(desc=True)])
    return panel


#: Pixels. Columns of numbers are as wide as their header or as `100.0%`; those of names share what is left.
_NARROWEST, _LETTER, _MARGIN = 78, 8, 22
_NAME = 100
#: A stream that broke before the server named its model has no snapshot; an empty cell would look like a fault.
_NAMELESS = {"type": "special", "options": {"match": "empty", "result": {"text": "(unknown)"}}}
_SEVERITIES = {
    "type": "value",
    "options": {word.value: {"text": word.value, "color": COLORS[word.value]} for word in Severity},
}


def _key(label: str, width: int | None) -> list[d.DynamicConfigValue]:
    """Return how the column of a label looks."""
    properties: dict[str, Any] = {"mappings": [_NAMELESS], "custom.minWidth": _NAME}
    if label == "streamwatch_severity":
        properties |= {"mappings": [_SEVERITIES], "custom.cellOptions": {"type": "color-text"}}
    if width:
        properties["custom.width"] = width
    return [d.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]


def _look(column: Column) -> list[d.DynamicConfigValue]:
    properties: dict[str, Any] = {"unit": column.unit, "decimals": column.decimals, "noValue": "-"}
    properties["custom.width"] = max(_NARROWEST, _LETTER * len(column.header) + _MARGIN)
    if column.color:
        properties["thresholds"] = _steps(column.color).build()
        properties["color"] = {"mode": "thresholds"}
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.words:
        properties["mappings"] = [
            {"type": "range", "options": {"from": low, "to": high, "result": {"text": word, "color": color}}}
            for (low, high), word, color in column.words
        ]
        properties["custom.cellOptions"] = {"type": "color-text"}
    return [d.DynamicConfigValue(id_val=name, value=value) for name, value in properties.items()]


def _ordered(panel: Panel, keys: Mapping[str, str], columns: Sequence[Column]) -> Panel:
    """Return the answers to all queries in one table, under their headers."""
    names = ["Value"] if len(columns) == 1 else [f"Value #{letter}" for letter in ascii_uppercase[: len(columns)]]
    headers = {**keys, **{name: column.header for name, column in zip(names, columns, strict=True)}}
    order = {name: place for place, name in enumerate(headers)}
    hidden = {"Time": True, **{name: True for name, header in headers.items() if not header}}
    if len(columns) > 1:
        panel = panel.with_transformation(d.DataTransformerConfig(id_val="merge", options={}))
    shown = {"excludeByName": hidden, "indexByName": order, "renameByName": headers}
    return panel.with_transformation(d.DataTransformerConfig(id_val="organize", options=shown))


def matrix(
    title: str,
    description: str,
    page: str,
    down: tuple[str, str],
    across: str,
    column: Column,
    *,
    size: tuple[int, int] = (12, 8),
) -> Panel:
    """Return a table of two labels: `down` (label, header) gives the rows, `across` the columns."""
    panel = _dressed(table.Panel(), title, description, page, size, _nothing("", column.expression))
    panel = _asked(panel, [Query(column.expression)], at_end=True, as_table=True)
    by = {"rowField": down[0], "columnField": across, "valueField": "Value", "emptyValue": "null"}
    panel = panel.with_transformation(d.DataTransformerConfig(id_val="groupingToMatrix", options=by))
    panel = panel.unit(column.unit).decimals(column.decimals)
    if column.color:
        panel = panel.thresholds(_steps(column.color)).cell_options(m.TableColorTextCellOptions())
        panel = panel.color_scheme(dashboard.FieldColor().mode(d.FieldColorModeId.THRESHOLDS))
    panel = panel.override_by_regexp(".*", [d.DynamicConfigValue(id_val="noValue", value="-")])
    corner = [
        d.DynamicConfigValue(id_val="displayName", value=down[1]),
        d.DynamicConfigValue(id_val="mappings", value=[_NAMELESS]),
    ]
    panel = panel.override_by_name(f"{down[0]}\\{across}", [*corner, _plain()])
    return panel.show_header(show_header=True).cell_height(m.TableCellHeight.SM)


def _plain() -> d.DynamicConfigValue:
    return d.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "auto"})
