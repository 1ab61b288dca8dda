"""Streams that the application reads as bytes, text or lines: not a byte is another one, and each is watched."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk
from helpers.corpus import own
from helpers.raw_reading import WAYS, Read, aread, opening, reading
from helpers.sdk import MODES, httpx
from streamwatch import Policy, Settings, StreamWatch
from streamwatch.core.vocabulary import Condition, Verdict
from streamwatch.sdk import instrumentor, raw_streams

pytestmark = pytest.mark.skipif(sdk.VERSION < (1, 10), reason="not in this release")

CHAT = sdk.healthy("chat")
UNOBSERVED = "streamwatch.unobserved_streams"

_EACH_MODE = pytest.mark.parametrize("mode", MODES)
_EACH_WAY = pytest.mark.parametrize("way", WAYS)


def as_plain(watch: Callable[..., Watched], *arguments: Any, **options: Any) -> Read:
    """Return what the same program gets without Streamwatch."""
    watch.stop()  # type: ignore[attr-defined]
    return reading(*arguments, **options)


# --- the same bytes, and a report


@_EACH_MODE
@_EACH_WAY
def test_a_body_passes_as_it_is_and_is_one_stream(mode: str, way: str, watch: Callable[..., Watched]) -> None:
    """Whatever the pieces are: bytes, text, lines, or all at once."""
    watched = watch()
    found = reading(mode, CHAT, way)

    assert watched.report.verdict is Verdict.COMPLETE
    assert (watched.report.condition, watched.report.events) == (Condition.CLEAN, len(CHAT) - 1)
    assert watched.samples(
        "streamwatch.streams", "gen_ai.operation.name", "gen_ai.request.model", "server.address"
    ) == {("chat", "gpt-4o", "server.test"): 1}
    assert watched.samples(UNOBSERVED) == {}
    assert found.as_seen() == as_plain(watch, mode, CHAT, way).as_seen()


@_EACH_MODE
@_EACH_WAY
def test_a_cut_is_one(mode: str, way: str, watch: Callable[..., Watched]) -> None:
    """The exception is the HTTP library's own, and the stream is truncated."""
    reads = [*CHAT[:3], sdk.cut_off()]
    watched = watch()
    found = reading(mode, reads, way)

    assert watched.report.verdict is Verdict.TRUNCATED
    assert found.error is not None
    assert found.as_seen() == as_plain(watch, mode, reads, way).as_seen()


@_EACH_MODE
@pytest.mark.parametrize("way", [way for way in WAYS if "read" not in way])
def test_a_body_that_is_left_is_abandoned(mode: str, way: str, watch: Callable[..., Watched]) -> None:
    """A program that takes two pieces and goes has not read the stream; one that stops at [DONE] has."""
    watched = watch()
    reading(mode, CHAT, way, most=2)
    watched.settle()
    gc.collect()
    watched.settle()

    assert [report.verdict for report in watched.reports] == [Verdict.ABANDONED]
    lines = 2 * len(CHAT) - 1 if "lines" in way else len(CHAT)
    reading(mode, CHAT, way, most=lines)
    watched.settle()
    assert [report.verdict for report in watched.reports] == [Verdict.ABANDONED, Verdict.COMPLETE]


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("recorded", own(), ids=lambda each: each.name)
def test_what_is_found_is_what_the_core_finds(recorded: Any, watch: Callable[..., Watched]) -> None:
    """In every recording, as lines and as bytes: nothing is repaired, and nothing changed."""
    api = "responses" if recorded.api == "responses" else "chat"
    if recorded.api not in ("chat", "responses") or (api == "responses" and not sdk.HAS_RESPONSES):
        pytest.skip("not an API that is asked here")
    pieces = sdk.cut([recorded.wire], 700)
    for way in ("iter_lines", "http.iter_bytes"):
        watched = watch()
        found = reading("sync", pieces, way, api=api)
        report = watched.reports[-1]
        core = StreamWatch(api, report.request, Settings(repair=Policy("none")))
        for piece in pieces:
            core.receive(piece)
        core.close()
        whole = core.report()

        assert (report.verdict, report.anomalies, report.outcomes, report.chunks) == (
            *(whole.verdict, whole.anomalies, whole.outcomes, whole.chunks),
        )
        assert not report.applied
        assert found.as_seen() == as_plain(watch, "sync", pieces, way, api=api).as_seen()


