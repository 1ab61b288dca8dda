"""The events of an agent's session: turns, their texts, and events that come again.

A subscription has no end of its own: it goes on for as long as the session does, and is complete
whenever no turn is open. A client that reconnects may get events once more; each has an `event_id`,
by which the SDK's helper recognizes them, and a plain reader does not.

Sources: the session events of the Agents API, and the event types and the helper of openai 3.57.
"""

from __future__ import annotations

from typing import Any

from streamwatch.core.apis.base import kept
from streamwatch.core.apis.identified import IdentifiedEvents, TextEvents, TextTable, remember
from streamwatch.core.context import Context
from streamwatch.core.vocabulary import ChunkType

_TURN = "agent.session.turn."
#: How a turn ends. `agent.session.failed` and `agent.session.idle` end all that are open.
_TURN_ENDS = frozenset(_TURN + verb for verb in ("completed", "failed", "cancelled"))
_SESSION_ENDS = frozenset({"agent.session.failed", "agent.session.idle"})
_FAILURES = frozenset({_TURN + "failed", "agent.session.failed"})


class Agents(IdentifiedEvents):
    """The state of one subscription to a session."""

    __slots__ = ("_begun", "_turns")

    texts = TextTable(
        TextEvents(_TURN + "output_text", _TURN + "content_part.added", "content_index", "text", ChunkType.TEXT),
        TextEvents(
            *(_TURN + "reasoning_summary_text", _TURN + "reasoning_summary_part.added", "summary_index", "text"),
            ChunkType.REASONING,
        ),
    )

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self._begun = False  # an event of this API came
        self._turns: dict[str, None] = {}  # those that have begun, and not ended

    def see_identified(self, type_: str, payload: dict[str, Any]) -> ChunkType:
        self._begun = self._begun or type_.startswith("agent.")
        turn = kept(payload.get("turn_id"))
        if type_ in _FAILURES:
            self.fail()
        if type_ in _SESSION_ENDS:
            self._turns.clear()
        elif type_ in _TURN_ENDS:
            self._turns.pop(turn, None)
            return ChunkType.FINISH
        elif turn:
            self.id = self.id or turn
            remember(self._turns, turn, None)
        return self.see_text_event(type_, payload)

    def finished(self) -> bool:
        return self._begun and not self._turns
