"""Open questions that only a later event decides.

While one is open, the events of the stream wait in order: the rule that asked may still change a payload
that nobody has read. A question is answered by its asker, or given up when the window is full.
"""

from __future__ import annotations

from typing import Protocol

from streamwatch.core.nothing import NOTHING


class Doubt(Protocol):
    """A question that is open."""

    def give_up(self) -> None:
        """Take the events that wait as they came: they go on now."""


class Doubts:
    """The open questions of one stream."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Doubt] = NOTHING  # by identity

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self, doubt: Doubt) -> None:
        """Ask a question, or go on asking it."""
        self._open = self._open or {}
        self._open[id(doubt)] = doubt

    def close(self, doubt: Doubt) -> None:
        """Take a question off: it is answered, or was never asked."""
        if self._open:
            self._open.pop(id(doubt), None)

    def give_up(self) -> None:
        """Give up every question."""
        doubts, self._open = list(self._open.values()), NOTHING
        for doubt in doubts:
            doubt.give_up()
