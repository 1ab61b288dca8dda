"""Wires: what a server sends, built of parts, cut into reads, watched, and read as the SDK would.

The builders give healthy streams in the shape of OpenAI's own; a test breaks what it is about. Then
`watch` puts the bytes through a `StreamWatch`, and `read` makes of what it hands on the answer that
a consumer of the SDK ends up with.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome, Severity

Payload = dict[str, Any]
DONE = b"data: [DONE]\n\n"
MODEL = "gpt-4o-2024-05-13"


def parsers() -> list[Callable[[bytes], Any]]:
    """What payloads may be parsed with: the standard library, and jiter where the SDK brings it."""
    try:
        from jiter import from_json
    except ImportError:
        return [json.loads]
    return [json.loads, from_json]


# --- frames


def sse(payload: Payload | str, *, event: str | None = None, id: str | int | None = None) -> bytes:
    """One event."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    head = (f"event: {event}\n" if event else "") + (f"id: {id}\n" if id is not None else "")
    return f"{head}data: {data}\n\n".encode()


def body(chunks: Iterable[Payload | str], *, done: bool = True) -> bytes:
    """A body of unnamed events, as of chat completions."""
    return b"".join(map(sse, chunks)) + (DONE if done else b"")


def named(events: Iterable[Payload]) -> bytes:
    """A body of events named after their type, as of the Responses API."""
    return b"".join(sse(event, event=event["type"]) for event in events)


# --- chat completions


def chunk(delta: Payload | None = None, finish: str | None = None, *, index: int = 0, **members: Any) -> Payload:
    """One chunk with one choice."""
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {**bare(), "choices": [choice], **members}


def bare(**members: Any) -> Payload:
    """A chunk without choices."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "choices": [],
        **members,
    }


def begin(index: int = 0, content: str | None = "") -> Payload:
    """The first chunk of a choice."""
    return chunk({"role": "assistant", "content": content}, index=index)


def texts(*pieces: str, index: int = 0) -> list[Payload]:
    """A chunk for each piece of text."""
    return [chunk({"content": piece}, index=index) for piece in pieces]


def said(*pieces: str, finish: str = "stop", index: int = 0) -> list[Payload]:
    """A whole answer in text."""
    return [begin(index), *texts(*pieces, index=index), chunk({}, finish, index=index)]


def fragment(index: int | None, arguments: str | None = None, **header: Any) -> Payload:
    """One fragment of a tool call; `header` has id and name where it opens the call."""
    fragment: Payload = {} if index is None else {"index": index}
    function: Payload = {}
    if "id" in header:
        fragment["id"] = header["id"]
    if "name" in header:
        fragment["type"] = "function"
        function["name"] = header["name"]
    if arguments is not None:
        function["arguments"] = arguments
    return {**fragment, "function": function}


def tool_call(index: int | None, id: str, name: str, *pieces: str) -> list[Payload]:
    """The fragments of one tool call, the header first."""
    return [fragment(index, "", id=id, name=name), *(fragment(index, piece) for piece in pieces)]


def called(*fragments: Payload, finish: str = "tool_calls", content: str | None = None) -> list[Payload]:
    """A whole answer of tool calls, a fragment a chunk."""
    deltas = [chunk({"tool_calls": [each]}) for each in fragments]
    return [begin(content=content), *deltas, chunk({}, finish)]


def usage_chunk(total: int = 12) -> Payload:
    """The last chunk, where usage was asked for."""
    return bare(usage={"prompt_tokens": total - 2, "completion_tokens": 2, "total_tokens": total})


def stamped(chunks: Iterable[Payload], name: str = "sequence_number", start: int = 0) -> list[Payload]:
    """Chunks that a relay numbered."""
    return [{**each, name: number} for number, each in enumerate(chunks, start)]


def completion(text: str, finish: str | None = None, *, index: int = 0, **members: Any) -> Payload:
    """One chunk of a legacy completion."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "gpt-3.5-turbo-instruct"}
    return {**head, "choices": [choice], **members}


# --- the Responses API


