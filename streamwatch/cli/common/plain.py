"""Output for terminals and files that are not UTF-8: a letter that the encoding lacks is written with those it has."""

from __future__ import annotations

import codecs
import sys

#: Of the letters that commands print, each with one or more of ASCII.
_ASCII = dict(zip("▁▂▃▄▅▆▇█", "__.-=+*#", strict=True)) | {
    "→": "->",
    "…": "~",
    "\u2013": "-",
    "\u2014": "-",
    "\u00d7": "x",
    "·": "-",
    "✓": "ok",
    "✗": "x",
    "─": "-",
    "━": "=",
    "│": "|",
}
_NAME = "streamwatch.ascii"


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter, "?") for letter in letters), error.end


codecs.register_error(_NAME, _replaced)


def use_what_the_encoding_has() -> None:
    """Let no letter end a command: standard output and standard error replace what they cannot write."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        if encoding != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_NAME)
