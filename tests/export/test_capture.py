"""Captures keep what is wrong with a stream and nothing of what it says, within bounds, and never in the way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conftest import Watched, settle
from helpers import sdk, stream_builders
from helpers.cases import CASES
from helpers.letters import LETTERS
from helpers.quick import examples
from helpers.stream_builders import (
    DONE,
    Payload,
    begin,
    body,
    chunk,
    fragment,
    function_call,
    message,
    named,
    numbered,
    response,
    run,
    said,
    sse,
    texts,
    watch,
)
from recordings.build import RECORDINGS, recorded_api
from streamwatch.core.kinds import RESPONSE_TEXT_LOST, STREAM_TRUNCATED
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import Settings
from streamwatch.core.vocabulary import Verdict
from streamwatch.export.capture import Captures, header, is_anomalous, load
from streamwatch.export.masking import mask

#: Letters and a digit that stand in no member that is kept: not one of them may be left of a content.
SECRET = "QZJ QZJ9"
_LETTERS = re.compile(r"[QZJ9]")


def structure(value: Any) -> Any:
    """A JSON value without its scalars, their types alone, and with the lengths of names alone: some are masked."""
    if isinstance(value, dict):
        return [(len(name), structure(each)) for name, each in value.items()]
    if isinstance(value, list):
        return [structure(each) for each in value]
    return type(value)


def payloads(wire: bytes) -> list[Any]:
    """The structure of each line of data, or that it is no JSON."""
    found = []
    for line in re.split(rb"\r\n|\n|\r", wire):
        try:
            found.append(structure(json.loads(line.removeprefix(b"data:"))))
        except (ValueError, RecursionError):
            found.append(...)
    return found


def assert_replays(api: str, wire: bytes, request: Request, error: BaseException | None = None) -> None:
    """Masked, a stream has the same length, the same structure, and shows the same anomalies as often."""
    request = replace(
        request, tools=frozenset()
    )  # names of tools are masked, and a capture does not say what was asked
    masked = mask(wire, api)
    before, after = (watch(api, each, request=request, error=error).report for each in (wire, masked))

    assert len(masked) == len(wire)
    assert payloads(masked) == payloads(wire)
    # Masked, every text begins every longer one: what was lost in its middle looks as if its end were missing.
    after.outcomes.pop(RESPONSE_TEXT_LOST, None)
    before.outcomes.pop(RESPONSE_TEXT_LOST, None)
    assert (after.verdict, after.anomalies, after.outcomes) == (before.verdict, before.anomalies, before.outcomes)
    assert after.chunks == before.chunks


# --- what a masked body keeps


@pytest.mark.quick_cases(20)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_masked_case_shows_the_same(case: Any) -> None:
    """Length, structure, verdict, kinds, counts, outcomes."""
    assert_replays(case.api, case.wire, case.request, case.error)


@pytest.mark.quick_cases(14)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_masked_recording_shows_the_same(name: str) -> None:
    """Length, structure, verdict, kinds, counts, outcomes."""
    assert_replays(recorded_api(name), RECORDINGS[name].wire, RECORDINGS[name].request)


def lines(path: Path) -> Iterator[Any]:
    """The records of a file, one a line: U+2028 in a text ends none."""
    yield from map(json.loads, path.read_text("utf-8").rstrip("\n").split("\n"))


@pytest.mark.slow
def test_masked_streams_of_real_servers_show_the_same(shared: Path) -> None:
    """A sample of every provider."""
    entries = list(lines(shared / "corpus" / "index.jsonl"))
    random.Random(3).shuffle(entries)
    each = {(entry["provider"], entry["surface"]): entry for entry in entries if entry["n_events"] < 300}
    chosen = {entry["id"]: entry for entry in [*each.values(), *entries[:100]] if entry["n_events"] < 300}

    assert len(chosen) > 50
    for id, entry in chosen.items():
        wire = (shared / "corpus" / "streams" / f"{id}.sse").read_bytes()
        assert_replays(entry["surface"], wire, Request(n=entry["request_n"]))


@pytest.mark.slow  # the oracles; a quick run masks cases
def test_masked_oracles_show_the_same(shared: Path) -> None:
    """Every wire of the oracles."""
    for case in lines(shared / "oracles" / "cases.jsonl"):
        assert_replays(case["surface"], case["wire"].encode(), Request(n=(case.get("request") or {}).get("n")))


@pytest.mark.parametrize(
    "deltas",
    [
        ["The harbour is quiet.", "The harbour is quiet."],
        ["The harbour ", "is quiet.", "The harbour is quiet."],
        ["The harb", "The harbour is ", "The harbour is quiet."],
    ],
)
def test_a_masked_text_that_is_said_again_is_known_again(deltas: list[str]) -> None:
    """What stands in for a letter depends on its place: the whole equals the joined deltas, as it did."""
    wire = body([begin(), *texts(*deltas[:-1]), chunk({"content": deltas[-1]}, "stop")])
    found = watch("chat", wire).report.anomalies

    assert {kind.name for kind in found} & {"content_replayed"}
    assert watch("chat", mask(wire)).report.anomalies == found


# --- what a masked body does not keep


def tool(arguments: Any) -> bytes:
    """A tool call with these arguments."""
    header = fragment(0, "", id="call_a", name="weather")
    return body([begin(), chunk({"tool_calls": [header]}), chunk({"tool_calls": [fragment(0, arguments)]})])


def escaped(text: str) -> str:
    """A text with every letter as an escape."""
    return "".join(f"\\u{ord(each):04x}" if each.isalnum() else each for each in text)


def of_response(*events: Payload) -> bytes:
    """Events of the Responses API."""
    return named(numbered(events))


_CALL = json.dumps({"QZJ": SECRET, "9": [9, 9.9, -9e9, True, None, '\n"\\QZJ']})
SAYING: dict[str, bytes] = {
    "text": body(said("QZ", "J9 Q", SECRET)),
    "text in escapes": b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % escaped(SECRET).encode(),
    "text in two choices": body([*said(SECRET), *said(SECRET, index=1)]),
    "text as parts": body([chunk({"content": [{"type": "text", "text": SECRET}]})]),
    "a number for a text": body([chunk({"content": 999})]),
    "refusal": body([chunk({"refusal": SECRET})]),
    "reasoning": body([chunk({"reasoning": SECRET, "reasoning_content": SECRET})]),
    "reasoning details": body([chunk({"reasoning_details": [{"type": "reasoning.text", "text": SECRET}]})]),
    "annotations": body([chunk({"annotations": [{"url_citation": {"title": SECRET, "url": f"https://{SECRET}"}}]})]),
    "logprobs": body([chunk({"content": "Q"}, logprobs={"content": [{"token": "QZJ9", "bytes": [99, 9]}]})]),
    "token ids": body([chunk({"content": "Q"}, token_ids=[9, 999], prompt_token_ids=[99], tokens=[9])]),
    "error": body([{"error": {"message": SECRET, "param": SECRET, "code": "QZJ"}}]),
    "error in no envelope": body([{"detail": SECRET, "message": SECRET}]),
    "error line": f"error: {SECRET}\n\n".encode(),
    "a page of HTML": f'<html lang="QZJ"><p id={SECRET}>{SECRET} "QZJ": QZJ 9</p>\n{SECRET}'.encode(),
    "a JSON document": json.dumps({"error": {"message": SECRET}}, indent=2).encode(),
    "a torn payload": sse('{"id":"x","choices":[{"delta":{"content":"QZJ QZ')[:-2],
    "no JSON behind a name that is kept": sse('{"id":"x","model": QZJ QZJ, "index": 0, [9, "QZJ"], 9 QZJ'),
    "a comment": f": {SECRET}\n\n".encode(),
    "after the end": body(said("x"), done=False) + f"data: [DONE] {SECRET}\n\n".encode(),
    "prefixed twice": b"data: " + body([chunk({"content": SECRET})]),
    "arguments": tool(_CALL),
    "arguments in escapes": b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":'
    b'{"name":"f","arguments":"{\\"a\\":\\"%s\\"}"}}]}}]}\n\n' % escaped(SECRET).encode(),
    "arguments in escapes of escapes": tool(f'{{"a":"{escaped(SECRET)}"}}'),
    "arguments that are no JSON": tool(f"Weather in {SECRET}, 9"),
    "arguments that are no JSON, in escapes": b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":'
    b'"call_a","function":{"name":"f","arguments":"%s"}}]}}]}\n\n' % escaped(SECRET).encode(),
    "arguments with escapes that JSON has not": tool('{"a":"\\QZJ\\Z\\J \\9"}'),
    "arguments that are an object": tool({"QZJ": SECRET, "name": SECRET, "id": [{"index": 9, "type": "QZJ"}], "n": 9}),
    "response": named(response(message(0, "QZ", "J9"), function_call(1, "f", _CALL[:7], _CALL[7:]))),
    "response with a refusal": of_response({"type": "response.refusal.delta", "delta": SECRET}),
    "response with an error": of_response({"type": "error", "message": SECRET, "param": SECRET}),
    "instructions": of_response(
        {"type": "response.created", "response": {"instructions": SECRET, "metadata": {"a": SECRET}}}
    ),
    "run": run("QZ", "J9"),
}


@pytest.mark.parametrize("where", SAYING)
def test_nothing_that_was_said_is_left(where: str) -> None:
    """No letter and no digit of it, wherever it stands; and the length is the same."""
    wire = SAYING[where]
    masked = mask(wire)

    assert _LETTERS.search(wire.decode()) or escaped("QZ") in wire.decode()
    assert _LETTERS.findall(masked.decode()) == []
    assert escaped("Q") not in masked.decode()
    assert len(masked) == len(wire)
    assert payloads(masked) == payloads(wire)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("arguments", [_CALL, json.dumps({"Жук": "Жук²🙂"}, ensure_ascii=False), "Жук ² Жук", "QZJ: 9"])
def test_arguments_cut_anywhere_say_nothing(arguments: str) -> None:
    """In two fragments, cut at every place, an escape's own middle included: JSON stays JSON, and no letter stays."""
    for at in range(len(arguments) + 1):
        pieces = arguments[:at], arguments[at:]
        calls = [fragment(0, pieces[0], id="call_a", name="f"), fragment(0, pieces[1])]
        wire = body([begin(), *(chunk({"tool_calls": [each]}) for each in calls), chunk({}, "tool_calls")])
        masked = mask(wire)

        assert re.findall("[QZJ9Жук²🙂]", masked.decode()) == []  # noqa: RUF001 -- letters of the secret
        assert len(masked) == len(wire)
        assert watch("chat", masked).report.outcomes == watch("chat", wire).report.outcomes


