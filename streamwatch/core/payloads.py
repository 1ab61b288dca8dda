"""The payload of an event: a JSON object, [DONE], or something that the SDK cannot use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from streamwatch.core.kinds import PAYLOAD_INVALID
from streamwatch.core.last_event import is_error
from streamwatch.core.ledger import Ledger
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import Level

#: What is returned for something that is not JSON.
BROKEN: Any = object()


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text; `BROKEN` where it is none."""
    try:
        return BROKEN if raw.startswith(b"[DONE]") else json.loads(raw)
    except (ValueError, RecursionError):
        return BROKEN


class Payloads:
    """The payloads of one stream.

    `loads` parses bytes and raises ValueError; `any_json` says that the API may stream any JSON
    value, not objects alone.
    """

    __slots__ = ("_any_json", "_ledger", "_loads", "broken", "others")

    def __init__(self, ledger: Ledger, loads: Callable[[bytes], Any], *, any_json: bool) -> None:
        self._ledger = ledger
        self._loads = loads
        self._any_json = any_json
        self.broken = False  #: something came on which the SDK raises
        self.others = 0  #: JSON values that are not objects

    def read(self, raw: bytes) -> Any:
        """Return the JSON value of a payload; `BROKEN` where it has none."""
        try:
            return self._loads(raw)
        except (ValueError, RecursionError):  # jiter takes neither lone surrogates nor deep nesting
            return read_json(raw)

    def see(self, event: Event, value: Any) -> bytes | None:
        """Return the payload to use for an event without a JSON object: its own, what is in it, or None to drop it."""
        raw = event.raw
        if raw.startswith(b"[DONE]"):
            return raw
        stripped = raw.strip()
        if stripped.startswith(b"data:"):
            return self._unwrapped(raw, stripped)
        if self._any_json:
            self._see_any(value)
        elif value is not BROKEN or not stripped or stripped[:1] == b":":
            if self._ledger.record(PAYLOAD_INVALID):
                return None
        else:
            self._see_broken()
        return raw

    def several(self, event: Event) -> tuple[list[Event], Any]:
        """Return the events that stand in one, a JSON object on each line of its data; else the error that ends it.

        The blank lines between them were lost (sub2api#1471), and the SDK raises on such an event. [DONE] may be the
        last. What has its meaning by its name is left alone: only one name came.
        """
        *lines, last = event.raw.split(b"\n")
        said = [self.read(line) for line in (lines if last.strip() == b"[DONE]" else [*lines, last])]
        if (event.event or "").startswith("thread.") or any(type(each) is not dict for each in said):
            error = said[-1]
            fails = type(error) is dict and (is_error(event, error) or error.get("type") == "response.failed")
            return [], error if fails else None
        if not self._ledger.record(PAYLOAD_INVALID):
            return [], None
        before = None if event.event == "error" else event.event
        found = [type(event)(raw.decode(), raw, before) for raw in lines]
        found.append(type(event)(last.decode(), last, event.event))
        for each in found:
            each.added = True
        return found, None

    def _see_any(self, value: Any) -> None:
        """Count what an unknown API streams; on what is not JSON the SDK raises, and should."""
        if value is BROKEN:
            self._ledger.record(PAYLOAD_INVALID, Level.NEVER)
        else:
            self.others += 1

    def _unwrapped(self, raw: bytes, stripped: bytes) -> bytes:
        """Take the frame out of a frame: `data: data: {...}`, as a relay writes it."""
        while stripped.startswith(b"data:"):
            stripped = stripped[5:].strip()
        if not stripped.startswith(b"[DONE]") and type(self.read(stripped)) is not dict:
            self._see_broken()
            return raw
        return stripped if self._ledger.record(PAYLOAD_INVALID) else raw

    def _see_broken(self) -> None:
        """Count what is not JSON at all: the SDK raises on it, and should."""
        self._ledger.record(PAYLOAD_INVALID, Level.NEVER)
        self.broken = True
