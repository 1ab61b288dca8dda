"""`opentelemetry-instrument python app.py` with nothing configured, and with everything that can go wrong."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import logging
import os
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
from opentelemetry.instrumentation.dependencies import DependencyConflict, DependencyConflictError
from prometheus_client import CollectorRegistry

from helpers.instrumented import command, environment, finished, finished_alone
from helpers.listening import Listener
from helpers.ports import taken
from streamwatch.otel import distro, notices
from streamwatch.otel.endpoint import Endpoint

OTLP_ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
OTLP_METRICS = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"

#: Counts three hits, shows what its endpoints serve, and leaves without waiting for exporters.
APP = """
    import os, sys, urllib.request
    from opentelemetry import metrics
    hits = metrics.get_meter("app").create_counter("hits")
    hits.add(3)

    def served(port):
        try:
            text = urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10).read().decode()
        except OSError:
            return None
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("hits_total"))

    first = int(os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"])
"""


@pytest.fixture
def endpoint() -> Iterator[type[Endpoint]]:
    """Makes endpoints that are closed after the test."""
    made = []

    class Closed(Endpoint):
        def __init__(self, environ: dict[str, str]) -> None:
            super().__init__(environ)
            made.append(self)

    yield Closed
    for one in made:
        if one.server is not None:
            one.server.shutdown()
            one.server.server_close()


def instrumented(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as `opentelemetry-instrument` runs it, with nothing configured but `environ`."""
    return finished(command(code), **environ)


def installed(path: Path, name: str, entry_points: str, code: str = "") -> Path:
    """A distribution of this name, installed in a directory of its own."""
    info = path / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    (path / f"{name}.py").write_text(textwrap.dedent(code))
    return path


class Raises:
    """An exporter or an instrumentor that fails."""

    error: Exception = RuntimeError("no")

    def __init__(self) -> None:
        raise self.error


class Exports:
    """An exporter that works."""

    def shutdown(self) -> None:
        pass


# -- what is set where the user said nothing ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, "none", "prometheus"),
        ({OTLP_ALL: "http://collector:4318"}, "otlp", "prometheus,otlp"),
        ({OTLP_ALL: ""}, "none", "prometheus"),
        ({OTLP_TRACES: "http://collector:4318/v1/traces"}, "otlp", "prometheus"),
        ({OTLP_METRICS: "http://collector:4318/v1/metrics"}, "none", "prometheus,otlp"),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://collector:4318/v1/logs"}, "none", "prometheus"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, "otlp", "prometheus,otlp"),
        ({"OTEL_TRACES_EXPORTER": "", "OTEL_METRICS_EXPORTER": ""}, "none", "prometheus"),
    ],
)
def test_metrics_go_to_prometheus_and_by_otlp_only_what_otlp_is_set_up_for(
    environ: dict[str, str], traces: str, metrics: str
) -> None:
    """Nothing is sent anywhere by our choice, and a signal's own variable speaks for this signal alone."""
    assert {
        "OTEL_PYTHON_CONFIGURATOR": "streamwatch",
        "OTEL_TRACES_EXPORTER": traces,
        "OTEL_METRICS_EXPORTER": metrics,
        "OTEL_LOGS_EXPORTER": "none",
    } == distro.defaults(environ)


@pytest.mark.parametrize("named", ["none", "console", "prometheus,otlp", "no_such_exporter"])
def test_what_the_user_names_stays(named: str) -> None:
    """No default replaces a variable that is set."""
    said = {f"OTEL_{signal}_EXPORTER": named for signal in ("TRACES", "METRICS", "LOGS")}

    assert {"OTEL_PYTHON_CONFIGURATOR": "streamwatch"} == distro.defaults({**said, OTLP_ALL: "http://collector:4318"})


def test_a_disabled_sdk_gets_no_exporters() -> None:
    """OTEL_SDK_DISABLED means that no port is taken either."""
    assert {"OTEL_PYTHON_CONFIGURATOR": "streamwatch"} == distro.defaults({"OTEL_SDK_DISABLED": "TRUE"})


