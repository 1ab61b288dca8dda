"""What a forked child renews, without a fork: each piece of OpenTelemetry's SDK that has a private name.

`test_forks.py` forks. Here every piece is looked at alone, so that a release which has moved one fails one test.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from streamwatch.export.forked import start_anew
from streamwatch.otel import forks


class Metrics(MetricExporter):
    """Keeps what it is given; each instance is a connection of its own."""

    made: ClassVar[list[Metrics]] = []

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.made.append(self)

    def export(self, metrics_data: Any, timeout_millis: float = 0, **_options: Any) -> MetricExportResult:
        self.seen.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_options: Any) -> None:
        pass


class Spans(SpanExporter):
    """The same for spans."""

    made: ClassVar[list[Spans]] = []

    def __init__(self) -> None:
        self.seen: list[ReadableSpan] = []
        self.made.append(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.seen.extend(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[MeterProvider]:
    """One that sends by an exporter, seldom."""
    Metrics.made.clear()
    found = MeterProvider([PeriodicExportingMetricReader(Metrics(), export_interval_millis=3_600_000)])
    yield found
    found.shutdown()


def sent(exporter: Metrics) -> list[tuple[dict[str, Any], float]]:
    """The identity and the value of each point."""
    return [
        (dict(resource.resource.attributes), point.value)
        for data in exporter.seen
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


@contextlib.contextmanager
def held(lock: Any) -> Iterator[None]:
    """A lock that another thread holds, as one may at a fork, and never lets go of."""
    taken, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            go_on.wait(60)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert taken.wait(60)
    yield
    go_on.set()
    thread.join(60)


def test_metrics_of_a_child_have_a_connection_an_identity_and_counts_of_its_own(provider: MeterProvider) -> None:
    """The parent's counts are not sent a second time, nor under its name."""
    counter = provider.get_meter("ours").create_counter("count")
    counter.add(3)
    provider.force_flush()
    forks._renew_metrics(provider)
    counter.add(1)
    provider.force_flush()
    parents, childs = Metrics.made

    ((before, three),) = sent(parents)
    ((after, one),) = sent(childs)
    assert (three, one) == (3, 1)
    assert before.get("service.instance.id") != after["service.instance.id"]


@pytest.mark.parametrize("which", ["consumer", "storage", "export"])
def test_metrics_of_a_child_wait_for_no_lock_of_the_parent(which: str, provider: MeterProvider) -> None:
    """Each of the three may have been held at the fork."""
    counter = provider.get_meter("ours").create_counter("count")
    consumer = provider._measurement_consumer
    found: list[tuple[Any, Any]] = [*consumer._reader_storages.items()]
    ((reader, storage),) = found
    with held({"consumer": consumer._lock, "storage": storage._lock, "export": reader._export_lock}[which]):
        forks._renew_metrics(provider)
        done = threading.Thread(target=lambda: (counter.add(1), provider.force_flush()), daemon=True)
        done.start()
        done.join(30)

        assert not done.is_alive()
    assert [value for _, value in sent(Metrics.made[-1])] == [1]


def test_spans_of_a_child_have_a_connection_of_its_own() -> None:
    """Behind each processor that sends in batches; others are left alone."""
    Spans.made.clear()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Spans()))
    forks._renew_traces(provider)
    provider.get_tracer("ours").start_span("one").end()
    provider.force_flush()
    provider.shutdown()
    parents, childs = Spans.made

    assert ([], ["one"]) == (parents.seen, [span.name for span in childs.seen])


@pytest.mark.parametrize("provider", [TracerProvider(), object()], ids=["without a processor", "of another kind"])
def test_a_provider_without_batches_is_left_alone(provider: Any) -> None:
    """Nothing is raised."""
    forks._renew_traces(provider)


@pytest.mark.parametrize("early", [True, False], ids=["made before the provider", "made after"])
def test_an_instrument_counts_from_zero(early: bool) -> None:
    """One that was made before there was a provider stands for another, which has the counts."""
    from opentelemetry.metrics import _internal

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    if early:
        meter: Any = _internal._ProxyMeterProvider().get_meter("ours")
        counter, other = meter.create_counter("count"), meter.create_counter("theirs")
        meter.on_set_meter_provider(provider)
    else:
        meter = provider.get_meter("ours")
        counter, other = meter.create_counter("count"), meter.create_counter("theirs")
    for each in (counter, other):
        each.add(3)
    start_anew(counter)
    counter.add(1)
    data = reader.get_metrics_data()
    assert data is not None
    metrics: Any = data.resource_metrics[0].scope_metrics[0].metrics

    assert {metric.name: metric.data.data_points[0].value for metric in metrics} == {"count": 1, "theirs": 3}
    provider.shutdown()


def test_an_instrument_of_no_provider_is_left_alone() -> None:
    """Nothing is raised, and nothing is counted."""
    start_anew(NoOpMeterProvider().get_meter("ours").create_counter("count"))