@pytest.mark.parametrize("text", ["Привет", "²Ⅷ٣", "日本語 の 文", "ÑÏV", "𠮷野家", "🙂"])
@pytest.mark.parametrize("frame", ["data: {}\n\n", '{{"error": "{}"}}', "<p>{}</p>", 'data: {{"content": "{}\n\n'])
def test_letters_of_every_script_are_masked(text: str, frame: str) -> None:
    """Each by a character of as many bytes, in JSON and in what is none."""
    wire = frame.format(text).encode()
    masked = mask(wire)

    assert len(masked) == len(wire)
    assert set(masked.decode()) & set(text) <= {" ", "\u00e9", "\U0001f600"}


@pytest.mark.parametrize("payload", [chunk({"content": "𠮷"}), chunk({"refusal": "𠮷"})])
def test_a_letter_that_is_two_escapes_is_masked(payload: Payload) -> None:
    """By a pair that is one character again, and not the same."""
    (before,), (after,) = (
        re.findall(r"\\ud[89a-f]..\\ud[89a-f]..", wire.decode())
        for wire in (b"data: " + json.dumps(payload).encode(), mask(b"data: " + json.dumps(payload).encode()))
    )

    assert before != after
    assert len(json.loads(f'"{after}"')) == 1


def test_what_belongs_together_can_still_be_told() -> None:
    """Ids, roles, types, indexes, finish reasons and counts of tokens are the protocol's, and stay; names are aliases."""
    usage = {"completion_tokens": 97, "total_tokens": 98}
    calls = [fragment(at, "{}", id=f"call_{at}", name=name) for at, name in enumerate(("Zeta", "Beta", "Zeta"), 7)]
    wire = body([begin(), chunk({"tool_calls": calls}, "stop", usage=usage)])
    masked = mask(wire)

    assert masked.replace(b'"name":"xxxx"', b'"name":"Zeta"').replace(b'"name":"xxxa"', b'"name":"Beta"') == wire


