"""The invariants of the Responses API: numbers, items and parts, and that what is repeated at the end is what came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamwatch.cli.probe.invariants import RESPONSES, invariant
from streamwatch.cli.probe.invariants_chat import parses
from streamwatch.cli.probe.recorded_answer import TERMINAL, RecordedAnswer, as_dict, as_list, as_text

_ADDED, _DONE = "response.output_item.added", "response.output_item.done"


def _finished(answer: RecordedAnswer) -> bool:
    return bool(answer.of_type("response.completed"))


def _at(event: dict[str, Any]) -> str:
    """Return what an event is about, as text, for a server may send anything there."""
    return repr((event.get("output_index"), event.get("content_index"), event.get("summary_index")))


def _deltas(answer: RecordedAnswer, type: str) -> dict[str, str]:
    """Return the deltas of a type, joined, by their place."""
    pieces: dict[str, list[str]] = {}
    for event in answer.of_type(f"{type}.delta"):
        pieces.setdefault(_at(event), []).append(as_text(event.get("delta")))
    return {place: "".join(each) for place, each in pieces.items()}


# --- order and end


@invariant(
    RESPONSES,
    "Every event is numbered.",
    "Events have no sequence_number: lost or reordered events cannot be detected.",
    matters=True,
)
def numbered(answer: RecordedAnswer) -> bool | None:
    """Return whether sequence_number is an int."""
    return all(type(event.get("sequence_number")) is int for event in answer.payloads) if answer.payloads else None


@invariant(RESPONSES, "Numbers rise by one.", "Sequence numbers have gaps, repeat, or come out of order.", matters=True)
def numbers_contiguous(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so from the first event on, whatever its number."""
    numbers = [event["sequence_number"] for event in answer.payloads if type(event.get("sequence_number")) is int]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else None


