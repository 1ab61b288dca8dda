"""The words of the summary of a process, out of its settings and its counts."""

from __future__ import annotations

from collections import Counter

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import FIXED
from streamwatch.core.vocabulary import Condition, Outcome, Severity
from streamwatch.export.series import Series
from streamwatch.version import __version__

#: Kinds named in a line: the most frequent.
_KINDS = 4


def opening(settings: Settings, where: str) -> str:
    """Return the line for the start."""
    policy = settings.repair.text
    repairs = f"observing only, repair policy {policy}" if settings.repair.observe else f"repair policy {policy}"
    return f"{__version__} watches OpenAI streams, {repairs}; metrics are {where}"


def closing(series: list[Series], seconds: float, where: str) -> list[str]:
    """Return the lines for the end, eight at most."""
    verdicts, conditions, unobserved = Counter[str](), Counter[str](), 0
    for each in series:
        unobserved += each.unobserved
        for (verdict, condition, _via), count in each.streams.items():
            verdicts[verdict] += count
            conditions[condition] += count
    total = sum(verdicts.values())
    lines = [f"no streams in this process, which ran for {seconds:.1f} s"]
    if total:
        lines = [f"{_streams(total)} in {seconds:.1f} s: {_counts(verdicts)}"]
        lines.append(", ".join(f"{conditions[each.value]} {each.value}" for each in Condition))
    if unobserved:
        lines.append(f"{_streams(unobserved)} read past the SDK's parser, and not watched")
    faults = _faults(series)
    left = _left(series, faults)
    lines += [*_repairs(series), *([f"not repaired {_named(left)}"] if left else [])]
    lines.append(f"metrics were {where}")
    if faults:
        ((worst, _),) = (left or faults).most_common(1)  # what the application felt comes first
        lines.append(f"more: streamwatch explain {worst.name}")
    return lines


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _repairs(series: list[Series]) -> list[str]:
    """Return what was repaired, or what a repair would have come to."""
    repaired = {True: Counter[AnomalyKind](), False: Counter[AnomalyKind]()}
    verified = {True: 0, False: 0}
    for each in series:
        for (kind, outcome, applied), count in each.repairs.items():
            if outcome in FIXED:
                repaired[applied][kind] += count
                verified[applied] += count if outcome is Outcome.VERIFIED else 0
    said = {True: "repaired", False: "a repair would have corrected"}
    return [
        f"{said[applied]} {_named(counts)} ({verified[applied]} verified)"
        for applied, counts in repaired.items()
        if counts
    ]


def _left(series: list[Series], faults: Counter[AnomalyKind]) -> Counter[AnomalyKind]:
    """Return which of the faults reached the application."""
    left = faults.copy()
    for each in series:
        for (kind, outcome, applied), count in each.repairs.items():
            if outcome in FIXED and applied and kind in left:
                left[kind] -= count
    return +left


def _faults(series: list[Series]) -> Counter[AnomalyKind]:
    found = Counter[AnomalyKind]()
    for each in series:
        for (kind, _via), count in each.anomalies.items():
            found[kind] += count if kind.severity is Severity.FAULT else 0
    return +found


def _named(counts: Counter[AnomalyKind]) -> str:
    shown = ", ".join(f"{kind.name} {count}" for kind, count in counts.most_common(_KINDS))
    more = len(counts) - _KINDS
    return f"{shown} and {more} other kinds" if more > 0 else shown
