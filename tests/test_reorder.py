"""Numbered events: in order while that can be had, never lost or repeated, and never kept waiting for nothing."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from wires import (
    DONE,
    Payload,
    answered,
    body,
    bytewise,
    called,
    chunk,
    completion,
    function_call,
    message,
    named,
    numbered,
    reference,
    response,
    said,
    settings,
    sse,
    stamped,
    tool_call,
    watch,
)

import streamwatch.core
from streamwatch.core.kinds import (
    KINDS,
    SEQUENCE_DUPLICATE,
    SEQUENCE_GAP,
    SEQUENCE_OUT_OF_ORDER,
    SEQUENCE_UNUSABLE,
    Outcome,
    Verdict,
)
from streamwatch.core.patience import Patience
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch

SEEDS = st.integers(0, 2**32)
often = hypothesis_settings(max_examples=100, deadline=None)
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

        reorder.push, api.push = push, go  # type: ignore[method-assign]

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


def opened(surface: str = "responses", request: Request | None = None, **more: Any) -> Read:
    """A stream that nothing was read of."""
    clock, patience = Clock(), more.pop("patience", None)
    bounds = settings(more.pop("repair", "default"), **more)
    return Read(StreamWatch(surface, request, bounds, clock=clock, patience=patience), clock)


# --- streams of all sorts


@dataclass(frozen=True)
class Sort:
    """A sort of numbered streams: events without numbers, and how they are numbered."""

    name: str
    surface: str
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
            name = event.get("type") if self.surface == "responses" else None
            wires.append(sse({**event, "mark": place, **stamp}, event=name, id=number if not stamp else None))
        return wires

    @property
    def done(self) -> bytes:
        """What ends it."""
        return b"" if self.surface == "responses" else DONE

    @property
    def says_its_start(self) -> bool:
        """Whether the first event says that it is the first, or its number does."""
        return not self.start or "noroles" not in self.name


TEXT = tuple(said(*WORDS[:12]))
CALLS = tuple(
    called(*tool_call(0, "call_a", "weather", *'{"a" : 1}'.split()), *tool_call(1, "call_b", "time", "{", "}"))
)
FIRST, SECOND = said(*"abcdef"), said(*"uvwxyz", index=1)
TWO = tuple(each for pair in zip(FIRST, SECOND, strict=True) for each in pair)
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
        yield Sort(f"noroles-legacy-{start}", "completions", LEGACY, "id", start)
    yield Sort("text-of-digits", "chat", TEXT, form=str)
    yield Sort("text-of-floats", "chat", TEXT, start=1, form=float)
    yield Sort("responses-of-digits", "responses", RESPONSE, form=str)


SORTS = tuple(sorts())
_EACH_SORT = pytest.mark.parametrize("sort", SORTS, ids=repr)
#: How a stream may be read: in one read, and an event a read, at these distances in seconds.
READS = {"one read": None, "at once": 0.0, "a millisecond apart": 0.001}


def mixed(sort: Sort, order: list[int], between: float | None = 0.0, *, noise: random.Random | None = None) -> Read:
    """A stream whose events come in an order, read to its end; `noise` puts frames without a number between them."""
    wires = sort.wires()
    parts = [wires[place] for place in order]
    for at in reversed(range(len(parts) if noise is not None else 0)):
        if noise is not None and noise.random() < 0.25:
            parts.insert(at + 1, noise.choice(NOISE[sort.surface]))
    parts.append(sort.done)
    read = opened(sort.surface, sort.request)
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


# --- the order bar


@_EACH_SORT
@pytest.mark.parametrize("between", READS.values(), ids=READS)
def test_one_event_late_at_any_place_is_put_in_order(sort: Sort, between: float | None) -> None:
    """By one place, two or three, the first event and the last one included."""
    count = len(sort.events)
    for by in (1, 2, 3):
        for place in range(count - by):
            read = mixed(sort, late(count, place, by), between)
            assert read.marks == list(range(count)), (place, by)
            assert read.report is not None
            assert read.report.outcomes[SEQUENCE_OUT_OF_ORDER].keys() == {Outcome.VERIFIED}


@_EACH_SORT
@pytest.mark.parametrize("places", [2, 4, 8, 16, 32])
def test_jitter_is_put_in_order(sort: Sort, places: int) -> None:
    """Every event late by some places, at once: in one read, and an event a read."""
    count = len(sort.events)
    for seed, between in itertools.product(range(5), READS.values()):
        order = jitter(count, places, (sort.name, seed))
        assert mixed(sort, order, between).marks == list(range(count)), order


@_EACH_SORT
def test_frames_without_a_number_do_not_matter(sort: Sort) -> None:
    """Keep-alives, comments and a vendor's own frames, anywhere between numbered events that are mixed up."""
    count = len(sort.events)
    for seed in range(20):
        chance = random.Random(f"{sort.name} {seed}")
        order = jitter(count, chance.choice([0, 2, 8]), (sort.name, seed))
        read = mixed(sort, order, chance.choice([None, 0.0]), noise=chance)
        assert read.marks == list(range(count)), order


@_EACH_SORT
def test_one_number_lost_besides_costs_nothing_else(sort: Sort) -> None:
    """All that came is there, and in order."""
    count = len(sort.events)
    for seed in range(20):
        chance = random.Random(f"{sort.name} {seed} lost")
        order = jitter(count, chance.choice([2, 8]), (sort.name, seed))
        order.remove(chance.randrange(count))
        assert mixed(sort, order, chance.choice([None, 0.0])).marks == sorted(order), order


@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort.done], ids=repr)
def test_what_is_held_goes_on_before_done(sort: Sort) -> None:
    """[DONE] overtakes the last events: no release of the SDK reads them, and what came before it is in order."""
    count = len(sort.events)
    wires = sort.wires()
    read = opened(sort.surface, sort.request)
    for part in [*wires[: count - 3], wires[-1], DONE, *wires[count - 3 : -1]]:
        read.take(part)
    read.close()

    assert read.marks == [*range(count - 3), count - 1]
    assert read.gone[-1][0].data == "[DONE]"


