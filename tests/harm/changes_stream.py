"""What happens to any stream on its way: events late, early, twice, left out; numbers; keep-alives; ends; strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .changes import (
    ALL,
    Events,
    add,
    change,
    end_of,
    inserted,
    is_data,
    is_text,
    middle,
    moved,
    number_of,
    on_payloads,
    removing,
    setting,
    vendor,
)
from .streams import OTHERS
from .wire import DONE, Chance, Event, Raw, comment, made

_CHOICES = ("chat", "completions")
_RESPONSES = ("responses",)

# --- numbers


def _numbered(events: Events, write: Callable[[int, int], Any], member: str = "sequence_number") -> Events | None:
    """Return the events with `write(count, events so far)` as their number."""
    count = [-1]

    def edit(payload: Any, place: int) -> bool:
        count[0] += 1
        return setting(member, write(count[0], place))(payload)

    return on_payloads(events, edit)


def _numbers(name: str, write: Callable[[int, int], Any], member: str = "sequence_number") -> None:
    """Add a change of all numbers, the events in order."""
    add(name, ALL if member == "sequence_number" else _CHOICES, "raises", lambda e, c: _numbered(e, write, member))


_numbers("numbers_from_1", lambda count, place: count + 1)
_numbers("numbers_constant", lambda count, place: 0)
_numbers("numbers_sparse", lambda count, place: count * 10)
_numbers("numbers_of_snowflake", lambda count, place: 7300000000000000000 + count * 4194304)
_numbers("numbers_of_clock", lambda count, place: 1780000000000 + count // 3 * 41)
_numbers("numbers_restart", lambda count, place: count % 5)
_numbers("numbers_fall", lambda count, place: 1000 - count)
_numbers("numbers_scattered", lambda count, place: (count * 2654435761) % (1 << 32))
_numbers("numbers_string", lambda count, place: str(count))
_numbers("numbers_fraction", lambda count, place: float(count))
_numbers("numbers_null", lambda count, place: None)
_numbers("numbers_stand_still", lambda count, place: min(count, 5))
_numbers("numbers_in_pairs", lambda count, place: count // 2)
_numbers("stamps_seq", lambda count, place: count, "seq")
_numbers("stamps_index_constant", lambda count, place: 0, "index")
_numbers("stamps_index_scattered", lambda count, place: (count * 2654435761) % 97, "index")
_numbers("stamps_chunk_index", lambda count, place: count, "chunk_index")


@change(*_RESPONSES)
def numbers_absent(events: Events, chance: Chance) -> Events | None:
    """No event has a number."""
    return on_payloads(events, lambda payload, _: removing("sequence_number")(payload))


@change(*_RESPONSES)
def numbers_on_some(events: Events, chance: Chance) -> Events | None:
    """Every third event has no number."""
    return on_payloads(events, lambda payload, place: place % 3 == 1 and removing("sequence_number")(payload))


@change(*_RESPONSES)
def numbers_left_at_zero(events: Events, chance: Chance) -> Events | None:
    """Events of two types have 0 for a number: what a bridge has not set."""
    types = sorted({event.type for event in events if _has_number(event)})
    if len(types) < 3:
        return None
    unset = {chance.pick(types[1:], "one"), chance.pick(types[1:], "other")}
    return on_payloads(
        events, lambda payload, _: payload.get("type") in unset and setting("sequence_number", 0)(payload)
    )


@change(*_RESPONSES)
def numbers_of_each_item(events: Events, chance: Chance) -> Events | None:
    """Each item has numbers of its own."""
    count = [-1]

    def edit(payload: Any, _place: int) -> bool:
        count[0] = 0 if payload.get("type") == "response.output_item.added" else count[0] + 1
        return setting("sequence_number", count[0])(payload)

    return on_payloads(events, edit)


@change(*_RESPONSES)
def number_far_ahead(events: Events, chance: Chance) -> Events | None:
    """One event has a number that is higher than all others."""
    places = [place for place, event in enumerate(events) if _has_number(event)][1:-1]
    if not places:
        return None
    place, most = chance.pick(places), max(event.payload["sequence_number"] for event in events if _has_number(event))
    wrong = events[place].edited(lambda payload: payload.update(sequence_number=most + chance.pick([1, 3, 25, 90])))
    return [*events[:place], wrong, *events[place + 1 :]]


def _has_number(event: Event) -> bool:
    return event.is_object and type(event.payload.get("sequence_number")) is int


def _identified(events: Events, write: Callable[[int], str]) -> Events:
    return [replace(e, id=write(i), raw=None) if e.is_object else e for i, e in enumerate(events)]


@change(*ALL)
def ids_of_frames_count(events: Events, chance: Chance) -> Events | None:
    """Each frame has an `id:` that counts."""
    return _identified(events, str)


@change(*ALL)
def ids_of_frames_alike(events: Events, chance: Chance) -> Events | None:
    """Each frame has the same `id:`."""
    return _identified(events, lambda _: "1")


@change(*ALL)
def ids_of_frames_fall(events: Events, chance: Chance) -> Events | None:
    """The `id:` of frames counts what is left."""
    return _identified(events, lambda place: str(len(events) - place))


# --- order: on Responses with the numbers they have, on chat with the stamps of a relay


def _disordered(name: str, shuffle: Callable[[Events, Chance], Events | None]) -> None:
    """Add a change of order, of numbered events and of events that nothing numbers."""

    def stamped(member: str) -> Callable[[Events, Chance], Events | None]:
        def run(events: Events, chance: Chance) -> Events | None:
            numbered = _numbered(events, lambda count, _: count, member)
            return shuffle(numbered, chance) if numbered else None

        return run

    def identified(events: Events, chance: Chance) -> Events | None:
        return shuffle(_identified(events, str), chance)

    def bare(events: Events, chance: Chance) -> Events | None:
        without = on_payloads(events, lambda payload, _: removing("sequence_number")(payload)) or events
        return shuffle(without, chance)

    add(f"{name}", _RESPONSES, "proved", shuffle)
    add(f"{name}_stamped", _CHOICES, "proved", stamped("sequence_number"))
    add(f"{name}_stamped_seq", _CHOICES, "proved", stamped("seq"))
    add(f"{name}_with_ids_of_frames", _CHOICES, "proved", identified)
    add(f"{name}_without_numbers", ALL, "never", bare)


def _late(events: Events, chance: Chance, distance: int) -> Events | None:
    place = chance.place(events[: end_of(events)], is_data)
    return None if place is None or place + distance >= end_of(events) else moved(events, place, distance)


def _jitter(events: Events, chance: Chance) -> Events:
    end = end_of(events)
    keys = {i: i + chance.below(5, events[i].tag) + chance.below(100, events[i].tag) / 1000 for i in range(end)}
    return [*(events[i] for i in sorted(range(end), key=keys.__getitem__)), *events[end:]]


_disordered("late_by_1", lambda events, chance: _late(events, chance, 1))
_disordered("late_by_5", lambda events, chance: _late(events, chance, 5))
_disordered("early_by_3", lambda events, chance: _early(events, chance, 3))
_disordered("jitter", _jitter)
_disordered("first_two_exchanged", lambda events, chance: moved(events, 0, 1) if len(events) > 3 else None)
_disordered("last_two_exchanged", lambda e, chance: moved(e, end_of(e) - 2, 1) if end_of(e) > 3 else None)


def _early(events: Events, chance: Chance, distance: int) -> Events | None:
    place = chance.place(events[: end_of(events)], is_data)
    return None if place is None or place < distance else moved(events, place, -distance)


# --- twice, and left out


def _twice(events: Events, chance: Chance) -> Events | None:
    place = chance.place(events[: end_of(events)], is_data)
    return None if place is None else inserted(events, place + 1, events[place].again())


def _run_again(events: Events, chance: Chance) -> Events | None:
    """A relay that resumes says some events again."""
    place = chance.place(events[: end_of(events)], is_data)
    if place is None or place < 4:
        return None
    return inserted(events, place, *(event.again() for event in events[place - 3 : place]))


def _left_out(events: Events, chance: Chance) -> Events | None:
    place = chance.place(events[: end_of(events)], is_text)
    return None if place is None else [*events[:place], *events[place + 1 :]]


_disordered("twice", _twice)
_disordered("run_again", _run_again)
_disordered("left_out", _left_out)


@change(*ALL, undo="never")
def cut_off(events: Events, chance: Chance) -> Events | None:
    """The stream stops in the middle, without an end."""
    return events[: middle(events, chance)]


@change(*ALL, undo="never")
def cut_off_then_done(events: Events, chance: Chance) -> Events | None:
    """The stream stops in the middle, and [DONE] comes."""
    return [*events[: middle(events, chance)], made(DONE)]


@change(*ALL, undo="never")
def begun_again(events: Events, chance: Chance) -> Events | None:
    """A gateway falls back in the middle of an answer, and the answer begins again."""
    return [*events[: middle(events, chance)], *(event.again() for event in events)]


@change(*ALL, undo="never")
def said_twice(events: Events, chance: Chance) -> Events | None:
    """The whole stream comes twice."""
    end = end_of(events)
    return [*events[:end], *(event.again() for event in events[:end]), *events[end:]]


@change(*(api for api in ALL if api != "assistants"))  # whose events are what their names say, of which one is left
def blank_line_lost(events: Events, chance: Chance) -> Events | None:
    """A relay leaves the blank line between two events out."""
    place = chance.place(events[: end_of(events) - 1], is_data)
    if place is None or place + 1 >= end_of(events):
        return None
    joined = events[place].written()[:-1] + events[place + 1].written()
    return [*events[:place], Event(raw=joined, tag="made"), *events[place + 2 :]]


# --- [DONE]


@change(*_CHOICES)
def done_missing(events: Events, chance: Chance) -> Events | None:
    """[DONE] does not come."""
    return events[:-1] if events and events[-1].payload == DONE else None


@change(*ALL)
def done_twice(events: Events, chance: Chance) -> Events | None:
    """[DONE] comes once more, or where no API of this kind has it."""
    return [*events, made(DONE)]


@change(*ALL, undo="never")
def done_inside(events: Events, chance: Chance) -> Events | None:
    """[DONE] comes in the middle."""
    return inserted(events, middle(events, chance), made(DONE))


# --- keep-alives, at the start, in the middle, and at the end

_FRAMES: dict[str, Event] = {
    "comment": comment(),
    "named": Event({}, "keepalive", tag="made"),
    "named_ping": Event({}, "ping", tag="made"),
    "named_without_data": Event(raw=b"event: keepalive\n\n", tag="made"),
    "typed": made({"type": "keepalive"}),
    "typed_ping": made({"type": "ping"}),
    "typed_response": made({"type": "response.keep_alive"}),
    "null": made(None),
    "number": made(0),
    "empty_object": made({}),
    "empty_list": made([]),
    "empty_data": Event(raw=b"data:\n\n", tag="made"),
    "comment_as_data": made(Raw(": PROCESSING")),
    "in_progress_without_response": made({"type": "response.in_progress"}),
    "vendor": vendor(),
    "vendor_of_responses": vendor("response.vendor"),
    "vendor_named": Event({"progress": 0.5}, "progress", tag="made"),
    "note_of_failure": made({"tool": "search", "status": "failed"}),
    "note_of_failure_named": Event({"tool": "search", "success": False}, "tool.progress", tag="made"),
    "note_of_detail": made({"detail": "one of two upstreams is busy"}),
    "rate_limits": made({"type": "response.rate_limits.updated", "rate_limits": [{"name": "requests", "limit": 5}]}),
    "other_api": made({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
    "chunk_of_chat": made({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}),
}


def _frames() -> None:
    """Add a change for each frame and each place."""
    places: dict[str, Callable[[Events, Chance], int]] = {
        "first": lambda events, chance: 0,
        "inside": middle,
        "before_done": lambda events, chance: end_of(events),
    }
    for name, frame in _FRAMES.items():
        for where, find in places.items():

            def run(events: Events, chance: Chance, frame: Event = frame, find: Any = find) -> Events | None:
                return inserted(events, find(events, chance), frame)

            add(f"{name}_{where}", ALL, "raises", run)


_frames()


@change(*_RESPONSES)
def keepalive_with_number(events: Events, chance: Chance) -> Events | None:
    """A keep-alive takes a number, as OpenAI's own do."""
    return _with_number(events, middle(events, chance), "keepalive")


