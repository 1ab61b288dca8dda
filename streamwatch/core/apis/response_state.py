"""The state of a response that the rules of the Responses API share, and the events that are put in."""

from __future__ import annotations

from typing import Any

from streamwatch.core.answer_parts import as_number
from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.output_items import Item, OutputItems, Part, Statement, key_of
from streamwatch.core.apis.response_families import Family
from streamwatch.core.context import Context
from streamwatch.core.kinds import RESPONSE_EVENT_MISSING
from streamwatch.core.vocabulary import Evidence, Level

#: Texts whose next delta is known at a glance. Answers have one or two that are open at once.
_MAX_OPEN = 32


class ResponseState(ApiState):
    """The state of one streamed response."""

    __slots__ = (
        *("_first_number", "_number", "_unnumbered", "_unordered", "answered", "counts_deltas", "items"),
        *("kept", "open", "partial", "unproved", "unread"),
    )

    number_member = "sequence_number"

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self.items = OutputItems()
        self.partial = False  #: begins in the middle, or is too long to be remembered: what is not known is not missing
        self.answered = False  #: something came that answers: text, a call, an image ...
        self.counts_deltas = False  #: the server counts deltas where the index of a part belongs
        self.kept = 0  #: bytes of finished items
        self.unread = False  #: something came that may be text of any item
        self.unproved = 0  #: parts with text that was put in, and that only its source says
        self.open: dict[tuple[Any, Any, Any], Part] = {}  #: by type, output index and index of the part
        self._number: int | None = None
        self._unnumbered = 0  # events without a number
        self._first_number: int | None = None
        self._unordered = False

    # --- numbers

    def see_number(self, number: Any) -> None:
        """Take note of the number of the event that is looked at."""
        known = number if type(number) is int and as_number(number) is not None else None
        if known is None:
            self._unnumbered += 1
        else:
            self._unordered = self._unordered or (self._number is not None and known <= self._number)
            self._first_number = known if self._first_number is None else self._first_number
        self._number = known

    @property
    def ordered(self) -> bool:
        """Return whether the numbers say that nothing more comes of what has closed."""
        return self._number is not None and not self._unordered

    @property
    def lost_events(self) -> bool:
        """Return whether the numbers say that events were lost: then `sequence_gap` counts what is missing."""
        if self._first_number is None or self._number is None:
            return False
        return self._number - self._first_number + 1 > sum(self.counts.values()) - self._unnumbered

    def put_in(self, type_: str, **payload: Any) -> None:
        """Hand on an event that never came.

        It has the number of the event before it, where events have any: a program compares them, as the SDK's helper
        does, and a client that resumes after that one misses nothing.
        """
        number = {} if self._number is None else {"sequence_number": max(self._number - 1, 0)}
        self.insert({"type": type_, **number, **payload})

    # --- items and texts

    def remember(self, item: Item, index: Any, head: dict[str, Any]) -> None:
        """Know an item from now on, if there is room: by its ids, and by the index under which it came."""
        self.items.add(item, index, key_of(head.get("id")), head.get("call_id"))
        if self.items.full:
            self.partial = item.partial = True

    def listen(self, part: Part, item: Item, where: tuple[Any, Any, Any]) -> None:
        """Know the next delta of a text at a glance: where its events say that it is."""
        if part.item_id is not None and len(self.open) < _MAX_OPEN and part.is_open and not item.partial:
            self.open[where] = part
            part.listened = True

    def misread(self, payload: dict[str, Any]) -> None:
        """Take note of an event that may carry text of an item, which nobody knows to read: it is not lost."""
        named = self.items.by_id(payload.get("item_id")), self.items.at(payload.get("output_index"))
        for item in named:
            if item is not None:
                item.unread = True
        self.unread = self.unread or named == (None, None)

    def forget(self, part: Part) -> None:
        """Look closely at what comes of a text from now on."""
        if part.listened:
            part.listened = False
            len(part.text)  # sums it
            for where in [where for where, known in self.open.items() if known is part]:
                del self.open[where]

    def new_part(self, item: Item, family: Family, key: str, index: int) -> Part:
        """Return a new part of an item."""
        old = item.part(key, index)
        if old is not None:
            self.forget(old)
        part = self.items.open_part(item, family, key, index)
        self.partial = self.partial or self.items.full
        return part

    def deliver(self, part: Part, tail: str, source: Statement) -> None:
        """Take note of text that is put in, and of which statement says it."""
        part.text.add(tail)
        part.source = source
        self.unproved += 1

    def confirm(self, part: Part, statement: Statement) -> None:
        """Take note that a statement says what was delivered.

        Where text was put in, only the item or the terminal event is evidence, and not what it was taken from.
        """
        if part.source and statement <= max(part.source, Statement.PART):
            return
        if part.source and not part.confirmed:
            self.unproved -= 1
        part.confirmed = True
        self.agrees = self.agrees is not False

    def dispute(self) -> None:
        """Take note that a statement says otherwise."""
        self.agrees = False

    def evidence(self, evidence: Evidence) -> bool | None:
        agrees = super().evidence(evidence)
        return None if agrees and self.unproved else agrees

    # --- what is missing

    def missing(self, level: Level) -> bool:
        """Count an event that never came, and return whether it is to be put in."""
        return self.record(RESPONSE_EVENT_MISSING, level)
