"""The exceptions of signal handlers, which are the application's wherever they are raised."""

from __future__ import annotations

from types import FrameType
from typing import Any


def is_from_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler raised an exception, in whatever code it interrupted."""
    traceback = error.__traceback__
    while traceback is not None:
        if _is_signal_handler(traceback.tb_frame):
            return True
        traceback = traceback.tb_next
    return False


def package_raising(error: BaseException) -> str:
    """Return the package of the code that raised an exception; empty for one that was never raised."""
    traceback, name = error.__traceback__, ""
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__"))
        traceback = traceback.tb_next
    return name.partition(".")[0]


def package_of_type(error: BaseException) -> str:
    """Return the package that the type of an exception is from."""
    return str(type(error).__module__).partition(".")[0]


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether a frame is a signal handler's: it is given the frame that it interrupts, its caller."""
    interrupted = frame.f_back
    return interrupted is not None and any(_holds(value, interrupted) for value in _arguments(frame))


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    values = frame.f_locals
    return [values.get(name) for name in code.co_varnames[:count]]


def _holds(value: Any, frame: FrameType) -> bool:
    return value is frame or (type(value) is tuple and any(each is frame for each in value))
