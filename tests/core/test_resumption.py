"""What another answer must be so that it goes on where a response was cut."""

from __future__ import annotations

import json
import random

import pytest

from helpers.keeper import EVENTS, FRAMES, changed, payload_of
from streamwatch.core.kinds import RESPONSE_INTERRUPTED
from streamwatch.core.report import Request
from streamwatch.core.resumption import Continuation, ResumePoint
from streamwatch.core.settings import Settings
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Outcome, Verdict

LIMIT = 1 << 20


def raw_of(frame: bytes) -> bytes:
    """Return what an event carries, as it came."""
    return frame[frame.index(b"data: ") + 6 :].strip()


def point_after(count: int, frames: list[bytes] = FRAMES) -> ResumePoint:
    """Return where a response is of which so many events came."""
    point = ResumePoint(json.loads)
    for frame in frames[:count]:
        assert point(raw_of(frame)) == payload_of(frame)
    return point


@pytest.mark.parametrize("count", range(1, len(FRAMES)))
def test_what_follows_is_let_through_byte_for_byte(count: int) -> None:
    """From any event on, in whatever pieces it comes, and whatever is repeated before it."""
    rest, generator = b"".join(FRAMES[count:]), random.Random(count)
    for start in (count, 0, count // 2):
        point = point_after(count)
        assert point.can_be_asked_for
        proof, body, let_through = Continuation(point, LIMIT), b"".join(FRAMES[start:]), b""
        while body:
            size = generator.randint(1, 600)
            let_through += proof.push(body[:size])
            body = body[size:]

        assert let_through == rest
        assert (proof.is_useful, proof.is_wrong) == (True, False)
        assert point.is_over
        assert not point.can_be_asked_for


def test_events_that_came_out_of_order_are_all_known() -> None:
    """While one is missing nothing is asked for; once it came, the last of them is where the response is."""
    frames = [*FRAMES[:5], *reversed(FRAMES[5:9])]
    point = point_after(8, frames)
    assert (point.last, point.can_be_asked_for) == (4, False)

    point(raw_of(frames[8]))

    assert (point.last, point.can_be_asked_for) == (8, True)
    assert all(point.came(number, raw_of(FRAMES[number])) for number in range(9))
    assert not point.came(9, raw_of(FRAMES[9]))


@pytest.mark.slow
def test_what_is_remembered_is_bounded() -> None:
    """Of a hundred thousand events the latest thousands are known again, and an older one proves nothing."""
    point, delta = point_after(1), dict(EVENTS[17])
    for number in range(1, 100_000):
        raw = json.dumps({**delta, "sequence_number": number}).encode()
        point(raw)

    assert point.last == 99_999
    assert point.came(99_999, raw)
    assert point.came(96_000, json.dumps({**delta, "sequence_number": 96_000}).encode())
    assert not point.came(1, json.dumps({**delta, "sequence_number": 1}).encode())
    assert len(point._digests) <= 8192


def test_items_and_early_numbers_are_bounded() -> None:
    """Of more items nothing is known any more, and of more early numbers that the response has a hole."""
    items, numbers = point_after(1), point_after(1)
    for number in range(1, 2000):
        item = {"type": "response.output_item.added", "item": {"id": f"item_{number}"}, "sequence_number": number}
        items(json.dumps(item).encode())
        numbers(json.dumps({"type": "response.x", "sequence_number": number + 1}).encode())

    assert len(items._items) == 1024
    assert items.fits({"item_id": "never announced"})
    assert len(numbers._early) <= 65
    assert not numbers.can_be_asked_for


@pytest.mark.parametrize("background", [{"background": False}, {"store": False}])
def test_a_response_that_is_not_kept_is_not_asked_for(background: dict[str, bool]) -> None:
    """Whatever was asked: the server says what it does."""
    first = changed(0, response={**EVENTS[0]["response"], **background})

    assert not point_after(3, [first, *FRAMES[1:]]).can_be_asked_for


def test_an_id_that_changes_or_is_too_long_is_not_asked_for() -> None:
    """Nobody knows then which response it is."""
    second = changed(1, response={**EVENTS[1]["response"], "id": "resp_2"})
    long = [changed(at, response={**EVENTS[at]["response"], "id": "r" * 513}) for at in (0, 1)]

    assert not point_after(3, [FRAMES[0], second, *FRAMES[2:]]).can_be_asked_for
    assert not point_after(3, [*long, *FRAMES[2:]]).can_be_asked_for
    assert point_after(3).can_be_asked_for


def test_keepalives_need_no_number() -> None:
    """Neither before the cut nor after it; a part of the response does."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    alive = b'event: response.keep_alive\ndata: {"type": "response.keep_alive"}\n\n'
    point = point_after(7, [*FRAMES[:5], ping, alive])
    proof = Continuation(point, LIMIT)

    assert point.can_be_asked_for
    assert proof.push(ping + FRAMES[5]) == ping + FRAMES[5]
    assert proof.push(changed(6, sequence_number=None)) == b""
    assert proof.is_wrong


def test_a_part_of_a_response_is_known_by_its_item() -> None:
    """An item that nobody announced is another response's; of one that was joined late nothing is known."""
    foreign = changed(17, item_id="msg_9")
    joined = ResumePoint(json.loads, id="resp_1", after=15)
    joined(raw_of(FRAMES[16]))

    for point, fits in ((point_after(17), False), (joined, True)):
        proof = Continuation(point, LIMIT)
        assert bool(proof.push(foreign)) == fits
        assert proof.is_wrong != fits


def test_another_response_does_not_follow() -> None:
    """Nor does an end that comes before the response's own."""
    other, done = changed(17, response={"id": "resp_2"}), b"data: [DONE]\n\n"
    for frame in (other, done):
        proof = Continuation(point_after(17), LIMIT)
        assert (proof.push(frame), proof.is_wrong) == (b"", True)

    proof = Continuation(point_after(17), LIMIT)
    rest = b"".join(FRAMES[17:]) + done
    assert (proof.push(rest), proof.is_wrong) == (rest, False)


def test_before_the_first_event_nothing_is_known() -> None:
    """Whatever comes that is no event is parsed, and no more."""
    point = ResumePoint(json.loads)

    assert point(b"[1]") == [1]
    assert (point.next, point.can_be_asked_for) == (0, False)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"1", b"null", b'"text"'])
