"""What is recorded of the counters, so that alerts and dashboards read simple numbers.

A counter of Streamwatch appears with its first value, and `increase()` sees no step from nothing to one: a
rare fault would never count. So one recording rule for each counter takes the growth of five minutes, and
takes a series that was not there before at its whole value. Everything longer is a sum over that record, in
which resets, restarts and instances that come and go are dealt with already. One minute between evaluations
and five minutes of growth put each event into five samples; sums are divided by that, so they count streams.

A record is named level:metric:operation, after the labels that it has: `job` stands for those that tell
services apart, `model` for a model at an endpoint besides.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamwatch.core.kinds import KINDS, AnomalyKind, Outcome, Severity, Strategy
from streamwatch.core.known_issues import ISSUES, Issue

#: Where runbooks and dashboards are: nobody's domain (RFC 2606), until --repository and --grafana name real ones.
REPOSITORY = "https://streamwatch.example/openai-streamwatch"
GRAFANA = "https://grafana.example"

#: The share of streams that must end usable: a choice, one answer in a hundred.
OBJECTIVE = 0.99

#: Minutes between evaluations, and of the growth that is recorded: five scrapes a minute apart are enough.
INTERVAL, GROWTH = 1, 5
#: So often each event is in the record of the growth.
PER_EVENT = GROWTH // INTERVAL
#: Minutes for which a counter must not have been there to count as new. A failed scrape or a short outage
#: makes nothing new; an outage of an hour does, and is rare enough.
NEW = 60
MINUTE, HOUR, DAY = 1, 60, 24 * 60

#: Standard deviations: the Wilson interval holds 95 % of what chance does.
Z = 1.96
#: The labels of one model at one endpoint, beside those that tell services apart.
MODEL = ("server_address", "gen_ai_operation_name", "gen_ai_request_model")

_ANSWERED = 'streamwatch_verdict=~"complete|abandoned"'
_CUT = 'streamwatch_verdict=~"truncated|empty"'
_FIXED = f'streamwatch_outcome=~"{Outcome.VERIFIED.value}|{Outcome.UNVERIFIED.value}"'

STREAMS = "model_verdict_condition:streamwatch_streams:increase5m"
ANOMALIES = "model_snapshot_anomaly:streamwatch_anomalies:increase5m"
REPAIRS = "model_anomaly_outcome:streamwatch_repairs:increase5m"
ERRORS = "job_error:streamwatch_internal_errors:increase5m"
JOB_STREAMS = "job_condition:streamwatch_streams:increase5m"
PROCESSES = "job:streamwatch_processes:count"
MODEL_SEEN = "request_model:streamwatch_streams:first_seen_timestamp_seconds"
FAULT_SEEN = "snapshot_anomaly:streamwatch_faults:first_seen_timestamp_seconds"
REORDERED = "model:streamwatch_reordered_per_stream:ratio"
FIX_RATIO = "model_issue:streamwatch_fixed_per_case:ratio1d"
CASES = "model_issue:streamwatch_cases:sum1d"
FIXED = "model_issue:streamwatch_fixed_cases:sum1d"
INDEPENDENT = "model_issue:streamwatch_independent_cases:sum1d"
BROKEN_RATIO = "job:streamwatch_broken_per_stream:ratio"
BROKEN = "job:streamwatch_broken_streams:sum"


@dataclass(frozen=True)
class Options:
    """What may differ from one installation to another.

    `keep` are the labels that tell services apart; `faster` divides every duration, which tests need.
    """

    repository: str = REPOSITORY
    grafana: str = GRAFANA
    keep: tuple[str, ...] = ("job",)
    objective: float = OBJECTIVE
    faster: int = 1

    def time(self, minutes: float) -> str:
        """A duration as Prometheus writes it."""
        seconds = round(minutes * 60 / self.faster)
        for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
            if seconds >= size and seconds % size == 0:
                return f"{seconds // size}{unit}"
        return f"{max(1, seconds)}s"

    def window(self, name: str) -> str:
        """The duration that a record's name states, as long as it really is."""
        size = {"m": MINUTE, "h": HOUR, "d": DAY}[name[-1]]
        return self.time(int(name[:-1]) * size)

    def by(self, *labels: str) -> str:
        """The labels of an aggregation, those that tell services apart among them."""
        return f"by ({', '.join((*self.keep, *labels))})"

    def on(self, *labels: str) -> str:
        """The same for a match of many to one."""
        return f"on ({', '.join((*self.keep, *labels))}) group_left ()"


