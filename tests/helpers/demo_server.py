"""The server of the demo, in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving(seed: int, *program: str) -> Iterator[str]:
    """Run a server that breaks its streams, the demo's or another; its base URL."""
    from streamwatch.demo import processes

    own = [sys.executable, *program, "--seed", str(seed)]
    child = processes.Child("server", own if program else processes.server_command(seed))
    try:
        deadline = time.monotonic() + 30
        while not child.last_line:
            child.check()
            assert time.monotonic() < deadline, "the server has not said where it is"
            time.sleep(0.05)
        yield child.last_line
    finally:
        child.end()
