"""`streamwatch check` reads every form in which streams are recorded, and says what is wrong, where, and what it costs."""

from __future__ import annotations

import base64
import errno
import gzip
import importlib.util
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result
from openai import _streaming

from helpers.cases import CASES
from helpers.stream_builders import body, said
from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.cli import main
from streamwatch.cli.check import command, recordings
from streamwatch.cli.check.recordings import Recording, Unreadable, recordings_in
from streamwatch.cli.check.replay import choices_asked, fixed, replay
from streamwatch.cli.common import client_code
from streamwatch.core.kinds import PROTOCOL_FOREIGN
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.export import capture
from streamwatch.export.masking import mask

HEALTHY = body(said("The harbour", " is quiet."))
CUT = HEALTHY[: HEALTHY.index(b'"finish_reason":"stop"')].rpartition(b"data: ")[0]
URL = "https://api.example.test/v1/chat/completions"
ASKED = {"model": "gpt-4o", "n": 1, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
EVENT_STREAM = "text/event-stream; charset=utf-8"
HAS_YAML = importlib.util.find_spec("yaml") is not None
needs_yaml = pytest.mark.skipif(not HAS_YAML, reason="PyYAML is not installed")


def run(*arguments: str | Path, input: bytes | None = None, env: dict[str, str] | None = None) -> Result:
    """The command, run in this process; an exception that escapes it fails the test."""
    result = CliRunner().invoke(main, ["check", *map(str, arguments)], input=input, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def checked(*arguments: str | Path, **more: Any) -> list[dict[str, Any]]:
    """What `--json` says, of each stream; without the SDK unless it is asked for."""
    sdk = () if "--sdk" in arguments else ("--no-sdk",)
    return [json.loads(line) for line in run(*arguments, *sdk, "--json", **more).stdout.splitlines()]


def kinds(record: dict[str, Any]) -> list[str]:
    """The kinds found in a stream."""
    return [anomaly["kind"] for anomaly in record["anomalies"]]


def one(data: bytes) -> Recording:
    """The one stream of a file."""
    (recording,) = recordings_in(data, "file")
    assert isinstance(recording, Recording)
    return recording


def broken() -> bytes:
    """A stream with one fault that is repaired by default: a comment that a relay sent as data."""
    first, *rest = HEALTHY.split(b"\n\n")
    return b"\n\n".join([first, b"data: null", *rest])


# --- every form of a recording


def har(response: dict[str, Any], **entry: Any) -> bytes:
    """A HAR file of a browser: a picture first, then a stream."""
    picture = {
        "request": {"url": "https://example.test/a.png"},
        "response": {"status": 200, "content": {"mimeType": "image/png", "text": "iVBO", "encoding": "base64"}},
    }
    request = {"method": "POST", "url": URL, "postData": {"mimeType": "application/json", "text": json.dumps(ASKED)}}
    return json.dumps(
        {"log": {"version": "1.2", "entries": [picture, {"request": request, "response": response, **entry}]}}
    ).encode()


def har_content(**content: Any) -> dict[str, Any]:
    """The response of an entry."""
    return {"status": 200, "headers": [], "content": {"mimeType": EVENT_STREAM, **content}}


def cassette(body: Any, content_type: Any = (EVENT_STREAM,), **headers: Any) -> dict[str, Any]:
    """A cassette: a JSON answer first, then a stream."""
    models = {"request": {"uri": "https://api.example.test/v1/models", "method": "GET", "body": None}}
    models["response"] = {"status": {"code": 200}, "headers": {"Content-Type": ["application/json"]}, "body": {}}  # type: ignore[dict-item]
    return {
        "version": 1,
        "interactions": [
            models,
            {
                "request": {"uri": URL, "method": "POST", "body": json.dumps(ASKED)},
                "response": {
                    "status": {"code": 200, "message": "OK"},
                    "headers": {"Content-Type": list(content_type), **headers},
                    "body": body,
                },
            },
        ],
    }


def as_yaml(document: Any) -> bytes:
    """A document in YAML, as VCR writes it."""
    import yaml

    return yaml.safe_dump(document).encode()  # type: ignore[no-any-return]


def captured() -> bytes:
    """A capture as Streamwatch writes it, masked."""
    watch = StreamWatch("chat")
    watch.receive(HEALTHY)
    watch.close()
    return capture.header(watch.report(), "end", "3.0.0", masked=True) + mask(HEALTHY)


LINES = b"".join(json.dumps(payload).encode() + b"\n" for payload in said("The harbour", " is quiet."))
MESSAGES = [
    {"time": 1.5, "eventName": "message", "eventId": "", "data": frame.removeprefix("data: ")}
    for frame in HEALTHY.decode().split("\n\n")
    if frame
]
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nServer: x\r\n\r\n"
#: Name of a form -> its file, the name of its format, and whether the request is known.
FORMS: dict[str, tuple[Callable[[], bytes], str, bool]] = {
    "body": (lambda: HEALTHY, "body", False),
    "body with CRLF": (lambda: HEALTHY.replace(b"\n", b"\r\n"), "body", False),
    "body in UTF-16": (lambda: HEALTHY.decode().encode("utf-16"), "body", False),
    "gzip": (lambda: gzip.compress(HEALTHY), "body", False),
    "curl -i": (lambda: HEADERS + HEALTHY, "curl -i", False),
    "curl -i, HTTP/2": (lambda: HEADERS.replace(b"HTTP/1.1 200 OK", b"HTTP/2 200 ") + HEALTHY, "curl -i", False),
    "curl -i through a proxy": (
        lambda: b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + HEADERS + HEALTHY,
        "curl -i",
        False,
    ),
    "curl -i, gzip": (lambda: HEADERS + gzip.compress(HEALTHY), "curl -i", False),
    "capture": (captured, "masked capture", False),
    "JSON lines": (lambda: LINES, "JSON lines", False),
    "JSON array": (lambda: json.dumps(said("The harbour", " is quiet.")).encode(), "JSON array", False),
    "HAR": (lambda: har(har_content(text=HEALTHY.decode())), "HAR", True),
    "HAR, base64": (
        lambda: har(har_content(text=base64.b64encode(HEALTHY).decode(), encoding="base64")),
        "HAR",
        True,
    ),
    "HAR, base64 and gzip": (
        lambda: har(har_content(text=base64.b64encode(gzip.compress(HEALTHY)).decode(), encoding="base64")),
        "HAR",
        True,
    ),
    "HAR, events of Chrome": (lambda: har(har_content(), _eventSourceMessages=MESSAGES), "HAR", True),
    "VCR, JSON": (lambda: json.dumps(cassette({"string": HEALTHY.decode()})).encode(), "VCR cassette", True),
    "VCR, JSON, base64": (
        lambda: json.dumps(cassette({"base64_string": base64.b64encode(HEALTHY).decode()})).encode(),
        "VCR cassette",
        True,
    ),
    "VCR, text alone": (
        lambda: json.dumps(cassette(HEALTHY.decode(), EVENT_STREAM.split("|"))).encode(),
        "VCR cassette",
        True,
    ),
}
YAML_FORMS: dict[str, Callable[[], bytes]] = {
    "text": lambda: as_yaml(cassette({"string": HEALTHY.decode()})),
    "bytes": lambda: as_yaml(cassette({"string": HEALTHY})),
    "gzip": lambda: as_yaml(cassette({"string": gzip.compress(HEALTHY)}, **{"Content-Encoding": ["gzip"]})),
    "deflate": lambda: as_yaml(cassette({"string": zlib.compress(HEALTHY)}, **{"Content-Encoding": ["deflate"]})),
    "Python 2": lambda: as_yaml(cassette({"string": HEALTHY.decode()})).replace(b"uri: ", b"uri: !!python/unicode ", 2),
    "Ruby": lambda: as_yaml({"http_interactions": cassette({"string": HEALTHY.decode()})["interactions"]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path) -> None:
    """Whatever it is called: the stream is complete, its model known, and its request where the form has it."""
    make, format, knows_request = FORMS[form]
    path = tmp_path / "no-extension"
    path.write_bytes(make())
    (record,) = checked(path)

    assert (record["format"], record["verdict"], record["condition"], record["api"]) == (
        format,
        "complete",
        "clean",
        "chat",
    )
    assert record["model"].startswith("gpt-4o")
    assert record["host"] == ("api.example.test" if knows_request else "")
    assert not [each for each in record["anomalies"] if each["severity"] == "fault"]
    assert run(path, "--no-sdk").exit_code == 0


@needs_yaml
@pytest.mark.parametrize("form", YAML_FORMS)
def test_every_form_of_a_cassette_in_yaml_is_read(form: str, tmp_path: Path) -> None:
    """Text and bytes, packed or not, of Python and of Ruby."""
    path = tmp_path / "cassette"
    path.write_bytes(YAML_FORMS[form]())
    (record,) = checked(path)

    assert (record["format"], record["verdict"], record["place"]) == ("VCR cassette", "complete", "interaction 2")
    assert (record["host"], record["api"]) == ("api.example.test", "chat")


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("capture", "body in UTF-16")])
def test_the_body_is_the_one_that_was_recorded(form: str) -> None:
    """Byte for byte where the form keeps bytes, payload by payload where it does not."""
    recording = one(FORMS[form][0]())
    if "CRLF" in form:
        assert recording.body == HEALTHY.replace(b"\n", b"\r\n")
    elif "JSON a" in form or "JSON l" in form:
        payloads = [json.loads(frame[6:]) for frame in recording.body.split(b"\n\n")[:-2]]
        assert payloads == said("The harbour", " is quiet.")
        assert recording.body.endswith(b"data: [DONE]\n\n")
    else:
        assert recording.body == HEALTHY


def test_standard_input_is_read() -> None:
    """As in a pipe from curl."""
    result = run("-", "--no-sdk", input=HEALTHY)

    assert result.exit_code == 0
    assert result.stdout.startswith("-\nbody, chat, gpt-4o")


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_api_is_told_from_the_first_events(name: str) -> None:
    """Of every recording of a real server's shape."""
    assert one((HERE / f"{name}.sse").read_bytes()).api == recorded_api(name)


def test_the_api_can_be_named() -> None:
    """Where the first events do not tell it."""
    wire = body([{"type": "speech.audio.delta", "audio": "AA"}, {"type": "speech.audio.done"}])

    assert checked("-", input=wire)[0]["api"] == "other"
    assert checked("-", "--api", "responses", input=wire)[0]["api"] == "responses"


def test_an_answer_that_is_no_stream_is_shown_as_what_it_is() -> None:
    """A server that answers a streaming request with a JSON error: the SDK sees no stream in it at all."""
    (record,) = checked("-", input=b'{"error": {"message": "model overloaded"}}')

    assert (record["verdict"], record["condition"]) == ("error", "broken")
    assert kinds(record) == ["error_hidden"]


def test_a_capture_brings_what_was_known_of_its_stream() -> None:
    """API and n of the request, and how the connection ended."""
    header = b": streamwatch api=chat\n: streamwatch n=2\n: streamwatch ended=%s\n\n"
    cut, closed = one(header % b"cut" + CUT), one(header % b"closed" + CUT)

    assert (cut.api, cut.request["n"], cut.cut, cut.abandoned) == ("chat", 2, True, False)
    assert (closed.cut, closed.abandoned) == (False, True)
    assert replay(cut, Settings()).report.verdict == "truncated"
    assert replay(closed, Settings()).report.verdict == "abandoned"
    assert replay(closed, Settings()).is_well


@pytest.mark.parametrize(
    ("finishing", "known", "wanted"),
    [((0,), None, 1), ((0, 1), None, 2), ((0, 1), 3, 3), ((0, 1, 2), None, 3)],
)
def test_the_number_of_choices_is_that_of_the_request_or_of_the_answer(
    finishing: tuple[int, ...], known: int | None, wanted: int
) -> None:
    """So that several choices are no fault where nobody recorded that they were asked for."""
    wire = body([each for index in finishing for each in said("Hi", index=index)])
    recording = Recording("x", wire, "body", api="chat", request={"n": known})

    assert choices_asked(recording) == wanted


# --- what is found, and where


def test_positions_are_those_of_the_file() -> None:
    """The number of the event, and the byte and line where its block begins."""
    wire = HEADERS + broken()
    (record,) = checked("-", input=wire)
    (found,) = [each for each in record["anomalies"] if each["kind"] == "payload_invalid"]
    at = wire.index(b"data: null")

    assert record["positions_in"] == "file"
    assert found["positions"] == [{"event": 2, "offset": at, "line": wire.count(b"\n", 0, at) + 1}]
    assert found["outcomes"] == {"verified": 1}


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data.decode().encode("utf-16")], ids=["gzip", "UTF-16"])
def test_positions_in_what_is_packed_are_those_of_the_body(pack: Callable[[bytes], bytes]) -> None:
    """Nobody can look at a place in packed bytes."""
    (record,) = checked("-", input=pack(HEADERS + broken()))
    (found,) = [each for each in record["anomalies"] if each["kind"] == "payload_invalid"]

    assert record["positions_in"] == "body"
    assert found["positions"] == [{"event": 2, "offset": broken().index(b"data: null"), "line": 3}]


