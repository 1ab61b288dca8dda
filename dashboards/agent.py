"""Streamwatch / Agent: is Streamwatch itself well, and which one is running where?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import units

from dashboards import promql as q
from dashboards.frame import Row, build
from dashboards.panels import AMBER, BLUE, GRAY, GREEN, VERMILION, Column, Panel, Query, lines, number, rows
from dashboards.records import ERRORS, PROCESS_SEEN, PROCESS_SERIES, RELEASES, total_of
from dashboards.records import STREAMS as STREAM_TOTALS
from streamwatch.core.settings import Settings
from streamwatch.export import labels
from streamwatch.export.instruments import BUILD, INTERNAL_ERRORS, STARTED, STREAMS, UNOBSERVED, Instrument

#: When each process was seen last, as far as that is in the range: of those that ended as well, and whether Prometheus
#: scrapes them or a collector hands their metrics on.
_SEEN = f"({q.recorded(PROCESS_SEEN)} > time() - $__range_s)"
#: Seconds since then after which a process is gone: its record is written every minute.
_GONE = 150
_THERE = f"({_SEEN} > time() - {_GONE})"
#: What a value beyond the limit is counted as, and the limit.
OTHER = labels.OTHER
_LIMIT = Settings().max_label_values
_CAPPED = ("gen_ai_request_model", "gen_ai_response_model", "server_address")


def dashboard() -> d.Dashboard:
    """Return the dashboard for people who operate Streamwatch."""
    return build(
        "Agent",
        "streamwatch-agent",
        "Streamwatch's own health: is it measured, does it fail, and which versions are deployed?",
        [Row("", _answer()), Row("Processes", [_processes()]), Row("Over time", _over_time())],
        of_processes=True,
    )


def _of_process(row: Instrument) -> str:
    return q.selector(row, 'instance=~"$instance"')


def _capped() -> str:
    parts = (q.streams(f'{label}="{OTHER}"') for label in _CAPPED)
    return " + ".join(f"({q.grown(part)} or vector(0))" for part in parts)


def _processes_running() -> Panel:
    return number(
        "Processes running",
        "Processes whose metrics arrive. If you run more, one is not started with "
        "`opentelemetry-instrument`, or nothing scrapes its port or takes its OTLP.",
        "StreamwatchAbsent",
        Query(f"count({_THERE}) or vector(0)"),
        units.Short,
        color=((None, VERMILION), (1, GREEN)),
        decimals=0,
    )


def _processes_gone() -> Panel:
    return number(
        "Processes gone",
        "Processes whose metrics came in the range and stopped. After a rollout these are the old ones. Without "
        "one, see the first rows below: a crash, or a scrape that fails.",
        "StreamwatchAbsent",
        Query(f"count({_SEEN} <= time() - {_GONE}) or vector(0)"),
        units.Short,
        color=((None, GRAY),),
        decimals=0,
    )


def _internal_errors() -> Panel:
    errors = q.grown(q.recorded(total_of(ERRORS)))
    return number(
        "Internal errors",
        "Errors of Streamwatch itself; the application saw none of them. Report each with the line that "
        "Streamwatch logged, the type is in the panel below.",
        "StreamwatchInternalErrors",
        Query(f"{errors} or vector(0)"),
        units.Short,
        color=((None, GREEN), (1, VERMILION)),
        decimals=0,
    )


def _capped_labels() -> Panel:
    return number(
        "Capped labels",
        f"Streams counted under `{OTHER}`, because a process has seen more than {_LIMIT} values of a model or an "
        "address. Any: a server or an application makes up names.",
        "StreamwatchInternalErrors",
        Query(_capped()),
        units.Short,
        color=((None, GREEN), (1, AMBER)),
        decimals=0,
    )


def _versions_running() -> Panel:
    return number(
        "Versions running",
        "How many versions of Streamwatch run. More than one outside a rollout: a deployment got stuck.",
        "StreamwatchAbsent",
        Query(f"count(group by (version) ({_of_process(BUILD)}))"),
        units.Short,
        color=((None, BLUE),),
        decimals=0,
    )


def _sdk_versions() -> Panel:
    return number(
        "SDK versions",
        "How many versions of the openai package were seen. More than one outside a rollout: pin it.",
        "StreamwatchAbsent",
        Query(f"count({q.grown(q.recorded(RELEASES), 'streamwatch_openai_version')} > 0)"),
        units.Short,
        color=((None, BLUE),),
        decimals=0,
    )


def _answer() -> list[Panel]:
    return [
        _processes_running(),
        _processes_gone(),
        _internal_errors(),
        _capped_labels(),
        _versions_running(),
        _sdk_versions(),
    ]


def _processes() -> Panel:
    keys = {"job": "Job", "instance": "Instance"}
    by = tuple(keys)
    words = (((0, _GONE), "running", GREEN), ((_GONE, float(10**9)), "gone", GRAY))
    ago = f"time() - max by (job, instance) ({_SEEN})"
    versions = f"count by (job, instance, version) ({_of_process(BUILD)})"
    return rows(
        "Processes",
        "Every process whose metrics came in the range. If one is gone without a rollout, see its log, then Status, "
        "Targets in Prometheus, or at the collector. Unobserved: streams whose body the application reads "
        "below the SDK's parser, in a way that is not watched.",
        "StreamwatchAbsent",
        {**keys, "version": "Streamwatch", "streamwatch_openai_version": "openai"},
        [
            Column("State", ago, words=words),
            Column("Running for", f"time() - max by (job, instance) ({_of_process(STARTED)})", units.Seconds),
            Column("Streams", q.of_process(STREAMS, *by, "streamwatch_openai_version")),
            Column("Unobserved", f"{q.of_process(UNOBSERVED, *by)} or 0 * {_SEEN}"),
            Column("Internal errors", f"{q.of_process(INTERNAL_ERRORS, *by)} or 0 * {_SEEN}"),
            Column("Series", f"max by (job, instance) ({q.recorded(PROCESS_SERIES)})"),
            Column("", versions),
        ],
        size=(24, 7),
    )


def _internal_errors_by_type() -> Panel:
    errors = q.grown(q.recorded(total_of(ERRORS)), "error_type", over=q.INTERVAL)
    return lines(
        "Internal errors by type",
        "Errors of Streamwatch itself, in each step. They cost measurements, never the application's streams. "
        "Empty is good. In doubt, `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=streamwatch` switches it off.",
        "StreamwatchInternalErrors",
        [Query(errors, "{{error_type}}")],
        units.Short,
        nothing="no errors",
        size=(8, 8),
    )


def _streams_per_second_by_job() -> Panel:
    streams = f"{q.over_time(STREAM_TOTALS, 'job')} / ($__interval_ms / 1000)"
    return lines(
        "Streams per second by job",
        "Streams that ended. If a job is at zero while it serves requests, it was started without "
        "`opentelemetry-instrument`.",
        "StreamwatchAbsent",
        [Query(streams, "{{job}}")],
        units.Short,
        size=(8, 8),
    )


def _series_per_process() -> Panel:
    return lines(
        "Series per process",
        "How many series a process has, at most and at least. It grows with models, servers and kinds, and is "
        "capped; above some thousands, drop labels in Prometheus.",
        "StreamwatchAbsent",
        [
            Query(f"max({q.recorded(PROCESS_SERIES)})", "at most"),
            Query(f"min({q.recorded(PROCESS_SERIES)})", "at least"),
        ],
        units.Short,
        size=(8, 8),
    )


def _over_time() -> list[Panel]:
    return [_internal_errors_by_type(), _streams_per_second_by_job(), _series_per_process()]
