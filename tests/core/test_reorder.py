"""Numbered events are put in order, whatever their sort and wherever they are mixed; and nothing healthy waits."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import streamwatch.core
from helpers.numbered import (
    EVENTS,
    JUNK,
    LEGACY,
    LONG,
    READS,
    SEEDS,
    SHORT,
    SORTS,
    STAMPED,
    TEXT,
    TWO,
    WORDS,
    Sort,
    jitter,
    late,
    mixed,
    numbers,
    often,
    opened,
)
from helpers.quick import examples, sample
from helpers.stream_builders import (
    DONE,
    body,
    bytewise,
    completion,
    message,
    named,
    numbered,
    reference,
    response,
    said,
    settings,
    sse,
    stamped,
    watch,
)
from streamwatch.core.kinds import SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER, SEQUENCE_UNUSABLE
from streamwatch.core.patience import Patience
from streamwatch.core.report import Request
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.unnumbered import UNNUMBERED
from streamwatch.core.vocabulary import Outcome, Verdict

_EACH_SORT = pytest.mark.parametrize("sort", SORTS, ids=repr)

# --- the order bar


@pytest.mark.quick_cases(7)
@_EACH_SORT
@pytest.mark.parametrize("between", READS.values(), ids=READS)
def test_one_event_late_at_any_place_is_put_in_order(sort: Sort, between: float | None) -> None:
    """By one place, two or three, the first event and the last one included."""
    count = len(sort.events)
    for by in (1, 2, 3):
        for place in sample(range(count - by), 4):
            read = mixed(sort, late(count, place, by), between)
            assert read.marks == list(range(count)), (place, by)
            assert read.report is not None
            assert read.report.outcomes[SEQUENCE_OUT_OF_ORDER].keys() == {Outcome.VERIFIED}


@pytest.mark.quick_cases(10)
@_EACH_SORT
@pytest.mark.parametrize("places", [2, 4, 8, 16, 32])
def test_jitter_is_put_in_order(sort: Sort, places: int) -> None:
    """Every event late by some places, at once: in one read, and an event a read."""
    count = len(sort.events)
    for seed, between in itertools.product(range(examples(5, 1)), READS.values()):
        order = jitter(count, places, (sort.name, seed))
        assert mixed(sort, order, between).marks == list(range(count)), order


@pytest.mark.quick_cases(14)
@_EACH_SORT
def test_frames_without_a_number_do_not_matter(sort: Sort) -> None:
    """Keep-alives, comments and a vendor's own frames, anywhere between numbered events that are mixed up."""
    count = len(sort.events)
    for seed in range(examples(20, 2)):
        chance = random.Random(f"{sort.name} {seed}")
        order = jitter(count, chance.choice([0, 2, 8]), (sort.name, seed))
        read = mixed(sort, order, chance.choice([None, 0.0]), noise=chance)
        assert read.marks == list(range(count)), order


@pytest.mark.quick_cases(14)
@_EACH_SORT
def test_one_number_lost_besides_costs_nothing_else(sort: Sort) -> None:
    """All that came is there, and in order."""
    count = len(sort.events)
    for seed in range(examples(20, 2)):
        chance = random.Random(f"{sort.name} {seed} lost")
        order = jitter(count, chance.choice([2, 8]), (sort.name, seed))
        order.remove(chance.randrange(count))
        assert mixed(sort, order, chance.choice([None, 0.0])).marks == sorted(order), order


@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort.done], ids=repr)
def test_what_is_held_goes_on_before_done(sort: Sort) -> None:
    """[DONE] overtakes the last events: no release of the SDK reads them, and what came before it is in order."""
    count = len(sort.events)
    wires = sort.wires()
    read = opened(sort.api, sort.request)
    for part in [*wires[: count - 3], wires[-1], DONE, *wires[count - 3 : -1]]:
        read.take(part)
    read.close()

    assert read.marks == [*range(count - 3), count - 1]
    assert read.gone[-1][0].data == "[DONE]"


@given(SEEDS, st.integers(1, 60))
@often
def test_events_that_come_late_within_the_window_are_put_in_order(seed: int, most: int) -> None:
    """Whatever the disorder, while no event is later than the window: in order, and proved to be."""
    for api, events in (("responses", EVENTS), ("chat", STAMPED)):
        order = jitter(len(events), most, seed)
        wire = (named if api == "responses" else body)([events[place] for place in order])
        seen = watch(api, wire, request=Request(n=1))

        assert numbers(seen.payloads) == numbers(events)
        assert seen.report.verdict is Verdict.COMPLETE
        assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.VERIFIED}
        assert seen.faults <= {"sequence_out_of_order"}


