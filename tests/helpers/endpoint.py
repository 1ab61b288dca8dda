"""A small OpenAI-compatible server on the loopback interface: healthy, or broken in one way."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from random import Random
from typing import Any

from helpers.listening import Listener
from streamwatch.synthetic import faults, streams
from streamwatch.synthetic.streams import Event, Mark, Shape

#: What a request is answered with in the place of a stream: status, content type, body.
Document = tuple[int, str, bytes]
Break = Callable[[list[Event], dict[str, Any]], list[Event]]


@dataclass
class Server:
    """What was asked, and how it is answered."""

    url: str = ""
    #: Changes the events of a healthy stream.
    change: Break = lambda events, body: events
    #: Changes the bytes of it.
    rewrite: Callable[[bytes], bytes] = lambda wire: wire
    #: Answers in the place of the stream, where it returns something.
    instead: Callable[[str, dict[str, Any]], Document | None] = lambda path, body: None
    pause: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)


def fault(name: str) -> Break:
    """A fault of the demo, where a stream is of its shape."""

    def broken(events: list[Event], body: dict[str, Any]) -> list[Event]:
        one = faults.FAULTS[name]
        return faults.broken(one, events, Random(1)) if shape_of(body) in one.shapes else events

    return broken


def each_chunk(change: Callable[[dict[str, Any]], object]) -> Break:
    """Something done to every payload, on the spot."""

    def broken(events: list[Event], body: dict[str, Any]) -> list[Event]:
        for event in events:
            if isinstance(event, dict):
                change(event)
        return events

    return broken


def delta(chunk: dict[str, Any]) -> dict[str, Any]:
    """The delta of a chunk's choice; an empty one where there is none."""
    return chunk["choices"][0]["delta"] if chunk.get("choices") else {}


def shape_of(body: dict[str, Any]) -> Shape:
    """What a request asks for."""
    if "input" in body:
        return Shape.RESPONSES_TOOLS if body.get("tools") else Shape.RESPONSES_TEXT
    return Shape.CHAT_TOOLS if body.get("tools") else Shape.CHAT_TEXT


def healthy(body: dict[str, Any]) -> list[Event]:
    """The stream of an endpoint that does all that it is asked for."""
    rng, shape = Random(1), shape_of(body)
    if "input" in body:
        return _responses(body, shape, rng)
    if shape is Shape.CHAT_TOOLS:
        events = streams.chat(body, shape, streams.SHORT, rng)
        if len(body["tools"]) == 1:
            events = [event for event in events if not _is_call(event, 1)]
        return events
    if body.get("response_format"):
        with_text(body, '{"city": "Paris", "country": "France"}')
    events = streams.chat(body, shape, 12, rng)
    _put_text(events, _wanted_text(body))
    if _limit(body) < 20:
        _payload(events[-2])["choices"][0]["finish_reason"] = "length"
    return _twice(events) if body.get("n") == 2 else events


def with_text(body: dict[str, Any], text: str) -> None:
    """Let the answer to a request be this text."""
    body["_text"] = text


def _wanted_text(body: dict[str, Any]) -> str:
    said = str(body.get("messages", [{}])[-1].get("content", body.get("input", "")))
    echo = said.partition("nothing else: ")[2]
    return str(body.get("_text") or echo)


def _put_text(events: list[Event], text: str) -> None:
    """The text in the place of the demo's own, in as many deltas."""
    deltas = [event for event in map(_payload, events) if _content(event)]
    size = -(-len(text) // len(deltas)) if text else 0
    for place, event in enumerate(deltas):
        if text:
            event["choices"][0]["delta"]["content"] = text[place * size : (place + 1) * size]


def _content(event: dict[str, Any]) -> Any:
    return event.get("choices") and event["choices"][0]["delta"].get("content")


def _twice(events: list[Event]) -> list[Event]:
    """The same for a second choice."""
    doubled: list[Event] = []
    for event in events:
        doubled.append(event)
        if isinstance(event, dict) and event["choices"]:
            doubled.append({**event, "choices": [{**event["choices"][0], "index": 1}]})
    return doubled


def _limit(body: dict[str, Any]) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or body.get("max_output_tokens") or 1000)


def _is_call(event: Event, index: int) -> bool:
    calls = [call for choice in _payload(event).get("choices", ()) for call in choice["delta"].get("tool_calls", ())]
    return any(call["index"] == index for call in calls)


def _responses(body: dict[str, Any], shape: Shape, rng: Random) -> list[Event]:
    events = streams.responses(body, shape, 12, rng)
    if shape is Shape.RESPONSES_TOOLS:
        events = _one_item(events)
    if body.get("text"):
        _put_response_text(events, '{"city": "Paris", "country": "France"}')
    if _limit(body) < 20:
        last = _payload(events[-1])
        last["type"] = "response.incomplete"
        last["response"].update(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    return events


def _one_item(events: list[Event]) -> list[Event]:
    """The first output item alone."""
    kept = [event for event in map(_payload, events) if event.get("output_index", 0) == 0]
    kept[-1]["response"]["output"] = kept[-1]["response"]["output"][:1]
    return [{**event, "sequence_number": number} for number, event in enumerate(kept)]


def _put_response_text(events: list[Any], text: str) -> None:
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    old = "".join(event["delta"] for event in deltas)
    size = -(-len(text) // len(deltas))
    for place, event in enumerate(deltas):
        event["delta"] = text[place * size : (place + 1) * size]
    changed = json.loads(json.dumps(events).replace(json.dumps(old), json.dumps(text)))
    events[:] = changed


def _payload(event: Event) -> dict[str, Any]:
    return event if isinstance(event, dict) else {}


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Server]:
    """A server that runs as long as the block does."""
    server = Server(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
            document = server.instead(self.path, body)
            if document is not None:
                self._whole(*document)
            else:
                self._stream(body)

        def _whole(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, body: dict[str, Any]) -> None:
            events = server.change(healthy(body), body)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have had enough
                for frame in streams.encode(events):
                    self._chunk(server.rewrite(frame))
                    time.sleep(server.pause)
                if Mark.CUT not in events:
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.close_connection = True

        def _chunk(self, data: bytes) -> None:
            if data:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def log_message(self, *_arguments: Any) -> None:
            pass

    with Listener(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
