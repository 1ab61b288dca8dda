"""One stream, from its first byte to its report.

    watch = StreamWatch("chat")
    watch.receive(data)          # bytes of the body, as they come
    watch.ready                  # a list of events to hand on, repaired; take them out
    watch.close()                # the body ended; more may be ready
    watch.report()               # verdict, anomalies, outcomes

How it works. Bytes become events (`sse`), events with a number are put in order (`sequence`), and
the rules of the surface (`chat`, `responses`) look at each one, count what is wrong with it, and
mend it where the policy wants that. There is no I/O here, no clock but the one that is given, and
nothing is held back while a stream is as it should be.

`receive` and `close` never raise on what the peer sent; anything they do raise is a bug of ours.
All that is not yet handed on then stands in `undelivered`, so that nothing need be lost by it.

A stream of which nothing is to be repaired is watched by the same code: its events go on untouched
and at once, and the rules work on data of our own, so that the outcome of a repair is known before
it is ever applied.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from streamwatch.core.apis.assistants import Assistants
from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.chat import Chat
from streamwatch.core.apis.responses import Responses
from streamwatch.core.kinds import (
    ERROR_HIDDEN,
    PAYLOAD_INVALID,
    STREAM_EMPTY,
    STREAM_SPLICED,
    STREAM_TRUNCATED,
    AnomalyKind,
    ChunkType,
    Evidence,
    Level,
    Strategy,
    Verdict,
)
from streamwatch.core.ledger import AnomalyCount
from streamwatch.core.reorder import ReorderBuffer
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Decoder, Event

_serials = itertools.count(1)
_SURFACES: Mapping[str, type[ApiState]] = {
    "assistants": Assistants,
    "chat": Chat,
    "completions": Chat,
    "responses": Responses,
}


#: What `_read` says of something that is no JSON.
_BROKEN: Any = object()


def _read(raw: bytes) -> Any:
    """The value of a JSON text that jiter refused: it takes neither lone surrogates nor deep nesting."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return _BROKEN


