"""What providers do otherwise: failures in members of their own, and events of other protocols."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from helpers.stream_builders import DONE, Payload, answered, bare, begin, body, chunk, named, said, settings, sse, watch
from streamwatch.core.kinds import ANSWER_MISSING, ERROR_HIDDEN, KEEPALIVE_FRAME, PROTOCOL_FOREIGN
from streamwatch.core.quirks import FAILURES, FINISH_REASONS, NO_ANSWER, PLACEHOLDERS, REASONING, SYNONYMS
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict
from streamwatch.export.places import PLACES
from streamwatch.export.words import OTHER_WORD, finish_reason

#: How servers say that a request failed, where the SDK does not look, and in which words.
FAILED: list[tuple[Payload, str]] = [
    ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "insufficient balance"),
    ({"error_code": 336003, "error_msg": "too long"}, "too long"),
    ({"error_type": "rate_limit", "error_message": "slow down"}, "slow down"),
    ({"status": 429, "message": "slow down"}, "slow down"),
    ({"status": "error", "msg": "no"}, "no"),
    ({"code": "InvalidParameter", "message": "bad", "request_id": "1"}, "bad"),
    ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, "404 NOT_FOUND"),
    ({"success": False, "errors": [{"message": "x"}]}, ""),
    ({"fault": {"faultstring": "quota"}}, "quota"),
    ({"__type": "ThrottlingException", "message": "slow down"}, "slow down"),
    ({"statusCode": 503, "detail": "down"}, "down"),
    ({"code": -1, "msg": "busy"}, "busy"),
]
#: What looks like it, and says nothing of a failure.
FINE: list[Payload] = [
    {"base_resp": {"status_code": 0, "status_msg": ""}},
    {"base_resp": None},
    {"code": 0, "message": "Success"},
    {"code": 200, "message": "ok"},
    {"code": "200", "message": "ok"},
    {"code": "InvalidParameter"},
    {"status": "completed", "success": True},
    {"status": 200},
    {"error_code": 0, "error_message": "", "error_type": None, "errors": []},
    {"error_code": []},
    {"__type": "Heartbeat"},
    {"message": "hello"},
]
_FAILED = pytest.mark.parametrize(("failure", "words"), FAILED, ids=[json.dumps(failure) for failure, _ in FAILED])


@_FAILED
@pytest.mark.parametrize("choices", [{}, {"choices": None}, {"choices": []}], ids=["absent", "null", "empty"])
def test_a_failure_in_a_member_of_a_vendor_is_an_error(failure: Payload, words: str, choices: Payload) -> None:
    """A chunk without an answer that says so: told by default, and shown to the SDK on request."""
    wire = body([*said("One")[:2], {**failure, **choices, "usage": {"total_tokens": 0}}])
    default, asked = (watch("chat", wire, repair) for repair in ("default", "default,+error_hidden"))

    assert default.payloads[-1] == {**failure, **choices, "usage": {"total_tokens": 0}}
    assert default.outcome(ERROR_HIDDEN) == {Outcome.UNREPAIRED}
    assert default.report.verdict is asked.report.verdict is Verdict.ERROR
    assert asked.payloads[-1]["error"].items() >= failure.items()
    assert asked.payloads[-1]["error"]["message"] == words


@_FAILED
def test_the_same_beside_an_answer_is_none(failure: Payload, words: str) -> None:
    """With choices, or with tokens that were used, it is about something else."""
    beside = [{**each, **failure} for each in said("One")]
    used = [*said("One"), {**bare(), **failure, "usage": {"total_tokens": 3}}]

    for wire in (beside, used):
        assert watch("chat", body(wire)).report.verdict is Verdict.COMPLETE


@_FAILED
def test_a_body_that_is_no_stream_says_it_too(failure: Payload, words: str) -> None:
    """A JSON document, which the SDK silently skips."""
    text = json.dumps(failure).encode()

    assert watch("chat", text).report.verdict is Verdict.ERROR
    (shown,) = watch("chat", text, "default,+error_hidden").payloads
    assert shown["error"].items() >= failure.items()


@pytest.mark.parametrize("fine", FINE, ids=json.dumps)
def test_members_that_say_nothing_of_a_failure_are_none(fine: Payload) -> None:
    """In a chunk without an answer, between others."""
    wire = [*said("One")[:2], {**bare(), **fine}, *said("One")[2:]]
    seen = watch("chat", body(wire))

    assert seen.payloads == wire
    assert not seen.faults
    assert seen.report.verdict is Verdict.COMPLETE


# --- other protocols

ANTHROPIC: list[Payload] = [
    {"type": "message_start", "message": {"id": "msg_1", "content": []}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "One"}},
    {"type": "message_stop"},
]
#: Answers of other protocols, as a gateway sends them where chat completions were asked for.
FOREIGN: dict[str, bytes] = {
    "Responses": named(answered("One ", "two")),
    "Anthropic": named(ANTHROPIC),
    "Gemini": body([{"candidates": [{"content": {"parts": [{"text": "One"}]}}]}], done=False),
    "Ollama": body([{"model": "m", "message": {"role": "assistant", "content": "One"}, "done": False}], done=False),
    "Assistants": body([{"object": "thread.message.delta", "delta": {}}], done=False),
    "nobody's, with [DONE]": body([{"value": "One"}]),
    "llama.cpp": body([{"content": "One", "stop": False}, {"content": "", "stop": True}], done=False),
    "DashScope": body([{"output": {"text": "One", "finish_reason": "stop"}, "request_id": "r"}], done=False),
    "Cohere": body([{"type": "content-delta", "delta": {"message": {"content": {"text": "One"}}}}], done=False),
}


@pytest.mark.parametrize("done", [b"", DONE], ids=["", "[DONE]"])
@pytest.mark.parametrize("name", FOREIGN)
def test_an_answer_of_another_protocol_is_foreign_and_not_complete(name: str, done: bytes) -> None:
    """Every event goes on untouched, and [DONE] ends no other protocol."""
    seen = watch("chat", FOREIGN[name] + done, request=Request(n=1))

    assert seen.report.anomalies[PROTOCOL_FOREIGN] == 1
    assert seen.report.verdict is Verdict.TRUNCATED
    assert [each.value for each in seen.delivered] == [
        each.value for each in watch("other", FOREIGN[name] + done).delivered
    ]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_event_in_an_answer_is_no_other_protocol(name: str) -> None:
    """A gateway's own, before it or amid it."""
    events = FOREIGN[name].removesuffix(DONE)
    seen = watch(
        "chat", events + body(said("One")[:2], done=False) + events + body(said("One")[2:]), request=Request(n=1)
    )

    assert PROTOCOL_FOREIGN not in seen.report.anomalies
    assert seen.report.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("wire", [b'data: {"value":"One"}\n\n', sse({"type": "ping"}) + DONE, sse({}) + DONE], ids=str)
