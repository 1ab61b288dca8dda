"""The place of a process's metrics, in words: what a person looks for first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

_OTLP = "OTEL_EXPORTER_OTLP_"


def usual_endpoint(*, grpc: bool) -> str:
    """Return where the specification sends what no variable names."""
    return "http://localhost:4317" if grpc else "http://localhost:4318"


def whereabouts(exporters: Collection[str], endpoint: Any, environ: Mapping[str, str]) -> Callable[[], str]:
    """Return what says where metrics are now: the endpoint may move while the program runs."""
    sent = [_sent(name, environ) for name in exporters if not name.startswith("streamwatch")]

    def where() -> str:
        places = [*_served(endpoint), *sent]
        return " and ".join(places) if places else "exported nowhere: no metrics exporter is set up"

    return where


def _served(endpoint: Any) -> list[str]:
    """Return the address of the Prometheus endpoint."""
    if endpoint is None:
        return []
    server = endpoint.server
    if server is None:
        return ["on the Prometheus server of the application, if it has one"]
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return [f"on http://{host}:{server.server_port}/metrics"]


def _sent(exporter: str, environ: Mapping[str, str]) -> str:
    """Return where an exporter sends what is counted."""
    if not exporter.startswith("otlp"):
        return f"exported by {exporter!r}"
    from streamwatch.export import labels

    usual = usual_endpoint(grpc=exporter.endswith("grpc"))
    url = environ.get(f"{_OTLP}METRICS_ENDPOINT") or environ.get(f"{_OTLP}ENDPOINT") or usual
    return f"sent by OTLP to {labels.address(url, 'an address that cannot be read')}"
