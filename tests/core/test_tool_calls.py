"""Tool calls: put together by their index, as the SDK does, they are what the model said."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.letters import LETTERS
from helpers.quick import examples
from helpers.stream_builders import (
    Call,
    Payload,
    Said,
    Seen,
    begin,
    body,
    called,
    chunk,
    fragment,
    read,
    tool_call,
    watch,
)
from streamwatch.core.apis.tool_call import begins_json
from streamwatch.core.kinds import (
    CONTENT_UNDECODABLE,
    KINDS,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_FRAGMENT_IRREGULAR,
    TOOL_CALL_HEADER_INCOMPLETE,
    TOOL_CALL_INDEX_MISSING,
    TOOL_CALL_INDEX_REUSED,
    TOOL_CALL_INDEX_SPARSE,
    TOOL_CALL_MALFORMED,
    TOOL_CALL_NAME_REPEATED,
    TOOL_CALLS_INTERLEAVED,
    AnomalyKind,
)
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Evidence, Outcome, Severity, Verdict

often = hypothesis_settings(max_examples=examples(100), deadline=None)
SEEDS = st.integers(0, 2**32)
#: U+FFFD is an anomaly of its own.
TEXTS = st.text(LETTERS, max_size=8).map(lambda text: text.replace("\ufffd", "?"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXTS, VALUES, max_size=4)
CALLS = st.lists(ARGUMENTS, min_size=1, max_size=4)

#: How the index of the n-th call is broken, and what that is called.
WAYS: dict[str, tuple[Any, AnomalyKind]] = {
    "absent": (lambda n, count: ..., TOOL_CALL_INDEX_MISSING),
    "null": (lambda n, count: None, TOOL_CALL_INDEX_MISSING),
    "text": (lambda n, count: str(n), TOOL_CALL_INDEX_MISSING),
    "always 0": (lambda n, count: 0, TOOL_CALL_INDEX_REUSED),
    "always 1": (lambda n, count: 1, TOOL_CALL_INDEX_REUSED),
    "from 1": (lambda n, count: n + 1, TOOL_CALL_INDEX_SPARSE),
    "negative": (lambda n, count: -1 - n, TOOL_CALL_INDEX_SPARSE),
    "every other": (lambda n, count: 2 * n, TOOL_CALL_INDEX_SPARSE),
    "backwards": (lambda n, count: count - 1 - n, TOOL_CALL_INDEX_SPARSE),
}


def spoken(arguments: list[Payload], rng: random.Random) -> tuple[list[Call], list[list[Payload]]]:
    """Some calls, and the fragments of each, cut anywhere."""
    calls, fragments = [], []
    for n, each in enumerate(arguments):
        text = json.dumps(each, ensure_ascii=rng.random() < 0.5)
        calls.append(Call(f"call_{n}", rng.choice(["weather", "time"]), text))
        cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 6)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        pieces = [piece for piece in pieces if piece]
        head = pieces.pop(0) if rng.random() < 0.4 else ""
        header = fragment(n, head, id=calls[-1].id, name=calls[-1].name)
        fragments.append([header, *(fragment(n, piece) for piece in pieces)])
    return calls, fragments


def reindexed(fragments: list[list[Payload]], way: Any) -> list[Payload]:
    """The fragments, one after the other, under other indexes."""
    broken = []
    for n, call in enumerate(fragments):
        index = way(n, len(fragments))
        for each in call:
            broken.append({k: v for k, v in {**each, "index": index}.items() if v is not ...})
    return broken


def chunks(fragments: list[Payload], rng: random.Random) -> list[Payload]:
    """A whole answer, with one or more fragments a chunk."""
    deltas, rest = [], list(fragments)
    while rest:
        count = rng.choice([1, 1, 1, 2, 3])
        deltas.append(chunk({"tool_calls": rest[:count]}))
        del rest[:count]
    return [begin(content=None), *deltas, chunk({}, "tool_calls")]


def assembled(seen: Seen) -> list[Call]:
    """The calls that a consumer ends up with, if it does not raise."""
    answer = read("chat", seen.delivered)
    assert answer.raised == ""
    return answer.said[0].calls


def test_calls_of_several_choices_under_one_index_are_left_alone() -> None:
    """Three answers were asked for, and all say that they are the first: nothing tells whose a fragment is."""
    fragments = [
        *tool_call(0, "call_a", "weather", '{"city":'),
        *tool_call(0, "call_b", "time", "{}"),
        *tool_call(0, "call_c", "weather", '"Paris"}'),
    ]
    wire = [begin(), begin(), begin(), *(chunk({"tool_calls": [each]}) for each in fragments), chunk({}, "tool_calls")]
    seen = watch("chat", body(wire), request=Request(n=3, tools=frozenset({"weather", "time"})))

    assert [payload["choices"][0]["delta"].get("tool_calls") for payload in seen.payloads][3:-1] == [
        [each] for each in fragments
    ]


def test_a_header_takes_its_index_back_from_a_call_that_seemed_to_go_on_there() -> None:
    """Arguments that came before their header looked like more of another call's."""
    wire = called(
        fragment(0, "", id="call_1", name="time"),
        fragment(0, '{"ci'),
        fragment(1, '{"n'),
        fragment(1, "", id="call_2", name="weather"),
        fragment(1, "}"),
    )
    seen = watch("chat", body(wire))

    headers = [each for payload in seen.payloads for each in payload["choices"][0]["delta"].get("tool_calls") or ()]
    assert [(each["index"], each["id"]) for each in headers if each.get("id")] == [(0, "call_1"), (1, "call_2")]


