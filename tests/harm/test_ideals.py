"""What a stream proves about itself: what was handed on is right event by event, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from .ideal_frames import reframed
from .ideal_items import by_identity, identified
from .ideal_order import in_order
from .wire import Event, Stream, made

Events = list[Event]


def response(*rows: tuple[str, str | None, int]) -> Stream:
    """Return a response of these events: what happened, the id that it names, and the index."""
    events = []
    for place, (what, id, index) in enumerate(rows):
        about: dict[str, Any] = {"item": {"id": id}} if what.startswith("output_item") else {"item_id": id}
        about = {} if id is None else about
        events.append(made({"type": f"response.{what}", "output_index": index, **about}, tag=str(place)))
    return Stream("made", "responses", tuple(events))


ANNOUNCED = [("output_item.added", "a", 0), ("output_item.added", "b", 0)]
DELTAS: list[tuple[str, str | None, int]] = [("output_text.delta", "b", 0), ("output_text.done", "other", 1)]


def handed(*references: tuple[str | None, int]) -> list[Any]:
    """Return events as an application is given them."""
    return [SimpleNamespace(item_id=id, output_index=index) for id, index in references]


@pytest.mark.parametrize(
    ("last", "right"),
    [
        ([("b", 1), ("b", 1)], True),  # both as identity proves
        ([("b", 0), ("b", 1)], True),  # one stays as it came
        ([("b", 0), ("other", 1)], True),  # both do
        ([("b", 1), ("a", 1)], False),  # another item than the one whose place it is
        ([("b", 2), ("b", 1)], False),
        ([("b", 1)], False),  # one is lost
    ],
)
def test_each_reference_is_proved_alone(last: list[tuple[str | None, int]], right: bool) -> None:
    """A reference is what came, or what the id of the item proves; any mixture of the two is right."""
    stream = response(*ANNOUNCED, *DELTAS)
    found = list(identified(stream, handed((None, 0), (None, 1), *last)))
    assert bool(found) is right
    for _, better in found:
        references = [(event.payload.get("item_id"), event.payload["output_index"]) for event in better.events]
        assert references == [(None, 0), (None, 1), *last]


def test_an_id_that_is_not_there_need_not_be_put_in() -> None:
    """An absent id may stay absent, where one that contradicts the announcement goes."""
    rows: list[tuple[str, str | None, int]] = [("output_text.delta", None, 0), ("output_text.delta", "other", 0)]
    events = list(response(ANNOUNCED[0], *rows).events)
    assert [event.payload.get("item_id") for event in by_identity(events)[1:]] == ["a", "a"]
    assert [event.payload.get("item_id") for event in by_identity(events, everywhere=False)[1:]] == [None, "a"]


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        ("0123321", "012321"),  # the second 2 is another payload: from there on nothing is proved
        ("0012232", "001232"),  # a repeat before the third number stays
        ("020133", None),  # no run: nothing to repeat
    ],
)
def test_a_run_proves_what_it_repeats_until_it_is_contradicted(numbers: str, right: str | None) -> None:
    """A finish that is said once more, with its usage, makes no other event of a repeat before it."""
    said: list[str] = []
    events = []
    for place, each in enumerate(numbers):
        other = each < max(said, default=each)  # a lower number comes with another payload
        said.append(each)
        events.append(made({"sequence_number": int(each), "other": other}, tag=str(place)))
    found = [
        "".join(str(event.payload["sequence_number"]) for event in order)
        for order in in_order(events, "sequence_number")
    ]
    assert found == ([] if right is None else [right])


def test_the_last_event_is_closed_and_may_have_what_is_read_bare() -> None:
    """Whoever sees it has never seen it without: empty content, or an empty list of calls, say nothing."""
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    torn = made(chunk, tag="0")
    found = dict(reframed([Event(chunk, raw=torn.written()[:-1], tag="0")]))
    deltas = [events[0].payload["choices"][0]["delta"] for label, events in found.items() if "last event" in label]
    assert deltas == [{}, {"content": ""}, {"tool_calls": []}, {"content": "", "tool_calls": []}]
    assert all(events[0].written().endswith(b"\n\n") for label, events in found.items() if "last event" in label)


def test_a_frame_with_two_prefixes_may_stand_beside_another_one() -> None:
    """What one event was written as is read again as all the frames that it has."""
    event = Event({"n": 1}, raw=b': ping\n\ndata: {"n": 0}\n\ndata: data: {"n": 1}\n\n', tag="0")
    once = dict(reframed([event]))["without a second prefix"]
    assert [each.payload["n"] for each in once if each.is_object] == [0, 1]
    assert {each.tag for each in once} == {"0"}
