"""The Prometheus endpoint of a process: on the first free port, and never in the application's way.

An application may have a server of prometheus_client of its own, and ask for the port that Streamwatch took before it.
Then it gets the port, and Streamwatch's counts are in its registry (`making_room`): the same in another process of its
family.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry.metrics import get_meter_provider

from streamwatch.otel import making_room
from streamwatch.otel.notices import say, warned

logger = logging.getLogger("streamwatch")

_HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
FIRST_PORT = 9464  #: What OpenTelemetry's specification gives to Prometheus exporters.
#: Ports tried, from the first one on: enough for the workers and helper processes of an ordinary host, and few enough
#: to be listed in one scrape configuration.
PORTS = 10

#: Seconds that a client may take to ask, or to take a part of the answer: a scrape takes 10 at most by default, and who
#: connects and says nothing is to hold no thread for longer.
_PATIENCE = 15.0

#: Connections at once, each of which takes a thread: a scrape takes one for a moment.
_CONNECTIONS = 32

#: Seconds that a new connection waits for the end of the oldest one.
_MAKING_ROOM = 1.0

#: Seconds that a forked child must live before it takes a port: a double fork, or a fork to run a program, is quicker.
_SETTLED = 1.0

#: Seconds that the application's start may wait for the endpoint to stop; it looks twice in a second whether it should.
_LETTING_GO = 2.0


def _is_taken(host: str, port: int) -> bool:
    """Return whether somebody has a port.

    On Windows the option that prometheus_client's server sets lets two servers bind one port, and neither notices. A
    socket without the option is refused there as well.
    """
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, proto) as probe:
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


class Endpoint:
    """The Prometheus endpoint of this process, on the first free port."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.host = environ.get(_HOST) or "localhost"
        first = _port(environ.get(_PORT, ""))
        self.ports = range(first, min(first + PORTS, 65536))
        self.server: Any = None
        self.registry: Any = None
        self._leaving: Any = None  # the server that was closed last, or is being closed
        self._left: set[int] = set()  # ports that the application has now

    def open(self) -> None:
        """Serve what is counted: in this process, and in each child that is forked from it."""
        from prometheus_client import REGISTRY

        making_room.found_family()
        self.serve(REGISTRY)
        with warned("the application's own Prometheus server may find its port in use"):
            making_room.watch(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def serve(self, registry: Any, *, moved: int = logging.WARNING) -> None:
        """Serve a registry; `moved` is how loudly to say that it is on another port than the first."""
        self.registry = registry
        try:
            self.server = self._server(registry)
        except (OSError, UnicodeError) as error:
            if self.host == "localhost":
                raise
            say(f"{_HOST}={self.host[:100]!r} is not usable; using localhost", error=error)
            self.host = "localhost"
            self.server = self._server(registry)
        pid, first, last = os.getpid(), self.ports[0], self.ports[-1]
        if self.server is None:
            say(f"no Prometheus endpoint for process {pid}: no port from {first} to {last} is free")
        elif first in (0, self.server.server_port):
            say(f"Prometheus metrics of process {pid} are on port {self.server.server_port}", logging.INFO)
        else:
            say(f"port {first} is in use; Prometheus metrics of process {pid} are on {self.server.server_port}", moved)

    def _server(self, registry: Any) -> Any:
        ports = (port for port in self.ports if port not in self._left)
        return next(filter(None, (self._listening(port, registry) for port in ports)), None)

    def _listening(self, port: int, registry: Any) -> Any:
        from prometheus_client import start_http_server

        if sys.platform == "win32" and _is_taken(self.host, port):
            return None
        try:
            with making_room.for_ourselves():
                server: Any = start_http_server(port, self.host, registry)[0]
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise
        server.RequestHandlerClass = type("_Patient", (server.RequestHandlerClass,), {"timeout": _PATIENCE})
        server.handle_error = _hung_up
        _Connections(server)
        server.set_app(self._obliging(server.get_app(), server.server_port))
        return server

    # --- the application wants the port

    def close(self) -> None:
        """Let go of the port, for the application to take it; what is being answered is answered."""
        self._leaving = server = self.server
        self.server = None
        if server is not None:
            self._left.add(server.server_port)
            stopping = threading.Thread(target=server.shutdown, name="streamwatch-endpoint", daemon=True)
            stopping.start()
            with contextlib.suppress(OSError):  # it wakes a thread that waits for a client which has gone
                server.socket.shutdown(socket.SHUT_RDWR)
            stopping.join(_LETTING_GO)
            server.server_close()

    def come_back(self, port: int) -> None:
        """Listen again on a port that was let go, as the application could not take it."""
        self._left.discard(port)
        self.server = self._listening(port, self.registry) or self._server(self.registry)

    def _obliging(self, metrics: Callable[..., Iterable[bytes]], port: int) -> Callable[..., Iterable[bytes]]:
        """Return an application that serves metrics, and makes room for a process of the same family."""
        wanted = making_room.authorization(port).encode()

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            said = str(environ.get("HTTP_AUTHORIZATION", "")).encode("utf-8", "replace")
            if environ.get("PATH_INFO") == making_room.PATH and hmac.compare_digest(said, wanted):
                start_response(making_room.WILL_DO, [])
                threading.Thread(target=self._move, name="streamwatch-endpoint", daemon=True).start()
                return []
            return metrics(environ, start_response)

        return application

    def _move(self) -> None:
        """Serve on the next free port: the application, in another process, takes this one."""
        with warned(f"no Prometheus endpoint for process {os.getpid()}"):
            server = self.server
            if server is not None:
                self.close()
                say(f"the application serves port {server.server_port} itself, in another process", logging.INFO)
                self.serve(self.registry, moved=logging.INFO)

    # --- children

    def _after_fork(self) -> None:
        """Let go of the parent's port; the rest in a thread, as a lock that was held at the fork is held forever."""
        with warned("no Prometheus endpoint in a forked process"):
            for server in (self.server, self._leaving):
                if server is not None:
                    server.socket.close()
            self.server = self._leaving = None
            threading.Thread(target=self._serve_child, name="streamwatch-endpoint", daemon=True).start()

    def _serve_child(self) -> None:
        """Serve a reader that starts at zero: the reader of the parent has the parent's counts."""
        with warned(f"no Prometheus endpoint for forked process {os.getpid()}"):
            from prometheus_client import CollectorRegistry

            from streamwatch.otel.prometheus_reader import PrometheusReader

            registry, add_reader = CollectorRegistry(), getattr(get_meter_provider(), "add_metric_reader", None)
            if add_reader:
                add_reader(PrometheusReader(registry))
            time.sleep(_SETTLED)
            if not add_reader:
                raise RuntimeError("it takes opentelemetry-sdk 1.43 or newer")
            self.serve(registry, moved=logging.INFO)


class _Connections:
    """The connections of a server: one more than there may be ends the oldest, so that nobody keeps others out."""

    def __init__(self, server: Any) -> None:
        self._process, self._close = server.process_request, server.shutdown_request
        self._free = threading.Semaphore(_CONNECTIONS)
        self._open: dict[Any, None] = {}  # the oldest first
        self._lock = threading.Lock()
        server.process_request, server.shutdown_request = self._begin, self._end

    def _begin(self, connection: Any, address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self._end_oldest()
            if not self._free.acquire(timeout=_MAKING_ROOM):
                self._close(connection)
                return
        with self._lock:
            self._open[connection] = None
        self._process(connection, address)

    def _end_oldest(self) -> None:
        with self._lock, contextlib.suppress(StopIteration, OSError):
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.shutdown(socket.SHUT_RDWR)  # which wakes its thread

    def _end(self, connection: Any) -> None:
        with self._lock:
            self._open.pop(connection, None)
        self._close(connection)
        self._free.release()


def _hung_up(_request: object, address: object) -> None:
    """Say nothing of a client that says nothing or goes away: the application would get a traceback on stderr."""
    logger.debug("streamwatch: %s left the Prometheus endpoint", address)


def _port(text: str) -> int:
    """Return the first port to try."""
    if text.strip().isdecimal() and int(text) <= 65535:
        return int(text)
    if text.strip():
        say(f"{_PORT}={text[:100]!r} is not a port, which is a number from 0 to 65535; using {FIRST_PORT}")
    return FIRST_PORT
