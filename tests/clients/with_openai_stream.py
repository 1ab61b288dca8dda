"""The SDK's `.stream()` helpers: their events, and the object they accumulate."""

from __future__ import annotations

from typing import Any

import openai
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main

#: What every event repeats of all the ones before it; the final object has it once.
_ACCUMULATED = {"snapshot", "parsed", "parsed_arguments"}


def read(recording: Recording, computed: Computed) -> None:
    """Every event, and the final object."""
    with openai.OpenAI(api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT) as client:
        if recording.api == "responses":
            read_response(client, computed)
        else:
            read_chat(client, recording.request, computed)


def read_chat(client: Any, request: dict[str, Any], computed: Computed) -> None:
    """`chat.completions.stream`."""
    more = {key: value for key, value in request.items() if key != "tools"}  # the helper takes strict ones only
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, **more) as stream:
        for event in stream:
            keep(event, computed)
            if event.type == "content.delta":
                computed.text += event.delta
        final = stream.get_final_completion()
    computed.final = final.model_dump(exclude_unset=True, warnings=False)
    for call in final.choices[0].message.tool_calls or []:
        computed.tools.append((call.function.name, call.function.arguments))


def read_response(client: Any, computed: Computed) -> None:
    """`responses.stream`."""
    with client.responses.stream(model=MODEL, input="Hello") as stream:
        for event in stream:
            keep(event, computed)
        final = stream.get_final_response()
    computed.final = final.model_dump(exclude_unset=True, warnings=False)
    computed.text = final.output_text
    computed.tools = [(item.name, item.arguments) for item in final.output if item.type == "function_call"]


def keep(event: Any, computed: Computed) -> None:
    """An event, without what it repeats."""
    dumped = event.model_dump(exclude_unset=True, warnings=False, exclude=_ACCUMULATED)
    computed.chunks.append(dumped)


if __name__ == "__main__":
    main(read)
