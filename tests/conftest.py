"""Fixtures for all tests: Streamwatch switched on, what it recorded, and a watch over its own errors."""

from __future__ import annotations

import functools
import gc
import os
import socketserver
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from opentelemetry.instrumentation import dependencies
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from helpers import quick
from helpers.ports import block
from streamwatch.core.report import Report
from streamwatch.otel import listening
from streamwatch.sdk import instrumentor
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor
from streamwatch.sdk.interruption import is_interruption

pytest_plugins = ["pytester"]

# The release of the client stays the same, and to find it out takes 2 ms each time that Streamwatch is switched on.
dependencies.version = functools.cache(dependencies.version)  # type: ignore[attr-defined]

# A server that is told to end looks for that twice a second, and more than a hundred of the tests have one.
socketserver.BaseServer.serve_forever.__defaults__ = (0.05,)
listening._LOOK = 0.05

#: Material for acceptance, of which this repository holds no copy.
SHARED = Path(__file__).parents[2] / "shared"
MARKERS = {
    "acceptance": "needs the recordings and oracles in ../shared; left out where they are missing",
    "e2e": "real processes and sockets; slow",
    "internal_errors_expected": "the test makes Streamwatch itself fail",
    "quick_cases(n)": "a quick run runs n of the test's cases, always the same ones",
    "slow": "costs seconds and seldom fails: not part of a quick run",
}
#: Whether all tests run, and none is asked for by its name.
WHOLE = pytest.StashKey[bool]()
#: What a whole run takes on two idle cores.
TAKES = {True: "a minute", False: "some eight minutes"}

