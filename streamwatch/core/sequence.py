"""The numbers under one name in one stream: which came, which are missing, and whether they count anything.

Not every number is an order. Bridges write 0 everywhere, count tokens, or count the chunks of each
choice. So a number is a candidate until it is proved: by one that fills a hole, because a
permutation of consecutive integers is not an accident; or by a run that is long enough. What contradicts
it refutes it. An event without a number says nothing.
"""

from __future__ import annotations

from array import array
from typing import Any

from streamwatch.core.answer_parts import MAX_NUMBER, Place, as_number, stands_behind
from streamwatch.core.nothing import NOTHING
from streamwatch.core.patience import Trust
from streamwatch.core.sse import Event

#: Numbers in a row that prove what the protocol promises: an answer begins with as many that no count of tokens has.
_RUN_PROMISED = 5
#: Numbers in a row that prove a relay's stamp, which nobody promises: counts of tokens go up by one a few times, too.
_RUN = 8
#: Numbers in a row after which what the protocol promises is waited for again: then the whole window.
_RUN_AGAIN = 16
#: Numbers without a hole that prove it as well, if they did not come in order: a permutation is not an accident. Of six
#: digits one in 200 is one, and no more are needed where the numbers have put streams in order before.
_PERMUTED_PROMISED, _PERMUTED = 4, 6
#: The same, where other numbers of the stream say something else: a count of each choice goes that far by chance.
_PERMUTED_AGAINST_OTHERS = 8
#: The same, where much is missing besides: of numbers at random, two thirds of which came, one stream in a thousand has
#: so long a run.
_PERMUTED_BEYOND_DOUBT = 24
#: Numbers in a row after which the same event again is a duplicate, and not a constant that repeats.
_RUN_DUPLICATE = 3
#: Steps by one for each hole by which numbers in doubt put in order what came although not everything did.
_STEPS_A_HOLE = 3
#: The same for each hole but one, if they are to be losses of a stamp that filled none.
_STEPS_A_LOSS = 10
#: Losses that are believed of a promised number, however few the others are; more have to be the exception.
_LOSSES = 4
#: Numbers that came for each one that is missing, in numbers that are believed because they filled holes: a relay that
#: mixes 100 events up by 32 places has a sixth of them under way; one that loses events loses few.
_CAME_FOR_MISSING = 4
#: Holes beyond one for each step after which numbers are gone by no longer; until then they may still count.
_HOLES_TOO_MANY = 32
#: Steps down for each step up in numbers that go down: what a relay mixes up goes up as often as down.
_FALLS_A_RISE = 3
#: Contradictions that a proved number survives: a gateway's own event may carry the number of its neighbour.
_CONTRADICTIONS = 3
#: Events that may stand on a number, one with another, before it says nothing: an `id:` line counts until the next one.
_REPEATS = 8
#: Digests of the latest events, to know a duplicate: 32 KiB, and longer than any replay seen.
DIGESTS = 2048
MAX_DIGESTS = 2 * DIGESTS
#: Holes that are remembered, in case a straggler comes: one dict entry each.
_HOLES = 256