class StreamWatch:
    """The state of one stream.

    Args:
        surface: `chat`, `completions`, `responses`, `assistants`, or `other` for any further event
            stream (audio, images): framing, counting, errors.
        request: what is known of the request.
        settings: what to repair, and the bounds.
        loads: bytes of a JSON text to its value; raises ValueError.
        clock: seconds, monotonic.
        event_type: what `ready` holds: `Event` or a subclass.
    """

    def __init__(
        self,
        surface: str,
        request: Request | None = None,
        settings: Settings | None = None,
        *,
        loads: Callable[[bytes], Any] = json.loads,
        clock: Callable[[], float] = time.monotonic,
        event_type: type[Event] = Event,
    ) -> None:
        self.serial = next(_serials)
        self.request = request or Request()
        self.settings = settings or Settings()
        self.policy = self.settings.repair
        self.ready: list[Event] = []  # a deque would hold 760 bytes of every open stream
        self.anomalies: dict[AnomalyKind, AnomalyCount] = {}
        self.verdict: Verdict | None = None
        self.done = False  #: the body's own end was seen: [DONE], or the terminal event
        self.error = False  #: the server reported an error in the stream
        self.events = 0
        self.holding = False  #: something waits for its turn; `deadline` tells until when
        self._broken = False
        self._sdk_done = False  # the SDK itself has seen [DONE]
        self._observe = self.policy.observe
        self._loads = loads
        self._clock = clock
        self._event_type = event_type
        self._pending: list[Event] = []
        self._released: list[Event] = []
        self.unfed = b""  #: bytes that were given, and that the decoder has not taken yet
        self._decoder = Decoder(self.found, self.settings.max_event_bytes, event_type, observe=self._observe)
        self._surface = _SURFACES.get(surface, ApiState)(self, surface)
        self._number_field: str | None = None
        self._order: ReorderBuffer | None = None
        self._numbers: ReorderBuffer | None = None  # the same, and still there when it is given up
        self._current: Event | None = None
        self._unwatched = ""

    # --- what the owner of the I/O calls

    def receive(self, data: bytes) -> bool:
        """Take bytes of the body; what may be handed on now is in `ready`.

        False when the body can't be read on: `undelivered` then has what is left of it.
        """
        self.unfed = data
        self._pending = pending = self._decoder.feed(data)
        self.unfed = b""
        while pending:
            self._see(pending[0])
            del pending[0]
        if self._order is not None:
            self.expire()
        return self._decoder.rest is None

    def receive_event(self, event: Event) -> None:
        """Take an event that somebody else decoded."""
        self._pending = [event]
        self._see(event)
        self._pending = []

    def expire(self) -> None:
        """Let go what has waited for its turn too long; `deadline` tells when to call."""
        order = self._order
        if order is not None and (order.held or self.holding):
            self._release(order.expire())
            self.holding = bool(order.held)

    def let_go(self) -> None:
        """Hand on everything that is held, as if its time were over: nothing can wake the reader later."""
        order = self._order
        if order is not None and order.held:
            self._release(order.let_go())
            self.holding = False

    def close(self, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        """The end: of the body, by the transport's `error`, or because the consumer left."""
        if self.verdict is not None:
            return
        if abandoned and self._broken:
            abandoned = False  # it was the SDK that left: it can't read what came last
        if not abandoned:
            if error is None:
                for event in self._decoder.close():
                    self.receive_event(event)
            self._end_order()
            self._current = None
            self._show_document()
            if self._decoder.done_pending and not self.done:
                self._surface.done()
                self.done = True
            self._surface.close()
        self.verdict = self._judge(error, abandoned=abandoned)
        if self.verdict is Verdict.TRUNCATED and not self._surface.cut_arguments:
            self.found(STREAM_TRUNCATED)
        elif self.verdict is Verdict.EMPTY:
            self.found(STREAM_EMPTY)

    @property
    def deadline(self) -> float | None:
        """When `expire` is to be called, on the clock; None, the usual answer, while nothing waits."""
        return self._order.deadline if self._order is not None and self._order.held else None

    @property
    def rest(self) -> bytes | None:
        """The bytes from where on the stream is left to the SDK; None while it is watched."""
        return self._decoder.rest

    def undelivered(self) -> tuple[list[Event], bytes]:
        """Everything that came and is not handed on: events as they came, then bytes."""
        held = self._order.held.values() if self._order is not None and not self._observe else ()
        leaving = self._order.leaving if self._order is not None else []
        released = [] if self._observe else [*self._released, *leaving]
        events = list(dict.fromkeys((*self.ready, *released, *held, *self._pending)))
        for event in (*self._pending, *released[:1], self._current):
            if event is not None:
                event.shared = False  # a rule may have been at work on it
        rest = self._decoder.rest
        return events, bytes(self._decoder.buffer) + self.unfed if rest is None else rest

    def leave(self, reason: str) -> None:
        """Watch no further; the stream goes on without us."""
        self._unwatched = reason

    # --- what the rules call

    def found(self, kind: AnomalyKind, level: Level = Level.DEFAULT) -> bool:
        """Count an anomaly; whether its repair, which has this level, is wanted."""
        tally = self.anomalies.get(kind)
        if tally is None:
            tally = self.anomalies[kind] = AnomalyCount()
        tally.count += 1
        if level is Level.DEFAULT:
            wanted = kind in self.policy.default
        else:
            wanted = level is Level.OPT_IN and kind in self.policy.opt_in
        if wanted:
            tally.repaired += 1
            if self._observe and self._current is not None:
                self._current.shared = False
        return wanted

    def unrepaired(self, kind: AnomalyKind) -> None:
        """The repair just wanted could not be made: its preconditions do not hold."""
        tally = self.anomalies[kind]
        tally.repaired -= bool(tally.repaired)  # one anomaly may concern several choices

    def failed(self, kind: AnomalyKind) -> None:
        """The repair just wanted was tried, and failed."""
        tally = self.anomalies[kind]
        if tally.repaired:
            tally.repaired -= 1
            tally.failed += 1

    def held(self, event: Event) -> None:
        """The rules may change `event`, now or later: what is only observed is read from its text."""
        if self._observe:
            event.shared = False

    def release(self, event: Event) -> None:
        """Hand on an event that was held, before the one being looked at."""
        if not self._observe:
            self.ready.append(event)

    def rename(self, event: Event, name: str) -> None:
        """Hand on an event under another SSE name."""
        if not self._observe:
            event.event = name

    def insert(self, payload: dict[str, Any]) -> None:
        """Hand on an event that never came, before the one being looked at."""
        raw = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        name = payload.get("type") if self._current is not None and self._current.event else None
        event = self._event_type(raw.decode("utf-8", "surrogatepass"), raw, name)
        event.payload = payload
        self.release(event)

    # --- an event on its way

    def _see(self, event: Event) -> None:
        if self._observe and not event.added and not self._sdk_done:
            self.ready.append(event)
        if self.done:
            return  # no release of the SDK delivers anything after [DONE]
        self._current = event
        try:
            payload = self._loads(event.raw)
        except ValueError:
            payload = _BROKEN if event.raw.startswith(b"[DONE]") else _read(event.raw)
        if type(payload) is not dict:
            self._see_text(event, payload)
            return
        event.payload = payload
        self.events += 1
        if self._order is not None or self.events == 1:
            self._take(event, payload)
        elif self._surface.see(event) and not self._observe:
            self.ready.append(event)

    def _take(self, event: Event, payload: dict[str, Any]) -> None:
        """An event of a stream that may be numbered: in its turn."""
        if self.events == 1:
            self._first(event, payload)
        order = self._order
        if order is not None:
            name = self._number_field
            number = payload.get(name) if name else event.number
            if self._surface.over and not self._belongs(order, number, event):
                self._hand_on(event)
                return
            released = order.place(number, event)
            if released is not None:
                if not order.usable:
                    self._order = None
                    self.holding = False
                self._release(released)
                return
        self._hand_on(event)

    def _belongs(self, order: ReorderBuffer, number: Any, event: Event) -> bool:
        """Whether an event after the terminal one is of this answer: missed until now, or the last one again."""
        again = order.is_last(number, event) and STREAM_SPLICED not in self.anomalies
        return again or order.is_missing(number)

    def _end_order(self) -> None:
        """Nothing that is still missing is waited for any more."""
        if self._order is not None:
            self._release(self._order.close())
            self._order = None
            self.holding = False

    def _hand_on(self, event: Event) -> None:
        self._current = event
        if self._surface.see(event) and not self._observe:
            self.ready.append(event)

    def _release(self, events: list[Event]) -> None:
        """Hand on what is in order now; `undelivered` knows it in the meantime."""
        self._released = events
        over, self._surface.over = self._surface.over, False  # what was missing belongs to the answer
        while events:
            self._hand_on(events[0])
            del events[0]
        self._surface.over = self._surface.over or over

    def _first(self, event: Event, payload: dict[str, Any]) -> None:
        """The first JSON object tells whether the stream is numbered, and where."""
        name = self._number_field = self._surface.number_field(payload, event)
        if name is None:
            return
        self._order = ReorderBuffer(self, self.settings, self._clock, specified=self._surface.numbered)
        self._numbers = self._order
        number = payload.get(name) if name else event.number
        begins = payload.get("type") == "response.created"
        self._order.start(number, begins=begins, resumed=self.request.starting_after is not None)
        if not self._order.usable:
            self._order = None

    def _see_text(self, event: Event, value: Any) -> None:
        """A payload that is no JSON object: the end of the stream, or nothing that the SDK can use."""
        if event.raw.startswith(b"[DONE]"):
            self._end_order()
            self._current = event
            self._surface.done()
            self.done = True
            self._sdk_done = not event.added
            self.release(event)
            return
        stripped = event.raw.strip()
        if stripped.startswith(b"data:"):
            self._strip_prefix(event, stripped)
        elif self._surface.name == "other":
            self._see_any(event, value)
        elif value is not _BROKEN or not stripped or stripped[:1] == b":":
            if not self.found(PAYLOAD_INVALID):
                self.release(event)
        else:
            self._see_broken(event)

    def _see_any(self, event: Event, value: Any) -> None:
        """An API of which nothing is known may stream any JSON; on what is none, the SDK raises, and should."""
        if value is _BROKEN:
            self.found(PAYLOAD_INVALID, Level.NEVER)
        else:
            self.events += 1
            self._surface.count(ChunkType.OTHER)
        self.release(event)

    def _strip_prefix(self, event: Event, stripped: bytes) -> None:
        """`data: data: {...}`: a relay framed a frame."""
        while stripped.startswith(b"data:"):
            stripped = stripped[5:].strip()
        done = stripped.startswith(b"[DONE]")
        if not done and type(_read(stripped)) is not dict:
            self._see_broken(event)
        elif self.found(PAYLOAD_INVALID):
            mended = self._event_type(stripped.decode(), stripped, event.event, event.id, event.retry)
            mended.added = self._observe  # what came has gone on already
            self._see(mended)
        else:
            self.release(event)

    def _see_broken(self, event: Event) -> None:
        """Not JSON at all: the SDK raises on it, and should."""
        self.found(PAYLOAD_INVALID, Level.NEVER)
        self._broken = True
        self._end_order()
        self.release(event)

    # --- the end

    def _show_document(self) -> None:
        """A body that is a JSON document: what the SDK silently ignores, in a form that it reads."""
        if self._decoder.shows_document:
            document = None
            with contextlib.suppress(ValueError):
                document = json.loads(self._decoder.document)
            payloads = self._surface.from_document(document) if isinstance(document, dict) else []
            for payload in payloads:
                self.insert(payload)
            if not payloads:
                self.unrepaired(ERROR_HIDDEN)

    def _judge(self, error: BaseException | None, *, abandoned: bool) -> Verdict:
        body_ended = error is None and not abandoned
        ended = self.done or self._surface.finished()
        if self._unwatched or self._surface.knows_no_end:
            ended = ended or body_ended  # it is all that is known of the end
        if abandoned and not ended and not self.error:
            return Verdict.ABANDONED
        if self.error or ERROR_HIDDEN in self.anomalies:
            return Verdict.ERROR
        if not self.events:
            return Verdict.EMPTY if error is None else Verdict.TRUNCATED
        if not ended or self._surface.cut_arguments:
            return Verdict.TRUNCATED
        return Verdict.COMPLETE

    def _evidence(self, kind: AnomalyKind) -> bool | None:
        """What the stream itself says of the repairs of a kind: right, wrong, or nothing."""
        if kind.evidence is Evidence.SHAPE:
            return True
        if kind.evidence is Evidence.COMPLETE:
            return self.verdict is Verdict.COMPLETE
        if kind.evidence is Evidence.SEQUENCE:
            contiguous = self._numbers.contiguous if self._numbers is not None else None
            return False if self._surface.agrees is False else contiguous
        if kind.evidence is Evidence.ARGUMENTS:
            return self._surface.arguments_parse()
        return self._surface.agrees if kind.evidence is Evidence.TEXT else None

    def report(self) -> Report:
        """What is known up to now; complete once the stream is closed."""
        surface, order = self._surface, self._numbers
        ended = self.verdict is not None
        return Report(
            serial=self.serial,
            surface=surface.name,
            request=self.request,
            verdict=self.verdict,
            response_model=surface.model,
            response_id=surface.id,
            finish_reasons=surface.finish_reasons(),
            events=self.events,
            chunks=surface.chunk_counts(),
            anomalies={kind: tally.count for kind, tally in self.anomalies.items()},
            outcomes={
                kind: tally.outcomes(evidence=self._evidence(kind))
                for kind, tally in self.anomalies.items()
                if ended and kind.strategy is not Strategy.NONE
            },
            applied=not self._observe,
            reorder_distances=tuple(order.distances) if order else (),
            reorder_delays=tuple(order.delays) if order else (),
            reorder_max_distance=order.max_distance if order else 0,
            reorder_max_delay=order.max_delay if order else 0.0,
            unwatched=self._unwatched,
        )
