"""Programs that use the SDK's helpers: over their events, and over what they made of the whole."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .readers import reader

Events = Any


@reader("chat", "answer", "helper")
def helper_text(events: Events) -> Any:
    """Join the deltas of text."""
    return "".join(event.delta for event in events if event.type == "content.delta")


@reader("chat", "calls", "helper")
def helper_arguments(events: Events) -> Any:
    """Join the arguments of each call."""
    calls: dict[Any, list[Any]] = {}
    for event in events:
        if event.type == "tool_calls.function.arguments.delta":
            kept = calls.setdefault(event.index, [event.name, ""])
            kept[1] += event.arguments_delta
    return [calls[key] for key in sorted(calls)]


@reader("chat", "calls", "helper")
def helper_calls_done(events: Events) -> Any:
    """Take calls that are done."""
    return [(e.index, e.name, e.arguments) for e in events if e.type == "tool_calls.function.arguments.done"]


@reader("chat", "answer", "helper")
def helper_texts_done(events: Events) -> Any:
    """Take texts that are done."""
    return [(e.type, e.content or e.refusal) for e in events if e.type in ("content.done", "refusal.done")]


@reader("chat", "form", "helper")
def helper_types(events: Events) -> Any:
    """List the types of the events, chunks as such aside."""
    return [event.type for event in events if event.type != "chunk"]


@reader("chat", "form", "helper")
def helper_chunks(events: Events) -> Any:
    """Count the chunks that the helper passes on."""
    return sum(event.type == "chunk" for event in events)


@reader("chat", "answer", "final")
def final_text(completion: Any) -> Any:
    """Take the text of each choice."""
    return [(c.index, c.message.content or "", getattr(c.message, "refusal", None) or "") for c in completion.choices]


@reader("chat", "calls", "final")
def final_calls(completion: Any) -> Any:
    """Take the calls of each choice."""
    found = []
    for choice in completion.choices:
        for call in choice.message.tool_calls or []:
            function = getattr(call, "function", None)
            found.append((call.id, call.type, getattr(function, "name", None), getattr(function, "arguments", None)))
    return found


@reader("chat", "answer", "final")
def final_ends(completion: Any) -> Any:
    """Take role and end of each choice."""
    return [(choice.message.role, choice.finish_reason) for choice in completion.choices]


@reader("chat", "answer", "final")
def final_usage(completion: Any) -> Any:
    """Take the usage."""
    return completion.usage.total_tokens if completion.usage else None


@reader("chat", "form", "final")
def final_head(completion: Any) -> Any:
    """Take id, model, object and created."""
    return completion.id, completion.model, completion.object, completion.created


# --- responses


@reader("responses", "answer", "helper")
def helper_text_(events: Events) -> Any:
    """Join the deltas of text."""
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


@reader("responses", "answer", "helper")
def helper_arguments_(events: Events) -> Any:
    """Join the arguments of each item."""
    calls: dict[Any, str] = defaultdict(str)
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            calls[event.output_index] += event.delta
    return [calls[key] for key in sorted(calls)]


@reader("responses", "form", "helper")
def helper_types_(events: Events) -> Any:
    """List the types of the events."""
    return [event.type for event in events]


@reader("responses", "answer", "helper")
def helper_items(events: Events) -> Any:
    """List the items that are done."""
    return [event.item for event in events if event.type == "response.output_item.done"]


@reader("responses", "answer", "final")
def final_text_(response: Any) -> Any:
    """Take the text."""
    return response.output_text


@reader("responses", "answer", "final")
def final_items(response: Any) -> Any:
    """Take the items."""
    names = ("type", "id", "call_id", "name", "arguments", "input", "encrypted_content")
    return [tuple(getattr(item, name, None) for name in names) for item in response.output]


@reader("responses", "answer", "final")
def final_end(response: Any) -> Any:
    """Take how it ended, and what it cost."""
    return response.id, response.status, response.usage.total_tokens if response.usage else None
