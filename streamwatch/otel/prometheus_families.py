"""Metric families of prometheus-client out of what OpenTelemetry has counted; imported by the first scrape.

Names and labels are those of OpenTelemetry's own exporter, so that dashboards hold. Beyond it, samples carry exemplars,
which lead from a number to a trace, and no instrument of the application's costs a scrape: one that Prometheus cannot
take is left out with one warning, and the rest is served.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from json import dumps
from typing import Any

from opentelemetry.sdk.metrics import Exemplar as Measured
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Sample,
    UnknownMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.utils import floatToGoString

from streamwatch.export.instruments import BUILD
from streamwatch.version import __version__

_OURS = "streamwatch"  # the name of Streamwatch's instrumentation scope

#: Names kept as translated: more than a process has instruments and attributes. Beyond, it only takes longer.
_NAMES = 4096

#: Characters of a name that is kept: instruments have 255 at most, and nobody's attributes have more.
_MAX_NAME = 256

#: Lists of bounds kept as text: histograms mostly share a few, and each can be some 10 KB.
_BOUNDS = 256

#: The first power of two that is not a float: what needs it for a bound is in the last bucket alone.
_TOO_LARGE = 1024

#: What a family adds to its name for its samples, and `_created`, which OpenMetrics keeps for it. A histogram's is left
#: out here: counters give way to it, but a gauge that Prometheus can take is not left out for it.
_SUFFIXES = {
    CounterMetricFamily: ("", "_total", "_created"),
    GaugeMetricFamily: ("",),
    HistogramMetricFamily: ("", "_bucket", "_count", "_sum"),
    InfoMetricFamily: ("", "_info"),
    UnknownMetricFamily: ("",),
}

#: Units, and what Prometheus calls them; then the same after `per`.
_UCUM = (
    "d=days h=hours min=minutes s=seconds ms=milliseconds us=microseconds ns=nanoseconds By=bytes KiBy=kibibytes "
    "MiBy=mebibytes GiBy=gibibytes TiBy=tibibytes KBy=kilobytes MBy=megabytes GBy=gigabytes TBy=terabytes m=meters "
    "V=volts A=amperes J=joules W=watts g=grams Cel=celsius Hz=hertz %=percent 1="
)
_UCUM_PER = "s=second m=minute h=hour d=day w=week mo=month y=year"
_UNITS = dict(unit.split("=") for unit in _UCUM.split())
_PER = dict(unit.split("=") for unit in _UCUM_PER.split())

Key = tuple[str, frozenset[tuple[str, str]]]  # of a series: the name of its family, and its labels
Exemplars = dict[str, Exemplar]  # of a series: one for each bucket; a counter has one, under ""


# --- names


def _remembered(translate: Callable[[str], str]) -> Callable[[str], str]:
    """Keep what a name is translated to, except names that are so long that a table of them would cost memory."""
    known = lru_cache(_NAMES)(translate)
    return lambda name: known(name) if len(name) <= _MAX_NAME else translate(name)


@_remembered
def _metric_name(name: str) -> str:
    """Return an instrument's name, with an underscore for whatever is not a letter, digit or colon."""
    return _legal(f"_{name[1:]}" if name[:1].isdigit() else name)


@_remembered
def _label_name(key: str) -> str:
    """Return an attribute's key, with an underscore for whatever is not a letter or digit."""
    key = f"_{key[1:]}" if key[:1].isdigit() else key
    return re.sub(r"[^a-zA-Z0-9]+", "_", key) or "_"


@_remembered
def _unit_name(unit: str) -> str:
    """Return a unit as it ends a name: `s` is seconds, `By/s` is bytes_per_second, `{stream}` is nothing."""
    unit = re.sub(r"{.*}", "", unit)
    if unit in _UNITS:
        return _UNITS[unit]
    above, _, below = map(_legal, unit.partition("/"))
    if not below:
        return _legal(unit).strip("_")
    per = f"per_{_PER.get(below, below)}"
    return f"{_UNITS.get(above, above)}_{per}" if _UNITS.get(above, above) else per


def _legal(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9:]+", "_", name)


# --- labels


