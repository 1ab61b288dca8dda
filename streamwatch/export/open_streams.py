"""The streams that are open: gauges that are true while nothing arrives.

Nothing is done for a chunk. The sessions are looked at when the metrics are collected: what each of them
waits for, and since when. A server and model that had streams open go on being shown, at 0, so that a line of a graph
does not end where a stream does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from streamwatch.core.vocabulary import SILENT_STATES, StreamState
from streamwatch.export import labels
from streamwatch.export.instruments import COMMON_OF_OPEN, LONGEST_SILENCE, OLDEST_STREAM, OPEN_STREAMS
from streamwatch.export.labels import LabelValues
from streamwatch.export.request import RequestInfo

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream at the moment of a collection; times in seconds."""

    call: RequestInfo
    state: StreamState
    age: float  #: since the request
    waiting: float  #: since the reader waits for what comes next; 0 while it is at work


class OpenStreams:
    """The gauges of one meter.

    Args:
        meter: makes the instruments.
        values: caps the values of labels.
        most: sets of labels that are remembered.
        look: the streams that are open now.
        failed: is called with an error of Streamwatch.
    """

    def __init__(
        self,
        meter: Meter,
        values: LabelValues,
        most: int,
        look: Callable[[], Iterable[OpenStream]] | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._values, self._most, self._look, self._failed = values, most, look, failed
        self._seen: dict[_Key, None] = {}
        for instrument, observe in (
            (OPEN_STREAMS, self._observe_open),
            (OLDEST_STREAM, self._observe_oldest),
            (LONGEST_SILENCE, self._observe_silence),
        ):
            meter.create_observable_gauge(instrument.name, [observe], instrument.unit, instrument.meaning)

    def forget(self) -> None:
        """Start without any: in a forked process, where the streams are the parent's."""
        self._seen = {}

    def _streams(self) -> list[tuple[_Key, OpenStream]]:
        """Return the streams that are open now, under what they are shown as."""
        if self._look is None:
            return []
        try:
            return [(self._key(stream.call), stream) for stream in self._look()]
        except Exception as error:  # a collection goes on without these
            self._failed(error)
            return []

    def _key(self, call: RequestInfo) -> _Key:
        model = self._values.of("gen_ai.request.model", labels.model(call.request_model))
        key = call.operation, model, self._values.of("server.address", labels.host(call.address))
        if key not in self._seen and len(self._seen) >= self._most:
            key = call.operation, labels.OTHER, labels.OTHER
        self._seen[key] = None
        return key

    def _observe_open(self, _options: CallbackOptions) -> Iterable[Observation]:
        counts: dict[tuple[_Key, StreamState], int] = {}
        for key, stream in self._streams():
            counts[key, stream.state] = counts.get((key, stream.state), 0) + 1
        open_now = {key for key, _ in counts}
        for key in list(self._seen):
            if key not in open_now:
                counts[key, StreamState.FLOWING] = 0
        for (key, state), count in counts.items():
            yield Observation(count, {**_attributes(key), "streamwatch.state": state.value})

    def _observe_oldest(self, _options: CallbackOptions) -> Iterable[Observation]:
        oldest = dict.fromkeys(list(self._seen), 0.0)
        for key, stream in self._streams():
            oldest[key] = max(oldest.get(key, 0.0), stream.age)
        for key, age in oldest.items():
            yield Observation(age, _attributes(key))

    def _observe_silence(self, _options: CallbackOptions) -> Iterable[Observation]:
        longest: dict[tuple[_Key, StreamState], float] = {}
        for key, stream in self._streams():
            if stream.state in SILENT_STATES:
                longest[key, stream.state] = max(longest.get((key, stream.state), 0.0), stream.waiting)
        for (key, state), seconds in longest.items():
            yield Observation(seconds, {**_attributes(key), "streamwatch.state": state.value})


def _attributes(key: _Key) -> dict[str, Any]:
    return dict(zip(COMMON_OF_OPEN, key, strict=True))
