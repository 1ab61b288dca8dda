"""Numbers are an order as far as they prove it: junk, duplicates, gaps, stragglers, and what an outcome says."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.numbered import (
    EVENTS,
    JUNK,
    LEGACY,
    SEEDS,
    SHORT,
    SORTS,
    STAMPED,
    TEXT,
    WORDS,
    Sort,
    mixed,
    numbers,
    often,
    opened,
)
from helpers.stream_builders import (
    DONE,
    body,
    chunk,
    completion,
    message,
    named,
    response,
    said,
    sse,
    stamped,
    usage_chunk,
    watch,
)
from streamwatch.core.kinds import KINDS, SEQUENCE_DUPLICATE, SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER, SEQUENCE_UNUSABLE
from streamwatch.core.patience import Patience
from streamwatch.core.report import Request
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome

# --- numbers that are no order


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("api", ["responses", "chat", "completions"])
@pytest.mark.parametrize("junk", JUNK)
def test_numbers_that_are_no_order_change_nothing(junk: str, api: str) -> None:
    """The order of arrival is kept, nothing is lost or repeated; it costs a short wait in one stream, and none later."""
    plain = {
        "responses": response(message(0, *WORDS)),
        "chat": said(*WORDS)[1:],
        "completions": [*map(completion, WORDS)],
    }
    for between in (0.01, 0.1, 0.3):
        patience = Patience()
        for waits in (SHORT, 0.0):
            chance, read = random.Random(junk), opened(api, Request(n=1), patience=patience)
            for at, event in enumerate(plain[api]):
                payload = {**event, "sequence_number": JUNK[junk](at, chance), "mark": at}
                read.take((named if api == "responses" else lambda each: body(each, done=False))([payload]), between)
            assert read.close().marks == list(range(len(plain[api])))
            assert read.longest <= waits + 1e-9 or junk == "of all sorts"
            assert read.counts().keys() <= {"sequence_unusable"} or junk == "of all sorts"


def test_it_is_said_once_that_numbers_are_unusable() -> None:
    """Where the protocol promises them, or where they looked like an order for a while; a constant never did."""
    values = {"responses": [0] * 9, "chat": [0, 1, 2, 3, 0, 1, 2, 3, 0], "completions": [0] * 9}
    said = {"responses": response(message(0, *WORDS[:3])), "chat": TEXT, "completions": LEGACY}
    for api, counts in (("responses", 1), ("chat", 1), ("completions", 0)):
        events = [{**event, "sequence_number": value} for event, value in zip(said[api], values[api], strict=False)]
        seen = watch(api, (named if api == "responses" else body)(events))
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


@pytest.mark.parametrize("modulus", [4, 5, 9])
@pytest.mark.parametrize(
    "say",
    [
        lambda word: {"choices": [{"index": 0, "delta": {"content": word}}]},
        lambda word: {"choices": [{"index": 0, "message": {"content": word}}]},
        lambda word: {"choices": [{"index": 0, "text": word}]},
        lambda word: {"choices": [], "token": word},
        lambda word: {"token": word},
    ],
    ids=["delta", "message", "text", "beside no choice", "without choices"],
)
def test_what_comes_again_under_numbers_that_begin_anew_is_no_duplicate(
    say: Callable[[str], dict[str, Any]], modulus: int
) -> None:
    """Wherever a chunk says it: of a few words, many fall on the number that they had before."""
    for seed in range(20):
        chance = random.Random(seed)
        said = [chunk({"role": "assistant", "content": ""}), *(say(chance.choice("abc")) for _ in range(60))]
        chunks = [{**each, "sequence_number": at % modulus} for at, each in enumerate(said)]
        seen = watch("chat", body(chunks))

        assert [each["sequence_number"] for each in seen.payloads] == [each["sequence_number"] for each in chunks]


@pytest.mark.parametrize("same", range(1, 8))
@pytest.mark.parametrize("name", ["sequence_number", "id"])
def test_numbers_that_begin_anew_with_the_same_words_repeat_nothing(same: int, name: str) -> None:
    """Its numbers go on after what a relay sends again; another word under an old number says that it sent nothing."""
    words, order = "abcdefghi" + "abcdefghi"[:same] + "klm", [*range(9), *range(same + 3)]
    said = [chunk({"content": word}) for word in words]
    stamps = [{"id": number} if name == "id" else {} for number in order]
    members = [{} if name == "id" else {name: number} for number in order]
    wire = b"".join(sse(each | more, **stamp) for each, more, stamp in zip(said, members, stamps, strict=True))
    seen = watch("chat", wire + DONE)

    assert "".join(each["choices"][0]["delta"]["content"] for each in seen.payloads) == words
    assert SEQUENCE_DUPLICATE not in seen.report.anomalies


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("repeated", [[8], [0], [5, 6, 7], [8, 8]])
def test_what_comes_again_waits_for_what_comes_next(repeated: list[int], keep_alive: bool) -> None:
    """It is dropped where the numbers go on, at the end, and after the window; what comes next never waits."""
    for next_one in ([9, 10], [], None):
        read = opened("chat", Request(n=1))
        for place in [*range(9), *repeated]:
            read.take(sse({**STAMPED[place], "mark": place}))
        if keep_alive:
            read.take(b": keep-alive\n\n")
        assert read.marks == list(range(9))
        assert read.stream.holding
        for place in next_one or ():
            read.take(sse({**STAMPED[place], "mark": place}))
        if next_one is None:
            read.take(b": keep-alive\n\n", after=2.5)
            assert not read.stream.holding
        read.close()

        assert read.marks == [*range(9), *(next_one or ())]
        assert read.longest == 0
        assert read.counts()["sequence_duplicate"] == len(repeated)


def stuck(words: list[str], at: int) -> list[dict[str, Any]]:
    """A stream whose number stands still from a place on."""
    chunks = [{**chunk({"content": word}), "mark": place} for place, word in enumerate(words)]
    return [{**each, "sequence_number": min(place, at), "mark": min(place, at)} for place, each in enumerate(chunks)]


@pytest.mark.parametrize("after", [0.0, 0.1, 2.5])
@pytest.mark.parametrize("lets_go", [False, True])
@pytest.mark.parametrize("end", [["ho"], ["ho", "ho"], []])
def test_equal_words_under_a_number_that_stands_still_are_no_copies_at_any_pace(
    after: float, lets_go: bool, end: list[str]
) -> None:
    """What is held has its time, and is no copy for that: another word under the number shows that it stands still."""
    words = [*"abcd", *["ha"] * 4, *end]
    read = opened("chat", Request(n=1))
    for payload in stuck(words, 4):
        read.take(sse(payload), after=after)
        if lets_go:
            read.stream.let_go()
    read.close()

    assert len(read.marks) == (len(words) if end else 5)
    assert read.counts().get("sequence_duplicate", 0) == (0 if end else 3)


@pytest.mark.parametrize("last", ["number", "done", "comment"])
def test_copies_that_had_their_time_are_dropped_where_the_numbers_go_on(last: str) -> None:
    """Or where nothing follows."""
    read = opened("chat", Request(n=1))
    for place in [*range(9), 8, 8]:
        read.take(sse({**STAMPED[place], "mark": place}), after=2.5)
    tail = {"number": sse({**STAMPED[9], "mark": 9}), "done": DONE, "comment": b": keep-alive\n\n"}[last]
    read.take(tail, after=2.5)
    read.close()

    assert read.marks == list(range(10 if last == "number" else 9))
    assert read.counts()["sequence_duplicate"] == 2


def test_of_copies_that_had_their_time_no_more_is_kept_than_a_window() -> None:
    """Those beyond it are dropped at once."""
    words = [*"abcd", *["ha"] * 9]
    read = opened("chat", Request(n=1), window_events=3)
    for payload in stuck(words, 4):
        read.take(sse(payload), after=2.5)
    other = {**chunk({"content": "ho"}), "sequence_number": 4, "mark": 4}
    read.take(sse(other))
    read.close()

    assert len(read.marks) == 5 + 3 + 1 + 1


@pytest.mark.parametrize("start", [1, 3])
def test_a_message_in_place_of_a_delta_says_where_a_stream_begins(start: int) -> None:
    """By its role, as a delta does: nothing waits for a smaller number."""
    head = {"index": 0, "message": {"role": "assistant", "content": ""}}
    read = opened("chat", Request(n=1))
    read.take(body([{"choices": [head], "sequence_number": start}], done=False))

    assert len(read.gone) == 1


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


def test_numbers_may_jump_ahead_while_an_event_is_late() -> None:
    """What is late is put in its place before the jump, and what comes behind the jump goes on behind it."""
    jumped = [
        {**event, "sequence_number": event["sequence_number"] + 1000 * (place >= 20), "mark": place}
        for place, event in enumerate(EVENTS)
    ]
    read = opened()
    read.take(named([*jumped[:15], *jumped[16:25], jumped[15], *jumped[25:]]))

    assert read.close().marks == list(range(len(EVENTS)))
    assert read.counts() == {"sequence_gap": 1, "sequence_out_of_order": 1}


def test_an_id_line_counts_until_the_next_one() -> None:
    """A frame without one has the id of the frame before it: it is not the number again."""
    chunks = said(*WORDS[:12])
    parts = [sse({**each, "mark": place}, id=place) for place, each in enumerate(chunks)]
    other = sse(chunk({"content": "!"}))
    wire = b"".join([*parts[:9], other, parts[10], other, other, parts[9], other, *parts[11:]]) + DONE
    seen = watch("chat", wire)

    assert [each.get("mark") for each in seen.payloads] == [*range(9), None, 9, 10, None, None, None, *range(11, 14)]
    assert seen.report.anomalies.get(SEQUENCE_UNUSABLE) is None


@pytest.mark.parametrize("id", [None, 2], ids=["no id line", "its own"])
def test_an_event_without_an_id_line_is_not_the_one_before_it_again(id: int | None) -> None:
    """Two pieces that say the same, of which the second has no line of its own; with the same line it is the first."""
    pieces = [("oh", 0), ("he", 1), ("ha", 2), ("ha", id), ("!", 3), ("?", 4)]
    wire = b"".join(sse(chunk({"content": text}), id=number) for text, number in pieces) + DONE
    text = [payload["choices"][0]["delta"]["content"] for payload in watch("chat", wire).payloads]

    assert text == ["oh", "he", "ha", *(["ha"] if id is None else []), "!", "?"]


@pytest.mark.parametrize("repeats", [1, 2])
def test_what_comes_again_has_the_number_that_is_missing_behind_it(repeats: int) -> None:
    """A number that stands still, and then goes on as if it had counted: every event is one of its own."""
    events = response(message(0, "b", *["r"] * (repeats + 1), "!"))
    counts = [*range(6), *[5] * repeats, *range(6 + repeats, len(events))]
    wire = [{**event, "sequence_number": number} for event, number in zip(events, counts, strict=True)]
    seen = watch("responses", named(wire))

    assert seen.payloads == wire
    assert SEQUENCE_DUPLICATE not in seen.report.anomalies


@pytest.mark.parametrize("last", [chunk({}, "stop"), usage_chunk()], ids=["finish", "usage"])
def test_what_ends_an_answer_goes_before_none_of_it(last: dict[str, Any]) -> None:
    """A bridge counts its pieces from 1, and leaves the 0 in the chunk that it makes up itself."""
    wire = [{**chunk({"content": text}), "chunk_index": at} for at, text in enumerate(("Hel", "lo", "!"), 1)]
    wire.append({**last, "chunk_index": 0})
    seen = watch("chat", body(wire))

    assert seen.payloads == wire
    assert SEQUENCE_OUT_OF_ORDER not in seen.report.anomalies


def test_another_choice_may_end_before_a_piece() -> None:
    """By its number it comes first, and it ends nothing that the piece is of."""
    wire = [chunk({"role": "assistant"}, index=index) for index in (0, 1)]
    wire += [chunk({"content": text}, index=index) for text in WORDS for index in (0, 1)]
    end = [chunk({}, "stop", index=1), chunk({"content": "!"}), chunk({}, "stop")]
    wire = [{**each, "chunk_index": at} for at, each in enumerate([*wire, *end])]
    seen = watch("chat", body([*wire[:-3], wire[-2], wire[-3], wire[-1]]), request=Request(n=2))

    assert seen.payloads == wire


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


@pytest.mark.parametrize(
    "value", [None, 0, "x", [], [None], [1], ["x"], [{}], [{"delta": None}], [{"delta": []}], {"0": {}}]
)
def test_choices_of_any_shape_say_nothing_and_break_nothing(value: object) -> None:
    """What is no list of choices with deltas is no part of an answer, and opens none."""
    chunks = [
        {"choices": value, "seq": 7, "mark": 0},
        *({**each, "seq": at, "mark": at} for at, each in enumerate(TEXT, 8)),
    ]

    assert [each["mark"] for each in watch("other", body(chunks)).payloads] == [0, *range(8, 22)]
    reorder = StreamWatch("chat")._reorder
    went: list[Event] = []
    for payload in chunks:
        event = Event("", json.dumps(payload).encode())
        event.payload = payload
        released = reorder.push(event)
        went += released
        if isinstance(released, list):
            released.clear()
    went += reorder.flush()
    assert [event.payload["mark"] for event in went] == [0, *range(8, 22)]


def test_a_number_far_ahead_may_come_again() -> None:
    """It stands alone, and says nothing, however often."""
    far = {**EVENTS[90], "mark": 90}
    marked = [{**event, "mark": event["sequence_number"]} for event in EVENTS]
    read = opened()
    read.take(named([*marked[:10], far, far, marked[11], marked[10], *marked[12:20]]))

    assert read.close().marks == [*range(10), 90, 90, *range(10, 20)]
    assert read.counts() == {"sequence_out_of_order": 1, "sequence_unusable": 1}


def test_numbers_far_ahead_without_end_are_no_order() -> None:
    """Three may be mistakes; with the fourth the numbers are given up."""
    for count, sorts in ((3, True), (4, False)):
        far = [{**EVENTS[50], "sequence_number": 10**6 * at} for at in range(1, count + 1)]
        seen = watch("responses", named([*EVENTS[:20], *far, EVENTS[21], EVENTS[20], *EVENTS[22:]]))
        assert (SEQUENCE_OUT_OF_ORDER in seen.report.anomalies) == sorts
        assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1


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


@pytest.mark.parametrize("seed", range(20))
def test_equal_chunks_under_a_count_of_tokens_are_no_duplicates(seed: int) -> None:
    """It goes up by ones for a while, and by more; a chunk without a new token has the number of the one before."""
    chance = random.Random(seed)
    counts = [*range(4), 6, *itertools.accumulate((chance.choice([0, 2, 3]) for _ in range(40)), initial=9)]
    chunks = [{**chunk({"content": "ha "}), "seq": count} for count in counts]

    assert len(watch("chat", body(chunks)).payloads) == len(chunks)


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


@pytest.mark.slow
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


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("name", ["seq", "id"])
@pytest.mark.parametrize("head", [0, 1, 2])
@pytest.mark.parametrize("last", [0, 3, 996])
def test_a_countdown_is_handed_on_as_it_came(name: str, head: int, last: int) -> None:
    """Also one that goes down to 0, and one whose opening chunk comes behind a gateway's own frames."""
    for count in range(1, 9):
        payloads = [*({"type": "ping", "n": at} for at in range(head)), *said(*WORDS[:count])]
        numbers = range(len(payloads) + last - 1, last - 1, -1)
        read = opened("chat")
        for mark, (payload, number) in enumerate(zip(payloads, numbers, strict=True)):
            stamp = {name: number} if name == "seq" else {}
            read.take(sse({**payload, "mark": mark, **stamp}, id=None if stamp else number), 0.001)
        assert read.close().marks == list(range(len(payloads)))


