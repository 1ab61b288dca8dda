"""The SDK's source where Streamwatch takes hold of it: when a release moves something there, this says what.

All other tests say whether streams still work. This one says why they do not, or, which is worse, that they work on a
way of the SDK's own past us.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from helpers import sdk
from streamwatch.sdk import raw_streams
from streamwatch.sdk.socket_protocols import PROTOCOLS

#: Older lines are closed: all that matters of them is that streams work.
pytestmark = pytest.mark.skipif(sdk.VERSION < (1, 109), reason="the source of this release does not move any more")

MODULES = (
    *("_streaming", "_base_client", "_models", "_response", "_version"),
    *("resources.chat.completions.completions", "resources.responses.responses", "resources.completions"),
    *("types.chat.chat_completion_chunk", "types.responses.response_stream_event", "types.completion"),
)
#: What `__stream__` may do with the JSON of an event, which may be an object that is made already.
USES = {"is_mapping(data)", "data.get", "data['error']", "{'data': data, 'event': sse.event}", "handed on"}
STATE = {"__dict__", "__pydantic_private__", "__pydantic_extra__", "__pydantic_fields_set__", "__fields_set__"}
Source = dict[str, str]
Moved = Iterator[str]


@pytest.fixture(scope="module")
def source() -> Source:
    """The modules of the SDK at our seam."""
    found = {}
    for name in MODULES:
        try:
            found[name] = inspect.getsource(importlib.import_module(f"openai.{name}"))
        except ImportError as error:
            pytest.fail(f"openai {openai.__version__} has moved: there is no module openai.{name} ({error})")
    return found


# --- reading source


parsed = functools.lru_cache(ast.parse)  # half a second of the CPU for all modules, for each of twenty tests


def find(source: str, *way: str) -> ast.AST:
    """A class, function or method; nothing, if there is none."""
    node: ast.AST = parsed(source)
    for name in way:
        members = [each for each in getattr(node, "body", ()) if getattr(each, "name", "") == name]
        if not members:
            return ast.Module([], [])
        node = members[-1]
    return node


def all_of(node: ast.AST, kind: type[ast.AST]) -> set[str]:
    """The pieces of a kind in a piece of source, in one spelling."""
    return {ast.unparse(each) for each in ast.walk(node) if isinstance(each, kind)}


def uses(node: ast.AST, name: str) -> set[str]:
    """What is done with a variable."""
    found = set()
    for parent in ast.walk(node):
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Name) and child.id == name and isinstance(child.ctx, ast.Load):
                found.add("handed on" if isinstance(parent, (ast.keyword, ast.IfExp)) else ast.unparse(parent))
    return found


def keywords(node: ast.AST, function: str) -> list[set[str]]:
    """The names of the arguments in each call of a function."""
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and ast.unparse(each.func) == function]
    return [{str(keyword.arg) for keyword in call.keywords} | set(map(ast.unparse, call.args)) for call in calls]


def is_generator(node: ast.AST) -> bool:
    """Whether nothing of a function runs before it is iterated over."""
    return any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in ast.walk(node))


# --- what has to be as it is


def moved(source: Source) -> list[str]:
    """What is not as Streamwatch knows it, and what depends on it."""
    found: list[Any] = []
    for name, way in (("Stream", "iter_bytes"), ("AsyncStream", "aiter_bytes")):
        found += moved_in_stream(source["_streaming"], name, way)
    return [
        *found,
        *moved_in_events(source),
        *moved_in_client(source),
        *moved_in_models(source),
        *moved_in_calls(source),
        *moved_in_responses(source),
    ]


def moved_in_stream(streaming: str, name: str, way: str) -> Moved:
    """Where `instrumentor._wrap` exchanges the decoder, and what asks `session.DecoderProxy`."""
    made = all_of(find(streaming, name, "__init__"), ast.Attribute)
    for attribute in ("response", "_cast_to", "_client", "_decoder", *(["_options"] if sdk.VERSION >= (2, 54) else [])):
        if f"self.{attribute}" not in made:
            yield f"{name}.__init__ does not set {attribute}: instrumentor._wrap and request_info.describe read it"
    if not is_generator(find(streaming, name, "__stream__")) or not is_generator(find(streaming, name, "_iter_events")):
        yield f"{name} does not wait for its first reader: the decoder is exchanged after __init__, which is too late"
    decodes = f"self._decoder.{way}(self.response.{way}())"
    if decodes not in all_of(find(streaming, name, "_iter_events"), ast.Call):
        yield f"{name}._iter_events does not call {decodes}: bytes do not come through session.DecoderProxy"
    readers = {ast.unparse(parent) for parent in attribute_parents(find(streaming, name), "self._decoder")}
    if readers - {f"self._decoder.{way}", "self._decoder = client._make_sse_decoder()"}:
        yield f"{name} does more with its decoder: {sorted(readers)}; session.DecoderProxy knows {way} alone"
    body = find(streaming, name, "__stream__")
    if "self._cast_to" not in all_of(body, ast.Attribute) or is_assigned(find(streaming, name), "_cast_to"):
        yield f"{name}.__stream__ does not read its own _cast_to: session.CastTo tells it there what is built"
    if uses(body, "sse") != {"sse.data", "sse.event", "sse.json"}:
        yield f"{name}.__stream__ reads of an event {sorted(uses(body, 'sse'))}: sse.Event has data, event and json"
    if "sse.data.startswith('[DONE]')" not in all_of(body, ast.Call):
        yield f"{name}.__stream__ does not stop at [DONE] in the data: stream.StreamWatch does"
    if not uses(body, "data") or uses(body, "data") - USES:
        yield f"{name}.__stream__ does with the JSON {sorted(uses(body, 'data') - USES)}: chunk_builder.ChunkBuilder hands it objects"
    calls = keywords(body, "process_data")
    if not calls or any(call != {"data", "cast_to", "response"} for call in calls):
        yield f"{name}.__stream__ calls process_data with {calls}: chunk_builder.ChunkBuilder expects data, cast_to and response"


def is_assigned(class_: ast.AST, name: str) -> bool:
    """Whether a class has a member of its own with a name, beside what its instances have."""
    return any(
        isinstance(each, ast.Assign) and name in map(ast.unparse, each.targets) for each in getattr(class_, "body", ())
    )


def attribute_parents(node: ast.AST, attribute: str) -> Iterator[ast.AST]:
    """Where an attribute stands in."""
    for parent in ast.walk(node):
        if any(
            isinstance(child, ast.Attribute) and ast.unparse(child) == attribute
            for child in ast.iter_child_nodes(parent)
        ):
            yield parent


def moved_in_events(source: Source) -> Moved:
    """What `sse.Event` stands in for, and what `reading` hands the rest of a stream to."""
    for member in ("data", "event", "id", "retry", "json"):
        if not getattr(find(source["_streaming"], "ServerSentEvent", member), "body", None):
            yield f"ServerSentEvent has no {member}: chunk_builder.EventTypes inherits from it"
    for method in ("iter_bytes", "aiter_bytes"):
        function = find(source["_streaming"], "SSEDecoder", method)
        taken = (
            [each.arg for each in function.args.args]
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            else []
        )
        if len(taken) != 2 or not is_generator(function):
            yield f"SSEDecoder.{method} takes {taken}: iterators.Events gives it the rest of a stream that we leave to it"


def moved_in_client(source: Source) -> Moved:
    """What `chunk_builder` spares the SDK, and where it looks whether somebody else is asked."""
    client = source["_base_client"]
    if "SSEDecoder()" not in all_of(find(client, "BaseClient", "_make_sse_decoder"), ast.Call):
        yield "BaseClient._make_sse_decoder does not make an SSEDecoder(): instrumentor._wrap takes it for somebody else's"
    process = find(client, "BaseClient", "_process_response_data")
    if "self._strict_response_validation" not in all_of(process, ast.Attribute):
        yield "_process_response_data does not ask _strict_response_validation: chunk_builder.constructs_as_known does"
    if {"response", "data"} not in keywords(process, "cast_to.build"):
        yield "_process_response_data does not call cast_to.build(response=, data=): session.CastTo has it leave alone what is built"
    if {"type_", "value"} not in keywords(process, "construct_type"):
        yield "_process_response_data does not call construct_type(type_=, value=): chunk_builder.ChunkBuilder does it in its place"


def moved_in_models(source: Source) -> Moved:
    """What `shape_template.ShapeTemplate` makes objects of."""
    function = find(source["_models"], "construct_type")
    named = [each.arg for each in function.args.kwonlyargs] if isinstance(function, ast.FunctionDef) else []
    if named[:2] != ["value", "type_"]:
        yield f"construct_type takes {named}: chunk_builder.ChunkBuilder calls it with value and type_"
    construct = find(source["_models"], "BaseModel", "construct")
    state = {ast.literal_eval(call.args[1]) for call in ast.walk(construct) if is_setattr(call)}  # type: ignore[attr-defined]
    if state != STATE:
        yield f"BaseModel.construct sets {sorted(state)}: shape_template.ShapeTemplate sets {sorted(STATE)}"


def is_setattr(node: ast.AST) -> bool:
    """Whether it is `object.__setattr__(m, "name", value)`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__"


