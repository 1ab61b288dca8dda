"""One stream as a whole: nothing harms it, nothing is lost, nothing is held, and it comes to one verdict."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.cases import CASES, HEALTHY, Case
from helpers.quick import examples
from helpers.stream_builders import (
    DONE,
    Delivered,
    Payload,
    answered,
    begin,
    body,
    bytewise,
    chunk,
    completion,
    fragment,
    function_call,
    message,
    named,
    numbered,
    parsers,
    reasoning,
    reference,
    response,
    run,
    said,
    sdk_value,
    settings,
    sse,
    stamped,
    texts,
    tool_call,
    usage_chunk,
    watch,
)
from streamwatch.core.kinds import ERROR_HIDDEN, ERROR_IN_STREAM, PAYLOAD_INVALID, STREAM_STALLED
from streamwatch.core.report import Request
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict

often = hypothesis_settings(max_examples=examples(250), deadline=None)
SEEDS = st.integers(0, 2**32)
POLICIES = ["none", "default", "all"]
REQUESTS = [Request(), Request(n=1), Request(n=2), Request(accumulated=True), Request(names_tool=True)]

#: Healthy payloads of every sort: what a fuzzer breaks.
SOUND: dict[str, list[Payload]] = {
    "chat": [
        *said("One ", "two"),
        *(chunk({"tool_calls": [each]}) for each in tool_call(0, "call_a", "weather", '{"a":', "1}")),
        chunk({"tool_calls": [fragment(1, "{}", id="call_b", name="time")]}, "tool_calls"),
        chunk({"reasoning_content": "Hm", "refusal": None}, index=1),
        chunk({"content": "Three", "role": "assistant"}, "length", index=1, usage=None, native_finish_reason="stop"),
        usage_chunk(),
        *stamped(said("four")),
    ],
    "completions": [completion("One "), completion("two", index=1), completion("", "stop", usage={"total_tokens": 3})],
    "responses": [
        *numbered(response(reasoning(0, "Hm", "!"), message(1, "One ", "two"), function_call(2, "weather", "{", "}"))),
        {"type": "error", "code": "x", "message": "Overloaded", "sequence_number": 3},
        {"type": "keepalive", "sequence_number": 4},
    ],
    "assistants": [json.loads(event.data) for event in reference(run("One ", "two")) if event.data[0] == "{"],
}
SOUND["other"] = SOUND["chat"] + SOUND["assistants"]
JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        2**70,
        1.5,
        "",
        " ",
        "x",
        "0",
        "null",
        "stop",
        "assistant",
        "\ufffd",
        "\ud800",
        "{}",
    ),
    *([], {}, [None], ["x"], [[]], [{}], {"x": 1}, {"type": "text"}, [{"type": "text", "text": 1}], {"index": 0}),
    *([{"index": 0}], [{"index": [], "delta": 1}], [{"index": {}, "delta": {"content": 1}}]),
]


def broken(value: Any, rng: random.Random) -> Any:
    """A value with a few of its members exchanged, taken away, doubled or added, at any depth."""
    if rng.random() < 0.06:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        kept = {key: broken(inner, rng) for key, inner in value.items() if rng.random() > 0.05}
        if rng.random() < 0.05:
            name = rng.choice(
                ["error", "usage", "choices", "delta", "tool_calls", "content", "detail", "sequence_number", "item"]
            )
            kept[name] = rng.choice(JUNK)
        return kept
    if isinstance(value, list):
        kept_items = [broken(inner, rng) for inner in value if rng.random() > 0.04]
        return kept_items * (2 if rng.random() < 0.05 else 1)
    return value


def broken_stream(api: str, seed: int) -> bytes:
    """A stream whose payloads come in any order, some of them broken."""
    rng = random.Random(seed)
    payloads = [dict(payload) for payload in SOUND[api]]
    for _ in range(rng.randint(0, 6)):
        payloads.insert(rng.randrange(len(payloads)), payloads.pop(rng.randrange(len(payloads))))
    payloads = [broken(payload, rng) if rng.random() < 0.5 else payload for payload in payloads]
    names = [payload.get("type") if api == "responses" and isinstance(payload, dict) else None for payload in payloads]
    frames = [
        sse(json.dumps(payload), event=name if isinstance(name, str) and name.isprintable() else None)
        for payload, name in zip(payloads, names, strict=True)
    ]
    return b"".join(frames) + rng.choice([b"", DONE, frames[-1][:-7]])


CUT_CALL = [fragment(0, "", id="call_a"), fragment(0, "{}")]  # its name never comes
_ODD_DELTA = {**message(0, "One")[2], "sequence_number": 2}
#: What makes a rule raise, each with the policy under which it does.
RAISING: dict[str, tuple[str, str, list[Payload]]] = {
    "index-a-list": (
        *("chat", "default"),
        [*said("One")[:2], chunk({}, usage={"total_tokens": 3}), chunk({}), chunk({"content": "x"}, index=[])],  # type: ignore[arg-type]
    ),
    "output-index-a-list": ("responses", "default", [{**_ODD_DELTA, "output_index": []}]),
    "content-index-an-object": ("responses", "default", [{**_ODD_DELTA, "content_index": {}}]),
    "arguments-a-number-while-the-name-is-awaited": (
        *("chat", "default"),
        [chunk({"tool_calls": [CUT_CALL[0]]}), chunk({"tool_calls": [fragment(0, 7)]})],  # type: ignore[arg-type]
    ),
    "function-a-text-beside-a-fragment": (
        *("chat", "default"),
        [chunk({"tool_calls": [fragment(0, "{}", id="a", name="f"), {"index": 0, "function": "f"}]})],
    ),
    "tool-calls-a-text-at-the-finish": (
        *("chat", "all"),
        [chunk({"tool_calls": [fragment(0, "", id="a", name="f")]}), chunk({"tool_calls": "x"}, "tool_calls")],
    ),
    "tool-calls-a-number-while-the-name-is-awaited": (
        *("chat", "default"),
        [chunk({"tool_calls": [CUT_CALL[0]]}), chunk({"tool_calls": 7}, "tool_calls")],
    ),
}


@pytest.mark.parametrize("name", RAISING)
def test_a_member_of_another_type_does_not_make_us_raise(name: str) -> None:
    """The known ones of those that the next test looks for."""
    api, repair, payloads = RAISING[name]

    assert watch(api, body(payloads), repair).report.verdict is not None


@given(
    st.sampled_from(sorted(SOUND)),
    SEEDS,
    st.sampled_from(POLICIES),
    st.sampled_from(parsers()),
    st.sampled_from(REQUESTS),
)
@example("responses", 269801169, "all", json.loads, Request())
@often
def test_nothing_that_a_server_sends_makes_us_raise(
    api: str, seed: int, repair: str, loads: Callable[[bytes], Any], request_: Request
) -> None:
    """Members of any type, in any place, in any order: watched to the end, and judged."""
    seen = watch(api, broken_stream(api, seed), repair, loads=loads, request=request_)

    assert seen.report.verdict is not None
    for kind, outcomes in seen.report.outcomes.items():
        assert sum(outcomes.values()) == seen.report.anomalies[kind]
        assert all(count > 0 for count in outcomes.values())


#: What is altered even while it is only watched, each as it stands on the wire.
ALTERED = {
    "a finish_reason that is no text": [*said("One")[:2], chunk({}, 7)],  # type: ignore[arg-type]
    "later fragments of a call that was numbered anew": [
        chunk({"tool_calls": [each]}) for each in tool_call(3, "call_a", "weather", '{"a":', "1}")
    ],
    "the chunk after a call whose name never came": [
        *(chunk({"tool_calls": [each]}) for each in CUT_CALL),
        chunk({"tool_calls": [fragment(1, "{}", id="call_b", name="time")]}),
        chunk({}, "tool_calls"),
    ],
}


@pytest.mark.parametrize("name", ALTERED)
def test_observing_changes_nothing_of_these_streams(name: str) -> None:
    """The known ones of those that the next test looks for."""
    seen = watch("chat", body(ALTERED[name]), "none", request=Request())

    assert seen.payloads == ALTERED[name]


@given(st.sampled_from(sorted(SOUND)), SEEDS, st.sampled_from(parsers()), st.sampled_from(REQUESTS))
@example("chat", 1366961268, json.loads, Request())
@often
def test_observing_changes_nothing_of_any_stream(
    api: str, seed: int, loads: Callable[[bytes], Any], request_: Request
) -> None:
    """However broken: with the policy `none` the SDK reads of every event what stands in its bytes."""
    wire = broken_stream(api, seed)
    wire = wire[: wire.rindex(b"\n\n") + 2]
    seen = watch(api, wire, "none", loads=loads, request=request_)

    expected = [Delivered(event.event, sdk_value(event)) for event in reference(wire)]
    assert seen.delivered == expected[: len(seen.delivered)]
    assert len(seen.delivered) == len(expected)


TEXTS = [
    *('{"a":1}', '{"a":1.0}', '{"a":1e5}', '{"a":-0}', '{"a":-0.0}', '{"a":123456789012345678901234567890}'),
    *('{"a":"\\ud83d\\ude42"}', '{"a":"\\ud83d"}', '{"a":"\\u0000"}', '{"a":"\x7f"}', '{"a":1,"a":2}', '{"":{}}'),
    *('{"a":1}x', '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":1.}', "{'a':1}", '{"a":1,}', '{"a":"\t"}', '{"a":"\x01"}'),
    *('{"a":tru}', '{"a"}', "{", '{"a":"\\x"}', '{"a":' * 3, '{"a":[1,2' + "]" * 3, '{"a": 0x1}', '{"a":1}{"b":2}'),
    *('{ "a" : [ ] }', '{"a":"é🙂\u2028"}', '{"a":' + "[" * 300 + "]" * 300 + "}", '{"a":1E400}', '{"a":Infinity}'),
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("loads", parsers(), ids=lambda loads: loads.__module__.partition(".")[0])
@pytest.mark.parametrize("repair", POLICIES)
def test_json_is_what_the_sdk_takes_for_json(text: str, loads: Callable[[bytes], Any], repair: str) -> None:
    """Whatever parses it here: the SDK gets what `json.loads` gives, or raises where that raises."""
    try:
        expected = json.loads(text)
    except ValueError:
        expected = text
    (seen,) = watch("other", sse(text), repair, loads=loads).delivered

    assert seen.value == expected
    assert repr(seen.value) == repr(expected)


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize("case", HEALTHY, ids=repr)
def test_nothing_of_a_healthy_stream_is_held(case: Case) -> None:
    """Every event is there as soon as its last byte is, whatever the bytes that follow."""
    stream = StreamWatch(case.api, case.request)
    for number, frame in enumerate(case.wire.split(b"\n\n")[:-1], 1):
        for byte in bytewise(frame + b"\n\n"):
            assert len(stream.ready) == number - 1
            stream.receive(byte)
        assert len(stream.ready) == number
        assert stream.deadline is None


@pytest.mark.quick_cases(75)
@pytest.mark.parametrize("case", [case for case in CASES if b"\r" not in case.wire], ids=repr)
def test_events_that_somebody_else_decoded_are_watched_too(case: Case) -> None:
    """A decoder of the client's own: the same rules, the same verdict; framing is not ours to see then."""
    stream = StreamWatch(case.api, case.request, settings(case.repair), clock=lambda: 0.0)
    for event in reference(case.wire):
        stream.receive_event(Event(event.data, event.data.encode(), event.event, event.id, event.retry))
    stream.close(case.error)
    direct = watch(
        case.api,
        b"".join(rewired(event) for event in reference(case.wire)),
        case.repair,
        request=case.request,
        error=case.error,
    )

    got = [Delivered(event.event, sdk_value(event)) for event in stream.ready]
    framing = {"sse_framing_variant", "keepalive_frame", "sse_event_unterminated"}
    assert got == direct.delivered
    assert stream.verdict is direct.report.verdict
    assert {k.name for k in stream.report().anomalies} - framing == {k.name for k in direct.report.anomalies} - framing


