"""A recorded stream put through the core again: what is found in it and where, and what is handed on.

The core is fed block by block, and a kind whose tally grew was found in that block: so positions cost a stream that is
watched in production nothing. A recording has no clock: nothing in it waits too long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from streamwatch.cli.check.recordings import Recording, request_of, value_of
from streamwatch.core import sse
from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.report import Report
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import BLANK_LINE, FALSE_LINE_END, Event
from streamwatch.core.stream import StreamWatch
from streamwatch.core.stream_cases import FIXED
from streamwatch.core.vocabulary import Condition, Level, Severity, Verdict

#: Positions kept of a kind: enough to see a pattern; its count says how many there are.
_MAX_POSITIONS = 100
#: Times that a repaired stream is repaired again: twice is the most that any case known needs.
_MAX_PASSES = 4


@dataclass(frozen=True)
class Position:
    """The place of a finding: the number of the event, from 1, and where its block begins; None at the end."""

    event: int | None
    offset: int
    line: int


@dataclass
class Replay:
    """The findings in a recording."""

    recording: Recording
    report: Report
    positions: dict[AnomalyKind, list[Position]] = field(default_factory=dict)
    repaired: bytes = b""  #: what Streamwatch hands on
    policy: Policy = field(default_factory=Policy)

    @property
    def is_well(self) -> bool:
        """Complete and without a fault; a recording that somebody stopped is not called incomplete."""
        faults = any(kind.severity is Severity.FAULT for kind in self.report.anomalies)
        ends = self.report.verdict in (Verdict.COMPLETE, Verdict.ABANDONED)
        return ends and not faults and self.report.condition is Condition.CLEAN

    @property
    def rewritten(self) -> list[AnomalyKind]:
        """The kinds of which something was repaired in the events themselves.

        What is repaired in dicts of the chunks alone shows again whenever the events are read.
        """
        repaired = (kind for kind, found in self.report.outcomes.items() if any(found.get(each) for each in FIXED))
        return [kind for kind in repaired if kind.level is not Level.AUTO or kind in self.policy.opt_in]


def fixed(first: Replay, settings: Settings) -> Replay:
    """Put what is handed on through the core until no event is rewritten: a repair can make another one possible."""
    last = first
    for _ in range(_MAX_PASSES):
        again = replace(first.recording, body=last.repaired, offset=None, blocks=(), line=1, format="repaired")
        last = replay(again, settings)
        if not last.rewritten:
            break
    return last


def replay(recording: Recording, settings: Settings) -> Replay:
    """Put a recording through the core."""
    watch = StreamWatch(recording.api, request_of(recording), settings, clock=lambda: 0.0)
    handed_on, positions = bytearray(), dict[AnomalyKind, list[Position]]()

    def found(position: Position) -> None:
        for kind, tally in watch.anomalies.items():
            known = positions.setdefault(kind, [])
            grown = tally.count - counts.get(kind, 0)
            known += [position] * min(grown, _MAX_POSITIONS - len(known))
            counts[kind] = tally.count

    counts: dict[AnomalyKind, int] = {}
    readable, at = True, 0
    for block, position in _blocks(recording):
        at += len(block)
        readable = watch.receive(block)
        found(position)
        handed_on += b"".join(map(written, watch.ready))
        watch.ready.clear()
        if not readable:
            watch.leave("not UTF-8, or an event too large")
            break
    watch.close(ConnectionError("cut") if recording.cut else None, abandoned=recording.abandoned)
    found(_end(recording))
    left, rest = watch.undelivered()
    handed_on += b"".join(map(written, left)) + (rest + recording.body[at:] if watch.rest is not None else b"")
    return Replay(recording, watch.report(), positions, bytes(handed_on), settings.repair)


def positions(recording: Recording) -> Iterator[tuple[int, Position]]:
    """Yield each block of a body: where it ends, and where it stands."""
    end = 0
    for block, position in _blocks(recording):
        end += len(block)
        if _has_data(block):
            yield end, position


def _blocks(recording: Recording) -> Iterator[tuple[bytes, Position]]:
    """Yield the body in blocks that end in a blank line, and where each stands."""
    body, start, line, number, at = recording.body, 0, recording.line, 0, 0
    ends = [match.end() for match in BLANK_LINE.finditer(body)]
    for end in ends if ends[-1:] == [len(body)] else [*ends, len(body)]:
        block = body[start:end]
        number += _has_data(block)
        if recording.blocks:
            offset, line = recording.blocks[min(at, len(recording.blocks) - 1)]
        else:
            offset = start + (recording.offset or 0)
        if block:
            yield block, Position(number, offset, line)
        line += _lines(block)
        start, at = end, at + 1


def _has_data(block: bytes) -> bool:
    return block.lstrip(b"\xef\xbb\xbf").startswith(b"data") or b"\ndata" in block or b"\rdata" in block


def _lines(block: bytes) -> int:
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")


def _end(recording: Recording) -> Position:
    return Position(None, len(recording.body) + (recording.offset or 0), recording.line + _lines(recording.body))


def written(event: Event) -> bytes:
    """Return an event as OpenAI would send it, with what a repair made of it."""
    return sse.written(event, _text(event))


def _text(event: Event) -> str:
    """Return what the SDK reads as the payload of an event: what came, or what a repair made of it."""
    came = value_of(event.data)
    value = event.payload if event.shared and event.payload is not None else came
    if not isinstance(value, dict):
        return event.data
    whole = value == came and "\n" not in event.data
    text = event.data if whole else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Inside of JSON these characters may be escaped, and old readers split lines there.
    return FALSE_LINE_END.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def choices_asked(recording: Recording) -> int | None:
    """Return how many choices the request wanted; where nobody knows, as many as the answer finishes, or has."""
    n = recording.request.get("n")
    if type(n) is int or recording.api not in ("chat", "completions"):
        return n if type(n) is int else None
    finished, seen = {0}, {0}
    for choice in _choices(recording.body):
        index = choice.get("index")
        if type(index) is int and index >= 0:
            seen.add(index)
            finished |= {index} if choice.get("finish_reason") else set()
    return max(finished) + 1 if max(finished) or max(seen) == 0 else None


def _choices(body: bytes) -> Iterator[dict[str, Any]]:
    """Return the choices of all chunks of a body."""
    for line in body.split(b"\n"):
        payload = value_of(line.decode("utf-8", "replace").partition("data:")[2])
        choices = payload.get("choices") if isinstance(payload, dict) else None
        yield from (each for each in choices if isinstance(each, dict)) if isinstance(choices, list) else ()
