"""What the SDK's connections receive over WebSockets: counted by response, and handed on as it came.

Real connections of the SDK, to a server of `websockets` on the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.stream_builders import Payload, answered
from streamwatch.core.kinds import (
    ERROR_IN_STREAM,
    EVENT_REPEATED,
    RESPONSE_TEXT_LOST,
    SEQUENCE_OUT_OF_ORDER,
    STREAM_TRUNCATED,
)
from streamwatch.core.vocabulary import Verdict

websockets = pytest.importorskip("websockets.sync.server")
closed = pytest.importorskip("websockets.exceptions")
responses = pytest.importorskip("openai.resources.responses.responses")
pytestmark = pytest.mark.skipif(not hasattr(responses, "ResponsesConnection"), reason="no WebSockets in this release")

RESPONSE = answered("One ", "two ", "three")


def realtime(*pieces: str, id: str = "resp_1", status: str = "completed") -> list[Payload]:
    """The events of one response of the Realtime API that says something, with those of the session around it."""
    at = {"response_id": id, "item_id": f"item_{id}", "output_index": 0, "content_index": 0}
    item = {"id": f"item_{id}", "type": "message", "role": "assistant", "content": []}
    events: list[Payload] = [
        {"type": "response.created", "response": {"id": id, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": {"type": "audio", "transcript": ""}},
        *({"type": "response.output_audio_transcript.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.output_audio_transcript.done", **at, "transcript": "".join(pieces)},
        {"type": "response.done", "response": {"id": id, "status": status, "output": [item]}},
    ]
    return [{**event, "event_id": f"event_{id}_{at_}"} for at_, event in enumerate(events)]


SESSION: Payload = {"type": "session.created", "event_id": "event_0", "session": {"id": "sess_1", "type": "realtime"}}


def on_lane(name: str, events: list[Payload]) -> list[Payload]:
    """The events of a response on a lane, with an id of its own."""
    return [{**json.loads(json.dumps(event).replace("resp_", f"resp_{name}_")), "stream_id": name} for event in events]


@contextmanager
def serving(messages: list[Payload], code: int | None = 1000, pause: float = 0.0) -> Iterator[str]:
    """A server that sends messages to each client that has said something, and closes; with None, waits for its end."""

    def serve(socket: Any) -> None:
        socket.recv()
        for message in messages:
            socket.send(json.dumps(message))
        time.sleep(pause)
        if code is None:
            with suppress(closed.ConnectionClosed):
                socket.recv()
        elif code == 1006:
            socket.socket.shutdown(2)  # no closing handshake
        else:
            socket.close(code)

    with websockets.serve(serve, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


def opened(client: Any, api: str) -> Any:
    """A connection of the client that does not reconnect."""
    if api == "responses":
        return client.responses.connect(max_retries=0)
    return client.realtime.connect(model="gpt-realtime", max_retries=0)


HELLO = {"type": "response.create"}


def received(url: str, mode: str, api: str = "responses", most: int = 1000) -> tuple[list[bytes], str]:
    """Every message that an application gets as bytes, up to `most`, and the name of the exception that ends it."""
    got: list[bytes] = []

    def read() -> str:
        with opened(openai.OpenAI(base_url=url, api_key="x"), api) as connection:
            connection.send(HELLO)
            while len(got) < most:
                try:
                    got.append(connection.recv_bytes())
                except Exception as error:
                    return type(error).__name__
        return ""

    async def read_async() -> str:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), api) as connection:
            await connection.send(HELLO)
            while len(got) < most:
                try:
                    got.append(await connection.recv_bytes())
                except Exception as error:
                    return type(error).__name__
        return ""

    return got, asyncio.run(read_async()) if mode == "async" else read()


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes)


def wire(messages: list[Payload]) -> list[bytes]:
    """The bytes of messages."""
    return [json.dumps(message).encode() for message in messages]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_healthy_response_is_clean_and_untouched(mode: str, watched: Watched) -> None:
    """Bytes as they came; one stream with the model and the server of the response."""
    with serving(RESPONSE) as url:
        assert received(url, mode) == (wire(RESPONSE), "ConnectionClosedOK")

    report = watched.report
    assert (report.api, report.verdict, report.anomalies) == ("responses", Verdict.COMPLETE, {})
    assert sum(report.chunks.values()) == len(RESPONSE)
    (span,) = watched.spans
    assert (attributes_of(span)["server.address"], attributes_of(span)["server.port"]) == (
        "127.0.0.1",
        int(url.split(":")[2][:-3]),
    )
    assert attributes_of(span)["gen_ai.request.model"] == RESPONSE[0]["response"]["model"]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_responses_on_lanes_are_streams_of_their_own(mode: str, watched: Watched) -> None:
    """Two lanes in turn, each with two responses after one another: four streams, none of them with a fault."""
    lanes = [on_lane(name, RESPONSE) + on_lane(name, answered("Four")) for name in ("a", "b")]
    messages = [event for pair in zip(*lanes, strict=True) for event in pair]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)

    assert [report.verdict for report in watched.reports] == [Verdict.COMPLETE] * 4
    assert [report.anomalies for report in watched.reports] == [{}] * 4


@pytest.mark.parametrize("mode", sdk.MODES)
def test_an_order_that_is_not_the_servers_is_counted_and_left(mode: str, watched: Watched) -> None:
    """One lane has two deltas exchanged, the other never completes: each is told of its own, and nothing is changed."""
    swapped = on_lane("a", [*RESPONSE[:4], RESPONSE[5], RESPONSE[4], *RESPONSE[6:]])
    cut = on_lane("b", RESPONSE[:7])
    messages = [event for pair in zip(swapped, cut, strict=False) for event in pair] + swapped[len(cut) :]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)

    first, second = watched.reports
    assert (first.verdict, set(first.anomalies), first.applied) == (Verdict.COMPLETE, {SEQUENCE_OUT_OF_ORDER}, False)
    assert (second.verdict, set(second.anomalies)) == (Verdict.TRUNCATED, {STREAM_TRUNCATED})


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize(
    ("code", "name"), [(1000, "ConnectionClosedOK"), (1011, "ConnectionClosedError"), (1006, "ConnectionClosedError")]
)
@pytest.mark.parametrize("at", range(1, len(RESPONSE), 3))
def test_a_response_that_is_cut_is_truncated(mode: str, code: int, name: str, at: int, watched: Watched) -> None:
    """Whatever code the connection is closed with, the application gets its own exception."""
    with serving(RESPONSE[:at], code) as url:
        assert received(url, mode) == (wire(RESPONSE[:at]), name)

    assert watched.report.verdict is Verdict.TRUNCATED
    assert STREAM_TRUNCATED in watched.report.anomalies


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_silence_before_a_cut_is_measured(mode: str, watched: Watched) -> None:
    """Once, as the wait in the read that met the end."""
    with serving(RESPONSE[:5], 1011, pause=0.3) as url:
        received(url, mode)

    times = watched.report.times
    assert times is not None
    assert 0.2 <= times.silence <= times.waiting <= times.duration


@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_the_application_does_not_read_is_abandoned(mode: str, watched: Watched) -> None:
    """It closes the connection in the middle of a response."""
    with serving(RESPONSE, None) as url:
        assert received(url, mode, most=5) == (wire(RESPONSE[:5]), "")

    assert watched.report.verdict is Verdict.ABANDONED


@pytest.mark.parametrize("mode", sdk.MODES)
def test_an_error_ends_its_response(mode: str, watched: Watched) -> None:
    """What comes on the lane after it is another response."""
    error: Payload = {"type": "error", "status": 500, "error": {"type": "server_error", "message": "No"}}
    messages = [*RESPONSE[:5], error, *RESPONSE]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)

    first, second = watched.reports
    assert (first.verdict, first.anomalies) == (Verdict.ERROR, {ERROR_IN_STREAM: 1})
    assert second.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_realtime_session_is_divided_into_its_responses(mode: str, watched: Watched) -> None:
    """Healthy, and said twice, and short of its end; what is about the session is no stream."""
    healthy, twice, lost = realtime("One ", "two"), realtime("One ", id="resp_2"), realtime("One ", "two", id="resp_3")
    twice[4:4] = twice[3:4]
    del lost[4]
    messages = [SESSION, *healthy, *twice, *lost, healthy[-1]]
    with serving(messages) as url:
        assert received(url, mode, "realtime")[0] == wire(messages)

    assert [report.api for report in watched.reports] == ["realtime"] * 3
    assert [report.verdict for report in watched.reports] == [Verdict.COMPLETE] * 3
    assert [report.anomalies for report in watched.reports] == [{}, {EVENT_REPEATED: 1}, {RESPONSE_TEXT_LOST: 1}]
    assert {attributes_of(span)["gen_ai.request.model"] for span in watched.spans} == {"gpt-realtime"}


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_realtime_response_that_fails_is_an_error(mode: str, watched: Watched) -> None:
    """Its last event says so."""
    with serving(realtime("One", status="failed")) as url:
        received(url, mode, "realtime")

    assert (watched.report.verdict, watched.report.anomalies) == (Verdict.ERROR, {ERROR_IN_STREAM: 1})


def test_events_and_handlers_come_from_the_same_bytes(watched: Watched) -> None:
    """The SDK's own ways to read a connection see what they see without us."""
    seen: list[str] = []
    with serving(RESPONSE) as url, opened(openai.OpenAI(base_url=url, api_key="x"), "responses") as connection:
        connection.send(HELLO)
        connection.on("event", lambda event: seen.append(event.type))
        connection.dispatch_events()

    assert seen == [event["type"] for event in RESPONSE]
    assert watched.report.verdict is Verdict.COMPLETE


