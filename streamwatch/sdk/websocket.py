"""The second seam: what the SDK's connections receive over WebSockets.

`recv_bytes` is where every message passes, whether the application asks for bytes, for events, or registers handlers.
It returns the SDK's own messages: in the server's order, and once, where numbers or event ids prove which that is;
otherwise as they came. `parse_event` makes the SDK's objects of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from streamwatch.exchange import exchange
from streamwatch.sdk.observed_stream import Owner
from streamwatch.sdk.socket_events import EventBuilder
from streamwatch.sdk.socket_protocols import PROTOCOLS, SocketProtocol
from streamwatch.sdk.socket_streams import WatchedConnection, socket_of
from streamwatch.sdk.socket_waiting import NothingCameError, receive_in_time, receive_in_time_async


class Connections:
    """The connections of the SDK whose messages are seen."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._watched: WeakKeyDictionary[Any, WatchedConnection | None] = WeakKeyDictionary()
        self._undo: dict[str, list[Callable[[], None]]] = {}

    def patch(self, module: ModuleType) -> None:
        """See what the connections of a module receive from now on."""
        name = module.__name__
        if name in self._undo:
            return
        undo = self._undo[name] = []
        for connection_class in list(vars(module).values()):
            if getattr(connection_class, "__module__", "") == name and "recv_bytes" in vars(connection_class):
                receive, close = connection_class.recv_bytes, connection_class.close
                undo.append(exchange(connection_class, "recv_bytes", self._receiving(receive, PROTOCOLS[name])))
                undo.append(exchange(connection_class, "close", self._closing(close, PROTOCOLS[name])))
                parse = vars(connection_class).get("parse_event")
                if parse is not None and self._owner.settings.build_chunks:
                    parsing = self._parsing(parse, EventBuilder(module, parse))
                    undo.append(exchange(connection_class, "parse_event", parsing))

    def unpatch(self) -> None:
        """Leave all of them as they were."""
        undos = [undo for of_module in self._undo.values() for undo in of_module]
        self._undo.clear()
        for connection, watched in list(self._watched.items()):
            if watched is not None and watched.stops():  # what it holds goes on through the method of its class
                connection.recv_bytes = functools.partial(type(connection).recv_bytes, connection)
            else:
                self._watched.pop(connection, None)
        for undo in undos:
            undo()

    def _of(self, connection: Any, protocol: SocketProtocol) -> WatchedConnection | None:
        """Return the watch over a connection; None where there is none."""
        watched = self._watched.get(connection)
        # An outer wrapper may ask after Streamwatch was switched off.
        if watched is None and self._undo and connection not in self._watched:
            try:
                watched = WatchedConnection(self._owner, connection, protocol)
            except Exception as error:
                self._owner.internal_error(error, "watching a WebSocket")
            self._watched[connection] = watched
        return watched

    def _receiving(self, original: Any, protocol: SocketProtocol) -> Any:
        """Return a method that receives the message that goes on next."""

        @functools.wraps(original)
        def recv_bytes(connection: Any, *args: Any, **kwargs: Any) -> Any:
            watched = self._of(connection, protocol)
            receive = functools.partial(original, connection, *args, **kwargs)
            return receive() if watched is None else _receive(connection, watched, receive)

        @functools.wraps(original)
        async def recv_bytes_async(connection: Any, *args: Any, **kwargs: Any) -> Any:
            watched = self._of(connection, protocol)
            receive = functools.partial(original, connection, *args, **kwargs)
            return await (receive() if watched is None else _receive_async(connection, watched, receive))

        return recv_bytes_async if inspect.iscoroutinefunction(original) else recv_bytes

    def _parsing(self, original: Any, builder: EventBuilder) -> Any:
        """Return a method that makes an event of a message, of what was parsed of it already."""

        @functools.wraps(original)
        def parse_event(connection: Any, data: Any) -> Any:
            watched = self._watched.get(connection)
            offered = None if watched is None else watched.offered
            if watched is None or offered is None or offered.message is not data:
                return original(connection, data)
            watched.offered, made = None, None
            try:
                if builder.is_usable:
                    # Where nothing is repaired, the rules may have been at work on what was parsed.
                    made = builder.build(offered.payload if offered.shared else self._owner.loads(offered.raw))
            except Exception as error:
                self._owner.internal_error(error, "building an event")
            return original(connection, data) if made is None else made

        return parse_event

    def _closing(self, original: Any, protocol: SocketProtocol) -> Any:
        """Return a method that sees the application close a connection, and closes it."""

        @functools.wraps(original)
        def close(connection: Any, *args: Any, **kwargs: Any) -> Any:
            watched = self._of(connection, protocol)
            if watched is not None:
                watched.closes()
            return original(connection, *args, **kwargs)

        @functools.wraps(original)
        async def close_async(connection: Any, *args: Any, **kwargs: Any) -> Any:
            watched = self._of(connection, protocol)
            if watched is not None:
                watched.closes()
            return await original(connection, *args, **kwargs)

        return close_async if inspect.iscoroutinefunction(original) else close


def _receive(connection: Any, watched: WatchedConnection, receive: Callable[[], Any]) -> Any:
    """Return the message that goes on next; `receive` is the SDK's way to get one."""
    while True:
        if watched.ready and (held := watched.take()) is not None:
            return held.message
        seconds = watched.asks(connection)
        try:
            message = receive() if seconds is None else receive_in_time(socket_of(connection), seconds, receive)
        except NothingCameError:
            watched.time_is_over()
        except BaseException as error:
            if not watched.fails(error):
                raise
        else:
            if watched.receive(message):
                return message


async def _receive_async(connection: Any, watched: WatchedConnection, receive: Callable[[], Any]) -> Any:
    """Return the message that goes on next, for asynchronous code."""
    while True:
        if watched.ready and (held := watched.take()) is not None:
            return held.message
        seconds = watched.asks(connection)
        try:
            due = receive() if seconds is None else receive_in_time_async(socket_of(connection), seconds, receive)
            message = await due
        except NothingCameError:
            watched.time_is_over()
        except BaseException as error:
            if not watched.fails(error):
                raise
        else:
            if watched.receive(message):
                return message
