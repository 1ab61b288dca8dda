"""The Responses API: what an event is about is told by its ids.

What is missing is put in for whom it is needed, and nothing else is touched.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest

from helpers.stream_builders import (
    Answer,
    Call,
    Payload,
    Said,
    Seen,
    answered,
    body,
    function_call,
    message,
    named,
    numbered,
    read,
    reasoning,
    response,
    sse,
    watch,
)
from streamwatch.core.kinds import (
    ANSWER_MISSING,
    ERROR_HIDDEN,
    ERROR_IN_STREAM,
    KEEPALIVE_FRAME,
    KINDS,
    PAYLOAD_INVALID,
    PROTOCOL_FOREIGN,
    RESPONSE_EVENT_MISSING,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
    RESPONSE_TEXT_LOST,
    SEQUENCE_GAP,
    STREAM_SPLICED,
)
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import ChunkType, Outcome, Verdict

PLAIN = response(reasoning(0, "Hm", "!"), message(1, "One ", "two"), function_call(2, "weather", "{", "}"))
WHOLE = numbered(PLAIN)
SAID = Answer(
    {
        0: Said("", "completed", role=None),
        1: Said("One two", "completed"),
        2: Said("", "completed", [Call("call_2", "weather", "{}")], role=None),
    }
)
#: The events that announce and close, by type, as they come in PLAIN.
ANNOUNCING = ["response.output_item.added", "response.content_part.added", "response.reasoning_summary_part.added"]
CLOSING = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.function_call_arguments.done",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
]


DELTA = "response.output_text.delta"


def without(*types: str) -> list[Payload]:
    """The events but those of some types, numbered without a gap: a server that never sends them."""
    return numbered([event for event in PLAIN if event["type"] not in types])


#: The SDK's accumulating helper reads the stream: it raises where an event is missing, so it gets what others do not.
HELPER = Request(accumulated=True)


def helped(wire: bytes, repair: str = "default") -> Seen:
    """Watch a wire that the SDK's helper reads."""
    return watch("responses", wire, repair, request=HELPER)


def renumbered(events: Iterable[Payload]) -> list[Payload]:
    """Number events anew: a server that counts what it sends."""
    return numbered({k: v for k, v in event.items() if k != "sequence_number"} for event in events)


def texts_of(answer: Answer) -> list[tuple[str, list[str]]]:
    """Text and arguments of each item; an exception is no answer."""
    assert answer.raised == ""
    return [(said.text, [call.arguments for call in said.calls]) for said in answer.said.values()]


def types_of(payloads: list[Payload]) -> list[str]:
    """The types, in order."""
    return [payload["type"] for payload in payloads]


def types_about(payloads: list[Payload], index: int) -> list[str]:
    """The types of the events about one item."""
    return [payload["type"] for payload in payloads if payload.get("output_index") == index]


def test_a_healthy_response_is_untouched() -> None:
    """Reasoning, text and a call: every event as it came, and nothing found."""
    seen = watch("responses", named(WHOLE))

    assert seen.payloads == WHOLE
    assert seen.report.anomalies == {}
    assert seen.report.verdict is Verdict.COMPLETE
    assert read("responses", seen.delivered) == SAID


def test_the_report_tells_what_came() -> None:
    """Counts by sort, the id, the model, and how it ended."""
    report = watch("responses", named(WHOLE)).report

    assert (report.response_id, report.response_model, report.finish_reasons) == (
        "resp_1",
        "gpt-4o-2024-05-13",
        ("completed",),
    )
    assert report.chunks[ChunkType.TEXT] == 2
    assert report.chunks[ChunkType.REASONING] == 2
    assert report.chunks[ChunkType.TOOL_CALL] == 2
    assert report.chunks[ChunkType.FINISH] == 1
    assert sum(report.chunks.values()) == report.events == len(WHOLE)


@pytest.mark.parametrize("helper", [False, True])
def test_a_text_that_the_announcement_of_its_item_says_is_not_lost(helper: bool) -> None:
    """An empty part announced behind it takes nothing back: with a delta the helper would have the text twice."""
    events = [event for event in answered("One two") if not event["type"].endswith("output_text.delta")]
    added = next(event for event in events if event["type"] == "response.output_item.added")
    done = next(event for event in events if event["type"] == "response.output_item.done")
    added["item"] = {**added["item"], "content": done["item"]["content"]}
    seen = watch("responses", named(events), request=Request(accumulated=helper))

    assert seen.payloads == events
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies


@pytest.mark.parametrize("missing", [*ANNOUNCING, *CLOSING])
def test_an_event_that_a_server_never_sends_is_put_in(missing: str) -> None:
    """Each announcing and closing event, at its place; the texts are those of the wire."""
    seen = helped(named(without(missing)), "all")

    for index in range(3):
        assert types_about(seen.payloads, index) == types_about(PLAIN, index)
    assert texts_of(read("responses", seen.delivered)) == texts_of(SAID)
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.VERIFIED}


@pytest.mark.parametrize("missing", [*ANNOUNCING, *CLOSING])
def test_who_does_not_need_an_event_gets_none(missing: str) -> None:
    """A reader that counts events, or lists their types, ends as it does without us; what is missing is counted."""
    seen = watch("responses", named(without(missing)))

    assert seen.payloads == without(missing)
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}
    # The helper builds no reasoning; but whoever lists what is done is to find all of it, or nothing.
    whole = missing == "response.output_item.done"
    needed = [e for e in PLAIN if e["type"] == missing and (whole or e["output_index"] != 0)]
    assert types_of(helped(named(without(missing))).payloads).count(missing) == len(needed)


@pytest.mark.parametrize(
    "missing", [*itertools.combinations(ANNOUNCING, 2), tuple(ANNOUNCING), tuple(CLOSING)], ids=len
)
def test_several_events_that_a_server_never_sends_are_put_in(missing: tuple[str, ...]) -> None:
    """Bridges leave out whole classes of events."""
    seen = helped(named(without(*missing)), "all")

    assert texts_of(read("responses", seen.delivered)) == texts_of(SAID)
    for index in range(3):
        assert types_about(seen.payloads, index) == types_about(PLAIN, index)


@pytest.mark.parametrize("missing", [*ANNOUNCING, *CLOSING])
def test_what_is_put_in_is_named_as_the_others_are(missing: str) -> None:
    """With `event:` lines where the server writes them, without where it does not."""
    for wire, name in ((named(without(missing)), True), (body(without(missing)), False)):
        seen = helped(wire, "all")
        assert missing in types_of(seen.payloads)
        assert all(
            (each.event == each.value["type"]) is name for each in seen.delivered if isinstance(each.value, dict)
        )


def test_a_call_that_was_never_announced_keeps_its_id() -> None:
    """The application answers the call by its call_id: it is waited for, and never made up."""
    seen = helped(named(without("response.output_item.added")))
    items = [payload["item"] for payload in seen.payloads if payload["type"].startswith("response.output_item.")]

    assert [item["call_id"] for item in items if item["type"] == "function_call"] == ["call_2", "call_2"]
    assert RESPONSE_REFERENCE_INVALID not in seen.report.anomalies


def test_announcements_come_before_what_they_announce() -> None:
    """Item, then part, then text; nothing of an item after it is done."""
    seen = helped(named(without(*ANNOUNCING)), "all")
    order = [type_ for type_ in types_of(seen.payloads) if "summary" not in type_]
    text = order.index("response.output_text.delta")

    assert order[text - 2 : text] == ["response.output_item.added", "response.content_part.added"]
    assert order.index("response.output_item.done") > order.index("response.output_item.added")


def test_deltas_that_never_came_are_taken_from_the_done_event() -> None:
    """A server that sends only the whole text: the consumer of deltas gets it in one."""
    seen = watch("responses", named(without("response.output_text.delta")))

    assert read("responses", seen.delivered) == SAID
    (delta,) = [payload for payload in seen.payloads if payload["type"] == "response.output_text.delta"]
    assert {key: delta[key] for key in ("item_id", "output_index", "content_index", "delta")} == {
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "One two",
    }


def test_a_lost_event_is_a_gap_and_its_place_is_filled() -> None:
    """Lost on the way, not left out by the server: both are said."""
    lost = [event for event in WHOLE if event["type"] != "response.content_part.added"]
    seen = watch("responses", named(lost))

    assert {SEQUENCE_GAP, RESPONSE_EVENT_MISSING} <= set(seen.report.anomalies)
    assert read("responses", seen.delivered) == SAID
    numbers = [payload["sequence_number"] for payload in helped(named(lost)).payloads]
    assert numbers == sorted(set(numbers))  # it gets the number that was lost


@pytest.mark.parametrize("start", range(1, 12))
def test_a_resumed_stream_lacks_nothing(start: int) -> None:
    """What came before the place where it was resumed is not missing."""
    for request in (Request(starting_after=start - 1), Request()):
        seen = watch("responses", named(WHOLE[start:]), request=request)
        if start > 2 or request.starting_after is not None:  # 1 and 2 may be a swap at the very start
            assert seen.payloads == WHOLE[start:]
            assert not seen.faults


@pytest.mark.parametrize("member", ["output_index", "item_id"])
def test_references_that_are_wrong_are_set_right(member: str) -> None:
    """The first announcement counts: later events get its index, and its id."""
    events = answered("One ", "two")
    wrong = [
        {**{k: v for k, v in event.items() if k != member}, **({"item_id": f"x{at}"} if member == "item_id" else {})}
        if member in event and event["type"] not in ("response.output_item.added", "response.output_item.done")
        else event
        for at, event in enumerate(events)
    ]
    seen = helped(named(wrong))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}
    if member == "output_index":  # what is absent stays absent for who does not need it
        assert watch("responses", named(wrong)).payloads == wrong


def test_a_content_index_that_counts_deltas_is_set_right() -> None:
    """The part that is open is the one that is meant."""
    events = answered("One ", "two ", "three")
    counting, number = [], 0
    for event in events:
        if event["type"] == "response.output_text.delta":
            event, number = {**event, "content_index": number}, number + 1
        counting.append(event)
    seen = watch("responses", named(counting))

    assert seen.payloads == events
    assert RESPONSE_REFERENCE_INVALID in seen.report.anomalies


def counted(events: list[Payload]) -> list[Payload]:
    """The events of one item, whose `content_index` counts those about its part, as vLLM up to 0.13 has it."""
    counting, number = [], 0
    for event in events:
        if "content_index" in event:
            event, number = {**event, "content_index": number}, number + 1
        counting.append(event)
    return counting


@pytest.mark.parametrize("words", [("One ", "two ", "three"), ("One ", "two"), ("One",)], ids=len)
@pytest.mark.parametrize("request_", [None, HELPER])
def test_a_content_index_that_counts_its_announcement_is_set_right(
    words: tuple[str, ...], request_: Request | None
) -> None:
    """The event after the first delta counts on: so nothing is lost, and no part is missing."""
    events = answered(*words)
    seen = watch("responses", named(counted(events)), request=request_)

    assert seen.payloads == events
    assert set(seen.report.anomalies) == {RESPONSE_REFERENCE_INVALID}
    assert set(seen.report.outcomes[RESPONSE_REFERENCE_INVALID]) == {Outcome.VERIFIED}


@pytest.mark.parametrize("closing", ["response.output_text.done", "response.content_part.done"])
def test_a_part_that_closes_under_the_index_of_its_delta_is_one_of_its_own(closing: str) -> None:
    """Nobody announced it, and the one that was announced is empty: nothing counts."""
    events = [e for e in answered("One") if e["type"] == closing or not e["type"].endswith("t.done")]
    second = [{**e, "content_index": 1} if e["type"] in (closing, DELTA) else e for e in events]
    seen = watch("responses", named(second))

    assert [e.get("content_index") for e in seen.payloads] == [e.get("content_index") for e in second]


def test_what_comes_between_decides_nothing_about_the_count() -> None:
    """A frame of the server's own, and an event of another item."""
    events = counted(answered("One ", "two"))
    place = next(place for place, e in enumerate(events) if e["type"] == DELTA) + 1
    other = {"type": "response.output_item.added", "output_index": 1, "item": {"id": "ws", "type": "web_search_call"}}
    between: list[Payload] = [{"type": "keepalive"}, other]
    seen = watch("responses", named([*events[:place], *between, *events[place:]]))

    assert [e["content_index"] for e in seen.payloads if e["type"] == DELTA] == [0, 0]
    assert [e for e in seen.payloads if e in between] == between


