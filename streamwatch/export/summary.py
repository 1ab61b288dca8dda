"""Evidence on a terminal: one line when a program starts under Streamwatch, and a summary when it ends.

Nothing is written for a process that did not announce itself: tests, commands and frameworks that switch Streamwatch on
for themselves stay silent. Nothing goes to standard output, to a stderr that is captured or closed, or out of a process
that was forked or started by one that has the summary already.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import FIXED
from streamwatch.core.vocabulary import Condition, Outcome, Severity
from streamwatch.export.telemetry import Series
from streamwatch.version import __version__

#: The process that has the summary: those that it starts inherit the variable, and stay silent.
_OWNER = "_STREAMWATCH_SUMMARY_PID"
#: Kinds named in a line: the most frequent.
_KINDS = 4

Where = Callable[[], str]


class Summary:
    """The summary of a process. `where` returns where the metrics are: the end of a sentence with "are"."""

    def __init__(self) -> None:
        self._pid = 0
        self._where: Where = lambda: "exported nowhere"
        self._mode = "never"
        self._began = 0.0
        self._said = False

    def announce(self, where: Where) -> None:
        """Let this process say where its metrics are, unless one that started it does."""
        pid = str(os.getpid())
        if os.environ.setdefault(_OWNER, pid) == pid and not self._pid:
            self._pid, self._where = os.getpid(), where

    def start(self, settings: Settings) -> None:
        """Say once that streams are watched, how, and where the metrics are."""
        self._mode = settings.summary
        if self._said:
            return
        self._began = time.monotonic()
        self._said = self._write(lambda: [opening(settings, self._where())])

    def end(self, series: Iterable[Series]) -> None:
        """Say what became of the streams."""
        self._write(lambda: closing(list(series), time.monotonic() - self._began, self._where()))
        self._pid = 0

    def _write(self, lines: Callable[[], list[str]]) -> bool:
        """Write lines if this process may; no exception leaves it."""
        try:
            stream = sys.stderr
            if self._pid != os.getpid() or not _may_write(stream, self._mode):
                return False
            _put(stream, "".join(f"streamwatch: {line}\n" for line in lines()))
        except Exception:  # a terminal that went away, a stderr of another kind
            return False
        return True


def _put(stream: Any, text: str) -> None:
    """Write a text at once: what stays in a buffer because the file is gone would change the exit code."""
    try:
        descriptor = stream.fileno()
    except Exception:  # not a file
        stream.write(text)
        return
    stream.flush()
    os.write(descriptor, text.encode("ascii", "replace"))


def _may_write(stream: Any, mode: str) -> bool:
    """Return whether a stream may have the lines: by default the terminal's own stderr alone."""
    if mode == "never" or stream is None or stream.closed:
        return False
    return mode == "always" or (bool(stream.isatty()) and stream is sys.__stderr__)


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
    lines += [*_repairs(series), *_left(series, faults)]
    lines.append(f"metrics were {where}")
    if faults:
        lines.append(f"more: streamwatch explain {faults.most_common(1)[0][0].name}")
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


def _left(series: list[Series], faults: Counter[AnomalyKind]) -> list[str]:
    """Return which of the faults reached the application."""
    left = faults.copy()
    for each in series:
        for (kind, outcome, applied), count in each.repairs.items():
            if outcome in FIXED and applied and kind in left:
                left[kind] -= count
    left = +left
    return [f"not repaired {_named(left)}"] if left else []


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


#: That of this process.
summary = Summary()