@given(SEEDS, st.integers(1, 60))
@often
def test_events_that_come_late_within_the_window_are_put_in_order(seed: int, most: int) -> None:
    """Whatever the disorder, while no event is later than the window: in order, and proved to be."""
    for surface, events in (("responses", EVENTS), ("chat", STAMPED)):
        order = jitter(len(events), most, seed)
        wire = (named if surface == "responses" else body)([events[place] for place in order])
        seen = watch(surface, wire, request=Request(n=1))

        assert numbers(seen.payloads) == numbers(events)
        assert seen.report.verdict is Verdict.COMPLETE
        assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.VERIFIED}
        assert seen.faults <= {"sequence_out_of_order"}


def numbers(payloads: list[Payload]) -> list[int]:
    """The sequence numbers, in order."""
    return [payload["sequence_number"] for payload in payloads]


@given(SEEDS, st.integers(2, 300))
@often
def test_nothing_is_lost_or_repeated_beyond_the_window(seed: int, most: int) -> None:
    """A disorder greater than any window: each event is handed on once all the same."""
    for surface, events in (("responses", EVENTS), ("chat", STAMPED)):
        marked = [{**event, "mark": event["sequence_number"]} for event in events]
        disorder = [*(marked[place] for place in jitter(len(events) - 1, most, seed)), marked[-1]]
        seen = watch(surface, (named if surface == "responses" else body)(disorder), window_events=5)

        assert sorted(each["mark"] for each in seen.payloads if "mark" in each) == numbers(events)


def test_a_terminal_event_waits_for_what_belongs_before_it() -> None:
    """So nothing comes behind the end."""
    order = [*range(40), len(EVENTS) - 1, *range(40, len(EVENTS) - 1)][: len(EVENTS)]
    seen = watch("responses", named([EVENTS[place] for place in order]))

    assert numbers(seen.payloads) == numbers(EVENTS)


def test_a_straggler_after_the_terminal_event_is_not_lost() -> None:
    """An event whose number is still missing belongs to this response, however late it comes."""
    seen = watch("responses", named([*EVENTS[:5], *EVENTS[6:], EVENTS[5]]), window_events=5)

    assert sorted(numbers(seen.payloads)) == numbers(EVENTS)


@pytest.mark.parametrize("surface", ["assistants", "images", "other", "transcriptions"])
def test_what_nobody_knows_stays_as_it_is(surface: str) -> None:
    """Numbers mean something where the protocol promises them, or where relays are known to stamp them."""
    order = [0, 3, 1, 2, *range(4, 14)]
    wire = body([STAMPED[place] for place in order])

    assert numbers(watch(surface, wire).payloads) == order
    assert not [kind for kind in watch(surface, wire).report.anomalies if kind.name.startswith("sequence_")]


@given(SEEDS)
@often
def test_observing_reorders_nothing_and_says_what_it_would_have_done(seed: int) -> None:
    """With the policy `none` the order is the wire's, and the report the same as with repairs."""
    wire = named([EVENTS[place] for place in jitter(len(EVENTS), 20, seed)])
    observed, repaired = watch("responses", wire, "none"), watch("responses", wire)

    assert [event.raw for event in observed.events] == [event.raw for event in watch("other", wire, "none").events]
    assert observed.report.outcomes == repaired.report.outcomes
    assert observed.report.reorder_distances == repaired.report.reorder_distances


# --- which numbers


@pytest.mark.parametrize("name", SEQUENCE_FIELDS)
def test_every_field_that_relays_use_gives_order(name: str) -> None:
    """The first known issue, literally: expected index 5 but got 7."""
    chunks = stamped(said(*WORDS[:9]), name)
    seen = watch("chat", body([*chunks[:5], chunks[7], chunks[5], chunks[6], *chunks[8:]]))

    assert [payload[name] for payload in seen.payloads] == list(range(11))
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.VERIFIED}
    assert seen.report.reorder_max_distance == 2


def test_a_field_of_the_users_own_gives_order() -> None:
    """What relays call it is a setting."""
    chunks = stamped(said(*WORDS[:9]), "n_th")
    wire = body([*chunks[:5], chunks[6], chunks[5], *chunks[7:]])

    assert [payload["n_th"] for payload in watch("chat", wire, sequence_fields=("n_th",)).payloads] == list(range(11))
    assert watch("chat", wire).payloads[5]["n_th"] == 6


def test_the_id_line_is_the_last_resort() -> None:
    """An SSE `id:` that counts gives order where no member does."""
    chunks = said(*WORDS[:9])
    order = [0, 1, 2, 3, 4, 7, 5, 6, 8, 9, 10]
    seen = watch("chat", b"".join(sse(chunks[at], id=at) for at in order))

    assert [event.id for event in seen.events] == [str(at) for at in range(11)]
    assert SEQUENCE_OUT_OF_ORDER in seen.report.anomalies


@pytest.mark.parametrize("id", ["abc", "7f3a", "-1", "", "1.5", "9" * 40, "²"])
def test_an_id_line_that_does_not_count_gives_no_order(id: str) -> None:
    """Ids of events, as most servers use them, are left alone."""
    seen = watch("chat", b"".join(sse(chunk, id=id) for chunk in said(*WORDS[:9])))

    assert not {kind for kind in seen.report.anomalies if kind.name.startswith("sequence_")}
    assert len(seen.payloads) == 11


@pytest.mark.parametrize("number", [True, 1.5, -1, 2**60, "x", "1" * 17, None, [1], {"n": 1}, 1e300])
def test_what_is_no_number_is_an_event_without_one(number: object) -> None:
    """One of them stands where a number is missing: the others are gone by all the same, and nothing is waited for."""
    odd = {**EVENTS[5], "sequence_number": number}
    seen = watch("responses", named([*EVENTS[:5], odd, EVENTS[6], EVENTS[8], EVENTS[7], *EVENTS[9:]]))

    assert [payload["sequence_number"] for payload in seen.payloads] == [*range(5), number, *range(6, len(EVENTS))]
    assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1
    assert SEQUENCE_GAP not in seen.report.anomalies
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize("sort", SORTS, ids=repr)
@pytest.mark.parametrize("extra", ["constant", "of the choice", "of arrival", "of tokens", "the same"])
def test_of_several_fields_the_one_that_orders_is_gone_by(sort: Sort, extra: str) -> None:
    """A constant, a count of each choice, the relay's own count of what it delivers, or of tokens, beside the order."""
    if sort.surface == "responses" or sort.member in ("index", "chunk_index", "id"):
        pytest.skip("has no second field")
    count = len(sort.events)
    of_choice = [sum(_choice(sort, other) == _choice(sort, at) for other in range(at)) for at in range(count)]
    others = {"constant": lambda at: 0, "of the choice": of_choice.__getitem__, "of tokens": lambda at: 3 * at + 7}
    for seed in range(10):
        order = jitter(count, [0, 2, 3, 8][seed % 4], (sort.name, extra, seed))
        wires = sort.wires()
        read = opened(sort.surface, sort.request)
        for arrived, place in enumerate(order):
            other = others.get(extra, lambda at: sort.start + at)(place)
            payload = json.loads(wires[place].partition(b"data: ")[2])
            number = arrived if extra == "of arrival" else None
            read.take(sse(payload | ({} if extra == "of arrival" else {"index": other}), id=number))
        assert read.close().marks == list(range(count)), order


