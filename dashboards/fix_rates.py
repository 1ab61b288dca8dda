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
    VERMILION,
    Column,
    Panel,
    Query,
    drawn,
    end,
    lines,
    matrix,
    number,
    rows,
    runbook,
    share,
    unnamed,
)
from dashboards.records import CASES, STREAMS
from streamwatch.core.known_issues import ISSUES, ORDER_MISMATCH
from streamwatch.core.stream_cases import (
    ANY_FAULT,
    BY_KIND,
    BY_STRATEGY,
    CONTENT,
    FEWEST_CASES,
    KNOWN,
    ORDER,
    CaseDefinition,
)
from streamwatch.core.vocabulary import Outcome, Severity, Strategy
from streamwatch.export.instruments import PUBLISHED

_PAGE = "StreamwatchFixRateBelowPublished"
_ISSUE, _STRATEGY = "streamwatch_issue", "streamwatch_strategy"
#: A fix rate is red below four in five: nobody publishes a workaround that does worse.
_FIX_COLOR = ((None, VERMILION), (0.8, AMBER), (0.95, GREEN))
_VERDICT = (((-1, -1), "worse", VERMILION), ((-0.9999, 0.9999), "no difference shown", GRAY), ((1, 1), "better", GREEN))
#: Widths of an interval: at the first the figure can be believed, beyond the second it says nothing.
_NARROW, _WIDE = 0.1, 0.3
#: What a published figure is compared with: streams of the same definition.
_FAULTS = tuple(definition for definition in KNOWN if definition.severity is Severity.FAULT)


def dashboard() -> d.Dashboard:
    """Return the measured figures, and how sure they are."""
    return build(
        "Fix rates",
        "streamwatch-fix-rates",
        "What repairs come to in this production, beside the figures that are published for the known issues.",
        [
            Row("", [*_answer(), _jobs(), _issues(), *map(_over_time, _FAULTS)]),
            Row("Hazards defused, and what cannot be repaired", [_hazards(), _not_repairable()]),
            Row("Repairs", [_workarounds(), _strategies(), _kinds(), _outcomes()]),
            Row("Model snapshot and SDK version", [*_matrices()]),
            Row("Before and after a release", [_before_and_after(), _by_version(), _shadow()]),
            Row("Workarounds that are measured rather than applied", [_servers()]),
        ],
        compares=True,
    )


def _published(strategy: str = "") -> str:
    """Return what is published for the issues as a whole, or for each of their workarounds."""
    matcher = f'{_STRATEGY}="{strategy}"' if strategy else f'{_STRATEGY}!="any"'
    known = f'{_ISSUE}=~"{"|".join(issue.name for issue in ISSUES)}"'
    return f"max by ({_ISSUE}{'' if strategy else f', {_STRATEGY}'}) ({q.selector(PUBLISHED, known, matcher)})"


def _figures(definitions: tuple[CaseDefinition, ...]) -> str:
    """Return what is published for each definition, under its own name."""
    parts = (
        q.selector(PUBLISHED, f'{_ISSUE}="{row.name}"', f'{_STRATEGY}="{row.published[0]}"')
        for row in definitions
        if row.published
    )
    return f"max by ({_ISSUE}) ({' or '.join(parts)})"


def _compared(part: str, whole: str, published: str, on: str) -> list[Column]:
    """Return published, measured, the interval, and whether they differ, where there are enough cases."""
    enough = f"{q.distance(part, whole, published, on)} and on ({on}) {whole} >= {FEWEST_CASES}"
    return [
        share("Published", published),
        *_measured(part, whole),
        Column("Against published", enough, words=_VERDICT),
        Column("Cases", f"{whole} > 0"),
    ]


def _measured(part: str, whole: str, header: str = "Measured") -> list[Column]:
    """Return a fix rate, and its interval."""
    return [
        share(header, q.ratio(part, whole)),
        end("At least", q.wilson(part, whole, "-")),
        end("At most", q.wilson(part, whole, "+")),
    ]


def _pair(definitions: tuple[CaseDefinition, ...], *by: str) -> tuple[str, str]:
    """Return cases that reached the application whole, and all cases."""
    return (
        q.cases(definitions, *by, where=(q.APPLIED, q.FIXED)),
        q.cases(definitions, *by, where=(q.APPLIED,)),
    )


