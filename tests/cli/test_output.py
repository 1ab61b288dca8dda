"""Output that goes elsewhere: to a terminal or a file of another encoding, and to a program that stops reading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamwatch

ROOT = str(Path(__file__).parents[2])
CODE = "import sys; from streamwatch.cli import main; sys.argv[0] = 'streamwatch'; main()"


def run(*arguments: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with an encoding as Windows code pages and `LANG=C` have it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMWATCH_"))}
    environ |= {"PYTHONIOENCODING": encoding, "PYTHONPATH": ROOT, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, *arguments],
        env=environ,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("kinds",), 0),
        (("explain", "KeyError: 'content'"), 0),
        (("explain", "zzz▁→"), 1),
        (("top", "--once", "--interval", "0.2", "http://127.0.0.1:1"), 2),
        (("doctor", "--help"), 0),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_no_letter_ends_a_command(arguments: tuple[str, ...], code: int, encoding: str) -> None:
    """What the encoding lacks is written with what it has; the exit code is that of the command."""
    done = run(*arguments, encoding=encoding)

    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    done.stdout.decode(encoding)


@pytest.mark.slow
def test_the_doctor_writes_ascii() -> None:
    """Its arrows, with two letters."""
    pytest.importorskip("openai")
    done = run("doctor", encoding="ascii")

    assert b"Traceback" not in done.stderr
    assert done.stdout.startswith(b"### streamwatch doctor")
    assert b" -> " in done.stdout


@pytest.mark.slow
def test_letters_of_utf8_stay_as_they_are() -> None:
    """Nothing is replaced where nothing has to be."""
    assert "'zzz▁→'".encode() in run("explain", "zzz▁→", encoding="utf-8").stderr
    assert b"'zzz_->'" in run("explain", "zzz▁→", encoding="latin-1").stderr


@pytest.mark.quick_cases(1)
@pytest.mark.skipif(os.name == "nt", reason="a shell of its own")
@pytest.mark.parametrize("arguments", ["kinds", "kinds --json", "explain --more 'order mismatch'"])
def test_a_reader_may_stop_early(arguments: str) -> None:
    """`streamwatch kinds | head -1`: its line, and no traceback."""
    line = f'"{sys.executable}" -c "{CODE}" {arguments} | head -n 1'
    done = subprocess.run(
        line, shell=True, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=60, check=True
    )

    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_the_package_shows_its_public_names() -> None:
    """To completion and to people; importing it is still cheap."""
    assert {*streamwatch.__all__, "__version__"} == set(dir(streamwatch))
    assert all(getattr(streamwatch, name) is not None for name in streamwatch.__all__)
