"""A chat completion whose calls are told apart by what announces them, and announced whole.

A fragment with an id that is new, and a name, announces a call: the calls of a choice are 0, 1, 2 in that order. Any
other fragment goes on with the call that its index meant last, or with the call announced last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

from .wire import Event, copied, objects_in

Events = list[Event]


def by_announcement(events: Events) -> Iterator[Events]:
    """Return the events with the indexes that the announcements give to their calls.

    All calls anew, 0, 1, 2, where an id that comes again may be the call that it was; or those alone that come under
    the index of another one, under the next number or after the highest; or anew, but for those without an index; or
    anew, where each fragment has an id and a name, and another call begins when the arguments of one are whole.
    """
    for numbering in ("anew", "by id", "next", "highest", "those that have one", "as they get whole"):
        choices: dict[Any, _Calls] = {}

        def edit(choice: Any, choices: dict[Any, _Calls] = choices, numbering: str = numbering) -> None:
            choices.setdefault(str(choice.get("index")), _Calls(numbering)).edit(choice)

        yield _edited(events, edit)


def with_text_arguments(events: Events) -> Iterator[Events]:
    """Return the events with arguments as text, where they come as an object; written in either way.

    An empty object may be left: nothing says whether it is the whole.
    """
    for separators, nothing in product(((", ", ": "), (",", ":")), ({}, None)):  # type: ignore[var-annotated]

        def edit(choice: Any, separators: tuple[str, str] = separators, nothing: Any = nothing) -> None:
            for call in _calls_of(choice):
                function = call.get("function")
                if not isinstance(function, dict) or function.get("arguments") == nothing:
                    continue
                if isinstance(function.get("arguments"), (dict, list)):
                    function["arguments"] = json.dumps(function["arguments"], separators=separators)

        yield _edited(events, edit)


def with_listed_calls(events: Events) -> Events:
    """Return the events with a list of calls where a single one stands in its place."""

    def edit(choice: Any) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("tool_calls"), dict):
            delta["tool_calls"] = [delta["tool_calls"]]

    return _edited(events, edit)


def _edited(events: Events, edit: Callable[[Any], None]) -> Events:
    """Return the events after an edit of a copy of each choice."""
    result = []
    for event in events:
        found = event.payload.get("choices") if event.is_object else None
        if not isinstance(found, list):
            result.append(event)
            continue
        payload = {**event.payload, "choices": copied(found)}
        for choice in payload["choices"]:
            if isinstance(choice, dict):
                edit(choice)
        result.append(event if payload == event.payload else event.holding(payload))
    return result


def _calls_of(choice: Any) -> list[Any]:
    delta = choice.get("delta")
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


class _Calls:
    """The calls of one choice."""

    def __init__(self, numbering: str) -> None:
        self.numbering = numbering
        self.ids: dict[Any, Any] = {}
        self.used: list[Any] = []
        self.arguments: dict[Any, str] = {}
        self.meant: dict[str, Any] = {}

    def edit(self, choice: Any) -> None:
        """Give each fragment its index."""
        for call in _calls_of(choice):
            function = call.get("function") if isinstance(call.get("function"), dict) else {}
            raw = repr(call.get("index"))
            if self.announces(call.get("id"), function.get("name"), raw):
                self.meant[raw] = self.next(call.get("index"))
                self.used.append(self.meant[raw])
                self.ids[call.get("id") or ""] = self.meant[raw]
            elif self.numbering == "by id" and call.get("id") in self.ids:
                self.meant[raw] = self.ids[call["id"]]
            if self.numbering == "those that have one" and call.get("index") is None:
                continue
            index = self.meant.get(raw, self.used[-1] if self.used else None)
            if isinstance(function.get("arguments"), str):
                self.arguments[index] = self.arguments.get(index, "") + function["arguments"]
            if index is not None and (call.get("index") != index or not isinstance(call.get("index"), int)):
                call["index"] = index

    def announces(self, id: Any, name: Any, raw: str) -> bool:
        """Whether a fragment announces a call: by a new id, or by a name after arguments that are whole."""
        if not name or not (isinstance(id, (str, int)) or id is None):  # some servers number their calls
            return False
        if not id or self.numbering == "as they get whole":
            before = self.arguments.get(self.meant.get(raw), "")
            return raw not in self.meant or (before.strip().startswith("{") and parses(before))
        if id not in self.ids or self.numbering == "by id":
            return id not in self.ids
        before = self.arguments.get(self.meant.get(raw), "")
        return before.strip().startswith("{") and parses(before)

    def next(self, index: Any) -> Any:
        """Return the index of a call that is announced under an index."""
        if self.numbering not in ("next", "highest") or not isinstance(index, int):
            return len(self.used)
        if index not in self.used:
            return index
        return max(self.used) + 1 if self.numbering == "highest" else len(self.used)


def with_headers(events: Events) -> list[Events]:
    """Return the events with id and name of a call in one fragment, where they come in two of the same index.

    In the first one, where what is left of the later ones may be empty instead of gone, and the type goes with them or
    stands in both; or in the one that completes them, with all arguments so far, where the call begins then: the
    fragments before it go, alone or with chunks that have nothing else. Of all such calls, or of one of them alone.
    """
    late = _late_members(events)
    some = [late, *({key: found} for key, found in late.items())] if len(late) > 1 else [late] if late else []
    return [better for calls in some for better in (*_with_first(events, calls), *_held(events, calls))]


Place = tuple[int, int, int]  # of an event, of a choice in it, of a fragment in that


def _fragments(events: Events) -> list[tuple[Place, Any, Any]]:
    """Return every fragment with its place, and the call that its indexes mean."""
    found = []
    for place, event in enumerate(events):
        choices = event.payload.get("choices") if event.is_object else None
        for number, choice in enumerate(choices if isinstance(choices, list) else ()):
            delta = choice.get("delta") if isinstance(choice, dict) else None
            calls = delta.get("tool_calls") if isinstance(delta, dict) else None
            for position, call in enumerate(calls if isinstance(calls, list) else ()):
                if isinstance(call, dict):
                    found.append(
                        ((place, number, position), call, (repr(choice.get("index")), repr(call.get("index"))))
                    )
    return found


def _late_members(events: Events) -> dict[Any, tuple[list[Place], str, str]]:
    """Return the calls whose id or name comes later: where they begin and are complete, with id and name."""
    begun: dict[Any, tuple[list[Place], str, str]] = {}
    late = {}
    for place, call, key in _fragments(events):
        places, id, name = begun.get(key, ([], "", ""))
        if places and id and name:
            continue
        function = call.get("function") if isinstance(call.get("function"), dict) else {}
        begun[key] = ([*places, place], id or call.get("id") or "", name or function.get("name") or "")
        if places and begun[key][1] and begun[key][2]:
            late[key] = begun[key]
    return late | _late_names(events, {key for key, (_, id, _) in begun.items() if not id})


def _late_names(events: Events, keys: set[Any]) -> dict[Any, tuple[list[Place], str, str]]:
    """Return those of some calls, which never get an id, whose name comes later: it is their header."""
    begun: dict[Any, tuple[list[Place], str, str]] = {}
    for place, call, key in _fragments(events):
        places, _, name = begun.get(key, ([], "", ""))
        if key in keys and not name:
            function = call.get("function") if isinstance(call.get("function"), dict) else {}
            begun[key] = ([*places, place], "", function.get("name") or "")
    return {key: found for key, found in begun.items() if len(found[0]) > 1 and found[2]}


def _rewritten(events: Events, edits: dict[Place, Any]) -> Events:
    """Return the events after the edits of some fragments; a fragment whose edit is None goes."""
    result = list(events)
    for place in sorted({place for place, _, _ in edits}):
        payload = copied(events[place].payload)
        for number, choice in enumerate(payload["choices"]):
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if not isinstance(delta, dict) or not any(key[:2] == (place, number) for key in edits):
                continue
            kept = []
            for position, call in enumerate(delta["tool_calls"]):
                edit = edits.get((place, number, position), False)
                if edit:
                    edit(call)
                kept += [call] if edit is not None else []
            delta["tool_calls"] = kept
            if not kept:
                del delta["tool_calls"]
        result[place] = events[place].holding(payload)
    return result


def _header(id: str, name: str, arguments: str | None = None, type: Any = "function") -> Any:
    def edit(call: Any) -> None:
        if id:
            call["id"] = id
        if type and not call.get("type"):
            call["type"] = type
        function = call["function"] = call["function"] if isinstance(call.get("function"), dict) else {}
        function["name"] = name
        if arguments is not None:
            function["arguments"] = arguments

    return edit


def _with_first(events: Events, late: dict[Any, tuple[list[Place], str, str]]) -> Iterator[Events]:
    fragments = {place: call for place, call, _ in _fragments(events)}
    for leaves in (partial(_bare, spares_empty=False), partial(_bare, spares_empty=True), _blank):
        for moves in (("id", "name"), ("id", "name", "type"), ("id",), ("id", "type")):
            edits: dict[Place, Any] = {}
            for places, id, name in late.values():
                said = next((fragments[place].get("type") for place in places if fragments[place].get("type")), None)
                edits[places[0]] = _header(id, name, type=said if "type" in moves else "function")
                edits |= dict.fromkeys(places[1:], leaves(fragments[places[0]], moves))
            yield _rewritten(events, edits)


def _bare(first: Any, moves: tuple[str, ...], *, spares_empty: bool) -> Any:
    """Return the edit that takes away the members that have moved into the first fragment."""

    def edit(call: Any) -> None:
        for said in (call, call.get("function")):
            for name in _moved(said, first, moves):
                if said[name] or not spares_empty:
                    del said[name]

    return edit


def _blank(first: Any, moves: tuple[str, ...]) -> Any:
    """Return the edit that leaves a member empty where the first fragment has it too, and else takes it away."""

    def edit(call: Any) -> None:
        for said, there in ((call, first), (call.get("function"), first.get("function"))):
            for name in _moved(said, first, moves):
                if not said[name]:
                    continue
                if isinstance(there, dict) and name in there:
                    said[name] = "" if there[name] else there[name]
                else:
                    del said[name]

    return edit


def _moved(said: Any, first: Any, moves: tuple[str, ...]) -> list[str]:
    """Return what a fragment, or its function, has of the members that move; a type moves where the first has none."""
    if not isinstance(said, dict):
        return []
    return [name for name in moves if name in said and not (name == "type" and first.get("type"))]


def _held(events: Events, late: dict[Any, tuple[list[Place], str, str]]) -> list[Events]:
    fragments = {place: call for place, call, _ in _fragments(events)}
    edits: dict[Place, Any] = {}
    for places, id, name in late.values():
        functions = [fragments[place].get("function") for place in places]
        pieces = [f.get("arguments") or "" for f in functions if isinstance(f, dict)]
        if not all(isinstance(piece, str) for piece in pieces):
            continue
        arguments = "".join(pieces)
        edits |= dict.fromkeys(places[:-1], None)
        edits[places[-1]] = _header(id, name, arguments)
    kept = _rewritten(events, edits)
    gone = {place for (place, _, _), edit in edits.items() if edit is None and _says_nothing(kept[place])}
    return [kept, [event for place, event in enumerate(kept) if place not in gone]]


def _says_nothing(event: Event) -> bool:
    return all(not choice.get("delta") and not choice.get("finish_reason") for choice in event.payload["choices"])


# --- what is on the wire


def wire_calls(events: Iterable[Event]) -> tuple[str, set[str]]:
    """Return the characters of all arguments of chat calls on the wire, sorted, and the ids and names of the calls."""
    pieces: list[str] = []
    words: set[str] = set()
    for event in events:
        for choice in (event.payload.get("choices") if event.is_object else None) or ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            calls = delta.get("tool_calls") if isinstance(delta, dict) else None
            for call in [calls] if isinstance(calls, dict) else objects_in(calls):
                function = call["function"] if isinstance(call.get("function"), dict) else {}
                arguments = function.get("arguments")
                pieces.append(arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else "")
                words |= {word for word in (call.get("id"), function.get("name")) if isinstance(word, str)}
    return "".join(sorted("".join(pieces))), words


def parses(arguments: Any) -> bool:
    """Whether arguments are JSON, or empty: a call without any."""
    if arguments in ("", None):
        return True
    try:
        json.loads(arguments)
    except (TypeError, ValueError):
        return False
    return True
