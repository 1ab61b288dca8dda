"""Text that is said again: told where it is one, taken out on request, and never lost by a wrong guess."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.quick import examples
from helpers.stream_builders import (
    DONE,
    Payload,
    Seen,
    begin,
    body,
    chunk,
    completion,
    read,
    said,
    settings,
    sse,
    texts,
    tool_call,
    watch,
)
from streamwatch.core.kinds import CHUNK_METADATA_IRREGULAR, CONTENT_REPLAYED, STREAM_SPLICED
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome

often = hypothesis_settings(max_examples=examples(200), deadline=None)
UNREPAIRED, UNVERIFIED, FAILED = {Outcome.UNREPAIRED}, {Outcome.UNVERIFIED}, {Outcome.FAILED}
WHOLE = ["A text of more ", "than sixteen ", "characters."]


def text_of(seen: Seen) -> str:
    """The text of the first choice, as a consumer has it in the end."""
    return read("chat", seen.delivered).said[0].text


def deltas(payloads: list[Payload]) -> list[Payload]:
    """Every delta, in order."""
    return [choice["delta"] for payload in payloads for choice in payload["choices"]]


# --- the whole answer again


#: How a server says all of it again, after the pieces.
AGAIN: dict[str, list[Payload]] = {
    "with the end": [chunk({"content": "".join(WHOLE)}, "stop")],
    "before the end": [chunk({"content": "".join(WHOLE)}), chunk({}, "stop")],
    "beside a call": [
        chunk({"content": "".join(WHOLE), "tool_calls": tool_call(0, "call_a", "weather", "{}")[:1]}),
        chunk({"tool_calls": tool_call(0, "call_a", "weather", "{}")[1:]}),
        chunk({}, "tool_calls"),
    ],
    "after the end": [chunk({}, "stop"), chunk({"content": "".join(WHOLE)})],
    "before [DONE] alone": [chunk({"content": "".join(WHOLE)})],
}


@pytest.mark.parametrize("way", AGAIN)
def test_the_whole_answer_again_is_told_and_can_be_taken_out(way: str) -> None:
    """Wherever it stands; by default every chunk goes on as it came, at once."""
    wire = [begin(), *texts(*WHOLE), *AGAIN[way]]
    default, asked = (watch("chat", body(wire), repair) for repair in ("default", "default,+drop_duplicate"))

    assert default.payloads == wire
    assert default.outcome(CONTENT_REPLAYED) == UNREPAIRED
    assert text_of(asked) == "".join(WHOLE)
    assert asked.outcome(CONTENT_REPLAYED) == UNVERIFIED
    assert default.report.anomalies[CONTENT_REPLAYED] == asked.report.anomalies[CONTENT_REPLAYED] == 1


@pytest.mark.parametrize("repair", ["default", "all"])
@pytest.mark.parametrize("after", [["Gently."], ["Row, row, row your boat. ", "x"], [" "]], ids=str)
def test_a_refrain_is_a_text(after: list[str], repair: str) -> None:
    """Something comes after it: then it is no closing."""
    pieces = ["Row, row, row your boat. "] * 2 + after
    seen = watch("chat", body(said(*pieces)), repair)

    assert text_of(seen) == "".join(pieces)
    assert CONTENT_REPLAYED not in seen.report.anomalies


def test_nothing_waits_for_the_end_unless_it_was_asked_for() -> None:
    """What may be a replay goes on at once."""
    stream = StreamWatch("chat", Request(n=1))
    stream.receive(body([begin(), *texts(*WHOLE, "".join(WHOLE))], done=False))

    assert len(stream.ready) == 5
    assert stream.deadline is None


def test_a_stream_that_is_cut_after_what_may_be_a_replay_tells_nothing_of_it() -> None:
    """More could have come."""
    wire = body([begin(), *texts(*WHOLE, "".join(WHOLE))], done=False)
    for repair in ("default", "all"):
        seen = watch("chat", wire, repair)
        assert CONTENT_REPLAYED not in seen.report.anomalies
        assert text_of(seen) == "".join(WHOLE) * 2


@pytest.mark.parametrize("done", [True, False])
def test_texts_of_completions_are_said_again_too(done: bool) -> None:
    """The older API has the same closings."""
    wire = [*(completion(piece) for piece in WHOLE), completion("".join(WHOLE)), completion("", "stop")]
    seen = watch("completions", body(wire, done=done), "all", request=Request(n=1, prompts=1))

    assert read("completions", seen.delivered).said[0].text == "".join(WHOLE)
    assert seen.outcome(CONTENT_REPLAYED) == UNVERIFIED


# --- cumulative deltas


@pytest.mark.parametrize(
    "pieces",
    [
        ["ha"] * 6,
        ["\n", "\n", "\n"],
        ["a", "ab", "c"],
        ["1", "11", "2"],
        ["The", "The ", "end"],
        [" ", "  ", "    ", "x"],
        ["-" * 9, "-" * 18],
        ["        ", "            "],
        ["Mississippi", "Mississippi River", " flows"],
    ],
    ids=str,
)
@pytest.mark.parametrize("repair", ["default", "all"])
def test_texts_that_only_look_like_a_replay_are_kept(pieces: list[str], repair: str) -> None:
    """Equal deltas, those that begin like the one before, rulers and indentations are how models write."""
    seen = watch("chat", body(said(*pieces)), repair)

    assert text_of(seen) == "".join(pieces)
    assert CONTENT_REPLAYED not in seen.report.anomalies


@pytest.mark.parametrize(
    ("pieces", "count"),
    [
        (["A", "Ab", "Abc"], 2),
        (["One ", "One two", "One two three"], 2),
        (["One two three", "One two three four"], 1),
        (["Ab", "Abc", "Abcd", "Abcd", "Abcde"], 4),
    ],
    ids=str,
)
def test_cumulative_texts_are_told_once_and_can_be_cut_to_what_is_new(pieces: list[str], count: int) -> None:
    """Three that each begin with the one before, or two, where the first is long and nothing follows."""
    default, asked = (watch("chat", body(said(*pieces)), repair) for repair in ("default", "all"))

    assert text_of(default) == "".join(pieces)
    assert default.report.outcomes[CONTENT_REPLAYED] == {Outcome.UNREPAIRED: 1}
    assert text_of(asked) == pieces[-1]
    assert asked.report.outcomes[CONTENT_REPLAYED] == {Outcome.UNVERIFIED: count}


def test_texts_that_were_cumulative_may_end_to_be_so() -> None:
    """One that goes on is a text again."""
    pieces = ["One two three ", "One two three four ", "One two three four five", " six"]
    seen = watch("chat", body(said(*pieces)), "all")

    assert [delta["content"] for delta in deltas(seen.payloads[:-1])] == ["", "One two three ", "four ", "five", " six"]


@given(st.lists(st.text("ab \n", max_size=6), max_size=7), st.integers(0, 2**32), st.sampled_from(["default", "all"]))
@often
def test_no_guess_about_text_loses_any(pieces: list[str], seed: int, repair: str) -> None:
    """Whatever is held goes on: the text is that of the wire, or what it says once where that was found out."""
    rng = random.Random(seed)
    wire = said(*pieces)[: rng.choice([None, -1])]
    seen = watch("chat", body(wire, done=rng.random() < 0.7), repair)
    text = text_of(seen)

    if CONTENT_REPLAYED not in seen.report.anomalies or repair == "default":
        assert text == "".join(pieces)
    else:
        assert "".join(pieces).endswith(pieces[-1])
        assert len(text) < len("".join(pieces))


# --- another completion takes over


def other(payloads: list[Payload], **members: object) -> list[Payload]:
    """Chunks of another completion."""
    return [{**payload, "id": "chatcmpl-2", "model": "gpt-4o-mini", **members} for payload in payloads]


def test_what_another_completion_says_again_can_be_left_out() -> None:
    """A gateway fell back to another model, which begins anew."""
    wire = [*said("The capital ", "of Fr")[:3], *other(said("The ", "capital of", " France is Paris."))]
    default, asked = (watch("chat", body(wire), repair) for repair in ("default", "all"))

    assert default.payloads == wire
    assert default.outcome(STREAM_SPLICED) == UNREPAIRED
    assert text_of(asked) == "The capital of France is Paris."
    assert asked.outcome(STREAM_SPLICED) == UNVERIFIED


@pytest.mark.parametrize("said_again", ["One three", "Two", "One tw"])
def test_another_completion_that_says_something_else_is_heard(said_again: str) -> None:
    """Only what was said is left out: another text is handed on whole, and nothing was repaired."""
    seen = watch(
        "chat", body([begin(), *texts("One ", "two"), *other([chunk({"content": said_again}, "stop")])]), "all"
    )

    assert text_of(seen) == "One two" + said_again
    assert seen.outcome(STREAM_SPLICED) == UNREPAIRED


def test_a_restart_after_cumulative_texts_is_a_restart() -> None:
    """Texts that were cumulative, and then another model says all again."""
    seen = watch("chat", body([begin(), *texts("A", "Ab", "Abc"), *other(said("Abc", "d")[1:])]), "all")

    assert text_of(seen) == "Abcd"


@pytest.mark.parametrize("began", [{"refusal": "No"}, {"reasoning_content": "Hm"}], ids=str)
def test_another_completion_says_nothing_again_where_no_text_came(began: Payload) -> None:
    """There is nothing to leave out: told, and handed on whole."""
    wire = [begin(), chunk(began), *other(said("One ", "two"))]
    seen = watch("chat", body(wire), "all")

    assert text_of(seen) == "One two"
    assert seen.outcome(STREAM_SPLICED) == UNREPAIRED


def test_a_restart_that_fills_the_window_goes_on_as_it_came() -> None:
    """Nothing waits longer for the rest of what was said."""
    words = [f"{number} " for number in range(100)]
    wire = [*said(*words)[:-1], *other(said(*words))]
    seen = watch("chat", body(wire), "all", window_events=20)

    assert text_of(seen) == "".join(words) * 2
    assert seen.outcome(STREAM_SPLICED) == FAILED


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (
            Request(),
            [*said("One ", "two")[:2], *({**each, "model": "gpt-4o-mini"} for each in said("One ", "two")[2:])],
        ),
        (Request(), [begin(), *other(said("One ", "two")[1:])]),
        (Request(model="router"), [{**begin(content="One "), "id": "x", "model": "router"}, *said("two")[1:]]),
        (Request(), [{**each, "id": f"id-{at}", "model": f"m-{at}"} for at, each in enumerate(said(*"abc"))][:1] * 2),
    ],
    ids=["one id", "nothing said", "alias", "one chunk"],
)
def test_a_name_that_changes_is_no_other_completion(request_: Request, wire: list[Payload]) -> None:
    """The alias that was asked for, a router's own name, another name under the same id: a dialect."""
    seen = watch("chat", body(wire), request=request_)

    assert STREAM_SPLICED not in seen.report.anomalies
    assert seen.payloads == wire
    assert len({each["model"] for each in wire}) == 1 or CHUNK_METADATA_IRREGULAR in seen.report.anomalies


