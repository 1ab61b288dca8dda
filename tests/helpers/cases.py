"""The acceptance cases: a wire, what must be found in it, and what a consumer must end up with.

Every case is built from a healthy stream by breaking it in one way. `found` names the kinds that
must be reported, each with the one outcome that it must have, or None where that is not the point
and for a kind without a repair, which has no outcome;
hazards and dialects may be reported beside them, faults may not. `answer` is what a consumer of the
repaired stream has in the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.stream_builders import (
    DONE,
    Answer,
    Call,
    Payload,
    Said,
    answered,
    bare,
    begin,
    body,
    called,
    chunk,
    completion,
    fragment,
    function_call,
    message,
    named,
    numbered,
    reasoning,
    response,
    run,
    said,
    sse,
    stamped,
    texts,
    tool_call,
    turn,
    usage_chunk,
)
from streamwatch.core import kinds as a
from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Outcome, Verdict

VERIFIED, UNVERIFIED, FAILED, UNREPAIRED = Outcome
COMPLETE, TRUNCATED, ERROR, EMPTY = Verdict.COMPLETE, Verdict.TRUNCATED, Verdict.ERROR, Verdict.EMPTY

PARIS, ROME = '{"city":"Paris"}', '{"city":"Rome"}'
TWO_CALLS = [Call("call_a", "weather", PARIS), Call("call_b", "time", ROME)]
TOOLS = frozenset({"weather", "time"})
#: The SDK's accumulating helper reads the stream: it alone needs some repairs.
HELPER = Request(n=1, tools=TOOLS, accumulated=True, joins_fragments=False)


@dataclass(frozen=True)
class Case:
    """One wire, and all that is expected of it."""

    name: str
    api: str
    wire: bytes
    found: Mapping[AnomalyKind, Outcome | None]
    answer: Answer
    verdict: Verdict = COMPLETE
    request: Request = field(default_factory=lambda: Request(tools=TOOLS))
    repair: str = "default"
    error: BaseException | None = None

    def __repr__(self) -> str:
        return self.name


def plain(text: str, finish: str | None = "stop", role: str | None = "assistant") -> Answer:
    """The answer that is one text."""
    return Answer({0: Said(text, finish, role=role)})


def two_calls(finish: str = "tool_calls", text: str = "") -> Answer:
    """The answer of the two calls that most cases of tool calls are about."""
    return Answer({0: Said(text, finish, TWO_CALLS)})


def raises(text: str = "", error: str = "APIError", finish: str | None = None) -> Answer:
    """The answer cut short by an exception of the SDK."""
    return Answer({0: Said(text, finish)} if text else {}, error)


def chat(
    name: str,
    found: Mapping[AnomalyKind, Outcome | None],
    chunks: bytes | list[Payload],
    answer: Answer | str,
    verdict: Verdict = COMPLETE,
    **more: Any,
) -> Case:
    """A case of chat completions."""
    wire = chunks if isinstance(chunks, bytes) else body(chunks)
    return Case(name, "chat", wire, found, plain(answer) if isinstance(answer, str) else answer, verdict, **more)


def responses(
    name: str,
    found: Mapping[AnomalyKind, Outcome | None],
    events: bytes | list[Payload],
    answer: Answer | str,
    verdict: Verdict = COMPLETE,
    **more: Any,
) -> Case:
    """A case of the Responses API."""
    wire = events if isinstance(events, bytes) else named(events)
    answer = plain(answer, "completed") if isinstance(answer, str) else answer
    return Case(name, "responses", wire, found, answer, verdict, **more)


def picked(events: list[Payload], *order: int) -> list[Payload]:
    """`events` with their beginning in this order; the rest follows as it was."""
    return [*(events[place] for place in order), *events[max(order) + 1 :]]


def changed(payload: Payload, **members: Any) -> Payload:
    """A payload with members of its only choice exchanged; None takes one away."""
    choice = {name: value for name, value in {**payload["choices"][0], **members}.items() if value is not ...}
    return {**payload, "choices": [choice]}


def without(events: list[Payload], *types: str) -> list[Payload]:
    """Events but those of these types."""
    return [event for event in events if event["type"] not in types]


# 0 created, 1 in_progress, 2 item added, 3 part added, 4-7 deltas, 8 text done, 9 part done, 10 item done, 11 completed
ONE = answered("One ", "two ", "three ", "four")
FOUR = "One two three four"
# 0 begin, 1-4 texts, 5 finish
CHAT = said("One ", "two ", "three ", "four")
BACK = {a.SEQUENCE_OUT_OF_ORDER: VERIFIED}
CALLED = numbered(
    response(reasoning(0, "Think ", "twice"), function_call(1, "weather", '{"city"', ':"Paris"}'), message(2, "Done"))
)

ITEMS_OF_REASONING = Answer({0: Said("", "completed", role=None)})
ITEMS = Answer(
    {
        0: Said("", "completed", role=None),
        1: Said("", "completed", [Call("call_1", "weather", PARIS)], role=None),
        2: Said("Done", "completed"),
    }
)

ORDER = [
    responses("order-expected-5-but-got-7", BACK, picked(ONE, 0, 1, 2, 3, 4, 7, 5, 6), FOUR),
    responses("order-two-deltas-swapped", BACK, picked(ONE, 0, 1, 2, 3, 5, 4), FOUR),
    responses("order-deltas-reversed", BACK, picked(ONE, 0, 1, 2, 3, 7, 6, 5, 4), FOUR),
    responses("order-terminal-event-early", BACK, picked(ONE, 0, 1, 2, 3, 4, 5, 6, 11, 7, 8, 9, 10), FOUR),
    responses("order-delta-before-its-item", BACK, picked(ONE, 0, 1, 4, 2, 3), FOUR),
    responses("order-swapped-at-the-very-start", BACK, picked(ONE, 1, 0), FOUR),
    responses("order-two-waits", BACK, picked(ONE, 0, 1, 2, 4, 3, 5, 7, 6), FOUR),
    responses("order-one-event-very-late", BACK, picked(ONE, 0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 4), FOUR),
    responses(
        "order-across-items",
        BACK,
        picked(CALLED, 0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 11, 12, 10, 14, 13),
        ITEMS,
    ),
    *(
        chat(f"order-of-chat-stamped-{name}", BACK, picked(stamped(CHAT, name), 0, 1, 2, 4, 3), FOUR)
        for name in ("sequence_number", "sequence", "seq", "chunk_index", "index")
    ),
    *(
        chat(
            f"order-of-chat-from-{start}-swapped-at-the-very-start",
            BACK,
            picked(stamped(CHAT, "seq", start), 1, 0),
            FOUR,
        )
        for start in (0, 1, 1000)
    ),
    chat("order-of-chat-finish-first", BACK, picked(stamped(CHAT), 5, 0, 2, 1, 4, 3), FOUR),
    chat(
        "order-of-chat-beside-a-count-of-choices",
        BACK,
        picked([{**each, "index": 0} for each in stamped(CHAT)], 1, 0, 3, 2),
        FOUR,
    ),
    responses(
        "order-of-numbers-in-strings",
        BACK,
        picked([{**event, "sequence_number": str(event["sequence_number"])} for event in ONE], 0, 1, 2, 3, 5, 4),
        FOUR,
    ),
    responses(
        "order-around-frames-without-a-number",
        BACK | {a.KEEPALIVE_FRAME: None},
        named([*ONE[:4], {"type": "keepalive"}, ONE[5], {"type": "keepalive"}, ONE[4], *ONE[6:]]),
        FOUR,
    ),
    chat("order-of-chat-stamped-from-5", BACK, picked(stamped(CHAT, "seq", 5), 0, 1, 2, 4, 3), FOUR),
    chat(
        "order-of-chat-by-sse-id",
        BACK,
        b"".join(sse(CHAT[number], id=number) for number in (0, 1, 2, 4, 3, 5)) + DONE,
        FOUR,
    ),
    chat(
        "order-of-chat-finish-early",
        BACK,
        picked(stamped(CHAT), 0, 1, 2, 5, 3, 4),
        FOUR,
    ),
    chat(
        "order-of-stamped-tool-calls",
        BACK,
        picked(
            stamped(
                called(
                    *tool_call(0, "call_a", "weather", '{"city":', '"Paris"}'),
                    *tool_call(1, "call_b", "time", '{"city":', '"Rome"}'),
                )
            ),
            *(0, 1, 2, 4, 3, 6, 5, 7),
        ),
        two_calls(),
    ),
]

TURN = turn("One ", "two")
#: A session tells its failures as events like any other.
AGENT_ERROR: Payload = {"type": "error", "event_id": "e", "session_id": "asess_1", "error": {"message": "Overloaded"}}

NUMBERS = [
    responses("gap-one-delta-lost", {a.SEQUENCE_GAP: None}, ONE[:5] + ONE[6:], "One three four"),
    responses("gap-5-and-6-never-came", {a.SEQUENCE_GAP: None}, ONE[:5] + ONE[7:], "One four"),
    responses(
        "gap-only-done-events-lost", {a.SEQUENCE_GAP: None, a.RESPONSE_EVENT_MISSING: None}, ONE[:8] + ONE[10:], FOUR
    ),
    responses("gap-twice", {a.SEQUENCE_GAP: None}, ONE[:5] + ONE[6:7] + ONE[8:], "One three "),
    chat("gap-in-stamped-chat", {a.SEQUENCE_GAP: None}, stamped(CHAT)[:3] + stamped(CHAT)[4:], "One two four"),
    responses("duplicate-of-a-delta", {a.SEQUENCE_DUPLICATE: VERIFIED}, ONE[:6] + ONE[5:], FOUR),
    responses("duplicates-of-a-resumed-relay", {a.SEQUENCE_DUPLICATE: VERIFIED}, ONE[:8] + ONE[4:], FOUR),
    responses("duplicate-of-the-terminal-event", {a.SEQUENCE_DUPLICATE: VERIFIED}, ONE + ONE[-1:], FOUR),
    responses(
        "duplicate-while-another-waits", {a.SEQUENCE_DUPLICATE: VERIFIED} | BACK, picked(ONE, *range(6), 7, 7, 6), FOUR
    ),
    chat("duplicate-in-stamped-chat", {a.SEQUENCE_DUPLICATE: VERIFIED}, picked(stamped(CHAT), 0, 1, 2, 3, 3, 2), FOUR),
    Case(
        "events-of-an-agent-repeated",
        "agents",
        named(TURN[:8] + TURN[7:]),
        {a.EVENT_REPEATED: UNREPAIRED},
        plain("One One two", "completed"),
    ),
    responses("numbers-absent", {a.SEQUENCE_UNUSABLE: None}, response(message(0, "One ", "two")), "One two"),
    responses(
        "numbers-all-0",
        {a.SEQUENCE_UNUSABLE: None},
        [{**event, "sequence_number": 0} for event in response(message(0, "One ", "two"))],
        "One two",
    ),
    responses(
        "numbers-start-again-at-0",
        {a.SEQUENCE_UNUSABLE: None},
        ONE[:4] + numbered([{k: v for k, v in event.items() if k != "sequence_number"} for event in ONE[4:]]),
        FOUR,
    ),
    responses(
        "numbers-in-strings",
        {},
        [{**event, "sequence_number": str(event["sequence_number"])} for event in ONE],
        FOUR,
    ),
    responses(
        "number-missing-on-one-event",
        {a.SEQUENCE_UNUSABLE: None},
        [*ONE[:5], {**ONE[5], "sequence_number": None}, *ONE[6:]],
        FOUR,
    ),
]

FILLED = {a.CONTENT_ABSENT: UNVERIFIED}
CONTENT = [
    chat(
        "content-absent-in-tool-call-deltas",
        FILLED,
        called(*tool_call(0, "c", "weather", PARIS)),
        Answer({0: Said("", "tool_calls", [Call("c", "weather", PARIS)])}),
    ),
    chat("content-absent-in-the-role-chunk", FILLED, [chunk({"role": "assistant"}), *CHAT[1:]], FOUR),
    chat("content-absent-in-the-finish-chunk", FILLED, CHAT, FOUR),
    chat("content-absent-in-the-middle", FILLED, [*CHAT[:3], chunk({}), *CHAT[3:]], FOUR),
    chat("content-null-in-the-role-chunk", {a.CONTENT_NULL: UNVERIFIED}, [begin(content=None), *CHAT[1:]], FOUR),
    chat(
        "content-null-in-the-finish-chunk",
        {a.CONTENT_NULL: UNVERIFIED},
        [*CHAT[:5], chunk({"content": None}, "stop")],
        FOUR,
    ),
    chat(
        "content-null-beside-tool-calls",
        {a.CONTENT_NULL: UNVERIFIED},
        [
            begin(content=None),
            chunk({"content": None, "tool_calls": tool_call(0, "c", "weather")}),
            chunk({"content": None, "tool_calls": [fragment(0, PARIS)]}, "tool_calls"),
        ],
        Answer({0: Said("", "tool_calls", [Call("c", "weather", PARIS)])}),
    ),
    chat("content-undecodable", {a.CONTENT_UNDECODABLE: None}, said("Caf\ufffd", "\ufffd!"), "Caf\ufffd\ufffd!"),
    chat("choices-empty-on-the-usage-chunk", {a.CHOICES_EMPTY: None}, [*CHAT, usage_chunk()], FOUR),
    chat(
        "choices-empty-on-azure-first-chunk",
        {a.CHOICES_EMPTY: None},
        [bare(id="", object="", model="", created=0, prompt_filter_results=[{"prompt_index": 0}]), *CHAT],
        FOUR,
    ),
    chat(
        "choices-null",
        {a.CHOICES_EMPTY: UNVERIFIED},
        [*CHAT, {**usage_chunk(), "choices": None}],
        FOUR,
        request=HELPER,
    ),
    chat(
        "choices-absent",
        {a.CHOICES_EMPTY: UNVERIFIED},
        [*CHAT[:2], {k: v for k, v in bare().items() if k != "choices"}, *CHAT[2:]],
        FOUR,
        request=HELPER,
    ),
    chat(
        "delta-absent",
        {a.DELTA_MISSING: UNVERIFIED},
        [*CHAT, changed(chunk(), delta=..., content_filter_offsets={"check_offset": 4})],
        FOUR,
        request=HELPER,
    ),
    chat(
        "delta-null",
        {a.DELTA_MISSING: UNVERIFIED},
        [*CHAT[:5], changed(CHAT[5], delta=None)],
        FOUR,
        request=HELPER,
    ),
    chat(
        "message-instead-of-delta",
        {a.CONTENT_MISPLACED: UNVERIFIED},
        [changed(chunk(finish="stop"), delta=..., message={"role": "assistant", "content": FOUR})],
        FOUR,
    ),
    chat(
        "text-instead-of-delta",
        {a.CONTENT_MISPLACED: UNVERIFIED},
        [CHAT[0], *(changed(chunk(), delta=..., text=piece) for piece in ("One ", "two")), CHAT[5]],
        "One two",
    ),
]

_A, _B = (
    tool_call(0, "call_a", "weather", '{"city":', '"Paris"}'),
    tool_call(1, "call_b", "time", '{"city":', '"Rome"}'),
)


def at(indexes: Sequence[Any], fragments: list[Payload]) -> list[Payload]:
    """Fragments under other indexes; ... takes the index away."""
    return [
        {k: v for k, v in {**each, "index": index}.items() if v is not ...}
        for index, each in zip(indexes, fragments, strict=True)
    ]


WHOLE = [fragment(0, PARIS, id="call_a", name="weather"), fragment(1, ROME, id="call_b", name="time")]
MISSING = {a.TOOL_CALL_INDEX_MISSING: VERIFIED}
REUSED = {a.TOOL_CALL_INDEX_REUSED: VERIFIED}
SPARSE = {a.TOOL_CALL_INDEX_SPARSE: VERIFIED}
IRREGULAR = {a.TOOL_CALL_FRAGMENT_IRREGULAR: UNVERIFIED}
MALFORMED = {a.TOOL_CALL_MALFORMED: VERIFIED}
TOOL_CALLS = [
    chat("tool-index-absent", MISSING, called(*at([...] * 6, _A + _B)), two_calls()),
    chat("tool-index-null", MISSING, called(*at([None] * 6, _A + _B)), two_calls()),
    chat("tool-index-absent-whole-calls", MISSING, called(*at([...] * 2, WHOLE)), two_calls()),
    chat(
        "tool-index-absent-both-in-one-chunk",
        MISSING,
        [begin(), chunk({"tool_calls": at([...] * 2, WHOLE)}), chunk({}, "tool_calls")],
        two_calls(),
    ),
    chat("tool-index-always-0", REUSED, called(*at([0] * 6, _A + _B)), two_calls()),
    chat("tool-index-always-0-whole-calls", REUSED, called(*at([0] * 2, WHOLE)), two_calls()),
    chat("tool-index-always-1", {**REUSED, **SPARSE}, called(*at([1] * 6, _A + _B)), two_calls()),
    chat("tool-index-from-1", SPARSE, called(*at([1] * 3 + [2] * 3, _A + _B)), two_calls()),
    chat("tool-index-with-a-hole", SPARSE, called(*at([0] * 3 + [2] * 3, _A + _B)), two_calls()),
    chat("tool-index-negative", SPARSE, called(*at([-1] * 3 + [-2] * 3, _A + _B)), two_calls()),
    chat("tool-index-backwards", SPARSE, called(*at([1] * 3 + [0] * 3, _A + _B)), two_calls()),
    chat("tool-index-shifts-inside-a-call", SPARSE, called(*at([0, 1, 1, 2, 3, 3], _A + _B)), two_calls()),
    chat(
        "tool-fragment-nulls",
        IRREGULAR,
        called(
            _A[0],
            *({**each, "id": None, "type": None, "function": {**each["function"], "name": None}} for each in _A[1:]),
            *_B,
        ),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-fragment-empty-strings",
        IRREGULAR,
        called(_A[0], *({**each, "id": "", "type": ""} for each in _A[1:]), *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-fragment-arguments-null",
        IRREGULAR,
        called({**_A[0], "function": {"name": "weather", "arguments": None}}, *_A[1:], *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-fragment-without-type",
        IRREGULAR,
        called({k: v for k, v in _A[0].items() if k != "type"}, *_A[1:], *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-fragments-of-one-call-in-one-chunk",
        IRREGULAR,
        [begin(), chunk({"tool_calls": _A}), chunk({"tool_calls": _B}), chunk({}, "tool_calls")],
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-calls-empty-list",
        {a.TOOL_CALL_FRAGMENT_IRREGULAR: None},
        [CHAT[0], *(chunk({"content": piece, "tool_calls": []}) for piece in ("One ", "two")), CHAT[5]],
        "One two",
    ),
    chat(
        "tool-calls-null",
        {a.TOOL_CALL_FRAGMENT_IRREGULAR: None},
        [chunk({"role": "assistant", "content": "", "tool_calls": None}), *CHAT[1:]],
        FOUR,
    ),
    chat(
        "tool-calls-an-object",
        MALFORMED,
        [begin(), *(chunk({"tool_calls": each}) for each in _A + _B), chunk({}, "tool_calls")],
        two_calls(),
    ),
    chat(
        "tool-arguments-an-object",
        MALFORMED,
        called({**WHOLE[0], "function": {"name": "weather", "arguments": {"city": "Paris"}}}, WHOLE[1]),
        Answer({0: Said("", "tool_calls", [Call("call_a", "weather", '{"city": "Paris"}'), TWO_CALLS[1]])}),
    ),
    chat(
        "tool-function-null",
        MALFORMED,
        called(*_A, {"index": 0, "function": None}, *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-name-repeated",
        {a.TOOL_CALL_NAME_REPEATED: UNVERIFIED},
        called(_A[0], {**_A[1], "function": {**_A[1]["function"], "name": "weather"}}, _A[2], *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-id-changes-on-continuations",
        {a.TOOL_CALL_ID_CHANGED: VERIFIED},
        called(_A[0], *({**each, "id": f"call_{number}"} for number, each in enumerate(_A[1:])), *_B),
        two_calls(),
        request=HELPER,
    ),
    chat(
        "tool-calls-that-never-came",
        {a.TOOL_CALL_MISSING: None},
        [begin(), *texts("Wait"), chunk({}, "tool_calls")],
        plain("Wait", "tool_calls"),
    ),
    chat(
        "tool-arguments-cut",
        {a.TOOL_CALL_ARGUMENTS_INVALID: UNREPAIRED},
        called(*_A[:2]),
        Answer({0: Said("", "tool_calls", [Call("call_a", "weather", '{"city":')])}),
        TRUNCATED,
    ),
    chat(
        "tool-calls-interleaved",
        {a.TOOL_CALLS_INTERLEAVED: None},
        called(_A[0], _B[0], _A[1], _B[1], _A[2], _B[2]),
        two_calls(),
    ),
]

OVERLOADED = {"error": {"message": "Overloaded", "type": "server_error", "code": 503}}
LOST = ConnectionError("peer closed connection without sending complete message body")
ENDS = [
    chat("error-object", {a.ERROR_IN_STREAM: None}, body([*CHAT[:3], OVERLOADED]), raises("One two "), ERROR),
    chat("error-object-first", {a.ERROR_IN_STREAM: None}, body([OVERLOADED], done=False), raises(), ERROR),
    chat(
        "error-beside-choices",
        {a.ERROR_IN_STREAM: None},
        [*CHAT[:3], {**chunk({}, "error"), **OVERLOADED}],
        raises("One two "),
        ERROR,
    ),
    chat(
        "error-event-named",
        {a.ERROR_IN_STREAM: None},
        body(CHAT[:3], done=False) + sse(OVERLOADED, event="error"),
        raises("One two "),
        ERROR,
    ),
    responses(
        "error-event-of-responses",
        {a.ERROR_IN_STREAM: None},
        [*ONE[:6], {"type": "error", "code": "x", "message": "Overloaded", "param": None, "sequence_number": 6}],
        raises("One two "),
        ERROR,
    ),
    responses(
        "error-response-failed",
        {a.ERROR_IN_STREAM: None},
        numbered(response(message(0, "One"), status="failed")),
        plain("One", "failed"),
        ERROR,
    ),
    Case(
        "error-event-of-assistants",
        "assistants",
        run("One ", "two").split(b"event: thread.message.completed")[0] + sse(OVERLOADED, event="error"),
        {a.ERROR_IN_STREAM: None},
        raises("One two", finish="in_progress"),
        ERROR,
    ),
    Case(
        "error-and-failed-turn-of-an-agent",
        "agents",
        named([*turn("One ", "two", end="failed")[:-2], AGENT_ERROR, *turn("One ", "two", end="failed")[-2:]]),
        {a.ERROR_IN_STREAM: None},
        plain("One two", "failed"),
        ERROR,
    ),
    chat("empty-body", {a.STREAM_EMPTY: None}, b"", Answer(), EMPTY),
    chat("empty-but-done", {a.STREAM_EMPTY: None}, DONE, Answer(), EMPTY),
    chat(
        "empty-but-comments", {a.STREAM_EMPTY: None, a.KEEPALIVE_FRAME: None}, b": ping\n\n: ping\n\n", Answer(), EMPTY
    ),
    responses("empty-of-responses", {a.STREAM_EMPTY: None}, b"", Answer(), EMPTY),
    chat(
        "truncated-cleanly",
        {a.STREAM_TRUNCATED: None},
        body(CHAT[:4], done=False),
        plain("One two three ", None),
        TRUNCATED,
    ),
    chat(
        "truncated-by-the-connection",
        {a.STREAM_TRUNCATED: None},
        body(CHAT[:4], done=False),
        plain("One two three ", None),
        TRUNCATED,
        error=LOST,
    ),
    chat(
        "truncated-inside-an-event",
        {a.STREAM_TRUNCATED: None},
        body(CHAT, done=False)[:-90],
        plain(FOUR, None),
        TRUNCATED,
        error=LOST,
    ),
    chat("truncated-before-anything-came", {a.STREAM_TRUNCATED: None}, b"", Answer(), TRUNCATED, error=LOST),
    chat(
        "truncated-one-choice-of-two",
        {a.STREAM_TRUNCATED: None},
        body([begin(0), begin(1), *texts("a"), *texts("b", index=1), chunk({}, "stop")], done=False),
        Answer({0: Said("a"), 1: Said("b", None)}),
        TRUNCATED,
        request=Request(n=2),
    ),
    responses(
        "truncated-without-terminal-event",
        {a.STREAM_TRUNCATED: None},
        ONE[:7],
        plain("One two three ", None),
        TRUNCATED,
    ),
    responses(
        "truncated-in-the-background",
        {a.STREAM_TRUNCATED: None, a.RESPONSE_INTERRUPTED: UNREPAIRED},
        ONE[:6],
        plain("One two ", None),
        TRUNCATED,
        request=Request(background=True),
    ),
    responses(
        "truncated-while-an-event-waits",
        {a.STREAM_TRUNCATED: None, a.SEQUENCE_GAP: None},
        [*ONE[:5], ONE[6]],
        plain("One three ", None),
        TRUNCATED,
        error=LOST,
    ),
    Case(
        "truncated-of-completions",
        "completions",
        body([completion("One ")], done=False),
        {a.STREAM_TRUNCATED: None},
        plain("One ", None, None),
        TRUNCATED,
    ),
    Case(
        "truncated-turn-of-an-agent",
        "agents",
        named(turn("One ", "two")[:9]),
        {a.STREAM_TRUNCATED: None},
        plain("One two", "in_progress"),
        TRUNCATED,
    ),
    Case(
        "truncated-second-turn-of-an-agent",
        "agents",
        named([*turn("One "), *turn("two", id="turn_2")[:6]]),
        {a.STREAM_TRUNCATED: None},
        plain("One ", "in_progress"),
        TRUNCATED,
    ),
    Case(
        "truncated-of-assistants",
        "assistants",
        run("One").split(b"event: done")[0],
        {a.STREAM_TRUNCATED: None},
        plain("One", "completed"),
        TRUNCATED,
    ),
    chat("finish-never-sent", {a.FINISH_REASON_MISSING: UNREPAIRED}, CHAT[:5], plain(FOUR, None)),
    chat(
        "finish-never-sent-of-one-choice",
        {a.FINISH_REASON_MISSING: UNREPAIRED},
        [begin(0), begin(1), *texts("a"), *texts("b", index=1), chunk({}, "stop")],
        Answer({0: Said("a"), 1: Said("b", None)}),
        request=Request(n=2),
    ),
    Case(
        "finish-never-sent-of-completions",
        "completions",
        body([completion("One ")]),
        {a.FINISH_REASON_MISSING: UNREPAIRED},
        plain("One ", None, None),
    ),
    chat("done-never-sent", {a.SSE_FRAMING_VARIANT: None}, body(CHAT, done=False), FOUR),
]

WIRE = body(CHAT)
FRAMED = {a.SSE_FRAMING_VARIANT: UNVERIFIED}
DROPPED = {a.PAYLOAD_INVALID: VERIFIED}
FRAMES = [
    chat("frames-crlf", {a.SSE_FRAMING_VARIANT: None}, WIRE.replace(b"\n", b"\r\n"), FOUR),
    chat("frames-cr", {a.SSE_FRAMING_VARIANT: None}, WIRE.replace(b"\n", b"\r"), FOUR),
    chat(
        "frames-mixed-line-ends",
        {a.SSE_FRAMING_VARIANT: None},
        body(CHAT[:2], done=False)
        + body(CHAT[2:4], done=False).replace(b"\n", b"\r\n")
        + body(CHAT[4:]).replace(b"\n", b"\r"),
        FOUR,
    ),
    chat("frames-without-a-space", {a.SSE_FRAMING_VARIANT: None}, WIRE.replace(b"data: ", b"data:"), FOUR),
    chat(
        "frames-line-separator-in-text",
        {a.SSE_FRAMING_VARIANT: None},
        said("One\u2028", "two\u0085"),
        "One\u2028two\u0085",
    ),
    chat("frames-done-without-data", FRAMED, body(CHAT, done=False) + b"[DONE]\n\n", FOUR),
    chat("frames-data-in-two-lines", {}, WIRE.replace(b',"choices"', b',\ndata: "choices"'), FOUR),
    chat(
        "frames-comments",
        {a.KEEPALIVE_FRAME: None},
        b": OPENROUTER PROCESSING\n\n" + WIRE.replace(b"data: [", b": ping\n\ndata: ["),
        FOUR,
    ),
    responses(
        "frames-keepalive-event",
        {a.KEEPALIVE_FRAME: None},
        numbered([*response(message(0, "One"))[:4], {"type": "keepalive"}, *response(message(0, "One"))[4:]]),
        "One",
    ),
    chat("payload-null", DROPPED, WIRE.replace(DONE, b"data: null\n\n" + DONE), FOUR),
    chat(
        "payload-number-and-list",
        DROPPED,
        b"data: 1\n\n" + WIRE.replace(DONE, b'data: []\n\ndata: "x"\n\n' + DONE),
        FOUR,
    ),
    chat("payload-none-after-a-name", DROPPED, WIRE.replace(DONE, b"event: ping\n\n" + DONE), FOUR),
    chat("payload-none-but-retry", DROPPED, b"retry: 3000\n\n" + WIRE, FOUR),
    chat("payload-none-after-an-id", DROPPED, sse(CHAT[0], id="abc") + b": ping\n\n" + body(CHAT[1:]), FOUR),
    chat("payload-a-comment", DROPPED, b"data: : PROCESSING\n\n" + WIRE, FOUR),
    chat(
        "payload-prefixed-twice",
        DROPPED,
        body(CHAT[:2], done=False) + body(CHAT[2:]).replace(b"data: ", b"data: data: "),
        FOUR,
    ),
    chat("payload-after-a-byte-order-mark", DROPPED, b"\xef\xbb\xbf" + WIRE, FOUR),
    chat(
        "payload-not-json",
        {a.PAYLOAD_INVALID: UNREPAIRED, a.STREAM_TRUNCATED: None},
        body(CHAT[:3], done=False) + b'data: {"choices": [\n\n',
        raises("One two ", "JSONDecodeError"),
        TRUNCATED,
    ),
    chat(
        "payload-html",
        {a.PAYLOAD_INVALID: UNREPAIRED},
        body(CHAT[:3], done=False) + b"data: <html>Bad gateway</html>\n\n" + body(CHAT[3:]),
        raises("One two ", "JSONDecodeError"),
    ),
    chat("last-event-unterminated", {a.SSE_EVENT_UNTERMINATED: VERIFIED}, body(CHAT, done=False)[:-2], FOUR),
    chat("last-event-with-half-a-blank-line", {a.SSE_EVENT_UNTERMINATED: VERIFIED}, body(CHAT, done=False)[:-1], FOUR),
    responses("last-event-unterminated-of-responses", {a.SSE_EVENT_UNTERMINATED: VERIFIED}, named(ONE)[:-2], FOUR),
]

DIALECTS = [
    chat(
        "role-repeated",
        {a.ROLE_IRREGULAR: UNVERIFIED},
        [CHAT[0], *(chunk({"role": "assistant", "content": piece}) for piece in ("One ", "two")), CHAT[5]],
        "One two",
        request=HELPER,
    ),
    chat("role-never-sent", {a.ROLE_IRREGULAR: UNVERIFIED}, CHAT[1:], FOUR, request=HELPER),
    *(
        chat(
            f"role-{name}-first",
            {a.ROLE_IRREGULAR: UNVERIFIED},
            [chunk({"role": role, "content": "One"}), CHAT[5]],
            "One",
            request=HELPER,
        )
        for name, role in (("null", None), ("empty", ""))
    ),
    chat(
        "finish-empty-string",
        {a.FINISH_REASON_IRREGULAR: UNVERIFIED},
        [*(changed(each, finish_reason="") for each in CHAT[:5]), CHAT[5]],
        FOUR,
        request=HELPER,
    ),
    chat(
        "finish-null-in-a-string",
        {a.FINISH_REASON_IRREGULAR: UNVERIFIED},
        [*(changed(each, finish_reason="null") for each in CHAT[:5]), CHAT[5]],
        FOUR,
        request=HELPER,
    ),
    chat(
        "finish-key-absent",
        {a.FINISH_REASON_IRREGULAR: UNVERIFIED},
        [*(changed(each, finish_reason=...) for each in CHAT[:5]), CHAT[5]],
        FOUR,
        request=HELPER,
    ),
    chat("finish-sent-twice", {a.FINISH_REASON_IRREGULAR: None}, [*CHAT, CHAT[5]], FOUR),
    chat(
        "finish-of-another-vocabulary",
        {a.FINISH_REASON_IRREGULAR: None},
        [*CHAT[:5], chunk({}, "eos")],
        plain(FOUR, "eos"),
    ),
    chat("finish-but-more-text", {a.FINISH_REASON_PREMATURE: None}, [*CHAT[:3], chunk({}, "stop"), *CHAT[3:]], FOUR),
    chat(
        "metadata-object-missing",
        {a.CHUNK_METADATA_IRREGULAR: UNVERIFIED},
        [{k: v for k, v in each.items() if k != "object"} for each in CHAT],
        FOUR,
        request=HELPER,
    ),
    chat(
        "metadata-object-of-another-api",
        {a.CHUNK_METADATA_IRREGULAR: UNVERIFIED},
        [{**each, "object": "chat.completion"} for each in CHAT],
        FOUR,
        request=HELPER,
    ),
    chat(
        "metadata-id-changes",
        {a.CHUNK_METADATA_IRREGULAR: None},
        [{**each, "id": f"chatcmpl-{number}"} for number, each in enumerate(CHAT)],
        FOUR,
    ),
    chat("metadata-model-null", {a.CHUNK_METADATA_IRREGULAR: None}, [{**each, "model": None} for each in CHAT], FOUR),
    chat(
        "reasoning-in-a-member-of-its-own",
        {a.REASONING_NONSTANDARD: None},
        [begin(), chunk({"reasoning_content": "Hm"}), *CHAT[1:]],
        FOUR,
    ),
    chat(
        "error-in-an-event-without-error",
        {a.ERROR_HIDDEN: None},
        body(CHAT[:3], done=False) + sse({"message": "Overloaded"}, event="error"),
        raises("One two ", "TypeError"),
        ERROR,
    ),
]

HEALTHY = [
    chat("healthy-text", {}, CHAT, FOUR),
    chat("healthy-equal-deltas", {}, said("ha", "ha", "ha", "\n", "\n"), "hahaha\n\n"),
    chat("healthy-done-in-the-text", {}, said("data: [DONE]\n\n", "[DONE]"), "data: [DONE]\n\n[DONE]"),
    chat("healthy-text-beyond-ascii", {}, said("Grüße ", "🙂", "漢字"), "Grüße 🙂漢字"),
    chat(
        "healthy-fields-of-a-vendor",
        {},
        [{**each, "obfuscation": "x" * 9, "provider": "OpenAI", "error": None} for each in CHAT],
        FOUR,
    ),
    chat("healthy-two-tool-calls", {}, called(*_A, *_B), two_calls()),
    chat(
        "healthy-two-equal-tool-calls",
        {},
        called(*tool_call(0, "call_a", "weather", PARIS), *tool_call(1, "call_b", "weather", PARIS)),
        Answer({0: Said("", "tool_calls", [TWO_CALLS[0], Call("call_b", "weather", PARIS)])}),
    ),
    chat(
        "healthy-text-before-a-tool-call",
        {},
        [begin(), *texts("Let me see"), *called(*_A, *_B)[1:]],
        two_calls(text="Let me see"),
    ),
    chat(
        "healthy-two-choices-interleaved",
        {},
        [
            begin(0),
            begin(1),
            *texts("a"),
            *texts("b", index=1),
            *texts("c"),
            chunk({}, "stop"),
            chunk({}, "length", index=1),
        ],
        Answer({0: Said("ac"), 1: Said("b", "length")}),
        request=Request(n=2),
    ),
    chat(
        "healthy-cut-by-max-tokens",
        {},
        called(*_A[:2], finish="length"),
        Answer({0: Said("", "length", [Call("call_a", "weather", '{"city":')])}),
    ),
    chat("healthy-stamped", {}, stamped(CHAT), FOUR),
    chat("healthy-index-always-0-as-no-stamp", {}, [{**each, "index": 0} for each in CHAT], FOUR),
    chat("healthy-error-null", {}, [{**each, "error": {}} for each in CHAT], FOUR),
    chat("healthy-refusal", {}, [begin(content=None), chunk({"refusal": "No"}), chunk({}, "stop")], ""),
    Case(
        "healthy-completion",
        "completions",
        body([completion("One "), completion("two"), completion("", "stop")]),
        {},
        plain("One two", role=None),
    ),
    responses("healthy-response", {}, ONE, FOUR),
    responses(
        "healthy-response-incomplete",
        {},
        numbered(response(message(0, "One"), status="incomplete")),
        plain("One", "incomplete"),
    ),
    responses("healthy-response-resumed", {}, ONE[5:], "two three four", request=Request(starting_after=4)),
    responses("healthy-response-without-names", {}, body(ONE), FOUR),
    responses("healthy-response-of-items", {}, CALLED, ITEMS),
    responses(
        "healthy-response-and-an-event-behind-it",
        {},
        [*ONE, {"type": "response.rate_limits.updated", "rate_limits": [], "sequence_number": 12}],
        FOUR,
    ),
    responses(
        "healthy-response-kept-alive",
        {a.KEEPALIVE_FRAME: None},
        named([*ONE[:5], {"type": "keepalive"}, *ONE[5:], {"type": "response.keep_alive"}]),
        FOUR,
    ),
    Case("healthy-run", "assistants", run("One ", "two"), {}, plain("One two", "completed")),
    Case("healthy-turn-of-an-agent", "agents", named(turn("One ", "two")), {}, plain("One two", "completed")),
    Case(
        "healthy-turns-of-an-agent",
        "agents",
        named([*turn("One "), *turn("two", id="turn_2", end="cancelled")]),
        {},
        plain("One two", "cancelled"),
    ),
    Case("healthy-turn-heard-from-its-middle", "agents", named(turn("One ", "two")[8:]), {}, plain("two", "completed")),
    Case(
        "healthy-events-with-one-id",
        "agents",
        named([{**event, "event_id": "event"} for event in turn("One ", "two")]),
        {},
        plain("One two", "completed"),
    ),
]

ONCE = [Call("call_a", "weather", PARIS)]
HEADER = {a.TOOL_CALL_HEADER_INCOMPLETE: UNVERIFIED}
MORE = [
    chat(
        "choice-index-1-on-tool-chunks",
        {a.CHOICE_INDEX_INVALID: UNVERIFIED},
        [*CHAT[:2], *(chunk({"tool_calls": [each]}, index=1) for each in _A), chunk({}, "tool_calls")],
        Answer({0: Said("One ", "tool_calls", ONCE)}),
        request=Request(n=1),
    ),
    chat(
        "choice-index-counts-chunks",
        {a.CHOICE_INDEX_INVALID: UNVERIFIED},
        [changed(each, index=number) for number, each in enumerate(CHAT)],
        FOUR,
        request=Request(n=1),
    ),
    chat(
        "choice-index-1-before-0",
        {a.CHOICE_INDEX_INVALID: UNVERIFIED},
        [
            *(begin(1), *texts("b", index=1), begin(0), *texts("a")),
            *(chunk({}, "stop"), chunk({}, "stop", index=1)),
        ],
        Answer({0: Said("a"), 1: Said("b")}),
        request=Request(n=2, accumulated=True),
    ),
    chat(
        "usage-inside-a-choice",
        {a.USAGE_MISPLACED: UNVERIFIED},
        [*CHAT[:5], changed(CHAT[5], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})],
        FOUR,
        request=HELPER,
    ),
    chat(
        "usage-before-the-last-chunk",
        {a.USAGE_MISPLACED: UNVERIFIED},
        [*CHAT[:5], usage_chunk(), CHAT[5]],
        FOUR,
        request=Request(accumulated=True),
    ),
    chat(
        "tool-header-id-then-name",
        HEADER,
        called(
            *(
                {"index": 0, "id": "call_a", "type": "function", "function": {}},
                {"index": 0, "function": {"name": "weather"}},
            ),
            *(*_A[1:], *_B),
        ),
        two_calls(),
    ),
    chat(
        "tool-header-name-after-arguments",
        HEADER,
        called(
            {"index": 0, "id": "call_a", "type": "function", "function": {"arguments": '{"city":'}},
            {"index": 0, "function": {"name": "weather", "arguments": '"Paris"}'}},
            *_B,
        ),
        two_calls(),
    ),
    chat(
        "content-replayed-is-reported",
        {a.CONTENT_REPLAYED: UNREPAIRED},
        [*CHAT[:5], chunk({"content": FOUR}, "stop")],
        FOUR + FOUR,
    ),
    chat(
        "another-model-takes-over",
        {a.STREAM_SPLICED: UNREPAIRED},
        [*CHAT[:3], *({**each, "id": "chatcmpl-2", "model": "gpt-4o-mini"} for each in CHAT[3:])],
        FOUR,
    ),
    chat(
        "model-changes",
        {a.CHUNK_METADATA_IRREGULAR: None},
        [*CHAT[:3], *({**each, "model": "gpt-4o-mini"} for each in CHAT[3:])],
        FOUR,
    ),
    responses(
        "item-never-announced",
        {a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(without(response(message(0, *"abc")), "response.output_item.added")),
        "abc",
        request=HELPER,
    ),
    responses(
        "part-never-announced",
        {a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(without(response(message(0, *"abc")), "response.content_part.added")),
        "abc",
        request=HELPER,
    ),
    responses(
        "part-never-announced-to-who-does-not-need-it",
        {a.RESPONSE_EVENT_MISSING: UNREPAIRED},
        numbered(without(response(message(0, *"abc")), "response.content_part.added")),
        "abc",
    ),
    responses(
        "call-never-announced",
        {a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(without(response(function_call(0, "weather", '{"city"', ':"Paris"}')), "response.output_item.added")),
        Answer({0: Said("", "completed", [Call("call_0", "weather", PARIS)], role=None)}),
        request=HELPER,
    ),
    responses(
        "closing-events-missing",
        {a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(
            without(
                response(message(0, *"abc")),
                *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
            )
        ),
        "abc",
        request=HELPER,
    ),
    responses(
        "text-lost-all-of-it",
        {a.RESPONSE_TEXT_LOST: VERIFIED},
        numbered(without(response(message(0, *"abc")), "response.output_text.delta")),
        "abc",
    ),
    responses(
        "text-lost-its-tail",
        {a.RESPONSE_TEXT_LOST: VERIFIED},
        numbered(response([*message(0, *"abcdef")[:4], *message(0, *"abcdef")[8:]])),
        "abcdef",
    ),
    responses(
        "text-lost-its-middle",
        {a.RESPONSE_TEXT_LOST: UNREPAIRED},
        numbered(response([*message(0, *"abcdef")[:4], *message(0, *"abcdef")[5:]])),
        "abdef",
    ),
    responses(
        "text-lost-but-in-the-item",
        {a.RESPONSE_TEXT_LOST: VERIFIED},
        numbered(response([message(0, "abc")[0], message(0, "abc")[-1]])),
        "abc",
    ),
    responses(
        "call-lost-but-in-the-item",
        {a.RESPONSE_TEXT_LOST: VERIFIED, a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(response(function_call(0, "weather", PARIS)[-1:])),
        Answer({0: Said("", "completed", [Call("call_0", "weather", PARIS)], role=None)}),
    ),
    responses(
        "closing-events-under-another-index",
        {a.RESPONSE_REFERENCE_INVALID: VERIFIED},
        [
            {**event, "output_index": 1} if event["type"].endswith("done") and "output_index" in event else event
            for event in ONE
        ],
        FOUR,
    ),
    responses(
        "text-under-the-index-of-reasoning",
        {a.RESPONSE_REFERENCE_INVALID: VERIFIED, a.RESPONSE_EVENT_MISSING: VERIFIED},
        numbered(
            [
                *response(reasoning(0, "Hm"), message(1, "abc"))[:8],
                *({**event, "output_index": 0} for event in message(1, "abc")[2:3]),
                response(reasoning(0, "Hm"), message(1, "abc"))[-1],
            ]
        ),
        Answer({0: Said("", "completed", role=None), 10_000: Said("abc", "completed")}),
        request=HELPER,
    ),
    responses(
        "output-index-missing",
        {a.RESPONSE_REFERENCE_INVALID: VERIFIED},
        [{k: v for k, v in event.items() if k != "output_index"} for event in ONE],
        FOUR,
        request=HELPER,
    ),
    responses(
        "item-id-changes",
        {a.RESPONSE_REFERENCE_INVALID: VERIFIED},
        [{**event, "item_id": f"msg_{at}"} if "item_id" in event else event for at, event in enumerate(ONE)],
        FOUR,
    ),
    responses(
        "terminal-output-empty",
        {a.RESPONSE_TERMINAL_MISMATCH: VERIFIED},
        [*ONE[:11], {**ONE[11], "response": {**ONE[11]["response"], "output": []}}],
        FOUR,
        request=HELPER,
    ),
    responses(
        "lifecycle-without-response",
        {a.KEEPALIVE_FRAME: UNVERIFIED},
        [{"type": "response.created"}, *ONE],
        FOUR,
        request=HELPER,
    ),
    responses(
        "item-null",
        {a.PAYLOAD_INVALID: VERIFIED},
        [*ONE[:2], {"type": "response.output_item.added", "output_index": 0, "item": None}, *ONE[2:]],
        FOUR,
        request=HELPER,
    ),
    responses(
        "two-lifecycles",
        {a.STREAM_SPLICED: UNREPAIRED},
        named(ONE) + named({**event, "sequence_number": 12 + at} for at, event in enumerate(ONE)),
        FOUR,
    ),
    responses("answer-missing", {a.ANSWER_MISSING: None}, numbered(response(reasoning(0, "Hm"))), ITEMS_OF_REASONING),
    responses(
        "chunks-of-chat",
        {a.PROTOCOL_FOREIGN: None, a.STREAM_TRUNCATED: None},
        body(CHAT),
        raises(error="KeyError"),
        TRUNCATED,
    ),
    responses(
        "truncated-behind-done",
        {a.STREAM_TRUNCATED: None},
        named(ONE[:7]) + DONE,
        plain("One two three ", None),
        TRUNCATED,
    ),
    chat("hidden-error-field", {a.ERROR_HIDDEN: UNREPAIRED}, b'error: {"message":"Overloaded"}\n\n', Answer(), ERROR),
    chat(
        "hidden-error-document",
        {a.ERROR_HIDDEN: UNREPAIRED},
        json.dumps(OVERLOADED, indent=1).encode(),
        Answer(),
        ERROR,
    ),
]

OPT_IN = [
    chat(
        "opt-in-finish-never-sent",
        {a.FINISH_REASON_MISSING: UNVERIFIED},
        CHAT[:5],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-finish-of-calls-never-sent",
        {a.FINISH_REASON_MISSING: UNVERIFIED},
        called(*_A, *_B)[:-1],
        two_calls(),
        repair="all",
    ),
    chat(
        "opt-in-finish-then-text",
        {a.FINISH_REASON_PREMATURE: UNVERIFIED},
        [*CHAT[:3], chunk({}, "stop"), *CHAT[3:]],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-finish-of-another-vocabulary",
        {a.FINISH_REASON_IRREGULAR: UNVERIFIED},
        [*CHAT[:5], chunk({}, "MAX_TOKENS")],
        plain(FOUR, "length"),
        repair="all",
    ),
    chat(
        "opt-in-stop-with-tool-calls",
        {a.FINISH_REASON_IRREGULAR: UNVERIFIED},
        called(*_A, *_B, finish="stop"),
        two_calls(),
        repair="all",
    ),
    chat(
        "opt-in-content-in-parts",
        {a.CONTENT_NOT_STRING: UNVERIFIED},
        [begin(), chunk({"content": [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]}), CHAT[5]],
        "One two",
        repair="all",
    ),
    chat(
        "opt-in-content-replayed-at-the-end",
        {a.CONTENT_REPLAYED: UNVERIFIED},
        [*CHAT[:5], chunk({"content": FOUR}, "stop")],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-content-cumulative",
        {a.CONTENT_REPLAYED: UNVERIFIED},
        said("One ", "One two ", "One two three ", FOUR),
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-restart-by-another-model",
        {a.STREAM_SPLICED: None},
        [*CHAT[:3], *({**each, "id": "chatcmpl-2", "model": "gpt-4o-mini"} for each in CHAT[1:])],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-arguments-behind-an-empty-object",
        {a.TOOL_CALL_ARGUMENTS_INVALID: VERIFIED},
        called(fragment(0, "{}", id="call_a", name="weather"), fragment(0, PARIS)),
        Answer({0: Said("", "tool_calls", ONCE)}),
        repair="all",
    ),
    chat(
        "opt-in-arguments-twice",
        {a.TOOL_CALL_ARGUMENTS_INVALID: VERIFIED},
        called(*_A, fragment(0, PARIS)),
        Answer({0: Said("", "tool_calls", ONCE)}),
        repair="all",
    ),
    chat(
        "opt-in-ids-change",
        {a.CHUNK_METADATA_IRREGULAR: UNVERIFIED},
        [{**each, "id": f"chatcmpl-{number}"} for number, each in enumerate(CHAT)],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-empty-chunk-again-and-again",
        {a.KEEPALIVE_FRAME: UNVERIFIED},
        [*CHAT[:3], *[chunk({"content": ""})] * 4, *CHAT[3:]],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-choices-empty",
        {a.CHOICES_EMPTY: None},
        [bare(id="", object="", prompt_filter_results=[]), *CHAT, usage_chunk()],
        FOUR,
        repair="all",
    ),
    chat(
        "opt-in-hidden-error-field",
        {a.ERROR_HIDDEN: UNVERIFIED},
        b'error: {"message":"Overloaded"}\n\n',
        raises(),
        ERROR,
        repair="all",
    ),
    chat(
        "opt-in-hidden-error-document",
        {a.ERROR_HIDDEN: UNVERIFIED},
        json.dumps(OVERLOADED, indent=1).encode(),
        raises(),
        ERROR,
        repair="all",
    ),
    responses(
        "opt-in-item-only-at-the-end",
        {a.RESPONSE_EVENT_MISSING: UNVERIFIED, a.RESPONSE_TEXT_LOST: UNVERIFIED},
        numbered([*response(message(0, "abc"))[:2], response(message(0, "abc"))[-1]]),
        plain("abc", "completed"),
        repair="all",
    ),
    Case(
        "opt-in-events-of-an-agent-repeated",
        "agents",
        named([*TURN[:8], *({**event, "obfuscation": "x"} for event in TURN[5:])]),
        {a.EVENT_REPEATED: VERIFIED},
        plain("One two", "completed"),
        repair="all",
    ),
    responses(
        "opt-in-two-lifecycles",
        {a.STREAM_SPLICED: VERIFIED},
        named(ONE) + named({**event, "sequence_number": 12 + at} for at, event in enumerate(ONE)),
        FOUR,
        repair="all",
    ),
]

CASES = [*ORDER, *NUMBERS, *CONTENT, *TOOL_CALLS, *ENDS, *FRAMES, *DIALECTS, *MORE, *OPT_IN, *HEALTHY]
