"""Look for harm from the command line: `python -m tests.harm --count 20000`.

Exit status 1 says that somebody is harmed.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import math
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .finder import Case, Finder, Finding, Tally, Watch, plan
from .shrink import Shrinker
from .streams import GENERATORS, OTHERS, SOCKETS, everything
from .table import as_data, changed_by_kind, rendered

#: Combinations: a search of fewer parses fewer recordings, of which it would not read most.
_ALL = 8_000
#: Readers of one kind of repair that are shown: the third says what the first two said.
_EACH = 2


@dataclass(frozen=True)
class Options:
    """What is looked at; the same for every process."""

    seed: int = 1
    count: int = 5000
    policy: str = "default"
    apis: tuple[str, ...] = tuple(GENERATORS)
    change: str = ""
    readers: tuple[str, ...] = ()
    corpus: Path | None = None
    stream: str = ""
    recorded: bool = True
    sweep: bool = True
    seconds: float = math.inf
    sockets: bool = True


def cases(options: Options, place: int = 0, of: int = 1) -> Iterator[Case]:
    """Return one share of the plan."""
    # Parsing all takes seconds.
    every = 1 if options.stream or options.corpus else max(1, _ALL // options.count)
    recorded = [s for s in everything(options.corpus, every) if options.stream in s.name] if options.recorded else []
    return plan(
        options.seed,
        apis=options.apis,
        only_change=options.change,
        recorded=recorded,
        shard=(place, of),
        sweep=options.sweep,
        only_recorded=bool(options.stream),
        sockets=options.sockets,
    )


def searched(options: Options, place: int = 0, of: int = 1) -> Tally:
    """Return the figures of one share of the plan."""
    finder = Finder(Watch(options.policy), options.readers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, of values that are broken on purpose
        try:
            return finder.run(cases(options, place, of), options.count // of, options.seconds)
        finally:
            finder.close()


def write(options: Options, path: Path) -> None:
    """Write the streams of a plan as the drivers of `tests/clients` read them, a line each: as many as are to be judged.

    Frameworks are slow to start, and live in environments of their own; what they read is made here.
    """
    with path.open("w", encoding="utf-8") as file:
        for number, case in enumerate(itertools.islice(cases(replace(options, sockets=False)), options.count)):
            stream = case.stream()
            if stream is None:
                continue
            told: dict[str, object] = {
                "id": f"{number}/{'+'.join(case.changes) or 'as-it-is'}/{stream.name}",
                "api": stream.api,
            }
            told |= {"content_type": "text/event-stream", "connection_cut": stream.cut, "request": stream.request}
            told["wire"] = base64.b64encode(b"".join(stream.reads())).decode()
            file.write(json.dumps(told) + "\n")


def examples(tally: Tally, options: Options, most: int = 40) -> list[Finding]:
    """Return the smallest example of each group of findings, the largest groups first."""
    finder = Finder(Watch(options.policy), options.readers)
    wanted = _wanted(tally, most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shrunk = [Shrinker(finder).shrunk(finding) for finding in wanted]
    finder.close()
    return shrunk


def _wanted(tally: Tally, most: int) -> list[Finding]:
    """Return what is shrunk: of what was repaired, the shortest stream for each of the readers harmed most."""
    best: dict[tuple[str, str], Finding] = {}
    for finding in sorted(tally.findings, key=lambda finding: len(finding.case.base.events)):
        best.setdefault(finding.group, finding)
    by_kinds: dict[str, list[Finding]] = {}
    for finding in sorted(best.values(), key=lambda f: (not f.judged.reader.is_answer, -tally.groups[f.group])):
        by_kinds.setdefault(finding.group[0], []).append(finding)
    sizes = {kinds: sum(tally.groups[finding.group] for finding in found) for kinds, found in by_kinds.items()}
    return [f for kinds in sorted(by_kinds, key=lambda k: -sizes[k]) for f in by_kinds[kinds][:_EACH]][:most]


def shares(options: Options, jobs: int) -> Tally:
    """Return the figures of the whole plan, of so many processes."""
    if jobs == 1:
        return searched(options)
    total = Tally()
    # Started anew: a fork would share the clients' loop and what Streamwatch remembers.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for tally in pool.starmap(searched, [(options, place, jobs) for place in range(jobs)]):
            total.merge(tally)
    return total


def main(arguments: list[str] | None = None) -> int:
    """Look for harm, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.harm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="begin another search")
    parser.add_argument("--count", type=int, default=5000, help="judge so many combinations")
    parser.add_argument("--minutes", type=float, default=math.inf, help="search no longer than so many minutes")
    parser.add_argument("--policy", default="default", help="watch with this policy")
    parser.add_argument("--api", choices=(*GENERATORS, *OTHERS, *SOCKETS), help="look at one API")
    parser.add_argument("--only-change", default="", help="apply this change in every case")
    parser.add_argument("--only-reader", action="append", default=[], help="judge this reader; may be repeated")
    parser.add_argument("--corpus", type=Path, help="read the recordings of this folder instead of all")
    parser.add_argument("--stream", default="", help="read recordings with this in their name, and nothing generated")
    parser.add_argument("--generated", action="store_true", help="read generated streams alone")
    parser.add_argument("--jobs", type=int, default=1, help="search in so many processes")
    parser.add_argument("--rows", type=int, default=0, help="print so many rows of each table")
    parser.add_argument("--examples", type=int, default=20, help="shrink and print so many examples")
    parser.add_argument("--json", type=Path, help="write everything to this file too")
    parser.add_argument("--kinds", action="store_true", help="print what each kind of repair changes, for whom")
    parser.add_argument("--write", type=Path, help="write the streams for tests/clients to this file, and read nothing")
    given = parser.parse_args(arguments)
    options = Options(
        given.seed,
        given.count,
        given.policy,
        (given.api,) if given.api else tuple(GENERATORS),
        given.only_change,
        tuple(given.only_reader),
        given.corpus,
        given.stream,
        not given.generated,
        not given.stream,
        given.minutes * 60,
    )
    if given.write:
        write(options, given.write)
        return 0
    began = time.perf_counter()
    tally = shares(options, given.jobs)
    found = examples(tally, options, given.examples)
    print(changed_by_kind(tally) if given.kinds else rendered(tally, found, rows=given.rows))
    print(f"{time.perf_counter() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(as_data(tally, found), indent=1, default=repr), "utf-8")
    return int(bool(tally.verdicts["harmed"] + tally.verdicts["worse"]))


if __name__ == "__main__":
    sys.exit(main())
