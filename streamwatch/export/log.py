"""What is found in streams, as lines of the log: each new finding once, then at most one a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from streamwatch.core.kinds import AnomalyKind, Outcome, Severity, Strategy
from streamwatch.core.report import Report

logger = logging.getLogger("streamwatch")

#: Seconds between two lines about the same kind, model and server: a broken server is told about, and no flood.
_EVERY = 60.0
#: Combinations remembered; a server that invents model names is not to cost memory.
_MAX_KNOWN = 1000
_LEVELS = {Severity.FAULT: logging.WARNING, Severity.DIALECT: logging.INFO, Severity.HAZARD: logging.DEBUG}


class FindingsLog:
    """The log of one process. `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str, str], float] = {}

    def tell(self, report: Report, address: str) -> None:
        """Log what was found in a stream, what was done about it, and how to read more."""
        model = _shown(report.response_model or report.request.model or "an unknown model")
        for kind, count in report.anomalies.items():
            level = _LEVELS[kind.severity]
            if logger.isEnabledFor(level) and self._is_due((kind.name, model, address)):
                logger.log(
                    level,
                    "%s: %s Found %d in a stream of %s from %s; %s. More: streamwatch explain %s",
                    kind.name,
                    kind.meaning,
                    count,
                    model,
                    _shown(address or "an unknown server"),
                    _done(report, kind),
                    kind.name,
                )

    def _is_due(self, key: tuple[str, str, str]) -> bool:
        now = self._clock()
        last = self._told.get(key)
        if last is not None and now - last < _EVERY:
            return False
        if len(self._told) >= _MAX_KNOWN:
            self._told.clear()
        self._told[key] = now
        return True


def _done(report: Report, kind: AnomalyKind) -> str:
    """What became of the anomalies of a kind, in words."""
    if kind.strategy is Strategy.NONE:
        return "nothing can be repaired here"
    outcomes = report.outcomes.get(kind, {})
    if set(outcomes) <= {Outcome.UNREPAIRED}:
        return "left as it is"
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in outcomes.items())
    what = "repaired" if report.applied else "observed only, a repair would have come to"
    return f"{what} ({kind.strategy.value}): {told}"


def _shown(text: str) -> str:
    """A text off the wire, on one line."""
    return text[:100] if text.isprintable() else repr(text[:100])
