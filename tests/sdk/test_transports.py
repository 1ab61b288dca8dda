"""Whatever carries the bytes and whoever opens the stream: it is watched once, and repaired before it is read."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import http.server
import importlib
import pickle
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from conftest import Watched
from helpers import sdk
from helpers.listening import Listener
from streamwatch.core.vocabulary import Verdict

#: A chat completion that a relay stamped, and somebody brought out of order: to be repaired in every test here.
STAMPED = [{**chunk, "sequence_number": number} for number, chunk in enumerate(sdk.chat(*"abcdefghij"))]
READS = sdk.frames(sdk.disordered(STAMPED, earlier=6, later=8))
#: The same, and what is out of order comes in one read: all that can be repaired where nothing wakes a waiting reader.
TOGETHER = [*READS[:6], b"".join(READS[6:9]), *READS[9:]]
TEXT = "abcdefghij"


def check(watched: Watched, *, streams: int = 1) -> None:
    """So many streams were watched, each complete and repaired; nothing failed."""
    watched.settle()
    assert [Verdict.COMPLETE] * streams == [report.verdict for report in watched.reports]
    assert all("sequence_out_of_order" in {kind.name for kind in report.anomalies} for report in watched.reports)


def text_of(chunks: Any) -> str:
    """What an application reads."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def async_text_of(stream: Any) -> str:
    """The same for asynchronous code."""
    return text_of([chunk async for chunk in stream])


# --- over real sockets


def compressed(encoding: str) -> Callable[[bytes], bytes]:
    """Compresses one event after the other, so that each can be read at once."""
    if encoding == "br":
        brotli = pytest.importorskip("brotli")
        compressor = brotli.Compressor()
        return lambda data: compressor.process(data) + compressor.flush()
    if encoding == "zstd":
        zstandard = pytest.importorskip("zstandard")
        chunker = zstandard.ZstdCompressor().compressobj()
        return lambda data: chunker.compress(data) + chunker.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    if encoding == "identity":
        return lambda data: data
    deflate = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with READS, in the encoding that the second part of the path names; TOGETHER if the first says so."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        reads, _, path = self.path[1:].partition("/")
        encoding = path.split("/")[0]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-encoding", encoding)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        encode = compressed(encoding)
        for read in TOGETHER if reads == "together" else READS:
            data = encode(read)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server on this machine."""
    with Listener(("127.0.0.1", 0), Server) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def _serve_http2(listening: socket.socket) -> None:
    """Answers HTTP/2 requests with TOGETHER: one DATA frame each."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import StreamEnded

    headers = [(":status", "200"), ("content-type", "text/event-stream")]
    while True:
        try:
            peer, _ = listening.accept()
        except OSError:
            return
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        with peer, contextlib.suppress(OSError):
            peer.sendall(connection.data_to_send())
            while data := peer.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, StreamEnded):
                        connection.send_headers(event.stream_id, headers)
                        for read in TOGETHER:
                            connection.send_data(event.stream_id, read)
                        connection.end_stream(event.stream_id)
                peer.sendall(connection.data_to_send())


@pytest.fixture
def http2_server() -> Iterator[str]:
    """The same with HTTP/2, as a client that knows so beforehand."""
    pytest.importorskip("h2")
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve_http2, args=[listening], daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    with contextlib.suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def options(url: str, **more: Any) -> dict[str, Any]:
    """How a client is made."""
    return {"api_key": sdk.API_KEY, "base_url": url, "max_retries": 0, **more}


ENCODINGS = pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "br", "zstd"])


def supported(encoding: str) -> None:
    """Skip what this HTTP library cannot decode."""
    compressed(encoding)
    decoders = importlib.import_module(f"{sdk.httpx.__name__}._decoders").SUPPORTED_DECODERS
    if encoding not in decoders:
        pytest.skip(f"{sdk.httpx.__name__} does not decode {encoding} here")


@ENCODINGS
def test_a_compressed_answer_is_watched_as_what_it_says(encoding: str, server: str, watched: Watched) -> None:
    """The HTTP library decompresses, and Streamwatch reads what comes of it."""
    supported(encoding)
    with openai.OpenAI(**options(f"{server}/apart/{encoding}")) as client:
        assert TEXT == text_of(sdk.create(client))

    check(watched)


@ENCODINGS
async def test_a_compressed_answer_is_watched_asynchronously(encoding: str, server: str, watched: Watched) -> None:
    """The same for asynchronous code."""
    supported(encoding)
    async with openai.AsyncOpenAI(**options(f"{server}/apart/{encoding}")) as client:
        assert TEXT == await async_text_of(await sdk.create(client))

    check(watched)


