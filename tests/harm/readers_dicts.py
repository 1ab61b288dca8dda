"""How chunks become dicts and JSON, and what is compared of them.

A delta without content has `content: ""` in dicts at level default, by design: where a whole dict is compared, a
content of "", null and none are one. A text that is joined is compared as it is.
"""

from __future__ import annotations

import json
from typing import Any

import pydantic

from .readers import DUMPS

PYDANTIC_1 = pydantic.VERSION.startswith("1.")


def _plain(chunk: Any, method: str, **options: Any) -> Any:
    # What is no object (a payload of null) has no methods, and an application that dumps it fails.
    return getattr(chunk, method)(**options)


class RepeatedKey(ValueError):
    """JSON has a key twice, which strict parsers refuse."""


def _strict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedKey(str([key for key, _ in pairs]))
    return found


_QUIET = {} if PYDANTIC_1 else {"warnings": False}

DUMPS |= {
    "to_dict": lambda chunk: _plain(chunk, "to_dict", **_QUIET),
    "model_dump": lambda chunk: _plain(chunk, "model_dump", **_QUIET),
    "model_dump unset": lambda chunk: _plain(chunk, "model_dump", exclude_unset=True, **_QUIET),
    "model_dump_json": lambda chunk: json.loads(_plain(chunk, "model_dump_json", **_QUIET), object_pairs_hook=_strict),
    "to_json": lambda chunk: json.loads(_plain(chunk, "to_json", indent=None, **_QUIET), object_pairs_hook=_strict),
}
if not PYDANTIC_1:
    DUMPS["model_dump_json unset"] = lambda chunk: json.loads(
        _plain(chunk, "model_dump_json", exclude_unset=True, **_QUIET), object_pairs_hook=_strict
    )


def without_empty_content(value: Any) -> Any:
    """Return a dumped chunk in which a delta's content of "" or null is left out."""
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
        return value
    return {**value, "choices": [_choice(choice) for choice in value["choices"]]}


def _choice(choice: Any) -> Any:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or delta.get("content", "") not in ("", None):
        return choice
    return {**choice, "delta": {key: member for key, member in delta.items() if key != "content"}}
