"""`streamwatch doctor` tells what is really in force, the worst first, and no secret."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.listening import Listener
from streamwatch import __version__
from streamwatch.cli import main
from streamwatch.cli.common import scraping  # noqa: F401 -- the modules
from streamwatch.cli.common.environment import SETTINGS
from streamwatch.cli.doctor import command as module
from streamwatch.cli.doctor import installed
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

MAIN = [sys.executable, "-c", "from streamwatch.cli import main; main()", "doctor"]
SECRETS = {
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic hunter2hunter2,x=hunter8hunter8",
    "OPENAI_API_KEY": "sk-hunter3hunter3",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hunter4hunter4@localhost:9/v1?token=hunter5",
    "OTEL_RESOURCE_ATTRIBUTES": "key=hunter6",
    "STREAMWATCH_REPAIR": "sk-hunter7hunter7",
}
#: What a healthy self-test tells, without the trouble of one.
HEALTHY: dict[str, Any] = {
    "error": "",
    "active": True,
    "hooked": True,
    "openai": "3.0",
    "readings": [
        {"stream": "chat text", "fault": [], "way": "sync", "came": "as sent", "right": True, "verdict": "complete"}
    ],
    "counted": 1,
    "fills_dicts": True,
    "unfilled": "",
    "said": [],
    "at_start": [],
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, ports: range) -> None:
    """Nothing is configured, but for a port that nobody has."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "STREAMWATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(ports[0]))


@pytest.fixture(autouse=True, scope="module")
def _installed() -> Iterator[None]:
    """What is installed stays the same, and to find it out takes 50 ms each time that somebody asks."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("entry_points", "version"):
            patch.setattr(importlib.metadata, name, functools.cache(getattr(importlib.metadata, name)))
        yield


@pytest.fixture(scope="module")
def distribution() -> importlib.metadata.Distribution:
    """What is installed of this package: OpenTelemetry finds nothing of ours without it."""
    try:
        return importlib.metadata.distribution("openai-streamwatch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("openai-streamwatch is not installed here")


@pytest.fixture
def trial(distribution: importlib.metadata.Distribution, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the self-test tells, to be changed."""
    told = json.loads(json.dumps(HEALTHY))
    monkeypatch.setattr(module, "tried_out", lambda environ, serves: {**told, "serves": serves})
    # What this environment happens to have is another test's.
    monkeypatch.setattr(installed, "diagnostics", lambda environ: iter(()))
    return told  # type: ignore[no-any-return]


def findings(**environ: str) -> list[tuple[bool, str]]:
    """What is found in an environment: whether it is a problem, and what it is."""
    seen = module.examine({**os.environ, **environ})
    assert all(one["remedy"] for one in seen["findings"])
    return [(one["problem"], one["what"]) for one in seen["findings"]]


def run(*arguments: str, **environ: str) -> Result:
    """The command, in this process."""
    return CliRunner(env=environ).invoke(main, ["doctor", *arguments])


