"""The records of the counters, so that alerts and dashboards read simple numbers.

A counter of Streamwatch appears with its first value, ends with its process, and restarts with it.
`increase()` sees no step from nothing to one, and extrapolates what it does see: a rare fault would never count, and
no sum would be a whole number. So two recording rules stand for each counter:

    ...:increase1m   what was counted in the last minute, over all processes: the last value less the last one a
                     minute ago, or the whole of it where a series is new or has restarted; half a minute late, when
                     all that was scraped has arrived
    ...:total        the sum of that for as long as Prometheus has been there: a counter that no pod's end takes away

Buckets of histograms are recorded in the same way, except in an outage: whether a series was there is looked for over
minutes and not over an hour, for a quantile is a share, and buckets are three series in four.

Whatever looks at a window subtracts two values of the total: it counts streams, to the unit, and reads two samples
where a sum over minutes reads hundreds. Both rules read ranges by their last sample only, so that ranges which are
closed to the left (Prometheus 2) and those which are open (Prometheus 3) give the same.

A process that is scraped for the first time when it has counted for an hour already did not count all of it now: its
first values are where it begins, and no growth. `streamwatch_start_time_seconds` says when.

A record is named level:metric:operation, after its labels: `job` stands for those that distinguish services,
`model` for a model at an endpoint besides, `snapshot` and `version` for the answering model and the SDK.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from streamwatch.cli.dashboards.filling import LABEL, OBJECTIVE
from streamwatch.core.known_issues import ISSUES
from streamwatch.core.stream_cases import FIXED, KNOWN, TOOL_CALLS, CaseDefinition, Z
from streamwatch.core.vocabulary import Severity

#: Minutes between evaluations, and of the growth that is recorded.
INTERVAL = 1
#: Minutes that a sample may take from its time to the database: a scrape has ten seconds, a push a few more.
#: A sample that came after a look, and before the next look in time, would be in neither.
LATE = 0.5
#: Minutes after which a process that is not scraped has ended.
ENDED = 5
#: Minutes for which a counter must not have been there to count as new, and that an outage of Prometheus may last.
NEW = 60
#: Minutes for which a total that does not move is kept: what a dashboard may look back.
KEPT = 7 * 24 * 60
MINUTE, HOUR, DAY = 1, 60, 24 * 60
#: Streams that a baseline needs behind it, and minutes for which everything about a model or a server is new.
FEWEST_HISTORY, LEARNING = 100, 6 * HOUR

#: A spike of reordering is three times what is usual for the model, and one reordered event in fifty streams at least:
#: no recording of a healthy provider has any. Where an endpoint has no history of its own, one in ten streams is one.
SPIKE_FACTOR, SPIKE_FLOOR, SPIKE_WITHOUT_HISTORY = 3, 0.02, 0.1

#: The labels of one model at one endpoint, beside those that distinguish services.
MODEL = ("server_address", "gen_ai_operation_name", "gen_ai_request_model")

_ANSWERED = 'streamwatch_verdict=~"complete|abandoned"'
_CUT = 'streamwatch_verdict=~"truncated|empty"'
WHERE_FIXED = f'streamwatch_outcome=~"{"|".join(outcome.value for outcome in FIXED)}"'
#: What was tried in the shadow is never added to what was applied.
APPLIED, SHADOW = 'streamwatch_applied="true"', 'streamwatch_applied="false"'

#: The answering model and the release of the SDK: what a release changes.
RELEASE = ("gen_ai_response_model", "streamwatch_openai_version")
STREAMS = "snapshot_version_condition:streamwatch_streams"
CASES = "snapshot_version_issue:streamwatch_cases"
ANOMALIES = "snapshot_anomaly:streamwatch_anomalies"
CHUNKS = "snapshot_version_chunk:streamwatch_chunks"
ERRORS = "job_error:streamwatch_internal_errors"
TIME = "snapshot_waited_for:streamwatch_stream_time_seconds"
CLOSES = "model_close_code:streamwatch_closes"
RECONNECTS = "model:streamwatch_reconnects"
ADDED = "model_resumed:streamwatch_added_requests"
#: What is recorded of each counter, and the labels that it keeps beside those that distinguish services.
TOTALS = {
    STREAMS: (*MODEL, *RELEASE, "streamwatch_verdict", "streamwatch_condition", "streamwatch_via"),
    CASES: (*MODEL, *RELEASE, "streamwatch_issue", "streamwatch_outcome", "streamwatch_applied", "streamwatch_via"),
    ANOMALIES: (*MODEL, RELEASE[0], "streamwatch_anomaly", "streamwatch_severity", "streamwatch_via"),
    CHUNKS: (*MODEL, *RELEASE, "streamwatch_chunk"),
    ERRORS: ("error_type",),
    TIME: (*MODEL, RELEASE[0], "streamwatch_waited_for"),
    CLOSES: (*MODEL, "streamwatch_close_code"),
    RECONNECTS: MODEL,
    ADDED: (*MODEL, "streamwatch_resumed"),
}
#: The same of histograms, by the metric whose buckets they are.
HISTOGRAMS = {
    "streamwatch_stream_duration_seconds": ("streamwatch_verdict", "le"),
    "streamwatch_stream_time_to_first_chunk_seconds": ("le",),
    "streamwatch_stream_longest_gap_seconds": ("le",),
    "streamwatch_stream_silence_seconds": ("streamwatch_verdict", "le"),
    "streamwatch_stream_events_per_read": ("le",),
    "streamwatch_reorder_delay_seconds": ("le",),
    "streamwatch_reorder_distance": ("le",),
}
BUCKETS = {metric: f"snapshot_version_le:{metric}_bucket" for metric in HISTOGRAMS}
TOTALS |= {BUCKETS[metric]: (*MODEL, *RELEASE, *labels) for metric, labels in HISTOGRAMS.items()}
#: The same of a whole service, for graphs: a point of one reads a few series, and not hundreds.
OF_JOBS = {
    STREAMS: ("job_condition:streamwatch_streams", ("streamwatch_verdict", "streamwatch_condition")),
    CASES: (
        "job_version_issue:streamwatch_cases",
        (RELEASE[1], "streamwatch_issue", "streamwatch_outcome", "streamwatch_applied"),
    ),
    ANOMALIES: ("job_anomaly:streamwatch_anomalies", ("streamwatch_anomaly", "streamwatch_severity")),
    CHUNKS: ("job_chunk:streamwatch_chunks", ("streamwatch_chunk",)),
    TIME: ("job_waited_for:streamwatch_stream_time_seconds", ("streamwatch_waited_for",)),
    CLOSES: ("job_close_code:streamwatch_closes", ("streamwatch_close_code",)),
    RECONNECTS: ("job:streamwatch_reconnects", ()),
    ADDED: ("job_resumed:streamwatch_added_requests", ("streamwatch_resumed",)),
    **{BUCKETS[metric]: (f"job_le:{metric}_bucket", labels) for metric, labels in HISTOGRAMS.items()},
}
JOB_STREAMS = OF_JOBS[STREAMS][0]
#: What each process has counted since it began, without what distinguishes its models: by the counter.
OF_PROCESSES = {
    "streamwatch_streams": ("instance_version:streamwatch_streams:sum", ("instance", RELEASE[1])),
    "streamwatch_unobserved_streams": ("instance:streamwatch_unobserved_streams:sum", ("instance",)),
    "streamwatch_internal_errors": ("instance:streamwatch_internal_errors:sum", ("instance",)),
}
#: When a process was watched last; forgotten after a day.
PROCESS_SEEN = "instance:streamwatch_processes:last_seen_timestamp_seconds"
#: How many series each process has: what it costs Prometheus, whichever way they come.
PROCESS_SERIES = "instance:streamwatch_series:count"
PROCESSES = "job:streamwatch_processes:count"
#: In how many evaluations of the last hour a service was watched: a job that comes and goes has few.
WATCHED = "job:streamwatch_processes:minutes1h"
MODEL_SEEN = "request_model:streamwatch_streams:first_seen_timestamp_seconds"
FAULT_SEEN = "snapshot_anomaly:streamwatch_faults:first_seen_timestamp_seconds"
REORDERED = "model:streamwatch_reordered_per_stream:ratio"
#: What the same was in the day before.
USUAL = "model:streamwatch_reordered_per_stream:usual"
FIX_RATIO = "model_issue:streamwatch_fixed_per_case:ratio1d"
CASES_OF_DAY = "model_issue:streamwatch_cases:sum1d"
FIXED_OF_DAY = "model_issue:streamwatch_fixed_cases:sum1d"
#: Streams of each snapshot and SDK version: what is new shows in it.
RELEASES = "job_snapshot_version:streamwatch_streams:total"
#: Processes that were first scraped long after they began to count.
FOUND_LATE = "instance:streamwatch_found_late:start_time"
#: Seconds since those began that have not counted for an hour yet.
AGE = "instance:streamwatch_begun:age_seconds"
#: Processes that were not scraped a minute ago, and are the ones that they were before.
RETURNED = "instance:streamwatch_returned:start_time"
BROKEN_RATIO = "job:streamwatch_broken_per_stream:ratio"
BROKEN = "job:streamwatch_broken_streams:sum"
#: All streams of a service.
JOB_ENDED = "job:streamwatch_streams:sum"


@dataclass(frozen=True)
class Options:
    """The options of rules: `keep` are the labels that distinguish services; `faster` divides all times, for tests."""

    keep: tuple[str, ...] = (LABEL,)
    objective: float = OBJECTIVE
    faster: int = 1

    def time(self, minutes: float) -> str:
        """Return a duration as Prometheus writes it."""
        milliseconds = max(1, round(minutes * 60_000 / self.faster))
        units = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
        return next(f"{milliseconds // size}{unit}" for unit, size in units if milliseconds % size == 0)

    def window(self, name: str) -> str:
        """Return the duration that a record's name states, as long as it really is."""
        size = {"m": MINUTE, "h": HOUR, "d": DAY}[name[-1]]
        return self.time(int(name[:-1]) * size)

    def by(self, *labels: str) -> str:
        """Return the labels of an aggregation, among them those that distinguish services."""
        return f"by ({', '.join((*self.keep, *labels))})"

    def on(self, *labels: str) -> str:
        """Return the same for a match of many to one."""
        return f"on ({', '.join((*self.keep, *labels))}) group_left ()"


