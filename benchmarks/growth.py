"""The growth of the cost with the chunks of a stream, and with streams read at once: a table and a plot.

python benchmarks/growth.py [--most 1000000] [--out benchmarks/results]

Plain and watched take turns in one process, on the same bytes; each point is the median of three turns, of one where a
turn takes long.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import workload

#: Chunks above which one turn is enough: ten seconds of the plain SDK.
LONG = 100_000
STREAM = 50  # chunks of each of the streams that are read at once


def medians(read: Callable[[], None], times: int) -> tuple[float, float]:
    """Return CPU seconds of a plain and of a watched reading."""
    plain, watched = zip(*workload.turns(read, times, samples=1), strict=True)
    return statistics.median(plain), statistics.median(watched)


def held(chunks: int) -> int:
    """Return bytes that a watched stream holds more than a plain one at most, at any time while it is read."""
    reads = workload.wire("chat", chunks)

    def peak() -> int:
        read = workload.reader("chat", reads)
        gc.collect()
        tracemalloc.start()
        read()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak()  # what is cached once and for all
    plain = peak()
    workload.instrument()
    peak()
    watched = peak()
    workload.uninstrument()
    return watched - plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="chunks of the longest stream")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    sizes = [size for size in (100, 1_000, 10_000, 100_000, 1_000_000) if size <= arguments.most]
    by_chunks, by_streams = {}, {}
    for size in sizes:
        by_chunks[size] = medians(workload.reader("chat", workload.wire("chat", size)), 1 if size > LONG else 3)
        print(f"{size:>9,} chunks: plain {by_chunks[size][0]:8.3f} s, watched {by_chunks[size][1]:8.3f} s", flush=True)
    for count in (1, 10, 100, 1_000):
        by_streams[count] = medians(workload.async_reader("chat", workload.wire("chat", STREAM), count), 3)
        print(
            f"{count:>9,} streams: plain {by_streams[count][0]:7.3f} s, watched {by_streams[count][1]:7.3f} s",
            flush=True,
        )
    memory = {size: held(size) for size in (100, 10_000, 100_000) if size <= arguments.most}
    print("held at most beyond the plain SDK, in bytes:", memory)
    _save(arguments.out, by_chunks, by_streams, memory)


Points = dict[int, tuple[float, float]]


def _save(out: Path, by_chunks: Points, by_streams: Points, memory: dict[int, int]) -> None:
    figures = {"chunks": by_chunks, "streams": by_streams, "bytes_held": memory}
    (out / "growth.json").write_text(json.dumps(figures, indent=2) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, points, of in ((axes[0], by_chunks, "chunks of one stream"), (axes[1], by_streams, "streams at once")):
        for arm, label, color in ((0, "plain SDK", "#888888"), (1, "with Streamwatch", "#1f60c4")):
            axis.loglog(list(points), [each[arm] for each in points.values()], "o-", label=label, color=color)
        axis.set(xlabel=of, ylabel="CPU seconds")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(out / "growth.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
