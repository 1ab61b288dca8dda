"""The rules of a delta of a chat completion: its role, its text, its reasoning.

What is replayed is held back as text, not as chunks: a chunk goes on with less content, and what
turns out to be new after all goes on with a later one. So nothing is ever lost by a wrong guess.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.tool_calls import ToolCalls
from streamwatch.core.digest import RunningDigest
from streamwatch.core.kinds import (
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    CONTENT_REPLAYED,
    CONTENT_UNDECODABLE,
    REASONING_NONSTANDARD,
    ROLE_IRREGULAR,
    STREAM_SPLICED,
    ChunkType,
    Level,
)
from streamwatch.core.ledger import Ledger
from streamwatch.core.settings import Settings

REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_ABSENT: Any = object()
#: Characters. A text shorter than this may well be said twice.
_REPLAY_WHOLE = 16
_REPLAY_FIRST = 8


class Choice:
    """What is known of one choice."""

    __slots__ = (
        "begun",
        "calls",
        "deltas",
        "fills",
        "finish_reason",
        "native_reason",
        "overlap",
        "taken_back",
        "text",
        "withheld",
    )

    def __init__(self, ledger: Ledger, settings: Settings, tools: frozenset[str], *, fills: bool) -> None:
        self.fills = fills  #: whether every delta may get a content, or only one that tells nobody anything
        self.begun = False  #: its first delta was seen
        self.finish_reason: str | None = None
        self.taken_back: str | None = None  #: a finish_reason that came too soon
        self.native_reason = ""  #: what the server calls it elsewhere
        self.text = RunningDigest()
        self.calls = ToolCalls(ledger, settings, tools)
        self.deltas: list[str] | None = []  #: the first texts, until it is known that they are no replay
        self.withheld = ""  #: text that may be a replay
        self.overlap = False  #: another completion took over, and may say all again


def sort_of(delta: dict[str, Any]) -> ChunkType:
    """What a delta mainly carries."""
    if delta.get("tool_calls"):
        return ChunkType.TOOL_CALL
    if delta.get("content"):
        return ChunkType.TEXT
    if any(delta.get(name) for name in REASONING):
        return ChunkType.REASONING
    if delta.get("refusal"):
        return ChunkType.REFUSAL
    return ChunkType.ROLE if delta.get("role") else ChunkType.OTHER


def role(delta: dict[str, Any], state: Choice, ledger: Ledger) -> None:
    """The role stands in the first delta, and only there: helpers join repeated ones; frameworks do not."""
    if delta.get("role") is None:
        if not state.begun and ledger.record(ROLE_IRREGULAR):
            delta["role"] = "assistant"
        return
    joins = ledger.accumulated
    if state.begun and ledger.record(ROLE_IRREGULAR, Level.DEFAULT if joins else Level.OPT_IN):
        del delta["role"]


def reasoning(delta: dict[str, Any], state: Choice, ledger: Ledger) -> None:
    """Reasoning has no place of its own in this API."""
    if any(delta.get(name) for name in REASONING):
        ledger.record(REASONING_NONSTANDARD, Level.NEVER)


def content(delta: dict[str, Any], state: Choice, ledger: Ledger, *, finishes: bool) -> None:
    """content is a string: known issue `KeyError: 'content'`."""
    text = delta.get("content", _ABSENT)
    if text is _ABSENT:
        content_absent(delta, state, ledger, strict=not delta and not finishes)
    elif text is None:
        strict = len(delta) == 1 and not finishes
        if ledger.record(CONTENT_NULL, _fill_level(state, ledger, strict=strict)):
            delta["content"] = ""
    elif not isinstance(text, str):
        content_not_string(delta, text, ledger)


def content_absent(delta: dict[str, Any], state: Choice, ledger: Ledger, *, strict: bool = False) -> None:
    """A delta of a tool call carries no content; tutorials read it all the same."""
    if ledger.record(CONTENT_ABSENT, _fill_level(state, ledger, strict=strict)):
        delta["content"] = ""


def _fill_level(state: Choice, ledger: Ledger, *, strict: bool) -> Level:
    """Fill where nobody but a naive reader sees a difference.

    Where the SDK's accumulating helper or a framework reads, "" instead of nothing makes events and
    texts that were not there (21 tests of the SDK's own suite fail on it). A delta that carries
    nothing else, in the middle of a text, can be filled for every reader: no test fails.
    """
    inside_text = strict and len(state.text) > 0 and state.finish_reason is None
    return Level.DEFAULT if state.fills or inside_text else Level.NEVER


def content_not_string(delta: dict[str, Any], content: Any, ledger: Ledger) -> None:
    """Mistral's list of parts: text and thinking, in the members that others use for them."""
    parts: list[Any] = content if isinstance(content, list) else [None]
    known = all(isinstance(part, dict) and part.get("type") in ("text", "thinking") for part in parts)
    if ledger.record(CONTENT_NOT_STRING, Level.OPT_IN if known else Level.NEVER):
        thinking = "".join(_text_of(part.get("thinking")) for part in parts if part["type"] == "thinking")
        delta["content"] = "".join(_text_of(part.get("text")) for part in parts if part["type"] == "text")
        if thinking:
            delta["reasoning_content"] = thinking


def _text_of(part: Any) -> str:
    if isinstance(part, list):
        return "".join(_text_of(inner.get("text")) for inner in part if isinstance(inner, dict))
    return part if isinstance(part, str) else ""


def text(holder: dict[str, Any], key: str, state: Choice, ledger: Ledger, *, finishes: bool) -> bool:
    """The text of a delta, or of a legacy completion: `holder[key]`. False if all of it was taken out."""
    new = holder.get(key)
    if not isinstance(new, str):
        new = ""
    elif "\ufffd" in new:
        ledger.record(CONTENT_UNDECODABLE, Level.NEVER)
    if new or (finishes and state.withheld):
        rest = _without_overlap(new, state, ledger, finishes=finishes) if state.overlap else new
        if not state.overlap and rest:
            rest = _without_replay(rest, state, ledger, finishes=finishes)
        elif finishes and state.withheld:
            rest, state.withheld = state.withheld + rest, ""
        if rest != new:
            holder[key] = rest
        if rest:
            state.text.add(rest)
        return bool(rest) or not new
    return True


def _without_overlap(new: str, state: Choice, ledger: Ledger, *, finishes: bool) -> str:
    """After a splice: the text already sent is not sent again, if it is said again from the start."""
    said = state.withheld + new
    if len(said) < len(state.text) and not finishes:
        state.withheld = said
        return ""
    state.overlap, state.withheld = False, ""
    if state.text.begins(said):
        return said[len(state.text) :]
    ledger.unrepaired(STREAM_SPLICED)
    return said


def _without_replay(new: str, state: Choice, ledger: Ledger, *, finishes: bool) -> str:
    """The whole answer again at the end, or deltas that each repeat the one before."""
    if finishes and len(new) >= _REPLAY_WHOLE and state.text == new:
        return "" if ledger.record(CONTENT_REPLAYED, Level.OPT_IN) else new
    if state.deltas is None:
        return new
    if state.withheld:
        return _third(new, state, ledger)
    if not state.deltas:
        state.deltas.append(new)
        return new
    return _second(new, state, ledger)


def _second(new: str, state: Choice, ledger: Ledger) -> str:
    """The second text of a choice, or a later one where texts are known to be cumulative."""
    assert state.deltas is not None  # noqa: S101 -- as _without_replay saw
    last = state.deltas[-1]
    repeats = len(new) > len(last) and new.startswith(last)
    known = len(state.deltas) > 1
    if not repeats:
        state.deltas = None
        return new
    if known or len(last) >= _REPLAY_FIRST:
        wanted = ledger.record(CONTENT_REPLAYED, Level.OPT_IN)
        state.deltas = ["", new] if wanted else None
        return new[len(last) :] if wanted else new
    if not ledger.wants(CONTENT_REPLAYED):
        state.deltas.append(new)  # only watched: a third one decides
        return new
    state.withheld = new
    return ""


def _third(new: str, state: Choice, ledger: Ledger) -> str:
    """The text after one that was withheld, as it may have repeated the first."""
    assert state.deltas is not None  # noqa: S101 -- as _without_replay saw
    first, second = state.deltas[0], state.withheld
    state.withheld = ""
    if len(new) > len(second) and new.startswith(second):
        ledger.record(CONTENT_REPLAYED, Level.OPT_IN)
        state.deltas = ["", new]
        return new[len(first) :]
    state.deltas = None
    return second + new