@dataclass(frozen=True)
class Record:
    """A recording rule."""

    name: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)


# --- what is recorded


def total_of(record: str) -> str:
    """Return the name of the record that only grows."""
    return f"{record}:total"


def _growth(record: str, labels: tuple[str, ...], options: Options) -> Record:
    """Record what was counted in the last minute.

    What a process of the same name counted before this one began is nothing to take off: how far back a value is
    looked for depends on the age of the process. Its stale series show that one was away, or when it began.
    """
    counter, process = f"{record.partition(':')[2]}_total", _same_process(options)
    late, earlier = (f"offset {options.time(minutes)}" for minutes in (LATE, LATE + INTERVAL))
    minute, life = 60 / options.faster, f"{process} {AGE}"
    first, young = (f"{process} ({AGE} < {minutes * minute:g})" for minutes in (INTERVAL, ENDED + INTERVAL))
    now = f"(last_over_time({counter}[{options.time(ENDED)}] {late}) unless {young} or {counter} {late} and {young})"
    before, lately = (f"last_over_time({counter}[{options.time(minutes)}] {earlier})" for minutes in (NEW, ENDED))
    expr = f"""
        sum {options.by(*labels)} (
            {now}
          - (
              (
                  {before} unless {life} or {lately} and {life} unless {young}
                or
                  {counter} {earlier} and {young} unless {first} or {before} and {process} {RETURNED}
              ) <= {now}
            or
              {now} and {process} {FOUND_LATE}
            or
              0 * {now}
          )
        )"""
    return Record(f"{record}:increase1m", expr)


