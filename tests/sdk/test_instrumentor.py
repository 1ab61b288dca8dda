"""Switching on and off: idempotent, lazy, and without a trace once it is off."""

from __future__ import annotations

import copy
import inspect
import io
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import _streaming
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import streamwatch
from conftest import Watched
from helpers import sdk
from helpers.quick import is_quick
from streamwatch.core.settings import Settings
from streamwatch.sdk import instrumentor, raw_streams
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor
from streamwatch.sdk.session import DecoderProxy

STREAMS = (_streaming.Stream, _streaming.AsyncStream)
ROOT = Path(__file__).parents[2]


def inits() -> tuple[Any, ...]:
    """What makes streams at the moment, and what hands out bodies that none are made of."""
    managers = ((getattr(openai._response, name, None), method) for name, method in raw_streams._MANAGERS)
    below = [getattr(manager, method) for manager, method in managers if manager is not None]
    return (*(stream_class.__init__ for stream_class in STREAMS), *below)


ORIGINALS = inits()


@pytest.fixture
def off() -> Iterator[None]:
    """Streamwatch is off after the test, whoever switched it on."""
    yield
    if StreamwatchInstrumentor().is_instrumented_by_opentelemetry:
        streamwatch.uninstrument()


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMWATCH_", "OTEL_"))}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**variables, "PYTHONPATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


# --- on and off


def test_off_leaves_the_sdk_as_it_was(off: None) -> None:
    """The very functions of the SDK are back in their place, however often it is switched on and off."""
    for _ in range(3):
        streamwatch.instrument()
        assert all(now is not before for now, before in zip(inits(), ORIGINALS))
        streamwatch.uninstrument()
        assert ORIGINALS == inits()


def test_on_twice_is_on_once(watch: Callable[..., Watched], caplog: pytest.LogCaptureFixture) -> None:
    """The second call is told about, and changes nothing: a stream is watched once."""
    watched = watch()
    before = inits()
    streamwatch.instrument(repair="none")
    sdk.read("sync", sdk.healthy("chat"))

    assert before == inits()
    assert watched.report.applied
    assert "already instrumented" in caplog.text


def test_off_twice_is_off_once(off: None, caplog: pytest.LogCaptureFixture) -> None:
    """The second call is told about, and changes nothing."""
    streamwatch.instrument()
    streamwatch.uninstrument()
    streamwatch.uninstrument()

    assert ORIGINALS == inits()
    assert "already uninstrumented" in caplog.text


def test_a_stream_made_before_is_left_alone(watch: Callable[..., Watched]) -> None:
    """It keeps the decoder it has."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    watched = watch()

    assert not isinstance(stream._decoder, DecoderProxy)
    assert 6 == len(list(stream))
    watched.settle()
    assert [] == watched.reports


def test_a_stream_made_before_switching_off_is_watched_to_its_end(watch: Callable[..., Watched]) -> None:
    """Switching off is about new streams."""
    watched = watch()
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    next(stream)
    watch.stop()  # type: ignore[attr-defined]
    sdk.read("sync", sdk.healthy("chat"))

    assert 5 == len(list(stream))
    assert "complete" == watched.report.verdict


def test_on_off_on_counts_every_stream_once(watch: Callable[..., Watched]) -> None:
    """And the streams read while it was off are not counted."""
    counts = []
    for _ in range(3):
        watched = watch()
        sdk.read("sync", sdk.healthy("chat"))
        watch.stop()  # type: ignore[attr-defined]
        sdk.read("sync", sdk.healthy("chat"))
        counts.append(sum(watched.samples("streamwatch.streams").values()))

    assert [1, 2, 3] == counts


def test_another_wrapper_on_top_survives(watch: Callable[..., Watched]) -> None:
    """Whoever wrapped after us stays when we leave; a stream is not watched then, and once when we are back."""
    watched, ours = watch(), _streaming.Stream.__init__

    def theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        ours(self, *args, **kwargs)

    try:
        _streaming.Stream.__init__ = theirs  # type: ignore[method-assign]
        watch.stop()  # type: ignore[attr-defined]
        assert _streaming.Stream.__init__ is theirs
        sdk.read("sync", sdk.healthy("chat"))
        assert [] == watched.reports
        watched = watch()
        sdk.read("sync", sdk.healthy("chat"))
        assert "complete" == watched.report.verdict
    finally:
        watch.stop()  # type: ignore[attr-defined]
        _streaming.Stream.__init__ = ORIGINALS[0]  # type: ignore[method-assign]


def test_the_sdk_s_classes_say_how_they_are_called(off: None) -> None:
    """Who wraps them, or writes stubs of them, asks for that."""
    classes = (openai.Stream, openai.AsyncStream)
    plain = [inspect.signature(cls) for cls in classes]
    StreamwatchInstrumentor().instrument()
    try:
        assert [inspect.signature(cls) for cls in classes] == plain
    finally:
        StreamwatchInstrumentor().uninstrument()


def test_the_stream_object_stays_the_sdks_own(watched: Watched) -> None:
    """Type, attributes and methods: nothing but the decoder is exchanged."""
    plain_names = {"response", "_cast_to", "_client", "_decoder", "_iterator", "_options", "__orig_class__"}
    stream = sdk.create(sdk.client(sdk.healthy("chat")))

    assert type(stream) is openai.Stream
    assert set(vars(stream)) <= plain_names
    assert stream.response.status_code == 200
    assert isinstance(stream._decoder, DecoderProxy)
    assert isinstance(next(iter(stream._iter_events())), _streaming.ServerSentEvent)


def test_what_a_decoder_has_beside_is_still_there(watched: Watched) -> None:
    """Code that looks for another member of the SDK's decoder finds it."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))

    assert callable(stream._decoder.decode)
    with pytest.raises(AttributeError, match="nothing"):
        _ = stream._decoder.nothing
    list(stream)


