"""Recorded streams, broken at random: whatever a relay does to one, watching it does no harm and counts right.

    STREAMWATCH_FUZZ=100000 pytest tests/promises/test_fuzz.py          as many streams as that
    STREAMWATCH_FUZZ_SEED=17 pytest tests/promises/test_fuzz.py -k own  the one stream of a seed again

A stream is what its seed makes of the recordings, so that a failure can be had again; the wire it
is told with has been made as short as it still fails.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.quick import examples
from helpers.stream_builders import Delivered, Seen, bytewise, parsers, reference, sdk_value, settings, split
from recordings.build import RECORDINGS, recorded_api
from streamwatch.core.report import Report, Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Strategy

#: Enough to meet every rule in an ordinary run, in some ten seconds.
COUNT = int(os.environ.get("STREAMWATCH_FUZZ") or examples(3000))
SEED = os.environ.get("STREAMWATCH_FUZZ_SEED")
POLICIES = ("none", "default", "all")
#: Bytes. Longer streams repeat themselves; they would only make the run slower.
_LONGEST = 8_000
#: A failing run tells of so many seeds, and tries so often to make a wire shorter.
_TOLD, _ATTEMPTS = 3, 400
_PARTS = 4  #: so that `-n` has something to share out
_BLANK_LINE = re.compile(rb"((?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n)))")
_JUNK: list[Any] = [None, True, 0, 1, -1, 2**70, 1.5, "", "x", "1", "\ufffd", "\ud800", [], {}, [None], [{}], {"x": 1}]


@dataclass(frozen=True)
class Source:
    """A recording to break."""

    name: str
    api: str
    wire: bytes
    request: Request


@dataclass(frozen=True)
class Fuzzed:
    """A broken stream, and how it is to be read."""

    api: str
    wire: bytes
    request: Request
    loads: Callable[[bytes], Any]
    policy: str  #: under which it is read in pieces too
    split_by: int | None  #: seed of the pieces; None for one byte a read

    def reads(self, wire: bytes) -> list[bytes]:
        """The stream in its reads."""
        return bytewise(wire) if self.split_by is None else split(wire, self.split_by, 200)

    def see(self, policy: str, reads: list[bytes]) -> Seen:
        """The stream, watched as its reader does: where it can't be read on, the rest is the SDK's."""
        stream = StreamWatch(self.api, self.request, settings(policy), loads=self.loads, clock=lambda: 0.0)
        for data in reads:
            if not stream.receive(data):
                break
        stream.close()
        events = list(stream.ready)
        return Seen([Delivered(event.event, sdk_value(event)) for event in events], events, stream.report())


# --- what can happen to a stream


def blocks(wire: bytes) -> list[bytes]:
    """The events of a wire as bytes, each with its blank line, and what is left at the end."""
    parts = _BLANK_LINE.split(wire)
    return [part for part in (b"".join(parts[at : at + 2]) for at in range(0, len(parts), 2)) if part]


def drop(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """An event is lost."""
    del events[rng.randrange(len(events))]


def duplicate(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """An event, or a few, come twice: at once, or later."""
    at = rng.randrange(len(events))
    again = events[at : at + rng.choice([1, 1, 2, 5])]
    to = at + len(again) if rng.random() < 0.5 else rng.randint(0, len(events))
    events[to:to] = again


def swap(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """Two events come in each other's place: neighbours mostly."""
    one = rng.randrange(len(events))
    two = min(one + 1, len(events) - 1) if rng.random() < 0.6 else rng.randrange(len(events))
    events[one], events[two] = events[two], events[one]


