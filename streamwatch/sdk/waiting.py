"""The choices before a read that may block, while events are held.

Something has to wake the reader when the window of what is held has passed. What can depends on the transport:

* HTTP/1.1 of httpcore: the reader waits in its own task and thread, with a timer, and reads what is there (`lines`). In
  asynchronous code a gate stands before every further read of the network (`gate`). Synchronous code has no such means:
  where a server stops inside the header of a chunk, a TLS record or a compressed block, `next` blocks.
* A body in memory never blocks for long, so its next read may bring what is missing.
* Everything else (HTTP/2, aiohttp, releases that are built differently): a read may take as long as the server
  likes, so what is held goes on first, and only what came in one read is put in order.
"""

from __future__ import annotations

import enum
import sys
from typing import Any

from streamwatch.sdk.lines import HTTPX, body_type, is_httpx, line_of, read_timeout
from streamwatch.sdk.request_info import is_installed

#: Packages whose bodies are in memory: what stands in for a server in tests, and the one of `doctor`.
_IN_MEMORY = ("pytest_httpx", "respx", "streamwatch", "vcr")
#: The same of httpx: what a response is made of that is given its content, and applications that are called directly.
_HTTPX_IN_MEMORY = (
    *("ByteStream", "IteratorByteStream", "AsyncIteratorByteStream"),
    *("ASGIResponseStream", "WSGIByteStream"),
)
#: Types of bodies that are remembered as blocking: a process has a handful of transports.
_MAX_BLOCKING = 64
#: A chunk of a body that is larger than what httpcore reads at once comes from a decompressor, which gives out pieces
#: of 512 KiB or more: there may be another one.
_LARGE = (64 << 10) + 1


class Step(enum.Enum):
    """The next step when events are held, or not worked through."""

    AGAIN = "look for events: something was done that may have made some ready"
    READ = "read"
    READ_IN_TIME = "read, but wait no longer than the window"


class Waiting:
    """The transport of one stream of which events are held."""

    def __init__(self, response: Any, chunks: Any, blocking: set[type]) -> None:
        self._blocking = blocking
        self._body_type = body_type(response)
        self._in_memory = self._body_type not in blocking and _is_in_memory(response, self._body_type)
        #: What is read comes straight from httpx; what comes through a decoder of the client's own may be kept there.
        self._straight = is_httpx(chunks)
        self.line = None if self._in_memory else line_of(response)
        self.timeout = read_timeout(response)

    def step(self, size: int, *, blocks: bool) -> Step | None:
        """Return how to read on after a read of `size` bytes; None if what is held has to go on first.

        `blocks` says that a read blocks this thread.
        """
        if self.line is None:
            return Step.READ if self._in_memory else None
        if not self._straight:
            return Step.READ if self.line.would_read else None
        return None if blocks and size >= _LARGE else Step.READ_IN_TIME

    def enters(self, size: int) -> bool:
        """Return whether a read may find bytes above the socket, after one of `size` bytes."""
        return size >= _LARGE or (self.line is not None and self.line.has_bytes)

    def took(self, seconds: float, window: float) -> None:
        """Take note of a read for which held events waited: a body that blocks is not in memory, whatever its type."""
        if self._in_memory and seconds > window:
            self._in_memory = False
            if len(self._blocking) < _MAX_BLOCKING:
                self._blocking.add(self._body_type)


def _is_in_memory(response: Any, body: type) -> bool:
    """Return whether a body can be read without waiting for a network, as far as its type says.

    An installed package that brings a body of its own has a network behind it. A class of the application's own is
    mostly one of its tests.
    """
    if "network_stream" in response.extensions:
        return False
    package = body.__module__.partition(".")[0]
    if package in _IN_MEMORY or (package in HTTPX and body.__name__ in _HTTPX_IN_MEMORY):
        return True
    return not is_installed(getattr(sys.modules.get(body.__module__), "__file__", None) or "")
