"""Anomalous streams as files, to be looked at and replayed: masked, bounded, never in the way.

A capture is the body of one stream as it came, behind a few comment lines that say what was found
in it. Unless content is asked for, everything that could be content is masked in place: structure,
lengths and JSON types stay, letters and digits do not. What stands in for a letter depends on its
place in the text alone, so a masked delta and the masked whole agree as the real ones did, a masked
stream shows the same kinds, and nothing of the text can be told from it but where its words end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from streamwatch.core.kinds import Severity, Verdict
from streamwatch.core.report import Report

logger = logging.getLogger("streamwatch")

_HEADER = b": streamwatch "
_BOM = b"\xef\xbb\xbf"
_LINES = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
#: A string, its closing quote, and whether it is a name; a number; or a word.
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*)("?)(\s*:)?|(-?[0-9][0-9.eE+-]*)|([A-Za-z]+)', re.DOTALL)
_CHARACTER = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
#: A digit; a zero that begins no fraction stays, as 01 is no JSON and 0 is as good as nothing.
_DIGIT = re.compile(r"^(-?0)(?=[0-9]|$)|[0-9]")
_LITERALS = frozenset({"true", "false", "null"})
_JSON_BEGINS = frozenset('{}[]",')  # or a line of it, where it is printed over several
_JSON_WORDS = _LITERALS | {"NaN", "Infinity"}  # json.loads takes all of them
#: Members whose values are the protocol's own words, or names that say what belongs together.
_KEPT = frozenset(
    {"id", "object", "model", "type", "role", "name", "status", "call_id", "item_id", "service_tier"}
    | {"finish_reason", "finishReason", "native_finish_reason", "system_fingerprint", "provider", "event"}
)
_KEPT_NUMBER = re.compile(r"index|sequence|seq|tokens|created|^n$", re.IGNORECASE)
_ARGUMENTS = frozenset({"arguments", "input"})
#: What stands in for a letter at each place of a text; a longer text begins again.
_STAND_INS = "".join(Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=1 << 12))  # noqa: S311 -- no secret
#: Characters. Names of models are shorter, unless a server means to fill the disk.
_MAX_NAME = 256
#: Lines remembered, to know one that comes again: a replay is never longer.
_MAX_LINES = 1 << 12
#: Characters. A shorter text may well be said twice in a row.
_WHOLE = 16
_KEPT_CHARACTERS = frozenset("\ufffd\u0085\u2028\u2029")
_KEPT_ESCAPES = frozenset({"fffd", "2028", "2029", "0085"})
_ESCAPES = frozenset(["", *'"\\/bfnrtu'])
_DIGITS = frozenset("0123456789")
#: Captures that wait for the thread: of a flood of broken streams a few tell all, and each holds up to a MiB.
_MAX_WAITING = 8
_WIDE = {1: "x", 2: "\u00e9", 3: "\u3042", 4: "\U0001f600"}


class Captures:
    """The captures of one process: at most `max_files` of at most `max_bytes` each, in `directory`."""

    def __init__(
        self,
        directory: str,
        *,
        content: bool,
        max_files: int,
        max_bytes: int,
        failed: Callable[[Exception, str], None] | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self._directory = Path(directory)
        self._content = content
        self._left = max_files
        self._failed = failed
        self._warned = False
        #: A process, the places that are free in its queue, and its thread: one value, as streams end in many threads.
        self._queue: tuple[int, threading.Semaphore, Any] = (0, threading.Semaphore(0), None)

    def keep(self, report: Report, body: bytes | bytearray, ended: str, version: str) -> None:
        """Write a stream in a thread, if it is anomalous.

        To mask a MiB takes seconds (1.3 to 3 on one core), and whose thread this is may run an event loop.
        """
        if not is_anomalous(report) or self._left <= 0:
            return
        pid, free, writer = self._queue
        if pid != os.getpid():  # the first, or in a forked child, where the parent's thread is not
            from concurrent.futures import ThreadPoolExecutor

            free, writer = threading.Semaphore(_MAX_WAITING), ThreadPoolExecutor(1, "streamwatch-captures")
            self._queue = os.getpid(), free, writer
        if not free.acquire(blocking=False):
            logger.debug("streamwatch: a stream is not captured, as %d others wait to be written", _MAX_WAITING)
            return
        write = functools.partial(self._write_waiting, free, report, bytes(body), ended, version)
        try:
            writer.submit(write)
        except RuntimeError:  # Python is ending, and starts no thread any more
            write()

    def _write_waiting(self, free: threading.Semaphore, report: Report, body: bytes, ended: str, version: str) -> None:
        try:
            self.write(report, body, ended, version)
        except Exception as error:
            if self._failed is not None:
                self._failed(error, "writing a capture")
        finally:
            free.release()

    def wait(self, seconds: float) -> bool:
        """Whether all that is to be kept is written, after so many seconds at most."""
        pid, _, writer = self._queue
        if pid != os.getpid():
            return True
        from concurrent.futures import TimeoutError as Late

        try:
            writer.submit(int).result(seconds)
        except (Late, RuntimeError):  # RuntimeError: Python is ending, and waits for the thread itself
            return False
        return True

    def write(self, report: Report, body: bytes, ended: str, version: str) -> Path | None:
        """Write a stream, if it is anomalous; a full or read-only disk is one warning."""
        if not is_anomalous(report) or self._left <= 0:
            return None
        self._left -= 1
        shown = body if self._content else mask(body)
        if len(body) >= self.max_bytes:
            ended = "beyond what is kept"
        # Workers of one server share the directory, and each counts its streams from 1.
        name = f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{report.serial}-{_worst(report)}.sse"
        path = self._directory / name
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path, header(report, ended, version, masked=not self._content) + shown)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning("STREAMWATCH_CAPTURE_DIR=%s cannot be written (%s): no capture", path.parent, error)
            return None
        return path


def _create(path: Path, data: bytes) -> None:
    """Write a file that nobody else on the host may read; what is there already, a link too, stays as it is."""
    with open(path, "xb", opener=_private) as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()  # what a full disk took of it says something false of its end
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def is_anomalous(report: Report) -> bool:
    """Whether a stream is worth a file: hazards are in every healthy one."""
    serious = any(kind.severity is not Severity.HAZARD for kind in report.anomalies)
    return serious or report.verdict not in (Verdict.COMPLETE, Verdict.ABANDONED)


def _worst(report: Report) -> str:
    order = (Severity.FAULT, Severity.DIALECT, Severity.HAZARD)
    kinds = sorted(report.anomalies, key=lambda kind: order.index(kind.severity))
    return kinds[0].name if kinds else str(report.verdict and report.verdict.value)


def header(report: Report, ended: str, version: str, *, masked: bool) -> bytes:
    """The comment lines of a capture, and the blank line that ends them."""
    facts = {
        "surface": report.surface,
        "verdict": report.verdict.value if report.verdict else "",
        "kinds": ",".join(report.kinds),
        "request_model": report.request.model[:_MAX_NAME],
        "response_model": report.response_model[:_MAX_NAME],
        "openai": version,
        "n": "" if report.request.n is None else str(report.request.n),
        "ended": ended,
        "masked": "true" if masked else "false",
    }
    lines = [_HEADER + f"{name}={value}".encode("ascii", "backslashreplace") for name, value in facts.items() if value]
    return b"\n".join(line.replace(b"\r", b" ").replace(b"\n", b" ") for line in lines) + b"\n\n"


def load(capture: bytes) -> tuple[dict[str, str], bytes]:
    """The header of a capture, and the body as it came; any other body has an empty header."""
    facts: dict[str, str] = {}
    rest = capture
    while rest.startswith(_HEADER):
        line, _, rest = rest.partition(b"\n")
        name, _, value = line[len(_HEADER) :].decode("ascii", "replace").partition("=")
        facts[name] = value
    return facts, rest.removeprefix(b"\n") if facts else capture


def mask(body: bytes) -> bytes:
    """A body without a letter or digit of its content."""
    masked = _Mask()
    mark = _BOM if body.startswith(_BOM) else b""
    return mark + b"".join(masked.line(line) + end for line, end in _LINES.findall(body.removeprefix(mark)))


class _Mask:
    """The masking of one stream: how far each text of it has come."""

    def __init__(self) -> None:
        self._said: dict[Any, str] = {}  # a text that comes in deltas -> what came of it
        self._last: dict[Any, str] = {}
        self._inside: dict[Any, int] = {}  # JSON that comes in deltas -> where it stands
        self._lines: dict[bytes, bytes] = {}
        self._place = 0

    def line(self, line: bytes) -> bytes:
        """One line of the body; the same line again is masked the same, as a duplicate is known by that."""
        masked = self._lines.get(line)
        if masked is None:
            field, colon, value = line.partition(b":")
            if field in (b"event", b"id", b"retry") or line.strip() == b"[DONE]":
                return line
            kept, text = (field + colon, value) if field in (b"data", b"error") and colon else (b"", line)
            while text.lstrip().startswith(b"data:"):  # a relay framed a frame
                prefix, colon, text = text.partition(b":")
                kept += prefix + colon
            shown = self._payload(text.decode("utf-8", "surrogateescape"))
            masked = kept + shown.encode("utf-8", "surrogateescape")
            # Arguments go on from where they were, whatever line came before.
            if len(self._lines) < _MAX_LINES and b'"arguments"' not in line:
                self._lines[line] = masked
        return masked

    def _payload(self, text: str) -> str:
        if text.strip().startswith("[DONE]"):
            before, done, after = text.partition("[DONE]")
            return before + done + _plain_text(None, after)
        places, is_json = _places(text), text.lstrip()[:1] in _JSON_BEGINS
        pieces, end, began = list[str](), 0, 0
        name, named, depth = "", False, 0  # depth: how deep in arguments that are an object instead of a text
        for match in _TOKEN.finditer(text):
            string, closing, colon, number, word = match.groups("")
            between, end = text[end : match.start()], match.end()
            deep = _depth(between, depth, begins=named and name in _ARGUMENTS)
            began, depth = began if depth else match.start(), deep
            kept = named and not between.strip() and not depth  # the value of `name` itself
            pieces.append(_between(between))
            named = bool(colon) and is_json and not depth
            if named:
                name = string[1:]
                pieces.append(string)
            elif string and depth:
                pieces.append('"' + _plain_text(match.start() - began, string[1:]))
            elif string:
                pieces.append(string if kept and name in _KEPT else '"' + self._string(string[1:], name, places))
            elif number:
                pieces.append(number if kept and _KEPT_NUMBER.search(name) else _DIGIT.sub(_shown_digit, number))
            else:
                pieces.append(word if word in _JSON_WORDS else "x" * len(word))
            pieces.append(closing + colon)
        return "".join([*pieces, _between(text[end:])])

    def _string(self, said: str, name: str, places: list[_Place]) -> str:
        """What stands between the quotes of a string."""
        known = bool(places) and places[0][0] in ("", name)
        member, key, is_json = (places[0] if places[0][0] == "" else places.pop(0)) if known else (name, None, False)
        if known and not member:  # of Responses: what is repeated at the end is the same, in whatever order it came
            return _plain_text(None, said)
        if is_json or name in _ARGUMENTS:
            return self._json_text(key, said)
        return _plain_text(self._start(key, said), said)

    def _start(self, key: Any, said: str) -> int:
        """The place where a text goes on; its beginning, where it is said again."""
        if key is None:
            self._place += len(said)
            return self._place
        before, last = self._said.get(key, ""), self._last.get(key, "")
        whole = said == before or (said == last and len(said) >= _WHOLE)
        again = bool(before) and (whole or (len(said) > len(last) and said.startswith(last)))
        self._said[key], self._last[key] = before + said, said
        return 0 if again else len(before)

    def _json_text(self, key: Any, text: str) -> str:
        """JSON inside a string: outside of its own strings its punctuation and literals stay."""
        state = self._inside.get(key, _OUTSIDE) if key is not None else _OUTSIDE
        pieces, word = [""], ""
        for character in _CHARACTER.findall(text):
            if state == _OUTSIDE and character.isascii() and character.isalpha():
                word += character
                continue
            pieces.append(_word(word, begins=len(pieces) == 1, ends=False))
            word = ""
            shown, state = _json_character(character, state)
            pieces.append(shown)
        if key is not None:
            self._inside[key] = state
        return "".join([*pieces, _word(word, begins=len(pieces) == 1, ends=True)])


#: Where a character of JSON inside a string stands: outside of its strings, inside of one, after a
#: backslash in one, or so many places before the end of a \\u escape.
_OUTSIDE, _INSIDE, _ESCAPED = -1, 0, 9


def _word(word: str, *, begins: bool, ends: bool) -> str:
    """Letters between the strings of JSON: true, false and null, which a delta may cut, or a text after all."""
    cut = any((begins and known.endswith(word)) or (ends and known.startswith(word)) for known in _LITERALS)
    exponent = word in ("e", "E")
    return word if word in _LITERALS or cut or exponent else "x" * len(word)


def _json_character(character: str, state: int) -> tuple[str, int]:
    """What is shown for a character, or an escape, of JSON that itself stands in a string."""
    meant = _meant(character)
    if state == _OUTSIDE:
        if meant.isascii() and not meant.isalnum():
            return character, _INSIDE if meant == '"' else _OUTSIDE
        return ("1" if character in _DIGITS else _stand_in(character, "x")), _OUTSIDE
    if state == _ESCAPED:
        shown = character if meant in _ESCAPES else _stand_in(character, "x")
        return shown, 4 if meant == "u" else _INSIDE
    if state != _INSIDE:
        return ("0078"[4 - state] if character.isascii() and len(character) == 1 else character), state - 1
    if meant in ('"', "\\"):
        return character, _OUTSIDE if meant == '"' else _ESCAPED
    return _stand_in(character, "x"), _INSIDE


def _meant(character: str) -> str:
    """The character that an escape stands for."""
    if character[:2] == "\\u" and len(character) == 6:
        return str(json.loads(f'"{character}"'))
    return character[1:] if character in ('\\"', "\\\\", "\\/") else character


#: A text of a payload: the member it stands in ("" for any), what it goes on from, whether it is JSON.
_Place = tuple[str, Any, bool]


_ANYWHERE: _Place = ("", None, False)


def _places(text: str) -> list[_Place]:
    """The texts of a payload, in order."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(payload, dict):
        return []
    return [_ANYWHERE] if str(payload.get("type", "")).startswith("response.") else [*_chat_places(payload)]


