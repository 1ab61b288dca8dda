"""Numbered events: in order while that can be had, and never lost or repeated."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from wires import Payload, answered, body, bytewise, named, numbered, response, said, settings, sse, stamped, watch

from streamwatch.core.kinds import (
    KINDS,
    SEQUENCE_DUPLICATE,
    SEQUENCE_GAP,
    SEQUENCE_OUT_OF_ORDER,
    SEQUENCE_UNUSABLE,
    STREAM_SPLICED,
    Outcome,
    Verdict,
)
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch

SEEDS = st.integers(0, 2**32)
often = hypothesis_settings(max_examples=100, deadline=None)
WORDS = [f"word{number} " for number in range(90)]
EVENTS = answered(*WORDS)
STAMPED = stamped(said(*WORDS))
#: A relay's stamp is believed after this many in a row; a number of the protocol at once.
PROOF = 3


def delayed(events: list[Payload], seed: int, most: int, spared: int = 0) -> list[Payload]:
    """Events each of which comes up to `most` places late; the first `spared` come in time."""
    rng = random.Random(seed)
    late = {at: at + rng.uniform(0, most) if at >= spared and rng.random() < 0.4 else at for at in range(len(events))}
    return [events[at] for at in sorted(late, key=lambda at: (late[at], at))]


def numbers(payloads: list[Payload]) -> list[int]:
    """The sequence numbers, in order."""
    return [payload["sequence_number"] for payload in payloads]


def marks(payloads: list[Payload]) -> list[int]:
    """The marks of the events that were on the wire; one that was put in between has none."""
    return [payload["mark"] for payload in payloads if "mark" in payload]


@given(SEEDS, st.integers(1, 60))
@often
def test_events_that_come_late_within_the_window_are_put_in_order(seed: int, most: int) -> None:
    """Whatever the disorder, while no event is later than the window: in order, and proved to be."""
    seen = watch("responses", named(delayed(EVENTS, seed, most, spared=1)))

    assert numbers(seen.payloads) == numbers(EVENTS)
    assert seen.report.verdict is Verdict.COMPLETE
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.VERIFIED}
    assert seen.faults <= {"sequence_out_of_order"}


@given(SEEDS, st.integers(1, 60))
@often
def test_stamped_chunks_that_come_late_are_put_in_order(seed: int, most: int) -> None:
    """The same for chat, once a relay's stamp has proved itself."""
    seen = watch("chat", body(delayed(STAMPED, seed, most, spared=PROOF)))

    assert numbers(seen.payloads) == numbers(STAMPED)
    assert seen.faults <= {"sequence_out_of_order"}
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.VERIFIED}


@given(SEEDS, st.integers(2, 300))
@often
def test_nothing_is_lost_or_repeated_beyond_the_window(seed: int, most: int) -> None:
    """A disorder greater than any window: each event is handed on once all the same."""
    for surface, events in (("responses", EVENTS), ("chat", STAMPED)):
        marked = [{**event, "mark": event["sequence_number"]} for event in events]
        disorder = [*delayed(marked[:-1], seed, most), marked[-1]]
        seen = watch(surface, (named if surface == "responses" else body)(disorder), window_events=5)

        assert sorted(marks(seen.payloads)) == numbers(events)


def test_a_straggler_after_the_terminal_event_is_not_lost() -> None:
    """An event whose number is still missing belongs to this response, however late it comes."""
    seen = watch("responses", named([*EVENTS[:5], *EVENTS[6:], EVENTS[5]]), window_events=5)

    assert sorted(numbers(seen.payloads)) == numbers(EVENTS)


@given(SEEDS, st.lists(st.integers(PROOF, len(EVENTS) - 2), max_size=20))
@often
def test_repeated_events_are_handed_on_once(seed: int, repeated: list[int]) -> None:
    """A relay that sends again what it has sent, at once or later: every event once, and in order."""
    rng, events = random.Random(seed), list(EVENTS)
    for number in repeated:
        at = next(at for at, event in enumerate(events) if event["sequence_number"] == number)
        events.insert(rng.randint(at + 1, min(at + 30, len(events) - 1)), EVENTS[number])
    seen = watch("responses", named(events))

    assert numbers(seen.payloads) == numbers(EVENTS)
    assert seen.report.anomalies.get(SEQUENCE_DUPLICATE, 0) == len(repeated)


