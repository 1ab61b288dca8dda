"""The Prometheus reader: it collects what OpenTelemetry has counted whenever a registry of prometheus-client is asked.

prometheus-client is not imported here: nothing of it is needed before somebody asks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from wrapt import register_post_import_hook

from streamwatch.export import own_log

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from streamwatch.otel.prometheus_families import Exemplars, Key

#: Seconds that a scrape waits for another one: longer than the 10 s that OpenTelemetry gives to a collection. A
#: callback of the application's that never returns holds one thread, and not one more for each scrape.
_PATIENCE = 15.0

#: Metrics that are complained of, and characters of what is said of one: a process has not more.
_COMPLAINTS, _MAX_NAME = 4096, 256

#: What is done before anything is collected for the first time; it raises nothing.
before_first_scrape: list[Callable[[], None]] = []


class PrometheusReader(MetricReader):
    """A reader that collects for each scrape of a registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self._scraping = threading.RLock()
        self._families: dict[str, Family] = {}
        self._exemplars: Mapping[Key, Exemplars] = {}
        self._complaints: set[str] = set()
        self.registry = registry
        _readers.add(self)
        self.collector = _Collector(self.families)
        if registry is not None:
            registry.register(self.collector)
        else:
            register_post_import_hook(self._register, "prometheus_client.registry")

    def _register(self, module: Any) -> None:
        """Enter prometheus_client's own registry, as soon as somebody imports that."""
        self.registry = module.REGISTRY
        self.registry.register(self.collector)

    def start_anew(self) -> None:
        """Let go of what is the parent's, in a forked child: its exemplars, and a lock that a thread of it may hold."""
        self._scraping = threading.RLock()
        self._families, self._exemplars = {}, {}

    def families(self) -> list[Family]:
        """Return what there is to serve now."""
        with contextlib.suppress(IndexError):
            while True:
                before_first_scrape.pop()()
        from streamwatch.otel.prometheus_families import Scrape

        nothing = Scrape({}, self._complain).families
        if not self._scraping.acquire(timeout=_PATIENCE):
            self._complain("all of a scrape", TimeoutError("another scrape does not end"))
            return list(nothing.values())
        try:
            self._families = nothing  # and nothing it is, unless the collection brings something
            self.collect()
            return list(self._families.values())
        except Exception as error:
            self._complain("all of a scrape", error)
            return list(nothing.values())
        finally:
            self._scraping.release()

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        from streamwatch.otel.prometheus_families import Scrape

        with self._scraping:
            scrape = Scrape(self._exemplars, self._complain)
            scrape.add(metrics_data)
            self._families, self._exemplars = scrape.families, scrape.exemplars

    def _complain(self, what: str, error: Exception) -> None:
        """Say it once for each metric, as long as there are no more of them than a process has."""
        what = what[:_MAX_NAME]
        if what not in self._complaints and len(self._complaints) < _COMPLAINTS:
            self._complaints.add(what)
            reason = f"{type(error).__name__}: {error}"[:300]
            line = "streamwatch: the Prometheus endpoint leaves out %s (%s)"
            own_log.write(logging.WARNING, line, what, reason)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Leave the registry."""
        with contextlib.suppress(KeyError):  # it was left before
            if self.registry is not None:
                self.registry.unregister(self.collector)


#: The readers of this process.
_readers: weakref.WeakSet[PrometheusReader] = weakref.WeakSet()


def collector_of(registry: Any) -> Any:
    """Return what a reader of this class has registered in a registry; None where there is none."""
    return next((reader.collector for reader in list(_readers) if reader.registry is registry), None)


def _after_fork() -> None:
    for reader in list(_readers):
        reader.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Collector:
    """The collector that a registry asks: a reader has a `collect` of its own."""

    def __init__(self, collect: Callable[[], Iterable[Family]]) -> None:
        self.collect = collect

    def describe(self) -> Iterable[Family]:
        """Return no names: a registry that finds none here would collect to learn them."""
        return ()
