"""`opentelemetry-instrument python app.py` with nothing configured.

OpenTelemetry sets a process up in three steps and stops at the first exception: a busy port, or an exporter that is
not installed, costs the process its telemetry, its other instrumentors and its repairs. Here the distro fills in what
the user left open, the configurator lets OpenTelemetry build only what is known to work and serves the Prometheus
endpoint itself, and an instrumentor that fails is left out alone.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined, unused-ignore]
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.util._importlib_metadata import EntryPoint, entry_points

logger = logging.getLogger("streamwatch")

_NAME = "streamwatch"  # of our entry points among the distros and the configurators
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_OTLP = "OTEL_EXPORTER_OTLP_"
_OTLP_EXPORTERS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"

#: Our entry point for OpenTelemetry's own Prometheus reader, without the server its entry point `prometheus` starts.
_PROMETHEUS_READER = "streamwatch_prometheus"

#: The port that OpenTelemetry's specification gives to Prometheus exporters.
_FIRST_PORT = 9464

#: Ports tried, from the first one on: enough for the workers and helper processes of an ordinary host, and few enough
#: to be listed in one scrape configuration.
_PORTS = 10

#: Seconds for which a forked child must live before it takes a port: a double fork, or a fork to run another program,
#: is over long before.
_SETTLED = 1.0


class StreamwatchDistro(BaseDistro):  # type: ignore[misc, unused-ignore] # untyped
    """Fills in what the user left open; one instrumentor that fails costs no other."""

    def _configure(self, **kwargs: Any) -> None:
        StreamwatchConfigurator.chosen = True
        os.environ.update(defaults(os.environ))

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        # The caller expects these two exceptions and goes on; any other would end its loop.
        with _warned(
            f"{entry_point.name} instrumentation failed; the others go on", ImportError, DependencyConflictError
        ):
            super().load_instrumentor(entry_point, **kwargs)


class StreamwatchConfigurator(_OTelSDKConfigurator):
    """Lets OpenTelemetry build the providers with the exporters that work, and serves the Prometheus endpoint."""

    #: Whether our distro is the one in charge. Under another one, configuring is not our business.
    chosen = False

    def _configure(self, **kwargs: Any) -> None:
        if not self.chosen and os.environ.get("OTEL_PYTHON_CONFIGURATOR") != _NAME:
            _make_way(**kwargs)
        elif os.environ.get("OTEL_CONFIG_FILE"):
            self._build(**kwargs)  # the file names every exporter
        else:
            exporters = {signal: usable_exporters(signal, os.environ) for signal in _SIGNALS}
            # Where OTEL_PYTHON_METER_PROVIDER is set, asking for the provider would already choose it.
            before = None if os.environ.get("OTEL_PYTHON_METER_PROVIDER") else get_meter_provider()
            with _exporters_named(exporters):
                self._build(**kwargs)
            if _PROMETHEUS_READER not in exporters["METRICS"]:
                return
            if get_meter_provider() is before:
                _say(
                    "another MeterProvider was set before Streamwatch started and stays; no Prometheus endpoint is served"
                )
                return
            with _warned("the Prometheus endpoint could not be opened"):
                Endpoint(os.environ).open()

    def _build(self, **kwargs: Any) -> None:
        with _warned("OpenTelemetry could not be set up; telemetry is missing, repairs still work"):
            super()._configure(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]


def defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set where the user said nothing: metrics to Prometheus, and by OTLP what OTLP is set up for."""
    if environ.get("OTEL_PYTHON_CONFIGURATOR") not in (None, "", _NAME):
        return {}  # another configurator would let a busy port cost the process everything
    values = {"OTEL_PYTHON_CONFIGURATOR": _NAME}
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
        values["OTEL_TRACES_EXPORTER"] = "otlp" if _otlp_wanted("TRACES", environ) else "none"
        values["OTEL_METRICS_EXPORTER"] = "prometheus,otlp" if _otlp_wanted("METRICS", environ) else "prometheus"
        values["OTEL_LOGS_EXPORTER"] = "none"
    if any("otlp" in {**values, **environ}.get(f"OTEL_{signal}_EXPORTER", "") for signal in _SIGNALS):
        values[f"{_OTLP}PROTOCOL"] = _otlp_protocol(environ)
    return {name: value for name, value in values.items() if not environ.get(name)}


