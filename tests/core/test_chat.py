"""Chat completions: what is there stays there, dicts have a content, and what is proved wrong is put right."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest

from helpers.stream_builders import (
    DONE,
    Answer,
    Call,
    Delivered,
    Payload,
    Said,
    Seen,
    bare,
    begin,
    body,
    called,
    chunk,
    completion,
    fragment,
    read,
    said,
    sdk_value,
    settings,
    sse,
    texts,
    tool_call,
    usage_chunk,
    watch,
)
from streamwatch.core.kinds import (
    CHOICES_EMPTY,
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    ERROR_HIDDEN,
    ERROR_IN_STREAM,
    FINISH_REASON_IRREGULAR,
    FINISH_REASON_MISSING,
    FINISH_REASON_PREMATURE,
    KINDS,
    REASONING_NONSTANDARD,
    TOOL_CALL_INDEX_MISSING,
    USAGE_MISPLACED,
)
from streamwatch.core.quirks import FAILURES, REASONING
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict

READER, HELPER = Request(n=1), Request(n=1, accumulated=True)
CALL = called(*tool_call(0, "call_a", "weather", '{"city":', '"Paris"}'))
#: Streams as servers send them, in every one of which some delta has no content.
STREAMS: dict[str, list[Payload]] = {
    "text": said("One ", "two"),
    "tool call": CALL,
    "text, then a tool call": [*said("Let me see")[:2], *CALL[1:]],
    "first delta null": [begin(content=None), *said("One")[1:]],
    "empty deltas amid text": [begin(), chunk({}), *texts("One "), chunk({"content": None}), *said("two")[1:]],
    "reasoning": [chunk({"role": "assistant", "reasoning_content": "Hm"}), *said("One")[1:]],
    "refusal": [begin(content=None), chunk({"refusal": "No"}), chunk({}, "stop")],
    "two choices": [begin(0, None), begin(1, None), *texts("a"), chunk({}, "stop"), chunk({}, "stop", index=1)],
    "usage": [*said("One"), usage_chunk()],
    "after the end": [*said("One"), chunk({}), chunk({"content": None})],
    "cut": said("One", "two")[:3],
}
#: Members that providers send on every chunk, whatever they hold: null, empty, or said before.
HABITS: dict[str, Payload] = {
    "tool_calls empty": {"tool_calls": []},
    "tool_calls null": {"tool_calls": None},
    "role": {"role": "assistant"},
    "role empty": {"role": ""},
    "role null": {"role": None},
    "refusal null": {"refusal": None},
    "function_call null": {"function_call": None},
    "reasoning empty": {"reasoning_content": ""},
    "unknown": {"vendor": {"x": [None, "", {}]}},
}
_EACH = pytest.mark.parametrize("name", STREAMS)


def deltas(payloads: list[Payload]) -> Iterator[Payload]:
    """Every delta, in order."""
    return (choice["delta"] for payload in payloads for choice in payload["choices"])


def as_dicts(seen: Seen) -> list[Payload]:
    """The chunks as dicts: with a content where the event says so, in deltas that have none."""
    dicts = []
    for event in seen.events:
        if event.payload is None:
            continue
        payload = copy.deepcopy(sdk_value(event))
        for delta in deltas([payload]) if event.fills_content else ():
            if delta.get("content") is None:
                delta["content"] = ""
        dicts.append(payload)
    return dicts


@_EACH
def test_the_loop_of_every_tutorial_raises_no_key_error(name: str) -> None:
    """The second known issue, literally: chunk["choices"][0]["delta"]["content"], joined."""
    text = "".join(delta["content"] for delta in deltas(as_dicts(watch("chat", body(STREAMS[name]), request=READER))))

    assert text == "".join(delta.get("content") or "" for delta in deltas(STREAMS[name]))


@_EACH
@pytest.mark.parametrize("reader", [READER, HELPER], ids=["reader", "helper"])
def test_attributes_are_those_of_the_wire(name: str, reader: Request) -> None:
    """What is null or absent stays so: no member of any chunk differs, for readers and for the helper."""
    assert watch("chat", body(STREAMS[name]), request=reader).payloads == STREAMS[name]


@_EACH
def test_the_helper_gets_no_content_that_did_not_come(name: str) -> None:
    """For it "" is a text: it would make events that are not there."""
    seen = watch("chat", body(STREAMS[name]), request=HELPER)

    assert not any(event.fills_content for event in seen.events)
    assert seen.outcome(CONTENT_ABSENT) | seen.outcome(CONTENT_NULL) <= {Outcome.UNREPAIRED}


@_EACH
def test_only_chunks_that_lack_a_content_get_one(name: str) -> None:
    """Each one that does, and no other."""
    events = [event for event in watch("chat", body(STREAMS[name]), request=READER).events if event.payload is not None]
    lacking = [any(delta.get("content") is None for delta in deltas([payload])) for payload in STREAMS[name]]

    assert [event.fills_content for event in events] == lacking


@_EACH
def test_filling_can_be_asked_for_and_forbidden(name: str) -> None:
    """`+fill_content` fills attributes, but never where the helper reads; `-fill_content` fills nothing."""
    wire = STREAMS[name]
    asked = watch("chat", body(wire), "+fill_content", request=READER)
    filled = [{**delta, "content": delta.get("content") or ""} for delta in deltas(wire)]

    assert list(deltas(asked.payloads)) == filled
    assert watch("chat", body(wire), "+fill_content", request=HELPER).payloads == wire
    forbidden = watch("chat", body(wire), "-fill_content", request=READER)
    assert forbidden.payloads == wire
    assert not any(event.fills_content for event in forbidden.events)


@_EACH
def test_every_delta_without_content_is_counted(name: str) -> None:
    """Filled or not: once a delta, absent or null; and what is filled is of shape alone."""
    contents = [delta.get("content", "absent") for delta in deltas(STREAMS[name])]
    for reader, outcome in ((READER, Outcome.UNVERIFIED), (HELPER, Outcome.UNREPAIRED)):
        seen = watch("chat", body(STREAMS[name]), request=reader)
        assert seen.report.anomalies.get(CONTENT_ABSENT, 0) == contents.count("absent")
        assert seen.report.anomalies.get(CONTENT_NULL, 0) == contents.count(None)
        assert seen.outcome(CONTENT_ABSENT) | seen.outcome(CONTENT_NULL) <= {outcome}


@_EACH
def test_observing_fills_nothing(name: str) -> None:
    """With the policy `none` no event asks for a content."""
    assert not any(event.fills_content for event in watch("chat", body(STREAMS[name]), "none").events)


def test_a_chunk_of_our_own_is_fit_for_naive_readers_too() -> None:
    """What is put in must not raise the very KeyError that is prevented elsewhere."""
    seen = watch("chat", body(said("One")[:2]), "default,+finish_reason_missing", request=READER)

    assert FINISH_REASON_MISSING in seen.report.anomalies
    assert seen.payloads[-1] == chunk({}, "stop")
    assert all("content" in delta for delta in deltas(as_dicts(seen)))


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("name", ["text", "tool call", "reasoning", "two choices"])
def test_what_is_there_stays_there(name: str, habit: str) -> None:
    """Null, empty or said before: attribute readers get every chunk as it came, and no chunk more or fewer."""
    wire = copy.deepcopy(STREAMS[name])
    for delta in deltas(wire):
        for member, value in HABITS[habit].items():
            delta.setdefault(member, value)
    seen = watch("chat", body(wire), request=Request(n=2))

    assert seen.payloads == wire
    assert not seen.faults


def test_an_error_passes_unchanged() -> None:
    """The SDK makes an APIError of it: not a member is touched, and what came before was handed on."""
    error = {**chunk({}, "error"), "error": {"message": "Overloaded", "code": 502}, "user_id": "x"}
    seen = watch("chat", body([*said("One")[:2], error]))

    assert seen.payloads[-1] == error
    assert seen.report.anomalies[ERROR_IN_STREAM] == 1
    assert seen.report.verdict is Verdict.ERROR


@pytest.mark.parametrize("nothing", [None, {}, "", [], False, 0], ids=repr)
def test_an_error_that_says_nothing_is_none(nothing: object) -> None:
    """As the SDK reads it: only a truthy `error` is one."""
    seen = watch("chat", body([{**each, "error": nothing} for each in said("One")]))

    assert ERROR_IN_STREAM not in seen.report.anomalies
    assert seen.report.verdict is Verdict.COMPLETE


def test_choices_in_one_chunk_are_looked_at_each() -> None:
    """No provider is known to do so, but the format allows it."""
    both = {**bare(), "choices": [begin(0, None)["choices"][0], begin(1, None)["choices"][0]]}
    seen = watch("chat", body([both, *texts("a"), *texts("b", index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]))

    assert [delta["content"] for delta in deltas(as_dicts(seen)[:1])] == ["", ""]
    assert read("chat", seen.delivered) == Answer({0: Said("a"), 1: Said("b")})


def test_usage_comes_to_stand_in_the_last_chunk() -> None:
    """The SDK's helper keeps the usage of the last chunk, and no other."""
    seen = watch("chat", body([*said("One")[:2], usage_chunk(12), said("One")[-1]]), request=HELPER)

    assert seen.payloads[-1]["usage"]["total_tokens"] == 12
    assert seen.outcome(USAGE_MISPLACED) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize("kept", [True, False], ids=["usage", "usage beyond 16 KiB"])
