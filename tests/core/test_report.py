"""Reports: what a stream was worth, and what became of each anomaly."""

from __future__ import annotations

import pytest

from helpers.stream_builders import body, called, chunk, said, stamped, tool_call, usage_chunk, watch
from streamwatch.core.ledger import AnomalyCount
from streamwatch.core.vocabulary import Condition, Outcome

SWAPPED = [stamped(said(*"abcdef"))[at] for at in (0, 1, 2, 4, 3, 5, 6, 7)]
CUT_CALL = called(*tool_call(0, "call_a", "weather", '{"city":'))
#: A wire, a policy, and what the stream was worth.
CONDITIONS = {
    "hazards and dialects": ([*said("One"), usage_chunk()], "default", Condition.CLEAN),
    "a fault, repaired": (SWAPPED, "default", Condition.REPAIRED),
    "a fault, only watched": (SWAPPED, "none", Condition.BROKEN),
    "a fault whose repair is off": (SWAPPED, "default,-reorder_buffer", Condition.BROKEN),
    "a fault without a repair": (said("Caf\ufffd"), "default", Condition.BROKEN),
    "cut arguments": (CUT_CALL, "default", Condition.BROKEN),
    "an error": ([*said("One")[:2], {"error": {"message": "x"}}], "default", Condition.BROKEN),
    "no event": ([], "default", Condition.BROKEN),
    "one of two repaired": ([*SWAPPED[:-1], chunk({"content": "\ufffd"}), SWAPPED[-1]], "default", Condition.BROKEN),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_stream_is_worth_what_the_worst_in_it_is(name: str) -> None:
    """Clean, repaired or broken."""
    chunks, repair, condition = CONDITIONS[name]

    assert watch("chat", body(chunks), repair).report.condition is condition


def test_kinds_are_named_in_the_order_in_which_they_were_found() -> None:
    """For people."""
    report = watch("chat", body([chunk({"content": None}), chunk({}, "stop"), usage_chunk()])).report

    assert report.kinds == ("role_irregular", "content_null", "content_absent", "choices_empty", "answer_missing")


@pytest.mark.parametrize("evidence", [True, False, None])
@pytest.mark.parametrize(
    ("count", "repaired", "failed"), [(0, 0, 0), (1, 0, 0), (3, 2, 1), (6, 3, 1), (2, 2, 0), (2, 0, 2)]
)
def test_every_anomaly_has_one_outcome(count: int, repaired: int, failed: int, evidence: bool | None) -> None:
    """Repaired ones by the evidence, the others as they are; an outcome that nothing had is not there."""
    tally = AnomalyCount()
    tally.count, tally.repaired, tally.failed = count, repaired, failed
    outcomes = tally.outcomes(evidence=evidence)

    assert sum(outcomes.values()) == count
    assert all(outcomes.values())
    assert outcomes.get(Outcome.VERIFIED, 0) == (repaired if evidence else 0)
    assert outcomes.get(Outcome.UNVERIFIED, 0) == (repaired if evidence is None else 0)
    assert outcomes.get(Outcome.FAILED, 0) == failed + (repaired if evidence is False else 0)
    assert outcomes.get(Outcome.UNREPAIRED, 0) == count - repaired - failed