def _choice(sort: Sort, place: int) -> int:
    return int(sort.events[place]["choices"][0]["index"])


def test_a_count_of_each_choice_is_no_order() -> None:
    """0, 0, 1, 1, 2, 2: nothing is held for it, and nothing moved."""
    read = opened("chat", Request(n=2))
    for place, each in enumerate(TWO):
        read.take(sse({**each, "index": place // 2, "mark": place}))

    assert read.close().marks == list(range(len(TWO)))
    assert read.longest == 0
    assert not read.counts()


# --- a healthy stream never waits


@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort.says_its_start], ids=repr)
def test_nothing_is_held_while_order_is_intact(sort: Sort) -> None:
    """Every event of a healthy numbered stream goes on as soon as its last byte has come, from the first one on."""
    read = opened(sort.surface, sort.request)
    for at, wire in enumerate(sort.wires(), 1):
        for byte in bytewise(wire):
            read.take(byte)
        assert len(read.gone) == at
    report = read.close().report

    assert report is not None
    assert not report.reorder_delays
    assert not read.counts()


@pytest.mark.parametrize("sort", [sort for sort in SORTS if not sort.says_its_start], ids=repr)
def test_a_start_that_nothing_says_is_waited_for_once(sort: Sort) -> None:
    """A first event that neither opens an answer nor has the number 0: a few events, or a quarter of a second."""
    patience = Patience()
    for between in (0.0, 0.1, 0.1):
        first = opened(sort.surface, sort.request)
        for wire in sort.wires():
            first.take(wire, between)
        assert first.close().marks == list(range(len(sort.events)))
        assert first.longest <= SHORT
        assert sum(waited > 0 for _, waited in first.gone) <= 8
        assert not first.counts()

        again = opened(sort.surface, sort.request, patience=patience)
        for wire in sort.wires():
            again.take(wire, between)
        again.close()
        assert again.longest <= SHORT * (between == 0.0)


def test_a_start_that_is_known_is_waited_for() -> None:
    """Where earlier streams began with 1, a first number of 2 is early, and 1 comes soon."""
    patience, sort = Patience(), Sort("", "completions", LEGACY, "id", 1)
    for order in (list(range(12)), [1, 0, *range(2, 12)], [2, 1, 0, *range(3, 12)]):
        read = opened("completions", patience=patience)
        for place in order:
            read.take(sort.wires()[place], 0.01)
        assert read.close().marks == list(range(12))


def test_numbers_that_begin_anywhere_are_no_longer_waited_for() -> None:
    """A relay that counts all that it sends: two streams wait for their start, and no further one."""
    patience, waited = Patience(), []
    for start in (57, 103, 301, 907):
        read = opened("completions", patience=patience)
        for wire in Sort("", "completions", LEGACY, "seq", start).wires():
            read.take(wire, 0.1)
        waited.append(read.close().longest)

    assert waited == [SHORT, SHORT, 0, 0]


@pytest.mark.parametrize("after", [0, 1, 39])
def test_a_resumed_stream_starts_where_it_starts(after: int) -> None:
    """`starting_after` makes the first number what it is: nothing waits for a smaller one."""
    events = [{**event, "mark": event["sequence_number"]} for event in EVENTS[after + 1 :]]
    read = opened(request=Request(starting_after=after))
    for event in events:
        read.take(named([event]))

    assert read.close().marks == [event["mark"] for event in events]
    assert read.longest == 0
    assert not read.counts()


def test_a_resumed_stream_waits_for_its_own_start() -> None:
    """What was asked for is known: 5, where it is read on after 4."""
    events = [{**event, "mark": event["sequence_number"]} for event in EVENTS]
    read = opened(request=Request(starting_after=4))
    read.take(named([events[7], events[5], events[6], *events[8:]]))

    assert read.close().marks == list(range(5, len(EVENTS)))


@pytest.mark.parametrize("start", [1, 2, 40])
def test_a_start_that_is_missing_is_no_gap(start: int) -> None:
    """The smallest number that came is where the stream starts."""
    seen = watch("responses", named(EVENTS[start:]))

    assert numbers(seen.payloads) == list(range(start, len(EVENTS)))
    assert SEQUENCE_GAP not in seen.report.anomalies


def test_a_background_response_that_may_be_resumed_is_not_waited_for() -> None:
    """Nothing is known of the request: it may have asked for what comes after 1."""
    events = numbered(response(message(0, *WORDS[:4])))
    background = {**events[1], "response": {**events[1]["response"], "background": True}}
    for request, waits in ((Request(), False), (Request(n=1), True)):
        read = opened(request=request)
        read.take(named([background]))
        assert (not read.gone) == waits


# --- windows


def test_a_wait_ends_with_the_window() -> None:
    """What is held goes on, in order, once it has waited for as long as is set: to the second."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[7], EVENTS[6]]))
    assert len(read.gone) == 5
    assert read.stream.deadline == 102.0

    read.clock.now = 101.9
    read.stream.expire()
    assert len(read.gone) == 5
    read.clock.now = 102.0
    read.stream.expire()

    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 7]
    assert read.stream.deadline is None


def test_a_number_in_doubt_is_waited_for_a_quarter_of_a_second() -> None:
    """A stamp that nobody promised, after three in a row; and one of the protocol, after one."""
    for surface, wire in (("responses", named), ("chat", body)):
        events = EVENTS if surface == "responses" else STAMPED
        read = opened(surface)
        passed = 1 if surface == "responses" else 3
        read.take(wire([*events[:passed], events[passed + 1]], **({} if surface == "responses" else {"done": False})))
        assert read.stream.deadline == 100 + SHORT

        read.take(b"", SHORT)
        assert numbers([event.payload for event, _ in read.gone]) == [*range(passed), passed + 1]


def test_what_fills_a_hole_proves_a_stamp() -> None:
    """Then the whole window is waited for."""
    read = opened("chat")
    read.take(body([STAMPED[place] for place in (0, 1, 2, 4, 3, 5, 7)], done=False))

    assert read.stream.deadline == 100 + LONG


def test_a_run_proves_no_stamp_that_nobody_promised() -> None:
    """A count of tokens runs for a while, too: it is not waited for longer."""
    read = opened("chat")
    read.take(body([*STAMPED[:40], STAMPED[41]], done=False))

    assert read.stream.deadline == 100 + SHORT


def test_what_goes_on_after_the_window_of_a_number_in_doubt_goes_on_as_it_came() -> None:
    """The hole is not filled, and the numbers had proved nothing: they are given up, and nothing is lost."""
    read = opened("chat")
    order = [0, 1, 9, 5, 12]
    read.take(body([STAMPED[place] for place in order], done=False))
    assert len(read.gone) == 2

    read.take(b"", SHORT)
    assert numbers([event.payload for event, _ in read.gone]) == order
    read.take(body([STAMPED[place] for place in (20, 17, 15)]), 0.0)
    assert numbers([event.payload for event, _ in read.gone[:-1]]) == [*order, 20, 17, 15]
    assert read.close().counts() == {"sequence_unusable": 1}


def test_the_seconds_that_are_set_are_the_most() -> None:
    """Also for numbers in doubt, where they are fewer than a quarter of a second."""
    for seconds in (0.0, 0.1):
        read = opened("chat", window_seconds=seconds)
        read.take(body([*STAMPED[:3], STAMPED[4]], done=False))
        assert read.stream.deadline == (100 + seconds if seconds else None)


@pytest.mark.parametrize(("bounds", "most"), [({"window_events": 8}, 8), ({"window_bytes": 1000}, 9), ({}, 64)])
@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_the_window_bounds_what_is_held(surface: str, bounds: dict[str, int], most: int) -> None:
    """No stream holds more events, or more bytes, than is set; nor is any lost by that."""
    events, wire = (EVENTS, named) if surface == "responses" else (STAMPED, lambda each: body(each, done=False))
    read = opened(surface, **bounds)
    for at, event in enumerate([*events[:5], *events[6:]], 1):
        read.take(wire([event]))
        assert at - len(read.gone) <= most
    read.close()

    assert numbers([event.payload for event, _ in read.gone]) == [*range(5), *range(6, len(events))]


def test_bytes_that_come_end_an_overdue_wait() -> None:
    """Synchronous code may have no timer: the window is looked at whenever an event comes."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6]]))
    read.clock.now = 103.0
    read.stream.receive(named([EVENTS[7]]))

    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 7]


