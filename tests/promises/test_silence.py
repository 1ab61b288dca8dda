"""What is seen of silence, and when: a table of truths, over real sockets, synchronous and asyncio.

Each row is what a server, a proxy or a reader does, what is seen while it lasts, what is kept of it, and the panel and
the alert that show it. A scrape is made every tenth of a second; a hang has to be seen by the first one after the
threshold.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from conftest import Watched
from helpers.sdk import httpx
from servers import programs
from servers.scripted import Scripted, Step, answer, scripted, until

pytest.importorskip("yaml", reason="PyYAML is not installed")

from dashboards import rules
from dashboards.records import Options
from streamwatch.core.report import Report, Times
from streamwatch.core.settings import Settings
from streamwatch.core.vocabulary import StreamState

#: Seconds: the threshold, a hang, what is far from it, and how often it is scraped.
THRESHOLD, HANG, SHORT, SCRAPE = 1.0, 2.2, 0.6, 0.1
HELD = HANG - 0.05  # a reader may begin to wait a moment after the server does
MODES = ("sync", "asyncio")
HTTPError: Any = httpx.HTTPError
proxied = pytest.mark.skipif(None in programs.PROXIES.values(), reason="HAProxy and nginx are not installed")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    script: Sequence[Step]
    hangs: StreamState | None  #: what the open stream is seen to do beyond the threshold
    verdict: str = "complete"
    kinds: frozenset[str] = frozenset()
    after: dict[str, tuple[float, float]] = field(default_factory=dict)  #: of times: at least, and less than
    reads_slowly: float = 0.0
    panels: tuple[str, ...] = ()
    alert: str = ""


STALLED = frozenset({"stream_stalled"})
CUT = frozenset({"stream_stalled", "stream_truncated"})
ROWS = [
    Row("healthy", answer("healthy"), None, after={"longest_gap": (0, SHORT), "waiting": (0, HANG)}),
    Row(
        "stall-at-the-start",
        answer("stall-at-the-start", at=0, pause=HANG),
        StreamState.UNANSWERED,
        after={"first_chunk": (HELD, 9), "longest_gap": (0, SHORT), "waiting": (HELD, 9)},
        panels=("Open and silent now", "Open streams, by what they are doing", "By model and server"),
        alert="StreamwatchStalledStreams",
    ),
    Row(
        "long-first-token",
        answer("long-first-token", at=0, pause=THRESHOLD * 0.3),
        None,
        after={"first_chunk": (THRESHOLD * 0.25, 9), "longest_gap": (0, SHORT)},
        panels=("By model and server",),
    ),
    Row(
        "stall-in-the-middle",
        answer("stall-in-the-middle", at=2, pause=HANG),
        StreamState.SILENT,
        kinds=STALLED,
        after={"longest_gap": (HELD, 9), "first_chunk": (0, THRESHOLD), "silence": (0, SHORT)},
        panels=("Open and silent now", "Longest silence now", "Longest gap of a stream", "Stalled streams"),
        alert="StreamwatchStalledStreams",
    ),
    Row(
        "stall-before-the-end",
        answer("stall-before-the-end", at=4, pause=HANG),
        StreamState.SILENT,
        kinds=STALLED,
        after={"longest_gap": (HELD, 9), "duration": (HELD, 9)},
        panels=("Longest gap of a stream",),
        alert="StreamwatchStallsRising",
    ),
    Row(
        "silence-before-a-cut",
        answer("silence-before-a-cut", at=3, pause=HANG, cut=True),
        StreamState.SILENT,
        verdict="truncated",
        kinds=CUT,
        after={"silence": (HELD, 9), "longest_gap": (HELD, 9), "duration": (HELD, 9)},
        panels=("Silence before cuts",),
        alert="StreamwatchTruncatedStreams",
    ),
    Row(
        "slow-reader",
        answer("slow-reader", texts=1),
        None,
        after={"reading": (HELD, 9), "longest_gap": (0, SHORT), "waiting": (0, HANG)},
        reads_slowly=THRESHOLD * 1.2,
        panels=("Who is waited for", "Server's share"),
    ),
]


@pytest.fixture
def stalling(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch with a threshold that a test can wait for."""
    return watch(settings=Settings(stall_seconds=THRESHOLD))


