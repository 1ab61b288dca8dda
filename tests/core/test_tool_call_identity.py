"""Whose a fragment is: by its id, then by names and whole arguments, and by its index where nothing contradicts it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.quick import examples
from helpers.stream_builders import Call, Payload, Seen, begin, body, called, chunk, fragment, read, tool_call, watch
from streamwatch.core.kinds import (
    ANSWER_MISSING,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_ID_CHANGED,
    TOOL_CALL_INDEX_MISSING,
    TOOL_CALL_INDEX_REUSED,
    TOOL_CALL_INDEX_SPARSE,
    TOOL_CALL_MALFORMED,
    TOOL_CALL_MISSING,
    TOOL_CALL_NAME_REPEATED,
)
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Outcome, Verdict

often = hypothesis_settings(max_examples=examples(150), deadline=None)
TOOLS = frozenset({"weather", "time", "search"})
PARIS, ROME, OSLO = '{"city":"Paris"}', '{"city":"Rome"}', '{"city":"Oslo"}'
A = tool_call(0, "call_a", "weather", '{"city":', '"Paris"}')
UNREPAIRED, VERIFIED, FAILED = {Outcome.UNREPAIRED}, {Outcome.VERIFIED}, {Outcome.FAILED}


def seen_of(*fragments: Payload, repair: str = "default", tools: frozenset[str] = TOOLS, **known: Any) -> Seen:
    """A whole answer of these fragments, one a chunk, watched."""
    return watch("chat", body(called(*fragments)), repair, request=Request(n=1, tools=tools, **known))


def by_index(seen: Seen) -> list[Call]:
    """The calls as a program keeps them under their indexes: the first name and id, all arguments."""
    calls: dict[Any, list[str]] = {}
    for payload in seen.payloads:
        for each in payload["choices"][0]["delta"].get("tool_calls") or ():
            call = calls.setdefault(each.get("index"), ["", "", ""])
            function = each.get("function") or {}
            call[0], call[1] = call[0] or each.get("id") or "", call[1] or function.get("name") or ""
            call[2] += function.get("arguments") or ""
    return [Call(*call) for call in calls.values()]


def handed_on(seen: Seen) -> list[Payload]:
    """All fragments that were handed on."""
    deltas = [payload["choices"][0]["delta"] for payload in seen.payloads if payload.get("choices")]
    return [each for delta in deltas for each in delta.get("tool_calls") or ()]


# --- an id that changes


def renamed(call: list[Payload], *, name: str = "") -> list[Payload]:
    """Every later fragment of a call with an id of its own, and a name if there is one."""
    later = []
    for number, each in enumerate(call[1:]):
        function = {**each["function"], **({"name": name} if name else {})}
        later.append({**each, "id": f"call_{number}x", "function": function})
    return [call[0], *later]


@pytest.mark.parametrize("name", ["", "weather"])
@pytest.mark.parametrize("pieces", [[PARIS], ['{"city":', '"Paris"}'], list(PARIS), [PARIS, ""], [PARIS, " "]], ids=len)
def test_a_call_whose_id_changes_is_one_call(name: str, pieces: list[str]) -> None:
    """A new id on each fragment: another name, or whole arguments and more, would be another call."""
    wire = renamed(tool_call(0, "call_a", "weather", *pieces), name=name)
    reader, helper = (seen_of(*wire, accumulated=each) for each in (False, True))

    assert handed_on(reader) == wire
    assert reader.outcome(TOOL_CALL_ID_CHANGED) == UNREPAIRED
    (call,) = read("chat", helper.delivered).said[0].calls
    assert call == Call("call_a", "weather", "".join(pieces))
    assert helper.outcome(TOOL_CALL_ID_CHANGED) == VERIFIED
    assert TOOL_CALL_INDEX_REUSED not in reader.report.anomalies


@pytest.mark.parametrize("pieces", [["{}"], ['{"city":', '"Paris"}']], ids=len)
def test_the_rest_of_a_name_opens_no_call_under_another_id(pieces: list[str]) -> None:
    """Each fragment has an id of its own; only both pieces of the name together are a tool, which is said from then on."""
    wire = renamed(tool_call(0, "call_a", "weather", *pieces), name="weather")
    wire[0]["function"]["name"], wire[1]["function"]["name"] = "wea", "ther"
    reader, helper = (seen_of(*wire, accumulated=each) for each in (False, True))

    assert handed_on(reader) == wire
    assert TOOL_CALL_INDEX_REUSED not in reader.report.anomalies
    (call,) = read("chat", helper.delivered).said[0].calls
    assert call == Call("call_a", "weather", "".join(pieces))


def test_a_new_id_and_more_arguments_after_whole_ones_open_a_call() -> None:
    """The same tool twice, under one index: joined they would be no JSON."""
    calls = [*renamed(tool_call(0, "call_a", "weather", *list(PARIS)), name="weather")]
    calls += [fragment(0, ROME, id="call_b", name="weather")]
    seen = seen_of(*calls)

    assert [call.arguments for call in by_index(seen)] == [PARIS, ROME]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == VERIFIED


@pytest.mark.parametrize("accumulated", [True, False])
@pytest.mark.parametrize("blank", [False, True])
def test_where_names_are_in_headers_alone_a_name_opens_a_call(blank: bool, accumulated: bool) -> None:
    """Each fragment has an id of its own, and the header of the second call no arguments yet: only it has a name."""
    calls = [each for text in (PARIS, ROME) for each in renamed(tool_call(0, "call_a", "weather", "", *list(text)))]
    calls = [{**each, "id": f"call_{number}"} for number, each in enumerate(calls)]
    calls += [fragment(0, "", id="call_last")] if blank else []
    seen = seen_of(*calls, accumulated=accumulated)

    assert [(call.name, call.arguments) for call in by_index(seen)] == [("weather", PARIS), ("weather", ROME)]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == VERIFIED


@pytest.mark.parametrize("again", [tool_call(0, "call_a", "weather", PARIS), [fragment(0, ROME, name="weather")]])
@pytest.mark.parametrize("first", [[PARIS], ['{"city":', '"Paris"}'], ['{"city":']], ids=len)
def test_a_name_beside_other_arguments_is_not_one_that_is_repeated(first: list[str], again: list[Payload]) -> None:
    """Joined, both names are of no tool, and the helper parses nothing; with one of them it would raise."""
    seen = seen_of(*tool_call(0, "call_a", "weather", "", *first), *again, accumulated=True)
    (call,) = read("chat", seen.delivered).said[0].calls

    assert call.name == "weatherweather"
    assert TOOL_CALL_NAME_REPEATED not in seen.report.outcomes or seen.outcome(TOOL_CALL_NAME_REPEATED) == UNREPAIRED


@pytest.mark.parametrize("pieces", [[PARIS], ['{"city":', '"Paris"}'], list(PARIS)], ids=len)
def test_arguments_one_place_before_their_headers_are_theirs(pieces: list[str]) -> None:
    """Headers at the places of tools, arguments at those of calls: what is whole takes no more of them."""
    first, second = tool_call(1, "call_a", "weather", "", *pieces), tool_call(2, "call_b", "time", "", "{", "}")
    for each in (*first[1:], *second[1:]):
        each["index"] -= 1
    seen = seen_of(*first, *second)

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "time", "{}")]
    assert seen.outcome(TOOL_CALL_INDEX_SPARSE) == VERIFIED


def test_arguments_of_which_nobody_knows_whose_they_are_are_no_other_calls() -> None:
    """Both headers are there, and the place before them: it is the first call's new place, and not its arguments."""
    wire = [*tool_call(1, "call_a", "weather", ""), *tool_call(2, "call_b", "time", "")]
    seen = seen_of(*wire, fragment(0, PARIS), fragment(1, "{}"))

    assert by_index(seen) == [Call("call_a", "weather", "{}"), Call("call_b", "time", ""), Call("", "", PARIS)]


