"""Text of a response that comes elsewhere than where it belongs is not lost: nobody gets it twice.

Under another name, in another form, under another type, behind an end, or at a place that an id contradicts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from helpers.stream_builders import Payload, Seen, function_call, message, named, numbered, reasoning, response, watch
from streamwatch.core.kinds import (
    RESPONSE_EVENT_MISSING,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
    RESPONSE_TEXT_LOST,
)
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Outcome

WORDS = ("One ", "two ", "three")
ARGUMENTS = ('{"city":', '"Paris"}')
#: The SDK's accumulating helper reads the stream.
HELPER = Request(accumulated=True)


def of_text(change: Callable[[Payload], Payload]) -> list[Payload]:
    """A numbered answer of a text whose deltas are changed."""
    return numbered(changed(response(message(0, *WORDS)), "response.output_text.delta", change))


def of_call(change: Callable[[Payload], Payload]) -> list[Payload]:
    """The same of a call."""
    call = response(function_call(0, "weather", *ARGUMENTS))
    return numbered(changed(call, "response.function_call_arguments.delta", change))


def changed(events: list[Payload], type_: str, change: Callable[[Payload], Payload]) -> list[Payload]:
    """Events, those of a type changed."""
    return [change(copy.deepcopy(event)) if event["type"] == type_ else event for event in events]


def without(event: Payload, *names: str, **more: Any) -> Payload:
    """An event without some members, and with others."""
    return {**{name: value for name, value in event.items() if name not in names}, **more}


def deltas(seen: Seen) -> list[Any]:
    """All pieces of texts that were handed on, under whatever name."""
    return [event.get("delta", event.get("text")) for event in seen.payloads if "delta" in event["type"]]


DIALECTS = {
    "another name": of_text(lambda event: {**event, "type": "response.text.delta"}),
    "another name, of no item": of_text(
        lambda event: without(event, "item_id", "output_index", type="response.text.delta")
    ),
    "an older name": of_call(lambda event: {**event, "type": "response.function_call_arguments_delta"}),
    "an object": of_text(lambda event: {**event, "delta": {"type": "text_delta", "text": event["delta"]}}),
    "another member": of_text(lambda event: without(event, "delta", text=event["delta"])),
    "another item's text": of_call(lambda event: {**event, "type": "response.custom_tool_call_input.delta"}),
}


@pytest.mark.parametrize("repair", ["default", "all"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_in_a_form_that_nobody_knows_is_not_lost(dialect: str, repair: str) -> None:
    """Programs that know the dialect have it; with another delta they would have it twice."""
    events = DIALECTS[dialect]
    seen = watch("responses", named(events), repair)

    assert deltas(seen) == [event.get("delta", event.get("text")) for event in events if "delta" in event["type"]]
    assert RESPONSE_TEXT_LOST not in seen.report.outcomes or seen.outcome(RESPONSE_TEXT_LOST) == {Outcome.UNREPAIRED}


def test_a_sound_takes_no_text_away() -> None:
    """Its deltas are of no item: what is lost of a text is put in all the same."""
    events = response(message(0, *WORDS))
    del events[6]  # the last piece
    events.insert(4, {"type": "response.audio.delta", "delta": "UklGRg=="})
    seen = watch("responses", named(numbered(events)))

    assert "".join(piece for piece in deltas(seen) if piece != "UklGRg==") == "".join(WORDS)


@pytest.mark.parametrize("type_", ["message", "custom_tool_call", "mcp_call"])
def test_a_call_that_is_announced_as_something_else_has_its_arguments_once(type_: str) -> None:
    """What came under its id is of it, whatever its announcement says."""
    events = numbered(response(function_call(0, "weather", *ARGUMENTS)))
    events[2] = {**events[2], "item": {**events[2]["item"], "type": type_}}
    seen = watch("responses", named(events))

    assert deltas(seen) == list(ARGUMENTS)


# --- parts


def parts(*texts: tuple[str, ...], key: str = "content_index") -> list[Payload]:
    """A message of several parts."""
    begun, *_, ended = message(0)
    events, whole = [begun], []
    for index, pieces in enumerate(texts):
        _, *middle, last = message(0, *pieces)
        events += [{**event, key: index} for event in middle]
        whole += last["item"]["content"]
    return [*events, {**ended, "item": {**ended["item"], "content": whole}}]


def test_a_part_that_is_announced_at_the_place_of_another_one_has_its_text_once() -> None:
    """Nothing came under that place, and all of it under its own: an item's texts are told by what they say."""
    events = response(parts(("One ", "two."), ("Three ", "four.")))
    at = [place for place, event in enumerate(events) if event["type"] == "response.content_part.added"][1]
    events[at] = {**events[at], "content_index": 0}
    seen = watch("responses", named(numbered(events)))

    assert deltas(seen) == ["One ", "two.", "Three ", "four."]
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies


