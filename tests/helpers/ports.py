"""Ports of this machine: those that are free and stay so, and one that somebody else has.

They are below those that the system gives out by itself. A lock on a file for each ten of them keeps the tests of this
machine apart, in whatever process and checkout they run.
"""

from __future__ import annotations

import contextlib
import getpass
import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_FIRST, _LAST, _SIZE = 20000, 32000, 10
_LOCKS = Path(tempfile.gettempdir(), f"streamwatch-ports-{getpass.getuser()}")


@contextlib.contextmanager
def block() -> Iterator[range]:
    """Ten ports in a row that are free, and that no other test takes meanwhile."""
    for first in random.sample(range(_FIRST, _LAST, _SIZE), (_LAST - _FIRST) // _SIZE):
        found = range(first, first + _SIZE)
        with contextlib.ExitStack() as held:
            if held.enter_context(_locked(first)) and all(map(is_free, found)):
                yield found
                return
    raise AssertionError("no ten free ports in a row")


@contextlib.contextmanager
def _locked(first: int) -> Iterator[bool]:
    """Whether nobody else has these ports, and until the end of the block nobody will."""
    _LOCKS.mkdir(exist_ok=True)
    with (_LOCKS / str(first)).open("w") as file:
        yield fcntl is None or _lock(file)


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        with taken(port):
            return True
    except OSError:
        return False


_of_this_process = contextlib.ExitStack()  # the blocks that are held until the process ends
_left: list[int] = []


def free_port() -> int:
    """A port that is free, and that no other test takes as long as this process lives."""
    while True:
        if not _left:
            _left.extend(_of_this_process.enter_context(block()))
        port = _left.pop()
        if is_free(port):
            return port


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody else listens on this port of localhost, in each of its address families."""
    with contextlib.ExitStack() as stack:
        for family, *_, address in set(socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)):
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        yield