@given(SEEDS, st.integers(2, 300))
@often
def test_nothing_is_lost_or_repeated_beyond_the_window(seed: int, most: int) -> None:
    """A disorder greater than any window: each event is handed on once all the same."""
    for api, events in (("responses", EVENTS), ("chat", STAMPED)):
        marked = [{**event, "mark": event["sequence_number"]} for event in events]
        disorder = [*(marked[place] for place in jitter(len(events) - 1, most, seed)), marked[-1]]
        seen = watch(api, (named if api == "responses" else body)(disorder), window_events=5)

        assert sorted(each["mark"] for each in seen.payloads if "mark" in each) == numbers(events)


@given(SEEDS)
@often
def test_numbers_that_only_rise_go_on_as_they_came(seed: int) -> None:
    """Whatever is lost between them, near or far: what came is in order."""
    chance = random.Random(seed)
    for api, events in (("responses", EVENTS), ("chat", STAMPED)):
        number, wire = -1, []
        for mark, event in enumerate(events[:6] + chance.sample(events[6:-1], 20) + events[-1:]):
            number += chance.choice([1, 1, 1, 1, chance.randrange(2, 20), chance.randrange(60, 300)]) if mark else 1
            wire.append({**event, "sequence_number": number, "mark": mark})
        read = opened(api, Request(n=1))
        for part in wire:
            read.take(named([part]) if api == "responses" else sse(part), chance.choice([0.0, 0.0, 0.1, 3.0]))

        assert read.close().marks == list(range(len(wire))), [part["sequence_number"] for part in wire]


def test_a_terminal_event_waits_for_what_belongs_before_it() -> None:
    """So nothing comes behind the end."""
    order = [*range(40), len(EVENTS) - 1, *range(40, len(EVENTS) - 1)][: len(EVENTS)]
    seen = watch("responses", named([EVENTS[place] for place in order]))

    assert numbers(seen.payloads) == numbers(EVENTS)


def test_a_straggler_after_the_terminal_event_is_not_lost() -> None:
    """An event whose number is still missing belongs to this response, however late it comes."""
    seen = watch("responses", named([*EVENTS[:5], *EVENTS[6:], EVENTS[5]]), window_events=5)

    assert sorted(numbers(seen.payloads)) == numbers(EVENTS)


@pytest.mark.parametrize("api", ["assistants", "images", "other", "transcriptions"])
def test_what_nobody_knows_stays_as_it_is(api: str) -> None:
    """Numbers mean something where the protocol promises them, or where relays are known to stamp them."""
    order = [0, 3, 1, 2, *range(4, 14)]
    wire = body([STAMPED[place] for place in order])

    assert numbers(watch(api, wire).payloads) == order
    assert not [kind for kind in watch(api, wire).report.anomalies if kind.name.startswith("sequence_")]


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


_WITH_ROOM = [sort for sort in SORTS if sort.api != "responses" and sort.member not in ("index", "chunk_index", "id")]


@pytest.mark.quick_cases(7)
@pytest.mark.parametrize("sort", _WITH_ROOM, ids=repr)
@pytest.mark.parametrize("extra", ["constant", "of the choice", "of arrival", "of tokens", "the same"])
def test_of_several_fields_the_one_that_orders_is_gone_by(sort: Sort, extra: str) -> None:
    """A constant, a count of each choice, the relay's own count of what it delivers, or of tokens, beside the order."""
    count = len(sort.events)
    of_choice = [sum(_choice(sort, other) == _choice(sort, at) for other in range(at)) for at in range(count)]
    others = {"constant": lambda at: 0, "of the choice": of_choice.__getitem__, "of tokens": lambda at: 3 * at + 7}
    for seed in range(examples(10, 4)):
        order = jitter(count, [0, 2, 3, 8][seed % 4], (sort.name, extra, seed))
        wires = sort.wires()
        read = opened(sort.api, sort.request)
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


def test_a_number_that_turns_out_to_be_none_makes_room_for_another_one() -> None:
    """A constant comes first; the stamp begins with the second chunk, and is gone by from there."""
    stamps = [
        {"index": 0},
        {"index": 0, "seq": 1},
        {"seq": 2},
        {"seq": 4},
        {"seq": 3},
        *({"seq": at} for at in range(5, 14)),
    ]
    places = [0, 1, 2, 4, 3, *range(5, 14)]
    seen = watch("chat", body([{**said(*WORDS[:12])[at], **stamp, "mark": at} for at, stamp in zip(places, stamps)]))

    assert [each["mark"] for each in seen.payloads] == list(range(14))


def test_several_numbers_that_are_none_are_all_given_up() -> None:
    """What was held for them goes on as it came."""
    values = [(5, 9), (3, 9), (5, 4), (8, 8)]
    read = opened("completions")
    for mark, (index, seq) in enumerate(values):
        read.take(sse({**completion(WORDS[mark]), "index": index, "seq": seq, "mark": mark}))

    assert read.close().marks == [0, 1, 2, 3]


