"""A stream in the order of its own numbers, each event once: what the numbers on the wire prove, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from .wire import Event, Stream

Events = list[Event]
#: Where relays stamp the order of chunks.
STAMPS = ("sequence_number", "sequence", "sequenceNumber", "seq", "chunk_index", "index")


def number(event: Event, field: str) -> int | None:
    """Return the number of an event in a field."""
    if field == "id:":
        return int(event.id) if event.is_object and event.id is not None and event.id.isdigit() else None
    found = event.payload.get(field) if event.is_object else None
    found = int(found) if isinstance(found, float) and found.is_integer() else found
    return found if isinstance(found, int) and not isinstance(found, bool) else None


#: Contradictions that a run of numbers outlives, and how long it has to be: a gateway's own event, or a finish that is
#: said once more, bears the number of another event.
_CONTRADICTIONS, _RUN = 3, 8
_Kept = list[tuple[Event, int | None]]


def in_order(events: Events, field: str) -> Iterator[Events]:
    """Return the events in order of their numbers, where the numbers prove that.

    They do if few are missing between the first and the last: a permutation of consecutive integers is no accident; and
    if no number stands on two payloads, or on a few in a long run: those stay as they came, as if they had none. Of
    other numbers that contradict themselves, the run before that proves what it repeats.

    The same payload under the same number is a repeat, and goes; the first ones may stay, which nothing proves yet.
    Events without a number keep their place, or their predecessor, or stay behind all that came before them.
    """
    known: dict[int, Event] = {}
    kept: list[tuple[Event, int | None, bool]] = []
    contradictions = 0
    for event in events:
        found = number(event, field)
        repeats = found is not None and found in known and known[found].payload == event.payload
        if found is not None and found in known:
            contradictions += not repeats
            found = None
        if found is not None:
            known[found] = event
        kept.append((event, found, repeats))
    if contradictions and (contradictions > _CONTRADICTIONS or len(known) < _RUN):
        yield from _before_contradicted(events, field)
        once = _until_contradicted(events, field)
        if len(once) < len(events):
            yield once
        return
    if not _counts(list(known), sum(found is None and is_part(event) for event, found, _ in kept)):
        return
    numbered = [known[found] for found in sorted(known)]
    for stay in range(sum(repeats for _, _, repeats in kept) + 1):
        some = list(_with_repeats(kept, stay))
        yield _by_place(some, numbered)
        yield _by_predecessor(some, numbered)
        yield _behind_what_came(some, numbered)
        yield _around_what_is_broken(some)
        yield from _behind_the_start(some)


def _before_contradicted(events: Events, field: str) -> Iterator[Events]:
    """Return the events that come before a number that is there already in order, where so much is proved by then."""
    known: set[int] = set()
    for place, event in enumerate(events):
        found = number(event, field)
        if found in known:
            yield from ([*some, *events[place:]] for some in in_order(events[:place], field) if some != events[:place])
            return
        known |= set() if found is None else {found}


def _until_contradicted(events: Events, field: str) -> Events:
    """Return the events without the repeats in the run of numbers that they begin with, from the third number on."""
    known: dict[int, Event] = {}
    result: Events = []
    for place, event in enumerate(events):
        found = number(event, field)
        if found is None or not known or found == max(known) + 1:
            known |= {} if found is None else {found: event}
        elif found not in known or known[found].payload != event.payload:
            return [*result, *events[place:]]
        elif len(known) >= 3:
            continue
        result.append(event)
    return result


def is_part(event: Event) -> bool:
    """Return whether an event is a part of an answer, so that it may have lost a number."""
    return event.is_object and any(name in event.payload for name in ("choices", "item_id", "item", "response"))


def _counts(came: list[int], unnumbered: int = 0) -> bool:
    """Whether numbers, in the order in which they came, are a permutation of integers of which few are missing.

    So many parts of the answer have no number, and may be what is missing.
    """
    if len(came) < 3 or came == sorted(came, reverse=True):  # what counts down may count what is left
        return False
    # Where the first ones prove the order, more may be missing later: losses, or what a gateway put together.
    missing = len(came) if _begins_with_proof(came) else max(2, len(came) // 4)
    return max(came) - min(came) + 1 <= len(came) + unnumbered + missing


def _begins_with_proof(came: list[int]) -> bool:
    """Whether the first numbers, a run's length or more of them, are a permutation of consecutive integers."""
    first = (came[:length] for length in range(_RUN, len(came) + 1))
    return any(max(some) - min(some) + 1 == len(some) and some != sorted(some) for some in first)


