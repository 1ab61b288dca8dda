"""The last event of a body that ends before its blank line: handed on to whoever can read it, and to nobody else."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from helpers.stream_builders import (
    Payload,
    bare,
    begin,
    body,
    chunk,
    completion,
    fragment,
    named,
    response,
    texts,
    usage_chunk,
    watch,
)
from helpers.stream_builders import message as item
from streamwatch.core.kinds import SSE_EVENT_UNTERMINATED
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Verdict

HEAD = [begin(), *texts("One ", "two")]
CALL = fragment(0, '{"a":1}', id="call_a", name="weather")
FIRST, MORE = chunk({"tool_calls": [fragment(0, "", id="call_a", name="weather")]}), [fragment(0, "1")]
HELPER = Request(accumulated=True)
TORN: Any = {
    "a text": ("chat", HEAD, chunk({"content": " three"}), {"content": " three"}),
    "a finish": ("chat", HEAD, chunk({}, "stop"), {"content": ""}),
    "a finish with null": ("chat", HEAD, chunk({"content": None}, "stop"), {"content": ""}),
    "a finish, content absent before": ("chat", [*HEAD, chunk({"role": "assistant"})], chunk({}, "stop"), {}),
    "usage": ("chat", [*HEAD, chunk({}, "stop")], usage_chunk(), None),
    "usage again": ("chat", [*HEAD, usage_chunk()], usage_chunk(), bare()["choices"]),
    "no choices at all": ("chat", HEAD, {"message": "overloaded"}, None),
    "choices of no use": ("chat", HEAD, {**bare(), "choices": [None]}, None),
    "choices without delta": ("chat", HEAD, {**bare(), "choices": [{"index": 0}]}, None),
    "a whole call": ("chat", HEAD, chunk({"tool_calls": [CALL]}, "tool_calls"), {"tool_calls": [CALL], "content": ""}),
    "a call that goes on": ("chat", HEAD, chunk({"tool_calls": [CALL]}), None),
    "the first of the rest of a call": ("chat", [*HEAD, FIRST], chunk({"tool_calls": MORE}, "tool_calls"), None),
    "the end of a call": (
        *("chat", [FIRST, chunk({"tool_calls": MORE})]),
        *(chunk({"tool_calls": MORE}, "tool_calls"), {"tool_calls": MORE}),
    ),
    "a finish behind calls alone": ("chat", [FIRST, FIRST], chunk({}, "tool_calls"), {"tool_calls": []}),
    "a whole answer": ("chat", [], chunk({"content": "One"}, "stop"), {"content": "One", "tool_calls": []}),
    "the beginning of an answer": ("chat", [], begin(), None),
    "a legacy text": ("completions", [completion("One ")], completion("two", "stop"), "two"),
    "a legacy choice without a text": ("completions", [completion("One ")], chunk({"content": "two"}), None),
}


def torn(api: str, before: list[Payload], last: Payload, **more: Any) -> Any:
    """Watch a stream whose last event lacks its blank line."""
    head = named(before) if api == "responses" else body(before, done=False)
    return watch(api, head + body([last], done=False)[:-2], **more), len(before)


@pytest.mark.parametrize("name", TORN)
def test_it_goes_on_to_whoever_can_read_it(name: str) -> None:
    """A program that ended well without it ends well with it: it has what every event before it had."""
    api, before, last, expected = TORN[name]
    seen, count = torn(api, before, last)

    assert seen.report.anomalies[SSE_EVENT_UNTERMINATED] == 1
    assert len(seen.delivered) == count + (expected is not None)
    if expected is not None:
        choices = json.loads(seen.events[-1].data)["choices"]
        said_last = choices and (choices[0]["text"] if api == "completions" else choices[0]["delta"])
        assert said_last == expected


@pytest.mark.parametrize("api", ["chat", "completions", "responses", "assistants", "images", "other"])
@pytest.mark.parametrize("error", [{"error": {"message": "overloaded"}}, {"type": "error", "message": "overloaded"}])
def test_an_error_is_reported_and_raised_to_nobody(api: str, error: Payload) -> None:
    """The SDK ignores it, and so does the program that ends well; the verdict says what it was."""
    before = {"chat": HEAD, "completions": [completion("One")], "responses": response(item(0, "One"))[:4]}.get(api, [])
    seen, count = torn(api, before, error)
    wanted, _ = torn(api, before, error, repair="default,+sse_event_unterminated")

    assert len(seen.delivered) == count
    assert seen.report.verdict is Verdict.ERROR
    assert len(wanted.delivered) == count + 1


def test_the_helper_gets_usage_and_no_finish_on_which_it_raises() -> None:
    """It adds up what came, looks at no choice of its own accord, and raises on an answer that was cut short."""
    for last, goes in ((usage_chunk(), True), (chunk({}, "stop"), True), (chunk({}, "length"), False)):
        seen, count = torn("chat", HEAD, last, request=HELPER)
        assert len(seen.delivered) == count + goes
        assert not goes or json.loads(seen.events[-1].data) == last


@pytest.mark.parametrize("data", ["[1]", "7", "null", '"text"', '{"a":', "[" * 100_000])
def test_what_is_no_object_is_lost_with_its_blank_line(data: str) -> None:
    """It is torn, or nobody's."""
    seen = watch("chat", body(HEAD).removesuffix(b"data: [DONE]\n\n") + f"data: {data}\n".encode())

    assert SSE_EVENT_UNTERMINATED not in seen.report.anomalies
    assert len(HEAD) == len(seen.payloads)


