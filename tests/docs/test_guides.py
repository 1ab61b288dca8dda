"""docs/guides was followed: its own commands and code, with real servers, and counts that have to agree."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from apps.otlp_sink import Sink
from helpers.listening import Listener, serving
from helpers.ports import free_port
from helpers.tutorial import Server, samples

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
APPS = Path(__file__).parents[1] / "apps"
BIN = Path(sys.executable).parent
TEXT = "1 2 3 4 5 6 7 "  # what the stream of the known issue says, once it is in order
REQUESTS = 8

needs_instrument = pytest.mark.skipif(
    not (BIN / "opentelemetry-instrument").exists(), reason="the package is not installed"
)


# --- the guides themselves


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_code_in_a_guide_is_code_that_ran(guide: Path) -> None:
    """Each block of Python is in a program that a test here runs, and each link leads somewhere."""
    text = guide.read_text("utf-8")
    programs = [path.read_text("utf-8") for path in APPS.glob("*.py")]
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        assert any(block in program for program in programs), block
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (guide.parent / target).exists(), target


def command(guide: str, program: str) -> list[str]:
    """The command of a guide that runs a program."""
    lines = re.findall(r"^\$ (.*)", (GUIDES / guide).read_text("utf-8").replace("\\\n", " "), re.MULTILINE)
    (line,) = {line for line in lines if re.match(rf"(\w+=\S+ )*opentelemetry-instrument {program}\b", line)}
    words = shlex.split(line)
    return [word for word in words if not re.match(r"[A-Z_]+=", word)]


# --- a model, and processes that ask it


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """A model server whose stream is out of order."""
    with serving(Listener(("127.0.0.1", 0), Server)) as address:
        yield f"http://{address}/v1"


@pytest.fixture
def environ(model: str, tmp_path: Path) -> dict[str, str]:
    """A clean environment, with the programs of this one."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMWATCH_", "PYTHON"))}
    return {
        **clean,
        "OPENAI_BASE_URL": model,
        "OPENAI_API_KEY": "sk-test",
        "PATH": f"{BIN}{os.pathsep}{clean['PATH']}",
        "PYTHONPATH": str(APPS),
        "BROKER_FOLDER": str(tmp_path / "broker"),
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextlib.contextmanager
def running(words: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program, until the end of the block; then it is asked to end, and has to."""
    process = subprocess.Popen(words, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield process
        process.terminate()
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def asked(port: int, times: int = REQUESTS) -> None:
    """Ask a web application so many times, as soon as it is up; each answer is repaired."""
    url = f"http://127.0.0.1:{port}/"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=60).close()
            break
        time.sleep(0.2)
    with ThreadPoolExecutor(4) as at_once:
        texts = list(at_once.map(lambda _: urllib.request.urlopen(url, timeout=60).read().decode(), range(times - 1)))
    assert [TEXT] * (times - 1) == texts


def served(ports: range) -> dict[int, float]:
    """The streams that each port which answers has counted."""
    found = {}
    for port in ports:
        with contextlib.suppress(OSError):
            text = urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10).read().decode()
            found[port] = sum(value for _, value in samples(text, "streamwatch_streams_total"))
    return found


def wait(found: Callable[[], Any], seconds: float = 30) -> Any:
    """What is found as soon as it is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError("nothing came of it")


def web(program: str, port: int) -> list[str]:
    """The guide's command for a web server, on a port that is free."""
    words = command("workers.md", program)
    return [word.replace("8000", str(port)) for word in words]


def on_ports(ports: range, environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])}


def by_otlp(sink: Sink, environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}


# --- workers


@pytest.mark.e2e
@needs_instrument
def test_gunicorn_workers_have_a_port_each(ports: range, environ: dict[str, str]) -> None:
    """The first port is the master's, which counts nothing; the next two have every stream."""
    pytest.importorskip("gunicorn")
    port = free_port()
    with running(web("gunicorn", port), on_ports(ports, environ)):
        asked(port)
        wait(lambda: len(served(ports)) == 3)
        counted = served(ports)
    assert [ports[0], ports[1], ports[2]] == list(counted)
    assert 0 == counted[ports[0]]
    assert REQUESTS == sum(counted.values())


