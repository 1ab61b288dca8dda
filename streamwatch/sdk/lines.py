"""The connection below a response of httpx: whether bytes are there, and a wait for more of them, with a timer.

Only HTTP/1.1 of httpcore is known so well. Bytes are there when h11, the TLS layer or the event loop have buffered
some, or the socket is readable; so the reader can wait for the socket or its timer, whichever is first, before it reads
at all. On HTTP/2 another stream's reader may take this stream's frames; of other transports nothing is known.

All of this rests on private names: where one is missing there is no such connection, and `tests/sdk/test_canary.py`
watches them.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any

#: Packages of the HTTP library: releases of openai from 3.0 on bring the second.
HTTPX = ("httpx", "httpx2")
_HTTPCORE = ("httpcore", "httpcore2", *HTTPX)
#: Type of a body -> where it has the one that it wraps, from httpx down to the connection.
LAYERS = {
    "BoundSyncStream": "_stream",
    "BoundAsyncStream": "_stream",
    "ResponseStream": "_httpcore_stream",
    "AsyncResponseStream": "_httpcore_stream",
    "PoolByteStream": "_stream",
    "ConnectionPoolByteStream": "_stream",  # httpcore before 1.0
    "HTTP11ConnectionByteStream": "_connection",
}
CONNECTIONS = ("HTTP11Connection", "AsyncHTTP11Connection")
#: The errors of a look inside a release that is built differently.
_NOT_AS_KNOWN = (AttributeError, LookupError, TypeError, ValueError, RuntimeError, OSError)


def _unwrapped(response: Any, packages: tuple[str, ...]) -> Any:
    """Return the innermost body of a response, or its connection, as far as the layers are known ones."""
    body, inner = None, response.stream
    while inner is not None:
        body = inner
        known = type(body).__module__.partition(".")[0] in packages and type(body).__name__ in LAYERS
        inner = getattr(body, LAYERS[type(body).__name__], None) if known else None
    return body


def body_type(response: Any) -> type:
    """Return the type of the body that the transport made."""
    return type(_unwrapped(response, HTTPX))


def line_of(response: Any) -> Line | None:
    """Return the connection of a response, if it is one whose buffers are known."""
    try:
        connection = _unwrapped(response, _HTTPCORE)
        network = response.extensions["network_stream"]
        if type(connection).__name__ not in CONNECTIONS or network is not connection._network_stream:
            return None
        line = LINES.get(type(network).__name__)
        if line is not SyncLine and sys.platform == "win32":
            return None  # the default loop cannot watch a socket
        return None if line is None or "read" in vars(network) else line(connection._h11_state, network)
    except _NOT_AS_KNOWN:
        return None


def is_httpx(chunks: Any) -> bool:
    """Return whether chunks come straight from httpx, and through nothing that may keep some of them."""
    frame = getattr(chunks, "gi_frame", None) or getattr(chunks, "ag_frame", None)
    return frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in HTTPX


def read_timeout(response: Any) -> float:
    """Return the seconds after which the HTTP library gives up waiting for bytes."""
    try:
        seconds = response.request.extensions["timeout"]["read"]
        return math.inf if seconds is None else float(seconds)
    except _NOT_AS_KNOWN:
        return math.inf


def _has_body(received: bytes) -> bool:
    """Return whether h11 can make something of what it has buffered.

    What belongs to a body it hands out at once, so this lies between two chunks: the end of the one, the header of the
    other, and what follows.
    """
    _header, ended, data = received.removeprefix(b"\r\n").partition(b"\r\n")
    return bool(ended and data)


def _is_readable(descriptor: int, seconds: float) -> bool:
    """Return whether a socket can be read within some seconds; a closed one can, and raises then."""
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):  # Windows, and where eventlet has taken it away
        return bool(select.select([descriptor], [], [], seconds)[0])
    waiting = select.poll()  # `select` cannot wait for a descriptor above 1023
    waiting.register(descriptor, select.POLLIN)  # type: ignore[attr-defined, unused-ignore]
    return bool(waiting.poll(math.ceil(seconds * 1000)))


class Line:
    """The connection of one response: whether bytes are there, and a wait for more."""

    def __init__(self, http: Any, network: Any) -> None:
        self.network = network
        self._http = http
        self._socket: Any = network.get_extra_info("socket")
        self._tls: Any = network.get_extra_info("ssl_object")
        _ = self.would_read  # raises where a release is built differently

    def _below(self) -> bool:
        """Return whether a layer between the socket and h11 has bytes."""
        raise NotImplementedError

    @property
    def has_bytes(self) -> bool:
        """Return whether bytes of the body are there, on this side of the socket."""
        return _has_body(self._http.trailing_data[0]) or self._below()

    @property
    def would_read(self) -> bool:
        """Return whether a read would find bytes now, those in the socket included."""
        return self.has_bytes or _is_readable(self._socket.fileno(), 0)


class SyncLine(Line):
    """A connection that is read synchronously."""

    def __init__(self, http: Any, network: Any) -> None:
        super().__init__(http, network)
        if not isinstance(self._socket, socket.socket):
            msg = "not a socket"
            raise TypeError(msg)

    def _below(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def wait(self, seconds: float) -> bool:
        """Return whether bytes are there within some seconds."""
        return self.has_bytes or _is_readable(self._socket.fileno(), seconds)


class AsyncLine(Line):
    """A connection that is read asynchronously."""

    async def wait(self, seconds: float) -> bool:
        """Return whether the network can be read within some seconds."""
        raise NotImplementedError

    def wake(self) -> None:
        """Let the reader look again: the connection was closed from elsewhere."""

    def later(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function in the loop of the reader, where that can be done from anywhere."""


