"""The streams a healthy OpenAI-compatible server sends, event by event.

An event is the JSON payload of one SSE event, or a mark for what is not a payload: the end that the
chat API sends, and the end that no API sends. The shapes are those of OpenAI's servers, down to
the order of the fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from random import Random
from typing import Any

_HEX = "0123456789abcdef"


class Mark(Enum):
    """The marks in a stream beside payloads."""

    DONE = "[DONE]"
    CUT = "the connection is closed here"


Event = dict[str, Any] | Mark


class Shape(str, Enum):
    """The shape of a request: the API, and whether tools are called."""

    CHAT_TEXT = "chat text"
    CHAT_TOOLS = "chat tools"
    RESPONSES_TEXT = "responses text"
    RESPONSES_TOOLS = "responses tools"


#: The snapshots a model name stands for; several where a vendor moves it while requests come in.
SNAPSHOTS = {
    "gpt-4o": ("gpt-4o-2024-05-13", "gpt-4o-2024-11-20"),
    "gpt-4o-mini": ("gpt-4o-mini-2024-07-18",),
    "gpt-4-turbo": ("gpt-4-turbo-2024-04-09",),
    "gpt-4.1": ("gpt-4.1-2025-04-14",),
}

#: One word is one delta. 24 is a short answer; the long one outlasts the default window of 64 events.
SHORT, LONG = 24, 96

_SENTENCE = (
    "The tram to the old town leaves every ten minutes and stops beside the river where the market opens at eight"
)
_ANSWER = {
    "city": "Lisbon",
    "country": "Portugal",
    "river": "Tagus",
    "hills": 7,
    "tram": 28,
    "bridges": ["April", "Gama"],
}
_CALLS = (("get_weather", '{"city": "Lisbon", "unit": "celsius"}'), ("get_time", '{"city": "Porto", "seconds": false}'))


def snapshot(model: str, rng: Random) -> str:
    """Return the dated model that answers a request for `model`."""
    return rng.choice(SNAPSHOTS.get(model, (model,)))


def words(count: int) -> list[str]:
    """Return `count` deltas of prose."""
    vocabulary = _SENTENCE.split()
    return [(" " if place else "") + vocabulary[place % len(vocabulary)] for place in range(count)]


def chat(body: dict[str, Any], shape: Shape, length: int, rng: Random) -> list[Event]:
    """Return the events of POST /v1/chat/completions."""
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    head = {
        "id": f"chatcmpl-{_id(rng, 29)}",
        "object": "chat.completion.chunk",
        "created": 1780000000 + rng.randrange(10**6),
        "model": snapshot(str(body.get("model")), rng),
        "service_tier": "default",
        "system_fingerprint": f"fp_{_id(rng, 10)}",
    }
    tail = {"usage": None} if usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [choice], **tail, "obfuscation": _id(rng, rng.randint(1, 15))}

    tools = shape is Shape.CHAT_TOOLS
    deltas = _tool_deltas(rng) if tools else ({"content": piece} for piece in _text(body, length))
    opening = {"role": "assistant", "content": None if tools else "", "refusal": None}
    events = [chunk(opening), *map(chunk, deltas), chunk({}, "tool_calls" if tools else "stop")]
    if usage:
        counts = {"prompt_tokens": 17, "completion_tokens": length, "total_tokens": 17 + length}
        events.append({**head, "choices": [], "usage": counts, "obfuscation": ""})
    return [*events, Mark.DONE]


def _text(body: dict[str, Any], length: int) -> list[str]:
    if (body.get("response_format") or {}).get("type") == "json_object":
        return re.findall(r"\S+\s*", json.dumps(_ANSWER))
    return words(length)


def _tool_deltas(rng: Random) -> Iterator[dict[str, Any]]:
    for index, (name, arguments) in enumerate(_CALLS):
        function = {"name": name, "arguments": ""}
        header = {"index": index, "id": f"call_{_id(rng, 24)}", "type": "function", "function": function}
        yield {"tool_calls": [header]}
        for piece in _pieces(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def responses(body: dict[str, Any], shape: Shape, length: int, rng: Random) -> list[Event]:
    """Return the events of POST /v1/responses, numbered from 0 without a gap."""
    begun = _response(body, rng)
    items = _call_items(rng) if shape is Shape.RESPONSES_TOOLS else _message_items(words(length), rng)
    middle = [event for item in items for event in item]
    output = [event["item"] for event in middle if event["type"] == "response.output_item.done"]
    usage = {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": length,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17 + length,
    }
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        *middle,
        {"type": "response.completed", "response": {**begun, "status": "completed", "output": output, "usage": usage}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _response(body: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Return a response that has just begun."""
    return {
        "id": f"resp_{_id(rng, 48)}",
        "object": "response",
        "created_at": 1780000000 + rng.randrange(10**6),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": snapshot(str(body.get("model")), rng),
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "usage": None,
    }


def _message_items(deltas: list[str], rng: Random) -> Iterator[list[dict[str, Any]]]:
    where = {"content_index": 0, "item_id": f"msg_{_id(rng, 48)}", "output_index": 0}
    text = "".join(deltas)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    full = {**part, "text": text}
    item = {"id": where["item_id"], "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    done = {**item, "status": "completed", "content": [full]}
    yield [
        {"type": "response.output_item.added", "item": item, "output_index": 0},
        {"type": "response.content_part.added", **where, "part": part},
        *({"type": "response.output_text.delta", **where, "delta": delta, "logprobs": []} for delta in deltas),
        {"type": "response.output_text.done", **where, "logprobs": [], "text": text},
        {"type": "response.content_part.done", **where, "part": full},
        {"type": "response.output_item.done", "item": done, "output_index": 0},
    ]


def _call_items(rng: Random) -> Iterator[list[dict[str, Any]]]:
    for index, (name, arguments) in enumerate(_CALLS):
        where = {"item_id": f"fc_{_id(rng, 48)}", "output_index": index}
        item = {
            "id": where["item_id"],
            "type": "function_call",
            "status": "in_progress",
            "arguments": "",
            "call_id": f"call_{_id(rng, 24)}",
            "name": name,
        }
        done = {**item, "status": "completed", "arguments": arguments}
        family = "response.function_call_arguments"
        yield [
            {"type": "response.output_item.added", "item": item, "output_index": index},
            *({"type": f"{family}.delta", **where, "delta": piece} for piece in _pieces(arguments)),
            {"type": f"{family}.done", **where, "arguments": arguments, "name": name},
            {"type": "response.output_item.done", "item": done, "output_index": index},
        ]


def encode(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield the SSE frames of `events`, up to the place where the connection is cut."""
    for event in events:
        if event is Mark.CUT:
            return
        if isinstance(event, Mark):
            yield f"data: {event.value}\n\n".encode()
        else:
            named = f"event: {event['type']}\n" if "type" in event else ""
            yield f"{named}data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


def _pieces(text: str) -> list[str]:
    return [text[start : start + 6] for start in range(0, len(text), 6)]


def _id(rng: Random, length: int) -> str:
    return "".join(rng.choices(_HEX, k=length))