@_EACH_MODE
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_of_a_size_are_of_that_size(mode: str, size: int, watch: Callable[..., Watched]) -> None:
    """`iter_bytes(chunk_size)` goes through, by position and by name."""
    watched = watch()

    def sync() -> list[bytes]:
        with opening(sdk.client(CHAT)) as response:
            return list(response.iter_bytes(size))

    async def asynchronous() -> list[bytes]:
        async with opening(sdk.async_client(CHAT)) as response:
            return [piece async for piece in response.http_response.aiter_bytes(chunk_size=size)]

    pieces = sync() if mode == "sync" else asyncio.run(asynchronous())

    assert b"".join(pieces) == b"".join(CHAT)
    assert {len(piece) for piece in pieces[:-1]} <= {size}
    assert watched.report.verdict is Verdict.COMPLETE


# --- compressed bodies


@_EACH_MODE
@_EACH_WAY
def test_a_compressed_body_is_seen_where_it_is_decompressed(mode: str, way: str, watch: Callable[..., Watched]) -> None:
    """As it came it is not decoded by anybody here: such a reading is counted apart."""
    packed, gzipped = gzip.compress(b"".join(CHAT)), {"content-encoding": "gzip"}
    reads = [packed[:40], packed[40:]]
    watched = watch()
    found = reading(mode, reads, way, headers=gzipped)
    watched.settle()

    assert [report.verdict for report in watched.reports] == ([] if "raw" in way else [Verdict.COMPLETE])
    assert watched.samples(UNOBSERVED, "gen_ai.request.model") == ({"gpt-4o": 1} if "raw" in way else {})
    assert found.as_seen() == as_plain(watch, mode, reads, way, headers=gzipped).as_seen()


# --- each body once


@_EACH_MODE
def test_a_response_that_is_parsed_is_the_streams(mode: str, watch: Callable[..., Watched]) -> None:
    """Watched, and repaired, by the ordinary way alone."""
    watched = watch()

    def sync() -> int:
        with opening(sdk.client(CHAT)) as response:
            return len(list(response.parse()))

    async def asynchronous() -> int:
        async with opening(sdk.async_client(CHAT)) as response:
            return len([chunk async for chunk in await response.parse()])

    assert (sync() if mode == "sync" else asyncio.run(asynchronous())) == len(CHAT) - 1
    assert watched.report.applied
    assert watched.samples("streamwatch.streams", "streamwatch.verdict") == {"complete": 1}
    assert watched.samples(UNOBSERVED) == {}


def test_a_body_that_is_read_in_part_and_then_parsed_is_one_stream(watch: Callable[..., Watched]) -> None:
    """The SDK cannot read it any more, and says so; nobody counts it twice."""
    watched = watch()
    with opening(sdk.client(CHAT)) as response:
        lines = response.iter_lines()
        assert next(lines)
        with pytest.raises(httpx.StreamConsumed):
            list(response.parse())
        del lines
    watched.settle()

    assert len(watched.reports) == 1


def test_a_body_that_was_read_can_be_read_again(watch: Callable[..., Watched]) -> None:
    """It is in memory then, and one stream."""
    watched = watch()
    with opening(sdk.client(CHAT)) as response:
        whole = response.read()
        assert response.read() == b"".join(response.http_response.iter_bytes()) == whole
        assert response.text() == whole.decode()

    assert watched.report.verdict is Verdict.COMPLETE


def test_a_body_that_was_there_from_the_start_is_watched(watch: Callable[..., Watched]) -> None:
    """As in tests whose transport answers at once."""
    watched = watch()
    answer = httpx.Response(200, content=b"".join(CHAT), headers={"content-type": "text/event-stream"})
    client = openai.OpenAI(
        api_key="k", http_client=httpx.Client(transport=httpx.MockTransport(lambda _: answer)), max_retries=0
    )
    with opening(client) as response:
        assert b"".join(response.iter_bytes()) == b"".join(CHAT)

    assert watched.report.verdict is Verdict.COMPLETE


def test_an_answer_that_is_no_stream_is_left_alone(watch: Callable[..., Watched]) -> None:
    """A download, and an answer that was not asked for as a stream."""
    watched = watch()
    headers = {"content-type": "application/json"}
    with sdk.client([b"{}"], headers).chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=[]
    ) as response:
        assert not any(isinstance(value, raw_streams.Covered) for value in vars(response.http_response).values())
        assert response.read() == b"{}"
    watched.settle()

    assert watched.reports == []