# --- when openai comes


BEFORE_OR_AFTER = """
import sys
{first}
{second}
from helpers import sdk
from streamwatch.testing import reports
with reports() as seen:
    for mode in sdk.MODES:
        sdk.read(mode, sdk.healthy("chat"))
print([report.verdict.value for report in seen])
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", [("import openai", "import streamwatch.testing"), ("import streamwatch.testing", "")])
def test_openai_may_be_imported_before_or_after(order: tuple[str, str]) -> None:
    """The hook waits for it, or finds it."""
    first, second = order
    program = BEFORE_OR_AFTER.format(first=first, second=f"{second}\nstreamwatch.testing.instrument()")

    assert "['complete', 'complete']" == python(program).stdout.strip()


@pytest.mark.slow  # test_start.py has it under the agent
def test_switching_on_imports_nothing_of_openai() -> None:
    """Every Python process that starts pays for what is imported then, and most of them never stream."""
    program = (
        "import sys, streamwatch; streamwatch.instrument();"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'openai', 'httpx', 'httpx2', 'jiter', 'pydantic'}))"
    )

    assert "[]" == python(program).stdout.strip()


def test_importing_the_package_imports_next_to_nothing() -> None:
    """Names are imported when they are used."""
    program = (
        "import sys; before = set(sys.modules); import streamwatch; new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names))"
    )

    assert "['streamwatch', 'streamwatch.version']" == python(program).stdout.strip()


def test_a_process_without_openai_is_none_the_wiser() -> None:
    """No warning, no exception, on or off."""
    program = (
        "import sys; sys.modules['openai'] = None; import streamwatch;"
        "streamwatch.instrument(skip_dep_check=True); streamwatch.uninstrument()"
    )
    done = python(program)

    assert ("", "") == (done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_tells_its_own_streams_alone() -> None:
    """The stream that the parent reads, and what it has counted, are the parent's to tell."""
    program = """
import os, sys, warnings
warnings.simplefilter("ignore")
from helpers import sdk
from streamwatch import testing
from streamwatch.sdk import instrumentor
with testing.reports() as seen:
    sdk.read("sync", sdk.healthy("chat"))
    open_stream = sdk.create(sdk.client(sdk.healthy("chat")))
    next(open_stream)
    child = os.fork()
    if not child:
        sdk.read("sync", sdk.healthy("chat")[:3])
        del open_stream
    else:
        os.waitpid(child, 0)
        list(open_stream)
told = [report.verdict.value for report in seen]
counted = [series.streams for series in instrumentor.agent.telemetry._all_series()]
print("parent" if child else "child", told, counted, flush=True)
os._exit(0) if not child else None
"""
    lines = python(program).stdout.splitlines()

    assert [
        "child ['complete', 'truncated'] [{('truncated', 'broken', 'direct'): 1}]",
        "parent ['complete', 'complete'] [{('complete', 'clean', 'direct'): 2}]",
    ] == lines


