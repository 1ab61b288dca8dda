"""A header of a tool call in parts: whole events wait for the rest of it, within the window, and nothing vanishes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from helpers.stream_builders import (
    DONE,
    Call,
    Payload,
    Seen,
    begin,
    body,
    chunk,
    fragment,
    read,
    settings,
    sse,
    texts,
    tool_call,
    watch,
)
from streamwatch.core.kinds import TOOL_CALL_ARGUMENTS_INVALID, TOOL_CALL_HEADER_INCOMPLETE
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome

TOOLS = frozenset({"weather", "time"})
PARIS = '{"city":"Paris"}'
UNREPAIRED, UNVERIFIED, FAILED = {Outcome.UNREPAIRED}, {Outcome.UNVERIFIED}, {Outcome.FAILED}


def wire_of(*fragments: Payload, finish: str = "tool_calls") -> list[Payload]:
    """An answer of these fragments, one a chunk."""
    return [begin(content=None), *(chunk({"tool_calls": [each]}) for each in fragments), chunk({}, finish)]


def seen_of(*fragments: Payload, repair: str = "default", **known: Any) -> Seen:
    """An answer of these fragments, watched."""
    return watch("chat", body(wire_of(*fragments)), repair, request=Request(n=1, tools=TOOLS, **known))


def handed_on(seen: Seen) -> list[list[Payload]]:
    """The fragments of each chunk that has any."""
    deltas = [payload["choices"][0]["delta"] for payload in seen.payloads]
    return [delta["tool_calls"] for delta in deltas if delta.get("tool_calls")]


def by_open(seen: Seen) -> list[Call]:
    """The calls as a program has them that opens one at each id and adds to the last."""
    calls: list[list[str]] = []
    for fragments in handed_on(seen):
        for each in fragments:
            if each.get("id"):
                calls.append([each["id"], each["function"].get("name") or "", ""])
            calls[-1][2] += (each.get("function") or {}).get("arguments") or ""
    return [Call(*call) for call in calls]


#: Headers in parts, in the ways that they come, of one and the same call.
PARTS: dict[str, list[Payload]] = {
    "id, then name": [
        {"index": 0, "id": "call_a", "type": "function", "function": {"arguments": ""}},
        {"index": 0, "function": {"name": "weather", "arguments": PARIS}},
    ],
    "id without a function, then name": [
        {"index": 0, "id": "call_a", "type": "function"},
        {"index": 0, "function": {"name": "weather", "arguments": PARIS}},
    ],
    "id, an empty name, then name": [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "", "arguments": '{"city":'}},
        {"index": 0, "function": {"name": "weather", "arguments": '"Paris"}'}},
    ],
    "id, arguments, then name": [
        {"index": 0, "id": "call_a", "type": "function", "function": {"arguments": '{"city"'}},
        {"index": 0, "function": {"arguments": ":"}},
        {"index": 0, "function": {"name": "weather", "arguments": '"Paris"}'}},
    ],
    "name, then id": [
        {"index": 0, "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "id": "call_a", "function": {"arguments": PARIS}},
    ],
    "name, then id without a function": [
        {"index": 0, "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "id": "call_a"},
        {"index": 0, "function": {"arguments": PARIS}},
    ],
    "nothing, then both": [
        {"index": 0, "type": "function", "function": {"arguments": ""}},
        {"index": 0, "id": "call_a", "function": {"name": "weather", "arguments": PARIS}},
    ],
}
_EACH = pytest.mark.parametrize("way", PARTS)


@_EACH
@pytest.mark.parametrize("accumulated", [False, True], ids=["reader", "helper"])
def test_a_header_in_parts_is_put_together_in_its_first_fragment(way: str, accumulated: bool) -> None:
    """Programs that open a call at its id, or at its name, have both; no fragment vanishes, and none comes to be."""
    seen = seen_of(*PARTS[way], accumulated=accumulated)

    assert by_open(seen) == read("chat", seen.delivered).said[0].calls == [Call("call_a", "weather", PARIS)]
    assert len(seen.payloads) == len(PARTS[way]) + 2
    assert accumulated or [len(each) for each in handed_on(seen)] == [1] * len(PARTS[way])
    assert seen.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNVERIFIED


@_EACH
def test_it_can_be_let_be(way: str) -> None:
    """`-tool_call_header_incomplete`: nothing waits, and nothing is changed."""
    seen = seen_of(*PARTS[way], repair="default,-tool_call_header_incomplete")

    assert seen.payloads == wire_of(*PARTS[way])
    assert seen.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNREPAIRED


@_EACH
def test_what_waits_is_whole_events_as_they_came(way: str) -> None:
    """All of them, in order, with what came in between: nothing is lost if anything fails now."""
    first, *rest = PARTS[way]
    wire = [begin(content=None), chunk({"tool_calls": [first]}), *texts("One", "two"), chunk({"refusal": "no"})]
    stream = StreamWatch("chat", Request(n=1, tools=TOOLS), clock=lambda: 0.0)
    stream.receive(body(wire, done=False))
    events, _ = stream.undelivered()

    assert [event.data for event in events] == [json.dumps(each, separators=(",", ":")) for each in wire]
    assert len(stream.ready) == 1
    stream.receive(b"".join(sse(chunk({"tool_calls": [each]})) for each in rest))
    assert [event.data for event in stream.ready[: len(wire)]] == [event.data for event in events]
    assert stream.deadline is None


@_EACH
def test_nothing_waits_longer_than_the_window(way: str) -> None:
    """After two seconds it goes on as it came, and no other call of the choice waits in vain."""
    now = [0.0]
    first, *rest = PARTS[way]
    stream = StreamWatch("chat", Request(n=1, tools=TOOLS), clock=lambda: now[0])
    stream.receive(body([begin(content=None), chunk({"tool_calls": [first]})], done=False))
    assert stream.deadline == 2.0
    now[0] = 2.0
    stream.expire()
    late = [chunk({"tool_calls": [each]}) for each in rest]
    another = chunk({"tool_calls": [{**first, "index": 1, "id": "call_b"}]})
    stream.receive(body([*late, another], done=False))

    assert [json.loads(event.data) for event in stream.ready] == [event.payload for event in stream.ready]
    assert len(stream.ready) == 3 + len(rest)
    stream.close()
    assert stream.report().outcomes[TOOL_CALL_HEADER_INCOMPLETE][Outcome.FAILED] == 1


@pytest.mark.parametrize(("events", "held"), [(3, 3), (4, 0)])
def test_the_window_has_a_number_of_events(events: int, held: int) -> None:
    """The one that fills it ends the wait."""
    stream = StreamWatch("chat", Request(n=1), settings(window_events=4), clock=lambda: 0.0)
    stream.receive(
        body([chunk({"tool_calls": [fragment(0, "", id="call_a")]}), *texts("x", "y", "z")][:events], done=False)
    )

    assert len(stream.ready) == events - held


@pytest.mark.parametrize(("spare", "held"), [(0, 2), (-1, 0)])
def test_the_window_has_a_number_of_bytes(spare: int, held: int) -> None:
    """One more ends the wait: all goes on as it came, and the repair has failed."""
    payloads = [chunk({"tool_calls": [fragment(0, "", id="call_a")]}), *texts("x" * 100)]
    size = sum(len(sse(each)) - len(b"data: \n\n") for each in payloads)
    stream = StreamWatch("chat", Request(n=1), settings(window_bytes=size + spare), clock=lambda: 0.0)
    stream.receive(body(payloads, done=False))
    waits = 2 - len(stream.ready)
    stream.receive(body([chunk({}, "tool_calls")]))
    stream.close()

    assert waits == held
    assert [event.payload for event in stream.ready][:2] == payloads
    assert stream.report().outcomes[TOOL_CALL_HEADER_INCOMPLETE] == {Outcome.UNREPAIRED if held else Outcome.FAILED: 1}


@pytest.mark.parametrize("id", ["", None, ...], ids=str)
@pytest.mark.parametrize("pieces", [["{}"], ["{", "}"], [""]], ids=str)
def test_a_call_without_an_id_can_get_one(id: Any, pieces: list[str]) -> None:
    """It has a name: nothing else is needed to run it. By default it stays as it is, for what is null stays null."""
    header = {**fragment(0, pieces[0], name="weather"), "id": id}
    wire = [{k: v for k, v in header.items() if v is not ...}, *(fragment(0, piece) for piece in pieces[1:])]
    default, asked = (seen_of(*wire, repair=repair) for repair in ("default", "default,+hold_tool_header"))

    assert default.payloads == wire_of(*wire)
    assert default.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNREPAIRED
    ((call, *_), *_) = handed_on(asked)
    assert re.fullmatch(r"call_[0-9a-f]{32}", call["id"])
    assert asked.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNVERIFIED


def test_a_whole_call_without_an_id_waits_for_nothing() -> None:
    """Its arguments are whole in its only fragment: no more comes of it."""
    stream = StreamWatch("chat", Request(n=1, tools=TOOLS))
    stream.receive(body([chunk({"tool_calls": [fragment(0, PARIS, name="weather")]})], done=False))

    assert len(stream.ready) == 1


def test_calls_of_a_server_that_has_no_ids_wait_once() -> None:
    """The first call shows that no id comes; the others are handed on at once."""
    stream = StreamWatch("chat", Request(n=1, tools=TOOLS), clock=lambda: 0.0)
    first, second = ([fragment(index, "", name="weather"), fragment(index, "{}")] for index in (0, 1))
    stream.receive(body([chunk({"tool_calls": [each]}) for each in first], done=False))
    assert not stream.ready
    stream.receive(sse(chunk({"tool_calls": [second[0]]})))

    assert [event.payload["choices"][0]["delta"]["tool_calls"] for event in stream.ready] == [
        *([each] for each in first),
        [second[0]],
    ]


def test_headers_of_parallel_calls_may_come_in_parts() -> None:
    """Ids first, then names: each is put together for itself."""
    ids = [{"index": n, "id": f"call_{n}", "type": "function", "function": {"arguments": ""}} for n in (0, 1)]
    names = [{"index": n, "function": {"name": name, "arguments": "{}"}} for n, name in enumerate(("weather", "time"))]
    seen = seen_of(*ids, *names)

    assert read("chat", seen.delivered).said[0].calls == [Call("call_0", "weather", "{}"), Call("call_1", "time", "{}")]
    assert [each[0]["function"].get("name") for each in handed_on(seen)] == ["weather", "time", None, None]


def test_an_id_goes_nowhere_without_a_name() -> None:
    """A header is put together as a whole, or left as it came."""
    pieces = [fragment(0, '{"city"', name=""), fragment(0, "", id="call_0"), fragment(0, ':"Paris"}')]
    seen = seen_of(*pieces)

    assert [each.get("id") for fragments in handed_on(seen) for each in fragments] == [None, "call_0", None]
    assert seen.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNREPAIRED


def test_a_name_is_not_taken_from_a_fragment_with_an_id_of_its_own() -> None:
    """Programs that go by ids find a call there, and its name."""
    pieces = [fragment(0, '{"city":', id="call_0"), fragment(0, '"Paris"}', id="call_1", name="weather")]
    seen = seen_of(*pieces)

    assert [each["function"].get("name") for fragments in handed_on(seen) for each in fragments] == [None, "weather"]


def test_an_id_that_was_announced_elsewhere_completes_nothing() -> None:
    """Whose the name is nobody knows: every id stays where it came."""
    pieces = [
        fragment(0, '{"city":', id="call_b"),
        fragment(0, "", id="call_a", name="weather"),
        fragment(0, '"Paris"}', id="call_b"),
    ]
    seen = seen_of(*pieces, repair="default")

    assert [each.get("id") for fragments in handed_on(seen) for each in fragments] == ["call_b", "call_a", "call_b"]


def test_a_name_in_pieces_is_of_one_call_without_an_index_too() -> None:
    """Both pieces together name a tool, and the second one alone does not."""
    pieces = [fragment(None, "", id="call_1", name="wea"), fragment(None, PARIS, name="ther")]
    seen = seen_of(fragment(None, "{}", id="call_0", name="time"), *pieces)

    assert [each["index"] for fragments in handed_on(seen) for each in fragments] == [0, 1, 1]


@pytest.mark.parametrize(
    ("first", "arguments", "indexes"),
    [('{"city"', ':"Paris"}', [0, 0]), ('{"city"', PARIS, [0, 1]), ("", PARIS, [0, 0]), ("", "{}", [0, 0])],
)
def test_a_name_that_is_late_is_of_the_call_whose_arguments_go_on(
    first: str, arguments: str, indexes: list[int]
) -> None:
    """Without an index: no call begins amid the arguments of another one, nor is one all id and no name."""
    pieces = [fragment(None, first, id="call_0"), fragment(None, arguments, name="weather")]
    seen = seen_of(*pieces)

    assert [each["index"] for fragments in handed_on(seen) for each in fragments] == indexes


@pytest.mark.parametrize("end", [[chunk({}, "tool_calls")], [chunk({}, "stop")], []], ids=["finish", "stop", "[DONE]"])
def test_a_name_that_never_comes_holds_nothing_beyond_the_end(end: list[Payload]) -> None:
    """It cannot be made up; what waited goes on as it came."""
    wire = [
        begin(content=None),
        *(chunk({"tool_calls": [each]}) for each in (fragment(0, "", id="call_a"), fragment(0, "{}"))),
    ]
    seen = watch("chat", body([*wire, *end]), request=Request(n=1, tools=TOOLS))

    assert seen.payloads == [*wire, *end]
    assert seen.outcome(TOOL_CALL_HEADER_INCOMPLETE) == UNREPAIRED


def test_an_error_waits_behind_nothing() -> None:
    """What came before it goes on first, as it came, and then the error."""
    wire = [chunk({"tool_calls": [fragment(0, "", id="call_a")]}), {"error": {"message": "Overloaded"}}]
    stream = StreamWatch("chat", Request(n=1), clock=lambda: 0.0)
    stream.receive(body(wire, done=False))

    assert [event.payload for event in stream.ready] == wire


# --- arguments that may be said twice wait in the same way


@pytest.mark.parametrize("pieces", [["{}"], [PARIS, '{"city":']], ids=["an empty object", "a beginning"])
def test_arguments_in_question_wait_as_whole_events(pieces: list[str]) -> None:
    """On request; what they are held for may be the rest of them, and then they go on as they came."""
    wire = wire_of(*tool_call(0, "call_a", "weather", *pieces))[:-1]
    stream = StreamWatch("chat", Request(n=1, tools=TOOLS), settings("default,+tool_call_arguments_invalid"))
    stream.receive(body(wire, done=False))
    events, _ = stream.undelivered()

    assert len(stream.ready) == len(wire) - 1
    assert [json.loads(event.data) for event in events] == wire
    stream.receive(body(texts("One")) + DONE)
    assert [event.payload for event in stream.ready][: len(wire) + 1] == [*wire, *texts("One")]
    assert stream.report().anomalies.get(TOOL_CALL_ARGUMENTS_INVALID, 0) == 0


def test_arguments_in_question_wait_no_longer_than_the_window() -> None:
    """After two seconds they go on as they came: nothing was found, and a header may still be waited for."""
    now = [0.0]
    wire = wire_of(*tool_call(0, "call_a", "weather", PARIS, '{"city":'))[:-1]
    stream = StreamWatch("chat", Request(n=1), settings("default,+tool_call_arguments_invalid"), clock=lambda: now[0])
    stream.receive(body(wire, done=False))
    assert stream.deadline == 2.0
    now[0] = 2.0
    stream.expire()
    assert [event.payload for event in stream.ready] == wire
    stream.receive(body([chunk({"tool_calls": [fragment(1, "", id="call_b")]})], done=False))

    assert stream.deadline == 4.0
    assert TOOL_CALL_ARGUMENTS_INVALID not in stream.anomalies


@pytest.mark.parametrize("accumulated", [True, False])
def test_a_header_that_is_said_again_in_whole_opens_nothing_more(accumulated: bool) -> None:
    """vmlx#244: an opener without a name, and then all of the call: what moved into the opener is empty behind it."""
    opener = fragment(0, "", id="call_a", name="")
    whole = fragment(0, '{"city":"Paris"}', id="call_a", name="weather")
    seen = watch(
        "chat",
        body([begin(), chunk({"tool_calls": [opener]}), chunk({"tool_calls": [whole]}), chunk({}, "tool_calls")]),
        request=Request(n=1, tools=frozenset({"weather"}), accumulated=accumulated),
    )

    first, second = (payload["choices"][0]["delta"]["tool_calls"][0] for payload in seen.payloads[1:3])
    assert (first["id"], first["function"]["name"]) == ("call_a", "weather")
    assert not second.get("id")
    assert second["function"].items() >= {"arguments": '{"city":"Paris"}'}.items()
    if not accumulated:  # a program that joins takes both for texts
        assert (second["id"], second["function"]["name"]) == ("", "")
    (call,) = read("chat", seen.delivered).said[0].calls
    assert call == Call("call_a", "weather", '{"city":"Paris"}')
