"""One verdict for each reader of a case.

kept      it ends as on the plain SDK
repaired  it ends otherwise, and what is on the wire proves it right
left      it raises on the plain SDK, and still does
unproved  it raised on the plain SDK, and ends now with a result that nothing proves
harmed    it ended on the plain SDK, and ends otherwise
worse     it ended on the plain SDK, and raises
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .ideal_calls import parses
from .proof import MessageTruths, Truths, arguments_proved, judged_right, twin_of
from .readers import READERS, Outcome, Reader, outcome
from .serving import Read
from .wire import Stream

VERDICTS = ("kept", "repaired", "left", "unproved", "harmed", "worse")
BAD = ("harmed", "worse")
#: What the SDK raises to say what is wrong with a stream. All else that it raises is an accident of its own.
TELLING = frozenset(
    (
        "APIError",
        "APIConnectionError",
        "APITimeoutError",
        "RemoteProtocolError",
        "JSONDecodeError",
        "UnicodeDecodeError",
    )
)


@dataclass(frozen=True)
class Judged:
    """The verdict about one reader, and why."""

    reader: Reader
    verdict: str
    why: str
    plain: Outcome
    watched: Outcome


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two programs ended alike: result, own exception by its type, and exception of the stream."""
    if (one.raised is None) != (other.raised is None) or one.error != other.error:
        return False
    if one.raised is not None and other.raised is not None:
        return one.raised[0] == other.raised[0]
    return equal(one.value, other.value)


def equal(one: Any, other: Any) -> bool:
    """Whether two results are the same; not a number is itself here."""
    return bool(one == other) or repr(one) == repr(other)


def judge(
    readers: list[Reader],
    stream: Stream,
    plain: Read,
    watched: Read,
    truths: Callable[[], Truths | MessageTruths],
    watched_base: Read | None = None,
) -> Iterator[Judged]:
    """Return the verdict about each reader: first those of answers, for form is judged by them."""
    answers: list[str] = []
    court = _Court(stream, plain, watched, truths, watched_base)
    for reader in sorted(readers, key=lambda reader: not reader.is_answer):
        judged = court.judged(reader, answers)
        if reader.is_answer:
            answers.append(judged.verdict)
        yield judged