def test_positions_in_json_lines_are_lines() -> None:
    """Each payload is one."""
    lines = LINES.replace(b'"finish_reason": null}]', b'"finish_reason": ""}]', 3)
    found = {each["kind"]: each["positions"] for each in checked("-", input=lines)[0]["anomalies"]}

    assert [position["line"] for position in found["finish_reason_irregular"]][:2] == [1, 2]
    assert [position["offset"] for position in found["finish_reason_irregular"]][1] == lines.index(b"\n") + 1


def test_what_is_known_at_the_end_only_stands_at_the_end() -> None:
    """A stream that was cut off."""
    (record,) = checked("-", input=CUT)
    (found,) = [each for each in record["anomalies"] if each["kind"] == "stream_truncated"]

    assert found["positions"] == [{"event": None, "offset": len(CUT), "line": CUT.count(b"\n") + 1}]


@pytest.mark.parametrize("name", RECORDINGS)
def test_block_by_block_shows_what_the_whole_does(name: str) -> None:
    """Positions change no finding: their number is that of the anomalies, or all that are kept."""
    wire = (HERE / f"{name}.sse").read_bytes()
    recording = one(wire)
    got, whole = replay(recording, Settings()), StreamWatch(recording.api)
    whole.receive(wire)
    whole.close()

    assert got.report.anomalies == whole.report().anomalies
    assert got.report.verdict == whole.report().verdict
    assert {kind: len(places) for kind, places in got.positions.items()} == {
        kind: min(count, 100) for kind, count in got.report.anomalies.items()
    }


