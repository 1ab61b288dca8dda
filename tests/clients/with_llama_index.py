"""LlamaIndex: `OpenAI(...).stream_chat` and `OpenAIResponses(...).stream_chat`."""

from __future__ import annotations

import json
from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI, OpenAIResponses
from recorded import API_KEY, MODEL, TIMEOUT, Computed, Recording, main


def read(recording: Recording, computed: Computed) -> None:
    """Every answer so far: its delta, and the last one whole."""
    shape = OpenAIResponses if recording.api == "responses" else OpenAI
    model: Any = shape(model=MODEL, api_key=API_KEY, api_base=recording.base_url, max_retries=0, timeout=TIMEOUT)
    last = None
    for last in model.stream_chat([ChatMessage(role="user", content="Hello")]):
        computed.chunks.append({"delta": last.delta, "raw": last.raw})
    if last is not None:
        computed.final = {"message": last.message, "more": last.additional_kwargs}
        computed.text = last.message.content or ""
        for call in model.get_tool_calls_from_response(last, error_on_no_tool_call=False):
            computed.tools.append((call.tool_name, json.dumps(call.tool_kwargs)))


if __name__ == "__main__":
    main(read)