def test_a_chunk_behind_the_usage_waits_no_longer_than_the_window(kept: bool) -> None:
    """It may not be the last one; what is too large to be kept is not waited with at all."""
    now = [0.0]
    stream = StreamWatch("chat", HELPER, clock=lambda: now[0])
    early = bare(usage={"total_tokens": 12, "x": "x" * (0 if kept else 17 << 10)})
    wire = [*said("One")[:2], early, *texts("two")]
    stream.receive(body(wire, done=False))
    assert stream.deadline == (2.0 if kept else None)
    assert len(stream.ready) == len(wire) - kept
    now[0] = 2.0
    stream.expire()
    stream.receive(body(said("One")[-1:]))
    stream.close()

    assert [event.payload for event in stream.ready[: len(wire)]] == wire
    outcomes = stream.report().outcomes[USAGE_MISPLACED]
    assert outcomes.get(Outcome.FAILED, 0) == kept


#: What only the SDK's helper needs, for it joins what repeats: a kind, and a chunk that shows it.
FOR_HELPER: dict[str, list[Payload]] = {
    "choices_empty": [{**bare(), "choices": None}],
    "delta_missing": [{**chunk(), "choices": [{"index": 0, "finish_reason": None}]}],
    "role_irregular": [chunk({"role": "assistant", "content": "x"})],
    "finish_reason_irregular": [chunk({"content": "x"}, "null")],
    "chunk_metadata_irregular": [{**chunk({"content": "x"}), "object": "chunk"}],
    "usage_misplaced": [
        {**chunk(), "choices": [{**chunk({"content": "x"})["choices"][0], "usage": {"total_tokens": 1}}]}
    ],
    "choice_index_invalid": [{**chunk(), "choices": [{"index": None, "delta": {"content": "x"}}]}],
}


