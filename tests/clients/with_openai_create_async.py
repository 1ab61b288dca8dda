"""The SDK's `create(stream=True)` of the asynchronous client, read by the same careful loop."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from recorded import API_KEY, MESSAGES, MODEL, TIMEOUT, Computed, Recording, main
from with_openai_create import read_chunk, read_event


def read(recording: Recording, computed: Computed) -> None:
    """One stream."""
    asyncio.run(run(recording, computed))


async def run(recording: Recording, computed: Computed) -> None:
    """Every chunk or event as it is typed, and what it comes to."""
    async with openai.AsyncOpenAI(
        api_key=API_KEY, base_url=recording.base_url, max_retries=0, timeout=TIMEOUT
    ) as client:
        api: Any = client.responses if recording.api == "responses" else client.chat.completions
        asked = {"input": "Hello"} if recording.api == "responses" else {"messages": MESSAGES, **recording.request}
        calls: dict[Any, list[str]] = {}
        async for each in await api.create(model=MODEL, stream=True, **asked):
            computed.chunks.append(each.model_dump(exclude_unset=True, warnings=False))
            if recording.api == "responses":
                read_event(each, computed)
            else:
                read_chunk(each, computed, calls)
                computed.tools = [(name, arguments) for name, arguments in calls.values()]


if __name__ == "__main__":
    main(read)
