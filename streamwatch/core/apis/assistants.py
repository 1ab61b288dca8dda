"""One streamed run of the Assistants API: the names of its events, and its errors.

The SDK distinguishes these events by their SSE name alone, and wraps each with it; one whose name it
does not know reaches no handler.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.base import ApiState, kept
from streamwatch.core.kinds import PAYLOAD_INVALID
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

_RUN = "created queued in_progress requires_action completed incomplete failed cancelling cancelled expired"
_NAMES = frozenset(
    {"thread.created"}
    | {f"thread.run.{verb}" for verb in _RUN.split()}
    | {
        f"thread.run.step.{verb}"
        for verb in ["created", "in_progress", "delta", "completed", "failed", "cancelled", "expired"]
    }
    | {f"thread.message.{verb}" for verb in ["created", "in_progress", "delta", "completed", "incomplete"]}
)

#: What relays call a delta.
_CHUNK = "thread.message.chunk"


class Assistants(ApiState):
    """The state of one streamed run."""

    __slots__ = ()

    ends_with_done = True  #: the documented end is `event: done` with [DONE]

    def see(self, event: Event) -> None:
        payload = event.payload
        sort = ChunkType.LIFECYCLE
        name = event.event or ""
        if name.startswith("thread.") and name not in _NAMES:
            name = self._known(event.payload, name)
        if self.error_in_stream(payload) or name == "error":
            sort = ChunkType.OTHER
            self.error = True
        elif name == "thread.message.delta":
            sort = ChunkType.TEXT
        self.id = self.id or kept(payload.get("id"))
        self.model = kept(payload.get("model")) or self.model
        self.count(sort)
        if name == (event.event or ""):
            self.release(event)
            return
        self.insert(payload, name)
        self.drop(event)

    def _known(self, payload: dict[str, Any], name: str) -> str:
        """Return what an event with a relay's own name is: its `object` says so, or relays are known for the name."""
        known = payload.get("object")
        if not isinstance(known, str) or known not in _NAMES:
            known = "thread.message.delta" if name == _CHUNK and "delta" in payload else None
        return known if self.record(PAYLOAD_INVALID, Level.DEFAULT if known else Level.NEVER) and known else name
