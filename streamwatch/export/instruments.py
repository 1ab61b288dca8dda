"""Every metric that is exported: one table, from which docs, dashboards and rules derive.

A row has the name, the unit, the meaning and the attributes of an instrument. `telemetry` records the counters and
histograms of streams that move or end, `open_streams` the gauges of those that are open.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.metrics import Histogram, Meter

#: Seconds. From a first token over a LAN to an answer of half an hour; the GenAI conventions' own
#: boundaries up to 82 s, then longer, as reasoning models need.
_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 300.0, 1800.0)
#: Seconds. A reorder window is 2 s by default: from one millisecond to beyond it.
_DELAYS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: Places. A window is 64 events by default.
_DISTANCES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)

#: Seconds. From what a person notices to what no proxy lets live.
_GAPS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
#: Seconds. Narrow around 30, 60, 100 and 300: the idle timeouts of proxies stand out.
_SILENCES = (0.1, 1.0, 5.0, 10.0, 20.0, 28.0, 32.0, 55.0, 65.0, 95.0, 105.0, 290.0, 310.0, 600.0)
#: Events. A server writes one at a time, a buffer of a proxy holds a dozen or more.
_BURSTS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 16.0, 32.0, 64.0, 256.0)
#: The attributes that every metric of ended streams has.
COMMON = (
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.provider.name",
    "server.address",
    "streamwatch.openai.version",
)
#: Those of open streams: what is known before the first chunk, and where it hangs.
COMMON_OF_OPEN = ("gen_ai.operation.name", "gen_ai.request.model", "server.address")


@dataclass(frozen=True)
class Instrument:
    """An exported instrument: `attributes` are those beside the `common` ones, `boundaries` a histogram's.

    `form` says what it is where the unit does not: a counter counts something in braces, a gauge has another unit.
    """

    name: str
    unit: str
    meaning: str
    attributes: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()
    common: tuple[str, ...] = COMMON
    form: str = ""

    @property
    def is_histogram(self) -> bool:
        """Whether it is one: only histograms have boundaries."""
        return bool(self.boundaries)

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        usual = "counter" if self.unit.startswith("{") else "gauge"
        return not self.is_histogram and (self.form or usual) == "counter"

    def histogram(self, meter: Meter) -> Histogram:
        """Return the histogram that a row describes."""
        return meter.create_histogram(
            self.name, self.unit, self.meaning, explicit_bucket_boundaries_advisory=self.boundaries
        )


STREAMS = Instrument(
    "streamwatch.streams",
    "{stream}",
    "Streams read, by how they ended.",
    ("streamwatch.verdict", "streamwatch.condition", "streamwatch.via"),
)
CHUNKS = Instrument("streamwatch.chunks", "{chunk}", "Chunks, by what they mainly carry.", ("streamwatch.chunk",))
ANOMALIES = Instrument(
    "streamwatch.anomalies",
    "{anomaly}",
    "Anomalies found, by kind.",
    ("streamwatch.anomaly", "streamwatch.severity", "streamwatch.via"),
)
REPAIRS = Instrument(
    "streamwatch.repairs",
    "{repair}",
    "Anomalies of kinds that have a repair, by how each ended.",
    ("streamwatch.anomaly", "streamwatch.strategy", "streamwatch.outcome", "streamwatch.applied"),
)
CASES = Instrument(
    "streamwatch.cases",
    "{case}",
    "Streams in which something went wrong, by what it was and how the worst of it ended; at most one of each issue.",
    ("streamwatch.issue", "streamwatch.outcome", "streamwatch.applied", "streamwatch.via"),
)
REORDER_DISTANCE = Instrument(
    "streamwatch.reorder.distance", "{event}", "How many places early an event came.", boundaries=_DISTANCES
)
REORDER_DELAY = Instrument(
    "streamwatch.reorder.delay", "s", "How long events were held to put them in order.", boundaries=_DELAYS
)
DURATION = Instrument(
    "streamwatch.stream.duration",
    "s",
    "From the request to the end of the stream, silence included.",
    ("streamwatch.verdict",),
    _DURATIONS,
)
TIME_TO_FIRST_CHUNK = Instrument(
    "streamwatch.stream.time_to_first_chunk", "s", "From the request to the first chunk.", boundaries=_DURATIONS
)
TIME = Instrument(
    "streamwatch.stream.time",
    "s",
    "Time of streams that have ended, by what took it: the wait for the server, or the reader's own work.",
    ("streamwatch.waited_for",),
    form="counter",
)
LONGEST_GAP = Instrument(
    "streamwatch.stream.longest_gap",
    "s",
    "The longest time that the reader of a stream waited for the next chunk, once the first had come.",
    boundaries=_GAPS,
)
SILENCE = Instrument(
    "streamwatch.stream.silence",
    "s",
    "How long the reader of a stream that did not end complete had waited when the end came.",
    ("streamwatch.verdict",),
    _SILENCES,
)
EVENTS_PER_READ = Instrument(
    "streamwatch.stream.events_per_read",
    "{event}",
    "Events that came in one read, on average over a stream: many where a proxy buffers.",
    boundaries=_BURSTS,
)
OPEN_STREAMS = Instrument(
    "streamwatch.open_streams",
    "{stream}",
    "Streams that are open now, by what they are doing.",
    ("streamwatch.state",),
    common=COMMON_OF_OPEN,
    form="gauge",
)
OLDEST_STREAM = Instrument(
    "streamwatch.oldest_stream",
    "s",
    "How long ago the oldest of the open streams was asked for.",
    common=COMMON_OF_OPEN,
)
LONGEST_SILENCE = Instrument(
    "streamwatch.longest_silence",
    "s",
    "How long the reader that waits longest has been waiting, of the open streams beyond the threshold.",
    ("streamwatch.state",),
    common=COMMON_OF_OPEN,
)
PUBLISHED = Instrument(
    "streamwatch.published_fix_ratio",
    "1",
    "The published share of cases that a workaround fixes, to be set beside the measured one.",
    ("streamwatch.issue", "streamwatch.strategy"),
)
STARTED = Instrument(
    "streamwatch.start_time",
    "s",
    "When this process began to count, in seconds since the epoch: what an old process shows first is not new.",
)
BUILD = Instrument(
    "streamwatch.build_info", "", "The Streamwatch that runs in this process; its value is 1.", ("version",)
)
ADDED = Instrument(
    "streamwatch.added_requests",
    "{request}",
    "Requests that were added to read cut streams on, by what came of each; a client's own retries are part of one.",
    ("streamwatch.resumed",),
)
UNOBSERVED = Instrument(
    "streamwatch.unobserved_streams",
    "{stream}",
    "Streams whose body the application reads in a way that is not watched: past a stream of the SDK, or compressed.",
)
CLOSES = Instrument(
    "streamwatch.closes",
    "{stream}",
    "Streams over WebSockets that had not come to their end when the connection was closed, by its close code.",
    ("streamwatch.close_code",),
)
RECONNECTS = Instrument(
    "streamwatch.reconnects",
    "{connection}",
    "WebSocket connections that the SDK has replaced by a new one, because the former was cut.",
)
INTERNAL_ERRORS = Instrument(
    "streamwatch.internal_errors",
    "{error}",
    "Errors of Streamwatch itself; the application saw none of them.",
    ("error.type",),
)
