"""What is done before a program makes its first client of a library.

To import a library is not to use it: commands, tests, and processes that only hand work on import all that the program
can do. Who makes a client is about to ask somebody, and has not done so yet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from streamwatch.exchange import exchange


def before_first_client(classes: Iterable[type], act: Callable[[], None]) -> Callable[[], None]:
    """Have something done whenever a client of one of these classes is made, until that is undone; returns how."""
    undo = [_before_init(client, act) for client in classes]

    def undo_all() -> None:
        while undo:
            undo.pop()()

    return undo_all


def _before_init(client: Any, act: Callable[[], None]) -> Callable[[], None]:
    original = client.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        act()
        original(self, *args, **kwargs)

    return exchange(client, "__init__", __init__)
