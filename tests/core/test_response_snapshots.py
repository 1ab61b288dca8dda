"""Items that a response lists before its end: of its beginning they are announced, later they are what is done."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.stream_builders import (
    Payload,
    Seen,
    function_call,
    message,
    named,
    numbered,
    read,
    response,
    watch,
)
from streamwatch.core.kinds import (
    RESPONSE_EVENT_MISSING,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
    RESPONSE_TEXT_LOST,
)
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Outcome

#: The SDK's helper reads, of a release that raises on an output that is null, and of one that bears it.
HELPER, RECOVERS = Request(accumulated=True), Request(accumulated=True, recovers_output=True)
READERS = pytest.mark.parametrize("request_", [Request(), HELPER, RECOVERS], ids=["reader", "old helper", "helper"])


def listing(events: list[Payload], *items: Payload) -> list[Payload]:
    """The events, with items that the first one lists."""
    return [{**events[0], "response": {**events[0]["response"], "output": list(items)}}, *events[1:]]


def snapshot(events: list[Payload], *items: Any) -> Payload:
    """An event on the way that lists items."""
    return {"type": "response.in_progress", "response": {**events[0]["response"], "output": list(items)}}


def of(events: list[Payload], request: Request, repair: str = "default") -> Seen:
    """Watch numbered events of a response."""
    return watch("responses", named(numbered(events)), repair, request=request)


def ended(seen: Seen) -> Any:
    """The output that the last event has."""
    return seen.payloads[-1]["response"]["output"]


# --- listed at the beginning


@READERS
def test_an_item_that_the_first_event_lists_is_announced(request_: Request) -> None:
    """The helper takes it for announced, and raises where it is announced once more."""
    whole = response(message(0, "One ", "two"), function_call(1, "weather", "{", "}"))
    first = next(event["item"] for event in whole if event["type"] == "response.output_item.added")
    events = listing([event for event in whole if event.get("item") is not first], first)
    seen = of(events, request_)

    assert seen.payloads == numbered(events)
    assert not seen.report.anomalies


@READERS
def test_what_was_lost_of_a_listed_item_goes_where_it_is(request_: Request) -> None:
    """The text comes only when the item is done."""
    whole = response(message(0, "One"))
    item = whole[2]["item"]
    seen = of(listing([*whole[:2], *whole[-2:]], item), request_)

    assert [e["output_index"] for e in seen.payloads if "delta" in e] == [0]
    assert RESPONSE_TEXT_LOST in seen.report.anomalies
    assert read("responses", seen.delivered).said[0].text == "One"
    assert not any(event["type"] == "response.output_item.added" for event in seen.payloads)


@READERS
def test_a_listed_item_may_be_announced_as_well(request_: Request) -> None:
    """Nobody has it twice, and the next item is still the second: a wrong index of its events is put right."""
    whole = response(message(0, "One"), message(1, "Two"))
    events = listing(whole, whole[2]["item"])
    wrong = [{**e, "output_index": 7} if e.get("item_id") == "msg_1" and "delta" in e else e for e in events]
    seen = of(wrong, request_)

    assert seen.payloads == numbered(events)
    assert set(seen.report.anomalies) == {RESPONSE_REFERENCE_INVALID}


def test_another_item_at_the_place_of_a_listed_one_is_moved_for_the_helper_alone() -> None:
    """Which of the two the index belongs to nothing says; the helper would raise, or write both into one."""
    whole = response(message(0, "One"))
    other = {**whole[2]["item"], "id": "msg_before"}
    reader, helper = (of(listing(whole, other), request) for request in (Request(), HELPER))

    assert reader.payloads == numbered(listing(whole, other))
    assert {event["output_index"] for event in helper.payloads if "output_index" in event} == {1}
    assert RESPONSE_REFERENCE_INVALID in reader.report.anomalies


def test_a_call_that_is_announced_with_a_content_has_no_parts() -> None:
    """A server may write any member: what it means is not known, and it passes."""
    whole = response(function_call(0, "weather", "{", "}"))
    whole[2] = {**whole[2], "item": {**whole[2]["item"], "content": [{"type": "output_text", "text": ""}]}}

    assert of(whole, HELPER).payloads == numbered(whole)


def test_items_that_a_later_event_lists_first_are_not_announced() -> None:
    """The helper knows those of the first event alone."""
    whole = response(message(0, "One"))
    events = [whole[0], snapshot(whole, whole[2]["item"], "no item"), *whole[3:]]
    helper = of(events, HELPER)

    assert [e["type"] for e in helper.payloads[2:4]] == ["response.output_item.added", "response.content_part.added"]
    assert RESPONSE_EVENT_MISSING in helper.report.anomalies


def test_what_is_put_in_refers_to_its_item_as_its_texts_do_and_no_other_event() -> None:
    """An annotation without an index says nothing of how deltas would have come."""
    whole = response(message(0, "One"))
    note = {"type": "response.output_text.annotation.added", "item_id": "msg_0", "output_index": None}
    events = [*whole[:3], {**note, "content_index": 0, "annotation_index": 0, "annotation": {}}, *whole[-2:]]
    seen = of(events, Request())

    assert [event["output_index"] for event in seen.payloads if "delta" in event] == [0]


# --- listed on the way


WHOLE = response(message(0, "One"), function_call(1, "weather", "{", "}"), message(2, "Two"))
DONE = [event["item"] for event in WHOLE if event["type"] == "response.output_item.done"]
NOW = [{**DONE[0], "content": [{**DONE[0]["content"][0], "text": "Moderated"}]}, {**DONE[1], "id": None}, DONE[2]]


def emptied(output: Any, *listed: Any) -> list[Payload]:
    """The whole response, with items that are listed before its end, and another output."""
    last = {**WHOLE[-1], "response": {**WHOLE[-1]["response"], "output": output}}
    return [*WHOLE[:-1], snapshot(WHOLE, *listed), last]


def test_an_output_is_restored_with_the_items_as_they_were_said_last() -> None:
    """A call is known again by its call id."""
    seen = of(emptied([], *NOW), RECOVERS)

    assert ended(seen) == NOW
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.VERIFIED}


def test_a_helper_that_recovers_an_output_that_is_null_is_left_to_it() -> None:
    """It knows its items; others raise, and get what it would have made."""
    events = emptied(None, *NOW)

    assert ended(of(events, RECOVERS)) is ended(of(events, Request())) is None
    assert ended(of(events, HELPER)) == NOW


def test_items_that_are_not_done_are_not_taken_from_a_list() -> None:
    """They may be listed half way."""
    events = emptied([], *DONE)
    early = [event for event in events if event.get("item") != DONE[2]]
    seen = of(early, HELPER)

    assert ended(seen) == []
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


def test_a_list_too_long_to_be_kept_restores_nothing() -> None:
    """What was kept before is not what the items are now: better none than an old one."""
    long = [{**DONE[0], "content": [{**DONE[0]["content"][0], "text": "x" * 40_000}]}, *DONE[1:]]
    seen = of(emptied([], *long), HELPER)

    assert ended(seen) == []
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


# --- done where another item is


@pytest.mark.parametrize("repair", ["default", "all"])
def test_an_item_that_is_done_at_the_place_of_another_one_is_announced_on_request_alone(repair: str) -> None:
    """A program that looks by the index would look for what is put in at a place that it does not know."""
    whole = response(function_call(0, "weather", "{", "}"))
    other = {**whole[-2], "item": {**whole[-2]["item"], "id": "fc_other", "call_id": "call_other"}}
    events = [*whole[:-1], other, whole[-1]]
    seen = of(events, HELPER, repair)

    assert (seen.payloads == numbered(events)) is (repair == "default")
    assert RESPONSE_TEXT_LOST in seen.report.anomalies
