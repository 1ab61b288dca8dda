"""Measures what docs/capacity.md says: one process, then a collector and a Prometheus behind many of them.

    python tests/apps/capacity.py [PROCESSES [SECONDS]]

It runs the demo's application, takes what it exports, and sends that to a collector under PROCESSES identities, each
once in ten seconds, while Prometheus scrapes the collector. The collector has to be built, and Prometheus installed.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from apps import pipeline
from helpers.listening import Listener
from helpers.ports import free_port
from streamwatch.demo import processes

#: Seconds between two exports of a process; the default of the SDK is 60.
INTERVAL = 10


class Sink(BaseHTTPRequestHandler):
    """Keeps the last export of metrics, and its size on the wire."""

    last = b""
    wire = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "metrics" in self.path:
            Sink.wire = len(body)
            Sink.last = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def used(pid: int) -> tuple[float, int]:
    """CPU seconds and resident KiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return ticks / os.sysconf("SC_CLK_TCK"), resident


def one_process(ended: ExitStack) -> bytes:
    """An application after 30 s of the demo: what a scrape of it takes, and what it exports."""
    sink = Listener(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    ended.callback(sink.shutdown)
    server = processes.Child("server", processes.server_command(1))
    ended.callback(server.end)
    pipeline.wait(lambda: server.last_line, 60, "the server")
    port = free_port()
    environ = {
        **processes.app_environ(server.last_line, port),
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{sink.server_address[1]}/v1/metrics",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    application = processes.Child("application", processes.app_command(20), environ)
    time.sleep(40)
    url = f"http://localhost:{port}/metrics"
    text, times = "", []
    for _ in range(20):
        started = time.perf_counter()
        text = pipeline.get(url)
        times.append(time.perf_counter() - started)
    ours = [line for line in text.splitlines() if line.startswith("streamwatch_")]
    buckets = sum("_bucket{" in line for line in ours)
    print(f"one process: {len(ours)} series of Streamwatch's ({buckets} of them buckets), {len(text)} bytes a scrape")
    print(f"one process: a scrape takes {1000 * sorted(times)[10]:.1f} ms (median of 20)")
    print(f"one process: an export is {Sink.wire} bytes on the wire, {len(gzip.compress(Sink.last))} with gzip")
    application.end()
    return Sink.last


def payloads(exported: bytes, count: int) -> list[bytes]:
    """The same export under many identities."""
    found = []
    for _ in range(count):
        request = ExportMetricsServiceRequest.FromString(exported)
        for resource in request.resource_metrics:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.instance.id":
                    attribute.value.string_value = str(uuid.uuid4())
        found.append(request.SerializeToString())
    return found


def send(url: str, bodies: list[bytes], seconds: float) -> int:
    """Send each body once in an interval; how many were sent."""
    sent, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        begun = time.monotonic()
        for place, body in enumerate(bodies):
            headers = {"Content-Type": "application/x-protobuf"}
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()
            sent += 1
            time.sleep(max(0.0, begun + INTERVAL * (place + 1) / len(bodies) - time.monotonic()))
    return sent


def many(exported: bytes, count: int, seconds: float, folder: Path, ended: ExitStack) -> None:
    """A collector and a Prometheus behind many processes."""
    agent = pipeline.Collector(
        folder, "agent", ["common", "agent"], {"GATEWAY_ENDPOINT": "127.0.0.1:9", "GATEWAY_INSECURE": "true"}
    )
    prometheus = pipeline.Prometheus(
        folder,
        pipeline.prometheus_programs()["2"],
        {"streamwatch-collector-applications": agent.ports["metrics"]},
        ["--enable-feature=exemplar-storage"],
        scrape_interval=f"{INTERVAL}s",
    )
    for program in (agent, prometheus):
        ended.callback(program.end)
        program.start()
    assert agent.process is not None
    assert prometheus.process is not None
    idle = {program.name: used(program.process.pid)[1] // 1024 for program in (agent, prometheus)}  # type: ignore[union-attr]
    bodies = payloads(exported, count)
    url = f"http://127.0.0.1:{agent.ports['http']}/v1/metrics"
    send(url, bodies, 2 * INTERVAL)  # the series are made
    before = [used(program.process.pid)[0] for program in (agent, prometheus)]  # type: ignore[union-attr]
    started = time.monotonic()
    sent = send(url, bodies, seconds)
    elapsed = time.monotonic() - started
    points = agent.own("otelcol_receiver_accepted_metric_points.*") / (sent + count * 2)
    size = len(pipeline.get(f"http://127.0.0.1:{agent.ports['metrics']}/metrics", timeout=60))
    print(
        f"{count} processes: {sent / elapsed:.0f} exports/s, about {points:.0f} points each; a scrape is {size} bytes"
    )
    for program, cpu in zip((agent, prometheus), before, strict=True):  # type: ignore[assignment]
        total, resident = used(program.process.pid)  # type: ignore[union-attr]
        share = (total - cpu) / elapsed
        print(f"{program.name}: {share:.1%} of a core, {resident // 1024} MiB ({idle[program.name]} MiB when idle)")
    took = prometheus.total('scrape_duration_seconds{job="streamwatch-collector-applications"}')
    kept = prometheus.total('scrape_samples_scraped{job="streamwatch-collector-applications"}')
    status = prometheus.api("status/tsdb")["headStats"]["numSeries"]
    print(f"prometheus: {status} series in its head; a scrape brings {kept:.0f} samples in {took:.2f} s")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ended:
        exported = one_process(ended)
        many(exported, count, seconds, Path(folder), ended)


if __name__ == "__main__":
    main()
