"""An HTTP server that says nothing on stderr of clients that leave: many tests are about those."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server answer in a thread of its own; its address, without a scheme."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Listener(ThreadingHTTPServer):
    """A server for tests; what its handler does wrong is still said."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the connection did."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)
