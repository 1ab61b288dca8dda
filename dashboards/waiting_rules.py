"""The records of silence and of paths, and the alerts on streams that hang.

A reasoning model may be silent for minutes, so no silence is judged by its length alone. What a model at a server
usually does is its own last day, without the last half hour: how much of the time that its streams are open they are
silent, how long it thinks before its first chunk, how many of its streams stall. An alert needs several times of that.
"""

from __future__ import annotations

from dashboards.alerts import Alert, described
from dashboards.records import (
    ANOMALIES,
    BUCKETS,
    CASES,
    FEWEST_HISTORY,
    LEARNING,
    MODEL,
    STREAMS,
    WHERE_FIXED,
    Options,
    Record,
    counted,
    total,
)
from streamwatch.core.kinds import STREAM_STALLED
from streamwatch.core.stream_cases import ANY_FAULT
from streamwatch.core.vocabulary import StreamState

BOARD = "streamwatch-waiting"

#: Open streams of a model at a server, by what they are doing; a graph reads these, and no gauge of a process.
OPEN_BY_STATE = "model_state:streamwatch_open_streams:sum"
#: The same in all, those of them that are silent in the middle, and those that have not begun.
OPEN = "model:streamwatch_open_streams:sum"
SILENT = "model:streamwatch_silent_streams:sum"
UNANSWERED = "model:streamwatch_unanswered_streams:sum"
#: The share of the time of open streams that is silence beyond the threshold, in the day before.
USUALLY_SILENT = "model:streamwatch_silent_per_open:usual"
#: Seconds within which 99 of 100 streams of the day before began.
USUAL_BEGIN = "model:streamwatch_first_chunk_seconds:usual"
STALLED_RATIO = "model:streamwatch_stalled_per_stream:ratio"
USUALLY_STALLED = "model:streamwatch_stalled_per_stream:usual"

#: The labels of a path: models are compared with themselves, whatever the address.
PATH = ("gen_ai_request_model", "streamwatch_via")
PATH_STREAMS = "model_via:streamwatch_streams:sum1d"
PATH_FAULTY = "model_via:streamwatch_faulty_streams:sum1d"
PATH_CASES = "model_via:streamwatch_cases:sum1d"
PATH_FIXED = "model_via:streamwatch_fixed_cases:sum1d"

#: What is recorded here, and its labels beside those that distinguish services.
RECORDS = {
    OPEN_BY_STATE: (*MODEL, "streamwatch_state"),
    **dict.fromkeys((OPEN, SILENT, UNANSWERED, USUALLY_SILENT, USUAL_BEGIN, USUALLY_STALLED), MODEL),
    f"{STALLED_RATIO}1h": MODEL,
    f"{STALLED_RATIO}1d": MODEL,
    **dict.fromkeys((PATH_STREAMS, PATH_FAULTY, PATH_CASES, PATH_FIXED), PATH),
}

#: Several times of what is usual, and a share that is worth a word: one open stream in twenty, two ended ones in 100.
FACTOR, FEWEST_SILENT_SHARE, FEWEST_STALLED_SHARE = 3, 0.05, 0.02
#: Streams of an hour, and stalls among them, below which a share means nothing.
FEWEST_STREAMS, FEWEST_STALLS = 20, 5
#: Minutes of silence in the middle of a stream that are reported where nothing is known of a model: the usual proxies
#: cut a stream that is silent for 30 to 300 s.
NO_HISTORY = 5
#: Minutes: silence that has just begun is not history yet.
_LATELY = 30


def records_of_minutes(options: Options) -> tuple[Record, ...]:
    """Return what is recorded every minute."""
    return (
        Record(OPEN_BY_STATE, f"sum {options.by(*MODEL, 'streamwatch_state')} (streamwatch_open_streams)"),
        Record(OPEN, f"sum {options.by(*MODEL)} ({OPEN_BY_STATE})"),
        _in_state(SILENT, StreamState.SILENT, options),
        _in_state(UNANSWERED, StreamState.UNANSWERED, options),
        Record(f"{STALLED_RATIO}1h", _stalled(options, "1h")),
    )


