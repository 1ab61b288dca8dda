"""The owner of an exception: Streamwatch, or the application that raised it into Streamwatch's code.

A signal handler (a soft time limit, an alarm) raises wherever the program is at that moment, and some libraries raise
into another thread. Such an exception is the application's, and passes; an error of Streamwatch never reaches it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streamwatch.export.interrupted import is_from_signal_handler, package_of_type, package_raising

#: Where Streamwatch raises, or what it calls with data: nothing here calls anything of an application's.
_OUR_CODE = (
    *("json", "openai", "opentelemetry", "pydantic", "streamwatch"),
    *("copy", "dataclasses", "enum", "re", "typing", "typing_extensions", "urllib", "weakref"),
)
#: Where the types of the exceptions are from that this code raises by itself.
_OUR_TYPES = (*_OUR_CODE, "asyncio", "builtins", "jiter", "pydantic_core", "queue", "select", "socket", "ssl", "trio")


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception was raised into the code that ran, and not by it."""
    if is_from_signal_handler(error):
        return True
    # Raised into this very thread by another one: this code raises neither time-outs nor foreign types.
    if package_raising(error) not in _OUR_CODE:
        return False
    return package_of_type(error) not in _OUR_TYPES or isinstance(error, TimeoutError)


@contextlib.contextmanager
def unless_interrupted() -> Iterator[None]:
    """Suppress errors of Streamwatch alone."""
    try:
        yield
    except Exception as error:
        if is_interruption(error):
            raise
