"""A chat completion whose calls are told apart by what announces them, where their indexes do not do it.

A fragment with an id that is new, and a name, announces a call: the calls of a choice are 0, 1, 2 in that order. Any
other fragment goes on with the call that its index meant last, or with the call announced last.
"""

from __future__ import annotations

from typing import Any

from .wire import Event, copied

Events = list[Event]


def by_announcement(events: Events) -> Events:
    """Return the events with the indexes that the announcements give to their calls."""
    choices: dict[Any, _Calls] = {}
    result = []
    for event in events:
        found = event.payload.get("choices") if event.is_object else None
        if not isinstance(found, list):
            result.append(event)
            continue
        payload = {**event.payload, "choices": copied(found)}
        for choice in payload["choices"]:
            if isinstance(choice, dict):
                choices.setdefault(str(choice.get("index")), _Calls()).edit(choice)
        result.append(event if payload == event.payload else event.holding(payload))
    return result


class _Calls:
    """The calls of one choice."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.last = -1
        self.meant: dict[str, int] = {}

    def edit(self, choice: Any) -> None:
        """Give each fragment its index."""
        delta = choice.get("delta")
        calls = delta.get("tool_calls") if isinstance(delta, dict) else None
        for call in calls if isinstance(calls, list) else ():
            if not isinstance(call, dict):
                continue
            id, function = call.get("id"), call.get("function")
            raw = repr(call.get("index"))
            if (
                id
                and isinstance(id, str)
                and id not in self.ids
                and isinstance(function, dict)
                and function.get("name")
            ):
                self.ids.add(id)
                self.last = self.meant[raw] = len(self.ids) - 1
            index = self.meant.get(raw, self.last)
            if index >= 0 and (call.get("index") != index or not isinstance(call.get("index"), int)):
                call["index"] = index
