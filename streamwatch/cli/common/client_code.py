"""Client code that reads a stream: loops as applications have them, over the installed openai SDK.

    connect = served(body)                      # or connected("http://127.0.0.1:8000/v1", "key")
    for reader in readers_of("chat"):
        with watched(None):                     # Streamwatch off
            plain = read(reader, connect)
        with watched(Settings()) as reports:    # and on
            repaired = read(reader, connect)

`READERS` is the table. Each reader is ordinary code for a client; what it got up to an exception counts too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Protocol

from streamwatch.core.report import Report
from streamwatch.core.settings import Settings
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, agent

#: Bytes of a read: a few events, as a socket gives them.
_READ = 4096
#: Characters of an exception's text that are kept: a line, and no page of HTML.
_MAX_ERROR = 200
_CUT = "peer closed connection without sending complete message body (incomplete chunked read)"
#: What a request says where nothing is known of it.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "chat": {"model": "unknown", "messages": [{"role": "user", "content": "hi"}]},
    "completions": {"model": "unknown", "prompt": "hi"},
    "responses": {"model": "unknown", "input": "hi"},
    "assistants": {"thread_id": "thread_1", "assistant_id": "asst_1"},
}


class Connect(Protocol):
    """A maker of clients of the SDK. A reading opens one and closes it."""

    def __call__(self, *, is_async: bool) -> Any: ...


@dataclass
class ToolCall:
    """A tool call, as a reader put it together."""

    name: str = ""
    arguments: str = ""
    id: str = ""


@dataclass
class Answer:
    """The answer as a reader got it; `error` is the exception that ended it, `ended` the finish reason or status."""

    texts: dict[Any, str] = field(default_factory=dict)
    tool_calls: dict[Any, ToolCall] = field(default_factory=dict)
    refusal: str = ""
    ended: str = ""
    error: str = ""
    chunks: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """The text; that of several choices or parts one below the other."""
        return "\n".join(text for text in self.texts.values() if text)

    def add(self, text: str, at: Any = 0) -> None:
        """Add more text."""
        self.texts[at] = self.texts.get(at, "") + text


Read = Callable[[Any, dict[str, Any], Answer], Any]


@dataclass(frozen=True)
class Reader:
    """A way to read a stream; `read` takes a client, the arguments of the request, and the answer to fill."""

    api: str
    name: str
    meaning: str
    read: Read
    is_async: bool = False

    @property
    def title(self) -> str:
        """What distinguishes it from the others of its API."""
        return f"async {self.name}" if self.is_async else self.name


class NotOffered(Exception):  # noqa: N818 -- no error: older releases have fewer ways
    """The error of a way to read that this release of the SDK does not have."""


# --- reading


def sdk_version() -> str:
    """Return the release of the SDK; empty where none can be imported, or one of before 1.0."""
    try:
        openai: Any = importlib.import_module("openai")
        return str(openai.__version__) if hasattr(openai, "OpenAI") else ""
    except Exception:
        return ""


def readers_of(api: str) -> list[Reader]:
    """Return the readers of an API."""
    return [reader for reader in READERS if reader.api == api]


def read(reader: Reader, connect: Connect, request: Mapping[str, Any] | None = None) -> Answer | None:
    """Return what a reader gets; None where this release of the SDK has no such way to read.

    `request` is the JSON body of the request, as far as it matters; `starting_after` goes into the query.
    """
    answer = Answer()
    arguments = _arguments(reader.api, request or {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that the SDK's models do not know
        try:
            if reader.is_async:
                asyncio.run(_read_async(reader, connect, arguments, answer))
            else:
                with connect(is_async=False) as client:
                    _as_application(reader.read)(client, arguments, answer)
        except NotOffered:
            return None
        except Exception as error:
            answer.error = _told(error)
    return answer


async def _read_async(reader: Reader, connect: Connect, arguments: dict[str, Any], answer: Answer) -> None:
    async with connect(is_async=True) as client:
        await _as_application(reader.read)(client, arguments, answer)


def _arguments(api: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the SDK's method; `extra_body` has all but the model, as helpers check what they know."""
    given = {name: value for name, value in request.items() if value is not None}
    query = {name: given.pop(name) for name in ("starting_after",) if name in given}
    arguments = dict(_DEFAULTS[api])
    if "model" in given and "model" in arguments:
        arguments["model"] = given.pop("model")
    more = {name: value for name, value in given.items() if name not in arguments and name not in ("model", "stream")}
    return {**arguments, **({"extra_body": more} if more else {}), **({"extra_query": query} if query else {})}


