"""What servers do to the Responses API: identities, indexes, events that are missing, and texts that come late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .changes import Events, add, change, inserted, on_payloads, removing, setting
from .wire import Chance, Event, made

_RESPONSES = ("responses",)
_ENDS = ("response.completed", "response.incomplete", "response.failed")
Fits = Callable[[Any], Any]


def type_of(payload: Any) -> str:
    """Return the type of an event."""
    return payload["type"] if isinstance(payload.get("type"), str) else ""


def _delta(payload: Any) -> bool:
    return type_of(payload).endswith(".delta")


def _closing(payload: Any) -> bool:
    return type_of(payload).endswith(".done")


def _about_item(payload: Any) -> bool:
    return "item_id" in payload


def members(name: str, fits: Fits, edit: Callable[[Any], Any], undo: str) -> None:
    """Add a change of the events that fit."""

    def run(events: Events, chance: Chance) -> Events | None:
        return on_payloads(events, lambda payload, _: fits(payload) and edit(payload))

    add(name, _RESPONSES, undo, run)


# --- identities

members("item_id_absent", _about_item, removing("item_id"), "proved")
members("item_id_absent_on_deltas", _delta, removing("item_id"), "proved")
members("item_id_null", _about_item, setting("item_id", None), "proved")
members("item_id_empty", _about_item, setting("item_id", ""), "proved")
members("item_id_number", _about_item, setting("item_id", 5), "proved")
members("item_id_other_on_closing", lambda p: _about_item(p) and _closing(p), setting("item_id", "msg_other"), "proved")
members("output_index_absent", _about_item, removing("output_index"), "proved")
members("output_index_null", _about_item, setting("output_index", None), "proved")
members("output_index_0", lambda p: "output_index" in p, setting("output_index", 0), "proved")
members("content_index_absent", lambda p: "content_index" in p, removing("content_index"), "proved")
members("content_index_0", lambda p: "content_index" in p, setting("content_index", 0), "proved")
members(
    "output_index_0_on_closing", _closing, lambda p: "output_index" in p and setting("output_index", 0)(p), "proved"
)


def _shifted(name: str, member: str, fits: Fits, undo: str = "proved") -> None:
    members(
        name,
        lambda p: isinstance(p.get(member), int) and fits(p),
        lambda p: not p.update({member: p[member] + 1}),
        undo,
    )


_shifted("output_index_from_1", "output_index", lambda p: True, "raises")
_shifted("output_index_shifted_on_deltas", "output_index", _delta)
_shifted("output_index_shifted_on_closing", "output_index", _closing)
_shifted("content_index_shifted_on_deltas", "content_index", _delta)
_shifted("content_index_from_1", "content_index", lambda p: True, "raises")


@change(*_RESPONSES, undo="proved")
def item_id_new_each(events: Events, chance: Chance) -> Events | None:
    """The id of an item is another one in each event about it."""
    return on_payloads(events, lambda p, place: _about_item(p) and setting("item_id", f"item_{place}")(p))


@change(*_RESPONSES, undo="proved")
def content_index_counts_deltas(events: Events, chance: Chance) -> Events | None:
    """The index of the part counts deltas."""
    count = iter(range(10**6))
    return on_payloads(
        events, lambda p, _: "content_index" in p and _delta(p) and setting("content_index", next(count))(p)
    )


@change(*_RESPONSES, undo="proved")
def content_index_counts_events(events: Events, chance: Chance) -> Events | None:
    """The index of the part counts the events about it, the announcement of a part with them."""
    last: dict[Any, Any] = {}

    def count(payload: Any, _: int) -> bool:
        item = payload.get("item_id")
        if "content_index" not in payload:
            return False
        if type_of(payload) == "response.content_part.added":
            last[item] = payload["content_index"]
            return False
        last[item] = last.get(item, -1) + 1
        return setting("content_index", last[item])(payload)

    return on_payloads(events, count)


@change(*_RESPONSES, undo="proved")
def output_index_of_next_on_item_done(events: Events, chance: Chance) -> Events | None:
    """An item is done under the index of the next one."""
    return on_payloads(
        events,
        lambda p, _: (
            type_of(p) == "response.output_item.done"
            and type(p.get("output_index")) is int
            and not p.update(output_index=p["output_index"] + 1)
        ),
    )


@change(*_RESPONSES, undo="proved")
def output_indexes_exchanged_on_deltas(events: Events, chance: Chance) -> Events | None:
    """Deltas of the first two items come under each other's index, with their own ids."""
    return on_payloads(
        events,
        lambda p, _: (
            _delta(p)
            and p.get("output_index") in (0, 1)
            and _has(events, 1)
            and not p.update(output_index=1 - p["output_index"])
        ),
    )


def _has(events: Events, index: int) -> bool:
    return any(event.is_object and event.payload.get("output_index") == index for event in events)


@change(*_RESPONSES, undo="helper")
def item_id_other_in_item_done(events: Events, chance: Chance) -> Events | None:
    """The item has another id when it is done; what it encrypts belongs to that one."""
    return on_payloads(
        events, lambda p, _: type_of(p) == "response.output_item.done" and setting("id", "item_done")(p["item"])
    )