@pytest.mark.parametrize("empty", [chunk({}), chunk({"role": "assistant"}), chunk({"content": ""})], ids=str)
def test_a_chunk_that_says_nothing_is_of_no_completion(empty: Payload) -> None:
    """A relay's sign of life under an id of its own, amid a text."""
    ping = {**empty, "id": "ping", "model": "relay"}
    wire = [begin(), *texts("One "), ping, *texts("two "), ping, *texts("three"), chunk({}, "stop")]

    assert STREAM_SPLICED not in watch("chat", body(wire)).report.anomalies


@pytest.mark.parametrize("shared", [False, True])
def test_choices_that_have_an_id_each_are_one_answer_in_turn(shared: bool) -> None:
    """A gateway that asks once for each choice hands on the ids that it gets; ids that share a choice are spliced."""
    pieces = [{**chunk({"content": word}, index=at % 2), "id": "ab"[at % 2]} for at, word in enumerate("abcdef")]
    pieces += [{**chunk({"content": "g"}, index=1), "id": "a"}] if shared else []
    wire = [*pieces, *({**chunk({}, "stop", index=index), "id": "ab"[index]} for index in (0, 1))]
    seen = watch("chat", body(wire), request=Request(n=2))

    assert seen.payloads == wire
    assert (STREAM_SPLICED in seen.report.anomalies) == shared