@pytest.mark.parametrize("kind", FOR_HELPER)
def test_what_only_the_helper_needs_is_done_for_it_alone(kind: str) -> None:
    """Counted for all; and by its name it can be asked for."""
    wire = [*said("One")[:2], *FOR_HELPER[kind], chunk({"content": ""}, "stop")]
    reader, helper = (watch("chat", body(wire), request=request) for request in (READER, HELPER))
    asked = watch("chat", body(wire), f"default,+{kind}", request=READER)

    assert reader.payloads == wire
    assert reader.outcome(KINDS[kind]) == {Outcome.UNREPAIRED}
    for repaired in (helper, asked):
        assert repaired.payloads != wire
        assert Outcome.UNVERIFIED in repaired.outcome(KINDS[kind])


def test_usage_is_not_said_twice_to_who_may_add_it_up() -> None:
    """LangChain and Pydantic AI add up the usage of all chunks: once is right, twice is double."""
    wire = [*said("One")[:2], usage_chunk(12), said("One")[-1]]

    assert watch("chat", body(wire), request=READER).payloads == wire


@pytest.mark.parametrize("total", [[1, 2, 3], [3, 3]], ids=["running", "twice"])
def test_usage_in_several_chunks_is_let_be(total: list[int]) -> None:
    """Running totals are a habit of healthy providers; the last one is in the last chunk already."""
    wire = said("One", "two")
    for each, number in zip(wire[-len(total) :], total, strict=True):
        each["usage"] = {"total_tokens": number}
    seen = watch("chat", body(wire), request=READER)

    assert seen.payloads == wire
    assert not seen.faults