_PIECES = st.sampled_from(
    [
        *(b"data: ", b"data:", b"event: a", b"\n", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"[DONE]", b": ", b"error: "),
        *(b"{", b"}", b"[", b"]", b'"', b":", b",", b" ", b"\\", b'\\"', b"\\\\", b"\\u0041", b"\\ud83d", b"\\u0022"),
        *(b"null", b"tru", b"0", b"01", b"1e5", b"e", b"-", b"x", b"\xff", b"\xed\xa0\x80", "Жук²🙂\u2028".encode()),
        *(b'"content":', b'"arguments":', b'"input":{', b'"index":', b'"type":"response.x",', b'"choices":[{"index":'),
        *(b'"delta":{"tool_calls":[{"index":0,"function":{"arguments":"', b'"delta":{"content":"'),
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(_PIECES, max_size=25).map(b"".join)))
@example(b'"\\"')
@example(b'data: {"choices":[{"index":[],"delta":{"content":"x"}}]}\n\n')
@example(b'data: {"choices":[{"index":{},"delta":{"tool_calls":[{"index":[],"function":{"arguments":"x"}}]}}]}\n\n')
@example(b'{"a":' * 3000)
@hypothesis_settings(max_examples=examples(500), deadline=None)
def test_any_bytes_can_be_masked(wire: bytes) -> None:
    """Whatever came: as many bytes, its line ends where they were, and nothing raised."""
    masked = mask(wire)

    assert len(masked) == len(wire)
    assert [at for at, byte in enumerate(masked) if byte in b"\r\n"] == [
        at for at, byte in enumerate(wire) if byte in b"\r\n"
    ]


