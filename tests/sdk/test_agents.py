"""The events of an agent's session through the SDK: its raw subscription, and its helper that runs a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.stream_builders import Payload, identified, turn
from streamwatch.core.kinds import ERROR_IN_STREAM, EVENT_REPEATED, STREAM_TRUNCATED
from streamwatch.core.vocabulary import Verdict

AGENTS = Path(openai.__file__).parent / "resources" / "beta" / "agents"
pytestmark = pytest.mark.skipif(not AGENTS.exists(), reason="no agents in this release")

SESSION = {"id": "asess_1", "object": "agent.session", "status": "idle", "created_at": 1}
EVENTS = turn("One ", "two")


def frames(events: Iterable[Payload]) -> list[bytes]:
    """One read an event: a session has no [DONE]."""
    return sdk.frames(events, done=False)


def respond(events: list[Payload]) -> Callable[[Any], Any]:
    """A server with one session: it takes input, and says `events`."""

    def answer(request: Any) -> Any:
        if request.method == "POST":
            return sdk.httpx.Response(202)
        if request.url.path.endswith("/events"):
            headers = {"content-type": "text/event-stream"}
            return sdk.httpx.Response(200, headers=headers, stream=sdk.Body(frames(events)))
        return sdk.httpx.Response(200, json=SESSION)

    return answer


def subscribed(mode: str, reads: list[Any]) -> list[Any]:
    """The events that a subscription gives, and the name of the exception that ends it."""
    seen: list[Any] = []

    async def read() -> None:
        async for event in await sdk.async_client(reads).beta.agents.sessions.events.stream("asess_1"):
            seen.append(event.to_dict())

    try:
        if mode == "async":
            asyncio.run(read())
        else:
            for event in sdk.client(reads).beta.agents.sessions.events.stream("asess_1"):
                seen.append(event.to_dict())
    except openai.APIError as error:
        seen.append(type(error).__name__)
    return seen


def turned(events: list[Payload]) -> list[str]:
    """The types of the events that the SDK's own helper gives of one turn."""
    transport = sdk.httpx.MockTransport(respond(events))
    client = openai.OpenAI(
        api_key="x", base_url="http://server.test/v1", http_client=sdk.httpx.Client(transport=transport), max_retries=0
    )
    with client.beta.agents.sessions.stream("asess_1", input="Hi") as stream:
        return [event.type for event in stream]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_healthy_session_is_clean_and_untouched(mode: str, watched: Watched) -> None:
    """Every event as it came, under the name of its API."""
    assert subscribed(mode, frames(EVENTS)) == EVENTS
    assert (watched.report.api, watched.report.verdict) == ("agents", Verdict.COMPLETE)
    assert watched.report.anomalies == {}


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("policy", ["default", "default,+event_repeated"])
def test_a_repeated_event_is_dropped_on_request_alone(mode: str, policy: str, watch: Callable[..., Watched]) -> None:
    """A plain reader gets what came; one who asks for the repair gets each event once."""
    twice = EVENTS[:8] + EVENTS[7:]
    watched = watch(repair=policy)

    assert subscribed(mode, frames(twice)) == (twice if policy == "default" else EVENTS)
    assert watched.report.anomalies == {EVENT_REPEATED: 1}


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("cut", [[], [sdk.cut_off()]], ids=["ended", "cut"])
def test_a_turn_that_never_ends_is_truncated(mode: str, cut: list[Any], watched: Watched) -> None:
    """However the connection goes: a turn that began has no end."""
    seen = subscribed(mode, [*frames(EVENTS[:9]), *cut])

    assert seen[:9] == EVENTS[:9]
    assert seen[9:] == ["APIConnectionError"] * len(cut)
    assert watched.report.verdict is Verdict.TRUNCATED
    assert set(watched.report.anomalies) == {STREAM_TRUNCATED}


def test_an_error_is_a_value_and_the_session_goes_on(watched: Watched) -> None:
    """The SDK hands it on here, and reads what follows."""
    error = identified([{"type": "error", "session_id": "asess_1", "error": {"type": "server_error", "message": "No"}}])
    events = [*EVENTS[:9], *error, *EVENTS[9:]]

    assert subscribed("sync", frames(events)) == events
    assert watched.report.verdict is Verdict.ERROR
    assert watched.report.anomalies == {ERROR_IN_STREAM: 1}


def test_the_helper_runs_a_turn_as_without_us(watched: Watched) -> None:
    """It drops events that come again by itself, ends at the idle session, and finds nothing changed."""
    types = [event["type"] for event in EVENTS]

    assert turned(EVENTS[:8] + EVENTS[7:]) == types
    assert watched.report.anomalies == {EVENT_REPEATED: 1}
    assert watched.report.verdict is Verdict.COMPLETE


def test_the_helper_that_misses_the_end_is_told_as_truncated(watched: Watched) -> None:
    """Its own exception reaches the application, and the stream is counted."""
    with pytest.raises(RuntimeError, match="ended before the turn"):
        turned(EVENTS[:6])
    assert watched.report.verdict is Verdict.TRUNCATED