def truncate(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """The body ends at any byte."""
    wire = b"".join(events)
    events[:] = blocks(wire[: rng.randint(0, len(wire))])


def retype(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """A member is of another type, or gone."""
    at = rng.randrange(len(events))
    head, data, rest = events[at].partition(b"data:")
    line, end, tail = rest.partition(b"\n")
    try:
        payload = json.loads(line)
    except ValueError:
        return
    if members := list(places(payload)):
        holder, key = rng.choice(members)
        if rng.random() < 0.25:
            del holder[key]
        else:
            holder[key] = rng.choice([each for each in _JUNK if type(each) is not type(holder[key])])
        text = json.dumps(payload, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")
        events[at] = head + data + b" " + text + end + tail


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of a JSON value, with what holds it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield value, key
        yield from places(member)


def splice(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """Another stream goes on in the place of this one, or between its events."""
    at = rng.randint(0, len(events))
    if rng.random() < 0.5:
        events[at:] = other[rng.randint(0, len(other)) :]
    else:
        for each in other:
            at = rng.randint(at, len(events))
            events.insert(at, each)


def garble(events: list[bytes], rng: random.Random, other: list[bytes]) -> None:
    """A byte is another one, or gone, or stands twice."""
    at = rng.randrange(len(events))
    event, place = events[at], rng.randrange(len(events[at]))
    byte = rng.choice([b"", b"\n", b"\r", b'"', b"{", b"\xff", b":", b"[DONE]", event[place : place + 1] * 2])
    events[at : at + 1] = blocks(event[:place] + byte + event[place + 1 :])


MUTATIONS = (drop, duplicate, swap, truncate, retype, retype, splice, garble)


def fuzzed(sources: list[Source], seed: int) -> Fuzzed:
    """The stream of a seed."""
    rng = random.Random(seed)
    source = rng.choice(sources)
    other = rng.choice([each for each in sources if each.api == source.api])
    events = blocks(source.wire)
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        if events:
            rng.choice(MUTATIONS)(events, rng, blocks(other.wire))
    split_by = None if rng.random() < 0.05 else seed
    # What reads the stream decides on some repairs.
    request = rng.choice([source.request, source.request, Request(), Request(accumulated=True)])
    return Fuzzed(source.api, b"".join(events), request, rng.choice(parsers()), rng.choice(POLICIES), split_by)


# --- what must hold


def readable(wire: bytes) -> tuple[bytes, bytes]:
    """The events of a wire before the first that is no UTF-8, and that one: on it the SDK raises."""
    before = b""
    for block in blocks(wire):
        try:
            block.decode()
        except UnicodeDecodeError:
            return before, block
        before += block
    return before, b""


def untouched(wire: bytes) -> list[Delivered]:
    """The events that the SDK's own decoder reads, up to [DONE], or to the bytes on which it raises."""
    delivered = [Delivered(event.event, sdk_value(event)) for event in reference(readable(wire)[0])]
    end = next((at for at, each in enumerate(delivered, 1) if each.value == "[DONE]"), None)
    return delivered[:end]


def assert_counts_add_up(seen: Seen) -> None:
    """Every anomaly of a kind that has a repair is in exactly one outcome, and the stream is judged."""
    report = seen.report
    assert report.verdict is not None
    assert set(report.outcomes) == {kind for kind in report.anomalies if kind.strategy is not Strategy.NONE}
    assert {kind: sum(outcomes.values()) for kind, outcomes in report.outcomes.items()} == {
        kind: report.anomalies[kind] for kind in report.outcomes
    }
    assert all(count > 0 for outcomes in report.outcomes.values() for count in outcomes.values())


def plain(seen: Seen) -> tuple[str, Report]:
    """All that came of a stream, but for the ids that a repair had to invent."""
    delivered, report = seen.comparable()
    return re.sub(r"call_[0-9a-f]{32}", "call_", repr(delivered)), report


def assert_holds(stream: Fuzzed, wire: bytes) -> None:
    """All of it, for one wire. That nothing is raised needs no line of its own."""
    for policy in POLICIES:
        seen = stream.see(policy, [wire])
        assert_counts_add_up(seen)
        assert seen.report.applied is (policy != "none")
        if policy == "none":
            assert repr(seen.delivered) == repr(untouched(wire)), "observing changes what is handed on"
    # Bytes that are no UTF-8 and what follows are the SDK's, and how much of it came with the rest is chance.
    watched, _ = readable(wire)
    whole, in_reads = stream.see(stream.policy, [watched]), stream.see(stream.policy, stream.reads(watched))
    assert plain(in_reads) == plain(whole), f"{stream.policy}: the cut matters"


def failure_of(stream: Fuzzed, wire: bytes) -> str:
    """What does not hold, in words; nothing if all does."""
    try:
        assert_holds(stream, wire)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    except AssertionError as error:
        return f"AssertionError: {error}"
    return ""


def shortest(stream: Fuzzed, failure: str) -> tuple[bytes, str]:
    """The wire with as few events as still fail in the same way, and how that fails."""
    events, sort, at = blocks(stream.wire), failure[:25], 0
    for _ in range(_ATTEMPTS):
        if at >= len(events):
            break
        fewer = events[:at] + events[at + 1 :]
        without = failure_of(stream, b"".join(fewer))
        if without[:25] == sort:
            events, failure = fewer, without
        else:
            at += 1
    return b"".join(events), failure


def fuzz(sources: list[Source], seeds: Iterable[int], name: str) -> None:
    """The streams of these seeds, or the one asked for; the first few that fail are told with theirs."""
    told = []
    for seed in seeds if SEED is None else [int(SEED)]:
        stream = fuzzed(sources, seed)
        failure = failure_of(stream, stream.wire)
        if failure:
            wire, failure = shortest(stream, failure)
            told.append(
                f"seed {seed}, {stream.api}, {stream.request}, {stream.loads.__module__}: {failure[:1500]}\n"
                f"  smallest wire: {wire!r}\n"
                f"  again: STREAMWATCH_FUZZ_SEED={seed} pytest tests/promises/test_fuzz.py -k {name}"
            )
        if len(told) >= _TOLD:
            break
    if told:
        pytest.fail("\n".join(told), pytrace=False)


def own() -> list[Source]:
    """The project's recordings."""
    return [
        Source(name, recorded_api(name), recording.wire, recording.request) for name, recording in RECORDINGS.items()
    ]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("part", range(_PARTS))
def test_own_recordings_broken_at_random_do_no_harm(part: int) -> None:
    """Nothing is raised; observed events are the wire's own; the cut makes no difference; outcomes add up."""
    fuzz(own(), range(part, COUNT, _PARTS), "own")


def test_real_recordings_broken_at_random_do_no_harm(shared: Path) -> None:
    """The same with the streams of real servers, which have more habits than ours."""
    lines = (shared / "corpus" / "index.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    entries = [entry for entry in map(json.loads, lines) if entry["n_events"] <= 60]
    by_habit = {(entry["provider"], entry["surface"], entry["has_tool_calls"]): entry for entry in entries}
    sources = [
        Source(entry["id"], entry["surface"], wire, Request(n=entry["request_n"]))
        for entry in by_habit.values()
        if len(wire := (shared / "corpus" / "streams" / f"{entry['id']}.sse").read_bytes()) <= _LONGEST
    ]

    assert len(sources) > 30
    fuzz(sources, range(COUNT // 10), "real")


# --- the fuzzer itself


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_every_mutation_breaks_streams(mutation: Callable[..., None]) -> None:
    """A mutation that changes nothing would prove nothing."""
    source, changed = RECORDINGS["resp-openai-items"].wire, 0
    for seed in range(20):
        events = blocks(source)
        mutation(events, random.Random(seed), blocks(RECORDINGS["resp-openai-text"].wire))
        changed += b"".join(events) != source

    assert changed >= 14


def test_a_seed_makes_the_same_stream_again() -> None:
    """Or a failure could not be had again."""
    streams = [fuzzed(own(), seed) for seed in range(50)]
    assert streams == [fuzzed(own(), seed) for seed in range(50)]
    assert len({stream.wire for stream in streams}) > 45


@pytest.mark.slow
def test_the_mutations_reach_most_of_what_can_be_found() -> None:
    """Streams that show no anomaly would prove nothing: the kinds that a broken recording can show are met."""
    sources = own()
    streams = (fuzzed(sources, seed) for seed in range(400))
    kinds = {kind.name for stream in streams for kind in stream.see("default", [stream.wire]).report.anomalies}

    assert len(kinds) > 25


def test_what_does_not_hold_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours, put in on purpose, is found; the wire told is short, and the seed finds it again."""
    see = Fuzzed.see

    def lossy(self: Fuzzed, policy: str, reads: list[bytes]) -> Seen:
        seen = see(self, policy, reads)
        if policy == "none" and b'"finish_reason":"stop"' in b"".join(reads) and seen.delivered:
            seen.delivered.pop()
        return seen

    monkeypatch.setattr(Fuzzed, "see", lossy)
    with pytest.raises(pytest.fail.Exception) as failed:
        fuzz(own(), range(100), "own")
    told = str(failed.value)
    seed = int(re.search(r"STREAMWATCH_FUZZ_SEED=(\d+) pytest", told)[1])  # type: ignore[index]

    assert failure_of(fuzzed(own(), seed), fuzzed(own(), seed).wire)
    assert len(re.search(r"smallest wire: (.*)", told)[1]) < 700  # type: ignore[index]
