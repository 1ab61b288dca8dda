"""The time inside a stream: who was waited for, the longest gap, the silence before the end, and what is open now."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from conftest import Watched
from helpers import sdk
from streamwatch.core.kinds import STREAM_STALLED
from streamwatch.core.report import Times
from streamwatch.core.settings import Settings
from streamwatch.core.vocabulary import StreamState, Verdict
from streamwatch.export.log import SilenceLog
from streamwatch.export.open_streams import OpenStream
from streamwatch.export.request import RequestInfo
from streamwatch.export.telemetry import Telemetry
from streamwatch.sdk import instrumentor

ROOT = Path(__file__).parents[2]
#: Seconds that count as a stall here, and longer and shorter ones.
STALL, LONG, SHORT = 0.5, 0.8, 0.2
CALL = RequestInfo("chat", "gpt-4o", "openai", "server.test", None, "1.2.3")


@pytest.fixture
def stalling(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch with a threshold that a test can wait for."""
    return watch(settings=Settings(stall_seconds=STALL))


def times(watched: Watched) -> Times:
    """The times of the one stream."""
    found = watched.report.times
    assert found is not None
    assert found.waiting <= found.duration + 0.001
    assert found.reading == pytest.approx(found.duration - found.waiting, abs=0.001)
    return found


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_gap_in_the_middle_is_the_longest_wait_and_a_stall(mode: str, stalling: Watched) -> None:
    """It is the server's time."""
    first, *rest = sdk.healthy("chat")
    sdk.read(mode, [first, LONG, *rest])
    seen = times(stalling)

    assert LONG <= seen.longest_gap <= seen.waiting
    assert STREAM_STALLED in stalling.report.anomalies
    assert 0.0 == seen.silence
    assert seen.first_chunk is not None
    assert seen.first_chunk < LONG


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_model_may_think_before_its_first_chunk(mode: str, stalling: Watched) -> None:
    """That is the time to the first chunk: no gap, and no stall."""
    sdk.read(mode, [LONG, *sdk.healthy("chat")])
    seen = times(stalling)

    assert seen.longest_gap < SHORT
    assert STREAM_STALLED not in stalling.report.anomalies
    assert LONG <= seen.waiting
    assert LONG <= (seen.first_chunk or 0)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("end", [sdk.cut_off(), b""], ids=["reset", "end of the body"])
def test_silence_before_a_cut_is_part_of_the_duration(mode: str, end: Any, stalling: Watched) -> None:
    """The verdict stands, the hazard beside it, and both say after how long."""
    sdk.read(mode, [*sdk.healthy("chat")[:2], LONG, end])
    seen = times(stalling)
    (span,) = stalling.spans
    (duration,) = stalling.points("streamwatch.stream.duration")
    (silence,) = stalling.points("streamwatch.stream.silence")

    assert Verdict.TRUNCATED is stalling.report.verdict
    assert STREAM_STALLED in stalling.report.anomalies
    assert LONG <= (seen.silence if end else seen.longest_gap)
    assert LONG <= seen.longest_gap <= seen.duration
    assert LONG <= duration.sum
    assert silence.sum == seen.silence
    assert span.end_time is not None
    assert span.start_time is not None
    assert LONG * 1e9 <= span.end_time - span.start_time


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("decoder", [False, True], ids=["stock", "own decoder"])
def test_a_slow_reader_is_no_stall(decoder: bool, stalling: Watched) -> None:
    """Its time is its own, whatever the server does meanwhile."""
    client = sdk.client(sdk.healthy("chat"), cls=sdk.OwnDecoder) if decoder else sdk.client(sdk.healthy("chat"))
    for _ in sdk.create(client):
        time.sleep(SHORT)
    seen = times(stalling)

    assert STREAM_STALLED not in stalling.report.anomalies
    assert seen.longest_gap < SHORT
    assert 5 * SHORT <= seen.reading
    assert seen.waiting < SHORT
    waited = stalling.samples("streamwatch.stream.time", "streamwatch.waited_for")
    assert waited == {"server": pytest.approx(seen.waiting), "reader": pytest.approx(seen.reading)}


