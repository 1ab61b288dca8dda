"""Reports to spans and metrics, through the OpenTelemetry API alone.

Everything is aggregated per stream: nothing here is called for a chunk. A stream is recorded when
it ends, and every few seconds while it goes on, so that counters move during a long one; what a
repair came to is known, and recorded, at the end.

Counters are kept here, as plain numbers, and reported when a reader asks: an `add` for each of the ten
or so that a stream moves was a quarter of all that is done for a short stream.

Values that come off the wire are labels here, and a server chooses them: a word is one of a table, a
name has the form of one and is cut (`labels`), and the number of both is capped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider, get_tracer, set_span_in_context

from streamwatch.core.known_issues import ISSUES
from streamwatch.core.report import Report, Times
from streamwatch.core.stream_cases import KNOWN
from streamwatch.core.via import label_of
from streamwatch.core.vocabulary import BROKEN_VERDICTS, Verdict
from streamwatch.export import labels
from streamwatch.export.forked import start_anew
from streamwatch.export.genai import GenAIMetrics, Usage
from streamwatch.export.instruments import (
    ADDED,
    ANOMALIES,
    BUILD,
    CASES,
    CHUNKS,
    CLOSES,
    COMMON,
    DURATION,
    EVENTS_PER_READ,
    INTERNAL_ERRORS,
    LONGEST_GAP,
    PUBLISHED,
    RECONNECTS,
    REORDER_DELAY,
    REORDER_DISTANCE,
    REPAIRS,
    SILENCE,
    STARTED,
    STREAMS,
    TIME,
    TIME_TO_FIRST_CHUNK,
    UNOBSERVED,
)
from streamwatch.export.labels import LabelValues
from streamwatch.export.open_streams import OpenStream, OpenStreams
from streamwatch.export.request import FORMAT, RequestInfo
from streamwatch.export.series import Series, add_new
from streamwatch.export.words import finish_reason
from streamwatch.version import __version__

#: Sets of common attributes for each value that a label may have: an application asks some models at a few addresses,
#: and each answers as a snapshot or two. A server that invents them multiplies them.
_SETS_A_VALUE = 5
#: Finish reasons in a span: the choices that the API gives at most.
_MAX_REASONS = 128

#: What is known of the tokens of a stream where nobody asks.
_NO_USAGE = Usage()
#: What is counted of a stream that was not recorded yet: one for all.
_NOTHING: dict[Any, int] = {}


class RecordedStream:
    """A stream: the context it was opened in, and how much of its report is in the counters already."""

    __slots__ = ("anomalies", "call", "chunks", "context", "delays", "distances", "span", "start", "usage")

    def __init__(self, call: RequestInfo, context: Context, start: int, usage: Usage) -> None:
        self.call = call
        self.context = context
        self.start = start
        self.span: Span | None = None
        self.chunks = self.anomalies = _NOTHING
        self.delays = self.distances = 0
        self.usage = usage  # what is said of the tokens until the end

    def see(self, report: Report) -> None:
        """Name the provider by the answer, where nothing before it did."""
        if report.server and self.call.provider == FORMAT:
            self.call = replace(self.call, provider=report.server)


class Telemetry:
    """The instruments, and what is recorded with them."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        max_label_values: int = 100,
        before_collection: Callable[[], None] | None = None,
        open_streams: Callable[[], Iterable[OpenStream]] | None = None,
        *,
        genai: bool = False,
    ) -> None:
        self._before_collection = before_collection
        self._tracer = get_tracer("streamwatch", __version__, tracer_provider)
        meter = get_meter("streamwatch", __version__, meter_provider)
        self._values = LabelValues(max_label_values)
        self._max_series = _SETS_A_VALUE * max_label_values
        self._series: dict[tuple[str, ...], Series] = {}
        self._errors: dict[str, int] = {}
        self._lock = threading.Lock()
        self._started = time.time()
        self._create_instruments(meter)
        self._open = OpenStreams(meter, self._values, self._max_series, open_streams, self.internal_error)

        self._genai = GenAIMetrics(meter) if genai else None
        self._histograms += self._genai.instruments if self._genai is not None else []

    @property
    def wants_usage(self) -> bool:
        """Whether it is of use to know the tokens of a stream."""
        return self._genai is not None

    def _create_instruments(self, meter: Meter) -> None:
        self._observed = []
        for instrument, observe in (
            (STREAMS, self._observe_streams),
            (CHUNKS, self._observe_chunks),
            (ANOMALIES, self._observe_anomalies),
            (REPAIRS, self._observe_repairs),
            (CASES, self._observe_cases),
            (TIME, self._observe_time),
            (ADDED, self._observe_added),
            (UNOBSERVED, self._observe_unobserved),
            (CLOSES, self._observe_closes),
            (RECONNECTS, self._observe_reconnects),
            (INTERNAL_ERRORS, self._observe_errors),
        ):
            self._observed.append(
                meter.create_observable_counter(instrument.name, [observe], instrument.unit, instrument.meaning)
            )
        self._distance, self._delay = REORDER_DISTANCE.histogram(meter), REORDER_DELAY.histogram(meter)
        self._duration, self._first_chunk = DURATION.histogram(meter), TIME_TO_FIRST_CHUNK.histogram(meter)
        self._gap, self._silence = LONGEST_GAP.histogram(meter), SILENCE.histogram(meter)
        self._bursts = EVENTS_PER_READ.histogram(meter)
        self._histograms: list[Any] = [
            *(self._distance, self._delay, self._duration, self._first_chunk),
            *(self._gap, self._silence, self._bursts),
        ]
        gauges = (PUBLISHED, self._published), (STARTED, self._observe_start), (BUILD, self._observe_build)
        for instrument, observe in gauges:
            meter.create_observable_gauge(instrument.name, [observe], instrument.unit, instrument.meaning)

    def open(self, call: RequestInfo, start: int | None = None, usage: Usage | None = None) -> RecordedStream:
        """Note that a stream was opened, in the context that is current; `start` in ns since the epoch.

        Its span is made when it ends, and says then when it began: so a sampler knows how the stream
        went, and a stream that is open holds 2.4 KiB less.
        """
        return RecordedStream(call, get_current(), time.time_ns() if start is None else start, usage or _NO_USAGE)

    def _start_span(self, recording: RecordedStream, attributes: dict[str, Any]) -> Span:
        call = recording.call
        name = f"stream {call.operation} {labels.model(call.request_model)}".rstrip()
        attributes.update(_call_attributes(call))
        recording.span = span = self._tracer.start_span(
            name, recording.context, attributes=attributes, start_time=recording.start
        )
        return span

    def record(self, recording: RecordedStream, report: Report) -> None:
        """Add to the counters what is new in a report since the last one."""
        recording.see(report)
        series = self._series_of(recording.call, report.response_model)
        self._add(recording, report, series, self._via(recording.call, report))

    def _add(self, recording: RecordedStream, report: Report, series: Series, via: str) -> None:
        with self._lock:
            add_new(series.chunks, report.chunks, recording.chunks)
            anomalies = {(kind, via): count for kind, count in report.anomalies.items()}
            add_new(series.anomalies, anomalies, {(kind, via): count for kind, count in recording.anomalies.items()})
        for distance in report.reorder_distances[recording.distances :]:
            self._distance.record(distance, series.common, recording.context)
        for delay in report.reorder_delays[recording.delays :]:
            self._delay.record(delay, series.common, recording.context)
        recording.chunks, recording.anomalies = report.chunks, report.anomalies
        recording.distances, recording.delays = len(report.reorder_distances), len(report.reorder_delays)

    def end(self, recording: RecordedStream, report: Report, end: int | None = None) -> None:
        """Record a stream that has ended; `end` in ns since the epoch."""
        recording.see(report)
        via = self._via(recording.call, report)
        span = self._start_span(recording, _describe(report, via))
        try:
            _tell(span, report)
            recording.context = set_span_in_context(span, recording.context)  # for exemplars: this very stream's
            series = self._series_of(recording.call, report.response_model)
            self._add(recording, report, series, via)
            verdict = report.verdict.value if report.verdict else ""
            with self._lock:
                series.add_end(report, verdict, via)
            if report.times is not None:
                self._record_times(report, report.times, series.common, recording.context)
            if self._genai is not None:
                self._genai.record(recording.call, report, recording.usage, series.common, recording.context)
        finally:
            span.end(end)

    def _record_times(self, report: Report, times: Times, common: dict[str, Any], context: Context) -> None:
        verdict = report.verdict.value if report.verdict else ""
        ended_so = {**common, "streamwatch.verdict": verdict}
        self._duration.record(times.duration, ended_so, context)
        if times.first_chunk is not None:
            self._first_chunk.record(times.first_chunk, common, context)
            self._gap.record(times.longest_gap, common, context)
            self._bursts.record(report.events_per_read, common, context)
        if report.verdict is not Verdict.COMPLETE:  # one that is complete ends with its last chunk
            self._silence.record(times.silence, ended_so, context)

    def _via(self, call: RequestInfo, report: Report) -> str:
        """Return the path that a stream came by, as far as it is known yet."""
        return self._values.of("streamwatch.via", label_of(call.via, report.events, report.events_per_read))

    def forget(self) -> None:
        """Start at zero: in a forked process, where the counts are the parent's to report."""
        self._lock = threading.Lock()  # the parent's may have been held at the fork
        self._values.unlock()
        self._started = time.time()
        self._series = {}
        self._errors = {}
        self._open.forget()
        for instrument in (*self._observed, *self._histograms):
            start_anew(instrument)

    def close(self, recording: RecordedStream) -> None:
        """Leave a span of a stream that could not be recorded."""
        span = recording.span or self._start_span(recording, {})
        if span.is_recording():
            span.end()

    def unobserved(self, call: RequestInfo) -> None:
        """Count a stream that Streamwatch does not see."""
        series = self._series_of(call, "")
        with self._lock:
            series.unobserved += 1

    def reconnected(self, call: RequestInfo) -> None:
        """Count a connection that was replaced by a new one."""
        series = self._series_of(call, "")
        with self._lock:
            series.reconnects += 1

    def internal_error(self, error: BaseException) -> None:
        """Count an error of Streamwatch, by its type."""
        name = self._values.of("error.type", labels.error_type(error))
        with self._lock:
            self._errors[name] = self._errors.get(name, 0) + 1

    def counted(self) -> list[Series]:
        """Return what is counted so far, as a copy."""
        with self._lock:
            return [series.copy() for series in self._series.values()]

    # --- what a collection asks for

    def _all_series(self) -> list[Series]:
        if self._before_collection is not None:
            try:
                self._before_collection()
            except Exception as error:  # the counts are reported all the same
                self.internal_error(error)
        return self.counted()

    def _observe_streams(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for (verdict, condition, via), count in series.streams.items():
                ended = {"streamwatch.verdict": verdict, "streamwatch.condition": condition, "streamwatch.via": via}
                yield Observation(count, {**series.common, **ended})

    def _observe_chunks(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for chunk, count in series.chunks.items():
                yield Observation(count, {**series.common, "streamwatch.chunk": chunk.value})

    def _observe_anomalies(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for (kind, via), count in series.anomalies.items():
                labels = {"streamwatch.anomaly": kind.name, "streamwatch.severity": kind.severity.value}
                yield Observation(count, {**series.common, **labels, "streamwatch.via": via})

    def _observe_repairs(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for (kind, outcome, applied), count in series.repairs.items():
                labels = {
                    "streamwatch.anomaly": kind.name,
                    "streamwatch.strategy": kind.strategy.value,
                    "streamwatch.outcome": outcome.value,
                    "streamwatch.applied": applied,
                }
                yield Observation(count, {**series.common, **labels})

    def _observe_cases(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for (definition, outcome, applied, via), count in series.cases.items():
                ended = {
                    "streamwatch.outcome": outcome.value,
                    "streamwatch.applied": applied,
                    "streamwatch.via": via,
                }
                yield Observation(count, {**series.common, "streamwatch.issue": definition.name, **ended})

    def _observe_time(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for waited_for, seconds in series.seconds.items():
                yield Observation(seconds, {**series.common, "streamwatch.waited_for": waited_for})

    def _observe_added(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for result, count in series.added.items():
                yield Observation(count, {**series.common, "streamwatch.resumed": result.value})

    def _observe_unobserved(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            if series.unobserved:
                yield Observation(series.unobserved, series.common)

    def _observe_closes(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            for code, count in series.closes.items():
                yield Observation(count, {**series.common, "streamwatch.close_code": code})

    def _observe_reconnects(self, _options: CallbackOptions) -> Iterable[Observation]:
        for series in self._all_series():
            if series.reconnects:
                yield Observation(series.reconnects, series.common)

    def _observe_errors(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            errors = dict(self._errors)
        for name, count in errors.items():
            yield Observation(count, {"error.type": name})

    def _observe_start(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._started)

    def _observe_build(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(1, {"version": __version__})

    def _published(self, _options: CallbackOptions) -> Iterable[Observation]:
        for issue in ISSUES:
            for strategy, ratio in (("any", issue.fix_ratio), *issue.workarounds):
                yield Observation(ratio, {"streamwatch.issue": issue.name, "streamwatch.strategy": strategy})
        for definition in KNOWN:
            if definition.known is None and definition.published is not None:
                strategy, ratio = definition.published
                yield Observation(ratio, {"streamwatch.issue": definition.name, "streamwatch.strategy": strategy})

    def _series_of(self, call: RequestInfo, snapshot: str) -> Series:
        """Return what is counted under one set of common attributes."""
        request_model = self._values.of("gen_ai.request.model", labels.model(call.request_model))
        response_model = self._values.of("gen_ai.response.model", labels.model(snapshot))
        address = self._values.of("server.address", labels.host(call.address))
        key = (call.operation, request_model, response_model, call.provider, address, call.openai_version)
        series = self._series.get(key)
        if series is not None:
            return series
        with self._lock:
            if len(self._series) >= self._max_series:
                key = (call.operation, labels.OTHER, labels.OTHER, call.provider, labels.OTHER, call.openai_version)
            return self._series.setdefault(key, Series(dict(zip(COMMON, key, strict=True))))


def _call_attributes(call: RequestInfo) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": call.operation,
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": labels.model(call.request_model),
        "server.address": labels.host(call.address),
        "streamwatch.openai.version": call.openai_version,
    }
    if call.port is not None:
        attributes["server.port"] = call.port
    return attributes


def _describe(report: Report, via: str) -> dict[str, Any]:
    """Return what a person looks for in one stream: how it ended, and what was odd about it."""
    attributes: dict[str, Any] = {
        "gen_ai.response.model": labels.model(report.response_model),
        "gen_ai.response.id": labels.identifier(report.response_id),
        "gen_ai.response.finish_reasons": tuple(map(finish_reason, report.finish_reasons[:_MAX_REASONS])),
        "streamwatch.verdict": report.verdict.value if report.verdict else "",
        "streamwatch.condition": report.condition.value,
        "streamwatch.events": report.events,
        "streamwatch.anomalies": sum(report.anomalies.values()),
        "streamwatch.repairs": sum(
            count for outcomes in report.outcomes.values() for name, count in outcomes.items() if name != "unrepaired"
        ),
        "streamwatch.request.id": labels.identifier(report.request.id),
        "streamwatch.unwatched": report.unwatched,
        "streamwatch.via": via,
    }
    if report.reorder_max_distance:
        attributes["streamwatch.reorder.max_distance"] = report.reorder_max_distance
        attributes["streamwatch.reorder.max_delay"] = report.reorder_max_delay
    if report.resumed:
        attributes["streamwatch.added_requests"] = len(report.resumed)
    if report.times is not None:
        attributes.update(_times(report, report.times))
    if report.close_code is not None:
        attributes["streamwatch.close_code"] = report.close_code
    if report.reconnects:
        attributes["streamwatch.reconnects"] = report.reconnects
    if report.verdict and report.verdict in BROKEN_VERDICTS:
        attributes["error.type"] = report.verdict.value
    return {name: value for name, value in attributes.items() if value not in ("", ())}


def _times(report: Report, times: Times) -> dict[str, Any]:
    """Return how the time of a stream was spent."""
    attributes: dict[str, Any] = {
        "streamwatch.waiting_seconds": times.waiting,
        "streamwatch.reading_seconds": times.reading,
        "streamwatch.silence": times.silence,
        "streamwatch.events_per_read": report.events_per_read,
    }
    if times.first_chunk is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = times.first_chunk
        attributes["streamwatch.longest_gap"] = times.longest_gap
    return attributes


def _tell(span: Span, report: Report) -> None:
    """Set the status, and one event for each kind, however often it was found."""
    if report.verdict and report.verdict in BROKEN_VERDICTS:
        span.set_status(Status(StatusCode.ERROR, f"the stream ended {report.verdict.value}"))
    for kind, count in report.anomalies.items():
        event: dict[str, Any] = {
            "streamwatch.anomaly": kind.name,
            "streamwatch.severity": kind.severity.value,
            "streamwatch.strategy": kind.strategy.value,
            "streamwatch.count": count,
        }
        for outcome, repaired in report.outcomes.get(kind, {}).items():
            event[f"streamwatch.outcome.{outcome.value}"] = repaired
        span.add_event("streamwatch.anomaly", event)
