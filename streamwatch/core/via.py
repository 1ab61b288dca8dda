"""The path that a stream came by, as far as the headers of its response name it.

A proxy that buffers, reorders or cuts a stream is found by setting the streams that came through it beside those that
did not. Only names of the table become a label, so a server cannot invent one. Many proxies leave no trace in the
headers: nginx that passes `server` on, HAProxy, AWS load balancers. One that buffers shows nevertheless, as many events
come in one read: it is called `buffering`.

The rows are those that 1,076 recorded responses show, and `caddy` and `helicone`, whose headers public reports name.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Role(enum.IntEnum):
    """The usual place of an intermediary, counted from the application."""

    EDGE = 0
    BALANCER = 1
    GATEWAY = 2
    SERVER = 3  #: the end of the path: no intermediary, but what answered


@dataclass(frozen=True)
class Intermediary:
    """An intermediary that passes responses on, and the headers that name it, by presence or by value."""

    name: str
    role: Role
    headers: tuple[str, ...] = ()  #: names; a `*` at the end stands for the rest of a name
    says: tuple[tuple[str, str], ...] = ()  #: a header, and the pattern of what it says


INTERMEDIARIES = (
    Intermediary("cloudflare", Role.EDGE, ("cf-ray",), (("server", "^cloudflare"),)),
    Intermediary("cloudfront", Role.EDGE, ("x-amz-cf-id",), (("x-cache", "cloudfront"), ("via", "cloudfront"))),
    Intermediary("fastly", Role.EDGE, (), (("x-served-by", "^cache-"),)),
    Intermediary("varnish", Role.EDGE, ("x-varnish",), (("via", r"\bvarnish\b"),)),
    Intermediary("google", Role.EDGE, (), (("via", r"\bgoogle\b"),)),
    Intermediary("vercel", Role.EDGE, ("x-vercel-id",)),
    Intermediary("fly", Role.EDGE, ("fly-request-id",)),
    Intermediary("elb", Role.BALANCER, (), (("server", "^(aws)?elb"),)),
    Intermediary("envoy", Role.BALANCER, ("x-envoy-upstream-service-time",), (("server", "^(istio-)?envoy"),)),
    Intermediary("nginx", Role.BALANCER, (), (("server", "^(nginx|openresty)"),)),
    Intermediary("caddy", Role.BALANCER, (), (("via", r"\bcaddy\b"), ("server", "^caddy"))),
    Intermediary("kong", Role.GATEWAY, ("x-kong-*",), (("via", r"\bkong\b"), ("server", "^kong"))),
    Intermediary("azure_apim", Role.GATEWAY, ("apim-request-id",)),
    Intermediary("databricks", Role.GATEWAY, (), (("server", "^databricks"),)),
    Intermediary("cloudflare_ai_gateway", Role.GATEWAY, ("cf-aig-*",)),
    Intermediary("huggingface_router", Role.GATEWAY, ("x-inference-provider",)),
    Intermediary("litellm", Role.GATEWAY, ("x-litellm-*",)),
    Intermediary("portkey", Role.GATEWAY, ("x-portkey-*",)),
    Intermediary("helicone", Role.GATEWAY, ("helicone-id",)),
    Intermediary("uvicorn", Role.SERVER, (), (("server", "^uvicorn"),)),
)

#: The path on which no header names anybody.
DIRECT = "direct"
#: What a stream came through that came in bursts, where no header names an intermediary.
BUFFERING = "buffering"
#: Between the names of a path, the one nearest to the application first.
SEPARATOR = ">"
#: Every name that can stand in a path.
NAMES = (*(row.name for row in INTERMEDIARIES), DIRECT, BUFFERING)
#: Paths with nobody between the application and what answered.
UNPROXIED = (DIRECT, *(row.name for row in INTERMEDIARIES if row.role is Role.SERVER))

#: Names in a path, entries of `via` and characters of a header that are looked at: a path has two or three.
MOST_NAMES, _MOST_ENTRIES, _MOST_CHARACTERS = 4, 8, 400
#: Events in a read, on average, from which a stream came in bursts, and the fewest events that show it: a server writes
#: one event at a time, and what a network puts together is a few. A proxy's buffer of 4 KiB holds a dozen or more.
BURST, FEWEST_OF_BURSTS = 8.0, 16

_RANKS = {row.name: (row.role, place) for place, row in enumerate(INTERMEDIARIES)}
_BY_NAME = {name.encode(): row.name for row in INTERMEDIARIES for name in row.headers if not name.endswith("*")}
_BY_START = tuple(
    (name[:-1].encode(), row.name) for row in INTERMEDIARIES for name in row.headers if name.endswith("*")
)
_STARTS = tuple(start for start, _ in _BY_START)
_SAYING: dict[bytes, list[tuple[re.Pattern[str], str]]] = {}
for _row in INTERMEDIARIES:
    for _header, _pattern in _row.says:
        _SAYING.setdefault(_header.encode(), []).append((re.compile(_pattern, re.IGNORECASE), _row.name))


def path_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """Return who is named in the headers of a response, the one nearest to the application first.

    `via` says in which order. For who is not in it, the order is that in which such intermediaries mostly stand.
    """
    found: set[str] = set()
    entries: list[str] = []
    for key, value in headers:
        name = key.lower()
        if name == b"via":
            entries += _words(value).split(",")[:_MOST_ENTRIES]
        else:
            found.update(_named(name, value))
    return _ordered(found, _told(entries[:_MOST_ENTRIES]))


def _named(name: bytes, value: bytes) -> Iterable[str]:
    """Return who is named by a header, by its name or by what it says."""
    if name in _BY_NAME:
        return (_BY_NAME[name],)
    if name in _SAYING:
        said = _words(value)
        return [row for pattern, row in _SAYING[name] if pattern.search(said)]
    return [row for start, row in _BY_START if name.startswith(start)] if name.startswith(_STARTS) else ()


def _words(value: bytes) -> str:
    return value[:_MOST_CHARACTERS].decode("latin-1")


def _told(entries: Sequence[str]) -> list[str]:
    """Return who is named in the entries of `via`: each passes the response on to the next."""
    named = [row for entry in reversed(entries) for pattern, row in _SAYING[b"via"] if pattern.search(entry)]
    return list(dict.fromkeys(named))


def _ordered(found: set[str], told: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the table's order, those that `via` names in its order among the places that they have."""
    if "fastly" in found:  # it says that it is varnish
        told = [name for name in told if name != "varnish"]
        found = found - {"varnish"}
    path = sorted(found.union(told), key=_RANKS.__getitem__)
    in_turn = iter(told)
    return tuple(itertools.islice((next(in_turn) if name in told else name for name in path), MOST_NAMES))


def label_of(path: tuple[str, ...], events: int = 0, events_per_read: float = 0.0) -> str:
    """Return a path as one word, with what the bursts of its events say where nobody is named."""
    named = any(_RANKS[name][0] is not Role.SERVER for name in path)
    if not named and events >= FEWEST_OF_BURSTS and events_per_read >= BURST:
        path = (BUFFERING, *path)
    return SEPARATOR.join(path) or DIRECT
