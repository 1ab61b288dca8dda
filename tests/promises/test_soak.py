"""A long run of many streams through real proxies: nothing grows, nothing is lost, nothing fails.

Half of the streams pass HAProxy, half nginx, in front of a server that breaks two thirds of them.
STREAMWATCH_SOAK_SECONDS says how long (default 180; an hour by hand).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apps import pipeline
from helpers.ports import free_port

for library in ("openai", "starlette", "uvicorn", "prometheus_client"):
    pytest.importorskip(library, reason=f"{library} is not installed")

from streamwatch.cli.common import measured
from streamwatch.core.vocabulary import Severity
from streamwatch.demo import processes
from streamwatch.synthetic import faults

PROXIES = {name: shutil.which(name) or shutil.which(f"/usr/sbin/{name}") for name in ("haproxy", "nginx")}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(None in PROXIES.values(), reason="HAProxy and nginx are not installed"),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="memory and descriptors are read from /proc"),
    pytest.mark.skipif(
        not Path(sys.executable).with_name("opentelemetry-instrument").exists(), reason="the package is not installed"
    ),
]

STREAMS = 200
SECONDS = float(os.environ.get("STREAMWATCH_SOAK_SECONDS") or 180)
#: The part of the run in which caches fill: connections, label values, the interpreter's own.
WARM = 1 / 3
#: What memory may grow after that. A leak of 1 KiB a stream would be 10 MB in three minutes, 200 MB in an hour.
GROWTH = 8 * 1024

HAPROXY = """
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend streams
    bind 127.0.0.1:{own}
    default_backend server
backend server
    server one 127.0.0.1:{server}
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log crit;
worker_processes 1;
events {{ worker_connections 2000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{own};
        location / {{
            proxy_pass http://127.0.0.1:{server};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 120s;
        }}
    }}
}}
"""


class Proxy(pipeline.Program):
    """A proxy in front of the server."""

    def __init__(self, name: str, folder: Path, config: str, server: int) -> None:
        self.name, self.port = name, free_port()
        file = folder / f"{name}.conf"
        file.write_text(config.format(own=self.port, server=server, folder=folder))
        own = ["-f", str(file), "-db"] if name == "haproxy" else ["-c", str(file), "-p", str(folder)]
        super().__init__(folder, [str(PROXIES[name]), *own])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def ready(self) -> bool:
        return "streams" in pipeline.get(f"http://127.0.0.1:{self.port}/count")


class Soak:
    """The application, and every line that it wrote."""

    def __init__(self, urls: list[str], port: int, folder: Path) -> None:
        instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
        program = str(Path(__file__).parents[1] / "apps" / "soaking.py")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
        self.lines: list[dict[str, Any]] = []
        with (folder / "application.log").open("wb") as log:
            self.process = subprocess.Popen(
                [instrument, sys.executable, program, str(STREAMS), *urls],
                env={**plain, **processes.app_environ(urls[0], port)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._hear, daemon=True)
        self._reader.start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(map(json.loads, lines))

    def finish(self) -> dict[str, Any]:
        """Let it read what is under way to the end; its last line."""
        self.process.send_signal(signal.SIGUSR1)
        pipeline.wait(lambda: self.lines[-1]["done"], 180, "the end of the streams under way")
        return self.lines[-1]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(5)


@pytest.fixture
def ended() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_nothing_grows_and_nothing_is_lost_in_a_long_run_through_proxies(tmp_path: Path, ended: ExitStack) -> None:
    """Memory and descriptors stay flat, no error is our own, and the counters are what the server broke."""
    server = processes.Child("server", [sys.executable, str(Path(__file__).parents[1] / "apps" / "unhurried.py")])
    ended.callback(server.end)
    pipeline.wait(lambda: server.last_line, 60, "the server")
    url = server.last_line.removesuffix("/v1")
    to = int(url.rpartition(":")[2])
    proxies = [Proxy("haproxy", tmp_path, HAPROXY, to), Proxy("nginx", tmp_path, NGINX, to)]
    for proxy in proxies:
        ended.callback(proxy.end)
        proxy.start()
    port = free_port()
    soak = Soak([proxy.base_url for proxy in proxies], port, tmp_path)
    ended.callback(soak.end)
    pipeline.wait(lambda: soak.lines and soak.lines[-1]["ended"] > STREAMS, 180, "the first streams")

    started = len(soak.lines)
    time.sleep(SECONDS)
    run = soak.lines[started:]
    assert soak.process.poll() is None
    last = soak.finish()
    sent = json.loads(pipeline.get(f"{url}/count"))
    exposition = pipeline.get(f"http://localhost:{port}/metrics")

    most = max(line["open"] for line in run)
    steady = run[int(len(run) * WARM) :]
    third = max(1, len(steady) // 3)
    first, final = steady[:third], steady[-third:]
    grown = min(line["rss"] for line in final) - min(line["rss"] for line in first)
    print(
        f"{last['ended']} streams in {SECONDS:g} s, {most} open at once; resident "
        f"{min(line['rss'] for line in first)} -> {min(line['rss'] for line in final)} KiB; "
        f"descriptors {max(line['files'] for line in first)} -> {max(line['files'] for line in final)}"
    )
    assert most > STREAMS / 2  # the rest are between two streams
    assert {} == last["odd"]
    assert grown < GROWTH
    assert max(line["files"] for line in final) <= max(line["files"] for line in first) + 20
    assert last["files"] < STREAMS  # and none is left of the streams
    assert_counted(exposition, sent, last["ended"])


def assert_counted(exposition: str, sent: dict[str, Any], ended: int) -> None:
    """Every stream once, by how it ended and what it was worth, and every fault as what it is."""
    seen = measured.parse(exposition)
    streams = r'^streamwatch_streams_total\{.*streamwatch_condition="(?:broken|repaired)".*\} (\S+)$'
    damaged = sum(float(count) for count in re.findall(streams, exposition, re.MULTILINE))
    assert 0 == seen.internal_errors
    assert sent["streams"] == seen.streams == ended
    assert 0 == sent["left_early"]
    done = sent["faults"]
    faulty = {name for name, one in faults.FAULTS.items() if any(kind.severity is Severity.FAULT for kind in one.kinds)}
    assert sum(done[name] for name in faulty) == damaged
    errors = done["chat_error"] + done["responses_error"]
    assert (done["truncated"], done["empty"], errors) == tuple(
        seen.verdicts[verdict] for verdict in ("truncated", "empty", "error")
    )
    injected: Counter[str] = Counter()
    for name, fault in faults.FAULTS.items():
        injected.update({kind.name: done[name] for kind in fault.kinds})
    assert {} == {kind: count for kind, count in injected.items() if seen.anomalies[kind] < count}