def test_another_configurator_gets_no_defaults_of_ours() -> None:
    """It would start OpenTelemetry's own endpoint, where a busy port costs everything."""
    assert {} == distro.defaults({"OTEL_PYTHON_CONFIGURATOR": "configurator"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "streamwatch"),
        ({"OTEL_PYTHON_DISTRO": ""}, "streamwatch"),
        ({"OTEL_PYTHON_DISTRO": "other"}, "other"),
        ({"OTEL_PYTHON_CONFIGURATOR": "other"}, None),
    ],
)
def test_our_distro_is_named_where_the_user_named_nothing(
    before: dict[str, str], after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming a distro or a configurator is a choice, and choices stay."""
    for name in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "streamwatch.otel.environment_variables", raising=False)

    importlib.import_module("streamwatch.otel.environment_variables")

    assert after == os.environ.get("OTEL_PYTHON_DISTRO")
    assert before.get("OTEL_PYTHON_CONFIGURATOR") == os.environ.get("OTEL_PYTHON_CONFIGURATOR")


# -- exporters ------------------------------------------------------------------------------------------------------


def test_an_exporter_that_cannot_be_used_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The others named beside it stay, in their order."""
    environ = {"OTEL_METRICS_EXPORTER": "nope, prometheus,none,console,,prometheus"}

    assert ["streamwatch_prometheus", "console"] == distro.usable_exporters("METRICS", environ)
    assert [
        (
            "streamwatch: metrics exporter 'nope' cannot be used; going on without it "
            "(LookupError: no installed package has 'nope' among its metrics exporters)"
        )
    ] == caplog.messages


def test_an_exporter_that_raises_is_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry makes exporters unguarded, so each is made once before."""
    exporters = {
        "bad": EntryPoint("bad", f"{__name__}:Raises", ""),
        "good": EntryPoint("good", f"{__name__}:Exports", ""),
    }
    monkeypatch.setattr(distro, "entry_points", lambda group, name: [exporters[name]])

    assert ["good"] == distro.usable_exporters("LOGS", {"OTEL_LOGS_EXPORTER": "bad,good"})
    assert [
        "streamwatch: logs exporter 'bad' cannot be used; going on without it (RuntimeError: no)"
    ] == caplog.messages


@pytest.mark.parametrize(
    ("environ", "exporters"),
    [
        ({}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp_proto_http"]),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            ["otlp_proto_http"],
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, []),
    ],
)
def test_otlp_is_http_unless_the_user_says_otherwise(environ: dict[str, str], exporters: list[str]) -> None:
    """The name `otlp` means the exporter that is installed with us."""
    assert exporters == distro.usable_exporters("TRACES", {"OTEL_TRACES_EXPORTER": "otlp", **environ})


@pytest.mark.parametrize("grpc_is_installed", [True, False])
def test_otlp_is_grpc_for_who_has_it_and_sends_to_its_port(
    grpc_is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setup that worked before we were installed goes on working."""
    monkeypatch.setattr(distro, "entry_points", lambda group, name: ["an exporter"] if grpc_is_installed else [])

    assert "grpc" == distro.otlp_protocol("TRACES", {OTLP_ALL: "http://c:4317/"}) or not grpc_is_installed
    assert "http/protobuf" == distro.otlp_protocol("TRACES", {OTLP_ALL: "http://c:4317/"}) or grpc_is_installed
    assert "http/protobuf" == distro.otlp_protocol("TRACES", {OTLP_ALL: "http://c:4317", OTLP_TRACES: "http://c:4318"})


# -- instrumentors --------------------------------------------------------------------------------------------------


def test_an_instrumentor_that_fails_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Any exception but the two kinds that the caller expects would end the loop over all instrumentors."""
    distro.StreamwatchDistro().load_instrumentor(EntryPoint("bad", f"{__name__}:Raises", "opentelemetry_instrumentor"))

    assert ["streamwatch: bad is not instrumented (RuntimeError: no)"] == caplog.messages


@pytest.mark.parametrize(
    "error", [ImportError("no"), ModuleNotFoundError("no"), DependencyConflictError(DependencyConflict("a", "b"))]
)
def test_the_caller_hears_of_missing_packages_as_ever(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry logs these itself, at the level that it thinks right."""
    monkeypatch.setattr(Raises, "error", error)

    with pytest.raises(type(error)):
        distro.StreamwatchDistro().load_instrumentor(
            EntryPoint("bad", f"{__name__}:Raises", "opentelemetry_instrumentor")
        )


# -- the endpoint ---------------------------------------------------------------------------------------------------


def test_the_endpoint_is_on_9464_to_9473_of_localhost() -> None:
    """The port that OpenTelemetry's specification names, and nine more."""
    endpoint = Endpoint({})

    assert ("localhost", range(9464, 9474)) == (endpoint.host, endpoint.ports)


@pytest.mark.parametrize(
    ("text", "ports"), [("1234", range(1234, 1244)), (" 1234 ", range(1234, 1244)), ("65530", range(65530, 65536))]
)
def test_the_ports_begin_with_the_one_that_is_set(text: str, ports: range) -> None:
    """And end with the last port there is."""
    assert ports == Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": text}).ports


@pytest.mark.parametrize("text", ["http", "-1", "65536", "9464.0", "²"])
def test_a_malformed_port_is_named_in_one_warning(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """The usual ports are used."""
    assert range(9464, 9474) == Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": text}).ports
    assert [
        f"streamwatch: OTEL_EXPORTER_PROMETHEUS_PORT={text!r} is not a port, which is a number from 0 to 65535; using 9464"
    ] == caplog.messages


def test_a_free_port_is_taken_without_a_word(
    endpoint: type[Endpoint], ports: range, caplog: pytest.LogCaptureFixture
) -> None:
    """The metrics are where everybody expects them."""
    one = endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})

    one.serve(CollectorRegistry())

    assert ports[0] == one.server.server_port
    assert 200 == urllib.request.urlopen(f"http://localhost:{ports[0]}/metrics", timeout=10).status
    assert [] == caplog.messages