@dataclass(frozen=True)
class Record:
    """A recording rule."""

    name: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)


# --- what is recorded


def _growth(counter: str, options: Options, *labels: str, selector: str = "") -> str:
    """How much a counter grew in five minutes; one that is new grew by all it has."""
    series, growth = counter + selector, options.time(GROWTH)
    return f"""
        sum {options.by(*labels)} (
            ({series} unless count_over_time({series}[{options.time(NEW)}] offset {growth}))
          or
            increase({series}[{growth}])
        )"""


def _growths(options: Options) -> tuple[Record, ...]:
    """The records that all others are made of, and how many processes are watched at all."""
    repair = ("streamwatch_anomaly", "streamwatch_strategy", "streamwatch_outcome", "streamwatch_applied")
    anomaly = ("gen_ai_response_model", "streamwatch_anomaly", "streamwatch_severity")
    verdict = ("streamwatch_verdict", "streamwatch_condition")
    published = f'streamwatch_published_fix_ratio{{streamwatch_issue="{ISSUES[0].name}",streamwatch_strategy="any"}}'
    return (
        Record(STREAMS, _growth("streamwatch_streams_total", options, *MODEL, *verdict)),
        Record(ANOMALIES, _growth("streamwatch_anomalies_total", options, *MODEL, *anomaly)),
        Record(REPAIRS, _growth("streamwatch_repairs_total", options, *MODEL, *repair)),
        Record(ERRORS, _growth("streamwatch_internal_errors_total", options, "error_type")),
        Record(JOB_STREAMS, f"sum {options.by('streamwatch_condition')} ({STREAMS})"),
        # Every process exports this gauge from its start on, whether it streams or not.
        Record(PROCESSES, f"count {options.by()} ({published})"),
    )


def total(record: str, options: Options, window: str, selector: str = "", by: tuple[str, ...] = MODEL) -> str:
    """How many there were in a window."""
    counted = f"sum_over_time({record}{selector}[{options.window(window)}])"
    return f"sum {options.by(*by)} (\n  {counted}\n) / {PER_EVENT}"


#: Streams that were worth less: the name in a record, and the streams meant.
_WORTH = {
    "disturbed_streams": f'{{streamwatch_condition!="clean",{_ANSWERED}}}',
    "damaged_streams": f'{{streamwatch_condition="broken",{_ANSWERED}}}',
    "truncated_streams": f"{{{_CUT}}}",
}


def counted(name: str, window: str) -> str:
    """The record that counts streams of a model, by what they were worth."""
    return f"model:streamwatch_{name}:sum{window}"


def _counts(options: Options, window: str, *names: str) -> tuple[Record, ...]:
    """How many streams there were in a window, and how many of them were worth less; 0 where none was."""
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


def _burned(options: Options, windows: tuple[str, ...]) -> tuple[Record, ...]:
    """How many streams of a service ended broken, and what share of all that is."""
    records: list[Record] = []
    for window in windows:
        streams, broken = f"job:streamwatch_streams:sum{window}", BROKEN + window
        ended_broken = total(JOB_STREAMS, options, window, '{streamwatch_condition="broken"}', by=())
        records += [
            Record(streams, total(JOB_STREAMS, options, window, by=())),
            Record(broken, f"{ended_broken}\nor\n0 * {streams}"),
            Record(BROKEN_RATIO + window, f"{broken} / ({streams} > 0)"),
        ]
    return tuple(records)


# --- fix rates


def named(kinds: Iterable[AnomalyKind]) -> str:
    return f'streamwatch_anomaly=~"{"|".join(kind.name for kind in kinds)}"'


def repairable(issue: Issue) -> list[AnomalyKind]:
    """The kinds of an issue that have a repair."""
    return [kind for kind in KINDS.values() if kind.issue is issue and kind.strategy is not Strategy.NONE]


