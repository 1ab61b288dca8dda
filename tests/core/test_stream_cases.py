"""Cases: what a stream is a case of, how a case ended, and how sure a rate of cases is."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest

from helpers.cases import CASES, Case
from helpers.stream_builders import body, called, said, stamped, tool_call, watch
from streamwatch.core import kinds
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.known_issues import CONTENT_EMPTY, ISSUES
from streamwatch.core.stream_cases import (
    ANY_FAULT,
    BY_KIND,
    BY_STRATEGY,
    CONTENT,
    DEFINITIONS,
    FEWEST_CASES,
    FIXED,
    KNOWN,
    ORDER,
    TOOL_CALLS,
    WORKAROUNDS,
    CaseRate,
    cases_of,
    wilson,
)
from streamwatch.core.vocabulary import Condition, Outcome, Severity, Strategy, Verdict

NUMBERED = stamped(said(*"abcdef"))
SWAPPED = [NUMBERED[at] for at in (0, 1, 2, 4, 3, 5, 6, 7)]
GAP = [NUMBERED[at] for at in (0, 1, 2, 4, 5, 6, 7)]
TWICE = [NUMBERED[at] for at in (0, 1, 2, 3, 3, 4, 5, 6, 7)]


def unnumbered(pieces: int) -> list[dict[str, object]]:
    """Return a stream with one call in so many fragments, none of which says which call it belongs to."""
    arguments = ['{"city":"', *"x" * pieces, '"}']
    header = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}}
    fragments = [header, *({"function": {"arguments": piece}} for piece in arguments)]
    return called(*fragments)  # type: ignore[arg-type]


# --- the table


def test_every_fault_and_every_repair_is_counted() -> None:
    """Each such kind is a case of itself; faults are cases of the headline, hazards and dialects are not."""
    for kind in KINDS.values():
        assert (kind in BY_KIND) is (kind.severity is Severity.FAULT or kind.strategy is not Strategy.NONE)
        assert (kind in ANY_FAULT.kinds) is (kind.severity is Severity.FAULT)


def test_names_are_labels_of_one_table() -> None:
    """No two definitions share a name, and each says what it is."""
    assert len(DEFINITIONS) == 1 + len(KNOWN) + len(BY_STRATEGY) + len(BY_KIND)
    assert all(name == definition.name and definition.meaning.endswith(".") for name, definition in DEFINITIONS.items())


def test_hazards_are_part_of_no_rate_of_faults() -> None:
    """A definition of faults has faults only; the one with hazards in it is a hazard itself."""
    for definition in DEFINITIONS.values():
        if definition.severity is Severity.FAULT:
            assert {Severity.FAULT} == {kind.severity for kind in definition.kinds}
    assert Severity.HAZARD is CONTENT.severity
    assert not [kind for kind in TOOL_CALLS.kinds if kind in CONTENT.kinds]


def test_published_figures_stand_beside_cases_of_the_same_definition() -> None:
    """Each known issue has one, tool calls have the workaround's own, and nothing else has any."""
    assert set(ISSUES) == {definition.known for definition in KNOWN} - {None}
    assert {name for name, definition in DEFINITIONS.items() if definition.published} == {row.name for row in KNOWN}
    for (issue, workaround), definition in WORKAROUNDS.items():
        assert workaround in dict(issue.workarounds)
        assert definition in KNOWN
    assert TOOL_CALLS.published == ("a delta accumulator", dict(CONTENT_EMPTY.workarounds)["a delta accumulator"])


# --- a stream is one case


