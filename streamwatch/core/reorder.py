"""The order of numbered events: trust, a bounded window, gaps and duplicates.

How it works. Only a sequence number gives order, and not every number is one: bridges omit it, send
0 everywhere, or leave gaps. So a number is used once it has proved itself, and given up for good
when it disproves itself; giving up loses nothing and repeats nothing.

While the next number is the expected one nothing is held, and nothing but the number and a digest
is kept. A number too high starts a wait: its event is held until the missing ones come or the
window is full (events, bytes, seconds); then what is held goes on in order and the gap is noted.
After a gap that nothing filled there is no second wait, until a late event shows that waiting pays.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Protocol

from streamwatch.core.kinds import (
    SEQUENCE_DUPLICATE,
    SEQUENCE_GAP,
    SEQUENCE_OUT_OF_ORDER,
    SEQUENCE_UNUSABLE,
    AnomalyKind,
    Level,
)
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Event

#: Numbers beyond it are no counters, and JavaScript relays can't carry them exactly.
_MAX_NUMBER = 2**53
#: A run of consecutive numbers as long as this proves a number that no specification promises.
_PROOF = 3
#: Digests of the latest events, to know a duplicate: 32 KiB, and longer than any replay seen.
_DIGESTS = 2048
_MAX_DIGESTS = 2 * _DIGESTS
#: Gaps that are remembered, in case a straggler comes: one dict entry each.
_GAPS = 256
#: Distances and delays kept between two recordings; a stream with more is described well enough.
_SAMPLES = 1024


class Findings(Protocol):
    """Who is told what was found in a stream, and decides what is repaired: `StreamWatch`."""

    policy: Policy

    def found(self, kind: AnomalyKind, level: Level = Level.DEFAULT) -> bool:
        """Count an anomaly; whether the repair that has this level is wanted."""

    def unrepaired(self, kind: AnomalyKind) -> None:
        """The repair just wanted could not be made: its preconditions do not hold."""

    def failed(self, kind: AnomalyKind) -> None:
        """The repair just wanted was tried and failed."""

    def held(self, event: Event) -> None:
        """`event` goes on later than it came."""


class ReorderBuffer:
    """The numbers of one stream.

    `found`, `unrepaired` and `failed` count anomalies, as in `StreamWatch`; `clock` gives seconds.
    `specified` says that the protocol promises the numbers (Responses); elsewhere they are a
    relay's stamp and have to prove themselves first.
    """

    def __init__(self, stream: Findings, settings: Settings, clock: Callable[[], float], *, specified: bool) -> None:
        self._stream = stream
        self._settings = settings
        self._clock = clock
        self._specified = specified
        self._may_hold = SEQUENCE_OUT_OF_ORDER in stream.policy.default
        self.usable = True
        self.expected = -1
        self.held: dict[int, Event] = {}  #: by number, in order of arrival
        self.leaving: list[Event] = []  #: held no longer, and not yet in anybody's hands
        self.distances: list[int] = []
        self.delays: list[float] = []
        self.max_distance = 0
        self.max_delay = 0.0
        self._since: dict[int, tuple[float, int]] = {}  # held number -> when it came, how many places early
        self._held_bytes = 0
        self._patient = True
        self._first = 0
        self._count = 0
        self._digests = array("q")
        self._gaps: dict[int, int] = {}  # first missing number -> the one after the last

    @property
    def deadline(self) -> float | None:
        """When the event that has waited longest is due, on the clock; None while nothing is held."""
        return min(self._since.values())[0] + self._settings.window_seconds if self._since else None

    def place(self, number: Any, event: Event) -> list[Event] | None:
        """The events that may go on now that `event` came; None, the usual answer, for just this one."""
        if number == self.expected and not self.held:
            self.expected = number + 1
            self._count += 1
            self._digests.append(hash(event.raw))
            if len(self._digests) > _MAX_DIGESTS:
                del self._digests[:_DIGESTS]
            return None
        self.leaving = []
        return self._place(number, event)

    def start(self, number: Any, *, begins: bool, resumed: bool) -> None:
        """The first number. `begins` tells that its event opens the protocol, whatever its number."""
        if not _is_number(number):
            self._give_up()
            return
        # 1 or 2 before 0 is a swap at the very start, unless the stream was resumed there.
        early = self._specified and not begins and not resumed and 0 < number < _PROOF
        self._first = self.expected = 0 if early else number

    def is_missing(self, number: Any) -> bool:
        """Whether a number is one that has not come, and still may."""
        if not _is_number(number):
            return False
        skipped = any(start <= number < end for start, end in self._gaps.items())
        return skipped or (bool(self.held) and self.expected <= number < max(self.held))

    def is_last(self, number: Any, event: Event) -> bool:
        """Whether the last event came again."""
        return number == self.expected - 1 and bool(self._digests) and self._digests[-1] == hash(event.raw)

    def expire(self) -> list[Event]:
        """What has waited for longer than the window."""
        deadline = self.deadline
        self.leaving = []
        return self._release_all() if deadline is not None and self._clock() >= deadline else []

    def let_go(self) -> list[Event]:
        """Return everything held, in order, without waiting any longer."""
        self.leaving = []
        return self._release_all()

    def close(self) -> list[Event]:
        """Everything held, in order; the gaps that are left are missing for good."""
        self.leaving = []
        released = self._release_all()
        for _ in self._gaps:
            self._stream.found(SEQUENCE_GAP)
        return released

    @property
    def contiguous(self) -> bool | None:
        """Whether the numbers came without a gap; None where they tell nothing."""
        return not self._gaps if self.usable and not self.held else None

    def _pass(self, number: int, event: Event) -> None:
        self.expected = number + 1
        self._count += 1
        self._digests.append(hash(event.raw))
        if len(self._digests) > _MAX_DIGESTS:
            del self._digests[:-_DIGESTS]

    def _place(self, number: Any, event: Event) -> list[Event]:
        if not _is_number(number) or (number != self.expected and not self._proved()):
            return [*self._give_up(), event]
        if number < self.expected:
            return self._behind(number, event)
        if number in self.held:
            return self._again(event, same=self.held[number].raw == event.raw)
        if self.held and number < max(self.held):
            self._stream.found(SEQUENCE_OUT_OF_ORDER)
        if number == self.expected:
            self._pass(number, event)
            return [event, *self._release(filled=True)]
        if not (self._may_hold and self._patient):
            self._skip_to(number)
            self._pass(number, event)
            return [event]
        return self._hold(number, event)

    def _proved(self) -> bool:
        return self._specified or self._count >= _PROOF

    def _hold(self, number: int, event: Event) -> list[Event]:
        self.held[number] = event
        self._since[number] = self._clock(), number - self.expected
        self._held_bytes += len(event.raw)
        self._stream.held(event)
        settings = self._settings
        if len(self.held) >= settings.window_events or self._held_bytes > settings.window_bytes:
            return self._release_all()
        return self.expire()

    def _release(self, *, filled: bool) -> list[Event]:
        """The held events that are next in order; `filled` tells that the missing ones came."""
        released: list[Event] = []
        while self.expected in self.held:
            number = self.expected
            event = self.held[number]
            self._held_bytes -= len(event.raw)
            since, early = self._since.pop(number)
            self._sample(self._clock() - since, early if filled else 0)
            self._pass(number, event)
            released.append(event)
            self.leaving.append(self.held.pop(number))
        return released

    def _release_all(self) -> list[Event]:
        """Give up waiting: what is held goes on, in order, and the numbers between are gaps."""
        released: list[Event] = []
        for number in sorted(self.held):
            if number > self.expected:
                self._skip_to(number)
                self._patient = False
            released += self._release(filled=False)
        return released

    def _skip_to(self, number: int) -> None:
        if not self._count:  # the stream was resumed here, then
            self._first = self.expected = number
            return
        if len(self._gaps) >= _GAPS:
            del self._gaps[next(iter(self._gaps))]
            self._stream.found(SEQUENCE_GAP)
        self._gaps[self.expected] = number
        missing = number - self.expected
        if missing <= _DIGESTS:
            self._digests.extend([0] * missing)  # so that a number tells where its digest is
        else:
            del self._digests[:]
        self.expected = number

    def _behind(self, number: int, event: Event) -> list[Event]:
        """An event whose number has gone by: a straggler, a duplicate, or no number at all."""
        for start, end in self._gaps.items():
            if start <= number < end:
                del self._gaps[start]
                if start < number:
                    self._gaps[start] = number
                if number + 1 < end:
                    self._gaps[number + 1] = end
                return self._straggler(event)
        if number < self._first:
            return self._straggler(event)
        place = len(self._digests) - (self.expected - number)
        return self._again(event, same=place >= 0 and self._digests[place] == hash(event.raw))

    def _straggler(self, event: Event) -> list[Event]:
        """Too late for the window: it goes on at once, and shows that waiting would have paid."""
        self._stream.found(SEQUENCE_OUT_OF_ORDER)
        self._stream.failed(SEQUENCE_OUT_OF_ORDER)
        self._patient = True
        return [event]

    def _again(self, event: Event, *, same: bool) -> list[Event]:
        if not same or self._count < _PROOF:
            return [*self._give_up(), event]
        if self._stream.found(SEQUENCE_DUPLICATE):
            return []
        return [event]

    def _give_up(self) -> list[Event]:
        """The numbers are no order: what is held goes on as it came."""
        if self._specified or self._count >= _PROOF:
            self._stream.found(SEQUENCE_UNUSABLE)
        released = list(self.held.values())
        self.leaving = [*self.leaving, *released]
        self.held.clear()
        self._since.clear()
        self._gaps.clear()
        self.usable = False
        return released

    def _sample(self, delay: float, distance: int) -> None:
        self.max_delay = max(self.max_delay, delay)
        self.max_distance = max(self.max_distance, distance)
        if len(self.delays) < _SAMPLES:
            self.delays.append(delay)
            if distance:
                self.distances.append(distance)


def _is_number(number: Any) -> bool:
    return type(number) is int and 0 <= number < _MAX_NUMBER
