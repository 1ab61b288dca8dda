"""An HTTP server that says nothing on stderr of clients that leave: many tests are about those."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class Listener(ThreadingHTTPServer):
    """A server for tests; what its handler does wrong is still said."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, unless the connection did."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)
