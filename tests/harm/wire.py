"""Streams as they go over the wire: events, what was asked, and chance that can be repeated.

Payloads are shared between streams and never altered: a change makes new ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from zlib import crc32

T = TypeVar("T")
Payload = dict[str, Any]

#: What ends a chat completion. It is no JSON, and it is written as it stands.
DONE = "[DONE]"


def objects_in(value: Any) -> list[Any]:
    """Return the objects of a list; none of what is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


class Raw(str):
    """Data that is written as it stands, because it is not JSON."""

    __slots__ = ()


@dataclass(frozen=True)
class Event:
    """One event of a stream: its payload, and the fields that frame it.

    `raw` holds the bytes of an event that nobody has changed, or of a frame without a payload. `tag` says which event
    of the stream this was before any change; an event that a change made has a tag of its own.
    """

    payload: Any = None
    name: str | None = None
    id: str | None = None
    raw: bytes | None = None
    tag: str = ""

    @property
    def type(self) -> str:
        """The type that the payload names; empty if it names none."""
        found = self.payload.get("type") if isinstance(self.payload, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def is_object(self) -> bool:
        """Whether the payload is a JSON object."""
        return isinstance(self.payload, dict)

    @property
    def is_done(self) -> bool:
        """Whether the SDK stops here."""
        return isinstance(self.payload, str) and self.payload.startswith(DONE)

    def written(self) -> bytes:
        """Return the bytes of the event."""
        if self.raw is not None:
            return self.raw
        text = self.payload if isinstance(self.payload, Raw) or self.payload == DONE else json.dumps(self.payload)
        head = f"event: {self.name}\n" if self.name is not None else ""
        head += f"id: {self.id}\n" if self.id is not None else ""
        return f"{head}data: {text}\n\n".encode("utf-8", "surrogatepass")

    def holding(self, payload: Any) -> Event:
        """Return the same event with another payload; its name follows the type if it did before."""
        name = self.name
        if isinstance(payload, dict) and name == self.type:
            name = payload["type"] if isinstance(payload.get("type"), str) else None
        return replace(self, payload=payload, name=name, raw=None)

    def edited(self, edit: Callable[[Any], Any]) -> Event:
        """Return the event after `edit` has altered a copy of its payload."""
        payload = copied(self.payload)
        edit(payload)
        return self.holding(payload)

    def again(self, mark: str = "'") -> Event:
        """Return the event under another tag."""
        return replace(self, tag=f"{self.tag}{mark}")


def made(payload: Any, name: str | None = None, tag: str = "made") -> Event:
    """Return an event that a change made."""
    if name is None and isinstance(payload, dict) and isinstance(payload.get("type"), str) and "choices" not in payload:
        name = payload["type"]
    return Event(payload, name, tag=tag)


def comment(text: str = "keep-alive") -> Event:
    """Return a frame that holds a comment only."""
    return Event(raw=f": {text}\n\n".encode(), tag="comment")


def copied(value: Any) -> Any:
    """Return a deep copy of JSON."""
    if isinstance(value, dict):
        return {key: copied(member) for key, member in value.items()}
    if isinstance(value, list):
        return [copied(member) for member in value]
    return value


@dataclass(frozen=True)
class Stream:
    """A stream: the events, and what was asked."""

    name: str
    api: str
    events: tuple[Event, ...]
    request: Payload = field(default_factory=dict)
    source: str = "generated"
    #: Whether a change of it has a known original: it is of a healthy server, or of ours.
    healthy: bool = True
    #: Whether the connection breaks at the end.
    cut: bool = False
    headers: Payload = field(default_factory=dict)
    #: What is known to be right of a stream that somebody judged: `expect` of an oracle, `right` of a field case.
    right: Payload | None = None
    #: The whole body, where it is not the events one after another (a BOM, a broken end).
    body: bytes | None = None

    def of(self, events: Iterable[Event]) -> Stream:
        """Return the same stream with other events."""
        return replace(self, events=tuple(events), body=None)

    def reads(self) -> list[bytes]:
        """Return what one read after the other gives: an event each."""
        return [self.body] if self.body is not None else [event.written() for event in self.events]

    def size(self) -> int:
        """Return the number of bytes."""
        return sum(map(len, self.reads()))


_BLANK = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)+")
_LINE = re.compile(r"\r\n|\n|\r")


def parsed(body: bytes) -> tuple[Event, ...]:
    """Return the events of a body; what is no JSON stays as it is."""
    events: list[Event] = []
    start = 0
    for blank in _BLANK.finditer(body):
        events.append(_event(body[start : blank.end()], str(len(events))))
        start = blank.end()
    if start < len(body):
        events.append(_event(body[start:], str(len(events))))
    return tuple(events)


def _event(raw: bytes, tag: str) -> Event:
    fields: dict[str, list[str]] = {}
    for line in _LINE.split(raw.decode("utf-8", "replace").removeprefix("\ufeff")):
        key, colon, value = line.partition(":")
        if key and colon:
            fields.setdefault(key, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return Event(raw=raw, tag=tag)
    data = "\n".join(fields["data"])
    name, id = (fields[key][-1] if key in fields else None for key in ("event", "id"))
    return Event(data if data == DONE else _json(data), name, id, raw, tag)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return Raw(text)


class Chance:
    """Choices that depend on the key alone, and hardly on how many there are to choose from.

    A choice among events goes by their tags, so that it stays the same when another change is undone.
    """

    def __init__(self, *key: Any) -> None:
        self.key = key

    def of(self, *more: Any) -> Chance:
        """Return chance for another purpose."""
        return Chance(*self.key, *more)

    def hash(self, *more: Any) -> int:
        """Return a number of 32 bits."""
        return crc32(repr((*self.key, *more)).encode("utf-8", "replace")) * 2654435761 % (1 << 32)

    def below(self, bound: int, *more: Any) -> int:
        """Return a number from 0 to `bound` - 1."""
        return self.hash("below", *more) % bound

    def pick(self, things: Sequence[T], *more: Any) -> T:
        """Return one of `things`."""
        return things[self.below(len(things), *more)]

    def place(self, events: Sequence[Event], fits: Callable[[Event], Any] = bool, *more: Any) -> int | None:
        """Return the place of one event that fits; None if none does."""
        places = [place for place, event in enumerate(events) if fits(event)]
        return min(places, key=lambda place: self.hash(events[place].tag, *more), default=None)
