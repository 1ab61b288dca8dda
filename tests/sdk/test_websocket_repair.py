"""What is repaired of messages over WebSockets, by which proof; and that nothing is lost or kept back meanwhile.

Real connections of the SDK, to a server of `websockets` on the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.quick import examples
from helpers.socket_sessions import HELLO, RESPONSE, SESSION, on_lane, realtime
from helpers.stream_builders import Payload, answered
from helpers.websocket_servers import Script, opened, received, serving, wire
from streamwatch.core.kinds import EVENT_REPEATED, SEQUENCE_DUPLICATE, SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Condition, Outcome, Verdict
from streamwatch.sdk import instrumentor, socket_lane, socket_streams, socket_waiting, websocket
from streamwatch.sdk.socket_protocols import PROTOCOLS

WEBSOCKETS = pytest.importorskip("websockets.version").version
responses = pytest.importorskip("openai.resources.responses.responses")
pytestmark = [
    pytest.mark.skipif(not hasattr(responses, "ResponsesConnection"), reason="no WebSockets in this release"),
    pytest.mark.quick_cases(1),  # each has a server, and many wait, most of them in both modes
]

LONG = answered(*(f"Word {number} " for number in range(12)))
#: Two deltas exchanged, in the middle of the text.
SWAPPED = [*LONG[:6], LONG[7], LONG[6], *LONG[8:]]
#: How long a test lets messages be held, and what a busy machine adds.
WINDOW, SLACK = 0.4, 2.0


def number_of(message: bytes) -> int:
    """The number of a message."""
    number = json.loads(message)["sequence_number"]
    assert isinstance(number, int)
    return number


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("at", range(len(LONG) - 1))
def test_what_comes_a_place_early_is_put_in_order(at: int, mode: str, watched: Watched) -> None:
    """Wherever it is: also at the start, and at the end of the response."""
    sent: Script = [*LONG[:at], LONG[at + 1], 0.01, LONG[at], *LONG[at + 2 :]]
    with serving(sent) as url:
        assert received(url, mode) == (wire(LONG), "ConnectionClosedOK")

    report = watched.report
    assert (report.verdict, report.anomalies) == (Verdict.COMPLETE, {SEQUENCE_OUT_OF_ORDER: 1})
    assert report.outcomes == {SEQUENCE_OUT_OF_ORDER: {Outcome.VERIFIED: 1}}
    assert (report.applied, report.condition) == (True, Condition.REPAIRED)


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_lane_waits_for_no_other(mode: str, watched: Watched) -> None:
    """What comes on one goes on while another holds; each in its own order."""
    early, other = on_lane("a", LONG), on_lane("b", RESPONSE)
    sent = [*early[:5], early[6], *other, early[5], *early[7:]]
    with serving(sent) as url:
        assert received(url, mode)[0] == wire([*early[:5], *other, *early[5:]])

    assert {report.verdict for report in watched.reports} == {Verdict.COMPLETE}
    assert sorted(len(report.anomalies) for report in watched.reports) == [0, 1]


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("seed", range(4))
def test_lanes_that_are_mixed_up_come_in_order(seed: int, mode: str, watched: Watched) -> None:
    """Three lanes, each with messages up to four places off."""
    chance = random.Random(seed)
    lanes = [on_lane(name, LONG) for name in ("a", "b", "c")]
    for lane in lanes:
        lane.sort(key=lambda event: event["sequence_number"] + chance.uniform(0, 4))
    sent: list[Payload] = []
    while any(lanes):
        sent.append(chance.choice([lane for lane in lanes if lane]).pop(0))
    with serving(sent) as url:
        got, ended = received(url, mode)

    assert (sorted(got), ended) == (sorted(wire(sent)), "ConnectionClosedOK")
    for name in ("a", "b", "c"):
        numbers = [number_of(message) for message in got if json.loads(message)["stream_id"] == name]
        assert numbers == list(range(len(LONG)))
    assert {report.condition for report in watched.reports} <= {Condition.REPAIRED, Condition.CLEAN}


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_same_message_again_is_dropped(mode: str, watched: Watched) -> None:
    """The number and every byte say so; the reader waits for the next one."""
    with serving([*LONG[:8], *LONG[6:8], *LONG[8:]]) as url:
        assert received(url, mode) == (wire(LONG), "ConnectionClosedOK")

    assert watched.report.outcomes == {SEQUENCE_DUPLICATE: {Outcome.VERIFIED: 2}}


@pytest.mark.parametrize("mode", sdk.MODES)
def test_one_number_on_messages_that_differ_proves_nothing(mode: str, watched: Watched) -> None:
    """Both go on."""
    other = {**LONG[6], "delta": "Something else "}
    sent = [*LONG[:7], other, *LONG[7:]]
    with serving(sent) as url:
        assert received(url, mode)[0] == wire(sent)


def timed(url: str, mode: str, count: int) -> tuple[list[bytes], list[float]]:
    """The first messages, and when each came."""
    got: list[bytes] = []
    times: list[float] = []

    async def read() -> None:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), "responses") as connection:
            await connection.send(HELLO)
            while len(got) < count:
                got.append(await connection.recv_bytes())
                times.append(time.monotonic())

    if mode == "async":
        asyncio.run(read())
        return got, times
    with opened(openai.OpenAI(base_url=url, api_key="x"), "responses") as connection:
        connection.send(HELLO)
        while len(got) < count:
            got.append(connection.recv_bytes())
            times.append(time.monotonic())
    return got, times


@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_is_lost_is_waited_for_as_long_as_the_window(mode: str, watch: Callable[..., Watched]) -> None:
    """The server says nothing more: what is held goes on all the same, in time."""
    watched = watch(settings=Settings(window_seconds=WINDOW))
    sent = [*LONG[:7], *LONG[8:12]]
    with serving(sent, None) as url:
        got, times = timed(url, mode, len(sent))

    assert got == wire(sent)
    assert 0.5 * WINDOW <= times[7] - times[6] <= WINDOW + SLACK
    assert times[-1] - times[7] < SLACK
    report = watched.report
    assert report.verdict is Verdict.ABANDONED
    assert report.times is not None
    assert 0.5 * WINDOW <= report.times.waiting <= report.times.duration
    assert report.times.silence == 0


@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_comes_within_the_window_is_waited_for(mode: str, watch: Callable[..., Watched]) -> None:
    """The reader, who is blocked, is woken by it."""
    watched = watch(settings=Settings(window_seconds=10.0))
    sent: Script = [*LONG[:6], LONG[7], 0.2, LONG[6], *LONG[8:]]
    with serving(sent, None) as url:
        got, _ = timed(url, mode, len(LONG))
    assert got == wire(LONG)
    assert watched.report.reorder_max_delay >= 0.1


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize(
    ("code", "name"), [(1000, "ConnectionClosedOK"), (1011, "ConnectionClosedError"), (1006, "ConnectionClosedError")]
)
def test_what_is_held_goes_on_before_the_end_is_told(mode: str, code: int, name: str, watched: Watched) -> None:
    """Whatever the connection is closed with, in the middle of a wait."""
    sent = [*LONG[:7], *LONG[8:10]]
    with serving(sent, code, pause=0.1) as url:
        assert received(url, mode) == (wire(sent), name)
    assert watched.report.verdict is Verdict.TRUNCATED


@pytest.mark.parametrize("mode", sdk.MODES)
def test_without_means_nothing_is_waited_for(mode: str, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release of `websockets` whose inside is not known: all goes on as it came, at once."""
    monkeypatch.setattr(socket_waiting, "_takes_timeout", lambda _: False)
    monkeypatch.setattr(socket_waiting, "_is_known", lambda _: False)
    with serving([*LONG[:6], LONG[7], 0.5, LONG[6], *LONG[8:]], None) as url:
        got, times = timed(url, mode, len(LONG))
    assert got == wire([*LONG[:6], LONG[7], LONG[6], *LONG[8:]])
    assert times[6] - times[5] < 0.4


