"""The SDK's own `create(stream=True)`, read by a careful loop of an application."""

from __future__ import annotations

from typing import Any

import openai
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main


def read(recording: Recording, computed: Computed) -> None:
    """Every chunk or event as it is typed, and what it comes to."""
    with openai.OpenAI(api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT) as client:
        if recording.api == "responses":
            stream = client.responses.create(model=MODEL, input="Hello", stream=True)
        else:
            stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **recording.request)
        calls: dict[Any, list[str]] = {}
        for each in stream:
            computed.chunks.append(each.model_dump(exclude_unset=True, warnings=False))
            if recording.api == "responses":
                read_event(each, computed)
            else:
                read_chunk(each, computed, calls)
                computed.tools = [(name, arguments) for name, arguments in calls.values()]


def read_event(event: Any, computed: Computed) -> None:
    """The text of the deltas, and the function calls of the items."""
    if event.type == "response.output_text.delta":
        computed.text += event.delta
    elif event.type == "response.output_item.done" and event.item.type == "function_call":
        computed.tools.append((event.item.name, event.item.arguments))
    elif event.type in ("response.completed", "response.incomplete", "response.failed"):
        computed.final = event.response


def read_chunk(chunk: Any, computed: Computed, calls: dict[Any, list[str]]) -> None:
    """The first choice, by the book: whatever may be absent is looked for before it is used."""
    final = computed.final or {"role": None, "finish_reason": None, "usage": None}
    final["usage"] = getattr(chunk, "usage", None) or final["usage"]
    computed.final = final
    for choice in chunk.choices or []:
        delta = choice.delta
        if choice.index != 0 or delta is None:
            continue
        final["role"] = final["role"] or delta.role
        final["finish_reason"] = choice.finish_reason or final["finish_reason"]
        computed.text += delta.content or ""
        for fragment in delta.tool_calls or []:
            call = calls.setdefault(fragment.index, ["", ""])
            call[0] += (fragment.function and fragment.function.name) or ""
            call[1] += (fragment.function and fragment.function.arguments) or ""


if __name__ == "__main__":
    main(read)