@change(*_RESPONSES)
def item_ids_other_in_terminal(events: Events, chance: Chance) -> Events | None:
    """Items have other ids in the last event, as with gateways that make them up."""

    def edit(payload: Any, _place: int) -> bool:
        output = payload["response"].get("output") if type_of(payload) in _ENDS else None
        for place, item in enumerate(output or ()):
            item["id"] = f"item_{place}"
        return bool(output)

    return on_payloads(events, edit)


@change(*_RESPONSES)
def response_id_other_in_terminal(events: Events, chance: Chance) -> Events | None:
    """The response has another id in the last event."""
    return on_payloads(events, lambda p, _: type_of(p) in _ENDS and setting("id", "resp_other")(p["response"]))


@change(*_RESPONSES)
def response_id_null(events: Events, chance: Chance) -> Events | None:
    """The response has no id."""
    return on_payloads(events, lambda p, _: isinstance(p.get("response"), dict) and setting("id", None)(p["response"]))


@change(*_RESPONSES)
def call_id_other_in_done(events: Events, chance: Chance) -> Events | None:
    """A call has another call_id when it is done."""
    return on_payloads(
        events,
        lambda p, _: (
            type_of(p) == "response.output_item.done"
            and "call_id" in p["item"]
            and setting("call_id", "call_2")(p["item"])
        ),
    )


@change(*_RESPONSES)
def alias_then_snapshot(events: Events, chance: Chance) -> Events | None:
    """The first event names the model as it was asked for."""
    return on_payloads(
        events,
        lambda p, place: (
            place == 0 and isinstance(p.get("response"), dict) and setting("model", "gpt-4o")(p["response"])
        ),
    )


# --- events that do not come


def _without(name: str, *types: str, undo: str = "proved") -> None:
    """Add a change that leaves out events of some types."""

    def run(events: Events, chance: Chance) -> Events | None:
        kept = [event for event in events if not (event.type and any(event.type.endswith(type) for type in types))]
        return kept if kept and len(kept) < len(events) else None

    add(name, _RESPONSES, undo, run)


_without("no_created", "response.created")
_without("no_in_progress", "response.in_progress")
_without("no_lifecycle_first", "response.created", "response.in_progress", "response.queued")
_without("no_item_added", "output_item.added")
_without("no_part_added", "content_part.added", "summary_part.added")
_without("no_part_events", "content_part.added", "content_part.done")
_without("no_announcements", "output_item.added", "content_part.added", "summary_part.added")
_without("no_text_done", "_text.done", "_arguments.done", "_input.done")
_without("no_part_done", "content_part.done", "summary_part.done")
_without("no_item_done", "output_item.done")
_without("no_closing_events", ".done")
_without("only_deltas_and_end", ".added", ".done", "in_progress")
_without("no_deltas", ".delta")
_without("no_deltas_and_text_done", ".delta", "_text.done", "_arguments.done", "_input.done")
_without("only_items_done_and_end", ".delta", "_text.done", "_arguments.done", "_input.done", "part.added", "part.done")
_without("only_lifecycle", ".delta", ".done", ".added")
_without("no_terminal", "response.completed", "response.incomplete", undo="never")


@change(*_RESPONSES, undo="proved")
def last_deltas_lost(events: Events, chance: Chance) -> Events | None:
    """The last pieces of a text are lost; the closing events have them."""
    last = {}
    for place, event in enumerate(events):
        if _is(event, ".delta"):
            last[event.payload.get("item_id"), event.payload.get("content_index")] = place
    lost = chance.pick(sorted(last.values())) if last else None
    return None if lost is None else [*events[:lost], *events[lost + 1 :]]


def _is(event: Event, end: str) -> bool:
    return event.type.endswith(end)


# --- events that come twice, or about nothing


def _again(name: str, type: str, place_of: Callable[[Events, int], int]) -> None:
    """Add a change that says an event again at another place, with a number of its own."""

    def run(events: Events, chance: Chance) -> Events | None:
        place = chance.place(events, lambda event: event.type.endswith(type))
        if place is None:
            return None
        again = events[place].edited(lambda payload: payload.pop("sequence_number", None)).again()
        return renumbered(inserted(events, place_of(events, place), again))

    add(name, _RESPONSES, "raises", run)


def renumbered(events: Events) -> Events:
    """Return the events with numbers of their own, where the stream has numbers."""
    if not any("sequence_number" in event.payload for event in events if event.is_object):
        return events
    return [
        e.edited(setting("sequence_number", n)) if e.is_object and e.payload.get("sequence_number") != n else e
        for n, e in enumerate(events)
    ]


_again("item_added_again", "output_item.added", lambda events, place: place + 1)
_again("item_done_again", "output_item.done", lambda events, place: place + 1)
_again("item_done_again_last", "output_item.done", lambda events, place: len(events) - 1)
_again("part_added_again", "content_part.added", lambda events, place: place + 1)
_again("text_done_again", "output_text.done", lambda events, place: place + 1)
_again("created_again", "response.created", lambda events, place: place + 1)
_again("in_progress_again", "response.in_progress", lambda events, place: min(place + 4, len(events) - 1))


