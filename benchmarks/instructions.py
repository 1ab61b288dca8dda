"""The instructions that a whole stream takes, plain and watched, by valgrind: neither load nor caches change them.

python benchmarks/instructions.py [--name chat] [--chunks 5]

What a stream takes is the difference of two processes that read some streams, and more of them. Each runs about fifty
times slower than without valgrind: some minutes in all.
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

#: Streams that each of the two processes reads after its first ones, in which all is cached that will be.
FEWER, MORE, FIRST = 20, 60, 20


def read(name: str, chunks: int, streams: int, *, watched: bool) -> None:
    """Read streams; called in a process under valgrind."""
    read_one = workload.reader(name, workload.wire(name, chunks))
    if watched:
        workload.instrument()
    for _ in range(FIRST + streams):
        read_one()


def instructions(name: str, chunks: int, streams: int, *, watched: bool) -> int:
    """Return the instructions of a process that reads a number of streams."""
    program = f"import instructions; instructions.read({name!r}, {chunks}, {streams}, watched={watched})"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", f"--log-file={log}"]
        subprocess.run([*valgrind, sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)
        (counted,) = re.findall(r"Collected : (\d+)", log.read_text())
    return int(counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=workload.STREAMS, default="chat")
    parser.add_argument("--chunks", type=int, default=5)
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed: `apt-get install valgrind`, or your system's way")
    with ThreadPoolExecutor(2) as pool:
        counts = {
            (watched, streams): pool.submit(instructions, arguments.name, arguments.chunks, streams, watched=watched)
            for watched in (False, True)
            for streams in (FEWER, MORE)
        }
    plain, watched = (
        (counts[arm, MORE].result() - counts[arm, FEWER].result()) / (MORE - FEWER) for arm in (False, True)
    )
    shown = f"{arguments.name}, {arguments.chunks} chunks"
    print(
        f"{shown}: plain {plain / 1e6:.2f} million instructions, watched {watched / 1e6:.2f}, x {watched / plain:.2f}"
    )


if __name__ == "__main__":
    main()
