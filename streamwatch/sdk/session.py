"""A stream of the SDK being read: bytes from the response to the core, events from it to the SDK."""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Container, Iterator
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

from streamwatch.core.report import Report
from streamwatch.core.sse import Event
from streamwatch.sdk.chunk_builder import constructs_as_known
from streamwatch.sdk.gate import Gate
from streamwatch.sdk.interruption import is_interruption
from streamwatch.sdk.iterators import STEPS, AsyncEvents, Events
from streamwatch.sdk.legacy_lines import text_alines, text_lines
from streamwatch.sdk.lines import SyncLine
from streamwatch.sdk.observed_stream import ObservedStream, Owner
from streamwatch.sdk.raw_streams import uncover
from streamwatch.sdk.request_info import describe, sent_at
from streamwatch.sdk.resuming import Resuming, resuming_of
from streamwatch.sdk.waiting import Step, Waiting

#: Frames between the closing of a response and the step of the reader that reads it: httpx and httpcore need about ten,
#: a transport around them a few more.
_MAX_FRAMES = 60

#: What is left when a session cannot go on: events that came, then bytes. The SDK decodes it.
Remainder = tuple[list[Event], bytes]


class StreamSession(ObservedStream):
    """One stream being read: its watch, its span, and its end, which comes once, from wherever it comes.

    The end is, whichever is first: [DONE], the end of the body, an exception, the closing of the
    response by the consumer, the stream's collection as garbage, or the exit of the process.
    """

    busy = False  #: before the next read something is to be done: events are held, or not worked through
    waiting: Waiting | None = None  #: what may be waited for, once something was held
    gate: Gate | None = None  #: through which is read then, in asynchronous code
    begun = False  #: the body is read through the session
    resuming: Resuming | None = None  #: what a cut body is read on with, where that is asked for
    closed_elsewhere = False  #: by another task or thread, while the reader was waiting
    enters = False  #: the next read may find bytes above the socket
    _left = 0.0  # since when the reader is at work on what it got, while events are held
    _size = 0  # of the last read

    def __init__(self, stream: Any, owner: Owner) -> None:
        self.response = stream.response
        uncover(self.response)  # its body is this stream's
        self._closes = "aclose" if hasattr(stream, "__anext__") else "close"
        opened = sent_at(self.response)
        api, request, call = describe(stream, owner.version, owner.loads)
        super().__init__(owner, call)
        self._event_type = owner.event_type_of(stream)
        self._body: bytearray | None = None
        self._captured = owner.captures.max_bytes if owner.captures is not None else 0
        resuming, loads = resuming_of(stream, request, owner.settings, owner.loads), None
        if resuming is not None:  # most streams hold nothing for it
            self.resuming, self.added, loads = resuming, resuming.results, resuming.point
        self._open(api, request, opened, self._event_type, loads=loads)
        self.ready = self.watch.ready
        self._notice_closing()
        owner.opened(self)

    @property
    def source(self) -> object:
        return self.response

    # --- what comes

    def receive(self, data: bytes) -> Remainder | None:
        """Take bytes off the wire."""
        watch = self.watch
        watch.unfed = data  # known to `undelivered`, whatever fails
        try:
            self._last = now = perf_counter()
            self._waiting += (wait := now - self.asked)
            if wait > self.longest_gap or self.busy:
                self._waited(wait)
            if self._captured:
                self._capture(data)
            readable = watch.take(data)
            if watch.holding or watch.behind:
                self.busy, self._size, self._left = True, len(data), perf_counter()
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
            self._last = now = perf_counter()
            self._waiting += now - self.asked
            self._waited(now - self.asked)
            raw = event.data.encode("utf-8", "surrogatepass")
            self.watch.receive_event(self._event_type(event.data, raw, event.event, event.id, event.retry))
            self.busy = self.watch.holding
            if now > self._due:
                self._tick(now)
        except Exception as error:
            events, _ = self._rescue(error, b"")
            return [*(kept for kept in events if kept.data != event.data), event], b""
        return None

    def before_read(self, chunks: Any, *, blocks: bool) -> Step | Remainder:
        """Return what to do next, while `busy`. `chunks` is what is read, `blocks` whether that blocks this thread."""
        try:
            if self._left:
                self.watch.postpone(self.asked - self._left)
                self._left = 0.0
            if self.watch.behind:
                self.watch.more()
                return Step.AGAIN
            self.busy = self.watch.holding
            if not self.busy:
                return Step.READ
            if self.waiting is None:
                self.waiting = Waiting(self._read_now, chunks, self.owner.blocking)
            step = self.waiting.step(self._size, blocks=blocks)
            if step is None:
                self.watch.let_go()  # nothing could wake the reader once it waits for bytes
                self.busy = False
                return Step.AGAIN
            self.enters = step is Step.READ_IN_TIME and self.waiting.enters(self._size)
        except Exception as error:
            return self._rescue(error, b"")
        return step

    def seconds_left(self) -> float:
        """Return how long more bytes may be waited for: never longer than the application itself would."""
        deadline = self.watch.deadline
        if deadline is None or self.waiting is None:
            return 0.0
        return max(min(deadline - perf_counter(), self.waiting.timeout), 0.0)

    def wait(self) -> Step | Remainder:
        """Wait for bytes, blocking this thread, and return whether to read them."""
        try:
            line = self.waiting.line if self.waiting is not None else None
            if self.enters or not isinstance(line, SyncLine) or line.wait(self.seconds_left()):
                return Step.READ
        except Exception as error:
            return self._rescue(error, b"")
        return self.time_is_over()

    def time_is_over(self) -> Step | Remainder:
        """Hand on what was waited for in vain."""
        try:
            deadline, now = self.watch.deadline, perf_counter()
            self._waiting += now - self.asked
            if deadline is not None and deadline <= now:
                self.watch.expire()
            else:
                self.watch.let_go()
            self.busy = self.watch.holding
            self._left = perf_counter() if self.busy else 0.0
        except Exception as error:
            return self._rescue(error, b"")
        return Step.AGAIN

    def _waited(self, seconds: float) -> None:
        """Take note also of reads that held events waited for."""
        super()._waited(seconds)
        if self.waiting is not None and self.busy:
            self.waiting.took(seconds, self.owner.settings.window_seconds)

    def close(self, error: BaseException | None) -> Remainder | None:
        """Take the end of the body, or its failure; what was held is in `ready` then."""
        try:
            self._note_end()
            self.watch.close(error)
            if self.watch.rest is not None:  # the body ends inside a character
                return self._left_to_the_sdk()
        except Exception as ours:
            return self._rescue(ours, b"")
        return None

    # --- a body that is read on

    @property
    def _read_now(self) -> Any:
        """The response that is read now."""
        return self.response if self.resuming is None else self.resuming.answer or self.response

    def can_go_on(self, error: BaseException | None) -> bool:
        """Return whether a body that ended is read on, by a further request; what is held goes on before that."""
        resuming = self.resuming
        if resuming is None or self.has_ended or self.watch.done or not resuming.is_possible(error):
            return False
        try:
            self.watch.let_go()
            self.busy = self.watch.holding
        except Exception as ours:
            self.could_not_go_on(ours)
            return False
        return True

    def goes_on(self) -> None:
        """Take note that what is read next follows what was read."""
        torn = self.watch.read_on()
        if self._body and self._captured and torn:
            del self._body[-torn:]
        self.waiting = None

    def could_not_go_on(self, error: BaseException) -> None:
        """Take note of an error of Streamwatch; raises one that was raised into its code."""
        self.owner.internal_error(error, "reading a response on")

    def _rescue(self, error: Exception, data: bytes) -> Remainder:
        """Return what an error of Streamwatch must not lose."""
        self.owner.internal_error(error, "reading a stream")
        try:
            self.watch.leave("internal error", failed=True)
            return self.watch.undelivered()
        except Exception as second:
            if is_interruption(second):
                raise
            return list(self.ready), data

    def _capture(self, data: bytes) -> None:
        self._body = self._body or bytearray()
        self._body += data[: self._captured]
        self._captured = max(self._captured - len(data), 0)

    def _left_to_the_sdk(self) -> Remainder:
        self._leave_unreadable()
        return self.watch.undelivered()

    # --- the end

    def _close(self, error: BaseException | None, *, abandoned: bool) -> Report | None:
        self._forget_closing()
        if not self.begun and self._is_read_elsewhere():
            return None
        report = super()._close(error, abandoned=abandoned)
        if report is not None and self.owner.captures is not None:
            ended = "closed" if abandoned else "cut" if error is not None else "end"
            self.owner.captures.keep(report, self._body or b"", ended, self.owner.version)
        return report

    @property
    def built_as(self) -> type | None:
        """What the SDK is to cast to, where its objects are built here."""
        return getattr(self._event_type, "built_as", None)

    def expect_cast(self) -> None:
        """Take note that the SDK casts what comes to `built_as`, which takes objects that are ready as well."""
        try:
            self.watch.make_of(self._event_type.cast)  # type: ignore[attr-defined] # the same classes have both
        except Exception as error:
            self.owner.internal_error(error, "reading a stream")

    def begin(self) -> None:
        """Note that the body is read through the session from here on, if nobody has read it already."""
        self.begun = not getattr(self.response, "is_stream_consumed", False) or hasattr(self.response, "_content")
        if self.begun and not self.owner.is_current(self):
            self.owner.opened(self)

    def _is_read_elsewhere(self) -> bool:
        """Return whether a stream that was not read here is not abandoned, but read elsewhere or below."""
        if not self.owner.is_current(self):
            return True
        if getattr(self.response, "is_stream_consumed", False):
            self.owner.telemetry.unobserved(self.call)
            return True
        return False

    def closing(self) -> None:
        """Take note that the response is being closed: by httpx itself at the end of the body, or by the consumer."""
        if not self.asked:
            self.end(abandoned=True)
        elif not self._is_below_reader():
            self.closed_elsewhere = True  # in another task or thread: the reader gets what is held, and an exception

    def _is_below_reader(self) -> bool:
        """Return whether the code that runs was called by the reader's own step."""
        frame: FrameType | None = sys._getframe(1)
        for _ in range(_MAX_FRAMES):
            if frame is None:
                break
            if frame.f_code in STEPS and frame.f_locals["self"].session is self:
                return True
            frame = frame.f_back
        return False

    def _notice_closing(self) -> None:
        """Notice the closing of the response: helpers and context managers close that, not the stream."""
        original = getattr(self.response, self._closes, None)
        if original is not None:
            noticing = _noticing if self._closes == "close" else _noticing_async
            with contextlib.suppress(AttributeError):
                setattr(self.response, self._closes, _Closing(noticing, original, weakref.ref(self)))

    def _forget_closing(self) -> None:
        if self._read_now is not self.response:
            return  # another one is to be closed with it
        with contextlib.suppress(AttributeError):
            delattr(self.response, self._closes)


