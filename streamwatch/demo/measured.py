"""What the Prometheus endpoint of a process says about its streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from streamwatch.anomalies import KINDS, Issue, Kind, Outcome, Strategy


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

    def rate(self, kinds: Iterable[Kind]) -> Rate:
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
    verdicts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    repairs: Counter[tuple[str, str]] = Counter()
    versions, snapshots = set(), set()
    errors = 0
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels, count = sample.labels, int(sample.value)
            if sample.name == "streamwatch_streams_total":
                verdicts[labels["streamwatch_verdict"]] += count
                versions.add(labels.get("streamwatch_openai_version", ""))
                snapshots.add(labels.get("gen_ai_response_model", ""))
            elif sample.name == "streamwatch_anomalies_total":
                found[labels["streamwatch_anomaly"]] += count
            elif sample.name == "streamwatch_repairs_total":
                repairs[labels["streamwatch_anomaly"], labels["streamwatch_outcome"]] += count
            elif sample.name == "streamwatch_internal_errors_total":
                errors += count
    return Measured(verdicts, found, repairs, errors, frozenset(versions - {""}), frozenset(snapshots - {""}))
