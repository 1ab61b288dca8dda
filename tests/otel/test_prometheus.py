"""What Prometheus gets: the names it always got, exemplars, and a scrape that no instrument can spoil."""

from __future__ import annotations

import json
import logging
import math
import shutil
import socket
import subprocess
import threading
import time
import tracemalloc
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Metric, MetricReader, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Exemplar
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dashboards import records
from helpers.letters import LETTERS
from streamwatch import __version__
from streamwatch.otel import prometheus_families as prometheus
from streamwatch.otel import prometheus_reader, serving
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.prometheus_reader import PrometheusReader

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
EXPONENTIAL = View(instrument_name="exponential*", aggregation=ExponentialBucketHistogramAggregation())
SIGNED = View(
    instrument_name="signed", aggregation=ExplicitBucketHistogramAggregation([-1, 0, 1], record_min_max=False)
)
BELOW_ZERO = View(instrument_name="below.zero", aggregation=ExponentialBucketHistogramAggregation())


class Scraped:
    """A meter provider, and what a scrape of it brings, in both formats."""

    def __init__(self, *readers: MetricReader, **attributes: Any) -> None:
        self.registry = CollectorRegistry()
        self.reader = PrometheusReader(self.registry)
        resource = Resource({"service.name": "shop", **attributes})
        views = [EXPONENTIAL, SIGNED, BELOW_ZERO]
        self.provider = MeterProvider([self.reader, *readers], resource, views=views, shutdown_on_exit=False)
        self.meter = self.provider.get_meter("app", "1.0", "schema", {"kind": "x"})
        self.tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")

    def families(self) -> dict[str, Family]:
        """The families by name: of OpenMetrics, once the other format was read as well."""
        text = list(parse_text(generate_latest(self.registry).decode()))
        families = list(parse_openmetrics(generate_openmetrics(self.registry).decode()))
        assert _values(text) == _values(families)
        return {family.name: family for family in families}

    def value(self, sample: str, **labels: str) -> float:
        """The value of the one sample that has this name and these labels."""
        (value,) = [
            one.value
            for family in self.families().values()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        ]
        return value


