"""One streamed answer of the Responses API.

How it works. Every event says by its `type` what it is, by `item_id` what it is about, and by `output_index` and
`content_index` where that stands; `reorder` has put the events in order before they are seen here. An item is
announced, its parts are announced, their text comes in deltas and is repeated when it is done, and the terminal event
repeats everything: so what is missing mostly follows from what is there. What nobody knows passes, anywhere.

`Responses.push` first tries the commonest event, one more delta of a text that is open. Texts are not kept: a length
and a checksum show whether what is repeated equals the deltas.

| module | rules |
|---|---|
| `response_families` | none: the texts as data |
| `output_items` | none: what is known of items and parts |
| `response_state` | what the rules share |
| `response_references` | which item and part an event is about; announcements |
| `response_texts` | deltas, and what is said of them |
| `response_terminal` | the end of an item, and of the response |
| `response_waiting` | what waits for a later event to say what it is about |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamwatch.core.answer_parts import TERMINAL
from streamwatch.core.apis.output_items import Item, OutputItems, key_of, told_by
from streamwatch.core.apis.response_families import FAMILIES, ITEM, PARTS, is_index, said_by
from streamwatch.core.apis.response_references import find, noted_part, own_index, place, settle
from streamwatch.core.apis.response_terminal import see_item_done, see_output, see_snapshot
from streamwatch.core.apis.response_texts import see_delta, see_part, see_text_done
from streamwatch.core.apis.response_waiting import WaitingResponse
from streamwatch.core.context import Context
from streamwatch.core.kinds import (
    ANSWER_MISSING,
    ERROR_IN_STREAM,
    KEEPALIVE_FRAME,
    PAYLOAD_INVALID,
    PROTOCOL_FOREIGN,
    RESPONSE_EVENT_MISSING,
    RESPONSE_INTERRUPTED,
    RESPONSE_REFERENCE_INVALID,
    RESPONSE_TERMINAL_MISMATCH,
    RESPONSE_TEXT_LOST,
    STREAM_SPLICED,
)
from streamwatch.core.quirks import is_keepalive, show_error, tells_failure
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import ChunkType, Level

_LIFECYCLE = ("response.created", "response.in_progress", "response.queued", *TERMINAL)
_NOTE = "response.output_text.annotation"
#: What each event counts as that is about a response, an item, a part or a text.
_TYPES = (
    dict.fromkeys(TERMINAL, ChunkType.FINISH)
    | dict.fromkeys(("response.created", "response.in_progress", "response.queued"), ChunkType.LIFECYCLE)
    | {f"{name}.{verb}": ChunkType.LIFECYCLE for name in (ITEM, *PARTS) for verb in ("added", "done")}
    | {f"{name}.done": ChunkType.LIFECYCLE for name in FAMILIES}
    | {f"{name}.delta": family.type for name, family in FAMILIES.items()}
)
#: Events about an item beside its texts, and the type of it: they go where their item goes.
_ABOUT_ITEMS = {
    f"response.{name}": name
    for name in (
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"),
        *("mcp_list_tools", "computer_call", "local_shell_call", "apply_patch_call"),
    )
} | {
    "response.apply_patch_call_operation_diff": "apply_patch_call",
    "response.reasoning_part": "reasoning",  # vLLM's own, beside the parts of the API (vllm#24938)
}
#: Pieces of an answer that are no text, and say of no item that they are of it.
_SOUND = "response.audio."
#: Characters of the id of a response that are kept: encrypted ones have some hundred.
_MAX_ID = 1024
#: Characters of a model that are kept.
_MAX_MODEL = 200


class Responses(WaitingResponse):
    """The state of one streamed response."""

    __slots__ = (
        *("_foreign", "_has_head", "_key", "_known", "_last_number", "_spliced", "_suspect", "status", "terminal"),
    )

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name, context)
        self.terminal = ""
        self.status = ""
        self._key: Any = None  # what the id of the response is known again by
        self._has_head = False  # an event came that holds the response: its beginning, or what follows that
        self._known = False  # an event came that is one of this API
        self._foreign = False  # an event came that is none
        self._spliced = False  # another response began behind the end
        self._suspect = False  # an event without a type says that the request failed
        self._last_number: int | None = None  # of the terminal event

    # --- one event

    def push(self, event: Event) -> Sequence[Event]:
        payload = event.payload
        try:
            type_ = payload["type"]
            index = payload.get("content_index", payload.get("summary_index"))
            part = self.open[type_, payload["output_index"], index]
            delta = payload["delta"]
            if type(delta) is str and payload["item_id"] == part.item_id:
                part.text.add(delta)
                kind = part.family.type
                self.counts[kind] = self.counts.get(kind, 0) + 1
                return (event,)
        except (KeyError, TypeError, AttributeError):
            pass  # not that shape
        return super().push(event)

    def take(self, event: Event) -> None:
        """Look at an event, and hand it on or drop it."""
        payload = event.payload
        type_ = payload.get("type")
        type_ = type_ if isinstance(type_, str) else ""
        if not type_ and event.event in _TYPES:
            type_ = event.event
            if self.record(PAYLOAD_INVALID, Level.HELPER):
                payload["type"] = type_
        self.count(_TYPES[type_] if type_ in _TYPES else _other_type(type_))
        self.see_number(payload.get("sequence_number"))
        if type_ != "error" and self.error_in_stream(payload):
            goes_on = True
        elif self.over:
            goes_on = self._see_after(type_, event)
        else:
            goes_on = (self._see if type_ in _TYPES else self._see_other)(type_, event)
        (self.release if goes_on else self.drop)(event)

    def _see(self, type_: str, event: Event) -> bool:
        """Look at an event of a response, an item, a part or a text, and return whether it goes on."""
        payload = event.payload
        if type_ in _LIFECYCLE:
            return self._see_lifecycle(type_, payload, len(event.raw))
        if not self.began:
            self._begin(payload)
        name, _, verb = type_.rpartition(".")
        if verb == "delta":
            return see_delta(self, type_, FAMILIES[name], payload)
        if name == ITEM:
            return self._see_added(payload) if verb == "added" else see_item_done(self, payload, len(event.raw))
        if name in PARTS:
            see_part(self, name, verb, payload)
        else:
            see_text_done(self, FAMILIES[name], payload)
        return True

    def _see_other(self, type_: str, event: Event) -> bool:
        """Look at any other event, and return whether it goes on: what nobody knows does."""
        payload = event.payload
        if is_keepalive(type_ or event.event, payload):
            return self._see_keepalive()
        ends = _ends_by_status(type_, payload) if not self.over else ""
        if ends:
            return self._see_lifecycle(ends, payload, len(event.raw))
        if not type_:
            self._see_nameless(event)
        name = type_.rpartition(".")[0]
        if type_.startswith("response."):
            self._known = True
        else:
            self._foreign = True
        if "delta" in type_ and not type_.startswith(_SOUND):
            self.misread(payload)
        if type_ == "error":
            self._see_error()
        elif name == _NOTE or name in _ABOUT_ITEMS:
            self._see_about(name, payload)
        return True

    def _see_keepalive(self) -> bool:
        """Look at a frame that keeps the connection open; the SDK's helper raises on any before the first event."""
        return not self.record(KEEPALIVE_FRAME, None if self.began else Level.HELPER)

    def _see_error(self) -> None:
        self._known = self.error = True
        self.record(ERROR_IN_STREAM, Level.NEVER)

    def _see_nameless(self, event: Event) -> None:
        """Look at an event without a type: an error in another form, unless the response goes on to its end."""
        payload = event.payload
        if event.event == "error":
            self._known = True
            if self.error_hidden():
                show_error(payload)
        else:
            self._suspect = self._suspect or tells_failure(payload)

    def _see_about(self, name: str, payload: dict[str, Any]) -> None:
        """Look at an event that says how an item gets on."""
        type_ = "message" if name == _NOTE else _ABOUT_ITEMS[name]
        item = find(self, payload, type_)
        if item is None or item.type != type_:
            return
        settle(self, item, payload, is_of_text=False)
        if name == _NOTE and (part := noted_part(self, payload, item)) is not None:
            part.notes += 1

    def _begin(self, payload: dict[str, Any]) -> None:
        """Take note of the first event of this API where it is not `response.created`: resumed, or without a head."""
        self._known = self.began = True
        number = payload.get("sequence_number")
        if self.request.starting_after is not None or (type(number) is int and number > 0):
            self.partial = True
        else:
            self.record(RESPONSE_EVENT_MISSING, Level.NEVER)

    # --- the life of a response

    def _see_lifecycle(self, type_: str, payload: dict[str, Any], size: int) -> bool:
        response = payload.get("response")
        if not isinstance(response, dict):
            self._known = True
            if type_ in TERMINAL:
                self.record(PAYLOAD_INVALID, Level.NEVER)
                return True
            return not self.record(KEEPALIVE_FRAME, Level.HELPER)
        if type_ == "response.created" and self._has_head:
            self._begin_again(response)
        elif not self.began and type_ not in {"response.created", "response.failed"}:
            self._begin(payload)
        self.began = self._known = self._has_head = True
        self._identify(response)
        listed = response.get("output")
        if type_ in TERMINAL:
            self._see_terminal(type_, response)
        elif isinstance(listed, list) and listed and not self.partial:
            self._see_listed(type_, [item for item in listed if isinstance(item, dict)], size)
        return True

    def _see_listed(self, type_: str, listed: list[dict[str, Any]], size: int) -> None:
        """Look at the items that a response lists before its end.

        The SDK's helper takes those of its beginning for announced, and the later ones for what its items are now.
        """
        if type_ == "response.created" and not len(self.items):
            for index, said in enumerate(listed):
                item = self._remember(said, index, index)
                item.refer({"item_id": item.id, "output_index": index})
                item.listed = True
        elif len(self.items):
            see_snapshot(self, listed, size)

    def _begin_again(self, response: dict[str, Any]) -> None:
        """Count another response that begins before this one ends; its items would have the same places."""
        self.record(STREAM_SPLICED, Level.NEVER)
        if key_of(response.get("id")) == self._key:
            return
        delivered = self.items.delivered()
        self.items, self._key, self.id = OutputItems(), None, ""
        self.items.unremembered = delivered
        self.open.clear()

    def _identify(self, response: dict[str, Any]) -> None:
        """Keep the first id of the response; the SDK's helper refuses another one."""
        id, model = response.get("id"), response.get("model")
        key = key_of(id)
        if self._key is None and isinstance(id, str):
            self._key, self.id = key, id[:_MAX_ID]
        elif key not in (None, self._key):
            whole = key_of(self.id) == self._key
            if self.record(RESPONSE_REFERENCE_INVALID, Level.HELPER if whole else Level.NEVER):
                response["id"] = self.id
        if isinstance(model, str) and model:
            self.model = model[:_MAX_MODEL]

    def _see_terminal(self, type_: str, response: dict[str, Any]) -> None:
        self.over, self._last_number = True, self._number
        self.open.clear()  # what comes now is looked at
        self.terminal, self.status = type_, type_.removeprefix("response.")
        status = response.get("status")
        if status not in (None, self.status):
            self.record(RESPONSE_TERMINAL_MISMATCH, Level.NEVER)
            if status in ("incomplete", "failed", "cancelled"):  # vLLM ends an answer that was cut off as completed
                self.status = status
        if type_ == "response.completed":
            see_output(self, response)
        elif type_ == "response.failed":
            self._see_error()

    def _see_after(self, type_: str, event: Event) -> bool:
        """Look at an event behind the terminal one, and return whether it goes on: only another response does not."""
        payload = event.payload
        if type_ not in _TYPES and not type_.endswith(".delta"):
            return self._see_other(type_, event)
        if type_.endswith(".delta") and self._is_said_already(type_, payload):
            return False
        if type_ in _LIFECYCLE:
            if not isinstance(payload.get("response"), dict):
                return self._see_lifecycle(type_, payload, len(event.raw))
            self._spliced = True
        elif not self._spliced:
            self._place_late(payload)
        number, last = payload.get("sequence_number"), self._last_number
        if not self._spliced and type(number) is int and last is not None and number < last:
            return True  # it comes late, and its number says that it belongs to this response
        return not self.record(STREAM_SPLICED)

    def _place_late(self, payload: dict[str, Any]) -> None:
        """Let an event behind the end have the index that all others about its item were given."""
        said = payload.get("item")
        item = self.items.by_id(said.get("id") if isinstance(said, dict) else payload.get("item_id"))
        if item is not None and item.is_shown:
            place(self, item, payload)

    def _is_said_already(self, type_: str, payload: dict[str, Any]) -> bool:
        """Return whether a delta behind the end is of a text that was put in as lost: it would be said twice."""
        family = FAMILIES.get(type_.removesuffix(".delta"))
        item = None if family is None else self.items.by_id(payload.get("item_id"))
        if family is None or item is None:
            return False
        part = item.part(family.key, payload.get(family.key) if family.part else 0)
        if part is None or part.family is not family:
            return False
        return bool(part.source) and self.ledger.wants(RESPONSE_TEXT_LOST)

    # --- items that are announced

    def _see_added(self, payload: dict[str, Any]) -> bool:
        """Look at an item that is announced, and return whether the event goes on."""
        said = payload.get("item")
        if not isinstance(said, dict):
            return not self.record(PAYLOAD_INVALID, Level.HELPER)
        index = payload.get("output_index")
        known = self.items.by_id(said.get("id"))
        if known is not None and known.announced and is_index(index) and self.items.at(index) is not known:
            self.items.share(known.key)  # it is another one
            self.record(RESPONSE_REFERENCE_INVALID, Level.NEVER)
            known = None
        known = known or self._same(said, index)
        if known is not None:
            return self._see_again(known, said, index)
        own, order = own_index(self, payload), self.items.announced
        item = self._remember(said, own, index if is_index(index) else own)
        item.refer({"item_id": item.id, **payload})
        item.announced, item.order = True, order if own == index else own
        return True

    def _remember(self, said: dict[str, Any], own: int, index: int) -> Item:
        """Return a new item that comes under an index and has its own, with what is said of its texts already."""
        item = Item(self.items.head_of(said), own)
        item.told = told_by(said)
        self.items.announced += 1
        self.remember(item, index, said)
        for text in said_by(said) if said.get("content") else ():
            if text.family.part:
                part = self.new_part(item, text.family, text.family.key, text.place)
                part.missed, part.told = True, told_by(text.part)
        return item

    def _same(self, said: dict[str, Any], index: Any) -> Item | None:
        """Return the item that is announced again, or at last, where an id does not say so."""
        there = self.items.at(index)
        if there is None or there.done or there.type != said.get("type"):
            return None
        nameless = key_of(said.get("id")) is None if there.announced else there.key is None
        return there if nameless else None

    def _see_again(self, item: Item, said: dict[str, Any], index: Any) -> bool:
        """Look at an item that was announced already, or of which events came before, and return whether it goes on."""
        if not item.announced:
            item.announced = True
            self.items.announced += not item.listed
            self.items.bind(item, key_of(said.get("id")))
            if item.put_in:
                return False
        if is_index(index) and self.items.at(index) in (None, item):
            self.items.move(item, index)
        return True

    # --- the end

    def close(self) -> None:
        if self._suspect and not self.over:
            self._known = self.error_hidden() or True
        if self._foreign and not self._known and not self.error:
            self.record(PROTOCOL_FOREIGN, Level.NEVER)
        if self.status == "completed" and not (self.error or self.partial or self.answered or self.items.answer()):
            self.record(ANSWER_MISSING, Level.NEVER)

    def cut_short(self) -> None:
        """Count a body that ended too early; a background response can be read on, unless that was tried in vain."""
        super().cut_short()
        known = self.ledger.anomalies.get(RESPONSE_INTERRUPTED)
        in_vain = known is not None and known.failed
        if self.request.background and (self.id or self.partial) and not in_vain:
            self.record(RESPONSE_INTERRUPTED)

    def finished(self) -> bool:
        return bool(self.terminal)

    def finish_reasons(self) -> tuple[str, ...]:
        return (self.status,) if self.status else ()


def _other_type(type_: str) -> ChunkType:
    """Return what an event counts as that is not known."""
    return ChunkType.LIFECYCLE if type_.startswith("response.") or type_ == "keepalive" else ChunkType.OTHER


def _ends_by_status(type_: str, payload: dict[str, Any]) -> str:
    """Return the type of the terminal event that `response.done` stands for; "" where it is none.

    Codex proxies close a response as the Realtime API does (9router#2142, oh-my-pi#4692).
    """
    response = payload.get("response") if type_ == "response.done" else None
    status = response.get("status") if isinstance(response, dict) else None
    return f"response.{status}" if f"response.{status}" in TERMINAL else ""
