"""Where a team outgrows one process: forked workers, real collectors, Prometheus and Jaeger, and what fails there.

The server that breaks the streams counts what it sends; what Prometheus and Jaeger have at the end is compared with it.
The configurations are those of deploy/, with other ports and shorter waits.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from apps import pipeline
from helpers.ports import free_port

for library in ("openai", "starlette", "uvicorn", "yaml"):
    pytest.importorskip(library, reason=f"{library} is not installed")

from streamwatch.core.vocabulary import Severity
from streamwatch.demo import processes
from streamwatch.synthetic import faults

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(pipeline.collector() is None, reason="deploy/collector/build.sh has not built the collector"),
    pytest.mark.skipif(not pipeline.prometheus_programs(), reason="Prometheus is not installed"),
    pytest.mark.skipif(
        not Path(sys.executable).with_name("opentelemetry-instrument").exists(), reason="the package is not installed"
    ),
]

WORKERS = 8
#: Seconds between two requests of a worker: some 20 streams a second in all, which two busy cores carry.
PAUSE = 0.3
SERVICE = "forked"

#: What a fault of the demo's server does to the condition of its stream.
FAULTY = {name for name, fault in faults.FAULTS.items() if any(kind.severity is Severity.FAULT for kind in fault.kinds)}


class Server(processes.Child):
    """The server that breaks its streams."""

    def __init__(self) -> None:
        super().__init__("server", processes.server_command(7))
        pipeline.wait(lambda: self.last_line, 60, "the server")
        self.base_url = self.last_line
        self.url = self.last_line.removesuffix("/v1")

    def sent(self) -> dict[str, Any]:
        return dict(json.loads(pipeline.get(f"{self.url}/count")))

    def pause(self) -> dict[str, Any]:
        """Finish what is under way; what was sent in all."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/pause", method="POST"), timeout=10).close()
        pipeline.wait(lambda: self.sent()["open"] == 0, 60, "the end of what is under way")
        return self.sent()