@pytest.mark.parametrize("done", [True, False])
def test_completions_have_texts_and_no_deltas(done: bool) -> None:
    """The older API: rules of deltas are silent, finish and truncation are told."""
    seen = watch("completions", body([completion("One "), completion("two"), completion("", "length")], done=done))

    assert read("completions", seen.delivered) == Answer({0: Said("One two", "length", role=None)})
    assert not {kind.name for kind in seen.report.anomalies} - {"sse_framing_variant"}
    assert seen.report.chunks[ChunkType.TEXT] == 2
    assert seen.report.verdict is Verdict.COMPLETE


def test_audio_deltas_need_no_finish() -> None:
    """Audio models never finish a choice, and leave `choices` out: healthy, all the same."""
    heartbeat = {name: value for name, value in bare().items() if name != "choices"}
    seen = watch("chat", body([begin(content=None), chunk({"audio": {"id": "a", "data": "AAAA"}}), heartbeat]))

    assert not seen.faults
    assert seen.report.verdict is Verdict.COMPLETE


def test_unknown_members_pass_untouched() -> None:
    """Fields of vendors, at every level."""
    wire = [begin(), {**chunk({"content": "One", "x": {"y": [1]}}), "p": "ab"}, chunk({}, "stop")]
    wire[1]["choices"][0]["token_ids"] = [1, 2]

    assert watch("chat", body(wire), request=READER).payloads == wire


@pytest.mark.parametrize(
    "junk", [None, 7, "x", [], [None], {}, [[]], {"choices": None}, [{"delta": 7}], [{"index": "x"}]], ids=str
)
def test_junk_for_choices_harms_nothing_else(junk: object) -> None:
    """Whatever stands there, it goes on as it came, and the rest of the stream is read as ever."""
    wire = [begin(), {**bare(), "choices": junk}, *said("One")[1:]]
    seen = watch("chat", body(wire), request=READER)

    assert seen.payloads == wire
    assert seen.report.finish_reasons == ("stop",)


def test_a_fragment_of_a_call_is_filled_on_the_shortest_way_too() -> None:
    """The commonest chunk of all is not looked at in full: it must not be forgotten, and nothing in it may change."""
    wire = called(*tool_call(0, "call_a", "weather", *'{"city":"Paris"}'), fragment(0, ""))
    seen = watch("chat", body(wire), request=READER)

    assert seen.payloads == wire
    assert all(delta["content"] == "" for delta in deltas(as_dicts(seen)))
    assert seen.report.anomalies[CONTENT_ABSENT] == len(wire) - 1
    assert seen.report.chunks[ChunkType.TOOL_CALL] == len(wire) - 2


# --- each repair can be switched off: then its anomaly is counted, and what came is what is handed on

#: For each kind that is repaired for all readers a wire that shows it.
FOR_ALL: dict[str, list[Payload]] = {
    "choice_index_invalid": [begin(), *texts("x", index=7)],
    "content_misplaced": [begin(), {**chunk(), "choices": [{"index": 0, "text": "x"}]}],
}


