"""What the SDK makes of a stream: a server without sockets, and each way in which an application can ask it.

One client of each kind serves a whole process; every read has a host of its own, so that nothing that is remembered
of a server passes from one case to the next.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import openai

from .wire import Stream

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
httpx: Any = importlib.import_module("httpx2" if VERSION >= (3, 0) else "httpx")
CUT = "peer closed connection without sending complete message body (incomplete chunked read)"
#: How a stream is read. `raw` goes through `with_raw_response`.
MODES = ("create", "create_async", "raw", "helper", "helper_async")
#: A whole answer is longer than this in no test, and a helper that loops forever must end somewhere.
MOST_CHUNKS = 20_000


@dataclass
class Read:
    """What an application was given: the chunks or events, the SDK's exception, and what a helper made of it all."""

    chunks: list[Any]
    error: tuple[str, str] | None = None
    final: Any = None
    final_error: tuple[str, str] | None = None
    kinds: tuple[str, ...] = ()
    dumped: dict[str, list[Any]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    #: Of a session over a WebSocket: every message that was handed on, and None where a connection had ended.
    handed: list[bytes | None] = field(default_factory=list)


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
    def __init__(self, reads: list[bytes], cut: bool) -> None:
        self.reads, self.cut = reads, cut

    def __iter__(self) -> Iterator[bytes]:
        yield from self.reads
        if self.cut:
            raise httpx.RemoteProtocolError(CUT)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for read in self:
            yield read

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):  # type: ignore[misc]
    """Answers every request with what is to be served now."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.stream: Stream = Stream("", "chat", ())
        self.blocks = False  #: a read may take as long as the server likes, and nothing wakes the reader

    def handle_request(self, _request: Any) -> Any:
        return httpx.Response(
            200,
            headers={"content-type": "text/event-stream", **self.stream.headers},
            stream=_Body(self.reads, self.stream.cut),
            extensions={"http_version": b"HTTP/1.1", **({"network_stream": None} if self.blocks else {})},
        )

    async def handle_async_request(self, request: Any) -> Any:
        return self.handle_request(request)


class Server:
    """The clients of this process, and the one way to read a stream with them."""

    def __init__(self) -> None:
        self._transport = _Transport()
        self._hosts = itertools.count()
        options: dict[str, Any] = {"api_key": "key", "base_url": "http://server.test/v1", "max_retries": 0}
        self._sync = openai.OpenAI(http_client=httpx.Client(transport=self._transport), **options)
        self._async = openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=self._transport), **options)
        self._loop: asyncio.AbstractEventLoop | None = None

    def read(self, stream: Stream, mode: str = "create", cut: str = "event") -> Read | None:
        """Return what an application is given; None if this release of the SDK has no such way."""
        client = self._async if mode.endswith("_async") else self._sync
        client.base_url = f"http://h{next(self._hosts)}.test/v1"
        self._transport.stream, self._transport.reads = stream, in_reads(stream, cut)
        self._transport.blocks = cut == "blocking event"
        method = _method(client, stream, mode)
        if method is None:
            return None
        if mode.endswith("_async"):
            self._loop = self._loop or asyncio.new_event_loop()
            return self._loop.run_until_complete(_READS[mode](method))  # type: ignore[no-any-return]
        return _READS[mode](method)  # type: ignore[no-any-return]

    async def _settled(self) -> None:
        """Close the client, and let generators end that streams left behind."""
        await self._async.close()
        gc.collect()  # what a generator still has to do becomes a task when it is garbage
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*left, return_exceptions=True)

    def close(self) -> None:
        """Close what was opened."""
        if self._loop is not None:
            self._loop.run_until_complete(self._settled())
            self._loop.close()
        self._sync.close()


def in_reads(stream: Stream, cut: str) -> list[bytes]:
    """Return the body in reads: an event each, all at once, or bits of an odd size.

    Before a read of a `blocking event` nothing is held back: it comes over HTTP/2, or by aiohttp.
    """
    reads = stream.reads()
    if cut.endswith("event"):
        return reads
    whole = b"".join(reads)
    return [whole] if cut == "whole" else [whole[start : start + 61] for start in range(0, len(whole), 61)]


# --- the request


@lru_cache(maxsize=64)
def _accepted(method: Any) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)


def _given(method: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    known = _accepted(getattr(method, "__func__", method))
    return {name: value for name, value in arguments.items() if name in known}


def _with(method: Any, arguments: dict[str, Any]) -> Callable[[], Any]:
    given = _given(method, arguments)
    return lambda: method(**given)


def _method(client: Any, stream: Stream, mode: str) -> Callable[[], Any] | None:
    asked = dict(stream.request)
    asked.setdefault("model", "gpt-4o")
    if stream.api == "responses":
        return _responses(client, asked, mode)
    if stream.api == "completions":
        asked.setdefault("prompt", "Say it")
        return None if mode.startswith("helper") else _create(client.completions, asked, mode)
    if stream.api != "chat":
        return None if mode.startswith("helper") or mode == "raw" else _other(client, stream)
    asked.setdefault("messages", [{"role": "user", "content": "Say it"}])
    if not mode.startswith("helper"):
        return _create(client.chat.completions, asked, mode)
    beta = getattr(getattr(getattr(client, "beta", None), "chat", None), "completions", None)
    helper = getattr(client.chat.completions, "stream", getattr(beta, "stream", None))
    if helper is None:
        return None
    if "tools" in asked:
        asked["tools"] = [_strict(tool) for tool in asked["tools"]]
    asked.pop("stream", None)
    return _with(helper, asked)


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as the helper wants it: it refuses others."""
    if tool.get("type") != "function":
        return tool
    function = {"strict": True, **tool["function"]}
    parameters = {"additionalProperties": False, "required": [], **function.get("parameters", {"type": "object"})}
    return {**tool, "function": {**function, "parameters": parameters}}