def test_where_nothing_can_wake_the_reader_what_came_in_one_read_is_put_in_order() -> None:
    """It is let go before the next read, which shows nothing of the numbers: the next read is put in order as well."""
    read = opened("chat")
    for order in ([2, 0, 1], [5, 3, 4], [8, 9], [7, 6, 10]):
        read.take(body([{**STAMPED[place], "mark": place} for place in order], done=False))
        read.stream.let_go()
        assert read.stream.deadline is None

    assert read.close().marks == [0, 1, 2, 3, 4, 5, 8, 9, 7, 6, 10]


def test_the_deadline_is_that_of_the_event_that_came_first() -> None:
    """Not of the one that is next in order."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[8]]))
    read.take(named([EVENTS[6]]), 1.0)

    assert read.stream.deadline == 102.0


def test_the_delay_of_what_was_held_is_measured() -> None:
    """Seconds and places, for the histograms."""
    read = opened()
    read.take(named([*EVENTS[:5], EVENTS[7], EVENTS[6]]))
    read.take(named([EVENTS[5], *EVENTS[8:]]), 0.5)
    report = read.close().report

    assert report is not None
    assert sorted(report.reorder_distances) == [1, 2]
    assert report.reorder_delays == (0.5, 0.5)
    assert (report.reorder_max_distance, report.reorder_max_delay) == (2, 0.5)


def test_places_at_the_start_are_measured_from_the_start() -> None:
    """Whatever its number is."""
    read = opened("chat", Request(n=1))
    events = stamped(said(*WORDS[:9]), "seq", 1000)
    read.take(body([events[2], events[0], events[1], *events[3:]]))
    report = read.close().report

    assert report is not None
    assert report.reorder_distances[0] == 2


def test_what_waited_in_vain_has_no_distance() -> None:
    """It came no places early: what should have come before it never came. It was late all the same."""
    read = opened()
    read.take(named([*EVENTS[:5], EVENTS[7]]))
    read.take(named(EVENTS[8:]), 3.0)
    report = read.close().report

    assert report is not None
    assert (report.reorder_distances, report.reorder_max_distance) == ((), 0)
    assert (report.reorder_delays, report.reorder_max_delay) == ((2.0,), 2.0)


@given(st.sampled_from(SORTS), SEEDS)
@often
def test_nothing_waits_longer_than_the_window(sort: Sort, seed: int) -> None:
    """Whatever is mixed up or lost, and however slow the stream is; and everything goes on once."""
    chance = random.Random(seed)
    order = jitter(len(sort.events), chance.choice([0, 2, 8, 32]), seed)
    for _ in range(chance.randint(0, 3)):
        order.remove(chance.choice(order))
    patience, wires = Patience(), sort.wires()
    for between in (0.01, 0.3, 1.0):
        read = opened(sort.surface, sort.request, patience=patience)
        for place in order:
            read.take(wires[place], chance.uniform(0, 2 * between))
        read.take(sort.done, between)

        assert sorted(read.close().marks) == sorted(order)
        assert read.longest <= LONG + 1e-9


# --- patience


def test_a_straggler_goes_on_at_once() -> None:
    """Too late for the window: handed on when it comes, counted as a repair that failed."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], *EVENTS[6:9]]))
    read.take(named([EVENTS[5], *EVENTS[9:]]), 3.0)
    report = read.close().report

    assert report is not None
    assert numbers([event.payload for event, _ in read.gone]) == [*range(5), 6, 7, 8, 5, *range(9, len(EVENTS))]
    assert report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}
    assert SEQUENCE_GAP not in report.anomalies


