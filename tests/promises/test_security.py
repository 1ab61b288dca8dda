"""What SECURITY.md promises, as far as no other test has it; and that each test which it names exists."""

from __future__ import annotations

import ast
import gc
import os
import re
import socket
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from conftest import Watched
from helpers import sdk
from helpers.stream_builders import body
from streamwatch.core.settings import Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.export.capture import Captures
from streamwatch.export.log import FindingsLog
from streamwatch.otel.endpoint import Endpoint

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


# --- the page


def test_every_test_that_the_page_names_exists() -> None:
    """A claim without its test would be only a claim."""
    named = set(re.findall(r"`(test_\w+)\.(test_\w+)`", PAGE))
    assert len(named) > 20
    paths = [path for path in TESTS.rglob("test_*.py") if path.stem in dict(named)]
    for module, name in named:
        (path,) = (path for path in paths if path.stem == module)
        functions = re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        assert name in functions, f"{module}.{name}"


def test_every_bound_that_the_page_names_is_the_default() -> None:
    """The table of bounds says what the settings are."""
    rows = dict(re.findall(r"^\| `(STREAMWATCH_\w+)` \| ([^|]+?) \|", PAGE, re.MULTILINE))
    units = {"MiB": 1 << 20, "s": 1, "": 1}
    settings = Settings()
    assert len(rows) >= 6
    for variable, text in rows.items():
        number, _, unit = text.partition(" ")
        assert float(number) * units[unit] == getattr(settings, variable.removeprefix("STREAMWATCH_").lower())


# --- who can reach the metrics


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """The endpoint of a process with nothing configured, on any free port."""
    made = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    made.serve(CollectorRegistry())
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_nobody_else_on_the_network_reaches_the_endpoint(endpoint: Endpoint) -> None:
    """It listens on the loopback interface; an address of this host on a network is refused."""
    address, port = endpoint.server.socket.getsockname()[:2]
    assert address in ("127.0.0.1", "::1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: it tells the address that would be used
        except OSError:
            pytest.skip("this host is on no network")
        ours = probe.getsockname()[0]
    with socket.socket() as client:
        client.settimeout(5)
        assert client.connect_ex((ours, port)) != 0


# --- what can leak


@pytest.mark.parametrize("policy", ["none", "all"])
def test_no_key_and_no_address_beyond_the_host_is_exported(
    policy: str, watch: Callable[..., Watched], metrics: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys, passwords in an address, paths, queries, organizations, headers and metadata are the application's own."""
    caplog.set_level("DEBUG", "streamwatch")
    watched = watch(repair=policy)
    client = sdk.client(
        # The log tells the same finding of the same model once.
        sdk.frames([{**chunk, "model": f"snapshot-{policy}"} for chunk in sdk.tool_chat()[:-1]]),
        base_url="https://canary-user:canary-password@host.test/canary-path?canary=query",
        api_key="sk-canary",
        organization="canary-org",
        default_headers={"x-canary": "canary-header"},
    )
    method, arguments = sdk.asks(client, "chat")
    list(method(**arguments, user="canary-user", metadata={"canary": "canary"}))
    exported = [span.to_json() for span in watched.spans]
    data = metrics.get_metrics_data()
    exported += [data.to_json() if data else "", caplog.text]

    assert 3 == len(exported)
    assert all(exported)
    assert "host.test" in exported[0]
    assert [] == [text for text in exported if "canary" in text.lower()]


# --- what a hostile model server can make us keep


def named(model: str) -> Any:
    """The report of a stream that is cut, of a model of this name."""
    watch = StreamWatch("chat")
    watch.receive(body([sdk.chunk({"role": "assistant", "content": "x"}, model=model)], done=False))
    watch.close()
    return watch.report()


@pytest.mark.slow
def test_long_names_cost_the_log_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    """A server that calls its models by a megabyte each is told about, and not remembered by it."""
    findings = FindingsLog()
    findings.tell(named("first"), "host.test")
    tracemalloc.start()
    for number in range(30):
        findings.tell(named(f"{number}" + "m" * 1_000_000), "host.test")
    gc.collect()  # a stream's own parts refer to each other
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


@pytest.mark.slow
def test_a_span_stays_small_whatever_a_server_sends(watched: Watched) -> None:
    """A hundred thousand choices with reasons of their own, in names as long as they like."""
    long = "r" * 10_000
    choices = [{"index": number, "delta": {"content": "x"}, "finish_reason": long} for number in range(2_000)]
    flood = {**sdk.chunk({}), "id": long, "model": long, "choices": choices}
    sdk.read("sync", [*sdk.healthy("chat")[:2], sdk.frame(flood)])
    (span,) = watched.spans
    assert len(span.to_json()) < 100_000


# --- captures


def captured(directory: Path, model: str = "gpt-4o", **bounds: Any) -> Path:
    """The file of one anomalous stream."""
    captures = Captures(str(directory), **{"content": True, "max_files": 1, "max_bytes": 1 << 20, **bounds})
    path = captures.write(named(model), b"data: content\n\n", "end", "3.0.0")
    assert path is not None
    return path


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """022, as nearly everywhere."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.usefixtures("usual_umask")
def test_nobody_else_on_the_host_reads_captures(tmp_path: Path) -> None:
    """A file is its owner's alone, and so is the directory where we make it."""
    path = captured(tmp_path / "captures")
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_a_capture_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the file that a link of its name leads to, nor a capture of another container with the same numbers."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    report = named("gpt-4o")
    monkeypatch.setattr("time.strftime", lambda *_: "20260101T000000")
    name = f"20260101T000000-{os.getpid()}-{report.serial}-stream_truncated.sse"
    (tmp_path / "captures").mkdir()
    (tmp_path / "captures" / name).symlink_to(precious)
    Captures(str(tmp_path / "captures"), content=True, max_files=1, max_bytes=1 << 20).write(report, b"x", "end", "3")
    assert "precious" == precious.read_text()
    assert (tmp_path / "captures" / name).is_symlink()


def test_a_capture_is_no_longer_than_asked_for(tmp_path: Path) -> None:
    """Its header is a few short lines, whatever a model is called."""
    path = captured(tmp_path, model="m" * 1_000_000, max_bytes=1000)
    assert path.stat().st_size < 3000


def test_nothing_is_captured_unless_it_is_asked_for() -> None:
    """No directory, no captures; and no content in them, unless that is asked for too."""
    settings, complaints = Settings.from_environ({})
    assert [] == complaints
    assert not settings.capture_dir
    asked, _ = Settings.from_environ({"STREAMWATCH_CAPTURE_DIR": "captures"})
    assert asked.capture_dir
    assert not asked.capture_content


# --- what runs


def test_nothing_that_a_server_sends_is_run() -> None:
    """No eval, no pickle, no shell: in no module that runs in an application."""
    forbidden = {"eval", "exec", "compile", "__import__", "system", "popen"}
    modules = {"pickle", "marshal", "subprocess", "shelve", "ctypes"}
    for path in (ROOT / "streamwatch").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                on_re = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
                assert called not in forbidden or on_re, f"{path.name}: {called}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {one.name for one in node.names} | {getattr(node, "module", None) or ""}
                assert not {name.partition(".")[0] for name in names} & modules, path.name
