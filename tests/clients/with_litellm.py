"""LiteLLM as a client: `completion(stream=True)` and `responses(stream=True)` of an OpenAI-compatible server."""

from __future__ import annotations

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no list of prices off the network

import litellm
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main

litellm.suppress_debug_info = True
litellm.telemetry = False


def read(recording: Recording, computed: Computed) -> None:
    """Every chunk, and what LiteLLM's own builder makes of them."""
    options: dict[str, Any] = {"api_base": recording.base_url, "api_key": API_KEY, "timeout": TIMEOUT}
    if recording.api == "responses":
        for event in litellm.responses(model=f"openai/{MODEL}", input="Hello", stream=True, **options):
            computed.chunks.append(event.model_dump(exclude_unset=True, warnings=False))
            if event.type == "response.output_text.delta":
                computed.text += event.delta
        return
    chunks = []
    for chunk in litellm.completion(
        model=f"openai/{MODEL}", messages=MESSAGES, stream=True, max_retries=0, num_retries=0, **options
    ):
        chunks.append(chunk)
        computed.chunks.append(chunk.model_dump(warnings=False))
    whole = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    computed.final = whole.model_dump(warnings=False)
    message = whole.choices[0].message
    computed.text = message.content or ""
    computed.tools = [(call.function.name or "", call.function.arguments) for call in message.tool_calls or []]


if __name__ == "__main__":
    main(read)
