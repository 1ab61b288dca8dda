"""The bounds of the core: what each lets through, and what becomes of one more. Numbers are written out on purpose."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from helpers.stream_builders import (
    Payload,
    Seen,
    answered,
    begin,
    body,
    called,
    chunk,
    fragment,
    message,
    named,
    numbered,
    read,
    response,
    said,
    settings,
    sse,
    stamped,
    texts,
    tool_call,
    watch,
)
from streamwatch.core.kinds import (
    CHOICE_INDEX_INVALID,
    CONTENT_REPLAYED,
    ERROR_HIDDEN,
    RESPONSE_TERMINAL_MISMATCH,
    SEQUENCE_DUPLICATE,
    SEQUENCE_GAP,
    SEQUENCE_OUT_OF_ORDER,
    SEQUENCE_UNUSABLE,
    STREAM_SPLICED,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_INDEX_REUSED,
)
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome

VERIFIED, UNVERIFIED, UNREPAIRED = {Outcome.VERIFIED}, {Outcome.UNVERIFIED}, {Outcome.UNREPAIRED}


# --- sequence numbers


def delta(number: int, text: str = "word ") -> Payload:
    """One delta of the only message of a response."""
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", **at, "delta": text, "sequence_number": number}


OPENED = answered("x")[:4]


def of_numbers(*numbers: int, **bounds: Any) -> Seen:
    """A response whose deltas have these numbers, after 0 to 3; its text tells which came, and when."""
    return watch("responses", named([*OPENED, *(delta(number, f"{number} ") for number in numbers)]), **bounds)


def runs_of_five(gaps: int) -> list[int]:
    """Numbers with so many gaps: of numbers that only grow nobody says that any is missing."""
    return [start + number for start in range(5, 5 + 6 * gaps, 6) for number in range(5)]


def handed_on(seen: Seen) -> list[int]:
    """The numbers of the deltas, in the order in which they were handed on."""
    return [payload["sequence_number"] for payload in seen.payloads][4:]


def test_a_number_beyond_2_to_the_53_is_none() -> None:
    """JavaScript relays cannot carry it exactly."""
    for number, usable in ((2**53 - 1, True), (2**53, False)):
        anomalies = watch("responses", named([delta(number)])).report.anomalies
        assert (SEQUENCE_UNUSABLE not in anomalies) == usable


@pytest.mark.parametrize(("digits", "counts"), [(16, True), (17, False)])
def test_an_id_line_of_17_digits_is_no_number(digits: int, counts: bool) -> None:
    """It is a time in nanoseconds, or a hash."""
    first = 10 ** (digits - 1)
    chunks = said(*"abcdefgh")
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]
    seen = watch("chat", b"".join(sse(chunks[at], id=first + at) for at in order))

    assert (SEQUENCE_OUT_OF_ORDER in seen.report.anomalies) == counts


@pytest.mark.parametrize("proof", [1, 2, 3])
def test_a_stamp_proves_itself_by_what_fills_the_hole(proof: int) -> None:
    """However few went before: a permutation of consecutive integers is no accident."""
    chunks = stamped(said(*"abcdefgh"))
    seen = watch("chat", body([*chunks[:proof], chunks[proof + 1], chunks[proof], *chunks[proof + 2 :]]))
    numbers = [payload["sequence_number"] for payload in seen.payloads]

    assert numbers == sorted(numbers)
    assert SEQUENCE_OUT_OF_ORDER in seen.report.anomalies
    assert SEQUENCE_UNUSABLE not in seen.report.anomalies


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_response_that_does_not_begin_with_its_first_event_waits_for_it(first: int) -> None:
    """Unless it was resumed there."""
    stream = StreamWatch("responses", clock=lambda: 0.0)
    stream.receive(named([delta(first)]))
    resumed = StreamWatch("responses", Request(starting_after=first - 1), clock=lambda: 0.0)
    resumed.receive(named([delta(first)]))

    assert not stream.ready
    assert resumed.ready


@pytest.mark.slow  # the test below has one of 4096
@pytest.mark.parametrize(("back", "known"), [(2049, True), (2050, False)])
def test_a_duplicate_is_known_for_2049_events_at_the_least(back: int, known: bool) -> None:
    """Digests are forgotten when there are more than 4,096, down to the latest half."""
    last = 4096
    seen = of_numbers(*range(4, last + 1), last + 1 - back)

    assert (SEQUENCE_DUPLICATE in seen.report.anomalies) == known
    assert (SEQUENCE_UNUSABLE in seen.report.anomalies) != known


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("last", "known"), [(4095, True), (4096, False)])
def test_a_duplicate_is_known_for_4096_events_at_the_most(last: int, known: bool) -> None:
    """Just before digests are forgotten every event is known."""
    assert (SEQUENCE_DUPLICATE in of_numbers(*range(4, last + 1), 4).report.anomalies) == known


@pytest.mark.slow
@pytest.mark.parametrize(("back", "known"), [(2048, True), (2049, False)])
def test_a_duplicate_is_known_where_the_last_event_came_early(back: int, known: bool) -> None:
    """Digests are forgotten on the way through the window too."""
    last = 4096
    seen = of_numbers(*range(4, last - 1), last, last - 1, last + 1 - back)

    assert (SEQUENCE_DUPLICATE in seen.report.anomalies) == known


@pytest.mark.parametrize(("missing", "known"), [(2048, True), (2049, False)])
def test_a_duplicate_from_before_a_gap_is_known_if_the_gap_is_not_too_wide(missing: int, known: bool) -> None:
    """A gap as wide as what is kept leaves nothing to compare with."""
    after = 6 + missing
    seen = of_numbers(4, 5, after, after + 1, 5, window_events=1)

    assert seen.report.anomalies[SEQUENCE_GAP] == 1 if known else SEQUENCE_UNUSABLE in seen.report.anomalies
    assert (SEQUENCE_DUPLICATE in seen.report.anomalies) == known
    assert handed_on(seen) == [4, 5, after, after + 1] + [5] * (not known)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("gaps", "remembered"), [(256, True), (257, False)])
def test_a_straggler_into_the_oldest_of_256_gaps_is_one(gaps: int, remembered: bool) -> None:
    """One gap more, and the oldest is forgotten: the straggler then has a number that cannot be."""
    seen = of_numbers(*runs_of_five(gaps), 4, window_events=1)

    assert (SEQUENCE_OUT_OF_ORDER in seen.report.anomalies) == remembered
    assert (SEQUENCE_UNUSABLE in seen.report.anomalies) != remembered


def test_every_gap_is_counted_however_many() -> None:
    """Those that are forgotten too."""
    assert of_numbers(*runs_of_five(400), window_events=1).report.anomalies[SEQUENCE_GAP] == 400


@pytest.mark.slow
def test_1024_distances_and_delays_are_kept_and_the_greatest_is_known_of_all() -> None:
    """A stream with more is described well enough."""
    pairs = [number ^ 1 for number in range(4, 4 + 2 * 1100)]
    seen = of_numbers(*pairs, 2207, 2208, 2209, 2206, 2205, 2204)

    assert (len(seen.report.reorder_distances), len(seen.report.reorder_delays)) == (1024, 1024)
    assert set(seen.report.reorder_distances) == {1}
    assert seen.report.reorder_max_distance == 5


def sized(number: int, size: int) -> bytes:
    """One delta whose payload has this many bytes."""
    frame = sse(delta(number, ""))
    return sse(delta(number, "x" * (size - len(frame) + len(b"data: \n\n"))))


@pytest.mark.parametrize(("second", "held"), [(200, 2), (201, 0)])
def test_the_window_holds_its_bytes_and_not_one_more(second: int, held: int) -> None:
    """Bytes of payload; what has gone on does not count any longer."""
    stream = StreamWatch("responses", None, settings(window_bytes=400, window_events=1000), clock=lambda: 0.0)
    stream.receive(named([*OPENED, delta(5), delta(4)]))
    for number, size in ((7, 200), (8, second)):
        stream.receive(sized(number, size))

    assert len(stream.ready) == 6 + 2 - held


@pytest.mark.parametrize(("events", "held"), [(2, 2), (3, 0)])
def test_the_window_holds_fewer_events_than_are_set(events: int, held: int) -> None:
    """The one that fills it ends the wait."""
    stream = StreamWatch("responses", None, settings(window_events=3), clock=lambda: 0.0)
    stream.receive(named([*OPENED, *(delta(5 + number) for number in range(events))]))

    assert len(stream.ready) == 4 + events - held


# --- bytes


def document(size: int) -> bytes:
    """A body of so many bytes that is a JSON document with an error in it."""
    empty = json.dumps({"error": {"message": ""}}).encode()
    return empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')


@pytest.mark.parametrize(("size", "shown"), [(64 << 10, True), ((64 << 10) + 1, False)])
def test_a_document_of_64_kib_is_read(size: int, shown: bool) -> None:
    """A greater one is no error message; it is left where it is."""
    seen = watch("chat", document(size), "all")

    assert [len(json.dumps(payload)) for payload in seen.payloads] == ([size] if shown else [])
    assert seen.outcome(ERROR_HIDDEN) == (UNVERIFIED if shown else UNREPAIRED)


@pytest.mark.parametrize(("size", "watched"), [(300, True), (301, False)])
def test_an_event_of_as_many_bytes_as_are_set_is_watched(size: int, watched: bool) -> None:
    """One more without a blank line, and the rest is the SDK's. The first read is looked at as it is."""
    stream = StreamWatch("chat", None, settings(max_event_bytes=300))
    frame = sse("x" * (size - len(b"data: ")))[:-2]
    stream.receive(frame[:100])

    assert stream.receive(frame[100:]) is watched
    assert (stream.rest is None) is watched


