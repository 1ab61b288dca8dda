"""Programs that read the Responses API."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .readers import dict_reader, reader

Events = Any
_TEXT = "response.output_text.delta"
_ARGUMENTS = "response.function_call_arguments.delta"
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def _of(stream: Events, *types: str) -> Any:
    return (event for event in stream if event.type in types)


# --- text


@reader("responses", "answer")
def text_by_deltas(stream: Events) -> Any:
    """Join the deltas of text."""
    return "".join(event.delta for event in _of(stream, _TEXT))


@reader("responses", "answer")
def text_by_any_name(stream: Events) -> Any:
    """Join the pieces of all texts, whatever their events are called, and whether a piece is an object."""
    deltas = [getattr(event, "delta", None) for event in stream if "delta" in event.type and "audio" not in event.type]
    pieces = [delta.get("text") if isinstance(delta, dict) else getattr(delta, "text", delta) for delta in deltas]
    return "".join(piece for piece in pieces if isinstance(piece, str))


@reader("responses", "answer")
def text_by_item_id(stream: Events) -> Any:
    """Keep a text for each item, by its id."""
    texts: dict[Any, str] = defaultdict(str)
    for event in _of(stream, _TEXT):
        texts[event.item_id, event.content_index] += event.delta
    return [text for _, text in texts.items()]


@reader("responses", "answer")
def text_by_output_index(stream: Events) -> Any:
    """Keep a text for each place in the output."""
    texts: dict[Any, str] = defaultdict(str)
    for event in _of(stream, _TEXT):
        texts[event.output_index, event.content_index] += event.delta
    return [texts[key] for key in sorted(texts)]


@reader("responses", "answer")
def text_by_known_item(stream: Events) -> Any:
    """Open an item when it is announced, and look it up by its id: a KeyError for any other."""
    items: dict[Any, list[Any]] = {}
    for event in stream:
        if event.type == "response.output_item.added":
            items[event.item.id] = [event.item.type, ""]
        elif event.type == _TEXT:
            items[event.item_id][1] += event.delta
    return list(items.values())


@reader("responses", "answer")
def text_by_place(stream: Events) -> Any:
    """Append an item when it is announced, and look it up by its place: an IndexError for any other."""
    items: list[list[Any]] = []
    for event in stream:
        if event.type == "response.output_item.added":
            items.append([event.item.type, ""])
        elif event.type in (_TEXT, _ARGUMENTS):
            items[event.output_index][1] += event.delta
    return items


@reader("responses", "answer")
def text_of_open_item(stream: Events) -> Any:
    """Give each delta to the item announced last."""
    items: list[list[Any]] = []
    for event in stream:
        if event.type == "response.output_item.added":
            items.append([event.item.type, ""])
        elif event.type == _TEXT and items:
            items[-1][1] += event.delta
    return items


@reader("responses", "answer")
def text_by_done(stream: Events) -> Any:
    """Take whole texts."""
    return [event.text for event in _of(stream, "response.output_text.done")]


@reader("responses", "answer")
def text_by_part_done(stream: Events) -> Any:
    """Take the texts of parts that are done."""
    found = _of(stream, "response.content_part.done")
    return [getattr(event.part, "text", None) or getattr(event.part, "refusal", None) for event in found]


@reader("responses", "answer")
def text_by_item_done(stream: Events) -> Any:
    """Take the texts of items that are done."""
    found = []
    for event in _of(stream, "response.output_item.done"):
        if event.item.type == "message":
            found += [getattr(part, "text", None) or getattr(part, "refusal", None) for part in event.item.content]
    return found


@reader("responses", "answer")
def text_by_terminal(stream: Events) -> Any:
    """Wait for the end, and take the text from there."""
    for event in stream:
        if event.type in _ENDS:
            texts = [
                part.text
                for item in event.response.output
                if item.type == "message"
                for part in item.content
                if part.type == "output_text"
            ]
            return event.type, texts
    return "no end"


@reader("responses", "answer")
def text_by_match(stream: Events) -> Any:
    """Tell events apart by their structure."""
    text, others, end = "", 0, None
    for event in stream:
        match event:
            case object(type="response.output_text.delta", delta=str(piece)):
                text += piece
            case object(type="response.completed" | "response.incomplete", response=response):
                end = response.status
            case object(type="error" | "response.failed"):
                end = "failed"
            case _:
                others += 1
    return text, end


@reader("responses", "answer")
def text_once(stream: Events) -> Any:
    """Show deltas, and a whole text only where no delta came before it."""
    shown: str = ""
    begun: set[Any] = set()
    for event in stream:
        if event.type == _TEXT:
            shown += event.delta
            begun.add((event.item_id, event.content_index))
        elif event.type == "response.output_text.done" and (event.item_id, event.content_index) not in begun:
            shown += event.text
    return shown


@reader("responses", "answer")
def reasoning(stream: Events) -> Any:
    """Join reasoning and its summary."""
    texts = _of(stream, "response.reasoning_text.delta", "response.reasoning_summary_text.delta")
    return "".join(event.delta for event in texts)


@reader("responses", "answer")
def reasoning_by_done(stream: Events) -> Any:
    """Take reasoning when it is done."""
    return [event.text for event in _of(stream, "response.reasoning_text.done", "response.reasoning_summary_text.done")]


@reader("responses", "answer")
def refusal(stream: Events) -> Any:
    """Join the refusal."""
    return "".join(event.delta for event in _of(stream, "response.refusal.delta"))


# --- calls


@reader("responses", "answer")
def arguments_by_item_id(stream: Events) -> Any:
    """Join arguments by the id of the item, under the name that was announced."""
    names: dict[Any, Any] = {}
    texts: dict[Any, str] = defaultdict(str)
    for event in stream:
        if event.type == "response.output_item.added" and event.item.type == "function_call":
            names[event.item.id] = (event.item.call_id, event.item.name)
        elif event.type == _ARGUMENTS:
            texts[event.item_id] += event.delta
    return [(names.get(id), text) for id, text in texts.items()]


@reader("responses", "answer")
def arguments_by_output_index(stream: Events) -> Any:
    """Join arguments by the place in the output."""
    calls: dict[Any, list[Any]] = {}
    for event in stream:
        if event.type == "response.output_item.added" and event.item.type == "function_call":
            calls[event.output_index] = [event.item.call_id, event.item.name, ""]
        elif event.type == _ARGUMENTS and event.output_index in calls:
            calls[event.output_index][2] += event.delta
    return list(calls.values())


@reader("responses", "answer")
def arguments_by_done(stream: Events) -> Any:
    """Take whole arguments."""
    return [(event.item_id, event.arguments) for event in _of(stream, "response.function_call_arguments.done")]


@reader("responses", "answer")
def calls_by_item_done(stream: Events) -> Any:
    """Take whole calls."""
    kinds = ("function_call", "custom_tool_call", "mcp_call")
    found = [event.item for event in _of(stream, "response.output_item.done") if event.item.type in kinds]
    return [
        (i.type, getattr(i, "call_id", None), i.name, getattr(i, "arguments", None) or getattr(i, "input", None))
        for i in found
    ]


@reader("responses", "answer")
def calls_by_terminal(stream: Events) -> Any:
    """Take whole calls from the last event."""
    for event in stream:
        if event.type in _ENDS:
            return [(i.call_id, i.name, i.arguments) for i in event.response.output if i.type == "function_call"]
    return "no end"


@reader("responses", "answer")
def inputs(stream: Events) -> Any:
    """Join what custom tools, MCP servers and interpreters are given."""
    kinds = ("custom_tool_call_input", "mcp_call_arguments", "code_interpreter_call_code")
    texts: dict[Any, str] = defaultdict(str)
    for event in _of(stream, *(f"response.{kind}.delta" for kind in kinds)):
        texts[event.type, event.item_id] += event.delta
    return list(texts.items())


@reader("responses", "answer")
def inputs_by_done(stream: Events) -> Any:
    """Take what custom tools, MCP servers and interpreters were given."""
    found = []
    for event in stream:
        if event.type == "response.custom_tool_call_input.done":
            found.append(event.input)
        elif event.type == "response.mcp_call_arguments.done":
            found.append(event.arguments)
        elif event.type == "response.code_interpreter_call_code.done":
            found.append(event.code)
    return found


# --- form


@reader("responses")
def number_of_events(stream: Events) -> Any:
    """Count the events."""
    return sum(1 for _ in stream)


@reader("responses")
def number_of_texts(stream: Events) -> Any:
    """Count the deltas of text."""
    return sum(1 for _ in _of(stream, _TEXT))


@reader("responses")
def types(stream: Events) -> Any:
    """List the types of the events."""
    return [event.type for event in stream]


@reader("responses")
def deltas(stream: Events) -> Any:
    """List everything that is a delta, in order."""
    return [(event.type, event.delta) for event in stream if event.type.endswith(".delta")]


@reader("responses")
def sequence_numbers(stream: Events) -> Any:
    """List the numbers."""
    return [getattr(event, "sequence_number", None) for event in stream]


@reader("responses")
def sequence_never_falls(stream: Events) -> Any:
    """Refuse a number that is lower than the last one; keep-alives have none."""
    last = -1
    for event in stream:
        if event.sequence_number is None:
            continue
        if event.sequence_number < last:
            raise ValueError(f"{event.sequence_number} after {last}")
        last = event.sequence_number
    return last


@reader("responses")
def sequence_is_compared(stream: Events) -> Any:
    """Compare the number of each event with the last one, as a program does that knows no event without."""
    last = -1
    for event in stream:
        last = max(last, event.sequence_number)
    return last


@reader("responses", "answer")
def text_each_number_once(stream: Events) -> Any:
    """Join deltas, and skip a number that was there, as a program does that resumes."""
    text = ""
    seen: set[Any] = set()
    for event in stream:
        number = getattr(event, "sequence_number", None)
        if number is not None and number in seen:
            continue
        seen.add(number)
        if event.type == _TEXT:
            text += event.delta
    return text


@reader("responses", "answer")
def types_each_number_once(stream: Events) -> Any:
    """List the closing events, each number once."""
    found: dict[Any, Any] = {}
    for place, event in enumerate(stream):
        number = getattr(event, "sequence_number", None)
        found.setdefault(f"no {place}" if number is None else number, event.type)
    return [type for type in found.values() if type.endswith((".done", ".completed"))]


@reader("responses")
def references(stream: Events) -> Any:
    """List what each event is about."""
    names = ("output_index", "item_id", "content_index", "summary_index")
    return [(event.type, *(getattr(event, name, None) for name in names)) for event in stream]


@reader("responses", "answer")
def items_announced(stream: Events) -> Any:
    """List the items that are announced."""
    return [(event.item.type, event.item.id) for event in _of(stream, "response.output_item.added")]


@reader("responses", "answer")
def items_done(stream: Events) -> Any:
    """List the items that are done: what goes back to the server with the next request."""
    found = []
    for event in _of(stream, "response.output_item.done"):
        item = event.item
        found.append((item.type, item.id, getattr(item, "call_id", None), getattr(item, "encrypted_content", None)))
    return found


@reader("responses", "answer")
def items_of_terminal(stream: Events) -> Any:
    """List the items of the last event."""
    for event in stream:
        if event.type in _ENDS:
            return [(i.type, i.id, getattr(i, "encrypted_content", None)) for i in event.response.output]
    return "no end"


@reader("responses", "answer")
def status(stream: Events) -> Any:
    """Keep how the response ended, and what it cost."""
    for event in stream:
        if event.type in _ENDS:
            usage = event.response.usage
            return event.type, event.response.status, usage.total_tokens if usage else None
    return "no end"


@reader("responses")
def type_of_last(stream: Events) -> Any:
    """Keep the type of the last event."""
    last = None
    for event in stream:
        last = event.type
    return last


@reader("responses", "answer")
def response_ids(stream: Events) -> Any:
    """List the ids of the response: what the next request goes on from."""
    return [event.response.id for event in stream if getattr(event, "response", None) is not None]


@reader("responses", "answer")
def response_id_first(stream: Events) -> Any:
    """Take the response of the first event for granted."""
    for event in stream:
        return event.response.id
    return None


@reader("responses")
def parts(stream: Events) -> Any:
    """List the parts that open and close."""
    return [(event.type, event.part.type) for event in stream if event.type.startswith("response.content_part.")]


@reader("responses")
def obfuscation(stream: Events) -> Any:
    """List a member that newer servers send."""
    return [getattr(event, "obfuscation", None) for event in stream]


@reader("responses")
def types_of_objects(stream: Events) -> Any:
    """List the classes of the events."""
    return [type(event).__name__ for event in stream]


@dict_reader("responses")
def whole(events: Events) -> Any:
    """Pass everything on."""
    return list(events)


@dict_reader("responses", "answer")
def text(events: Events) -> Any:
    """Join the deltas of text."""
    return "".join(event["delta"] for event in events if event["type"] == _TEXT)