def test_waiting_that_the_application_gives_up_ends_nothing(watched: Watched) -> None:
    """A time limit around one message is the application's: it reads on later, and the stream is whole."""

    async def read(url: str) -> int:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), "responses") as connection:
            await connection.send(HELLO)
            for _ in RESPONSE:
                await connection.recv_bytes()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(connection.recv_bytes(), 0.05)
            return len(RESPONSE)

    with serving([*RESPONSE], None) as url:
        assert asyncio.run(read(url)) == len(RESPONSE)
    assert watched.report.verdict is Verdict.COMPLETE


@pytest.mark.internal_errors_expected
def test_an_error_of_ours_reaches_nobody(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages go on, and the error is counted."""
    from streamwatch.sdk.websocket import LaneStream

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LaneStream, "receive", fail)
    with serving(RESPONSE) as url:
        assert received(url, "sync")[0] == wire(RESPONSE)
    assert watched.internal_errors() == 1
    assert watched.report.unwatched == "internal error"


def test_nothing_of_it_is_left_when_it_is_switched_off(watch: Callable[..., Watched]) -> None:
    """The connections have their own methods again."""
    connection_class = responses.ResponsesConnection
    before = vars(connection_class).get("recv_bytes"), vars(connection_class).get("close")
    watched = watch()
    assert vars(connection_class)["recv_bytes"] is not before[0]
    watch.stop()  # type: ignore[attr-defined]
    assert (vars(connection_class).get("recv_bytes"), vars(connection_class).get("close")) == before

    with serving(RESPONSE) as url:
        assert received(url, "sync")[0] == wire(RESPONSE)
    assert watched.reports == []
