"""Streams that the application reads below the SDK's parser: their bytes pass as they are, and are seen.

How it works. `with_streaming_response` hands out a response of which no stream is made. Where that is an event stream,
the two methods of its HTTP response that yield the body are covered by ones that yield the same, and show each read to
a core that repairs nothing; lines, text and the whole body come out of them. Bytes are read when the application reads,
and none are kept. As soon as the body is read, or a stream of the SDK is made of the response, the response has its own
methods again: so each body is seen once.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from time import perf_counter
from types import ModuleType
from typing import Any

from streamwatch.core.report import Request
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Event
from streamwatch.exchange import exchange
from streamwatch.export.request import RequestInfo
from streamwatch.sdk.interruption import is_interruption
from streamwatch.sdk.observed_stream import ObservedStream, Owner
from streamwatch.sdk.request_info import describe_raw, sent_at

#: What hands out a response, and the method that does.
_MANAGERS = (("ResponseContextManager", "__enter__"), ("AsyncResponseContextManager", "__aenter__"))
#: The methods of the HTTP response that yield the body: all others are made of the first. The second yields it as it
#: came, which may be compressed.
_METHODS = ("iter_bytes", "iter_raw", "aiter_bytes", "aiter_raw")


class RawStream(ObservedStream):
    """One stream that is read as bytes, text or lines."""

    _left = False  # it is watched no further

    def __init__(self, owner: Owner, opened: float, api: str, request: Request, call: RequestInfo) -> None:
        super().__init__(owner, call)
        self._open(api, request, opened, Event, _observing(owner.settings))
        owner.opened(self)

    def asks(self) -> None:
        """Note that the application waits for bytes."""
        self.asked = perf_counter()

    def receive(self, data: bytes) -> None:
        """Take bytes that came."""
        asked, self.asked = self.asked, 0.0
        if self.has_ended or self._left:
            return
        try:
            self._last = now = perf_counter()
            self._waiting += (wait := now - asked)
            self._waited(wait)
            if not self.watch.receive(data):
                self._left = True
                self._leave_unreadable()
            self.watch.ready.clear()
            if now > self._due:
                self._tick(now)
            if self.watch.done:
                self.end()  # who reads lines leaves here, mostly
        except Exception as error:
            self._left = True
            self.owner.internal_error(error, "watching a body")
            self.watch.leave("internal error", failed=True)

    def fails(self, error: BaseException) -> None:
        """Take an exception in place of bytes: the connection failed, or the application left."""
        left = not isinstance(error, Exception) or is_interruption(error) or type(error).__name__ == "StreamClosed"
        self.end(error, abandoned=left)


class Covered:
    """A method of a response that shows what it yields. It does not keep the response alive."""

    def __init__(self, response: Any, name: str, owner: Owner, opened: float, known: tuple[Any, ...]) -> None:
        self._response = weakref.ref(response)
        self._name = name
        self._owner = owner
        self._opened = opened
        self._known = known

    def __call__(self, chunk_size: int | None = None) -> Iterator[bytes] | AsyncIterator[bytes]:
        """Return the body, as the response's own method does."""
        response = self._response()
        if response is None:
            msg = "the response of this method is gone"
            raise ReferenceError(msg)
        return (_aseen if self._name.startswith("a") else _seen)(self, response, chunk_size)

    def begin(self, response: Any) -> RawStream | None:
        """Give the response its own methods, and return the stream that its body is; None where it cannot be seen."""
        uncover(response)
        try:
            is_raw = self._name.endswith("raw")
            is_gone = response.is_stream_consumed or response.is_closed
            if is_gone and (is_raw or not hasattr(response, "_content")):  # the whole body may be there from the start
                return None
            if is_raw and response.headers.get("content-encoding", "identity") != "identity":
                self._owner.telemetry.unobserved(self._known[2])
                return None
            stream = RawStream(self._owner, self._opened, *self._known)
            stream.asks()
        except Exception as error:
            self._owner.internal_error(error, "opening a stream")
            return None
        return stream

    def own(self, response: Any) -> Callable[..., Any]:
        """Return the response's own method."""
        return functools.partial(getattr(type(response), self._name), response)


def _seen(covered: Covered, response: Any, chunk_size: int | None) -> Iterator[bytes]:
    stream = covered.begin(response)
    chunks = covered.own(response)(chunk_size)
    if stream is None:
        yield from chunks
        return
    try:
        for data in chunks:
            stream.receive(data)
            yield data
            stream.asks()
    except GeneratorExit:  # perhaps the collector's: the stream is recorded when it is collected itself
        raise
    except BaseException as error:
        stream.fails(error)
        raise
    stream.end()


async def _aseen(covered: Covered, response: Any, chunk_size: int | None) -> AsyncIterator[bytes]:
    stream = covered.begin(response)
    chunks = covered.own(response)(chunk_size)
    if stream is None:
        async for data in chunks:
            yield data
        return
    try:
        async for data in chunks:
            stream.receive(data)
            yield data
            stream.asks()
    except GeneratorExit:
        raise
    except BaseException as error:
        stream.fails(error)
        raise
    stream.end()


def cover(raw: Any, owner: Owner) -> None:
    """Let the body of an API response be seen, if it is an event stream."""
    response = raw.http_response
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if not (is_stream or getattr(raw, "_is_sse_stream", False)):
        return
    opened, known = sent_at(response), describe_raw(raw, owner.version, owner.loads)
    for name in _METHODS:
        setattr(response, name, Covered(response, name, owner, opened, known))


def uncover(response: Any) -> None:
    """Give a response its own methods again."""
    if type(getattr(response, "iter_bytes", None)) is Covered:
        for name in _METHODS:
            delattr(response, name)


@functools.lru_cache(maxsize=8)  # those of a process, and of its tests
def _observing(settings: Settings) -> Settings:
    """Return settings under which nothing is repaired."""
    return replace(settings, repair=Policy("none"))


def patch(module: ModuleType, owner: Owner) -> list[Callable[[], None]]:
    """Let every response that is handed out from now on be seen; returns how to undo that."""
    managers = ((getattr(module, name, None), method) for name, method in _MANAGERS)
    return [_patch(manager, method, owner) for manager, method in managers if manager is not None]


def _patch(manager: Any, method: str, owner: Owner) -> Callable[[], None]:
    original = getattr(manager, method)
    wanted = True

    def covered(response: Any) -> Any:
        try:
            if wanted:
                cover(response, owner)
        except Exception as error:
            owner.internal_error(error, "opening a stream")
        return response

    @functools.wraps(original)
    def __enter__(self: Any) -> Any:
        return covered(original(self))

    @functools.wraps(original)
    async def __aenter__(self: Any) -> Any:
        return covered(await original(self))

    put_back = exchange(manager, method, __enter__ if method == "__enter__" else __aenter__)

    def undo() -> None:
        nonlocal wanted
        wanted = False
        put_back()

    return undo