def _create(resource: Any, asked: dict[str, Any], mode: str) -> Callable[[], Any] | None:
    if mode != "raw":
        return _with(resource.create, {**asked, "stream": True})
    raw = getattr(resource, "with_raw_response", None)
    if raw is None:
        return None
    given = _given(resource.create, {**asked, "stream": True})
    return lambda: raw.create(**given).parse()


def _responses(client: Any, asked: dict[str, Any], mode: str) -> Callable[[], Any] | None:
    resource = getattr(client, "responses", None)
    if resource is None:
        return None
    if "starting_after" in asked:
        resumed = {"response_id": asked.get("response_id", "resp_1"), "starting_after": asked["starting_after"]}
        if mode.startswith("helper"):
            return _with(resource.stream, resumed) if "response_id" in _accepted(_helper(resource)) else None
        takes = "starting_after" in _accepted(type(resource).retrieve)
        return _with(resource.retrieve, {**resumed, "stream": True}) if takes and mode != "raw" else None
    asked.setdefault("input", "Say it")
    if mode.startswith("helper"):
        return _with(resource.stream, asked) if hasattr(resource, "stream") else None
    return _create(resource, asked, mode)


def _helper(resource: Any) -> Any:
    return getattr(type(resource), "stream", lambda: None)


#: Where streams come from that are read as plain data.
_PATHS = {
    "assistants": "/threads/runs",
    "images": "/images/generations",
    "transcriptions": "/audio/transcriptions",
}


def _other(client: Any, stream: Stream) -> Callable[[], Any] | None:
    if stream.api == "agents":
        agents = getattr(client.beta, "agents", None)
        return None if agents is None else lambda: agents.sessions.events.stream("asess_1")
    stream_class = openai.AsyncStream if isinstance(client, openai.AsyncOpenAI) else openai.Stream
    path = _PATHS.get(stream.api, "/other")
    body = {"stream": True, "model": stream.request.get("model", "gpt-4o")}
    return lambda: client.post(path, cast_to=object, body=body, stream=True, stream_cls=stream_class[object])


# --- reading


def failure(error: BaseException) -> tuple[str, str]:
    """Return what an application learns from an exception."""
    return type(error).__qualname__, str(error)[:300]


def _read_create(method: Callable[[], Any]) -> Read:
    read = Read([])
    try:
        stream = method()
        try:
            for chunk in itertools.islice(stream, MOST_CHUNKS):
                read.chunks.append(chunk)
        finally:
            getattr(stream, "close", stream.response.close)()
    except Exception as error:
        read.error = failure(error)
    return read


async def _read_create_async(method: Callable[[], Any]) -> Read:
    read = Read([])
    try:
        stream = await method()
        try:
            async for chunk in stream:
                read.chunks.append(chunk)
        finally:
            await getattr(stream, "close", stream.response.aclose)()
    except Exception as error:
        read.error = failure(error)
    return read


def _read_helper(method: Callable[[], Any]) -> Read:
    read = Read([])
    try:
        with method() as stream:
            for event in itertools.islice(stream, MOST_CHUNKS):
                read.chunks.append(described(event))
            try:
                read.final = getattr(stream, _final(stream))()
            except Exception as error:
                read.final_error = failure(error)
    except Exception as error:
        read.error = failure(error)
    return read


async def _read_helper_async(method: Callable[[], Any]) -> Read:
    read = Read([])
    try:
        async with method() as stream:
            async for event in stream:
                read.chunks.append(described(event))
            try:
                read.final = await getattr(stream, _final(stream))()
            except Exception as error:
                read.final_error = failure(error)
    except Exception as error:
        read.error = failure(error)
    return read


def _final(stream: Any) -> str:
    return "get_final_response" if hasattr(stream, "get_final_response") else "get_final_completion"


#: What of a helper's event an application looks at. Snapshots are the helper's own, and change while it reads on.
_TOLD = (
    *("delta", "item_id", "output_index", "content_index", "index", "name", "arguments", "arguments_delta", "content"),
    *("text", "refusal", "input", "tool_call_id", "sequence_number", "summary_index"),
)


@dataclass(frozen=True)
class Told:
    """An event of a helper, as it was when it came: its type, and its members that are plain data."""

    type: str
    members: dict[str, Any]
    item: tuple[Any, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["members"].get(name) if "members" in self.__dict__ else None


def described(event: Any) -> Told:
    """Return an event as it is now, for a helper alters its snapshots afterwards."""
    members = {name: getattr(event, name) for name in _TOLD if isinstance(getattr(event, name, None), (str, int))}
    item = getattr(event, "item", None)
    about = tuple(getattr(item, name, None) for name in ("type", "id", "call_id", "name")) if item is not None else ()
    return Told(str(getattr(event, "type", type(event).__name__)), members, about)


_READS: dict[str, Any] = {
    "create": _read_create,
    "create_async": _read_create_async,
    "raw": _read_create,
    "helper": _read_helper,
    "helper_async": _read_helper_async,
}