@given(st.sets(st.integers(4, len(WORDS)), max_size=12), st.sampled_from(["responses", "chat"]))
@often
def test_lost_events_are_gaps_and_hold_nobody_back(lost: set[int], surface: str) -> None:
    """Everything that came is handed on, in order, and each run of numbers that never came is one gap."""
    events = EVENTS if surface == "responses" else STAMPED
    came = [event for event in events if event["sequence_number"] not in lost]
    runs = sum(number - 1 not in lost for number in lost)
    seen = watch(surface, (named if surface == "responses" else body)(came))

    assert numbers(seen.payloads) == numbers(came)
    assert seen.report.anomalies.get(SEQUENCE_GAP, 0) == runs


@given(
    st.sampled_from(["constant", "absent", "from 0 again", "jumping", "random", "text", "negative", "now and then"]),
    SEEDS,
    st.sampled_from(["responses", "chat"]),
)
@often
def test_numbers_that_are_no_order_change_nothing(sort: str, seed: int, surface: str) -> None:
    """Bridges write what they like: the order of arrival is kept, and nothing is lost or repeated."""
    rng = random.Random(seed)
    restart = rng.randint(4, 80)
    values: dict[str, Callable[[int], object]] = {
        "constant": lambda at: 0,
        "absent": lambda at: None,
        "from 0 again": lambda at: at % restart,
        "jumping": lambda at: at if at < restart else 10 * at,
        "random": lambda at: rng.randint(0, 50),
        "text": lambda at: str(at),
        "negative": lambda at: -at,
        "now and then": lambda at: at if at % 7 else None,
    }
    plain = response(EVENTS[2:-1]) if surface == "responses" else said(*WORDS)
    events = [{**event, "sequence_number": values[sort](at), "mark": at} for at, event in enumerate(plain)]
    seen = watch(surface, (named if surface == "responses" else body)(events))

    if sort == "random":  # may look like an order by chance, for a while
        assert sorted(marks(seen.payloads)) == list(range(len(plain)))
    else:
        assert marks(seen.payloads) == list(range(len(plain)))


@given(SEEDS)
@often
def test_observing_reorders_nothing_and_says_what_it_would_have_done(seed: int) -> None:
    """With the policy `none` the order is the wire's, and the report the same as with repairs."""
    wire = named(delayed(EVENTS, seed, 20, spared=1))
    observed, repaired = watch("responses", wire, "none"), watch("responses", wire)

    assert [event.raw for event in observed.events] == [event.raw for event in watch("other", wire, "none").events]
    assert observed.report.outcomes == repaired.report.outcomes
    assert observed.report.reorder_distances == repaired.report.reorder_distances


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


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(**bounds: float) -> tuple[StreamWatch, Clock]:
    """A watch of a Responses stream, and its clock."""
    clock = Clock()
    return StreamWatch("responses", None, settings("default", **bounds), clock=clock), clock


def test_a_wait_ends_with_the_window() -> None:
    """What is held goes on, in order, once it has waited for as long as is set: to the second."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], EVENTS[7], EVENTS[6]]))
    assert len(stream.ready) == 5
    assert stream.deadline == 102.0

    clock.now = 101.9
    stream.expire()
    assert len(stream.ready) == 5
    clock.now = 102.0
    stream.expire()

    assert numbers([event.payload for event in stream.ready]) == [0, 1, 2, 3, 4, 6, 7]
    assert stream.deadline is None


def test_bytes_that_come_end_an_overdue_wait() -> None:
    """Synchronous code has no timer: the window is looked at whenever something comes."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], EVENTS[6]]))
    clock.now = 103.0
    stream.receive(b": ping\n\n")

    assert numbers([event.payload for event in stream.ready]) == [0, 1, 2, 3, 4, 6]


def test_a_straggler_goes_on_at_once() -> None:
    """Too late for the window: handed on when it comes, counted as a repair that failed."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], *EVENTS[6:9]]))
    clock.now = 103.0
    stream.expire()
    stream.receive(named([EVENTS[5], *EVENTS[9:]]))
    stream.close()

    assert sorted(numbers([event.payload for event in stream.ready])) == numbers(EVENTS)
    outcomes = stream.report().outcomes
    assert outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}
    assert SEQUENCE_GAP not in stream.report().anomalies


def test_a_gap_that_nothing_fills_costs_one_wait() -> None:
    """After a wait in vain the next gap is not waited for: the server loses events, it does not delay them."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], EVENTS[6]]))
    clock.now = 103.0
    stream.expire()
    stream.receive(named([EVENTS[7], EVENTS[9]]))

    assert numbers([event.payload for event in stream.ready]) == [0, 1, 2, 3, 4, 6, 7, 9]
    assert stream.deadline is None


