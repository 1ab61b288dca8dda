"""A server whose answers stand still where a script says so: what it sends, and how long it waits in between.

The model that is asked for names the script, so that every label of a metric tells which one it was.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from helpers.listening import Listener

#: A chunk is sent as it is; a number is so many seconds of nothing; `CUT` ends the connection without a word.
Step = bytes | float | str
CUT = "cut"


def chunk(model: str, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """Return one chunk of a chat completion, as an event."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    payload = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def answer(model: str, texts: int = 3, *, at: int | None = None, pause: float = 0.0, cut: bool = False) -> list[Step]:
    """Return a script: a pause before the chunk `at`, and then the rest, or a cut."""
    sent: list[Step] = [chunk(model, {"role": "assistant", "content": ""})]
    sent += [chunk(model, {"content": f"word {number} "}) for number in range(texts)]
    sent += [chunk(model, {}, "stop"), b"data: [DONE]\n\n"]
    if at is None:
        return sent
    return [*sent[:at], pause, *([CUT] if cut else sent[at:])]


class Scripted:
    """The server; `scripts` by the name of the model."""

    def __init__(self, scripts: dict[str, Sequence[Step]], headers: dict[str, str] | None = None) -> None:
        scripted = self
        self.scripts = scripts
        self.ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
                self.send_response(200)
                for name, value in {"content-type": "text/event-stream", **(headers or {})}.items():
                    self.send_header(name, value)
                chunked = self.request_version == "HTTP/1.1"  # 1.0 knows no chunks: the body lasts until the end
                self.send_header(*(("transfer-encoding", "chunked") if chunked else ("connection", "close")))
                self.end_headers()
                for step in scripted.scripts[model]:
                    if isinstance(step, bytes):
                        self.wfile.write(f"{len(step):x}\r\n".encode() + step + b"\r\n" if chunked else step)
                        self.wfile.flush()
                    elif step == CUT:
                        self.close_connection = True
                        return
                    else:
                        scripted.ended.wait(float(step))
                self.wfile.write(b"0\r\n\r\n" if chunked else b"")

            def version_string(self) -> str:
                return "scripted"

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = Listener(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        """Let nobody wait any longer."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def scripted(scripts: dict[str, Sequence[Step]], headers: dict[str, str] | None = None) -> Iterator[Scripted]:
    """A server with these scripts, and its end."""
    server = Scripted(scripts, headers)
    try:
        yield server
    finally:
        server.end()


def until(true: Any, seconds: float, what: object = "") -> float:
    """Wait until something is true, and return how long that took; fails after so many seconds."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() < begun + seconds, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.02)
    return time.monotonic() - begun