def test_port_0_is_any_free_port_and_said_at_info(endpoint: type[Endpoint], caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for any port must be able to learn which."""
    one = endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": "0"})

    with caplog.at_level(logging.INFO, "streamwatch"):
        one.serve(CollectorRegistry())

    assert 0 != one.server.server_port
    where = f"streamwatch: Prometheus metrics of process {os.getpid()} are on port {one.server.server_port}"
    assert [("streamwatch", logging.INFO, where)] == caplog.record_tuples


def test_a_busy_port_costs_one_warning(
    endpoint: type[Endpoint], ports: range, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the port that is in use and the one that is used instead."""
    one = endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})

    with taken(ports[0]), taken(ports[1]):
        one.serve(CollectorRegistry())

    assert ports[2] == one.server.server_port
    said = f"port {ports[0]} is in use; Prometheus metrics of process {os.getpid()} are on {ports[2]}"
    assert [("streamwatch", logging.WARNING, f"streamwatch: {said}")] == caplog.record_tuples


def test_ten_busy_ports_cost_one_warning_and_the_endpoint(
    endpoint: type[Endpoint], ports: range, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing else."""
    one = endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})

    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(taken(port))
        one.serve(CollectorRegistry())

    assert one.server is None
    said = f"no Prometheus endpoint for process {os.getpid()}: no port from {ports[0]} to {ports[-1]} is free"
    assert [f"streamwatch: {said}"] == caplog.messages


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "203.0.113.1"])
def test_a_host_that_cannot_be_used_is_named_in_one_warning(
    host: str, endpoint: type[Endpoint], ports: range, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown, malformed or not of this machine: localhost is used."""
    one = endpoint({"OTEL_EXPORTER_PROMETHEUS_HOST": host, "OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})

    one.serve(CollectorRegistry())

    assert ports[0] == one.server.server_port
    assert [f"streamwatch: OTEL_EXPORTER_PROMETHEUS_HOST={host!r} is not usable; using localhost"] == [
        message.split(" (")[0] for message in caplog.messages
    ]


def test_a_warning_reaches_stderr_past_handlers_that_show_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry puts a handler on the root logger, which keeps Python from writing to stderr itself."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])

    notices.say("a word")
    notices.say("a whisper", logging.INFO)

    assert "streamwatch: a word\n" == capsys.readouterr().err


# -- whole processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow  # the process that forks below serves its metrics in a quick run
def test_an_application_with_nothing_configured_serves_its_metrics(ports: range) -> None:
    """No word on stderr, no connection error, and neither openai nor an OTLP exporter is imported."""
    ran = instrumented(
        APP + "    print(served(first), [name for name in ('openai', 'requests', 'httpx') if name in sys.modules])",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
    )

    assert ("3.0 []\n", "") == (ran.stdout, ran.stderr)


@pytest.mark.slow  # without a process, the tests above have it
def test_a_busy_port_costs_a_process_nothing_but_the_port(ports: range) -> None:
    """The warning is on stderr although nobody configured logging, and every exporter goes on."""
    with taken(ports[0]):
        ran = instrumented(
            APP + "    print(served(first + 1))",
            OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
            OTEL_METRICS_EXPORTER="prometheus,console",
        )

    said, printed = ran.stderr.split(), ran.stdout.splitlines()
    assert "3.0" == printed[0]
    assert any('"name": "hits"' in line for line in printed[1:])
    assert f"streamwatch: port {ports[0]} is in use;".split() == said[:6]
    assert 1 == ran.stderr.count("\n")


@pytest.mark.slow
def test_a_helper_of_pythons_takes_no_port(ports: range) -> None:
    """multiprocessing starts its resource tracker with the environment of the application, and before the workers."""
    done = instrumented(
        f"""
        import urllib.request
        from multiprocessing import resource_tracker, shared_memory
        shared_memory.SharedMemory(create=True, size=1).unlink()
        assert resource_tracker._resource_tracker._pid
        import time; time.sleep(3)
        for port in ({ports[0]}, {ports[1]}):
            try:
                print(urllib.request.urlopen(f"http://localhost:{{port}}/metrics", timeout=10).status)
            except OSError:
                print("nobody")
        """,
        OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
    )

    assert (["200", "nobody"], 0) == (done.stdout.split(), done.returncode)


@pytest.mark.slow
def test_processes_that_start_at_once_each_have_an_endpoint(ports: range) -> None:
    """No two processes get the same port, and no process loses anything to the race."""
    code = (
        APP.replace("add(3)", "add(os.getpid())")
        + """
    print(os.getpid(), flush=True)
    sys.stdin.read()
    """
    )
    processes = [
        subprocess.Popen(
            command(code),
            env=environment(OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        pids = {float(process.stdout.readline()) for process in processes}  # type: ignore[union-attr]
        texts = [urllib.request.urlopen(f"http://localhost:{port}", timeout=10).read().decode() for port in ports[:4]]
    finally:
        for process in processes:
            process.communicate(timeout=30)

    hits = [line.split()[-1] for text in texts for line in text.splitlines() if line.startswith("hits_total")]
    assert 4 == len(pids)
    assert sorted(pids) == sorted(map(float, hits))


@pytest.mark.slow
def test_an_exporter_that_fails_costs_a_process_no_other(ports: range) -> None:
    """One warning each, and the metrics are served."""
    ran = instrumented(
        APP + "    print(served(first), os.environ['OTEL_METRICS_EXPORTER'])",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
        OTEL_TRACES_EXPORTER="nope",
        OTEL_METRICS_EXPORTER="prometheus,nope",
    )

    assert "3.0 prometheus,nope\n" == ran.stdout
    assert [f"streamwatch: {signal} exporter 'nope' cannot be used;" for signal in ("traces", "metrics")] == [
        line.split(" going")[0] for line in ran.stderr.splitlines()
    ]


@pytest.mark.slow
def test_a_disabled_sdk_takes_no_port_and_changes_no_exporter(ports: range) -> None:
    """What is put into the environment for OpenTelemetry to read is gone afterward."""
    ran = instrumented(
        APP + "    print(served(first), sorted(name for name in os.environ if name.endswith('S_EXPORTER')))",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
        OTEL_SDK_DISABLED="true",
    )

    assert ("None []\n", "") == (ran.stdout, ran.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environ", "exemplars"),
    [
        ({}, 0),
        ({"OTEL_TRACES_EXPORTER": "nope"}, 0),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": ""}, 0),
        ({"OTEL_TRACES_EXPORTER": "console"}, 1),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "trace_based"}, 1),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}, 0),
    ],
)
def test_exemplars_lead_to_traces_that_somebody_has(environ: dict[str, str], exemplars: int, ports: range) -> None:
    """Where no spans are exported there are none, unless the user wants them; our choice is not left behind."""
    code = (
        APP
        + """
    from opentelemetry import trace
    with trace.get_tracer("app").start_as_current_span("request"):
        hits.add(1)
    asked = urllib.request.Request(f"http://localhost:{first}", headers={"Accept": "application/openmetrics-text"})
    text = urllib.request.urlopen(asked, timeout=10).read().decode()
    print("exemplars:", text.count("trace_id="), os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER"))
    """
    )
    ran = instrumented(code, OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]), **environ)

    assert f"exemplars: {exemplars} {environ.get('OTEL_METRICS_EXEMPLAR_FILTER')}" in ran.stdout.splitlines()


