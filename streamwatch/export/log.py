"""The findings in streams, as lines of the log: each new finding once, then at most one a minute."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.report import Report
from streamwatch.core.stream_cases import FIXED
from streamwatch.core.vocabulary import Outcome, Severity, Strategy, StreamState
from streamwatch.export import labels, own_log
from streamwatch.export.request import RequestInfo

#: Seconds between two lines about the same kind, model and server: a broken server is reported, without a flood.
_EVERY = 60.0
#: Combinations remembered, and so the most lines in a minute: a server that invents model names is to cost neither
#: memory nor a disk.
_MAX_KNOWN = 300
#: Lines about silent streams in a minute: a server that hangs hangs with all of its streams.
_MAX_SILENT = 20
#: Calls shown of an error of Streamwatch: more than its own are deep.
_MAX_FRAMES = 12
_LEVELS = {Severity.FAULT: logging.WARNING, Severity.DIALECT: logging.INFO, Severity.HAZARD: logging.DEBUG}
#: A record of the log that tells of a finding has its kind under this name.
FINDING = "streamwatch_kind"


class FindingsLog:
    """The log of one process. `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str, str], float] = {}

    def tell(self, report: Report, address: str) -> None:
        """Log what was found in a stream, what was done about it, and how to read more."""
        model = labels.model(report.response_model) or labels.model(report.request.model) or "an unknown model"
        server = labels.host(address) or "an unknown server"
        for kind, count in report.anomalies.items():
            level = _LEVELS[kind.severity]
            if own_log.logger.isEnabledFor(level) and self._is_due((kind.name, model, server)):
                own_log.write(
                    level,
                    "%s: %s Found %d in a stream of %s from %s; %s. More: streamwatch explain %s",
                    kind.name,
                    kind.meaning,
                    count,
                    model,
                    server,
                    _done(report, kind),
                    kind.name,
                    extra={FINDING: kind.name},
                )

    def _is_due(self, key: tuple[str, str, str]) -> bool:
        now = self._clock()
        last = self._told.get(key)
        if last is not None and now - last < _EVERY:
            return False
        if len(self._told) >= _MAX_KNOWN:
            # A copy, as other threads tell as well.
            self._told = {known: told for known, told in dict(self._told).items() if now - told < _EVERY}
            if len(self._told) >= _MAX_KNOWN:
                return False
        self._told[key] = now
        return True


class SilenceLog:
    """The lines about streams of which nothing comes any more: one each, and no flood. `clock` as above."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = -_EVERY
        self._told = self._untold = 0

    def tell(self, call: RequestInfo, request_id: str, state: StreamState, seconds: float) -> None:
        """Log that a stream has fallen silent.

        A model may think before its first chunk: that is no more than worth knowing.
        """
        now = self._clock()
        if now - self._since >= _EVERY:
            self._since, self._told = now, 0
        if self._told >= _MAX_SILENT:
            self._untold += 1
            return
        self._told += 1
        untold, self._untold = self._untold, 0
        late = state is StreamState.UNANSWERED
        own_log.write(
            logging.INFO if late else logging.WARNING,
            "A stream of %s from %s %s: nothing for %.0f s while its reader waits (request %s).%s",
            labels.model(call.request_model) or "an unknown model",
            labels.host(call.address) or "an unknown server",
            "has not begun" if late else "has fallen silent",
            seconds,
            labels.identifier(request_id) or "without an id",
            f" So have {untold} others that were not logged." if untold else "",
        )


def _done(report: Report, kind: AnomalyKind) -> str:
    """Return what became of the anomalies of a kind, in words."""
    if kind.strategy is Strategy.NONE:
        return "nothing can be repaired here"
    outcomes = report.outcomes.get(kind, {})
    if set(outcomes) <= {Outcome.UNREPAIRED}:
        return "left as it is"
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in outcomes.items())
    tried = "repaired" if any(outcomes.get(each) for each in FIXED) else "a repair was tried"
    what = tried if report.applied else "observed only, a repair would have come to"
    return f"{what} ({kind.strategy.value}): {told}"


def places_of(error: BaseException) -> str:
    """Return where an error came from: files, lines and functions, and none of its words, which may quote a payload."""
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    return " <- ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
