"""What servers, gateways and proxies do to a stream: the table, and what all changes have in common.

A change is a pure function of the events and of chance. `undo` says for whom the stream without the change is a right
answer too, because what the change destroys shows on the wire:

    proved   for everybody: ids, indexes, numbers, closing texts or what was asked contradict the plain reading
    helper   for the SDK's helper, which joins what it should not join, or raises
    raises   for a reader alone that raises on the plain SDK
    never    for nobody: what is lost is lost, and an error stays an error

Whatever it is, the plain reading of the changed stream is right as well: a repair is never owed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .streams import GENERATORS, OTHERS
from .wire import DONE, Chance, Event, made

Events = list[Event]
Run = Callable[[Events, Chance], "Events | None"]
ALL = (*GENERATORS, *OTHERS)


@dataclass(frozen=True)
class Change:
    """One habit; `run` returns None for a stream that has nothing to change."""

    name: str
    apis: tuple[str, ...]
    undo: str
    run: Run


CHANGES: dict[str, Change] = {}


def change(*apis: str, undo: str = "raises") -> Callable[[Run], Run]:
    """Put a change into the table, under the name of its function."""

    def put(run: Run) -> Run:
        return add(run.__name__.strip("_"), apis, undo, run)

    return put


def add(name: str, apis: tuple[str, ...], undo: str, run: Run) -> Run:
    """Put a change into the table."""
    if name in CHANGES:
        raise ValueError(f"there are two changes of the name {name}")
    CHANGES[name] = Change(name, apis, undo, run)
    return run


def changes_of(api: str) -> list[Change]:
    """Return the changes of an API."""
    return [change for change in CHANGES.values() if api in change.apis]


def applied(change: Change, events: tuple[Event, ...], seed: int, stream: str) -> tuple[Event, ...] | None:
    """Return the changed events; None if there is nothing to change."""
    result = change.run(list(events), Chance(seed, stream, change.name))
    return None if result is None or tuple(result) == events else tuple(result)


# --- for changes of members


def on_payloads(events: Events, edit: Callable[[Any, int], Any]) -> Events | None:
    """Return the events after `edit(payload, place)` has altered some; it says whether it did."""
    result, changed = [], False
    for place, event in enumerate(events):
        altered = [False]

        def run(payload: Any, place: int = place, altered: list[Any] = altered) -> None:
            altered[0] = edit(payload, place)

        candidate = event.edited(run) if event.is_object else event
        changed = changed or bool(altered[0])
        result.append(candidate if altered[0] else event)
    return result if changed else None


def on_choices(events: Events, edit: Callable[[Any, Any], Any]) -> Events | None:
    """Return the events after `edit(choice, payload)` has altered some choices."""

    def run(payload: Any, _place: int) -> Any:
        return any(edit(choice, payload) for choice in payload.get("choices") or () if isinstance(choice, dict))

    return on_payloads(events, run)


def on_deltas(events: Events, edit: Callable[[Any, Any], Any]) -> Events | None:
    """Return the events after `edit(delta, choice)` has altered some deltas."""
    return on_choices(events, lambda c, _p: isinstance(c.get("delta"), dict) and edit(c["delta"], c))


def on_calls(events: Events, edit: Callable[[Any, bool, Any], Any]) -> Events | None:
    """Return the events after `edit(fragment, first, choice)` has altered some fragments of calls."""
    seen: set[Any] = set()

    def run(delta: Any, choice: Any) -> Any:
        calls = delta.get("tool_calls")
        found = False
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                key = choice.get("index"), call.get("index")
                found = bool(edit(call, key not in seen, choice)) or found
                seen.add(key)
        return found

    return on_deltas(events, run)


def setting(member: str, value: Any) -> Callable[[Any], bool]:
    """Return an edit that sets a member."""

    def edit(into: Any) -> bool:
        if member in into and into[member] == value and type(into[member]) is type(value):
            return False
        into[member] = value
        return True

    return edit


def removing(member: str) -> Callable[[Any], bool]:
    """Return an edit that takes a member out."""
    return lambda into: into.pop(member, removing) is not removing


# --- for changes of events


def is_text(event: Event) -> bool:
    """Whether an event carries a piece of text, arguments or reasoning."""
    if event.type:
        return event.type.endswith(".delta")
    for choice in (event.payload.get("choices") if event.is_object else None) or ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and (delta.get("content") or delta.get("tool_calls")):
            return True
        if isinstance(choice, dict) and choice.get("text"):
            return True
    return False


def is_data(event: Event) -> bool:
    """Whether an event has a JSON object."""
    return event.is_object


def end_of(events: Events) -> int:
    """Return the place after the last payload: where [DONE] stands, if it is there."""
    places = [place for place, event in enumerate(events) if event.payload != DONE]
    return places[-1] + 1 if places else 0


def inserted(events: Events, place: int, *more: Event) -> Events:
    """Return the events with more of them at a place."""
    return [*events[:place], *more, *events[place:]]


def middle(events: Events, chance: Chance) -> int:
    """Return a place between the first payload and the last one, the same one where other changes are undone."""
    place = chance.place(events[1 : end_of(events)], is_data)
    return 1 + (place or 0)


def moved(events: Events, place: int, distance: int) -> Events:
    """Return the events, one of them so many places later (or earlier)."""
    result = list(events)
    event = result.pop(place)
    result.insert(max(0, place + distance), event)
    return result


def number_of(event: Event) -> int | None:
    """Return the sequence number of an event."""
    number = event.payload.get("sequence_number") if event.is_object else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def vendor(kind: str = "vendor", **members: Any) -> Event:
    """Return an event that only its maker knows."""
    return made({"type": f"{kind}.status", "state": "working", **members})
