"""The demo as a newcomer runs it: real processes, real sockets, the real `opentelemetry-instrument`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

for library in ("openai", "starlette", "uvicorn", "rich"):
    pytest.importorskip(library, reason="the extra `demo` is not installed")

from streamwatch.cli.common import table
from streamwatch.core.kinds import KINDS
from streamwatch.core.vocabulary import Severity, Verdict
from streamwatch.demo import processes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not Path(sys.executable).with_name("opentelemetry-instrument").exists(), reason="the package is not installed"
    ),
]

#: A rate no other run has: it marks the processes of a test.
_RATE = 13.0625


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, which the environment asks for."""
    with socket.create_server(("localhost", 0)) as listener:
        number = int(listener.getsockname()[1])
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(number))
    monkeypatch.delenv("STREAMWATCH_REPAIR", raising=False)
    return number


def listening(port: int) -> bool:
    """Whether somebody answers on the port."""
    with socket.socket() as client:
        return client.connect_ex(("localhost", port)) == 0


def command(*arguments: str) -> list[str]:
    """The command line of the demo."""
    return [sys.executable, "-m", "streamwatch.demo", "--rate", str(_RATE), *arguments]


def running(mark: str) -> list[str]:
    """The command lines of the processes that have `mark` in theirs."""
    said = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if mark in line]


def left_over() -> list[str]:
    """The processes that a demo should have ended."""
    return [line for line in running("streamwatch/demo/app.py") if str(_RATE) in line] + running("--seed 90210")


def test_it_ends_by_itself_with_a_summary(port: int) -> None:
    """Exit code 0, all streams counted, measured beside published, and nothing left running."""
    demo = subprocess.run(
        command("--seconds", "12", "--seed", "90210"), capture_output=True, text=True, timeout=120, check=False
    )

    assert (0, "") == (demo.returncode, demo.stderr)
    sent = re.search(r"(\d+) streams seen of (\d+) sent", demo.stdout)
    assert sent is not None
    assert sent[1] == sent[2] != "0"
    assert f"http://localhost:{port}/metrics" in demo.stdout
    assert re.search(r"chunk order mismatch +75\.0% +\d+\.\d% +\d+% to \d+% +\d+ of \d+", demo.stdout)
    assert re.search(r"hazards defused, KeyError: 'content': \d+ of \d+ \(\d+\.\d%, published 90\.0%\)", demo.stdout)
    assert re.search(r"cannot be repaired: .*stream_empty \d+", demo.stdout)
    assert "sequence_out_of_order" in demo.stdout
    beside = demo.stdout.partition("what the application saw")[2]
    assert re.search(r"KeyError: 'content' +- +[1-9]", beside)
    answered = re.search(r"answered +(\d+) +(\d+)", beside)
    assert answered is not None
    assert int(answered[1]) > int(answered[2]) > 0
    assert [] == left_over()
    assert not listening(port)


def test_without_repairs_the_application_fails_on_its_own(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run with STREAMWATCH_REPAIR=none shows the known error, and what a repair would have done."""
    monkeypatch.setenv("STREAMWATCH_REPAIR", "none")
    demo = subprocess.run(
        command("--seconds", "8", "--seed", "90210"), capture_output=True, text=True, timeout=120, check=False
    )

    assert (0, "") == (demo.returncode, demo.stderr)
    assert re.search(r"KeyError: 'content' +\d+ +\d+", demo.stdout.partition("what the application saw")[2])
    assert "fixable" in demo.stdout
    assert [] == left_over()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_metrics_stay_up_until_it_is_interrupted(port: int, ending: signal.Signals) -> None:
    """Without --seconds it runs on; Ctrl-C gives the summary, exit code 0, and ends all processes."""
    demo = subprocess.Popen(
        command("--seed", "90210"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Behind a shell it is ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- no thread is there yet
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if line.startswith("Running until Ctrl-C"):
                break
        time.sleep(2)
        assert listening(port)
        assert 4 == len([line for line in left_over() if "streamwatch.demo " not in line])
        demo.send_signal(ending)
        said, complaint = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.communicate()

    assert (0, "") == (demo.returncode, complaint)
    assert "what the application saw" in said
    assert [] == left_over()
    assert not listening(port)


@contextmanager
def settled(seconds: float) -> Iterator[processes.Demo]:
    """A demo that ran for a while and came to rest."""
    with ExitStack() as ended:
        demo = processes.Demo(4711, _RATE, ended)
        time.sleep(seconds)
        demo.check()
        demo.settle()
        yield demo


def test_the_counters_agree_with_what_the_server_sent(port: int) -> None:
    """Every stream is counted once, and every fault that was sent is found as the kind it must show."""
    with settled(12) as demo:
        seen, sent, requests = demo.measured(), demo.sent(), demo.requests()
        exposition = processes._fetch(demo.metrics_url)

    injected = table.injected(sent["faults"])
    assert sent["streams"] == seen.streams == requests
    assert set(sent["models"]) == set(seen.snapshots)
    assert {name for name, number in injected.items() if seen.anomalies[name] < number} == set()
    faults = {kind.name for kind in KINDS.values() if kind.severity is Severity.FAULT}
    assert {name for name in faults if seen.anomalies[name]} <= set(injected)
    for verdict, fault in ((Verdict.TRUNCATED, "truncated"), (Verdict.EMPTY, "empty")):
        assert sent["faults"][fault] == seen.verdicts[verdict.value]
    assert sent["faults"]["chat_error"] + sent["faults"]["responses_error"] == seen.verdicts[Verdict.ERROR.value]
    assert not re.search(r"^streamwatch_internal_errors_total\{.*\} [1-9]", exposition, re.MULTILINE)


def test_a_taken_port_is_named_and_passed_by(port: int) -> None:
    """Another process on the port costs nothing but a line."""
    with socket.create_server(("localhost", port)):
        demo = subprocess.run(
            command("--seconds", "1", "--seed", "90210"), capture_output=True, text=True, timeout=120, check=False
        )

    assert (0, "") == (demo.returncode, demo.stderr)
    assert re.match(rf"(.*\n)*Port {port} is taken: the metrics are on port \d+\.\n", demo.stdout)


def test_an_application_that_cannot_be_measured_is_a_clear_failure(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch that turns telemetry off is named, and no process is left."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    demo = subprocess.run(command("--seed", "90210"), capture_output=True, text=True, timeout=120, check=False)

    assert 1 == demo.returncode
    assert f"No stream was counted at http://localhost:{port}/metrics" in demo.stderr
    assert "Traceback" not in demo.stderr
    assert [] == left_over()