def _labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return labels; where two keys come to one name, their values are joined in the order of the keys."""
    labels = {_label_name(key): _text(value) for key, value in attributes.items()}
    if len(labels) < len(attributes):
        labels = {}
        for key in sorted(attributes):
            name, text = _label_name(key), _text(attributes[key])
            labels[name] = f"{labels[name]};{text}" if name in labels else text
    return labels


def _text(value: Any) -> str:
    """Return a label's value; a lone surrogate cannot be encoded, and would cost the whole scrape."""
    text = value if isinstance(value, str) else dumps(value, default=str)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _scope_attributes(scope: InstrumentationScope) -> dict[str, Any]:
    """Return what distinguishes the scopes. Streamwatch's has its name in each metric, and its version in one."""
    if scope.name == _OURS:
        return {}
    return {
        **{f"otel_scope_{key}": value for key, value in (scope.attributes or {}).items()},
        "otel_scope_name": scope.name or "",
        "otel_scope_version": scope.version or "",
        "otel_scope_schema_url": scope.schema_url or "",
    }


# --- samples


def _is_counter(data: Any) -> bool:
    return isinstance(data, Sum) and data.is_monotonic


def _exemplar(measured: Measured) -> Exemplar | None:
    """Return an exemplar, if it leads to a span."""
    if not measured.trace_id or not measured.span_id:
        return None
    labels = {"trace_id": f"{measured.trace_id:032x}", "span_id": f"{measured.span_id:016x}"}
    return Exemplar(labels, float(measured.value), measured.time_unix_nano / 1e9)


