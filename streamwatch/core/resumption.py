"""The place up to which a response was read, and the proof that another answer goes on from there.

How it works. A server that keeps a background response gives its events again from any number on. `ResumePoint` parses
the JSON of a stream as it comes, and so knows the id of the response and the last number before which nothing is
missing. `Continuation` decodes another answer and lets through what follows that number, and nothing else: an event
that came before is left out if it is the same, and everything that does not fit ends the matter.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from typing import Any

from streamwatch.core.answer_parts import TERMINAL
from streamwatch.core.apis.response_families import is_index
from streamwatch.core.digest import digest_of
from streamwatch.core.ledger import Ledger
from streamwatch.core.settings import Policy
from streamwatch.core.sse import Decoder, Event, written

#: Events of which a digest is kept, the latest ones: 32 KiB a stream. A server that was asked for what follows the last
#: event repeats a few, or begins at the start.
_DIGESTS = 4096
#: Items whose ids are kept: the longest recorded response has 60.
_MAX_ITEMS = 1024
#: Characters of an id that is asked for.
_MAX_ID = 512
#: Numbers that came early, as a relay mixes them up: with one in hand, nothing is asked for.
_MAX_EARLY = 64
_NOTHING_REPAIRED = Policy("none")


class ResumePoint:
    """A parser of the JSON of one response's events, which knows how far the response came.

    Args:
        loads: bytes of a JSON text to its value; raises ValueError.
        id: the response's id, where the request named it.
        after: the number of the event after which the request wanted to read.
    """

    __slots__ = ("_digests", "_early", "_items", "_knows_items", "_loads", "_unusable", "id", "is_over", "last")

    def __init__(self, loads: Callable[[bytes], Any], id: str = "", after: int | None = None) -> None:
        self._loads = loads
        self.id = id[: _MAX_ID + 1]
        self.last = after  #: up to here every event came
        self.is_over = False  #: the event that ends the response came
        self._early: dict[int, int] = {}  # number -> digest, of what came before its turn
        self._digests = array("q")  # of the last events, the latest last
        self._items: set[str] = set()
        self._knows_items = after is None
        self._unusable = False

    def __call__(self, raw: bytes) -> Any:
        """Return the value of a JSON text, of which note is taken; raises what `loads` raises."""
        value = self._loads(raw)
        if type(value) is dict:
            self.see(value, raw)
        return value

    @property
    def can_be_asked_for(self) -> bool:
        """Whether the server can be asked for what follows: the response is known, not over, and has no hole."""
        known = 0 < len(self.id) <= _MAX_ID and self.last is not None
        return known and not (self.is_over or self._unusable or self._early)

    @property
    def next(self) -> int:
        """The number of the event that comes next."""
        return 0 if self.last is None else self.last + 1

    def see(self, payload: dict[str, Any], raw: bytes) -> None:
        """Take note of an event that came, in the order of arrival."""
        number, response = payload.get("sequence_number"), payload.get("response")
        if type(response) is dict:
            self._see_response(response)
        if payload.get("type") == "error" or payload.get("error"):
            self.is_over = True
        if not is_index(number):
            self._unusable = self._unusable or is_of_response(payload)
        elif self.last is None or number == self.last + 1:
            self.take(number, payload, raw)
        elif number > self.last and not self._unusable:
            self._early[number] = digest_of(raw)
            self._unusable = len(self._early) > _MAX_EARLY

    def take(self, number: int, payload: dict[str, Any], raw: bytes) -> None:
        """Take note of the event that comes next."""
        type_, item = payload.get("type"), payload.get("item")
        self.is_over = self.is_over or type_ in TERMINAL
        self._knows_items = self._knows_items and (self.last is not None or number == 0)
        if type_ == "response.output_item.added" and type(item) is dict and type(item.get("id")) is str:
            self._knows_items = self._knows_items and len(self._items) < _MAX_ITEMS
            if self._knows_items:
                self._items.add(item["id"])
        self.last = number
        self._digests.append(digest_of(raw))
        if len(self._digests) > 2 * _DIGESTS:
            del self._digests[:-_DIGESTS]
        while self.last + 1 in self._early:
            self.last += 1
            self._digests.append(self._early.pop(self.last))

    def came(self, number: int, raw: bytes) -> bool:
        """Return whether the same event came under this number, as far as is remembered."""
        at = len(self._digests) - (self.next - number)
        return 0 <= at < len(self._digests) and self._digests[at] == digest_of(raw)

    def fits(self, payload: dict[str, Any]) -> bool:
        """Return whether an event is about this response, and about an item that it has announced."""
        response, item = payload.get("response"), payload.get("item_id")
        if type(response) is dict and response.get("id", self.id) != self.id:
            return False
        return not (self._knows_items and type(item) is str and item not in self._items)

    def _see_response(self, response: dict[str, Any]) -> None:
        id = response.get("id")
        if not self.id and type(id) is str:
            self.id = id[: _MAX_ID + 1]
        kept = response.get("background") is not False and response.get("store") is not False
        self._unusable = self._unusable or not kept or id not in (None, self.id)


def is_of_response(payload: dict[str, Any]) -> bool:
    """Return whether an event is a part of a response, and no keep-alive or frame of a gateway's own."""
    type_ = payload.get("type")
    return type(type_) is str and type_.startswith("response.") and type_ != "response.keep_alive"


class Continuation:
    """An answer that is to go on from a point: the bytes of its body in, those that follow out."""

    def __init__(self, point: ResumePoint, max_event_bytes: int) -> None:
        self.is_wrong = False  #: something came that does not follow
        self.is_useful = False  #: something came that does
        self._point = point
        self._decoder = Decoder(Ledger(_NOTHING_REPAIRED), max_event_bytes, observe=True)

    def push(self, data: bytes) -> bytes:
        """Return the events that follow, up to the first that does not; nothing more may be pushed after that."""
        following = bytearray()
        for event in self._decoder.push(data):
            follows = self._follows(event)
            if follows is None:
                continue
            if not follows:
                self.is_wrong = True
                break
            following += written(event)
        self.is_wrong = self.is_wrong or self._decoder.rest is not None
        return bytes(following)

    def _follows(self, event: Event) -> bool | None:
        """Return whether an event follows; None for one that came before."""
        if event.raw.startswith(b"[DONE]"):
            return self._point.is_over
        try:
            payload = json.loads(event.raw)
        except (ValueError, RecursionError):
            return False
        if type(payload) is not dict:
            return False
        number, point = payload.get("sequence_number"), self._point
        if not is_index(number):
            return not (is_of_response(payload) or payload.get("type") == "error" or payload.get("error"))
        if number < point.next:
            return None if point.came(number, event.raw) else False
        if number > point.next or point.is_over or not point.fits(payload):
            return False
        point.take(number, payload, event.raw)
        self.is_useful = True
        return True