def _same_process(options: Options) -> str:
    return f"on ({', '.join((*options.keep, 'instance'))})"


def _growth_of_buckets(record: str, labels: tuple[str, ...], options: Options) -> Record:
    """Record the same of the buckets of a histogram: they are many, and no process is looked for over an hour."""
    buckets = f"{record.partition(':')[2]}[{options.time(ENDED)}]"
    now, before = (f"last_over_time({buckets} offset {options.time(at)})" for at in (LATE, LATE + INTERVAL))
    expr = f"""
        sum {options.by(*labels)} (
            {now}
          - (
              {before} <= {now}
            or
              {now} and {_same_process(options)} {FOUND_LATE}
            or
              0 * {now}
          )
        )"""
    return Record(f"{record}:increase1m", expr)


def _sum(record: str, options: Options) -> Record:
    """Record the sum of all growth; one that has not moved for as long as anybody looks back is let go."""
    total, growth = total_of(record), f"{record}:increase1m"
    carried = f"last_over_time({total}[{options.time(NEW)}])"
    expr = f"""
        (
            ({carried} unless {total} offset {options.time(KEPT)} == {carried})
          or
            0 * {growth}
        )
        +
        ({growth} or 0 * {carried})"""
    return Record(total, expr)


def _processes(options: Options) -> tuple[Record, ...]:
    """Return how old the processes are, and how many are watched at all."""
    published = f'streamwatch_published_fix_ratio{{streamwatch_issue="{ISSUES[0].name}",streamwatch_strategy="any"}}'
    started, earlier = "streamwatch_start_time_seconds", options.time(LATE + INTERVAL)
    began = f"max {options.by('instance')} ({started} offset {options.time(LATE)})"
    before = f"max {options.by('instance')} (last_over_time({started}[{options.time(NEW)}] offset {earlier}))"
    lately = f"max {options.by('instance')} ({started} offset {earlier})"
    late = f"{began} < time() - {NEW * 60 / options.faster:g}\nunless\n{before}"
    age = f"(time() - {LATE * 60 / options.faster:g} - {began}) < {(NEW + INTERVAL) * 60 / options.faster:g}"
    return (
        Record(FOUND_LATE, late),
        Record(AGE, age),
        Record(RETURNED, f"{began}\n==\n{before}\nunless\n{lately}"),
        # Every process exports this gauge from its start on, whether it streams or not.
        Record(PROCESSES, f"count {options.by()} ({published})"),
        Record(WATCHED, f"count_over_time({PROCESSES}[{options.time(HOUR)}])"),
        Record(PROCESS_SEEN, _seen(published, options)),
        *(Record(name, f"sum {options.by(*by)} ({counter}_total)") for counter, (name, by) in OF_PROCESSES.items()),
    )