def _values(families: list[Family]) -> dict[Any, float]:
    """Every sample; labels of a scope are apart from what two exporters have in common."""
    return {
        (sample.name, *sorted((name, text) for name, text in sample.labels.items() if "otel_scope" not in name)): (
            sample.value
        )
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    """An application with our reader."""
    one = Scraped()
    yield one
    one.provider.shutdown()


def observing(value: float, **attributes: Any) -> list[Callable[[CallbackOptions], list[Observation]]]:
    """The callback of an observable instrument that always has this value."""
    return [lambda options: [Observation(value, attributes)]]


#: One of each kind of instrument. An older OpenTelemetry (1.37) tells what is set in a gauge to one scrape only: where two
#: are compared, gauges are observed.
INSTRUMENTS: dict[str, Callable[[Meter, str, str, dict[str, Any]], object]] = {
    "counter": lambda meter, name, unit, labels: meter.create_counter(name, unit, "what").add(3, labels),
    "gauge": lambda meter, name, unit, labels: meter.create_gauge(name, unit, "what").set(2.5, labels),
    "histogram": lambda meter, name, unit, labels: meter.create_histogram(name, unit, "what").record(7, labels),
    "up_down": lambda meter, name, unit, labels: meter.create_up_down_counter(name, unit, "what").add(-1, labels),
    "observable_counter": lambda meter, name, unit, labels: meter.create_observable_counter(
        name, observing(3, **labels), unit, "what"
    ),
    "observable_gauge": lambda meter, name, unit, labels: meter.create_observable_gauge(
        name, observing(3, **labels), unit, "what"
    ),
    "observable_up_down": lambda meter, name, unit, labels: meter.create_observable_up_down_counter(
        name, observing(-3, **labels), unit, "what"
    ),
}
UNITS = [
    "d",
    "h",
    "min",
    "s",
    "ms",
    "us",
    "ns",
    "By",
    "KiBy",
    "MiBy",
    "GiBy",
    "TiBy",
    "KBy",
    "MBy",
    "GBy",
    "TBy",
    "m",
    "V",
    "A",
    "J",
    "W",
    "g",
    "Cel",
    "Hz",
    "%",
    "1",
    "{stream}",
    "By/s",
    "m/s",
    "1/s",
    "{x}/s",
    "/s",
    "s/",
    "s{x}",
    "s/{x}",
    "By/min",
    "1/d",
    "requests/w",
    "x/mo",
    "x/y",
    "a/b/c",
    "_x_",
    "___",
    "km/h",
    "a:b",
]


# --- names


@given(
    kind=st.sampled_from(sorted(INSTRUMENTS)),
    name=st.from_regex(r"[a-zA-Z][-_./a-zA-Z0-9]{0,20}", fullmatch=True)
    | st.sampled_from(["a.total", "a_total", "a.seconds", "a.seconds.total", "a.s.total", "a.info", "a.bucket"]),
    unit=st.sampled_from(UNITS) | st.from_regex(r"[ -~]{0,8}", fullmatch=True),
    key=st.text(LETTERS, min_size=1, max_size=8),
    value=st.text(LETTERS, max_size=8)
    | st.integers()
    | st.booleans()
    | st.lists(st.text(LETTERS, max_size=3), max_size=2),
)
@settings(deadline=None)
def test_names_labels_and_values_are_those_of_opentelemetry(
    kind: str, name: str, unit: str, key: str, value: Any
) -> None:
    """Dashboards that were made for its exporter hold."""
    upstream = pytest.importorskip("opentelemetry.exporter.prometheus")
    registry = CollectorRegistry()
    try:
        theirs = upstream.PrometheusMetricReader(registry=registry)
    except TypeError:
        pytest.skip("this version serves the registry of the process only")
    scraped = Scraped(theirs)
    if prometheus._label_name(key) in ("le", "_"):
        return  # see below what becomes of these
    INSTRUMENTS[kind](scraped.meter, name, unit, {key: value})

    ours = list(parse_text(generate_latest(scraped.registry).decode()))
    known = [family for family in ours if family.name not in ("target_info", "streamwatch_build_info")]
    expected = [family for family in parse_text(generate_latest(registry).decode()) if family.name != "target_info"]

    assert [(family.name, family.type, family.documentation) for family in expected] == [
        (family.name, family.type, family.documentation) for family in known
    ]
    assert _values(expected) == _values(known)


@pytest.mark.parametrize(("applied", "asked"), [(True, records.APPLIED), (False, records.SHADOW)])
def test_booleans_are_spelled_as_the_rules_ask_for_them(applied: bool, asked: str) -> None:
    """By both exporters: a rule that asks for `true` would see nothing of `True`."""
    upstream = pytest.importorskip("opentelemetry.exporter.prometheus")
    registry = CollectorRegistry()
    try:
        theirs = upstream.PrometheusMetricReader(registry=registry)
    except TypeError:
        pytest.skip("this version serves the registry of the process only")
    scraped = Scraped(theirs)
    scraped.meter.create_counter("streamwatch.cases").add(1, {"streamwatch.applied": applied})

    for served in (registry, scraped.registry):
        (line,) = (
            line for line in generate_latest(served).decode().splitlines() if line.startswith("streamwatch_cases_total")
        )
        assert asked in line


@pytest.mark.parametrize("unit", [*UNITS, "", "ü", "ü/s", "m/ü", "{a}{b}", "a b"])
def test_units_are_those_of_opentelemetry(unit: str) -> None:
    """They end the names."""
    mapping = pytest.importorskip("opentelemetry.exporter.prometheus._mapping")

    assert mapping.map_unit(unit) == prometheus._unit_name(unit)


def test_the_application_has_scope_labels_and_streamwatch_has_none(scraped: Scraped) -> None:
    """They tell two libraries apart; `streamwatch_` tells us apart in every name."""
    scraped.meter.create_counter("hits").add(1)
    scraped.provider.get_meter("streamwatch", "9").create_counter("streamwatch.streams").add(1, {"a": "b"})

    families = scraped.families()

    assert {
        "otel_scope_name": "app",
        "otel_scope_version": "1.0",
        "otel_scope_schema_url": "schema",
        "otel_scope_kind": "x",
    } == families["hits"].samples[0].labels
    assert {"a": "b"} == families["streamwatch_streams"].samples[0].labels


def test_the_deployed_version_is_there_before_anything_is_counted(scraped: Scraped) -> None:
    """As `streamwatch_build_info`, whose value is 1."""
    assert ["streamwatch_build"] == list(scraped.families())
    assert 1 == scraped.value("streamwatch_build_info", version=__version__)


def test_the_resource_is_in_target_info() -> None:
    """Keys that come to one name are joined, in their order."""
    scraped = Scraped(**{"a_b": "x\ud800", "a.b": 1})
    scraped.meter.create_counter("hits").add(1)

    assert 1 == scraped.value("target_info", service_name="shop", a_b="1;x?")


# --- exemplars


@pytest.mark.parametrize("kind", ["counter", "histogram", "exponential"])
def test_samples_lead_to_the_span_in_which_they_were_recorded(kind: str, scraped: Scraped) -> None:
    """With the trace's id, the span's, the value and the time; a histogram has one in each bucket."""
    with scraped.tracer.start_as_current_span("request") as span:
        if kind == "counter":
            scraped.meter.create_counter("hits").add(7)
        else:
            scraped.meter.create_histogram("hits" if kind == "histogram" else "exponential").record(7)
    context = span.get_span_context()
    (exemplar,) = [one.exemplar for family in scraped.families().values() for one in family.samples if one.exemplar]

    assert {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"} == exemplar.labels
    assert 7 == exemplar.value
    assert abs(time.time() - float(exemplar.timestamp)) < 60  # type: ignore[arg-type]


def test_an_exemplar_is_in_the_bucket_of_its_value(scraped: Scraped) -> None:
    """Whose bound it does not exceed, and that is the smallest such bound."""
    histogram = scraped.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2, 3])
    with scraped.tracer.start_as_current_span("request"):
        for value in (0.5, 2, 2.5, 9):
            histogram.record(value)

    samples = {one.labels["le"]: one.exemplar for one in scraped.families()["h"].samples if "le" in one.labels}

    assert {"1.0": 0.5, "2.0": 2, "3.0": 2.5, "+Inf": 9} == {le: one.value for le, one in samples.items()}  # type: ignore[union-attr]


