"""Healthy sessions over WebSockets: responses on lanes, sessions of the Realtime API, and sessions that only talk."""

from __future__ import annotations

from random import Random
from typing import Any

from helpers.socket_sessions import CONNECTIONS, SESSION, live, realtime

from .generated_chat import words
from .generated_responses import responses
from .messages import closing
from .wire import Event, Payload, Stream

#: Events of a response at most: longer ones say the same more often.
_LONGEST = 40
_UNANNOUNCED = ("response.output_item.added", "response.content_part.added", "response.content_part.done")


def responses_socket(seed: int) -> Stream:
    """Return a connection that carries responses: one after the other, and on up to three lanes at a time."""
    rng = Random(f"responses_socket {seed}")
    names = rng.choice([(), (), ("a",), ("a", "b"), ("a", "b"), ("a", "b", "c")])
    lanes = []
    for name in names or (None,):
        said = [_response(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
        lanes.append(
            [event for events in said for event in (events if name is None else _marked(events, stream_id=name))]
        )
    connection = rng.choice(["responses", "responses", "responses", "beta.responses"])
    return _session(rng, seed, "responses_socket", connection, _in_turn(rng, lanes), lanes=list(names))


def _response(rng: Random) -> list[Payload]:
    """Return a response as it comes over a WebSocket: without what announces its items, now and then."""
    while True:
        stream = responses(rng.randrange(1 << 30))
        if len(stream.events) <= _LONGEST and not stream.request.get("starting_after"):
            break
    events = [event.payload for event in stream.events]
    if rng.random() < 0.25:
        events = [event for event in events if event["type"] not in _UNANNOUNCED]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _marked(events: list[Payload], **members: Any) -> list[Payload]:
    return [{**event, **members} for event in events]


def _in_turn(rng: Random, lanes: list[list[Payload]]) -> list[Payload]:
    """Return the events of all lanes, each lane in order: in runs of an event or of some."""
    left = [list(lane) for lane in lanes]
    found: list[Payload] = []
    while any(left):
        lane = rng.choice([each for each in left if each])
        for _ in range(rng.choice((1, 1, 2, 5))):
            found += [lane.pop(0)] if lane else []
    return found


def realtime_session(seed: int) -> Stream:
    """Return a session of the Realtime API: some responses, and what is about the session around them."""
    rng = Random(f"realtime {seed}")
    lanes = []
    for number in range(rng.randint(1, 3)):
        status = rng.choice(["completed"] * 4 + ["cancelled", "failed", "incomplete"])
        said = realtime(*words(rng, rng.randint(1, 8)), id=f"resp_{seed}_{number}", status=status)
        lanes.append(_called(said, rng) if rng.random() < 0.3 else said)
    together = rng.random() < 0.3
    events = _in_turn(rng, lanes) if together else [event for lane in lanes for event in lane]
    for kind in ("rate_limits.updated", "input_audio_buffer.speech_started", "conversation.item.added"):
        if rng.random() < 0.5:
            events.insert(rng.randrange(len(events) + 1), {"type": kind, "event_id": f"event_{kind}"})
    connection = rng.choice(["realtime", "realtime", "beta.realtime"])
    return _session(rng, seed, "realtime", connection, [SESSION, *events])


def _called(events: list[Payload], rng: Random) -> list[Payload]:
    """Return a response of the Realtime API that calls a function instead of saying something."""
    spoken = "response.output_audio_transcript"
    found = []
    for event in events:
        if event["type"].startswith(spoken):
            called = event["type"].replace(spoken, "response.function_call_arguments")
            event = {"arguments" if key == "transcript" else key: value for key, value in event.items()}
            event = {**event, "type": called, "call_id": "call_1"}
        if event["type"] != "response.content_part.added":
            found.append(event)
    return found


def live_session(seed: int) -> Stream:
    """Return a session that talks until it is closed: live, or a translation."""
    rng = Random(f"live {seed}")
    names = [name for name, opening in CONNECTIONS.items() if opening.api == "live"]
    return _session(rng, seed, "live", rng.choice(names), live(*words(rng, rng.randint(1, 20))))


def _session(
    rng: Random, seed: int, api: str, connection: str, payloads: list[Payload], lanes: list[str] | None = None
) -> Stream:
    """Return a session that ends with a close of the server."""
    events = tuple(Event(payload, tag=f"{place}") for place, payload in enumerate(payloads))
    request = {"connection": connection, "lanes": lanes or []}
    return Stream(f"{api}-{seed}-{connection}", api, (*events, closing(rng.choice((1000, 1000, 1001)))), request)
