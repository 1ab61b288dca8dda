"""What the end-to-end tests of deploy/ run: collectors, Prometheus, Jaeger, each with its real configuration."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


# --- programs


def tools() -> Path:
    """Where what was built for the tests is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("STREAMWATCH_TOOLS") or Path(cache) / "streamwatch")


def collector() -> str | None:
    """The collector that deploy/collector/build.sh has built out of the present manifest."""
    manifest = (DEPLOY / "collector" / "builder.yaml").read_bytes()
    version = re.search(rb"^  version: (\S+)$", manifest, re.MULTILINE)
    assert version is not None
    digest = hashlib.sha256(manifest).hexdigest()[:12]
    return _executable(tools() / f"collector-{version[1].decode()}-{digest}" / "streamwatch-collector")


def built(program: str) -> str | None:
    """The newest program that build_module.sh has built under this name."""
    found = sorted(tools().glob(f"{program}-*/{program}"), key=lambda path: path.stat().st_mtime)
    return _executable(found[-1]) if found else None


def _executable(path: Path) -> str | None:
    return str(path) if os.access(path, os.X_OK) else None


def get(url: str, timeout: float = 10) -> str:
    """The body of an answer."""
    with _opener.open(url, timeout=timeout) as answer:
        return str(answer.read().decode())


def wait(ready: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `ready` answers once it is true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = ready()
        except (OSError, urllib.error.URLError):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.2)


class Program:
    """A program that can be killed and started again; what it says goes to a file."""

    name = "program"

    def __init__(self, folder: Path, command: list[str], environ: dict[str, str] | None = None) -> None:
        self.log = folder / f"{self.name}.log"
        self._command, self._environ = command, {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait(self._up, 60, f"{self.name}; it said: {self.log.read_text()[-2000:]}")

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text()[-2000:]}"
        return self.ready()

    def ready(self) -> bool:
        return True

    def kill(self) -> None:
        """End it at once."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it as a supervisor does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Collector(Program):
    """A collector with files of deploy/collector, each port a free one."""

    def __init__(self, folder: Path, name: str, files: list[str], environ: dict[str, str]) -> None:
        self.name = name
        self.ports = {key: free_port() for key in ("grpc", "http", "metrics", "health", "own")}
        ours = {
            "OTLP_GRPC_LISTEN": f"127.0.0.1:{self.ports['grpc']}",
            "OTLP_HTTP_LISTEN": f"127.0.0.1:{self.ports['http']}",
            "METRICS_LISTEN": f"127.0.0.1:{self.ports['metrics']}",
            "HEALTH_LISTEN": f"127.0.0.1:{self.ports['health']}",
            "OWN_METRICS_PORT": str(self.ports["own"]),
            "QUEUE_DIRECTORY": str(folder / f"{name}-queue"),
            "GOMAXPROCS": "1",
        }
        program = collector()
        assert program is not None
        command = [program, *(f"--config={DEPLOY / 'collector' / file}.yaml" for file in files)]
        super().__init__(folder, command, {**ours, **environ})

    def ready(self) -> bool:
        return "Server available" in get(f"http://127.0.0.1:{self.ports['health']}/")

    def own(self, metric: str) -> float:
        """The sum of one of its own counters."""
        text = get(f"http://127.0.0.1:{self.ports['own']}/metrics")
        return sum(float(value) for value in re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


class Prometheus(Program):
    """A Prometheus with deploy/prometheus/prometheus.yml, but for its intervals and for where its targets are."""

    name = "prometheus"

    def __init__(
        self, folder: Path, program: str, targets: dict[str, int], flags: list[str], scrape_interval: str = "1s"
    ) -> None:
        import yaml

        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"].update(
            scrape_interval=scrape_interval, scrape_timeout=scrape_interval, evaluation_interval="5s"
        )
        config["rule_files"] = [str(DEPLOY.parent / "dashboards" / "rules" / "*.yml")]
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        for name, port in targets.items():
            jobs[name]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        config["scrape_configs"] = [jobs[name] for name in targets]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", "--log.level=warn"]
        listen = f"--web.listen-address=127.0.0.1:{self.port}"
        super().__init__(folder, [program, *own, listen, *flags], {"GOMAXPROCS": "1"})

    def ready(self) -> bool:
        return "Ready" in get(f"{self.url}/-/ready")

    def api(self, path: str, **query: str) -> Any:
        answer = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
        assert answer["status"] == "success"
        return answer["data"]

    def sums(self, expression: str, label: str = "") -> dict[str, float]:
        """The values of an instant query, by one label."""
        rows = self.api("query", query=expression)["result"]
        return {row["metric"].get(label, ""): float(row["value"][1]) for row in rows}

    def total(self, expression: str) -> float:
        """The one value of an instant query, 0 where there is none."""
        return sum(self.sums(f"sum({expression})").values())


class Jaeger(Program):
    """Jaeger 2 with its traces in memory."""

    name = "jaeger"

    def __init__(self, folder: Path, program: str) -> None:
        self.grpc, self.http, health, own = (free_port() for _ in range(4))
        config = folder / "jaeger.yaml"
        config.write_text(_JAEGER.format(grpc=self.grpc, http=self.http, query=free_port(), health=health, own=own))
        environ = {"GOMAXPROCS": "1", "OTEL_TRACES_SAMPLER": "always_off"}  # of its own requests
        super().__init__(folder, [program, f"--config={config}"], environ)

    def ready(self) -> bool:
        return "data" in json.loads(get(f"http://127.0.0.1:{self.http}/api/services"))

    def streams(self, service: str) -> list[dict[str, Any]]:
        """The tags of Streamwatch's spans, each with its resource's as `process.*`."""
        query = urllib.parse.urlencode({"service": service, "limit": 100000, "lookback": "2h"})
        traces = json.loads(get(f"http://127.0.0.1:{self.http}/api/traces?{query}", timeout=60))["data"] or []
        found = []
        for trace in traces:
            for span in trace["spans"]:
                if span["operationName"].startswith("stream "):
                    process = trace["processes"][span["processID"]]["tags"]
                    about = {f"process.{tag['key']}": tag["value"] for tag in process}
                    found.append({**about, **{tag["key"]: tag["value"] for tag in span["tags"]}})
        return found


_JAEGER = """
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{http}"}}
    grpc: {{endpoint: "127.0.0.1:{query}"}}
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 100000}}}}}}}}
  healthcheckv2: {{use_v2: true, http: {{endpoint: "127.0.0.1:{health}"}}}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


def prometheus_programs() -> dict[str, str]:
    """The Prometheus servers there are: Debian's 2.42, and 3 where it was built."""
    found = {"2": shutil.which("prometheus"), "3": built("prometheus")}
    return {major: path for major, path in found.items() if path}
