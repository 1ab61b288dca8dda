"""Notices of the setup: no failure of Streamwatch reaches the application, and no warning is lost."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from streamwatch.export import own_log


@contextmanager
def warned(message: str, *expected: type[Exception]) -> Iterator[None]:
    """Turn an exception into a warning, unless it is expected: no failure of Streamwatch reaches the application."""
    try:
        yield
    except expected:
        raise
    except Exception as error:
        say(message, error=error)


def say(message: str, level: int = logging.WARNING, error: Exception | None = None) -> None:
    """Log a message; a warning also reaches stderr where all handlers are like OpenTelemetry's and show nothing."""
    reason = f" ({type(error).__name__}: {error})"[:300] if error else ""
    own_log.write(level, "streamwatch: %s%s", message, reason)
    handlers = logging.getLogger().handlers + own_log.logger.handlers
    if level >= logging.WARNING and handlers and not any(isinstance(one, logging.StreamHandler) for one in handlers):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is full or closed
            sys.stderr.write(f"streamwatch: {message}{reason}\n")