def test_the_delay_of_what_was_held_is_measured() -> None:
    """Seconds and places, for the histograms."""
    stream, clock = opened()
    stream.receive(named([*EVENTS[:5], EVENTS[7], EVENTS[6]]))
    clock.now += 0.5
    stream.receive(named([EVENTS[5], *EVENTS[8:]]))
    stream.close()
    report = stream.report()

    assert sorted(report.reorder_distances) == [1, 2]
    assert report.reorder_delays == (0.5, 0.5)
    assert (report.reorder_max_distance, report.reorder_max_delay) == (2, 0.5)


@pytest.mark.parametrize(("bounds", "most"), [({"window_events": 8}, 8), ({"window_bytes": 1000}, 9)])
def test_the_window_bounds_what_is_held(bounds: dict[str, int], most: int) -> None:
    """No stream holds more events, or more bytes, than is set; nor is any lost by that."""
    stream, _ = opened(**bounds)
    for at, event in enumerate([*EVENTS[:5], *EVENTS[6:]], 1):
        stream.receive(named([event]))
        assert at - len(stream.ready) <= most
    stream.close()

    assert numbers([event.payload for event in stream.ready]) == [*range(5), *range(6, len(EVENTS))]


@pytest.mark.parametrize("surface", ["responses", "chat"])
def test_nothing_is_held_while_order_is_intact(surface: str) -> None:
    """Every event of a healthy numbered stream is there as soon as its last byte is."""
    stream = StreamWatch(surface)
    events = EVENTS if surface == "responses" else STAMPED
    for at, event in enumerate(events, 1):
        for byte in bytewise(named([event]) if surface == "responses" else body([event], done=False)):
            stream.receive(byte)
        assert len(stream.ready) == at
    stream.close()

    assert not stream.report().reorder_delays


def test_a_resumed_stream_starts_where_it_starts() -> None:
    """`starting_after` makes the first number what it is; without it, a late start is no gap either."""
    for start in (1, 2, 40):
        events = numbered([{k: v for k, v in e.items() if k != "sequence_number"} for e in EVENTS[6:]], start)
        seen = watch("responses", named(events))
        assert numbers(seen.payloads) == numbers(events)
        assert SEQUENCE_GAP not in seen.report.anomalies


@pytest.mark.parametrize("number", [True, 1.5, -1, 2**60, "5", None, [1], {"n": 1}])
def test_only_a_counting_number_is_one(number: object) -> None:
    """Anything else gives the numbers up, and is handed on as it came."""
    odd = {**EVENTS[5], "sequence_number": number}
    seen = watch("responses", named([*EVENTS[:5], odd, *EVENTS[6:]]))

    assert [payload["sequence_number"] for payload in seen.payloads] == [*range(5), number, *range(6, len(EVENTS))]
    assert SEQUENCE_UNUSABLE in seen.report.anomalies


def test_without_the_kind_nothing_is_held() -> None:
    """`-sequence_out_of_order`: counted, and handed on as it came."""
    wire = named([*EVENTS[:5], EVENTS[6], EVENTS[5], *EVENTS[7:]])
    seen = watch("responses", wire, "default,-sequence_out_of_order")

    assert numbers(seen.payloads)[5:7] == [6, 5]
    assert seen.report.anomalies[SEQUENCE_OUT_OF_ORDER] == 1
    assert not (seen.repaired & {name for name in KINDS if name.startswith("sequence_")})


def test_duplicates_can_be_let_pass() -> None:
    """`-sequence_duplicate`: counted, and handed on as they came."""
    wire = named([*EVENTS[:6], EVENTS[5], EVENTS[3], *EVENTS[6:]])
    seen = watch("responses", wire, "default,-sequence_duplicate")

    assert numbers(seen.payloads) == [*range(6), 5, 3, *range(6, len(EVENTS))]
    assert seen.report.anomalies[SEQUENCE_DUPLICATE] == 2
    assert seen.outcome(SEQUENCE_DUPLICATE) == {Outcome.UNREPAIRED}


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