def test_the_recordings_are_all_well(tmp_path: Path) -> None:
    """Exit code 0, and a line for each; other files of the directory are counted, and no more."""
    for path in HERE.iterdir():
        if path.is_file():  # those of servers, in a folder of their own, are cut and broken in part
            shutil.copy(path, tmp_path)
    result = run(tmp_path, "--no-sdk")
    lines = result.stdout.splitlines()

    assert result.exit_code == 0
    assert sum(line.startswith("ok ") for line in lines) == len(RECORDINGS)
    assert result.stderr == "Files in the directories that hold no stream: 2.\n"
    assert any(line.split()[:5] == ["provider", "model", "streams", "clean", "repaired"] for line in lines)


@pytest.mark.slow
def test_the_corpus_has_no_unknown_fault(shared: Path) -> None:
    """Every tenth recorded stream of real servers: faults are those that are known."""
    folder = shared / "corpus"
    known = {json.loads(line)["id"] for line in (folder / "known_faults.jsonl").read_text("utf-8").splitlines()}
    index = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    sure = [each for each in index if each["origin"] == "recorded" and each["fidelity"] in ("exact", "frames")]
    sample = [each for each in sure if each["id"] not in known][::10]
    wrong = []
    for each in sample:
        recording = one((folder / "streams" / f"{each['id']}.sse").read_bytes())
        assert recording.api == each["surface"], each["id"]
        if not replay(recording, Settings()).is_well:
            wrong.append(each["id"])

    assert len(sample) > 50
    assert [] == wrong


