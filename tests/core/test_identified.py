"""Events with an `event_id`: repeats, texts beside their closing events, and that all that is kept has a bound."""

from __future__ import annotations

import pytest

from helpers.stream_builders import Payload, named, turn, watch
from streamwatch.core.apis import identified
from streamwatch.core.apis.agents import Agents
from streamwatch.core.kinds import EVENT_REPEATED, RESPONSE_TEXT_LOST
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome, Verdict

TURN = turn("One ", "two", "!")
DELTAS = [at for at, event in enumerate(TURN) if event["type"].endswith("output_text.delta")]


@pytest.mark.parametrize("at", range(len(TURN)))
def test_any_event_may_come_again_at_once(at: int) -> None:
    """It is one repeat, and on request the stream is what it was."""
    seen = watch("agents", named([*TURN[: at + 1], TURN[at], *TURN[at + 1 :]]), "default,+event_repeated")

    assert seen.payloads == TURN
    assert seen.report.anomalies == {EVENT_REPEATED: 1}
    assert seen.report.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("since", range(len(TURN)))
def test_all_since_an_event_may_come_again(since: int) -> None:
    """As after a reconnect: every event is known by its id, and the text proves that nothing is missing."""
    wire = named([*TURN[:11], *TURN[since:]]) if since < 11 else named([*TURN, *TURN[since:]])
    seen = watch("agents", wire, "default,+event_repeated")

    assert seen.payloads == TURN
    assert seen.report.outcomes == {EVENT_REPEATED: {Outcome.VERIFIED: seen.report.anomalies[EVENT_REPEATED]}}


@pytest.mark.parametrize("padding", ["obfuscation", "p"])
def test_only_padding_may_differ(padding: str) -> None:
    """An event that says something else under a known id is another event: the id identifies nothing."""
    again = {**TURN[DELTAS[0]], padding: "x"}
    seen = watch("agents", named([*TURN[: DELTAS[0] + 1], again, *TURN[DELTAS[0] + 1 :]]), "default,+event_repeated")

    assert len(seen.payloads) == len(TURN) + (padding != "obfuscation")


@pytest.mark.parametrize("at", DELTAS)
def test_a_delta_that_is_lost_is_seen_at_the_end_of_its_text(at: int) -> None:
    """The deltas say less than the text that closes them."""
    seen = watch("agents", named([*TURN[:at], *TURN[at + 1 :]]))

    assert seen.report.anomalies == {RESPONSE_TEXT_LOST: 1}


@pytest.mark.slow
def test_what_is_kept_is_bounded() -> None:
    """Ids, turns and texts without end: the oldest are forgotten, and every event goes on."""
    count = 3 * max(identified.MAX_OPEN, identified.MAX_RECENT)
    events: list[Payload] = []
    for number in range(count):
        part = {"type": "output_text", "text": ""}
        events.append(
            {
                "type": "agent.session.turn.content_part.added",
                "event_id": f"e{number}",
                "turn_id": f"t{number}",
                "item_id": f"i{number}",
                "content_index": 0,
                "part": part,
            }
        )
    stream = StreamWatch("agents")
    for event in events:
        stream.receive(named([event]))
    kept = stream._api

    assert len(stream.ready) == len(events)
    assert isinstance(kept, Agents)
    assert len(kept._recent) == identified.MAX_RECENT
    assert len(kept._turns) == len(kept._digests) == identified.MAX_OPEN
