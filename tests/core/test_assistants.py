"""Streamed runs of the Assistants API: the SDK goes by the names of the events, and so the names are watched."""

from __future__ import annotations

import asyncio
import json
import re
import typing
import warnings
from typing import Any

import pytest

from conftest import Watched
from helpers import sdk
from helpers.stream_builders import DONE, Payload, assistant_delta, bytewise, read, reference, run, sse, watch
from streamwatch.core.apis.assistants import _NAMES
from streamwatch.core.kinds import ERROR_IN_STREAM, PAYLOAD_INVALID
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict

WIRE = run("One ", "two")
_NEEDS_RUNS = pytest.mark.skipif(not sdk.STREAMS_RUNS, reason="this release of the SDK does not stream runs")


def renamed(wire: bytes, **names: str | None) -> bytes:
    """A wire with events under other names; `__` stands for a dot, None takes the name away."""
    for name, other in names.items():
        was = f"event: {name.replace('__', '.')}\n".encode()
        assert was in wire
        wire = wire.replace(was, f"event: {other}\n".encode() if other is not None else b"")
    return wire


# --- names


def test_every_name_the_sdk_knows_is_known() -> None:
    """The events of `AssistantStreamEvent`, but for errors: none of them is taken for a relay's own."""
    if not sdk.STREAMS_RUNS:
        pytest.skip("this release of the SDK does not stream runs")
    from openai.types.beta import AssistantStreamEvent

    union = typing.get_args(AssistantStreamEvent)[0]
    fields = [each.__fields__ if sdk.PYDANTIC_1 else each.model_fields for each in typing.get_args(union)]
    names = {typing.get_args(field["event"].annotation)[0] for field in fields}

    assert names - {"error"} <= _NAMES
    if sdk.VERSION >= (1, 60):  # older ones do not know all of them
        assert names - {"error"} == _NAMES


@pytest.mark.parametrize("name", sorted(_NAMES))
def test_a_known_name_is_let_be(name: str) -> None:
    """No anomaly, no other name, the payload as it came."""
    payload = {"id": "x_1", "object": name.rpartition(".")[0]}
    seen = watch("assistants", sse(payload, event=name) + b"event: done\n" + DONE)

    assert seen.report.anomalies == {}
    assert seen.delivered[0] == (name, payload)
    assert sum(seen.report.chunks.values()) == 1


# --- a healthy run


@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_a_healthy_run_is_handed_on_as_it_came(repair: str) -> None:
    """Nothing found, each event its own, counted by what it carries, and complete."""
    seen = watch("assistants", WIRE, repair)

    assert seen.report.anomalies == {}
    assert [(event.event, event.data) for event in seen.events] == [
        (event.event, event.data) for event in reference(WIRE)
    ]
    assert seen.report.verdict is Verdict.COMPLETE
    assert (seen.report.events, seen.report.chunks) == (7, {ChunkType.TEXT: 2, ChunkType.LIFECYCLE: 5})
    assert seen.report.response_id == "run_1"
    assert watch("assistants", bytewise(WIRE), repair).comparable() == seen.comparable()


def test_a_model_is_known_once_it_is_told() -> None:
    """A run names it, and a message after it does not take it away."""
    run_created = sse({"id": "run_1", "object": "thread.run", "model": "gpt-4o-2024-08-06"}, event="thread.run.created")
    seen = watch("assistants", run_created + sse(assistant_delta("x"), event="thread.message.delta"))

    assert (seen.report.response_model, seen.report.response_id) == ("gpt-4o-2024-08-06", "run_1")


def test_what_was_never_told_is_empty() -> None:
    """Neither an id nor a model is made up."""
    report = watch("assistants", sse({}, event="thread.run.created")).report

    assert (report.response_model, report.response_id) == ("", "")


# --- the end


def test_done_is_the_end() -> None:
    """`event: done` with [DONE]: what comes after it is not of this run."""
    late = sse({"error": {"message": "too late"}}, event="error")

    assert watch("assistants", WIRE + late).comparable() == watch("assistants", WIRE).comparable()


@pytest.mark.parametrize("at", range(1, 8))
def test_a_run_without_done_is_truncated(at: int) -> None:
    """After whichever event it was cut: `thread.run.completed` alone is not the end of the body."""
    frames = WIRE.split(b"\n\n")
    seen = watch("assistants", b"\n\n".join(frames[:at]) + b"\n\n")

    assert seen.report.verdict is Verdict.TRUNCATED
    assert seen.faults == {"stream_truncated"}
    assert len(seen.delivered) == at