def read(mode: str, base_url: str, model: str, slowly: float = 0.0) -> threading.Thread:
    """Read a stream in a thread, however it ends."""

    def in_sync() -> None:
        client = openai.OpenAI(base_url=base_url, api_key="k", max_retries=0)
        for _ in client.chat.completions.create(model=model, messages=[], stream=True):
            time.sleep(slowly)

    async def in_loop() -> None:
        async with openai.AsyncOpenAI(base_url=base_url, api_key="k", max_retries=0) as client:
            async for _ in await client.chat.completions.create(model=model, messages=[], stream=True):
                await asyncio.sleep(slowly)

    def run() -> None:
        with suppress(openai.APIError, HTTPError):  # it was cut
            in_sync() if mode == "sync" else asyncio.run(in_loop())

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def seen_open(watched: Watched) -> dict[str, float]:
    """One scrape: what open streams do."""
    states = watched.samples("streamwatch.open_streams", "streamwatch.state")
    return {state: count for state, count in states.items() if count}


def scraped(watched: Watched, reader: threading.Thread) -> list[tuple[float, dict[str, float]]]:
    """Scrape until the stream is read; when, and what was seen."""
    begun, seen = time.monotonic(), []
    while reader.is_alive():
        seen.append((time.monotonic() - begun, seen_open(watched)))
        time.sleep(SCRAPE)
    reader.join()
    return seen


def of(watched: Watched) -> tuple[Report, Times]:
    """The report of the one stream, and its times."""
    report = watched.report
    assert report.times is not None
    return report, report.times


@pytest.mark.slow  # each takes seconds; test_times.py has what a quick run has of it
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_is_seen_while_it_lasts_and_kept_afterwards(row: Row, mode: str, stalling: Watched) -> None:
    """The state of an open stream by the first scrape beyond the threshold, and its times when it has ended."""
    with scripted({row.name: row.script}) as server:
        seen = scraped(stalling, read(mode, server.base_url, row.name, row.reads_slowly))
    report, times = of(stalling)
    beyond = [at for at, states in seen if {"silent", "unanswered"} & states.keys()]

    if row.hangs is None:
        assert not beyond
    else:
        assert beyond, seen
        known = [at for at, states in seen if states and row.hangs.value not in states and at < beyond[0]]
        # The first scrape that could see it did: the one before was made while the threshold was not passed.
        assert (
            beyond[0] - (known[0] if known else 0.0) < THRESHOLD + 6 * SCRAPE
        )  # and a collection takes its time on a busy machine
        assert {row.hangs.value: 1.0} in [states for _, states in seen]
    if row.reads_slowly:
        assert {"reading": 1.0} in [states for _, states in seen]
    assert {row.verdict} == set(stalling.samples("streamwatch.streams", "streamwatch.verdict"))
    assert row.kinds == {kind for kind in report.kinds if kind.startswith("stream_")}
    for name, (least, most) in row.after.items():
        assert least <= getattr(times, name) < most, (name, times)
    assert {} == seen_open(stalling)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_has_its_panels_and_its_alert(row: Row) -> None:
    """They are there under these names."""
    board = rules.FOLDER.parent / "json" / "streamwatch-waiting.json"
    panels = {panel["title"] for panel in json.loads(board.read_text("utf-8"))["panels"]}
    (group,) = rules.files(Options())["streamwatch-alerts.yml"]
    told = {rule.name for rule in group.rules}

    assert set(row.panels) <= panels
    assert not row.alert or row.alert in told
    assert row.name == "healthy" or row.panels