@contextlib.contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[int]:
    """A server on localhost that answers every request in this way."""
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {})
    handler.do_GET = handler.do_POST = answer  # type: ignore[attr-defined]
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with Listener(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


def answering(body: bytes, status: int = 200) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Answers with a body."""

    def answer(self: http.server.BaseHTTPRequestHandler) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    return answer


# --- for real


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    """A real run with secrets in the environment, of which nothing may be seen."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
    port = {"OTEL_EXPORTER_PROMETHEUS_PORT": "0", "STREAMWATCH_REPIAR": "none"}
    ran = subprocess.run(
        [*MAIN, "--json"], env={**environ, **SECRETS, **port}, capture_output=True, text=True, timeout=300
    )
    assert "hunter" not in ran.stdout + ran.stderr
    return {**json.loads(ran.stdout), "exit": ran.returncode}


@pytest.mark.slow
@pytest.mark.usefixtures("distribution")
def test_the_installed_client_reads_streams_under_the_real_hook(examined: dict[str, Any]) -> None:
    """Healthy streams come as they were sent, broken ones repaired, and each is counted."""
    tried = examined["selftest"]

    assert ("", True, True) == (tried["error"], tried["active"], tried["hooked"])
    assert {"sync", "async"} == {reading["way"] for reading in tried["readings"]}
    for reading in tried["readings"]:
        assert reading["right"], reading
        assert reading["came"] == ("repaired" if reading["fault"] else "as sent")
        assert reading["condition"] == ("repaired" if reading["fault"] else "clean")
        assert set(reading["fault"]) <= set(reading["kinds"])
    assert len(tried["readings"]) == tried["counted"] >= 4
    assert (tried["fills_dicts"], tried["unfilled"]) == (True, "")


@pytest.mark.slow
def test_what_is_wrong_ends_in_exit_code_1(examined: dict[str, Any]) -> None:
    """A misspelled name and a value that is not usable, before everything that is only worth knowing."""
    problems = [one["what"] for one in examined["findings"] if one["problem"]]

    assert 1 == examined["exit"]
    assert len(problems) == examined["problems"]
    assert any("STREAMWATCH_REPIAR is read by nobody: was STREAMWATCH_REPAIR meant?" in what for what in problems)
    assert any("STREAMWATCH_REPAIR='***' is not usable" in what for what in problems)
    assert problems == [one["what"] for one in examined["findings"][: len(problems)]]


@pytest.mark.slow
def test_settings_are_told_with_their_sources(examined: dict[str, Any]) -> None:
    """All of Streamwatch's, and of OpenTelemetry's what is set or filled in."""
    sources = {one["name"]: (one["value"], one["source"]) for one in examined["settings"]}

    assert set(SETTINGS) <= set(sources)
    assert ("default", "default: unusable") == sources["STREAMWATCH_REPAIR"]
    assert ("64", "default") == sources["STREAMWATCH_WINDOW_EVENTS"]
    assert ("0", "environment") == sources["OTEL_EXPORTER_PROMETHEUS_PORT"]
    assert ("***", "environment") == sources["OTEL_EXPORTER_OTLP_HEADERS"]
    assert ("http://localhost:9/v1", "environment") == sources["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert ("prometheus,otlp", "Streamwatch") == sources["OTEL_METRICS_EXPORTER"]


@pytest.mark.slow
def test_what_is_installed_is_told(examined: dict[str, Any]) -> None:
    """By the names of the packages."""
    assert __version__ == examined["installed"]["streamwatch"]
    for name in ("openai", "pydantic", "opentelemetry-sdk", "prometheus-client"):
        assert importlib.metadata.version(name) == examined["installed"][name]
    assert not examined["executable"].startswith(str(Path.home()) + "/")


@pytest.mark.slow
def test_an_application_that_cannot_read_streams_is_told(tmp_path: Path) -> None:
    """The classic mistake: a file that is imported instead of the client."""
    (tmp_path / "openai.py").write_text("")
    environ = {**os.environ, "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    paths = os.pathsep.join(
        path for path in (str(Path(installed.__file__).parents[2]), environ.get("PYTHONPATH")) if path
    )
    ran = subprocess.run(
        MAIN, cwd=tmp_path, env={**environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )

    assert 1 == ran.returncode
    assert "openai.py in this directory is imported instead of the package: rename it." in ran.stdout
    assert "The self-test failed: AttributeError" in ran.stdout


# --- what follows from the self-test


def test_nothing_wrong_is_said_as_such(trial: dict[str, Any]) -> None:
    """Exit code 0; the first line says it."""
    result = run()

    assert 0 == result.exit_code
    assert result.stdout.startswith("### streamwatch doctor: no problems, no notes\n")
    assert "- ok: chat text, sync, healthy: came as sent; complete" in result.stdout
    assert "- metrics: 1 of 1 streams counted" in result.stdout
    assert '- ok: `to_dict()` of a chunk without content answers ""; its attribute is None' in result.stdout


def test_dicts_that_do_not_answer_are_noted(trial: dict[str, Any]) -> None:
    """With the reason; streams are watched all the same."""
    trial.update(fills_dicts=False, unfilled="no such method")

    what = "Dicts of chunks are the SDK's own here (no such method): KeyError: 'content' is not repaired."
    assert findings() == [(False, what)]
    assert "without content" not in run().stdout


def test_whether_dicts_answer_is_told_where_it_is_wanted(trial: dict[str, Any]) -> None:
    """Not where the policy leaves them alone."""
    del trial["fills_dicts"], trial["unfilled"]

    assert findings() == []
    assert "content" not in run().stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"error": "it did not end"}, "The self-test failed: it did not end."),
        ({"active": False}, "Streamwatch is not switched on"),
        ({"hooked": False}, "openai 3.0 is not watched"),
        ({"counted": 0}, "0 streams are in the metrics, of 1 that were read"),
        (
            {"readings": [{**HEALTHY["readings"][0], "right": False, "came": "otherwise"}]},
            "came otherwise than it must",
        ),
        ({"readings": [{**HEALTHY["readings"][0], "verdict": None}]}, "chat text, sync, healthy: came unwatched"),
    ],
)
def test_each_failure_of_the_self_test_is_a_problem(change: dict[str, Any], said: str, trial: dict[str, Any]) -> None:
    """One sentence, and exit code 1."""
    trial.update(change)
    result = run()

    assert 1 == result.exit_code
    assert said in result.stdout.splitlines()[2]
    assert "→" in result.stdout.splitlines()[2]


