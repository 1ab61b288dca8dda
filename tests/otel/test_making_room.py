"""The application's own Prometheus server goes before ours, with nothing changed but the port."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, exposition, generate_latest

from helpers.instrumented import command, environment
from helpers.ports import taken
from streamwatch.otel import making_room
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.prometheus_reader import PrometheusReader

#: What a program says of an address: its own series, and how often ours are there.
HELPERS = """
    import faulthandler, logging, os, ssl, sys, time, urllib.request
    faulthandler.dump_traceback_later(60, exit=True)
    from prometheus_client import CollectorRegistry, Counter, REGISTRY
    first = int(os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"])

    def served(port, scheme="http", host="localhost"):
        try:
            context = ssl._create_unverified_context() if scheme == "https" else None
            url = f"{scheme}://{host}:{port}/metrics"
            text = urllib.request.urlopen(url, timeout=10, context=context).read().decode()
        except OSError:
            return None
        lines = text.splitlines()
        return [sum(line.startswith(name) for line in lines) for name in ("mine_total", "streamwatch_build_info{")]
"""


def ran(code: str, first: int, **environ: str) -> list[str]:
    """What a program prints under the agent, with what it logs of us behind it."""
    log = 'logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)\n'
    done = subprocess.run(
        command(textwrap.dedent(HELPERS) + log + textwrap.dedent(code)),
        env=environment(OTEL_EXPORTER_PROMETHEUS_PORT=str(first), **environ),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    warnings = done.stderr.splitlines()
    assert 0 == done.returncode, done.stderr
    assert [] == [line for line in warnings if not line.startswith("streamwatch: port ")]
    return [re.sub(r"process \d+", "process N", line) for line in [*warnings, *done.stdout.splitlines()]]


def said(first: int) -> str:
    """The one line of the log."""
    return f"streamwatch: the application serves port {first} itself; Streamwatch's metrics are in its registry"


@pytest.mark.slow  # the tests at the end make room in this process
@pytest.mark.parametrize(
    "start",
    [
        "start_http_server(first)",
        "start_http_server(first, addr='localhost')",
        "start_http_server(port=first, addr='127.0.0.1', registry=REGISTRY)",
        "start_wsgi_server(first, '0.0.0.0')",
        "exposition.start_http_server(first)",
    ],
)
def test_the_applications_server_gets_the_port(start: str, ports: range) -> None:
    """As without us: no exception, its series, ours beside them and once, one line in the log, and no second port."""
    code = f"""
    from prometheus_client import exposition, start_http_server, start_wsgi_server
    Counter("mine", "").inc()
    {start}
    print(served(first), served(first + 1))
    """

    assert [said(ports[0]), "[1, 1] None"] == ran(code, ports[0])


@pytest.mark.slow
def test_a_registry_of_the_applications_own_gets_what_we_count(ports: range) -> None:
    """Once, without what it has by the same name, and for as long as it serves."""
    code = """
    from prometheus_client import generate_latest, start_http_server
    own = CollectorRegistry(target_info={"env": "test"})
    Counter("mine", "", registry=own).inc()
    start_http_server(first, registry=own)
    print(served(first), generate_latest(own).decode().count("target_info{"))
    start_http_server(first + 5, registry=own)
    print(served(first + 5), served(first + 1))
    """

    assert [said(ports[0]), "[1, 1] 1", "[1, 1] None"] == ran(code, ports[0])


@pytest.mark.slow
def test_a_registry_that_takes_nothing_leaves_us_another_port(ports: range) -> None:
    """A view of some names of a registry: the application has its port, and what we count is not lost."""
    code = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first, registry=REGISTRY.restricted_registry(["mine_total"]))
    print(served(first), served(first + 1))
    """
    line, counts = ran(code, ports[0])

    assert "[1, 0] [1, 1]" == counts
    assert f"streamwatch: port {ports[0]} is in use; Prometheus metrics of process N are on {ports[1]}" == line


@pytest.mark.slow
def test_the_port_that_we_had_to_take_instead_is_the_applications_as_well(ports: range) -> None:
    """Wherever our endpoint is when the application asks."""
    code = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first + 1)
    print(served(first + 1), served(first + 2))
    """
    with taken(ports[0]):
        lines = ran(code, ports[0])

    assert [said(ports[1]), "[1, 1] None"] == lines[-2:]


@pytest.mark.slow
def test_another_port_is_no_reason_to_go(ports: range) -> None:
    """Nor is a server of another kind, which nobody can know of: it fails as beside any other server."""
    code = """
    import http.server
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first + 3)
    print(served(first), served(first + 3))
    try:
        http.server.HTTPServer(("localhost", first), http.server.BaseHTTPRequestHandler)
    except OSError as error:
        print(type(error).__name__, served(first))
    """

    assert ["[1, 1] [1, 1]", "OSError [1, 1]"] == ran(code, ports[0])


@pytest.mark.slow
def test_an_application_that_fails_fails_as_without_us(ports: range) -> None:
    """Its exception is its own, and our endpoint is where it was."""
    code = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    taken, _ = start_http_server(first + 1, addr="localhost")
    for port, addr in ((first + 1, "localhost"), (first, "203.0.113.1"), (70000, "localhost")):
        try:
            start_http_server(port, addr=addr)
        except (OSError, OverflowError) as error:
            print(type(error).__name__, served(first))
    """

    assert ["OSError [1, 1]", "OSError [1, 1]", "OverflowError [1, 1]"] == ran(code, ports[0])


