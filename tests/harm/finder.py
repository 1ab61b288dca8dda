"""The plan, and what becomes of it: which streams are read, changed how, by whom, and what the judge says."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import streamwatch.testing

from . import (  # noqa: F401 -- fill the table
    changes_calls,
    changes_chat,
    changes_elsewhere,
    changes_responses,
    changes_snapshots,
    changes_sockets,
    changes_stream,
    readers_calls,
    readers_chat,
    readers_completions,
    readers_helpers,
    readers_other,
    readers_responses,
    readers_sockets,
)
from .changes import changes_of
from .connected import SOCKET_MODES, ServerOfAll
from .judge import BAD, Judged, judge
from .proof import MessageTruths, Truths, changed
from .readers import Reader, readers_of
from .serving import Read, Server
from .streams import GENERATORS, OTHERS, SOCKETS, everything, generated
from .wire import Chance, Stream

#: How often each way of reading is taken, of 20 cases.
_MODES = (*["create"] * 11, "create_async", "create_async", "raw", *["helper"] * 4, "helper_async", "helper_async")
_CUTS = (*["event"] * 5, "blocking event", "whole", "small")
#: How many changes a case has, of 20.
_COUNTS = (*[1] * 11, *[2] * 8, 0)
#: Cases between two switches of Streamwatch, which cost a millisecond each.
BATCH = 40
#: Plain reads of unchanged streams that are kept for the next case.
KEPT = 400
#: Events. Longer streams are read as they are; a change in them shows no more than in shorter ones.
CHANGED_EVENTS = 120


@dataclass(frozen=True)
class Case:
    """One stream, changed or not, read in one way."""

    base: Stream
    changes: tuple[str, ...]
    seed: int
    mode: str = "create"
    cut: str = "event"

    def stream(self) -> Stream | None:
        """Return the stream after its changes; None if there is nothing to change."""
        return changed(self.base, self.changes, self.seed)


@dataclass
class Finding:
    """A combination that is harmed, or worse."""

    case: Case
    judged: Judged
    kinds: tuple[str, ...]
    events: tuple[Any, ...] = ()

    @property
    def group(self) -> tuple[str, str]:
        """What findings are grouped by: the kinds that were reported, and the reader."""
        return " ".join(self.kinds) or "nothing reported", self.judged.reader.name


@dataclass
class Tally:
    """The figures: verdicts by change, by reader and by stream, and the findings."""

    by_change: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_reader: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_source: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_kind: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    groups: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    cases: int = 0

    @property
    def combinations(self) -> int:
        """How many readers were judged."""
        return sum(self.verdicts.values())

    def add(self, case: Case, judged: Judged, kinds: tuple[str, ...]) -> None:
        """Count a verdict."""
        verdict, reader = judged.verdict, f"{case.base.api}: {judged.reader.name}"
        self.verdicts[verdict] += 1
        for name in case.changes or ("as it is",):
            self.by_change[name, verdict] += 1
        self.by_reader[reader, verdict] += 1
        self.by_source[case.base.source, verdict] += 1
        if judged.why:
            self.why[f"{verdict}: {judged.why}"] += 1
        if verdict not in ("kept", "left"):
            # Which of several repairs a reader has seen nobody can say.
            self.by_kind[kinds[0] if len(kinds) == 1 else "several", reader] += 1
        if verdict in BAD:
            finding = Finding(case, judged, kinds)
            self.groups[finding.group] += 1
            if self.groups[finding.group] <= 2:
                self.findings.append(finding)

    def merge(self, other: Tally) -> None:
        """Add the figures of another process."""
        for name in ("by_change", "by_reader", "by_source", "by_kind", "verdicts", "why", "groups"):
            getattr(self, name).update(getattr(other, name))
        self.findings += other.findings
        self.cases += other.cases


class Watch:
    """Streamwatch, switched on and off by its public names."""

    def __init__(self, policy: str = "default") -> None:
        self.policy = policy

    @contextlib.contextmanager
    def on(self) -> Iterator[list[Any]]:
        """Watch the streams that are read inside; their reports."""
        loud = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # findings of streams that are broken on purpose
        streamwatch.testing.instrument(self.policy)
        try:
            with streamwatch.testing.reports(self.policy) as reports:
                yield reports
        finally:
            streamwatch.testing.uninstrument()
            logging.disable(loud)

    def read(self, server: Server, stream: Stream, mode: str, cut: str, reports: list[Any]) -> Read | None:
        """Return what an application is given, with the kinds that were reported."""
        before = len(reports)
        read = server.read(stream, mode, cut)
        if read is not None and len(reports) > before:
            # A stream over HTTP is one; a session over a WebSocket has a report for each response.
            read.kinds = _repaired(reports[before if stream.api in SOCKETS else -1 :])
        return read


def _repaired(reports: list[Any]) -> tuple[str, ...]:
    """Return the kinds that were repaired; what was found, in brackets, if nothing was."""
    found = set()
    for report in reports:
        for kind, outcomes in report.outcomes.items():
            if any(str(getattr(outcome, "value", outcome)) != "unrepaired" for outcome in outcomes):
                found.add(kind.name)
    return tuple(sorted(found or {f"({name})" for report in reports for name in report.kinds}))


class Finder:
    """Reads cases and judges them."""

    def __init__(self, watch: Watch | None = None, readers: Iterable[str] = ()) -> None:
        self.watch = watch or Watch()
        self.server: Server = ServerOfAll()
        self.only = frozenset(readers)
        self.tally = Tally()
        self._plain: OrderedDict[tuple[int, str], Read | None] = OrderedDict()
        self._kept: dict[int, Stream] = {}

    def run(self, cases: Iterable[Case], count: int, seconds: float = math.inf) -> Tally:
        """Judge cases until that many combinations are judged, or the time is over."""
        batch: list[tuple[Case, Stream]] = []
        end = time.monotonic() + seconds
        for case in cases:
            if time.monotonic() > end:
                break
            stream = case.stream()
            if stream is None:
                continue
            batch.append((case, stream))
            if len(batch) == BATCH:
                self._run(batch)
                batch = []
            if self.tally.combinations + 30 * len(batch) >= count:
                break
        self._run(batch)
        return self.tally

    def verdicts(self, case: Case) -> list[tuple[Judged, tuple[str, ...]]]:
        """Return what is said of one case."""
        stream = case.stream()
        return [] if stream is None else [row for _, rows in self.judged([(case, stream)]) for row in rows]

    def close(self) -> None:
        """Close the clients."""
        self.server.close()

    def _run(self, batch: list[tuple[Case, Stream]]) -> None:
        for case, rows in self.judged(batch):
            self.tally.cases += bool(rows)
            for judged, kinds in rows:
                self.tally.add(case, judged, kinds)

    def judged(self, batch: list[tuple[Case, Stream]]) -> Iterator[tuple[Case, list[tuple[Judged, tuple[str, ...]]]]]:
        """Return what is said of each case of a batch, and the kinds that were repaired in it."""
        plain = [self.server.read(stream, case.mode) for case, stream in batch]
        watched, bases = [], []
        with self.watch.on() as reports:
            for (case, stream), read in zip(batch, plain):
                has_base = bool(case.changes) and case.base.source != "generated"
                watched.append(read and self.watch.read(self.server, stream, case.mode, case.cut, reports))
                bases.append(
                    read and has_base and self.watch.read(self.server, case.base, case.mode, case.cut, reports)
                )
        for (case, stream), before, after, base in zip(batch, plain, watched, bases):
            rows = [] if before is None or after is None else self._of_case(case, stream, before, after, base or None)
            yield case, rows

    def _of_case(self, case: Case, stream: Stream, plain: Read, watched: Read, base: Read | None) -> Any:
        readers = list(self._readers(stream.api, case.mode))

        def truths() -> Truths | MessageTruths:
            def read(other: Stream, mode: str) -> Read | None:
                return self._read(other, mode) if other is case.base else self.server.read(other, mode)

            if stream.api in SOCKETS:
                return MessageTruths(stream, case.mode, read, watched)
            return Truths(case.base, stream, case.changes, case.seed, case.mode, read, watched)

        return [(judged, watched.kinds) for judged in judge(readers, stream, plain, watched, truths, base)]

    def _readers(self, api: str, mode: str) -> list[Reader]:
        found = readers_of(api, mode)
        if not self.only:
            return found
        # The answers are judged with a reader of form.
        return [reader for reader in found if reader.name in self.only or reader.name.partition("[")[0] in self.only]

    def _read(self, stream: Stream, mode: str) -> Read | None:
        """Return a plain read; kept for a while, for many cases share their base."""
        key = (id(stream), mode)
        if key in self._plain:
            self._plain.move_to_end(key)
            return self._plain[key]
        self._kept[id(stream)] = stream  # an id is one stream's as long as that lives
        read = self._plain[key] = self.server.read(stream, mode)
        if len(self._plain) > KEPT:
            (old, _), _ = self._plain.popitem(last=False)
            self._kept.pop(old, None)
        return read


# --- the plan


def plan(
    seed: int,
    *,
    apis: Iterable[str] = tuple(GENERATORS),
    only_change: str = "",
    recorded: list[Stream] | None = None,
    shard: tuple[int, int] = (0, 1),
    sweep: bool = True,
    only_recorded: bool = False,
    sockets: bool = True,
) -> Iterator[Case]:
    """Return cases without end: each change of each API, every recording as it is, and whatever chance gives, in turn."""
    streams = [s for s in (everything() if recorded is None else recorded) if s.api in (*apis, *OTHERS)]
    short = [stream for stream in streams if len(stream.events) <= CHANGED_EVENTS and stream.api in apis]
    sources = [
        _sweep(seed, apis, only_change) if sweep else iter(()),
        _as_they_are(seed, streams) if not only_change else iter(()),
        _chances(seed, tuple(apis), short, only_change, only_recorded),
    ]
    if tuple(apis) == tuple(GENERATORS) and not only_recorded:
        sources[-1] = _now_and_then(sources[-1], _of_rest(seed, OTHERS, only_change))
    cases = _in_turn(sources)
    if sockets and tuple(apis) == tuple(GENERATORS) and not only_recorded:
        cases = _now_and_then(cases, _of_rest(seed, SOCKETS, only_change))
    place, of = shard
    return itertools.islice(cases, place, None, of)


def _in_turn(sources: list[Iterator[Case]]) -> Iterator[Case]:
    """Return one case of each source after the other, until all are at an end."""
    while sources:
        for source in list(sources):
            case = next(source, None)
            if case is None:
                sources.remove(source)
            else:
                yield case


def _chances(
    seed: int, apis: tuple[str, ...], recorded: list[Stream], only_change: str, only_recorded: bool
) -> Iterator[Case]:
    for number in itertools.count() if recorded or not only_recorded else ():
        yield _by_chance(Chance(seed, number), number, apis, recorded, only_change, only_recorded)


def _now_and_then(cases: Iterator[Case], others: Iterator[Case]) -> Iterator[Case]:
    """Return cases without end, with another one after each six: a number that no count of shards divides."""
    for case in cases:
        yield from (case, *itertools.islice(cases, 5), *itertools.islice(others, 1))


def _of_rest(seed: int, apis: Iterable[str], only_change: str) -> Iterator[Case]:
    """Return every change of some more APIs, and whatever chance gives."""
    name = "others" if apis is OTHERS else "sockets"
    yield from _sweep(seed, apis, only_change)
    for number in itertools.count():
        yield _by_chance(Chance(seed, name, number), number, tuple(apis), [], only_change, False)


def _sweep(seed: int, apis: Iterable[str], only_change: str) -> Iterator[Case]:
    """Return every change of every API on the first generated stream that has something to change."""
    for api in apis:
        for change in changes_of(api):
            if only_change and change.name != only_change:
                continue
            for attempt in range(200):
                base = generated(api, Chance(seed, change.name, attempt).below(1 << 30))
                mode = Chance(seed, change.name, api).pick(SOCKET_MODES, "mode") if api in SOCKETS else "create"
                case = Case(base, (change.name,), seed, mode)
                if case.stream() is not None:
                    yield case
                    break


def _as_they_are(seed: int, streams: list[Stream]) -> Iterator[Case]:
    """Return every recording once, one of each source after the other."""
    sources: dict[str, list[Case]] = {}
    for stream in sorted(streams, key=lambda stream: Chance(seed, stream.name).hash()):
        chance = Chance(seed, stream.name, "mode")
        case = Case(stream, (), seed, chance.pick(_MODES), chance.pick(_CUTS, "cut"))
        sources.setdefault(stream.source, []).append(case)
    return _in_turn([iter(cases) for cases in sources.values()])


def _by_chance(
    chance: Chance, number: int, apis: tuple[str, ...], recorded: list[Stream], only: str, only_recorded: bool
) -> Case:
    weighted: dict[tuple[str, ...], tuple[str, ...]] = {**_WEIGHTED}  # type: ignore[dict-item]
    api = chance.pick(weighted.get(apis, apis), "api")
    if recorded and (only_recorded or chance.below(2, "recorded")):
        base = chance.pick(recorded, "base")
    else:
        base = generated(api, chance.below(1 << 30, "stream"))
    names = [change.name for change in changes_of(base.api)]
    count = chance.pick(_COUNTS, "count")
    picked = [only] if only else []
    picked += [chance.pick(names, "change", i) for i in range(count - len(picked))]
    mode, cut = chance.pick(SOCKET_MODES if api in SOCKETS else _MODES, "mode"), chance.pick(_CUTS, "cut")
    return Case(base, tuple(dict.fromkeys(picked)), number, mode, cut)


_WEIGHTED = {("chat", "completions", "responses"): ("chat",) * 5 + ("responses",) * 5 + ("completions",)}