def test_arguments_before_any_header_keep_their_place() -> None:
    """Whose they are nobody knows: they take no index from a call, and those that come later keep theirs."""
    wire = called(
        fragment(1, "{}"), fragment(2, "", id="call_2", name="weather"), fragment(0, "", id="call_1", name="weather")
    )
    seen = watch("chat", body(wire))

    fragments = [payload["choices"][0]["delta"].get("tool_calls") for payload in seen.payloads]
    assert [each[0]["index"] for each in fragments if each] == [1, 2, 0]


@given(CALLS, SEEDS, st.sampled_from(sorted(WAYS)))
@often
def test_calls_survive_a_broken_index(arguments: list[Payload], seed: int, way: str) -> None:
    """Up to four calls, cut anywhere, under indexes broken in any known way: they are what was said."""
    rng = random.Random(seed)
    calls, fragments = spoken(arguments, rng)
    broken, kind = WAYS[way]
    seen = watch("chat", body(chunks(reindexed(fragments, broken), rng)))

    assert assembled(seen) == calls
    intact = len(calls) == 1 and way in ("always 0", "always 1", "every other", "backwards")
    assert intact or seen.outcome(kind) == {Outcome.VERIFIED}
    assert seen.report.verdict is Verdict.COMPLETE


@given(CALLS, SEEDS)
@often
def test_healthy_calls_are_let_be(arguments: list[Payload], seed: int) -> None:
    """One fragment a chunk, fragments of all calls in any mixture: handed on as they came, but for content."""
    rng = random.Random(seed)
    calls, fragments = spoken(arguments, rng)
    headers, rest = [call[0] for call in fragments], [each for call in fragments for each in call[1:]]
    if seed % 2:
        by_call = {n: [each for each in rest if each["index"] == n] for n in range(len(calls))}
        order = [each["index"] for each in rest]
        rng.shuffle(order)
        rest = [by_call[n].pop(0) for n in order]
        fragments = [headers, rest]
    wire = body(called(*(each for call in fragments for each in call)))
    seen, unread = watch("chat", wire), watch("chat", wire, "none")

    assert assembled(seen) == calls
    assert seen.repaired <= {"content_absent", "content_null", "sse_framing_variant"}  # JSON may hold U+0085
    assert seen.faults == set()
    assert [without_content(each) for each in seen.payloads] == [without_content(each) for each in unread.payloads]


def without_content(payload: Payload) -> Payload:
    """A chunk without the content of its delta, which may be filled."""
    (choice,) = payload["choices"]
    delta = {name: value for name, value in choice["delta"].items() if name != "content"}
    return {**payload, "choices": [{**choice, "delta": delta}]}


@given(CALLS, SEEDS, st.sampled_from(sorted(WAYS)))
@often
def test_observing_changes_no_fragment(arguments: list[Payload], seed: int, way: str) -> None:
    """With the policy `none` the indexes stay as broken as they came, and the outcome is known all the same."""
    rng = random.Random(seed)
    wire = body(chunks(reindexed(spoken(arguments, rng)[1], WAYS[way][0]), rng))
    seen = watch("chat", wire, "none")

    assert seen.payloads == [json.loads(event.data) for event in seen.events[:-1]]
    assert seen.report.outcomes == watch("chat", wire).report.outcomes


A = tool_call(0, "call_a", "weather", '{"city":', '"Paris"}')
B = tool_call(1, "call_b", "time", '{"zone":', '"UTC"}')
BOTH = [Call("call_a", "weather", '{"city":"Paris"}'), Call("call_b", "time", '{"zone":"UTC"}')]


TOOLS = frozenset({"weather", "time"})


def seen_of(*fragments: Payload, tools: frozenset[str] = TOOLS, repair: str = "default", **known: Any) -> Seen:
    """A whole answer of these fragments, watched."""
    return watch("chat", body(called(*fragments)), repair, request=Request(tools=tools, **known))


@pytest.mark.parametrize("empty", ["", " "], ids=["empty", "blank"])
def test_an_empty_fragment_after_the_last_belongs_to_the_call(empty: str) -> None:
    """Servers close a call with one more fragment that says nothing; without index the SDK's helper raises on it."""
    bare = [{k: v for k, v in each.items() if k != "index"} for each in (*A, fragment(0, empty))]
    seen = seen_of(*bare)

    assert [Call(*map(str.strip, call)) for call in assembled(seen)] == BOTH[:1]


