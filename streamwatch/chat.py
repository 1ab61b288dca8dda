"""One streamed chat completion, or legacy completion, and its rules.

How it works. `Chat.see` first tries the commonest chunk of all, one more piece of text or of tool
arguments for a choice that has begun, with a handful of look-ups. Any other chunk goes through the
rules, in order: of the chunk, of each choice, of its delta, of each fragment of a tool call (in
`tool_calls`). A rule is a plain function that records what it finds and mends it on the next line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamwatch.anomalies import (
    CHOICES_EMPTY,
    CHUNK_METADATA_IRREGULAR,
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    CONTENT_UNDECODABLE,
    DELTA_MISSING,
    FINISH_REASON_IRREGULAR,
    FINISH_REASON_MISSING,
    FINISH_REASON_PREMATURE,
    REASONING_NONSTANDARD,
    ROLE_IRREGULAR,
    SSE_FRAMING_VARIANT,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_FRAGMENT_IRREGULAR,
    Chunk,
    Level,
)
from streamwatch.sse import Event
from streamwatch.surface import Surface, Watching
from streamwatch.tool_calls import ToolCalls

_OBJECTS = {"chat": "chat.completion.chunk", "completions": "text_completion"}
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_PLACEHOLDERS = frozenset({"", "null", "None"})
_FAILURES = frozenset({"error", "network_error", "malformed_function_call"})
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_ABSENT: Any = object()


class Choice:
    """What is known of one choice."""

    __slots__ = ("begun", "calls", "finish_reason", "text")

    def __init__(self, chat: Chat) -> None:
        self.begun = False  #: its first delta was seen
        self.text = False  #: some text of it was seen
        self.finish_reason: str | None = None
        self.calls = ToolCalls(chat.stream)


class Chat(Surface):
    """The state of one streamed chat completion."""

    def __init__(self, stream: Watching, name: str) -> None:
        super().__init__(stream, name)
        self.choices: dict[int, Choice] = {}
        self.texts = 0
        self.fragments = 0
        self.any_id = False
        self.any_choices = False
        self.audio = False
        self._object = _OBJECTS[name]
        request, policy = stream.request, stream.policy
        asked_for = CONTENT_ABSENT in policy.opt_in
        #: Whether every delta may get a content, or only one that can't tell a careful reader anything.
        self.fills = not request.accumulated and (request.naive or asked_for)

    # --- one chunk

    def see(self, event: Event) -> None:
        chunk = event.payload
        try:
            (choice,) = chunk["choices"]
            state = self.choices[choice["index"]]
            delta = choice["delta"]
            if (
                len(delta) == 1
                and state.begun
                and choice["finish_reason"] is None
                and state.finish_reason is None
                and chunk["id"] == self.id
                and chunk["model"] == self.model
                and chunk["object"] == self._object
                and chunk["created"]
                and chunk.get("usage") is None
                and "error" not in chunk
            ):
                content = delta.get("content")
                if type(content) is str:
                    if content and (content.isascii() or "\ufffd" not in content):
                        state.text = True
                        self.texts += 1
                        return
                elif content is None and state.calls.more(delta.get("tool_calls")):
                    self.fragments += 1
                    content_absent(delta, state, self)
                    return
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not that shape: the rules say what is odd about it, if anything
        self._see(chunk, event)

    def _see(self, chunk: dict[str, Any], event: Event) -> None:
        if self.error_in_stream(chunk) or error_hidden(chunk, event, self):
            self.counts[Chunk.OTHER] += 1
            return
        for rule in CHUNK_RULES:
            rule(chunk, self)
        sort = Chunk.USAGE if chunk.get("usage") else Chunk.OTHER
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                sort = self._see_choice(choice)
        self.counts[sort] += 1

    def _see_choice(self, choice: dict[str, Any]) -> Chunk:
        index = choice.get("index")
        index = index if type(index) is int else 0
        state = self.choices.get(index)
        if state is None:
            state = self.choices[index] = Choice(self)
        if self.name == "completions":
            sort = self._see_text(choice, state)
        else:
            delta_missing(choice, state, self)
            sort = self._see_delta(choice, state)
        before = state.finish_reason
        finish_reason(choice, state, self)
        return sort if state.finish_reason == before else Chunk.FINISH

    def _see_text(self, choice: dict[str, Any], state: Choice) -> Chunk:
        text = choice.get("text")
        undecodable(text, self)
        return Chunk.TEXT if text else Chunk.OTHER

    def _see_delta(self, choice: dict[str, Any], state: Choice) -> Chunk:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return Chunk.OTHER
        if "audio" in delta:
            self.audio = True
        sort = sort_of(delta)
        if state.finish_reason is not None and sort is not Chunk.OTHER and sort is not Chunk.ROLE:
            self.stream.found(FINISH_REASON_PREMATURE, Level.NEVER)
        for rule in DELTA_RULES:
            rule(delta, state, self)
        content(delta, choice, state, self)
        if "tool_calls" in delta:
            state.calls.see(delta)
        state.begun = True
        return sort

    # --- the end

    def done(self) -> None:
        # Audio models and Snowflake never finish a choice, and mean nothing by it.
        if not self.audio and self.any_id and not self.stream.error:
            for state in self.choices.values():
                if state.finish_reason is None:
                    self.stream.found(FINISH_REASON_MISSING, Level.NEVER)

    def finished(self) -> bool:
        # Where no chunk ever had choices, the server speaks another protocol, and only it knows its end.
        return bool(self.choices or not self.any_choices) and all(state.finish_reason for state in self.choices.values())

    def close(self) -> None:
        if self.finished() and not self.stream.done:
            self.stream.found(SSE_FRAMING_VARIANT, Level.NEVER)
        for state in self.choices.values():
            if state.finish_reason and state.finish_reason != "length":
                for call in state.calls.calls:
                    if not call.size:
                        self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR, Level.NEVER)
                    elif call.parses() is False:
                        self.stream.found(TOOL_CALL_ARGUMENTS_INVALID, Level.NEVER)
                        self.cut_arguments = self.cut_arguments or call.unfinished()

    def arguments_parse(self) -> bool | None:
        if not all(state.finish_reason and state.finish_reason != "length" for state in self.choices.values()):
            return None
        parsed = {call.parses() for state in self.choices.values() for call in state.calls.calls}
        return False if False in parsed else True if parsed == {True} else None

    def finish_reasons(self) -> tuple[str, ...]:
        # "error" for a choice that was cut off: the convention of the GenAI attributes.
        return tuple(str(self.choices[index].finish_reason or "error") for index in sorted(self.choices))

    def chunk_counts(self) -> dict[Chunk, int]:
        counts = dict(self.counts)
        counts[Chunk.TEXT] += self.texts
        counts[Chunk.TOOL_CALL] += self.fragments
        return {chunk: count for chunk, count in counts.items() if count}

    def number(self, payload: dict[str, Any], event: Event) -> Callable[[dict[str, Any], Event], Any] | None:
        for name in self.stream.settings.sequence_fields:
            if type(payload.get(name)) is int:
                return lambda payload, event: payload.get(name)
        return _sse_id if event.id and _sse_id(payload, event) is not None else None


def _sse_id(payload: dict[str, Any], event: Event) -> int | None:
    """The number in an SSE `id:` line."""
    text = event.id or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def sort_of(delta: dict[str, Any]) -> Chunk:
    """What a delta mainly carries."""
    if delta.get("tool_calls"):
        return Chunk.TOOL_CALL
    if delta.get("content"):
        return Chunk.TEXT
    if any(delta.get(name) for name in _REASONING):
        return Chunk.REASONING
    if delta.get("refusal"):
        return Chunk.REFUSAL
    return Chunk.ROLE if delta.get("role") else Chunk.OTHER


# --- rules of a chunk


def error_hidden(chunk: dict[str, Any], event: Event, chat: Chat) -> bool:
    """The error has a form that the SDK takes for a chunk without choices."""
    named = event.event == "error" or chunk.get("type") == "error"
    if "choices" in chunk or not (named or "detail" in chunk or chunk.get("object") == "error"):
        return False
    chat.error_hidden()
    return True


def choices_empty(chunk: dict[str, Any], chat: Chat) -> None:
    """`choices` is a list, if an empty one: readers iterate over it."""
    chat.any_choices = chat.any_choices or "choices" in chunk
    if chunk.get("choices"):
        return
    level = Level.NEVER if "choices" in chunk and chunk["choices"] is not None else Level.DEFAULT
    if chat.stream.found(CHOICES_EMPTY, level):
        chunk["choices"] = []


def metadata(chunk: dict[str, Any], chat: Chat) -> None:
    """id, model, created and object are there, and stay what they were."""
    id, model, object = chunk.get("id"), chunk.get("model"), chunk.get("object")
    changed = bool(id and chat.id and id != chat.id)
    chat.any_id = chat.any_id or bool(id)
    if isinstance(id, str):
        chat.id = id or chat.id
    if isinstance(model, str):
        chat.model = model or chat.model
    choices = chunk.get("choices")
    # Without its object the SDK's helper skips the chunk; Azure's annotations are to be skipped.
    whole = bool(choices) and all(_has_delta(choice) for choice in choices)
    if object != chat._object and chat.stream.found(CHUNK_METADATA_IRREGULAR, Level.DEFAULT if whole else Level.NEVER):
        chunk["object"] = chat._object
    elif object == chat._object and (changed or not (id and model and chunk.get("created"))):
        chat.stream.found(CHUNK_METADATA_IRREGULAR, Level.NEVER)


def _has_delta(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("delta", choice.get("text")), (dict, str))


CHUNK_RULES = (choices_empty, metadata)


# --- rules of a choice


def delta_missing(choice: dict[str, Any], state: Choice, chat: Chat) -> None:
    """Every choice has a delta, if an empty one."""
    if not isinstance(choice.get("delta"), dict) and chat.stream.found(DELTA_MISSING):
        choice["delta"] = {}


def finish_reason(choice: dict[str, Any], state: Choice, chat: Chat) -> None:
    """finish_reason is null up to the last chunk, and then one of five words."""
    reason = choice.get("finish_reason", _ABSENT)
    if reason is None:
        return
    if reason is _ABSENT or reason in _PLACEHOLDERS:
        if chat.stream.found(FINISH_REASON_IRREGULAR):
            choice["finish_reason"] = None
        return
    if reason not in _FINISH_REASONS or state.finish_reason is not None:
        chat.stream.found(FINISH_REASON_IRREGULAR, Level.NEVER)
    chat.stream.error = chat.stream.error or reason in _FAILURES
    state.finish_reason = str(reason)


# --- rules of a delta


def role(delta: dict[str, Any], state: Choice, chat: Chat) -> None:
    """The role stands in the first delta, and only there: helpers join repeated ones."""
    if delta.get("role") is None:
        if not state.begun and chat.stream.found(ROLE_IRREGULAR):
            delta["role"] = "assistant"
    elif state.begun and chat.stream.found(ROLE_IRREGULAR):
        del delta["role"]


def reasoning(delta: dict[str, Any], state: Choice, chat: Chat) -> None:
    """Reasoning has no place of its own in this API."""
    if any(delta.get(name) for name in _REASONING):
        chat.stream.found(REASONING_NONSTANDARD, Level.NEVER)


DELTA_RULES = (role, reasoning)


def content(delta: dict[str, Any], choice: dict[str, Any], state: Choice, chat: Chat) -> None:
    """content is a string: the known issue `KeyError: 'content'`."""
    text = delta.get("content", _ABSENT)
    if isinstance(text, str):
        undecodable(text, chat)
        state.text = state.text or bool(text)
    elif text is _ABSENT:
        content_absent(delta, state, chat, strict=not delta and choice.get("finish_reason") is None)
    elif text is None:
        strict = len(delta) == 1 and choice.get("finish_reason") is None
        if chat.stream.found(CONTENT_NULL, _fill_level(state, chat, strict=strict)):
            delta["content"] = ""
    else:
        chat.stream.found(CONTENT_NOT_STRING, Level.NEVER)


def content_absent(delta: dict[str, Any], state: Choice, chat: Chat, *, strict: bool = False) -> None:
    """A delta of a tool call carries no content; tutorials read it all the same."""
    if chat.stream.found(CONTENT_ABSENT, _fill_level(state, chat, strict=strict)):
        delta["content"] = ""


def _fill_level(state: Choice, chat: Chat, *, strict: bool) -> Level:
    """Fill where nobody but a naive reader sees a difference.

    Where the SDK's accumulating helper or a framework reads, "" instead of nothing makes events and
    texts that were not there (21 tests of the SDK's own suite fail on it). A delta that carries
    nothing else, in the middle of a text, can be filled for every reader: no test fails.
    """
    return Level.DEFAULT if chat.fills or (strict and state.text) else Level.NEVER


def undecodable(text: Any, chat: Chat) -> None:
    """U+FFFD: a relay cut a character in two and replaced the halves."""
    if isinstance(text, str) and "\ufffd" in text:
        chat.stream.found(CONTENT_UNDECODABLE, Level.NEVER)
