"""Connections of `websockets` without a socket: they say what a stream says, and end as it ends.

The synchronous one is a stand-in, and the asynchronous one keeps what has come in the assembler of `websockets`, as its
own connections do. Silences take no time: a synchronous wait with a limit ends at once, and the event loop has a clock
of its own. A test holds both against a server on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import selectors
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from .messages import CUT, Events, is_close, is_silence, message
from .wire import Event

#: Seconds of a silence, by the clock of the loop: longer than any window.
_SILENCE = 60.0
#: Seconds that a thread waits for the application to say something.
_PATIENCE = 10.0


class NobodyComesError(Exception):
    """The error of a reader that waits for ever."""


def closed(code: int) -> Exception:
    """Return the exception of `websockets` for a connection that the other side closed."""
    exceptions, frames = importlib.import_module("websockets.exceptions"), importlib.import_module("websockets.frames")
    if code == CUT:
        return exceptions.ConnectionClosedError(None, None, None)  # type: ignore[no-any-return]
    close = frames.Close(code, "")
    usual = code in frames.OK_CLOSE_CODES
    kind = exceptions.ConnectionClosedOK if usual else exceptions.ConnectionClosedError
    return kind(close, close, True)  # type: ignore[no-any-return]


class _Socket:
    """What both have in common: the handshake, and the script."""

    def __init__(self, events: Events, url: str) -> None:
        _scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        self.request = SimpleNamespace(headers={"Host": host}, path=f"/{path}")
        self.response = SimpleNamespace(headers=importlib.import_module("websockets.datastructures").Headers())
        self._coming = deque(events)
        self._code: int | None = None

    def _ends(self, event: Event) -> int:
        self._code = int(event.id or CUT)
        return self._code


class SyncSocket(_Socket):
    """A connection for synchronous code."""

    __module__ = "websockets.sync.client"  # where Streamwatch knows that there is a time limit

    def __init__(self, events: Events, url: str) -> None:
        super().__init__(events, url)
        self._asked = threading.Event()

    def send(self, _message: Any, _text: bool | None = None) -> None:
        """Hear what the application says: the first message begins the script."""
        self._asked.set()

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> Any:
        """Return the next message."""
        if not self._asked.wait(_PATIENCE):
            raise NobodyComesError
        while self._code is None:
            event = self._coming.popleft()
            if is_close(event):
                self._ends(event)
            elif not is_silence(event):
                return _decoded(event, decode)
            elif timeout is not None:
                raise TimeoutError(f"timed out in {timeout:.1f}s")
        raise closed(self._code)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection."""
        self._code = self._code or code
        self._asked.set()


def _decoded(event: Event, decode: bool | None) -> Any:
    data = message(event)
    return data.decode() if decode or (decode is None and not _is_binary(data)) else data


def _is_binary(data: bytes) -> bool:
    """Whether a message must have come in a binary frame: it is no text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


class AsyncSocket(_Socket):
    """A connection for asynchronous code."""

    def __init__(self, events: Events, url: str, *, at_once: bool) -> None:
        super().__init__(events, url)
        self._frames = importlib.import_module("websockets.frames")
        self.recv_messages = importlib.import_module("websockets.asyncio.messages").Assembler()
        self._at_once = at_once
        self._begun = False

    async def send(self, _message: Any, _text: bool | None = None) -> None:
        """Hear what the application says: the first message begins the script."""
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._come)

    def _come(self) -> None:
        """Let the next message come, or all up to the next silence."""
        loop = asyncio.get_running_loop()
        while self._code is None:
            event = self._coming.popleft()
            if is_silence(event):
                loop.call_later(_SILENCE, self._come)
                return
            if is_close(event):
                self._ends(event)
                self.recv_messages.close()
                return
            data = message(event)
            opcode = self._frames.OP_BINARY if _is_binary(data) else self._frames.OP_TEXT
            self.recv_messages.put(self._frames.Frame(opcode, data))
            if not self._at_once:
                loop.call_soon(self._come)
                return

    async def recv(self, decode: bool | None = None) -> Any:
        """Return the next message."""
        try:
            return await self.recv_messages.get(decode)
        except EOFError:
            raise closed(self._code or CUT) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection."""
        if self._code is None:
            self._code = code
            self.recv_messages.close()


# --- the SDK's way to them

_CONNECT = (
    ("websockets.sync.client", "connect"),
    ("websockets.asyncio.client", "connect"),
    ("openai.lib._websocket", "_WebSocketConnect"),
)


@contextlib.contextmanager
def serving(connections: list[Events], *, at_once: bool = False) -> Iterator[None]:
    """Have the SDK connect to scripts: each connection to the next one, and to none that there is not."""
    left = iter(connections)
    made: list[_Socket] = []

    def connect(url: str, **_options: Any) -> SyncSocket:
        made.append(socket := SyncSocket(_next(left), url))
        if made[1:]:
            socket.send("")  # an application says nothing anew
        return socket

    async def connect_async(url: str, **_options: Any) -> AsyncSocket:
        made.append(socket := AsyncSocket(_next(left), url, at_once=at_once))
        if made[1:]:
            await socket.send("")
        return socket

    undo = [
        _exchanged(module, member, connect if module.__name__ == _CONNECT[0][0] else connect_async)
        for module, member in _connecting()
    ]
    try:
        yield
    finally:
        for each in undo:
            each()


@functools.cache
def _connecting() -> tuple[tuple[Any, str], ...]:
    """Return the modules whose function connects; all are imported before any is exchanged."""
    found = []
    for name, member in _CONNECT:
        with contextlib.suppress(ImportError):
            found.append((importlib.import_module(name), member))
    return tuple(found)


def _next(left: Iterator[Events]) -> Events:
    events = next(left, None)
    if events is None:
        raise OSError("connection refused")
    return events


def _exchanged(module: Any, member: str, value: Any) -> Callable[[], None]:
    former = getattr(module, member)
    setattr(module, member, value)
    return lambda: setattr(module, member, former)


class _Selector(selectors.DefaultSelector):
    """A selector that waits for nothing: it says how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready now."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise NobodyComesError
        self.waited += 0.0 if ready else max(timeout or 0.0, 0.0)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time; who waits for ever raises."""

    def __init__(self) -> None:
        self._own = _Selector()
        super().__init__(self._own)

    def time(self) -> float:
        """Return the time, with all that was waited."""
        return super().time() + self._own.waited

    def run(self, reading: Any) -> Any:
        """Return what a coroutine returns, and leave no task behind."""
        try:
            return self.run_until_complete(reading)
        finally:
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