@pytest.mark.parametrize("place", [0, 1])
def test_a_piece_behind_the_end_of_its_text_is_another_ones(place: int) -> None:
    """What the other one lacks is this piece, and not lost."""
    events = numbered(response(parts(("One ", "two."), ("Three ", "four."))))
    at = [number for number, event in enumerate(events) if event["type"] == "response.output_text.delta"][2 + place]
    events[at] = {**events[at], "content_index": 0}
    seen = watch("responses", named(events))

    assert deltas(seen) == ["One ", "two.", "Three ", "four."]


# --- items


def stale(events: list[Payload], id: str, index: int) -> list[Payload]:
    """The deltas of an item under the id of another one."""
    return [
        {**event, "item_id": id} if "delta" in event and event["output_index"] == index else event for event in events
    ]


@pytest.mark.parametrize("request_", [None, HELPER])
def test_the_id_of_an_item_that_is_done_gives_way_to_the_place_of_an_open_one(request_: Request | None) -> None:
    """A relay that keeps the first id for good: nothing more comes of what is done."""
    calls = response(function_call(0, "weather", *ARGUMENTS), function_call(1, "time", "{", "}"))
    seen = watch("responses", named(numbered(stale(calls, "fc_0", 1))), request=request_)

    assert seen.payloads == numbered(calls)
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.VERIFIED}


def test_items_that_share_an_id_keep_it_for_who_reads_whole_items() -> None:
    """Events have ids of their own; the items are done under the one that they were announced with."""
    calls = response(function_call(0, "weather", *ARGUMENTS), function_call(1, "time", "{", "}"))
    wire = numbered(calls)
    for event in wire:
        for item in (event.get("item"), *event.get("response", {}).get("output", ())):
            if item is not None:
                item["id"] = "fc"
    for request in (None, HELPER):
        seen = watch("responses", named(wire), request=request)
        assert [e for e in seen.payloads if "item_id" not in e] == [e for e in wire if "item_id" not in e]
        assert RESPONSE_TERMINAL_MISMATCH not in seen.report.anomalies


def test_each_event_may_have_an_id_of_its_own_where_the_items_share_one() -> None:
    """All of them stay as they came; what is put in has the first."""
    call = function_call(1, "time", "{", "}")
    lost = [event for event in call if event.get("delta") != "}"]
    both = numbered(response(function_call(0, "weather", *ARGUMENTS), lost))
    (announced,) = (e for e in both if e["type"] == "response.output_item.added" and e["output_index"] == 1)
    announced["item"]["id"] = "fc_0"
    wire = [
        {**e, "item_id": "fc_1b"} if e["type"].endswith("arguments.done") and e["output_index"] else e for e in both
    ]
    seen = watch("responses", named(wire))

    assert [event for event in seen.payloads if event in wire] == wire
    assert [event["item_id"] for event in seen.payloads if event not in wire] == ["fc_1"]


def test_an_id_that_two_items_have_is_written_nowhere() -> None:
    """A server announces a call under the id of the item before it, and makes up its own then: that one says which."""
    calls = response(function_call(0, "weather", *ARGUMENTS), function_call(1, "time", "{", "}"))
    wire = numbered(calls)
    (announced,) = (e for e in wire if e["type"] == "response.output_item.added" and e["output_index"] == 1)
    announced["item"]["id"] = "fc_0"
    seen = watch("responses", named(wire))

    assert seen.payloads == wire
    assert seen.outcome(RESPONSE_REFERENCE_INVALID) == {Outcome.UNREPAIRED}


