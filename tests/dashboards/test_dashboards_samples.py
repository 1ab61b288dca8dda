"""What a refresh of a dashboard reads: 50 models, 20 processes, six hours, asked of a real Prometheus.

The figures are those of Prometheus' own log of queries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="the group `dashboards` is not installed")

with warnings.catch_warnings():  # the SDK prefers the schema that only Grafana 12 and later import
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards.__main__ import FOLDER
from dashboards import waiting_rules
from dashboards.names import INSTRUMENTS, metric
from dashboards.records import (
    ADDED,
    ANOMALIES,
    BUCKETS,
    CASES,
    CHUNKS,
    CLOSES,
    ERRORS,
    HISTOGRAMS,
    OF_JOBS,
    OF_PROCESSES,
    PROCESS_SEEN,
    PROCESS_SERIES,
    RECONNECTS,
    RELEASES,
    REORDERED,
    STREAMS,
    TIME,
    total_of,
)
from streamwatch.core.kinds import KINDS
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
from streamwatch.core.vocabulary import ChunkType, Outcome, Resumed, Severity, StreamState
from streamwatch.export import close_codes

#: The one of Debian, and one of Prometheus 3, where it was built: see `.ci/run`.
TOOLS = Path(os.environ.get("STREAMWATCH_TOOLS", Path.home() / ".cache" / "streamwatch"))
PROGRAMS = [one for one in (shutil.which("prometheus"), *map(str, TOOLS.glob("prometheus-*/prometheus"))) if one]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (PROGRAMS and shutil.which("promtool")), reason="prometheus is not installed"),
]

MODELS, PROCESSES, HOURS = 50, 20, 6
#: Seconds between the samples written: every look at one finds one.
STEP = 240
#: What a refresh may read.
BUDGET = 100_000
BOARDS = sorted(path.stem for path in FOLDER.glob("*.json"))
#: Upper ends of the buckets of each histogram.
ENDS = {metric(row): (*row.boundaries, "+Inf") for row in INSTRUMENTS.values() if row.boundaries}


def buckets(name: str, labels: str, record: str) -> Iterator[str]:
    """Return the buckets of a histogram, of streams that are complete or not where it has verdicts."""
    verdicts = ("complete", "truncated", "error") if "streamwatch_verdict" in HISTOGRAMS[name] else ("",)
    for verdict in verdicts:
        ended = f',streamwatch_verdict="{verdict}"' if verdict else ""
        for upper in ENDS[name]:
            yield f'{total_of(record)}{{{labels}{ended},le="{upper}"}}'


def of_processes() -> Iterator[str]:
    """Return what is there of twenty processes."""
    for process in range(PROCESSES):
        where = f'job="shop",instance="i{process}"'
        yield f'streamwatch_build_info{{{where},version="1.0"}}'
        for name in ("streamwatch_start_time_seconds", PROCESS_SEEN, PROCESS_SERIES):
            yield f"{name}{{{where}}}"
        for record, labels in OF_PROCESSES.values():
            version = ',streamwatch_openai_version="3.57.0"' if "streamwatch_openai_version" in labels else ""
            yield f"{record}{{{where}{version}}}"
        for definition in KNOWN:
            if definition.published:
                figure = f'streamwatch_issue="{definition.name}",streamwatch_strategy="{definition.published[0]}"'
                yield f"streamwatch_published_fix_ratio{{{where},{figure}}}"
        yield f'streamwatch_published_fix_ratio{{{where},streamwatch_issue="{ORDER.name}",streamwatch_strategy="other"}}'


def of_cuts() -> Iterator[tuple[str, str]]:
    """Return the record of each number of cuts, and the labels that it has beside those of its model."""
    yield RECONNECTS, ""
    yield from ((CLOSES, f',streamwatch_close_code="{code}"') for code in close_codes.values())
    yield from ((ADDED, f',streamwatch_resumed="{result.value}"') for result in Resumed)


def of_services() -> Iterator[str]:
    """Return what is recorded of the whole."""
    job = 'job="shop"'
    services = {source: total_of(record) for source, (record, _) in OF_JOBS.items()}
    for verdict, condition in ENDED:
        yield f'{services[STREAMS]}{{{job},streamwatch_verdict="{verdict}",streamwatch_condition="{condition}"}}'
    for kind in KINDS.values():
        severity = f'streamwatch_severity="{kind.severity.value}"'
        yield f'{services[ANOMALIES]}{{{job},streamwatch_anomaly="{kind.name}",{severity}}}'
    for record, labels in of_cuts():
        yield f"{services[record]}{{{job}{labels}}}"
    for chunk in ChunkType:
        yield f'{services[CHUNKS]}{{{job},streamwatch_chunk="{chunk.value}"}}'
    for name in HISTOGRAMS:
        yield from buckets(name, job, OF_JOBS[BUCKETS[name]][0])
    for definition in DEFINITIONS:
        for outcome in Outcome:
            case = f'streamwatch_issue="{definition}",streamwatch_outcome="{outcome.value}",streamwatch_applied="true"'
            yield f'{services[CASES]}{{{job},streamwatch_openai_version="3.57.0",{case}}}'
    yield f'{total_of(ERRORS)}{{{job},error_type="ValueError"}}'


ENDED = (
    ("complete", "clean"),
    ("complete", "repaired"),
    ("complete", "broken"),
    ("truncated", "broken"),
    ("error", "broken"),
)


def of_waiting() -> Iterator[str]:
    """Return the gauges of open streams in each process, and what is recorded of them and of two paths."""
    for model in range(MODELS):
        asked = f'gen_ai_request_model="m{model}"'
        of_model = f'job="shop",server_address="api",gen_ai_operation_name="chat",{asked}'
        for process in range(PROCESSES):
            where = f'{of_model},instance="i{process}"'
            yield f"streamwatch_oldest_stream_seconds{{{where}}}"
            yield f'streamwatch_longest_silence_seconds{{{where},streamwatch_state="silent"}}'
            yield from (
                f'streamwatch_open_streams{{{where},streamwatch_state="{state.value}"}}' for state in StreamState
            )
        for record, labels in waiting_rules.RECORDS.items():
            if "streamwatch_via" in labels:
                yield from (f'{record}{{job="shop",{asked},streamwatch_via="{via}"}}' for via in ("direct", "nginx"))
            elif "streamwatch_state" in labels:
                yield from (f'{record}{{{of_model},streamwatch_state="{state.value}"}}' for state in StreamState)
            else:
                yield f"{record}{{{of_model}}}"
        yield from (f"{total_of(record)}{{{of_model}{labels}}}" for record, labels in of_cuts())
        for side in ("server", "reader"):
            own = f'gen_ai_response_model="m{model}-1",streamwatch_waited_for="{side}"'
            yield f"{total_of(TIME)}{{{of_model},{own}}}"


def series() -> Iterator[str]:
    """Return what is recorded of fifty models that show twenty kinds each, and the gauge of twenty processes."""
    faults = [kind for kind in KINDS.values() if kind.severity is Severity.FAULT][:20]
    for model in range(MODELS):
        of_model = (
            f'job="shop",server_address="api",gen_ai_operation_name="chat",gen_ai_request_model="m{model}",'
            f'gen_ai_response_model="m{model}-1"'
        )
        release = f'{of_model},streamwatch_openai_version="3.57.0"'
        for verdict, condition in ENDED:
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
        for chunk in ChunkType:
            yield f'{total_of(CHUNKS)}{{{release},streamwatch_chunk="{chunk.value}"}}'
        for name, record in BUCKETS.items():
            yield from buckets(name, release, record)
    yield from of_services()
    yield from of_processes()
    yield from of_waiting()


@dataclass(frozen=True)
class Recorded:
    """A Prometheus that has recorded for six hours, and what it notes of each query."""

    url: str
    log: Path

    def read(self) -> int:
        """Return how many samples its queries have read until now."""
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return sum(json.loads(line)["stats"]["samples"]["totalQueryableSamples"] for line in lines)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is recorded, as blocks of a database."""
    folder = tmp_path_factory.mktemp("recorded")
    now = int(time.time())
    with (folder / "records.om").open("w") as file:
        for name in series():
            for count, at in enumerate(range(now - HOURS * 3600 - 2 * STEP, now + STEP, STEP)):
                file.write(f"{name} {at if PROCESS_SEEN in name else count} {at}\n")
        file.write("# EOF\n")
    write = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "records.om", "data"]
    subprocess.run(write, cwd=folder, check=True, capture_output=True)
    return folder / "data"


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda path: Path(path).parent.name)
def prometheus(
    request: pytest.FixtureRequest, blocks: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    """Prometheus over that database."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(blocks, folder / "data")
    (folder / "prometheus.yml").write_text(json.dumps({"global": {"query_log_file": str(folder / "queries.log")}}))
    with closing(create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    where = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with subprocess.Popen([request.param, *where], cwd=folder, stderr=subprocess.DEVNULL) as program:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    asked(f"http://{address}", "vector(1)", time.time())
                    break
                except OSError:
                    time.sleep(0.2)
            yield Recorded(f"http://{address}", folder / "queries.log")
        finally:
            program.terminate()


def asked(url: str, expression: str, end: float, step: int = 0, **chosen: str) -> tuple[list[Any], int]:
    """Return the answer to a query, for each step or for the end alone, and how many samples it read."""
    values = {"__range": f"{HOURS}h", "__range_s": f"{HOURS * 3600}", "before": "1h", "window": "1h"}
    values |= {"__interval": "5m", "__interval_ms": "300000", "job": ".+", "instance": ".+", **chosen}
    query = re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), expression)
    when: dict[str, Any] = {"start": end - HOURS * 3600, "end": end, "step": step} if step else {"time": end}
    body = urllib.parse.urlencode({"query": query, "stats": "all", **when}).encode()
    path = "query_range" if step else "query"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/api/v1/{path}", body, timeout=60) as answer:
        data = json.load(answer)["data"]
    return data["result"], int(data["stats"]["samples"]["totalQueryableSamples"])


def refreshed(prometheus: Recorded, name: str, **chosen: str) -> tuple[dict[tuple[str, str], int], int]:
    """Ask what all panels and annotations of a dashboard ask; what each read, and how many had an answer."""
    board = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    end, read, answered = time.time(), {}, 0
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            step = 0 if target.get("instant") else 300
            found, samples = asked(prometheus.url, target["expr"], end, step, **chosen)
            read[panel["title"], target["refId"]] = samples
            answered += bool(found)
    for annotation in board["annotations"]["list"]:
        step = int(annotation["step"].removesuffix("s"))
        read[annotation["name"], ""] = asked(prometheus.url, annotation["expr"], end, step, **chosen)[1]
    return read, answered


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("chosen", [{}, {"model": "m7"}], ids=["everything", "one model"])
def test_a_refresh_reads_less_than_a_hundred_thousand_samples(
    prometheus: Recorded, name: str, chosen: dict[str, str]
) -> None:
    """By Prometheus' own log of queries: every dashboard, with everything chosen, and with one model."""
    before = prometheus.read()
    read, answered = refreshed(prometheus, name, **chosen)
    logged = prometheus.read() - before

    print(f"{name}: {logged} samples")
    assert logged == sum(read.values())
    assert answered > len(read) / 2, "most queries find something"
    assert 0 < logged < BUDGET, sorted(read.items(), key=lambda one: -one[1])


@pytest.mark.parametrize("name", BOARDS)
def test_a_step_of_a_graph_is_five_minutes(name: str) -> None:
    """What was measured above is what Grafana asks for."""
    board = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    points = {panel["title"]: panel.get("maxDataPoints") for panel in board["panels"] if panel["type"] == "timeseries"}
    assert {HOURS * 3600 // 300} == set(points.values())
