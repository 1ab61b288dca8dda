"""The finder over WebSockets: its connections are like real ones, and it finds code that harms a session."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from helpers import quick
from streamwatch.sdk import socket_lane, socket_streams, websocket
from streamwatch.sdk.socket_events import EventBuilder
from streamwatch.sdk.socket_protocols import PROTOCOLS

from .changes_sockets import CODES
from .connected import SOCKET_MODES, ServerOfAll, SocketReader
from .finder import Case, Finder, Tally, plan
from .ideal_messages import proved
from .messages import closing, frame, is_close, is_message, message, silence
from .readers import READERS, outcome, readers_of
from .run import Options, examples, searched
from .scripted import closed
from .streams import SOCKETS, generated, own
from .table import rendered
from .test_finder import harmed
from .wire import Event, Stream

pytest.importorskip("websockets.sync.server")
responses = pytest.importorskip("openai.resources.responses.responses")
pytestmark = pytest.mark.skipif(not hasattr(responses, "ResponsesConnection"), reason="no WebSockets in this release")


@pytest.fixture
def reader() -> Any:
    """What reads sessions."""
    found = SocketReader()
    yield found
    found.close()


# --- the connections


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("mode", [mode for mode in SOCKET_MODES if "reconnect" not in mode])
@pytest.mark.parametrize("code", [code for code in CODES if code != 1005])  # `websockets` sends no such close
def test_a_script_is_read_as_a_server_is(code: int, mode: str, reader: SocketReader) -> None:
    """Messages, text or binary, a silence, and the end of the connection with its exception."""
    from helpers.websocket_servers import serving

    whole = next(s for s in (generated("responses_socket", n) for n in range(50)) if s.request["lanes"] == ["a", "b"])
    events = [*whole.events[:7], frame(b"\x00\xff"), silence(), *whole.events[7:20], closing(code)]
    stream = whole.of(events)
    stream.request["connection"] = "responses"
    said = [event.payload or message(event) if is_message(event) else 0.01 for event in events[:-1]]
    with serving(said, code) as url:
        real = reader.read(stream, mode, url=url)
    scripted = reader.read(stream, mode)
    assert real is not None
    assert scripted is not None
    assert (scripted.handed, scripted.error, scripted.final) == (real.handed, real.error, real.final)
    found = readers_of("responses_socket", mode)
    assert found
    assert [outcome(each, scripted) for each in found] == [outcome(each, real) for each in found]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["reconnect", "reconnect_async"])
def test_connections_that_the_sdk_replaces_are_read_one_after_the_other(mode: str, reader: SocketReader) -> None:
    """What stands behind a close is what the next connection says."""
    whole = next(s for s in (generated("realtime", n) for n in range(50)) if s.request["connection"] == "realtime")
    stream = whole.of([*whole.events[:5], closing(1011), *whole.events[5:]])
    read = reader.read(stream, mode)
    assert read is not None
    assert read.handed == [*map(message, whole.events[:5]), None, *map(message, whole.events[5:-1]), None]


def test_who_waits_for_ever_is_found(reader: SocketReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes a message away, and waits for the next one, does not hang the search."""

    async def never(_socket: Any, *_args: Any, **_options: Any) -> Any:
        import asyncio

        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(
        "tests.harm.scripted.AsyncSocket.recv" if "tests" in __name__ else "harm.scripted.AsyncSocket.recv", never
    )
    read = reader.read(generated("live", 1), "bytes_async")
    assert read is not None
    assert read.error == ("NobodyComesError", "")


# --- the proof


def numbered(*numbers: int, lane: str = "a") -> list[Event]:
    """Messages of one response with these numbers."""
    return [Event({"type": "response.x", "stream_id": lane, "sequence_number": n}, tag=f"{lane}{n}") for n in numbers]


def session(*events: Event) -> Stream:
    """A session of these messages."""
    return Stream("s", "responses_socket", (*events, closing()))