STREAMS = {
    "swapped": (SWAPPED, ORDER, {"default": Outcome.VERIFIED, "none": Outcome.VERIFIED}),
    "lost for good": (GAP, ORDER, {"default": Outcome.UNREPAIRED, "none": Outcome.UNREPAIRED}),
    "twice": (TWICE, ORDER, {"default": Outcome.VERIFIED, "none": Outcome.VERIFIED}),
    "repair is off": (SWAPPED, ORDER, {"default,-reorder_buffer": Outcome.UNREPAIRED}),
    "fifteen fragments": (unnumbered(15), TOOL_CALLS, {"default": Outcome.VERIFIED, "none": Outcome.VERIFIED}),
    "cut arguments": (called(*tool_call(0, "call_a", "weather", '{"c":')), TOOL_CALLS, {"default": Outcome.UNREPAIRED}),
    "absent content": (said("One"), CONTENT, {"default": Outcome.UNVERIFIED, "none": Outcome.UNVERIFIED}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_one_case_that_ends_as_its_worst_anomaly(name: str) -> None:
    """However many anomalies it has; and in the shadow it ends as it would have ended."""
    chunks, definition, expected = STREAMS[name]
    for repair, outcome in expected.items():
        report = watch("chat", body(chunks), repair).report

        assert outcome is report.cases[definition], repair
        assert report.applied is (repair != "none")


def test_many_bad_fragments_are_many_anomalies_and_one_case() -> None:
    """What the figure of anomalies weighed fifteen times."""
    report = watch("chat", body(unnumbered(15))).report

    assert report.anomalies[kinds.TOOL_CALL_INDEX_MISSING] > 15
    assert {TOOL_CALLS, ANY_FAULT} <= report.cases.keys()
    assert Outcome.VERIFIED is report.cases[ANY_FAULT]


def test_the_worst_decides() -> None:
    """A gap beside a duplicate that was dropped is not repaired, and neither is the stream."""
    found = cases_of(
        {kinds.SEQUENCE_DUPLICATE: 9, kinds.SEQUENCE_GAP: 1},
        {kinds.SEQUENCE_DUPLICATE: {Outcome.VERIFIED: 9}, kinds.SEQUENCE_GAP: {Outcome.UNREPAIRED: 1}},
        Verdict.COMPLETE,
    )

    assert Outcome.UNREPAIRED is found[ORDER] is found[ANY_FAULT]
    assert Outcome.VERIFIED is found[BY_KIND[kinds.SEQUENCE_DUPLICATE]]
    assert Outcome.VERIFIED is found[BY_STRATEGY[Strategy.DROP_DUPLICATE]]


def test_one_kind_ends_as_its_own_worst_anomaly() -> None:
    """One of a hundred that failed makes a failed case."""
    mixed = {kinds.SEQUENCE_OUT_OF_ORDER: {Outcome.VERIFIED: 99, Outcome.FAILED: 1}}

    assert Outcome.FAILED is cases_of({kinds.SEQUENCE_OUT_OF_ORDER: 100}, mixed, Verdict.COMPLETE)[ORDER]


def test_a_kind_without_an_outcome_is_not_repaired() -> None:
    """As while the stream goes on."""
    assert Outcome.UNREPAIRED is cases_of({kinds.SEQUENCE_OUT_OF_ORDER: 1}, {}, None)[ORDER]


@pytest.mark.parametrize("verdict", [Verdict.TRUNCATED, Verdict.ERROR, Verdict.EMPTY])
def test_an_end_that_nobody_can_use_is_a_case_of_the_headline(verdict: Verdict) -> None:
    """Whatever else was repaired."""
    repaired = {kinds.SEQUENCE_DUPLICATE: {Outcome.VERIFIED: 1}}

    assert Outcome.UNREPAIRED is cases_of({kinds.SEQUENCE_DUPLICATE: 1}, repaired, verdict)[ANY_FAULT]
    assert {ANY_FAULT: Outcome.UNREPAIRED} == cases_of({}, {}, verdict)


def test_hazards_and_kinds_without_a_repair_are_no_cases() -> None:
    """Reasoning in another member is legal, and nothing is done about it."""
    assert {} == cases_of({kinds.REASONING_NONSTANDARD: 3}, {}, Verdict.COMPLETE)
    assert ANY_FAULT not in watch("chat", body(said("One"))).report.cases


@pytest.mark.quick_cases(150)
@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("repair", ["none", "default", "all"])
def test_the_headline_and_the_condition_are_one(case: Case, repair: str) -> None:
    """Repaired and broken streams are the cases of the headline, at every level, in every acceptance case."""
    report = watch(case.api, [case.wire], repair, request=case.request, error=case.error).report
    ended = report.cases.get(ANY_FAULT)
    faults = [kind for kind in report.anomalies if kind.severity is Severity.FAULT]

    assert (ended is None) is (report.condition is Condition.CLEAN)
    if report.applied and ended is not None:
        assert (ended in FIXED) is (report.condition is Condition.REPAIRED)
    assert (ended is None) <= (not faults)
    whole = all(set(report.outcomes.get(kind, {Outcome.UNREPAIRED: 1})) <= set(FIXED) for kind in faults)
    broken = report.verdict in (Verdict.TRUNCATED, Verdict.ERROR, Verdict.EMPTY)
    assert (ended in FIXED) is (bool(faults) and whole and not broken)


# --- a rate, and how sure it is


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1)],
)
def test_the_interval_is_wilsons(part: int, whole: int, low: float, high: float) -> None:
    """Figures of any textbook; it never leaves 0 to 1, and nothing is known of no case."""
    assert (low, high) == tuple(round(end, 4) for end in wilson(part, whole))
    assert (0, 1) == wilson(0, 0)


