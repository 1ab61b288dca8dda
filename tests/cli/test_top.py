"""`streamwatch top` shows what endpoints count, whatever restarts, goes away or answers with nonsense."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import math
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from helpers.listening import Listener
from streamwatch.cli import (
    main,
    top,  # noqa: F401 -- the modules
)
from streamwatch.cli.common import scraping
from streamwatch.cli.common.scraping import Exposition, NoAnswerError, exposition, fetch
from streamwatch.cli.doctor import selftest
from streamwatch.cli.top import command as module
from streamwatch.cli.top import rates, sources
from streamwatch.cli.top.rates import Frame, History, Increases
from streamwatch.cli.top.sources import MetricsSource
from streamwatch.core.kinds import KINDS
from streamwatch.core.stream_cases import KNOWN
from streamwatch.otel.prometheus_reader import PrometheusReader
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor
from streamwatch.synthetic.faults import FAULTS, HEALTHY, broken
from streamwatch.synthetic.streams import Shape, encode

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
SERIES = ("streamwatch_streams_total", (("streamwatch_condition", "clean"),))


# --- servers


@contextlib.contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[str]:
    """A server on localhost that answers every request in this way; its address."""
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {})
    handler.do_GET = answer  # type: ignore[attr-defined]
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = Listener(("127.0.0.1", port), handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # who was cut off is no news
    thread = threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answering(body: bytes | Callable[[], bytes], status: int = 200, **headers: str) -> Answer:
    """Answers with a body."""

    def answer(self: http.server.BaseHTTPRequestHandler) -> None:
        text = body() if callable(body) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    return answer


class Application:
    """Streams that are really read, and what the real Prometheus reader says of them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.provider = MeterProvider([PrometheusReader(self._registry)])
        StreamwatchInstrumentor().instrument(meter_provider=self.provider)

    def read(self, fault: Any = HEALTHY, shape: Shape = Shape.CHAT_TEXT, times: int = 1) -> None:
        """Read streams with this fault."""
        body = b"".join(encode(broken(fault, selftest._events(shape), selftest.Random(1))))  # type: ignore[attr-defined]
        for _ in range(times):
            selftest._sync(openai, shape, body)

    def metrics(self) -> bytes:
        """What its endpoint says."""
        return generate_latest(self._registry)


@pytest.fixture
def application() -> Iterator[Application]:
    """An application, and its end."""
    made = Application()
    yield made
    StreamwatchInstrumentor().uninstrument()
    made.provider.shutdown()


def run(*arguments: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, ["top", *arguments])


def text_of(frame: Any) -> str:
    """What is drawn."""
    console = Console(width=120, file=io.StringIO())
    console.print(frame)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def said(streams: float, **labels: str) -> bytes:
    """The text of an endpoint that counted so many streams."""
    pairs = {"streamwatch_condition": "clean", "streamwatch_verdict": "complete", **labels}
    inside = ",".join(f'{name}="{value}"' for name, value in pairs.items())
    return f'streamwatch_build_info{{version="1.2.3"}} 1.0\nstreamwatch_streams_total{{{inside}}} {streams}\n'.encode()


def taken(increases: Increases, value: float | None, started: float | None = None) -> float:
    """The increase after a scrape that saw this value."""
    samples = {("streamwatch_build_info", ()): 1.0, **({} if value is None else {SERIES: value})}  # type: ignore[misc]
    return increases.take(Exposition(samples, "", started)).get(SERIES, 0.0)


# --- counters


def test_what_was_counted_before_anybody_looked_is_no_rate() -> None:
    """It is in the total."""
    increases = Increases()

    assert [0, 3, 0] == [taken(increases, value) for value in (100, 103, 103)]
    assert {SERIES: 103} == increases.totals


def test_a_counter_that_fell_has_begun_anew() -> None:
    """What it shows is what increased since."""
    increases = Increases()

    assert [0, 5, 2] == [taken(increases, value) for value in (10, 15, 2)]
    assert 17 == increases.totals[SERIES]


def test_a_process_that_started_later_has_begun_anew() -> None:
    """Also where it has counted further meanwhile than the one before."""
    increases = Increases()

    assert [0, 12] == [taken(increases, 10, 1000.0), taken(increases, 12, 2000.0)]