@lru_cache(_BOUNDS)
def _bucket_names(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return *map(floatToGoString, bounds), "+Inf"


def _powers_of_two(point: ExponentialHistogramDataPoint) -> tuple[tuple[float, ...], Sequence[int]]:
    """Return the bounds and counts of an exponential histogram, as those of an ordinary one.

    The bounds are powers of two, for these stay when the histogram grows and changes its scale; with all others, series
    would end whenever it does. What is not above zero is in the first bucket, which ends at zero.
    """
    counts: dict[int, int] = {}
    step = 1 << max(0, -point.scale)
    for index, count in enumerate(point.positive.bucket_counts, point.positive.offset + 1):
        if count:
            exponent = -(-index >> point.scale) if point.scale > 0 else index * step
            counts[exponent] = counts.get(exponent, 0) + count
    beyond = counts.pop(_TOO_LARGE, 0)
    exponents = range(min(counts) - step, max(counts) + 1, step) if counts else range(0)
    not_above_zero = point.zero_count + sum(point.negative.bucket_counts)
    bounds = (0.0, *(2.0**exponent for exponent in exponents))
    return bounds, [not_above_zero, *(counts.get(exponent, 0) for exponent in exponents), beyond]


class Scrape:
    """The families of one collection, and the exemplars that the next one begins with."""

    def __init__(self, before: Mapping[Key, Exemplars], complain: Callable[[str, Exception], None]) -> None:
        self.families: dict[str, Family] = {}
        #: A collection has only the exemplars since the last one, for whomever that was: so they are kept.
        self.exemplars: dict[Key, Exemplars] = {}
        self._before = before
        self._complain = complain
        self._claimed: set[str] = set()
        self._reserved: set[str] = set()
        self._series: set[Key] = set()
        self._add_info("streamwatch_build", "The Streamwatch that is deployed.", {"version": __version__})

    def add(self, data: MetricsData) -> None:
        """Add everything that Prometheus can take."""
        metrics = [
            (scope.scope, metric)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        # Where names clash, the first one stays: Streamwatch's, and else the same one whatever was used first.
        # Counters come last, as they can give way.
        metrics.sort(key=lambda row: (row[0].name != _OURS, _is_counter(row[1].data), row[0].name or "", row[1].name))
        # Which version this is stands in every scrape already, also where nothing is instrumented.
        metrics = [row for row in metrics if (row[0].name, row[1].name) != (_OURS, BUILD.name)]
        info = {key: value for one in data.resource_metrics for key, value in one.resource.attributes.items()}
        self._guarded("target_info", self._add_info, "target", "Target metadata", info)
        for scope, metric in metrics:
            self._guarded(metric.name, self._add_metric, metric, scope)

    def _guarded(self, name: str, add: Callable[..., None], *arguments: Any) -> None:
        try:
            add(*arguments)
        except Exception as error:
            self._complain(name, error)

    def _add_info(self, name: str, meaning: str, attributes: Mapping[str, Any]) -> None:
        self._put(InfoMetricFamily(name, meaning), [Sample(f"{name}_info", _labels(attributes), 1)])

    def _add_metric(self, metric: Metric, scope: InstrumentationScope) -> None:
        family = self._family(metric)
        if not self._is_free(family):
            raise ValueError(f"the name {family.name} is taken by a metric of another type")
        attributes, seen, samples = _scope_attributes(scope), set[Key](), list[Sample]()
        for point in metric.data.data_points:
            labels = _labels({**attributes, **(point.attributes or {})})
            if "le" in labels and isinstance(family, HistogramMetricFamily):
                labels["exported_le"] = labels.pop("le")
            key = family.name, frozenset(labels.items())
            if key in seen or key in self._series:
                self._complain(
                    f"a series of {metric.name}", ValueError(f"another one has its labels, {sorted(labels)}")
                )
                continue
            seen.add(key)
            samples += self._samples(family, key, labels, point)
        self._series |= seen
        self._put(family, samples)

    def _family(self, metric: Metric) -> Family:
        """Return an empty family for an instrument."""
        name, unit, meaning = _metric_name(metric.name), _unit_name(metric.unit or ""), _text(metric.description or "")
        data = metric.data
        if isinstance(data, Histogram | ExponentialHistogram):
            return HistogramMetricFamily(name, meaning, unit=unit)
        if not _is_counter(data):
            return GaugeMetricFamily(name, meaning, unit=unit)
        counter = CounterMetricFamily(name, meaning, unit=unit)
        if self._is_free(counter) and all(point.value >= 0 for point in data.data_points):
            return counter
        # No counter may be negative, nor have the name that a histogram has for its count; a sample may.
        return UnknownMetricFamily(f"{counter.name}_total", meaning)

    def _is_free(self, family: Family) -> bool:
        """Return whether a family may have its name; several scopes can share one."""
        if family.name in self.families:
            return type(self.families[family.name]) is type(family)
        names = {family.name + suffix for suffix in _SUFFIXES[type(family)]}
        gives_way = isinstance(family, CounterMetricFamily)
        return self._claimed.isdisjoint(names) and not (gives_way and names & self._reserved)

    def _put(self, family: Family, samples: Iterable[Sample]) -> None:
        """Put samples into a family once all are there, so that a metric that fails leaves nothing behind."""
        self._claimed.update(family.name + suffix for suffix in _SUFFIXES[type(family)])
        if isinstance(family, HistogramMetricFamily):
            self._reserved.add(f"{family.name}_created")
        self.families.setdefault(family.name, family).samples.extend(samples)

    def _samples(self, family: Family, key: Key, labels: dict[str, str], point: Any) -> list[Sample]:
        if isinstance(family, HistogramMetricFamily):
            return self._histogram(family.name, key, labels, point)
        if isinstance(family, CounterMetricFamily):
            exemplar = self._kept(key, (("", one) for one in point.exemplars)).get("")
            return [Sample(f"{family.name}_total", labels, float(point.value), None, exemplar)]
        return [Sample(family.name, labels, float(point.value))]

    def _histogram(self, name: str, key: Key, labels: dict[str, str], point: Any) -> list[Sample]:
        if isinstance(point, ExponentialHistogramDataPoint):
            bounds, counts = _powers_of_two(point)
        else:
            bounds, counts = tuple(point.explicit_bounds), point.bucket_counts
        names = _bucket_names(bounds)
        exemplars = self._kept(key, ((names[bisect_left(bounds, one.value)], one) for one in point.exemplars))
        samples = [
            Sample(f"{name}_bucket", {**labels, "le": bucket}, float(count), None, exemplars.get(bucket))
            for bucket, count in zip(names, accumulate(counts), strict=True)
        ]
        # A sum that can fall is not a sum to Prometheus.
        if min(point.sum, point.min, *bounds[:1]) >= 0:
            samples.append(Sample(f"{name}_count", labels, float(point.count)))
            samples.append(Sample(f"{name}_sum", labels, float(point.sum)))
        return samples

    def _kept(self, key: Key, measured: Iterable[tuple[str, Measured]]) -> Exemplars:
        """Return an exemplar of each bucket, as far as one is known: since the last collection, or before."""
        exemplars = self._before.get(key, {})
        new = {bucket: exemplar for bucket, one in measured if (exemplar := _exemplar(one))}
        if new:
            exemplars = {**exemplars, **new}
        if exemplars:
            self.exemplars[key] = exemplars
        return exemplars