def test_a_delta_waits_no_longer_than_the_window_for_the_next_one() -> None:
    """Then it goes on as it came."""
    events = counted(answered("One ", "two"))
    place = next(place for place, e in enumerate(events) if e["type"] == DELTA) + 1
    now = [0.0]
    watched = StreamWatch("responses", clock=lambda: now[0])
    watched.receive(named(events[:place]))
    assert len(watched.ready) == place - 1
    now[0] = watched.settings.window_seconds + 1
    watched.expire()

    assert watched.ready[-1].payload == events[place - 1]


def test_a_full_window_lets_the_first_delta_go() -> None:
    """What comes between is kept up to a bound."""
    events = counted(answered("One ", "two"))
    place = next(place for place, e in enumerate(events) if e["type"] == DELTA) + 1
    full = [{"type": "keepalive"}] * 3
    seen = watch("responses", named([*events[:place], *full, *events[place:]]), window_events=3)

    assert next(e["content_index"] for e in seen.payloads if e["type"] == DELTA) == 1


def test_nobody_waits_for_a_count_that_is_not_repaired() -> None:
    """The policy says so; where repairs only run in shadow, the count is still found."""
    events = counted(answered("One ", "two"))
    refused, observed = (
        watch("responses", named(events), policy) for policy in ("-response_reference_invalid", "none")
    )

    assert refused.payloads == observed.payloads == events
    assert RESPONSE_REFERENCE_INVALID in observed.report.anomalies
    assert RESPONSE_TEXT_LOST not in observed.report.anomalies


def test_annotations_are_of_the_part_that_is_counted_in() -> None:
    """Where deltas are counted, notes are, too."""
    events = answered("One ", "two")
    place = next(place for place, e in enumerate(events) if e["type"] == "response.output_text.done")
    about = {name: events[place][name] for name in ("item_id", "output_index", "content_index")}
    note = {"type": "response.output_text.annotation.added", **about, "annotation_index": 0, "annotation": {}}
    wire = [*events[:place], note, *events[place:]]

    assert watch("responses", named(counted(wire))).payloads == wire


def test_a_delta_behind_its_part_is_set_right_as_those_before_it() -> None:
    """Where the index counts deltas, one that comes after its part closed is of no other part."""
    events = answered("One ", "two ", "three")
    at = [place for place, event in enumerate(events) if event["type"] == "response.output_text.delta"]
    for number, place in enumerate(at):
        events[place] = {**events[place], "content_index": number}
    closes = next(place for place, event in enumerate(events) if event["type"] == "response.content_part.done")
    late = [*events[: at[-1]], events[closes], events[at[-1]], *events[at[-1] + 1 : closes], *events[closes + 1 :]]
    late = [{name: value for name, value in event.items() if name != "sequence_number"} for event in late]
    seen = watch("responses", named(late))

    assert {each.get("content_index") for each in seen.payloads} <= {0, None}


@pytest.mark.parametrize("part", [None, 1, "text", [], {"type": "unheard_of"}])
@pytest.mark.parametrize("member", ["content", "summary"])
@pytest.mark.parametrize("type_", ["", "message", "reasoning", None])
def test_parts_of_any_shape_go_on(part: Any, member: str, type_: Any) -> None:
    """What is no part says nothing."""
    events = answered("One")
    place = next(at for at, event in enumerate(events) if event["type"] == "response.output_item.done")
    events[place] = {**events[place], "item": {"id": "msg_0", "type": type_, member: [part]}}
    seen = watch("responses", named(events))

    assert events[place] in seen.payloads


def test_an_item_that_is_done_twice_under_another_id_is_one_item() -> None:
    """Its text was delivered: it is not put in a second time."""
    events = answered("One ", "two")
    place = next(at for at, event in enumerate(events) if event["type"] == "response.output_item.done")
    events[place] = {**events[place], "item": {**events[place]["item"], "id": "item_done"}}
    wire = numbered([*events[: place + 1], events[place], *events[place + 1 :]])
    seen = watch("responses", named(wire))

    assert seen.payloads == wire


def test_indexes_that_are_one_too_high_join_no_parts() -> None:
    """Text came under the index of the next part before that was announced: it is no count of deltas."""
    added, *part, done = message(0, "One")
    content = [*done["item"]["content"], *done["item"]["content"]]
    second = [{**event, "content_index": 1} for event in part]
    events = response([added, *part, *second, {**done, "item": {**done["item"], "content": content}}])
    wrong = [
        {**event, "content_index": event["content_index"] + 1} if event["type"].endswith("text.delta") else event
        for event in events
    ]
    by_part: dict[int, str] = {}
    for payload in watch("responses", named(wrong)).payloads:
        if payload["type"] == "response.output_text.delta":
            by_part[payload["content_index"]] = by_part.get(payload["content_index"], "") + payload["delta"]

    assert by_part == {1: "One", 2: "One"}


def test_a_text_under_an_index_that_was_not_announced_joins_no_empty_part() -> None:
    """The first part is empty, and the item says so: a second one came without its announcement."""
    events = [e for e in response(message(0, *"ab")) if e["type"] != "response.content_part.added"]
    item = next(e["item"] for e in events if e["type"] == "response.output_item.done")
    parts = [{**item["content"][0], "text": ""}, *item["content"]]
    empty = {**item["content"][0], "text": ""}
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    wire = [{**e, "content_index": 1} if "content_index" in e else e for e in events]
    wire = [{**e, "item": {**item, "content": parts}} if e["type"].endswith("item.done") else e for e in wire]
    wire[-1] = {**wire[-1], "response": {**wire[-1]["response"], "output": [{**item, "content": parts}]}}
    place = next(place for place, e in enumerate(wire) if e["type"].endswith("item.added")) + 1
    wire.insert(place, {"type": "response.content_part.added", **at, "part": empty})
    seen = watch("responses", named(numbered(wire)))

    deltas = [(e["content_index"], e["delta"]) for e in seen.payloads if e["type"].endswith("text.delta")]
    assert deltas == [(1, "a"), (1, "b")]


def test_an_empty_output_is_restored_from_the_items() -> None:
    """get_final_response() has what was streamed; a loop over events has seen it, and gets the event as it came."""
    emptied = [*WHOLE[:-1], {**WHOLE[-1], "response": {**WHOLE[-1]["response"], "output": []}}]
    seen = helped(named(emptied))

    assert seen.payloads == WHOLE
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.VERIFIED}
    assert watch("responses", named(emptied)).payloads == emptied


def test_an_output_is_not_restored_from_items_that_never_ended() -> None:
    """Nothing is invented: an item that was not done is not held to be."""
    unfinished = [event for event in WHOLE if not event["type"].endswith(".done")][:-1]
    emptied = [*unfinished, {**WHOLE[-1], "response": {**WHOLE[-1]["response"], "output": []}}]
    seen = watch(
        "responses", named(numbered([{k: v for k, v in e.items() if k != "sequence_number"} for e in emptied]))
    )

    assert seen.payloads[-1]["response"]["output"] == []
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}


def test_a_text_that_contradicts_its_deltas_fails_what_was_repaired() -> None:
    """Evidence decides: events put back in order whose text is not the one repeated at the end."""
    events = answered("One ", "two ", "three")
    wrong = [{**e, "text": "Two"} if e["type"] == "response.output_text.done" else e for e in events]
    seen = watch("responses", named([*wrong[:4], wrong[5], wrong[4], *wrong[6:]]))

    assert {
        outcome
        for kind, outcomes in seen.report.outcomes.items()
        if kind.name == "sequence_out_of_order"
        for outcome in outcomes
    } == {Outcome.FAILED}
    assert RESPONSE_TERMINAL_MISMATCH in seen.report.anomalies


def test_another_response_behind_the_end_is_dropped_on_request() -> None:
    """The first terminal event is the last one; by default everything passes, and is counted."""
    second = [{**event, "sequence_number": 100 + at} for at, event in enumerate(WHOLE)]
    seen = watch("responses", named(WHOLE) + named(second), "all")

    assert seen.payloads == WHOLE
    assert seen.report.anomalies[STREAM_SPLICED] == len(WHOLE)
    assert seen.outcome(STREAM_SPLICED) == {Outcome.VERIFIED}
    assert watch("responses", named(WHOLE) + named(second)).payloads == [*WHOLE, *second]


@pytest.mark.parametrize("status", ["incomplete", "failed"])
def test_a_response_that_stops_short_needs_no_closing_events(status: str) -> None:
    """Cut by a limit, or failed: what was open stays open, and nothing is made up."""
    events = [*answered("One ", "two")[:6], *answered("One ", "two")[-1:]]
    last = events[-1]["response"]
    events[-1] = {
        "type": f"response.{status}",
        "response": {**last, "status": status, "output": []},
        "sequence_number": 6,
    }
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert RESPONSE_EVENT_MISSING not in seen.report.anomalies
    assert seen.report.verdict is (Verdict.ERROR if status == "failed" else Verdict.COMPLETE)


def test_unknown_events_pass_untouched() -> None:
    """OpenAI adds types as it likes: none is an anomaly, and each has its number."""
    events = [*response(message(0, "One"))]
    for place, type_ in (
        (2, "response.new.thing"),
        (5, "response.image_generation_call.partial_image"),
        (7, "some_other"),
    ):
        events.insert(place, {"type": type_, "x": [1]})
    seen = watch("responses", named(numbered(events)))

    assert seen.payloads == numbered(events)
    assert not seen.faults


@pytest.mark.parametrize("place", [0, 1, 5, 9])
@pytest.mark.parametrize("type_", ["response.created", "response.in_progress", "response.queued"])
def test_a_lifecycle_event_without_response_keeps_alive(type_: str, place: int) -> None:
    """The SDK's helper raises on it, and it says nothing: at the start, in the middle, at the end."""
    events = numbered(response(message(0, "One")))
    events[place:place] = [{"type": type_}, {"type": type_}]
    seen = helped(named(events))

    assert seen.payloads == [event for event in events if "sequence_number" in event]
    assert seen.report.anomalies[KEEPALIVE_FRAME] == 2
    assert not seen.faults
    assert watch("responses", named(events)).payloads == events


def test_a_terminal_event_without_response_is_left_to_the_sdk() -> None:
    """Nothing is made up for it: whoever reads it raises."""
    events = [*answered("One")[:-1], {"type": "response.completed", "sequence_number": 8}]
    seen = watch("responses", named(events))

    assert seen.payloads[-1] == events[-1]
    assert seen.outcome(PAYLOAD_INVALID) == {Outcome.UNREPAIRED}


# --- each repair can be switched off

TWO = answered("One ", "two")
#: A policy, and a response that shows the kind that it leaves out.
OFF: dict[str, list[Payload]] = {
    "response_event_missing": without("response.output_item.added", "response.content_part.added"),
    "response_reference_invalid": [{**event, "item_id": "x"} if "delta" in event else event for event in TWO],
    "response_terminal_mismatch": [*TWO[:-1], {**TWO[-1], "response": {**TWO[-1]["response"], "output": []}}],
    "response_text_lost": renumbered([*TWO[:5], *TWO[6:]]),
    "keepalive_frame": [{"type": "response.in_progress"}, *numbered(PLAIN)],
    "payload_invalid": renumbered(
        [*TWO[:2], {"type": "response.output_item.added", "output_index": 0, "item": None}, *TWO[2:]]
    ),
    "stream_spliced": [*TWO, {**TWO[0], "sequence_number": 100}],
}


@pytest.mark.parametrize("kind", OFF)
def test_a_repair_of_an_event_can_be_switched_off(kind: str) -> None:
    """`-kind`: every event as it came, and the kind is counted all the same; without it, it is repaired."""
    off, on = (helped(named(OFF[kind]), repair) for repair in (f"all,-{kind}", "all"))

    assert off.payloads == OFF[kind]
    assert off.outcome(KINDS[kind]) == {Outcome.UNREPAIRED}
    assert on.payloads != OFF[kind]
    assert on.outcome(KINDS[kind]) == {Outcome.UNVERIFIED if kind == "keepalive_frame" else Outcome.VERIFIED}


def test_closing_events_can_be_left_out() -> None:
    """`-response_event_missing`: the terminal event is evidence enough, and nothing is put in."""
    events = without("response.output_text.done", "response.content_part.done")
    seen = watch("responses", named(events), "default,-response_event_missing")

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}


# --- what must not be believed


