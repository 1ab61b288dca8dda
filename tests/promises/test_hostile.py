"""A hostile server costs bounded memory, and the application gets what the plain SDK would give it."""

from __future__ import annotations

import gc
import itertools
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

from conftest import Watched
from helpers import sdk
from helpers.quick import sample
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.stream import StreamWatch

#: What a stream may cost beyond what a shorter one costs: tables grow by doubling.
SLACK = 64 << 10


# --- memory: endless streams


def delta(number: int, **more: Any) -> bytes:
    """One delta of a response."""
    event = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0}
    return sdk.frame({**event, "delta": "word ", "sequence_number": number, **more})


DELTA = delta(123456789).replace(b"%", b"%%").replace(b"123456789", b"%d")
#: Events in a read: measuring memory makes every call slow, and these are none of the subject's.
BATCH = 20


def numbered(numbers: Iterator[int]) -> Iterator[bytes]:
    """A response with these sequence numbers."""
    yield b"".join(sdk.frames(sdk.responses()[:4], done=False))
    yield from deltas(numbers)


def deltas(numbers: Iterator[int]) -> Iterator[bytes]:
    """Deltas with these sequence numbers."""
    while batch := tuple(itertools.islice(numbers, BATCH)):
        yield DELTA * len(batch) % batch


def chunks(make: Callable[[int], dict[str, Any]], count: int) -> Iterator[bytes]:
    """Chunks of a chat completion, after the first one and the header of a tool call."""
    call = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "f", "arguments": ""}}
    yield b"".join(
        sdk.frames([sdk.chunk({"role": "assistant", "content": ""}), sdk.chunk({"tool_calls": [call]})], done=False)
    )
    for start in range(0, count, BATCH):
        yield b"".join(sdk.frame(make(number)) for number in range(start, start + BATCH))


def fragment(number: int, **function: Any) -> dict[str, Any]:
    """A fragment of a tool call."""
    return sdk.chunk({"tool_calls": [{"index": 0, "function": {"arguments": "word ", **function}}]})


def indexed(number: int) -> dict[str, Any]:
    """A fragment of the first call under an index of its own."""
    return sdk.chunk({"tool_calls": [{"index": number, "id": "call_0", "function": {"arguments": "word "}}]})