def test_three_calls_under_two_indexes() -> None:
    """An index may be reused after a right one."""
    third = tool_call(1, "call_c", "time", "{}")
    seen = seen_of(*A, *B, *third)

    assert assembled(seen) == [*BOTH, Call("call_c", "time", "{}")]
    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == {Outcome.VERIFIED}


def test_the_same_id_again_is_the_same_call() -> None:
    """Some servers repeat id and type on every fragment: that opens no call, and the helper would join the ids."""
    again = [{**each, "id": id, "type": "function"} for id, call in (("call_a", A), ("call_b", B)) for each in call]
    reader, helper = (seen_of(*again, accumulated=accumulated) for accumulated in (False, True))

    assert fragments_of(reader) == [[each] for each in again]
    assert assembled(helper) == BOTH
    assert reader.outcome(TOOL_CALL_FRAGMENT_IRREGULAR) == {Outcome.UNREPAIRED}
    assert helper.outcome(TOOL_CALL_FRAGMENT_IRREGULAR) == {Outcome.UNVERIFIED}
    assert not reader.faults | helper.faults


def test_a_call_that_is_cut_takes_no_other_call_in() -> None:
    """While the arguments of a call are open, another id at its index proves nothing: surfaced, not repaired."""
    seen = seen_of(*A[:2], *({**each, "index": 0} for each in B))

    assert seen.outcome(TOOL_CALL_INDEX_REUSED) == {Outcome.UNREPAIRED}
    assert seen.payloads[4]["choices"][0]["delta"]["tool_calls"][0]["index"] == 0


def test_fragments_of_no_call_are_surfaced() -> None:
    """Nothing tells to which of two open calls an anonymous fragment belongs: it is not guessed."""
    stray = {"function": {"arguments": '"Paris"}'}}
    seen = seen_of(A[0], A[1], B[0], B[1], stray)

    assert seen.outcome(TOOL_CALL_INDEX_MISSING) <= {Outcome.UNREPAIRED, Outcome.FAILED}
    assert stray["function"] == seen.payloads[5]["choices"][0]["delta"]["tool_calls"][0]["function"]


@pytest.mark.parametrize(
    "field",
    [{"id": None}, {"id": ""}, {"type": None}, {"type": ""}, {"function": {"name": None, "arguments": '"Paris"}'}}],
    ids=str,
)
def test_empty_fields_of_a_continuation_are_taken_away_for_the_helper(field: Payload) -> None:
    """It writes null over what was there; for whoever adds strings up, "" has to stay."""
    wire = [*A[:2], {**A[2], **field}]
    reader, helper = (seen_of(*wire, accumulated=accumulated) for accumulated in (False, True))

    assert fragments_of(reader) == [[each] for each in wire]
    assert fragments_of(helper) == [[each] for each in A]
    assert helper.outcome(TOOL_CALL_FRAGMENT_IRREGULAR) == {Outcome.UNVERIFIED}
    assert assembled(helper) == BOTH[:1]


@pytest.mark.parametrize(
    ("known", "joined"),
    [({}, False), ({"accumulated": True}, False), ({"accumulated": True, "joins_fragments": False}, True)],
    ids=str,
)
def test_several_fragments_of_a_call_in_a_chunk_are_joined_for_a_helper_that_does_not(
    known: dict[str, bool], joined: bool
) -> None:
    """Releases of the SDK differ: an old one loses the second, a new one tells of each."""
    wire = [begin(), chunk({"tool_calls": A + B}), chunk({}, "tool_calls")]
    seen = watch("chat", body(wire), request=Request(**known))  # type: ignore[arg-type]

    assert (len(seen.payloads[1]["choices"][0]["delta"]["tool_calls"]) == 2) == joined
    assert assembled(seen) == BOTH


@pytest.mark.parametrize("odd", [7, {"a": 1}], ids=str)
def test_fragments_whose_arguments_are_no_text_are_not_joined(odd: object) -> None:
    """Both are handed on: text and something else have no sum."""
    pieces = [A[0], fragment(0, '{"a":1}'), {"index": 0, "function": {"arguments": odd}}]
    seen = of_chunks(pieces, accumulated=True, joins_fragments=False)
    ((*first, last),) = fragments_of(seen)

    assert first == [{**A[0], "function": {"name": "weather", "arguments": '{"a":1}'}}]
    assert last == pieces[-1]
    assert TOOL_CALL_MALFORMED in seen.report.anomalies


def test_no_arguments_are_let_be() -> None:
    """A tool without parameters: "" is what some servers send, and what the application gets."""
    seen = seen_of(*tool_call(0, "call_a", "weather"))

    assert assembled(seen) == [Call("call_a", "weather", "")]
    assert TOOL_CALL_ARGUMENTS_INVALID not in seen.report.anomalies


def test_a_name_in_pieces_is_not_a_name_repeated() -> None:
    """The mirror image of a repeated name: pieces that together are the name of a tool stay."""
    pieces = [fragment(0, "", id="call_a", name="wea"), {"index": 0, "function": {"name": "ther", "arguments": "{}"}}]

    assert assembled(seen_of(*pieces)) == [Call("call_a", "weather", "{}")]