def test_a_response_has_one_id() -> None:
    """A relay that makes up an id for each event: the first one is the one that was announced."""
    events = [
        {**event, "response": {**event["response"], "id": f"resp_{at}"}} if "response" in event else event
        for at, event in enumerate(WHOLE)
    ]
    seen = helped(named(events))

    assert {payload["response"]["id"] for payload in seen.payloads if "response" in payload} == {"resp_0"}
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}
    assert seen.report.response_id == "resp_0"
    assert watch("responses", named(events)).payloads == events  # which one goes into the next request nothing says


def finished_as(item: list[Payload], **members: str) -> list[Payload]:
    """A response of an item that is done under other ids, or with more in it, than it was announced with."""
    return [
        {**event, "item": {**event["item"], **members}} if event["type"] == "response.output_item.done" else event
        for event in numbered(response(item))
    ]


def test_an_item_is_finished_under_the_id_that_it_was_announced_with() -> None:
    """For the SDK's helper, which raises otherwise; what a loop over events sends back is what came."""
    events = finished_as(function_call(0, "weather", "{}"), id="x")
    seen = helped(named(events))

    assert seen.payloads == numbered(response(function_call(0, "weather", "{}")))
    assert seen.report.anomalies == {RESPONSE_REFERENCE_INVALID: 1}
    assert watch("responses", named(events)).payloads == events


@pytest.mark.parametrize("repair", ["default", "all"])
def test_a_call_id_is_never_exchanged(repair: str) -> None:
    """The application answers a call by it, and which of two is right nothing says."""
    events = finished_as(function_call(0, "weather", "{}"), call_id="x")
    seen = helped(named(events), repair)

    assert seen.payloads == events
    assert seen.report.outcomes == {RESPONSE_REFERENCE_INVALID: {Outcome.UNREPAIRED: 1}}


@pytest.mark.parametrize("repair", ["default", "all"])
def test_an_id_stays_with_its_encrypted_content(repair: str) -> None:
    """They are bound to each other: what goes back to the server has to fit."""
    events = finished_as(reasoning(0, "Hm"), id="x", encrypted_content="gAAA")
    seen = helped(named(events), repair)

    assert seen.payloads == events
    assert seen.report.outcomes == {RESPONSE_REFERENCE_INVALID: {Outcome.UNREPAIRED: 1}}


def test_a_call_ends_under_the_id_that_it_was_done_with() -> None:
    """The SDK's helper knows a call by its call id, and refuses another id of it in the terminal event."""
    events = numbered(response(function_call(0, "weather", "{}")))
    output = [{**events[-1]["response"]["output"][0], "id": "x"}]
    other = [*events[:-1], {**events[-1], "response": {**events[-1]["response"], "output": output}}]
    seen = helped(named(other))

    assert seen.payloads == events
    assert seen.report.anomalies == {RESPONSE_TERMINAL_MISMATCH: 1}
    assert watch("responses", named(other)).payloads == other


@pytest.mark.parametrize("type_", ["response.output_item.added", "response.output_item.done"])
@pytest.mark.parametrize("item", [None, "x", [], 7], ids=repr)
def test_an_item_that_is_no_object_is_passed_on(type_: str, item: object) -> None:
    """And harms nothing else."""
    odd = {"type": type_, "output_index": 9, "item": item}
    events = numbered([*PLAIN[:5], odd, *PLAIN[5:]])
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.report.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("type_", ["response.output_text.delta", "response.output_text.done"])
@pytest.mark.parametrize("text", [None, 7, ["x"], {}], ids=repr)
def test_a_text_that_is_no_text_is_passed_on(type_: str, text: object) -> None:
    """The item is not torn by it, and the texts that are texts are those of the answer."""
    at = next(at for at, event in enumerate(PLAIN) if event["type"] == type_)
    member = "delta" if type_.endswith("delta") else "text"
    events = numbered([*PLAIN[:at], {**PLAIN[at], member: text}, *PLAIN[at:]])
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert not seen.faults


def test_arguments_with_an_index_of_a_part_are_arguments_all_the_same() -> None:
    """A call has no parts: the member means nothing, and every delta counts once."""
    events = [
        {**event, "content_index": at} if "delta" in event else event
        for at, event in enumerate(numbered(response(function_call(0, "weather", "{", "}"))))
    ]
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert not seen.faults
    assert seen.report.chunks[ChunkType.TOOL_CALL] == 2


@pytest.mark.parametrize("error", ["Overloaded", {"message": "Overloaded"}], ids=type)
def test_an_error_in_an_event_of_any_type_is_one(error: object) -> None:
    """The SDK raises on a truthy `error` member."""
    odd = {"type": "response.output_text.annotation.added", "error": error}
    seen = watch("responses", named(numbered([*PLAIN[:5], odd])))

    assert seen.report.anomalies[ERROR_IN_STREAM] == 1
    assert seen.report.verdict is Verdict.ERROR


def test_an_error_named_so_is_counted_once() -> None:
    """`type: error`, with the error beside it or in it."""
    odd = {"type": "error", "code": "x", "message": "Overloaded", "error": {"message": "Overloaded"}}

    assert watch("responses", named(numbered([*PLAIN[:5], odd]))).report.anomalies[ERROR_IN_STREAM] == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("incomplete", "incomplete"),
        ("failed", "failed"),
        ("in_progress", "completed"),
        ("x", "completed"),
        ([], "completed"),
    ],
)
def test_a_status_that_contradicts_its_event_is_told(status: object, reason: str) -> None:
    """It is passed on as it came. An answer that was cut off is told as such: vLLM 0.32 ends it as completed."""
    last = {**TWO[-1], "response": {**TWO[-1]["response"], "status": status}}
    seen = watch("responses", named([*TWO[:-1], last]))

    assert seen.payloads[-1] == last
    assert seen.report.anomalies == {RESPONSE_TERMINAL_MISMATCH: 1}
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}
    assert seen.report.finish_reasons == (reason,)


# --- items that nobody announced


def custom_call(output_index: int, text: str) -> list[Payload]:
    """The events of one call of a custom tool."""
    id = f"ctc_{output_index}"
    at = {"item_id": id, "output_index": output_index}
    item = {"id": id, "type": "custom_tool_call", "call_id": "call_x", "name": "run"}
    return [
        {"type": "response.output_item.added", "output_index": output_index, "item": {**item, "input": ""}},
        {"type": "response.custom_tool_call_input.delta", **at, "delta": text},
        {"type": "response.custom_tool_call_input.done", **at, "input": text},
        {"type": "response.output_item.done", "output_index": output_index, "item": {**item, "input": text}},
    ]


#: Items, and what an announcement that nobody sent says of each.
ANNOUNCED: list[tuple[list[Payload], Payload]] = [
    (message(0, "One"), {"id": "msg_0", "type": "message", "role": "assistant", "content": []}),
    (reasoning(0, "Hm"), {"id": "rs_0", "type": "reasoning", "summary": []}),
    (
        function_call(0, "weather", "{}"),
        {"id": "fc_0", "type": "function_call", "call_id": "call_0", "name": "weather", "arguments": ""},
    ),
    (
        custom_call(0, "ls"),
        {"id": "ctc_0", "type": "custom_tool_call", "call_id": "call_x", "name": "run", "input": ""},
    ),
]


@pytest.mark.parametrize(("item", "announced"), ANNOUNCED, ids=lambda each: str(len(each)))
def test_an_announcement_is_made_of_what_is_known(item: list[Payload], announced: Payload) -> None:
    """The members that the SDK needs, each empty, and the item is in progress; it has the number before it."""
    seen = helped(named(numbered(response(item)[:2] + item[1:] + response(item)[-1:])), "all")

    assert seen.payloads[2] == {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": {**announced, "status": "in_progress"},
    }
    assert seen.payloads[3:] == numbered(response(item)[:2] + item[1:] + response(item)[-1:])[2:]


@pytest.mark.parametrize("item", [function_call(0, "weather", "{}"), message(0, "One")], ids=["call", "message"])
def test_an_item_that_only_ends_is_told_from_its_beginning(item: list[Payload]) -> None:
    """Who joins deltas, or waits for announcements, would have nothing of it; its id, call id and name are there."""
    only = numbered([*response(item)[:2], item[-1], response(item)[-1]])
    seen, of_helper = watch("responses", named(only)), helped(named(only))

    assert types_of(of_helper.payloads) == types_of(response(item))
    assert types_of(seen.payloads) == [
        type_ for type_ in types_of(response(item)) if type_ == item[-1]["type"] or not type_.endswith(".done")
    ]
    assert seen.payloads[2]["item"] == item[0]["item"]
    assert texts_of(read("responses", seen.delivered)) == texts_of(
        read("responses", watch("responses", named(numbered(response(item)))).delivered)
    )
    assert (
        seen.report.outcomes
        == of_helper.report.outcomes
        == {
            RESPONSE_EVENT_MISSING: {Outcome.VERIFIED: 1},
            RESPONSE_TEXT_LOST: {Outcome.VERIFIED: 1},
        }
    )


@pytest.mark.parametrize("twice", ANNOUNCING)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the first delta"])
def test_an_announcement_that_comes_twice_tells_no_text_twice(twice: str, late: bool) -> None:
    """Under a number of its own: the item and the part are those that were announced first."""
    events: list[Any] = []
    again: list[Any] = []
    for event in PLAIN:
        if event["type"].endswith(".delta"):
            events, again = [*events, event, *again], []
            continue
        events.append(event)
        if event["type"] == twice:
            events, again = ([*events, event], []) if not late else (events, [event])
    seen = watch("responses", named(numbered(events)))

    assert seen.payloads == numbered(events)
    assert not seen.faults


def test_items_that_only_the_terminal_event_has_are_announced_on_request() -> None:
    """A heuristic: by default they are counted, and nothing is put in. An item without an id stays where it is."""
    events = response(message(0, "One"), message(1, "two"))
    item = {k: v for k, v in events[-1]["response"]["output"][1].items() if k != "id"}
    events[-1]["response"]["output"][1] = item
    events = numbered([*events[:2], events[-1]])
    default, repaired = watch("responses", named(events)), watch("responses", named(events), "all")

    assert default.payloads == events
    assert default.report.outcomes == {
        RESPONSE_EVENT_MISSING: {Outcome.UNREPAIRED: 2},
        RESPONSE_TEXT_LOST: {Outcome.UNREPAIRED: 2},
    }
    assert types_of(repaired.payloads) == types_of(response(message(0, "One")))
    assert [event["output_index"] for event in repaired.payloads[2:-1]] == [0] * 6
    assert read("responses", repaired.delivered).said[0].text == "One"


@pytest.mark.parametrize("output", [[], [{"id": "msg_9", "type": "message", "content": []}], [None], "x"], ids=str)
def test_an_item_that_the_terminal_event_does_not_hold_stays_open(output: object) -> None:
    """What it was in the end is not made up."""
    events = [event for event in answered("One ") if not event["type"].endswith(".done")]
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": output}}
    events = numbered({k: v for k, v in event.items() if k != "sequence_number"} for event in events)
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}


def test_an_item_that_differs_from_what_was_streamed_is_not_closed() -> None:
    """The terminal event holds another text: nothing is told of it that was not said."""
    events = [event for event in answered("One ") if not event["type"].endswith("done")]
    final = {**events[2]["item"], "content": [{"type": "output_text", "text": "Two"}]}
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": [final]}}
    events = numbered({k: v for k, v in event.items() if k != "sequence_number"} for event in events)
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize(("came", "closed"), [((), 0), (("Other ",), 0), (("One ", "and all"), 2)], ids=str)
def test_the_items_of_an_answer_are_closed_all_or_none(came: tuple[str, ...], closed: int, at: int) -> None:
    """Who takes the items that are done for the answer gets no half of it, where the text of one of them never came."""
    items = [message(place, *(came if place == at else ("One ", "and all"))) for place in (0, 1)]
    events = response([*items[0], *items[1]])
    output = [message(place, "One and all")[-1]["item"] for place in (0, 1)]
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": output}}
    seen = helped(named(numbered(event for event in events if not event["type"].endswith("done"))))

    assert [each["type"] for each in seen.payloads].count("response.output_item.done") == closed


def test_what_closes_an_item_is_what_the_server_left_out() -> None:
    """Member for member, but for the number and for a name that no reader needs."""
    seen = helped(named(without(*CLOSING)), "all")
    put_in = [
        {k: v for k, v in each.items() if k != "sequence_number"} for each in seen.payloads if each["type"] in CLOSING
    ]
    left_out = [{k: v for k, v in each.items() if k != "name"} for each in PLAIN if each["type"] in CLOSING]

    assert put_in == left_out


