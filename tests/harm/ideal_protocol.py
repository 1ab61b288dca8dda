"""A response with the events that the protocol demands, where a server left some out, from data that is on the wire.

An item is announced before anything is said of it, and so is a part; a text closes before its part, a part before its
item, an item before the response. Nothing is demanded of a response that was resumed, or that breaks off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from itertools import product
from typing import Any

from .wire import Event

Events = list[Event]
_ANNOUNCEMENT = "response.output_item.added"
_ENDS = ("response.completed", "response.incomplete")
#: The type of an item, by the family of events that is about it.
_TYPES = {
    "output_text": "message",
    "content_part": "message",
    "refusal": "message",
    "reasoning_text": "reasoning",
    "reasoning_summary_text": "reasoning",
    "reasoning_summary_part": "reasoning",
    "function_call_arguments": "function_call",
    "custom_tool_call_input": "custom_tool_call",
    "mcp_call_arguments": "mcp_call",
    "mcp_call": "mcp_call",
    "code_interpreter_call_code": "code_interpreter_call",
    "code_interpreter_call": "code_interpreter_call",
    "web_search_call": "web_search_call",
    "image_generation_call": "image_generation_call",
    "file_search_call": "file_search_call",
}
#: The member of an item that holds what its deltas say, by the family of them.
_WHOLE = {"function_call_arguments": "arguments", "mcp_call_arguments": "arguments", "custom_tool_call_input": "input"}
_WHOLE |= {"code_interpreter_call_code": "code"}


#: The types of all items, and of those that the SDK's helper builds of their events.
_ALL, _BUILT = frozenset(_TYPES.values()), ("message", "function_call")
#: Items that lose all that they say with their announcement: an empty message loses nothing.
_CALLS: Container[str] = ("function_call",)


def with_protocol(events: Events) -> Iterator[tuple[str, Events]]:
    """Return the events with what they lack: announcements, closing events, or both."""
    for announce, close, types in product((False, True), (False, True), (_ALL, _BUILT, _CALLS)):
        found = [_Response(events, announce=announce, close=close, types=types).events()]
        if close and any(event.type in _ENDS for event in events[:-1]):  # what comes behind the end is not closed by it
            found.append(_Response(events, announce=announce, close=close, types=types, only_equal=True).events())
        names = [name for name, wanted in (("announced", announce), ("closed", close)) if wanted]
        for whole in found:
            if len(whole) > len(events):
                yield f"{' and '.join(names)} as the protocol wants it", whole


def announced_first(events: Events) -> Iterator[Events]:
    """Return the events with each announcement before what is about its item; then its deltas before what closes it.

    Nobody can know beforehand what comes too late: what stands in its place has no number.
    """
    for item in [_item_id(event) for event in events if event.type == _ANNOUNCEMENT]:
        about = [place for place, event in enumerate(events) if item is not None and item == _item_id(event)]
        first = next((place for place in about if events[place].type == _ANNOUNCEMENT), -1)
        if about and about[0] < first:
            events = _moved(events, [first], about[0])
            yield events
            deltas = [place for place in about if events[place].type.endswith(".delta")]
            events = _moved(events, [place for place in deltas if place > first], about[0] + 1)
            yield events


def _item_id(event: Event) -> Any:
    """Return the id of the item that an event is about."""
    if not event.is_object:
        return None
    item = event.payload.get("item")
    return item.get("id") if isinstance(item, dict) else event.payload.get("item_id")


def _moved(events: Events, places: list[int], to: int) -> Events:
    """Return the events with those from some places in another one."""
    moved = [events[place].edited(lambda payload: payload.pop("sequence_number", None)) for place in places]
    return [*events[:to], *moved, *(event for place, event in enumerate(events[to:], to) if place not in places)]


def without_bare_lifecycle(events: Events) -> Events:
    """Return the events without those on which the helper raises: of a lifecycle without a response, or before it.

    A response that is resumed has no first event; keep-alives before it go all the same.
    """
    first = next((place for place, event in enumerate(events) if event.type == "response.created"), None)
    if first is None:
        first = next((place for place, event in enumerate(events) if not _keeps_alive(event)), 0)
    return [event for place, event in enumerate(events) if place >= first and not _is_bare(event)]


def _keeps_alive(event: Event) -> bool:
    return event.type in ("response.keep_alive", "keepalive", "ping") or event.name == "keepalive"


def _is_bare(event: Event) -> bool:
    kinds = ("created", "in_progress", "queued", "completed", "incomplete", "failed")
    known = event.type.startswith("response.") and event.type.removeprefix("response.") in kinds
    return known and not isinstance(event.payload.get("response"), dict)


def lacking(events: Events) -> Counter[str]:
    """Return how many events of each type the protocol demands beside those that are there."""
    whole = _Response(events, announce=True, close=True).events()
    found = Counter(event.type for event in whole) - Counter(event.type for event in events)
    if events and not any(event.type == "response.created" for event in events):
        found["response.created"] += 1
    return found


class _Item:
    """What is known of one item."""

    def __init__(self, id: Any, index: Any) -> None:
        self.id, self.index = id, index
        self.announced = self.done = False
        self.parts: dict[int, set[str]] = {}  # of what happened to each: "added", "text", "text.done", "done"
        self.texts: dict[tuple[str, Any], str] = {}
        self.closed: set[tuple[str, Any]] = set()
        self.final: Any = None

    def is_as(self, final: Any) -> bool:
        """Whether the texts that came are those of the item as the end says it."""
        said = [
            part.get("text", part.get("refusal")) for name in ("content", "summary") for part in final.get(name) or ()
        ]
        said += [final[member] for member in _WHOLE.values() if final.get(member)]
        return sorted(filter(None, said), key=str) == sorted(filter(None, self.texts.values()))

    def about(self, **more: Any) -> dict[str, Any]:
        """Return the members that say what an event is about."""
        return {"item_id": self.id, "output_index": self.index, **more}


class _Response:
    """The events of a response, and those that it lacks."""

    def __init__(
        self, events: Events, *, announce: bool, close: bool, types: Container[str] = _ALL, only_equal: bool = False
    ) -> None:
        self._types, self._only_equal = types, only_equal
        self._given, self._announce, self._close = events, announce, close
        self._items: dict[Any, _Item] = {}
        self._result: Events = []
        self._finals = dict(_finals(events))
        announced = [e.payload.get("item") for e in events if e.type == "response.output_item.added"]
        self._later = {item.get("id") for item in announced if isinstance(item, dict)}
        self._parts = any(e.type == "response.content_part.added" and _kind(e) == "reasoning_text" for e in events)

    def events(self) -> Events:
        """Return them all."""
        for event in self._given:
            self._before(event)
            self._result.append(event)
        return self._result

    def _put(self, type: str, **members: Any) -> None:
        payload = {"type": f"response.{type}", **members}
        self._result.append(Event(payload, payload["type"], tag="protocol"))

    def _item(self, event: Event) -> _Item | None:
        payload = event.payload
        found = payload.get("item")
        id = found.get("id") if isinstance(found, dict) else payload.get("item_id")
        key = id or payload.get("output_index")
        if key is None:
            return None
        return self._items.setdefault(key, _Item(id, payload.get("output_index")))

    def _before(self, event: Event) -> None:
        if not event.is_object:
            return
        if event.type in _ENDS:
            self._end(event)
            return
        item = self._item(event) if "item_id" in event.payload or "item" in event.payload else None
        if item is None:
            return
        if event.type == "response.output_item.added":
            item.announced = True
        elif event.type == "response.output_item.done":
            self._announced(item, "")
            item.final, item.done = event.payload["item"], True
            self._closed(item)
        else:
            self._of_part(item, event)

    def _announced(self, item: _Item, family: str) -> None:
        if item.announced or not self._announce or item.id in self._later:
            return
        item.announced = True
        final = item.final or self._finals.get(item.id) or self._finals.get(item.index) or {}
        type = final.get("type") or _TYPES.get(family)
        if type and type in self._types:
            begun = {"id": item.id, "type": type, "status": "in_progress"}
            begun |= {"role": "assistant", "content": []} if type == "message" else {}
            begun |= {key: final[key] for key in ("call_id", "name", "server_label") if key in final}
            begun |= {member: "" for family, member in _WHOLE.items() if _TYPES[family] == type}
            self._put("output_item.added", output_index=item.index, item=begun)

    def _of_part(self, item: _Item, event: Event) -> None:
        family, _, what = event.type.removeprefix("response.").rpartition(".")
        self._announced(item, family)
        index = event.payload.get("content_index", event.payload.get("summary_index"))
        if family == "content_part":
            item.parts.setdefault(index, set()).add(what)
            if what == "done":
                self._text_closed(item, index, _part_family(_kind(event)), event.payload.get("part"))
            return
        if what == "delta" and isinstance(event.payload.get("delta"), str):
            item.texts[family, index] = item.texts.get((family, index), "") + event.payload["delta"]
        if what == "done":
            item.closed.add((family, index))
        wants = family in ("output_text", "refusal") or (family == "reasoning_text" and self._parts)
        if wants and "added" not in item.parts.setdefault(index, set()):
            item.parts[index].add("added")
            if self._announce:
                part = {"type": family, "refusal" if family == "refusal" else "text": ""}
                self._put("content_part.added", **item.about(content_index=index), part=part)

    def _text_closed(self, item: _Item, index: Any, family: str, part: Any) -> None:
        if (family, index) in item.closed or not self._close or not isinstance(part, dict):
            return
        item.closed.add((family, index))
        member = "refusal" if family == "refusal" else "text"
        if isinstance(part.get(member), str):
            self._put(f"{family}.done", **item.about(content_index=index), **{member: part[member]})

    def _closed(self, item: _Item) -> None:
        """Put in what closes before the item: texts, parts, arguments."""
        final = item.final if isinstance(item.final, dict) else {}
        content = final.get("content")
        for index, part in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(part, dict) or (part.get("type") == "reasoning_text" and not self._parts):
                continue
            seen = item.parts.setdefault(index, set())
            if "done" not in seen and self._close and "added" in seen:
                self._text_closed(item, index, _part_family(part.get("type")), part)
                self._put("content_part.done", **item.about(content_index=index), part=part)
                seen.add("done")
        for family, member in _WHOLE.items():
            text = final.get(member, item.texts.get((family, None)))
            if _TYPES[family] == final.get("type") and text and (family, None) not in item.closed and self._close:
                item.closed.add((family, None))
                self._put(f"{family}.done", **item.about(), **{member: text})

    def _end(self, event: Event) -> None:
        response = event.payload.get("response")
        output = response.get("output") if isinstance(response, dict) else None
        for place, final in enumerate(output if isinstance(output, list) else ()):
            if not isinstance(final, dict):
                continue
            key = final.get("id") if final.get("id") in self._items else place
            item = self._items.get(key)
            if item is not None and not item.done and self._close and (item.is_as(final) or not self._only_equal):
                item.final, item.done = final, True
                self._closed(item)
                self._put("output_item.done", output_index=item.index, item=final)


def _finals(events: Events) -> Iterator[tuple[Any, Any]]:
    """Return every item that is whole somewhere, by its id and by its place."""
    for event in events:
        if event.type in _ENDS and isinstance(event.payload.get("response"), dict):
            for place, item in enumerate(event.payload["response"].get("output") or ()):
                if isinstance(item, dict):
                    yield from ((item.get("id"), item), (place, item))
        elif event.type == "response.output_item.done" and isinstance(event.payload.get("item"), dict):
            yield event.payload["item"].get("id"), event.payload["item"]


def _kind(event: Event) -> Any:
    part = event.payload.get("part")
    return part.get("type") if isinstance(part, dict) else None


def _part_family(kind: Any) -> str:
    return kind if kind in ("output_text", "refusal", "reasoning_text") else "output_text"