def moved_in_calls(source: Source) -> Moved:
    """What chunks are cast to, and which release it is."""
    for module, cast_to, defined in (
        ("resources.chat.completions.completions", "ChatCompletionChunk", "types.chat.chat_completion_chunk"),
        ("resources.responses.responses", "ResponseStreamEvent", "types.responses.response_stream_event"),
        ("resources.completions", "Completion", "types.completion"),
    ):
        for stream in ("Stream", "AsyncStream"):
            if f"{stream}[{cast_to}]" not in source[module]:
                yield f"openai.{module} does not make a {stream}[{cast_to}]: chunk_builder builds these chunks"
        if f"class {cast_to}(" not in source[defined] and f"{cast_to}: TypeAlias" not in source[defined]:
            yield f"openai.{defined} does not define {cast_to}: chunk_builder._CASTS looks for it there"
    if "__version__ =" not in source["_version"]:
        yield "openai._version has no __version__: calls.openai_version reads it"


def moved_in_responses(source: Source) -> Moved:
    """What `raw_streams` sees the streams by that are read below the seam."""
    for name, method in raw_streams._MANAGERS:
        if not all_of(find(source["_response"], name, method), ast.Return):
            yield f"{name} has no {method} that returns a response: raw_streams watches the bodies that it hands out"
    kept = all_of(find(source["_response"], "BaseAPIResponse", "__init__"), ast.Attribute)
    for attribute in ("_is_sse_stream", "_options"):
        if f"self.{attribute}" not in kept:
            yield f"BaseAPIResponse.__init__ does not set {attribute}: raw_streams reads it"


