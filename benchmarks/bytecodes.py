"""Bytecodes that a chunk takes, as the interpreter counts them: the same on a busy machine and on an idle one.

python benchmarks/bytecodes.py           # what the test compares with bytecodes.json
python benchmarks/bytecodes.py --renew   # write bytecodes.json, after a change that is worth its cost

Counted are the bytecodes of a stream of 300 chunks less those of one of 100, so that what a stream costs once is not
in it. They differ between releases of Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import openai
import workload

import streamwatch
from streamwatch.sdk import shape_code

BUDGET = Path(__file__).with_suffix(".json")
PACKAGE = Path(streamwatch.__file__).parent
_SIZES = 100, 300
#: Readings before the one that is counted: by then every template is taken, and every cache filled.
_WARM = 6


def traced(name: str, chunks: int) -> Counter[CodeType]:
    """Return how many bytecodes each function takes to read a stream, and that of its chunks."""
    read = workload.reader(name, workload.wire(name, chunks))
    for _ in range(_WARM):
        read()
    counts = Counter[CodeType]()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            counts[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    try:
        read()
    finally:
        sys.settrace(None)
    return counts


def by_file(name: str) -> Counter[str]:
    """Return the bytecodes of a chunk, by the file that they are in: from the package on."""
    short, long = (traced(name, size) for size in _SIZES)
    chunks = len(workload.wire(name, _SIZES[1])) - len(workload.wire(name, _SIZES[0]))
    counts = Counter[str]()
    for code, count in long.items():
        counts[_place(code)] += count - short[code]
    return Counter({place: count / chunks for place, count in counts.items() if count})


def _place(code: CodeType) -> str:
    if code.co_filename == shape_code.FILE:
        return "streamwatch/sdk/shape_code.py"
    path = Path(code.co_filename)
    if path.is_relative_to(PACKAGE.parent):
        return path.relative_to(PACKAGE.parent).as_posix()
    *_, place = path.as_posix().rpartition("/site-packages/")
    return place


def measured() -> dict[str, Any]:
    """Return the bytecodes of a chunk of each stream: those of Streamwatch, and those of all others below it."""
    workload.instrument()
    streams = {}
    for name in workload.STREAMS:
        counts = by_file(name)
        ours = sum(count for place, count in counts.items() if place.startswith("streamwatch/"))
        streams[name] = {"ours": round(ours), "others": round(counts.total() - ours)}
    return {"openai": openai.__version__, "streams": streams}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="write what was counted into bytecodes.json")
    found = measured()
    if parser.parse_args().renew:
        budget = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
        budget[f"{sys.version_info[0]}.{sys.version_info[1]}"] = found
        BUDGET.write_text(json.dumps(budget, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