def _pair_over_time(definition: CaseDefinition, *by: str) -> tuple[str, str]:
    """Return the same for each point of a graph, where there are cases enough."""
    issue = f'{_ISSUE}="{definition.name}"'
    part, whole = (q.over_time(CASES, *by, where=(issue, q.APPLIED, *how), over=q.WINDOW) for how in ((q.FIXED,), ()))
    return part, f"({whole} >= {FEWEST_CASES})"


def _answer() -> list[Panel]:
    """Return the headline: what the fix rate is, and whether it can be believed."""
    part, whole = _pair((ANY_FAULT,))
    low, high = q.wilson(part, whole, "-"), q.wilson(part, whole, "+")
    return [
        number(
            "Fix rate",
            "Of the streams in which something went wrong, how many reached the application whole. What cannot be "
            "repaired counts as broken; hazards do not count. Low: see the kinds below.",
            _PAGE,
            Query(q.ratio(part, whole)),
            color=_FIX_COLOR,
            size=(5, 4),
            decimals=1,
        ),
        _end("At least", "lower", "Decide by this one.", low),
        _end("At most", "upper", "Below a figure that was promised: the promise is not kept.", high),
        _believed(f"{high} - {low}"),
        _count("Went wrong", "in which something went wrong: what the rate stands on", whole, _PAGE),
        _count("Of streams", "whole or not", q.counted(STREAMS), "StreamwatchAbsent"),
    ]


def _end(title: str, which: str, advice: str, expression: str) -> Panel:
    means = f"The {which} end of the interval that holds the true rate 95 times in 100. {advice}"
    return number(title, means, _PAGE, Query(expression), size=(4, 4), decimals=1)


def _believed(width: str) -> Panel:
    return number(
        "Can it be believed?",
        f"Yes: the interval is {_NARROW:.0%} wide or less. Roughly: {_WIDE:.0%} or less. Not yet: there are too "
        "few streams; choose a longer range.",
        _PAGE,
        Query(width),
        size=(5, 4),
        words=(
            ((0, _NARROW), "yes", GREEN),
            ((_NARROW, _WIDE), "roughly", AMBER),
            ((_WIDE, 1), "not yet", VERMILION),
        ),
    )


def _count(title: str, which: str, expression: str, page: str) -> Panel:
    means = f"Streams of the range, {which}. Few: choose a longer range."
    return number(title, means, page, Query(expression), units.LocaleFormat, size=(3, 4), decimals=0)


def _jobs() -> Panel:
    part, whole = _pair((ANY_FAULT,), "job")
    return rows(
        "Of the streams in which something went wrong: how many reached the application whole, by job",
        "Repaired / (repaired + broken). A job with repairs off is not here: see `Repairs tried in the shadow` below. "
        "If one job is low, choose it above, and see which kind it is.",
        _PAGE,
        {"job": "Job"},
        [*_measured(part, whole), Column("Streams", f"{whole} > 0")],
        size=(24, 5),
    )


def _issues() -> Panel:
    part, whole = _pair(_FAULTS, _ISSUE)
    return rows(
        "Known issues: measured beside published",
        "The share of streams with the issue that reached the application whole. `Worse` is said of "
        f"{FEWEST_CASES} cases or more, and only when even the upper end of the 95 % interval is below the published "
        "figure: then open the runbook.",
        _PAGE,
        {_ISSUE: "Known issue"},
        _compared(part, whole, _figures(_FAULTS), _ISSUE),
        size=(24, 5),
    )


def _hazards() -> Panel:
    part, whole = _pair((CONTENT,), _ISSUE)
    return rows(
        "Hazards defused",
        "Streams with a delta whose content is absent or null: legal, in most healthy streams, and naive code raises "
        "KeyError: 'content' on them. They are part of no rate of faults. If it is low, `STREAMWATCH_REPAIR` is off.",
        _PAGE,
        {_ISSUE: "Hazard"},
        [
            share("Published", _figures((CONTENT,))),
            share("Defused", q.ratio(part, whole)),
            end("At least", q.wilson(part, whole, "-")),
            Column("Streams", f"{whole} > 0"),
        ],
        size=(14, 7),
    )


def _not_repairable() -> Panel:
    kinds = tuple(row for kind, row in BY_KIND.items() if kind.strategy is Strategy.NONE)
    return rows(
        "What cannot be repaired, by kind",
        "Streams with a fault that nothing on the wire could repair: look at the server, or at what stands before it. "
        "They count as broken in the first table.",
        "StreamwatchUnrepairedFaults",
        {_ISSUE: "Kind"},
        [Column("Streams", f"{q.cases(kinds, _ISSUE, where=(q.APPLIED,))} > 0")],
        size=(10, 7),
        sort="Streams",
        links={"Kind": runbook("kinds/${__value.raw}")},
    )