class AsyncioLine(AsyncLine):
    """A connection of anyio on asyncio, uvloop included."""

    def __init__(self, http: Any, network: Any) -> None:
        stream = network._stream
        self._bio = stream._read_bio if type(stream).__name__ == "TLSStream" else None
        self._arrived = (stream if self._bio is None else stream.transport_stream)._protocol.read_event
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[str] | None = None
        super().__init__(http, network)

    def _below(self) -> bool:
        if self._bio is not None and (self._bio.pending or self._tls.pending()):
            return True
        return bool(self._arrived.is_set())

    async def wait(self, seconds: float) -> bool:
        """Return whether the network can be read within some seconds.

        The socket's own descriptor is the transport's, which reads it only while anyio does: a duplicate is watched.
        """
        if self._below() or self._socket.fileno() < 0:
            return True
        descriptor = os.dup(self._socket.fileno())
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, _settle, waiter, "")
        try:
            self._loop.add_reader(descriptor, _settle, waiter, "readable")
            return bool(await waiter)
        finally:
            self._waiter = None
            timer.cancel()
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def wake(self) -> None:
        """Let the reader look again: a duplicate of a descriptor is not woken when the other one is closed."""
        if self._waiter is not None:
            _settle(self._waiter, "closed")

    def later(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a function in the loop of the reader; may be called from anywhere."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(function()))


def _settle(waiter: asyncio.Future[str], why: str) -> None:
    if not waiter.done():
        waiter.set_result(why)


class TrioLine(AsyncLine):
    """A connection of trio."""

    def __init__(self, http: Any, network: Any) -> None:
        stream = network._stream
        self._bio = None if type(stream).__name__ == "SocketStream" else stream._incoming
        super().__init__(http, network)

    def _below(self) -> bool:
        return self._bio is not None and (self._bio.pending > 0 or self._tls.pending() > 0)

    async def wait(self, seconds: float) -> bool:
        """Return whether the network can be read within some seconds; trio wakes who waits for a closed socket."""
        if self._below() or self._socket.fileno() < 0:
            return True
        trio = sys.modules["trio"]
        with trio.move_on_after(seconds) as scope:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except (trio.ClosedResourceError, trio.BusyResourceError):
                return True
        return not scope.cancelled_caught


#: Type of a network stream -> how it is waited for.
LINES: dict[str, type[Line]] = {"SyncStream": SyncLine, "AnyIOStream": AsyncioLine, "TrioStream": TrioLine}
