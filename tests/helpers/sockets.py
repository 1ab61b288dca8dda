"""A server on this machine that follows a script: what it writes, how it cuts that, and when it is silent.

A script is a list of writes: bytes that go out as one chunk of the HTTP body, `Raw` bytes that go out as they are,
seconds of silence, `UNTIL_ASKED`, or `CUT`, where the connection ends without an end of the body.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

#: A silence until the test says `go_on`, or until patience is over: then something was waited for in vain.
UNTIL_ASKED = object()
PATIENCE = 5.0
#: Ends the connection in the middle of the body.
CUT = object()


class Raw(bytes):
    """Bytes of the connection itself: a piece of a chunk, a header of one, or its end."""


Write = bytes | Raw | float | object
Script = Sequence[Write]


def chunk(data: bytes) -> Raw:
    """A chunk of an HTTP body."""
    return Raw(b"%x\r\n%s\r\n" % (len(data), data))


class Server:
    """Answers every request by following one script; counts what came, and notes when a client has gone."""

    def __init__(self, script: Script, headers: bytes, tls: ssl.SSLContext | None, patience: float) -> None:
        self._script, self._headers, self._tls, self._patience = script, headers, tls, patience
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.client_left = threading.Event()
        self.go_on = threading.Event()
        self.in_vain = False  #: nobody said `go_on` in time
        self.connections = self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def close(self) -> None:
        """Serve no more, and leave every silence."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        self.connections += 1
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = peer if self._tls is None else self._tls.wrap_socket(peer, server_side=True)
            with peer:
                while self._request(peer) and self._answer(peer):
                    pass
        self.client_left.set()

    def _request(self, peer: socket.socket) -> bool:
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
        self.requests += 1
        return True

    def _answer(self, peer: socket.socket) -> bool:
        """Follow the script, and return whether the connection is good for another request."""
        framing = b"" if b"content-length" in self._headers else b"transfer-encoding: chunked\r\n"
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + framing + self._headers + b"\r\n")
        for write in self._script:
            if write is CUT:
                return False
            if isinstance(write, bytes):
                peer.sendall(write if isinstance(write, Raw) or not framing else chunk(write))
            elif write is UNTIL_ASKED:
                if self._silent(peer, self._patience):
                    return False
                self.in_vain = self.in_vain or not self.go_on.is_set()
                self.go_on.clear()
            elif isinstance(write, float) and self._silent(peer, write):
                return False
        peer.sendall(b"0\r\n\r\n" if framing else b"")
        return True

    def _silent(self, peer: socket.socket, seconds: float) -> bool:
        """Say nothing for some seconds, or until `go_on`; returns whether it is over: the client or the test has left."""
        end = time.monotonic() + seconds
        peer.settimeout(0.01)
        try:
            while time.monotonic() < end and not self.go_on.is_set() and not self._over.is_set():
                try:
                    if not peer.recv(1):
                        return True
                except TimeoutError:
                    pass
        finally:
            peer.settimeout(None)
        return self._over.is_set()


@contextlib.contextmanager
def server(
    script: Script, headers: bytes = b"", tls: ssl.SSLContext | None = None, patience: float = PATIENCE
) -> Iterator[Server]:
    """A server for the time of a test."""
    serving = Server(script, headers, tls, patience)
    try:
        yield serving
    finally:
        serving.close()


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server and its client need for TLS: a certificate that is made for this test run."""
    key, signed = folder / "key.pem", folder / "certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]  # an RSA key takes up to a second to find
    command = ["openssl", "req", "-x509", *kind, "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(signed)]
    try:
        subprocess.run([*command, *names], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl to make a certificate with")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(signed, key)
    return serving, ssl.create_default_context(cafile=str(signed))
