"""The second seam: what the SDK's connections receive over WebSockets. It is watched, and never changed.

A connection carries responses one after the other, or several at a time, each on a lane of its own. Each response is a
stream with its own watch, span and counts, as over HTTP. The messages go on to the application as they came, whatever
the policy: what a repair would have done is counted with `streamwatch.applied=false`.

`recv_bytes` is where every message passes, whether the application asks for bytes, for events, or registers handlers.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections import deque
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

from streamwatch.core.apis.base import kept
from streamwatch.core.report import Request
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Event
from streamwatch.core.via import path_of
from streamwatch.export.request import FORMAT, RequestInfo
from streamwatch.sdk.interruption import unless_interrupted
from streamwatch.sdk.observed_stream import ObservedStream, Owner
from streamwatch.sdk.request_info import provider_at

#: Streams of a connection that are watched at a time: nobody multiplexes more responses, a hostile server may.
_MAX_LANES = 256
#: Responses that are remembered when they have ended: an event that comes late, or again, opens none again.
_MAX_ENDED = 64


class SocketProtocol(NamedTuple):
    """The division of an API's messages into streams."""

    api: str
    #: Which stream a message is about; "" for the only one, None for a message that is about none.
    lane: Callable[[str, dict[str, Any]], str | None]
    ends: frozenset[str]  #: the types of messages with which a stream ends
    session: bool = False  #: the stream is the whole session: it is complete when either side closes it


def _lane_of_responses(type_: str, payload: dict[str, Any]) -> str | None:
    return kept(payload.get("stream_id")) if type_ == "error" or type_.startswith("response.") else None


def _lane_of_realtime(type_: str, payload: dict[str, Any]) -> str | None:
    response = payload.get("response")
    id = kept(payload.get("response_id")) or (kept(response.get("id")) if isinstance(response, dict) else "")
    return id if type_ == "error" or (id and type_.startswith("response.")) else None


def _lane_of_session(_type: str, _payload: dict[str, Any]) -> str | None:
    return ""


_RESPONSES = SocketProtocol(
    *("responses", _lane_of_responses),
    frozenset({"response.completed", "response.incomplete", "response.failed", "error"}),
)
_REALTIME = SocketProtocol("realtime", _lane_of_realtime, frozenset({"response.done", "error"}))
_LIVE = SocketProtocol("live", _lane_of_session, frozenset({"session.closed"}), session=True)
#: The modules of the SDK that have connections, and what they speak. A release lacks some of them.
PROTOCOLS = {
    "openai.resources.responses.responses": _RESPONSES,
    "openai.resources.beta.responses.responses": _RESPONSES,
    "openai.resources.realtime.realtime": _REALTIME,
    "openai.resources.beta.realtime.realtime": _REALTIME,
    "openai.resources.realtime.translations.translations": _LIVE,
    "openai.resources.live.live": _LIVE,
    "openai.resources.live.forks": _LIVE,
    "openai.resources.live.sideband": _LIVE,
}


class LaneStream(ObservedStream):
    """One stream of a connection."""

    def __init__(self, owner: Owner, call: RequestInfo, api: str, asked: float, settings: Settings) -> None:
        super().__init__(owner, call)
        self._payload: Any = None
        request = Request(model=call.request_model)
        self._open(api, request, asked or perf_counter(), Event, settings, self._parsed)
        self._waiting = 0.0  # the wait for the first message is counted when that message is taken
        owner.opened(self)

    def receive(self, message: bytes, payload: Any, waited: float) -> None:
        """Take a message that came."""
        self._last = now = perf_counter()
        self._waiting += waited
        self._waited(waited)
        self._payload = payload
        self.watch.receive_event(Event("", message, None))
        self.watch.ready.clear()
        if now > self._due:
            self._tick(now)

    def _parsed(self, _raw: bytes) -> Any:
        """Return the payload of the message that is taken: it was parsed to find its stream."""
        return self._payload