@pytest.mark.slow
def test_the_exit_of_the_process_ends_what_is_open() -> None:
    """A stream that is read when Python exits is told, as abandoned."""
    program = """
import streamwatch
from helpers import sdk
streamwatch.instrument(on_report=lambda report: print(report.verdict.value))
stream = sdk.create(sdk.client(sdk.healthy("chat")))
next(stream)
"""

    assert "abandoned" == python(program).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["before", "after", "later"])
def test_the_last_export_has_what_is_open_at_the_exit(order: str) -> None:
    """Whether the providers were set before Streamwatch was switched on, after that, or after the first stream."""
    program = """
import streamwatch
from helpers import sdk
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
def set_provider():
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=3_600_000)
    metrics.set_meter_provider(MeterProvider([reader]))
order = ORDER
if order == "before":
    set_provider()
streamwatch.instrument()
if order == "later":
    sdk.read("sync", sdk.healthy("chat"))
if order != "before":
    set_provider()
stream = sdk.create(sdk.client(sdk.healthy("chat")))
next(stream)
"""
    told = python(program.replace("ORDER", repr(order))).stdout

    assert '"streamwatch.verdict": "abandoned"' in told


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_histograms_of_its_own() -> None:
    """What the parent measured is not in them; the parent's go on."""
    program = """
import os, warnings
warnings.simplefilter("ignore")
import streamwatch
from helpers import sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
metrics = InMemoryMetricReader()
provider = MeterProvider([metrics])
own = provider.get_meter("application").create_histogram("its.own")
streamwatch.instrument(meter_provider=provider)
for number in range(3):
    sdk.read("sync", sdk.healthy("chat"))
    own.record(1.0)
child = os.fork()
if child:
    os.waitpid(child, 0)
sdk.read("sync", sdk.healthy("chat"))
counts = {
    metric.name: sum(point.count for point in metric.data.data_points)
    for resource in metrics.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
    if metric.name in ("streamwatch.stream.duration", "its.own")
}
print("parent" if child else "child", counts["streamwatch.stream.duration"], counts["its.own"], flush=True)
os._exit(0)
"""

    assert ["child 1 3", "parent 4 3"] == python(program).stdout.splitlines()


@pytest.mark.slow
def test_what_is_open_can_be_listed_while_streams_are_opened(watched: Watched) -> None:
    """At the exit Python does not wait for every thread: those that go on opening streams are no error then."""
    done, client = threading.Event(), sdk.client(sdk.healthy("chat"))

    def work() -> None:
        while not done.is_set():
            kept = [sdk.create(client) for _ in range(50)]
            for stream in kept:
                stream.response.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # within a second a set failed some ten times, and five times in half of one
    try:
        for thread in threads:
            thread.start()
        end = time.monotonic() + (0.5 if is_quick() else 1)
        while time.monotonic() < end:
            instrumentor.agent._streams()
    finally:
        sys.setswitchinterval(switch)
        done.set()
        for thread in threads:
            thread.join()

    assert not instrumentor.agent.any_open


# --- sending what is not sent yet


def slow_providers(spans: Any, told: io.StringIO) -> dict[str, Any]:
    """Providers that would send in an hour."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=3_600_000))
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter(out=told), export_interval_millis=3_600_000)
    return {"tracer_provider": tracer_provider, "meter_provider": MeterProvider([reader])}


@pytest.mark.slow
def test_flush_sends_all_that_is_known(off: None, spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """Spans, metrics, and the captures that are not written yet."""
    told = io.StringIO()
    providers = slow_providers(spans, told)
    streamwatch.instrument(settings=Settings(capture_dir=str(tmp_path)), **providers)
    sdk.read("sync", sdk.frames(sdk.chat()[:-1], done=False))
    assert not spans.get_finished_spans()

    assert streamwatch.flush()
    assert ["stream chat gpt-4o"] == [span.name for span in spans.get_finished_spans()]
    assert "streamwatch.streams" in told.getvalue()
    assert 1 == len(list(tmp_path.iterdir()))
    for provider in providers.values():
        provider.shutdown()


def test_flush_never_raises(off: None) -> None:
    """It says that not all went out, whatever the provider does; without OpenTelemetry's SDK there is nothing to send."""
    provider = MeterProvider()

    class Broken:
        def force_flush(self, timeout_millis: float) -> bool:
            raise TimeoutError("the back end does not answer")

        def __getattr__(self, name: str) -> Any:
            return getattr(provider, name)

    streamwatch.instrument(meter_provider=Broken())
    assert not streamwatch.flush(0.1)


