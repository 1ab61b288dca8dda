"""`opentelemetry-instrument python app.py` with nothing configured.

OpenTelemetry sets a process up in three steps and stops at the first exception, so that a busy port or a missing
exporter costs all telemetry, all instrumentors and all repairs. Here the distro fills in what the user left open, the
configurator lets OpenTelemetry build what is known to work and serves the Prometheus endpoint itself, and an
instrumentor that fails is left out alone.
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

from streamwatch.otel import forks

logger = logging.getLogger("streamwatch")

_NAME = "streamwatch"  # of our entry points among the distros and the configurators
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_OTLP = "OTEL_EXPORTER_OTLP_"
_OTLP_EXPORTERS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"
_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"

_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"

_READER = "streamwatch_prometheus"  # our entry point for a Prometheus reader

_FIRST_PORT = 9464  # what OpenTelemetry's specification gives to Prometheus exporters
#: Ports tried, from the first one on: enough for the workers and helper processes of an ordinary host, and few enough
#: to be listed in one scrape configuration.
_PORTS = 10

#: Seconds that a client may take to ask, or to take a part of the answer: a scrape takes 10 at most by default, and who
#: connects and says nothing is to hold no thread for longer.
_PATIENCE = 15.0

#: What Python starts beside the workers of multiprocessing (and uvicorn), with the environment of the application: it
#: unlinks shared memory, opens no stream, and would take a port.
_HELPER = "from multiprocessing.resource_tracker import main"

#: Seconds that a forked child must live before it takes a port: a double fork, or a fork to run a program, is quicker.
_SETTLED = 1.0


class StreamwatchDistro(BaseDistro):  # type: ignore[misc, unused-ignore] # untyped
    """Fills in what the user left open; one instrumentor that fails costs no other."""

    def _configure(self, **kwargs: Any) -> None:
        os.environ.update(defaults(os.environ))

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        # The caller expects two exceptions and goes on; any other would end its loop.
        with _warned(f"{entry_point.name} is not instrumented", ImportError, DependencyConflictError):
            super().load_instrumentor(entry_point, **kwargs)


class StreamwatchConfigurator(_OTelSDKConfigurator):
    """Lets OpenTelemetry build the providers with the exporters that work, and serves the Prometheus endpoint."""

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") != _NAME:  # as our distro says: another one is in charge
            others = [one for one in entry_points(group="opentelemetry_configurator") if one.name != _NAME]
            for first in others[:1]:  # the one that would run if ours were not installed
                first.load()().configure(**kwargs)
            return
        if any(word.startswith(_HELPER) for word in sys.orig_argv):
            return
        with _warned("OpenTelemetry could not be set up; telemetry is missing, repairs still work"):
            if os.environ.get("OTEL_CONFIG_FILE"):  # it names every exporter
                super()._configure(**kwargs)  # type: ignore[no-untyped-call, unused-ignore]
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
            forks.renew_in_children(_warned)
        if _READER in exporters["METRICS"]:
            with _warned("no Prometheus endpoint"):
                if get_meter_provider() is provider:
                    raise RuntimeError("other code set the MeterProvider before Streamwatch started, and it stays")
                Endpoint(os.environ).open()


def defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set where the user said nothing: metrics to Prometheus, and by OTLP what OTLP is set up for."""
    if environ.get("OTEL_PYTHON_CONFIGURATOR") not in (None, "", _NAME):
        return {}  # another configurator would let a busy port cost the process everything
    values = {"OTEL_PYTHON_CONFIGURATOR": _NAME}
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
        values["OTEL_TRACES_EXPORTER"] = "otlp" if _otlp_wanted("TRACES", environ) else "none"
        values["OTEL_METRICS_EXPORTER"] = "prometheus,otlp" if _otlp_wanted("METRICS", environ) else "prometheus"
        values["OTEL_LOGS_EXPORTER"] = "none"
    return {name: value for name, value in values.items() if not environ.get(name)}