def _otlp_wanted(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether any variable that is about this signal, or about all of them, sets OTLP up."""
    others = tuple(f"{_OTLP}{other}_" for other in _SIGNALS if other != signal)
    return any(name.startswith(_OTLP) and not name.startswith(others) and value for name, value in environ.items())


def _otlp_protocol(environ: Mapping[str, str]) -> str:
    """http/protobuf, which is installed with us; grpc for a user who has it and sends to the port that is its own."""
    endpoints = [environ.get(f"{_OTLP}{part}ENDPOINT", "") for part in ("", *(f"{signal}_" for signal in _SIGNALS))]
    to_grpc = any(endpoint.rstrip("/").endswith(":4317") for endpoint in endpoints)
    return "grpc" if to_grpc and _exporter("TRACES", _OTLP_EXPORTERS["grpc"]) else "http/protobuf"


def usable_exporters(signal: str, environ: Mapping[str, str]) -> list[str]:
    """The entry points of the exporters named for a signal, without those that fail: one warning for each of these."""
    usable = dict[str, None]()
    for name in (part.strip() for part in environ.get(f"OTEL_{signal}_EXPORTER", "").split(",")):
        if name and name.lower() != "none":
            with _warned(f"{signal.lower()} exporter {name!r} cannot be used; going on without it"):
                usable[_tried(signal, name, environ)] = None
    return list(usable)


def _tried(signal: str, name: str, environ: Mapping[str, str]) -> str:
    """The entry point of an exporter, once it has been made for a try: OpenTelemetry makes its exporters unguarded."""
    if name == "otlp":
        protocol = environ.get(f"{_OTLP}{signal}_PROTOCOL") or environ.get(f"{_OTLP}PROTOCOL") or "grpc"
        name = _OTLP_EXPORTERS.get(protocol.strip(), f"otlp by {protocol}")
    elif name == "prometheus":
        name = _PROMETHEUS_READER
    entry_point = _exporter(signal, name)
    if entry_point is None:
        msg = f"no installed package has {name!r} among its {signal.lower()} exporters"
        raise LookupError(msg)
    exporter = entry_point.load()
    # Making a reader may have effects that last, such as a port, so readers are only loaded.
    if not issubclass(exporter, MetricReader):
        exporter().shutdown()
    return name


def _exporter(signal: str, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=name)), None)


@contextmanager
def _exporters_named(exporters: Mapping[str, list[str]]) -> Iterator[None]:
    """Name these exporters in the environment, where OpenTelemetry looks for them, and put the user's words back."""
    variables = {f"OTEL_{signal}_EXPORTER": ",".join(names) or "none" for signal, names in exporters.items()}
    before = {name: os.environ.get(name, "") for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.update(before)


def _make_way(**kwargs: Any) -> None:
    """Run the configurator that would have been the first one if ours were not installed."""
    for entry_point in entry_points(group="opentelemetry_configurator"):
        if entry_point.name != _NAME:
            entry_point.load()().configure(**kwargs)
            break


class Endpoint:
    """The Prometheus endpoint of this process, on the first free port."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.host = environ.get(_HOST) or "localhost"
        first = _port(environ.get(_PORT, ""))
        self.ports = range(first, min(first + _PORTS, 65536)) if first else range(1)
        self.server: Any = None

    def open(self) -> None:
        """Serve what is counted: in this process, and in each child that is forked from it."""
        from prometheus_client import REGISTRY

        self.serve(REGISTRY)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def serve(self, registry: Any, *, moved: int = logging.WARNING) -> None:
        """Serve a registry; `moved` is how loudly to say that it is on another port than the first."""
        try:
            self.server = self._server(registry)
        except (OSError, UnicodeError) as error:
            if self.host == "localhost":
                raise
            _say(f"{_HOST}={self.host[:100]!r} is not usable; using localhost", error=error)
            self.host = "localhost"
            self.server = self._server(registry)
        pid, first, last = os.getpid(), self.ports[0], self.ports[-1]
        if self.server is None:
            _say(f"process {pid} has no Prometheus endpoint, as no port from {first} to {last} is free")
        elif first in (0, self.server.server_port):
            _say(f"Prometheus metrics are on port {self.server.server_port}", logging.INFO)
        else:
            _say(f"port {first} is in use; Prometheus metrics of process {pid} are on {self.server.server_port}", moved)

    def _server(self, registry: Any) -> Any:
        from prometheus_client import start_http_server

        for port in self.ports:
            try:
                return start_http_server(port, self.host, registry)[0]
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
        return None

    def _after_fork(self) -> None:
        """Let go of the parent's port; the rest in a thread, as a lock that was held at the fork is held forever."""
        with _warned("the Prometheus endpoint of a forked process could not be opened"):
            if self.server is not None:
                self.server.socket.close()
                self.server = None
            threading.Thread(target=self._serve_child, name="streamwatch-endpoint", daemon=True).start()

    def _serve_child(self) -> None:
        """Serve a reader that starts at zero: the reader of the parent has the parent's counts."""
        with _warned(f"forked process {os.getpid()} has no Prometheus endpoint"):
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from prometheus_client import CollectorRegistry

            registry, add_reader = CollectorRegistry(), getattr(get_meter_provider(), "add_metric_reader", None)
            if add_reader:
                add_reader(PrometheusMetricReader(registry=registry))
            time.sleep(_SETTLED)
            if add_reader:
                self.serve(registry, moved=logging.INFO)
            else:
                _say(f"forked process {os.getpid()} has no Prometheus endpoint before opentelemetry-sdk 1.43")


def _port(text: str) -> int:
    """The first port to try."""
    if text.strip().isdecimal() and int(text) <= 65535:
        return int(text)
    if text.strip():
        _say(f"{_PORT}={text[:100]!r} is not a port, which is a number from 0 to 65535; using {_FIRST_PORT}")
    return _FIRST_PORT


@contextmanager
def _warned(message: str, *expected: type[Exception]) -> Iterator[None]:
    """Turn an exception into a warning, unless it is an expected one: no failure of ours reaches the application."""
    try:
        yield
    except expected:
        raise
    except Exception as error:  # noqa: BLE001 -- that is the point
        _say(message, error=error)


def _say(message: str, level: int = logging.WARNING, error: Exception | None = None) -> None:
    """Log it; a warning also reaches stderr while the only handlers are such as OpenTelemetry's, which show nothing."""
    reason = f" ({type(error).__name__}: {error})"[:300] if error else ""
    logger.log(level, "streamwatch: %s%s", message, reason)
    handlers = logging.getLogger().handlers + logger.handlers
    if level >= logging.WARNING and handlers and not any(isinstance(one, logging.StreamHandler) for one in handlers):
        print(f"streamwatch: {message}{reason}", file=sys.stderr)
