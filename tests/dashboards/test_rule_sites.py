"""What the records count at sites of another shape: slow scrapes, deployments all day, two replicas of Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed")

from dashboards.records import STREAMS
from helpers.scenarios import PROMTOOLS, Sample, Series, each_promtool, firing, grown, measured, started, streams

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PROMTOOLS, reason="promtool is not installed: it comes with Prometheus"),
]
BROKEN, CLEAN = '{streamwatch_condition="broken"}', '{streamwatch_condition="clean"}'


@each_promtool
@pytest.mark.parametrize("seconds", [15, 60])
def test_a_counter_that_begins_again_at_each_deployment(promtool: str, seconds: int, tmp_path: Path) -> None:
    """A process under its own name, deployed each half hour, six times: what each life counted is added up."""
    a_minute, lives, minutes = 60 // seconds, 6, 30
    clean: list[Sample] = []
    broken: list[Sample] = []
    begun: list[Sample] = []
    seen = {CLEAN: 0.0, BROKEN: 0.0}
    for life in range(lives):
        away = 2 * a_minute if life else 0
        scrapes = minutes * a_minute - away
        start = life * minutes * 60 + away * seconds
        gone: list[Sample] = ["stale", *[None] * (away - 1)] if life else []
        begun += [*gone, *[float(start)] * scrapes]
        clean += [*gone, *[float(1 + at) for at in range(scrapes)]]
        first = scrapes // 2
        broken += [*gone, *[None] * first, *[float(1 + life % 2)] * (scrapes - first)]
        seen[CLEAN] += scrapes
        seen[BROKEN] += 1 + life % 2
    ahead = 10 * a_minute
    series: Series = {
        started("i1"): [*begun, *begun[-1:] * ahead],
        streams("i1", "complete", "clean"): [*clean, *clean[-1:] * ahead],
        streams("i1", "complete", "broken"): [*broken, *broken[-1:] * ahead],
    }
    asked = {grown(STREAMS, condition, "6h"): ("185m", count) for condition, count in seen.items()}
    measured(promtool, tmp_path, series, asked, interval=f"{seconds}s")


@each_promtool
def test_slow_scrapes_lose_no_stream_and_no_alert(promtool: str, tmp_path: Path) -> None:
    """Each minute one look; pods of seven minutes, one stream in ten cut."""
    series: Series = {}
    for pod in range(30):
        alive: list[Sample] = [float(18 * (1 + at)) for at in range(7)]
        series[streams(f"p{pod}", "complete", "clean")] = [None] * (pod * 4) + alive + ["stale"]
        cut: list[Sample] = [float(2 * (1 + at)) for at in range(7)]
        series[streams(f"p{pod}", "truncated", "broken")] = [None] * (pod * 4) + cut + ["stale"]
    asked = {
        grown(STREAMS, CLEAN, "6h"): ("130m", 30 * 18.0 * 7),
        grown(STREAMS, BROKEN, "6h"): ("130m", 30 * 2.0 * 7),
        **firing("StreamwatchTruncatedStreams", "30m", "1h", "2h", severity="critical"),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
@pytest.mark.parametrize("phase", [0, 1, 2], ids=lambda phase: f"{5 * phase}s later")
def test_replicas_that_scrape_at_other_times_say_the_same(promtool: str, phase: int, tmp_path: Path) -> None:
    """Two Prometheus look at one process some seconds apart: windows agree to the unit, and so do alerts."""
    counts = [float(at // 12) for at in range(12 * 90)]  # one stream a minute, looked at every five seconds
    ended = [*counts, *counts[-1:] * 240]

    def looked_at(values: list[float]) -> list[Sample]:
        return [value if at % 3 == phase and value else None for at, value in enumerate(values)]

    series: Series = {
        streams("i1", "truncated", "broken"): looked_at(ended),
        streams("i1", "complete", "clean"): looked_at([3 * one for one in ended]),
    }
    asked = {
        grown(STREAMS, BROKEN, "3h"): ("100m", 89.0),
        grown(STREAMS, CLEAN, "3h"): ("100m", 3 * 89.0),
        **firing("StreamwatchTruncatedStreams", "60m"),
    }
    measured(promtool, tmp_path, series, asked, interval="5s")


@each_promtool
@pytest.mark.parametrize(
    ("alert", "verdict"), [("StreamwatchTruncatedStreams", "truncated"), ("StreamwatchUnrepairedFaults", "complete")]
)
def test_one_stream_in_twenty_of_little_traffic(promtool: str, alert: str, verdict: str, tmp_path: Path) -> None:
    """Two streams a minute, for hours: an hour has six broken ones, and is no reason; six hours are."""
    series: Series = {
        streams("i1", "complete", "clean"): "0+1.9x400",
        streams("i1", verdict, "broken"): "0+0.1x400",
        streams("i1", "complete", "clean", "other"): "0+300x400",
    }
    asked: dict[str, tuple[str, float | None]] = {
        **firing(alert, "5h", "6h30m"),
        f'count(ALERTS{{alertname="{alert}",severity="critical"}})': ("6h30m", None),
        f'count(ALERTS{{alertname="{alert}",gen_ai_request_model="other"}})': ("6h30m", None),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")
