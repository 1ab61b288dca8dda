"""The figures of a process, as its Prometheus endpoint has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.stream_cases import BY_KIND, CaseDefinition, CaseRate


@dataclass(frozen=True)
class Measured:
    """The counters at one moment, summed over models, servers and versions.

    `cases` has the issue, whether repairs were applied, and the outcome: the two are never added up.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)
    cases: Counter[tuple[str, bool, str]] = field(default_factory=Counter)
    internal_errors: int = 0
    openai_versions: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()

    @property
    def streams(self) -> int:
        return sum(self.verdicts.values())

    @property
    def observe(self) -> bool:
        """Whether every case was tried in the shadow: outcomes are then what a repair would have come to."""
        return bool(self.cases) and not any(applied for _, applied, _ in self.cases)

    def rate_of(self, definition: CaseDefinition, *, applied: bool = True) -> CaseRate:
        """Return how the cases of a definition ended, of repairs that were applied or of those that were not."""
        outcomes: Counter[str] = Counter()
        for (issue, was_applied, outcome), count in self.cases.items():
            if issue == definition.name and was_applied is applied:
                outcomes[outcome] += count
        return CaseRate(outcomes)

    def rate_of_kind(self, kind: AnomalyKind, *, applied: bool = True) -> CaseRate | None:
        """Return the same for one kind; None for a kind that makes no case."""
        return self.rate_of(BY_KIND[kind], applied=applied) if kind in BY_KIND else None


def parse(exposition: str) -> Measured:
    """Return the counters out of the text that a Prometheus endpoint serves."""
    families = text_string_to_metric_families(exposition)
    return measured((one.name, one.labels, one.value) for family in families for one in family.samples)


def measured(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> Measured:
    """Return the counters out of samples, each a name, its labels and a value."""
    verdicts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    cases: Counter[tuple[str, bool, str]] = Counter()
    versions, snapshots = set(), set()
    errors = 0
    for name, labels, value in samples:
        if name == "streamwatch_streams_total":
            verdicts[labels.get("streamwatch_verdict", "")] += int(value)
            versions.add(labels.get("streamwatch_openai_version", ""))
            snapshots.add(labels.get("gen_ai_response_model", ""))
        elif name == "streamwatch_anomalies_total":
            found[labels.get("streamwatch_anomaly", "")] += int(value)
        elif name == "streamwatch_cases_total":
            applied = labels.get("streamwatch_applied", "true").lower() != "false"
            cases[labels.get("streamwatch_issue", ""), applied, labels.get("streamwatch_outcome", "")] += int(value)
        elif name == "streamwatch_internal_errors_total":
            errors += int(value)
    return Measured(verdicts, found, cases, errors, frozenset(versions - {""}), frozenset(snapshots - {""}))