@pytest.mark.slow
def test_flush_without_anything_to_send_is_done() -> None:
    """Before anything is switched on, and where OpenTelemetry is off."""
    program = "import streamwatch; print(streamwatch.flush()); streamwatch.instrument(); print(streamwatch.flush())"

    assert "True\nTrue\n" == python(program, OTEL_SDK_DISABLED="true").stdout


# --- an SDK that is not known


def fake(**members: Any) -> types.ModuleType:
    """A module in the place of `openai._streaming`."""
    module = types.ModuleType("openai._streaming")
    stream = type("Stream", (), {"__init__": lambda self: None})
    whole = {
        "Stream": stream,
        "AsyncStream": type("AsyncStream", (stream,), {"__init__": lambda self: None}),
        "SSEDecoder": type("SSEDecoder", (), {}),
        "ServerSentEvent": _streaming.ServerSentEvent,
    }
    vars(module).update({name: value for name, value in {**whole, **members}.items() if value is not None})
    return module


UNKNOWN = {
    "no decoder": {"SSEDecoder": None},
    "no event": {"ServerSentEvent": None},
    "another event": {"ServerSentEvent": type("ServerSentEvent", (), {"data": ""})},
    "a final event": {"ServerSentEvent": bool},
    "no stream": {"Stream": None},
    "no asynchronous stream": {"AsyncStream": None},
}


