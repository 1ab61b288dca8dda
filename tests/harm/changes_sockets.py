"""What happens to sessions over WebSockets: on their way, and by servers that number, name and close as they like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .changes import Events, add, change, moved, on_payloads, removing, setting, vendor
from .messages import ENDS, closing, frame, is_close, is_message, silence
from .readers_sockets import SOCKETS
from .wire import Chance, Event, made

_Run = Callable[[Events, Chance], "Events | None"]
_NUMBERED = ("responses_socket",)
_NAMED = ("realtime", "live")
_SPEAKING = ("responses_socket", "realtime")
#: With which servers close: by RFC 6455, by its registry, and of their own.
CODES = (1000, 1001, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4001)
_ENDS = (*ENDS, "session.closed")
#: Messages over which a disorder goes.
_NEAR, _FAR = 1, 5


def _is_about_response(event: Event) -> bool:
    return event.type.startswith("response.")


def _is_end(event: Event) -> bool:
    return event.type in _ENDS


def _place(events: Events, chance: Chance, fits: Callable[[Event], Any] = is_message) -> int | None:
    return chance.place(events, fits)


def _at(events: Events, place: int | None, *more: Event) -> Events | None:
    """Return the events with more of them behind a place; None where there is no such place."""
    return None if place is None else [*events[: place + 1], *more, *events[place + 1 :]]


# --- order and loss


def _late(by: int) -> _Run:
    def run(events: Events, chance: Chance) -> Events | None:
        place = _place(events, chance)
        return None if place is None else moved(events, place, min(by, _last(events) - place))

    return run


def _last(events: Events) -> int:
    """Return the place of the last message."""
    return max((place for place, event in enumerate(events) if is_message(event)), default=0)


for _by in (_NEAR, 2, _FAR, 70):
    add(f"message_late_by_{_by}", SOCKETS, "never", _late(_by))


@change(*SOCKETS, undo="never")
def messages_jitter(events: Events, chance: Chance) -> Events | None:
    """Every message comes up to some places late."""
    places = {id(event): place + chance.below(4, event.tag) for place, event in enumerate(events)}
    last = _last(events)
    return [*sorted(events[: last + 1], key=lambda event: places[id(event)]), *events[last + 1 :]]


@change(*SOCKETS, undo="never")
def message_late_behind_silence(events: Events, chance: Chance) -> Events | None:
    """A message comes behind the next one, and behind a silence that is longer than any window."""
    place = _place(events[: _last(events)], chance)
    if place is None:
        return None
    return [*events[:place], events[place + 1], silence(), events[place], *events[place + 2 :]]


@change(*SOCKETS, undo="never")
def message_lost(events: Events, chance: Chance) -> Events | None:
    """A message is lost."""
    place = _place(events, chance)
    return None if place is None else [*events[:place], *events[place + 1 :]]


@change(*SOCKETS, undo="never")
def message_lost_before_silence(events: Events, chance: Chance) -> Events | None:
    """A message is lost, and a silence is behind the one that comes after it."""
    place = _place(events[: _last(events)], chance)
    return None if place is None else [*events[:place], events[place + 1], silence(), *events[place + 2 :]]


@change(*SOCKETS, undo="never")
def silence_inside(events: Events, chance: Chance) -> Events | None:
    """A silence between two messages."""
    return _at(events, _place(events, chance), silence())


# --- twice


@change(*SOCKETS, undo="never")
def message_twice(events: Events, chance: Chance) -> Events | None:
    """A message comes again at once."""
    place = _place(events, chance)
    return None if place is None else _at(events, place, events[place].again())


@change(*SOCKETS, undo="never")
def message_again_later(events: Events, chance: Chance) -> Events | None:
    """A message comes again some messages later."""
    place = _place(events, chance)
    return None if place is None else _at(events, min(place + 3, _last(events)), events[place].again())


@change(*SOCKETS, undo="never")
def messages_run_again(events: Events, chance: Chance) -> Events | None:
    """Some messages come again: a relay has connected anew."""
    place = _place(events, chance)
    if place is None:
        return None
    end = min(place + 4, _last(events) + 1)
    return [*events[:end], *(event.again() for event in events[place:end]), *events[end:]]


@change(*SOCKETS, undo="never")
def message_twice_with_other_text(events: Events, chance: Chance) -> Events | None:
    """A message comes again under its number and its id, and says something else."""
    place = _place(events, chance, lambda event: isinstance(event.is_object and event.payload.get("delta"), str))
    if place is None:
        return None
    return _at(events, place, events[place].edited(lambda p: p.update(delta=f"{p['delta']}!")).again())


@change(*SOCKETS, undo="never")
def text_twice_under_one_number(events: Events, chance: Chance) -> Events | None:
    """All messages have one number and one id, and some of them are alike."""

    def edit(payload: Any, _place: int) -> bool:
        texts = {"delta": "the "} if isinstance(payload.get("delta"), str) else {}
        payload.update(texts, sequence_number=7, event_id="event_7")
        return True

    return on_payloads(events, edit)


@change(*SOCKETS, undo="never")
def response_again(events: Events, chance: Chance) -> Events | None:
    """All of the session comes again on the same connection."""
    return [*events[: _last(events) + 1], *(event.again() for event in events[: _last(events) + 1]), *events[-1:]]


# --- strangers

_STRANGERS: dict[str, Callable[[], Event]] = {
    "vendor": vendor,
    "vendor_with_number": lambda: vendor(sequence_number=4),
    "vendor_of_response": lambda: made({"type": "response.vendor.progress", "percent": 50}),
    "vendor_on_other_lane": lambda: made({"type": "response.vendor.progress", "stream_id": "zz", "response_id": "zz"}),
    "without_type": lambda: made({"ping": 1}),
    "type_number": lambda: made({"type": 7, "sequence_number": 3}),
    "type_null": lambda: made({"type": None}),
    "error": lambda: made({"type": "error", "status": 500, "error": {"type": "server_error", "message": "No"}}),
    "error_bare": lambda: made({"type": "error"}),
    "steer": lambda: made({"type": "response.steer.accepted", "steer_id": "steer_1"}),
    "created_bare": lambda: made({"type": "response.created"}),
    "completed_bare": lambda: made({"type": "response.completed", "response": None}),
    "no_json": lambda: frame(b"{"),
    "empty": lambda: frame(b""),
    "binary": lambda: frame(b"\x00\xff\xfe audio"),
    "array": lambda: made([{"type": "response.created"}]),
    "number": lambda: made(7),
    "null": lambda: frame(b"null"),
    "nan": lambda: frame(b'{"type": "response.output_text.delta", "delta": NaN}'),
    "surrogate": lambda: frame(b'{"type": "response.output_text.delta", "delta": "\\ud83d"}'),
    "member_twice": lambda: frame(b'{"type": "ping", "type": "response.created", "sequence_number": 0}'),
    "utf_16": lambda: frame('{"type": "ping"}'.encode("utf-16")),
    "mark_of_order": lambda: frame(b'\xef\xbb\xbf{"type": "ping"}'),
    "deep": lambda: frame(b'{"type": "ping", "x": ' + 200 * b"[" + 200 * b"]" + b"}"),
    "large": lambda: made({"type": "response.output_text.delta", "delta": 70_000 * "x", "sequence_number": 5}),
    "large_integer": lambda: frame(b'{"type": "response.created", "sequence_number": ' + 400 * b"9" + b"}"),
}


def _stranger(make: Callable[[], Event]) -> _Run:
    return lambda events, chance: _at(events, _place(events, chance), make())


for _name, _make in _STRANGERS.items():
    add(f"message_{_name}_inside", SOCKETS, "never", _stranger(_make))


# --- numbers, ids, lanes


def _numbers(name: str, write: Callable[[int, Any], Any]) -> None:
    """Add a change of the numbers of a session with lanes: of the place of an event, and of its number."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_payloads(
            events,
            lambda payload, place: (
                isinstance(payload.get("sequence_number"), int)
                and setting("sequence_number", write(place, payload["sequence_number"]))(payload)
            ),
        )

    add(f"messages_numbered_{name}", _NUMBERED, "never", run)


