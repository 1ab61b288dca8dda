"""Nobody is harmed: whoever reads a stream to a good end on the plain SDK, ends the same with Streamwatch.

STREAMWATCH_HARM says how many combinations are judged. `python -m tests.harm` prints more about each.
"""

from __future__ import annotations

import os

import pytest

from .judge import BAD, VERDICTS
from .run import Options, examples, searched
from .table import rendered

#: Combinations of stream, change and reader. Some seconds' worth; continuous integration judges a million.
COUNT = int(os.environ.get("STREAMWATCH_HARM") or 8_000)
SEED = int(os.environ.get("STREAMWATCH_HARM_SEED") or 1)
#: Tests that run beside each other, where there are processes for them.
SHARDS = 4
#: Examples that a failing test shrinks: more take minutes to read, and the command prints all.
SHOWN = 4


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
    options = Options(seed=SEED, count=max(COUNT // 8, 1000), policy="none")
    tally = searched(options)
    changed = {verdict: tally.verdicts[verdict] for verdict in VERDICTS if verdict not in ("kept", "left")}
    if any(changed.values()) or tally.why:
        pytest.fail(rendered(tally, examples(tally, options, SHOWN), rows=12), pytrace=False)
