"""What a process says of itself on its terminal: one line at the start, eight at most at the end."""

from __future__ import annotations

import io
import os
import time
import types

import pytest

from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.vocabulary import Outcome
from streamwatch.export import labels
from streamwatch.export import summary as module
from streamwatch.export.series import Series
from streamwatch.export.summary import Summary
from streamwatch.export.summary_text import closing, opening
from streamwatch.version import __version__

ORDER, CUT, GAP, ABSENT = (
    KINDS[name] for name in ("sequence_out_of_order", "stream_truncated", "sequence_gap", "content_absent")
)
MARK = "_STREAMWATCH_SUMMARY_PID"


class Terminal(io.StringIO):
    """A terminal, or what pretends to be one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The stderr of a process that was not started by one with a summary."""
    stream = Terminal()
    # pytest sets those of `sys` itself between a fixture and its test.
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(stderr=stream, __stderr__=stream))
    monkeypatch.setenv(MARK, "")  # so that what is set below goes with the test
    monkeypatch.delenv(MARK)
    return stream


def counted(
    streams: dict[tuple[str, str], int],
    anomalies: dict[AnomalyKind, int] | None = None,
    repairs: dict[tuple[AnomalyKind, Outcome, bool], int] | None = None,
) -> Series:
    """What a process counted."""
    series = Series({})
    series.streams = {(*ended, "direct"): count for ended, count in streams.items()}
    series.anomalies = {(kind, "direct"): count for kind, count in (anomalies or {}).items()}
    series.repairs = repairs or {}
    return series


def announced(settings: Settings | None = None) -> Summary:
    """A summary that may speak, and has said what it says at the start."""
    summary = Summary()
    summary.announce(lambda: "on http://localhost:9464/metrics")
    summary.start(settings or Settings())
    return summary


def test_a_program_on_a_terminal_says_what_it_does_and_what_it_did(terminal: Terminal) -> None:
    """The start, and the end."""
    announced().end([counted({("complete", "clean"): 2})])

    first, *rest = terminal.getvalue().splitlines()
    assert first == (
        f"streamwatch: {__version__} watches OpenAI streams, repair policy default;"
        " metrics are on http://localhost:9464/metrics"
    )
    assert rest[0].startswith("streamwatch: 2 streams in ")
    assert rest[0].endswith(" s: 2 complete")
    assert rest[1:] == [
        "streamwatch: 2 clean, 0 repaired, 0 broken",
        "streamwatch: metrics were on http://localhost:9464/metrics",
    ]


def test_the_start_and_the_end_are_said_once(terminal: Terminal) -> None:
    """However often Streamwatch is switched on, or the exit is run through."""
    summary = announced()
    summary.start(Settings())
    summary.end([])
    summary.end([])

    lines = terminal.getvalue().splitlines()
    assert len([line for line in lines if " watches OpenAI streams" in line]) == 1
    assert len([line for line in lines if "no streams in" in line]) == 1