def test_what_is_of_another_api_is_not_read_as_an_event_of_a_response() -> None:
    """Who looks at types finds none."""
    whole = response(item(0, "One"))
    seen = watch("responses", named(whole) + f"data: {json.dumps(begin())}\n".encode())

    assert seen.payloads == whole


def test_nothing_of_a_response_stands_alone() -> None:
    """What an event of a response is about came before it: without that it says nothing."""
    events = response(item(0, "One"))
    assert len(torn("responses", events[:-1], events[-1])[0].delivered) == len(events)
    assert not torn("responses", [], events[3])[0].delivered


@pytest.mark.parametrize("seed", range(300))
def test_whoever_reads_bare_reads_on(seed: int) -> None:
    """Any chunk, of any shape, behind any others: programs that take a member for granted raise only where they did."""
    chance = random.Random(seed)
    deltas: list[Any] = [{"content": "x"}, {"content": ""}, {"content": None}, {}, {"tool_calls": [CALL]}, None]
    deltas += [{"tool_calls": MORE}, {"tool_calls": None, "content": "y"}]

    def made() -> Payload:
        some = chunk(chance.choice(deltas[:-2] if chance.random() < 0.5 else deltas[:2]), chance.choice([None, "stop"]))
        return chance.choice([some, some, some, usage_chunk(), {"type": "ping"}, {**bare(), "choices": None}])

    before = [made() for _ in range(chance.randint(0, 4))]
    seen, count = torn("chat", before, made())
    payloads = [json.loads(event.data) for event in seen.events]
    for program in (_texts, _calls):
        if _ends_well(program, payloads[:count]):
            assert _ends_well(program, payloads), payloads[-1]


def _texts(payload: Any) -> Any:
    return "" + payload["choices"][0]["delta"].get("content")


def _calls(payload: Any) -> Any:
    return [call["id"] + call["function"]["arguments"] for call in payload["choices"][0]["delta"]["tool_calls"]]


def _ends_well(program: Any, payloads: list[Any]) -> bool:
    try:
        for payload in payloads:
            program(payload)
    except (TypeError, KeyError, IndexError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("output", [None, {}, "x"])
def test_a_response_without_a_list_of_items_is_not_read(output: object) -> None:
    """A program goes through the items of the last one: it ended without it."""
    *events, last = response(item(0, "One"))
    torn = {**last, "response": {**last["response"], "output": output}}
    for each, goes_on in ((torn, False), (last, True)):
        seen = watch("responses", named([*events, each])[:-1])
        assert (seen.payloads[-1] == each) == goes_on
        assert SSE_EVENT_UNTERMINATED in seen.report.anomalies


@pytest.mark.parametrize("api", ["chat", "responses", "transcriptions", "assistants", "other"])
def test_what_says_nothing_is_not_handed_on(api: str) -> None:
    """A ping, on whose type somebody looks."""
    before = {"type": "transcript.text.delta", "delta": "One"}
    seen = watch(api, named([before]) + b"event: ping\ndata: {}\n")

    assert seen.payloads == [before]
