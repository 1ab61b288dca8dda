"""What the Prometheus endpoint of a process says about its streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from streamwatch.core.kinds import KINDS, AnomalyKind, Outcome, Strategy
from streamwatch.core.known_issues import Issue


@dataclass(frozen=True)
class Rate:
    """How the detected anomalies of some kinds ended."""

    outcomes: Counter[str]

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes[outcome.value]

    @property
    def detected(self) -> int:
        return sum(self.outcomes.values())

    @property
    def fixed(self) -> int:
        return self[Outcome.VERIFIED] + self[Outcome.UNVERIFIED]

    @property
    def fix_ratio(self) -> float | None:
        """The share that was repaired; None before anything was detected."""
        return self.fixed / self.detected if self.detected else None

    @property
    def verified_ratio(self) -> float | None:
        """The share proved right among those that evidence decides; None while there is none."""
        decided = self[Outcome.VERIFIED] + self[Outcome.FAILED]
        return self[Outcome.VERIFIED] / decided if decided else None


@dataclass(frozen=True)
class Measured:
    """The counters at one moment, summed over models, servers and versions."""

    verdicts: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)
    repairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    internal_errors: int = 0
    openai_versions: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()

    @property
    def streams(self) -> int:
        return sum(self.verdicts.values())

    def rate(self, kinds: Iterable[AnomalyKind]) -> Rate:
        """How repairs went, over those of `kinds` that have one."""
        names = {kind.name for kind in kinds if kind.strategy is not Strategy.NONE}
        outcomes: Counter[str] = Counter()
        for (name, outcome), count in self.repairs.items():
            if name in names:
                outcomes[outcome] += count
        return Rate(outcomes)

    def rate_of(self, issue: Issue) -> Rate:
        return self.rate(kind for kind in KINDS.values() if kind.issue is issue)


def parse(exposition: str) -> Measured:
    """The counters out of the text that a Prometheus endpoint serves."""
    families = text_string_to_metric_families(exposition)
    return measured((one.name, one.labels, one.value) for family in families for one in family.samples)


def measured(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> Measured:
    """The counters out of samples, each a name, its labels and a value."""
    verdicts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    repairs: Counter[tuple[str, str]] = Counter()
    versions, snapshots = set(), set()
    errors = 0
    for name, labels, value in samples:
        if name == "streamwatch_streams_total":
            verdicts[labels.get("streamwatch_verdict", "")] += int(value)
            versions.add(labels.get("streamwatch_openai_version", ""))
            snapshots.add(labels.get("gen_ai_response_model", ""))
        elif name == "streamwatch_anomalies_total":
            found[labels.get("streamwatch_anomaly", "")] += int(value)
        elif name == "streamwatch_repairs_total":
            repairs[labels.get("streamwatch_anomaly", ""), labels.get("streamwatch_outcome", "")] += int(value)
        elif name == "streamwatch_internal_errors_total":
            errors += int(value)
    return Measured(verdicts, found, repairs, errors, frozenset(versions - {""}), frozenset(snapshots - {""}))
