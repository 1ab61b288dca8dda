"""What the messages of a connection prove about their order: by their numbers, within a response, and by nothing else.

What Streamwatch has handed on is held against what came. Messages are right in another order where

 1. of two that are about one response, the one with the lower number comes first now;
 2. a message comes later than others that are about other responses, because a lower number than its own was missing;
 3. a message without a number has kept its place behind a message that waited.

A message is right to be missing where the same one came before it, under the same number. Nothing else may be missing,
and nothing may be there that did not come.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from .ideal_order import STAMPS, in_order, number
from .messages import ENDS, Events, connections, is_message, message, responses_of
from .wire import Event, Stream


def proved(stream: Stream, handed: list[bytes | None]) -> Stream | None:
    """Return the stream in the order in which its messages were handed on, if they prove it; else None."""
    events: Events = []
    left = [*handed]
    for came in connections(stream.events):
        ended = None in left
        end = left.index(None) if ended else len(left)
        went, left = left[:end], left[end + 1 :]
        order = _Connection(stream.api, came).ordered([data for data in went if data is not None], ended=ended)
        if order is None:
            return None
        events += [*order, came[-1]]
    return stream.of(events)


class _Connection:
    """The messages of one connection, and what they say about each other."""

    def __init__(self, api: str, events: Events) -> None:
        self.events = [event for event in events if is_message(event)]
        self.owners = responses_of(self.events, api)
        self.fields = ("sequence_number",) if api == "responses_socket" else STAMPS
        self.counted = [_with_integer(event) for event in self.events]

    def ordered(self, went: list[bytes], *, ended: bool) -> Events | None:
        """Return the messages in the order in which they went, if it is proved.

        A reader that has not come to the end of the connection may have left some.
        """
        for first in (False, True):
            places = self._places(went, first=first)
            order = None if places is None else self._in_turn(places, ended=ended)
            if order is not None:
                return order
        return None

    def _in_turn(self, places: list[int], *, ended: bool) -> Events | None:
        missing = set(range(len(self.events))).difference(places, self.repeats)
        last = len(self.events) if ended else max(places, default=-1)
        if any(place < last and (ended or not self._may_wait(place)) for place in missing):
            return None
        turn = {place: at for at, place in enumerate(places)}
        for later in places:
            for earlier in range(later):
                if earlier in turn and turn[earlier] > turn[later] and not self._may_overtake(later, earlier, turn):
                    return None
        return [self.events[place] for place in (*places, *sorted(missing))]

    def _places(self, went: list[bytes], *, first: bool) -> list[int] | None:
        """Return which message each one is that went: of several that are alike, the nearest to the last that went.

        Or the `first` of them: which it is nobody can see.
        """
        came: dict[bytes, list[int]] = defaultdict(list)
        for place, event in enumerate(self.events):
            came[message(event)].append(place)
        places: list[int] = []
        for data in went:
            left = came[data]
            if not left:
                return None
            last = places[-1] if places else 0
            place = min(left, key=lambda place, last=last: place if first else abs(place - last))  # type: ignore[misc]
            left.remove(place)
            places.append(place)
        return places

    @cached_property
    def stamps(self) -> list[int | None]:
        """The number of each message, where the numbers of its response prove an order."""
        found: list[int | None] = [None] * len(self.events)
        for places in self._responses.values():
            field = self._field([self.counted[place] for place in self._within(places)])
            for place in places if field else ():
                found[place] = number(self.counted[place], field)
        return found

    @cached_property
    def numbers(self) -> list[int | None]:
        """The same without wrong ones: they prove no order, and still that a message comes again."""
        right = {place for places in self._responses.values() for place in self._within(places)}
        return [stamp if place in right else None for place, stamp in enumerate(self.stamps)]

    def _within(self, places: list[int]) -> list[int]:
        """Return the messages of a response without those that are numbered above its end: those numbers are wrong."""
        member = self.fields[0]
        ends = [number(self.counted[place], member) for place in places if self.events[place].type in ENDS]
        end = next((found for found in ends if found is not None), None)
        return [place for place in places if end is None or (number(self.counted[place], member) or 0) <= end]

    @cached_property
    def _responses(self) -> dict[tuple[str, str], list[int]]:
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, owner in enumerate(self.owners):
            if owner is not None:
                found[owner].append(place)
        return found

    def _field(self, events: Events) -> str:
        """Return the field whose numbers prove an order of a response; "" if there is none."""
        return next((field for field in self.fields if next(in_order(events, field), None) is not None), "")

    @cached_property
    def repeats(self) -> set[int]:
        """The places of messages that came before, under the same number."""
        found = set()
        for places in self._responses.values():
            seen: dict[tuple[int, bytes], int] = {}
            for place in places:
                number_, data = self.stamps[place], message(self.events[place])
                if number_ is not None and seen.setdefault((number_, data), place) != place:
                    found.add(place)
        return found

    @cached_property
    def early(self) -> set[int]:
        """The places of messages before which a lower number of their response was missing when they came."""
        found: set[int] = set()
        for places in self._responses.values():
            begin = [place for place in places if self.events[place].type == "response.created"]
            start = next((n for place in begin if (n := self._promised(place)) is not None), 0)
            came: set[int] = set()
            for place in places:
                own = self._promised(place)
                if own is None:
                    continue
                first = start if start <= own else 0
                if len([lower for lower in came if first <= lower < own]) < own - first:
                    found.add(place)
                came.add(own)
        return found

    def _promised(self, place: int) -> int | None:
        """Return the number that the protocol promises: it says what is missing, whatever the others say."""
        return number(self.counted[place], self.fields[0]) if len(self.fields) == 1 else self.numbers[place]

    def _may_overtake(self, later: int, earlier: int, turn: dict[int, int]) -> bool:
        """Whether a message may go before one that came before it."""
        own, other = self.owners[later], self.owners[earlier]
        if own is None:
            return False
        if own == other and self.numbers[earlier] is not None:
            return self._is_lower(later, earlier)
        if own != other and self._waited(earlier, turn[later], turn):
            return True
        before = (
            place for place in range(earlier) if self.owners[place] == own and turn.get(place, -1) < turn[earlier]
        )
        return any(self._is_lower(later, place) for place in before)

    def _may_wait(self, place: int) -> bool:
        """Whether a message may still have waited when a reader left: for a lower number, or behind one that did."""
        if self._promised(place) is not None:
            return place in self.early
        lane = (self.owners[place] or ("",))[0]
        return any(at < place and lane in ("", (self.owners[at] or ("",))[0]) for at in self.early)

    def _is_lower(self, one: int, other: int) -> bool:
        """Whether one message has a lower number than another one."""
        first, second = self.numbers[one], self.numbers[other]
        return first is not None and second is not None and first < second

    def _waited(self, place: int, turn_of_later: int, turn: dict[int, int]) -> bool:
        """Whether a message waited while another response went on: for a number, or behind one that waited for one."""
        early = {self.owners[at] for at in self.early if at <= place and turn.get(at, -1) > turn_of_later}
        own = self.owners[place]
        return bool(early) if own is None else own[0] in {lane for lane, _ in filter(None, early)}


def _with_integer(event: Event) -> Event:
    """Return a message whose number is written as text with the number itself."""
    written = event.payload.get("sequence_number") if event.is_object else None
    if not isinstance(written, str) or not written.isdecimal():
        return event
    return event.holding({**event.payload, "sequence_number": int(written)})
