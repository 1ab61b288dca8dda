"""One streamed answer of the Responses API, and its rules.

How it works. Every event says by its `type` what it is, and by `output_index` and `content_index`
where it belongs; `sequence` has put the events in order before they are seen here. An item is
announced, its parts are announced, their text comes in deltas and is repeated when it is done, and
the terminal event repeats everything: so what is missing can mostly be told from what is there.

`Responses.see` first tries the commonest event, one more delta of a text that is open. Texts are
not kept: a length and a checksum tell whether what is repeated equals the deltas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamwatch.core.apis.base import ApiState
from streamwatch.core.apis.output_items import FAMILIES, Family, Item, Part, is_index
from streamwatch.core.context import Context
from streamwatch.core.kinds import (
    ERROR_IN_STREAM,
    KEEPALIVE_FRAME,
    PAYLOAD_INVALID,
    RESPONSE_EVENT_MISSING,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
    STREAM_SPLICED,
    ChunkType,
    Level,
)
from streamwatch.core.sse import Event

_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_LIFECYCLE = ("response.created", "response.in_progress", "response.queued", *_TERMINAL)
_PARTS = {"response.content_part": "content_index", "response.reasoning_summary_part": "summary_index"}
#: Items and parts that are remembered. An agent's longest answers have dozens; what comes beyond is passed on.
_MAX_ITEMS = 512
#: Bytes of finished items that are kept, for a terminal event that forgets them: a stream must not cost memory.
_MAX_KEPT = 32 << 10


class Responses(ApiState):
    """The state of one streamed response."""

    number_member = "sequence_number"

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self.over = False  #: the terminal event came
        self.items: dict[int, Item] = {}
        self.terminal = ""
        self.status = ""
        self.resumed = False  #: begins in the middle, or is too long to be remembered: what is not known is not missing
        self.passes = True
        self._open: dict[tuple[Any, Any, Any], Part] = {}
        self._moved: dict[str, int] = {}  #: where items are that came under the index of another one, by their ids
        self._kept = 0
        self._first = True
        self._number: Any = None

    # --- one event

    def push(self, event: Event) -> Sequence[Event]:
        payload = event.payload
        try:
            type_ = payload.get("type")
            index = payload.get("content_index", payload.get("summary_index"))
            part = self._open[type_, payload["output_index"], index]
            delta = payload["delta"]
            if type(delta) is str and payload["item_id"] == part.item_id:
                part.text.add(delta)
                self.count(part.family.sort)
                return (event,)
        except (KeyError, TypeError, AttributeError):
            pass  # not that shape
        return super().push(event)

    def see(self, event: Event) -> None:
        payload = event.payload
        type_ = payload.get("type")
        self.passes = True
        self._number = payload.get("sequence_number")
        if self.over:
            self.passes = not self.record(STREAM_SPLICED)
        else:
            self._see(type_ if isinstance(type_, str) else "", event)
        self._first = False
        (self.release if self.passes else self.drop)(event)

    def _see(self, type_: str, event: Event) -> None:
        payload = event.payload
        family, _, verb = type_.rpartition(".")
        sort = ChunkType.LIFECYCLE
        if type_ in _LIFECYCLE:
            sort = ChunkType.FINISH if type_ in _TERMINAL else sort
            self._see_lifecycle(type_, payload)
        elif type_ == "keepalive":
            self.passes = not self.record(KEEPALIVE_FRAME, Level.OPT_IN)
        elif family == "response.output_item" and verb in ("added", "done"):
            self._see_item(verb, payload, len(event.raw))
        elif family in _PARTS and verb in ("added", "done"):
            self._see_part(verb, payload, _PARTS[family])
        elif family in FAMILIES and verb in ("delta", "done"):
            sort = FAMILIES[family].sort if verb == "delta" else sort
            self._see_text(type_, FAMILIES[family], payload)
        elif type_ == "error":
            self.record(ERROR_IN_STREAM, Level.NEVER)
            self.error = True
        elif not self.error_in_stream(payload):
            sort = sort if type_.startswith("response.") else ChunkType.OTHER
        self.count(sort)

    def _see_lifecycle(self, type_: str, payload: dict[str, Any]) -> None:
        response = payload.get("response")
        if not isinstance(response, dict):
            # Before response.created there is nothing that the event could be about.
            level = Level.DEFAULT if self._first and type_ not in _TERMINAL else Level.NEVER
            self.passes = not self.record(PAYLOAD_INVALID, level)
            return
        self.resumed = self.resumed or (self._first and type_ != "response.created")
        response_id = response.get("id")
        if self.id and response_id and response_id != self.id and self.record(RESPONSE_REFERENCE_INVALID):
            response["id"] = self.id
        self.id = self.id or str(response_id or "")
        self.model = str(response.get("model") or self.model)
        if type_ in _TERMINAL:
            self._see_terminal(type_, response)
        if type_ == "response.failed":
            self.record(ERROR_IN_STREAM, Level.NEVER)
            self.error = True

    def _see_item(self, verb: str, payload: dict[str, Any], size: int) -> None:
        item = payload.get("item")
        if not isinstance(item, dict):
            return
        self.resumed = self.resumed or self._first
        index = self._output_index(payload, item.get("id"), opens=verb == "added")
        if verb == "added":
            index = self._own_index(payload, index, item.get("id"))
            before = self.items.get(index)
            again = before is not None and not before.done and before.announced.get("id") == item.get("id")
            if not again and len(self.items) < _MAX_ITEMS:
                self.items[index] = Item(index, item)
            return
        known = self._announced(index, item)
        for key in ("id", "call_id"):
            announced = known.announced.get(key) if key not in known.made_up else None
            if announced and item.get(key) and item[key] != announced and self.record(RESPONSE_REFERENCE_INVALID):
                item[key] = announced
        known.done = True
        for part in known.parts.values():
            self._forget(part)
        if self._kept + size <= _MAX_KEPT:
            self._kept += size
            known.finished = item

    def _see_part(self, verb: str, payload: dict[str, Any], key: str) -> None:
        item = self._item_of(payload, "reasoning" if key == "summary_index" else "message")
        index = self._part_index(payload, key, item, opens=verb == "added")
        part = item.parts.get((key, index))
        if verb == "added" and (part is None or part.done):
            said = payload.get("part")
            self._remember(item, Part(item, key, index, said if isinstance(said, dict) else {}))
        elif verb == "done" and part is not None:
            part.done = True
            self._forget(part)

    def _see_text(self, type_: str, family: Family, payload: dict[str, Any]) -> None:
        item = self._item_of(payload, family.item)
        part = self._part_of(payload, family, item)
        delta = payload.get("delta")
        if type_.endswith(".delta"):
            if isinstance(delta, str):
                part.text.add(delta)
                part.begun = True
                where = payload.get("content_index", payload.get("summary_index"))
                if (part.family.part or where is None) and len(self._open) < _MAX_ITEMS:
                    self._open[type_, item.index, where if where is None else part.index] = part
            return
        said = payload.get(family.member)
        if not isinstance(said, str):
            return
        if said and not part.begun and not part.text_done and part.told != said:
            if not self.resumed and self.record(RESPONSE_EVENT_MISSING):
                place = {key: payload[key] for key in ("item_id", "output_index", "content_index") if key in payload}
                self._insert(f"{family.name}.delta", **place, delta=said)
                part.text.add(said)
        elif part.text != said and not self.resumed and (part.begun or part.told != said):
            self.agrees = False
            self.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
        if self.agrees is None and part.begun:
            self.agrees = True
        part.text_done = True
        self._forget(part)

    def _remember(self, item: Item, part: Part) -> Part:
        self.resumed = not item.remember(part) or self.resumed
        return part

    def _forget(self, part: Part) -> None:
        for key in [key for key, known in self._open.items() if known is part]:
            del self._open[key]

    # --- where an event belongs

    def _output_index(self, payload: dict[str, Any], item_id: Any, *, opens: bool) -> int:
        """The item that an event is about."""
        index = payload.get("output_index")
        if is_index(index):
            moved = self._moved.get(item_id, index) if isinstance(item_id, str) else index
            if moved != index and self.record(RESPONSE_REFERENCE_INVALID):
                payload["output_index"] = moved
            return moved
        by_id = [item.index for item in self.items.values() if item_id and item.announced.get("id") == item_id]
        still_open = [item.index for item in self.items.values() if not item.done]
        meant = by_id or ([len(self.items)] if opens else still_open if len(still_open) == 1 else [])
        if self.record(RESPONSE_REFERENCE_INVALID, Level.DEFAULT if meant else Level.NEVER):
            payload["output_index"] = meant[0]
        return meant[0] if meant else 0

    def _own_index(self, payload: dict[str, Any], index: int, item_id: Any) -> int:
        """The index of a new item: a free one if another item had this, as the SDK's helper raises on that."""
        before = self.items.get(index)
        taken = before.announced.get("id") if before is not None and "id" not in before.made_up else None
        if not taken or not isinstance(item_id, str) or item_id in ("", taken) or len(self.items) >= _MAX_ITEMS:
            return index
        if self.record(RESPONSE_REFERENCE_INVALID):
            self._moved[item_id] = index = payload["output_index"] = max(self.items) + 1
        return index

    def _item_of(self, payload: dict[str, Any], type_: str) -> Item:
        """The item that an event about a part is about, by its index; its id has to agree."""
        self.resumed = self.resumed or self._first
        item_id = payload.get("item_id")
        index = self._output_index(payload, item_id, opens=False)
        item = self._announced(index, {"id": item_id, "type": type_, "name": payload.get("name")})
        announced = item.announced.get("id")
        if announced and item_id and item_id != announced and self.record(RESPONSE_REFERENCE_INVALID):
            payload["item_id"] = announced
        return item

    def _announced(self, index: int, like: dict[str, Any]) -> Item:
        """An item; announced here, if nobody did."""
        item = self.items.get(index)
        if item is None and len(self.items) >= _MAX_ITEMS:
            self.resumed = True
            item = Item.unannounced(index, like)
        elif item is None:
            item = self.items[index] = Item.unannounced(index, like)
            if not self.resumed and self.record(RESPONSE_EVENT_MISSING):
                self._insert("response.output_item.added", output_index=index, item=item.announced)
        return item

    def _part_index(self, payload: dict[str, Any], key: str, item: Item, *, opens: bool) -> int:
        """The part of an item that an event is about."""
        index = payload.get(key)
        still_open = item.open_part(key)
        announced = sum(known == key for known, _ in item.parts)
        if is_index(index) and ((key, index) in item.parts or (index == announced and (opens or still_open is None))):
            return index
        meant = announced if opens or still_open is None else still_open.index
        if not self.resumed and self.record(RESPONSE_REFERENCE_INVALID):
            payload[key] = meant
        return meant

    def _part_of(self, payload: dict[str, Any], family: Family, item: Item) -> Part:
        """The part that a text belongs to; announced here, if nobody did."""
        if not family.part:
            return item.parts.setdefault((family.name, 0), Part.of_family(item, family, 0))
        index = self._part_index(payload, family.key, item, opens=False)
        part = item.parts.get((family.key, index))
        if part is None:
            part = self._remember(item, Part.of_family(item, family, index))
            if not self.resumed and self.record(RESPONSE_EVENT_MISSING):
                place = {"item_id": item.announced.get("id"), "output_index": item.index, family.key: index}
                self._insert(f"{family.announcement}.added", **place, part=family.empty_part())
        part.family = family
        return part

    # --- the terminal event

    def _see_terminal(self, type_: str, response: dict[str, Any]) -> None:
        self.over = True
        self.terminal, self.status = type_, type_.removeprefix("response.")
        output = response.get("output")
        output = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        status = response.get("status")
        if status not in (None, self.status):
            self.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
            if status in ("incomplete", "failed", "cancelled"):  # vLLM ends an answer that was cut off as completed
                self.status = status
        if type_ != "response.completed" or self.resumed:
            return
        if not output and self.items:
            self._restore_output(response)
            return
        if not self.items:
            self._announce_all(output)
            return
        for item in list(self.items.values()):
            if not item.done or not all(part.is_done() for part in item.parts.values()):
                self._finish_item(item, output)

    def _restore_output(self, response: dict[str, Any]) -> None:
        """An empty output: the finished items are what it should hold."""
        items = [self.items[index].finished for index in sorted(self.items)]
        whole = all(item is not None for item in items)
        if self.record(RESPONSE_TERMINAL_MISMATCH, Level.DEFAULT if whole else Level.NEVER):
            response["output"] = items
        if any(not item.done for item in self.items.values()):
            self.record(RESPONSE_EVENT_MISSING, Level.NEVER)

    def _announce_all(self, output: list[dict[str, Any]]) -> None:
        """Items that only the terminal event has."""
        if output and self.record(RESPONSE_EVENT_MISSING, Level.OPT_IN):
            for index, item in enumerate(output):
                announced = Item.unannounced(index, item).announced
                self._insert("response.output_item.added", output_index=index, item=announced)
                self._insert("response.output_item.done", output_index=index, item=item)

    def _finish_item(self, item: Item, output: list[dict[str, Any]]) -> None:
        """The closing events of an item, from the terminal event, if it holds the item as it was streamed."""
        final = next((known for known in output if known.get("id") == item.announced.get("id")), None)
        proved = final is not None and item.equals(final)
        if not self.record(RESPONSE_EVENT_MISSING, Level.DEFAULT if proved else Level.NEVER) or final is None:
            return
        for type_, payload in item.closing_events(final):
            self._insert(type_, **payload)
        self.agrees = self.agrees is not False

    def _insert(self, type_: str, **payload: Any) -> None:
        """An event that never came; it shares the number of the one that it goes before."""
        number = {} if self._number is None else {"sequence_number": self._number}
        self.insert({"type": type_, **number, **payload})

    # --- the end

    def finished(self) -> bool:
        return bool(self.terminal)

    def finish_reasons(self) -> tuple[str, ...]:
        return (self.status,) if self.status else ()
