"""OpenTelemetry's providers, built when something needs them first.

To import OpenTelemetry's SDK and prometheus-client and to build the providers takes most of what the start of a process
costs, and most processes that start under `opentelemetry-instrument` never record a number: helpers, shells, commands.

How it works. Until the providers are built, OpenTelemetry's API has its own proxies in their place. The providers are
built before anything can tell the difference:

- somebody asks a proxy for a tracer or a meter, as every instrumentation and every application that records does;
- the SDK is imported, whose classes a program compares with, or sets providers of its own by;
- `prometheus_client` is imported, whose registry a program may serve itself;
- a client asks the Prometheus endpoint, which listens from the start (`endpoint`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from wrapt import register_post_import_hook

from streamwatch.exchange import exchange
from streamwatch.otel.once import Once

#: What a program imports to set OpenTelemetry up, to look for its classes, or to serve the registry.
_NEEDS = ("opentelemetry.sdk._logs", "opentelemetry.sdk.metrics", "opentelemetry.sdk.trace", "prometheus_client")


class Pipeline(Once):
    """The providers of this process, which `act` builds and sets."""

    def build_on_need(self) -> None:
        """Build the providers as soon as something needs them."""
        self.hooks = [
            self._wrap(type(get_tracer_provider()), "get_tracer", get_tracer_provider),
            self._wrap(type(get_meter_provider()), "get_meter", get_meter_provider),
        ]
        for module in _NEEDS:
            register_post_import_hook(lambda _module: self.do(patience=0), module)

    def _wrap(self, proxy: Any, name: str, current: Callable[[], Any]) -> Callable[[], None]:
        """Let a proxy of OpenTelemetry's API build the providers; returns how to undo that."""
        original = vars(proxy)[name]

        @functools.wraps(original)
        def get(provider: Any, *args: Any, **kwargs: Any) -> Any:
            self.do()
            real = current()
            return original(provider, *args, **kwargs) if real is provider else getattr(real, name)(*args, **kwargs)

        return exchange(proxy, name, get)


def can_wait() -> bool:
    """Return whether nobody has set a provider: OpenTelemetry's API has its own proxies in their place."""
    # What the proxy of the meters is called is private.
    return type(get_tracer_provider()) is ProxyTracerProvider and hasattr(get_meter_provider(), "on_set_meter_provider")
