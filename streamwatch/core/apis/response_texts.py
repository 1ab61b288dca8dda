"""The texts of a response: what was delivered of each, and what is said of it when it closes.

A part is announced, its text comes in deltas, and is said again as a whole: by the event that closes it, by its part,
by its item, and by the terminal event. Where the deltas are how such a text begins, its tail was lost, and goes in
before what closes it. Parts close before their item, and nothing is put in behind what has closed its place.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.output_items import Item, Match, Part, Statement, told_by
from streamwatch.core.apis.response_families import BY_PART, PARTS, Family, Said, family_of, is_index, said_by
from streamwatch.core.apis.response_references import (
    announced_part,
    find,
    introduce,
    item_of,
    joined_part,
    level_of,
    part_of,
    settle,
)
from streamwatch.core.apis.response_state import ResponseState
from streamwatch.core.kinds import RESPONSE_EVENT_MISSING, RESPONSE_TERMINAL_MISMATCH, RESPONSE_TEXT_LOST
from streamwatch.core.vocabulary import Level

#: How an event says which item it is about.
_REFERENCE = ("item_id", "output_index")

# --- the events of a text


def see_delta(state: ResponseState, type_: str, family: Family, payload: dict[str, Any]) -> bool:
    """Look at a piece of a text, and return whether it goes on."""
    delta = payload.get("delta")
    if not isinstance(delta, str):
        if delta is not None or family.member in payload:
            state.misread(payload)
        _refer(state, family, payload)
        return True
    where = type_, payload.get("output_index"), payload.get("content_index", payload.get("summary_index"))
    item = item_of(state, payload, family.item)
    part = part_of(state, payload, family, item, closes=False)
    if not part.is_open and part.source and state.ledger.wants(RESPONSE_TEXT_LOST):
        return False  # it was taken for lost, and put in when its text closed: now it comes late
    if item.done or not part.is_open:
        item.unread = True  # behind the end of a text another one may be meant
        _dispute(state, part, Match.OTHER)
    if not (item.announced and part.announced):
        introduce(state, item, payload)
        _introduce_part(state, item, part)
    part.text.add(delta)
    part.last, part.counted = (where[2] if is_index(where[2]) else part.last), part.counted + len(delta)
    if where[1:] == (item.index, part.index if family.part else None):
        state.listen(part, item, where)
    if not part.listened:
        len(part.text)  # sums it: only a few texts at a time may keep their last deltas
    return True


def _refer(state: ResponseState, family: Family, payload: dict[str, Any]) -> None:
    """Set the references of a delta right that has no text, where its part is known."""
    item = find(state, payload, family.item)
    if item is None:
        return
    settle(state, item, payload)
    if family.part and item.open_part(family.key) is not None:
        part_of(state, payload, family, item, closes=False)


def see_text_done(state: ResponseState, family: Family, payload: dict[str, Any]) -> None:
    """Look at the event that closes a text."""
    said = payload.get(family.member)
    if not isinstance(said, str):
        return
    item = item_of(state, payload, family.item, family, said)
    part = joined_part(state, item, family, said) or part_of(state, payload, family, item, closes=True)
    _hear(state, item, part, said, payload, Statement.TEXT)
    introduce(state, item, payload)
    _introduce_part(state, item, part)
    part.text_done = True
    state.forget(part)


def see_part(state: ResponseState, name: str, verb: str, payload: dict[str, Any]) -> None:
    """Look at the event that announces or closes a part."""
    key, said = PARTS[name], payload.get("part")
    family = _family_at(state, key, payload)
    text = said.get(family.member) if isinstance(said, dict) and family.name else None
    type_ = family.item or ("reasoning" if key == "summary_index" else "")
    item = item_of(state, payload, type_, family, text if verb == "done" else None)
    if verb == "added":
        introduce(state, item, payload)
        part = announced_part(state, payload, family, item, key)
        part.announced = item.shows_parts = True
        told = told_by(said) if isinstance(said, dict) else part.told
        part.told = told if len(told) else part.told  # the helper keeps what the item's announcement said already
        return
    closed = part_of(state, payload, family, item, closes=True) if family.name else item.part(key, payload.get(key))
    if closed is not None:
        _see_part_done(state, item, closed, text, payload)


def _family_at(state: ResponseState, key: str, payload: dict[str, Any]) -> Family:
    """Return the family of a part; that of its item where id and index agree on it: vLLM's types of parts are wrong."""
    family, item = family_of(payload.get("part")), state.items.by_id(payload.get("item_id"))
    is_reasoning = key == "content_index" and item is not None and item.type == "reasoning"
    if family.item == "message" and is_reasoning and item is state.items.at(payload.get("output_index")):
        return BY_PART["reasoning_text"]
    return family


