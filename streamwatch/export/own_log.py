"""Streamwatch's own lines of the log, which never raise into the application.

Filters, handlers and formatters are the application's, and may raise. What its own logging raises is its own to see;
a line of Streamwatch's comes in the middle of a stream, of an import or of a scrape, and none of these may end by it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from streamwatch.export.interrupted import is_from_signal_handler, package_of_type, package_raising

logger = logging.getLogger("streamwatch")

#: Code that a line passes before it is the application's. By itself it raises types of the standard library alone.
_ON_THE_WAY = ("logging", "streamwatch")


def write(level: int, message: str, *args: object, extra: Mapping[str, Any] | None = None) -> None:
    """Log a line; a filter or a handler that raises costs no more than this line.

    Raises what a signal handler or another thread raised while it was logged.
    """
    try:
        logger.log(level, message, *args, extra=extra, stacklevel=2)
    except Exception as error:
        if is_from_signal_handler(error) or _is_from_another_thread(error):
            raise


def _is_from_another_thread(error: Exception) -> bool:
    """Return whether an exception was raised into code that does not raise its like."""
    return package_raising(error) in _ON_THE_WAY and package_of_type(error) not in sys.stdlib_module_names
