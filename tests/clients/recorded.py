"""What the drivers share: a server of recorded bytes on a real socket, and the loop over the streams.

A driver is run as `python with_NAME.py off` or `python with_NAME.py POLICY`. Streams come as JSON
lines on standard input; one JSON line for each goes to standard output: what the client computed,
and, where Streamwatch was on, what it found and repaired.
"""

from __future__ import annotations

import base64
import functools
import gc
import json
import re
import ssl
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Seconds. Nothing here takes one; a client that waits for what never comes must end all the same.
TIMEOUT = 20.0
MODEL = "gpt-4o"
API_KEY = "sk-of-nobody"
#: Prefixes the line of a result, as some clients print to standard output themselves.
MARK = "@@RESULT "
MESSAGES: Any = [{"role": "user", "content": "Hello"}]
# Nothing here is encrypted, and to make a context for it takes ten times as long as to read a stream.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]


@dataclass
class Recording:
    """One stream to be read."""

    id: str
    api: str
    wire: bytes
    content_type: str
    connection_cut: bool
    request: dict[str, Any]
    base_url: str

    @property
    def tool_names(self) -> list[str]:
        """Every name on the wire that may be a function's: agents refuse to hear of others."""
        names = re.findall(r'"name":\s*"([A-Za-z0-9_-]{1,64})"', self.wire.decode("utf-8", "replace"))
        return sorted(set(names))

    @property
    def is_tool_call(self) -> bool:
        """Whether the answer is, or has, a tool call."""
        return b'"tool_calls"' in self.wire or b'"function_call"' in self.wire


@dataclass
class Computed:
    """What a client made of a stream: its answer, and everything else that it handed out.

    `chunks` is what came piece by piece; `final` is what the client says that it comes to.
    """

    text: str | None = ""  #: None where the client does not tell
    tools: list[tuple[str, str]] = field(default_factory=list)
    final: Any = None
    chunks: list[Any] = field(default_factory=list)


Driver = Callable[[Recording, Computed], None]


def main(read: Driver) -> None:
    """Read every stream that standard input names, with Streamwatch at the policy of the command line."""
    policy = sys.argv[1]
    reports: list[Any] = []
    if policy != "off":
        import streamwatch

        streamwatch.instrument(repair=policy, on_report=reports.append)
    warnings.simplefilter("ignore")
    bodies: list[Recording] = []
    server = _serve(bodies)
    gc.freeze()  # what was imported need not be looked at for every stream
    for line in sys.stdin:
        stream = json.loads(line)
        base_url = f"http://127.0.0.1:{server.server_port}/{len(bodies)}/v1"
        recording = Recording(**{**stream, "wire": base64.b64decode(stream["wire"]), "base_url": base_url})
        bodies.append(recording)
        reports.clear()
        result = _read(read, recording)
        if policy != "off":
            _let_end()
        result["reports"] = [_found(report) for report in reports]
        print(MARK + json.dumps({"id": recording.id, **result}, default=_plain), flush=True)
    server.shutdown()


def _read(read: Driver, recording: Recording) -> dict[str, Any]:
    computed = Computed()
    error = None
    try:
        read(recording, computed)
    except Exception as raised:
        # Where a client words the same error differently each time, the runner sees that and leaves it out.
        message = str(raised).replace(recording.base_url, "http://server/v1")
        error = {"type": type(raised).__name__, "message": message[:2000]}
    return {**vars(computed), "error": error}


def _let_end() -> None:
    """A reader that raised, or stopped early, may have left its stream to the garbage collector."""
    from streamwatch.sdk import instrumentor

    gc.collect()
    instrumentor.agent.record_collected()


def _found(report: Any) -> dict[str, Any]:
    kinds = {kind.name: {str(o.value): n for o, n in by.items()} for kind, by in report.outcomes.items()}
    return {"verdict": report.verdict and report.verdict.value, "kinds": kinds, "unwatched": report.unwatched}


def _plain(value: Any) -> Any:
    """JSON for what clients hand out: models as their members, anything else as text without its address."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(exclude_unset=True, warnings=False)
    members = getattr(value, "__dict__", None)
    if members:
        return {type(value).__name__: {k: v for k, v in members.items() if not k.startswith("_")}}
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


# --- the server


def _serve(bodies: list[Recording]) -> ThreadingHTTPServer:
    class Request(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            recording = bodies[int(self.path.split("/")[1])]
            self.send_response(200)
            self.send_header("content-type", recording.content_type)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for piece in re.findall(rb".*?(?:\n\n|\Z)", recording.wire, re.DOTALL):
                    if piece:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if not recording.connection_cut:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:  # the client has heard enough
                self.close_connection = True
            if recording.connection_cut:
                self.close_connection = True

        do_GET = do_POST  # noqa: N815 -- as http.server calls it

        def log_message(self, *_: Any) -> None:
            """Nothing: standard error is for what goes wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
