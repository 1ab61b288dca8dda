"""Streamwatch / Overview: is it healthy, and if not, where?"""

from __future__ import annotations

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
    end,
    lines,
    number,
    on_the_right,
    rows,
    runbook,
    share,
)
from dashboards.records import ANOMALIES, REORDERED, STREAMS
from streamwatch.core.stream_cases import ANY_FAULT, BY_KIND
from streamwatch.core.vocabulary import Condition, Severity

#: From where on a share of broken streams is amber, and red: one stream in a hundred is what an error budget
#: usually allows, five are what users tell each other about.
BROKEN_COLOR = ((None, GREEN), (0.01, AMBER), (0.05, VERMILION))
#: Rows that can be read at a glance.
_TOP = 6


def dashboard() -> d.Dashboard:
    """The first one to open, and the one alerts link to."""
    return build(
        "Overview",
        "streamwatch-overview",
        "Are the streams that the OpenAI client reads healthy, and if not: what is wrong, and where?",
        [Row("", _answer()), Row("What is wrong", _what()), Row("Where", _where()), Row("Alerts", [_alerts()])],
    )


def _condition(condition: Condition, means: str, color: str, page: str) -> Panel:
    one = q.counted(STREAMS, where=(f'streamwatch_condition="{condition.value}"',))
    steps = BROKEN_COLOR if condition is Condition.BROKEN else ((None, color),)
    query = Query(q.ratio(one, q.counted(STREAMS)))
    return number(f"{condition.value.capitalize()} streams", means, page, query, color=steps, decimals=1)


def _streams() -> Panel:
    return number(
        "Streams",
        "Streams that ended in the range. None: no request was made, or the endpoint on port 9464 is not scraped; "
        "see Streamwatch / Agent.",
        "StreamwatchAbsent",
        Query(q.counted(STREAMS)),
        units.LocaleFormat,
        size=(3, 4),
        decimals=0,
    )


def _repaired() -> Panel:
    return _condition(
        Condition.REPAIRED,
        "Streams whose faults were all repaired before the application saw them. Report them to whoever runs "
        "the server: the repair works, the server does not.",
        BLUE,
        "StreamwatchErrorBudgetBurn",
    )


def _broken() -> Panel:
    return _condition(
        Condition.BROKEN,
        "Streams in which a fault reached the application, or that were truncated, empty or ended in an error. "
        "Go down to Where: one model, server or SDK version mostly stands out.",
        VERMILION,
        "StreamwatchUnrepairedFaults",
    )


def _fix_rate() -> Panel:
    return number(
        "Fix rate",
        "Of the streams in which something went wrong, the share that reached the application whole; what cannot be "
        "repaired is among them. Low: see which kind in Streamwatch / Fix rates; `STREAMWATCH_REPAIR` may be off.",
        "StreamwatchFixRateBelowPublished",
        Query(q.ratio(*(q.cases((ANY_FAULT,), where=how) for how in ((q.APPLIED, q.FIXED), (q.APPLIED,))))),
        color=((None, BLUE),),
        size=(3, 4),
        decimals=1,
    )


def _proved_right() -> Panel:
    verified, decided = (q.cases((ANY_FAULT,), where=(q.APPLIED, how)) for how in (q.VERIFIED, q.DECIDED))
    return number(
        "Verified rate",
        "Of the streams whose repair the rest of the stream can judge, the share it agrees with. Below 100 %: look at "
        "the kinds with outcome `failed` before trusting the repair.",
        "StreamwatchFixRateBelowPublished",
        Query(q.ratio(verified, decided)),
        color=((None, VERMILION), (0.8, AMBER), (0.95, GREEN)),
        size=(3, 4),
        decimals=1,
    )


def _alerts_firing() -> Panel:
    return number(
        "Alerts firing",
        "Alerts of Streamwatch that fire now. Each has a runbook; they are listed at the bottom.",
        "StreamwatchErrorBudgetBurn",
        Query(f"count({q.alerts('firing')}) or vector(0)"),
        units.Short,
        color=((None, GREEN), (1, VERMILION)),
        size=(3, 4),
        decimals=0,
    )


def _answer() -> list[Panel]:
    return [
        _streams(),
        _condition(Condition.CLEAN, "Streams without a fault. Nothing to do.", GREEN, "StreamwatchErrorBudgetBurn"),
        _repaired(),
        _broken(),
        _fix_rate(),
        _proved_right(),
        _alerts_firing(),
    ]


def _streams_repaired_or_broken() -> Panel:
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


def _anomalies_by_severity() -> Panel:
    found, streams = q.over_time(ANOMALIES, "streamwatch_severity"), q.over_time(STREAMS)
    per_stream = f"100 * {found} / on () group_left () {streams}"
    return on_the_right(
        lines(
            "Anomalies by severity, per 100 streams",
            "Faults lose or corrupt data, or make the SDK raise: act on these. Dialects and hazards are how "
            "servers differ: nearly every healthy stream has some hazards, so they have the scale on the right.",
            "StreamwatchNewAnomalyKind",
            [Query(per_stream, "{{streamwatch_severity}}")],
            units.Short,
        ),
        Severity.HAZARD.value,
    )


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


def _what() -> list[Panel]:
    return [_streams_repaired_or_broken(), _anomalies_by_severity(), _out_of_order(), _faults()]


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


def _table(title: str, advice: str, label: str, header: str) -> Panel:
    streams, broken = q.grown(q.streams(), label), q.grown(q.streams(q.BROKEN), label)
    columns = [
        share("Broken", q.ratio(broken, streams)),
        end("At least", q.wilson(broken, streams, "-"), BROKEN_COLOR),
        Column("Streams", streams),
    ]
    description = (
        f"Broken streams, worst first. {advice} `At least` is the lower end of the 95 % interval: few streams prove "
        "little, so the table is sorted by it."
    )
    return rows(
        title, description, "StreamwatchErrorBudgetBurn", {label: header}, columns, size=(8, 8), sort="At least"
    )


def _where() -> list[Panel]:
    return [
        _table(
            "By model",
            "If one model stands out, look at its snapshots in Streamwatch / Fix rates.",
            "gen_ai_request_model",
            "Model",
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
        size=(24, 5),
        nothing="no alert",
        links={"Alert": runbook("${__value.raw}")},
    )
