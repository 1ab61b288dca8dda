"""A forked worker sends by OTLP what is its own, under its own name."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

metrics_service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")

pytestmark = pytest.mark.skipif(
    not Path(sys.executable).with_name("opentelemetry-instrument").exists() or not hasattr(os, "fork"),
    reason="the package is not installed",
)

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

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)

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
