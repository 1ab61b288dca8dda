"""Programs that read the tool calls of chat completions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .readers import reader
from .readers_chat import first_delta

Chunks = Any


@reader("chat", "calls")
def calls_by_index(stream: Chunks) -> Any:
    """Keep a call under its index."""
    calls: dict[Any, list[Any]] = {}
    for chunk in stream:
        for choice in chunk.choices:
            for call in (choice.delta.tool_calls if choice.delta else None) or []:
                kept = calls.setdefault((choice.index, call.index), [None, None, ""])
                kept[0] = call.id or kept[0]
                if call.function:
                    kept[1] = call.function.name or kept[1]
                    kept[2] += call.function.arguments or ""
    return [calls[key] for key in sorted(calls)]


@reader("chat", "calls")
def calls_by_round(stream: Chunks) -> Any:
    """Keep the calls of the first choice in a list, which a finish_reason empties, as an agent does that calls them."""
    rounds: list[Any] = []
    calls: list[list[str]] = []
    for chunk in stream:
        for choice in chunk.choices[:1]:
            for call in (choice.delta.tool_calls if choice.delta else None) or []:
                if call.index == len(calls):
                    calls.append(["", ""])
                kept = calls[call.index]
                kept[0] += (call.function.name if call.function else None) or ""
                kept[1] += (call.function.arguments if call.function else None) or ""
            if choice.finish_reason and calls:
                rounds.append(calls)
                calls = []
    return rounds


@reader("chat", "calls")
def calls_of_objects(stream: Chunks) -> Any:
    """Join arguments that are strings, and merge those that are objects, of which the strings are joined too."""
    calls: dict[Any, list[Any]] = {}
    for chunk in stream:
        for choice in chunk.choices:
            for call in (choice.delta.tool_calls if choice.delta else None) or []:
                kept = calls.setdefault((choice.index, call.index), [None, {}, ""])
                arguments = call.function.arguments if call.function else None
                kept[0] = call.id or kept[0]
                for name, value in arguments.items() if isinstance(arguments, dict) else ():
                    text = isinstance(value, str)
                    kept[1][name] = kept[1].get(name, "") + value if text else value
                kept[2] += arguments if isinstance(arguments, str) else ""
    return [calls[key] for key in sorted(calls)]


@reader("chat", "calls")
def calls_by_id(stream: Chunks) -> Any:
    """Keep a call under its id, and what has none under the last one."""
    calls: dict[Any, list[Any]] = {}
    last = None
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            last = call.id or last
            kept = calls.setdefault(last, [None, ""])
            if call.function:
                kept[0] = call.function.name or kept[0]
                kept[1] += call.function.arguments or ""
    return [[id, *kept] for id, kept in calls.items()]


@reader("chat", "calls")
def calls_by_open(stream: Chunks) -> Any:
    """Open a call at each id, and add to the last one opened."""
    calls: list[list[Any]] = []
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            if call.id:
                calls.append([call.id, call.function.name or "", ""])
            if call.function and call.function.arguments:
                calls[-1][2] += call.function.arguments
    return calls


@reader("chat", "calls")
def calls_by_name(stream: Chunks) -> Any:
    """Open a call at each name, and add to the last one opened."""
    calls: list[list[Any]] = []
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            if call.function is not None and call.function.name:
                calls.append([call.function.name, ""])
            if calls and call.function is not None:
                calls[-1][1] += call.function.arguments or ""
    return calls


@reader("chat", "calls")
def calls_in_list(stream: Chunks) -> Any:
    """Let a list grow to each index, as the SDK's cookbook does."""
    calls: list[dict[str, Any]] = []
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            if len(calls) <= call.index:
                calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
            kept = calls[call.index]
            if call.id:
                kept["id"] += call.id
            if call.function and call.function.name:
                kept["function"]["name"] += call.function.name
            if call.function and call.function.arguments:
                kept["function"]["arguments"] += call.function.arguments
    return [[call["id"], call["function"]["name"], call["function"]["arguments"]] for call in calls]


@reader("chat", "calls")
def calls_joined_or_empty(stream: Chunks) -> Any:
    """Join ids, names and arguments."""
    calls: dict[Any, list[str]] = defaultdict(lambda: ["", "", ""])
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            kept = calls[call.index]
            kept[0] += call.id or ""
            kept[1] += (call.function.name or "") if call.function else ""
            kept[2] += (call.function.arguments or "") if call.function else ""
    return list(calls.values())


@reader("chat", "calls", twin="calls_joined_or_empty")
def calls_joined_bare(stream: Chunks) -> Any:
    """Join ids, names and arguments, and take strings for granted."""
    calls: dict[Any, list[str]] = defaultdict(lambda: ["", "", ""])
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            calls[call.index][0] += call.id
            calls[call.index][1] += call.function.name
            calls[call.index][2] += call.function.arguments
    return list(calls.values())


@reader("chat", "calls")
def calls_first_header(stream: Chunks) -> Any:
    """Take the first fragment of an index for the header, and later ones for arguments alone."""
    calls: dict[Any, Any] = {}
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            if call.index not in calls:
                calls[call.index] = [call.id, call.function.name, call.function.arguments or ""]
            else:
                calls[call.index][2] += call.function.arguments or ""
    return list(calls.values())


@reader("chat", "form")
def calls_bare_loop(stream: Chunks) -> Any:
    """Loop over tool_calls without asking whether there are any."""
    return sum(1 for chunk in stream if chunk.choices for _ in chunk.choices[0].delta.tool_calls)


@reader("chat", "form")
def calls_null_or_list(stream: Chunks) -> Any:
    """Say of each chunk whether tool_calls is None, and how many there are."""
    return [
        None if c.delta is None or c.delta.tool_calls is None else len(c.delta.tool_calls)
        for chunk in stream
        for c in chunk.choices
    ]


@reader("chat", "form")
def calls_types(stream: Chunks) -> Any:
    """List the type of each fragment."""
    return [
        call.type for chunk in stream for c in chunk.choices for call in (c.delta.tool_calls if c.delta else None) or []
    ]


@reader("chat", "form")
def calls_ids(stream: Chunks) -> Any:
    """List index and id of each fragment."""
    return [
        (call.index, call.id)
        for chunk in stream
        for c in chunk.choices
        for call in (c.delta.tool_calls if c.delta else None) or []
    ]


@reader("chat", "form")
def calls_names(stream: Chunks) -> Any:
    """List the name of each fragment: null, empty or there."""
    return [
        call.function.name if call.function else "no function"
        for chunk in stream
        for c in chunk.choices
        for call in (c.delta.tool_calls if c.delta else None) or []
    ]


@reader("chat", "answer")
def custom_input(stream: Chunks) -> Any:
    """Join the input of custom tools, which the SDK's types of deltas do not know."""
    found: dict[Any, list[str]] = defaultdict(lambda: ["", ""])
    for chunk in stream:
        delta = first_delta(chunk)
        for call in (delta.tool_calls if delta else None) or []:
            custom = getattr(call, "custom", None)
            if custom:
                found[call.index][0] += custom.get("name") or ""
                found[call.index][1] += custom.get("input") or ""
    return list(found.values())


@reader("chat", "answer")
def function_call(stream: Chunks) -> Any:
    """Join a call as of 2023."""
    name, arguments = "", ""
    for chunk in stream:
        delta = first_delta(chunk)
        call = getattr(delta, "function_call", None)
        if call is not None:
            name += call.name or ""
            arguments += call.arguments or ""
    return name, arguments
