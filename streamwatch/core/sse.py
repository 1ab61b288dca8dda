"""Bytes to server-sent events, incrementally, with framing faults counted by kind.

How it works. A body is cut at blank lines into blocks, and nothing else is looked for while bytes
arrive: one search over each read finds every event in it. A block of one `data: ` line, or of an
`event: ` line before it, is an event at once; every other block is read line by line, with the
semantics of the SDK's own decoder, sticky `id:` included. So the cost is linear in the bytes,
whatever the size of the reads, and an event is decoded once.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from streamwatch.core.kinds import (
    ERROR_HIDDEN,
    KEEPALIVE_FRAME,
    PAYLOAD_INVALID,
    SSE_EVENT_UNTERMINATED,
    SSE_FRAMING_VARIANT,
)
from streamwatch.core.ledger import Ledger
from streamwatch.core.vocabulary import Level

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
#: Line ends in Unicode and in `str.splitlines`, but not in SSE: old readers split events there.
FALSE_LINE_END = re.compile("[\u0085\u2028\u2029]")
#: A body that is a JSON document instead of a stream is kept up to here, to read the error in it.
_MAX_DOCUMENT = 64 << 10


#: Stands for an empty buffer, which is usual: one of its own would hold 56 bytes of every stream.
_EMPTY: Final[Any] = b""
_FIELDS = (b"data", b"event", b"id", b"retry")


class Event:
    """A server-sent event on its way to the SDK.

    `data` and `raw` are the payload as text and as it came, `payload` the parsed JSON object where
    it is one. `shared` says that the reader of the event may have that very object, repairs
    included; otherwise a reader parses `data` for itself. `added` says that no SSE parser would have
    made an event of it: it is there by a repair. `fills_content` says that the dicts of its chunk get
    a content, which the payload lacks.
    """

    __slots__ = ("added", "data", "event", "fills_content", "id", "inherited", "payload", "raw", "retry", "shared")

    def __init__(
        self,
        data: str,
        raw: bytes,
        event: str | None = None,
        id: str | None = None,
        retry: int | None = None,
    ) -> None:
        self.data = data
        self.raw = raw
        self.event = event
        self.id = id
        self.retry = retry
        self.payload: Any = None
        self.shared = True
        self.added = False
        self.fills_content = False

    @property
    def inherits_id(self) -> bool:
        """Whether the `id:` line stands before another event: it counts until the next one."""
        return getattr(self, "inherited", False)  # hardly any event has one: nothing is spent on the others

    @inherits_id.setter
    def inherits_id(self, value: bool) -> None:
        self.inherited = value

    @property
    def number(self) -> int | None:
        """The number in the `id:` line that counts for the event, where it is one."""
        text = self.id or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def written(event: Event, data: str | None = None) -> bytes:
    """Return an event as OpenAI would send it, with `data` in place of its own."""
    head = [f"event: {event.event}"] if event.event else []
    head += [f"id: {event.id}"] if event.id else []
    head += [f"retry: {event.retry}"] if event.retry is not None else []
    lines = [*head, *(f"data: {line}" for line in (event.data if data is None else data).split("\n"))]
    return "\n".join([*lines, "\n"]).encode("utf-8", "surrogatepass")


class Decoder:
    """The body of one stream: bytes in, events out.

    What cannot be decoded, because it is not UTF-8 or larger than `max_event_bytes`, is left alone with
    all that follows: `rest` then holds those bytes, and nothing more may be pushed.
    """

    __slots__ = (
        *("_any_event", "_last_id", "_ledger", "_lf_only", "_max_event_bytes", "_observe", "_plain"),
        *("_reframe", "_skip_lf", "_started", "buffer", "document", "done_pending", "event_type", "queue", "rest"),
        "shows_document",
    )

    def __init__(
        self,
        ledger: Ledger,
        max_event_bytes: int,
        event_type: type[Event] = Event,
        *,
        observe: bool = False,
    ) -> None:
        self.buffer: bytearray = _EMPTY  #: what came since the last event
        self.queue: list[Event] = []  #: the events of the last push, a new list each time
        self.rest: bytes | None = None
        self.document = b""  #: the body, where it is a JSON document instead of a stream
        self.shows_document = False
        self._observe = observe
        self._ledger = ledger
        self.event_type = event_type
        self._max_event_bytes = max_event_bytes
        self._started = False
        self._lf_only = True
        self._skip_lf = False
        self.done_pending = False  #: the body ends in a [DONE] without its blank line
        self._last_id: str | None = None
        self._any_event = False
        self._plain = False  #: nothing is pending, and nothing in this stream ever needed more than a glance
        self._reframe: bool | None = None

    def push(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes: the queue, which changes in one step with the buffer."""
        # One read is mostly one event; seen at a glance it costs a third of what all below does.
        if self._plain and data.endswith(b"\n\n"):
            event = self._simple(data[:-2])
            if event is not None:
                self.queue = [event]
                return self.queue
        self._decode(data)
        self._plain = self._started and self._lf_only and self._last_id is None and not self.buffer and self._any_event
        return self.queue

    def _simple(self, block: bytes) -> Event | None:
        """Return the event of a block that is framed as OpenAI does: one line of data, its name before it or not."""
        begin = block.find(b"\n") + 1 if block.startswith(b"event: ") else 0
        if not block.startswith(b"data: ", begin) or block.find(b"\n", begin) >= 0 or b"\r" in block:
            return None
        try:
            name = (block[7 : begin - 1].decode() or None) if begin else None
            raw = block[begin + 6 :]
            text = raw.decode()
        except UnicodeDecodeError:
            return None
        if not text.isascii() and FALSE_LINE_END.search(text):
            self._variant()
        return self.event_type(text, raw, name)

    def _decode(self, data: bytes) -> None:
        """Take bytes. In one piece: what changes in one step stands in one place."""
        buffer = self.buffer
        if not self._started:
            head = bytes(buffer) + data
            data, buffer = self._start(head), bytearray()
            if not self._started:
                self.buffer, self.queue = bytearray(head), []
                return
        if self._skip_lf and data:
            self._skip_lf = False
            data = data[data[:1] == b"\n" :]
        if self._lf_only and b"\r" in data:
            self._lf_only = False
        if buffer:
            # Only the seam and the new bytes can hold a boundary that was not there before.
            seam = bytes(buffer[-3:]) + data
            if not (b"\n\n" in seam if self._lf_only else BLANK_LINE.search(seam)):
                if len(buffer) + len(data) > self._max_event_bytes:
                    self.rest, self.queue = bytes(buffer) + data, []
                else:
                    # In one step, and in place: a large event may come in many reads.
                    buffer[len(buffer) :], self.queue = data, []
                return
            data = bytes(buffer) + data
        if self._lf_only:
            *blocks, last = data.split(b"\n\n")
        else:
            *blocks, last = BLANK_LINE.split(data)
            self._skip_lf = not last and data.endswith(b"\r")
        events, rest = self._events(blocks, last)
        self.buffer, self.rest, self.queue = bytearray(last) if last else _EMPTY, rest, events

    def flush(self, can_be_read: Callable[[Event, dict[str, Any]], bool]) -> list[Event]:
        """Return the last event, if only its blank line is missing, because nothing more comes.

        `can_be_read` says whether a program can read it that has read all before; if not, it goes on on request only.
        """
        self.queue = []
        if self.rest is not None:
            return self.queue
        *lines, last = _LINE_END.split(bytes(self.buffer))
        try:
            events = self._lines([*lines, *([last] if last else []), b""], closing=True)
        except UnicodeDecodeError:
            self._ledger.record(PAYLOAD_INVALID, Level.NEVER)
            self.rest = bytes(self.buffer)  # the SDK raises on it
            return self.queue
        events = [event for event in events if not event.added or self._terminate(event, can_be_read)]
        self.buffer, self.queue = _EMPTY, events
        return self.queue

    def pending(self) -> bytes:
        """Return the bytes that came and are not an event yet."""
        return bytes(self.buffer) if self.rest is None else self.rest

    def forget(self) -> int:
        """Forget the bytes that are not an event yet, because it comes again, and return how many they were."""
        torn, self.buffer, self._skip_lf = len(self.buffer), _EMPTY, False
        return torn

    def _terminate(self, event: Event, can_be_read: Callable[[Event, dict[str, Any]], bool]) -> bool:
        """Return whether an event without its blank line is handed on all the same."""
        # A pending [DONE] is not a fault: nothing is lost with it. A torn payload stays lost.
        self.done_pending = event.raw.startswith(b"[DONE]")
        try:
            payload = json.loads(event.raw)
        except (ValueError, RecursionError):
            return False
        if not isinstance(payload, dict):
            return False
        return self._ledger.record(SSE_EVENT_UNTERMINATED, None if can_be_read(event, payload) else Level.OPT_IN)

    def take_id(self, event: Event) -> None:
        """Take note of the `id:` line that counts for an event that somebody else decoded: it may stand before it."""
        if event.id:
            event.inherits_id, self._last_id = event.id == self._last_id, event.id

    def _start(self, head: bytes) -> bytes:
        """Return the first bytes of the body without a byte order mark, if there are enough to know."""
        if len(head) < len(_BOM) and _BOM.startswith(head):
            return head
        self._started = True
        # Every SSE parser ignores the line that the mark stands in: what is only observed is left so.
        if head.startswith(_BOM) and self._ledger.record(PAYLOAD_INVALID) and not self._observe:
            return head[len(_BOM) :]
        return head

    def _events(self, blocks: list[bytes], last: bytes) -> tuple[list[Event], bytes | None]:
        """Return the events of some blocks, and the bytes from where on the SDK has to read, if it has."""
        events: list[Event] = []
        for number, block in enumerate(blocks):
            event = self._simple(block) if self._last_id is None and self._lf_only else None
            try:
                new = [event] if event is not None else self._lines([*_LINE_END.split(block), b""])
            except UnicodeDecodeError:
                # The SDK raises on it, at just this place: it gets the bytes.
                self._ledger.record(PAYLOAD_INVALID, Level.NEVER)
                return events, b"\n\n".join([*blocks[number:], last])
            self._any_event = self._any_event or bool(new)
            events += new
        return events, None

    def _lines(self, lines: list[bytes], *, closing: bool = False) -> list[Event]:
        """Return the events of some whole lines, as the SDK's decoder reads them; `closing` adds the last blank one.

        In one piece: it is the SDK's decoder, field for field, and can be compared with that line by line.
        """
        b"\n".join(lines).decode()  # the SDK decodes what it ignores too, and raises where it can't
        events: list[Event] = []
        name, retry = "", None
        data: list[bytes] = []
        done = is_named = False
        for at, line in enumerate(lines, 1):
            if not line:
                last = closing and at == len(lines)
                alone = done and not (name or data or self._last_id or retry is not None)
                if alone or name or data or (self._last_id and not last) or retry is not None:
                    raw = b"[DONE]" if alone else b"\n".join(data)
                    event = self.event_type(raw.decode(), raw, name or None, self._last_id, retry)
                    event.added = alone or last
                    if self._last_id and not is_named:
                        event.inherits_id = True
                    events.append(event)
                name, data, retry, done, is_named = "", [], None, False, False
                continue
            field, _, value = line.partition(b":")
            value = self._value(line, field, value)
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode()
            elif field == b"id":
                is_named = True
                self._last_id = self._last_id if b"\0" in value else value.decode()
            elif field == b"retry":
                retry = _integer(value, retry)
            elif not field:
                self._ledger.record(KEEPALIVE_FRAME)  # a comment
            else:
                done = self._unknown(line, field, value) or done
        if not self._lf_only:
            self._variant()
        return events

    def _value(self, line: bytes, field: bytes, value: bytes) -> bytes:
        """Return what stands behind the colon of a line."""
        if value[:1] == b" ":
            value = value[1:]
        elif field in _FIELDS:
            self._variant()
        if field == b"data" and not value.isascii() and FALSE_LINE_END.search(value.decode()):
            self._variant()
        return value

    def _unknown(self, line: bytes, field: bytes, value: bytes) -> bool:
        """Count a line that every SSE parser ignores; return whether it is a [DONE] all the same."""
        if field == b"error" or self.document or (line[:1] == b"{" and not self._any_event):
            if not self.document:
                self.shows_document = self._ledger.record(ERROR_HIDDEN)
            document = value if field == b"error" else line
            self.document = (self.document + document)[:_MAX_DOCUMENT]
            return False
        return self._variant() and line.strip() == b"[DONE]"

    def _variant(self) -> bool:
        """Count the stream's framing once, however many of its lines show it."""
        if self._reframe is None:
            self._reframe = self._ledger.record(SSE_FRAMING_VARIANT)
        return self._reframe


def _integer(value: bytes, default: int | None) -> int | None:
    """Return a number as the SDK does, which takes whatever `int` takes."""
    try:
        return int(value.decode())
    except ValueError:
        return default
