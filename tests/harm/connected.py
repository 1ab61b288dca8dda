"""What the SDK makes of a session over a WebSocket, in each way in which an application can read one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import itertools
from dataclasses import dataclass
from typing import Any

import openai

from helpers.socket_sessions import CONNECTIONS, HELLO

from .messages import connections
from .scripted import Loop, serving
from .serving import MOST_CHUNKS, Read, Server, failure
from .wire import Stream

#: How a session is read: bytes, events one by one or in a loop, by handlers, with the SDK's own session above the
#: connection, with connections that the SDK replaces, and by an application that leaves in the middle.
WAYS = ("bytes", "recv", "iterate", "dispatch", "session", "reconnect", "leave")
#: Bounds of the SDK's session: more than any session here has.
_MANY = 1 << 24
_LIMITS = dict.fromkeys(("max_lanes", "max_events_per_lane", "max_events", "max_bytes_per_lane", "max_bytes"), _MANY)
#: Seconds that a thread waits for the thread of the session.
_TIMEOUT = 10.0
SOCKET_MODES = (*WAYS, *(f"{way}_async" for way in WAYS))


@dataclass(frozen=True)
class Invalid:
    """A message that the SDK makes no event of, to an application that reads on behind it."""

    error: str

    def to_dict(self) -> dict[str, str]:
        """Return what is known of it."""
        return {"error": self.error}


@dataclass(frozen=True)
class Lane:
    """What came on one lane of the SDK's session: its events, how they ended, and its last response."""

    name: str | None
    events: list[Any]
    end: tuple[str, str]
    final: Any


