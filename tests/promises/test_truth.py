"""The figures against the truth: a server that knows what it broke, and what its readers ended with.

Nothing in the truth comes from the engine: the fault says whether the wire holds enough to put it right, and a reader
that knows of no repair says whether it ended with what a healthy stream would have given it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from apps import pipeline
from helpers.demo_server import serving
from helpers.ports import free_port
from helpers.stream_builders import watch
from streamwatch.cli.common.measured import Measured, parse
from streamwatch.core.stream_cases import ANY_FAULT, FIXED, ORDER, TOOL_CALLS
from streamwatch.core.vocabulary import Outcome
from streamwatch.synthetic import faults, streams
from streamwatch.synthetic.faults import FAULTS, HEALTHY, Fault
from streamwatch.synthetic.readings import Reading, reading_of
from streamwatch.synthetic.streams import Mark, Shape

LEVELS = ("none", "default", "all")
ISSUES = (ANY_FAULT, ORDER, TOOL_CALLS)
EACH = [(fault, shape) for fault in (*FAULTS.values(), HEALTHY) for shape in fault.shapes]
SEEDS = 12


def wire(fault: Fault, shape: Shape, seed: int) -> tuple[list[streams.Event], list[streams.Event]]:
    """Return the events of a healthy stream, and of the broken one."""
    rng = Random(f"{seed}/{shape.value}")
    make = streams.chat if shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS) else streams.responses
    healthy = make({"model": "gpt-4o"}, shape, fault.length, rng)
    return healthy, faults.broken(fault, healthy, rng)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("fault", "shape"), EACH, ids=[f"{fault.name}-{shape.value}" for fault, shape in EACH])
def test_cases_are_what_was_broken_and_end_as_the_reader_did(fault: Fault, shape: Shape, level: str) -> None:
    """At every level, in every place; in the shadow as the reader would have ended."""
    for seed in range(SEEDS):
        healthy, broken = wire(fault, shape, seed)
        cut = ConnectionError("cut") if Mark.CUT in broken else None
        seen = watch(shape.value.split()[0], list(streams.encode(broken)), level, error=cut)
        whole = reading_of(seen.payloads) == reading_of(healthy)

        assert set(fault.cases) == {row for row in ISSUES if row in seen.report.cases}
        for definition in fault.cases:
            assert (seen.report.cases[definition] in FIXED) is fault.repairable
        assert seen.report.applied is (level != "none")
        if not fault.cases or (fault.repairable and level != "none"):
            assert whole
        elif not fault.repairable and fault.name != "gap":  # a gap may swallow what the closing text says again
            assert not whole


def test_most_faults_are_seen_by_a_reader_whom_nothing_is_repaired_for() -> None:
    """The truth is no tautology: what is a case changes what a program ends with."""
    harmed = Counter[bool]()
    for fault, shape in EACH:
        for seed in range(SEEDS if fault.cases else 0):
            healthy, broken = wire(fault, shape, seed)
            harmed[reading_of(broken) != reading_of(healthy)] += 1

    assert harmed[True] > 50 * harmed[False]


def test_a_reading_is_compared_as_json() -> None:
    """What a program sends back is what the server keeps."""
    healthy, _ = wire(HEALTHY, Shape.CHAT_TOOLS, 1)
    record = reading_of(healthy).record()

    assert record == json.loads(json.dumps(record))
    assert record["ended"]
    assert len(record["calls"]) > 1
    assert record != Reading().record()


# --- over sockets

e2e = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("openai", "starlette", "uvicorn")),
        reason="the extra `demo` is not installed",
    ),
]
APP = Path(__file__).parents[1] / "apps" / "truthful.py"
SERVER = str(APP.with_name("truthful_server.py"))
#: Multiples of 24, so that each life begins with streams whose holes are filled; see the server.
STREAMS, SHORT = 192, 72
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetched(url: str) -> str:
    """Return what an address answers."""
    with _opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def server() -> Iterator[str]:
    """A server that breaks its streams and keeps the truth; its base URL."""
    with serving(7, SERVER) as url:
        yield url


@contextmanager
def application(url: str, level: str, port: int, count: int = STREAMS, forks: int = 0, **more: str) -> Iterator[str]:
    """An application that has read so many streams; where its metrics are.

    Its window is longer than any stream: that a machine is slow is no part of the truth.
    """
    from streamwatch.demo import processes

    environ = {**processes.app_environ(url, port), "STREAMWATCH_REPAIR": level, "OTEL_TRACES_EXPORTER": "none", **more}
    environ["STREAMWATCH_WINDOW_SECONDS"] = "30"
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    command = [instrument, sys.executable, str(APP), str(count), str(forks)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environ, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert "read\n" == process.stdout.readline()
            yield f"http://localhost:{port}/metrics"
        finally:
            process.stdin.close()
            process.wait(20)


def told(url: str) -> list[dict[str, Any]]:
    """Return the server's truth of each stream."""
    return list(json.loads(fetched(f"{url.removesuffix('/v1')}/truth")).values())