def test_a_blank_fragment_says_nothing_of_an_index() -> None:
    """A header that is late: what comes under that index afterwards is another call's."""
    late = [fragment(1, ""), fragment(1, '{"city":'), fragment(1, "", id="call_b", name="time"), fragment(1, '"Rome"}')]
    seen = seen_of(*tool_call(0, "call_a", "weather", "", PARIS), *late)

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "time", ROME)]


def test_a_name_behind_whole_arguments_is_their_calls() -> None:
    """Without an index: it has no id of its own, and that call has no name yet."""
    wire = [fragment(None, PARIS, id="call_a"), fragment(None, "", name="weather")]
    seen = seen_of(*wire)

    assert by_index(seen) == [Call("call_a", "weather", PARIS)]


def test_a_call_whose_id_changes_and_that_is_said_twice_is_one_call() -> None:
    """Told as what it is: arguments that are said again."""
    wire = renamed(tool_call(0, "call_a", "weather", *list(PARIS), PARIS), name="weather")
    seen = seen_of(*wire)

    assert handed_on(seen) == wire
    assert {"tool_call_id_changed", "tool_call_arguments_invalid"} <= seen.faults
    assert TOOL_CALL_INDEX_REUSED not in seen.report.anomalies


@pytest.mark.parametrize("accumulated", [True, False])
def test_where_indexes_are_missing_too_an_unfinished_call_goes_on(accumulated: bool) -> None:
    """Neither index nor id tells; that the arguments are not whole does."""
    wire = [{k: v for k, v in each.items() if k != "index"} for each in renamed(A, name="weather")]
    seen = seen_of(*wire, accumulated=accumulated)

    (call,) = by_index(seen)
    assert call.arguments == PARIS
    assert TOOL_CALL_ID_CHANGED in seen.report.anomalies


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("arguments", [PARIS, "print(2)"])
@pytest.mark.parametrize("first", ["", None, ..., "import os"], ids=["empty", "null", "absent", "no JSON"])
def test_a_whole_call_goes_on_with_none_where_indexes_are_missing(first: Any, arguments: str, together: bool) -> None:
    """Two calls of one tool, of which the first takes no arguments, or no JSON: another id is another call."""
    header = fragment(None, "", id="call_a", name="weather")
    header["function"] = {"name": "weather", **({} if first is ... else {"arguments": first})}
    calls = [header, fragment(None, arguments, id="call_b", name="weather")]
    wire = [
        begin(content=None),
        *(chunk({"tool_calls": each}) for each in ([calls] if together else [[c] for c in calls])),
    ]
    seen = watch("chat", body([*wire, chunk({}, "tool_calls")]), request=Request(n=1, tools=TOOLS))

    assert [(each["id"], each["index"]) for each in handed_on(seen)] == [("call_a", 0), ("call_b", 1)]