class _Closing(functools.partial[Any]):
    """A `close` that notices the end of a response. A copy or a pickle of the response has its own method instead."""

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, self.args[:1]


def _noticing(close: Callable[[], None], session: weakref.ref[StreamSession]) -> None:
    found = session()
    if found is not None:
        found.closing()
    close()
    if found is not None and found.resuming is not None:
        found.resuming.close()


async def _noticing_async(aclose: Callable[[], Any], session: weakref.ref[StreamSession]) -> None:
    found = session()
    if found is None:
        await aclose()
        return
    found.closing()
    gate = found.gate
    if gate is not None:
        await gate.leave()
    await aclose()
    if gate is not None:
        gate.wake()
    if found.resuming is not None:
        await found.resuming.aclose()


class CastTo:
    """A stand-in for a stream's `_cast_to`, which stays what it is for everybody but the SDK's own loop.

    The loop asks of every object whether it is what it is cast to; of an event of the Responses API up to 50 classes.
    What was built after a template is of the right class, and the loop gets to know.

    Args:
        loops: the code of the SDK that makes chunks of events.
    """

    def __init__(self, loops: Container[CodeType]) -> None:
        self._loops = loops

    def __get__(self, stream: Any, _owner: type | None = None) -> Any:
        if stream is None:
            return self
        members = vars(stream)
        if "_cast_to" not in members:
            msg = f"{type(stream).__name__!r} object has no attribute '_cast_to'"
            raise AttributeError(msg)
        cast_to, decoder = members["_cast_to"], members.get("_decoder")
        if type(decoder) is DecoderProxy and sys._getframe(1).f_code in self._loops:
            built_as = decoder.built_as
            if built_as is not None and constructs_as_known(stream, cast_to):
                decoder.expect_cast()
                return built_as
        return cast_to

    def __set__(self, stream: Any, cast_to: Any) -> None:
        vars(stream)["_cast_to"] = cast_to

    def __delete__(self, stream: Any) -> None:
        del vars(stream)["_cast_to"]