@given(st.text(LETTERS, max_size=60), st.booleans())
@hypothesis_settings(max_examples=examples(300), deadline=None)
def test_any_text_keeps_its_structure(text: str, ascii_only: bool) -> None:
    """As a content and as arguments, in UTF-8 or in escapes: JSON as before, and not a letter of it."""
    for payload in (chunk({"content": text}), chunk({"tool_calls": [fragment(0, text, id="a", name="f")]})):
        wire = f"data: {json.dumps(payload, ensure_ascii=ascii_only)}\n\n".encode("utf-8", "surrogatepass")
        masked = mask(wire)

        assert len(masked) == len(wire)
        assert payloads(masked) == payloads(wire)


# --- the header


def report_of(api: str = "chat", wire: bytes = body(said("One"))[:-20], **request: Any) -> Report:
    """The report of a stream, cut short."""
    return watch(api, wire, request=Request(**request)).report


def test_a_header_can_be_read_back() -> None:
    """What was found and of what, and then the body, byte for byte."""
    report, wire = report_of(model="gpt-4o", n=2), b"\n: streamwatch x=y\ndata: 1\r\n\r\n"
    facts, rest = load(header(report, "cut", "1.99.9", masked=True) + wire)

    assert rest == wire
    assert facts == {
        "api": "chat",
        "verdict": "truncated",
        "kinds": ",".join(report.kinds),
        "request_model": "gpt-4o",
        "response_model": "gpt-4o-2024-05-13",
        "openai": "1.99.9",
        "n": "2",
        "ended": "cut",
        "masked": "true",
    }


def test_a_header_is_a_comment_whatever_the_model_is_called() -> None:
    """What is no name is not in it, however a server or a caller spells it."""
    head = header(report_of(model="a\r\ndata: {}\n\nЖ"), "end", "1.0\r\ndata: {}\n\nЖ", masked=True)

    assert load(head)[0]["request_model"] == "_other"
    assert load(head)[0]["openai"] == "1.0  data: {}  \\u0416"
    assert all(line.startswith(b": streamwatch ") for line in head.rstrip(b"\n").split(b"\n"))
    assert watch("chat", head + DONE).report.events == 0