def test_an_id_is_never_made_up() -> None:
    """Nobody announced the items, and their events have no ids: they are announced under those they are done with."""
    events = [{k: v for k, v in event.items() if k != "item_id"} for event in without("response.output_item.added")]
    seen = helped(named(events), "all")

    assert [each for each in seen.payloads if each["type"] == "response.output_item.done"] == [
        each for each in events if each["type"] == "response.output_item.done"
    ]
    assert [each["item"]["id"] for each in seen.payloads if each["type"] == "response.output_item.added"] == [
        "rs_0",
        "msg_1",
        "fc_2",
    ]
    assert RESPONSE_REFERENCE_INVALID not in seen.report.anomalies


@pytest.mark.parametrize("content", [[], [None], None, "x", [{"type": "output_text"}]], ids=str)
def test_an_item_whose_parts_the_terminal_event_lacks_is_not_closed(content: object) -> None:
    """Its text is not there to be repeated."""
    events = [event for event in response(message(0, "One")) if not event["type"].endswith("done")]
    final = {**events[2]["item"], "content": content}
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": [final]}}
    seen = watch("responses", named(numbered(events)))

    assert seen.payloads == numbered(events)
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("type_", ["created", "in_progress", "queued", "completed", "incomplete", "failed"])
def test_every_event_of_the_life_of_a_response_needs_its_response(type_: str) -> None:
    """A terminal one without it is left to the SDK, which raises; the others say nothing."""
    terminal = type_ in ("completed", "incomplete", "failed")
    seen = helped(named([{"type": f"response.{type_}"}]))

    assert seen.report.anomalies[PAYLOAD_INVALID if terminal else KEEPALIVE_FRAME] == 1
    assert len(seen.payloads) == terminal
    whole = watch(
        "responses", named(numbered([*PLAIN[:1], {"type": f"response.{type_}", "response": {"id": "resp_1"}}]))
    )
    assert whole.report.chunks.get(ChunkType.FINISH, 0) == terminal
    assert whole.report.finish_reasons == ((type_,) if terminal else ())


#: An event of a text, and what it counts as.
SORTS = {
    "output_text": ChunkType.TEXT,
    "refusal": ChunkType.REFUSAL,
    "reasoning_text": ChunkType.REASONING,
    "reasoning_summary_text": ChunkType.REASONING,
    "function_call_arguments": ChunkType.TOOL_CALL,
    "custom_tool_call_input": ChunkType.TOOL_CALL,
    "mcp_call_arguments": ChunkType.TOOL_CALL,
    "code_interpreter_call_code": ChunkType.TOOL_CALL,
}
#: What announces each, where nobody did: the type of the item, the part, and the member that has the whole text.
PLACES: dict[str, tuple[str, Payload | None, str]] = {
    "output_text": ("message", {"type": "output_text", "text": "", "annotations": []}, "text"),
    "refusal": ("message", {"type": "refusal", "refusal": ""}, "refusal"),
    "reasoning_text": ("reasoning", None, "text"),  # servers send it without parts
    "reasoning_summary_text": ("reasoning", {"type": "summary_text", "text": ""}, "text"),
    "function_call_arguments": ("function_call", None, "arguments"),
    "custom_tool_call_input": ("custom_tool_call", None, "input"),
    "mcp_call_arguments": ("mcp_call", None, "arguments"),
    "code_interpreter_call_code": ("code_interpreter_call", None, "code"),
}


@pytest.mark.parametrize("name", SORTS)
def test_every_text_is_known_by_its_name(name: str) -> None:
    """What it counts as, what announces it, and where its whole stands when it is done."""
    item, part, member = PLACES[name]
    summary = name == "reasoning_summary_text"
    where = {"content_index": 0} if item == "message" or name == "reasoning_text" else {}
    where = {"summary_index": 0} if summary else where
    at = {"item_id": "x_0", "output_index": 0, **where}
    deltas = [{"type": f"response.{name}.delta", **at, "delta": piece} for piece in ("One ", "two", "!")]
    done = {"type": f"response.{name}.done", **at, member: "One two?"}
    ended = {"type": "response.output_item.done", "output_index": 0}
    ended["item"] = {"id": "x_0", "type": item, "call_id": "call_0", "name": "f"}
    seen = helped(named(numbered([*PLAIN[:2], *deltas, done, ended])), "all")
    announced = [payload for payload in seen.payloads if payload["type"].endswith(".added")]

    assert seen.report.chunks[SORTS[name]] == 3
    assert announced[0]["item"]["type"] == item
    assert [(each["type"], each["part"]) for each in announced[1:]] == (
        [(f"response.{'reasoning_summary' if summary else 'content'}_part.added", part)] if part else []
    )
    assert RESPONSE_TERMINAL_MISMATCH in seen.report.anomalies  # it was looked for where it stands


# --- events of every form


@pytest.mark.parametrize("delta", [None, 7, ["x"]], ids=repr)
def test_a_delta_that_is_no_text_amid_others_is_passed_on(delta: object) -> None:
    """The part is open, and stays what it was."""
    events = response(message(0, "One ", "two"))
    events.insert(5, {**events[4], "delta": delta})
    seen = watch("responses", named(numbered(events)))

    assert seen.payloads == numbered(events)
    assert not seen.faults


@pytest.mark.parametrize("type_", [None, 7, ["response.created"], {}], ids=repr)
def test_an_event_whose_type_is_no_text_is_passed_on(type_: object) -> None:
    """Counted as something else."""
    seen = watch("responses", body(numbered([*PLAIN[:5], {"type": type_}, *PLAIN[5:]]), done=False))

    assert len(seen.payloads) == len(PLAIN) + 1
    assert seen.report.chunks[ChunkType.OTHER] == 1
    assert not seen.faults


def test_an_event_of_the_api_that_is_not_known_is_one_of_its_life() -> None:
    """One that a relay made up is anything."""
    more = [{"type": "response.new.thing"}, {"type": "response.other"}, {"type": "relay.stats"}]
    before = watch("responses", named(WHOLE)).report.chunks
    chunks = watch("responses", named(numbered([*PLAIN[:-1], *more, PLAIN[-1]]))).report.chunks

    assert chunks[ChunkType.LIFECYCLE] == before[ChunkType.LIFECYCLE] + 2
    assert chunks[ChunkType.OTHER] == before.get(ChunkType.OTHER, 0) + 1


@pytest.mark.parametrize("part", [None, "x", [], 7], ids=repr)
def test_a_part_that_is_no_object_is_a_part(part: object) -> None:
    """It was announced: what it is the first text of it tells."""
    events = [
        {**event, "part": part} if event["type"] == "response.content_part.added" else event
        for event in response(message(0, "One"))
    ]
    seen = watch("responses", named(numbered(events)))

    assert seen.payloads == numbered(events)
    assert not seen.faults


def test_a_whole_text_that_comes_twice_is_put_in_once() -> None:
    """No delta came: it is told as one, and not again."""
    events = without("response.output_text.delta")
    at = next(at for at, event in enumerate(events) if event["type"] == "response.output_text.done")
    plain = [{k: v for k, v in event.items() if k != "sequence_number"} for event in events]
    seen = watch("responses", named(numbered([*plain[: at + 1], *plain[at:]])))

    assert read("responses", seen.delivered) == SAID
    assert seen.report.anomalies == {RESPONSE_TEXT_LOST: 1}


def test_the_item_of_an_event_is_known_by_its_id() -> None:
    """Two are open, and the index is not there."""
    one, two = message(0, "One"), message(1, "two")
    mixed = [*one[:2], *two[:2], *one[2:5], *two[2:5], one[5], two[5]]
    events = response(one, two)
    events = [*events[:2], *mixed, events[-1]]
    wire = [{k: v for k, v in event.items() if k != "output_index" or "item" in event} for event in events]
    seen = helped(named(numbered(wire)))

    assert seen.payloads == numbered(events)
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_the_item_of_an_event_is_the_one_that_is_open() -> None:
    """Neither index nor id is there; another one has ended."""
    events = response(message(0, "One"), message(1, "two"))
    wire = [
        {k: v for k, v in each.items() if k not in ("output_index", "item_id") or "item" in each} for each in events
    ]
    seen = helped(named(numbered(wire)))

    assert [each["output_index"] for each in seen.payloads if each["type"] == "response.output_text.delta"] == [0, 1]
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_a_call_that_only_its_arguments_announce_is_announced_when_it_is_done() -> None:
    """Its whole arguments come first: they wait for the call id."""
    item = function_call(0, "weather", "{}")
    events = response(item)
    seen = helped(named(numbered([*events[:2], item[2], item[3], events[-1]])))

    assert types_of(seen.payloads) == types_of(events)
    assert seen.payloads[2]["item"] == item[0]["item"]


# --- an index that another item had


def under(index: int, events: list[Payload]) -> list[Payload]:
    """The events of an item under another index; its ids stay."""
    return [{**event, "output_index": index} if "output_index" in event else event for event in events]


def test_an_item_under_the_index_of_another_gets_one_of_its_own() -> None:
    """As a server does that gives its message the index of the call before it: all events of the item are moved."""
    call, text = function_call(0, "weather", "{", "}"), message(1, "One ", "two")
    seen = watch("responses", named(numbered(response(call, under(0, text)))))

    assert numbered(response(call, text)) == seen.payloads
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}
    assert {RESPONSE_REFERENCE_INVALID: len(text)} == seen.report.anomalies


@pytest.mark.parametrize("repair", ["none", "default,-normalize_chunk"])
def test_an_index_that_is_taken_is_counted_and_left_alone_where_the_policy_says_so(repair: str) -> None:
    """Nothing of the stream is changed then."""
    events = numbered(response(function_call(0, "weather", "{}"), under(0, message(1, "One"))))
    seen = watch("responses", named(events), repair)

    assert events == seen.payloads
    assert RESPONSE_REFERENCE_INVALID in seen.report.anomalies


def test_an_item_that_is_announced_again_is_no_other_item() -> None:
    """The same id under the same index, and one without an id: nothing is taken."""
    once = message(0, "One")
    for item in (once[0]["item"], {**once[0]["item"], "id": ""}):
        again = [once[0], {**once[0], "item": item}, *once[1:]]
        seen = watch("responses", named(numbered(response(again))))
        assert RESPONSE_REFERENCE_INVALID not in seen.report.anomalies


def test_a_third_item_under_the_same_index_gets_a_third_one() -> None:
    """Each new item has the next index that is free, also where that is what a later one came under."""
    items = [message(index, "One") for index in range(3)]
    came = [items[0], under(0, items[1]), under(1, items[2])]
    seen = watch("responses", named(numbered(response(*came))))

    assert numbered(response(*items)) == seen.payloads


# --- an announcement that says everything


@pytest.mark.parametrize("made", [function_call(0, "weather", "{}"), message(0, "One")], ids=["call", "message"])
def test_no_delta_is_put_in_where_the_announcement_has_the_text(made: list[Payload]) -> None:
    """The SDK's helper adds deltas to what was announced: one more would double the text."""
    whole = [event for event in made if not event["type"].endswith(".delta")]
    member, at = ("arguments", "item") if made[0]["item"]["type"] == "function_call" else ("text", "part")
    text = next(event[member] for event in whole if event["type"].endswith(f"{member}.done"))
    announced = 0 if at == "item" else 1
    whole[announced] = {**whole[announced], at: {**whole[announced][at], member: text}}
    events = numbered(response(whole))
    seen = watch("responses", named(events))

    assert events == seen.payloads
    assert {} == seen.report.anomalies


def test_nothing_is_put_in_where_the_announcement_has_a_part_of_the_text() -> None:
    """Who begins with it lacks another tail than who leaves it out."""
    made = function_call(0, "weather", "{}")
    made[0] = {**made[0], "item": {**made[0]["item"], "arguments": "{"}}
    del made[1]
    events = numbered(response(made))
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


def test_deltas_may_go_on_from_what_the_announcement_says() -> None:
    """The announcement and the deltas together are the whole."""
    made = function_call(0, "weather", "{", "}")
    made[0] = {**made[0], "item": {**made[0]["item"], "arguments": "{"}}
    del made[1]
    events = numbered(response(made))
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.report.anomalies == {}


