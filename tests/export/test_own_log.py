"""A filter, a handler or a formatter of the application's that raises costs a line of Streamwatch's, and no more."""

from __future__ import annotations

import io
import logging
import signal
import sys
import types
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import streamwatch
from conftest import Watched
from helpers import sdk
from streamwatch.core.settings import Settings
from streamwatch.export import own_log
from streamwatch.otel import notices
from streamwatch.sdk import instrumentor


class BrokenError(Exception):
    """What logging of the application's raises."""


class Filter(logging.Filter):
    """A filter that raises."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise BrokenError


class Raising(logging.Handler):
    """A handler that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        raise BrokenError


class Recursive(logging.Handler):
    """A handler that logs what it is given."""

    def emit(self, record: logging.LogRecord) -> None:
        own_log.logger.warning("again")


class Formatter(logging.Formatter):
    """A formatter that raises."""

    def format(self, record: logging.LogRecord) -> str:
        raise BrokenError


class Formatting(logging.StreamHandler[Any]):
    """A handler whose formatter raises, and that does not take that for its own."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(Formatter())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name that logging gives it
        raise  # noqa: PLE0704 -- called while it is handled


BROKEN: list[type[Any]] = [Filter, Raising, Recursive, Formatting]


@pytest.fixture(params=BROKEN, ids=lambda each: each.__name__)
def broken(request: pytest.FixtureRequest) -> Iterator[None]:
    """Logging of the application's that raises."""
    logger, one = own_log.logger, request.param()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    add, remove = (
        (logger.addFilter, logger.removeFilter)
        if isinstance(one, Filter)
        else (logger.addHandler, logger.removeHandler)
    )
    add(one)
    yield
    remove(one)
    logger.setLevel(level)


def index_of(chunk: Any) -> int | None:
    """The index of the call in a chunk."""
    calls = chunk["choices"][0]["delta"]["tool_calls"]
    return calls[0]["index"] if calls else None


def test_a_line_that_cannot_be_logged_raises_nothing(broken: None) -> None:
    """At every level."""
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        own_log.write(level, "%s", "a word")


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_stream_with_findings_is_repaired_and_reported(mode: str, broken: None, watched: Watched) -> None:
    """And nothing counts as a failure of Streamwatch."""
    outcome = sdk.read(mode, sdk.broken())

    assert [None, 0, 0, 0, 1, 1, 1, None] == [index_of(chunk) for _, chunk in outcome.chunks]
    assert outcome.error is None
    assert watched.report.anomalies


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_stream_that_fell_silent_is_repaired_afterwards(
    mode: str, broken: None, watch: Callable[..., Watched]
) -> None:
    """The line about the silence comes while the stream is read."""
    watched = watch(settings=Settings(stall_seconds=0.1))
    first, *rest = sdk.broken()
    outcome = sdk.read(mode, [first, 0.2, *rest])

    assert [None, 0, 0, 0, 1, 1, 1, None] == [index_of(chunk) for _, chunk in outcome.chunks]
    assert "stream_stalled" in watched.report.kinds


def test_a_wrong_setting_ends_no_application(broken: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`instrument()` logs what is wrong, and switches Streamwatch on."""
    monkeypatch.setenv("STREAMWATCH_REPAIR", "al")
    streamwatch.instrument()
    assert instrumentor.agent.active

    streamwatch.uninstrument()


def test_an_sdk_that_is_not_known_can_be_imported(broken: None, watched: Watched) -> None:
    """The line about it comes in the middle of `import openai`."""
    agent = instrumentor.agent
    for undo in agent._undo:
        undo()
    agent._undo = []
    instrumentor._patch(types.ModuleType("openai._streaming"))

    assert not agent.is_patched


def test_a_notice_of_the_setup_raises_nothing(broken: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where there is no stderr, or one that takes nothing."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()])
    closed = io.StringIO()
    closed.close()
    for stderr in (None, closed):
        monkeypatch.setattr(sys, "stderr", stderr)
        with notices.warned("a word"):
            raise KeyError


# --- what is the application's


class Interrupted(logging.Handler):
    """A handler that is interrupted."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        super().__init__()
        self._interrupt = interrupt

    def emit(self, record: logging.LogRecord) -> None:
        self._interrupt()


def interrupts(signum: int, frame: FrameType | None) -> None:
    """Raise, as a handler of a time limit does."""
    raise BrokenError


@pytest.fixture
def interrupted() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Adds a handler that is interrupted."""
    added: list[logging.Handler] = []

    def add(interrupt: Callable[[], None]) -> None:
        added.append(Interrupted(interrupt))
        own_log.logger.addHandler(added[-1])

    yield add
    for handler in added:
        own_log.logger.removeHandler(handler)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals here")
def test_what_a_signal_handler_raises_passes(interrupted: Callable[[Callable[[], None]], None]) -> None:
    """A time limit of the application's that runs out while a line is logged ends what it is to end."""
    before = signal.signal(signal.SIGUSR1, interrupts)
    interrupted(lambda: signal.raise_signal(signal.SIGUSR1))
    try:
        with pytest.raises(BrokenError):
            own_log.write(logging.WARNING, "a word")
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_passes(
    error: type[BaseException], interrupted: Callable[[Callable[[], None]], None]
) -> None:
    """It is no error."""

    def interrupt() -> None:
        raise error

    interrupted(interrupt)
    with pytest.raises(error):
        own_log.write(logging.WARNING, "a word")


@pytest.mark.parametrize(("error", "passes"), [(BrokenError, True), (ValueError, False), (TimeoutError, False)])
def test_what_another_thread_raises_into_logging_itself_passes(
    error: type[Exception], passes: bool, interrupted: Callable[[Callable[[], None]], None]
) -> None:
    """The code of `logging` raises types of the standard library alone."""

    def here() -> None:
        raise error

    interrupted(types.FunctionType(here.__code__, {"__name__": "logging"}, closure=here.__closure__))
    if passes:
        with pytest.raises(error):
            own_log.write(logging.WARNING, "a word")
    else:
        own_log.write(logging.WARNING, "a word")


def test_a_line_has_the_place_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    """As if it were logged without `own_log`."""
    own_log.write(logging.WARNING, "%s", "a word", extra={"kind": "k"})
    (record,) = caplog.records

    assert (record.name, record.filename, record.getMessage()) == ("streamwatch", "test_own_log.py", "a word")
    assert vars(record)["kind"] == "k"
