"""Streams that are made, and the ways to break them: healthy ones are as OpenAI's, and a fault is what it says."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from helpers.quick import examples
from streamwatch.core.stream import StreamWatch
from streamwatch.synthetic import faults, streams
from streamwatch.synthetic.faults import FAULTS, HEALTHY, Fault, fault_for
from streamwatch.synthetic.streams import Mark, Shape

CASES = [
    pytest.param(fault, shape, id=f"{fault.name}-{shape.value.replace(' ', '-')}")
    for fault in FAULTS.values()
    for shape in fault.shapes
]


def healthy(shape: Shape, rng: Random, **body: Any) -> list[streams.Event]:
    """The events of a healthy stream."""
    make = streams.chat if shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS) else streams.responses
    return make({"model": "gpt-4o", **body}, shape, streams.LONG, rng)


def payloads(events: list[streams.Event]) -> list[dict[str, Any]]:
    """The events without the marks."""
    return [event for event in events if isinstance(event, dict)]


# --- streams


@pytest.mark.parametrize("shape", [Shape.RESPONSES_TEXT, Shape.RESPONSES_TOOLS])
def test_a_healthy_response_is_numbered_from_0_without_a_gap(shape: Shape) -> None:
    """Sequence numbers are gapless, and the deltas of an item add up to what its end says."""
    events = payloads(healthy(shape, Random(1)))
    deltas: Counter[str] = Counter()
    texts: dict[str, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
            deltas[event["item_id"]] += 1
    ends = {
        event["item_id"]: event.get("text", event.get("arguments"))
        for event in events
        if ".done" in event["type"] and "item_id" in event and "part" not in event
    }

    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    assert texts == ends
    assert all(count > 5 for count in deltas.values())


def test_a_chat_stream_has_a_usage_chunk_only_on_request() -> None:
    """include_usage adds a last chunk without choices, and `usage: null` to all others."""
    plain = payloads(healthy(Shape.CHAT_TEXT, Random(1)))
    with_usage = payloads(healthy(Shape.CHAT_TEXT, Random(1), stream_options={"include_usage": True}))

    assert not any("usage" in chunk for chunk in plain)
    assert [None] * len(plain) == [chunk["usage"] for chunk in with_usage[:-1]]
    assert [] == with_usage[-1]["choices"]
    assert with_usage[-1]["usage"]["total_tokens"] > 0


def test_nothing_is_sent_after_a_cut() -> None:
    """The frames end where the connection is cut; [DONE] ends the others."""
    assert [b'data: {"a":1}\n\n'] == list(streams.encode([{"a": 1}, Mark.CUT, {"b": 2}]))
    assert [b"data: [DONE]\n\n"] == list(streams.encode([Mark.DONE]))
    assert [b'event: error\ndata: {"type":"error"}\n\n'] == list(streams.encode([{"type": "error"}]))


# --- faults


@pytest.mark.parametrize("shape", list(Shape))
def test_the_schedule_is_a_pure_function_of_seed_and_number(shape: Shape) -> None:
    """Asked again, in whatever order, it says the same; another seed says something else."""
    numbers = list(range(60))
    forwards = [fault_for(7, shape, number).name for number in numbers]
    backwards = [fault_for(7, shape, number).name for number in reversed(numbers)]

    assert forwards == backwards[::-1]
    assert forwards != [fault_for(8, shape, number).name for number in numbers]


@pytest.mark.parametrize("shape", list(Shape))
def test_each_round_has_every_fault_of_the_shape_once(shape: Shape) -> None:
    """A short run sees everything, and a third of its streams is healthy."""
    fitting = {name for name, fault in FAULTS.items() if shape in fault.shapes}
    length = len(fitting) + len(fitting) // 2
    for start in (0, length, 7 * length):
        seen = Counter(fault_for(1, shape, number).name for number in range(start, start + length))
        assert Counter({**dict.fromkeys(fitting, 1), HEALTHY.name: len(fitting) // 2}) == seen


@pytest.mark.parametrize(("fault", "shape"), CASES)
def test_a_fault_changes_the_stream_and_not_what_it_was_given(fault: Fault, shape: Shape) -> None:
    """The same seed gives the same broken stream, and the healthy one stays as it was."""
    events = healthy(shape, Random(1))
    before = json.dumps(payloads(events))
    once, again = (faults.broken(fault, events, Random(2)) for _ in range(2))

    assert before == json.dumps(payloads(events))
    assert once == again
    assert once != events


@pytest.mark.parametrize(("fault", "shape"), CASES)
def test_chat_chunks_without_a_number_never_change_places(fault: Fault, shape: Shape) -> None:
    """What nobody could put in order again is not put out of order."""
    if shape not in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS):
        return
    for seed in range(examples(20, 2)):
        events = payloads(healthy(shape, Random(seed)))
        marks = {chunk["obfuscation"]: place for place, chunk in enumerate(events) if len(chunk["obfuscation"]) > 7}
        sent = payloads(faults.broken(fault, [*events, Mark.DONE], Random(seed)))
        if not all("sequence_number" in chunk for chunk in sent):
            places = [marks[chunk["obfuscation"]] for chunk in sent if chunk.get("obfuscation") in marks]
            assert sorted(places) == places


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(("fault", "shape"), CASES)
def test_each_fault_is_found_as_the_kinds_it_names(fault: Fault, shape: Shape) -> None:
    """Wherever the seed puts it, Streamwatch finds it; on the healthy stream it finds none of it."""

    def kinds(events: list[streams.Event]) -> set[str]:
        watch = StreamWatch(shape.value.split()[0])
        for frame in streams.encode(events):
            watch.receive(frame)
        watch.close(ConnectionError("cut") if Mark.CUT in events else None)
        return set(watch.report().kinds)

    hazards = {"content_absent", "content_null", "choices_empty"}  # in healthy streams too
    for seed in range(examples(20, 2)):
        events = healthy(shape, Random(seed))
        expected = {kind.name for kind in fault.kinds}
        assert expected <= kinds(faults.broken(fault, events, Random(seed)))
        assert not (expected - hazards) & kinds(events)
