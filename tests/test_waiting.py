"""What has arrived is handed on in time, whatever the server does next: over real connections, in every concurrency."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from typing import Any

import openai
import pytest
import sdk
import sockets
from conftest import Watched

from streamwatch.core.settings import Policy, Settings

pytestmark = pytest.mark.skipif(not sdk.HAS_RESPONSES, reason="this release has no Responses API")

WINDOW = 0.15
#: Much longer than the window, and than what a busy machine is late by.
SILENCE = 1.5
LATE = 1.0
MODES = ("sync", "asyncio", "trio")
FRAMES = sdk.frames(sdk.responses(), done=False)
#: A response of which event 4 never comes, from a server that falls silent while 5 and 6 are held.
GAP: list[sockets.Write] = [*FRAMES[:4], *FRAMES[5:7], SILENCE, *FRAMES[7:]]
Arrivals = list[tuple[int, float]]


class Reading:
    """What an application got out of a stream, and when."""

    def __init__(self) -> None:
        self.arrivals: Arrivals = []
        self.error: BaseException | None = None

    @property
    def numbers(self) -> list[int]:
        """The events in the order in which they were handed on."""
        return [number for number, _ in self.arrivals]


def _sync(url: str, reading: Reading, options: dict[str, Any]) -> None:
    clock = sockets.Clock()
    with openai.OpenAI(api_key=sdk.API_KEY, base_url=url, max_retries=0, **options) as client:
        for event in sdk.create(client, "responses"):
            reading.arrivals.append((event.sequence_number, clock()))


async def _async(url: str, reading: Reading, options: dict[str, Any]) -> None:
    clock = sockets.Clock()
    async with openai.AsyncOpenAI(api_key=sdk.API_KEY, base_url=url, max_retries=0, **options) as client:
        async for event in await sdk.create(client, "responses"):
            reading.arrivals.append((event.sequence_number, clock()))


def read(mode: str, url: str, **options: Any) -> Reading:
    """Read the one stream of a server."""
    reading = Reading()
    try:
        if mode == "sync":
            _sync(url, reading, options)
        elif mode == "trio":
            pytest.importorskip("trio").run(_async, url, reading, options)
        elif mode == "uvloop":
            loop = pytest.importorskip("uvloop").new_event_loop()
            try:
                loop.run_until_complete(_async(url, reading, options))
            finally:
                loop.close()
        else:
            asyncio.run(_async(url, reading, options))
    except Exception as error:
        reading.error = error
    return reading


@pytest.fixture
def impatient(watch: Callable[..., Watched]) -> Watched:
    """Streamwatch with a short window."""
    return watch(settings=Settings(repair=Policy(), window_seconds=WINDOW))


EACH_MODE = pytest.mark.parametrize("mode", [*MODES, *(["uvloop"] if importlib.util.find_spec("uvloop") else [])])


@EACH_MODE
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # trio, of the SDK's own generators
def test_held_events_come_within_the_window(mode: str, impatient: Watched) -> None:
    """A gap that never fills costs the window at most, and not the time until the server goes on."""
    with sockets.server(GAP) as url:
        reading = read(mode, url)

    assert [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11] == reading.numbers
    assert reading.error is None
    assert all(late < LATE for number, late in reading.arrivals if number < 7)
    assert all(late > LATE for number, late in reading.arrivals if number > 6)
    assert "sequence_gap" in impatient.report.kinds