def test_what_is_said_at_the_start_is_told_once(trial: dict[str, Any]) -> None:
    """Not again where it is a finding already."""
    trial["said"] = ["STREAMWATCH_REPAIR='x' is not usable ('x' is none of none, default, all); using default", "oh"]
    found = findings(STREAMWATCH_REPAIR="x")

    assert [(True, trial["said"][0] + "."), (False, "Said in the self-test: oh")] == found


def test_a_self_test_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And told, with all else there is to tell."""
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    told = module.tried_out(os.environ, serves=False)

    assert "it did not end within 0.01 s" == told["error"]
    assert [] == told["readings"]


def test_the_self_test_sends_and_keeps_nothing() -> None:
    """No exporter, no file of configuration, no capture where the user's are, and no port that anybody scrapes."""
    environ = {
        **SECRETS,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_CONFIG_FILE": "config.yaml",
        "STREAMWATCH_CAPTURE_DIR": "/captures",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0",
        "STREAMWATCH_WINDOW_EVENTS": "7",
    }
    quiet = module._quiet(environ, "/mine", serves=True)

    assert "OTEL_CONFIG_FILE" not in quiet
    assert ("none", "prometheus", "none") == tuple(
        quiet[f"OTEL_{one}_EXPORTER"] for one in ("TRACES", "METRICS", "LOGS")
    )
    assert ("localhost", "0") == tuple(quiet[f"OTEL_EXPORTER_PROMETHEUS_{one}"] for one in ("HOST", "PORT"))
    assert ("/mine", "7") == (quiet["STREAMWATCH_CAPTURE_DIR"], quiet["STREAMWATCH_WINDOW_EVENTS"])
    assert "none" == module._quiet(environ, "/mine", serves=False)["OTEL_METRICS_EXPORTER"]


# --- the environment


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("environ", "is_problem", "said"),
    [
        ({"STREAMWATCH_WINDOW_EVENTS": "many"}, True, "STREAMWATCH_WINDOW_EVENTS='many' is not usable"),
        ({"OTEL_METRIC_EXPORTER": "none"}, True, "was OTEL_METRICS_EXPORTER meant?"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "streamwatch"}, True, "switches Streamwatch off"),
        ({"OTEL_PYTHON_DISTRO": "distro"}, False, "that distro decides"),
        ({"OTEL_SDK_DISABLED": "true"}, False, "nothing is exported"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, True, "'zipkin' among its traces exporters"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"}, True, "traces and metrics go by HTTP to port 4317"),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "http"}, True, "'http' is not a port"),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "no.such.host.invalid"}, True, "no.such.host.invalid is not usable"),
        ({"STREAMWATCH_CAPTURE_DIR": "/proc/version/x"}, True, "is not a directory that this user may write to"),
        ({"STREAMWATCH_CAPTURE_DIR": "x" * 300}, True, "is not a directory that this user may write to"),
        ({"OTEL_CONFIG_FILE": "x.yaml"}, False, "OTEL_CONFIG_FILE names every exporter"),
    ],
)
def test_what_the_environment_has_wrong_is_found(environ: dict[str, str], is_problem: bool, said: str) -> None:
    """One finding, with what to do."""
    ((found_problem, what),) = findings(**environ)

    assert said in what
    assert is_problem is found_problem


@pytest.mark.usefixtures("trial")
def test_no_secret_is_shown() -> None:
    """In the text as little as in the JSON."""
    for arguments in ((), ("--json",)):
        result = run(*arguments, **SECRETS)
        assert "localhost:9" in result.output
        assert "hunter" not in result.output


@pytest.mark.usefixtures("trial")
def test_the_output_can_be_pasted() -> None:
    """Without a terminal there is no colour, no line is cut, and a table is one."""
    text = run(STREAMWATCH_CAPTURE_DIR="/tmp/" + "x/" * 150).stdout

    assert "\x1b" not in text
    assert "x/" * 150 in text
    assert re.search(
        r"\n\n\| variable \| value \| from \|\n\|---\|---\|---\|\n\| STREAMWATCH_CAPTURE_DIR \| /tmp/x", text
    )


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize("name", ["OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"])
def test_where_another_distro_decides_nothing_is_claimed(name: str) -> None:
    """Neither a port of ours, nor that telemetry goes nowhere."""
    text = run(**{name: "other", "OTEL_METRICS_EXPORTER": "prometheus"}).stdout

    assert "and its configurator decide" in text
    assert "nowhere" not in text
    assert "Prometheus on" not in text


# --- ports


def test_a_free_port_is_told_and_stays_free(trial: dict[str, Any], ports: range) -> None:
    """The first one, and no more than that."""
    assert f"- Prometheus on localhost: {ports[0]} free\n" in run().stdout
    socket.create_server(("127.0.0.1", ports[0])).close()