@change(*_RESPONSES)
def rate_limits_with_number_after_end(events: Events, chance: Chance) -> Events | None:
    """OpenAI's own event after the terminal one has the next number."""
    return _with_number(events, end_of(events), "response.rate_limits.updated")


def _with_number(events: Events, place: int, type: str) -> Events | None:
    number = number_of(events[place - 1])
    if number is None:
        return None
    later = [
        event.edited(lambda p: p.update(sequence_number=p["sequence_number"] + 1))
        if number_of(event) is not None
        else event
        for event in events[place:]
    ]
    return [*events[:place], made({"type": type, "sequence_number": number + 1}), *later]


@change(*_RESPONSES)
def keepalive_repeats_number(events: Events, chance: Chance) -> Events | None:
    """A gateway's keep-alive has the number of the event before it."""
    place = middle(events, chance)
    number = number_of(events[place - 1])
    return None if number is None else inserted(events, place, made({"type": "keepalive", "sequence_number": number}))


# --- errors


@change(*ALL, undo="never")
def error_inside(events: Events, chance: Chance) -> Events | None:
    """The server reports an error."""
    return [
        *events[: middle(events, chance)],
        made({"error": {"message": "overloaded", "type": "server_error", "code": 503}}),
    ]


@change(*ALL, undo="never")
def error_named_inside(events: Events, chance: Chance) -> Events | None:
    """The server reports an error in an event of that name, and closes."""
    return [*events[: middle(events, chance)], Event({"message": "overloaded"}, "error", tag="made")]


