"""The command line explains every kind, by its name, its issue or the error that brought somebody here."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.listening import Listener, serving
from streamwatch import __version__
from streamwatch.cli import COMMANDS, common, main
from streamwatch.cli.kinds.command import matching
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.known_issues import ISSUES, Issue
from streamwatch.core.vocabulary import Evidence, Level

_EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=repr)
KEY_ERROR, ORDER = "KeyError: 'content'", "streaming response chunk order mismatch - expected index 5 but got 7"


def run(*arguments: str) -> Result:
    """The command, run in this process; an exception that escapes it fails the test."""
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def of(issue: str) -> list[str]:
    """The kinds that an issue is about."""
    return [kind.name for kind in KINDS.values() if kind.issue is not None and issue in kind.issue.name]


# --- kinds


def test_every_kind_is_listed() -> None:
    """One line each, in the order of the table, with severity, repair and level."""
    result = run("kinds")

    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        ["kind", "severity", "repair", "repaired"],
        *([kind.name, kind.severity.value, kind.strategy.value, kind.level.value] for kind in KINDS.values()),
    ]


def test_the_columns_of_the_list_stand_below_each_other() -> None:
    """No name is longer than its column."""
    starts = {
        (line.index(kind.severity.value, len(kind.name)), line.rindex(f" {kind.level.value}"))
        for line, kind in zip(run("kinds").output.splitlines()[1:], KINDS.values(), strict=True)
    }

    assert len(starts) == 1


def test_the_list_is_data_for_programs() -> None:
    """One JSON object a line, of which each says everything."""
    records = [json.loads(line) for line in run("kinds", "--json").output.splitlines()]

    assert [record["kind"] for record in records] == list(KINDS)
    for record in records:
        assert set(record) == {"kind", "severity", "apis", "strategy", "level", "evidence", "meaning", "issue"}
        assert all(record[name] for name in set(record) - {"issue"})
    assert {record["issue"] for record in records} == {None, *(issue.name for issue in ISSUES)}


# --- explain


@pytest.mark.quick_cases(12)
@_EACH
def test_every_kind_is_explained(kind: AnomalyKind) -> None:
    """What it is, how bad, where, what is done about it and when, and what proves it."""
    result = run("explain", "--more", kind.name)

    unfolded = " ".join(result.output.split())
    assert result.exit_code == 0
    for said in (kind.name, kind.meaning, kind.severity.value, ", ".join(kind.apis), kind.strategy.meaning):
        assert said in unfolded
    assert f"({kind.level.meaning})" in unfolded
    assert kind.evidence.meaning in unfolded


@pytest.mark.quick_cases(12)
@_EACH
def test_an_explanation_is_data_for_programs(kind: AnomalyKind) -> None:
    """The record of the list, and what is known beside it."""
    (record,) = [json.loads(line) for line in run("explain", kind.name, "--json").output.splitlines()]
    listed = json.loads(run("kinds", "--json").output.splitlines()[[*KINDS].index(kind.name)])

    assert listed == {name: record[name] for name in listed}
    assert {"seen_as", "reported_of", "advice", "recorded", "recorded_streams"} == record.keys() - listed.keys()
    assert all(0 < count <= streams for count, streams in record["recorded"].values())
    assert (record["kind"], record["level"]) == (kind.name, kind.level.value)


def test_every_word_of_the_vocabulary_is_explained() -> None:
    """A level or proof without a sentence would be an error at 3 a.m."""
    assert all(word.meaning and not word.meaning.endswith(".") for words in (Level, Evidence) for word in words)


@pytest.mark.parametrize(
    ("what", "issue"),
    [
        (KEY_ERROR, "content-empty"),
        (ORDER, "order-mismatch"),
        (ORDER.upper(), "order-mismatch"),
        (f"  {KEY_ERROR}\n", "content-empty"),
        ("llm/streaming-assistant-content-empty", "content-empty"),
        ("streaming-chunk-order-mismatch", "order-mismatch"),
        ("order mismatch", "order-mismatch"),
    ],
)
def test_an_issue_is_found_by_its_name_and_by_its_error(what: str, issue: str) -> None:
    """In any case, whole or in part: all kinds that can be behind it."""
    result = run("explain", what, "--json")

    assert [json.loads(line)["kind"] for line in result.output.splitlines()] == of(issue)
    assert len(of(issue)) > 3


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.name)
def test_what_is_published_of_an_issue_is_told(issue: Issue) -> None:
    """The error, the fix rate, what helps and what does not, each with its figure."""
    output = run("explain", "--more", issue.name).output

    assert f"{issue.name}: {issue.error} (published fix rate {issue.fix_ratio:.0%})" in output
    assert all(f"helps: {name}, published {ratio:.0%}" in output for name, ratio in issue.workarounds)
    assert all(f"does not help: {name}, fails {ratio:.0%}" in output for name, ratio in issue.dead_ends)


@pytest.mark.quick_cases(12)
@_EACH
def test_who_sends_it_and_what_helps_is_told(kind: AnomalyKind) -> None:
    """What an application sees, who was reported to send it, in how many recordings it is, and what to do."""
    said = " ".join(run("explain", "--more", kind.name).output.split())

    assert EXPLANATIONS.keys() == KINDS.keys()
    for known in (EXPLANATIONS[kind.name].symptom, EXPLANATIONS[kind.name].senders, EXPLANATIONS[kind.name].advice):
        assert known in said
    recorded = json.loads(Path(common.__file__).with_name("providers.json").read_text("utf-8"))["streams"]
    assert f"of {sum(recorded.values()):,} recordings" in said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("IndexError: list index out of range", "choices_empty"),
        ("json.decoder.JSONDecodeError: Expecting value", "payload_invalid"),
        ("RuntimeError: Completed output item identity changed", "response_reference_invalid"),
        (('Traceback (most recent call last):\n  File "a.py", line 1\nAttributeError: \'NoneType\' object has no attribute'
         " 'content'\n"), "delta_missing"),
        ("Traceback (most recent call last):\n  File 'a.py', line 7, in <module>\nKeyError: 'content'", "content_absent"),
    ],
)  # fmt: skip
def test_an_error_is_found_by_what_an_application_sees(error: str, kind: str) -> None:
    """The text of an exception, or a pasted traceback."""
    assert kind in [one.name for one in matching(error)]


EXPOSITION = b"""\
streamwatch_streams_total{streamwatch_verdict="complete"} 50
streamwatch_anomalies_total{streamwatch_anomaly="sequence_out_of_order"} 90
streamwatch_cases_total{streamwatch_issue="sequence_out_of_order",streamwatch_outcome="verified",streamwatch_applied="true"} 16
streamwatch_cases_total{streamwatch_issue="sequence_out_of_order",streamwatch_outcome="failed",streamwatch_applied="true"} 3
streamwatch_cases_total{streamwatch_issue="sequence_out_of_order",streamwatch_outcome="unrepaired",streamwatch_applied="true"} 1
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="verified",streamwatch_applied="true"} 16
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="failed",streamwatch_applied="true"} 3
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="unrepaired",streamwatch_applied="true"} 1
streamwatch_cases_total{streamwatch_issue="sequence_out_of_order",streamwatch_outcome="verified",streamwatch_applied="false"} 70
"""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A process that has counted."""

    class Counted(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(EXPOSITION)))
            self.end_headers()
            self.wfile.write(EXPOSITION)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Listener(("127.0.0.1", 0), Counted)) as address:
        yield address


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/metrics"])
def test_what_was_measured_stands_beside_what_was_published(form: str, endpoint: str) -> None:
    """Asked of one endpoint, in whatever way its address is written."""
    arguments = ("explain", "sequence_out_of_order", "--measured", form.format(endpoint))
    said = run(*arguments).output
    (record,) = [json.loads(line) for line in run(*arguments, "--json").output.splitlines()]

    told = (
        "90 found in 50 streams, in 20 of them: 16 verified, 3 failed, 1 unrepaired; fix rate 80.0% (58.4% to 91.9%),"
    )
    assert f"{told} verified rate 84.2%" in " ".join(said.split())
    order = "llm/streaming-chunk-order-mismatch: 80.0% of 20 streams (58.4% to 91.9%), published 75%: no difference"
    assert [order] == record["measured"]["issues"]
    assert order in said
    assert (90, 50, 20, 16, 0.8, True) == tuple(
        record["measured"][name] for name in ("found", "streams", "cases", "verified", "fix_ratio", "applied")
    )
    assert "0 found in 50 streams\n" in run("explain", "content_null", "--measured", endpoint).output


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ftp://host/metrics", "http://", "http://127.0.0.1:0/metrics"])
def test_an_endpoint_that_does_not_answer_is_told(address: str) -> None:
    """Exit code 2 and one sentence; with a password it would not be shown."""
    result = run("explain", "content_null", "--measured", address)

    assert (2, "") == (result.exit_code, result.stdout)
    assert "Error: " in result.stderr
    assert "secret" not in run("explain", "content_null", "--measured", "http://me:secret@127.0.0.1:1").stderr


