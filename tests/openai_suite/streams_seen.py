"""A pytest plugin beside `-p streamwatch.testing`: what Streamwatch saw in a whole run, as JSON.

Without it, a run in which Streamwatch was not even switched on would pass for one that it does not disturb.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamwatch import testing
from streamwatch.core.report import Report
from streamwatch.core.vocabulary import Outcome
from streamwatch.sdk import instrumentor

#: Where the JSON goes, and how much is repaired: a plugin of `-p` has no options of its own.
FILE, REPAIR = "STREAMS_SEEN_FILE", "STREAMS_SEEN_REPAIR"
REPAIRED = {Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED}

_seen: list[Report] = []
_errors: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Collect the reports of all streams, and the errors of Streamwatch itself."""
    level = os.environ.get(REPAIR, "default")
    if level != "default":
        testing.instrument(level)
    testing._last.sinks.append(_seen)
    count = instrumentor.Agent.internal_error

    def noticed(self: Any, error: BaseException, doing: str) -> None:
        _errors.append(f"{doing}: {error!r}")
        count(self, error, doing)

    instrumentor.Agent.internal_error = noticed  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Write what was seen."""
    testing.last_report()
    anomalies, repaired = Counter[str](), Counter[str]()
    for report in _seen:
        anomalies.update(report.kinds)
        repaired.update(kind.name for kind, outcomes in report.outcomes.items() if outcomes.keys() & REPAIRED)
    seen = {
        "streams": len(_seen),
        "verdicts": Counter(report.verdict.value for report in _seen if report.verdict),
        "anomalies": anomalies,
        "repaired": repaired,
        "errors": _errors,
    }
    Path(os.environ[FILE]).write_text(json.dumps(seen), "utf-8")
