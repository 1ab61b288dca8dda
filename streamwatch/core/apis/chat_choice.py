"""One choice of a chat completion, and the rules of its deltas: role, content, reasoning, a legacy call.

What is there stays there, and what is null or absent stays so, except for the SDK's helper, which joins
what repeats; and for dicts of a chunk, which get a content (`Event.fills_content`).
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.chat_text import ChoiceText
from streamwatch.core.apis.doubts import Doubts
from streamwatch.core.apis.tool_call import Budget, Call
from streamwatch.core.apis.tool_calls import NO_CALLS, NoCalls, ToolCalls
from streamwatch.core.kinds import (
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    CONTENT_UNDECODABLE,
    REASONING_NONSTANDARD,
    ROLE_IRREGULAR,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_MISSING,
    AnomalyKind,
)
from streamwatch.core.ledger import Ledger
from streamwatch.core.quirks import CALLING, NO_ANSWER, REASONING, finish_word
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import ChunkType, Level

_ABSENT: Any = object()
_REASONING = frozenset(REASONING)
#: Members that are no answer by themselves: whether there is anything in the last three is known from elsewhere.
_NO_ANSWER = NO_ANSWER | {"content", "tool_calls", "function_call"}


class Choice:
    """The state of one choice."""

    __slots__ = (
        "_budget",
        "_doubts",
        "_ledger",
        "_request",
        "begun",
        "calls",
        "finish_reason",
        "function_call",
        "has_answer",
        "is_misplaced",
        "native_reason",
        "restarts",
        "taken_back",
        "text",
    )

    def __init__(self, ledger: Ledger, doubts: Doubts, request: Request, budget: Budget) -> None:
        self.begun = False  #: its first delta was seen
        self.restarts = False  #: its role came again, where several choices were asked for
        self.has_answer = False  #: something came that is neither text nor reasoning
        self.is_misplaced = False  #: what it said so far did not stand in deltas
        self.finish_reason: str | None = None
        self.taken_back: str | None = None  #: a finish_reason that came too soon
        self.native_reason = ""  #: what the server calls it elsewhere
        self.text = ChoiceText(ledger, doubts)
        self.calls: ToolCalls | NoCalls = NO_CALLS
        self.function_call: Call | None = None  #: the call of the API before tools
        self._ledger = ledger
        self._doubts = doubts
        self._request = request
        self._budget = budget

    def see_calls(self, delta: dict[str, Any]) -> None:
        """Look at the fragments of tool calls in a delta."""
        if isinstance(self.calls, NoCalls):
            self.calls = ToolCalls(self._ledger, self._doubts, self._request, self._budget)
        self.calls.see(delta, mixed=self.restarts)

    def call_function(self, said: dict[str, Any]) -> None:
        """Take a piece of a legacy `function_call`."""
        if self.function_call is None:
            self.function_call = Call(0, "", "", self._budget)
        arguments = said.get("arguments")
        if isinstance(arguments, str) and arguments:
            self.function_call.add(arguments)

    @property
    def reason(self) -> str:
        """Its finish_reason in OpenAI's words, as far as it is known what is meant; "" while there is none."""
        return finish_word(self.finish_reason or "") or self.finish_reason or ""

    @property
    def is_finished(self) -> bool:
        """Whether it ended by itself: what a limit of tokens cuts is not at fault."""
        return self.reason not in ("", "length")

    @property
    def is_answered(self) -> bool:
        """Whether anything came that is an answer; a filter that withheld it says so."""
        said = self.has_answer or self.calls.any_came or self.function_call is not None or len(self.text) > 0
        return said or self.reason == "content_filter"

    def parse(self) -> bool | None:
        """Return whether the arguments of all its calls are JSON; None where nothing is known of any."""
        legacy = self.function_call.parses() if self.function_call is not None else None
        parsed = {self.calls.parse(), legacy} - {None}
        return False if False in parsed else True if parsed else None

    def close(self, ledger: Ledger) -> bool:
        """Count what is wrong with the calls of a finished choice, and return whether arguments stop short."""
        is_cut = self.calls.close()
        legacy = self.function_call
        if legacy is not None and legacy.parses() is False:
            ledger.record(TOOL_CALL_ARGUMENTS_INVALID, Level.NEVER)
            is_cut = is_cut or legacy.is_cut()
        if self.reason in CALLING and legacy is None and not self.calls.any_came:
            ledger.record(TOOL_CALL_MISSING, Level.NEVER)
        return is_cut


