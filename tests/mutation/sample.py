"""Names of a seeded random sample of the mutants that mutmut made, spread over all modules of the core.

mutmut run 'streamwatch.core.digest*'                        # makes all mutants, and runs the few of one module
mutmut run $(python tests/mutation/sample.py 0.15)     # 15 % of each module, 30 at the least
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

#: Fewer say little of a module.
LEAST = 30
SEED = 2026


def sample(folder: Path, share: float) -> list[str]:
    """Some of the mutants of each module: the same ones for the same source."""
    names: list[str] = []
    for path in sorted(folder.glob("*.meta")):
        mutants = sorted(json.loads(path.read_text("utf-8"))["exit_code_by_key"])
        count = min(len(mutants), max(LEAST, round(share * len(mutants))))
        names += random.Random(f"{path.name} {SEED}").sample(mutants, count)
    return names


if __name__ == "__main__":
    print("\n".join(sample(Path("mutants/streamwatch"), float(sys.argv[1]))))
