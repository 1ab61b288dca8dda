"""The owner of an exception: Streamwatch, or the application that raised it into Streamwatch's code.

A signal handler (a soft time limit, an alarm) raises wherever the program is at that moment, and some libraries raise
into another thread. Such an exception is the application's, and passes; an error of Streamwatch never reaches it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import FrameType
from typing import Any

#: Where Streamwatch raises, or what it calls with data: nothing here calls anything of an application's.
_OUR_CODE = (
    *("json", "openai", "opentelemetry", "pydantic", "streamwatch"),
    *("copy", "dataclasses", "enum", "re", "typing", "typing_extensions", "urllib", "weakref"),
)
#: Where the types of the exceptions are from that this code raises by itself.
_OUR_TYPES = (*_OUR_CODE, "asyncio", "builtins", "jiter", "pydantic_core", "queue", "select", "socket", "ssl", "trio")


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception was raised into the code that ran, and not by it."""
    traceback, frame = error.__traceback__, None
    while traceback is not None:
        frame = traceback.tb_frame
        if _is_signal_handler(frame):
            return True
        traceback = traceback.tb_next
    # Raised into this very thread by another one: this code raises neither time-outs nor foreign types.
    if frame is None or _package(frame.f_globals.get("__name__")) not in _OUR_CODE:
        return False
    return _package(type(error).__module__) not in _OUR_TYPES or isinstance(error, TimeoutError)


@contextlib.contextmanager
def unless_interrupted() -> Iterator[None]:
    """Suppress errors of Streamwatch alone."""
    try:
        yield
    except Exception as error:
        if is_interruption(error):
            raise


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether a frame is a signal handler's: it is given the frame that it interrupts, its caller."""
    interrupted = frame.f_back
    return interrupted is not None and any(_holds(value, interrupted) for value in _arguments(frame))


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    values = frame.f_locals
    return [values.get(name) for name in code.co_varnames[:count]]


def _package(module: Any) -> str:
    return str(module).partition(".")[0]


def _holds(value: Any, frame: FrameType) -> bool:
    return value is frame or (type(value) is tuple and any(each is frame for each in value))