@invariant(RESPONSES, "Numbers begin at 0.", "Sequence numbers do not begin at 0.")
def numbers_from_zero(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so, unless the stream is resumed."""
    numbers = [event.get("sequence_number") for event in answer.payloads]
    return numbers[0] == 0 if numbers and numbers[0] is not None and not answer.asked.resumed else None


@invariant(
    RESPONSES,
    "The stream begins with response.created.",
    "The stream does not begin with response.created: the helper raises.",
    matters=True,
)
def begins_with_created(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so, unless the stream is resumed."""
    if not answer.payloads or answer.asked.resumed:
        return None
    return answer.payloads[0].get("type") == "response.created"


@invariant(
    RESPONSES,
    "One terminal event ends the stream.",
    "No terminal event ends the stream, or something follows it.",
    matters=True,
)
def terminal_last(answer: RecordedAnswer) -> bool | None:
    """Return whether one of completed, incomplete and failed comes once, and last."""
    if not answer.payloads:
        return None
    ends = [at for at, event in enumerate(answer.payloads) if as_text(event.get("type")) in TERMINAL]
    return ends == [len(answer.payloads) - 1]


@invariant(
    RESPONSES, "The status fits the terminal event.", "The terminal event and the status in it disagree.", matters=True
)
def terminal_status(answer: RecordedAnswer) -> bool | None:
    """Return whether response.completed has status completed, and so on."""
    ends = answer.of_type(*TERMINAL)
    return as_dict(ends[-1].get("response")).get("status") == TERMINAL[ends[-1]["type"]] if ends else None


@invariant(
    RESPONSES, "A cut answer says so.", "An answer cut at max_output_tokens is not marked as incomplete.", matters=True
)
def incomplete_told(answer: RecordedAnswer) -> bool | None:
    """Return whether it is incomplete, where more was asked for than the tokens allow and all of them were used."""
    if not answer.asked.limited or not answer.terminal:
        return None
    return True if answer.terminal.get("status") == "incomplete" else False if answer.was_cut else None


@invariant(RESPONSES, "Every event has its event: line.", "Events have no event: line: readers of names see nothing.")
def event_lines(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so, where framing is known."""
    sent = [event for event in answer.events if event.payload is not None]
    return all(event.name for event in sent) if sent and answer.exact else None


@invariant(
    RESPONSES, "The event: line says the type.", "The event: line and the type in the data differ.", matters=True
)
def event_line_fits(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so, where there is one."""
    named = [event for event in answer.events if event.payload is not None and event.name]
    return all(event.name == as_dict(event.payload).get("type") for event in named) if named else None


@invariant(RESPONSES, "No [DONE] is sent.", "[DONE] ends the stream, which this API does not have.")
def no_done_marker(answer: RecordedAnswer) -> bool | None:
    """Return whether the terminal event is the end."""
    return not answer.done if answer.ending and answer.payloads else None


@invariant(RESPONSES, "The response keeps its id.", "The id of the response changes inside one answer.", matters=True)
def response_id_constant(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so wherever the response is repeated."""
    ids = {repr(event["response"].get("id")) for event in answer.payloads if isinstance(event.get("response"), dict)}
    return len(ids) == 1 if ids else None


# --- items and parts


@invariant(RESPONSES, "Items are numbered 0, 1, 2.", "Output items are not numbered 0, 1, 2 in order.", matters=True)
def items_in_order(answer: RecordedAnswer) -> bool | None:
    """Return whether they are added in this order."""
    numbers = [repr(event.get("output_index")) for event in answer.of_type(_ADDED)]
    return numbers == [str(number) for number in range(len(numbers))] if numbers and not answer.asked.resumed else None


@invariant(
    RESPONSES,
    "Items are announced first.",
    "Something is said of an item that was never announced: the helper raises.",
    matters=True,
)
def items_announced(answer: RecordedAnswer) -> bool | None:
    """Return whether output_item.added comes before all else about an output_index."""
    known: set[str] = set()
    for event in answer.payloads:
        if event.get("type") == _ADDED:
            known.add(repr(event.get("output_index")))
        elif "output_index" in event and repr(event["output_index"]) not in known and not answer.asked.resumed:
            return False
    return True if known else None


@invariant(
    RESPONSES,
    "Parts are announced first.",
    "Text comes for a part that was never announced: the helper raises.",
    matters=True,
)
def parts_announced(answer: RecordedAnswer) -> bool | None:
    """Return whether content_part.added comes before the text."""
    known: set[str] = set()
    for event in answer.payloads:
        if event.get("type") == "response.content_part.added":
            known.add(_at(event))
        elif event.get("type") == "response.output_text.delta" and _at(event) not in known and not answer.asked.resumed:
            return False
    return True if known else None


@invariant(RESPONSES, "Every item is closed.", "An item is never closed, or closed twice.", matters=True)
def items_closed(answer: RecordedAnswer) -> bool | None:
    """Return whether output_item.done comes once for each, in an answer that is completed."""
    added, done = (
        sorted(repr(event.get("output_index")) for event in answer.of_type(type)) for type in (_ADDED, _DONE)
    )
    return added == done if added and _finished(answer) and not answer.asked.resumed else None


@invariant(
    RESPONSES, "Items keep their ids.", "The id of an item is not the same in all events about it.", matters=True
)
def item_ids_constant(answer: RecordedAnswer) -> bool | None:
    """Return whether added, done, and item_id of the events between agree."""
    ids: dict[str, set[str]] = {}
    for event in answer.payloads:
        id = as_dict(event.get("item")).get("id") or event.get("item_id")
        if "output_index" in event and id:
            ids.setdefault(repr(event["output_index"]), set()).add(repr(id))
    return all(len(each) == 1 for each in ids.values()) if ids else None


# --- what is repeated at the end


def _pairs(answer: RecordedAnswer) -> Iterator[tuple[str, str]]:
    """Yield every text that came in deltas, with the same text as it is repeated, where it is."""
    for type, member in (
        ("response.output_text", "text"),
        ("response.refusal", "refusal"),
        ("response.reasoning_text", "text"),
        ("response.reasoning_summary_text", "text"),
    ):
        joined = _deltas(answer, type)
        for event in answer.of_type(f"{type}.done"):
            yield joined.get(_at(event), ""), as_text(event.get(member))
    joined = _deltas(answer, "response.output_text")
    for event in answer.of_type(_DONE):
        for number, part in enumerate(as_list(as_dict(event.get("item")).get("content"))):
            place = repr((event.get("output_index"), number, None))
            if as_dict(part).get("type") == "output_text" and place in joined:
                yield joined[place], as_text(part.get("text"))


@invariant(
    RESPONSES,
    "The final text is the deltas put together.",
    "The final text differs from the deltas put together.",
    matters=True,
)
def text_agrees(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so in every `done` event."""
    pairs = list(_pairs(answer))
    return all(one == other for one, other in pairs) if pairs else None


def _arguments(answer: RecordedAnswer) -> Iterator[tuple[str, str]]:
    joined = _deltas(answer, "response.function_call_arguments")
    for event in answer.of_type("response.function_call_arguments.done"):
        yield joined.get(_at(event), ""), as_text(event.get("arguments"))
    for event in answer.of_type(_DONE):
        item = as_dict(event.get("item"))
        if item.get("type") == "function_call" and _at(event) in joined:
            yield joined[_at(event)], as_text(item.get("arguments"))


@invariant(
    RESPONSES,
    "The final arguments are the deltas put together.",
    "The final arguments differ from the deltas put together.",
    matters=True,
)
def arguments_agree(answer: RecordedAnswer) -> bool | None:
    """Return whether this is so in every `done` event."""
    pairs = list(_arguments(answer))
    return all(one == other for one, other in pairs) if pairs else None


@invariant(
    RESPONSES, "The arguments of every call parse.", "The arguments of a function call are not JSON.", matters=True
)
def arguments_parse(answer: RecordedAnswer) -> bool | None:
    """Return whether they parse in an answer that was not cut."""
    texts = [other for _, other in _arguments(answer)]
    return all(map(parses, texts)) if texts and _finished(answer) else None


@invariant(
    RESPONSES, "The terminal event repeats every item.", "The terminal event does not repeat the items that came."
)
def output_repeated(answer: RecordedAnswer) -> bool | None:
    """Return whether their ids come again, in order."""
    if not _finished(answer) or answer.asked.resumed:
        return None
    came = [repr(as_dict(event.get("item")).get("id")) for event in answer.of_type(_DONE)]
    return [repr(as_dict(item).get("id")) for item in as_list(answer.terminal.get("output"))] == came


@invariant(RESPONSES, "Usage comes with response.completed.", "response.completed has no usage.", matters=True)
def usage_in_terminal(answer: RecordedAnswer) -> bool | None:
    """Return whether it has one, without being asked for."""
    return isinstance(answer.terminal.get("usage"), dict) if _finished(answer) else None


@invariant(RESPONSES, "Functions are called where they answer.", "A function that answers the question was not called.")
def functions_called(answer: RecordedAnswer) -> bool | None:
    """Return whether a function was called: the model's choice as much as the endpoint's."""
    items = [as_dict(event.get("item")) for event in answer.of_type(_DONE)]
    calls = [item for item in items if item.get("type") == "function_call"]
    return len(calls) >= answer.asked.calls if answer.asked.calls and items else None
