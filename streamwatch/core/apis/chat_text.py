"""The text of one choice, and what of it is said again.

How it works. The text so far is known by its digest. Three things say it again: a server whose
deltas are cumulative, one that closes with the whole answer, and a gateway that starts again with
another model. Nothing of that is proved by the text alone, so it is taken out on request only. Then
the events in question wait until a later one decides, and go on as they came if it decides
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from streamwatch.core.apis.doubts import Doubts
from streamwatch.core.digest import RunningDigest
from streamwatch.core.kinds import CONTENT_REPLAYED, STREAM_SPLICED
from streamwatch.core.ledger import Ledger
from streamwatch.core.vocabulary import Level

#: Characters. A text shorter than this may well be said twice.
REPLAY_WHOLE = 16
#: Characters of a first text of which one repetition is enough to show that deltas are cumulative.
_REPLAY_FIRST = 8
#: Characters of the first two texts that are kept to compare them: deltas have a few.
_MAX_FIRST = 4096


class _Phase(Enum):
    """The state of knowledge about a text."""

    EMPTY = 0  #: no text came
    ONE = 1  #: one text came
    TWO = 2  #: a second one came, and begins with the first
    PLAIN = 3  #: each text goes on where the last one ended
    CUMULATIVE = 4  #: each text begins with all of the text before it
    SAID_AGAIN = 5  #: the last text was all of the text before it
    RESTARTED = 6  #: another completion took over, and may say all again


class ChoiceText(RunningDigest):
    """The text of one choice. While `settled`, a delta shorter than `REPLAY_WHOLE` may be added unseen."""

    __slots__ = ("_doubts", "_first", "_ledger", "_phase", "_places", "_said", "_second", "_takes_out", "settled")

    def __init__(self, ledger: Ledger, doubts: Doubts) -> None:
        super().__init__()
        self._ledger = ledger
        self._doubts = doubts
        self._takes_out = ledger.wants(CONTENT_REPLAYED)
        self._phase = _Phase.EMPTY
        self._first = self._second = ""
        # Where the texts in question stand, in events that wait; no more of them than the window has.
        self._places: tuple[tuple[dict[str, Any], str], ...] = ()
        self._said = ""  # those texts, which are not in the digest yet
        self.settled = False

    def see(self, holder: dict[str, Any], key: str) -> None:
        """Take one more text that is not empty: `holder[key]`."""
        self._STEPS[self._phase](self, holder, key)
        self.settled = self._phase is _Phase.PLAIN

    def restart(self) -> bool:
        """Leave out what another completion says again, and return whether there is anything to say again."""
        self.give_up()
        if not len(self):
            return False
        self._phase, self.settled = _Phase.RESTARTED, False
        return True

    def end(self) -> None:
        """Decide what is in question: no more text comes."""
        if self._phase is _Phase.TWO:
            self._end_two()
        elif self._phase is _Phase.SAID_AGAIN:
            if self._repeated():
                self._replace("")
        elif self._phase is _Phase.RESTARTED:
            self._ledger.unrepaired(STREAM_SPLICED)
        self._resolve()

    def give_up(self) -> None:
        """Take the texts in question as they came."""
        if self._phase is _Phase.RESTARTED:
            self._ledger.failed(STREAM_SPLICED)
            self._resolve()
        self._let_go()

    # --- one more text, by what is known of those before it

    def _begin(self, holder: dict[str, Any], key: str) -> None:
        new = holder[key]
        self._first = new[:_MAX_FIRST]
        self._phase = _Phase.ONE if len(new) <= _MAX_FIRST else _Phase.PLAIN
        self.add(new)

    def _after_one(self, holder: dict[str, Any], key: str) -> None:
        new = holder[key]
        # Rulers and indentations grow too, and mean nothing by it: one character, over and over.
        if not (_grows(self._first, new) and len(new) <= _MAX_FIRST and new.strip(new[0])):
            self._phase = _Phase.PLAIN
            self._go_on(holder, key)
            return
        self._phase, self._second = _Phase.TWO, new
        self._put_in_question(holder, key)

    def _after_two(self, holder: dict[str, Any], key: str) -> None:
        new = holder[key]
        if not _grows(self._second, new):
            self._resolve()
            self._go_on(holder, key)
        elif self._repeated():
            self._replace(self._second[len(self._first) :])
            self._resolve()
            self._phase = _Phase.CUMULATIVE
            self._after_cumulative(holder, key)
        else:
            self._resolve()
            self.add(new)

    def _after_cumulative(self, holder: dict[str, Any], key: str) -> None:
        new = holder[key]
        if len(new) < len(self) or not self.begins(new):
            self._phase = _Phase.PLAIN
            self._go_on(holder, key)
            return
        self._ledger.record(CONTENT_REPLAYED, Level.OPT_IN)
        holder[key] = new[len(self) :]
        self.add(holder[key])

    def _go_on(self, holder: dict[str, Any], key: str) -> None:
        new = holder[key]
        if len(new) >= REPLAY_WHOLE and self == new:
            self._phase = _Phase.SAID_AGAIN
            self._put_in_question(holder, key)
        else:
            self.add(new)

    def _after_said_again(self, holder: dict[str, Any], key: str) -> None:
        self._resolve()  # a refrain
        self._go_on(holder, key)

    def _after_restart(self, holder: dict[str, Any], key: str) -> None:
        self._places = (*self._places, (holder, key))
        self._said += holder[key]
        if len(self._said) < len(self):
            self._doubts.open(self)
        elif self.begins(self._said):
            self._replace(self._said[len(self) :])
            self._resolve()
        else:
            self._ledger.unrepaired(STREAM_SPLICED)
            self._resolve()

    # --- texts in question

    def _put_in_question(self, holder: dict[str, Any], key: str) -> None:
        if not self._takes_out:
            self.add(holder[key])
            return
        self._places = (*self._places, (holder, key))
        self._said = holder[key]
        self._doubts.open(self)

    def _repeated(self) -> bool:
        """Count a repetition, and return whether it is to be taken out and still can be."""
        return self._ledger.record(CONTENT_REPLAYED, Level.OPT_IN if self._places else Level.NEVER)

    def _end_two(self) -> None:
        if len(self._first) >= _REPLAY_FIRST and self._repeated():
            self._replace(self._second[len(self._first) :])

    def _replace(self, rest: str) -> None:
        """Leave `rest` of the texts in question, in the place of the last one."""
        *before, (holder, key) = self._places
        for earlier, its_key in before:
            earlier[its_key] = ""
        holder[key] = self._said = rest

    def _resolve(self) -> None:
        """Close the question; what is left of the texts is text."""
        self._phase, self.settled = _Phase.PLAIN, True
        self._let_go()

    def _let_go(self) -> None:
        self._doubts.close(self)
        if self._said:
            self.add(self._said)
        self._said = ""
        self._places = ()

    _STEPS: Mapping[_Phase, Callable[[ChoiceText, dict[str, Any], str], None]] = {
        _Phase.EMPTY: _begin,
        _Phase.ONE: _after_one,
        _Phase.TWO: _after_two,
        _Phase.PLAIN: _go_on,
        _Phase.CUMULATIVE: _after_cumulative,
        _Phase.SAID_AGAIN: _after_said_again,
        _Phase.RESTARTED: _after_restart,
    }


def _grows(first: str, second: str) -> bool:
    return len(second) > len(first) and second.startswith(first)