def rewired(event: Event) -> bytes:
    """The wire of one event, framed as OpenAI does."""
    head = (f"event: {event.event}\n" if event.event else "") + (f"id: {event.id}\n" if event.id else "")
    retry = f"retry: {event.retry}\n" if event.retry is not None else ""
    return (head + retry + "".join(f"data: {line}\n" for line in event.data.split("\n")) + "\n").encode()


def test_a_watch_tells_what_it_knows_before_the_end() -> None:
    """A long stream is recorded while it runs: counts so far, and no verdict yet."""
    stream = StreamWatch("chat")
    stream.receive(body(said("One ", "two")[:3], done=False))
    report = stream.report()

    assert (report.verdict, report.outcomes, report.events) == (None, {}, 3)
    assert report.chunks == {ChunkType.ROLE: 1, ChunkType.TEXT: 2}


@pytest.mark.parametrize(
    ("received", "verdict"),
    [
        (2, Verdict.ABANDONED),
        (0, Verdict.ABANDONED),
        (None, Verdict.COMPLETE),
    ],
)
def test_a_stream_that_the_consumer_leaves(received: int | None, verdict: Verdict) -> None:
    """Left before its end it is abandoned, and no fault of the server's; after it, it was complete."""
    frames = [sse(each) for each in said("One ", "two")] + [DONE]
    stream = StreamWatch("chat")
    for frame in frames[:received]:
        stream.receive(frame)
    stream.close(abandoned=True)

    assert stream.verdict is verdict
    assert not [kind for kind in stream.anomalies if kind.severity.value == "fault"]


