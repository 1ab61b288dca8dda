"""Counters to rates: what increased since when, over one or many processes that come, restart and go.

A counter that is less than it was has started again, and so have all counters of a process that started later than
before: what they show since then is an increase. So no rate is ever negative, and no total ever falls.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from streamwatch.cli.common.measured import Measured, measured
from streamwatch.cli.common.scraping import Exposition, Samples, Series
from streamwatch.cli.top.open_streams import OpenAt

#: Seconds over which rates are taken: streams are seconds long, and a minute shows what goes wrong now.
WINDOW = 60.0
#: The line of the last minutes: its points, and the seconds of each.
POINTS, POINT_SECONDS = 60, 5.0
#: Series kept of a source: a hundred models with all kinds are some 20,000, and a hostile one invents them without end.
_MOST_SERIES = 50_000

_COUNTERS = ("_total", "_count", "_sum")


class Increases:
    """The increase of each counter of one source since it was last asked."""

    def __init__(self) -> None:
        self.totals: dict[Series, float] = {}
        self._last: Samples = {}
        self._instances: set[str] = set()
        self._started: float | None = None

    def take(self, exposition: Exposition) -> dict[Series, float]:
        """Return the increases since the last time, none at the first; add them to the totals."""
        counters = {series: value for series, value in exposition.samples.items() if _is_counter(series, value)}
        renewed = None not in (exposition.started, self._started) and exposition.started != self._started
        increases: dict[Series, float] = {}
        for series, value in counters.items():
            before = 0.0 if renewed else self._last.get(series, 0.0)
            increase = value - before if value >= before else value
            if series not in self.totals and len(self.totals) >= _MOST_SERIES:
                continue
            self.totals[series] = self.totals.get(series, 0.0) + increase
            if increase and _instance(series) in self._instances:  # else it counted before anybody looked
                increases[series] = increase
        self._last, self._started = counters, exposition.started
        self._instances |= {_instance(series) for series in exposition.samples}
        return increases


def _is_counter(series: Series, value: float) -> bool:
    return series[0].endswith(_COUNTERS) and math.isfinite(value) and value >= 0


def _instance(series: Series) -> str:
    """Return the process of a series, where one source has several: Prometheus says so."""
    labels = dict(series[1])
    return f"{labels.get('job', '')} {labels.get('instance', '')}"


class History:
    """The increases of the last minutes."""

    def __init__(self, window: float = WINDOW) -> None:
        self.window = window
        self._steps: deque[tuple[float, float, dict[Series, float]]] = deque()  # when, after how long, what
        self._points: deque[tuple[int, float, float, float]] = deque(maxlen=POINTS)  # which, seconds, streams, broken

    def add(self, now: float, seconds: float, increases: dict[Series, float]) -> None:
        """Add what increased in the last `seconds`, over all sources."""
        self._steps.append((now, seconds, increases))
        while len(self._steps) > 1 and now - self._steps[0][0] >= self.window:
            self._steps.popleft()
        streams = by(increases, "streamwatch_streams_total", "streamwatch_condition")
        place, count, broken = int(now // POINT_SECONDS), float(sum(streams.values())), float(streams[("broken",)])
        if self._points and self._points[-1][0] == place:
            _, seconds_before, before, broken_before = self._points.pop()
            seconds, count, broken = seconds + seconds_before, count + before, broken + broken_before
        self._points.append((place, seconds, count, broken))

    @property
    def seconds(self) -> float:
        """How long the window is that was seen."""
        return sum(seconds for _, seconds, _ in self._steps)

    def increases(self) -> dict[Series, float]:
        """Return what increased in the window."""
        total: dict[Series, float] = {}
        for _, _, increases in self._steps:
            for series, increase in increases.items():
                total[series] = total.get(series, 0.0) + increase
        return total

    def lines(self) -> tuple[list[float], list[float]]:
        """Return streams a second, and broken ones, in each of the last points, the oldest first."""
        rates = {
            place: (count / seconds, broken / seconds) for place, seconds, count, broken in self._points if seconds
        }
        if not rates:
            return [], []
        places = range(max(min(rates), max(rates) - POINTS + 1), max(rates) + 1)
        found = [rates.get(place, (0.0, 0.0)) for place in places]
        return [streams for streams, _ in found], [broken for _, broken in found]


def by(samples: Mapping[Series, float], name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """Return the samples of one name, added up by some of their labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for (sample, pairs), value in samples.items():
        if sample == name:
            values = dict(pairs)
            found[tuple(values.get(label, "") for label in labels)] += value  # type: ignore[assignment]
    return found


@dataclass(frozen=True)
class Model:
    """The streams of one model."""

    name: str
    streams: float
    per_second: float
    conditions: dict[str, float]


@dataclass(frozen=True)
class Frame:
    """The state at one moment: totals since the processes started, and increases in the window."""

    totals: Mapping[Series, float]
    increases: Mapping[Series, float]
    seconds: float
    lines: tuple[list[float], list[float]]
    open_now: list[OpenAt] = field(default_factory=list)
    measured: Measured = field(init=False)
    recent: Measured = field(init=False)

    def __post_init__(self) -> None:
        for name, samples in (("measured", self.totals), ("recent", self.increases)):
            counted = ((series[0], dict(series[1]), value) for series, value in samples.items())
            object.__setattr__(self, name, measured(counted))

    def per_second(self, count: float) -> float:
        """Return a count of the window as a rate."""
        return count / self.seconds if self.seconds else 0.0

    @property
    def observe(self) -> bool:
        """Whether nothing is repaired, anywhere: outcomes are then what a repair would have come to."""
        return self.measured.observe

    def conditions(self, samples: Mapping[Series, float]) -> dict[str, float]:
        """Return the streams by their condition."""
        found = by(samples, "streamwatch_streams_total", "streamwatch_condition")
        return {name: found[(name,)] for name in ("clean", "repaired", "broken")}

    def models(self) -> Iterator[Model]:
        """Yield models by the snapshot that answered, or the name that was asked for; the most read one first."""
        labels = ("gen_ai_response_model", "gen_ai_request_model", "streamwatch_condition")
        totals: dict[str, Counter[str]] = {}
        recent: Counter[str] = Counter()
        for samples, is_total in ((self.totals, True), (self.increases, False)):
            for (answered, asked, condition), count in by(samples, "streamwatch_streams_total", *labels).items():
                name = answered or asked or "unknown"
                if is_total:
                    totals.setdefault(name, Counter())[condition] += count
                else:
                    recent[name] += count
        for name in sorted(totals, key=lambda one: (-recent[one], -sum(totals[one].values()), one)):
            conditions = {word: float(totals[name][word]) for word in ("clean", "repaired", "broken")}
            yield Model(name, sum(totals[name].values()), self.per_second(recent[name]), conditions)

    def reorder(self) -> dict[str, float | None]:
        """Return how many events came early, by how many places, and how long they were held, on average."""
        found: dict[str, float | None] = {}
        for short, name in (
            ("places", "streamwatch_reorder_distance"),
            ("seconds", "streamwatch_reorder_delay_seconds"),
        ):
            count, total = (sum(by(self.totals, f"{name}_{end}").values()) for end in ("count", "sum"))
            found[f"mean_{short}"] = total / count if count else None
            found.setdefault("events", count)
        return found