def _depth(between: str, depth: int, *, begins: bool) -> int:
    """How many brackets stand open in arguments that are an object."""
    if not depth and not begins:
        return 0
    opened = between.count("{") + between.count("[")
    return max(depth + opened - between.count("}") - between.count("]"), 0)


def _between(text: str) -> str:
    """What stands between the tokens: punctuation, or a text that is no JSON."""
    if text.isascii():
        return text
    return "".join(character if character.isascii() else _stand_in(character, "x") for character in text)


def _shown_digit(match: re.Match[str]) -> str:
    return match.group(1) or "1"


def _chat_places(payload: dict[str, Any]) -> Iterator[_Place]:
    """The texts of a chunk, in order."""
    choices = payload.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        index = choice.get("index") if isinstance(choice, dict) else None
        delta = choice.get("delta") if isinstance(choice, dict) else None
        for holder in (choice, delta):
            for name, value in holder.items() if isinstance(holder, dict) else ():
                if name in ("content", "text") and isinstance(value, str):
                    yield name, (repr(index), name), False
                elif name == "tool_calls" and isinstance(value, list):
                    yield from _argument_places(index, value)


def _argument_places(choice: Any, fragments: list[Any]) -> Iterator[_Place]:
    for fragment in fragments:
        function = fragment.get("function") if isinstance(fragment, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield "arguments", (repr(choice), repr(fragment.get("index"))), True


def _plain_text(start: int | None, text: str) -> str:
    """A text, from a place of it on; None where places tell nothing."""
    pieces = []
    for match in _CHARACTER.finditer(text):
        letter = "x" if start is None else _STAND_INS[(start + match.start()) % len(_STAND_INS)]
        pieces.append(_stand_in(match.group(), letter))
    return "".join(pieces)


def _stand_in(character: str, letter: str) -> str:
    """What is shown for one character, or one escape, of a text."""
    if character[:1] == "\\":
        if character[1:] in _ESCAPES or character[2:].lower() in _KEPT_ESCAPES:
            return character
        if len(character) == 2:
            return "\\" + _stand_in(character[1], "x")
        if character[2:3].lower() == "d" and character[3:4].lower() in "89abcdef":
            return "\\ud83d" if character[3:4].lower() in "89ab" else "\\ude00"
        return "\\u0078"
    if character.isspace() or character in _KEPT_CHARACTERS or "\udc80" <= character <= "\udcff":
        return character
    if character.isascii():
        return letter if character.isalpha() else "1" if character.isdigit() else "."
    return _WIDE[len(character.encode("utf-8", "surrogatepass"))]