class Application:
    """The forked workers, and what each of them said last."""

    def __init__(self, folder: Path, server: Server, endpoint: str, *, pause: float = PAUSE) -> None:
        instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
        program = str(Path(__file__).parents[1] / "apps" / "forked.py")
        telemetry = {
            "OTEL_SERVICE_NAME": SERVICE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
        self.said: dict[int, dict[str, Any]] = {}
        self.slowest: list[tuple[float, float]] = []
        with (folder / "application.log").open("wb") as log:
            self.process = subprocess.Popen(
                [instrument, sys.executable, program, str(WORKERS), str(pause)],
                env={**plain, **processes.app_environ(server.base_url, 0), **telemetry},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._hear, daemon=True)
        self._reader.start()
        pipeline.wait(lambda: len(self.said) == WORKERS and min(self.asked()) > 3, 120, "the workers")

    def _hear(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                told = json.loads(line)
                self.said[told["pid"]] = told
                self.slowest.append((time.monotonic(), told["slowest"]))

    def asked(self) -> list[int]:
        return [told["asked"] for told in self.said.values()]

    def odd(self) -> dict[str, int]:
        """What went wrong that the server did not do."""
        return dict(sum((Counter(told["odd"]) for told in list(self.said.values())), Counter()))

    def slowest_between(self, start: float, end: float) -> float:
        """The longest that any request took, of those that were told of in this time."""
        return max(seconds for when, seconds in self.slowest if start <= when <= end)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                for pid in (self.process.pid, *self.said):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.process.wait()
        self._reader.join(5)


class Relay:
    """A stretch of network that can be cut: what is sent into it then is neither delivered nor refused."""

    def __init__(self, to: int) -> None:
        self._to, self.cut = to, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        while self.cut.is_set():
            time.sleep(0.05)
        try:
            server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            client.close()
            return
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            source.settimeout(None)
            while data := source.recv(65536):
                while self.cut.is_set():
                    time.sleep(0.05)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.close()

    def close(self) -> None:
        self.cut.clear()
        self._listener.close()


class Site:
    """Everything that a test runs, ended after it."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self.folder, self._ended = folder, ended
        self.server = Server()
        ended.callback(self.server.end)

    def run(self, program: Any) -> Any:
        """Start a program."""
        self._ended.callback(program.end)
        program.start()
        return program

    def prometheus(self, collector: pipeline.Collector | None, *flags: str, major: str | None = None) -> Any:
        programs = pipeline.prometheus_programs()
        targets = {"streamwatch-collector-applications": collector.ports["metrics"]} if collector else {}
        program = programs[major or min(programs)]
        return self.run(pipeline.Prometheus(self.folder, program, targets, list(flags)))

    def jaeger(self) -> Any:
        program = pipeline.built("jaeger")
        if program is None:
            pytest.skip("Jaeger is not built: tests/apps/build_module.sh says how")
        return self.run(pipeline.Jaeger(self.folder, program))

    def gateway(self, jaeger: Any = None, **environ: str) -> Any:
        """A gateway that keeps the traces with a fault and no others."""
        quick = {"DECISION_WAIT": "2s", "HEALTHY_TRACES_PERCENT": "0", "TRACES_INSECURE": "true"}
        traces = {"TRACES_ENDPOINT": f"127.0.0.1:{jaeger.grpc if jaeger else 9}"}
        files = ["common", "gateway", *environ.pop("files", "").split()]
        return self.run(pipeline.Collector(self.folder, "gateway", files, {**quick, **traces, **environ}))

    def agent(self, gateway: Any = None, **environ: str) -> Any:
        to = {"GATEWAY_ENDPOINT": f"127.0.0.1:{gateway.ports['grpc'] if gateway else 9}", "GATEWAY_INSECURE": "true"}
        return self.run(pipeline.Collector(self.folder, "agent", ["common", "agent"], {**to, **environ}))

    def application(self, port: int, **options: Any) -> Application:
        application = Application(self.folder, self.server, f"http://127.0.0.1:{port}", **options)
        self._ended.callback(application.end)
        return application

    def relay(self, to: int) -> Relay:
        relay = Relay(to)
        self._ended.callback(relay.close)
        return relay


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as ended:
        yield Site(tmp_path, ended)


def faulty(sent: dict[str, Any]) -> int:
    """How many streams had a fault."""
    return sum(count for name, count in sent["faults"].items() if name in FAULTY)


def assert_exact(prometheus: Any, sent: dict[str, Any], seconds: float = 30) -> None:
    """Prometheus has what the server sent: streams, verdicts, conditions, cases, each worker under its own identity."""
    issues = "|".join(sent["cases"])

    def told() -> tuple[Any, ...]:
        verdicts = prometheus.sums("sum by (streamwatch_verdict) (streamwatch_streams_total)", "streamwatch_verdict")
        return (
            prometheus.total("streamwatch_streams_total"),
            verdicts.get("truncated", 0),
            verdicts.get("empty", 0),
            verdicts.get("error", 0),
            prometheus.total('streamwatch_streams_total{streamwatch_condition!="clean"}'),
            prometheus.total("streamwatch_stream_duration_seconds_count"),
            prometheus.total("streamwatch_internal_errors_total"),
            prometheus.sums(
                f'sum by (streamwatch_issue) (streamwatch_cases_total{{streamwatch_issue=~"{issues}"}})',
                "streamwatch_issue",
            ),
        )

    done = sent["faults"]
    errors = done["chat_error"] + done["responses_error"]
    cases = {issue: counts["repairable"] + counts["broken"] for issue, counts in sent["cases"].items()}
    expected = sent["streams"], done["truncated"], done["empty"], errors, faulty(sent), sent["streams"], 0, cases
    with suppress(AssertionError):  # what follows says it better
        pipeline.wait(lambda: told() == expected, seconds, "the counts")
    assert expected == told()
    instances = prometheus.sums("count by (instance) (streamwatch_streams_total)", "instance")
    assert WORKERS == len(instances)


def assert_traces(jaeger: Any, sent: dict[str, Any], seconds: float = 30) -> None:
    """Jaeger has each stream with a fault, and no other."""
    with suppress(AssertionError):
        pipeline.wait(lambda: len(jaeger.streams(SERVICE)) >= faulty(sent), seconds, "the traces")
    conditions = [span["streamwatch.condition"] for span in jaeger.streams(SERVICE)]
    assert {"broken", "repaired"} == set(conditions)
    assert faulty(sent) == len(conditions)


def assert_unnoticed(application: Application, before: tuple[float, float], during: tuple[float, float]) -> None:
    """The application had no error that the server did not send, and was not held up."""
    assert {} == application.odd()
    usual = application.slowest_between(*before)
    # Loosely, as the machine may be busy: an exporter that blocks would take its timeout, which is 10 s.
    assert application.slowest_between(*during) < 3 * usual + 1


def test_scraped_the_counts_are_the_servers_and_jaeger_has_every_stream_with_a_fault(site: Site) -> None:
    """Workers -> agent -> Prometheus; traces -> agent -> gateway, which chooses -> Jaeger."""
    jaeger = site.jaeger()
    gateway = site.gateway(jaeger)
    agent = site.agent(gateway)
    prometheus = site.prometheus(agent, "--enable-feature=exemplar-storage")
    application = site.application(agent.ports["http"])
    time.sleep(10)
    sent = site.server.pause()

    assert {} == application.odd()
    assert_exact(prometheus, sent)
    assert_traces(jaeger, sent)
    (job,) = prometheus.sums("count by (job) (streamwatch_streams_total)", "job")
    assert SERVICE == job
    spans = jaeger.streams(SERVICE)
    assert WORKERS >= len({span["process.service.instance.id"] for span in spans}) > 1
    assert all(span["process.host.name"] for span in spans)


@pytest.mark.parametrize("major", ["2", "3"])
def test_written_remotely_the_counts_are_the_servers_also_after_prometheus_was_killed(site: Site, major: str) -> None:
    """Workers -> gateway -> remote write; Prometheus is killed in the middle and comes back with its data."""
    if major not in pipeline.prometheus_programs():
        pytest.skip(f"there is no Prometheus {major}")
    prometheus = site.prometheus(None, "--web.enable-remote-write-receiver", major=major)
    gateway = site.gateway(REMOTE_WRITE_ENDPOINT=f"{prometheus.url}/api/v1/write")
    application = site.application(gateway.ports["http"])
    calm = time.monotonic()
    time.sleep(5)
    killed = time.monotonic()
    prometheus.kill()
    time.sleep(5)
    prometheus.start()
    back = time.monotonic()
    time.sleep(4)
    sent = site.server.pause()

    assert_exact(prometheus, sent)
    assert_unnoticed(application, (calm, killed), (killed, back))


def test_by_otlp_prometheus_3_has_the_counts_and_exemplars(site: Site) -> None:
    """Workers -> gateway -> the OTLP receiver of Prometheus 3; the committed rules are evaluated there."""
    if "3" not in pipeline.prometheus_programs():
        pytest.skip("Prometheus 3 is not built: tests/apps/build_module.sh says how")
    flags = ["--web.enable-otlp-receiver", "--enable-feature=exemplar-storage"]
    prometheus = site.prometheus(None, *flags, major="3")
    gateway = site.gateway(files="gateway-otlp-metrics", PROMETHEUS_OTLP_ENDPOINT=f"{prometheus.url}/api/v1/otlp")
    site.application(gateway.ports["http"])
    begun = time.time()
    time.sleep(8)
    sent = site.server.pause()

    assert_exact(prometheus, sent)
    query = "streamwatch_stream_duration_seconds_bucket"
    found = prometheus.api("query_exemplars", query=query, start=str(begun - 60), end=str(time.time()))
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces
    assert all(len(trace) == 32 for trace in traces)
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 50
    assert [] == [rule["name"] for rule in rules if rule["health"] == "err"]


def test_a_killed_agent_costs_the_application_nothing_and_counts_are_right_again(site: Site) -> None:
    """Killed and started 5 s later: values are cumulative, so that what was missed is in the next ones."""
    agent = site.agent()
    prometheus = site.prometheus(agent)
    application = site.application(agent.ports["http"])
    calm = time.monotonic()
    time.sleep(5)
    killed = time.monotonic()
    agent.kill()
    time.sleep(5)
    agent.start()
    back = time.monotonic()
    time.sleep(4)
    sent = site.server.pause()

    assert_exact(prometheus, sent)
    assert_unnoticed(application, (calm, killed), (killed, back))


def test_what_the_agent_took_is_on_disk_and_outlives_the_gateway_and_the_agent_itself(site: Site) -> None:
    """The gateway is stopped as for an upgrade; then the agent is killed too; every stream with a fault arrives."""
    jaeger = site.jaeger()
    gateway = site.gateway(jaeger)
    agent = site.agent(gateway)
    prometheus = site.prometheus(agent)
    application = site.application(agent.ports["http"])
    gateway.end()
    time.sleep(5)
    sent = site.server.pause()
    # The workers' own queues first: what has not left them is not the agent's to keep.
    pipeline.wait(lambda: agent.own("otelcol_receiver_accepted_spans.*") >= sent["streams"], 30, "all spans")
    agent.kill()
    agent.start()
    gateway.start()

    assert {} == application.odd()
    assert_traces(jaeger, sent, 60)
    assert_exact(prometheus, sent)


def test_a_cut_network_holds_nothing_up(site: Site) -> None:
    """Packets that vanish for 12 s, longer than an export may take: no request waits for them."""
    agent = site.agent()
    prometheus = site.prometheus(agent)
    relay = site.relay(agent.ports["http"])
    application = site.application(relay.port)
    calm = time.monotonic()
    time.sleep(5)
    begun = time.monotonic()
    relay.cut.set()
    time.sleep(12)
    ended = time.monotonic()
    relay.cut.clear()
    time.sleep(3)
    sent = site.server.pause()

    assert_exact(prometheus, sent, 60)
    assert_unnoticed(application, (calm, begun), (begun, ended))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("it takes root to mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_spans_and_nothing_else(site: Site, small_disk: Path) -> None:
    """With the gateway gone, the queue fills its disk: counts stay exact; spans go on when the gateway is back."""
    jaeger = site.jaeger()
    gateway = site.gateway(jaeger)
    agent = site.agent(gateway, QUEUE_DIRECTORY=str(small_disk))
    prometheus = site.prometheus(agent)
    application = site.application(agent.ports["http"])
    calm = time.monotonic()
    time.sleep(4)
    gateway.end()
    begun = time.monotonic()
    pipeline.wait(lambda: agent.own("otelcol_exporter_enqueue_failed_spans.*") > 0, 120, "the full disk")
    ended = time.monotonic()
    gateway.start()
    before = len(jaeger.streams(SERVICE))
    pipeline.wait(lambda: len(jaeger.streams(SERVICE)) > before + 20, 90, "spans after the gateway came back")
    sent = site.server.pause()

    assert_exact(prometheus, sent)
    assert_unnoticed(application, (calm, begun), (begun, ended))
    assert agent.ready()


def test_names_and_labels_are_those_of_the_endpoint_in_the_process(site: Site) -> None:
    """Whatever way the metrics take, dashboards and rules find them."""
    agent = site.agent()
    port = free_port()
    environ = {
        **processes.app_environ(site.server.base_url, port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{agent.ports['http']}",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    application = processes.Child("application", processes.app_command(10), environ)
    try:
        time.sleep(8)
        site.server.pause()
        time.sleep(3)
        own = names_and_labels(pipeline.get(f"http://localhost:{port}/metrics"))
        collected = names_and_labels(pipeline.get(f"http://127.0.0.1:{agent.ports['metrics']}/metrics"))
    finally:
        application.end()

    assert own
    assert own == collected


def names_and_labels(exposition: str) -> dict[str, set[frozenset[str]]]:
    """Streamwatch's samples, by name, and the names of their labels; without those that say whose they are."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name.startswith("streamwatch_"):
                found.setdefault(sample.name, set()).add(frozenset(sample.labels) - {"job", "instance"})
    return found
