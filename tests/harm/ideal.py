"""What a stream proves about itself: the same stream as it must have been, by its own numbers and its own texts.

All of it is judged from the wire, and from nothing that Streamwatch says.
"""

from __future__ import annotations

from collections.abc import Iterator

from .ideal_calls import by_announcement, with_headers, with_listed_calls, with_text_arguments
from .ideal_chat import as_asked, for_helper, names_once, with_deltas, with_usage, with_whole_messages
from .ideal_frames import reframed
from .ideal_items import by_announcements, by_identity, by_places, by_texts, in_parts
from .ideal_order import STAMPS, in_order, said_once
from .ideal_protocol import announced_first, with_protocol, without_bare_lifecycle
from .ideal_texts import with_output, with_tails
from .wire import Event, Stream, parsed

Events = list[Event]
#: Streams. One proof leads to the next, and few streams need more than three.
MOST = 120


def ideals(stream: Stream, helper: bool = False) -> Iterator[tuple[str, Stream]]:
    """Return the streams that this one proves to be right instead of itself, with what proves each."""
    events = list(parsed(stream.body)) if stream.body is not None else list(stream.events)
    seen = [events]
    waiting: list[tuple[str, Events]] = [("", events)]
    done = next((place for place, event in enumerate(events) if event.is_done), len(events))
    if done + 1 < len(events):
        waiting.append(("", events[: done + 1]))  # nobody reads what stands behind it
    while waiting and len(seen) < MOST:
        label, events = waiting.pop(0)
        for name, better in _improved(stream, events, helper and not label.startswith("for the helper")):
            if better not in seen:
                seen.append(better)
                said = f"{label}, {name}" if label else name
                yield said, stream.of(better)
                waiting.append((said, better))


def _improved(stream: Stream, events: Events, helper: bool) -> Iterator[tuple[str, Events]]:
    yield from reframed(events)
    for field in (*STAMPS, "id:") if stream.api != "responses" else ("sequence_number",):
        for better in in_order(events, field):
            yield f"in order of {field}", better
    if stream.api != "responses":
        yield "by what was asked", as_asked(events, stream.request)
        yield from (("with usage where it belongs", better) for better in with_usage(events))
    if stream.api == "chat":
        yield "without names said again", names_once(events, declared(stream))
        yield from (("by the announcements of calls", better) for better in by_announcement(events))
        yield "with the text of a message that alone says it", with_whole_messages(events)
        yield "with calls in a list", with_listed_calls(events)
        yield from (("with arguments as text", better) for better in with_text_arguments(events))
        yield from (("with the delta that stands elsewhere", better) for better in with_deltas(events))
        yield from (("with whole headers", better) for better in with_headers(events))
        if helper:
            yield from for_helper(events)
    if stream.api == "responses" and "starting_after" not in stream.request:
        yield from (("with the tails of texts", better) for better in with_tails(events))
        yield "with the items that are done", with_output(events)
        yield from with_protocol(events)
        yield from (("with announcements first", better) for better in announced_first(events))
    if stream.api == "responses":
        yield "without what was said twice", said_once(events)
        if helper:
            yield "for the helper", without_bare_lifecycle(events)
        yield "by the ids of items", by_identity(events)
        yield "by the places of items that are open", by_places(events)
        yield "by the texts of items", by_texts(events)
        yield "by the ids of items that are there", by_identity(events, everywhere=False)
        yield "by what was announced last", by_announcements(events)
        yield "by the parts that are open", in_parts(events)


def declared(stream: Stream) -> set[str]:
    """Return the names of the tools that were declared."""
    functions = [tool.get("function") for tool in stream.request.get("tools", ())]
    return {function["name"] for function in functions if isinstance(function, dict)}
