"""The tutorial's program, the server that it asks, and what Streamwatch's endpoint says of it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[1] / "apps" / "tutorial.py"
SNAPSHOT = "gpt-4o-2024-05-13"


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a chunk of the tutorial's server."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1715600000, "model": SNAPSHOT}
    return {**head, "choices": [choice], **more}


def call(**function: str) -> dict[str, Any]:
    """Return a fragment of a tool call."""
    return {"index": 0, "function": function}


HEADER = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
TOOLS = [
    chunk({"role": "assistant", "tool_calls": [HEADER]}),
    chunk({"tool_calls": [call(arguments='{"city":')]}),
    chunk({"tool_calls": [call(arguments='"Paris"}')]}),
    chunk({}, "tool_calls"),
]
# What a relay stamped 0 to 8 and a load balancer put into another order: expected index 5 but got 7.
ORDER = [0, 1, 2, 3, 4, 7, 5, 6, 8]
TEXT = [
    chunk({"role": "assistant", "content": ""} if n == 0 else {"content": f"{n} "}, sequence_number=n) for n in range(8)
] + [chunk({}, "stop", sequence_number=8)]
STREAMS = {"weather?": TOOLS, "count!": [TEXT[n] for n in ORDER]}


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with one of the two streams."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        chunks = STREAMS[request["messages"][0]["content"]]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for payload in [*map(json.dumps, chunks), "[DONE]"]:
            event = f"data: {payload}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def tutorial(
    python: Path | str, base_url: str, *command: str, **variables: str
) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """The tutorial's program; what it printed, and the process, which stays until the end of the block."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMWATCH_", "PYTHON"))}
    environment |= {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-test", **variables}
    program = [*command, str(python), str(PROGRAM)]
    process, said = started(program, environment)
    try:
        yield json.loads(said or "null"), process
    finally:
        process.communicate(timeout=30)


def started(program: list[str], environment: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """A process, and its first line.

    The tutorial abandons a stream on its KeyError. With openai 1.x and 2.x the plain SDK can then hang: httpcore closes
    the connection when Python collects the stream, and waits for a lock that the very thread holds if that happens
    while it opens the next one. (`gc.set_threshold(50)` shows it without Streamwatch.) So it gets a second chance.
    """
    pipe = subprocess.PIPE
    for attempt in range(3):
        process = subprocess.Popen(program, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert process.stdout is not None
        hung = threading.Timer(60, process.kill)
        hung.start()
        said = process.stdout.readline()
        hung.cancel()
        if said or attempt == 2:
            break
        process.communicate(timeout=30)
    return process, said


def scrape(port: int) -> str:
    """Return what an endpoint serves, once it is there."""
    for _ in range(50):
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=5) as response:
                return str(response.read().decode())
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"nothing on port {port}")


def samples(metrics: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """The samples of a metric: their labels, and their value."""
    for line in metrics.splitlines():
        if line.startswith(name + "{"):
            yield dict(re.findall(r'(\w+)="([^"]*)"', line)), float(line.rpartition(" ")[2])
