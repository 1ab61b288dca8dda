"""An OpenAI-compatible server on the loopback interface that breaks its streams on a schedule.

    POST /v1/chat/completions, POST /v1/responses   as OpenAI's; a third of the streams is healthy
    GET  /count                                     what was really sent, as JSON
    GET  /truth                                     the same of each stream: what was broken, and how the reader ended
    POST /ended/<request id>                        what a reader made of a stream, where it says so
    POST /pause                                     finish what is being sent, let new requests wait

It prints its base URL once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import random
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamwatch.synthetic import faults, streams
from streamwatch.synthetic.readings import reading_of
from streamwatch.synthetic.streams import Event, Mark, Shape

#: Seconds between two chunks: fast enough for several streams a second, slow enough to look alive.
_PAUSE = (0.001, 0.005)
#: Streams whose truth is kept: half an hour of the demo.
_MOST = 20_000


@dataclass
class Sent:
    """The truth of one stream: its fault, whether that can be repaired, and whether its reader ended as without it."""

    fault: faults.Fault
    healthy: dict[str, Any]
    seen: bool = False  #: the fault has gone out, to a client that was there
    whole: bool | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        cases = [definition.name for definition in self.fault.cases]
        known = {"fault": self.fault.name, "cases": cases, "repairable": self.fault.repairable}
        return {**known, "seen": self.seen, "whole": self.whole}


@dataclass
class Service:
    """The server's memory: its seed, and what it has sent."""

    seed: int
    requests: Counter[Shape] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    open: int = 0
    left_early: int = 0
    cases: dict[str, dict[str, int]] = field(default_factory=dict)
    truth: dict[str, Sent] = field(default_factory=dict)
    running: asyncio.Event = field(default_factory=asyncio.Event)

    def asgi(self) -> Starlette:
        self.running.set()
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/responses", self.responses, methods=["POST"]),
                Route("/count", self.count),
                Route("/truth", self.tell_truth),
                Route("/ended/{id}", self.ended, methods=["POST"]),
                Route("/pause", self.pause, methods=["POST"]),
            ]
        )

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, Shape.CHAT_TOOLS if body.get("tools") else Shape.CHAT_TEXT)

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        return await self._answer(request, body, Shape.RESPONSES_TOOLS if body.get("tools") else Shape.RESPONSES_TEXT)

    async def _answer(self, request: Request, body: dict[str, Any], shape: Shape) -> Response:
        await self.running.wait()
        if not body.get("stream"):
            return JSONResponse(_whole(body, shape))
        number = self.requests[shape]
        self.requests[shape] += 1
        rng = Random(f"{self.seed}/{shape.value}/{number}")
        fault = faults.fault_for(self.seed, shape, number)
        make = streams.chat if shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS) else streams.responses
        healthy = make(body, shape, fault.length, rng)
        broken = faults.broken(fault, healthy, rng)
        sent = Sent(fault, reading_of(healthy).record())
        return _Stream(self, request, sent, broken, _first_difference(healthy, broken))

    async def count(self, request: Request) -> Response:
        sent = {name: self.faults[name] for name in (faults.HEALTHY.name, *faults.FAULTS)}
        tally = {"streams": self.streams, "open": self.open, "left_early": self.left_early}
        return JSONResponse({**tally, "faults": sent, "models": dict(self.models), "cases": self.cases})

    def opened(self, sent: Sent) -> str:
        """Note a stream, and return the id that it has from here on; what is known of the oldest is let go."""
        name = f"req_demo_{sum(self.requests.values())}"
        self.truth[name] = sent
        if len(self.truth) > _MOST:
            del self.truth[next(iter(self.truth))]
        return name

    def seen(self, sent: Sent) -> None:
        """Count a fault that has gone out."""
        sent.seen = True
        self.faults[sent.fault.name] += 1
        for definition in sent.fault.cases:
            counts = self.cases.setdefault(definition.name, {"repairable": 0, "broken": 0})
            counts["repairable" if sent.fault.repairable else "broken"] += 1

    async def tell_truth(self, request: Request) -> Response:
        return JSONResponse({name: sent.record() for name, sent in self.truth.items()})

    async def ended(self, request: Request) -> Response:
        sent = self.truth[request.path_params["id"]]
        sent.whole = await request.json() == sent.healthy
        return JSONResponse({"whole": sent.whole})

    async def pause(self, request: Request) -> Response:
        self.running.clear()
        return await self.count(request)


class _Stream(Response):
    """A stream on its way; its fault counts as sent once it has gone out."""

    def __init__(self, service: Service, request: Request, sent: Sent, events: list[Event], at: int) -> None:
        super().__init__(media_type="text/event-stream")
        self._service, self._request, self._sent, self._events, self._at = service, request, sent, events, at
        self._id = service.opened(sent)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", self._id.encode())]
        self._service.streams += 1
        self._service.open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            frames = list(streams.encode(self._events)) or [b""]
            at = min(self._at, len(frames) - 1)
            for place, frame in enumerate(frames):
                await asyncio.sleep(random.uniform(*_PAUSE))
                if place == at:
                    await self._count()
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            # A body that is never ended makes uvicorn close the connection: a real cut.
            if Mark.CUT not in self._events:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._service.open -= 1

    async def _count(self) -> None:
        # A client that left before the fault never saw it.
        if await self._request.is_disconnected():
            self._service.left_early += 1
        else:
            self._service.seen(self._sent)
        models = {_model(event) for event in self._events if isinstance(event, dict)} - {None}
        self._service.models.update(str(model) for model in models)


def _first_difference(healthy: list[Event], broken: list[Event]) -> int:
    """Return the place of the fault; a number on every chunk is not one."""
    pairs = itertools.zip_longest(map(_unnumbered, healthy), map(_unnumbered, broken))
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(healthy))


def _unnumbered(event: Event) -> Event:
    return {**event, "sequence_number": 0} if isinstance(event, dict) else event


def _model(event: dict[str, Any]) -> Any:
    return event.get("model") or event.get("response", {}).get("model")


def _whole(body: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Return the answer to a request that does not stream: text, whatever was asked for."""
    rng = Random(0)
    if shape in (Shape.RESPONSES_TEXT, Shape.RESPONSES_TOOLS):
        *_, last = streams.responses(body, Shape.RESPONSES_TEXT, streams.SHORT, rng)
        return dict(last["response"]) if isinstance(last, dict) else {}
    message = {"role": "assistant", "content": "".join(streams.words(streams.SHORT)), "refusal": None}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": streams.snapshot(str(body.get("model")), rng),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 17, "completion_tokens": streams.SHORT, "total_tokens": 17 + streams.SHORT},
    }


def _quiet(record: logging.LogRecord) -> bool:
    """Return whether to keep quiet: a cut stream is meant, everything else that uvicorn complains about is not."""
    return "without completing response" not in record.getMessage()


def _leave_with_parent(server: uvicorn.Server, parent: int) -> None:
    # A killed demo cannot tell its children; a server nobody asked for would stay for good.
    while os.getppid() == parent:
        time.sleep(1)
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    options = parser.parse_args()
    logging.getLogger("uvicorn.error").addFilter(_quiet)
    listener = socket.create_server(("127.0.0.1", options.port))
    config = uvicorn.Config(
        Service(options.seed).asgi(),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,  # a stream lasts less than half a second; paused requests never end
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_leave_with_parent, args=(server, os.getppid()), daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
