"""A checked recording for CI: one test a stream, with the place of each kind that was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from streamwatch.cli.check.replay import Replay
from streamwatch.cli.common.ci_reports import ERROR, IGNORE, CiCase, CiFinding, level_of
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.vocabulary import Severity, Verdict


def level(kind: AnomalyKind, policy: Mapping[str, str]) -> str:
    """Return how bad a kind is under a policy."""
    return level_of(kind.name, policy, is_fault=kind.severity is Severity.FAULT)


def is_well(checked: Replay, policy: Mapping[str, str]) -> bool:
    """Return whether a stream is complete and without a kind that fails the run."""
    if not policy:
        return checked.is_well
    faults = [kind for kind in checked.report.anomalies if level(kind, policy) == ERROR]
    forgiven = [kind for kind in checked.report.anomalies if kind.severity is Severity.FAULT and kind not in faults]
    ends = checked.report.verdict in (Verdict.COMPLETE, Verdict.ABANDONED)
    return not faults and (ends or bool(forgiven))


def case(checked: Replay, policy: Mapping[str, str]) -> CiCase:
    """Return the test of one stream."""
    recording = checked.recording
    found = findings(checked.report.anomalies, checked, policy)
    return CiCase("streamwatch check", recording.name, recording.path, [*found])


def findings(kinds: Iterable[AnomalyKind], checked: Replay, policy: Mapping[str, str]) -> Iterator[CiFinding]:
    """Yield the finding of each kind that a policy does not leave out, with its first place in the stream."""
    for kind in kinds:
        bad = level(kind, policy)
        if bad != IGNORE:
            places = checked.positions.get(kind, [])
            first = (places[0].event, places[0].line, places[0].offset) if places else ()
            text = f"{EXPLANATIONS[kind.name].advice} More: streamwatch explain {kind.name}"
            yield CiFinding(kind.name, bad, kind.meaning, text, *first)
