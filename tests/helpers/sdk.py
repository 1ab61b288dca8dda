"""What the tests through the SDK share: a server without sockets, wires, and how an application reads them.

A body is a list of reads: bytes as one read of the socket gives them, a number of seconds to pause,
or an exception. The helpers work with every release of the SDK from 1.0.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pydantic

PYDANTIC_1 = pydantic.VERSION.startswith("1.")
VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
httpx: Any = importlib.import_module("httpx2" if VERSION >= (3, 0) else "httpx")


def _streams_runs() -> bool:
    """Whether this release makes events of Assistants: from 1.21 on, and on Python 3.14 no 1.x does."""
    if VERSION < (1, 21):
        return False
    from openai._models import construct_type
    from openai.types.beta import AssistantStreamEvent

    try:
        construct_type(type_=AssistantStreamEvent, value={"event": "thread.created", "data": {}})
    except AttributeError:  # it keeps what it knows of a union there, and unions take no attributes any more
        return False
    return True


STREAMS_RUNS = _streams_runs()
Read = bytes | float | BaseException
MODES = ("sync", "async")
HAS_RESPONSES = hasattr(openai.OpenAI, "responses")
APIS = ("chat", "responses") if HAS_RESPONSES else ("chat",)
#: What a request says, and no export may: telemetry is read by other people than the answers are.
PROMPT = "Canary-prompt"
API_KEY = "sk-canary-key"
CUT = "peer closed connection without sending complete message body (incomplete chunked read)"


# --- the server


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    """The body of one response."""

    def __init__(self, reads: Iterable[Read]) -> None:
        self.reads = reads
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for read in self.reads:
            if isinstance(read, BaseException):
                raise read
            if isinstance(read, bytes):
                yield read
            else:
                time.sleep(read)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for read in self.reads:
            if isinstance(read, BaseException):
                raise read
            if isinstance(read, bytes):
                yield read
            else:
                await asyncio.sleep(read)

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def transport(reads: Iterable[Read], headers: dict[str, str] | None = None) -> Any:
    """Answers every request with these reads."""

    def respond(_request: Any) -> Any:
        return httpx.Response(
            200,
            headers={"content-type": "text/event-stream", **(headers or {})},
            stream=Body(reads),
            extensions={"http_version": b"HTTP/1.1"},
        )

    return httpx.MockTransport(respond)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {"api_key": API_KEY, "base_url": "http://server.test/v1", "max_retries": 0, **given}


def client(
    reads: Iterable[Read], headers: dict[str, str] | None = None, cls: Any = openai.OpenAI, **options: Any
) -> Any:
    """A client whose every answer has this body."""
    return cls(http_client=httpx.Client(transport=transport(reads, headers)), **_options(options))


def async_client(
    reads: Iterable[Read], headers: dict[str, str] | None = None, cls: Any = openai.AsyncOpenAI, **options: Any
) -> Any:
    """The same for asynchronous code."""
    return cls(http_client=httpx.AsyncClient(transport=transport(reads, headers)), **_options(options))


class _Decoder(openai._streaming.SSEDecoder):
    """A decoder of a client's own, as clients for other clouds bring one."""


class OwnDecoder(openai.OpenAI):
    """A client that decodes streams itself."""

    def _make_sse_decoder(self) -> Any:
        return _Decoder()


class AsyncOwnDecoder(openai.AsyncOpenAI):
    """The same for asynchronous code."""

    def _make_sse_decoder(self) -> Any:
        return _Decoder()


def cut_off() -> Exception:
    """What the transport raises when the server goes away in the middle of a body."""
    return httpx.RemoteProtocolError(CUT)  # type: ignore[no-any-return]


# --- the wire


def frame(payload: Any) -> bytes:
    """One event, framed as OpenAI does."""
    name = payload.get("type") if isinstance(payload, dict) and "choices" not in payload else None
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload)}\n\n".encode()


def frames(payloads: Iterable[Any], *, done: bool = True) -> list[bytes]:
    """One read an event, and [DONE]."""
    return [*map(frame, payloads), *([b"data: [DONE]\n\n"] if done else [])]


def cut(reads: Iterable[bytes], size: int) -> list[bytes]:
    """The same bytes in reads of `size`."""
    wire = b"".join(reads)
    return [wire[start : start + size] for start in range(0, len(wire), size)]


def chunk(delta: Any, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat completion with one choice."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt-4o-2024-08-06"}
    return {**head, "choices": [choice], **more}


def chat(*texts: str) -> list[dict[str, Any]]:
    """A healthy chat completion."""
    pieces = [chunk({"content": text}) for text in texts or ("Hel", "lo", " Canary-text", "!")]
    return [chunk({"role": "assistant", "content": ""}), *pieces, chunk({}, "stop")]


def tool_chat() -> list[dict[str, Any]]:
    """A healthy chat completion that calls two tools."""
    calls = [("call_1", "weather", ('{"city": "Canary-', 'arguments"}')), ("call_2", "time", ('{"zone":', ' "UTC"}'))]
    chunks = [chunk({"role": "assistant", "content": None})]
    for index, (id, name, arguments) in enumerate(calls):
        header = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        chunks.append(chunk({"tool_calls": [header]}))
        for piece in arguments:
            chunks.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    return [*chunks, chunk({}, "tool_calls")]