def _with_repeats(kept: list[tuple[Event, int | None, bool]], stay: int) -> Iterator[tuple[Event, int | None]]:
    """Return the events with the first so many repeats, as events without a number."""
    for event, found, repeats in kept:
        stay -= repeats
        if not repeats or stay >= 0:
            yield event, found


def _by_place(kept: _Kept, numbered: Events) -> Events:
    rest = iter(numbered)
    return [event if found is None else next(rest) for event, found in kept]


def _by_predecessor(kept: _Kept, numbered: Events) -> Events:
    places = _places(kept)
    return _behind(kept, list(accumulate((places.get(found, -1) for _, found in kept), _latest)), numbered)


def _behind_what_came(kept: _Kept, numbered: Events) -> Events:
    """Return the events in order; one without a number overtakes nothing that came before it."""
    places = _places(kept)
    return _behind(kept, list(accumulate((places.get(found, -1) for _, found in kept), max)), numbered)


def _behind_the_start(kept: _Kept) -> Iterator[Events]:
    """Return the events in order from the first one on, which has gone on when a lower number comes: that one is late."""
    first = next((found for _, found in kept if found is not None), 0)
    later = [(event, None if found is None or found < first else found) for event, found in kept]
    if later != kept:
        yield _by_predecessor(later, _sorted(later))
        yield _behind_what_came(later, _sorted(later))


def _around_what_is_broken(kept: _Kept) -> Events:
    """Return the events in order as far as nothing overtakes one that is no JSON: readers end there."""
    result: Events = []
    some: _Kept = []
    for event, found in kept:
        if event.is_object or event.is_done:
            some.append((event, found))
            continue
        result += [*_behind_what_came(some, _sorted(some)), event]
        some = []
    return [*result, *_behind_what_came(some, _sorted(some))]


def _sorted(kept: _Kept) -> Events:
    """Return the events that have a number, in the order of their numbers."""
    numbered = [(found, event) for event, found in kept if found is not None]
    return [event for _, event in sorted(numbered, key=lambda pair: pair[0])]


def _places(kept: _Kept) -> dict[int | None, int]:
    """Return the place of each number."""
    return {found: place for place, found in enumerate(sorted(found for _, found in kept if found is not None))}


def _latest(before: int, place: int) -> int:
    return before if place < 0 else place


def _behind(kept: _Kept, places: list[int], numbered: Events) -> Events:
    """Return the numbered events, each followed by those whose place it is; [DONE] ends them all."""
    followers: dict[int, Events] = {}
    for (event, found), place in zip(kept, places):
        if found is None:
            followers.setdefault(len(numbered) if event.is_done else place, []).append(event)
    result = followers.get(-1, [])
    for place, event in enumerate(numbered):
        result = [*result, event, *followers.get(place, [])]
    return [*result, *followers.get(len(numbered), [])]


def nearer(stream: Stream, chunks: Iterable[Any]) -> Iterator[tuple[str, Stream]]:
    """Return the stream in the order in which its events were handed on, if that is nearer to the order of numbers.

    The order is taken from what was handed on, and nothing else: every two events that changed places must stand in
    the order of their numbers now.
    """
    for field in (*STAMPS, "id:") if stream.api != "responses" else ("sequence_number",):
        if next(in_order(list(stream.events), field), None) is None:
            continue
        known: dict[int, tuple[int, Event]] = {}
        for place, event in enumerate(stream.events):
            found = number(event, field)
            if found is not None:
                known.setdefault(found, (place, event))
        seen = [found for found in (getattr(chunk, field, None) for chunk in chunks) if found in known]
        if len(seen) != len(known) or len(set(seen)) != len(seen):
            continue
        places = [known[found][0] for found in seen]
        pairs = [(i, j) for i in range(len(seen)) for j in range(i + 1, min(i + 70, len(seen)))]
        if all(seen[i] < seen[j] for i, j in pairs if places[i] > places[j]):
            rest = iter(seen)
            events = _by_place(
                [(e, number(e, field)) for e in _each_once(stream.events, field)], [known[n][1] for n in rest]
            )
            yield f"nearer to the order of {field}", stream.of(events)


def _each_once(events: Iterable[Event], field: str) -> Events:
    """Return the events without those whose number was there already."""
    seen: set[int] = set()
    kept = []
    for event in events:
        found = number(event, field)
        if found is None or found not in seen:
            kept.append(event)
        seen |= {found} if found is not None else set()
    return kept


def said_once(events: Events) -> Events:
    """Return the events without those that came already, under the number that the protocol gives to one alone."""
    seen: list[Any] = []
    kept = []
    for event in events:
        numbered = event.is_object and event.payload.get("sequence_number") is not None
        if not (numbered and event.payload in seen):
            kept.append(event)
        seen += [event.payload] if numbered else []
    return kept
