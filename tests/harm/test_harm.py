"""Nobody is harmed: whoever reads a stream to a good end on the plain SDK, ends the same with Streamwatch.

STREAMWATCH_HARM says how many combinations are judged. `python -m tests.harm` prints more about each.
"""

from __future__ import annotations

import os

import pytest

from helpers import quick
from streamwatch import Policy

from .judge import BAD, VERDICTS
from .on_request import is_listed, listed
from .readers import READERS
from .results import RESULTS, result_of
from .run import Options, examples, searched
from .table import described, rendered

#: Combinations of stream, change and reader. Some seconds' worth; continuous integration judges a million.
COUNT = int(os.environ.get("STREAMWATCH_HARM") or quick.examples(8_000))
SEED = int(os.environ.get("STREAMWATCH_HARM_SEED") or 1)
#: Combinations that are judged with everything repaired: another search than the one that made the list.
ON_REQUEST, OTHER_SEED = max(COUNT // 8, 1000), SEED + 1
#: Tests that run beside each other, where there are processes for them.
SHARDS = 4
#: Examples that a failing test shrinks: more take minutes to read, and the command prints all.
SHOWN = 4


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_nobody_is_harmed(shard: int) -> None:
    """At level default a reader ends the same, or the stream proves the plain result wrong."""
    options = Options(seed=SEED, count=COUNT)
    tally = searched(options, shard, SHARDS)
    assert tally.combinations >= COUNT // SHARDS
    if any(tally.verdicts[verdict] for verdict in BAD):
        pytest.fail(rendered(tally, examples(tally, options, SHOWN), rows=12), pytrace=False)


def test_observing_changes_nothing() -> None:
    """With policy none everybody ends as on the plain SDK, whatever it is."""
    options = Options(seed=SEED, count=max(COUNT // 8, quick.examples(1000)), policy="none")
    tally = searched(options)
    changed = {verdict: tally.verdicts[verdict] for verdict in VERDICTS if verdict not in ("kept", "left")}
    if any(changed.values()) or tally.why:
        pytest.fail(rendered(tally, examples(tally, options, SHOWN), rows=12), pytrace=False)


@pytest.mark.slow
def test_what_all_changes_is_listed() -> None:
    """With policy all a program may end otherwise, in a result that `on_request.json` lists for a kind that was repaired."""
    options = Options(seed=OTHER_SEED, count=ON_REQUEST, policy="all")
    tally = searched(options)
    outside = {group for group in tally.groups if not is_listed(group[0].split(), group[1])}
    shown = [described(finding) for finding in tally.findings if finding.group in outside][:SHOWN]

    assert tally.verdicts["harmed"] > 0, "a search that finds nothing says nothing of the list"
    assert not outside, "\n".join([*map(str, sorted(outside)), *shown])


def test_the_list_names_kinds_and_results_that_there_are() -> None:
    """Nothing is listed for a kind that no policy repairs, and each result has its programs."""
    repaired = {kind.name for kind in Policy("all").opt_in}
    programs = {result_of(reader) for readers in READERS.values() for reader in readers}

    assert listed().keys() <= repaired
    assert frozenset().union(*listed().values()) <= programs == RESULTS.keys()
    assert not is_listed(("tool_call_index_reused",), "text_or_empty")
