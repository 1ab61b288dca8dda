"""Nothing is lost, whenever something of ours fails: at any line of the core, on any stream.

A trace function raises at one line of the core, at random, while a stream is being watched. What was handed on before,
what `undelivered` returns, and the bytes that were not read yet are then all that came: each event once, as it came.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import streamwatch.core
from helpers.cases import CASES
from helpers.quick import examples
from helpers.stream_builders import (
    begin,
    body,
    chunk,
    fragment,
    message,
    named,
    numbered,
    reference,
    response,
    said,
    settings,
    split,
    stamped,
    texts,
)
from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.core.report import Request
from streamwatch.core.stream import StreamWatch

CORE = str(Path(streamwatch.core.__file__).parent)
POLICIES = ("default", "all", "none")


class OurOwn(Exception):
    """What fails."""


class Failing:
    """Raises at one line of the core: the `at`-th that is run, if so many are."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.lines = 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(CORE) or frame.f_code.co_name == "undelivered":
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.left:
                raise OurOwn
        return self._line


def watched(
    api: str, reads: list[bytes], request: Request, policy: str, at: int
) -> tuple[list[Any], list[Any], int, bool]:
    """Return what was handed on, what was left as it came, how many lines were run, and whether one of them failed."""
    stream = StreamWatch(api, request, settings(policy), clock=lambda: 0.0)
    failing, delivered = Failing(at), []
    rest, failed = b"", False
    sys.settrace(failing)
    try:
        for number, data in enumerate(reads):
            rest = b"".join(reads[number + 1 :])
            stream.unfed = data  # as its owner does, in case the very call should fail
            stream.take(data)
            while stream.more():
                pass
            delivered += stream.ready
            stream.ready.clear()
        stream.close()
    except OurOwn:
        failed = True
    finally:
        sys.settrace(None)
    if not failed:
        return [*delivered, *stream.ready], [], failing.lines, False
    left, undecoded = stream.undelivered()
    return delivered, [*left, *reference(undecoded + rest)], failing.lines, True


def texts_of(events: list[Any]) -> list[str]:
    """What came of some events, without what a repair put in."""
    return [event.data for event in events if not event.added]


def scrambled(events: list[Any], seed: str) -> list[Any]:
    """Events a few places late."""
    chance = random.Random(seed)
    return [event for _, event in sorted(enumerate(events), key=lambda pair: pair[0] + chance.uniform(0, 4))]


def streams() -> Iterator[tuple[str, str, bytes, Request]]:
    """Streams of every API, healthy and broken in every way that a rule knows."""
    for name, recording in RECORDINGS.items():
        yield name, recorded_api(name), (HERE / f"{name}.sse").read_bytes(), recording.request
    for case in CASES:
        yield case.name, case.api, case.wire, case.request
    answer = numbered(response(message(0, "One ", "two ", "three"), message(1, "four ", "five")))
    yield "scrambled-responses", "responses", named(scrambled(answer, "a")), Request()
    yield "scrambled-chat", "chat", body(scrambled(stamped(said(*["One", "two", "three", "four"])), "b")), Request()
    early = [begin(1), *texts("b", "c", index=1), begin(0), *texts("a"), chunk({}, "stop"), chunk({}, "stop", index=1)]
    yield "early-choices", "chat", body(early), Request(n=2, accumulated=True)
    late = [chunk({"tool_calls": [fragment(0, "", id="call_a")]}), *texts("x", "y")]
    late += [chunk({"tool_calls": [fragment(0, '{"a":1}', name="weather")]}), chunk({}, "tool_calls")]
    yield "late-name", "chat", body([begin(), *late]), Request(accumulated=True)


STREAMS = {name: (api, wire, request) for name, api, wire, request in streams()}


@pytest.mark.quick_cases(25)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", STREAMS)
def test_nothing_is_lost_at_any_line(name: str, policy: str) -> None:
    """What came goes on once, whichever line fails; but for what a repair had dropped already."""
    api, wire, request = STREAMS[name]
    chance = random.Random(f"{name} {policy}")
    reads = chance.choice([[wire], split(wire, name), [part + b"\n\n" for part in wire.split(b"\n\n")]])
    came = Counter(texts_of(reference(b"".join(reads))))
    whole, _, lines, failed = watched(api, reads, request, policy, 0)
    assert not failed
    may_come = came | Counter(texts_of(whole))
    arrived = [text for text in texts_of(reference(b"".join(reads))) if may_come[text] == 1]
    # What a number held may go on behind what came after it; elsewhere the order of arrival is kept.
    in_order = (
        not name.startswith(("order", "gap", "scrambled"))
        and [text for text in texts_of(whole) if text in set(arrived)] == arrived
    )  # nothing moved by a repair
    kept = Counter(texts_of(whole)) & came  # without what repairs drop, and what only a repair makes an event of
    for at in sorted({chance.randint(1, max(lines, 1)) for _ in range(examples(10, 1))}):
        delivered, left, _, failed = watched(api, reads, request, policy, at)
        assert failed
        now = Counter(texts_of([*delivered, *left]))
        assert kept - now == Counter(), f"lost where line {at} fails"
        assert now - may_come == Counter(), f"told twice where line {at} fails"
        places = [text for text in texts_of(left) if text in set(arrived)]
        assert not in_order or places == [text for text in arrived if text in set(places)]