def _seen(series: str, options: Options) -> str:
    """Return when each process had a series last; a day later nothing."""
    forgotten = f"time() - {DAY * 60 / options.faster:g}"
    return f"""
        0 * max {options.by("instance")} ({series}) + time()
        or
        last_over_time({PROCESS_SEEN}[{options.time(NEW)}]) > {forgotten}"""


def _totals(options: Options) -> tuple[Record, ...]:
    """Return the records that all others are made of."""
    return (
        *(
            rule
            for record, labels in TOTALS.items()
            for rule in (
                (_growth_of_buckets if "le" in labels else _growth)(record, labels, options),
                _sum(record, options),
            )
        ),
        *(
            rule
            for source, (record, labels) in OF_JOBS.items()
            for rule in (
                Record(f"{record}:increase1m", f"sum {options.by(*labels)} ({source}:increase1m)"),
                _sum(record, options),
            )
        ),
        Record(RELEASES, f"sum {options.by(*RELEASE)} ({total_of(STREAMS)})"),
    )


def total(record: str, options: Options, window: str, *selectors: str, by: tuple[str, ...] = MODEL) -> str:
    """Return how many there were in a window, over selectors that have no series in common."""
    grown = "\n  or\n".join(_grown(total_of(record) + selector, options, window) for selector in selectors or ("",))
    return f"sum {options.by(*by)} (\n{grown}\n)"