@given(st.binary(max_size=100).filter(lambda wire: not wire.startswith(b": streamwatch ")))
@hypothesis_settings(max_examples=examples(100), deadline=None)
def test_any_other_body_has_no_header(wire: bytes) -> None:
    """A body that was never captured is itself."""
    assert load(wire) == ({}, wire)


# --- files


def captures(directory: Path, **bounds: Any) -> Captures:
    """Captures with wide bounds."""
    return Captures(str(directory), **{"content": False, "max_files": 100, "max_bytes": 1 << 20, **bounds})


def files(directory: Path) -> list[bytes]:
    """What is in a directory, when all is written."""
    settle()
    return [path.read_bytes() for path in sorted(directory.iterdir())] if directory.exists() else []


def test_there_are_no_more_files_than_asked_for(tmp_path: Path) -> None:
    """The bound holds for the process, and what is beyond it is not even masked."""
    kept, report = captures(tmp_path, max_files=2), report_of()
    written = [kept.write(replace(report, serial=serial), DONE, "end", "1.0") for serial in range(5)]

    assert [path is not None for path in written] == [True, True, False, False, False]
    assert len(files(tmp_path)) == 2


def test_the_name_of_a_file_tells_the_worst_that_was_found(tmp_path: Path) -> None:
    """A directory is read by its names; the stream's number and the process make each one unique."""
    path = captures(tmp_path).write(replace(report_of(), serial=12), DONE, "end", "1.0")

    assert path is not None
    assert path.parent == tmp_path
    assert re.fullmatch(r"\d{8}T\d{6}-\d+-12-stream_truncated\.sse", path.name)


def test_content_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    """Byte for byte, and the header says so."""
    wire = body(said(SECRET))[:-20] + b"\xff\r\n"
    path = captures(tmp_path, content=True).write(report_of(), wire, "end", "1.0")

    assert path is not None
    facts, rest = load(path.read_bytes())
    assert (facts["masked"], rest) == ("false", wire)


def test_hazards_alone_are_not_captured(tmp_path: Path) -> None:
    """Every healthy stream has them; a fault, a dialect or a bad end makes a file."""
    healthy = report_of(wire=body(said("One")))
    left = replace(healthy, verdict=Verdict.ABANDONED)
    captures(tmp_path).write(healthy, DONE, "end", "1.0")
    captures(tmp_path).write(left, DONE, "closed", "1.0")

    assert healthy.anomalies
    assert files(tmp_path) == []
    assert not is_anomalous(left)
    assert is_anomalous(replace(healthy, verdict=Verdict.EMPTY))
    assert is_anomalous(replace(healthy, anomalies={STREAM_TRUNCATED: 1}))


def test_a_directory_is_made(tmp_path: Path) -> None:
    """With those above it."""
    path = captures(tmp_path / "a" / "b").write(report_of(), DONE, "end", "1.0")

    assert path is not None
    assert path.exists()


@pytest.mark.parametrize("below", ["", "below"])
def test_a_directory_that_cannot_be_written_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, below: str
) -> None:
    """A file in its place, or above it: one sentence that names the variable, however many streams follow."""
    (tmp_path / "taken").write_bytes(b"")
    kept = captures(tmp_path / "taken" / below)
    for _ in range(3):
        assert kept.write(report_of(), DONE, "end", "1.0") is None

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"STREAMWATCH_CAPTURE_DIR={tmp_path / 'taken' / below} cannot be written (")


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was written of it would tell a stream that was cut."""
    import resource

    kept = captures(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # a disk that takes 100 bytes of a file
    try:
        written = [kept.write(report_of(), DONE * 100, "end", "1.0") for _ in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (written, files(tmp_path), len(caplog.records)) == ([None] * 3, [], 1)
    assert "File too large" in caplog.text


# --- in a thread of their own


def test_a_capture_is_written_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the stream waits for no disk and no masking; of a flood a few are kept, and the rest let go."""
    go_on = threading.Event()
    monkeypatch.setattr("streamwatch.export.masking.mask", lambda body, *_: go_on.wait(60) and body)
    kept = captures(tmp_path)
    for serial in range(50):
        kept.keep(replace(report_of(), serial=serial), DONE, "end", "1.0")  # returns, though nothing can be masked
    assert not kept.wait(0)
    go_on.set()

    assert kept.wait(60)
    assert 8 == len(list(tmp_path.iterdir()))
    kept.keep(report_of(), DONE, "end", "1.0")
    assert kept.wait(60)
    assert 9 == len(list(tmp_path.iterdir()))


