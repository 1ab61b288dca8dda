"""The division of messages over WebSockets into streams, for each API that the SDK has connections for: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamwatch.core.apis.base import kept
from streamwatch.core.kinds import RESPONSE_EVENT_MISSING, AnomalyKind


class SocketProtocol(NamedTuple):
    """The division of an API's messages into streams."""

    api: str
    #: Which stream a message is about; "" for the only one, None for a message that is about none.
    lane: Callable[[str, dict[str, Any]], str | None]
    ends: frozenset[str]  #: the types of messages with which a stream ends
    session: bool = False  #: the stream is the whole session: it is complete when either side closes it
    #: How the types of messages begin that belong to a stream which is open, and open none.
    opens_none: tuple[str, ...] = ()
    usual: frozenset[AnomalyKind] = frozenset()  #: what is an anomaly over HTTP alone
    once: bool = False  #: the name of a stream is a response's own, and not one that the next response has again


def _lane_of_responses(type_: str, payload: dict[str, Any]) -> str | None:
    return kept(payload.get("stream_id")) if type_ == "error" or type_.startswith("response.") else None


def _lane_of_realtime(type_: str, payload: dict[str, Any]) -> str | None:
    response = payload.get("response")
    id = kept(payload.get("response_id")) or (kept(response.get("id")) if isinstance(response, dict) else "")
    return id if type_ == "error" or (id and type_.startswith("response.")) else None


def _lane_of_session(_type: str, _payload: dict[str, Any]) -> str | None:
    return ""


_RESPONSES = SocketProtocol(
    *("responses", _lane_of_responses),
    frozenset({"response.completed", "response.incomplete", "response.failed", "error"}),
    opens_none=("response.steer.",),  # it may come after the end of a response, and before the next one
    # The SDK says so (lib/responses_websocket): "deltas need not include all of the SSE item/part setup events".
    usual=frozenset({RESPONSE_EVENT_MISSING}),
)
_REALTIME = SocketProtocol("realtime", _lane_of_realtime, frozenset({"response.done", "error"}), once=True)
_LIVE = SocketProtocol("live", _lane_of_session, frozenset({"session.closed"}), session=True)
#: The modules of the SDK that have connections, and what they speak. A release lacks some of them.
PROTOCOLS = {
    "openai.resources.responses.responses": _RESPONSES,
    "openai.resources.beta.responses.responses": _RESPONSES,
    "openai.resources.realtime.realtime": _REALTIME,
    "openai.resources.beta.realtime.realtime": _REALTIME,
    "openai.resources.realtime.translations.translations": _LIVE,
    "openai.resources.live.live": _LIVE,
    "openai.resources.live.forks": _LIVE,
    "openai.resources.live.sideband": _LIVE,
}
