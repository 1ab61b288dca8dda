"""What servers say over WebSockets, and how each connection of the SDK is opened: for servers and for scripts alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from helpers.stream_builders import Payload, answered

RESPONSE = answered("One ", "two ", "three")
SESSION: Payload = {"type": "session.created", "event_id": "event_0", "session": {"id": "sess_1", "type": "realtime"}}
#: What an application says first.
HELLO: Payload = {"type": "response.create"}


def realtime(*pieces: str, id: str = "resp_1", status: str = "completed") -> list[Payload]:
    """The events of one response of the Realtime API that says something."""
    at = {"response_id": id, "item_id": f"item_{id}", "output_index": 0, "content_index": 0}
    item = {"id": f"item_{id}", "type": "message", "role": "assistant", "content": []}
    events: list[Payload] = [
        {"type": "response.created", "response": {"id": id, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": {"type": "audio", "transcript": ""}},
        *({"type": "response.output_audio_transcript.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.output_audio_transcript.done", **at, "transcript": "".join(pieces)},
        {"type": "response.done", "response": {"id": id, "status": status, "output": [item]}},
    ]
    return [{**event, "event_id": f"event_{id}_{at_}"} for at_, event in enumerate(events)]


def live(*pieces: str) -> list[Payload]:
    """The events of a session that talks until it is closed."""
    return [
        {"type": "session.started", "event_id": "e0", "session": {"id": "sess_1"}},
        *(
            {"type": "session.output_transcript.delta", "event_id": f"e{number}", "delta": piece}
            for number, piece in enumerate(pieces, 1)
        ),
        {"type": "session.closed", "event_id": f"e{len(pieces) + 1}"},
    ]


def on_lane(name: str, events: list[Payload]) -> list[Payload]:
    """The events of a response on a lane, with an id of its own."""
    return [{**json.loads(json.dumps(event).replace("resp_", f"resp_{name}_")), "stream_id": name} for event in events]


class Opening(NamedTuple):
    """How a connection is opened, and what it is counted as."""

    manager: Callable[..., Any]  #: of a client, and of options
    api: str


#: The connections of the SDK. A release lacks some of them.
CONNECTIONS = {
    "responses": Opening(lambda client, **options: client.responses.connect(**options), "responses"),
    "beta.responses": Opening(lambda client, **options: client.beta.responses.connect(**options), "responses"),
    "realtime": Opening(lambda client, **options: client.realtime.connect(model="m", **options), "realtime"),
    "beta.realtime": Opening(lambda client, **options: client.beta.realtime.connect(model="m", **options), "realtime"),
    "translations": Opening(
        lambda client, **options: client.realtime.translations.connect(model="m", **options), "live"
    ),
    "live": Opening(lambda client, **options: client.live.connect(**options), "live"),
    "live.forks": Opening(lambda client, **options: client.live.forks.connect(session_id="sess_1", **options), "live"),
    "live.sideband": Opening(
        lambda client, **options: client.live.sideband.connect(session_id="sess_1", **options), "live"
    ),
}
