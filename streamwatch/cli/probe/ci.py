"""The report card for CI: each invariant and kind of each answer as a test, with the event at fault and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from streamwatch.cli.check.ci import findings
from streamwatch.cli.check.recordings import Recording
from streamwatch.cli.check.replay import replay
from streamwatch.cli.common.ci_reports import IGNORE, CiCase, CiFinding, level_of
from streamwatch.cli.probe.invariants import Invariant, table
from streamwatch.cli.probe.remedies import offending, remedy
from streamwatch.cli.probe.scorecard import Score, label
from streamwatch.core.settings import Settings


def cases(scores: list[Score], policy: Mapping[str, str], save: Path | None) -> Iterator[CiCase]:
    """Yield what was tested: the request, each invariant that could be looked at, and each kind that was found."""
    for score in scores:
        suite, name = label(score), f"{score.reply.question.name}-{score.reply.round + 1}.sse"
        artifact = str(save / name) if save else name
        request = CiCase(suite, "request", artifact)
        if score.reply.state == "failed":
            request.errored = score.reply.message
        elif score.reply.answer is None:
            request.skipped = score.reply.message
        yield request
        if score.reply.answer is not None:
            yield from _invariants(score, policy, suite, artifact)
            yield from _kinds(score, policy, suite, artifact)


def _invariants(score: Score, policy: Mapping[str, str], suite: str, artifact: str) -> Iterator[CiCase]:
    for name, holds in score.checks.items():
        level = level_of(name, policy, is_fault=table()[name].matters)
        if holds is None or level == IGNORE or (holds is False and score.told_by_kind(name)):
            continue
        broken = [] if holds else [_broken(score, table()[name], level)]
        yield CiCase(suite, name, artifact, broken)


def _broken(score: Score, rule: Invariant, level: str) -> CiFinding:
    assert score.reply.answer is not None  # noqa: S101 -- for the type checker
    at, what = offending(score.reply.answer, rule.name), remedy(rule)
    more = f" More: streamwatch explain {what.kind}" if what.kind else ""
    place = (at.event, at.line, at.offset) if at else ()
    return CiFinding(rule.name, level, rule.broken, what.text + more, *place)


def _kinds(score: Score, policy: Mapping[str, str], suite: str, artifact: str) -> Iterator[CiCase]:
    """Yield what Streamwatch itself finds in the answer, with the first event of each kind."""
    answer, report = score.reply.answer, score.report
    assert answer is not None  # noqa: S101 -- for the type checker
    seen = replay(Recording(artifact, answer.body, "body", api=answer.asked.api), Settings())
    for finding in findings(report.anomalies if report else (), seen, policy):
        yield CiCase(suite, finding.rule, artifact, [finding])
