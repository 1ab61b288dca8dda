"""Streamwatch detects broken OpenAI streams, repairs what is provably safe, and measures the rest.

    opentelemetry-instrument python app.py

is all that most users need. From code, `streamwatch.instrument()` does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamwatch.version import __version__ as __version__

if TYPE_CHECKING:
    from streamwatch.core.report import Report, Request
    from streamwatch.core.settings import Policy, Settings
    from streamwatch.core.stream import StreamWatch
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

__all__ = [
    "Policy",
    "Report",
    "Request",
    "Settings",
    "StreamWatch",
    "StreamwatchInstrumentor",
    "flush",
    "instrument",
    "uninstrument",
]

_HOMES = {
    "Policy": "streamwatch.core.settings",
    "Report": "streamwatch.core.report",
    "Request": "streamwatch.core.report",
    "Settings": "streamwatch.core.settings",
    "StreamWatch": "streamwatch.core.stream",
    "StreamwatchInstrumentor": "streamwatch.sdk.instrumentor",
}


def flush(seconds: float = 5.0) -> bool:
    """Send metrics and spans and write captures; return whether all of it was done in `seconds`.

    Python does this when it ends. Call it in processes that end otherwise or are frozen: the workers of uvicorn and
    Celery, Lambda. It never raises. A stream that is still being read is not in it.
    """
    from streamwatch.sdk.instrumentor import agent

    return agent.flush(seconds)


def instrument(**options: Any) -> None:
    """Watch every stream of the OpenAI client from now on.

    Options, all of them optional: `settings` (a `Settings`; otherwise the environment is read), `repair` (the policy
    alone, as in `STREAMWATCH_REPAIR`), `tracer_provider`, `meter_provider`, and `on_report`, a callable that gets the
    `Report` of every stream that ends. An unknown policy raises ValueError.

    On a terminal, one line says where the metrics go, and a summary follows at the exit: see `STREAMWATCH_SUMMARY`.
    """
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, announce

    announce()
    StreamwatchInstrumentor().instrument(**options)


def uninstrument() -> None:
    """Leave the OpenAI client as it was. Streams that are being read are watched to their end."""
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

    StreamwatchInstrumentor().uninstrument()


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    # Names are imported on use: `import streamwatch` is paid for by every Python process that starts.
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