def agrees(truth: list[dict[str, Any]], measured: Measured, *, applied: bool) -> None:
    """Assert that every issue has the cases that were broken, and as many fixed as can be: to the unit.

    What can be repaired reached the application whole, and what cannot did not. A gap is no fixed case, even where a
    closing text says again what it swallowed. In the shadow nothing reached anybody whole, and the counts are the same.
    """
    for definition in ISSUES:
        broken = [one for one in truth if definition.name in one["cases"]]
        repairable = [one for one in broken if one["repairable"]]
        rate = measured.rate_of(definition, applied=applied)
        assert (len(broken), len(repairable)) == (rate.cases, rate.fixed), definition
        assert len(broken) - len(repairable) == rate[Outcome.FAILED] + rate[Outcome.UNREPAIRED], definition
        if applied:
            assert all(one["whole"] for one in repairable)
            assert not any(one["whole"] for one in broken if not one["repairable"] and one["fault"] != "gap")
        assert not measured.rate_of(definition, applied=not applied).cases


def on_top(*arguments: str) -> dict[str, dict[str, Any]]:
    """Return what `streamwatch top` says of each issue."""
    program = "from streamwatch.cli import main; main()"
    command = [sys.executable, "-c", program, "top", "--once", "--json", "--interval", "0.2", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return {one["issue"]: one for one in json.loads(ran.stdout)["issues"]}


def agrees_on_top(truth: list[dict[str, Any]], said: dict[str, dict[str, Any]], *, applied: bool) -> None:
    """Assert that `top` says the truth, of what was applied or of the shadow."""
    for definition in ISSUES:
        broken = [one for one in truth if definition.name in one["cases"]]
        fixed = sum(one["repairable"] for one in broken)
        rate = said[definition.name] if applied else said[definition.name]["shadow"]
        assert (len(broken), fixed) == (rate["cases"], rate["fixed"])
        assert pytest.approx(fixed / len(broken)) == rate["fix_ratio"]


@pytest.mark.parametrize("level", LEVELS)
class TestOverSockets:
    """The whole way, over real sockets."""

    pytestmark = e2e

    def test_the_counters_are_the_truth(self, server: str, level: str) -> None:
        """What was broken, whether it can be repaired, and what the application ended with: to the unit."""
        with application(server, level, free_port()) as metrics:
            measured, truth = parse(fetched(metrics)), told(server)
            said = on_top(metrics)

        assert STREAMS == len(truth) == measured.streams
        assert all(one["seen"] and one["whole"] is not None for one in truth)
        agrees(truth, measured, applied=level != "none")
        agrees_on_top(truth, said, applied=level != "none")
        faulty = [one for one in truth if one["cases"]]
        assert all(one["whole"] for one in truth if not one["cases"])
        assert len(faulty) > STREAMS / 3

    @pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
    def test_records_and_panels_are_the_truth_over_a_restart(self, server: str, level: str) -> None:
        """Two lives of one application on one port, scraped until each ended: totals, headline and top say the same."""
        pytest.importorskip("grafana_foundation_sdk")

        port = free_port()
        served: Counter[tuple[str, bool, str]] = Counter()
        with scraped(port) as prometheus:
            for _ in range(2):
                with application(server, level, port, STREAMS // 2) as metrics:
                    time.sleep(6)  # two scrapes at least, and the records that lag behind them
                    life = parse(fetched(metrics))
                    served += life.cases
                    assert life.streams == STREAMS // 2
                time.sleep(4)
            truth = told(server)
            recorded = totals(prometheus)
            shown = asked(prometheus, headline())

        assert dict(served) == recorded
        assert STREAMS == len(truth)
        agrees(truth, Measured(cases=served), applied=level != "none")
        shows(truth, shown, applied=level != "none")

    @pytest.mark.skipif(pipeline.collector() is None, reason="deploy/collector/build.sh has not built the collector")
    @pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
    def test_pauses_forks_a_restart_and_a_killed_collector(self, level: str, tmp_path: Path) -> None:
        """Three processes by OTLP, a collector that is killed while they read, and a second life: not one case is off."""
        pytest.importorskip("grafana_foundation_sdk")
        to = {"GATEWAY_ENDPOINT": "127.0.0.1:9", "GATEWAY_INSECURE": "true"}
        collector = pipeline.Collector(tmp_path, "agent", ["common", "agent"], to)
        otlp = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.ports['http']}",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_SERVICE_NAME": "truth",
        }
        with ExitStack() as running:
            url = running.enter_context(serving(7, SERVER, "--pauses"))
            running.callback(collector.end)
            collector.start()
            prometheus = running.enter_context(scraped(collector.ports["metrics"], faster=12, honor_labels=True))
            killing = Thread(target=killed_at, args=(collector, url, SHORT * 3 // 2))
            killing.start()
            for forks in (2, 0):
                with application(url, level, 0, SHORT, forks, **otlp):
                    killing.join()
                    time.sleep(3)  # an export, and a scrape
            truth = told(url)
            assert SHORT * 4 == len(truth)
            recorded = eventually(lambda: totals(prometheus), sum(len(one["cases"]) for one in truth))
            shown, said = asked(prometheus, headline()), on_top("--prometheus", prometheus)

        agrees(
            truth,
            Measured(cases=Counter({key: int(count) for key, count in recorded.items()})),
            applied=level != "none",
        )
        shows(truth, shown, applied=level != "none")
        agrees_on_top(truth, said, applied=level != "none")


def killed_at(collector: pipeline.Collector, url: str, count: int) -> None:
    """Kill a collector when so many streams were sent, and start it again after a while."""
    pipeline.wait(lambda: json.loads(fetched(f"{url.removesuffix('/v1')}/count"))["streams"] >= count, 120, "streams")
    collector.kill()
    time.sleep(3)
    collector.start()


def eventually(
    look: Callable[[], dict[tuple[str, bool, str], float]], cases: int
) -> dict[tuple[str, bool, str], float]:
    """Return what is recorded once it has so many cases of the three issues, or after a while what there is."""
    deadline = time.monotonic() + 60
    names = {definition.name for definition in ISSUES}
    while sum(count for (issue, _, _), count in look().items() if issue in names) < cases:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    time.sleep(6)  # one evaluation more: nothing comes after it
    return look()


def shows(truth: list[dict[str, Any]], shown: list[dict[str, Any]], *, applied: bool) -> None:
    """Assert that the headline is the share of the streams that were broken and reached the application whole."""
    faulty = [one for one in truth if one["cases"]]
    if not applied:
        assert [] == shown, "what was tried in the shadow is no repair"
    else:
        fixed = sum(one["whole"] for one in faulty if one["repairable"])
        assert [pytest.approx(fixed / len(faulty))] == [float(one["value"][1]) for one in shown]


@contextmanager
def scraped(port: int, *, faster: int = 30, honor_labels: bool = False) -> Iterator[str]:
    """A Prometheus that scrapes a port every second, and records so many times as fast as in production."""
    from dashboards import rules
    from dashboards.records import Options

    with TemporaryDirectory() as name:
        folder = Path(name)
        texts = rules.render(Options(faster=faster))
        rules.write(folder / "rules", {file: text for file, text in texts.items() if "alerts" not in file})
        targets = [
            {
                "job_name": "truth",
                "honor_labels": honor_labels,
                "static_configs": [{"targets": [f"localhost:{port}"]}],
            }
        ]
        settings: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": targets,
        }
        settings["rule_files"] = ["rules/*.yml"]
        (folder / "prometheus.yml").write_text(json.dumps(settings), "utf-8")  # JSON is YAML
        address = f"127.0.0.1:{free_port()}"
        where = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
        environ = {**os.environ, "NO_PROXY": "localhost"}
        with subprocess.Popen(["prometheus", *where], cwd=folder, env=environ, stderr=subprocess.DEVNULL) as program:
            try:
                yield f"http://{address}"
            finally:
                program.terminate()


def asked(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Return what Prometheus answers now."""
    from urllib.parse import quote

    return list(json.loads(fetched(f"{prometheus}/api/v1/query?query={quote(expression)}"))["data"]["result"])


def totals(prometheus: str) -> dict[tuple[str, bool, str], float]:
    """Return the recorded cases, by issue, applied and outcome."""
    from dashboards.records import CASES, total_of

    labels = ("streamwatch_issue", "streamwatch_applied", "streamwatch_outcome")
    found = asked(prometheus, f"sum by ({', '.join(labels)}) ({total_of(CASES)})")
    ended = [([one["metric"][label] for label in labels], float(one["value"][1])) for one in found]
    return {(issue, applied == "true", outcome): count for (issue, applied, outcome), count in ended}


def headline() -> str:
    """Return the query of the overview's fix rate, over a range with everything in it."""
    board = Path(__file__).parents[2] / "dashboards" / "json" / "streamwatch-overview.json"
    (panel,) = [one for one in json.loads(board.read_text("utf-8"))["panels"] if one["title"] == "Fix rate"]
    values = {"__range": "1h", "job": ".+"}
    return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), panel["targets"][0]["expr"])


# --- forks

FORKS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from helpers import sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

reader = InMemoryMetricReader()
StreamwatchInstrumentor().instrument(meter_provider=MeterProvider([reader]))

def read(times):
    for _ in range(times):
        sdk.read("sync", sdk.broken())

def cases():
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics
    found = [one for scope in metrics for one in scope.metrics if one.name == "streamwatch.cases"]
    points = [point for one in found for point in one.data.data_points]
    return {point.attributes["streamwatch.issue"]: point.value for point in points}

read(3)
for times in (2, 4):
    child = os.fork()
    if not child:
        read(times)
        print(json.dumps(cases()), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
read(1)
print(json.dumps(cases()), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_processes_count_the_cases_of_their_own_streams() -> None:
    """None of them the parent's again: what all of them count is what all of them read."""
    tests = str(Path(__file__).parents[1])
    environ = {**os.environ, "STREAMWATCH_REPAIR": "default"}
    ran = subprocess.run(
        [sys.executable, "-c", FORKS, tests], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    counted = [json.loads(line) for line in ran.stdout.splitlines()]

    assert [2, 4, 4] == [one["any_fault"] for one in counted]
    assert [2, 4, 4] == [one["tool_calls"] for one in counted]