class ServerOfAll(Server):
    """A server that has sessions over WebSockets beside the streams over HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: SocketReader | None = None

    def read(self, stream: Stream, mode: str = "create", cut: str = "event") -> Read | None:
        """Return what an application is given; None if this release of the SDK has no such way."""
        if "connection" not in stream.request:
            return super().read(stream, mode, cut)
        self._sessions = self._sessions or SocketReader()
        return self._sessions.read(stream, mode, cut)

    def close(self) -> None:
        """Close what was opened."""
        super().close()
        if self._sessions is not None:
            self._sessions.close()


class SocketReader:
    """The clients of this process that read sessions."""

    def __init__(self) -> None:
        self._hosts = itertools.count()
        self._clients: dict[bool, Any] = {}
        self._loop: Loop | None = None

    def read(self, stream: Stream, mode: str, cut: str = "event", url: str = "") -> Read | None:
        """Return what an application is given; None if this release of the SDK has no such way.

        With `url`, what a server there says is read, and not what the stream says.
        """
        way, _, later = mode.partition("_")
        manager = self._manager(stream, way, url or f"http://h{next(self._hosts)}.test/v1", is_async=bool(later))
        if manager is None:
            return None
        read = Read([])
        with contextlib.nullcontext() if url else serving(connections(stream.events), at_once=cut == "whole"):
            try:
                if later:
                    self._run(_through_async(way, manager, stream, read), is_real=bool(url))
                else:
                    with manager as connection:
                        _READS[way](_tapped(connection, read), stream, read)
            except Exception as error:
                _ended(read, error)
        return read

    def _run(self, reading: Any, *, is_real: bool) -> None:
        if is_real:
            asyncio.run(reading)
        else:
            self._loop = self._loop or Loop()
            self._loop.run(reading)

    def close(self) -> None:
        """Close what was opened."""
        if self._loop is not None:
            self._loop.close()

    def _manager(self, stream: Stream, way: str, url: str, *, is_async: bool) -> Any:
        """Return what opens a connection; None if there is no such one."""
        name = stream.request["connection"]
        if way == "session" and (name != "responses" or _sessions() is None):
            return None
        client_class = openai.AsyncOpenAI if is_async else openai.OpenAI
        if is_async not in self._clients:
            self._clients[is_async] = client_class(api_key="key", base_url="http://server.test/v1")
        client = self._clients[is_async]
        client.base_url = url
        options: dict[str, Any] = {}
        if way == "reconnect":
            options = {"on_reconnecting": lambda _: {}, "initial_delay": 0.0, "max_delay": 0.0, "max_retries": 2}
        try:
            manager = CONNECTIONS[name].manager(client, **options)
        except (AttributeError, TypeError):
            return None
        return None if way == "dispatch" and not hasattr(manager, "on") else manager


def _sessions() -> Any:
    try:
        return importlib.import_module("openai.lib.responses_websocket")
    except ImportError:
        return None


def _ended(read: Read, error: BaseException) -> None:
    """Note how a read ended; a close that is usual is no error of the application."""
    if type(error).__name__ == "ConnectionClosedOK":
        read.final = failure(error)
    else:
        read.error = failure(error)


def _tapped(connection: Any, read: Read) -> Any:
    """Return a connection of which it is known what was handed on, whichever way it is read."""
    own = connection.recv_bytes

    def recv_bytes() -> Any:
        try:
            read.handed.append(own())
        except Exception:
            read.handed.append(None)
            raise
        return read.handed[-1]

    async def recv_bytes_async() -> Any:
        try:
            read.handed.append(await own())
        except Exception:
            read.handed.append(None)
            raise
        return read.handed[-1]

    is_async = inspect.iscoroutinefunction(type(connection).recv_bytes)
    connection.recv_bytes = recv_bytes_async if is_async else recv_bytes
    return connection


async def _through_async(way: str, manager: Any, stream: Stream, read: Read) -> None:
    async with manager as connection:
        await _READS_ASYNC[way](_tapped(connection, read), stream, read)


# --- synchronous


def _read_bytes(connection: Any, _stream: Stream, read: Read) -> None:
    connection.send(HELLO)
    while len(read.chunks) < MOST_CHUNKS:
        read.chunks.append(connection.recv_bytes())


def _read_recv(connection: Any, _stream: Stream, read: Read) -> None:
    connection.send(HELLO)
    while len(read.chunks) < MOST_CHUNKS:
        try:
            read.chunks.append(connection.recv())
        except ValueError as error:
            read.chunks.append(Invalid(type(error).__name__))


def _read_iterate(connection: Any, _stream: Stream, read: Read) -> None:
    connection.send(HELLO)
    for event in itertools.islice(connection, MOST_CHUNKS):
        read.chunks.append(event)


def _is_enough(event: Any) -> bool:
    """Whether an application leaves that waits for the first thing to be done."""
    return str(getattr(event, "type", "")).endswith(".done")


def _read_leave(connection: Any, _stream: Stream, read: Read) -> None:
    connection.send(HELLO)
    for event in itertools.islice(connection, MOST_CHUNKS):
        read.chunks.append(event)
        if _is_enough(event):
            break
    connection.close()


def _read_dispatch(connection: Any, _stream: Stream, read: Read) -> None:
    connection.on("event", read.chunks.append)
    connection.send(HELLO)
    connection.dispatch_events()


def _read_session(connection: Any, stream: Stream, read: Read) -> None:
    library = _sessions()
    with library.ResponsesWebSocketSession(connection, limits=library.ResponsesWebSocketLimits(**_LIMITS)) as session:
        lanes = {name: session.lane(name) for name in stream.request["lanes"]}
        session.default.send(HELLO)
        for name, lane in {None: session.default, **lanes}.items():
            events: list[Any] = []
            try:
                while True:
                    events.append(lane.recv(timeout=_TIMEOUT))
            except Exception as error:
                end = failure(error)
            try:
                final: Any = lane.get_final_response(timeout=_TIMEOUT)
            except Exception as error:
                final = failure(error)
            read.chunks.append(Lane(name, events, end, final))


# --- asynchronous


async def _read_bytes_async(connection: Any, _stream: Stream, read: Read) -> None:
    await connection.send(HELLO)
    while len(read.chunks) < MOST_CHUNKS:
        read.chunks.append(await connection.recv_bytes())


async def _read_recv_async(connection: Any, _stream: Stream, read: Read) -> None:
    await connection.send(HELLO)
    while len(read.chunks) < MOST_CHUNKS:
        try:
            read.chunks.append(await connection.recv())
        except ValueError as error:
            read.chunks.append(Invalid(type(error).__name__))


async def _read_iterate_async(connection: Any, _stream: Stream, read: Read) -> None:
    await connection.send(HELLO)
    async for event in connection:
        read.chunks.append(event)


async def _read_leave_async(connection: Any, _stream: Stream, read: Read) -> None:
    await connection.send(HELLO)
    async for event in connection:
        read.chunks.append(event)
        if _is_enough(event):
            break
    await connection.close()


async def _read_dispatch_async(connection: Any, _stream: Stream, read: Read) -> None:
    connection.on("event", read.chunks.append)
    await connection.send(HELLO)
    await connection.dispatch_events()


async def _read_session_async(connection: Any, stream: Stream, read: Read) -> None:
    library = _sessions()
    limits = library.ResponsesWebSocketLimits(**_LIMITS)
    async with library.AsyncResponsesWebSocketSession(connection, limits=limits) as session:
        lanes = {name: session.lane(name) for name in stream.request["lanes"]}
        await session.default.send(HELLO)
        for name, lane in {None: session.default, **lanes}.items():
            events: list[Any] = []
            try:
                while True:
                    events.append(await lane.recv())
            except Exception as error:
                end = failure(error)
            try:
                final: Any = await lane.get_final_response()
            except Exception as error:
                final = failure(error)
            read.chunks.append(Lane(name, events, end, final))


_READS: dict[str, Any] = {
    "bytes": _read_bytes,
    "recv": _read_recv,
    "iterate": _read_iterate,
    "dispatch": _read_dispatch,
    "session": _read_session,
    "reconnect": _read_iterate,
    "leave": _read_leave,
}
_READS_ASYNC: dict[str, Any] = {
    "bytes": _read_bytes_async,
    "recv": _read_recv_async,
    "iterate": _read_iterate_async,
    "dispatch": _read_dispatch_async,
    "session": _read_session_async,
    "reconnect": _read_iterate_async,
    "leave": _read_leave_async,
}