# --- identity before position


def changed_where(events: list[Payload], end: str, **members: object) -> list[Payload]:
    """Events with other members, where their type ends so."""
    return [{**event, **members} if event["type"].endswith(end) else event for event in events]


@pytest.mark.parametrize("repair", ["default", "all"])
@pytest.mark.parametrize("request_", [Request(), HELPER], ids=["loop", "helper"])
def test_closing_events_go_where_their_ids_say(repair: str, request_: Request) -> None:
    """Under the index of another item, of none, or of one that comes later: nothing is told twice."""
    whole = numbered(response(reasoning(0, "Hm"), message(1, "One ", "two"), function_call(2, "weather", "{", "}")))
    for index in (0, 1, 2, 3, 7):
        wrong = [
            {**e, "output_index": index} if e["type"].endswith("done") and "output_index" in e else e for e in whole
        ]
        seen = watch("responses", named(wrong), repair, request=request_)

        assert seen.payloads == whole
        assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_deltas_go_where_their_ids_say() -> None:
    """Two items that are open at once, under each other's index."""
    one, two = message(0, "One ", "two"), message(1, "three ", "four")
    whole = [*one[:2], *two[:2], one[2], two[2], one[3], two[3], *one[4:], *two[4:]]
    events = numbered([*response(one, two)[:2], *whole, response(one, two)[-1]])
    wrong = [{**e, "output_index": 1 - e["output_index"]} if e["type"].endswith("delta") else e for e in events]
    seen = watch("responses", named(wrong))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_an_announcement_out_of_order_may_be_what_is_wrong() -> None:
    """All events of the item say another index than its announcement: nothing says which is right, and none is changed."""
    events = answered("One ", "two")
    wrong = [{**e, "output_index": 1} if e["type"] == "response.output_item.added" else e for e in events]
    seen = watch("responses", named(wrong))

    assert seen.payloads == wrong
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.UNREPAIRED}
    helper = helped(named(wrong))
    assert {e["output_index"] for e in helper.payloads if "output_index" in e} == {1}  # the helper needs one of both


def test_an_id_that_all_items_have_tells_nothing() -> None:
    """A relay that makes one up for all: the index says which item is meant."""
    events = numbered(response(message(0, "One"), function_call(1, "weather", "{}")))
    same = [
        {**e, "item_id": "x"} if "item_id" in e else {**e, "item": {**e["item"], "id": "x"}} if "item" in e else e
        for e in events
    ]
    seen = watch("responses", named(same))

    assert seen.payloads == same
    assert read("responses", seen.delivered) == read("responses", watch("responses", named(events)).delivered)


STRAY = [
    *response(reasoning(0, "Hm"), message(1, "One ", "two"))[:7],
    *({**event, "output_index": 0} for event in message(1, "One ", "two")[2:4]),
    *function_call(1, "weather", "{}"),
    response(reasoning(0, "Hm"), message(1, "One ", "two"), function_call(1, "weather", "{}"))[-1],
]


def test_text_under_the_index_of_reasoning_is_not_the_reasoning_s() -> None:
    """Nobody announced the message: its ids are kept, and a reader that joins deltas reads what it read before."""
    seen = watch("responses", named(numbered(STRAY)))

    assert seen.payloads == numbered(STRAY)
    assert {RESPONSE_REFERENCE_INVALID, RESPONSE_EVENT_MISSING} <= set(seen.report.anomalies)


def test_a_stray_item_gets_an_index_that_no_announcement_asks_for() -> None:
    """The call that is announced later keeps the index that it is announced under."""
    seen = helped(named(numbered(STRAY)))
    places = {e["item"]["id"]: e["output_index"] for e in seen.payloads if e["type"] == "response.output_item.added"}

    assert places == {"rs_0": 0, "msg_1": 10_000, "fc_1": 1}
    assert {e["output_index"] for e in seen.payloads if e.get("item_id") == "msg_1"} == {10_000}
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_an_announcement_that_comes_late_announces_nothing_twice() -> None:
    """It is dropped for whom the item was announced already, and passes for all others."""
    item = message(0, "One ", "two")
    events = renumbered([*response(item)[:2], *item[1:3], item[0], *item[3:], response(item)[-1]])

    assert types_of(helped(named(events)).payloads).count("response.output_item.added") == 1
    assert watch("responses", named(events)).payloads == events


def test_a_part_that_is_announced_again_when_it_is_done_is_another_part() -> None:
    """Both texts are the item's, and neither is put in."""
    one, two = message(0, "One"), message(0, "two")
    done = {**one[-1], "item": {**one[-1]["item"], "content": [one[-2]["part"], two[-2]["part"]]}}
    last = response(one)[-1]
    last = {**last, "response": {**last["response"], "output": [done["item"]]}}
    events = numbered([*response(one)[:2], *one[:-1], *two[1:-1], done, last])
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies
    helper = helped(named(events)).payloads
    assert [e["content_index"] for e in helper if "content_index" in e] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_deltas_of_several_items_may_be_counted_in_one() -> None:
    """The index of a part counts all deltas of the stream: nothing is taken for lost."""
    events = numbered(response(message(0, "One ", "two ", "!"), message(1, "three ", "four")))
    count = itertools.count()
    wrong = [{**e, "content_index": next(count)} if e["type"].endswith("delta") else e for e in events]
    seen = watch("responses", named(wrong))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


# --- what an event is about may come later


def test_a_call_is_announced_when_its_call_id_is_known() -> None:
    """Its events wait for it, in the SDK's helper, and go on in order."""
    call = function_call(1, "weather", "{", "}")
    events = without_added = renumbered(
        [*response(message(0, "One"), call)[:8], *call[1:], *response(message(0, "One"), call)[-1:]]
    )
    seen = helped(named(events))

    assert [e for e in seen.payloads if e in events] == without_added
    (added,) = [e for e in seen.payloads if e not in events]
    assert (added["item"]["call_id"], added["item"]["name"]) == ("call_1", "weather")
    assert seen.payloads.index(added) == 8
    assert watch("responses", named(events)).payloads == events


@pytest.mark.parametrize("many", [61, 62])
def test_what_waits_for_a_call_id_waits_within_the_window(many: int) -> None:
    """64 events, as everything that is held; then all goes on as it came, and nothing waits again."""
    call = function_call(0, "weather", *["1"] * many)
    events = renumbered([*response(call)[:2], *call[1:], response(call)[-1]])
    seen = helped(named(events))
    put_in = [e for e in seen.payloads if e not in events]

    assert [e for e in seen.payloads if e in events] == events
    assert len(put_in) == (1 if many < 62 else 0)


def test_what_waits_goes_on_when_the_time_is_over() -> None:
    """2 seconds, whatever comes."""
    now = [0.0]
    stream = StreamWatch("responses", HELPER, clock=lambda: now[0])
    call = function_call(0, "weather", "{", "}")
    events = renumbered([*response(call)[:2], *call[1:]])
    stream.receive(named(events[:4]))
    assert [e.payload for e in stream.ready] == events[:2]
    assert stream.undelivered()[0][2:] != []

    now[0] = 2.0
    stream.expire()
    assert [e.payload for e in stream.ready] == events[:4]
    stream.receive(named(events[4:]))
    assert [e.payload for e in stream.ready] == events


@pytest.mark.parametrize("end", ["done", "terminal", "error", "cut"])
def test_what_waits_goes_on_at_the_end(end: str) -> None:
    """Whatever the end is: as it came, and in order."""
    call = function_call(0, "weather", "{", "}")
    events = renumbered([*response(call)[:2], *call[1:3]])
    last = {"terminal": response(call)[-1:], "error": [{"type": "error", "message": "no"}]}.get(end, [])
    seen = helped(named([*events, *last]) + (b"data: [DONE]\n\n" if end == "done" else b""))

    assert [e for e in seen.payloads if e in events] == events


# --- the unknown passes

STRANGERS = [
    {"type": "response.rate_limits.updated", "rate_limits": []},
    {"type": "response.new.thing", "output_index": 0, "item_id": "msg_0"},
    {"type": "vendor.cost", "usd": 1},
    {"object": "vendor.frame"},
    {"type": None},
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda each: str(each.get("type")))
@pytest.mark.parametrize("counted", [True, False], ids=["numbered", "without a number"])
def test_the_unknown_passes_anywhere(stranger: Payload, counted: bool) -> None:
    """Also behind the end: untouched, and no fault; and the events behind it are put in order all the same."""
    for place in range(1, 9):
        events = [*response(message(0, "One ", "two"))]
        events.insert(place if place < 8 else len(events), stranger)
        events = numbered(events) if counted else events
        seen = watch("responses", body(events, done=False))

        assert seen.payloads == events
        assert not seen.faults
        assert seen.report.verdict is Verdict.COMPLETE


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"type": "keepalive"}, None),
        ({"type": "response.keep_alive"}, None),
        ({"type": "response.keepalive"}, None),
        ({"type": "ping"}, None),
        ({}, "keepalive"),
        ({"at": 1}, "keep-alive"),
    ],
    ids=str,
)
def test_what_keeps_alive_is_known_by_its_type_or_its_name(payload: Payload, name: str | None) -> None:
    """Everywhere; it is dropped on request, and by default where the SDK's helper would raise: before all else."""
    wire = named(WHOLE[:5]) + sse(payload, event=name) + named(WHOLE[5:])
    seen, dropped = watch("responses", wire), watch("responses", wire, "all")

    assert seen.report.anomalies[KEEPALIVE_FRAME] == 1
    assert not seen.faults
    assert [e for e in seen.payloads if e in WHOLE] == WHOLE
    assert len(seen.payloads) == len(WHOLE) + 1
    assert dropped.payloads == WHOLE
    assert helped(sse(payload, event=name) + named(WHOLE)).payloads == WHOLE


def test_a_ping_with_something_in_it_passes() -> None:
    """It tells something, to who knows it."""
    wire = named(WHOLE[:5]) + sse({"type": "ping", "cost": 1}) + named(WHOLE[5:])

    assert KEEPALIVE_FRAME not in watch("responses", wire, "all").report.anomalies


SPLICES = {
    "another lifecycle": [{**WHOLE[0], "sequence_number": 100}],
    "another id": [{**WHOLE[-1], "response": {**WHOLE[-1]["response"], "id": "resp_2"}, "sequence_number": 100}],
    "an item": [{**WHOLE[2], "sequence_number": 100}],
    "a delta": [{**WHOLE[4], "sequence_number": 100}],
    "an unknown delta": [{"type": "response.new.delta", "delta": "x", "sequence_number": 100}],
}


@pytest.mark.parametrize("delta", [None, 7, {"text": "a"}], ids=str)
@pytest.mark.parametrize("wrong", [{"output_index": 7}, {"content_index": 7}, {"item_id": "other"}], ids=str)
def test_references_are_set_right_of_deltas_without_a_text_too(delta: object, wrong: Payload) -> None:
    """Who goes by an index finds all events of an item under the same one."""
    wire = [{**event, **wrong} if event["type"] == "response.output_text.delta" else event for event in PLAIN]
    place = next(place for place, event in enumerate(wire) if event["type"] == "response.output_text.delta")
    odd = {**wire[place], "delta": delta}
    seen = watch("responses", named(numbered([*wire[: place + 1], odd, *wire[place + 1 :]])))
    deltas = [event for event in seen.payloads if event["type"] == "response.output_text.delta"]

    assert 1 == len({(event["output_index"], event["content_index"], event["item_id"]) for event in deltas})
    assert 1 + sum(event["type"] == "response.output_text.delta" for event in PLAIN) == len(deltas)


@pytest.mark.parametrize("id", ["other", None, ...], ids=str)
@pytest.mark.parametrize("shift", [1, 7])
def test_an_item_that_ends_under_another_place_is_told_by_its_text(id: object, shift: int) -> None:
    """Nothing of one item becomes the other one's: what was delivered says whose end it is."""
    one, two = message(0, "One ", "two"), message(1, "Three")
    ends = []
    for end in (one[-1], two[-1]):
        item = {k: v for k, v in {**end["item"], "id": id}.items() if v is not ...}
        ends.append({**end, "output_index": end["output_index"] + shift, "item": item})
    begun = [*response(one, two)[:2], *one[:-1], two[0]]
    wire = numbered([*begun, ends[0], *two[1:-1], ends[1], response(one, two)[-1]])
    seen = watch("responses", named(wire))

    assert [event["output_index"] for event in seen.payloads if event["type"] == one[-1]["type"]] == [0, 1]
    assert types_of(seen.payloads) == types_of(wire)
    assert {RESPONSE_REFERENCE_INVALID.name} == seen.faults