def test_http2_is_watched(http2_server: str, watched: Watched) -> None:
    """Frames of HTTP/2 are reads like any other."""
    http = sdk.httpx.Client(http1=False, http2=True)
    with openai.OpenAI(**options(http2_server, http_client=http)) as client:
        stream = sdk.create(client)
        assert "HTTP/2" == stream.response.http_version
        assert TEXT == text_of(stream)

    check(watched)


async def test_http2_is_watched_asynchronously(http2_server: str, watched: Watched) -> None:
    """The same for asynchronous code."""
    http = sdk.httpx.AsyncClient(http1=False, http2=True)
    async with openai.AsyncOpenAI(**options(http2_server, http_client=http)) as client:
        stream = await sdk.create(client)
        assert "HTTP/2" == stream.response.http_version
        assert TEXT == await async_text_of(stream)

    check(watched)


@ENCODINGS
async def test_aiohttp_is_watched(encoding: str, server: str, watched: Watched) -> None:
    """The SDK's own transport over aiohttp."""
    pytest.importorskip("aiohttp")
    supported(encoding)
    make = getattr(openai, "DefaultAioHttpClient", None)
    if make is None:
        pytest.skip("this release has no transport over aiohttp")
    async with openai.AsyncOpenAI(**options(f"{server}/together/{encoding}", http_client=make())) as client:
        assert TEXT == await async_text_of(await sdk.create(client))

    check(watched)


def test_a_body_that_is_compressed_as_a_whole_is_one_read(watched: Watched) -> None:
    """As a proxy does that buffers: nothing depends on where a read ends."""
    whole = gzip.compress(b"".join(READS))
    stream = sdk.create(sdk.client([whole], {"content-encoding": "gzip"}))

    assert TEXT == text_of(stream)
    check(watched)


# --- whoever opens the stream


AZURE = {"api_version": "2024-10-21", "base_url": None, "azure_endpoint": "https://mine.openai.azure.com"}


@pytest.mark.parametrize("mode", sdk.MODES)
def test_azure_is_told_by_its_host_and_deployment(mode: str, watched: Watched) -> None:
    """The provider is Azure, the model what the caller asked for, the snapshot what answered."""
    if mode == "sync":
        assert TEXT == text_of(sdk.create(sdk.client(READS, cls=openai.AzureOpenAI, **AZURE)))  # type: ignore[arg-type]
    else:

        async def ask() -> str:
            return await async_text_of(await sdk.create(sdk.async_client(READS, cls=openai.AsyncAzureOpenAI, **AZURE)))  # type: ignore[arg-type]

        assert TEXT == asyncio.run(ask())

    check(watched)
    labels = ("gen_ai.provider.name", "server.address", "gen_ai.request.model", "gen_ai.response.model")
    told = ("azure.ai.openai", "mine.openai.azure.com", "gpt-4o", "gpt-4o-2024-08-06")
    assert {told: 1} == watched.samples("streamwatch.streams", *labels)


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("http://localhost:8000/v1", "localhost", 8000),
        ("https://relay.test/openai/v1/", "relay.test", None),
        ("http://[::1]:1234/v1", "::1", 1234),
        ("https://api.groq.com/openai/v1", "api.groq.com", None),
    ],
)
def test_another_server_is_told_by_its_address(base_url: str, host: str, port: int | None, watched: Watched) -> None:
    """A server that speaks the protocol is watched like OpenAI's own."""
    assert TEXT == text_of(sdk.create(sdk.client(READS, base_url=base_url)))

    check(watched)
    (span,) = watched.spans
    assert host == span.attributes["server.address"]  # type: ignore[index]
    assert port == span.attributes.get("server.port")  # type: ignore[union-attr]


def test_an_http_client_of_the_callers_own_is_used_as_it_is(watched: Watched) -> None:
    """Its hooks are called once for a request, and it stays open when the stream has ended."""
    seen: list[str] = []
    hooks = {"request": [lambda _: seen.append("request")], "response": [lambda _: seen.append("response")]}
    with sdk.httpx.Client(transport=sdk.transport(READS), event_hooks=hooks) as http:
        assert TEXT == text_of(sdk.create(openai.OpenAI(**options("http://server.test/v1", http_client=http))))
        assert not http.is_closed

    assert ["request", "response"] == seen
    check(watched)


