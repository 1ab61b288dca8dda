"""Healthy chat completions and legacy completions, as OpenAI and the big compatible servers send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from .wire import DONE, Event, Payload, Stream

_WORDS = (
    *("Once", "upon", "a", "time", "in", "the", "old", "town", "by", "the", "river", "a", "fox", "lived", "alone"),
    *(
        "and",
        "every",
        "day",
        "it",
        "ran",
        "home",
        "over",
        "seven",
        "hills",
        "Straße",
        "日本",
        "\n\n",
        "the",
        "the",
        "{}",
    ),
)
#: Texts that have all of these words; the others go on and on in two, so that many deltas say the same.
_MANY_WORDS = 0.8
CUSTOM_TOOL = {"type": "custom", "custom": {"name": "patch"}}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time", "search")
]
_ARGUMENTS: tuple[Payload, ...] = (
    *(
        {"city": "Lisbon"},
        {"city": "Porto", "unit": "celsius", "days": [1, 2]},
        {"zone": "UTC"},
        {},
        {"query": 'a {b} "c"'},
    ),
    *({"city": "Lisbon"}, {"nested": {"deep": [{"x": None}, True]}}),
)
#: Everything a chat completion can say, and how often it does among the generated ones.
_SAYS = (
    *("text", "text", "text", "calls", "calls", "calls", "calls", "text and calls", "text and calls"),
    *("custom", "function_call", "reasoning", "reasoning calls", "refusal", "audio", "logprobs", "long"),
)


def chat(seed: int) -> Stream:
    """Return a healthy chat completion."""
    return _Chat(Random(f"chat {seed}")).stream(f"chat-{seed}")


def words(rng: Random, count: int) -> list[str]:
    """Return `count` deltas of prose, which join to it."""
    known = _WORDS if rng.random() < _MANY_WORDS else rng.sample(_WORDS, 2)
    return [("" if place == 0 else " ") + rng.choice(known) for place in range(count)]


def pieces(rng: Random, text: str) -> list[str]:
    """Return a text in pieces, as tokens come."""
    found, start = [], 0
    while start < len(text):
        end = start + rng.randint(1, 9)
        found.append(text[start:end])
        start = end
    return found


class _Chat:
    """One healthy chat completion, and the habits of the server that sends it."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.says = rng.choice(_SAYS)
        self.n = rng.choice((1, 1, 1, 1, 2, 3)) if self.says in ("text", "calls", "reasoning") else 1
        self.is_asked = rng.random() < 0.7  # by the program, and not by a gateway, how many choices it wants
        self.in_order = rng.random() < 0.3  # one choice after the other
        self.has_own_ids = rng.random() < 0.2  # each choice was asked for by a request of its own
        self.usage = rng.random() < 0.5
        self.first = rng.choice(
            ({"content": ""}, {"content": ""}, {"content": None}, {}, {"content": "", "refusal": None})
        )
        self.nulls = rng.random() < 0.3  # what has nothing to say says null
        self.head: Payload = {"id": f"chatcmpl-{rng.randrange(1 << 40):x}", "object": "chat.completion.chunk"}
        self.head |= {"created": 1780000000, "model": rng.choice(("gpt-4o-2024-08-06", "gpt-4o", "qwen-plus"))}
        if rng.random() < 0.5:
            self.head |= {"service_tier": "default", "system_fingerprint": "fp_1"}

    def stream(self, name: str) -> Stream:
        """Return the stream."""
        choices = [list(self.choice(index)) for index in range(self.n)]
        chunks = self.in_turn(choices)
        if self.usage:
            chunks = [{**chunk, "usage": None} for chunk in chunks]
            chunks.append({**self.head, "choices": [], "usage": self.tokens(len(chunks))})
        events = [Event(chunk, tag=str(place)) for place, chunk in enumerate(chunks)]
        request: Payload = {"model": self.head["model"]}
        request |= {"n": self.n} if self.n > 1 and self.is_asked else {}
        request |= {"stream_options": {"include_usage": True}} if self.usage else {}
        request |= {"logprobs": True} if self.says == "logprobs" else {}
        request |= {"tools": [CUSTOM_TOOL] if self.says == "custom" else TOOLS} if self.has_calls else {}
        return Stream(f"{name}-{self.says.replace(' ', '-')}", "chat", (*events, Event(DONE, tag="done")), request)

    @property
    def has_calls(self) -> bool:
        """Whether tools were declared."""
        return "calls" in self.says or self.says == "custom"

    def in_turn(self, choices: list[list[Payload]]) -> list[Payload]:
        """Return the chunks of all choices: one after the other, or as a server that computes all at once sends them."""
        if self.in_order:
            return [chunk for choice in choices for chunk in choice]
        chunks = [choice.pop(0) for choice in choices]
        while any(choices):
            chunks.append(self.rng.choice([choice for choice in choices if choice]).pop(0))
        return chunks

    def chunk(self, index: int, delta: Payload, finish: str | None = None, **more: Any) -> Payload:
        """Return a chunk of one choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        own = {"id": f"{self.head['id']}-{index}"} if self.has_own_ids else {}
        return {**self.head, **own, "choices": [choice]}

    def choice(self, index: int) -> Iterator[Payload]:
        """Return the chunks of one choice."""
        rng, says = self.rng, self.says
        if says == "audio":
            yield from self.audio(index)
            return
        yield self.chunk(index, {"role": "assistant", **self.first})
        if "reasoning" in says:
            member = rng.choice(("reasoning_content", "reasoning"))
            for word in words(rng, rng.randint(2, 6)):
                yield self.chunk(index, {**({"content": None} if self.nulls else {}), member: word})
        if says == "refusal":
            for word in words(rng, 4):
                yield self.chunk(index, {"refusal": word})
        elif says not in ("calls", "custom", "function_call", "reasoning calls"):
            for word in words(rng, rng.randint(70, 90) if says == "long" else rng.randint(2, 12)):
                yield self.chunk(index, {"content": word}, **(self.logprobs(word) if says == "logprobs" else {}))
        yield from self.calls(index)
        finish = {"function_call": "function_call"}.get(says, "tool_calls" if self.has_calls else "stop")
        yield self.chunk(index, {}, finish)

    def logprobs(self, word: str) -> Payload:
        """Return the log probabilities of a token."""
        token = {"token": word, "logprob": -0.25, "bytes": list(word.encode()), "top_logprobs": []}
        return {"logprobs": {"content": [token], "refusal": None}}

    def calls(self, index: int) -> Iterator[Payload]:
        """Return the chunks of the calls that a choice makes."""
        rng = self.rng
        if self.says == "function_call":
            yield self.chunk(index, {"function_call": {"name": "get_weather", "arguments": ""}})
            for piece in pieces(rng, json.dumps(rng.choice(_ARGUMENTS))):
                yield self.chunk(index, {"function_call": {"arguments": piece}})
        for place in range(rng.choice((1, 1, 2, 2, 3)) if self.has_calls else 0):
            yield from self.call(index, place)

    def call(self, index: int, place: int) -> Iterator[Payload]:
        """Return the chunks of one call."""
        rng, kind = self.rng, "custom" if self.says == "custom" else "function"
        member, text = "arguments", json.dumps(rng.choice(_ARGUMENTS))
        if kind == "custom":
            member, text = "input", "*** Begin Patch\n*** End Patch"
        name = "patch" if kind == "custom" else rng.choice(TOOLS)["function"]["name"]  # type: ignore[index]
        id = f"call_{rng.randrange(1 << 32):x}"
        whole = rng.random() < 0.25
        header = {"index": place, "id": id, "type": kind, kind: {"name": name, member: text if whole else ""}}
        extra = {"content": None} if self.nulls else {}
        yield self.chunk(index, {**extra, "tool_calls": [header]})
        for piece in [] if whole else pieces(rng, text):
            yield self.chunk(index, {**extra, "tool_calls": [{"index": place, kind: {member: piece}}]})

    def audio(self, index: int) -> Iterator[Payload]:
        """Return the chunks of a spoken answer, which gets no finish_reason."""
        yield self.chunk(index, {"role": "assistant", "audio": {"id": "audio_1", "transcript": "Hel"}})
        yield self.chunk(index, {"audio": {"transcript": "lo"}})
        yield self.chunk(index, {"audio": {"data": "UklGRg=="}})
        yield self.chunk(index, {"audio": {"data": "AAAA"}})
        yield self.chunk(index, {"audio": {"expires_at": 1780000600}})

    def tokens(self, completion: int) -> Payload:
        """Return the usage."""
        details = {"completion_tokens_details": {"reasoning_tokens": 0}} if self.rng.random() < 0.5 else {}
        return {"prompt_tokens": 11, "completion_tokens": completion, "total_tokens": 11 + completion, **details}


def completions(seed: int) -> Stream:
    """Return a healthy legacy completion: one prompt or a list, n of each, in turn or one after the other."""
    rng = Random(f"completions {seed}")
    n, prompts = rng.choice((1, 1, 2)), rng.choice((0, 0, 2, 3))
    head = {"id": f"cmpl-{rng.randrange(1 << 40):x}", "object": "text_completion", "created": 1780000000}
    head["model"] = "gpt-3.5-turbo-instruct"
    queues = [_completion(head, rng, index) for index in range(n * max(prompts, 1))]
    chunks = []
    interleaved = rng.random() < 0.6
    while any(queues):
        waiting = [queue for queue in queues if queue]
        chunks.append((rng.choice(waiting) if interleaved else waiting[0]).pop(0))
    if rng.random() < 0.4:
        usage = {"prompt_tokens": 5, "completion_tokens": len(chunks), "total_tokens": 5 + len(chunks)}
        chunks.append({**head, "choices": [], "usage": usage})
    request: Payload = {"model": "gpt-3.5-turbo-instruct"}
    request |= {"prompt": ["Say it", "Sing it", "Shout it"][:prompts]} if prompts else {"prompt": "Say it"}
    request |= {"n": n} if n > 1 else {}
    events = [Event(chunk, tag=str(place)) for place, chunk in enumerate(chunks)]
    return Stream(f"completions-{seed}", "completions", (*events, Event(DONE, tag="done")), request)


def _completion(head: Payload, rng: Random, index: int) -> list[Payload]:
    texts, end = words(rng, rng.randint(1, 6)), rng.choice(("stop", "stop", "length"))
    ends = [None] * len(texts) if rng.random() < 0.5 else [*[None] * (len(texts) - 1), end]
    if ends[-1] is None:
        texts, ends = [*texts, ""], [*ends, end]
    return [
        {**head, "choices": [{"text": text, "index": index, "logprobs": None, "finish_reason": finish}]}
        for text, finish in zip(texts, ends)
    ]
