"""An application that asks a server for one answer of each sort; run it under `opentelemetry-instrument`, or plainly.

    asking.py NAME[/async|/helper]...

The server is where OPENAI_BASE_URL says. A line of JSON for each question: every chunk that was read, the answer that they make, what was raised, and, where
Streamwatch runs, the span of the stream. Then a line with the text of the Prometheus endpoint, where there is one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import urllib.request
import warnings
from typing import Any

from openai import AsyncOpenAI, OpenAI
from questions import TOOL, ask

warnings.simplefilter("ignore")  # the SDK's, of values that its models do not know

MODEL = os.environ.get("ASKED_MODEL", "tiny")
FUNCTION = {"type": "function", **TOOL["function"]}
USAGE = {"stream_options": {"include_usage": True}}
#: What is asked: the API, and the request beside the model.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("chat", {"messages": ask("text")}),
    "usage": ("chat", {"messages": ask("text"), **USAGE}),
    "two": ("chat", {"messages": ask("text"), "n": 2, "temperature": 0.01}),
    "call": ("chat", {"messages": ask("call"), "tools": [TOOL]}),
    "calls": ("chat", {"messages": ask("calls"), "tools": [TOOL], **USAGE}),
    "response": ("responses", {"input": ask("text")}),
    "response-call": ("responses", {"input": ask("call"), "tools": [FUNCTION]}),
    "response-calls": ("responses", {"input": ask("calls"), "tools": [FUNCTION]}),
}


def dump(chunk: Any) -> Any:
    """A chunk, with what was set and nothing else."""
    return chunk.model_dump(mode="json", exclude_unset=True, warnings=False)


def create(client: Any, name: str) -> Any:
    """A stream, or the promise of one."""
    api, request = ASKED[name]
    of = client.chat.completions if api == "chat" else client.responses
    return of.create(model=MODEL, stream=True, **request)


def read(name: str) -> tuple[list[Any], str]:
    """The chunks of a stream, and what was raised."""
    chunks: list[Any] = []
    try:
        with OpenAI(max_retries=0, timeout=60) as client, create(client, name) as stream:
            chunks.extend(map(dump, stream))
    except Exception as error:
        return chunks, f"{type(error).__name__}: {error}"
    return chunks, ""


async def read_async(name: str) -> tuple[list[Any], str]:
    """The same, with the other client."""
    chunks: list[Any] = []
    try:
        async with AsyncOpenAI(max_retries=0, timeout=60) as client, await create(client, name) as stream:
            async for chunk in stream:
                chunks.append(dump(chunk))
    except Exception as error:
        return chunks, f"{type(error).__name__}: {error}"
    return chunks, ""


def help_read(name: str) -> tuple[list[Any], str]:
    """What the helper that accumulates a stream makes of it: its last word alone."""
    api, request = ASKED[name]
    try:
        with OpenAI(max_retries=0, timeout=60) as client:
            of = client.chat.completions if api == "chat" else client.responses
            with of.stream(model=MODEL, **request) as stream:
                for _ in stream:
                    pass
                final = stream.get_final_completion() if api == "chat" else stream.get_final_response()  # type: ignore[union-attr]
                return [dump(final)], ""
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"


HOW = {"create": read, "async": lambda name: asyncio.run(read_async(name)), "helper": help_read}


def answered(chunks: list[Any]) -> dict[str, Any]:
    """The answer that the chunks make: text and calls by choice, how each ended, and usage; of a response, its own."""
    choices: dict[int, dict[str, Any]] = {}
    usage, text, calls, status = None, "", [], ""
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            one = choices.setdefault(choice["index"], {"text": "", "calls": {}, "finish": None})
            delta = choice.get("delta") or {}
            one["text"] += delta.get("content") or ""
            one["finish"] = choice.get("finish_reason") or one["finish"]
            for fragment in delta.get("tool_calls") or ():
                call = one["calls"].setdefault(str(fragment["index"]), {"name": "", "arguments": ""})
                function = fragment.get("function") or {}
                call["name"] += function.get("name") or ""
                call["arguments"] += function.get("arguments") or ""
        kind = chunk.get("type") or ""
        if kind == "response.output_text.delta":
            text += chunk["delta"]
        elif kind == "response.output_item.done" and chunk["item"]["type"] == "function_call":
            calls.append({key: chunk["item"][key] for key in ("name", "arguments")})
        elif kind in ("response.completed", "response.failed", "response.incomplete"):
            status = chunk["response"]["status"]
    if choices:
        each = {str(index): {**one, "calls": list(one["calls"].values())} for index, one in choices.items()}
        return {"choices": each, "usage": usage}
    return {"text": text, "calls": calls, "status": status}


# --- what Streamwatch says


def exporter() -> Any:
    """Where spans are kept, if OpenTelemetry was set up."""
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from opentelemetry.trace import get_tracer_provider
    except ImportError:
        return None
    provider = get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        return None
    spans = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans


def watched(spans: Any) -> list[dict[str, Any]]:
    """The streams that ended since this was asked last: how, and what was found in them."""
    found = []
    for span in spans.get_finished_spans() if spans else ():
        if not span.name.startswith("stream "):
            continue
        kinds = {event.attributes["streamwatch.anomaly"]: dict(event.attributes) for event in span.events}
        own = {key.removeprefix("streamwatch."): value for key, value in span.attributes.items()}
        found.append({"verdict": own["verdict"], "condition": own["condition"], "kinds": kinds})
    if spans:
        spans.clear()
    return found


def metrics() -> str:
    """The text of the Prometheus endpoint."""
    port = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT")
    if not port:
        return ""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def main() -> None:
    spans = exporter()
    for asked in sys.argv[1:]:
        name, _, how = asked.partition("/")
        chunks, error = HOW[how or "create"](name)
        line = {"asked": asked, "chunks": chunks, "error": error, "watched": watched(spans)}
        print(json.dumps({**line, "answer": answered(chunks)}), flush=True)
    print(json.dumps({"metrics": metrics()}), flush=True)


if __name__ == "__main__":
    main()
