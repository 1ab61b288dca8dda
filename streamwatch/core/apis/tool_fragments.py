"""The members of a fragment of a tool call: id, type, name and arguments.

A header that comes in parts is put together in its first fragment, which waits for the rest in an
event that nobody has read. Arguments that may be said twice wait in the same way, on request.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from streamwatch.core.apis.doubts import Doubts
from streamwatch.core.apis.tool_call import Call, Fragment
from streamwatch.core.kinds import (
    CONTENT_UNDECODABLE,
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_FRAGMENT_IRREGULAR,
    TOOL_CALL_HEADER_INCOMPLETE,
    TOOL_CALL_MALFORMED,
    TOOL_CALL_NAME_REPEATED,
)
from streamwatch.core.ledger import Ledger
from streamwatch.core.nothing import NOTHING
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Level


class FragmentRules:
    """The rules of the fragments of one choice, and the calls of which something waits."""

    __slots__ = ("_awaited", "_checks", "_doubts", "_is_patient", "_ledger", "_tools", "join_level")

    def __init__(self, ledger: Ledger, doubts: Doubts, request: Request) -> None:
        self._ledger = ledger
        self._doubts = doubts
        self._tools = request.tools
        #: of what a helper alone needs that does not join fragments of one chunk, nor begin with an empty list
        self.join_level = Level.OPT_IN if request.joins_fragments else Level.HELPER
        self._checks = ledger.wants(TOOL_CALL_ARGUMENTS_INVALID)
        self._is_patient = True  #: a header that is not whole may be waited for
        self._awaited: dict[int, Call] = NOTHING  # calls of which something waits, by identity

    def function(self, fields: dict[str, Any]) -> bool:
        """Return whether a fragment goes on: without a function it may say nothing at all."""
        function, id = fields.get("function"), fields.get("id")
        if isinstance(function, dict) or (id and "function" not in fields):
            return True  # an id now, the rest later: the rule of the header says so
        says_nothing = not function and not id
        wanted = self._ledger.record(TOOL_CALL_MALFORMED, Level.HELPER if says_nothing else Level.NEVER)
        return not (wanted and says_nothing)

    def open(self, call: Call, fragment: Fragment) -> None:
        """Look at the first fragment of a call."""
        self._end_those_before()
        fields = fragment.fields
        self._types(fields, fragment.function)
        if not fields.get("type") and self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
            call.is_typed = "type" not in fields
            fields["type"] = "function"
        self._arguments(call, fragment)
        if not (call.id and call.name) and self._ledger.record(TOOL_CALL_HEADER_INCOMPLETE):
            self._wait_for_header(call, fields)

    def _types(self, fields: dict[str, Any], function: dict[str, Any]) -> None:
        """Look at the types of id and name."""
        id = fields.get("id")
        if not isinstance(id, (str, type(None))) and self._ledger.record(TOOL_CALL_MALFORMED, Level.OPT_IN):
            fields["id"] = str(id)
        if not isinstance(function.get("name"), (str, type(None))):
            self._ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)

    def go_on(self, call: Call, fragment: Fragment) -> None:
        """Look at a later fragment: it should have arguments only."""
        if call.header is not None:
            self._complete(call, call.header, fragment)
        irregular = _irregular(call, fragment)
        if irregular and self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
            for part, key in irregular:
                del part[key]
        call.id = call.id or fragment.id
        self._name(call, fragment)
        self._arguments(call, fragment)

    def merged(self, fragments: list[Any]) -> list[Any]:
        """Return the fragments of a chunk, those of one call joined where that is wanted."""
        merged: list[Any] = []
        for fragment in fragments:
            if not (merged and self._join(merged[-1], fragment)):
                merged.append(fragment)
        return merged

    def end(self) -> None:
        """Decide what waits: nothing more comes of it."""
        for call in list(self._awaited.values()):
            self._end(call)

    def give_up(self) -> None:
        """Take what waits as it came."""
        for call in list(self._awaited.values()):
            if call.header is not None:
                self._ledger.failed(TOOL_CALL_HEADER_INCOMPLETE)
                self._is_patient = False
                call.drop_header()
            self._settle(call)

    # --- a header in parts

    def _wait_for_header(self, call: Call, fields: dict[str, Any]) -> None:
        if self._is_patient and not (call.name and call.parses()):
            call.header = fields
            self._await(call)
        else:
            self._make_up_id(call, fields)

    def _complete(self, call: Call, header: dict[str, Any], fragment: Fragment) -> None:
        """Move what a header lacks from later fragments into its own, as soon as both id and name are there."""
        if fragment.fields.get("id") and call.id not in ("", fragment.fields["id"]):
            self._ledger.unrepaired(TOOL_CALL_HEADER_INCOMPLETE)  # who goes by ids finds another call there
            call.drop_header()
            self._settle(call)
            return
        if fragment.id and not call.id:
            call.moves = (*call.moves, ("id", fragment.fields))
            call.id, fragment.id = fragment.id, ""
        if fragment.name and not call.name:
            call.moves = (*call.moves, ("name", fragment.function))
            call.name, fragment.name = fragment.name, ""
        if fragment.fields.get("type") and not header.get("type") and all(name != "type" for name, _ in call.moves):
            call.moves = (*call.moves, ("type", fragment.fields))  # what reads the id reads the type there
        if call.id and call.name:
            _make_whole(call, header)
            if fragment.id == call.id:  # with its name gone it opens nothing
                fragment.fields["id"] = fragment.id = ""
            call.drop_header()
            self._settle(call)

    def _make_up_id(self, call: Call, fields: dict[str, Any]) -> None:
        """Give a call that has a name the id that never came; a name cannot be made up."""
        if call.name and not call.id and self._ledger.wants(TOOL_CALL_HEADER_INCOMPLETE, Level.OPT_IN):
            _make_whole(call, fields)
            fields["id"] = call.id = f"call_{uuid4().hex}"
        else:
            self._ledger.unrepaired(TOOL_CALL_HEADER_INCOMPLETE)

    def _end_those_before(self) -> None:
        """Await nothing more of other calls, as the next one begins, but a header that can still come."""
        for call in list(self._awaited.values()):
            if call.header is None or (call.name and call.parses()):
                self._end(call)

    def _end(self, call: Call) -> None:
        if call.header is not None:
            self._make_up_id(call, call.header)
            if call.is_typed and not (call.id or call.name):
                del call.header["type"]  # it is not a call: neither an id nor a name came
            self._is_patient = False
            call.drop_header()
        self._settle(call)

    # --- name and arguments

    def _name(self, call: Call, fragment: Fragment) -> None:
        name = fragment.name
        if name and call.name:
            again = name == call.name and name in self._tools and name + name not in self._tools
            # Where it begins something else, the helper parses nothing of both, and raises without it.
            again = again and not (call.goes_on_nameless or _is_more(call, fragment))
            if self._ledger.record(TOOL_CALL_NAME_REPEATED, None if again else Level.NEVER):
                del fragment.function["name"]
            if call.id_changes and call.has_rest(name, self._tools):
                call.name += name  # it is what later fragments say as a whole
        elif name:
            call.name = name
        elif call.name and fragment.says_arguments:
            call.goes_on_nameless = True

    def _arguments(self, call: Call, fragment: Fragment) -> None:
        function = fragment.function
        arguments = function.get("arguments", "")
        if arguments is None:
            if self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
                function["arguments"] = ""
            return
        if arguments == {}:  # nothing yet, or no arguments: only the end would say which
            self._ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)
        elif not isinstance(arguments, str):
            self._object(call, fragment, arguments)
        elif arguments and call.object is not None:
            self._leave_object(call)
        if "\ufffd" in fragment.arguments:
            self._ledger.record(CONTENT_UNDECODABLE, Level.NEVER)
        if self._checks and fragment.arguments:
            self._see_repeats(call, fragment)
        else:
            call.add(fragment.arguments)

    def _object(self, call: Call, fragment: Fragment, arguments: Any) -> None:
        """Take arguments that are no string: they are written as one where they are all that comes of the call.

        Of objects that come in parts some programs make one; no string is a part of it.
        """
        fragment.arguments = json.dumps(arguments, ensure_ascii=False)
        call.is_made_up = True
        if call.object is not None:
            self._leave_object(call)
        elif not call.size and isinstance(arguments, (dict, list)) and self._ledger.wants(TOOL_CALL_MALFORMED):
            call.object = fragment.function
            self._await(call)
            return
        self._ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)

    def _leave_object(self, call: Call) -> None:
        """Leave arguments that are an object as they came: they are not all that comes of the call."""
        call.object = None
        self._ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)
        self._settle(call)

    def _join(self, first: Any, second: Any) -> bool:
        """Join two fragments of one call: readers that take one a chunk lose the second, and old helpers both."""
        index = second.get("index") if isinstance(second, dict) else None
        if index is None or not isinstance(first, dict) or first.get("index") != index or second.get("id"):
            return False
        head, tail = first.get("function"), second.get("function")
        if not (isinstance(head, dict) and isinstance(tail, dict)):
            return False
        said = [part.get("arguments") or "" for part in (head, tail)]
        if not all(isinstance(part, str) for part in said):
            return False
        if not self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR, self.join_level):
            return False
        head["arguments"] = "".join(said)
        return True

    # --- arguments that may be said twice

    def _see_repeats(self, call: Call, fragment: Fragment) -> None:
        """Take arguments of which `{}` may stand before the real ones, or all may come a second time."""
        said, whole = fragment.arguments, call.arguments
        if not call.size and not call.places:
            if said.strip() == "{}":
                self._put_in_question(call, fragment)
                return
        elif not call.size:
            if said.lstrip().startswith("{"):
                self._leave_out(call)
            self._settle(call)
        elif call.parses() and whole is not None:
            if whole.startswith(call.again + said):
                self._put_in_question(call, fragment)
                if call.again == whole:
                    self._leave_out(call)
                    self._settle(call)
                return
            self._settle(call)
        call.add(said)

    def _put_in_question(self, call: Call, fragment: Fragment) -> None:
        call.places = call.places or []
        call.places.append(fragment.function)
        call.again += fragment.arguments
        self._await(call)

    def _leave_out(self, call: Call) -> None:
        self._ledger.record(TOOL_CALL_ARGUMENTS_INVALID)  # nothing is in question where this is not wanted
        for function in call.places or ():
            function["arguments"] = ""
        call.again = ""

    # --- calls of which something waits

    def _await(self, call: Call) -> None:
        self._awaited = self._awaited or {}
        self._awaited[id(call)] = call
        self._doubts.open(self)

    def _settle(self, call: Call) -> None:
        """Close what is in question of a call; what is left of it is arguments."""
        if call.object is not None and self._ledger.record(TOOL_CALL_MALFORMED):
            call.object["arguments"] = json.dumps(call.object["arguments"], ensure_ascii=False)
        call.object = None
        if call.again:
            call.add(call.again)
        call.again = ""
        call.places = None
        if call.header is None and id(call) in self._awaited:
            del self._awaited[id(call)]
            if not self._awaited:
                self._doubts.close(self)


def _make_whole(call: Call, header: dict[str, Any]) -> None:
    """Move members of later fragments into the header; what stood there goes in the place of each.

    Some programs take a member for granted in each fragment.
    """
    for name, later in call.moves:
        if name == "name" and not isinstance(header.get("function"), dict):
            header["function"] = {}
        there = header["function"] if name == "name" else header
        said = later.pop(name)
        if name in there:
            later[name] = there[name]
        there[name] = said
    call.moves = ()


def _is_more(call: Call, fragment: Fragment) -> bool:
    """Return whether a fragment has further arguments, where those of its call are whole: another call begins."""
    return call.object is not None or (fragment.says_arguments and call.parses() is True)


def _irregular(call: Call, fragment: Fragment) -> list[tuple[dict[str, Any], str]]:
    """Return where a continuation has members of a header that are empty, or say what the header said."""
    fields, function = fragment.fields, fragment.function
    header = [(part, key) for part, key in ((fields, "id"), (fields, "type"), (function, "name")) if key in part]
    same = {"id": fragment.id != "" and fragment.id == call.id, "type": True, "name": False}
    return [(part, key) for part, key in header if not part[key] or same[key]]