def test_a_name_said_again_is_taken_away_for_the_helper_where_it_is_a_tool() -> None:
    """It joins names; for whoever looks for the name in each fragment it has to stay."""
    again = [A[0], {**A[1], "function": {**A[1]["function"], "name": "weather"}}, A[2]]

    assert fragments_of(seen_of(*again)) == [[each] for each in again]
    assert assembled(seen_of(*again, accumulated=True))[0].name == "weather"
    for tools in (frozenset[str](), frozenset({"weather", "weatherweather"})):
        seen = seen_of(*again, tools=tools, accumulated=True)
        assert assembled(seen)[0].name == "weatherweather"
        assert seen.outcome(TOOL_CALL_NAME_REPEATED) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize(
    "junk", ["text", 7, [None], ["x"], [[]], [{}], [{"index": 0}], {"a": 1}, [{"index": 0, "function": "f"}]]
)
def test_junk_for_tool_calls_is_reported_and_harms_nothing_else(junk: Any) -> None:
    """Whatever stands there, the rest of the stream is read."""
    chunks = [begin(), chunk({"tool_calls": junk}), chunk({"content": "One"}), chunk({}, "stop")]
    seen = watch("chat", body(chunks))

    assert seen.payloads[2]["choices"][0]["delta"]["content"] == "One"
    assert seen.report.verdict is Verdict.COMPLETE
    assert {TOOL_CALL_MALFORMED, TOOL_CALL_HEADER_INCOMPLETE, TOOL_CALL_INDEX_MISSING, TOOL_CALL_INDEX_SPARSE} & set(
        seen.report.anomalies
    )


def test_a_header_that_comes_before_its_function_is_not_malformed() -> None:
    """An id now and a name later is an incomplete header, of a dialect; nothing in it has a wrong type."""
    seen = seen_of({"index": 0, "id": "call_a", "type": "function"}, fragment(0, "{}", name="weather"))

    assert assembled(seen) == [Call("call_a", "weather", "{}")]
    assert seen.faults == set()


def test_parallel_calls_that_alternate_are_legal() -> None:
    """Reported as a hazard, and put together by their index as ever."""
    seen = seen_of(A[0], B[0], A[1], B[1], A[2], B[2])

    assert assembled(seen) == BOTH
    assert TOOL_CALLS_INTERLEAVED in seen.report.anomalies
    assert not seen.faults


def test_arguments_that_stop_short_make_the_stream_a_truncated_one() -> None:
    """A call that looks complete and is not must not be run: finish_reason says nothing about it."""
    seen = seen_of(*A[:2])

    assert seen.report.verdict is Verdict.TRUNCATED
    assert TOOL_CALL_ARGUMENTS_INVALID in seen.report.anomalies


def test_the_two_choices_of_a_stream_have_calls_of_their_own() -> None:
    """Indexes are counted in each choice for itself."""
    wrong = [{**each, "index": each["index"] + 1} for each in A]
    chunks = [begin(0), begin(1)]
    for mine, other in zip(A, wrong, strict=True):
        chunks += [chunk({"tool_calls": [mine]}), chunk({"tool_calls": [other]}, index=1)]
    chunks += [chunk({}, "tool_calls"), chunk({}, "tool_calls", index=1)]
    seen = watch("chat", body(chunks), request=Request(n=2))
    said = Said("", "tool_calls", BOTH[:1])

    assert read("chat", seen.delivered).said == {0: said, 1: said}


# --- each repair can be switched off, and fails without harm

#: A policy, and the fragments of `tool_calls`, each of a chunk, that show the kind that it leaves out.
OFF: dict[str, list[Any]] = {
    "tool_call_index_missing": [[{k: v for k, v in each.items() if k != "index"}] for each in A],
    "tool_call_index_reused": [[{**each, "index": 0}] for each in (*A, *B)],
    "tool_call_index_sparse": [[{**each, "index": 1}] for each in A],
    "tool_call_header_incomplete": [
        [{**fragment(0, "", id="call_a"), "type": "function"}],
        [{"index": 0, "function": {"name": "weather", "arguments": "{}"}}],
    ],
    "tool_call_name_repeated": [
        [A[0]],
        [{"index": 0, "function": {"name": "weather", "arguments": '{"city":'}}],
        [A[2]],
    ],
    "tool_call_malformed": [*A],
    "tool_call_fragment_irregular": [
        [A[0]],
        None,
        [],
        [{**A[1], "id": None}],
        [A[2]],
        [fragment(0, ""), fragment(0, "")],
    ],
}


def of_chunks(*tool_calls: Any, repair: str = "default", finish: str = "tool_calls", **known: Any) -> Seen:
    """An answer whose chunks have these `tool_calls`."""
    wire = [begin(content=None), *(chunk({"tool_calls": each}) for each in tool_calls), chunk({}, finish)]
    return watch("chat", body(wire), repair, request=Request(tools=TOOLS, **known))


