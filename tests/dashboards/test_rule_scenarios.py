"""What the records count when pods come and go: to the unit, with the ranges of Prometheus 2 and of Prometheus 3.

Each scenario was one in which an earlier set of rules counted wrongly. Samples are what Prometheus would have scraped;
the figure beside them is what had happened half a minute before, when all scrapes are sure to have arrived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed")

from dashboards import promql
from dashboards.records import BUCKETS, CASES, PROCESS_SEEN, STREAMS, total_of
from helpers.scenarios import (
    PROMTOOLS,
    STREAM_LABELS,
    Sample,
    Series,
    anomalies,
    cases,
    each_promtool,
    filled_in,
    firing,
    grown,
    measured,
    panel,
    started,
    streams,
)
from streamwatch.core.stream_cases import ORDER
from streamwatch.export.instruments import TIME_TO_FIRST_CHUNK

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PROMTOOLS, reason="promtool is not installed: it comes with Prometheus"),
]

BROKEN, CLEAN = '{streamwatch_condition="broken"}', '{streamwatch_condition="clean"}'


@each_promtool
@pytest.mark.parametrize("life", [20, 50, 100, 240])
def test_pods_of_seconds_count_in_full(promtool: str, life: int, tmp_path: Path) -> None:
    """Sixty pods, one a minute, one broken stream of ten each: all that was ever scraped of them."""
    length, series, seen = 7200 // 15, dict[str, Sequence[Sample] | str](), {"clean": 0.0, "broken": 0.0}
    for pod in range(60):
        start = pod * 60 + Random(pod).uniform(0, 18)
        scrapes = [at for at in range(length) if start <= at * 15 < start + life]
        for condition, count in (("clean", 9), ("broken", 1)):
            samples: list[Sample] = [None] * (scrapes[-1] + 2) if scrapes else []
            for at in scrapes:
                samples[at] = max(1, round(count * min(1, (at * 15 - start + 1) / life)))
            if scrapes:
                samples[scrapes[-1] + 1] = "stale"
                series[streams(f"p{pod}", "complete", condition)] = samples
                seen[condition] += float(samples[scrapes[-1]] or 0)
    assert seen["broken"] == 60
    asked = {
        grown(STREAMS, BROKEN, "2h"): ("75m", seen["broken"]),
        grown(STREAMS, CLEAN, "2h"): ("75m", seen["clean"]),
        f"sum({total_of(STREAMS)})": ("110m", sum(seen.values())),
    }
    measured(promtool, tmp_path, series, asked)


@each_promtool
def test_pods_that_are_replaced_every_five_minutes(promtool: str, tmp_path: Path) -> None:
    """Each broke one stream at some time of its life, and ended: 24 broken, 24 times 39 clean."""
    series: Series = {}
    for pod in range(24):
        start, end = pod * 20, pod * 20 + 20
        born = start + Random(pod).randrange(1, 19)
        clean: list[Sample] = [None] * start + [float(1 + at * 2) for at in range(20)] + ["stale"]
        broken: list[Sample] = [None] * born + [1.0] * (end - born) + ["stale"]
        series[streams(f"pod{pod}", "complete", "clean")] = clean
        series[streams(f"pod{pod}", "complete", "broken")] = broken
        series[cases(f"pod{pod}", "any_fault", "unrepaired")] = broken
    asked = {
        grown(STREAMS, BROKEN, "3h"): ("128m", 24.0),
        grown(STREAMS, CLEAN, "3h"): ("128m", 24.0 * 39),
        grown(CASES, '{streamwatch_issue="any_fault"}', "3h"): ("128m", 24.0),
    }
    measured(promtool, tmp_path, series, asked)


@each_promtool
def test_a_process_that_restarts_under_its_own_name(promtool: str, tmp_path: Path) -> None:
    """What it counted before and after is added up; a gap between scrapes is no restart."""
    series: Series = {
        streams("i1", "complete", "broken"): [1.0] * 40 + [5.0] * 40 + [None] * 8 + [2.0] * 40 + [4.0] * 60,
        streams("i2", "complete", "broken"): [7.0] * 40 + [None] * 60 + [9.0] * 80,
    }
    asked = {grown(STREAMS, BROKEN, "1h"): ("45m", 5.0 + 4.0 + 9.0)}
    measured(promtool, tmp_path, series, asked)


@each_promtool
def test_a_second_life_under_the_same_name_counts_in_full(promtool: str, tmp_path: Path) -> None:
    """Whatever it comes to: less than the first, as much, or more, at once or after a while."""
    series: Series = {started("i1"): [0.0] * 80 + [None] * 4 + [21 * 60.0] * 400}
    for condition, second in (("clean", 7.0), ("repaired", 3.0), ("broken", 2.0)):
        for verdict, wait in (("complete", 1), ("error", 20), ("truncated", 120)):
            samples: list[Sample] = [3.0] * 80 + ["stale"] + [None] * (3 + wait) + [second] * (400 - wait)
            series[streams("i1", verdict, condition)] = samples
    asked = {
        grown(STREAMS, f'{{streamwatch_condition="{condition}"}}', "3h"): ("110m", 3 * (3.0 + second))
        for condition, second in (("clean", 7.0), ("repaired", 3.0), ("broken", 2.0))
    }
    measured(promtool, tmp_path, series, asked)


@each_promtool
@pytest.mark.parametrize(("age", "minutes"), [(2, 2), (4, 1), (5, 3), (20, 3), (20, 7), (20, 15), (20, 30)])
def test_a_young_process_that_was_away_for_a_while(promtool: str, age: int, minutes: int, tmp_path: Path) -> None:
    """What it had counted before is not counted again, however long its collector was away; what is new is."""
    away: list[Sample] = ["stale"] + [None] * (minutes * 4 - 1)
    series: Series = {
        started("i1"): [0.0] * age * 4 + away + [0.0] * 300,
        streams("i1", "complete", "broken"): [5.0] * age * 4 + away + [6.0] * 300,
        streams("i1", "truncated", "broken"): [None] * age * 4 + away + [2.0] * 300,
    }
    measured(promtool, tmp_path, series, {grown(STREAMS, BROKEN, "2h"): ("80m", 8.0)})


@each_promtool
def test_windows_hold_what_happened_in_them_and_no_minute_more(promtool: str, tmp_path: Path) -> None:
    """30,000 streams a minute: a range that is closed to the left added a twentieth to an hour's, a fifth to five minutes'."""
    series: Series = {
        streams("i1", "complete", "clean"): "0+29640x150",
        streams("i1", "complete", "broken"): "0+360x150",
    }
    asked: dict[str, tuple[str, float | None]] = {
        "sum(job:streamwatch_streams:sum5m)": ("100m", 5 * 30_000),
        "sum(job:streamwatch_streams:sum1h)": ("100m", 60 * 30_000),
        "sum(model:streamwatch_streams:sum15m)": ("100m", 15 * 30_000),
        "sum(job:streamwatch_broken_per_stream:ratio1h)": ("100m", 0.012),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_the_first_scrape_of_an_old_process_counts_from_there_on(promtool: str, tmp_path: Path) -> None:
    """A week of cuts is no news; what it cuts from then on is, and a series that is born later counts in full."""
    series: Series = {
        started("i1"): "_x10 -600000x60",
        streams("i1", "complete", "clean"): "_x10 920000+20x60",
        streams("i1", "truncated", "broken"): "_x10 80000x20 80003x40",
        streams("i1", "complete", "broken"): "_x40 2x30",
    }
    asked: dict[str, tuple[str, float | None]] = {
        'count(ALERTS{alertstate="firing"})': ("29m", None),
        grown(STREAMS, BROKEN, "1h"): ("60m", 5.0),
        grown(STREAMS, CLEAN, "1h"): ("60m", 20.0 * 49),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_the_first_scrape_of_a_young_process_counts_in_full(promtool: str, tmp_path: Path) -> None:
    """It began while Prometheus was there."""
    series: Series = {started("i1"): "_x10 570x60", streams("i1", "complete", "broken"): "_x10 8+1x60"}
    measured(promtool, tmp_path, series, {grown(STREAMS, BROKEN, "1h"): ("20m", 17.0)}, interval="1m")


@each_promtool
def test_three_broken_streams_an_hour(promtool: str, tmp_path: Path) -> None:
    """Born at one, as counters of Streamwatch are."""
    counts: list[Sample] = [math.floor(at / 240 * 3) or None for at in range(14 * 240)]
    asked: dict[str, tuple[str, float | None]] = {
        "sum(job:streamwatch_broken_streams:sum6h)": ("8h", 18.0),
        "sum(model:streamwatch_damaged_streams:sum1h)": ("8h", 3.0),
    }
    measured(promtool, tmp_path, {streams("i1", "complete", "broken"): counts}, asked)


@each_promtool
def test_one_noisy_model_among_many(promtool: str, tmp_path: Path) -> None:
    """Two streams a minute of it, three in ten cut: its own share is 30 %, whatever the others do, and it is told."""
    series: Series = {streams("i1", "complete", "clean", f"m{one}"): "0+16x420" for one in range(6)}
    series[streams("i1", "complete", "clean", "noisy")] = "0+1.4x420"
    series[streams("i1", "truncated", "broken", "noisy")] = "0+0.6x420"
    noisy = '{gen_ai_request_model="noisy"}'
    asked: dict[str, tuple[str, float | None]] = {
        f"sum(model:streamwatch_truncated_streams:sum15m{noisy} / model:streamwatch_streams:sum15m{noisy})": (
            "6h50m",
            0.3,
        ),
        "sum(job:streamwatch_broken_per_stream:ratio6h)": ("6h50m", round(0.6 / 98, 4)),
        **firing("StreamwatchTruncatedStreams", "1h", "2h", "4h", "6h50m", severity="critical"),
        **firing("StreamwatchTruncatedStreams", "4h", "6h50m", severity="warning"),  # the slow one, which is inhibited
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_a_cut_that_is_over_is_not_told_for_the_rest_of_the_hour(promtool: str, tmp_path: Path) -> None:
    """Thirty streams of little traffic were cut within an hour, and none since: the last quarter of an hour decides."""
    series: Series = {
        streams("i1", "complete", "clean"): "0+1.4x60 84+2x60",
        streams("i1", "truncated", "broken"): "0+0.6x60 36x60",
    }
    alert = "StreamwatchTruncatedStreams"
    measured(promtool, tmp_path, series, firing(alert, "1h"), interval="1m")
    measured(promtool, tmp_path, series, firing(alert, "1h30m", "1h45m", count=None), interval="1m")


@each_promtool
def test_traffic_that_moves_to_a_gateway_which_reorders(promtool: str, tmp_path: Path) -> None:
    """0.6 events a stream there, from the first minute on, and none at the old one: a day that it has not is no excuse."""
    new = streams("i1", "complete", "clean").replace('"api"', '"new"')
    series: Series = {
        streams("i1", "complete", "clean"): "0+20x480 9600x300",
        new: "_x481 14+14x300",
        new.replace("clean", "repaired"): "_x481 6+6x300",
        anomalies("i1", "sequence_out_of_order").replace('"api"', '"new"'): "_x481 12+12x300",
    }
    ratio = 'sum by () (model:streamwatch_reordered_per_stream:ratio15m{{server_address="{}"}})'
    asked: dict[str, tuple[str, float | None]] = {
        ratio.format("new"): ("8h30m", 0.6),
        ratio.format("api"): ("7h50m", 0.0),
        'sum(model:streamwatch_reordered_per_stream:usual{server_address="new"})': ("8h20m", 0.0),
        **firing("StreamwatchReorderSpike", "8h10m", "9h", "11h"),
        "count(ALERTS)": ("7h50m", None),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
@pytest.mark.parametrize("history", [1, 3])
def test_a_gateway_that_begins_to_reorder(promtool: str, history: int, tmp_path: Path) -> None:
    """Told after seven minutes, and for as long as it goes on: what lasts is not what is usual. Then it is taken back."""
    before = history * 60
    series: Series = {
        streams("i1", "complete", "clean"): f"0+20x{before} {20 * before + 14}+14x600",
        streams("i1", "complete", "repaired"): f"_x{before + 1} 6+6x600",
        anomalies("i1", "sequence_out_of_order"): f"_x{before + 1} 12+12x600",
    }
    alert = "StreamwatchReorderSpike"
    for name, end in (("clean", 14), ("repaired", 6)):
        series[streams("i1", "complete", name)] = f"{series[streams('i1', 'complete', name)]} {end * 600}x60"
    told = firing(alert, *(f"{before + minutes}m" for minutes in (9, 30, 60, 240, 590)))
    measured(promtool, tmp_path, series, told, interval="1m")
    silent = firing(alert, f"{before}m", f"{before + 5}m", f"{before + 640}m", count=None)
    measured(promtool, tmp_path, series, silent, interval="1m")


@each_promtool
def test_a_job_that_runs_for_five_minutes_of_each_hour_is_not_missed(promtool: str, tmp_path: Path) -> None:
    """A service of half an hour is, a quarter of an hour after its end."""
    published = (
        'streamwatch_published_fix_ratio{{job="{}",instance="i1",streamwatch_issue="{}",streamwatch_strategy="any"}}'
    )
    issue = "llm/streaming-chunk-order-mismatch"
    series: Series = {
        published.format("hourly", issue): " ".join(["0.75x4 stale _x54"] * 5),
        published.format("service", issue): "0.75x40 stale",
    }
    asked: dict[str, tuple[str, float | None]] = {
        'count(ALERTS{job="hourly"})': ("30m", None),
        'count(ALERTS{job="hourly",alertstate=~"firing|pending"})': ("90m", None),
        'count(ALERTS{alertstate=~"firing|pending",job="hourly"})': ("210m", None),
        'count(ALERTS{job="service",alertstate="firing"})': ("62m", 1.0),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_tool_calls_that_all_fail_are_not_drowned_in_hazards(promtool: str, tmp_path: Path) -> None:
    """A hundred streams an hour with a broken call, none fixed; sixty times as many hazards defused beside them."""
    published = (
        'streamwatch_published_fix_ratio{{job="shop",instance="i1",streamwatch_issue="{}",streamwatch_strategy="{}"}}'
    )
    series: Series = {
        streams("i1", "complete", "clean"): "0+100x1440",
        streams("i1", "complete", "broken"): "0+1.67x1440",
        cases("i1", "tool_calls", "failed"): "0+1.67x1440",
        cases("i1", "any_fault", "failed"): "0+1.67x1440",
        cases("i1", "llm/streaming-assistant-content-empty", "unverified"): "0+100x1440",
        published.format("llm/streaming-assistant-content-empty", "any"): "0.9x1440",
        published.format("tool_calls", "a delta accumulator"): "0.85x1440",
        published.format("llm/streaming-chunk-order-mismatch", "any"): "0.75x1440",
    }
    rate = 'sum(model_issue:streamwatch_fixed_per_case:ratio1d{{streamwatch_issue="{}"}})'
    asked: dict[str, tuple[str, float | None]] = {
        rate.format("tool_calls"): ("20h", 0.0),
        rate.format("llm/streaming-assistant-content-empty"): ("20h", 1.0),
        'count(ALERTS{alertname="StreamwatchFixRateBelowPublished",streamwatch_issue="tool_calls",alertstate="firing"})': (
            "20h",
            1.0,
        ),
        'count(ALERTS{alertname="StreamwatchFixRateBelowPublished"})': ("20h", 1.0),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_cases_of_pods_that_end_are_in_the_rate_of_the_day(promtool: str, tmp_path: Path) -> None:
    """Half of the broken order was put right, in pods of half an hour; what was tried in the shadow is apart."""
    series: Series = {}
    for pod in range(20):
        alive = [None] * (pod * 30) + [1.0] * 30 + ["stale"]
        series[cases(f"p{pod}", "llm/streaming-chunk-order-mismatch", ("verified", "unrepaired")[pod % 2])] = alive
        series[cases(f"p{pod}", "llm/streaming-chunk-order-mismatch", "verified", "false")] = alive
    asked: dict[str, tuple[str, float | None]] = {
        "sum(model_issue:streamwatch_cases:sum1d)": ("11h", 20.0),
        "sum(model_issue:streamwatch_fixed_per_case:ratio1d)": ("11h", 0.5),
        "sum(model_issue:streamwatch_fixed_per_case:ratio1d_upper)": ("11h", 0.7007),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_quantiles_are_of_all_that_pods_measured(promtool: str, tmp_path: Path) -> None:
    """Ten pods of ten minutes, born with three streams below a second and one above; an old process counts from now on."""
    metric = "streamwatch_stream_time_to_first_chunk_seconds"
    series: Series = {started("old"): "_x30 -600000x200"}
    for upper, count in (("0.64", 0), ("1.28", 3), ("2.56", 4), ("+Inf", 4)):
        for pod in range(10):
            labels = STREAM_LABELS.format(model="gpt-4o", instance=f"p{pod}")
            alive: list[Sample] = [None] * (pod * 10) + [float(count)] * 10 + ["stale"]
            series[f'{metric}_bucket{{{labels},le="{upper}"}}'] = alive
        labels = STREAM_LABELS.format(model="gpt-4o", instance="old")
        series[f'{metric}_bucket{{{labels},le="{upper}"}}'] = "_x30 900x10 901x190"
    asked: dict[str, tuple[str, float | None]] = {
        grown(BUCKETS[metric], '{le="+Inf"}', "3h"): ("2h", 41.0),
        grown(BUCKETS[metric], '{le="1.28"}', "3h"): ("2h", 31.0),
        filled_in(promql.range_quantile(0.5, TIME_TO_FIRST_CHUNK), "3h", ""): ("2h", 1.056),
        filled_in(promql.range_quantile(0.5, TIME_TO_FIRST_CHUNK), "3h", "", model="gpt-4o"): ("2h", 1.056),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_a_process_is_known_for_a_day_after_its_end(promtool: str, tmp_path: Path) -> None:
    """What dashboards call down, and what it had counted before."""
    published = f'streamwatch_published_fix_ratio{{job="shop",instance="i1",streamwatch_issue="{ORDER.name}",'
    series: Series = {
        f'{published}streamwatch_strategy="any"}}': "0.75x60 stale",
        streams("i1", "complete", "clean"): "0+1x60 stale",
        streams("i1", "complete", "broken"): "0+2x60 stale",
    }
    asked: dict[str, tuple[str, float | None]] = {
        f"sum({PROCESS_SEEN})": ("20h", 3600.0),
        f"sum({PROCESS_SEEN} > 0)": ("26h", None),
        "sum(instance_version:streamwatch_streams:sum)": ("1h", 180.0),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_before_and_after_a_release_that_replaces_all_pods(promtool: str, tmp_path: Path) -> None:
    """Twenty old pods break one stream each, twenty new ones two: the panel says what the pods took with them as well."""
    series: Series = {}
    rng = Random(1)
    for pod in range(20):
        last = rng.randrange(5, 55)
        series[started(f"old{pod}")] = [-600_000.0] * 61 + ["stale"]
        series[streams(f"old{pod}", "complete", "clean")] = [100.0 + at for at in range(61)] + ["stale"]
        broken: list[Sample] = [5.0] * last + [6.0] * (61 - last) + ["stale"]
        series[streams(f"old{pod}", "complete", "broken")] = broken
        series[cases(f"old{pod}", "any_fault", "unrepaired")] = broken
        series[cases(f"old{pod}", "any_fault", "verified")] = broken
        first, second = (61 + rng.randrange(5, 50) for _ in range(2))
        series[started(f"new{pod}")] = [None] * 61 + [3600.0] * 60
        series[streams(f"new{pod}", "complete", "clean")] = [None] * 61 + [1.0 + at for at in range(60)]
        series[streams(f"new{pod}", "complete", "broken")] = [None] * first + [1.0] * (121 - first)
        series[streams(f"new{pod}", "truncated", "broken")] = [None] * second + [1.0] * (121 - second)
        series[cases(f"new{pod}", "any_fault", "unrepaired")] = [None] * first + [1.0] * (121 - first)
    title = "The range, and as long a time $before earlier"
    figures = (0.5, 0.0, 20 / 1180, 40 / 1240, 1180.0, 1240.0)  # what was scraped half a minute before
    asked = {
        f"sum({query})": ("119m", round(figure, 4))
        for query, figure in zip(panel("fix-rates", title, "1h", "1h"), figures, strict=True)
    }
    measured(promtool, tmp_path, series, asked, interval="1m")


@each_promtool
def test_rules_and_panels_agree(promtool: str, tmp_path: Path) -> None:
    """Of one window they make one number, pods that ended included."""
    series: Series = {}
    for pod in range(12):
        alive: list[Sample] = [None] * (pod * 20) + [float(1 + at) for at in range(20)] + ["stale"]
        series[cases(f"p{pod}", "any_fault", ("verified", "failed", "unrepaired")[pod % 3])] = alive
    selector = '{streamwatch_issue="any_fault",streamwatch_outcome="verified"}'
    of_panel = promql.grown(total_of(CASES) + selector, over="6h")
    where = ('streamwatch_issue="any_fault"', 'streamwatch_outcome="verified"')
    asked = {
        of_panel: ("5h", 80.0),
        grown(CASES, selector, "6h"): ("5h", 80.0),
        filled_in(promql.counted(CASES, where=where), "6h", ""): ("5h", 80.0),
        filled_in(promql.counted(CASES, where=where), "6h", "", model="gpt-4o"): ("5h", 80.0),
        filled_in(promql.counted(CASES, where=where), "6h", "", model="gpt-4"): ("5h", None),
        f"sum({filled_in(promql.counted(CASES, 'gen_ai_request_model', where=where), '6h', '')})": ("5h", 80.0),
    }
    measured(promtool, tmp_path, series, asked, interval="1m")