class Numbers:
    """The numbers under one name: the books of what came, and of what is held.

    `name` is the member that has them; "" means SSE `id:` lines. `promised` says that the protocol has them; `far` is
    a distance that no window bridges.
    """

    __slots__ = (
        *("_again_at", "_before", "_blamed", "_contradictions", "_explained", "_far", "_forgotten", "_gaps"),
        *("_holes_then", "_jump", "_lost_patience", "_outliers", "_permuted", "_repeats", "_settled", "_spent"),
        *("_stutters", "_unnumbered", "_unnumbered_at"),
        *("begun", "count", "digests", "expected", "falls", "first", "held", "highest", "last", "late", "lowest"),
        *("name", "paid", "patient", "promised", "rises", "strays", "trust", "waited"),
    )

    def __init__(self, name: str, trust: Trust, far: int, *, promised: bool) -> None:
        self.name = name
        self.trust = trust
        self.promised = promised
        self.patient = trust.patient  #: a hole is waited for
        self._blamed = False
        self._holes_then = 0
        self._lost_patience: int | None = None  # numbers that had gone on when the short window was waited in vain
        self.waited = False  #: an event was held for it
        self.begun = False  #: where the stream begins is settled
        self.first = 0
        self.expected: Any = 0  #: the number whose turn it is; until the stream has begun, what may come first
        self.count = 0  #: numbers that went on
        self.digests = array("q")
        self.held: dict[int, Event] = NOTHING  #: by number, in the order of arrival
        self.lowest = self.highest = 0  #: of what was held since nothing was
        self.rises = self.falls = 0  #: of those, how many were greater than the one before, and how many less
        self.last = MAX_NUMBER  #: the number that came last, where it did not go on at once
        self.late: dict[int, None] = NOTHING  #: of those that are held, what came after a higher one
        self.strays = 0  #: went on after a higher one, and was not counted yet
        self.paid = False  #: since the last wait in vain, what was missing came
        self._far = far
        self._permuted = 0  # numbers that followed each other, and did not come in order
        self._explained = False  # an event without a number stood where one was missing
        self._unnumbered, self._unnumbered_at = 0, -1  # such events, and what was expected then
        self._gaps: dict[int, int] = NOTHING  # first missing number -> the one after the last
        self._forgotten = 0  # gaps that are no longer in `_gaps`
        self._repeats = self._contradictions = self._outliers = 0
        self._spent: dict[int, int] = NOTHING  # far numbers that went on out of turn, and the digests of their events
        self._jump = -1  # the number after the last of them
        self._stutters = False  # the same event came again before the numbers proved anything, or they begin again
        self._again_at = -1  # what was expected when the same event came again
        self._before = self._settled = -1  # the number that came last, and what was expected when it had its place

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
    def is_permutation(self) -> bool:
        """Whether numbers that came out of order followed each other."""
        known = self.promised or self.trust.has_paid
        return self._permuted >= (_PERMUTED_PROMISED if known else _PERMUTED)

    @property
    def is_proved(self) -> bool:
        """Whether the numbers are an order beyond doubt."""
        needed = (_RUN_PROMISED if self.promised else _RUN) - 1
        if self.is_permutation or self.steps >= needed:
            return True
        steps, holes = self._shape()
        return steps >= needed and not holes and not self.late

    @property
    def is_doubtful(self) -> bool:
        """Whether something spoke against the numbers."""
        return bool(self._contradictions or self._explained)

    @property
    def is_contiguous(self) -> bool:
        """Whether every number came, and nothing spoke against them."""
        return bool(self.count) and not (self.is_doubtful or self.jumps or self.holes or self.held)

    @property
    def jumps(self) -> bool:
        """Whether a number stood alone, far ahead, and the others have not come up to it."""
        return self._outliers > 0

    @property
    def is_hopeless(self) -> bool:
        """Whether the numbers only grow, for so long that nothing can come of it."""
        return self.holes > self.steps + _HOLES_TOO_MANY

    @property
    def misses_any(self) -> bool:
        """Whether there are holes in what came, held or not."""
        return self._shape()[1] > 0

    @property
    def score(self) -> tuple[bool, int]:
        """How well the numbers count what came; numbers that merely count arrivals come after those that were mixed."""
        steps, holes = self._shape()
        return bool(self.late) and self.may_be_sorted, steps - holes

    def stands_against(self, other: Numbers, *, preferred: bool) -> bool:
        """Return whether these numbers, which are proved, are to be gone by, whatever other ones say.

        `preferred` says that they have the better name.
        """
        if not other.late and (preferred or not other.misses_any):  # they count arrivals, if anything
            return self.is_permutation or not other.misses_any
        mine, others = ({event: number for number, event in each.held.items()} for each in (self, other))
        shared = [event for event in mine if event in others]
        agree = sorted(shared, key=lambda event: mine[event]) == sorted(shared, key=lambda event: others[event])
        return agree and (other.is_proved or self._permuted >= _PERMUTED_AGAINST_OTHERS)

    @property
    def may_be_sorted(self) -> bool:
        """Whether what is held may be put in order although not everything came."""
        steps, holes = self._shape()
        dense = not holes or steps >= max(_STEPS_A_HOLE * holes, _RUN_DUPLICATE)
        return self.is_proved or (dense and not (self._goes_down or self._lacks_many()))

    @property
    def shows_losses(self) -> bool:
        """Whether holes that never filled are losses, and not those of a number that only grows."""
        if self.promised or self.is_permutation:
            return self.holes <= _LOSSES or self.steps >= _STEPS_A_HOLE * self.holes
        return self.steps >= max(_STEPS_A_LOSS * (self.holes - 1), _RUN_DUPLICATE)

    @property
    def is_worth_waiting(self) -> bool:
        """Whether the whole window is waited for: the protocol promises the numbers, or they filled a hole before."""
        return self.is_proved and (self.promised or self.is_permutation or self.trust.has_paid)

    @property
    def is_relied_on(self) -> bool:
        """Whether the numbers ever looked like an order."""
        return self.promised or self.waited or self.knows_duplicates

    @property
    def knows_duplicates(self) -> bool:
        """Whether the same event under its number is a duplicate; not where others have none, which would be left."""
        steps, holes = self._shape()
        # A count of tokens, which nobody promised either, goes up by more than one or stands still.
        may_stand = not self.promised and steps < _STEPS_A_LOSS * (holes - 1)
        runs = self.is_proved or self.steps + 1 >= _RUN_DUPLICATE
        return runs and not (may_stand or self._stutters or self._explained)

    @property
    def _goes_down(self) -> bool:
        """Whether all that came is held, and its numbers go down, except a few: a countdown, for all that is known.

        One that the protocol promises goes down to its first event by accident alone.
        """
        may_go_down = not (self.count or (self.promised and self.begun))
        return may_go_down and self.falls >= _FALLS_A_RISE * self.rises

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

    def _lacks_many(self) -> bool:
        """Return whether more is missing among what is held than a relay loses, or has under way for long.

        Hashes, multiples and remainders have numbers that follow each other by chance, and many more that never come.
        The longest hole is left out: it may be one loss, of whatever length.
        """
        before, missing, longest = self.expected - 1 if self.begun else min(self.held, default=0) - 1, 0, 0
        for number in sorted(self.held):
            hole = number - before - 1
            missing, longest, before = missing + hole, max(longest, hole), number
        return (missing - longest) * _CAME_FOR_MISSING > self.count + len(self.held)

    # --- where an event belongs

    def of(self, event: Event) -> int | None:
        """Return the number of an event."""
        if self.name:
            return as_number(event.payload.get(self.name))
        return None if event.inherits_id else as_number(event.id)

    def place(self, number: int, event: Event, *, content: bool) -> Place:
        """Return where an event belongs. `content` says that it is not a keep-alive."""
        self._see_start(number)
        self._pass_spent()
        # Whatever was expected since then has come, and gone on at once.
        before, self._before = self._before if self.expected == self._settled else self.expected - 1, number
        if self._belies(number, event):
            return Place.WRONG
        if number in self.held:
            return self._again(same=self.held[number].raw == event.raw, content=content)
        if number >= self.expected:
            return self._beyond(number, event, content=content)
        if number >= self.first and not any(start <= number < end for start, end in self._gaps.items()):
            return self._gone(number, event, before, content=content)
        # Numbers that go down are none; a single one may be what was missing at the start.
        return Place.LATE if self.is_proved or self.strays <= self.steps else Place.WRONG

    def _gone(self, number: int, event: Event, before: int, *, content: bool) -> Place:
        """Return what a number says under which an event went on; `before` is the one that came before it."""
        at = len(self.digests) - (self.expected - number)
        digest = self.digests[at] if at >= 0 else 0
        if self._explained and at >= 0 and not digest:
            return Place.NONE  # an event without a number may have been the one with this number
        same = digest == hash(event.raw) if digest else None
        self._stutters = self._stutters or (same is False and not content and number != before)
        return self._again(same=same, content=content)

    def _see_start(self, number: int) -> None:
        """Take note that a stream begins lower than others did, or than its opening event."""
        if number < self.expected and (not self.begun or (self.held and not self.count and number < self.first)):
            self.begun, self.expected = False, 0

    def _pass_spent(self) -> None:
        """Expect none of the numbers that went on out of turn."""
        while self.expected in self._spent:
            self._outliers -= 1
            self.strays += 1
            self._count(self._spent.pop(self.expected))

    def _belies(self, number: int, event: Event) -> bool:
        """Return whether an event would go before what comes before it by what it says: a count that restarts."""
        if not self.held or number > self.highest or (self.begun and self.is_proved):
            return False
        return any(place > number and stands_behind(event.payload, held.payload) for place, held in self.held.items())

    def _beyond(self, number: int, event: Event, *, content: bool) -> Place:
        if number in self._spent:
            return Place.NONE
        if not self.begun:
            if self.held and max(number, self.highest) - min(number, self.lowest) > self._far:
                return Place.WRONG
        elif not self.held and self.expected == self._unnumbered_at and number - self.expected <= self._unnumbered:
            self._explained = self._explained or number > self.expected
            self._expect(number)
        elif number - max(self.expected, self.highest if self.held else 0) > self._far:
            return self._outlier(number, event, content=content)
        return Place.NEXT if number == self.expected else Place.AHEAD

    def settle(self) -> None:
        """Take note that the event that came last has its place."""
        self._settled = self.expected

    def _again(self, *, same: bool | None, content: bool) -> Place:
        """Return what a number says that came already; `same` is None where nobody knows any more with which event."""
        if same and not (self._contradictions or self._stutters):
            if self.held or self.knows_duplicates:
                self._again_at = self.expected
                return Place.AGAIN
            self._stutters = True
        elif content and not same:
            return self._contradicted(restarts=same is False and self._again_at == self.expected)
        self._repeats += 1
        return Place.WRONG if self._repeats > _REPEATS * (self.count + len(self.held)) else Place.NONE

    def _contradicted(self, *, restarts: bool) -> Place:
        """Return what a number says that came with another event; `restarts`: right after what seemed a repeat."""
        self._contradictions += 1
        wrong = self.held or restarts or not self.is_proved or self._contradictions > _CONTRADICTIONS
        return Place.WRONG if wrong else Place.NONE

    def _outlier(self, number: int, event: Event, *, content: bool) -> Place:
        """Return what a number says that no window can wait for."""
        if number == self._jump:  # all between was lost, and the stream goes on from there
            digest = self._spent.pop(number - 1, 0) if self._spent else 0
            self._outliers -= 1
            if self.held:
                return Place.AHEAD  # behind what is held, which comes before the jump
            self.skip_to(number - 1)
            self._count(digest)
            return Place.NEXT
        if content:
            self._outliers += 1
            self._jump = number + 1
            self._spend(number, event)
        return Place.WRONG if self._outliers > (_CONTRADICTIONS if self.is_proved else 1) else Place.NONE

    # --- the books

    def begin(self, number: int) -> None:
        """Take a number for the one that the stream begins with."""
        self.first = self.expected = number
        self.begun = True

    def take(self, event: Event) -> None:
        """Take note that the event whose turn it was goes on."""
        self.last = self.expected
        self._count(hash(event.raw))

    def note_unnumbered(self) -> None:
        """Take note of a part of the answer that has no number: one that is missing then may be its own."""
        self._unnumbered = self._unnumbered + 1 if self._unnumbered_at == self.expected else 1
        self._unnumbered_at = self.expected

    def places_early(self, number: int) -> int | None:
        """Return how many places early a number comes; None until it is known where the stream begins."""
        missing = self.expected
        while missing in self.held:
            missing += 1
        return max(number - missing, 0) if self.begun else None

    def hold(self, number: int, event: Event) -> None:
        """Take note that an event is held."""
        if not self.held:
            self.lowest = self.highest = number
            self.rises = self.falls = 0
        elif number < self.highest:
            self.late = self.late or {}
            self.late[number] = None
        self.rises, self.falls = self.rises + (number > self.last), self.falls + (number < self.last)
        self.held = self.held or {}
        self.held[number] = event
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)
        self.last = number
        self.waited = True
        if not self.begun and number == self.expected:
            self.begin(number)

    def look_for_permutation(self) -> None:
        """Take note of numbers that are held and follow each other, if they did not come in order."""
        if not self.late or self._goes_down or self._permuted >= _PERMUTED_AGAINST_OTHERS:
            return
        steps, holes = self._shape()
        doubtful = steps < holes or self._lacks_many()  # as random numbers do
        arrival = {number: at for at, number in enumerate(self.held)}
        before, length, inverted = self.expected - 1, self.steps + 1 if self.count else 0, False
        for number in sorted(self.held):
            if number == before + 1 and length:
                length, inverted = length + 1, inverted or arrival[number] < arrival.get(before, 0)
            else:
                length, inverted = 1, False
            before = number
            if inverted and not (doubtful and length < _PERMUTED_BEYOND_DOUBT):
                self._permuted = max(self._permuted, length)

    def release(self) -> Event | None:
        """Return the held event whose turn it is, and which goes on; None where it has not come."""
        event = self.held.pop(self.expected, None) if self.held else None
        if event is not None:
            if self.late:
                self.late.pop(self.expected, None)
            self._count(hash(event.raw))
        return event

    def leave_out(self, number: int) -> None:
        """Take note that a held event goes on out of turn: no other one confirms its number."""
        self._spend(number, self.held.pop(number))
        self._outliers += 1

    def _spend(self, number: int, event: Event) -> None:
        """Take note that an event goes on out of turn."""
        self._spent = self._spent or {}
        self._spent[number] = hash(event.raw)

    def start_over(self) -> None:
        """Take note that everything held goes on as it came: the numbers prove nothing up to now."""
        self.begin(self.highest + 1)
        self.count = self.strays = self._forgotten = self._permuted = 0
        self.held = self.late = self._gaps = self._spent = NOTHING
        del self.digests[:]

    def lose_patience(self) -> None:
        """Take note that a hole was waited for in vain."""
        self._lost_patience = None if self.is_worth_waiting else self.count
        self._holes_then = self.holes + 1
        self.patient = False
        self.blame()

    def blame(self) -> None:
        """Let the next streams of this server know that waiting did not pay: once for each stream."""
        if not self._blamed:
            self._blamed = True
            self.trust.in_vain()

    def regain_patience(self) -> None:
        """Wait for a hole again, if the numbers have counted on since they were in doubt."""
        if self._lost_patience is None or not self.promised or self.holes > self._holes_then:
            return
        if self.count - self._lost_patience >= _RUN_AGAIN:
            self.patient, self._lost_patience = True, None

    def skip_to(self, number: int) -> None:
        """Give up what is missing before a number."""
        self._miss(self.expected, number)
        self._expect(number)

    def stray(self, number: int, event: Event) -> None:
        """Take note that an event goes on which came too late."""
        self.strays += 1
        self.last = number
        if number < self.first:
            self._miss(number + 1, self.first)
            self.first = number
            self.trust.start_was_missed()
            return
        self.count += 1
        start, end = next(gap for gap in self._gaps.items() if gap[0] <= number < gap[1])
        del self._gaps[start]
        self._miss(start, number)
        self._miss(number + 1, end)
        at = len(self.digests) - (self.expected - number)
        if at >= 0:
            self.digests[at] = hash(event.raw)

    def _miss(self, start: int, end: int) -> None:
        """Remember a hole, if it is one: as many as there is room for, the latest ones."""
        if start < end:
            if len(self._gaps) >= _HOLES:
                del self._gaps[next(iter(self._gaps))]
                self._forgotten += 1
            self._gaps = self._gaps or {}
            self._gaps[start] = end

    def _count(self, digest: int) -> None:
        self.expected += 1
        self.count += 1
        self.digests.append(digest)
        if len(self.digests) > MAX_DIGESTS:
            del self.digests[:-DIGESTS]

    def _expect(self, number: int) -> None:
        if number - self.expected <= DIGESTS:
            self.digests.extend([0] * (number - self.expected))  # so that a number says where its digest is
        else:
            del self.digests[:]
        self.expected = number
