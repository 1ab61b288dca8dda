"""What the pages of two commands show is what these commands do: their own command lines, run."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamwatch.cli import main

PAGES = Path(__file__).parents[2] / "docs" / "commands"


def commands(page: str) -> list[list[str]]:
    """The words of each command line that a page shows after a prompt."""
    text = (PAGES / f"{page}.md").read_text("utf-8").replace("\\\n", "")
    return [shlex.split(line) for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE)]


def test_what_was_written_as_the_page_says_is_checked_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that the first command writes are those that the second one expects."""
    monkeypatch.chdir(tmp_path)
    write, check, _ = commands("dashboards")
    results = [CliRunner().invoke(main, words[1:]) for words in (write, check)]

    assert "--check" in check
    assert [0, 0] == [result.exit_code for result in results], results[1].output


@pytest.mark.slow
def test_the_doctor_says_what_its_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment of the page: the problem, and the settings; what is installed is another matter."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "STREAMWATCH_")):
            monkeypatch.delenv(name)
    export, doctor = commands("doctor")
    for assignment in export[1:]:
        monkeypatch.setenv(*assignment.split("=", 1))
    shown = re.search(r"```markdown\n(.*?)\n```", (PAGES / "doctor.md").read_text("utf-8"), re.DOTALL)
    assert shown is not None
    said = CliRunner().invoke(main, doctor[1:]).stdout

    for section in (r"^- \*\*problem\*\*.*$", r"^### Settings$.*\Z"):
        expected, found = (re.findall(section, text.rstrip(), re.MULTILINE | re.DOTALL * ("Settings" in section))
                           for text in (shown[1], said))  # fmt: skip
        assert expected == found
