"""What has arrived is handed on in time, whatever the server does next: over real connections, in every concurrency."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers import sdk, sockets
from helpers.sockets import UNTIL_ASKED, Raw, Script, chunk
from streamwatch.core.patience import PatienceByServer
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.vocabulary import Verdict
from streamwatch.sdk import instrumentor, lines, waiting

pytestmark = [
    pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # trio, of the SDK's own generators
    pytest.mark.quick_cases(1),  # each waits, most of them in every loop
]

WINDOW = 0.1
ASYNC_MODES = ["asyncio", "trio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
EACH_MODE = pytest.mark.parametrize("mode", ["sync", *ASYNC_MODES])
EACH_ASYNC_MODE = pytest.mark.parametrize("mode", ASYNC_MODES)
FRAMES = sdk.frames(sdk.responses(), done=False)
#: A response of which event 4 never comes; 5 and 6 are held when the server falls silent.
BEFORE, HELD, AFTER = FRAMES[:4], FRAMES[5:7], FRAMES[7:]
GAP: Script = [*BEFORE, *HELD, UNTIL_ASKED, *AFTER]
IN_TIME = [0, 1, 2, 3, 5, 6]
ALL = [*IN_TIME, 7, 8, 9, 10, 11]


class Reading:
    """What an application got out of a stream; it lets the server go on when it has what was held."""

    def __init__(self, serving: sockets.Server, *, stays: bool = False) -> None:
        self.serving = serving
        self.numbers: list[int] = []
        self.error: BaseException | None = None
        self._stays = stays

    def add(self, event: Any) -> None:
        """One more event came."""
        self.numbers.append(event.sequence_number)
        if event.sequence_number == 6 and not self._stays:
            self.serving.go_on.set()


def client(url: str, **options: Any) -> Any:
    """A client for synchronous code."""
    return openai.OpenAI(api_key=sdk.API_KEY, base_url=url, max_retries=0, **options)


def async_client(url: str, **options: Any) -> Any:
    """The same for asynchronous code."""
    return openai.AsyncOpenAI(api_key=sdk.API_KEY, base_url=url, max_retries=0, **options)


def _read(reading: Reading, options: dict[str, Any]) -> None:
    with client(reading.serving.url, **options) as asking:
        for event in sdk.create(asking, "responses"):
            reading.add(event)


async def _read_async(reading: Reading, options: dict[str, Any]) -> None:
    async with async_client(reading.serving.url, **options) as asking:
        async for event in await sdk.create(asking, "responses"):
            reading.add(event)


def outcomes(watched: Watched) -> dict[str, dict[str, int]]:
    """What became of each kind."""
    found = watched.report.outcomes.items()
    return {kind.name: {str(name.value): count for name, count in each.items()} for kind, each in found}


def run(mode: str, function: Callable[..., Any], *args: Any) -> Any:
    """Run asynchronous code in one of the loops."""
    if mode == "trio":
        return pytest.importorskip("trio").run(function, *args)
    if mode == "asyncio":
        return asyncio.run(function(*args))
    loop = pytest.importorskip("uvloop").new_event_loop()
    try:
        return loop.run_until_complete(function(*args))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def read(mode: str, serving: sockets.Server, *, stays: bool = False, **options: Any) -> Reading:
    """Read a stream to its end; `stays` leaves the server silent where it is."""
    reading = Reading(serving, stays=stays)
    try:
        if mode == "sync":
            _read(reading, options)
        else:
            run(mode, _read_async, reading, options)
    except Exception as error:
        reading.error = error
    return reading


@pytest.fixture(autouse=True)
def _strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the numbers of a server ends with a test: all of them have one address."""
    monkeypatch.setattr(instrumentor.agent, "patience", PatienceByServer())