def test_texts_of_items_that_nobody_announced_are_told_apart_by_their_ids() -> None:
    """Without an index only the id says which one it is: no text is said twice for that."""
    items = [message(0, "One"), message(1, "two ", "three"), message(2, "four")]
    wire = [
        {**event, "output_index": None} if "item" not in event else event
        for step in itertools.zip_longest(*(item[2:] for item in items))
        for event in step
        if event is not None
    ]
    end = response(*items)[-1]
    seen = watch("responses", named(numbered([*response(items[0])[:2], *wire, end])))

    assert [event for event in seen.payloads if event["type"].endswith((".delta", "text.done"))] == [
        event
        for event in numbered([*response(items[0])[:2], *wire, end])
        if event["type"].endswith((".delta", "text.done"))
    ]


@pytest.mark.parametrize("wrong", [{"output_index": 0}, {"output_index": 7}, {"output_index": None}], ids=str)
def test_a_text_that_closes_under_nobodys_id_is_told_by_what_it_says(wrong: Payload) -> None:
    """The item before is done, and the id is nobody's: what was delivered says whose end it is. What is absent stays so."""
    one, two = message(0, "One"), message(1, "two ", "three")
    closing = [{**event, **wrong, "item_id": "other"} for event in two[-3:-1]]
    seen = watch(
        "responses", named(numbered([*response(one)[:-1], *two[:-3], *closing, two[-1], response(one, two)[-1]]))
    )
    ends = [event for event in seen.payloads if event["type"] in (two[-3]["type"], two[-2]["type"])][2:]

    right = ("other", None) if wrong["output_index"] is None else (two[1]["item_id"], 1)
    assert [(event["item_id"], event["output_index"]) for event in ends] == [right] * 2
    assert sum(event["type"].endswith(".delta") for event in seen.payloads) == 3


def test_a_reasoning_text_whose_index_counts_its_deltas_is_not_said_again() -> None:
    """Nobody announces its parts: what came under another index may be the rest of it."""
    item = reasoning(0, "a", "b", "c")
    deltas = [event for event in item if event["type"].endswith(".delta")]
    counted = [{**event, "content_index": deltas.index(event)} if event in deltas else event for event in item]
    wire = numbered([*response(item)[:2], *counted, response(item)[-1]])

    assert len(deltas) == 3
    assert types_of(watch("responses", named(wire)).payloads) == types_of(wire)


@pytest.mark.parametrize("announced", [True, False])
def test_a_delta_without_a_text_goes_on_as_it_came(announced: bool) -> None:
    """Of arguments, which have no parts, and of an item that nobody knows."""
    odd = {"type": "response.function_call_arguments.delta", "item_id": "fc_0", "output_index": 0, "delta": None}
    call = function_call(0, "weather", "{}")
    begun = [*response(call)[:2], *(call[:1] if announced else [])]
    wire = numbered([*begun, odd, *call[1:], response(call)[-1]])
    seen = watch("responses", named(wire))

    assert next(event for event in wire if event.get("delta", "") is None) in seen.payloads
    assert types_of(wire) == [type_ for type_ in types_of(seen.payloads) if announced or type_ in types_of(wire)]


def test_an_item_that_ends_in_the_place_of_another_sort_is_not_that() -> None:
    """Neither its id nor its call id is known: a call is no message."""
    call = function_call(0, "weather", "{}")
    end = {**call[-1], "item": {**call[-1]["item"], "id": "other", "call_id": "other"}}
    said = message(0, "One")
    seen = watch("responses", named(numbered([*response(said)[:-1], end, response(said, call)[-1]])))

    assert end["item"] in [event.get("item") for event in seen.payloads]
    assert "One" == "".join(event["delta"] for event in seen.payloads if event["type"] == "response.output_text.delta")


@pytest.mark.parametrize("id", ["msg_0", "msg_other"])
@pytest.mark.parametrize("type_", ["response.output_text.delta", "response.vendor.delta", "response.refusal.delta"])
def test_a_tail_that_was_put_in_is_not_said_again_behind_the_end(type_: str, id: str) -> None:
    """The terminal event came early, under the next number: what it said was taken for lost."""
    item = message(0, "One ", "two")
    tail = {"type": type_, "item_id": id, "output_index": 0, "content_index": 0, "delta": "two"}
    early = numbered([*response(item)[:2], *item[:3], response(item)[-1], tail])
    seen = watch("responses", named(early))
    again = type_ == "response.output_text.delta" and id == "msg_0"

    assert ["One ", "two", *([] if again else ["two"])] == [
        event["delta"] for event in seen.payloads if "delta" in event
    ]


@pytest.mark.parametrize("early", [1, 2, 3])
def test_a_beginning_that_comes_late_forgets_nothing(early: int) -> None:
    """What was announced before it is of the same response: references to it are known, and nothing is spliced."""
    late = [{**event, "item_id": "other"} if event["type"].endswith("text.done") else event for event in PLAIN]
    late = [*late[2 : 2 + early], *late[:2], *late[2 + early :]]
    seen = watch("responses", named(late))

    assert STREAM_SPLICED not in seen.report.anomalies
    assert [event for event in PLAIN if event not in late] == [event for event in seen.payloads if event not in late]


@pytest.mark.parametrize("name", SPLICES)
def test_another_response_is_known_by_evidence(name: str) -> None:
    """Behind the end: a lifecycle, an item or a delta. By default it passes."""
    seen = watch("responses", named([*WHOLE, *SPLICES[name]]))

    assert seen.payloads == [*WHOLE, *SPLICES[name]]
    assert seen.report.outcomes == {STREAM_SPLICED: {Outcome.UNREPAIRED: 1}}
    assert watch("responses", named([*WHOLE, *SPLICES[name]]), "all").payloads == WHOLE


def test_another_response_in_the_middle_is_left_alone() -> None:
    """A gateway that begins again: both are passed on, and the places of the first are not those of the second."""
    second = renumbered([{**e, "response": {**e["response"], "id": "resp_2"}} if "response" in e else e for e in PLAIN])
    events = [*PLAIN[:9], *second]
    events = [{k: v for k, v in event.items() if k != "sequence_number"} for event in events]
    for repair in ("default", "all"):
        seen = watch("responses", named(events), repair)

        assert seen.payloads == events
        assert seen.faults == {"stream_spliced"}


# --- texts

PIECES = ("One ", "two ", "three ", "four")


def lost(*places: int, kept: tuple[str, ...] = ()) -> list[Payload]:
    """A numbered response of a message that lacks some deltas, and all closing events but these."""
    item = message(0, *PIECES)
    events = [event for at, event in enumerate(item) if at - 2 not in places]
    closing = [e for e in events if e["type"].endswith("done") and e["type"].rpartition(".")[0] not in kept and kept]
    return renumbered([*response(item)[:2], *(e for e in events if e not in closing), response(item)[-1]])


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize(
    "kept", [(), ("response.content_part", "response.output_item"), ("response.output_item",)], ids=len
)
def test_a_tail_goes_in_before_what_closes_its_text(first: int, kept: tuple[str, ...]) -> None:
    """By its own event, its part or its item, whichever comes first; nothing is put in behind that."""
    events = lost(*range(first, 4), kept=kept)
    seen = watch("responses", named(events))
    types = types_of(seen.payloads)

    assert read("responses", seen.delivered).said[0].text == "".join(PIECES)
    assert [e for e in seen.payloads if e in events] == events
    last = max(at for at, type_ in enumerate(types) if type_ == "response.output_text.delta")
    assert last < min(at for at, type_ in enumerate(types) if type_.endswith("done"))
    assert seen.outcome(RESPONSE_TEXT_LOST) == {Outcome.VERIFIED}


@pytest.mark.parametrize("places", [(0,), (1,), (0, 3), (1, 2)], ids=str)
def test_what_is_lost_before_the_end_is_reported(places: tuple[int, ...]) -> None:
    """Where in the text it was is not known to who has read on."""
    seen = watch("responses", named(lost(*places)))

    assert seen.payloads == lost(*places)
    assert seen.report.outcomes == {RESPONSE_TEXT_LOST: {Outcome.UNREPAIRED: 1}}


def test_what_numbers_say_is_lost_is_counted_once() -> None:
    """A gap is the loss; what is repaired of it is counted for itself."""
    middle, tail = [*ONE_TO_FOUR[:5], *ONE_TO_FOUR[6:]], [*ONE_TO_FOUR[:7], *ONE_TO_FOUR[8:]]

    assert watch("responses", named(middle)).faults == {"sequence_gap"}
    assert watch("responses", named(tail)).faults == {"sequence_gap", "response_text_lost"}
    assert read("responses", watch("responses", named(tail)).delivered).said[0].text == "".join(PIECES)


ONE_TO_FOUR = answered(*PIECES)


@pytest.mark.parametrize("closing", [(), ("response.output_text",)], ids=["item and end", "end"])
def test_text_that_was_put_in_is_proved_by_another_statement(closing: tuple[str, ...]) -> None:
    """The item or the terminal event says it too; what it was taken from is no evidence."""
    assert watch("responses", named(lost(3, kept=closing))).outcome(RESPONSE_TEXT_LOST) == {Outcome.VERIFIED}


def test_text_that_only_its_source_says_is_not_proved() -> None:
    """The item and the terminal event say nothing of it."""
    events = [e for e in lost(3) if e["type"] not in ("response.output_item.done", "response.content_part.done")]
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": []}}
    seen = watch("responses", named(renumbered(events)))

    assert seen.outcome(RESPONSE_TEXT_LOST) == {Outcome.UNVERIFIED}


def test_a_text_that_is_delivered_twice_proves_nothing() -> None:
    """Each of two items has the text that is said of it, and the answer has it once: the sum does not agree."""
    one, two = message(0, "One ", "two"), message(1, "One ", "two")
    events = numbered([*response(one)[:2], *one, *two, response(one)[-1]])
    wrong = [{**e, "output_index": 5} if e["type"] == "response.output_text.done" else e for e in events]
    seen = watch("responses", named(wrong))

    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.FAILED}
    assert RESPONSE_TERMINAL_MISMATCH in seen.report.anomalies


def test_text_that_came_under_nobody_s_name_is_not_put_in_again() -> None:
    """A closing text says more than its deltas, and the rest came under an item that nobody announced."""
    item = message(0, "One ", "two")
    stray = {**item[3], "item_id": "x", "output_index": 4}
    events = numbered([*response(item)[:2], *item[:3], stray, *item[4:], response(item)[-1]])
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_TEXT_LOST) == {Outcome.UNREPAIRED}


def test_without_numbers_text_may_come_yet() -> None:
    """It is put in on request; a delta that comes after all is dropped then, as it was delivered."""
    item = message(0, "One ", "two")
    events = [*response(item)[:2], *item[:3], item[4], item[3], *item[5:], response(item)[-1]]
    on_request = watch("responses", named(events), "all")

    assert watch("responses", named(events)).payloads == events
    assert read("responses", on_request.delivered).said[0].text == "One two"
    assert len(on_request.payloads) == len(events)


def test_a_text_is_put_in_as_the_server_s_own_events_say_where_it_is() -> None:
    """Where they have no index, and no id, there is none: who keeps texts by them has one text."""
    for names in (("output_index", "content_index"), ("item_id",)):
        events = [{k: v for k, v in e.items() if k not in names} for e in lost(3)]
        seen = watch("responses", named(events))
        (put_in,) = [e for e in seen.payloads if e not in events]
        deltas = [e for e in events if e["type"].endswith("delta")]

        own = ("delta", "sequence_number")
        assert put_in.keys() == deltas[0].keys()
        assert {k: v for k, v in put_in.items() if k not in own}.items() <= deltas[0].items()
        before = seen.payloads[seen.payloads.index(put_in) - 1]
        assert put_in["sequence_number"] == before["sequence_number"]


def test_reasoning_without_parts_is_healthy() -> None:
    """xAI sends it so: no part is made up, and nothing is put in behind its item."""
    at = {"item_id": "rs_0", "output_index": 0, "content_index": 0}
    item = {"id": "rs_0", "type": "reasoning", "summary": []}
    said = [{"type": "reasoning_text", "text": "Hm!"}]
    made = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *({"type": "response.reasoning_text.delta", **at, "delta": piece} for piece in ("Hm", "!")),
        {"type": "response.reasoning_text.done", **at, "text": "Hm!"},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "content": said}},
    ]
    events = numbered(response(made, message(1, "One")))
    for seen in (watch("responses", named(events), "all"), helped(named(events), "all")):
        assert seen.payloads == events
        assert seen.report.anomalies == {}


