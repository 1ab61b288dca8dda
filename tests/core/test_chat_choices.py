"""Choices: what was asked decides which there are; their deltas are found where they stand; only the helper needs order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers.stream_builders import (
    DONE,
    Answer,
    Payload,
    Said,
    bare,
    begin,
    body,
    chunk,
    completion,
    fragment,
    read,
    said,
    settings,
    texts,
    tool_call,
    watch,
)
from streamwatch.core.kinds import CHOICE_INDEX_INVALID, CONTENT_MISPLACED, DELTA_MISSING, FINISH_REASON_MISSING
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome, Verdict

HELPER = Request(n=2, accumulated=True)
UNREPAIRED, UNVERIFIED, FAILED = {Outcome.UNREPAIRED}, {Outcome.UNVERIFIED}, {Outcome.FAILED}


def indexes(payloads: list[Payload]) -> list[Any]:
    """The index of every choice, in order."""
    return [choice.get("index") for payload in payloads for choice in payload["choices"]]


# --- what was asked


def completions(*places: int) -> list[Payload]:
    """Chunks of a legacy completion for these choices, in this order, and the end of each."""
    pieces = [completion(f"{index}{turn} ", index=index) for turn, index in enumerate(places)]
    return [*pieces, *(completion("", "stop", index=index) for index in sorted(set(places)))]


@pytest.mark.parametrize("places", [(0, 1, 2, 0, 1, 2), (0, 0, 1, 1, 2, 2), (2, 1, 0, 2), (1,)], ids=str)
@pytest.mark.parametrize(("n", "prompts"), [(1, 3), (3, 1), (2, 2), (None, None), (1, None), (None, 3)], ids=str)
def test_each_of_several_prompts_has_choices_of_its_own(
    places: tuple[int, ...], n: int | None, prompts: int | None
) -> None:
    """A completion has `n` choices for each prompt, interleaved or not; where that is not known nothing is judged."""
    wire = completions(*places)
    seen = watch("completions", body(wire), request=Request(n=n, prompts=prompts))

    assert seen.payloads == wire
    assert CHOICE_INDEX_INVALID not in seen.report.anomalies


def test_a_choice_beyond_all_prompts_is_the_one_that_was_asked_for() -> None:
    """One prompt, one choice: an index of 7 cannot be another one."""
    seen = watch("completions", body(completions(7, 7)), request=Request(n=1, prompts=1))

    assert set(indexes(seen.payloads)) == {0}
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNVERIFIED


@pytest.mark.parametrize(("first", "roles"), [(197, True), (1, True), (5, False), (1, False), (0, False), (-1, False)])
def test_a_counter_in_the_place_of_an_index_opens_no_choices(first: int, roles: bool) -> None:
    """One choice was asked for; it is the one that is meant, whatever role each chunk has."""
    wire = [
        chunk({"content": f"{number} ", **({"role": "assistant"} if roles or not number else {})}, index=first + number)
        for number in range(5)
    ]
    seen = watch("chat", body([*wire, chunk({}, "stop", index=first + 5)]), request=Request(n=1))

    assert set(indexes(seen.payloads)) == {0}
    assert seen.report.finish_reasons == ("stop",)
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNVERIFIED


@pytest.mark.parametrize("index", [1, 2, -1, 197])
@pytest.mark.parametrize("finishes_at", [0, None], ids=["ends-at-0", "ends-there"])
def test_one_answer_under_another_index_stays_one(index: int, finishes_at: int | None) -> None:
    """What was the first choice once is that in each chunk, whatever role that has."""
    wire = [chunk({"role": "assistant", "content": f"{number} "}, index=index) for number in range(4)]
    wire.append(chunk({}, "stop", index=index if finishes_at is None else finishes_at))
    seen = watch(
        "chat", body([*wire, chunk({"role": "assistant", "content": "more"}, index=index)]), request=Request(n=1)
    )

    assert set(indexes(seen.payloads)) == {0}
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNVERIFIED


def test_where_each_chunk_opened_a_choice_none_is_taken_for_the_only_one() -> None:
    """A counter with a role in each chunk, and a hole in it: nothing says that only what follows is wrong."""
    wire = [chunk({"role": "assistant", "content": "a"}, index=index) for index in (0, 1, 2, 4, 5)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert indexes(seen.payloads) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("n", [None, 2, 3], ids=str)
def test_where_more_was_asked_or_nobody_knows_no_index_is_changed(n: int | None) -> None:
    """Nothing tells which choice is meant."""
    wire = [chunk({"role": "assistant", "content": "a"}, index=index) for index in (0, 1, 7, -1)]
    wire += [chunk({}, "stop", index=index) for index in (0, 1, 7, -1)]

    assert watch("chat", body(wire), request=Request(n=n)).payloads == wire


def test_a_second_choice_that_nobody_is_known_to_have_asked_for_stays_one() -> None:
    """A gateway may add `n`: an index that opens with a role of its own, beside a living choice, is a choice."""
    pairs = [
        (0, {"role": "assistant", "content": "A"}),
        (1, {"role": "assistant", "content": "B"}),
        (0, {"content": "a"}),
    ]
    wire = [chunk(delta, index=index) for index, delta in [*pairs, (1, {"content": "b"})]]
    seen = watch("chat", body([*wire, *(chunk({}, "stop", index=index) for index in (0, 1))]), request=Request(n=1))

    assert indexes(seen.payloads) == [0, 1, 0, 1, 0, 1]
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNREPAIRED


@pytest.mark.parametrize("role", [{"role": "assistant"}, {}], ids=["role", "no role"])
def test_nothing_goes_on_with_a_choice_that_has_ended(role: Payload) -> None:
    """The second choice comes after the first one's end: its text is no more of the first."""
    second = [chunk({**role, "content": "two"}, index=1), chunk({}, "stop", index=1)]
    seen = watch("chat", body([*said("One"), *second]), request=Request(n=1))

    assert read("chat", seen.delivered).said[1].text == "two"
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNREPAIRED


@pytest.mark.parametrize("first", [{"role": "assistant"}, {"role": "assistant", "content": ""}], ids=["role", "empty"])
def test_a_choice_that_opens_with_its_role_alone_is_one_although_the_first_has_ended(first: Payload) -> None:
    """A gateway that asks twice sends one answer after the other."""
    second = [chunk(delta, index=1) for delta in (first, {"content": "tw"}, {"content": "o"})]
    wire = [*said("One"), *second, chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert seen.payloads == wire
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNREPAIRED


def test_a_role_behind_the_end_is_no_choice_that_has_to_end() -> None:
    """A closing chunk that repeats the role, under the next index: it stays, and nothing is missing."""
    wire = [*said("One"), chunk({"role": "assistant"}, index=1)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert seen.payloads == wire
    assert seen.report.verdict is Verdict.COMPLETE
    assert FINISH_REASON_MISSING not in seen.report.anomalies


def test_an_end_behind_the_end_opens_no_choice() -> None:
    """What says nothing is no answer, whatever index it has."""
    seen = watch("chat", body([*said("One"), chunk({}, "stop", index=1)]), request=Request(n=1))

    assert set(indexes(seen.payloads)) == {0}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
def test_choices_in_one_chunk_are_several_whatever_was_asked(order: tuple[int, int]) -> None:
    """One choice has one place in a chunk, with a role or without."""
    pairs = [{"content": "a"}, {"content": "b"}]
    wire = [chunk(delta, index=order[0]) for delta in pairs]
    for payload in wire:
        payload["choices"] += chunk({"content": "other"}, index=order[1])["choices"]
    wire += [chunk({}, "stop", index=index) for index in order]

    assert watch("chat", body(wire), request=Request(n=1)).payloads == wire


@pytest.mark.parametrize("index", [None, "0", 0.5, [], ...], ids=str)
def test_an_index_that_is_no_number_stays_where_the_helper_does_not_read(index: object) -> None:
    """What is null or absent stays so; the helper needs a place in its list."""
    wire = said("One")
    for payload in wire:
        (choice,) = payload["choices"]
        del choice["index"]
        if index is not ...:
            choice["index"] = index

    assert watch("chat", body(wire), request=Request(n=1)).payloads == wire
    helped = watch("chat", body(wire), request=Request(n=1, accumulated=True))
    assert indexes(helped.payloads) == [0] * len(wire)
    assert helped.outcome(CHOICE_INDEX_INVALID) == UNVERIFIED


def test_two_choices_under_one_index_are_surfaced() -> None:
    """n=2, and both say 0: nothing tells which text is whose."""
    wire = [*said("One"), *said("two")]
    seen = watch("chat", body(wire), request=Request(n=2))

    assert seen.payloads == wire
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNREPAIRED
    assert CHOICE_INDEX_INVALID not in watch("chat", body(said("One")), request=Request(n=2)).report.anomalies


# --- where the delta stands


def elsewhere(**members: Any) -> Payload:
    """A chunk whose only choice has no delta."""
    return {**bare(), "choices": [{"index": 0, "finish_reason": None, **members}]}


@pytest.mark.parametrize(
    "pieces",
    [
        [{"message": {"role": "assistant", "content": "One two"}}],
        [{"message": {"role": "assistant"}}, {"message": {"content": "One "}}, {"message": {"content": "two"}}],
        [{"text": "One "}, {"text": "two"}],
        [{"delta": None, "message": {"content": "One two"}}],
        [{"message": {"content": "One "}}, {"text": "two"}],
    ],
    ids=str,
)
def test_an_answer_that_stands_elsewhere_becomes_the_delta(pieces: list[Payload]) -> None:
    """Whole or in pieces; what carried it stays where it is."""
    wire = [*(elsewhere(**piece) for piece in pieces), elsewhere(message={}, finish_reason="stop")]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert read("chat", seen.delivered).said[0].text == "One two"
    assert seen.outcome(CONTENT_MISPLACED) == UNVERIFIED
    for payload, piece in zip(seen.payloads, wire, strict=True):
        assert payload["choices"][0].items() >= {k: v for k, v in piece["choices"][0].items() if k != "delta"}.items()


def test_calls_that_stand_elsewhere_become_the_delta() -> None:
    """They have no index there, as calls of a message have none."""
    (call,) = tool_call(0, "call_a", "weather", '{"a":1}')[:1]
    call = {**{k: v for k, v in call.items() if k != "index"}, "function": {"name": "weather", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    seen = watch("chat", body([elsewhere(message=message, finish_reason="tool_calls")]), request=Request(n=1))

    (said_,) = read("chat", seen.delivered).said.values()
    assert [tuple(each) for each in said_.calls] == [("call_a", "weather", '{"a":1}')]


def test_what_stands_elsewhere_stays_as_it_came_there() -> None:
    """The delta that is made of it is changed on its own."""
    call = {"id": "call_0", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    wire = {**bare(), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    (seen,) = watch("chat", body([wire])).payloads

    assert seen["choices"][0]["message"] == message
    assert seen["choices"][0]["delta"]["tool_calls"] == [{**call, "index": 0}]


def test_an_answer_beside_an_empty_delta_is_read_where_the_choice_ends_and_nothing_else_was_said() -> None:
    """hermes-browser-extension#11 and its cousins: a whole message in the last chunk."""
    whole = {"role": "assistant", "content": "One two"}
    last = {**bare(), "choices": [{"index": 0, "delta": {}, "message": whole, "finish_reason": "stop"}]}
    alone, after = (watch("chat", body(wire), request=Request(n=1)) for wire in ([last], [*said("One two")[:2], last]))

    assert read("chat", alone.delivered).said[0].text == "One two"
    assert alone.outcome(CONTENT_MISPLACED) == UNVERIFIED
    assert after.payloads == [*said("One two")[:2], last]
    assert not after.faults


@pytest.mark.parametrize("finish", [None, ""])
def test_an_answer_beside_a_delta_is_not_read_before_the_choice_ends(finish: str | None) -> None:
    """Its deltas may follow: Foundry Local has both in every chunk."""
    wire = [{**bare(), "choices": [{"index": 0, "delta": {}, "message": {"content": "O"}, "finish_reason": finish}]}]
    wire += said("One")
    seen = watch("chat", body(wire), request=Request(n=1))

    assert read("chat", seen.delivered).said[0].text == "One"
    assert CONTENT_MISPLACED not in seen.report.anomalies


@pytest.mark.parametrize("pieces", [["One ", "two"], ["ha", "ha"], ["0123456789abcdef", "0123456789abcdef!"]], ids=str)
def test_a_message_after_deltas_closes_them_or_is_told(pieces: list[str]) -> None:
    """Where the deltas said something, nothing more becomes a delta: the same text is no fault, another one is."""
    whole = "".join(pieces)
    for message, misplaced in ((whole, False), (whole + "!", False), ("another", True)):
        wire = [begin(), *texts(*pieces), elsewhere(message={"content": message}, finish_reason="stop")]
        seen = watch("chat", body(wire), request=Request(n=1))
        assert seen.payloads == wire
        assert (seen.outcome(CONTENT_MISPLACED) == UNREPAIRED) == misplaced
        assert (DELTA_MISSING in seen.report.anomalies) != misplaced


def test_a_message_that_closes_calls_opens_none() -> None:
    """Tools ran once, and must not run again."""
    header, piece = tool_call(0, "call_a", "weather", '{"a":1}')
    message = {"content": None, "tool_calls": [{**header, "function": {"name": "weather", "arguments": '{"a":1}'}}]}
    wire = [begin(), *(chunk({"tool_calls": [each]}) for each in (header, piece))]
    wire.append(elsewhere(message=message, finish_reason="tool_calls"))

    assert watch("chat", body(wire), request=Request(n=1)).payloads == wire


def test_a_message_that_says_again_what_stood_elsewhere_is_not_said_twice() -> None:
    """The whole answer at the end, in a stream that has no delta at all."""
    pieces = ["A text of more than ", "sixteen characters"]
    wire = [*(elsewhere(message={"content": piece}) for piece in pieces)]
    wire.append(elsewhere(message={"content": "".join(pieces)}, finish_reason="stop"))
    seen = watch("chat", body(wire), request=Request(n=1))

    assert [choice.get("delta") for payload in seen.payloads for choice in payload["choices"]] == [
        *({"content": piece} for piece in pieces),
        None,
    ]


@pytest.mark.parametrize("members", [{}, {"delta": None}, {"delta": "x"}, {"text": ""}, {"message": None}], ids=str)
def test_a_choice_that_carries_nothing_gets_a_delta_for_the_helper_alone(members: Payload) -> None:
    """Azure's annotations have none; the helper reads one of every choice."""
    wire = [*said("One"), {**elsewhere(), "choices": [{"index": 0, "finish_reason": None, **members}]}]
    reader, helper = (watch("chat", body(wire), request=Request(n=1, accumulated=each)) for each in (False, True))

    assert reader.payloads == wire
    assert helper.payloads[-1]["choices"][0]["delta"] == {}
    assert (reader.outcome(DELTA_MISSING), helper.outcome(DELTA_MISSING)) == (UNREPAIRED, UNVERIFIED)


def test_what_is_not_there_lacks_nothing() -> None:
    """A choice without a delta has neither a content to fill nor a role to miss; the first delta after it is the first."""
    annotation = {**elsewhere(), "choices": [{"index": 0, "finish_reason": None}]}
    seen = watch("chat", body([annotation, *said("One")]), request=Request(n=1))
    plain = watch("chat", body(said("One")), request=Request(n=1))

    assert seen.report.anomalies == {DELTA_MISSING: 1, **plain.report.anomalies}
    assert seen.report.outcomes.items() > plain.report.outcomes.items()


# --- a choice that comes before a lower one


def test_a_choice_that_comes_before_a_lower_one_waits_for_it() -> None:
    """n=2: the helper keeps choices in a list, and fails on the second before the first."""
    stream = StreamWatch("chat", HELPER)
    stream.receive(body([begin(1), *texts("b", index=1)], done=False))
    assert not stream.ready
    stream.receive(body([begin(0), *texts("a")], done=False))

    assert [event.payload["choices"][0]["index"] for event in stream.ready] == [0, 1, 1, 0]
    assert stream.deadline is None


@pytest.mark.parametrize("accumulated", [True, False])
def test_choices_wait_for_the_helper_alone(accumulated: bool) -> None:
    """Whoever reads attributes does not care, and would only wait."""
    wire = [begin(1), begin(0), *texts("b", index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), request=Request(n=2, accumulated=accumulated))

    assert (seen.payloads == wire) is not accumulated
    assert seen.outcome(CHOICE_INDEX_INVALID) == (UNVERIFIED if accumulated else UNREPAIRED)
    assert read("chat", seen.delivered) == Answer({0: Said(""), 1: Said("b")})


def test_early_choices_can_be_let_go_on() -> None:
    """`-choice_index_invalid`: nothing waits."""
    wire = [begin(1), begin(0), *texts("b", index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), "default,-choice_index_invalid", request=HELPER)

    assert seen.payloads == wire
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNREPAIRED


def test_a_choice_whose_predecessor_never_comes_is_not_lost() -> None:
    """What waited goes on at the end, and the repair has failed."""
    seen = watch("chat", body([begin(1), *texts("b", index=1), chunk({}, "stop", index=1)]), request=HELPER)

    assert read("chat", seen.delivered) == Answer({1: Said("b")})
    assert seen.outcome(CHOICE_INDEX_INVALID) == FAILED


def test_an_early_choice_waits_no_longer_than_the_window() -> None:
    """Two seconds, however little comes; afterwards nothing waits any more."""
    now = [0.0]
    stream = StreamWatch("chat", HELPER, clock=lambda: now[0])
    stream.receive(body([begin(1)], done=False))
    assert stream.deadline == 2.0
    now[0] = 2.0
    stream.expire()
    stream.receive(body(texts("b", index=1), done=False))

    assert indexes([event.payload for event in stream.ready]) == [1, 1]
    assert stream.deadline is None


@pytest.mark.parametrize("repair", ["default", "all"])
def test_no_text_changes_places_because_its_choice_waited_in_vain(repair: str) -> None:
    """What was held goes on before what came later."""
    words = [f"{number} " for number in range(100)]
    late = [begin(0), *texts("a"), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body([begin(1), *texts(*words, index=1), *late]), repair, request=HELPER)

    assert read("chat", seen.delivered).said[1].text == "".join(words)


def test_a_call_that_waits_for_its_name_in_a_choice_that_waits() -> None:
    """Both waits at once: the lower choice goes first, the call is whole, and nothing is lost."""
    call = [fragment(0, "", id="call_a"), fragment(0, '{"a":', name="weather"), fragment(0, "1}")]
    early = [begin(1), *(chunk({"tool_calls": [each]}, index=1) for each in call)]
    rest = [begin(0), chunk({}, "stop"), chunk({}, "tool_calls", index=1)]
    seen = watch("chat", body([*early, *rest]), request=HELPER)

    assert indexes(seen.payloads) == [0, 1, 1, 1, 1, 0, 1]
    assert [tuple(each) for each in read("chat", seen.delivered).said[1].calls] == [("call_a", "weather", '{"a":1}')]


@pytest.mark.parametrize(
    "early",
    [
        [begin(2), *texts("a", index=2), begin(1), begin(0), *texts("b", index=2)],
        [begin(2), begin(1), *texts("a", "b", index=2), begin(0)],
        [begin(2), *texts("a", "b", index=2), begin(1), begin(0)],
    ],
    ids=["the rest later", "the rest behind the lower one", "the rest before the lower one"],
)
def test_no_choice_overtakes_itself_where_several_wait(early: list[Payload]) -> None:
    """n=3, and they begin from the last: each one's chunks go on in their order, behind the lower choice's first."""
    seen = watch(
        "chat", body([*early, *(chunk({}, "stop", index=i) for i in range(3))]), request=Request(n=3, accumulated=True)
    )
    answer = read("chat", seen.delivered)
    firsts = list(dict.fromkeys(indexes(seen.payloads)))

    assert firsts == [0, 1, 2]
    assert answer == Answer({0: Said(""), 1: Said(""), 2: Said("ab")})
    assert indexes(seen.payloads).count(2) == indexes(early).count(2) + 1
    assert [
        choice["delta"].get("role") for each in seen.payloads for choice in each["choices"] if choice["index"] == 2
    ] == ["assistant", None, None, None]
    assert seen.outcome(CHOICE_INDEX_INVALID) == UNVERIFIED


def several(*deltas: tuple[int, Payload]) -> Payload:
    """One chunk with several choices."""
    return {**bare(), "choices": [{"index": i, "delta": delta, "finish_reason": None} for i, delta in deltas]}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
def test_choices_that_come_in_one_chunk_wait_for_nothing(order: tuple[int, int]) -> None:
    """The helper takes the first chunk's choices by their indexes; nothing is wrong with them."""
    wire = [several(*((i, {"role": "assistant", "content": f"{i}a"}) for i in order))]
    wire += [several(*((i, {"content": f"{i}b"}) for i in order)), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), request=HELPER)

    assert seen.payloads == wire
    assert CHOICE_INDEX_INVALID not in seen.report.anomalies


def test_a_chunk_waits_behind_one_that_holds_its_choice_too() -> None:
    """Of choices 2 and 4 only 4 is early; what 2 says next must not overtake what it said there."""
    first = several((2, {"role": "assistant", "content": "a"}), (4, {"role": "assistant", "content": "x"}))
    wire = [begin(0), begin(1), first, *texts("b", index=2), *(chunk({}, "stop", index=i) for i in (0, 1, 2, 4))]
    seen = watch("chat", body(wire), request=Request(n=5, accumulated=True))

    assert read("chat", seen.delivered).said[2] == Said("ab")
    assert seen.outcome(CHOICE_INDEX_INVALID) == FAILED


@pytest.mark.parametrize("members", [{"error": {"message": "no"}}, {"error_code": 1, "error_msg": "no"}], ids=str)
def test_an_error_beside_an_early_choice_loses_nothing(members: Payload) -> None:
    """It waits for nothing, and what waits goes on before it or behind it."""
    failed = {**chunk({"content": "x"}, index=1), **members}
    wire = [begin(1), failed, *texts("b", index=1), begin(0), chunk({}, "stop"), chunk({}, "stop", index=1)]
    seen = watch("chat", body(wire), request=HELPER)

    assert sorted(map(json.dumps, seen.payloads)) == sorted(map(json.dumps, wire))


def test_an_error_beside_an_early_choice_waits_for_nothing() -> None:
    """What waits goes on before it, as it came."""
    wire = [begin(1), *texts("b", index=1), {**chunk({}, index=1), "error": {"message": "Overloaded"}}]
    stream = StreamWatch("chat", HELPER, clock=lambda: 0.0)
    stream.receive(body(wire, done=False))

    assert [event.payload for event in stream.ready] == wire
    assert stream.deadline is None


# --- the end of a legacy completion


def test_completions_that_come_as_chat_are_of_another_protocol() -> None:
    """The text of each choice is where nobody reads it."""
    seen = watch("completions", body(said("One")), request=Request(n=1, prompts=1))

    assert "protocol_foreign" in seen.faults
    assert seen.report.verdict is Verdict.TRUNCATED


@pytest.mark.parametrize("repair", ["default", "all"])
def test_a_text_of_a_completion_that_is_null_harms_nothing(repair: str) -> None:
    """As some servers send with the end."""
    wire = [
        completion("One"),
        {**completion("", "stop"), "choices": [{"index": 0, "text": None, "finish_reason": "stop"}]},
    ]
    seen = watch("completions", body(wire), settings(repair).repair.text, request=Request(n=1, prompts=1))

    assert seen.payloads == wire
    assert not seen.faults


def test_what_is_in_a_body_may_be_any_json() -> None:
    """A choice as a text, a delta as a number: nothing raises, and it goes on."""
    odd = b"".join(
        b"data: " + json.dumps({**bare(), "choices": choices}).encode() + b"\n\n"
        for choices in ([1], ["x"], [{"index": [], "delta": {"content": "x"}}], [{"index": {}, "text": 1}])
    )

    assert len(watch("chat", odd + body(said("One"), done=False) + DONE, request=Request(n=1)).payloads) == 7


AGAIN = "A text of more than sixteen characters"
CALL = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
NO_ID = {name: value for name, value in CALL.items() if name != "id"}


@pytest.mark.parametrize("last", [[CALL], [NO_ID], [{"id": "call_a"}], [], None, ["nonsense"]], ids=str)
def test_a_message_that_says_text_and_calls_again_opens_nothing(last: Any) -> None:
    """Tools run once."""
    first = {"content": AGAIN, "tool_calls": [CALL]}
    wire = [elsewhere(message=first), elsewhere(message={"content": AGAIN, "tool_calls": last}, finish_reason="stop")]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert [bool(payload["choices"][0].get("delta")) for payload in seen.payloads] == [True, False]


def test_a_call_with_a_long_id_is_known_again() -> None:
    """Of an id that is long a part is kept."""
    message = {"content": AGAIN, "tool_calls": [{**CALL, "id": "call_" + "a" * 5000}]}
    wire = [elsewhere(message=message), elsewhere(message=message, finish_reason="stop")]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert [bool(payload["choices"][0].get("delta")) for payload in seen.payloads] == [True, False]


@pytest.mark.parametrize(
    "other",
    [
        [{**CALL, "id": "call_b", "index": 1}],
        [{**NO_ID, "function": {"name": "time", "arguments": "{}"}, "index": 1}],
        [CALL, {**CALL, "id": "call_b", "function": {"name": "time", "arguments": "{}"}}],
        {"a": "dict"},
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [[CALL], None], ids=["calls before", "none before"])
def test_a_message_that_says_its_text_again_and_more_calls_is_a_delta(other: Any, before: Any) -> None:
    """Semantic Kernel's recordings have the text in each chunk, and another call: none of them is to be lost."""
    wire = [
        elsewhere(message={"content": AGAIN, **({"tool_calls": before} if before else {})}),
        elsewhere(message={"content": AGAIN, "tool_calls": other}, finish_reason="tool_calls"),
    ]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert seen.payloads[-1]["choices"][0]["delta"]["tool_calls"]
