"""One streamed chat completion, or legacy completion, and its rules.

How it works. `Chat.see` first tries the commonest chunk of all, one more piece of text or of tool
arguments for a choice that has begun, with a handful of look-ups. Any other chunk goes through the
rules, in order: of the chunk, of each choice, of its delta (`deltas`), of each fragment of a tool
call (`tool_calls`). A rule is a plain function that records what it finds and mends it on the next
line.

A repair that has to know the next chunk keeps one chunk back; one that has to know an earlier
choice keeps the later one's. Both happen only once something is wrong, and end with the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.chat_choice import Choice, content, content_absent, reasoning, role, sort_of, text
from streamwatch.core.context import Context
from streamwatch.core.kinds import (
    CHOICE_INDEX_INVALID,
    CHOICES_EMPTY,
    CHUNK_METADATA_IRREGULAR,
    CONTENT_ABSENT,
    DELTA_MISSING,
    FINISH_REASON_IRREGULAR,
    FINISH_REASON_MISSING,
    FINISH_REASON_PREMATURE,
    KEEPALIVE_FRAME,
    SSE_FRAMING_VARIANT,
    STREAM_SPLICED,
    USAGE_MISPLACED,
    ChunkType,
    Level,
)
from streamwatch.core.sse import Event

_OBJECTS = {"chat": "chat.completion.chunk", "completions": "text_completion"}
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_PLACEHOLDERS = ("", "null", "None")
_FAILURES = ("error", "network_error", "malformed_function_call")
#: What other APIs call the same end.
_SYNONYMS = {
    **dict.fromkeys(("eos", "end_turn", "STOP", "stop_sequence", "eos_token"), "stop"),
    **dict.fromkeys(("MAX_TOKENS", "max_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("SAFETY", "sensitive", "guardrail_intervened"), "content_filter"),
    "tool_use": "tool_calls",
}
#: What every chunk of a completion has in common.
_HEAD = ("id", "object", "created", "model")
#: Choices that are remembered; the API gives 128 at most. A server that makes up more gets them passed on.
_MAX_CHOICES = 256
#: Ids of earlier completions that are remembered, to notice when one comes back.
_MAX_IDS = 16
_ABSENT: Any = object()


class Chat(ApiState):
    """The state of one streamed chat completion."""

    number_member = ""
    ends_with_done = True

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        request = context.request
        self.fills = not request.accumulated and (request.naive or self.ledger.wants(CONTENT_ABSENT, Level.OPT_IN))
        self.holds_finish = self.ledger.wants(FINISH_REASON_PREMATURE)
        self.object = _OBJECTS[name]
        self.choices: dict[int, Choice] = {}
        self.usage: Any = None
        self.kept: Event | None = None  #: the chunk that waits for the next one
        self.early: list[Event] = []  #: chunks of choices whose predecessors have not come
        self.any_id = self.any_choices = self.audio = False
        self.last: dict[str, Any] = {}  #: the last chunk that went through the rules
        self.past_ids: list[str] = []
        self.raw_id = self.raw_model = ""  #: as they came; `id` and `model` are those handed on
        self._calm = True  #: nothing is under way that the shortcut of `see` could miss
        self.passes = True
        self.waits = min(request.n or 1, _MAX_CHOICES)  #: choices below this one wait for lower ones
        self.finishes = self._texts = self._fragments = 0
        self._empty_raw = b""

    # --- one chunk

    def push(self, event: Event) -> Sequence[Event]:
        chunk = event.payload
        try:
            (choice,) = chunk["choices"]
            state = self.choices[choice["index"]]
            delta = choice["delta"]
            if (
                len(delta) == 1
                and self._calm
                and state.begun
                and choice["finish_reason"] is None
                and state.finish_reason is None
                and chunk["id"] == self.id
                and chunk["model"] == self.model
                and chunk["object"] == self.object
                and chunk["created"]
                and chunk.get("usage") is None
                and "error" not in chunk
            ):
                new = delta.get("content")
                if type(new) is str:
                    if new and state.deltas is None and (new.isascii() or "\ufffd" not in new):
                        state.text.add(new)
                        self._texts += 1
                        return (event,)
                elif "tool_calls" in delta and state.calls.more(delta["tool_calls"]):
                    self._fragments += 1
                    content_absent(delta, state, self.ledger)
                    return (event,)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not that shape: the rules say what is odd about it, if anything
        return super().push(event)

    def see(self, event: Event) -> None:
        if self._see(event.payload, event):
            self.release(event)
        elif event is not self.kept and event not in self.early:
            self.drop(event)

    def _see(self, chunk: dict[str, Any], event: Event) -> bool:
        self._go_on(chunk)
        if self.error_in_stream(chunk) or error_hidden(chunk, event, self):
            self.count(ChunkType.OTHER)
            return True
        choices = choices_of(chunk)
        if self._is_early(choices) and self._keep_early(event):
            return False
        self.passes = True
        for rule in CHUNK_RULES:
            rule(chunk, self)
        sort = ChunkType.USAGE if chunk.get("usage") else ChunkType.OTHER
        for choice in choices:
            sort = self._see_choice(choice)
        self.count(sort)
        self.last = chunk
        self._keepalive(event, sort, choices)
        self._keep(event, choices)
        return self.passes

    def remember(self, id: Any, model: Any) -> None:
        """What a chunk says of the completion it is of, as it came."""
        self.any_id = self.any_id or bool(id)
        if isinstance(id, str) and id and id != self.raw_id:
            self.past_ids = [*self.past_ids, self.raw_id][-_MAX_IDS:] if self.raw_id else []
            self.raw_id = id
        if isinstance(model, str) and model:
            self.raw_model = model

    def _see_choice(self, choice: dict[str, Any]) -> ChunkType:
        index = choice_index(choice, self)
        state = self.choices.get(index)
        if state is None:
            if len(self.choices) >= _MAX_CHOICES:
                return ChunkType.OTHER
            state = self.choices[index] = Choice(self.ledger, self.settings, self.request.tools, fills=self.fills)
        before = state.finish_reason
        if self.name == "completions":
            finish_reason(choice, state, self)
            finishes = before is None and state.finish_reason is not None
            sort = ChunkType.TEXT if choice.get("text") else ChunkType.OTHER
            self.passes &= text(choice, "text", state, self.ledger, finishes=finishes) or finishes
        else:
            delta_missing(choice, self)
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else {}
            sort = sort_of(delta)
            if before is not None and sort not in (ChunkType.OTHER, ChunkType.ROLE):
                self.record(FINISH_REASON_PREMATURE, Level.NEVER)
            finish_reason(choice, state, self)
            finishes = before is None and state.finish_reason is not None
            self._see_delta(delta, state, finishes=finishes)
        return ChunkType.FINISH if finishes else sort

    def _see_delta(self, delta: dict[str, Any], state: Choice, *, finishes: bool) -> None:
        self.audio = self.audio or "audio" in delta
        role(delta, state, self.ledger)
        reasoning(delta, state, self.ledger)
        if "tool_calls" in delta:
            state.calls.see(delta)
        if finishes:
            state.calls.finish(delta)
        content(delta, state, self.ledger, finishes=finishes)
        says = text(delta, "content", state, self.ledger, finishes=finishes)
        self.passes &= says or finishes or len(delta) > 1  # a chunk of nothing but a replay is none
        state.begun = True

    # --- chunks that wait

    def _go_on(self, chunk: dict[str, Any]) -> None:
        """A chunk came: what waited for it goes on before it."""
        if self._calm:
            return
        kept, self.kept = self.kept, None
        if kept is not None:
            self._blank_finish(kept.payload, chunk)
            self.release(kept)
        early, self.early = self.early, []
        for event in early:
            if self._is_early(choices_of(event.payload)):
                self.early.append(event)
            elif self._see(event.payload, event):
                self.release(event)
        self._settle()

    def _settle(self) -> None:
        withholding = any(state.overlap or state.withheld for state in self.choices.values())
        self._calm = self.usage is None and self.kept is None and not self.early and not withholding

    def _is_early(self, choices: list[dict[str, Any]]) -> bool:
        """Whether n > 1, and a choice comes before a lower one: helpers fail on it."""
        indexes = [choice.get("index") for choice in choices] if self.waits > 1 else []
        return any(type(i) is int and 0 < i < self.waits and i - 1 not in self.choices for i in indexes)

    def _keep_early(self, event: Event) -> bool:
        if not self.record(CHOICE_INDEX_INVALID):
            return False
        if len(self.early) >= self.settings.window_events:
            for _ in (event, *self.early):
                self.ledger.failed(CHOICE_INDEX_INVALID)
            self.waits = 1  # nothing waits any more, and what was held goes on first
            self._go_on({})
            return False
        self.early.append(event)
        self._calm = False
        return True

    def _keep(self, event: Event, choices: list[dict[str, Any]]) -> None:
        """Keep a chunk back that may have to say more, or less, depending on the next one."""
        lacks_usage = self.usage is not None and not event.payload.get("usage")
        # The SDK's helper keeps the last chunk's usage; whoever adds up all chunks' would count it twice.
        level = Level.DEFAULT if self.request.accumulated else Level.OPT_IN
        misplaced = lacks_usage and self.record(USAGE_MISPLACED, level)
        finishes = self.holds_finish and any(choice.get("finish_reason") for choice in choices)
        if misplaced or finishes:
            self.kept = event
            self.passes = False
            self._settle()

    def _blank_finish(self, kept: dict[str, Any], chunk: dict[str, Any]) -> None:
        """A finish_reason that came too soon is taken back when its choice goes on."""
        goes_on = [choice.get("index") for choice in choices_of(chunk) if _says_something(choice)]
        for choice in choices_of(kept) if self.holds_finish else ():
            index = choice.get("index")
            state = self.choices.get(index) if type(index) is int else None
            if state is not None and choice.get("finish_reason") and choice.get("index") in goes_on:
                self.record(FINISH_REASON_PREMATURE, Level.OPT_IN)
                state.taken_back = choice["finish_reason"]
                choice["finish_reason"] = state.finish_reason = None

    def _keepalive(self, event: Event, sort: ChunkType, choices: list[dict[str, Any]]) -> None:
        """The same empty chunk again: it keeps the connection open."""
        if sort is not ChunkType.OTHER or not choices:
            self._empty_raw = b""
        elif event.raw == self._empty_raw:
            self.passes &= not self.record(KEEPALIVE_FRAME, Level.OPT_IN)
        else:
            self._empty_raw = event.raw

    # --- the end

    def see_text(self, event: Event) -> None:
        if event.raw.startswith(b"[DONE]"):
            self.done = True
            self._see_done()
        self.release(event)

    def _see_done(self) -> None:
        self._finish_up()
        # Audio models and Snowflake never finish a choice, and mean nothing by it.
        if self.audio or not self.any_id or self.error:
            return
        for index, state in self.choices.items():
            if state.finish_reason is not None:
                continue
            level = Level.OPT_IN if state.calls.parse() is not False else Level.NEVER
            if self.record(FINISH_REASON_MISSING, level):
                native = _SYNONYMS.get(state.native_reason, state.native_reason)
                reason = "tool_calls" if state.calls.calls else "stop"
                self._insert(index, {}, native if native in _FINISH_REASONS else reason)

    def _finish_up(self) -> None:
        """What waited for a chunk that never came."""
        kept, self.kept = self.kept, None
        if kept is not None:
            if self.usage is not None and not kept.payload.get("usage"):
                kept.payload["usage"] = self.usage
            self.release(kept)
        self._go_on({})
        for event in self.early:  # what they waited for never came
            self.release(event)
        self.early.clear()
        for index, state in self.choices.items():
            delta: dict[str, Any] = {}
            state.calls.flush(delta)
            if state.withheld:
                key = "content" if self.name == "chat" else "text"
                delta[key], state.withheld = state.withheld, ""
            if delta or (state.taken_back and state.finish_reason is None):
                state.finish_reason = state.finish_reason or state.taken_back
                self._insert(index, delta, state.taken_back)

    def _insert(self, index: int, delta: dict[str, Any], reason: str | None) -> None:
        """A chunk that never came, in the shape of the last one."""
        chunk: dict[str, Any] = {key: self.last[key] for key in _HEAD if key in self.last}
        if self.fills and self.name == "chat":
            delta.setdefault("content", "")
        held = delta if self.name == "completions" else {"delta": delta}
        self.insert({**chunk, "choices": [{"index": index, **held, "finish_reason": reason}]})

    def finished(self) -> bool:
        return bool(self.choices) and all(state.finish_reason for state in self.choices.values())

    @property
    def knows_no_end(self) -> bool:
        # Where no chunk ever had choices, the server speaks another protocol.
        return not self.any_choices

    def close(self) -> None:
        self._finish_up()
        if self.finished() and not self.done:
            self.record(SSE_FRAMING_VARIANT, Level.NEVER)
        n = self.request.n or 1
        if n > len(self.choices) and self.finishes >= n > 1:
            self.record(CHOICE_INDEX_INVALID, Level.NEVER)
        for state in self.choices.values():
            if state.finish_reason and state.finish_reason != "length":
                self.cut_arguments = state.calls.close() or self.cut_arguments

    def from_document(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        choices = choices_of(document)
        if not choices:
            return super().from_document(document)
        head = {key: document.get(key) for key in ("id", "created", "model")}
        said = [{"index": 0, "finish_reason": None, "delta": {}, **choice} for choice in choices]
        for choice in said:
            choice["delta"] = choice.pop("message", {})
        return [{**head, "object": self.object, "choices": said}]

    def arguments_parse(self) -> bool | None:
        if not all(state.finish_reason and state.finish_reason != "length" for state in self.choices.values()):
            return None
        parsed = {state.calls.parse() for state in self.choices.values()} - {None}
        return False if False in parsed else True if parsed else None

    def finish_reasons(self) -> tuple[str, ...]:
        # "error" for a choice that was cut off: the convention of the GenAI attributes.
        return tuple(str(self.choices[index].finish_reason or "error") for index in sorted(self.choices))

    def chunk_counts(self) -> dict[ChunkType, int]:
        quick = {ChunkType.TEXT: self._texts, ChunkType.TOOL_CALL: self._fragments}
        return self.counts | {chunk: self.counts.get(chunk, 0) + count for chunk, count in quick.items() if count}


def choices_of(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a chunk that are what they should be."""
    choices = chunk.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _says_something(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return bool(choice.get("text")) or (
        isinstance(delta, dict) and sort_of(delta) not in (ChunkType.OTHER, ChunkType.ROLE)
    )


# --- rules of a chunk


def error_hidden(chunk: dict[str, Any], event: Event, chat: Chat) -> bool:
    """The error has a form that the SDK takes for a chunk without choices."""
    named = event.event == "error" or chunk.get("type") == "error"
    if "choices" in chunk or not (named or "detail" in chunk or chunk.get("object") == "error"):
        return False
    if chat.error_hidden():
        error = dict(chunk)
        error.setdefault("message", str(error.get("detail", "")))
        chunk.clear()
        chunk["error"] = error
    return True


def choices_empty(chunk: dict[str, Any], chat: Chat) -> None:
    """`choices` is a list, if an empty one: readers iterate over it."""
    chat.any_choices = chat.any_choices or "choices" in chunk
    choices = chunk.get("choices")
    if choices:
        return
    if choices is None:
        if chat.record(CHOICES_EMPTY):
            chunk["choices"] = []
    elif chat.record(CHOICES_EMPTY, Level.NEVER if chunk.get("usage") else Level.OPT_IN):
        chat.passes = False  # chunk.choices[0] is what tutorials say


def spliced(chunk: dict[str, Any], chat: Chat) -> None:
    """Chunks of more than one completion: another model, or an id that comes back after another one."""
    id, model = chunk.get("id"), chunk.get("model")
    if not chunk.get("choices"):
        return
    another_model = bool(model and chat.raw_model and model != chat.raw_model)
    if another_model or (id and id != chat.raw_id and id in chat.past_ids):
        restarts = another_model and chat.record(STREAM_SPLICED, Level.OPT_IN)
        if not another_model:
            chat.record(STREAM_SPLICED, Level.NEVER)
        for state in chat.choices.values():
            state.overlap = restarts and bool(len(state.text))
        if restarts and not any(state.overlap for state in chat.choices.values()):
            chat.ledger.unrepaired(STREAM_SPLICED)


def metadata(chunk: dict[str, Any], chat: Chat) -> None:
    """id, model, created and object are there, and stay what they were."""
    id, model, object = chunk.get("id"), chunk.get("model"), chunk.get("object")
    chat.remember(id, model)
    choices = chunk.get("choices")
    # Without its object the SDK's helper skips the chunk; Azure's annotations are to be skipped.
    whole = bool(choices) and isinstance(choices, list) and all(_has_delta(choice) for choice in choices)
    if object != chat.object and chat.record(CHUNK_METADATA_IRREGULAR, Level.DEFAULT if whole else Level.NEVER):
        chunk["object"] = chat.object
    wrong = bool(id and chat.id and id != chat.id) or not (id and model and chunk.get("created"))
    known = {"id": chat.id, "model": chat.model, "created": chat.last.get("created")}
    if wrong and object == chat.object:
        pinned = choices and all(known.values())
        if chat.record(CHUNK_METADATA_IRREGULAR, Level.OPT_IN if pinned else Level.NEVER):
            chunk.update(known)
            id, model = chat.id, chat.model
    if isinstance(id, str):
        chat.id = id or chat.id
    if isinstance(model, str):
        chat.model = model or chat.model


def _has_delta(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("delta", choice.get("text")), (dict, str))


def usage(chunk: dict[str, Any], chat: Chat) -> None:
    """usage stands in the chunk, once, and in the last one: helpers keep the last chunk's."""
    if not chunk.get("usage"):
        for choice in choices_of(chunk):
            if choice.get("usage") and chat.record(USAGE_MISPLACED):
                chunk["usage"] = choice.pop("usage")
    if chunk.get("usage"):
        if chat.usage is not None:
            chat.record(USAGE_MISPLACED, Level.NEVER)
        chat.usage = chunk["usage"]


CHUNK_RULES = (choices_empty, spliced, metadata, usage)


# --- rules of a choice


def choice_index(choice: dict[str, Any], chat: Chat) -> int:
    """The index of a choice is below the number of choices that were asked for."""
    index, n = choice.get("index"), chat.request.n
    if type(index) is int and 0 <= index and (n is None or index < n):
        return index
    if type(index) is int and index > 0 and (index in chat.choices or _opens(choice, chat)):
        chat.record(CHOICE_INDEX_INVALID, Level.NEVER)  # a choice that somebody on the way asked for
        return index
    one = n == 1 or (n is None and not any(chat.choices))
    if chat.record(CHOICE_INDEX_INVALID, Level.DEFAULT if one else Level.NEVER):
        choice["index"] = 0
    return index if type(index) is int and not one else 0


def _opens(choice: dict[str, Any], chat: Chat) -> bool:
    """Whether a choice opens as choices do, with a role of its own, while the first one is being written."""
    delta, first = choice.get("delta"), chat.choices.get(0)
    has_role = isinstance(delta, dict) and bool(delta.get("role"))
    return has_role and first is not None and first.finish_reason is None


def delta_missing(choice: dict[str, Any], chat: Chat) -> None:
    """Every choice has a delta, if an empty one."""
    if not isinstance(choice.get("delta"), dict) and chat.record(DELTA_MISSING):
        choice["delta"] = {}


def finish_reason(choice: dict[str, Any], state: Choice, chat: Chat) -> None:
    """finish_reason is null up to the last chunk, and then one of five words."""
    reason = choice.get("finish_reason", _ABSENT)
    native = choice.get("finishReason") or choice.get("native_finish_reason")
    state.native_reason = native if isinstance(native, str) else state.native_reason
    if reason is None:
        return
    if reason is _ABSENT or reason in _PLACEHOLDERS:
        if chat.record(FINISH_REASON_IRREGULAR):
            choice["finish_reason"] = None
        return
    reason = str(reason)
    chat.finishes += 1
    chat.error = chat.error or reason in _FAILURES
    better = _SYNONYMS.get(reason, "")
    contradicts = reason == "stop" and bool(state.calls.calls) and not chat.request.names_tool
    if contradicts and state.calls.parse() is not False:
        better = "tool_calls"
    if better or contradicts or reason not in _FINISH_REASONS or state.finish_reason is not None:
        wanted = chat.record(FINISH_REASON_IRREGULAR, Level.OPT_IN if better else Level.NEVER)
        choice["finish_reason"] = reason = better if wanted else reason
    state.finish_reason = reason