def _see_part_done(state: ResponseState, item: Item, part: Part, text: Any, payload: dict[str, Any]) -> None:
    if isinstance(text, str):
        _hear(state, item, part, text, payload, Statement.PART)
    introduce(state, item, payload)
    _introduce_part(state, item, part)
    _close_text(state, item, part, text)
    part.done = True
    state.forget(part)


# --- the end of an item


def close_texts(
    state: ResponseState, item: Item, final: dict[str, Any], payload: dict[str, Any], at: Statement
) -> bool:
    """Close what is open of an item, and return whether the item as it is said agrees with what was delivered."""
    _join(state, item, final)
    left = {family: item.parts_of(family) for family in {part.family for part in item.parts}}
    agrees = True
    for said in list(said_by(final)):
        parts = left.get(said.family)
        part = _said_of(parts, said) if parts else _unheard(state, item, said)
        if part is not None and not item.partial:
            _hear(state, item, part, said.text, payload, at)
            agrees = agrees and not part.disputed
            _close_text(state, item, part, said.text)
            _close_part(state, item, part, said.part)
    unsaid = [part for parts in left.values() for part in parts if part.family.name and not item.partial]
    for part in unsaid:
        _miss(state, part, final)
    return agrees and not any(part.begun for part in unsaid)


def _join(state: ResponseState, item: Item, final: dict[str, Any]) -> None:
    for said in list(said_by(final)):
        joined_part(state, item, said.family, said.text)


def _said_of(parts: list[Part], said: Said) -> Part:
    """Return the part of a text that an item says, and take it from `parts`: the one that has it, else the first."""
    found = next((part for part in parts if part.begun and part.compare(said.text) is Match.EQUAL), parts[0])
    parts.remove(found)
    return found


def _unheard(state: ResponseState, item: Item, said: Said) -> Part | None:
    """Return a part of which nothing came; None where nothing is lost by that."""
    if not said.text or not said.family.is_answer or item.partial:
        return None
    return state.new_part(item, said.family, said.family.key, said.place)


def _miss(state: ResponseState, part: Part, final: dict[str, Any]) -> None:
    """Count what was never closed of a part that its item does not have."""
    if (part.begun and not part.text_done) or (part.announced and not part.done):
        state.record(RESPONSE_EVENT_MISSING, Level.NEVER)
    if part.begun and part.family.is_answer and not part.disputed:
        part.disputed = True
        state.dispute()
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)


# --- what is said, and what was delivered


def _hear(state: ResponseState, item: Item, part: Part, said: str, payload: dict[str, Any], at: Statement) -> None:
    """Compare a text as it is said with what was delivered, and put in what was lost of it."""
    if item.partial:
        return
    match = part.compare(said)
    if match is Match.EQUAL:
        part.agreed = len(said)
        if said:
            state.confirm(part, at)
    elif not part.begun and not part.family.is_answer and at > Statement.TEXT:
        pass  # reasoning may come in its item alone
    elif not part.begun and (state.unread or item.unread):
        pass  # it may have come elsewhere
    elif match is Match.TAIL and part.is_open and not item.done and not part.disputed:
        _restore_tail(state, item, part, said, payload, at)
    else:
        _dispute(state, part, match)


def _dispute(state: ResponseState, part: Part, match: Match) -> None:
    """Count a text that is said otherwise than it was delivered, once."""
    state.dispute()
    if part.disputed:
        return
    part.disputed = True
    if match is Match.OTHER:
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
    elif match is Match.TAIL or not state.lost_events:
        state.record(RESPONSE_TEXT_LOST, Level.NEVER)


