"""Programs that read legacy completions."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .readers import dict_reader, reader

Chunks = Any


@reader("completions", "answer")
def texts_by_index(stream: Chunks) -> Any:
    """Keep a text for each choice."""
    texts: dict[Any, str] = defaultdict(str)
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text or ""
    return sorted(texts.items())


@reader("completions", "answer")
def text_joined(stream: Chunks) -> Any:
    """Join all texts."""
    return "".join(choice.text or "" for chunk in stream for choice in chunk.choices)


@reader("completions", "answer", twin="text_of_first")
def text_bare(stream: Chunks) -> Any:
    """Join the first choice of each chunk, and take it for granted."""
    return "".join(chunk.choices[0].text for chunk in stream)


@reader("completions", "answer")
def text_of_first(stream: Chunks) -> Any:
    """Join the first choice of each chunk that has one."""
    return "".join(chunk.choices[0].text or "" for chunk in stream if chunk.choices)


@reader("completions", "answer")
def text_until_finish(stream: Chunks) -> Any:
    """Leave when as many choices ended as began."""
    texts: dict[Any, str] = defaultdict(str)
    ended: set[Any] = set()
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text or ""
            if choice.finish_reason:
                ended.add(choice.index)
        if texts and len(ended) == len(texts):
            break
    return sorted(texts.items())


@reader("completions")
def finish_reasons(stream: Chunks) -> Any:
    """List indexes and ends."""
    return [(choice.index, choice.finish_reason) for chunk in stream for choice in chunk.choices]


@reader("completions")
def texts(stream: Chunks) -> Any:
    """List the text of each chunk."""
    return [[choice.text for choice in chunk.choices] for chunk in stream]


@reader("completions")
def number_of_chunks(stream: Chunks) -> Any:
    """Count the chunks."""
    return sum(1 for _ in stream)


@reader("completions")
def usages(stream: Chunks) -> Any:
    """List what usage there is."""
    return [chunk.usage.total_tokens for chunk in stream if getattr(chunk, "usage", None)]


@reader("completions")
def heads(stream: Chunks) -> Any:
    """List id, model, object and created of each chunk."""
    return [(chunk.id, chunk.model, chunk.object, chunk.created) for chunk in stream]


@reader("completions")
def logprobs(stream: Chunks) -> Any:
    """List the tokens."""
    return [choice.logprobs.tokens if choice.logprobs else None for chunk in stream for choice in chunk.choices]


@reader("completions")
def types_of_objects(stream: Chunks) -> Any:
    """List the classes of chunks and choices."""
    return [(type(c).__name__, [type(choice).__name__ for choice in getattr(c, "choices", None) or []]) for c in stream]


@dict_reader("completions")
def whole(chunks: Chunks) -> Any:
    """Pass everything on."""
    return list(chunks)


@dict_reader("completions", "answer", twin="text_of_first")
def text(chunks: Chunks) -> Any:
    """Join the first choice of each chunk that has one."""
    return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"])
