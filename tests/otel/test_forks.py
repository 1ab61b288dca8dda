"""A forked worker sends by OTLP what is its own, under its own name."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from helpers.listening import Listener

metrics_service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

#: A parent that has counted and exported before it forks, and two children that count on.
PROGRAM = """
import os, sys, time
from opentelemetry.metrics import get_meter, get_meter_provider
meter = get_meter("test")
counter, histogram = meter.create_counter("c"), meter.create_histogram("h")
def count(times):
    for _ in range(times):
        counter.add(1)
        histogram.record(1)
count(5)
get_meter_provider().force_flush()
children = []
for times in (3, 4):
    child = os.fork()
    if not child:
        count(times)
        get_meter_provider().force_flush()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


class Received:
    """The last values of each process, by its identity."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, float]] = {}
        received = self

        class Collector(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as a real collector's do

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received.take(metrics_service.ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = Listener(("127.0.0.1", 0), Collector)

    def take(self, request: Any) -> None:
        for resource in request.resource_metrics:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            values = self.values.setdefault(names.get("service.instance.id", ""), {})
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                if metric.name in ("c", "h"):
                    points = [*metric.sum.data_points, *metric.histogram.data_points]
                    values[metric.name] = sum(getattr(one, "count", 0) or getattr(one, "as_int", 0) for one in points)


@pytest.fixture
def received() -> Iterator[Received]:
    received = Received()
    thread = threading.Thread(target=received.server.serve_forever, daemon=True)
    thread.start()
    yield received
    received.server.shutdown()
    received.server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(sys.executable).with_name("opentelemetry-instrument").exists(), reason="the package is not installed"
)
def test_each_process_has_its_own_identity_and_only_its_own_counts(received: Received) -> None:
    """The parent's counts are in no child, and no two processes are one to a collector."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ours = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{received.server.server_address[1]}",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORTER": "none",
        "NO_PROXY": "127.0.0.1",
    }
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    said = subprocess.run(
        [instrument, sys.executable, "-c", PROGRAM],
        env={**plain, **ours},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "") == (said.returncode, said.stderr)
    assert "" not in received.values
    assert [{"c": count, "h": count} for count in (3, 4, 5)] == sorted(
        received.values.values(), key=lambda one: one["c"]
    )


# --- with a provider of the application's own

#: Three streams, then a fork; what a reader of each temporality tells in the child, before and after one more.
OWN_PROVIDER = """
import os, sys
sys.path[:0] = sys.argv[1:]
import streamwatch
from helpers import sdk
from opentelemetry import metrics
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from prometheus_client import CollectorRegistry
from streamwatch.otel.prometheus_reader import PrometheusReader

delta = dict.fromkeys((Counter, Histogram, ObservableCounter), AggregationTemporality.DELTA)
readers = InMemoryMetricReader(), InMemoryMetricReader(delta)
scraped = PrometheusReader(CollectorRegistry())
metrics.set_meter_provider(MeterProvider([*readers, scraped]))
streamwatch.instrument()
theirs = metrics.get_meter("theirs").create_counter("theirs")

def show(who):
    for reader in readers:
        data = reader.get_metrics_data()
        points = {metric.name: metric.data.data_points for resource in (data.resource_metrics if data else ())
                  for scope in resource.scope_metrics for metric in scope.metrics}
        found = [[getattr(point, "count", None) or getattr(point, "value", 0) for point in points.get(name, ())]
                 for name in ("streamwatch.streams", "streamwatch.stream.duration", "theirs")]
        print(who, *map(sum, found))
    families = {family.name: family for family in scraped.families()}
    names = "streamwatch_streams", "streamwatch_stream_duration_seconds", "theirs"
    samples = [sample for name in names if name in families for sample in families[name].samples]
    print(who, *(int(sum(sample.value for sample in samples if sample.name == f"{name}{end}")) for name, end in
                 zip(names, ("_total", "_count", "_total"))), flush=True)

for _ in range(3):
    sdk.read("sync", sdk.healthy("chat"))
    theirs.add(1)
show("parent")
if not os.fork():
    show("child")
    sdk.read("sync", sdk.healthy("chat"))
    show("later")
    os._exit(0)
os.wait()
"""


def run(program: str, *arguments: str) -> list[str]:
    """What a program prints, in a process of its own that is told nothing of exporters."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, here, *arguments],
        env={**plain, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_child_counts_from_zero_with_a_provider_of_the_applications_own() -> None:
    """Counters and histograms of ours, for each kind of reader; what the application counts is its own affair."""
    cumulative, delta, scraped = (run(OWN_PROVIDER)[reader::3] for reader in range(3))

    assert cumulative == scraped == ["parent 3 3 3", "child 0 0 3", "later 1 1 3"]
    assert delta == ["parent 3 3 3", "child 0 0 0", "later 1 1 0"]


#: Locks of the SDK that another thread holds at the fork: a stream that the child reads must not wait for them.
HELD = """
import os, sys, threading
sys.path[:0] = sys.argv[1:]
import streamwatch
from helpers import sdk
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
streamwatch.instrument()
sdk.read("sync", sdk.healthy("chat"))
(storage,) = metrics.get_meter_provider()._measurement_consumer._reader_storages.values()
held, go_on = threading.Event(), threading.Event()

def hold():
    with storage._lock:
        held.set()
        go_on.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if not child:
    print(len(sdk.read("sync", sdk.healthy("chat")).chunks), flush=True)
    os._exit(0)
go_on.set()
os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_a_child_reads_on_though_a_lock_was_held_at_the_fork() -> None:
    """The thread that would let go of it is not in the child."""
    assert run(HELD) == ["6"]


#: A stream that is open when Python ends, with providers made before, or after, Streamwatch was switched on.
OPEN_AT_EXIT = """
import sys
sys.path.insert(0, sys.argv[1])
import streamwatch
from helpers import sdk
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

class Metrics(MetricExporter):
    def export(self, data, **more):
        names = {metric.name for resource in data.resource_metrics for scope in resource.scope_metrics
                 for metric in scope.metrics}
        print("counted", "streamwatch.streams" in names, "streamwatch.stream.duration" in names, flush=True)
        return MetricExportResult.SUCCESS
    def force_flush(self, *given, **more):
        return True
    def shutdown(self, *given, **more):
        pass

class Spans(SpanExporter):
    def export(self, spans):
        print("span", spans[0].attributes["streamwatch.verdict"], flush=True)

def providers():
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(Metrics(), 600_000)]))
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(Spans()))
    trace.set_tracer_provider(tracers)

if sys.argv[2] == "before":
    providers()
streamwatch.instrument()
if sys.argv[2] == "after":
    providers()
stream = sdk.create(sdk.client(sdk.healthy("chat")))
next(stream)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stream_that_is_open_at_the_end_is_told(when: str) -> None:
    """Its span and its counts, whether the providers were made before or after Streamwatch was switched on."""
    assert sorted(run(OPEN_AT_EXIT, when)) == ["counted True True", "span abandoned"]
