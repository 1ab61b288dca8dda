"""The output items of a streamed response and their parts: what was announced, what was delivered, what is done.

Texts are not kept: a length and a checksum show whether what is said at the end equals what was delivered.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from enum import Enum, IntEnum
from typing import Any

from streamwatch.core.apis.response_families import BY_ITEM, CALLS, FAMILIES, ITEM_TYPES, SILENT_TYPES, Family, is_index
from streamwatch.core.digest import RunningDigest
from streamwatch.core.nothing import NOTHING

#: Items that are remembered. An agent's longest answers have dozens; what comes beyond is passed on.
_MAX_ITEMS = 512
#: Parts of an item that are remembered: many times what any recorded answer has.
_MAX_PARTS = 128
#: Parts of all items: a stream must not cost memory. Recorded answers have up to 40.
_MAX_ALL_PARTS = 1024
#: Characters of an id or a name that is kept, to be written into events. Encrypted ids of relays have some hundred.
_LONGEST = 1024
#: Characters of all that is kept so. A thousand ids of OpenAI's have 50,000.
_MAX_KEPT = 128 << 10
#: Characters of an id up to which it is its own key; of a longer one its hash is enough to know it again. OpenAI's
#: have 55.
_LONGEST_KEY = 64
#: Bits of an index that is kept as it came.
_INDEX_BITS = 64
#: The first index of an item that no server announced: no announcement of the server ever asks for it, as the items of
#: an answer are numbered from 0.
_FIRST_MADE_UP = 10_000
#: What an announcement says of an item, apart from its texts.
_HEAD = ("id", "type", "call_id", "name", "role", "phase")

_MEMBERS = tuple(dict.fromkeys(family.member for family in FAMILIES.values()))
#: Nothing was announced. Shared, and never added to.
_NOTHING = RunningDigest()


class Match(Enum):
    """The result of comparing a stated text with what was delivered of it."""

    EQUAL = "equal"
    TAIL = "tail"  #: what was delivered is how it begins
    LESS = "less"  #: less was delivered, and it is not how it begins
    OTHER = "other"  #: another text, or a shorter one, is said


class Statement(IntEnum):
    """The sorts of statement that repeat a text as a whole, in the order in which they come."""

    NONE = 0
    TEXT = 1  #: `*.done` of the text itself
    PART = 2
    ITEM = 3
    TERMINAL = 4


def key_of(value: Any) -> Hashable:
    """Return what an id is known again by; None where it is not an id."""
    if type(value) is not str or not value:
        return None
    return value if len(value) <= _LONGEST_KEY else (len(value), hash(value))


def kept_index(value: Any) -> Any:
    """Return an index to be written into events, as it came; None for what may be long."""
    short = (
        value.bit_length() <= _INDEX_BITS if type(value) is int else type(value) is str and len(value) <= _LONGEST_KEY
    )
    return value if short else None


class Part:
    """A part of an item, or the arguments of a call: something with a text."""

    __slots__ = (
        *("agreed", "announced", "confirmed", "counted", "disputed", "done", "family", "index", "item_id", "key"),
        *(
            "last",
            "listened",
            "made_up",
            "missed",
            "notes",
            "own_index",
            "put_in",
            "reference",
            "source",
            "text",
            "text_done",
            "told",
        ),
    )

    def __init__(self, item: Item, family: Family, key: str, index: int) -> None:
        self.item_id = item.id
        self.last = index - 1  #: the index of its last delta that was looked at closely
        self.counted = 0  #: characters that came in such deltas
        self.family = family
        self.key = key
        self.own_index = index  #: under which the server has it
        self.index = index  #: as it is handed on
        self.text = RunningDigest()  #: as it was delivered
        self.told = _NOTHING if family.part else item.told
        self.agreed = 0  #: characters of it, the announcement's included, as a statement says it too
        self.announced = False  #: by the server
        self.put_in = False  #: announced by an event that a repair put in
        self.listened = False  #: its next delta is known at a glance
        self.made_up = False  #: nothing of it came but its text, and what stands around that was put in too
        self.missed = False  #: that nobody announced it is counted
        #: How the server's events about it say which part is meant; None where that is by its index.
        self.reference: dict[str, Any] | None = None
        self.text_done = False
        self.done = False
        self.source = Statement.NONE  #: what text was put in from
        self.confirmed = False  #: another statement says the same
        self.disputed = False  #: that a statement says otherwise is counted
        self.notes = 0  #: annotations

    @property
    def begun(self) -> bool:
        """Return whether any text of it was delivered."""
        return len(self.text) > 0

    @property
    def is_open(self) -> bool:
        """Return whether text of it may still come."""
        return not (self.text_done or self.done)

    def refer(self, payload: dict[str, Any]) -> None:
        """Take note of how an event says that it is about this part; nothing long is kept."""
        said = payload.get(self.key)
        if self.family.part and is_index(said) and said == self.index:
            self.reference = None
        else:
            self.reference = {self.key: kept_index(said)} if self.key in payload else {}

    def is_next(self, index: int) -> bool:
        """Return whether an index counts the deltas of this part, as some servers have it."""
        return index == self.last + 1 and len(self.text) == self.counted

    def compare(self, said: str) -> Match:
        """Return how a text that is said compares with what was delivered."""
        text, told = self.text, self.told
        if text == said:
            return Match.EQUAL
        if len(told):
            # Who joins deltas begins with what the announcement said already, or leaves it out.
            whole = told.begins(said) and text == said[len(told) :]
            return Match.EQUAL if whole else Match.OTHER
        if text.begins(said):
            return Match.TAIL
        return Match.LESS if len(text) < len(said) else Match.OTHER


class Item:
    """An output item."""

    __slots__ = (
        *("alias", "announced", "call_id", "done", "finished", "head", "id", "index", "key", "listed"),
        *("missed", "order", "partial", "parts", "put_in", "reference", "shows_parts", "strayed", "told", "type"),
        "unread",
    )

    def __init__(self, head: dict[str, Any], index: int, *, partial: bool = False) -> None:
        self.head = head
        self.index = index
        self.id: str | None = head.get("id")
        self.alias: Any = None  #: what its events call it, where it was announced under the id of another item
        self.key: Hashable = key_of(self.id)
        self.call_id: str | None = head.get("call_id")
        self.type: str = head.get("type", "")
        self.partial = partial  #: its beginning was not seen: what is not known of it is not missing
        self.announced = False  #: by the server
        self.order = -1  #: how many the server announced before it: its index, if nothing is wrong
        self.put_in = False  #: announced by an event that a repair put in
        self.listed = False  #: in the event with which the response begins
        self.missed = False  #: that nobody announced it is counted
        #: How the server's events about it say which item is meant; None where that is by its id and its index.
        self.reference: dict[str, Any] | None = NOTHING
        self.strayed = False  #: its events come under the index of another item
        self.shows_parts = False  #: the server announces its parts
        self.unread = False  #: something came that may be text of it, in a form or at a place that is none of its own
        self.told = _NOTHING
        self.done = False
        self.finished: dict[str, Any] | None = None
        self.parts: list[Part] = []  #: in the order in which they were opened

    @property
    def is_shown(self) -> bool:
        """Return whether the reader knows it: it was announced, by whomever."""
        return self.announced or self.put_in or self.listed

    def fits(self, type_: str) -> bool:
        """Return whether an event that is about an item of this type may be about this one."""
        if not type_ or self.type == type_:
            return True
        says = self.type not in SILENT_TYPES or type_ not in ("message", "reasoning")
        return says and (self.type not in ITEM_TYPES or type_ not in ITEM_TYPES)

    def refer(self, payload: dict[str, Any]) -> None:
        """Take note of how an event says that it is about this item; nothing long is kept."""
        reference: dict[str, Any] = {name: payload[name] for name in ("item_id", "output_index") if name in payload}
        if "output_index" in payload:
            reference["output_index"] = kept_index(payload["output_index"])
        id = reference.get("item_id")
        if id:
            reference["item_id"] = kept_index(id) if type(id) is int else self.alias or self.id
        self.reference = None if reference == self._by_id_and_index() else reference

    def referred(self) -> dict[str, Any]:
        """Return the members by which the server's events about it say which item is meant."""
        return self._by_id_and_index() if self.reference is None else self.reference

    def _by_id_and_index(self) -> dict[str, Any]:
        return {"item_id": self.alias or self.id, "output_index": self.index}

    def part(self, key: str, index: Any) -> Part | None:
        """Return the part that the server has under an index; the latest one of several."""
        if is_index(index):
            for part in reversed(self.parts):
                if part.own_index == index and part.key == key:
                    return part
        return None

    def count_of(self, key: str) -> int:
        """Return how many parts of a sort there are."""
        return sum(part.key == key for part in self.parts)

    def parts_of(self, family: Family) -> list[Part]:
        """Return the parts that have this sort of text, in order."""
        return sorted((part for part in self.parts if part.family is family), key=lambda part: part.index)

    @property
    def has_begun(self) -> bool:
        """Whether a piece of a text of it came."""
        return any(part.begun for part in self.parts)

    def open_part(self, key: str) -> Part | None:
        """Return the part that is being written."""
        return next((part for part in reversed(self.parts) if part.key == key and not part.done), None)

    def last_part(self, key: str) -> Part | None:
        """Return the part that was opened last."""
        return next((part for part in reversed(self.parts) if part.key == key), None)

    def announcement(self) -> dict[str, Any] | None:
        """Return the announcement that the item should have had; None where not enough is known of it.

        An application answers a call by its call id, and the SDK's helper refuses an item that is announced
        and done under two ids: neither is ever made up.
        """
        known = self.call_id is not None and "name" in self.head if self.type in CALLS else self.id is not None
        if not self.type or not known:
            return None
        empty: dict[str, Any] = {}
        if self.type == "message":
            empty = {"role": "assistant", "content": []}
        elif self.type == "reasoning":
            empty = {"summary": []}
        elif self.type in BY_ITEM:
            empty = {BY_ITEM[self.type].member: ""}
        return {**empty, **self.head, "status": "in_progress"}


