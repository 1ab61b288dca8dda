"""Pydantic AI: a streamed model request."""

from __future__ import annotations

import asyncio

import openai
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from recorded import API_KEY, MODEL, TIMEOUT, Computed, Recording, main


def read(recording: Recording, computed: Computed) -> None:
    """One request."""
    asyncio.run(run(recording, computed))


async def run(recording: Recording, computed: Computed) -> None:
    """Every event, and the response they come to."""
    async with openai.AsyncOpenAI(
        api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT
    ) as client:
        shape = OpenAIResponsesModel if recording.api == "responses" else OpenAIChatModel
        model = shape(MODEL, provider=OpenAIProvider(openai_client=client))
        async with model_request_stream(model, [ModelRequest.user_text_prompt("Hello")]) as stream:
            async for event in stream:
                computed.chunks.append(event)
            response = stream.get()
    computed.final = response
    for part in response.parts:
        if part.part_kind == "text":
            computed.text += part.content
        elif part.part_kind == "tool-call":
            computed.tools.append((part.tool_name, part.args_as_json_str()))


if __name__ == "__main__":
    main(read)
