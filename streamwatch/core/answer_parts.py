"""The place of an event in the answer, before any rule of an API has seen it: not much, and never wrong."""

from __future__ import annotations

import enum
from typing import Any

#: Numbers beyond it are no counters, and JavaScript relays can't carry them exactly.
MAX_NUMBER = 2**53
#: Digits of a number that is written as a string: as many as `MAX_NUMBER` has.
_MAX_DIGITS = 16
#: The events that end a response.
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
#: Members of the events of the Responses API that say what they are about, or have a piece of it.
_PLACES = ("item_id", "item", "output_index", "delta")
#: Members of a choice that have a piece of the answer: servers write it into `message`, too.
_PIECES = ("delta", "message")


class Place(enum.Enum):
    """The place that a number gives its event."""

    NEXT = "it is the event's turn"
    AHEAD = "others are missing before it"
    LATE = "what comes after it has gone on already"
    AGAIN = "the same event came before"
    NONE = "nothing"
    WRONG = "these numbers are no order"


def as_number(value: Any) -> int | None:
    """Return the number that a value means: an integer, also as a float or in digits, as relays write it."""
    if type(value) is str:
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < MAX_NUMBER else None


def opens_chat(payload: dict[str, Any], *, several: bool) -> bool:
    """Return whether a chunk is one that an answer begins with; `several` says that it has several choices.

    A role beside a piece of the answer says nothing: many servers write it into every chunk.
    """
    choices = payload.get("choices")
    if type(choices) is not list:
        return False
    if not choices:
        return not payload.get("usage")  # Azure's verdict on the prompt comes before the answer
    if any(_says_something(choice, "role") for choice in choices):
        return False
    return any(_has_role(choice) and not (several and choice.get("index")) for choice in choices)


def is_content(payload: dict[str, Any], *, beside_role: bool = False) -> bool:
    """Return whether an event is a part of the answer, and neither a keep-alive nor a frame of a gateway's own.

    `beside_role` leaves out a chunk that says who speaks, and nothing else.
    """
    choices = payload.get("choices")
    if type(choices) is list:
        return any(_says_something(choice, "role" if beside_role else "") for choice in choices)
    return any(name in payload for name in _PLACES) or type(payload.get("response")) is dict


def stands_behind(payload: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether an event is about an item that another one announces, or ends what that has a piece of."""
    return _announces(other, payload) or _ends(payload, other)


def _announces(payload: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether an event announces the item that another one is about."""
    item = payload.get("item") if payload.get("type") == "response.output_item.added" else None
    id = other.get("item_id")
    return type(item) is dict and type(id) is str and item.get("id") == id


def _ends(payload: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether a chunk ends what another one has a piece of; a bridge numbers what it makes up itself with 0."""
    choices, others = payload.get("choices"), other.get("choices")
    if type(choices) is not list or type(others) is not list:
        return False
    if not choices:
        return bool(payload.get("usage")) and is_content(other)
    ended = [choice.get("index") for choice in choices if type(choice) is dict and choice.get("finish_reason")]
    return bool(ended) and any(
        _says_something(choice, "role") and not choice.get("finish_reason") and choice.get("index") in ended
        for choice in others
    )


def _has_role(choice: Any) -> bool:
    return type(choice) is dict and any(piece.get("role") for piece in _pieces(choice))


def _says_something(choice: Any, beside: str) -> bool:
    if type(choice) is not dict:
        return False
    if choice.get("text") or choice.get("finish_reason"):
        return True
    return any(value for piece in _pieces(choice) for name, value in piece.items() if name != beside)


def _pieces(choice: dict[str, Any]) -> list[dict[str, Any]]:
    return [piece for name in _PIECES if type(piece := choice.get(name)) is dict]
