"""What telemetry knows of the call that opened a stream."""

from __future__ import annotations

from dataclasses import dataclass

#: The provider of every server without a name of its own: the convention names the API's format, `server.address` the
#: server.
FORMAT = "openai"


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