def _grown(series: str, options: Options, window: str) -> str:
    """Return what a total is now, less what it was; a new one was nothing."""
    before = f"last_over_time({series}[{options.time(NEW)}] offset {options.window(window)})"
    return f"  {series} - ({before} <= {series} or 0 * {series})"


#: Streams in a worse condition: the name in a record, and the streams meant.
_WORTH = {
    "disturbed_streams": f'{{streamwatch_condition!="clean",{_ANSWERED}}}',
    "damaged_streams": f'{{streamwatch_condition="broken",{_ANSWERED}}}',
    "truncated_streams": f"{{{_CUT}}}",
}


def counted(name: str, window: str) -> str:
    """Return the record that counts streams of a model, by their condition."""
    return f"model:streamwatch_{name}:sum{window}"


def _counts(options: Options, window: str, *names: str) -> tuple[Record, ...]:
    """Return how many streams there were in a window, and how many of them were in a condition; 0 where none was."""
    streams = counted("streams", window)
    return (
        Record(streams, total(STREAMS, options, window)),
        *(
            Record(counted(name, window), f"{total(STREAMS, options, window, _WORTH[name])}\nor\n0 * {streams}")
            for name in names
        ),
    )


def _reordered(options: Options, window: str) -> Record:
    early = total(ANOMALIES, options, window, '{streamwatch_anomaly="sequence_out_of_order"}')
    streams = counted("streams", window)
    per_model = textwrap.indent(f"{early}\nor\n0 * {streams}", "  ")
    return Record(f"{REORDERED}{window}", f"(\n{per_model}\n)\n/\n({streams} > 0)")


def _usual(options: Options) -> Record:
    """Return what is usual for a model at a server: its day until half an hour ago; of all servers where it is new.

    While there is more of it than usual, what is usual stays what it was: a fault that lasts is not its own measure.
    """
    late, since = (f"offset {options.time(minutes)}" for minutes in (30, LEARNING))
    ratio, streams, now = f"{REORDERED}1d", counted("streams", "1d"), f"{REORDERED}15m"
    known = f"last_over_time({USUAL}[{options.time(NEW)}])"
    model = options.by("gen_ai_operation_name", "gen_ai_request_model")
    everywhere = f"sum {model} ({streams} {late})"
    return Record(
        USUAL,
        f"""
        ({known} and {now} > {SPIKE_FACTOR} * {known} and {now} > {SPIKE_FLOOR})
        or
        ({ratio} {late} and {streams} {since} >= {FEWEST_HISTORY})
        or
        0 * {counted("streams", "15m")}
          + {options.on("gen_ai_operation_name", "gen_ai_request_model")}
        clamp_max(
            sum {model} ({ratio} {late} * {streams} {late})
          /
            ({everywhere} >= {FEWEST_HISTORY}),
          {SPIKE_WITHOUT_HISTORY} / {SPIKE_FACTOR}
        )""",
    )


def _burned(options: Options, windows: tuple[str, ...]) -> tuple[Record, ...]:
    """Return how many streams of a service ended broken, and what share of all that is."""
    records: list[Record] = []
    for window in windows:
        streams, broken = JOB_ENDED + window, BROKEN + window
        ended_broken = total(JOB_STREAMS, options, window, '{streamwatch_condition="broken"}', by=())
        records += [
            Record(streams, total(JOB_STREAMS, options, window, by=())),
            Record(broken, f"{ended_broken}\nor\n0 * {streams}"),
            Record(BROKEN_RATIO + window, f"{broken} / ({streams} > 0)"),
        ]
    return tuple(records)