@pytest.fixture
def impatient(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch with a short window."""
    return watch(settings=Settings(repair=Policy(), window_seconds=WINDOW))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server and its client need for TLS."""
    return sockets.certificate(tmp_path_factory.mktemp("tls"))


# --- what arrived is handed on within the window


@EACH_MODE
def test_held_events_come_when_the_window_has_passed(mode: str, impatient: Watched) -> None:
    """A gap that never fills costs the window, and not the time until the server goes on."""
    with sockets.server(GAP) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert Verdict.COMPLETE is impatient.report.verdict


@EACH_MODE
def test_what_comes_within_the_window_is_waited_for(mode: str, watched: Watched) -> None:
    """One event comes three reads late, each in a write of its own: everything is in order."""
    moved = [*FRAMES[:4], *FRAMES[5:8], FRAMES[4], *FRAMES[8:]]
    with sockets.server([write for frame in moved for write in (frame, 0.01)]) as serving:
        reading = read(mode, serving)

    assert list(range(12)) == reading.numbers
    assert {"verified": 1} == watched.samples("streamwatch.repairs", "streamwatch.outcome")


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
def test_a_reader_who_takes_its_time_takes_none_of_the_window(mode: str, impatient: Watched) -> None:
    """What is missing may have come in the meantime: it is read before what is held goes on without it."""

    class Slow(Reading):
        def add(self, event: Any) -> None:
            super().add(event)
            if event.sequence_number == 3:
                time.sleep(2 * WINDOW)

    with sockets.server([*FRAMES[:3], FRAMES[3] + FRAMES[5], FRAMES[6], FRAMES[4], *FRAMES[7:]]) as serving:
        reading = Slow(serving)
        _read(reading, {}) if mode == "sync" else run(mode, _read_async, reading, {})

    assert list(range(len(FRAMES))) == reading.numbers
    assert {"sequence_out_of_order": {"verified": 1}} == outcomes(impatient)


@EACH_MODE
def test_over_tls_too(mode: str, tls: tuple[ssl.SSLContext, ssl.SSLContext], impatient: Watched) -> None:
    """Bytes that are decrypted, or only received, are not waited for at the socket."""
    serving_side, asking_side = tls
    http = sdk.httpx.Client if mode == "sync" else sdk.httpx.AsyncClient
    for script in (GAP, [*BEFORE, Raw(b"".join(map(chunk, HELD))), UNTIL_ASKED, *AFTER]):
        with sockets.server(script, tls=serving_side) as serving:
            reading = read(mode, serving, http_client=http(verify=asking_side, trust_env=False))

        assert (ALL, None) == (reading.numbers, reading.error)
        assert not serving.in_vain


@pytest.mark.quick_cases(2)
@EACH_MODE
def test_what_comes_within_the_window_is_waited_for_over_tls(
    mode: str, tls: tuple[ssl.SSLContext, ssl.SSLContext], watched: Watched
) -> None:
    """Where the buffers of TLS are known; without them nothing would be held beyond a read."""
    moved = [*FRAMES[:4], *FRAMES[5:8], FRAMES[4], *FRAMES[8:]]
    http = sdk.httpx.Client if mode == "sync" else sdk.httpx.AsyncClient
    with sockets.server([write for frame in moved for write in (frame, 0.01)], tls=tls[0]) as serving:
        reading = read(mode, serving, http_client=http(verify=tls[1], trust_env=False))

    assert list(range(12)) == reading.numbers
    assert {"verified": 1} == watched.samples("streamwatch.repairs", "streamwatch.outcome")


def _gzipped(parts: list[bytes]) -> list[bytes]:
    deflate = zlib.compressobj(wbits=31)
    return [deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH) for part in parts]


def gzip_script() -> Script:
    """The held events are compressed, and so is the beginning of the next one."""
    parts = _gzipped([*BEFORE, *HELD, *AFTER])
    return [*parts[:6], parts[6][:3], UNTIL_ASKED, parts[6][3:], *parts[7:]]