def broken() -> list[bytes]:
    """A tool call whose second fragment lost its index, and a role too many."""
    chunks = tool_chat()
    del chunks[2]["choices"][0]["delta"]["tool_calls"][0]["index"]
    chunks[1]["choices"][0]["delta"]["role"] = chunks[2]["choices"][0]["delta"]["role"] = "assistant"
    return frames(chunks)


def responses(*texts: str) -> list[dict[str, Any]]:
    """A healthy response, numbered from 0."""
    pieces = texts or ("Hel", "lo", " Canary-text", "!")
    text = "".join(pieces)
    at = {"item_id": "msg_1", "output_index": 0}
    part = {"type": "output_text", "annotations": [], "text": ""}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    whole = {**item, "status": "completed", "content": [{**part, "text": text}]}
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "model": "gpt-4o-2024-08-06",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "status": "in_progress",
    }
    delta = {"type": "response.output_text.delta", **at, "content_index": 0, "logprobs": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "content_index": 0, "part": part},
        *({**delta, "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", **at, "content_index": 0, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "content_index": 0, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": {**response, "status": "completed", "output": [whole]}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def healthy(api: str) -> list[bytes]:
    """A healthy stream of an API."""
    return frames(chat()) if api == "chat" else frames(responses(), done=False)


def disordered(events: list[dict[str, Any]], *, earlier: int = 4, later: int = 6) -> list[dict[str, Any]]:
    """The same events, one of them some places too late."""
    moved = list(events)
    moved.insert(later, moved.pop(earlier))
    return moved


# --- the application


def asks(client: Any, api: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The method that opens a stream of an API, and its arguments."""
    if api == "responses":
        return client.responses.create, {"model": "gpt-4o", "input": PROMPT, "stream": True}
    if api == "other":
        stream_class = openai.AsyncStream if isinstance(client, openai.AsyncOpenAI) else openai.Stream
        return client.post, {"path": "/other", "cast_to": object, "stream": True, "stream_cls": stream_class[object]}
    messages = [{"role": "user", "content": PROMPT}]
    return client.chat.completions.create, {"model": "gpt-4o", "messages": messages, "stream": True}


def create(client: Any, api: str = "chat", **more: Any) -> Any:
    """Open a stream; to be awaited if the client is asynchronous."""
    method, arguments = asks(client, api)
    return method(**arguments, **more)


def helper(client: Any, api: str = "chat") -> Any:
    """The SDK's accumulating helper, not yet entered."""
    method = _helper(client, api)
    given: dict[str, Any] = {"input": PROMPT}
    return method(
        model="gpt-4o", **(given if api == "responses" else {"messages": [{"role": "user", "content": PROMPT}]})
    )


def read_with_helpers() -> None:
    """Read a stream of each API in each way that this release has."""
    for api in ("chat", "responses"):
        a_client = client(healthy(api)) if api == "chat" or hasattr(openai.OpenAI, "responses") else None
        if a_client is not None and has_helper(a_client, api):
            with helper(a_client, api) as stream:
                for _ in stream:
                    pass


def has_helper(client: Any, api: str) -> bool:
    """Whether this release of the SDK has an accumulating helper."""
    return _helper(client, api) is not None


def _helper(client: Any, api: str) -> Any:
    if api == "responses":
        return getattr(client.responses, "stream", None)
    if hasattr(client.chat.completions, "stream"):
        return client.chat.completions.stream  # asked first, for `beta` takes a second to import
    beta = getattr(getattr(getattr(client, "beta", None), "chat", None), "completions", None)
    return getattr(beta, "stream", None)


def dump(chunk: Any) -> Any:
    """A chunk as data."""
    if not isinstance(chunk, pydantic.BaseModel):
        return chunk
    return chunk.dict() if PYDANTIC_1 else chunk.model_dump(warnings=False)


@dataclass
class Outcome:
    """What an application got out of a stream."""

    chunks: list[tuple[str, Any]]
    error: tuple[str, str] | None = None

    def add(self, chunk: Any) -> None:
        """One more chunk came."""
        self.chunks.append((type(chunk).__qualname__, dump(chunk)))

    def raised(self, error: Exception) -> None:
        """The SDK raised."""
        self.error = (type(error).__qualname__, str(error))


def read(mode: str, reads: Iterable[Read], api: str = "chat", **options: Any) -> Outcome:
    """Read a whole stream, as an application does: what came, and what was raised."""
    if mode == "async":
        return asyncio.run(_read(async_client(reads, **options), api))
    outcome = Outcome([])
    try:
        for chunk in create(client(reads, **options), api):
            outcome.add(chunk)
    except Exception as error:
        outcome.raised(error)
    return outcome


async def _read(client: Any, api: str) -> Outcome:
    outcome = Outcome([])
    try:
        async for chunk in await create(client, api):
            outcome.add(chunk)
    except Exception as error:
        outcome.raised(error)
    return outcome


def some(count: int, things: Iterable[Any]) -> list[Any]:
    """The first few of an iterable."""
    return list(itertools.islice(things, count))
