"""Programs that read chat completions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .readers import dict_reader, reader
from .readers_dicts import without_empty_content

Chunks = Any


def first_delta(chunk: Any) -> Any:
    """Return the delta of the only choice; None where there is none."""
    return chunk.choices[0].delta if chunk.choices else None


# --- text


@reader("chat", "answer")
def text_or_empty(stream: Chunks) -> Any:
    """Join what there is."""
    text = ""
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return text


@reader("chat", "answer")
def text_if_true(stream: Chunks) -> Any:
    """Join what is true, of choices that are there."""
    parts = []
    for chunk in stream:
        if len(chunk.choices) > 0 and chunk.choices[0].delta and chunk.choices[0].delta.content:
            parts.append(chunk.choices[0].delta.content)
    return "".join(parts)


@reader("chat", "answer", twin="text_or_empty")
def text_of_first_choice(stream: Chunks) -> Any:
    """Join, and take a choice for granted in every chunk."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


@reader("chat", "answer", twin="text_or_empty")
def text_bare(stream: Chunks) -> Any:
    """Join, and take content for granted."""
    text = ""
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content
    return text


@reader("chat", "answer")
def text_of_all_choices(stream: Chunks) -> Any:
    """Join by the index of the choice."""
    texts: dict[Any, str] = defaultdict(str)
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    return sorted(texts.items())


@reader("chat", "answer")
def text_not_none_elif_calls(stream: Chunks) -> Any:
    """Take text where content is not None, and calls elsewhere."""
    text, arguments = [], []
    for chunk in stream:
        delta = first_delta(chunk)
        if delta is None:
            continue
        if delta.content is not None:
            text.append(delta.content)
        elif delta.tool_calls:
            arguments += [call.function.arguments or "" for call in delta.tool_calls if call.function]
    return "".join(text), "".join(arguments)


@reader("chat", "answer")
def text_not_none_else_finish(stream: Chunks) -> Any:
    """Take text where content is not None, and the end elsewhere."""
    text, ends = "", []
    for chunk in stream:
        if not chunk.choices:
            continue
        if chunk.choices[0].delta.content is not None:
            text += chunk.choices[0].delta.content
        else:
            ends.append(chunk.choices[0].finish_reason)
    return text, ends


@reader("chat", "answer")
def text_until_none(stream: Chunks) -> Any:
    """Take None after some text for the end."""
    text = ""
    for chunk in stream:
        delta = first_delta(chunk)
        if delta is None or delta.tool_calls:
            continue
        if delta.content is None and text:
            return text, "ended"
        text += delta.content or ""
    return text, "ran out"


@reader("chat", "answer")
def text_until_finish(stream: Chunks) -> Any:
    """Leave at the first finish_reason."""
    text = ""
    for chunk in stream:
        for choice in chunk.choices[:1]:
            if choice.delta.content:
                text += choice.delta.content
            if choice.finish_reason:
                return text, choice.finish_reason
    return text, None


@reader("chat", "answer")
def text_by_match(stream: Chunks) -> Any:
    """Tell chunks apart by their structure."""
    text, calls, ends = [], 0, []
    for chunk in stream:
        for choice in chunk.choices:
            match choice.delta:
                case object(content=str(piece)):
                    text.append(piece)
                case object(tool_calls=[_, *_] as found):
                    calls += len(found)
                case object(content=None, tool_calls=None):
                    ends.append(choice.finish_reason)
    return "".join(text), calls, ends


@reader("chat", "answer")
def text_while_no_calls(stream: Chunks) -> Any:
    """Decide at the first chunk that says something whether this is an answer or a call."""
    mode, text, fragments = None, "", 0
    for chunk in stream:
        delta = first_delta(chunk)
        if delta is None:
            continue
        if mode is None:
            mode = "calls" if delta.tool_calls else "text" if delta.content is not None else None
        if mode == "text":
            text += delta.content or ""
        elif mode == "calls":
            fragments += len(delta.tool_calls or [])
    return mode, text, fragments


