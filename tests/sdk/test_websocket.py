"""What the SDK's connections receive over WebSockets: counted by response, and handed on as it came.

Real connections of the SDK, to a server of `websockets` on the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.socket_sessions import HELLO, RESPONSE, SESSION, on_lane, realtime
from helpers.stream_builders import Payload, answered
from helpers.websocket_servers import opened, received, serving, wire
from streamwatch.core.kinds import (
    ERROR_IN_STREAM,
    EVENT_REPEATED,
    RESPONSE_TEXT_LOST,
    SEQUENCE_OUT_OF_ORDER,
    STREAM_TRUNCATED,
)
from streamwatch.core.vocabulary import Verdict
from streamwatch.export import close_codes

websockets = pytest.importorskip("websockets.sync.server")
closed = pytest.importorskip("websockets.exceptions")
responses = pytest.importorskip("openai.resources.responses.responses")
pytestmark = pytest.mark.skipif(not hasattr(responses, "ResponsesConnection"), reason="no WebSockets in this release")


def attributes_of(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes)


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
def test_an_order_that_is_not_the_servers_is_counted_and_left(mode: str, watch: Callable[..., Watched]) -> None:
    """One lane has two deltas exchanged, the other never completes: each is told of its own, and nothing is changed."""
    watched = watch(repair="none")
    swapped = on_lane("a", [*RESPONSE[:4], RESPONSE[5], RESPONSE[4], *RESPONSE[6:]])
    cut = on_lane("b", RESPONSE[:7])
    messages = [event for pair in zip(swapped, cut, strict=False) for event in pair] + swapped[len(cut) :]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)

    first, second = watched.reports
    assert (first.verdict, set(first.anomalies), first.applied) == (Verdict.COMPLETE, {SEQUENCE_OUT_OF_ORDER}, False)
    assert (second.verdict, set(second.anomalies)) == (Verdict.TRUNCATED, {STREAM_TRUNCATED})


@pytest.mark.quick_cases(3)
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


#: The codes that a server may close with, and the values of the label. 1006 stands for none.
CODES = {1000: "1000", 1001: "1001", 1006: "1006", 1008: "1008", 1011: "1011", 1013: "1013", 3999: "3xxx", 4001: "4xxx"}


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("api", ["responses", "realtime"])
def test_the_code_of_a_close_is_counted_for_each_response_without_an_end(
    api: str, code: int, mode: str, watched: Watched
) -> None:
    """Two are open and one is complete: two are counted, and their spans have the number."""
    if api == "responses":
        lanes = [on_lane("a", RESPONSE), on_lane("b", RESPONSE[:6]), on_lane("c", RESPONSE[:3])]
    else:
        lanes = [realtime("One "), realtime("One ", id="resp_2")[:-1], realtime("One ", id="resp_3")[:4]]
    with serving([event for lane in lanes for event in lane], code) as url:
        received(url, mode, api)

    assert watched.samples("streamwatch.closes", "streamwatch.close_code") == {CODES[code]: 2}
    found = [(attributes_of(span).get("streamwatch.close_code"), report.verdict) for span, report in ended(watched)]
    assert sorted(found, key=str) == [(code, Verdict.TRUNCATED), (code, Verdict.TRUNCATED), (None, Verdict.COMPLETE)]


def ended(watched: Watched) -> list[tuple[Any, Any]]:
    """The spans and the reports of the streams that have ended, side by side."""
    return list(zip(watched.spans, watched.reports, strict=True))


def test_any_number_has_a_place_among_the_values_of_the_label() -> None:
    """A server can send what it likes."""
    assert {close_codes.close_code(code) for code in range(70_000)} == set(close_codes.values())
    assert {close_codes.close_code(code) for code in (0, 999, 1004, 2000, 5000)} == {close_codes.OTHER}


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_connection_that_the_sdk_replaces_is_counted(mode: str, watched: Watched) -> None:
    """The first one is cut in the middle of a response; the spans of the second say that there was another one."""
    code = 1011
    with serving(RESPONSE[:6], code, then=RESPONSE) as url:
        got = replaced(url, mode)

    assert got == [event["type"] for event in [*RESPONSE[:6], *RESPONSE]]
    assert watched.samples("streamwatch.reconnects", "gen_ai.operation.name") == {"responses": 1}
    assert [report.verdict for report in watched.reports] == [Verdict.TRUNCATED, Verdict.COMPLETE]
    assert [report.reconnects for report in watched.reports] == [0, 1]
    assert [attributes_of(span).get("streamwatch.reconnects") for span in watched.spans] == [None, 1]
    assert watched.samples("streamwatch.closes", "streamwatch.close_code") == {"1011": 1}


def replaced(url: str, mode: str) -> list[str]:
    """The types of all events that come over a connection, and over the one that the SDK replaces it by."""
    options: dict[str, Any] = {"on_reconnecting": lambda _: {}, "initial_delay": 0.01, "max_delay": 0.01}
    got: list[str] = []

    async def read() -> None:
        client: Any = openai.AsyncOpenAI(base_url=url, api_key="x")
        async with client.responses.connect(**options) as connection:
            await connection.send(HELLO)
            async for event in connection:
                got.append(event.type)
                if event.type == "response.completed":
                    return

    if mode == "async":
        asyncio.run(read())
        return got
    client: Any = openai.OpenAI(base_url=url, api_key="x")
    with client.responses.connect(**options) as connection:
        connection.send(HELLO)
        for event in connection:
            got.append(event.type)
            if event.type == "response.completed":
                return got
    return got


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


@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_deltas_need_no_announcement(repair: str, watch: Callable[..., Watched]) -> None:
    """Over a WebSocket it is usual that items and parts are not announced, as the SDK's own session says."""
    watched = watch(repair=repair)
    unannounced = ("response.output_item.added", "response.content_part.added", "response.content_part.done")
    messages = [event for event in RESPONSE if event["type"] not in unannounced]
    messages = [{**event, "sequence_number": number} for number, event in enumerate(messages)]
    with serving(messages) as url:
        assert received(url, "sync")[0] == wire(messages)
    assert (watched.report.verdict, watched.report.anomalies) == (Verdict.COMPLETE, {})


