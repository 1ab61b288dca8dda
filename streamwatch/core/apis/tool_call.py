"""One tool call, and one fragment of one, as far as their rules have to know them."""

from __future__ import annotations

import json
import re
from typing import Any

#: Characters of the arguments of a call that are kept, to see whether they parse. Calls that write whole files go
#: beyond it; then nothing is said of them.
MAX_ARGUMENTS = 16 << 10
#: The same for all calls of a stream together: as much as the window, and more than 60 large calls.
_MAX_ARGUMENTS_OF_ALL = 1 << 20
#: Calls of all choices of a stream that are remembered; the API gives 128 choices, and hardly any has calls.
_MAX_CALLS_OF_ALL = 1024
#: Characters of an id or name that is kept whole; OpenAI gives 64 at most. Of a longer one a hash is enough.
_MAX_NAME = 256
#: Pieces of arguments that are kept apart: then one string takes less than many small ones. Of 16 KiB in pieces of five
#: characters, the most that is kept, 4 MB are copied.
_MAX_PIECES = 16
#: What can be the last character of a JSON text, by its first one.
_CLOSING = {"{": "}", "[": "]", '"': '"'}
#: What may be cut: a word, a number, an escape of four digits.
_WORDS = ("true", "false", "null", "-")
_NUMBER_GOES_ON = re.compile(r"\.|[eE][+-]?")
_ESCAPE = len("u1234")


def short(name: str) -> str:
    """Return a name to compare, of bounded length."""
    return name if len(name) <= _MAX_NAME else f"{len(name)} characters, {hash(name)}"


class Budget:
    """The bound on what is kept of all tool calls of one stream."""

    __slots__ = ("_arguments", "_calls")

    def __init__(self) -> None:
        self._arguments = _MAX_ARGUMENTS_OF_ALL
        self._calls = _MAX_CALLS_OF_ALL

    def allows_call(self) -> bool:
        """Return whether one more call may be remembered."""
        self._calls -= 1
        return self._calls >= 0

    def take(self, characters: int) -> bool:
        """Return whether this number of further characters of arguments may be kept."""
        if characters > self._arguments:
            return False
        self._arguments -= characters
        return True

    def give_back(self, characters: int) -> None:
        """Note that a number of characters are no longer kept."""
        self._arguments += characters


class Call:
    """A tool call. `index` is the one that readers get."""

    __slots__ = (
        "_budget",
        "_kept",
        "_parses",
        "_pieces",
        "again",
        "goes_on_nameless",
        "header",
        "id",
        "id_changes",
        "index",
        "is_made_up",
        "is_over",
        "is_typed",
        "moves",
        "name",
        "object",
        "places",
        "size",
        "twin",
    )

    def __init__(self, index: int | None, id: str, name: str, budget: Budget) -> None:
        self.index = index
        self.id = id
        self.name = name
        self.size = 0  #: characters of the arguments
        self.id_changes = False  #: a continuation had another id
        self.goes_on_nameless = False  #: arguments of it came without a name: a name is a header's alone
        self.is_over = False  #: its round has ended: what comes behind that may be of the next one
        self.is_made_up = False  #: a repair wrote some of its arguments: that they parse proves nothing
        self.is_typed = False  #: a repair put its type in
        self.header: dict[str, Any] | None = None  #: its first fragment, which waits for an id or a name
        self.moves: tuple[tuple[str, dict[str, Any]], ...] = ()  #: what that lacks, and where it came later
        #: the function with arguments that are an object and no string, and may be all of them; it waits, too
        self.object: dict[str, Any] | None = None
        #: functions with arguments that may be said twice, in events that wait; None while there are none, as of hardly
        #: any call
        self.places: list[dict[str, Any]] | None = None
        self.again = ""  #: those arguments
        self.twin: Call | None = None  #: an earlier call of the same id and name
        self._budget = budget
        self._kept = True
        self._pieces: list[str] = []
        self._parses: bool | None = None

    @property
    def arguments(self) -> str | None:
        """The arguments up to now; None where they are not kept."""
        return "".join(self._pieces) if self._kept else None

    def add(self, arguments: str) -> None:
        """Take one more piece of the arguments."""
        self.size += len(arguments)
        self._parses = None
        if not self._kept:
            return
        if self.size > MAX_ARGUMENTS or not self._budget.take(len(arguments)):
            self.forget()
            return
        pieces = self._pieces
        pieces.append(arguments)
        if len(pieces) > _MAX_PIECES:
            self._pieces = ["".join(pieces)]

    def has_rest(self, name: str, tools: frozenset[str]) -> bool:
        """Return whether a name is the rest of the call's: both together name a tool, and not each of them."""
        known = self.name
        return not self.size and known + name in tools and not (known in tools and name in tools)

    def drop_header(self) -> None:
        """Wait no longer for what the first fragment lacks: nothing is moved into it."""
        self.header = None
        self.moves = ()

    def forget(self) -> None:
        """Keep no arguments: nothing is said of them."""
        self._budget.give_back(sum(map(len, self._pieces)))
        self._kept = False
        self._pieces.clear()

    def parses(self) -> bool | None:
        """Return whether the arguments up to now are JSON; None where there are none, or too many to say."""
        if not (self.size and self._kept):
            return None
        if self._parses is None:
            self._parses = is_json("".join(self._pieces))
        return self._parses

    def is_cut(self) -> bool:
        """Return whether the arguments are the beginning of a JSON text."""
        return begins_json("".join(self._pieces))

    def goes_on_with(self, arguments: str) -> bool:
        """Return whether the arguments can go on with this piece: they are JSON then, or its beginning."""
        text = "".join(self._pieces) + arguments
        return not self._kept or is_json(text) or begins_json(text)


def free_among(calls: list[Call]) -> int:
    """Return the next index that none of these calls has."""
    index, taken = len(calls), {call.index for call in calls}
    while index in taken:
        index += 1
    return index


def is_json(text: str) -> bool:
    """Return whether a text is JSON. Most beginnings of one show in their last character."""
    stripped = text.strip()
    if stripped[-1:] != _CLOSING.get(stripped[:1], stripped[-1:]):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def begins_json(text: str) -> bool:
    """Return whether a text is not JSON, and more text could make it so."""
    text = text.rstrip()
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        if error.msg.startswith(("Unterminated string", "Invalid \\u")):
            return error.msg[0] == "U" or len(rest) <= _ESCAPE
        return not rest or any(word.startswith(rest) for word in _WORDS) or _NUMBER_GOES_ON.fullmatch(rest) is not None
    except (ValueError, RecursionError):
        pass
    return False


class Fragment:
    """A fragment of a tool call: its JSON object, and the call that it names."""

    __slots__ = ("arguments", "fields", "function", "id", "index", "name")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        function = fields.get("function")
        self.function: dict[str, Any] = function if isinstance(function, dict) else {}
        index, id, name = fields.get("index"), fields.get("id"), self.function.get("name")
        self.index: int | None = index if type(index) is int else None
        self.id = short(str(id)) if id else ""
        self.name = short(str(name)) if name else ""
        arguments = self.function.get("arguments")
        self.arguments = arguments if isinstance(arguments, str) else ""

    @property
    def says_arguments(self) -> bool:
        """Whether it has arguments that are not blank."""
        return bool(self.arguments.strip())
