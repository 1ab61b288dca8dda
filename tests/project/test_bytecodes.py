"""What a chunk costs does not grow unnoticed: bytecodes, which no load on a machine changes, beside a budget."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "bytecodes.py"
BUDGETS = json.loads(PROGRAM.with_suffix(".json").read_text())
VERSION = ".".join(map(str, sys.version_info[:2]))
#: How much more than its budget a stream may cost: rounding, and a line in a rule.
MARGIN = 1.02


@pytest.mark.slow
@pytest.mark.skipif(VERSION not in BUDGETS, reason=f"bytecodes of Python {VERSION} have no budget")
@pytest.mark.skipif(importlib.util.find_spec("jiter") is None, reason="without jiter another parser is counted")
def test_a_chunk_takes_no_more_bytecodes_than_its_budget() -> None:
    """Streamwatch's own, and with the release of the SDK that was counted those below it, which it has to call."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM],
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found, budget = json.loads(done.stdout), BUDGETS[VERSION]
    whose = ("ours", "others") if found["openai"] == budget["openai"] else ("ours",)
    over = [
        f"{name}: {found['streams'][name][each]} bytecodes a chunk ({each}), the budget is {allowed[each]}"
        for name, allowed in budget["streams"].items()
        for each in whose
        if found["streams"][name][each] > allowed[each] * MARGIN
    ]

    assert budget["streams"].keys() == found["streams"].keys()
    assert not over, "\n".join([*over, f"Worth it? `python {PROGRAM.relative_to(ROOT)} --renew` writes a new budget."])
