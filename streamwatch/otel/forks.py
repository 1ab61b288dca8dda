"""The needs of each process under OTLP: its own identity, and in a forked child exporters and counts of its own.

OpenTelemetry's SDK leaves a child the exporters of its parent, with a connection that both write to and a lock that
stays locked if the parent was exporting at the fork; a histogram goes on from the parent's counts; and before 1.44
both have one `service.instance.id`, or none, so that a collector takes all processes of a service for one.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import get_tracer_provider

_ID = "service.instance.id"


def identity(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the identity of this process among those of its service, unless the user says it."""
    named = f"{_ID}=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").replace(" ", "")
    return {} if named else {_ID: str(uuid.uuid4())}


def renew_in_children(warned: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Let each child that is forked from here on send what is its own."""

    def after_fork() -> None:
        with warned("a forked process cannot send by OTLP"):
            _renew_metrics(get_meter_provider())
            _renew_traces(get_tracer_provider())

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)  # after the SDK's own, as those come first that came first


def _renew_metrics(provider: Any) -> None:
    """Renew by private names, as there are no public ones; where they are others, a warning says so."""
    provider._sdk_config.resource = provider._sdk_config.resource.merge(Resource({_ID: str(uuid.uuid4())}))
    consumer = provider._measurement_consumer
    consumer._lock = threading.Lock()  # here and below: the parent's may have been held at the fork
    for reader, storage in consumer._reader_storages.items():
        storage._lock = threading.RLock()
        storage._instrument_view_instrument_matches = {}  # the parent reports the parent's counts
        if isinstance(reader, PeriodicExportingMetricReader):
            reader._export_lock = threading.Lock()
            reader._exporter = type(reader._exporter)()  # its connection is the parent's as well


def _renew_traces(provider: Any) -> None:
    """Renew what the SDK does not: it renews the queue and its thread itself."""
    active = getattr(provider, "_active_span_processor", None)
    for processor in getattr(active, "_span_processors", ()):
        batch = getattr(processor, "_batch_processor", None)
        if batch is not None:
            batch._exporter = type(batch._exporter)()