def test_a_straggler_that_comes_twice_shows_that_the_numbers_are_none() -> None:
    """What came was never compared with anything: nothing is dropped for its number alone."""
    wire = named([*EVENTS[:5], EVENTS[7], EVENTS[5], EVENTS[5], *EVENTS[8:]])
    seen = watch("responses", wire, window_events=1)

    assert numbers(seen.payloads) == [*range(5), 7, 5, 5, *range(8, len(EVENTS))]
    assert SEQUENCE_UNUSABLE in seen.report.anomalies


def test_a_number_before_the_first_is_a_straggler() -> None:
    """The stream was taken up at 3, it seemed."""
    wire = named([*EVENTS[3:6], EVENTS[2], *EVENTS[6:]])
    seen = watch("responses", wire)

    assert numbers(seen.payloads) == [3, 4, 5, 2, *range(6, len(EVENTS))]
    assert seen.report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}


@pytest.mark.parametrize("last", ["terminal", "numbered 5 again", "without a number"])
def test_what_follows_the_terminal_event_is_seen_in_its_turn(last: str) -> None:
    """The last event again is a duplicate; anything else is of another answer, whatever it calls itself."""
    late = {
        "terminal": EVENTS[-1],
        "numbered 5 again": EVENTS[5],
        "without a number": {k: v for k, v in EVENTS[5].items() if k != "sequence_number"},
    }[last]
    seen = watch("responses", named([*EVENTS, late]))

    assert seen.payloads == EVENTS
    assert seen.report.anomalies == {SEQUENCE_DUPLICATE if last == "terminal" else STREAM_SPLICED: 1}


