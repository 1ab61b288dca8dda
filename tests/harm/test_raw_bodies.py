"""Programs that read bytes or lines get the same, of whatever the search makes of streams."""

from __future__ import annotations

from itertools import islice

import streamwatch.testing
from helpers import quick
from helpers.raw_reading import reading
from helpers.sdk import MODES, cut_off

from .finder import plan
from .streams import everything, own

#: Streams that are read, each plain and watched.
COUNT = quick.examples(400)
#: Another search than that of the readers of chunks.
SEED = 20


def test_a_body_that_is_read_as_bytes_or_lines_stays_the_same() -> None:
    """Piece for piece, with the same exception, and each stream has one report."""
    recorded = list(own()) if quick.is_quick() else everything()  # parsing all takes seconds
    cases = islice(plan(SEED, recorded=recorded), COUNT)
    streams = [stream for case in cases if (stream := case.stream()) is not None]
    assert len(streams) > COUNT // 2
    for number, stream in enumerate(streams):
        reads = [*stream.reads(), *([cut_off()] if stream.cut else [])]
        asked = MODES[number % 2], reads, ("iter_lines", "http.iter_bytes")[number % 3 == 0]
        api = "responses" if stream.api == "responses" else "chat"
        plain = reading(*asked, api=api)
        streamwatch.testing.instrument()
        with streamwatch.testing.reports() as reports:
            watched = reading(*asked, api=api)
        streamwatch.testing.uninstrument()

        assert watched.as_seen() == plain.as_seen(), stream.name
        assert len(reports) == 1, stream.name
