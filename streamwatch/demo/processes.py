"""The processes of the demo, how they are started, asked and ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from streamwatch.cli.common.measured import Measured, parse

_T = TypeVar("_T")

#: Seconds until the first stream must be counted: importing openai takes ten of them on a slow machine.
_START_SECONDS = 60.0

#: Requests after which a stream must have been counted; one that fails before its stream begins is not.
_UNCOUNTED = 30

#: Seconds a process gets to end by itself, and the last streams get to be finished and counted.
_END_SECONDS = 5.0

#: Lines of Streamwatch's own that are kept: it says a thing once.
_NOTICES = 5

#: Ports tried, from the one that was asked for on: as many as Streamwatch tries.
_PORTS = 10

# A proxy that the environment names has no business on the loopback interface.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demo cannot go on; the message is for the person who started it."""


class Child:
    """A process of the demo; its last lines are kept, and `end` leaves nothing of it."""

    def __init__(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> None:
        self.name = name
        self.last_line = ""
        self.notices: list[str] = []
        self._last_words: deque[str] = deque(maxlen=12)
        self._process = subprocess.Popen(  # noqa: S603 -- the command is ours
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the demo alone: the last numbers are read before anything ends. Windows has groups for that.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        out, words = cast("IO[str]", self._process.stdout), cast("IO[str]", self._process.stderr)
        self._readers = (
            threading.Thread(target=_read, args=(out, lambda line: setattr(self, "last_line", line)), daemon=True),
            threading.Thread(target=_read, args=(words, self._hear), daemon=True),
        )
        for reader in self._readers:
            reader.start()

    def _hear(self, line: str) -> None:
        self._last_words.append(line)
        # What Streamwatch says must not drown in what the application says; a traceback is not part of it.
        if "streamwatch" in line.lower() and not line.startswith(" ") and len(self.notices) < _NOTICES:
            self.notices.append(line)

    def check(self) -> None:
        """Raise, with its last words, if the process has ended."""
        code = self._process.poll()
        if code is not None:
            self._read_up()
            raise DemoError(f"The {self.name} ended by itself with code {code}. {self.last_words()}")

    def last_words(self) -> str:
        """Return the last lines it wrote to stderr, in words."""
        words = "".join(f"\n    {line}" for line in dict.fromkeys((*self.notices, *self._last_words)))
        return f"Its last words:{words}" if words else "It said nothing."

    def end(self) -> None:
        """Ask it to end, and make it."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._read_up()

    def _read_up(self) -> None:
        # Its pipes end with it, unless a process that it started still holds them.
        for reader in self._readers:
            reader.join(1)


def _read(pipe: IO[str], take: Callable[[str], object]) -> None:
    with pipe:
        for line in pipe:
            take(line.rstrip())


class Demo:
    """The running demo: a server that breaks its streams, an application, and where to ask them.

    Beside them run the same two without Streamwatch: a server with the same seed has the same schedule of faults.
    """

    def __init__(self, seed: int, rate: float, processes: ExitStack) -> None:
        port = free_port(wanted_port())
        application = app_command(rate)
        self.metrics_url = f"http://localhost:{port}/metrics"
        where = f"No stream was counted at {self.metrics_url}"
        self._nothing_counted = f"{where}: is OTEL_METRICS_EXPORTER or OTEL_SDK_DISABLED set?"
        self._processes, self._children = processes, list[Child]()
        self._start(Child("server", server_command(seed)))
        url = self._wait(lambda: self._children[0].last_line, "The server did not start.")
        self._server_url = url.removesuffix("/v1")
        self._start_beside(seed, rate)
        self._start(Child("application", application, app_environ(url, port)))
        self._wait(self._counted, self._nothing_counted)

    def _start_beside(self, seed: int, rate: float) -> None:
        """Start the pair without Streamwatch."""
        server = Child("server beside", server_command(seed))
        self._start(server)
        url = self._wait(lambda: server.last_line, "The server beside did not start.")
        self._beside_url = url.removesuffix("/v1")
        command = [sys.executable, str(Path(__file__).with_name("app.py")), "--rate", str(rate)]
        self._beside = Child("application beside", command, app_environ(url, 0))
        self._start(self._beside)

    def _start(self, child: Child) -> None:
        self._processes.callback(child.end)
        self._children.append(child)

    def _wait(self, ready: Callable[[], _T], otherwise: str) -> _T:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            found = ready()
            if found:
                return found
            self.check()
            time.sleep(0.1)
        raise self._failure(otherwise)

    def _counted(self) -> bool:
        requests = self.requests()  # asked first: what was answered by now must be counted by then
        if self.measured().streams:
            return True
        if requests > _UNCOUNTED:
            raise self._failure(self._nothing_counted)
        return False

    def _failure(self, what: str) -> DemoError:
        child = self._children[-1]
        return DemoError(f"{what} The {child.name} is still running. {child.last_words()}")

    def check(self) -> None:
        """Raise if one of the processes has ended."""
        for child in self._children:
            child.check()

    def measured(self) -> Measured:
        """Return what the endpoint says; nothing while it is not there."""
        try:
            return parse(_fetch(self.metrics_url))
        except OSError:
            return Measured()

    def sent(self) -> dict[str, Any]:
        """Return what the server says it sent."""
        return _object(self._ask("count"))

    def _ask(self, path: str, body: bytes | None = None) -> str:
        try:
            return _fetch(f"{self._server_url}/{path}", body)
        except OSError as error:
            self.check()
            raise DemoError(f"The server does not answer ({error}).") from error

    def totals(self) -> dict[str, Any]:
        """Return what the application printed last."""
        return _object(self._children[-1].last_line)

    def totals_beside(self) -> dict[str, Any]:
        """Return what the application without Streamwatch printed last."""
        return _object(self._beside.last_line)

    def requests(self) -> int:
        """Return how many requests of the application have ended."""
        totals = self.totals()
        return int(totals.get("ok", 0) + sum(totals.get("failed", {}).values()))

    def notices(self) -> tuple[str, ...]:
        """Return what Streamwatch had to say in the application."""
        return tuple(self._children[-1].notices)

    def settle(self) -> None:
        """Return when no stream is on its way any more and all are counted, so that all numbers agree."""
        self._ask("pause", b"")
        _fetch(f"{self._beside_url}/pause", b"")
        deadline = time.monotonic() + _END_SECONDS
        before = -1
        while time.monotonic() < deadline:
            streams = self.measured().streams
            if streams == before and not self.sent()["open"]:
                break
            before = streams
            time.sleep(0.3)
        time.sleep(1.2)  # the application prints its totals once a second


def _fetch(url: str, body: bytes | None = None) -> str:
    with _opener.open(url, data=body, timeout=5) as answer:
        return str(answer.read().decode())


def _object(text: str) -> dict[str, Any]:
    # Before the first line of totals there is nothing to parse.
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}


def server_command(seed: int) -> list[str]:
    """Return the command line of the server."""
    return [sys.executable, "-m", "streamwatch.demo.server", "--seed", str(seed)]


def app_command(rate: float) -> list[str]:
    """Return the command line a user types, with the programs of this environment."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    if not instrument.exists():
        msg = f"There is no {instrument}: pip install 'openai-streamwatch[demo]' installs it."
        raise DemoError(msg)
    return [str(instrument), sys.executable, str(Path(__file__).with_name("app.py")), "--rate", str(rate)]


def app_environ(url: str, port: int) -> dict[str, str]:
    """Return the environment, and where the service is; a real API key stays out of it."""
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    direct = ",".join(filter(None, ("127.0.0.1,localhost", no_proxy)))
    ours = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "demo", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    return {**os.environ, **ours, "NO_PROXY": direct, "no_proxy": direct}


def wanted_port() -> int:
    """Return the port the environment asks for, or the usual one; 0 for any."""
    text = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip() or "9464"
    if not text.isdecimal() or int(text) > 65535:
        msg = f"OTEL_EXPORTER_PROMETHEUS_PORT={text!r} is not usable: it must be a port from 0 to 65535."
        raise DemoError(msg)
    return int(text)


def free_port(wanted: int) -> int:
    """Return `wanted`, or the next port that nobody listens on, as Streamwatch itself would choose it."""
    for port in range(wanted, min(wanted + _PORTS, 65536)):
        # The family is the one that the Prometheus client takes for the same name.
        family = socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        try:
            with socket.create_server(("localhost", port), family=family) as listener:
                found = int(listener.getsockname()[1])
        except OSError:
            continue
        if found != wanted:
            why = f"Port {wanted} is taken: the" if wanted else "The"
            print(f"{why} metrics are on port {found}.", flush=True)
        return found
    msg = (
        f"The ports from {wanted} to {wanted + _PORTS - 1} are taken: set OTEL_EXPORTER_PROMETHEUS_PORT to a free one."
    )
    raise DemoError(msg)
