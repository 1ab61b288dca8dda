"""The proposal for OpenTelemetry's Prometheus exporter: the patch works, and the page is still right."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from helpers.programs import loaded

official = pytest.importorskip("opentelemetry.exporter.prometheus")

FOLDER = Path(__file__).parents[2] / "docs" / "proposals"
PAGE = (FOLDER / "prometheus-exemplars.md").read_text("utf-8")
VERSION = importlib.metadata.version("opentelemetry-exporter-prometheus")

pytestmark = pytest.mark.skipif(
    f"`opentelemetry-exporter-prometheus` {VERSION}" not in PAGE,
    reason=f"the proposal is for another release than {VERSION}",
)


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The exporter with the patch."""
    if not shutil.which("git"):
        pytest.skip("git is not installed: it applies the patch")
    folder = tmp_path_factory.mktemp("patched")
    shutil.copy(str(official.__file__), folder)
    subprocess.run(["git", "apply", FOLDER / "prometheus-exemplars.diff"], cwd=folder, check=True)
    return loaded(folder / "__init__.py", "patched_exporter")


def exposition(module: Any, *, sampled: bool = True) -> str:
    """What it serves of a counter and a histogram, in OpenMetrics."""
    registry = CollectorRegistry()
    provider = MeterProvider([module.PrometheusMetricReader(registry=registry)])
    meter = provider.get_meter("ours")
    counter, histogram = meter.create_counter("calls"), meter.create_histogram("seconds")
    tracer = TracerProvider().get_tracer("ours")
    for value in (3, 700):
        if sampled:
            with tracer.start_as_current_span("call"):
                counter.add(1)
                histogram.record(value)
        else:
            counter.add(1)
            histogram.record(value)
    text: str = openmetrics(registry).decode()  # type: ignore[no-untyped-call, unused-ignore]
    provider.shutdown()
    return text


def exemplars(text: str) -> list[tuple[str, float]]:
    """The series that have an exemplar, with its value."""
    found = re.findall(
        r'^(\w+)\{(?:.*?le="([^"]+)")?[^}]*\} \S+ # \{span_id="[0-9a-f]{16}",trace_id="[0-9a-f]{32}"\} (\S+) ',
        text,
        re.MULTILINE,
    )
    return [(f"{name} {bound}".strip(), float(value)) for name, bound, value in found]


def test_the_patch_hands_exemplars_on(patched: ModuleType) -> None:
    """The last of a counter, and that of each bucket; none where nothing was sampled."""
    assert exemplars(exposition(patched)) == [
        ("calls_total", 1.0),
        ("seconds_bucket 5.0", 3.0),
        ("seconds_bucket 750.0", 700.0),
    ]
    assert exemplars(exposition(patched, sampled=False)) == []


def test_nothing_else_changes(patched: ModuleType) -> None:
    """Without exemplars, line for line."""
    assert exposition(patched, sampled=False) == exposition(official, sampled=False)


# --- what the official exporter does


def scraped(fill: Callable[[MeterProvider], Any], *views: View) -> str:
    """What it serves, or how it fails."""
    registry = CollectorRegistry()
    provider = MeterProvider([official.PrometheusMetricReader(registry=registry)], views=views)
    fill(provider)
    try:
        return generate_latest(registry).decode()
    except Exception as error:
        return f"raised {type(error).__name__}"
    finally:
        provider.shutdown()


def exponential() -> bool:
    """Whether an exponential histogram costs the scrape."""
    view = View(instrument_name="seconds", aggregation=ExponentialBucketHistogramAggregation())
    text = scraped(lambda provider: provider.get_meter("theirs").create_histogram("seconds").record(3), view)
    return text.startswith("raised ")


def surrogate() -> bool:
    """Whether a lone surrogate costs the scrape."""
    fill = lambda provider: provider.get_meter("theirs").create_counter("calls").add(1, {"said": "\ud83d"})  # noqa: E731
    return scraped(fill).startswith("raised ")


def two_types() -> bool:
    """Whether two families of one name are served."""

    def fill(provider: MeterProvider) -> None:
        provider.get_meter("theirs").create_counter("n").add(1)
        provider.get_meter("others").create_gauge("n_total").set(3)

    return {"# TYPE n_total counter", "# TYPE n_total gauge"} <= set(scraped(fill).splitlines())


def negative() -> bool:
    """Whether something negative is called a counter."""
    fill = lambda provider: provider.get_meter("theirs").create_observable_counter("n", [lambda _: [Observation(-1)]])  # noqa: E731
    text = scraped(fill)
    return "# TYPE n_total counter" in text and " -1.0" in text


#: What a forked child serves of a counter that its parent had at 3.
FORKED = """
import os
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

registry = CollectorRegistry()
MeterProvider([PrometheusMetricReader(registry=registry)]).get_meter("theirs").create_counter("calls").add(3)
if not os.fork():
    lines = generate_latest(registry).decode().splitlines()
    print([line for line in lines if line.startswith("calls_total")], flush=True)
    os._exit(0)
os.wait()
"""


def forked() -> bool:
    """Whether a child goes on with the counts of its parent."""
    words = [sys.executable, "-W", "ignore", "-c", FORKED]
    return " 3.0" in subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ}).stdout


ROWS = {
    "an exemplar": lambda: exemplars(exposition(official)) == [],
    "an exponential histogram": exponential,
    "a label value with a lone surrogate": surrogate,
    "a counter `n` and a gauge `n_total`": two_types,
    "a counter whose value is negative": negative,
    "a process that is forked": forked,
}


def test_the_page_and_these_tests_have_the_same_rows() -> None:
    """In the same order."""
    assert re.findall(r"^\| (a.+?) \| .+ \| .+ \|$", PAGE, re.MULTILINE)[1:] == list(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_the_official_exporter_is_as_the_page_says(row: str) -> None:
    """When it is no longer so, the row can go."""
    assert ROWS[row]()
