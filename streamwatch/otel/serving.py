"""The server of the Prometheus endpoint: what it answers, to how many, and for how long.

It is imported when the first client comes, with prometheus-client and the HTTP server of the standard library.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from streamwatch.export import own_log
from streamwatch.otel import making_room

#: Seconds that a client may take to ask, or to take a part of the answer: a scrape takes 10 at most by default, and who
#: connects and says nothing is to hold no thread for longer.
_PATIENCE = 15.0

#: Connections at once, each of which takes a thread: a scrape takes one for a moment.
_CONNECTIONS = 32

#: Seconds that a new connection waits for the end of the oldest one.
_MAKING_ROOM = 1.0

Application = Callable[..., Iterable[bytes]]


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A server on a socket that listens already, with a thread for each connection."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, application: Application) -> None:
        handler = type("_Patient", (_Exchange,), {"timeout": _PATIENCE})
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()  # its own, which is bound to nothing
        self.socket, self.server_address = listening, listening.getsockname()
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(application)
        _Connections(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that goes away: the application would get a traceback on stderr."""
        own_log.write(logging.DEBUG, "streamwatch: %s left the Prometheus endpoint", client_address)


class _Exchange(WSGIRequestHandler):
    """A request and its answer, of which nothing is logged."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def application_of(registry: Any, port: int, make_room: Callable[[], None]) -> Application:
    """Return an application that serves metrics, and calls `make_room` for a process of the same family."""
    metrics: Application = make_wsgi_app(registry)
    wanted = making_room.authorization(port).encode()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        said = str(environ.get("HTTP_AUTHORIZATION", "")).encode("utf-8", "replace")
        if environ.get("PATH_INFO") == making_room.PATH and hmac.compare_digest(said, wanted):
            start_response(making_room.WILL_DO, [])
            threading.Thread(target=make_room, name="streamwatch-endpoint", daemon=True).start()
            return []
        return metrics(environ, start_response)

    return application


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