@pytest.mark.parametrize("mode", sdk.MODES)
def test_steering_opens_no_stream(mode: str, watched: Watched) -> None:
    """It is about a response that goes on, or about one that is over, or about the next one."""
    steered: list[Payload] = [{"type": f"response.steer.{name}", "steer_id": "s"} for name in ("accepted", "pending")]
    messages = [*RESPONSE[:6], *steered, *RESPONSE[6:], *steered, *RESPONSE, *steered]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [(report.verdict, report.anomalies) for report in watched.reports] == [(Verdict.COMPLETE, {})] * 2


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
    from streamwatch.sdk.socket_lane import LaneStream

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


FORMER = [{**event, "stream_id": "a"} for event in RESPONSE]
NEXT = on_lane("a", [json.loads(json.dumps(event).replace("msg_", "msg_next_")) for event in answered("Five ", "six")])


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize(
    "late", [FORMER[5], FORMER[-1], {**FORMER[5], "delta": "late "}], ids=["again", "end again", "late"]
)
def test_what_comes_behind_the_end_is_of_the_response_that_has_ended(
    late: Payload, mode: str, watched: Watched
) -> None:
    """It opens no other stream, and no number puts it into the next response."""
    messages = [*FORMER, late, *NEXT]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [(report.verdict, report.anomalies) for report in watched.reports] == [(Verdict.COMPLETE, {})] * 2


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("late", [FORMER[5], FORMER[-1]], ids=["again", "end again"])
def test_what_comes_again_within_the_next_response_is_known_again(late: Payload, mode: str, watched: Watched) -> None:
    """By its bytes, or by the response that it names."""
    messages = [*FORMER, *NEXT[:3], late, *NEXT[3:]]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [(report.verdict, report.anomalies) for report in watched.reports] == [(Verdict.COMPLETE, {})] * 2


@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_comes_within_the_next_response_and_was_missing_before_stays_there(mode: str, watched: Watched) -> None:
    """The end did not wait for it: its number may be that of either response, and puts it into neither."""
    messages = [*FORMER[:5], *FORMER[6:], *NEXT[:3], FORMER[5], *NEXT[3:]]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [report.verdict for report in watched.reports] == [Verdict.COMPLETE] * 2


@pytest.mark.parametrize("mode", sdk.MODES)
def test_behind_the_rest_of_a_response_that_nobody_named_the_next_one_is_seen_whole(
    mode: str, watched: Watched
) -> None:
    """Messages that name no response are not about one that has no name."""
    rest, whole = (
        [{name: value for name, value in event.items() if name != "sequence_number"} for event in events]
        for events in (FORMER[3:6], NEXT)
    )
    with serving([*rest, *whole]) as url:
        assert received(url, mode)[0] == wire([*rest, *whole])
    assert [(report.verdict, report.events) for report in watched.reports] == [
        (Verdict.TRUNCATED, len(rest)),
        (Verdict.COMPLETE, len(whole)),
    ]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_responses_whose_items_have_one_id_are_whole(mode: str, watched: Watched) -> None:
    """Their messages may be alike in every byte, up to the text."""
    messages = [*FORMER, *on_lane("a", answered("Five ", "six"))]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [(report.verdict, report.anomalies) for report in watched.reports] == [(Verdict.COMPLETE, {})] * 2


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_response_that_begins_before_the_end_of_the_former_is_left_in_its_order(mode: str, watched: Watched) -> None:
    """Messages of the former one may still come, and their numbers are not about this one."""
    messages = [*FORMER[:-2], FORMER[-1], NEXT[0], FORMER[-2], *NEXT[1:]]
    with serving(messages) as url:
        assert received(url, mode)[0] == wire(messages)
    assert [report.verdict for report in watched.reports] == [Verdict.COMPLETE] * 2


@pytest.mark.parametrize("mode", sdk.MODES)
def test_every_error_of_a_session_is_counted(mode: str, watched: Watched) -> None:
    """Also those that are about no response, one after the other."""
    error: Payload = {"type": "error", "event_id": "event_1", "error": {"type": "server_error", "message": "No"}}
    messages = [SESSION, error, {**error, "event_id": "event_2"}, *realtime("One")]
    with serving(messages) as url:
        received(url, mode, "realtime")
    assert [report.verdict for report in watched.reports] == [Verdict.ERROR, Verdict.ERROR, Verdict.COMPLETE]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_nothing_waits_behind_the_end_of_its_response(mode: str, watched: Watched) -> None:
    """A number above that of the end is not a number of this response: the end is the last that goes on."""
    messages = [*FORMER[:7], {**FORMER[6], "sequence_number": 50}, *FORMER[7:]]
    with serving(messages) as url:
        got = received(url, mode)[0]
    assert sorted(got) == sorted(wire(messages))
    assert got[-1] == wire(messages)[-1]
