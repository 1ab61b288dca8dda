"""The tool calls of one choice, fragment by fragment, and their rules.

A fragment belongs to a call by its index; what else it says (id, name) tells whether the index can
be believed. Calls are numbered 0, 1, 2 in order of appearance, as OpenAI does. A call whose header
is incomplete is held back, fragments and not chunks, until the rest of it comes, or its place ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from streamwatch.core.kinds import (
    CONTENT_UNDECODABLE,
    TOOL_CALL_ARGUMENTS_INVALID,
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
from streamwatch.core.ledger import Ledger
from streamwatch.core.settings import Settings

#: Calls that are remembered in a choice; the API takes 128 tools. What a server makes up beyond it is passed on.
_MAX_CALLS = 256
#: Arguments are kept up to here, to see whether they parse: a stream must not cost memory. Calls
#: that write whole files go beyond it; then nothing is said of them.
_MAX_ARGUMENTS = 16 << 10


class Call:
    """One tool call."""

    __slots__ = ("_parses", "again", "braces", "header", "id", "index", "name", "pieces", "size")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.pieces: list[str] = []
        self.size = 0
        self.header: dict[str, Any] | None = None  #: what came of an incomplete header, held back
        self.braces = ""  #: arguments `{}`, held back: some servers put them before the real ones
        self.again = ""  #: arguments that may be the same ones a second time, held back
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

    __slots__ = ("by_index", "calls", "checks", "last", "ledger", "renumbered", "settings", "tools")

    def __init__(self, ledger: Ledger, settings: Settings, tools: frozenset[str] = frozenset()) -> None:
        self.ledger = ledger
        self.settings = settings
        self.tools = tools
        self.calls: list[Call] = []
        self.by_index: dict[int, Call] = {}  # the index on the wire -> the call it means now
        self.last: Call | None = None
        self.renumbered = False
        self.checks = ledger.wants(TOOL_CALL_ARGUMENTS_INVALID)  #: whether arguments are held back that may be repeated

    def more(self, fragments: Any) -> bool:
        """Take the commonest case, more arguments for the call that is being written; False for any other."""
        (fragment,) = fragments
        last = self.last
        if last is None or len(fragment) != 2 or self.renumbered or fragment["index"] != last.index:
            return False
        if self.checks or last.header is not None:
            return False
        function = fragment["function"]
        arguments = function["arguments"]
        if len(function) != 1 or type(arguments) is not str or self.by_index.get(last.index) is not last:
            return False
        if not arguments.isascii() and "\ufffd" in arguments:
            return False
        last.add(arguments)
        return True

    def see(self, delta: dict[str, Any]) -> None:
        """All fragments of one delta."""
        fragments = delta["tool_calls"]
        if not fragments and fragments in (None, []):
            if self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
                del delta["tool_calls"]
            return
        if not isinstance(fragments, list):
            if not isinstance(fragments, dict):
                self.ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)
                return
            fragments = [fragments]
            if self.ledger.record(TOOL_CALL_MALFORMED):
                delta["tool_calls"] = fragments
        kept: list[Any] = []
        for fragment in fragments:
            if self._fragment(fragment, kept):
                kept.append(fragment)
        self._merge(kept)
        if not kept:
            del delta["tool_calls"]
        elif len(kept) > 1 or isinstance(delta["tool_calls"], list):
            delta["tool_calls"] = kept

    def _fragment(self, fragment: Any, before: list[Any]) -> bool:
        """One fragment; whether it is to be handed on. `before` takes what has to go before it."""
        if not isinstance(fragment, dict):
            return not self.ledger.record(TOOL_CALL_MALFORMED, Level.DEFAULT if fragment is None else Level.NEVER)
        if "custom" in fragment:
            return self._custom(fragment.get("index"))
        no_function = not isinstance(fragment.get("function"), dict)
        if "function" not in fragment and fragment.get("id"):
            no_function = False  # an id now, the rest later: the rule of the header says so
        if no_function and self._without_function(fragment):
            return False
        function = fragment.get("function")
        function = function if isinstance(function, dict) else {}
        known = len(self.calls)
        call = self._call(fragment, function)
        if call is None:
            return True
        opens = len(self.calls) > known
        if opens and known:
            self._flush_call(self.calls[-2], before, before)
        if self.renumbered and fragment.get("index") != call.index:
            fragment["index"] = call.index
        if not opens and call is not self.last and call is not self.calls[-1]:
            self.ledger.record(TOOL_CALLS_INTERLEAVED, Level.NEVER)
        self.last = call
        if opens:
            self._header(fragment, function, call)
        else:
            self._continuation(fragment, function, call)
        self._arguments(function, call)
        return call.header is None or self._complete(fragment, function, call)

    def _custom(self, index: Any) -> bool:
        """A call of a custom tool is handed on: its input has any form, and only its index is of use here."""
        if type(index) is int and index not in self.by_index and len(self.calls) < _MAX_CALLS:
            self._open(index).size = _MAX_ARGUMENTS + 1  # nothing is said of its arguments
        return True

    def _without_function(self, fragment: dict[str, Any]) -> bool:
        """`function` is null, absent or no object; True drops the fragment: it says nothing."""
        says_nothing = not fragment.get("function") and not fragment.get("id")
        wanted = self.ledger.record(TOOL_CALL_MALFORMED, Level.DEFAULT if says_nothing else Level.NEVER)
        return wanted and says_nothing

    # --- which call

    def _call(self, fragment: dict[str, Any], function: dict[str, Any]) -> Call | None:
        """The call that a fragment belongs to, opened if need be; None where nothing tells."""
        if len(self.calls) >= _MAX_CALLS and fragment.get("index") not in self.by_index:
            return None
        index, id = fragment.get("index"), fragment.get("id")
        named = bool(function.get("name"))
        says = function.get("arguments")
        if type(index) is not int:
            return self._without_index(id, says, named=named)
        call = self.by_index.get(index)
        if call is None:
            return self._at_new_index(index, says, opens=bool(id or named))
        if id and named and call.id and id != call.id:
            wanted = self.ledger.record(TOOL_CALL_INDEX_REUSED)
            if wanted and call.parses() is False:
                self.ledger.unrepaired(TOOL_CALL_INDEX_REUSED)
                return call
            self.renumbered = self.renumbered or wanted
            return self._open(index)
        return call

    def _without_index(self, id: Any, says: Any, *, named: bool) -> Call | None:
        wanted = self.ledger.record(TOOL_CALL_INDEX_MISSING)
        call = next((call for call in self.calls if id and call.id == id), None)
        if call is None and (id or named):
            call = self._open(None)
        elif call is None:
            call = self._meant(says)
        if call is None and wanted:
            self.ledger.unrepaired(TOOL_CALL_INDEX_MISSING)
        elif wanted:
            self.renumbered = True
        return call

    def _at_new_index(self, index: int, says: Any, *, opens: bool) -> Call | None:
        if not opens and self.calls:
            wanted = self.ledger.record(TOOL_CALL_INDEX_SPARSE)
            call = self._meant(says)
            if call is None:
                if wanted:
                    self.ledger.unrepaired(TOOL_CALL_INDEX_SPARSE)
                return None
            self.by_index[index] = call
            self.renumbered = self.renumbered or wanted
            return call
        if index != len(self.by_index) and self.ledger.record(TOOL_CALL_INDEX_SPARSE):
            self.renumbered = True
        return self._open(index)

    def _open(self, index: int | None) -> Call:
        call = Call(len(self.calls))
        self.calls.append(call)
        self.by_index[call.index if index is None else index] = call
        return call

    def _meant(self, says: Any) -> Call | None:
        """The last call, if no other one can be meant by arguments that say neither index nor id."""
        if self.calls and (says is None or (isinstance(says, str) and not says.strip())):
            return self.calls[-1]
        incomplete = [call for call in self.calls if call.parses() is not True]
        return incomplete[0] if len(incomplete) == 1 and incomplete[0] is self.calls[-1] else None

    # --- what stands in a fragment

    def _header(self, fragment: dict[str, Any], function: dict[str, Any], call: Call) -> None:
        """The first fragment: id, type and name."""
        call.id = str(fragment.get("id") or "")
        call.name = str(function.get("name") or "")
        if not (call.id and call.name) and self.ledger.record(TOOL_CALL_HEADER_INCOMPLETE):
            call.header = {}
        if not fragment.get("type") and self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
            fragment["type"] = "function"

    def _continuation(self, fragment: dict[str, Any], function: dict[str, Any], call: Call) -> None:
        """A later fragment: nothing but arguments."""
        empty = [(part, key) for part, key in _header_fields(fragment, function) if not part[key]]
        if empty and self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
            for part, key in empty:
                del part[key]
        call.id = call.id or str(fragment.get("id") or "")
        name = function.get("name")
        if name and call.name:
            again = name == call.name and name in self.tools
            if self.ledger.record(TOOL_CALL_NAME_REPEATED, Level.DEFAULT if again else Level.NEVER):
                del function["name"]
        elif name:
            call.name = str(name)

    def _arguments(self, function: dict[str, Any], call: Call) -> None:
        arguments = function.get("arguments", "")
        if arguments is None:
            if self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
                function["arguments"] = ""
            return
        if not isinstance(arguments, str):
            only = isinstance(arguments, (dict, list)) and not call.size
            arguments = json.dumps(arguments, ensure_ascii=False)
            if self.ledger.record(TOOL_CALL_MALFORMED, Level.DEFAULT if only else Level.NEVER):
                function["arguments"] = arguments
        if "\ufffd" in arguments:
            self.ledger.record(CONTENT_UNDECODABLE, Level.NEVER)
        if self.checks and arguments:
            function["arguments"] = arguments = self._without_repeats(arguments, call)
        call.add(arguments)

    def _without_repeats(self, arguments: str, call: Call) -> str:
        """`{}` before the real arguments, or all of them a second time: what may be that is held back."""
        if not call.size and not call.braces and arguments.strip() == "{}":
            call.braces = arguments
            return ""
        if call.braces:
            braces, call.braces = call.braces, ""
            if not arguments.lstrip().startswith("{"):
                return braces + arguments
            self.ledger.record(TOOL_CALL_ARGUMENTS_INVALID, Level.OPT_IN)
        elif call.size and call.parses():
            said, whole = call.again + arguments, "".join(call.pieces)
            call.again = said if whole.startswith(said) and said != whole else ""
            if said == whole and self.ledger.record(TOOL_CALL_ARGUMENTS_INVALID, Level.OPT_IN):
                return ""
            return "" if call.again else said
        return arguments

    # --- what was held back

    def _complete(self, fragment: dict[str, Any], function: dict[str, Any], call: Call) -> bool:
        """Add a fragment to an incomplete header; True when it is whole, and stands in the fragment."""
        header = call.header
        assert header is not None  # noqa: S101 -- the caller saw it
        held = header.setdefault("function", {})
        arguments = function.get("arguments")
        held["arguments"] = held.get("arguments", "") + (arguments if isinstance(arguments, str) else "")
        held.update({key: value for key, value in function.items() if value and key != "arguments"})
        header.update({key: value for key, value in fragment.items() if value is not None and key != "function"})
        too_long = len(held["arguments"]) > self.settings.window_bytes
        if not (call.id and call.name) and not too_long:
            return False
        call.header = None
        if too_long:
            self.ledger.failed(TOOL_CALL_HEADER_INCOMPLETE)
        fragment.clear()
        fragment.update({**header, "index": call.index, "type": header.get("type") or "function"})
        return True

    def _flush_call(self, call: Call, fragments: list[Any], came: Sequence[Any] = ()) -> None:
        """A call's place ends: what is held of it goes on, with an id made up if none came.

        It stands in the last fragment of the call that came with it, else in one of its own.
        """
        if call.header is not None:
            header, call.header = call.header, None
            if not call.name:  # cannot be made up
                self.ledger.unrepaired(TOOL_CALL_HEADER_INCOMPLETE)
            call.id = call.id or f"call_{uuid4().hex}"
            fragments.append({"type": "function", **header, "index": call.index, "id": call.id})
        rest, call.braces, call.again = call.braces + call.again, "", ""
        if not rest:
            return
        call.add(rest)
        for fragment in reversed(came):
            function = fragment.get("function") if isinstance(fragment, dict) else None
            if isinstance(function, dict) and fragment.get("index") == call.index:
                function["arguments"] = (function.get("arguments") or "") + rest
                return
        fragments.append({"index": call.index, "function": {"arguments": rest}})

    def flush(self, delta: dict[str, Any]) -> None:
        """Put everything that is held back before what a delta carries."""
        came = delta.get("tool_calls")
        came = came if isinstance(came, list) else []
        fragments: list[Any] = []
        for call in self.calls:
            self._flush_call(call, fragments, came)
        if fragments:
            delta["tool_calls"] = [*fragments, *came]

    def finish(self, delta: dict[str, Any]) -> None:
        """The chunk with the finish_reason: nothing is held back beyond it."""
        self.flush(delta)
        for call in self.calls:
            if not call.size and self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR, Level.OPT_IN):
                call.add("{}")
                came = delta.get("tool_calls")
                more = {"index": call.index, "function": {"arguments": "{}"}}
                delta["tool_calls"] = [*(came if isinstance(came, list) else ()), more]

    def parse(self) -> bool | None:
        """Whether the arguments of every call are JSON; None where nothing is known of any."""
        parsed = {call.parses() for call in self.calls} - {None}
        return False if False in parsed else True if parsed else None

    def close(self) -> bool:
        """The arguments of a finished answer; whether some of them stop short."""
        cut = False
        for call in self.calls:
            if call.parses() is False:
                self.ledger.record(TOOL_CALL_ARGUMENTS_INVALID, Level.NEVER)
                cut = cut or call.unfinished()
        return cut

    def _merge(self, fragments: list[Any]) -> None:
        """Several fragments of one call in one chunk: readers that take one a chunk lose the second."""
        for later in range(len(fragments) - 1, 0, -1):
            first, second = fragments[later - 1], fragments[later]
            index = second.get("index") if isinstance(second, dict) else None
            if index is None or not isinstance(first, dict) or first.get("index") != index or second.get("id"):
                continue
            head, tail = first.get("function"), second.get("function")
            if not (isinstance(head, dict) and isinstance(tail, dict)):
                continue
            said = [part.get("arguments") or "" for part in (head, tail)]
            if all(isinstance(part, str) for part in said) and self.ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR):
                head["arguments"] = "".join(said)
                del fragments[later]


def _header_fields(fragment: dict[str, Any], function: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The fields of a header that a fragment has, whatever their value."""
    fields = ((fragment, "id"), (fragment, "type"), (function, "name"))
    return [(part, key) for part, key in fields if key in part]
