"""The answer of `streamwatch explain`, in 15 lines: what happened, the corrected line, what Streamwatch does."""

from __future__ import annotations

import shutil
import textwrap

import click

from streamwatch.cli.kinds.errors import KnownError
from streamwatch.cli.kinds.explanations import Explanation
from streamwatch.core.kinds import AnomalyKind

#: Columns: what a terminal has, within what is pleasant to read; and of output that is not a terminal.
_MIN, _MAX = 80, 100
_LABEL = 14


def error_answer(error: KnownError, others: list[KnownError]) -> str:
    """Return the answer to an error."""
    lines = [
        click.style(error.title, bold=True),
        *_folded("happened", error.happened),
        *(_code("instead of", error.before) if error.before else ()),
        *(_code("write", error.after) if error.before else _folded("write", error.after)),
        *_folded("Streamwatch", error.does),
    ]
    if others:
        lines += _folded("also pasted", "; ".join(other.title for other in others[:2]))
    if error.kinds:
        lines += _folded("kinds", ", ".join(error.kinds))
    if error.url:
        lines.append(f"  {'thread':<{_LABEL}}{error.url}")
    if error.kinds:
        lines += _folded("more", f"streamwatch explain --more {error.kinds[0]}")
    return "\n".join(lines)


def kind_answer(kind: AnomalyKind, known: Explanation) -> str:
    """Return the answer to the name of a kind."""
    repair = f"{kind.strategy.meaning} ({kind.level.meaning})"
    lines = [
        click.style(f"{kind.name} ({kind.severity.value})", bold=True),
        *_folded("happened", kind.meaning),
        *_folded("seen as", known.symptom),
        *_folded("Streamwatch", repair),
        *_folded("do", known.advice),
        *_folded("more", f"streamwatch explain --more {kind.name}"),
    ]
    return "\n".join(lines)


def _width() -> int:
    return max(_MIN, min(_MAX, shutil.get_terminal_size((_MAX, 24)).columns))


def _folded(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _code(label: str, line: str) -> list[str]:
    """Return a line of code, whole, so that it can be copied."""
    return [f"  {label:<{_LABEL}}{line}"]
