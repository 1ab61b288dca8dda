"""The exchange of a method of a class of somebody else's, and how to undo that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def exchange(of: Any, name: str, method: Any) -> Callable[[], None]:
    """Exchange a method of a class, which may have it from another one; returns how to undo that."""
    original = vars(of).get(name)
    setattr(of, name, method)

    def undo() -> None:
        if vars(of).get(name) is not method:  # somebody else has exchanged it in turn
            return
        if original is None:
            delattr(of, name)
        else:
            setattr(of, name, original)

    return undo