@pytest.mark.usefixtures("trial")
def test_a_port_of_another_program_is_told(ports: range) -> None:
    """With who has it, and the port that comes next."""
    with serving(answering(b"<html>hi</html>"), ports[0]):
        ((is_problem, what),) = findings()

    assert not is_problem
    assert f"Port {ports[0]} is taken by" in what
    assert f"metrics on {ports[1]}" in what
    if Path("/proc/net/tcp").exists():
        assert f"process {os.getpid()} (" in what
    else:
        assert "another program: it answers with something that is not metrics" in what


@pytest.mark.usefixtures("trial")
def test_a_port_of_streamwatch_is_no_finding(ports: range) -> None:
    """It is another process's, which is as it should be."""
    with serving(answering(b'streamwatch_build_info{version="7.8.9"} 1.0\n'), ports[0]):
        assert [] == findings()
        assert f"{ports[0]} Streamwatch's by 7.8.9" in run().stdout


@pytest.mark.usefixtures("trial")
def test_no_free_port_is_a_problem(ports: range) -> None:
    """The next process would have no endpoint."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(serving(answering(b""), port))
        ((is_problem, what),) = findings()

    assert is_problem
    assert f"No port from {ports[0]} to {ports[-1]} is free" in what


# --- OTLP


@pytest.mark.usefixtures("trial")
def test_an_otlp_endpoint_is_asked_on_request_only() -> None:
    """With an export of nothing, by the user's own headers, at the paths that the exporters use."""
    asked = []

    def take(self: http.server.BaseHTTPRequestHandler) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        asked.append((self.path, self.headers["Authorization"], self.headers["Content-Type"], body))
        answering(b"")(self)

    with serving(take) as port:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20me",
        }
        without = run(**environ)
        assert [] == asked
        result = run("--network", **environ)

    assert (0, 0) == (without.exit_code, result.exit_code)
    assert [(f"/v1/{one}", "Basic me", "application/x-protobuf", b"") for one in ("traces", "metrics")] == asked
    assert f"- traces by OTLP (http/protobuf) to http://127.0.0.1:{port}/v1/traces: not asked" in without.stdout
    assert f"- traces by OTLP (http/protobuf) to http://127.0.0.1:{port}/v1/traces: answers" in result.stdout


@pytest.mark.usefixtures("trial")
def test_an_otlp_endpoint_that_refuses_is_a_problem() -> None:
    """By its status, for each signal."""
    with serving(answering(b"", 401)) as port:
        result = run("--network", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")

    assert 1 == result.exit_code
    for signal in ("traces", "metrics"):
        assert f"{signal}: http://127.0.0.1:{port}/v1/{signal} cannot be used: it answers HTTP 401." in result.stdout


@pytest.mark.usefixtures("trial")
def test_a_certificate_that_cannot_be_used_is_told() -> None:
    """The exporter would fail as well."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:9", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such.pem"}
    result = run("--network", **environ)

    assert 1 == result.exit_code
    assert (
        "a certificate in OTEL_EXPORTER_OTLP_*CERTIFICATE cannot be used (No such file or directory)" in result.stdout
    )


# --- what is installed


@pytest.mark.usefixtures("distribution")
def test_a_client_that_is_missing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once, and not again by the self-test."""
    monkeypatch.setattr(StreamwatchInstrumentor, "instrumentation_dependencies", lambda self: ("no-such-client >= 1",))
    told = {**HEALTHY, "error": "ModuleNotFoundError: No module named 'openai'", "missing": "openai"}
    monkeypatch.setattr(module, "tried_out", lambda environ, serves: {**told, "serves": serves})

    assert 1 == sum("openai" in what and "not installed" in what for is_problem, what in findings() if is_problem)
    assert not [what for _, what in findings() if "self-test" in what]


def test_a_package_that_only_can_be_imported_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """`opentelemetry-instrument` would not find it."""
    monkeypatch.setattr(installed, "_NAME", "no-such-streamwatch")
    (found,) = installed._of_our_own()

    assert found.is_problem
    assert "opentelemetry-instrument does not find it" in found.what


def test_two_copies_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is not what is imported."""
    monkeypatch.setattr(installed, "_NAME", "click")

    assert any("there are two copies" in one.what for one in installed._of_our_own())


def test_servers_with_workers_are_told_of_their_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that an old SDK leaves forked ones without."""
    monkeypatch.setattr(installed, "_SERVERS", ("click",))
    assert any("every worker process counts for itself" in one.what for one in installed.diagnostics({}))

    monkeypatch.setattr(installed, "_FORKS_COUNT", (999,))
    assert any(one.is_problem and "forked workers have no endpoint" in one.what for one in installed.diagnostics({}))
