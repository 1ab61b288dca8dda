"""The navigation of the site: five groups, every page in one place, and pages that open with a plain sentence."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from pathlib import Path

import pytest

import streamwatch
from docs.site import errors, python_api, sidebar
from streamwatch.cli.kinds.errors import KNOWN_ERRORS

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "dashboards", "deploy", "docs", "tests")
PAGES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in (*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")))
    if "node_modules" not in path.parts
)
#: Pages for users: all but the first one, those of contributors, and what is written by date.
FOR_USERS = [page for page in PAGES if not page.startswith(("tests/", "benchmarks/results/")) and page != "CHANGELOG"]


def places(page: str) -> list[str]:
    """Return where a page stands: the groups, and the pages that it is below."""
    groups = [name for name, pages in sidebar.GROUPS.items() for one in pages if one == page]
    above = [
        name
        for name, patterns in sidebar.BELOW.items()
        for pattern in patterns
        if fnmatch.fnmatch(page, pattern) and page.count("/") == pattern.count("/")
    ]
    return groups + above


def test_there_are_five_groups() -> None:
    """In the order of a reader's way, none longer than a screen; the first one begins with the overview."""
    assert ["Start", "Guides", "Operations", "Reference", "Evidence"] == list(sidebar.GROUPS)
    assert all(3 < len(pages) < 15 for pages in sidebar.GROUPS.values())
    assert sidebar.GROUPS["Start"][0] == "README"


def test_every_page_stands_in_one_place() -> None:
    """In a group, or below one page; nothing is named that is not there."""
    loose = {page: where for page in PAGES if len(where := places(page)) != 1}
    named = [*(page for pages in sidebar.GROUPS.values() for page in pages), *sidebar.BELOW]

    assert {sidebar.ROOT: [], sidebar.INTERNALS: []} == loose
    assert set(named) <= set(PAGES)
    assert not [
        page
        for page, count in Counter(page for pages in sidebar.GROUPS.values() for page in pages).items()
        if count > 1
    ]


def test_internals_stand_apart() -> None:
    """What contributors read is in no group, and below a page of its own."""
    inside = {page for page in PAGES if places(page) == [sidebar.INTERNALS]}

    assert {"CONTRIBUTING", "ARCHITECTURE"} <= inside
    assert {page for page in PAGES if page.startswith("tests/")} <= inside


def test_the_tables_become_tables_of_contents() -> None:
    """The root has the groups with their captions; a page with pages below it has those, any other page nothing."""
    root = sidebar.added(sidebar.ROOT)

    assert [*sidebar.GROUPS, "Inside"] == re.findall(r"^:caption: (.*)$", root, re.MULTILINE)
    assert "/docs/runbooks/Streamwatch*" in sidebar.added("docs/runbooks/README")
    assert sidebar.added("docs/concepts") == ""


@pytest.mark.parametrize("page", FOR_USERS)
def test_a_page_opens_with_a_plain_sentence(page: str) -> None:
    """Not with a table, code or a clause: people who come by a search engine read it first."""
    text = (ROOT / f"{page}.md").read_text("utf-8")
    title, _, rest = text.partition("\n")
    first = next(
        block for block in re.sub(r"<!--.*?-->", "", rest, flags=re.DOTALL).split("\n\n") if block.strip()
    ).strip()

    assert title.startswith("# ")
    assert not re.match(r"[#|<!>*-]", first), first
    assert len(first.split()) > 5, first
    assert not re.match(r"(What|How|Where|Whether|Who|Which|Would)\b", first), f"a question or a clause: {first}"
    assert re.search(r"[.:]($|\s)", first), first


def test_the_python_interface_lists_the_public_names() -> None:
    """All of them, and no other."""
    listed = {name for names in python_api.SECTIONS.values() for name in names}
    page = "\n".join(python_api.sections())

    assert set(streamwatch.__all__) == listed
    assert re.findall(r"^### (\S+)$", page, re.MULTILINE) == [
        *(f"streamwatch.{name}" for names in python_api.SECTIONS.values() for name in names),
        *(f"streamwatch.testing.{name}" for name in python_api.IN_TESTS),
    ]
    assert not re.search(r" at 0x|`_\w+\(", page)


def test_the_page_of_errors_has_what_explain_answers() -> None:
    """A heading for each error that people paste, with the line that is right and where to read on."""
    page = "\n\n".join(errors.sections())
    parts = page.split("\n\n## ")[1:]

    assert len(KNOWN_ERRORS) == len(parts)
    for error, part in zip(KNOWN_ERRORS, parts, strict=True):
        assert error.title.replace("`", "").split("<")[0] in part.splitlines()[0]
        assert error.after in part
        assert all(f"kinds.md#{kind}" in part for kind in error.kinds)
