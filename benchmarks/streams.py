"""CPU time of reading a stream under Streamwatch beside the plain SDK, and what Streamwatch aims at.

python benchmarks/streams.py [--pairs 5]

Plain and watched take turns in one process, on the same bytes. A row has the median of the ratios of the pairs, and the
least and the greatest of them; each half of a pair is the least of three readings. The rows named `none` compare the
plain SDK with itself: what they show is error.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import workload

#: Chunks of a long stream: enough for what a stream costs once to vanish, and short enough for many samples.
LONG = 1000
#: Chunks of a short stream, and how many of those are read in a sample.
SHORT, SHORT_STREAMS = 5, 60
#: Streams that are read at once, and the chunks of each.
AT_ONCE, CHUNKS_AT_ONCE = 200, 100


class Row(NamedTuple):
    """One stream: its name, the ratio to the plain SDK that Streamwatch aims at, how it is read, and how often."""

    name: str
    target: float
    read: Callable[[], None]
    times: int = 1


def rows(port: int) -> Iterator[Row]:
    """Yield the rows of the table."""
    targets = {"chat": 0.22, "tools": 0.24, "responses": 0.30}
    for name in workload.STREAMS:
        yield Row(name, targets.get(name, 0.40), workload.reader(name, workload.wire(name, LONG)))
    chat = workload.wire("chat", LONG)
    yield Row("chat, async", 0.22, workload.async_reader("chat", chat))
    at_once = workload.wire("chat", CHUNKS_AT_ONCE)
    yield Row(f"chat, {AT_ONCE} streams at once", 0.22, workload.async_reader("chat", at_once, AT_ONCE))
    yield Row("chat over loopback", 0.30, workload.reader("chat", port=port))
    yield Row("chat over loopback, async", 0.30, workload.async_reader("chat", port=port))
    yield Row(f"chat of {SHORT} chunks", 1.0, workload.reader("chat", workload.wire("chat", SHORT)), SHORT_STREAMS)


@contextlib.contextmanager
def server(chunks: int) -> Iterator[int]:
    """Serve a chat stream from another process; yields the port."""
    script = Path(__file__).with_name("loopback.py")
    with subprocess.Popen([sys.executable, script, str(chunks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one:
        yield int((one.stdout or sys.stdin.buffer).readline())
        one.terminate()


def line(name: str, pairs: list[tuple[float, float]], target: float | None = None) -> str:
    """Return a line of the table."""
    ratios = sorted(second / first for first, second in pairs)
    aim = "" if target is None else f"{target:.2f}"
    return f"{name:36} {statistics.median(ratios):6.2f}   {ratios[0]:5.2f} - {ratios[-1]:5.2f}   {aim:>5}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    print(f"{'CPU time, x plain SDK':36} {'median':>6}   {'of all pairs':13}   {'aim':>5}")
    with server(LONG) as port:
        for row in rows(port):
            print(line(row.name, workload.turns(row.read, pairs, row.times), row.target), flush=True)
    for name, chunks, times in (("none, chat", LONG, 1), (f"none, chat of {SHORT} chunks", SHORT, SHORT_STREAMS)):
        read = workload.reader("chat", workload.wire("chat", chunks))
        print(line(name, workload.turns(read, pairs, times, watch=False)))


if __name__ == "__main__":
    main()
