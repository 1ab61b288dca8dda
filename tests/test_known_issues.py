"""The two issues that Streamwatch began with, in an unmodified application, over a real socket."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import openai
import pytest

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
SNAPSHOT = "gpt-4o-2024-05-13"


def chunk(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1715600000, "model": SNAPSHOT}
    return {**head, "choices": [choice], **more}


def call(**function):
    return {"index": 0, "function": function}


HEADER = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
TOOLS = [
    chunk({"role": "assistant", "tool_calls": [HEADER]}),
    chunk({"tool_calls": [call(arguments='{"city":')]}),
    chunk({"tool_calls": [call(arguments='"Paris"}')]}),
    chunk({}, "tool_calls"),
]
# What a relay stamped 0 to 8 and a load balancer put into another order: expected index 5 but got 7.
ORDER = [0, 1, 2, 3, 4, 7, 5, 6, 8]
TEXT = [
    chunk({"role": "assistant", "content": ""} if n == 0 else {"content": f"{n} "}, sequence_number=n) for n in range(8)
] + [chunk({}, "stop", sequence_number=8)]
STREAMS = {"weather?": TOOLS, "count!": [TEXT[n] for n in ORDER]}


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        chunks = STREAMS[request["messages"][0]["content"]]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for payload in [*map(json.dumps, chunks), "[DONE]"]:
            event = f"data: {payload}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def base_url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=["installed", "1.23.0"])
def python(request, tmp_path_factory):
    """A Python with Streamwatch and a release of openai: the one installed, and one of those the issues name."""
    if request.param == "installed":
        if not hasattr(openai._models.BaseModel, "to_dict"):
            pytest.skip(f"openai {openai.__version__} has no to_dict(), which the tutorial uses")
        return Path(sys.executable)
    home = tmp_path_factory.mktemp("openai") / "venv"
    venv.create(home, with_pip=True)
    # httpx 0.28 dropped an argument that this openai passes.
    wanted = ["--editable", str(PROJECT), f"openai=={request.param}", "httpx<0.28"]
    command = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"openai {request.param} cannot be installed here")
    return home / "bin" / "python"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def tutorial(python, base_url, *command, **variables):
    """The tutorial's program; what it printed, and the process, which stays until the end of the block."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMWATCH_", "PYTHON"))}
    environment |= {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-test", **variables}
    program = [*command, str(python), str(TESTS / "apps" / "tutorial.py")]
    process, said = started(program, environment)
    try:
        yield json.loads(said or "null"), process
    finally:
        process.communicate(timeout=30)


def started(program, environment):
    """A process, and its first line.

    The tutorial abandons a stream on its KeyError. With openai 1.x and 2.x the plain SDK can then hang: httpcore closes
    the connection when Python collects the stream, and waits for a lock that the very thread holds if that happens
    while it opens the next one. (`gc.set_threshold(50)` shows it without Streamwatch.) So it gets a second chance.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for attempt in range(3):
        process = subprocess.Popen(program, env=environment, **pipes)
        hung = threading.Timer(60, process.kill)
        hung.start()
        said = process.stdout.readline()
        hung.cancel()
        if said or attempt == 2:
            return process, said
        process.communicate(timeout=30)
    return None


def scrape(port):
    for _ in range(50):
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=5) as response:
                return response.read().decode()
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"nothing on port {port}")


def samples(metrics, name):
    """The samples of a metric: their labels, and their value."""
    for line in metrics.splitlines():
        if line.startswith(name + "{"):
            yield dict(re.findall(r'(\w+)="([^"]*)"', line)), float(line.rpartition(" ")[2])


def openai_version(python):
    show = "from importlib.metadata import version; print(version('openai'))"
    return subprocess.check_output([str(python), "-c", show], text=True).strip()


def test_the_tutorial_fails_without_streamwatch(python, base_url):
    """KeyError: 'content', and the text in the order 5, 7, 6."""
    with tutorial(python, base_url) as (said, _):
        assert said == {"tools": "KeyError: 'content'", "text": "1 2 3 4 7 5 6 "}


def test_the_tutorial_succeeds_with_streamwatch_and_the_counters_say_so(python, base_url):
    """The same program, started with opentelemetry-instrument and nothing configured but its port."""
    port = free_port()
    instrument = str(python.parent / "opentelemetry-instrument")
    with tutorial(python, base_url, instrument, OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as (said, _):
        assert said == {"tools": ["", '{"city":"Paris"}'], "text": "1 2 3 4 5 6 7 "}
        metrics = scrape(port)

    version = openai_version(python)
    common = {
        "gen_ai_operation_name": "chat",
        "gen_ai_request_model": "gpt-4o",
        "gen_ai_response_model": SNAPSHOT,
        "server_address": "127.0.0.1",
        "streamwatch_openai_version": version,
    }
    found = list(samples(metrics, "streamwatch_anomalies_total"))
    assert all(common.items() <= labels.items() for labels, _ in found)
    assert {labels["streamwatch_anomaly"]: count for labels, count in found} == {
        "content_absent": 5,  # the three fragments of a tool call, two finish chunks
        "sequence_out_of_order": 2,  # 5 and 6 came after 7
    }
    repaired = {
        labels["streamwatch_anomaly"]: (labels["streamwatch_outcome"], labels["streamwatch_applied"], count)
        for labels, count in samples(metrics, "streamwatch_repairs_total")
    }
    assert repaired == {
        "content_absent": ("unverified", "true", 5),
        "sequence_out_of_order": ("verified", "true", 2),
    }
    assert sorted(
        (labels["streamwatch_verdict"], labels["streamwatch_condition"], count)
        for labels, count in samples(metrics, "streamwatch_streams_total")
    ) == [("complete", "clean", 1), ("complete", "repaired", 1)]


def test_observing_changes_nothing_and_tells_what_a_repair_would_come_to(python, base_url):
    """STREAMWATCH_REPAIR=none: the application's own errors, the same anomalies, applied=false."""
    port = free_port()
    instrument = str(python.parent / "opentelemetry-instrument")
    variables = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "STREAMWATCH_REPAIR": "none"}
    with tutorial(python, base_url, instrument, **variables) as (said, _):
        assert said == {"tools": "KeyError: 'content'", "text": "1 2 3 4 7 5 6 "}
        metrics = scrape(port)
    applied = {labels["streamwatch_applied"] for labels, _ in samples(metrics, "streamwatch_repairs_total")}
    assert applied == {"false"}
    out_of_order = [
        (labels["streamwatch_outcome"], count)
        for labels, count in samples(metrics, "streamwatch_repairs_total")
        if labels["streamwatch_anomaly"] == "sequence_out_of_order"
    ]
    assert out_of_order == [("verified", 2)]