@pytest.fixture
def unpatched(watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched on, before the SDK is imported."""
    monkeypatch.setattr(instrumentor, "register_post_import_hook", lambda *_: None)
    watch()


@pytest.mark.parametrize("members", UNKNOWN.values(), ids=UNKNOWN)
def test_an_sdk_that_is_not_known_is_left_alone(
    members: dict[str, Any], unpatched: None, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says what that means and what to do; nothing of it is changed."""
    module = fake(**members)
    before = {name: vars(value).get("__init__") for name, value in vars(module).items() if isinstance(value, type)}
    instrumentor._patch(module)
    after = {name: vars(value).get("__init__") for name, value in vars(module).items() if isinstance(value, type)}
    (record,) = caplog.records

    assert before == after
    assert logging.WARNING == record.levelno
    assert record.getMessage().startswith(f"openai {openai.__version__} is not built as Streamwatch knows it (")
    assert "its streams are not watched and not repaired" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.internal_errors_expected
def test_a_stream_that_is_not_built_as_expected_is_left_alone(unpatched: None) -> None:
    """Its classes are known, its members are not: the failure is counted, and the application sees none."""
    module = fake()
    instrumentor._patch(module)

    assert vars(module.Stream()) == {}
    assert vars(module.AsyncStream()) == {}


def test_nothing_is_patched_after_switching_off(watch: Callable[..., Watched]) -> None:
    """A hook that was waiting for openai finds nothing to do."""
    watch()
    watch.stop()  # type: ignore[attr-defined]
    module = fake()
    before = module.Stream.__init__
    instrumentor._patch(module)

    assert before is module.Stream.__init__


# --- settings


VARIABLES = [
    ("REPAIR", "everything", "'everything' is none of none, default, all", "default"),
    ("REPAIR", "default,-nonsense", "'nonsense' is neither a kind nor a strategy", "default"),
    ("WINDOW_EVENTS", "many", None, "64"),
    ("WINDOW_EVENTS", "0", "must be at least 1", "64"),
    ("WINDOW_BYTES", "-5", "must be at least 1", "1048576"),
    ("WINDOW_SECONDS", "nan", "must be a number of seconds, 0 or more", "2.0"),
    ("SEQUENCE_FIELDS", ",", "names no field", "sequence_number,"),
    ("MAX_EVENT_BYTES", "32MB", None, "33554432"),
    ("MAX_LABEL_VALUES", "1.5", None, "100"),
]


@pytest.mark.parametrize(("name", "value", "why", "used"), VARIABLES)
def test_a_bad_setting_is_one_warning(
    name: str,
    value: str,
    why: str | None,
    used: str,
    watch: Callable[..., Watched],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It names the variable, the value and what is used instead, and streams are watched all the same."""
    monkeypatch.setenv(f"STREAMWATCH_{name}", value)
    monkeypatch.setenv("STREAMWATCH_WINDOW_SECONDS" if name == "REPAIR" else "STREAMWATCH_REPAIR", " ")
    watched = watch()
    (record,) = caplog.records
    sdk.read("sync", sdk.healthy("chat"))

    assert logging.WARNING == record.levelno
    assert record.getMessage().startswith(f"STREAMWATCH_{name}={value!r} is not usable (")
    assert f"; using {used}" in record.getMessage()
    assert why is None or why in record.getMessage()
    assert Settings() == instrumentor.agent.settings
    assert "complete" == watched.report.verdict


def test_the_environment_is_read_when_it_is_switched_on(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when the module is imported."""
    monkeypatch.setenv("STREAMWATCH_REPAIR", "none")
    watched = watch()
    sdk.read("sync", sdk.healthy("chat"))

    assert not watched.report.applied


def test_a_bad_option_in_code_is_an_exception(off: None) -> None:
    """Whoever writes code is there to read it; and nothing is switched on then."""
    with pytest.raises(ValueError, match="'everything' is none of none, default, all"):
        streamwatch.instrument(repair="everything")

    assert ORIGINALS == inits()
    assert not StreamwatchInstrumentor().is_instrumented_by_opentelemetry


# --- a decoder of the client's own


@pytest.mark.skipif(sdk.VERSION < (1, 14), reason="clients of this release cannot bring a decoder")
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_decoder_of_the_clients_own_is_respected(mode: str, watch: Callable[..., Watched]) -> None:
    """It decodes; what it makes of the bytes is watched, put in order and mended as ever."""
    cls = sdk.OwnDecoder if mode == "sync" else sdk.AsyncOwnDecoder
    chunks = [{**chunk, "seq": number} for number, chunk in enumerate(sdk.tool_chat())]
    del chunks[2]["choices"][0]["delta"]["tool_calls"][0]["index"]
    reads = sdk.frames(sdk.disordered(chunks, earlier=4, later=5))
    watched = watch()
    stock = sdk.read(mode, reads)
    own = sdk.read(mode, reads, cls=cls)
    by_stock, by_own = watched.reports

    assert stock == own
    assert by_stock.outcomes == by_own.outcomes
    assert {"tool_call_index_missing", "sequence_out_of_order"} <= set(by_own.kinds)
    assert "complete" == by_own.verdict


@pytest.mark.skipif(sdk.VERSION < (1, 14), reason="clients of this release cannot bring a decoder")
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("what", ["cut", "broken", "undecodable"])
def test_what_the_clients_own_decoder_raises_is_raised(what: str, mode: str, watch: Callable[..., Watched]) -> None:
    """The same chunks and the same exception."""
    cls = sdk.OwnDecoder if mode == "sync" else sdk.AsyncOwnDecoder
    ends = {"cut": sdk.cut_off(), "broken": b"data: {\n\n", "undecodable": b"data: \xff\n\n"}
    reads = [*sdk.healthy("chat")[:4], ends[what]]
    plain = sdk.read(mode, reads, cls=cls)  # type: ignore[arg-type]
    watched = watch(repair="none")

    assert plain == sdk.read(mode, reads, cls=cls)  # type: ignore[arg-type]
    assert "truncated" == watched.report.verdict


@pytest.mark.skipif(sdk.VERSION < (1, 14), reason="clients of this release cannot bring a decoder")
@pytest.mark.internal_errors_expected
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_failure_of_ours_above_the_clients_own_decoder_loses_nothing(
    mode: str, watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the failure on, events pass as the decoder made them."""
    cls = sdk.OwnDecoder if mode == "sync" else sdk.AsyncOwnDecoder
    plain = sdk.read(mode, sdk.healthy("chat"), cls=cls)
    watched = watch(repair="none")
    monkeypatch.setattr("streamwatch.core.apis.chat.Chat.see", None)

    assert plain == sdk.read(mode, sdk.healthy("chat"), cls=cls)
    assert 1 == watched.internal_errors()


# --- observing


ODD = [
    sdk.chunk({"content": None}),
    sdk.chunk({"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {}}}]}),
    sdk.chunk(None),
    {**sdk.chunk({}), "choices": None},
    sdk.chunk({"role": "assistant", "content": "a"}, ""),
    sdk.chunk({}, "stop"),
]


@pytest.mark.parametrize("mode", sdk.MODES)
def test_observing_changes_nothing_and_tells_the_same(mode: str, watch: Callable[..., Watched]) -> None:
    """The application gets the plain SDK's chunks; the report says what a repair would have come to."""
    reads = [*sdk.frames(ODD)]
    plain = sdk.read(mode, reads)
    observed = watch(repair="none")
    assert plain == sdk.read(mode, reads)
    watch.stop()  # type: ignore[attr-defined]
    applying = watch(repair="default")
    assert plain != sdk.read(mode, reads)
    seen, mended = observed.report, applying.report

    assert (False, True) == (seen.applied, mended.applied)
    assert seen.outcomes == mended.outcomes
    assert seen.kinds == mended.kinds
    repaired = ("verified", "unverified")
    assert sum(count for each in seen.outcomes.values() for name, count in each.items() if name in repaired) > 3


@pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")
@pytest.mark.parametrize("mode", sdk.MODES)
def test_observing_changes_no_order(mode: str, watch: Callable[..., Watched]) -> None:
    """Disordered events come as they came, and the report says that they could have been put in order."""
    reads = sdk.frames(sdk.disordered(sdk.responses()), done=False)
    plain = sdk.read(mode, reads, "responses")
    watched = watch(repair="none")

    assert plain == sdk.read(mode, reads, "responses")
    (outcomes,) = [found for kind, found in watched.report.outcomes.items() if kind.name == "sequence_out_of_order"]
    assert {"verified": 1} == outcomes


# --- whoever is told


@pytest.mark.internal_errors_expected
@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_callback_that_raises_harms_nobody(mode: str, off: None, providers: dict[str, Any]) -> None:
    """`on_report` is the user's code: what it raises is counted, and the application reads on."""

    def fail(_report: object) -> None:
        raise ZeroDivisionError

    plain = sdk.read(mode, sdk.healthy("chat"))
    streamwatch.instrument(repair="none", on_report=fail, **providers)

    assert plain == sdk.read(mode, sdk.healthy("chat"))


@pytest.mark.internal_errors_expected
def test_an_error_of_ours_is_one_warning(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that the application is not affected and where further ones are counted; those are at level DEBUG."""
    watched = watch()
    monkeypatch.setattr(instrumentor.agent, "_warned", False)
    monkeypatch.setattr("streamwatch.core.apis.chat.Chat.see", None)
    with caplog.at_level(logging.DEBUG, "streamwatch"):
        for _ in range(3):
            sdk.read("sync", sdk.healthy("chat"))
    records = [record for record in caplog.records if "Streamwatch failed" in record.getMessage()]

    assert [logging.WARNING, logging.DEBUG, logging.DEBUG] == [record.levelno for record in records]
    assert "Streamwatch failed while reading a stream (TypeError: " in records[0].getMessage()
    assert "The application is not affected" in records[0].getMessage()
    assert "streamwatch.internal_errors" in records[0].getMessage()
    assert {"TypeError": 3} == watched.samples("streamwatch.internal_errors", "error.type")


@pytest.mark.parametrize("copied", [lambda response: pickle.loads(pickle.dumps(response)), copy.deepcopy])
def test_a_response_that_is_being_read_can_be_copied(watched: Watched, copied: Callable[[Any], Any]) -> None:
    """By pickle, or deeply; closing the copy does not close the stream."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    next(stream)
    again = copied(stream.response)
    again.close()
    assert [again.status_code, again.is_closed] == [200, True]
    assert len(list(stream)) == len(sdk.chat()) - 1
    assert watched.report.verdict == "complete"


def test_a_pickled_response_does_not_need_streamwatch(watched: Watched) -> None:
    """Its reader may have nothing of it."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    pickled = pickle.dumps(stream.response)
    stream.response.close()
    assert b"streamwatch" not in pickled
    assert watched.report.verdict == "abandoned"


async def test_a_response_that_is_being_read_asynchronously_can_be_copied(watched: Watched) -> None:
    """The same for asynchronous code."""
    stream = await sdk.create(sdk.async_client(sdk.healthy("chat")))
    await stream.__anext__()
    for again in (pickle.loads(pickle.dumps(stream.response)), copy.deepcopy(stream.response)):
        await again.aclose()
        assert [again.status_code, again.is_closed] == [200, True]
    assert len([chunk async for chunk in stream]) == len(sdk.chat()) - 1
    assert watched.report.verdict == "complete"