def test_a_series_that_appears_has_increased_from_zero() -> None:
    """Its process was seen before, without it."""
    increases = Increases()

    assert [0, 4] == [taken(increases, None), taken(increases, 4)]


def test_a_process_that_appears_in_a_prometheus_is_no_rate() -> None:
    """It counted before it was scraped there."""
    increases = Increases()
    for instance, value in (("a", 1.0), ("b", 1000.0)):
        series = (SERIES[0], (("instance", instance),))
        assert {} == increases.take(Exposition({series: value}, "", None))


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=20))
def test_no_rate_is_negative_and_no_total_falls(values: list[float | None]) -> None:
    """Whatever is counted, restarts, is left out, or is no number."""
    increases, total = Increases(), 0.0
    for value in values:
        assert taken(increases, value) >= 0
        assert increases.totals.get(SERIES, 0.0) >= total
        total = increases.totals.get(SERIES, 0.0)


def test_series_without_end_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile endpoint invents new ones in each answer."""
    monkeypatch.setattr(rates, "_MOST_SERIES", 10)
    increases = Increases()
    for number in range(5):
        names = [("streamwatch_streams_total", (("model", f"{number}.{one}"),)) for one in range(10)]
        increases.take(Exposition(dict.fromkeys(names, 1.0), "", None))

    assert 10 == len(increases.totals)


def test_rates_are_those_of_the_window() -> None:
    """What is older counts no longer."""
    history = History(window=60)
    for now in range(0, 200, 10):
        history.add(float(now), 10.0, {SERIES: 20.0 if now < 100 else 5.0})

    assert pytest.approx(60) == history.seconds
    assert 0.5 == Frame({}, history.increases(), history.seconds, history.lines()).per_second(30)
    assert pytest.approx(30) == history.increases()[SERIES]


def test_the_line_of_the_last_minutes_has_a_bar_for_each_moment() -> None:
    """Old ones go, and where nobody answered there is nothing."""
    history = History()
    for now in (0.0, 2.0, 4.0, 10.0):
        history.add(now, 2.0, {SERIES: 4.0})
    assert [2.0, 0.0, 2.0] == history.lines()[0]

    for now in range(20, 2000, 5):
        history.add(float(now), 5.0, {SERIES: 5.0})
    assert [1.0] * rates.POINTS == history.lines()[0]


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, 0.001, 50.0, 100.0], "▁▁▄█"), ([3.0], "█")]
)
def test_a_line_of_bars(values: list[float], line: str) -> None:
    """The highest is the largest value."""
    assert line == module.sparkline(values)


# --- hostile answers


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html><body>Welcome to nginx!</body></html>", "it answers with something that is not metrics"),
        (b"", "it answers with something that is not metrics"),
        (b"\xff\xfe\x00", "it answers with something that is not metrics"),
        (b"# TYPE up gauge\nup 1\n", "it answers with metrics, but none of Streamwatch's"),
        (b"streamwatch_streams_total{a= 1\n", "its metrics cannot be read"),
        (b"streamwatch_streams_total one\n", "its metrics cannot be read"),
    ],
)
def test_an_answer_that_is_no_metrics_of_ours_is_told(body: bytes, why: str) -> None:
    """In one line, whatever it is."""
    with pytest.raises(NoAnswerError, match=why) as told:
        exposition(body.decode("utf-8", "replace"))
    assert "\n" not in str(told.value)


def test_a_body_without_end_is_cut() -> None:
    """Little more than the bound is ever read."""
    sent: list[Any] = []

    def flood(self: http.server.BaseHTTPRequestHandler) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while len(sent) < 10_000:
                sent.append(self.wfile.write(b"streamwatch_x 1\n" * 4096))

    with serving(flood) as url, pytest.raises(NoAnswerError, match="longer than 1 MiB"):
        fetch(url, limit=1 << 20)
    assert len(sent) < 1000  # sockets hold some of it


def test_a_body_that_drips_is_left() -> None:
    """Each byte is in time, the answer is not."""

    def drip(self: http.server.BaseHTTPRequestHandler) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"#")
                time.sleep(0.05)

    began = time.monotonic()
    with serving(drip) as url, pytest.raises(NoAnswerError, match="too slowly"):
        fetch(url, seconds=0.5)
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_headers_that_drip_hold_up_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is left to its thread, and no second one is asked meanwhile."""
    monkeypatch.setattr(sources, "SECONDS", 0.3)
    asked = []

    def drip(self: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(self.path)
        with contextlib.suppress(OSError):
            for _ in range(60):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)

    with serving(drip) as url, serving(answering(said(7))) as good:
        watch = module._Watch([MetricsSource(url), MetricsSource(good)])
        began = time.monotonic()
        frames = [watch.look() for _ in range(3)]
        assert time.monotonic() - began < 2.5
        slow, fine = (source.state() for source in watch.sources)

    assert ["/metrics"] == asked
    assert (False, "no answer in time", True) == (slow.up, slow.error, fine.up)
    assert 7 == frames[-1].measured.streams


