"""The Agent dashboard where metrics come by OTLP: nothing scrapes a process, so there is no `up` of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="PyYAML is not installed")

from dashboards import alerts, rules
from dashboards.records import Options
from helpers.scenarios import (
    PROMTOOLS,
    Series,
    each_promtool,
    measured,
    panel,
    started,
    streams,
)
from streamwatch.cli.dashboards import filling
from streamwatch.core.stream_cases import ORDER

BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in filling.templates("json")}


def exported(instance: str, samples: str) -> Series:
    """Return what a process tells of itself, whoever takes it."""
    job = f'job="shop",instance="{instance}"'
    return {
        f'streamwatch_published_fix_ratio{{{job},streamwatch_issue="{ORDER.name}",streamwatch_strategy="any"}}': (
            samples.replace("V", "0.75")
        ),
        f'streamwatch_build_info{{{job},version="1.2.3"}}': samples.replace("V", "1"),
        started(instance): samples.replace("V", "600"),
        streams(instance, "complete", "clean"): samples.replace("V", "9"),
        f'streamwatch_internal_errors_total{{{job},error_type="KeyError"}}': samples.replace("V", "2"),
    }


def ours() -> Series:
    """Return two processes, of which one ended an hour ago."""
    return {**exported("a", "_x10 Vx120"), **exported("b", "_x10 Vx50 stale")}


@pytest.mark.e2e
@pytest.mark.skipif(not PROMTOOLS, reason="promtool is not installed: it comes with Prometheus")
@each_promtool
def test_every_panel_has_data_of_our_own_metrics_alone(promtool: str, tmp_path: Path) -> None:
    """The queries of the numbers and tables, to the unit; nothing is asked of `up` or of a scrape."""
    figures = {
        "Processes running": [1.0],
        "Processes gone": [1.0],
        "Internal errors": [4.0],
        "Capped labels": [0.0],
        "Versions running": [1.0],
        "SDK versions": [1.0],
        "Processes": [3600.0, 6600.0, 9.0, 0.0, 2.0, 5.0, 1.0],
    }
    board = BOARDS["streamwatch-agent"]
    assert set(figures) == {one["title"] for one in board["panels"] if one["type"] in ("stat", "table")}
    asked: dict[str, tuple[str, float | None]] = {}
    for title, values in figures.items():
        for query, value in zip(panel("agent", title, "2h", ""), values, strict=True):
            asked[f"sum({query})"] = ("120m", value)
    measured(promtool, tmp_path, ours(), asked, interval="1m")
    assert not any(word in json.dumps(board) for word in ("up{", "scrape_"))


@pytest.mark.parametrize("alert", alerts.alerts(Options()), ids=lambda alert: f"{alert.name}-{alert.severity}")
def test_an_alert_leads_to_the_dashboard_that_shows_it(alert: alerts.Alert) -> None:
    """One of its panels has the alert's own runbook, and each variable in the link is one of its variables."""
    board = BOARDS[alert.dashboard]
    link = rules._dashboard(alert, Options())
    chosen = {one.partition("=")[0].removeprefix("var-") for one in link.partition("?")[2].split("&") if one}

    assert chosen <= {one["name"] for one in board["templating"]["list"]}
    pages = {link["url"].rpartition("/")[2] for one in board["panels"] for link in one.get("links") or ()}
    assert f"{alert.name}{filling.PAGE}" in pages
