"""One wrong number that is ahead of all others: its event goes on as it came, and the others in order."""

from __future__ import annotations

import pytest

from helpers.stream_builders import Payload, answered, named, watch
from streamwatch.core.kinds import SEQUENCE_GAP, SEQUENCE_OUT_OF_ORDER, SEQUENCE_UNUSABLE

WHOLE = answered(*(f"Word {number} " for number in range(20)))
LAST = len(WHOLE) - 1


def with_number(events: list[Payload], at: int, number: int) -> list[Payload]:
    """The events, one of them with another number."""
    return [{**event, "sequence_number": number} if place == at else event for place, event in enumerate(events)]


@pytest.mark.parametrize("number", [LAST + 1, LAST + 2, LAST + 20, LAST + 500])
@pytest.mark.parametrize("at", [1, 2, 7, LAST - 2, LAST - 1])
def test_a_number_above_that_of_the_end_moves_nothing(at: int, number: int) -> None:
    """Behind the end nobody would look for its event."""
    events = with_number(WHOLE, at, number)
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert SEQUENCE_OUT_OF_ORDER not in seen.report.anomalies


def test_the_first_event_may_have_the_wrong_number() -> None:
    """The one before it was lost as well: where the stream begins nobody knows, but where it ends."""
    events = with_number(WHOLE[1:], 0, LAST + 1)

    assert watch("responses", named(events)).payloads == events


@pytest.mark.parametrize("at", [3, 9, 15])
def test_an_event_more_under_such_a_number_goes_on_before_the_end(at: int) -> None:
    """Nothing is missing where it comes: the others do not wait for it, nor it for the window."""
    events = [*WHOLE[:at], {**WHOLE[at], "sequence_number": LAST + 9}, *WHOLE[at:]]
    seen = watch("responses", named(events))

    assert seen.payloads[-1] == WHOLE[-1]
    assert [event for event in seen.payloads if event["sequence_number"] <= LAST] == WHOLE


def test_a_number_whose_own_event_never_comes_stays_where_one_is_missing() -> None:
    """Cut before the end: one wrong number explains more than a loss and a leap."""
    events = with_number(WHOLE[:15], 6, 17)
    seen = watch("responses", named(events))

    assert seen.payloads == events
    assert {SEQUENCE_GAP, SEQUENCE_UNUSABLE} <= set(seen.report.anomalies)


def test_what_is_farther_ahead_than_what_came_goes_on_as_it_came() -> None:
    """Nothing that came confirms it; an exchange beside it is put right."""
    events = with_number(WHOLE[:14], 5, 40)
    del events[6]
    events[8], events[9] = events[9], events[8]
    seen = watch("responses", named(events))

    assert [event["sequence_number"] for event in seen.payloads] == [0, 1, 2, 3, 4, 40, *range(7, 14)]


def test_losses_while_others_overtake_are_still_put_in_order() -> None:
    """Two are lost, and the one behind them comes before the one ahead of them: by the numbers alone."""
    events = [*WHOLE[:6], WHOLE[9], WHOLE[7], WHOLE[10], *WHOLE[11:]]
    seen = watch("responses", named(events))

    assert [event["sequence_number"] for event in seen.payloads] == [*range(6), 7, *range(9, LAST + 1)]


def test_another_response_in_the_same_body_is_no_outlier() -> None:
    """Its numbers go on behind the end of the first one, where nothing is missing."""
    more = [{**event, "sequence_number": event["sequence_number"] + LAST + 1} for event in WHOLE]
    exchanged = [*WHOLE[:-1], more[0], WHOLE[-1], *more[1:]]
    seen = watch("responses", named(exchanged))

    assert [event["sequence_number"] for event in seen.payloads] == list(range(2 * LAST + 2))


def test_an_end_that_comes_early_leaves_nothing_out() -> None:
    """What is missing may come yet: until then the numbers say where each event belongs."""
    early = [*WHOLE[:-6], *(WHOLE[place] for place in (-2, -4, -1, -6, -5, -3))]

    assert watch("responses", named(early)).payloads == WHOLE
