"""A body without a letter or digit of its content: structure, lengths and JSON types stay, the rest does not.

How it works. Each line is read as JSON, token by token, and the place of each token decides: `places` says where the
protocol has words, numbers and ids of its own, and a value that is none stays masked there too. Where a line is not
JSON, or no longer, nothing but its punctuation stays.

A masked stream shows the same kinds as the stream did. So what stands in for a name or an id is another one for each,
and the same each time; what stands in for a letter of a chat's text depends on its place in the text alone, so a masked
delta and the masked whole agree as the real ones did; and JSON in a string stays JSON.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from string import ascii_lowercase
from typing import Any

from streamwatch.core.digest import RunningDigest
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.export.labels import is_identifier, is_model
from streamwatch.export.places import FREE, NAMES, NUMBER, PLACES, PayloadPlace, Rule, api_of
from streamwatch.export.stand_ins import Aliases, json_text, no_json, plain, positioned
from streamwatch.export.words import PARTS, WORDS

_BOM = b"\xef\xbb\xbf"
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
#: Space, punctuation, a number, or a word: JSON as `json.loads` takes it.
_TOKEN = re.compile(r"([ \t]+)|([{}\[\]:,])|(-?[0-9][0-9.eE+-]*)|([A-Za-z]+)")
_QUOTE = re.compile(r'["\\]')
_OPENING, _SCALARS = frozenset("{["), frozenset('"-0123456789')
_LITERALS = frozenset({"true", "false", "null", "NaN", "Infinity"})
#: A digit; a zero that begins no fraction stays, as 01 is not JSON and 0 is as good as nothing.
_DIGIT = re.compile(r"^(-?0)(?=[0-9]|$)|[0-9]")
#: What the type of an event looks like; the parts of one that is in no table are masked, if they are in none.
_TYPE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_TYPE_PART = re.compile(r"[A-Za-z0-9]+")
#: Characters of a number: an index, a time in nanoseconds.
_MAX_NUMBER = 20
_NUMBER_TEXT = re.compile(r"-?[0-9]{1,19}")
#: Brackets that stand open: what is deeper is not JSON to the SDK's parser, or to Python's.
_MAX_DEPTH = 1000
#: Lines remembered, to know one that comes again: a replay is never longer.
_MAX_LINES = 1 << 12
#: Characters. A shorter text may well be said twice in a row.
_WHOLE = 16
#: Members of a payload that say what a text of it goes on from.
_FACTS = frozenset({"index", "type", "item_id", "output_index", *SEQUENCE_FIELDS})
#: What a field of a frame is, beside those with a payload.
_FIELDS = {"event": Rule.TYPE, "id": Rule.ID, "retry": Rule.NUMBER}
_LATER = frozenset({Rule.TEXT, Rule.JSON, Rule.FRAGMENT, Rule.DELTA})
_KEEPS: Mapping[Rule, Callable[[str], bool]] = {
    **dict.fromkeys((Rule.WORD, Rule.CODE, Rule.TYPE), WORDS.__contains__),
    Rule.ID: is_identifier,
    Rule.MODEL: is_model,
}
#: The first bytes of a character that the end of the body cuts, by their number.
_CUT = {1: b"\xf0", 2: b"\xf0\x9f", 3: b"\xf0\x9f\x98"}
_BAD_BYTE = re.compile("[\udc80-\udcff]")


def mask(body: bytes, api: str = "other", numbers: Iterable[str] = ()) -> bytes:
    """Return a body of as many bytes that says nothing but what the protocol says.

    `api` is the one that was asked; `numbers` are further members of a payload that number it.
    """
    mark = _BOM if body.startswith(_BOM) else b""
    cut = _cut_character(body)
    masked = _Mask(PLACES.get(api, PLACES["other"]), frozenset(numbers))
    for line, end in _LINES.findall(body[len(mark) : len(body) - cut]):
        masked.line(line, whole=bool(end))
        masked.out.append(end.decode())
    text = _BAD_BYTE.sub("\udcff", masked.text())
    return mark + text.encode("utf-8", "surrogateescape") + _CUT.get(cut, b"")


def _cut_character(body: bytes) -> int:
    """Return how many bytes at the end are the beginning of a character."""
    for count in (3, 2, 1):
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            if not decoder.decode(body[-count:]) and len(body) >= count:
                return count
        except UnicodeDecodeError:
            continue
    return 0


class _Later:
    """A text whose mask is known when more is: of its payload, or of all fragments."""

    __slots__ = ("_elements", "_member", "facts", "rule", "said", "shown")

    def __init__(self, rule: Rule, member: str, said: str, frames: list[_Frame]) -> None:
        self.rule = rule
        self.said = said
        self.shown = ""
        self.facts = frames[0].facts if frames else {}  #: what the payload says of itself
        self._member = member
        self._elements = [frame for frame in frames if frame.is_element]

    @property
    def key(self) -> tuple[str, ...]:
        """What distinguishes the text from all others: its member, and the indexes of what it stands in."""
        return (self._member, *(frame.facts.get("index", "") for frame in self._elements))

    def number(self) -> int:
        """Return the sequence number of the payload; 0 where it has none."""
        number = self.facts.get("sequence_number", "")
        return int(number) if _NUMBER_TEXT.fullmatch(number) else 0


class _Frame:
    """An object or a list that is open."""

    __slots__ = ("element", "facts", "is_element", "is_object", "members", "name", "place")

    def __init__(self, place: PayloadPlace, *, is_object: bool, is_element: bool) -> None:
        self.is_object = is_object
        self.is_element = is_object and is_element
        #: A server may send one object where a list of them belongs.
        self.members = place.members or (place.element.members if place.element else {})
        self.element = place.element or FREE
        self.place = FREE if is_object else self.element  #: of the value that comes next
        self.name = ""
        self.facts: dict[str, str] = {}


class _NotJsonError(Exception):
    """A token that cannot stand where it stands."""


#: What may come next: a value, a value or the end of a list, a name, a name or the end of an object, a colon, a comma
#: or an end, nothing.
_VALUE, _VALUE_OR_END, _NAME, _NAME_OR_END, _COLON, _MORE, _NOTHING = range(7)


class _Scanner:
    """JSON, token by token, over as many lines as it takes."""

    def __init__(self, root: PayloadPlace, mask: _Mask) -> None:
        self._root = root
        self._mask = mask
        self._stack: list[_Frame] = []
        self._next = _VALUE

    @property
    def goes_on(self) -> bool:
        """Whether the value is not whole yet."""
        return bool(self._stack)

    def begin(self, root: PayloadPlace) -> None:
        """Expect another value."""
        self._root, self._next = root, _VALUE
        self._stack.clear()

    def read(self, text: str) -> tuple[list[str | _Later], str]:
        """Return the pieces of a line as far as it is JSON, masked, and the rest of it as it is."""
        pieces: list[str | _Later] = []
        end = 0
        try:
            while end < len(text):
                if text[end] == '"':
                    after = _end_of_string(text, end + 1)
                    self._string(text[end + 1 : after - 1], pieces)
                    end = after
                    continue
                match = _TOKEN.match(text, end)
                if match is None:
                    raise _NotJsonError
                self._take(match, pieces)
                end = match.end()
        except _NotJsonError:
            self._stack.clear()
        return pieces, text[end:]

    def _take(self, match: re.Match[str], pieces: list[str | _Later]) -> None:
        space, mark, number, word = match.groups()
        if space is not None:
            pieces.append(space)
        elif mark is not None:
            self._punctuation(mark)
            pieces.append(mark)
        elif word is None or word in _LITERALS:
            rule, _ = self._value(word or number or "")
            pieces.append(word or _number(rule, number or ""))
        else:
            raise _NotJsonError

    def _string(self, said: str, pieces: list[str | _Later]) -> None:
        if self._next in (_NAME, _NAME_OR_END):
            pieces.append(f'"{self._member(said)}"')
        else:
            pieces += '"', self._mask.string(*self._value(said), said, self._stack), '"'

    def _value(self, said: str) -> tuple[Rule, str]:
        """Take a value that is neither an object nor a list: return the rule of its place, and its member."""
        if self._next not in (_VALUE, _VALUE_OR_END):
            raise _NotJsonError
        if not self._stack:
            self._next = _NOTHING
            return self._root.rule, ""
        frame = self._stack[-1]
        if frame.name in _FACTS or frame.name in self._mask.numbers:
            frame.facts[frame.name] = said
        self._next = _MORE
        return frame.place.rule, frame.name

    def _member(self, name: str) -> str:
        frame = self._stack[-1]
        known = frame.members.get(name)
        if known is None and len(self._stack) == 1 and name in self._mask.numbers:
            known = PayloadPlace(NUMBER)
        frame.place, frame.name = known or FREE, name if known else ""
        self._next = _COLON
        return name if known else self._mask.alias(name)

    def _open(self, *, is_object: bool) -> None:
        stack = self._stack
        place, inside_list = (stack[-1].place, not stack[-1].is_object) if stack else (self._root, False)
        stack.append(_Frame(place, is_object=is_object, is_element=inside_list))
        self._next = _NAME_OR_END if is_object else _VALUE_OR_END

    def _punctuation(self, mark: str) -> None:
        stack, comes = self._stack, self._next
        if mark in "{[" and comes in (_VALUE, _VALUE_OR_END) and len(stack) < _MAX_DEPTH:
            self._open(is_object=mark == "{")
        elif mark == ":" and comes == _COLON:
            self._next = _VALUE
        elif mark == "," and comes == _MORE:
            self._next = _NAME if stack[-1].is_object else _VALUE
        elif mark == "}" and comes in (_NAME_OR_END, _MORE):
            self._close(is_object=True)
        elif mark == "]" and comes in (_VALUE_OR_END, _MORE):
            self._close(is_object=False)
        else:
            raise _NotJsonError

    def _close(self, *, is_object: bool) -> None:
        if self._stack.pop().is_object is not is_object:
            raise _NotJsonError
        self._next = _MORE if self._stack else _NOTHING


def _end_of_string(text: str, begin: int) -> int:
    """Return where a string ends, behind its quote. By hand: a pattern would keep a place for each escape."""
    while (match := _QUOTE.search(text, begin)) is not None:
        if match[0] == '"':
            return match.end()
        begin = match.end() + 1
    raise _NotJsonError


def _number(rule: Rule, number: str) -> str:
    kept = rule in (Rule.NUMBER, Rule.CODE, Rule.ID) and len(number) <= _MAX_NUMBER
    return number if kept else _DIGIT.sub(lambda match: match.group(1) or "1", number)


class _Mask:
    """The masking of one stream: what stands in for which name, and how far each of its texts has come."""

    def __init__(self, root: PayloadPlace, numbers: frozenset[str]) -> None:
        self.numbers = numbers
        self.out: list[str | _Later] = []
        self._root = root
        self._aliases = Aliases(NAMES | WORDS)
        self._texts = _Texts()
        self._lines: dict[bytes, list[str | _Later]] = {}
        #: Two chunks of a chat that are alike are a keep-alive: what is masked in one is another letter in the next.
        self._letters = itertools.cycle(ascii_lowercase)
        self._differ = any(root is PLACES[api] for api in ("chat", "completions"))
        self._numbered = False  # the stream has `id:` lines
        self._numbers = numbers.union(SEQUENCE_FIELDS)
        self._data, self._document = _Scanner(root, self), _Scanner(root, self)

    def text(self) -> str:
        """Return all that was masked."""
        self._texts.finish()
        return "".join(piece if isinstance(piece, str) else piece.shown for piece in self.out)

    # --- lines

    def line(self, line: bytes, *, whole: bool) -> None:
        """Mask one line. The same line again is masked the same, as a duplicate is known by that.

        `whole` says that the line has an end: what the end of the body cuts may look like an id, and be none.
        """
        if not whole and line.partition(b":")[0].decode("latin-1") in _FIELDS:
            field, colon, value = line.decode("utf-8", "surrogateescape").partition(":")
            self.out += field, colon, no_json(value)
            return
        apart = not (self._data.goes_on or self._document.goes_on)
        pieces = self._lines.get(line) if apart else None
        if pieces is None:
            pieces = self._masked(line)
            if apart and len(self._lines) < _MAX_LINES and self._may_come_again(pieces):
                self._lines[line] = pieces
        self.out += pieces

    def _may_come_again(self, pieces: list[str | _Later]) -> bool:
        """Return whether the same line is the same event: where nothing numbers them, two pieces of a text be alike."""
        if self._data.goes_on or self._document.goes_on:
            return False
        texts = [piece for piece in pieces if isinstance(piece, _Later)]
        return self._numbered or not any(self._numbers.isdisjoint(text.facts) for text in texts)

    def _masked(self, line: bytes) -> list[str | _Later]:
        text = line.decode("utf-8", "surrogateescape")
        field, colon, value = text.partition(":")
        if not line:
            self._data.begin(self._root)  # an event ends here, whole or not
            return []
        if text.strip() == "[DONE]":
            return [text]
        if not colon or field not in ("data", "error", *_FIELDS):
            return self._payload("", text, self._document)
        if field in _FIELDS:
            self._numbered = self._numbered or field == "id"
            bare = value.strip()
            before, _, after = value.partition(bare) if bare else (value, "", "")
            return [field + colon + before, self.string(_FIELDS[field], "", bare, []), after]
        while value.lstrip().startswith("data:"):  # a relay framed a frame
            prefix, colon, value = value.partition(":")
            field += ":" + prefix
        return self._payload(field + colon, value, self._data)

    def _payload(self, kept: str, text: str, scanner: _Scanner) -> list[str | _Later]:
        """Return what a line carries: JSON, a part of it, or no JSON."""
        if text.strip().startswith("[DONE]"):
            before, done, after = text.partition("[DONE]")
            return [kept, before, done, plain(after)]
        if not scanner.goes_on:
            if not _begins_json(text.strip(), scalars=bool(kept)):
                return [kept, no_json(text)]  # a page of HTML, a comment, a field that nobody knows
            scanner.begin(PLACES.get(api_of(_loads(text)), self._root))
        pieces, rest = scanner.read(text)
        for piece in pieces:
            if isinstance(piece, _Later):
                self._texts.add(piece)
        return [kept, *pieces, no_json(rest)]

    # --- what stands in a line

    def alias(self, name: str) -> str:
        """Return what stands in for a name, the same each time."""
        return self._aliases.of(name)

    def _wordless(self, said: str) -> str:
        """Return a string of the same length that says nothing."""
        return plain(said, next(self._letters) if said and self._differ else "x")

    def string(self, rule: Rule, member: str, said: str, frames: list[_Frame]) -> str | _Later:
        """Return what is shown of what stands between the quotes of a string."""
        if not said or rule is Rule.MASKED:
            return self._wordless(said)
        if rule in _LATER:
            return _Later(rule, member, said, frames)
        if rule is Rule.NUMBER:
            return said if _NUMBER_TEXT.fullmatch(said) else plain(said)
        if rule in _KEEPS and _KEEPS[rule](said):
            return said
        if rule is Rule.TYPE and _TYPE.fullmatch(said):
            return _TYPE_PART.sub(lambda part: part[0] if part[0] in PARTS else self.alias(part[0]), said)
        return self.alias(said)


class _Texts:
    """The texts of one stream that go on from one payload to the next."""

    def __init__(self) -> None:
        self._said: dict[Any, RunningDigest] = {}
        self._last: dict[Any, str] = {}
        self._fragments: dict[Any, list[_Later]] = {}

    def add(self, text: _Later) -> None:
        """Mask a text whose payload was read, or keep it until all fragments are there."""
        if text.rule is Rule.TEXT:
            text.shown = positioned(self._start(text.key, text.said), text.said)
        elif text.rule is Rule.JSON:
            text.shown = json_text(text.said)
        elif text.rule is Rule.FRAGMENT:
            self._fragments.setdefault(text.key, []).append(text)
        elif "arguments" in text.facts.get("type", ""):
            about = text.facts.get("item_id"), text.facts.get("output_index")
            self._fragments.setdefault(about, []).append(text)
        else:
            text.shown = plain(text.said)

    def _start(self, key: Any, said: str) -> int:
        """Return the place where a text goes on; its beginning, where it is said again."""
        before, last = self._said.setdefault(key, RunningDigest()), self._last.get(key, "")
        place = len(before)
        whole = before == said or (said == last and len(said) >= _WHOLE)
        again = bool(place) and (whole or (len(said) > len(last) and said.startswith(last)))
        before.add(said)
        self._last[key] = said
        return 0 if again else place

    def finish(self) -> None:
        """Mask the JSON that came in fragments: all of it at once, in the order that the server meant."""
        for fragments in self._fragments.values():
            ordered = sorted(fragments, key=_Later.number)  # those without a number stay in the order of arrival
            shown, at = json_text("".join(text.said for text in ordered)), 0
            for text in ordered:
                text.shown = shown[at : at + len(text.said)]
                at += len(text.said)


def _begins_json(text: str, *, scalars: bool) -> bool:
    return text[:1] in _OPENING or (scalars and (text in _LITERALS or text[:1] in _SCALARS))


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