@pytest.mark.parametrize(
    ("wire", "code"),
    [(HEALTHY, 0), (broken(), 1), (CUT, 1), (b"data: {", 1)],
    ids=["healthy", "repaired", "cut", "torn"],
)
def test_the_exit_code_tells_whether_all_is_well(wire: bytes, code: int) -> None:
    """0 for complete and without a fault; 1 for anything else, repaired faults too."""
    assert run("-", "--no-sdk", input=wire).exit_code == code
    assert run("-", "--quiet", input=wire).exit_code == code


def test_one_bad_stream_is_enough_for_exit_code_1(tmp_path: Path) -> None:
    """And quiet shows that one alone."""
    for name, wire in (("a", HEALTHY), ("b", CUT), ("c", HEALTHY)):
        (tmp_path / f"{name}.sse").write_bytes(wire)
    result = run(tmp_path, "--quiet")

    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"broken    {tmp_path / 'b.sse'}  truncated, chat, gpt-4o")
    assert "stream_truncated 1" in line


# --- what clients get


def test_what_clients_get_stands_side_by_side(tmp_path: Path) -> None:
    """The naive loop raises without Streamwatch and not with it; nothing is left switched on."""
    original = _streaming.Stream.__init__
    path = tmp_path / "broken.sse"
    path.write_bytes(broken())
    (record,) = checked(path, "--sdk", "--async")
    got = {(each["reader"], each["async"]): each for each in record["readers"]}

    assert record["openai"] == client_code.sdk_version()
    assert got["careful", False]["plain"]["error"]
    assert got["careful", False]["repaired"]["error"] == ""
    assert got["careful", False]["repaired"]["text"] == "The harbour is quiet."
    assert got["careful", True]["repaired"] == got["careful", False]["repaired"]
    assert got["loop", False]["plain"]["error"]
    assert got["loop", False]["repaired"]["text"] == "The harbour is quiet."
    assert not any(each["same"] for each in record["readers"] if each["reader"] in ("loop", "careful"))
    assert _streaming.Stream.__init__ is original
    shown = run(path).stdout
    assert f"openai {client_code.sdk_version()} alone" in " ".join(shown.split())
    assert "The harbour is quiet." in shown


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("api", ["chat", "completions", "responses", "assistants"])
def test_every_reader_reads_a_healthy_stream(api: str) -> None:
    """The careful ones get the same with Streamwatch and without; every reader is there, and has a name of its own."""
    name = {"chat": "chat-openai-text", "completions": "cmpl-openai", "responses": "resp-openai-text"}.get(
        api, "asst-openai-text"
    )
    connect = client_code.served((HERE / f"{name}.sse").read_bytes())
    those = client_code.readers_of(api)
    with client_code.watched(None) as none:
        plain = [client_code.read(reader, connect) for reader in those]
    with client_code.watched(Settings()) as reports:
        repaired = [client_code.read(reader, connect) for reader in those]
    offered = [(reader, answer) for reader, answer in zip(those, plain, strict=True) if answer is not None]

    if not any(plain):
        pytest.skip(f"openai {client_code.sdk_version()} has no {api} streams")
    assert none == []
    assert len({reader.title for reader in those}) == len(those)
    assert len(reports) == len(offered)
    assert [report.verdict for report in reports] == ["complete"] * len(offered)
    texts = {answer.text for reader, answer in offered if reader.name not in ("loop", "dict") or api != "chat"}
    assert len(texts) == 1
    assert texts != {""}
    for reader, one, two in zip(those, plain, repaired, strict=True):
        if reader.name not in ("loop", "dict"):
            assert one == two


def test_watching_is_as_it_was_before() -> None:
    """Where the process is watched already, its settings, telemetry and reports are its own again."""
    from streamwatch import testing
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, agent

    (careful,) = [each for each in client_code.readers_of("chat") if each.title == "careful"]
    with testing.reports("all") as outer:
        before = agent.settings, agent.telemetry, agent.on_report
        with client_code.watched(None):
            assert not StreamwatchInstrumentor().is_instrumented_by_opentelemetry
        with client_code.watched(Settings()) as inner:
            client_code.read(careful, client_code.served(HEALTHY))
        assert (agent.settings, agent.telemetry, agent.on_report) == before
        assert (len(inner), len(outer)) == (1, 0)
        client_code.read(careful, client_code.served(HEALTHY))
        assert len(outer) == 1
    assert not StreamwatchInstrumentor().is_instrumented_by_opentelemetry


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes over a network."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (careful,) = [each for each in client_code.readers_of("chat") if each.title == "careful"]
    answer = client_code.read(careful, client_code.served(HEALTHY))

    assert answer is not None
    assert (answer.error, answer.text) == ("", "The harbour is quiet.")


def test_a_connection_that_broke_breaks_again() -> None:
    """What came until then is told, and the exception."""
    (careful,) = [each for each in client_code.readers_of("chat") if each.title == "careful"]
    answer = client_code.read(careful, client_code.served(CUT, cut=True))

    assert answer is not None
    assert answer.text == "The harbour is quiet."
    assert answer.error.startswith(("APIConnectionError", "RemoteProtocolError"))


