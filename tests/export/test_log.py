"""The log tells of each finding once, then at most once a minute: in words, on one line, and without content."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.letters import LETTERS
from helpers.quick import examples
from helpers.stream_builders import begin, body, chunk, fragment, said, tool_call, watch
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.report import Report, Request
from streamwatch.core.vocabulary import Outcome, Severity
from streamwatch.export import log
from streamwatch.export.log import FindingsLog

SECRET = "Canary-text"


class Clock:
    """A clock that stands still until it is told otherwise."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the log."""
    return Clock()


@pytest.fixture
def findings(clock: Clock, caplog: pytest.LogCaptureFixture) -> Iterator[FindingsLog]:
    """A log of which everything is seen, the hazards too."""
    with caplog.at_level(logging.DEBUG, "streamwatch"):
        yield FindingsLog(clock)


def truncated(**changes: Any) -> Report:
    """The report of a stream that was cut short."""
    return replace(watch("chat", body(said("One"))[:-20], "-fill_content").report, **changes)


def found(*names: str, **changes: Any) -> Report:
    """A report of these kinds, one of each."""
    return truncated(anomalies={KINDS[name]: 1 for name in names}, outcomes={}, **changes)


def broken_calls(repair: str) -> Report:
    """The report of a stream with a tool call whose index is missing."""
    calls = [
        chunk({"tool_calls": [each]}) for each in tool_call(None, "call_a", "weather", '{"city":', f'"{SECRET}"}}')
    ]
    return watch("chat", body([begin(), *calls, chunk({}, "tool_calls")]), repair).report


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The names of the kinds of which a line tells."""
    return [record.getMessage().partition(":")[0] for record in caplog.records]


# --- how often


def test_a_finding_is_told_once_a_minute(findings: FindingsLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """At once when it is new, and not again before a minute has passed since it was told."""
    lines = []
    for seconds in (0, 0, 30, 29.9, 0.1, 0, 59.9, 0.1):
        clock.now += seconds
        findings.tell(found("stream_truncated"), "server.test")
        lines.append(len(caplog.records))

    assert lines == [1, 1, 1, 1, 2, 2, 2, 3]


def test_a_finding_that_nobody_tells_does_not_put_off_the_next(
    findings: FindingsLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A minute is counted from the last line, not from the last stream."""
    for _ in range(10):
        findings.tell(found("stream_truncated"), "server.test")
        clock.now += 20

    assert len(caplog.records) == 4


@pytest.mark.parametrize(
    ("report", "address"),
    [
        (found("payload_invalid"), "server.test"),
        (found("stream_truncated", response_model="another"), "server.test"),
        (found("stream_truncated"), "another.test"),
    ],
)
def test_another_kind_model_or_server_is_new(
    findings: FindingsLog, caplog: pytest.LogCaptureFixture, report: Report, address: str
) -> None:
    """It is told at once, whatever else was told a moment ago."""
    findings.tell(found("stream_truncated"), "server.test")
    findings.tell(report, address)

    assert len(caplog.records) == 2


def test_a_stream_of_many_kinds_is_a_line_for_each(findings: FindingsLog, caplog: pytest.LogCaptureFixture) -> None:
    """All of them, in the order in which they were found."""
    findings.tell(found(*KINDS), "server.test")

    assert told(caplog) == list(KINDS)


