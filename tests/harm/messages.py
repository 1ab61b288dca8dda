"""Sessions over a WebSocket as streams: an event is a message, a silence, or the close of a connection.

What stands behind a close is what the next connection says, to an application that has the SDK reconnect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .wire import Event

Events = list[Event]
#: The code that stands for no close frame at all, by RFC 6455.
CUT = 1006
#: What ends a response, in the Responses API and in the Realtime API.
ENDS = ("response.completed", "response.incomplete", "response.failed", "response.done")


def closing(code: int = 1000, tag: str = "close") -> Event:
    """Return the close of a connection by the server."""
    return Event(name="close", id=str(code), raw=f"<closed with {code}>\n".encode(), tag=tag)


def silence(tag: str = "silence") -> Event:
    """Return a silence that is longer than anything is held."""
    return Event(name="silence", raw=b"<silence>\n", tag=tag)


def frame(data: bytes, tag: str = "frame") -> Event:
    """Return a message as it is written: what is no JSON has no payload."""
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        payload = None
    return Event(payload, raw=data, tag=tag)


def is_close(event: Event) -> bool:
    """Whether an event is the close of a connection."""
    return event.name == "close" and event.payload is None


def is_silence(event: Event) -> bool:
    """Whether an event is a silence."""
    return event.name == "silence" and event.payload is None


def is_message(event: Event) -> bool:
    """Whether an event is a message."""
    return not is_close(event) and not is_silence(event)


def message(event: Event) -> bytes:
    """Return the bytes of a message."""
    return event.raw if event.raw is not None else json.dumps(event.payload).encode("utf-8", "surrogatepass")


def connections(events: Iterable[Event]) -> list[Events]:
    """Return the events of each connection, one after the other: the last of each is its close."""
    found: list[Events] = [[]]
    for event in events:
        found[-1].append(event)
        if is_close(event):
            found.append([])
    if not found[-1] and len(found) > 1:
        found.pop()
    elif not (found[-1] and is_close(found[-1][-1])):
        found[-1].append(closing())
    return found


def lane_of(event: Event, api: str) -> str | None:
    """Return which lane of a connection a message says it is on; None for one that is about no response."""
    if not event.is_object:
        return None
    if api == "live":
        return ""
    about_response = event.type == "error" or event.type.startswith("response.")
    if api == "realtime":
        response = event.payload.get("response")
        id = event.payload.get("response_id") or (response.get("id") if isinstance(response, dict) else None)
        return id if about_response and isinstance(id, str) else None
    name = event.payload.get("stream_id")
    return None if not about_response else name if isinstance(name, str) else ""


def responses_of(events: Events, api: str) -> list[tuple[str, str] | None]:
    """Return which response each message of a connection says it is about, and on which lane.

    A response is named where it begins and where it ends, and its end lists its items; what names neither belongs to
    the one that began last.
    """
    owners = {item: id for event in events for id in [_named(event)] for item in _listed(event) if id}
    current: dict[str, str] = {}
    found: list[tuple[str, str] | None] = []
    for event in events:
        lane = lane_of(event, api)
        if lane is None:
            found.append(None)
            continue
        id = _named(event) or owners.get(_item(event)) or current.get(lane, "")
        if event.type == "response.created" or not current.get(lane):
            current[lane] = id
        found.append((lane, id))
    return _with_next(found)


def _with_next(found: list[tuple[str, str] | None]) -> list[tuple[str, str] | None]:
    """Return the responses, and the next one that is named on the lane where none is known."""
    following: dict[str, str] = {}
    result: list[tuple[str, str] | None] = []
    for key in reversed(found):
        if key is not None and key[1]:
            following[key[0]] = key[1]
        result.append(key and (key[0], key[1] or following.get(key[0], "")))
    return result[::-1]


def _named(event: Event) -> str:
    response = event.payload.get("response") if event.is_object else None
    id = response.get("id") if isinstance(response, dict) else None
    return id if isinstance(id, str) else ""


def _listed(event: Event) -> list[str]:
    response = event.payload.get("response") if event.is_object else None
    output = response.get("output") if isinstance(response, dict) else None
    ids = [item.get("id") for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    return [id for id in ids if isinstance(id, str)]


def _item(event: Event) -> str:
    item = event.payload.get("item")
    id = item.get("id") if isinstance(item, dict) else event.payload.get("item_id")
    return id if isinstance(id, str) else ""
