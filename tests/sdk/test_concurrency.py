"""Many streams at once, in every way that Python has for that: each is right, and every one is counted once."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat.chat_completion_chunk import ChatCompletionChunk, Choice, ChoiceDelta
from opentelemetry.sdk.metrics import MeterProvider

from conftest import Watched
from helpers import sdk
from helpers.quick import examples
from streamwatch.core.vocabulary import Verdict
from streamwatch.sdk import instrumentor

#: What a relay stamped, one event three places late: each stream needs a repair, and says by its text whether it had it.
_LETTERS = "abcdefghij"
THREADS = 64
STREAMS_EACH = 3
#: Tasks that read from one client at once.
TASKS = examples(200, 30)


def broken(name: str) -> list[bytes]:
    """A stream that says its own name before the letters, out of order."""
    stamped = [{**chunk, "sequence_number": n} for n, chunk in enumerate(sdk.chat(name, *_LETTERS))]
    return sdk.frames(sdk.disordered(stamped, earlier=6, later=8))


class Echo(sdk.httpx.BaseTransport, sdk.httpx.AsyncBaseTransport):  # type: ignore[misc]
    """Answers each request with a stream that says the model's name, which tells the streams apart."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause

    def _respond(self, request: Any) -> Any:
        name = sdk.json.loads(request.content)["messages"][0]["content"]  # type: ignore[attr-defined]
        reads: list[sdk.Read] = []
        for read in broken(name):
            reads += [read, self.pause]
        return sdk.httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=sdk.Body(reads))

    def handle_request(self, request: Any) -> Any:
        return self._respond(request)

    async def handle_async_request(self, request: Any) -> Any:
        return self._respond(request)


def client(pause: float = 0.0) -> Any:
    """One client for all."""
    http = sdk.httpx.Client(transport=Echo(pause))
    return openai.OpenAI(api_key=sdk.API_KEY, base_url="http://server.test/v1", max_retries=0, http_client=http)


def async_client(pause: float = 0.0) -> Any:
    """The same for asynchronous code."""
    http = sdk.httpx.AsyncClient(transport=Echo(pause))
    return openai.AsyncOpenAI(api_key=sdk.API_KEY, base_url="http://server.test/v1", max_retries=0, http_client=http)


def ask(client: Any, name: str) -> Any:
    """Open the stream of a name."""
    messages = [{"role": "user", "content": name}]
    return client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)


