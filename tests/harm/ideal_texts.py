"""A response with all of each text: closing events say again what the deltas said, or what was lost of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

from .ideal_order import number
from .wire import Event, objects_in

Events = list[Event]
#: A stream is also right with so many of the tails alone, or without so many: each is proved by what closes it.
_SOME_TAILS = 4

#: The members of closing events that hold a whole text, by the family of the event.
_WHOLE = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.mcp_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.code_interpreter_call_code": "code",
}
#: The members of a done item that hold a whole text, by its type.
_OF_ITEM = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "mcp_call": ("response.mcp_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code"),
}
_OF_PART = {"output_text": ("response.output_text", "text"), "refusal": ("response.refusal", "refusal")}
_OF_PART |= {"reasoning_text": ("response.reasoning_text", "text")}
_ENDS = ("response.completed", "response.incomplete")
Key = tuple[str, Any, Any]


def with_tails(events: Events) -> Iterator[Events]:
    """Return the events with a delta before each closing event whose text the deltas only begin.

    The delta has the number of the event before it, or after it: nothing says which, and programs compare them. A delta of a text that is
    closed and whole comes too late, and goes. What the terminal event alone says may be left to who reads that.
    """
    for numbering, ends in product(("before", "after"), (_ENDS, ())):
        yield _Tails(events, numbering, ends).events()
    for count, ends in product(range(1, _SOME_TAILS + 1), (_ENDS, ())):
        yield _Tails(events, "before", ends, range(count)).events()
        yield _Tails(events, "before", ends, range(count, len(events))).events()


class _Tails:
    """The texts of a response: as far as deltas have said them, and as they are said when they close."""

    def __init__(self, events: Events, numbering: str, ends: Collection[str], some: range | None = None) -> None:
        self._events, self._numbering, self._ends, self._some = events, numbering, ends, some
        self._count = -1
        self._names = {
            event.payload.get("output_index"): event.payload["item"].get("id")
            for event in events
            if event.type == "response.output_item.added" and isinstance(event.payload.get("item"), dict)
        }
        self._totals = _totals(events)
        self._said: Counter[Key] = Counter()
        self._begun: dict[Key, str] = {}
        self._whole: set[Key] = set()
        self._passed: set[Key] = set()

    def events(self) -> Events:
        """Return the events with their tails."""
        result: Events = []
        for event in self._events:
            for key, text, about in closing_texts(event) if self._may_close(event) else ():
                tail = self._tail(self._named(key), text)
                if tail:
                    result.append(_tail(key[0], about, tail, self._numbering, result, event))
            if not self._comes_late(event):
                result.append(event)
        return result

    def _may_close(self, event: Event) -> bool:
        return event.type in self._ends or event.type not in _ENDS

    def _named(self, key: Key) -> Key:
        """Return the key with the id that the item was announced with, where the event has its index alone."""
        return (key[0], self._names.get(key[1], key[1]), key[2]) if isinstance(key[1], int) else key

    def _tail(self, key: Key, text: str) -> str:
        """Return what is to be put in of a text that closes."""
        begun = self._begun.get(key, "")
        tail = text.removeprefix(begun)
        fits = self._said[_of_whole(key)] + len(tail) <= self._totals.get(_of_whole(key), 1 << 30)
        if text == begun or not text.startswith(begun) or not fits:
            return ""
        self._count += key not in self._passed
        if self._some is not None and (key in self._passed or self._count not in self._some):
            self._passed.add(key)
            return ""
        self._begun[key] = text
        self._said[_of_whole(key)] += len(tail)
        self._whole.add(key)
        return tail

    def _comes_late(self, event: Event) -> bool:
        """Take a delta; whether it is one of a text that is whole."""
        if event.type.endswith(".delta") and isinstance(event.payload.get("delta"), str):
            key = self._named(_key(event.type.removesuffix(".delta"), event.payload))
            if key in self._whole:
                return True
            self._begun[key] = self._begun.get(key, "") + event.payload["delta"]
            self._said[_of_whole(key)] += len(event.payload["delta"])
        return False


def _of_whole(key: Key) -> Key:
    """Return the key of all parts of an item: a part under a wrong index is none that was lost."""
    return key[0], key[1], None


def _totals(events: Events) -> dict[Key, int]:
    """Return how long all parts of an item are together, of the items that are whole somewhere."""
    found: dict[Key, int] = {}
    for event in events:
        if event.type == "response.output_item.done" or event.type in _ENDS:
            of_event: Counter[Key] = Counter()
            for key, text, _ in closing_texts(event):
                of_event[_of_whole(key)] += len(text)
            found = {**of_event, **found}
    return found


def _key(family: str, about: Any) -> Key:
    item = about.get("item_id") or about.get("output_index")
    return family, item, about.get("content_index", about.get("summary_index"))


def closing_texts(event: Event) -> Iterator[tuple[Key, str, dict[str, Any]]]:
    """Return the whole texts that a closing event holds, and what each is about."""
    payload = event.payload if event.is_object else {}
    family = event.type.removesuffix(".done")
    if event.type.endswith(".done") and family in _WHOLE:
        text = payload.get(_WHOLE[family])
        about = {
            name: payload[name]
            for name in ("item_id", "output_index", "content_index", "summary_index")
            if name in payload
        }
        if isinstance(text, str) and text:
            yield _key(family, about), text, about
    elif event.type == "response.content_part.done" and isinstance(payload.get("part"), dict):
        about = {name: payload[name] for name in ("item_id", "output_index", "content_index") if name in payload}
        yield from _of_part(payload["part"], about)
    elif event.type == "response.output_item.done" and isinstance(payload.get("item"), dict):
        yield from _of_item(payload["item"], payload.get("output_index"))
    elif event.type in _ENDS and isinstance(payload.get("response"), dict):
        for place, item in enumerate(payload["response"].get("output") or ()):
            if isinstance(item, dict):
                yield from _of_item(item, place)


def _of_part(part: Any, about: dict[str, Any]) -> Iterator[tuple[Key, str, dict[str, Any]]]:
    family, member = _OF_PART.get(part.get("type"), ("", ""))
    if family and isinstance(part.get(member), str) and part[member]:
        yield _key(family, about), part[member], about


def _of_item(item: Any, index: Any) -> Iterator[tuple[Key, str, dict[str, Any]]]:
    about = {"item_id": item.get("id"), "output_index": index}
    family, member = _OF_ITEM.get(item.get("type"), ("", ""))
    if family and isinstance(item.get(member), str) and item[member]:
        yield _key(family, about), item[member], about
    for place, part in enumerate(objects_in(item.get("content"))):
        yield from _of_part(part, {**about, "content_index": place})
    for place, part in enumerate(objects_in(item.get("summary"))):
        if isinstance(part.get("text"), str) and part["text"]:
            at = {**about, "summary_index": place}
            yield _key("response.reasoning_summary_text", at), part["text"], at


def _tail(family: str, about: dict[str, Any], text: str, numbering: str, before: Events, after: Event) -> Event:
    payload: dict[str, Any] = {"type": f"{family}.delta", **about, "delta": text}
    if family == "response.output_text":
        payload["logprobs"] = []
    near = after if numbering == "after" else before[-1] if before else None
    found = number(near, "sequence_number") if near is not None else None
    if found is not None:
        payload["sequence_number"] = found
    return Event(payload, f"{family}.delta", tag="tail")


def with_output(events: Events) -> Events:
    """Return the events with the items that were done in a terminal event that has none, as they were said last."""
    done: dict[Any, Any] = {}
    result: Events = []
    for event in events:
        for item in _listed(event) if event.type not in _ENDS else ():
            done = {index: item if _is_same(known, item) else known for index, known in done.items()}
        if event.type == "response.output_item.done" and isinstance(event.payload.get("item"), dict):
            done[event.payload.get("output_index")] = event.payload["item"]
        if event.type in _ENDS and done and _lacks_output(event.payload.get("response")):
            items = [done[index] for index in sorted(done, key=str)]
            event = event.holding({**event.payload, "response": {**event.payload["response"], "output": items}})
        result.append(event)
    return result


def _listed(event: Event) -> list[Any]:
    response = event.payload.get("response") if event.is_object else None
    output = response.get("output") if isinstance(response, dict) else None
    return [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []


def _is_same(item: Any, other: Any) -> bool:
    return any(item.get(name) is not None and item.get(name) == other.get(name) for name in ("id", "call_id"))


def _lacks_output(response: Any) -> bool:
    return isinstance(response, dict) and not response.get("output")
