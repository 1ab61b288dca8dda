"""Chat completions: what naive readers trip over is there, and careful readers see no difference."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest
from wires import (
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

from streamwatch.anomalies import (
    CHOICE_INDEX_INVALID,
    CONTENT_ABSENT,
    CONTENT_NULL,
    CONTENT_REPLAYED,
    ERROR_IN_STREAM,
    FINISH_REASON_MISSING,
    USAGE_MISPLACED,
    Chunk,
    Outcome,
    Verdict,
)
from streamwatch.report import Request
from streamwatch.settings import Settings
from streamwatch.stream import StreamWatch

NAIVE, CAREFUL, HELPER = Request(), Request(naive=False), Request(accumulated=True)
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
    "pieces", [["ha"] * 6, ["\n", "\n", "\n"], ["a", "ab", "c"], ["1", "11", "2"], ["The", "The ", "end"]], ids=str
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
    assert seen.report.chunks[Chunk.TEXT] == 2
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
    assert seen.report.chunks[Chunk.TOOL_CALL] == len(wire) - 2