def test_of_two_numbers_that_were_waited_for_in_vain_the_better_one_is_kept() -> None:
    """Tokens and chunks are counted side by side, and the stream does not say where it begins: one short wait."""
    patience, waited = Patience(), []
    for _ in range(2):
        read = opened("completions", patience=patience)
        order = [*range(15), 16, 15, *range(17, 30)]
        for place in order:
            read.take(sse({**completion(WORDS[place]), "index": 3 * place + 7, "seq": place, "mark": place}), 0.05)
        waited.append(read.close().longest)
        assert read.marks == list(range(30))

    assert waited == [pytest.approx(SHORT), pytest.approx(0.05)]


def test_frames_between_events_that_two_numbers_order_keep_their_places() -> None:
    """Behind all that came before them."""
    ping = sse({"type": "ping"})
    read = opened("chat", Request(n=1))
    wires = [sse({**each, "seq": at, "index": at, "mark": at}) for at, each in enumerate(TEXT)]
    for part in (wires[2], ping, wires[0], wires[1], ping, *wires[3:]):
        read.take(part)
    read.close()

    assert [event.payload.get("mark") for event, _ in read.gone] == [0, 1, 2, None, None, *range(3, 14)]


# --- a healthy stream never waits


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("sort", [sort for sort in SORTS if sort.says_its_start], ids=repr)
def test_nothing_is_held_while_order_is_intact(sort: Sort) -> None:
    """Every event of a healthy numbered stream goes on as soon as its last byte has come, from the first one on."""
    read = opened(sort.api, sort.request)
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
        first = opened(sort.api, sort.request)
        for wire in sort.wires():
            first.take(wire, between)
        assert first.close().marks == list(range(len(sort.events)))
        assert first.longest <= SHORT
        assert sum(waited > 0 for _, waited in first.gone) <= 8
        assert not first.counts()

        again = opened(sort.api, sort.request, patience=patience)
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


@pytest.mark.parametrize("every", [2, 3, 4])
def test_a_stream_that_is_said_twice_stays_whole_where_some_events_have_no_number(every: int) -> None:
    """To drop those that have one would leave the others: half of a text, behind the whole."""
    events = numbered(response(message(0, *WORDS[:9])))
    wire = [
        {name: value for name, value in event.items() if name != "sequence_number" or (at + again) % every}
        for again in (0, 1)
        for at, event in enumerate(events, 1)
    ]
    seen = watch("responses", named(wire))

    assert seen.payloads == wire


@pytest.mark.parametrize("hole", [10, 77, 500])
def test_a_repeat_is_known_behind_a_hole_of_any_width(hole: int) -> None:
    """A server that says all again, numbers and all: none of it, or nothing else, would be left."""
    events = numbered(response(message(0, "One")))
    wire = [{**event, "sequence_number": at + hole * (at > 2)} for at, event in enumerate(events)]
    seen = watch("responses", named([*wire, *wire]))

    assert seen.payloads == wire


@pytest.mark.parametrize("glitch", range(0, 60, 7))
def test_a_countdown_with_a_glitch_is_no_order(glitch: int) -> None:
    """What counts down counts what is left; another number of the same stream is in order."""
    wire = [{**event, "sequence_number": 1000 - at, "seq": at} for at, event in enumerate(said(*WORDS))]
    wire[glitch : glitch + 2] = reversed(wire[glitch : glitch + 2])
    seen = watch("chat", body(wire))

    assert [payload["seq"] for payload in seen.payloads] in (list(range(len(wire))), [each["seq"] for each in wire])


@pytest.mark.parametrize("modulus", [5, 9, 12])
@pytest.mark.parametrize("start", [2, 3])
def test_a_count_that_begins_anew_goes_before_no_announcement(modulus: int, start: int) -> None:
    """Its numbers look like those of a start that comes late, but for an item that would be announced after its text."""
    events = response(message(0, *WORDS[:9]))
    wrong = [{**event, "sequence_number": (at + start) % modulus} for at, event in enumerate(events[2:])]
    seen = watch("responses", named(wrong))

    assert seen.payloads == wrong
    assert Outcome.VERIFIED not in seen.outcome(SEQUENCE_OUT_OF_ORDER)


def test_a_background_response_that_may_be_resumed_is_not_waited_for() -> None:
    """Nothing is known of the request: it may have asked for what comes after 1."""
    events = numbered(response(message(0, *WORDS[:4])))
    background = {**events[1], "response": {**events[1]["response"], "background": True}}
    for request, waits in ((Request(), False), (Request(n=1), True)):
        read = opened(request=request)
        read.take(named([background]))
        assert (not read.gone) == waits


