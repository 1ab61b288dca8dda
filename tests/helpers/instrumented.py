"""Programs as `opentelemetry-instrument` runs them, with nothing configured."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def command(code: str) -> list[str]:
    """`opentelemetry-instrument python -c ...`."""
    cli = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    return [sys.executable, "-c", cli, sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]


def environment(**environ: str) -> dict[str, str]:
    """An environment in which nothing is configured but what is named here."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    # What the other instrumentations have to say is not what is tested here.
    return {**clean, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "streamwatch,httpx,httpx2", **environ}


def finished(words: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """What came of a program in such an environment."""
    return subprocess.run(words, env=environment(**environ), capture_output=True, text=True, timeout=60, check=False)


def finished_alone(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The same of a program that nothing instruments but itself."""
    return finished([sys.executable, "-c", textwrap.dedent(code)], **environ)