def test_giving_up_waiting_loses_nothing(watched: Watched) -> None:
    """A time limit of the application's holds as a whole, whatever is held or dropped meanwhile."""
    sent: Script = [*LONG[:6], LONG[5], LONG[7], 0.5, LONG[6], *LONG[8:]]
    got: list[bytes] = []
    limits = 0

    async def read(url: str) -> None:
        nonlocal limits
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), "responses") as connection:
            await connection.send(HELLO)
            while len(got) < len(LONG):
                begun = time.monotonic()
                try:
                    got.append(await asyncio.wait_for(connection.recv_bytes(), 0.1))
                except asyncio.TimeoutError:
                    limits += 1
                    assert time.monotonic() - begun < 0.1 + SLACK

    with serving(sent, None) as url:
        asyncio.run(read(url))
    assert got == wire(LONG)
    assert limits >= 2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")
@pytest.mark.skipif(WEBSOCKETS.startswith("13."), reason="an exception while it waits makes it unusable")
def test_an_alarm_while_messages_are_held_loses_nothing(watched: Watched) -> None:
    """The exception is the application's, also if it is a TimeoutError."""
    sent: Script = [*LONG[:6], LONG[7], 0.6, LONG[6], *LONG[8:]]
    got: list[bytes] = []

    def alarm(_signal: int, _frame: Any) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, alarm)
    try:
        with serving(sent, None) as url, opened(openai.OpenAI(base_url=url, api_key="x"), "responses") as connection:
            connection.send(HELLO)
            while len(got) < 6:
                got.append(connection.recv_bytes())
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeoutError):
                connection.recv_bytes()
            while len(got) < len(LONG):
                got.append(connection.recv_bytes())
    finally:
        signal.signal(signal.SIGALRM, former)
    assert got == wire(LONG)
    assert watched.report.condition is Condition.REPAIRED