def test_a_gap_that_nothing_fills_costs_one_wait() -> None:
    """After a wait in vain the next gap is not waited for: the server loses events, it does not delay them."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6]]))
    read.take(named([EVENTS[7], EVENTS[9]]), 3.0)

    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 7, 9]
    assert read.stream.deadline is None


def test_patience_returns_with_a_straggler() -> None:
    """A wait in vain ends waiting; an event that then comes late shows that it would have paid."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6]]))
    read.take(named([EVENTS[5], EVENTS[8]]), 3.0)

    assert read.stream.deadline == 105.0
    read.take(named([EVENTS[7]]))
    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 5, 7, 8]
    assert read.stream.deadline is None


def test_a_hole_that_was_filled_keeps_patience() -> None:
    """One number is lost among others that are late: the next ones are waited for all the same."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6], EVENTS[5], EVENTS[8]]))  # 7 is lost
    read.take(named([EVENTS[10]]), 3.0)

    assert read.stream.deadline == 105.0
    read.take(named([EVENTS[9]]))
    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]


def test_a_loss_at_the_very_start_is_not_the_last_word() -> None:
    """The protocol's numbers were in doubt when they were waited for in vain; they have counted on since."""
    read = opened()
    read.take(named([EVENTS[0], EVENTS[2]]))
    read.take(named([*EVENTS[3:20], EVENTS[21]]), 1.0)

    assert read.stream.deadline == 101 + LONG


@pytest.mark.parametrize("servers", ["the same", "another model", "another server"])
def test_a_server_whose_holes_never_fill_is_remembered(servers: str) -> None:
    """One wait in a stream, and none in its next ones; what another server does is not known by that."""
    memory = {"gateway": Patience(), "other": Patience()}
    waited = []
    for server in ("gateway", "gateway" if servers == "the same" else "other"):
        read = opened(patience=memory[server])
        for event in [*EVENTS[:30], *EVENTS[31:50], *EVENTS[51:]]:
            read.take(named([event]), 0.1)
        waited.append(read.close().longest)
        assert read.counts() == {"sequence_gap": 2}

    assert waited == [pytest.approx(LONG), 0 if servers == "the same" else pytest.approx(LONG)]


def test_a_server_that_proves_its_numbers_is_trusted_again() -> None:
    """A straggler shows that waiting would have paid, and the next stream waits."""
    patience = Patience()
    for order, waits in (([0, 2, 3], False), ([0, 1, 2, 3, 4, 6, 5, 7], True), ([0, 1, 2, 3, 4, 6], True)):
        read = opened(patience=patience)
        for place in order:
            read.take(named([EVENTS[place]]), 0.3)
        assert (read.stream.deadline is not None) == (waits and order[-1] == 6)


def test_within_one_read_even_the_impatient_put_in_order() -> None:
    """It delays nothing: a server that loses events may mix them up as well."""
    patience = Patience()
    read = opened(patience=patience)
    read.take(named([*EVENTS[:30], EVENTS[31]]))
    read.take(b"", 3.0)
    assert not patience.of("sequence_number").patient

    read = opened(patience=patience)
    read.take(named([EVENTS[1], EVENTS[0], *EVENTS[3:7], EVENTS[2]]))
    assert numbers([event.payload for event, _ in read.gone]) == list(range(7))
    assert read.stream.deadline is None


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


@pytest.mark.parametrize("surface", ["responses", "chat", "completions"])
@pytest.mark.parametrize("junk", JUNK)
def test_numbers_that_are_no_order_change_nothing(junk: str, surface: str) -> None:
    """The order of arrival is kept, nothing is lost or repeated; it costs a short wait in one stream, and none later."""
    plain = {
        "responses": response(message(0, *WORDS)),
        "chat": said(*WORDS)[1:],
        "completions": [*map(completion, WORDS)],
    }
    for between in (0.01, 0.1, 0.3):
        patience = Patience()
        for waits in (SHORT, 0.0):
            chance, read = random.Random(junk), opened(surface, Request(n=1), patience=patience)
            for at, event in enumerate(plain[surface]):
                payload = {**event, "sequence_number": JUNK[junk](at, chance), "mark": at}
                read.take(
                    (named if surface == "responses" else lambda each: body(each, done=False))([payload]), between
                )
            assert read.close().marks == list(range(len(plain[surface])))
            assert read.longest <= waits + 1e-9 or junk == "of all sorts"
            assert read.counts().keys() <= {"sequence_unusable"} or junk == "of all sorts"


def test_it_is_said_once_that_numbers_are_unusable() -> None:
    """Where the protocol promises them, or where they looked like an order for a while; a constant never did."""
    values = {"responses": [0] * 9, "chat": [0, 1, 2, 3, 0, 1, 2, 3, 0], "completions": [0] * 9}
    said = {"responses": response(message(0, *WORDS[:3])), "chat": TEXT, "completions": LEGACY}
    for surface, counts in (("responses", 1), ("chat", 1), ("completions", 0)):
        events = [
            {**event, "sequence_number": value} for event, value in zip(said[surface], values[surface], strict=False)
        ]
        seen = watch(surface, (named if surface == "responses" else body)(events))
        assert seen.report.anomalies.get(SEQUENCE_UNUSABLE, 0) == counts


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_protocol_without_its_numbers_is_unusable(count: int) -> None:
    """However short the stream is."""
    events = response(message(0, *WORDS))[:count]

    assert watch("responses", named(events)).report.anomalies[SEQUENCE_UNUSABLE] == 1
    assert opened().close().counts() == {}


@pytest.mark.parametrize("number", [7, 9])
def test_the_same_number_with_another_payload_ends_a_wait(number: int) -> None:
    """Nothing is dropped, and what waited goes on as it came."""
    other = {**EVENTS[20], "sequence_number": number}
    seen = watch("responses", named([*EVENTS[:5], EVENTS[7], EVENTS[9], other, *EVENTS[10:]]))

    assert numbers(seen.payloads) == [*range(5), 7, 9, number, *range(10, len(EVENTS))]
    assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.UNVERIFIED}