@pytest.mark.skipif(sdk.VERSION < (1, 84), reason="not in this release")
def test_speech_that_comes_as_events_is_watched(watch: Callable[..., Watched]) -> None:
    """The SDK makes no stream of it: its content type says what it is."""
    events = [{"type": "speech.audio.delta", "audio": "AA=="}, {"type": "speech.audio.done", "usage": {}}]
    watched = watch()
    speech = sdk.client(sdk.frames(events, done=False)).audio.speech.with_streaming_response
    with speech.create(model="gpt-4o-mini-tts", voice="alloy", input="x", stream_format="sse") as response:
        assert [line for line in response.iter_lines() if line.startswith("data:")]

    assert (watched.report.api, watched.report.verdict, watched.report.events) == ("other", Verdict.COMPLETE, 2)


# --- how it is read


def test_nothing_is_read_ahead(watch: Callable[..., Watched]) -> None:
    """The server is asked for a piece when the program asks."""
    watch()
    sent = []

    def reads() -> Iterator[bytes]:
        for piece in CHAT:
            sent.append(piece)
            yield piece

    with opening(sdk.client(reads())) as response:
        chunks = response.iter_bytes()
        assert sent == []
        for count, _ in enumerate(chunks, 1):
            assert len(sent) == count


@pytest.mark.parametrize("begun", [False, True])
def test_a_response_that_is_dropped_is_gone(begun: bool, watch: Callable[..., Watched]) -> None:
    """Nothing here keeps it, whether its body was read or not."""

    def dropped() -> weakref.ref[Any]:
        client = sdk.client(CHAT)
        with opening(client) as response:
            found = weakref.ref(response.http_response)
            if begun:
                assert next(response.iter_lines())
        return found

    gc.collect()
    gc.disable()
    try:
        plain = dropped()() is None
        watch()
        assert (dropped()() is None) == plain
    finally:
        gc.enable()


def test_a_task_that_is_cancelled_abandons_the_stream(watch: Callable[..., Watched]) -> None:
    """The cancellation passes."""
    watched = watch()

    async def going() -> None:
        task = asyncio.create_task(aread([*CHAT[:2], 30.0], "iter_lines"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(going())

    assert watched.report.verdict is Verdict.ABANDONED


def test_a_body_that_cannot_be_decoded_passes(watch: Callable[..., Watched]) -> None:
    """Bytes that are not UTF-8: the report says from where on nobody looked."""
    reads = [CHAT[0], b"data: \xff\n\n", *CHAT[1:]]
    watched = watch()
    found = reading("sync", reads, "iter_bytes")

    assert b"".join(found.pieces) == b"".join(reads)
    assert watched.report.unwatched == "not UTF-8"


@pytest.mark.internal_errors_expected
@pytest.mark.parametrize("fails", ["describe_raw", "RawStream", "receive"])
@_EACH_MODE
def test_a_failure_of_ours_leaves_the_body_alone(
    fails: str, mode: str, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one internal error, and the bytes are all there."""
    watched = watch()
    owner: Any = StreamWatch if fails == "receive" else raw_streams
    monkeypatch.setattr(owner, fails, lambda *_: 1 // 0)

    assert b"".join(reading(mode, CHAT, "iter_bytes").pieces) == b"".join(CHAT)
    assert watched.internal_errors() == 1


def test_off_is_off(watch: Callable[..., Watched]) -> None:
    """Also for a response that is handed out by what wrapped ours meanwhile."""
    watched = watch()
    manager = openai._response.ResponseContextManager
    ours = manager.__enter__
    watch.stop()  # type: ignore[attr-defined]
    assert manager.__enter__ is not ours
    manager_of = opening(sdk.client(CHAT))
    response = ours(manager_of)
    assert b"".join(response.iter_bytes()) == b"".join(CHAT)
    manager_of.__exit__(None, None, None)

    assert watched.reports == []
    assert not instrumentor.agent.any_open


def test_a_stall_and_its_silence_are_measured(watch: Callable[..., Watched]) -> None:
    """The time is the server's while the program waits, and the program's while it works."""
    watched = watch(settings=replace(Settings(), stall_seconds=0.05))
    reading("sync", [*CHAT[:2], 0.2, *CHAT[2:]], "iter_lines")
    times = watched.report.times

    assert times is not None
    assert times.longest_gap == pytest.approx(0.2, abs=0.1)
    assert "stream_stalled" in watched.report.kinds
