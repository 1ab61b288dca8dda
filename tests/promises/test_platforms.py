"""Windows and macOS, simulated: what Python lacks there is taken away, and what it does otherwise is done here.

No Windows and no macOS was at hand. These tests show that Streamwatch asks for nothing that is not there, and takes the
other way where it has one. What those systems do by themselves only a run on them can show: docs/compatibility.md.
"""

from __future__ import annotations

import ast
import functools
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import Watched
from helpers import sdk, sockets
from helpers.elsewhere import MODULES, OF_OS, SIGNALS, select_sockets
from helpers.ports import taken
from sdk import test_waiting as over_sockets
from streamwatch.cli import run as run_command
from streamwatch.core.settings import Policy, Settings
from streamwatch.otel import endpoint
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.listening import ListeningSocket
from streamwatch.sdk import lines

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamwatch"
HELD_TO_ONE_READ = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]


class _Windows:
    """The module `sys`, of which one module of ours sees another platform."""

    platform = "win32"

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


ON_WINDOWS = _Windows()


#: Everything of Streamwatch that an application or a command imports, where Python has what it has on Windows.
WITHOUT_POSIX = """
import asyncio, json, multiprocessing, os, selectors, socketserver, subprocess, sys, tempfile, threading
import click, httpx, openai, prometheus_client, rich.console, rich.live
import opentelemetry.instrumentation.auto_instrumentation, opentelemetry.sdk._configuration
from helpers import elsewhere, sdk
elsewhere.take_away()

import pkgutil, importlib
import streamwatch
for each in pkgutil.walk_packages(streamwatch.__path__, "streamwatch."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)

from click.testing import CliRunner
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from streamwatch.cli import main
from streamwatch.otel.distro import StreamwatchDistro
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.prometheus_reader import PrometheusReader

folder = tempfile.mkdtemp()
os.environ["STREAMWATCH_CAPTURE_DIR"] = os.path.join(folder, "captures")
StreamwatchDistro().configure()
registry = prometheus_client.CollectorRegistry()
metrics.set_meter_provider(MeterProvider([PrometheusReader(registry)]))
endpoint = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
endpoint.serve(registry)
streamwatch.instrument()
cut = sdk.frames(sdk.chat(), done=False)[:3]
found = {"read": {mode: len(sdk.read(mode, sdk.healthy("chat")).chunks) for mode in ("sync", "async")}}
sdk.read("sync", cut)
streamwatch.flush()
import urllib.request
url = f"http://localhost:{endpoint.server.server_port}/metrics"
text = urllib.request.urlopen(url, timeout=10).read().decode()
lines = [line for line in text.splitlines() if line.startswith("streamwatch_streams_total")]
found["counted"] = sum(float(line.split()[-1]) for line in lines)
found["captures"] = os.listdir(os.environ["STREAMWATCH_CAPTURE_DIR"])
capture = os.path.join(os.environ["STREAMWATCH_CAPTURE_DIR"], found["captures"][0])
runner = CliRunner()
for name, arguments in {
    "check": ["check", capture],
    "kinds": ["kinds"],
    "explain": ["explain", "KeyError: 'content'"],
    "top": ["top", "--once", "--interval", "0.2", url],
    "doctor": ["doctor", "--help"],
    "dashboards": ["dashboards", "--output", os.path.join(folder, "dashboards")],
}.items():
    result = runner.invoke(main, arguments)
    found[name] = [result.exit_code, type(result.exception).__name__ if result.exception else "", result.output[-200:]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def without_posix() -> dict[str, Any]:
    """What a process does that has no more of Python than there is on Windows."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        env={**plain, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_streams_are_read_counted_and_kept_without_what_windows_lacks(without_posix: dict[str, Any]) -> None:
    """No fork, no poll, no signals but seven; a select that takes sockets alone."""
    chunks = len(sdk.chat())

    assert without_posix["read"] == {"sync": chunks, "async": chunks}
    assert without_posix["counted"] == 3
    assert len(without_posix["captures"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "codes"), {"check": {1}, "kinds": {0}, "explain": {0}, "top": {0}, "dashboards": {0}}.items()
)
def test_commands_work_without_what_windows_lacks(command: str, codes: set[int], without_posix: dict[str, Any]) -> None:
    """They end with the code that they end with elsewhere, and raise nothing."""
    code, raised, output = without_posix[command]

    assert code in codes, output
    assert raised in ("", "SystemExit")


