"""The item or part that an event is about: by what it is, and only then by where it is.

An id that was announced says which item is meant; an index only where no id does. An index that an id
contradicts is what is wrong. An item of another type than the event's text is not the item that is meant.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.output_items import Item, Match, Part, key_of
from streamwatch.core.apis.response_families import FAMILIES, OTHER, Family, is_index
from streamwatch.core.apis.response_state import ResponseState
from streamwatch.core.kinds import RESPONSE_REFERENCE_INVALID
from streamwatch.core.vocabulary import Level

#: Items that the SDK's helper builds of their events: without an announcement it raises when their text comes.
_NEEDED = ("message", "function_call")


# --- items


def find(state: ResponseState, payload: dict[str, Any], type_: str) -> Item | None:
    """Return the item that an event about this type of item is about; None where nobody announced it."""
    key, index = key_of(payload.get("item_id")), payload.get("output_index")
    named = state.items.by_id(payload.get("item_id"))
    if named is not None and named.fits(type_):
        return _still_open(state, named, index, type_)
    there = _at(state, index, type_)
    if there is not None and there.fits(type_):
        if key in (None, there.key) or (not there.done and (is_index(index) or there.announced)):
            return there
        if not is_index(index):
            return None  # items that nobody announced are distinguished by their ids alone
    # Nothing comes of an item that is done: it is another one, and not one that has another id.
    stray = state.items.stray(index, type_)
    return stray if stray is not None and (key is None or stray.key in (None, key)) else None


def _at(state: ResponseState, index: Any, type_: str) -> Item | None:
    """Return the item at an index; where there is none, the only one that is open."""
    return state.items.at(index) if is_index(index) else state.items.only_open(type_)


def _still_open(state: ResponseState, named: Item, index: Any, type_: str) -> Item:
    """Return the item that an event names, or the open one at its place where that is done: nothing comes of it.

    A relay keeps the id of an item for too long, and counts on.
    """
    there = _at(state, index, type_) if named.done else None
    if there is None or there.done or not there.announced or there.type != type_:
        return named
    return there


def item_of(
    state: ResponseState, payload: dict[str, Any], type_: str, family: Family = OTHER, said: Any = None
) -> Item:
    """Return the item that an event is about, a new one if nobody announced it, and set its references right.

    `said` is the text of a family that a closing event says: it names the item where neither id nor place does.
    """
    item = find(state, payload, type_) or _item_that_said(state, family, said)
    if item is None:
        if len(state.items):
            state.misread(payload)
        head = {"id": payload.get("item_id"), "type": type_, "name": payload.get("name")}
        return meet(state, payload, head, payload.get("output_index"))
    settle(state, item, payload)
    return item


def _item_that_said(state: ResponseState, family: Family, said: Any) -> Item | None:
    """Return the one item that is not done, and of which this text was delivered in a part that is not done."""
    if not (isinstance(said, str) and said):
        return None
    found = [
        item
        for item in state.items
        for part in item.parts_of(family)
        if part.begun and not (part.done or item.done) and part.compare(said) is Match.EQUAL
    ]
    return found[0] if len(found) == 1 else None


def settle(state: ResponseState, item: Item, payload: dict[str, Any], *, is_of_text: bool = True) -> None:
    """Set the references of an event right that is about an item.

    How events of its texts refer to it is how events refer to it that are put in.
    """
    key = key_of(payload.get("item_id"))
    if key == item.key is not None and payload.get("output_index") == item.index:
        return
    if item.key is None:
        state.items.bind(item, key)
    elif key not in (None, item.key):
        _name(state, item, payload)
    if is_of_text and key is not None and (other := state.items.at(payload.get("output_index"))) not in (None, item):
        other.unread = True  # an id and a place contradict each other: what is handed on by the id may be of the place
    place(state, item, payload)
    if is_of_text:
        item.refer(payload)


def meet(state: ResponseState, payload: dict[str, Any], head: dict[str, Any], index: Any) -> Item:
    """Return a new item that nobody announced."""
    kept = state.items.head_of(head)
    if state.items.by_id(head.get("id")) is not None:
        kept.pop("id", None)  # it is the id of an item of another type
    strayed = not is_index(index) or state.items.at(index) is not None
    item = Item(kept, state.items.made_up_index() if strayed else index, partial=state.partial)
    item.strayed = strayed
    item.refer({"item_id": item.id, **payload})
    state.remember(item, index, head)
    return item


def introduce(state: ResponseState, item: Item, payload: dict[str, Any], level: Level | None = None) -> None:
    """Count an item that nobody announced, and announce it where that is wanted."""
    if item.announced or item.listed or item.missed or item.partial:
        return
    item.missed = True
    announcement = item.announcement()
    level = (level or level_of(item.type)) if announcement is not None else Level.NEVER
    if item.strayed:
        state.record(RESPONSE_REFERENCE_INVALID, level)
    if state.missing(level):
        item.put_in = True
        if item.strayed:
            payload["output_index"] = item.index
            item.reference = {**item.referred(), "output_index": item.index}
        state.put_in("response.output_item.added", output_index=item.index, item=announcement)


def level_of(type_: str) -> Level:
    """Return the level at which events of an item of a type are put in that never came."""
    return Level.HELPER if type_ in _NEEDED else Level.OPT_IN


def place(state: ResponseState, item: Item, payload: dict[str, Any]) -> None:
    """Set the index of an event right, where the item that it is about has another one."""
    index = payload.get("output_index")
    if index == item.index or item.partial or (item.strayed and not item.put_in):  # its index is made up, and unsaid
        return
    # What is absent stays absent. Servers announce items in order: where the event has the index
    # in that order, and the announcement has not, nothing says which of the two is wrong.
    sure = item.announced and is_index(index) and (item.index == item.order or index != item.order)
    level = Level.DEFAULT if sure else Level.HELPER
    if state.record(RESPONSE_REFERENCE_INVALID, level if item.is_shown else Level.NEVER):
        payload["output_index"] = item.index


def _name(state: ResponseState, item: Item, payload: dict[str, Any]) -> None:
    """Set the id of an event right that is about an item by its place and its type: nobody announced that id."""
    level = Level.DEFAULT if item.announced and is_index(payload.get("output_index")) else Level.HELPER
    named = state.items.by_id(payload["item_id"])
    if named is not None and not named.done:
        level = Level.NEVER  # it may be meant all the same
    elif item.id is None or not item.is_shown or state.items.takes_id(item, payload["item_id"]):
        level = Level.NEVER
    if not item.partial and state.record(RESPONSE_REFERENCE_INVALID, level):
        payload["item_id"] = item.id


def own_index(state: ResponseState, payload: dict[str, Any]) -> int:
    """Return the index of an item that is announced now, set right where it is absent or another item's."""
    index = payload.get("output_index")
    free = state.items.next_index
    if not is_index(index):
        if state.record(RESPONSE_REFERENCE_INVALID, Level.HELPER):
            payload["output_index"] = free
        return free
    holder = state.items.holder(index)
    if holder is None or holder.partial:
        return index
    level = Level.DEFAULT if holder.announced else Level.HELPER if holder.is_shown else Level.NEVER
    if state.record(RESPONSE_REFERENCE_INVALID, level):
        index = payload["output_index"] = free
    return index


