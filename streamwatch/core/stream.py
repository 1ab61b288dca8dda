"""One stream, from its first byte to its report.

    watch = StreamWatch("chat")
    watch.receive(data)          # bytes of the body, as they come
    watch.ready                  # a list of events to hand on, repaired; take them out
    watch.close()                # the body ended; more may be ready
    watch.report()               # verdict, anomalies, outcomes

How it works. Three stages, one way: bytes become events (`sse`), events with a number are put in
order (`reorder`), and the state of the API (`apis`) looks at each one, counts in the ledger what is
wrong with it, and repairs it where the policy wants that. Each stage has `push`, `flush` and
`pending`; this driver carries events from one to the next and owns nothing else. There is no I/O
here, no clock but the one that is given, and nothing is held while a stream is as it should be.

`receive` and `close` never raise on what the peer sent; anything they do raise is a bug here.
All that is not yet handed on is the concatenation of the stages' `pending`: `undelivered` returns
it, so that nothing need be lost by a bug.

A stream of which nothing is to be repaired goes through the same stages: the driver hands on each
event as it came, and drops what the stages return, so that the outcome of a repair is known before
it is ever applied.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamwatch.core.apis.agents import Agents
from streamwatch.core.apis.assistants import Assistants
from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.chat import Chat
from streamwatch.core.apis.media import Media
from streamwatch.core.apis.realtime import LiveSession, Realtime
from streamwatch.core.apis.responses import Responses
from streamwatch.core.context import Context
from streamwatch.core.kinds import (
    CONTENT_ABSENT,
    CONTENT_NULL,
    ERROR_HIDDEN,
    RESPONSE_INTERRUPTED,
    SSE_EVENT_UNTERMINATED,
    STREAM_EMPTY,
    STREAM_STALLED,
    AnomalyKind,
)
from streamwatch.core.last_event import can_be_read, filled, is_error, lacked
from streamwatch.core.ledger import Ledger
from streamwatch.core.patience import Patience
from streamwatch.core.payloads import BROKEN, Payloads
from streamwatch.core.reorder import ReorderBuffer
from streamwatch.core.report import Report, Request, Times
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Decoder, Event
from streamwatch.core.unnumbered import UNNUMBERED, Unnumbered
from streamwatch.core.vocabulary import ChunkType, Evidence, Level, Resumed, Strategy, Verdict

_serials = itertools.count(1)
_APIS: Mapping[str, type[ApiState]] = {
    "agents": Agents,
    "assistants": Assistants,
    "chat": Chat,
    "completions": Chat,
    "images": Media,
    "live": LiveSession,
    "realtime": Realtime,
    "responses": Responses,
    "transcriptions": Media,
}
#: Events of one read that are worked through before the reader gets the first of them: a read of a compressed body
#: can hold 200,000, and a healthy one holds a handful.
_EVENTS_A_STEP = 64


class StreamWatch:
    """The state of one stream.

    Args:
        api: one of the keys of `_APIS`, or `other`
            for any further event stream: framing, counting, errors.
        request: what is known of the request.
        settings: what to repair, and the bounds.
        loads: bytes of a JSON text to its value; raises ValueError.
        clock: seconds, monotonic.
        event_type: what `ready` holds: `Event` or a subclass.
        patience: what is known of the numbers of this server, for as long as the process lives.
    """

    __slots__ = (
        *("_api", "_at", "_clock", "_coalesced", "_current", "_decoder", "_event_type", "_failed", "_loads"),
        *("_numbered", "_observe", "_payloads", "_queue", "_reorder", "_sdk_done", "_unwatched", "behind", "done"),
        *("events", "holding", "ledger", "policy", "ready", "request", "serial", "settings", "unfed", "verdict"),
    )

    def __init__(
        self,
        api: str,
        request: Request | None = None,
        settings: Settings | None = None,
        *,
        loads: Callable[[bytes], Any] = json.loads,
        clock: Callable[[], float] = time.monotonic,
        event_type: type[Event] = Event,
        patience: Patience | None = None,
    ) -> None:
        self.serial = next(_serials)
        self.request = request or Request()
        self.settings = settings or Settings()
        self.policy = self.settings.repair
        self.ledger = Ledger(self.policy, accumulated=self.request.accumulated)
        self.ready: list[Event] = []  # a deque would hold 760 bytes of every open stream
        self.verdict: Verdict | None = None
        self.done = False  #: the SDK reads no further: [DONE] came
        self.events = 0
        self._coalesced = 0  # events that came in one read with the one before
        self.holding = False  #: something waits for its turn; `deadline` says until when
        self.behind = False  #: events of the last read are not worked through: `more` does that
        self._observe = self.policy.observe
        self._clock = clock
        self._event_type = event_type
        context = Context(self.request, self.settings, self.ledger, clock, event_type, applies=not self._observe)
        self._api = _APIS.get(api, ApiState)(api, context)
        self._decoder = Decoder(self.ledger, self.settings.max_event_bytes, event_type, observe=self._observe)
        self._payloads = Payloads(self.ledger, loads, any_json=api == "other")
        self._loads = loads
        self._reorder: ReorderBuffer | Unnumbered = ReorderBuffer(context, self._api.number_member, patience)
        self._numbered = True  # as long as the stage has anything to do
        self.unfed = b""  #: bytes that were given, and that the decoder has not taken yet
        self._queue = self._decoder.queue  # decoded, and not worked through from `_at` on
        self._at = 0
        self._current: Event | None = None  # on its way from one stage to the next
        self._sdk_done = False  # the SDK itself has seen [DONE], whatever was repaired
        self._unwatched = ""
        self._failed = False

    @property
    def anomalies(self) -> dict[AnomalyKind, Any]:
        """What was counted, by kind."""
        return self.ledger.anomalies

    # --- what the owner of the I/O calls

    def receive(self, data: bytes) -> bool:
        """Take bytes of the body; what may be handed on now is in `ready`.

        Returns False when the body can't be read on: `undelivered` then has what is left of it.
        """
        self.unfed = data
        readable = self.take(data)
        while self.more():
            pass
        return readable

    def take(self, data: bytes) -> bool:
        """Take bytes, which are in `unfed`, and work through the first events of them only; `more` does the rest."""
        decoder = self._decoder
        if self.behind:
            while self.more():
                pass
        queue = decoder.push(data)
        self._queue, self.unfed = queue, b""
        if len(queue) == 1:  # as it mostly is
            self._current = event = queue.pop()
            if not self._step(event) or self.holding:
                self.more()  # it may have been several
                self._see_what_is_held()
        elif queue:
            self._coalesced += len(queue) - 1
            self.more()
        return decoder.rest is None

    def receive_event(self, event: Event) -> None:
        """Take an event that somebody else decoded."""
        if self._at < len(self._queue):
            while self.more():
                pass
        self._decoder.take_id(event)
        self._current = event
        if not self._step(event) or self.holding:
            self.more()
            self._see_what_is_held()

    def more(self) -> bool:
        """Work through some events of the last read, and return whether there are more."""
        queue, at = self._queue, self._at
        end = len(queue)
        if at == end:
            return False
        end = min(end, at + _EVENTS_A_STEP)
        while at < end:
            self._current = event = queue[at]
            self._at = at = at + 1
            self._step(event)
        if at == len(queue):
            queue.clear()  # nothing of a read is kept until the next one
            self._at = at = 0
        self._see_what_is_held()
        self.behind = at < len(queue)
        return self.behind

    def _see_what_is_held(self) -> None:
        """Take note of whether something is held, after events went their way."""
        if self._api.waiting or (self._numbered and self._reorder.waiting):
            self.holding = True
            self.expire()
        elif self.holding:
            self.holding = False

    def expire(self) -> None:
        """Hand on what has waited for its turn too long; `deadline` says when to call."""
        if self.holding:
            self._let_go(self._clock())

    def let_go(self) -> None:
        """Hand on everything that is held, as if its time were over: nothing can wake the reader later."""
        if self.holding:
            self._let_go(math.inf)

    def postpone(self, seconds: float) -> None:
        """Take note that the reader was at work that long: what is held waits for the server alone."""
        self._reorder.postpone(seconds)
        self._api.postpone(seconds)

    def waited(self, seconds: float) -> None:
        """Take note that the reader waited for the server that long between two reads."""
        if seconds > self.settings.stall_seconds and STREAM_STALLED not in self.anomalies:
            self.ledger.record(STREAM_STALLED)

    def close(self, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        """Take the end: of the body, by the transport's `error`, or because the consumer left."""
        if self.verdict is not None:
            return
        if abandoned and self._payloads.broken:
            abandoned = False  # it was the SDK that left: it can't read what came last
        if not (abandoned or self._failed):
            while self.more():
                pass
            if error is None:
                self._queue, self._at = self._decoder.flush(self._can_be_read), 0
                self._fill_last()
                self.more()
            self._to_api(self._reorder.flush())
            self._show_document()
            self._take(self._api.flush())
        elif not self._failed:
            self._api.leave()
        self.verdict = self._judge(error, abandoned=abandoned)
        if self.verdict is Verdict.TRUNCATED and not self._api.cut_arguments:
            self._api.cut_short()
        elif self.verdict is Verdict.EMPTY:
            self.ledger.record(STREAM_EMPTY)

    def make_of(self, event_type: type[Event]) -> None:
        """Make the events that come from now on of this class."""
        self._decoder.event_type = event_type

    def read_on(self) -> int:
        """Go on after the last whole event with the next bytes, and return how many of a torn one are left out."""
        self.ledger.add(RESPONSE_INTERRUPTED, repaired=True)
        return self._decoder.forget()

    @property
    def deadline(self) -> float | None:
        """The time on the clock when `expire` is to be called; None, the usual answer, while nothing waits."""
        first, second = self._reorder.deadline, self._api.deadline
        if first is None or second is None:
            return second if first is None else first
        return min(first, second)

    @property
    def rest(self) -> bytes | None:
        """The bytes from where on the stream is left to the SDK; None while it is watched."""
        return self._decoder.rest

    def undelivered(self) -> tuple[list[Event], bytes]:
        """Return everything that came and is not handed on: events as they came, then bytes."""
        queue = self._decoder.queue
        coming = queue[self._at :] if queue is self._queue else [*self._queue[self._at :], *queue]
        current = [] if self._current is None else [self._current]
        if self._observe:
            events = [*self.ready, *current, *coming]
        else:
            held = dict.fromkeys([*self._api.pending(), *self._reorder.pending(), *current])
            for event in held.keys() - set(self.ready):
                event.shared = False
            events = [*self.ready, *held, *coming]
        unfed = self.unfed if queue is self._queue else b""  # a new queue is what became of it
        return list(dict.fromkeys(events)), self._decoder.pending() + unfed

    def leave(self, reason: str, *, failed: bool = False) -> None:
        """Watch no further; the stream goes on unwatched. After a failure no stage is asked anything any more."""
        self._unwatched = reason
        self._failed = failed

    # --- an event on its way

    def _step(self, event: Event) -> bool:
        """Carry an event through the stages, and return whether it went straight through: then nothing is held.

        In one piece: every event passes here, and each way out has to leave the books right for a rescue.
        """
        if self._observe:
            if not event.added and not self._sdk_done:
                self.ready.append(event)
            self._current = None  # whatever becomes of it, it has gone on
        if self.done:
            self._current = None
            return False  # no release of the SDK delivers anything after [DONE]
        try:
            payload = self._loads(event.raw)
        except (ValueError, RecursionError):
            payload = self._payloads.read(event.raw)
        if type(payload) is dict:
            event.payload = payload
            self.events += 1
        else:
            known = self._readable(event, payload)
            if known is None:
                self._current = None
                return False
            event = known
        if self._numbered:
            released = self._reorder.push(event)
            if self._reorder.idle:
                self._rest_order()
            if type(released) is list or not released:
                self._to_api(released)
                self._current = None
                return False
        out = self._api.push(event)
        if not self._observe:
            self.ready += out
        if type(out) is tuple:
            self._current = None
            return True
        assert isinstance(out, list)  # noqa: S101 -- the stage's own, which is emptied here
        out.clear()
        self._current = None
        return False

    def _rest_order(self) -> None:
        """Ask the order stage no more: there are no numbers."""
        self._numbered = False
        if isinstance(self._reorder, ReorderBuffer) and self._reorder.is_blank:
            self._reorder = UNNUMBERED

    def _readable(self, event: Event, value: Any) -> Event | None:
        """Return an event without a JSON object, or what stands for it; None to drop it."""
        if value is BROKEN and b"\n" in event.raw:
            several, error = self._payloads.several(event)
            if several:
                self._queue[self._at : self._at] = several
                return None
            self._api.error_in_stream({"error": error})
        raw = self._payloads.see(event, value)
        if raw is None:
            return None
        if raw is not event.raw:
            event = self._event_type(raw.decode(), raw, event.event, event.id, event.retry)
            event.added = True
            value = self._payloads.read(raw)
            if type(value) is dict:
                event.payload = value
                self.events += 1
        if raw.startswith(b"[DONE]"):
            self.done = True
            self._sdk_done = not event.added
        return event

    def _to_api(self, events: Sequence[Event]) -> None:
        """Push events through the API, one by one; what is not pushed yet is pending in the stage that it came of."""
        while events:
            assert isinstance(events, list)  # noqa: S101 -- the stage's own, which is emptied here
            event = events[0]
            if not self._observe:
                self._current = event
            del events[0]
            self._take(self._api.push(event))

    def _let_go(self, now: float) -> None:
        self._to_api(self._reorder.expire(now))
        self._take(self._api.expire(now))
        self._current = None
        self.holding = self.deadline is not None

    def _take(self, events: Sequence[Event]) -> None:
        if not self._observe:
            self.ready += events
        if type(events) is list:
            events.clear()

    # --- the end

    def _can_be_read(self, event: Event, payload: dict[str, Any]) -> bool:
        """Return whether a program that has read all before can read an event without its blank line."""
        if is_error(event, payload):
            if not self.ledger.wants(SSE_EVENT_UNTERMINATED, Level.OPT_IN):
                self._api.error_in_stream({"error": payload})
            return False
        api = self._api
        return can_be_read(api.name, payload, api.chunk_counts(), accumulated=self.request.accumulated)

    def _fill_last(self) -> None:
        """Give an event without its blank line the members that every chunk before it has: readers rely on them."""
        if self._api.name != "chat" or not self._queue or self.request.accumulated:
            return
        last = self._queue[-1]
        content = CONTENT_ABSENT not in self.anomalies and CONTENT_NULL not in self.anomalies
        empty = lacked(self._api.chunk_counts(), content=content)
        raw = filled(last.raw, empty) if last.added and empty else None
        if raw is not None:
            self._queue[-1] = event = self._event_type(raw.decode(), raw, last.event, last.id, last.retry)
            event.added = True

    def _show_document(self) -> None:
        """Show a body that is a JSON document: what the SDK silently ignores, in a form that it reads."""
        if self._decoder.done_pending and not self.done:
            self.done = self._api.done = True
        if not self._decoder.shows_document:
            return
        document = None
        with contextlib.suppress(ValueError):
            document = json.loads(self._decoder.document)
        payloads = self._api.from_document(document) if isinstance(document, dict) else []
        for payload in payloads:
            self._api.insert(payload)
        if not payloads:
            self.ledger.unrepaired(ERROR_HIDDEN)

    def _judge(self, error: BaseException | None, *, abandoned: bool) -> Verdict:
        api = self._api
        body_ended = error is None and not abandoned
        ended = api.finished() or (self.done and api.ends_with_done)
        if self._unwatched or api.knows_no_end:
            ended = ended or body_ended or self.done  # it is all that is known of the end
        if abandoned and not ended and not api.error:
            return Verdict.ABANDONED
        if api.error or ERROR_HIDDEN in self.anomalies:
            return Verdict.ERROR
        if not self.events + self._payloads.others:
            return Verdict.EMPTY if error is None else Verdict.TRUNCATED
        if not ended or api.cut_arguments:
            return Verdict.TRUNCATED
        return Verdict.COMPLETE

    def _evidence(self, kind: AnomalyKind) -> bool | None:
        """Return what the stream itself says of the repairs of a kind: right, wrong, or nothing."""
        if kind.evidence is Evidence.COMPLETE:
            return self.verdict is Verdict.COMPLETE
        if kind.evidence is Evidence.SEQUENCE:
            return False if self._api.evidence(kind.evidence) is False else self._reorder.contiguous
        return self._api.evidence(kind.evidence)

    def _chunk_counts(self) -> dict[ChunkType, int]:
        counts, others = self._api.chunk_counts(), self._payloads.others
        if others:
            counts[ChunkType.OTHER] = counts.get(ChunkType.OTHER, 0) + others
        return counts

    def report(self, times: Times | None = None, resumed: Sequence[Resumed] = ()) -> Report:
        """Return what is known up to now; complete once the stream is closed, and its `times` are known.

        `resumed` is what came of the requests that were added to read the stream on.
        """
        api, order = self._api, self._reorder
        ended, came = self.verdict is not None, self.events + self._payloads.others
        return Report(
            serial=self.serial,
            api=api.name,
            request=self.request,
            verdict=self.verdict,
            response_model=api.model,
            server=api.server,
            response_id=api.id,
            finish_reasons=api.finish_reasons(),
            events=came,
            chunks=self._chunk_counts(),
            anomalies={kind: count.count for kind, count in self.anomalies.items()},
            outcomes={
                kind: count.outcomes(evidence=self._evidence(kind))
                for kind, count in self.anomalies.items()
                if ended and kind.strategy is not Strategy.NONE
            },
            applied=not self._observe,
            reorder_distances=tuple(order.waits.distances),
            reorder_delays=tuple(order.waits.delays),
            reorder_max_distance=order.waits.max_distance,
            reorder_max_delay=order.waits.max_delay,
            unwatched=self._unwatched,
            events_per_read=(came + self.done) / max(came + self.done - self._coalesced, 1),
            resumed=tuple(resumed),
            times=times,
        )