def test_no_event_at_all_is_empty() -> None:
    """[DONE] alone says nothing."""
    assert watch("assistants", b"event: done\n" + DONE).report.verdict is Verdict.EMPTY


# --- renamed events

_NEW = "thread.message.chunk"


@pytest.mark.parametrize("name", [_NEW, "thread.message", "thread.message.updated"])
def test_a_delta_under_another_name_is_a_delta_again(name: str) -> None:
    """What it is stands in its `object`: the consumer reads the text that it would have missed."""
    wire = renamed(WIRE, thread__message__delta=name)
    seen = watch("assistants", wire)

    assert read("assistants", seen.delivered) == read("assistants", watch("assistants", WIRE).delivered)
    assert seen.report.anomalies == {PAYLOAD_INVALID: 2}
    assert seen.report.outcomes == {PAYLOAD_INVALID: {Outcome.VERIFIED: 2}}


def test_a_delta_that_does_not_say_what_it_is_can_be_told_by_what_it_carries() -> None:
    """Without `object`: a message with a delta."""
    payload = {name: value for name, value in assistant_delta("x").items() if name != "object"}
    seen = watch("assistants", sse(payload, event=_NEW) + b"event: done\n" + DONE)

    assert seen.delivered[0] == ("thread.message.delta", payload)


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("thread.run.paused", {"id": "run_1", "object": "thread.run"}),
        ("thread.message.seen", {"id": "msg_1", "object": "thread.message"}),
        ("thread.message.seen", {"id": "msg_1", "object": ["thread.message.delta"]}),
        ("thread.run.chunk", {"id": "run_1", "delta": {}}),
        ("thread.message.metadata.delta", {"id": "msg_1", "delta": {"metadata": {}}}),
        ("thread.message.reasoning.delta", assistant_delta("Hm") | {"object": "thread.message.reasoning.delta"}),
        ("thread.", {}),
    ],
)
def test_what_cannot_be_told_keeps_its_name(name: str, payload: Payload) -> None:
    """It is counted, and nothing is guessed."""
    seen = watch("assistants", sse(payload, event=name) + b"event: done\n" + DONE, "all")

    assert seen.delivered[0] == (name, payload)
    assert seen.report.outcomes == {PAYLOAD_INVALID: {Outcome.UNREPAIRED: 1}}


@pytest.mark.parametrize("name", ["ping", "message", None])
def test_names_of_another_sort_are_not_ours(name: str | None) -> None:
    """A relay's own events beside the run: the SDK passes them by, and so does the watch."""
    payload = {"object": "ping"}
    seen = watch("assistants", sse(payload, event=name) + WIRE, "all")

    assert seen.report.anomalies == {}
    assert seen.delivered[0] == (name, payload)


def test_observed_names_stay() -> None:
    """The shadow of a repair: its outcome is known, and the wire's own name is handed on."""
    wire = renamed(WIRE, thread__message__delta=_NEW)
    seen = watch("assistants", wire, "none")

    assert [event.event for event in seen.events] == [event.event for event in reference(wire)]
    assert seen.report.outcomes == {PAYLOAD_INVALID: {Outcome.VERIFIED: 2}}
    assert not seen.report.applied


# --- errors

ERROR = {"code": "rate_limit_exceeded", "message": "Slow down"}


@pytest.mark.parametrize(
    ("name", "payload", "found"),
    [
        ("error", ERROR, {}),
        ("error", {"error": ERROR}, {ERROR_IN_STREAM: 1}),
        (None, {"error": ERROR}, {ERROR_IN_STREAM: 1}),
        ("thread.run.in_progress", {"error": ERROR}, {ERROR_IN_STREAM: 1}),
    ],
)
@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_an_error_is_told_and_handed_on(name: str | None, payload: Payload, found: Any, repair: str) -> None:
    """By its name or by its payload: the verdict is error, and the SDK gets what it raises on."""
    seen = watch(
        "assistants", WIRE[:-40].rpartition(b"event: thread.run.completed")[0] + sse(payload, event=name), repair
    )

    assert seen.report.verdict is Verdict.ERROR
    assert seen.delivered[-1] == (name, payload)
    assert seen.report.anomalies == found
    assert seen.report.chunks[ChunkType.OTHER] == 1


