"""The streams of one connection over a WebSocket, and the messages that may go on.

A connection carries responses one after the other, or several at a time, each on a lane of its own. Each response is a
stream with its own watch, span and counts, as over HTTP. What numbers or event ids prove is repaired by the rules of
SSE, within a lane; all else goes on as it came, and nothing waits for another lane. What a response would need beside
that is counted as `unrepaired`.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import deque
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

from streamwatch.core.apis.base import kept
from streamwatch.core.kinds import EVENT_REPEATED, SEQUENCE_DUPLICATE, SEQUENCE_OUT_OF_ORDER
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.via import path_of
from streamwatch.core.vocabulary import Level
from streamwatch.export.request import FORMAT, RequestInfo
from streamwatch.sdk.interruption import unless_interrupted
from streamwatch.sdk.observed_stream import Owner
from streamwatch.sdk.request_info import provider_at
from streamwatch.sdk.socket_lane import EndedLane, LaneStream, Message
from streamwatch.sdk.socket_protocols import SocketProtocol

#: Streams of a connection that are watched at a time: nobody multiplexes more responses, a hostile server may.
_MAX_LANES = 256
#: Lanes of which the response that ended last is remembered: an event that comes late, or again, opens none again.
_MAX_ENDED = 64
#: Bytes of a message of which the parsed value is kept until the SDK asks for it: larger ones fit no template.
_MAX_OFFERED = 64 << 10
#: The close code of a connection that was cut, by RFC 6455.
_ABNORMAL = 1006
#: Seconds by which a timer may be early.
_EARLY = 0.001
#: What numbers and event ids prove. The other kinds are repaired in the content of a message: here messages are the
#: server's, byte for byte.
_PROVED = (SEQUENCE_OUT_OF_ORDER, SEQUENCE_DUPLICATE, EVENT_REPEATED)


class WatchedConnection:
    """The state of one connection: the streams that are open on it, and the messages that may go on.

    No method raises what is ours: after an error of Streamwatch all that came goes on as it came, and the rest is
    not looked at.
    """

    def __init__(self, owner: Owner, connection: Any, protocol: SocketProtocol) -> None:
        self.ready: deque[Message] = deque()  #: what goes on before anything else is received
        self.offered: Message | None = None  #: what went on last, for the SDK to have its object built of it
        self._owner = owner
        self._protocol = protocol
        self._settings = dataclasses.replace(owner.settings, repair=proved(owner.settings.repair))
        self._as_it_comes = dataclasses.replace(owner.settings, repair=Policy("none"))
        self._socket = socket_of(connection)
        self._call = _describe(self._socket, protocol.api, owner.version)
        self._lanes: dict[str, LaneStream] = {}
        self._ended: dict[str, EndedLane] = {}  # of a lane, the response that ended last
        self._lock = threading.RLock()  # another thread may close a connection, or a signal handler
        self._count = self._reconnects = 0
        self._coming: Any = None  # a message whose place is not known yet
        self._asked = self._left = 0.0  # since when the reader waits, or is at work while messages are held
        self._holding = self._leaves_alone = False

    # --- what the reader does

    def asks(self, connection: Any) -> float | None:
        """Note that the application waits for a message; return for how long, or None for as long as it takes."""
        self._asked = now = perf_counter()
        if socket_of(connection) is not self._socket:
            self._reconnected(connection)
        for lane in tuple(self._lanes.values()):
            lane.asked = now
        if not self._holding:
            return None
        with self._lock:
            try:
                return self._seconds_left(now)
            except BaseException as error:
                self._leave(error)
                return None

    def receive(self, message: bytes | str) -> bool:
        """Take a message that came, and return whether it goes on at once; else `ready` says what does."""
        if self._leaves_alone:
            return True
        with self._lock:
            self._coming = message
            try:
                straight = self._receive(message)
            except BaseException as error:
                self._leave(error)
                return False
            self._coming = None
            return straight

    def take(self) -> Message | None:
        """Return the message that goes on next; None if another thread was first."""
        with self._lock:
            if not self.ready:
                return None
            message = self.ready[0]
            try:
                self._offer(message)
                if self._holding:
                    self._left = perf_counter()
            except BaseException as error:
                self._leave(error)
            self.ready.popleft()
            return message

    def time_is_over(self) -> None:
        """Hand on what was waited for in vain; everything, if nothing can wake the reader."""
        with self._lock:
            try:
                self._give_up_waiting()
            except BaseException as error:
                self._leave(error)

    def fails(self, error: BaseException) -> bool:
        """Note that no message came: the connection is closed, or the application does not wait any longer.

        Returns whether there are messages that go on before the application gets to know.
        """
        with self._lock:
            try:
                if _is_closed(error):
                    self._close(error)
                else:
                    for lane in self._lanes.values():
                        lane.waits_no_longer()
            except BaseException as ours:
                self._leave(ours)
            return _is_closed(error) and bool(self.ready)

    def closes(self) -> None:
        """End what is open, as the application closes the connection; what was held is there if it reads on."""
        with self._lock:
            try:
                self._end_all(abandoned=not self._protocol.session)
            except BaseException as error:
                self._leave(error)

    def stops(self) -> bool:
        """Look at nothing any more, because Streamwatch is switched off; return whether messages are to go on."""
        with self._lock:
            try:
                self._let_go([name for name, lane in self._lanes.items() if lane.holds])
                self._end_all(abandoned=True)
            except BaseException as error:
                self._leave(error)
            self._leaves_alone, self.offered = True, None
            return bool(self.ready)

    # --- what becomes of a message

    def _receive(self, message: bytes | str) -> bool:
        waited = perf_counter() - self._asked
        for lane in self._lanes.values():
            lane.asked = 0.0
        event = self._parsed(message)
        payload = event.payload
        type_ = payload.get("type") if type(payload) is dict else None
        if type(type_) is not str:  # audio in a binary frame, or nothing that the SDK could make an event of
            return self._goes_apart(event)
        name = self._protocol.lane(type_, payload)
        if name is None:
            name = self._only_holding()
        about = None if name is None else self._lane_of(name, type_, event)
        if about is None or name is None:
            return self._goes_apart(event)
        ends = type_ in self._protocol.ends
        is_passed = ends and about.holds and about.is_passed_by(event)
        straight = about.receive(event, waited)
        about.is_over = about.is_over or ends
        if is_passed and about.holds:
            self._let_go([name])  # nothing follows the end: what waits has a number that is not of this response
            return False
        if not straight:
            self._collect(name, about)
            return False
        if about.is_over:
            self._end(name)
        return self._goes_on(event)

    def _parsed(self, message: bytes | str) -> Message:
        raw = message if type(message) is bytes else _bytes_of(message)
        self._count += 1
        event = Message(raw, message, self._count)
        try:
            event.payload = self._owner.loads(raw)
        except ValueError:
            event.payload = None
        return event

    def _lane_of(self, name: str, type_: str, event: Message) -> LaneStream | None:
        """Return the stream that a message is about; None for one that is not watched any more."""
        payload = event.payload
        lane, id = self._lanes.get(name), _response_id(payload)
        opens = type_ == "response.created" and not self._protocol.session
        is_cut = opens and lane is not None and lane.is_another(id)
        if is_cut:
            self._end(name)  # a lane has one response at a time: the former one has come to no end
            lane = None
        ended = self._ended.get(name)
        if ended is not None and (self._protocol.once or ended.has(event, type_, id, lane)):
            return None
        if lane is None:
            if type_.startswith(self._protocol.opens_none) or len(self._lanes) >= _MAX_LANES:
                return None
            # Messages of the former response may still come, which the numbers of this one say nothing of.
            lane = self._lanes[name] = self._opened(payload, self._as_it_comes if is_cut else self._settings)
        lane.created = lane.created or opens
        lane.response_id = lane.response_id or id
        return lane

    def _opened(self, payload: dict[str, Any], settings: Settings) -> LaneStream:
        response = payload.get("response")
        model = kept(response.get("model")) if isinstance(response, dict) else ""
        call = dataclasses.replace(self._call, request_model=model) if model else self._call
        lane = LaneStream(self._owner, call, self._protocol.api, self._asked, settings)
        lane.reconnects = self._reconnects
        lane.watch.ledger.ignored = self._protocol.usual
        return lane

    def _goes_apart(self, event: Message) -> bool:
        """Hand on a message that is about no stream, and return whether nothing goes on before it.

        It overtakes nothing: what is held waits no longer.
        """
        if self._holding:
            self._let_go([name for name, lane in self._lanes.items() if lane.holds])
        return self._goes_on(event)

    def _goes_on(self, event: Message) -> bool:
        """Hand on a message, and return whether nothing goes on before it."""
        if self.ready:
            self.ready.append(event)
            return False
        self._offer(event)
        return True

    def _only_holding(self) -> str | None:
        """Return the name of the only stream that holds messages: what is about no stream has its place there."""
        holding = [name for name, lane in self._lanes.items() if lane.holds] if self._holding else []
        return holding[0] if len(holding) == 1 else None

    def _collect(self, name: str, lane: LaneStream) -> None:
        """Let go on what a lane has released, and end it if that was all of it."""
        lane.release(self.ready)
        if lane.is_over and not lane.holds:
            self._end(name)
        self._holding = any(lane.holds for lane in self._lanes.values())

    def _let_go(self, names: list[str], now: float | None = None) -> None:
        """Wait no longer for what is missing on some lanes; `now` is given where their time is over."""
        for name in names:
            lane = self._lanes[name]
            if now is not None and (lane.watch.deadline or 0.0) <= now:
                lane.watch.expire()
            else:
                lane.watch.let_go()
            self._collect(name, lane)

    def _seconds_left(self, now: float) -> float:
        """Return how long what is held may be waited for; the time that the reader was at work does not count."""
        held = [lane.watch for lane in self._lanes.values() if lane.holds]
        away, self._left = now - self._left if self._left else 0.0, 0.0
        for watch in held:
            watch.postpone(away)
        return max(min((watch.deadline or now for watch in held), default=now) - now, 0.0)

    def _give_up_waiting(self) -> None:
        now = perf_counter()
        for lane in self._lanes.values():
            lane.waited_in_vain(now - self._asked)
        holding = {name: lane.watch.deadline or 0.0 for name, lane in self._lanes.items() if lane.holds}
        over = [name for name, deadline in holding.items() if deadline <= now + _EARLY]
        self._let_go(over or list(holding), now)

    def _offer(self, event: Message) -> None:
        """Keep the message that goes on: the SDK is going to ask for the object of it."""
        self.offered = event if type(event.payload) is dict and len(event.raw) <= _MAX_OFFERED else None

    # --- the end

    def _reconnected(self, connection: Any) -> None:
        """Note that the SDK has replaced the connection: what comes now is of other responses."""
        with self._lock:
            try:
                self._socket, self._reconnects = socket_of(connection), self._reconnects + 1
                self._ended = self._ended if self._protocol.once else {}
                self._call = _describe(self._socket, self._protocol.api, self._owner.version)
                self._owner.telemetry.reconnected(self._call)
            except BaseException as error:
                self._leave(error)

    def _close(self, error: BaseException) -> None:
        clean = self._protocol.session and type(error).__name__ == "ConnectionClosedOK"
        for lane in self._lanes.values():
            lane.close_code = _code_of(error)
        self._end_all(None if clean else error)

    def _end_all(self, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        for name in list(self._lanes):
            self._end(name, error, abandoned=abandoned)

    def _end(self, name: str, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        lane = self._lanes.pop(name)
        if not self._protocol.session and (name or not self._protocol.once):
            self._ended[name] = lane.ended(self._ended.pop(name, None))
            if len(self._ended) > _MAX_ENDED:
                del self._ended[next(iter(self._ended))]
        lane.end(error, abandoned=abandoned)
        if abandoned or lane.watch.verdict is None:  # nothing was put in order
            self.ready += lane.pending
        else:
            lane.release(self.ready)
        self._holding = any(lane.holds for lane in self._lanes.values())

    def _leave(self, error: BaseException) -> None:
        """Look at nothing any more after an error, and let everything go on as it came.

        Raises what is not an error of Streamwatch.
        """
        lanes, self._lanes = list(self._lanes.values()), {}
        self._leaves_alone, self._holding, self.offered = True, False, None
        held = {event for lane in lanes for event in lane.pending}.difference(self.ready)
        self.ready += sorted(held, key=lambda event: event.at)
        if self._coming is not None and all(event.message is not self._coming for event in self.ready):
            self.ready.append(Message(b"", self._coming, self._count))
        self._coming = None
        for lane in lanes:
            with unless_interrupted():
                lane.watch.leave("internal error", failed=True)
            lane.end(abandoned=True)
        if not isinstance(error, Exception):
            raise error
        self._owner.internal_error(error, "watching a WebSocket")


@functools.lru_cache(maxsize=8)
def proved(policy: Policy) -> Policy:
    """Return the policy for messages over WebSockets: the repairs of `policy` that numbers and event ids prove."""
    wanted = [
        kind.name for kind in _PROVED if kind in (policy.opt_in if kind.level is Level.OPT_IN else policy.default)
    ]
    return policy if policy.observe else Policy(",".join(["none", *(f"+{name}" for name in wanted)]))


def _response_id(payload: dict[str, Any]) -> str:
    """Return the id of the response that a message names; "" if it names none."""
    response = payload.get("response")
    return kept(response.get("id")) if isinstance(response, dict) else ""


def _is_closed(error: BaseException) -> bool:
    """Return whether an error of `websockets` says that the connection is closed, as the next one will say again."""
    return type(error).__name__.startswith("ConnectionClosed")


def _code_of(error: BaseException) -> int:
    """Return the code with which the other side closed a connection: 1006 if it said nothing."""
    code = getattr(getattr(error, "rcvd", None), "code", None)
    return int(code) if isinstance(code, int) else _ABNORMAL


def _bytes_of(message: bytes | str) -> bytes:
    return message.encode("utf-8", "surrogatepass") if isinstance(message, str) else bytes(message)


def socket_of(connection: Any) -> Any:
    """Return the socket of `websockets` below a connection of the SDK."""
    return getattr(connection, "_connection", None)


def _describe(socket: Any, api: str, version: str) -> RequestInfo:
    """Return what is known of a connection: from the handshake of `websockets`, as far as it can be had."""
    host, path, headers = "", "", []
    with unless_interrupted():
        host, path = str(socket.request.headers["Host"]), str(socket.request.path)
        headers = [(name.encode(), value.encode()) for name, value in socket.response.headers.raw_items()]
    address = urlsplit(f"//{host}")
    port = None
    with unless_interrupted():
        port = address.port
    model = next(iter(parse_qs(urlsplit(path).query).get("model", ())), "")
    name = address.hostname or ""
    return RequestInfo(api, model, provider_at(name) or FORMAT, name, port, version, path_of(headers))
