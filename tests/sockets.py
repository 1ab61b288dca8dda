"""A server on this machine that follows a script: what it writes, how it cuts that, and when it is silent.

A script is a list of writes: bytes that go out as one chunk of HTTP, `Raw` bytes that go out as they are, seconds of
silence, or `CUT`, where the connection ends without an end of the body. A `Send` callable may stand for all of it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Union

#: Ends the connection in the middle of the body.
CUT = object()


class Raw(bytes):
    """Bytes of the connection itself: a piece of a chunk, a header of one, or its end."""


Write = Union[bytes, Raw, float, object]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _request(peer: socket.socket) -> bool:
    """Read a request, and return whether there was one."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = peer.recv(65536)
        if not data:
            return False
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
    while missing > 0:
        missing -= len(peer.recv(65536))
    return True


def _answer(peer: socket.socket, script: Sequence[Write], headers: bytes, gone: threading.Event) -> bool:
    """Follow the script, and return whether the connection is good for another request."""
    peer.sendall(_HEAD + headers + b"\r\n")
    for write in script:
        if write is CUT:
            return False
        if isinstance(write, Raw):
            peer.sendall(write)
        elif isinstance(write, bytes):
            peer.sendall(chunk(write))
        elif isinstance(write, float) and gone.wait(write):
            return False
    peer.sendall(b"0\r\n\r\n")
    return True


def _serve(peer: socket.socket, script: Sequence[Write], headers: bytes, gone: threading.Event) -> None:
    with contextlib.suppress(OSError), peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while _request(peer) and _answer(peer, script, headers, gone):
            pass


@contextlib.contextmanager
def server(script: Sequence[Write], headers: bytes = b"", tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers each request by following a script; yields the base URL for a client."""
    gone = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                peer, _ = listening.accept()
                peer = peer if tls is None else tls.wrap_socket(peer, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            threading.Thread(target=_serve, args=(peer, script, headers, gone), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        gone.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


class Clock:
    """When things came, in seconds since the first look at it."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        return time.perf_counter() - self._start