# --- choices, calls and their arguments


def test_256_choices_are_remembered_and_all_are_handed_on() -> None:
    """The API gives 128 at the most; what a server makes up beyond them passes."""
    chunks = [each for index in range(300) for each in said("One", index=index)]
    seen = watch("chat", body(chunks), request=Request(n=300))

    assert seen.report.finish_reasons == ("stop",) * 256
    assert seen.payloads == chunks


@pytest.mark.parametrize(("others", "noticed"), [(16, True), (17, False)])
def test_an_id_that_comes_back_after_16_others_is_noticed(others: int, noticed: bool) -> None:
    """Chunks of several completions in turn; a server that gives each chunk an id of its own is another thing."""
    ids = ["a", *(f"b{number}" for number in range(others)), "a"]
    seen = watch("chat", body([begin(), *({**chunk({"content": "x"}), "id": id} for id in ids)]))

    assert (STREAM_SPLICED in seen.report.anomalies) == noticed


def test_256_calls_are_numbered_and_all_are_handed_on() -> None:
    """The API takes 128 tools; what is made up beyond them keeps the index that it came with."""
    fragments = [fragment(index, "{}", id=f"call_{index}", name="f") for index in range(1, 301)]
    seen = watch("chat", body(called(*fragments)))
    indexes = [
        each["index"] for payload in seen.payloads for each in payload["choices"][0]["delta"].get("tool_calls", ())
    ]

    assert indexes == [*range(256), *range(257, 301)]


