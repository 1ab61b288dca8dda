"""Repaired streams as files: what `streamwatch check --fix` writes.

Nothing that is there is overwritten unless that was asked for, and a disk that is full leaves no half a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamwatch.cli.check.replay import Replay, fixed
from streamwatch.core.settings import Settings

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Unwritten(Exception):  # noqa: N818 -- not an error of Streamwatch
    """The reason why something was not written: one sentence for people; `is_final` where nothing further can be."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Fixes:
    """The place of the repaired streams of one run: a directory for several; else one file, or standard output."""

    def __init__(self, out: str, *, force: bool) -> None:
        self._out = out
        self._force = force
        self._directory: Path | None = None
        self._one: bytes | None = None
        self._taken: set[Path] = set()

    def prepare(self, paths: Sequence[str], settings: Settings) -> None:
        """Refuse at once what can't work."""
        if settings.repair.observe:
            raise Unwritten("--fix has nothing to write: the policy repairs nothing", is_final=True)
        if self._out == "-" and sys.stdout is None:
            raise Unwritten("--fix - has nowhere to write: standard output is closed", is_final=True)
        several = len(paths) > 1 or any(Path(path).is_dir() for path in paths)
        is_directory = Path(self._out).is_dir() or self._out.endswith(("/", os.sep))
        if self._out == "-" or not (several or is_directory):
            self._refuse_existing(Path(self._out))
            return
        self._directory = Path(self._out)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritten(self._directory, error, is_final=True) from error

    def take(self, checked: Replay, settings: Settings) -> dict[str, Any]:
        """Write the repaired form of a stream, or keep it until it is known to be the only one; what to say of it."""
        last = fixed(checked, settings)
        name = checked.recording.name
        if not checked.repaired:
            raise Unwritten(f"{name}: nothing is written, as nothing in it would reach a client")
        left = [kind.name for kind in last.rewritten]
        if self._directory is not None:
            path = self._free(checked)
            self._write(path, last.repaired)
        elif self._one is not None:
            raise Unwritten(
                "several streams cannot go into one file: give --fix a directory, as in --fix repaired/", is_final=True
            )
        else:
            self._one, path = last.repaired, Path(self._out)
        again = {
            "verdict": last.report.verdict and last.report.verdict.value,
            "kinds": list(last.report.kinds),
            "left": left,
        }
        return {"fixed": str(path), "fixed_again": again}

    def finish(self) -> None:
        """Write what was kept."""
        if self._one is None:
            return
        if self._out == "-":
            sys.stdout.flush()
            sys.stdout.buffer.write(self._one)
            sys.stdout.buffer.flush()
        else:
            self._write(Path(self._out), self._one)

    def _free(self, checked: Replay) -> Path:
        """Return a name in the directory that no other stream of this run has."""
        recording = checked.recording
        base = "stdin" if recording.path == "-" else Path(recording.path).name
        stem = base.removesuffix(".gz").rpartition(".")[0] or base
        stem = "-".join(filter(None, (stem, recording.place)))
        stem, number = _NO_NAME.sub("-", stem), 1
        path = Path(self._directory or ".") / f"{stem}.sse"
        while path in self._taken:
            number += 1
            path = path.with_name(f"{stem}-{number}.sse")
        self._taken.add(path)
        return path

    def _refuse_existing(self, path: Path) -> None:
        if self._out != "-" and not self._force and os.path.lexists(path):
            raise Unwritten(f"{path} exists: it is overwritten with --force only", is_final=self._directory is None)

    def _write(self, path: Path, data: bytes) -> None:
        self._refuse_existing(path)
        # A device or a pipe is written to; a file is exchanged when all is written.
        is_file = path.is_file() or not os.path.lexists(path)
        target = path.with_name(f"{path.name}.part") if is_file and os.path.lexists(path) else path
        try:
            with target.open("wb" if not is_file or target != path else "xb") as file:
                file.write(data)
            if target != path:
                target.replace(path)
        except OSError as error:
            if is_file and not isinstance(error, FileExistsError):
                with contextlib.suppress(OSError):
                    target.unlink()
            raise _unwritten(path, error, is_final=self._directory is None) from error


def _unwritten(path: Path, error: OSError, *, is_final: bool) -> Unwritten:
    return Unwritten(f"{path} cannot be written: {error.strerror or error}", is_final=is_final)


def told(record: dict[str, Any]) -> str:
    """Say what was written, and what it shows when it is checked again."""
    again = record["fixed_again"]
    left = f"; still repairable: {', '.join(again['left'])}" if again["left"] else "; nothing in it is left to repair"
    return f"repaired stream: {record['fixed']} (checked again: {again['verdict']}{left})"