def test_the_text_format_has_no_exemplars(scraped: Scraped) -> None:
    """It has no place for them."""
    with scraped.tracer.start_as_current_span("request"):
        scraped.meter.create_counter("hits").add(7)

    assert " # " not in generate_latest(scraped.registry).decode()


def test_an_exemplar_stays_until_there_is_a_newer_one(scraped: Scraped) -> None:
    """A second scraper, or a person with a browser, takes none away from the first; a flush takes none either."""
    counter = scraped.meter.create_counter("hits")

    def exemplars() -> list[float]:
        return [one.exemplar.value for one in scraped.families()["hits"].samples if one.exemplar]

    with scraped.tracer.start_as_current_span("request"):
        counter.add(1)
    scraped.provider.force_flush()
    assert [1] == exemplars() == exemplars()
    counter.add(5)
    assert [1] == exemplars()
    with scraped.tracer.start_as_current_span("request"):
        counter.add(2)
    assert [2] == exemplars()


def test_the_exemplars_of_a_series_that_ends_are_forgotten(scraped: Scraped) -> None:
    """Memory is bounded by what is served."""
    observations = [Observation(1, {"id": 1})]
    scraped.meter.create_observable_counter("hits", [lambda options: observations])
    with scraped.tracer.start_as_current_span("request"):
        scraped.families()
    assert 1 == len(scraped.reader._exemplars)

    scraped.reader._receive_metrics(MetricsData([]))

    assert {} == scraped.reader._exemplars


def test_no_exemplar_leads_nowhere(scraped: Scraped) -> None:
    """Outside of spans, and in spans that are not sampled, there is none."""
    counter = scraped.meter.create_counter("hits")
    counter.add(1)
    with TracerProvider(ALWAYS_OFF, shutdown_on_exit=False).get_tracer("app").start_as_current_span("request"):
        counter.add(1)

    assert [None] == [one.exemplar for one in scraped.families()["hits"].samples]


def test_an_exemplar_without_a_span_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_METRICS_EXEMPLAR_FILTER=always_on takes them outside of spans too."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "always_on")
    scraped = Scraped()
    scraped.meter.create_counter("hits").add(1)

    assert [None] == [one.exemplar for one in scraped.families()["hits"].samples]


# --- exponential histograms


def test_the_first_bucket_of_an_exponential_histogram_has_a_lower_bound(scraped: Scraped) -> None:
    """Else a quantile in it would be estimated from zero."""
    scraped.meter.create_histogram("exponential").record(5)

    samples = scraped.families()["exponential"].samples

    assert ["0.0", "4.0", "8.0", "+Inf"] == [one.labels["le"] for one in samples if "le" in one.labels]