def text_of(chunks: Any) -> str:
    """What an application reads."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def check_counts(watched: Watched, count: int) -> None:
    """So many streams were complete and repaired, and no counter says anything else."""
    chunks = count * len(sdk.chat("name", *_LETTERS))
    watched.settle()
    assert {Verdict.COMPLETE: count} == Counter(report.verdict for report in watched.reports)
    assert count == len({report.serial for report in watched.reports})
    assert {("complete", "repaired"): count} == watched.samples(
        "streamwatch.streams", "streamwatch.verdict", "streamwatch.condition"
    )
    assert chunks == sum(watched.samples("streamwatch.chunks").values())
    found = watched.samples("streamwatch.anomalies", "streamwatch.anomaly")
    assert count == found["sequence_out_of_order"]
    repairs = watched.samples("streamwatch.repairs", "streamwatch.anomaly", "streamwatch.outcome")
    assert count == repairs["sequence_out_of_order", "verified"]
    assert count == sum(point.count for point in watched.points("streamwatch.stream.duration"))
    assert not instrumentor.agent.any_open


@pytest.fixture
def patient(watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Watched]:
    """Switches Streamwatch on with windows without end: a thread or task may wait for its turn longer than any other."""
    monkeypatch.setattr("streamwatch.core.reorder._SHORT_SECONDS", 600)
    return lambda: watch(window_seconds=600)


@pytest.mark.slow
def test_counts_are_exact_with_64_threads_on_one_client(
    patient: Callable[[], Watched], providers: dict[str, Any]
) -> None:
    """While somebody scrapes all the time, no stream has an event of another one, and none is lost in a counter."""
    watched = patient()
    shared, start, done = client(), threading.Barrier(THREADS), threading.Event()

    def work(thread: int) -> list[str]:
        start.wait(30)
        names = [f"<{thread}/{number}>" for number in range(STREAMS_EACH)]
        return [name for name in names if text_of(ask(shared, name)) != name + _LETTERS]

    def scrape() -> None:
        provider: MeterProvider = providers["meter_provider"]
        while not done.wait(0.001):
            provider.force_flush()

    scraping = threading.Thread(target=scrape)
    scraping.start()
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # a thread is interrupted some hundred times in a stream
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            wrong = [name for names in pool.map(work, range(THREADS)) for name in names]
    finally:
        sys.setswitchinterval(switch)
        done.set()
        scraping.join()

    assert [] == wrong
    check_counts(watched, THREADS * STREAMS_EACH)


def test_a_stream_may_go_from_thread_to_thread(watched: Watched) -> None:
    """Opened in one, each chunk read in another: the stream is the same."""
    stream = ask(client(), "name")
    with ThreadPoolExecutor(4) as pool:
        chunks = list(iter(lambda: pool.submit(next, stream, None).result(), None))

    assert "name" + _LETTERS == text_of(chunks)
    check_counts(watched, 1)


def test_streams_that_take_turns_in_one_thread_are_kept_apart(watched: Watched) -> None:
    """A chunk of one, a chunk of the next: as an application does that merges answers."""
    shared = client()
    names = [f"<{number}>" for number in range(20)]
    said = dict.fromkeys(names, "")
    for chunks in zip(*(ask(shared, name) for name in names), strict=True):
        for name, chunk in zip(names, chunks, strict=True):
            said[name] += text_of([chunk])

    assert {name: name + _LETTERS for name in names} == said
    check_counts(watched, len(names))


async def _leave(shared: Any, name: str, patience: float) -> str:
    async def read() -> str:
        text = ""
        async with await ask(shared, name) as stream:
            async for chunk in stream:
                text += text_of([chunk])
        return text

    return await asyncio.wait_for(read(), patience)


@pytest.mark.skipif(sdk.VERSION < (1, 10), reason="streams of this release cannot be closed")
async def test_tasks_that_are_cancelled_at_any_moment_harm_no_other(patient: Callable[[], Watched]) -> None:
    """Timeouts hit some streams of one client anywhere: those are abandoned, the others whole, all counted."""
    watched = patient()
    shared, chance = async_client(pause=0.0005), random.Random(1)
    patience = [chance.choice((60.0, chance.uniform(0.001, 0.3))) for _ in range(TASKS)]
    names = [f"<{number}>" for number in range(len(patience))]
    asked = [_leave(shared, *each) for each in zip(names, patience, strict=True)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    watched.settle()
    for _ in range(100):  # the loop finalises the SDK's own generators in tasks; one that is forgotten never ends
        await asyncio.sleep(0)

    whole = [name for name, result in zip(names, results, strict=True) if result == name + _LETTERS]
    late = [result for result in results if isinstance(result, asyncio.TimeoutError)]
    assert len(names) == len(whole) + len(late)
    assert all(name in whole for name, seconds in zip(names, patience, strict=True) if seconds == 60.0)
    verdicts = Counter(report.verdict for report in watched.reports)
    # Who is cancelled before the answer came has no stream; who is cancelled after [DONE] has a whole one.
    assert len(whole) <= verdicts[Verdict.COMPLETE]
    assert {Verdict.COMPLETE, Verdict.ABANDONED} >= set(verdicts)
    assert sum(verdicts.values()) <= len(names)
    assert {asyncio.current_task()} == asyncio.all_tasks()
    assert not instrumentor.agent.any_open


async def test_tasks_on_one_client_are_counted_exactly(patient: Callable[[], Watched]) -> None:
    """All of them whole, and each its own."""
    watched = patient()
    shared = async_client(pause=0.0)
    names = [f"<{number}>" for number in range(TASKS)]

    async def read(name: str) -> str:
        return text_of([chunk async for chunk in await ask(shared, name)])

    assert [name + _LETTERS for name in names] == await asyncio.gather(*map(read, names))
    check_counts(watched, len(names))


# --- other loops


class Quiet(sdk.httpx.AsyncByteStream):  # type: ignore[misc]
    """A body without a pause, for loops that are not asyncio's."""

    def __init__(self, reads: list[bytes]) -> None:
        self.reads = reads

    async def __aiter__(self) -> Any:
        for read in self.reads:
            yield read


#: The SDK leaves its own generator to the collector when it has met [DONE], of which trio complains.
LEFT_BY_THE_SDK = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def runs_on_trio() -> bool:
    """Some releases, 1.55.3 among them, ask asyncio for a thread, whatever loop runs them."""
    try:
        source = inspect.getsource(importlib.import_module("openai._utils._sync"))
    except ImportError:
        return True
    return "asyncio.to_thread" not in source or "sniffio" in source


ON_TRIO = pytest.mark.skipif(not runs_on_trio(), reason="this release of the SDK does not run on trio")


@ON_TRIO
@LEFT_BY_THE_SDK
def test_trio_reads_a_repaired_stream(watched: Watched) -> None:
    """What is held waits for the next bytes there, as there is no asyncio to wait with."""
    trio = pytest.importorskip("trio")

    def respond(_request: Any) -> Any:
        body = Quiet(broken("name"))
        return sdk.httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    async def main() -> str:
        http = sdk.httpx.AsyncClient(transport=sdk.httpx.MockTransport(respond))
        given = {"api_key": sdk.API_KEY, "base_url": "http://server.test/v1", "max_retries": 0, "http_client": http}
        async with openai.AsyncOpenAI(**given) as client:
            return text_of([chunk async for chunk in await ask(client, "name")])

    assert "name" + _LETTERS == trio.run(main)
    check_counts(watched, 1)


