"""The alerts, and when each fires.

A ratio is one sum divided by another, and alerts on it only above a floor of streams: at three streams an hour
one broken stream is a third of everything, and no reason to wake anybody. `critical` is for what users lose;
that somebody else's API is odd is a `warning`, and that it is odd in a new way an `info`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.records import (
    BROKEN,
    BROKEN_RATIO,
    CASES_OF_DAY,
    DAY,
    ERRORS,
    FAULT_LABELS,
    FAULT_SEEN,
    FIX_RATIO,
    HOUR,
    LEARNING,
    MODEL,
    MODEL_SEEN,
    PROCESSES,
    REORDERED,
    REQUEST_LABELS,
    SPIKE_FACTOR,
    SPIKE_FLOOR,
    USUAL,
    WATCHED,
    Options,
    counted,
    tool_calls_broken,
    total,
)
from streamwatch.core.stream_cases import FEWEST_CASES, KNOWN
from streamwatch.core.vocabulary import Severity

#: Streams below which a share means nothing: at 20 the share is known to some 20 points.
FEWEST_STREAMS = 20
#: Streams that must have been hit before an alert fires. One bad stream can hold hundreds of anomalies.
FEWEST_HIT = 10
#: The same for a spike of reordering, which is reported early.
FEWEST_REORDERED = 5
#: Shares of streams: what reaches the reader broken although it was complete, and what is cut off.
DAMAGED_SHARE, TRUNCATED_SHARE, TOOL_CALL_SHARE = 0.01, 0.05, 0.01
#: The share that is cut off in six hours: where a model has two streams a minute, an hour has too few to say anything.
TRUNCATED_SLOWLY = 0.02
#: Streams in six hours below which a share means nothing: 20 an hour.
FEWEST_SLOWLY = 6 * FEWEST_STREAMS
#: A burn rate, and the two windows in which it must be exceeded: the short one ends an alert soon.
Windows = tuple[tuple[float, str, str], ...]
#: As in the SRE workbook: 2 % of a month's budget in an hour, 5 % in six hours; 10 % in one day or in three.
FAST: Windows = ((14.4, "1h", "5m"), (6, "6h", "30m"))
SLOW: Windows = ((3, "1d", "2h"), (1, "3d", "6h"))

#: What a fix rate is expected of: hazards are legal, and make no alert.
FAULTS_WITH_FIGURES = tuple(definition for definition in KNOWN if definition.severity is Severity.FAULT)

#: Minutes for which a new fault of a model is news.
NEWS = HOUR
#: Evaluations of an hour in which a service must have been watched, for its absence to be one: not a job of minutes.
FEWEST_WATCHED = 30

#: What the words in angle brackets in a description stand for.
_MODEL = "{{ $labels.gen_ai_request_model }} at {{ $labels.server_address }} ({{ $labels.gen_ai_operation_name }})"


@dataclass(frozen=True)
class Alert:
    """An alerting rule: `wait` and `hold` in minutes, `dashboard` the uid of the one that shows it.

    `labels` are those of what is wrong, beside the ones that distinguish services.
    """

    name: str
    severity: str
    expr: str
    wait: float
    hold: float
    summary: str
    description: str
    dashboard: str
    labels: tuple[str, ...] = ()


def described(text: str, options: Options) -> str:
    """Return a description, with the labels that it is about."""
    service = " ".join(f"{{{{ $labels.{label} }}}}" for label in options.keep)
    return text.replace("<model>", _MODEL).replace("<service>", service)


def _reorder_spike(options: Options) -> Alert:
    now = f"{REORDERED}15m"
    return Alert(
        "StreamwatchReorderSpike",
        "warning",
        f"""
        {now} > {SPIKE_FLOOR}
        and
        {now} > {SPIKE_FACTOR} * {USUAL}
        and
        {counted("streams", "15m")} >= {FEWEST_STREAMS}
        and
        {counted("disturbed_streams", "15m")} >= {FEWEST_REORDERED}""",
        wait=5,
        hold=15,
        summary="Stream events arrive out of order more often than they used to.",
        description=described(
            '<model>: {{ printf "%.2f" $value }} events out of order per stream in the last 15 minutes, '
            "more than is usual there, in <service>.",
            options,
        ),
        dashboard="streamwatch-overview",
        labels=MODEL,
    )


def _figures() -> str:
    """Return the published figure of each fault that has one."""
    return " or ".join(
        f'streamwatch_published_fix_ratio{{streamwatch_issue="{row.name}",streamwatch_strategy="{row.published[0]}"}}'
        for row in FAULTS_WITH_FIGURES
        if row.published
    )


def _fix_rate_below_published(options: Options) -> Alert:
    by = "streamwatch_issue"
    return Alert(
        "StreamwatchFixRateBelowPublished",
        "warning",
        f"""
        (
          {FIX_RATIO}
          and
          {FIX_RATIO}_upper
            < {options.on(by)}
          max {options.by(by)} (
            {_figures()}
          )
        )
        and
        {CASES_OF_DAY} >= {FEWEST_CASES}""",
        wait=15,
        hold=HOUR,
        summary="Repairs fix fewer cases of a known issue than was published for it.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the cases of {{ $labels.streamwatch_issue }} were fixed "
            "in the last day; even the upper end of the 95 % interval is below the published rate, in <service>.",
            options,
        ),
        dashboard="streamwatch-fix-rates",
        labels=MODEL,
    )


def _unrepaired_faults(options: Options) -> Alert:
    damaged, streams = counted("damaged_streams", "1h"), counted("streams", "1h")
    slowly, of_all = counted("damaged_streams", "6h"), counted("streams", "6h")
    return Alert(
        "StreamwatchUnrepairedFaults",
        "warning",
        f"""
        ({damaged} / {streams} > {DAMAGED_SHARE} and {damaged} >= {FEWEST_HIT})
        or
        (
            {slowly} / ({of_all} >= {FEWEST_SLOWLY}) > {DAMAGED_SHARE}
          and
            {slowly} >= {FEWEST_HIT}
          and
            {damaged} / {streams} > {DAMAGED_SHARE}
        )""",
        wait=10,
        hold=30,
        summary="Streams that look complete reach the application with data lost or corrupted.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the streams of the last hour, or of six, ran to their end "
            "with a fault that was not repaired, in <service>.",
            options,
        ),
        dashboard="streamwatch-overview",
        labels=MODEL,
    )


def _truncated_streams(options: Options) -> Alert:
    now, hour = ((counted("truncated_streams", window), counted("streams", window)) for window in ("15m", "1h"))
    return Alert(
        "StreamwatchTruncatedStreams",
        "critical",
        f"""
        {now[0]} / {now[1]} > {TRUNCATED_SHARE}
        and
        (
            {now[0]} >= {FEWEST_HIT}
          or
            ({hour[0]} >= {FEWEST_HIT} and {hour[0]} / {hour[1]} > {TRUNCATED_SHARE})
        )""",
        wait=5,
        hold=10,
        summary="Answers are cut off before their end, and the SDK says nothing.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the streams of the last 15 minutes were cut off or empty, "
            "in <service>.",
            options,
        ),
        dashboard="streamwatch-anatomy",
        labels=MODEL,
    )


def _truncated_slowly(options: Options) -> Alert:
    cut, streams = counted("truncated_streams", "6h"), counted("streams", "6h")
    return Alert(
        "StreamwatchTruncatedStreams",
        "warning",
        f"""
        {cut} / ({streams} >= {FEWEST_SLOWLY}) > {TRUNCATED_SLOWLY}
        and
        {cut} >= {FEWEST_HIT}
        and
        {counted("truncated_streams", "1h")} / {counted("streams", "1h")} > {TRUNCATED_SLOWLY}""",
        wait=HOUR,
        hold=0,
        summary="Answers are cut off before their end, few at a time and for hours.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the streams of the last six hours were cut off or empty, "
            "in <service>.",
            options,
        ),
        dashboard="streamwatch-anatomy",
        labels=MODEL,
    )


def _tool_calls_broken(options: Options) -> Alert:
    broken, streams = tool_calls_broken(options, "1h"), counted("streams", "1h")
    return Alert(
        "StreamwatchToolCallsBroken",
        "warning",
        f"(\n{broken} >= {FEWEST_REORDERED}\n)\n/\n{streams} > {TOOL_CALL_SHARE}",
        wait=10,
        hold=30,
        summary="Tool calls reach the application merged, unnumbered or unreadable.",
        description=described(
            "<model>: {{ $value | humanizePercentage }} of the streams of the last hour brought a broken tool call, "
            "in <service>.",
            options,
        ),
        dashboard="streamwatch-anatomy",
        labels=MODEL,
    )


def _new_anomaly_kind(options: Options) -> Alert:
    model = options.on(*REQUEST_LABELS)
    seconds = 60 / options.faster
    return Alert(
        "StreamwatchNewAnomalyKind",
        "info",
        f"(time() - {FAULT_SEEN} < {NEWS * seconds:g})\n"
        f"and\n({FAULT_SEEN} - {model} {MODEL_SEEN} > {LEARNING * seconds:g})",
        wait=0,
        hold=0,
        summary="A model shows a kind of fault that it never showed before.",
        description=described(
            "{{ $labels.gen_ai_request_model }} (snapshot {{ $labels.gen_ai_response_model }}) shows "
            "{{ $labels.streamwatch_anomaly }} for the first time, in <service>. "
            "`streamwatch explain {{ $labels.streamwatch_anomaly }}` says what it is.",
            options,
        ),
        dashboard="streamwatch-anatomy",
        labels=FAULT_LABELS,
    )


def _budget_burn(options: Options, severity: str, windows: Windows, *, wait: float, hold: float) -> Alert:
    budget = f"(1 - {options.objective:g})"
    parts = [
        "\n".join(
            (
                f"  {BROKEN_RATIO}{long} > {factor:g} * {budget}",
                f"and\n  {BROKEN_RATIO}{short} > {factor:g} * {budget}",
                f"and\n  {BROKEN}{long} >= {FEWEST_HIT}",
            )
        )
        for factor, long, short in windows
    ]
    return Alert(
        "StreamwatchErrorBudgetBurn",
        severity,
        "\nor\n".join(f"(\n{part}\n)" for part in parts),
        wait=wait,
        hold=hold,
        summary="Too many streams end unusable for the objective to be met.",
        description=described(
            "<service>: {{ $value | humanizePercentage }} of the streams ended broken; "
            f"the objective is {options.objective * 100:g}%.",
            options,
        ),
        dashboard="streamwatch-overview",
    )


def _internal_errors(options: Options) -> Alert:
    errors = total(ERRORS, options, "15m", by=("error_type",))
    return Alert(
        "StreamwatchInternalErrors",
        "warning",
        f"{errors} > 0",
        wait=0,
        hold=HOUR,
        summary="Streamwatch itself fails; the application is not affected.",
        description=described(
            '<service>: {{ printf "%.0f" $value }} errors of type {{ $labels.error_type }} in the last 15 minutes. The '
            "streams were passed on as they came; what is measured of them may be incomplete.",
            options,
        ),
        dashboard="streamwatch-agent",
    )


def _absent(options: Options) -> Alert:
    return Alert(
        "StreamwatchAbsent",
        "warning",
        f"(\n  last_over_time({PROCESSES}[{options.time(DAY)}])\n  and\n"
        f"  max_over_time({WATCHED}[{options.time(DAY)}]) >= {FEWEST_WATCHED}\n)\nunless\n{PROCESSES}",
        wait=15,
        hold=0,
        summary="A service that was watched is no longer watched.",
        description=described(
            "<service>: no process exports metrics of Streamwatch any more; {{ $value | humanize }} did. Nothing else "
            "here can fire for it.",
            options,
        ),
        dashboard="streamwatch-agent",
    )


def alerts(options: Options) -> tuple[Alert, ...]:
    """Return all alerts, the ones that say most first."""
    return (
        _budget_burn(options, "critical", FAST, wait=2, hold=10),
        _budget_burn(options, "warning", SLOW, wait=15, hold=HOUR),
        _truncated_streams(options),
        _unrepaired_faults(options),
        _tool_calls_broken(options),
        _reorder_spike(options),
        _fix_rate_below_published(options),
        _new_anomaly_kind(options),
        _internal_errors(options),
        _absent(options),
        _truncated_slowly(options),
    )