def records_of_days(options: Options) -> tuple[Record, ...]:
    """Return what is recorded every five minutes."""
    late, day = f"offset {options.time(_LATELY)}", options.time(24 * 60)
    silence, open_time = (f"sum_over_time({record}[{day}] {late})" for record in (SILENT, OPEN))
    streams, since = counted("streams", "1d"), f"offset {options.time(LEARNING)}"
    began = total(BUCKETS[_FIRST_CHUNK], options, "1d", by=(*MODEL, "le"))
    return (
        Record(USUALLY_SILENT, f"{silence} / ({open_time} > 0)\nand\n{streams} {late} >= {FEWEST_HISTORY}"),
        Record(USUAL_BEGIN, f"histogram_quantile(0.99, {began})\nand\n{streams} {since} >= {FEWEST_HISTORY}"),
        Record(f"{STALLED_RATIO}1d", _stalled(options, "1d")),
        Record(USUALLY_STALLED, f"{STALLED_RATIO}1d {late}\nand\n{streams} {since} >= {FEWEST_HISTORY}"),
        *_by_path(options),
    )


_FIRST_CHUNK = "streamwatch_stream_time_to_first_chunk_seconds"


def _in_state(record: str, state: StreamState, options: Options) -> Record:
    found = f'sum {options.by(*MODEL)} ({OPEN_BY_STATE}{{streamwatch_state="{state.value}"}})'
    return Record(record, f"{found}\nor\n0 * {OPEN}")


def _stalled(options: Options, window: str) -> str:
    stalls = total(ANOMALIES, options, window, f'{{streamwatch_anomaly="{STREAM_STALLED.name}"}}')
    streams = counted("streams", window)
    return f"(\n  {stalls}\n  or\n  0 * {streams}\n)\n/\n({streams} > 0)"


def _by_path(options: Options) -> tuple[Record, ...]:
    """Return streams and cases of a day, by model and path: each 0 where there is none, as a share needs it."""
    faults = f'streamwatch_issue="{ANY_FAULT.name}"'
    applied = f'{faults},streamwatch_applied="true"'
    return (
        Record(PATH_STREAMS, total(STREAMS, options, "1d", by=PATH)),
        Record(PATH_FAULTY, f"{total(CASES, options, '1d', f'{{{faults}}}', by=PATH)}\nor\n0 * {PATH_STREAMS}"),
        Record(PATH_CASES, f"{total(CASES, options, '1d', f'{{{applied}}}', by=PATH)} > 0"),
        Record(
            PATH_FIXED, f"{total(CASES, options, '1d', f'{{{applied},{WHERE_FIXED}}}', by=PATH)}\nor\n0 * {PATH_CASES}"
        ),
    )


def alerts(options: Options) -> tuple[Alert, ...]:
    """Return the alerts on silence."""
    return _stalled_streams(options), _stalls_rising(options)


def _stalled_streams(options: Options) -> Alert:
    silence, waiting = (
        f'max {options.by(*MODEL)} (streamwatch_longest_silence_seconds{{streamwatch_state="{state.value}"}})'
        for state in (StreamState.SILENT, StreamState.UNANSWERED)
    )
    long = NO_HISTORY * 60 / options.faster
    return Alert(
        "StreamwatchStalledStreams",
        "warning",
        f"""
        (
          {SILENT} > {FEWEST_SILENT_SHARE} * {OPEN}
          and
          (
            {SILENT} > {FACTOR} * {USUALLY_SILENT} * {OPEN}
            or
            {silence} > {long:g} unless {USUALLY_SILENT}
          )
        )
        or
        (
          {UNANSWERED} > 0
          and
          {waiting} > {FACTOR} * {USUAL_BEGIN}
        )""",
        wait=1,
        hold=0,
        summary="Streams are open, and nothing comes any more.",
        description=described(
            '<model>: {{ printf "%.0f" $value }} open streams have been silent for longer than the threshold while '
            "their readers wait, more than is usual for it, in <service>.",
            options,
        ),
        dashboard=BOARD,
        labels=MODEL,
    )


def _stalls_rising(options: Options) -> Alert:
    now = f"{STALLED_RATIO}1h"
    streams = counted("streams", "1h")
    return Alert(
        "StreamwatchStallsRising",
        "warning",
        f"""
        {now} > {FEWEST_STALLED_SHARE}
        and
        {now} > {FACTOR} * {USUALLY_STALLED}
        and
        {streams} >= {FEWEST_STREAMS}
        and
        {now} * {streams} >= {FEWEST_STALLS}""",
        wait=5,
        hold=30,
        summary="More streams stall than usual.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the streams of the last hour fell silent for longer than "
            "the threshold, several times the share of the day before, in <service>.",
            options,
        ),
        dashboard=BOARD,
        labels=MODEL,
    )
