"""Anomalous streams as files, to be looked at and replayed: masked, bounded, never in the way.

A capture is the body of one stream as it came, behind a few comment lines that say what was found
in it. Unless content is asked for, it is masked (`masking`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from streamwatch.core.report import Report
from streamwatch.core.vocabulary import Severity, Verdict
from streamwatch.export import labels, own_log

_HEADER = b": streamwatch "
#: Choices that can be asked for: the API takes 128, and Python writes no integer of 5,000 digits.
_MAX_N = 1_000_000
#: Captures that wait for the thread: of a flood of broken streams a few show all, and each holds up to a MiB.
_MAX_WAITING = 8


class Captures:
    """The captures of one process: at most `max_files` of at most `max_bytes` each, in `directory`."""

    def __init__(
        self,
        directory: str,
        *,
        content: bool,
        max_files: int,
        max_bytes: int,
        numbers: Iterable[str] = (),
        failed: Callable[[Exception, str], None] | None = None,
    ) -> None:
        from streamwatch.export import masking  # its tables are large, and few processes keep captures

        self.max_bytes = max_bytes
        self._directory = Path(directory)
        self._masking = None if content else masking
        self._left = max_files
        self._numbers = tuple(numbers)
        self._failed = failed
        self._warned = False
        #: A process, the places that are free in its queue, and its thread: one value, as streams end in many threads.
        self._queue: tuple[int, threading.Semaphore, Any] = (0, threading.Semaphore(0), None)

    def keep(self, report: Report, body: bytes | bytearray, ended: str, version: str) -> None:
        """Write a stream in a thread, if it is anomalous.

        To mask a MiB takes up to 2 s on one core, and whose thread this is may run an event loop.
        """
        if not is_anomalous(report) or self._left <= 0:
            return
        pid, free, writer = self._queue
        if pid != os.getpid():  # the first, or in a forked child, where the parent's thread is not
            from concurrent.futures import ThreadPoolExecutor

            free, writer = threading.Semaphore(_MAX_WAITING), ThreadPoolExecutor(1, "streamwatch-captures")
            self._queue = os.getpid(), free, writer
        if not free.acquire(blocking=False):
            own_log.write(
                logging.DEBUG, "streamwatch: a stream is not captured, as %d others wait to be written", _MAX_WAITING
            )
            return
        write = functools.partial(self._write_waiting, free, report, bytes(body), ended, version)
        try:
            writer.submit(write)
        except RuntimeError:  # Python is ending, and starts no thread any more
            write()

    def _write_waiting(self, free: threading.Semaphore, report: Report, body: bytes, ended: str, version: str) -> None:
        try:
            self.write(report, body, ended, version)
        except Exception as error:
            if self._failed is not None:
                self._failed(error, "writing a capture")
        finally:
            free.release()

    def wait(self, seconds: float) -> bool:
        """Return whether all that is to be kept is written, within `seconds`."""
        pid, _, writer = self._queue
        if pid != os.getpid():
            return True
        from concurrent.futures import TimeoutError as Late

        try:
            writer.submit(int).result(seconds)
        except (Late, RuntimeError):  # RuntimeError: Python is ending, and waits for the thread itself
            return False
        return True

    def write(self, report: Report, body: bytes, ended: str, version: str) -> Path | None:
        """Write a stream, if it is anomalous; a full or read-only disk is one warning."""
        if not is_anomalous(report) or self._left <= 0:
            return None
        self._left -= 1
        shown = body if self._masking is None else self._masking.mask(body, report.api, self._numbers)
        if len(body) >= self.max_bytes:
            ended = "beyond what is kept"
        # Workers of one server share the directory, and each counts its streams from 1.
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{report.serial}-{_worst(report)}.sse"
        path = self._directory / name
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private(path, header(report, ended, version, masked=self._masking is not None) + shown)
        except OSError as error:
            if not self._warned:
                self._warned = True
                line = "STREAMWATCH_CAPTURE_DIR=%s cannot be written (%s): no capture"
                own_log.write(logging.WARNING, line, path.parent, error)
            return None
        return path


def create_private(path: Path, data: bytes) -> None:
    """Write a file that nobody else on the host may read; what is there already, a link too, stays as it is."""
    with open(path, "xb", opener=_private) as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()  # what a full disk took of it says something false of its end
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def is_anomalous(report: Report) -> bool:
    """Return whether a stream is worth a file: hazards are in every healthy one."""
    serious = any(kind.severity is not Severity.HAZARD for kind in report.anomalies)
    return serious or report.verdict not in (Verdict.COMPLETE, Verdict.ABANDONED)


def _worst(report: Report) -> str:
    order = (Severity.FAULT, Severity.DIALECT, Severity.HAZARD)
    kinds = sorted(report.anomalies, key=lambda kind: order.index(kind.severity))
    return kinds[0].name if kinds else str(report.verdict and report.verdict.value)


def header(report: Report, ended: str, version: str, *, masked: bool) -> bytes:
    """Return the comment lines of a capture, and the blank line that ends them."""
    n = report.request.n
    facts = {
        "api": report.api,
        "verdict": report.verdict.value if report.verdict else "",
        "kinds": ",".join(report.kinds),
        "request_model": labels.model(report.request.model),
        "response_model": labels.model(report.response_model),
        "openai": version,
        "n": "" if n is None or abs(n) > _MAX_N else str(n),
        "ended": ended,
        "masked": "true" if masked else "false",
    }
    lines = [_HEADER + f"{name}={value}".encode("ascii", "backslashreplace") for name, value in facts.items() if value]
    return b"\n".join(line.replace(b"\r", b" ").replace(b"\n", b" ") for line in lines) + b"\n\n"


def load(capture: bytes) -> tuple[dict[str, str], bytes]:
    """Return the header of a capture, and the body as it came; any other body has an empty header."""
    facts: dict[str, str] = {}
    rest = capture
    while rest.startswith(_HEADER):
        line, _, rest = rest.partition(b"\n")
        name, _, value = line[len(_HEADER) :].decode("ascii", "replace").partition("=")
        facts[name] = value
    return facts, rest.removeprefix(b"\n") if facts else capture
