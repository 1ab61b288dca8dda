"""For tests: what Streamwatch saw in the streams that a piece of code read.

    from streamwatch.testing import reports

    with reports() as seen:
        answer = my_code()
    assert seen[-1].verdict == "complete"

With pytest, `-p streamwatch.testing` (or `pytest_plugins = ["streamwatch.testing"]`) watches every
test and gives the fixture `streamwatch_reports`, a list of `Report` of the streams that ended in it.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from typing import Any

from streamwatch.core.report import Report
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, agent

#: How the levels of repair are called in `../shared/oracles`, and by people.
_POLICIES = {"none": "none", "default": "default", "opt_in": "all", "all": "all"}


class _Last:
    """The reports of the streams that ended."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.sinks: list[list[Report]] = []

    def ended(self, report: Report) -> None:
        if self.report is None or report.serial > self.report.serial:
            self.report = report
        for sink in self.sinks:
            sink.append(report)


_last = _Last()


def instrument(level: str = "default", **options: Any) -> None:
    """Switch Streamwatch on.

    `level` is `none`, `default`, `opt_in` or `all`, or a policy as in `STREAMWATCH_REPAIR`; raises
    ValueError for anything else. `options` are those of `StreamwatchInstrumentor.instrument`.
    """
    instrumentor = StreamwatchInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    instrumentor.instrument(repair=_POLICIES.get(level, level), on_report=_last.ended, **options)


def uninstrument() -> None:
    """Switch Streamwatch off."""
    StreamwatchInstrumentor().uninstrument()


def last_report() -> dict[str, Any] | None:
    """Return verdict and kinds of the stream that was read last; None if there was none.

    A stream that nobody closed is over when it is garbage, so garbage is collected first.
    """
    if agent.any_open:
        gc.collect()
    agent.record_collected()
    report = _last.report
    if report is None:
        return None
    return {"verdict": report.verdict and report.verdict.value, "kinds": list(report.kinds)}


@contextlib.contextmanager
def reports(level: str = "default", **options: Any) -> Iterator[list[Report]]:
    """Yield the reports of the streams that end inside, in order; switch Streamwatch on for it if it is off."""
    seen: list[Report] = []
    was_on = StreamwatchInstrumentor().is_instrumented_by_opentelemetry
    if not was_on or agent.on_report != _last.ended:
        instrument(level, **options)
    _last.sinks.append(seen)
    try:
        yield seen
    finally:
        last_report()
        _last.sinks.remove(seen)
        if not was_on:
            uninstrument()


try:
    import pytest
except ImportError:  # not needed for anything above
    pass
else:

    def pytest_configure(config: pytest.Config) -> None:
        """Switch on for the whole run, with `-p streamwatch.testing`, as STREAMWATCH_REPAIR says."""
        instrument(os.environ.get("STREAMWATCH_REPAIR") or "default")

    @pytest.fixture
    def streamwatch_reports() -> Iterator[list[Report]]:
        """Yield the reports of the streams that end in a test."""
        with reports() as seen:
            yield seen
