"""The definition of a case: the one place that says which streams are cases of what, and how a case ended.

The unit of a fix rate is the stream. A stream with fifteen bad fragments is one case of each thing that is wrong with
it, and the case ended as the worst of its anomalies did. Counters, recording rules, panels and commands count cases
of the definitions below and of nothing else.

Repairs that were applied and repairs that were tried in the shadow are never added up: `applied` keeps them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamwatch.core.kinds import (
    CONTENT_ABSENT,
    CONTENT_NOT_STRING,
    CONTENT_NULL,
    KINDS,
    SEQUENCE_DUPLICATE,
    SEQUENCE_GAP,
    SEQUENCE_OUT_OF_ORDER,
    AnomalyKind,
)
from streamwatch.core.known_issues import CONTENT_EMPTY, DELTA_ACCUMULATOR, ORDER_MISMATCH, Issue
from streamwatch.core.vocabulary import BROKEN_VERDICTS, Outcome, Severity, Strategy, Verdict

#: Standard deviations: the interval holds the true rate of 95 services in 100.
Z = 1.96
#: Cases below which nothing is said about a rate: of 20, the interval spans some 40 points.
FEWEST_CASES = 20
#: The published figure of an issue as a whole, where others are of one workaround.
ANY = "any"

#: From best to worst, as the outcomes are declared.
_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}
#: Outcomes of a case that reached the application whole.
FIXED = (Outcome.VERIFIED, Outcome.UNVERIFIED)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, as kinds are
class CaseDefinition:
    """The definition of a case: any of `kinds`; `name` is the value of the label `streamwatch.issue`.

    Cases of severity `hazard` are legal streams that naive code breaks on: they are shown as hazards defused, and are
    part of no rate of faults. `published` is the figure of the same definition, under the name that its workaround
    has in the published table.
    """

    name: str
    meaning: str
    severity: Severity
    kinds: tuple[AnomalyKind, ...]
    known: Issue | None = None
    published: tuple[str, float] | None = None


def _of(severity: Severity, kinds: Iterable[AnomalyKind] | None = None) -> tuple[AnomalyKind, ...]:
    return tuple(kind for kind in (KINDS.values() if kinds is None else kinds) if kind.severity is severity)


#: The headline: of the streams in which something went wrong, how many reached the application whole.
ANY_FAULT = CaseDefinition(
    "any_fault",
    "Streams in which something went wrong: any fault, or an end that is truncated, empty or an error.",
    Severity.FAULT,
    _of(Severity.FAULT),
)
ORDER = CaseDefinition(
    ORDER_MISMATCH.name,
    "Streams whose events came out of order, twice or not at all.",
    Severity.FAULT,
    (SEQUENCE_OUT_OF_ORDER, SEQUENCE_DUPLICATE, SEQUENCE_GAP),
    ORDER_MISMATCH,
    (ANY, ORDER_MISMATCH.fix_ratio),
)
CONTENT = CaseDefinition(
    CONTENT_EMPTY.name,
    "Streams with a delta whose content is absent, null or not a string; most healthy streams have one.",
    Severity.HAZARD,
    (CONTENT_ABSENT, CONTENT_NULL, CONTENT_NOT_STRING),
    CONTENT_EMPTY,
    (ANY, CONTENT_EMPTY.fix_ratio),
)
TOOL_CALLS = CaseDefinition(
    "tool_calls",
    "Streams in which a tool call is lost, merged with another, or unreadable.",
    Severity.FAULT,
    tuple(kind for kind in _of(Severity.FAULT) if kind.name.startswith("tool_call")),
    published=(DELTA_ACCUMULATOR, dict(CONTENT_EMPTY.workarounds)[DELTA_ACCUMULATOR]),
)
#: The definitions that published figures stand beside.
KNOWN = (ORDER, CONTENT, TOOL_CALLS)

#: Published workarounds that Streamwatch applies: issue and workaround, and the cases of the same definition.
WORKAROUNDS = {
    (ORDER_MISMATCH, Strategy.REORDER_BUFFER.value): ORDER,
    (CONTENT_EMPTY, Strategy.FILL_CONTENT.value): CONTENT,
    (CONTENT_EMPTY, DELTA_ACCUMULATOR): TOOL_CALLS,
}


def _strategies() -> dict[Strategy, CaseDefinition]:
    """Return the definition of each strategy that repairs faults."""
    found: dict[Strategy, list[AnomalyKind]] = {}
    for kind in _of(Severity.FAULT):
        if kind.strategy is not Strategy.NONE:
            found.setdefault(kind.strategy, []).append(kind)
    return {
        strategy: CaseDefinition(
            strategy.value, f"Streams with a fault for this strategy: {strategy.meaning}.", Severity.FAULT, tuple(kinds)
        )
        for strategy, kinds in found.items()
    }


#: Every kind that has a repair, and every fault: what cannot be repaired is counted as well.
BY_KIND = {
    kind: CaseDefinition(kind.name, kind.meaning, kind.severity, (kind,))
    for kind in KINDS.values()
    if kind.strategy is not Strategy.NONE or kind.severity is Severity.FAULT
}
BY_STRATEGY = _strategies()
#: All of them, by the value of the label.
DEFINITIONS = {
    definition.name: definition for definition in (ANY_FAULT, *KNOWN, *BY_STRATEGY.values(), *BY_KIND.values())
}
#: What a kind makes a stream a case of.
_OF_KIND = {
    kind: tuple(definition for definition in DEFINITIONS.values() if kind in definition.kinds)
    for kind in KINDS.values()
}


def cases_of(
    anomalies: Mapping[AnomalyKind, int],
    outcomes: Mapping[AnomalyKind, Mapping[Outcome, int]],
    verdict: Verdict | None,
) -> dict[CaseDefinition, Outcome]:
    """Return what one stream is a case of, and how each case ended: as the worst of its anomalies.

    An anomaly without an outcome is unrepaired, and nothing repairs the end of a stream that has none.
    """
    found: dict[CaseDefinition, Outcome] = {}
    for kind in anomalies:
        definitions = _OF_KIND.get(kind, ())
        if not definitions:
            continue
        worst = max(outcomes.get(kind) or (Outcome.UNREPAIRED,), key=_RANK.__getitem__)
        for definition in definitions:
            if _RANK[worst] >= _RANK[found.get(definition, worst)]:
                found[definition] = worst
    if verdict in BROKEN_VERDICTS:
        found[ANY_FAULT] = Outcome.UNREPAIRED
    return found


def wilson(part: float, whole: float, z: float = Z) -> tuple[float, float]:
    """Return Wilson's interval of a share: both ends within 0 and 1, honest for ten streams and for shares near 1."""
    if whole <= 0:
        return 0.0, 1.0
    share, square = part / whole, z * z
    centre = share + square / (2 * whole)
    spread = z * math.sqrt(max(0.0, share * (1 - share)) / whole + square / (4 * whole * whole))
    low, high = ((centre + sign * spread) / (1 + square / whole) for sign in (-1, 1))
    return (0.0 if part <= 0 else low), (1.0 if part >= whole else high)