@given(values=st.lists(st.floats(0, 1e9).map(lambda value: round(value, 4)), min_size=1, max_size=40))
@settings(deadline=None)
def test_an_exponential_histogram_counts_what_is_not_above_each_power_of_two(values: list[float]) -> None:
    """Exactly, and the last bucket, the count and the sum have everything."""
    scraped = Scraped()
    histogram = scraped.meter.create_histogram("exponential", "s")
    for value in values:
        histogram.record(value)

    family = scraped.families()["exponential_seconds"]
    buckets = {float(one.labels["le"]): one.value for one in family.samples if "le" in one.labels}

    assert {bound: sum(value <= bound for value in values) for bound in buckets} == buckets
    assert all(math.frexp(bound)[0] in (0.0, 0.5) for bound in buckets if bound < math.inf)
    assert len(values) == scraped.value("exponential_seconds_count") == buckets[math.inf]
    assert math.isclose(sum(values), scraped.value("exponential_seconds_sum"), abs_tol=1e-9)


def test_the_bounds_of_an_exponential_histogram_stay_when_it_grows(scraped: Scraped) -> None:
    """It changes its scale then, and a series that ends is a hole in a graph."""
    histogram = scraped.meter.create_histogram("exponential")
    bounds: set[str] = set()
    for value in (1.1, 1.2, 5, 0.001, 3000, 1e6):
        histogram.record(value)
        now = {one.labels["le"] for one in scraped.families()["exponential"].samples if "le" in one.labels}
        assert bounds <= now
        bounds = now


@pytest.mark.parametrize(
    "values", [[0], [0, 0], [1e300], [3e-308], [1.7e308, 3e-308], [0, 1, 1.7e308], [3e-300, 1.5, 7e200]]
)
def test_an_exponential_histogram_can_hold_any_number(values: list[float], scraped: Scraped) -> None:
    """Where it belongs, in no more buckets than OpenTelemetry has for it, 160, and three."""
    histogram = scraped.meter.create_histogram("exponential")
    for value in values:
        histogram.record(value)

    buckets = [one for one in scraped.families()["exponential"].samples if "le" in one.labels]

    assert [sum(value <= float(one.labels["le"]) for value in values) for one in buckets] == [
        one.value for one in buckets
    ]
    assert len(buckets) <= 163


@pytest.mark.parametrize("positive", [1, 5])
@pytest.mark.parametrize("name", ["signed", "below.zero"])
def test_a_histogram_of_what_can_be_negative_has_no_sum(name: str, positive: int, scraped: Scraped) -> None:
    """To Prometheus a sum never falls; the buckets are there."""
    counter = scraped.meter.create_up_down_counter(name)
    counter.add(-3)
    counter.add(positive)

    samples = scraped.families()[name.replace(".", "_")].samples

    assert {2} == {one.value for one in samples if one.labels.get("le") == "+Inf"}
    assert {1} == {one.value for one in samples if one.labels.get("le") == "0.0"}
    assert {f"{name.replace('.', '_')}_bucket"} == {one.name for one in samples}


# --- what no scrape may fail for


HOSTILE = ['a"b', "a\nb", "a\\b", "\\n", "\\", "\r\n", "\x00", "{}", 'x="y"} 1 # {', "\u2028", "é", "\U0001f600", ""]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_any_label_value_arrives_as_it_is(text: str, scraped: Scraped) -> None:
    """Whatever a server or a user put into it."""
    scraped.meter.create_counter("hits", description=text).add(1, {"text": text})

    assert {text} == {one.labels.get("text", "") for one in scraped.families()["hits"].samples}


def test_a_lone_surrogate_costs_a_letter_and_nothing_else(scraped: Scraped) -> None:
    """It cannot be encoded: in a value, in a list and in a description."""
    scraped.meter.create_counter("hits", description="\ud800").add(1, {"a": "x\ud800y", "b": ("\ud800",), "\udc00": 1})

    assert 1 == scraped.value("hits_total", a="x?y", b='["\\ud800"]', _="1")


def test_labels_that_come_to_one_name_are_joined(scraped: Scraped) -> None:
    """In the order of their keys; nothing is lost."""
    labels = {"a_b": "second", "a.b": "first", "é": 2, "9": 3, "___": 1}
    scraped.meter.create_observable_gauge("g", observing(1, **labels))

    assert 1 == scraped.value("g", a_b="first;second", _="3;1;2")


