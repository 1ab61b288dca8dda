"""The arithmetic of the dashboards, as PromQL.

Streams, cases and anomalies are drawn from the records that the rules are made of (`dashboards.records`): a window is
the difference of two totals, in whole streams, whatever pods came and went. What is not recorded goes through `total`,
which takes a series that is born in the window at its full value: `increase` and `rate` never see its first step.
"""

from __future__ import annotations

from collections.abc import Iterable

from dashboards import names, records
from dashboards.records import total_of
from streamwatch.core.kinds import Outcome
from streamwatch.core.stream_cases import ANY_FAULT, WORKAROUNDS, CaseDefinition, Z
from streamwatch.export.telemetry import ANOMALIES, STREAMS, Instrument

RATE_INTERVAL = "$__rate_interval"
RANGE = "$__range"

#: One step of a graph. Steps of totals meet, so that no stream is counted twice or left out.
INTERVAL = "$__interval"

FIXED = records.WHERE_FIXED
DECIDED = f'streamwatch_outcome=~"{Outcome.VERIFIED.value}|{Outcome.FAILED.value}"'
VERIFIED = f'streamwatch_outcome="{Outcome.VERIFIED.value}"'
BROKEN = 'streamwatch_condition="broken"'
#: What was tried in the shadow is no repair: a fix rate is asked of one of the two.
APPLIED = records.APPLIED


def selector(row: Instrument, *matchers: str, suffix: str = "", without: tuple[str, ...] = ()) -> str:
    """The series of an instrument, filtered by every variable that fits it, but for those in `without`."""
    own = {"job", "instance", *names.labels(row)}
    filters = [
        f'{label}=~"${variable}"'
        for variable, label in names.VARIABLES.items()
        if label in own and variable not in without
    ]
    return f"{names.metric(row)}{suffix}{{{','.join((*filters, *matchers))}}}"


def recorded(record: str, *matchers: str) -> str:
    """The totals of a record, filtered by every variable that fits it."""
    has = names.RECORDS[record]
    filters = [f'{label}=~"${variable}"' for variable, label in names.VARIABLES.items() if label in has]
    return f"{record}{{{','.join((*filters, *matchers))}}}"


def grown(total: str, *by: str, over: str = RANGE, offset: str = "") -> str:
    """How much totals grew in a window: what they are, less what they were; new ones, and those begun anew, by all."""
    grew = summed(f"\n  ({total} - {total} offset {over} >= 0)\n  or {total}\n", *by)
    return f"last_over_time(({grew})[10s:10s] offset {offset})" if offset else grew


def alerts(state: str) -> str:
    """Our alerts in a state; one that its rule raises for all jobs has none, and is of interest to each."""
    return f'ALERTS{{alertname=~"Streamwatch.+",alertstate=~"{state}",job=~"$job|"}}'


def summed(expression: str, *by: str) -> str:
    """The sum over all labels but those named."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def step(row: Instrument, *by: str, where: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> str:
    """How much the counters grew in each step, for a line over time."""
    return total(selector(row, *where, without=without), *by, over=RATE_INTERVAL)


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
    of_none = f"0 * ({whole} > 0)" if sign == "-" else f"{Z**2:.4f} / (({whole} > 0) + {Z**2:.4f})"
    spread = f"{Z} * sqrt({part} * ({whole} - {part}) / ({whole} > 0) + {Z**2 / 4:.4f})"
    return f"(({part} + {Z**2 / 2:.4f} {sign} {spread}) / ({whole} + {Z**2:.4f}) or {of_none})"


def distance(part: str, whole: str, published: str, on: str) -> str:
    """How far a share is from a published one: 1 or more is above it 95 times in 100, -1 or less is below it.

    The test that belongs to Wilson's interval: it says 1 exactly where the lower end reaches the published share.
    """
    match = f"on ({on}) group_left ()"
    expected = f"{whole} * {match} {published}"
    variance = f"({whole} > 0) * {match} ({published} * (1 - {published}))"
    return f"clamp((({part} or 0 * {whole}) - {expected}) / ({Z} * sqrt({variance})), -1, 1)"


def quantile(share: float, row: Instrument, *by: str, where: tuple[str, ...] = ()) -> str:
    """A quantile of a histogram over time."""
    buckets = selector(row, *where, suffix="_bucket")
    return f"histogram_quantile({share:g}, {total(buckets, 'le', *by, over=RATE_INTERVAL)})"


def range_quantile(share: float, row: Instrument) -> str:
    """A quantile of a histogram over the whole range."""
    return f"histogram_quantile({share:g}, {total(selector(row, suffix='_bucket'), 'le')})"


# --- what is asked again and again


def streams(*matchers: str) -> str:
    """The streams that ended."""
    return recorded(total_of(records.STREAMS), *matchers)


def anomalies(*matchers: str) -> str:
    """The anomalies found."""
    return recorded(total_of(records.ANOMALIES), *matchers)


def cases(definitions: Iterable[CaseDefinition], *matchers: str) -> str:
    """The streams that are cases of some definitions."""
    named = "|".join(definition.name for definition in definitions)
    return recorded(total_of(records.CASES), f'streamwatch_issue=~"{named}"', *matchers)


def of_jobs(definitions: Iterable[CaseDefinition], *matchers: str) -> str:
    """The same of whole services: for tables whose rows are many, and for graphs."""
    named = "|".join(definition.name for definition in definitions)
    return recorded(total_of(records.JOB_CASES), f'streamwatch_issue=~"{named}"', *matchers)


def faults(*matchers: str) -> str:
    """The streams in which something went wrong."""
    return cases((ANY_FAULT,), *matchers)


def over_time(record: str, *by: str, where: tuple[str, ...] = ()) -> str:
    """What a service counted in each step of a graph."""
    return grown(recorded(total_of(record), *where), *by, over=INTERVAL)


def of_process(*matchers: str) -> str:
    """The streams as processes count them."""
    return selector(STREAMS, *matchers)


def found_in_chunks(*matchers: str) -> str:
    """The anomalies as processes count them, to be set beside chunks, which are not recorded."""
    return selector(ANOMALIES, *matchers, without=("kind",))


def by_workaround(*matchers: str) -> str:
    """The cases of each published workaround that is applied, under the labels that the published figures have."""
    terms = []
    for (issue, workaround), definition in WORKAROUNDS.items():
        counted = grown(of_jobs((definition,), *matchers))
        named = f'label_replace({counted}, "streamwatch_issue", "{issue.name}", "", "")'
        terms.append(f'label_replace({named}, "streamwatch_strategy", "{workaround}", "", "")')
    return "(" + " or ".join(terms) + ")"
