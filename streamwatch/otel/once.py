"""Something that is done once in a process, by the first thread that needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

#: Seconds that a thread waits for another one that is at it: to import and to build what there is takes half a second
#: on a slow machine.
_PATIENCE = 10.0


class Once:
    """Something to do; `act` raises nothing. What calls `do` until then is in `hooks`: how to take each away."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.is_done = False
        self.hooks: list[Callable[[], None]] = []
        self._act = act
        self._is_at_it = False
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def do(self, patience: float = _PATIENCE) -> None:
        """Do it, unless it is done; wait `patience` seconds at most for a thread that is at it.

        A thread that holds the lock of an import waits for nobody, as the other one may need that import.
        """
        if self.is_done or not self._lock.acquire(timeout=patience):
            return
        try:
            if not (self.is_done or self._is_at_it):
                self._is_at_it = True
                self._act()
                self.is_done = True
                while self.hooks:
                    self.hooks.pop()()
        finally:
            self._lock.release()

    def _after_fork(self) -> None:
        """Let go of a lock that a thread of the parent may hold."""
        self._lock = threading.RLock()
