"""Evidence without a second terminal: real programs on a pseudo-terminal, and with a stderr that is something else."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.instrumented import command, environment
from helpers.listening import serving
from helpers.tutorial import Server
from streamwatch.otel.whereabouts import whereabouts

pty = pytest.importorskip("pty")
pytest.importorskip("openai")
ROOT = str(Path(__file__).parents[2])

READ = """
    from openai import OpenAI
    question = [{"role": "user", "content": "count!"}]
    with OpenAI().chat.completions.create(model="gpt-4o", messages=question, stream=True) as stream:
        print("".join(chunk.choices[0].delta.content or "" for chunk in stream))
"""


class Quiet(Server):
    """A model that logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model() -> Iterator[dict[str, str]]:
    """An environment in which the client asks a server whose events are out of order."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Quiet)) as address:
        yield {
            "OPENAI_BASE_URL": f"http://{address}/v1",
            "OPENAI_API_KEY": "x",
            "NO_PROXY": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "PYTHONPATH": ROOT,
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,httpx2",
        }


def on_terminal(words: list[str], environ: dict[str, str]) -> tuple[str, str]:
    """Run a program whose stderr is a terminal: its standard output, and what the terminal shows."""
    environ.pop("_STREAMWATCH_SUMMARY_PID", None)
    master, slave = pty.openpty()
    process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the last one has closed it
            while part := os.read(master, 4096):
                shown.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    out, _ = process.communicate(timeout=60)
    reading.join(10)
    os.close(master)
    assert process.returncode == 0, shown
    return out.decode(), shown.decode().replace("\r\n", "\n")


def ours(text: str) -> list[str]:
    return [line.removeprefix("streamwatch: ") for line in text.splitlines() if line.startswith("streamwatch: ")]


@pytest.mark.slow
def test_a_short_program_shows_its_evidence(model: dict[str, str]) -> None:
    """Where metrics are, how the streams ended, what was repaired: without asking the endpoint."""
    out, shown = on_terminal(command(READ), environment(**model))
    first, *rest = ours(shown)

    assert out == "1 2 3 4 5 6 7 \n"
    assert "repair policy default; metrics are on http://localhost:" in first
    assert rest[0].startswith("1 stream in ")
    assert "0 clean, 1 repaired, 0 broken" in rest
    assert any(line.startswith("repaired sequence_out_of_order 2") and line.endswith("(2 verified)") for line in rest)
    assert len(rest) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/getting-started.md"])
def test_the_first_example_prints_what_the_page_says(page: str, model: dict[str, str], tmp_path: Path) -> None:
    """The program of getting-started, and the lines below its command; times and ports are of the day."""
    start = (Path(ROOT) / "docs" / "getting-started.md").read_text("utf-8")
    program = re.search(r"```python\n(from openai.*?)```", start, re.DOTALL)
    printed = re.search(
        r"\$ streamwatch run -- python app.py\n(.*?)```", (Path(ROOT) / page).read_text("utf-8"), re.DOTALL
    )
    assert program
    assert printed
    code = program[1].replace("Count to seven.", "count!")
    out, shown = on_terminal(command(code), environment(**model))

    def bare(text: str) -> list[str]:
        return [re.sub(r"in [\d.]+ s|localhost:\d+", "...", line) for line in text.splitlines()]

    assert bare("\n".join(ours(shown))) == bare("\n".join(ours(printed[1])))
    assert out.strip() == "1 2 3 4 5 6 7"
    assert "1 2 3 4 5 6 7" in printed[1]


@pytest.mark.slow
def test_a_captured_stderr_stays_empty_of_it(model: dict[str, str]) -> None:
    """By a supervisor, a test, a shell that redirects."""
    done = subprocess.run(
        command(READ), env=environment(**model), capture_output=True, text=True, timeout=60, check=True
    )

    assert ours(done.stderr) == []
    assert done.stdout == "1 2 3 4 5 6 7 \n"


@pytest.mark.slow
def test_the_setting_has_it_written_to_a_file(model: dict[str, str]) -> None:
    """`always`, for jobs whose log is kept."""
    environ = environment(**model, STREAMWATCH_SUMMARY="always")
    done = subprocess.run(command(READ), env=environ, capture_output=True, text=True, timeout=60, check=True)

    assert "0 clean, 1 repaired, 0 broken" in ours(done.stderr)
    assert done.stdout == "1 2 3 4 5 6 7 \n"


@pytest.mark.slow
def test_the_setting_switches_it_off(model: dict[str, str]) -> None:
    """`never`, on a terminal too."""
    _, shown = on_terminal(command(READ), environment(**model, STREAMWATCH_SUMMARY="never"))

    assert ours(shown) == []


@pytest.mark.slow
def test_children_are_silent(model: dict[str, str]) -> None:
    """Forked, spawned, or started as programs: one summary for the program that a person started."""
    code = """
        import multiprocessing, os, subprocess, sys
        def nothing(): pass
        if (child := os.fork()) == 0:
            sys.exit()
        os.waitpid(child, 0)
        subprocess.run([sys.executable, "-c", "import openai"], check=True)
        process = multiprocessing.get_context("spawn").Process(target=print)
        process.start(); process.join()
    """
    _, shown = on_terminal(command(code), environment(**model, OTEL_METRICS_EXPORTER="none"))

    assert [line.partition(" in ")[0] for line in ours(shown)] == [
        ours(shown)[0],
        "no streams",
        "metrics were exported nowhere: no metrics exporter is set up",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("closing", ["sys.stderr.close()", "os.close(2)", "sys.stderr = None"])
def test_a_stderr_that_is_closed_is_no_error(closing: str, model: dict[str, str]) -> None:
    """The program ends as it does on its own."""
    code = f"{READ}\n    import os, sys; {closing}"
    out, _ = on_terminal(command(code), environment(**model, STREAMWATCH_SUMMARY="always"))

    assert out == "1 2 3 4 5 6 7 \n"


@pytest.mark.slow
def test_a_script_that_exports_nothing_says_so(model: dict[str, str]) -> None:
    """`streamwatch.instrument()` alone sets up no exporter."""
    code = f"import streamwatch; streamwatch.instrument(); streamwatch.instrument()\n{textwrap.dedent(READ)}"
    _, shown = on_terminal([sys.executable, "-W", "ignore", "-c", code], environment(**model))

    assert ours(shown)[0].endswith(
        "metrics are exported nowhere: the program has set no MeterProvider (`streamwatch run` does that)"
    )
    assert "0 clean, 1 repaired, 0 broken" in ours(shown)
    assert len([line for line in ours(shown) if "watches OpenAI streams" in line]) == 1


@pytest.mark.slow
def test_a_script_with_a_provider_of_its_own_says_so(model: dict[str, str]) -> None:
    """The metrics go where the program sends them."""
    code = f"""
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
metrics.set_meter_provider(MeterProvider())
import streamwatch; streamwatch.instrument()
{textwrap.dedent(READ)}"""
    _, shown = on_terminal([sys.executable, "-W", "ignore", "-c", code], environment(**model))

    assert ours(shown)[0].endswith("metrics are exported by the program's own MeterProvider")


class _Server:
    server_port = 9465


class _Endpoint:
    host = "localhost"
    server: object = _Server()


def test_every_place_is_named() -> None:
    """The endpoint as it is now, each exporter, and no credentials."""
    endpoint = _Endpoint()
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:secret@collector:4318"}
    where = whereabouts(["streamwatch_prometheus", "otlp_proto_http", "console"], endpoint, environ)

    assert where() == (
        "on http://localhost:9465/metrics and sent by OTLP to http://collector:4318 and exported by 'console'"
    )
    endpoint.server, endpoint.host = None, "::"
    assert where().startswith("on the Prometheus server of the application, if it has one")
    endpoint.server = _Server()
    assert where().startswith("on http://[::]:9465/metrics")
    assert whereabouts([], None, {})() == "exported nowhere: no metrics exporter is set up"
    for exporter, port in (("otlp_proto_http", 4318), ("otlp_proto_grpc", 4317)):
        assert whereabouts([exporter], None, {})() == f"sent by OTLP to http://localhost:{port}"
