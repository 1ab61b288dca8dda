"""Every connection that the SDK has, and its own sessions above one: healthy, and put in order.

Real connections of the SDK, to a server of `websockets` on the loopback interface.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.socket_sessions import CONNECTIONS, HELLO, RESPONSE, SESSION, live, on_lane, realtime
from helpers.stream_builders import Payload, answered
from helpers.websocket_servers import Script, serving, wire
from streamwatch.core.kinds import EVENT_REPEATED, SEQUENCE_DUPLICATE, SEQUENCE_OUT_OF_ORDER
from streamwatch.core.vocabulary import Verdict

pytestmark = pytest.mark.skipif(
    "websocket_base_url" not in inspect.signature(openai.OpenAI).parameters, reason="no WebSockets in this release"
)

#: What comes over each connection, by what it is counted as.
SENT: dict[str, list[Payload]] = {
    "responses": RESPONSE,
    "realtime": [SESSION, *realtime("One ", "two")],
    "live": live(*(f"Word {number} " for number in range(1, 9))),
}
API = pytest.mark.parametrize("name", CONNECTIONS)


def manager(name: str, client_class: Any, url: str) -> Any:
    """What opens a connection."""
    client = client_class(base_url=url, websocket_base_url=url.replace("http", "ws"), api_key="x")
    try:
        return CONNECTIONS[name].manager(client)
    except AttributeError:
        pytest.skip("this release has no such connection")


def read(url: str, name: str, mode: str, count: int) -> list[bytes]:
    """The first messages of a connection, as an application gets them."""

    async def read_async() -> list[bytes]:
        async with manager(name, openai.AsyncOpenAI, url) as connection:
            await connection.send(HELLO)
            return [await connection.recv_bytes() for _ in range(count)]

    if mode == "async":
        return asyncio.run(read_async())
    with manager(name, openai.OpenAI, url) as connection:
        connection.send(HELLO)
        return [connection.recv_bytes() for _ in range(count)]


@pytest.mark.quick_cases(6)
@API
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_what_is_healthy_is_clean_and_untouched(
    repair: str, mode: str, name: str, watch: Callable[..., Watched]
) -> None:
    """One stream, complete, with nothing found; the bytes are the server's."""
    watched = watch(repair=repair)
    sent = SENT[CONNECTIONS[name].api]
    with serving(sent, None) as url:
        assert read(url, name, mode, len(sent)) == wire(sent)
    report = watched.report
    assert (report.api, report.verdict, report.anomalies) == (CONNECTIONS[name].api, Verdict.COMPLETE, {})


@API
@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_comes_twice_is_proved_by_number_or_id(mode: str, name: str, watch: Callable[..., Watched]) -> None:
    """A number drops it by default, an id on request."""
    watched = watch(repair="all")
    sent = SENT[CONNECTIONS[name].api]
    with serving([*sent[:5], sent[4], *sent[5:]], None) as url:
        assert read(url, name, mode, len(sent)) == wire(sent)
    kind = SEQUENCE_DUPLICATE if "responses" in name else EVENT_REPEATED
    assert watched.report.anomalies == {kind: 1}


LONG = answered(*(f"Word {number} " for number in range(12)))
SPOKEN = "".join(f"Word {number} " for number in range(12))
#: Two lanes, one of which is out of order and says something twice.
MIXED: Script = [
    *on_lane("b", RESPONSE)[:4],
    *on_lane("a", LONG)[:6],
    on_lane("a", LONG)[7],
    *on_lane("b", RESPONSE)[4:],
    0.05,
    on_lane("a", LONG)[6],
    on_lane("a", LONG)[6],
    *on_lane("a", LONG)[8:],
]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_sdks_session_reads_lanes_in_order(mode: str, watched: Watched) -> None:
    """Its lanes get their own events, in order and once, and its final response is the server's."""
    sessions: Any = pytest.importorskip("openai.lib.responses_websocket")
    limits = sessions.ResponsesWebSocketLimits(
        max_lanes=8, max_events_per_lane=128, max_events=512, max_bytes_per_lane=1 << 20, max_bytes=1 << 22
    )

    async def run(url: str) -> tuple[list[Any], str]:
        client: Any = openai.AsyncOpenAI(base_url=url, api_key="x")
        async with (
            client.responses.connect() as connection,
            sessions.AsyncResponsesWebSocketSession(connection, limits=limits) as session,
        ):
            first, second = session.lane("a"), session.lane("b")
            await first.send({"type": "response.create"})
            events = [await first.recv() for _ in LONG]
            return events, (await second.get_final_response()).output_text

    def run_sync(url: str) -> tuple[list[Any], str]:
        client: Any = openai.OpenAI(base_url=url, api_key="x")
        with (
            client.responses.connect() as connection,
            sessions.ResponsesWebSocketSession(connection, limits=limits) as session,
        ):
            first, second = session.lane("a"), session.lane("b")
            first.send({"type": "response.create"})
            events = [first.recv(timeout=10) for _ in LONG]
            return events, second.get_final_response(timeout=10).output_text

    with serving(MIXED, None) as url:
        events, text = asyncio.run(run(url)) if mode == "async" else run_sync(url)

    assert [event.sequence_number for event in events] == list(range(len(LONG)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SPOKEN
    assert text == "One two three"
    found = [report.anomalies for report in watched.reports]
    assert found == [{}, {SEQUENCE_OUT_OF_ORDER: 1, SEQUENCE_DUPLICATE: 1}]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_session_that_is_closed_meanwhile_ends_as_without_us(mode: str, watched: Watched) -> None:
    """The session reads in a thread or task of its own; the application closes it while messages are held."""
    sessions: Any = pytest.importorskip("openai.lib.responses_websocket")
    limits = sessions.ResponsesWebSocketLimits(
        max_lanes=8, max_events_per_lane=128, max_events=512, max_bytes_per_lane=1 << 20, max_bytes=1 << 22
    )

    async def run(url: str) -> list[Any]:
        client: Any = openai.AsyncOpenAI(base_url=url, api_key="x")
        async with (
            client.responses.connect() as connection,
            sessions.AsyncResponsesWebSocketSession(connection, limits=limits) as session,
        ):
            await session.default.send({"type": "response.create"})
            return [await session.default.recv() for _ in range(6)]

    def run_sync(url: str) -> list[Any]:
        client: Any = openai.OpenAI(base_url=url, api_key="x")
        with (
            client.responses.connect() as connection,
            sessions.ResponsesWebSocketSession(connection, limits=limits) as session,
        ):
            session.default.send({"type": "response.create"})
            return [session.default.recv(timeout=10) for _ in range(6)]

    with serving([*LONG[:6], *LONG[7:9]], None) as url:
        events = asyncio.run(run(url)) if mode == "async" else run_sync(url)
    assert [event.sequence_number for event in events] == list(range(6))
    assert watched.report.verdict in (Verdict.ABANDONED, Verdict.TRUNCATED)
