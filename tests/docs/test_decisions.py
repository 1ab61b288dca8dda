"""The records of decisions: numbered without a gap, listed, and with the same headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
HEADINGS = ["Question", "What was considered", "Decision", "What follows", "What would change it"]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_every_decision_is_listed_with_its_title_and_status() -> None:
    """By its number, in their order."""
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \| (.+) \| (.+) \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        title, status = re.match(r"# (\d+: .+)\n\n.+\n\nStatus: (\w+), \d{4}-\d\d-\d\d", text).groups()  # type: ignore[union-attr]
        number, _, words = title.partition(": ")
        found.append((number, page.name, words, status))

    assert listed == found
    assert [int(row[0]) for row in found] == list(range(1, len(PAGES) + 1))


@each_page
def test_a_decision_says_what_was_considered_and_what_would_change_it(page: Path) -> None:
    """Under the same headings; something stands under each."""
    parts = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)

    assert parts[1::2] == HEADINGS
    assert all(part.strip() for part in parts[2::2])


@each_page
def test_what_a_decision_names_is_there(page: Path) -> None:
    """Modules of the package and settings."""
    text = page.read_text("utf-8")
    root = FOLDER.parents[1]
    named = re.findall(r"`((?:streamwatch|sdk|core|export|otel|cli)/[\w/]+\.py)`", text)

    assert [] == [name for name in named if not (root / name).is_file() and not (root / "streamwatch" / name).is_file()]
    assert named