@pytest.mark.parametrize("kind", [*FOR_HELPER, *FOR_ALL])
def test_a_repair_of_a_chunk_can_be_switched_off(kind: str) -> None:
    """`-kind`: not a member is touched, and the kind is counted all the same; without it, something is."""
    shown = FOR_ALL.get(kind) or [*said("One")[:2], *FOR_HELPER[kind]]
    wire, request = [*shown, chunk({"content": ""}, "stop")], READER if kind in FOR_ALL else HELPER
    off, on = (watch("chat", body(wire), repair, request=request) for repair in (f"default,-{kind}", "default"))

    assert off.payloads == wire
    assert off.outcome(KINDS[kind]) == {Outcome.UNREPAIRED}
    assert on.payloads != wire
    assert Outcome.UNVERIFIED in on.outcome(KINDS[kind])


@pytest.mark.parametrize(
    ("native", "calls", "reason"),
    [
        ({"finishReason": "MAX_TOKENS"}, False, "length"),
        ({"native_finish_reason": "content_filter"}, False, "content_filter"),
        ({"native_finish_reason": "whatever"}, False, "stop"),
        ({"native_finish_reason": "whatever"}, True, "tool_calls"),
        ({"native_finish_reason": 7}, True, "tool_calls"),
    ],
    ids=str,
)
def test_a_finish_that_never_came_is_what_the_server_calls_it_elsewhere(
    native: Payload, calls: bool, reason: str
) -> None:
    """In a member of its own; else what the chunks show."""
    wire = CALL[:-1] if calls else said("One")[:2]
    choice = {**wire[-1]["choices"][0], **native}
    seen = watch("chat", body([*wire[:-1], {**wire[-1], "choices": [choice]}]), "all")

    assert seen.report.finish_reasons == ("error",)
    assert seen.payloads[-1]["choices"][0]["finish_reason"] == reason


def test_no_finish_is_made_up_for_a_call_that_is_cut() -> None:
    """Its arguments are not JSON yet: whoever ran it would run something else."""
    seen = watch("chat", body(CALL[:3]), "all")

    assert seen.outcome(FINISH_REASON_MISSING) == {Outcome.UNREPAIRED}
    assert seen.payloads[-1]["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        ({"message": "Overloaded"}, "error"),
        ({"type": "error", "message": "Overloaded"}, None),
        ({"object": "error", "message": "Overloaded"}, None),
        ({"detail": "Overloaded"}, None),
    ],
    ids=str,
)
def test_an_error_that_the_sdk_does_not_see_can_be_shown(raw: Payload, event: str | None) -> None:
    """In a form that the SDK takes for a chunk without choices: shown on request, and an error in any case."""
    for repair in ("default", "all"):
        seen = watch("chat", body(said("One")[:2], done=False) + sse(raw, event=event), repair)
        assert seen.report.verdict is Verdict.ERROR
        assert ERROR_HIDDEN in seen.report.anomalies
        shown = {"error": {"message": "Overloaded", **raw}}
        assert seen.payloads[-1] == (shown if repair == "all" else raw)


def test_a_chunk_named_error_with_choices_is_none() -> None:
    """Names of events mean nothing to the SDK here."""
    wire = b"".join(sse({**each, "type": "error"}, event="error") for each in said("One"))

    assert watch("chat", wire).report.verdict is Verdict.COMPLETE