def test_an_attribute_le_does_not_touch_the_buckets(scraped: Scraped) -> None:
    """It has the name that Prometheus gives to a label that is in the way."""
    scraped.meter.create_histogram("h").record(1, {"le": "mine"})

    assert 1 == scraped.value("h_bucket", le="5.0", exported_le="mine")
    assert 1 == scraped.value("h_count", exported_le="mine")


def test_bounds_are_canonical(scraped: Scraped) -> None:
    """OpenMetrics wants 1.0 and 1e+07 where the application wrote 1 and 10000000."""
    scraped.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 10_000_000]).record(1)

    assert ["1.0", "1e+07", "+Inf"] == [
        one.labels["le"] for one in scraped.families()["h"].samples if one.labels.get("le")
    ]


def test_two_scopes_can_share_a_name(scraped: Scraped) -> None:
    """Of one type: one family, with the words of one of them."""
    scraped.meter.create_counter("hits", "s", "mine").add(1)
    scraped.provider.get_meter("other").create_counter("hits.seconds", "", "yours").add(2)

    assert 1 == scraped.value("hits_seconds_total", otel_scope_name="app")
    assert 2 == scraped.value("hits_seconds_total", otel_scope_name="other")


@pytest.mark.parametrize("first", ["other", "app"])
def test_of_two_types_under_one_name_one_is_left_out_with_one_warning(
    first: str, scraped: Scraped, caplog: pytest.LogCaptureFixture
) -> None:
    """Always the same one, whichever was used first."""
    for scope in (first, "app" if first == "other" else "other"):
        meter = scraped.provider.get_meter(scope)
        meter.create_observable_gauge("x", observing(1)) if scope == "app" else meter.create_histogram("x").record(1)

    scraped.families()

    assert "gauge" == scraped.families()["x"].type
    assert [
        "streamwatch: the Prometheus endpoint leaves out x (ValueError: the name x is taken by a metric of another type)"
    ] == caplog.messages


@pytest.mark.parametrize(
    ("name", "kind", "counter"),
    [
        ("x", "observable_gauge", "x"),
        ("x", "histogram", "x.count"),
        ("x", "histogram", "x"),
        ("x.created", "observable_gauge", "x"),
        ("x.created", "counter", "x"),
    ],
)
def test_a_counter_gives_way_where_only_the_words_clash(
    name: str, kind: str, counter: str, scraped: Scraped, caplog: pytest.LogCaptureFixture
) -> None:
    """Its samples keep their name; it is only not called a counter."""
    INSTRUMENTS[kind](scraped.meter, name, "", {})
    scraped.provider.get_meter("other").create_counter(counter).add(5)

    families = scraped.families()

    assert 5 == scraped.value(f"{counter.replace('.', '_')}_total")
    assert 4 == len(families)
    assert [] == caplog.messages


def test_an_application_cannot_take_our_names(scraped: Scraped, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it calls its instruments, and whenever it makes them."""
    scraped.meter.create_histogram("streamwatch.streams").record(1)
    scraped.meter.create_gauge("streamwatch.streams.total").set(1)
    scraped.meter.create_gauge("streamwatch.build.info").set(1)
    scraped.meter.create_gauge("target.info").set(1)
    scraped.provider.get_meter("streamwatch").create_counter("streamwatch.streams").add(1)

    assert 1 == scraped.value("streamwatch_streams_total")
    assert 1 == scraped.value("streamwatch_build_info", version=__version__)
    assert 1 == scraped.value("target_info", service_name="shop")
    assert 4 == len(caplog.messages)


def test_a_series_that_is_there_twice_is_served_once_with_one_warning(
    scraped: Scraped, caplog: pytest.LogCaptureFixture
) -> None:
    """Prometheus would refuse the second, or all of the scrape."""
    scraped.meter.create_observable_gauge("g", [*observing(1, **{"a.b": "x"}), *observing(2, a_b="x")])

    assert 1 == scraped.value("g", a_b="x")
    assert ["streamwatch: the Prometheus endpoint leaves out a series of g"] == [
        message.split(" (")[0] for message in caplog.messages
    ]


def test_a_forked_child_has_no_exemplar_of_its_parents(scraped: Scraped) -> None:
    """Nor waits for a scrape of the parent's that never ends in the child."""
    scraped.reader._exemplars = {("hits", frozenset()): {"": Exemplar({"trace_id": "1"}, 1.0)}}
    with scraped.reader._scraping:
        thread = threading.Thread(target=scraped.reader.start_anew)
        thread.start()
        thread.join()
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(len(scraped.reader.families())))
        thread.start()
        thread.join(5)

    assert done
    assert not scraped.reader._exemplars