# The same code gets the same answer in a gate and in a quick run; new examples are looked for wherever else tests run.
# How long that takes is a matter of what else the machine does.
hypothesis.settings.register_profile(
    "gate", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("quick", hypothesis.settings.get_profile("gate"), max_examples=quick.SHARE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run be quick."""
    parser.addoption("--quick", action="store_true", help="fewer examples, cases of a test in one item, nothing slow")


def pytest_configure(config: pytest.Config) -> None:
    """Markers of this project; and a terminal of no certain width, as pytest-xdist gives its workers one."""
    os.environ.pop("COLUMNS", None)
    config.stash[WHOLE] = config.args == config.getini("testpaths") and not config.option.keyword
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    quick.start(quick=config.getoption("quick"))
    if quick.is_quick():
        # Nothing is asked beyond this machine. The system's authorities would be read for each client: 40 ms a time.
        os.environ.pop("SSL_CERT_FILE", None)
        os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
    if quick.is_quick() or os.environ.get("CI"):
        hypothesis.settings.load_profile("quick" if quick.is_quick() else "gate")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how long a whole run takes, and what it leaves out."""
    if not config.stash[WHOLE]:
        return None
    out = ["tests marked slow, and nine of ten examples (make test-all has them)"] if quick.is_quick() else []
    out += [] if SHARED.is_dir() else ["what needs ../shared"]
    return f"takes {TAKES[quick.is_quick()]} on two idle cores" + "; without ".join(["", *out])


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Draw and join cases before they are items, unless one of them may be asked for by its name."""
    yield
    if quick.is_quick() and metafunc.config.stash[WHOLE]:
        quick.before_items(metafunc)


def pytest_collection(session: pytest.Session) -> None:
    """Let each process of a whole run begin with its share of the files, and find the others compiled already.

    Assertions are rewritten the first time, which takes 7 s of CPU; all processes at one file would do it each for
    itself. Nothing is garbage until tests begin.
    """
    gc.disable()
    config = session.config
    if not hasattr(config, "workerinput") or not config.stash[WHOLE]:
        return
    here = Path(__file__).parent
    hidden = set(here.rglob(".*/**/test_*.py"))  # pytest does not look there either
    files = sorted({*here.rglob("test_*.py")} - hidden)
    own, all_of_them = int(config.workerinput["workerid"].removeprefix("gw")), config.workerinput["workercount"]
    at = len(files) * own // all_of_them
    config.args[:] = map(str, [*files[at:], *files[:at]])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Leave out what this run is without, and join the cases of a test where it is quick."""
    items.sort(key=lambda item: item.path)  # wherever collection began
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("acceptance")
    yield
    without = {"acceptance"} - ({"acceptance"} if SHARED.is_dir() else set()) | (
        {"slow"} if quick.is_quick() else set()
    )
    left = [item for item in items if any(mark.name in without for mark in item.iter_markers())]
    if left:
        config.hook.pytest_deselected(items=left)
        out = set(left)
        items[:] = [item for item in items if item not in out]
    if quick.is_quick():
        items[:] = quick.together(quick.fewer(items))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was imported out of garbage collection: tests collect often, and it would cost 70 ms a time."""
    if any("watch" in getattr(item, "fixturenames", ()) for item in session.items):
        from helpers import sdk

        sdk.read_with_helpers()  # which build most of what the SDK builds, when they are first used
    # What is garbage by now stays: to look for it takes each process half a second.
    gc.freeze()
    gc.enable()
    if quick.is_quick():
        gc.set_threshold(10_000, *gc.get_threshold()[1:])  # as often as by default costs a run 3 s


def settle() -> None:
    """Let streams that nobody holds any longer come to their end."""
    if instrumentor.agent.any_open:
        gc.collect()
    instrumentor.agent.record_collected()
    if instrumentor.agent.captures is not None:
        assert instrumentor.agent.captures.wait(60)


class Watched:
    """Streamwatch switched on, and all that it recorded since."""

    def __init__(self, spans: InMemorySpanExporter, metrics: InMemoryMetricReader) -> None:
        self.reports: list[Report] = []
        self._spans = spans
        self._metrics = metrics

    @property
    def report(self) -> Report:
        """The report of the one stream that ended."""
        self.settle()
        if not self.reports:
            # The collector clears weak references before an async generator asks its loop to close it: in between, a
            # stream is neither open nor ended.
            gc.collect()
            self.settle()
        (report,) = self.reports
        return report

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that ended."""
        self.settle()
        return list(self._spans.get_finished_spans())

    def settle(self) -> None:
        """Let streams that nobody holds any longer come to their end."""
        settle()

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        self.settle()
        data = self._metrics.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def samples(self, name: str, *labels: str) -> dict[Any, float]:
        """The values of a counter or gauge by some of its labels, the others added up."""
        totals: dict[Any, float] = {}
        for point in self.points(name):
            values = tuple((point.attributes or {}).get(label) for label in labels)
            key = values[0] if len(values) == 1 else values
            totals[key] = totals.get(key, 0) + point.value
        return totals

    def internal_errors(self) -> float:
        """How many errors of its own Streamwatch counted."""
        return sum(self.samples("streamwatch.internal_errors").values())


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Every span that ends."""
    return InMemorySpanExporter()


@pytest.fixture
def metrics() -> InMemoryMetricReader:
    """Every metric, read on demand."""
    return InMemoryMetricReader()


@pytest.fixture(scope="session")
def resource() -> Resource:
    """What telemetry is of: this process, whichever test it is in. To find out starts threads, twice for each test."""
    return Resource.create()


@pytest.fixture
def providers(
    resource: Resource, spans: InMemorySpanExporter, metrics: InMemoryMetricReader
) -> Iterator[dict[str, Any]]:
    """Where telemetry goes in a test."""
    tracer_provider, meter_provider = TracerProvider(resource=resource), MeterProvider([metrics], resource)
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    yield {"tracer_provider": tracer_provider, "meter_provider": meter_provider}
    tracer_provider.shutdown()
    meter_provider.shutdown()


@pytest.fixture(scope="module")
def frozen() -> None:
    """Leave what other tests left out of garbage collection, which is often asked for where streams are watched."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def watch(
    frozen: None, providers: dict[str, Any], spans: InMemorySpanExporter, metrics: InMemoryMetricReader
) -> Iterator[Callable[..., Watched]]:
    """Switches Streamwatch on, with options as in `instrument()`; it is off again after the test."""
    on = StreamwatchInstrumentor()

    def start(**options: Any) -> Watched:
        watched = Watched(spans, metrics)
        on.instrument(on_report=watched.reports.append, **providers, **options)
        return watched

    def stop() -> None:
        if on.is_instrumented_by_opentelemetry:
            on.uninstrument()

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    if on.is_instrumented_by_opentelemetry:
        on.uninstrument()
    # What the test dropped is to be recorded in this test, and not in the next one; nor is what it left open that one's.
    settle()
    instrumentor.agent._open.clear()
    # It is kept for each provider that there was, as an application has one of each.
    instrumentor.agent._telemetry.clear()


@pytest.fixture
def watched(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch switched on as it is for most users."""
    return watch()


@pytest.fixture(autouse=True)
def internal_errors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The errors of Streamwatch itself: a test in which one is counted fails, unless it is marked."""
    seen: list[str] = []
    count = instrumentor.Agent.internal_error

    def noticed(self: Any, error: BaseException, doing: str) -> None:
        if is_interruption(error):
            count(self, error, doing)  # raises
        # As text: the exception would keep the stream alive. In full the first time only, for it takes its time.
        seen.append(
            repr(error) if seen else "".join(traceback.format_exception(type(error), error, error.__traceback__))
        )
        count(self, error, doing)

    monkeypatch.setattr(instrumentor.Agent, "internal_error", noticed)
    yield seen
    if seen and not request.node.get_closest_marker("internal_errors_expected"):
        pytest.fail(f"Streamwatch itself failed {len(seen)} times, first with\n{seen[0]}", pytrace=False)


@pytest.fixture
def ports() -> Iterator[range]:
    """Ten ports in a row that are free, and that no other test takes meanwhile."""
    with block() as found:
        yield found


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of material beside the checkout; a test that asks for it is an acceptance test."""
    return SHARED
