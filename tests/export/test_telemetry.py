"""What is told of streams: one span each, counters, and nothing that anybody said."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from conftest import Watched, settle
from helpers import sdk
from helpers.quick import examples, is_quick
from streamwatch.core.kinds import CONTENT_ABSENT, KINDS, SEQUENCE_GAP, AnomalyKind
from streamwatch.core.kinds import TOOL_CALL_INDEX_REUSED as REUSED
from streamwatch.core.known_issues import ISSUES
from streamwatch.core.report import Report, Request, Times
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.stream_cases import KNOWN
from streamwatch.core.vocabulary import Outcome, Verdict
from streamwatch.export import labels, words
from streamwatch.export.genai import Usage
from streamwatch.export.request import RequestInfo
from streamwatch.export.telemetry import RecordedStream, Telemetry
from streamwatch.sdk import observed_stream
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.provider.name": "openai",
    "server.address": "server.test",
    "streamwatch.openai.version": openai.__version__,
}
CALL = RequestInfo("chat", "gpt-4o", "openai", "server.test", None, "1.2.3")


def report_of(model: str) -> Report:
    """The report of a complete stream."""
    complete = Report(1, "chat", Request(), Verdict.COMPLETE, model, "id", ("stop",), 1, {}, {}, {}, applied=True)
    return replace(complete, times=Times(1.0, 0.5))


# --- what a stream was worth


@pytest.mark.parametrize(
    ("anomalies", "outcomes", "verdict", "applied", "condition"),
    [
        ({}, {}, Verdict.COMPLETE, True, "clean"),
        ({}, {}, Verdict.ABANDONED, True, "clean"),
        ({}, {}, Verdict.TRUNCATED, True, "broken"),
        ({}, {}, Verdict.EMPTY, False, "broken"),
        ({}, {}, Verdict.ERROR, True, "broken"),
        ({CONTENT_ABSENT: 2}, {CONTENT_ABSENT: {Outcome.UNREPAIRED: 2}}, Verdict.COMPLETE, True, "clean"),
        ({CONTENT_ABSENT: 2}, {CONTENT_ABSENT: {Outcome.VERIFIED: 2}}, Verdict.COMPLETE, True, "clean"),
        ({REUSED: 2}, {REUSED: {Outcome.VERIFIED: 2}}, Verdict.COMPLETE, True, "repaired"),
        ({REUSED: 2}, {REUSED: {Outcome.UNVERIFIED: 2}}, Verdict.COMPLETE, True, "repaired"),
        ({REUSED: 2}, {REUSED: {Outcome.VERIFIED: 2}}, Verdict.TRUNCATED, True, "broken"),
        ({REUSED: 2}, {REUSED: {Outcome.VERIFIED: 2}}, Verdict.COMPLETE, False, "broken"),
        ({REUSED: 2}, {REUSED: {Outcome.VERIFIED: 1, Outcome.FAILED: 1}}, Verdict.COMPLETE, True, "broken"),
        ({REUSED: 2}, {REUSED: {Outcome.UNREPAIRED: 2}}, Verdict.COMPLETE, True, "broken"),
        ({SEQUENCE_GAP: 1}, {}, Verdict.COMPLETE, True, "broken"),
    ],
)
def test_the_condition_is_that_of_the_worst_fault(
    anomalies: dict[AnomalyKind, int],
    outcomes: dict[AnomalyKind, dict[Outcome, int]],
    verdict: Verdict,
    applied: bool,
    condition: str,
) -> None:
    """Only a fault that was repaired before the reader saw it is `repaired`; hazards and dialects never count."""
    report = Report(1, "chat", Request(), verdict, "m", "id", ("stop",), 1, {}, anomalies, outcomes, applied=applied)
    assert condition == report.condition.value


# --- the span


def test_a_stream_is_one_span_that_says_how_it_went(watched: Watched) -> None:
    """Name, kind, every attribute, and no event, for a healthy stream."""
    sdk.read("sync", sdk.healthy("chat"), headers={"x-request-id": "req_1"})
    (span,) = watched.spans
    attributes = dict(span.attributes or {})

    assert "stream chat gpt-4o" == span.name
    assert SpanKind.INTERNAL is span.kind
    assert StatusCode.UNSET is span.status.status_code
    assert 0 < attributes.pop("gen_ai.response.time_to_first_chunk") < 10  # type: ignore[operator]
    assert 0 < attributes.pop("streamwatch.waiting_seconds") < 10  # type: ignore[operator]
    assert 0 < attributes.pop("streamwatch.reading_seconds") < 10  # type: ignore[operator]
    assert 0 <= attributes.pop("streamwatch.longest_gap") < 10  # type: ignore[operator]
    assert {
        **COMMON,
        "server.port": None,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "streamwatch.verdict": "complete",
        "streamwatch.condition": "clean",
        "streamwatch.events": 6,
        "streamwatch.anomalies": 1,
        "streamwatch.repairs": 1,
        "streamwatch.request.id": "req_1",
        "streamwatch.via": "direct",
        "streamwatch.silence": 0.0,
        "streamwatch.events_per_read": 1.0,
    } == {"server.port": None, **attributes}
    assert ["content_absent"] == [event.attributes["streamwatch.anomaly"] for event in span.events if event.attributes]
    assert span.end_time is not None
    assert span.start_time is not None
    assert 0 < span.end_time - span.start_time < 10e9


def test_the_provider_is_the_server_that_the_answer_names(watched: Watched) -> None:
    """On the span and on the counters; an address of a provider's own comes before it."""
    body = b"".join(sdk.healthy("chat")).replace(b'"object"', b'"system_fingerprint":"fp_ollama","object"')
    sdk.read("sync", [body])
    (span,) = watched.spans

    assert "ollama" == (span.attributes or {})["gen_ai.provider.name"]
    assert {"ollama"} == {
        (point.attributes or {})["gen_ai.provider.name"] for point in watched.points("streamwatch.streams")
    }

    groq = RecordedStream(replace(CALL, provider="groq"), Context(), 0, Usage())
    groq.see(replace(report_of("m"), server="ollama"))
    assert "groq" == groq.call.provider


