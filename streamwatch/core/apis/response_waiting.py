"""The waits of a response: for later events to say which item the first ones are about, or what their index counts.

Without waiting the SDK's helper raises on the first of them, or a text is taken for lost.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.answer_parts import TERMINAL
from streamwatch.core.apis.output_items import Part, key_of
from streamwatch.core.apis.response_families import CALLS, FAMILIES, ITEM, OTHER, PARTS, family_of
from streamwatch.core.apis.response_references import (
    find,
    goes_on_counting,
    introduce,
    is_about,
    level_of,
    may_count,
    meet,
)
from streamwatch.core.apis.response_state import ResponseState
from streamwatch.core.context import Context
from streamwatch.core.kinds import RESPONSE_EVENT_MISSING
from streamwatch.core.nothing import NOTHING
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import Level


class WaitingResponse(ResponseState):
    """The state of a response whose events wait, if they have to. A subclass writes `take`."""

    __slots__ = ("_counting", "_late", "_set_aside", "_waits", "began", "over")

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self.began = False  #: an event of this API came
        self.over = False  #: the terminal event came
        self._late: tuple[Any, Any] | None = None  # key and index of an item that is waited for
        self._counting: dict[str, Any] | None = None  # a delta whose index may count deltas: the next one says
        self._waits = self.ledger.wants(RESPONSE_EVENT_MISSING, Level.HELPER)  # and it was not in vain yet
        self._set_aside: dict[tuple[Any, Any, Any], Part] = NOTHING  # what `open` is when nothing is waited for

    def take(self, event: Event) -> None:
        """Look at an event in its turn, and hand it on or drop it."""

    def see(self, event: Event) -> None:
        if self._late is not None:
            self._see_late(event)
        elif self._counting is not None:
            self._see_next(event, self._counting)
        elif self._waits and self._must_wait(event.payload):
            self._late = key_of(event.payload.get("item_id")), event.payload.get("output_index")
            self._hold_back(event)
        elif may_count(self, event.payload):
            self._counting = event.payload
            self._hold_back(event)
        else:
            self.take(event)

    def _must_wait(self, payload: dict[str, Any]) -> bool:
        """Return whether to wait for what an event is about.

        Nobody announced it, the SDK's helper would raise, and without its ids nobody can announce it.
        """
        if self.partial or not self.began or self.over:
            return False
        type_ = payload.get("type")
        name = type_.rpartition(".")[0] if isinstance(type_, str) else ""
        item = (family_of(payload.get("part")) if name in PARTS else FAMILIES.get(name, OTHER)).item
        if not item or not self.ledger.wants(RESPONSE_EVENT_MISSING, level_of(item)):
            return False
        named = item not in CALLS and key_of(payload.get("item_id")) is not None
        return not named and find(self, payload, item) is None

    def _hold_back(self, event: Event) -> None:
        """Hold an event, and look closely at all that come behind it."""
        self._set_aside, self.open = self.open, {}
        self.hold(event)

    def _see_late(self, event: Event) -> None:
        """Hold what comes, until an event says what the first one of them is about."""
        self.hold(event)
        if self._late is None:
            return  # the window is full
        payload = event.payload
        type_, item = payload.get("type"), payload.get("item")
        if type_ == f"{ITEM}.added" and self._is_late(item, payload):
            self._replay([event, *self.held])
        elif type_ == f"{ITEM}.done" and self._is_late(item, payload):
            self._announce_late(item)
        elif type_ in TERMINAL or type_ == "error":
            self._replay(self.held)

    def _is_late(self, item: Any, payload: dict[str, Any]) -> bool:
        key, index = self._late or (None, None)
        if not isinstance(item, dict):
            return False
        return key_of(item.get("id")) == key if key is not None else payload.get("output_index") == index

    def _announce_late(self, said: dict[str, Any]) -> None:
        held, (_, index) = self.held, self._late or (None, None)
        last, number = self._number, held[0].payload.get("sequence_number")
        self._number = number if type(number) is int else None  # it goes before the first of them
        introduce(self, meet(self, {"output_index": index}, said, index), {"output_index": index})
        self._number = last
        self._replay(held)

    def _see_next(self, event: Event, first: dict[str, Any]) -> None:
        """Hold what comes, until an event about the same item says whether the first delta's index counts deltas."""
        self.hold(event)
        if self._counting is None:
            return  # the window is full
        payload, type_ = event.payload, event.payload.get("type")
        self.counts_deltas = goes_on_counting(first, payload)
        if self.counts_deltas or is_about(first, payload) or type_ in TERMINAL or type_ in (f"{ITEM}.done", "error"):
            self._replay(self.held)

    def _replay(self, events: list[Event]) -> None:
        self._late = self._counting = None
        self.open = self._set_aside
        for event in dict.fromkeys(events):
            self.take(event)

    def give_up_waiting(self) -> None:
        if self._late is not None:
            self._waits = False
        if (self._late or self._counting) is not None:
            self._replay(self.held)
