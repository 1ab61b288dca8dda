"""The texts of a response as data: which events carry each, where it stands, and what a part of it looks like.

Source: the streaming reference of the Responses API, and the event types of openai 3.57.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeGuard

from streamwatch.core.vocabulary import ChunkType

#: An index is a place in a list. What is larger comes from a counter of something else, or from a hostile server.
_MAX_INDEX = 1 << 31


@dataclass(frozen=True)
class Family:
    """The events about one sort of text: `{name}.delta` and `{name}.done`."""

    name: str
    item: str  #: the type of item that has it
    part: str  #: the type of part that has it; "" for what stands in the item itself
    member: str  #: where the whole text stands
    type: ChunkType

    @cached_property
    def key(self) -> str:
        """Return the member that says which part is meant; its own name for what stands in the item itself."""
        if not self.part:
            return self.name
        return "summary_index" if self.part == "summary_text" else "content_index"

    @cached_property
    def announcement(self) -> str:
        """Return the name of the events that announce and close the part."""
        return "response.reasoning_summary_part" if self.part == "summary_text" else "response.content_part"

    @cached_property
    def is_answer(self) -> bool:
        """Return whether an answer lacks something without it: reasoning may come in its item alone."""
        return self.type is not ChunkType.REASONING

    def empty_part(self) -> dict[str, Any]:
        """Return the part as it is announced."""
        more: dict[str, Any] = {"annotations": []} if self.part == "output_text" else {}
        return {"type": self.part, self.member: "", **more}

    def more(self) -> dict[str, Any]:
        """Return what else every event about this text has."""
        return {"logprobs": []} if self.part == "output_text" else {}


FAMILIES = {
    family.name: family
    for family in (
        Family("response.output_text", "message", "output_text", "text", ChunkType.TEXT),
        Family("response.refusal", "message", "refusal", "refusal", ChunkType.REFUSAL),
        Family("response.reasoning_text", "reasoning", "reasoning_text", "text", ChunkType.REASONING),
        Family("response.reasoning_summary_text", "reasoning", "summary_text", "text", ChunkType.REASONING),
        Family("response.function_call_arguments", "function_call", "", "arguments", ChunkType.TOOL_CALL),
        Family("response.custom_tool_call_input", "custom_tool_call", "", "input", ChunkType.TOOL_CALL),
        Family("response.mcp_call_arguments", "mcp_call", "", "arguments", ChunkType.TOOL_CALL),
        Family("response.code_interpreter_call_code", "code_interpreter_call", "", "code", ChunkType.TOOL_CALL),
    )
}
#: A text that is not known.
OTHER = Family("", "", "", "", ChunkType.OTHER)
BY_PART = {family.part: family for family in FAMILIES.values() if family.part}
BY_ITEM = {family.item: family for family in FAMILIES.values() if not family.part}
#: Calls that an application answers by their call ids.
CALLS = ("function_call", "custom_tool_call")
#: The events that announce and close items.
ITEM = "response.output_item"
#: The events that announce and close parts, and the member that says which part is meant.
PARTS = {"response.content_part": "content_index", "response.reasoning_summary_part": "summary_index"}
#: Types of items that their texts distinguish: one of them cannot be meant where another one is named.
ITEM_TYPES = frozenset(family.item for family in FAMILIES.values())
#: Types of items that say nothing: no message and no reasoning can be meant by one of them.
SILENT_TYPES = frozenset(
    (
        *("apply_patch_call", "compaction", "computer_call", "file_search_call", "image_generation_call"),
        *("local_shell_call", "mcp_approval_request", "mcp_list_tools", "shell_call", "web_search_call"),
    )
)


class Said(NamedTuple):
    """A text as a finished item says it."""

    family: Family
    place: int
    text: str
    part: dict[str, Any]  #: the part that has it; the item itself where it has no parts


def is_index(value: Any) -> TypeGuard[int]:
    """Return whether a value can be an index."""
    return type(value) is int and 0 <= value < _MAX_INDEX


def said_by(item: dict[str, Any]) -> Iterator[Said]:
    """Return the known texts of a finished item, in order."""
    type_ = item.get("type")
    family = BY_ITEM.get(type_) if isinstance(type_, str) else None
    if family is not None:
        text = item.get(family.member)
        if isinstance(text, str):
            yield Said(family, 0, text, item)
        return
    for index, part in parts_in(item):
        known = family_of(part)
        if known is not OTHER and known.item == type_ and isinstance(part.get(known.member), str):
            yield Said(known, index, part[known.member], part)


def parts_in(item: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Return the parts of a finished item, each with its index."""
    for member in ("content", "summary"):
        parts = item.get(member)
        yield from enumerate(parts if isinstance(parts, list) else ())


def answers(item: dict[str, Any]) -> bool:
    """Return whether a finished item answers anything: an empty message does not, and no reasoning does."""
    if item.get("type") == "message":
        return any(part.get(family_of(part).member, part) for _, part in parts_in(item) if isinstance(part, dict))
    return item.get("type") != "reasoning"


def family_of(part: Any) -> Family:
    """Return the family of a part."""
    type_ = part.get("type") if isinstance(part, dict) else None
    return BY_PART.get(type_, OTHER) if isinstance(type_, str) else OTHER