A, B = numbered(*range(6)), numbered(*range(6), lane="b")
PING, OTHER = frame(b'{"type": "ping"}'), Event({**A[1].payload, "delta": "x"}, tag="other")
UNNUMBERED = [Event({"type": "response.x", "stream_id": "a", "n": n}) for n in range(3)]
PROOFS: dict[str, tuple[list[Event], list[Event], bool]] = {
    "as it came": ([*A, *B], [*A, *B], True),
    "in order": ([A[0], A[2], A[1], *A[3:]], A, True),
    "out of order": (A, [A[0], A[2], A[1], *A[3:]], False),
    "without numbers": (UNNUMBERED, [UNNUMBERED[1], UNNUMBERED[0], UNNUMBERED[2]], False),
    "numbers that are no order": (numbered(0, 900, 50, 7), numbered(0, 7, 50, 900), False),
    "two numbers": (numbered(1, 0), numbered(0, 1), False),
    "a repeat": ([*A[:3], A[2].again(), *A[3:]], A, True),
    "a repeat that says something else": ([*A[:2], OTHER, *A[2:]], A, False),
    "lost": (A, [*A[:2], *A[3:]], False),
    "lost at the end": (A, A[:-1], False),
    "made up": (A, [*A, PING], False),
    "a stranger lost": ([*A, PING], A, False),
    "a stranger overtakes": ([*A[:3], PING, *A[3:]], [PING, *A], False),
    "a stranger behind what waited": ([A[0], A[2], PING, A[1], *A[3:]], [*A[:3], PING, *A[3:]], True),
    "a stranger before what waited": ([A[0], A[2], PING, A[1], *A[3:]], [A[0], PING, *A[1:]], False),
    "another lane overtakes what waited": ([A[0], A[2], *B, A[1], *A[3:]], [A[0], *B, *A[1:]], True),
    "another lane overtakes": ([*A[:3], B[0], *A[3:], *B[1:]], [A[0], B[0], *A[1:], *B[1:]], False),
}


@pytest.mark.parametrize("name", PROOFS)
def test_what_messages_prove(name: str) -> None:
    """By their numbers, and nothing else."""
    came, went, is_right = PROOFS[name]
    found = proved(session(*came), [*map(message, went), None])
    assert (found is not None) == is_right
    if found is not None:
        assert [message(event) for event in found.events if is_message(event)] == [message(event) for event in went]
        assert is_close(found.events[-1])


def test_a_reader_that_stops_has_left_the_rest() -> None:
    """What is not handed on is no loss to a reader that raised before the end; what it jumped over is."""
    assert proved(session(*A), [*map(message, A[:3])]) is not None
    assert proved(session(*A), [*map(message, [A[0], *A[2:4]])]) is None


def test_a_reader_that_leaves_has_left_what_still_waited() -> None:
    """A message without a number waits behind one that waits; one that came before that is lost."""
    assert proved(session(A[0], A[2], PING, A[1], *A[3:]), [*map(message, A[:3])]) is not None
    assert proved(session(A[0], PING, A[2], A[1], *A[3:]), [*map(message, A[:3])]) is None
    assert proved(session(A[0], A[2], UNNUMBERED[0], A[1], *A[3:]), [*map(message, A[:3])]) is not None
    assert proved(session(A[0], A[2], B[0], A[1], *A[3:]), [*map(message, A[:3])]) is None


# --- what harms is found

Messages = list[bytes]


def drop_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose every fifth message."""
    count = itertools.count(1)
    receive = socket_streams.WatchedConnection.receive

    def lossy(self: Any, message: Any) -> bool:
        return next(count) % 5 > 0 and receive(self, message)

    monkeypatch.setattr(socket_streams.WatchedConnection, "receive", lossy)


def exchange_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand on a message of the Realtime API behind the next one."""
    receive = socket_streams.WatchedConnection.receive
    kept: dict[int, Any] = {}

    def exchanging(self: Any, message: Any) -> bool:
        if id(self) not in kept and b"delta" in message:
            kept[id(self)] = message
            return False
        straight = receive(self, message)
        late = kept.get(id(self))
        if straight and late:
            kept[id(self)] = None
            self.ready.append(socket_lane.Message(b"", late, 0))
        return straight

    monkeypatch.setattr(socket_streams.WatchedConnection, "receive", exchanging)


def close_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that every connection was closed as usual."""
    fails = socket_streams.WatchedConnection.fails

    def lying(self: Any, error: BaseException) -> bool:
        if fails(self, error):
            return True
        raise closed(1000)

    monkeypatch.setattr(socket_streams.WatchedConnection, "fails", lying)


def one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put all lanes in the order of one."""
    for name, protocol in list(PROTOCOLS.items()):
        if protocol.api == "responses":
            monkeypatch.setitem(PROTOCOLS, name, protocol._replace(lane=lambda _type, _payload: ""))


