"""The lines of a body, as httpx gives them to releases of the SDK before 1.14, which decode lines and not bytes."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterable, Iterator


def text_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a body."""
    lines = _Lines()
    for data in chunks:
        yield from lines.feed(data)
    yield from lines.feed(b"", final=True)


async def text_alines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the lines of a body, for asynchronous code."""
    lines = _Lines()
    async for data in chunks:
        for line in lines.feed(data):
            yield line
    for line in lines.feed(b"", final=True):
        yield line


class _Lines:
    """The text since the last end of a line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """Return the lines that `data` completes."""
        *whole, self._text = (self._text + self._decoder.decode(data, final)).splitlines(keepends=True) or [""]
        if self._text.endswith("\n") or (self._text and final):
            whole.append(self._text)
            self._text = ""
        return [line.rstrip("\r\n") for line in whole]
