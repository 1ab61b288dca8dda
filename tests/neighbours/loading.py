"""How each instrumentation is switched on and off, and what it stored. Runs in that instrumentation's environment.

Nothing leaves the process: exporters are in memory, and what has a server of its own gets a stand-in.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

NOWHERE = "http://127.0.0.1:9"


class Loaded:
    """What an instrumentation and Streamwatch record while they are on."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.logs = InMemoryLogRecordExporter()
        self.other: list[Any] = []  #: what an instrumentation stores elsewhere than in OpenTelemetry spans
        self.wrap: Callable[[Any], Any] = lambda client: client
        self.off: Callable[[], None] | None = None
        self.own_spans = 0  #: spans that are none of OpenTelemetry's

    def provide(self) -> None:
        """An ordinary TracerProvider, unless there is one: `opentelemetry-instrument` makes it."""
        if not isinstance(trace.get_tracer_provider(), TracerProvider):
            trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(self.exporter))  # type: ignore[attr-defined]
        if not isinstance(get_logger_provider(), LoggerProvider):
            set_logger_provider(LoggerProvider())
        get_logger_provider().add_log_record_processor(SimpleLogRecordProcessor(self.logs))  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Begin anew."""
        self.exporter.clear()
        self.logs.clear()
        self.other.clear()
        self.own_spans = 0

    def kept(self) -> list[Any]:
        """All that is stored of an answer, but for the attributes of spans."""
        records = [each.log_record for each in self.logs.get_finished_logs()]
        return [*self.other, *(part for record in records for part in (record.body, dict(record.attributes or {})))]

    def spans(self) -> list[ReadableSpan]:
        """All that ended."""
        return list(self.exporter.get_finished_spans())


def _instrumentor(loaded: Loaded, instrumentor: Any) -> None:
    instrumentor.instrument()
    loaded.off = instrumentor.uninstrument


def genai(loaded: Loaded) -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    _instrumentor(loaded, OpenAIInstrumentor())


def openllmetry(loaded: Loaded) -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    _instrumentor(loaded, OpenAIInstrumentor())


def openinference(loaded: Loaded) -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    _instrumentor(loaded, OpenAIInstrumentor())


def elastic(loaded: Loaded) -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    _instrumentor(loaded, OpenAIInstrumentor())


def openlit(loaded: Loaded) -> None:
    import openlit as package
    from openlit._instrumentors import MODULE_NAME_MAP

    with tempfile.NamedTemporaryFile("w", suffix=".json") as pricing:
        json.dump({"chat": {}}, pricing)  # given a file, it fetches no prices
        pricing.flush()
        package.init(
            pricing_json=pricing.name,
            disable_metrics=True,
            disabled_instrumentors=[name for name in MODULE_NAME_MAP if name != "openai"],
        )


def logfire(loaded: Loaded) -> None:
    import logfire as package

    package.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        additional_span_processors=[SimpleSpanProcessor(loaded.exporter)],
    )
    context = package.instrument_openai()

    def off() -> None:
        with context:
            """It is off when the context is left."""

    loaded.off = off


def langfuse(loaded: Loaded) -> None:
    from langfuse import Langfuse

    Langfuse(
        public_key="pk",
        secret_key="sk",
        base_url=NOWHERE,
        span_exporter=InMemorySpanExporter(),
        tracer_provider=trace.get_tracer_provider(),
    )
    import langfuse.openai  # noqa: F401  -- importing it patches the SDK


def ddtrace(loaded: Loaded) -> None:
    from ddtrace import patch, tracer
    from ddtrace.internal.writer import TraceWriter
    from ddtrace.llmobs import LLMObs
    from ddtrace.llmobs._constants import LLMOBS_STRUCT

    class Writer(TraceWriter):  # type: ignore[misc]
        def recreate(self, *args: Any, **kwargs: Any) -> Any:
            return self

        def stop(self, timeout: Any = None) -> None:
            pass

        def write(self, spans: Any = None) -> None:
            of_openai = [span for span in spans or () if span.name.startswith("openai")]
            loaded.own_spans += len(of_openai)
            loaded.other += [dict(span._get_struct_tag(LLMOBS_STRUCT.KEY) or {}) for span in of_openai]

        def flush_queue(self, raise_exc: bool = False) -> None:
            pass

    LLMObs.enable(ml_app="app", integrations_enabled=False, agentless_enabled=True, api_key="none", site="test.invalid")
    tracer._span_aggregator.writer = Writer()
    patch(openai=True)

    def off() -> None:
        from ddtrace.contrib.internal.openai.patch import unpatch

        unpatch()

    loaded.off = off


def sentry(loaded: Loaded) -> None:
    import sentry_sdk
    from sentry_sdk.integrations.openai import OpenAIIntegration
    from sentry_sdk.transport import Transport

    class Kept(Transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                payload = item.payload.json or {}
                spans = [*payload.get("spans", ()), *payload.get("items", ())]
                spans = [span for span in spans if "gen_ai" in json.dumps(span, default=str)]
                loaded.own_spans += len(spans)
                loaded.other += [value for span in spans for value in _values(span)]

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Kept,
        traces_sample_rate=1.0,
        send_default_pii=True,
        integrations=[OpenAIIntegration(include_prompts=True)],
        default_integrations=False,
    )


def _values(span: dict[str, Any]) -> list[Any]:
    attributes = span.get("attributes", span.get("data", {}))
    return [value.get("value") if isinstance(value, dict) else value for value in attributes.values()]


def langsmith(loaded: Loaded) -> None:
    from langsmith import Client
    from langsmith.wrappers import wrap_openai

    client = Client(api_url=NOWHERE, api_key="none", auto_batch_tracing=False)

    def create(self: Any, *args: Any, **kwargs: Any) -> None:
        loaded.own_spans += 1

    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        loaded.other.append({"outputs": kwargs.get("outputs")})

    Client.create_run, Client.update_run = create, update
    loaded.wrap = lambda openai: wrap_openai(openai, tracing_extra={"client": client})


@contextlib.contextmanager
def no_transaction() -> Any:
    """Nothing has to surround a call."""
    yield


def around(name: str) -> Any:
    """What has to surround a call for an instrumentation to record it."""
    if name != "sentry":
        return no_transaction()
    import sentry_sdk

    return sentry_sdk.start_transaction(name="app", op="app")


LOADS: dict[str, Callable[[Loaded], None]] = {
    each.__name__: each
    for each in (
        *(genai, openllmetry, openinference, openlit, logfire),
        *(langfuse, ddtrace, sentry, langsmith, elastic),
    )
}
