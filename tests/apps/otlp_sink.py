"""An OTLP back end in thirty lines: keeps what is sent to it by HTTP, for a test to look at."""

from __future__ import annotations

import gzip
import http.server
import threading
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from helpers.listening import Listener

REQUESTS = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}  # type: ignore[dict-item]


class Sink:
    """Listens on a free port from the start; `with` ends it."""

    def __init__(self, prefix: str = "") -> None:
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self._received: dict[str, list[Any]] = {path: [] for path in REQUESTS}
        sink = self

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                path = self.path.removeprefix(prefix)
                sink.headers.append({name.lower(): value for name, value in self.headers.items()})
                sink.bodies.append(body)
                sink._received[path].append(REQUESTS[path].FromString(body))  # type: ignore[attr-defined]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = Listener(("127.0.0.1", 0), Receiver)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}{prefix}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Any]:
        """Every span that came."""
        return [
            span
            for request in list(self._received["/v1/traces"])
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def counts(self, name: str) -> dict[str, float]:
        """The last value of a counter, its series added up, by the service.instance.id that sent it."""
        last: dict[tuple[str, str], float] = {}
        for request in list(self._received["/v1/metrics"]):
            for resource in request.resource_metrics:
                attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in metric.sum.data_points if metric.name == name else ():
                            series = (attributes.get("service.instance.id", ""), str(point.attributes))
                            last[series] = float(point.as_int or point.as_double)
        totals: dict[str, float] = {}
        for (instance, _), value in last.items():
            totals[instance] = totals.get(instance, 0) + value
        return totals
