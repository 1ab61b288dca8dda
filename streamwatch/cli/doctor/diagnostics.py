"""The diagnostics of `streamwatch doctor`: each thing with what to do about it, the worst first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnostic:
    """A sentence, and the way out; a problem keeps Streamwatch from doing what it is installed for."""

    is_problem: bool
    what: str
    remedy: str


def problem(what: str, remedy: str) -> Diagnostic:
    """Return a diagnostic of something that has to be corrected."""
    return Diagnostic(is_problem=True, what=what, remedy=remedy)


def note(what: str, remedy: str) -> Diagnostic:
    """Return a diagnostic of something that is good to know."""
    return Diagnostic(is_problem=False, what=what, remedy=remedy)
