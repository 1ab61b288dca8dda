"""The common state of every streamed answer: three methods, the facts of the end, and waiting.

An `ApiState` is one streamed answer of one API. Events go in by `push`, in the order of their
numbers, and come out of `push` and `flush`, repaired where the policy wants that. `pending` returns
what is held, as it came. Nothing else goes in or out: a rule counts in the ledger, and hands on by
`release`, `drop`, `hold` and `insert`, which only fill this object's own lists.

`ApiState` alone serves every event stream that no subclass knows: framing, errors and the end are
watched, content passes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from streamwatch.core.context import Context
from streamwatch.core.kinds import ERROR_HIDDEN, ERROR_IN_STREAM, STREAM_TRUNCATED, AnomalyKind
from streamwatch.core.nothing import NONE_YET, NOTHING
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Evidence, Level

#: Characters of an id, a model or a finish reason that is remembered: OpenAI's have 40.
_MAX_NAME = 512


def kept(name: Any) -> str:
    """Return a name to remember; "" for what is not a name, or too long to be one."""
    return name if isinstance(name, str) and len(name) <= _MAX_NAME else ""


class ApiState:
    """The state of one streamed answer.

    A subclass writes `see`, which looks at one event in its turn and calls exactly one of
    `release`, `drop` and `hold` for it; and, where it holds anything, `give_up_waiting`.
    """

    __slots__ = (
        *("_clock", "_event_type", "_gone", "_in", "_is_named", "_out", "_waiting_bytes", "agrees", "applies"),
        *("counts", "cut_arguments", "done", "error", "id", "ledger", "model", "name", "request", "server"),
        *("settings", "waiting"),
    )

    #: The member in which the protocol promises a number on every event; "" where a relay may stamp events with one,
    #: None where nothing is known of an order.
    number_member: str | None = None
    #: [DONE] is this API's own end. Elsewhere it only ends what the SDK reads.
    ends_with_done = False

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.request = context.request
        self.settings = context.settings
        self.ledger = context.ledger
        self.applies = context.applies
        self.id = ""
        self.model = ""
        self.server = ""  #: the server software that answered, where the answer names it
        self.counts: dict[ChunkType, int] = {}
        self.error = False  #: the server reported an error
        self.done = False  #: [DONE] came: no release of the SDK reads on
        self.cut_arguments = False  #: a finished answer whose tool arguments stop short
        self.agrees: bool | None = None  #: whether text that is repeated at the end equals the deltas
        self._clock = context.clock
        self._event_type = context.event_type
        self._is_named = False  # the event that is looked at has an SSE name
        self._out: list[Event] = []
        self._in: dict[Event, None] = NOTHING  # came, and has not gone on before this push, in the order of arrival
        self._gone: list[Event] = NONE_YET  # of `_in`, what went on or was dropped since
        self.waiting: dict[Event, float] = NOTHING  #: what is held on purpose, and since when; in the order of arrival
        self._waiting_bytes = 0

    # --- the stage

    def push(self, event: Event) -> Sequence[Event]:
        """Return the events that may go on now that `event` came.

        A list that is returned is the stage's own, here as in `flush` and `expire`: who takes the events empties
        it, and until then they are pending.
        """
        if self._gone:
            self._sweep()
        self._in = self._in or {}
        self._in[event] = None
        event.shared = self.applies
        self._is_named = bool(event.event)
        if event.payload is None:
            self.see_text(event)
        else:
            self.see(event)
        if len(self._in) == 1 and self._out == [event]:  # nothing is held: nothing of it is kept until the next one
            self._in = NOTHING
            self._out.clear()
            return (event,)
        return self._leave()

    def flush(self) -> Sequence[Event]:
        """Return what is held, in order, because nothing more comes; the rules of the end are asked here."""
        self._is_named = False
        self.give_up_waiting()
        self.close()
        return self._leave()

    def pending(self) -> list[Event]:
        """Return what came and was not handed on, as it came."""
        gone = set(self._gone) - set(self._out)
        came = [event for event in self._in if event not in gone]
        for event in came:
            event.shared = False  # a rule may have been at work on it
        return came

    @property
    def deadline(self) -> float | None:
        """The time on the clock until which something is held; None, the usual answer, where nothing is."""
        return next(iter(self.waiting.values())) + self.settings.window_seconds if self.waiting else None

    def postpone(self, seconds: float) -> None:
        """Let everything that is held wait that much longer."""
        for event in self.waiting:
            self.waiting[event] += seconds

    def expire(self, now: float) -> Sequence[Event]:
        """Return what has waited for the whole window by `now`."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return ()
        self.give_up_waiting()
        return self._leave()

    def _leave(self) -> list[Event]:
        self._gone = [*self._gone, *self._out]
        return self._out

    def _sweep(self) -> None:
        for event in self._gone if self._in else ():
            self._in.pop(event, None)
        self._gone = NONE_YET

    # --- what a subclass has

    def see(self, event: Event) -> None:
        """Look at an event with a JSON object."""
        self.error_in_stream(event.payload)
        self.count(ChunkType.LIFECYCLE if event.event else ChunkType.OTHER)
        self.release(event)

    def see_text(self, event: Event) -> None:
        """Look at an event without a JSON object: [DONE], or nothing that the SDK can use."""
        if event.raw.startswith(b"[DONE]"):
            self.give_up_waiting()
            self.done = True
        self.release(event)

    def give_up_waiting(self) -> None:
        """Release everything that is held, in order: the window is full, or nothing more comes."""

    def close(self) -> None:
        """Ask the rules that can only be asked at the end."""

    def leave(self) -> None:
        """Take note that the reader left: nothing more is looked at."""

    # --- what a rule calls

    def release(self, event: Event) -> None:
        """Hand on an event, after all that was handed on before."""
        self._out.append(event)
        if self.waiting and self.waiting.pop(event, None) is not None:
            self._waiting_bytes -= len(event.raw)

    def drop(self, event: Event) -> None:
        """Hand on nothing for this event: it is a repair's wish."""
        self._gone = self._gone or []
        self._gone.append(event)
        if self.waiting and self.waiting.pop(event, None) is not None:
            self._waiting_bytes -= len(event.raw)

    def hold(self, event: Event) -> None:
        """Keep an event until `release` or `drop`, within the window of the settings."""
        if event in self.waiting:
            return
        self.waiting = self.waiting or {}
        self.waiting[event] = self._clock()
        self._waiting_bytes += len(event.raw)
        if len(self.waiting) >= self.settings.window_events or self._waiting_bytes > self.settings.window_bytes:
            self.give_up_waiting()

    @property
    def held(self) -> list[Event]:
        """What is held on purpose, in the order of arrival."""
        return list(self.waiting)

    def insert(self, payload: dict[str, Any], name: str | None = None) -> Event:
        """Hand on an event that never came, after all that was handed on before, and return it.

        `name` is its SSE name; without one it has the name that its type gives, where events have names.
        """
        raw = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        name = name or (payload.get("type") if self._is_named else None)
        event = self._event_type(raw.decode("utf-8", "surrogatepass"), raw, name)
        event.payload = payload
        event.added = True
        self._out.append(event)
        return event

    def count(self, type: ChunkType) -> None:
        """Count a chunk."""
        self.counts[type] = self.counts.get(type, 0) + 1

    def record(self, kind: AnomalyKind, level: Level | None = None) -> bool:
        """Count an anomaly, and return whether its repair is wanted, as `Ledger.record`."""
        return self.ledger.record(kind, level)

    def error_in_stream(self, payload: dict[str, Any]) -> bool:
        """Return whether the server reports an error where the SDK looks for it: in a truthy `error` member."""
        if not payload.get("error"):
            return False
        self.record(ERROR_IN_STREAM, Level.NEVER)
        self.error = True
        return True

    def error_hidden(self) -> bool:
        """Count an error that stands where the SDK does not look, and return whether to show it."""
        self.error = True
        return self.record(ERROR_HIDDEN, Level.OPT_IN)

    def cut_short(self) -> None:
        """Count a body that ended before the protocol's end."""
        self.record(STREAM_TRUNCATED)

    # --- the facts of the end

    @property
    def knows_no_end(self) -> bool:
        """Whether nothing is known of this protocol's end."""
        return self.name == "other"

    def finished(self) -> bool:
        """Return whether the answer reached the protocol's own end, [DONE] aside."""
        return False

    def evidence(self, evidence: Evidence) -> bool | None:
        """Return what the stream says of a repair: right, wrong, or nothing. What a repair made is not evidence."""
        if evidence is Evidence.ARGUMENTS:
            return self.arguments_parse()
        return self.agrees if evidence in (Evidence.TEXT, Evidence.SEQUENCE) else None

    def arguments_parse(self) -> bool | None:
        """Return whether the arguments of every tool call are JSON; None where that is not known."""
        return None

    def finish_reasons(self) -> tuple[str, ...]:
        """Return the finish reason of each choice, in order."""
        return ()

    def chunk_counts(self) -> dict[ChunkType, int]:
        """Return how many chunks of each type came."""
        return dict(self.counts)

    def from_document(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a stream would have said where the body is a JSON document; nothing where that is not clear."""
        if document.get("error"):
            return [{"error": document["error"]}]
        return [{"error": document}] if document.get("message") or document.get("detail") else []