def test_two_choices_are_no_fault_for_clients(tmp_path: Path) -> None:
    """A recording does not say how many were asked for; its answer does."""
    (record,) = checked(HERE / "chat-openai-two-choices.sse", "--sdk")
    (careful,) = [each for each in record["readers"] if each["reader"] == "careful"]

    assert careful["same"]
    assert careful["plain"]["error"] == ""


@pytest.mark.slow
def test_without_the_sdk_the_core_alone_answers(tmp_path: Path) -> None:
    """It says so, and what would help."""
    path = tmp_path / "broken.sse"
    path.write_bytes(broken())
    code = "import sys; sys.modules['openai'] = None; from streamwatch.cli import main; main()"
    command = [sys.executable, "-W", "error", "-c", code, "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "openai cannot be imported here" in done.stderr
    assert "pip install openai" in " ".join(done.stderr.split())
    assert "payload_invalid" in done.stdout
    assert "Traceback" not in done.stderr


# --- the policy


@pytest.mark.parametrize(
    ("policy", "applied"), [("default", True), ("none", False), ("default,-payload_invalid", True)]
)
def test_the_policy_is_that_of_the_command_line(policy: str, applied: bool) -> None:
    """As in STREAMWATCH_REPAIR, which it overrides."""
    (record,) = checked("-", "--repair", policy, input=broken(), env={"STREAMWATCH_REPAIR": "all"})
    (found,) = [each for each in record["anomalies"] if each["kind"] == "payload_invalid"]

    assert found["applied"] is applied
    assert ("unrepaired" in found["outcomes"]) is ("-payload_invalid" in policy)


def test_the_policy_of_the_environment_counts() -> None:
    """A recording is repaired as the application would have it."""
    (record,) = checked("-", input=broken(), env={"STREAMWATCH_REPAIR": "none"})

    assert record["condition"] == "broken"


def test_a_policy_that_is_none_is_told() -> None:
    """In one line, with exit code 2."""
    result = run("-", "--repair", "nonsense", input=HEALTHY)

    assert result.exit_code == 2
    assert "'nonsense' is none of none, default, all" in " ".join(result.stderr.split())


def test_checking_writes_no_capture(tmp_path: Path) -> None:
    """The variables of the application's environment may be set here too."""
    run("-", input=broken(), env={"STREAMWATCH_CAPTURE_DIR": str(tmp_path / "captures")})

    assert not (tmp_path / "captures").exists()


# --- repaired streams


def oracles(shared: Path) -> Iterator[tuple[str, bytes, str]]:
    """Malformed streams, and their APIs."""
    for line in (shared / "oracles" / "cases.jsonl").read_text("utf-8").strip().split("\n"):
        case = json.loads(line)
        wire = base64.b64decode(case["wire_b64"]) if "wire_b64" in case else case["wire"].encode()
        yield case["id"], wire, case["surface"]


@pytest.fixture(params=["own", pytest.param("oracles", marks=pytest.mark.acceptance)])
def malformed(request: pytest.FixtureRequest) -> Iterator[tuple[str, bytes, str]]:
    """Malformed streams of a collection, and their APIs."""
    if request.param == "own":
        # An answer of another protocol is written as what it is, and not as what was asked for.
        usual = (case for case in CASES if case.error is None and PROTOCOL_FOREIGN not in case.found)
        return ((case.name, case.wire, case.api) for case in usual)
    return oracles(request.getfixturevalue("shared"))


@pytest.mark.slow  # test_cases.py has the same of the core
def test_what_is_repaired_shows_nothing_more_to_repair(malformed: Iterator[tuple[str, bytes, str]]) -> None:
    """Every known malformation, with the default policy; what is written reads as the same API again."""
    left = {}
    for name, wire, api in malformed:
        first = replay(Recording(name, wire, "body", api=api), Settings())
        if first.repaired:
            last = fixed(first, Settings())
            left[name] = [kind.name for kind in last.rewritten]
            assert last.report.verdict == first.report.verdict, name
            assert one(last.repaired).api == api, name

    assert len(left) > 80
    assert {} == {name: kinds for name, kinds in left.items() if kinds}


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_needs_no_repair_is_written_as_it_came(name: str) -> None:
    """Payload by payload, whatever was filled in."""
    settings = Settings(repair=Policy("default,-fill_content"))
    first = replay(one((HERE / f"{name}.sse").read_bytes()), settings)

    if not first.rewritten:
        ended = first.recording.body.rpartition(b"\n\n")[0]  # no parser makes an event of what no blank line ends
        came = [line for line in ended.splitlines() if line.startswith(b"data")]
        assert [line for line in first.repaired.splitlines() if line.startswith(b"data")] == came


def test_the_repaired_stream_is_written(tmp_path: Path) -> None:
    """To a file; checked again it is well, and what was recorded is untouched. Dicts are filled where they are made."""
    path, out = tmp_path / "broken.sse", tmp_path / "repaired.sse"
    path.write_bytes(broken())
    result = run(path, "--fix", out, "--no-sdk")
    (record,) = checked(out)

    assert result.exit_code == 1
    assert f"repaired stream: {out} (checked again: complete; nothing in it is left to repair)" in result.stdout
    assert record["well"]
    assert kinds(record) == ["content_absent"]
    assert path.read_bytes() == broken()


def test_content_is_written_where_attributes_are_filled() -> None:
    """A client reads of the file what the application reads of the stream: null stays null, unless the policy fills it."""
    filled = run("-", "--fix", "-", "--no-sdk", "--repair", "default,+fill_content", input=broken()).stdout.encode()
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in filled.splitlines() if line[:7] == b"data: {"]

    assert [delta["content"] for delta in deltas] == ["", "The harbour", " is quiet.", ""]
    assert replay(one(filled), Settings()).report.anomalies == {}