def calls_function(delta: dict[str, Any]) -> bool:
    """Return whether a delta has a piece of a legacy call: some gateways add an empty one to whatever they send."""
    said = delta.get("function_call")
    return isinstance(said, dict) and any(said.values())


def says_calls(delta: dict[str, Any]) -> bool:
    """Return whether a delta has a piece of a call with anything in it: some servers end calls with an empty one."""
    calls = delta.get("tool_calls")
    if not isinstance(calls, list):
        return bool(calls) or calls_function(delta)
    return any(not isinstance(call, dict) or "custom" in call or says_call(call) for call in calls)


def says_call(call: dict[str, Any]) -> bool:
    """Return whether a piece of a call has an id, or anything in its function."""
    function = call.get("function")
    return bool(call.get("id") or (any(function.values()) if isinstance(function, dict) else function))


def type_of(delta: dict[str, Any]) -> ChunkType:
    """Return what a delta mainly carries."""
    if delta.get("tool_calls") or ("function_call" in delta and calls_function(delta)):
        return ChunkType.TOOL_CALL
    if delta.get("content"):
        return ChunkType.TEXT
    if not _REASONING.isdisjoint(delta) and any(delta.get(name) for name in REASONING):
        return ChunkType.REASONING
    if delta.get("refusal"):
        return ChunkType.REFUSAL
    return ChunkType.ROLE if delta.get("role") else ChunkType.OTHER


def see_delta(delta: dict[str, Any], state: Choice, ledger: Ledger) -> bool:
    """Look at one delta, and return whether dicts of its chunk get a content."""
    role(delta, state, ledger)
    if not _REASONING.isdisjoint(delta) and any(delta.get(name) for name in REASONING):
        ledger.record(REASONING_NONSTANDARD, Level.NEVER)
    if not (state.has_answer or _NO_ANSWER.issuperset(delta)):
        state.has_answer = any(delta[name] for name in delta if name not in _NO_ANSWER)
    if "tool_calls" in delta:
        state.see_calls(delta)
    if calls_function(delta):
        state.call_function(delta["function_call"])
    fills = content(delta, ledger)
    text(delta, "content", state, ledger)
    state.begun = True
    return fills


def role(delta: dict[str, Any], state: Choice, ledger: Ledger) -> None:
    """Have the role in the first delta, and only there: the SDK's helper joins repeated ones."""
    if not delta.get("role") and not state.begun:
        if ledger.record(ROLE_IRREGULAR):
            delta["role"] = "assistant"
    elif delta.get("role") is not None and state.begun and ledger.record(ROLE_IRREGULAR):
        del delta["role"]


def content(delta: dict[str, Any], ledger: Ledger) -> bool:
    """Return whether dicts of the chunk get a content: known issue `KeyError: 'content'`."""
    text = delta.get("content", _ABSENT)
    if text is _ABSENT:
        return _without_content(delta, CONTENT_ABSENT, ledger)
    if text is None:
        return _without_content(delta, CONTENT_NULL, ledger)
    if not isinstance(text, str):
        content_not_string(delta, text, ledger)
    return False


def _without_content(delta: dict[str, Any], kind: AnomalyKind, ledger: Ledger) -> bool:
    # For the helper "" is a text: it would make events that are not there.
    if not ledger.record(kind, Level.NEVER if ledger.accumulated else Level.AUTO):
        return False
    if ledger.wants(kind, Level.OPT_IN):
        delta["content"] = ""
        return False
    return True


def content_not_string(delta: dict[str, Any], content: Any, ledger: Ledger) -> None:
    """Make text and reasoning of Mistral's list of parts, in the members that others use for them."""
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


def text(holder: dict[str, Any], key: str, state: Choice, ledger: Ledger) -> None:
    """Look at the text of a delta, or of a legacy completion: `holder[key]`."""
    new = holder.get(key)
    if not isinstance(new, str) or not new:
        state.has_answer = state.has_answer or bool(new)
        return
    if "\ufffd" in new:
        ledger.record(CONTENT_UNDECODABLE, Level.NEVER)
    state.text.see(holder, key)
