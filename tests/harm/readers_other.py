"""Programs that read what is neither chat nor Responses: assistants and images, as plain data."""

from __future__ import annotations

from typing import Any

from .readers import reader

Events = Any


@reader("assistants")
def everything(stream: Events) -> Any:
    """List all that comes."""
    return list(stream)


@reader("images")
def everything_(stream: Events) -> Any:
    """List all that comes."""
    return list(stream)