@pytest.mark.parametrize(
    ("first", "second", "indexes"),
    [
        (PARIS, ROME, [0, 1]),
        (PARIS, PARIS, [0, 0]),
        (PARIS, PARIS.replace(":", " : "), [0, 0]),
        (PARIS, "", [0, 0]),
        (PARIS, '{"city"', [0, 0]),
        ("{}", PARIS, [0, 0]),
    ],
    ids=str,
)
def test_a_whole_call_under_the_id_of_a_whole_one_is_another(first: str, second: str, indexes: list[int]) -> None:
    """Servers give a call the name of its tool as its id; what says the same again, or for the first time, is none."""
    calls = [fragment(None, arguments, id="weather", name="weather") for arguments in (first, second)]
    seen = seen_of(*calls)

    assert [each["index"] for each in handed_on(seen)] == indexes


@pytest.mark.parametrize("accumulated", [True, False])
def test_whose_the_arguments_are_that_follow_two_headers_is_not_guessed(accumulated: bool) -> None:
    """OmniRoute#11144: both calls open under 0, and their arguments come under 0 and 1. Others mean the last call by 0."""
    first, second = tool_call(0, "call_a", "weather", PARIS), tool_call(0, "call_b", "time", '{"zone":"UTC"}')
    wire = [first[0], second[0], first[1], {**second[1], "index": 1}]
    seen = seen_of(*wire, accumulated=accumulated)

    kept = [{k: v for k, v in each.items() if k != "type"} for each in handed_on(seen)]
    assert kept == [{k: v for k, v in each.items() if k != "type"} for each in wire]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == UNREPAIRED