def test_an_id_that_comes_back_is_another_completion_in_between() -> None:
    """Chunks of two answers in one stream; only told, for nothing tells whose is whose."""
    wire = [{**each, "id": id} for id, each in zip("aba", texts("One", "two", "three"), strict=True)]
    seen = watch("chat", body([begin(), *wire, chunk({}, "stop")]), "all")

    assert seen.report.anomalies[STREAM_SPLICED] == 1
    assert seen.outcome(STREAM_SPLICED) == UNREPAIRED


def test_two_answers_without_ids_are_told_by_their_roles() -> None:
    """Where no chunk has an id: another model, and it opens as answers do."""
    wire = [{k: v for k, v in each.items() if k != "id"} for each in said("One")[:2]]
    rest = [{k: v for k, v in each.items() if k != "id"} for each in other(said("two")[1:])]
    opened = [{**rest[0], "choices": [{"index": 0, "delta": {"role": "assistant", "content": "two"}}]}, *rest[1:]]

    assert STREAM_SPLICED in watch("chat", body([*wire, *opened])).report.anomalies
    assert STREAM_SPLICED not in watch("chat", body([*wire, *rest])).report.anomalies


# --- whole events wait, within the window


@pytest.mark.parametrize("policy", ["default,+drop_duplicate", "default,+content_replayed"])
def test_all_that_comes_waits_behind_what_may_be_a_replay(policy: str) -> None:
    """In order, and each event as it came until it is decided."""
    stream = StreamWatch("chat", Request(n=1), settings(policy))
    wire = [begin(), *texts(*WHOLE, "".join(WHOLE)), chunk({"refusal": "x"})]
    stream.receive(body(wire, done=False))
    held, rest = stream.undelivered()

    assert [json.loads(event.data) for event in held] == wire
    assert rest == b""
    assert len(stream.ready) == 4
    stream.receive(sse(texts("!")[0]) + sse(chunk({}, "stop")) + DONE)
    assert [event.payload for event in stream.ready][:-1] == [*wire, *texts("!"), chunk({}, "stop")]