def test_a_start_below_the_known_one_is_found_as_well() -> None:
    """Streams of this server began with 5 so far; this one begins with 3."""
    patience = Patience()
    patience.of("seq").starts = 5
    read = opened("completions", patience=patience)
    for place in (4, 0, 1, 3, 2, *range(5, 12)):
        read.take(sse({**LEGACY[place], "seq": 3 + place, "mark": place}))

    assert read.close().marks == list(range(12))


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
    for api, wire in (("responses", named), ("chat", body)):
        events = EVENTS if api == "responses" else STAMPED
        read = opened(api)
        passed = 1 if api == "responses" else 3
        read.take(wire([*events[:passed], events[passed + 1]], **({} if api == "responses" else {"done": False})))
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
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_the_window_bounds_what_is_held(api: str, bounds: dict[str, int], most: int) -> None:
    """No stream holds more events, or more bytes, than is set; nor is any lost by that."""
    events, wire = (EVENTS, named) if api == "responses" else (STAMPED, lambda each: body(each, done=False))
    read = opened(api, **bounds)  # type: ignore[arg-type]
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


def test_what_was_let_go_as_it_came_is_no_evidence() -> None:
    """Nothing was waited for: the numbers go on from there, and prove themselves by what comes."""
    read = opened("chat")
    for order in ([0, 9, 5, 12], list(range(13, 20)), [21, 20, 22]):
        read.take(body([{**STAMPED[place], "mark": place} for place in order], done=False))
        read.stream.let_go()

    assert read.close().marks == [0, 9, 5, 12, *range(13, 23)]
    assert read.counts() == {"sequence_out_of_order": 1}


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
        read = opened(sort.api, sort.request, patience=patience)
        for place in order:
            read.take(wires[place], chance.uniform(0, 2 * between))
        read.take(sort.done, between)

        assert sorted(read.close().marks) == sorted(order)
        assert read.longest <= LONG + 1e-9


def test_what_comes_too_late_while_others_wait_goes_on_at_once() -> None:
    """Its place was given up; theirs were not."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6], EVENTS[5], EVENTS[8]]))
    read.take(named([EVENTS[10]]), 3.0)
    read.take(named([EVENTS[7]]))

    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 5, 6, 8, 7]
    assert read.stream.deadline == 105.0


@pytest.mark.slow
def test_the_delays_that_are_kept_are_bounded() -> None:
    """A stream with more is described well enough; the longest one is always known."""
    events = stamped(said(*(str(number) for number in range(4000))))
    order = [place for pair in range(0, 4002, 2) for place in (pair + 1, pair)]
    read = opened("chat", Request(n=1))
    for place in order:
        read.take(sse(events[place]), 0.001)
    report = read.close().report

    assert report is not None
    assert len(report.reorder_delays) == 1024 >= len(report.reorder_distances) > 1000
    assert report.reorder_max_distance >= 1


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
@hypothesis_settings(max_examples=examples(300), deadline=None)
def test_nothing_is_lost_at_any_line_of_the_stage(sort: Sort, seed: int) -> None:
    """What went on, what is pending and what is being pushed is all that came, once; what is pending, as it came."""
    chance = random.Random(seed)
    order = jitter(len(sort.events), chance.choice([2, 8]), seed)
    order += [chance.choice(order)]  # one event again
    wires = sort.wires()
    events = reference(b"".join(wires[place] for place in order) + sort.done)
    stage = StreamWatch(sort.api, sort.request, settings(window_events=chance.choice([5, 64])))._reorder
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


@pytest.mark.slow
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


def test_the_stage_of_streams_without_numbers_hands_on_what_comes() -> None:
    """It is a stage like the other one, and one for all streams: it keeps nothing."""
    events = [Event("{}", b"{}"), Event("[DONE]", b"[DONE]")]

    assert [UNNUMBERED.push(event) for event in events] == [(event,) for event in events]
    assert (UNNUMBERED.pending(), UNNUMBERED.deadline, list(UNNUMBERED.flush())) == ([], None, [])
    assert list(UNNUMBERED.expire(1e9)) == []


def test_what_is_kept_of_a_stream_is_bounded() -> None:
    """Numbers that never repeat, and holes without end."""
    stage = StreamWatch("responses", clock=lambda: 0.0)._reorder
    for number in [*range(100), *(200 + 3 * at for at in range(20_000))]:
        event = Event("", str(number).encode())
        event.payload = {"sequence_number": number, "item_id": "x"}
        taken(stage.push(event))
        assert len(stage.pending()) <= 64
    kept = stage._numbers  # type: ignore[union-attr]

    assert len(kept.digests) <= 4096
    assert len(kept._gaps) <= 256