def fragments_of(seen: Seen) -> list[Any]:
    """What was handed on as `tool_calls`, chunk by chunk."""
    deltas = [payload["choices"][0]["delta"] for payload in seen.payloads]
    return [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]


@pytest.mark.parametrize("kind", OFF)
def test_a_repair_of_a_call_can_be_switched_off(kind: str) -> None:
    """`-kind`: every fragment as it came, and the kind is counted all the same; without it, something is repaired."""
    known = {"accumulated": True, "joins_fragments": False}
    off, on = (of_chunks(*OFF[kind], repair=repair, **known) for repair in (f"default,-{kind}", "default"))  # type: ignore[arg-type]
    verified = KINDS[kind].evidence is Evidence.ARGUMENTS

    assert fragments_of(off) == OFF[kind]
    assert off.outcome(KINDS[kind]) == {Outcome.UNREPAIRED}
    assert fragments_of(on) != OFF[kind]
    assert on.outcome(KINDS[kind]) == {Outcome.VERIFIED if verified else Outcome.UNVERIFIED}


def test_null_arguments_stay_for_all_but_the_helper() -> None:
    """The one member of a fragment that every reader adds up."""
    wire = [[{**A[0], "function": {"name": "weather", "arguments": None}}], [A[1]], [A[2]]]

    assert fragments_of(of_chunks(*wire)) == wire
    helped = of_chunks(*wire, accumulated=True)
    assert fragments_of(helped)[0][0]["function"] == {"name": "weather", "arguments": ""}


def test_a_fragment_without_index_belongs_to_the_call_of_its_id() -> None:
    """Whatever came last."""
    stray = {"id": "call_a", "function": {"arguments": '"Paris"}'}}
    seen = seen_of(A[0], A[1], *B, stray)

    assert assembled(seen)[0].arguments == BOTH[0].arguments
    assert seen.outcome(TOOL_CALL_INDEX_MISSING) == {Outcome.VERIFIED}


@pytest.mark.parametrize(
    ("first", "second", "rest", "whose"),
    [
        ('{"city":', '{"city":"Lima"}', '"Oslo"}', 0),
        ('{"city":"Oslo"}', '{"city":', '"Lima"}', 1),
        ('{"city":', "", '{"city":"Lima"}', 1),
        ('{"x":', '{"y":', "2}", None),
    ],
)
def test_the_rest_of_a_call_that_says_nothing_goes_to_the_only_one_that_is_open(
    first: str, second: str, rest: str, whose: int | None
) -> None:
    """Where two can go on with it, to none: a call of which nobody knows that it was meant must not look whole."""
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": text}}
        for name, text in (("a", first), ("b", second))
    ]
    seen = seen_of(*calls, {"function": {"arguments": rest}})
    last = fragments_of(seen)[-1][0]

    assert last.get("index") == whose


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("every", [True, False])
def test_a_role_on_every_chunk_is_no_other_choice_where_each_has_an_index(count: int, every: bool) -> None:
    """Two calls under one index, in each of the choices that were asked for."""
    role = {"role": "assistant"} if every else {}
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        *({**role, "tool_calls": [fragment(0, f'{{"at":{at}}}', id=f"call_{at}", name="weather")]} for at in range(2)),
    ]
    chunks = [chunk(delta, index=index) for delta in deltas for index in range(count)]
    wire = [*chunks, *(chunk({}, "tool_calls", index=index) for index in range(count))]
    seen = watch("chat", body(wire), request=Request(n=count, tools=frozenset({"weather"})))

    for index in range(count):
        fragments = [
            each["index"]
            for payload in seen.payloads
            for choice in payload["choices"]
            if choice["index"] == index
            for each in choice["delta"].get("tool_calls", ())
        ]
        assert fragments == [0, 1]


@pytest.mark.parametrize("repair", ["default", "default,-tool_call_index_sparse"])
def test_a_fragment_under_an_index_that_nobody_opened_is_not_guessed(repair: str) -> None:
    """Two calls are open: it may be of either."""
    seen = of_chunks([A[0]], [A[1]], [B[0]], [B[1]], [fragment(7, '"x"}')], repair=repair)

    assert fragments_of(seen)[-1] == [fragment(7, '"x"}')]
    assert seen.outcome(TOOL_CALL_INDEX_SPARSE) == {Outcome.UNREPAIRED}


# --- arguments

DESTROYED = "Caf\ufffd"