def test_what_is_filled_in_dicts_is_no_event_rewritten() -> None:
    """Nothing is left to repair in a stream that only lacks content; with `+fill_content` something is."""
    report = {
        policy: replay(one(HEALTHY), Settings(repair=Policy(policy)))
        for policy in ("default", "+content_absent", "none")
    }

    assert {policy: [kind.name for kind in seen.rewritten] for policy, seen in report.items()} == {
        "default": [],
        "+content_absent": ["content_absent"],
        "none": [],
    }


def test_the_repaired_stream_goes_down_a_pipe() -> None:
    """Standard output is then the stream alone; what is said of it goes to standard error."""
    result = run("-", "--fix", "-", "--no-sdk", input=broken())

    assert replay(one(result.stdout.encode()), Settings()).rewritten == []
    assert result.stdout == (HEALTHY).decode()
    assert "payload_invalid" in result.stderr


def test_several_streams_go_to_a_directory(tmp_path: Path) -> None:
    """Which is made, with a name for each; two of one name do not meet."""
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "x.sse").write_bytes(broken())
    (tmp_path / "in" / "y.har").write_bytes(har(har_content(text=HEALTHY.decode())))
    result = run(tmp_path / "in", "--fix", tmp_path / "out", "--no-sdk")

    assert result.exit_code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.sse", "x-2.sse", "y-entry-2.sse"}


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """Exit code 2, one line, and the file as it was; --force writes it."""
    path, out = tmp_path / "broken.sse", tmp_path / "out.sse"
    path.write_bytes(broken())
    out.write_bytes(b"mine")
    result = run(path, "--fix", out, "--no-sdk")

    assert result.exit_code == 2
    assert " ".join(result.stderr.split()) == f"Error: {out} exists: it is overwritten with --force only."
    assert out.read_bytes() == b"mine"
    assert run(path, "--fix", out, "--force", "--no-sdk").exit_code == 1
    assert out.read_bytes().startswith(b"data: {")
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_several_streams_never_go_to_one_file(tmp_path: Path) -> None:
    """A HAR file with two of them: it is said what to do, and nothing is written."""
    document = json.loads(har(har_content(text=HEALTHY.decode())))
    document["log"]["entries"] *= 2
    path = tmp_path / "two.har"
    path.write_text(json.dumps(document))
    result = run(path, "--fix", tmp_path / "out.sse", "--no-sdk")

    assert result.exit_code == 2
    assert "give --fix a directory" in result.stderr
    assert not (tmp_path / "out.sse").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_message(tmp_path: Path) -> None:
    """Exit code 2; the device is still one."""
    result = run("-", "--fix", "/dev/full", "--force", "--no-sdk", input=broken())

    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: /dev/full cannot be written: No space left on device."
    assert Path("/dev/full").is_char_device()


def test_a_disk_that_fills_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with --force what was there is still there, whole."""
    path, out = tmp_path / "broken.sse", tmp_path / "out.sse"
    path.write_bytes(broken())

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            super().write(bytes(data)[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open

    def opened(self: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        return Full(self, mode) if self.name.startswith("out") and "r" not in mode else real(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", opened)
    assert run(path, "--fix", out, "--no-sdk").exit_code == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.sse"]
    with real(out, "wb") as file:
        file.write(b"mine")
    assert run(path, "--fix", out, "--force", "--no-sdk").exit_code == 2
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken.sse", "out.sse"]
    assert out.read_bytes() == b"mine"


def test_a_policy_that_repairs_nothing_writes_nothing(tmp_path: Path) -> None:
    """It is said at once."""
    result = run("-", "--fix", tmp_path / "out.sse", "--repair", "none", input=broken())

    assert result.exit_code == 2
    assert "the policy repairs nothing" in result.stderr
    assert not (tmp_path / "out.sse").exists()


@pytest.mark.slow
def test_what_takes_a_while_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, for people alone, and where the SDK reads along."""
    monkeypatch.setattr(command, "_LARGE", len(CUT) + 1)
    small, large, another = (tmp_path / f"{name}.sse" for name in ("small", "large", "another"))
    small.write_bytes(CUT)
    large.write_bytes(CUT + b": a comment of a server\n\n")
    another.write_bytes(CUT + b": another comment of a server\n\n")
    said = f"{large} is large ({large.stat().st_size} bytes), and openai {openai.__version__} reads it 8 times: "
    lines = run(small, large, another).stderr.splitlines()

    assert [said] == [line[: len(said)] for line in lines]
    assert "--no-sdk" in lines[0]
    for arguments in ((small,), (large, "--no-sdk"), (large, "--json"), (large, "--quiet")):
        assert "" == run(*arguments).stderr


NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("payload", [NESTED, b'{"choices":[],"x":' + NESTED + b"}"], ids=["alone", "in a chunk"])
@pytest.mark.parametrize("options", [(), ("--sdk",), ("--repair", "all"), ("--api", "responses")], ids=" ".join)
def test_a_payload_that_is_nested_too_deep_is_one_that_cannot_be_read(
    payload: bytes, options: tuple[str, ...], tmp_path: Path
) -> None:
    """As the SDK cannot read it; what stands around it is checked as ever."""
    first, *rest = HEALTHY.split(b"\n\n")
    path = tmp_path / "deep.sse"
    path.write_bytes(b"\n\n".join([first, b"data: " + payload, *rest]))
    (record,) = checked(path, *options)

    assert "payload_invalid" in kinds(record)
    assert not record["well"]


