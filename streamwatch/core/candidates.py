"""The numbers that may be a stream's order, where it begins by each of them, and which are gone by."""

from __future__ import annotations

from typing import Any

from streamwatch.core.answer_parts import as_number, is_content, opens_chat
from streamwatch.core.context import Context
from streamwatch.core.patience import Patience
from streamwatch.core.sequence import Numbers
from streamwatch.core.sse import Event

#: Events without a number before none is looked for: gateways put a few of their own before an answer.
_LOOKED_AT = 8


class Candidates:
    """The numbers that the events of one stream carry, by their names.

    `number_member` is the member that the protocol promises, or "" where a relay may have stamped the events. `far`
    is a distance that no window bridges; `waits` says that an event may be held at all.
    """

    __slots__ = (
        *("_far", "_looked", "_names", "_patience", "_request", "_waits", "all", "exhausted", "promised"),
        "started",
    )

    def __init__(
        self, context: Context, number_member: str, patience: Patience | None, *, far: int, waits: bool
    ) -> None:
        self._request = context.request
        self._names = (number_member,) if number_member else (*context.settings.sequence_fields, "")
        self._patience = patience or Patience()
        self._far = far
        self._waits = waits
        self._looked = 0  # events before the first number
        self.promised = bool(number_member)
        self.all: list[Numbers] = []  #: the best name first
        self.started = False  #: a part of the answer went on by no number, or by one that was given up
        self.exhausted = False  #: there are no numbers, and none is looked for any more

    def look_at(self, event: Event) -> bool:
        """Return whether an event has numbers: all of them are candidates from now on."""
        for name in self._names:
            value = event.payload.get(name) if name else event.id
            number = None if value is None else as_number(value)
            if number is not None:
                each = Numbers(name, self._patience.of(name), self._far, promised=self.promised)
                self._presume_start(each, number, event.payload)
                self.all.append(each)
        if len(self.all) > 1:
            self._spare_waits(event)
        if not self.all:
            content = is_content(event.payload, beside_role=True)
            self.started = self.started or content
            self._looked += 1
            self.exhausted = self._looked >= _LOOKED_AT or (content and not self.promised)
        return bool(self.all)

    def _spare_waits(self, event: Event) -> None:
        """Let no number wait for its start that others would have to wait with, where that never paid."""
        for each in self.all:
            number = each.of(event)
            if number is not None and not (each.begun or each.trust.waits_for_start):
                each.begin(number)

    def _presume_start(self, each: Numbers, number: int, payload: dict[str, Any]) -> None:
        """Take the first number for the start, or wait for a smaller one, if nothing says that this is the start."""
        after = self._request.starting_after if self.promised else None
        starts = each.trust.starts if after is None else after + 1
        if after is None:
            known = number == starts or self.opens(payload) or self._may_be_resumed(payload)
        else:
            known = number <= after + 1
        if known or not number or self.started or not self._waits:
            each.begin(number)
        elif starts is not None and starts < number:
            each.expected = starts

    def opens(self, payload: dict[str, Any]) -> bool:
        """Return whether an event is one that a stream begins with."""
        if self.promised:
            return bool(payload.get("type") == "response.created")
        return opens_chat(payload, several=(self._request.n or 1) > 1)

    def _may_be_resumed(self, payload: dict[str, Any]) -> bool:
        """Return whether nothing is known of the request, and the response is of the sort that can be resumed."""
        response = payload.get("response") if self.promised and self._request.n is None else None
        return type(response) is dict and response.get("background") is True

    def proved(self) -> Numbers | None:
        """Return the numbers to go by, if there is no other choice, or if they have proved themselves."""
        best = next((each for each in self.all if len(self.all) == 1 or each.is_proved), None)
        if best is None:
            return None
        at = self.all.index(best)
        others = [(each, place > at) for place, each in enumerate(self.all) if each is not best]
        return best if all(best.stands_against(each, preferred=worse) for each, worse in others) else None

    def best(self, *, in_vain: bool) -> Numbers:
        """Return the numbers that count best; the others were waited for `in_vain` or not."""
        best = max(self.all, key=lambda each: each.score)
        if in_vain:
            for each in self.all:
                if each is not best and each.misses_any:
                    each.blame()
        return best

    def refute(self, each: Numbers) -> None:
        """Go by these numbers no longer, and look at no others of that name."""
        self.all.remove(each)
        self._names = tuple(name for name in self._names if name != each.name)
        if each.waited:  # numbers that refute themselves at once cost nobody anything
            each.trust.refuted()
        self.started = self.started or not self.all