def message(output_index: int, *pieces: str) -> list[Payload]:
    """The events of one message item."""
    id = f"msg_{output_index}"
    at = {"item_id": id, "output_index": output_index, "content_index": 0}
    text = "".join(pieces)
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    whole = {**empty, "text": text}
    item = {"id": id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    ended = {**item, "status": "completed", "content": [whole]}
    return [
        {"type": "response.output_item.added", "output_index": output_index, "item": item},
        {"type": "response.content_part.added", **at, "part": empty},
        *({"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []} for piece in pieces),
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": whole},
        {"type": "response.output_item.done", "output_index": output_index, "item": ended},
    ]


def function_call(output_index: int, name: str, *pieces: str) -> list[Payload]:
    """The events of one function call item."""
    id, call_id = f"fc_{output_index}", f"call_{output_index}"
    at = {"item_id": id, "output_index": output_index}
    item = {"id": id, "type": "function_call", "call_id": call_id, "name": name}
    started = {**item, "arguments": "", "status": "in_progress"}
    ended = {**item, "arguments": "".join(pieces), "status": "completed"}
    return [
        {"type": "response.output_item.added", "output_index": output_index, "item": started},
        *({"type": "response.function_call_arguments.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.function_call_arguments.done", **at, "arguments": ended["arguments"], "name": name},
        {"type": "response.output_item.done", "output_index": output_index, "item": ended},
    ]


def reasoning(output_index: int, *pieces: str) -> list[Payload]:
    """The events of one reasoning item with a summary."""
    id = f"rs_{output_index}"
    at = {"item_id": id, "output_index": output_index, "summary_index": 0}
    text = "".join(pieces)
    part = {"type": "summary_text", "text": text}
    item = {"id": id, "type": "reasoning", "summary": []}
    return [
        {"type": "response.output_item.added", "output_index": output_index, "item": item},
        {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.reasoning_summary_text.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.reasoning_summary_text.done", **at, "text": text},
        {"type": "response.reasoning_summary_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": output_index, "item": {**item, "summary": [part]}},
    ]


def response(*items: list[Payload], status: str = "completed") -> list[Payload]:
    """All events of one response, not numbered."""
    output = [events[-1]["item"] for events in items]
    head = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": MODEL}
    began = {
        **head,
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, **details}
    return [
        {"type": "response.created", "response": began},
        {"type": "response.in_progress", "response": began},
        *(event for events in items for event in events),
        {"type": f"response.{status}", "response": {**began, "status": status, "output": output, "usage": usage}},
    ]


def numbered(events: Iterable[Payload], start: int = 0) -> list[Payload]:
    """Events with their sequence numbers."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events, start)]


def answered(*pieces: str) -> list[Payload]:
    """A whole numbered response of one message."""
    return numbered(response(message(0, *pieces)))


# --- assistants


def run(*pieces: str) -> bytes:
    """The body of a streamed run that says something."""
    run = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "assistant_id": "asst_1"}
    said = {"id": "msg_1", "object": "thread.message", "thread_id": "thread_1", "role": "assistant"}
    content = [{"index": 0, "type": "text", "text": {"value": "".join(pieces), "annotations": []}}]
    events: list[tuple[str, Payload]] = [
        ("thread.run.created", {**run, "status": "queued"}),
        ("thread.run.in_progress", {**run, "status": "in_progress"}),
        ("thread.message.created", {**said, "status": "in_progress", "content": []}),
        *(("thread.message.delta", assistant_delta(piece)) for piece in pieces),
        ("thread.message.completed", {**said, "status": "completed", "content": content}),
        ("thread.run.completed", {**run, "status": "completed"}),
    ]
    return b"".join(sse(payload, event=name) for name, payload in events) + b"event: done\n" + DONE


def assistant_delta(piece: str) -> Payload:
    """The payload of one `thread.message.delta`."""
    content = [{"index": 0, "type": "text", "text": {"value": piece}}]
    return {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": content}}


# --- the sessions of agents


def turn(*pieces: str, id: str = "turn_1", end: str = "completed") -> list[Payload]:
    """The events of one turn of a session that thinks and says something, from an idle session to an idle one."""
    about = {"session_id": "asess_1", "turn_id": id}
    state = {"id": id, "object": "agent.session.turn", "session_id": "asess_1", "agent_id": "agent_1", "created_at": 1}
    session = {"id": "asess_1", "object": "agent.session", "status": "idle", "created_at": 1}
    thought, said = f"rs_{id}", f"msg_{id}"
    message: Payload = {"id": said, "type": "message", "role": "assistant", "turn_id": id, "content": []}
    part: Payload = {"type": "output_text", "text": ""}
    at_0, at_1 = {"item_id": thought, "output_index": 0}, {"item_id": said, "output_index": 1}
    summary, content = {**at_0, "summary_index": 0}, {**at_1, "content_index": 0}
    whole = {**part, "text": "".join(pieces)}
    events: list[tuple[str, Payload]] = [
        ("created", {"turn": {**state, "status": "queued"}}),
        ("in_progress", {"turn": {**state, "status": "in_progress"}}),
        ("reasoning_summary_part.added", {**summary, "part": {"type": "summary_text", "text": ""}}),
        ("reasoning_summary_text.delta", {**summary, "delta": "Hm."}),
        ("reasoning_summary_text.done", {**summary, "text": "Hm."}),
        ("item.added", {"output_index": 1, "item": {**message, "status": "in_progress"}}),
        ("content_part.added", {**content, "part": part}),
        *(("output_text.delta", {**content, "delta": piece}) for piece in pieces),
        ("output_text.done", {**content, "text": whole["text"]}),
        ("content_part.done", {**content, "part": whole}),
        ("item.done", {"output_index": 1, "item": {**message, "status": "completed", "content": [whole]}}),
        (end, {"turn": {**state, "status": end}}),
    ]
    of_turn = [{"type": f"agent.session.turn.{name}", **about, **more} for name, more in events]
    return identified([*of_turn, {"type": "agent.session.idle", "session": session}], id)


def identified(events: list[Payload], prefix: str = "event") -> list[Payload]:
    """The events of a session with an id for each."""
    return [{**event, "event_id": f"{prefix}_{number}"} for number, event in enumerate(events)]


# --- reads


def bytewise(wire: bytes) -> list[bytes]:
    """A byte a read: every split there is, one after the other."""
    return [wire[at : at + 1] for at in range(len(wire))]


def split(wire: bytes, seed: int | str, most: int = 40) -> list[bytes]:
    """Reads of random sizes up to `most`, the same for the same seed."""
    rng, reads, at = random.Random(seed), [], 0
    while at < len(wire):
        size = rng.randint(1, most)
        reads.append(wire[at : at + size])
        at += size
    return reads


# --- what comes out


class Delivered(NamedTuple):
    """An event as the SDK reads it: its name, and its JSON value, or its text where that is no JSON."""

    event: str | None
    value: Any


@dataclass(frozen=True)
class Seen:
    """What a watch handed on of a wire, and what it reported."""

    delivered: list[Delivered]
    events: list[Event]
    report: Report

    @property
    def payloads(self) -> list[Any]:
        """The JSON objects handed on."""
        return [each.value for each in self.delivered if isinstance(each.value, dict)]

    @property
    def faults(self) -> set[str]:
        """The names of the kinds of severity `fault`."""
        return {kind.name for kind in self.report.anomalies if kind.severity is Severity.FAULT}

    @property
    def repaired(self) -> set[str]:
        """The names of the kinds of which at least one was repaired."""
        good = {Outcome.VERIFIED, Outcome.UNVERIFIED}
        return {kind.name for kind, outcomes in self.report.outcomes.items() if good & outcomes.keys()}

    def outcome(self, kind: AnomalyKind) -> set[Outcome]:
        """How the anomalies of a kind ended."""
        return set(self.report.outcomes.get(kind, {}))

    def comparable(self) -> tuple[list[Delivered], Report]:
        """All that must be the same however the wire was cut."""
        return self.delivered, replace(self.report, serial=0)


def sdk_value(event: Event) -> Any:
    """What the SDK gets from `event.json()`, or the text where it raises or stops."""
    if event.data.startswith("[DONE]"):
        return "[DONE]"
    if event.shared and event.payload is not None:
        return event.payload
    try:
        return json.loads(event.data)
    except ValueError:
        return event.data


def reference(wire: bytes) -> list[Event]:
    """The events of a whole body, read line by line as the SDK's own decoder does; raises where it raises."""
    events: list[Event] = []
    name, data, retry, last_id = "", list[str](), None, ""
    *lines, torn = re.split(rb"\r\n|\n|\r", wire)
    for line in [raw.decode() for raw in lines]:
        member, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if name or data or last_id or retry is not None:
                text = "\n".join(data)
                events.append(Event(text, text.encode(), name or None, last_id or None, retry))
            name, data, retry = "", [], None
        elif member == "event":
            name = value
        elif member == "data":
            data.append(value)
        elif member == "id" and "\0" not in value:
            last_id = value
        elif member == "retry":
            with contextlib.suppress(ValueError):
                retry = int(value)
    torn.decode()
    return events


def settings(repair: str = "default", **bounds: Any) -> Settings:
    """Settings with a policy."""
    return Settings(repair=Policy(repair), **bounds)


def watch(
    api: str,
    wire: bytes | Sequence[bytes],
    repair: str = "default",
    *,
    request: Request | None = None,
    loads: Callable[[bytes], Any] = json.loads,
    error: BaseException | None = None,
    **bounds: Any,
) -> Seen:
    """Put a wire, or its reads, through a watch. Its clock stands still, so no wait ever runs out."""
    stream = StreamWatch(api, request, settings(repair, **bounds), loads=loads, clock=lambda: 0.0)
    events: list[Event] = []
    for data in [wire] if isinstance(wire, bytes) else wire:
        stream.receive(data)
        events.extend(stream.ready)
        stream.ready.clear()
    stream.close(error)
    events.extend(stream.ready)
    delivered = [Delivered(event.event, sdk_value(event)) for event in events]
    return Seen(delivered, events, stream.report())


# --- what a consumer makes of it


class Call(NamedTuple):
    """A tool call as a consumer has it in the end."""

    id: str
    name: str
    arguments: str


@dataclass
class Said:
    """What a consumer has in the end of one choice, or of one item of a response."""

    text: str = ""
    finish: str | None = "stop"
    calls: list[Call] = field(default_factory=list)
    role: str | None = "assistant"


@dataclass
class Answer:
    """What a consumer has in the end, and the exception that it met, if any."""

    said: dict[int, Said] = field(default_factory=dict)
    raised: str = ""


#: The calls of a choice by their index on the wire: the pieces of id, name and arguments.
_Calls = dict[Any, list[str]]


def read(api: str, delivered: Iterable[Delivered]) -> Answer:
    """Read events as the SDK and its accumulating helpers do: up to [DONE] or an exception."""
    feed = _FEEDS.get(api, _feed)
    answer, calls = Answer(), dict[Any, _Calls]()
    for event, value in delivered:
        if value == "[DONE]":
            break
        if not isinstance(value, dict):
            answer.raised = "JSONDecodeError" if isinstance(value, str) else "TypeError"
            break
        if api != "agents" and (value.get("error") or value.get("type") == "error"):  # a value to read, there
            answer.raised = "APIError"
            break
        feed(answer, calls, value, event)
        if answer.raised:
            break
    for index, by_index in calls.items():
        # A helper keeps the calls in a list: any other indexes make it raise, or mix them up.
        if list(by_index) != list(range(len(by_index))):
            answer.raised = answer.raised or f"IndexError: tool call indexes {list(by_index)}"
        answer.said[index].calls = [Call(*parts) for parts in by_index.values()]
    return answer


def _feed(answer: Answer, calls: dict[Any, _Calls], value: Payload, event: str | None) -> None:
    choices = value.get("choices")
    if choices is None:
        answer.raised = "TypeError"  # 'NoneType' object is not iterable
    for choice in choices or ():
        said = answer.said.setdefault(choice["index"], Said(finish=None, role=None))
        delta = choice["delta"]
        said.finish = choice.get("finish_reason") or said.finish
        said.role = (said.role or "") + (delta.get("role") or "") or None
        said.text += delta.get("content") or ""
        for fragment in delta.get("tool_calls") or ():
            call = calls.setdefault(choice["index"], {}).setdefault(fragment.get("index"), ["", "", ""])
            function = fragment.get("function") or {}
            for part, piece in enumerate((fragment.get("id"), function.get("name"), function.get("arguments"))):
                call[part] += piece or ""


def _feed_completion(answer: Answer, calls: dict[Any, _Calls], value: Payload, event: str | None) -> None:
    for choice in value["choices"]:
        said = answer.said.setdefault(choice["index"], Said(finish=None, role=None))
        said.text += choice["text"]
        said.finish = choice["finish_reason"] or said.finish


def _feed_response(answer: Answer, calls: dict[Any, _Calls], value: Payload, event: str | None) -> None:
    if "type" not in value:
        answer.raised = "KeyError"
        return
    type_, index = value["type"], int(value.get("output_index", -1))
    if type_ == "response.output_item.added":
        item = value["item"]
        answer.said[index] = Said(finish=None, role=item.get("role"))
        if item["type"] == "function_call":
            calls[index] = {0: [item["call_id"], item["name"], ""]}
    elif type_ == "response.output_text.delta":
        answer.said.setdefault(index, Said(finish=None)).text += value["delta"]  # a resumed stream has no item
    elif type_ == "response.function_call_arguments.delta":
        calls[index][0][2] += value["delta"]
    elif type_ in ("response.completed", "response.incomplete", "response.failed"):
        for said in answer.said.values():
            said.finish = value["response"]["status"]


def _feed_run(answer: Answer, calls: dict[Any, _Calls], value: Payload, event: str | None) -> None:
    said = answer.said.setdefault(0, Said(finish=None))
    if event == "thread.message.delta":
        said.text += "".join(part["text"]["value"] for part in value["delta"]["content"])
    elif event and event.startswith("thread.run."):
        said.finish = value["status"]


def _feed_session(answer: Answer, calls: dict[Any, _Calls], value: Payload, event: str | None) -> None:
    said = answer.said.setdefault(0, Said(finish=None))
    if value["type"] == "agent.session.turn.output_text.delta":
        said.text += value["delta"]
    elif "turn" in value:
        said.finish = value["turn"]["status"]


_FEEDS: dict[str, Callable[[Answer, dict[Any, _Calls], Payload, str | None], None]] = {
    "responses": _feed_response,
    "assistants": _feed_run,
    "agents": _feed_session,
    "completions": _feed_completion,
}
