"""The smallest example: fewer changes and fewer events, while the same reader is harmed by the same repair.

A healthy stream stays healthy: whole items, calls and choices are left out, and neighbouring pieces of one text are
put together. Only of a stream that is not healthy are single events left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .finder import Case, Finder, Finding
from .judge import BAD
from .wire import Event

#: How many smaller streams are tried for one finding: a stream of 60 events takes about so many.
TRIES = 150
Events = tuple[Event, ...]


class Shrinker:
    """Shrinks findings with a finder."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.tries = 0

    def shrunk(self, finding: Finding) -> Finding:
        """Return the smallest case that is found, and what is said of it."""
        self.tries = TRIES
        best = self._again(finding, finding.case) or finding
        if best.case.changes:
            best = self._again(best, replace(best.case, changes=())) or best
        for name in best.case.changes if len(best.case.changes) > 1 else ():
            rest = tuple(other for other in best.case.changes if other != name)
            best = self._again(best, replace(best.case, changes=rest)) or best
        if best.case.cut != "event":
            best = self._again(best, replace(best.case, cut="event")) or best
        best = self._smaller(best)
        stream = best.case.stream()
        best.events = stream.events if stream else ()
        return best

    def _smaller(self, best: Finding) -> Finding:
        """Return the finding with less and less, until nothing more can go."""
        ways = _HEALTHY if best.case.base.healthy else _ANY
        progress = True
        while progress and self.tries > 0:
            progress = False
            for way in ways:
                for events in way(best.case.base.events):
                    smaller = self._again(best, replace(best.case, base=best.case.base.of(events)))
                    if smaller is not None:
                        best, progress = smaller, True
                        break
        return best

    def _again(self, finding: Finding, case: Case) -> Finding | None:
        """Return the finding in another case; None if the reader is not harmed there, or already without the changes."""
        self.tries -= 1
        if self.tries < 0 or not case.base.events:
            return None
        if case.changes and any(True for _ in self._harmed(finding, replace(case, changes=()))):
            return None
        return next(self._harmed(finding, case), None)

    def _harmed(self, finding: Finding, case: Case) -> Iterator[Finding]:
        for judged, kinds in self.finder.verdicts(case):
            if judged.reader == finding.judged.reader and judged.verdict in BAD and kinds == finding.kinds:
                yield Finding(case, judged, kinds)


# --- what can go


def runs(events: Events) -> Iterator[Events]:
    """Return the events without a run of them, the longest runs first."""
    size = len(events) // 2
    while size:
        for start in range(0, len(events), size):
            yield (*events[:start], *events[start + size :])
        size //= 2


def items(events: Events) -> Iterator[Events]:
    """Return the events of a response without its last item."""
    last = max((e.payload["output_index"] for e in events if _is_about(e)), default=0)
    if last:
        kept = [event for event in events if not (_is_about(event) and event.payload["output_index"] == last)]
        yield _numbered(tuple(_without_output(event, last) for event in kept))


def _is_about(event: Event) -> bool:
    return event.is_object and isinstance(event.payload.get("output_index"), int)


def _without_output(event: Event, place: int) -> Event:
    response = event.payload.get("response") if event.is_object else None
    if not isinstance(response, dict) or len(response.get("output") or ()) <= place:
        return event
    output = [item for i, item in enumerate(response["output"]) if i != place]
    return event.holding({**event.payload, "response": {**response, "output": output}})


def _numbered(events: Events) -> Events:
    """Return the events with numbers as if none had gone, where they had numbers one after the other."""
    numbers = [e.payload["sequence_number"] for e in events if e.is_object and "sequence_number" in e.payload]
    if len(numbers) != len(events):
        return events
    return tuple(e.holding({**e.payload, "sequence_number": numbers[0] + i}) for i, e in enumerate(events))


def pieces(events: Events) -> Iterator[Events]:
    """Return the events with two neighbouring pieces put together: of a text, or of the arguments of one call."""
    for place in range(len(events) - 1):
        together = _together(events[place], events[place + 1])
        if together is not None:
            yield _numbered((*events[:place], together, *events[place + 2 :]))


def _together(one: Event, other: Event) -> Event | None:
    if not one.is_object or not other.is_object:
        return None
    if one.type.endswith(".delta") and one.type == other.type:
        if any(one.payload.get(key) != other.payload.get(key) for key in ("item_id", "content_index", "summary_index")):
            return None
        return one.holding({**one.payload, "delta": one.payload["delta"] + other.payload["delta"]})
    return _chunks_together(one, other)


def _chunks_together(one: Event, other: Event) -> Event | None:
    """Return one chunk for two whose only choice brings text, or more arguments of the same call."""
    first, second = _only(one), _only(other)
    if first is None or second is None or first.get("index") != second.get("index") or second.get("finish_reason"):
        return None
    if isinstance(first.get("text"), str) and isinstance(second.get("text"), str):
        return one.edited(lambda p: p["choices"][0].update(text=first["text"] + second["text"]))
    for member in ("content", "reasoning", "reasoning_content", "refusal"):
        texts = [choice["delta"].get(member) for choice in (first, second) if isinstance(choice.get("delta"), dict)]
        if len(texts) == 2 and all(isinstance(text, str) and text for text in texts):
            return one.edited(
                lambda p, member=member, texts=texts: p["choices"][0]["delta"].update({member: "".join(texts)})  # type: ignore[misc]
            )
    return None


def _only(event: Event) -> Any:
    choices = event.payload.get("choices")
    return choices[0] if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict) else None


def last_calls(events: Events) -> Iterator[Events]:
    """Return the chunks without the last call, if there are several."""
    indexes = [_index_of_call(event) for event in events]
    last = max((index for index in indexes if index is not None), default=0)
    if last:
        yield tuple(event for event, index in zip(events, indexes) if index != last)


def _index_of_call(event: Event) -> int | None:
    choice = _only(event) if event.is_object else None
    delta = choice.get("delta") if choice else None
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    index = (
        calls[0].get("index") if isinstance(calls, list) and len(calls) == 1 and isinstance(calls[0], dict) else None
    )
    return index if isinstance(index, int) else None


_HEALTHY: tuple[Callable[[Events], Iterator[Events]], ...] = (items, last_calls, pieces)
_ANY: tuple[Callable[[Events], Iterator[Events]], ...] = (items, last_calls, runs, pieces)
