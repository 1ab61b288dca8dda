"""The iterators that the SDK reads in place of its own decoder: the events of one stream.

Both iterators, for synchronous and asynchronous code, are classes and not generators. The
asynchronous SDK stops at [DONE] and leaves what it iterates over suspended: of 596 streams read to
their end, a generator reported 181 as cancelled.

Each read happens in the reader's own task, thread and context, and nothing that is being awaited is
cancelled or moved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from streamwatch.sdk.gate import Gate
from streamwatch.sdk.interruption import is_interruption
from streamwatch.sdk.waiting import Step

if TYPE_CHECKING:
    from streamwatch.sdk.session import Remainder, StreamSession


class Source:
    """The base of both iterators: where events come from, and what is done when they end."""

    __slots__ = (
        *("__weakref__", "_body", "_chunks", "_decode", "_end", "_handed_over", "_ready", "_receive", "_watch"),
        "session",
    )

    _blocks: bool  #: whether a read blocks its thread

    def __init__(self, session: StreamSession, chunks: Any, decode: Callable[[Any], Any] | None) -> None:
        self.session = session
        self._ready: list[Any] = session.ready  # in order while it is filled, last first while it is emptied
        self._watch = session.watch
        self._chunks = chunks
        self._decode = decode
        self._receive = session.receive_event if decode is None else session.receive
        self._handed_over = False
        self._end: BaseException | None = None
        self._body = chunks if decode is not None else None  # where nothing of the client's own is between

    def _pass_on(self, data: Any) -> None:
        """Take what was read when the stream is over, or left to the SDK; None if nothing came in time."""
        if data is not None and not self._watch.done:  # after [DONE] a body is read for the connection's sake alone
            self._ready.append(data)

    def _before_read(self) -> Step:
        """Return what to do next, while events are held or not worked through."""
        return self._known(self.session.before_read(self._body, blocks=self._blocks))

    def _known(self, step: Step | Remainder) -> Step:
        if isinstance(step, tuple):
            self._hand_over(step)
            return Step.AGAIN
        return step

    def _look_at_last(self, event: Any) -> None:
        """Take note of the end: the asynchronous SDK never comes back after [DONE]."""
        if self._watch.done or event.data.startswith("[DONE]"):
            self.session.end()

    def _ended(self, error: BaseException | None, stop: type[BaseException]) -> None:
        """Take the end of the source; raises unless something is left to be handed on."""
        resuming = self.session.resuming
        if resuming is None:
            self._take_end(error, stop)
            if not (self._ready or self._end is None):
                self._stop()
        elif not self._goes_on(error):
            # Raised in the next step: what ended first must not be raised while another exception is handled.
            self._take_end(resuming.as_it_ended_first(error), stop)

    def _take_end(self, error: BaseException | None, stop: type[BaseException]) -> None:
        session = self.session
        if session.has_ended:
            self._end = stop() if error is None or self._is_of_no_interest(error) else error
        elif error is not None and self._has_left(error):
            self._left(error)
        else:
            self._end = error if error is not None else stop()
            remainder = None if self._handed_over else session.close(error)
            if remainder is not None:
                self._hand_over(remainder)
                self._end = error  # without one, the end comes from the SDK's own decoder

    def _goes_on(self, error: BaseException | None) -> bool:
        """Return whether another answer is read in place of a body that ended."""
        session = self.session
        if self._decode is None or self._handed_over or (error is not None and self._has_left(error)):
            return False
        if session.closed_elsewhere or not session.can_go_on(error):
            return False
        self._chunks = self._read_on()
        return True

    def _read_on(self) -> Any:
        raise NotImplementedError

    def _left(self, error: BaseException) -> None:
        session = self.session
        if session.closed_elsewhere and not self._handed_over:
            self._known(session.time_is_over())
        session.end(abandoned=True)
        self._end = error

    def _is_of_no_interest(self, error: BaseException) -> bool:
        """Return whether something went wrong after [DONE]: a socket left open times out then."""
        watch = self.session.watch
        return watch.done and isinstance(error, Exception) and not watch.policy.observe

    def _has_left(self, error: BaseException) -> bool:
        """Return whether it was the consumer who ended the stream: cancelled, interrupted, or closed from elsewhere."""
        return self.session.closed_elsewhere or not isinstance(error, Exception) or is_interruption(error)

    def _stop(self) -> None:
        assert self._end is not None  # noqa: S101 -- called when the end was met
        self.session.end(None if isinstance(self._end, (StopIteration, StopAsyncIteration)) else self._end)
        raise self._end

    def _hand_over(self, remainder: Remainder) -> None:
        """Leave the stream to the SDK from here on."""
        events, rest = remainder
        self._ready.clear()
        self._ready.extend(events)
        self._handed_over = True
        self.session.busy = False
        if self._decode is not None:
            self._chunks = self._decode(self._chained(rest, self._chunks))

    def _chained(self, rest: bytes, chunks: Any) -> Any:
        raise NotImplementedError


class Events(Source):
    """The events of one stream, for synchronous code."""

    __slots__ = ()

    _blocks = True

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Any:
        """Return the next event. In one piece: every chunk passes here, and no inner frame outlives an exception."""
        ready = self._ready
        if not ready:
            session = self.session
            try:
                while not ready:
                    if self._end is not None:
                        self._stop()
                    session.asked = perf_counter()
                    if session.busy and self._before_read() is Step.AGAIN:
                        continue
                    try:
                        data = next(self._chunks)
                    except StopIteration:
                        self._ended(None, StopIteration)
                    except BaseException as error:
                        self._ended(error, StopIteration)
                    else:
                        if self._handed_over or self._watch.done:
                            self._pass_on(data)
                        elif (remainder := self._receive(data)) is not None:
                            self._hand_over(remainder)
            finally:
                session.asked = 0.0
            ready.reverse()
        event = ready.pop()
        if not ready and (self._watch.done or self._handed_over):
            self._look_at_last(event)
        return event

    def _before_read(self) -> Step:
        step = super()._before_read()
        return self._known(self.session.wait()) if step is Step.READ_IN_TIME else step

    def _read_on(self) -> Iterator[bytes]:
        assert self.session.resuming is not None  # noqa: S101 -- it says that one may
        return self.session.resuming.chunks(self.session)

    def _chained(self, rest: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        if rest:
            yield rest
        yield from chunks


class AsyncEvents(Source):
    """The events of one stream, for asynchronous code."""

    __slots__ = ()

    _blocks = False

    def __aiter__(self) -> AsyncEvents:
        return self

    async def __anext__(self) -> Any:
        """Return the next event. In one piece: every chunk passes here, and no inner frame outlives an exception."""
        ready = self._ready
        if not ready:
            session = self.session
            try:
                while not ready:
                    if self._end is not None:
                        self._stop()
                    session.asked = perf_counter()
                    step = self._before_read() if session.busy else Step.READ
                    if step is Step.AGAIN:
                        continue
                    try:
                        data = await (self._chunks.__anext__() if step is Step.READ else self._in_time())
                    except StopAsyncIteration:
                        self._ended(None, StopAsyncIteration)
                    except BaseException as error:
                        self._ended(error, StopAsyncIteration)
                    else:
                        if data is None or self._handed_over or self._watch.done:
                            self._pass_on(data)
                        elif (remainder := self._receive(data)) is not None:
                            self._hand_over(remainder)
            finally:
                session.asked = 0.0
            ready.reverse()
        event = ready.pop()
        if not ready and (self._watch.done or self._handed_over):
            self._look_at_last(event)
        return event

    async def _in_time(self) -> Any:
        """Return the next bytes, or None if the time of what is held is over."""
        session = self.session
        if session.gate is None:
            assert session.waiting is not None  # noqa: S101 -- it says that we may wait
            session.gate = self._chunks = Gate(self._chunks, session.waiting.line, session.owner.internal_error)
        data = await session.gate.within(session.seconds_left(), enter=session.enters)
        if data is None:
            self._known(session.time_is_over())
        return data

    def __del__(self) -> None:
        # Older releases of the SDK leave a response to the garbage collector without closing it.
        gate = self.session.gate
        if gate is not None:
            gate.abandon()

    def _read_on(self) -> AsyncIterator[bytes]:
        assert self.session.resuming is not None  # noqa: S101 -- it says that one may
        return self.session.resuming.achunks(self.session)

    async def _chained(self, rest: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if rest:
            yield rest
        async for data in chunks:
            yield data


#: The code of one step of a reader.
STEPS = (Events.__next__.__code__, AsyncEvents.__anext__.__code__)
