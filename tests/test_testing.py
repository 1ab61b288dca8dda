"""What users' own tests get: the reports of the streams that their code read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from openai import _streaming

from helpers import sdk
from streamwatch import testing
from streamwatch.sdk import instrumentor
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

ORIGINAL = _streaming.Stream.__init__


def is_on() -> bool:
    """Whether new streams are watched."""
    return (
        bool(StreamwatchInstrumentor().is_instrumented_by_opentelemetry) and _streaming.Stream.__init__ is not ORIGINAL
    )


@pytest.fixture(autouse=True)
def _off() -> None:
    """It is off before each test; what a test leaves switched on is its failure."""
    assert not is_on()


def test_reports_are_those_of_the_streams_that_ended_inside() -> None:
    """In the order in which they ended; before and after, nothing is watched."""
    sdk.read("sync", sdk.healthy("chat"))
    with testing.reports() as seen:
        assert is_on()
        sdk.read("sync", sdk.healthy("chat"))
        sdk.read("async", sdk.healthy("chat")[:3])
    sdk.read("sync", sdk.healthy("chat"))

    assert not is_on()
    assert ["complete", "truncated"] == [report.verdict for report in seen]


def test_a_stream_that_was_dropped_inside_is_reported() -> None:
    """Nobody waits for the garbage collector."""
    with testing.reports() as seen:
        for _ in sdk.create(sdk.client(sdk.healthy("chat"))):
            break

    assert ["abandoned"] == [report.verdict for report in seen]


def test_reports_can_be_nested() -> None:
    """Each has its own; the outer one has those of the inner one too."""
    with testing.reports() as outer:
        sdk.read("sync", sdk.healthy("chat"))
        with testing.reports() as inner:
            sdk.read("sync", sdk.healthy("chat")[:3])
        assert is_on()

    assert ["complete", "truncated"] == [report.verdict for report in outer]
    assert ["truncated"] == [report.verdict for report in inner]


def test_it_is_off_again_after_an_exception() -> None:
    """The test that fails inside does not change the next one."""
    with pytest.raises(ZeroDivisionError), testing.reports() as seen:
        sdk.read("sync", sdk.healthy("chat"))
        raise ZeroDivisionError

    assert not is_on()
    assert ["complete"] == [report.verdict for report in seen]


@pytest.mark.parametrize(
    ("level", "applied", "opted_in"),
    [("none", False, False), ("default", True, False), ("opt_in", True, True), ("all", True, True)],
)
def test_levels_are_policies(level: str, applied: bool, opted_in: bool) -> None:
    """By the names people use."""
    with testing.reports(level) as seen:
        sdk.read("sync", sdk.healthy("chat"))
        policy = instrumentor.agent.settings.repair

    assert [applied] == [report.applied for report in seen]
    assert opted_in == bool(policy.opt_in)


def test_a_level_may_be_any_policy() -> None:
    """As in STREAMWATCH_REPAIR; and what is none is an exception, for whoever wrote it reads it."""
    with testing.reports("default,-fill_content") as seen:
        outcome = sdk.read("sync", sdk.healthy("chat"))

    assert None is outcome.chunks[-1][1]["choices"][0]["delta"]["content"]
    assert ["content_absent"] == list(seen[0].kinds)
    with pytest.raises(ValueError, match="'nonsense'"), testing.reports("nonsense"):
        pass
    assert not is_on()


def test_the_last_report_is_of_the_stream_that_was_opened_last() -> None:
    """Even if an earlier one is found by the garbage collector later."""
    testing.instrument()
    try:
        early = sdk.create(sdk.client(sdk.healthy("chat")))
        sdk.read("sync", [*sdk.healthy("chat")[:2], sdk.frame({"error": {"message": "no"}})])
        del early
        assert {"verdict": "error", "kinds": ["error_in_stream"]} == testing.last_report()
    finally:
        testing.uninstrument()


def test_switching_on_again_changes_the_level() -> None:
    """Unlike OpenTelemetry's `instrument()`, which leaves what is on as it is."""
    testing.instrument("none")
    testing.instrument("all")
    try:
        assert not instrumentor.agent.settings.repair.observe
    finally:
        testing.uninstrument()


USERS_TEST = """
from helpers import sdk

def test_mine(streamwatch_reports):
    sdk.read("sync", sdk.healthy("chat"))
    assert ["complete"] == [report.verdict for report in streamwatch_reports]

def test_another(streamwatch_reports):
    assert [] == streamwatch_reports

def test_without_the_fixture():
    sdk.read("sync", sdk.healthy("chat"))
"""


@pytest.mark.slow
def test_the_plugin_gives_a_fixture(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-p streamwatch.testing`: each test sees the streams that ended in it, and no others."""
    root = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests")]))
    pytester.makepyfile(USERS_TEST)
    result = pytester.runpytest_subprocess("-p", "streamwatch.testing", "-p", "no:asyncio", "-W", "error")

    result.assert_outcomes(passed=3)
    assert 0 == result.ret
