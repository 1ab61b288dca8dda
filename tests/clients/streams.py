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

from streamwatch.core.report import Request
from streamwatch.core.settings import Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome

SHARED = CHECKOUT.parent / "shared"
#: Events. A longer recording says the same more often.
LONGEST = 250


@dataclass
class Stream:
    """A stream to be read, and what is known of it."""

    id: str
    api: str
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
        told = {key: getattr(self, key) for key in ("id", "api", "content_type", "connection_cut", "request")}
        return json.dumps({**told, "wire": base64.b64encode(self.wire).decode()})


def all_streams(alike: int) -> list[Stream]:
    """Every stream; of healthy recordings that can be expected to read alike, `alike`, or all if it is 0."""
    return [*own(), *recorded(alike), *oracles()]


def own() -> Iterator[Stream]:
    """The healthy streams beside the tests."""
    for path in sorted((CHECKOUT / "tests" / "recordings").glob("*.sse")):
        api = {"chat": "chat", "resp": "responses"}.get(path.stem.partition("-")[0])
        if api:
            request = {"n": 2} if "two-choices" in path.stem else {}
            yield Stream(f"own/{path.stem}", api, path.read_bytes(), healthy=True, request=request)


def recorded(alike: int) -> Iterator[Stream]:
    """Recordings of real servers, where they are: all broken ones, and healthy ones of each provider, API and repair."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        return
    known = {json.loads(line)["id"] for line in (folder / "known_faults.jsonl").read_text("utf-8").splitlines()}
    taken: Counter[tuple[Any, ...]] = Counter()
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    # In an order that has nothing to do with the names, and is the same each time.
    for entry in sorted(entries, key=lambda entry: hashlib.sha256(entry["id"].encode()).digest()):
        healthy = entry["id"] not in known
        long = alike and entry["n_events"] > LONGEST
        if entry["surface"] not in ("chat", "responses") or long or (healthy and entry["origin"] != "recorded"):
            continue
        stream = _recording(folder, entry, healthy=healthy)
        if healthy and alike:
            n, uses_tools = stream.request.get("n", 1), entry["has_tool_calls"]
            group = (entry["provider"], entry["surface"], uses_tools, *_repaired(entry["surface"], stream.wire, n))
            taken[group] += 1
            if taken[group] > alike:
                continue
        yield stream


def _recording(folder: Path, entry: dict[str, Any], *, healthy: bool) -> Stream:
    wire = (folder / "streams" / f"{entry['id']}.sse").read_bytes()
    request: dict[str, Any] = {}
    n = max(entry["request_n"] or 1, entry["n_choices"] if healthy else 1)  # a healthy server sends what was asked for
    if n > 1:
        request["n"] = n
    if entry["surface"] == "chat" and entry["request_tool_choice"] == "named:function":
        named = {"type": "function", "function": {"name": "named"}}
        request.update(tools=[named], tool_choice=named)
    return Stream(f"corpus/{entry['id']}", entry["surface"], wire, healthy=healthy, request=request)


def _repaired(api: str, wire: bytes, n: int) -> list[str]:
    """What `default` repairs in a stream, whoever reads it: for a framework, or for the SDK's own helper."""
    repaired = set()
    for helper in (False, True):
        watch = StreamWatch(api, Request(n=n, accumulated=helper), Settings())
        watch.receive(wire)
        watch.close()
        made = {Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED}
        repaired |= {kind.name for kind, outcomes in watch.report().outcomes.items() if made & set(outcomes)}
    return sorted(repaired)


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
