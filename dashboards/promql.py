"""The arithmetic of the dashboards, as PromQL.

Streams, cases and anomalies are drawn from the records that the rules are made of (`dashboards.records`): a window is
the difference of two totals, in whole streams, whatever pods came and went. `increase` and `rate` never see the first
step of a series, and read every sample of a window.
"""

from __future__ import annotations

from collections.abc import Iterable

from dashboards import names, records
from dashboards.records import total_of
from streamwatch.core.stream_cases import ANY_FAULT, WORKAROUNDS, CaseDefinition, Z
from streamwatch.core.vocabulary import Outcome
from streamwatch.export.instruments import Instrument

RANGE = "$__range"

#: One step of a graph. Steps of totals meet, so that no stream is counted twice or left out.
INTERVAL = "$__interval"

#: What a point of a fix rate is of: the cases of so long a time before it.
WINDOW = "$window"

#: Long before there were dashboards: a selector reads nothing then.
_LONG_AGO = "20y"

FIXED = records.WHERE_FIXED
DECIDED = f'streamwatch_outcome=~"{Outcome.VERIFIED.value}|{Outcome.FAILED.value}"'
VERIFIED = f'streamwatch_outcome="{Outcome.VERIFIED.value}"'
BROKEN = 'streamwatch_condition="broken"'
#: What was tried in the shadow is not a repair: a fix rate is asked of one of the two.
APPLIED = records.APPLIED


def selector(row: Instrument, *matchers: str, suffix: str = "") -> str:
    """Return the series of an instrument in all processes, filtered by every variable that fits it."""
    own = {"job", *names.labels(row)}
    filters = [f'{label}=~"${variable}"' for variable, label in names.VARIABLES.items() if label in own]
    return f"{names.metric(row)}{suffix}{{{','.join((*filters, *matchers))}}}"


def recorded(record: str, *matchers: str, without: tuple[str, ...] = ()) -> str:
    """Return the totals of a record, filtered by every variable that fits it, except those in `without`."""
    has = names.RECORDS[record]
    filters = [
        f'{label}=~"${variable}"'
        for variable, label in names.VARIABLES.items()
        if label in has and variable not in without
    ]
    return f"{record}{{{','.join((*filters, *matchers))}}}"


def grown(total: str, *by: str, over: str = RANGE, offset: str = "") -> str:
    """Return how much totals grew in a window: what they are, less what they were; new and restarted ones, by all."""
    grew = summed(f"\n  {_grew(total, over)}\n", *by)
    return f"last_over_time(({grew})[10s:10s] offset {offset})" if offset else grew


def _grew(total: str, over: str) -> str:
    return f"({total} - {total} offset {over} >= 0)\n  or {total}"


def alerts(state: str) -> str:
    """Return Streamwatch's alerts in a state; one that its rule raises for all jobs has none, and concerns each."""
    return f'ALERTS{{alertname=~"Streamwatch.+",alertstate=~"{state}",job=~"$job|"}}'


def summed(expression: str, *by: str) -> str:
    """Return the sum over all labels but those named."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def ratio(part: str, whole: str) -> str:
    """Return a share of 0 to 1: 0 where nothing of the whole has the property, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def wilson(part: str, whole: str, sign: str) -> str:
    """Return the lower (`-`) or upper (`+`) end of the interval that holds the true share 95 times in 100.

    Wilson's score interval: it stays within 0 and 1, and is honest for ten streams and for shares near 1.
    Where no part is counted, the ends are written out, for nothing has no square root to be taken of.
    """
    of_none = f"0 * ({whole} > 0)" if sign == "-" else f"{Z**2:.4f} / (({whole} > 0) + {Z**2:.4f})"
    spread = f"{Z} * sqrt({part} * ({whole} - {part}) / ({whole} > 0) + {Z**2 / 4:.4f})"
    return f"(({part} + {Z**2 / 2:.4f} {sign} {spread}) / ({whole} + {Z**2:.4f}) or {of_none})"


