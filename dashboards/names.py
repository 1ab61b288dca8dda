"""The names of instruments and attributes in Prometheus, and which dashboard variable filters which.

Derived from the tables of `streamwatch.export.instruments`, so that a metric that is renamed there is renamed here.
"""

from __future__ import annotations

from dashboards import waiting_rules
from dashboards.records import (
    BROKEN,
    BROKEN_RATIO,
    JOB_ENDED,
    MODEL,
    OF_JOBS,
    OF_PROCESSES,
    PROCESS_SEEN,
    PROCESS_SERIES,
    RELEASE,
    RELEASES,
    REORDERED,
    TOTALS,
    total_of,
)
from streamwatch.export import instruments
from streamwatch.export.instruments import BUILD, INTERNAL_ERRORS, PUBLISHED, STARTED, Instrument

#: Every row of the table, by the name of the instrument.
INSTRUMENTS = {row.name: row for row in vars(instruments).values() if isinstance(row, Instrument)}

#: Instruments of the process, not of a stream: they lack the common attributes.
OF_PROCESS = {PUBLISHED.name, STARTED.name, INTERNAL_ERRORS.name, BUILD.name}

#: What Prometheus and its rules have beside Streamwatch's own: the metric, and its labels.
OTHERS = {
    "ALERTS": {"alertname", "alertstate", "severity", "job"},
}

#: The variables of a dashboard and the label that each filters.
VARIABLES = {
    "job": "job",
    "instance": "instance",
    "model": "gen_ai_request_model",
    "snapshot": "gen_ai_response_model",
    "sdk": "streamwatch_openai_version",
    "server": "server_address",
    "kind": "streamwatch_anomaly",
}


def is_histogram(row: Instrument) -> bool:
    """Return whether an instrument is a histogram: only histograms have boundaries."""
    return row.is_histogram


def is_counter(row: Instrument) -> bool:
    """Return whether an instrument is a counter, which only grows; what is neither is a gauge."""
    return row.is_counter


def metric(row: Instrument) -> str:
    """Return the name in Prometheus, without the `_bucket` of a histogram."""
    name = row.name.replace(".", "_")
    return name + ("_seconds" if row.unit == "s" else "") + ("_total" if is_counter(row) else "")


def labels(row: Instrument) -> tuple[str, ...]:
    """Return the labels that a metric has beside `job` and `instance`; `le` included."""
    common = () if row.name in OF_PROCESS else row.common
    names = tuple(attribute.replace(".", "_") for attribute in (*common, *row.attributes))
    return (*names, "le") if is_histogram(row) else names


#: A label that nothing has: where a variable narrows what is shown, `{narrowed!~"..."}` lets series in, and else none.
NARROWED = "narrowed"


def _of_variables(source: str) -> set[str]:
    """Return the labels by which variables choose; where none is chosen, the sum over all of them is shown."""
    return {*TOTALS[source]} & {*VARIABLES.values()}


#: What is recorded, and its labels: nothing of a process, which ends, except three sums.
RECORDS = {
    **{total_of(record): {"job", NARROWED, *labels} for record, labels in TOTALS.items()},
    **{total_of(record): {"job", *labels, *_of_variables(source)} for source, (record, labels) in OF_JOBS.items()},
    **{record: {"job", *labels} for record, labels in OF_PROCESSES.values()},
    PROCESS_SEEN: {"job", "instance"},
    PROCESS_SERIES: {"job", "instance"},
    RELEASES: {"job", *RELEASE},
    f"{REORDERED}15m": {"job", *MODEL},
    **{record: {"job", *labels} for record, labels in waiting_rules.RECORDS.items()},
    f"{BROKEN}3d": {"job"},
    f"{BROKEN_RATIO}1h": {"job"},
    f"{JOB_ENDED}3d": {"job"},
}


def known() -> dict[str, set[str]]:
    """Return every metric a query may name, and the labels it may use with it."""
    names = {name: set(found) for name, found in (OTHERS | RECORDS).items()}
    for row in INSTRUMENTS.values():
        series = (
            (metric(row) + suffix for suffix in ("_bucket", "_count", "_sum")) if is_histogram(row) else [metric(row)]
        )
        names.update((name, {"job", "instance", *labels(row)} - ({"le"} - _of_bucket(name))) for name in series)
    return names


def _of_bucket(name: str) -> set[str]:
    return {"le"} if name.endswith("_bucket") else set()