@pytest.mark.parametrize("mode", sdk.MODES)
def test_what_is_about_no_response_overtakes_nothing(mode: str, watched: Watched) -> None:
    """It keeps its place behind what is held; so does what is no JSON."""
    ping: Payload = {"type": "ping.of.a.relay"}
    sent = [*LONG[:6], LONG[7], ping, LONG[6], *LONG[8:]]
    with serving(sent) as url:
        assert received(url, mode)[0] == wire([*LONG[:8], ping, *LONG[8:]])
    with serving([*LONG[:6], LONG[7], b"\x00\xff", LONG[6], *LONG[8:]]) as url:
        got = received(url, mode)[0]
    assert got[6:8] == [*wire([LONG[7]]), b"\x00\xff"]
    assert sorted(got) == sorted([*wire(LONG), b"\x00\xff"])


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_next_response_of_a_lane_waits_for_nothing_of_the_former(mode: str, watched: Watched) -> None:
    """The former one is lost in part: what is held of it goes on before the next one begins."""
    sent = [*LONG[:7], *LONG[8:], *RESPONSE]
    with serving(sent) as url:
        assert received(url, mode)[0] == wire(sent)
    assert [SEQUENCE_GAP in report.anomalies for report in watched.reports] == [True, False]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_policy_decides(mode: str, watch: Callable[..., Watched]) -> None:
    """As over SSE: by kind."""
    watched = watch(repair="default,-sequence_out_of_order,-sequence_gap")
    with serving([*SWAPPED[:12], SWAPPED[11], *SWAPPED[12:]]) as url:
        assert received(url, mode)[0] == wire(SWAPPED)
    assert watched.report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.UNREPAIRED: 1}


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("repair", ["default", "all", "none"])
def test_what_needs_another_content_is_left(repair: str, mode: str, watch: Callable[..., Watched]) -> None:
    """A delta lacks its number's proof, the text its tail: messages stay what the server wrote."""
    watched = watch(repair=repair)
    sent = [*LONG[:9], *LONG[10:]]
    for number, event in enumerate(sent):
        sent[number] = {**event, "sequence_number": number}
    with serving(sent) as url:
        assert received(url, mode)[0] == wire(sent)
    assert watched.report.anomalies


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize(("repair", "dropped"), [("default", False), ("default,+event_repeated", True), ("all", True)])
def test_a_repeated_event_id_is_dropped_on_request(
    repair: str, dropped: bool, mode: str, watch: Callable[..., Watched]
) -> None:
    """A realtime response has no numbers; the policy says what an id proves."""
    watched = watch(repair=repair)
    healthy = realtime("One ", "two ")
    sent = [SESSION, *healthy[:4], healthy[3], *healthy[4:]]
    with serving(sent) as url:
        got = received(url, mode, "realtime")[0]
    assert got == wire([SESSION, *healthy] if dropped else sent)
    assert watched.report.anomalies == {EVENT_REPEATED: 1}


def inside() -> list[tuple[type, str]]:
    """What a message passes below the guards: every method that can fail."""
    classes = socket_lane.LaneStream, socket_streams.WatchedConnection
    found: list[tuple[type, str]] = [
        (each, name) for each in classes for name in vars(each) if name[:1] == "_" and name[1] != "_"
    ]
    found += [(socket_lane.LaneStream, name) for name in ("receive", "release", "holds", "waited_in_vain", "described")]
    found += [(StreamWatch, name) for name in ("receive_event", "expire", "let_go", "postpone", "close", "report")]
    return [each for each in found if each[1] != "_leave"]