def test_more_series_than_there_can_be_are_not_read() -> None:
    """They would fill the memory."""
    with pytest.raises(NoAnswerError, match="more than 100,000 lines"):
        exposition("streamwatch_x 1\n" * 100_001)


def test_what_an_endpoint_says_cannot_play_with_the_terminal() -> None:
    """Escape sequences and markup in a model's name are letters like others, and names are cut."""
    name = "\x1b[31m[bold]evil\x07" + "x" * 1000
    totals = exposition(said(1, gen_ai_response_model=name).decode()).samples
    frame = Frame(totals, {}, 0.0, ([], []))
    (model,) = frame.models()
    drawn = text_of(module.draw(frame, [MetricsSource("http://a.test")]))

    assert 200 == len(model.name)
    assert "\x1b" not in drawn
    assert "?[31m[bold]evil?" in drawn


def test_nobody_is_led_to_another_address() -> None:
    """The address is told instead, without its credentials."""
    answer = answering(b"", 302, Location="http://me:secret@other.test/metrics")
    with serving(answer) as url, pytest.raises(NoAnswerError, match=r"leads to http://other\.test/metrics") as told:
        fetch(url)
    assert "secret" not in str(told.value)


def test_credentials_of_an_address_are_used_and_never_shown() -> None:
    """As HTTP has it."""
    seen = []

    def answer(self: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(self.headers["Authorization"])
        answering(said(1))(self)

    with serving(answer) as url:
        result = run("--once", "--interval", "0.2", url.replace("//", "//me:s%40cret@"))

    assert {"Basic bWU6c0BjcmV0"} == set(seen)
    assert "cret" not in result.output
    assert 0 == result.exit_code


# --- what is shown


def test_what_an_application_read_is_shown(application: Application) -> None:
    """Models, verdicts, kinds, fix rates beside the published ones: out of the real reader's text."""
    fault = FAULTS["index_always_0"]
    application.read(FAULTS["content_null"])

    def later() -> bytes:
        text = application.metrics()
        application.read(fault, Shape.CHAT_TOOLS, times=2)
        return text

    with serving(answering(later)) as url:
        result = run("--once", "--interval", "0.2", "--json", url)
    (line,) = result.stdout.splitlines()
    frame = json.loads(line)

    assert 0 == result.exit_code
    assert {"total": 3, "per_second": pytest.approx(2 / frame["window_seconds"], rel=0.01)} == frame["streams"]
    assert {"clean": 1, "repaired": 2, "broken": 0} == {
        name: count["total"] for name, count in frame["conditions"].items()
    }
    assert {"complete": 3} == frame["verdicts"]
    ((model,),) = [list(frame["models"])]
    assert (selftest._MODEL, 3, 1, 2, 0) == tuple(
        model[one] for one in ("model", "total", "clean", "repaired", "broken")
    )
    kinds = {one["kind"]: one for one in frame["kinds"]}
    reused = kinds["tool_call_index_reused"]
    assert ("fault", 2, 2, 1.0) == (
        reused["severity"],
        reused["total"],
        reused["outcomes"]["verified"],
        reused["fix_ratio"],
    )
    assert reused["per_second"] > 0
    issues = {one["issue"]: one for one in frame["issues"]}
    assert [(None, None), *((one.name, one.published and one.published[1]) for one in KNOWN)] == [
        (None if one["issue"] == "any_fault" else one["issue"], one["published_fix_ratio"]) for one in frame["issues"]
    ]
    for name in ("any_fault", "tool_calls"):
        assert (2, 2, 1.0, 0) == (
            *(issues[name][key] for key in ("cases", "fixed", "fix_ratio")),
            issues[name]["shadow"]["cases"],
        )
    content = issues["llm/streaming-assistant-content-empty"]
    assert ("hazard", 1, 1, "too few") == tuple(
        content[key] for key in ("severity", "cases", "fixed", "against_published")
    )
    assert 0 == frame["internal_errors"]
    assert [(True, "endpoint", "")] == [(one["up"], one["kind"], one["error"]) for one in frame["sources"]]


def test_the_picture_says_the_same(application: Application) -> None:
    """In words, cut to the height of a terminal."""
    for fault in ("index_always_0", "index_missing", "index_from_1"):
        application.read(FAULTS[fault], Shape.CHAT_TOOLS)
    application.read(FAULTS["content_null"])
    with serving(answering(application.metrics)) as url:
        watch = module._Watch([MetricsSource(url)])
        frame = watch.look()
    drawn = text_of(module.draw(frame, watch.sources))

    assert f"Streamwatch {rates_version()} on {url.removeprefix('http://')}" in drawn
    assert "4 streams since the start: 4 complete" in drawn
    for words in (selftest._MODEL, "tool_call_index_reused", "KeyError: 'content': 1 of 1 (100.0%, published 90.0%)"):
        assert words in drawn
    assert re.search(r"anything wrong +- +100.0% +44% to 100% +3 of 3", drawn)
    assert re.search(r"tool calls +85.0% +100.0% +44% to 100% +3 of 3 +too few", drawn)


@pytest.mark.parametrize("height", [24, 30, 45])
def test_a_picture_fits_its_terminal(height: int) -> None:
    """However many models and kinds there are; what is left out is told."""
    totals: dict[Any, float] = {}
    for kind in KINDS:
        totals["streamwatch_anomalies_total", (("streamwatch_anomaly", kind),)] = 1.0
    for number in range(30):
        totals[SERIES[0], (("gen_ai_response_model", f"m{number}"), *SERIES[1])] = 1.0
    low = text_of(module.draw(Frame(totals, {}, 0.0, ([0.0], [0.0])), [MetricsSource("http://a.test")], height))

    assert height - 2 <= len(low.splitlines()) <= height
    assert "more kinds: enlarge the terminal" in low
    assert "more models" in low


@pytest.mark.parametrize("severity", ["fault", "hazard"])
def test_a_small_terminal_shows_names_that_can_be_told_apart(severity: str) -> None:
    """80 columns and 24 lines: no name of a kind is cut, no line is broken in two."""
    totals: dict[Any, float] = {(SERIES[0], SERIES[1]): 12_000.0}
    kinds = [kind.name for kind in KINDS.values() if kind.severity.value == severity]
    for kind in kinds:
        totals["streamwatch_anomalies_total", (("streamwatch_anomaly", kind),)] = 12_345.0
        for outcome in ("verified", "failed"):
            labels = (("streamwatch_issue", kind), ("streamwatch_applied", "true"), ("streamwatch_outcome", outcome))
            totals["streamwatch_cases_total", tuple(sorted(labels))] = 4_321.0
    for name in ("streamwatch_reorder_distance", "streamwatch_reorder_delay_seconds"):
        totals |= {(f"{name}_count", ()): 9.0, (f"{name}_sum", ()): 18.0}
    for number in range(9):
        totals[SERIES[0], (("gen_ai_response_model", f"m{number}"), *SERIES[1])] = 1.0
    frame = Frame(totals, totals, 60.0, ([1.0] * 60, [0.5] * 60))
    sources = [MetricsSource("http://a.test")]
    console = Console(width=80, file=io.StringIO())
    console.print(module.draw(frame, sources, None, 80))
    whole = console.file.getvalue()  # type: ignore[attr-defined]
    console = Console(width=80, file=io.StringIO())
    console.print(module.draw(frame, sources, 24, 80))
    small = console.file.getvalue().splitlines()  # type: ignore[attr-defined]

    assert all(re.search(rf"^{kind} ", whole, re.MULTILINE) for kind in kinds)
    assert len(small) <= 24
    assert any(line.startswith("and ") and "more kinds" in line for line in small)
    assert any(line.startswith("streaming response chunk order") for line in small)
    assert not any(line.startswith("mismatch") for line in small)


def test_an_application_without_streams_is_no_empty_screen() -> None:
    """One sentence, until the first stream has ended."""
    with serving(answering(b'streamwatch_build_info{version="0.1.0"} 1\n')) as url:
        watch = module._Watch([MetricsSource(url)])
        drawn = text_of(module.draw(watch.look(), watch.sources))

    assert "no streams yet: the tables appear when the first stream has ended" in drawn


@pytest.mark.parametrize(
    "line",
    [
        "streamwatch_x 1",
        "streamwatch_x  1.5e3 1700000000000",
        'streamwatch_x{a="b",c="d e"} 2.0',
        'streamwatch_x{a="}\\"{ \\\\ \\n"} NaN',
        'streamwatch_x{a="b", } +Inf',
    ],
)
def test_a_line_is_read_as_the_client_library_reads_it(line: str) -> None:
    """Names, labels and values, however they are written."""
    (family,) = text_string_to_metric_families(f"{line}\n")
    (sample,) = family.samples
    ((series, value),) = exposition(f"{line}\n").samples.items()

    assert series == scraping.series(sample.name, sample.labels)
    assert value == sample.value or (math.isnan(value) and math.isnan(sample.value))


def rates_version() -> str:
    """The version that an endpoint tells."""
    from streamwatch.version import __version__

    return __version__


def test_observing_is_told_from_repairing() -> None:
    """Nothing was repaired where nothing is applied."""
    series = (
        "streamwatch_cases_total",
        (("streamwatch_issue", "content_absent"), ("streamwatch_applied", "false")),
    )
    assert Frame({series: 1.0}, {}, 0.0, ([], [])).observe
    assert not Frame({}, {}, 0.0, ([], [])).observe


# --- sources


def test_an_endpoint_that_goes_away_is_told_and_comes_back() -> None:
    """Its totals stay, and what it counts after a restart is added."""
    count = [10.0]
    with serving(answering(lambda: said(count[0]))) as url:
        port = int(url.rpartition(":")[2])
        watch = module._Watch([MetricsSource(url)])
        watch.look()
        count[0] = 12.0
        assert 2 == watch.look().recent.streams
    gone = watch.look()
    drawn = text_of(module.draw(gone, watch.sources))
    assert re.search(r"went away \d+ s ago: no answer \(Connection (refused|reset by peer)\)", drawn)
    assert 12 == gone.measured.streams

    count[0] = 3.0  # it was started anew
    with serving(answering(lambda: said(count[0])), port):
        back = watch.look()
    assert watch.sources[0].state().up
    assert (15, 5) == (back.measured.streams, back.recent.streams)


def test_several_endpoints_are_added_up() -> None:
    """Workers of one application."""
    with serving(answering(said(3))) as one, serving(answering(said(4, gen_ai_response_model="m"))) as two:
        result = run("--once", "--json", "--interval", "0.2", one, two)
    frame = json.loads(result.stdout)

    assert 7 == frame["streams"]["total"]
    assert {"unknown": 3, "m": 4} == {model["model"]: model["total"] for model in frame["models"]}


def test_the_usual_ports_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that answer are shown; other programs on them, and empty ones, are not."""
    with serving(answering(said(1))) as ours, serving(answering(b"<html>")) as other:
        named = [MetricsSource(url, named=False) for url in (ours, other, "http://127.0.0.1:1")]
        monkeypatch.setattr(module, "usual", lambda: named)
        result = run("--once", "--interval", "0.2")

    assert 0 == result.exit_code
    assert ours.removeprefix("http://") in result.stdout
    assert other.removeprefix("http://") not in result.stdout
    assert "127.0.0.1:1:" not in result.stdout
    assert [f"http://localhost:{port}" for port in range(9464, 9474)] == [one.address for one in sources.usual()]


def test_nobody_to_look_at_is_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2."""
    monkeypatch.setattr(module, "usual", lambda: [MetricsSource("http://127.0.0.1:1", named=False)])
    result = run("--once", "--interval", "0.2")

    assert 2 == result.exit_code
    assert "streamwatch run -- python app.py" in result.stderr


def test_an_address_that_does_not_answer_is_told() -> None:
    """Exit code 1 beside one that does, 2 alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dead = f"http://127.0.0.1:{port}"
    with serving(answering(said(1))) as url:
        some = run("--once", "--interval", "0.2", url, dead)
    none = run("--once", "--interval", "0.2", dead)

    assert (1, 2) == (some.exit_code, none.exit_code)
    assert f"{dead} is not there: no answer (Connection refused)" in some.stdout
    assert f"{dead}: no answer (Connection refused)." in none.stderr


@pytest.mark.parametrize("url", ["ftp://a.test", "file:///etc/passwd", "http://", "http://a.test:nine", "http://a:0"])
def test_what_is_no_address_is_told(url: str) -> None:
    """Before anything is asked."""
    result = run("--once", url)

    assert 2 == result.exit_code
    assert "is not an address such as" in result.stderr


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("localhost:9464", "http://localhost:9464"),
        ("http://a.test/app/metrics", "http://a.test/app/metrics"),
        ("https://me:pass@a.test/", "https://a.test"),
        ("http://prom.test/x/api/v1/query", "http://prom.test/x"),
    ],
)
def test_an_address_may_be_short(url: str, asked: str) -> None:
    """What is left out is the usual."""
    assert asked == MetricsSource(url).address


# --- Prometheus


def prometheus(value: Callable[[float | None], float], asked: list[str]) -> Answer:
    """A Prometheus that has one series of Streamwatch's, and metrics of its own."""
    import urllib.parse

    def answer(self: http.server.BaseHTTPRequestHandler) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        asked.append(parts.path)
        if parts.path != "/api/v1/query":
            answering(b"# TYPE prometheus_build_info gauge\nprometheus_build_info 1\n")(self)
            return
        at = float(query["time"][0]) if "time" in query else None
        labels = {"__name__": SERIES[0], "instance": "a:1", "streamwatch_verdict": "complete"}
        result = [{"metric": labels, "value": [at or time.time(), str(value(at))]}]
        answering(json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode())(self)

    return answer


@pytest.mark.parametrize("options", [(), ("--prometheus",)])
def test_a_prometheus_is_known_by_its_api(options: tuple[str, ...]) -> None:
    """It knows how it was a minute ago, so the first frame has rates."""
    asked: list[str] = []
    with serving(prometheus(lambda at: 160.0 if at is None else 100.0, asked)) as url:
        result = run("--once", "--json", "--interval", "0.2", *options, url)
    frame = json.loads(result.stdout)

    assert 0 == result.exit_code
    assert ["prometheus"] == [one["kind"] for one in frame["sources"]]
    assert 160 == frame["streams"]["total"]
    assert pytest.approx(1.0, rel=0.05) == frame["streams"]["per_second"]
    assert options or "/metrics" == asked[0]
    assert 3 == asked.count("/api/v1/query")


def test_what_is_no_prometheus_is_told() -> None:
    """By what it answered first, unless it was said to be one."""
    with serving(answering(b"<html>")) as url:
        guessed, told = (run("--once", "--interval", "0.2", *options, url) for options in ((), ("--prometheus",)))

    assert (2, 2) == (guessed.exit_code, told.exit_code)
    assert "something that is not metrics" in guessed.stderr
    assert "not an answer of Prometheus" in told.stderr


def test_a_prometheus_has_to_be_named() -> None:
    """There is no usual place for it."""
    result = run("--prometheus")

    assert 2 == result.exit_code
    assert "--prometheus needs the address" in result.stderr


# --- in a terminal


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="terminals")
@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_key_ends_it_and_the_terminal_is_as_before(key: bytes) -> None:
    """q or Ctrl-C, with exit code 0 and the screen that was there before."""
    import pty
    import select

    with serving(answering(said(5))) as url:
        child, terminal = pty.fork()
        if not child:  # nothing of pytest's runs in here
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # ignored where the tests run behind a shell, and exec keeps that
            environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
            code = "from streamwatch.cli import main; main()"
            os.execve(sys.executable, [sys.executable, "-c", code, "top", "--interval", "0.3", url], environ)
        seen, end, pressed = b"", time.monotonic() + 60, False
        while select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                seen += os.read(terminal, 1 << 16)
            except OSError:
                break
            if not pressed and b"5 streams since the start" in seen:
                os.write(terminal, key)
                pressed = True
        else:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(terminal)

    assert 0 == os.waitstatus_to_exitcode(status)
    assert seen.index(b"\x1b[?1049h") < seen.rindex(b"\x1b[?1049l")  # into the other screen, and back
    assert b"Traceback" not in seen