@pytest.mark.slow
def test_names_without_end_cost_no_memory(scraped: Scraped, caplog: pytest.LogCaptureFixture) -> None:
    """What a name is translated to is kept for short names alone, and a complaint for so many metrics."""
    for number in range(5000):
        scraped.reader._complain(f"{number}" + "n" * 1000, ValueError("x"))
    tracemalloc.start()
    for number in range(200):
        prometheus._label_name(f"{number}" + "n" * 100_000)
    for number in range(1000):
        prometheus._bucket_names(tuple(map(float, range(number, number + 100))))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert prometheus._bucket_names.cache_info().currsize == 256
    assert len(scraped.reader._complaints) == len(caplog.messages) == 4096
    assert sum(map(len, scraped.reader._complaints)) <= 4096 * 256
    assert kept < 4_000_000  # of 256 lists of bounds, most of it


def test_a_counter_that_is_negative_is_served_but_not_called_a_counter(scraped: Scraped) -> None:
    """A callback of the application's can say anything."""
    scraped.meter.create_observable_counter("hits", observing(-5))

    assert -5 == scraped.value("hits_total")


def test_what_is_not_known_is_left_out_with_one_warning(scraped: Scraped, caplog: pytest.LogCaptureFixture) -> None:
    """A later OpenTelemetry can have more kinds of data; the rest is served."""
    collected = scraped.reader._collect
    assert collected is not None
    scraped.meter.create_counter("hits").add(1)

    def with_more(*arguments: Any, **options: Any) -> MetricsData:
        scope = ScopeMetrics(InstrumentationScope("app"), [Metric("new", "", "", object())], "")  # type: ignore[arg-type]
        known = collected(*arguments, **options)
        return MetricsData([ResourceMetrics(Resource({}), [scope], ""), *known.resource_metrics])  # type: ignore[attr-defined]

    scraped.reader._set_collect_callback(with_more)

    assert 1 == scraped.value("hits_total")
    assert ["streamwatch: the Prometheus endpoint leaves out new"] == [
        message.split(" (")[0] for message in caplog.messages
    ]


def test_a_callback_that_raises_costs_its_own_instrument_only(scraped: Scraped) -> None:
    """OpenTelemetry logs it."""
    scraped.meter.create_observable_gauge("bad", [lambda options: 1 / 0])  # type: ignore[list-item,return-value]
    scraped.meter.create_counter("hits").add(1)

    assert {"streamwatch_build", "target", "hits"} == set(scraped.families())


def test_a_collection_that_fails_costs_one_warning_and_its_scrape(
    scraped: Scraped, caplog: pytest.LogCaptureFixture
) -> None:
    """Old numbers are not served as new ones; which version fails is."""
    scraped.meter.create_counter("hits").add(1)
    collected = scraped.reader._collect
    scraped.families()

    scraped.reader._set_collect_callback(lambda reader, timeout_millis: 1 / 0)  # type: ignore[arg-type,return-value]
    assert ["streamwatch_build"] == list(scraped.families())
    assert [
        "streamwatch: the Prometheus endpoint leaves out all of a scrape (ZeroDivisionError: division by zero)"
    ] == caplog.messages

    scraped.reader._set_collect_callback(collected)  # type: ignore[arg-type]
    assert 1 == scraped.value("hits_total")


