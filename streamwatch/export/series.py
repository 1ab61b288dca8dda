"""The counts of streams under one set of common attributes: plain numbers, which a reader of metrics asks for."""

from __future__ import annotations

from typing import Any

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.report import Report
from streamwatch.core.stream_cases import CaseDefinition
from streamwatch.core.vocabulary import ChunkType, Outcome, Resumed
from streamwatch.export.close_codes import close_code


class Series:
    """The counts under one set of common attributes."""

    __slots__ = (
        *("added", "anomalies", "cases", "chunks", "closes", "common", "reconnects", "repairs", "seconds", "streams"),
        "unobserved",
    )

    def __init__(self, common: dict[str, Any]) -> None:
        self.common = common
        self.streams: dict[tuple[str, str, str], int] = {}
        self.chunks: dict[ChunkType, int] = {}
        self.anomalies: dict[tuple[AnomalyKind, str], int] = {}
        self.repairs: dict[tuple[AnomalyKind, Outcome, bool], int] = {}
        self.cases: dict[tuple[CaseDefinition, Outcome, bool, str], int] = {}
        self.seconds: dict[str, float] = {}
        self.added: dict[Resumed, int] = {}
        self.closes: dict[str, int] = {}
        self.unobserved = self.reconnects = 0

    def add_end(self, report: Report, verdict: str, via: str) -> None:
        """Count a stream that has ended, what became of its anomalies, and what it was a case of."""
        ended = verdict, report.condition.value, via
        self.streams[ended] = self.streams.get(ended, 0) + 1
        for kind, outcomes in report.outcomes.items():
            for outcome, count in outcomes.items():
                key = kind, outcome, report.applied
                self.repairs[key] = self.repairs.get(key, 0) + count
        for definition, outcome in report.cases.items():
            case = definition, outcome, report.applied, via
            self.cases[case] = self.cases.get(case, 0) + 1
        for result in report.resumed:
            self.added[result] = self.added.get(result, 0) + 1
        if report.close_code is not None:
            code = close_code(report.close_code)
            self.closes[code] = self.closes.get(code, 0) + 1
        if report.times is not None:
            for waited_for, seconds in (("server", report.times.waiting), ("reader", report.times.reading)):
                self.seconds[waited_for] = self.seconds.get(waited_for, 0.0) + seconds

    def copy(self) -> Series:
        """Return the counts as they are now."""
        copied = Series(self.common)
        copied.streams, copied.chunks = dict(self.streams), dict(self.chunks)
        copied.anomalies, copied.repairs = dict(self.anomalies), dict(self.repairs)
        copied.cases, copied.unobserved = dict(self.cases), self.unobserved
        copied.seconds, copied.added = dict(self.seconds), dict(self.added)
        copied.closes, copied.reconnects = dict(self.closes), self.reconnects
        return copied


def add_new(totals: dict[Any, int], counts: dict[Any, int], before: dict[Any, int]) -> None:
    """Add to totals what is in counts, and was not in them before."""
    for key, count in counts.items():
        new = count - before.get(key, 0)
        if new:
            totals[key] = totals.get(key, 0) + new