class _Court:
    """One case."""

    def __init__(
        self,
        stream: Stream,
        plain: Read,
        watched: Read,
        truths: Callable[[], Truths | MessageTruths],
        watched_base: Read | None,
    ) -> None:
        self.stream, self.plain, self.watched, self.watched_base = stream, plain, watched, watched_base
        self._make = truths

    @cached_property
    def truths(self) -> Truths | MessageTruths:
        """What else is right; rarely asked for."""
        return self._make()

    def judged(self, reader: Reader, answers: list[str]) -> Judged:
        """Return the verdict about a reader."""
        before, after = outcome(reader, self.plain), outcome(reader, self.watched)
        if same(before, after):
            return Judged(reader, "kept" if before.well else "left", "", before, after)
        verdict, why = self._differs(reader, before, after, answers)
        return Judged(reader, verdict, why, before, after)

    def _differs(self, reader: Reader, before: Outcome, after: Outcome, answers: list[str]) -> tuple[str, str]:
        raised = before.raised is not None or (before.error is not None and after.error is None)
        for label, right in self.truths.of(reader, raised=raised):
            if same(right, after) and (after.well or not before.well or "undone" in label):
                return "repaired", label
        if self.truths.strict:
            return ("worse", "raises now") if before.well and not after.well else ("harmed", "ends otherwise")
        if before.well and not after.well:
            return ("left", "wrong before, raises now") if self._wrong_calls() else ("worse", "raises now")
        why = self._otherwise(reader, before, after)
        if why:
            return "repaired", why
        why = self._with_answers(reader, before, after, answers) if not reader.is_answer else ""
        if why:
            return "repaired", why
        return self._unproved(reader, before, after)

    def _otherwise(self, reader: Reader, before: Outcome, after: Outcome) -> str:
        if arguments_proved(reader, self.stream, before, after):
            return "arguments parse"
        twin = twin_of(reader)
        if before.raised is not None and twin is not None:
            of_twin = outcome(twin, self.plain)
            twins = [of_twin, *(right for _, right in self.truths.of(twin, raised=True))]
            if any(same(right, after) for right in twins):
                return f"as {twin.name}"
        if self._rightly_judged():
            return "as it is said to be right"
        base = self.truths.base(reader)
        watched = self.watched_base
        if base is not None and same(base, before) and watched is not None and same(outcome(reader, watched), after):
            return "as without the change, which this reader does not see"
        return ""

    def _wrong_calls(self) -> bool:
        """Whether the helper has made calls whose arguments do not parse, and says so now."""
        if not self.truths.mode.startswith("helper") or (
            self.watched.error is None and self.watched.final_error is None
        ):
            return False
        found = outcome(READERS["chat"]["final_calls"], self.plain) if self.stream.api == "chat" else None
        return found is not None and found.well and not all(parses(row[-1]) for row in found.value)

    def _rightly_judged(self) -> bool:
        if self.stream.right is None:
            return False
        ways = ("helper", "final") if self.truths.mode.startswith("helper") else ("create",)
        table = {name: reader for name, reader in READERS.get(self.stream.api, {}).items() if reader.way in ways}

        def of(read: Read) -> Callable[[str], Outcome | None]:
            return lambda name: outcome(table[name], read) if name in table else None

        return (
            judged_right(self.stream, of(self.watched)) is True and judged_right(self.stream, of(self.plain)) is False
        )

    def _with_answers(self, reader: Reader, before: Outcome, after: Outcome, answers: list[str]) -> str:
        """Return why a difference of form goes with what was repaired."""
        if any(verdict in BAD for verdict in answers):
            return ""
        if "repaired" in answers and (self.truths.mode.startswith("helper") or not before.well):
            return "with the answer"
        most = self.truths.lacking
        if most and _grew(before.value, after.value, most):
            return "with what the protocol demands"
        rights = self.truths.of(reader, raised=False) if most else ()
        label = next((label for label, right in rights if _grew(right.value, after.value, most)), "")
        return f"{label}, with what the protocol demands" if label else ""

    def _unproved(self, reader: Reader, before: Outcome, after: Outcome) -> tuple[str, str]:
        if before.well:
            return "harmed", "ends otherwise"
        told = before.error is not None and before.error[0] in TELLING
        if before.error is not None and before.error == after.error:
            if not told and _goes_further(before.value, after.value):
                return "left", "further before the same accident"
            return "harmed", "otherwise before the same exception"
        if told and after.error is None:
            # Of a stream that is proved without what it raised on, an accident may be all that is left.
            rights = (right.error for _, right in self.truths.of(reader, raised=True))
            if any(error is not None and error[0] not in TELLING for error in rights):
                return "unproved", "behind an exception that went rightly"
            return "harmed", "an exception of the stream is swallowed"
        if not after.well:
            return ("worse", "another exception") if told else ("left", "another exception")
        return "unproved", ""


def _goes_further(before: Any, after: Any) -> bool:
    """Whether a list or a text begins with all that another one has, or a count is higher."""
    if isinstance(before, int) and isinstance(after, int):
        return before < after
    if not isinstance(before, (list, str)) or type(before) is not type(after):
        return False
    if len(before) < len(after) and equal(before, after[: len(before)]):
        return True
    if isinstance(before, str) or len(before) != len(after):
        return False
    pairs = list(zip(before, after, strict=True))
    return any(not equal(*pair) for pair in pairs) and all(equal(*pair) or _goes_further(*pair) for pair in pairs)


def _grew(before: Any, after: Any, most: int) -> bool:
    """Whether a result has all that another one has, and at most so much more."""
    if isinstance(before, int) and isinstance(after, int):
        return before < after <= before + most
    if isinstance(before, list) and isinstance(after, list) and len(before) < len(after) <= len(before) + most:
        rest = iter(after)
        return all(any(equal(entry, other) for other in rest) for entry in before)
    return False
