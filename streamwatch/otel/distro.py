"""`opentelemetry-instrument python app.py` with nothing configured.

OpenTelemetry sets a process up in three steps and stops at the first exception, so that a busy port or a missing
exporter costs all telemetry, all instrumentors and all repairs. Here the distro fills in what the user left open, the
configurator lets OpenTelemetry build what is known to work and serves the Prometheus endpoint itself, and an
instrumentor that fails is left out alone.

What costs much waits until it is needed: where metrics go to the endpoint alone, the providers (`pipeline`); and the
instrumentors of `openai` and of its HTTP client, until a program makes its first client of those.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined, unused-ignore]
from opentelemetry.util._importlib_metadata import EntryPoint, entry_points

from streamwatch.export import own_log
from streamwatch.export.summary import summary
from streamwatch.otel.endpoint import Endpoint
from streamwatch.otel.late import LateInstrumentor
from streamwatch.otel.notices import warned
from streamwatch.otel.once import Once
from streamwatch.otel.pipeline import Pipeline, can_wait
from streamwatch.otel.whereabouts import whereabouts

_NAME = "streamwatch"  # of Streamwatch's entry points among the distros and the configurators
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_OTLP = "OTEL_EXPORTER_OTLP_"
_OTLP_EXPORTERS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_READER = "streamwatch_prometheus"  # the entry point of Streamwatch's Prometheus reader

#: What has OpenTelemetry do more at the start than to build providers for the endpoint: they are built at once then.
_MORE = (
    *("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER", "OTEL_PYTHON_LOGGER_PROVIDER", "OTEL_SDK_DISABLED"),
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
)
#: What Python starts beside the workers of multiprocessing (and uvicorn), with the environment of the application: it
#: unlinks shared memory, opens no stream, and would take a port.
_HELPER = "from multiprocessing.resource_tracker import main"
#: The instrumentors with nothing to do before a client is made, by the beginning of their entry point: the library,
#: which is None where it is called as the entry point is, and its clients. A program that imports the instrumentor has
#: it at once.
_LATE = {
    "streamwatch.sdk.instrumentor": ("openai", ("OpenAI", "AsyncOpenAI")),
    "opentelemetry.instrumentation.httpx": (None, ("Client", "AsyncClient")),
}

#: What waits in this process until something needs it: first the providers, then Streamwatch's instrumentor.
_waits: list[Once] = []
#: Of these the instrumentors of HTTP libraries.
_http: list[LateInstrumentor] = []


class StreamwatchDistro(BaseDistro):  # type: ignore[misc, unused-ignore] # untyped
    """The distro, which sets what the user left open; one instrumentor that fails costs no other."""

    def _configure(self, **kwargs: Any) -> None:
        os.environ.update(defaults(os.environ))

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        module = entry_point.value.partition(":")[0]
        if _waits and module in _LATE:
            self._load_late(module, entry_point, kwargs)
            return
        # The caller expects two exceptions and goes on; any other would end its loop.
        with warned(f"{entry_point.name} is not instrumented", ImportError, DependencyConflictError):
            super().load_instrumentor(entry_point, **kwargs)

    def _load_late(self, module: str, entry_point: EntryPoint, kwargs: dict[str, Any]) -> None:
        """Load an instrumentor once, before the first client of its library; at once if there may be one already."""
        load = super().load_instrumentor

        def instrument() -> None:
            with warned(f"{entry_point.name} is not instrumented"):
                try:
                    load(entry_point, **kwargs)
                except (ImportError, DependencyConflictError) as error:
                    line = "streamwatch: %s is not instrumented: %s"
                    own_log.write(logging.DEBUG, line, entry_point.name, error)
            # A client of openai makes one of its HTTP library. What that needs is imported now, while other threads
            # wait: the SDK looks into modules that are half imported, and raises.
            for each in _http if entry_point.name == _NAME else ():
                each.do_if_imported()

        library, clients = _LATE[module]
        late = LateInstrumentor(module, library or entry_point.name, clients, instrument)
        late.wait()
        if entry_point.name != _NAME:
            _http.append(late)
        else:
            _waits.append(late)
            if not late.is_done:
                summary.start_alone(os.environ)


class StreamwatchConfigurator:
    """The configurator, which has providers built with exporters that work, and serves the Prometheus endpoint."""

    def configure(self, **kwargs: Any) -> None:
        """Set this process up; called once by `opentelemetry-instrument`."""
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") != _NAME:  # which this distro sets: another one is in charge
            others = [one for one in entry_points(group="opentelemetry_configurator") if one.name != _NAME]
            for first in others[:1]:  # the one that would run if Streamwatch were not installed
                first.load()().configure(**kwargs)
            return
        if any(word.startswith(_HELPER) for word in sys.orig_argv):
            return
        with warned(_FAILED):
            if _is_only_served(os.environ) and can_wait():
                self._set_up_on_need(kwargs)
            else:
                self._set_up(kwargs)

    def _set_up(self, kwargs: dict[str, Any]) -> None:
        """Have the providers built at once."""
        from streamwatch.otel import providers

        if os.environ.get("OTEL_CONFIG_FILE"):  # it names every exporter
            providers.build_from_file(kwargs)
            summary.announce(lambda: "exported as OTEL_CONFIG_FILE says")
            return
        exporters = {signal: usable_exporters(signal, os.environ) for signal in _SIGNALS}
        is_ours = providers.build(exporters, kwargs)
        endpoint = None
        if _READER in exporters["METRICS"]:
            with warned("no Prometheus endpoint"):
                if not is_ours:
                    raise RuntimeError("other code set the MeterProvider before Streamwatch started, and it stays")
                endpoint = _opened(Endpoint(os.environ))
        summary.announce(whereabouts(exporters["METRICS"], endpoint, os.environ))

    def _set_up_on_need(self, kwargs: dict[str, Any]) -> None:
        """Open the endpoint, and have the providers built when something needs them."""
        environ = dict(os.environ)

        def make() -> None:
            with warned(_FAILED):
                from streamwatch.otel import providers

                providers.build({signal: usable_exporters(signal, environ) for signal in _SIGNALS}, kwargs, environ)
                # What Streamwatch has to say of a process that has no streams is in its first scrape as well.
                providers.before_first_scrape(_do_all)

        pipeline, endpoint = Pipeline(make), None
        _waits.append(pipeline)
        with warned("no Prometheus endpoint"):
            endpoint = _opened(Endpoint(environ, pipeline))
        pipeline.build_on_need()
        summary.announce(whereabouts([_READER], endpoint, environ))


_FAILED = "OpenTelemetry could not be set up; telemetry is missing, repairs still work"


def _do_all() -> None:
    for each in _waits:
        each.do()


def _opened(endpoint: Endpoint) -> Endpoint:
    endpoint.open()
    return endpoint


def _is_only_served(environ: Mapping[str, str]) -> bool:
    """Return whether metrics go to the endpoint, and nothing else goes anywhere."""
    named = {signal: _named(signal, environ) for signal in _SIGNALS}
    only = named == {"TRACES": [], "METRICS": ["prometheus"], "LOGS": []}
    return only and not any(environ.get(name) for name in ("OTEL_CONFIG_FILE", *_MORE))


def _named(signal: str, environ: Mapping[str, str]) -> list[str]:
    """Return the exporters that the environment names for a signal."""
    names = [part.strip() for part in environ.get(f"OTEL_{signal}_EXPORTER", "").split(",")]
    return [name for name in names if name and name.lower() != "none"]


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
    for name in _named(signal, environ):
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
    from opentelemetry.sdk.metrics.export import MetricReader

    exporter = next(iter(found)).load()
    # Making a reader may have effects that last, such as a port, so readers are only loaded.
    if not issubclass(exporter, MetricReader):
        exporter().shutdown()
    return name