def test_a_callback_that_never_returns_holds_one_thread(
    scraped: Scraped, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not one more for each scrape: the next ones give up, with one warning."""
    monkeypatch.setattr(prometheus_reader, "_PATIENCE", 0.05)
    returns = threading.Event()
    scraped.meter.create_observable_gauge("stuck", [lambda options: (returns.wait(30) and []) or []])
    stuck = threading.Thread(target=generate_latest, args=[scraped.registry])
    stuck.start()
    try:
        while not scraped.reader._scraping._is_owned() and scraped.reader._scraping.acquire(blocking=False):  # type: ignore[attr-defined]
            scraped.reader._scraping.release()
            time.sleep(0.01)
        assert ["streamwatch_build"] == list(scraped.families())
        assert 1 == len(caplog.messages)
    finally:
        returns.set()
        stuck.join(30)


def test_scrapes_at_once_all_get_everything_once(scraped: Scraped) -> None:
    """Also while the application counts and flushes."""
    counter = scraped.meter.create_counter("hits")
    counter.add(1)
    seen: list[list[str]] = []

    def scrape() -> None:
        for _ in range(20):
            text = generate_openmetrics(scraped.registry).decode()
            seen.append([family.name for family in parse_openmetrics(text)])
            counter.add(1)
            scraped.provider.force_flush()

    threads = [threading.Thread(target=scrape) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [["streamwatch_build", "target", "hits"]] * 120 == seen
    assert 121 == scraped.value("hits_total")


def test_a_reader_that_is_shut_down_has_left_its_registry(scraped: Scraped) -> None:
    """Once and for all."""
    scraped.meter.create_counter("hits").add(1)
    scraped.reader.shutdown()
    scraped.reader.shutdown()

    assert b"" == generate_latest(scraped.registry)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["app", "other", "streamwatch"]),
            st.sampled_from(sorted(INSTRUMENTS.keys() - {"gauge"})),
            st.sampled_from(
                ["x", "x.count", "x_count", "x.total", "x.created", "x.sum", "x.info", "target", "x.bucket"]
            ),
            st.sampled_from(["", "s", "1"]),
            st.dictionaries(
                st.sampled_from(["a.b", "a_b", "le", "otel_scope_name", "é"]), st.text(LETTERS, max_size=3)
            ),
        ),
        max_size=8,
    )
)
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_no_set_of_instruments_spoils_a_scrape(instruments: list[tuple[str, str, str, str, dict[str, Any]]]) -> None:
    """Both formats can be read, no series is there twice, and all that is left out has been named."""
    scraped = Scraped()
    complaints: list[str] = []
    scraped.reader._complain = lambda what, error: complaints.append(what)  # type: ignore[method-assign]
    for scope, kind, name, unit, labels in instruments:
        INSTRUMENTS[kind](scraped.provider.get_meter(scope), name, unit, labels)

    text = generate_latest(scraped.registry).decode()
    series = [line.rpartition(" ")[0] for line in text.split("\n") if line and not line.startswith("#")]

    assert len(series) == len(set(series))
    list(parse_text(text))
    created = any(name == "x.created" and "counter" not in kind for _, kind, name, _, _ in instruments)
    if created and any(name == "x" and kind == "histogram" for _, kind, name, _, _ in instruments):
        return  # Prometheus takes it; the parser here is stricter, and to please it would cost the gauge
    families = {family.name for family in parse_openmetrics(generate_openmetrics(scraped.registry).decode())}
    for _, _, name, _, _ in instruments:
        plain = name.replace(".", "_").removesuffix("_total")
        assert complaints or any(family.startswith(plain) for family in families)


# --- the endpoint


@pytest.fixture
def endpoint(scraped: Scraped) -> Iterator[Endpoint]:
    """An endpoint that serves what the application counts."""
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    one.serve(scraped.registry, moved=logging.DEBUG)
    yield one
    one.server.shutdown()
    one.server.server_close()


def asked(endpoint: Endpoint, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """The status, the content type and the text of an answer."""
    address = f"http://127.0.0.1:{endpoint.server.server_port}{path}"
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, None, headers, method=method), timeout=10
        ) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", ""


def test_who_asks_for_openmetrics_gets_exemplars(scraped: Scraped, endpoint: Endpoint) -> None:
    """And everybody else the text format."""
    with scraped.tracer.start_as_current_span("request"):
        scraped.meter.create_counter("hits").add(7)

    plain, rich = asked(endpoint), asked(endpoint, Accept=OPENMETRICS)

    assert (200, "text/plain") == (plain[0], plain[1].partition(";")[0])
    assert (200, "application/openmetrics-text") == (rich[0], rich[1].partition(";")[0])
    assert " # {" not in plain[2]
    assert " # {span_id=" in rich[2]
    assert rich[2].endswith("# EOF\n")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("HEAD", "/metrics", {200, 405}),
        ("POST", "/", {200, 405}),
        ("GET", "/x?y", {200}),
        ("GET", "/favicon.ico", {200}),
    ],
)
def test_other_requests_are_answered_quietly(
    method: str, path: str, statuses: set[int], endpoint: Endpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    """A health check or a scanner leaves nothing on stderr; how it is refused is prometheus-client's to say."""
    assert asked(endpoint, path, method)[0] in statuses
    assert ("", "") == capfd.readouterr()


@pytest.mark.slow
def test_who_says_nothing_blocks_nobody_and_is_let_go(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Silent, half a request, or gone at once: no thread is held for long, and nothing is on stderr."""
    monkeypatch.setattr(serving, "_PATIENCE", 4.0)
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    one.serve(scraped.registry, moved=logging.DEBUG)
    before = threading.active_count()
    silent = [socket.create_connection(one.server.server_address, 10) for _ in range(4)]
    try:
        silent[0].sendall(b"GET /met")
        silent[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        silent[1].close()
        started = time.monotonic()
        assert 200 == asked(one)[0]
        assert time.monotonic() - started < 3
        assert b"" == silent[2].recv(1)
        deadline = time.monotonic() + 20
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert threading.active_count() <= before
    finally:
        for client in silent:
            client.close()
        one.server.shutdown()
        one.server.server_close()
    assert ("", "") == capfd.readouterr()


def test_a_crowd_that_says_nothing_takes_32_threads_and_keeps_nobody_out(scraped: Scraped) -> None:
    """One more connection ends the oldest: a scrape is answered at once."""
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    one.serve(scraped.registry, moved=logging.DEBUG)
    one.server.socket.listen(64)  # the kernel lets a crowd of more wait for seconds
    before = threading.active_count()
    silent = [socket.create_connection(one.server.server_address, 10) for _ in range(50)]
    try:
        started = time.monotonic()
        assert 200 == asked(one)[0]
        assert time.monotonic() - started < 10
        assert threading.active_count() <= before + 32
        assert b"" == silent[0].recv(1)
    finally:
        for client in silent:
            client.close()
        one.server.shutdown()
        one.server.server_close()


# --- a real Prometheus


@pytest.fixture
def server(endpoint: Endpoint, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Asks a real Prometheus, which scrapes the endpoint every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no `prometheus` on this machine (Debian: apt-get install prometheus)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    target = f"127.0.0.1:{endpoint.server.server_port}"
    jobs = [{"job_name": "app", "static_configs": [{"targets": [target]}]}]
    config = tmp_path / "prometheus.yml"
    config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
    process = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(path: str, **parameters: str) -> Any:
        address = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        deadline = time.monotonic() + 60
        while True:  # until there is an answer that is not empty: it takes a while to start, and to scrape
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:
                    data = json.load(answer)["data"]
            except OSError:
                data = None
            found = data["result"] if isinstance(data, dict) else data
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    yield ask
    process.terminate()
    process.wait(30)


@pytest.mark.e2e
def test_a_real_prometheus_gets_everything(scraped: Scraped, server: Callable[..., Any]) -> None:
    """Exemplars of counters and both kinds of histogram, hostile labels as they are, and no scrape that fails."""
    with scraped.tracer.start_as_current_span("request") as span:
        counter = scraped.meter.create_counter("hits")
        for number, text in enumerate(HOSTILE):
            counter.add(number + 1, {"text": text})
        scraped.meter.create_histogram("h", "s").record(1.5, {"le": "mine"})
        scraped.meter.create_histogram("exponential").record(1.5)
        scraped.meter.create_up_down_counter("signed").add(-3)
        scraped.meter.create_counter("h.seconds.count").add(1)
        scraped.provider.get_meter("other").create_gauge("h.seconds").set(1)
    trace = f"{span.get_span_context().trace_id:032x}"

    series = server("query", query="hits_total")
    assert {(text, str(number + 1)) for number, text in enumerate(HOSTILE)} == {
        (one["metric"].get("text", ""), one["value"][1]) for one in series
    }
    assert ["1"] == [one["value"][1] for one in server("query", query="min_over_time(up[1m])")]
    assert [__version__] == [one["metric"]["version"] for one in server("query", query="streamwatch_build_info")]
    assert ["1"] == [one["value"][1] for one in server("query", query="h_seconds_count_total")]
    now = time.time()
    for query in ('h_seconds_bucket{le="5.0"}', 'exponential_bucket{le="2.0"}', 'hits_total{text="é"}'):
        (found,) = server("query_exemplars", query=query, start=str(now - 600), end=str(now + 600))
        assert [trace] == [one["labels"]["trace_id"] for one in found["exemplars"]]
