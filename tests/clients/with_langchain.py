"""LangChain: `ChatOpenAI(...).stream`."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from langchain_openai import ChatOpenAI
from recorded import API_KEY, MODEL, TIMEOUT, Computed, Recording, main


def read(recording: Recording, computed: Computed) -> None:
    """Every chunk, and their sum."""
    chunks = []
    for chunk in model_of(recording).stream("Hello"):
        chunks.append(chunk)
        computed.chunks.append(chunk.model_dump())
    add_up(chunks, computed)


def model_of(recording: Recording) -> ChatOpenAI:
    """A model that asks for usage, and for the API of the recording."""
    return ChatOpenAI(
        model=MODEL,
        api_key=API_KEY,
        base_url=recording.base_url,
        max_retries=0,
        timeout=TIMEOUT,
        stream_usage=True,
        use_responses_api=recording.api == "responses",
    )


def add_up(chunks: list[Any], computed: Computed) -> None:
    """The sum of all chunks, as LangChain itself makes it."""
    if chunks:
        whole = reduce(add, chunks)
        computed.final = whole.model_dump()
        computed.text = str(whole.text)
        computed.tools = [(call["name"] or "", call["args"] or "") for call in whole.tool_call_chunks]


if __name__ == "__main__":
    main(read)
