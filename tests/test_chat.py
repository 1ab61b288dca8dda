"""Chat completions: what naive readers trip over is there, and careful readers see no difference."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest
from wires import (
    DONE,
    Answer,
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
    sse,
    texts,
    tool_call,
    usage_chunk,
    watch,
)

from streamwatch.core.kinds import (
    CHOICE_INDEX_INVALID,
    CHOICES_EMPTY,
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    CONTENT_REPLAYED,
    ERROR_HIDDEN,
    ERROR_IN_STREAM,
    FINISH_REASON_IRREGULAR,
    FINISH_REASON_MISSING,
    FINISH_REASON_PREMATURE,
    KINDS,
    REASONING_NONSTANDARD,
    STREAM_SPLICED,
    TOOL_CALL_INDEX_MISSING,
    USAGE_MISPLACED,
    ChunkType,
    Outcome,
    Verdict,
)
from streamwatch.core.report import Request
from streamwatch.core.settings import Settings
from streamwatch.core.stream import StreamWatch

NAIVE, CAREFUL, HELPER = Request(), Request(), Request(accumulated=True)
CALL = called(*tool_call(0, "call_a", "weather", '{"city":', '"Paris"}'))
#: Streams as OpenAI sends them, in every one of which some delta has no content.
STREAMS: dict[str, list[Payload]] = {
    "text": said("One ", "two"),
    "tool call": CALL,
    "text, then a tool call": [*said("Let me see")[:2], *CALL[1:]],
    "first delta null": [begin(content=None), *said("One")[1:]],
    "reasoning": [chunk({"role": "assistant", "reasoning_content": "Hm"}), *said("One")[1:]],
    "refusal": [begin(content=None), chunk({"refusal": "No"}), chunk({}, "stop")],
    "two choices": [begin(0, None), begin(1, None), *texts("a"), chunk({}, "stop"), chunk({}, "stop", index=1)],
    "usage": [*said("One"), usage_chunk()],
    "cut": said("One", "two")[:3],
}
_EACH = pytest.mark.parametrize("name", STREAMS)


def deltas(payloads: list[Payload]) -> Iterator[Payload]:
    """Every delta, in order."""
    return (choice["delta"] for payload in payloads for choice in payload["choices"])


def filled(seen: Seen, wire: list[Payload]) -> list[int]:
    """Where a content was put in; nothing else may differ from the wire."""
    places = []
    for at, (got, sent) in enumerate(zip(seen.payloads, wire, strict=True)):
        if got != sent:
            places.append(at)
            mended = copy.deepcopy(sent)
            for choice in mended["choices"]:
                choice["delta"]["content"] = choice["delta"].get("content") or ""
            assert got == mended
    return places


@_EACH
def test_the_loop_of_every_tutorial_raises_no_key_error(name: str) -> None:
    """The second known issue, literally: chunk["choices"][0]["delta"]["content"], joined."""
    text = ""
    for payload in watch("chat", body(STREAMS[name]), request=NAIVE).payloads:
        for choice in payload["choices"]:
            text += choice["delta"]["content"]

    assert text == "".join(delta.get("content") or "" for delta in deltas(STREAMS[name]))


@_EACH
def test_only_content_is_put_in(name: str) -> None:
    """Where a naive reader reads, every delta gets a content; nothing else of a healthy stream changes."""
    wire = STREAMS[name]
    lacking = [at for at, each in enumerate(wire) if any(delta.get("content") is None for delta in deltas([each]))]
    seen = watch("chat", body(wire), request=NAIVE)

    assert filled(seen, wire) == lacking
    assert seen.repaired <= {"content_absent", "content_null"}
    assert seen.outcome(CONTENT_ABSENT) | seen.outcome(CONTENT_NULL) <= {Outcome.VERIFIED}


@pytest.mark.parametrize("reader", [CAREFUL, HELPER], ids=["framework", "helper"])
def test_careful_readers_get_nothing_after_the_end_of_a_choice(reader: Request) -> None:
    """The SDK's helper would emit a `content.delta` after `content.done`."""
    late = [*said("One"), chunk({"role": "assistant"}), chunk({}), chunk({"content": None})]
    seen = watch("chat", body(late), request=reader)

    assert ["content" in delta and delta["content"] == "" for delta in deltas(seen.payloads)][-3:] == [False] * 3


