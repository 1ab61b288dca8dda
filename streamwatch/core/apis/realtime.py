"""Responses of the Realtime API, and the sessions of the Live and translation APIs: JSON events over a WebSocket.

Source: the server events of the Realtime API, and the event types of openai 1.66 (beta) to 3.57.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.base import kept
from streamwatch.core.apis.identified import IdentifiedEvents, TextEvents, TextTable
from streamwatch.core.context import Context
from streamwatch.core.vocabulary import ChunkType

_PART, _ITEM = "response.content_part.added", "response.output_item.added"
_FAILED = frozenset({"failed"})


class Realtime(IdentifiedEvents):
    """One response, from `response.created` to `response.done`."""

    __slots__ = ("_finished", "_reason")

    #: What a response says: the names of the beta differ from those of today.
    texts = TextTable(
        *(
            TextEvents(name, _PART, "content_index", member, ChunkType.TEXT)
            for name, member in (
                ("response.output_text", "text"),
                ("response.text", "text"),
                ("response.output_audio_transcript", "transcript"),
                ("response.audio_transcript", "transcript"),
            )
        ),
        TextEvents("response.function_call_arguments", _ITEM, "", "arguments", ChunkType.TOOL_CALL),
        TextEvents("response.mcp_call_arguments", _ITEM, "", "arguments", ChunkType.TOOL_CALL),
    )

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._finished = False
        self._reason = ""

    def see_identified(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        response = payload.get("response")
        if isinstance(response, dict):
            self.id = self.id or kept(response.get("id"))
        if type_ != "response.done":
            return self.see_text_event(type_, payload)
        self._finished = True
        status = response.get("status") if isinstance(response, dict) else None
        self._reason = kept(status)
        if status in _FAILED:
            self.fail()
        return ChunkType.FINISH

    def finished(self) -> bool:
        return self._finished

    def finish_reasons(self) -> tuple[str, ...]:
        return (self._reason,) if self._reason else ()


class LiveSession(IdentifiedEvents):
    """A session that talks until one side closes it: of the Live API, or a translation."""

    __slots__ = ("_closed",)

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._closed = False

    def see_identified(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        if type_ == "session.closed":
            self._closed = True
            return ChunkType.FINISH
        if type_.endswith("transcript.delta"):
            return ChunkType.TEXT
        return super().see_identified(type_, payload)

    @property
    def knows_no_end(self) -> bool:
        return not self._closed

    def finished(self) -> bool:
        return self._closed
