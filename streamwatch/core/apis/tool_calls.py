"""The tool calls of one choice: which call a fragment belongs to.

How it works. Identity goes before position: an id says which call a fragment is of, then a name and
arguments that are whole, and an index only where these do not contradict it. An index is the place
of a call in a list, for the SDK's helper and for programs like those of its cookbook: calls are
numbered 0, 1, 2 in order of appearance, as OpenAI does. What stands in a fragment is the concern of
`tool_fragments`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from streamwatch.core.apis.doubts import Doubts
from streamwatch.core.apis.tool_call import Budget, Call, Fragment, begins_json, free_among, is_json
from streamwatch.core.apis.tool_fragments import FragmentRules
from streamwatch.core.kinds import (
    TOOL_CALL_ARGUMENTS_INVALID,
    TOOL_CALL_FRAGMENT_IRREGULAR,
    TOOL_CALL_ID_CHANGED,
    TOOL_CALL_INDEX_MISSING,
    TOOL_CALL_INDEX_REUSED,
    TOOL_CALL_INDEX_SPARSE,
    TOOL_CALL_MALFORMED,
    TOOL_CALLS_INTERLEAVED,
)
from streamwatch.core.ledger import Ledger
from streamwatch.core.nothing import NONE_YET
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Level

#: Calls that are remembered in a choice; the API takes 128 tools. What a server makes up beyond it is passed on.
_MAX_CALLS = 256
#: Indexes that are remembered beside those of the calls: servers that give each fragment another one give it no id.
_MAX_INDEXES = 2 * _MAX_CALLS


class NoCalls:
    """The tool calls of a choice that has none yet: one for all such choices, for it keeps nothing."""

    __slots__ = ()

    calls: Final[Sequence[Call]] = ()
    any_came: Final = False

    def more(self, fragments: Any) -> bool:
        """Return that this is not the commonest case."""
        return False

    def were_said(self, calls: Any) -> bool:
        """Return whether nothing is said of calls."""
        return not calls

    def finish(self, delta: Any) -> None:
        """Take the finish_reason."""

    def end_round(self) -> None:
        """Take what stands between two rounds of calls."""

    def end(self) -> None:
        """Take the end of the stream."""

    def parse(self) -> bool | None:
        """Return that nothing is known of any call."""
        return None

    def close(self) -> bool:
        """Return that no call stops short."""
        return False


NO_CALLS = NoCalls()


class ToolCalls:
    """The tool calls of one choice."""

    __slots__ = (
        "_are_mixed",
        "_are_numbered",
        "_budget",
        "_by_id",
        "_by_index",
        "_is_dense",
        "_is_quick",
        "_last",
        "_ledger",
        "_rules",
        "_shifts",
        "_tools",
        "any_came",
        "calls",
    )

    def __init__(self, ledger: Ledger, doubts: Doubts, request: Request, budget: Budget) -> None:
        self.calls: list[Call] = []
        self.any_came = False  #: a fragment came, of whatever call
        self._ledger = ledger
        self._tools = request.tools
        self._budget = budget
        self._rules = FragmentRules(ledger, doubts, request)
        self._by_index: dict[int, Call] = {}  # the index on the wire -> the call that it means now
        self._by_id: dict[str, Call] = {}
        self._shifts: list[int] = NONE_YET  # of those on the wire, what a call seemed to go on under
        self._last: Call | None = None
        self._are_numbered = False  # a call came without an index, and got one
        self._are_mixed = False  # those of several choices came under the index of one
        self._is_quick = not ledger.wants(TOOL_CALL_ARGUMENTS_INVALID)
        self._is_dense = ledger.wants(TOOL_CALL_INDEX_SPARSE)

    def more(self, fragments: Any) -> bool:
        """Take the commonest case, more arguments for the call that is being written; False for any other."""
        (fragment,) = fragments
        call, index = self._last, fragment["index"]
        if call is None or len(fragment) != 2 or index != call.index or self._by_index.get(index) is not call:
            return False
        function = fragment["function"]
        arguments = function["arguments"]
        if len(function) != 1 or type(arguments) is not str or not self._is_quick or type(index) is not int:
            return False
        if not arguments.isascii() and "\ufffd" in arguments:
            return False
        call.add(arguments)
        call.goes_on_nameless = True
        return True

    def see(self, delta: dict[str, Any], *, mixed: bool = False) -> None:
        """Look at all fragments of one delta; `mixed` says that choices come under the index of another one."""
        self._are_mixed = mixed
        fragments = delta["tool_calls"]
        if fragments is None or fragments == []:
            if self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR, self._rules.join_level):
                del delta["tool_calls"]
            return
        if isinstance(fragments, dict):
            fragments = [fragments]
            if self._ledger.record(TOOL_CALL_MALFORMED):
                delta["tool_calls"] = fragments
        elif not isinstance(fragments, list):
            self._ledger.record(TOOL_CALL_MALFORMED, Level.NEVER)
            return
        kept = [fragment for fragment in fragments if self._goes_on(fragment)]
        kept = self._rules.merged(kept)
        if not kept:
            del delta["tool_calls"]
        elif len(kept) < len(fragments):
            delta["tool_calls"] = kept

    def finish(self, delta: Any) -> None:
        """Take the finish_reason: nothing waits beyond it, and a call without arguments may get an empty object."""
        self._rules.end()
        if not isinstance(delta, dict) or not isinstance(delta.get("tool_calls"), (list, type(None))):
            return
        for call in self.calls:
            if call.arguments == "" and self._ledger.record(TOOL_CALL_FRAGMENT_IRREGULAR, Level.OPT_IN):
                call.is_made_up = True
                call.add("{}")
                more = {"index": call.index, "function": {"arguments": "{}"}}
                delta["tool_calls"] = [*(delta.get("tool_calls") or ()), more]

    def end_round(self) -> None:
        """Take what stands between two rounds of calls: a finish_reason, or an event that only the server knows."""
        for call in self.calls:
            call.is_over = True

    def were_said(self, calls: Any) -> bool:
        """Return whether the calls of a message were said already, with all their arguments."""
        if not isinstance(calls, list):
            return not calls
        return all(self._was_said(at, Fragment(fields)) for at, fields in enumerate(calls) if isinstance(fields, dict))

    def _was_said(self, at: int, said: Fragment) -> bool:
        call = self._by_id.get(said.id) if said.id else next(iter(self.calls[at : at + 1]), None)
        return call is not None and (not said.arguments or call.arguments == said.arguments)

    def end(self) -> None:
        """Take the end of the stream."""
        self._rules.end()

    def parse(self) -> bool | None:
        """Return whether the arguments of every call are JSON; None where nothing is known of any."""
        parsed = {call.parses() for call in self.calls if not call.is_made_up} - {None}
        return False if False in parsed else True if parsed else None

    def close(self) -> bool:
        """Count what is wrong with finished calls, and return whether some of them stop short."""
        is_cut = False
        for call in self.calls:
            if call.parses() is False:
                self._ledger.record(TOOL_CALL_ARGUMENTS_INVALID, Level.NEVER)
                is_cut = is_cut or call.is_cut()
            elif call.twin is not None and call.parses() and call.arguments == call.twin.arguments:
                self._ledger.record(TOOL_CALL_ID_CHANGED, Level.NEVER)
        return is_cut

    # --- one fragment

    def _goes_on(self, fields: Any) -> bool:
        """Look at a fragment, and return whether it is handed on."""
        if not isinstance(fields, dict):
            return not self._ledger.record(TOOL_CALL_MALFORMED, Level.HELPER if fields is None else Level.NEVER)
        self.any_came = True
        if "custom" in fields:
            self._see_custom(fields.get("index"))
            return True
        if not self._rules.function(fields):
            return False
        fragment = Fragment(fields)
        if self._is_twin(fragment):
            return False
        known = len(self.calls)
        call = self._call(fragment)
        if call is None:
            return True
        if len(self.calls) > known:
            self._rules.open(call, fragment)
        else:
            if call is not self._last and call is not self.calls[-1]:
                self._ledger.record(TOOL_CALLS_INTERLEAVED, Level.NEVER)
            self._rules.go_on(call, fragment)
        if call.id:
            self._by_id.setdefault(call.id, call)
        self._last = call
        return True

    def _see_custom(self, index: Any) -> None:
        """Remember the index of a call of a custom tool: its input has any form, and is handed on."""
        if type(index) is int and index not in self._by_index and self._has_room():
            call = Call(index, "", "", self._budget)
            call.forget()
            self.calls.append(call)
            self._by_index[index] = call

    def _has_room(self) -> bool:
        return len(self.calls) < _MAX_CALLS and self._budget.allows_call()

    # --- which call

    def _call(self, fragment: Fragment) -> Call | None:
        """Return the call that a fragment belongs to, opened if need be; None where nothing says."""
        if fragment.index is None:
            return self._without_index(fragment)
        call = self._by_index.get(fragment.index)
        if call is None:
            return self._at_new_index(fragment, fragment.index)
        if fragment.id and call.id and fragment.id != call.id:
            return self._with_another_id(fragment, call)
        if self._is_second(fragment, call):
            return self._reused(fragment, call)
        return self._placed(fragment, self._shifted_on(fragment, call) if self._shifts else call)

    def _shifted_on(self, fragment: Fragment, call: Call) -> Call:
        """Return the call that more arguments are of under the index of `call`.

        Where arguments came under another index than their header, the next ones do so too: a whole call takes no more.
        """
        bare = fragment.says_arguments and not (fragment.id or fragment.name)
        meant = self._meant(fragment) if bare and call.parses() is True else None
        if meant is None or meant is call:
            return call
        return meant if self._ledger.record(TOOL_CALL_INDEX_SPARSE) else call

    def _with_another_id(self, fragment: Fragment, call: Call) -> Call | None:
        other = self._by_id.get(fragment.id)
        if other is not None:
            return self._of_another_call(fragment, call, other)
        if fragment.name and fragment.index in self._shifts:  # the index is this call's, and was all along
            return self._at_new_index(fragment, fragment.index)
        if fragment.name and call.name and self._is_new(fragment, call):
            return self._reused(fragment, call)
        self._change_id(fragment, call)
        return self._placed(fragment, call)

    def _is_new(self, fragment: Fragment, call: Call) -> bool:
        """Return whether another id and a name open a call: not while the arguments of the same tool are open."""
        if fragment.name != call.name:
            return not call.has_rest(fragment.name, self._tools)
        # Some servers give each fragment an id of its own: one that is empty, or says all again, opens nothing, unless
        # names are in headers alone, and the arguments are whole.
        is_header = call.goes_on_nameless and call.parses() is True
        nothing_new = not (fragment.says_arguments or is_header) or fragment.arguments == call.arguments
        if call.id_changes and (call.parses() is None or nothing_new):
            return False
        return call.size > 0 and call.parses() is not False

    def _of_another_call(self, fragment: Fragment, call: Call, other: Call) -> Call:
        """Give a fragment to the call that announced its id: the index is what is wrong, unless that call is whole."""
        wanted = self._ledger.record(TOOL_CALL_INDEX_REUSED)
        if not wanted or (other.parses() and fragment.says_arguments):
            if wanted:
                self._ledger.unrepaired(TOOL_CALL_INDEX_REUSED)
            return call
        return self._placed(fragment, other)

    def _change_id(self, fragment: Fragment, call: Call) -> None:
        call.id_changes = True
        if self._ledger.record(TOOL_CALL_ID_CHANGED):
            del fragment.fields["id"]
        fragment.id = ""

    def _is_second(self, fragment: Fragment, call: Call) -> bool:
        """Return whether a name proves a second call: both are declared, and the first one's arguments are whole."""
        name, known = fragment.name, call.name
        both = name != known and name in self._tools and known in self._tools
        return both and known + name not in self._tools and call.parses() is True

    def _reused(self, fragment: Fragment, call: Call) -> Call | None:
        # Who takes that for the end of a round counts from 0 again, as the server does.
        wanted = self._ledger.record(TOOL_CALL_INDEX_REUSED, Level.HELPER if call.is_over else None)
        # Two headers, and no arguments yet: nothing says which of them those that follow under this index are of.
        unclear = call.parses() is False or call.size == len(fragment.arguments) == 0
        if wanted and (unclear or self._are_mixed):
            self._ledger.unrepaired(TOOL_CALL_INDEX_REUSED)
            return self._placed(fragment, call)
        renumbered = wanted or (call.is_over and self._is_dense and fragment.index not in range(_MAX_INDEXES))
        # For the helper, which knows of no rounds, all of them are one list.
        all_are_one = self._ledger.wants(TOOL_CALL_INDEX_REUSED, Level.HELPER)
        round_ = [known for known in self.calls if all_are_one or not known.is_over]
        return self._opened(fragment, free_among(round_) if renumbered else fragment.index)

    def _at_new_index(self, fragment: Fragment, index: int) -> Call | None:
        other = self._by_id.get(fragment.id) if fragment.id else None
        if other is not None and not fragment.name and other.parses() is not True:
            return self._shifted(fragment, index, other)
        if not (fragment.id or fragment.name) and self.calls:
            meant = self._meant(fragment)
            if meant is not None or not self._begins_another(fragment):
                return self._shifted(fragment, index, meant)
        call = self._opened(fragment, self._place_of(fragment, index))
        if call is not None and other is not None and other.name == call.name:
            call.twin = other
        return call

    def _place_of(self, fragment: Fragment, index: int) -> int:
        """Return the index that a call is opened under."""
        place = free_among(self.calls) if self._is_misplaced(fragment, index) else index
        if index != len(self._by_index) and len(self.calls) < _MAX_CALLS:
            wanted = self._ledger.record(TOOL_CALL_INDEX_SPARSE)
            if wanted and place == index:
                self._ledger.unrepaired(TOOL_CALL_INDEX_SPARSE)
        return place

    def _is_misplaced(self, fragment: Fragment, index: int) -> bool:
        """Return whether a new index is not the place of a call, but another one's, or beyond all that came.

        Of arguments that come before any header nobody knows whose they are, nor of how many.
        """
        is_header = bool(fragment.id or fragment.name or fragment.fields.get("type"))
        return index in self._taken or (self._is_dense and is_header and not 0 <= index <= len(self.calls))

    def _begins_another(self, fragment: Fragment) -> bool:
        """Return whether arguments under a new index begin a call whose header is late: all others are whole."""
        whole = all(call.parses() for call in self.calls)
        return whole and (begins_json(fragment.arguments) or is_json(fragment.arguments))

    def _shifted(self, fragment: Fragment, index: int, call: Call | None) -> Call | None:
        """Give a fragment the index of its call: it changed inside the call."""
        wanted = self._ledger.record(TOOL_CALL_INDEX_SPARSE)
        if call is None or not wanted:
            if wanted:
                self._ledger.unrepaired(TOOL_CALL_INDEX_SPARSE)
            # Under the index that another call was given its readers would take them for that call's.
            return self._opened(fragment, free_among(self.calls)) if wanted and index in self._taken else call
        if fragment.says_arguments and len(self._by_index) < _MAX_INDEXES:  # a blank one says nothing of the next
            self._by_index[index] = call
            self._shifts = self._shifts or []
            self._shifts.append(index)
        return self._placed(fragment, call)

    def _without_index(self, fragment: Fragment) -> Call | None:
        wanted = self._ledger.record(TOOL_CALL_INDEX_MISSING)
        call = self._known(fragment)
        if call is None and (fragment.id or fragment.name):
            call = self._opened(fragment, free_among(self.calls) if wanted else None)
            self._are_numbered = wanted
            if call is not None and call.id:
                self._by_id[call.id] = call  # what goes on under an id that comes again is of the last call
        elif call is None:
            call = self._only_open(fragment)
        if not wanted:
            return call
        if call is None:
            self._ledger.unrepaired(TOOL_CALL_INDEX_MISSING)
            return None
        return self._placed(fragment, call)

    def _known(self, fragment: Fragment) -> Call | None:
        """Return the call that a fragment without index goes on with by its id or name."""
        call = self._by_id.get(fragment.id) if fragment.id else None
        if call is not None:
            return None if self._is_second(fragment, call) or _follows_whole(fragment, call) else call
        if not self.calls or not (fragment.id or fragment.name):
            return None
        last = self.calls[-1]
        if not self._goes_on_with_name(last, fragment):
            return None
        if not (fragment.id and last.id):
            return last if _is_open_to(fragment, last) else None
        if not _is_piece(fragment, last):
            return None
        self._change_id(fragment, last)
        return last

    def _goes_on_with_name(self, call: Call, fragment: Fragment) -> bool:
        """Return whether a name may be a call's: the same, or the rest of it."""
        if fragment.name in ("", call.name) or _names(fragment, call):
            return True
        is_late = not call.name and call.goes_on_with(fragment.arguments)
        return not fragment.id and (is_late or call.has_rest(fragment.name, self._tools))

    def _only_open(self, fragment: Fragment) -> Call | None:
        """Return the call whose arguments go on with those of a fragment; None where those of several do."""
        said = fragment.arguments if fragment.says_arguments else ""
        found = [call for call in self.calls if said and call.size and not call.parses() and call.goes_on_with(said)]
        if found and self.calls[-1].size:
            return found[0] if len(found) == 1 else None
        # Where nothing proves it, the nearest: without an index it would be of none of those that got theirs here.
        return self._meant(fragment) or (self._last if self._are_numbered else None)

    def _meant(self, fragment: Fragment) -> Call | None:
        """Return the last call, if no other one can be meant by arguments that say neither index nor id."""
        if not self.calls:
            return None
        last, arguments = self.calls[-1], fragment.function.get("arguments")
        if not fragment.says_arguments and isinstance(arguments, (str, type(None))):
            return last
        others = any(call.parses() is not True for call in self.calls[:-1])
        goes_on = last.parses() is not True and last.goes_on_with(fragment.arguments)
        goes_on = goes_on or (last.is_made_up and isinstance(arguments, dict))  # objects come in parts as well
        return last if goes_on and not others else None

    def _placed(self, fragment: Fragment, call: Call) -> Call:
        """Give a fragment the index of its call."""
        if call.index is not None and fragment.fields.get("index") != call.index:
            fragment.fields["index"] = call.index
        return call

    @property
    def _taken(self) -> set[int | None]:
        """The indexes that readers got."""
        return {call.index for call in self.calls}

    def _opened(self, fragment: Fragment, index: int | None) -> Call | None:
        if not self._has_room():
            return None
        call = Call(index, fragment.id, fragment.name, self._budget)
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        else:  # a later fragment may name the next index
            self._by_index.setdefault(len(self.calls) if index is None else index, call)
        self.calls.append(call)
        return self._placed(fragment, call)

    # --- one call under several indexes

    def _is_twin(self, fragment: Fragment) -> bool:
        """Return whether a whole call is said again under another index, and is to be left out."""
        other = self._by_id.get(fragment.id) if fragment.id else None
        if other is None or fragment.index is None or fragment.index in self._by_index:
            return False
        same = fragment.name == other.name and fragment.arguments == other.arguments and is_json(fragment.arguments)
        wanted = same and self._ledger.wants(TOOL_CALL_ID_CHANGED, Level.OPT_IN)
        return wanted and self._ledger.record(TOOL_CALL_ID_CHANGED, Level.OPT_IN)


