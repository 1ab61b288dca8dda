"""A chat completion as the SDK's helper needs it: nothing repeated that it would join, nothing missing that it asserts.

The helper joins whatever repeats (`assistantassistant`, `call_1call_1`), leaves out chunks of another object, keeps
the usage of the last chunk alone, and raises on nulls. What it makes of such a stream is wrong by the stream's own
account, and its user sees none of the chunks. For everybody else these streams are right as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .wire import Event, copied

Events = list[Event]


def for_helper(events: Events) -> Iterator[tuple[str, Events]]:
    """Return the events as the helper needs them: in one respect each, and in all."""
    every = events
    yield "for the helper: ids", _edited(events, _ids)
    for name, write in _RESPECTS.items():
        yield f"for the helper: {name}", write(events)
        every = write(every)
    yield "for the helper", every


def names_once(events: Events, declared: set[str]) -> Events:
    """Return the events without names that a fragment with arguments says again: declared tools, each its call's own."""
    names: dict[Any, Any] = {}

    def edit(choice: Any, _state: Any) -> None:
        delta = choice.get("delta")
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(call.get("index"), int):
                known = names.setdefault((choice.get("index"), call["index"]), function.get("name"))
                if known in declared and call is not None and function.get("arguments"):
                    _once(function, known, names, (choice.get("index"), call["index"], "seen"))
                names[choice.get("index"), call["index"], "seen"] = True

    return _edited(events, edit)


def _once(function: Any, known: str, names: dict[Any, Any], seen: Any) -> None:
    if seen in names and function.get("name") == known:
        del function["name"]


def _edited(events: Events, edit: Callable[[Any, Any], Any]) -> Events:
    """Return the events after `edit(choice, state)` has run over a copy of each choice."""
    state: dict[Any, Any] = {}
    result = []
    for event in events:
        choices = event.payload.get("choices") if event.is_object else None
        if not isinstance(choices, list):
            result.append(event)
            continue
        payload = {**event.payload, "choices": copied(choices)}
        for choice in payload["choices"]:
            if isinstance(choice, dict):
                edit(choice, state)
        result.append(event if payload == event.payload else event.holding(payload))
    return result


def _roles(choice: Any, seen: dict[Any, Any]) -> None:
    delta, index = choice.get("delta"), choice.get("index")
    if not isinstance(delta, dict):
        return
    if index in seen or delta.get("role", "assistant") not in ("", None, "assistant"):
        delta.pop("role", None) if index in seen else None
    else:
        delta["role"] = "assistant"
    seen[index] = True


def _calls(choice: Any, seen: dict[Any, Any]) -> None:
    """Take out what a continuation repeats or leaves empty, and a list of calls that is empty."""
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    if isinstance(delta, dict) and "tool_calls" in delta and not calls:
        del delta["tool_calls"]
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            _call(call, seen, choice.get("index"))


def _ids(choice: Any, seen: dict[Any, Any]) -> None:
    """Take out the ids that continuations repeat, or have alone; whether a name goes on where it repeats nothing says."""
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            known = seen.setdefault((choice.get("index"), call.get("index")), call["id"])
            if seen.setdefault(("seen", choice.get("index"), call.get("index")), call) is not call:
                function = call.get("function")
                if known == call["id"] or not (isinstance(function, dict) and function.get("name")):
                    del call["id"]
                call.pop("type", None)


def _call(call: Any, seen: dict[Any, Any], choice: Any) -> None:
    known = seen.setdefault((choice, call.get("index")), {})
    function = call.get("function") if isinstance(call.get("function"), dict) else {}
    for holder, member in ((call, "id"), (call, "type"), (function, "name")):
        value = holder.get(member)
        if member in holder and (not value or member in known):
            del holder[member]
        elif value:
            known[member] = value
    if "type" not in known:
        call["type"] = known["type"] = "function"
    if function.get("arguments", "") is None:
        function["arguments"] = ""


def _shapes(events: Events) -> Events:
    """Return the events with lists and objects where the helper takes them for granted."""

    def edit(choice: Any, _state: Any) -> None:
        if not isinstance(choice.get("delta"), dict):
            choice["delta"] = {}
        if choice.get("finish_reason") in ("", "null", "None"):
            choice["finish_reason"] = None

    result = []
    for event in events:
        if event.is_object and event.payload.get("choices") is None and event.payload.get("object"):
            event = event.holding({**event.payload, "choices": []})
        result.append(event)
    return _edited(result, edit)


def _fragments(choice: Any, _state: Any) -> None:
    """Put the fragments of one call in one chunk together."""
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    kept: list[Any] = []
    for call in calls if isinstance(calls, list) else ():
        last = next((other for other in kept if _is_more(other, call)), None)
        if last is None:
            kept.append(call)
        else:
            last["function"]["arguments"] = (last["function"].get("arguments") or "") + call["function"]["arguments"]
    if isinstance(calls, list):
        delta["tool_calls"] = kept