# --- connections over WebSockets


def connections() -> Source:
    """The modules of the SDK that have connections, as far as this release has them."""
    found = {}
    for name in PROTOCOLS:
        with contextlib.suppress(ImportError):
            source = inspect.getsource(importlib.import_module(name))
            found.update({name: source} if "def recv_bytes(" in source else {})
    return found


def moved_in_connections(source: str) -> Moved:
    """Where `websocket.Connections` sees messages, and what `socket_events.EventBuilder` makes objects in place of."""
    for class_ in (each for each in parsed(source).body if isinstance(each, ast.ClassDef)):
        receive = find(source, class_.name, "recv_bytes")
        if not isinstance(receive, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if [each.arg for each in receive.args.args] != ["self"]:
            yield f"{class_.name}.recv_bytes takes arguments: websocket.Connections hands on messages whatever they say"
        if "self._connection" not in all_of(receive, ast.Attribute):
            yield f"{class_.name}.recv_bytes does not read _connection: socket_waiting waits for messages of that"
        if "self.recv_bytes()" not in all_of(find(source, class_.name, "recv"), ast.Call):
            yield f"{class_.name}.recv does not call recv_bytes: events do not come through websocket.Connections"
        parse = find(source, class_.name, "parse_event")
        if {"json.loads(data)", "construct_type_unchecked"}.isdisjoint(
            all_of(parse, ast.Call) | all_of(parse, ast.Name)
        ):
            yield f"{class_.name}.parse_event makes its objects otherwise: socket_events.EventBuilder builds none"


@pytest.mark.slow
def test_no_connection_has_moved() -> None:
    """The second seam of this release is the one that Streamwatch knows."""
    found = [f"{name}: {each}" for name, source in connections().items() for each in moved_in_connections(source)]

    assert not found, f"openai {openai.__version__} has moved:\n" + "\n".join(f"- {each}" for each in found)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("async def recv_bytes(self)", "async def recv_bytes(self, timeout=None)", "takes arguments"),
        ("await self._connection.recv(", "await self._socket.recv(", "does not read _connection"),
        (
            "self.parse_event(await self.recv_bytes())",
            "self.parse_event(await self._next())",
            "does not call recv_bytes",
        ),
        ("construct_type_unchecked(", "validated(", "makes its objects otherwise"),
    ],
)
def test_what_moves_in_a_connection_is_named(old: str, new: str, told: str) -> None:
    """One thing is moved in the source of the Realtime API's connections."""
    source = connections().get("openai.resources.realtime.realtime")
    if source is None:
        pytest.skip("no such module in this release")
    assert old in source
    changed = source.replace(old, new).replace(
        "json.loads(data)", "data" if new == "validated(" else "json.loads(data)"
    )

    assert any(told in each for each in moved_in_connections(changed))


