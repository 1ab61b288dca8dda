"""Sends what is not sent yet: for processes that end without Python's own end, or are frozen."""

from opentelemetry import metrics, trace


def flush(milliseconds=5000):
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if hasattr(provider, "force_flush"):  # not where OpenTelemetry is off
            provider.force_flush(milliseconds)
