"""The common base of every watched stream, whatever it comes over: its watch, its span, its times, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from streamwatch.core.patience import PatienceByServer
from streamwatch.core.report import Report, Request, Times
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Resumed, StreamState
from streamwatch.export.capture import Captures
from streamwatch.export.open_streams import OpenStream
from streamwatch.export.request import RequestInfo
from streamwatch.export.telemetry import Telemetry
from streamwatch.sdk.interruption import unless_interrupted
from streamwatch.sdk.usage import UsageReader

#: Seconds between two recordings of a stream that goes on: a scrape interval or less.
_RECORD_EVERY = 10.0
#: Seconds up to which a wait between two reads is not a gap.
_NO_GAP = 0.01


class Owner(Protocol):
    """The part of the agent that a stream needs."""

    settings: Settings
    patience: PatienceByServer
    telemetry: Telemetry
    loads: Callable[[bytes], Any]
    version: str
    captures: Captures | None
    blocking: set[type]  #: types of bodies that look as if they were in memory, and whose reads block

    def event_type_of(self, stream: Any) -> type[Event]:
        """Return what the events of a stream are made as."""

    def opened(self, stream: ObservedStream) -> None:
        """Count a stream that was opened."""

    def is_current(self, stream: ObservedStream) -> bool:
        """Return whether no other stream was made of the same response since."""

    def ended(self, stream: ObservedStream, report: Report | None) -> None:
        """Record a stream that has ended; `report` is None if that failed, or it is another's to count."""

    def is_silent(self, stream: ObservedStream, state: StreamState, seconds: float) -> None:
        """Nothing came of a stream for longer than the threshold, while its reader waited."""

    def collected(self, stream: ObservedStream) -> None:
        """Record a stream that was collected as garbage before its end."""

    def internal_error(self, error: BaseException, doing: str) -> None:
        """Count and log an error of Streamwatch; raise one that was raised into its code."""


class ObservedStream:
    """One stream, from its opening to its end, which is recorded once."""

    has_ended = True  #: nothing to end, unless all of `_open` succeeds
    asked = 0.0  #: since when the reader waits for bytes; 0 while it does not
    longest_gap = _NO_GAP  #: seconds of the longest read after the first chunk, as the reader had to wait for it
    added: Sequence[Resumed] = ()  #: what came of each request that was added to read the stream on
    told: tuple[StreamState, ...] = ()  #: the states beyond the threshold that the log has reported
    _over = _silence = 0.0  # when the end was met, and for how many seconds the reader had waited then

    def __init__(self, owner: Owner, call: RequestInfo) -> None:
        self.owner = owner
        self.call = call

    @property
    def source(self) -> object:
        """Return what is read: by its identity the stream is known."""
        return self

    def _open(
        self,
        api: str,
        request: Request,
        opened: float,
        event_type: type[Event],
        settings: Settings | None = None,
        loads: Callable[[bytes], Any] | None = None,
    ) -> None:
        """Begin to record a stream that was asked for at `opened`, on the clock `time.perf_counter`.

        `settings` and `loads` stand in for the owner's.
        """
        owner = self.owner
        loads = loads or owner.loads
        reader = UsageReader(loads) if owner.telemetry.wants_usage else None
        self.watch = StreamWatch(
            api,
            request,
            settings or owner.settings,
            loads=reader or loads,
            clock=perf_counter,
            event_type=event_type,
            patience=owner.patience.of(self.call.address, request.model),
        )
        self._opened = opened
        self._last = perf_counter()  # when something came
        self._waiting = self._last - opened  # for the server, up to now
        self._due = 0.0  # when to look at the clock in earnest: at once, until the first chunk came
        self._first: float | None = None
        opened_ns = time.time_ns() - int((perf_counter() - opened) * 1e9)
        self._recording = owner.telemetry.open(self.call, opened_ns, reader.usage if reader else None)
        self.has_ended = False

    def _waited(self, seconds: float) -> None:
        """Take note of how long the reader waited for a read that was the longest."""
        if seconds > self.longest_gap and self._first is not None:  # a model may think as long as it likes before
            self.longest_gap = seconds
            self.watch.waited(seconds)
            if seconds > self.owner.settings.stall_seconds:
                self.owner.is_silent(self, StreamState.SILENT, seconds)

    def _leave_unreadable(self) -> None:
        """Watch no further: the decoder cannot read on."""
        large = len(self.watch.rest or b"") > self.owner.settings.max_event_bytes
        self.watch.leave("event too large" if large else "not UTF-8")

    def waits_no_longer(self) -> None:
        """Take note that the reader gave up waiting: from here on the server is not silent."""
        asked, self.asked = self.asked, 0.0
        if asked:
            self._waiting += (wait := perf_counter() - asked)
            self._waited(wait)

    def _tick(self, now: float) -> None:
        """Note the time of the first chunk, and report whenever the counters are due."""
        if self._first is None:
            if not self.watch.events:
                return
            self._first = now
        if now > self._due > 0:
            self.owner.telemetry.record(self._recording, self.watch.report())
        self._due = max(now, self._opened) + _RECORD_EVERY

    def end(self, error: BaseException | None = None, *, abandoned: bool = False) -> None:
        """Record the stream, once."""
        if self.has_ended:
            return
        self.has_ended = True
        try:
            report = self._close(error, abandoned=abandoned)
            self.owner.ended(self, report)
        except Exception as ours:
            self.owner.internal_error(ours, "recording a stream")
            with unless_interrupted():
                self.owner.telemetry.close(self._recording)
            with unless_interrupted():
                self.owner.ended(self, None)

    def _close(self, error: BaseException | None, *, abandoned: bool) -> Report | None:
        """Close the watch and the span, and return the report; None for a stream that is not ours to count."""
        self._note_end()
        self.watch.close(error, abandoned=abandoned)
        report = self.described(self.watch.report(self._times(), self.added))
        end_ns = time.time_ns() - int((perf_counter() - self._over) * 1e9)
        self.owner.telemetry.end(self._recording, report, end_ns)
        return report

    def described(self, report: Report) -> Report:
        """Return the report of the stream with what only its transport knows."""
        return report

    def _note_end(self) -> None:
        """Take note of when the end was met, and of how long the reader had waited for it."""
        if self._over:
            return
        self._over = now = perf_counter()
        if self.asked:
            self._silence = wait = max(now - self.asked, 0.0)
            self._waiting += wait
            self._waited(wait)

    def _times(self) -> Times:
        """Return how the time of the stream was spent."""
        first = None if self._first is None else self._first - self._opened
        gap = self.longest_gap if self.longest_gap > _NO_GAP else 0.0
        return Times(self._over - self._opened, self._waiting, gap, self._silence, first)

    def look(self) -> OpenStream:
        """Return what the stream is doing now; called from the thread that collects the metrics."""
        now, asked, begun = perf_counter(), self.asked, self._first is not None
        waiting = max(now - asked, 0.0) if asked else 0.0
        if not asked:
            state = StreamState.READING
        elif waiting > self.owner.settings.stall_seconds:
            state = StreamState.SILENT if begun else StreamState.UNANSWERED
        else:
            state = StreamState.FLOWING if begun else StreamState.STARTING
        return OpenStream(self.call, state, now - self._opened, waiting)

    def __del__(self) -> None:
        # Nobody can read on. The collector may have interrupted anything, a lock of OpenTelemetry held
        # by this very thread included: nothing may be recorded from here.
        if not self.has_ended:
            self._over = self._over or self._last  # it may have been dropped long ago
            self.owner.collected(self)