# --- what can't be read

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "binary": (bytes(range(256)) * 100, "is binary"),
    "text": (b"Dear diary,\nnothing happened.\n" * 100, "holds no stream: no line begins with `data:`"),
    "no newline": (b"a" * 3_000_000, "holds no stream"),
    "gzip cut off": (gzip.compress(os.urandom(90_000))[:-2000], "is cut off: its gzip ends after"),
    "gzip damaged": (b"\x1f\x8b" + b"nonsense" * 10, "is damaged: it begins as gzip"),
    "JSON of another kind": (b'{"name": "x"}', "is JSON, and neither a HAR file, a VCR cassette, nor chunks"),
    "JSON lines of another kind": (b'{"a": 1}\n{"b": 2}\n', "none of them is a chunk"),
    "JSON that is torn": (b'{"a": 1}\n{"b', "line 2 of it is none"),
    "JSON nested too deep": (b"[" * 200_000, "JSON"),
    "HAR without entries": (b'{"log": {}}', "is a HAR file without a stream"),
    "HAR of other shape": (b'{"log": {"entries": [null, 1, {"request": []}]}}', "is a HAR file without a stream"),
    "HAR without bodies": (har(har_content()), "entry 2: a stream, and the HAR file has no body for it"),
    "HAR with bad base64": (har(har_content(text="%%%a", encoding="base64")), "is not base64"),
    "cassette without streams": (
        json.dumps(cassette({}, ["application/json"])).encode().replace(b'\\"stream\\": true', b'\\"stream\\": false'),
        "is a cassette without a stream",
    ),
    "cassette without bodies": (json.dumps(cassette({"string": ""})).encode(), "the cassette has no body for it"),
    "cassette packed with brotli": (
        json.dumps(cassette({"string": "x"}, **{"Content-Encoding": ["br"]})).encode(),
        "is compressed with br: only gzip and deflate are read",
    ),
    "an answer with an error": (b"HTTP/1.1 503 Unavailable\r\nContent-Type: text/html\r\n\r\n<html>", "status 503"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_holds_no_stream_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    """With the name of the file; the others go on, and exit code 2 only where nothing could be read."""
    data, reason = BAD[case]
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.write_bytes(data)
    good.write_bytes(HEALTHY)
    alone, both = run(bad, "--no-sdk"), run(bad, good, "--no-sdk")

    assert (alone.exit_code, alone.stdout) == (2, "")
    (line,) = alone.stderr.splitlines()
    assert line.startswith(str(bad))
    assert reason in line
    assert both.exit_code == 0
    assert line in both.stderr
    assert both.stdout.splitlines()[0].split() == ["ok", str(good), "complete,", "chat,", "gpt-4o-2024-05-13"]


YAML_BAD = {
    "python object": (b"interactions:\n- !!python/object/apply:os.system ['touch %s']\n", "in line 2"),
    "torn": (b"interactions:\n- request: {uri: 'x\n", "is not YAML that can be read as plain data"),
    "a loop": (b"interactions: &a\n- *a\n", "is a cassette without a stream"),
    "nested too deep": (b"interactions: " + b"[" * 5000, "is not YAML that can be read as plain data"),
}


@pytest.mark.quick_cases(1)
@needs_yaml
@pytest.mark.parametrize("case", YAML_BAD)
def test_yaml_is_read_as_plain_data_only(case: str, tmp_path: Path) -> None:
    """A tag in a cassette runs nothing."""
    data, reason = YAML_BAD[case]
    (tmp_path / "bad.yaml").write_bytes(data.replace(b"%s", str(tmp_path / "run").encode()))
    result = run(tmp_path / "bad.yaml", "--no-sdk")

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert reason in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_damaged_is_read_or_told(form: str) -> None:
    """Random damage to every form: a stream with a report, or one sentence; and never an exception."""
    wire, chance, read = FORMS[form][0](), random.Random(form), 0
    for _ in range(40):
        data = bytearray(wire)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.choice((0, 1, 1, 40))] = chance.choice((b"", b"\n\n", b"null", b"\xff", b'"', b"[]"))
        try:
            for each in recordings_in(bytes(data), "file"):
                if isinstance(each, Recording):
                    replay(each, Settings())
                    read += 1
        except Unreadable as problem:
            assert "\n" not in str(problem)

    assert read or "gzip" in form or form.startswith(("JSON", "HAR", "VCR"))


def test_a_cassette_in_yaml_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML is no dependency."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_bytes(b"interactions:\n- request: {}\n")
    result = run(tmp_path / "a.yaml")

    assert result.exit_code == 2
    assert "pip install pyyaml" in result.stderr


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, standard input, and what is packed in a small file."""
    monkeypatch.setattr(recordings, "MAX_BYTES", 1 << 20)
    large, bomb = tmp_path / "large", tmp_path / "bomb"
    large.write_bytes(b"a" * (3 << 20))
    bomb.write_bytes(gzip.compress(b"a" * (3 << 20)))

    assert run(large).stderr == f"{large} is 3 MiB: files are read up to 1 MiB.\n"
    assert "is more than 1 MiB" in run("-", input=b"a" * (3 << 20)).stderr
    assert "holds more than 1 MiB unpacked" in run(bomb).stderr


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The others go on."""
    result = run(tmp_path / "nothing.sse", HERE / "chat-groq.sse", "--no-sdk")

    assert result.exit_code == 0
    assert f"{tmp_path / 'nothing.sse'} cannot be read: No such file or directory." in result.stderr


