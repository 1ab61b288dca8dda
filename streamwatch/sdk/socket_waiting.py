"""Waiting for a message over a WebSocket for a limited time, in the reader's own thread or task.

Nothing is read ahead, and nothing that is awaited is ever cancelled. Synchronous code receives with the time limit that
`websockets` has for it: a message that comes later is the next one that is received. Asynchronous code waits before
it receives, until a message has come or the time is over. Where a connection has no such means, there is no waiting.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from streamwatch.sdk.interruption import is_interruption


class NothingCameError(Exception):
    """The error of a message that was waited for in vain."""


def receive_in_time(socket: Any, seconds: float, receive: Callable[[], Any]) -> Any:
    """Return what `receive` gets from a socket of `websockets`.

    Raises:
        NothingCameError: no message came in time, or the socket has no time limit. None is lost.
    """
    socket_class: Any = type(socket)
    if not _takes_timeout(socket_class):
        raise NothingCameError
    own = socket.recv

    def recv(**options: Any) -> Any:
        try:
            return own(timeout=seconds, **options)
        except TimeoutError as error:
            if is_interruption(error):
                raise
            raise NothingCameError from error

    socket.recv = recv  # of this object alone, and for this call: the SDK's method is to do all that it does
    try:
        return receive()
    finally:
        vars(socket).pop("recv", None)


@functools.lru_cache(maxsize=16)
def _takes_timeout(socket_class: Any) -> bool:
    """Return whether sockets of a class are known to receive with a time limit."""
    known = socket_class.__module__ == "websockets.sync.client"
    return known and "timeout" in inspect.signature(socket_class.recv).parameters


async def receive_in_time_async(socket: Any, seconds: float, receive: Callable[[], Any]) -> Any:
    """Return what `receive` gets, for asynchronous code; it is not called before there is something to receive.

    Raises:
        NothingCameError: no message came in time, or it is not known how to wait for one. None is lost.
    """
    if not await _comes_in_time(socket, seconds):
        raise NothingCameError
    return await receive()


async def _comes_in_time(socket: Any, seconds: float) -> bool:
    """Return whether there is something to receive within some seconds: a whole message, or the end."""
    queue: Any = getattr(socket, "recv_messages", None)
    if not _is_known(queue) or "put" in vars(queue):  # nobody else waits so
        return False
    if _has_any(queue) or seconds <= 0:
        return _has_any(queue)
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    def noticing(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = method(*args)
            if _has_any(queue):
                wake()
            return result

        return call

    timer = loop.call_later(seconds, wake)
    queue.put, queue.close = noticing(queue.put), noticing(queue.close)
    try:
        await woken
    finally:
        timer.cancel()
        del queue.put, queue.close
    return _has_any(queue)


def _is_known(queue: Any) -> bool:
    """Return whether a connection keeps what it has received as `websockets` 13 to 17 do."""
    frames = getattr(getattr(queue, "frames", None), "queue", None)
    methods = all(callable(getattr(queue, name, None)) for name in ("put", "close"))
    return methods and hasattr(frames, "__iter__") and hasattr(queue, "closed") and hasattr(queue, "__dict__")


def _has_any(queue: Any) -> bool:
    return queue.closed or any(frame.fin for frame in queue.frames.queue)