@pytest.mark.parametrize("then", ["bytes", "an event", "the end"])
def test_a_read_of_many_events_is_worked_through_in_steps_and_in_order(then: str) -> None:
    """The reader gets the first of them at once, and whatever comes next waits for the rest."""
    wire = [begin(), *texts(*map(str, range(200)))]
    stream = StreamWatch("chat")
    stream.take(body(wire, done=False))
    assert stream.behind
    assert 0 < len(stream.ready) < len(wire)
    last = chunk({}, "stop")
    if then == "bytes":
        stream.take(sse(last))
    elif then == "an event":
        stream.receive_event(Event(json.dumps(last), json.dumps(last).encode()))
    stream.close()

    assert [event.payload for event in stream.ready] == [*wire, *([last] if then != "the end" else [])]


def test_events_may_be_made_of_another_class_from_some_point_on() -> None:
    """When it is known who reads them."""

    class Other(Event):
        __slots__ = ()

    stream = StreamWatch("chat")
    first, *others = said("One")
    stream.receive(sse(first))
    stream.make_of(Other)
    stream.receive(body(others))

    assert [type(event) for event in stream.ready] == [Event, *[Other] * len(others), Other]


def test_nothing_is_let_go_where_nothing_is_held() -> None:
    """A reader that wakes for nothing changes nothing."""
    stream = StreamWatch("chat", clock=lambda: 1e9)
    stream.receive(body(said("One")[:2], done=False))
    before = stream.report()
    stream.expire()
    stream.let_go()

    assert stream.report() == before
    assert [event.payload for event in stream.ready] == said("One")[:2]


