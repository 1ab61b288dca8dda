"""Real servers and real proxies: quiet where they are healthy, right where they are not, and nothing of it changed.

`make e2e-servers` runs these: transformers, LiteLLM in front of it, nginx and HAProxy. STREAMWATCH_E2E_SERVERS=all
adds llama.cpp's server and vLLM. All serve a tiny model that was made on the spot; an application asks them, plainly
and under `opentelemetry-instrument`. docs/servers.md says what each server does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from helpers.ports import free_port
from servers import environments, programs
from servers.dialects import DIALECTS, ROUTES, Dialect
from servers.questions import CITIES, TEXT, arguments
from servers.relay import Relay

WANTED = os.environ.get("STREAMWATCH_E2E_SERVERS", "")
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not WANTED, reason="make e2e-servers runs these"),
    pytest.mark.skipif(None in programs.PROXIES.values(), reason="HAProxy and nginx are not installed"),
    pytest.mark.skipif(not INSTRUMENT.exists(), reason="the package is not installed"),
]

#: Bytes of an answer, with its header, after which it is cut: a quarter of the text, which is 25 KB of events.
CUT = 6000
CHAT = ["text", "usage", "two", "call", "calls"]
RESPONSES = ["response", "response-call", "response-calls"]
QUESTIONS = [*CHAT, *RESPONSES, *(f"{name}/async" for name in (*CHAT, *RESPONSES))]
#: A proxy that knows nothing of streams sees no more in all of them than in these.
SOME = ["text", "calls", "response", "text/async", "calls/async", "response-calls/async"]
HELPED = [f"{name}/helper" for name in ("text", "calls", "response", "response-call", "response-calls")]


# --- the servers, started when they are asked for


class Site:
    """The servers that run, and the ways to them."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self.folder, self.ended = folder, ended
        self._servers: dict[str, Any] = {}
        self._ways: dict[str, tuple[str, str]] = {}

    def run(self, program: Any) -> Any:
        self.ended.callback(program.end)
        program.start()
        return program

    def server(self, name: str) -> Any:
        if name not in self._servers:
            kinds = {"transformers": programs.Transformers, "llama": programs.Llama, "vllm": programs.Vllm}
            self._servers[name] = self.run(kinds[name](self.folder))
        return self._servers[name]

    def litellm(self, base_url: str, model: str) -> Any:
        return self.run(programs.LiteLLM(self.folder, base_url, model))

    def proxy(self, kind: str, to: int, **options: str) -> Any:
        return self.run(programs.Proxy(kind, self.folder, to, **options))

    def relay(self, to: int, *how: Any) -> Relay:
        relay = Relay(to, *how)
        self.ended.callback(relay.end)
        return relay

    def way(self, route: str) -> tuple[str, str]:
        """The base URL of a route, and what the model is called there."""
        if route not in self._ways:
            self._ways[route] = self._way(route)
        return self._ways[route]

    def _way(self, route: str) -> tuple[str, str]:
        behind, _, proxy = route.partition(" behind ")
        server = self.server(behind)
        if proxy == "LiteLLM":
            return self.litellm(server.base_url, server.model).base_url, "tiny"
        if proxy == "HAProxy":
            return self.proxy("haproxy", server.port).base_url, server.model
        if proxy:
            return self.proxy("nginx", server.port, buffering=proxy.split()[-1]).base_url, server.model
        return server.base_url, server.model


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as ended:
        yield Site(tmp_path_factory.mktemp("servers"), ended)


# --- the application


