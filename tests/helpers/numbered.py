"""Numbered streams: of every sort, in any order, read by a reader who looks at the clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.quick import examples
from helpers.stream_builders import (
    DONE,
    Payload,
    answered,
    called,
    chunk,
    completion,
    function_call,
    message,
    response,
    said,
    settings,
    sse,
    stamped,
    tool_call,
)
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch

SEEDS = st.integers(0, 2**32)
often = hypothesis_settings(max_examples=examples(100), deadline=None)
WORDS = [f"word{number} " for number in range(90)]
EVENTS = answered(*WORDS)
STAMPED = stamped(said(*WORDS))
#: Seconds that numbers in doubt are waited for, and those that are proved.
SHORT, LONG = 0.25, 2.0


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Read:
    """A stream that is read an event at a time, by a reader who looks at the clock when something is due."""

    stream: StreamWatch
    clock: Clock
    arrival: dict[Event, float] = field(default_factory=dict)
    gone: list[tuple[Event, float]] = field(default_factory=list)  #: what the API gets, and how long it had waited
    report: Report | None = None

    def __post_init__(self) -> None:
        reorder, api = self.stream._reorder, self.stream._api
        came, goes = reorder.push, api.push

        def push(event: Event) -> Any:
            self.arrival[event] = self.clock.now
            return came(event)

        def go(event: Event) -> Any:
            self.gone.append((event, self.clock.now - self.arrival.get(event, self.clock.now)))
            return goes(event)

        reorder.push = push  # type: ignore[method-assign]
        # The state of an API has no room for a method of its own.
        api.__class__ = type("Watched", (type(api),), {"__slots__": (), "push": lambda _, event: go(event)})

    def take(self, data: bytes, after: float = 0.0) -> None:
        """Read bytes that come a while after the last ones."""
        end = self.clock.now + after
        while self.stream.deadline is not None and self.stream.deadline <= end:
            self.clock.now = max(self.clock.now, self.stream.deadline)
            self.stream.expire()
        self.clock.now = end
        self.stream.receive(data)

    def close(self) -> Read:
        """Read the end."""
        self.stream.close()
        self.report = self.stream.report()
        return self

    @property
    def marks(self) -> list[int]:
        """The marks of the events that went on: their places before they were mixed."""
        payloads = [event.payload for event, _ in self.gone if event.payload is not None]
        return [payload["mark"] for payload in payloads if "mark" in payload]

    @property
    def longest(self) -> float:
        """How long the event that waited longest has waited."""
        return max((waited for _, waited in self.gone), default=0.0)

    def counts(self) -> dict[str, int]:
        """What was found of the numbers."""
        assert self.report is not None
        found = self.report.anomalies.items()
        return {kind.name: count for kind, count in found if kind.name.startswith("sequence_")}


def opened(api: str = "responses", request: Request | None = None, **more: Any) -> Read:
    """A stream that nothing was read of."""
    clock, patience = Clock(), more.pop("patience", None)
    bounds = settings(more.pop("repair", "default"), **more)
    return Read(StreamWatch(api, request, bounds, clock=clock, patience=patience), clock)


def numbers(payloads: list[Payload]) -> list[int]:
    """The sequence numbers, in order."""
    return [payload["sequence_number"] for payload in payloads]


# --- streams of all sorts


@dataclass(frozen=True)
class Sort:
    """A sort of numbered streams: events without numbers, and how they are numbered."""

    name: str
    api: str
    events: tuple[Payload, ...]
    member: str = "sequence_number"
    start: int = 0
    form: Callable[[int], Any] = int
    request: Request = field(default_factory=lambda: Request(n=1))

    def __repr__(self) -> str:
        return self.name

    def wires(self) -> list[bytes]:
        """Each event on the wire, numbered, with its place as a mark."""
        wires = []
        for place, event in enumerate(self.events):
            number = self.form(self.start + place)
            stamp = {} if self.member == "id" else {self.member: number}
            name = event.get("type") if self.api == "responses" else None
            wires.append(sse({**event, "mark": place, **stamp}, event=name, id=number if not stamp else None))
        return wires

    @property
    def done(self) -> bytes:
        """What ends it."""
        return b"" if self.api == "responses" else DONE

    @property
    def says_its_start(self) -> bool:
        """Whether the first event says that it is the first, or its number does: a role in every chunk says nothing."""
        return not self.start or "noroles" not in self.name


TEXT = tuple(said(*WORDS[:12]))
CALLS = tuple(
    called(*tool_call(0, "call_a", "weather", *['{"a"', ":", "1}"]), *tool_call(1, "call_b", "time", "{", "}"))
)
FIRST, SECOND = said(*"abcdef"), said(*"uvwxyz", index=1)
TWO = tuple(each for pair in zip(FIRST, SECOND, strict=True) for each in pair)
ROLES = tuple(chunk({"role": "assistant", "content": word}) for word in WORDS[:12])
LEGACY = tuple(completion(word) for word in WORDS[:12])
RESPONSE = tuple(response(message(0, *WORDS[:4]), function_call(1, "weather", '{"a"', ":1}")))


def sorts() -> Iterator[Sort]:
    """Every sort, from every start."""
    for start in (0, 1, 1000):
        yield Sort(f"responses-{start}", "responses", RESPONSE, start=start)
        for member in (*SEQUENCE_FIELDS, "id"):
            yield Sort(f"text-{member}-{start}", "chat", TEXT, member, start)
        for name, events, request in (("calls", CALLS, Request(n=1)), ("two", TWO, Request(n=2))):
            yield Sort(f"{name}-{start}", "chat", events, "seq", start, request=request)
        yield Sort(f"noroles-{start}", "chat", TEXT[1:], "seq", start)
        yield Sort(f"noroles-of-their-own-{start}", "chat", ROLES, "seq", start)
        yield Sort(f"noroles-legacy-{start}", "completions", LEGACY, "id", start)
    yield Sort("text-of-digits", "chat", TEXT, form=str)
    yield Sort("text-of-floats", "chat", TEXT, start=1, form=float)
    yield Sort("responses-of-digits", "responses", RESPONSE, form=str)


SORTS = tuple(sorts())
#: How a stream may be read: in one read, and an event a read, at these distances in seconds.
READS = {"one read": None, "at once": 0.0, "a millisecond apart": 0.001}


def mixed(sort: Sort, order: list[int], between: float | None = 0.0, *, noise: random.Random | None = None) -> Read:
    """A stream whose events come in an order, read to its end; `noise` puts frames without a number between them."""
    wires = sort.wires()
    parts = [wires[place] for place in order]
    for at in reversed(range(len(parts) if noise is not None else 0)):
        if noise is not None and noise.random() < 0.25:
            parts.insert(at + 1, noise.choice(NOISE[sort.api]))
    parts.append(sort.done)
    read = opened(sort.api, sort.request)
    for part in [b"".join(parts)] if between is None else parts:
        read.take(part, between or 0.0)
    return read.close()


NOISE = {
    "responses": [b"event: keepalive\ndata: {}\n\n", b": ping\n\n", b'data: {"type":"vendor.stats","x":1}\n\n'],
    "chat": [b": ping\n\n", sse(chunk({})), sse(chunk({"content": ""})), sse({"type": "ping"})],
    "completions": [b": ping\n\n", sse({"type": "ping"})],
}


def late(count: int, place: int, by: int) -> list[int]:
    """The places of a stream of which one event comes late."""
    order = list(range(count))
    order.insert(place + by, order.pop(place))
    return order


def jitter(count: int, places: float, seed: object) -> list[int]:
    """The places of a stream of which each event comes up to so many places late."""
    chance = random.Random(repr(seed))
    return [place for _, place in sorted((place + chance.uniform(0, places), place) for place in range(count))]


# --- numbers that are no order

JUNK: dict[str, Callable[[int, random.Random], object]] = {
    "constant": lambda at, chance: 7,
    "absent": lambda at, chance: None,
    "negative": lambda at, chance: -at,
    "even": lambda at, chance: 2 * at,
    "tens": lambda at, chance: 10 * at + 3,
    "from 0 again": lambda at, chance: at % 20,
    "pairs": lambda at, chance: at // 2,
    "down": lambda at, chance: 1000 - at,
    "seconds": lambda at, chance: 1_700_000_000 + at // 7,
    "milliseconds": lambda at, chance: 1_700_000_000_000 + 37 * at + at % 5,
    "snowflakes": lambda at, chance: (7 << 40) + (at << 22) + at % 3,
    "tokens": lambda at, chance: 3 * at // 2,
    "random": lambda at, chance: chance.randint(0, 10**6),
    "few": lambda at, chance: chance.randint(0, 50),
    "of all sorts": lambda at, chance: chance.choice([True, None, [1], {}, "x", -1, 2**60, 1.5, float(at), str(at)]),
}
