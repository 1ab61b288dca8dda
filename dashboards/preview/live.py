"""A Prometheus that measures real applications, for pictures and for tests of the queries.

Everything listens on the loopback interface, on ports that are free, and ends with the `ExitStack` it was
started in.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dashboards import rules
from dashboards.records import Options
from streamwatch.demo import app
from streamwatch.demo.processes import Child, app_environ

#: Seconds between two scrapes: a graph of a few minutes shall have points enough.
_SCRAPE = 2
#: Seconds until an application must have been scraped: importing openai takes ten on a slow machine.
_START = 60
#: Seconds of one step of a graph.
STEP = 10

#: So much faster than in production the records are made: a run of a minute is half an hour to them.
_FASTER = 30

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

#: Queries that may be without data in a healthy run, and why: dashboard, panel, refId.
MAY_BE_EMPTY = {
    ("streamwatch-overview", "Alerts firing or pending", "A"): "nothing is wrong long enough, or no rules are loaded",
    ("streamwatch-agent", "Internal errors by type", "A"): "Streamwatch makes no errors",
    ("streamwatch-agent", "Internal errors", "A"): "Streamwatch makes no errors",
    **{
        ("streamwatch-anatomy", title, "D"): "it asks for exemplars, and for no sample"
        for title in ("Reorder distance, in events", "Reorder delay", "Time to first chunk")
    },
    ("streamwatch-anatomy", "Duration by verdict, p95", "B"): "it asks for exemplars, and for no sample",
    **{
        ("streamwatch-waiting", title, "D"): "the demo's streams all come by one path"
        for title in ("Streams with a fault, by path, in the last day", "Fix rate, by path, in the last day")
    },
    ("streamwatch-waiting", "WebSocket closes, by code", "A"): "nothing comes over a WebSocket in the demo",
    ("streamwatch-waiting", "WebSocket connections replaced", "A"): "nothing comes over a WebSocket in the demo",
    ("streamwatch-waiting", "Requests added to read on", "A"): "nothing is read on in the demo",
}
#: Whether applications tell which Streamwatch they have: the reader of their metrics does.
TELLS_ITS_VERSION = find_spec("streamwatch.otel.prometheus_reader") is not None
if not TELLS_ITS_VERSION:
    MAY_BE_EMPTY |= {
        ("streamwatch-agent", "Versions running", "A"): "this Streamwatch does not tell its version",
        ("streamwatch-agent", "Processes", "G"): "this Streamwatch does not tell its version",
    }


@dataclass(frozen=True)
class Application:
    """A process that reads streams: its job, which server it calls by what name, and what may be repaired."""

    job: str
    host: str = "127.0.0.1"
    repair: str = "default"
    rate: float = 4.0
    server: tuple[str, ...] = ("streamwatch.demo.server",)
    python: str = sys.executable


@dataclass(frozen=True)
class Collector:
    """The ports of a collector that takes OTLP over HTTP, and serves what came to Prometheus."""

    otlp: int
    metrics: int

    def environ(self) -> dict[str, str]:
        """Return what sends an application's metrics there, and leaves its own endpoint out."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.otlp}",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": f"{_SCRAPE * 1000}",
        }


class Live:
    """The server, the applications and Prometheus, running."""

    def __init__(
        self,
        applications: list[Application],
        processes: ExitStack,
        *,
        alerts: bool = False,
        program: str = "prometheus",
        collector: Collector | None = None,
    ) -> None:
        self._program, self._collector = program, collector
        self._children: list[Child] = []
        self._processes = processes
        origins = {server: self._server(server) for server in {one.server for one in applications}}
        ports = {one: _free_port() for one in applications}
        for one, port in ports.items():
            environ = _environ(one, origins[one.server], port)
            self._start(one.job, _command(one), {**environ, **(collector.environ() if collector else {})})
        self.url = self._prometheus(ports, alerts=alerts)

    def _start(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> Child:
        child = Child(name, command, environ)
        self._processes.callback(child.end)
        self._children.append(child)
        return child

    def _server(self, module: tuple[str, ...]) -> str:
        child = self._start("server", [sys.executable, "-m", *module])
        return _until(lambda: child.last_line, self.check, "The server did not start.")

    def _prometheus(self, ports: Mapping[Application, int], *, alerts: bool) -> str:
        program = shutil.which(self._program)
        if program is None:
            raise RuntimeError("There is no prometheus on PATH; on Debian: apt-get install prometheus")
        folder = Path(self._processes.enter_context(TemporaryDirectory(prefix="streamwatch-")))
        texts = rules.filled(Options(faster=_FASTER))
        rules.write(folder / "rules", {name: text for name, text in texts.items() if alerts or "alerts" not in name})
        jobs = {one.job: port for one, port in ports.items()}
        if self._collector:
            jobs = {"collector": self._collector.metrics}
        targets = [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [f"localhost:{port}"]}]}
            for job, port in jobs.items()
        ]
        settings: dict[str, Any] = {"global": {"scrape_interval": f"{_SCRAPE}s"}, "scrape_configs": targets}
        settings["rule_files"] = ["rules/*.yml"]
        (folder / "prometheus.yml").write_text(json.dumps(settings), "utf-8")  # JSON is YAML
        address = f"127.0.0.1:{_free_port()}"
        where = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        self._start("Prometheus", [program, *where, f"--web.listen-address={address}"])
        self.url = f"http://{address}"
        counted = "count(count by (job) (streamwatch_streams_total))"
        _until(lambda: self._count(counted) == len(ports), self.check, "Not every application was scraped.")
        return self.url

    def _count(self, expression: str) -> float:
        try:
            found = self.ask(expression)
        except OSError:
            return 0
        return float(found[0]["value"][1]) if found else 0

    def check(self) -> None:
        """Raise if one of the processes has ended."""
        for child in self._children:
            child.check()

    def ask(self, expression: str, seconds: float = 0) -> list[dict[str, Any]]:
        """Return what Prometheus answers now, or over the last seconds; raise an error of the query with its words."""
        now = time.time()
        query: dict[str, Any] = {"query": expression}
        query |= {"start": now - seconds, "end": now, "step": STEP} if seconds else {"time": now}
        path = "query_range" if seconds else "query"
        body = urllib.parse.urlencode(query).encode()
        try:
            with _opener.open(f"{self.url}/api/v1/{path}", body, timeout=30) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:  # it reads its data first
                raise
            raise ValueError(f"{error.read().decode()[:500]} for\n{expression}") from None


def filled_in(expression: str, seconds: int, before: str) -> str:
    """Return an expression as Grafana sends it when everything is chosen."""
    values = {
        "__range": f"{seconds}s",
        "__range_s": f"{seconds}",
        "__interval": f"{STEP}s",
        "__interval_ms": f"{STEP * 1000}",
        "before": before,
        "window": f"{seconds}s",
        "job": ".+",
        "instance": ".+",
    }
    return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), expression)


def _command(one: Application) -> list[str]:
    instrument = str(Path(one.python).with_name("opentelemetry-instrument"))
    return [instrument, one.python, str(Path(app.__file__)), "--rate", str(one.rate)]


def _environ(one: Application, origin: str, port: int) -> dict[str, str]:
    own = {"STREAMWATCH_REPAIR": one.repair, "OTEL_SERVICE_NAME": one.job}
    return {**app_environ(origin.replace("127.0.0.1", one.host), port), **own}


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as listener:
        return int(listener.getsockname()[1])


def _until(ready: Any, check: Any, otherwise: str) -> Any:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        check()
        time.sleep(0.2)
    raise RuntimeError(otherwise)