# --- through real proxies


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., programs.Proxy]]:
    """Starts a proxy in front of a server."""
    with ExitStack() as ended:

        def start(kind: str, server: Scripted, **options: Any) -> programs.Proxy:
            proxy = programs.Proxy(kind, tmp_path, server.port, **options)
            ended.callback(proxy.end)
            proxy.start()
            until(lambda: _answers(proxy), 20, proxy.name)
            return proxy

        yield start


def steady() -> list[Step]:
    """A script of 300 chunks, 5 ms apart."""
    return [step for chunk in answer("steady", texts=300) for step in (chunk, 0.005)]


def _answers(proxy: programs.Proxy) -> bool:
    try:
        return proxy.ready()
    except OSError:
        return False


@pytest.mark.e2e
@proxied
@pytest.mark.parametrize("seconds", [2, 60])
def test_the_idle_timeout_of_haproxy_is_a_silence_of_just_that_length(
    seconds: int, stalling: Watched, started: Callable[..., programs.Proxy]
) -> None:
    """Before a cut, in both modes, and with no trace of the proxy in the headers."""
    script = answer("idle", at=3, pause=seconds * 3.0)
    with scripted({"idle": script}) as server:
        proxy = started("haproxy", server, timeout=f"{seconds}s")
        readers = [read(mode, proxy.base_url, "idle") for mode in MODES]
        waited = until(lambda: seen_open(stalling) == {"silent": 2}, THRESHOLD + 5, lambda: seen_open(stalling))
        for reader in readers:
            reader.join(seconds + 20)
    silences = [report.times.silence for report in stalling.reports if report.times]

    assert waited < THRESHOLD + 3
    assert [pytest.approx(seconds, abs=1.5)] * 2 == silences
    assert {"truncated": 2} == stalling.samples("streamwatch.streams", "streamwatch.verdict")
    assert {"direct": 2} == stalling.samples("streamwatch.streams", "streamwatch.via")
    assert all("stream_stalled" in report.kinds for report in stalling.reports)
    counts = [point.bucket_counts for point in stalling.points("streamwatch.stream.silence")]
    if seconds == 60:  # the bucket from 55 to 65 s
        bounds = stalling.points("streamwatch.stream.silence")[0].explicit_bounds
        assert 2 == counts[0][list(bounds).index(65.0)]


@pytest.mark.e2e
@proxied
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_nginx_is_named_and_its_buffering_shows_as_bursts(
    buffering: str, mode: str, stalling: Watched, started: Callable[..., programs.Proxy]
) -> None:
    """Many events a read with buffering, one without.

    It speaks HTTP/1.0 to the server, as it does by default before 1.29, and fills its buffers then. What comes in the
    chunks of HTTP/1.1 it passes on as it comes, with buffering as without.
    """
    with scripted({"steady": steady()}) as server:
        proxy = started("nginx", server, buffering=buffering, http="1.0")
        read(mode, proxy.base_url, "steady").join()
    (per_read,) = stalling.points("streamwatch.stream.events_per_read")

    assert {"nginx": 1} == stalling.samples("streamwatch.streams", "streamwatch.via")
    assert per_read.sum > 8 if buffering == "on" else per_read.sum < 1.5, per_read.sum
    print(f"buffering {buffering}, {mode}: {per_read.sum:.1f} events a read")


@pytest.mark.e2e
@proxied
@pytest.mark.parametrize("mode", MODES)
def test_a_proxy_that_leaves_no_trace_is_known_by_its_bursts(
    mode: str, stalling: Watched, started: Callable[..., programs.Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx that passes on what the server calls itself."""
    traceless = programs._NGINX.replace("proxy_buffering", "proxy_pass_header Server;\n            proxy_buffering")
    monkeypatch.setattr(programs, "_NGINX", traceless)
    with scripted({"steady": steady()}) as server:
        proxy = started("nginx", server, buffering="on", http="1.0")
        read(mode, proxy.base_url, "steady").join()

    assert {"buffering": 1} == stalling.samples("streamwatch.streams", "streamwatch.via")
