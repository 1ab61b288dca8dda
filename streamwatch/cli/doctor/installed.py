"""The installed packages beside Streamwatch: versions, other hooks into the client, and what OpenTelemetry finds."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from streamwatch.cli.common.environment import in_charge
from streamwatch.cli.doctor.diagnostics import Diagnostic, note, problem
from streamwatch.version import __version__

_NAME = "openai-streamwatch"

#: What a report of a bug must name, where it is installed.
_PACKAGES = (
    "openai",
    "httpx",
    "httpx2",
    "pydantic",
    "jiter",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-instrumentation-httpx",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-distro",
    "prometheus-client",
    "wrapt",
)
#: What else hooks into the OpenAI client: docs/neighbours.md has most of them, before and after.
_NEIGHBOURS = (
    "agentops",
    "ddtrace",
    "elastic-opentelemetry",
    "elastic-opentelemetry-instrumentation-openai",
    "langfuse",
    "langsmith",
    "logfire",
    "mlflow",
    "openinference-instrumentation-openai",
    "openlit",
    "opentelemetry-instrumentation-genai-openai",
    "opentelemetry-instrumentation-openai",
    "opentelemetry-instrumentation-openai-v2",
    "sentry-sdk",
    "traceloop-sdk",
)
#: What makes worker processes.
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "celery")

_GROUPS = ("distro", "configurator", "instrumentor", "environment_variables", "metrics_exporter")

#: Forked children get counts of their own from here on: the first release whose readers can be added later.
_FORKS_COUNT = (1, 43)


def versions() -> dict[str, str]:
    """Return what is installed, by name."""
    found = {"streamwatch": __version__, "python": f"{platform.python_version()} ({platform.python_implementation()})"}
    found["platform"] = platform.platform()
    return {**found, **_versions(_PACKAGES)}


def neighbours() -> dict[str, str]:
    """Return other instrumentations of the OpenAI client."""
    return _versions(_NEIGHBOURS)


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def entry_points() -> dict[str, list[str]]:
    """Return what OpenTelemetry finds, by what it is for."""
    # Once for all groups: each time the files of every installed package are read.
    points = importlib.metadata.entry_points()
    return {group: sorted({each.name for each in points.select(group=f"opentelemetry_{group}")}) for group in _GROUPS}


def diagnostics(environ: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Yield what is wrong with what is installed, and what is good to know."""
    from streamwatch.cli.run import unsupported

    yield from _of_our_own()
    yield from (problem(what, remedy) for what, remedy in unsupported())
    others = [name for name in entry_points()["distro"] if name != "streamwatch"]
    if others and in_charge(environ):
        yield note(
            f"Other distros are installed ({', '.join(others)}); Streamwatch's is taken unless you name one.",
            "Nothing, or OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR to take another.",
        )
    servers = _versions(_SERVERS)
    if servers:
        yield note(
            f"{', '.join(servers)}: every worker process counts for itself, on a port of its own from 9464 to 9473.",
            "Scrape all ten ports, or send by OTLP: docs/guides/workers.md.",
        )
    sdk = _versions(("opentelemetry-sdk",)).get("opentelemetry-sdk", "")
    if servers and sdk and _release(sdk) < _FORKS_COUNT:
        yield problem(f"opentelemetry-sdk {sdk}: forked workers have no endpoint.", "Install 1.43 or newer.")


def _of_our_own() -> Iterator[Diagnostic]:
    install = f"pip install {_NAME}"
    try:
        distribution = importlib.metadata.distribution(_NAME)
    except importlib.metadata.PackageNotFoundError:
        yield problem(
            f"{_NAME} can be imported and is not installed, so opentelemetry-instrument does not find it.", install
        )
        return
    if distribution.version != __version__:
        what = f"{_NAME} {distribution.version} is installed, and streamwatch {__version__} is what is imported"
        yield problem(f"{what}: there are two copies.", f"Remove one of them, then: {install}")
    for point in distribution.entry_points:
        error = _load_error(point) if point.group.startswith("opentelemetry_") else ""
        if error:
            yield problem(
                f"The entry point {point.group}:{point.name} cannot be loaded ({error}).", f"{install} again."
            )


def _load_error(point: Any) -> str:
    if (
        point.value == "streamwatch.otel.environment_variables"
    ):  # its import chooses Streamwatch's distro, in this process too
        return ""
    try:
        point.load()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def where() -> str:
    """Return the environment that is looked at; a home directory is nobody's business."""
    from pathlib import Path

    home = str(Path.home())
    return f"~{sys.executable[len(home) :]}" if sys.executable.startswith(f"{home}/") else sys.executable
