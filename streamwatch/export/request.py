"""The call that opened a stream, as telemetry knows it."""

from __future__ import annotations

from dataclasses import dataclass

#: The provider of every server without a name of its own: the convention names the API's format, `server.address` the
#: server.
FORMAT = "openai"


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The call that opened a stream, as far as it is known before the first byte."""

    operation: str
    request_model: str
    provider: str
    address: str
    port: int | None
    openai_version: str
    via: tuple[str, ...] = ()  #: the intermediaries that the headers of the response name
