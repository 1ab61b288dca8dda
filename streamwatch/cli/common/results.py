"""Results that cannot be written, or that nobody reads: each command ends with a message, and without a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

import click

#: What a device, a file system or a limit of the system says where it takes no more.
_UNWRITABLE = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EBADF") if hasattr(errno, name)}


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Write what standard output still holds, and end with exit code 2 where that cannot be done."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # it is None where it was closed before the start
                sys.stdout.flush()
    except BrokenPipeError:  # the reader has what it wants
        _drop_the_rest()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _drop_the_rest()
        click.echo(f"Error: The results cannot be written: {error.strerror or error}.", err=True)
        sys.exit(2)


def _drop_the_rest() -> None:
    """Have Python's exit not try again to write what standard output still holds."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