def test_a_span_has_one_event_for_each_kind_of_anomaly(watched: Watched) -> None:
    """However often a kind is found: its count and its outcomes stand in the event."""
    sdk.read("sync", sdk.broken())
    (span,) = watched.spans
    report = watched.report
    events = {
        event.attributes["streamwatch.anomaly"]: dict(event.attributes) for event in span.events if event.attributes
    }

    assert {"streamwatch.anomaly"} == {event.name for event in span.events}
    assert list(report.kinds) == [event.attributes["streamwatch.anomaly"] for event in span.events if event.attributes]
    assert {
        "streamwatch.anomaly": "role_irregular",
        "streamwatch.severity": "dialect",
        "streamwatch.strategy": "normalize_chunk",
        "streamwatch.count": 2,
        "streamwatch.outcome.unrepaired": 2,
    } == events["role_irregular"]
    assert {
        "streamwatch.anomaly": "tool_call_index_missing",
        "streamwatch.severity": "fault",
        "streamwatch.strategy": "reindex_tool_calls",
        "streamwatch.count": 1,
        "streamwatch.outcome.verified": 1,
    } == events["tool_call_index_missing"]


@pytest.mark.parametrize(
    ("reads", "verdict"),
    [
        (sdk.healthy("chat")[:3], "truncated"),
        ([], "empty"),
        ([sdk.frame({"error": {"message": "overloaded"}})], "error"),
    ],
)
def test_a_stream_that_failed_is_a_span_with_an_error(reads: list[sdk.Read], verdict: str, watched: Watched) -> None:
    """Status and error.type say how; a complete stream and one that was left have neither."""
    sdk.read("sync", reads)
    (span,) = watched.spans

    assert StatusCode.ERROR is span.status.status_code
    assert f"the stream ended {verdict}" == span.status.description
    assert verdict == (span.attributes or {})["error.type"]


@pytest.mark.parametrize("is_async", [False, True], ids=sdk.MODES)
async def test_the_parent_is_the_span_in_which_the_stream_was_opened(
    is_async: bool, watched: Watched, providers: dict[str, Any]
) -> None:
    """And not the one that is current when it is read, or nothing at all."""
    tracer = providers["tracer_provider"].get_tracer("application")
    with tracer.start_as_current_span("opens") as opens:
        if is_async:
            stream = await sdk.create(sdk.async_client(sdk.healthy("chat")))
        else:
            stream = sdk.create(sdk.client(sdk.healthy("chat")))
    with tracer.start_as_current_span("reads"):
        if is_async:
            assert [chunk async for chunk in stream]
        else:
            assert list(stream)
    (span,) = [span for span in watched.spans if span.name.startswith("stream ")]

    assert span.parent is not None
    assert opens.get_span_context().span_id == span.parent.span_id
    assert opens.get_span_context().trace_id == span.context.trace_id


