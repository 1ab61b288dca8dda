"""The knowledge about the numbers of each server: whether waiting pays there, and where streams begin.

It spares waits and never makes one: where nothing is known, the numbers of a stream speak for themselves.
"""

from __future__ import annotations

import functools

from streamwatch.core.nothing import NONE_YET

#: Servers and models that are remembered, the latest ones: an application talks to a handful, a gateway to dozens.
_SERVERS = 512
#: Characters of an address or a model that distinguish it from another.
_NAME = 200
#: Waits in vain for which a wait that paid makes up: a sender that mixes events up loses one now and then as well.
_CREDIT = 4
#: Distances and delays kept between two recordings.
_SAMPLES = 1024


class Wait:
    """The wait of a held event: since when, and how many places early it came; `again` if the same came before."""

    __slots__ = ("again", "early", "since")

    def __init__(self, since: float, *, again: bool) -> None:
        self.since = since
        self.early: int | None = 0  #: None until it is known where the stream begins
        self.again = again


class Waits:
    """The waits of the events of one stream: how long each was held, in seconds, and how many places it came early.

    Of the samples the first 1024 are kept: a stream with more is described well enough.
    """

    __slots__ = ("delays", "distances", "max_delay", "max_distance")

    def __init__(self) -> None:
        self.delays: list[float] = NONE_YET
        self.distances: list[int] = NONE_YET
        self.max_delay = 0.0
        self.max_distance = 0

    def add(self, delay: float, distance: int) -> None:
        """Take note of an event that was held for `delay` seconds, and came `distance` places early."""
        if not delay and not distance:
            return  # it went on as soon as it came
        self.max_delay = max(self.max_delay, delay)
        self.max_distance = max(self.max_distance, distance)
        if len(self.delays) < _SAMPLES:
            self.delays = self.delays or []
            self.delays.append(delay)
            if distance:
                self.distances = self.distances or []
                self.distances.append(distance)


class Trust:
    """The knowledge about the numbers under one name, of one server and model."""

    __slots__ = ("_anywhere", "_credit", "has_paid", "starts")

    def __init__(self) -> None:
        self._credit = 1  # one wait in vain
        self._anywhere = False
        self.has_paid = False  #: waiting has paid, as far as is remembered
        self.starts: int | None = None  #: where the last stream began

    @property
    def patient(self) -> bool:
        """Whether a hole in the numbers is waited for."""
        return self._credit > 0

    @property
    def waits_for_start(self) -> bool:
        """Whether a first number waits for a smaller one, where nothing says that it is the first."""
        return self.patient and not self._anywhere

    def start_was_waited_for(self, number: int) -> None:
        """Take note that a stream began with a number, and that it was waited for a smaller one in vain."""
        self._anywhere = self._anywhere or self.starts not in (None, number)
        self.starts = number

    def start_was_missed(self) -> None:
        """Take note that a smaller number came, and had not been waited for."""
        self._anywhere = False

    def paid(self) -> None:
        """Take note that what was missing came."""
        self._credit, self.has_paid = _CREDIT, True

    def in_vain(self) -> None:
        """Take note that what was missing did not come."""
        self._credit = max(self._credit - 1, 0)
        self.has_paid = self.has_paid and self._credit > 0

    def refuted(self) -> None:
        """Take note that the numbers are no order: where they never were one, no further stream waits for them."""
        if self.has_paid:
            self.in_vain()
        else:
            self._credit = 0


class Patience:
    """The knowledge about the numbers of one server and model, by their names."""

    def __init__(self) -> None:
        self._trust: dict[str, Trust] = {}

    def of(self, name: str) -> Trust:
        """Return what is known of the numbers under a name, which is one of the few that the settings list."""
        return self._trust.setdefault(name, Trust())


class PatienceByServer:
    """The patience with every server, for as long as Streamwatch is switched on.

    The application chooses the keys, by what it asks whom: no server has a say in what is known of another one.
    """

    def __init__(self, most: int = _SERVERS) -> None:
        # Its own lock is C's: nothing can be waited for in a forked child.
        self._of = functools.lru_cache(most)(lambda address, model: Patience())

    def of(self, address: str, model: str) -> Patience:
        """Return what is known of a server and model."""
        return self._of(address[:_NAME], model[:_NAME])
