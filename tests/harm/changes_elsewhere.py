"""What servers and relays do that puts a text elsewhere than where it belongs: another name, form, type, id or place.

Nothing is lost by any of it for a program that knows the dialect.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .changes import Events, change, on_calls, on_payloads, setting
from .changes_responses import members, renumbered, type_of
from .wire import Chance

_CHAT, _RESPONSES = ("chat",), ("responses",)
#: What relays call the deltas that clients know best; those of others they write with another dot.
_OTHER_NAMES = {
    "response.output_text.delta": "response.text.delta",
    "response.function_call_arguments.delta": "response.function_call.delta",
}


def _is_delta(payload: Any) -> bool:
    return type_of(payload).endswith(".delta") and isinstance(payload.get("delta"), str)


def _is_called(payload: Any) -> bool:
    """Return whether an event announces a call."""
    item = payload.get("item")
    announces = type_of(payload) == "response.output_item.added" and isinstance(item, dict)
    return announces and item.get("type") == "function_call"


# --- events, each alone

members(
    "deltas_under_another_name",
    _is_delta,
    lambda p: setting("type", _OTHER_NAMES.get(p["type"], p["type"].replace(".delta", "_delta")))(p),
    "proved",
)
members(
    "deltas_that_are_objects",
    _is_delta,
    lambda p: setting("delta", {"type": "text_delta", "text": p["delta"]})(p),
    "proved",
)
members("calls_announced_as_messages", _is_called, lambda p: setting("type", "message")(p["item"]), "proved")
members(
    "parts_announced_at_0",
    lambda p: type_of(p) == "response.content_part.added",
    setting("content_index", 0),
    "proved",
)


# --- several events


@change(*_RESPONSES, undo="proved")
def item_id_of_the_first_on_deltas(events: Events, chance: Chance) -> Events | None:
    """A relay keeps the first id of each sort of item, and writes it into all deltas of that sort."""
    first: dict[str, Any] = {}
    return on_payloads(
        events,
        lambda p, _: (
            _is_delta(p) and "item_id" in p and setting("item_id", first.setdefault(p["type"], p["item_id"]))(p)
        ),
    )


@change(*_RESPONSES, undo="proved")
def call_announced_under_the_id_before(events: Events, chance: Chance) -> Events | None:
    """A server announces a call before it makes up its id: under that of the item before it."""
    last: list[Any] = []

    def edit(payload: Any, _place: int) -> bool:
        if type_of(payload) != "response.output_item.added" or not isinstance(payload.get("item"), dict):
            return False
        item, before = payload["item"], list(last)
        last[:] = [item.get("id")]
        return bool(before and _is_called(payload) and setting("id", before[0])(item))

    return on_payloads(events, edit)


@change(*_RESPONSES, undo="proved")
def call_ids_unlike_in_terminal(events: Events, chance: Chance) -> Events | None:
    """The last event has calls under ids and call ids that nobody has heard of."""

    def edit(payload: Any, _place: int) -> bool:
        response = payload.get("response")
        output = (
            response.get("output") if isinstance(response, dict) and type_of(payload) == "response.completed" else ()
        )
        calls = [item for item in output or () if isinstance(item, dict) and "call_id" in item]
        for place, item in enumerate(calls):
            item.update(id=f"fc_other_{place}", call_id=f"call_other_{place}")
        return bool(calls)

    return on_payloads(events, edit)


@change(*_RESPONSES, undo="proved")
def texts_closed_with_their_first_piece(events: Events, chance: Chance) -> Events | None:
    """The closing events of a text come behind its first piece, and say no more than it; the output is forgotten."""
    places = [place for place, event in enumerate(events) if event.is_object and _is_delta(event.payload)]
    names = {event.payload.get("item_id") for event in events if event.is_object and _is_delta(event.payload)}
    if len(places) < 2 or len(names) != 1:
        return None
    first, last = places[0], places[-1]
    piece, whole = (events[first].payload["delta"], "".join(events[place].payload["delta"] for place in places))
    closing = [event for event in events[last + 1 :] if event.is_object and type_of(event.payload).endswith(".done")]
    early = [event.edited(lambda p: _say(p, whole, piece)) for event in closing]
    others = [event for event in events[first + 1 :] if event not in closing]
    forgotten = [
        event.edited(lambda p: p["response"].update(output=[]))
        if event.is_object and type_of(event.payload) == "response.completed"
        else event
        for event in others
    ]
    return renumbered([*events[: first + 1], *early, *forgotten])


def _say(value: Any, whole: str, piece: str) -> None:
    """Write a piece wherever a value says the whole text."""
    for name, said in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        if said == whole:
            value[name] = piece
        elif isinstance(said, (dict, list)):
            _say(said, whole, piece)


@change(*_CHAT, undo="proved")
def call_arguments_objects_in_parts(events: Events, chance: Chance) -> Events | None:
    """Each fragment has a piece of the arguments in an object, which programs merge."""
    pieces: Counter[Any] = Counter()

    def count(call: Any, _first: bool, choice: Any) -> bool:
        pieces[choice.get("index"), call.get("index")] += bool(_arguments_of(call))
        return False

    def edit(call: Any, _first: bool, choice: Any) -> bool:
        arguments = _arguments_of(call)
        if arguments is None or pieces[choice.get("index"), call.get("index")] < 2:  # in one piece it is another change
            return False
        call["function"]["arguments"] = {"input": arguments} if arguments else {}
        return True

    on_calls(events, count)
    return on_calls(events, edit)


def _arguments_of(call: Any) -> str | None:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) else None