#: What a server may have written when it falls silent: how the held events and what follows them are cut.
CUTS: dict[str, Script] = {
    "in one write": [*BEFORE, Raw(b"".join(map(chunk, HELD))), UNTIL_ASKED, *AFTER],
    "event by event in one chunk": [*BEFORE, b"".join(HELD), UNTIL_ASKED, *AFTER],
    "before an event ends": [*BEFORE, *HELD, AFTER[0][:9], UNTIL_ASKED, AFTER[0][9:], *AFTER[1:]],
    "within the data of a chunk": [
        *BEFORE,
        *HELD,
        Raw(chunk(AFTER[0])[:20]),
        UNTIL_ASKED,
        Raw(chunk(AFTER[0])[20:]),
        *AFTER[1:],
    ],
}
#: The same, where the network has to be read before anybody knows that there is nothing for the reader.
BLOCKING_CUTS: dict[str, Script] = {
    "before a chunk ends": [*BEFORE, Raw(b"".join(map(chunk, HELD))[:-2]), 0.02, Raw(b"\r\n"), UNTIL_ASKED, *AFTER],
    "within the header of a chunk": [
        *BEFORE,
        *HELD,
        Raw(chunk(AFTER[0])[:2]),
        UNTIL_ASKED,
        Raw(chunk(AFTER[0])[2:]),
        *AFTER[1:],
    ],
}


@pytest.mark.quick_cases(3)
@EACH_MODE
@pytest.mark.parametrize("cut", CUTS)
def test_however_the_server_cuts_what_it_writes(cut: str, mode: str, impatient: Watched) -> None:
    """What is buffered above the socket is not waited for, and half an event is no reason to wait."""
    with sockets.server(CUTS[cut]) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert Verdict.COMPLETE is impatient.report.verdict


@EACH_ASYNC_MODE
@pytest.mark.parametrize("cut", BLOCKING_CUTS)
def test_a_read_that_brings_nothing_stops_at_the_gate(cut: str, mode: str, impatient: Watched) -> None:
    """A server that stops inside a chunk leaves the read suspended; the next one goes on with it."""
    with sockets.server(BLOCKING_CUTS[cut]) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert Verdict.COMPLETE is impatient.report.verdict