@pytest.mark.parametrize("done", [True, False])
def test_a_part_of_a_reasoning_item_is_one_of_reasoning_whatever_its_type(done: bool) -> None:
    """vllm#24788 types it as text, and at first did not close it: id and index agree on what is meant."""
    at = {"item_id": "rs_0", "output_index": 0, "content_index": 0}
    item = {"id": "rs_0", "type": "reasoning", "summary": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    made = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.reasoning_text.delta", **at, "delta": piece} for piece in ("Hm", "!")),
        {"type": "response.reasoning_text.done", **at, "text": "Hm!"},
        *[{"type": "response.content_part.done", **at, "part": {**part, "text": "Hm!"}}][:done],
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "content": [{"type": "reasoning_text", "text": "Hm!"}]},
        },
    ]
    events = numbered(response(made, message(1, "One")))
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert seen.faults == (set() if done else {"response_event_missing"})


def test_nothing_is_put_in_behind_the_item() -> None:
    """Parts close before their item, also where the next item follows at once."""
    events = [e for e in PLAIN if e["type"] not in ("response.output_text.done", "response.content_part.done")]
    seen = helped(named(numbered(events)))

    assert types_of(seen.payloads) == types_of(PLAIN)


# --- the terminal event


def ended(output: list[Payload], *items: list[Payload]) -> list[Payload]:
    """A response whose terminal event has this output."""
    events = response(*items)
    return numbered([*events[:-1], {**events[-1], "response": {**events[-1]["response"], "output": output}}])


ITEMS = (reasoning(0, "Hm"), message(1, "One"))
OUTPUT = [events[-1]["item"] for events in ITEMS]


@pytest.mark.parametrize(
    "output",
    [OUTPUT[::-1], OUTPUT[1:], [{**item, "id": f"x{at}"} for at, item in enumerate(OUTPUT)]],
    ids=["order", "an item forgotten", "ids"],
)
def test_an_output_that_is_not_what_came_is_reported(output: list[Payload]) -> None:
    """A dialect: nothing is changed, and the answer is whole."""
    events = ended(output, *ITEMS)
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert set(seen.report.anomalies) == {RESPONSE_TERMINAL_MISMATCH}
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("has", [True, False])
def test_annotations_that_the_terminal_event_forgot_are_reported(has: bool) -> None:
    """They came one by one."""
    note = {"type": "url_citation", "url": "https://example.org"}
    item = message(0, "One")
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    item.insert(3, {"type": "response.output_text.annotation.added", **at, "annotation_index": 0, "annotation": note})
    final = {**item[-1]["item"], "content": [{**item[-2]["part"], "annotations": [note] if has else []}]}
    seen = watch("responses", named(ended([final], item)))

    assert set(seen.report.anomalies) == (set() if has else {RESPONSE_TERMINAL_MISMATCH})


# --- what came is no answer, or not of this API


@pytest.mark.parametrize(
    ("items", "missing"),
    [
        ([], True),
        ([reasoning(0, "Hm")], True),
        ([message(0, "")], True),
        ([message(0, "One")], False),
        ([function_call(0, "weather", "{}")], False),
        ([reasoning(0, "Hm"), custom_call(1, "ls")], False),
    ],
    ids=str,
)
def test_an_end_without_an_answer_is_a_hazard(items: list[list[Payload]], missing: bool) -> None:
    """Text, a refusal, a call, or any other item than reasoning is one."""
    report = watch("responses", named(numbered(response(*items)))).report

    assert (ANSWER_MISSING in report.anomalies) == missing
    assert report.verdict is Verdict.COMPLETE


def test_an_answer_that_was_cut_is_not_missing() -> None:
    """It did not end clean, and nobody says that it did."""
    cut = numbered(response(reasoning(0, "Hm"), status="incomplete"))

    assert ANSWER_MISSING not in watch("responses", named(cut)).report.anomalies


@pytest.mark.parametrize(
    ("events", "foreign"),
    [
        ([{"object": "chat.completion.chunk", "choices": []}], True),
        ([{"type": "message_start"}, {"type": "ping"}, {"type": "content_block_delta"}], True),
        ([{"id": "resp_1", "object": "response", "output": []}], True),
        ([{"type": "keepalive"}], False),
        ([{"error": {"message": "no"}}], False),
        ([{"type": "response.new.thing"}], False),
        (WHOLE[:1], False),
    ],
    ids=str,
)
def test_the_answer_of_another_api_is_none(events: list[Payload], foreign: bool) -> None:
    """JSON came, and nothing of this API: the stream has no end."""
    report = watch("responses", body(events)).report

    assert (PROTOCOL_FOREIGN in report.anomalies) == foreign
    assert report.verdict in (Verdict.TRUNCATED, Verdict.ERROR)


@pytest.mark.parametrize("start", [1, 4, 9])
def test_a_response_without_its_beginning_was_resumed_or_lacks_it(start: int) -> None:
    """Numbers that begin later say that it was resumed, and so does the request; nothing else does."""
    plain = [{k: v for k, v in event.items() if k != "sequence_number"} for event in WHOLE[start:]]
    late = watch("responses", named(numbered(plain, 20)))
    asked = watch("responses", named(plain), request=Request(starting_after=start - 1))
    lacking = watch("responses", named(numbered(plain)))

    assert (late.faults, asked.faults) == (set(), set())
    assert RESPONSE_EVENT_MISSING in lacking.report.anomalies
    assert lacking.payloads == numbered(plain)


def test_done_does_not_end_a_response() -> None:
    """Only its terminal event does."""
    assert watch("responses", named(WHOLE[:8]) + b"data: [DONE]\n\n").report.verdict is Verdict.TRUNCATED
    assert watch("responses", named(WHOLE) + b"data: [DONE]\n\n").report.verdict is Verdict.COMPLETE


# --- what a server may make of it


def test_long_ids_are_known_again_and_not_kept() -> None:
    """Relays encrypt ids: events go where they say; of an item that cannot be named nothing is put in."""
    long = {"msg_0": "m" * 5000, "msg_1": "n" * 5000}
    wire = numbered(response(message(0, "One ", "two"), message(1, "three")))
    text = json.dumps(wire)
    for short, other in long.items():
        text = text.replace(short, other)
    events = json.loads(text)
    wrong = [{**e, "output_index": 9} if e["type"].endswith("delta") else e for e in events]
    seen = watch("responses", named(wrong))

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_ids_that_are_no_text_are_no_ids() -> None:
    """The index says which item is meant."""
    for id in (7, None, "", [], {}):  # type: ignore[var-annotated]
        events = [
            {**e, "item_id": id} if "item_id" in e else {**e, "item": {**e["item"], "id": id}} if "item" in e else e
            for e in answered("One ", "two")
        ]
        seen = watch("responses", named(events))

        assert seen.payloads == events
        assert not seen.faults


def test_an_id_of_an_item_of_another_type_is_not_the_item_s() -> None:
    """Text that names the reasoning: by its index it is the message's; where there is none, it is nobody's."""
    events = numbered(response(reasoning(0, "Hm"), message(1, "One ", "two")))
    wrong = [{**e, "item_id": "rs_0"} if e.get("item_id") == "msg_1" else e for e in events]
    seen = watch("responses", named(wrong))
    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}

    stray = renumbered([e for e in wrong if e.get("item", {}).get("id") != "msg_1"])
    stray = [{**e, "output_index": 0} if e.get("output_index") == 1 else e for e in stray]
    assert watch("responses", named(stray)).payloads == stray


def test_an_id_that_cannot_be_written_is_not_set_right() -> None:
    """It is too long to be kept: other ids of the item are counted, and pass."""
    text = json.dumps(answered("One ", "two")).replace("msg_0", "m" * 5000)
    events = [{**e, "item_id": f"x{at}"} if "item_id" in e else e for at, e in enumerate(json.loads(text))]
    seen = watch("responses", named(events), "all")

    assert seen.payloads == events
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("texts", [("One", "two"), ("two", "One")], ids=["same order", "other order"])
def test_items_under_other_ids_are_known_by_their_texts(texts: tuple[str, str]) -> None:
    """Where the terminal event has more of them than came: what it adds was lost."""
    made = [message(0, "One"), message(1, "two")]
    output = [{**message(9, text)[-1]["item"], "id": f"x_{text}"} for text in (*texts, "three")]
    seen = watch("responses", named(ended(output, *made)))

    assert seen.payloads == ended(output, *made)
    assert seen.report.anomalies[RESPONSE_TEXT_LOST] == 1
    assert seen.report.anomalies[RESPONSE_EVENT_MISSING] == 1


def test_an_item_without_a_text_that_only_ends_is_announced_on_request() -> None:
    """Nobody misses it but who counts."""
    item = {"id": "ws_0", "type": "web_search_call", "status": "completed"}
    events = numbered(response([{"type": "response.output_item.done", "output_index": 0, "item": item}]))
    (put_in,) = [e for e in watch("responses", named(events), "all").payloads if e not in events]

    assert put_in["item"] == {**item, "status": "in_progress"}
    for request in (Request(), HELPER):
        assert watch("responses", named(events), request=request).payloads == events


def test_a_delta_that_comes_behind_the_end_belongs_to_its_response() -> None:
    """Its number says so: it is late, and no other response."""
    late = [*WHOLE[:9], *WHOLE[10:], WHOLE[9]]
    seen = watch("responses", named(late), window_events=1)

    assert [e for e in seen.payloads if e["sequence_number"] != 9] == [*WHOLE[:9], *WHOLE[10:]]
    assert STREAM_SPLICED not in seen.report.anomalies


def test_an_announcement_may_hold_the_parts_already() -> None:
    """Who takes it has the text: nothing is put in."""
    item = message(0, "One")
    whole = {**item[0], "item": {**item[0]["item"], "content": [item[-2]["part"]]}}
    events = numbered(response([whole, item[-1]]))
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert not seen.faults


@pytest.mark.parametrize("added", [True, False], ids=["announced", "not announced"])
def test_an_empty_part_in_the_announcement_of_its_item_is_there_already(added: bool) -> None:
    """Its text is the deltas'; the helper has it, whether it is announced once more or not."""
    item = message(0, "One ", "two")
    item[0] = {**item[0], "item": {**item[0]["item"], "content": [item[1]["part"]]}}
    events = numbered(event for event in response(item) if added or event["type"] != "response.content_part.added")
    reader, helper = watch("responses", named(events)), helped(named(events))

    assert reader.payloads == helper.payloads == events
    assert not helper.report.anomalies


@pytest.mark.parametrize("index", [..., None, "1", 1.0], ids=repr)
def test_an_item_that_is_announced_again_without_an_index_stays_where_it_is(index: object) -> None:
    """Its id says which item it is; the events that follow it are its own."""
    item = message(1, "One ", "two")
    again = {k: v for k, v in {**item[0], "output_index": index}.items() if v is not ...}
    events = numbered(response(reasoning(0, "Hm"), [item[0], again, *item[1:]]))
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert not seen.faults


@pytest.mark.parametrize("part", [None, "x", {"type": "audio"}, {}], ids=str)
def test_a_part_of_another_sort_closes_as_it_opens(part: object) -> None:
    """Nobody knows what it holds: it is passed on, and closes."""
    item = message(0, "One")
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 1}
    item[5:5] = [{"type": f"response.content_part.{verb}", **at, "part": part} for verb in ("added", "done", "done")]
    item[5:5] = [{"type": "response.content_part.done", **at, "content_index": 7, "part": part}]
    events = numbered(response(item))
    seen = helped(named(events), "all")

    assert seen.payloads == events
    assert not seen.faults


def test_without_numbers_a_loss_is_counted_for_itself() -> None:
    """No gap says it."""
    events = [{k: v for k, v in event.items() if k != "sequence_number"} for event in lost(1)]

    assert watch("responses", named(events)).faults == {"response_text_lost"}


