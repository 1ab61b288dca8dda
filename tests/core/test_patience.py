"""Waits in vain are not repeated: in a stream, and in the next ones of a server."""

from __future__ import annotations

import pytest

from helpers.numbered import EVENTS, LONG, numbers, opened
from helpers.stream_builders import (
    named,
)
from streamwatch.core.kinds import SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER
from streamwatch.core.patience import Patience, PatienceByServer
from streamwatch.core.vocabulary import Outcome

# --- patience


def test_a_straggler_goes_on_at_once() -> None:
    """Too late for the window: handed on when it comes, counted as a repair that failed."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], *EVENTS[6:9]]))
    read.take(named([EVENTS[5], *EVENTS[9:]]), 3.0)
    report = read.close().report

    assert report is not None
    assert numbers([event.payload for event, _ in read.gone]) == [*range(5), 6, 7, 8, 5, *range(9, len(EVENTS))]
    assert report.outcomes[SEQUENCE_OUT_OF_ORDER] == {Outcome.FAILED: 1}
    assert SEQUENCE_GAP not in report.anomalies


def test_a_gap_that_nothing_fills_costs_one_wait() -> None:
    """After a wait in vain the next gap is not waited for: the server loses events, it does not delay them."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6]]))
    read.take(named([EVENTS[7], EVENTS[9]]), 3.0)

    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 7, 9]
    assert read.stream.deadline is None


def test_patience_returns_with_a_straggler() -> None:
    """A wait in vain ends waiting; an event that then comes late shows that it would have paid."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6]]))
    read.take(named([EVENTS[5], EVENTS[8]]), 3.0)

    assert read.stream.deadline == 105.0
    read.take(named([EVENTS[7]]))
    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 6, 5, 7, 8]
    assert read.stream.deadline is None


def test_a_hole_that_was_filled_keeps_patience() -> None:
    """One number is lost among others that are late: the next ones are waited for all the same."""
    read = opened(window_seconds=2.0)
    read.take(named([*EVENTS[:5], EVENTS[6], EVENTS[5], EVENTS[8]]))  # 7 is lost
    read.take(named([EVENTS[10]]), 3.0)

    assert read.stream.deadline == 105.0
    read.take(named([EVENTS[9]]))
    assert numbers([event.payload for event, _ in read.gone]) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]


def test_a_loss_at_the_very_start_is_not_the_last_word() -> None:
    """The protocol's numbers were in doubt when they were waited for in vain; they have counted on since."""
    read = opened()
    read.take(named([EVENTS[0], EVENTS[2]]))
    read.take(named([*EVENTS[3:20], EVENTS[21]]), 1.0)

    assert read.stream.deadline == 101 + LONG


@pytest.mark.parametrize("servers", ["the same", "another model", "another server"])
def test_a_server_whose_holes_never_fill_is_remembered(servers: str) -> None:
    """One wait in a stream, and none in its next ones; what another server does is not known by that."""
    memory = {"gateway": Patience(), "other": Patience()}
    waited = []
    for server in ("gateway", "gateway" if servers == "the same" else "other"):
        read = opened(patience=memory[server])
        for event in [*EVENTS[:30], *EVENTS[31:50], *EVENTS[51:]]:
            read.take(named([event]), 0.1)
        waited.append(read.close().longest)
        assert read.counts() == {"sequence_gap": 2}

    assert waited == [pytest.approx(LONG), 0 if servers == "the same" else pytest.approx(LONG)]


def test_a_server_that_proves_its_numbers_is_trusted_again() -> None:
    """A straggler shows that waiting would have paid, and the next stream waits."""
    patience = Patience()
    for order, waits in (([0, 2, 3], False), ([0, 1, 2, 3, 4, 6, 5, 7], True), ([0, 1, 2, 3, 4, 6], True)):
        read = opened(patience=patience)
        for place in order:
            read.take(named([EVENTS[place]]), 0.3)
        assert (read.stream.deadline is not None) == (waits and order[-1] == 6)