@pytest.mark.parametrize("first", [True, False], ids=["in the first fragment", "later"])
def test_destroyed_characters_in_arguments_are_told(first: bool) -> None:
    """U+FFFD, on the shortest way and on the longest."""
    pieces = ['{"city":"' + DESTROYED, '"}'] if first else ['{"city":"', DESTROYED, '"}']
    fragments = [fragment(0, pieces[0], id="call_a", name="weather"), *(fragment(0, piece) for piece in pieces[1:])]
    seen = seen_of(*fragments)

    assert seen.report.anomalies[CONTENT_UNDECODABLE] == 1
    assert assembled(seen)[0].arguments == '{"city":"' + DESTROYED + '"}'


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["{}", '{"a":1}'], '{"a":1}'),
        ([" {} ", "\n", '{"a":1}'], ' {} \n{"a":1}'),
        (["{}", "x"], "{}x"),
        (["{}"], "{}"),
        (['{"a":1}', '{"a"', ":1}"], '{"a":1}'),
        (['{"a":1}', '{"a"', ":2}"], '{"a":1}{"a":2}'),
        (['{"a":1}', '{"a"'], '{"a":1}{"a"'),
        (['{"a":1}', "x"], '{"a":1}x'),
        (['{"a"', ":1}", '{"a":1}', '{"a":1}'], '{"a":1}'),
    ],
    ids=range(9),
)
def test_arguments_that_are_said_again_are_left_out_and_no_others(pieces: list[str], said: str) -> None:
    """`{}` before the real ones, or all a second time, in any pieces; what only began like it is handed on."""
    seen = seen_of(
        fragment(0, "", id="call_a", name="weather"), *(fragment(0, piece) for piece in pieces), repair="all"
    )

    assert assembled(seen)[0].arguments == said
    unharmed = seen_of(fragment(0, "", id="call_a", name="weather"), *(fragment(0, piece) for piece in pieces))
    assert assembled(unharmed)[0].arguments == "".join(pieces)


def test_what_may_be_said_again_goes_on_before_the_next_call() -> None:
    """Held back as a repetition, and then the call was over."""
    again = [*A, fragment(0, '{"ci'), *B]
    seen = seen_of(*again, repair="all")

    assert [call.arguments for call in assembled(seen)] == [BOTH[0].arguments + '{"ci', BOTH[1].arguments]


EMPTY_A = [fragment(0, "{}", id="call_a", name="weather")]
EMPTY_B = [fragment(1, "{}", id="call_b", name="time")]


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"tool_calls": EMPTY_A}, "tool_calls")],
        [chunk({"tool_calls": EMPTY_A + EMPTY_B}, "tool_calls")],
        [chunk({"tool_calls": EMPTY_A + EMPTY_B}), chunk({}, "tool_calls")],
        [chunk({"tool_calls": EMPTY_A}), chunk({"tool_calls": EMPTY_B}, "tool_calls")],
        [
            chunk({"tool_calls": tool_call(0, "call_a", "weather")}),
            chunk({"tool_calls": [fragment(0, "{}")]}, "tool_calls"),
        ],
    ],
    ids=["whole at the end", "two at the end", "two", "one a chunk", "arguments at the end"],
)
def test_an_empty_object_is_not_parted_from_its_call(chunks: list[Payload]) -> None:
    """All policies: no anomaly is made of it, and in no chunk do arguments come before the header of their call."""
    seen = watch("chat", body([begin(content=""), *chunks]), repair="all")
    opened = set()
    for payload in seen.payloads:
        for each in payload["choices"][0]["delta"].get("tool_calls") or ():
            opened |= {each["index"]} if each.get("id") else set()
            assert each["index"] in opened

    assert {call.arguments for call in assembled(seen)} == {"{}"}
    assert not [kind for kind in seen.report.anomalies if kind.severity is not Severity.HAZARD]


def test_empty_objects_of_interleaved_calls_stay_in_their_fragments() -> None:
    """Held back, both of them, and both given back where they came."""
    headers = [fragment(0, "", id="call_a", name="weather"), fragment(1, "", id="call_b", name="time")]
    both = [fragment(0, "{}"), fragment(1, "{}")]
    chunks = [begin(content=""), chunk({"tool_calls": headers}), chunk({"tool_calls": both}, "tool_calls")]
    seen = watch("chat", body(chunks), repair="all")

    assert both == seen.payloads[-1]["choices"][0]["delta"]["tool_calls"]


def test_a_call_without_arguments_can_get_an_empty_object() -> None:
    """On request: `json.loads("")` raises, and `{}` is what the model meant."""
    seen = seen_of(*tool_call(0, "call_a", "weather"), *B, repair="all")

    assert [call.arguments for call in assembled(seen)] == ["{}", BOTH[1].arguments]
    assert TOOL_CALL_ARGUMENTS_INVALID not in seen.report.anomalies


#: Arguments that are no JSON, and whether more of them could make it so.
CUT = [
    *[('{"city"', True), ('{"city":"Par', True), ('{"a":[1,2', True), ('{"a": ', True)],
    *[('{"a":tru', True), ('{"a":-', True), ('{"a":1.', True), ('{"a":1e+', True), ('{"a":"\\u00', True)],
    *[
        ('{"a":1}x', False),
        ('{"a":"\\q"}', False),
        ('{"a":"\\u0x9"}', False),
        ('{"a":}', False),
        ('{"a":1} \u00a0', False),
    ],
    *[("[" * 9000, False), ("[" + "1" * 5000, False)],  # deeper and longer than Python reads
]


