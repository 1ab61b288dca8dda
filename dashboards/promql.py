"""The arithmetic of the dashboards, as PromQL.

A counter that is born with a process or with the first stream of a model starts at 1, not at 0, and
`increase` and `rate` never see that 1: ten processes that each broke one stream would show none. So
what is counted goes through `total`, which takes a series that is born in the window at its full value.
"""

from __future__ import annotations

from dashboards import names
from streamwatch.core.kinds import KINDS, Outcome, Severity, Strategy
from streamwatch.core.known_issues import ISSUES, Issue
from streamwatch.export.telemetry import ANOMALIES, REPAIRS, STREAMS, Instrument

RATE_INTERVAL = "$__rate_interval"
RANGE = "$__range"

#: The quantile of the normal distribution for an interval that is right 95 times in 100.
_Z = 1.96

FIXED = f'streamwatch_outcome=~"{Outcome.VERIFIED.value}|{Outcome.UNVERIFIED.value}"'
DECIDED = f'streamwatch_outcome=~"{Outcome.VERIFIED.value}|{Outcome.FAILED.value}"'
VERIFIED = f'streamwatch_outcome="{Outcome.VERIFIED.value}"'
BROKEN = 'streamwatch_condition="broken"'
#: Hazards are legal, and so many that a fix rate with them would be one of them alone.
NO_HAZARDS = 'streamwatch_anomaly!~"{}"'.format(
    "|".join(
        kind.name for kind in KINDS.values() if kind.severity is Severity.HAZARD and kind.strategy is not Strategy.NONE
    )
)
#: What may have been shadow work is no repair: a fix rate is asked of one of the two.
APPLIED = 'streamwatch_applied="true"'


def selector(row: Instrument, *matchers: str, suffix: str = "", without: tuple[str, ...] = ()) -> str:
    """The series of an instrument, filtered by every variable that fits it, but for those in `without`."""
    own = {"job", "instance", *names.labels(row)}
    filters = [
        f'{label}=~"${variable}"'
        for variable, label in names.VARIABLES.items()
        if label in own and variable not in without
    ]
    return f"{names.metric(row)}{suffix}{{{','.join((*filters, *matchers))}}}"


def alerts(state: str) -> str:
    """Our alerts in a state; one that its rule raises for all jobs has none, and is of interest to each."""
    return f'ALERTS{{alertname=~"Streamwatch.+",alertstate=~"{state}",job=~"$job|"}}'


def summed(expression: str, *by: str) -> str:
    """The sum over all labels but those named."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def step(row: Instrument, *by: str, where: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> str:
    """How much the counters grew in each step, for a line over time."""
    return total(selector(row, *where, without=without), *by, over=RATE_INTERVAL)


def increase(series: str, *by: str, offset: str = "") -> str:
    """How much the counters grew in the range or in one before it, to compare the two; births count in neither."""
    return summed(f"increase({series}[{RANGE}]{f' offset {offset}' if offset else ''})", *by)


def total(series: str, *by: str, over: str = RANGE) -> str:
    """How much the counters grew in a window, from nothing for those that were born in it."""
    # Born is what was not there in the hour before: after a shorter gap between scrapes nothing is counted again.
    born = f"last_over_time({series}[{over}]) unless present_over_time({series}[1h] offset {over})"
    return summed(f"\n  ({born})\n  or increase({series}[{over}])\n", *by)


def ratio(part: str, whole: str) -> str:
    """A share of 0 to 1: 0 where nothing of the whole has the property, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def wilson(part: str, whole: str, sign: str) -> str:
    """The lower (`-`) or upper (`+`) end of the interval that holds the true share 95 times in 100.

    Wilson's score interval: it stays within 0 and 1, and is honest for ten streams and for shares near 1.
    Where no part is counted, the ends are written out, for nothing has no square root to be taken of.
    """
    of_none = f"0 * ({whole} > 0)" if sign == "-" else f"{_Z**2:.4f} / (({whole} > 0) + {_Z**2:.4f})"
    spread = f"{_Z} * sqrt({part} * ({whole} - {part}) / ({whole} > 0) + {_Z**2 / 4:.4f})"
    return f"(({part} + {_Z**2 / 2:.4f} {sign} {spread}) / ({whole} + {_Z**2:.4f}) or {of_none})"


def distance(part: str, whole: str, published: str, on: str) -> str:
    """How far a share is from a published one: 1 or more is above it 95 times in 100, -1 or less is below it.

    The test that belongs to Wilson's interval: it says 1 exactly where the lower end reaches the published share.
    """
    match = f"on ({on}) group_left ()"
    expected = f"{whole} * {match} {published}"
    variance = f"({whole} > 0) * {match} ({published} * (1 - {published}))"
    return f"clamp((({part} or 0 * {whole}) - {expected}) / ({_Z} * sqrt({variance})), -1, 1)"


def quantile(share: float, row: Instrument, *by: str, where: tuple[str, ...] = ()) -> str:
    """A quantile of a histogram over time."""
    buckets = selector(row, *where, suffix="_bucket")
    return f"histogram_quantile({share:g}, {total(buckets, 'le', *by, over=RATE_INTERVAL)})"


def range_quantile(share: float, row: Instrument) -> str:
    """A quantile of a histogram over the whole range."""
    return f"histogram_quantile({share:g}, {total(selector(row, suffix='_bucket'), 'le')})"


def most(series: str, label: str, number: int = 8) -> str:
    """The values of a label with the most in the whole range: a graph with more lines cannot be told apart."""
    return f"topk({number}, sum by ({label}) (increase({series}[{RANGE}] @ end())))"


# --- what is asked again and again


def streams(*matchers: str) -> str:
    """The streams."""
    return selector(STREAMS, *matchers)


def anomalies(*matchers: str, without: tuple[str, ...] = ()) -> str:
    """The anomalies found."""
    return selector(ANOMALIES, *matchers, without=without)


def repairs(*matchers: str, without: tuple[str, ...] = ()) -> str:
    """The anomalies of kinds that have a repair."""
    return selector(REPAIRS, *matchers, without=without)


def kinds_of(*issues: Issue) -> str:
    """A matcher for the kinds that make up known issues."""
    return f'streamwatch_anomaly=~"{_pattern(*issues)}"'


def by_issue(series: str, *by: str) -> str:
    """The total of each known issue, under the label that the published figures have."""
    counted = total(series, "streamwatch_anomaly", *by)
    for issue in ISSUES:
        named = f'"streamwatch_issue", "{issue.name}", "streamwatch_anomaly", "{_pattern(issue)}"'
        counted = f"label_replace({counted}, {named})"
    return summed(counted, "streamwatch_issue", *by)


def _pattern(*issues: Issue) -> str:
    return "|".join(kind.name for kind in KINDS.values() if kind.issue in issues)