@pytest.mark.parametrize(("waits", "stalled"), [([29.0, 30.0], False), ([31.0], True), ([31.0, 29.0, 60.0], True)])
def test_a_server_that_keeps_its_reader_waiting_has_stalled_once(waits: list[float], stalled: bool) -> None:
    """Longer than the settings say, in one read; counted once a stream, however often."""
    stream = StreamWatch("chat", settings=settings(stall_seconds=30.0))
    for seconds in waits:
        stream.waited(seconds)

    assert stream.anomalies.keys() == ({STREAM_STALLED} if stalled else set())
    assert not stalled or stream.anomalies[STREAM_STALLED].count == 1


@pytest.mark.parametrize(("window", "later", "due"), [(2.0, 0.5, 0.75), (0.1, 0.05, 0.1)])
def test_the_deadline_is_that_of_the_stage_whose_time_is_over_first(window: float, later: float, due: float) -> None:
    """A call waits for its name, for the whole window, and later a chunk waits for a number, for a short one."""
    now = [0.0]
    wire = stamped([begin(), chunk({"tool_calls": [fragment(0, "", id="call_a")]}), *texts("One ", "two")])
    stream = StreamWatch("chat", Request(n=1), settings(window_seconds=window), clock=lambda: now[0])
    stream.receive(body(wire[:2], done=False))
    assert stream.deadline == window
    now[0] = later
    stream.receive(sse(wire[3]))
    assert stream.deadline == due
    for _ in range(2):
        assert stream.deadline is not None
        now[0] = stream.deadline
        stream.expire()

    assert stream.deadline is None
    assert [event.payload for event in stream.ready] == [*wire[:2], wire[3]]


def test_the_end_comes_once() -> None:
    """Whatever else closes the stream later, the first end is the one that counts."""
    stream = StreamWatch("chat")
    stream.receive(body(said("One")))
    stream.close()
    before = stream.report()
    stream.close(ConnectionError(), abandoned=True)
    stream.close(abandoned=True)

    assert stream.report() == before


