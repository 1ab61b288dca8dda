"""A response whose items are told apart by their ids: identity goes before position.

An index belongs to the item that is announced under it first. An event about a known id is about that item, whatever
index it names; an item that is announced under an index of another one takes the next free index. Ids are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .ideal_texts import closing_texts
from .wire import Event, Stream

Events = list[Event]


def by_identity(events: Events, *, everywhere: bool = True) -> Events:
    """Return the events with the index that the id of the item has, and with the id that only the index tells.

    That id stands in the place of another one; `everywhere`, also where there is none, which nobody is owed.
    """
    places: dict[str, int] = {}
    result = []
    for event in events:
        payload = event.payload if event.is_object else {}
        item = payload.get("item")
        id = item.get("id") if isinstance(item, dict) else payload.get("item_id")
        index = payload.get("output_index")
        if event.type == "response.output_item.added" and isinstance(id, str) and id not in places:
            taken = set(places.values())
            if not isinstance(index, int) or index in taken:
                index = max(taken, default=-1) + 1
            places[id] = index
        result.append(_placed(event, payload, id, places) if everywhere or id or "item" in payload else event)
    return result


def by_places(events: Events) -> Events:
    """Return the events with the id of the open item at their place, where the id that they have is one's that is done."""
    places: dict[Any, dict[str, Any]] = {}
    done: set[Any] = set()
    result = []
    for event in events:
        payload = event.payload if event.is_object else {}
        item, id, index = payload.get("item"), payload.get("item_id"), payload.get("output_index")
        if isinstance(item, dict) and event.type == "response.output_item.added":
            places[index] = item
        elif isinstance(item, dict) and event.type == "response.output_item.done":
            done.add(item.get("id"))
        there = places.get(index, {})
        known = next((item for item in places.values() if item.get("id") == id), {})
        is_over = id in done and there.get("id") not in done and there.get("type") == known.get("type")
        result.append(event.holding({**payload, "item_id": there["id"]}) if is_over and there.get("id") else event)
    return result


def by_announcements(events: Events) -> Events:
    """Return the events with the index of the item that was announced last under the index they name; ids stay."""
    meant: dict[Any, int] = {}
    places: dict[Any, int] = {}
    result = []
    for event in events:
        payload = event.payload if event.is_object else {}
        index, item = payload.get("output_index"), payload.get("item")
        id = item.get("id") if isinstance(item, dict) else payload.get("item_id")
        if event.type == "response.output_item.added" and isinstance(index, int):
            meant[index] = index if index not in places.values() else max(places.values()) + 1
            places[id] = meant[index]
        better = places.get(id, meant.get(index, index))
        result.append(event.holding({**payload, "output_index": better}) if better != index else event)
    return result


def identified(stream: Stream, chunks: Iterable[Any]) -> Iterator[tuple[str, Stream]]:
    """Return the stream with the ids and indexes under which its events were handed on, where identity proves each.

    Each is proved alone, and a repair is never owed: of a stream in disorder some events may stay as they came.
    """
    handed, named = list(chunks), by_identity(list(stream.events))
    events = [event for event in stream.events if event.is_object]
    if stream.api != "responses" or len(handed) != len(events):
        return
    result: Events = []
    known = iter(handed)
    for event, better in zip(stream.events, named):
        found = _reference_of(next(known)) if event.is_object else _reference(event)
        if found not in (_reference(event), _reference(better)):
            return
        result.append(event if found == _reference(event) else better)
    yield "with the ids and indexes that identity proves", stream.of(result)


def _reference(event: Event) -> tuple[Any, Any]:
    payload = event.payload if event.is_object else {}
    return payload.get("item_id"), payload.get("output_index")


def _reference_of(chunk: Any) -> tuple[Any, Any]:
    return getattr(chunk, "item_id", None), getattr(chunk, "output_index", None)


def in_parts(events: Events) -> Events:
    """Return the events with the index of the part that is open, where they name none or one that was not opened."""
    opened: dict[Any, list[Any]] = {}
    result = []
    for event in events:
        payload = event.payload if event.is_object else {}
        key = payload.get("item_id") or payload.get("output_index")
        index = payload.get("content_index")
        wants = event.type.startswith(("response.output_text.", "response.refusal.", "response.content_part."))
        if event.type == "response.content_part.added":
            index = index if isinstance(index, int) else len(opened.get(key, []))
            opened.setdefault(key, []).append(index)
        elif wants and key in opened:
            index = index if index in opened[key] else opened[key][-1]
        elif wants and not isinstance(index, int):
            index = 0
        changed = wants and payload.get("content_index") != index
        result.append(event.holding({**payload, "content_index": index}) if changed else event)
    return result


def _is_about_item(type: str) -> bool:
    return "_call." in type or type.endswith((".delta", ".done", "part.added", "annotation.added"))


def by_texts(events: Events) -> Events:
    """Return the events with the id and the index of the item whose deltas a closing event says, if only one's are that."""
    texts: dict[tuple[str, Any], str] = {}
    places: dict[str, Any] = {}
    result = []
    for event in events:
        payload = event.payload if event.is_object else {}
        if event.type == "response.output_item.added" and isinstance(payload.get("item"), dict):
            places[payload["item"].get("id")] = payload.get("output_index")
        if event.type.endswith(".delta") and isinstance(payload.get("delta"), str):
            key = event.type.removesuffix(".delta"), payload.get("item_id")
            texts[key] = texts.get(key, "") + payload["delta"]
        said = [(key[0], text) for key, text, _ in closing_texts(event)] if "item_id" in payload else []
        owners = [id for (family, id), text in texts.items() if (family, text) in said]
        if payload.get("item_id") not in places and len(owners) == 1 and owners[0] in places:
            event = event.holding({**payload, "item_id": owners[0], "output_index": places[owners[0]]})
        result.append(event)
    return result


def _placed(event: Event, payload: Any, id: Any, places: dict[str, int]) -> Event:
    wanted: dict[str, Any] = {}
    if isinstance(id, str) and id in places and payload.get("output_index") != places[id]:
        wanted["output_index"] = places[id]
    elif id not in places and "item" not in payload and _is_about_item(event.type):
        owners = [known for known, place in places.items() if place == payload.get("output_index")]
        if owners:
            wanted["item_id"] = owners[0]
    return event.holding({**payload, **wanted}) if wanted else event