@_EACH
@pytest.mark.parametrize("reader", [CAREFUL, HELPER], ids=["framework", "helper"])
def test_careful_readers_get_what_came(name: str, reader: Request) -> None:
    """To a framework, and to the SDK's own helper, "" means something that nothing does not: no chunk differs."""
    seen = watch("chat", body(STREAMS[name]), request=reader)

    assert seen.payloads == STREAMS[name]
    assert seen.outcome(CONTENT_ABSENT) | seen.outcome(CONTENT_NULL) <= {Outcome.UNREPAIRED}


@pytest.mark.parametrize("reader", [NAIVE, CAREFUL, HELPER], ids=["naive", "framework", "helper"])
@pytest.mark.parametrize("empty", [{}, {"content": None}], ids=str)
def test_an_empty_delta_amid_text_is_filled_for_all(reader: Request, empty: Payload) -> None:
    """It can tell nobody anything; before the first text, and at the finish, it can."""
    wire = [begin(), chunk(dict(empty)), *texts("One "), chunk(dict(empty)), *texts("two"), chunk(dict(empty), "stop")]
    seen = watch("chat", body(wire), request=reader)

    assert filled(seen, wire) == ([1, 3, 5] if reader is NAIVE else [3])


def test_filling_can_be_asked_for_and_forbidden() -> None:
    """`+fill_content` fills for frameworks, but never where the helper reads; `-fill_content` fills for nobody."""
    wire = STREAMS["tool call"]

    assert filled(watch("chat", body(wire), "+fill_content", request=CAREFUL), wire) == [0, 1, 2, 3, 4]
    assert filled(watch("chat", body(wire), "+fill_content", request=HELPER), wire) == []
    assert filled(watch("chat", body(wire), "-fill_content", request=NAIVE), wire) == []


@_EACH
def test_every_delta_without_content_is_counted(name: str) -> None:
    """Filled or not: once a delta, absent or null."""
    contents = [delta.get("content", "absent") for delta in deltas(STREAMS[name])]
    for reader in (NAIVE, HELPER):
        found = watch("chat", body(STREAMS[name]), request=reader).report.anomalies
        assert found.get(CONTENT_ABSENT, 0) == contents.count("absent")
        assert found.get(CONTENT_NULL, 0) == contents.count(None)


def test_a_chunk_of_our_own_is_fit_for_naive_readers_too() -> None:
    """What is put in must not raise the very KeyError that is prevented elsewhere."""
    seen = watch("chat", body(said("One")[:2]), "all", request=NAIVE)

    assert FINISH_REASON_MISSING in seen.report.anomalies
    assert all("content" in delta for delta in deltas(seen.payloads))


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


def test_a_choice_that_comes_before_a_lower_one_waits_for_it() -> None:
    """n=2: helpers keep choices in a list, and fail on the second before the first."""
    stream = StreamWatch("chat", Request(n=2))
    stream.receive(body([begin(1), *texts("b", index=1)], done=False))
    assert not stream.ready
    stream.receive(body([begin(0)], done=False))

    stream.receive(body(texts("a"), done=False))

    assert [event.payload["choices"][0]["index"] for event in stream.ready] == [0, 1, 1, 0]


def test_a_choice_whose_predecessor_never_comes_is_not_lost() -> None:
    """What was held is handed on at the end, and the repair has failed or was none."""
    seen = watch("chat", body([begin(1), *texts("b", index=1), chunk({}, "stop", index=1)]), request=Request(n=2))

    assert read("chat", seen.delivered) == Answer({1: Said("b")})
    assert CHOICE_INDEX_INVALID in seen.report.anomalies


def test_no_more_early_chunks_are_held_than_the_window_allows() -> None:
    """A stream must not cost memory."""
    stream = StreamWatch("chat", Request(n=2), Settings(window_events=5))
    stream.receive(body([begin(1), *texts(*["b"] * 50, index=1)], done=False))

    assert len(stream.ready) >= 45


