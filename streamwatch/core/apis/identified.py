"""Event streams whose events have an `event_id`: events that come again, and texts beside their closing events.

Such streams have no numbers: their order cannot be proved. That an event is the same as an earlier one can be, and so
can what a text lacks or says twice. A table says which events are about texts; the APIs differ in nothing else here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from streamwatch.core.apis.base import ApiState, kept
from streamwatch.core.context import Context
from streamwatch.core.digest import RunningDigest, digest_of
from streamwatch.core.kinds import ERROR_IN_STREAM, EVENT_REPEATED, RESPONSE_TEXT_LOST
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

#: Events whose ids are remembered: as many as the SDK's helper for agents remembers.
MAX_RECENT = 1024
#: Texts and turns that are open at a time. Beyond it nothing is said of the oldest.
MAX_OPEN = 256


class TextEvents(NamedTuple):
    """The events about one sort of text: `{name}.delta` and `{name}.done`."""

    name: str
    announcement: str  #: the event that announces it: a text that began before we listened has none
    part: str  #: the member that says which part of its item is meant; "" for what stands in the item itself
    member: str  #: where the closing event has the whole text
    type: ChunkType


class TextTable:
    """The events that announce, continue and close texts."""

    def __init__(self, *texts: TextEvents) -> None:
        self.announced: dict[str, list[TextEvents]] = {}
        for text in texts:
            self.announced.setdefault(text.announcement, []).append(text)
        self.deltas: Mapping[str, TextEvents] = {f"{text.name}.delta": text for text in texts}
        self.done: Mapping[str, TextEvents] = {f"{text.name}.done": text for text in texts}


class IdentifiedEvents(ApiState):
    """The state of one stream of such events. A subclass writes `see_identified`."""

    __slots__ = ("_digests", "_recent")

    texts: ClassVar[TextTable] = TextTable()

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._recent: dict[str, int] = {}  # by id, what the event said
        self._digests: dict[tuple[str, str, int], RunningDigest] = {}  # of the texts that began in this stream

    def see(self, event: Event) -> None:
        payload = event.payload
        if self._is_repeated(event) and self.record(EVENT_REPEATED):
            self.drop(event)
            return
        type_ = payload.get("type")
        if self.error_in_stream(payload):
            self.count(ChunkType.OTHER)
        else:
            self.count(self.see_identified(type_ if isinstance(type_, str) else "", payload))
        self.release(event)

    def see_identified(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        """Look at an event, and return what sort of chunk it is."""
        return self.see_text_event(type_, payload)

    def fail(self) -> None:
        """Count a failure that the protocol says itself, unless an error has said it."""
        if not self.error:
            self.record(ERROR_IN_STREAM, Level.NEVER)
            self.error = True

    def _is_repeated(self, event: Event) -> bool:
        """Return whether the same event came before. One id on events that differ identifies nothing."""
        id = kept(event.payload.get("event_id"))
        if not id:
            return False
        said = digest_of(event.raw)
        if id in self._recent:
            return self._recent[id] == said
        if len(self._recent) >= MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[id] = said
        return False

    def see_text_event(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        """Follow the texts, and return what sort of chunk this is."""
        texts = self.texts
        delta = texts.deltas.get(type_)
        if delta is not None:
            digest, piece = self._digests.get(_place(delta, payload)), payload.get("delta")
            if digest is not None and isinstance(piece, str):
                digest.add(piece)
            return delta.type
        if type_ in texts.done:
            done = texts.done[type_]
            self._see_done(self._digests.pop(_place(done, payload), None), payload.get(done.member))
        for text in texts.announced.get(type_, ()):
            remember(self._digests, _place(text, payload), RunningDigest())
        return ChunkType.LIFECYCLE

    def _see_done(self, digest: RunningDigest | None, text: Any) -> None:
        """Compare a text with its deltas, where all of them can have come: not where it began before we listened."""
        if digest is None or not isinstance(text, str):
            return
        if digest == text:
            self.agrees = self.agrees is not False
            return
        self.agrees = False
        if len(digest) < len(text):
            self.record(RESPONSE_TEXT_LOST, Level.NEVER)


def remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Put something into a table that is bounded: the oldest makes room."""
    if key not in table and len(table) >= MAX_OPEN:
        del table[next(iter(table))]
    table[key] = value


def _place(text: TextEvents, payload: dict[str, Any]) -> tuple[str, str, int]:
    """Return which text an event is about."""
    item = payload.get("item")
    id = payload.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
    index = payload.get(text.part) if text.part else 0
    return text.name, kept(id), index if type(index) is int else -1
