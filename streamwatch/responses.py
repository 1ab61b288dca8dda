"""One streamed answer of the Responses API, and its rules.

Every event says by its `type` what it is, by `output_index` and `content_index` where it belongs,
and by `sequence_number` when it comes; `sequence` has put them in order before they are seen here.
Text is not kept: a length and a checksum tell whether what is repeated at the end equals the deltas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

from streamwatch.anomalies import ERROR_IN_STREAM, Chunk, Level
from streamwatch.sse import Event
from streamwatch.surface import Surface, Watching

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_SORTS = {
    "response.output_text.delta": Chunk.TEXT,
    "response.refusal.delta": Chunk.REFUSAL,
    "response.function_call_arguments.delta": Chunk.TOOL_CALL,
    "response.custom_tool_call_input.delta": Chunk.TOOL_CALL,
    "response.mcp_call_arguments.delta": Chunk.TOOL_CALL,
    "response.reasoning_text.delta": Chunk.REASONING,
    "response.reasoning_summary_text.delta": Chunk.REASONING,
    **dict.fromkeys(_TERMINAL, Chunk.FINISH),
}
#: The events that repeat what deltas said, and the member that holds it.
_DONE = {
    "response.output_text.done": ("response.output_text.delta", "text"),
    "response.refusal.done": ("response.refusal.delta", "refusal"),
    "response.function_call_arguments.done": ("response.function_call_arguments.delta", "arguments"),
    "response.reasoning_text.done": ("response.reasoning_text.delta", "text"),
    "response.reasoning_summary_text.done": ("response.reasoning_summary_text.delta", "text"),
}


class Text:
    """A text that comes in deltas: enough of it to know it again."""

    __slots__ = ("crc", "length", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.length = 0
        self.crc = 0

    def add(self, delta: str) -> None:
        """One more delta."""
        self.pieces.append(delta)
        if len(self.pieces) >= 64:  # checksums by the batch: a call each would cost more than all else here
            self._sum()

    def is_(self, text: str) -> bool:
        """Whether the deltas up to now are this text."""
        self._sum()
        data = text.encode("utf-8", "surrogatepass")
        return self.length == len(data) and self.crc == crc32(data)

    def _sum(self) -> None:
        data = "".join(self.pieces).encode("utf-8", "surrogatepass")
        self.pieces.clear()
        self.length += len(data)
        self.crc = crc32(data, self.crc)


class Responses(Surface):
    """The state of one streamed response."""

    numbered = True

    def __init__(self, stream: Watching, name: str) -> None:
        super().__init__(stream, name)
        self.terminal = ""
        self.status = ""
        self.texts: dict[tuple[Any, Any, Any], Text] = {}

    def see(self, event: Event) -> bool:
        payload = event.payload
        type_ = payload.get("type")
        sort = _SORTS.get(type_, Chunk.LIFECYCLE)
        self.counts[sort] += 1
        delta = payload.get("delta")
        if type(delta) is str:
            key = (type_, payload.get("output_index"), payload.get("content_index", payload.get("summary_index")))
            text = self.texts.get(key)
            if text is None:
                text = self.texts[key] = Text()
            text.add(delta)
        elif type_ in _DONE:
            self._done_text(payload, *_DONE[type_])
        else:
            self._lifecycle(type_, payload)
        return True

    def _done_text(self, payload: dict[str, Any], delta_type: str, member: str) -> None:
        index = payload.get("content_index", payload.get("summary_index"))
        text = self.texts.pop((delta_type, payload.get("output_index"), index), None)
        repeated = payload.get(member)
        if text is not None and isinstance(repeated, str):
            self.agrees = self.agrees is not False and text.is_(repeated)

    def _lifecycle(self, type_: Any, payload: dict[str, Any]) -> None:
        response = payload.get("response")
        if isinstance(response, dict):
            self.id = str(response.get("id") or self.id)
            self.model = str(response.get("model") or self.model)
        if type_ in _TERMINAL:
            self.terminal = type_
            self.status = str(type_).removeprefix("response.")
        if type_ in ("error", "response.failed"):
            self.stream.found(ERROR_IN_STREAM, Level.NEVER)
            self.stream.error = True
        else:
            self.error_in_stream(payload)

    def finished(self) -> bool:
        return bool(self.terminal)

    def finish_reasons(self) -> tuple[str, ...]:
        return (self.status,) if self.status else ()

    def number(self, payload: dict[str, Any], event: Event) -> Callable[[dict[str, Any], Event], Any] | None:
        return _sequence_number


def _sequence_number(payload: dict[str, Any], event: Event) -> Any:
    return payload.get("sequence_number")
