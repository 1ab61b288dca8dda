"""A kind of anomaly is whole: what a new row in the table still lacks is said in one message, in the order of the work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.site.examples import OF_TIME
from helpers.cases import CASES
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, AnomalyKind

ROOT = Path(__file__).parents[2]
RULES = "\n".join(
    path.read_text("utf-8") for path in (ROOT / "streamwatch" / "core").rglob("*.py") if path.name != "kinds.py"
)


def page(*parts: str) -> str:
    """A page of the docs."""
    path = ROOT.joinpath("docs", *parts)
    return path.read_text("utf-8") if path.exists() else ""


def lacks(kind: AnomalyKind) -> list[str]:
    """What there is still to do for a kind, in order."""
    constant = re.compile(rf"\b{kind.name.upper()}\b(?!,\n|\n\))")
    in_cases = any(kind in case.found for case in CASES)
    steps = {
        f"a rule under streamwatch/core: `if self.record({kind.name.upper()}): <repair>`": bool(constant.search(RULES)),
        f"a case in tests/helpers/cases.py with {{a.{kind.name.upper()}: <outcome>}}": in_cases or kind.name in OF_TIME,
        "who sends it, what it looks like and what helps, in streamwatch/cli/kinds/explanations.py": kind.name
        in EXPLANATIONS,
        "its runbook: `make dashboards`": bool(page("runbooks", "kinds", f"{kind.name}.md")),
        "its section of the reference: `make docs`": f"## {kind.name}" in page("reference", "kinds.md"),
    }
    return [step for step, is_done in steps.items() if not is_done]


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize("kind", KINDS.values(), ids=repr)
def test_a_kind_is_whole(kind: AnomalyKind) -> None:
    """A row, a rule, a case, an explanation, and the pages that are made of them."""
    left = lacks(kind)

    assert not left, f"{kind.name} still lacks:\n" + "\n".join(f"{n}. {step}" for n, step in enumerate(left, 1))


def test_an_explanation_is_of_a_kind() -> None:
    """None is left over from a kind that was renamed."""
    left = sorted(EXPLANATIONS.keys() - KINDS.keys())

    assert not left, f"explanations of kinds that are not in the table: remove or rename {', '.join(left)}"


def test_what_is_lacking_is_said() -> None:
    """A kind that is a row and nothing else lacks all of it."""
    from dataclasses import replace

    assert len(lacks(replace(KINDS["stream_empty"], name="stream_upside_down"))) == 5