def test_events_that_come_in_bursts_show_as_events_per_read(stalling: Watched) -> None:
    """On average over the stream, with a path that says so where nobody is named."""
    chunks = sdk.frames(sdk.chat(*["text"] * 40))
    sdk.read("sync", [b"".join(chunks[:20]), b"".join(chunks[20:])])
    (per_read,) = stalling.points("streamwatch.stream.events_per_read")

    assert 43 / 2 == per_read.sum  # role, texts, finish, and [DONE]
    assert {"buffering": 1} == stalling.samples("streamwatch.streams", "streamwatch.via")


def test_the_path_is_on_streams_anomalies_cases_and_the_span(stalling: Watched) -> None:
    """As the headers of the response name it."""
    sdk.read("sync", sdk.broken(), headers={"server": "nginx/1.25", "x-litellm-call-id": "1"})
    (span,) = stalling.spans

    for name in ("streams", "anomalies", "cases"):
        assert {"nginx>litellm"} == set(stalling.samples(f"streamwatch.{name}", "streamwatch.via"))
    assert "nginx>litellm" == (span.attributes or {})["streamwatch.via"]


def test_headers_that_cannot_be_read_cost_no_stream(stalling: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody is named."""
    monkeypatch.setattr("streamwatch.sdk.request_info.path_of", lambda _headers: 1 / 0)
    sdk.read("sync", sdk.healthy("chat"))

    assert {"direct": 1} == stalling.samples("streamwatch.streams", "streamwatch.via")


# --- what is open now


class Held:
    """A server that sends some reads, and nothing more until it is let go."""

    def __init__(self, *reads: bytes) -> None:
        self.first, self.go = reads, threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self.first
        assert self.go.wait(20)
        yield from sdk.healthy("chat")[len(self.first) :]


def open_now(watched: Watched) -> dict[str, float]:
    """The open streams, by what they are doing; without those that there are none of."""
    found = watched.samples("streamwatch.open_streams", "streamwatch.state")
    return {state: count for state, count in found.items() if count}


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow  # test_top_open.py shows one in a quick run
@pytest.mark.parametrize(
    ("sent", "before", "beyond"),
    [(0, "starting", "unanswered"), (1, "flowing", "silent")],
    ids=["before the first chunk", "in the middle"],
)
def test_a_stream_that_hangs_shows_while_nothing_arrives(
    sent: int, before: str, beyond: str, watch: Callable[..., Watched], caplog: pytest.LogCaptureFixture
) -> None:
    """In the next collection after the threshold; with its age, its silence, and one line of the log."""
    threshold = 1.5  # a collection takes its time on a busy machine, and is to come before it
    stalling = watch(settings=Settings(stall_seconds=threshold))
    caplog.set_level(logging.INFO, "streamwatch")
    held = Held(*sdk.healthy("chat")[:sent])
    headers = {"x-request-id": "req_7"}
    reader = threading.Thread(target=lambda: list(sdk.create(sdk.client(held, headers))))
    reader.start()
    try:
        until(lambda: open_now(stalling) == {before: 1})
        assert [] == stalling.points("streamwatch.longest_silence")
        time.sleep(threshold)
        assert open_now(stalling) == {beyond: 1}
        assert stalling.samples("streamwatch.longest_silence", "streamwatch.state")[beyond] > threshold
        ((address, age),) = stalling.samples("streamwatch.oldest_stream", "server.address").items()
        assert (address, age > threshold) == ("server.test", True)
    finally:
        held.go.set()
        reader.join()

    assert {} == open_now(stalling)
    assert {"server.test": 0.0} == stalling.samples("streamwatch.oldest_stream", "server.address")
    (line,) = [record for record in caplog.records if "while its reader waits" in record.getMessage()]
    assert line.levelno == (logging.WARNING if sent else logging.INFO)
    assert "gpt-4o from server.test" in line.getMessage()
    assert "(request req_7)" in line.getMessage()


@pytest.mark.slow
def test_a_silence_that_nobody_collected_in_is_logged_when_it_ends(
    stalling: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with how long it was."""
    first, second, *rest = sdk.healthy("chat")
    sdk.read("sync", [first, LONG, second, LONG * 1.2, *rest])
    lines = [record.getMessage() for record in caplog.records if "fallen silent" in record.getMessage()]

    assert 1 == len(lines)
    assert "nothing for 1 s" in lines[0]
    assert "without an id" in lines[0]


@pytest.mark.slow
def test_a_late_first_chunk_hides_no_later_silence(stalling: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each, and no third one."""
    caplog.set_level(logging.INFO, "streamwatch")

    def reads() -> Iterator[Any]:
        first, second, *rest = sdk.healthy("chat")
        for pause, chunk in ((LONG, first), (LONG, second), (LONG * 1.2, rest.pop(0))):
            end = time.monotonic() + pause
            while time.monotonic() < end:
                yield SHORT
                stalling.points("streamwatch.open_streams")
            yield chunk
        yield from rest

    sdk.read("sync", reads())
    lines = [record.getMessage().partition(":")[0] for record in caplog.records if "its reader" in record.getMessage()]

    assert lines == [f"A stream of gpt-4o from server.test has {what}" for what in ("not begun", "fallen silent")]


def test_the_telemetry_of_earlier_providers_shows_none_of_the_streams_that_are_open_now(
    watch: Any, providers: dict[str, Any], metrics: Any, stalling: Watched
) -> None:
    """They are counted where they are opened."""
    first = providers["meter_provider"]
    watch.stop()
    later = InMemoryMetricReader()
    providers["meter_provider"] = MeterProvider([later])
    watch()
    stream = sdk.create(sdk.client(sdk.healthy("chat")))

    assert {"reading": 1} == open_now(Watched(None, later))  # type: ignore[arg-type]
    assert {} == open_now(Watched(None, metrics))  # type: ignore[arg-type]
    list(stream)
    first.shutdown()


def test_a_reader_at_work_is_not_waiting(stalling: Watched) -> None:
    """However long it takes; and a stream that is held and never read is open."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    assert {"reading": 1} == open_now(stalling)
    next(stream)
    time.sleep(STALL)
    assert {"reading": 1} == open_now(stalling)
    assert [] == stalling.points("streamwatch.longest_silence")
    list(stream)
    assert {} == open_now(stalling)


def test_streams_of_many_loops_and_threads_are_counted_together(stalling: Watched) -> None:
    """Each in its own loop, in its own thread; asked from another one."""
    hangs = [Held(sdk.healthy("chat")[0]) for _ in range(4)]

    class Hanging(sdk.Body):
        """Sends one chunk, then waits without blocking the loop."""

        def __init__(self, held: Held) -> None:
            super().__init__([])
            self.held = held

        async def __aiter__(self) -> Any:
            for read in self.held.first:
                yield read
            while not self.held.go.is_set():
                await asyncio.sleep(0.01)
            for read in sdk.healthy("chat")[1:]:
                yield read

    async def consume(pair: list[Held]) -> None:
        async def one(held: Held) -> None:
            respond = sdk.httpx.MockTransport(
                lambda _request: sdk.httpx.Response(
                    200, headers={"content-type": "text/event-stream"}, stream=Hanging(held)
                )
            )
            client = sdk.openai.AsyncOpenAI(  # type: ignore[attr-defined]
                api_key="k", base_url="http://server.test/v1", http_client=sdk.httpx.AsyncClient(transport=respond)
            )
            method, arguments = sdk.asks(client, "chat")
            async for _ in await method(**arguments):
                pass

        await asyncio.gather(*map(one, pair))

    threads = [threading.Thread(target=lambda pair=pair: asyncio.run(consume(pair))) for pair in (hangs[:2], hangs[2:])]
    for thread in threads:
        thread.start()
    try:
        until(lambda: open_now(stalling) == {"silent": 4})
    finally:
        for held in hangs:
            held.go.set()
        for thread in threads:
            thread.join()
    assert {} == open_now(stalling)
    assert {"complete": 4} == stalling.samples("streamwatch.streams", "streamwatch.verdict")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_shows_its_own_open_streams_alone() -> None:
    """The one that the parent reads is the parent's, whoever is asked, while the child has one of its own."""
    program = """
import os, warnings
warnings.simplefilter("ignore")
from helpers import sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import streamwatch
reader = InMemoryMetricReader()
streamwatch.instrument(meter_provider=MeterProvider([reader]))
def seen():
    data = reader.get_metrics_data().resource_metrics
    metrics = {m.name: m.data.data_points for r in data for s in r.scope_metrics for m in s.metrics}
    return {p.attributes["gen_ai.request.model"]: p.value for p in metrics.get("streamwatch.open_streams", ())}
def opened(model):
    client = sdk.client(sdk.healthy("chat"))
    method, arguments = sdk.asks(client, "chat")
    stream = method(**{**arguments, "model": model})
    next(stream)
    return stream
parents = opened("parents")
assert seen() == {"parents": 1}, seen()
child = os.fork()
if not child:
    assert seen() == {}, seen()
    own = opened("childs")
    assert seen() == {"childs": 1}, seen()
    list(own)
    assert seen() == {"childs": 0}, seen()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert seen() == {"parents": 1}, seen()
list(parents)
assert seen() == {"parents": 0}, seen()
print("all")
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.stdout.strip() == "all", ran.stderr


def test_what_was_dropped_long_ago_ended_when_something_came_last(stalling: Watched) -> None:
    """And is open no longer once it is collected."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    next(stream)
    time.sleep(SHORT)
    del stream
    gc.collect()

    assert {} == open_now(stalling)
    assert times(stalling).duration < SHORT


def test_a_failure_of_ours_leaves_the_gauges_empty_and_the_rest_whole(
    stalling: Watched, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """It is counted."""
    request.applymarker(pytest.mark.internal_errors_expected)
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    for telemetry in instrumentor.agent._telemetry.values():
        monkeypatch.setattr(telemetry._open, "_look", lambda: 1 / 0)

    assert [] == stalling.points("streamwatch.open_streams")
    assert stalling.internal_errors() > 0
    list(stream)
    assert {"complete": 1} == stalling.samples("streamwatch.streams", "streamwatch.verdict")


def test_open_streams_cannot_multiply_labels(providers: dict[str, Any], metrics: Any) -> None:
    """Models and servers that an application makes up are one beyond the cap."""
    streams = [
        OpenStream(RequestInfo("chat", f"m-{n}", "openai", f"s-{n % 10}", None, "1"), StreamState.FLOWING, 1.0, 0.5)
        for n in range(10)
    ]
    for server in range(10):
        streams += [
            OpenStream(RequestInfo("chat", f"m-{n}", "openai", f"s-{server}", None, "1"), StreamState.SILENT, 2.0, 1.5)
            for n in range(10)
        ]
    told = Telemetry(None, providers["meter_provider"], 10, open_streams=lambda: streams)
    watched = Watched(None, metrics)  # type: ignore[arg-type]
    labels = ("gen_ai.request.model", "server.address")
    counts = watched.samples("streamwatch.open_streams", *labels)

    assert len(counts) == 51
    assert sum(counts.values()) == 110
    assert len(watched.samples("streamwatch.oldest_stream", *labels)) == 51
    told.forget()
    streams.clear()
    assert [] == watched.points("streamwatch.open_streams")


# --- the log


def test_a_server_that_hangs_with_all_its_streams_makes_no_flood(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty lines a minute; the next one says how many there were besides."""
    now = [0.0]
    log = SilenceLog(clock=lambda: now[0])
    for _ in range(50):
        log.tell(CALL, "req_1", StreamState.SILENT, 20.0)
    assert 20 == len(caplog.records)
    now[0] = 61.0
    log.tell(CALL, "not an id", StreamState.SILENT, 20.0)

    last = caplog.records[-1].getMessage()
    assert 21 == len(caplog.records)
    assert "So have 30 others that were not logged." in last
    assert "without an id" in last