#: Streams that are no context managers cannot be left in time.
CLOSES = pytest.mark.skipif(
    not hasattr(openai.AsyncStream, "__aenter__"), reason="streams of this release cannot be closed"
)


@ON_TRIO
@CLOSES
@LEFT_BY_THE_SDK
def test_trio_cancels_a_stream(watched: Watched) -> None:
    """Cancellation is the consumer's leaving there, too."""
    trio = pytest.importorskip("trio")

    class Endless(sdk.httpx.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> Any:
            for read in broken("name")[:8]:
                yield read
            await trio.sleep_forever()

    def respond(_request: Any) -> Any:
        return sdk.httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())

    async def main() -> None:
        http = sdk.httpx.AsyncClient(transport=sdk.httpx.MockTransport(respond))
        given = {"api_key": sdk.API_KEY, "base_url": "http://server.test/v1", "max_retries": 0, "http_client": http}
        with trio.move_on_after(0.2) as scope:
            async with await ask(openai.AsyncOpenAI(**given), "name") as stream:
                async for _ in stream:
                    pass
        assert scope.cancelled_caught

    trio.run(main)
    watched.settle()
    assert [Verdict.ABANDONED] == [report.verdict for report in watched.reports]


@CLOSES
def test_uvloop_reads_and_cancels(watched: Watched) -> None:
    """Another loop under asyncio: the window of what is held passes there, and tasks can be cancelled."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        shared = async_client(pause=0.001)
        assert "name" + _LETTERS == await _leave(shared, "name", 60.0)
        with pytest.raises(asyncio.TimeoutError):
            await _leave(async_client(pause=1.0), "late", 0.2)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    watched.settle()
    assert [Verdict.COMPLETE, Verdict.ABANDONED] == [report.verdict for report in watched.reports]


_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent.event, sys
sys.path[:0] = {path!r}
from collections import Counter
import test_concurrency as here
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

reports = []
StreamwatchInstrumentor().instrument(on_report=reports.append)
shared = here.client(pause=0.002)
names = [f"<{{number}}>" for number in range(50)]
reading = [gevent.spawn(lambda name: here.text_of(here.ask(shared, name)), name) for name in names]
begun = gevent.event.Event()

def read_late():
    for chunk in here.ask(here.client(pause=30.0), "late"):
        begun.set()

late = gevent.spawn(read_late)
assert begun.wait(60)
late.kill()
gevent.joinall(reading, raise_error=True)
assert [name + here._LETTERS for name in names] == [each.value for each in reading]
del late, reading
import gc
gc.collect()
here.instrumentor.agent.record_collected()
print(sorted(Counter(report.verdict.value for report in reports).items()))
"""


@pytest.mark.slow
def test_greenlets_are_kept_apart(tmp_path: Path) -> None:
    """gevent, patching everything: fifty streams at once are right, and one that is killed is abandoned."""
    if importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    program = tmp_path / "greenlets.py"
    here = Path(__file__)
    program.write_text(_GEVENT.format(path=[str(here.parent), str(here.parents[1]), str(here.parents[2])]))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120, check=False)

    assert "[('abandoned', 1), ('complete', 50)]\n" == done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("repair", ["default", "none"])
def test_switching_on_and_off_while_streams_are_read_harms_none(repair: str, watch: Callable[..., Watched]) -> None:
    """Every application gets all its chunks, whoever switches what on meanwhile, and no class stays changed."""
    shared, done = client(), threading.Event()
    before = [vars(cls).copy() for cls in (ChatCompletionChunk, Choice, ChoiceDelta)]
    names = [f"<{number}>" for number in range(100)]

    def toggle() -> None:
        while not done.is_set():
            watch(repair=repair)
            watch.stop()  # type: ignore[attr-defined]

    toggling = threading.Thread(target=toggle)
    toggling.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda name: text_of(ask(shared, name)), names))
    finally:
        done.set()
        toggling.join()

    # In order where a stream was watched, as it came where not: nothing is lost and nothing is there twice.
    assert [sorted(name + _LETTERS) for name in names] == [sorted(text) for text in texts]
    assert before == [vars(cls).copy() for cls in (ChatCompletionChunk, Choice, ChoiceDelta)]


_FORK = """
import os, signal, threading, time
import openai._streaming
from streamwatch import StreamwatchInstrumentor
from streamwatch.sdk.instrumentor import agent
StreamwatchInstrumentor().instrument()
taken = threading.Event()
opening = threading.Thread(target=lambda: (agent._event_types._lock.acquire(), taken.set(), time.sleep(60)), daemon=True)
opening.start()
taken.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    StreamwatchInstrumentor().uninstrument()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_a_stream_was_opened_can_open_its_own() -> None:
    """The thread that was opening it is not there to go on."""
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
