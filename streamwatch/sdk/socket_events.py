"""The objects that the SDK makes of messages over a WebSocket, built after templates as those of SSE are.

A message is parsed to watch it, and the SDK parses it again, and has pydantic find out which of some 60 events it is:
two thirds of what reading a message costs. `parse_event` of a connection is asked with the very bytes that
`recv_bytes` returned; where a template of that shape was taken, the object is built of what was parsed already.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from streamwatch.sdk.chunk_builder import ChunkBuilder, home
from streamwatch.sdk.shape_template import same


class DifferentObjectError(Exception):
    """The error of an object that differs from what the SDK makes of the same message."""


class EventBuilder:
    """The builder of the events of one class of connections.

    Args:
        module: the module of the SDK that the class is in.
        parse_event: the SDK's own method that makes an event of a message.
    """

    def __init__(self, module: ModuleType, parse_event: Callable[..., Any]) -> None:
        self._module = module
        self._parse_event = parse_event
        event_type = vars(module).get(getattr(parse_event, "__annotations__", {}).get("return", ""))
        #: Returns the event of a JSON object; None for one that is the SDK's to make.
        self.build = ChunkBuilder(self._construct, event_type, _nothing).build
        makers = self._makers()
        as_known = all(home(getattr(maker, "__func__", maker)) == "openai._models" for maker in makers[1:])
        known = event_type is not None and home(parse_event) == module.__name__ and makers[0] is json and as_known
        self._known = makers if known else None

    @property
    def is_usable(self) -> bool:
        """Whether events depend on the JSON alone: the SDK makes them as it is known to, and nobody is in between."""
        return self._makers() == self._known

    def _makers(self) -> tuple[Any, ...]:
        """Return what the SDK makes its events with."""
        models: Any = sys.modules.get("openai._models")
        construct = vars(getattr(models, "BaseModel", object)).get("construct")
        module = vars(self._module)
        return (
            module.get("json"),
            module.get("construct_type_unchecked"),
            getattr(models, "construct_type", None),
            construct,
        )

    def _construct(self, *, value: Any, type_: Any) -> Any:
        """Return the SDK's own object of a JSON object, of which a template may be taken.

        It has to be what `parse_event` makes of the message, whatever that does.
        """
        made = self._module.construct_type_unchecked(value=value, type_=type_)
        if not same(made, self._parse_event(None, json.dumps(value))):
            raise DifferentObjectError
        return made


def _nothing(_payload: dict[str, Any]) -> None:
    return None