def test_a_stream_without_a_span_around_it_has_no_parent(watched: Watched) -> None:
    """It is the root of a trace of its own."""
    sdk.read("sync", sdk.healthy("chat"))
    (span,) = watched.spans

    assert span.parent is None


# --- nothing that anybody said


def canaries() -> dict[str, list[sdk.Read]]:
    """Streams with something to hide in every place where a server puts content."""
    failed = {"error": {"message": "Canary-error", "type": "server_error", "code": "Canary-code"}}
    argument = {"tool_calls": [{"index": 9, "function": {"name": "Canary-tool", "arguments": '{"a": "Canary-'}}]}
    odd = [*sdk.chat(), sdk.chunk({"content": ["Canary-list"], "reasoning": "Canary-thought", "refusal": "Canary-no"})]
    return {
        "text": [*sdk.healthy("chat")],
        "tools": [*sdk.frames(sdk.tool_chat())],
        "odd": [*sdk.frames([*odd, sdk.chunk(argument), sdk.chunk(argument)])],
        "error": [*sdk.healthy("chat")[:3], sdk.frame(failed)],
        "torn": [*sdk.healthy("chat")[:3], b'data: {"choices": "Canary-torn\n\n'],
        "document": [b'{"error": {"message": "Canary-document"}}'],
        "undecodable": [*sdk.healthy("chat")[:3], b"data: Canary-\xff\n\n"],
        "cut": [*sdk.healthy("chat")[:3], sdk.httpx.ReadError("Canary-transport")],
    }


@pytest.mark.parametrize("what", canaries())
@pytest.mark.parametrize("policy", ["none", "all"])
def test_nothing_that_was_said_is_exported(
    what: str, policy: str, watch: Callable[..., Watched], metrics: InMemoryMetricReader
) -> None:
    """No text, argument, prompt, key or error message is in any span or metric."""
    watched = watch(repair=policy)
    sdk.read("sync", canaries()[what])
    exported = [span.to_json() for span in watched.spans]
    data = metrics.get_metrics_data()
    exported.append(data.to_json() if data else "")

    assert 2 == len(exported)
    assert "gpt-4o" in exported[0]
    assert "streamwatch.streams" in exported[1]
    assert [] == [text for text in exported if "canary" in text.lower()]


# --- metrics


def expected(**labels: str) -> dict[str, str]:
    """The common attributes and some more, as keys of keyword arguments."""
    return {**COMMON, **{f"streamwatch.{name}": value for name, value in labels.items()}}


def values(watched: Watched, name: str) -> list[tuple[dict[str, Any], float]]:
    """The data points of a metric, sorted."""
    points = [(dict(point.attributes), point.value) for point in watched.points(name)]
    return sorted(points, key=lambda point: str(sorted(point[0].items())))


def test_counters_say_exactly_what_came(watched: Watched) -> None:
    """Two healthy streams, a cut one and a broken one: every sample, with every attribute."""
    for reads in (sdk.healthy("chat"), sdk.healthy("chat"), [*sdk.healthy("chat")[:3], sdk.cut_off()], sdk.broken()):
        sdk.read("sync", reads)  # type: ignore[arg-type]

    assert [
        (expected(condition="broken", verdict="truncated", via="direct"), 1),
        (expected(condition="clean", verdict="complete", via="direct"), 2),
        (expected(condition="repaired", verdict="complete", via="direct"), 1),
    ] == values(watched, "streamwatch.streams")
    assert [
        (expected(chunk="finish"), 3),
        (expected(chunk="role"), 4),
        (expected(chunk="text"), 4 + 4 + 2),
        (expected(chunk="tool_call"), 6),
    ] == values(watched, "streamwatch.chunks")
    anomalies = watched.samples("streamwatch.anomalies", "streamwatch.anomaly", "streamwatch.severity")
    # Six fragments of tool calls and three finishing chunks have no content; a tool call begins with a null one.
    assert {
        ("content_absent", "hazard"): 9,
        ("content_null", "hazard"): 1,
        ("role_irregular", "dialect"): 2,
        ("stream_truncated", "fault"): 1,
        ("tool_call_index_missing", "fault"): 1,
    } == anomalies
    assert {
        ("content_absent", "fill_content", "unverified", True): 9,
        ("content_null", "fill_content", "unverified", True): 1,
        ("role_irregular", "normalize_chunk", "unrepaired", True): 2,
        ("tool_call_index_missing", "reindex_tool_calls", "verified", True): 1,
    } == watched.samples(
        "streamwatch.repairs",
        *(f"streamwatch.{label}" for label in ("anomaly", "strategy", "outcome", "applied")),
    )
    assert all(COMMON.items() <= dict(point.attributes).items() for point in watched.points("streamwatch.repairs"))
    assert all(COMMON.items() <= dict(point.attributes).items() for point in watched.points("streamwatch.anomalies"))