def test_an_annotation_of_a_part_that_never_came_is_passed_on() -> None:
    """As are those of items that nobody announced."""
    note = {"type": "response.output_text.annotation.added", "annotation": {}, "annotation_index": 0}
    for at in ({"item_id": "msg_0", "output_index": 0, "content_index": 9}, {"item_id": "x", "output_index": 9}):
        events = response(message(0, "One"))
        events.insert(4, {**note, **at})
        seen = watch("responses", named(numbered(events)))

        assert seen.payloads == numbered(events)
        assert not seen.faults


def test_events_that_say_how_an_item_gets_on_go_with_it() -> None:
    """Under the index of the item that has their id."""
    item = {"id": "ws_1", "type": "web_search_call", "status": "in_progress"}
    search = [
        {"type": "response.output_item.added", "output_index": 1, "item": item},
        {"type": "response.web_search_call.searching", "output_index": 1, "item_id": "ws_1"},
        {"type": "response.output_item.done", "output_index": 1, "item": {**item, "status": "completed"}},
    ]
    events = numbered(response(message(0, "One"), search))
    wrong = changed_where(events, "searching", output_index=0)

    assert watch("responses", named(wrong)).payloads == events


def test_a_late_announcement_ends_the_wait() -> None:
    """In the SDK's helper: it goes first, and what waited for it follows."""
    call = function_call(0, "weather", "{", "}")
    events = renumbered([*response(call)[:2], call[1], call[2], call[0], *call[3:], response(call)[-1]])
    seen = helped(named(events))

    assert types_of(seen.payloads) == types_of(response(call))
    assert texts_of(read("responses", seen.delivered)) == [("", ["{}"])]


def test_reasoning_that_only_its_item_has_is_left_there() -> None:
    """Servers keep it back, or tell it once: who wants it reads the item."""
    item, text = reasoning(0, "Hm"), message(1, "One")
    for made in ([item[0], item[-1]], [item[0], item[1], item[4], item[5]]):
        seen = watch("responses", named(numbered(response(made, text))), "all")
        deltas = [e["delta"] for e in seen.payloads if e["type"].endswith(".delta")]

        assert deltas == ["One"]
        assert RESPONSE_TEXT_LOST not in seen.report.anomalies


def test_an_item_that_is_no_object_ends_no_wait() -> None:
    """Nor does one that is another's."""
    call, other = function_call(0, "weather", "{", "}"), message(1, "One")
    null = {"type": "response.output_item.done", "output_index": 0, "item": None}
    events = renumbered(
        [*response(call)[:2], call[1], null, other[0], call[2], *call[3:], *other[1:], response(call, other)[-1]]
    )
    seen = helped(named(events))

    assert [e for e in seen.payloads if e in events] == [e for e in events if e.get("item", {}) is not None]
    assert types_about(seen.payloads, 0) == types_about(response(call), 0)


def test_text_without_an_id_is_not_an_image_s() -> None:
    """Nor is it put in again when its message closes."""
    image = {"id": "ig_0", "type": "image_generation_call", "status": "completed"}
    made = [{"type": f"response.output_item.{verb}", "output_index": 0, "item": image} for verb in ("added", "done")]
    events = numbered(response(made, message(1, "One")))
    wrong = [
        {k: v for k, v in e.items() if k != "item_id"} | {"output_index": 0} if "delta" in e else e for e in events
    ]
    seen = watch("responses", named(wrong), "all")

    assert read("responses", seen.delivered).raised == ""
    assert [e["delta"] for e in seen.payloads if "delta" in e] == ["One"]
    assert watch("responses", named(wrong)).payloads == wrong


@pytest.mark.parametrize("repair", ["default", "none"])
def test_an_index_that_is_made_up_is_said_nowhere(repair: str) -> None:
    """A part of a message comes first, under the index of a call that is open; the message is announced under it, too."""
    call = response(function_call(0, "weather", "{", "}"))
    said = response(message(0, "One"))
    opened, closed = said[3:4], said[4:-1]  # behind the announcement: the part, and what follows it
    events = [*call[:3], *opened, *call[3:-1], said[2], *closed, call[-1]]
    seen = watch("responses", named(events), repair)

    assert {event["output_index"] for event in seen.payloads if "output_index" in event} == {0}


def test_an_event_behind_the_end_has_the_index_that_its_item_was_given() -> None:
    """Two items come under one index; the second is done only behind the terminal event."""
    call = function_call(1, "weather", "{", "}")
    said = [{**event, "output_index": 1} for event in message(2, "One")]
    whole = response(call, message(2, "One"))
    events = [whole[0], *call, *said[:-1], whole[-1], said[-1]]
    seen = watch("responses", named(events))

    about = [
        event
        for event in seen.payloads
        if (event.get("item") or {}).get("type") == "message" or event.get("item_id") == "msg_2"
    ]
    assert len(about) == len(said)
    assert {event["output_index"] for event in about} == {2}


# --- the end under another name, and payloads without a type

ENDS = {"completed": Verdict.COMPLETE, "incomplete": Verdict.COMPLETE, "failed": Verdict.ERROR}


@pytest.mark.parametrize("status", ENDS)
def test_response_done_ends_a_response_as_its_status_says(status: str) -> None:
    """Codex proxies end it as the Realtime API does (9router#2142)."""
    *events, last = answered("One")
    done = {**last, "type": "response.done", "response": {**last["response"], "status": status}}
    seen = watch("responses", named([*events, done]))

    assert seen.report.verdict is ENDS[status]
    assert seen.report.finish_reasons == (status,)
    assert seen.payloads == [*events, done]
    assert set(seen.report.anomalies) <= {ERROR_IN_STREAM}


@pytest.mark.parametrize("response", [None, {}, {"status": "in_progress"}, {"status": 3}])
def test_response_done_without_a_final_status_ends_nothing(response: Any) -> None:
    """It is one of the events that nobody knows."""
    *events, _ = answered("One")

    assert watch("responses", named([*events, {"type": "response.done", "response": response}])).report.verdict is (
        Verdict.TRUNCATED
    )


def test_response_done_behind_the_end_is_one_event_more() -> None:
    """It is handed on, and nothing is made of it."""
    events = answered("One")
    wire = [*events, {**events[-1], "type": "response.done", "sequence_number": len(events)}]
    seen = watch("responses", named(wire))

    assert (seen.payloads, seen.report.verdict, seen.report.anomalies) == (wire, Verdict.COMPLETE, {})


@pytest.mark.parametrize("request_", [None, HELPER])
def test_payloads_without_a_type_are_what_their_events_are_called(request_: Request | None) -> None:
    """The SDK's helper gets the type (cc-switch#5083)."""
    events = answered("One ", "two")
    bare = [{name: value for name, value in event.items() if name != "type"} for event in events]
    wire = b"".join(sse(each, event=event["type"]) for each, event in zip(bare, events, strict=True))
    seen = watch("responses", wire, request=request_)

    assert seen.payloads == (events if request_ else bare)
    assert seen.report.verdict is Verdict.COMPLETE
    assert set(seen.report.anomalies) == {PAYLOAD_INVALID}


@pytest.mark.parametrize(
    ("failure", "name"),
    [({"code": "rate_limit", "message": "slow"}, "error"), ({"detail": "no"}, None), ({"success": False}, None)],
    ids=str,
)
def test_a_failure_without_a_type_is_an_error_where_nothing_follows(failure: Payload, name: str | None) -> None:
    """Shown on request, where its name says that it is one."""
    events = answered("One")
    wire = named(events[:3]) + sse(failure, event=name)
    for repair in ("default", "all"):
        seen = watch("responses", wire, repair)
        assert seen.report.verdict is Verdict.ERROR
        assert ERROR_HIDDEN in seen.report.anomalies
        assert ("error" in seen.payloads[-1]) == (repair == "all" and name == "error")
    if name is None:
        seen = watch("responses", wire + named(events[3:]))
        assert (seen.report.verdict, set(seen.report.anomalies)) == (Verdict.COMPLETE, set())


@pytest.mark.parametrize("first", [0, 7, 2**31, 2**52])
def test_a_lost_tail_is_put_in_wherever_the_numbers_begin(first: int) -> None:
    """They order the events up to where JavaScript counts exactly."""
    events = [{**event, "sequence_number": first + at} for at, event in enumerate(answered("One ", "two"))]
    lost = next(at for at, event in enumerate(events) if event.get("delta") == "two")
    wire = [*events[:lost], *({**e, "sequence_number": e["sequence_number"] - 1} for e in events[lost + 1 :])]
    seen = watch("responses", named(wire))

    assert "".join(e["delta"] for e in seen.payloads if e["type"] == DELTA) == "One two"
    assert seen.outcome(RESPONSE_TEXT_LOST) == {Outcome.VERIFIED}


@pytest.mark.parametrize("notes", range(5))
def test_events_without_a_number_make_up_for_no_loss(notes: int) -> None:
    """What the gap took is counted once, as the gap."""
    events = answered("One ", "two", "three")
    lost = next(at for at, event in enumerate(events) if event.get("delta") == "two")
    wire = [*events[:lost], *[{"type": "codex.rate_limits"}] * notes, *events[lost + 1 :]]

    assert set(watch("responses", named(wire)).report.anomalies) == {SEQUENCE_GAP}


# --- reasoning that nobody announced in parts


def thought(indexes: list[int], closes: int | None, *, kind: str = "reasoning_text") -> list[Payload]:
    """A response whose reasoning comes in a delta for each index, and closes under another one."""
    words = [f"{at} " for at in range(len(indexes))]
    key = "summary_index" if "summary" in kind else "content_index"
    at = {"item_id": "rs", "output_index": 0}
    item = {"id": "rs", "type": "reasoning", "summary": []}
    part = {"type": "summary_text" if "summary" in kind else kind, "text": "".join(words)}
    done = {**item, "summary": [part]} if "summary" in kind else {**item, "content": [part]}
    created, *_, completed = answered()
    events: list[Payload] = [created, {"type": "response.output_item.added", "output_index": 0, "item": item}]
    for index, word in zip(indexes, words, strict=True):
        events.append({"type": f"response.{kind}.delta", **at, key: index, "delta": word})
    if closes is not None:
        events.append({"type": f"response.{kind}.done", **at, key: closes, "text": "".join(words)})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": done})
    said = [{**event, "output_index": 1} for event in message(1, "One")]
    whole = {**completed["response"], "output": [done, said[-1]["item"]]}
    return numbered([*events, *said, {**completed, "response": whole}])


@pytest.mark.parametrize("kind", ["reasoning_text", "reasoning_summary_text"])
@pytest.mark.parametrize(
    ("indexes", "closes"),
    [([0, 1, 2], 3), ([0, 0, 0], 1), ([0, 1, 2], 0), ([0, 0, 0], 0), ([0, 1, 2], None), ([2, 2, 2], 2)],
    ids=str,
)
def test_reasoning_whose_deltas_have_an_index_each_is_one_text(
    indexes: list[int], closes: int | None, kind: str
) -> None:
    """Nobody announced a part, and all of it is said as one (vllm#35184): nothing of it is lost, and nothing changes."""
    wire = thought(indexes, closes, kind=kind)
    seen = watch("responses", named(wire))

    assert seen.payloads == wire
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies
    assert RESPONSE_TERMINAL_MISMATCH not in seen.report.anomalies


def test_reasoning_that_closes_as_something_else_is_told() -> None:
    """The pieces are not how the text goes."""
    wire = thought([0, 1, 2], 3)
    for event in wire:
        if event["type"] == "response.reasoning_text.delta" and event["content_index"] == 1:
            event["delta"] = "x"

    assert watch("responses", named(wire)).report.condition.value != "clean"


def test_reasoning_that_closes_with_more_than_its_pieces_is_not_one_text() -> None:
    """Something of it was lost, and nobody knows under which index."""
    wire = thought([0, 1, 2], 3)
    for event in wire:
        if event["type"] == "response.reasoning_text.done":
            event["text"] += "more"

    assert watch("responses", named(wire)).payloads == wire


def test_an_annotation_of_a_part_that_never_came_is_left_alone() -> None:
    """Where deltas are counted, and the item has no part."""
    events = counted(answered("One ", "two"))
    last = events.pop()
    bare_item = {"type": "response.output_item.added", "output_index": 1, "item": {**message(1)[0]["item"], "id": "b"}}
    about = {"item_id": "b", "output_index": 1, "content_index": 4, "annotation_index": 0, "annotation": {}}
    note = {"type": "response.output_text.annotation.added", **about}
    seen = watch("responses", named([*events, bare_item, note, last]))

    assert note in seen.payloads