def test_a_directory_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line; exit code 2, as nothing could be read."""

    def scandir(path: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    result = run(tmp_path, "--no-sdk")

    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == f"{tmp_path}: cannot be searched: Permission denied."


def test_an_error_of_ours_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in one line, and the other files go on."""
    real = command.replay  # type: ignore[attr-defined]

    def failing(recording: Recording, settings: Settings) -> Any:
        if recording.path.endswith("a"):
            raise ZeroDivisionError("oops")
        return real(recording, settings)

    monkeypatch.setattr(command, "replay", failing)
    for name in "ab":
        (tmp_path / name).write_bytes(HEALTHY)
    result = run(tmp_path / "a", tmp_path / "b", "--no-sdk")

    assert result.exit_code == 0
    assert "a bug of Streamwatch's (ZeroDivisionError: oops)" in result.stderr


def test_a_recording_writes_to_no_terminal(tmp_path: Path) -> None:
    """Control characters of a wire are shown as escapes, and brackets are no markup."""
    path = tmp_path / "bad.sse"
    model = "gpt\x1b[31m[red]\u202e:warning:"
    path.write_bytes(body([{**each, "model": model} for each in said("a\x1b]0;title\x07b", "[bold]c")]))
    shown = run(path).stdout + run(path, path, "--no-sdk").stdout

    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]" in shown
    assert "[bold]c" in shown
    assert shown.count(":warning:") == 4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_results_that_cannot_be_written_are_told() -> None:
    """A full disk under standard output: exit code 2, one line, no traceback."""
    code = "from streamwatch.cli import main; main()"
    with Path("/dev/full").open("wb") as full:
        arguments = [sys.executable, "-W", "error", "-c", code, "check", "-", "--no-sdk", "--json"]
        done = subprocess.run(arguments, input=HEALTHY, stdout=full, stderr=subprocess.PIPE, timeout=60)

    assert done.returncode == 2
    assert done.stderr.decode() == "Error: The results cannot be written: No space left on device.\n"


def test_every_record_says_the_same_members(tmp_path: Path) -> None:
    """Programs can rely on them, with the SDK and without."""
    (tmp_path / "a.sse").write_bytes(broken())
    (with_sdk,), (without,) = checked(tmp_path / "a.sse", "--sdk"), checked(tmp_path / "a.sse")
    (fixed,) = checked(tmp_path / "a.sse", "--fix", tmp_path / "b.sse")

    assert with_sdk.keys() == without.keys() == fixed.keys()
    assert (without["fixed"], fixed["fixed"]) == (None, str(tmp_path / "b.sse"))
    assert fixed["fixed_again"] == {"verdict": "complete", "kinds": ["content_absent"], "left": []}
    assert (without["openai"], without["readers"]) == (None, [])


def test_colours_are_left_out_where_they_are_not_wanted() -> None:
    """NO_COLOR and output that is no terminal."""
    assert "\x1b" not in run(HERE / "chat-azure.sse", "--no-sdk", env={"NO_COLOR": "1"}).stdout


def test_every_reader_says_what_it_is() -> None:
    """Each API has a loop and its title is shown once; what stands in the table is a sentence of its own."""
    assert {each.api for each in client_code.READERS if each.name == "loop"} == set(client_code._DEFAULTS)
    assert len({(each.api, each.title) for each in client_code.READERS}) == len(client_code.READERS)
    assert all(each.meaning for each in client_code.READERS)


# --- the page about it

PAGE = Path(__file__).parents[2] / "docs" / "commands" / "check.md"


def test_the_page_shows_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first example, run again; the release of the SDK is the one that is installed."""
    text = PAGE.read_text("utf-8")
    shown = text[text.index("answer.sse\nbody,") : text.index("$ echo $?")]
    (named,), here = re.findall(r"openai ([\d.]+) alone", shown), client_code.sdk_version()
    if (named[:2], len(named)) != (here[:2], len(here)):
        pytest.skip("the example is of another line of releases of openai, or of columns of another width")
    shown = shown.replace(f"openai {named} alone", f"openai {here} alone")
    wire = (HERE / "chat-openai-parallel-tool-calls.sse").read_bytes()
    (tmp_path / "answer.sse").write_bytes(wire.replace(b'"tool_calls":[{"index":1', b'"tool_calls":[{"index":0'))
    monkeypatch.chdir(tmp_path)
    result = run("answer.sse", "--fix", "repaired.sse", env={"COLUMNS": "110"})

    assert [line.rstrip() for line in result.stdout.strip().splitlines()] == shown.strip().splitlines()


def test_the_page_names_every_option_and_reader() -> None:
    """And its links lead somewhere."""
    text = PAGE.read_text("utf-8")

    assert {option for each in command.check.params for option in each.opts if option.startswith("--")} - {
        "--sdk"
    } <= set(re.findall(r"--[a-z-]+", text))
    assert all(re.search(rf"\| [a-z, ]*\b{each.name}\b", text) for each in client_code.READERS)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (PAGE.parent / target).exists(), target
