"""Programs that read what is neither chat nor Responses: as plain data, and the session of an agent as events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .readers import Run, reader

Events = Any


def _for(*apis: str, role: str = "form") -> Callable[[Run], Run]:
    """Put a program into the table of several APIs."""

    def put(run: Run) -> Run:
        for api in apis:
            reader(api, role)(run)
        return run

    return put


@_for("assistants", "images", "transcriptions")
def everything(stream: Events) -> Any:
    """List all that comes."""
    return list(stream)


@_for("assistants", "images", "transcriptions", "agents")
def number_of_events(stream: Events) -> Any:
    """Count them."""
    return sum(1 for _ in stream)


@_for("transcriptions", role="answer")
def text_by_deltas(stream: Events) -> Any:
    """Join what comes, and believe no closing text."""
    return "".join(event["delta"] for event in stream if event["type"] == "transcript.text.delta")


@_for("transcriptions", role="answer")
def text_when_done(stream: Events) -> Any:
    """Take the closing text, and read no further."""
    return next((event["text"] for event in stream if event["type"] == "transcript.text.done"), None)


@_for("images", role="answer")
def last_image(stream: Events) -> Any:
    """Show each preview in place of the former one."""
    shown = None
    for event in stream:
        shown = event.get("b64_json", shown)
    return shown


@_for("assistants", role="answer")
def said(stream: Events) -> Any:
    """Join the text of a run: events are known by their names."""
    found = ""
    for event in stream:
        data = event.get("data", event) if isinstance(event, dict) else {}
        content = (data.get("delta") or {}).get("content") or ()
        found += "".join(part["text"]["value"] for part in content)
    return found


@_for("agents")
def dicts(stream: Events) -> Any:
    """List all that comes, as dicts."""
    return [event.to_dict() for event in stream]


@_for("agents", role="answer")
def text_of_turns(stream: Events) -> Any:
    """Join the text of each turn."""
    found: dict[str, str] = {}
    for event in stream:
        if event.type == "agent.session.turn.output_text.delta":
            found[event.turn_id] = found.get(event.turn_id, "") + event.delta
    return found


@_for("agents", role="answer")
def first_turn(stream: Events) -> Any:
    """Read until the first turn has ended, however it ended."""
    ends = ("completed", "failed", "cancelled")
    return next((event.type for event in stream if event.type.rpartition(".")[2] in ends), None)


@_for("agents")
def ids(stream: Events) -> Any:
    """Remember where to go on after a cut."""
    return [event.event_id for event in stream]