@pytest.mark.quick_cases(4)
@pytest.mark.internal_errors_expected
@pytest.mark.parametrize(("calls", "mode"), [(0, "sync"), (5, "async")])
@pytest.mark.parametrize("broken", inside(), ids=lambda each: f"{each[0].__name__}.{each[1]}")
def test_an_error_of_ours_loses_nothing(
    broken: tuple[type, str], calls: int, mode: str, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that came goes on, whatever fails while messages are held, and whichever time it is called."""
    watch(settings=Settings(window_seconds=0.05))
    member = vars(broken[0])[broken[1]]
    original: Any = getattr(member, "fget", member)
    left = calls

    def fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ZeroDivisionError
        return original(*args, **kwargs)

    monkeypatch.setattr(*broken, property(fail) if isinstance(member, property) else fail)
    script: Script = [*LONG[:4], LONG[5], LONG[7], LONG[4], 0.1, LONG[6], b"{}", *LONG[8:12], *LONG[13:]]
    with serving(script) as url:
        got, ended = received(url, mode)
    assert sorted(got) == sorted([*wire([*LONG[:12], *LONG[13:]]), b"{}"])
    assert ended == "ConnectionClosedOK"


def test_a_reader_that_is_cancelled_is_cancelled(watched: Watched) -> None:
    """Also where another task closes the connection meanwhile, and messages are there to go on."""

    async def read(url: str) -> None:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), "responses") as connection:
            await connection.send(HELLO)
            for _ in range(6):
                await connection.recv_bytes()
            reading = asyncio.create_task(connection.recv_bytes())
            await asyncio.sleep(0.1)
            closing = asyncio.create_task(connection.close())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await closing
            assert [await connection.recv_bytes() for _ in range(2)] == wire(LONG[7:9])

    with serving([*LONG[:6], *LONG[7:9]], None) as url:
        asyncio.run(read(url))


def test_a_connection_that_is_closed_elsewhere_ends_as_without_us(watched: Watched) -> None:
    """Another thread closes it while messages are held: these come first."""
    sent = [*LONG[:6], *LONG[7:9]]
    with serving(sent, None) as url:
        connection = opened(openai.OpenAI(base_url=url, api_key="x"), "responses").enter()
        connection.send(HELLO)
        got = [connection.recv_bytes() for _ in range(6)]
        closing = threading.Timer(0.2, connection.close)
        closing.start()
        got += [connection.recv_bytes() for _ in range(2)]
        with pytest.raises(Exception, match=r"1000"):
            connection.recv_bytes()
        closing.join()
    assert got == wire(sent)


@pytest.mark.parametrize("mode", sdk.MODES)
def test_switching_off_in_the_middle_loses_nothing(mode: str, watch: Callable[..., Watched]) -> None:
    """What is held then goes on as it came, before what comes later."""
    watch()
    sent: Script = [*LONG[:6], LONG[7], LONG[8], 0.5, LONG[6], *LONG[9:]]
    got: list[bytes] = []

    async def read(url: str) -> None:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), "responses") as connection:
            await connection.send(HELLO)
            while len(got) < 6:
                got.append(await connection.recv_bytes())
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(connection.recv_bytes(), 0.2)
            watch.stop()  # type: ignore[attr-defined]
            while len(got) < len(LONG):
                got.append(await connection.recv_bytes())

    def read_sync(url: str) -> None:
        with opened(openai.OpenAI(base_url=url, api_key="x"), "responses") as connection:
            connection.send(HELLO)
            while len(got) < 6:
                got.append(connection.recv_bytes())
            stopping = threading.Timer(0.2, watch.stop)  # type: ignore[attr-defined]
            stopping.start()
            while len(got) < len(LONG):
                got.append(connection.recv_bytes())
            stopping.join()

    with serving(sent, None) as url:
        asyncio.run(read(url)) if mode == "async" else read_sync(url)
    assert sorted(got) == sorted(wire(LONG))
    assert got[:6] == wire(LONG[:6])


def test_the_policy_of_connections_is_what_proves_itself() -> None:
    """No repair that changes what a message says."""
    proved = socket_streams.proved(Policy("all"))
    assert {kind.name for kind in proved.default} == {"sequence_out_of_order", "sequence_duplicate", "event_repeated"}
    assert {kind.name for kind in socket_streams.proved(Policy()).default} == {
        "sequence_out_of_order",
        "sequence_duplicate",
    }
    assert socket_streams.proved(Policy("none")).observe


class Fed:
    """A connection that is given its messages: no socket, no SDK."""

    def __init__(self, module: str = "openai.resources.responses.responses") -> None:
        self._connection = None
        watched = instrumentor.agent.connections._of(self, PROTOCOLS[module])
        assert watched is not None
        self.watched = watched

    def read(self, messages: list[bytes]) -> list[bytes]:
        """Everything that goes on, if nothing comes after these messages."""
        coming = iter(messages)
        got: list[bytes] = []
        with suppress(StopIteration):
            while True:
                got.append(websocket._receive(self, self.watched, coming.__next__))
        return got


@pytest.mark.slow
def test_a_connection_watches_256_streams_at_once(watched: Watched) -> None:
    """What is about any other goes on unwatched."""
    fed = Fed()
    messages = wire([{**LONG[0], "stream_id": f"lane {number}"} for number in range(1000)])
    assert fed.read(messages) == messages
    assert len(fed.watched._lanes) == 256


@pytest.mark.slow
def test_a_connection_remembers_64_responses_that_have_ended(watched: Watched) -> None:
    """A server that opens no end of them is asked no more of."""
    fed = Fed("openai.resources.realtime.realtime")
    messages = wire([event for number in range(200) for event in realtime("One ", id=f"resp_{number}")])
    assert fed.read(messages) == messages
    assert (len(fed.watched._lanes), len(fed.watched._ended)) == (0, 64)


def test_what_is_dropped_while_messages_are_held_is_not_kept(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a message comes again: twice a window is kept, and nothing once the wait is over."""
    monkeypatch.setattr(websocket, "receive_in_time", lambda _socket, _seconds, receive: receive())
    fed = Fed()
    fed.read(wire([*LONG[:7], LONG[8], *500 * [LONG[6]]]))
    (lane,) = fed.watched._lanes.values()
    assert len(lane.pending) <= 2 * Settings().window_events + 1
    assert fed.read(wire([LONG[7]])) == wire(LONG[7:9])
    assert not lane.pending


def test_the_message_that_went_on_last_is_kept_if_it_is_small(watched: Watched) -> None:
    """And once: the SDK asks for its object right away."""
    fed = Fed()
    fed.read(wire([{**LONG[0], "more": 100_000 * "x"}]))
    assert fed.watched.offered is None
    fed.read(wire([LONG[1]]))
    assert fed.watched.offered is not None


class ConnectionClosedError(Exception):
    """The end of a connection that is fed, named as that of `websockets` is."""


def mixed_up(chance: random.Random) -> list[bytes]:
    """What a bad relay makes of some lanes: out of order, with losses, duplicates, and messages about none of them."""
    lanes: list[list[Payload]] = [[] for _ in range(chance.randint(1, 3))]
    for name, lane in zip("abc", lanes, strict=False):
        for _ in range(chance.randint(1, 2)):
            places_off = chance.choice([0, 0, 2, 5])
            places = {number: number + chance.uniform(0, places_off) for number in range(len(LONG))}
            places.pop(chance.randrange(3 * len(LONG)), None)  # lost
            lane += [on_lane(name, LONG)[number] for number in sorted(places, key=places.__getitem__)]
    messages: list[bytes] = []
    while any(lanes):
        messages += wire([chance.choice([lane for lane in lanes if lane]).pop(0)])
        messages += [messages[-1]] if chance.random() < 0.04 else []
        messages += [b'{"type": "ping"}', b"\xff"] if chance.random() < 0.03 else []
    return messages


@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_nothing_is_lost_and_nothing_is_made_up(
    repair: str, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes, and whenever waiting ends: all of it goes on, but what came twice; the rest is as it came."""
    watch(repair=repair)
    for seed in range(examples(100)):
        chance = random.Random(seed)
        messages = mixed_up(chance)
        coming = iter(messages)

        def receive(coming: Any = coming) -> bytes:
            try:
                return next(coming)  # type: ignore[no-any-return]
            except StopIteration:
                raise ConnectionClosedError from None

        def in_time(_socket: Any, _seconds: float, receive: Any, chance: Any = chance) -> Any:
            if chance.random() < 0.1:
                raise socket_waiting.NothingCameError
            return receive()

        monkeypatch.setattr(websocket, "receive_in_time", in_time)
        fed, got = Fed(), list[bytes]()
        with suppress(ConnectionClosedError):
            while True:
                got.append(websocket._receive(fed, fed.watched, receive))
        assert set(got) == set(messages), seed
        assert Counter(got) <= Counter(messages), seed
        assert repair != "none" or got == messages, seed