def test_serials_count_the_streams_of_the_process() -> None:
    """Later streams have greater serials."""
    first, second = StreamWatch("chat"), StreamWatch("chat")

    assert second.serial > first.serial


def test_the_report_names_the_answer() -> None:
    """Model, id and finish reasons are those of the wire; content is not in the report."""
    report = watch("chat", body(said("Canary", "-text")), request=Request(model="gpt-4o")).report

    assert (report.response_model, report.response_id, report.finish_reasons) == (
        "gpt-4o-2024-05-13",
        "chatcmpl-1",
        ("stop",),
    )
    assert "Canary" not in repr(report)


def test_chunks_are_counted_by_what_they_carry() -> None:
    """One chunk, one sort."""
    chunks = [*SOUND["chat"][:3], chunk({"reasoning": "Hm"}), *texts("a", "b"), chunk({"refusal": "No"}), usage_chunk()]
    report = watch("chat", body([*chunks, chunk({}, "stop")])).report

    assert sum(report.chunks.values()) == len(chunks) + 1
    assert report.chunks[ChunkType.TEXT] == 4
    assert {ChunkType.ROLE, ChunkType.REASONING, ChunkType.REFUSAL, ChunkType.USAGE, ChunkType.FINISH} < set(
        report.chunks
    )


@pytest.mark.parametrize("broken_at", range(1, 14))
@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_nothing_is_lost_by_an_error_of_our_own(broken_at: int, size: int) -> None:
    """A rule that raises, at any event: what was not handed on stands in `undelivered`, in order."""
    events = answered("One ", "two ", "three ", "four")
    disordered = [*events[:5], events[7], *events[5:7], *events[8:]]
    wire, calls = named(disordered), 0

    def loads(raw: bytes) -> Any:
        nonlocal calls
        calls += 1
        if calls == broken_at:
            raise RuntimeError
        return json.loads(raw)

    stream = StreamWatch("responses", loads=loads, clock=lambda: 0.0)
    numbers: list[int] = []
    for at in range(0, len(wire), size):
        try:
            stream.receive(wire[at : at + size])
        except RuntimeError:
            left, rest = stream.undelivered()
            left += reference(rest + wire[at + size :])
            numbers += [sdk_value(event)["sequence_number"] for event in left]
            break
        numbers += [event.payload["sequence_number"] for event in stream.ready]
        stream.ready.clear()

    assert sorted(numbers) == list(range(len(events)))


@pytest.mark.slow
def test_a_long_stream_costs_no_memory() -> None:
    """30,000 deltas of text, of arguments and of numbered events: nothing of them is kept."""
    deltas = [*texts(*["word "] * 100), *(chunk({"tool_calls": [fragment(0, "x" * 20)]}) for _ in range(100))]
    chat = b"".join(map(sse, deltas))
    stream = StreamWatch("chat")
    stream.receive(body(said("One")[:2], done=False) + sse(chunk({"tool_calls": [fragment(0, "", id="c", name="f")]})))
    growth = []
    tracemalloc.start()
    try:
        for turn in range(150):
            stream.receive(chat)
            stream.ready.clear()
            if turn in (20, 149):
                growth.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert growth[1] - growth[0] < 50_000


@pytest.mark.parametrize("repair", POLICIES)
def test_an_unknown_api_may_stream_any_json(repair: str) -> None:
    """Lists, strings, numbers and null are payloads there; what is no JSON goes to the SDK, which raises on it."""
    payloads = ["[1,2]", '"x"', "5", "null", '{"a":1}', "{"]
    stream = StreamWatch("other", settings=settings(repair))
    stream.receive("".join(f"data: {payload}\n\n" for payload in payloads).encode())
    stream.close()

    assert [event.data for event in stream.ready] == payloads
    report = stream.report()
    assert (report.events, report.chunks, report.kinds) == (5, {ChunkType.OTHER: 5}, ("payload_invalid",))


def test_events_are_of_the_type_that_was_asked_for() -> None:
    """The SDK wants events of its own class, inserted ones included."""

    class Sent(Event):
        __slots__ = ()

    stream = StreamWatch("responses", Request(accumulated=True), event_type=Sent)
    events = answered("One ", "two")
    stream.receive(named([*events[:3], *events[4:]]))  # content_part.added is missing, and put in
    stream.close()

    assert {type(event) for event in stream.ready} == {Sent}
    assert len(stream.ready) == len(events)