def test_a_later_fragment_of_a_known_call_is_its_own_even_when_there_are_256() -> None:
    """The bound is one of new calls."""
    fragments = [fragment(index, "{", id=f"call_{index}", name="f") for index in range(256)]
    seen = watch("chat", body(called(*fragments, fragment(255, "}"), fragment(0, "}"))))

    assert seen.report.anomalies[TOOL_CALL_ARGUMENTS_INVALID] == 254


@pytest.mark.parametrize("cut", [1, 7, 100])
@pytest.mark.parametrize(("size", "read_"), [(16 << 10, True), ((16 << 10) + 1, False)])
def test_arguments_of_16_ki_characters_are_read(size: int, read_: bool, cut: int) -> None:
    """Of longer ones nothing is said, right or wrong, however many fragments they come in."""
    broken = "[" * (size - 9) + '{"a": 1}x'
    step = -(-len(broken) // cut)
    pieces = [broken[at : at + step] for at in range(0, len(broken), step)]
    seen = watch("chat", body(called(*tool_call(0, "call_a", "f", *pieces))))

    assert (TOOL_CALL_ARGUMENTS_INVALID in seen.report.anomalies) == read_


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 64])
@pytest.mark.parametrize(("calls", "known"), [(64, 64), (65, 64)])
def test_arguments_of_one_mebi_characters_are_read_in_all(calls: int, known: int, cut: int) -> None:
    """Of what goes beyond it nothing is said."""
    broken = "[" * (16 << 10)
    step = (16 << 10) // cut
    pieces = [broken[at : at + step] for at in range(0, len(broken), step)]
    fragments = [each for n in range(calls) for each in tool_call(n, f"call_{n}", "f", *pieces)]

    assert watch("chat", body(called(*fragments))).report.anomalies[TOOL_CALL_ARGUMENTS_INVALID] == known


def test_arguments_that_are_forgotten_leave_room_for_others() -> None:
    """A call that writes a whole file costs nothing once it is too long to be read."""
    long = [each for n in range(100) for each in tool_call(n, f"call_{n}", "f", "[" * 16000, "[" * 16000)]
    seen = watch("chat", body(called(*long, *tool_call(100, "call_100", "f", "["))))

    assert seen.report.anomalies[TOOL_CALL_ARGUMENTS_INVALID] == 1