def forget_the_former(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put what comes late into the next response, by its number."""
    monkeypatch.setattr(socket_lane.EndedLane, "has", lambda *_: False)


def build_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a member of events out."""
    parsing = websocket.Connections._parsing

    def lacking(self: Any, original: Any, builder: EventBuilder) -> Any:
        build = builder.build
        builder.build = lambda payload: build({key: value for key, value in payload.items() if key != "event_id"})
        return parsing(self, original, builder)

    monkeypatch.setattr(websocket.Connections, "_parsing", lacking)


def give_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand on every message that has waited twice."""
    take = socket_streams.WatchedConnection.take
    gone: set[tuple[int, int]] = set()

    def twice(self: Any) -> Any:
        taken = take(self)
        if taken is not None and (id(self), taken.at) not in gone:
            gone.add((id(self), taken.at))
            self.ready.appendleft(taken)
        return taken

    monkeypatch.setattr(socket_streams.WatchedConnection, "take", twice)


#: What is broken, the changes and the API of the sessions, and readers that are harmed.
MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], str, str, set[str]]] = [
    (drop_some, "responses_socket", "", {"number_of_messages", "everything_that_comes"}),
    (drop_some, "live", "", {"text_of_session"}),
    (exchange_some, "realtime", "", {"types_of_messages", "everything_that_comes"}),
    (close_well, "realtime", "closed_with_1011_inside", {"status_of_responses", "copies_of_messages"}),
    (one_lane, "responses_socket", "", {"sequence_numbers_of_events"}),
    (forget_the_former, "responses_socket", "messages_behind_end", {"everything_that_comes"}),
    (build_less, "live", "", {"ids", "everything_that_comes"}),
    (give_repeats, "responses_socket", "messages_jitter", {"number_of_events"}),
]


@pytest.mark.quick_cases(1)
@pytest.mark.internal_errors_expected
@pytest.mark.parametrize(
    ("breaking", "api", "change", "readers"), MUTANTS, ids=[f"{m[0].__name__}-{m[1]}" for m in MUTANTS]
)
def test_what_harms_a_session_is_found(
    breaking: Callable[[pytest.MonkeyPatch], None],
    api: str,
    change: str,
    readers: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of these breaks the code of WebSockets, and the finder says who is harmed."""
    breaking(monkeypatch)
    names = (change,) if change else ()
    modes = itertools.cycle(["bytes", "recv", "iterate_async"])
    every = (Case(generated(api, seed), names, seed, mode) for seed, mode in zip(range(60), modes))
    tally = judged(list(itertools.islice((case for case in every if case.stream() is not None), 20)))
    assert readers <= harmed(tally)


def judged(cases: list[Case]) -> Tally:
    """Return what the finder says of cases."""
    finder = Finder()
    try:
        return finder.run(cases, 10**9)
    finally:
        finder.close()


@pytest.mark.slow
def test_numbers_that_prove_an_order_are_a_repair() -> None:
    """The finder sees repairs, and says that they are."""
    cases = [Case(generated("responses_socket", seed), ("message_late_by_1",), seed, "recv") for seed in range(3)]
    tally = judged(cases)
    assert not harmed(tally)
    assert tally.verdicts["repaired"]


# --- the search, and the tables


@pytest.mark.slow  # test_harm.py judges some sessions in a quick run
@pytest.mark.parametrize("policy", ["default", "none"])
def test_nobody_is_harmed_over_websockets(policy: str) -> None:
    """At level default a reader ends the same, or the numbers prove it wrong; with `none` nothing differs."""
    options = Options(
        seed=1, count=60 if quick.is_quick() else 9000, policy=policy, apis=tuple(SOCKETS), recorded=False
    )
    tally = searched(options)
    expected = {"kept", "left", "repaired"} if policy == "default" else {"kept", "left"}
    if any(count and verdict not in expected for verdict, count in tally.verdicts.items()):
        pytest.fail(rendered(tally, examples(tally, options, 4), rows=12), pytrace=False)
    assert tally.combinations > options.count / 20  # fewer programs read a session than a stream


@pytest.mark.slow
def test_a_plan_without_sessions_is_as_it_was() -> None:
    """What stands in the plan beside them stands there in the same order."""
    recorded = list(own())

    def named(*, sockets: bool) -> list[tuple[Any, ...]]:
        cases = [case for case, _ in zip(plan(5, recorded=recorded, sockets=sockets), range(140))]
        return [(c.base.name, c.changes, c.seed, c.mode, c.cut) for c in cases if c.base.api not in SOCKETS]

    assert named(sockets=False)[: len(named(sockets=True))] == named(sockets=True)
    assert len(named(sockets=True)) == 120


@pytest.mark.slow
@pytest.mark.parametrize("api", SOCKETS)
def test_every_reader_of_sessions_works(api: str) -> None:
    """Each comes to a good end, and not always to the same."""
    server = ServerOfAll()
    ended: dict[str, set[str]] = {}
    for seed in range(12):
        for mode in SOCKET_MODES:
            read = server.read(generated(api, seed), mode)
            for each in readers_of(api, mode) if read is not None else ():
                result = outcome(each, read)  # type: ignore[arg-type]
                if result.well:
                    ended.setdefault(each.name, set()).add(repr(result.value))
    server.close()
    assert READERS[api].keys() == ended.keys()
    assert {name for name, results in ended.items() if len(results) == 1} == set()


def test_a_generated_session_is_json() -> None:
    """Every message of a healthy session is a JSON object, and a close ends it."""
    for api, seed in itertools.product(SOCKETS, range(20)):
        *messages, end = generated(api, seed).events
        assert all(isinstance(json.loads(message(event)), dict) for event in messages)
        assert is_close(end)
