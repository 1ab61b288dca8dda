"""The order of numbered events: candidates, bounded windows, gaps and duplicates.

How it works. Only a number gives order, and not every number is one (`sequence`). While the next
number is the expected one, nothing is held. A number too high makes its event wait until those
before it come, or until the window is full: events, bytes, seconds. The window of a number that is
not proved is a shorter one; what fills the hole proves it, and everything goes on in order. Where
nothing fills it, what is held goes on: in order by numbers that are proved, else as it came.

The start is not an exception. A stream begins with 0, with the event that opens its protocol, or where
earlier streams of this server began; any other first number waits for a smaller one.

After a wait in vain there is no second one, until something shows that waiting pays. The window is
then 0 seconds: what came in one read is still put in order, which delays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamwatch.core import outliers
from streamwatch.core.answer_parts import TERMINAL, Place, is_content
from streamwatch.core.candidates import Candidates
from streamwatch.core.context import Context
from streamwatch.core.kinds import SEQUENCE_DUPLICATE, SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER, SEQUENCE_UNUSABLE
from streamwatch.core.nothing import NONE_YET, NOTHING
from streamwatch.core.patience import Patience, Trust, Wait, Waits
from streamwatch.core.sequence import DIGESTS, MAX_DIGESTS, Numbers
from streamwatch.core.sse import Event

#: The window of numbers that are not proved: nobody takes a quarter of a second for a stop, and relays mix up what is
#: on its way at the same time.
_SHORT_SECONDS = 0.25
_SHORT_EVENTS, _SHORT_BYTES = 64, 1 << 20
#: A wait that the end of a stream cuts short is remembered from here on: what came in one read has not waited.
_FELT_SECONDS = 0.05
#: Numbers in a row that settle where a stream begins which does not say so.
_RUN_AT_START = 8
#: What an event is compared with where no numbers are gone by: no number is the expected one.
_NONE = Numbers("sequence_number", Trust(), 0, promised=False)
_NONE.expected = object()
_IN_TURN = (Place.NEXT, Place.AHEAD)
_NOWHERE = Place.NONE, 0

_Places = dict[Numbers, tuple[Place, int]]


class ReorderBuffer:
    """The events of one stream that wait for their turn.

    `number_member` is the member that the protocol promises (Responses), or "" where a relay may have stamped the
    events; None where nothing is known of an order.
    """

    def __init__(self, context: Context, number_member: str | None = None, patience: Patience | None = None) -> None:
        settings = context.settings
        self._request = context.request
        self._settings = settings
        self._ledger = context.ledger
        self._clock = context.clock
        self._applies = context.applies
        self._may_hold = waits = context.ledger.wants(SEQUENCE_OUT_OF_ORDER)
        far = max(_SHORT_EVENTS, settings.window_events)
        self._candidates = Candidates(context, number_member or "", patience, far=far, waits=waits)
        self._numbers = _NONE  # those that are gone by
        #: There are no numbers here: nothing need be pushed any more.
        self.idle = self._candidates.exhausted = number_member is None
        self._unusable = False
        # Of the call under way: what had not gone on before it, what of that may go on now, what did or was dropped.
        self._in: dict[Event, None] = NOTHING
        self._out: list[Event] = []
        self._left: list[Event] = NONE_YET
        self.waiting: dict[Event, Wait] = NOTHING  #: what is held, in the order of arrival
        self._waiting_bytes = 0
        self._now = 0.0  # when events were last held or let go
        self._followers: list[tuple[int, Event]] = NONE_YET  # of `_waiting`, the number that each goes on behind
        self._doubted: list[Event] = NONE_YET  # came again, and had its time: a copy, unless the number stands still
        self.waits = Waits()

    # --- the stage

    def push(self, event: Event) -> Sequence[Event]:
        """Return the events that may go on now that `event` came.

        A list that is returned is the stage's own, here as in `flush` and `expire`: who takes the events empties
        it, and until then they are pending. In one piece: every numbered chunk passes here, and a call costs as much.
        """
        payload, numbers = event.payload, self._numbers
        if payload is not None and not self._in:
            number = payload.get(numbers.name) if numbers.name else event.number
            if number == numbers.expected or (type(number) is str and number == str(numbers.expected)):
                numbers.expected += 1
                numbers.count += 1
                digests = numbers.digests
                digests.append(hash(event.raw))
                if len(digests) > MAX_DIGESTS:
                    del digests[:DIGESTS]
                return (event,)
        self._sweep()
        if payload is None:
            return self._behind_all(event)
        candidates = self._candidates
        if candidates.exhausted:
            self.idle = True
            return (event,)
        if not (candidates.all or candidates.look_at(event)):
            return (event,)
        released = self._place(event)
        for each in candidates.all:
            each.settle()
        return released

    def flush(self) -> Sequence[Event]:
        """Return what is held, in order, because nothing more comes."""
        self._sweep()
        while self.waiting:
            self._give_way(in_vain=False, ended=True)
        self._drop_doubted()
        if self._candidates.all:
            self._keep_best(in_vain=False)
            self._close(self._numbers)
        elif self._candidates.promised and self._candidates.started:
            self._record_unusable()
        return self._leave()

    def pending(self) -> list[Event]:
        """Return what is held, as it came."""
        gone = set(self._left) - set(self._out)
        return [event for event in self._in if event not in gone]

    @property
    def deadline(self) -> float | None:
        """The time on the clock until which something is held; None, the usual answer, while nothing is."""
        return next(iter(self.waiting.values())).since + self._seconds() if self.waiting else None

    def postpone(self, seconds: float) -> None:
        """Let everything that is held wait that much longer."""
        for wait in self.waiting.values():
            wait.since += seconds

    def expire(self, now: float) -> Sequence[Event]:
        """Return what has waited for the whole window by `now`."""
        self._sweep()
        deadline = self.deadline
        while deadline is not None and now >= deadline:
            self._give_way(in_vain=self._clock() >= deadline)
            deadline = self.deadline
        for each in self._candidates.all:
            each.settle()
        return self._leave()

    @property
    def is_blank(self) -> bool:
        """Whether there are no numbers, and nothing was found that a report should say."""
        return self.idle and not (self._candidates.promised or self._in or self.waits.delays or self.waits.distances)

    @property
    def contiguous(self) -> bool | None:
        """Whether the numbers came without a gap; None where they say nothing."""
        return True if self._numbers.is_contiguous else None

    def _leave(self) -> list[Event]:
        self._left = [*self._left, *self._out]
        return self._out

    def _sweep(self) -> None:
        for event in self._left:
            self._in.pop(event, None)
        self._left = NONE_YET

    # --- which numbers there are

    def _choose(self) -> None:
        """Go by the only numbers that there are, or by those that have proved themselves."""
        proved = self._candidates.proved()
        if proved is not None and proved is not self._numbers:
            self._keep(proved)

    def _keep(self, numbers: Numbers) -> None:
        """Go by these numbers alone."""
        self._candidates.all, self._numbers = [numbers], numbers
        place = {event: number for number, event in numbers.held.items()}
        behind, followers = numbers.expected - 1, []
        for event in self.waiting:
            if event in place:
                behind = max(behind, place[event])
            else:
                followers.append((behind, event))
        self._followers = followers or NONE_YET

    def _refute(self, each: Numbers) -> None:
        """Go by these numbers no longer."""
        self._candidates.refute(each)
        self._numbers = _NONE
        if each.is_relied_on:
            self._record_unusable()
        self._out += self._doubted  # the number stands still
        self._doubted = NONE_YET
        if not self._candidates.all:
            self._let_all_go()

    # --- one event

    def _place(self, event: Event) -> Sequence[Event]:
        content, says = is_content(event.payload), is_content(event.payload, beside_role=True)
        places: _Places = {}
        for each in list(self._candidates.all):
            number = each.of(event)
            place = Place.NONE if number is None else each.place(number, event, content=content)
            if number is None and says and (each.name or not event.inherits_id):
                each.note_unnumbered()
            if place is Place.WRONG:
                self._refute(each)
            else:
                places[each] = place, number or 0
        if not places:
            return self._without_order(event)
        self._choose()
        if self._doubted:
            self._drop_doubted(places.get(self._numbers, _NOWHERE)[0])
        if self.waiting or any(self._calls_for_wait(each, places[each][0]) for each in self._candidates.all):
            return self._wait(event, places)
        return self._pass(event, places)

    def _calls_for_wait(self, each: Numbers, place: Place) -> bool:
        if place is Place.AGAIN:  # what comes next shows whether it is said again, or whether the numbers begin again
            return self._numbers is each and self._may_hold and self._ledger.wants(SEQUENCE_DUPLICATE)
        patient = each.patient or not each.begun or len(self._candidates.all) == 1
        return place is Place.AHEAD and patient and self._may_hold

    def _pass(self, event: Event, places: _Places) -> Sequence[Event]:
        """Hand on an event at once: nothing is held, and no number says that it should be."""
        dropped = False
        for each in list(self._candidates.all):
            place, number = places[each]
            if place is Place.AHEAD:
                each.skip_to(number) if each.begun else each.begin(number)
            if place in _IN_TURN:
                each.take(event)
            elif place is Place.LATE:
                each.stray(number, event)
            elif place is Place.AGAIN and self._numbers is each:
                dropped = self._ledger.record(SEQUENCE_DUPLICATE)
            self._look_at(each)
        if not self._candidates.all:
            return self._without_order(event)
        self._choose()
        return self._leave() if dropped else self._with(event)

    def _wait(self, event: Event, places: _Places) -> Sequence[Event]:
        """Hold an event, and hand on what may go on with it."""
        self._in = self._in or {}
        self._in[event] = None
        self._now = self._clock()
        first = self._candidates.all[0]
        place, number = places[first]
        if self._numbers is first and place is Place.LATE and first.is_proved:
            first.stray(number, event)
            self._out.append(event)
        elif self._numbers is first and place is Place.AGAIN and first.held and first.knows_duplicates:
            self._go_again(event)
        else:
            if place is Place.NEXT and self._followers and not first.held:
                self._let_followers_go(first, all_of_them=True)  # the numbers go on after what was said again
            self._hold(event, places)
            if event.payload.get("type") in TERMINAL and self._numbers is first:
                self._leave_out(first, in_vain=False)
        if self._numbers is self._candidates.all[0]:
            self._release(self._numbers, filled=True)
            self._look_at(self._numbers)
        while self._is_full():
            self._give_way(in_vain=True)
        return self._leave()

    def _hold(self, event: Event, places: _Places) -> None:
        event.shared = self._applies
        first = self._candidates.all[0]
        self.waiting = self.waiting or {}
        wait = self.waiting[event] = Wait(self._now, again=places[first][0] is Place.AGAIN)
        self._waiting_bytes += len(event.raw)
        if self._numbers is first and places[first][0] not in _IN_TURN:
            self._followers = self._followers or []
            self._followers.append((max(first.highest, first.expected - (0 if wait.again else 1)), event))
        opens = self._candidates.opens(event.payload)
        for each in self._candidates.all:
            place, number = places[each]
            if place in _IN_TURN:
                if each is first:
                    wait.early = each.places_early(number)
                each.hold(number, event)
                if not each.begun and (opens or each.runs(_RUN_AT_START)):
                    each.begin(each.lowest)
                each.look_for_permutation()
        self._choose()

    def _without_order(self, event: Event) -> Sequence[Event]:
        """Hand on an event behind what was held: none of the numbers is an order."""
        if self._candidates.look_at(event):  # there are other numbers, from here on
            for each in self._candidates.all:
                each.take(event)
            self._choose()
        self._candidates.exhausted = not self._candidates.all
        return self._with(event)

    def _behind_all(self, event: Event) -> Sequence[Event]:
        """Hand on everything, and then an event that ends what the SDK reads, or that it raises on."""
        while self.waiting:
            self._give_way(in_vain=False, ended=True)
        self._drop_doubted()
        return self._with(event)

    def _with(self, event: Event) -> Sequence[Event]:
        """Hand on an event behind all that goes on before it."""
        if not self._out:
            return (event,)
        self._in = self._in or {}
        self._in[event] = None
        self._out.append(event)
        return self._leave()

    # --- what is held

    def _seconds(self) -> float:
        """Return how long an event is held at most."""
        numbers, window = self._numbers, self._settings.window_seconds
        if not (numbers.patient if numbers.begun else numbers.trust.waits_for_start):
            return 0.0
        return window if numbers.begun and numbers.is_worth_waiting else min(_SHORT_SECONDS, window)

    def _is_full(self) -> bool:
        settings = self._settings
        events, size = settings.window_events, settings.window_bytes
        if not self._numbers.is_proved:
            events, size = min(events, _SHORT_EVENTS), min(size, _SHORT_BYTES)
        return bool(self.waiting) and (len(self.waiting) >= events or self._waiting_bytes > size)

    def _release(self, numbers: Numbers, *, filled: bool, sure: bool = False) -> None:
        """Hand on what is held and is next in order; `filled` says that it is, because what was missing came."""
        if numbers.late and not (sure or numbers.is_proved):
            return  # by numbers that are in doubt nothing overtakes anything
        self._let_followers_go(numbers)
        number, late = numbers.expected, numbers.expected in numbers.late
        event = numbers.release()
        while event is not None:
            wait = self._go(event)
            early = number - numbers.first if wait.early is None else wait.early
            self.waits.add(self._now - wait.since, early if filled else 0)
            if late:
                self._record_late(numbers)
            self._let_followers_go(numbers)
            number, late = numbers.expected, numbers.expected in numbers.late
            event = numbers.release()

    def _let_followers_go(self, numbers: Numbers, *, all_of_them: bool = False, sure: bool = True) -> None:
        while self._followers and (all_of_them or self._followers[0][0] < numbers.expected):
            event = self._followers[0][1]
            if self.waiting[event].again and numbers.knows_duplicates:
                self._stop_waiting(event)
                if sure or len(self._doubted) >= self._settings.window_events:
                    self._go_again(event)
                else:
                    self._doubted = [*self._doubted, event]
            else:
                self.waits.add(self._now - self._go(event).since, 0)
            del self._followers[0]

    def _go(self, event: Event) -> Wait:
        self._out.append(event)
        return self._stop_waiting(event)

    def _go_again(self, event: Event) -> None:
        into = self._out
        if self._ledger.record(SEQUENCE_DUPLICATE):
            into = self._left = self._left or []
        into.append(event)

    def _drop_doubted(self, place: Place = Place.NEXT) -> None:
        """Drop what came again and had its time, where the numbers go on behind it, or end."""
        if place in _IN_TURN:
            for event in self._doubted:
                self._go_again(event)
            self._doubted = NONE_YET

    def _stop_waiting(self, event: Event) -> Wait:
        self._waiting_bytes -= len(event.raw)
        return self.waiting.pop(event)

    def _let_all_go(self) -> None:
        """Hand on everything that is held, as it came."""
        self._now = self._clock()
        for event in list(self.waiting):
            wait = self._go(event)
            self.waits.add(self._now - wait.since, 0)
        self._followers = NONE_YET

    def _give_way(self, *, in_vain: bool, ended: bool = False) -> None:
        """Wait no longer for what should come before all that is held.

        `in_vain` says that the window is over, and `ended` that the stream is.
        """
        self._now = self._clock()
        several = len(self._candidates.all) > 1
        self._keep_best(in_vain=in_vain)
        numbers = self._numbers
        if several and numbers.begun:  # these have a window of their own
            self._release(numbers, filled=True)
            return
        if not numbers.held:
            self._let_followers_go(numbers, all_of_them=True, sure=ended)
            return
        self._leave_out(numbers, in_vain=True)
        if in_vain:
            self._lose_patience(numbers)
        elif numbers.misses_any and not numbers.paid and self._is_felt():
            numbers.blame()
        self._go_on(numbers, in_vain=in_vain)

    def _go_on(self, numbers: Numbers, *, in_vain: bool) -> None:
        """Hand on what is held without what should come before it: in order, if the numbers are one."""
        if not numbers.late or numbers.may_be_sorted:
            if numbers.held and not numbers.begun:
                numbers.begin(numbers.lowest)
            if numbers.held and numbers.expected not in numbers.held:
                outliers.let_repeats_stand(numbers, self._followers, self.waiting)
                numbers.skip_to(min(numbers.held))
            self._release(numbers, filled=False, sure=True)
        elif in_vain:
            self._refute(numbers)
            return
        else:
            numbers.start_over()
            self._let_all_go()
        self._look_at(numbers)

    def _leave_out(self, numbers: Numbers, *, in_vain: bool) -> None:
        """Let events go on as they came whose numbers no other one confirms."""
        if outliers.leave_out(numbers, in_vain=in_vain):
            self._keep(numbers)

    def _is_felt(self) -> bool:
        """Return whether the event that has waited longest has done so for a time that anybody may notice."""
        return self._now - next(iter(self.waiting.values())).since >= _FELT_SECONDS

    def _keep_best(self, *, in_vain: bool) -> None:
        best = self._candidates.best(in_vain=in_vain)
        if self._numbers is not best:
            self._keep(best)

    def _lose_patience(self, numbers: Numbers) -> None:
        """Take note of a wait in vain, for this stream and for the next ones of this server."""
        trust = numbers.trust
        if not numbers.begun and trust.waits_for_start:
            trust.start_was_waited_for(numbers.lowest)
        if not numbers.patient or not numbers.misses_any:
            return
        if numbers.paid:
            numbers.paid = False
        else:
            numbers.lose_patience()

    # --- what is found

    def _look_at(self, numbers: Numbers) -> None:
        """Count what the numbers show, or go by them no longer."""
        if numbers.is_hopeless:
            self._refute(numbers)
            return
        if numbers.is_doubtful and numbers.is_relied_on:
            self._record_unusable()
        if numbers.is_proved:
            numbers.regain_patience()
            self._record_strays(numbers)

    def _record_late(self, numbers: Numbers) -> None:
        """Count an event that came out of order: to wait for it pays."""
        numbers.patient = numbers.paid = True
        numbers.trust.paid()
        self._ledger.record(SEQUENCE_OUT_OF_ORDER)

    def _record_strays(self, numbers: Numbers) -> None:
        """Count what came too late to be put in order."""
        for _ in range(numbers.strays):
            self._record_late(numbers)
            self._ledger.failed(SEQUENCE_OUT_OF_ORDER)
        numbers.strays = 0

    def _record_unusable(self) -> None:
        if not self._unusable:
            self._unusable = True
            self._ledger.record(SEQUENCE_UNUSABLE)

    def _close(self, numbers: Numbers) -> None:
        """Count what never came, and remember where the stream began."""
        if numbers.shows_losses:
            self._record_strays(numbers)
            for _ in range(numbers.holes):
                self._ledger.record(SEQUENCE_GAP)
        if (numbers.jumps or (numbers.holes and not numbers.shows_losses)) and numbers.is_relied_on:
            self._record_unusable()
        if self._request.starting_after is None and (numbers.is_proved or numbers.is_contiguous):
            numbers.trust.starts = numbers.first
