"""One stream of a connection over a WebSocket, and what is remembered of it when it has ended."""

from __future__ import annotations

import dataclasses
from collections import deque
from time import perf_counter
from typing import Any, NamedTuple

from streamwatch.core.report import Report, Request
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import Verdict
from streamwatch.export.request import RequestInfo
from streamwatch.sdk.observed_stream import ObservedStream, Owner

#: Messages of a lane that are kept while some are held: those of a full window, and as many duplicates of them.
_WINDOWS_KEPT = 2
#: Messages of a response that are known again when they come after its end: a relay that connects again repeats a few.
_MAX_DIGESTS = 64


class Message(Event):
    """A message on its way to the application, as `recv_bytes` of the SDK returned it."""

    __slots__ = ("at", "message")

    def __init__(self, raw: bytes, message: Any, at: int) -> None:
        super().__init__("", raw)
        self.message = message
        self.at = at  #: counts the messages of a connection


class LaneStream(ObservedStream):
    """One stream of a connection."""

    def __init__(self, owner: Owner, call: RequestInfo, api: str, asked: float, settings: Settings) -> None:
        super().__init__(owner, call)
        self.close_code: int | None = None  #: with which the connection was closed, if that ended the stream
        self.reconnects = 0  #: how often the connection had been replaced before
        self._payload: Any = None
        self._observes = settings.repair.observe
        #: What came and has not gone on, in the order of arrival; of duplicates nothing is kept once nothing is held.
        self.pending: dict[Message, None] = {}
        self.created = False  #: the event that opens a response has come
        self.response_id = ""
        self._digests: deque[int] = deque(maxlen=_MAX_DIGESTS)  # of the messages that came last
        self._highest = -1  # of their numbers
        self._missing: dict[int, None] = {}  # lower numbers that have not come, the first ones
        self.is_over = False  #: so has the one that ends it
        self._open(api, Request(model=call.request_model), asked or perf_counter(), Event, settings, self._parsed)
        self._waiting = 0.0  # the wait for the first message is counted when that message is taken
        owner.opened(self)

    @property
    def holds(self) -> bool:
        """Whether a message waits for its turn."""
        return self.watch.holding and not self._observes

    def is_another(self, id: str) -> bool:
        """Return whether the event that opens a response, and names it so, opens another one than this."""
        if self.created or (self.response_id and id and id != self.response_id):
            return True
        return bool(self.watch.events) and not self.watch.holding

    def is_next(self, event: Message) -> bool:
        """Return whether a message has the number behind the highest that came."""
        return bool(event.payload.get("sequence_number") == self._highest + 1)

    def is_passed_by(self, event: Message) -> bool:
        """Return whether a message has a lower number than one that came before it."""
        number = event.payload.get("sequence_number")
        return type(number) is int and number < self._highest

    def receive(self, event: Message, waited: float) -> bool:
        """Take a message that came, and return whether it goes on at once, and nothing beside it."""
        self._last = now = perf_counter()
        self._waiting += waited
        if waited > self.longest_gap:
            self._waited(waited)
        self._payload = event.payload
        self._digests.append(hash(event.raw))
        number = event.payload.get("sequence_number")
        if number == self._highest + 1:
            self._highest += 1
        elif type(number) is int:
            self._count(number)
        watch, pending = self.watch, self.pending
        held = self.holds  # a message that waited may be dropped now, while this one goes straight on
        pending[event] = None
        watch.receive_event(event)
        if now > self._due:
            self._tick(now)
        ready = watch.ready
        if len(ready) == 1 and ready[0] is event and not (held or self.holds):
            ready.clear()
            pending.clear()
            return True
        return False

    def _count(self, number: int) -> None:
        if number > self._highest:
            until = min(number, self._highest + 1 + _MAX_DIGESTS - len(self._missing))
            self._missing |= dict.fromkeys(range(self._highest + 1, until))
            self._highest = number
        else:
            self._missing.pop(number, None)

    def release(self, into: deque[Message]) -> None:
        """Let go on what waits no longer."""
        ready, pending = self.watch.ready, self.pending
        gone = [event for event in ready if isinstance(event, Message) and event in pending]
        into += gone  # before it is forgotten here: an exception may come from anywhere
        ready.clear()
        for event in gone:
            del pending[event]
        if not self.holds:
            pending.clear()
        elif len(pending) > _WINDOWS_KEPT * self.owner.settings.window_events:
            held = set(self.watch.undelivered()[0])
            self.pending = {event: None for event in pending if event in held}

    def waited_in_vain(self, seconds: float) -> None:
        """Take note that no message came for that long; the reader gets others now."""
        self.asked = 0.0
        self._waiting += seconds

    def described(self, report: Report) -> Report:
        """Return the report of the stream with what is known of its connection."""
        close_code = None if report.verdict is Verdict.COMPLETE else self.close_code
        return dataclasses.replace(report, close_code=close_code, reconnects=self.reconnects)

    def _parsed(self, _raw: bytes) -> Any:
        """Return the payload of the message that is taken: it was parsed to find its stream."""
        return self._payload

    def ended(self, before: EndedLane | None) -> EndedLane:
        """Return what is remembered of the stream, and of those `before` it on its lane."""
        missing = [*self._missing, *(before.missing if before is not None else ())]
        return EndedLane(self.response_id, frozenset(self._digests), frozenset(missing[:_MAX_DIGESTS]))


class EndedLane(NamedTuple):
    """The memory of the response that ended last on a lane."""

    response_id: str
    digests: frozenset[int]  #: of its last messages
    missing: frozenset[int]  #: numbers that had not come when it ended, or those before it

    def has(self, event: Message, type_: str, id: str, lane: LaneStream | None) -> bool:
        """Return whether a message is about this response: late, or again.

        It is, where it names the response; or where it comes again with every byte, or has a number that had not come
        yet, and has no place in the next one: a server may call the first item of every response alike. Where it names
        none, and the next response has not begun, it is about this one as far as anybody can say.

        Args:
            event: the message.
            type_: its type.
            id: the id of the response that it names; "" if it names none.
            lane: the response that is open on the lane; None if there is none.
        """
        if type_ == "response.created" or not type_.startswith("response."):
            return False
        if lane is None:
            return id in ("", self.response_id)
        if lane.response_id == self.response_id:
            return False
        if id and id == self.response_id:
            return True
        if lane.is_next(event):
            return False
        number = event.payload.get("sequence_number")
        return hash(event.raw) in self.digests or (not id and type(number) is int and number in self.missing)
