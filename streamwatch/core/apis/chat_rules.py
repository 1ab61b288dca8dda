"""The rules of a chunk and of a choice in it: metadata, usage, the index of a choice, how it ends."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from streamwatch.core.apis.base import kept
from streamwatch.core.apis.chat_choice import Choice, says_calls, type_of
from streamwatch.core.apis.chat_state import MAX_CHOICES, ChatState
from streamwatch.core.apis.chat_text import REPLAY_WHOLE
from streamwatch.core.fingerprints import server_of
from streamwatch.core.kinds import (
    CHOICE_INDEX_INVALID,
    CHOICES_EMPTY,
    CHUNK_METADATA_IRREGULAR,
    CONTENT_MISPLACED,
    DELTA_MISSING,
    FINISH_REASON_IRREGULAR,
    KEEPALIVE_FRAME,
    STREAM_SPLICED,
    USAGE_MISPLACED,
)
from streamwatch.core.quirks import (
    FINISH_REASONS,
    PLACEHOLDERS,
    finish_word,
    is_failure,
    is_keepalive,
    is_of_another_api,
    show_error,
    tells_failure,
)
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

#: Ids of earlier completions that are remembered, to notice when one comes back.
_MAX_IDS = 16
_ABSENT: Any = object()


def says_something(choice: dict[str, Any]) -> bool:
    """Return whether a choice carries a part of an answer, or of its reasoning."""
    delta = choice.get("delta")
    if not isinstance(delta, dict) or choice.get("text"):
        return bool(choice.get("text"))
    type = type_of(delta)
    return says_calls(delta) if type is ChunkType.TOOL_CALL else type not in (ChunkType.OTHER, ChunkType.ROLE)


# --- rules of a chunk

#: How the SSE name of an event begins that may be an error: of one without a name, too, or with that of all events.
_NAMES_OF_ERRORS = ("error", "message", "data", "chunk", "fail", "exception")


def error_hidden(chunk: dict[str, Any], event: Event, chat: ChatState) -> bool:
    """Return whether a chunk is an error in a form that the SDK takes for a chunk without choices."""
    if "choices" in chunk:
        return False
    if not (event.event == "error" or chunk.get("type") == "error" or chunk.get("object") == "error"):
        return False
    if chat.error_hidden():
        show_error(chunk)
    return True


def may_say_failure(chunk: dict[str, Any], event: Event) -> bool:
    """Return whether a chunk without choices says that the request failed, in a vendor's own words.

    Gateways send notes with the same words, of tools that failed, under names of their own or without one: what
    follows says which it is (nanobot#5562).
    """
    if chunk.get("choices") or not (event.event or "error").lower().startswith(_NAMES_OF_ERRORS):
        return False
    return not _counts_tokens(chunk.get("usage")) and tells_failure(chunk)


def _counts_tokens(usage: Any) -> bool:
    return isinstance(usage, dict) and any(type(count) is int and count > 0 for count in usage.values())


def choices_empty(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Have a list of choices, if an empty one: the SDK's helper iterates over it."""
    if choices:
        chat.any_choices = True
        return
    said = chunk.get("choices", _ABSENT)
    if said is _ABSENT:
        chat.is_foreign = chat.is_foreign or is_of_another_api(chunk)
        if chunk and not is_keepalive(chunk.get("type"), chunk):
            _see_unknown(chunk, chat)
    chat.any_choices = chat.any_choices or said is not _ABSENT
    if said is _ABSENT or said is None:
        if chat.record(CHOICES_EMPTY):
            chunk["choices"] = []
    elif not said and chat.record(CHOICES_EMPTY, Level.NEVER if chunk.get("usage") else Level.OPT_IN):
        chat.passes = False  # chunk.choices[0] is what tutorials say


def _see_unknown(chunk: dict[str, Any], chat: ChatState) -> None:
    """Take note of an event that only the server knows: what a tool gave back, and so the end of a round of calls."""
    chat.any_unknown = True
    for state in () if chunk.get("usage") else chat.choices.values():
        state.calls.end_round()


def _restart(chat: ChatState) -> None:
    """Let the texts begin again: another completion took over."""
    restarts = [state.text.restart() for state in chat.choices.values()]  # each of them does
    if not any(restarts):
        chat.ledger.unrepaired(STREAM_SPLICED)


def spliced(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Find chunks of more than one completion: by another id and model, or an id that comes back after another one.

    A chunk that says nothing is of no completion.
    """
    id, model = chunk.get("id") or "", chunk.get("model")
    if id == chat.raw_id and model == chat.raw_model:
        chat.ids_hold = chat.ids_hold or bool(id)
    elif chat.speaks:
        _see_identity(id, model, choices, chat)


def _see_identity(id: Any, model: Any, choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Look at a chunk with another id or another model than the one before it."""
    has_own = _has_own_id(kept(id), choices, chat)
    if id and id != chat.raw_id and id in chat.past_ids:
        if not has_own:
            chat.record(STREAM_SPLICED, Level.NEVER)
    elif _is_another_completion(id, model, choices, chat) and chat.record(STREAM_SPLICED):
        _restart(chat)
    chat.ids_hold = chat.ids_hold or (bool(id) and id == chat.raw_id)
    if id != chat.raw_id and kept(id):
        chat.past_ids = (*chat.past_ids, chat.raw_id)[-_MAX_IDS:] if chat.raw_id else ()
        chat.raw_id = id
    chat.raw_model = kept(model) or chat.raw_model


def _has_own_id(id: str, choices: list[dict[str, Any]], chat: ChatState) -> bool:
    """Return whether every choice has had one id only: a gateway that asks once for each hands on an id of each."""
    ids = chat.ids_by_choice
    for choice in choices if id and ids is not None else ():
        index, ids = choice.get("index"), ids or {}
        if type(index) is not int or len(ids) >= MAX_CHOICES or ids.setdefault(index, id) != id:
            ids = None
            break
    chat.ids_by_choice = ids
    return ids is not None


def usage(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Find usage that does not stand in the chunk, once: the SDK's helper keeps the last chunk's."""
    if not chunk.get("usage"):
        for choice in choices:
            if choice.get("usage") and chat.record(USAGE_MISPLACED):
                chunk["usage"] = choice.pop("usage")
    if chunk.get("usage"):
        if chat.any_usage:
            chat.record(USAGE_MISPLACED, Level.NEVER)
        chat.any_usage = True


CHUNK_RULES = (choices_empty, spliced, usage)


def _see_object(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Count a chunk of another object: the SDK's helper skips it, as it should skip annotations alone."""
    whole = bool(choices) and len(choices) == len(chunk["choices"]) and all(map(_has_delta, choices))
    whole = whole and (any(map(says_something, choices)) or not is_annotation(chunk, chat))
    if chat.record(CHUNK_METADATA_IRREGULAR, Level.HELPER if whole else Level.NEVER):
        chunk["object"] = chat.object


def _pinned(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> tuple[Any, Any]:
    """Give a chunk the id, the model and the time of those before it, where that is wanted; return id and model."""
    known = {"id": chat.id, "model": chat.model, "created": chat.created}
    level = Level.OPT_IN if choices and all(known.values()) else Level.NEVER
    if chat.record(CHUNK_METADATA_IRREGULAR, level):
        chunk.update(known)
    return chunk.get("id"), chunk.get("model")


def metadata(chunk: dict[str, Any], choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Find an id, a model, a time or an object that is missing, or is not what it was."""
    fingerprint = chunk.get("system_fingerprint")
    if fingerprint and not chat.server:
        chat.server = server_of(fingerprint)
    id, model, object, created = chunk.get("id"), chunk.get("model"), chunk.get("object"), chunk.get("created")
    if id and id == chat.id and model and model == chat.model and object == chat.object and created:
        return
    chat.any_id = chat.any_id or bool(id)
    changes = any(said and before and said != before for said, before in ((id, chat.id), (model, chat.model)))
    if object != chat.object:
        _see_object(chunk, choices, chat)
    elif changes or not (id and model and created):
        id, model = _pinned(chunk, choices, chat)
    chat.id = (kept(id) if id else "") or chat.id
    chat.model = (kept(model) if model else "") or chat.model
    chat.created = created if type(created) is int else chat.created


def is_annotation(chunk: dict[str, Any], chat: ChatState) -> bool:
    """Return whether a chunk that says nothing of an answer is a note beside it, as Azure's: it has no head."""
    return chunk.get("object") != chat.object and not (chunk.get("id") or chunk.get("model"))


def keepalive(event: Event, choices: list[dict[str, Any]], chat: ChatState) -> None:
    """Find the same empty chunk again: it keeps the connection open."""
    if chat.speaks or not choices or not all(map(is_empty, choices)):
        chat.last_empty = None
        return
    digest = hash(event.raw)
    if digest == chat.last_empty:
        chat.passes &= not chat.record(KEEPALIVE_FRAME)
    chat.last_empty = digest


def _is_another_completion(id: Any, model: Any, choices: list[dict[str, Any]], chat: ChatState) -> bool:
    """Return whether a chunk with another model is of another completion.

    A model alone proves nothing: the first chunk may have the alias that was asked for, and routers name models as they
    like. Neither does an id where each chunk has its own.
    """
    if not (model and chat.raw_model) or model == chat.raw_model:
        return False
    if chat.raw_model == chat.request.model and not chat.ids_hold:
        return False
    if id and chat.raw_id:
        return bool(id != chat.raw_id and (chat.ids_hold or not chat.past_ids))
    deltas = [choice["delta"] for choice in choices if isinstance(choice.get("delta"), dict)]
    return any(delta.get("role") for delta in deltas) and not chat.repeats_role


def _has_delta(choice: dict[str, Any]) -> bool:
    return isinstance(choice.get("delta", choice.get("text")), (dict, str))


def is_empty(choice: dict[str, Any]) -> bool:
    """Return whether a choice says nothing, its role aside."""
    delta = choice.get("delta")
    says = any(value for name, value in delta.items() if name != "role") if isinstance(delta, dict) else delta
    return not (says or choice.get("text") or choice.get("finish_reason"))


# --- rules of a choice


def choice_index(choice: dict[str, Any], beside: list[dict[str, Any]], chat: ChatState) -> int:
    """Return the index of the choice that is meant: it is below the number of choices that were asked for.

    `beside` are all choices of its chunk: one choice has one place there.
    """
    index, asked = choice.get("index"), chat.asked
    if type(index) is not int:
        only = asked == 1 or (asked is None and not any(chat.choices))
        if chat.record(CHOICE_INDEX_INVALID, Level.HELPER if only else Level.NEVER):
            choice["index"] = 0
        return 0
    if 0 <= index and (asked is None or index < asked):
        return index
    several = asked != 1 or index in chat.choices or len(chat.choices) > 1 or len(beside) > 1
    several = several or _opens(choice, index, chat)
    if several and index != chat.other_index:
        chat.record(CHOICE_INDEX_INVALID, Level.NEVER)  # a choice that somebody on the way asked for
        return index
    if chat.record(CHOICE_INDEX_INVALID):
        choice["index"] = 0
        chat.other_index = index
    return 0


def _opens(choice: dict[str, Any], index: int, chat: ChatState) -> bool:
    """Return whether a choice beyond those asked for is one of its own: the next in order, and it opens as choices do.

    It has a role of its own; and when the first one has ended nothing can go on with that.
    """
    first = chat.choices.get(0)
    if first is None or index != len(chat.choices):
        return False
    delta = choice.get("delta")
    has_role = isinstance(delta, dict) and bool(delta.get("role"))
    return has_role or (first.finish_reason is not None and says_something(choice))


def delta_missing(choice: dict[str, Any], state: Choice, chat: ChatState) -> None:
    """Have a delta in every choice, if an empty one; what stands elsewhere instead belongs there."""
    if isinstance(choice.get("delta"), dict):
        _beside(choice, choice["delta"], state, chat)
        return
    elsewhere = _elsewhere(choice, state)
    if elsewhere is not None and not _closes(elsewhere, state):
        carries = state.is_misplaced or not state.is_answered
        state.is_misplaced = carries
        if chat.record(CONTENT_MISPLACED, Level.DEFAULT if carries else Level.NEVER):
            choice["delta"] = elsewhere
            return
    elif not chat.record(DELTA_MISSING):
        return
    if chat.ledger.wants(DELTA_MISSING):
        choice["delta"] = {}


def _beside(choice: dict[str, Any], delta: dict[str, Any], state: Choice, chat: ChatState) -> None:
    """Take the answer that stands beside a delta without one, where the choice ends and nothing else was said."""
    message, reason = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict) or not reason or reason in PLACEHOLDERS or state.is_answered:
        return
    answer = {name: deepcopy(message[name]) for name in ("content", "tool_calls") if message.get(name)}
    if answer and not says_something(choice) and chat.record(CONTENT_MISPLACED):
        choice["delta"] = {**delta, **answer}


def _closes(message: dict[str, Any], state: Choice) -> bool:
    """Return whether a message says what was said already, as Perplexity's does."""
    text = message.get("content")
    if state.is_misplaced:
        again = isinstance(text, str) and len(text) >= REPLAY_WHOLE and state.text == text
        return again and state.calls.were_said(message.get("tool_calls"))
    if isinstance(text, str) and text:
        return len(state.text) > 0 and state.text.begins(text)
    return bool(message.get("tool_calls")) and state.calls.any_came


def _elsewhere(choice: dict[str, Any], state: Choice) -> dict[str, Any] | None:
    """Return the delta that stands in `message` or `text`; None where none does."""
    message, text = choice.get("message"), choice.get("text")
    if isinstance(message, dict) and (message or state.is_misplaced):
        return deepcopy(message)  # what is changed in the delta stays as it came there
    return {"content": text} if isinstance(text, str) and (text or state.is_misplaced) else None


#: How an answer ends on which the SDK's helper raises, in some releases and for some requests.
_HELPER_RAISES = frozenset({"length", "content_filter"})


def _better_word(reason: str, state: Choice, chat: ChatState) -> tuple[str, bool]:
    """Return the word that a finish_reason stands for, if there is one, and whether calls came that it denies."""
    contradicts = reason == "stop" and bool(state.calls.calls) and not chat.request.names_tool
    if contradicts and state.calls.parse() is not False:
        return "tool_calls", contradicts
    return "" if reason in FINISH_REASONS else finish_word(reason), contradicts


def finish_reason(choice: dict[str, Any], state: Choice, chat: ChatState) -> None:
    """Take the finish_reason: null up to the last chunk, and then one of five words."""
    reason = choice.get("finish_reason", _ABSENT)
    native = choice.get("finishReason") or choice.get("native_finish_reason")
    state.native_reason = kept(native) or state.native_reason
    if reason is None:
        return
    if reason is _ABSENT or reason in PLACEHOLDERS:
        # A word behind the finish hides from the helper what it raises on: without the word a program ends there.
        hides = reason is not _ABSENT and state.finish_reason in _HELPER_RAISES
        if chat.record(FINISH_REASON_IRREGULAR, Level.NEVER if hides else None):
            choice["finish_reason"] = None
        return
    reason = str(reason)
    chat.finishes += 1
    chat.error = chat.error or is_failure(reason)
    better, contradicts = _better_word(reason, state, chat)
    irregular = better or contradicts or reason not in FINISH_REASONS or state.finish_reason is not None
    if irregular and chat.record(FINISH_REASON_IRREGULAR, Level.OPT_IN if better else Level.NEVER):
        choice["finish_reason"] = reason = better
    state.finish_reason = kept(reason) or "other"
