"""Servers of WebSockets on the loopback interface, and connections of the SDK that read from them."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import openai
import pytest

from helpers.socket_sessions import HELLO
from helpers.stream_builders import Payload

websockets = pytest.importorskip("websockets.sync.server")
closed = pytest.importorskip("websockets.exceptions")

#: What a server does, one after the other: it sends an event or bytes, or waits for some seconds.
Script = Sequence[Payload | bytes | float]


@contextmanager
def serving(messages: Script, code: int | None = 1000, pause: float = 0.0, then: Script | None = None) -> Iterator[str]:
    """A server that sends messages to each client that has said something, and closes; with None, waits for its end.

    A number among the messages is how many seconds it waits there. With `then`, every client but the first gets that,
    unasked, and may close the connection itself.
    """
    clients = itertools.count()

    def serve(socket: Any) -> None:
        is_first = next(clients) == 0
        with suppress(closed.ConnectionClosed):
            if is_first or then is None:
                socket.recv()
                send(socket, messages)
                time.sleep(pause)
                close(socket, code)
            else:
                send(socket, then)
                close(socket, None)

    with websockets.serve(serve, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


def send(socket: Any, messages: Script) -> None:
    """Do what a script says."""
    for message in messages:
        if isinstance(message, float):
            time.sleep(message)
        else:
            socket.send(message if isinstance(message, bytes) else json.dumps(message))


def close(socket: Any, code: int | None) -> None:
    """Close a connection with a code; with None wait for the other side, with 1006 say nothing."""
    if code is None:
        socket.recv()
    elif code == 1006:
        socket.socket.shutdown(2)
    else:
        socket.close(code)


def opened(client: Any, api: str) -> Any:
    """A connection of the client that does not reconnect."""
    if api == "responses":
        return client.responses.connect(max_retries=0)
    return client.realtime.connect(model="gpt-realtime", max_retries=0)


def received(url: str, mode: str, api: str = "responses", most: int = 1000) -> tuple[list[bytes], str]:
    """Every message that an application gets as bytes, up to `most`, and the name of the exception that ends it."""
    got: list[bytes] = []

    def read() -> str:
        with opened(openai.OpenAI(base_url=url, api_key="x"), api) as connection:
            connection.send(HELLO)
            while len(got) < most:
                try:
                    got.append(connection.recv_bytes())
                except Exception as error:
                    return type(error).__name__
        return ""

    async def read_async() -> str:
        async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), api) as connection:
            await connection.send(HELLO)
            while len(got) < most:
                try:
                    got.append(await connection.recv_bytes())
                except Exception as error:
                    return type(error).__name__
        return ""

    return got, asyncio.run(read_async()) if mode == "async" else read()


def wire(messages: list[Payload]) -> list[bytes]:
    """The bytes of messages."""
    return [json.dumps(message).encode() for message in messages]
