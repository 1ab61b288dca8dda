"""The objects that all stages of one stream share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamwatch.core.ledger import Ledger
from streamwatch.core.report import Request
from streamwatch.core.settings import Settings
from streamwatch.core.sse import Event


@dataclass(frozen=True)
class Context:
    """The objects that the stages of one stream share.

    `clock` gives seconds. `applies` is false where repairs run in shadow: then no reader may get a
    payload that a stage changed, or may change later.
    """

    request: Request
    settings: Settings
    ledger: Ledger
    clock: Callable[[], float]
    event_type: type[Event] = Event
    applies: bool = True
