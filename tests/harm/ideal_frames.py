"""A stream as it was before somebody framed it badly: with its first event, its last one, and no prefix twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .wire import DONE, Event, parsed

Events = list[Event]
_BOM = b"\xef\xbb\xbf"
#: A line of data that another line follows.
_DATA = re.compile(rb"^(data: .*)\n(?!\n)", re.MULTILINE)


def reframed(events: Events) -> Iterator[tuple[str, Events]]:
    """Return the events that a parser of SSE loses, or that are no events."""
    if not events:
        return
    first, last = events[0].written(), events[-1].written()
    if first.startswith(_BOM):
        yield "without the mark of byte order", [replace(events[0], raw=first[len(_BOM) :]), *events[1:]]
    if not last.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) and events[-1].is_object:
        closed = replace(events[-1], raw=last.rstrip(b"\r\n") + b"\n\n")
        yield "with its last event closed", [*events[:-1], closed]
        # Nobody has seen that chunk, and whoever adds up contents, or loops over calls, can read it so.
        for empty in ({"content": ""}, {"tool_calls": []}, {"content": "", "tool_calls": []}):  # type: ignore[var-annotated]
            some = closed.edited(lambda payload, empty=empty: _fill(payload, empty))  # type: ignore[misc]
            yield f"with its last event closed, and empty {' and '.join(empty)} in it", [*events[:-1], some]
    yield "without what is no object", [event for event in events if not _is_nothing(event)]
    yield "without a second prefix", [each for event in events for each in _once(event)]
    yield "with each payload in an event", [each for event in events for each in _apart(event)]


def _fill(payload: Any, empty: dict[str, Any]) -> None:
    """Give each delta the empty members that it lacks."""
    for choice in payload.get("choices") or ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict):
            delta.update({name: value for name, value in empty.items() if delta.get(name) is None})


def _is_nothing(event: Event) -> bool:
    """Whether an event has data that are no object, or a name and no data: the SDK raises on it, or hands out null."""
    if event.payload == DONE or event.is_object:
        return False
    if isinstance(event.payload, str):
        return event.payload.lstrip().startswith(":") or not event.payload.strip()
    # A number, a list, null; or a frame without data, on which the SDK raises where it has a name or an earlier id.
    return True


def _apart(event: Event) -> list[Event]:
    """Return what is written in an event, each line of its data with an object an event: their blank lines were lost."""
    found = parsed(_DATA.sub(rb"\1\n\n", event.written())) if event.written().count(b"\ndata: ") else []
    if len(found) < 2 or not all(each.is_object or each.is_done for each in found):
        return [event]
    return [replace(each, tag=event.tag) for each in found]


def _once(event: Event) -> list[Event]:
    """Return what is written in an event without a second prefix: more than one, where it has several frames."""
    written = event.written()
    if b"data: data: " not in written:
        return [event]
    return [replace(found, tag=event.tag) for found in parsed(written.replace(b"data: data: ", b"data: ", 1))]
