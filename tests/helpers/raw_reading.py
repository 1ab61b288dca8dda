"""Ways in which programs read a body below the SDK's parser: of the SDK's response, and of the HTTP response in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from helpers import sdk

WAYS = (
    *("iter_bytes", "iter_text", "iter_lines", "read"),
    *("http.iter_bytes", "http.iter_raw", "http.iter_text", "http.iter_lines", "http.read"),
)


@dataclass
class Read:
    """What a program got: pieces of a body, and the exception that ended it."""

    pieces: list[Any]
    error: BaseException | None = None

    def as_seen(self) -> tuple[Any, ...]:
        """Return what can be compared with another reading."""
        return self.pieces, type(self.error), str(self.error)


def opening(client: Any, api: str = "chat") -> Any:
    """The context manager that hands out a response."""
    if api == "responses":
        asked = {"model": "gpt-4o", "input": "x", "stream": True}
        return client.responses.with_streaming_response.create(**asked)
    return client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=[], stream=True)


def method_of(response: Any, way: str, *, is_async: bool = False) -> Callable[..., Any]:
    """The method that a way of reading calls."""
    _, http, name = way.rpartition("http.")
    prefix = "a" if is_async and http else ""
    return getattr(response.http_response if http else response, prefix + name)  # type: ignore[no-any-return]


def read(reads: Any, way: str, *, api: str = "chat", most: int | None = None, headers: Any = None) -> Read:
    """Read a body in some way, or only so many pieces of it."""
    found = Read([])
    try:
        with opening(sdk.client(reads, headers), api) as response:
            taken = method_of(response, way)()
            for piece in [taken] if isinstance(taken, bytes) else taken:
                found.pieces.append(piece)
                if len(found.pieces) == most:
                    break
    except Exception as error:
        found.error = error
    return found


async def aread(reads: Any, way: str, *, api: str = "chat", most: int | None = None, headers: Any = None) -> Read:
    """The same for asynchronous code."""
    found = Read([])
    try:
        async with opening(sdk.async_client(reads, headers), api) as response:
            taken = method_of(response, way, is_async=True)()
            if not hasattr(taken, "__aiter__"):
                return Read([await taken])
            async for piece in taken:
                found.pieces.append(piece)
                if len(found.pieces) == most:
                    break
    except Exception as error:
        found.error = error
    return found


def reading(mode: str, *arguments: Any, **options: Any) -> Read:
    """Read in one of both modes."""
    if mode == "sync":
        return read(*arguments, **options)
    return asyncio.run(aread(*arguments, **options))
