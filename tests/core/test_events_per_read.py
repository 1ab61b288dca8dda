"""How a stream came: whose time it took, and how many events a read brought."""

from __future__ import annotations

import pytest

from helpers.sdk import chat, frames
from streamwatch.core.report import Times
from streamwatch.core.stream import StreamWatch


@pytest.mark.parametrize(("duration", "waiting", "reading"), [(5.0, 3.0, 2.0), (5.0, 5.0, 0.0), (1.0, 1.1, 0.0)])
def test_what_was_not_waited_is_the_readers(duration: float, waiting: float, reading: float) -> None:
    """Never less than nothing, whatever a clock does."""
    assert Times(duration, waiting).reading == reading


@pytest.mark.parametrize(
    ("size", "per_read"),
    [(1, 1.0), (2, 2.0), (23, 23.0), (10, 23 / 3)],
    ids=["one by one", "two by two", "at once", "in bursts"],
)
def test_events_per_read_are_counted_over_the_stream(size: int, per_read: float) -> None:
    """Role, twenty texts, finish and [DONE], so many in each read."""
    reads = frames(chat(*["text"] * 20))
    assert len(reads) == 23
    stream = StreamWatch("chat")
    for at in range(0, len(reads), size):
        stream.receive(b"".join(reads[at : at + size]))
    stream.close()
    report = stream.report(Times(2.0, 1.0))

    assert report.events_per_read == (23 / 12 if size == 2 else per_read)
    assert report.times == Times(2.0, 1.0)
    assert report == stream.report()  # how a stream came is no part of what it was


def test_a_stream_without_events_brought_none() -> None:
    """And nothing is divided by nothing."""
    stream = StreamWatch("chat")
    stream.close()

    assert stream.report().events_per_read == 0.0
    assert stream.report().times is None
