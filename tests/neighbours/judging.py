"""Whether an answer is among what somebody stored, in whatever structure that may be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any


def parts(value: Any) -> Iterator[Any]:
    """Every string in a structure, and in the JSON that is in it; and every object, as JSON."""
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            try:
                yield from parts(json.loads(value))
            except ValueError:
                return
    elif isinstance(value, dict):
        yield json.dumps(value, default=str)
        for each in value.values():
            yield from parts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from parts(each)


def judge(wanted: str, strings: set[str]) -> str:
    """Whether a text, a name or arguments are among strings, exactly, as a part, or grown by what is not theirs."""
    if wanted in strings or wanted.replace(": ", ":") in strings:
        return "right"
    listed = re.compile(f"(^|, ){re.escape(wanted)}($|, )")
    if any(listed.search(text) for text in strings if ", " in text):
        return "right"
    texts = [text for text in strings if not text.startswith(("[", '{"', "{'")) or text.startswith(wanted)]
    if any(wanted in text or scrambled(wanted, text) for text in texts):
        return "wrong"
    return "part" if any(len(text) > 3 and wanted.startswith(text) for text in texts) else "none"


def scrambled(wanted: str, text: str) -> bool:
    """Whether a text has every word of the wanted one, if not in this way."""
    words = wanted.split()
    return len(words) > 2 and all(word in text for word in words)


def plain(value: Any) -> Any:
    """As JSON has it."""
    return json.loads(json.dumps(value, default=lambda other: getattr(other, "__dict__", str(other))))