@given(ARGUMENTS, st.booleans())
@often
def test_every_beginning_of_arguments_is_one(arguments: Payload, ascii_only: bool) -> None:
    """Wherever a text of JSON is cut: amid a word, a number or an escape."""
    text = json.dumps(arguments, ensure_ascii=ascii_only)

    assert [text[:at] for at in range(len(text)) if not begins_json(text[:at])] == []
    assert not begins_json(text)


@pytest.mark.parametrize(("arguments", "cut"), CUT, ids=range(len(CUT)))
def test_arguments_that_are_cut_are_told_from_those_that_are_wrong(arguments: str, cut: bool) -> None:
    """The beginning of a JSON text makes a truncated stream; what no more text could mend does not."""
    seen = seen_of(*tool_call(0, "call_a", "weather", arguments))

    assert seen.report.anomalies[TOOL_CALL_ARGUMENTS_INVALID] == 1
    assert (seen.report.verdict is Verdict.TRUNCATED) == cut


# --- what a fragment may look like


@pytest.mark.parametrize(("odd", "stays"), [(None, False), ("x", True), (7, True), ([], True)], ids=str)
def test_a_fragment_that_is_null_is_dropped_for_the_helper_and_one_of_another_type_is_not(
    odd: object, stays: bool
) -> None:
    """null says nothing, and the helper raises on it; what the others say is not known."""
    reader, helper = (of_chunks([A[0], odd], [A[1]], [A[2]], accumulated=each) for each in (False, True))

    assert fragments_of(reader)[0] == [A[0], odd]
    assert fragments_of(helper)[0] == [A[0], odd][: 1 + stays]
    assert helper.outcome(TOOL_CALL_MALFORMED) == {Outcome.UNREPAIRED if stays else Outcome.VERIFIED}


@pytest.mark.parametrize(
    ("odd", "stays"),
    [({"index": 0}, False), ({"index": 0, "function": None}, False), ({"index": 0, "function": "f"}, True)],
    ids=str,
)
def test_a_fragment_without_a_function_is_dropped_for_the_helper_if_it_says_nothing(odd: Payload, stays: bool) -> None:
    """An index alone is nothing; a function that is a text may be something."""
    wire = [[A[0]], [odd], [A[1]], [A[2]]]
    reader, helper = (of_chunks(*wire, accumulated=each) for each in (False, True))

    assert fragments_of(reader) == wire
    assert fragments_of(helper) == [[A[0]], *([[odd]] if stays else []), [A[1]], [A[2]]]
    assert helper.outcome(TOOL_CALL_MALFORMED) == {Outcome.UNREPAIRED if stays else Outcome.VERIFIED}


def custom(index: Any, input: str, **header: Any) -> Payload:
    """One fragment of a call of a custom tool."""
    head = {"id": header["id"], "type": "custom"} if header else {}
    return {"index": index, **head, "custom": {**({"name": header["name"]} if header else {}), "input": input}}


@pytest.mark.parametrize("repair", ["default", "all"])
@pytest.mark.parametrize("index", [0, None, "0"], ids=repr)
def test_a_call_of_a_custom_tool_is_let_be(index: Any, repair: str) -> None:
    """Its input stands in a member of its own, is no JSON, and comes in pieces like arguments."""
    fragments = [custom(index, "", id="call_a", name="run"), custom(index, "ls "), custom(index, "-l")]
    seen = of_chunks(*([each] for each in fragments), repair=repair)

    assert fragments_of(seen) == [[each] for each in fragments]
    assert {kind for kind in seen.report.kinds if kind.startswith("tool_")} == set()


def test_functions_and_custom_tools_are_numbered_together() -> None:
    """A function after a custom tool has the next index, and the other way round."""
    calls = [custom(0, "ls", id="call_0", name="run"), *B, custom(2, "", id="call_2", name="run"), custom(2, "ls")]
    calls += [fragment(3, "{}", id="call_3", name="weather")]
    seen = of_chunks(*([each] for each in calls))

    assert fragments_of(seen) == [[each] for each in calls]
    assert seen.faults == set()


def test_a_call_without_an_index_gets_none_that_a_custom_tool_has() -> None:
    """The custom tool's call keeps the index that it came under."""
    header = {k: v for k, v in A[0].items() if k != "index"}
    seen = of_chunks([custom(1, "ls", id="call_c", name="run")], [header])
    (first,), (second,) = fragments_of(seen)

    assert (first["index"], second["index"]) == (1, 2)
    assert seen.outcome(TOOL_CALL_INDEX_MISSING) == {Outcome.UNVERIFIED}


def test_more_calls_of_custom_tools_than_are_remembered_are_handed_on() -> None:
    """As of functions."""
    calls = [custom(index, "ls", id=f"call_{index}", name="run") for index in range(300)]
    seen = of_chunks(*([each] for each in calls))

    assert fragments_of(seen) == [[each] for each in calls]
    assert seen.faults == set()