def test_a_rate_says_what_it_stands_on() -> None:
    """Cases, those that were fixed, the share, the interval, and what evidence decided."""
    rate = CaseRate({"verified": 60, "unverified": 20, "failed": 15, "unrepaired": 5})

    assert (100, 80, 0.8, 0.8) == (rate.cases, rate.fixed, rate.fix_ratio, rate.verified_ratio)
    assert wilson(80, 100) == rate.interval
    assert (None, None, None) == (CaseRate({}).fix_ratio, CaseRate({}).verified_ratio, CaseRate({}).interval)


@pytest.mark.parametrize(
    ("fixed", "cases", "said"),
    [
        (0, FEWEST_CASES - 1, "too few"),
        (0, FEWEST_CASES, "worse"),
        (70, 100, "no difference"),
        (700, 1000, "worse"),
        (99, 100, "better"),
    ],
)
def test_no_verdict_below_the_stated_number_of_cases(fixed: int, cases: int, said: str) -> None:
    """Ten streams are no verdict, and a difference is said only where the interval shows it."""
    assert said == CaseRate({"verified": fixed, "unrepaired": cases - fixed}).against(0.75)


# --- Monte Carlo


def binomial(rng: Random, number: int, share: float) -> int:
    """Return how many of so many independent trials succeed, exactly, in a few steps (Devroye 1986, X.4.3)."""
    count = 0
    while number > 16:
        middle = 1 + number // 2
        at = rng.betavariate(middle, number + 1 - middle)
        if at >= share:
            number, share = middle - 1, share / at
        else:
            count, number, share = count + middle, number - middle, (share - at) / (1 - at)
    return count + sum(rng.random() < share for _ in range(number))


#: Services of each size. The share that is found is known to 0.2 points then.
SERVICES = 12_000


@pytest.mark.slow
@pytest.mark.parametrize("streams", [10, 20, 50, 100, 300, 1_000, 3_000, 10_000])
def test_the_interval_holds_the_true_rate_of_95_services_in_100(streams: int) -> None:
    """Services whose true rates are anything between 0 and 1, from ten cases to ten thousand."""
    rng = Random(f"services of {streams}")
    held = 0
    for _ in range(SERVICES):
        rate = rng.random()
        low, high = wilson(binomial(rng, streams, rate), streams)
        held += low <= rate <= high

    assert math.isclose(0.95, held / SERVICES, abs_tol=0.01)


def stream_of(rng: Random, *, whole: bool) -> tuple[dict[AnomalyKind, int], dict[AnomalyKind, dict[Outcome, int]]]:
    """Return the anomalies of a stream, one to some hundreds of them, which share its fate but for a few."""
    number = min(400, int(rng.paretovariate(0.8)))
    bad = 0 if whole else max(1, binomial(rng, number, 0.8))
    outcomes = {Outcome.VERIFIED: number - bad, Outcome.FAILED: bad}
    return (
        {kinds.SEQUENCE_OUT_OF_ORDER: number},
        {kinds.SEQUENCE_OUT_OF_ORDER: {outcome: count for outcome, count in outcomes.items() if count}},
    )


@pytest.mark.slow
@pytest.mark.parametrize("streams", [10, 40])
def test_clustered_anomalies_do_not_narrow_the_interval(streams: int) -> None:
    """Counted by streams it holds the true rate; counted by anomalies, as before, it is far too sure of itself."""
    rng = Random(f"clusters of {streams}")
    services, held, held_by_anomalies = 3_000, 0, 0
    for _ in range(services):
        rate = rng.random()
        cases: Counter[str] = Counter()
        anomalies: Counter[bool] = Counter()
        for _ in range(streams):
            found, outcomes = stream_of(rng, whole=rng.random() < rate)
            cases[cases_of(found, outcomes, Verdict.COMPLETE)[ORDER].value] += 1
            for outcome, count in outcomes[kinds.SEQUENCE_OUT_OF_ORDER].items():
                anomalies[outcome in FIXED] += count
        low, high = CaseRate(cases).interval or (1.0, 0.0)
        held += low <= rate <= high
        low, high = wilson(anomalies[True], anomalies.total())
        held_by_anomalies += low <= rate <= high

    assert math.isclose(0.95, held / services, abs_tol=0.01)
    assert held_by_anomalies / services < 0.7
