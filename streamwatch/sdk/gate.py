"""A gate before the network, through which asynchronous code reads a body while events are held.

How it works. A read of the body goes down through the generators of httpx and httpcore to `read` of the network stream.
While events are held the reader drives that way itself, step by step, and `read` is replaced for the time of each step:
the replacement first yields a mark up the way, which stops at the gate, before the HTTP library has started its own
timer. Everything else that is yielded goes to the event loop as it is, so that futures and cancellation stay native. At
the gate the reader waits for the socket or for its own timer. If the time is over it leaves with what was held, and the
read stays suspended until the next one goes on with it. Nothing that is being awaited is cancelled or moved.

Most reads never get so far: with nothing buffered, the reader waits before it enters the way at all. So a read is left
suspended only where a server stops inside a chunk, or inside a compressed block.
"""

from __future__ import annotations

import contextlib
import time
import types
from collections.abc import Callable, Generator
from typing import Any

from streamwatch.sdk.interruption import is_interruption
from streamwatch.sdk.lines import AsyncLine

_AT_GATE: Any = object()
#: The gates at which a read is suspended. A generator that is collected in the middle of a read can't be closed, so all
#: below the gate is kept until its reader is gone, and the read has come to its end.
_SUSPENDED: set[Gate] = set()


class Left(BaseException):
    """The exception that is thrown into a read suspended at the gate, when nobody will read on."""


@types.coroutine
def _stop_at_gate() -> Generator[Any, Any, None]:
    yield _AT_GATE


class Gate:
    """The chunks of a body: as they come, or within a time."""

    def __init__(self, chunks: Any, line: Any, failed: Callable[[BaseException, str], None]) -> None:
        self._chunks = chunks
        self._line: AsyncLine = line
        self._failed = failed
        self._read: Any = None  # on its way; suspended at the gate whenever it is not being driven
        self._kept: Any = None  # came while an exception was on its way to the reader
        self._open = False
        self._in_use = False

    def __aiter__(self) -> Gate:
        return self

    async def __anext__(self) -> Any:
        """Return the next bytes, however long they take."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        if self._read is None:
            return await self._chunks.__anext__()
        self._in_use = True
        try:
            return await self._drive(gated=False)
        finally:
            self._in_use = False

    async def within(self, seconds: float, *, enter: bool) -> Any:
        """Return the next bytes, or None if none came in time. Raises what reading raises.

        `enter` says that the read may find bytes above the connection, so that it has to be begun before anything is
        waited for.
        """
        if self._kept is not None:
            return await self.__anext__()
        end = time.perf_counter() + seconds
        self._in_use = True
        try:
            data = _AT_GATE
            if self._read is None and enter:
                data = await self._drive()
            while data is _AT_GATE:
                if not await self._wait(end - time.perf_counter()):
                    if self._read is not None:
                        _SUSPENDED.add(self)
                    return None
                self._open = True
                data = await self._drive()
        finally:
            self._in_use = self._open = False
        return data

    async def leave(self) -> None:
        """Let a read that is suspended come to its end: the response is being closed."""
        if self._in_use or self._read is None:
            return
        self._in_use = True
        try:
            await self._drive(Left(), gated=False)
        except Left:
            pass
        except Exception as error:
            if is_interruption(error):
                raise
        finally:
            self._in_use = False

    def wake(self) -> None:
        """Let the reader look again: the response was closed from elsewhere."""
        if self._in_use:
            self._line.wake()

    async def _wait(self, seconds: float) -> bool:
        try:
            return await self._line.wait(max(seconds, 0.0))
        except GeneratorExit:
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            self._failed(error, "waiting for bytes")
            return False
        except BaseException as error:
            # Cancelled: the HTTP library sees that where it would without Streamwatch, and closes the connection.
            self._kept = await self._drive(error)
            raise

    @types.coroutine
    def _drive(self, error: BaseException | None = None, *, gated: bool = True) -> Generator[Any, Any, Any]:
        """Go on with the read up to its end, or to the gate; `error` is raised there."""
        value: Any = None
        thrown: BaseException | None = None
        if self._read is None:
            self._read = self._chunks.__anext__().__await__()
        else:
            thrown, error = error, None
        while True:
            try:
                passed = self._step(value, thrown, gated=gated)
            except StopIteration as end:
                self._end()
                return end.value
            except BaseException:
                self._end()
                raise
            value = thrown = None
            if passed is not _AT_GATE:
                try:
                    value = yield passed
                except BaseException as raised:
                    thrown = raised
            elif error is None:
                return _AT_GATE
            else:
                thrown, error = error, None

    def _step(self, value: Any, thrown: BaseException | None, *, gated: bool) -> Any:
        """Drive the read one step, the gate standing in its way only as long as that takes."""
        network = self._line.network
        if gated:
            network.read = self._read_through_gate
        try:
            return self._read.send(value) if thrown is None else self._read.throw(thrown)
        finally:
            with contextlib.suppress(AttributeError):
                del network.read

    async def _read_through_gate(self, *args: Any, **kwargs: Any) -> Any:
        if not self._open:
            await _stop_at_gate()
        self._open = False
        network = self._line.network
        return await type(network).read(network, *args, **kwargs)

    def _end(self) -> None:
        self._read = None
        _SUSPENDED.discard(self)

    def abandon(self) -> None:
        """Let a suspended read come to its end in its own loop: its reader was collected as garbage."""
        if self._read is not None:
            try:
                self._line.later(self.leave)
            except Exception:  # the loop is closed
                _SUSPENDED.discard(self)