def test_an_answer_that_was_not_streamed_can_be_read_as_a_stream() -> None:
    """The server ignored stream=True: one JSON document, which the SDK silently skips."""
    message = {"role": "assistant", "content": "One"}
    document = {
        **bare(object="chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    seen = watch("chat", json.dumps(document, indent=1).encode(), "all")

    assert seen.payloads == [{**bare(), "choices": [chunk({**message}, "stop")["choices"][0]]}]
    assert read("chat", seen.delivered) == Answer({0: Said("One")})
    assert watch("chat", json.dumps(document).encode()).payloads == []


@pytest.mark.parametrize("head", [{"id": "", "model": "", "created": 0}, {}], ids=["empty", "absent"])
@pytest.mark.parametrize("finish", [None, "stop"], ids=str)
def test_an_annotation_stays_one_for_the_helper(head: Payload, finish: str | None) -> None:
    """Without an object the helper skips it: a chunk without a head that says nothing ends no choice there either."""
    annotation = {"object": "", **head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    wire = [*said("One")[:2], annotation, *said("One")[2:]]
    seen = watch("chat", body(wire), request=Request(n=1, accumulated=True))

    assert "" == next(payload["object"] for payload in seen.payloads if payload.get("id") == head.get("id"))


@pytest.mark.parametrize("head", [{}, {"object": "chat.completion.chunk"}], ids=["nothing", "object"])
def test_a_chunk_without_a_head_has_a_content_in_dicts(head: Payload) -> None:
    """Servers that write neither id nor model are read as others are."""
    wire = [{**head, "choices": payload["choices"]} for payload in said("One")]
    seen = watch("chat", body(wire), request=Request(n=1))

    lacking = [payload for payload in wire if "content" not in payload["choices"][0]["delta"]]
    assert len(lacking) == seen.report.anomalies[CONTENT_ABSENT] > 0
    assert seen.outcome(CONTENT_ABSENT) == {Outcome.UNVERIFIED}


def test_an_annotation_takes_no_role_from_the_answer() -> None:
    """The helper skips it, and would miss the role of the first chunk that it reads."""
    annotation = {"id": "", "object": "", "model": "", "choices": [{"index": 0, "finish_reason": None}]}
    seen = watch("chat", body([annotation, *said("One")]), request=Request(n=1, accumulated=True))

    assert said("One") == seen.payloads[1:]


@pytest.mark.parametrize("document", [[], {}, {"choices": []}, {"x": 1}, "{", {"object": "list"}], ids=str)
def test_a_document_that_says_nothing_of_an_answer_is_let_be(document: object) -> None:
    """Nothing is made up."""
    text = document if isinstance(document, str) else json.dumps(document)
    seen = watch("chat", b"error: " + text.encode() + b"\n\n", "all")

    assert seen.payloads == []
    assert seen.outcome(ERROR_HIDDEN) == {Outcome.UNREPAIRED}


def test_an_id_that_is_no_text_is_none() -> None:
    """A number for an id, a list for a model: the report has what was text."""
    seen = watch("chat", body([{**each, "id": 7, "model": ["x"]} for each in said("One")]))

    assert (seen.report.response_id, seen.report.response_model) == ("", "")
    assert read("chat", seen.delivered) == Answer({0: Said("One")})


PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, 7, {"type": "text", "text": "!"}]},
    {"type": "text", "text": "One "},
    {"type": "thinking", "thinking": "?"},
    {"type": "text", "text": "two"},
    {"type": "text"},
]


def test_content_in_parts_becomes_text_and_reasoning() -> None:
    """Mistral's shape, in the members that others use."""
    seen = watch("chat", body([begin(), chunk({"content": PARTS}), chunk({}, "stop")]), "all")

    assert seen.payloads[1]["choices"][0]["delta"] == {"content": "One two", "reasoning_content": "Hm!?"}
    assert seen.outcome(CONTENT_NOT_STRING) == {Outcome.UNVERIFIED}


@pytest.mark.parametrize(
    "odd", [7, True, {"type": "text"}, [None], [{"type": "image"}], [*PARTS, {"type": "x"}]], ids=str
)
def test_content_of_another_sort_is_let_be(odd: object) -> None:
    """What the parts mean is not guessed."""
    seen = watch("chat", body([begin(), chunk({"content": odd}), chunk({}, "stop")]), "all")

    assert seen.payloads[1]["choices"][0]["delta"]["content"] == odd
    assert seen.outcome(CONTENT_NOT_STRING) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize(
    ("error", "event"), [({"message": "x"}, "error"), ({"error": {"message": "x"}}, None)], ids=str
)
def test_nothing_is_missing_after_an_error(error: Payload, event: str | None) -> None:
    """Hidden or not, it says why no finish_reason came; a consumer that leaves over it did not abandon the stream."""
    wire = body(said("One")[:2], done=False) + sse(error, event=event)
    stream = StreamWatch("chat")
    stream.receive(wire)
    stream.close(abandoned=True)

    assert stream.verdict is Verdict.ERROR
    assert FINISH_REASON_MISSING not in watch("chat", wire + DONE).report.anomalies