@pytest.mark.slow
def test_who_starts_twice_fails_as_without_us(ports: range) -> None:
    """The port is the application's own by then."""
    code = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first)
    try:
        start_http_server(first)
    except OSError as error:
        print(type(error).__name__, served(first))
    """

    assert [said(ports[0]), "OSError [1, 1]"] == ran(code, ports[0])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl on this machine")
def test_a_server_with_tls_gets_the_port(ports: range, tmp_path: Path) -> None:
    """What we count is behind it, under its certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], capture_output=True, check=True
    )
    code = f"""
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first, certfile={str(certificate)!r}, keyfile={str(key)!r})
    print(served(first, "https"), served(first + 1))
    """

    assert [said(ports[0]), "[1, 1] None"] == ran(code, ports[0])


# --- processes that a process starts

#: A worker that serves its own metrics on the port that its supervisor's endpoint has; then what both serve.
WORKER = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    start_http_server(first)
    print(served(first), flush=True)
    print([port - first for port in range(first + 1, first + 10) if served(port)], flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("settled", [0.0, 2.5], ids=["at once", "later"])
def test_a_forked_worker_gets_the_port_of_its_parent(settled: float, ports: range) -> None:
    """The parent moves on to another one; the child's own endpoint is beside the application's server, or in it."""
    code = f"""
    if os.fork() == 0:
        time.sleep({settled})
{textwrap.indent(WORKER, "    ")}
        os._exit(0)
    os.wait()
    print(served(first), served(first + 1), served(first + 2))
    """
    lines = ran(code, ports[0])
    printed = [line for line in lines if line.startswith(("[", "None"))]

    assert "[1, 1]" == printed[0]
    assert 1 == sum(line.endswith(f"serves port {ports[0]} itself, in another process") for line in lines)
    assert 1 == printed[-1].count("[")
    assert printed[-1].startswith("None ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", ["subprocess.run([sys.executable, '-W', 'ignore', '-c', worker], check=True)", "spawned()"]
)
def test_a_worker_that_is_started_gets_the_port_of_its_supervisor(start: str, ports: range) -> None:
    """As uvicorn starts the application below its reloader: the supervisor took the port before it was there."""
    code = f"""
    import multiprocessing, subprocess
    worker = {textwrap.dedent(HELPERS) + textwrap.dedent(WORKER)!r}

    def spawned():
        process = multiprocessing.get_context("spawn").Process(target=exec, args=(worker, {{}}))
        process.start()
        process.join()
        assert process.exitcode == 0

    if __name__ == "__main__":
        {start}
        print(served(first), served(first + 1) or served(first + 2))
    """
    lines = ran(code, ports[0])
    printed = [line for line in lines if line.startswith(("[", "None"))]

    assert "[1, 1]" == printed[0]
    assert "None [0, 1]" == printed[-1]


@pytest.mark.slow
def test_workers_get_the_ports_that_they_are_meant_to_have(ports: range) -> None:
    """One each, the first one's among them: whoever of the family has it moves on, and again."""
    code = """
    from prometheus_client import start_http_server
    Counter("mine", "").inc()
    gone, there = os.pipe(), os.pipe()
    for number in range(3):
        if os.fork() == 0:
            start_http_server(first + number)
            os.write(there[1], b"1")
            os.read(gone[0], 1)
            os._exit(0)
        time.sleep(0.1)
    for number in range(3):
        os.read(there[0], 1)
    print([served(first + number) for number in range(3)])
    os.write(gone[1], b"123")
    for _ in range(3):
        os.wait()
    """
    lines = ran(code, ports[0])

    assert "[[1, 1], [1, 1], [1, 1]]" == [line for line in lines if line.startswith("[")][-1]


def test_who_has_no_key_moves_nobody(ports: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any request but the one of a process of the same family, for the very port, is a scrape."""
    making_room.found_family()
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})
    one.serve(CollectorRegistry())
    try:
        for key in ("", "Streamwatch ", "Streamwatch " + "0" * 64, "Streamwatch é", "Bearer x"):
            headers = {"Authorization": key.encode().decode("latin-1")}
            asked = urllib.request.Request(f"http://localhost:{ports[0]}{making_room.PATH}", headers=headers)
            assert 200 == urllib.request.urlopen(asked, timeout=10).status
        assert one.server.server_port == ports[0]
        with monkeypatch.context() as stranger:
            stranger.setenv(making_room._KEY, "0" * 64)
            assert making_room._asked(one, ports[0]) is False
        monkeypatch.setattr(making_room, "authorization", lambda port, known=making_room.authorization: known(port + 1))
        assert making_room._asked(one, ports[0]) is False
        monkeypatch.undo()
        assert making_room._asked(one, ports[0]) is True
    finally:
        for _ in range(100):
            if one.server is not None and one.server.server_port != ports[0]:
                break
            threading.Event().wait(0.05)
        assert one.server.server_port == ports[1]
        one.close()


# --- in this process


@pytest.fixture
def watching(ports: range, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Endpoint]]:
    """Opens an endpoint that makes room; all is undone after the test."""
    monkeypatch.setenv(making_room._KEY, "key")
    opened, undone = list[Endpoint](), list[Callable[[], None]]()

    def watch() -> Endpoint:
        one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})
        one.serve(CollectorRegistry())
        PrometheusReader(one.registry)
        opened.append(one)
        undone.append(making_room.watch(one))
        return one

    yield watch
    for undo in reversed(undone):
        undo()
    for one in opened:
        one.close()


@pytest.fixture
def started() -> Iterator[Callable[..., Any]]:
    """Starts servers of an application, which end after the test."""
    servers = []

    def start(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        servers.append(function(*given, **named)[0])
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_function_that_was_imported_before_makes_room_as_well(
    watching: Callable[[], Endpoint],
    started: Callable[..., Any],
    ports: range,
) -> None:
    """It is not the functions that are wrapped."""
    function = prometheus_client.start_http_server
    one = watching()

    assert function is prometheus_client.start_http_server is exposition.start_http_server
    started(function, ports[0], "localhost", registry=(own := CollectorRegistry()))
    assert one.server is None
    assert b"streamwatch_build_info" in generate_latest(own)


@pytest.mark.slow
def test_an_endpoint_that_hangs_holds_up_nobody(
    watching: Callable[[], Endpoint],
    started: Callable[..., Any],
    ports: range,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread may wait for a client that has gone, or never look whether it should stop."""
    one = watching()
    monkeypatch.setattr(one.server, "shutdown", lambda: threading.Event().wait(60))
    began = time.monotonic()
    started(prometheus_client.start_http_server, ports[0], "localhost")

    assert time.monotonic() - began < 10


def test_nothing_is_left_when_it_is_over(watching: Callable[[], Endpoint]) -> None:
    """No wrapper on a class of prometheus_client."""
    before = dict(vars(exposition.ThreadingWSGIServer))
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    undo = making_room.watch(one)
    assert before != dict(vars(exposition.ThreadingWSGIServer))
    undo()

    assert before == dict(vars(exposition.ThreadingWSGIServer))


def test_a_wrapper_of_somebody_else_stays(
    started: Callable[..., Any], ports: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ours below it does nothing any more."""
    one = Endpoint({"OTEL_EXPORTER_PROMETHEUS_PORT": str(ports[0])})
    undo = making_room.watch(one)
    ours, calls = exposition.ThreadingWSGIServer.server_bind, list[Any]()
    theirs = lambda server: (calls.append(server), ours(server))[1]  # type: ignore[func-returns-value]  # noqa: E731
    monkeypatch.setattr(exposition.ThreadingWSGIServer, "server_bind", theirs)
    undo()
    monkeypatch.setattr(making_room, "_meets", None)
    server = started(prometheus_client.start_http_server, ports[0], "localhost")

    assert exposition.ThreadingWSGIServer.server_bind is theirs
    assert calls == [server]


@pytest.mark.parametrize("broken", ["close", "serve"])
def test_a_failure_of_ours_costs_the_application_nothing(
    broken: str,
    watching: Callable[[], Endpoint],
    started: Callable[..., Any],
    ports: range,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is one warning. Where our endpoint cannot let go, the port is in use, as that of any other server."""
    one = watching()
    with monkeypatch.context() as patch:
        patch.setattr(one, broken, lambda *_: 1 // 0)
        if broken == "close":
            with pytest.raises(OSError, match="in use"):
                started(prometheus_client.start_http_server, ports[0], "localhost")
        else:
            view = CollectorRegistry().restricted_registry(["x"])
            started(prometheus_client.start_http_server, ports[0], "localhost", registry=view)

    assert 1 == sum("ZeroDivisionError" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 2), False),
        (("127.0.0.1", 1), ("127.0.0.1", 1), True),
        (("::1", 1, 0, 0), ("127.0.0.1", 1), True),
        (("127.0.0.1", 1), ("0.0.0.0", 1), True),
        (("127.0.0.1", 1), ("", 1), True),
        (("::", 1, 0, 0), ("192.0.2.1", 1), True),
        (("127.0.0.1", 1), ("192.0.2.1", 1), False),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("a host", 1), ("192.0.2.2", 1), True),
    ],
)
def test_addresses_meet_where_one_client_may_reach_both(one: Any, other: Any, meets: bool) -> None:
    """Another interface of this host is another place."""
    assert making_room.overlap(one, other) is meets
    assert making_room.overlap(other, one) is meets


def test_a_stranger_on_the_port_is_asked_once_and_left_alone(
    watching: Callable[[], Endpoint],
    ports: range,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application's error is its own; and what the stranger is shown is of no use for another port."""
    one = watching()
    asked = list[bytes]()

    def stranger(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            asked.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", ports[5])) as listener:
        threading.Thread(target=stranger, args=(listener,), daemon=True).start()
        with pytest.raises(OSError, match="in use"):
            prometheus_client.start_http_server(ports[5], "127.0.0.1")

    assert [f"GET {making_room.PATH} HTTP/1.1".encode()] == [each.split(b"\r\n")[0] for each in asked]
    assert one.server is not None


def test_a_name_that_the_application_has_stays_the_applications() -> None:
    """Of what we move into its registry, only what is free there is told: two families of one name are no exposition."""
    registry, ours = CollectorRegistry(), CollectorRegistry()
    prometheus_client.Gauge("taken", "The application's.", registry=registry).set(1)
    for name in ("taken", "free"):
        prometheus_client.Gauge(name, "Ours.", registry=ours).set(2)
    registry.register(making_room._Guest(ours, registry))

    assert [("taken", 1), ("free", 2)] == [(family.name, family.samples[0].value) for family in registry.collect()]