# --- waiting for bytes


@pytest.fixture
def impatient(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch with a short window."""
    return watch(settings=Settings(repair=Policy(), window_seconds=over_sockets.WINDOW))


def test_synchronous_readers_wait_by_select(impatient: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no poll, and select takes sockets alone: what is held comes when the window has passed."""
    asked: list[float | None] = []

    def select(reading: Any, writing: Any, failing: Any, seconds: float | None = None) -> Any:
        asked.append(seconds)
        return select_sockets(reading, writing, failing, seconds)

    monkeypatch.setattr(lines, "select", SimpleNamespace(select=select))
    with sockets.server(over_sockets.GAP) as serving:
        reading = over_sockets.read("sync", serving)

    assert (over_sockets.ALL, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert any(asked)
    assert impatient.internal_errors() == 0


@pytest.mark.parametrize("mode", ["sync", "asyncio"])
def test_a_reader_on_windows_gets_what_came_in_the_same_read(
    mode: str, impatient: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop there cannot watch a socket: asynchronous code holds nothing beyond a read, and loses nothing."""
    monkeypatch.setattr(lines, "sys", ON_WINDOWS)
    with sockets.server(over_sockets.GAP) as serving:
        reading = over_sockets.read(mode, serving)

    assert (HELD_TO_ONE_READ, None) == (reading.numbers, reading.error)
    assert not serving.in_vain
    assert impatient.internal_errors() == 0


# --- processes


def read_in_a_child(results: Any) -> None:
    """What a process that was spawned does: it inherits nothing, and switches itself on."""
    from streamwatch.testing import reports

    with reports("default") as seen:
        outcome = sdk.read("sync", sdk.healthy("chat"))
    results.put((len(outcome.chunks), len(seen)))


@pytest.mark.slow
def test_a_process_that_is_spawned_watches_its_own_streams(watched: Watched) -> None:
    """As on Windows and macOS, where no process is forked."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    child = context.Process(target=read_in_a_child, args=(results,))
    sdk.read("sync", sdk.healthy("chat"))
    child.start()
    found = results.get(timeout=120)
    child.join(60)

    assert (len(sdk.chat()), 1) == found
    assert child.exitcode == 0
    assert len(watched.reports) == 1


def test_the_port_of_another_process_is_not_shared(ports: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows would let two servers bind one port: it is asked for before, and the next one is taken."""
    import prometheus_client

    asked: list[int] = []

    def noted(host: str, port: int, make: Any) -> ListeningSocket:
        asked.append(port)
        return ListeningSocket(host, port, make)

    monkeypatch.setattr(endpoint, "ListeningSocket", noted)
    monkeypatch.setattr(endpoint, "sys", ON_WINDOWS)
    ours = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})
    with taken(ports[0]):
        ours.serve(prometheus_client.CollectorRegistry())
    monkeypatch.undo()

    assert asked == [ports[1]]
    assert ours.server.server_port == ports[1]
    ours.close()


@pytest.mark.parametrize("interrupted", [False, True])
def test_run_waits_for_the_program_on_windows(interrupted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """There `exec` would end the command at once, and its exit code would say nothing."""
    if interrupted:
        wait, times = subprocess.Popen.wait, iter((True, False))

        def waiting(process: Any, timeout: float | None = None) -> int:
            if next(times, False):
                raise KeyboardInterrupt
            return wait(process, timeout)

        monkeypatch.setattr(subprocess.Popen, "wait", waiting)

    assert run_command._run_below([sys.executable, "-c", "raise SystemExit(7)"]) == 7


def test_run_takes_that_way_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other; elsewhere the program takes the place of the command."""
    from click.testing import CliRunner

    from streamwatch.cli import main

    begun: list[list[str]] = []

    def run_below(command: list[str]) -> int:
        begun.append(command)
        return 5

    monkeypatch.setattr(run_command, "_run_below", run_below)
    monkeypatch.setattr(os, "execvp", lambda *_: pytest.fail("the command was replaced"))
    monkeypatch.setattr(run_command, "sys", ON_WINDOWS)
    monkeypatch.setattr(os, "environ", {**os.environ})
    result = CliRunner().invoke(main, ["run", "--", sys.executable, "-c", "pass"])

    assert result.exit_code == 5
    assert begun[0][1:] == [sys.executable, "-c", "pass"]


# --- what the source asks for


reads_the_source = pytest.mark.slow  # `make check` runs these


@functools.cache
def trees() -> dict[str, ast.Module]:
    """The source of every module of the package, parsed."""
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}


def asked_of(module: str) -> set[tuple[str, str]]:
    """The members of a module that the package asks for outside of a `hasattr`, and where."""
    return {
        (path, node.attr)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


#: What Windows lacks and the source asks for, and what stands before it.
GUARDED = {
    *(
        (f"{module}.py", "register_at_fork")
        for module in ("otel/prometheus_reader", "otel/endpoint", "otel/forks", "otel/once")
    ),
    ("sdk/instrumentor.py", "register_at_fork"),
}


@reads_the_source
def test_nothing_is_asked_of_os_that_windows_lacks() -> None:
    """But for what a `hasattr` stands before."""
    lacking = {(path, name) for path, name in asked_of("os") if name in OF_OS}

    assert lacking <= GUARDED
    for path, name in lacking:
        assert f'hasattr(os, "{name}")' in (PACKAGE / path).read_text("utf-8"), path


@reads_the_source
def test_no_signal_is_asked_for_that_windows_lacks() -> None:
    """SIGINT and SIGTERM are on every system."""
    assert {name for _, name in asked_of("signal") if name.startswith("SIG") and not name.startswith("SIG_")} <= SIGNALS


@reads_the_source
def test_modules_that_windows_lacks_are_imported_where_they_may_fail() -> None:
    """Inside of a `try`, so that the command goes on without them."""
    for path, tree in trees().items():
        guarded = {id(node) for each in ast.walk(tree) if isinstance(each, ast.Try) for node in ast.walk(each)}
        for node in ast.walk(tree):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            assert not names & set(MODULES) or id(node) in guarded, path


# --- files


def test_a_checkout_fits_windows_and_macos() -> None:
    """Names that Windows takes, of a length that it takes, and none that differs from another in its case alone."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git does not say which files there are")
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    reserved = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)

    assert [] == [name for name in names if re.search(r'[<>:"\\|?*\x00-\x1f]|[ .](?:/|$)', name)]
    assert [] == [name for name in names if any(reserved.fullmatch(part) for part in name.split("/"))]
    assert [] == [name for name in names if len(name) > 200]
    assert len({name.lower() for name in names}) == len(names)


def test_lines_end_with_one_byte_in_every_checkout() -> None:
    """And recordings stay as they were sent: .gitattributes says so."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git says nothing of attributes")

    def attributes(name: str) -> dict[str, str]:
        said = subprocess.run(
            ["git", "check-attr", "text", "eol", "--", name], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        return {line.split(": ")[1]: line.split(": ")[2] for line in said.splitlines()}

    assert attributes("streamwatch/core/sse.py") == {"text": "auto", "eol": "lf"}
    assert attributes("tests/recordings/anything.sse")["text"] == "unset"


@pytest.mark.slow
def test_the_name_of_a_capture_is_one_on_windows(without_posix: dict[str, Any]) -> None:
    """No colon, and nothing else that is not allowed there."""
    (name,) = without_posix["captures"]

    assert re.fullmatch(r"[\w.-]+\.sse", name)
    assert PureWindowsPath(name).name == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["kinds"], ["explain", "KeyError: 'content'"], ["dashboards", "--output", "FOLDER"]]
)
def test_no_file_is_opened_in_the_encoding_of_the_machine(arguments: list[str], tmp_path: Path) -> None:
    """On Windows that is a code page: Python says where a text file is opened without an encoding."""
    code = "import sys; from streamwatch.cli import main; sys.argv[0] = 'streamwatch'; main()"
    words = [str(tmp_path / "written") if word == "FOLDER" else word for word in arguments]
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [] == [line for line in done.stderr.splitlines() if "EncodingWarning" in line and "streamwatch" in line]