_numbers("from_1", lambda place, number: number + 1)
_numbers("through_the_connection", lambda place, number: place)
_numbers("constant", lambda place, number: 0)
_numbers("sparse", lambda place, number: 10 * number)
_numbers("down", lambda place, number: 1000 - number)
_numbers("by_strings", lambda place, number: str(number))
_numbers("by_fractions", lambda place, number: number + 1.0)
_numbers("in_pairs", lambda place, number: number // 2)
_numbers("scattered", lambda place, number: (place * 2654435761) % 97)
_numbers("not_at_all", lambda place, number: None)


def _stamped(member: str) -> _Run:
    def run(events: Events, chance: Chance) -> Events | None:
        numbered = on_payloads(events, lambda payload, place: setting(member, place)(payload))
        place = _place(events, chance)
        return None if numbered is None or place is None else moved(numbered, place, min(1, _last(events) - place))

    return run


for _member in ("sequence_number", "seq", "index"):
    add(f"messages_stamped_with_{_member}", _NAMED, "never", _stamped(_member))


def _one(name: str, apis: tuple[str, ...], edit: Callable[[Any], Any], fits: Callable[[Event], Any]) -> None:
    """Add a change of a member of one message."""

    def run(events: Events, chance: Chance) -> Events | None:
        place = _place(events, chance, fits)
        return None if place is None else [*events[:place], events[place].edited(edit), *events[place + 1 :]]

    add(name, apis, "never", run)


def _has(member: str) -> Callable[[Event], bool]:
    return lambda event: event.is_object and member in event.payload


for _value_name, _value in {"other": "b", "absent": removing, "null": None, "empty": "", "number": 7}.items():
    for _member, _apis in {"stream_id": _NUMBERED, "response_id": ("realtime",), "event_id": _NAMED}.items():
        _edit = removing(_member) if _value is removing else setting(_member, _value)
        _one(f"{_member}_{_value_name}_once", _apis, _edit, _has(_member))
_one("item_id_other_once", _SPEAKING, setting("item_id", "item_x"), _has("item_id"))
_one("sequence_number_absent_once", _NUMBERED, removing("sequence_number"), _has("sequence_number"))
_one("sequence_number_0_once", _NUMBERED, setting("sequence_number", 0), _has("sequence_number"))
_one("type_absent_once", SOCKETS, removing("type"), _has("type"))
_one("response_null_once", _SPEAKING, setting("response", None), _has("response"))


@change(*_NUMBERED, undo="never")
def stream_ids_absent(events: Events, chance: Chance) -> Events | None:
    """The only lane has no name. Of several that are one nobody could say what belongs together."""
    if len({event.payload.get("stream_id") for event in events if event.is_object}) > 1:
        return None
    return on_payloads(events, lambda payload, _: removing("stream_id")(payload))


@change(*_SPEAKING, undo="never")
def event_ids_alike(events: Events, chance: Chance) -> Events | None:
    """Every message has the same id."""
    return on_payloads(events, lambda payload, _: setting("event_id", "event_1")(payload))


# --- the start and the end of a response


@change(*_SPEAKING, undo="never")
def messages_behind_end(events: Events, chance: Chance) -> Events | None:
    """What was said before comes again behind the end of a response."""
    end = _place(events, chance, _is_end)
    place = _place(events[:end], chance.of("again"), _is_about_response) if end is not None else None
    return None if end is None or place is None else _at(events, end, events[place].again())


@change(*SOCKETS, undo="never")
def end_twice(events: Events, chance: Chance) -> Events | None:
    """A response ends twice."""
    place = _place(events, chance, _is_end)
    return None if place is None else _at(events, place, events[place].again())


@change(*SOCKETS, undo="never")
def end_absent(events: Events, chance: Chance) -> Events | None:
    """A response has no end."""
    place = _place(events, chance, _is_end)
    return None if place is None else [*events[:place], *events[place + 1 :]]


@change(*_SPEAKING, undo="never")
def beginning_absent(events: Events, chance: Chance) -> Events | None:
    """A response has no beginning."""
    place = _place(events, chance, lambda event: event.type == "response.created")
    return None if place is None else [*events[:place], *events[place + 1 :]]


@change(*_SPEAKING, undo="never")
def response_begun_again(events: Events, chance: Chance) -> Events | None:
    """A response is cut in the middle, and another one begins on its lane."""
    begin = _place(events, chance, lambda event: event.type == "response.created")
    place = _place(events[begin or 0 :], chance.of("cut"), _is_about_response) if begin is not None else None
    return None if begin is None or place is None else _at(events, begin + place, events[begin].again())


# --- closes


def _closed(code: int) -> _Run:
    def run(events: Events, chance: Chance) -> Events | None:
        is_other = is_close(events[-1]) and events[-1].id != str(code)
        return [*events[:-1], closing(code, "closed")] if is_other else None

    return run


def _closed_inside(code: int) -> _Run:
    return lambda events, chance: _at(events, _place(events, chance), closing(code, "closed"))


for _code in CODES:
    add(f"closed_with_{_code}", SOCKETS, "never", _closed(_code))
    add(f"closed_with_{_code}_inside", SOCKETS, "never", _closed_inside(_code))


@change(*SOCKETS, undo="never")
def closed_behind_silence(events: Events, chance: Chance) -> Events | None:
    """A message is lost, then nothing comes, and the connection is cut."""
    place = _place(events[: _last(events)], chance)
    return None if place is None else [*events[:place], events[place + 1], silence(), closing(1006, "closed")]
