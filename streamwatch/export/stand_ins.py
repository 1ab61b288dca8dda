"""Stand-ins for a text: as many bytes, the same escapes, spaces and classes of characters, and nothing of it.

All functions take what stands between the quotes of a JSON string, escapes and all, or a text that is not JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from random import Random
from string import ascii_lowercase

#: A character or an escape; two escapes that are one character are one.
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL
)
#: The same in JSON that stands in a string itself, where such a pair may be anything.
_CHARACTER_IN_JSON = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
#: Characters that say nothing, and that rules look for: what an undecodable byte became, and what readers of lines
#: take for the end of one.
_KEPT = frozenset("\ufffd\u0085\u2028\u2029")
_KEPT_ESCAPES = frozenset({"fffd", "2028", "2029", "0085"})
_SHORT_ESCAPES = frozenset('"\\/bfnrtu')
_ASCII = {
    code: "x" if chr(code).isalpha() else "1" if chr(code).isdigit() else chr(code) if chr(code).isspace() else "."
    for code in range(128)
}
_ASCII_BY = {
    letter: {code: letter if shown == "x" else shown for code, shown in _ASCII.items()} for letter in ascii_lowercase
}
_JSON_ASCII = {**_ASCII, **{ord(mark): mark for mark in '{}[]",:\\'}}
#: A letter of each length in UTF-8.
_WIDE = {2: "\u0101", 3: "\u3042", 4: "\U0001f600"}
#: What stands in for a letter at each place of a text; a longer text begins again.
_LETTERS = "".join(Random(0).choices(ascii_lowercase, k=1 << 12))  # noqa: S311 -- no secret
#: What a plain form can count with, in the place of each of its characters.
_COUNTING: dict[str, Sequence[str]] = {
    "x": "xabcdefghijklmnopqrstuvwyz",
    "1": "1023456",
    "\\u0078": [f"\\u{code:04x}" for code in range(0x78, 0x60, -1)],
    **{letter: [chr(ord(letter) + more) for more in range(79)] for letter in _WIDE.values()},
}


def plain(said: str, letter: str = "x") -> str:
    """Return a text with one letter for all letters and `1` for each digit: where words end stays visible."""
    if said.isascii() and "\\" not in said:
        return said.translate(_ASCII_BY[letter])
    return _CHARACTER.sub(lambda match: _stand_in(match[0], letter), said)


def no_json(text: str) -> str:
    """Return a text that is not JSON, or no longer: the punctuation of JSON stays, so that it is none again."""
    if text.isascii():
        return text.translate(_JSON_ASCII)
    return _NOT_ASCII.sub(lambda match: _stand_in(match[0], "x"), text).translate(_JSON_ASCII)


def positioned(start: int, said: str) -> str:
    """Return a text in which what stands in for a letter depends on its place alone; the first one is at `start`."""
    return _CHARACTER.sub(lambda match: _stand_in(match[0], _LETTERS[(start + match.start()) % len(_LETTERS)]), said)


def _stand_in(character: str, letter: str) -> str:
    """Return what is shown for one character, or one escape."""
    if character[:1] == "\\":
        return _escape(character, letter)
    if character.isspace() or character in _KEPT or "\udc80" <= character <= "\udcff":
        return character
    if character.isascii():
        return letter if character.isalpha() else "1" if character.isdigit() else "."
    return _WIDE[len(character.encode("utf-8", "surrogatepass"))]


def _escape(character: str, letter: str) -> str:
    code = character[2:].lower()
    if len(character) == 12:
        return "\\ud83d\\ude00"
    if len(character) == 2 and character[1] not in _SHORT_ESCAPES:
        return "\\" + _stand_in(character[1], letter)
    if len(character) < 6 or code in _KEPT_ESCAPES:
        return character
    if code[0] == "d" and code[1] in "89abcdef":
        return "\\ud83d" if code[1] in "89ab" else "\\ude00"
    return f"\\u{ord(letter):04x}"


# --- names and ids


class Aliases:
    """The stand-ins for names and ids: another one for each, the same each time, none of the `known` words."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self._of: dict[str, str] = {}
        self._counts: dict[str, int] = {}  # how many names have the same plain form

    def of(self, name: str) -> str:
        """Return the alias of a name, which is as long."""
        alias = self._of.get(name)
        if alias is None:
            alias = self._of[name] = next(self._candidates(plain(name)))
        return alias

    def _candidates(self, form: str) -> Iterator[str]:
        while True:
            number = self._counts[form] = self._counts.get(form, -1) + 1
            alias = _numbered(form, number)
            if alias not in self._known:
                yield alias


def _numbered(form: str, number: int) -> str:
    """Return a plain form that counts, from its end; where it has no place for a number it stays as it is."""
    characters = _CHARACTER.findall(form)
    for at in range(len(characters) - 1, -1, -1):
        if not number:
            break
        digits = _COUNTING.get(characters[at])
        if digits:
            number, digit = divmod(number, len(digits))
            characters[at] = digits[digit]
    return "".join(characters)


# --- JSON inside a string

_LITERALS = frozenset({"true", "false", "null"})
#: Where a character of JSON inside a string stands: outside of its strings, inside of one, after a backslash in one,
#: or that number of places before the end of a \\u escape.
_OUTSIDE, _INSIDE, _ESCAPED = -1, 0, 9
_SPACES = frozenset({"\\n", "\\r", "\\t"})


def json_text(said: str) -> str:
    """Return JSON that stands in a string, masked: outside of its own strings punctuation and literals stay."""
    masked = _JsonText()
    return _CHARACTER_IN_JSON.sub(masked.take, said) + masked.end()


class _JsonText:
    """The progress through a JSON text."""

    def __init__(self) -> None:
        self._state = _OUTSIDE
        self._word = ""
        self._before = ","  # the last character before the word, spaces aside: true, false or null may follow some

    def take(self, match: re.Match[str]) -> str:
        """Return what is shown up to the next character or escape; nothing while a word goes on."""
        character = match[0]
        if self._state != _OUTSIDE:
            return self._inside(character, _meant(character))
        if character.isascii() and character.isalpha():
            self._word += character
            return ""
        return self.end() + self._outside(character, _meant(character))

    def end(self) -> str:
        """Return what is shown of the word that ends here."""
        word = self._word
        literal = word in _LITERALS and self._before in ":,["
        exponent = word in ("e", "E") and self._before.isdigit()
        self._before, self._word = word[-1:] or self._before, ""
        return word if literal or exponent else "x" * len(word)

    def _outside(self, character: str, meant: str) -> str:
        if not meant.isspace() and character not in _SPACES:
            self._before = meant[-1:]
        if meant == '"':
            self._state = _INSIDE
        if meant.isascii() and not meant.isalnum():
            return character
        return "1" if character.isascii() and character.isdigit() else _stand_in(character, "x")

    def _inside(self, character: str, meant: str) -> str:
        if self._state == _ESCAPED:
            self._state = 4 if meant == "u" else _INSIDE
            return character if meant in _SHORT_ESCAPES else _stand_in(character, "x")
        if self._state != _INSIDE:
            self._state -= 1
            return "8700"[self._state] if character.isascii() and len(character) == 1 else character
        if meant in ('"', "\\"):
            self._state = _OUTSIDE if meant == '"' else _ESCAPED
            self._before = '"'
            return character
        return _stand_in(character, "x")


def _meant(character: str) -> str:
    """Return the character that an escape stands for."""
    if character[:2] == "\\u" and len(character) == 6:
        return str(json.loads(f'"{character}"'))
    return character[1:] if character in ('\\"', "\\\\", "\\/") else character