@pytest.mark.parametrize("cut", BLOCKING_CUTS)
def test_synchronous_code_has_no_gate(cut: str, impatient: Watched) -> None:
    """There the same is late, and nothing is lost by it."""
    with sockets.server(BLOCKING_CUTS[cut], patience=5 * WINDOW) as serving:
        reading = read("sync", serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert Verdict.COMPLETE is impatient.report.verdict


@EACH_MODE
def test_a_compressed_body_that_stops_in_a_block(mode: str, impatient: Watched) -> None:
    """Bytes that no decompressor can make anything of: asynchronous code waits no longer for them than for none."""
    patience = 5 * WINDOW if mode == "sync" else sockets.PATIENCE
    with sockets.server(gzip_script(), b"content-encoding: gzip\r\n", patience=patience) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert mode == "sync" or not serving.in_vain


@EACH_MODE
def test_a_body_without_chunks(mode: str, impatient: Watched) -> None:
    """A length in the headers, as some gateways have it."""
    length = len(b"".join([*BEFORE, *HELD, *AFTER]))
    with sockets.server(GAP, b"content-length: %d\r\n" % length) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain


@EACH_MODE
def test_a_connection_serves_the_next_request(mode: str, impatient: Watched) -> None:
    """Nothing of ours stays on a connection: a stream that waited ends, and the pool has it again."""
    with sockets.server([*BEFORE, *HELD, 0.4, *AFTER]) as serving:

        async def read_twice() -> list[list[int]]:
            async with async_client(serving.url) as asking:
                streams = [await sdk.create(asking, "responses")]
                first = [event.sequence_number async for event in streams[0]]
                return [first, [event.sequence_number async for event in await sdk.create(asking, "responses")]]

        if mode == "sync":
            with client(serving.url) as asking:
                numbers = [[each.sequence_number for each in sdk.create(asking, "responses")] for _ in range(2)]
        else:
            numbers = run(mode, read_twice)

        assert [ALL, ALL] == numbers
        assert (1, 2) == (serving.connections, serving.requests)


# --- what the application does meanwhile is as without us


@EACH_MODE
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_the_applications_own_timeout_comes(mode: str, script: Script, watch: Callable[..., Watched]) -> None:
    """A server that stays silent: the same events and the same exception, and not much later."""
    with sockets.server(script) as serving:
        plain = read(mode, serving, stays=True, timeout=0.4)
        watch()
        watched = read(mode, serving, stays=True, timeout=0.4)

    assert IN_TIME == plain.numbers == watched.numbers
    assert type(plain.error) is type(watched.error) is not None
    assert str(plain.error) == str(watched.error)


def test_64_types_of_bodies_are_remembered_as_blocking() -> None:
    """A process has a handful of transports; one that makes a class for each response costs no memory."""
    blocking: set[type] = set()
    for _ in range(70):
        body = type("Body", (), {"__module__": "app"})
        response = SimpleNamespace(stream=body(), extensions={}, request=SimpleNamespace(extensions={}))
        waiting.Waiting(response, iter(()), blocking).took(1.0, WINDOW)

    assert len(blocking) == 64


@pytest.mark.slow  # it takes longer than a client waits
@EACH_ASYNC_MODE
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_a_reader_who_is_away_has_no_timeout_and_costs_nothing(mode: str, script: Script, impatient: Watched) -> None:
    """Longer away than the HTTP library would wait for bytes, after the window has passed: no CPU, and no timeout."""
    numbers: list[int] = []

    async def away(url: str) -> None:
        sleep = asyncio.sleep if mode != "trio" else pytest.importorskip("trio").sleep
        async with async_client(url, timeout=0.5) as asking:
            async for event in await sdk.create(asking, "responses"):
                numbers.append(event.sequence_number)
                if event.sequence_number == 6:
                    before = time.process_time()
                    await sleep(1.2)
                    spent.append(time.process_time() - before)

    spent: list[float] = []
    with sockets.server([write if write is not UNTIL_ASKED else 0.8 for write in script]) as serving:
        run(mode, away, serving.url)

    assert ALL == numbers
    assert spent[0] < 0.3


async def _scoped(mode: str, seconds: float, reading: Reading, stream: Any) -> str:
    """Read with a limit around each step; says what ended it."""
    iterator = stream.__aiter__()
    try:
        while True:
            if mode == "trio":
                trio = pytest.importorskip("trio")
                with trio.fail_after(seconds):
                    reading.add(await iterator.__anext__())
            elif mode == "anyio":
                anyio = pytest.importorskip("anyio")
                with anyio.fail_after(seconds):
                    reading.add(await iterator.__anext__())
            else:
                reading.add(await asyncio.wait_for(iterator.__anext__(), seconds))
    except StopAsyncIteration:
        return "end"
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("mode", ["asyncio", "anyio", "trio"])
@pytest.mark.parametrize("seconds", [0.5, 5.0])
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_limits_around_each_step(mode: str, seconds: float, script: Script, watch: Callable[..., Watched]) -> None:
    """Longer than the window, they end as without us; what was held is never lost in them."""

    async def attempt(serving: sockets.Server) -> tuple[list[int], str, bool]:
        reading = Reading(serving, stays=seconds < 1)
        async with async_client(serving.url) as asking:
            stream = await sdk.create(asking, "responses")
            ended = await _scoped(mode, seconds, reading, stream)
            return reading.numbers, ended, stream.response.is_closed

    loop = "trio" if mode == "trio" else "asyncio"
    with sockets.server(script) as serving:
        plain = run(loop, attempt, serving)
        watch(settings=Settings(repair=Policy(), window_seconds=WINDOW))
        watched = run(loop, attempt, serving)

    assert plain == watched


#: Cancelled while events are held, before and after the window has passed.
MOMENTS = [WINDOW / 3, WINDOW * 3]


@EACH_ASYNC_MODE
@pytest.mark.parametrize("moment", MOMENTS, ids=["held", "handed-on"])
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_cancelling_closes_the_response_as_without_us(
    mode: str, moment: float, script: Script, watch: Callable[..., Watched], caplog: pytest.LogCaptureFixture
) -> None:
    """At once, in the reader's own task, and the connection with it."""

    async def cancelled(url: str) -> tuple[bool, str]:
        async with async_client(url) as asking:
            stream = await sdk.create(asking, "responses")
            ended = "no"

            async def consume() -> None:
                nonlocal ended
                try:
                    async for _ in stream:
                        pass
                except BaseException as error:
                    ended = type(error).__name__
                    raise

            if mode == "trio":
                trio = pytest.importorskip("trio")
                with trio.move_on_after(0.2 + moment):
                    await consume()
            else:
                task = asyncio.ensure_future(consume())
                await asyncio.sleep(0.2 + moment)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                assert {asyncio.current_task()} == asyncio.all_tasks()
            return stream.response.is_closed, ended

    with sockets.server(script) as serving:
        plain = run(mode, cancelled, serving.url)
        assert serving.client_left.wait(1)
        serving.client_left.clear()
        reports = watch(settings=Settings(repair=Policy(), window_seconds=WINDOW))
        watched = run(mode, cancelled, serving.url)
        assert serving.client_left.wait(1)

    assert plain == watched
    assert Verdict.ABANDONED is reports.report.verdict
    assert [] == [record.message for record in caplog.records if record.name == "asyncio"]


@EACH_ASYNC_MODE
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_the_http_library_sees_a_cancellation(mode: str, script: Script, watch: Callable[..., Watched]) -> None:
    """It closes the connection then, which releases of the SDK rely on that do not close the response themselves."""

    async def cancelled(url: str) -> bool:
        async with async_client(url) as asking:
            stream = await sdk.create(asking, "responses")

            async def consume() -> None:
                async for _ in stream._iter_events():
                    pass

            if mode == "trio":
                trio = pytest.importorskip("trio")
                with trio.move_on_after(0.2):
                    await consume()
            else:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(consume(), 0.2)
            return stream.response.is_closed  # type: ignore[no-any-return]

    with sockets.server(script) as serving:
        plain = run(mode, cancelled, serving.url)
        watch(settings=Settings(repair=Policy(), window_seconds=4))
        watched = run(mode, cancelled, serving.url)

    assert (True, True) == (plain, watched)


@EACH_ASYNC_MODE
@pytest.mark.parametrize("moment", MOMENTS, ids=["held", "handed-on"])
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_closing_from_another_task_ends_the_reader_as_without_us(
    mode: str, moment: float, script: Script, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A button that stops the answer: the reader gets the exception that it gets anyway, at once."""
    if moment < WINDOW:  # the reader is to wait with held events then, and only the closing can wake it
        monkeypatch.setattr("streamwatch.core.reorder._SHORT_SECONDS", 4.0)

    async def closed(url: str) -> tuple[str, str]:
        asking = async_client(url)
        stream = await sdk.create(asking, "responses")
        ended: list[str] = []

        async def consume() -> None:
            try:
                async for _ in stream:
                    pass
                ended.append("end")
            except Exception as error:
                ended.extend((type(error).__name__, str(error)))

        await _both(mode, consume, 0.2 + moment, stream.close)
        await asking.close()
        return tuple(ended)  # type: ignore[return-value]

    with sockets.server(script) as serving:
        plain = run(mode, closed, serving.url)
        watch(settings=Settings(repair=Policy(), window_seconds=4 if moment < WINDOW else WINDOW))
        began = time.perf_counter()
        watched = run(mode, closed, serving.url)

    assert plain == watched
    assert time.perf_counter() - began < 2


async def _both(mode: str, consume: Any, seconds: float, close: Any) -> None:
    """Consume in one task, and close in another one after a while."""
    if mode == "trio":
        trio = pytest.importorskip("trio")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume)
            await trio.sleep(seconds)
            await close()
    else:
        task = asyncio.ensure_future(consume())
        await asyncio.sleep(seconds)
        await close()
        await asyncio.wait_for(task, sockets.PATIENCE)


LEAVINGS = ["close", "close-iterator", "drop", "let-the-loop-end"]


@pytest.mark.quick_cases(2)
@EACH_ASYNC_MODE
@pytest.mark.parametrize("how", LEAVINGS)
@pytest.mark.parametrize("script", [GAP, BLOCKING_CUTS["before a chunk ends"]], ids=["outside", "at-the-gate"])
def test_leaving_after_the_window_leaves_nothing_behind(
    how: str, mode: str, script: Script, impatient: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """No task, no open connection, no complaint: also where a read is suspended at the gate."""
    complaints: list[Any] = []

    async def leave(url: str) -> None:
        if mode != "trio":
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        asking = async_client(url)
        stream = await sdk.create(asking, "responses")
        iterator = stream.__aiter__()
        while (await iterator.__anext__()).sequence_number < 6:
            pass
        if how == "close":
            await stream.close()
        elif how == "close-iterator":
            await stream._iterator.aclose()
        elif how == "drop":
            del stream, iterator
            gc.collect()
            sleep = asyncio.sleep if mode != "trio" else pytest.importorskip("trio").sleep
            await sleep(0.05)
            gc.collect()
            await sleep(0.05)
        if how != "let-the-loop-end":
            assert mode == "trio" or {asyncio.current_task()} == asyncio.all_tasks()
            await asking.close()
        left.append(stream if how == "let-the-loop-end" else None)

    left: list[Any] = []
    with sockets.server(script) as serving:
        run(mode, leave, serving.url)
        left.clear()
        gc.collect()
        assert serving.client_left.wait(1)

    assert how == "let-the-loop-end" or [] == complaints  # of those that it closes at its end a loop complains anyway
    assert Verdict.ABANDONED is impatient.report.verdict
    assert [] == [record.message for record in caplog.records if record.name == "asyncio"]


def test_closing_from_another_thread(impatient: Watched) -> None:
    """The reader that waits with held events gets them, and then the exception that it gets anyway."""
    at_once: Script = [b"".join([*BEFORE, *HELD]), UNTIL_ASKED, *AFTER]  # what was not read before closing, nobody gets
    with sockets.server(at_once) as serving, client(serving.url) as asking:
        stream = sdk.create(asking, "responses")
        reading = Reading(serving, stays=True)

        def consume() -> None:
            try:
                for event in stream:
                    reading.add(event)
            except Exception as error:
                reading.error = error

        thread = threading.Thread(target=consume)
        thread.start()
        while len(reading.numbers) < 4:
            time.sleep(0.001)
        stream.close()
        serving.go_on.set()
        thread.join(10)

    assert not thread.is_alive()
    assert (IN_TIME, True) == (reading.numbers, reading.error is not None)
    assert Verdict.ABANDONED is impatient.report.verdict


@EACH_MODE
def test_held_events_come_before_the_exception_of_a_cut(mode: str, impatient: Watched) -> None:
    """As they would have come without us."""
    with sockets.server([*BEFORE, *HELD, sockets.CUT]) as serving:
        reading = read(mode, serving)

    assert (IN_TIME, True) == (reading.numbers, reading.error is not None)
    assert Verdict.TRUNCATED is impatient.report.verdict


# --- what the transport is


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How each read of a held stream was decided."""
    seen: list[Any] = []
    step = waiting.Waiting.step

    def noted(self: Any, size: int, *, blocks: bool) -> Any:
        seen.append(step(self, size, blocks=blocks))
        return seen[-1]

    monkeypatch.setattr(waiting.Waiting, "step", noted)
    return seen


@EACH_MODE
def test_a_release_that_is_not_as_we_know_it_is_not_waited_with(
    mode: str, impatient: Watched, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever name is missing: what is held goes on before the next read, and nothing fails."""
    for name in lines.LAYERS:
        monkeypatch.setitem(lines.LAYERS, name, "_moved")
    with sockets.server(GAP) as serving:
        reading = read(mode, serving)

    assert (ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert {None} == set(steps)
    assert 0 == impatient.internal_errors()
