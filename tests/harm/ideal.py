"""What a stream proves about itself: the same stream as it must have been, by its own numbers and its own texts.

All of it is judged from the wire, and from nothing that Streamwatch says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate, product
from typing import Any

from .ideal_calls import by_announcement, with_headers, with_listed_calls, with_text_arguments
from .ideal_chat import as_asked, for_helper, names_once, with_deltas, with_usage
from .ideal_frames import reframed
from .ideal_items import by_identity, by_texts, in_parts
from .ideal_protocol import with_protocol, without_bare_lifecycle
from .wire import Event, Stream, parsed

Events = list[Event]
#: Streams. One proof leads to the next, and few streams need more than three.
MOST = 120
#: A stream is also right with so many of the tails alone, or without so many: each is proved by what closes it.
_SOME_TAILS = 4
#: Where relays stamp the order of chunks.
STAMPS = ("sequence_number", "sequence", "sequenceNumber", "seq", "chunk_index", "index")


def ideals(stream: Stream, helper: bool = False) -> Iterator[tuple[str, Stream]]:
    """Return the streams that this one proves to be right instead of itself, with what proves each."""
    events = list(parsed(stream.body)) if stream.body is not None else list(stream.events)
    seen = [events]
    waiting: list[tuple[str, Events]] = [("", events)]
    done = next((place for place, event in enumerate(events) if event.is_done), len(events))
    if done + 1 < len(events):
        waiting.append(("", events[: done + 1]))  # nobody reads what stands behind it
    while waiting and len(seen) < MOST:
        label, events = waiting.pop(0)
        for name, better in _improved(stream, events, helper and not label.startswith("for the helper")):
            if better not in seen:
                seen.append(better)
                said = f"{label}, {name}" if label else name
                yield said, stream.of(better)
                waiting.append((said, better))


def _improved(stream: Stream, events: Events, helper: bool) -> Iterator[tuple[str, Events]]:
    yield from reframed(events)
    for field in (*STAMPS, "id:") if stream.api != "responses" else ("sequence_number",):
        for better in in_order(events, field):
            yield f"in order of {field}", better
    if stream.api != "responses":
        yield "by what was asked", as_asked(events, stream.request)
        yield from (("with usage where it belongs", better) for better in with_usage(events))
    if stream.api == "chat":
        yield "without names said again", names_once(events, declared(stream))
        yield from (("by the announcements of calls", better) for better in by_announcement(events))
        yield "with calls in a list", with_listed_calls(events)
        yield from (("with arguments as text", better) for better in with_text_arguments(events))
        yield from (("with the delta that stands elsewhere", better) for better in with_deltas(events))
        yield from (("with whole headers", better) for better in with_headers(events))
        if helper:
            yield from for_helper(events)
    if stream.api == "responses" and "starting_after" not in stream.request:
        yield from (("with the tails of texts", better) for better in with_tails(events))
        yield "with the items that are done", with_output(events)
        yield from with_protocol(events)
    if stream.api == "responses":
        yield "without what was said twice", _said_once(events)
        if helper:
            yield "for the helper", without_bare_lifecycle(events)
        yield "by the ids of items", by_identity(events)
        yield "by the texts of items", by_texts(events)
        yield "by the ids of items that are there", by_identity(events, everywhere=False)
        yield "by the parts that are open", in_parts(events)


def declared(stream: Stream) -> set[str]:
    """Return the names of the tools that were declared."""
    functions = [tool.get("function") for tool in stream.request.get("tools", ())]
    return {function["name"] for function in functions if isinstance(function, dict)}


# --- (a) numbers


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
        once = _until_contradicted(events, field)
        if len(once) < len(events):
            yield once
        return
    if not _counts(list(known)):
        return
    numbered = [known[found] for found in sorted(known)]
    for stay in range(sum(repeats for _, _, repeats in kept) + 1):
        some = list(_with_repeats(kept, stay))
        yield _by_place(some, numbered)
        yield _by_predecessor(some, numbered)
        yield _behind_what_came(some, numbered)


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


def _counts(came: list[int]) -> bool:
    """Whether numbers, in the order in which they came, are a permutation of integers of which few are missing."""
    if len(came) < 3 or came == sorted(came, reverse=True):  # what counts down may count what is left
        return False
    return max(came) - min(came) + 1 <= len(came) + max(2, len(came) // 4)


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


def _said_once(events: Events) -> Events:
    """Return the events without those that came already, under the number that the protocol gives to one alone."""
    seen: list[Any] = []
    kept = []
    for event in events:
        numbered = event.is_object and event.payload.get("sequence_number") is not None
        if not (numbered and event.payload in seen):
            kept.append(event)
        seen += [event.payload] if numbered else []
    return kept


# --- (b) texts of closing events

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

    The delta has no number, or that of the event before it, or after it: nothing says which. A delta of a text that is
    closed and whole comes too late, and goes. What the terminal event alone says may be left to who reads that.
    """
    for numbering, ends in product(("none", "before", "after"), (_ENDS, ())):
        yield _Tails(events, numbering, ends).events()
    for count in range(1, _SOME_TAILS + 1):
        yield _Tails(events, "none", _ENDS, range(count)).events()
        yield _Tails(events, "none", _ENDS, range(count, len(events))).events()


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
    for place, part in enumerate(_list(item.get("content"))):
        yield from _of_part(part, {**about, "content_index": place})
    for place, part in enumerate(_list(item.get("summary"))):
        if isinstance(part.get("text"), str) and part["text"]:
            at = {**about, "summary_index": place}
            yield _key("response.reasoning_summary_text", at), part["text"], at