@pytest.mark.slow
def test_a_failing_instrumentor_costs_no_other(ports: range, tmp_path: Path) -> None:
    """Also where it stands first, and where an exporter cannot be made and no port is free."""
    installed(
        tmp_path,
        "instrumentors",
        """
        [opentelemetry_instrumentor]
        a_bad = instrumentors:Bad
        b_good = instrumentors:Good
        """,
        """
        class Bad:
            def instrument(self, **kwargs):
                raise RuntimeError("no")
        class Good:
            def instrument(self, **kwargs):
                print("good is loaded")
        """,
    )
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(taken(port))
        ran = instrumented(
            APP, PYTHONPATH=str(tmp_path), OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]), OTEL_TRACES_EXPORTER="nope"
        )

    assert "good is loaded\n" == ran.stdout
    assert ["traces", "no", "a_bad"] == [line.split()[1] for line in ran.stderr.splitlines()]


@pytest.mark.slow
def test_another_distro_that_the_user_names_is_left_alone(tmp_path: Path) -> None:
    """No default, no endpoint, no exporter: its own configurator runs."""
    installed(
        tmp_path,
        "another",
        """
        [opentelemetry_distro]
        another = another:Distro
        [opentelemetry_configurator]
        another = another:Configurator
        """,
        """
        from opentelemetry.instrumentation.distro import BaseDistro
        class Distro(BaseDistro):
            def _configure(self, **kwargs):
                print("another distro")
        class Configurator:
            def configure(self, **kwargs):
                print("another configurator", sorted(kwargs))
        """,
    )
    code = "import os; print(sorted(name for name in os.environ if name.startswith('OTEL_') and 'DIS' not in name))"
    ran = instrumented(code, PYTHONPATH=str(tmp_path), OTEL_PYTHON_DISTRO="another")

    assert "another distro\nanother configurator ['auto_instrumentation_version']\n[]\n" == ran.stdout