def _follows_whole(fragment: Fragment, call: Call) -> bool:
    """Return whether a header has whole arguments, and those of its id are: servers make ids of the name of a tool.

    `{}` may stand before the real ones, and the same may be said again.
    """
    said, known = fragment.arguments, call.arguments
    if not (fragment.name and call.parses() and is_json(said)) or known is None:
        return False
    return known.strip() != "{}" and json.loads(said) != json.loads(known)


def _is_piece(fragment: Fragment, call: Call) -> bool:
    """Return whether arguments under another id are a piece of what is open: else two ids are two calls."""
    if not fragment.says_arguments or (call.size and call.parses() is not False):
        return False
    # A header is a piece only where its arguments go on with those before; without any, where they are not whole.
    goes_on = call.goes_on_with(fragment.arguments) if call.size else begins_json(fragment.arguments)
    return goes_on or not fragment.name


def _names(fragment: Fragment, call: Call) -> bool:
    """Return whether a fragment has nothing but the name that a call with an id lacks."""
    return bool(call.id and not call.name and fragment.name) and not (fragment.id or fragment.says_arguments)


def _is_open_to(fragment: Fragment, call: Call) -> bool:
    """Return whether a call takes a fragment without an index: its arguments are not whole, or its name is late."""
    return call.parses() is not True or _names(fragment, call)