def test_the_id_of_an_item_that_is_open_stays_whatever_the_place_and_the_type_say() -> None:
    """A counter that all items share closes one that thinks under the place of the next, as if it had answered."""
    first, second = reasoning(0, "Hm"), message(1, *WORDS)
    closing = [
        {"type": "response.output_text.done", "item_id": "rs_0", "output_index": 1, "content_index": 0, "text": "Hm"},
        {**first[-1], "output_index": 1},
    ]
    items = [*(e for e in first[:-1] if not e["type"].endswith(".done")), *second[:-3], *closing, *second[-3:]]
    whole = response(first, second)
    seen = watch("responses", named(numbered([*whole[:2], *items, whole[-1]])))

    closed = [event for event in seen.payloads if event["type"] == "response.output_text.done"]
    assert [(event["item_id"], event["text"]) for event in closed] == [("rs_0", "Hm"), ("msg_1", "".join(WORDS))]
    assert deltas(seen) == [event["delta"] for event in items if "delta" in event]


def test_where_an_id_and_a_place_contradict_each_other_nothing_is_said_twice() -> None:
    """Both items are open, and the id is believed; if that is wrong, the text is there once all the same."""
    first, second = function_call(0, "weather", *ARGUMENTS), function_call(1, "time", "{", "}")
    together = [first[0], second[0], *stale(first[1:-2], "fc_1", 0), *second[1:-2], *first[-2:], *second[-2:]]
    events = response(first, second)
    seen = watch("responses", named(numbered([*events[:2], *together, events[-1]])))

    assert deltas(seen) == [*ARGUMENTS, "{", "}"]


@pytest.mark.parametrize("members", [("item_id",), ("output_index",), ("item_id", "output_index")])
def test_no_piece_is_put_in_that_does_not_say_where_it_is(members: tuple[str, ...]) -> None:
    """Where the closing events lack a reference, a piece would lack it too; a program knows none without."""
    call = [without(event, *members) for event in function_call(0, "weather", *ARGUMENTS) if "delta" not in event]
    seen = watch("responses", named(numbered([*response()[:2], *call, *response()[2:]])))

    assert deltas(seen) == []


def test_a_text_that_is_closed_as_one_of_another_sort_is_not_lost() -> None:
    """A server sends what a model thinks, and closes it as a summary."""
    item = reasoning(0, *WORDS)
    pieces = [
        without(event, "summary_index", type="response.reasoning_text.delta", content_index=0)
        if event["type"].endswith("text.delta")
        else event
        for event in item
    ]
    seen = watch("responses", named(numbered(response(pieces))))

    assert deltas(seen) == list(WORDS)
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies


# --- the end


def ended(events: list[Payload], output: list[Payload]) -> list[Payload]:
    """The terminal event with another output."""
    last = events[-1]
    return numbered([*events[:-1], {**last, "response": {**last["response"], "output": output}}])


def test_a_call_with_another_call_id_at_the_end_is_another_call() -> None:
    """The helper does not refuse it, so its id is left alone: of the two nobody says which is right."""
    events = response(function_call(0, "weather", *ARGUMENTS))
    said = {**events[-1]["response"]["output"][0], "id": "fc_9", "call_id": "call_9"}
    wire = ended(events, [said])
    seen = watch("responses", named(wire), request=HELPER)

    assert seen.payloads == wire
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


@pytest.mark.parametrize("item", [message(1, "Done."), function_call(1, "time", "{}")], ids=["message", "call"])
def test_an_item_is_done_under_the_id_that_it_was_announced_with(item: list[Payload]) -> None:
    """The helper refuses it under another one, which only the terminal event knows."""
    events = response(message(0, *WORDS), item)
    last = {**item[-1]["item"], "id": "other_1"}
    wire = ended([event for event in events if event is not item[-1]], [events[-1]["response"]["output"][0], last])
    seen = watch("responses", named(wire), request=HELPER)
    done = [event["item"] for event in seen.payloads if event["type"] == "response.output_item.done"]

    assert done == [message(0, *WORDS)[-1]["item"], {**last, "id": item[0]["item"]["id"]}]
    assert seen.outcome(RESPONSE_EVENT_MISSING) == {Outcome.VERIFIED}


