"""The faults of the streams, and when they happen.

`FAULTS` is the table: each fault is a function from the events of a healthy stream to those of a
broken one, and names the kinds of anomaly that must be found in it. `fault_for` is the schedule:
a pure function of the seed and the number of the request, so that a run can be repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from streamwatch.core import kinds as anomalies
from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.stream_cases import ANY_FAULT, ORDER, TOOL_CALLS, CaseDefinition
from streamwatch.synthetic.streams import LONG, SHORT, Event, Mark, Shape

_CHAT = (Shape.CHAT_TEXT, Shape.CHAT_TOOLS)
_RESPONSES = (Shape.RESPONSES_TEXT, Shape.RESPONSES_TOOLS)

#: How far a late event falls behind: past the default window of 64 events, so that no repair can reach it.
_TOO_FAR = 70


@dataclass(frozen=True)
class Fault:
    """A way in which a stream is broken; `length` is that of the text it needs.

    `repairable` says whether what is on the wire is enough to put the stream right: the truth that a fix rate is
    compared with.
    """

    name: str
    shapes: tuple[Shape, ...]
    kinds: tuple[AnomalyKind, ...]
    apply: Callable[[list[Event], Random], list[Event]]
    length: int = SHORT
    repairable: bool = True

    @property
    def cases(self) -> tuple[CaseDefinition, ...]:
        """What a stream with the fault is a case of, single kinds and strategies aside."""
        return tuple(row for row in (ANY_FAULT, ORDER, TOOL_CALLS) if any(kind in row.kinds for kind in self.kinds))


def fault_for(seed: int, shape: Shape, number: int) -> Fault:
    """Return the fault of the `number`th request of a shape: every fault of the shape once in each round."""
    deck = [fault for fault in FAULTS.values() if shape in fault.shapes]
    deck += [HEALTHY] * (len(deck) // 2)  # every third stream is healthy
    place = number % len(deck)
    Random(f"{seed}/{shape.value}/{number // len(deck)}").shuffle(deck)
    return deck[place]


def broken(fault: Fault, events: Iterable[Event], rng: Random) -> list[Event]:
    """Return `events` with the fault in them; what is given stays as it is."""
    return fault.apply(copy.deepcopy(list(events)), rng)


FAULTS: dict[str, Fault] = {}
_Apply = Callable[[list[Event], Random], list[Event]]


def _fault(
    shapes: tuple[Shape, ...], *kinds: AnomalyKind, length: int = SHORT, repairable: bool = True
) -> Callable[[_Apply], _Apply]:
    def enter(apply: _Apply) -> _Apply:
        name = apply.__name__
        FAULTS[name] = Fault(name, shapes, kinds, apply, length, repairable)
        return apply

    return enter


HEALTHY = Fault("none", tuple(Shape), (), lambda events, rng: events)

# --- order


@_fault(_RESPONSES, anomalies.SEQUENCE_OUT_OF_ORDER)
def reorder(events: list[Event], rng: Random) -> list[Event]:
    """Send three events in a row as third, first, second: expected 5, got 7."""
    at = rng.choice(_deltas(events)[1:-2])
    return [*events[:at], events[at + 2], events[at], events[at + 1], *events[at + 3 :]]


@_fault((Shape.RESPONSES_TEXT,), anomalies.SEQUENCE_OUT_OF_ORDER, length=LONG, repairable=False)
def reorder_too_far(events: list[Event], rng: Random) -> list[Event]:
    """Send one delta so late that no bounded window can wait for it."""
    at = rng.choice(_deltas(events)[1:10])
    return [*events[:at], *events[at + 1 : at + _TOO_FAR], events[at], *events[at + _TOO_FAR :]]


@_fault(_RESPONSES, anomalies.SEQUENCE_DUPLICATE)
def duplicate(events: list[Event], rng: Random) -> list[Event]:
    """Send one delta again, as a relay does that resumed."""
    at = rng.choice(_deltas(events)[1:])
    return [*events[: at + 1], *events[at:]]


@_fault(_RESPONSES, anomalies.SEQUENCE_GAP, repairable=False)
def gap(events: list[Event], rng: Random) -> list[Event]:
    """Lose one delta."""
    at = rng.choice(_deltas(events)[1:])
    return [*events[:at], *events[at + 1 :]]


@_fault((Shape.CHAT_TEXT,), anomalies.SEQUENCE_OUT_OF_ORDER)
def relay_reorder(events: list[Event], rng: Random) -> list[Event]:
    """Stamp the chunks with numbers, as a relay does, and deliver three of them as third, first, second."""
    at = rng.randrange(3, len(events) - 5)
    return _stamped(
        events, lambda chunks: [*chunks[:at], chunks[at + 2], chunks[at], chunks[at + 1], *chunks[at + 3 :]]
    )


@_fault((Shape.CHAT_TEXT,), anomalies.SEQUENCE_DUPLICATE)
def relay_duplicate(events: list[Event], rng: Random) -> list[Event]:
    """Stamp the chunks with numbers, as a relay does, and deliver one of them twice."""
    at = rng.randrange(4, len(events) - 3)
    return _stamped(events, lambda chunks: [*chunks[: at + 1], *chunks[at:]])


def _stamped(events: list[Event], deliver: Callable[[list[Event]], list[Event]]) -> list[Event]:
    # Only stamped chat chunks may change places: in a plain chat stream nothing could show it.
    chunks: list[Event] = [
        {**chunk, "sequence_number": number} for number, chunk in enumerate(events) if not isinstance(chunk, Mark)
    ]
    return [*deliver(chunks), Mark.DONE]


def _deltas(events: list[Event]) -> list[int]:
    """Return the places of the Responses deltas."""
    return [place for place, event in enumerate(events) if str(_payload(event).get("type", "")).endswith(".delta")]


# --- content: legal shapes that naive code falls over, and shapes that are not


@_fault((Shape.CHAT_TEXT,), anomalies.CONTENT_ABSENT)
def content_missing(events: list[Event], rng: Random) -> list[Event]:
    """Send a delta without the key `content`, in the middle of the text."""
    return _inserted(events, rng, lambda chunk: chunk["choices"][0].update(delta={}))


@_fault((Shape.CHAT_TEXT,), anomalies.CONTENT_NULL)
def content_null(events: list[Event], rng: Random) -> list[Event]:
    """Send a delta with content null, in the middle of the text."""
    return _inserted(events, rng, lambda chunk: chunk["choices"][0].update(delta={"content": None}))


@_fault((Shape.CHAT_TEXT,), anomalies.DELTA_MISSING)
def delta_missing(events: list[Event], rng: Random) -> list[Event]:
    """Send a choice without a delta."""
    return _inserted(events, rng, lambda chunk: chunk["choices"][0].pop("delta"))


@_fault((Shape.CHAT_TEXT,), anomalies.DELTA_MISSING)
def delta_null(events: list[Event], rng: Random) -> list[Event]:
    """Send a choice whose delta is null."""
    return _inserted(events, rng, lambda chunk: chunk["choices"][0].update(delta=None))


@_fault((Shape.CHAT_TEXT,), anomalies.CHOICES_EMPTY)
def choices_null(events: list[Event], rng: Random) -> list[Event]:
    """Send a chunk whose choices are null."""
    return _inserted(events, rng, lambda chunk: chunk.update(choices=None))


def _inserted(events: list[Event], rng: Random, change: Callable[[dict[str, Any]], object]) -> list[Event]:
    """Insert one more chunk somewhere in the text, changed."""
    at = rng.randrange(2, len(events) - 3)
    chunk = copy.deepcopy(_payload(events[at]))
    change(chunk)
    return [*events[:at], chunk, *events[at:]]


# --- tool calls


@_fault((Shape.CHAT_TOOLS,), anomalies.TOOL_CALL_INDEX_MISSING)
def index_missing(events: list[Event], rng: Random) -> list[Event]:
    """Leave out which call each fragment belongs to."""
    for fragment in _fragments(events):
        del fragment["index"]
    return events


@_fault((Shape.CHAT_TOOLS,), anomalies.TOOL_CALL_INDEX_REUSED)
def index_always_0(events: list[Event], rng: Random) -> list[Event]:
    """Give every call the index 0."""
    for fragment in _fragments(events):
        fragment["index"] = 0
    return events


@_fault((Shape.CHAT_TOOLS,), anomalies.TOOL_CALL_INDEX_SPARSE)
def index_from_1(events: list[Event], rng: Random) -> list[Event]:
    """Let the calls begin at index 1."""
    for fragment in _fragments(events):
        fragment["index"] += 1
    return events


@_fault((Shape.CHAT_TOOLS,), anomalies.TOOL_CALL_FRAGMENT_IRREGULAR)
def continuation_null(events: list[Event], rng: Random) -> list[Event]:
    """Send id, name and type as null in later fragments, where OpenAI leaves them out."""
    for fragment in _fragments(events):
        if "id" not in fragment:
            fragment.update(id=None, type=None)
            fragment["function"]["name"] = None
    return events


def _fragments(events: list[Event]) -> list[dict[str, Any]]:
    choices = [choice for event in events for choice in _payload(event).get("choices", ())]
    return [fragment for choice in choices for fragment in choice["delta"].get("tool_calls", ())]


# --- the end


@_fault(tuple(Shape), anomalies.STREAM_TRUNCATED, repairable=False)
def truncated(events: list[Event], rng: Random) -> list[Event]:
    """Close the connection in the middle."""
    return [*events[: rng.randrange(4, len(events) - 4)], Mark.CUT]


@_fault(_CHAT, anomalies.ERROR_IN_STREAM, repairable=False)
def chat_error(events: list[Event], rng: Random) -> list[Event]:
    """Fail after HTTP 200, and say so in the stream."""
    message = "The server had an error while processing your request. Sorry about that!"
    error = {"message": message, "type": "server_error", "param": None, "code": None}
    return [*events[: rng.randrange(3, len(events) - 4)], {"error": error}, Mark.DONE]


@_fault(_RESPONSES, anomalies.ERROR_IN_STREAM, repairable=False)
def responses_error(events: list[Event], rng: Random) -> list[Event]:
    """Fail after HTTP 200, in the words of the Responses API."""
    at = rng.randrange(4, len(events) - 4)
    message = "The server had an error while processing your request. Sorry about that!"
    error = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": at}
    return [*events[:at], error]


@_fault(tuple(Shape), anomalies.STREAM_EMPTY, repairable=False)
def empty(events: list[Event], rng: Random) -> list[Event]:
    """Send HTTP 200, and not one event."""
    return []


def _payload(event: Event) -> dict[str, Any]:
    return {} if isinstance(event, Mark) else event