class DecoderProxy:
    """A stand-in for the SDK's own decoder; `own` is that one."""

    __slots__ = ("_is_stock", "_own", "_session")

    def __init__(self, session: StreamSession, own: Any, *, is_stock: bool) -> None:
        self._session = session
        self._own = own
        self._is_stock = is_stock

    def __getattr__(self, name: str) -> Any:
        if name == "_own":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._own, name)

    @property
    def built_as(self) -> type | None:
        """What the SDK is to cast to where objects are built for it; None with a decoder that the client brought."""
        return self._session.built_as if self._is_stock else None

    def expect_cast(self) -> None:
        """Take note that the SDK casts what comes to `built_as`."""
        self._session.expect_cast()

    def iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[Any]:
        """Return the events of a body; a decoder that the client brought is respected, and watched from above."""
        self._session.begin()
        if self._is_stock:
            return Events(self._session, chunks, self._own.iter_bytes)
        return Events(self._session, self._own.iter_bytes(chunks), None)

    def aiter_bytes(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Return the events of a body, for asynchronous code."""
        self._session.begin()
        if self._is_stock:
            return AsyncEvents(self._session, chunks, self._own.aiter_bytes)
        return AsyncEvents(self._session, self._own.aiter_bytes(chunks), None)

    def iter(self, lines: Iterator[str]) -> Iterator[Any]:
        """Return the events for openai before 1.14, which decodes lines: the bytes are read instead of them."""
        self._session.begin()
        return Events(
            self._session, self._session.response.iter_bytes(), lambda chunks: self._own.iter(text_lines(chunks))
        )

    def aiter(self, lines: AsyncIterator[str]) -> AsyncIterator[Any]:
        """Return the events for asynchronous code with openai before 1.14."""
        self._session.begin()
        chunks = self._session.response.aiter_bytes()
        return AsyncEvents(self._session, chunks, lambda chunks: self._own.aiter(text_alines(chunks)))
