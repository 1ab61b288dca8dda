"""Streamwatch / Fix rates: what do repairs come to here, beside the figures that are published?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import units

from dashboards import promql as q
from dashboards.frame import Row, build
from dashboards.panels import (
    AMBER,
    BLUE,
    GRAY,
    GREEN,
    RUNBOOKS,
    VERMILION,
    Column,
    Panel,
    Query,
    drawn,
    end,
    lines,
    matrix,
    prose,
    rows,
    share,
)
from streamwatch.core.kinds import Outcome, Strategy
from streamwatch.core.known_issues import ISSUES, ORDER_MISMATCH, Issue
from streamwatch.export.telemetry import PUBLISHED, REPAIRS

_PAGE = "StreamwatchFixRateBelowPublished"
_ISSUE, _STRATEGY = "streamwatch_issue", "streamwatch_strategy"
#: A fix rate is red below four in five: nobody publishes a workaround that does worse.
_FIX_COLOR = ((None, VERMILION), (0.8, AMBER), (0.95, GREEN))
#: Anomalies from which on a cell is shown with a color: the interval is then 17 points to each side at most.
_ENOUGH = 30
_VERDICT = (((-1, -1), "worse", VERMILION), ((-0.9999, 0.9999), "no difference shown", GRAY), ((1, 1), "better", GREEN))
_ALL = q.kinds_of(*ISSUES)


def dashboard() -> d.Dashboard:
    """The measured figures, and how sure they are."""
    return build(
        "Fix rates",
        "streamwatch-fix-rates",
        "What repairs come to in this production, beside the figures that are published for the known issues.",
        [
            Row("", [_issues(), *(_over_time(issue) for issue in ISSUES), _words()]),
            Row("Repairs", [_strategies(), _kinds(), _outcomes()]),
            Row("Model snapshot and SDK version", [*_matrices()]),
            Row("Before and after a release", [_before_and_after(), _by_version(), _shadow()]),
            Row("Workarounds that are measured rather than applied", [_servers(), _dead_ends()]),
        ],
        compares=True,
    )


def _published(strategy: str = "") -> str:
    """What is published for the issues as a whole, or for each of their workarounds."""
    matcher = f'{_STRATEGY}="{strategy}"' if strategy else f'{_STRATEGY}!="any"'
    return f"max by ({_ISSUE}{'' if strategy else f', {_STRATEGY}'}) ({q.selector(PUBLISHED, matcher)})"


def _compared(part: str, whole: str, published: str, on: str) -> list[Column]:
    """Published, measured, the interval, and whether that is a difference."""
    return [
        share("Published", published),
        share("Measured", q.ratio(part, whole)),
        end("At least", q.wilson(part, whole, "-")),
        end("At most", q.wilson(part, whole, "+")),
        Column("Against published", q.distance(part, whole, published, on), words=_VERDICT),
        Column("Anomalies", f"{whole} > 0"),
    ]


def _issues() -> Panel:
    chosen = (_ALL, q.APPLIED)
    part = q.by_issue(q.repairs(*chosen, q.FIXED, without=("kind",)))
    whole = q.by_issue(q.repairs(*chosen, without=("kind",)))
    return rows(
        "Known issues: measured beside published",
        "The share of anomalies repaired, of the kinds that make up each known issue. `Worse` is said only when even "
        "the upper end of the 95 % interval is below the published figure: then open the runbook.",
        _PAGE,
        {_ISSUE: "Known issue"},
        _compared(part, whole, _published("any"), _ISSUE),
        size=(24, 5),
    )


def _words() -> Panel:
    content = (
        "**Fix rate** = repaired / found, of kinds that have a repair.\n\n"
        "**At least, at most** hold the true rate 95 times in 100. Few streams make a wide interval, and that is no "
        "verdict.\n\n"
        "**Published** figures are estimates, the same everywhere."
    )
    return prose("How to read this", content, (6, 8), _PAGE)


def _over_time(issue: Issue) -> Panel:
    series = q.repairs(q.kinds_of(issue), q.APPLIED, without=("kind",))
    fixed = q.repairs(q.kinds_of(issue), q.APPLIED, q.FIXED, without=("kind",))
    part, whole = q.total(fixed, over=q.RATE_INTERVAL), q.total(series, over=q.RATE_INTERVAL)
    named = (f'{_ISSUE}="{issue.name}"', f'{_STRATEGY}="any"')
    panel = lines(
        f"{issue.error.split(' - ')[0]}: fix rate",
        f"`{issue.name}`, published at {issue.fix_ratio:.0%}. The band is the 95 % interval of what was found in each "
        "step. The band wholly below the dashed line: the repair does worse here than elsewhere; open the runbook.",
        _PAGE,
        [
            Query(q.wilson(part, whole, "+"), "at most"),
            Query(q.ratio(part, whole), "measured"),
            Query(q.wilson(part, whole, "-"), "at least"),
            Query(f"max({q.selector(PUBLISHED, *named)})", "published"),
        ],
        units.PercentUnit,
        size=(9, 8),
        maximum=1,
    )
    panel = drawn(panel, "at most", BLUE, fill_to="at least", width=0)
    panel = drawn(panel, "at least", BLUE, width=0)
    return drawn(drawn(panel, "measured", BLUE), "published", AMBER, dashed=True)


def _strategies() -> Panel:
    by = (_STRATEGY,)
    part = q.by_issue(q.repairs(_ALL, q.APPLIED, q.FIXED, without=("kind",)), *by)
    whole = q.by_issue(q.repairs(_ALL, q.APPLIED, without=("kind",)), *by)
    columns = _compared(part, whole, _published(), f"{_ISSUE}, {_STRATEGY}")
    return rows(
        "By workaround: measured beside published",
        "One row for each published workaround and each strategy that was used. Workarounds in words cannot be "
        "applied by Streamwatch; the last section measures them. No published figure: nobody published one.",
        _PAGE,
        {_ISSUE: "Known issue", _STRATEGY: "Workaround"},
        columns,
        size=(24, 10),
        widths={"Known issue": 290},
    )


def _kinds() -> Panel:
    part, whole = (q.total(q.repairs(*more), "streamwatch_anomaly") for more in ((q.APPLIED, q.FIXED), (q.APPLIED,)))
    failed = f'streamwatch_outcome="{Outcome.FAILED.value}"'
    return rows(
        "By kind",
        "What is repaired least comes first. `Failed`: evidence in the stream contradicts the repair, or it ran out "
        "of window. Not fixed and not failed: the policy is off for the kind, see its page.",
        _PAGE,
        {"streamwatch_anomaly": "Kind"},
        [
            share("Fix rate", q.ratio(part, whole)),
            end("At least", q.wilson(part, whole, "-")),
            Column("Failed", f"{q.total(q.repairs(q.APPLIED, failed), 'streamwatch_anomaly')} or 0 * {whole}"),
            Column("Found", f"{whole} > 0"),
        ],
        size=(12, 10),
        links={"Kind": f"{RUNBOOKS}/kinds/${{__value.raw}}.md"},
    )


def _matrices() -> tuple[Panel, Panel]:
    by = ("gen_ai_response_model", "streamwatch_openai_version")
    chosen = (q.APPLIED, q.NO_HAZARDS)
    part, whole = q.total(q.repairs(*chosen, q.FIXED), *by), q.total(q.repairs(*chosen), *by)
    down = (by[0], "Snapshot")
    measured = share("Fix rate", f"{q.ratio(part, whole)} and {whole} >= {_ENOUGH}", _FIX_COLOR)
    return (
        matrix(
            f"Fix rate, where there are {_ENOUGH} anomalies",
            "For each model snapshot (down) and SDK version (across). One red column: hold that SDK version. One red "
            "row: pin the snapshot before it. A dash: too few to tell.",
            _PAGE,
            down,
            by[1],
            measured,
            size=(12, 7),
        ),
        matrix(
            "Anomalies behind it",
            "How many faults and dialects with a repair each cell of the table to the left stands on. Few: give it "
            "more time before you act.",
            _PAGE,
            down,
            by[1],
            Column("Found", f"{whole} > 0"),
            size=(12, 7),
        ),
    )


def _before_and_after() -> Panel:
    label = "gen_ai_response_model"

    def fix(offset: str) -> str:
        return q.ratio(
            q.increase(q.repairs(q.APPLIED, q.NO_HAZARDS, q.FIXED), label, offset=offset),
            q.increase(q.repairs(q.APPLIED, q.NO_HAZARDS), label, offset=offset),
        )

    def broken(offset: str) -> str:
        return q.ratio(
            q.increase(q.streams(q.BROKEN), label, offset=offset), q.increase(q.streams(), label, offset=offset)
        )

    return rows(
        "The range, and as long a time $before earlier",
        "Choose a range that begins at a release, and `Compare with` so that the other one ends before it. A fix rate "
        "that fell or a broken share that rose with the release: roll it back.",
        _PAGE,
        {label: "Snapshot"},
        [
            share("Fix rate before", fix("$before")),
            share("Fix rate", fix("")),
            share("Broken before", broken("$before")),
            share("Broken", broken("")),
            Column("Streams before", q.increase(q.streams(), label, offset="$before")),
            Column("Streams", q.increase(q.streams(), label)),
        ],
        size=(24, 7),
    )


def _by_version() -> Panel:
    label = "streamwatch_openai_version"
    chosen = (q.APPLIED, q.NO_HAZARDS)
    share_fixed = f"{q.step(REPAIRS, label, where=(*chosen, q.FIXED))} / {q.step(REPAIRS, label, where=chosen)}"
    expression = f"{share_fixed} and {q.most(q.streams(), label)}"
    return lines(
        "Fix rate by SDK version",
        "The lines of two versions side by side during a rollout are the fairest comparison: same traffic, same time. "
        "The new one lower: hold the rollout.",
        _PAGE,
        [Query(expression, "openai {{streamwatch_openai_version}}")],
        units.PercentUnit,
        size=(12, 7),
        maximum=1,
    )


def _shadow() -> Panel:
    label = "streamwatch_applied"
    part, whole = q.total(q.repairs(q.NO_HAZARDS, q.FIXED), label), q.total(q.repairs(q.NO_HAZARDS), label)
    return rows(
        "Repairs applied, and repairs tried in the shadow",
        "With `STREAMWATCH_REPAIR=none` repairs run on a copy, and what they would have come to is counted as not "
        "applied. `At least` high enough for you: switch repairs on.",
        _PAGE,
        {label: "Applied"},
        [
            share("Fix rate", q.ratio(part, whole)),
            end("At least", q.wilson(part, whole, "-")),
            Column("Anomalies", f"{whole} > 0"),
        ],
        size=(12, 7),
    )


def _outcomes() -> Panel:
    other = f'streamwatch_outcome!="{Outcome.VERIFIED.value}"'
    shares = f"{q.step(REPAIRS, 'streamwatch_outcome', where=(other, q.NO_HAZARDS))}"
    shares += f" / on () group_left () {q.step(REPAIRS, where=(q.NO_HAZARDS,))}"
    return lines(
        "Repairs that were not proved right",
        "Shares of all; the rest is verified: the stream itself agrees. Unverified: nothing in it can tell. Failed: it "
        "contradicts, or the window was too small. Unrepaired: the policy is off, or nothing could be done.",
        _PAGE,
        [Query(shares, "{{streamwatch_outcome}}")],
        units.PercentUnit,
        size=(12, 10),
        stacked=True,
    )


def _servers() -> Panel:
    label = "server_address"
    found = q.total(q.anomalies(q.kinds_of(ORDER_MISMATCH), without=("kind",)), label)
    streams = q.total(q.streams(), label)
    each = q.ratio(found, streams)
    measured_only = (f"{name} ({ratio:.0%})" for name, ratio in ORDER_MISMATCH.workarounds if name not in set(Strategy))
    return rows(
        "Order anomalies by server",
        "Send a part of the traffic by another way, and compare its server with the old one: `Fewer than the worst` is "
        f"the measured fix rate of that way. Published: {', '.join(measured_only)}.",
        "StreamwatchReorderSpike",
        {label: "Server"},
        [
            Column("Per 100 streams", f"100 * {each}", decimals=1),
            share("Fewer than the worst", f"1 - ({each}) / on () group_left () (max({each}) > 0)"),
            Column("Streams", streams),
        ],
        size=(12, 9),
        sort="Per 100 streams",
    )


def _dead_ends() -> Panel:
    parts = []
    for issue in ISSUES:
        words = [f"{name} ({ratio:.0%})" for name, ratio in issue.workarounds if name not in set(Strategy)]
        ends = [f"{name} (fails in {ratio:.0%})" for name, ratio in issue.dead_ends]
        parts.append(
            f"**{issue.error}**\n- Can be measured, not applied: {'; '.join(words)}\n- Dead ends: {'; '.join(ends)}"
        )
    content = "\n\n".join((*parts, "Figures are published estimates. A dead end costs a release and repairs little."))
    return prose("What does not help", content, (12, 9), _PAGE)
