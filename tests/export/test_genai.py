"""The client metrics of the GenAI conventions: on request, in both spellings, and never twice."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from conftest import Watched
from helpers import sdk
from streamwatch.core.settings import Settings
from streamwatch.export import genai
from streamwatch.export.genai import OTHERS, ROWS, Usage

COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "server.address": "server.test",
}
USAGE = {"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18}


@pytest.fixture
def asked(watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Streamwatch with these metrics, in a process that has no other instrumentation."""
    for name in OTHERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return watch(settings=Settings(genai_metrics=True))


def with_usage() -> list[bytes]:
    """A chat whose last chunk says what it cost."""
    last = {**sdk.chat()[0], "choices": [], "usage": USAGE}
    return sdk.frames([*sdk.chat("a", "b"), last])


def sums(watched: Watched, name: str) -> list[tuple[dict[str, Any], float]]:
    """What was recorded: attributes, and the sum of a histogram or the value of a counter."""
    return [
        (dict(point.attributes), getattr(point, "sum", None) or getattr(point, "value", None))  # type: ignore[misc]
        for point in watched.points(name)
    ]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_both_spellings_say_the_same_of_a_stream(mode: str, asked: Watched) -> None:
    """Its duration, the time to its first chunk, and its tokens; once each."""
    sdk.read(mode, with_usage())
    times = asked.report.times
    assert times is not None

    for name, value in (
        ("gen_ai.client.operation.duration", times.duration),
        ("gen_ai.client.inference.duration", times.duration),
        ("gen_ai.client.operation.time_to_first_chunk", times.first_chunk),
        ("gen_ai.client.inference.time_to_first_chunk", times.first_chunk),
        ("gen_ai.client.inference.usage.input_tokens", 7),
        ("gen_ai.client.inference.usage.output_tokens", 11),
    ):
        assert [(COMMON, value)] == sums(asked, name), name
    assert [
        ({**COMMON, "gen_ai.token.type": "input"}, 7),
        ({**COMMON, "gen_ai.token.type": "output"}, 11),
    ] == sums(asked, "gen_ai.client.token.usage")


@pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")
def test_usage_of_a_response_stands_in_its_last_event(asked: Watched) -> None:
    """What conventions call the operation is `chat`."""
    *events, last = sdk.responses()
    last = {**last, "response": {**last["response"], "usage": {"input_tokens": 3, "output_tokens": 5}}}
    sdk.read("sync", sdk.frames([*events, last], done=False), "responses")

    assert [(COMMON, 3)] == sums(asked, "gen_ai.client.inference.usage.input_tokens")
    assert [(COMMON, 5)] == sums(asked, "gen_ai.client.inference.usage.output_tokens")


def test_a_stream_that_failed_says_so_and_has_no_tokens(asked: Watched) -> None:
    """`error.type` is its verdict; what the server did not say is not made up."""
    sdk.read("sync", [*sdk.healthy("chat")[:2], sdk.cut_off()])
    ((attributes, _),) = sums(asked, "gen_ai.client.operation.duration")

    assert {**COMMON, "error.type": "truncated"} == attributes
    for name in ("gen_ai.client.token.usage", "gen_ai.client.inference.usage.input_tokens"):
        assert [] == asked.points(name)


def test_a_stream_without_a_chunk_has_no_time_to_the_first(asked: Watched) -> None:
    """It has a duration all the same."""
    sdk.read("sync", [])

    assert 1 == len(asked.points("gen_ai.client.inference.duration"))
    assert [] == asked.points("gen_ai.client.inference.time_to_first_chunk")


def test_nothing_of_it_is_there_unless_it_is_asked_for(watched: Watched) -> None:
    """No instrument, and no look at the usage."""
    sdk.read("sync", with_usage())

    assert [] == [row.name for row in ROWS if watched.points(row.name)]


@pytest.mark.parametrize("other", OTHERS)
def test_where_another_instrumentation_records_them_nothing_is_recorded_twice(
    other: str, asked: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However late it is loaded; one line says so."""
    caplog.set_level(logging.INFO, "streamwatch")
    monkeypatch.setitem(sys.modules, other, types.ModuleType(other))
    sdk.read("sync", with_usage())
    sdk.read("sync", with_usage())
    said = [record.getMessage() for record in caplog.records if other in record.getMessage()]

    assert [] == [row.name for row in ROWS if asked.points(row.name)]
    assert {"complete": 2} == asked.samples("streamwatch.streams", "streamwatch.verdict")
    assert 1 == len(said)


@pytest.mark.parametrize(
    ("payloads", "seen"),
    [
        ([{"usage": None}], (None, None)),
        ([{"usage": {"prompt_tokens": 1}}], (1, None)),
        ([{"usage": USAGE}, {"usage": {"completion_tokens": 12}}], (7, 12)),
        ([{"usage": {"prompt_tokens": -1, "completion_tokens": True}}], (None, None)),
        ([{"usage": {"prompt_tokens": "7", "completion_tokens": 1.5}}], (None, None)),
        ([{"response": {"usage": {"input_tokens": 0, "output_tokens": 2}}}], (0, 2)),
        ([{"response": "usage"}, ["usage"], "usage", None, {"usage": []}], (None, None)),
    ],
)
def test_only_counts_are_taken(payloads: list[Any], seen: tuple[int | None, int | None]) -> None:
    """What is said last holds; a server can say anything there."""
    usage = Usage()
    for payload in payloads:
        usage.see(payload)

    assert (usage.input, usage.output) == seen


def test_bounds_are_those_of_the_conventions() -> None:
    """Powers of two for seconds, of four for tokens."""
    assert (0.01, 81.92) == (genai.OPERATION_DURATION.boundaries[0], genai.OPERATION_DURATION.boundaries[-1])
    assert (1, 67108864) == (genai.TOKEN_USAGE.boundaries[0], genai.TOKEN_USAGE.boundaries[-1])
