"""The Prometheus endpoint of a process: on the first free port, and never in the application's way.

An application may have a server of prometheus_client of its own, and ask for the port that Streamwatch took before it.
Then it gets the port, and Streamwatch's counts are in its registry (`making_room`): the same in another process of its
family.

The port listens from the start. What it takes to answer is imported when the first client comes (`serving`), and what
there is to serve is built then, if nothing needed it before (`pipeline`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.metrics import get_meter_provider

from streamwatch.otel import making_room
from streamwatch.otel.listening import ListeningSocket
from streamwatch.otel.notices import say, warned
from streamwatch.otel.pipeline import Pipeline

_HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
FIRST_PORT = 9464  #: What OpenTelemetry's specification gives to Prometheus exporters.
#: Ports tried, from the first one on: enough for the workers and helper processes of an ordinary host, and few enough
#: to be listed in one scrape configuration.
PORTS = 10

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
    """The Prometheus endpoint of this process, on the first free port.

    Args:
        environ: the environment, which may name a host and a port.
        pipeline: builds the providers when the first client comes; None if there are some.
    """

    def __init__(self, environ: Mapping[str, str], pipeline: Pipeline | None = None) -> None:
        self.host = environ.get(_HOST) or "localhost"
        first = _port(environ.get(_PORT, ""))
        self.ports = range(first, min(first + PORTS, 65536))
        self.server: Any = None  # a ListeningSocket, or None
        self._pipeline = pipeline
        self._registry: Any = None
        self._is_child = False
        self._leaving: Any = None  # the one that was closed last, or is being closed
        self._left: set[int] = set()  # ports that the application has now

    @property
    def registry(self) -> Any:
        """What is served; the providers are built to have it."""
        if self._registry is None:
            self._registry = self._found()
        return self._registry

    def _found(self) -> Any:
        """Return prometheus_client's own registry, or in a forked child one with nothing of its parent's."""
        if self._pipeline is not None:
            self._pipeline.do()
        from prometheus_client import REGISTRY, CollectorRegistry

        if not self._is_child:
            return REGISTRY
        from streamwatch.otel.prometheus_reader import collector_of

        registry, collector = CollectorRegistry(), collector_of(REGISTRY)
        if collector is not None:
            registry.register(collector)
        return registry

    def open(self) -> None:
        """Serve what is counted: in this process, and in each child that is forked from it."""
        making_room.found_family()
        self.serve()
        making_room.watch_when_imported(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def serve(self, registry: Any = None, *, moved: int = logging.WARNING) -> None:
        """Serve a registry, or this process's own; `moved` is how loudly to say that it is not on the first port."""
        if registry is not None:
            self._registry = registry
        try:
            self.server = self._on_a_free_port()
        except (OSError, UnicodeError) as error:
            if self.host == "localhost":
                raise
            say(f"{_HOST}={self.host[:100]!r} is not usable; using localhost", error=error)
            self.host = "localhost"
            self.server = self._on_a_free_port()
        pid, first, last = os.getpid(), self.ports[0], self.ports[-1]
        if self.server is None:
            say(f"no Prometheus endpoint for process {pid}: no port from {first} to {last} is free")
        elif first in (0, self.server.server_port):
            say(f"Prometheus metrics of process {pid} are on port {self.server.server_port}", logging.INFO)
        else:
            say(f"port {first} is in use; Prometheus metrics of process {pid} are on {self.server.server_port}", moved)

    def _on_a_free_port(self) -> ListeningSocket | None:
        ports = (port for port in self.ports if port not in self._left)
        return next(filter(None, map(self._listening, ports)), None)

    def _listening(self, port: int) -> ListeningSocket | None:
        if sys.platform == "win32" and _is_taken(self.host, port):
            return None
        try:
            return ListeningSocket(self.host, port, self._made)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise

    def _made(self, listening: socket.socket) -> Any:
        """Return the server of a socket."""
        from streamwatch.otel.serving import MetricsServer, application_of

        application = application_of(self.registry, listening.getsockname()[1], self._move)
        return MetricsServer(listening, application)

    # --- the application wants the port

    def close(self) -> None:
        """Let go of the port, for the application to take it; what is being answered is answered."""
        self._leaving = server = self.server
        self.server = None
        if server is not None:
            self._left.add(server.server_port)
            server.is_leaving = True
            stopping = threading.Thread(target=server.shutdown, name="streamwatch-endpoint", daemon=True)
            stopping.start()
            with contextlib.suppress(OSError):  # it wakes a thread that waits for a client which has gone
                server.socket.shutdown(socket.SHUT_RDWR)
            stopping.join(_LETTING_GO)
            server.server_close()

    def come_back(self, port: int) -> None:
        """Listen again on a port that was let go, as the application could not take it."""
        self._left.discard(port)
        self.server = self._listening(port) or self._on_a_free_port()

    def _move(self) -> None:
        """Serve on the next free port: the application, in another process, takes this one."""
        with warned(f"no Prometheus endpoint for process {os.getpid()}"):
            server = self.server
            if server is not None:
                self.close()
                say(f"the application serves port {server.server_port} itself, in another process", logging.INFO)
                self.serve(moved=logging.INFO)

    # --- children

    def _after_fork(self) -> None:
        """Let go of the parent's port; the rest in a thread, as a lock that was held at the fork is held forever."""
        with warned("no Prometheus endpoint in a forked process"):
            for server in (self.server, self._leaving):
                if server is not None:
                    server.socket.close()
            self.server = self._leaving = self._registry = None
            self._is_child = True
            counts = self._pipeline is None or self._pipeline.is_done  # those of the parent
            threading.Thread(target=self._serve_child, args=(counts,), name="streamwatch-endpoint", daemon=True).start()

    def _serve_child(self, counts: bool) -> None:  # noqa: FBT001 -- the argument of a thread
        """Serve a reader that starts at zero: a reader that the parent had has the parent's counts."""
        with warned(f"no Prometheus endpoint for forked process {os.getpid()}"):
            if counts:
                self._registry = _new_registry()
            time.sleep(_SETTLED)
            if counts and self._registry is None:
                raise RuntimeError("it takes opentelemetry-sdk 1.43 or newer")
            self.serve(moved=logging.INFO)


def _new_registry() -> Any:
    """Return a registry with a reader of its own; None where no reader can be added to a provider."""
    from prometheus_client import CollectorRegistry

    from streamwatch.otel.prometheus_reader import PrometheusReader

    add_reader = getattr(get_meter_provider(), "add_metric_reader", None)
    if add_reader is None:
        return None
    registry = CollectorRegistry()
    add_reader(PrometheusReader(registry))
    return registry


def _port(text: str) -> int:
    """Return the first port to try."""
    if text.strip().isdecimal() and int(text) <= 65535:
        return int(text)
    if text.strip():
        say(f"{_PORT}={text[:100]!r} is not a port, which is a number from 0 to 65535; using {FIRST_PORT}")
    return FIRST_PORT