@pytest.mark.e2e
@needs_instrument
def test_uvicorn_workers_have_a_port_each(ports: range, environ: dict[str, str]) -> None:
    """Besides the workers, uvicorn itself has one; the helper that Python starts for it has none."""
    pytest.importorskip("uvicorn")
    port = free_port()
    with running(web("uvicorn", port), on_ports(ports, environ)):
        asked(port)
        wait(lambda: len(served(ports)) == 3)
        counted = served(ports)
    assert REQUESTS == sum(counted.values())
    assert 0 == counted[ports[0]]


@pytest.mark.e2e
@needs_instrument
@pytest.mark.parametrize("program", ["gunicorn", "uvicorn"])
def test_by_otlp_nothing_is_lost_when_workers_end(program: str, environ: dict[str, str]) -> None:
    """Each worker is one of its own to the back end, and its last counts and spans come when it is stopped."""
    pytest.importorskip(program)
    port = free_port()
    with Sink() as sink:
        with running(web(program, port), by_otlp(sink, environ)):
            asked(port)
        counted = sink.counts("streamwatch.streams")
        spans = [span for span in sink.spans() if span.name == "stream chat gpt-4o"]
    assert REQUESTS == sum(counted.values()) == len(spans)
    assert all(counted)


ASK = """
from celery_asking import ask
print(sorted({text for _, text in [one.get(timeout=60) for one in [ask.delay() for _ in range(8)]]}))
"""


def tasks_done(environ: dict[str, str]) -> None:
    """Eight tasks, and their results."""
    ran = subprocess.run([sys.executable, "-c", ASK], env=environ, capture_output=True, text=True, timeout=120)
    assert f"['{TEXT}']\n" == ran.stdout, ran.stderr


@pytest.mark.e2e
@needs_instrument
def test_celery_children_have_a_port_each(ports: range, environ: dict[str, str]) -> None:
    """The first port is the parent's, which runs no task."""
    pytest.importorskip("celery")
    with running(command("workers.md", "celery"), on_ports(ports, environ)):
        tasks_done(environ)
        wait(lambda: len(served(ports)) == 3)
        counted = served(ports)
    assert 0 == counted[ports[0]]
    assert REQUESTS == sum(counted.values())


@pytest.mark.e2e
@needs_instrument
@pytest.mark.parametrize("more", [(), ("--max-tasks-per-child", "1")], ids=["children", "child-a-task"])
def test_by_otlp_nothing_is_lost_when_celery_children_end(more: tuple[str, ...], environ: dict[str, str]) -> None:
    """Not even of children that do one task."""
    pytest.importorskip("celery")
    with Sink() as sink:
        with running([*command("workers.md", "celery"), *more], by_otlp(sink, environ)):
            tasks_done(environ)
        counted = sink.counts("streamwatch.streams")
    assert REQUESTS == sum(counted.values())