@pytest.mark.slow
def test_1024_calls_are_remembered_of_all_choices() -> None:
    """The API gives 128 choices; a server that makes up calls in each of them gets them passed on."""
    wire = [
        chunk({"tool_calls": [fragment(n, "[", id=f"call_{n}", name="f")]}, index=index)
        for index in range(8)
        for n in range(200)
    ]
    ends = [chunk({}, "tool_calls", index=index) for index in range(8)]
    seen = watch("chat", body([*wire, *ends]), request=Request(n=8))

    assert seen.payloads == [*wire, *ends]
    assert seen.report.anomalies[TOOL_CALL_ARGUMENTS_INVALID] == 1024


@pytest.mark.parametrize("length", [256, 257, 100_000])
def test_ids_and_names_of_any_length_are_compared(length: int) -> None:
    """Long ones by a hash: they are not kept."""
    ids = ["x" * (length - 1) + end for end in "ab"]
    wire = [fragment(0, "{}", id=id, name=id) for id in ids]
    again = [fragment(0, "{", id=ids[0], name="f"), {**fragment(0, "}"), "id": ids[0]}]

    assert TOOL_CALL_INDEX_REUSED in watch("chat", body(called(*wire))).report.anomalies
    assert not watch("chat", body(called(*again))).faults


@pytest.mark.parametrize(("length", "kept"), [(512, True), (513, False)])
def test_an_id_of_512_characters_is_remembered(length: int, kept: bool) -> None:
    """A longer one is none; and a model likewise, and a finish reason."""
    wire = [{**each, "id": "i" * length, "model": "m" * length} for each in said("One", finish="f" * length)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert seen.payloads == wire
    assert (seen.report.response_id, seen.report.response_model) == (("i" * length, "m" * length) if kept else ("", ""))
    assert seen.report.finish_reasons == ("f" * length if kept else "other",)


@pytest.mark.parametrize(("length", "told"), [(4096, True), (4097, False)])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_first_texts_of_4096_characters_are_compared(length: int, told: bool, first: bool) -> None:
    """Deltas have a few; longer ones are not kept."""
    text = "ab" * 3000
    pieces = [text[:length], text[: length + 1]] if first else [text[: length - 1], text[:length]]
    told = told and (not first or length + 1 <= 4096)
    seen = watch("chat", body(said(*pieces)))

    assert (CONTENT_REPLAYED in seen.report.anomalies) == told


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ids of calls", "arguments", "ids of chunks", "texts", "usage", "early choices"])
def test_a_hostile_stream_costs_little_memory(which: str) -> None:
    """Some hundred chunks of 200,000 characters each: a few MiB at most stay with an open stream."""
    large = "x" * 200_000
    payloads: dict[str, Any] = {
        "ids of calls": lambda n: chunk({"tool_calls": [fragment(n, "{", id=f"{n}{large}", name=f"{n}{large}")]}),
        "arguments": lambda n: chunk({"tool_calls": [fragment(n, large, id=f"{n}", name="f")]}),
        "ids of chunks": lambda n: {**chunk({"content": "x"}), "id": f"{n}{large}", "model": f"{n}{large}"},
        "texts": lambda n: chunk({"content": f"{n}{large}"}),
        "usage": lambda n: chunk({"content": "x"}, usage={f"{n}": large}),
        "early choices": lambda n: chunk({"content": f"{n}{large}"}, index=1),
    }
    request = Request(n=2, accumulated=which == "early choices")
    stream = StreamWatch("chat", request, settings("all" if which == "texts" else "default"))
    tracemalloc.start()
    for number in range(150):
        stream.receive(sse(payloads[which](number)))
        stream.ready.clear()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    # What waits is a window of 1 MiB: as bytes, as text and as JSON.
    assert kept < (5 if which == "early choices" else 3) << 20


# --- early choices


@pytest.mark.parametrize(("early", "held"), [(4, 4), (5, 0)])
def test_fewer_early_chunks_are_held_than_the_window_has_events(early: int, held: int) -> None:
    """The one that fills it ends the wait for good: all goes on as it came, and the repair has failed."""
    stream = StreamWatch("chat", Request(n=2, accumulated=True), settings(window_events=5))
    stream.receive(body([begin(1), *texts(*["b"] * (early - 1), index=1)], done=False))
    assert len(stream.ready) == early - held
    stream.receive(body([*texts("b", index=1), begin(0), chunk({}, "stop"), chunk({}, "stop", index=1)]))
    stream.close()

    assert stream.report().outcomes[CHOICE_INDEX_INVALID] == {Outcome.FAILED: 5}


# --- texts that are said again


@pytest.mark.parametrize(("length", "replay"), [(15, False), (16, True)])
def test_a_whole_answer_of_16_characters_may_be_a_replay(length: int, replay: bool) -> None:
    """A shorter one may well be said twice."""
    text = "abcdefghijklmnopqrst"[:length]
    wire = body([begin(), *texts(text[:3], text[3:]), chunk({"content": text}, "stop")])
    seen = watch("chat", wire, "all")

    assert (CONTENT_REPLAYED in seen.report.anomalies) == replay
    assert read("chat", seen.delivered).said[0].text == (text if replay else text + text)


@pytest.mark.parametrize(("length", "at_once"), [(7, False), (8, True)])
@pytest.mark.parametrize("repair", ["default", "all"])
def test_a_first_text_of_8_characters_that_is_repeated_is_a_replay(length: int, at_once: bool, repair: str) -> None:
    """A shorter one is one only if a third text repeats the second."""
    first = "abcdefghij"[:length]
    seen = watch("chat", body([begin(), *texts(first, first + "!"), chunk({}, "stop")]), repair)

    assert (CONTENT_REPLAYED in seen.report.anomalies) == at_once
    taken_out = at_once and repair == "all"
    assert read("chat", seen.delivered).said[0].text == ("" if taken_out else first) + first + "!"


# --- items and parts of a response

#: The SDK's helper reads the stream: others get no event that never came.
HELPER = Request(accumulated=True)


@pytest.mark.parametrize(("parts", "closed"), [(128, 128), (129, 0)])
def test_128_parts_of_an_item_are_remembered(parts: int, closed: int) -> None:
    """Many times what any recorded answer has; of an item with more nothing is said to be missing."""
    events = response(message(0, ""))
    added = [{**events[3], "content_index": at} for at in range(parts)]
    final = {**events[7]["item"], "content": [event["part"] for event in added]}
    last = {**events[-1], "response": {**events[-1]["response"], "output": [final]}}
    seen = watch("responses", named(numbered([*events[:3], *added, last])), request=HELPER)
    types = [payload["type"] for payload in seen.payloads]

    assert types.count("response.content_part.added") == parts
    assert types.count("response.content_part.done") == closed


def unannounced(*types: str) -> list[Payload]:
    """A response of 600 messages without the events of these types."""
    events = response(*(message(index, "x") for index in range(600)))
    return numbered(event for event in events if event["type"] not in types)


@pytest.mark.slow
def test_512_items_are_announced_where_nobody_did() -> None:
    """An agent's longest answers have dozens; of what is not remembered nothing is known to be missing."""
    events = unannounced("response.output_item.added")
    seen = watch("responses", named(events), request=HELPER)
    put_in = [payload for payload in seen.payloads if payload not in events]

    assert [payload["output_index"] for payload in put_in] == [*range(512)]
    assert {payload["type"] for payload in put_in} == {"response.output_item.added"}


@pytest.mark.slow
def test_a_healthy_response_of_more_items_is_let_be() -> None:
    """No text is told twice."""
    assert watch("responses", named(unannounced())).payloads == unannounced()


def test_a_healthy_item_of_more_parts_than_are_remembered_is_let_be() -> None:
    """Neither redirected to another part nor told twice."""
    first, second, item, *parts, done, last = response(message(0, "x"))
    many = [{**event, "content_index": at} for at in range(200) for event in parts]
    events = numbered([first, second, item, *many, done, last])

    assert watch("responses", named(events)).payloads == events


@pytest.mark.parametrize(("size", "kept"), [(32 << 10, True), ((32 << 10) + 1, False)])
def test_finished_items_of_32_kib_are_kept(size: int, kept: bool) -> None:
    """For a terminal event that forgets them; a greater answer stays forgotten."""
    events = numbered(response(message(0, "One"), message(1, "two")))
    done = [event for event in events if event["type"] == "response.output_item.done"]
    more = size - sum(len(sse(event)) - len(b"data: \n\n") for event in done)
    done[1]["item"] = {**done[1]["item"], "vendor": "x" * (more - len(b',"vendor":""'))}
    events[-1]["response"]["output"] = []
    seen = watch("responses", named(events), request=HELPER)

    assert len(seen.payloads[-1]["response"]["output"]) == (2 if kept else 0)
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == (VERIFIED if kept else UNREPAIRED)