def _list(value: Any) -> list[Any]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


def _tail(family: str, about: dict[str, Any], text: str, numbering: str, before: Events, after: Event) -> Event:
    payload: dict[str, Any] = {"type": f"{family}.delta", **about, "delta": text}
    if family == "response.output_text":
        payload["logprobs"] = []
    near = after if numbering == "after" else before[-1] if before and numbering == "before" else None
    found = number(near, "sequence_number") if near is not None else None
    if found is not None:
        payload["sequence_number"] = found
    return Event(payload, f"{family}.delta", tag="tail")


def with_output(events: Events) -> Events:
    """Return the events with the items that were done in a terminal event that has none."""
    done: dict[Any, Any] = {}
    result: Events = []
    for event in events:
        if event.type == "response.output_item.done" and isinstance(event.payload.get("item"), dict):
            done[event.payload.get("output_index")] = event.payload["item"]
        if event.type in _ENDS and done and _lacks_output(event.payload.get("response")):
            items = [done[index] for index in sorted(done, key=str)]
            event = event.holding({**event.payload, "response": {**event.payload["response"], "output": items}})
        result.append(event)
    return result


def _lacks_output(response: Any) -> bool:
    return isinstance(response, dict) and not response.get("output")


# --- (c) arguments


def wire_calls(events: Iterable[Event]) -> tuple[str, set[str]]:
    """Return the characters of all arguments of chat calls on the wire, sorted, and the ids and names of the calls."""
    pieces: list[str] = []
    words: set[str] = set()
    for event in events:
        for choice in (event.payload.get("choices") if event.is_object else None) or ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            calls = delta.get("tool_calls") if isinstance(delta, dict) else None
            for call in [calls] if isinstance(calls, dict) else _list(calls):
                function = _dict(call.get("function"))
                arguments = function.get("arguments")
                pieces.append(arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else "")
                words |= {word for word in (call.get("id"), function.get("name")) if isinstance(word, str)}
    return "".join(sorted("".join(pieces))), words


def parses(arguments: Any) -> bool:
    """Whether arguments are JSON, or empty: a call without any."""
    if arguments in ("", None):
        return True
    try:
        json.loads(arguments)
    except (TypeError, ValueError):
        return False
    return True