def _restore_tail(
    state: ResponseState, item: Item, part: Part, said: str, payload: dict[str, Any], at: Statement
) -> None:
    """Put the tail of a text in before what closes it, and all that has to come before a text."""
    if state.unread or item.unread or (not part.begun and _came_as_another(item, part, said)):
        return  # it may have come elsewhere
    level = _level(state, item, part, at)
    if not state.record(RESPONSE_TEXT_LOST, level):
        part.disputed = True
        state.dispute()
        return
    if not part.begun:
        introduce(state, item, payload, level)
        part.put_in = bool(part.family.part) and not part.announced and _is_shown(item, part)
        part.missed, part.made_up = part.put_in, part.put_in or at > Statement.TEXT
    if not part.begun and part.put_in:
        state.put_in(f"{part.family.announcement}.added", **_where(item, part), part=part.family.empty_part())
    tail = said[len(part.text) :]
    state.put_in(f"{part.family.name}.delta", **_where(item, part), delta=tail, **part.family.more())
    state.deliver(part, tail, at)


def _came_as_another(item: Item, part: Part, said: str) -> bool:
    """Return whether a text came as one of another sort: what a model thinks, closed as a summary of that."""
    others = (other for other in item.parts if other.begun and other.family is not part.family)
    return any(other.compare(said) is Match.EQUAL for other in others)


def _level(state: ResponseState, item: Item, part: Part, at: Statement) -> Level:
    """Return the level at which the tail of a text is put in."""
    nameless = not (part.begun or item.is_shown) and item.announcement() is None
    if nameless or state.partial or state.items.astray(part):
        return Level.NEVER  # whose text it is cannot be said, or it may have come elsewhere
    if not part.begun and len(item.referred()) < len(_REFERENCE):
        return Level.OPT_IN  # readers know no piece of a text that does not say where it is
    if item.strayed and not item.is_shown:
        return Level.OPT_IN  # it is done where another item is: who looks by the index would not find it there
    if not state.ordered or (at is Statement.TERMINAL and not part.begun):
        return Level.OPT_IN  # without an order it may come yet
    return Level.DEFAULT


# --- events that are missing


def _introduce_part(state: ResponseState, item: Item, part: Part) -> None:
    """Count a part that nobody announced, and announce it where that is wanted."""
    if part.announced or part.missed or item.partial or not part.family.part or not _is_shown(item, part):
        return
    part.missed = True
    if state.missing(level_of(item.type) if item.is_shown else Level.NEVER):
        part.put_in = True
        state.put_in(f"{part.family.announcement}.added", **_where(item, part), part=part.family.empty_part())


def _is_shown(item: Item, part: Part) -> bool:
    """Return whether a part is one that servers announce: reasoning comes without parts as well."""
    return part.family.name != "response.reasoning_text" or item.shows_parts


def _close_text(state: ResponseState, item: Item, part: Part, said: Any) -> None:
    """Close a text that nobody closed, before its part closes."""
    if part.text_done or not part.begun or item.partial or not isinstance(said, str):
        return
    part.text_done = True
    if _closes(state, item, part):
        text = {part.family.member: said, **part.family.more()}
        state.put_in(f"{part.family.name}.done", **_where(item, part), **text)


def _close_part(state: ResponseState, item: Item, part: Part, said: dict[str, Any]) -> None:
    """Close a part that nobody closed, before its item closes."""
    if part.done or not part.family.part or not (part.announced or part.put_in):
        return
    part.done = True
    if _closes(state, item, part):
        state.put_in(f"{part.family.announcement}.done", **_where(item, part), part=said)


def _closes(state: ResponseState, item: Item, part: Part) -> bool:
    """Return whether an event that closes a text or its part is to be put in."""
    if part.made_up:  # it is one repair, and deltas are enough except for readers that wait for the end of each text
        return state.ledger.wants(RESPONSE_TEXT_LOST, level_of(item.type))
    return state.missing(Level.NEVER if part.disputed else level_of(item.type))


def _where(item: Item, part: Part) -> dict[str, Any]:
    """Return the members that say where an event about a part is: as the server's own events about it do."""
    place = {part.key: part.index} if part.family.part else {}
    return {**item.referred(), **(place if part.reference is None else part.reference)}
