"""One streamed chat completion, or legacy completion: the way of a chunk.

How it works. `Chat.push` first tries the commonest chunk of all, one more piece of text or of tool
arguments for a choice that has begun, with a handful of look-ups. Any other chunk goes through the
rules, in order: of the chunk (`chat_rules`), of each choice, of its delta (`chat_choice`), of each
fragment of a tool call (`tool_calls`). A rule is a plain function that counts what it finds and
repairs it on the next line.

A repair that has to know a later chunk makes events wait, whole and in order, while `doubts` has an
open question; one for the SDK's helper lets a choice wait for the lower ones. Both happen only once
something is wrong, and within the window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from streamwatch.core.apis.chat_choice import Choice, see_delta, text, type_of
from streamwatch.core.apis.chat_rules import (
    CHUNK_RULES,
    choice_index,
    delta_missing,
    error_hidden,
    finish_reason,
    is_annotation,
    is_empty,
    keepalive,
    may_say_failure,
    metadata,
    says_something,
)
from streamwatch.core.apis.chat_state import MAX_CHOICES, ChatState, choices_of
from streamwatch.core.apis.chat_text import REPLAY_WHOLE
from streamwatch.core.context import Context
from streamwatch.core.kinds import (
    ANSWER_MISSING,
    CHOICE_INDEX_INVALID,
    CONTENT_ABSENT,
    CONTENT_REPLAYED,
    ERROR_HIDDEN,
    FINISH_REASON_MISSING,
    FINISH_REASON_PREMATURE,
    KEEPALIVE_FRAME,
    PROTOCOL_FOREIGN,
    SSE_FRAMING_VARIANT,
    STREAM_SPLICED,
    USAGE_MISPLACED,
)
from streamwatch.core.nothing import NOTHING
from streamwatch.core.quirks import error_message, finish_word, is_keepalive, says_failure, show_error
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

#: Bytes of a chunk whose usage is kept for the last one: those of OpenAI have some hundred.
_MAX_USAGE = 16 << 10
_SILENT = (ChunkType.OTHER, ChunkType.ROLE)


class Chat(ChatState):
    """The rules of one streamed chat completion."""

    __slots__ = (
        *("_early", "_fills_attributes", "_fills_dicts", "_fragments", "_holds_finish", "_holds_suspect"),
        *("_is_calm", "_last", "_line", "_shows_errors", "_suspect", "_takes_out_text", "_texts", "_usage", "_waits"),
    )

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        wants = self.ledger.wants
        self._fills_dicts = wants(CONTENT_ABSENT, Level.AUTO) and not self.ledger.accumulated
        self._fills_attributes = wants(CONTENT_ABSENT, Level.OPT_IN) and not self.ledger.accumulated
        self._takes_out_text = wants(CONTENT_REPLAYED) or wants(STREAM_SPLICED)
        self._holds_finish = wants(FINISH_REASON_PREMATURE)
        self._shows_errors = wants(ERROR_HIDDEN, Level.OPT_IN)
        # Choices below this one come in order; those of several prompts come as they are ready.
        self._waits = min(self.asked or 1, MAX_CHOICES) if name == "chat" else 1
        self._usage: Any = None  # the last one that came, for a last chunk without one
        self._early: dict[Event, None] = NOTHING  # chunks of choices whose predecessors have not come
        # Looked at, and waiting for what is in doubt, in the order in which they go on; whether each said something.
        self._line: dict[Event, bool] = NOTHING
        self._last: Event | None = None  # the last of `_line`, which waits for the next chunk
        self._suspect: Event | None = None  # says that the request failed, unless an answer follows
        self._holds_suspect = False  # it is held until then
        self._is_calm = True  # nothing is under way that the shortcut of `push` could miss
        self._texts = self._fragments = 0

    # --- one chunk

    def push(self, event: Event) -> Sequence[Event]:
        """Return the events that may go on now that `event` came."""
        chunk = event.payload
        try:
            (choice,) = chunk["choices"]
            state = self.choices[choice["index"]]
            delta = choice["delta"]
            if (
                len(delta) == 1
                and self._is_calm
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
                    seen = state.text
                    short = len(new) < REPLAY_WHOLE or len(new) < seen.summed
                    if new and short and seen.settled and (new.isascii() or "\ufffd" not in new):
                        seen.add(new)
                        self._texts += 1
                        return (event,)
                elif "tool_calls" in delta and not self._fills_attributes and state.calls.more(delta["tool_calls"]):
                    self._fragments += 1
                    fills = self._fills_dicts
                    self.ledger.add(CONTENT_ABSENT, repaired=fills)
                    event.fills_content = fills and self.applies
                    return (event,)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not that shape: the rules say what is odd about it, if anything
        return super().push(event)

    def see(self, event: Event) -> None:
        """Look at a chunk in its turn."""
        if self._last is not None:
            self._decide_last(event.payload)
        # Only the helper, which keeps choices in a list, needs them in order.
        if self._is_early(event.payload, self._early) and self.record(CHOICE_INDEX_INVALID, Level.HELPER):
            self._early = self._early or {}
            self._early[event] = None
            self.hold(event)
        else:
            self._go_through(event)
            self._admit()
        self._settle()

    def _go_through(self, event: Event) -> None:
        """Put a chunk through the rules; it goes on, or waits in line for what is in doubt."""
        if not self._look(event):
            self.drop(event)
        elif self._is_waiting:
            self._line = self._line or {}
            self._line[event] = self.speaks
            self.hold(event)
        elif self._line:
            self._line[event] = self.speaks
        elif self.speaks and self._takes_out_text:
            self._release(event, spoke=True)
        else:
            self.release(event)
        if self._line and not self._is_waiting:
            self._release_line()

    @property
    def _is_waiting(self) -> bool:
        return bool(self.doubts) or self._last is not None or self._holds_suspect

    def _release_line(self) -> None:
        for event, spoke in self._line.items():
            self._release(event, spoke=spoke)
        self._line = NOTHING

    def _release(self, event: Event, *, spoke: bool) -> None:
        if spoke and self._takes_out_text and all(map(is_empty, choices_of(event.payload))):
            self.drop(event)  # all that it said was taken out
        else:
            self.release(event)

    def _settle(self) -> None:
        as_it_came = self.raw_id == self.id and self.raw_model == self.model
        self._is_calm = as_it_came and not (self.any_usage or self._is_waiting or self._early or self._suspect)

    def _look(self, event: Event) -> bool:
        """Put a chunk through the rules, and return whether it goes on."""
        chunk = event.payload
        self.passes, self.speaks = True, False
        if self.error_in_stream(chunk) or error_hidden(chunk, event, self):
            self.give_up_waiting()
            self.count(ChunkType.OTHER)
            return True
        choices = choices_of(chunk)
        self.speaks = any(map(says_something, choices))
        if choices:
            if self._suspect is not None and (self.speaks or any(choice.get("finish_reason") for choice in choices)):
                self._acquit()
        elif is_keepalive(chunk.get("type") or event.event, chunk):
            if self.record(KEEPALIVE_FRAME, Level.HELPER):
                self.count(ChunkType.OTHER)
                return False
        elif may_say_failure(chunk, event):
            self._suspect, self._holds_suspect = event, self._shows_errors
        for rule in CHUNK_RULES:
            rule(chunk, choices, self)
        carried = ChunkType.USAGE if chunk.get("usage") else ChunkType.OTHER
        for choice in choices:
            carried = self._see_choice(choice, choices, event)
        metadata(chunk, choices, self)
        self.count(carried)
        keepalive(event, choices, self)
        self._keep(event, choices)
        return self.passes

    def _see_choice(self, choice: dict[str, Any], choices: list[dict[str, Any]], event: Event) -> ChunkType:
        state = self.choice(choice_index(choice, choices, self))
        if state is None:
            return ChunkType.OTHER
        if choice.get("error"):  # of one of several upstreams, which may go on (genkit#6079)
            self._suspect = event
        before = state.finish_reason
        carried = self._see_text(choice, state) if self.name == "completions" else self._see_delta(choice, state, event)
        if before is not None and carried not in _SILENT and says_something(choice):
            self.record(FINISH_REASON_PREMATURE, Level.NEVER)
        finish_reason(choice, state, self)
        if choice.get("finish_reason"):
            state.calls.end_round()
        if before is not None or state.finish_reason is None:
            return carried
        state.text.end()
        state.calls.finish(choice.get("delta"))
        return ChunkType.FINISH

    def _see_delta(self, choice: dict[str, Any], state: Choice, event: Event) -> ChunkType:
        delta_missing(choice, state, self)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return ChunkType.OTHER  # where nothing is, nothing lacks a content or a role
        if self.request.accumulated and not self.speaks and is_annotation(event.payload, self):
            return ChunkType.OTHER  # the SDK's helper skips it
        carried = type_of(delta)
        self.any_audio = self.any_audio or "audio" in delta
        if state.begun and delta.get("role"):
            self.repeats_role = True
            state.restarts = (self.request.n or 1) > len(self.choices)  # else each has an index of its own
        if see_delta(delta, state, self.ledger):
            event.fills_content = self.applies
        return carried

    def _see_text(self, choice: dict[str, Any], state: Choice) -> ChunkType:
        if "text" not in choice and isinstance(choice.get("delta"), dict):
            self.is_foreign = True
        text(choice, "text", state, self.ledger)
        state.begun = True
        return ChunkType.TEXT if choice.get("text") else ChunkType.OTHER

    # --- chunks that wait

    def _admit(self) -> None:
        """Let the choices go on that waited for one that has come."""
        event = self._first_admitted()
        while event is not None:
            del self._early[event]
            self._go_through(event)
            event = self._first_admitted()

    def _first_admitted(self) -> Event | None:
        """Return the first of the chunks that wait which may go on, and overtakes none of its own choice."""
        for at, event in enumerate(self._early):
            if not self._is_early(event.payload, itertools.islice(self._early, at)):
                return event
        return None

    def _is_early(self, chunk: dict[str, Any], before: Iterable[Event]) -> bool:
        """Return whether a choice comes before a lower one, or stands in a chunk before it that waits."""
        if self._waits == 1 or chunk.get("error"):
            return False
        indexes, known = _indexes(chunk), self.choices
        if any(0 < i < self._waits and not (i in known or i - 1 in known or i - 1 in indexes) for i in indexes):
            return True
        return any(not indexes.isdisjoint(_indexes(event.payload)) for event in before)

    def _keep(self, event: Event, choices: list[dict[str, Any]]) -> None:
        """Keep a chunk that may have to say more, or less, depending on the next one."""
        usage = event.payload.get("usage")
        if usage:
            self._usage = usage if len(event.raw) <= _MAX_USAGE else None
        lacks_usage = self.any_usage and not usage
        # The helper takes the last chunk's usage; code that adds up all chunks' would count it twice.
        misplaced = lacks_usage and self.record(USAGE_MISPLACED, None if self._usage else Level.NEVER)
        finishes = self._holds_finish and any(choice.get("finish_reason") for choice in choices)
        if (misplaced or finishes) and self.passes:
            self._last = event

    def _decide_last(self, chunk: dict[str, Any]) -> None:
        """Take back a finish_reason that came too soon: its choice goes on."""
        last, self._last = self._last, None
        goes_on = [choice.get("index") for choice in choices_of(chunk) if says_something(choice)]
        for choice in choices_of(last.payload) if self._holds_finish and last is not None else ():
            index = choice.get("index")
            state = self.choices.get(index) if type(index) is int else None
            if state is not None and choice.get("finish_reason") and index in goes_on:
                self.record(FINISH_REASON_PREMATURE, Level.OPT_IN)
                state.taken_back, state.finish_reason = state.finish_reason, None
                choice["finish_reason"] = None
        if not self._is_waiting:
            self._release_line()

    def give_up_waiting(self) -> None:
        """Release everything that waits, in order: the window is full, or nothing more comes."""
        if self._last is not None and self._lacks_usage(self._last):
            self.ledger.failed(USAGE_MISPLACED)
        self._last = None
        self.doubts.give_up()
        self._release_line()
        if self._early:
            self._give_up_early()
            self.give_up_waiting()
        self._settle()

    def _give_up_early(self) -> None:
        """Let all choices go on, whatever has not come: nothing waits for a choice any more."""
        self._waits = 1
        early, self._early = list(self._early), NOTHING
        for event in early:
            self.ledger.failed(CHOICE_INDEX_INVALID)
            self._go_through(event)

    def _lacks_usage(self, event: Event) -> bool:
        return bool(self._usage) and not event.payload.get("usage") and self.ledger.wants(USAGE_MISPLACED)

    # --- the end

    def see_text(self, event: Event) -> None:
        """Look at an event without a JSON object."""
        if event.raw.startswith(b"[DONE]"):
            self.done = True
            self._finish_up()
            self._see_done()
        else:
            self.give_up_waiting()
        self.release(event)

    def flush(self) -> Sequence[Event]:
        """Return what is held, in order, because nothing more comes."""
        self._finish_up()
        return super().flush()

    def _finish_up(self) -> None:
        """Decide what waited for a chunk that never came."""
        self._convict()
        self._give_up_early()
        if self._last is not None and self._lacks_usage(self._last):
            self._last.payload["usage"] = self._usage
        self._last = None
        for state in self.choices.values():
            if self.done or state.finish_reason is not None:
                state.text.end()
                state.calls.end()
        self.give_up_waiting()
        for index, state in self.choices.items():
            if state.taken_back and state.finish_reason is None:
                state.finish_reason = state.taken_back
                self._insert_finish(index, state.taken_back)

    def _acquit(self) -> None:
        self._suspect, self._holds_suspect = None, False

    def _convict(self) -> None:
        """Count an error that no answer followed, and show it if it was held until now."""
        suspect = self._suspect
        self._acquit()
        if suspect is None:
            return
        self.error = True
        shows = suspect in self.waiting and not choices_of(suspect.payload)
        if self.record(ERROR_HIDDEN, Level.OPT_IN if shows else Level.NEVER):
            show_error(suspect.payload)

    def leave(self) -> None:
        self._convict()

    def _see_done(self) -> None:
        # Audio models and Snowflake never finish a choice, and mean nothing by it.
        if self.any_audio or not self.any_id or self.error:
            return
        for index, state in self._awaited().items():
            if state.finish_reason is not None:
                continue
            level = Level.OPT_IN if state.parse() is not False else Level.NEVER
            if self.record(FINISH_REASON_MISSING, level):
                reason = "tool_calls" if state.calls.calls else "stop"
                self._insert_finish(index, finish_word(state.native_reason) or reason)

    def _awaited(self) -> dict[int, Choice]:
        """Return the choices that have to end: one beyond those asked for that says nothing is none."""
        asked = MAX_CHOICES if self.asked is None else self.asked
        return {index: state for index, state in self.choices.items() if index < asked or state.is_answered}

    def _insert_finish(self, index: int, reason: str) -> None:
        """Put in a chunk that never came, in the shape of the last one."""
        delta: dict[str, Any] = {"content": ""} if self._fills_attributes else {}
        said = {"text": ""} if self.name == "completions" else {"delta": delta}
        event = self.insert({**self.head(), "choices": [{"index": index, **said, "finish_reason": reason}]})
        event.fills_content = self.name == "chat" and not delta and self._fills_dicts

    @property
    def _is_of_another_api(self) -> bool:
        shaped = self.any_choices if self.name == "chat" else any(len(state.text) for state in self.choices.values())
        # [DONE] says that this was a chat completion; without it nothing is known of what nobody knows.
        foreign = self.is_foreign or (self.done and self.any_unknown and not self.any_choices)
        return foreign and not (shaped or self.error)

    def finished(self) -> bool:
        """Return whether every choice has a finish_reason."""
        awaited = self._awaited()
        finished = bool(awaited) and all(state.finish_reason for state in awaited.values())
        return finished and not self._is_of_another_api

    @property
    def ends_with_done(self) -> bool:  # type: ignore[override]
        """Whether [DONE] ends this stream: it ends no other protocol's."""
        return not self._is_of_another_api

    @property
    def knows_no_end(self) -> bool:
        """Whether nothing is known of the protocol that the server speaks: no chunk ever had choices."""
        return not self.any_choices and not self._is_of_another_api

    def close(self) -> None:
        """Ask the rules that can only be asked at the end."""
        if self.finished() and not self.done:
            self.record(SSE_FRAMING_VARIANT, Level.NEVER)
        asked = self.asked or 1
        if asked > len(self.choices) and self.finishes >= asked > 1:
            self.record(CHOICE_INDEX_INVALID, Level.NEVER)
        for state in self.choices.values():
            if state.is_finished:
                self.cut_arguments = state.close(self.ledger) or self.cut_arguments
        if self.error:
            return
        if self._is_of_another_api:
            self.record(PROTOCOL_FOREIGN)
        elif self._is_clean_end and self.name == "chat" and not any(s.is_answered for s in self.choices.values()):
            self.record(ANSWER_MISSING)

    @property
    def _is_clean_end(self) -> bool:
        return self.any_choices and not self.cut_arguments and (self.finished() or self.done)

    def from_document(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a stream would have said where the body is a JSON document."""
        choices = choices_of(document)
        if not choices:
            if not document.get("error") and says_failure(document):
                return [{"error": {"message": error_message(document), **document}}]
            return super().from_document(document)
        head = {key: document.get(key) for key in ("id", "created", "model")}
        said = [{"index": 0, "finish_reason": None, "delta": {}, **choice} for choice in choices]
        for choice in said:
            choice["delta"] = choice.pop("message", {})
        return [{**head, "object": self.object, "choices": said}]

    def arguments_parse(self) -> bool | None:
        """Return whether the arguments of every tool call are JSON; None where that is not known."""
        if not all(state.is_finished for state in self.choices.values()):
            return None
        parsed = {state.parse() for state in self.choices.values()} - {None}
        return False if False in parsed else True if parsed else None

    def finish_reasons(self) -> tuple[str, ...]:
        """Return the finish reason of each choice, in order."""
        # "error" for a choice that was cut off: the convention of the GenAI attributes.
        return tuple(str(self.choices[index].finish_reason or "error") for index in sorted(self.choices))

    def chunk_counts(self) -> dict[ChunkType, int]:
        """Return how many chunks of each type came."""
        quick = {ChunkType.TEXT: self._texts, ChunkType.TOOL_CALL: self._fragments}
        return self.counts | {type: self.counts.get(type, 0) + count for type, count in quick.items() if count}


def _indexes(chunk: dict[str, Any]) -> set[int]:
    """Return the indexes of the choices of a chunk, as far as they are numbers."""
    return {index for choice in choices_of(chunk) if type(index := choice.get("index")) is int}
