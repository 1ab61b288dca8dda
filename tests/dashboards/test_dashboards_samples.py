"""What a refresh of a dashboard reads: 50 models, 20 processes, six hours, asked of a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="the group `dashboards` is not installed")

with warnings.catch_warnings():  # the SDK prefers the schema that only Grafana 12 and later import
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards.__main__ import FOLDER
from dashboards.records import (
    ANOMALIES,
    CASES,
    JOB_ANOMALIES,
    JOB_CASES,
    JOB_STREAMS,
    RELEASES,
    REORDERED,
    STREAMS,
    total_of,
)
from streamwatch.core.kinds import KINDS, Outcome, Severity
from streamwatch.core.stream_cases import (
    ANY_FAULT,
    BY_KIND,
    BY_STRATEGY,
    CONTENT,
    DEFINITIONS,
    KNOWN,
    ORDER,
    TOOL_CALLS,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")), reason="prometheus is not installed"
    ),
]

MODELS, PROCESSES, HOURS = 50, 20, 6
#: Seconds between the samples written: every look at one finds one.
STEP = 240
#: What a refresh may read.
BUDGET = 100_000
#: The dashboards that are drawn from the records alone.
BOARDS = ("streamwatch-overview", "streamwatch-fix-rates")


def series() -> Iterator[str]:
    """Return what is recorded of fifty models that show twenty kinds each, and the gauge of twenty processes."""
    faults = [kind for kind in KINDS.values() if kind.severity is Severity.FAULT][:20]
    for model in range(MODELS):
        of_model = (
            f'job="shop",server_address="api",gen_ai_operation_name="chat",gen_ai_request_model="m{model}",'
            f'gen_ai_response_model="m{model}-1"'
        )
        release = f'{of_model},streamwatch_openai_version="3.57.0"'
        for verdict, condition in (
            ("complete", "clean"),
            ("complete", "repaired"),
            ("complete", "broken"),
            ("truncated", "broken"),
            ("error", "broken"),
        ):
            ended = f'streamwatch_verdict="{verdict}",streamwatch_condition="{condition}"'
            yield f"{total_of(STREAMS)}{{{release},{ended}}}"
        ends = [(one, outcome) for one in (ANY_FAULT, ORDER, TOOL_CALLS) for outcome in ("verified", "failed")]
        ends += [(one, "unrepaired") for one in (ANY_FAULT, ORDER, TOOL_CALLS)] + [(CONTENT, "unverified")]
        ends += [(one, "verified") for one in (*BY_STRATEGY.values(), *(BY_KIND[kind] for kind in faults))]
        for definition, outcome in ends:
            case = f'streamwatch_issue="{definition.name}",streamwatch_outcome="{outcome}",streamwatch_applied="true"'
            yield f"{total_of(CASES)}{{{release},{case}}}"
        for kind in faults:
            yield f'{total_of(ANOMALIES)}{{{of_model},streamwatch_anomaly="{kind.name}",streamwatch_severity="fault"}}'
        yield f'{RELEASES}{{job="shop",gen_ai_response_model="m{model}-1",streamwatch_openai_version="3.57.0"}}'
        yield f"{REORDERED}15m{{{of_model.partition(',gen_ai_response')[0]}}}"
    for condition in ("clean", "repaired", "broken"):
        yield f'{total_of(JOB_STREAMS)}{{job="shop",streamwatch_condition="{condition}"}}'
    for severity in Severity:
        yield f'{total_of(JOB_ANOMALIES)}{{job="shop",streamwatch_severity="{severity.value}"}}'
    for definition in DEFINITIONS:
        for outcome in Outcome:
            case = f'streamwatch_issue="{definition}",streamwatch_outcome="{outcome.value}",streamwatch_applied="true"'
            yield f'{total_of(JOB_CASES)}{{job="shop",streamwatch_openai_version="3.57.0",{case}}}'
    for process in range(PROCESSES):
        where = f'job="shop",instance="i{process}"'
        yield f'streamwatch_build_info{{{where},version="1.0"}}'
        for definition in KNOWN:
            if definition.published:
                figure = f'streamwatch_issue="{definition.name}",streamwatch_strategy="{definition.published[0]}"'
                yield f"streamwatch_published_fix_ratio{{{where},{figure}}}"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has recorded for six hours, and its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    now = int(time.time())
    with (folder / "records.om").open("w") as file:
        for name in series():
            for count, at in enumerate(range(now - HOURS * 3600 - 2 * STEP, now + STEP, STEP)):
                file.write(f"{name} {count} {at}\n")
        file.write("# EOF\n")
    write = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "records.om", "data"]
    subprocess.run(write, cwd=folder, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("{}")
    with closing(create_server(("127.0.0.1", 0))) as free:
        address = "127.0.0.1:{}".format(free.getsockname()[1])
    where = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with subprocess.Popen(["prometheus", *where], cwd=folder, stderr=subprocess.DEVNULL) as program:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    asked(f"http://{address}", "vector(1)", now)
                    break
                except OSError:
                    time.sleep(0.2)
            yield f"http://{address}"
        finally:
            program.terminate()


def asked(url: str, expression: str, end: float, step: int = 0) -> tuple[list[Any], int]:
    """Return the answer to a query, for each step or for the end alone, and how many samples it read."""
    values = {"__range": f"{HOURS}h", "__interval": "5m", "__rate_interval": "5m", "before": "1h"}
    values |= {"job": ".+", "instance": ".+"}
    query = re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), expression)
    when: dict[str, Any] = {"start": end - HOURS * 3600, "end": end, "step": step} if step else {"time": end}
    body = urllib.parse.urlencode({"query": query, "stats": "all", **when}).encode()
    path = "query_range" if step else "query"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/api/v1/{path}", body, timeout=60) as answer:
        data = json.load(answer)["data"]
    return data["result"], int(data["stats"]["samples"]["totalQueryableSamples"])


@pytest.mark.parametrize("name", BOARDS)
def test_a_refresh_reads_less_than_a_hundred_thousand_samples(prometheus: str, name: str) -> None:
    """All panels and annotations of a dashboard, with everything chosen."""
    board = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    end, read, answered = time.time(), {}, 0
    points = {panel["title"]: panel.get("maxDataPoints") for panel in board["panels"] if panel["type"] == "timeseries"}
    assert {HOURS * 3600 // 300} == set(points.values()), "a step is five minutes"
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            found, samples = asked(prometheus, target["expr"], end, 0 if target.get("instant") else 300)
            read[panel["title"], target["refId"]] = samples
            answered += bool(found)
    for annotation in board["annotations"]["list"]:
        step = int(annotation["step"].removesuffix("s"))
        read[annotation["name"], ""] = asked(prometheus, annotation["expr"], end, step)[1]

    assert answered > len(read) / 2, "most queries find something"
    assert sum(read.values()) < BUDGET, sorted(read.items(), key=lambda one: -one[1])
