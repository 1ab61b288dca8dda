"""Streamwatch / Stream anatomy: what streams consist of, in what order events come, and how long they take."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import units

from dashboards import promql as q
from dashboards.frame import Row, build
from dashboards.panels import (
    AMBER,
    BLUE,
    GREEN,
    VERMILION,
    Column,
    Panel,
    Query,
    drawn,
    lines,
    number,
    rows,
    runbook,
    share,
    unnamed,
)
from dashboards.records import ANOMALIES, CHUNKS, STREAMS
from streamwatch.core.kinds import CONTENT_ABSENT, CONTENT_NULL, KINDS
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import BY_KIND
from streamwatch.core.vocabulary import ChunkType, Severity, Verdict
from streamwatch.export.instruments import (
    DURATION,
    REORDER_DELAY,
    REORDER_DISTANCE,
    TIME_TO_FIRST_CHUNK,
    Instrument,
)

#: Where the data source knows the one for traces; see `provisioning`.
_DOT = "example"
_DOTS = "A dot is one stream: click on it for its trace."
#: What a window is by default.
_WINDOW = Settings()
_CONTENT_MISSING = f'streamwatch_anomaly=~"{CONTENT_ABSENT.name}|{CONTENT_NULL.name}"'
_TOOL_KINDS = f'streamwatch_anomaly=~"{"|".join(name for name in KINDS if name.startswith("tool_call"))}"'
_TOOL_CHUNKS = f'streamwatch_chunk="{ChunkType.TOOL_CALL.value}"'
_INCOMPLETE = f'streamwatch_verdict!~"{Verdict.COMPLETE.value}|{Verdict.ABANDONED.value}"'


def dashboard() -> d.Dashboard:
    """Return the dashboard for debugging one model, one server or one application."""
    return build(
        "Stream anatomy",
        "streamwatch-anatomy",
        "What streams consist of, in what order events come, how long they take, and how they end.",
        [
            Row("", _answer()),
            Row("Chunks", _chunks()),
            Row("Order", [*_order()]),
            Row("Time", [*_time()]),
            Row("Every kind that was found: faults, then what is legal", [_faults(), _legal()]),
        ],
    )


def _seconds(title: str, row: Instrument, page: str, advice: str) -> Panel:
    query = Query(q.range_quantile(0.95, row))
    return number(title, advice, page, query, units.Seconds, color=((None, BLUE),), size=(5, 4), decimals=2, trend=True)


def _first_chunk() -> Panel:
    return _seconds(
        "First chunk, p95",
        TIME_TO_FIRST_CHUNK,
        "StreamwatchErrorBudgetBurn",
        "One stream in twenty takes longer for its first chunk. If it rises alone, the server queues.",
    )


def _duration() -> Panel:
    return _seconds(
        "Duration, p95",
        DURATION,
        "StreamwatchErrorBudgetBurn",
        "One stream in twenty takes longer. It grows with the length of answers: compare like with like.",
    )


def _held_back() -> Panel:
    return _seconds(
        "Held back, p95",
        REORDER_DELAY,
        "StreamwatchReorderSpike",
        "How long events were held to put them in order, where any were. Near "
        f"{_WINDOW.window_seconds:g} s the window is too short: raise STREAMWATCH_WINDOW_SECONDS.",
    )


def _cut_short() -> Panel:
    streams = q.counted(STREAMS)
    return number(
        "Cut short",
        "Streams that ended truncated, empty or in an error. Look at Verdicts below, then at the server.",
        "StreamwatchTruncatedStreams",
        Query(q.ratio(q.counted(STREAMS, where=(_INCOMPLETE,)), streams)),
        color=((None, GREEN), (0.01, AMBER), (0.05, VERMILION)),
        size=(5, 4),
        decimals=1,
        trend=True,
    )


def _anomalies(kinds: str, *by: str, over: str = q.INTERVAL) -> str:
    """Return anomalies to be set beside chunks, which have no kind to choose."""
    return q.over_time(ANOMALIES, *by, where=(kinds,), over=over, without=("kind",))


def _odd_tool_calls() -> Panel:
    tools = _anomalies(_TOOL_KINDS, over=q.RANGE)
    return number(
        "Odd tool calls",
        "Anomalies for each chunk that carries a tool call. A wrong index mixes up the arguments of two calls: "
        "see which kind below.",
        "StreamwatchToolCallsBroken",
        Query(q.ratio(tools, q.counted(CHUNKS, where=(_TOOL_CHUNKS,)))),
        color=((None, BLUE),),
        decimals=1,
    )


def _answer() -> list[Panel]:
    return [_first_chunk(), _duration(), _held_back(), _cut_short(), _odd_tool_calls()]


def _chunk_mix() -> Panel:
    mix = f"{q.over_time(CHUNKS, 'streamwatch_chunk')} / on () group_left () {q.over_time(CHUNKS)}"
    return lines(
        "Chunk mix",
        "What chunks carry. A new share of reasoning or other means that the model or its server changed: check "
        "that your code expects it.",
        "StreamwatchNewAnomalyKind",
        [Query(mix, "{{streamwatch_chunk}}")],
        units.PercentUnit,
        stacked=True,
        maximum=1,
    )


def _verdicts_other_than_complete() -> Panel:
    other = f'streamwatch_verdict!="{Verdict.COMPLETE.value}"'
    ended = q.over_time(STREAMS, "streamwatch_verdict", where=(other,))
    verdicts = f"{ended} / on () group_left () {q.over_time(STREAMS)}"
    return lines(
        "Verdicts other than complete",
        "Shares of all streams. Truncated: the connection was cut, mostly by a proxy's timeout. Empty: HTTP 200, "
        "nothing more. Error: the server said so. Abandoned: the application left.",
        "StreamwatchTruncatedStreams",
        [Query(verdicts, "{{streamwatch_verdict}}")],
        units.PercentUnit,
        stacked=True,
    )


def _missing_content_over_time() -> Panel:
    missing = _anomalies(_CONTENT_MISSING, "streamwatch_anomaly")
    return lines(
        "Deltas without content, share of chunks",
        "Legal, and in most healthy streams: no `content` in a delta, or null. A rise with a snapshot is harmless to "
        "code that reads content with care, and a KeyError in code that does not.",
        f"kinds/{CONTENT_ABSENT.name}",
        [Query(f"{missing} / on () group_left () {q.over_time(CHUNKS)}", "{{streamwatch_anomaly}}")],
        units.PercentUnit,
    )


def _tool_calls() -> Panel:
    tools = _anomalies(_TOOL_KINDS, "streamwatch_anomaly")
    return lines(
        "Tool calls: anomalies per 100 of their chunks",
        "Indexes missing, used again or not 0, 1, 2; fields null; arguments that are not JSON. All but the last "
        "are repaired by default; the arguments are the model's own.",
        "StreamwatchToolCallsBroken",
        [
            Query(
                f"100 * {tools} / on () group_left () {q.over_time(CHUNKS, where=(_TOOL_CHUNKS,))}",
                "{{streamwatch_anomaly}}",
            )
        ],
        units.Short,
    )


def _chunks() -> list[Panel]:
    return [_chunk_mix(), _verdicts_other_than_complete(), _missing_content_over_time(), _tool_calls()]


def _dots(row: Instrument) -> Query:
    """Return what draws the dots: records have no exemplars, and the buckets have them."""
    return Query(q.examples(row), _DOT, exemplars=True)


def _quantiles(title: str, advice: str, page: str, row: Instrument, unit: str) -> Panel:
    colors = {50: GREEN, 95: BLUE, 99: VERMILION}
    queries = [Query(q.quantile(percent / 100, row), f"p{percent}") for percent in colors]
    panel = lines(title, f"{advice} {_DOTS}", page, [*queries, _dots(row)], unit)
    for percent, color in colors.items():
        panel = drawn(panel, f"p{percent}", color)
    return unnamed(panel, _DOT)


def _order() -> tuple[Panel, Panel]:
    page = "StreamwatchReorderSpike"
    return (
        _quantiles(
            "Reorder distance, in events",
            "How many places early an event came. The window holds "
            f"{_WINDOW.window_events}: near that, raise STREAMWATCH_WINDOW_EVENTS, or streams stay broken.",
            page,
            REORDER_DISTANCE,
            units.Short,
        ),
        _quantiles(
            "Reorder delay",
            f"How long events were held, {_WINDOW.window_seconds:g} s at most by default. A stream in order never is.",
            page,
            REORDER_DELAY,
            units.Seconds,
        ),
    )


def _time() -> tuple[Panel, Panel]:
    return (
        _quantiles(
            "Time to first chunk",
            "From the request to the first chunk: what a user feels. Compare snapshots with the variable above.",
            "StreamwatchErrorBudgetBurn",
            TIME_TO_FIRST_CHUNK,
            units.Seconds,
        ),
        lines(
            "Duration by verdict, p95",
            "From the request to the end. Truncated streams that all last equally long point to a timeout of that "
            f"length between you and the server. {_DOTS}",
            "StreamwatchTruncatedStreams",
            [Query(q.quantile(0.95, DURATION, "streamwatch_verdict"), "{{streamwatch_verdict}}"), _dots(DURATION)],
            units.Seconds,
        ),
    )


def _under_its_kind(cases: str) -> str:
    """Return cases of single kinds, under the label that anomalies have."""
    named = f'label_replace({cases}, "streamwatch_anomaly", "$1", "streamwatch_issue", "(.+)")'
    return f"sum by (streamwatch_anomaly) ({named})"


def _faults() -> Panel:
    by = "streamwatch_anomaly"
    found = q.counted(ANOMALIES, by, where=(f'streamwatch_severity="{Severity.FAULT.value}"',))
    kinds = (q.APPLIED, 'streamwatch_issue=~"$kind"')
    whole = _under_its_kind(q.cases(BY_KIND.values(), "streamwatch_issue", where=kinds))
    fixed = _under_its_kind(q.cases(BY_KIND.values(), "streamwatch_issue", where=(*kinds, q.FIXED)))
    return rows(
        "Faults by kind",
        "Data lost or corrupted, or an error of the SDK. Click on a kind for what it means and what to do.",
        "StreamwatchNewAnomalyKind",
        {by: "Kind"},
        [*_found(found), share("Fix rate", f"({q.ratio(fixed, whole)}) and {found} > 0")],
        size=(12, 12),
        sort="Found",
        links={"Kind": runbook("kinds/${__value.raw}")},
    )


def _legal() -> Panel:
    by = ("streamwatch_anomaly", "streamwatch_severity")
    return rows(
        "Dialects and hazards by kind",
        "Nothing here is wrong: it is how servers differ, and what code has to expect. Nearly every stream has some.",
        "StreamwatchNewAnomalyKind",
        {by[0]: "Kind", by[1]: "Severity"},
        _found(q.counted(ANOMALIES, *by, where=(f'streamwatch_severity!="{Severity.FAULT.value}"',))),
        size=(12, 12),
        sort="Found",
        links={"Kind": runbook("kinds/${__value.raw}")},
        widths={"Severity": 90},
    )


def _found(found: str) -> list[Column]:
    per_stream = f"100 * ({found} > 0) / on () group_left () {q.counted(STREAMS)}"
    return [Column("Found", f"{found} > 0"), Column("Per 100 streams", per_stream, decimals=1)]