def test_choices_in_one_chunk_are_looked_at_each() -> None:
    """No provider is known to do so, but the format allows it."""
    both = {**bare(), "choices": [begin(0, None)["choices"][0], begin(1, None)["choices"][0]]}
    seen = watch("chat", body([both, *texts("a"), *texts("b", index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]))

    assert [delta["content"] for delta in deltas(seen.payloads[:1])] == ["", ""]
    assert read("chat", seen.delivered) == Answer({0: Said("a"), 1: Said("b")})


def test_usage_comes_to_stand_in_the_last_chunk() -> None:
    """The SDK's helper keeps the usage of the last chunk, and no other."""
    seen = watch("chat", body([*said("One")[:2], usage_chunk(12), said("One")[-1]]), request=HELPER)

    assert seen.payloads[-1]["usage"]["total_tokens"] == 12
    assert seen.outcome(USAGE_MISPLACED) == {Outcome.VERIFIED}


@pytest.mark.parametrize("request_", [NAIVE, CAREFUL], ids=["naive", "careful"])
def test_usage_is_not_said_twice_to_who_may_add_it_up(request_: Request) -> None:
    """LangChain and Pydantic AI add up the usage of all chunks: once is right, twice is double."""
    seen = watch("chat", body([*said("One")[:2], usage_chunk(12), said("One")[-1]]), request=request_)

    assert [payload.get("usage", {}) for payload in seen.payloads].count({}) == len(seen.payloads) - 1
    assert seen.outcome(USAGE_MISPLACED) == {Outcome.UNREPAIRED}


def test_a_repeated_role_stays_where_a_framework_reads() -> None:
    """Only readers that join deltas blindly gain by taking it out."""
    wire = [said("One", "two")[0], *(chunk({"role": "assistant", "content": text}) for text in ("One", "two"))]

    for request_, roles in ((CAREFUL, 3), (NAIVE, 1), (HELPER, 1)):
        seen = watch("chat", body([*wire, chunk({}, "stop")]), request=request_)
        assert sum("role" in delta for delta in deltas(seen.payloads)) == roles


def test_a_second_choice_that_nobody_is_known_to_have_asked_for_stays_one() -> None:
    """A gateway may add `n`: an index that opens with a role of its own, beside a living choice, is a choice."""
    pairs = [
        (0, {"role": "assistant", "content": "A"}),
        (1, {"role": "assistant", "content": "B"}),
        (0, {"content": "a"}),
    ]
    wire = [chunk(delta, index=index) for index, delta in [*pairs, (1, {"content": "b"})]]
    seen = watch("chat", body([*wire, *(chunk({}, "stop", index=index) for index in (0, 1))]), request=Request(n=1))

    assert [payload["choices"][0]["index"] for payload in seen.payloads] == [0, 1, 0, 1, 0, 1]
    assert seen.outcome(CHOICE_INDEX_INVALID) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("total", [[1, 2, 3], [3, 3]], ids=["running", "twice"])
def test_usage_in_several_chunks_is_let_be(total: list[int]) -> None:
    """Running totals are a habit of healthy providers; the last one is in the last chunk already."""
    wire = said("One", "two")
    for each, number in zip(wire[-len(total) :], total, strict=True):
        each["usage"] = {"total_tokens": number}
    seen = watch("chat", body(wire), request=CAREFUL)

    assert seen.payloads == wire
    assert not seen.faults


@pytest.mark.parametrize(
    "pieces",
    [["ha"] * 6, ["\n", "\n", "\n"], ["a", "ab", "c"], ["1", "11", "2"], ["The", "The ", "end"]],
    ids=["equal", "line ends", "words", "digits", "blanks"],
)
@pytest.mark.parametrize("repair", ["default", "all"])
def test_texts_that_only_look_like_a_replay_are_kept(pieces: list[str], repair: str) -> None:
    """Equal deltas, and short ones that begin like the one before, are how models write."""
    seen = watch("chat", body(said(*pieces)), repair)

    assert read("chat", seen.delivered).said[0].text == "".join(pieces)
    assert CONTENT_REPLAYED not in seen.report.anomalies


def test_a_repair_that_proves_wrong_loses_no_text() -> None:
    """Held as a possible replay, and then it was none: the text comes with the next chunk, or at the end."""
    for pieces in (["One ", "One two"], ["A", "Ab", "Abc"], ["A", "Ab"], ["A", "Ab", "Ac", "x"]):
        for end in (1, 0):
            wire = body(said(*pieces)[: len(pieces) + 1 + end])
            default, repaired = watch("chat", wire), watch("chat", wire, "all")
            text = read("chat", default.delivered).said[0].text
            mended = read("chat", repaired.delivered).said[0].text
            replay = CONTENT_REPLAYED in repaired.report.anomalies
            assert mended == (pieces[-1] if replay else text)


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

    assert watch("chat", body(wire), request=CAREFUL).payloads == wire


@pytest.mark.parametrize(
    "junk", [None, 7, "x", [], [None], {}, [[]], {"choices": None}, [{"delta": 7}], [{"index": "x"}]], ids=str
)
def test_junk_for_choices_harms_nothing_else(junk: object) -> None:
    """Whatever stands there, the rest of the stream is read as ever."""
    odd = {**bare(), "choices": junk}
    seen = watch("chat", b"".join([sse(begin()), sse(json.dumps(odd)), *map(sse, said("One")[1:])]))

    assert [delta["content"] for delta in deltas(seen.payloads[-2:])] == ["One", ""]
    assert seen.report.finish_reasons[:1] == ("stop",)


def test_a_fragment_of_a_call_is_filled_on_the_shortest_way_too() -> None:
    """The commonest chunk of all is not looked at in full: it must not be forgotten."""
    wire = called(*tool_call(0, "call_a", "weather", *'{"city":"Paris"}'), fragment(0, ""))
    seen = watch("chat", body(wire), request=NAIVE)

    assert all(delta["content"] == "" for delta in deltas(seen.payloads))
    assert seen.report.anomalies[CONTENT_ABSENT] == len(wire) - 1
    assert seen.report.chunks[ChunkType.TOOL_CALL] == len(wire) - 2


# --- each repair can be switched off: then its anomaly is counted, and what came is what is handed on

#: A policy, and a wire that shows the kind that it leaves out.
OFF: dict[str, list[Payload]] = {
    "choices_empty": [{**usage_chunk(), "choices": None}],
    "choice_index_invalid": [*texts("x", index=1)],
    "finish_reason_irregular": [{**chunk({"content": "x"}, "null")}],
    "content_absent": [chunk({"refusal": "x"})],
    "content_null": [chunk({"content": None, "refusal": "x"})],
    "role_irregular": [chunk({"role": "assistant", "content": "x"})],
    "delta_missing": [{**chunk(), "choices": [{"index": 0, "finish_reason": None}]}],
    "chunk_metadata_irregular": [{**chunk({"content": "x"}), "object": "chunk"}],
    "usage_misplaced": [
        {**chunk(), "choices": [{**chunk({"content": "x"})["choices"][0], "usage": {"total_tokens": 1}}]}
    ],
}


@pytest.mark.parametrize("kind", OFF)
def test_a_repair_of_a_chunk_can_be_switched_off(kind: str) -> None:
    """`-kind`: not a member is touched, and the kind is counted all the same; without it, something is."""
    wire = [*said("One")[:2], *OFF[kind], chunk({"content": ""}, "stop")]
    off, on = (watch("chat", body(wire), repair, request=Request(n=1)) for repair in (f"default,-{kind}", "default"))

    assert off.payloads == wire
    assert off.outcome(KINDS[kind]) == {Outcome.UNREPAIRED}
    assert on.payloads != wire
    assert Outcome.VERIFIED in on.outcome(KINDS[kind])


def test_early_choices_can_be_let_go_on() -> None:
    """`-choice_index_invalid`: nothing waits."""
    wire = [begin(1), begin(0), *texts("b", index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), "default,-choice_index_invalid", request=Request(n=2))

    assert seen.payloads == wire
    assert seen.outcome(CHOICE_INDEX_INVALID) == {Outcome.UNREPAIRED}


def test_two_choices_under_one_index_are_surfaced() -> None:
    """n=2, and both say 0: nothing tells which text is whose."""
    wire = [*said("One"), *said("two")]
    seen = watch("chat", body(wire), request=Request(n=2))

    assert seen.outcome(CHOICE_INDEX_INVALID) == {Outcome.UNREPAIRED}
    assert CHOICE_INDEX_INVALID not in watch("chat", body(said("One")), request=Request(n=2)).report.anomalies


def test_a_replay_in_a_choice_that_waits_is_a_replay() -> None:
    """What was held is looked at in its turn: a chunk that says nothing new is not handed on."""
    early = [begin(1), *texts("A", "Ab", "Abc", index=1)]
    seen = watch(
        "chat",
        body([*early, begin(0), *texts("x"), chunk({}, "stop"), chunk({}, "stop", index=1)]),
        "all",
        request=Request(n=2),
    )

    assert read("chat", seen.delivered) == Answer({0: Said("x"), 1: Said("Abc")})
    assert CONTENT_REPLAYED in seen.report.anomalies


def test_a_chunk_of_our_own_has_no_content_where_frameworks_read() -> None:
    """Content is put in for naive readers only, here as everywhere."""
    seen = watch("chat", body(said("One")[:2]), "default,+finish_reason_missing", request=CAREFUL)

    assert seen.payloads[-1] == chunk({}, "stop")


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


@pytest.mark.parametrize("document", [[], {}, {"choices": []}, {"x": 1}, "{", {"object": "list"}], ids=str)
def test_a_document_that_says_nothing_of_an_answer_is_let_be(document: object) -> None:
    """Nothing is made up."""
    text = document if isinstance(document, str) else json.dumps(document)
    seen = watch("chat", b"error: " + text.encode() + b"\n\n", "all")

    assert seen.payloads == []
    assert seen.outcome(ERROR_HIDDEN) == {Outcome.UNREPAIRED}


def test_another_model_before_any_text_repeats_nothing() -> None:
    """A router that changed its mind: nothing was said that could be said again."""
    seen = watch("chat", body([begin(), *({**each, "model": "gpt-4o-mini"} for each in said("One")[1:])]), "all")

    assert seen.outcome(STREAM_SPLICED) == {Outcome.UNREPAIRED}
    assert read("chat", seen.delivered).said[0].text == "One"


@pytest.mark.parametrize("said_again", ["One three", "Two", "One tw"])
def test_another_model_that_says_something_else_is_heard(said_again: str) -> None:
    """After a splice only what was said is left out: another text is handed on whole, and nothing was repaired."""
    other = [{**chunk({"content": said_again}, "stop"), "model": "gpt-4o-mini"}]
    seen = watch("chat", body([begin(), *texts("One ", "two"), *other]), "all")

    assert read("chat", seen.delivered).said[0].text == "One two" + said_again
    assert seen.outcome(STREAM_SPLICED) == {Outcome.UNREPAIRED}


def test_an_id_that_comes_back_is_another_completion_in_between() -> None:
    """Chunks of two answers in one stream; only told, for nothing tells whose is whose."""
    ids = ["a", "b", "a"]
    wire = [{**each, "id": id} for id, each in zip(ids, [begin(), *texts("One", "two")], strict=True)]
    seen = watch("chat", body([*wire, chunk({}, "stop")]), "all")

    assert seen.report.anomalies[STREAM_SPLICED] == 1
    assert seen.outcome(STREAM_SPLICED) == {Outcome.UNREPAIRED}


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
    assert seen.outcome(FINISH_REASON_PREMATURE) == {Outcome.VERIFIED}


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


def test_a_restart_after_a_replay_is_a_restart() -> None:
    """Texts that were cumulative, and then another model says all again."""
    again = [{**each, "model": "gpt-4o-mini"} for each in said("Abc", "d")[1:]]
    seen = watch("chat", body([begin(), *texts("A", "Ab", "Abc"), *again]), "all")

    assert read("chat", seen.delivered).said[0].text == "Abcd"


def test_cumulative_texts_are_known_from_the_second_one_on_if_it_is_long_enough() -> None:
    """Every later one is cut to what is new, and one that is not cumulative ends it."""
    cumulative = ["One two three ", "One two three four ", "One two three four five", " six"]
    seen = watch("chat", body(said(*cumulative)), "all")

    assert [delta["content"] for delta in deltas(seen.payloads)] == ["", "One two three ", "four ", "five", " six", ""]
    assert seen.report.anomalies[CONTENT_REPLAYED] == 2


# --- the words of a finish


def ended(reason: str, repair: str = "default") -> Seen:
    """A text that ends with this word."""
    return watch("chat", body(said("One", finish=reason)), repair)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
def test_the_words_of_openai_are_regular(reason: str) -> None:
    """These five, and no other."""
    assert FINISH_REASON_IRREGULAR not in ended(reason).report.anomalies
    assert FINISH_REASON_IRREGULAR in ended(reason.upper()).report.anomalies


@pytest.mark.parametrize("placeholder", ["", "null", "None"])
def test_a_placeholder_is_no_finish(placeholder: str) -> None:
    """It becomes null; a stream that ends with it never finished."""
    seen = ended(placeholder)

    assert seen.payloads[-1]["choices"][0]["finish_reason"] is None
    assert seen.outcome(FINISH_REASON_IRREGULAR) == {Outcome.VERIFIED}
    assert FINISH_REASON_MISSING in seen.report.anomalies


@pytest.mark.parametrize("failure", ["error", "network_error", "malformed_function_call"])
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


@pytest.mark.parametrize("member", ["reasoning_content", "reasoning", "reasoning_details"])
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
    assert asked.report.outcomes[CHOICES_EMPTY] == {Outcome.VERIFIED: 1, Outcome.UNREPAIRED: 1}
