"""A pasted error, read: the exceptions of a traceback, of a chain of them, of a group, or of a line of a log."""

from __future__ import annotations

import difflib
import re

from streamwatch.cli.kinds.errors import KNOWN_ERRORS, KnownError
from streamwatch.core.kinds import KINDS
from streamwatch.core.known_issues import ISSUES

#: What stands before a line of an exception group, of a quotation and of a terminal's box.
_MARGIN = r"[\s|>+\-\u2502\u2503]*"
#: The last line of a traceback. What wraps other exceptions says nothing of its own.
_EXCEPTION = re.compile(rf"^{_MARGIN}((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Timeout)(?::\s.*)?)\s*[|\u2502\u2503]?\s*$")
#: The same within a line of a log.
_WITHIN = re.compile(r"\b((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Timeout):\s.+)")
#: Characters of what was pasted that are shown again: enough to know it by.
_SHOWN = 80
#: Characters: a shorter text stands in half of all sentences.
_MIN_ERROR = 8


def exceptions(text: str) -> list[str]:
    """Return the exceptions of a text, the last first: what an application sees stands at the end of a traceback."""
    lines = text.splitlines()
    found = [match[1].strip() for line in lines if (match := _EXCEPTION.match(line))]
    found = found or [match[1].strip() for line in lines if (match := _WITHIN.search(line))]
    # A KeyError of two lines, a wrapped message, a text in another language: the text as it stands.
    return list(dict.fromkeys(reversed(found))) or [text.strip()]


def known_errors(text: str) -> list[KnownError]:
    """Return the known errors in a text, the most specific of the last exceptions first."""
    if len(text.strip()) < _MIN_ERROR:
        return []
    candidates = exceptions(text)
    rows = [_row(each) for each in candidates]
    found = list(dict.fromkeys(row for row in rows if row is not None))
    general = KNOWN_ERRORS[-1]
    return sorted(found, key=lambda row: row is general)


def _row(exception: str) -> KnownError | None:
    """Return the row of one exception, also if only a part of its text was pasted."""
    found = next((row for row in KNOWN_ERRORS if row.matches(exception)), None)
    part = exception.lower()
    return found or next((row for row in KNOWN_ERRORS if part in row.title.lower()), None)


def shown(text: str) -> str:
    """Return what was asked, in one line: of a traceback its last exception, and never the traceback."""
    line = exceptions(text)[0] if text.strip() else text
    line = " ".join(line.split()) if "\n" in line.strip() else line
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."


def near(text: str) -> list[str]:
    """Return the names and errors that may have been meant."""
    names = [*KINDS, *(issue.name for issue in ISSUES), *(row.title for row in KNOWN_ERRORS)]
    lower = {name.lower(): name for name in names}
    asked = shown(text).lower()
    close = difflib.get_close_matches(asked, lower, n=3, cutoff=0.6)
    words = [name for name in KINDS if len(asked) >= _MIN_ERROR // 2 and asked.replace(" ", "_") in name]
    return list(dict.fromkeys([*words, *(lower[name] for name in close)]))[:3]
