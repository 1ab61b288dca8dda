"""What each repair on request may change for programs that read a stream to a good end on the plain SDK.

    python -m tests.harm.on_request --count 500000                # writes on_request.json
    python -m tests.harm.on_request --count 500000 --seed 2 --add # adds another search to it

A search with the policy `all`. Where a program ends otherwise, and nothing on the wire proves that right, the stream is read once
more for each kind that was repaired, with `default` and this kind alone: so it is known whose change it was. What no kind
does alone is the change of the kinds without which it does not happen. `docs/reference/repair-all.md` is written from the
result, and `test_harm.py` searches for what is not in it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .finder import BATCH, Case, Finder, Watch
from .judge import BAD, Judged
from .results import RESULTS, result_of
from .run import Options, cases
from .streams import GENERATORS, OTHERS, SOCKETS

RESULT = Path(__file__).with_name("on_request.json")

Rows = list[tuple[Judged, tuple[str, ...]]]


@dataclass
class Changes:
    """Of each kind: how many programs read a stream in which it was repaired to a good end, and what it changed."""

    seeds: tuple[int, ...] = ()
    readings: int = 0
    streams: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Changes:
        """Return the figures of earlier searches."""
        kinds = data["kinds"]
        repaired = Counter({kind: found["readings"] for kind, found in kinds.items()})
        changed = Counter({(kind, name): n for kind, found in kinds.items() for name, n in found["changed"].items()})
        return cls(tuple(data["seeds"]), data["readings"], data["streams"], repaired, changed)

    def as_data(self) -> dict[str, Any]:
        """Return the figures as JSON: of each kind its readings, and those that it changed, by result."""
        changed: dict[str, dict[str, int]] = defaultdict(dict)
        for (kind, result), count in sorted(self.changed.items()):
            changed[kind][result] = count
        kinds = {kind: {"readings": count, "changed": changed[kind]} for kind, count in sorted(self.repaired.items())}
        results = {name: about for name, (about, _) in RESULTS.items()}
        searched = {"seeds": list(self.seeds), "readings": self.readings, "streams": self.streams}
        return {**searched, "results": results, "kinds": kinds}


class Search:
    """Reads streams with everything repaired, and asks whose change it was where somebody ends otherwise."""

    def __init__(self, changes: Changes) -> None:
        self.finder = Finder(Watch("all"))
        self.changes = changes

    def run(self, plan: Iterable[Case], count: int) -> Changes:
        """Judge cases until that many readings more are judged."""
        found, most = iter(plan), self.changes.readings + count
        while self.changes.readings < most and (batch := list(itertools.islice(found, BATCH))):
            for case, rows in self._judged(batch, "all"):
                self._take(case, rows)
        self.finder.close()
        return self.changes

    def _judged(self, batch: list[Case], policy: str) -> list[tuple[Case, Rows]]:
        self.finder.watch = Watch(policy)
        pairs = [(case, stream) for case in batch if (stream := case.stream()) is not None]
        return list(self.finder.judged(pairs))

    def _take(self, case: Case, rows: Rows) -> None:
        self.changes.streams += bool(rows)
        self.changes.readings += len(rows)
        kinds = rows[0][1] if rows else ()
        well = sum(judged.plain.well for judged, _ in rows)
        self.changes.repaired.update({kind: well for kind in kinds if kind[:1] != "("})
        bad = _bad(rows)
        for kind, readers in self._blamed(case, kinds, bad).items() if bad else ():
            self.changes.changed.update((kind, result_of(reader)) for reader in readers)

    def _blamed(self, case: Case, kinds: tuple[str, ...], bad: set[str]) -> dict[str, set[str]]:
        """Return, of the readers that end otherwise, those of each kind."""
        blamed = {kind: bad & self._bad_with(case, f"default,+{kind}") for kind in kinds if kind[:1] != "("}
        left = bad.difference(*blamed.values())
        if left:
            needed = {kind: left - self._bad_with(case, f"all,-{kind}") for kind in blamed}
            rest = left.difference(*needed.values())
            blamed = {kind: blamed[kind] | needed[kind] | rest for kind in blamed}
        return blamed

    def _bad_with(self, case: Case, policy: str) -> set[str]:
        return _bad(self._judged([case], policy)[0][1])


def _bad(rows: Rows) -> set[str]:
    return {judged.reader.name for judged, _ in rows if judged.verdict in BAD}


@functools.cache
def listed() -> dict[str, frozenset[str]]:
    """Return the results that each kind may change, as the last search found it."""
    kinds = json.loads(RESULT.read_text("utf-8"))["kinds"]
    return {kind: frozenset(found["changed"]) for kind, found in kinds.items()}


def is_listed(kinds: Iterable[str], reader: str) -> bool:
    """Return whether one of these kinds is known to change what this reader returns."""
    return any(result_of(reader) in listed().get(kind, ()) for kind in kinds)


def main(arguments: list[str] | None = None) -> int:
    """Search, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.harm.on_request", description=__doc__)
    parser.add_argument("--count", type=int, default=500_000, help="judge this many readings")
    parser.add_argument("--seed", type=int, default=1, help="begin another search")
    parser.add_argument("--api", action="append", choices=(*GENERATORS, *OTHERS, *SOCKETS), help="look at this API")
    parser.add_argument("--add", action="store_true", help="add to what earlier searches found")
    given = parser.parse_args(arguments)
    changes = Changes.from_data(json.loads(RESULT.read_text("utf-8"))) if given.add else Changes()
    changes.seeds += (given.seed,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = Options(given.seed, given.count, "all", tuple(given.api or GENERATORS))
        Search(changes).run(cases(options), given.count)
    RESULT.write_text(json.dumps(changes.as_data(), indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