def test_a_healthy_stream_is_no_line(findings: FindingsLog, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing found, nothing told."""
    findings.tell(found(), "server.test")

    assert caplog.records == []


@pytest.mark.slow
def test_a_server_that_invents_names_costs_no_memory(
    findings: FindingsLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a disk: what is remembered is bounded, and so are the lines of a minute; in the next one others are told."""
    for minute in (1, 2):
        for number in range(1000):
            findings.tell(found("stream_truncated", response_model=f"model-{minute}-{number}"), "server.test")
            assert len(findings._told) <= 300
        assert len(caplog.records) == minute * 300
        clock.now += 60


@pytest.mark.parametrize(
    "text", ["a model of John Smith", "sk-proj-abcdef0123456789", "{'prompt': 'x'}", "m" * 101 + " "]
)
def test_what_is_no_name_is_not_told(findings: FindingsLog, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """A server can send any text for the name of its model, and a caller put a key where a name belongs."""
    findings.tell(found("stream_truncated", response_model=text), text)
    findings.tell(found("payload_invalid", response_model="", request=Request(model=text)), "server.test")

    assert text not in caplog.text
    assert "_other" in caplog.text or "m" * 100 in caplog.text


def test_an_error_is_told_by_its_places() -> None:
    """Its words may quote what a server sent."""
    try:
        int("Canary")
    except ValueError as error:
        where = log.places_of(error)

    assert re.fullmatch(r"test_log\.py:\d+ test_an_error_is_told_by_its_places", where)
    assert log.places_of(ValueError("Canary")) == ""


# --- what a line says


@pytest.mark.parametrize("kind", KINDS.values(), ids=repr)
def test_the_level_is_that_of_the_severity(
    findings: FindingsLog, caplog: pytest.LogCaptureFixture, kind: AnomalyKind
) -> None:
    """A fault is a warning, a dialect is information, a hazard is for debugging."""
    levels = {Severity.FAULT: logging.WARNING, Severity.DIALECT: logging.INFO, Severity.HAZARD: logging.DEBUG}
    findings.tell(found(kind.name), "server.test")
    (record,) = caplog.records

    assert (record.levelno, record.name) == (levels[kind.severity], "streamwatch")
    assert record.getMessage().startswith(f"{kind.name}: {kind.meaning} Found 1 in a stream of ")
    assert record.getMessage().endswith(f"More: streamwatch explain {kind.name}")


def test_a_line_that_nobody_reads_is_not_remembered(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """With the usual level hazards cost nothing, and are new once somebody wants them."""
    findings = FindingsLog(clock)
    with caplog.at_level(logging.WARNING, "streamwatch"):
        findings.tell(found("content_absent", "role_irregular", "stream_truncated"), "server.test")
    assert told(caplog) == ["stream_truncated"]
    with caplog.at_level(logging.DEBUG, "streamwatch"):
        findings.tell(found("content_absent", "role_irregular", "stream_truncated"), "server.test")

    assert told(caplog) == ["stream_truncated", "content_absent", "role_irregular"]


@pytest.mark.parametrize(
    ("repair", "done"),
    [
        ("default", "repaired (reindex_tool_calls): 3 verified"),
        ("none", "observed only, a repair would have come to (reindex_tool_calls): 3 verified"),
        ("-reindex_tool_calls", "left as it is"),
    ],
)
def test_what_was_done_is_told_in_words(
    findings: FindingsLog, caplog: pytest.LogCaptureFixture, repair: str, done: str
) -> None:
    """Repaired and with what outcome, observed, or let be."""
    findings.tell(broken_calls(repair), "server.test")
    (line,) = [each.getMessage() for each in caplog.records if each.getMessage().startswith("tool_call_index_missing")]

    assert f"Found 3 in a stream of gpt-4o-2024-05-13 from server.test; {done}. More: " in line


@pytest.mark.parametrize(
    ("outcomes", "done"),
    [
        ({Outcome.FAILED: 1}, "a repair was tried (reorder_buffer): 1 failed"),
        ({Outcome.FAILED: 1, Outcome.UNREPAIRED: 2}, "a repair was tried (reorder_buffer): 1 failed, 2 unrepaired"),
        ({Outcome.FAILED: 1, Outcome.VERIFIED: 1}, "repaired (reorder_buffer): 1 failed, 1 verified"),
        ({Outcome.UNVERIFIED: 1}, "repaired (reorder_buffer): 1 unverified"),
    ],
)
def test_a_repair_that_failed_is_not_called_one(
    findings: FindingsLog, caplog: pytest.LogCaptureFixture, outcomes: dict[Outcome, int], done: str
) -> None:
    """Repaired is what is so now, be it verified or not."""
    kind = KINDS["sequence_out_of_order"]
    findings.tell(truncated(anomalies={kind: 1}, outcomes={kind: outcomes}, applied=True), "server.test")

    assert f"from server.test; {done}. More: " in caplog.records[0].getMessage()


def test_what_cannot_be_repaired_is_told_so(findings: FindingsLog, caplog: pytest.LogCaptureFixture) -> None:
    """No policy repairs a stream that was cut short."""
    findings.tell(truncated(), "server.test")
    (line,) = [each.getMessage() for each in caplog.records if each.getMessage().startswith("stream_truncated")]

    assert "; nothing can be repaired here. " in line


@pytest.mark.parametrize(
    ("report", "address", "shown"),
    [
        (found("stream_truncated", response_model="m-1"), "server.test", "of m-1 from server.test;"),
        (found("stream_truncated", response_model="", request=Request(model="m-2")), "a.test", "of m-2 from a.test;"),
        (found("stream_truncated", response_model=""), "", "of an unknown model from an unknown server;"),
    ],
)
def test_whose_stream_it_was(
    findings: FindingsLog, caplog: pytest.LogCaptureFixture, report: Report, address: str, shown: str
) -> None:
    """The model that answered, else the one that was asked for, and the server."""
    findings.tell(report, address)

    assert shown in caplog.records[0].getMessage()


def test_nothing_of_the_content_is_told(findings: FindingsLog, caplog: pytest.LogCaptureFixture) -> None:
    """Neither text nor arguments nor the server's words for an error."""
    calls = [chunk({"tool_calls": [fragment(3, f'"{SECRET}', id="call_a", name="weather")]})]
    error = {"error": {"message": SECRET, "code": SECRET}}
    findings.tell(watch("chat", body([*said(SECRET), *calls, error], done=False), "all").report, "server.test")

    assert {"error_in_stream", "tool_call_index_sparse"} <= set(told(caplog))
    assert SECRET not in caplog.text


@given(st.text(LETTERS, max_size=300), st.text(LETTERS, max_size=300))
@example("a\nb", "a\r\n2026 WARNING x")
@example("a\u2028b", "\x1b[31mred\x00")
@example("%s %d", "\ud800")
@hypothesis_settings(
    max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_line_is_one_line(caplog: pytest.LogCaptureFixture, model: str, address: str) -> None:
    """Whatever a server calls its models: printable, on one line, and no longer than a line may be."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "streamwatch"):
        FindingsLog().tell(found("stream_truncated", response_model=model), address)
    (record,) = caplog.records
    line = record.getMessage()

    assert line.isprintable()
    assert len(line) < 2500