@change(*_RESPONSES)
def item_null_first(events: Events, chance: Chance) -> Events | None:
    """An announcement comes without its item, before the one that has it."""
    place = next((i for i, e in enumerate(events) if e.type == "response.output_item.added"), None)
    return (
        None if place is None else inserted(events, place, events[place].edited(lambda p: p.update(item=None)).again())
    )


def _delta_inside(name: str, value: Any) -> None:
    """Add a change that puts in a delta that says nothing."""

    def run(events: Events, chance: Chance) -> Events | None:
        place = chance.place(events, lambda event: event.type.endswith(".delta"))
        if place is None:
            return None
        empty = events[place].edited(
            lambda payload: (payload.update(delta=value), payload.pop("sequence_number", None))
        )
        return renumbered(inserted(events, place, empty.again()))

    add(name, _RESPONSES, "raises", run)


_delta_inside("delta_empty_inside", "")
_delta_inside("delta_null_inside", None)
_delta_inside("delta_object_inside", {})


@change(*_RESPONSES)
def unknown_event_of_item(events: Events, chance: Chance) -> Events | None:
    """A new event about an item comes, with the next number."""
    place = chance.place(events, lambda event: event.type.endswith(".delta"))
    if place is None:
        return None
    keys = ("item_id", "output_index", "content_index")
    about = {key: events[place].payload[key] for key in keys if key in events[place].payload}
    return renumbered(inserted(events, place, made({"type": "response.output_text.hint.added", **about, "hint": "x"})))


@change(*_RESPONSES)
def item_of_unknown_type(events: Events, chance: Chance) -> Events | None:
    """An item of a type that nobody knows comes and goes."""
    index = 1 + max((e.payload.get("output_index") or 0 for e in events if e.is_object), default=0)
    item = {"id": "new_1", "type": "tool_search_call", "status": "completed"}
    both = [made({"type": f"response.output_item.{w}", "output_index": index, "item": item}) for w in ("added", "done")]
    return renumbered(inserted(events, len(events) - 1, *both)) if events[-1].type in _ENDS else None


# --- members

members("logprobs_absent_on_events", lambda p: "logprobs" in p, removing("logprobs"), "raises")
members("members_of_vendor_on_events", lambda p: True, setting("x_vendor", {"id": "v", "item_id": "v"}), "raises")
members("obfuscation_everywhere", _delta, setting("obfuscation", "abc"), "raises")


def _response(name: str, edit: Callable[[Any], Any], undo: str, ends: bool = True) -> None:
    """Add a change of the response in lifecycle events."""
    members(
        name,
        lambda p: isinstance(p.get("response"), dict) and (type_of(p) in _ENDS) == ends,
        lambda p: edit(p["response"]),
        undo,
    )


_response("terminal_output_empty", setting("output", []), "proved")
_response("terminal_output_absent", removing("output"), "proved")
_response("terminal_output_null", setting("output", None), "proved")
_response("terminal_output_reversed", lambda r: len(r.get("output") or ()) > 1 and not r["output"].reverse(), "raises")
_response("terminal_status_in_progress", setting("status", "in_progress"), "raises")
_response("terminal_status_incomplete", setting("status", "incomplete"), "raises")
_response("terminal_usage_null", setting("usage", None), "raises")
_response("terminal_usage_absent", removing("usage"), "raises")
_response("lifecycle_output_absent", removing("output"), "helper", ends=False)
_response(
    "lifecycle_of_few_members",
    lambda r: [r.pop(k) for k in list(r) if k not in ("id", "object", "output")],
    "helper",
    ends=False,
)


@change(*_RESPONSES, undo="never")
def texts_longer_when_done(events: Events, chance: Chance) -> Events | None:
    """Closing events have a tail that no delta had: the text was longer."""
    return on_payloads(events, lambda payload, _: _longer(payload, " The end."))


@change(*_RESPONSES, undo="never")
def texts_other_when_done(events: Events, chance: Chance) -> Events | None:
    """A moderator has put something else into the closing events."""
    return on_payloads(events, lambda payload, _: _longer(payload, None))


def _longer(value: Any, tail: str | None) -> bool:
    """Alter every text of a closing event; whether there was one."""
    if not (_closing(value) or type_of(value) in _ENDS):
        return False
    found = [False]

    def walk(part: Any) -> None:
        for member in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            walk(member)
        if isinstance(part, dict) and isinstance(part.get("text"), str) and part["text"] and _is_text(part):
            part["text"] = "Withheld." if tail is None else part["text"] + tail
            found[0] = True

    walk(value)
    return found[0]


def _is_text(part: Any) -> bool:
    return part.get("type") in ("output_text", "response.output_text.done")


@change(*_RESPONSES)
def tools_echoed(events: Events, chance: Chance) -> Events | None:
    """Lifecycle events repeat tools of a kind that is new."""
    return on_payloads(
        events,
        lambda p, _: (
            isinstance(p.get("response"), dict)
            and setting("tools", [{"type": "namespace", "name": "n"}])(p["response"])
        ),
    )