def _as_application(function: Read) -> Read:
    """Return the same code as the application's own: Streamwatch fills in content only for that, not for packages."""
    code = function.__code__.replace(co_filename="<application>")
    return FunctionType(code, {**function.__globals__, "__name__": "application"}, function.__name__)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_MAX_ERROR]}" if text else type(error).__name__


@contextlib.contextmanager
def watched(settings: Settings | None) -> Iterator[list[Report]]:
    """Switch Streamwatch on with these settings, or off for None; yield its reports, and restore afterwards."""
    instrumentor = StreamwatchInstrumentor()
    before = None
    if instrumentor.is_instrumented_by_opentelemetry:
        before = agent.settings, agent.telemetry, agent.on_report
        instrumentor.uninstrument()
    seen: list[Report] = []
    logger = logging.getLogger("streamwatch")
    logger.addFilter(_is_no_finding)
    try:
        if settings is not None:
            instrumentor.instrument(settings=settings, on_report=seen.append)
        yield seen
        if agent.any_open:
            gc.collect()  # what an exception left unread ends here
        agent.record_collected()
    finally:
        logger.removeFilter(_is_no_finding)
        if settings is not None:
            instrumentor.uninstrument()
        if before is not None:
            instrumentor.instrument(settings=before[0])
            agent.start(*before)


def _is_no_finding(record: logging.LogRecord) -> bool:
    """Return whether a log record is not a finding: findings are in the reports, the rest is shown."""
    return record.module != "log"


# --- clients


def served(body: bytes, *, cut: bool = False) -> Connect:
    """Connect clients to this body, without a network; with `cut`, the connection breaks after it."""

    def connect(*, is_async: bool) -> Any:
        import openai

        httpx: Any = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")

        def respond(_request: Any) -> Any:
            reads = _areads(body, httpx, cut=cut) if is_async else _reads(body, httpx, cut=cut)
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=headers, content=reads, extensions={"http_version": b"HTTP/1.1"})

        # A proxy of the environment would be asked otherwise.
        options: dict[str, Any] = {"transport": httpx.MockTransport(respond), "trust_env": False}
        transport = httpx.AsyncClient(**options) if is_async else httpx.Client(**options)
        cls = openai.AsyncOpenAI if is_async else openai.OpenAI
        return cls(api_key="none", base_url="http://recording.invalid/v1", max_retries=0, http_client=transport)

    return connect


def connected(base_url: str, api_key: str, **options: Any) -> Connect:
    """Connect clients to a real server; `options` are those of `openai.OpenAI`."""

    def connect(*, is_async: bool) -> Any:
        import openai

        cls = openai.AsyncOpenAI if is_async else openai.OpenAI
        return cls(base_url=base_url, api_key=api_key, **{"max_retries": 0, **options})

    return connect


def _reads(body: bytes, httpx: Any, *, cut: bool) -> Iterator[bytes]:
    for start in range(0, len(body), _READ):
        yield body[start : start + _READ]
    if cut:
        raise httpx.RemoteProtocolError(_CUT)


async def _areads(body: bytes, httpx: Any, *, cut: bool) -> AsyncIterator[bytes]:
    for read in _reads(body, httpx, cut=cut):
        yield read


# --- chat completions


def _chat_loop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for chunk in client.chat.completions.create(stream=True, **request):
        answer.chunks += 1
        answer.add(chunk.choices[0].delta.content)


async def _chat_aloop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async for chunk in await client.chat.completions.create(stream=True, **request):
        answer.chunks += 1
        answer.add(chunk.choices[0].delta.content)


