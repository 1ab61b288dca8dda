"""When a difference is a repair: the one place that says what counts as proof.

A reader that ended on the plain SDK, and ends otherwise with Streamwatch, is harmed, unless its new result is

 1. what the plain SDK gives on the stream that this one proves to be right instead of itself (`ideal`): in order of its
    numbers, without repeated numbers; with the tails that closing texts have; without payloads that are no objects;
 2. what the plain SDK gives on the stream without a change that we made, where that change contradicts what is on
    the wire (`Change.undo`), or where the reader raised;
 3. calls whose arguments parse, where those of the plain reading do not; nothing is lost and nothing is invented:
    the characters of all arguments are those on the wire, and so is every id and name;
 4. where the plain reading raised: the result of the tolerant twin of the reader;
 5. of a stream that somebody judged (an oracle, a case of the field): what is said to be right.

Beyond that, a reader of form may see what was put in, where the stream lacks events that the protocol demands, or where
an answer of the same read is proved wrong and repaired: its list has all that the plain list has, in that order, and
no more besides than is lacking. Anything else is harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from .changes import CHANGES, applied
from .ideal import ideals
from .ideal_calls import parses, wire_calls
from .ideal_items import identified
from .ideal_messages import proved
from .ideal_order import nearer
from .ideal_protocol import lacking
from .ideal_texts import with_tails
from .readers import READERS, Outcome, Reader, outcome
from .serving import Read
from .wire import Stream

Reading = Callable[[Stream, str], "Read | None"]


class Truths:
    """The other streams whose plain reading is right for a case, read when they are asked for."""

    strict = False  #: whether nothing else is right

    def __init__(
        self,
        base: Stream,
        changed: Stream,
        names: tuple[str, ...],
        seed: int,
        mode: str,
        read: Reading,
        watched: Read | None = None,
    ) -> None:
        self.changed, self.mode, self.watched = changed, mode, watched
        self._read = read
        self._undone = list(_undone(base, names, seed))
        self._made: list[tuple[str, str, Stream]] = []
        self._source = self._sources()
        self._reads: dict[int, Read | None] = {}

    def of(self, reader: Reader, *, raised: bool) -> Iterator[tuple[str, Outcome]]:
        """Return what is right for a reader beside the plain reading, with what proves it."""
        for undo, label, stream in self._all():
            if undo == "helper" and not (raised or self.mode.startswith("helper")):
                continue
            if undo == "raises" and not raised:
                continue
            found = self._outcome(reader, stream)
            if found is not None:
                yield label, found

    @cached_property
    def lacking(self) -> int:
        """How many events the stream lacks that closing events or the protocol demand."""
        if self.changed.api != "responses" or "starting_after" in self.changed.request:
            return 0
        events = list(self.changed.events)
        tailed = max(with_tails(events), key=len)
        # A text that only a closing event says has no place before its tail is put in.
        return len(tailed) - len(events) + max(sum(lacking(each).values()) for each in (events, list(tailed)))

    def base(self, reader: Reader) -> Outcome | None:
        """Return how the reader ends on the stream without any change."""
        return self._outcome(reader, self._undone[0][2]) if self._undone else None

    def _all(self) -> Iterator[tuple[str, str, Stream]]:
        """Return all of them, made when they are asked for, and once."""
        place = 0
        while True:
            if place == len(self._made):
                more = next(self._source, None)
                if more is None:
                    return
                self._made.append(more)
            yield self._made[place]
            place += 1

    def _sources(self) -> Iterator[tuple[str, str, Stream]]:
        for label, stream in self._ideals(self.changed):
            yield "proved", label, stream
        chunks = self.watched.chunks if self.watched is not None else []
        for label, stream in (*nearer(self.changed, chunks), *identified(self.changed, chunks)):
            yield "proved", label, stream
            for more, better in self._ideals(stream):
                yield "proved", f"{label}, {more}", better
        for undo, label, stream in self._undone:
            if undo != "never":
                yield undo, label, stream
                for more, better in self._ideals(stream):
                    yield undo, f"{label}, {more}", better

    def _ideals(self, stream: Stream) -> Iterator[tuple[str, Stream]]:
        return ideals(stream, helper=self.mode.startswith("helper"))

    def _outcome(self, reader: Reader, stream: Stream) -> Outcome | None:
        if id(stream) not in self._reads:
            self._reads[id(stream)] = self._read(stream, self.mode)
        read = self._reads[id(stream)]
        return None if read is None else outcome(reader, read)


class MessageTruths:
    """The same of a session over a WebSocket: the order in which messages were handed on, where they prove it."""

    strict = True
    lacking = 0

    def __init__(self, changed: Stream, mode: str, read: Reading, watched: Read) -> None:
        self.changed, self.mode, self.watched = changed, mode, watched
        self._plain = read

    def of(self, reader: Reader, *, raised: bool) -> Iterator[tuple[str, Outcome]]:
        """Return what is right for a reader beside the plain reading, with what proves it."""
        if self._read is not None:
            yield "in order of the numbers", outcome(reader, self._read)

    def base(self, reader: Reader) -> Outcome | None:
        """Return nothing: no change makes another reading right."""
        return None

    @cached_property
    def _read(self) -> Read | None:
        right = proved(self.changed, self.watched.handed)
        return None if right is None else self._plain(right, self.mode)


#: From who is satisfied by the undone stream to who is not.
_ORDER = ("proved", "helper", "raises", "never")


def _undone(base: Stream, names: tuple[str, ...], seed: int) -> Iterator[tuple[str, str, Stream]]:
    """Return the stream without its changes, and with all but one of them."""
    if names:
        yield max((CHANGES[name].undo for name in names), key=_ORDER.index), "undone", base
    for name in names if len(names) > 1 else ():
        rest = tuple(other for other in names if other != name)
        stream = changed(base, rest, seed)
        if stream is not None:
            yield CHANGES[name].undo, f"{name} undone", stream


def changed(base: Stream, names: tuple[str, ...], seed: int) -> Stream | None:
    """Return a stream after some changes; None if one of them has nothing to change."""
    events = base.events
    for name in names:
        after = applied(CHANGES[name], events, seed, base.name)
        if after is None:
            return None
        events = after
    return base.of(events) if names else base


# --- 3. arguments


def arguments_proved(reader: Reader, stream: Stream, plain: Outcome, watched: Outcome) -> bool:
    """Whether calls parse that did not, and consist of what is on the wire."""
    if reader.role != "calls" or stream.api != "chat" or not isinstance(watched.value, list):
        return False
    rows = [row for row in watched.value if isinstance(row, (list, tuple))]
    if not rows or len(rows) != len(watched.value) or not all(parses(row[-1]) for row in rows):
        return False
    if plain.well and all(parses(row[-1]) for row in plain.value):
        return False
    characters, words = wire_calls(stream.events)
    told = [word for row in rows for word in row[:-1] if isinstance(word, str) and word]
    known = words | {"function"}
    return "".join(sorted("".join(row[-1] or "" for row in rows))) == characters and all(
        _is_joined(word, known) for word in told
    )


def _is_joined(word: str, words: set[str]) -> bool:
    """Whether a word is one of several, or some of them in a row, as programs join what comes in pieces."""
    ends = {0}
    for at in range(len(word)):
        if at in ends:
            ends |= {at + len(each) for each in words if each and word.startswith(each, at)}
    return len(word) in ends


# --- 5. what somebody judged


def judged_right(stream: Stream, results: Callable[[str], Outcome | None]) -> bool | None:
    """Return whether a reading has what is said to be right; None where nothing is said."""
    right = stream.right or {}
    if "expect" in right:
        return _as_expected(stream, right["expect"], results)
    if "right" in right:
        return _as_right(stream, right["right"], results)
    return None


def _value(results: Callable[[str], Outcome | None], name: str) -> Any:
    found = results(name)
    return found.value if found is not None and found.raised is None else None


def _as_expected(stream: Stream, expect: Any, results: Callable[[str], Outcome | None]) -> bool | None:
    checks: list[bool] = []
    for index, choice in expect.get("choices", {}).items():
        checks.append((_texts(results).get(int(index)) or "") == (choice.get("content") or ""))
        if len(expect["choices"]) == 1 and choice.get("tool_calls"):
            checks.append(_same_calls(choice["tool_calls"], _calls(results)))
    if "usage_total" in expect:
        checks.append((_value(results, "usage_last") or (_value(results, "final_usage"),))[-1] == expect["usage_total"])
    if "delta_text" in expect:
        checks.append(_first(results, "text_by_deltas", "helper_text") == expect["delta_text"])
    types = _first(results, "types", "helper_types") or []
    if "event_types" in expect:
        rest = iter(types)
        checks.append(all(type in rest for type in expect["event_types"]))
    checks += [types.count(name) == count for name, count in expect.get("event_counts", {}).items()]
    return all(checks) if checks else None


def _first(results: Callable[[str], Outcome | None], *names: str) -> Any:
    """Return the result of the first reader of these that there is: of a loop, or of the helper."""
    return next((_value(results, name) for name in names if results(name) is not None), None)


def _texts(results: Callable[[str], Outcome | None]) -> dict[Any, Any]:
    rows = _first(results, "text_of_all_choices", "texts_by_index", "final_text") or ()
    return {row[0]: row[1] for row in rows}


def _calls(results: Callable[[str], Outcome | None]) -> Any:
    """Return the calls as rows of id, name and arguments."""
    if results("calls_by_index") is not None:
        return _value(results, "calls_by_index")
    rows = _value(results, "final_calls")
    return rows and [(id, name, arguments) for id, _, name, arguments in rows]


def _same_calls(wanted: Any, found: Any) -> bool:
    if not isinstance(found, list) or len(found) != len(wanted):
        return False
    return all(
        row[1] == call.get("name", row[1]) and _same_arguments(row[2], call.get("arguments", row[2]))
        for row, call in zip(found, wanted)
    )


def _same_arguments(one: Any, other: Any) -> bool:
    return one == other or (parses(one) and parses(other) and json.loads(one or "{}") == json.loads(other or "{}"))


def _as_right(stream: Stream, right: Any, results: Callable[[str], Outcome | None]) -> bool | None:
    checks: list[bool] = []
    texts = {"chat": "text_or_empty", "completions": "text_joined", "responses": "text_by_deltas"}
    if isinstance(right.get("text"), str) and stream.api in texts:
        checks.append(_first(results, texts[stream.api], "helper_text") == right["text"])
    if isinstance(right.get("tools"), int) and stream.api == "chat":
        calls = _calls(results) or []
        checks.append(len(calls) == right["tools"] and all(parses(row[-1]) for row in calls))
    return all(checks) if checks else None


def twin_of(reader: Reader) -> Reader | None:
    """Return the tolerant twin of a reader."""
    return READERS[reader.api].get(reader.twin) if reader.twin else None
