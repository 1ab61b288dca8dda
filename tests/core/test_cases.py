"""Every acceptance case, one harness: however the wire is cut and parsed, the same comes out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from helpers.cases import CASES, Case
from helpers.quick import examples, sample
from helpers.stream_builders import DONE, Delivered, Seen, bytewise, parsers, read, reference, sdk_value, split, watch
from streamwatch.core.kinds import KINDS
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import Level, Outcome

_EACH = pytest.mark.parametrize("case", CASES, ids=repr)
_PARSED = pytest.mark.parametrize(
    "loads", sample(parsers()[::-1], 1), ids=lambda loads: loads.__module__.partition(".")[0]
)

Loads = Callable[[bytes], Any]
#: What is repaired where chunks become dicts, and nowhere in what is handed on.
IN_DICTS = {kind.name for kind in KINDS.values() if kind.level is Level.AUTO}


def see(case: Case, reads: list[bytes] | None = None, repair: str | None = None, loads: Loads = json.loads) -> Seen:
    """A case, watched."""
    wire = reads if reads is not None else [case.wire]
    return watch(case.api, wire, repair or case.repair, request=case.request, error=case.error, loads=loads)


def test_case_names_are_unique() -> None:
    """A name finds one case."""
    assert len(CASES) == len({case.name for case in CASES}) >= 60


@pytest.mark.parametrize("case", CASES, ids=repr)
@_PARSED
def test_a_case_is_found_repaired_and_judged(case: Case, loads: Loads) -> None:
    """The expected kinds with their outcomes, no other fault, the verdict, and what the consumer ends up with."""
    seen = see(case, loads=loads)

    assert set(case.found) <= set(seen.report.anomalies)
    assert seen.faults <= {kind.name for kind in case.found}
    assert seen.report.verdict is case.verdict
    assert read(case.api, seen.delivered) == case.answer
    expected = {kind: {outcome} for kind, outcome in case.found.items() if outcome is not None}
    assert {kind: seen.outcome(kind) for kind in expected} == expected


@pytest.mark.quick_cases(12)
@_EACH
@_PARSED
def test_the_cut_of_the_wire_makes_no_difference(case: Case, loads: Loads) -> None:
    """Whole, byte by byte and in random reads: the same events are handed on, and the same is reported."""
    whole = see(case, loads=loads).comparable()

    assert see(case, bytewise(case.wire), loads=loads).comparable() == whole
    for seed in range(examples(5, 1)):
        assert see(case, split(case.wire, f"{case.name} {seed}"), loads=loads).comparable() == whole


@pytest.mark.quick_cases(20)
@pytest.mark.parametrize("case", [case for case in CASES if case.wire.endswith(DONE)], ids=repr)
def test_what_follows_done_makes_no_difference(case: Case) -> None:
    """No release of the SDK reads beyond [DONE]: what stands there is neither handed on nor reported."""
    late = b'data: {"error":{"message":"too late"}}\n\nevent: x\n\ndata: [DONE]\n\n'

    for reads in ([case.wire + late], [case.wire, late], split(case.wire + late, case.name)):
        assert see(case, reads).comparable() == see(case).comparable()


#: Frames that the decoder repairs before it is asked whether it may.
@pytest.mark.quick_cases(12)
@pytest.mark.parametrize("case", CASES, ids=repr)
@_PARSED
def test_observing_hands_on_the_events_as_they_came(case: Case, loads: Loads) -> None:
    """With nothing to be repaired every event is the wire's own, in the wire's order."""
    untouched = case_events(case)

    for reads in ([case.wire], bytewise(case.wire), split(case.wire, case.name)):
        assert see(case, reads, "none", loads).delivered == untouched


# No SSE parser sees the event behind a byte order mark, and so no observer either.
@pytest.mark.quick_cases(75)
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "payload-after-a-byte-order-mark"], ids=repr)
def test_observing_finds_what_repairing_finds(case: Case) -> None:
    """The shadow of a repair: the same kinds, counts and outcomes, and it says that nothing was applied."""
    repaired, observed = see(case, repair="default").report, see(case, repair="none").report

    assert observed.anomalies == repaired.anomalies
    assert observed.outcomes == repaired.outcomes
    assert (observed.verdict, observed.chunks) == (repaired.verdict, repaired.chunks)
    assert (observed.applied, repaired.applied) == (False, True)


@pytest.mark.quick_cases(75)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_nothing_is_left_to_repair_in_a_repaired_stream(case: Case) -> None:
    """What was handed on, sent again and watched again, shows nothing whose repair was applied."""
    first = see(case)
    again = watch(case.api, rewritten(first.events), case.repair, request=case.request, error=case.error)

    assert {kind.name for kind, outcomes in again.report.outcomes.items() if Outcome.VERIFIED in outcomes} == set()
    assert again.repaired <= IN_DICTS
    assert again.delivered == first.delivered


def case_events(case: Case) -> list[Delivered]:
    """The events of a case as an SSE parser that watches nothing reads them, up to [DONE]."""
    delivered = [Delivered(event.event, sdk_value(event)) for event in reference(case.wire)]
    end = next((at for at, each in enumerate(delivered, 1) if each.value == "[DONE]"), None)
    return delivered[:end]


def rewritten(events: list[Event]) -> bytes:
    """The wire of a server that sends these events."""
    wire = b""
    for event in events:
        value = sdk_value(event)
        data = value if isinstance(value, str) else json.dumps(value)
        head = (f"event: {event.event}\n" if event.event else "") + (f"id: {event.id}\n" if event.id else "")
        wire += (head + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode()
    return wire