@reader("chat", "answer")
def reasoning(stream: Chunks) -> Any:
    """Join reasoning, under either name, and text after it."""
    thought, text, order = "", "", []
    for chunk in stream:
        delta = first_delta(chunk)
        if delta is None:
            continue
        piece = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if piece:
            thought += piece if isinstance(piece, str) else repr(piece)
            order.append("thought")
        if delta.content:
            text += delta.content
            order.append("text")
    return thought, text, [a for a, b in zip(order, [None, *order]) if a != b]


@reader("chat", "answer")
def refusal(stream: Chunks) -> Any:
    """Join the refusal."""
    return "".join(getattr(c.delta, "refusal", None) or "" for chunk in stream for c in chunk.choices if c.delta)


@reader("chat", "answer")
def audio(stream: Chunks) -> Any:
    """Join what is spoken."""
    transcript, data = "", ""
    for chunk in stream:
        for choice in chunk.choices or []:
            spoken = getattr(choice.delta, "audio", None)
            if spoken is not None:  # a dict, until the SDK knew it
                get = (
                    spoken.get if isinstance(spoken, dict) else lambda name, spoken=spoken: getattr(spoken, name, None)
                )
                transcript += get("transcript") or ""
                data += get("data") or ""
    return transcript, data


@reader("chat", "answer")
def tokens(stream: Chunks) -> Any:
    """List tokens with their probabilities."""
    found = []
    for chunk in stream:
        for choice in chunk.choices:
            logprobs = getattr(choice, "logprobs", None)
            if logprobs and logprobs.content:
                found += [(token.token, token.logprob) for token in logprobs.content]
    return found


# --- form


@reader("chat")
def number_of_chunks(stream: Chunks) -> Any:
    """Count the chunks."""
    return sum(1 for _ in stream)


@reader("chat")
def number_of_texts(stream: Chunks) -> Any:
    """Count the contents that are strings: what a screen is told."""
    return sum(isinstance(c.delta.content, str) for chunk in stream for c in chunk.choices if c.delta)


@reader("chat")
def contents(stream: Chunks) -> Any:
    """List every content, None among them."""
    return [c.delta.content if c.delta else "no delta" for chunk in stream for c in chunk.choices]


@reader("chat")
def roles(stream: Chunks) -> Any:
    """List the role of each chunk."""
    return [c.delta.role for chunk in stream for c in chunk.choices if c.delta]


@reader("chat", "answer")
def role_of_message(stream: Chunks) -> Any:
    """Keep the last role that is there."""
    found = None
    for chunk in stream:
        for choice in chunk.choices:
            found = (choice.delta.role if choice.delta else None) or found
    return found


@reader("chat")
def finish_reasons(stream: Chunks) -> Any:
    """List the finish_reason of each chunk."""
    return [c.finish_reason for chunk in stream for c in chunk.choices]


@reader("chat", "answer")
def finish_reason_last(stream: Chunks) -> Any:
    """Keep the last finish_reason of each choice."""
    found = {}
    for chunk in stream:
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                found[choice.index] = choice.finish_reason
    return sorted(found.items())


@reader("chat")
def usage_sum(stream: Chunks) -> Any:
    """Add up the usage of all chunks."""
    return sum(chunk.usage.total_tokens or 0 for chunk in stream if getattr(chunk, "usage", None))


@reader("chat", "answer")
def usage_last(stream: Chunks) -> Any:
    """Keep the last usage."""
    found = None
    for chunk in stream:
        if getattr(chunk, "usage", None):
            found = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens, chunk.usage.total_tokens)
    return found


@reader("chat", "answer")
def usage_without_choices(stream: Chunks) -> Any:
    """Take usage from the chunk without choices only."""
    found = None
    for chunk in stream:
        if not chunk.choices:
            found = chunk.usage.total_tokens if getattr(chunk, "usage", None) else found
    return found


@reader("chat")
def usage_of_last_chunk(stream: Chunks) -> Any:
    """Look at the last chunk alone."""
    last = None
    for chunk in stream:
        last = chunk
    usage = getattr(last, "usage", None)
    return usage.total_tokens if usage else None


@reader("chat")
def heads(stream: Chunks) -> Any:
    """List id, model, object and created of each chunk."""
    return [(chunk.id, chunk.model, chunk.object, chunk.created) for chunk in stream]