class WatchedConnection:
    """The state of one connection: the streams that are open on it."""

    def __init__(self, owner: Owner, connection: Any, protocol: SocketProtocol) -> None:
        self._owner = owner
        self._protocol = protocol
        self._settings = dataclasses.replace(owner.settings, repair=Policy("none"))
        self._call = _describe(connection, protocol.api, owner.version)
        self._lanes: dict[str, LaneStream] = {}
        self._ended: deque[str] = deque(maxlen=_MAX_ENDED)
        self._asked = 0.0
        self._left = False

    def asks(self) -> None:
        """Note that the application waits for a message."""
        self._asked = now = perf_counter()
        for lane in self._lanes.values():
            lane.asked = now

    def receive(self, message: bytes | str) -> None:
        """Take a message that came."""
        if self._left:
            return
        waited = perf_counter() - self._asked
        for lane in self._lanes.values():
            lane.asked = 0.0
        raw = message.encode("utf-8", "surrogatepass") if isinstance(message, str) else bytes(message)
        payload = _attempt_loads(self._owner.loads, raw)
        type_ = payload.get("type") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or not isinstance(type_, str):
            return  # audio in a binary frame, or nothing that the SDK could make an event of
        name = self._protocol.lane(type_, payload)
        if name is not None:
            self._receive(name, type_, payload, raw, waited)

    def _receive(self, name: str, type_: str, payload: dict[str, Any], raw: bytes, waited: float) -> None:
        lane = self._lanes.get(name)
        if lane is not None and type_ == "response.created" and lane.watch.events and not self._protocol.session:
            self._end(name)  # a lane has one response at a time: the former one has come to no end
            lane = None
        if lane is None:
            if name in self._ended or len(self._lanes) >= _MAX_LANES:
                return
            lane = self._lanes[name] = self._opened(payload)
        lane.receive(raw, payload, waited)
        if type_ in self._protocol.ends:
            self._end(name)

    def _opened(self, payload: dict[str, Any]) -> LaneStream:
        response = payload.get("response")
        model = kept(response.get("model")) if isinstance(response, dict) else ""
        call = dataclasses.replace(self._call, request_model=model) if model else self._call
        return LaneStream(self._owner, call, self._protocol.api, self._asked, self._settings)

    def _end(self, name: str, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        lane = self._lanes.pop(name)
        if name and self._protocol is _REALTIME:  # an id is a response's own; a lane is used again
            self._ended.append(name)
        lane.end(error, abandoned=abandoned)

    def fails(self, error: BaseException) -> None:
        """Note that no message came: the connection is closed, or the application does not wait any longer."""
        if not type(error).__name__.startswith("ConnectionClosed"):
            for lane in self._lanes.values():
                lane.waits_no_longer()
            return
        clean = self._protocol.session and type(error).__name__ == "ConnectionClosedOK"
        for name in list(self._lanes):
            self._end(name, None if clean else error)

    def leave(self) -> None:
        """Watch no further after an error of Streamwatch: what is open ends here."""
        lanes, self._lanes, self._left = list(self._lanes.values()), {}, True
        for lane in lanes:
            with unless_interrupted():
                lane.watch.leave("internal error", failed=True)
            lane.end(abandoned=True)

    def closes(self) -> None:
        """End what is open, as the application closes the connection."""
        for name in list(self._lanes):
            self._end(name, abandoned=not self._protocol.session)


class Connections:
    """The connections of the SDK whose messages are seen."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._watched: WeakKeyDictionary[Any, WatchedConnection] = WeakKeyDictionary()
        self._undo: dict[str, list[Callable[[], None]]] = {}

    def patch(self, module: ModuleType) -> None:
        """See what the connections of a module receive from now on."""
        name = module.__name__
        if name in self._undo:
            return
        self._undo[name] = []
        for connection_class in list(vars(module).values()):
            if getattr(connection_class, "__module__", "") == name and "recv_bytes" in vars(connection_class):
                receive, close = connection_class.recv_bytes, connection_class.close
                self._put(name, connection_class, "recv_bytes", self._receiving(receive, PROTOCOLS[name]))
                self._put(name, connection_class, "close", self._closing(close, PROTOCOLS[name]))

    def unpatch(self) -> None:
        """Leave all of them as they were."""
        undos = [undo for of_module in self._undo.values() for undo in of_module]
        self._undo.clear()
        self._watched.clear()
        for undo in undos:
            undo()

    def _put(self, module: str, connection_class: Any, name: str, method: Any) -> None:
        """Exchange a method of a class, which may have it from another one."""
        original = vars(connection_class).get(name)
        setattr(connection_class, name, method)

        def undo() -> None:
            if vars(connection_class).get(name) is not method:  # somebody else has exchanged it in turn
                return
            if original is None:
                delattr(connection_class, name)
            else:
                setattr(connection_class, name, original)

        self._undo[module].append(undo)

    def _tell(self, connection: Any, protocol: SocketProtocol, doing: str, *given: Any) -> None:
        """Pass an event of a connection on to its watch; an error of Streamwatch goes no further."""
        if not self._undo:  # an outer wrapper may call this after Streamwatch was switched off
            return
        try:
            watched = self._watched.get(connection)
            if watched is None:
                watched = self._watched[connection] = WatchedConnection(self._owner, connection, protocol)
            getattr(watched, doing)(*given)
        except Exception as error:
            self._owner.internal_error(error, "watching a WebSocket")
            watched = self._watched.get(connection)
            if watched is not None:
                watched.leave()

    def _receiving(self, original: Any, protocol: SocketProtocol) -> Any:
        """Return a method that receives a message and sees it."""

        @functools.wraps(original)
        def recv_bytes(connection: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell(connection, protocol, "asks")
            try:
                message = original(connection, *args, **kwargs)
            except BaseException as error:
                self._tell(connection, protocol, "fails", error)
                raise
            self._tell(connection, protocol, "receive", message)
            return message

        @functools.wraps(original)
        async def recv_bytes_async(connection: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell(connection, protocol, "asks")
            try:
                message = await original(connection, *args, **kwargs)
            except BaseException as error:
                self._tell(connection, protocol, "fails", error)
                raise
            self._tell(connection, protocol, "receive", message)
            return message

        return recv_bytes_async if inspect.iscoroutinefunction(original) else recv_bytes

    def _closing(self, original: Any, protocol: SocketProtocol) -> Any:
        """Return a method that sees the application close a connection, and closes it."""

        @functools.wraps(original)
        def close(connection: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell(connection, protocol, "closes")
            return original(connection, *args, **kwargs)

        @functools.wraps(original)
        async def close_async(connection: Any, *args: Any, **kwargs: Any) -> Any:
            self._tell(connection, protocol, "closes")
            return await original(connection, *args, **kwargs)

        return close_async if inspect.iscoroutinefunction(original) else close


def _attempt_loads(loads: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return loads(raw)
    except ValueError:
        return None


def _describe(connection: Any, api: str, version: str) -> RequestInfo:
    """Return what is known of a connection: from the handshake of `websockets`, as far as it can be had."""
    host, path, headers = "", "", []
    with unless_interrupted():
        socket = connection._connection
        host, path = str(socket.request.headers["Host"]), str(socket.request.path)
        headers = [(name.encode(), value.encode()) for name, value in socket.response.headers.raw_items()]
    address = urlsplit(f"//{host}")
    port = None
    with unless_interrupted():
        port = address.port
    model = next(iter(parse_qs(urlsplit(path).query).get("model", ())), "")
    name = address.hostname or ""
    return RequestInfo(api, model, provider_at(name) or FORMAT, name, port, version, path_of(headers))
