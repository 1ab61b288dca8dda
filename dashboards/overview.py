"""Streamwatch / Overview: is it healthy, and if not, where?"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import units

from dashboards import promql as q
from dashboards.frame import Row, build
from dashboards.panels import (
    AMBER,
    BLUE,
    GREEN,
    VERMILION,
    Column,
    Panel,
    Query,
    drawn,
    end,
    lines,
    number,
    rows,
    runbook,
    share,
)
from dashboards.records import BROKEN, BROKEN_RATIO, JOB_ENDED, REORDERED, STREAMS
from streamwatch.cli.dashboards.filling import OBJECTIVE
from streamwatch.core.stream_cases import ANY_FAULT, BY_KIND
from streamwatch.core.vocabulary import Condition, Severity
from streamwatch.export.instruments import DURATION, TIME_TO_FIRST_CHUNK, Instrument

#: From where on a share of broken streams is amber, and red: one stream in a hundred is what an error budget
#: usually allows, five are what users tell each other about.
BROKEN_COLOR = ((None, GREEN), (0.01, AMBER), (0.05, VERMILION))
#: The share of streams that may break.
_BUDGET = f"(1 - {OBJECTIVE:g})"
#: Rows that can be read at a glance.
_TOP = 6


def dashboard() -> d.Dashboard:
    """The first one to open, and the one alerts link to."""
    return build(
        "Overview",
        "streamwatch-overview",
        "Are the streams that the OpenAI client reads healthy, and if not: what is wrong, and where?",
        [
            Row("", _answer()),
            Row("What is wrong", [_faults(), _out_of_order()]),
            Row("Traffic, faults and time", _over_time()),
            Row("Where", _where()),
            Row("Alerts", [_alerts()]),
        ],
    )


def _top(title: str, advice: str, page: str, query: str, unit: str = units.PercentUnit, **look: Any) -> Panel:
    """One number of the first row, with what it was before."""
    return number(title, advice, page, Query(query), unit, **{"size": (6, 4), "trend": True, **look})


def _of_condition(condition: Condition) -> str:
    one = q.counted(STREAMS, where=(f'streamwatch_condition="{condition.value}"',))
    return q.ratio(one, q.counted(STREAMS))


def _traffic_and_faults() -> list[Panel]:
    return [
        _top(
            "Streams",
            "Streams that ended in the range. None: no request was made, or no metrics come; see Streamwatch / Agent.",
            "StreamwatchAbsent",
            q.counted(STREAMS),
            units.LocaleFormat,
            decimals=0,
        ),
        _top(
            "Broken",
            "Share of streams in which a fault reached the application, or that were truncated, empty or ended in an "
            "error. See What is wrong, then Where: one model, server or SDK version mostly stands out.",
            "StreamwatchUnrepairedFaults",
            _of_condition(Condition.BROKEN),
            color=BROKEN_COLOR,
            decimals=1,
        ),
        _top(
            "Repaired",
            "Share of streams whose faults were all repaired before the application saw them. Report them to whoever "
            "runs the server: the repair works, the server does not.",
            "StreamwatchErrorBudgetBurn",
            _of_condition(Condition.REPAIRED),
            color=((None, BLUE),),
            decimals=1,
        ),
        _top(
            "Fix rate",
            "Of the streams in which something went wrong, the share that reached the application whole; what cannot "
            "be repaired is among them. Low: see which kind in Streamwatch / Fix rates.",
            "StreamwatchFixRateBelowPublished",
            q.ratio(*(q.cases((ANY_FAULT,), where=how) for how in ((q.APPLIED, q.FIXED), (q.APPLIED,)))),
            color=((None, BLUE),),
            decimals=1,
        ),
    ]


def _answer() -> list[Panel]:
    budget = "StreamwatchErrorBudgetBurn"
    spent = f"sum({q.recorded(BROKEN + '3d')}) / (sum({q.recorded(JOB_ENDED + '3d')}) > 0) / {_BUDGET}"
    return [
        *_traffic_and_faults(),
        _top(
            "First chunk, p95",
            "One stream in twenty waits longer for its first chunk. Up while the duration is not: the server queues.",
            budget,
            q.range_quantile(0.95, TIME_TO_FIRST_CHUNK),
            units.Seconds,
            color=((None, BLUE),),
            decimals=2,
        ),
        _top(
            "Duration, p95",
            "One stream in twenty takes longer. It grows with the length of answers: compare like with like.",
            budget,
            q.range_quantile(0.95, DURATION),
            units.Seconds,
            color=((None, BLUE),),
            decimals=1,
        ),
        _top(
            "Error budget used, 3 days",
            f"Share of what three days may spend of the error budget: {OBJECTIVE:.0%} of the streams shall end usable. "
            "Above 100 %: more was broken than the objective allows.",
            budget,
            spent,
            color=((None, GREEN), (0.8, AMBER), (1, VERMILION)),
            decimals=0,
        ),
        _top(
            "Alerts firing",
            "Alerts of Streamwatch that fire now. Each has a runbook; they are listed at the bottom.",
            budget,
            f"count({q.alerts('firing')}) or vector(0)",
            units.Short,
            color=((None, GREEN), (1, VERMILION)),
            decimals=0,
            trend=False,
        ),
    ]


def _traffic() -> Panel:
    streams = f"60 * {q.over_time(STREAMS, 'streamwatch_condition')} / ($__interval_ms / 1000)"
    return lines(
        "Streams per minute, by how they ended",
        "All traffic. Less than there should be: see by job below, then Streamwatch / Agent.",
        "StreamwatchAbsent",
        [Query(streams, "{{streamwatch_condition}}")],
        units.Short,
        stacked=True,
    )


def _shares() -> Panel:
    touched = f'streamwatch_condition!="{Condition.CLEAN.value}"'
    touched_shares = q.over_time(STREAMS, "streamwatch_condition", where=(touched,))
    shares = f"{touched_shares} / on () group_left () {q.over_time(STREAMS)}"
    return lines(
        "Streams repaired or broken",
        "Shares of streams; the rest is clean. A step in broken that begins at an annotation is a "
        "release: compare before and after in Streamwatch / Fix rates.",
        "StreamwatchErrorBudgetBurn",
        [Query(shares, "{{streamwatch_condition}}")],
        units.PercentUnit,
        stacked=True,
    )


def _seconds(title: str, row: Instrument, advice: str) -> Panel:
    colors = {50: GREEN, 95: BLUE}
    queries = [Query(q.quantile(percent / 100, row), f"p{percent}") for percent in colors]
    panel = lines(title, advice, "StreamwatchErrorBudgetBurn", queries, units.Seconds, size=(8, 8))
    for percent, color in colors.items():
        panel = drawn(panel, f"p{percent}", color)
    return panel


def _burn() -> Panel:
    return lines(
        "Error budget burn, by job",
        "How many times as fast as the objective allows streams broke in the last hour. At 1 the budget lasts exactly; "
        "an alert wakes somebody above 14.4, and from 6 on where it lasts six hours.",
        "StreamwatchErrorBudgetBurn",
        [Query(f"max by (job) ({q.recorded(BROKEN_RATIO + '1h')}) / {_BUDGET}", "{{job}}")],
        units.Short,
        size=(8, 8),
    )


def _over_time() -> list[Panel]:
    return [
        _traffic(),
        _shares(),
        _seconds(
            "Time to first chunk",
            TIME_TO_FIRST_CHUNK,
            "From the request to the first chunk: what a user feels. By trace in Streamwatch / Stream anatomy.",
        ),
        _seconds(
            "Duration",
            DURATION,
            "From the request to the end. Both up: the model or its server; this alone: longer answers.",
        ),
        _burn(),
    ]


def _out_of_order() -> Panel:
    label = "gen_ai_request_model"
    ratio = q.recorded(f"{REORDERED}15m")
    return lines(
        "Out of order: the reorder spike, per 100 streams",
        "How often events overtook each other in the last 15 minutes, by model. A spike of one is the vendor's or its "
        "route's; of all of them it is your proxy or load balancer.",
        "StreamwatchReorderSpike",
        [Query(f"100 * topk(8, max by ({label}) ({ratio}))", f"{{{{{label}}}}}")],
        units.Short,
    )


def _faults() -> Panel:
    label = "streamwatch_issue"
    faults = tuple(row for row in BY_KIND.values() if row.severity is Severity.FAULT)
    chosen = 'streamwatch_issue=~"$kind"'
    most = f"topk({_TOP}, {q.cases(faults, label, where=(chosen,))} > 0)"
    fixed, all_ = (q.cases(faults, label, where=(chosen, *how)) for how in ((q.APPLIED, q.FIXED), (q.APPLIED,)))
    return rows(
        f"Faults by kind, the {_TOP} most frequent",
        "What goes wrong in most streams of the range. Click on a kind for what it means, and what to do. "
        "At 0 %: it has no repair, or the repair is off.",
        "StreamwatchUnrepairedFaults",
        {label: "Kind"},
        [
            Column("Streams", most),
            Column("Per 100 streams", f"100 * {most} / on () group_left () {q.counted(STREAMS)}", decimals=1),
            share("Fix rate", f"{q.ratio(fixed, all_)} and {most}"),
        ],
        size=(12, 8),
        sort="Streams",
        links={"Kind": runbook("kinds/${__value.raw}")},
    )


def _table(title: str, advice: str, label: str, header: str, *more: Column) -> Panel:
    streams, broken, repaired = (
        q.counted(STREAMS, label, where=how) for how in ((), (q.BROKEN,), ('streamwatch_condition="repaired"',))
    )
    columns = [
        share("Broken", q.ratio(broken, streams)),
        end("At least", q.wilson(broken, streams, "-"), BROKEN_COLOR),
        share("Repaired", q.ratio(repaired, streams)),
        *more,
        Column("Streams", streams),
    ]
    description = (
        f"Broken streams, worst first. {advice} `At least` is the lower end of the 95 % interval: few streams prove "
        "little, so the table is sorted by it."
    )
    return rows(
        title, description, "StreamwatchErrorBudgetBurn", {label: header}, columns, size=(12, 7), sort="At least"
    )


def _waits(label: str) -> Column:
    return Column("First chunk p95", q.range_quantile(0.95, TIME_TO_FIRST_CHUNK, label), units.Seconds, 2)


def _where() -> list[Panel]:
    return [
        _table("By job", "If one job stands out, look at its last release.", "job", "Job", _waits("job")),
        _table(
            "By model",
            "If one model stands out, look at its snapshots in Streamwatch / Fix rates.",
            "gen_ai_request_model",
            "Model",
            _waits("gen_ai_request_model"),
        ),
        _table("By server", "If one server stands out, look at what stands before it.", "server_address", "Server"),
        _table(
            "By SDK version",
            "If one version stands out, hold its rollout.",
            "streamwatch_openai_version",
            "openai",
        ),
    ]


def _alerts() -> Panel:
    listed = q.alerts("firing|pending")
    keys = {"job": "Job", "alertname": "Alert", "alertstate": "State", "severity": "Severity"}
    return rows(
        "Alerts firing or pending",
        "Click on an alert for its runbook. Empty is good; empty also where the rules are not loaded, see "
        "`dashboards/rules`.",
        "StreamwatchErrorBudgetBurn",
        keys,
        [Column("Series", f"count by ({', '.join(keys)}) ({listed})")],
        size=(24, 7),
        nothing="no alert",
        links={"Alert": runbook("${__value.raw}")},
    )
