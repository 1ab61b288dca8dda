"""Do no harm: whatever fails inside Streamwatch, the application reads what the plain SDK gives.

Every function and method of the modules that see a stream is made to fail in turn, from its first
call on and from a later one on, while streams are read. The functions are found by introspection:
one that is written tomorrow is broken here tomorrow.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import inspect
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

import streamwatch
from conftest import settle
from helpers import sdk
from helpers.quick import is_quick, sample
from streamwatch.core.settings import Policy, Settings
from streamwatch.export.log import FindingsLog
from streamwatch.sdk import instrumentor

CORE = Path(streamwatch.__file__).parent / "core"
#: Everything that runs while a stream is read and is not itself the net that catches: the core but for its tables.
MODULES = (
    *(
        ".".join(("core", *path.relative_to(CORE).with_suffix("").parts))
        for path in sorted(CORE.rglob("[a-z]*.py"))
        if path.stem not in ("kinds", "known_issues", "settings")
    ),
    *(
        "sdk.request_info",
        "sdk.chunk_builder",
        "sdk.shape_template",
        "sdk.waiting",
        "sdk.lines",
        "export.telemetry",
        "export.log",
    ),
)
#: Of the net itself, what it catches.
CAUGHT = {
    "session.StreamSession.__init__",
    "session.StreamSession._tick",
    "session.StreamSession._notice_closing",
    "session.StreamSession._forget_closing",
    "instrumentor.Agent.opened",
    "instrumentor.Agent.ended",
    "instrumentor.Agent.record_collected",
}
#: Failures that cost a label or a hint at most, and are not worth counting.
ABSORBED = {
    "request_info._joins_fragments",
    "request_info._recovers_output",
    "request_info.is_installed",
    "request_info._by_name",
    "request_info.opened_by_helper",
    *(
        f"via.{name}" for name in ("path_of", "_named", "_told", "_ordered")
    ),  # of a path that can't be read nothing is said
    "telemetry.Telemetry.internal_error",  # who counts the counter?
    "telemetry.Telemetry.close",  # called after a failure alone
}
#: Called by a reader of metrics and by no stream: the metrics SDK logs a failure.
COLLECTION = {"telemetry.Series.copy", "telemetry.Telemetry._all_series", "telemetry.Telemetry._published"} | {
    f"telemetry.Telemetry._observe_{what}" for what in ("streams", "chunks", "anomalies", "repairs", "errors")
}
#: Not made to fail, because a failure of theirs is one of the call itself.
SPARED = {
    "stream.StreamWatch.receive",  # its first statement keeps the bytes for the SDK
    "telemetry.RecordedStream.__init__",  # holds the span, and nothing else does
}
Way = tuple[str, int]
#: How a stream is read: mode, and bytes in a read, where 0 is one read an event.
WAYS: list[Way] = sample([("sync", 7), ("sync", 0), ("async", 0), ("async", 7)], 2)
#: The call from which on a function fails, and how streams are read then. The third call is in the middle of one.
FAILURES = {"at once": (1, WAYS), "later": (3, WAYS[:1])}
#: One failure in one way of reading: when, the call from which on a function fails, and how streams are read.
TRIES = [(when, fails_from, way) for when, (fails_from, ways) in FAILURES.items() for way in ways]


T = TypeVar("T")


class Boom(Exception):
    """Nothing else raises it."""


# --- what can fail


def functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """All functions and methods written in a module, by name."""
    short = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and not getattr(value, "_is_protocol", False):
            members = [(f"{name}.{member}", thing) for member, thing in vars(value).items() if member != "__new__"]
        else:
            members = [(name, value)]
        for qualified, member in members:
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            # What a dataclass generates has another file name.
            if isinstance(function, FunctionType) and function.__code__.co_filename == module.__file__:
                yield f"{short}.{qualified}", function


def every_function() -> dict[str, FunctionType]:
    """Everything that is made to fail."""
    found: dict[str, FunctionType] = {}
    for name in MODULES:
        if importlib.util.find_spec(f"streamwatch.{name}"):
            found |= functions(importlib.import_module(f"streamwatch.{name}"))
    for name in ("session", "instrumentor"):
        module = importlib.import_module(f"streamwatch.sdk.{name}")
        found |= {name: function for name, function in functions(module) if name in CAUGHT}
    return {name: function for name, function in found.items() if name not in SPARED | COLLECTION}


FUNCTIONS = every_function()


class Fault:
    """Stands for a function, whoever holds it and under whatever name, and fails from some call on."""

    def __init__(self, function: FunctionType, fails_from: int) -> None:
        self.function, self.fails_from = function, fails_from
        self.calls = 0
        self.code = function.__code__
        self.original = FunctionType(self.code, function.__globals__, None, function.__defaults__, function.__closure__)
        self.original.__kwdefaults__ = function.__kwdefaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls >= self.fails_from:
            raise Boom(self.function.__qualname__)
        return self.original(*args, **kwargs)

    def __enter__(self) -> Fault:
        # The code is exchanged, and not the name: tables and other modules hold the function itself.
        self.function.__globals__["fault_of_test"] = self
        self.function.__code__ = _of_method.__code__ if self.code.co_freevars else _of_function.__code__
        return self

    def __exit__(self, *_error: object) -> None:
        self.function.__code__ = self.code
        del self.function.__globals__["fault_of_test"]


def _of_function(*args: Any, **kwargs: Any) -> Any:
    return globals()["fault_of_test"](*args, **kwargs)


def _make(__class__: type) -> FunctionType:
    def of_method(*args: Any, **kwargs: Any) -> Any:
        __class__  # noqa: B018 -- a function that calls super() has this cell, and its code must keep it
        return globals()["fault_of_test"](*args, **kwargs)

    return of_method  # type: ignore[return-value]


_of_method = _make(Boom)


# --- what is read meanwhile


def odd_chat() -> list[dict[str, Any]]:
    """A broken chat completion of which every chunk is delivered, mended or not, one for one."""
    first, *rest = sdk.tool_chat()
    del rest[3]["choices"][0]["delta"]["tool_calls"][0]["index"]
    rest[4]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] = "time"
    return [
        {**first, "object": ""},
        sdk.chunk({"content": "a \ufffd"}),
        sdk.chunk({"role": "assistant", "content": None}),
        sdk.chunk({"content": "b"}, ""),
        sdk.chunk(None),
        sdk.chunk({"reasoning_content": "so"}),
        {**sdk.chunk({}), "choices": None},
        *rest,
        {**sdk.chunk({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    ]


def wild_chat() -> list[bytes]:
    """Nearly everything at once, up to an event that the SDK raises on."""
    fragment = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    deltas: list[Any] = [
        {"content": ["a"]},
        {"tool_calls": [{**fragment, "index": 3}]},
        {"tool_calls": [{**fragment, "id": "call_2"}, {"index": None, "function": None}]},
        {"tool_calls": [{"function": {"arguments": {"a": 1}}}, None]},
        {"tool_calls": {"index": 7, "function": {"arguments": "}"}}},
        {"tool_calls": None, "content": None},
        {"tool_calls": [{"index": 0, "id": "", "type": None, "function": {"name": "f", "arguments": None}}] * 2},
    ]
    numbered = [{**sdk.chunk({"content": str(number)}), "seq": number} for number in (1, 2, 3, 4, 7, 6, 5, 5, 8)]
    return [
        b": hello\n\n",
        *map(sdk.frame, numbered),
        b"data:" + sdk.frame(sdk.chunk({"content": "\u2028"}))[6:-2] + b"\r\n\r\n",
        b"event: ping\ndata: {}\n\nevent: error\ndata: {}\n\ndata: null\n\ndata: [1]\n\nretry: 5\n",
        *(sdk.frame(sdk.chunk(delta)) for delta in deltas),
        *map(sdk.frame, [sdk.chunk({}, "stop"), sdk.chunk({"content": "after"}), {"choices": [{}]}, {"choices": 7}]),
        b'data: {"id": "torn\n\n',
    ]


@dataclass(frozen=True)
class Stream:
    """A stream that is read while something fails, and how."""

    api: str
    reads: list[bytes]
    repair: str

    def read(self, way: Way) -> sdk.Outcome:
        """What an application gets."""
        mode, size = way
        return sdk.read(mode, sdk.cut(self.reads, size) if size else self.reads, self.api)

    def outcomes(self) -> dict[Way, sdk.Outcome]:
        """What an application gets, in every way."""
        return {way: self.read(way) for way in WAYS}


STREAMS = {
    "healthy": Stream("chat", sdk.frames(sdk.tool_chat()), "default"),
    "odd": Stream("chat", sdk.frames(odd_chat()), "default"),
    "wild": Stream("chat", wild_chat(), "none"),
    "other": Stream("other", sdk.frames([{"type": "a.delta", "delta": "a"}, {"error": {"message": "no"}}]), "default"),
}
if sdk.HAS_RESPONSES:
    events = sdk.responses()
    swapped, torn = sdk.disordered(events), [*events[:2], *events[5:8], {"type": "error", "message": "no"}]
    STREAMS["torn"] = Stream("responses", sdk.frames(torn, done=False), "none")
    STREAMS["observed"] = Stream("responses", sdk.frames(swapped, done=False), "none")
    #: The one in which events are held, to be handed on later.
    STREAMS["disordered"] = Stream("responses", sdk.frames(swapped, done=False), "default")

Outcomes = dict[str, dict[Way, sdk.Outcome]]


@pytest.fixture(scope="module")
def plain() -> Outcomes:
    """What the plain SDK gives."""
    return {name: stream.outcomes() for name, stream in STREAMS.items()}


@pytest.fixture(scope="module")
def mended(plain: Outcomes) -> list[Outcomes]:
    """What Streamwatch makes of it as long as nothing fails; and if it does not know who reads."""
    streamwatch.instrument()
    outcomes: list[Outcomes] = [{}, {}]
    for some, less in zip(outcomes, ("", ",-fill_content")):
        for name, stream in STREAMS.items():
            repair(stream.repair + less)
            some[name] = stream.outcomes()
    settle()
    streamwatch.uninstrument()
    return outcomes


def repair(policy: str) -> None:
    """Go on with another policy, as if nothing had been read before."""
    instrumentor.agent.settings = Settings(repair=Policy(policy))
    instrumentor.agent._log = FindingsLog()


@pytest.fixture(scope="module")
def reached(mended: list[Outcomes]) -> dict[str, set[str]]:
    """The functions that each stream needs."""
    names = {function.__code__: name for name, function in FUNCTIONS.items()}
    needed: dict[str, set[str]] = {}
    streamwatch.instrument(tracer_provider=TracerProvider())
    for label, stream in STREAMS.items():
        repair(stream.repair)
        called: set[CodeType] = set()
        sys.setprofile(lambda frame, event, argument, called=called: called.add(frame.f_code))  # type: ignore[misc]
        stream.outcomes()
        settle()
        sys.setprofile(None)
        needed[label] = {names[code] for code in called & names.keys()}
    streamwatch.uninstrument()
    gc.freeze()  # what the SDK imported meanwhile
    return needed


def differences(stream: Stream, got: sdk.Outcome, plain: sdk.Outcome, mended: list[sdk.Outcome]) -> list[str]:
    """What the application did not get as the SDK gave it, or as it was mended before the failure."""
    if got.error != plain.error or len(got.chunks) != len(plain.chunks):
        return [f"{len(got.chunks)} chunks and {got.error} instead of {len(plain.chunks)} and {plain.error}"]
    if stream.api == "responses" and stream.repair != "none":  # in their order or not, but every one once
        missing = [chunk for chunk in plain.chunks if got.chunks.count(chunk) != 1]
        return [f"not there once: {missing}"] if missing else []
    allowed = [plain] if stream.repair == "none" else [plain, *mended]
    choices = zip(got.chunks, *(outcome.chunks for outcome in allowed))
    return [f"{chunk} instead of {wanted}" for chunk, *wanted in choices if chunk not in wanted]


class Spans(SpanProcessor):
    """Counts the spans that are open."""

    def __init__(self) -> None:
        self.open = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.open += 1

    def on_end(self, span: Any) -> None:
        self.open -= 1


def harm(name: str, label: str, plain: Outcomes, mended: list[Outcomes]) -> tuple[bool, list[str]]:
    """Whether a function failed while a stream was read, and how the application noticed."""
    stream, found, fired = STREAMS[label], [], False
    repair(stream.repair)
    for when, fails_from, way in chosen(name, TRIES):
        with Fault(FUNCTIONS[name], fails_from) as fault:
            got = stream.read(way)
            with contextlib.suppress(Boom):
                settle()  # some releases of the SDK leave a stream that they can't read to the garbage collector
        fired = fired or fault.calls >= fails_from
        others = [some[label][way] for some in mended]
        wrong = differences(stream, got, plain[label][way], others)
        found += [f"{label} {way} {when}: {difference[:600]}" for difference in wrong]
    return fired, found


def chosen(name: str, among: Sequence[T]) -> Sequence[T]:
    """Return all, or in a quick run one: another one for each function, and the same in each run."""
    return [among[zlib.crc32(name.encode()) % len(among)]] if among and is_quick() else among


@pytest.fixture(autouse=True)
def _no_exceptions_in_the_log() -> Iterator[None]:
    """pytest keeps what is logged, and a logged exception keeps the stream in which it was raised."""
    logger = logging.getLogger("streamwatch")

    def without_exception(record: logging.LogRecord) -> bool:
        return not record.exc_info

    logger.addFilter(without_exception)
    yield
    logger.removeFilter(without_exception)


# --- the properties


@pytest.mark.quick_cases(20)
@pytest.mark.internal_errors_expected
@pytest.mark.parametrize("name", sample(list(FUNCTIONS), 240))
def test_the_application_never_notices_a_failing_function(
    name: str,
    plain: Outcomes,
    mended: list[Outcomes],
    reached: dict[str, set[str]],
    providers: dict[str, Any],
    watch: Callable[..., Any],
    internal_errors: list[str],
) -> None:
    """Every chunk comes once, as the SDK gives it or mended; the failure is counted; no span stays open."""
    open_spans = Spans()
    providers["tracer_provider"].add_span_processor(open_spans)
    watched = watch()
    wrong: list[str] = []
    for label in chosen(name, [label for label in STREAMS if label != "disordered" and name in reached[label]]):
        before = len(internal_errors)
        fired, found = harm(name, label, plain, mended)
        wrong += found
        if fired and name not in ABSORBED and len(internal_errors) == before:
            wrong.append(f"{label}: not noticed")

    counted = watched.internal_errors()
    if open_spans.open:
        gc.collect()
        watched.settle()
    if open_spans.open or instrumentor.agent.any_open:
        wrong.append(f"{open_spans.open} spans are still open")
    if counted != len(internal_errors) and name not in ABSORBED:
        wrong.append(f"{counted} errors counted instead of {len(internal_errors)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.internal_errors_expected
@pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")
def test_what_is_held_is_not_lost_by_a_failing_function(
    plain: Outcomes, mended: list[Outcomes], reached: dict[str, set[str]], watch: Callable[..., Any]
) -> None:
    """An event that waits for its turn is delivered once, whatever fails meanwhile."""
    watch()
    failing = sample(sorted(reached["disordered"]), 20)
    wrong = {name: harm(name, "disordered", plain, mended)[1] for name in failing}

    assert {} == {name: found for name, found in wrong.items() if found}


@pytest.mark.parametrize("module", MODULES)
def test_the_streams_reach_most_of_what_can_fail(module: str, reached: dict[str, set[str]]) -> None:
    """A test that makes functions fail proves nothing of those that are never called."""
    names = {name for name in FUNCTIONS if name.startswith(f"{module}.")}
    called = names & set().union(*reached.values())
    if module in ("responses", "items", "texts") and not sdk.HAS_RESPONSES:
        pytest.skip("this release has no Responses API")

    assert len(called) >= len(names) * 0.6, f"never called: {sorted(names - called)}"