def asked(
    way: tuple[str, str], questions: list[str], repair: str | None, python: Path = Path(sys.executable)
) -> tuple[list[dict[str, Any]], str]:
    """What an application read of each question, and what its Prometheus endpoint said; no `repair`: plainly."""
    base_url, model = way
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
    ours = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": programs.KEY, "ASKED_MODEL": model}
    ours["NO_PROXY"] = ours["no_proxy"] = "127.0.0.1,localhost"
    command = [str(python), str(Path(__file__).parents[1] / "servers" / "asking.py"), *questions]
    if repair:
        ours |= {"OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()), "STREAMWATCH_REPAIR": repair}
        command.insert(0, str(python.with_name("opentelemetry-instrument")))
    done = subprocess.run(command, env={**plain, **ours}, capture_output=True, text=True, timeout=600, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert [line["asked"] for line in lines] == questions
    return lines, last["metrics"]


#: Members that differ each time: times that a server measures, and what it still knew of a question.
VOLATILE = {"created", "created_at", "completed_at", "timings", "cached_tokens"}
IDS = {"id", "call_id", "item_id"}


def comparable(chunks: list[Any], *, lenient: bool = False) -> list[Any]:
    """Chunks with ids named after the order in which they came, without times; lenient: without null and empty."""
    names: dict[str, str] = {}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(each) for each in value]
        if not isinstance(value, dict):
            return value
        found = {}
        for key, each in value.items():
            if key in IDS and isinstance(each, str):
                each = names.setdefault(each, f"{key} {len(names)}")
            if key not in VOLATILE and not (lenient and (each is None or (key == "content" and not each))):
                found[key] = named(each)
        return found

    return [named(chunk) for chunk in chunks]


def without_deltas(chunks: list[Any]) -> list[Any]:
    """What comes the same however tokens are put together: of chat the first chunk, and those without choices."""
    kept = [
        chunk
        for place, chunk in enumerate(chunks)
        if not str(chunk.get("type")).endswith(".delta") and not (place and chunk.get("choices"))
    ]
    return [{key: value for key, value in chunk.items() if key != "sequence_number"} for chunk in kept]


def faults(line: dict[str, Any]) -> set[str]:
    """The faults of the one stream that was read."""
    (stream,) = line["watched"]
    kinds = stream["kinds"].items()
    return {kind for kind, known in kinds if known["streamwatch.severity"] == "fault"}


def assert_answered(line: dict[str, Any], dialect: Dialect) -> None:
    """The answer is the one that the model knows."""
    name = line["asked"].partition("/")[0]
    answer = line["answer"]
    calls = [{"name": "get_weather", "arguments": arguments(city)} for city in CITIES.get(name.split("-")[-1], [])]
    if name.startswith("response"):
        assert ("" if calls else TEXT, "completed") == (answer["text"].strip(), answer["status"])
        assert calls == [{**call, "arguments": spaced(call["arguments"])} for call in answer["calls"]]
        return
    expected = 2 if name == "two" and dialect.choices == 2 else 1
    assert expected == len(answer["choices"])
    for choice in answer["choices"].values():
        assert ("" if calls else TEXT) == choice["text"].strip()
        assert calls == [{**call, "arguments": spaced(call["arguments"])} for call in choice["calls"]]
        assert ("tool_calls" if calls else "stop") == choice["finish"]
    if name in ("usage", "calls"):
        assert answer["usage"]["completion_tokens"] > 20


def spaced(text: str) -> str:
    """Arguments as `json.dumps` writes them."""
    return json.dumps(json.loads(text))


def counted(exposition: str, metric: str) -> float:
    """The sum of a counter."""
    return sum(float(value) for value in re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)$", exposition, re.MULTILINE))


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    """A server, directly or behind a proxy."""
    if request.param.partition(" ")[0] in ("llama", "vllm") and WANTED != "all":
        pytest.skip("STREAMWATCH_E2E_SERVERS=all runs this")
    return str(request.param)


def test_a_healthy_server_is_read_as_it_is(site: Site, route: str) -> None:
    """Observed: chunk for chunk what a plain client reads. Repaired: the same answers. No fault but the known ones."""
    way, dialect = site.way(route), DIALECTS[route]
    every = SOME if route.endswith(("nginx on", "nginx off", "HAProxy")) else QUESTIONS
    questions = [name for name in every if name.partition("/")[0] not in dialect.refused]
    plain, _ = asked(way, questions, None)
    observed, _ = asked(way, questions, "none")
    repaired, exposition = asked(way, questions, "default")

    for before, seen, mended in zip(plain, observed, repaired, strict=True):
        name = before["asked"]
        assert "" == before["error"] == seen["error"] == mended["error"], name
        if dialect.gathered:
            for line in (before, seen, mended):
                line["chunks"] = without_deltas(line["chunks"])
        assert comparable(before["chunks"]) == comparable(seen["chunks"]), name
        if not dialect.changed(name):
            assert comparable(before["chunks"], lenient=True) == comparable(mended["chunks"], lenient=True), name
        answers = [comparable([line["answer"]]) for line in (before, seen, mended)]
        assert answers[0] == answers[1] == answers[2], name
        assert_answered(mended, dialect)
        for line in (seen, mended):
            assert ["complete"] == [stream["verdict"] for stream in line["watched"]], name
            assert dialect.faults(name) == faults(line), name
            assert dialect.kinds(name) == set(line["watched"][0]["kinds"]) - dialect.gathered, name
        assert ["repaired" if faults(mended) else "clean"] == [stream["condition"] for stream in mended["watched"]]
    assert len(questions) == counted(exposition, "streamwatch_streams_total")
    assert 0 == counted(exposition, "streamwatch_internal_errors_total")


def test_the_helpers_read_the_same(site: Site, route: str) -> None:
    """`.stream()` comes to the same answer, or raises the same, with Streamwatch and without."""
    if route.endswith(("nginx on", "nginx off", "HAProxy")):
        pytest.skip("what such a proxy passes on is compared already")
    way, dialect = site.way(route), DIALECTS[route]
    questions = [name for name in HELPED if name.partition("/")[0] not in dialect.refused]
    plain, _ = asked(way, questions, None)
    repaired, _ = asked(way, questions, "default")

    for before, mended in zip(plain, repaired, strict=True):
        name = before["asked"]
        if name in dialect.mended:
            assert before["error"]
            assert "" == mended["error"]
            continue
        assert before["error"] == mended["error"], name
        assert comparable(before["chunks"], lenient=True) == comparable(mended["chunks"], lenient=True), name


# --- cuts

CUTS = ["text", "text/async", "response", "response/async"]


def assert_truncated(way: tuple[str, str], questions: list[str], *, raises: bool) -> None:
    """Told as truncated; the application sees what it sees without Streamwatch."""
    all_plain, _ = asked(way, questions, None)
    all_seen, _ = asked(way, questions, "default")
    for plain, seen in zip(all_plain, all_seen, strict=True):
        assert [("truncated", "broken")] == [(each["verdict"], each["condition"]) for each in seen["watched"]]
        assert "stream_truncated" in faults(seen)
        assert raises == bool(plain["error"]) == bool(seen["error"])
        assert plain["error"].partition(":")[0] == seen["error"].partition(":")[0]
        assert 10 < len(seen["chunks"]) < 120


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_that_ends_in_the_middle_is_a_truncation(site: Site, how: str) -> None:
    """A relay closes, or resets, after some thousand bytes of chat and of a response."""
    server = site.server("transformers")
    relay = site.relay(server.port, CUT, how)

    assert_truncated((relay.base_url, server.model), CUTS, raises=True)


def test_the_same_relay_uncut_is_a_normal_end(site: Site) -> None:
    """What tells them apart is the cut, and not the relay."""
    server = site.server("transformers")
    lines, _ = asked((site.relay(server.port).base_url, server.model), CUTS, "default")

    assert ["complete"] * 4 == [stream["verdict"] for line in lines for stream in line["watched"]]
    assert [set()] * 4 == [faults(line) for line in lines]


def test_a_timeout_of_haproxy_is_a_truncation(site: Site) -> None:
    """A server that stalls for longer than `timeout server`: HAProxy ends the connection."""
    server = site.server("transformers")
    relay = site.relay(server.port, CUT, "stall")
    proxy = site.proxy("haproxy", relay.port, timeout="2s")

    assert_truncated((proxy.base_url, server.model), ["text", "response/async"], raises=True)


def test_a_cut_that_a_proxy_makes_a_clean_end_of_is_a_truncation(site: Site) -> None:
    """nginx speaks HTTP/1.0 to the server, as it does by default before 1.29: a lost connection ends the body there.

    To the client the end is in order, so that a plain client takes a part of the answer for the whole.
    """
    server = site.server("transformers")
    relay = site.relay(server.port, CUT, "close")
    proxy = site.proxy("nginx", relay.port, http="1.0")

    assert_truncated((proxy.base_url, server.model), CUTS, raises=False)


def test_a_killed_server_is_a_truncation(site: Site) -> None:
    """The process of the server is killed while it answers chat, and a response."""
    for question in ("text", "response/async"):
        server = site.run(programs.Transformers(site.folder))
        asked((server.base_url, server.model), ["text"], None)  # the model is loaded by the first request
        relay = site.relay(server.port, CUT, server.kill)
        (line,), _ = asked((relay.base_url, server.model), [question], "default")

        assert ["truncated"] == [stream["verdict"] for stream in line["watched"]]
        assert line["error"]
        assert len(line["chunks"]) < 120


def test_a_cut_behind_litellm_is_no_normal_end(site: Site) -> None:
    """LiteLLM answers with status 500, or reports an error inside the stream, by how much of it was sent already."""
    server = site.server("transformers")
    proxy = site.litellm(site.relay(server.port, CUT, "close").base_url, server.model)
    lines, _ = asked((proxy.base_url, "tiny"), ["text", "text/async"], "default")

    for line in lines:
        assert line["error"].partition(":")[0] in ("APIError", "InternalServerError")
        assert {stream["verdict"] for stream in line["watched"]} <= {"error"}
        assert bool(line["watched"]) == line["error"].startswith("APIError")


@pytest.mark.parametrize("version", environments.CLIENTS)
def test_old_clients_read_the_same_text(site: Site, version: str) -> None:
    """Text, with clients of earlier years: chunk for chunk what they read without Streamwatch."""
    of = environments.CLIENTS[version]
    environments.build(of, "--editable", str(Path(__file__).parents[2]))
    way = site.way("transformers")
    (plain,), _ = asked(way, ["text"], None, of.python)
    (seen,), _ = asked(way, ["text"], "default", of.python)

    assert comparable(plain["chunks"], lenient=True) == comparable(seen["chunks"], lenient=True)
    assert TEXT == seen["answer"]["choices"]["0"]["text"]
    assert ["complete"] == [stream["verdict"] for stream in seen["watched"]]
    assert set() == faults(seen)