def _over_time(definition: CaseDefinition) -> Panel:
    part, whole = _pair_over_time(definition)
    title = definition.known.error.split(" - ")[0] if definition.known else definition.name.replace("_", " ")
    figure = definition.published[1] if definition.published else 0
    panel = lines(
        f"{title[0].upper()}{title[1:]}: fix rate",
        f"`{definition.name}`, published at {figure:.0%}. The band is the 95 % interval of the cases of the last "
        f"$window; fewer than {FEWEST_CASES}: no line. Wholly below the dashed line: the repair does worse here; open "
        "the runbook.",
        _PAGE,
        [
            Query(q.wilson(part, whole, "+"), "at most"),
            Query(q.ratio(part, whole), "measured"),
            Query(q.wilson(part, whole, "-"), "at least"),
            Query(f"max({_figures((definition,))})", "published"),
        ],
        units.PercentUnit,
        size=(12, 8),
        maximum=1,
    )
    panel = drawn(panel, "at most", BLUE, fill_to="at least", width=0)
    panel = unnamed(drawn(panel, "at least", BLUE, width=0), "at most", "at least")
    return drawn(drawn(panel, "measured", BLUE), "published", AMBER, dashed=True)


def _workarounds() -> Panel:
    part, whole = q.by_workaround(q.APPLIED, q.FIXED), q.by_workaround(q.APPLIED)
    return rows(
        "By workaround: measured beside published",
        "One row for each published workaround; those that Streamwatch applies are measured, on streams of the same "
        "definition. Workarounds in words cannot be applied by Streamwatch; the last section measures them.",
        _PAGE,
        {_ISSUE: "Known issue", _STRATEGY: "Workaround"},
        _compared(part, whole, _published(), f"{_ISSUE}, {_STRATEGY}"),
        size=(24, 9),
        widths={"Known issue": 290},
    )


def _strategies() -> Panel:
    part, whole = _pair(tuple(BY_STRATEGY.values()), _ISSUE)
    return rows(
        "By strategy",
        "Streams with a fault that the strategy is for, and how many of them it put right. If few, the runbooks of its "
        "kinds say why a repair is not made.",
        _PAGE,
        {_ISSUE: "Strategy"},
        [*_measured(part, whole, "Fix rate"), Column("Cases", f"{whole} > 0")],
        size=(12, 8),
    )


def _kinds() -> Panel:
    kinds = tuple(
        row for kind, row in BY_KIND.items() if kind.strategy is not Strategy.NONE and kind.severity is Severity.FAULT
    )
    chosen = 'streamwatch_issue=~"$kind"'
    whole = q.cases(kinds, _ISSUE, where=(q.APPLIED, chosen))
    part, failed = (
        q.cases(kinds, _ISSUE, where=(q.APPLIED, chosen, how))
        for how in (q.FIXED, f'streamwatch_outcome="{Outcome.FAILED.value}"')
    )
    return rows(
        "Faults by kind",
        "Streams. `Failed`: evidence in the stream contradicts the repair, or it ran out of window. Not fixed and not "
        "failed: the policy is off for the kind, see its page.",
        _PAGE,
        {_ISSUE: "Kind"},
        [
            share("Fix rate", q.ratio(part, whole)),
            Column("Failed", f"{failed} or 0 * {whole}"),
            Column("Cases", f"{whole} > 0"),
        ],
        size=(12, 8),
        links={"Kind": runbook("kinds/${__value.raw}")},
    )


def _matrices() -> tuple[Panel, Panel]:
    by = ("gen_ai_response_model", "streamwatch_openai_version")
    part, whole = _pair((ANY_FAULT,), *by)
    down = (by[0], "Snapshot")
    measured = share("Fix rate", f"{q.ratio(part, whole)} and {whole} >= {FEWEST_CASES}", _FIX_COLOR)
    return (
        matrix(
            f"Fix rate, where there are {FEWEST_CASES} cases",
            "Of the streams in which something went wrong, for each model snapshot (down) and SDK version (across). "
            "If one column is red, hold that SDK version; if one row is red, "
            "pin the snapshot before it. A dash means too few cases to judge.",
            _PAGE,
            down,
            by[1],
            measured,
            size=(12, 7),
        ),
        matrix(
            "Cases behind it",
            "How many streams each cell of the table to the left stands on. If there are few, wait before you act.",
            _PAGE,
            down,
            by[1],
            Column("Cases", f"{whole} > 0"),
            size=(12, 7),
        ),
    )