def test_what_is_no_event_does_not_follow(raw: bytes) -> None:
    """Not even where JSON is nested deeper than a parser goes."""
    proof = Continuation(point_after(5), LIMIT)

    assert proof.push(b"data: " + raw + b"\n\n") == b""
    assert proof.is_wrong


def test_an_event_that_is_too_large_does_not_follow() -> None:
    """It would be left to the SDK, which knows nothing of this answer."""
    proof = Continuation(point_after(5), 100)

    assert proof.push(b'data: {"type": "' + b"x" * 60) == b""
    assert proof.push(b"x" * 60) == b""
    assert proof.is_wrong


@pytest.mark.parametrize("within", [0, 1, 40])
def test_a_watch_goes_on_after_the_last_whole_event(within: int) -> None:
    """What came of an event that was torn is left out, and the stream is as if it had come in one piece."""
    stream = StreamWatch("responses", Request(background=True), Settings())
    stream.receive(b"".join(FRAMES[:7]) + FRAMES[7][:within])
    torn = stream.read_on()
    stream.receive(b"".join(FRAMES[7:]))
    stream.close()
    report = stream.report()

    assert torn == within
    assert [event.raw for event in stream.ready] == [raw_of(frame) for frame in FRAMES]
    assert report.verdict is Verdict.COMPLETE
    assert report.outcomes == {RESPONSE_INTERRUPTED: {Outcome.VERIFIED: 1}}


@pytest.mark.parametrize("error", [{"type": "error", "message": "No"}, {"error": {"message": "No"}}])
def test_a_response_that_failed_is_not_read_on(error: dict[str, object]) -> None:
    """The server has said how it ends."""
    point = point_after(5)
    point(json.dumps(error).encode())

    assert point.is_over
    assert not point.can_be_asked_for
