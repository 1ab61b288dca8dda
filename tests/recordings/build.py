"""Writes the recordings beside it: healthy streams, each with the habits of one server."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from helpers.stream_builders import (
    DONE,
    Payload,
    answered,
    assistant_delta,
    bare,
    begin,
    body,
    chunk,
    completion,
    fragment,
    function_call,
    message,
    named,
    numbered,
    reasoning,
    response,
    run,
    said,
    sse,
    texts,
    tool_call,
    usage_chunk,
)
from streamwatch.core.report import Request

WORDS = ("The ", "harbour ", "is ", "quiet", ".")
PARIS, ROME = ('{"city"', ':"Paris"}'), ('{"city":', '"Rome"}')
APIS = {"chat": "chat", "cmpl": "completions", "resp": "responses", "asst": "assistants"}


@dataclass(frozen=True)
class Recording:
    """One body, and what is known of its request."""

    wire: bytes
    request: Request = field(default_factory=Request)


def each(chunks: Iterable[Payload], **members: Any) -> list[Payload]:
    """Chunks with further members at the top."""
    return [{**chunk, **members} for chunk in chunks]


def choices(chunks: Iterable[Payload], **members: Any) -> list[Payload]:
    """Chunks with further members in their choices; ... takes one away."""
    return [
        {
            **chunk,
            "choices": [
                {key: value for key, value in {**choice, **members}.items() if value is not ...}
                for choice in chunk["choices"]
            ],
        }
        for chunk in chunks
    ]


def deltas(chunks: Iterable[Payload], **members: Any) -> list[Payload]:
    """Chunks with further members in their deltas."""
    return [
        {**chunk, "choices": [{**choice, "delta": {**choice["delta"], **members}} for choice in chunk["choices"]]}
        for chunk in chunks
    ]


def ticking(chunks: Iterable[Payload]) -> list[Payload]:
    """Chunks whose `created` goes with the clock."""
    return [{**chunk, "created": 1700000000 + at} for at, chunk in enumerate(chunks)]


def dropped(chunk: Payload, *names: str) -> Payload:
    """A chunk without some of its members."""
    return {name: value for name, value in chunk.items() if name not in names}


def calls(*fragments: Payload) -> list[Payload]:
    """A chunk for each fragment."""
    return [chunk({"tool_calls": [fragment]}) for fragment in fragments]


def usage(total: int, **more: Any) -> Payload:
    """What `usage` holds."""
    return {"prompt_tokens": total - 2, "completion_tokens": 2, "total_tokens": total, **more}


CALL_A, CALL_B = tool_call(0, "call_a", "weather", *PARIS), tool_call(1, "call_b", "weather", *ROME)
WHOLE_A = fragment(0, "".join(PARIS), id="call_a", name="weather")
WHOLE_B = fragment(1, "".join(ROME), id="call_b", name="weather")
SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def openai() -> Iterable[tuple[str, Recording]]:
    """api.openai.com, over the years."""
    first = chunk({"role": "assistant", "content": "", "refusal": None})
    modern = each([first, *texts(*WORDS), chunk({}, "stop")], service_tier="default", system_fingerprint="fp_1")
    padded = [{**each, "usage": None, "obfuscation": "x" * (at % 7)} for at, each in enumerate(modern)]
    yield "chat-openai-text", Recording(body([*padded, {**usage_chunk(), "obfuscation": ""}]))
    yield "chat-openai-of-2023", Recording(body(said(*WORDS)))
    null = chunk({"role": "assistant", "content": None})
    yield "chat-openai-parallel-tool-calls", Recording(body([null, *calls(*CALL_A, *CALL_B), chunk({}, "tool_calls")]))
    # "stop" and not "tool_calls" when tool_choice names a function.
    forced = Request(names_tool=True, tools=frozenset({"weather"}))
    yield "chat-openai-forced-tool", Recording(body([null, *calls(*CALL_A), chunk({}, "stop")]), forced)
    two = [begin(0), *texts("a"), begin(1), *texts("b", index=1), *texts("c"), chunk({}, "stop", index=1)]
    yield "chat-openai-two-choices", Recording(body([*two, chunk({}, "length")]), Request(n=2))
    refused = [chunk({"role": "assistant", "content": None, "refusal": ""}), chunk({"refusal": "I can't."})]
    yield "chat-openai-refusal", Recording(body([*refused, chunk({}, "stop")]))
    sound = [chunk({"audio": {"id": "audio_1", "data": "AAAA"}}), dropped(bare(), "choices"), usage_chunk()]
    end = chunk({"audio": {"expires_at": 1700003600}})
    yield "chat-openai-audio", Recording(body([chunk({"role": "assistant", "content": None}), *sound, end]))
    logged = choices(said(*WORDS), logprobs={"content": [], "refusal": None})
    yield "chat-openai-logprobs", Recording(body(logged))
    yield "cmpl-openai", Recording(body([*map(completion, WORDS), completion("", "length"), completion("", "length")]))


def gateways() -> Iterable[tuple[str, Recording]]:
    """Servers that stand before others."""
    filtered = bare(id="", object="", created=0, model="", prompt_filter_results=[{"prompt_index": 0, **SAFE}])
    checked = choices(said(*WORDS), content_filter_results=SAFE)
    yield "chat-azure", Recording(body([filtered, *checked, usage_chunk()]))
    offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 60}
    note = choices([chunk()], delta=..., content_filter_offsets=offsets, content_filter_results=SAFE)
    yield (
        "chat-azure-asynchronous-filter",
        Recording(body([*said(*WORDS), *each(note, id="", object="", model="", created=0)])),
    )
    copilot = [
        dropped(filtered, "object"),
        *each(checked, system_fingerprint="fp_1", copilot_usage={"total_nano_aiu": 0}),
    ]
    yield "chat-copilot", Recording(body([dropped(each, "object") for each in copilot]))
    routed = each(
        choices(deltas(said(*WORDS), role="assistant", content=""), native_finish_reason=None), provider="OpenAI"
    )
    for each_, word in zip(routed[1:], WORDS, strict=False):
        each_["choices"][0]["delta"]["content"] = word
    last = {**routed[-1], "usage": usage(20, cost=0.1, is_byok=False)}
    ping = b": OPENROUTER PROCESSING\n\n"
    yield "chat-openrouter", Recording(ping + body(routed[:2], done=False) + ping + body([*routed[2:], last]))
    thoughts = deltas(texts("Hm"), content="", role="assistant", reasoning="Hm", reasoning_details=[{"text": "Hm"}])
    yield "chat-openrouter-reasoning", Recording(ping + body([*thoughts, *routed[1:]]))
    vercel = [
        chunk({"role": "assistant"}),
        *texts(*WORDS),
        chunk({"provider_metadata": {"cost": "0"}}, "stop", usage=usage(9)),
    ]
    yield "chat-vercel-gateway", Recording(body(each(vercel, generationId="gen_1")))
    head = chunk({"role": "assistant"})
    changed = each(deltas(choices(said(*WORDS), native_finish_reason=None), role="assistant"), id="gen-2")
    yield "chat-avian", Recording(body([head, *changed, {**changed[-1], "usage": usage(9, cost=0.1)}]))


def providers() -> Iterable[tuple[str, Recording]]:
    """Servers of models of their own, and of open ones."""
    whole = chunk({"tool_calls": [WHOLE_A, WHOLE_B]}, "tool_calls", usage=usage(91))
    yield "chat-mistral-tool-calls", Recording(body(each([begin(), whole], p="abc")))
    thinking = [chunk({"role": "assistant", "content": None, "reasoning_content": ""})]
    thinking += [chunk({"content": None, "reasoning_content": word}) for word in WORDS]
    answer = deltas([*texts(*WORDS), chunk({"content": ""}, "stop", usage=usage(40))], reasoning_content=None)
    yield "chat-deepseek-reasoning", Recording(body([*thinking, *answer]))
    xai = [chunk({"role": "assistant", "reasoning_content": "Hm"}), *calls(WHOLE_A)]
    unfinished = choices(xai, finish_reason=...)
    wire = body(ticking([*unfinished, chunk({}, "tool_calls"), usage_chunk(30)]))
    yield "chat-xai", Recording(wire.removesuffix(b"\n\n"))
    message_ = {"role": "assistant", "content": "".join(WORDS)}
    sonar = ticking(choices(deltas(said(*WORDS)[1:], role="assistant"), message=message_, finish_reason=None))
    sonar = [{**each, "usage": usage(9 + at), "citations": []} for at, each in enumerate(sonar)]
    sonar[-1] = {**choices(sonar[-1:], finish_reason="stop")[0], "object": "chat.completion.done"}
    wire = b": ping\n\n" + body(sonar, done=False)
    yield "chat-perplexity", Recording(wire.replace(b"\n", b"\r\n"))
    empty = fragment(0, "", id="toolu_1", name="now")
    claude = deltas(
        [chunk({"content": "Let me see"}), chunk({"tool_calls": [empty]}), chunk({"content": ""}, "tool_calls")],
        role="assistant",
    )
    totals = {"prompt_tokens": 36, "completion_tokens": None, "total_tokens": None}
    yield "chat-databricks", Recording(body([*each(claude[:2], usage=totals), {**claude[2], "usage": usage(41)}]))
    groq = [chunk({"role": "assistant", "content": None}, x_groq={"id": "req_1"}), *calls(WHOLE_A)]
    ended = chunk({}, "tool_calls", usage=usage(225), x_groq={"id": "req_1", "usage": usage(225)})
    yield "chat-groq", Recording(body([*groq, ended, usage_chunk(225)]))
    null = chunk({"role": "assistant", "content": None})
    timed = {**usage_chunk(), "timings": {"predicted_ms": 163.9}}
    yield "chat-llamacpp", Recording(body([null, *calls(*CALL_A), chunk({}, "tool_calls"), timed]))
    local = deltas([*texts(*WORDS), *calls(WHOLE_A), chunk({"content": ""}, "tool_calls")], role="assistant")
    yield "chat-ollama", Recording(body([*local, usage_chunk()]))
    edge = choices(texts(*WORDS), finish_reason=...)
    yield "chat-cloudflare", Recording(body([*edge, chunk({}, "stop", usage=usage(69))]))
    router = choices([chunk({"role": "assistant"}), *texts(*WORDS)], finish_reason=...)
    timing = chunk({}, "stop", usage=usage(70), time_info={"queue_time": 0.1})
    yield "chat-huggingface", Recording(body([*router, timing], done=False))
    palmyra = choices(
        deltas([begin(content=None), *texts(*WORDS)], role="assistant", tool_calls=None), message=message_
    )
    yield "chat-writer", Recording(body([*palmyra, chunk({"content": None}, "stop"), usage_chunk()], done=False))
    together = choices(deltas(texts(*WORDS), role="assistant", token_id=7), seed=1)
    yield "chat-together", Recording(body([*together, chunk({"content": ""}, "eos", usage=usage(9))]))
    cortex = each(texts(*WORDS), id=None, created=0)
    yield "chat-snowflake", Recording(body([*cortex, {**usage_chunk(), "id": None}]))
    yield "cmpl-vllm", Recording(body([*map(completion, WORDS), completion("", "stop", usage=None)]))


def responses() -> Iterable[tuple[str, Recording]]:
    """The Responses API, of OpenAI and of those who follow it."""
    events = answered(*WORDS)
    padded = [{**event, "obfuscation": "x" * at} if "delta" in event else event for at, event in enumerate(events)]
    yield "resp-openai-text", Recording(named(padded))
    items = reasoning(0, "Hm", "!"), function_call(1, "weather", *PARIS), message(2, *WORDS)
    yield "resp-openai-items", Recording(named(numbered(response(*items))))
    yield "resp-openai-of-march-2025", Recording(named(response(message(0, *WORDS))))
    yield "resp-openai-resumed", Recording(named(events[6:]), Request(starting_after=5))
    waiting = [*response(message(0, *WORDS))]
    for place in (5, 3):
        waiting.insert(place, {"type": "keepalive"})
    yield "resp-openai-keepalive", Recording(named(numbered(waiting)))
    cut = [*answered(*WORDS)[:7], answered(*WORDS)[-1]]
    partial = {**cut[-1]["response"], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    cut[-1] = {"type": "response.incomplete", "response": partial, "sequence_number": 7}
    yield "resp-openai-incomplete", Recording(named(cut))
    yield "resp-openrouter", Recording(b": OPENROUTER PROCESSING\n\n" + body(events))
    emptied = [*events[:-1], {**events[-1], "response": {**events[-1]["response"], "output": []}}]
    yield "resp-chatgpt", Recording(named(emptied))
    first, second = message(0, "One ", "two"), message(1, "Three")
    mixed = [*first[:3], *second[:3], *first[3:], *second[3:]]
    whole = response(first, second)
    yield "resp-xai-items-interleaved", Recording(named(numbered([*whole[:2], *mixed, whole[-1]])))


def assistants() -> Iterable[tuple[str, Recording]]:
    """The Assistants API."""
    yield "asst-openai-text", Recording(run(*WORDS))
    step = {"id": "step_1", "object": "thread.run.step", "status": "in_progress", "type": "tool_calls"}
    required = {"id": "run_1", "object": "thread.run", "status": "requires_action"}
    wire = sse({**required, "status": "queued"}, event="thread.run.created") + sse(
        step, event="thread.run.step.created"
    )
    wire += sse(required, event="thread.run.requires_action") + b"event: done\n" + DONE
    yield "asst-openai-requires-action", Recording(wire)
    resumed = sse({**step, "status": "completed"}, event="thread.run.step.completed")
    resumed += sse(assistant_delta("Done"), event="thread.message.delta") + b"event: done\n" + DONE
    yield "asst-openai-tool-outputs", Recording(resumed)


RECORDINGS: dict[str, Recording] = {
    name: recording for group in (openai, gateways, providers, responses, assistants) for name, recording in group()
}


def recorded_api(name: str) -> str:
    """The API of a recording, by its name."""
    return APIS[name[:4]]


if __name__ == "__main__":
    for name, recording in RECORDINGS.items():
        (HERE / f"{name}.sse").write_bytes(recording.wire)