def _cases(issue: Issue, options: Options) -> tuple[str, str]:
    """How many cases of an issue there were in a day, and how many of them were fixed.

    A hazard or dialect that was left alone is no case: it is legal, and where a framework or the SDK's
    own helper reads the stream it is left alone on purpose.
    """
    kinds, window = repairable(issue), options.window("1d")
    faults = named(kind for kind in kinds if kind.severity is Severity.FAULT)
    others = named(kind for kind in kinds if kind.severity is not Severity.FAULT)
    terms = [f"{REPAIRS}{{{faults}}}"]
    if any(kind.severity is not Severity.FAULT for kind in kinds):
        terms.append(f'{REPAIRS}{{{others},streamwatch_outcome!="{Outcome.UNREPAIRED.value}"}}')
    union = "\n  or\n".join(f"  sum_over_time({term}[{window}])" for term in terms)
    fixed = f"{{{named(kinds)},{_FIXED}}}"
    return f"sum {options.by(*MODEL)} (\n{union}\n) / {PER_EVENT}", total(REPAIRS, options, "1d", fixed)


def _fix_rates(options: Options) -> tuple[Record, ...]:
    records: list[Record] = []
    for issue in ISSUES:
        labels = {"streamwatch_issue": issue.name}
        cases, fixed = _cases(issue, options)
        records += [Record(CASES, cases, labels), Record(FIXED, fixed, labels)]
    disturbed = f"{options.on(*MODEL)} {counted('disturbed_streams', '1d')}"
    z2 = f"{Z * Z:.4f}"
    n, ratio = INDEPENDENT, FIX_RATIO
    upper = f"""
        (
            {ratio}
          + {z2} / (2 * {n})
          + {Z} * sqrt({ratio} * (1 - {ratio}) / {n} + {z2} / (4 * {n} ^ 2))
        )
        /
        (1 + {z2} / {n})"""
    return (
        *records,
        Record(FIX_RATIO, f"({FIXED} or 0 * {CASES})\n/\n({CASES} > 0)"),
        # Cases of one stream share their fate, so there is no more evidence than there are streams.
        Record(INDEPENDENT, f"(\n  ({CASES} <= {disturbed})\n  or\n  (0 * {CASES} + {disturbed})\n) > 0"),
        Record(f"{FIX_RATIO}_upper", upper),
    )


# --- what was seen before


#: The labels of the two records below.
REQUEST_LABELS = ("gen_ai_request_model",)
FAULT_LABELS = ("gen_ai_request_model", "gen_ai_response_model", "streamwatch_anomaly")


def _first_seen(options: Options) -> tuple[Record, ...]:
    """When a model, and a fault of one of its snapshots, was seen first: records that remember themselves.

    They outlast the retention of the database, and cost one sample each where a look at weeks of raw
    counters would read millions. They forget when Prometheus is down for a day, and then learn anew.
    """

    def remembered(name: str, now: str) -> Record:
        seen = f"max_over_time({now}[{options.time(2 * GROWTH)}])"
        by = FAULT_LABELS if name == FAULT_SEEN else REQUEST_LABELS
        first = f"0 * (sum {options.by(*by)} ({seen}) > 0) + time()"
        return Record(name, f"last_over_time({name}[{options.time(DAY)}])\nor\n{first}")

    return (
        remembered(MODEL_SEEN, STREAMS),
        remembered(FAULT_SEEN, f'{ANOMALIES}{{streamwatch_severity="{Severity.FAULT.value}"}}'),
    )


def short(options: Options) -> tuple[Record, ...]:
    """What is recorded every minute."""
    return (
        *_growths(options),
        *_counts(options, "15m", "disturbed_streams", "truncated_streams"),
        *_counts(options, "1h", "damaged_streams"),
        _reordered(options, "15m"),
        *_burned(options, ("5m", "30m", "1h")),
    )


def long(options: Options) -> tuple[Record, ...]:
    """What is recorded every five minutes: it changes slowly, and reads hours and days."""
    return (
        *_counts(options, "1d", "disturbed_streams"),
        _reordered(options, "1d"),
        *_fix_rates(options),
        *_burned(options, ("2h", "6h", "1d", "3d")),
        *_first_seen(options),
    )
