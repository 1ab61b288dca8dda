"""Streamwatch / Waiting: who makes the readers wait, what hangs now, and which path does it?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import units

from dashboards import names
from dashboards import promql as q
from dashboards import waiting_rules as w
from dashboards.frame import Row, build
from dashboards.panels import (
    AMBER,
    BLUE,
    GRAY,
    GREEN,
    NOTHING_FOUND,
    VERMILION,
    Column,
    Panel,
    Query,
    drawn,
    end,
    lines,
    number,
    rows,
    share,
)
from dashboards.records import ADDED, BUCKETS, CLOSES, RECONNECTS, TIME
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import FEWEST_CASES
from streamwatch.core.via import BUFFERING, BURST, DIRECT, SEPARATOR
from streamwatch.core.vocabulary import StreamState
from streamwatch.export.instruments import (
    EVENTS_PER_READ,
    LONGEST_GAP,
    LONGEST_SILENCE,
    OLDEST_STREAM,
    OPEN_STREAMS,
    SILENCE,
    TIME_TO_FIRST_CHUNK,
    Instrument,
)

_STALLED, _RISING = "StreamwatchStalledStreams", "StreamwatchStallsRising"
_TRUNCATED = "StreamwatchTruncatedStreams"
_THRESHOLD = f"STREAMWATCH_STALL_SECONDS ({Settings().stall_seconds:g})"
_SILENT = f'streamwatch_state=~"{StreamState.SILENT.value}|{StreamState.UNANSWERED.value}"'
_STATE = "{{streamwatch_state}}"
#: Silences that are some proxy's idle timeout: what they are called, and the buckets between which they lie.
_TIMEOUTS = (
    ("about 30 s", "28", "32"),
    ("about 60 s", "55", "65"),
    ("about 100 s", "95", "105"),
    ("about 300 s", "290", "310"),
)
#: Whether a share of a path differs from that of all other paths of its model: their intervals do not meet.
_DIFFERS = (
    ((-1, -1), "differs: less", GREEN),
    ((0, 0), "no difference shown", GRAY),
    ((1, 1), "differs: more", VERMILION),
)
_BY = ", ".join(w.PATH)


def dashboard() -> d.Dashboard:
    """Return the dashboard for the question why answers stand still."""
    return build(
        "Waiting",
        w.BOARD,
        "Who makes the readers of streams wait: the server, a proxy on the way, or the readers themselves?",
        [
            Row("", _answer()),
            Row("Who makes readers wait", [_who(), _bursts(), _by_model()]),
            Row("Silence", [_gaps(), _open_over_time(), _before_cuts()]),
            Row("Cuts", [_closes(), _reconnects(), _added_requests()]),
            Row("The path", [_faults_by_path(), _fixes_by_path()]),
        ],
    )


# --- now


def _now(title: str, means: str, expression: str, unit: str, *, alarming: bool) -> Panel:
    color = ((None, GREEN), (1, VERMILION)) if alarming else ((None, BLUE),)
    return number(title, means, _STALLED, Query(f"{expression} or vector(0)"), unit, color=color, decimals=0)


def _answer() -> list[Panel]:
    open_now = q.selector(OPEN_STREAMS)
    return [
        _now("Open now", "Streams that are open at this moment.", f"sum({open_now})", units.Short, alarming=False),
        _now(
            "Open and silent now",
            f"Open streams whose reader has been waiting for longer than {_THRESHOLD} s. If there are any, see their "
            "model and server below. A reasoning model may think that long before its first chunk.",
            f"sum({q.selector(OPEN_STREAMS, _SILENT)})",
            units.Short,
            alarming=True,
        ),
        _now(
            "Longest silence now",
            "How long the reader that waits longest has been waiting. Close to 60 s, a proxy is about to cut it.",
            f"max({q.selector(LONGEST_SILENCE)})",
            units.Seconds,
            alarming=False,
        ),
        _now(
            "Oldest open stream",
            "How long ago the oldest open stream was asked for. After hours, an application holds streams that it "
            "does not read on, and a connection with each.",
            f"max({q.selector(OLDEST_STREAM)})",
            units.Seconds,
            alarming=False,
        ),
        number(
            "Server's share",
            "Of the time of the streams that ended, the share in which a reader waited for the server. The rest is "
            "the readers' own: much of it, and the application is what is slow.",
            _STALLED,
            Query(q.ratio(_time("server"), _time())),
            color=((None, BLUE),),
            decimals=1,
        ),
        number(
            "Stalled streams",
            f"Streams of the last hour that were silent for longer than {_THRESHOLD} s between two chunks, as a share.",
            _RISING,
            Query(f"max({q.recorded(w.STALLED_RATIO + '1h')})"),
            color=((None, GREEN), (w.FEWEST_STALLED_SHARE, AMBER), (0.1, VERMILION)),
            decimals=1,
        ),
    ]


# --- who makes readers wait


def _time(waited_for: str = "", *by: str) -> str:
    """Return seconds of the streams that ended, all or those of one side."""
    return q.counted(TIME, *by, where=_side(waited_for))


def _side(waited_for: str) -> tuple[str, ...]:
    return (f'streamwatch_waited_for="{waited_for}"',) if waited_for else ()


def _record(row: Instrument) -> str:
    return BUCKETS[names.metric(row)]


def _le(bound: str) -> str:
    """Return the buckets up to a bound: a number is written in two ways, depending on the exporter."""
    return f'le="{bound}"' if bound == "+Inf" else f'le=~"{bound}|{bound}.0"'


def _up_to(row: Instrument, bound: str, *by: str) -> str:
    """Return how many streams of the range were up to a bound of a histogram."""
    return q.counted(_record(row), *by, where=(_le(bound),))


def _who() -> Panel:
    queries = [
        Query(f"{q.over_time(TIME, where=_side(side))} / ($__interval_ms / 1000)", side)
        for side in ("server", "reader")
    ]
    panel = lines(
        "Who is waited for",
        "Seconds of streams, per second: how many readers waited for a server at a time, and how many were at work on "
        "what they got. The server: compare paths below. The reader: look at the application.",
        _STALLED,
        queries,
        units.Short,
        stacked=True,
        size=(12, 8),
    )
    return drawn(drawn(panel, "server", AMBER), "reader", BLUE)


def _percentiles(row: Instrument) -> list[Query]:
    """Return what half of the streams stay below, nine in ten, and 99 in 100."""
    return [Query(q.quantile(at, row), f"p{at * 100:.0f}") for at in (0.5, 0.9, 0.99)]


def _bursts() -> Panel:
    return lines(
        "Events per read",
        f"How many events came in one read, on average over a stream. At {BURST:g} or more a proxy buffers, and "
        "the reader sees bursts. In nginx, `proxy_buffering off` or the header `X-Accel-Buffering: no` ends it.",
        _STALLED,
        _percentiles(EVENTS_PER_READ),
        units.Short,
        size=(12, 8),
    )


def _by_model() -> Panel:
    keys = {"gen_ai_request_model": "Model", "server_address": "Server"}
    by = tuple(keys)
    streams = _up_to(EVENTS_PER_READ, "+Inf", *by)
    bursts = f"{streams} - {_up_to(EVENTS_PER_READ, f'{BURST:g}', *by)}"
    waits = q.ratio(_time("server", *by), _time("", *by))
    first, gap = (
        f"histogram_quantile(0.9, {q.counted(_record(row), 'le', *by)})" for row in (TIME_TO_FIRST_CHUNK, LONGEST_GAP)
    )
    return rows(
        "By model and server",
        "A long time to the first chunk means that the model thinks, or queues. Long gaps and many bursts mean that "
        "something on the path holds chunks back.",
        _STALLED,
        keys,
        [
            Column("First chunk, p90", first, units.Seconds, 1),
            Column("Gap, p90", gap, units.Seconds, 1),
            share("Waited for it", waits),
            share("In bursts", q.ratio(bursts, streams)),
        ],
        size=(24, 8),
        sort="Gap, p90",
    )


# --- silence


def _gaps() -> Panel:
    return lines(
        "Longest gap of a stream",
        "How long a reader waited for the next chunk at most, once the first had come: of half of the streams, of nine "
        "in ten, of 99 in 100. It rises for one model alone: its server; for all: the path.",
        _RISING,
        _percentiles(LONGEST_GAP),
        units.Seconds,
        size=(8, 8),
    )


def _open_over_time() -> Panel:
    return lines(
        "Open streams, by what they are doing",
        f"True while nothing arrives. `silent`: a chunk came, and then none for longer than {_THRESHOLD} s; "
        "`unanswered`: not even the first. `reading`: the application is at work.",
        _STALLED,
        [Query(f"sum by (streamwatch_state) ({q.recorded(w.OPEN_BY_STATE)})", _STATE)],
        units.Short,
        stacked=True,
        size=(8, 8),
    )


def _before_cuts() -> Panel:

    def below(bound: str) -> str:
        cut = 'streamwatch_verdict=~"truncated|empty|error"'
        return q.over_time(_record(SILENCE), where=(_le(bound), cut))

    queries = [Query(f"{below('1')}", "up to 1 s")]
    queries += [Query(f"{below(high)} - {below(low)}", name) for name, low, high in _TIMEOUTS]
    return lines(
        "Silence before cuts",
        "How long the reader had waited when a stream was cut off. A spike at 60 s is a proxy's idle timeout, as those "
        "at 30, 100 and 300 s are: raise it (`proxy_read_timeout`, `timeout server`, the balancer's idle timeout), or "
        "let the server send comments. Up to 1 s: a crash, not a timeout.",
        _TRUNCATED,
        queries,
        units.Short,
        size=(8, 8),
        nothing=NOTHING_FOUND,
    )


# --- cuts


def _counted(title: str, means: str, record: str, *by: str) -> Panel:
    """Return what was counted in each step, by one label or in all."""
    legend = "".join(f"{{{{{label}}}}}" for label in by) or title
    query = Query(q.over_time(record, *by), legend)
    return lines(title, means, _TRUNCATED, [query], units.Short, stacked=True, size=(8, 8), nothing=NOTHING_FOUND)


def _closes() -> Panel:
    return _counted(
        "WebSocket closes, by code",
        "Responses over WebSockets that had not come to their end when the connection was closed. `1006`: cut without "
        "a word, by a proxy or a crash; `1001`, `1012`: the server goes away; `1011`: it failed; `1013`: it has too "
        "much to do, so wait before the next one.",
        CLOSES,
        "streamwatch_close_code",
    )


def _reconnects() -> Panel:
    return _counted(
        "WebSocket connections replaced",
        "Connections that the SDK replaced because the former was cut (`on_reconnecting`). The new one knows nothing "
        "of the responses of the former: see that the application asks for them again.",
        RECONNECTS,
    )


def _added_requests() -> Panel:
    return _counted(
        "Requests added to read on",
        "What `STREAMWATCH_RESUME` costs: requests to read on a background response that was cut, by what came of "
        "each. If few of them help, look at how long the server keeps responses, or switch it off.",
        ADDED,
        "streamwatch_resumed",
    )


# --- the path


def _of(record: str) -> str:
    return f"sum by ({_BY}) ({q.recorded(record)})"


def _others(record: str) -> str:
    """Return the same of all other paths of the model, under the labels of each path."""
    model = "gen_ai_request_model"
    return f"(sum by ({model}) ({q.recorded(record)}) - on ({model}) group_right () {_of(record)})"


def _beside(part: str, whole: str, fewest: int) -> list[Column]:
    """Return the share of a path with its interval, and whether it differs from that of the model's other paths."""
    own, rest = (_of(part), _of(whole)), (_others(part), _others(whole))
    low, high = q.wilson(*own, "-"), q.wilson(*own, "+")
    differs = (
        f"(({low} > bool {q.wilson(*rest, '+')}) - ({high} < bool {q.wilson(*rest, '-')}))"
        f" and {rest[1]} >= {fewest} and {own[1]} >= {fewest}"
    )
    return [
        share("Share", q.ratio(*own)),
        end("At least", low),
        end("At most", high),
        Column("Beside others", differs, words=_DIFFERS),
        Column("Of", own[1]),
    ]


_KEYS = {"gen_ai_request_model": "Model", "streamwatch_via": "Path"}


def _faults_by_path() -> Panel:
    return rows(
        "Streams with a fault, by path, in the last day",
        f"`{DIRECT}`: no header names anybody between; `{BUFFERING}`: nobody is named, and events come in bursts; else "
        f"who is named, the nearest one first, `{SEPARATOR}` between them. `differs` says that the 95 % intervals of a "
        "path and of the model's other paths do not meet; it does not say that the path is the cause.",
        "StreamwatchUnrepairedFaults",
        _KEYS,
        _beside(w.PATH_FAULTY, w.PATH_STREAMS, w.FEWEST_STREAMS),
        sort="At least",
        size=(12, 9),
    )


def _fixes_by_path() -> Panel:
    return rows(
        "Fix rate, by path, in the last day",
        "Of the streams with a fault, those that reached the application whole. `differs` as beside: a path whose "
        "faults can be repaired less often is worth going around; measure it again afterwards.",
        "StreamwatchFixRateBelowPublished",
        _KEYS,
        _beside(w.PATH_FIXED, w.PATH_CASES, FEWEST_CASES),
        sort="Of",
        size=(12, 9),
    )