BETWEEN = {
    "finish": chunk({}, "tool_calls"),
    "an event of the server's own": {"type": "mcp_tool_result", "name": "weather", "result": "12 degrees"},
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=list(BETWEEN))
def test_another_round_of_calls_counts_from_0_again(between: Payload) -> None:
    """A gateway calls the tools itself: who empties the list after each round finds each call at its place."""
    calls = [fragment(0, city, id=f"call_{at}", name="weather") for at, city in enumerate((PARIS, ROME, OSLO))]
    rounds = [[chunk({"tool_calls": [call]}), between] for call in calls]
    wire = [begin(content=None), *(each for pair in rounds for each in pair)]
    reader, helper = (
        watch("chat", body(wire), request=Request(n=1, tools=TOOLS, accumulated=each)) for each in (False, True)
    )

    assert reader.payloads == wire
    assert reader.outcome(TOOL_CALL_INDEX_REUSED) == UNREPAIRED
    assert [each["index"] for each in handed_on(helper)] == [0, 1, 2]


@pytest.mark.parametrize("index", [0, -1])
def test_a_round_is_numbered_by_itself(index: int) -> None:
    """Two parallel calls under one index, in each of two rounds."""
    calls = [fragment(index, PARIS, id=f"call_{at}", name="weather") for at in range(4)]
    chunks = [chunk({"tool_calls": [call]}) for call in calls]
    end = chunk({}, "tool_calls")
    wire = [begin(content=None), *chunks[:2], end, *chunks[2:], end]
    reader, helper = (
        watch("chat", body(wire), request=Request(n=1, tools=TOOLS, accumulated=each)) for each in (False, True)
    )

    assert [each["index"] for each in handed_on(reader)] == [0, 1, 0, 1]
    assert [each["index"] for each in handed_on(helper)] == [0, 1, 2, 3]


def test_a_call_behind_the_end_under_an_index_of_its_own_keeps_one_of_its_own() -> None:
    """Both calls end the answer, and the second comes first: two indexes are two calls, whatever round they are of."""
    calls = [fragment(index, city, id=f"call_{index}", name="weather") for index, city in ((1, PARIS), (0, ROME))]
    wire = [begin(content=None), *(chunk({"tool_calls": [call]}, "tool_calls") for call in calls)]
    seen = watch("chat", body(wire), request=Request(n=1, tools=TOOLS))

    assert len({each["index"] for each in handed_on(seen)}) == 2


def test_tokens_that_are_counted_between_two_calls_end_no_round() -> None:
    """A frame with the usage alone."""
    calls = [fragment(0, city, id=f"call_{at}", name="weather") for at, city in enumerate((PARIS, ROME))]
    first, second = (chunk({"tool_calls": [call]}) for call in calls)
    wire = [begin(content=None), first, {"usage": {"total_tokens": 3}}, second, chunk({}, "tool_calls")]
    seen = watch("chat", body(wire), request=Request(n=1, tools=TOOLS))

    assert [each["index"] for each in handed_on(seen)] == [0, 1]


