"""A server that keeps a background response: it sends the beginning, loses the connection, and can be asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlparse

from helpers.listening import Listener, serving
from recordings.build import RECORDINGS

#: A response with reasoning, a tool call and text, event by event, as bytes and as objects.
FRAMES = [block + b"\n\n" for block in RECORDINGS["resp-openai-items"].wire.split(b"\n\n") if block]


def payload_of(frame: bytes) -> dict[str, Any]:
    """Return what an event carries."""
    return json.loads(frame[frame.index(b"data: ") + 6 :])  # type: ignore[no-any-return]


EVENTS = [payload_of(frame) for frame in FRAMES]


def changed(number: int, **members: Any) -> bytes:
    """Return an event with some members changed."""
    event = {**EVENTS[number], **members}
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


@dataclass(frozen=True)
class Answer:
    """An answer: its body, and how that ends: `lost` with the connection, `whole`, or it `hangs`."""

    body: bytes = b""
    ends: str = "lost"
    status: int = 200
    type: str = "text/event-stream"


def rest(after: int) -> Answer:
    """Return what a server sends that does as it is asked."""
    return Answer(b"".join(FRAMES[after + 1 :]), "whole")


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    @property
    def after(self) -> int:
        """The event after which it wants to read; -1 for all of them."""
        return int(self.query.get("starting_after", ["-1"])[0])


Script = Answer | Callable[[int], Answer]


@dataclass
class Keeper:
    """The server: its answers in turn, the last of them for every further request."""

    script: list[Script] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    hanging: Event = field(default_factory=Event)  #: an answer hangs
    released: Event = field(default_factory=Event)  #: answers need not hang any longer

    def start(self, *script: Script) -> None:
        """Begin again, with these answers."""
        self.script, self.asked = list(script), []
        self.hanging.clear()
        self.released.clear()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve until the end of the block; the address."""
        keeper = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                url = urlparse(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, url.path, parse_qs(url.query), headers)
                keeper.asked.append(asked)
                answer = keeper.script[min(len(keeper.asked), len(keeper.script)) - 1]
                self.answer(answer(asked.after) if callable(answer) else answer)

            do_POST = do_GET  # noqa: N815 -- what the base class calls it

            def answer(self, answer: Answer) -> None:
                self.send_response(answer.status)
                self.send_header("content-type", answer.type)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                if answer.body:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(answer.body), answer.body))
                    self.wfile.flush()
                if answer.ends == "hangs":
                    keeper.hanging.set()
                    keeper.released.wait(20)
                if answer.ends == "whole":
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.close_connection = True

        server = Listener(("127.0.0.1", 0), Handler)
        with serving(server) as address:
            yield address
            self.released.set()
