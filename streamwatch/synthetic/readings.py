"""The reading of a careful program: the truth that a healthy stream and a broken one are compared by.

It reads deltas in the order in which they come, as programs do, and knows nothing of repairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Reading:
    """The text, the calls by their index as name and arguments, and whether the stream came to its end."""

    text: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    ended: bool = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one chunk or event, as a dict."""
        if "choices" in event:
            for choice in event["choices"] or ():
                self._add_choice(choice)
        elif "type" in event:
            self._add_event(event)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta") or {}
        self.text += delta.get("content") or ""
        for fragment in delta.get("tool_calls") or ():
            function = fragment.get("function") or {}
            self._add_call(fragment.get("index"), function.get("name"), function.get("arguments"))
        self.ended = self.ended or choice.get("finish_reason") is not None

    def _add_event(self, event: Mapping[str, Any]) -> None:
        sort = event["type"]
        if sort == "response.output_text.delta":
            self.text += event["delta"]
        elif sort == "response.output_item.added" and event["item"].get("type") == "function_call":
            self._add_call(event["output_index"], event["item"].get("name"), "")
        elif sort == "response.function_call_arguments.delta":
            self._add_call(event["output_index"], "", event["delta"])
        self.ended = self.ended or sort == "response.completed"

    def _add_call(self, index: int | None, name: str | None, arguments: str | None) -> None:
        call = self.calls.setdefault(-1 if index is None else index, ["", ""])
        call[0] += name or ""
        call[1] += arguments or ""

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "calls": {str(index): call for index, call in self.calls.items()}}


def reading_of(events: Iterable[Any]) -> Reading:
    """Return what a program makes of events; what is not a dict is passed over."""
    reading = Reading()
    for event in events:
        if isinstance(event, Mapping):
            reading.add(event)
    return reading
