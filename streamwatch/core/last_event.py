"""The last event of a body that ends before its blank line: who can read it.

By the standard it is not an event, and a program that ended well without it must end well with it. So it goes on where
a reader of the events before it can read this one too, and a call only where it is whole with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType

_CHOICES = ("chat", "completions")
#: Finish reasons on which the SDK's helper raises.
_CUT_SHORT = frozenset(("length", "content_filter"))
#: Chunks without tool calls, on which a program that looks for nothing else has raised already.
_WITHOUT_CALLS = frozenset((ChunkType.TEXT, ChunkType.REASONING, ChunkType.REFUSAL, ChunkType.ROLE))
#: The APIs whose first event makes what the others are about.
_OPENED = ("responses", "assistants")


def is_error(event: Event, payload: dict[str, Any]) -> bool:
    """Return whether an event reports an error: a program that took what it has for an answer would raise on it."""
    return bool(payload.get("error")) or "error" in (event.event, payload.get("type"))


def can_be_read(api: str, payload: dict[str, Any], before: Mapping[ChunkType, int], *, accumulated: bool) -> bool:
    """Return whether a program can read an event that has read those before it.

    `before` counts what came, `accumulated` says that the SDK's helper reads it all.
    """
    if not payload:
        return False  # nothing is lost with it
    if api not in _CHOICES:
        is_of_api = api != "responses" or (type(payload.get("type")) is str and _lists_output(payload))
        return is_of_api and (bool(before) or api not in _OPENED)
    choices = payload.get("choices")
    if type(choices) is list and not choices:
        return accumulated or ChunkType.USAGE in before
    return type(choices) is list and _are_whole(api, choices, before, accumulated=accumulated)


def _lists_output(payload: dict[str, Any]) -> bool:
    """Return whether a response that an event holds has a list of items: programs go through that of the last one."""
    response = payload.get("response")
    return type(response) is not dict or type(response.get("output", [])) is list


def _are_whole(api: str, choices: list[Any], before: Mapping[ChunkType, int], *, accumulated: bool) -> bool:
    """Return whether nobody misses anything in the choices of a chunk."""
    if not all(_has_its_part(api, choice) for choice in choices):
        return False
    reasons = [choice.get("finish_reason") for choice in choices]
    if accumulated and not _CUT_SHORT.isdisjoint(reason for reason in reasons if type(reason) is str):
        return False
    calls = [call for choice in choices for call in _calls(choice)]
    known = before.get(ChunkType.TOOL_CALL, 0) > 1 or all(map(_is_whole, calls))
    return any(reasons) and known if calls or not before else True


def _has_its_part(api: str, choice: Any) -> bool:
    if type(choice) is not dict:
        return False
    return type(choice.get("delta")) is dict if api == "chat" else type(choice.get("text")) is str


def _calls(choice: dict[str, Any]) -> list[Any]:
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if type(delta) is dict else None
    return calls if type(calls) is list else []


def _is_whole(call: Any) -> bool:
    """Return whether a fragment of a call has all that a call has."""
    function = call.get("function") if type(call) is dict else None
    said = (call.get("id"), function.get("name"), function.get("arguments")) if type(function) is dict else (None,)
    return all(type(word) is str for word in said)


def lacked(before: Mapping[ChunkType, int], *, content: bool) -> dict[str, Any]:
    """Return the members of a delta, each empty, that every chunk before had; `content` says that all had one."""
    empty: dict[str, Any] = {"content": ""} if content else {}
    return {**empty, "tool_calls": []} if _WITHOUT_CALLS.isdisjoint(before) else empty


def filled(raw: bytes, empty: dict[str, Any]) -> bytes | None:
    """Return a chunk of chat with these members in its deltas, empty where they lack them; None if none lacks any.

    A chunk that nobody can read lacks none.
    """
    payload = json.loads(raw)
    choices = payload.get("choices")
    if type(choices) is not list or not all(_has_its_part("chat", choice) for choice in choices):
        return None
    found = False
    for choice in choices:
        delta = choice["delta"]
        lacking = [name for name in empty if delta.get(name) is None]
        found = found or bool(lacking)
        for name in lacking:
            delta[name] = empty[name]
    return json.dumps(payload).encode() if found else None
