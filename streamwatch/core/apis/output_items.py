"""The output items of a streamed response, their parts, and what the events about them look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from streamwatch.core.digest import RunningDigest
from streamwatch.core.kinds import ChunkType


@dataclass(frozen=True)
class Family:
    """Events about one sort of text: `{name}.delta` and `{name}.done`."""

    name: str
    item: str  #: the type of item that has it
    part: str  #: the type of part that has it; "" for what stands in the item itself
    member: str  #: where the whole text stands
    sort: ChunkType

    @property
    def key(self) -> str:
        """The member that tells the part."""
        return "summary_index" if self.part == "summary_text" else "content_index"

    @property
    def announcement(self) -> str:
        """The events that announce and close the part."""
        return "response.reasoning_summary_part" if self.part == "summary_text" else "response.content_part"

    def empty_part(self) -> dict[str, Any]:
        """The part as it is announced."""
        more: dict[str, Any] = {"annotations": []} if self.part == "output_text" else {}
        return {"type": self.part, self.member: "", **more}


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
    )
}
_OTHER = Family("", "", "", "", ChunkType.OTHER)
_BY_PART = {family.part: family for family in FAMILIES.values() if family.part}


#: Parts of an item that are remembered: many times what any recorded answer has.
_MAX_PARTS = 128


def is_index(value: Any) -> TypeGuard[int]:
    """Whether a value can be an index."""
    return type(value) is int and value >= 0


def _told(announced: dict[str, Any]) -> RunningDigest:
    """What an announcement already says in full: who joins deltas begins with it."""
    told = RunningDigest()
    for value in map(announced.get, ("text", "refusal", "arguments", "input")):
        if isinstance(value, str) and value:
            told.add(value)
            len(told)  # sums it: the text itself is not kept
    return told


class Part:
    """A part of an item, or the arguments of a call: something with a text."""

    __slots__ = ("begun", "done", "family", "index", "item_id", "key", "text", "text_done", "told")

    def __init__(self, item: Item, key: str, index: int, announced: dict[str, Any]) -> None:
        self.item_id = item.announced.get("id")
        self.key = key
        self.index = index
        self.family = _BY_PART.get(str(announced.get("type")), _OTHER)
        self.text = RunningDigest()
        self.told = _told(announced)
        self.begun = False  #: a delta of it came
        self.text_done = False
        self.done = False

    @classmethod
    def of_family(cls, item: Item, family: Family, index: int) -> Part:
        """A part that nobody announced, or that needs no announcement."""
        part = cls(item, family.key if family.part else family.name, index, {"type": family.part})
        part.family = family
        part.told = part.told if family.part else item.told
        return part

    def is_done(self) -> bool:
        """Whether everything that was opened is closed."""
        if not self.family.part:
            return self.text_done or not self.begun
        return self.done and (self.text_done or not self.begun)


class Item:
    """One output item: as it was announced, as it was finished, and its parts."""

    __slots__ = ("announced", "done", "finished", "index", "made_up", "parts", "told")

    def __init__(self, index: int, announced: dict[str, Any]) -> None:
        self.index = index
        #: What an announcement says, without what a finished item would say in the same place.
        self.announced = {key: announced[key] for key in ("id", "type", "call_id", "name") if announced.get(key)}
        self.told = _told(announced)
        self.made_up: frozenset[str] = frozenset()  #: members of the announcement that nobody sent
        self.finished: dict[str, Any] | None = None
        self.parts: dict[tuple[str, int], Part] = {}
        self.done = False

    @classmethod
    def unannounced(cls, index: int, like: dict[str, Any]) -> Item:
        """An item that nobody announced, and the announcement that it should have had."""
        item = cls(index, like)
        item.told = RunningDigest()
        item.made_up = frozenset({"id", "call_id", "name"} - item.announced.keys())
        item.announced.setdefault("id", f"item_{index}")
        type_ = item.announced.setdefault("type", "message")
        item.announced["status"] = "in_progress"
        if type_ == "message":
            item.announced.update(role="assistant", content=[])
        elif type_ == "reasoning":
            item.announced.update(summary=[])
        elif type_ == "function_call":
            item.announced.setdefault("call_id", item.announced["id"])
            item.announced.setdefault("name", "")
            item.announced["arguments"] = ""
        return item

    def remember(self, part: Part) -> bool:
        """Add a part; whether there is room for it."""
        room = len(self.parts) < _MAX_PARTS
        if room:
            self.parts[part.key, part.index] = part
        return room

    def open_part(self, key: str) -> Part | None:
        """The part that is being written."""
        still_open = [part for (known, _), part in self.parts.items() if known == key and not part.done]
        return still_open[-1] if still_open else None

    def equals(self, final: dict[str, Any]) -> bool:
        """Whether the finished item says what was streamed of it."""
        return all(part.text == self._final_text(part, final) for part in self.parts.values() if part.begun)

    def _final_text(self, part: Part, final: dict[str, Any]) -> Any:
        return self._final_part(part, final).get(part.family.member)

    def _final_part(self, part: Part, final: dict[str, Any]) -> dict[str, Any]:
        if not part.family.part:
            return final
        parts = final.get("summary" if part.key == "summary_index" else "content")
        known = parts[part.index] if isinstance(parts, list) and part.index < len(parts) else None
        return known if isinstance(known, dict) else {}

    def closing_events(self, final: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What should have come before the terminal event, and did not."""
        place: dict[str, Any] = {"item_id": self.announced.get("id"), "output_index": self.index}
        for part in self.parts.values():
            family, where = part.family, {**place, part.key: part.index} if part.family.part else place
            if part.begun and not part.text_done:
                more: dict[str, Any] = {"logprobs": []} if family.part == "output_text" else {}
                yield f"{family.name}.done", {**where, family.member: self._final_text(part, final), **more}
            if family.part and not part.done:
                yield f"{family.announcement}.done", {**where, "part": self._final_part(part, final)}
        if not self.done:
            yield "response.output_item.done", {"output_index": self.index, "item": final}