@pytest.mark.parametrize("how", ["with_options", "copy"])
def test_a_client_made_of_another_one_is_watched_once(how: str, watched: Watched) -> None:
    """Neither not at all nor twice."""
    client = sdk.client(READS)
    assert TEXT == text_of(sdk.create(getattr(client, how)(timeout=5)))
    assert TEXT == text_of(sdk.create(client))

    check(watched, streams=2)


def test_the_client_of_the_module_is_watched(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """`openai.chat.completions.create`, without a client of one's own."""
    monkeypatch.setattr(openai, "_client", None, raising=False)
    values = options("http://server.test/v1", http_client=sdk.httpx.Client(transport=sdk.transport(READS)))
    for name, value in values.items():
        monkeypatch.setattr(openai, name, value)
    openai._reset_client()

    assert TEXT == text_of(sdk.create(openai))
    check(watched)
    openai._reset_client()


_T = TypeVar("_T")


class OwnStream(openai.Stream[_T]):
    """A stream class of an application's own."""

    def loud(self) -> str:
        return text_of(self).upper()


class OwnAsyncStream(openai.AsyncStream[_T]):
    """The same for asynchronous code."""


def post(client: Any, stream_class: Any) -> Any:
    """The SDK's way for endpoints that it has no method for."""
    body = {"model": "gpt-4o", "messages": [], "stream": True}
    wanted = {"cast_to": ChatCompletionChunk, "stream": True, "stream_cls": stream_class[ChatCompletionChunk]}
    return client.post("/chat/completions", body=body, **wanted)


def test_a_subclass_of_the_sdks_stream_stays_what_it_is(watched: Watched) -> None:
    """Its own methods work, over a repaired stream."""
    stream = post(sdk.client(READS), OwnStream)

    assert OwnStream is type(stream)
    assert TEXT.upper() == stream.loud()
    check(watched)


async def test_a_subclass_of_the_asynchronous_stream_stays_what_it_is(watched: Watched) -> None:
    """The same for asynchronous code."""
    stream = await post(sdk.async_client(READS), OwnAsyncStream)

    assert OwnAsyncStream is type(stream)
    assert TEXT == await async_text_of(stream)
    check(watched)


# --- what is made for the SDK is as good as the SDK's own


def chunks() -> list[Any]:
    """The chunks of two answers: from the third of a shape on, they are made and not constructed."""
    answers = sdk.chat(*"abcdefgh"), sdk.tool_chat()
    return [chunk for answer in answers for chunk in sdk.create(sdk.client(sdk.frames(answer)))]


WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda chunk: pickle.loads(pickle.dumps(chunk)),
    "model_copy": lambda chunk: chunk.model_copy(deep=True),
    "model_validate": lambda chunk: type(chunk).model_validate(chunk.model_dump()),
    "json": lambda chunk: type(chunk).model_validate_json(chunk.model_dump_json()),
}


@pytest.mark.skipif(sdk.PYDANTIC_1, reason="with pydantic 1 the SDK constructs all chunks itself")
@pytest.mark.parametrize("way", WAYS)
def test_copies_of_chunks_are_what_copies_of_the_sdks_chunks_are(way: str, watch: Callable[..., Watched]) -> None:
    """Equal to the original, to what the SDK's own come to, and independent."""
    if sdk.VERSION < (1, 10) and way in ("model_validate", "json"):
        pytest.skip("the models of this release do not know what its servers send")
    plain = chunks()
    watch(repair="default,-fill_content")
    for ours, theirs in zip(chunks(), plain, strict=True):
        ours_copied, theirs_copied = WAYS[way](ours), WAYS[way](theirs)
        assert ours == theirs
        assert ours_copied == theirs_copied
        assert (ours == ours_copied) == (theirs == theirs_copied)
        assert ours_copied.model_dump_json() == theirs_copied.model_dump_json()
        assert ours_copied.model_fields_set == theirs_copied.model_fields_set
        assert repr(ours_copied) == repr(theirs_copied)
        before = ours.model_dump_json()
        ours_copied.model = "another"
        if way != "copy":
            ours_copied.choices.clear()
        assert before == ours.model_dump_json()


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle"])
def test_a_stream_can_be_copied_no_less_and_no_more_than_the_sdks(way: str, watch: Callable[..., Watched]) -> None:
    """The SDK's stream has a shallow copy alone, and so has a watched one."""

    def attempt() -> Any:
        stream = sdk.create(sdk.client(sdk.healthy("chat")))
        try:
            copied = WAYS[way](stream)
        except (TypeError, AttributeError):
            return "refuses"
        return text_of(copied)

    plain = attempt()
    watch()

    assert plain == attempt()