def distance(part: str, whole: str, published: str, on: str) -> str:
    """Return how far a share is from a published one: 1 or more is above it 95 times in 100, -1 or less is below it.

    The test that belongs to Wilson's interval: it says 1 exactly where the lower end reaches the published share.
    """
    match = f"on ({on}) group_left ()"
    expected = f"{whole} * {match} {published}"
    variance = f"({whole} > 0) * {match} ({published} * (1 - {published}))"
    return f"clamp((({part} or 0 * {whole}) - {expected}) / ({Z} * sqrt({variance})), -1, 1)"


def quantile(share: float, row: Instrument, *by: str) -> str:
    """Return a quantile of a histogram over time."""
    return f"histogram_quantile({share:g}, {over_time(_buckets(row), *by, 'le')})"


def range_quantile(share: float, row: Instrument, *by: str) -> str:
    """Return a quantile of a histogram over the whole range."""
    return f"histogram_quantile({share:g}, {counted(_buckets(row), *by, 'le')})"


def _buckets(row: Instrument) -> str:
    return records.BUCKETS[names.metric(row)]


def examples(row: Instrument) -> str:
    """Return what has the exemplars of a histogram: its own buckets, which are read at a time when there were none."""
    return f"{selector(row, suffix='_bucket')} offset {_LONG_AGO}"


# --- what is asked again and again


def streams(*matchers: str) -> str:
    """Return the streams that ended."""
    return recorded(total_of(records.STREAMS), *matchers)


def of_process(counter: Instrument, *by: str) -> str:
    """Return how much processes counted that are there; those that began in the range, all of it."""
    return grown(recorded(records.OF_PROCESSES[names.metric(counter).removesuffix("_total")][0]), *by)


def faults(*matchers: str) -> str:
    """Return the streams in which something went wrong."""
    return recorded(total_of(records.CASES), f'streamwatch_issue="{ANY_FAULT.name}"', *matchers)


def over_time(
    record: str, *by: str, where: tuple[str, ...] = (), over: str = INTERVAL, without: tuple[str, ...] = ()
) -> str:
    """Return what was counted in each step of a graph: of whole services, until a variable narrows them down.

    A point of a graph of services reads a few series. Where a model is chosen, there are few of its own. So both are
    asked for, and variables let in one of them: `.*` matches a label that is not there, and any name does not.
    """
    services, labels = records.OF_JOBS[record]
    narrowing = (name for name, label in names.VARIABLES.items() if label in {*records.TOTALS[record]} - {*labels})
    narrowed = f'{names.NARROWED}!~"{"".join(f"${name}" for name in narrowing)}"'
    series = ((total_of(services), where), (total_of(record), (narrowed, *where)))
    grew = "\n  or ".join(_grew(recorded(name, *matchers, without=without), over) for name, matchers in series)
    return summed(f"\n  {grew}\n", *by)


def counted(record: str, *by: str, where: tuple[str, ...] = ()) -> str:
    """Return what was counted in the range; of whole services if they know what is asked for and no model is chosen."""
    if {*by} <= {"job", *records.OF_JOBS[record][1]}:
        return over_time(record, *by, where=where, over=RANGE)
    return grown(recorded(total_of(record), *where), *by)


def cases(definitions: Iterable[CaseDefinition], *by: str, where: tuple[str, ...] = ()) -> str:
    """Return the streams of the range that are cases of some definitions."""
    named = "|".join(definition.name for definition in definitions)
    return counted(records.CASES, *by, where=(f'streamwatch_issue=~"{named}"', *where))


def by_workaround(*matchers: str) -> str:
    """Return the cases of each published workaround that is applied, under the labels of the published figures."""
    terms = []
    for (issue, workaround), definition in WORKAROUNDS.items():
        found = cases((definition,), where=matchers)
        named = f'label_replace({found}, "streamwatch_issue", "{issue.name}", "", "")'
        terms.append(f'label_replace({named}, "streamwatch_strategy", "{workaround}", "", "")')
    return "(" + " or ".join(terms) + ")"