@reader("chat")
def head_of_first(stream: Chunks) -> Any:
    """Keep id and model of the first chunk, and refuse chunks of another id."""
    id = model = None
    for chunk in stream:
        id = id or chunk.id
        model = model or chunk.model
        if chunk.id and chunk.id != id:
            return id, model, "another id"
    return id, model


@reader("chat")
def fingerprints(stream: Chunks) -> Any:
    """List what else a chunk says."""
    names = ("system_fingerprint", "service_tier")
    return [tuple(getattr(chunk, name, None) for name in names) for chunk in stream]


@reader("chat")
def indexes(stream: Chunks) -> Any:
    """List the index of each choice."""
    return [[choice.index for choice in chunk.choices] for chunk in stream]


@reader("chat")
def choices_null_or_list(stream: Chunks) -> Any:
    """Say of each chunk whether choices is None, and how many there are."""
    return [None if chunk.choices is None else len(chunk.choices) for chunk in stream]


@reader("chat")
def extras(stream: Chunks) -> Any:
    """List the members that the SDK does not know."""
    found = []
    for chunk in stream:
        extra = dict(getattr(chunk, "model_extra", None) or {})
        deltas = [dict(getattr(c.delta, "model_extra", None) or {}) for c in chunk.choices or [] if c.delta]
        found.append((extra, [{k: v for k, v in delta.items() if (k, v) != ("content", "")} for delta in deltas]))
    return found


@reader("chat")
def fields_set(stream: Chunks) -> Any:
    """List the members that were there, content excepted."""
    found = []
    for chunk in stream:
        for choice in chunk.choices or []:
            names = getattr(choice.delta, "model_fields_set", None) or getattr(choice.delta, "__fields_set__", ())
            found.append((sorted(set(names or ()) - {"content"}), sorted(getattr(choice, "model_fields_set", ()))))
    return found


@reader("chat")
def types_of_objects(stream: Chunks) -> Any:
    """List the classes of chunks, choices and deltas."""
    return [
        (
            type(chunk).__name__,
            [(type(c).__name__, type(c.delta).__name__) for c in getattr(chunk, "choices", None) or []],
        )
        for chunk in stream
    ]


@reader("chat")
def copies(stream: Chunks) -> Any:
    """Copy chunks as message buses do, and read the copies."""
    found = []
    for chunk in stream:
        copy = chunk.model_copy(deep=True) if hasattr(chunk, "model_copy") else chunk.copy(deep=True)
        found.append((copy == chunk, [(c.delta.content, c.finish_reason) for c in copy.choices or [] if c.delta]))
    return found


# --- dicts


@dict_reader("chat", "answer", twin="text_or_empty")
def text(chunks: Chunks) -> Any:
    """Join content of the only choice, and take it for granted: the program of the second known issue."""
    joined = ""
    for chunk in chunks:
        if chunk["choices"]:
            joined += chunk["choices"][0]["delta"]["content"]
    return joined


@dict_reader("chat", "answer")
def text_get(chunks: Chunks) -> Any:
    """Join content where it is there."""
    return "".join(
        (c["delta"].get("content") or "") for chunk in chunks for c in chunk["choices"][:1] if c.get("delta")
    )


@dict_reader("chat")
def whole(chunks: Chunks) -> Any:
    """Pass everything on."""
    return [without_empty_content(chunk) for chunk in chunks]


@dict_reader("chat", "answer")
def merged(chunks: Chunks) -> Any:
    """Merge deltas member by member, as agents do that want to know nothing of them."""
    message: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            if choice["index"] == 0:
                _merge(message, choice.get("delta") or {})
    message["content"] = message.get("content") or ""
    return message


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, member in delta.items():
        if key == "tool_calls":
            calls = into.setdefault(key, {})
            for call in member or ():
                _merge(calls.setdefault(call.get("index"), {}), {k: v for k, v in call.items() if k != "index"})
        elif isinstance(member, dict):
            _merge(into.setdefault(key, {}) or {}, member)
        elif isinstance(member, str) and key not in ("role", "type", "id"):
            into[key] = (into.get(key) or "") + member
        elif member is not None:
            into[key] = member
