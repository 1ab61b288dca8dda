"""What programs compute, in a few words: the readers are grouped by it for the docs of a policy."""

from __future__ import annotations

import functools
import re

#: What a result is about, and the readers whose result it is: the first pattern that fits decides.
RESULTS = {
    "helper": ("what the SDK's `.stream()` helper returns", r"helper_|final_"),
    "calls": ("tool calls", r"calls_|arguments_|custom_input|function_call|inputs"),
    "end": ("the finish reason or status", r"finish_reason|status|type_of_last|first_turn"),
    "usage": ("token usage", r"usage"),
    "names": (
        "ids, models, roles, indexes and numbers",
        r"head|fingerprints|role|indexes|references|response_id|sequence_|ids$",
    ),
    "chunks": ("the number, types and items of the chunks", r"number_of_|types|items_|parts|obfuscation|choices_null"),
    "dicts": ("whole chunks as dicts or JSON", r"whole|merged|copies|extras|fields_set|everything|dicts"),
    "text": (
        "text, reasoning or refusal, or an image",
        r"text|said|last_image|contents|deltas|reasoning|refusal|audio|tokens|logprobs",
    ),
}


@functools.cache
def result_of(reader: str) -> str:
    """Return what the result of a reader is about."""
    return next(name for name, (_, pattern) in RESULTS.items() if re.match(pattern, reader))