def test_a_finish_is_taken_back_behind_what_else_waits() -> None:
    """A call of choice 1 waits for its name: choice 0 ends and goes on meanwhile, and nothing overtakes the call."""
    header = [fragment(0, "", id="call_a"), fragment(0, "{}", name="weather")]
    first, second = (chunk({"tool_calls": [each]}, index=1) for each in header)
    wire = [begin(), begin(1), first, chunk({"content": "One "}, "stop"), *texts("two")]
    stream = StreamWatch("chat", Request(n=2), settings("all"), clock=lambda: 0.0)
    stream.receive(body(wire, done=False))
    assert len(stream.ready) == 2
    stream.receive(body([second, chunk({}, "stop"), chunk({}, "tool_calls", index=1)]))
    stream.close()
    answer = read("chat", [Delivered(event.event, sdk_value(event)) for event in stream.ready])

    assert [each.payload["choices"][0]["index"] for each in stream.ready[:-1]] == [0, 1, 1, 0, 0, 1, 0, 1]
    assert [each.payload["choices"][0]["finish_reason"] for each in stream.ready[3:5]] == [None, None]
    assert answer.said[0].text == "One two"
    assert answer.said[1].calls == [Call("call_a", "weather", "{}")]
    assert stream.report().outcomes[FINISH_REASON_PREMATURE] == {Outcome.UNVERIFIED: 1}


def test_a_finish_that_waits_for_usage_is_not_taken_back() -> None:
    """That is a repair of its own, and nobody asked for it."""
    finish = chunk({}, "stop")
    seen = watch("chat", body([*said("One")[:2], usage_chunk(), finish, *texts("two")]), request=HELPER)

    assert [payload["choices"][0]["finish_reason"] for payload in seen.payloads if payload["choices"]][2] == "stop"
    assert seen.report.outcomes[FINISH_REASON_PREMATURE] == {Outcome.UNREPAIRED: 1}


def test_a_finish_that_was_taken_back_comes_at_the_end() -> None:
    """The same one, and none is missing."""
    seen = watch("chat", body([*said("One")[:2], chunk({}, "length"), *texts("two")]), "all")

    assert [payload["choices"][0]["finish_reason"] for payload in seen.payloads] == [None, None, None, None, "length"]
    assert FINISH_REASON_MISSING not in seen.report.anomalies
    assert seen.outcome(FINISH_REASON_PREMATURE) == {Outcome.UNVERIFIED}


def test_a_choice_of_a_document_without_an_index_is_the_first() -> None:
    """And without a finish_reason it has none."""
    document = {**bare(), "choices": [{"message": {"content": "One"}}]}
    seen = watch("chat", json.dumps(document).encode(), "all")

    assert seen.payloads == [chunk({"content": "One"})]


def test_arguments_that_were_cut_by_a_limit_prove_nothing() -> None:
    """finish_reason length: that they are no JSON says nothing against the repair of their index."""
    fragments = [
        {k: v for k, v in each.items() if k != "index"} for each in tool_call(0, "call_a", "weather", '{"city":')
    ]
    for finish, outcome in (("length", Outcome.UNVERIFIED), ("tool_calls", Outcome.FAILED)):
        assert watch("chat", body(called(*fragments, finish=finish))).outcome(TOOL_CALL_INDEX_MISSING) == {outcome}


# --- the words of a finish


def ended(reason: str, repair: str = "default", request: Request = READER) -> Seen:
    """A text that ends with this word."""
    return watch("chat", body(said("One", finish=reason)), repair, request=request)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_the_words_of_openai_are_regular(reason: str) -> None:
    """These five, and no other."""
    assert FINISH_REASON_IRREGULAR not in ended(reason).report.anomalies
    assert FINISH_REASON_IRREGULAR in ended(reason.upper()).report.anomalies