def test_a_call_is_not_done_under_another_call_id() -> None:
    """An application answers it by that id; the helper raises, as it does without us."""
    call = function_call(0, "weather", *ARGUMENTS)
    last = {**call[-1]["item"], "call_id": "call_9", "id": "fc_0"}
    wire = ended([*response(call)[:-2], response(call)[-1]], [last])
    seen = watch("responses", named(wire), request=HELPER)

    assert "response.output_item.done" not in {event["type"] for event in seen.payloads}


@pytest.mark.parametrize("item", [message(0, *WORDS), function_call(0, "weather", *ARGUMENTS)], ids=["text", "call"])
def test_what_went_on_behind_its_end_is_no_output(item: list[Payload]) -> None:
    """A gateway that closes an item with its first piece, and forgets the output: that piece is not the answer."""
    first = next(place for place, event in enumerate(item) if "delta" in event)
    piece = item[first]["delta"]
    pieces = [event for event in item if "delta" in event]
    early = copy.deepcopy([event for event in item if "delta" not in event])
    for event in early:
        for holder in (event, event.get("part") or {}, event.get("item") or {}):
            holder.update({name: piece for name in ("text", "arguments") if holder.get(name)})
        for part in (event.get("item") or {}).get("content") or ():
            part["text"] = piece
    events = response([*early[:first], pieces[0], *early[first:]])
    wire = ended([*events[:-1], *pieces[1:], events[-1]], [])
    seen = watch("responses", named(wire), request=HELPER)

    assert seen.payloads[-1]["response"]["output"] == []
    assert seen.outcome(RESPONSE_TERMINAL_MISMATCH) == {Outcome.UNREPAIRED}


def test_what_was_put_in_as_lost_is_not_said_again_when_its_part_is_announced_at_last() -> None:
    """Its closing event came first, and its place is closed by then."""
    events = response(parts(("One ", "two."), ("Three ", "four.")))
    second = [event for event in events if event.get("content_index") == 1]
    added, first, last, *closing = second
    others = [event for event in events if event.get("content_index") != 1]
    wire = numbered([*others[:-2], *closing, added, first, last, *others[-2:]])
    seen = watch("responses", named(wire))

    assert "".join(deltas(seen)) == "One two.Three four."


@pytest.mark.parametrize("in_done", [True, False])
@pytest.mark.parametrize("item", [message(0, *WORDS), function_call(0, "weather", *ARGUMENTS)], ids=["text", "call"])
def test_an_item_without_its_id_at_the_end_has_the_one_that_it_was_announced_with(
    item: list[Payload], in_done: bool
) -> None:
    """For the helper, which refuses a call without it, and any item that is done without it."""
    events = numbered(response(item))
    nameless = {name: value for name, value in item[-1]["item"].items() if name != "id"}
    wire = [
        {**event, "item": nameless} if event["type"].endswith("item.done") and in_done else event for event in events
    ]
    wire[-1] = {**wire[-1], "response": {**wire[-1]["response"], "output": [nameless]}}
    seen, plain = watch("responses", named(wire), request=HELPER), watch("responses", named(wire))
    (done,) = [event["item"] for event in seen.payloads if event["type"] == "response.output_item.done"]
    (said,) = seen.payloads[-1]["response"]["output"]

    assert done == item[-1]["item"]
    assert said == (nameless if item[0]["item"]["type"] == "message" else item[-1]["item"])
    assert plain.payloads == wire


def test_arguments_under_an_older_name_are_not_lost() -> None:
    """The SDK's own, before it called them `mcp_call_arguments` (ogx#3126): neither at the item's end nor at the last."""
    item = {"id": "mcp", "type": "mcp_call", "server_label": "s", "name": "roll", "arguments": "{}", "output": "4"}
    at = {"item_id": "mcp", "output_index": 0}
    created, *said, completed = response(message(1, "One"))
    whole = {**completed["response"], "output": [item, *completed["response"]["output"]]}
    wire = [
        created,
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.mcp_call.arguments.delta", **at, "delta": {}},
        {"type": "response.mcp_call.arguments.done", **at, "arguments": {}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        *said,
        {**completed, "response": whole},
    ]
    seen = watch("responses", named(numbered(wire)))

    assert seen.payloads == numbered(wire)
    assert RESPONSE_TEXT_LOST not in seen.report.anomalies