# --- the properties


def test_nothing_has_moved(source: Source) -> None:
    """The seam of this release is the one that Streamwatch knows."""
    found = moved(source)

    assert not found, f"openai {openai.__version__} has moved:\n" + "\n".join(f"- {each}" for each in found)


@pytest.mark.parametrize(
    ("module", "old", "new", "told"),
    [
        ("_streaming", "self._decoder = client", "self._parser = client", "does not set _decoder"),
        ("_streaming", "self.response.iter_bytes()", "self.response.iter_lines()", "Stream._iter_events does not call"),
        ("_streaming", "self.response.aiter_bytes()", "self.response.aiter_raw()", "AsyncStream._iter_events does not"),
        ("_streaming", "yield from self._decoder.iter", "return self._decoder.iter", "wait for its first reader"),
        ("_streaming", "data = sse.json()", "data = sse.json_data()", "Stream.__stream__ reads of an event"),
        ("_streaming", 'startswith("[DONE]")', 'startswith("[END]")', "does not stop at [DONE]"),
        ("_streaming", "is_mapping(data) and", "data['choices'] and", "does with the JSON"),
        ("_streaming", "response=response)", "response=response, raw=sse.data)", "calls process_data with"),
        ("_streaming", "def retry(", "def retry_after(", "ServerSentEvent has no retry"),
        (
            "_streaming",
            "iterator: Iterator[bytes])",
            "iterator: Iterator[bytes], limit: int)",
            "SSEDecoder.iter_bytes takes",
        ),
        ("_base_client", "return SSEDecoder()", "return FastDecoder()", "does not make an SSEDecoder()"),
        ("_base_client", "if self._strict_response_validation", "if self._strict", "does not ask _strict"),
        ("_base_client", "construct_type(type_=cast_to, value=data)", "build(data)", "does not call construct_type"),
        ("_models", "def construct_type(*, value", "def construct_type(*, data", "construct_type takes"),
        ("_models", '"__pydantic_extra__", _extra', '"__extra__", _extra', "BaseModel.construct sets"),
        ("types.completion", "class Completion(", "class TextCompletion(", "does not define Completion"),
        (
            "resources.completions",
            "AsyncStream[Completion]",
            "AsyncIterator[Completion]",
            "does not make a AsyncStream",
        ),
        ("_version", "__version__", "VERSION", "has no __version__"),
        ("_response", "def __aenter__(", "def enter(", "AsyncResponseContextManager has no __aenter__"),
        ("_response", "self._is_sse_stream = stream", "self._streams = stream", "does not set _is_sse_stream"),
    ],
)
def test_what_moves_is_named(source: Source, module: str, old: str, new: str, told: str) -> None:
    """One thing is moved in the source of this release: the canary says which."""
    assert old in source[module]
    found = moved({**source, module: source[module].replace(old, new)})

    assert any(told in each for each in found), found


@pytest.mark.parametrize("mode", sdk.MODES)
def test_the_helper_names_itself(mode: str) -> None:
    """Its requests say who reads the stream: request_info.describe tells it from an application's own loop by that."""
    seen = []

    async def opened() -> None:
        async with sdk.helper(sdk.async_client(sdk.healthy("chat"))) as stream:
            seen.append(stream._response.request.headers)

    if mode == "async":
        asyncio.run(opened())
    else:
        with sdk.helper(sdk.client(sdk.healthy("chat"))) as stream:
            seen.append(stream._response.request.headers)

    assert "chat.completions.stream" == seen[0].get("x-stainless-helper-method"), dict(seen[0])


@pytest.mark.skipif(sdk.PYDANTIC_1, reason="no objects are made with pydantic 1")
def test_an_object_that_is_made_already_stays_what_it_is() -> None:
    """What chunk_builder.ChunkBuilder hands to the SDK in place of JSON is what the application gets."""
    from openai._models import construct_type
    from openai.types.chat import ChatCompletionChunk
    from openai.types.responses import ResponseStreamEvent

    for cast_to, payload in ((ChatCompletionChunk, sdk.chat()[1]), (ResponseStreamEvent, sdk.responses()[4])):
        made = construct_type(type_=cast_to, value=payload)

        assert construct_type(type_=cast_to, value=made) is made
