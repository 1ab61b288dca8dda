"""Ports of this machine: those that are free, and one that somebody else has."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def ports() -> Iterator[range]:
    """Ten ports that are free, below those that the system gives out by itself."""
    for _ in range(100):
        # Tests that run beside this one, in other processes, look among others.
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
        found = range(first := 20000 + 1500 * worker + random.randrange(1490), first + 10)
        with contextlib.ExitStack() as stack:
            try:
                for port in found:
                    stack.enter_context(taken(port))
            except OSError:
                continue
        yield found
        return
    raise AssertionError("no ten free ports in a row")


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