def test_a_start_that_was_taken_for_one_is_none_where_a_lower_number_comes() -> None:
    """A chunk of a role alone opens the answer, and what came before it is late; a gateway's own frame is before both."""
    for order in ([3, 1, 0, 2, 4, 5, 6, 7, 8], [2, 1, 0, 3, 4, 5, 6, 7, 8]):
        payloads = [{"type": "ping"}, *said(*WORDS[:7])]
        read = opened("chat")
        for place in order:
            read.take(sse({**payloads[place], "mark": place, "seq": 40 + place}), 0.001)
        assert read.close().marks == sorted(order)


@pytest.mark.parametrize("seed", range(40))
def test_what_a_frame_without_an_id_stands_on_is_the_event_before_it(seed: int) -> None:
    """A relay that resumes sends again what it sent, in a stream with frames that have no `id:` of their own."""
    chance = random.Random(seed)
    wires = [sse({**payload, "mark": mark}, id=mark) for mark, payload in enumerate(said(*WORDS[:12]))]
    place = chance.randint(4, len(wires) - 1)
    again = chance.randint(2, place)  # the last one alone might be another one under its id
    at = chance.randint(1, place)
    read = opened("chat")
    for wire in [*wires[:at], sse({"type": "ping"}), *wires[at:place], *wires[place - again : place], *wires[place:]]:
        read.take(wire, 0.001)
    assert read.close().marks == list(range(len(wires)))


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


