"""The tokens that a stream reports, found where its JSON is parsed: only where GenAI metrics are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamwatch.export.genai import Usage


class UsageReader:
    """A parser that parses the JSON of one stream as `loads` does, and notes the usage in it."""

    __slots__ = ("_loads", "usage")

    def __init__(self, loads: Callable[[bytes], Any]) -> None:
        self._loads = loads
        self.usage = Usage()

    def __call__(self, raw: bytes) -> Any:
        """Return the value of a JSON text; raises what `loads` raises."""
        value = self._loads(raw)
        if b'"usage"' in raw:
            self.usage.see(value)
        return value
