"""LangChain: `ChatOpenAI(...).astream`, as servers use it."""

from __future__ import annotations

import asyncio
from typing import Any

from recorded import Computed, Recording, main
from with_langchain import add_up, model_of


def read(recording: Recording, computed: Computed) -> None:
    """Every chunk, and their sum."""
    chunks: list[Any] = []
    try:
        asyncio.run(run(recording, chunks))
    finally:
        computed.chunks = [chunk.model_dump() for chunk in chunks]
    add_up(chunks, computed)


async def run(recording: Recording, chunks: list[Any]) -> None:
    """One stream."""
    async for chunk in model_of(recording).astream("Hello"):
        chunks.append(chunk)


if __name__ == "__main__":
    main(read)