def test_a_consumer_that_leaves_over_broken_json_did_not_leave() -> None:
    """It was the SDK, which raised: the stream is judged by what came."""
    stream = StreamWatch("chat")
    stream.receive(body(said("One")[:2], done=False) + b'data: {"choices": [\n\n')
    stream.close(abandoned=True)

    assert stream.verdict is Verdict.TRUNCATED


def test_a_stream_that_is_watched_no_further_is_not_blamed() -> None:
    """Nobody saw its end: the report says why, and calls nothing truncated."""
    stream = StreamWatch("chat")
    stream.receive(body(said("One")[:2], done=False))
    stream.leave("event too large")
    stream.close()

    assert stream.report().unwatched == "event too large"
    assert stream.verdict is Verdict.COMPLETE
    assert stream.anomalies == {}


@pytest.mark.parametrize("data", ["null", "7", "[]", '""', "", ": ping", "data: {}", "data: data: [DONE]"])
def test_a_payload_that_the_sdk_cannot_use_can_be_let_pass(data: str) -> None:
    """`-payload_invalid`: counted, and handed on as it came."""
    wire = sse(chunk({"content": "One"})) + b"event: x\n" + sse(data)
    seen = watch("chat", wire, "default,-payload_invalid", error=ConnectionError())

    assert [event.data for event in seen.events[1:]] == [data]
    assert seen.outcome(PAYLOAD_INVALID) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("data", ["data: {", "data: data: 7", "data: x"])
def test_a_frame_in_a_frame_that_holds_no_object_is_left_to_the_sdk(data: str) -> None:
    """It raises on it: nothing is taken off, and nothing dropped."""
    seen = watch("chat", sse(chunk({"content": "One"})) + sse(data), "all")

    assert [event.data for event in seen.events[1:]] == [data]
    assert seen.outcome(PAYLOAD_INVALID) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("api", ["other", "assistants", "responses", "chat", "completions"])
def test_a_stream_of_which_nothing_came_tells_nothing(api: str) -> None:
    """No answer to any question of the end, and no evidence for or against anything."""
    stream = StreamWatch(api)

    assert not stream._api.finished()
    assert stream._api.arguments_parse() is None
    assert stream.report().finish_reasons == ()
    assert stream.report().chunks == {}