def test_a_second_header_after_arguments_opens_a_call_whose_tail_comes_under_its_own_index() -> None:
    """agno#8880: the head collides with the call before it, and its arguments do not."""
    first, second = tool_call(0, "call_a", "weather", PARIS), tool_call(0, "call_b", "time", '{"zone":', '"UTC"}')
    seen = seen_of(*first, second[0], *({**each, "index": 1} for each in second[1:]))

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "time", '{"zone":"UTC"}')]


# --- an id that was announced


def test_an_id_tells_whose_a_fragment_is_against_its_index() -> None:
    """A relay that writes index 0 everywhere, and keeps the ids."""
    first, second = tool_call(0, "call_a", "weather", PARIS), tool_call(1, "call_b", "time", '{"zone":', '"UTC"}')
    wire = [*first, second[0], *({**each, "index": 0, "id": "call_b"} for each in second[1:])]
    seen = seen_of(*wire)

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "time", '{"zone":"UTC"}')]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == VERIFIED


def test_an_index_against_an_id_is_counted_and_left_alone_where_the_policy_says_so() -> None:
    """`-tool_call_index_reused`: every fragment as it came."""
    first, second = tool_call(0, "call_a", "weather", PARIS), tool_call(1, "call_b", "time", '{"zone":', '"UTC"}')
    wire = [*first, second[0], *({**each, "index": 0, "id": "call_b"} for each in second[1:])]
    seen = seen_of(*wire, repair="default,-tool_call_index_reused")

    assert handed_on(seen) == wire
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == UNREPAIRED


def test_two_calls_of_one_tool_without_an_index_are_told_apart_by_their_ids() -> None:
    """Another id on a whole call opens another call, though the tool is the same."""
    calls = [fragment(None, PARIS, id="call_a", name="weather"), fragment(None, ROME, id="call_b", name="weather")]
    seen = seen_of(*calls)

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "weather", ROME)]
    assert [each["index"] for each in handed_on(seen)] == [0, 1]
    assert seen.outcome(TOOL_CALL_INDEX_MISSING) == VERIFIED


def test_an_id_tells_whose_a_fragment_is_under_an_index_that_nobody_opened() -> None:
    """The index shifts inside a call, and the id is repeated."""
    second = tool_call(1, "call_b", "time", '{"zone":', '"UTC"}')
    wire = [*A[:2], second[0], {**A[2], "index": 2, "id": "call_a"}, *second[1:]]
    seen = seen_of(*wire)

    assert by_index(seen) == [Call("call_a", "weather", PARIS), Call("call_b", "time", '{"zone":"UTC"}')]
    assert seen.outcome(TOOL_CALL_INDEX_SPARSE) == VERIFIED


def test_an_id_of_a_whole_call_proves_nothing_about_more_arguments() -> None:
    """The call that it names has all of its own: surfaced, not repaired."""
    second = tool_call(1, "call_b", "time", "{}")
    stray = {**fragment(0, '"Paris"}'), "id": "call_b"}
    seen = seen_of(*A[:2], *second, stray)

    assert handed_on(seen)[-1] == stray
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) <= UNREPAIRED | FAILED


def test_calls_that_all_have_one_id_are_told_apart_by_their_indexes() -> None:
    """Servers that put the name of the tool, or a constant, where the id belongs."""
    wire = [*tool_call(0, "call_1", "weather", *list(PARIS)), *tool_call(1, "call_1", "weather", *list(ROME))]
    wire += tool_call(2, "call_1", "time", "{}")
    seen = seen_of(*wire)

    assert handed_on(seen) == wire
    assert not seen.faults


@pytest.mark.parametrize("index", [1, None], ids=str)
def test_arguments_that_cannot_go_on_with_the_open_call_are_not_put_there(index: int | None) -> None:
    """They may be of a call whose header is late: surfaced, and not guessed."""
    stray = fragment(index, '"zone":1')
    seen = seen_of(A[0], A[1], stray, A[2])

    assert stray in handed_on(seen)
    assert by_index(seen)[0].arguments == PARIS


