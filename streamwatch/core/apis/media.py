"""Streamed images and transcriptions: what their documented ends are called.

Sources: the streaming references of the Images and the Audio API, and the event types of openai 3.57.
"""

from __future__ import annotations

from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.chat_state import choices_of
from streamwatch.core.context import Context
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType

#: The events with which an answer ends, by API.
_ENDS = {
    "images": frozenset({"image_generation.completed", "image_edit.completed"}),
    "transcriptions": frozenset({"transcript.text.done"}),
}
#: What the types of documented events begin with.
_BEGINNINGS = ("image_generation.", "image_edit.", "transcript.")


class Media(ApiState):
    """The state of one streamed image or transcription."""

    __slots__ = ("_finished", "_is_documented", "_is_plain")

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._finished = False
        self._is_documented = False  # an event came that the reference has
        self._is_plain = False  # one came that is a text or an image, and nothing else

    def see(self, event: Event) -> None:
        payload = event.payload
        type_ = payload.get("type")
        if isinstance(type_, str) and type_.startswith(_BEGINNINGS):
            self._is_documented = True
        elif isinstance(payload.get("text"), str) or isinstance(payload.get("data"), list):
            self._is_plain = True
        if type_ in _ENDS[self.name]:
            self._finished = True
            self.count(ChunkType.FINISH)
        elif any(isinstance(choice.get("finish_reason"), str) for choice in choices_of(payload)):
            self._finished = True  # as vLLM ends what it transcribes
            self.count(ChunkType.FINISH)
        elif not self.error_in_stream(payload):
            self.count(ChunkType.TEXT if type_ == "transcript.text.delta" else ChunkType.OTHER)
        self.release(event)

    def finished(self) -> bool:
        return self._finished

    @property
    def knows_no_end(self) -> bool:
        """Whether the server sends texts or images without a word on where they end."""
        return self._is_plain and not self._is_documented