# --- parts


def part_of(state: ResponseState, payload: dict[str, Any], family: Family, item: Item, *, closes: bool) -> Part:
    """Return the part that a text belongs to, a new one if nobody announced it, and set its reference right."""
    if not family.part:
        return item.part(family.key, 0) or state.new_part(item, family, family.key, 0)
    index = payload.get(family.key)
    part = item.part(family.key, index) or _meant(state, item, family.key, index, closes=closes)
    if part is None:
        position = index if is_index(index) else item.count_of(family.key)
        part = state.new_part(item, family, family.key, position)
    if part.family is OTHER:
        part.family = family
    if index != part.index:
        _place_part(state, item, part, payload)
        part.refer(payload)
    return part


def announced_part(state: ResponseState, payload: dict[str, Any], family: Family, item: Item, key: str) -> Part:
    """Return the part that is announced; its index is its place in the list of parts, as the SDK's helper has it."""
    index = payload.get(key)
    known = item.part(key, index)
    if known is not None and (not known.done or known.source):  # what was taken for lost may begin at last
        known.counted = -1  # what came before the announcement says nothing of how its deltas are counted
        return known
    position = item.count_of(key)
    part = state.new_part(item, family, key, index if is_index(index) else position)
    if index != position and not item.partial and state.record(RESPONSE_REFERENCE_INVALID, Level.HELPER):
        part.index = payload[key] = position
    part.refer(payload)
    return part


