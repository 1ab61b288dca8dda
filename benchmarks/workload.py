"""The streams that the benchmarks read: out of memory, through the SDK's own client and transport.

One event in a read, as OpenAI sends them today. A stream is given by the number of its chunks; the broken ones are
broken throughout.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai

httpx: Any = importlib.import_module("httpx2" if openai.__version__.startswith("3.") else "httpx")
Payload = dict[str, Any]
#: The reordered stream has each tenth event come after the next one.
EVERY = 10


def chunk(delta: Payload, finish_reason: str | None = None, **members: Any) -> Payload:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1715600000, "model": "gpt-4o-2024-05-13"}
    more = {"service_tier": "default", "system_fingerprint": "fp_1", "usage": None, "obfuscation": "abcdefgh"}
    return {**head, **more, "choices": [choice], **members}


def chat(chunks: int) -> Iterator[Payload]:
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for number in range(chunks - 3):
        yield chunk({"content": f" word{number % 1000}"})
    yield chunk({}, "stop")
    yield chunk({}, choices=[], usage={"prompt_tokens": 9, "completion_tokens": chunks, "total_tokens": chunks + 9})


def tools(chunks: int, indexes: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)) -> Iterator[Payload]:
    """Yield eight calls in fragments of their arguments."""
    yield chunk({"role": "assistant", "content": None})
    each = max((chunks - 2) // 8, 3)
    for number in range(8):
        header = {"id": f"call_{number}", "type": "function", "function": {"name": "weather", "arguments": ""}}
        yield chunk({"tool_calls": [{"index": indexes[number], **header}]})
        pieces = ['{"places":["', *[f"place{piece} " for piece in range(each - 3)], '"]}']
        for piece in pieces:
            yield chunk({"tool_calls": [{"index": indexes[number], "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls")


def misnumbered(chunks: int) -> Iterator[Payload]:
    """Yield tool calls numbered from 1: every fragment has to be renumbered."""
    return tools(chunks, (1, 2, 3, 4, 5, 6, 7, 8))


def repeating(chunks: int) -> Iterator[Payload]:
    """Yield tool calls with the id of the call in every fragment."""
    identity = ""
    for payload in tools(chunks):
        for call in payload["choices"][0]["delta"].get("tool_calls", ()):
            identity = call.setdefault("id", identity)
        yield payload


def responses(chunks: int) -> Iterator[Payload]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    answer = {"id": "resp_1", "object": "response", "created_at": 1715600000, "model": "gpt-4o", "output": []}
    answer.update(parallel_tool_calls=True, tool_choice="auto", tools=[], status="in_progress")
    words = [f" word{number % 1000}" for number in range(chunks - 7)]
    done = {**message, "status": "completed", "content": [{**part, "text": "".join(words)}]}
    events: list[Payload] = [
        {"type": "response.created", "response": answer},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **place, "text": "".join(words), "logprobs": []},
        {"type": "response.content_part.done", **place, "part": {**part, "text": "".join(words)}},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": {**answer, "status": "completed", "output": [done]}},
    ]
    return ({**event, "sequence_number": number} for number, event in enumerate(events))


def reordered(chunks: int) -> Iterator[Payload]:
    events = list(responses(chunks))
    for at in range(EVERY, len(events) - 1, EVERY):
        events[at], events[at + 1] = events[at + 1], events[at]
    return iter(events)


STREAMS: dict[str, Callable[[int], Iterator[Payload]]] = {
    "chat": chat,
    "tools": tools,
    "responses": responses,
    "responses, each 10th event late": reordered,
    "tools, all indexes wrong": misnumbered,
    "tools, all ids repeated": repeating,
}


def wire(name: str, chunks: int) -> list[bytes]:
    """Return the reads of one body."""
    reads = []
    for payload in STREAMS[name](chunks):
        name_line = f"event: {payload['type']}\n" if "type" in payload else ""
        reads.append(f"{name_line}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode())
    return reads if "responses" in name else [*reads, b"data: [DONE]\n\n"]


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, reads: list[bytes]) -> None:
        self.reads = reads

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.reads)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for read in self.reads:
            yield read


def _transport(reads: list[bytes]) -> Any:
    def respond(_request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Body(reads))

    return httpx.MockTransport(respond)


def _arguments(name: str) -> Payload:
    asked: Payload = {"model": "gpt-4o", "stream": True}
    return (
        {**asked, "input": "hi"} if "responses" in name else {**asked, "messages": [{"role": "user", "content": "hi"}]}
    )


def _connection(reads: list[bytes] | None, port: int) -> tuple[str, Any]:
    """Return where a client asks, and its transport: out of memory, or over a socket where there is a port."""
    if reads is not None:
        return "http://memory.invalid/v1", _transport(reads)
    return f"http://127.0.0.1:{port}/v1", None


def opener(name: str, reads: list[bytes] | None = None, port: int = 0) -> Callable[[], Any]:
    """Return a function that asks for the stream once."""
    address, transport = _connection(reads, port)
    client = openai.OpenAI(api_key="none", base_url=address, http_client=httpx.Client(transport=transport))
    create: Any = client.responses.create if "responses" in name else client.chat.completions.create
    return functools.partial(create, **_arguments(name))


def reader(name: str, reads: list[bytes] | None = None, port: int = 0) -> Callable[[], None]:
    """Return a function that asks for the stream once and reads it to its end."""
    open_stream = opener(name, reads, port)

    def read() -> None:
        for _ in open_stream():
            pass

    return read


def async_reader(name: str, reads: list[bytes] | None = None, at_once: int = 1, *, port: int = 0) -> Callable[[], None]:
    """Return the same for asynchronous code, and for as many streams at once."""
    address, transport = _connection(reads, port)

    client = openai.AsyncOpenAI(api_key="none", base_url=address, http_client=httpx.AsyncClient(transport=transport))
    create: Any = client.responses.create if "responses" in name else client.chat.completions.create
    arguments = _arguments(name)

    async def read() -> None:
        async for _ in await create(**arguments):
            if at_once > 1:
                await asyncio.sleep(0)  # let the others have their turn, as a socket would

    async def read_all() -> None:
        await asyncio.gather(*(read() for _ in range(at_once)))

    return lambda: _loop().run_until_complete(read_all())


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process: a sample does not make one."""
    return asyncio.new_event_loop()


