"""The streams that are open now: what the gauges of all sources say together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamwatch.cli.common.scraping import Samples, Series
from streamwatch.core.vocabulary import SILENT_STATES, StreamState

_OPEN, _OLDEST, _SILENCE = "open_streams", "oldest_stream_seconds", "longest_silence_seconds"
#: The gauges, as a Prometheus is asked for them, without the common beginning of the names.
GAUGES = (_OPEN, _OLDEST, _SILENCE)
_NAMES = {f"streamwatch_{name}": name for name in GAUGES}
#: Models and servers that hang, in lines: beyond, one looks at a dashboard.
_MOST_LINES = 3


@dataclass
class OpenAt:
    """The open streams of one model at one server."""

    model: str
    server: str
    states: Counter[str] = field(default_factory=Counter)
    oldest: float = 0.0  #: seconds
    silence: float = 0.0  #: seconds of the longest one beyond the threshold

    @property
    def hanging(self) -> int:
        """How many send nothing for longer than the threshold, while their readers wait."""
        return sum(self.states[state.value] for state in SILENT_STATES)


def gauges(samples: Mapping[Series, float]) -> Samples:
    """Return the gauges of open streams among samples."""
    return {series: value for series, value in samples.items() if series[0] in _NAMES and math.isfinite(value)}


def open_streams(sources: Iterable[Mapping[Series, float]]) -> list[OpenAt]:
    """Return what is open, by model and server; counts add up over sources, ages do not."""
    found: dict[tuple[str, str], OpenAt] = {}
    for samples in sources:
        for (name, pairs), value in samples.items():
            labels = dict(pairs)
            key = labels.get("gen_ai_request_model") or "unknown", labels.get("server_address") or "unknown"
            one = found.setdefault(key, OpenAt(*key))
            if _NAMES[name] == _OPEN:
                one.states[labels.get("streamwatch_state", "")] += int(value)
            elif _NAMES[name] == _OLDEST:
                one.oldest = max(one.oldest, value)
            else:
                one.silence = max(one.silence, value)
    return sorted(found.values(), key=lambda one: (-one.hanging, -one.states.total(), one.model, one.server))


def record(open_now: list[OpenAt]) -> dict[str, Any]:
    """Return the same as JSON has it."""
    states = sum((one.states for one in open_now), Counter[str]())
    return {
        "streams": states.total(),
        "states": {state.value: states[state.value] for state in StreamState},
        "oldest_seconds": max((one.oldest for one in open_now), default=0.0),
        "longest_silence_seconds": max((one.silence for one in open_now), default=0.0),
        "by_server": [
            {
                "model": one.model,
                "server": one.server,
                "states": dict(one.states),
                "oldest_seconds": one.oldest,
                "longest_silence_seconds": one.silence,
            }
            for one in open_now
        ],
    }


def lines(open_now: list[OpenAt]) -> list[str]:
    """Return the same in words: how many there are, and who makes them wait."""
    from rich.markup import escape

    if not open_now:
        return []
    count, hanging = (
        sum(numbers) for numbers in zip(*((one.states.total(), one.hanging) for one in open_now), strict=True)
    )
    oldest = max(one.oldest for one in open_now)
    age = f", the oldest for {oldest:.0f} s" if count else ""
    streams = "stream" if count == 1 else "streams"
    said = [f"{count:,} {streams} open now{age}" + (f"; [red]{hanging:,} of them silent[/]" if hanging else "")]
    waiting = [one for one in open_now if one.hanging]
    for one in waiting[:_MOST_LINES]:
        late = one.states[StreamState.UNANSWERED.value]
        begun = f", {late} of them not begun" if late else ""
        where = escape(f"{one.model} at {one.server}")
        said.append(f"[red]{where}[/]: {one.hanging} silent for up to {one.silence:.0f} s{begun}")
    if len(waiting) > _MOST_LINES:
        said.append(f"and at {len(waiting) - _MOST_LINES} more models and servers")
    return said
