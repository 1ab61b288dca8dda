"""The tool calls of one choice, fragment by fragment, and their rules.

A fragment belongs to a call by its index; what else it says (id, name) tells whether the index can
be believed. Calls are numbered 0, 1, 2 in order of appearance, as OpenAI does.
"""

from __future__ import annotations

import json
from typing import Any

from streamwatch.anomalies import (
    TOOL_CALL_FRAGMENT_IRREGULAR,
    TOOL_CALL_HEADER_INCOMPLETE,
    TOOL_CALL_INDEX_MISSING,
    TOOL_CALL_INDEX_REUSED,
    TOOL_CALL_INDEX_SPARSE,
    TOOL_CALL_MALFORMED,
    TOOL_CALL_NAME_REPEATED,
    TOOL_CALLS_INTERLEAVED,
    Level,
)
from streamwatch.surface import Watching

#: Arguments are kept up to here, to see whether they parse: a stream must not cost memory. Calls
#: that write whole files go beyond it; then nothing is said of them.
_MAX_ARGUMENTS = 16 << 10


class Call:
    """One tool call."""

    __slots__ = ("_parses", "index", "id", "name", "pieces", "size")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.size = 0
        self._parses: bool | None = None

    def add(self, arguments: str) -> None:
        """One more fragment of the arguments."""
        self.size += len(arguments)
        self._parses = None
        if self.size <= _MAX_ARGUMENTS:
            self.pieces.append(arguments)
            if len(self.pieces) > 64:  # one string instead of many small ones
                self.pieces = ["".join(self.pieces)]
        else:
            self.pieces.clear()

    def parses(self) -> bool | None:
        """Whether the arguments up to now are JSON; None where there are none, or too many to say."""
        if not 0 < self.size <= _MAX_ARGUMENTS:
            return None
        if self._parses is None:
            try:
                json.loads("".join(self.pieces))
            except (ValueError, RecursionError):
                self._parses = False
            else:
                self._parses = True
        return self._parses

    def unfinished(self) -> bool:
        """Whether the arguments are the beginning of a JSON text."""
        text = "".join(self.pieces).rstrip()
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            return error.msg.startswith("Unterminated string") or error.pos >= len(text)
        except (ValueError, RecursionError):
            pass
        return False


