"""The numbers under one name in one stream: which came, which are missing, and whether they count anything.

Not every number is an order. Bridges write 0 everywhere, count tokens, or count the chunks of each
choice. So a number is a candidate until it is proved: by one that fills a hole, because a
permutation of consecutive integers is no accident; or by a run that is long enough. What contradicts
it refutes it. An event without a number says nothing.
"""

from __future__ import annotations

import enum
from array import array
from typing import Any

from streamwatch.core.patience import Trust
from streamwatch.core.sse import Event

#: Numbers beyond it are no counters, and JavaScript relays can't carry them exactly.
_MAX_NUMBER = 2**53
#: Digits of a number that is written as a string: as many as `_MAX_NUMBER` has.
_MAX_DIGITS = 16
#: Numbers in a row that prove what the protocol promises; and a relay's stamp, which nobody promises: a count of tokens
#: goes up by one a few times, too.
_RUN_PROMISED, _RUN = 3, 8
#: Numbers that have to be there before one that fills a hole proves anything.
_FILLED_PROMISED, _FILLED = 2, 3
#: Numbers in a row after which the same event again is a duplicate, and not a constant that repeats.
_RUN_DUPLICATE = 3
#: Steps by one for each hole that make a stamp a counter of which something was lost, and no sparse number.
_STEPS_A_HOLE = 3
#: Holes beyond one for each step that make any number a sparse one.
_HOLES_TOO_MANY = 2
#: Contradictions that a proved number survives: a gateway's own event may bear the number of its neighbour.
_CONTRADICTIONS = 3
#: Events that may stand on one number, for each step, before it says nothing: an `id:` line counts until the next one.
_REPEATS = 8
#: Digests of the latest events, to know a duplicate: 32 KiB, and longer than any replay seen.
DIGESTS = 2048
MAX_DIGESTS = 2 * DIGESTS
#: Holes that are remembered, in case a straggler comes: one dict entry each.
_HOLES = 256


class Place(enum.Enum):
    """What a number says of the place of its event."""

    NEXT = "it is the event's turn"
    AHEAD = "others are missing before it"
    LATE = "what comes after it has gone on already"
    AGAIN = "the same event came before"
    NONE = "nothing"
    WRONG = "these numbers are no order"


def as_number(value: Any) -> int | None:
    """Return the number that a value means: an integer, also as a float or in digits, as relays write it."""
    if type(value) is str:
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _MAX_NUMBER else None