def test_patience_returns_with_a_straggler() -> None:
    """A wait in vain ends waiting; an event that then comes late shows that it would have paid."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], EVENTS[6]]))
    clock.now = 103.0
    stream.expire()
    stream.receive(named([EVENTS[5], EVENTS[8]]))

    assert stream.holding
    assert stream.deadline == 105.0
    stream.receive(named([EVENTS[7]]))
    assert numbers([event.payload for event in stream.ready]) == [0, 1, 2, 3, 4, 6, 5, 7, 8]
    assert not stream.holding


def test_the_deadline_is_that_of_the_event_that_came_first() -> None:
    """Not of the one that is next in order."""
    stream, clock = opened(window_seconds=2.0)
    for number, now in ((8, 100.0), (6, 101.0)):
        clock.now = now
        stream.receive(named([*(EVENTS[:5] if number == 8 else []), EVENTS[number]]))

    assert stream.deadline == 102.0


@pytest.mark.parametrize("number", [7, 9])
def test_the_same_number_with_another_payload_gives_the_numbers_up(number: int) -> None:
    """While it waits, or after it went on: nothing is dropped, and what waited goes on as it came."""
    other = {**EVENTS[20], "sequence_number": number}
    seen = watch("responses", named([*EVENTS[:5], EVENTS[7], EVENTS[9], other, *EVENTS[10:]]))

    assert numbers(seen.payloads) == [*range(5), 7, 9, number, *range(10, len(EVENTS))]
    assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1
    assert seen.outcome(SEQUENCE_OUT_OF_ORDER) <= {Outcome.UNVERIFIED}


# --- at the very edges of a number's meaning


@pytest.mark.parametrize("late", [5, 7], ids=["before a gap", "after it"])
def test_what_came_beside_a_gap_is_not_what_is_missing(late: int) -> None:
    """6 was lost: 5 or 7 again is a duplicate, and after the terminal event it is of no answer at all."""
    during = watch("responses", named([*EVENTS[:6], *EVENTS[7:9], EVENTS[late], *EVENTS[9:]]), window_events=1)
    after = watch("responses", named([*EVENTS[:6], *EVENTS[7:], EVENTS[late]]), window_events=1)

    for seen, kind in ((during, SEQUENCE_DUPLICATE), (after, STREAM_SPLICED)):
        assert numbers(seen.payloads) == [*range(6), *range(7, len(EVENTS))]
        assert seen.report.anomalies[kind] == 1
        assert seen.report.anomalies[SEQUENCE_GAP] == 1


LAST = len(EVENTS) - 1
#: Two events of a vendor's own, which it numbers on behind the terminal one.
BEHIND = [{"type": "response.vendor.stats", "sequence_number": LAST + more} for more in (1, 2)]


def test_what_fills_a_wait_is_of_the_answer_even_behind_its_end() -> None:
    """The second came before the terminal event, and waited for the first."""
    seen = watch("responses", named([*EVENTS[:LAST], BEHIND[1], EVENTS[LAST], BEHIND[0]]))

    assert seen.payloads == [*EVENTS, *BEHIND]
    assert STREAM_SPLICED not in seen.report.anomalies


def test_what_waits_behind_the_end_is_not_missing() -> None:
    """The same again while it waits: of no answer."""
    seen = watch("responses", named([*EVENTS[:LAST], BEHIND[1], EVENTS[LAST], BEHIND[1], BEHIND[0]]))

    assert seen.payloads == [*EVENTS, *BEHIND]
    assert seen.report.anomalies[STREAM_SPLICED] == 1
    assert SEQUENCE_DUPLICATE not in seen.report.anomalies


def test_the_number_of_the_terminal_event_alone_makes_no_duplicate_of_it() -> None:
    """Another payload under it is of another answer."""
    seen = watch("responses", named([*EVENTS, {**EVENTS[5], "sequence_number": LAST}]))

    assert seen.report.anomalies == {STREAM_SPLICED: 1}


def test_what_waited_in_vain_has_no_distance() -> None:
    """It came no places early: what should have come before it never came. It was late all the same."""
    stream, clock = opened(window_seconds=2.0)
    stream.receive(named([*EVENTS[:5], EVENTS[7]]))
    clock.now += 3.0
    stream.expire()
    stream.receive(named(EVENTS[8:]))
    stream.close()
    report = stream.report()

    assert (report.reorder_distances, report.reorder_max_distance) == ((), 0)
    assert (report.reorder_delays, report.reorder_max_delay) == ((3.0,), 3.0)


@pytest.mark.parametrize("proof", [2, 3, 4])
def test_a_stamp_that_has_just_proved_itself_has(proof: int) -> None:
    """After three the same chunk again is a duplicate, and another one under its number gives the stamp up."""
    chunks = stamped(said(*WORDS[:9]))
    other = {**chunks[7], "sequence_number": proof - 1}
    twice = watch("chat", body([*chunks[:proof], chunks[proof - 1], *chunks[proof:]]))
    wrong = watch("chat", body([*chunks[:proof], other, *chunks[proof:]]))

    assert (SEQUENCE_DUPLICATE in twice.report.anomalies) == (proof >= PROOF)
    assert (SEQUENCE_UNUSABLE in wrong.report.anomalies) == (proof >= PROOF)
    assert numbers(wrong.payloads) == [*range(proof), proof - 1, *range(proof, 11)]


@pytest.mark.parametrize("raising", range(3))
def test_nothing_is_lost_where_numbers_are_given_up_and_a_rule_raises(raising: int) -> None:
    """What was held stands in `undelivered`, whichever of it the rule raised on."""
    stream, _ = opened()
    stream.receive(named([*EVENTS[:5], EVENTS[7], EVENTS[9]]))
    stream.ready.clear()
    see, calls = stream._surface.see, itertools.count()

    def raises(event: Event) -> bool:
        if next(calls) == raising:
            raise RuntimeError
        return see(event)

    stream._surface.see = raises  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        stream.receive(named([{**EVENTS[5], "sequence_number": None}]))

    events, rest = stream.undelivered()
    assert [json.loads(event.data)["sequence_number"] for event in events] == [7, 9, None]
    assert rest == b""


def test_numbers_that_were_given_up_prove_nothing() -> None:
    """What was put in order before is neither right nor wrong by them."""
    wire = named([*EVENTS[:5], EVENTS[6], EVENTS[5], {**EVENTS[7], "sequence_number": None}, EVENTS[8]])

    assert watch("responses", wire).outcome(SEQUENCE_OUT_OF_ORDER) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize(("waits", "outcome"), [(True, Outcome.UNVERIFIED), (False, Outcome.VERIFIED)])
def test_a_stream_that_is_left_while_an_event_waits_proves_nothing(waits: bool, outcome: Outcome) -> None:
    """Whether the missing ones would have come is not known."""
    stream, _ = opened()
    stream.receive(named([*EVENTS[:5], EVENTS[6], EVENTS[5], *([EVENTS[9]] if waits else [])]))
    stream.close(abandoned=True)

    assert stream.report().outcomes[SEQUENCE_OUT_OF_ORDER] == {outcome: 1}
