"""A relay in front of a server: it passes on what comes, and breaks off where it is told to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

#: Seconds that a stalled connection is held: longer than any timeout in front of it.
STALL_SECONDS = 30


class Relay:
    """Passes connections on to a port; after `limit` bytes of an answer it does what `then` says.

    `then` is "close" (as a server does that has sent all), "reset" (as a crash does), "stall" (nothing more comes),
    or a function that is called once, after which the rest is passed on.
    """

    def __init__(self, to: int, limit: int | None = None, then: str | Callable[[], object] = "close") -> None:
        self._to, self.limit, self.then = to, limit, then
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
        with suppress(OSError):
            self._answer(server, client)
        for end in (server, client):
            # close() alone would leave the connection to the thread that still reads from it.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        passed, limit = 0, self.limit
        while data := server.recv(65536):
            if limit is None or passed + len(data) < limit:
                client.sendall(data)
                passed += len(data)
                continue
            client.sendall(data[: limit - passed])
            if not callable(self.then):
                self._break_off(client)
                return
            self.then()
            client.sendall(data[limit - passed :])
            limit = None

    def _break_off(self, client: socket.socket) -> None:
        if self.then == "reset":
            client.shutdown(socket.SHUT_RD)  # ends the other thread's recv(), which would hold the connection open
            time.sleep(0.2)  # a reset overtakes what was sent and is not read yet
            # A linger time of 0 makes close() send RST.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        elif self.then == "stall":
            self._ended.wait(STALL_SECONDS)

    def end(self) -> None:
        self._ended.set()
        self._listener.close()
