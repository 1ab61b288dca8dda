"""Healthy streams of the APIs beside chat, legacy completions and Responses, as their servers send them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from .generated_chat import words
from .wire import DONE, Payload, Stream, made


def assistants(seed: int) -> Stream:
    """Return a run of an assistant that says something."""
    rng = Random(f"assistants {seed}")
    run = {"id": f"run_{seed}", "object": "thread.run", "status": "in_progress", "thread_id": "thread_1"}
    said = words(rng, rng.randint(1, 12))
    message = {"id": f"msg_{seed}", "object": "thread.message", "role": "assistant"}
    whole = {**message, "content": [{"type": "text", "text": {"value": "".join(said), "annotations": []}}]}
    events: list[tuple[str, Payload]] = [
        *((f"thread.run.{status}", {**run, "status": status}) for status in ("created", "queued", "in_progress")),
        ("thread.message.created", {**message, "content": []}),
        *(("thread.message.delta", _spoken(message["id"], piece)) for piece in said),
        ("thread.message.completed", whole),
        ("thread.run.completed", {**run, "status": "completed"}),
    ]
    numbered = [made(payload, name, f"{place}") for place, (name, payload) in enumerate(events)]
    return Stream(f"assistants-{seed}", "assistants", (*numbered, made(DONE, "done", "done")))


def _spoken(id: str, piece: str) -> Payload:
    content = [{"index": 0, "type": "text", "text": {"value": piece}}]
    return {"id": id, "object": "thread.message.delta", "delta": {"content": content}}


def agents(seed: int) -> Stream:
    """Return a subscription to the session of an agent: some turns, of which each says something."""
    rng = Random(f"agents {seed}")
    ends = ("completed", "completed", "completed", "failed", "cancelled")
    turns = [
        _turn(f"turn_{number}", words(rng, rng.randint(1, 12)), rng.choice(ends)) for number in range(rng.randint(1, 3))
    ]
    payloads = [payload for events in turns for payload in events]
    return _typed("agents", seed, ({**payload, "event_id": f"event_{place}"} for place, payload in enumerate(payloads)))


def _turn(id: str, said: list[str], end: str) -> list[Payload]:
    """Return a turn that says something, and the idle session after it."""
    about = {"session_id": "asess_1", "turn_id": id}
    state = {"id": id, "object": "agent.session.turn", "session_id": "asess_1", "agent_id": "agent_1", "created_at": 1}
    session = {"id": "asess_1", "object": "agent.session", "status": "idle", "created_at": 1}
    message: Payload = {"id": f"msg_{id}", "type": "message", "role": "assistant", "turn_id": id, "content": []}
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    whole: Payload = {"type": "output_text", "text": "".join(said)}
    done = {**message, "status": "completed", "content": [whole]}
    events: list[tuple[str, Payload]] = [
        ("created", {"turn": {**state, "status": "queued"}}),
        ("in_progress", {"turn": {**state, "status": "in_progress"}}),
        ("item.added", {"output_index": 0, "item": {**message, "status": "in_progress"}}),
        ("content_part.added", {**place, "part": {"type": "output_text", "text": ""}}),
        *(("output_text.delta", {**place, "delta": piece}) for piece in said),
        ("output_text.done", {**place, "text": whole["text"]}),
        ("content_part.done", {**place, "part": whole}),
        ("item.done", {"output_index": 0, "item": done}),
        (end, {"turn": {**state, "status": end}}),
    ]
    of_turn = [{"type": f"agent.session.turn.{name}", **about, **more} for name, more in events]
    return [*of_turn, {"type": "agent.session.idle", "session": session}]


def images(seed: int) -> Stream:
    """Return an image that comes in some previews."""
    rng = Random(f"images {seed}")
    verb = rng.choice(("generation", "edit"))
    about = {"created_at": 1, "size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    previews = [
        {"type": f"image_{verb}.partial_image", "partial_image_index": number, "b64_json": f"iVBOR{number}", **about}
        for number in range(rng.randint(0, 3))
    ]
    end = {"type": f"image_{verb}.completed", "b64_json": "iVBORw0K", **about, "usage": {"total_tokens": 7}}
    return _typed("images", seed, [*previews, end])


def transcriptions(seed: int) -> Stream:
    """Return the text of a recording, with segments where speakers are told apart."""
    rng = Random(f"transcriptions {seed}")
    said = words(rng, rng.randint(1, 16))
    events: list[Payload] = [{"type": "transcript.text.delta", "delta": piece} for piece in said]
    if rng.random() < 0.3:
        segment = {"id": "seg_1", "start": 0.0, "end": 1.5, "speaker": "A", "text": "".join(said)}
        events.append({"type": "transcript.text.segment", **segment})
    end = {"type": "transcript.text.done", "text": "".join(said), "usage": {"type": "tokens", "total_tokens": 9}}
    return _typed("transcriptions", seed, [*events, end])


def _typed(api: str, seed: int, payloads: Iterable[Payload]) -> Stream:
    """Return a stream of events that name their type, without [DONE]."""
    return Stream(f"{api}-{seed}", api, tuple(made(event, None, f"{place}") for place, event in enumerate(payloads)))