class ToolCalls:
    """The tool calls of one choice."""

    __slots__ = ("by_index", "calls", "last", "renumbered", "stream")

    def __init__(self, stream: Watching) -> None:
        self.stream = stream
        self.calls: list[Call] = []
        self.by_index: dict[int, Call] = {}  # the index on the wire -> the call it means now
        self.last: Call | None = None
        self.renumbered = False

    def more(self, fragments: Any) -> bool:
        """Take the commonest case, more arguments for the call that is being written; False for any other."""
        (fragment,) = fragments
        last = self.last
        if last is None or len(fragment) != 2 or self.renumbered or fragment["index"] != last.index:
            return False
        function = fragment["function"]
        arguments = function["arguments"]
        if len(function) != 1 or type(arguments) is not str or self.by_index.get(last.index) is not last:
            return False
        last.add(arguments)
        return True

    def see(self, delta: dict[str, Any]) -> None:
        """All fragments of one delta."""
        fragments = delta["tool_calls"]
        if not fragments and fragments in (None, []):
            if self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR):
                del delta["tool_calls"]
            return
        if not isinstance(fragments, list):
            if not isinstance(fragments, dict):
                self.stream.found(TOOL_CALL_MALFORMED, Level.NEVER)
                return
            fragments = [fragments]
            if self.stream.found(TOOL_CALL_MALFORMED):
                delta["tool_calls"] = fragments
        kept = [fragment for fragment in fragments if self._fragment(fragment)]
        if len(kept) != len(fragments):
            fragments[:] = kept
            if not kept:
                del delta["tool_calls"]
                return
        self._merge(kept)

    def _fragment(self, fragment: Any) -> bool:
        """One fragment; whether it is to be handed on."""
        if not isinstance(fragment, dict):
            return not self.stream.found(TOOL_CALL_MALFORMED, Level.DEFAULT if fragment is None else Level.NEVER)
        if not isinstance(fragment.get("function"), dict) and fragment.get("type") != "custom":
            if self._without_function(fragment):
                return False
        function = fragment.get("function")
        function = function if isinstance(function, dict) else {}
        known = len(self.calls)
        call = self._call(fragment, function)
        if call is None:
            return True
        opens = len(self.calls) > known
        if self.renumbered and fragment.get("index") != call.index:
            fragment["index"] = call.index
        if not opens and call is not self.last and call is not self.calls[-1]:
            self.stream.found(TOOL_CALLS_INTERLEAVED, Level.NEVER)
        self.last = call
        if opens:
            self._header(fragment, function, call)
        else:
            self._continuation(fragment, function, call)
        self._arguments(function, call)
        return True

    def _without_function(self, fragment: dict[str, Any]) -> bool:
        """`function` is null, absent or no object; True drops the fragment: it says nothing."""
        says_nothing = not fragment.get("function") and not fragment.get("id")
        wanted = self.stream.found(TOOL_CALL_MALFORMED, Level.DEFAULT if says_nothing else Level.NEVER)
        return wanted and says_nothing

    # --- which call

    def _call(self, fragment: dict[str, Any], function: dict[str, Any]) -> Call | None:
        """The call that a fragment belongs to, opened if need be; None where nothing tells."""
        index, id = fragment.get("index"), fragment.get("id")
        named = bool(function.get("name"))
        if type(index) is not int:
            return self._without_index(id, named=named)
        call = self.by_index.get(index)
        if call is None:
            return self._at_new_index(index, opens=bool(id or named))
        if id and named and call.id and id != call.id:
            wanted = self.stream.found(TOOL_CALL_INDEX_REUSED)
            if wanted and call.parses() is False:
                self.stream.unrepaired(TOOL_CALL_INDEX_REUSED)
                return call
            self.renumbered = self.renumbered or wanted
            return self._open(index)
        return call

    def _without_index(self, id: Any, *, named: bool) -> Call | None:
        wanted = self.stream.found(TOOL_CALL_INDEX_MISSING)
        call = next((call for call in self.calls if id and call.id == id), None)
        if call is None and (id or named):
            call = self._open(None)
        elif call is None:
            call = self._only_incomplete()
        if call is None and wanted:
            self.stream.unrepaired(TOOL_CALL_INDEX_MISSING)
        elif wanted:
            self.renumbered = True
        return call

    def _at_new_index(self, index: int, *, opens: bool) -> Call | None:
        if not opens and self.calls:
            wanted = self.stream.found(TOOL_CALL_INDEX_SPARSE)
            call = self._only_incomplete()
            if call is None:
                if wanted:
                    self.stream.unrepaired(TOOL_CALL_INDEX_SPARSE)
                return None
            self.by_index[index] = call
            self.renumbered = self.renumbered or wanted
            return call
        if index != len(self.by_index) and self.stream.found(TOOL_CALL_INDEX_SPARSE):
            self.renumbered = True
        return self._open(index)

    def _open(self, index: int | None) -> Call:
        call = Call(len(self.calls))
        self.calls.append(call)
        self.by_index[call.index if index is None else index] = call
        return call

    def _only_incomplete(self) -> Call | None:
        """The last call, if no other one can be meant."""
        incomplete = [call for call in self.calls if call.parses() is not True]
        return incomplete[0] if len(incomplete) == 1 and incomplete[0] is self.calls[-1] else None

    # --- what stands in a fragment

    def _header(self, fragment: dict[str, Any], function: dict[str, Any], call: Call) -> None:
        """The first fragment: id, type and name."""
        call.id = str(fragment.get("id") or "")
        call.name = str(function.get("name") or "")
        if not (call.id and call.name):
            self.stream.found(TOOL_CALL_HEADER_INCOMPLETE, Level.NEVER)
        if not fragment.get("type") and self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR):
            fragment["type"] = "function"

    def _continuation(self, fragment: dict[str, Any], function: dict[str, Any], call: Call) -> None:
        """A later fragment: nothing but arguments."""
        empty = [(part, key) for part, key in _header_fields(fragment, function) if not part[key]]
        if empty and self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR):
            for part, key in empty:
                del part[key]
        call.id = call.id or str(fragment.get("id") or "")
        name = function.get("name")
        if name and call.name:
            again = name == call.name and name in self.stream.request.tools
            if self.stream.found(TOOL_CALL_NAME_REPEATED, Level.DEFAULT if again else Level.NEVER):
                del function["name"]
        elif name:
            call.name = str(name)

    def _arguments(self, function: dict[str, Any], call: Call) -> None:
        arguments = function.get("arguments", "")
        if arguments is None:
            if self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR):
                function["arguments"] = ""
            return
        if not isinstance(arguments, str):
            only = isinstance(arguments, (dict, list)) and not call.size
            arguments = json.dumps(arguments, ensure_ascii=False)
            if self.stream.found(TOOL_CALL_MALFORMED, Level.DEFAULT if only else Level.NEVER):
                function["arguments"] = arguments
        call.add(arguments)

    def _merge(self, fragments: list[Any]) -> None:
        """Several fragments of one call in one chunk: readers that take one a chunk lose the second."""
        for later in range(len(fragments) - 1, 0, -1):
            first, second = fragments[later - 1], fragments[later]
            index = second.get("index") if isinstance(second, dict) else None
            if index is None or not isinstance(first, dict) or first.get("index") != index or second.get("id"):
                continue
            if self.stream.found(TOOL_CALL_FRAGMENT_IRREGULAR):
                head, tail = first.setdefault("function", {}), second.get("function") or {}
                head["arguments"] = (head.get("arguments") or "") + (tail.get("arguments") or "")
                del fragments[later]


def _header_fields(fragment: dict[str, Any], function: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The fields of a header that a fragment has, whatever their value."""
    fields = ((fragment, "id"), (fragment, "type"), (function, "name"))
    return [(part, key) for part, key in fields if key in part]
