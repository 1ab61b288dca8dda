"""What servers do to the tool calls of chat completions."""

from __future__ import annotations

import json
from typing import Any

from .changes import Events, add, change, on_calls, on_deltas, removing, setting
from .wire import Chance, Event, made

_CHAT = ("chat",)


def _calls(name: str, edit: Any, undo: str, fits: Any = None) -> None:
    """Add a change of every fragment that fits: `fits(call, first)`."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_calls(events, lambda call, first, _: (fits is None or fits(call, first)) and edit(call))

    add(name, _CHAT, undo, run)


def _first(_call: Any, first: bool) -> bool:
    return first


def _later(_call: Any, first: bool) -> bool:
    return not first


def _function(edit: Any) -> Any:
    """Return an edit of the function of a call."""
    return lambda call: isinstance(call.get("function"), dict) and edit(call["function"])


# --- the index

_calls("call_index_absent", removing("index"), "proved")
_calls("call_index_null", setting("index", None), "proved")
_calls("call_index_always_0", setting("index", 0), "proved")
_calls("call_index_always_minus_1", setting("index", -1), "proved")
_calls("call_index_absent_later", removing("index"), "proved", _later)
_calls(
    "call_index_from_1",
    lambda call: isinstance(call.get("index"), int) and not call.update(index=call["index"] + 1),
    "proved",
)
_calls("call_index_even", lambda call: bool(call.get("index")) and not call.update(index=call["index"] * 2), "proved")
_calls("call_index_string", lambda call: "index" in call and not call.update(index=str(call["index"])), "proved")
_calls("call_index_0_later", setting("index", 0), "proved", _later)


@change(*_CHAT, undo="proved")
def call_index_counts_fragments(events: Events, chance: Chance) -> Events | None:
    """The index of a fragment counts fragments."""
    count = iter(range(10**6))
    return on_calls(events, lambda call, first, choice: setting("index", next(count))(call))


# --- id, name and type

_calls("call_id_null_later", setting("id", None), "helper", _later)
_calls("call_id_empty_later", setting("id", ""), "helper", _later)
_calls("call_id_never", removing("id"), "helper")
_calls("call_id_empty_always", setting("id", ""), "helper", _first)
_calls("call_id_number", setting("id", 4711), "helper", _first)
_calls("call_type_absent", removing("type"), "helper", _first)
_calls("call_type_null_later", setting("type", None), "helper", _later)
_calls("call_type_empty_later", setting("type", ""), "helper", _later)
_calls("call_type_everywhere", lambda call: "function" in call and setting("type", "function")(call), "helper", _later)
_calls("call_name_null_later", _function(setting("name", None)), "helper", _later)
_calls("call_name_empty_later", _function(setting("name", "")), "helper", _later)
_calls("call_members_of_vendor", setting("extra_content", {"google": {"thought_signature": "AA=="}}), "raises", _first)


def _header(events: Events, edit: Any) -> Events | None:
    """Return the events after `edit(call, first, header)`, where `header` is the first fragment of the call."""
    headers: dict[Any, Any] = {}

    def run(call: Any, first: bool, choice: Any) -> Any:
        key = choice.get("index"), call.get("index")
        if first:
            headers[key] = {"id": call.get("id"), "name": (call.get("function") or {}).get("name"), "count": 0}
        headers[key]["count"] += 1
        return edit(call, first, headers[key])

    return on_calls(events, run)


@change(*_CHAT, undo="helper")
def call_id_everywhere(events: Events, chance: Chance) -> Events | None:
    """Every fragment has the id of its call."""
    return _header(events, lambda call, first, header: not first and setting("id", header["id"])(call))


@change(*_CHAT, undo="helper")
def call_id_new_each(events: Events, chance: Chance) -> Events | None:
    """Every fragment has an id of its own."""
    return _header(events, lambda c, first, header: not first and setting("id", f"{header['id']}{header['count']}")(c))


@change(*_CHAT, undo="helper")
def call_id_and_name_new_each(events: Events, chance: Chance) -> Events | None:
    """Every fragment has an id of its own, and the name."""

    def edit(call: Any, first: bool, header: Any) -> bool:
        if first or not isinstance(call.get("function"), dict):
            return False
        call["id"], call["function"]["name"] = f"{header['id']}{header['count']}", header["name"]
        return True

    return _header(events, edit)


@change(*_CHAT, undo="proved")
def call_name_everywhere(events: Events, chance: Chance) -> Events | None:
    """Every fragment has the name of its call, which was declared."""
    return _header(events, lambda c, first, header: not first and _function(setting("name", header["name"]))(c))


@change(*_CHAT, undo="proved")
def call_id_and_name_everywhere(events: Events, chance: Chance) -> Events | None:
    """Every fragment has id and name of its call."""

    def edit(call: Any, first: bool, header: Any) -> bool:
        if first or not isinstance(call.get("function"), dict):
            return False
        call["id"], call["function"]["name"] = header["id"], header["name"]
        return True

    return _header(events, edit)


@change(*_CHAT)
def call_ids_alike(events: Events, chance: Chance) -> Events | None:
    """All calls have one id, under indexes of their own."""
    return on_calls(events, lambda call, first, _: "id" in call and setting("id", "call_1")(call))


@change(*_CHAT, undo="proved")
def call_header_in_halves(events: Events, chance: Chance) -> Events | None:
    """The id comes first, and the name with the next fragment."""
    waiting: dict[Any, str] = {}

    def edit(call: Any, first: bool, choice: Any) -> bool:
        key, function = (choice.get("index"), call.get("index")), call.get("function")
        if not isinstance(function, dict):
            return False
        if first and function.get("name") and not function.get("arguments"):
            waiting[key] = function.pop("name")
            return True
        if not first and key in waiting:
            function["name"] = waiting.pop(key)
            return True
        return False

    result = on_calls(events, edit)
    return None if waiting else result


@change(*_CHAT, undo="proved")
def call_id_with_next(events: Events, chance: Chance) -> Events | None:
    """The name comes first, and the id with the next fragment."""
    waiting: dict[Any, Any] = {}

    def edit(call: Any, first: bool, choice: Any) -> bool:
        key = choice.get("index"), call.get("index")
        if first and call.get("id") and not (call.get("function") or {}).get("arguments"):
            waiting[key] = call.pop("id")
            return True
        if not first and key in waiting:
            call["id"] = waiting.pop(key)
            return True
        return False

    result = on_calls(events, edit)
    return None if waiting else result


@change(*_CHAT, undo="proved")
def call_name_in_pieces(events: Events, chance: Chance) -> Events | None:
    """The name of a call comes in two pieces."""
    rest: dict[Any, str] = {}

    def edit(call: Any, first: bool, choice: Any) -> bool:
        key, function = (choice.get("index"), call.get("index")), call.get("function")
        if not isinstance(function, dict):
            return False
        if first and function.get("name") and not function.get("arguments"):
            rest[key] = function["name"][3:]
            function["name"] = function["name"][:3]
            return True
        if not first and key in rest:
            function["name"] = rest.pop(key)
            return True
        return False

    result = on_calls(events, edit)
    return None if rest else result


# --- rounds


@change(*_CHAT, undo="helper")
def calls_in_rounds(events: Events, chance: Chance) -> Events | None:
    """A gateway calls the tools itself: each call is of a round of its own, which a finish_reason ends."""
    result: Events = []
    known: set[Any] = set()
    choices = [c for event in events if event.is_object for c in event.payload.get("choices") or ()]
    if any(not isinstance(choice, dict) or choice.get("index") != 0 for choice in choices):
        return None
    for event in events:
        header = _only_header(event)
        if header is not None and header.get("index") not in known:
            if known:
                end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
                result.append(made({**event.payload, "choices": [end]}))
            known.add(header.get("index"))
        result.append(event)
    counted = on_calls(result, lambda call, _first, _choice: setting("index", 0)(call))
    return counted if len(known) > 1 else None


def _only_header(event: Event) -> Any:
    """Return the header of a call that an event of a single choice has."""
    choices = event.payload.get("choices") if event.is_object else None
    delta = choices[0].get("delta") if choices and len(choices) == 1 else None
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    return calls[0] if calls and len(calls) == 1 and calls[0].get("id") else None


# --- arguments

_calls(
    "call_arguments_null_first",
    _function(lambda f: f.get("arguments") == "" and setting("arguments", None)(f)),
    "helper",
)
_calls(
    "call_arguments_absent_first", _function(lambda f: f.get("arguments") == "" and removing("arguments")(f)), "helper"
)


@change(*_CHAT, undo="proved")
def call_arguments_an_object(events: Events, chance: Chance) -> Events | None:
    """Whole arguments come as an object."""
    return on_calls(events, lambda call, first, _: first and _function(_as_object)(call))


def _as_object(function: Any) -> bool:
    try:
        found = json.loads(function.get("arguments") or "")
    except ValueError:
        return False
    function["arguments"] = found
    return isinstance(found, dict)


@change(*_CHAT, undo="proved")
def tool_calls_an_object(events: Events, chance: Chance) -> Events | None:
    """What should be a list is the one call in it."""

    def edit(delta: Any, _choice: Any) -> bool:
        calls = delta.get("tool_calls")
        if not isinstance(calls, list) or len(calls) != 1:
            return False
        delta["tool_calls"] = calls[0]
        return True

    return on_deltas(events, edit)


def _joined(events: Events, merge: Any) -> Events | None:
    """Return the events with the fragments of neighbours put into one chunk, where `merge(kept, calls)` says so."""
    result: Events = []
    for event in events:
        choice = _only(event)
        last = _only(result[-1]) if result else None
        if choice and last and choice.get("index") == last.get("index") and not choice["delta"].get("content"):
            kept, calls = last["delta"]["tool_calls"], choice["delta"]["tool_calls"]
            if merge(kept, calls):
                result[-1] = result[-1].edited(_extending(calls))
                continue
        result.append(event)
    return result if len(result) < len(events) else None


def _extending(calls: Any) -> Any:
    return lambda payload: payload["choices"][0]["delta"]["tool_calls"].extend(calls)


def _only(event: Any) -> Any:
    """Return the only choice of a chunk if it brings fragments."""
    choices = event.payload.get("choices") if event.is_object else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    calls = (choices[0].get("delta") or {}).get("tool_calls")
    return choices[0] if isinstance(calls, list) and calls and not choices[0].get("finish_reason") else None


@change(*_CHAT, undo="helper")
def call_fragments_share_chunk(events: Events, chance: Chance) -> Events | None:
    """Two fragments of a call come in one chunk."""
    return _joined(events, lambda kept, calls: len(kept) == 1 and kept[0].get("index") == calls[0].get("index"))


@change(*_CHAT)
def calls_share_chunk(events: Events, chance: Chance) -> Events | None:
    """Headers of several calls come in one chunk."""
    return _joined(events, lambda kept, calls: kept[-1].get("index") != calls[0].get("index"))


@change(*_CHAT)
def calls_alternate(events: Events, chance: Chance) -> Events | None:
    """Fragments of parallel calls take turns, each call in its order."""
    places = [place for place, event in enumerate(events) if _only(event)]
    queues: dict[Any, list[Any]] = {}
    for place in places:
        key = _only(events[place])["delta"]["tool_calls"][0].get("index")
        queues.setdefault(key, []).append(events[place])
    if len(queues) < 2:
        return None
    turns = []
    for turn in range(max(map(len, queues.values()))):
        turns += [queue[turn] for queue in queues.values() if turn < len(queue)]
    result = list(events)
    for place, event in zip(places, turns):
        result[place] = event
    return result


@change(*_CHAT, undo="helper")
def call_said_again(events: Events, chance: Chance) -> Events | None:
    """A call that came whole comes again under the next index, id, name and arguments the same."""
    for place, event in enumerate(events):
        choice = _only(event)
        function = choice["delta"]["tool_calls"][0].get("function") if choice else None
        if isinstance(function, dict) and function.get("name") and _parses(function.get("arguments")):
            indexes = {c["delta"]["tool_calls"][0].get("index") for c in map(_only, events) if c}
            if indexes != {0}:
                return None
            again = event.edited(lambda p: p["choices"][0]["delta"]["tool_calls"][0].update(index=1))
            return [*events[: place + 1], again.again(), *events[place + 1 :]]
    return None


def _parses(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        return False


@change(*_CHAT)
def call_function_null_last(events: Events, chance: Chance) -> Events | None:
    """A last fragment has nothing but an index."""
    place = max((place for place, event in enumerate(events) if _only(event)), default=None)
    if place is None:
        return None
    index = _only(events[place])["delta"]["tool_calls"][0].get("index")
    last = events[place].edited(
        lambda p: p["choices"][0].update(delta={"tool_calls": [{"index": index, "function": None}]})
    )
    return [*events[: place + 1], last.again(), *events[place + 1 :]]


@change(*_CHAT, undo="helper")
def function_call_name_everywhere(events: Events, chance: Chance) -> Events | None:
    """Every fragment of a call as of 2023 has the name."""

    def edit(delta: Any, _choice: Any) -> bool:
        call = delta.get("function_call")
        return isinstance(call, dict) and setting("name", "get_weather")(call)

    return on_deltas(events, edit)