def _otlp_wanted(signal: str, environ: Mapping[str, str]) -> bool:
    """Whether any variable that is about this signal, or about all of them, sets OTLP up."""
    others = tuple(f"{_OTLP}{other}_" for other in _SIGNALS if other != signal)
    return any(name.startswith(_OTLP) and not name.startswith(others) and value for name, value in environ.items())


def _otlp_protocol(signal: str, environ: Mapping[str, str]) -> str:
    """http/protobuf, which is installed with us; grpc for a user who says so, or has it and sends to its own port."""
    protocol = environ.get(f"{_OTLP}{signal}_PROTOCOL") or environ.get(f"{_OTLP}PROTOCOL")
    endpoint = environ.get(f"{_OTLP}{signal}_ENDPOINT") or environ.get(f"{_OTLP}ENDPOINT", "")
    has_grpc = entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=_OTLP_EXPORTERS["grpc"])
    usual = "grpc" if has_grpc and endpoint.rstrip("/").endswith(":4317") else "http/protobuf"
    return (protocol or usual).strip()


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
        protocol = _otlp_protocol(signal, environ)
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


class Endpoint:
    """The Prometheus endpoint of this process, on the first free port."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.host = environ.get(_HOST) or "localhost"
        first = _port(environ.get(_PORT, ""))
        self.ports = range(first, min(first + _PORTS, 65536))
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
            _say(f"no Prometheus endpoint for process {pid}: no port from {first} to {last} is free")
        elif first in (0, self.server.server_port):
            _say(f"Prometheus metrics of process {pid} are on port {self.server.server_port}", logging.INFO)
        else:
            _say(f"port {first} is in use; Prometheus metrics of process {pid} are on {self.server.server_port}", moved)

    def _server(self, registry: Any) -> Any:
        return next(filter(None, (self._listening(port, registry) for port in self.ports)), None)

    def _listening(self, port: int, registry: Any) -> Any:
        from prometheus_client import start_http_server

        try:
            server: Any = start_http_server(port, self.host, registry)[0]
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise
        server.RequestHandlerClass = type("_Patient", (server.RequestHandlerClass,), {"timeout": _PATIENCE})
        server.handle_error = _hung_up
        return server

    def _after_fork(self) -> None:
        """Let go of the parent's port; the rest in a thread, as a lock that was held at the fork is held forever."""
        with _warned("no Prometheus endpoint in a forked process"):
            if self.server is not None:
                self.server.socket.close()
            threading.Thread(target=self._serve_child, name="streamwatch-endpoint", daemon=True).start()

    def _serve_child(self) -> None:
        """Serve a reader that starts at zero: the reader of the parent has the parent's counts."""
        with _warned(f"no Prometheus endpoint for forked process {os.getpid()}"):
            from prometheus_client import CollectorRegistry

            from streamwatch.otel.prometheus_reader import PrometheusReader

            registry, add_reader = CollectorRegistry(), getattr(get_meter_provider(), "add_metric_reader", None)
            if add_reader:
                add_reader(PrometheusReader(registry))
            time.sleep(_SETTLED)
            if not add_reader:
                raise RuntimeError("it takes opentelemetry-sdk 1.43 or newer")
            self.serve(registry, moved=logging.INFO)


def _hung_up(_request: object, address: object) -> None:
    """A client that says nothing or goes away is no news to the application, which would get a traceback on stderr."""
    logger.debug("streamwatch: %s left the Prometheus endpoint", address)


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
    except Exception as error:
        _say(message, error=error)


def _say(message: str, level: int = logging.WARNING, error: Exception | None = None) -> None:
    """Log it; a warning also reaches stderr while the only handlers are such as OpenTelemetry's, which show nothing."""
    reason = f" ({type(error).__name__}: {error})"[:300] if error else ""
    logger.log(level, "streamwatch: %s%s", message, reason)
    handlers = logging.getLogger().handlers + logger.handlers
    if level >= logging.WARNING and handlers and not any(isinstance(one, logging.StreamHandler) for one in handlers):
        sys.stderr.write(f"streamwatch: {message}{reason}\n")