def named_call(number: int) -> dict[str, Any]:
    """A new tool call in each chunk."""
    call = {"index": number, "id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return sdk.chunk({"tool_calls": [call]})


def choice(number: int) -> dict[str, Any]:
    """A new choice in each chunk."""
    one = sdk.chunk({"content": "word"})
    one["choices"][0]["index"] = number
    return one


ENDLESS: dict[str, tuple[str, Callable[[int], Iterator[bytes]]]] = {
    "a gap": ("responses", lambda count: numbered(iter(range(5, count)))),
    "gaps everywhere": ("responses", lambda count: numbered(iter(range(4, 2 * count, 2)))),
    "backwards": ("responses", lambda count: numbered(iter(range(count, 4, -1)))),
    "duplicates": ("responses", lambda count: numbered(iter([number // 2 + 4 for number in range(count)]))),
    "swaps": ("responses", lambda count: numbered(iter([4 + (number ^ 1) for number in range(count)]))),
    "stragglers": ("responses", lambda count: numbered(iter([*range(4, 1000), 10**12, *range(1001, 2 * count, 2)]))),
    "text": ("chat", lambda count: chunks(lambda number: sdk.chunk({"content": "word "}), count)),
    "arguments": ("chat", lambda count: chunks(fragment, count)),
    "indexes": ("chat", lambda count: chunks(indexed, count)),
    "names": ("chat", lambda count: chunks(lambda number: fragment(number, name="f"), count)),
    "headless": ("chat", lambda count: (sdk.frame(fragment(number)) for number in range(count))),
    "stamped": ("chat", lambda count: chunks(lambda number: {**sdk.chunk({"content": "a"}), "seq": number * 2}, count)),
    "errors": ("chat", lambda count: chunks(lambda number: {"error": {"message": f"no {number}"}}, count)),
    "ids": ("chat", lambda count: (b"id: %d\ndata: {}\n\n" % number for number in range(count))),
    "other models": ("chat", lambda count: chunks(lambda number: {**sdk.chunk({}), "model": f"m{number}"}, count)),
    "reasons": ("chat", lambda count: chunks(lambda number: sdk.chunk({}, f"reason {number}"), count)),
}
GROWING: dict[str, tuple[str, Callable[[int], Iterator[bytes]]]] = {
    "items": ("responses", lambda count: (delta(number, output_index=number) for number in range(count))),
    "calls": ("chat", lambda count: chunks(named_call, count)),
    "choices": ("chat", lambda count: chunks(choice, count)),
}


def retained(thing: object) -> int:
    """The size of an object and of all that it holds."""
    sizes: dict[int, int] = {}
    found = [thing]
    while found:
        one = found.pop()
        if id(one) not in sizes and not isinstance(one, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            sizes[id(one)] = sys.getsizeof(one)
            found += gc.get_referents(one)
    return sum(sizes.values())


def costs(api: str, *parts: Iterable[bytes]) -> list[int]:
    """What a watch holds after each part of a stream, apart from what is handed on."""
    watch, seen = StreamWatch(api, settings=Settings(window_bytes=10_000)), []
    for part in parts:
        for read in part:
            watch.receive(read)
            watch.ready.clear()
        seen.append(retained(watch))
    watch.close()
    watch.report()
    return [*seen[:-1], max(seen[-1], retained(watch))]


def peak(api: str, reads: Iterable[bytes]) -> int:
    """The most memory that watching a stream needs at any moment, apart from what is handed on."""
    watch = StreamWatch(api)
    tracemalloc.start()
    try:
        for read in reads:
            watch.receive(read)
            watch.ready.clear()
        watch.close()
        watch.report()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_the_cost_of_a_stream_does_not_grow_with_its_length(name: str) -> None:
    """Four times as many events cost no more memory, whatever is wrong with them."""
    api, reads = ENDLESS[name]

    assert costs(api, reads(20_000))[0] < costs(api, reads(5_000))[0] + SLACK


@pytest.mark.slow
@pytest.mark.parametrize("name", GROWING)
def test_what_a_server_numbers_is_not_kept_without_end(name: str) -> None:
    """An item, call or choice of its own in every event costs no more than some bound."""
    api, reads = GROWING[name]

    assert costs(api, reads(6_000))[0] < costs(api, reads(2_000))[0] + SLACK


@pytest.mark.slow
def test_a_very_long_stream_with_a_gap_costs_what_a_long_one_costs() -> None:
    """What is held after 300,000 events is what is held after 30,000."""
    start = sdk.frames(sdk.responses()[:4], done=False)
    _, long, very_long = costs("responses", start, deltas(iter(range(5, 30_000))), deltas(iter(range(30_000, 300_000))))

    assert very_long < long + (4 << 10)


@pytest.mark.slow
def test_a_stream_with_a_gap_never_needs_much_memory() -> None:
    """Neither while it goes on nor at its end."""
    assert peak("responses", numbered(iter(range(5, 10_000)))) < 1 << 20


FILLERS = [b"\n" * 1000, b"\r" * 1000, b"\r\n" * 500, b": comment\n\n" * 100, b"x: y\n\n" * 200, b"id: 1\n\n" * 100]


@pytest.mark.slow
@pytest.mark.parametrize("filler", FILLERS, ids=lambda filler: repr(filler[:8]))
def test_what_is_no_event_costs_nothing(filler: bytes) -> None:
    """Line ends, comments, and blocks without data."""
    assert peak("chat", itertools.repeat(filler, 200)) < 1 << 20


# --- sequence numbers


NUMBERS = [10**400, -1, -(10**30), 2**53, 2**63, 1.5, 5.0, float("inf"), float("nan"), True, "5", "", None, [], {}]


@pytest.mark.quick_cases(3)
@pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_senseless_sequence_number_changes_nothing(number: object, mode: str, watch: Callable[..., Watched]) -> None:
    """Every event comes, in the order in which it came, and values are the SDK's."""
    for place in (0, 1, 5):
        events = sdk.responses()
        events[place]["sequence_number"] = number
        reads = sdk.frames(events, done=False)
        plain = sdk.read(mode, reads, "responses")
        watched = watch()
        got = sdk.read(mode, reads, "responses")

        assert repr(plain) == repr(got)  # NaN is not equal to itself
        assert "complete" == watched.report.verdict
        watch.stop()  # type: ignore[attr-defined]


@pytest.mark.parametrize("stamp", [*NUMBERS, 0, 1], ids=repr)
def test_a_senseless_stamp_on_chat_chunks_changes_nothing(stamp: object, watch: Callable[..., Watched]) -> None:
    """Neither on all chunks nor on one."""
    for stamps in ([stamp] * 6, [0, 1, 2, stamp, 4, 5]):
        reads = sdk.frames({**chunk, "sequence_number": value} for chunk, value in zip(sdk.chat(), stamps))
        plain = sdk.read("sync", reads)
        watch(repair="default,-fill_content")
        got = sdk.read("sync", reads)

        assert repr(plain) == repr(got)
        watch.stop()  # type: ignore[attr-defined]


# --- what the SDK cannot read either, or only just


def chunk_with(text: bytes) -> list[sdk.Read]:
    """A healthy stream with some bytes in the middle."""
    first, *rest = sdk.healthy("chat")
    return [first, text, *rest]


def content(raw: str) -> bytes:
    """A chunk whose content is this JSON."""
    return sdk.frame(sdk.chunk({"content": "@"})).replace(b'"@"', raw.encode())


BODIES: dict[str, list[sdk.Read]] = {
    "newlines": [b"\n" * 5000] * 20,
    "carriage returns": [b"\r" * 5000] * 20,
    "spaces": [b" " * 5000] * 20,
    "NUL": [b"\x00" * 5000, *sdk.healthy("chat")],
    "nested lists": chunk_with(content("[" * 300 + "]" * 300)),
    "nested beyond reading": chunk_with(content("[" * 100_000 + "]" * 100_000)),
    "nested, no object": chunk_with(b"data: " + b"[" * 100_000 + b"\n\n"),
    "half nested": chunk_with(b"data: " + b'{"a":' * 100_000 + b"\n\n"),
    "lone surrogates": chunk_with(content('"\\ud83d"')),
    "surrogates in names": chunk_with(b'data: {"\\ud83d": 1, "choices": []}\n\n'),
    "invalid UTF-8": chunk_with(b'data: {"choices": [], "id": "\xff"}\n\n'),
    "invalid UTF-8 in a comment": chunk_with(b": \xff\n\n"),
    "invalid UTF-8 in an unknown field": chunk_with(b"x\xff: 1\n\n"),
    "invalid UTF-8 in an event name": chunk_with(b"event: \xff\ndata: {}\n\n"),
    "overlong UTF-8": chunk_with(b'data: {"choices": [], "id": "\xc0\x80"}\n\n'),
    "encoded surrogates": chunk_with(b'data: {"choices": [], "id": "\xed\xa0\xbd"}\n\n'),
    "NUL in an id line": chunk_with(b'id: a\x00b\ndata: {"choices": []}\n\n'),
    "NUL in ids": chunk_with(b'data: {"id": "a\\u0000b", "choices": []}\n\n'),
    "an id, then a comment": chunk_with(b'id: 1\ndata: {"choices": []}\n\n: hello\n\n'),
    "a huge retry": chunk_with(b"retry: " + b"9" * 1000 + b'\ndata: {"choices": []}\n\n'),
    "digits that are none": chunk_with('retry: ²\nid: ²\ndata: {"choices": []}\n\n'.encode()),
    "a huge number": chunk_with(content("1" + "0" * 400)),
    "a number beyond reading": chunk_with(content("1" + "0" * 5000)),
    "not a number": chunk_with(content("NaN")),
    "a duplicate key": chunk_with(b'data: {"choices": 1, "choices": []}\n\n'),
    "other types": chunk_with(b'data: {"choices": [{"index": {}, "delta": [1], "finish_reason": {}}], "id": []}\n\n'),
    "lists for everything": chunk_with(b'data: {"choices": [[[]]], "id": [], "model": {}, "usage": []}\n\n'),
    "unhashable tools": chunk_with(content('null, "tool_calls": [{"index": [], "id": {}, "function": {"name": []}}]')),
    "a role that is none": chunk_with(content('1, "role": {"a": []}')),
    "many errors": [sdk.frame({"error": [1]})] * 3,
}


def wire_of(name: str) -> bytes:
    """The bytes of a body, without what happens between them."""
    return b"".join(read for read in BODIES[name] if isinstance(read, bytes))


#: Whole, and byte by byte: but for those that the SDK itself takes long to read so.
IN_PARTS = [
    pytest.param(name, size, id=f"{name}-{'bytes' if size else 'events'}")
    for name in BODIES
    for size in (0, 1)
    if not size or len(wire_of(name)) <= 20_000
]


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize(("name", "size"), sample(IN_PARTS, 30))
def test_the_application_gets_what_the_plain_sdk_gives(
    name: str, size: int, mode: str, watch: Callable[..., Watched]
) -> None:
    """The same chunks and the same exception, whatever the server sends and however it is cut."""
    reads = [*sdk.cut([wire_of(name)], size)] if size else BODIES[name]
    plain = sdk.read(mode, reads)
    watched = watch(repair="none")
    got = sdk.read(mode, reads)

    assert repr(plain) == repr(got)
    assert watched.report.verdict is not None


# --- events too large to be watched


@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("ends", [False, True], ids=["never ends", "ends"])
def test_an_event_that_is_too_large_is_left_to_the_sdk(ends: bool, mode: str, watch: Callable[..., Watched]) -> None:
    """What came before is watched; the rest of the stream is the SDK's own affair, and the report says so."""
    large = content(json.dumps("word " * 10_000))
    body = [*sdk.healthy("chat")[:2], *sdk.cut([large], 1000), *sdk.healthy("chat")[2:]]
    reads = body if ends else body[:20]
    plain = sdk.read(mode, reads)
    watched = watch(settings=Settings(repair=Policy("none"), max_event_bytes=10_000))
    got = sdk.read(mode, reads)

    assert repr(plain) == repr(got)
    assert "event too large" == watched.report.unwatched
    assert 2 == watched.report.events
    (span,) = watched.spans
    assert "event too large" == (span.attributes or {})["streamwatch.unwatched"]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_bytes_that_are_no_text_are_left_to_the_sdk(mode: str, watch: Callable[..., Watched]) -> None:
    """The events before them are watched, and the report says why the rest is not."""
    reads = BODIES["invalid UTF-8"]
    plain = sdk.read(mode, reads)
    watched = watch(repair="none")
    got = sdk.read(mode, reads)

    assert repr(plain) == repr(got)
    assert "not UTF-8" == watched.report.unwatched


def test_a_line_that_never_ends_is_not_kept_twice(watch: Callable[..., Watched]) -> None:
    """Once a stream is left to the SDK, nothing of it is kept here."""
    watched = watch(settings=Settings(repair=Policy("none"), max_event_bytes=10_000))
    stream = sdk.create(sdk.client([b"data: ", *([b"x" * 1000] * 100), *([1.0] * 0)]))
    assert [] == list(stream)

    assert "event too large" == watched.report.unwatched
    assert len(stream._decoder._session.watch._decoder.buffer) <= 11_000