@pytest.mark.parametrize("what", ["nonsense", "", "   ", "KeyError: 'role'"])
def test_what_is_unknown_is_told_with_a_way_out(what: str) -> None:
    """Exit code 1, nothing on stdout, and one sentence that names what was asked and what to do."""
    result = run("explain", what)

    assert (result.exit_code, result.stdout) == (1, "")
    assert repr(what) in result.stderr
    assert "`streamwatch kinds` lists the kinds" in result.stderr


def test_nothing_matches_everything() -> None:
    """An empty text is in every error."""
    assert matching("") == []
    assert matching(" ") == []


# --- the command itself


def test_the_version_is_told() -> None:
    """That of the package."""
    assert run("--version").output == f"streamwatch, version {__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_tells_how_to_start(option: str) -> None:
    """The one command that most people need stands there, and every subcommand."""
    result = run(option)

    assert result.exit_code == 0
    assert "opentelemetry-instrument python app.py" in result.output
    assert {*COMMANDS} <= set(result.output.split())


#: Commands without --json, and why.
NO_JSON = {
    "completion": "what it prints is a script for a shell",
    "dashboards": "what it writes are files, and what a check prints is a diff",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_and_json(name: str) -> None:
    """Its help shows lines to copy, and programs can read what it says."""
    help = run(name, "--help").output

    assert f"streamwatch {name}" in help.partition("\n")[2]
    assert ("--json" in help) is (name not in NO_JSON)


def test_help_on_explain_shows_examples() -> None:
    """As lines of their own, ready to be copied."""
    lines = [line.strip() for line in run("explain", "--help").output.splitlines()]

    assert "streamwatch explain tool_call_index_reused" in lines
    assert f'streamwatch explain "{KEY_ERROR}"' in lines


@pytest.mark.parametrize("arguments", [("explain",), ("nonsense",), ("kinds", "--nonsense")])
def test_a_command_that_is_none_is_told(arguments: tuple[str, ...]) -> None:
    """Click's own exit code for it, and how the command is used."""
    result = run(*arguments)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr


def test_the_command_line_does_without_the_sdk() -> None:
    """It answers at once, also where openai is not installed."""
    code = (
        "import sys; sys.modules['openai'] = None; from streamwatch.cli import main;"
        "main(['explain', 'content_absent', '--json'])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["kind"] == "content_absent"