def test_a_number_that_was_taken_while_order_is_intact_does_not_end_it() -> None:
    """A gateway's own chunk under its neighbor's number: three of them pass, and the fourth ends the trust."""
    for count in (3, 4):
        others = [{**STAMPED[20], "sequence_number": number} for number in range(6, 6 + count)]
        seen = watch("chat", body([*STAMPED[:20], *others, STAMPED[21], STAMPED[20], *STAMPED[22:]]))

        assert (SEQUENCE_OUT_OF_ORDER in seen.report.anomalies) == (count == 3)
        assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1
        assert len(seen.payloads) == len(STAMPED) + count
        assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.UNVERIFIED}


def test_a_keep_alive_may_have_any_number() -> None:
    """It is no part of the answer: a number that was taken, or far off, says nothing of the others."""
    noise = [{"type": "keepalive", "sequence_number": number} for number in (0, 0, 0, 0, 0, 10**9, 2 * 10**9)]
    seen = watch("responses", named([*EVENTS[:20], *noise, EVENTS[21], EVENTS[20], *EVENTS[22:]]))

    assert [each["sequence_number"] for each in seen.payloads if each["type"] != "keepalive"] == numbers(EVENTS)
    assert seen.report.anomalies.get(SEQUENCE_UNUSABLE) is None
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.VERIFIED}


def test_a_number_beyond_any_window_is_not_waited_for() -> None:
    """One of them passes, and the others are in order all the same, up to it and on from it."""
    far = {**EVENTS[90], "mark": 90}
    marked = [{**event, "mark": event["sequence_number"]} for event in EVENTS]
    read = opened()
    read.take(named([*marked[:10], far, marked[11], marked[10], *marked[12:90], *marked[91:]]))

    assert read.close().marks == [*range(10), 90, *range(10, 90), *range(91, len(EVENTS))]
    assert read.counts() == {"sequence_out_of_order": 2}


def test_numbers_that_jump_ahead_for_good_are_gone_by_from_there() -> None:
    """A hundred events were lost at once: one gap."""
    jumped = [
        {**event, "sequence_number": event["sequence_number"] + 100 * (place >= 20)}
        for place, event in enumerate(EVENTS)
    ]
    seen = watch("responses", named([*jumped[:30], jumped[31], jumped[30], *jumped[32:]]))

    assert numbers(seen.payloads) == numbers(jumped)
    assert seen.report.anomalies.get(SEQUENCE_GAP) == 1


def test_an_id_line_counts_until_the_next_one() -> None:
    """A frame without one has the id of the frame before it: it is not the number again."""
    chunks = said(*WORDS[:12])
    parts = [sse({**each, "mark": place}, id=place) for place, each in enumerate(chunks)]
    other = sse(chunk({"content": "!"}))
    wire = b"".join([*parts[:9], other, parts[10], other, other, parts[9], other, *parts[11:]]) + DONE
    seen = watch("chat", wire)

    assert [each.get("mark") for each in seen.payloads] == [*range(9), None, 9, 10, None, None, None, *range(11, 14)]
    assert seen.report.anomalies.get(SEQUENCE_UNUSABLE) is None


def test_numbers_that_come_at_last_are_gone_by() -> None:
    """A gateway's own frames come first, without any: a few of them are waited through, eight are too many."""
    for count, sorts in ((0, True), (7, True), (8, False)):
        wire = body([{"type": "ping"}] * count + [STAMPED[place] for place in (0, 2, 1, *range(3, 14))])
        assert (numbers(watch("chat", wire).payloads[count:]) == list(range(14))) == sorts


def test_an_answer_that_begins_without_a_stamp_has_none() -> None:
    """So an ordinary stream is through with it after one chunk."""
    stream = StreamWatch("chat")
    stream.receive(body(TEXT[1:3], done=False))

    assert stream._reorder.idle


# --- duplicates


@given(SEEDS, st.lists(st.integers(5, len(EVENTS) - 2), max_size=20))
@often
def test_repeated_events_are_handed_on_once(seed: int, repeated: list[int]) -> None:
    """A relay that sends again what it has sent, at once or later: every event once, and in order."""
    chance, events = random.Random(seed), list(EVENTS)
    for number in repeated:
        at = next(at for at, event in enumerate(events) if event["sequence_number"] == number)
        events.insert(chance.randint(at + 1, min(at + 30, len(events) - 1)), EVENTS[number])
    seen = watch("responses", named(events))

    assert numbers(seen.payloads) == numbers(EVENTS)
    assert seen.report.anomalies.get(SEQUENCE_DUPLICATE, 0) == len(repeated)


@given(st.sampled_from([sort for sort in SORTS if sort.member != "id" or "noroles" not in sort.name]), SEEDS)
@often
def test_a_relay_that_resumes_sends_again_what_it_sent(sort: Sort, seed: int) -> None:
    """From any place back to any other one before it: what came before is dropped."""
    chance, count = random.Random(seed), len(sort.events)
    end = chance.randint(3, count)
    order = [*range(end), *range(chance.randint(0, end - 1), count)]
    read = mixed(sort, order, chance.choice([None, 0.0]))

    assert read.marks == list(range(count))
    assert read.counts() == {"sequence_duplicate": len(order) - count}
    assert read.report is not None
    assert read.report.outcomes[SEQUENCE_DUPLICATE] == {Outcome.VERIFIED: len(order) - count}


def test_a_duplicate_while_the_numbers_are_in_doubt_is_dropped_once_they_are_proved() -> None:
    """It stands beside what was held already."""
    order = [3, 1, 1, 3, 0, 2, 4, 5, 6]
    read = opened("chat")
    for place in order:
        read.take(sse({**STAMPED[place], "mark": place}))
    report = read.close().report

    assert read.marks == list(range(7))
    assert report is not None
    assert report.anomalies[SEQUENCE_DUPLICATE] == 2


