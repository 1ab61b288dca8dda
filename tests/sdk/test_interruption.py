"""An exception that is raised into our code reaches the application, as it does on the plain SDK; one of ours does not."""

from __future__ import annotations

import ctypes
import functools
import gc
import inspect
import random
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from conftest import Watched, settle
from helpers import sdk
from streamwatch.core.vocabulary import Verdict
from streamwatch.sdk.interruption import is_interruption, unless_interrupted

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals here")


class Limit(Exception):
    """What an application's signal handler raises, as Celery's soft time limit does."""


def by_name(signum: int, frame: FrameType | None) -> None:
    raise Limit


def by_star(*_: Any) -> None:
    raise Limit


def through_another(*given: Any) -> None:
    by_wrapping(*given)


def by_wrapping(signum: int, _: Any) -> None:
    raise Limit


def with_an_error_of_its_own(signum: int, frame: FrameType | None) -> float:
    return signum / 0


class Handler:
    """A handler that is a method."""

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.fail()

    def fail(self) -> None:
        raise Limit


HANDLERS: list[Any] = [
    *(by_name, by_star, through_another, with_an_error_of_its_own),
    *(Handler().handle, functools.partial(by_name), lambda *_: {}["missing"]),  # type: ignore[index]
]


@pytest.fixture
def handle() -> Any:
    """Sets the handler of a signal for the time of a test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield functools.partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_signal_handlers_exception_is_an_interruption(handler: Any, handle: Any) -> None:
    """However the handler is written, and whatever it raises."""
    handle(handler)
    with pytest.raises((Limit, ZeroDivisionError, KeyError)) as caught:
        signal.raise_signal(signal.SIGUSR1)
        for _ in range(100):  # a handler is called between two bytecodes
            pass

    assert is_interruption(caught.value)


def test_an_error_of_ours_is_none() -> None:
    """What our code raises, what a callback of the application's raises, and what was never raised."""

    def callback() -> None:
        raise Limit

    for fail in (callback, lambda: 1 // 0, [].pop):
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- any
            fail()
        assert not is_interruption(caught.value)
        with unless_interrupted():
            fail()
    assert not is_interruption(Limit())


@pytest.mark.parametrize("module", ["streamwatch.core.sse", "dataclasses", "pydantic.main", "json.decoder"])
def test_an_exception_of_the_applications_out_of_what_we_call_was_raised_into_it(module: str) -> None:
    """From another thread: by itself such a module raises types of Python's, its own or the SDK's."""

    def here(error: Exception) -> None:
        raise error

    fail = types.FunctionType(here.__code__, {"__name__": module})
    for error, is_raised_into in ((Limit(), True), (TimeoutError(), True), (ValueError(), False), (KeyError(), False)):
        with pytest.raises(type(error)) as caught:
            fail(error)
        assert is_interruption(caught.value) is is_raised_into


# --- at every place of our code


def streams() -> list[tuple[str, list[bytes]]]:
    """Streams that reach most of our code: tool calls, and events that are held."""
    found = [("chat", sdk.frames(sdk.tool_chat()))]
    if sdk.HAS_RESPONSES:
        found.append(("responses", sdk.frames(sdk.disordered(sdk.responses()), done=False)))
    return found


class Place:
    """Counts the calls of functions of ours, and raises a signal at the beginning of one, where Python looks for some.

    Not of generators: those are called as well to be closed, and Python itself swallows what is raised then.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        ours = frame.f_globals.get("__name__", "").startswith("streamwatch.")
        if event == "call" and ours and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            self.calls += 1
            if self.calls >= self.at > 0 and not _is_finalizing(frame):
                self.at = 0
                signal.raise_signal(signal.SIGUSR1)


def _is_finalizing(frame: FrameType | None) -> bool:
    """Return whether the collector runs: Python itself swallows what is raised there."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _read_with_a_signal(api: str, reads: list[bytes], at: int) -> tuple[bool, int]:
    """Read a stream, with a signal in a function of ours; returns whether it reached the application, and all calls."""
    place, reached = Place(at), False
    sys.settrace(place)
    try:
        for _ in sdk.create(sdk.client(reads), api):
            pass
    except Limit:
        reached = True
    finally:
        sys.settrace(None)
    return reached, place.calls


@pytest.mark.slow
@pytest.mark.parametrize(("api", "reads"), streams(), ids=[api for api, _ in streams()])
def test_a_signal_reaches_the_application_from_everywhere(
    api: str, reads: list[bytes], handle: Any, watched: Watched
) -> None:
    """At 200 calls from the opening of a stream to its end: none is swallowed, and none is counted as our error."""
    handle(by_name)
    for _ in range(3):
        sdk.read("sync", reads, api)  # what is done once for all streams
    _, calls = _read_with_a_signal(api, reads, 0)
    gc.disable()  # the calls are the same each time then
    try:
        places = range(1, calls - 1, max(calls // 200, 1))
        swallowed = [at for at in places if not _read_with_a_signal(api, reads, at)[0]]
    finally:
        gc.enable()
    settle()

    assert calls > 100
    assert [] == swallowed
    assert 0 == watched.internal_errors()
    assert Verdict.COMPLETE is watched.reports[0].verdict
    assert sdk.read("sync", reads, api).error is None


# Python loses what a signal raises in a finalizer, the SDK's own included: the rate tells how often.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alarm_reaches_the_application_as_often_as_without_us(handle: Any, watch: Callable[..., Watched]) -> None:
    """Between any two bytecodes, in Python and in C: the rate of the plain SDK."""
    reads = sdk.frames(sdk.chat(*"abcdefghij" * 60))

    def rate() -> float:
        chance, reached, alarms = random.Random(1), 0, 60
        for _ in range(alarms):
            stream = sdk.create(sdk.client(reads))
            next(stream)
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.006))
                for _ in stream:
                    pass
                for _ in sdk.create(sdk.client(reads)):  # if the machine was faster
                    pass
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Limit:
                reached += 1
        return reached / alarms

    before = signal.signal(signal.SIGALRM, by_star)
    try:
        plain = rate()
        watched = watch()
        ours = rate()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert ours >= plain - 0.1
    assert 0 == watched.internal_errors()


@pytest.mark.slow
def test_an_exception_from_another_thread_reaches_the_application(
    watched: Watched, request: pytest.FixtureRequest
) -> None:
    """As libraries raise it that limit the time of a function.

    Some 4 in 100 are lost on the plain SDK as well, inside of what catches every exception.
    """
    reads, chance = sdk.frames(sdk.chat(*"abcdefghij" * 60)), random.Random(2)
    thread, reached, tries = threading.get_ident(), 0, 30
    gc.disable()  # what Hypothesis does behind each collection would lose it, and pytest take that for a failure
    request.addfinalizer(gc.enable)
    for _ in range(tries):
        timer = threading.Timer(chance.uniform(0.001, 0.006), _raise_into, (thread,))
        try:
            timer.start()
            for _ in range(20):
                for _ in sdk.create(sdk.client(reads)):
                    pass
            timer.join()  # on a busy machine it is late
            time.sleep(0.01)
        except Limit:
            reached += 1
        timer.join()

    assert reached >= tries * 0.8
    assert 0 == watched.internal_errors()


def _raise_into(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Limit))