def test_streams_that_end_while_the_thread_is_made_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two of a process may end in two threads at once."""
    kept, made = captures(tmp_path), []
    real = concurrent.futures.ThreadPoolExecutor

    def interrupted(*given: Any) -> Any:
        made.append(given)
        if len(made) == 1:
            kept.keep(replace(report_of(), serial=2), DONE, "end", "1.0")
            assert kept.wait(60)
        return real(*given)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", interrupted)
    kept.keep(replace(report_of(), serial=1), DONE, "end", "1.0")

    assert kept.wait(60)
    kept.keep(replace(report_of(), serial=3), DONE, "end", "1.0")
    assert kept.wait(60)
    assert {"1", "2", "3"} == {path.name.split("-")[2] for path in tmp_path.iterdir()}


def test_nothing_is_kept_of_a_healthy_stream(tmp_path: Path) -> None:
    """Not even a thread is started for it."""
    kept = captures(tmp_path)
    kept.keep(report_of("chat", body(said("One"))), DONE, "end", "1.0")

    assert kept.wait(0)
    assert [] == list(tmp_path.iterdir())


def test_an_error_of_ours_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted like any other, and the next stream is written."""
    told: list[tuple[str, str]] = []
    kept = captures(tmp_path, failed=lambda error, doing: told.append((repr(error), doing)))
    with monkeypatch.context() as broken:
        broken.setattr("streamwatch.export.masking.mask", lambda *_: 1 // 0)
        kept.keep(report_of(), DONE, "end", "1.0")
        assert kept.wait(60)
    kept.keep(report_of(), DONE, "end", "1.0")

    assert kept.wait(60)
    assert [("ZeroDivisionError('integer division or modulo by zero')", "writing a capture")] == told
    assert 1 == len(list(tmp_path.iterdir()))


KEEPING = """
import os, sys
from streamwatch import StreamWatch
from streamwatch.export.capture import Captures

def keep():
    watch = StreamWatch("chat")
    watch.receive(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\\n\\n')
    watch.close()
    captures.keep(watch.report(), b"x" * 300_000, "end", "1.0")

captures = Captures(sys.argv[1], content=False, max_files=100, max_bytes=1 << 20)
keep()
if hasattr(os, "fork"):
    child = os.fork()
    keep()
    if child:
        os.waitpid(child, 0)
"""


def test_what_waits_is_written_before_python_ends(tmp_path: Path) -> None:
    """In the child of a fork as well, which has the parent's captures without the parent's thread."""
    done = subprocess.run([sys.executable, "-c", KEEPING, tmp_path], capture_output=True, text=True, timeout=120)

    assert (0, "") == (done.returncode, done.stderr)
    # Two of the parent and one of the child; the parent's first may be written by both, and is once.
    assert (3 if hasattr(os, "fork") else 1) == len(list(tmp_path.iterdir()))


# --- through the SDK


def through_sdk(watch: Any, directory: Path, mode: str, reads: list[sdk.Read], **given: Any) -> Watched:
    """Read a stream while captures are switched on."""
    watched: Watched = watch(settings=Settings(capture_dir=str(directory), **given))
    sdk.read(mode, reads)
    assert watched.internal_errors() == 0
    return watched


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", sdk.MODES)
def test_an_anomalous_stream_becomes_a_file(watch: Any, tmp_path: Path, mode: str) -> None:
    """Masked, with the SDK's version in its header; a replay shows what was reported."""
    wire = b"".join(sdk.frames(sdk.tool_chat()[:-1], done=False))
    watched = through_sdk(watch, tmp_path, mode, sdk.cut([wire], 50))  # type: ignore[arg-type]
    report = watched.report
    (capture,) = files(tmp_path)
    facts, rest = load(capture)

    assert rest == mask(wire)
    assert b"Canary" not in capture
    assert sdk.PROMPT.encode() not in capture
    assert (facts["openai"], facts["ended"]) == (sdk.openai.__version__, "end")  # type: ignore[attr-defined]
    assert (facts["request_model"], facts["verdict"]) == ("gpt-4o", "truncated")
    again = stream_builders.watch("chat", rest, request=report.request).report
    assert (again.anomalies, facts["kinds"]) == (report.anomalies, ",".join(report.kinds))


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_healthy_stream_becomes_none(watch: Any, tmp_path: Path, mode: str) -> None:
    """Not even the directory is made."""
    through_sdk(watch, tmp_path / "none", mode, sdk.healthy("chat")).settle()  # type: ignore[arg-type]

    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", sdk.MODES)
def test_how_the_body_ended_is_told(watch: Any, tmp_path: Path, mode: str) -> None:
    """Cut by the transport, or longer than what is kept."""
    reads = sdk.frames(sdk.chat(), done=False)[:3]
    through_sdk(watch, tmp_path / "cut", mode, [*reads, sdk.cut_off()]).settle()
    watch.stop()
    through_sdk(watch, tmp_path / "long", mode, [*reads], capture_bytes=100).settle()
    (cut,), (long,) = (files(tmp_path / name) for name in ("cut", "long"))

    assert load(cut)[0]["ended"] == "cut"
    assert load(long)[0]["ended"] == "beyond what is kept"
    assert len(load(long)[1]) == 100


def test_a_stream_that_is_left_tells_so(watch: Any, tmp_path: Path) -> None:
    """The consumer closed it after something odd had come."""
    odd = [sdk.chunk({"role": "assistant", "content": ""}), sdk.chunk({"content": "x"}, usage=[]), *sdk.chat()]
    odd[1]["choices"][0]["index"] = "0"
    watch(settings=Settings(capture_dir=str(tmp_path)))
    stream = sdk.create(sdk.client(sdk.frames(odd)))
    sdk.some(3, stream)
    stream.close() if hasattr(stream, "close") else stream.response.close()
    (capture,) = files(tmp_path)

    assert load(capture)[0]["ended"] == "closed"


@pytest.mark.parametrize("mode", sdk.MODES)
def test_content_is_kept_through_the_sdk(watch: Any, tmp_path: Path, mode: str) -> None:
    """STREAMWATCH_CAPTURE_CONTENT=true: the body as it came, whatever was repaired."""
    environ = {"STREAMWATCH_CAPTURE_DIR": str(tmp_path), "STREAMWATCH_CAPTURE_CONTENT": "true"}
    settings, complaints = Settings.from_environ(environ)
    wire = b"".join(sdk.frames(sdk.chat(), done=False)[:3])
    watched = watch(settings=settings)
    sdk.read(mode, sdk.cut([wire], 7))
    watched.settle()
    (capture,) = files(tmp_path)

    assert complaints == []
    assert load(capture)[1] == wire


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_bad_directory_costs_the_application_nothing(
    watch: Any, tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same chunks and no exception; one warning for any number of streams."""
    (tmp_path / "taken").write_bytes(b"")
    reads = sdk.frames(sdk.chat(), done=False)[:3]
    plain = sdk.read(mode, reads)
    watched = watch(settings=Settings(capture_dir=str(tmp_path / "taken")), repair="none")

    assert [sdk.read(mode, reads) for _ in range(3)] == [plain] * 3
    watched.settle()
    assert [record.getMessage().partition("=")[0] for record in caplog.records if "CAPTURE" in record.message] == [
        "STREAMWATCH_CAPTURE_DIR"
    ]


async def test_streams_read_at_once_are_captured_apart(watch: Any, tmp_path: Path) -> None:
    """Each file holds the bytes of its own stream."""
    watched = watch(settings=Settings(capture_dir=str(tmp_path), capture_content=True))
    wires = [b"".join(sdk.frames(sdk.chat(text), done=False)[:-1]) for text in ("One", "Two", "Three")]
    await asyncio.gather(*(sdk._read(sdk.async_client(sdk.cut([wire], 31)), "chat") for wire in wires))
    watched.settle()

    assert sorted(load(capture)[1] for capture in files(tmp_path)) == sorted(wires)