def _before_and_after() -> Panel:
    label = "gen_ai_response_model"

    def fix(offset: str = "") -> str:
        part, whole = (q.grown(q.faults(*more), label, offset=offset) for more in ((q.APPLIED, q.FIXED), (q.APPLIED,)))
        return q.ratio(part, whole)

    def broken(offset: str = "") -> str:
        return q.ratio(*(q.grown(q.streams(*more), label, offset=offset) for more in ((q.BROKEN,), ())))

    return rows(
        "The range, and as long a time $before earlier",
        "Choose a range that begins at a release, and `Compare with` so that the other one ends before it. A fix rate "
        "that fell or a broken share that rose with the release: roll it back.",
        _PAGE,
        {label: "Snapshot"},
        [
            share("Fix rate before", fix("$before")),
            share("Fix rate", fix()),
            share("Broken before", broken("$before")),
            share("Broken", broken()),
            Column("Streams before", q.grown(q.streams(), label, offset="$before")),
            Column("Streams", q.grown(q.streams(), label)),
        ],
        size=(24, 7),
    )


def _by_version() -> Panel:
    label = "streamwatch_openai_version"
    part, whole = _pair_over_time(ANY_FAULT, label)
    expression = f"{q.ratio(part, whole)}"
    return lines(
        "Fix rate by SDK version",
        "The lines of two versions side by side during a rollout are the fairest comparison: same traffic, same time. "
        f"If the new one is lower, stop. Points are of the last $window, and of {FEWEST_CASES} cases or more.",
        _PAGE,
        [Query(expression, "openai {{streamwatch_openai_version}}")],
        units.PercentUnit,
        size=(12, 7),
        maximum=1,
    )


def _shadow() -> Panel:
    label = "streamwatch_applied"
    part, whole = q.cases((ANY_FAULT,), label, where=(q.FIXED,)), q.cases((ANY_FAULT,), label)
    return rows(
        "Repairs applied, and repairs tried in the shadow",
        "With `STREAMWATCH_REPAIR=none` repairs run on a copy, and what they would have come to is counted as not "
        "applied; the two are never added up. `At least` high enough for you: switch repairs on.",
        _PAGE,
        {label: "Applied"},
        [
            share("Fix rate", q.ratio(part, whole)),
            end("At least", q.wilson(part, whole, "-")),
            Column("Cases", f"{whole} > 0"),
        ],
        size=(12, 7),
    )


def _outcomes() -> Panel:
    other = f'streamwatch_outcome!="{Outcome.VERIFIED.value}"'
    headline = (f'{_ISSUE}="{ANY_FAULT.name}"', q.APPLIED)
    ended = q.over_time(CASES, "streamwatch_outcome", where=(*headline, other), over=q.WINDOW)
    whole = q.over_time(CASES, where=headline, over=q.WINDOW)
    shares = f"{ended} / on () group_left () ({whole} >= {FEWEST_CASES})"
    return lines(
        "Streams whose repair was not proved right",
        "Shares of the streams in which something went wrong; the rest is verified: the stream itself agrees. "
        "Unverified: it holds no evidence. Failed: it "
        "contradicts, or the window was too small. Unrepaired: the policy is off, or nothing could be done.",
        _PAGE,
        [Query(shares, "{{streamwatch_outcome}}")],
        units.PercentUnit,
        size=(24, 7),
        stacked=True,
    )


def _servers() -> Panel:
    label = "server_address"
    found = q.cases((ORDER,), label)
    streams = q.grown(q.streams(), label)
    each = q.ratio(found, streams)
    measured_only = (f"{name} ({ratio:.0%})" for name, ratio in ORDER_MISMATCH.workarounds if name not in set(Strategy))
    return rows(
        "Streams out of order, by server",
        "Send a part of the traffic by another way, and compare its server with the old one: `Fewer than the worst` is "
        f"the measured fix rate of that way. Published: {', '.join(measured_only)}.",
        "StreamwatchReorderSpike",
        {label: "Server"},
        [
            Column("Per 100 streams", f"100 * {each}", decimals=1),
            share("Fewer than the worst", f"1 - ({each}) / on () group_left () (max({each}) > 0)"),
            Column("Streams", streams),
        ],
        size=(24, 7),
        sort="Per 100 streams",
    )