class OutputItems:
    """The items of one response, found by what they are before where they are."""

    __slots__ = (
        *("_at", "_by_call", "_by_key", "_holders", "_items", "_kept", "_made_up", "_parts", "_shared", "_strays"),
        *("announced", "full", "next_index", "unremembered"),
    )

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._by_key: dict[Hashable, Item] = {}
        self._by_call: dict[Hashable, Item] = NOTHING
        self._shared: dict[Hashable, None] = NOTHING  # ids that the server gives to several items: they say nothing
        self._at: dict[int, Item] = {}  # by the index under which the server announced it, the latest
        self._strays: dict[tuple[Any, str], Item] = NOTHING  # by the index of another item, and their own type
        self._made_up = _FIRST_MADE_UP
        self._kept = 0
        self._parts = 0
        # By the index under which they are handed on, the first; only where `_at` has another one, or one too many.
        self._holders: dict[int, Item | None] = NOTHING
        self.announced = 0  #: how many items the server announced
        self.next_index = 0  #: the index of an item that is announced now: servers announce items in their order
        self.full = False  #: there is more than is remembered
        self.unremembered = 0  #: characters of answers that an earlier response of the same stream delivered

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # --- finding

    def by_id(self, id: Any) -> Item | None:
        """Return the item with an id; None where several have it."""
        key = key_of(id)
        return None if key is None or key in self._shared else self._by_key.get(key)

    def by_call(self, call_id: Any, type_: Any) -> Item | None:
        """Return the call with a call id: an output of it has the same one, and is another item."""
        key = key_of(call_id)
        item = None if key is None else self._by_call.get(key)
        return item if item is not None and item.type == type_ else None

    def at(self, index: Any) -> Item | None:
        """Return the item that the server announced last under an index."""
        return self._at.get(index) if is_index(index) else None

    def holder(self, index: int) -> Item | None:
        """Return the item that is handed on under an index."""
        return self._holders[index] if index in self._holders else self._at.get(index)

    def stray(self, index: Any, type_: str) -> Item | None:
        """Return the item of a type whose events come under the index of another item, while it is not done."""
        item = self._strays.get((index if is_index(index) else None, type_))
        return None if item is None or item.done else item

    def only_open(self, type_: str) -> Item | None:
        """Return the one item of a type that is not done; None where there are more, or none."""
        still_open = [item for item in self._items if not item.done and item.fits(type_)]
        return still_open[0] if len(still_open) == 1 else None

    def by_place(self) -> list[Item]:
        """Return the items in the order of their indexes."""
        return sorted(self._items, key=lambda item: item.index)

    def answer(self) -> bool:
        """Return whether any item answers: not a message without text, and no reasoning."""
        texts = any(part.begun for part in self.parts() if part.family.is_answer)
        return texts or any(item.type not in ("message", "reasoning") for item in self._items)

    def delivered(self) -> int:
        """Return how many characters of answers were delivered, however often they were said."""
        parts = (part for part in self.parts() if part.family.is_answer)
        return sum(part.agreed or len(part.text) or len(part.told) for part in parts) + self.unremembered

    def astray(self, part: Part) -> bool:
        """Return whether there is text that may be of a part, as nobody announced what it came under."""
        return any(
            other.family is part.family and other is not part and other.begun and not (other.confirmed or other.source)
            for item in self._items
            for other in item.parts
            if item.missed or other.missed or (other.family.part and not other.announced)
        )

    def parts(self) -> Iterator[Part]:
        """Return all parts that are remembered."""
        return (part for item in self._items for part in item.parts)

    # --- remembering

    def made_up_index(self) -> int:
        """Return an index that no announcement of the server asks for."""
        self._made_up += 1
        return self._made_up - 1

    def head_of(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return what may be kept of an announcement."""
        head: dict[str, Any] = {}
        room = _MAX_KEPT - self._kept
        for name in _HEAD:
            value = said.get(name)
            if type(value) is str and value and len(value) <= _LONGEST and len(value) <= room:
                room -= len(value)
                head[name] = value
        self._kept = _MAX_KEPT - room
        return head

    def add(self, item: Item, index: Any, key: Hashable, call_id: Any) -> None:
        """Remember an item that came under an index, if there is room."""
        if len(self._items) >= _MAX_ITEMS:
            self.full = True
            return
        self._items.append(item)
        self.bind(item, key)
        if (call := key_of(call_id)) is not None:
            self._by_call = self._by_call or {}
            self._by_call.setdefault(call, item)
        if item.strayed:
            self._strays = self._strays or {}
            self._strays[index if is_index(index) else None, item.type] = item
            return
        self._place(item, index)

    def move(self, item: Item, index: int) -> None:
        """Let an item have the index under which the server announces it."""
        item.reference = item.referred()
        item.index = index
        item.strayed = False
        self._place(item, index)

    def _place(self, item: Item, index: int) -> None:
        """Know an item by the index under which the server announced it, and by the one that readers get."""
        holders = {at: self.holder(at) for at in (index, item.index)}
        holders[item.index] = holders[item.index] or item
        self._at[index] = item
        for at, holder in holders.items():
            if holder is not self.holder(at):
                self._holders = self._holders or {}
                self._holders[at] = holder
        self.next_index = max(self.next_index, item.index + 1)

    def share(self, key: Hashable) -> None:
        """Know nothing by an id any more: the server gives it to more than one item."""
        self._shared = self._shared or {}
        self._shared[key] = None

    def takes_id(self, item: Item, id: Any) -> bool:
        """Return whether an item that was announced under the id of another one has this id, now that it is said."""
        if key_of(item.id) not in self._shared:
            return False
        if item.alias is None:
            item.alias = kept_index(id)
            self._by_key.setdefault(key_of(id), item)
        return True

    def bind(self, item: Item, key: Hashable) -> None:
        """Know an item by an id from now on."""
        if key is not None and key not in self._by_key:
            item.key = key
            self._by_key[key] = item

    def open_part(self, item: Item, family: Family, key: str, index: int) -> Part:
        """Return a new part of an item, remembered if there is room."""
        part = Part(item, family, key, index)
        if len(item.parts) >= _MAX_PARTS or self._parts >= _MAX_ALL_PARTS:
            self.full = item.partial = True
        else:
            self._parts += 1
            item.parts.append(part)
        return part


def told_by(announced: dict[str, Any]) -> RunningDigest:
    """Return what an announcement already says in full."""
    told = _NOTHING
    for value in map(announced.get, _MEMBERS):
        if isinstance(value, str) and value:
            told = RunningDigest()
            told.add(value)
            len(told)  # sums it: the text itself is not kept
    return told
