"""`probe` and `check` for CI: JUnit, SARIF, an exit policy, the event at fault, and what to do about it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.endpoint import each_chunk, fault, serving
from streamwatch.cli import main
from streamwatch.cli.common.ci_reports import CiCase, CiFinding, junit, sarif
from streamwatch.cli.probe.endpoint import ProbedEndpoint
from streamwatch.cli.probe.invariants import table
from streamwatch.cli.probe.recorded_answer import Asked, RecordedAnswer
from streamwatch.cli.probe.remedies import _REMEDIES, KIND_OF, OF_THE_WHOLE, offending, remedy
from streamwatch.core.kinds import KINDS


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sends a key of whoever runs it, nor asks a proxy."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def run(*arguments: str) -> Result:
    """The command, run in this process; an exception that escapes it fails the test."""
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """A chunk as it stands on the wire."""
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps({**head, **more}).encode() + b"\n\n"


def answer(*chunks: bytes) -> RecordedAnswer:
    """An answer to a plain question."""
    return RecordedAnswer(Asked("chat", n=1), ((0.1, b"".join(chunks) + b"data: [DONE]\n\n"),))


# --- from an invariant to its remedy


def test_every_invariant_has_a_remedy() -> None:
    """Of the kind that tells the same, or of its own; and no row is left over."""
    assert KIND_OF.keys() | _REMEDIES.keys() == table().keys()
    assert not KIND_OF.keys() & _REMEDIES.keys()
    assert set(KIND_OF.values()) <= KINDS.keys()
    assert OF_THE_WHOLE <= table().keys()
    assert all(remedy(rule).text.endswith(".") for rule in table().values())


@pytest.mark.parametrize(
    ("chunks", "invariant", "event"),
    [
        ((chunk("a"), chunk("b"), chunk("c", choices=None), chunk("d")), "choices_are_lists", 3),
        ((chunk("a"), chunk("b", model="other"), chunk("c")), "model_constant", 2),
        ((chunk("a", id="x"), chunk("b"), chunk("c")), "id_constant", 2),
        ((b"data: {\n\n", chunk("a")), "json_events", 1),
        ((chunk("a"), chunk(finish="stop"), chunk("b"), chunk(finish="stop")), "finish_is_last", 3),
        ((chunk("a"), b'data: {"error": {"message": "x"}}\n\n'), "no_error", 2),
    ],
)
def test_the_event_at_fault_is_found(chunks: tuple[bytes, ...], invariant: str, event: int) -> None:
    """With its line and its byte, as `streamwatch check` counts them."""
    at = offending(answer(*chunks), invariant)

    assert at is not None
    assert (at.event, at.line, at.offset) == (event, 2 * event - 1, sum(map(len, chunks[: event - 1])))


def test_what_only_the_whole_can_break_has_no_event() -> None:
    """And what is not broken has none either."""
    assert offending(answer(chunk("a")), "finish_reason") is None
    assert offending(answer(chunk("a"), chunk(finish="stop")), "no_error") is None


# --- the formats


FINDING = CiFinding("sequence_gap", "error", "Numbers are missing.", "Ask the gateway.", 3, 5, 120)


def test_junit_has_failures_warnings_skips_and_errors() -> None:
    """Counted as JUnit counts them; hostile text stays text."""
    hostile = CiFinding("x", "warning", "<b>&\x00\x1b[31m", "]]>")
    cases = [
        CiCase("tools", "sequence_gap", findings=[FINDING]),
        CiCase("tools", "choices_are_lists", findings=[hostile]),
        CiCase("tools", "request", skipped="No such API."),
        CiCase("text", "request", errored="HTTP 500."),
    ]
    root = ET.fromstring(junit(cases))

    assert [{**suite.attrib} for suite in root] == [
        {"name": "tools", "tests": "3", "failures": "1", "errors": "0", "skipped": "1"},
        {"name": "text", "tests": "1", "failures": "0", "errors": "1", "skipped": "0"},
    ]
    (failure,) = root.iter("failure")
    assert failure.attrib == {"type": "sequence_gap", "message": "Numbers are missing."}
    assert "Where: event 3, line 5, byte 120\nWhat to do: Ask the gateway." in (failure.text or "")
    assert "<b>&??[31m" in (root.find(".//system-out").text or "")  # type: ignore[union-attr]


def test_sarif_has_a_rule_and_a_place_for_each_result() -> None:
    """As code scanning wants it: version, rules, levels, a file, a line."""
    report = json.loads(sarif([CiCase("tools", "sequence_gap", "answers/tools-1.sse", [FINDING])]))
    (ran,) = report["runs"]
    (rule,), (result,) = ran["tool"]["driver"]["rules"], ran["results"]

    assert report["version"] == "2.1.0"
    assert (rule["id"], result["ruleId"], result["level"]) == ("sequence_gap", "sequence_gap", "error")
    assert "Ask the gateway." in rule["help"]["text"]
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "answers/tools-1.sse"},
                "region": {"startLine": 5, "byteOffset": 120},
            }
        }
    ]
    assert result["properties"] == {"stream": "tools", "event": 3}


# --- check


def test_check_writes_both_reports_and_obeys_the_policy(tmp_path: Path) -> None:
    """The same file fails, passes with a warning, or says nothing of the kind."""
    broken = tmp_path / "a.sse"
    broken.write_bytes(chunk("a") + b"data: {\n\n" + chunk(finish="stop") + b"data: [DONE]\n\n")
    xml, log = tmp_path / "a.xml", tmp_path / "a.sarif"
    arguments = ("check", str(broken), "--no-sdk", "--junit", str(xml), "--sarif", str(log))

    assert run(*arguments).exit_code == 1
    failure = next(ET.fromstring(xml.read_text("utf-8")).iter("failure"))
    assert failure.get("type") == "payload_invalid"
    assert "Where: event 2, line 3" in (failure.text or "")
    results = json.loads(log.read_text("utf-8"))["runs"][0]["results"]
    assert {(each["ruleId"], each["level"]) for each in results} >= {("payload_invalid", "error")}

    assert run(*arguments, "--policy", "payload_invalid=warning").exit_code == 0
    assert not list(ET.fromstring(xml.read_text("utf-8")).iter("failure"))
    assert "payload_invalid" in xml.read_text("utf-8")
    assert run(*arguments, "--policy", "payload_invalid=ignore").exit_code == 0
    assert "payload_invalid" not in xml.read_text("utf-8")
    assert run(*arguments, "--policy", "payload_invalid=ignore", "--policy", "content_absent=error").exit_code == 1


@pytest.mark.parametrize("policy", ["nonsense=error", "sequence_gap=fatal", "sequence_gap"])
@pytest.mark.parametrize("command", [("check", "-"), ("probe", "--base-url", "http://127.0.0.1:1", "--model", "m")])
def test_a_policy_that_is_none_is_refused(policy: str, command: tuple[str, ...]) -> None:
    """Exit code 2, before anything is read or asked."""
    result = run(*command, "--policy", policy)

    assert result.exit_code == 2
    assert "is not NAME=LEVEL" in result.stderr


# --- probe


@pytest.mark.slow
def test_probe_writes_both_reports_and_obeys_the_policy(tmp_path: Path) -> None:
    """A server without indexes of tool calls fails, unless that is only to be reported."""
    xml, log = tmp_path / "probe.xml", tmp_path / "probe.sarif"
    with serving(change=fault("index_missing")) as server:
        arguments = ("probe", "--base-url", server.url, "--model", "gpt-4o", "--only", "tool", "--only", "text")
        reports = ("--junit", str(xml), "--sarif", str(log))
        failed = run(*arguments, *reports, "--save", str(tmp_path / "answers"))
        strict = ET.fromstring(xml.read_text("utf-8"))
        results = json.loads(log.read_text("utf-8"))["runs"][0]["results"]
        policy = [word for name in FAULTS for word in ("--policy", f"{name}=warning")]
        passed = run(*arguments, *reports, *policy)
        lenient = ET.fromstring(xml.read_text("utf-8"))

    assert (failed.exit_code, passed.exit_code) == (1, 0)
    assert {suite.get("name"): suite.get("failures") for suite in strict} == {"text": "0", "tool": "1"}
    # What the kind says is not said again by the invariant.
    assert [failure.get("type") for failure in strict.iter("failure")] == ["tool_call_index_missing"]
    assert not list(lenient.iter("failure"))
    (result,) = [each for each in results if each["ruleId"] == "tool_call_index_missing"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == str(tmp_path / "answers" / "tool-1.sse")
    assert place["region"]["startLine"] > 0
    # Nor is it on the card.
    assert re.search(r"tool_call_index_missing +fault +\d+ +tool, event [12] ", failed.stdout)
    assert "A tool call fragment has no index" not in failed.stdout
    assert "More: streamwatch explain tool_call_index_missing" in " ".join(failed.stdout.split())


FAULTS = ("tool_call_index_missing", "call_index_present", "call_index_in_order")


def test_the_record_has_the_event_and_the_remedy() -> None:
    """For programs, and for the card."""
    with serving(change=each_chunk(lambda one: one.update(model="other") if one.get("usage") else None)) as server:
        result = run("probe", "--base-url", server.url, "--model", "gpt-4o", "--only", "usage", "--json")
    rows = {row["invariant"]: row for row in json.loads(result.stdout)["invariants"]}

    assert rows["model_constant"]["first_at"]["event"] > 1
    assert rows["model_constant"]["kind"] == "stream_spliced"
    assert rows["model_constant"]["remedy"]
    assert "first_at" not in rows["no_error"]


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("x", "mixtral-8x7b", "mixtral-8x7b"),
        ("ollama", "ollama/llama3", "ollama/llama3"),
        ("lm-studio", "lm-studio-community/gemma", "lm-studio-community/gemma"),
        ("lm-studio", "bad key lm-studio.", "bad key [hidden]."),
        ("sk-0123456789abcdef", "Bearersk-0123456789abcdef!", "Bearer[hidden]!"),
    ],
)
def test_a_dummy_key_is_not_cut_out_of_names(key: str, text: str, shown: str) -> None:
    """A real one is hidden wherever it stands."""
    assert ProbedEndpoint("http://127.0.0.1:1/v1", text, key).shown(text) == shown