def test_events_of_an_api_that_is_not_known_are_counted_by_their_names() -> None:
    """Named ones are of a protocol with a life of its own, the others anything."""
    wire = sse({"a": 1}, event="image.partial") * 3 + sse({"a": 1}) * 2

    assert watch("other", wire).report.chunks == {ChunkType.LIFECYCLE: 3, ChunkType.OTHER: 2}


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"error": "Overloaded", "x": 1}, {"error": "Overloaded"}),
        ({"message": "Overloaded"}, {"error": {"message": "Overloaded"}}),
        ({"detail": "Overloaded"}, {"error": {"detail": "Overloaded"}}),
        ({"title": "Overloaded"}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("api", ["chat", "completions", "responses", "assistants", "other"])
def test_a_document_in_the_place_of_a_stream_is_shown_if_it_is_an_error(
    api: str, document: Payload, shown: Payload | None
) -> None:
    """In the words of OpenAI, of most gateways and of FastAPI: the SDK then raises what it silently ignores."""
    seen = watch(api, json.dumps(document).encode(), "all")

    assert seen.payloads == ([shown] if shown else [])
    assert seen.report.verdict is Verdict.ERROR
    assert seen.outcome(ERROR_HIDDEN) == {Outcome.UNVERIFIED if shown else Outcome.UNREPAIRED}
    assert watch(api, json.dumps(document).encode()).payloads == []


def test_what_is_put_in_can_be_read_by_anybody() -> None:
    """Those who parse the text themselves get what those get who take the object."""
    events = answered("One ", "two")
    seen = watch("responses", named([*events[:2], *events[4:-3], events[-1]]), request=Request(accumulated=True))

    assert len(seen.events) > len(events) - 4
    assert [json.loads(event.data) for event in seen.events] == [event.payload for event in seen.events]


@pytest.mark.parametrize("held", [False, True], ids=["at once", "held"])
def test_what_a_rule_had_in_hand_when_it_raised_is_read_anew(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be half mended: the SDK parses the text for itself."""
    stream, events = StreamWatch("responses"), answered("One ", "two")

    def see(_: object, event: Event) -> None:
        event.payload["mended"] = "half"
        raise RuntimeError

    stream.receive(named([*events[:4], *([events[5]] if held else [])]))
    stream.ready.clear()
    monkeypatch.setattr(type(stream._api), "see", see)
    with pytest.raises(RuntimeError):
        stream.receive(named([events[4]]))

    left, _ = stream.undelivered()
    assert [sdk_value(event) for event in left] == events[4 : 5 + held]


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_what_is_held_waits_for_the_server_alone(api: str) -> None:
    """Seconds in which the reader was at work count against no window."""
    now = [100.0]
    if api == "responses":
        stream, events = StreamWatch("responses", clock=lambda: now[0]), answered("One ", "two")
        stream.receive(named([*events[:4], events[5]]))
    else:
        stream = StreamWatch("chat", Request(n=2, accumulated=True), clock=lambda: now[0])
        stream.receive(body([chunk({"role": "assistant", "content": "b"}, index=1)], done=False))
    deadline = stream.deadline
    assert deadline is not None

    now[0] += 60
    stream.postpone(60)
    assert stream.deadline == deadline + 60
    before = len(stream.ready)
    stream.expire()
    assert (len(stream.ready), stream.holding) == (before, True)
    now[0] = deadline + 60
    stream.expire()
    assert (len(stream.ready), stream.holding) == (before + 1, False)


# --- several payloads in one event


@pytest.mark.parametrize("cut", ["whole", "bytes", "one by one"])
@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n"])
def test_payloads_whose_blank_lines_were_lost_are_events_of_their_own(cut: str, end: bytes) -> None:
    """The SDK raises on such an event: each line of it is a JSON object (sub2api#1471)."""
    chunks = said("One ", "two", "three")
    lost = b"".join(sse(each).replace(b"\n\n", b"\n") for each in chunks[1:3]) + end + b"\n"
    wire = body(chunks[:1], done=False) + lost + body([] if end else chunks[3:], done=not end)
    parts = {"whole": [wire], "bytes": [bytes([byte]) for byte in wire], "one by one": wire.splitlines(keepends=True)}
    seen = watch("chat", parts[cut])

    assert [each for each in seen.payloads if each] == (chunks[:3] if end else chunks)
    assert seen.outcome(PAYLOAD_INVALID) == {Outcome.VERIFIED}


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_error_that_stands_in_the_event_before_it_is_one(api: str, torn: bool) -> None:
    """The SDK raises what the server says, or on what is torn: in either case the answer has failed."""
    events = said("One ", "two")[:2] if api == "chat" else answered("One")[:4]
    failure = {"error": {"message": "gone"}}
    before = sse(events[-1])[: -12 if torn else -1]
    wire = b"".join(map(sse, events[:-1])) + before + b"\n" * torn + sse(failure)
    seen = watch(api, wire)

    assert seen.report.verdict is Verdict.ERROR
    assert ERROR_IN_STREAM in seen.report.anomalies
    assert (failure in seen.payloads) == (not torn)


def test_several_payloads_can_be_left_as_they_came() -> None:
    """By the policy; and where only the name of an event says what it is, of which one came."""
    text = b"".join(sse(each).replace(b"\n\n", b"\n") for each in said("One ", "two")[:2]) + b"\n"
    thread = b"event: thread.message.delta\n" + text
    for seen in (watch("chat", text, "-payload_invalid"), watch("assistants", thread)):
        (event,) = seen.events
        assert event.payload is None
    observed = watch("chat", text, "none")
    assert len(observed.events) == 1
    assert observed.report.events == 2


def test_more_payloads_in_one_event_than_a_step_takes_all_go_on() -> None:
    """In their order."""
    words = [str(number) for number in range(200)]
    chunks = said(*words)
    lost = b"".join(sse(each).replace(b"\n\n", b"\n") for each in chunks[:-1]) + b"\n"

    assert watch("chat", lost + body(chunks[-1:])).payloads == chunks


def test_nothing_is_asked_at_the_end_of_what_failed() -> None:
    """The reader leaves a stream that could not be watched: no rule looks at it any more."""
    stream = StreamWatch("chat")
    stream.receive(body([*said("One")[:2], {"success": False}], done=False))
    stream.leave("broken", failed=True)
    stream.close(abandoned=True)

    assert ERROR_HIDDEN not in stream.report().anomalies
