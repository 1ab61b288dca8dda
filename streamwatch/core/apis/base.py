"""What the rules of every API have in common: the request, the errors, the counts.

A surface is one API as it streams. `chat` and `responses` know their own in depth; this module
alone serves every other event stream: framing, errors and the end are told, content is let be.
"""

from __future__ import annotations

from typing import Any, Protocol

from streamwatch.core.kinds import ERROR_HIDDEN, ERROR_IN_STREAM, ChunkType, Level
from streamwatch.core.reorder import Findings
from streamwatch.core.report import Request
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Event


class Watching(Findings, Protocol):
    """What a rule may do with the stream it looks at: `StreamWatch`."""

    request: Request
    settings: Settings
    error: bool
    done: bool

    def rename(self, event: Event, name: str) -> None:
        """Hand on an event under another SSE name."""

    def release(self, event: Event) -> None:
        """Hand on an event that was held, before the one being looked at."""

    def insert(self, payload: dict[str, Any]) -> None:
        """Hand on an event that never came, before the one being looked at."""


class ApiState:
    """One streamed answer of any API."""

    #: The protocol promises a number on every event.
    numbered = False

    def __init__(self, stream: Watching, name: str) -> None:
        self.stream = stream
        self.name = name
        self.id = ""
        self.model = ""
        self.counts: dict[ChunkType, int] = {}
        self.over = False  #: the answer's terminal event came: nothing belongs to it any more
        self.cut_arguments = False  #: a finished answer whose tool arguments stop short
        self.agrees: bool | None = None  #: whether repeated text equals the deltas

    def see(self, event: Event) -> bool:
        """Look at one event, in its turn: count it, mend it where that is wanted; whether to hand it on."""
        payload = event.payload
        self.error_in_stream(payload)
        self.count(ChunkType.LIFECYCLE if event.event else ChunkType.OTHER)
        return True

    def count(self, sort: ChunkType) -> None:
        """Count a chunk."""
        self.counts[sort] = self.counts.get(sort, 0) + 1

    def done(self) -> None:
        """[DONE] came."""

    def finished(self) -> bool:
        """Whether the answer reached its end, [DONE] or not; assistants always close with `event: done`."""
        return False

    @property
    def knows_no_end(self) -> bool:
        """Whether the protocol is one of which nothing is known."""
        return self.name == "other"

    def close(self) -> None:
        """The rules that can only be asked at the end."""

    def number_field(self, payload: dict[str, Any], event: Event) -> str | None:
        """The member that numbers the events, judging by the first one; "" for SSE `id:` lines, None for nothing."""
        return None

    def arguments_parse(self) -> bool | None:
        """Whether the arguments of every tool call are JSON; None where that is not known."""
        return None

    def finish_reasons(self) -> tuple[str, ...]:
        """The finish reason of each choice, in order."""
        return ()

    def chunk_counts(self) -> dict[ChunkType, int]:
        """How many chunks of each sort came."""
        return dict(self.counts)

    def error_in_stream(self, payload: dict[str, Any]) -> bool:
        """The server reports an error where the SDK looks for it: a truthy `error` member."""
        if not payload.get("error"):
            return False
        self.stream.found(ERROR_IN_STREAM, Level.NEVER)
        self.stream.error = True
        return True

    def from_document(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """What a stream would have said where the body is a JSON document; nothing where that is not clear."""
        if document.get("error"):
            return [{"error": document["error"]}]
        return [{"error": document}] if document.get("message") or document.get("detail") else []

    def error_hidden(self) -> bool:
        """The server reports an error where the SDK does not look; whether to show it."""
        self.stream.error = True
        return self.stream.found(ERROR_HIDDEN, Level.OPT_IN)
