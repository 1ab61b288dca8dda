"""What the tables by path say: shares, their intervals, and `differs` where the intervals do not meet; promtool asks."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="the group `dashboards` is not installed")

with warnings.catch_warnings():  # the SDK prefers the schema that only Grafana 12 and later import
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards import rules
    from dashboards.preview.live import filled_in

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")

_LABELS = 'job="shop",gen_ai_operation_name="chat",gen_ai_request_model="{model}",instance="a"'
#: Streams of each path of a model, those with a fault, and those of them that were fixed.
PATHS = {
    ("m", "api", "direct"): (1000, 10, 9),
    ("m", "gateway", "nginx>litellm"): (1000, 100, 50),
    ("same", "api", "direct"): (1000, 50, 25),
    ("same", "gateway", "nginx"): (1000, 55, 28),
    ("alone", "api", "cloudflare"): (1000, 100, 50),
    ("few", "api", "direct"): (1000, 10, 9),
    ("few", "gateway", "buffering"): (10, 5, 1),
}


def series() -> list[dict[str, str]]:
    """The counters, as they were scraped: from nothing to what they are, in the second half of an hour."""
    found = []
    for (model, server, via), (streams, faulty, fixed) in PATHS.items():
        common = f'{_LABELS.format(model=model)},server_address="{server}",streamwatch_via="{via}"'
        ended = 'streamwatch_verdict="complete",streamwatch_condition="{}"'
        case = 'streamwatch_issue="any_fault",streamwatch_applied="true",streamwatch_outcome="{}"'
        for name, labels, count in (
            ("streams", ended.format("clean"), streams - faulty),
            ("streams", ended.format("broken"), faulty - fixed),
            ("streams", ended.format("repaired"), fixed),
            ("cases", case.format("verified"), fixed),
            ("cases", case.format("unrepaired"), faulty - fixed),
        ):
            found.append({"series": f"streamwatch_{name}_total{{{common},{labels}}}", "values": f"0x30 {count}x60"})
    return found


def queries(title: str) -> list[str]:
    """The queries of a table, for everything."""
    board = json.loads((rules.FOLDER.parent / "json" / "streamwatch-waiting.json").read_text("utf-8"))
    (panel,) = [panel for panel in board["panels"] if panel["title"] == title]
    return [filled_in(target["expr"], 3600, "1d") for target in panel["targets"]]


def table(tmp_path: Path, title: str, expected: list[dict[tuple[str, str], float]]) -> None:
    """Assert what each column of a table says."""
    asked = [
        {
            "expr": f"round({query}, 0.001)",
            "eval_time": "1h",
            "exp_samples": [
                {"labels": f'{{gen_ai_request_model="{model}",streamwatch_via="{via}"}}', "value": value}
                for (model, via), value in column.items()
            ],
        }
        for query, column in zip(queries(title), expected, strict=True)
    ]
    document = {
        "rule_files": [str(path) for path in sorted(rules.FOLDER.glob("streamwatch-records*.yml"))],
        "evaluation_interval": "1m",
        "group_eval_order": ["streamwatch-records", "streamwatch-records-of-days"],
        "tests": [{"interval": "1m", "input_series": series(), "promql_expr_test": asked}],
    }
    path = tmp_path / "scenario.yml"
    path.write_text(json.dumps(document), "utf-8")  # JSON is YAML
    ran = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def keyed(*values: float | None) -> dict[tuple[str, str], float]:
    """Values of the paths above, in their order; None where there is none."""
    keys = [(model, via) for model, _, via in PATHS]
    return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


@pytest.mark.slow
def test_a_path_that_has_more_faults_than_the_others_of_its_model_differs(tmp_path: Path) -> None:
    """1 % beside 10 % of a thousand; not 5 % beside 5.5 %, nor half of ten, nor a model with one path."""
    table(
        tmp_path,
        "Streams with a fault, by path, in the last day",
        [
            keyed(0.01, 0.1, 0.05, 0.055, 0.1, 0.01, 0.5),
            keyed(0.005, 0.083, 0.038, 0.042, 0.083, 0.005, 0.237),
            keyed(0.018, 0.12, 0.065, 0.071, 0.12, 0.018, 0.763),
            keyed(-1, 1, 0, 0, None, None, None),
            keyed(*[1000] * 6, 10),
        ],
    )


@pytest.mark.slow
def test_a_path_whose_faults_are_fixed_less_often_differs_where_there_are_cases_enough(tmp_path: Path) -> None:
    """Of ten and of five cases nothing is said."""
    table(
        tmp_path,
        "Fix rate, by path, in the last day",
        [
            keyed(0.9, 0.5, 0.5, 0.509, 0.5, 0.9, 0.2),
            keyed(0.596, 0.404, 0.366, 0.381, 0.404, 0.596, 0.036),
            keyed(0.982, 0.596, 0.634, 0.636, 0.596, 0.982, 0.624),
            keyed(None, None, 0, 0, None, None, None),
            keyed(10, 100, 50, 55, 100, 10, 5),
        ],
    )