# --- fix rates


def cases(*definitions: CaseDefinition, how: str = APPLIED) -> str:
    """Return a selector of the cases of some definitions."""
    names = "|".join(definition.name for definition in definitions)
    return f'{{streamwatch_issue={"~" * (len(definitions) > 1)}"{names}",{how}}}'


def _fix_rates(options: Options) -> tuple[Record, ...]:
    """Return how many cases of the known issues a day had, how many reached the application whole, and how sure."""
    by = (*MODEL, "streamwatch_issue")
    fixed = total(CASES, options, "1d", cases(*KNOWN, how=f"{APPLIED},{WHERE_FIXED}"), by=by)
    z2, n, ratio = f"{Z * Z:.4f}", CASES_OF_DAY, FIX_RATIO
    upper = f"""
        (
            {ratio}
          + {z2} / (2 * {n})
          + {Z} * sqrt({ratio} * (1 - {ratio}) / {n} + {z2} / (4 * {n} ^ 2))
        )
        /
        (1 + {z2} / {n})"""
    return (
        Record(CASES_OF_DAY, f"{total(CASES, options, '1d', cases(*KNOWN), by=by)} > 0"),
        Record(FIXED_OF_DAY, f"{fixed}\nor\n0 * {CASES_OF_DAY}"),
        Record(FIX_RATIO, f"{FIXED_OF_DAY} / {CASES_OF_DAY}"),
        Record(f"{FIX_RATIO}_upper", upper),
    )


def tool_calls_broken(options: Options, window: str) -> str:
    """Return how many streams brought a broken tool call; what a repair would have come to helped nobody."""
    broken = (
        cases(TOOL_CALLS, how=f'{APPLIED},streamwatch_outcome=~"failed|unrepaired"'),
        cases(TOOL_CALLS, how=SHADOW),
    )
    return total(CASES, options, window, *broken)


# --- what was seen before


#: The labels of the two records below.
REQUEST_LABELS = ("gen_ai_request_model",)
FAULT_LABELS = ("gen_ai_request_model", "gen_ai_response_model", "streamwatch_anomaly")


def _first_seen(options: Options) -> tuple[Record, ...]:
    """Return when a model, and a fault of one of its snapshots, was seen first: records that remember themselves.

    They outlast the retention of the database, and cost one sample each where a look at weeks of raw
    counters would read millions. They forget when Prometheus is down for a day, and then learn again.
    """

    def remembered(name: str, record: str, selector: str = "") -> Record:
        by = FAULT_LABELS if name == FAULT_SEEN else REQUEST_LABELS
        first = f"0 * ({total(record, options, '10m', selector, by=by)} > 0) + time()"
        return Record(name, f"last_over_time({name}[{options.time(DAY)}])\nor\n{first}")

    return (
        remembered(MODEL_SEEN, STREAMS),
        remembered(FAULT_SEEN, ANOMALIES, f'{{streamwatch_severity="{Severity.FAULT.value}"}}'),
    )


def short(options: Options) -> tuple[Record, ...]:
    """Return what is recorded every minute."""
    return (
        *_processes(options),
        *_totals(options),
        *_counts(options, "15m", "disturbed_streams", "truncated_streams"),
        *_counts(options, "1h", "damaged_streams", "truncated_streams"),
        _reordered(options, "15m"),
        _usual(options),
        *_burned(options, ("5m", "30m", "1h")),
    )


def long(options: Options) -> tuple[Record, ...]:
    """Return what is recorded every five minutes: it changes slowly, and reads hours and days."""
    return (
        *_counts(options, "6h", "damaged_streams", "truncated_streams"),
        *_counts(options, "1d", "disturbed_streams"),
        _reordered(options, "1d"),
        *_fix_rates(options),
        *_burned(options, ("2h", "6h", "1d", "3d")),
        *_first_seen(options),
        Record(PROCESS_SERIES, f'count {options.by("instance")} ({{__name__=~"streamwatch_.+"}})'),
    )
