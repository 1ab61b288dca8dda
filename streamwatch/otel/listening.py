"""A socket that listens from the start, and a server that is made when the first client comes."""

from __future__ import annotations

import selectors
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from streamwatch.otel.notices import warned

#: Seconds between two looks whether to stop: as long as a server of the standard library takes.
_LOOK = 0.5
#: Clients that may wait for the server: as many as those of a server of the standard library.
_BACKLOG = 5


class ListeningSocket:
    """A socket that listens, and its thread.

    Args:
        host: an address or a name.
        port: 0 for any free one.
        make: makes the server of a socket that listens.
    """

    def __init__(self, host: str, port: int, make: Callable[[socket.socket], Any]) -> None:
        # A text would have Python import its tables of Unicode, for names that are not ASCII.
        name = host.encode() if host.isascii() else host
        family, *_, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":  # where it would let two servers bind one port
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(address)
            self.socket.listen(_BACKLOG)
        except BaseException:
            self.socket.close()
            raise
        self.server_address = self.socket.getsockname()
        self.server_port: int = self.server_address[1]
        self.is_leaving = False  #: it takes no client any more
        self._make = make
        self._server: Any = None
        self._ended = threading.Event()
        threading.Thread(target=self._serve, name="streamwatch-endpoint", daemon=True).start()

    def _serve(self) -> None:
        """Wait for the first client, and serve it and those that follow."""
        try:
            with warned("the Prometheus endpoint does not answer"):
                if self._somebody_comes():
                    self._server = self._make(self.socket)
                    if not self.is_leaving:
                        self._server.serve_forever(_LOOK)
        finally:
            self._ended.set()

    def _somebody_comes(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while not self.is_leaving:
                if selector.select(_LOOK):
                    break
        return not self.is_leaving

    def shutdown(self) -> None:
        """Take no client any more, and wait until that is so."""
        self.is_leaving = True
        if self._server is not None:
            self._server.shutdown()
        self._ended.wait()

    def server_close(self) -> None:
        """Close the socket."""
        self.socket.close()