@pytest.mark.parametrize("placeholder", ["", "null", "None"])
def test_a_placeholder_is_no_finish(placeholder: str) -> None:
    """For the helper it becomes null; a stream that ends with it never finished."""
    seen = ended(placeholder, request=HELPER)

    assert seen.payloads[-1]["choices"][0]["finish_reason"] is None
    assert seen.outcome(FINISH_REASON_IRREGULAR) == {Outcome.UNVERIFIED}
    assert FINISH_REASON_MISSING in seen.report.anomalies
    assert ended(placeholder).payloads[-1]["choices"][0]["finish_reason"] == placeholder


@pytest.mark.parametrize("failure", [*sorted(FAILURES), "Abort", "MALFORMED_FUNCTION_CALL"])
def test_a_finish_that_is_a_failure_is_an_error(failure: str) -> None:
    """The word is handed on as it came: nothing else says what happened."""
    seen = ended(failure, "all")

    assert seen.report.verdict is Verdict.ERROR
    assert seen.payloads[-1]["choices"][0]["finish_reason"] == failure


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *((word, "stop") for word in ("eos", "end_turn", "STOP", "stop_sequence", "eos_token")),
        *((word, "length") for word in ("MAX_TOKENS", "max_tokens", "max_output_tokens")),
        *((word, "content_filter") for word in ("SAFETY", "sensitive", "guardrail_intervened")),
        ("tool_use", "tool_calls"),
        ("whatever", "whatever"),
    ],
)
def test_a_word_of_another_api_can_be_put_into_openai_s(word: str, meant: str) -> None:
    """On request, where it is known what is meant; by default it is told, and stays."""
    for repair, said_ in (("default", word), ("all", meant)):
        seen = ended(word, repair)
        assert seen.payloads[-1]["choices"][0]["finish_reason"] == said_
        assert seen.report.finish_reasons == (said_,)
        assert seen.report.anomalies[FINISH_REASON_IRREGULAR] == 1
        assert seen.report.verdict is Verdict.COMPLETE


def test_a_stop_after_calls_is_right_where_a_tool_was_named() -> None:
    """tool_choice names a function: OpenAI itself then says stop."""
    wire = body([*CALL[:-1], chunk({}, "stop")])

    for names_tool in (False, True):
        seen = watch("chat", wire, "all", request=Request(names_tool=names_tool))
        assert (FINISH_REASON_IRREGULAR in seen.report.anomalies) is not names_tool


@pytest.mark.parametrize("member", REASONING)
def test_reasoning_is_known_under_each_of_its_names(member: str) -> None:
    """Each of them counts as reasoning, and is a hazard."""
    seen = watch("chat", body([begin(), chunk({member: [{"text": "Hm"}]}), *said("One")[1:]]))

    assert seen.report.chunks[ChunkType.REASONING] == 1
    assert seen.report.anomalies[REASONING_NONSTANDARD] == 1


def test_chunks_without_choices_can_be_left_out_but_for_usage() -> None:
    """On request: `chunk.choices[0]` is what tutorials say, and usage stands nowhere else."""
    wire = [bare(prompt_filter_results=[]), *said("One"), usage_chunk()]
    default, asked = watch("chat", body(wire)), watch("chat", body(wire), "all")

    assert [bool(payload["choices"]) for payload in default.payloads] == [False, True, True, True, False]
    assert [bool(payload["choices"]) for payload in asked.payloads] == [True, True, True, False]
    assert asked.report.outcomes[CHOICES_EMPTY] == {Outcome.UNVERIFIED: 1, Outcome.UNREPAIRED: 1}


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop"])
def test_a_word_behind_the_finish_hides_what_it_hid(reason: str) -> None:
    """The helper raises on an answer that was cut for its length: where the word keeps it from that, the word stays."""
    wire = [chunk({"content": "One"}, "null"), chunk({}, reason), chunk({}, "null")]
    seen = watch("chat", body(wire), request=HELPER)
    finishes = [payload["choices"][0]["finish_reason"] for payload in seen.payloads]

    assert finishes == [None, reason, "null" if reason != "stop" else None]
    assert watch("chat", body(wire), request=READER).payloads == wire