def test_within_one_read_even_the_impatient_put_in_order() -> None:
    """It delays nothing: a server that loses events may mix them up as well."""
    patience = Patience()
    read = opened(patience=patience)
    read.take(named([*EVENTS[:30], EVENTS[31]]))
    read.take(b"", 3.0)
    assert not patience.of("sequence_number").patient

    read = opened(patience=patience)
    read.take(named([EVENTS[1], EVENTS[0], *EVENTS[3:7], EVENTS[2]]))
    assert numbers([event.payload for event, _ in read.gone]) == list(range(7))
    assert read.stream.deadline is None


def test_numbers_in_doubt_have_to_count_on_before_they_are_waited_for_again() -> None:
    """16 in a row after the wait that was in vain."""
    for count in (15, 16):
        read = opened()
        read.take(named([EVENTS[0], EVENTS[2]]))
        read.take(named([*EVENTS[3 : 2 + count], EVENTS[30]]), 1.0)
        assert (read.stream.deadline is not None) == (count == 16)


@pytest.mark.parametrize(("waited", "patient"), [(0.04, True), (0.06, False)])
def test_a_wait_that_the_end_cuts_short_is_remembered_if_anybody_felt_it(waited: float, patient: bool) -> None:
    """From 50 ms on: what came in one read, or nearly, has cost nobody anything."""
    patience = Patience()
    read = opened(patience=patience)
    read.take(named([*EVENTS[:20], *EVENTS[21:30]]))
    read.clock.now += waited
    read.close()

    assert read.counts()[SEQUENCE_GAP.name] == 1
    assert patience.of("sequence_number").patient is patient


def test_a_stream_is_blamed_once_however_often_it_was_waited_for_in_vain() -> None:
    """A wait that paid makes up for three in vain; a stream with two of them is one of the three."""
    patience = Patience()
    trust = patience.of("sequence_number")
    trust.paid()
    read = opened(patience=patience)
    read.take(named([EVENTS[0], EVENTS[2]]))
    read.take(named([*EVENTS[3:21], EVENTS[22]]), 1.0)
    assert read.stream.deadline is not None
    read.take(b"", 3.0)
    read.close()

    assert read.counts() == {"sequence_gap": 2}
    trust.in_vain()
    trust.in_vain()
    assert trust.patient
    trust.in_vain()
    assert not trust.patient


def test_servers_are_told_apart_and_the_oldest_are_forgotten() -> None:
    """By address and model, as far as 200 characters of each go."""
    servers = PatienceByServer(most=2)
    first = servers.of("gateway", "model")
    long = "x" * 1000

    assert servers.of("gateway", "model") is first
    assert servers.of("gateway", "other") is not first
    assert servers.of(long + "1", "m") is servers.of(long + "2", "m")
    assert servers.of("gateway", "model") is not first


def test_512_servers_and_models_are_remembered() -> None:
    """The latest ones: with one more the first is forgotten."""
    for others, remembered in ((511, True), (512, False)):
        servers = PatienceByServer()
        first = servers.of("gateway", "model")
        for number in range(others):
            servers.of("gateway", f"model {number}")

        assert (servers.of("gateway", "model") is first) == remembered


def test_what_is_known_of_a_server_is_a_few_numbers() -> None:
    """One wait in vain is enough where nothing is known; a wait that paid makes up for three of them."""
    trust = Patience().of("seq")
    assert trust.patient
    trust.in_vain()
    assert not trust.patient

    trust.paid()
    trust.paid()
    for _ in range(3):
        trust.in_vain()
        assert trust.patient
    trust.in_vain()
    trust.in_vain()
    assert not trust.patient
    assert not trust.has_paid


def test_numbers_that_are_refuted_are_not_waited_for_again_unless_they_paid() -> None:
    """One stream that breaks its numbers is an exception where they have put others in order."""
    for paid in (False, True):
        trust = Patience().of("seq")
        if paid:
            trust.paid()
        trust.refuted()
        assert trust.patient == paid
