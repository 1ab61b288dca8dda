"""What servers do where lifecycle events list items, and where announcements come without one.

The helper of newer releases of the SDK keeps items by their index, takes those that `response.created` lists for
announced, lets a later event of the response replace what is done, and skips announcements of nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from .changes import Events, add, change, on_payloads
from .changes_responses import renumbered
from .wire import Chance, Event, made

_RESPONSES = ("responses",)
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"


def _created(events: Events) -> Event | None:
    fits = (e for e in events if e.type == "response.created" and isinstance(e.payload.get("response"), dict))
    return next(fits, None)


def _snapshot(created: Event, items: list[Any]) -> Event:
    """Return an event of the life of the response that lists items, as servers repeat it while they work."""
    payload: Any = copy.deepcopy(created.payload)
    payload["type"] = "response.in_progress"
    payload["response"]["output"] = items
    payload.pop("sequence_number", None)
    return made(payload)


def _done(events: Events) -> Iterator[tuple[int, Any]]:
    """Return where items are done, and each of them."""
    for place, event in enumerate(events):
        if event.type == _DONE and isinstance(event.payload.get("item"), dict):
            yield place, event.payload["item"]


# --- items that are listed


def _listed(name: str, count: int, *, announced: bool) -> None:
    """Add a change: `response.created` lists the first items, and they are announced as well, or not."""

    def run(events: Events, chance: Chance) -> Events | None:
        created = _created(events)
        added = [e for e in events if e.type == _ADDED and isinstance(e.payload.get("item"), dict)][:count]
        places = [event.payload.get("output_index") for event in added]
        if created is None or not added or places != list(range(len(added))):
            return None
        items = [copy.deepcopy(event.payload["item"]) for event in added]
        listing = created.edited(lambda payload: payload["response"].update(output=items))
        kept = [event for event in events if announced or event not in added]
        return renumbered([listing if event is created else event for event in kept])

    add(name, _RESPONSES, "raises", run)


_listed("first_item_in_created", 1, announced=False)
_listed("items_in_created", 9, announced=False)
_listed("first_item_in_created_and_announced", 1, announced=True)


def _replace(name: str, edit: Callable[[Any], object], **terminal: Any) -> None:
    """Add a change: behind the items, an event of the response lists them otherwise, and the terminal one does not."""

    def run(events: Events, chance: Chance) -> Events | None:
        created, done = _created(events), list(_done(events))
        if created is None or not done:
            return None
        items = [copy.deepcopy(item) for _, item in done]
        for item in items:
            edit(item)
        last = done[-1][0]
        result = [*events[: last + 1], _snapshot(created, items), *events[last + 1 :]]
        altered = on_payloads(result, lambda payload, _: _ends(payload, terminal)) if terminal else result
        return None if altered is None else renumbered(altered)

    add(name, _RESPONSES, "never", run)


def _ends(payload: Any, members: dict[str, Any]) -> bool:
    if payload.get("type") != "response.completed" or not isinstance(payload.get("response"), dict):
        return False
    payload["response"].update(members)
    return True


def _texts(item: Any) -> None:
    for part in item.get("content") or ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            part["text"] = f"Moderated: {part['text']}"


def _ids(item: Any) -> None:
    item["id"] = f"{item.get('id')}_2"


_replace("items_listed_behind", lambda item: None)
_replace("items_listed_behind_and_output_null", lambda item: None, output=None)
_replace("texts_replaced_and_output_null", _texts, output=None)
_replace("texts_replaced_and_output_empty", _texts, output=[])
_replace("texts_replaced", _texts)
_replace("ids_replaced_and_output_null", _ids, output=None)


@change(*_RESPONSES)
def items_listed_as_they_come(events: Events, chance: Chance) -> Events | None:
    """Behind each item that is done, an event of the response lists those that are."""
    created, items = _created(events), []
    if created is None:
        return None
    result: Events = []
    for event in events:
        result.append(event)
        if event.type == _DONE:
            items.append(copy.deepcopy(event.payload.get("item")))
            result.append(_snapshot(created, list(items)))
    return renumbered(result) if items else None


# --- announcements of nothing


def _nothing(name: str, *, behind: bool, absent: bool) -> None:
    """Add a change: beside each announcement comes another one, under its index and without an item."""

    def run(events: Events, chance: Chance) -> Events | None:
        result: Events = []
        for event in events:
            if event.type != _ADDED:
                result.append(event)
                continue
            empty = event.edited(lambda payload: payload.pop("item", None) if absent else payload.update(item=None))
            result.extend([event, empty.again()] if behind else [empty.again(), event])
        return renumbered(result) if len(result) > len(events) else None

    add(name, _RESPONSES, "raises", run)


_nothing("items_null_before", behind=False, absent=False)
_nothing("items_null_behind", behind=True, absent=False)
_nothing("items_absent_before", behind=False, absent=True)
_nothing("items_absent_behind", behind=True, absent=True)


@change(*_RESPONSES)
def item_null_at_last(events: Events, chance: Chance) -> Events | None:
    """An announcement without an item comes under an index of its own, before the end."""
    added = next((event for event in events if event.type == _ADDED), None)
    if added is None or len(events) < 2:
        return None
    empty = added.edited(lambda payload: payload.update(item=None, output_index=97)).again()
    return renumbered([*events[:-1], empty, events[-1]])


# --- ids and indexes


@change(*_RESPONSES)
def call_ids_when_done(events: Events, chance: Chance) -> Events | None:
    """The ids of the items of calls come when they are done; until then nothing names them but the index."""
    calls = {item["id"] for _, item in _done(events) if "call_id" in item and isinstance(item.get("id"), str)}

    def edit(payload: Any, _place: int) -> bool:
        item = payload.get("item")
        if payload.get("type") == _ADDED and isinstance(item, dict) and item.get("id") in calls:
            del item["id"]
            return True
        return payload.get("item_id") in calls and payload.pop("item_id") is not None

    return on_payloads(events, edit) if calls else None


@change(*_RESPONSES, undo="helper")
def call_ids_other_in_terminal(events: Events, chance: Chance) -> Events | None:
    """The items of calls have no id until the last event."""
    return on_payloads(events, lambda payload, _: _forget_ids(payload))


def _forget_ids(payload: Any) -> bool:
    item = payload.get("item")
    named = isinstance(item, dict) and "call_id" in item and item.pop("id", None) is not None
    about = "_call" in str(payload.get("type")) and payload.pop("item_id", None) is not None
    return named or about


@change(*_RESPONSES)
def output_indexes_apart(events: Events, chance: Chance) -> Events | None:
    """Indexes have gaps, as where an item is left out of what the client may see."""
    return on_payloads(
        events,
        lambda p, _: type(p.get("output_index")) is int and not p.update(output_index=3 + 7 * p["output_index"]),
    )


@change(*_RESPONSES)
def two_calls_done_at_one_index(events: Events, chance: Chance) -> Events | None:
    """Behind a call that is done another one is done, under its index, and nothing announced it."""
    place = next((place for place, item in _done(events) if "call_id" in item), None)
    if place is None:
        return None
    other = events[place].edited(lambda p: p["item"].update(id="fc_other", call_id="call_other")).again()
    return renumbered([*events[: place + 1], other, *events[place + 1 :]])
