"""Evidence on a terminal: one line when a program starts under Streamwatch, and a summary when it ends.

Nothing is written for a process that did not announce itself: tests, commands and frameworks that switch Streamwatch on
for themselves stay silent. Nothing goes to standard output, to a stderr that is captured or closed, or out of a process
that was forked or started by one that has the summary already.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every process imports this module at its start
    from streamwatch.core.settings import Settings
    from streamwatch.export.series import Series

#: The process that has the summary: those that it starts inherit the variable, and stay silent.
_OWNER = "_STREAMWATCH_SUMMARY_PID"
Where = Callable[[], str]


class Summary:
    """The summary of a process. `where` returns where the metrics are: the end of a sentence with "are"."""

    def __init__(self) -> None:
        self._pid = 0
        self._where: Where = lambda: "exported nowhere"
        self._mode = "never"
        self._began = 0.0
        self._said = False

    def announce(self, where: Where) -> None:
        """Let this process say where its metrics are, unless one that started it does."""
        pid = str(os.getpid())
        if os.environ.setdefault(_OWNER, pid) == pid and not self._pid:
            self._pid, self._where = os.getpid(), where

    def start_alone(self, environ: Mapping[str, str]) -> None:
        """Say the same before there is anything that watches, and end if nothing ever does."""
        if not _may_write(sys.stderr, environ.get("STREAMWATCH_SUMMARY", "").strip().lower()):
            return
        from streamwatch.core.settings import Settings

        self.start(Settings.from_environ(environ)[0])
        atexit.register(self.end, ())

    def start(self, settings: Settings) -> None:
        """Say once that streams are watched, how, and where the metrics are."""
        self._mode = settings.summary
        if self._said:
            return
        self._began = time.monotonic()
        self._said = self._write(lambda: [_words().opening(settings, self._where())])

    def end(self, series: Iterable[Series]) -> None:
        """Say what became of the streams."""
        self._write(lambda: _words().closing(list(series), time.monotonic() - self._began, self._where()))
        self._pid = 0

    def _write(self, lines: Callable[[], list[str]]) -> bool:
        """Write lines if this process may; no exception leaves it."""
        try:
            stream = sys.stderr
            if self._pid != os.getpid() or not _may_write(stream, self._mode):
                return False
            _put(stream, "".join(f"streamwatch: {line}\n" for line in lines()))
        except Exception:  # a terminal that went away, a stderr of another kind
            return False
        return True


def _words() -> Any:
    """Return the module that has them, which few processes need."""
    from streamwatch.export import summary_text

    return summary_text


def _put(stream: Any, text: str) -> None:
    """Write a text at once: what stays in a buffer because the file is gone would change the exit code."""
    try:
        descriptor = stream.fileno()
    except Exception:  # not a file
        stream.write(text)
        return
    stream.flush()
    os.write(descriptor, text.encode("ascii", "replace"))


def _may_write(stream: Any, mode: str) -> bool:
    """Return whether a stream may have the lines: by default the terminal's own stderr alone."""
    if mode == "never" or stream is None or stream.closed:
        return False
    return mode == "always" or (bool(stream.isatty()) and stream is sys.__stderr__)


#: That of this process.
summary = Summary()
