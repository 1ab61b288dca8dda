"""Programs that read a session over a WebSocket: as bytes, as events, or by the lanes of the SDK's session."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

from .readers import Run, reader

Chunks = Any
SOCKETS = ("responses_socket", "realtime", "live")


def _for(*apis: str, way: str = "create") -> Callable[[Run], Run]:
    """Put a program into the table of several APIs. All of them are about answers: nothing is put in or altered here."""

    def put(run: Run) -> Run:
        for api in apis:
            reader(api, "answer", way)(run)
        return run

    return put


# --- bytes


@_for(*SOCKETS, way="bytes")
def copies_of_messages(messages: Chunks) -> Any:
    """Hand all that comes on to a browser, as it came."""
    return list(messages)


@_for(*SOCKETS, way="bytes")
def number_of_messages(messages: Chunks) -> Any:
    """Count them."""
    return sum(1 for _ in messages)


@_for(*SOCKETS, way="bytes")
def types_of_messages(messages: Chunks) -> Any:
    """Look at the types alone; what is no event is left out."""
    found = []
    for message in messages:
        try:
            event = json.loads(message)
        except ValueError:
            continue
        found += [event.get("type")] if isinstance(event, dict) else []
    return found


@_for(*SOCKETS, way="closed")
def status_of_close(end: Any) -> Any:
    """Look at the close alone."""
    return end


# --- events


def _dict(event: Any) -> Any:
    return event.to_dict() if hasattr(event, "to_dict") else event


@_for(*SOCKETS)
def everything_that_comes(events: Chunks) -> Any:
    """List all that comes, as dicts and with its class."""
    return [(type(event).__name__, _dict(event)) for event in events]


@_for(*SOCKETS)
def fields_set_of_events(events: Chunks) -> Any:
    """Ask which members the server has sent."""
    return [sorted(getattr(event, "model_fields_set", ())) for event in events]


@_for(*SOCKETS)
def number_of_events(events: Chunks) -> Any:
    """Count them."""
    return sum(1 for _ in events)


@_for("responses_socket")
def text_of_lanes(events: Chunks) -> Any:
    """Join the text of each lane."""
    found: dict[Any, str] = {}
    for event in events:
        if event.type == "response.output_text.delta":
            lane = getattr(event, "stream_id", None)
            found[lane] = found.get(lane, "") + event.delta
    return found


@_for("responses_socket")
def first_turn_of_lanes(events: Chunks) -> Any:
    """Stop at the end of the first response, whichever it is of."""
    ends = ("response.completed", "response.incomplete", "response.failed", "error")
    return next((_dict(event) for event in events if getattr(event, "type", "") in ends), None)


@_for("responses_socket")
def sequence_numbers_of_events(events: Chunks) -> Any:
    """Remember how far each lane has come."""
    return [(getattr(event, "stream_id", None), getattr(event, "sequence_number", None)) for event in events]


@_for("responses_socket")
def text_of_accumulators(events: Chunks) -> Any:
    """Feed the SDK's accumulator of each lane, and look at it at the end of each response."""
    library: Any = importlib.import_module("openai.lib.responses_websocket")
    lanes: dict[Any, Any] = {}
    found = []
    for event in events:
        lane = getattr(event, "stream_id", None)
        if getattr(event, "type", "") == "response.created" or lane not in lanes:
            lanes[lane] = library.ResponsesWebSocketAccumulator()
        lanes[lane].add_event(event)
        if getattr(event, "type", "") in ("response.completed", "response.incomplete", "response.failed"):
            found.append((lane, lanes[lane].snapshot().output_text, lanes[lane].get_final_response().to_dict()))
    return found


@_for("realtime")
def text_of_responses(events: Chunks) -> Any:
    """Join what each response says, and the arguments of its calls."""
    found: dict[str, str] = {}
    for event in events:
        if event.type.startswith("response.") and event.type.endswith(".delta"):
            found[event.response_id] = found.get(event.response_id, "") + event.delta
    return found


@_for("realtime")
def status_of_responses(events: Chunks) -> Any:
    """Read until each response is done."""
    return [event.response.status for event in events if event.type == "response.done"]


@_for("live")
def text_of_session(events: Chunks) -> Any:
    """Join what is said."""
    return "".join(event.delta for event in events if event.type.endswith("transcript.delta"))


@_for("realtime", "live")
def ids(events: Chunks) -> Any:
    """Remember the ids of the events."""
    return [getattr(event, "event_id", None) for event in events]


# --- the SDK's session


@_for("responses_socket", way="session")
def everything_on_lanes(lanes: Chunks) -> Any:
    """List all that comes on each lane, and how it ends."""
    return [(lane.name, [_dict(event) for event in lane.events], lane.end) for lane in lanes]


@_for("responses_socket", way="session")
def whole_final_responses(lanes: Chunks) -> Any:
    """Take the last response of each lane."""
    return [(lane.name, _dict(lane.final)) for lane in lanes]
