"""The streams that the clients read: recordings of real servers, and oracles, with what is known of each.

A stream is healthy if it is in no list of faults: every dialect of every server is healthy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environments import CHECKOUT

sys.path.insert(0, str(CHECKOUT))  # whatever Python runs this, it is this checkout that it looks with

from streamwatch.anomalies import Outcome  # noqa: E402
from streamwatch.report import Request  # noqa: E402
from streamwatch.settings import Settings  # noqa: E402
from streamwatch.stream import StreamWatch  # noqa: E402

SHARED = CHECKOUT.parent / "shared"
#: Events. A longer recording in which nothing is repaired says the same more often.
LONGEST = 250


@dataclass
class Stream:
    """A stream to be read, and what is known of it."""

    id: str
    surface: str
    wire: bytes
    healthy: bool
    content_type: str = "text/event-stream"
    connection_cut: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    expect: dict[str, Any] | None = None

    @property
    def has_calls(self) -> bool:
        """Whether the answer is, or has, a tool call."""
        return b'"tool_calls"' in self.wire or b'"function_call"' in self.wire

    def line(self) -> str:
        """What a driver is told."""
        told = {key: getattr(self, key) for key in ("id", "surface", "content_type", "connection_cut", "request")}
        return json.dumps({**told, "wire": base64.b64encode(self.wire).decode()})


def all_streams(untouched: int) -> list[Stream]:
    """Every stream that is broken or repaired; of the others `untouched` for each provider and API, or all if it is 0."""
    return [*own(), *recorded(untouched), *oracles()]


def own() -> Iterator[Stream]:
    """The healthy streams beside the tests."""
    for path in sorted((CHECKOUT / "tests" / "recordings").glob("*.sse")):
        surface = {"chat": "chat", "resp": "responses"}.get(path.stem.partition("-")[0])
        if surface:
            request = {"n": 2} if "two-choices" in path.stem else {}
            yield Stream(f"own/{path.stem}", surface, path.read_bytes(), healthy=True, request=request)


def recorded(untouched: int) -> Iterator[Stream]:
    """Recordings of real servers, where they are."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        return
    known = {json.loads(line)["id"] for line in (folder / "known_faults.jsonl").read_text("utf-8").splitlines()}
    taken: Counter[tuple[Any, ...]] = Counter()
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    # In an order that has nothing to do with the names, and is the same each time.
    for entry in sorted(entries, key=lambda entry: hashlib.sha256(entry["id"].encode()).digest()):
        healthy = entry["id"] not in known
        if entry["surface"] not in ("chat", "responses") or (healthy and entry["origin"] != "recorded"):
            continue
        stream, touched = _recording(folder, entry, healthy=healthy)
        if healthy and not touched and untouched:
            group = entry["provider"], entry["surface"], entry["has_tool_calls"]
            taken[group] += entry["n_events"] <= LONGEST
            if entry["n_events"] > LONGEST or taken[group] > untouched:
                continue
        yield stream


def _recording(folder: Path, entry: dict[str, Any], *, healthy: bool) -> tuple[Stream, bool]:
    """A recording, and whether `default` repairs anything in it."""
    wire = (folder / "streams" / f"{entry['id']}.sse").read_bytes()
    request: dict[str, Any] = {}
    n = max(entry["request_n"] or 1, entry["n_choices"] if healthy else 1)  # a healthy server sends what was asked for
    if n > 1:
        request["n"] = n
    if entry["surface"] == "chat" and entry["request_tool_choice"] == "named:function":
        named = {"type": "function", "function": {"name": "named"}}
        request.update(tools=[named], tool_choice=named)
    stream = Stream(f"corpus/{entry['id']}", entry["surface"], wire, healthy=healthy, request=request)
    return stream, any(_is_repaired(entry["surface"], wire, n, accumulated=helper) for helper in (False, True))


def _is_repaired(surface: str, wire: bytes, n: int, *, accumulated: bool) -> bool:
    """Whether `default` repairs anything for a framework, or for the SDK's own helper."""
    watch = StreamWatch(surface, Request(n=n, accumulated=accumulated, naive=False), Settings())
    watch.receive(wire)
    watch.close()
    repaired = {Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED}
    return any(repaired & set(outcomes) for outcomes in watch.report().outcomes.values())


def oracles() -> Iterator[Stream]:
    """The oracles, where they are: odd wires, each with the answer that is right."""
    path = SHARED / "oracles" / "cases.jsonl"
    lines = path.read_text("utf-8").split("\n") if path.is_file() else []  # U+2028 is data here
    for case in (json.loads(line) for line in lines if line.strip()):
        if case["surface"] in ("chat", "responses"):
            reached = case["repairs"] != "opt_in" and case["expect"].get("raises") is None
            yield Stream(
                f"oracle/{case['id']}",
                case["surface"],
                base64.b64decode(case["wire_b64"]) if "wire_b64" in case else case["wire"].encode(),
                healthy=not case["kinds"],
                content_type=case["content_type"],
                connection_cut=case["connection_cut"],
                request=case.get("request", {}),
                expect=case["expect"] if reached else None,
            )
