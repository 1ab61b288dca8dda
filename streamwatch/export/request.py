"""What telemetry knows of the call that opened a stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What is known of the call that opened a stream, before its first byte."""

    operation: str
    request_model: str
    provider: str
    address: str
    port: int | None
    openai_version: str
    via: tuple[str, ...] = ()  #: the intermediaries that the headers of the response name