def cpu_seconds(read: Callable[[], object], loops: int = 1) -> float:
    """Return the CPU time of this process: other load on the machine counts little."""
    start = time.process_time()
    for _ in range(loops):
        read()
    return time.process_time() - start


def least_cpu_seconds(read: Callable[[], object], loops: int = 1, samples: int = 3) -> float:
    """Return the least of some samples, after one that does not count: what others do on the machine only adds."""
    read()
    gc.collect()
    return min(cpu_seconds(read, loops) for _ in range(samples))


@functools.cache
def _providers() -> dict[str, Any]:
    """Return providers with an exporter that drops what it gets."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Dropping(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(Dropping()))
    return {
        "tracer_provider": tracer_provider,
        "meter_provider": MeterProvider(metric_readers=[InMemoryMetricReader()]),
    }


def instrument() -> None:
    """Instrument as Streamwatch is used: spans and metrics on."""
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

    logging.getLogger("streamwatch").setLevel(logging.CRITICAL)  # the broken streams are broken on purpose
    StreamwatchInstrumentor().instrument(**_providers())


def uninstrument() -> None:
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

    StreamwatchInstrumentor().uninstrument()


def turns(
    read: Callable[[], None], pairs: int, times: int = 1, *, samples: int = 3, watch: bool = True
) -> list[tuple[float, float]]:
    """Return CPU seconds of reading `times` streams, plain and watched, in pairs, the first one alternating."""
    found = []
    for turn in range(pairs):
        seconds = [0.0, 0.0]
        for arm in (0, 1) if turn % 2 else (1, 0):
            if arm and watch:
                instrument()
            seconds[arm] = least_cpu_seconds(read, times, samples)
            if arm and watch:
                uninstrument()
        found.append((seconds[0], seconds[1]))
    return found