class Numbers:
    """The numbers under one name: the books of what came, and of what is held.

    `name` is the member that has them; "" means SSE `id:` lines. `promised` says that the protocol has them; `far` is
    a distance that no window bridges.
    """

    __slots__ = (
        *("_connected", "_contradictions", "_explained", "_far", "_forgotten", "_gaps", "_jump", "_outliers"),
        *("_repeats", "_spent", "_stood", "_unnumbered", "_unnumbered_at"),
        *("count", "digests", "expected", "fills", "first", "held", "highest", "last", "late", "lowest", "name"),
        *("patient", "promised", "strays", "trust", "waited"),
    )

    def __init__(self, name: str, trust: Trust, far: int, *, promised: bool) -> None:
        self.name = name
        self.trust = trust
        self.promised = promised
        self.patient = trust.patient  #: a hole is waited for
        self.waited = False  #: an event was held for it
        self.first = 0
        self.expected: Any = 0  #: the number whose turn it is
        self.count = 0  #: numbers that went on
        self.digests = array("q")
        self.held: dict[int, Event] = {}  #: by number, in the order of arrival
        self.lowest = self.highest = 0  #: of what was held since nothing was
        self.last = -1  #: the number that came last, where it did not go on at once
        self.late = 0  #: held after a higher one, and not counted yet
        self.strays = 0  #: went on after a higher one, and was not counted yet
        self.fills = 0  #: holes that were filled since the last wait in vain
        self._far = far
        self._connected = False  # a number filled a hole
        self._explained = False  # an event without a number stood where one was missing
        self._unnumbered, self._unnumbered_at = 0, -1  # such events, and what was expected then
        self._gaps: dict[int, int] = {}  # first missing number -> the one after the last
        self._forgotten = 0  # gaps that are no longer in `_gaps`
        self._repeats = self._contradictions = self._outliers = 0
        self._spent: set[int] = set()  # far numbers that went on out of turn
        self._jump = -1  # the number after the last of them
        self._stood = False  # another event came under the number of the last one

    # --- what the numbers prove

    @property
    def holes(self) -> int:
        """How many runs of numbers are missing between those that went on."""
        return len(self._gaps) + self._forgotten

    @property
    def steps(self) -> int:
        """How many numbers went on that follow another one."""
        return max(self.count - 1 - self.holes, 0)

    @property
    def is_proved(self) -> bool:
        """Whether the numbers are an order beyond doubt."""
        least, run = (_FILLED_PROMISED, _RUN_PROMISED) if self.promised else (_FILLED, _RUN)
        return (self._connected and self.count + len(self.held) >= least) or self.steps >= run - 1

    @property
    def is_doubtful(self) -> bool:
        """Whether something spoke against the numbers."""
        return bool(self._contradictions or self._outliers or self._explained)

    @property
    def is_contiguous(self) -> bool:
        """Whether every number came, and nothing spoke against them."""
        return bool(self.count) and not (self.is_doubtful or self.holes or self.held)

    @property
    def is_sparse(self) -> bool:
        """Whether the numbers only grow, and count nothing."""
        return self.holes > self.steps + _HOLES_TOO_MANY

    @property
    def misses_any(self) -> bool:
        """Whether there are holes in what came, held or not."""
        return self._shape()[1] > 0

    @property
    def score(self) -> int:
        """How well the numbers count what came."""
        steps, holes = self._shape()
        return steps - holes

    @property
    def may_be_sorted(self) -> bool:
        """Whether what is held may be put in order although not everything came."""
        steps, holes = self._shape()
        return self.is_proved or not holes or steps >= max(_STEPS_A_HOLE * holes, _RUN_DUPLICATE)

    @property
    def shows_losses(self) -> bool:
        """Whether holes that never filled are losses."""
        return not self.is_sparse and (self.promised or self._connected or self.may_be_sorted)

    @property
    def is_relied_on(self) -> bool:
        """Whether the numbers ever looked like an order."""
        return self.promised or self.waited or self.knows_duplicates

    @property
    def knows_duplicates(self) -> bool:
        """Whether the same event under the same number is a duplicate."""
        return self.is_proved or self.steps + 1 >= _RUN_DUPLICATE

    def runs(self, length: int) -> bool:
        """Return whether what is held came in order, that many numbers in a row."""
        return not self.late and len(self.held) >= length and self.highest - self.lowest == len(self.held) - 1

    def _shape(self) -> tuple[int, int]:
        """Return the steps and the holes of all that came, what is held included."""
        steps, holes = self.steps, self.holes
        before = self.expected - 1 if self.count else None
        for number in sorted(self.held):
            if before is not None:
                steps, holes = steps + (number == before + 1), holes + (number > before + 1)
            before = number
        return steps, holes

    # --- where an event belongs

    def of(self, event: Event) -> int | None:
        """Return the number of an event."""
        return as_number(event.payload.get(self.name) if self.name else event.id)

    def place(self, number: int, event: Event, *, content: bool) -> Place:
        """Return where an event belongs. `content` says that it is a part of the answer."""
        if not self.count and number < self.expected:
            self.first = self.expected = 0  # streams of this server began higher so far
        while self.expected in self._spent:
            self._spent.remove(self.expected)
            self.strays += 1
            self._count(0)
        if number in self.held:
            return self._again(number, same=self.held[number].raw == event.raw, content=content)
        if number >= self.expected:
            return self._beyond(number, content=content)
        if number >= self.first and not any(start <= number < end for start, end in self._gaps.items()):
            at = len(self.digests) - (self.expected - number)
            return self._again(number, same=at >= 0 and self.digests[at] == hash(event.raw), content=content)
        # Numbers that go down are none; a single one may be what was missing at the start.
        return Place.LATE if self.is_proved or self.strays <= self.steps else Place.WRONG

    def _beyond(self, number: int, *, content: bool) -> Place:
        if number in self._spent:
            return Place.NONE
        if not self.count:
            if self.held and max(number, self.highest) - min(number, self.lowest) > self._far:
                return Place.WRONG
        elif not self.held and self.expected == self._unnumbered_at and number - self.expected <= self._unnumbered:
            self._explained = self._explained or number > self.expected
            self._leave_out(number)
        elif number - self.expected > self._far:
            return self._outlier(number, content=content)
        return Place.NEXT if number == self.expected else Place.AHEAD

    def _again(self, number: int, *, same: bool, content: bool) -> Place:
        """Return what a number says that came before."""
        stands = not self.name and number in (self.last, self.expected - 1)
        if same and not self._contradictions and not (stands and self._stood):
            if self.held or self.knows_duplicates:
                return Place.AGAIN
        elif content and not same and not stands:
            self._contradictions += 1
            wrong = self.held or not self.is_proved or self._contradictions > _CONTRADICTIONS
            return Place.WRONG if wrong else Place.NONE
        self._stood = self._stood or (stands and not same)
        self._repeats += 1
        return Place.WRONG if self._repeats > _REPEATS * (self.steps + 1) else Place.NONE

    def _outlier(self, number: int, *, content: bool) -> Place:
        """Return what a number says that no window can wait for."""
        if number == self._jump:  # all between was lost, and the stream goes on from there
            self._spent.discard(number - 1)
            self._outliers -= 1
            self.skip_to(number - 1)
            self._count(0)
            return Place.NEXT
        if content:
            self._outliers += 1
            self._jump = number + 1
            self._spent.add(number)
        return Place.WRONG if self._outliers > (_CONTRADICTIONS if self.is_proved else 1) else Place.NONE

    # --- the books

    def begin(self, number: int) -> None:
        """Take a number for the one that the stream begins with."""
        self.first = self.expected = number

    def take(self, event: Event) -> None:
        """Take note that the event whose turn it was goes on."""
        self.last = self.expected
        self._count(hash(event.raw))

    def note_unnumbered(self) -> None:
        """Take note of a part of the answer that has no number: one that is missing then may be its own."""
        self._unnumbered = self._unnumbered + 1 if self._unnumbered_at == self.expected else 1
        self._unnumbered_at = self.expected

    def hold(self, number: int, event: Event) -> None:
        """Take note that an event is held."""
        if not self.held:
            self.lowest = self.highest = number
        elif number < self.highest:
            self.late += 1
        self.held[number] = event
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)
        self.last = number
        self.waited = True

    def connect(self, number: int) -> None:
        """Take note of a number that came to be held, if it fills a hole."""
        if number + 1 in self.held and (number == self.expected or number - 1 in self.held):
            self._connected = True
            self.fills += 1

    def release(self) -> Event | None:
        """Return the held event whose turn it is, and which goes on; None where it has not come."""
        event = self.held.pop(self.expected, None)
        if event is not None:
            self._count(hash(event.raw))
        return event

    def release_as_they_came(self) -> None:
        """Take note that everything held goes on as it came."""
        for number in sorted(self.held):
            if number > self.expected:
                self.skip_to(number)
            self.release()
        self.strays += self.late
        self.late = 0

    def skip_to(self, number: int) -> None:
        """Give up what is missing before a number."""
        if len(self._gaps) >= _HOLES:
            del self._gaps[next(iter(self._gaps))]
            self._forgotten += 1
        self._gaps[self.expected] = number
        self._leave_out(number)

    def stray(self, number: int, event: Event) -> None:
        """Take note that an event goes on which came too late."""
        self.strays += 1
        self.last = number
        if number < self.first:
            if number + 1 < self.first:
                self._gaps[number + 1] = self.first
            self.first = number
            self.trust.waits_for_start = True
            return
        self.count += 1
        start, end = next(gap for gap in self._gaps.items() if gap[0] <= number < gap[1])
        del self._gaps[start]
        if start < number:
            self._gaps[start] = number
        if number + 1 < end:
            self._gaps[number + 1] = end
        at = len(self.digests) - (self.expected - number)
        if at >= 0:
            self.digests[at] = hash(event.raw)

    def _count(self, digest: int) -> None:
        self.expected += 1
        self.count += 1
        self.digests.append(digest)
        if len(self.digests) > MAX_DIGESTS:
            del self.digests[:-DIGESTS]

    def _leave_out(self, number: int) -> None:
        missing = number - self.expected
        if missing <= DIGESTS:
            self.digests.extend([0] * missing)  # so that a number tells where its digest is
        else:
            del self.digests[:]
        self.expected = number