@pytest.mark.parametrize("again", [True, False], ids=["said-again", "parallel"])
def test_where_announcements_got_their_indexes_here_no_fragment_stays_without_one(again: bool) -> None:
    """Who collects calls by index would find that of none of them there."""
    first = tool_call(None, "call_a", "weather", *list(PARIS))
    second = tool_call(None, "call_b", "time", *list(ROME))
    wire = [*first, *second, *first, *second] if again else [first[0], second[0], *second[1:], *first[1:]]
    seen = seen_of(*wire)

    assert len(wire) == len(handed_on(seen))
    assert all(each["index"] in (0, 1) for each in handed_on(seen))
    assert {0: "call_a", 1: "call_b"} == {each["index"]: each["id"] for each in handed_on(seen) if each.get("id")}


@pytest.mark.parametrize("late", [1, 2])
def test_a_header_that_comes_late_opens_the_next_call(late: int) -> None:
    """Arguments under a new index, where every call before is whole, begin a call that is announced behind them."""
    second = tool_call(1, "call_b", "time", *list(ROME))
    moved = [*second[1 : 1 + late], second[0], *second[1 + late :]]
    seen = seen_of(*tool_call(0, "call_a", "weather", *list(PARIS)), *moved)

    assert [(call.id, call.name, call.arguments) for call in by_index(seen)] == [
        ("call_a", "weather", PARIS),
        ("call_b", "time", ROME),
    ]
    assert handed_on(seen)[-len(moved)]["id"] == "call_b"


# --- two calls under one index, and one call under several


@pytest.mark.parametrize("id", ["call_0", "", None, ...], ids=str)
@pytest.mark.parametrize("index", [0, 3], ids=str)
def test_another_declared_name_after_whole_arguments_proves_a_second_call(id: Any, index: int) -> None:
    """One index, one id or none: what is joined would be neither a tool nor JSON."""
    wire = [fragment(index, PARIS, id=id, name="weather"), fragment(index, '{"q":"x"}', id=id, name="search")]
    wire = [{k: v for k, v in each.items() if v is not ...} for each in wire]
    seen = seen_of(*wire)

    assert [(call.name, call.arguments) for call in by_index(seen)] == [("weather", PARIS), ("search", '{"q":"x"}')]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == VERIFIED


@pytest.mark.parametrize(
    ("tools", "first", "name"),
    [
        (TOOLS, '{"city":', "search"),  # the first one's arguments are open
        (TOOLS, PARIS, "weather"),  # a snapshot of the same call, perhaps
        (TOOLS, PARIS, "unknown"),
        (frozenset[str](), PARIS, "search"),  # what was declared is not known
        (TOOLS | {"weathersearch"}, PARIS, "search"),  # a name in two pieces
    ],
    ids=["open", "a snapshot", "unknown", "undeclared", "in two pieces"],
)
def test_what_does_not_prove_a_second_call_leaves_the_first_as_it_is(
    tools: frozenset[str], first: str, name: str
) -> None:
    """Told, in one way or another, and handed on as it came."""
    wire = [fragment(0, first, id="call_0", name="weather"), fragment(0, '{"q":"x"}', id="call_0", name=name)]
    seen = seen_of(*wire, tools=tools)

    assert handed_on(seen) == wire
    assert {"tool_call_name_repeated", "tool_call_arguments_invalid"} <= seen.faults


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_one_call_under_several_indexes_is_told(stream: bool) -> None:
    """Equal id, name and arguments: whoever runs calls by their index runs it three times."""
    pieces = list(PARIS) if stream else [PARIS]
    wire = [each for index in range(3) for each in tool_call(index, "call_a", "weather", *pieces)]
    if not stream:
        wire = [fragment(index, PARIS, id="call_a", name="weather") for index in range(3)]
    default, asked = (seen_of(*wire, repair=repair) for repair in ("default", "default,+tool_call_id_changed"))

    assert handed_on(default) == wire
    assert default.report.outcomes[TOOL_CALL_ID_CHANGED] == {Outcome.UNREPAIRED: 2}
    assert len(by_index(asked)) == (3 if stream else 1)


