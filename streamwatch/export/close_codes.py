"""The codes with which WebSockets are closed, as values of a label: one table.

Source: RFC 6455, section 7.4, and the registry of IANA.
"""

from __future__ import annotations

#: What each registered code means. 1005, 1006 and 1015 stand for what no side has said.
CLOSE_CODES = {
    1000: "the purpose of the connection is fulfilled",
    1001: "a side goes away: a server that shuts down, a limit of the session",
    1002: "a protocol error",
    1003: "data that cannot be accepted",
    1005: "no code was given",
    1006: "no closing handshake: the connection was cut",
    1007: "data that is not consistent, such as text that is not UTF-8",
    1008: "a policy is violated",
    1009: "a message is too big",
    1010: "the client misses an extension",
    1011: "an internal error of the server, or pings that were not answered",
    1012: "the service restarts",
    1013: "try again later",
    1014: "a bad gateway",
    1015: "the TLS handshake failed",
}
#: What a code of a range means, by its first digit: these are many, and each service has its own.
RANGES = {3: "registered by a library or framework", 4: "the service's own meaning"}
OTHER = "other"


def close_code(code: int) -> str:
    """Return the value of the label for a close code: of a closed set, whatever a server sends."""
    if code in CLOSE_CODES:
        return str(code)
    return f"{code // 1000}xxx" if code // 1000 in RANGES else OTHER


def values() -> dict[str, str]:
    """Return every value of the label, and what it means."""
    ranges = {f"{digit}xxx": f"from {digit}000 to {digit}999: {meaning}" for digit, meaning in RANGES.items()}
    return {**{str(code): meaning for code, meaning in CLOSE_CODES.items()}, **ranges, OTHER: "any other number"}
