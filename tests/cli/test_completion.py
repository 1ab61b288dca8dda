"""`streamwatch completion` prints what the shells themselves take, and what it completes is what there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from streamwatch.cli import COMMANDS, main

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """What is printed for a shell."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert 0 == result.exit_code, result.output
    return result.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_for_this_command(shell: str) -> None:
    """It asks the command itself."""
    assert f"_STREAMWATCH_COMPLETE={shell}_complete" in script(shell)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_takes_the_script(shell: str) -> None:
    """Without an error, where that shell is installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    ran = subprocess.run([shell, "-n"], input=script(shell), capture_output=True, text=True, timeout=60)

    assert (0, "") == (ran.returncode, ran.stderr)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("typed", "offered"), [("", set(COMMANDS)), ("ex", {"explain"}), ("nonsense", set())])
def test_commands_are_completed(typed: str, offered: set[str]) -> None:
    """As the script asks for it: all of them, those that begin so, or none."""
    asked = {"_STREAMWATCH_COMPLETE": "bash_complete", "COMP_WORDS": f"streamwatch {typed}", "COMP_CWORD": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", "from streamwatch.cli import main; main(prog_name='streamwatch')"],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert offered == {line.partition(",")[2] for line in ran.stdout.splitlines() if line}


def test_a_shell_that_is_none_is_told() -> None:
    """With those that there are."""
    result = CliRunner().invoke(main, ["completion", "tcsh"])

    assert 2 == result.exit_code
    assert all(shell in result.stderr for shell in SHELLS)