def _is_more(call: Any, other: Any) -> bool:
    """Whether a fragment goes on with the arguments of another one."""
    if not isinstance(call, dict) or not isinstance(other, dict) or call.get("index") != other.get("index"):
        return False
    function, more = call.get("function"), other.get("function")
    if not isinstance(function, dict) or not isinstance(more, dict):
        return False
    return not other.get("id") and isinstance(more.get("arguments"), str)


def as_asked(events: Events, request: dict[str, Any]) -> Events:
    """Return the events under index 0, where one answer was asked for, and nothing says that somebody asked for more."""
    prompts = request.get("prompt")
    if (request.get("n") or 1) != 1 or (isinstance(prompts, list) and len(prompts) > 1) or _are_whole(events):
        return events
    return _edited(events, lambda choice, _: choice.update(index=0))


def _are_whole(events: Events) -> bool:
    """Return whether there are several choices, in order, each with its role and its end: a gateway asked for them."""
    roles, ends = [], []
    for event in events:
        for choice in event.payload.get("choices") or () if event.is_object else ():
            if isinstance(choice, dict) and isinstance(choice.get("delta"), dict):
                roles += [choice.get("index")] if choice["delta"].get("role") else []
                ends += [choice.get("index")] if choice.get("finish_reason") else []
    return len(roles) > 1 and roles == list(range(len(roles))) and set(roles) == set(ends)


def _choices(events: Events) -> Events:
    """Return the events with each choice begun after the lower ones: the helper keeps choices in a list."""
    begun: set[int] = set()
    held: Events = []
    result: Events = []
    for event in events:
        held.append(event)
        for waiting in list(held):
            indexes = _indexes(waiting)
            if all(set(range(index)) <= begun | set(indexes) for index in indexes):
                begun |= set(indexes)
                held.remove(waiting)
                result.append(waiting)
    return [*result, *held]


def _indexes(event: Event) -> list[int]:
    choices = event.payload.get("choices") if event.is_object else None
    found = [c.get("index") for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    return [index for index in found if isinstance(index, int) and 0 <= index < 128]  # the most that OpenAI takes for n


def _objects(events: Events) -> Events:
    """Return the events with the object that the helper looks for."""
    name = "chat.completion.chunk"
    return [
        event.holding({**event.payload, "object": name})
        if event.is_object and event.payload.get("choices") and event.payload.get("object") != name
        else event
        for event in events
    ]


def _usage(events: Events) -> Events:
    """Return the events with the last usage in the last chunk."""
    found = None
    last = None
    for place, event in enumerate(events):
        if event.is_object and "choices" in event.payload:
            last = place
            nested = [c.get("usage") for c in event.payload["choices"] or () if isinstance(c, dict)]
            found = event.payload.get("usage") or next(filter(None, nested), None) or found
    if last is None or not found:
        return events
    whole = events[last].holding({**events[last].payload, "usage": found})
    return [*events[:last], whole, *events[last + 1 :]]


def with_deltas(events: Events) -> Iterator[Events]:
    """Return the events with the delta of choices that carry their answer elsewhere: of all, or of those that say a thing."""
    for saying in (False, True):
        for alone in (True, False):

            def edit(choice: Any, _state: Any, saying: bool = saying, alone: bool = alone) -> None:
                found = _carried(choice)
                if found is None or isinstance(choice.get("delta"), dict):
                    return
                if saying and not any(found.get(member) for member in ("content", "tool_calls", "refusal")):
                    return
                choice["delta"] = found
                for member in ("message", "text") if alone else ():
                    choice.pop(member, None)

            yield _edited(events, edit)


def with_whole_messages(events: Events) -> Events:
    """Return the events with the text of a message in its delta, where that is the first that is said of its choice."""
    said: set[Any] = set()

    def edit(choice: Any, _state: Any) -> None:
        delta, found = choice.get("delta"), _carried(choice)
        content = found.get("content") if isinstance(found, dict) else None
        if isinstance(delta, dict) and not delta.get("content") and content and choice.get("index") not in said:
            delta["content"] = content
        if isinstance(delta, dict) and delta.get("content"):
            said.add(choice.get("index"))

    return _edited(events, edit)


def _carried(choice: Any) -> Any:
    if isinstance(choice.get("message"), dict):
        return choice["message"]
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else None


def with_usage(events: Events) -> Iterator[Events]:
    """Return the events with the usage of a choice where it belongs, in the chunk; there alone, or there too."""
    for alone in (True, False):
        result = []
        for event in events:
            choices = event.payload.get("choices") if event.is_object else None
            nested = [c for c in choices if isinstance(c, dict) and c.get("usage")] if isinstance(choices, list) else []
            if nested and not event.payload.get("usage"):
                payload = copied({**event.payload, "usage": nested[0]["usage"]})
                for choice in payload["choices"] if alone else ():
                    choice.pop("usage", None)
                event = event.holding(payload)
            result.append(event)
        yield result


_RESPECTS: dict[str, Callable[[Events], Events]] = {
    "roles": lambda events: _edited(events, _roles),
    "fragments": lambda events: _edited(events, _fragments),
    "calls": lambda events: _edited(events, _calls),
    "shapes": _shapes,
    "choices": _choices,
    "objects": _objects,
    "usage": _usage,
}
