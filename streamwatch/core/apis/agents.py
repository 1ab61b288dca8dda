"""The events of an agent's session: turns, their texts, and events that come again.

A subscription has no end of its own: it goes on for as long as the session does, and is complete
whenever no turn is open. A client that reconnects may get events once more; each has an `event_id`,
by which the SDK's helper recognizes them, and a plain reader does not.

Sources: the session events of the Agents API, and the event types and the helper of openai 3.57.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

from streamwatch.core.apis.base import ApiState, kept
from streamwatch.core.context import Context
from streamwatch.core.digest import RunningDigest
from streamwatch.core.kinds import ERROR_IN_STREAM, EVENT_REPEATED, RESPONSE_TEXT_LOST
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

_TURN = "agent.session.turn."
#: How a turn ends. `agent.session.failed` and `agent.session.idle` end all that are open.
_TURN_ENDS = frozenset(_TURN + verb for verb in ("completed", "failed", "cancelled"))
_SESSION_ENDS = frozenset({"agent.session.failed", "agent.session.idle"})
_FAILURES = frozenset({_TURN + "failed", "agent.session.failed"})


class _TextEvents(NamedTuple):
    """The events about one sort of text: what announces it, and the member that says which part is meant."""

    name: str
    announcement: str
    part: str
    type: ChunkType


_TEXTS = (
    _TextEvents(_TURN + "output_text", _TURN + "content_part.added", "content_index", ChunkType.TEXT),
    _TextEvents(
        *(_TURN + "reasoning_summary_text", _TURN + "reasoning_summary_part.added", "summary_index"),
        ChunkType.REASONING,
    ),
)
_ANNOUNCED = {text.announcement: text for text in _TEXTS}
_DELTAS = {f"{text.name}.delta": text for text in _TEXTS}
_DONE = {f"{text.name}.done": text for text in _TEXTS}

#: Events whose ids are remembered: as many as the SDK's helper remembers.
_RECENT = 1024
#: Turns and texts that are open at a time, of a session and its subagents. Beyond it nothing is said of the oldest.
_MAX_OPEN = 256


class Agents(ApiState):
    """The state of one subscription to a session."""

    __slots__ = ("_begun", "_open", "_recent", "_texts")

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._begun = False  #: an event of this API came
        self._recent: dict[str, int] = {}  # by id, what the event said
        self._open: dict[str, None] = {}  # turns that have begun
        self._texts: dict[tuple[str, str, int], RunningDigest] = {}  # those that began in this stream

    def see(self, event: Event) -> None:
        payload = event.payload
        repeated = self._is_repeated(payload)
        if repeated and self.record(EVENT_REPEATED):
            self.drop(event)
            return
        type_ = payload.get("type")
        type_ = type_ if isinstance(type_, str) else ""
        self._begun = self._begun or type_.startswith("agent.")
        if not self.error_in_stream(payload):
            self._see_turn(type_, payload)
            self.count(self._see_text(type_, payload))
        else:
            self.count(ChunkType.OTHER)
        self.release(event)

    def _is_repeated(self, payload: dict[str, Any]) -> bool:
        """Return whether the same event came before. One id on events that differ identifies nothing."""
        id = kept(payload.get("event_id"))
        if not id:
            return False
        said = crc32(
            repr({key: value for key, value in payload.items() if key != "obfuscation"}).encode("utf-8", "replace")
        )
        if id in self._recent:
            return self._recent[id] == said
        if len(self._recent) >= _RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[id] = said
        return False

    def _see_turn(self, type_: str, payload: dict[str, Any]) -> None:
        turn = kept(payload.get("turn_id"))
        if type_ in _FAILURES and not self.error:
            self.record(ERROR_IN_STREAM, Level.NEVER)
            self.error = True
        if type_ in _SESSION_ENDS:
            self._open.clear()
        elif type_ in _TURN_ENDS:
            self._open.pop(turn, None)
        elif turn:
            self.id = self.id or turn
            _remember(self._open, turn, None)

    def _see_text(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        """Follow the texts, and return what sort of chunk this is."""
        if type_ in _TURN_ENDS:
            return ChunkType.FINISH
        if type_ in _ANNOUNCED:
            text = _ANNOUNCED[type_]
            _remember(self._texts, _place(text, payload), RunningDigest())
        elif type_ in _DELTAS:
            text = _DELTAS[type_]
            digest, delta = self._texts.get(_place(text, payload)), payload.get("delta")
            if digest is not None and isinstance(delta, str):
                digest.add(delta)
            return text.type
        elif type_ in _DONE:
            self._see_done(self._texts.pop(_place(_DONE[type_], payload), None), payload.get("text"))
        return ChunkType.LIFECYCLE

    def _see_done(self, digest: RunningDigest | None, text: Any) -> None:
        """Compare a text with its deltas, where all of them can have come: not where it began before we listened."""
        if digest is None or not isinstance(text, str):
            return
        if digest == text:
            self.agrees = self.agrees is not False
            return
        self.agrees = False
        if digest.begins(text):
            self.record(RESPONSE_TEXT_LOST, Level.NEVER)

    def finished(self) -> bool:
        return self._begun and not self._open


def _place(text: _TextEvents, payload: dict[str, Any]) -> tuple[str, str, int]:
    """Return which text an event is about."""
    index = payload.get(text.part)
    return text.name, kept(payload.get("item_id")), index if type(index) is int else -1


def _remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    if key not in table and len(table) >= _MAX_OPEN:
        del table[next(iter(table))]
    table[key] = value