@change(*ALL, undo="never")
def error_flat_inside(events: Events, chance: Chance) -> Events | None:
    """The server reports an error as the Responses API does."""
    return [
        *events[: middle(events, chance)],
        made({"type": "error", "code": "server_error", "message": "overloaded", "param": None}),
    ]


@change(*ALL, undo="never")
def no_json_inside(events: Events, chance: Chance) -> Events | None:
    """Something that is no JSON stands where an event should."""
    return inserted(events, middle(events, chance), made(Raw("<html>502 Bad Gateway</html>")))


# --- frames as such


@change(*ALL)
def data_without_space(events: Events, chance: Chance) -> Events | None:
    """`data:` without the space."""
    return [replace(e, raw=e.written().replace(b"data: ", b"data:", 1)) for e in events]


@change(*ALL)
def lines_end_with_crlf(events: Events, chance: Chance) -> Events | None:
    """Lines end as on Windows."""
    return [replace(e, raw=e.written().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) for e in events]


@change(*_RESPONSES, *(api for api in OTHERS if api != "assistants"))  # where names say what an event is
def names_of_events_absent(events: Events, chance: Chance) -> Events | None:
    """Events have no names."""
    return [replace(e, name=None, raw=None) if e.is_object and e.name else e for e in events]


@change(*_CHOICES)
def names_of_events_message(events: Events, chance: Chance) -> Events | None:
    """Each event is called `message`."""
    return [replace(e, name="message", raw=None) if e.is_object else e for e in events]


@change(*ALL)
def data_twice_named(events: Events, chance: Chance) -> Events | None:
    """A proxy writes `data: ` before a frame that has it."""
    place = chance.place(events[: end_of(events)], is_text)
    if place is None:
        return None
    raw = events[place].written().replace(b"data: ", b"data: data: ", 1)
    return [*events[:place], replace(events[place], raw=raw), *events[place + 1 :]]


@change(*ALL)
def last_blank_line_missing(events: Events, chance: Chance) -> Events | None:
    """The last event is not closed."""
    return [*events[:-1], replace(events[-1], raw=events[-1].written().rstrip(b"\r\n") + b"\n")]