@dataclass(frozen=True)
class CaseRate:
    """The outcomes of the cases of one definition, and the rate that they give."""

    outcomes: Mapping[str, float]

    def __getitem__(self, outcome: Outcome) -> int:
        return int(self.outcomes.get(outcome.value, 0))

    @property
    def cases(self) -> int:
        """How many streams were cases."""
        return sum(self[outcome] for outcome in Outcome)

    @property
    def fixed(self) -> int:
        """How many of them reached the application whole."""
        return sum(self[outcome] for outcome in FIXED)

    @property
    def fix_ratio(self) -> float | None:
        """The share that reached the application whole; None before there was a case."""
        return self.fixed / self.cases if self.cases else None

    @property
    def verified_ratio(self) -> float | None:
        """The share proved right among the cases that evidence decides; None while there is none."""
        decided = self[Outcome.VERIFIED] + self[Outcome.FAILED]
        return self[Outcome.VERIFIED] / decided if decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval of the fix rate, on streams; None before there was a case."""
        return wilson(self.fixed, self.cases) if self.cases else None

    def against(self, published: float) -> str:
        """Return `better`, `worse` or `no difference`; `too few` where that cannot be said."""
        if self.cases < FEWEST_CASES:
            return "too few"
        low, high = wilson(self.fixed, self.cases)
        return "worse" if high < published else "better" if low > published else "no difference"