@pytest.mark.slow
def test_our_distro_is_chosen_among_several(ports: range, tmp_path: Path) -> None:
    """Also where another one stands first in the directory, and nothing is named."""
    installed(
        tmp_path,
        "another",
        """
        [opentelemetry_distro]
        another = another:Distro
        [opentelemetry_configurator]
        another = another:Configurator
        """,
        "raise SystemExit('must not be imported')",
    )
    ran = instrumented(
        APP + "    print(served(first))", PYTHONPATH=str(tmp_path), OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0])
    )

    assert "3.0\n" == ran.stdout


def test_our_configurator_makes_way_where_our_distro_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenTelemetry takes the first configurator that it finds, which can be ours under another distro."""
    configured = []

    class Other:
        name = "other"

        def load(self) -> type[Other]:
            return Other

        def configure(self, **kwargs: str) -> None:
            configured.append(kwargs)

    monkeypatch.delenv("OTEL_PYTHON_CONFIGURATOR", raising=False)
    monkeypatch.setattr(distro, "entry_points", lambda group: [EntryPoint("streamwatch", "", group), Other(), Other()])

    distro.StreamwatchConfigurator().configure(auto_instrumentation_version="1")

    assert [{"auto_instrumentation_version": "1"}] == configured


@pytest.mark.slow
def test_a_meter_provider_that_is_already_set_stays(ports: range) -> None:
    """Auto-instrumentation can be started from code, after the application has set its own provider."""
    code = (
        APP
        + """
    from opentelemetry.sdk.metrics import MeterProvider
    own = MeterProvider(shutdown_on_exit=False)
    metrics.set_meter_provider(own)
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize()
    print(metrics.get_meter_provider() is own, served(first))
    """
    )
    done = finished_alone(code, OTEL_PYTHON_DISTRO="streamwatch", OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]))

    assert "True None\n" == done.stdout
    assert 1 == sum(line.startswith("streamwatch: no Prometheus endpoint") for line in done.stderr.splitlines())


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """The address of an OTLP collector, and the paths that were posted to."""
    paths: list[str] = []

    class Posts(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with Listener(("127.0.0.1", 0), Posts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "path", "posted"),
    [(OTLP_ALL, "", {"/v1/metrics", "/v1/traces"}), (OTLP_TRACES, "/v1/traces", {"/v1/traces"})],
)
def test_otlp_carries_what_it_is_set_up_for_beside_the_endpoint(
    variable: str, path: str, posted: set[str], ports: range, collector: tuple[str, list[str]]
) -> None:
    """An endpoint for all signals is for traces and metrics; one for traces is for traces."""
    address, paths = collector
    code = (
        APP
        + """
    from opentelemetry import trace
    trace.get_tracer("app").start_span("span").end()
    print(served(first))
    """
    )
    ran = instrumented(code, OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]), **{variable: address + path})

    assert ("3.0\n", "") == (ran.stdout, ran.stderr)
    assert posted == set(paths)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_counts_from_zero_on_a_port_of_its_own(ports: range) -> None:
    """No count of the parent is served twice, and the parent's port is let go."""
    code = (
        APP
        + """
    import time
    to_child, from_child = os.pipe(), os.pipe()
    if os.fork() == 0:
        time.sleep(0.5)  # the reader of the child is added by a thread
        hits.add(1)
        os.read(to_child[0], 1)
        os._exit(0)
    deadline = time.monotonic() + 6
    while served(first + 1) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    print(served(first), served(first + 1), served(first + 2))
    os.write(to_child[1], b"x")
    os.wait()
    """
    )
    ran = instrumented(code, OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]))

    if tuple(map(int, version("opentelemetry-sdk").split(".")[:2])) >= (1, 43):
        assert ("3.0 1.0 None\n", "") == (ran.stdout, ran.stderr)
    else:
        assert "3.0 None None\n" == ran.stdout
        assert 1 == ran.stderr.count("no Prometheus endpoint for forked process")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_keep_the_port_of_its_parent(ports: range) -> None:
    """A parent that is started anew finds its port free, while children of the old one still work."""
    code = (
        APP
        + """
    import socket, time
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.05)
        try:
            socket.create_connection(("localhost", first), timeout=10)
            print("kept")
        except ConnectionRefusedError:
            print("free")
        sys.stdout.flush()
    os._exit(0)
    """
    )
    ran = instrumented(code, OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]))

    assert ("free\n", "") == (ran.stdout, ran.stderr)
