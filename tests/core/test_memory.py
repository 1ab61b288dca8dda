"""What is kept of an open stream does not grow with it: neither with its events, nor with what a server puts in them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from helpers.stream_builders import Payload, chunk, fragment, settings, sse
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch

#: In each event of those whose size matters.
LARGE = "x" * 100_000


def kept(api: str, payloads: Iterable[Payload], request: Request | None = None) -> list[int]:
    """What an open stream keeps of these events, in bytes: after half of them, and after all."""
    frames = [sse(payload) for payload in payloads]
    halves = frames[: len(frames) // 2], frames[len(frames) // 2 :]
    stream = StreamWatch(api, request, settings())
    sizes = []
    tracemalloc.start()
    for half in halves:
        for frame in half:
            stream.receive(frame)
            stream.ready.clear()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return sizes


def delta(number: int) -> Payload:
    """One delta of a response."""
    at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", **at, "delta": "x", "sequence_number": number}


def strays() -> list[Payload]:
    """Numbers that are proved, one far ahead, and then every other one of those between."""
    proved = range(3000)
    return [delta(n) for n in (*proved, 10**12, 10**12 + 1, *range(3001, 3001 + 6000, 2))]


def wandering() -> list[Payload]:
    """A tool call each fragment of which has another index."""
    first = fragment(0, "[", id="call_1", name="f")
    rest = [fragment(n, "1,", id="call_1") for n in range(1, 4000)]
    return [chunk({"tool_calls": [each]}) for each in (first, *rest)]


def parts() -> list[Payload]:
    """Items, each announced with long names and a few parts: in each half more than are remembered."""
    events = []
    for n in range(1100):
        names = dict.fromkeys(("id", "call_id", "name", "role", "phase"), f"{n}" + "x" * 1000)
        said = {"type": "message", **names, "content": []}
        at = {"item_id": names["id"], "output_index": n}
        part = {"type": "output_text", "text": "", "annotations": []}
        events.append({"type": "response.output_item.added", "output_index": n, "item": said})
        events += ({"type": "response.content_part.added", **at, "content_index": i, "part": part} for i in range(3))
    return events


GROWING: dict[str, tuple[str, Callable[[], list[Payload]]]] = {
    "stragglers that leave a hole each": ("responses", strays),
    "fragments of a call, each under another index": ("chat", wandering),
    "items of long names and many parts": ("responses", parts),
}


@pytest.mark.slow
@pytest.mark.parametrize(("api", "payloads"), GROWING.values(), ids=GROWING)
def test_what_is_kept_does_not_grow_with_the_events(api: str, payloads: Callable[[], list[Payload]]) -> None:
    """Twice as many of them, and hardly a byte more."""
    half, whole = kept(api, payloads())

    assert whole - half < 32 << 10


def item(n: int) -> Payload:
    """An announcement whose index is no index."""
    said = {"type": "message", "id": f"msg_{n}", "role": "assistant", "content": []}
    return {"type": "response.output_item.added", "output_index": [LARGE], "item": said, "sequence_number": n}


def part(n: int) -> Payload:
    """A part whose index is no index."""
    said = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_0", "output_index": 0, "content_index": [LARGE]}
    return {"type": "response.content_part.added", **at, "part": said, "sequence_number": n}


LARGE_EVENTS: dict[str, tuple[str, Callable[[int], Payload]]] = {
    "indexes of items": ("responses", item),
    "indexes of parts": ("responses", part),
    "ids and models of runs": ("assistants", lambda n: {"id": f"{n}{LARGE}", "model": f"{n}{LARGE}", "delta": {}}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("api", "payload"), LARGE_EVENTS.values(), ids=LARGE_EVENTS)
def test_no_long_value_is_kept(api: str, payload: Callable[[int], Payload]) -> None:
    """A hundred of 100,000 characters each: of a value that may be long nothing stays, or an alias of it."""
    _, whole = kept(api, map(payload, range(100)))

    assert whole < len(LARGE)


@pytest.mark.slow
@pytest.mark.parametrize(("length", "kept_of_each"), [(128, 64 * 256), (129, 2048), (4000, 6144)])
def test_of_the_text_of_a_choice_a_few_short_pieces_are_kept(length: int, kept_of_each: int) -> None:
    """64 of 128 characters; a longer one is summed at once, and the first one alone is kept to compare it."""
    texts = (chunk({"content": "x" * length}, index=n % 32) for n in range(32 * 60))

    assert kept("chat", texts, Request(n=32))[1] < 32 * kept_of_each
