"""The findings of a stream, and what the policy wants repaired: the only thing that all stages share."""

from __future__ import annotations

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.nothing import NOTHING
from streamwatch.core.settings import Policy
from streamwatch.core.vocabulary import Level, Outcome

#: Nothing is usual: one for all streams, as each of its own takes 216 bytes.
_NONE: frozenset[AnomalyKind] = frozenset()


class AnomalyCount:
    """The number of anomalies of a kind in one stream, and what became of them."""

    __slots__ = ("count", "failed", "repaired")

    def __init__(self) -> None:
        self.count = self.repaired = self.failed = 0

    def outcomes(self, *, evidence: bool | None) -> dict[Outcome, int]:
        """Return every anomaly in exactly one outcome, by what the stream says of the repaired ones."""
        outcomes: dict[Outcome, int] = {}
        failed = self.failed
        if self.repaired and evidence is False:
            failed += self.repaired
        elif self.repaired:
            outcomes[Outcome.VERIFIED if evidence else Outcome.UNVERIFIED] = self.repaired
        if failed:
            outcomes[Outcome.FAILED] = failed
        unrepaired = self.count - self.repaired - self.failed
        if unrepaired:
            outcomes[Outcome.UNREPAIRED] = unrepaired
        return outcomes


class Ledger:
    """The policy of one stream, and its counts.

    `accumulated` says that the SDK's own helper reads the stream.
    """

    __slots__ = ("accumulated", "anomalies", "ignored", "policy")

    def __init__(self, policy: Policy, *, accumulated: bool = False) -> None:
        self.policy = policy
        self.accumulated = accumulated
        self.anomalies: dict[AnomalyKind, AnomalyCount] = NOTHING
        self.ignored = _NONE  #: what is usual where the stream comes from

    def record(self, kind: AnomalyKind, level: Level | None = None) -> bool:
        """Count an anomaly, and return whether its repair is wanted.

        `level` is the level of this repair where it is another one than the kind's own. A rule that has no
        repair to offer says `Level.NEVER`.
        """
        wanted = self.wants(kind, level)
        self.add(kind, repaired=wanted)
        return wanted

    def add(self, kind: AnomalyKind, *, repaired: bool) -> None:
        """Count an anomaly of which is known whether its repair is wanted."""
        if kind in self.ignored:
            return
        count = self.anomalies.get(kind)
        if count is None:
            self.anomalies = self.anomalies or {}
            count = self.anomalies[kind] = AnomalyCount()
        count.count += 1
        count.repaired += repaired

    def wants(self, kind: AnomalyKind, level: Level | None = None) -> bool:
        """Return whether the policy wants a repair of this level, without counting anything."""
        level = level or kind.level
        if kind in self.ignored:
            return False
        if level is Level.OPT_IN or (level is Level.HELPER and not self.accumulated):
            return kind in self.policy.opt_in
        return level not in (Level.NEVER, Level.SETTING) and kind in self.policy.default

    def unrepaired(self, kind: AnomalyKind) -> None:
        """Take back the repair just wanted: it could not be made, as its preconditions do not hold."""
        count = self.anomalies[kind]
        count.repaired -= bool(count.repaired)  # one anomaly may concern several choices

    def failed(self, kind: AnomalyKind) -> None:
        """Turn the repair just wanted into a failed one: it was tried, and did not work out."""
        count = self.anomalies[kind]
        if count.repaired:
            count.repaired -= 1
            count.failed += 1