def test_observing_counts_what_a_repair_would_have_come_to(watch: Callable[..., Watched]) -> None:
    """The same outcomes as of a repaired stream, with applied false."""
    watched = watch(repair="none")
    sdk.read("sync", sdk.broken())
    outcomes = watched.samples(
        "streamwatch.repairs", "streamwatch.anomaly", "streamwatch.outcome", "streamwatch.applied"
    )

    assert {
        ("content_absent", "unverified", False): 7,
        ("content_null", "unverified", False): 1,
        ("role_irregular", "unrepaired", False): 2,
        ("tool_call_index_missing", "verified", False): 1,
    } == outcomes


@pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")
def test_histograms_say_how_far_and_how_long_events_were_early(watched: Watched) -> None:
    """One event two places too late: two come early, and wait for it."""
    sdk.read("sync", sdk.frames(sdk.disordered(sdk.responses()), done=False), "responses")
    (distance,) = watched.points("streamwatch.reorder.distance")
    (delay,) = watched.points("streamwatch.reorder.delay")
    common = {**COMMON, "gen_ai.operation.name": "responses"}
    (span,) = watched.spans

    assert (2, 1 + 2, 2) == (distance.count, distance.sum, distance.max)
    assert 2 == delay.count
    assert 0 < delay.sum < 1
    assert [common, common] == [dict(distance.attributes), dict(delay.attributes)]
    assert 2 == (span.attributes or {})["streamwatch.reorder.max_distance"]


def test_histograms_say_how_long_a_stream_took(watched: Watched) -> None:
    """From the request on, with the verdict on the duration."""
    sdk.read("sync", [0.05, *sdk.healthy("chat"), 0.05])
    (duration,) = watched.points("streamwatch.stream.duration")
    (first,) = watched.points("streamwatch.stream.time_to_first_chunk")

    assert expected(verdict="complete") == dict(duration.attributes)
    assert COMMON == dict(first.attributes)
    assert 0.05 <= first.sum <= duration.sum < 5
    assert 5 < len(duration.explicit_bounds)
    assert duration.explicit_bounds[0] < 0.1, "buckets are in seconds"


def test_the_published_ratios_stand_beside_the_measured_ones(watched: Watched) -> None:
    """They come out of the table of known issues."""
    published = {
        (issue.name, strategy): ratio
        for issue in ISSUES
        for strategy, ratio in (("any", issue.fix_ratio), *issue.workarounds)
    }

    for definition in KNOWN:
        if definition.known is None and definition.published:
            published[definition.name, definition.published[0]] = definition.published[1]

    assert published == watched.samples("streamwatch.published_fix_ratio", "streamwatch.issue", "streamwatch.strategy")


CASE = ("streamwatch.issue", "streamwatch.outcome", "streamwatch.applied")


@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_a_stream_is_one_case_of_each_issue(repair: str, watch: Callable[..., Watched]) -> None:
    """However many anomalies it has; what is tried in the shadow stands apart."""
    watched = watch(repair=repair)
    for _ in range(2):
        sdk.read("sync", sdk.broken())
    applied = repair != "none"
    role = "unverified" if repair == "all" else "unrepaired"

    assert {
        ("any_fault", "verified", applied): 2,
        ("tool_calls", "verified", applied): 2,
        ("reindex_tool_calls", "verified", applied): 2,
        ("tool_call_index_missing", "verified", applied): 2,
        ("llm/streaming-assistant-content-empty", "unverified", applied): 2,
        ("content_absent", "unverified", applied): 2,
        ("content_null", "unverified", applied): 2,
        ("role_irregular", role, applied): 2,
    } == watched.samples("streamwatch.cases", *CASE)
    assert all(COMMON.items() <= dict(point.attributes).items() for point in watched.points("streamwatch.cases"))


