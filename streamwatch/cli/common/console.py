"""Output of commands for people: rich tables on standard output, progress and errors on standard error.

rich itself sees to NO_COLOR, FORCE_COLOR, TERM=dumb, and to output that is not a terminal.
"""

from __future__ import annotations

import os

from rich.console import Console

#: Columns of output that is not a terminal (a file, a pipe, a bug report): wide enough for the tables.
_WIDTH = 120


def output() -> Console:
    """Return a console on standard output."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _WIDTH
    return console


def messages() -> Console:
    """Return a console on standard error."""
    return Console(stderr=True, highlight=False)