@pytest.mark.e2e
@needs_instrument
@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis is not installed")
def test_celery_with_redis(ports: range, environ: dict[str, str], tmp_path: Path) -> None:
    """The broker is no matter."""
    pytest.importorskip("celery")
    pytest.importorskip("redis")
    port = free_port()
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    environ["BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
    server = subprocess.Popen(redis, stdout=subprocess.DEVNULL)
    try:
        with running(command("workers.md", "celery"), on_ports(ports, environ)):
            tasks_done(environ)
            counted = wait(lambda: sum(served(ports).values()) == REQUESTS and served(ports))
    finally:
        server.terminate()
        server.wait(30)
    assert 0 == counted[ports[0]]


# --- functions and jobs


def variables(guide: str) -> dict[str, str]:
    """The variables that a guide has set."""
    text = (GUIDES / guide).read_text("utf-8")
    return dict(re.findall(r"^(?:export )?((?:OTEL|STREAMWATCH)_\w+)=(\S+)$", text, re.MULTILINE))


@pytest.mark.e2e
def test_a_frozen_function_has_sent_everything(environ: dict[str, str]) -> None:
    """When the handler returns, spans and counts of its stream are out; so too after it was thawed."""
    with Sink() as sink:
        environ |= {**variables("short-lived.md"), "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
        process = subprocess.Popen(
            [sys.executable, APPS / "freezing.py"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        try:
            for number in (1, 2):
                process.stdin.write(json.dumps({"question": "count!"}) + "\n")
                process.stdin.flush()
                assert TEXT == json.loads(process.stdout.readline())
                assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
                assert [number] == list(sink.counts("streamwatch.streams").values())
                assert number == len([span for span in sink.spans() if span.name == "stream chat gpt-4o"])
                os.kill(process.pid, signal.SIGCONT)
        finally:
            process.kill()
            process.communicate()


@pytest.mark.e2e
@needs_instrument
@pytest.mark.parametrize("stopped", [False, True], ids=["done", "stopped"])
def test_a_job_sends_all_it_has_when_it_ends(stopped: bool, environ: dict[str, str]) -> None:
    """By itself, or because it is told to."""
    with Sink() as sink:
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, "OTEL_METRICS_EXPORTER": "otlp"}
        environ |= {"WAIT": "1"} if stopped else {}
        words = command("short-lived.md", "python job.py")[:-1]
        job = subprocess.Popen([*words, str(APPS / "job.py")], env=environ, stdout=subprocess.PIPE, text=True)
        assert job.stdout
        assert [TEXT + "\n"] * 3 == [job.stdout.readline() for _ in range(3)]
        if stopped:
            job.terminate()
        job.communicate(timeout=60)
        counted = sink.counts("streamwatch.streams")
    assert (143 if stopped else 0) == job.returncode
    assert [3] == list(counted.values())


@pytest.mark.e2e
@needs_instrument
@pytest.mark.skipif(not shutil.which("prometheus-pushgateway"), reason="the Pushgateway is not installed")
def test_a_job_pushes_its_metrics(environ: dict[str, str]) -> None:
    """What the Pushgateway serves afterwards is what the job counted."""
    port = free_port()
    listen = [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    gateway = subprocess.Popen(["prometheus-pushgateway", *listen])
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        wait(lambda: answers(url))
        environ |= {"PUSHGATEWAY": f"127.0.0.1:{port}", "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port())}
        words = command("short-lived.md", "python job.py")[:-1]
        ran = subprocess.run([*words, APPS / "job.py"], env=environ, capture_output=True, text=True, timeout=60)
        assert 0 == ran.returncode, ran.stderr
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    finally:
        gateway.terminate()
        gateway.wait(30)
    streams = list(samples(text, "streamwatch_streams_total"))
    assert 3 == sum(value for _, value in streams)
    assert {"nightly"} == {labels["job"] for labels, _ in streams}


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


# --- any back end


@pytest.mark.e2e
@needs_instrument
def test_a_back_end_takes_variables_alone(environ: dict[str, str]) -> None:
    """The address with a path, the key as a header, and metrics and spans of each stream; the key goes nowhere else."""
    said = variables("otlp.md")
    assert {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_METRICS_EXPORTER"} <= set(said)
    path = urllib.parse.urlsplit(said["OTEL_EXPORTER_OTLP_ENDPOINT"]).path
    key = base64.b64encode(b"123456:glc_secret").decode()
    with Sink(prefix=path) as sink:
        headers = said["OTEL_EXPORTER_OTLP_HEADERS"].replace("$KEY", key)
        environ |= {**said, "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, "OTEL_EXPORTER_OTLP_HEADERS": headers}
        ran = subprocess.run(
            ["opentelemetry-instrument", sys.executable, APPS / "job.py"],
            env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (0, TEXT + "\n") == (ran.returncode, ran.stdout[: len(TEXT) + 1]), ran.stderr
        assert [3] == list(sink.counts("streamwatch.streams").values())
        assert 3 == len([span for span in sink.spans() if span.name == "stream chat gpt-4o"])
    assert {f"Basic {key}"} == {headers["authorization"] for headers in sink.headers}
    assert not any(b"glc_secret" in body or key.encode() in body for body in sink.bodies)