def _chat_dict(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for chunk in client.chat.completions.create(stream=True, **request):
        answer.chunks += 1
        answer.add(_as_dict(chunk)["choices"][0]["delta"]["content"])


def _chat_careful(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for chunk in client.chat.completions.create(stream=True, **request):
        _see_chunk(answer, chunk)


async def _chat_acareful(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async for chunk in await client.chat.completions.create(stream=True, **request):
        _see_chunk(answer, chunk)


def _chat_helper(client: Any, request: dict[str, Any], answer: Answer) -> None:
    with _method(client, "chat.completions.stream", "beta.chat.completions.stream")(**request) as stream:
        for _ in stream:
            answer.chunks += 1
        _see_completion(answer, stream.get_final_completion())


async def _chat_ahelper(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async with _method(client, "chat.completions.stream", "beta.chat.completions.stream")(**request) as stream:
        async for _ in stream:
            answer.chunks += 1
        _see_completion(answer, await stream.get_final_completion())


def _see_chunk(answer: Answer, chunk: Any) -> None:
    """Read a chunk with care: everything but the index of a choice may be absent."""
    answer.chunks += 1
    for choice in chunk.choices or []:
        answer.ended = choice.finish_reason or answer.ended
        delta = choice.delta
        if delta is None:
            continue
        if delta.content:
            answer.add(delta.content, choice.index)
        answer.refusal += getattr(delta, "refusal", None) or ""
        for fragment in getattr(delta, "tool_calls", None) or []:
            _see_fragment(answer, choice.index, fragment)


def _see_fragment(answer: Answer, choice: Any, fragment: Any) -> None:
    call = answer.tool_calls.setdefault((choice, _get(fragment, "index")), ToolCall())
    call.id = call.id or _get(fragment, "id") or ""
    function = _get(fragment, "function")
    if function:
        call.name += _get(function, "name") or ""
        call.arguments += _get(function, "arguments") or ""


def _see_completion(answer: Answer, completion: Any) -> None:
    for choice in completion.choices:
        message = choice.message
        answer.ended = choice.finish_reason or answer.ended
        if message.content:
            answer.add(message.content, choice.index)
        answer.refusal += getattr(message, "refusal", None) or ""
        for position, call in enumerate(message.tool_calls or []):
            function = call.function
            answer.tool_calls[choice.index, position] = ToolCall(function.name, function.arguments, call.id or "")


# --- completions


def _text_loop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for chunk in client.completions.create(stream=True, **request):
        answer.chunks += 1
        answer.add(chunk.choices[0].text)


def _text_careful(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for chunk in client.completions.create(stream=True, **request):
        _see_text(answer, chunk)


async def _text_acareful(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async for chunk in await client.completions.create(stream=True, **request):
        _see_text(answer, chunk)


def _see_text(answer: Answer, chunk: Any) -> None:
    answer.chunks += 1
    for choice in chunk.choices or []:
        answer.ended = choice.finish_reason or answer.ended
        if choice.text:
            answer.add(choice.text, choice.index)


# --- responses


def _responses_loop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for event in _method(client, "responses.create")(stream=True, **request):
        _see_event(answer, event)


async def _responses_aloop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async for event in await _method(client, "responses.create")(stream=True, **request):
        _see_event(answer, event)


def _responses_final(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for event in _method(client, "responses.create")(stream=True, **request):
        answer.chunks += 1
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            _see_response(answer, event.response)


def _responses_helper(client: Any, request: dict[str, Any], answer: Answer) -> None:
    with _method(client, "responses.stream")(**request) as stream:
        for _ in stream:
            answer.chunks += 1
        _see_response(answer, stream.get_final_response())


async def _responses_ahelper(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async with _method(client, "responses.stream")(**request) as stream:
        async for _ in stream:
            answer.chunks += 1
        _see_response(answer, await stream.get_final_response())


def _see_event(answer: Answer, event: Any) -> None:
    """Read an event of Responses, and put it where its indexes say."""
    answer.chunks += 1
    if event.type == "response.output_text.delta":
        answer.add(event.delta, (event.output_index, event.content_index))
    elif event.type == "response.refusal.delta":
        answer.refusal += event.delta
    elif event.type == "response.output_item.added" and event.item.type == "function_call":
        answer.tool_calls[event.output_index] = ToolCall(event.item.name, id=event.item.call_id)
    elif event.type == "response.function_call_arguments.delta":
        answer.tool_calls[event.output_index].arguments += event.delta
    elif event.type in ("response.completed", "response.incomplete", "response.failed"):
        answer.ended = event.response.status or ""


def _see_response(answer: Answer, response: Any) -> None:
    answer.ended = response.status or ""
    for at, item in enumerate(response.output or []):
        if item.type == "function_call":
            answer.tool_calls[at] = ToolCall(item.name, item.arguments, item.call_id)
        elif item.type == "message":
            _see_parts(answer, at, item.content or [])


def _see_parts(answer: Answer, at: int, parts: list[Any]) -> None:
    for place, part in enumerate(parts):
        if part.type == "output_text":
            answer.add(part.text or "", (at, place))
        elif part.type == "refusal":
            answer.refusal += part.refusal or ""


# --- assistants


def _runs_loop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    for event in _method(client, "beta.threads.runs.create")(stream=True, **request):
        _see_run(answer, event)


async def _runs_aloop(client: Any, request: dict[str, Any], answer: Answer) -> None:
    async for event in await _method(client, "beta.threads.runs.create")(stream=True, **request):
        _see_run(answer, event)


def _runs_helper(client: Any, request: dict[str, Any], answer: Answer) -> None:
    with _method(client, "beta.threads.runs.stream")(**request) as stream:
        for event in stream:
            _see_run(answer, event)
        stream.until_done()


def _see_run(answer: Answer, event: Any) -> None:
    answer.chunks += 1
    if event.event == "thread.message.delta":
        for part in event.data.delta.content or []:
            if part.type == "text" and part.text:
                answer.add(part.text.value or "", part.index)
    elif event.event.startswith("thread.run.") and hasattr(event.data, "status"):
        answer.ended = event.data.status or answer.ended


# --- the table

READERS = (
    Reader("chat", "loop", "for chunk in stream: text += chunk.choices[0].delta.content", _chat_loop),
    Reader("chat", "dict", 'the same with chunk.to_dict()["choices"][0]["delta"]["content"]', _chat_dict),
    Reader("chat", "careful", "every field guarded, tool calls put together by index", _chat_careful),
    Reader("chat", "helper", ".stream() and get_final_completion()", _chat_helper),
    Reader("chat", "loop", "the loop, of AsyncOpenAI", _chat_aloop, is_async=True),
    Reader("chat", "careful", "the careful one, of AsyncOpenAI", _chat_acareful, is_async=True),
    Reader("chat", "helper", "the helper, of AsyncOpenAI", _chat_ahelper, is_async=True),
    Reader("completions", "loop", "for chunk in stream: text += chunk.choices[0].text", _text_loop),
    Reader("completions", "careful", "every field guarded", _text_careful),
    Reader("completions", "careful", "the careful one, of AsyncOpenAI", _text_acareful, is_async=True),
    Reader("responses", "loop", "deltas, put where their indexes say", _responses_loop),
    Reader("responses", "final", "the response of the terminal event alone", _responses_final),
    Reader("responses", "helper", ".stream() and get_final_response()", _responses_helper),
    Reader("responses", "loop", "the loop, of AsyncOpenAI", _responses_aloop, is_async=True),
    Reader("responses", "helper", "the helper, of AsyncOpenAI", _responses_ahelper, is_async=True),
    Reader("assistants", "loop", "the text of thread.message.delta", _runs_loop),
    Reader("assistants", "helper", "runs.stream() and until_done()", _runs_helper),
    Reader("assistants", "loop", "the loop, of AsyncOpenAI", _runs_aloop, is_async=True),
)


def _method(client: Any, *paths: str) -> Any:
    """Return the first of these methods that the client has."""
    for path in paths:
        found = client
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is not None:
            return found
    raise NotOffered


def _as_dict(chunk: Any) -> Any:
    """Return a chunk as a dict of what came; early releases have no `to_dict`."""
    return chunk.to_dict() if hasattr(chunk, "to_dict") else chunk.model_dump(exclude_unset=True)


def _get(thing: Any, name: str) -> Any:
    """Return a field; early releases hand out what they have no model for as a dict."""
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)
