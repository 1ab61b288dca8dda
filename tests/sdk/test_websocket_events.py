"""The SDK's objects of messages over WebSockets: the same in every respect, whoever makes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.socket_sessions import HELLO, SESSION, realtime
from helpers.stream_builders import Payload, answered
from helpers.websocket_servers import opened, serving
from streamwatch.core.settings import Settings
from streamwatch.sdk import socket_events
from streamwatch.sdk.chunk_builder import ChunkBuilder
from streamwatch.sdk.shape_template import same

responses = pytest.importorskip("openai.resources.responses.responses")
pytestmark = pytest.mark.skipif(not hasattr(responses, "ResponsesConnection"), reason="no WebSockets in this release")

#: Each shape several times: the first is the SDK's own, the others are built. Some that are no event the SDK knows.
ODD: list[Payload] = [
    {"type": "response.output_text.delta", "delta": 7, "sequence_number": "8", "more": {"a": [1, None]}},
    {"type": "of.tomorrow", "stream_id": "", "event_id": "e", "value": 1.5},
    {"type": "error", "error": {"type": "server_error", "message": "No", "code": None}, "status": 500},
    {"type": "response.output_text.delta", "delta": "\ud800", "item_id": "i", "output_index": 0},
]
STREAMS: dict[str, list[Payload]] = {
    "responses": 2 * answered(*(f"Word {number} " for number in range(20))) + 3 * ODD,
    "realtime": [SESSION, *realtime(*(f"Word {number} " for number in range(20))), *3 * ODD],
}


def events(url: str, mode: str, api: str, count: int) -> list[Any]:
    """Every event that an application gets."""

    async def read() -> list[Any]:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), api) as connection:
            await connection.send(HELLO)
            return [await connection.recv() for _ in range(count)]

    if mode == "async":
        return asyncio.run(read())
    with opened(openai.OpenAI(base_url=url, api_key="x"), api) as connection:
        connection.send(HELLO)
        return [connection.recv() for _ in range(count)]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was built after templates, or constructed to take one."""
    found: list[Any] = []
    build = ChunkBuilder.build

    def counted(self: ChunkBuilder, payload: Payload) -> Any:
        made = build(self, payload)
        found.extend([made] if made is not None else [])
        return made

    monkeypatch.setattr(ChunkBuilder, "build", counted)
    return found


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("api", STREAMS)
@pytest.mark.parametrize("repair", ["none", "default"])
def test_events_are_the_sdks_in_every_respect(
    repair: str, api: str, mode: str, built: list[Any], watch: Callable[..., Watched]
) -> None:
    """Classes, values, order of fields, and which were set."""
    sent = STREAMS[api]
    with serving(sent, None) as url:
        plain = events(url, mode, api, len(sent))
        watch(repair=repair)
        watched = events(url, mode, api, len(sent))

    assert len(built) > len(sent) / 2
    different = [one for one, other in zip(plain, watched, strict=True) if not same(one, other)]
    assert different == []


def test_each_event_is_an_object_of_its_own(built: list[Any], watched: Watched) -> None:
    """What the application does to one shows in none that comes later."""
    text = answered("One ", "One ", "One ", "One ")
    with serving(text, None) as url, opened(openai.OpenAI(base_url=url, api_key="x"), "responses") as connection:
        connection.send(HELLO)
        for event in text:
            data = connection.recv_bytes()
            first = connection.parse_event(data)
            first.__dict__.clear()
            assert connection.parse_event(data).type == event["type"]
    assert built


@pytest.mark.parametrize("between", ["construct_type_unchecked", "json"])
def test_whoever_makes_events_otherwise_is_left_to_it(
    between: str, built: list[Any], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that has put its own function in the SDK's place gets what that makes."""

    class Other:
        loads, dumps = staticmethod(json.loads), staticmethod(json.dumps)

    def construct(*, value: Any, type_: Any) -> Any:
        return value["type"]

    monkeypatch.setattr(responses, between, construct if between != "json" else Other)
    with serving(STREAMS["responses"][:20], None) as url:
        read = events(url, "sync", "responses", 20)
    assert built == []
    if between != "json":
        assert read == [event["type"] for event in STREAMS["responses"][:20]]


def test_an_object_that_differs_from_the_sdks_gives_no_template(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `parse_event` does anything else, what it makes is what the application gets."""
    compared: list[Any] = []

    def differ(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(socket_events, "same", differ)
    with serving(STREAMS["responses"][:20], None) as url:
        read = events(url, "sync", "responses", 20)
    assert compared
    assert all(event is not one for event in read for one, _ in compared)


def test_objects_are_the_sdks_to_make_where_that_is_asked_for(built: list[Any], watch: Callable[..., Watched]) -> None:
    """`STREAMWATCH_BUILD_CHUNKS=false` is about these as well."""
    watch(settings=Settings(build_chunks=False))
    with serving(STREAMS["responses"][:20], None) as url:
        assert len(events(url, "sync", "responses", 20)) == 20
    assert built == []