def _meant(state: ResponseState, item: Item, key: str, index: Any, *, closes: bool) -> Part | None:
    """Return the part that is meant by an index that nobody announced; None where it is a part of its own."""
    still_open = item.open_part(key) or (item.last_part(key) if state.counts_deltas and not closes else None)
    if not is_index(index) or still_open is None:
        return still_open
    state.counts_deltas = state.counts_deltas or (still_open.announced and still_open.is_next(index))
    return still_open if still_open.announced and (closes or state.counts_deltas) else None


def joined_part(state: ResponseState, item: Item, family: Family, said: str) -> Part | None:
    """Return the part that has all of a text whose pieces came under an index each; None where they are not that.

    A single one may close under another index. Nobody announced them: vLLM counts the deltas of its reasoning there,
    and closes them as one text (vllm#35184).
    """
    if family.is_answer or item.partial:
        return None
    parts = [part for part in item.parts_of(family) if part.is_open]
    if not parts or any(part.announced for part in parts):
        return None
    at = 0
    for part in parts:
        end = at + len(part.text)
        if part.text != said[at:end]:
            return None
        at = end
    if at != len(said):
        return None
    first, *others = parts
    first.text.add(said[len(first.text) :])
    for part in others:
        state.forget(part)
        item.parts.remove(part)
    return first


def noted_part(state: ResponseState, payload: dict[str, Any], item: Item) -> Part | None:
    """Return the part that an annotation belongs to, and set its index right where the server counts there."""
    index = payload.get("content_index")
    part = item.part("content_index", index)
    if part is None and state.counts_deltas and is_index(index):
        part = item.last_part("content_index")
        if part is not None:
            _place_part(state, item, part, payload)
    return part


def may_count(state: ResponseState, payload: dict[str, Any]) -> bool:
    """Return whether the index of a delta may count the deltas, the announcement of its part included.

    It is the one behind the part that is open, nobody announced a part there, and the one that is open has no text
    yet: it can be empty, too. vLLM up to 0.13 counts so, in serving_responses.py.
    """
    index = payload.get("content_index")
    if not is_index(index) or index == 0 or state.counts_deltas or state.partial:
        return False
    if not state.ledger.wants(RESPONSE_REFERENCE_INVALID):
        return False  # nobody has to wait for what is not repaired
    type_ = payload.get("type")
    family = FAMILIES.get(type_.removesuffix(".delta")) if isinstance(type_, str) and type_.endswith(".delta") else None
    item = None if family is None else find(state, payload, family.item)
    if family is None or item is None or item.done:
        return False
    part = item.open_part(family.key)
    return part is not None and part.announced and not part.begun and part.own_index == index - 1


def is_about(first: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Return whether an event is about a part of the item that a delta is about, by their own words."""
    place = "item_id", "output_index"
    return "content_index" in payload and all(payload.get(member) == first.get(member) for member in place)


def goes_on_counting(first: dict[str, Any], payload: dict[str, Any]) -> bool:
    """Return whether an event about the text of a delta has the next higher index: it counts, too."""
    name, type_ = first["type"].removesuffix(".delta"), payload.get("type")
    wanted = first["type"], f"{name}.done", f"{FAMILIES[name].announcement}.done"
    return type_ in wanted and is_about(first, payload) and payload["content_index"] == first["content_index"] + 1


def _place_part(state: ResponseState, item: Item, part: Part, payload: dict[str, Any]) -> None:
    index = payload.get(part.key)
    if index == part.index or item.partial:
        return
    said = is_index(index) and item.part(part.key, index) is not part
    level = Level.DEFAULT if said else Level.HELPER if item.is_shown else Level.NEVER
    if state.record(RESPONSE_REFERENCE_INVALID, level):
        payload[part.key] = part.index