def test_calls_that_alternate_are_counted_where_they_do() -> None:
    """Going back to an earlier call counts; going on with it does not."""
    seen = seen_of(A[0], B[0], A[1], A[2], B[1], B[2])

    assert seen.report.anomalies[TOOL_CALLS_INTERLEAVED] == 1
    assert assembled(seen) == BOTH


def test_a_name_alone_opens_a_call() -> None:
    """Without index and id: the next name opens the next call."""
    seen = of_chunks([fragment(None, "{}", name="weather")], [fragment(None, '{"a":1}', name="time")])

    assert [(call.name, call.arguments) for call in assembled(seen)] == [("weather", "{}"), ("time", '{"a":1}')]


def test_a_call_that_was_opened_without_an_index_has_the_next_one() -> None:
    """A later fragment may name it."""
    header = {k: v for k, v in A[0].items() if k != "index"}
    seen = of_chunks([header], [A[1]], [A[2]])

    assert assembled(seen) == BOTH[:1]
    assert TOOL_CALL_INDEX_SPARSE not in seen.report.anomalies


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": []},
        {"tool_calls": [fragment(0, "")]},
        {"tool_calls": [{"index": 0, "id": "", "type": "function", "function": {"arguments": None}}]},
        {"function_call": {"name": "", "arguments": ""}},
    ],
    ids=str,
)
def test_what_comes_behind_the_finish_reason_and_says_nothing_is_no_more_of_a_call(delta: Payload) -> None:
    """ainovel-cli#52, workbuddy-gateway#3: DashScope and gateways close a call with a fragment that is empty."""
    wire = [begin(), chunk({"tool_calls": A}), chunk({}, "tool_calls"), chunk(delta)]
    seen = watch("chat", body(wire), request=Request(n=1, tools=TOOLS))

    assert not seen.faults
    assert assembled(seen) == BOTH[:1]


@pytest.mark.parametrize("pieces", [[], ['{"a":', "1}"]], ids=len)
def test_an_empty_object_for_arguments_stays_as_it_is(pieces: list[str]) -> None:
    """It may mean no arguments, or none yet: `arguments or ""` reads both."""
    wire = [{**A[0], "function": {"name": "weather", "arguments": {}}}, *(fragment(0, piece) for piece in pieces)]
    seen = seen_of(*wire)

    assert [each for (each,) in fragments_of(seen)] == wire
    assert seen.outcome(TOOL_CALL_MALFORMED) == {Outcome.UNREPAIRED}
    assert TOOL_CALL_ARGUMENTS_INVALID not in seen.report.anomalies


@pytest.mark.parametrize(
    ("before", "arguments", "mended"),
    [("", {"a": "é"}, '{"a": "é"}'), ("", [1], "[1]"), ("", 7, 7), ("", True, True), ("{", {"a": 1}, {"a": 1})],
    ids=str,
)
def test_arguments_that_are_whole_become_text(before: str, arguments: object, mended: object) -> None:
    """An object or a list in the place of its JSON; anything else, or amid a text, is not guessed."""
    seen = of_chunks([fragment(0, before, id="call_a", name="weather")], [fragment(0, arguments)])  # type: ignore[arg-type]

    assert fragments_of(seen)[1][0]["function"] == {"arguments": mended}
    # That what was written here parses proves nothing.
    assert seen.outcome(TOOL_CALL_MALFORMED) == {Outcome.UNVERIFIED if isinstance(mended, str) else Outcome.UNREPAIRED}


@pytest.mark.parametrize("accumulated", [True, False])
@pytest.mark.parametrize("more", [[{"b": 1}], [{"a": 1, "b": 1}], [{"b": 1}, {"c": 1}], ['{"b": 1}']], ids=str)
def test_objects_that_come_in_parts_stay_objects(more: list[Any], accumulated: bool) -> None:
    """Programs that know them make one of all; the first alone would be a call that nobody made."""
    wire = [fragment(0, None, id="call_a", name="weather"), *(fragment(0, None) for _ in more)]
    for each, arguments in zip(wire, [{"a": 1}, *more], strict=True):
        each["function"]["arguments"] = arguments
    seen = watch("chat", body(called(*wire)), request=Request(accumulated=accumulated))
    fragments = [each for payload in seen.payloads for each in payload["choices"][0]["delta"].get("tool_calls") or ()]

    assert [each["function"]["arguments"] for each in fragments] == [{"a": 1}, *more]
    assert seen.outcome(TOOL_CALL_MALFORMED) == {Outcome.UNREPAIRED}


def test_pieces_of_an_object_without_an_index_are_of_the_last_call() -> None:
    """All of them, or none: a call of which some have an index would be two."""
    wire = [fragment(0, None, id="call_a", name="weather"), *(fragment(None, None) for _ in range(3))]
    for each in wire:
        each["function"]["arguments"] = {"input": "a"}
    seen = watch("chat", body(called(*wire)))
    fragments = [each for payload in seen.payloads for each in payload["choices"][0]["delta"].get("tool_calls") or ()]

    assert [each["index"] for each in fragments] == [0, 0, 0, 0]
