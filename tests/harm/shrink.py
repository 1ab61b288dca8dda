"""The smallest example: fewer changes and fewer events, while the same reader is harmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .finder import Case, Finder, Finding
from .judge import BAD
from .wire import Event

#: How many smaller streams are tried for one finding: a stream of 60 events takes about so many.
TRIES = 120


class Shrinker:
    """Shrinks findings with a finder."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.tries = 0

    def shrunk(self, finding: Finding) -> Finding:
        """Return the smallest case that is found, and what is said of it."""
        self.tries = TRIES
        best = self._again(finding, finding.case) or finding
        for name in finding.case.changes if len(finding.case.changes) > 1 else ():
            rest = tuple(other for other in best.case.changes if other != name)
            best = self._again(best, replace(best.case, changes=rest)) or best
        for cut in ("event",) if best.case.cut != "event" else ():
            best = self._again(best, replace(best.case, cut=cut)) or best
        size = max(len(best.case.base.events) // 2, 1)
        while size:
            best = self._without(best, size)
            size //= 2
        stream = best.case.stream()
        best.events = stream.events if stream else ()
        return best

    def _without(self, best: Finding, size: int) -> Finding:
        """Return the finding without as many runs of `size` events as are not needed."""
        start = 0
        while start < len(best.case.base.events):
            events = best.case.base.events
            smaller = self._again(best, self._of(best.case, (*events[:start], *events[start + size :])))
            if smaller is None:
                start += size
            else:
                best = smaller
        return best

    @staticmethod
    def _of(case: Case, events: tuple[Event, ...]) -> Case:
        return replace(case, base=case.base.of(events))

    def _again(self, finding: Finding, case: Case) -> Finding | None:
        """Return the finding in another case; None if the reader is not harmed there, or already without the changes."""
        self.tries -= 1
        if self.tries < 0 or not case.base.events:
            return None
        if case.changes and any(self._harmed(finding, replace(case, changes=()))):
            return None
        return next(self._harmed(finding, case), None)

    def _harmed(self, finding: Finding, case: Case) -> Iterator[Finding]:
        for judged, kinds in self.finder.verdicts(case):
            if judged.reader == finding.judged.reader and judged.verdict in BAD:
                yield Finding(case, judged, kinds)
