"""Healthy streams of the Responses API: every kind of item, one after the other or several at once, resumed or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from .generated_chat import pieces, words
from .wire import Event, Payload, Stream

_TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}, "strict": True}
    for name in ("get_weather", "get_time")
]
_KINDS = (
    *("message", "message", "message", "message", "two parts", "refusal", "reasoning", "reasoning text", "summary"),
    *("function", "function", "function", "custom", "mcp", "web search", "code", "image", "compaction"),
)


def responses(seed: int) -> Stream:
    """Return a healthy stream of a response."""
    rng = Random(f"responses {seed}")
    kinds = [rng.choice(_KINDS) for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
    if rng.random() < 0.6 and "message" not in kinds:
        kinds.append("message")
    built = [_Item(rng, kind, place).built() for place, kind in enumerate(kinds)]
    head = _head(rng)
    background = rng.random() < 0.1
    events: list[Payload] = [
        {"type": "response.created", "response": head | {"status": "queued" if background else "in_progress"}}
    ]
    events += [{"type": "response.queued", "response": head | {"status": "queued"}}] if background else []
    events.append({"type": "response.in_progress", "response": head})
    events += _in_turn(rng, [own for own, _ in built], together=rng.random() < 0.3)
    status = "incomplete" if rng.random() < 0.08 else "completed"
    last = head | {"status": status, "output": [item for _, item in built], "usage": _usage(len(events))}
    last |= {"incomplete_details": {"reason": "max_output_tokens"}} if status == "incomplete" else {}
    events.append({"type": f"response.{status}", "response": last})
    numbered = [event | {"sequence_number": number} for number, event in enumerate(events)]
    request: Payload = {"model": head["model"]}
    request |= {"tools": _TOOLS} if "function" in kinds else {}
    name = f"responses-{seed}-{'+'.join(kinds)}".replace(" ", "-")
    if rng.random() < 0.1:
        after = rng.randrange(2, len(numbered) - 1)
        numbered, name = numbered[after + 1 :], f"{name}-resumed"
        request |= {"response_id": head["id"], "starting_after": after}
    return Stream(
        name, "responses", tuple(Event(e, e["type"], tag=str(e["sequence_number"])) for e in numbered), request
    )


def _head(rng: Random) -> Payload:
    head = {
        "id": f"resp_{rng.randrange(1 << 40):x}",
        "object": "response",
        "created_at": 1780000000,
        "status": "in_progress",
    }
    head |= {
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "gpt-4o-2024-08-06",
        "output": [],
    }
    return head | {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None, "metadata": {}}


def _usage(count: int) -> Payload:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": 9, "output_tokens": count, "total_tokens": 9 + count, **details}


def _in_turn(rng: Random, items: list[list[Payload]], *, together: bool) -> Iterator[Payload]:
    """Return the events of all items: one item after the other, or several that are open at once."""
    if not together:
        for item in items:
            yield from item
        return
    opened: list[list[Payload]] = []
    waiting = list(items)
    while waiting or opened:
        if waiting and (not opened or rng.random() < 0.3):  # items open in order
            opened.append(waiting.pop(0))
            yield opened[-1].pop(0)
        else:
            item = rng.choice(opened)
            yield item.pop(0)
        opened = [item for item in opened if item]


class _Item:
    """One item of the output: its events, and the item when it is done."""

    def __init__(self, rng: Random, kind: str, place: int) -> None:
        self.rng, self.kind, self.place = rng, kind, place
        prefix = {"function": "fc", "custom": "ctc", "mcp": "mcp", "web search": "ws", "code": "ci", "image": "ig"}
        self.id = f"{prefix.get(kind, 'msg' if kind in ('message', 'two parts', 'refusal') else 'rs')}_{rng.randrange(1 << 40):x}"
        self.events: list[Payload] = []

    def say(self, type: str, **members: Any) -> None:
        """Add an event about the item."""
        self.events.append({"type": f"response.{type}", "item_id": self.id, "output_index": self.place, **members})

    def built(self) -> tuple[list[Payload], Payload]:
        """Return the events, and the item."""
        begun, build = _BUILDERS[self.kind](self)
        self.events.append(
            {"type": "response.output_item.added", "output_index": self.place, "item": {"id": self.id, **begun}}
        )
        item = {"id": self.id, **begun, **build()}
        self.events.append({"type": "response.output_item.done", "output_index": self.place, "item": item})
        return self.events, item

    def stream(self, type: str, texts: list[str], member: str = "delta", **at: Any) -> str:
        """Add a delta for each text, and the text as a whole."""
        for text in texts:
            extra = {"obfuscation": "x" * self.rng.randint(1, 5)} if self.rng.random() < 0.2 else {}
            self.say(f"{type}.delta", **at, **{member: text}, **extra)
        return "".join(texts)

    # --- the kinds; each returns the item when it begins, and what makes the rest of it

    def message(self, parts: int = 1) -> tuple[Payload, Callable[[], Payload]]:
        """A message of text."""

        def build() -> Payload:
            return {"status": "completed", "content": [self.text_part(place) for place in range(parts)]}

        return {"type": "message", "role": "assistant", "status": "in_progress", "content": []}, build

    def text_part(self, place: int) -> Payload:
        """A part of text, with its events."""
        empty: Payload = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        self.say("content_part.added", content_index=place, part=empty)
        text = self.stream("output_text", words(self.rng, self.rng.randint(1, 9)), content_index=place, logprobs=[])
        part = empty | {"text": text}
        if self.rng.random() < 0.2:
            note = {
                "type": "url_citation",
                "url": "https://example.org",
                "title": "t",
                "start_index": 0,
                "end_index": 1,
            }
            self.say("output_text.annotation.added", content_index=place, annotation_index=0, annotation=note)
            part["annotations"] = [note]
        self.say("output_text.done", content_index=place, text=text, logprobs=[])
        self.say("content_part.done", content_index=place, part=part)
        return part

    def refusal(self) -> tuple[Payload, Callable[[], Payload]]:
        """A message that refuses."""

        def build() -> Payload:
            self.say("content_part.added", content_index=0, part={"type": "refusal", "refusal": ""})
            part = {"type": "refusal", "refusal": self.stream("refusal", words(self.rng, 3), content_index=0)}
            self.say("refusal.done", content_index=0, refusal=part["refusal"])
            self.say("content_part.done", content_index=0, part=part)
            return {"status": "completed", "content": [part]}

        return {"type": "message", "role": "assistant", "status": "in_progress", "content": []}, build

    def reasoning(self) -> tuple[Payload, Callable[[], Payload]]:
        """Reasoning that is kept back."""
        begun = {"type": "reasoning", "summary": [], "encrypted_content": f"gAAAA{self.id}"}
        return begun, lambda: {"status": "completed"} if self.rng.random() < 0.5 else {}

    def reasoning_text(self) -> tuple[Payload, Callable[[], Payload]]:
        """Reasoning in the open, as vLLM and gpt-oss send it: with parts or without."""

        def build() -> Payload:
            parts = self.rng.random() < 0.5
            if parts:
                self.say("content_part.added", content_index=0, part={"type": "reasoning_text", "text": ""})
            part = {
                "type": "reasoning_text",
                "text": self.stream("reasoning_text", words(self.rng, 5), content_index=0),
            }
            self.say("reasoning_text.done", content_index=0, text=part["text"])
            if parts:
                self.say("content_part.done", content_index=0, part=part)
            return {"status": "completed", "content": [part]}

        return {"type": "reasoning", "summary": [], "status": "in_progress"}, build

    def summary(self) -> tuple[Payload, Callable[[], Payload]]:
        """Reasoning that is summed up."""

        def build() -> Payload:
            parts = []
            for place in range(self.rng.choice((1, 1, 2))):
                self.say("reasoning_summary_part.added", summary_index=place, part={"type": "summary_text", "text": ""})
                text = self.stream("reasoning_summary_text", words(self.rng, 4), summary_index=place)
                parts.append({"type": "summary_text", "text": text})
                self.say("reasoning_summary_text.done", summary_index=place, text=text)
                self.say("reasoning_summary_part.done", summary_index=place, part=parts[-1])
            return {"summary": parts}

        return {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA1"}, build

    def function(self) -> tuple[Payload, Callable[[], Payload]]:
        """A call of a function."""
        text = json.dumps(self.rng.choice(({"city": "Lisbon"}, {"zone": "UTC", "days": [1, 2]}, {})))

        def build() -> Payload:
            self.stream("function_call_arguments", pieces(self.rng, text))
            self.say("function_call_arguments.done", arguments=text, name=begun["name"])
            return {"status": "completed", "arguments": text}

        begun = {"type": "function_call", "status": "in_progress", "arguments": "", "call_id": f"call_{self.id}"}
        begun["name"] = self.rng.choice(("get_weather", "get_time"))
        return begun, build

    def custom(self) -> tuple[Payload, Callable[[], Payload]]:
        """A call of a custom tool."""
        text = "*** Begin Patch\n*** End Patch"

        def build() -> Payload:
            self.stream("custom_tool_call_input", pieces(self.rng, text))
            self.say("custom_tool_call_input.done", input=text)
            return {"status": "completed", "input": text}

        return {
            "type": "custom_tool_call",
            "status": "in_progress",
            "input": "",
            "call_id": f"call_{self.id}",
            "name": "patch",
        }, build

    def mcp(self) -> tuple[Payload, Callable[[], Payload]]:
        """A call of a tool of an MCP server."""
        text = json.dumps({"query": "fox"})

        def build() -> Payload:
            self.say("mcp_call.in_progress")
            self.stream("mcp_call_arguments", pieces(self.rng, text))
            self.say("mcp_call_arguments.done", arguments=text)
            self.say("mcp_call.completed")
            return {"status": "completed", "arguments": text, "output": "found", "error": None}

        begun = {"type": "mcp_call", "status": "in_progress", "arguments": "", "name": "search", "server_label": "s"}
        return begun | {"output": None, "error": None, "approval_request_id": None}, build

    def web_search(self) -> tuple[Payload, Callable[[], Payload]]:
        """A search of the web."""

        def build() -> Payload:
            for state in ("in_progress", "searching", "completed"):
                self.say(f"web_search_call.{state}")
            return {"status": "completed", "action": {"type": "search", "query": "fox"}}

        return {"type": "web_search_call", "status": "in_progress"}, build

    def code(self) -> tuple[Payload, Callable[[], Payload]]:
        """Code that is run."""

        def build() -> Payload:
            self.say("code_interpreter_call.in_progress")
            code = self.stream("code_interpreter_call_code", ["print(", "1)", "\n"])
            self.say("code_interpreter_call_code.done", code=code)
            self.say("code_interpreter_call.interpreting")
            self.say("code_interpreter_call.completed")
            return {"status": "completed", "code": code}

        return {
            "type": "code_interpreter_call",
            "status": "in_progress",
            "code": "",
            "container_id": "c_1",
            "outputs": None,
        }, build

    def image(self) -> tuple[Payload, Callable[[], Payload]]:
        """An image, with previews."""

        def build() -> Payload:
            self.say("image_generation_call.in_progress")
            self.say("image_generation_call.generating")
            self.say("image_generation_call.partial_image", partial_image_index=0, partial_image_b64="AAAA")
            return {"status": "completed", "result": "AAAA"}

        return {"type": "image_generation_call", "status": "in_progress", "result": None}, build

    def compaction(self) -> tuple[Payload, Callable[[], Payload]]:
        """The conversation so far, compacted."""
        return {"type": "compaction", "encrypted_content": f"gAAAA{self.id}"}, dict


_BUILDERS: dict[str, Callable[[_Item], tuple[Payload, Callable[[], Payload]]]] = {
    "message": _Item.message,
    "two parts": lambda item: item.message(2),
    "refusal": _Item.refusal,
    "reasoning": _Item.reasoning,
    "reasoning text": _Item.reasoning_text,
    "summary": _Item.summary,
    "function": _Item.function,
    "custom": _Item.custom,
    "mcp": _Item.mcp,
    "web search": _Item.web_search,
    "code": _Item.code,
    "image": _Item.image,
    "compaction": _Item.compaction,
}
