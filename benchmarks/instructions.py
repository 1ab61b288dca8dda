"""The instructions that a whole stream takes, plain and watched, and how often it finds something in no near cache.

Counted by valgrind, which no load changes; the caches are those that it simulates, and not the machine's.

python benchmarks/instructions.py [--name chat] [--chunks 5]

What a stream takes is the difference of two processes that read some streams, and more of them. Each runs about fifty
times slower than without valgrind: a quarter of an hour in all.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import workload

#: The caches that are simulated, of bytes, ways and bytes a line: those of a core of an AMD EPYC, second level last.
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64")
#: Streams that each of the two processes reads after its first ones, in which all is cached that will be.
FEWER, MORE, FIRST = 20, 60, 20


def read(name: str, chunks: int, streams: int, *, watched: bool) -> None:
    """Read streams; called in a process under valgrind."""
    read_one = workload.reader(name, workload.wire(name, chunks))
    if watched:
        workload.instrument()
    for _ in range(FIRST + streams):
        read_one()


def counted(name: str, chunks: int, streams: int, *, watched: bool) -> tuple[int, int]:
    """Return the instructions of a process that reads a number of streams, and its misses in the second level."""
    program = f"import instructions; instructions.read({name!r}, {chunks}, {streams}, watched={watched})"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        valgrind = ["valgrind", "--tool=callgrind", "--cache-sim=yes", *CACHES]
        valgrind += [f"--callgrind-out-file={folder}/out", f"--log-file={log}"]
        subprocess.run([*valgrind, sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)
        (found,) = re.findall(r"Collected : ([\d ]+)", log.read_text())
    # Ir Dr Dw, then misses: of instructions, reads and writes, in the first level and in the last.
    instructions, *_, of_instructions, of_reads, of_writes = map(int, found.split())
    return instructions, of_instructions + of_reads + of_writes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=workload.STREAMS, default="chat")
    parser.add_argument("--chunks", type=int, default=5)
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: `apt-get install valgrind`, or your system's way")
    with ThreadPoolExecutor(2) as pool:
        counts = {
            (watched, streams): pool.submit(counted, arguments.name, arguments.chunks, streams, watched=watched)
            for watched in (False, True)
            for streams in (FEWER, MORE)
        }
    print(f"{arguments.name}, {arguments.chunks} chunks, a stream:")
    for place, what in enumerate(("instructions", "second-level misses")):
        plain, watched = (
            (counts[arm, MORE].result()[place] - counts[arm, FEWER].result()[place]) / (MORE - FEWER)
            for arm in (False, True)
        )
        print(f"{what:20} plain {plain:12,.0f}   watched {watched:12,.0f}   x {watched / plain:.2f}")


if __name__ == "__main__":
    main()
