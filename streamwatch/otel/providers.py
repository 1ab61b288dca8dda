"""OpenTelemetry's providers, as its own configurator builds them with exporters that are known to work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

from streamwatch.otel import forks
from streamwatch.otel.notices import warned

_OTEL = "OTEL_"  # what the names of OpenTelemetry's variables begin with
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"
_READERS = "streamwatch_"  # what the names of Streamwatch's own exporters begin with: they send nothing


class _Configurator(_OTelSDKConfigurator):
    """OpenTelemetry's configurator, which is to be subclassed and not made."""


def build_from_file(kwargs: dict[str, Any]) -> None:
    """Build the providers that the file in OTEL_CONFIG_FILE describes."""
    _Configurator().configure(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]


def build(exporters: Mapping[str, list[str]], kwargs: dict[str, Any], environ: Mapping[str, str] | None = None) -> bool:
    """Build the providers with the exporters of each signal, and return whether the meters are theirs from now on.

    `environ` is the environment that counts; without it, that of now.
    """
    # Where OTEL_PYTHON_METER_PROVIDER is set, asking for the provider would already choose it.
    before = None if os.environ.get("OTEL_PYTHON_METER_PROVIDER") else get_meter_provider()
    environ = os.environ if environ is None else environ
    # The environment is where OpenTelemetry looks for the names; the user's own words are put back.
    variables = {name: value for name, value in environ.items() if name.startswith(_OTEL)}
    variables.update({f"OTEL_{signal}_EXPORTER": ",".join(names) or "none" for signal, names in exporters.items()})
    if not exporters["TRACES"] and not variables.get(_EXEMPLARS):
        variables[_EXEMPLARS] = "always_off"  # they would lead to traces that nobody has
    identity = {**forks.identity(environ), **(kwargs.get("resource_attributes") or {})}
    with _in_environment(variables):
        _Configurator().configure(**{**kwargs, "resource_attributes": identity})  # type: ignore[no-untyped-call, unused-ignore]
    if any(not name.startswith(_READERS) for names in exporters.values() for name in names):
        forks.renew_in_children(warned)
    return get_meter_provider() is not before


def before_first_scrape(act: Callable[[], None]) -> None:
    """Have something done before the Prometheus reader collects for the first time."""
    from streamwatch.otel import prometheus_reader

    prometheus_reader.before_first_scrape.append(act)


@contextlib.contextmanager
def _in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have OpenTelemetry find these variables, and no others of its own."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_OTEL)}
    _replace(before, variables)
    try:
        yield
    finally:
        _replace(variables, before)


def _replace(old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Put variables into the environment in the place of others."""
    os.environ.update(new)
    for name in old.keys() - new.keys():
        os.environ.pop(name, None)
