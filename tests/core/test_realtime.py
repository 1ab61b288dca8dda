"""Responses of the Realtime API and sessions of the Live API, event by event: what is found, and where they end."""

from __future__ import annotations

import pytest

from helpers.stream_builders import Payload, identified, named, turn, watch
from streamwatch.core.kinds import ERROR_IN_STREAM, EVENT_REPEATED, RESPONSE_TEXT_LOST, STREAM_TRUNCATED
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict

#: What a response says, by the name of its events: the member of the closing event that has all of it.
SAID = {
    "response.output_text": "text",
    "response.text": "text",
    "response.output_audio_transcript": "transcript",
    "response.audio_transcript": "transcript",
    "response.function_call_arguments": "arguments",
    "response.mcp_call_arguments": "arguments",
}


def said(name: str, *pieces: str, status: str | None = "completed") -> list[Payload]:
    """One response that says something under a name."""
    at = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0}
    at = at if name.endswith("arguments") else {**at, "content_index": 0}
    done: Payload = {"id": "resp_1", "status": status} if status else {}
    return identified(
        [
            {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
            {"type": "response.output_item.added", **at, "item": {"id": "item_1"}},
            {"type": "response.content_part.added", **at, "part": {"type": "audio"}},
            *({"type": f"{name}.delta", **at, "delta": piece} for piece in pieces),
            {"type": f"{name}.done", **at, SAID[name]: "".join(pieces)},
            {"type": "response.done", "response": done or None},
        ]
    )


each_name = pytest.mark.parametrize("name", SAID)


@each_name
@pytest.mark.parametrize("status", ["completed", "cancelled", "incomplete", None])
def test_a_healthy_response_is_clean(name: str, status: str | None) -> None:
    """Whatever it says, under the names of the beta too, and however it ends."""
    events = said(name, "One ", "two", status=status)
    seen = watch("realtime", named(events))

    assert seen.payloads == events
    assert (seen.report.verdict, seen.report.anomalies) == (Verdict.COMPLETE, {})
    assert seen.report.finish_reasons == ((status,) if status else ())
    assert seen.report.chunks[ChunkType.TOOL_CALL if name.endswith("arguments") else ChunkType.TEXT] == 2


@each_name
def test_what_came_twice_or_not_at_all_is_found(name: str) -> None:
    """A repeat is proved by its id and by the whole text; a loss by the whole text."""
    events = said(name, "One ", "two")
    twice = watch("realtime", named([*events[:4], *events[3:]]), "default,+event_repeated")
    lost = watch("realtime", named([*events[:4], *events[5:]]))

    assert twice.payloads == events
    assert twice.outcome(EVENT_REPEATED) == {Outcome.VERIFIED}
    assert lost.report.anomalies == {RESPONSE_TEXT_LOST: 1}


@each_name
def test_a_response_without_its_end_is_cut(name: str) -> None:
    """Nothing but `response.done` ends it."""
    report = watch("realtime", named(said(name, "One")[:-1])).report

    assert (report.verdict, report.anomalies) == (Verdict.TRUNCATED, {STREAM_TRUNCATED: 1})


@pytest.mark.parametrize("error", [False, True], ids=["alone", "behind an error"])
def test_a_failure_is_counted_once(error: bool) -> None:
    """Of a response and of a turn, with the error that says why or without."""
    why: list[Payload] = [{"type": "error", "event_id": "e", "error": {"message": "No"}}] * error
    response, failed = said("response.text", "One", status="failed"), turn("One", end="failed")
    for api, events in (
        ("realtime", [*response[:-1], *why, response[-1]]),
        ("agents", [*failed[:-2], *why, *failed[-2:]]),
    ):
        report = watch(api, named(events)).report
        assert (report.verdict, report.anomalies) == (Verdict.ERROR, {ERROR_IN_STREAM: 1}), api


def test_a_session_of_an_agent_that_fails_ends_its_turns() -> None:
    """Without an event for each of them."""
    events = [*turn("One")[:6], {"type": "agent.session.failed", "session": {"id": "asess_1"}}]
    report = watch("agents", named(events)).report

    assert (report.verdict, report.anomalies) == (Verdict.ERROR, {ERROR_IN_STREAM: 1})


def test_events_about_no_turn_open_none() -> None:
    """An environment comes and goes: nothing is cut when the connection ends."""
    report = watch("agents", named([{"type": "agent.session.environment.ready", "event_id": "e"}])).report

    assert (report.verdict, report.anomalies) == (Verdict.COMPLETE, {})


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_a_live_session_is_complete_when_it_is_closed(closed: bool) -> None:
    """By its last event, or by whoever closes the connection; what is said in it is text."""
    events: list[Payload] = [
        {"type": "session.created", "event_id": "1"},
        {"type": "session.output_transcript.delta", "event_id": "2", "delta": "One"},
        {"type": "session.output_audio.delta", "event_id": "3", "delta": "AAAA"},
        *[{"type": "session.closed", "event_id": "4"}] * closed,
    ]
    report = watch("live", named(events)).report

    assert (report.verdict, report.anomalies) == (Verdict.COMPLETE, {})
    assert report.chunks[ChunkType.TEXT] == 1
    cut = watch("live", named(events), error=ConnectionResetError())
    assert cut.report.verdict is (Verdict.COMPLETE if closed else Verdict.TRUNCATED)
