"""The end of an item, and of the response: what came is compared with what is said to have come.

The terminal event repeats everything. What was not closed is closed from it where it agrees with all that was
delivered, an output that it forgot is restored from the items, and all else that contradicts is reported.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.output_items import Item, Match, Statement, key_of
from streamwatch.core.apis.response_families import CALLS, answers, is_index, parts_in, said_by
from streamwatch.core.apis.response_references import introduce, meet, place
from streamwatch.core.apis.response_state import ResponseState
from streamwatch.core.apis.response_texts import close_texts
from streamwatch.core.kinds import (
    PAYLOAD_INVALID,
    RESPONSE_EVENT_MISSING,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
)
from streamwatch.core.vocabulary import Level

#: Bytes of finished items that are kept, for a terminal event that forgets them: a stream must not cost memory.
_MAX_KEPT = 32 << 10


# --- the end of an item


def see_item_done(state: ResponseState, payload: dict[str, Any], size: int) -> bool:
    """Look at an item that is done, and return whether the event goes on."""
    final = payload.get("item")
    if not isinstance(final, dict):
        return not state.record(PAYLOAD_INVALID, Level.HELPER)
    item = _finished_item(state, payload, final)
    if item.key is None:
        state.items.bind(item, key_of(final.get("id")))
    if item.is_shown:
        place(state, item, payload)
        _check_ids(state, item, final)
    close_texts(state, item, final, payload, Statement.ITEM)
    introduce(state, item, payload, Level.OPT_IN)
    item.done = True
    for part in item.parts:
        state.forget(part)
    state.answered = state.answered or answers(final)
    _keep(state, item, final, size)
    return True


def see_snapshot(state: ResponseState, listed: list[dict[str, Any]], size: int) -> None:
    """Keep what an event of `size` bytes says, before the end, of items that are done: it is what they are now."""
    for said in listed:
        item = state.items.by_id(said.get("id")) or state.items.by_call(said.get("call_id"), said.get("type"))
        if item is not None and item.done:
            _keep(state, item, said, size)
            size = 0 if item.finished is said else size


def _keep(state: ResponseState, item: Item, final: dict[str, Any], size: int) -> None:
    """Keep an item that is done, of an event of `size` bytes, if there is room."""
    fits = state.kept + size <= _MAX_KEPT
    state.kept += size if fits else 0
    item.finished = final if fits else None


def _finished_item(state: ResponseState, payload: dict[str, Any], final: dict[str, Any]) -> Item:
    items, index, type_ = state.items, payload.get("output_index"), final.get("type")
    known = items.by_id(final.get("id")) or items.by_call(final.get("call_id"), type_)
    if known is not None:
        return known
    there = items.at(index) if is_index(index) else items.only_open(str(type_))
    if there is not None and there.finished is not None and {**there.finished, "id": ""} == {**final, "id": ""}:
        return there  # it is said again
    if there is not None and (there.done or there.type not in (type_, "")):
        there = None
    # What was delivered of an item says more of it than where it is.
    told = [item for item in items if not item.done and item.type == type_ and item.has_begun and _alike(item, final)]
    if there not in told and len(told) == 1:
        return told[0]
    return there or items.stray(index, str(type_)) or meet(state, payload, final, index)


def _check_ids(state: ResponseState, item: Item, final: dict[str, Any]) -> None:
    """Compare the ids of an item that is done with those it was announced with.

    An application answers a call by its call id: which of two is right nothing says. The id of an item is bound to
    its encrypted content.
    """
    id, call_id = final.get("id"), final.get("call_id")
    if id and key_of(id) != item.key and item.key is not None:
        bound = item.id is None or final.get("encrypted_content")
        if state.record(RESPONSE_REFERENCE_INVALID, Level.NEVER if bound else Level.HELPER):
            final["id"] = item.id
    elif not id and item.id is not None and state.record(RESPONSE_REFERENCE_INVALID, Level.HELPER):
        final["id"] = item.id  # the helper refuses what is done without the id that it was announced with
    if call_id and item.call_id is not None and call_id != item.call_id:
        state.record(RESPONSE_REFERENCE_INVALID, Level.NEVER)


# --- the end of the response


def see_output(state: ResponseState, response: dict[str, Any]) -> None:
    """Compare the output of a completed response with what came."""
    said = response.get("output")
    output = [item for item in said if isinstance(item, dict)] if isinstance(said, list) else []
    state.answered = state.answered or any(map(answers, output))
    if state.partial:
        return
    if not output and len(state.items):
        _restore_output(state, response)
        return
    pairs = _pairs(state, output)
    known = [(final, item) for final, item in pairs if item is not None]
    _finish_all(state, known)
    for index, (final, other) in enumerate(pairs):
        if other is None:
            _announce_whole(state, final, index)
    _check_order(state, [item for _, item in known])
    _check_total(state, output)


def _restore_output(state: ResponseState, response: dict[str, Any]) -> None:
    """Restore an output that was forgotten from the items that are done."""
    items = [None if _went_on(item) else item.finished for item in state.items.by_place()]
    whole = all(item is not None for item in items)
    recovered = response.get("output") is None and state.request.recovers_output
    if state.record(RESPONSE_TERMINAL_MISMATCH, Level.HELPER if whole and not recovered else Level.NEVER):
        response["output"] = items
    if any(not item.done for item in state.items):
        state.record(RESPONSE_EVENT_MISSING, Level.NEVER)


def _went_on(item: Item) -> bool:
    """Return whether more of an item came than what was said to be the whole of it."""
    return any(part.disputed or 0 < part.agreed < len(part.text) for part in item.parts)


def _by_ids(state: ResponseState, final: dict[str, Any], left: dict[Item, None]) -> Item | None:
    """Return the item with the ids of one that is done, and take it from those that are `left`."""
    known = state.items.by_id(final.get("id")) or state.items.by_call(final.get("call_id"), final.get("type"))
    if known is None or known not in left:
        return None
    del left[known]
    return known


def _pairs(state: ResponseState, output: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Item | None]]:
    """Return each item of an output with the item that came: by its ids, else by its type and place or text."""
    left = dict.fromkeys(state.items)
    pairs = [(final, _by_ids(state, final, left)) for final in output]
    unpaired = [at for at, (_, item) in enumerate(pairs) if item is None]
    as_many = len(unpaired) == len(left)
    for at in unpaired:
        final = pairs[at][0]
        same_type = (item for item in left if item.type == final.get("type"))
        alike = next((item for item in same_type if as_many or _alike(item, final)), None)
        pairs[at] = final, alike
        left.pop(alike, None)  # type: ignore[arg-type]
    if left:
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
    if any(not item.done for item in left):
        state.record(RESPONSE_EVENT_MISSING, Level.NEVER)
    return pairs


def _alike(item: Item, final: dict[str, Any]) -> bool:
    """Return whether the texts of an item of an output are those that came under another id."""
    said = list(said_by(final))
    parts = [part for part in item.parts if part.begun]
    equal = (part.compare(one.text) is Match.EQUAL for part, one in zip(parts, said, strict=False))
    return len(said) >= len(parts) and all(equal)


def _was_told(item: Item, final: dict[str, Any]) -> bool:
    """Return whether something was delivered of each text of an item, and nothing else than the item says."""
    texts = [said.text for said in said_by(final) if said.text and said.family.is_answer]
    parts = [part for part in item.parts if part.begun and part.family.is_answer and not part.disputed]
    told = (part.compare(text) in (Match.EQUAL, Match.TAIL) for part, text in zip(parts, texts, strict=False))
    return item.is_shown and (item.partial or (len(parts) >= len(texts) and all(told)))


def _finish_all(state: ResponseState, items: list[tuple[dict[str, Any], Item]]) -> None:
    """Finish items, and close the open ones, all or none: a reader may take those that are done for the answer."""
    closes = all(item.done or _was_told(item, final) for final, item in items)
    for final, item in items:
        _finish(state, item, final, closes=closes)


def _finish(state: ResponseState, item: Item, final: dict[str, Any], *, closes: bool) -> None:
    """Compare an item with what was delivered of it, and close it if it is still open and `closes` allows it."""
    if item.done:
        _check_final_id(state, item, final)
    agrees = close_texts(state, item, final, {}, Statement.TERMINAL)
    _check_notes(state, item, final)
    if item.done:
        return
    introduce(state, item, {}, Level.OPT_IN)
    if state.missing(Level.HELPER if agrees and closes and _is_same(item, final) else Level.NEVER):
        own = key_of(final.get("id")) == item.key
        state.put_in(
            "response.output_item.done", output_index=item.index, item=final if own else final | {"id": item.id}
        )
    item.done = True


def _is_same(item: Item, final: dict[str, Any]) -> bool:
    """Return whether an item can be done as a terminal event says it: the helper refuses another call, or another id.

    The id that an item was announced with can be written over; by its call id an application answers a call.
    """
    is_same_call = item.type not in CALLS or final.get("call_id") == item.call_id
    return is_same_call and (item.id is not None or item.key is None)


def _check_final_id(state: ResponseState, item: Item, final: dict[str, Any]) -> None:
    """Compare the id of an item with the one that it was done with.

    The SDK's helper knows a call by its call id, and refuses it under two ids; with another call id it is another call.
    """
    if item.key is None or key_of(final.get("id")) == item.key:
        return
    is_refused = item.type in CALLS and _is_same(item, final)
    if not (final.get("id") or is_refused):
        return
    if state.record(RESPONSE_TERMINAL_MISMATCH, Level.HELPER if is_refused else Level.NEVER):
        final["id"] = item.id


def _check_notes(state: ResponseState, item: Item, final: dict[str, Any]) -> None:
    """Compare the annotations that came one by one with those of the item."""
    came = sum(part.notes for part in item.parts)
    said = 0
    for _, part in parts_in(final):
        notes = part.get("annotations") if isinstance(part, dict) else None
        said += len(notes) if isinstance(notes, list) else 0
    if said < came:
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)


def _announce_whole(state: ResponseState, final: dict[str, Any], index: int) -> None:
    """Put in an item that only the terminal event has."""
    lost = any(said.text and said.family.is_answer for said in said_by(final))
    payload: dict[str, Any] = {"output_index": index}
    item = meet(state, payload, final, index)
    introduce(state, item, payload, Level.OPT_IN)
    if lost or item.put_in:
        close_texts(state, item, final, payload, Statement.TERMINAL)
    if item.put_in:
        state.put_in("response.output_item.done", output_index=item.index, item=final)
    item.done = True


def _check_order(state: ResponseState, items: list[Item]) -> None:
    """Compare the order of an output with the indexes of its items."""
    indexes = [item.index for item in items if item.announced]
    if indexes != sorted(indexes):
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)


def _check_total(state: ResponseState, output: list[dict[str, Any]]) -> None:
    """Compare all that was delivered with all that is said: a text that came under two items equals both of them."""
    said = sum(len(one.text) for item in output for one in said_by(item) if one.family.is_answer)
    if state.items.delivered() == said:
        return
    state.dispute()
    if not any(part.disputed for part in state.items.parts()):
        state.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