@pytest.mark.parametrize("other", [{"id": "call_b"}, {"name": "time"}, {"arguments": ROME}], ids=str)
def test_calls_that_differ_in_anything_are_several(other: dict[str, str]) -> None:
    """An equal call with an id of its own is a call."""
    said = {"id": "call_a", "name": "weather", "arguments": PARIS, **other}
    wire = [fragment(0, PARIS, id="call_a", name="weather"), fragment(1, said.pop("arguments"), **said)]

    assert TOOL_CALL_ID_CHANGED not in seen_of(*wire).report.anomalies
    assert not seen_of(*wire).faults


# --- calls without ids


def test_calls_without_id_and_index_that_are_whole_are_several() -> None:
    """Each with a name and whole arguments, as Gemini's endpoint sends them."""
    wire = [
        fragment(None, PARIS, name="weather"),
        fragment(None, ROME, name="weather"),
        fragment(None, "{}", name="time"),
    ]
    seen = seen_of(*wire)

    assert [call.arguments for call in by_index(seen)] == [PARIS, ROME, "{}"]
    assert seen.outcome(TOOL_CALL_INDEX_MISSING) == VERIFIED


def test_a_name_on_each_piece_of_a_call_without_id_and_index_opens_one_call() -> None:
    """While its arguments are open, the same name goes on with it."""
    seen = seen_of(*(fragment(None, piece, name="weather") for piece in ("", '{"city"', ':"Paris"}')))

    (call,) = by_index(seen)
    assert call.arguments == PARIS
    assert TOOL_CALL_NAME_REPEATED in seen.report.anomalies


# --- types


@pytest.mark.parametrize("id", [17, 0.5, True, ["call_a"], {"id": "x"}], ids=str)
def test_an_id_that_is_no_text_is_told_and_can_become_one(id: Any) -> None:
    """Equal ones are one id all the same."""
    wire = [{**A[0], "id": id}, {**A[1], "id": id}, A[2]]
    default, asked = (seen_of(*wire, repair=repair) for repair in ("default", "default,+tool_call_malformed"))

    assert handed_on(default) == wire
    assert default.outcome(TOOL_CALL_MALFORMED) == UNREPAIRED
    assert handed_on(asked)[0]["id"] == str(id)
    assert TOOL_CALL_ID_CHANGED not in default.report.anomalies


def test_a_name_that_is_no_text_is_told() -> None:
    """What tool is meant is not guessed."""
    wire = [{**A[0], "function": {"name": 7, "arguments": PARIS}}]

    assert handed_on(seen_of(*wire)) == wire
    assert seen_of(*wire).outcome(TOOL_CALL_MALFORMED) == UNREPAIRED


# --- calls that were promised, and the API before tools


@pytest.mark.parametrize("helper", [False, True])
def test_a_fragment_that_says_nothing_gets_no_type(helper: bool) -> None:
    """Programs take what has one for a call of a function."""
    empty = {"index": 0, "id": "", "function": {"name": "", "arguments": ""}}
    wire = body([begin(), chunk({"tool_calls": [empty]}), chunk({"content": "One"}), chunk({}, "stop")])
    seen = watch("chat", wire, request=Request(n=1, accumulated=helper))

    assert handed_on(seen) == [empty]


