"""The memory that an open stream holds beyond the plain SDK's: tracemalloc, with spans and metrics on.

python benchmarks/open_streams.py [--streams 300] [--top]
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import workload

#: Chunks of each stream, and how many of them are read when the memory is counted.
CHUNKS, READ = 100, 50


def held(open_stream: Callable[[], Any], streams: int) -> tuple[float, tracemalloc.Snapshot]:
    """Return the bytes that each of some streams holds that are open at once, and where they were allocated."""

    def opened() -> list[Any]:
        found = [open_stream() for _ in range(streams)]
        for stream in found:
            for _ in range(READ):
                next(stream)
        return found

    for _ in open_stream():  # what is cached once and for all; and Python learns which attributes objects have
        pass
    for stream in opened():
        stream.close()  # a stream that is dropped is recorded when the next one is opened
    gc.collect()
    tracemalloc.start()
    found = opened()
    gc.collect()
    size, snapshot = tracemalloc.get_traced_memory()[0], tracemalloc.take_snapshot()
    tracemalloc.stop()
    for stream in found:
        stream.close()
    return size / streams, snapshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--top", action="store_true", help="show the lines that allocated most")
    arguments = parser.parse_args()
    for name in ("chat", "tools", "responses"):
        open_stream = workload.opener(name, workload.wire(name, CHUNKS))
        plain, before = held(open_stream, arguments.streams)
        workload.instrument()
        watched, after = held(open_stream, arguments.streams)
        workload.uninstrument()
        print(f"{name:10} plain {plain / 1024:5.1f} KiB, watched {(watched - plain) / 1024:+5.2f} KiB")
        for line in after.compare_to(before, "lineno")[: 40 if arguments.top else 0]:
            print(f"{line.size_diff / arguments.streams:9.0f}  {line.traceback}")


if __name__ == "__main__":
    main()
