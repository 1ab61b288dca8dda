"""Output that goes elsewhere: to a terminal or a file of another encoding, and to a program that stops reading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamwatch
from helpers.stream_builders import body, said
from streamwatch.cli.common.results import written

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


ELSEWHERE = [
    *("kinds", "kinds --json", "explain choices_empty --more", "explain --help", "--help", "completion bash"),
    *("run --dry-run -- echo", "dashboards --output dashboards", "doctor"),
    *("check answer.sse --no-sdk", "check answer.sse --no-sdk --json"),
]


def elsewhere(arguments: str, redirected: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command with its standard output redirected, in a folder with a stream."""
    (folder / "answer.sse").write_bytes(body(said("One")))
    line = f'"{sys.executable}" -W error -c "{CODE}" {arguments} {redirected}'
    environ = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(line, shell=True, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.quick_cases(2)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", ELSEWHERE)
def test_results_that_cannot_be_written_are_an_error(arguments: str, tmp_path: Path) -> None:
    """A full disk under standard output: exit code 2, a line, and no traceback, whatever the command."""
    done = elsewhere(arguments, ">/dev/full", tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: The results cannot be written: No space left on device."
    assert "Traceback" not in done.stderr


@pytest.mark.quick_cases(2)
@pytest.mark.skipif(os.name == "nt", reason="a shell of its own")
@pytest.mark.parametrize("arguments", ELSEWHERE)
def test_standard_output_may_be_closed(arguments: str, tmp_path: Path) -> None:
    """As a program that starts others may leave it: the work is done, and the exit code is that of the command."""
    done = elsewhere(arguments, ">&-", tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of its own")
def test_a_program_starts_where_standard_output_is_closed(tmp_path: Path) -> None:
    """`streamwatch run` has nothing to write there."""
    done = elsewhere("run -- touch started", ">&-", tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started").exists()


@pytest.mark.skipif(os.name == "nt", reason="a shell of its own")
def test_a_repaired_stream_needs_a_standard_output_that_is_open(tmp_path: Path) -> None:
    """`--fix -` is refused where there is none."""
    done = elsewhere("check answer.sse --no-sdk --fix -", ">&-", tmp_path)

    assert (done.returncode, done.stderr) == (2, "Error: --fix - has nowhere to write: standard output is closed.\n")


def test_an_error_of_another_kind_is_not_one_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing, and a server that does not answer, are not what standard output is to blame for."""
    for error in (FileNotFoundError(2, "No such file", "x"), ConnectionRefusedError(111, "refused"), OSError("x")):
        with pytest.raises(type(error)), written():
            raise error
    assert capsys.readouterr().err == ""


def test_the_package_shows_its_public_names() -> None:
    """To completion and to people; importing it is still cheap."""
    assert {*streamwatch.__all__, "__version__"} == set(dir(streamwatch))
    assert all(getattr(streamwatch, name) is not None for name in streamwatch.__all__)