@pytest.mark.parametrize("reason", ["tool_calls", "function_call", "tool_use", "tool-calls", "TOOL_CALLS"])
@pytest.mark.parametrize(
    "delta",
    [
        *({"content": "How can I help?"}, {"tool_calls": []}, {"function_call": None}),
        {"function_call": {"name": "", "arguments": ""}},  # workbuddy-gateway#3: on every last chunk
    ],
    ids=str,
)
def test_a_call_that_was_promised_and_never_came_is_told(reason: str, delta: Payload) -> None:
    """Whoever waits for it waits in vain; and an empty list is no call."""
    wire = [begin(), chunk(delta), chunk({}, reason)]
    seen = watch("chat", body(wire), request=Request(n=1))

    assert seen.payloads == wire
    assert seen.outcome(TOOL_CALL_MISSING) == set()
    assert TOOL_CALL_MISSING in seen.report.anomalies
    assert (ANSWER_MISSING in seen.report.anomalies) == ("content" not in delta)


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": tool_call(0, "call_a", "weather")},
        {"tool_calls": [{"index": 0, "id": "call_a", "type": "custom", "custom": {"name": "run", "input": ""}}]},
        {"tool_calls": [{"id": "call_a", "type": "custom", "custom": {"name": "run", "input": ""}}]},
        {"tool_calls": [{"index": 0, "type": "mcp", "function": "f"}]},
        {"function_call": {"name": "run", "arguments": ""}},
    ],
    ids=str,
)
def test_any_call_is_a_call(delta: Payload) -> None:
    """Of whatever kind."""
    seen = watch("chat", body([begin(), chunk(delta), chunk({}, "tool_calls")]), request=Request(n=1))

    assert not {TOOL_CALL_MISSING, ANSWER_MISSING} & set(seen.report.anomalies)


def legacy(*pieces: str) -> list[Payload]:
    """A call of a function, as of 2023."""
    header = chunk({"role": "assistant", "content": None, "function_call": {"name": "run", "arguments": ""}})
    later = [chunk({"function_call": {"arguments": piece}}) for piece in pieces]
    return [header, *later, chunk({}, "function_call")]


@pytest.mark.parametrize(
    ("pieces", "verdict", "told"),
    [
        (['{"a":', "1}"], Verdict.COMPLETE, False),
        ([], Verdict.COMPLETE, False),
        (['{"a":'], Verdict.TRUNCATED, True),
        (['{"a":}'], Verdict.COMPLETE, True),
    ],
    ids=str,
)
def test_arguments_of_a_legacy_call_that_stop_short_are_cut(pieces: list[str], verdict: Verdict, told: bool) -> None:
    """As those of tools: a call that looks complete and is not must not be run."""
    seen = watch("chat", body(legacy(*pieces)), request=Request(n=1))

    assert seen.payloads == legacy(*pieces)
    assert seen.report.verdict is verdict
    assert (TOOL_CALL_ARGUMENTS_INVALID in seen.report.anomalies) == told


# --- all of it, at random

ARGUMENTS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.text('xyz{}[]" ', max_size=6), max_size=3), min_size=1, max_size=4
)


@given(ARGUMENTS, st.integers(0, 2**32), st.booleans())
@often
def test_calls_that_readers_put_together_well_are_let_be(
    arguments: list[Payload], seed: int, accumulated: bool
) -> None:
    """Right indexes, and ids that are repeated, empty or null later: each fragment goes on as it came, or is as good."""
    rng = random.Random(seed)
    calls, wire = [], []
    for number, each in enumerate(arguments):
        text = json.dumps(each)
        calls.append(Call(f"call_{number}", rng.choice(sorted(TOOLS)), text))
        cut = rng.randint(0, len(text))
        header, *later = tool_call(number, calls[-1].id, calls[-1].name, text[:cut], text[cut:])
        habit = rng.choice([{}, {"id": calls[-1].id}, {"id": ""}, {"id": None}, {"type": "function"}])
        wire.append([header, *({**piece, **habit} for piece in later)])  # type: ignore[dict-item]
    fragments = [each for call in wire for each in call]
    if rng.random() < 0.5:
        fragments = [call[0] for call in wire] + [
            each for pair in zip(*(call[1:] for call in wire), strict=True) for each in pair
        ]
    seen = seen_of(*fragments, accumulated=accumulated)

    assert by_index(seen) == calls
    assert accumulated or handed_on(seen) == fragments
    assert not seen.faults
