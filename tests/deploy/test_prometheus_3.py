"""What Prometheus 3 can be told to do with names and histograms, and which of it the rules and dashboards live with."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from prometheus_client import CollectorRegistry

from apps import pipeline
from helpers.listening import Listener, serving
from helpers.ports import free_port
from streamwatch.core.report import Report, Request, Times
from streamwatch.core.vocabulary import Verdict
from streamwatch.export.request import RequestInfo
from streamwatch.export.telemetry import Telemetry
from streamwatch.otel.prometheus_reader import PrometheusReader

PROGRAM = pipeline.built("prometheus")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROGRAM is None, reason="Prometheus 3 is not built: tests/apps/build_module.sh says how"),
]
CALL = RequestInfo("chat", "gpt-4o", "openai", "api.openai.com", 443, "3.57.0")
BUCKETS = "streamwatch_stream_duration_seconds_bucket"
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def counted(reader: Any) -> MeterProvider:
    """A stream that was read, in a reader's metrics."""
    provider = MeterProvider([reader])
    telemetry = Telemetry(meter_provider=provider)
    report = Report(1, "chat", Request(), Verdict.COMPLETE, "gpt-4o-1", "id", ("stop",), 1, {}, {}, {}, applied=True)
    telemetry.end(telemetry.open(CALL), replace(report, times=Times(0.5, 0.4, first_chunk=0.2)))
    return provider


@contextmanager
def prometheus(folder: Path, config: dict[str, Any], *flags: str) -> Iterator[str]:
    """One that runs with a configuration, and its address."""
    (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    command = [str(PROGRAM), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", *flags]
    with subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL) as program:
        try:
            pipeline.wait(lambda: "Ready" in pipeline.get(f"http://{address}/-/ready"), 30, "Prometheus")
            yield f"http://{address}"
        finally:
            program.terminate()


def names(url: str) -> set[str]:
    """The names of our series that Prometheus has, as soon as it has some."""
    query = urllib.parse.urlencode({"match[]": '{__name__=~"streamwatch.+"}'})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError):
            found = set(json.loads(pipeline.get(f"{url}/api/v1/label/__name__/values?{query}"))["data"])
            if found:
                return found
        time.sleep(0.3)
    return set()


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An endpoint of Streamwatch's with a stream in it."""
    from prometheus_client import generate_latest

    registry = CollectorRegistry()
    provider = counted(PrometheusReader(registry))

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Listener(("127.0.0.1", 0), Metrics)) as address:
        yield address
    provider.shutdown()


@pytest.mark.parametrize(
    ("settings", "has_buckets"),
    [
        ({}, True),
        ({"convert_classic_histograms_to_nhcb": True}, False),
        ({"convert_classic_histograms_to_nhcb": True, "always_scrape_classic_histograms": True}, True),
        ({"scrape_native_histograms": True}, True),
    ],
    ids=["as it is", "converted", "converted, and kept", "native"],
)
def test_the_rules_need_the_classic_buckets(
    settings: dict[str, bool], has_buckets: bool, endpoint: str, tmp_path: Path
) -> None:
    """Quantiles are made of them: where they are converted, they have to be kept as well. Counters are as they were."""
    job = {"job_name": "shop", "scrape_interval": "1s", "static_configs": [{"targets": [endpoint]}], **settings}
    with prometheus(tmp_path, {"scrape_configs": [job]}) as url:
        found = names(url)
    assert (BUCKETS in found) is has_buckets
    assert {"streamwatch_streams_total", "streamwatch_build_info"} <= found


@pytest.mark.parametrize(
    ("settings", "ours"),
    [
        ({}, True),
        ({"translation_strategy": "UnderscoreEscapingWithSuffixes"}, True),
        ({"translation_strategy": "NoUTF8EscapingWithSuffixes"}, False),
        ({"translation_strategy": "NoTranslation"}, False),
        ({"convert_histograms_to_nhcb": True}, None),
    ],
    ids=["as it is", "underscores", "UTF-8", "no translation", "converted"],
)
def test_the_rules_need_names_with_underscores(settings: dict[str, Any], ours: bool | None, tmp_path: Path) -> None:
    """OTLP's receiver writes them so unless it is told otherwise; None stands for all but the buckets."""
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    with prometheus(tmp_path, {"otlp": settings}, "--web.enable-otlp-receiver") as url:
        exported = exporter.OTLPMetricExporter(endpoint=f"{url}/api/v1/otlp/v1/metrics")
        provider = counted(PeriodicExportingMetricReader(exported, export_interval_millis=60_000))
        provider.force_flush()
        provider.shutdown()
        found = names(url)
    wanted = {"streamwatch_streams_total", "streamwatch_build_info", "streamwatch_start_time_seconds"}
    assert (wanted <= found) is (ours is not False)
    assert (BUCKETS in found) is bool(ours)
    if ours is False:
        assert "streamwatch.build_info" in found