def test_of_what_nobody_knows_nothing_is_said(wire: bytes) -> None:
    """Neither an answer nor a protocol: signs of life, and a format of its own without [DONE], as Writer has one."""
    seen = watch("chat", wire, request=Request(n=1))

    assert not seen.faults
    assert seen.report.verdict is Verdict.COMPLETE


def test_an_error_of_another_protocol_is_an_error() -> None:
    """It says what happened."""
    seen = watch("chat", named([{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]))

    assert seen.report.verdict is Verdict.ERROR
    assert PROTOCOL_FOREIGN not in seen.report.anomalies


# --- an answer that is missing


@pytest.mark.parametrize(
    ("delta", "answers"),
    [
        ({}, False),
        ({"content": ""}, False),
        ({"content": None, "tool_calls": [], "audio": None}, False),
        *(({name: "Hm"}, False) for name in sorted(NO_ANSWER - {"role", "index"})),
        ({"content": "x"}, True),
        ({"content": [{"type": "text", "text": "x"}]}, True),
        ({"refusal": "No"}, True),
        ({"audio": {"data": "AAAA"}}, True),
        ({"images": [{"image_url": {"url": "data:"}}]}, True),
        ({"function_call": {"name": "run", "arguments": ""}}, True),
        ({"something": "that nobody knows"}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_clean_end_without_an_answer_is_told(delta: Payload, answers: bool, finish: str) -> None:
    """A hazard: reasoning alone, or nothing at all; what nobody knows may be an answer."""
    wire = [begin(content=None), chunk(delta), chunk({}, finish)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert (ANSWER_MISSING in seen.report.anomalies) is not answers
    assert seen.faults <= {"content_not_string"}


@pytest.mark.parametrize(
    "wire",
    [
        body([begin(), chunk({}, "content_filter")]),
        body([begin()], done=False),
        body([begin(), chunk({}, "error")]),
        body([begin(), {"error": {"message": "x"}}]),
        body([begin(), chunk({"content": "x"}, index=1), chunk({}, "stop"), chunk({}, "stop", index=1)]),
    ],
    ids=["filtered", "cut", "failed", "error", "another choice"],
)
def test_what_explains_a_missing_answer_is_told_instead(wire: bytes) -> None:
    """A filter, a cut, an error; and one choice of several that has an answer."""
    assert ANSWER_MISSING not in watch("chat", wire, request=Request(n=2)).report.anomalies


# --- the tables


def test_a_word_has_one_meaning() -> None:
    """A finish reason is OpenAI's own, another name of one, a placeholder, or a failure."""
    tables: list[set[str]] = [set(FINISH_REASONS), set(SYNONYMS), set(PLACEHOLDERS), set(FAILURES)]

    assert len(set[str]().union(*tables)) == sum(map(len, tables))
    assert set(SYNONYMS.values()) <= FINISH_REASONS
    assert all(word == word.lower() for word in FAILURES)
    assert set(REASONING) <= NO_ANSWER


@pytest.mark.parametrize("member", [name for name in sorted(NO_ANSWER) if name not in REASONING])
def test_members_beside_an_answer_are_of_no_type(member: str) -> None:
    """What is no answer is no text and no reasoning either."""
    value: Any = "assistant" if member == "role" else 1
    counts = watch("chat", body([begin(), chunk({member: value}), *said("One")[1:]])).report.chunks

    assert counts.get(ChunkType.REASONING, 0) == 0
    assert counts[ChunkType.TEXT] == 1


# --- what becomes of a row elsewhere


@pytest.mark.parametrize("reason", sorted({*SYNONYMS, *FAILURES, *FINISH_REASONS}))
def test_a_finish_reason_that_is_known_is_exported(reason: str) -> None:
    """As a word of its own, in a span and in a masked capture."""
    assert finish_reason(reason) != OTHER_WORD, "a word for _REASONS in streamwatch/export/words.py"


@pytest.mark.parametrize("member", sorted(NO_ANSWER))
def test_a_member_that_is_no_answer_keeps_its_name_in_a_masked_capture(member: str) -> None:
    """Under an alias it would be taken for an answer when the capture is replayed."""
    (delta,) = [PLACES["chat"].members["choices"].element.members["delta"]]  # type: ignore[union-attr]

    assert member in delta.members, "a member for _DELTA or _REASONING in streamwatch/export/places.py"


# --- notes, and errors of choices

NOTES = [
    ({"tool": "search", "status": "failed"}, "nanobot.tool.progress"),
    ({"tool": "search", "status": "failed"}, None),
    ({"success": False, "tool": "search"}, None),
    ({"detail": "one of two replicas is busy"}, None),
    ({"detail": ["busy"]}, "message"),
    ({"code": 10000, "message": "success"}, None),
    ({"type": "billing", "detail": {"credits": 3}}, None),
]
_NOTES = pytest.mark.parametrize(("note", "name"), NOTES, ids=str)


@_NOTES
@pytest.mark.parametrize("repair", ["default", "all"])
@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_note_that_an_answer_follows_is_no_error(note: Payload, name: str | None, repair: str, place: int) -> None:
    """A tool of the gateway failed, or one of its upstreams: what follows is handed on, and the note before it."""
    chunks = said("One ", "two")
    wire = body(chunks[:place], done=False) + sse(note, event=name) + body(chunks[place:])
    seen = watch("chat", wire, repair)

    assert seen.report.verdict is Verdict.COMPLETE
    assert ERROR_HIDDEN not in seen.report.anomalies
    assert [each for each in seen.payloads if each.get("id")] == watch("chat", body(chunks), repair).payloads
    assert not any("error" in each for each in seen.payloads)


@pytest.mark.parametrize("end", ["done", "body", "reader"])
@pytest.mark.parametrize("repair", ["default", "all"])
def test_what_says_failure_is_an_error_where_nothing_follows(end: str, repair: str) -> None:
    """At [DONE], at the end of the body, and where the reader leaves."""
    failure = {"success": False, "message": "busy"}
    stream = StreamWatch("chat", None, settings(repair))
    stream.receive(body([*said("One")[:2], failure], done=end == "done"))
    stream.close(abandoned=end == "reader")

    assert stream.report().verdict is Verdict.ERROR
    assert ERROR_HIDDEN in stream.report().anomalies
    if end != "reader":
        last = [event.payload for event in stream.ready if event.payload is not None][-1]
        assert ("error" in last) == (repair == "all")


def test_a_note_waits_no_longer_than_the_window() -> None:
    """On request, for what follows; then it goes on as it came, and is an error if nothing ever follows."""
    now = [0.0]
    failure = {"success": False, "message": "busy"}
    stream = StreamWatch("chat", None, settings("all"), clock=lambda: now[0])
    stream.receive(body([*said("One")[:2], failure], done=False))
    waiting = len(stream.ready)
    now[0] = stream.settings.window_seconds + 1
    stream.expire()
    assert stream.ready[waiting].payload == {**failure, "choices": []}
    stream.close()

    assert stream.report().verdict is Verdict.ERROR
    assert "error" not in stream.ready[-1].payload


@pytest.mark.parametrize("error", [{"code": 502, "message": "gone"}, "gone"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_an_error_of_a_choice_is_one_unless_it_goes_on(error: Any, goes_on: bool) -> None:
    """Gateways put it beside the finish_reason (genkit#6079); after another upstream took over it is none."""
    *chunks, last = said("One ", "two")
    broken = copy.deepcopy(last)
    broken["choices"][0]["error"] = error
    wire = [*chunks, broken]
    if goes_on:
        broken["choices"][0]["finish_reason"] = None
        wire.append(last)
    seen = watch("chat", body(wire), "all")

    assert seen.report.verdict is (Verdict.COMPLETE if goes_on else Verdict.ERROR)
    assert seen.payloads[-1].keys() == last.keys()


@pytest.mark.parametrize(
    "word", ["network-error", "error_finish", "failed", "timeout", "server_error", "engine_overloaded", "FAIL"]
)
def test_a_finish_reason_that_says_failure_is_an_error(word: str) -> None:
    """However it is written (hermes-agent#92161)."""
    *chunks, last = said("One")
    last["choices"][0]["finish_reason"] = word

    assert watch("chat", body([*chunks, last])).report.verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("frame", "name"), [({}, "keepalive"), ({"x": 1}, "keep-alive"), ({"type": "ping"}, None), ({}, "ping")], ids=str
)
def test_a_chunk_that_keeps_the_connection_open_is_told_as_one(frame: Payload, name: str | None) -> None:
    """By its type, or its name: dropped for the SDK's helper; others get a list of choices where they asked for it."""
    chunks = said("One ", "two")
    wire = body(chunks[:2], done=False) + sse(frame, event=name) + body(chunks[2:])
    reader, helper = (watch("chat", wire, request=Request(n=1, accumulated=each)) for each in (False, True))

    assert reader.report.anomalies[KEEPALIVE_FRAME] == 1
    assert reader.report.condition.value == watch("chat", body(chunks)).report.condition.value == "clean"
    assert frame in reader.payloads
    assert {**frame, "choices": []} in watch("chat", wire, "default,+choices_empty").payloads
    assert helper.payloads == watch("chat", body(chunks), request=Request(n=1, accumulated=True)).payloads
