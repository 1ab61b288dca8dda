"""The first looks of a runbook: queries on the records, filtered as the alert is.

What is in capitals is a label of the alert that fired. As the alert does, a query asks for whole streams, also of pods
that ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards import records
from dashboards.alerts import Alert
from dashboards.records import ANOMALIES, BUCKETS, CASES, ERRORS, PROCESS_SEEN, RELEASES, STREAMS, TOTALS, total_of
from streamwatch.core.vocabulary import Severity

#: What stands for the value of a label.
PLACEHOLDERS = {
    "job": "JOB",
    "server_address": "SERVER",
    "gen_ai_operation_name": "OPERATION",
    "gen_ai_request_model": "MODEL",
    "gen_ai_response_model": "SNAPSHOT",
    "streamwatch_anomaly": "KIND",
    "streamwatch_issue": "ISSUE",
    "error_type": "TYPE",
}
_LOST = 'streamwatch_outcome=~"failed|unrepaired"'
_CUT = 'streamwatch_verdict=~"truncated|empty"'
_ENDED = 'streamwatch_condition="broken",streamwatch_verdict=~"complete|abandoned"'


@dataclass(frozen=True)
class Look:
    """A question: what was counted in a window, by what, and where; `form` is what is made of it.

    `without` are labels of the alert that are not asked for, because the answer is to be compared across them.
    """

    record: str
    by: tuple[str, ...]
    window: str
    where: str = ""
    form: str = "{}"
    without: tuple[str, ...] = ()

    def query(self, labels: tuple[str, ...]) -> str:
        """Return it as PromQL, for an alert with these labels."""
        has = {"job", *TOTALS[self.record]} - {*self.without}
        chosen = [f'{label}="{PLACEHOLDERS[label]}"' for label in labels if label in has]
        selector = ",".join((*chosen, *filter(None, [self.where])))
        series = f"{total_of(self.record)}{{{selector}}}" if selector else total_of(self.record)
        grown = f"  {series}\n    - {series} offset {self.window} >= 0\n  or {series}"
        return self.form.format(f"sum by ({', '.join(self.by)}) (\n{grown}\n)")


@dataclass(frozen=True)
class Plain:
    """A question that is not a window of a total: `labels` are those of the alert that its series have."""

    text: str
    labels: tuple[str, ...] = ("job",)

    def query(self, labels: tuple[str, ...]) -> str:
        """Return it as PromQL, for an alert with these labels."""
        chosen = (f'{label}="{PLACEHOLDERS[label]}"' for label in labels if label in self.labels)
        return self.text.replace("<filter>", ",".join(chosen))


_DURATION = BUCKETS["streamwatch_stream_duration_seconds"]
_DISTANCE = BUCKETS["streamwatch_reorder_distance"]
_GAP = BUCKETS["streamwatch_stream_longest_gap_seconds"]
_SILENCE = BUCKETS["streamwatch_stream_silence_seconds"]
_ORDER = "sequence_out_of_order"

#: By the alert, in the order of its page.
LOOKS: dict[str, tuple[Look | Plain, ...]] = {
    "StreamwatchErrorBudgetBurn": (
        Look(STREAMS, ("streamwatch_verdict",), "1h", 'streamwatch_condition="broken"'),
        Look(
            STREAMS,
            ("gen_ai_request_model", "server_address"),
            "1h",
            'streamwatch_condition="broken"',
            "topk(5, {})",
        ),
        Look(STREAMS, records.RELEASE, "1h", 'streamwatch_condition="broken"', "topk(5, {})"),
    ),
    "StreamwatchTruncatedStreams": (
        Look(STREAMS, ("streamwatch_verdict", *records.RELEASE), "15m", _CUT),
        Look(STREAMS, ("server_address",), "15m", _CUT, without=("server_address",)),
        Look(_DURATION, ("le",), "1h", 'streamwatch_verdict="truncated"', "histogram_quantile(0.5, {})"),
    ),
    "StreamwatchUnrepairedFaults": (
        Look(
            ANOMALIES,
            ("streamwatch_anomaly",),
            "1h",
            f'streamwatch_severity="{Severity.FAULT.value}"',
            "topk(5, {})",
        ),
        Look(CASES, ("streamwatch_issue", "streamwatch_outcome", "streamwatch_applied"), "1h", _LOST),
        Look(STREAMS, ("server_address", "gen_ai_response_model"), "1h", _ENDED, without=("server_address",)),
    ),
    "StreamwatchToolCallsBroken": (
        Look(
            CASES,
            ("streamwatch_issue", "streamwatch_outcome", "streamwatch_applied"),
            "1h",
            f'streamwatch_issue=~"tool_call_.*",{_LOST}',
        ),
    ),
    "StreamwatchReorderSpike": (
        Look(CASES, ("streamwatch_outcome", "streamwatch_applied"), "15m", f'streamwatch_issue="{_ORDER}"'),
        Look(ANOMALIES, ("server_address",), "15m", f'streamwatch_anomaly="{_ORDER}"', without=("server_address",)),
        Look(_DISTANCE, ("le",), "15m", "", "histogram_quantile(0.99, {})"),
    ),
    "StreamwatchFixRateBelowPublished": (
        Look(
            CASES,
            ("streamwatch_issue", "streamwatch_outcome"),
            "1d",
            f'streamwatch_issue=~"sequence_.*|tool_call_.*",streamwatch_applied="true",{_LOST}',
        ),
        Look(CASES, records.RELEASE, "1d", f'streamwatch_applied="true",{_LOST}'),
    ),
    "StreamwatchNewAnomalyKind": (
        Look(ANOMALIES, ("server_address", "gen_ai_response_model"), "1h", without=("gen_ai_response_model",)),
        Look(STREAMS, ("server_address", *records.RELEASE), "1h", without=("gen_ai_response_model",)),
        Look(
            CASES,
            ("streamwatch_outcome", "streamwatch_applied"),
            "1h",
            'streamwatch_issue="KIND"',
        ),
        Plain(
            "count by (gen_ai_response_model, streamwatch_openai_version) (\n"
            f"  {RELEASES}{{<filter>}} unless {RELEASES}{{<filter>}} offset 1d\n)"
        ),
    ),
    "StreamwatchInternalErrors": (Look(ERRORS, ("error_type",), "1d"),),
    "StreamwatchStalledStreams": (
        Plain(
            "max by (job, server_address, gen_ai_request_model, streamwatch_state) (\n"
            "  streamwatch_longest_silence_seconds{<filter>}\n)",
            ("job", *records.MODEL),
        ),
        Plain(
            'sum by (job, instance) (\n  streamwatch_open_streams{<filter>,streamwatch_state="silent"}\n)',
            ("job", *records.MODEL),
        ),
    ),
    "StreamwatchStallsRising": (
        Look(_SILENCE, ("streamwatch_verdict",), "1h", 'le="+Inf"'),
        Look(_GAP, ("le", "server_address"), "15m", "", "histogram_quantile(0.9, {})", without=("server_address",)),
        Look(ANOMALIES, ("streamwatch_via",), "1h", 'streamwatch_anomaly="stream_stalled"'),
    ),
    "StreamwatchAbsent": (Plain(f"time() - {PROCESS_SEEN}{{<filter>}}"),),
}


def queries(alert: Alert) -> list[str]:
    """Return the queries of an alert's page, in its order."""
    labels = ("job", *alert.labels)
    return [look.query(labels) for look in LOOKS.get(alert.name, ())]