@pytest.mark.parametrize("again", ["at once", "while another waits"])
def test_duplicates_can_be_let_pass(again: str) -> None:
    """`-sequence_duplicate`: counted, and handed on."""
    order = [*range(6), 5, 3, *range(6, 12)] if again == "at once" else [*range(6), 7, 3, 6, *range(8, 12)]
    seen = watch("responses", named([EVENTS[place] for place in order]), "default,-sequence_duplicate")

    assert sorted(numbers(seen.payloads)) == sorted(order)
    assert seen.report.anomalies[SEQUENCE_DUPLICATE] == len(order) - 12
    assert seen.outcome(SEQUENCE_DUPLICATE) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize(
    "values", [[0, 0, 1, 1, 2, 2, 3, 3], [5, 5, 5, 5], [1_700_000_000, 1_700_000_000, 1_700_000_001]]
)
def test_equal_chunks_under_a_number_that_stands_still_are_no_duplicates(values: list[int]) -> None:
    """A model that says the same word again and again, stamped with what is no order."""
    chunks = [{**chunk({"content": "ha "}), "seq": value} for value in values for _ in range(2)]

    assert len(watch("chat", body([*chunks, *TEXT])).payloads) == len(chunks) + len(TEXT)


@pytest.mark.parametrize("run", [2, 3, 4])
def test_a_number_that_has_counted_to_three_knows_a_duplicate(run: int) -> None:
    """After three the same chunk again is a duplicate, and another one under its number gives the stamp up."""
    chunks = stamped(said(*WORDS[:9]))
    other = {**chunks[7], "sequence_number": run - 1}
    twice = watch("chat", body([*chunks[:run], chunks[run - 1], *chunks[run:]]))
    wrong = watch("chat", body([*chunks[:run], other, *chunks[run:]]))

    assert (SEQUENCE_DUPLICATE in twice.report.anomalies) == (run >= 3)
    assert (SEQUENCE_UNUSABLE in wrong.report.anomalies) == (run >= 3)
    assert numbers(wrong.payloads) == [*range(run), run - 1, *range(run, 11)]


def test_a_duplicate_is_not_known_for_ever() -> None:
    """What came more than 4096 events ago may have been anything: it passes, and is counted."""
    events = stamped(said(*(str(number) for number in range(5000))))
    near, far = (watch("chat", body([*events[:-1], events[place], events[-1]])) for place in (4900, 10))

    assert near.report.anomalies[SEQUENCE_DUPLICATE] == 1
    assert SEQUENCE_DUPLICATE not in far.report.anomalies
    assert far.report.anomalies[SEQUENCE_UNUSABLE] == 1


# --- gaps and stragglers


@given(st.sets(st.integers(4, len(WORDS)), max_size=12))
@often
def test_lost_events_are_gaps_and_hold_nobody_back(lost: set[int]) -> None:
    """Everything that came is handed on, in order, and each run of numbers that never came is one gap."""
    came = [event for event in EVENTS if event["sequence_number"] not in lost]
    seen = watch("responses", named(came))

    assert numbers(seen.payloads) == numbers(came)
    assert seen.report.anomalies.get(SEQUENCE_GAP, 0) == sum(number - 1 not in lost for number in lost)


@given(st.sets(st.integers(4, len(WORDS)), max_size=5))
@often
def test_lost_chunks_are_gaps_where_the_stamp_counts(lost: set[int]) -> None:
    """A stamp that nobody promised, and that lost a few: the same."""
    came = [event for event in STAMPED if event["sequence_number"] not in lost]
    seen = watch("chat", body(came))

    assert numbers(seen.payloads) == numbers(came)
    assert seen.report.anomalies.get(SEQUENCE_GAP, 0) == sum(number - 1 not in lost for number in lost)


@pytest.mark.parametrize("stragglers", [[5], [9], [7], [7, 6, 8], [9, 5, 7, 6, 8], [5, 6, 7, 8, 9]], ids=str)
def test_stragglers_into_any_part_of_a_gap_are_known(stragglers: list[int]) -> None:
    """5 to 9 were given up: each of them goes on when it comes, and what never comes makes gaps around it."""
    missing = set(range(5, 10)) - set(stragglers)
    wire = named([*EVENTS[:5], EVENTS[10], *(EVENTS[number] for number in stragglers), *EVENTS[11:]])
    seen = watch("responses", wire, window_events=1)

    assert numbers(seen.payloads) == [*range(5), 10, *stragglers, *range(11, len(EVENTS))]
    assert seen.report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: len(stragglers)}
    gaps = sum(number - 1 not in missing for number in missing)
    assert seen.report.anomalies.get(SEQUENCE_GAP, 0) == gaps
    assert not {kind.name for kind in seen.report.anomalies} & {"sequence_unusable", "sequence_duplicate"}


def test_a_straggler_that_comes_twice_is_a_duplicate() -> None:
    """It is known as well as what came in its turn."""
    wire = named([*EVENTS[:5], EVENTS[7], EVENTS[5], EVENTS[5], *EVENTS[8:]])
    seen = watch("responses", wire, window_events=1)

    assert numbers(seen.payloads) == [*range(5), 7, 5, *range(8, len(EVENTS))]
    assert seen.report.anomalies[SEQUENCE_DUPLICATE] == 1


@pytest.mark.parametrize("missing", [0, 2])
def test_what_comes_after_its_stream_has_begun_is_a_straggler(missing: int) -> None:
    """The first chunk said that it was the first, and was not: the smaller number passes at once."""
    chunks = stamped(said(*WORDS[:12]))
    order = [3, missing, *range(4, 14)]
    seen = watch("chat", body([{**chunks[0], "sequence_number": 3}, *(chunks[place] for place in order[1:])]))

    assert numbers(seen.payloads) == order
    assert seen.report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}


def test_numbers_that_go_down_from_the_start_are_none() -> None:
    """A single smaller number may be what was missing; a countdown is not."""
    chunks = [{**each, "seq": 100 - place} for place, each in enumerate(said(*WORDS[:12]))]
    seen = watch("chat", body(chunks))

    assert [each["seq"] for each in seen.payloads] == [100 - place for place in range(14)]
    assert SEQUENCE_OUT_OF_ORDER not in seen.report.anomalies


def test_what_came_beside_a_gap_is_not_what_is_missing() -> None:
    """6 was lost: 5 or 7 again is a duplicate."""
    for late in (5, 7):
        wire = named([*EVENTS[:6], *EVENTS[7:9], EVENTS[late], *EVENTS[9:]])
        seen = watch("responses", wire, window_events=1)

        assert numbers(seen.payloads) == [*range(6), *range(7, len(EVENTS))]
        assert seen.report.anomalies[SEQUENCE_DUPLICATE] == 1
        assert seen.report.anomalies[SEQUENCE_GAP] == 1


