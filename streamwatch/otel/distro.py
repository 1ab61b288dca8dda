"""`opentelemetry-instrument python app.py` with nothing configured.

OpenTelemetry sets a process up in three steps and stops at the first exception, so that a busy port or a missing
exporter costs all telemetry, all instrumentors and all repairs. Here the distro fills in what the user left open, the
configurator lets OpenTelemetry build what is known to work and serves the Prometheus endpoint itself, and an
instrumentor that fails is left out alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined, unused-ignore]
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.util._importlib_metadata import EntryPoint, entry_points

from streamwatch.export.summary import summary
from streamwatch.otel import forks
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.notices import warned
from streamwatch.otel.whereabouts import whereabouts

_NAME = "streamwatch"  # of Streamwatch's entry points among the distros and the configurators
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_OTLP = "OTEL_EXPORTER_OTLP_"
_OTLP_EXPORTERS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"

_READER = "streamwatch_prometheus"  # the entry point of Streamwatch's Prometheus reader

#: What Python starts beside the workers of multiprocessing (and uvicorn), with the environment of the application: it
#: unlinks shared memory, opens no stream, and would take a port.
_HELPER = "from multiprocessing.resource_tracker import main"


class StreamwatchDistro(BaseDistro):  # type: ignore[misc, unused-ignore] # untyped
    """The distro, which sets what the user left open; one instrumentor that fails costs no other."""

    def _configure(self, **kwargs: Any) -> None:
        os.environ.update(defaults(os.environ))

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        # The caller expects two exceptions and goes on; any other would end its loop.
        with warned(f"{entry_point.name} is not instrumented", ImportError, DependencyConflictError):
            super().load_instrumentor(entry_point, **kwargs)


class StreamwatchConfigurator(_OTelSDKConfigurator):
    """The configurator, which builds the providers with exporters that work, and serves the Prometheus endpoint."""

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") != _NAME:  # which this distro sets: another one is in charge
            others = [one for one in entry_points(group="opentelemetry_configurator") if one.name != _NAME]
            for first in others[:1]:  # the one that would run if Streamwatch were not installed
                first.load()().configure(**kwargs)
            return
        if any(word.startswith(_HELPER) for word in sys.orig_argv):
            return
        with warned("OpenTelemetry could not be set up; telemetry is missing, repairs still work"):
            if os.environ.get("OTEL_CONFIG_FILE"):  # it names every exporter
                super()._configure(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]
                summary.announce(lambda: "exported as OTEL_CONFIG_FILE says")
            else:
                self._build(**kwargs)

    def _build(self, **kwargs: Any) -> None:
        exporters = {signal: usable_exporters(signal, os.environ) for signal in _SIGNALS}
        # Where OTEL_PYTHON_METER_PROVIDER is set, asking for the provider would already choose it.
        provider = None if os.environ.get("OTEL_PYTHON_METER_PROVIDER") else get_meter_provider()
        # The environment is where OpenTelemetry looks for the names; the user's own words are put back.
        named = {f"OTEL_{signal}_EXPORTER": ",".join(names) or "none" for signal, names in exporters.items()}
        if not exporters["TRACES"] and not os.environ.get(_EXEMPLARS):
            named[_EXEMPLARS] = "always_off"  # they would lead to traces that nobody has
        before = {name: os.environ[name] for name in named if name in os.environ}
        os.environ.update(named)
        kwargs["resource_attributes"] = {**forks.identity(os.environ), **(kwargs.get("resource_attributes") or {})}
        try:
            super()._configure(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]
        finally:
            for name in named:
                os.environ.pop(name, None)
            os.environ.update(before)
        if {name for names in exporters.values() for name in names} - {_READER}:
            forks.renew_in_children(warned)
        endpoint = _serve(provider) if _READER in exporters["METRICS"] else None
        summary.announce(whereabouts(exporters["METRICS"], endpoint, os.environ))


def _serve(before: MeterProvider | None) -> Endpoint | None:
    """Open the Prometheus endpoint; `before` is the provider that was there before OpenTelemetry was set up."""
    with warned("no Prometheus endpoint"):
        if get_meter_provider() is before:
            raise RuntimeError("other code set the MeterProvider before Streamwatch started, and it stays")
        endpoint = Endpoint(os.environ)
        endpoint.open()
        return endpoint
    return None


def defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set where the user said nothing: Prometheus for metrics, and OTLP where it is set up."""
    if environ.get("OTEL_PYTHON_CONFIGURATOR") not in (None, "", _NAME):
        return {}  # another configurator would let a busy port cost the process everything
    values = {"OTEL_PYTHON_CONFIGURATOR": _NAME}
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
        values["OTEL_TRACES_EXPORTER"] = "otlp" if _otlp_wanted("TRACES", environ) else "none"
        values["OTEL_METRICS_EXPORTER"] = "prometheus,otlp" if _otlp_wanted("METRICS", environ) else "prometheus"
        values["OTEL_LOGS_EXPORTER"] = "none"
    return {name: value for name, value in values.items() if not environ.get(name)}


def _otlp_wanted(signal: str, environ: Mapping[str, str]) -> bool:
    """Return whether any variable that is about this signal, or about all of them, sets OTLP up."""
    others = tuple(f"{_OTLP}{other}_" for other in _SIGNALS if other != signal)
    return any(name.startswith(_OTLP) and not name.startswith(others) and value for name, value in environ.items())


def otlp_protocol(signal: str, environ: Mapping[str, str]) -> str:
    """Return http/protobuf, which is installed; grpc for a user who says so, or has it and sends to its own port."""
    protocol = environ.get(f"{_OTLP}{signal}_PROTOCOL") or environ.get(f"{_OTLP}PROTOCOL")
    endpoint = environ.get(f"{_OTLP}{signal}_ENDPOINT") or environ.get(f"{_OTLP}ENDPOINT", "")
    has_grpc = entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=_OTLP_EXPORTERS["grpc"])
    usual = "grpc" if has_grpc and endpoint.rstrip("/").endswith(":4317") else "http/protobuf"
    return (protocol or usual).strip()


def usable_exporters(signal: str, environ: Mapping[str, str]) -> list[str]:
    """Return the entry points of the exporters named for a signal that work; log one warning for each of the others."""
    usable = dict[str, None]()
    for name in (part.strip() for part in environ.get(f"OTEL_{signal}_EXPORTER", "").split(",")):
        if name and name.lower() != "none":
            with warned(f"{signal.lower()} exporter {name!r} cannot be used; going on without it"):
                usable[_tried(signal, name, environ)] = None
    return list(usable)


def _tried(signal: str, name: str, environ: Mapping[str, str]) -> str:
    """Return the entry point of an exporter once it has been made for a try: OpenTelemetry makes them unguarded."""
    if name == "otlp":
        protocol = otlp_protocol(signal, environ)
        name = _OTLP_EXPORTERS.get(protocol, f"otlp by {protocol}")
    elif name == "prometheus":
        name = _READER
    found = entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=name)
    if not found:
        raise LookupError(f"no installed package has {name!r} among its {signal.lower()} exporters")
    exporter = next(iter(found)).load()
    # Making a reader may have effects that last, such as a port, so readers are only loaded.
    if not issubclass(exporter, MetricReader):
        exporter().shutdown()
    return name
