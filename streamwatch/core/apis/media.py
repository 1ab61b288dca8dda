"""Streamed images and transcriptions: what their documented ends are called.

Sources: the streaming references of the Images and the Audio API, and the event types of openai 3.57.
"""

from __future__ import annotations

from streamwatch.core.apis.base import ApiState
from streamwatch.core.context import Context
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType

#: The events with which an answer ends, by API.
_ENDS = {
    "images": frozenset({"image_generation.completed", "image_edit.completed"}),
    "transcriptions": frozenset({"transcript.text.done"}),
}


class Media(ApiState):
    """The state of one streamed image or transcription."""

    __slots__ = ("_finished",)

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._finished = False

    def see(self, event: Event) -> None:
        payload = event.payload
        type_ = payload.get("type")
        if type_ in _ENDS[self.name]:
            self._finished = True
            self.count(ChunkType.FINISH)
        elif not self.error_in_stream(payload):
            self.count(ChunkType.TEXT if type_ == "transcript.text.delta" else ChunkType.OTHER)
        self.release(event)

    def finished(self) -> bool:
        return self._finished