def test_the_terminal_event_again_is_a_duplicate() -> None:
    """As any other one."""
    seen = watch("responses", named([*EVENTS, EVENTS[-1]]))

    assert seen.payloads == EVENTS
    assert seen.report.anomalies == {SEQUENCE_DUPLICATE: 1}


# --- the policy, and what is proved


def test_without_the_kind_nothing_is_held() -> None:
    """`-sequence_out_of_order`: counted, and handed on as it came, the start included."""
    for order in ([*range(5), 6, 5, *range(7, 14)], [1, 0, *range(2, 14)]):
        read = opened(repair="default,-sequence_out_of_order")
        for place in order:
            read.take(named([{**EVENTS[place], "mark": place}]))
        report = read.close().report

        assert read.marks == order
        assert read.longest == 0
        assert report is not None
        assert report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.UNREPAIRED: 1}
    assert all(kind in KINDS for kind in read.counts())


def test_numbers_that_were_given_up_prove_nothing() -> None:
    """What was put in order before is neither right nor wrong by them."""
    wrong = [{**STAMPED[20], "sequence_number": number} for number in range(4)]
    order = [0, 2, 1, *range(3, 9)]
    seen = watch("chat", body([*(STAMPED[place] for place in order), *wrong, *STAMPED[9:]]))

    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.UNVERIFIED}


def test_a_gap_leaves_the_order_of_the_rest_unproved() -> None:
    """It is neither right nor wrong by what never came."""
    chunks = [STAMPED[place] for place in (0, 1, 2, 4, 3, 5, 6, 7, *range(9, len(STAMPED)))]

    assert watch("chat", body(chunks)).outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize(("waits", "outcome"), [(True, Outcome.UNVERIFIED), (False, Outcome.VERIFIED)])
def test_a_stream_that_is_left_while_an_event_waits_proves_nothing(waits: bool, outcome: Outcome) -> None:
    """Whether the missing ones would have come is not known."""
    stream = opened().stream
    stream.receive(named([*EVENTS[:5], EVENTS[6], EVENTS[5], *([EVENTS[9]] if waits else [])]))
    stream.close(abandoned=True)

    assert stream.report().outcomes[SEQUENCE_OUT_OF_ORDER] == {outcome: 1}


# --- whatever fails

CORE = Path(streamwatch.core.__file__).parent
STAGE = {str(CORE / f"{name}.py") for name in ("answer_parts", "candidates", "patience", "reorder", "sequence")}


class OurOwn(Exception):
    """What fails."""


def failing_at(left: int) -> Any:
    """A trace function that raises at one line of the stage, `pending` apart."""

    def line(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if not left:
            raise OurOwn
        return line

    def call(frame: FrameType, event: str, _argument: Any) -> Any:
        code = frame.f_code
        return line if code.co_filename in STAGE and code.co_name != "pending" else None

    return call


@given(st.sampled_from(SORTS), SEEDS)
@hypothesis_settings(max_examples=300, deadline=None)
def test_nothing_is_lost_at_any_line_of_the_stage(sort: Sort, seed: int) -> None:
    """What went on, what is pending and what is being pushed is all that came, once; what is pending, as it came."""
    chance = random.Random(seed)
    order = jitter(len(sort.events), chance.choice([2, 8]), seed)
    order += [chance.choice(order)]  # one event again
    wires = sort.wires()
    events = reference(b"".join(wires[place] for place in order) + sort.done)
    stage = StreamWatch(sort.surface, sort.request, settings(window_events=chance.choice([5, 64])))._reorder
    for event in events:
        event.payload = None if event.raw == b"[DONE]" else json.loads(event.raw)
    went: list[Event] = []
    came: list[Event] = []
    tracing = sys.gettrace()
    sys.settrace(failing_at(chance.randint(1, 3000)))
    try:
        for event in events:
            came.append(event)
            went += taken(stage.push(event))
            went += taken(stage.expire(chance.choice([0.0, float("inf")])))
        went += taken(stage.flush())
    except OurOwn:
        pass
    finally:
        sys.settrace(tracing)
    pending = stage.pending()
    left = dict.fromkeys([*pending, came[-1]])

    assert pending == [event for event in came if event in set(pending)]
    assert not set(pending) & set(went)
    repeated = Counter(event.raw for event in came) - Counter(event.raw for event in dict.fromkeys([*went, *left]))
    assert set(repeated) <= {wires[order[-1]].partition(b"data: ")[2][:-2]}  # but for the one that was a duplicate


def taken(events: Any) -> list[Event]:
    """What a stage returns, taken out of its list as the driver does."""
    if isinstance(events, tuple):
        return list(events)
    taken = []
    while events:
        taken.append(events.pop(0))
    return taken


# --- what it costs


def test_time_is_linear_in_the_events() -> None:
    """Mixed up, full of holes, or numbered by junk: steps of the stage, for each event, do not grow with the stream."""
    for junk in ("few", "even", "tokens", "random", "jitter"):
        steps = []
        for count in (500, 2000):
            chance = random.Random(junk)
            order = jitter(count, 30, junk) if junk == "jitter" else [JUNK[junk](at, chance) for at in range(count)]
            events = [Event("", json.dumps(number).encode()) for number in order]
            for event, number in zip(events, order, strict=True):
                event.payload = {"seq": number, "choices": [{"delta": {"content": "x"}}]}
            stage = StreamWatch("chat", clock=lambda: 0.0)._reorder
            seen = 0

            def call(frame: FrameType, event: str, _argument: Any) -> Any:
                nonlocal seen
                seen += frame.f_code.co_filename in STAGE
                return None

            tracing = sys.gettrace()
            sys.settrace(call)
            for event in events:
                taken(stage.push(event))
            taken(stage.flush())
            sys.settrace(tracing)
            steps.append(seen / count)
        assert steps[1] <= 1.5 * steps[0] + 1, junk


def test_what_is_kept_of_a_stream_is_bounded() -> None:
    """Numbers that never repeat, and holes without end."""
    stage = StreamWatch("responses", clock=lambda: 0.0)._reorder
    for number in [*range(100), *(200 + 3 * at for at in range(20_000))]:
        event = Event("", str(number).encode())
        event.payload = {"sequence_number": number, "item_id": "x"}
        taken(stage.push(event))
        assert len(stage.pending()) <= 64
    kept = stage._numbers

    assert len(kept.digests) <= 4096
    assert len(kept._gaps) <= 256
