"""The streams that instrumentations choke on, or store wrongly, and what each says when it is read right.

The first group is what at least one of them raises on where the plain SDK reads on; the second is what one of
them stores as another answer than was given. Each has its controls.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from helpers import sdk

PIECES = ("Hello", " brave", " new", " world")
TEXT = "".join(PIECES)
CALLS = (("call_paris", "get_weather", {"city": "Paris"}), ("call_zone", "get_time", {"zone": "Europe/Oslo"}))
HEALTHY, RAISES, STORED = "healthy", "raises", "stored"


@dataclass
class Said:
    """What a stream says: nothing, where no right answer is known."""

    text: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def strings(self) -> list[str]:
        """What whoever stores the answer has to have, exactly: names, ids and arguments, or the text."""
        calls = [part for id, name, arguments in self.calls for part in (id, name, json.dumps(arguments))]
        return [self.text, *calls] if self.text else calls


@dataclass
class Fault:
    """One stream."""

    name: str
    group: str
    api: str
    reads: list[bytes]
    said: Said = field(default_factory=Said)
    more: dict[str, Any] = field(default_factory=dict)  #: arguments of the request


def answer(*texts: str) -> list[dict[str, Any]]:
    """A healthy response, with the usage that OpenAI always gives."""
    *events, end = sdk.responses(*texts)
    usage = {
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return [*events, {**end, "response": {**end["response"], "usage": usage}}]


def _chat(*extra: Any) -> list[bytes]:
    """A text, with payloads of another make in its middle."""
    chunks = sdk.chat(*PIECES)
    return sdk.frames([*chunks[:3], *extra, *chunks[3:]])


def _choice(**members: Any) -> dict[str, Any]:
    """A chunk that carries nothing, with these members of its choice; None takes one away."""
    made = sdk.chunk({"content": ""})
    for name, value in members.items():
        if value is Ellipsis:
            del made["choices"][0][name]
        else:
            made["choices"][0][name] = value
    return made


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in sdk.chunk({}).items() if key != name}


def calls(*indexes: Any, fragments: int = 2) -> list[dict[str, Any]]:
    """One chunk a header and one a fragment: a call for each index, under that index; Ellipsis is none at all."""
    chunks = [sdk.chunk({"role": "assistant", "content": None})]
    for index, (id, name, arguments) in zip(indexes, CALLS):
        at = {} if index is Ellipsis else {"index": index}
        text = json.dumps(arguments)
        head = {**at, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        if fragments == 0:
            head["function"]["arguments"] = text
        chunks.append(sdk.chunk({"tool_calls": [head]}))
        step = -(-len(text) // fragments) if fragments else 1
        for start in range(0, len(text) if fragments else 0, step):
            fragment = {**at, "function": {"arguments": text[start : start + step]}}
            chunks.append(sdk.chunk({"tool_calls": [fragment]}))
    return [*chunks, sdk.chunk({}, "tool_calls")]


def _extra(*given: Any, at: int = 2) -> list[dict[str, Any]]:
    """One call, with more fragments in its middle."""
    chunks = calls(0)
    return [*chunks[:at], *(sdk.chunk({"tool_calls": [each]}) for each in given), *chunks[at:]]


def _repeated() -> list[dict[str, Any]]:
    """One call that says its id and name in each chunk."""
    chunks = copy.deepcopy(calls(0, fragments=3))
    for chunk in chunks[2:-1]:
        call = chunk["choices"][0]["delta"]["tool_calls"][0]
        call.update(id=CALLS[0][0], type="function", function={"name": CALLS[0][1], **call["function"]})
    return chunks


def _backwards() -> list[dict[str, Any]]:
    """The call with index 1 before the one with index 0."""
    first, *mid, last = calls(0, 1)
    return [first, *mid[3:], *mid[:3], last]


def _object() -> list[dict[str, Any]]:
    """Arguments that are an object instead of text."""
    chunks = calls(0, fragments=0)
    chunks[1]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] = CALLS[0][2]
    return chunks


def _two_choices() -> list[dict[str, Any]]:
    """Two choices, of which the second one begins: quite legal."""
    chunks = sdk.chat(*PIECES)
    other = [copy.deepcopy(chunk) for chunk in chunks]
    for chunk in other:
        chunk["choices"][0]["index"] = 1
    return [chunk for pair in zip(other, chunks) for chunk in pair]


def _responses(**changed: Any) -> list[bytes]:
    """A response, with members of its last event changed."""
    events = answer(*PIECES)
    events[-1] = {**events[-1], **changed}
    return sdk.frames(events, done=False)


def _function_response(*, null: bool) -> list[bytes]:
    """A response that calls a function; `null`: with a delta that is null."""
    text = json.dumps(CALLS[0][2])
    at = {"item_id": "fc_1", "output_index": 0}
    item = {"id": "fc_1", "type": "function_call", "call_id": CALLS[0][0], "name": CALLS[0][1], "arguments": ""}
    whole = {**item, "arguments": text, "status": "completed"}
    begin, middle, *_, end = answer()
    delta = {"type": "response.function_call_arguments.delta", **at}
    deltas = [{**delta, "delta": text[:6]}, {**delta, "delta": text[6:]}]
    if null:
        deltas.insert(1, {**delta, "delta": None})
    events = [
        *(begin, middle),
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}},
        *deltas,
        {"type": "response.function_call_arguments.done", **at, "arguments": text, "name": CALLS[0][1]},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {**end, "response": {**end["response"], "output": [whole]}},
    ]
    return sdk.frames([{**event, "sequence_number": number} for number, event in enumerate(events)], done=False)


def _null_delta() -> list[bytes]:
    events = answer(*PIECES)
    events.insert(6, {**events[5], "delta": None})
    return sdk.frames([{**event, "sequence_number": n} for n, event in enumerate(events)], done=False)


def faults() -> Iterator[Fault]:
    """Every stream of the comparison."""
    text, one, two = Said(TEXT), Said(calls=[*CALLS[:1]]), Said(calls=[*CALLS])
    functions = [{"type": "function", "function": {"name": name, "parameters": {}}} for _, name, _ in CALLS]
    asks, silent = {"tools": functions}, Said()

    def chat(name: str, group: str, payloads: list[dict[str, Any]], said: Said, more: Any = None) -> Fault:
        return Fault(name, group, "chat", sdk.frames(payloads), said, more or {})

    yield Fault("text", HEALTHY, "chat", _chat(), text)
    yield chat("two calls", HEALTHY, calls(0, 1), two, asks)
    yield chat("two choices, the second one first", HEALTHY, _two_choices(), text, {"n": 2})
    if sdk.HAS_RESPONSES:
        yield Fault("Responses: text", HEALTHY, "responses", _responses(), text)
        yield Fault("Responses: a call", HEALTHY, "responses", _function_response(null=False), one)

    yield Fault("`content` is 42", RAISES, "chat", _chat(_choice(delta={"content": 42})), silent)
    yield Fault("`delta` is null", RAISES, "chat", _chat(_choice(delta=None)), text)
    yield Fault("`delta` is absent", RAISES, "chat", _chat(_choice(delta=...)), text)
    yield Fault("`choices` is absent", RAISES, "chat", _chat(_without("choices")), text)
    yield Fault("`choices` is null", RAISES, "chat", _chat({**sdk.chunk({}), "choices": None}), text)
    yield Fault("`choices` is [null]", RAISES, "chat", _chat({**sdk.chunk({}), "choices": [None]}), text)
    yield Fault("choice without `index`", RAISES, "chat", _chat(_choice(index=...)), text)
    yield Fault('choice `index` is "0"', RAISES, "chat", _chat(_choice(index="0")), text)
    yield Fault("an event is `null`", RAISES, "chat", _chat(None), text)
    yield Fault("an event is `123`", RAISES, "chat", _chat(123), text)
    yield Fault("empty body", RAISES, "chat", [], silent)
    yield chat("tool call without `index`", RAISES, calls(...), one, asks)
    yield chat("tool call `index` is null", RAISES, calls(None), one, asks)
    yield chat("tool call `index` starts at 1", RAISES, calls(1), one, asks)
    yield chat("tool call `index` is 5", RAISES, calls(5), one, asks)
    yield chat("tool call 1 before tool call 0", RAISES, _backwards(), two, asks)
    yield chat("fragment without `function`", RAISES, _extra({"index": 0}), one, asks)
    yield chat("`tool_calls` is [null]", RAISES, _extra(None), one, asks)
    yield chat("`arguments` is an object", RAISES, _object(), silent, asks)
    if sdk.HAS_RESPONSES:
        yield Fault("Responses: the last event has no response", RAISES, "responses", _responses(response=None))
        yield Fault("Responses: a delta is null", RAISES, "responses", _null_delta(), text)
        yield Fault("Responses: a call's delta is null", RAISES, "responses", _function_response(null=True), one)
        end = {**answer(*PIECES)[-1]["response"], "output": None}
        yield Fault("Responses: `output` is null", RAISES, "responses", _responses(response=end), text)

    yield chat("two calls, both `index` 0", STORED, calls(0, 0, fragments=0), two, asks)
    yield chat("two calls in pieces, both `index` 0", STORED, calls(0, 0), two, asks)
    yield chat("id and name in each fragment", STORED, _repeated(), one, asks)
    if sdk.HAS_RESPONSES:
        events = answer(*PIECES)
        yield Fault("Responses: out of order", STORED, "responses", _wire(sdk.disordered(events)), text)
        yield Fault("Responses: an event twice", STORED, "responses", _wire([*events[:6], *events[5:]]), text)


def _wire(events: list[dict[str, Any]]) -> list[bytes]:
    return sdk.frames(events, done=False)
