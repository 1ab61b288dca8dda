"""A stream of the SDK being read: bytes from the response to our watch, events from it to the SDK.

Both iterators, for synchronous and asynchronous code, are classes and not generators. The
asynchronous SDK stops at [DONE] and leaves what it iterates over suspended: of 596 streams read to
their end, a generator reported 181 as cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from streamwatch.core.report import Report
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.export.capture import Captures
from streamwatch.export.telemetry import Telemetry
from streamwatch.sdk import request_info as calls
from streamwatch.sdk.legacy_lines import text_alines, text_lines

#: Seconds between two recordings of a stream that goes on: a scrape interval or less.
_RECORD_EVERY = 10.0

#: What we can't go on with: events that came, then bytes. It is the SDK's to decode.
Remainder = tuple[list[Event], bytes]


class Owner(Protocol):
    """What a reading needs of whoever switched the watching on."""

    settings: Settings
    telemetry: Telemetry
    loads: Callable[[bytes], Any]
    version: str
    captures: Captures | None

    def event_type_of(self, stream: Any) -> type[Event]:
        """What the events of a stream are made as."""

    def opened(self, reading: StreamSession) -> None:
        """A stream was opened."""

    def ended(self, reading: StreamSession, report: Report | None) -> None:
        """A stream has ended, and is recorded; None if that failed."""

    def collected(self, reading: StreamSession) -> None:
        """A stream was collected as garbage before its end."""

    def internal_error(self, error: BaseException, doing: str) -> None:
        """Count and log an error of ours."""


class StreamSession:
    """One stream being read: its watch, its span, and its end, which comes once, from wherever it comes.

    The end is, whichever is first: [DONE], the end of the body, an exception, the closing of the
    response by the consumer, the stream's collection as garbage, or the exit of the process.
    """

    has_ended = True  #: nothing to end, unless all of `__init__` succeeds
    read_ahead: asyncio.Task[Any] | None = None  #: reads on while the window of what is held passes

    def __init__(self, stream: Any, owner: Owner) -> None:
        self.owner = owner
        self.response = stream.response
        self._closes = "aclose" if hasattr(stream, "__anext__") else "close"
        opened = calls.sent_at(self.response)
        surface, request, self.call = calls.describe(stream, owner.version, owner.loads)
        self._event_type = owner.event_type_of(stream)
        self.watch = StreamWatch(
            surface, request, owner.settings, loads=owner.loads, clock=time.perf_counter, event_type=self._event_type
        )
        self.ready = self.watch.ready
        self.in_next = False
        self._opened = self._last = opened
        self._due = 0.0  # when to look at the clock in earnest: at once, until the first chunk came
        self._first: float | None = None
        self._body: bytearray | None = None
        self._captured = owner.captures.max_bytes if owner.captures is not None else 0
        opened_ns = time.time_ns() - int((time.perf_counter() - opened) * 1e9)
        self._recording = owner.telemetry.open(self.call, opened_ns)
        self.has_ended = False
        self._notice_closing()
        owner.opened(self)

    # --- what comes

    def receive(self, data: bytes) -> Remainder | None:
        """Take bytes off the wire."""
        try:
            if self._captured:
                self._capture(data)
            self.watch.unfed = data  # known to `undelivered`, even if the very call should fail
            readable = self.watch.take(data)
            while self.watch.more():
                pass
            self._last = now = time.perf_counter()
            if now > self._due:
                self._tick(now)
            if not readable:
                return self._left_to_the_sdk()
        except Exception as error:
            return self._rescue(error, data)
        return None

    def receive_event(self, event: Any) -> Remainder | None:
        """Take an event that a decoder of the client's own made."""
        try:
            raw = event.data.encode("utf-8", "surrogatepass")
            self.watch.receive_event(self._event_type(event.data, raw, event.event, event.id, event.retry))
            self._last = now = time.perf_counter()
            if now > self._due:
                self._tick(now)
        except Exception as error:
            events, _ = self._rescue(error, b"")
            return [*(kept for kept in events if kept.data != event.data), event], b""
        return None

    def seconds_left(self) -> float | Remainder | None:
        """How long more bytes may be waited for; None, the usual answer, while nothing waits for its turn."""
        try:
            deadline = self.watch.deadline
            return None if deadline is None else max(deadline - time.perf_counter(), 0.0)
        except Exception as error:
            return self._rescue(error, b"")

    def expire(self) -> Remainder | None:
        """Let go what has waited for its turn too long."""
        try:
            self.watch.expire()
        except Exception as error:
            return self._rescue(error, b"")
        return None

    def close(self, error: BaseException | None) -> Remainder | None:
        """The body ended, or broke; what was held is in `ready` then."""
        try:
            self.watch.close(error)
            if self.watch.rest is not None:  # the body ends inside a character
                return self._left_to_the_sdk()
        except Exception as ours:
            return self._rescue(ours, b"")
        return None

    def _rescue(self, error: Exception, data: bytes) -> Remainder:
        """An error of ours: nothing that came may be lost by it."""
        self.owner.internal_error(error, "reading a stream")
        try:
            self.watch.leave("internal error")
            return self.watch.undelivered()
        except Exception:
            return list(self.ready), data

    def _tick(self, now: float) -> None:
        """When the first chunk came, and whenever the counters are due."""
        if self._first is None:
            if not self.watch.events:
                return
            self._first = now
        if now > self._due > 0:
            self.owner.telemetry.record(self._recording, self.watch.report())
        self._due = max(now, self._opened) + _RECORD_EVERY

    def _capture(self, data: bytes) -> None:
        self._body = self._body or bytearray()
        self._body += data[: self._captured]
        self._captured = max(self._captured - len(data), 0)

    def _left_to_the_sdk(self) -> Remainder:
        large = len(self.watch.rest or b"") > self.owner.settings.max_event_bytes
        self.watch.leave("event too large" if large else "not UTF-8")
        return self.watch.undelivered()

    # --- the end

    def end(self, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        """Record the stream, once."""
        if self.has_ended:
            return
        self.has_ended = True
        try:
            self._forget_closing()
            self.watch.close(error, abandoned=abandoned)
            report = self.watch.report()
            first = None if self._first is None else self._first - self._opened
            end_ns = time.time_ns() - int((time.perf_counter() - self._last) * 1e9)
            self.owner.telemetry.end(self._recording, report, self._last - self._opened, first, end_ns)
            if self.owner.captures is not None:
                ended = "closed" if abandoned else "cut" if error is not None else "end"
                self.owner.captures.keep(report, self._body or b"", ended, self.owner.version)
            self.owner.ended(self, report)
        except Exception as ours:
            self.owner.internal_error(ours, "recording a stream")
            with contextlib.suppress(Exception):
                self.owner.telemetry.close(self._recording)
                self.owner.ended(self, None)

    def closing(self) -> None:
        """The response is being closed by somebody else than httpx at the end of the body."""
        if not self.in_next:
            self.end(abandoned=True)

    def _notice_closing(self) -> None:
        """Helpers and context managers close the response, not the stream: notice it there."""
        original = getattr(self.response, self._closes, None)
        if original is not None:
            noticing = _noticing if self._closes == "close" else _noticing_async
            with contextlib.suppress(AttributeError):
                setattr(self.response, self._closes, _Closing(noticing, original, weakref.ref(self)))

    def _forget_closing(self) -> None:
        with contextlib.suppress(AttributeError):
            delattr(self.response, self._closes)

    async def stop_reading_ahead(self) -> None:
        """Nobody waits for what the task reads."""
        task, self.read_ahead = self.read_ahead, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def __del__(self) -> None:
        task = self.read_ahead
        if task is not None:
            with contextlib.suppress(Exception):  # the loop may be closed
                task.get_loop().call_soon_threadsafe(task.cancel)
        # Nobody can read on. The collector may have interrupted anything, a lock of OpenTelemetry held
        # by this very thread included: nothing may be recorded from here.
        if not self.has_ended:
            self.owner.collected(self)


class _Closing(functools.partial[Any]):
    """Notices that a response is closed. A copy or a pickle of the response has its own method instead."""

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, self.args[:1]


def _noticing(close: Callable[[], None], reading: weakref.ref[StreamSession]) -> None:
    found = reading()
    if found is not None:
        found.closing()
    close()


async def _noticing_async(aclose: Callable[[], Any], reading: weakref.ref[StreamSession]) -> None:
    found = reading()
    # httpx closes the response when it has read all of it, here in the task that reads ahead.
    if found is not None and not _is_current(found.read_ahead):
        found.closing()
        await found.stop_reading_ahead()
    await aclose()


def _is_current(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task is asyncio.current_task()


class DecoderProxy:
    """Stands where the SDK's own decoder stood; `own` is that one."""

    def __init__(self, reading: StreamSession, own: Any, *, is_stock: bool) -> None:
        self._reading = reading
        self._own = own
        self._is_stock = is_stock

    def __getattr__(self, name: str) -> Any:
        if name == "_own":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._own, name)

    def iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[Any]:
        """The events of a body; a decoder that the client brought is respected, and watched from above."""
        if self._is_stock:
            return Events(self._reading, chunks, self._own.iter_bytes)
        return Events(self._reading, self._own.iter_bytes(chunks), None)

    def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """The same for asynchronous code."""
        if self._is_stock:
            return AsyncEvents(self._reading, chunks, self._own.aiter_bytes)
        return AsyncEvents(self._reading, self._own.aiter_bytes(chunks), None)

    def iter(self, lines: Iterator[str]) -> Iterator[Any]:
        """The same for openai before 1.14, which decodes lines: the bytes are read instead of them."""
        return Events(
            self._reading, self._reading.response.iter_bytes(), lambda chunks: self._own.iter(text_lines(chunks))
        )

    def aiter(self, lines: AsyncIterator[str]) -> AsyncIterator[Any]:
        """The same for asynchronous code, with openai before 1.14."""
        chunks = self._reading.response.aiter_bytes()
        return AsyncEvents(self._reading, chunks, lambda chunks: self._own.aiter(text_alines(chunks)))


class _Source:
    """What both iterators share: where events come from, and what is done when they end."""

    def __init__(self, reading: StreamSession, chunks: Any, decode: Callable[[Any], Any] | None) -> None:
        self._reading = reading
        self._ready: list[Any] = reading.ready  # in order while it is filled, last first while it is emptied
        self._watch = reading.watch
        self._chunks = chunks
        self._decode = decode
        self._receive = reading.receive_event if decode is None else reading.receive
        self._handed_over = False
        self._end: BaseException | None = None

    def _received(self, data: Any) -> None:
        self._reading.in_next = False
        if self._watch.done:
            return  # after [DONE]: read for the connection's sake alone
        if self._handed_over:
            self._ready.append(data)
            return
        remainder = self._receive(data)
        if remainder is not None:
            self._hand_over(remainder)

    def _look_at_last(self, event: Any) -> None:
        """The asynchronous SDK never comes back after [DONE]."""
        if self._watch.done or (self._handed_over and event.data.startswith("[DONE]")):
            self._reading.end()

    def _ended(self, error: BaseException | None, stop: type[BaseException]) -> None:
        """The source has no more; raises unless something is left to be handed on."""
        reading = self._reading
        reading.in_next = False
        if reading.has_ended:
            # Nothing that goes wrong after [DONE] is of interest: a socket left open times out here.
            done = reading.watch.done and isinstance(error, Exception) and not reading.watch.policy.observe
            mute = error is None or done
            self._end = stop() if mute else error
        elif error is not None and not isinstance(error, Exception):
            reading.end(abandoned=True)  # cancelled, interrupted
            self._end = error
        else:
            self._end = error if error is not None else stop()
            remainder = None if self._handed_over else reading.close(error)
            if remainder is not None:
                self._hand_over(remainder)
                if error is None:
                    self._end = None  # the end comes from the SDK's own decoder
                    return
        if not self._ready:
            self._stop()

    def _stop(self) -> None:
        assert self._end is not None  # noqa: S101 -- called when the end was met
        self._reading.end(None if isinstance(self._end, (StopIteration, StopAsyncIteration)) else self._end)
        raise self._end

    def _hand_over(self, remainder: Remainder) -> None:
        """From here on the stream is the SDK's own affair."""
        events, rest = remainder
        self._ready.clear()
        self._ready.extend(events)
        self._handed_over = True
        if self._decode is not None:
            self._chunks = self._decode(self._chained(rest, self._chunks))

    def _chained(self, rest: bytes, chunks: Any) -> Any:
        raise NotImplementedError


class Events(_Source):
    """The events of one stream, for synchronous code."""

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Any:
        ready = self._ready
        if not ready:
            while not ready:
                if self._end is not None:
                    self._stop()
                self._reading.in_next = True  # httpx closes the response itself when it has read all of it
                try:
                    data = next(self._chunks)
                except StopIteration:
                    self._ended(None, StopIteration)
                except BaseException as error:
                    self._ended(error, StopIteration)
                else:
                    self._received(data)
            ready.reverse()
        event = ready.pop()
        if not ready:
            self._look_at_last(event)
        return event

    def _chained(self, rest: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        if rest:
            yield rest
        yield from chunks


class AsyncEvents(_Source):
    """The events of one stream, for asynchronous code."""

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> Any:
        ready = self._ready
        if not ready:
            while not ready:
                if self._end is not None:
                    self._stop()
                reading = self._reading
                reading.in_next = True
                try:
                    if not self._watch.holding and reading.read_ahead is None:
                        data = await self._chunks.__anext__()
                    else:
                        data = await self._next_in_time()
                except StopAsyncIteration:
                    self._ended(None, StopAsyncIteration)
                except BaseException as error:
                    self._ended(error, StopAsyncIteration)
                else:
                    if data is not None:
                        self._received(data)
            ready.reverse()
        event = ready.pop()
        if not ready:
            self._look_at_last(event)
        return event

    async def _next_in_time(self) -> Any:
        """The next bytes, or None when the window of what is held has passed without any."""
        reading = self._reading
        seconds = None if self._handed_over else reading.seconds_left()
        if isinstance(seconds, tuple):
            self._hand_over(seconds)
            return None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # not asyncio: the window is looked at when bytes come
            return await self._chunks.__anext__()
        if reading.read_ahead is None:
            reading.read_ahead = loop.create_task(_next_of(self._chunks))
            reading.read_ahead.add_done_callback(_look_at)
        try:
            done, _ = await asyncio.wait({reading.read_ahead}, timeout=seconds)
        except BaseException:
            await reading.stop_reading_ahead()
            raise
        if not done:
            reading.in_next = False
            remainder = reading.expire()
            if remainder is not None:
                self._hand_over(remainder)
            return None
        task, reading.read_ahead = reading.read_ahead, None
        return task.result()

    def _hand_over(self, remainder: Remainder) -> None:
        task, self._reading.read_ahead = self._reading.read_ahead, None
        if task is not None:
            self._chunks = _after(task, self._chunks)
        super()._hand_over(remainder)

    async def _chained(self, rest: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if rest:
            yield rest
        async for data in chunks:
            yield data


async def _next_of(chunks: Any) -> Any:
    return await chunks.__anext__()


async def _after(task: asyncio.Task[Any], chunks: Any) -> AsyncIterator[Any]:
    """What a task is reading already, then the rest."""
    try:
        data = await task
    except StopAsyncIteration:
        return
    yield data
    async for data in chunks:
        yield data


def _look_at(task: asyncio.Task[Any]) -> None:
    # asyncio complains of exceptions that nobody looks at, and the consumer may have left.
    if not task.cancelled():
        task.exception()
