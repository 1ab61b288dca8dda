"""The forms for issues and pull requests: they are forms, and every command and setting they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from helpers.documents import document
from streamwatch.cli import COMMANDS
from streamwatch.core.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github"
FORMS = sorted(path for path in (FOLDER / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
TEXTS = [*FORMS, FOLDER / "pull_request_template.md"]

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not a checkout: there are no templates")
each_form = pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
each_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)


def fields(path: Path) -> list[dict[str, Any]]:
    """The fields of a form that somebody fills in."""
    return [field for field in document(path.read_text("utf-8"))["body"] if field["type"] != "markdown"]


@each_form
def test_a_form_is_one(path: Path) -> None:
    """It has a name, a description and a body; each field a type, a label, and an id that no other has."""
    form = document(path.read_text("utf-8"))

    assert {"name", "description", "body"} <= set(form)
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields(path))
    ids = [field["id"] for field in fields(path)]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["options"] for field in fields(path) if field["type"] == "dropdown")
    assert any(field["validations"]["required"] for field in fields(path))


def test_a_bug_report_begins_with_what_we_need() -> None:
    """The doctor's output is required; a masked capture is asked for, by the setting that makes one."""
    bug = {field["id"]: field for field in fields(FOLDER / "ISSUE_TEMPLATE" / "bug.yml")}

    assert "`streamwatch doctor`" in bug["doctor"]["attributes"]["label"]
    assert bug["doctor"]["validations"]["required"]
    assert "STREAMWATCH_CAPTURE_DIR" in bug["capture"]["attributes"]["description"]


@each_text
def test_what_is_named_is_there(path: Path) -> None:
    """Commands of streamwatch, targets of make, settings and files."""
    text = path.read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    fields = {f"STREAMWATCH_{name.upper()}" for name in Settings.__dataclass_fields__}

    assert set(re.findall(r"`streamwatch (\w+)", text)) <= set(COMMANDS)
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in re.findall(r"`make (\w+)`", text))
    assert set(re.findall(r"STREAMWATCH_\w+", text)) <= fields
    assert all((ROOT / name).is_file() for name in re.findall(r"\b[A-Z]+\.md\b", text))