@pytest.mark.slow
def test_more_losses_than_are_remembered_are_counted() -> None:
    """299 of them: what is remembered for stragglers is bounded, and the count is not."""
    events = stamped(said(*(str(number) for number in range(3000))))
    came = [event for place, event in enumerate(events) if place < 20 or place % 10]
    chunks = [came[1], came[0], *came[2:]]

    assert watch("chat", body(chunks)).report.anomalies[SEQUENCE_GAP] == 299


@pytest.mark.slow
def test_a_straggler_may_be_later_than_any_digest() -> None:
    """Its hole is remembered."""
    events = stamped(said(*(str(number) for number in range(5000))))
    seen = watch("chat", body([*events[:5], *events[6:-1], events[5], events[-1]]), window_events=1)

    assert seen.report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}
    assert SEQUENCE_GAP not in seen.report.anomalies


def test_after_a_great_loss_no_duplicate_is_known_from_before_it() -> None:
    """Digests are kept by place, and 3000 places are not kept."""
    jumped = [{**each, "sequence_number": place + 3000 * (place >= 40)} for place, each in enumerate(STAMPED)]
    seen = watch("chat", body([*jumped[:60], jumped[50], jumped[20], *jumped[60:]]))

    assert seen.report.anomalies[SEQUENCE_DUPLICATE] == 1
    assert seen.report.anomalies[SEQUENCE_UNUSABLE] == 1
    assert len(seen.payloads) == len(STAMPED) + 1


@pytest.mark.slow
def test_digits_count_as_long_as_numbers_do() -> None:
    """A stream of 5000 events that are numbered in strings knows its latest 2000 duplicates."""
    events = [{**each, "seq": str(at)} for at, each in enumerate(said(*(str(number) for number in range(5000))))]
    near, far = (watch("chat", body([*events[:-1], events[place], events[-1]])) for place in (4900, 10))

    assert near.report.anomalies[SEQUENCE_DUPLICATE] == 1
    assert SEQUENCE_DUPLICATE not in far.report.anomalies


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


def test_without_the_kind_numbers_that_only_grow_are_given_up_as_well() -> None:
    """Nothing is held, so nothing is waited for in vain; after some dozens of holes they are looked at no longer."""
    stream = opened("chat", repair="default,-sequence_out_of_order").stream
    for place, each in enumerate(STAMPED):
        stream.receive(sse({**each, "sequence_number": 2 * place}))
        assert len(stream.ready) == place + 1
        assert stream._reorder.idle == (place >= 34)

    stream.close()
    assert not {kind.name for kind in stream.report().anomalies} & {"sequence_gap", "sequence_out_of_order"}


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
