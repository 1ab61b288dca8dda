"""Where the streams come from: recordings of real servers, oracles, cases of the field, and generators without end."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .generated_chat import CUSTOM_TOOL, chat, completions
from .generated_other import agents, assistants, images, transcriptions
from .generated_responses import responses
from .generated_sockets import live_session, realtime_session, responses_socket
from .wire import Payload, Stream, parsed

CHECKOUT = Path(__file__).parents[2]
SHARED = CHECKOUT.parent / "shared"
GENERATORS: dict[str, Callable[[int], Stream]] = {"chat": chat, "completions": completions, "responses": responses}
#: The APIs of whose events nothing is repaired by default, but their frames.
OTHERS: dict[str, Callable[[int], Stream]] = {
    "assistants": assistants,
    "agents": agents,
    "images": images,
    "transcriptions": transcriptions,
}
#: The sessions over WebSockets, where nothing is repaired but the order.
SOCKETS: dict[str, Callable[[int], Stream]] = {
    "responses_socket": responses_socket,
    "realtime": realtime_session,
    "live": live_session,
}
#: Bytes. Longer recordings say the same more often: nine of ten are shorter.
LONGEST = 40_000
#: What is kept of a request in an index, and what the request calls it.
_ASKED = {"request_n": "n", "request_model": "model", "request_stream_options": "stream_options"}
_ASKED |= {"request_tool_choice": "tool_choice"}


def generated(api: str, seed: int) -> Stream:
    """Return one healthy stream of an API."""
    return (GENERATORS | OTHERS | SOCKETS)[api](seed)


@cache
def own() -> tuple[Stream, ...]:
    """Return the recordings beside the tests."""
    folder = CHECKOUT / "tests" / "recordings"
    apis = {"chat": "chat", "cmpl": "completions", "resp": "responses", "asst": "assistants"}
    found = []
    for path in sorted(folder.glob("*.sse")):
        api = apis[path.stem.partition("-")[0]]
        row = {"request_n": 2} if "two-choices" in path.stem else {}
        found.append(_recorded(f"own/{path.stem}", api, path.read_bytes(), row, "own"))
    index = folder / "servers" / "index.json"
    for id, row in json.loads(index.read_text("utf-8")).items() if index.exists() else ():
        body = (folder / "servers" / f"{id}.sse").read_bytes()
        found.append(
            _recorded(f"servers/{id}", row["api"], body, {"request_n": row.get("n")}, "own", not id.endswith("-cut"))
        )
    return tuple(found)


@cache
def corpus(folder: Path, every: int = 1, longest: int = LONGEST) -> tuple[Stream, ...]:
    """Return the recordings of a folder, or every so many-th."""
    if not (folder / "index.jsonl").exists():
        return ()
    known = {row["id"] for row in _rows(folder / "known_faults.jsonl")}
    found = []
    for row in itertools.islice(_rows(folder / "index.jsonl"), 0, None, every):
        path = folder / "streams" / f"{row['id']}.sse"
        if path.stat().st_size <= longest:
            healthy = row["id"] not in known and row.get("origin") == "recorded" and not row.get("has_error")
            found.append(_recorded(row["id"], row["surface"], path.read_bytes(), row, folder.name, healthy))
    return tuple(found)


def _recorded(name: str, api: str, body: bytes, row: Payload, source: str, healthy: bool = True) -> Stream:
    request = {asked: row[key] for key, asked in _ASKED.items() if row.get(key)}
    if not row.get("request_n") and healthy and (row.get("n_choices") or 1) > 1:
        request["n"] = row["n_choices"]  # a healthy server answers what it was asked
    events = parsed(body)
    if api == "chat":
        request |= _tools(events)
    if not isinstance(request.get("tool_choice", ""), (str, dict)):
        del request["tool_choice"]
    if "tools" not in request:
        request.pop("tool_choice", None)
    return Stream(name, api, events, request, source, healthy)


def _tools(events: Any) -> Payload:
    """Return the tools that a stream calls: whoever reads calls has declared some."""
    names: dict[str, None] = {}
    custom = False
    for event in events:
        for choice in (event.payload.get("choices") if event.is_object else None) or ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            calls = delta.get("tool_calls") if isinstance(delta, dict) else None
            for call in calls if isinstance(calls, list) else ():
                function = call.get("function") if isinstance(call, dict) else None
                name = function.get("name") if isinstance(function, dict) else None
                custom = custom or (isinstance(call, dict) and "custom" in call)
                names |= {name: None} if isinstance(name, str) and name else {}
    parameters = {"type": "object", "properties": {}}
    tools: list[Any] = [{"type": "function", "function": {"name": name, "parameters": parameters}} for name in names]
    tools += [CUSTOM_TOOL] if custom else []
    return {"tools": tools} if tools else {}


@cache
def oracles(path: Path = SHARED / "oracles" / "cases.jsonl") -> tuple[Stream, ...]:
    """Return the oracles, each with what it says is right."""
    found = []
    for case in _rows(path) if path.exists() else ():
        body = (
            base64.b64decode(case["wire_b64"]) if "wire_b64" in case else case["wire"].encode("utf-8", "surrogatepass")
        )
        right = {"expect": case["expect"], "repairs": case["repairs"]}
        cut, request = case["connection_cut"], dict(case.get("request", {}))
        headers = {"content-type": case["content_type"]}
        found.append(_judged(case["id"], case["surface"], body, request, "oracle", right, cut, headers))
    return tuple(found)


@cache
def field_cases(path: Path = SHARED / "field" / "cases.jsonl") -> tuple[Stream, ...]:
    """Return the streams of public bug reports, each with what is right."""
    found = []
    for case in _rows(path) if path.exists() else ():
        body = (
            base64.b64decode(case["body_b64"]) if "body_b64" in case else case["body"].encode("utf-8", "surrogatepass")
        )
        request = dict(case["request"])
        headers = request.pop("response_headers", {})
        neighbour = bool(case["healthy_neighbour"])
        right = {"right": case["right"], "neighbour": neighbour}
        found.append(_judged(case["id"], case["surface"], body, request, "field", right, False, headers))
    return tuple(found)


def _judged(
    name: str, api: str, body: bytes, request: Payload, source: str, right: Payload, cut: bool, headers: Payload
) -> Stream:
    events = parsed(body)
    whole = None if b"".join(event.written() for event in events) == body else body
    healthy = bool(right.get("neighbour"))
    return Stream(name, api, events, request, source, healthy, cut, headers, right, whole)


def _rows(path: Path) -> Iterator[Any]:
    # Not splitlines(): U+2028 is data here.
    return (json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip())


def everything(extra: Path | None = None, every: int = 1) -> list[Stream]:
    """Return all streams that are not generated; of the large collections, every so many-th."""
    found = [*own(), *oracles(), *field_cases()]
    folders = [extra] if extra else [SHARED / "corpus", SHARED / "corpus_2026_11"]
    return [*found, *(stream for folder in folders for stream in corpus(folder, every))]