def test_a_run_that_failed_did_not_fail_as_a_stream() -> None:
    """`thread.run.failed` is the run's own end, `last_error` its own member: the protocol was kept."""
    failed = sse({"id": "run_1", "object": "thread.run", "last_error": ERROR}, event="thread.run.failed")
    seen = watch("assistants", failed + b"event: done\n" + DONE)

    assert (seen.report.verdict, seen.report.anomalies) == (Verdict.COMPLETE, {})


@pytest.mark.quick_cases(40)
@pytest.mark.parametrize("value", [None, 7, [], {}, "x", True])
@pytest.mark.parametrize("member", ["id", "model", "object", "delta", "error"])
@pytest.mark.parametrize("name", ["thread.message.delta", "thread.message.odd", "thread.odd", "error", None])
def test_members_of_any_type_do_no_harm(name: str | None, member: str, value: Any) -> None:
    """Watched to the end, and in observe mode the payload is the wire's own."""
    wire = sse({member: value}, event=name) + WIRE

    assert watch("assistants", wire, "all").report.verdict in (Verdict.COMPLETE, Verdict.ERROR)
    assert watch("assistants", wire, "none").delivered[0] == (name, {member: value})


# --- through the SDK


def runs(mode: str, wire: bytes) -> tuple[list[tuple[str, Any]], str]:
    """What an application gets of a run: each event's name and data, and what was raised."""
    events, raised = [], ""
    arguments: dict[str, Any] = {"thread_id": "thread_1", "assistant_id": "asst_1", "stream": True}
    reads = sdk.cut([wire], 37)

    def add(event: Any) -> None:
        events.append((event.event, sdk.dump(event)["data"]))

    async def asynchronous() -> None:
        async for event in await sdk.async_client(reads).beta.threads.runs.create(**arguments):
            add(event)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's: the API is deprecated
        try:
            if mode == "async":
                asyncio.run(asynchronous())
            else:
                for event in sdk.client(reads).beta.threads.runs.create(**arguments):
                    add(event)
        except Exception as error:
            raised = type(error).__name__
    return events, raised


def said(events: list[tuple[str, Any]]) -> str:
    """The text of a run's deltas."""
    return "".join(
        part["text"]["value"]
        for name, data in events
        if name == "thread.message.delta"
        for part in data["delta"]["content"]
    )


@pytest.mark.quick_cases(1)
@_NEEDS_RUNS
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_an_application_gets_a_healthy_run_unchanged(watch: Any, mode: str, repair: str) -> None:
    """The same events with Streamwatch and without, and one complete stream is reported."""
    plain = runs(mode, WIRE)
    watched: Watched = watch(repair=repair)

    assert runs(mode, WIRE) == plain
    assert (said(plain[0]), plain[1]) == ("One two", "")
    assert (watched.report.api, watched.report.verdict) == ("assistants", Verdict.COMPLETE)
    assert watched.report.anomalies == {}
    assert watched.internal_errors() == 0


@_NEEDS_RUNS
@pytest.mark.parametrize("mode", sdk.MODES)
def test_an_application_reads_renamed_deltas(watch: Any, mode: str) -> None:
    """The SDK alone hands none of them on as a delta; repaired, the whole text is there."""
    wire = renamed(WIRE, thread__message__delta=_NEW)
    plain = runs(mode, wire)
    watched: Watched = watch()

    assert said(plain[0]) == ""
    assert runs(mode, wire) == runs(mode, WIRE)
    assert {report.verdict for report in watched.reports} == {Verdict.COMPLETE}


@_NEEDS_RUNS
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("payload", [ERROR, {"error": ERROR}])
def test_an_application_gets_an_error_as_without_us(watch: Any, mode: str, payload: Payload) -> None:
    """The same events, the same exception; and the verdict is error."""
    wire = re.split(rb"(?=event: thread\.run\.completed)", WIRE)[0] + sse(payload, event="error")
    plain = runs(mode, wire)
    watched: Watched = watch()

    assert runs(mode, wire) == plain
    assert watched.report.verdict is Verdict.ERROR


def test_the_recorded_shape_is_the_one_these_tests_use() -> None:
    """The wire of these tests holds the events of a real run, in their order."""
    assert [event.event for event in reference(WIRE)] == [
        "thread.run.created",
        "thread.run.in_progress",
        "thread.message.created",
        "thread.message.delta",
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.completed",
        "done",
    ]
    assert json.loads(reference(WIRE)[3].data)["object"] == "thread.message.delta"
