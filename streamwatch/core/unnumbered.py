"""The order of a stream without numbers: events go on as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streamwatch.core.nothing import NOTHING
from streamwatch.core.patience import Waits
from streamwatch.core.sse import Event


class Unnumbered:
    """The stage in the place of `ReorderBuffer`: one for all streams without numbers, for it keeps nothing."""

    __slots__ = ()

    waiting: Final[Mapping[Event, object]] = NOTHING
    waits: Final = Waits()
    idle: Final = True
    deadline: Final = None
    contiguous: Final = None

    def push(self, event: Event) -> Sequence[Event]:
        """Return the event."""
        return (event,)

    def flush(self) -> Sequence[Event]:
        """Return nothing: nothing is held."""
        return ()

    def pending(self) -> list[Event]:
        """Return nothing."""
        return []

    def postpone(self, seconds: float) -> None:
        """Do nothing: nothing is held."""

    def expire(self, now: float) -> Sequence[Event]:
        """Return nothing."""
        return ()


UNNUMBERED = Unnumbered()