def test_who_did_not_announce_itself_is_silent(terminal: Terminal) -> None:
    """Tests, commands and frameworks that switch Streamwatch on."""
    summary = Summary()
    summary.start(Settings())
    summary.end([counted({("complete", "clean"): 1})])

    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("mode", "is_terminal", "speaks"),
    [("auto", True, True), ("auto", False, False), ("always", False, True), ("never", True, False)],
)
def test_the_setting_says_where_it_speaks(
    mode: str, is_terminal: bool, speaks: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default on a terminal."""
    monkeypatch.setattr(terminal, "isatty", lambda: is_terminal)
    announced(Settings(summary=mode)).end([])

    assert bool(terminal.getvalue()) is speaks


def test_a_stderr_that_was_replaced_stays_as_it_is(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pytest, a logger, a progress bar, even if it says that it is a terminal."""
    other = Terminal()
    monkeypatch.setattr(module.sys, "stderr", other)  # type: ignore[attr-defined]
    announced().end([])

    assert (terminal.getvalue(), other.getvalue()) == ("", "")


def test_a_stderr_that_is_gone_costs_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed, None, or a terminal that went away."""
    settings = Settings(summary="always")
    terminal.close()
    announced(settings).end([])
    monkeypatch.setattr(module.sys, "stderr", None)  # type: ignore[attr-defined]
    announced(settings).end([])

    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.sys, "stderr", Gone())  # type: ignore[attr-defined]
    announced(settings).end([])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_silent(terminal: Terminal) -> None:
    """The counts before the fork are the parent's."""
    summary = announced(Settings(summary="always"))
    said = terminal.getvalue()
    child = os.fork()
    if child == 0:
        summary.end([counted({("complete", "clean"): 1})])
        os._exit(0 if terminal.getvalue() == said else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert said


def test_a_process_that_one_with_a_summary_started_is_silent(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the environment of the first one: workers, reloaders, tools."""
    monkeypatch.setenv(MARK, str(os.getpid() + 1))
    announced(Settings(summary="always")).end([])

    assert terminal.getvalue() == ""


def test_the_summary_names_what_was_repaired_and_what_was_not() -> None:
    """Counted over all models and servers."""
    lines = closing(
        [
            counted(
                {("complete", "repaired"): 2, ("truncated", "broken"): 1},
                {ORDER: 3, CUT: 1, ABSENT: 5},
                {
                    (ORDER, Outcome.VERIFIED, True): 2,
                    (ORDER, Outcome.FAILED, True): 1,
                    (CUT, Outcome.UNREPAIRED, True): 1,
                },
            ),
            counted({("complete", "clean"): 4}, {ABSENT: 1}, {(ABSENT, Outcome.UNVERIFIED, True): 6}),
        ],
        1.25,
        "on http://localhost:9464/metrics",
    )

    assert lines == [
        "7 streams in 1.2 s: 6 complete, 1 truncated",
        "4 clean, 2 repaired, 1 broken",
        "repaired content_absent 6, sequence_out_of_order 2 (2 verified)",
        "not repaired sequence_out_of_order 1, stream_truncated 1",
        "metrics were on http://localhost:9464/metrics",
        "more: streamwatch explain sequence_out_of_order",
    ]


def test_the_fault_that_reached_the_application_is_the_one_to_read_about() -> None:
    """However much more of another kind was repaired."""
    outcomes = {(ORDER, Outcome.VERIFIED, True): 3, (CUT, Outcome.UNREPAIRED, True): 1}
    lines = closing([counted({("truncated", "broken"): 1}, {ORDER: 3, CUT: 1}, outcomes)], 1.0, "nowhere")

    assert lines[-1] == "more: streamwatch explain stream_truncated"


def test_what_was_only_observed_is_not_called_repaired() -> None:
    """With the policy `none` the fault reached the application."""
    observed = counted({("complete", "broken"): 1}, {ORDER: 2}, {(ORDER, Outcome.VERIFIED, False): 2})
    lines = closing([observed], 1.0, "nowhere")

    assert "a repair would have corrected sequence_out_of_order 2 (2 verified)" in lines
    assert "not repaired sequence_out_of_order 2" in lines
    assert "observing only" in opening(Settings(repair=Policy("none")), "nowhere")


def test_the_summary_has_eight_lines_at_most() -> None:
    """With everything in it that can be in it."""
    kinds = list(KINDS.values())
    full = counted(
        {(verdict, "broken"): 1 for verdict in ("complete", "truncated", "empty", "error", "abandoned")},
        dict.fromkeys(kinds, 3),
        {(kind, outcome, applied): 1 for kind in kinds for outcome in Outcome for applied in (True, False)},
    )
    full.unobserved = 2
    lines = closing([full], 100.0, "on http://localhost:9464/metrics")

    assert len(lines) <= 8
    assert "2 streams read past the SDK's parser, and not watched" in lines
    assert all(len(line) < 200 for line in lines)
    assert all(ord(letter) < 127 for line in lines for letter in line)


def test_no_streams_are_said_to_be_none() -> None:
    """That is evidence as well."""
    assert closing([], 0.5, "nowhere") == ["no streams in this process, which ran for 0.5 s", "metrics were nowhere"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@collector:4318/v1?token=secret", "http://collector:4318/v1"),
        ("http://[::1:4318", "an address that cannot be read"),
    ],
)
def test_credentials_of_an_address_are_not_shown(url: str, shown: str) -> None:
    """Nor its query."""
    assert labels.address(url, "an address that cannot be read") == shown


def test_the_clock_begins_at_the_start(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds since Streamwatch was switched on."""
    now = iter([100.0, 103.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    announced().end([])

    assert "streamwatch: no streams in this process, which ran for 3.5 s\n" in terminal.getvalue()
