"""Series as Prometheus would have scraped them, and what promtool makes of rules and panels over them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dashboards import records, rules
from dashboards.records import Options

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("STREAMWATCH_TOOLS", Path.home() / ".cache" / "streamwatch"))
#: The one of Debian, 2.42, and one of Prometheus 3, where it was built: see `.ci/run`.
PROMTOOLS = [tool for tool in (shutil.which("promtool"), *map(str, TOOLS.glob("promtool-*/promtool"))) if tool]

each_promtool = pytest.mark.parametrize("promtool", PROMTOOLS, ids=lambda path: Path(path).parent.name)

Sample = float | str | None
Series = dict[str, Sequence[Sample] | str]

STREAM_LABELS = (
    'job="shop",server_address="api",gen_ai_operation_name="chat",gen_ai_request_model="{model}",'
    'gen_ai_response_model="{model}-1",streamwatch_openai_version="3.57.0",gen_ai_provider_name="openai",'
    'instance="{instance}"'
)


def streams(instance: str, verdict: str, condition: str, model: str = "gpt-4o") -> str:
    """Return the counter of streams of one process."""
    labels = STREAM_LABELS.format(model=model, instance=instance)
    return f'streamwatch_streams_total{{{labels},streamwatch_verdict="{verdict}",streamwatch_condition="{condition}"}}'


def cases(instance: str, issue: str, outcome: str, applied: str = "true") -> str:
    """Return the counter of cases of one process."""
    labels = STREAM_LABELS.format(model="gpt-4o", instance=instance)
    own = f'streamwatch_issue="{issue}",streamwatch_outcome="{outcome}",streamwatch_applied="{applied}"'
    return f"streamwatch_cases_total{{{labels},{own}}}"


def started(instance: str) -> str:
    """Return the gauge that says when a process began to count."""
    return f'streamwatch_start_time_seconds{{job="shop",instance="{instance}"}}'


def written(samples: Sequence[Sample] | str) -> str:
    """Return samples as promtool reads them, runs of one value put together."""
    if isinstance(samples, str):
        return samples
    words, at = [], 0
    while at < len(samples):
        end = at
        while end < len(samples) and samples[end] == samples[at]:
            end += 1
        value, more = samples[at], end - at - 1
        if value is None:
            words.append(f"_x{more + 1}")
        elif value == "stale":
            words += ["stale"] * (more + 1)
        else:
            words.append(f"{value:.10g}x{more}")
        at = end
    return " ".join(words)


def measured(
    promtool: str, folder: Path, series: Series, asked: Mapping[str, tuple[str, float | None]], interval: str = "15s"
) -> None:
    """Assert what each expression comes to at a time; None stands for nothing at all."""
    test = {
        "interval": interval,
        "input_series": [{"series": name, "values": written(samples)} for name, samples in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({expression}, 0.0001)",
                "eval_time": time,
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for expression, (time, value) in asked.items()
        ],
    }
    document = {
        "rule_files": [str(path) for path in sorted(rules.FOLDER.glob("*.yml"))],
        "evaluation_interval": "1m",
        "group_eval_order": ["streamwatch-records", "streamwatch-records-of-days", "streamwatch-alerts"],
        "tests": [test],
    }
    path = folder / "scenario.yml"
    path.write_text(json.dumps(document), "utf-8")  # JSON is YAML
    ran = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stdout + ran.stderr


def grown(record: str, selector: str, window: str) -> str:
    """Return what rules and dashboards make of a window."""
    return records.total(record, Options(keep=()), window, selector, by=())


def firing(
    alert: str, *times: str, count: float | None = 1.0, severity: str = ".*"
) -> dict[str, tuple[str, float | None]]:
    """Return what is asked about an alert, each time in other words, so that one expression has one time."""
    series = f'ALERTS{{alertname="{alert}",alertstate="firing",severity=~"{severity}"}}'
    return {f"{number} * 0 + count({series})": (time, count) for number, time in enumerate(times)}


def anomalies(instance: str, kind: str) -> str:
    """Return the counter of anomalies of one process."""
    labels = STREAM_LABELS.format(model="gpt-4o", instance=instance)
    return f'streamwatch_anomalies_total{{{labels},streamwatch_anomaly="{kind}",streamwatch_severity="fault"}}'


def panel(board: str, title: str, window: str, before: str) -> list[str]:
    """Return the queries of a panel as Grafana sends them where everything is chosen."""
    document = json.loads((ROOT / "dashboards" / "json" / f"streamwatch-{board}.json").read_text("utf-8"))
    (found,) = [one for one in document["panels"] if (one["title"], "targets" in one) == (title, True)]
    return [filled_in(target["expr"], window, before) for target in found["targets"]]


def filled_in(expression: str, window: str, before: str, **chosen: str) -> str:
    """Return a query as Grafana sends it, where everything is chosen but for what is named."""
    values = {"__range": window, "before": before, "job": ".+", "instance": ".+", **chosen}
    expression = expression.replace("$__range_s", f"({window.replace('h', ' * 3600')})")
    return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), expression)