def test_when_counting_began_is_said(watched: Watched) -> None:
    """In seconds since the epoch."""
    (sample,) = watched.samples("streamwatch.start_time").values()

    assert abs(time.time() - sample) < 60


@pytest.mark.slow
@pytest.mark.parametrize("cls", [openai.OpenAI, sdk.OwnDecoder], ids=["stock", "own decoder"])
def test_counters_move_while_a_long_stream_goes_on(
    cls: type[openai.OpenAI], watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at its end nothing is counted twice."""
    monkeypatch.setattr(observed_stream, "_RECORD_EVERY", 0.0)
    stream = sdk.create(sdk.client(sdk.broken(), cls=cls))
    counts, so_far = [], []
    for _ in stream:
        counts.append(sum(watched.samples("streamwatch.chunks").values()))
        so_far.append(watched.samples("streamwatch.anomalies", "streamwatch.anomaly").get("content_absent", 0))
        if len(counts) < 8:
            assert {} == watched.samples("streamwatch.streams")

    assert [2, 3, 4, 5, 6, 7, 8] == counts[1:]
    assert [1, 2, 3, 4, 5, 6, 7] == so_far[1:]
    assert 8 == sum(watched.samples("streamwatch.chunks").values())
    assert 7 == watched.samples("streamwatch.anomalies", "streamwatch.anomaly")["content_absent"]
    assert {None: 1} == {None: sum(watched.samples("streamwatch.streams").values())}


def test_counters_do_not_move_at_every_chunk(watched: Watched) -> None:
    """A long stream is recorded every ten seconds: a scrape interval or less."""
    assert 1.0 <= observed_stream._RECORD_EVERY <= 15.0
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    next(stream)

    assert [] == watched.points("streamwatch.chunks")


# --- values off the wire


@pytest.mark.slow
def test_a_server_cannot_invent_labels_without_end(providers: dict[str, Any], metrics: InMemoryMetricReader) -> None:
    """100,000 model names, or a tenth in a quick run, cost a hundred labels and one for all others, and no memory beyond."""
    told = Telemetry(None, providers["meter_provider"], 100)
    recording = told.open(CALL)

    def streams(first: int, last: int) -> None:
        for number in range(first, last):
            told.record(recording, report_of(f"model-{number}"))

    last = examples(100_000)
    streams(0, 1_000)
    tracemalloc.start()
    streams(1_000, last)
    gc.collect()  # Python keeps up to 2,000 tuples of each length for reuse: those of 20 arguments are 200 kB
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for number in (1, 99, 100, last - 1):
        told.end(told.open(CALL), report_of(f"model-{number}"))

    assert grown < 100_000
    watched = Watched(None, metrics)  # type: ignore[arg-type]
    assert {"model-1": 1, "model-99": 1, "_other": 2} == watched.samples("streamwatch.streams", "gen_ai.response.model")


def test_every_label_that_a_peer_or_caller_chooses_is_capped(watch: Callable[..., Watched]) -> None:
    """Models and addresses alike, in the order in which they come."""
    watched = watch(settings=Settings(repair=Policy(), max_label_values=3))
    for number in range(5):
        chunks = [{**chunk, "model": f"snapshot-{number}"} for chunk in sdk.chat()]
        client = sdk.client(sdk.frames(chunks), base_url=f"http://host-{number}.test/v1")
        method, arguments = sdk.asks(client, "chat")
        list(method(**{**arguments, "model": f"model-{number}"}))

    def labels(prefix: str) -> set[str]:
        return {*(f"{prefix}{number}" for number in range(3)), "_other"}

    assert labels("snapshot-") == set(watched.samples("streamwatch.streams", "gen_ai.response.model"))
    assert labels("model-") == set(watched.samples("streamwatch.streams", "gen_ai.request.model"))
    addresses = set(watched.samples("streamwatch.streams", "server.address"))
    assert {*(f"host-{number}.test" for number in range(3)), "_other"} == addresses


@pytest.mark.parametrize(
    ("given", "model", "id"),
    [
        ("gpt-4o", "gpt-4o", "gpt-4o"),
        ("@cf/meta/llama-3:8b+lora", "@cf/meta/llama-3:8b+lora", None),
        ("a" * 101, "a" * 100, "a" * 100),
        ("a\nb\x00\u202e", "_other", None),
        ("a model of John Smith", "_other", None),
        ("sk-proj-abcdef0123456789", "_other", None),
        ("\ud83d", "_other", None),
        ({"prompt": "John Smith"}, None, None),
        (7, None, None),
    ],
    ids=repr,
)
def test_values_off_the_wire_are_names(given: Any, model: str | None, id: str | None, watched: Watched) -> None:
    """In spans and in metrics: short, printable, and in the form of a name, or not there at all."""
    head = sdk.responses()[0]["response"]
    events = [
        {**event, "response": {**head, **event["response"], "model": given, "id": given}}
        if "response" in event
        else event
        for event in sdk.responses()
    ]
    headers = {"x-request-id": ascii(given).strip("'")} if isinstance(given, str) else {}  # a header is text
    sdk.read("sync", sdk.frames(events, done=False), "responses", headers=headers)
    (span,) = watched.spans
    attributes = span.attributes or {}

    assert {model or "": 1} == watched.samples("streamwatch.streams", "gen_ai.response.model")
    assert (model, id) == tuple(attributes.get(f"gen_ai.response.{name}") for name in ("model", "id"))
    assert attributes.get("streamwatch.request.id") == id
    assert watched.internal_errors() == 0


@pytest.mark.parametrize(
    "value", [None, 7, 1.0, ["a"], {"a": 1}, b"a", "", "a b", "a" * 10**6, "Жук", 10**5000], ids=range(11)
)
def test_any_value_is_a_label_or_none(value: Any) -> None:
    """Whatever its type, no value makes an error, and none is long."""
    for shown in (labels.model(value), labels.identifier(value), labels.host(value), words.finish_reason(value)):
        assert isinstance(shown, str)
        assert len(shown) <= 100


@pytest.mark.parametrize(
    ("reason", "shown"), [("stop", "stop"), ("end_turn", "end_turn"), ("error: John Smith", "other"), ("sk-1", "other")]
)
def test_a_finish_reason_is_a_word_of_the_table(reason: str, shown: str, watched: Watched) -> None:
    """Anything else is told as other."""
    sdk.read("sync", sdk.frames([*sdk.chat()[:-1], sdk.chunk({}, reason)]))
    (span,) = watched.spans

    assert (shown,) == (span.attributes or {})["gen_ai.response.finish_reasons"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("x"), "ValueError"),
        (type("CanaryError", (Exception,), {"__module__": "canary"})(), "_other"),
        (type("Canary Error", (Exception,), {"__module__": "json"})(), "_other"),
    ],
    ids=["of Python", "of the application", "no name"],
)
def test_the_type_of_an_error_is_no_word_of_the_applications(error: Exception, shown: str) -> None:
    """A callback of the application's may raise what it likes, under any name."""
    assert shown == labels.error_type(error)


def test_combinations_of_labels_are_capped(providers: dict[str, Any], metrics: InMemoryMetricReader) -> None:
    """A hundred models, snapshots and addresses each could make a million sets."""
    told = Telemetry(None, providers["meter_provider"], 10)
    for request in range(10):
        for snapshot in range(10):
            told.end(told.open(replace(CALL, request_model=f"m-{request}")), report_of(f"s-{snapshot}"))
    watched = Watched(None, metrics)  # type: ignore[arg-type]
    sets = watched.samples("streamwatch.streams", "gen_ai.request.model", "gen_ai.response.model")

    assert len(sets) == 51
    assert sets["_other", "_other"] == 50
    assert sum(sets.values()) == 100
    assert {None: 51} == {None: len(watched.points("streamwatch.stream.duration"))}


# --- a machine looks for leaks

_CANARY = re.compile(r"canary", re.IGNORECASE)
_CANARIES = st.sampled_from(
    [
        "Canary says: John Smith",
        "Canary\n",
        "Cänary",
        {"Canary": "Canary"},
        ["Canary"],
        'C"anary Canary',
        "Canary " * 99,
    ]
)


def planted(value: Any, draw: Any, share: float) -> Any:
    """A payload in which some strings, numbers and names of members are something with a canary in it."""
    if isinstance(value, dict):
        return {
            (f"Canary {name}" if draw(share / 4) else name): planted(each, draw, share) for name, each in value.items()
        }
    if isinstance(value, list):
        return [planted(each, draw, share) for each in value]
    return draw(None) if draw(share) else value


@given(data=st.data(), api=st.sampled_from(["chat", "responses"]), policy=st.sampled_from(["default", "all", "none"]))
@hypothesis_settings(
    max_examples=6 if is_quick() else 150,  # each exports all that there is
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nothing_planted_in_a_stream_leaves_the_process(
    data: st.DataObject, api: str, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At any place of a payload, in the headers, the address, the model that was asked: no canary in any signal."""
    chosen = data.draw(st.randoms(use_true_random=False))
    share = data.draw(st.sampled_from([0.02, 0.2, 0.6]))

    def draw(share: float | None) -> Any:
        return data.draw(_CANARIES) if share is None else chosen.random() < share

    events = sdk.responses() if api == "responses" else [*sdk.chat(), *sdk.tool_chat()]
    reads = sdk.frames([planted(event, draw, share) for event in events], done=api == "chat")
    headers = dict.fromkeys(("x-request-id", "cf-ray", "server", "via"), "Canary req 1")
    with exporting(policy) as exported, caplog.at_level(logging.DEBUG, "streamwatch"):
        client = sdk.client(reads, headers=headers, base_url="https://canary:canary@host.test/canary?canary=1")
        method, arguments = sdk.asks(client, api)
        with contextlib.suppress(Exception):
            list(method(**{**arguments, "model": "Canary asks: who is it?"}))
    told = [*exported(), caplog.text]
    caplog.clear()

    assert len(told) == 3
    assert '"streamwatch.verdict"' in told[0]
    assert "streamwatch.streams" in told[1]
    assert [] == [text for text in told if _CANARY.search(text)]


@contextlib.contextmanager
def exporting(policy: str) -> Iterator[Callable[[], list[str]]]:
    """Streamwatch switched on with providers of its own; gives what was exported, as text."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    on = StreamwatchInstrumentor()
    on.instrument(tracer_provider=tracers, meter_provider=meters, repair=policy)

    def exported() -> list[str]:
        settle()
        data = reader.get_metrics_data()
        return ["".join(span.to_json() for span in spans.get_finished_spans()), data.to_json() if data else ""]

    try:
        yield exported
    finally:
        on.uninstrument()


def test_labels_are_words_of_the_table(watched: Watched) -> None:
    """Anomalies, severities and strategies come out of the vocabulary alone."""
    sdk.read("sync", sdk.broken())

    assert {(name, KINDS[name].severity.value) for name in watched.report.kinds} == set(
        watched.samples("streamwatch.anomalies", "streamwatch.anomaly", "streamwatch.severity")
    )


# --- what it costs


def test_nothing_is_recorded_for_a_chunk(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is recorded once, however many chunks it has."""
    calls: list[str] = []
    for name in ("record", "end", "open"):
        method = getattr(Telemetry, name)

        def counted(self: Any, *args: Any, method: Any = method, name: str = name, **kwargs: Any) -> Any:
            calls.append(name)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(Telemetry, name, counted)
    sdk.read("sync", sdk.frames(sdk.chat(*["text"] * 500)))

    assert ["open", "end"] == calls


def test_an_unsampled_stream_is_counted_all_the_same(
    providers: dict[str, Any], watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sampling is about traces."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    monkeypatch.setitem(providers, "tracer_provider", TracerProvider(sampler=ALWAYS_OFF))
    watched = watch()
    sdk.read("sync", sdk.healthy("chat"))

    assert [] == watched.spans
    assert {"complete": 1} == watched.samples("streamwatch.streams", "streamwatch.verdict")


def test_a_span_lasts_from_the_request_to_the_last_byte(watched: Watched) -> None:
    """A stream that is dropped and found later by the garbage collector ended when it was read last."""
    stream = sdk.create(sdk.client([*sdk.healthy("chat")[:2], 0.2]))
    next(stream)
    del stream
    time.sleep(0.2)
    (span,) = watched.spans

    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time < 0.15e9
