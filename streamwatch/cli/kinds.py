"""`streamwatch kinds` and `streamwatch explain`: what a kind of anomaly is, and what is done about it."""

from __future__ import annotations

import json
from typing import Any

import click

from streamwatch.anomalies import ISSUES, KINDS, Issue, Kind


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def kinds(as_json: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """List the kinds of anomaly, with their severity and repair.

    \b
    streamwatch kinds
    streamwatch kinds --json | jq -r 'select(.severity == "fault").kind'
    """  # noqa: D301 -- click keeps the lines after this character as they are
    for kind in KINDS.values():
        if as_json:
            click.echo(json.dumps(_record(kind)))
        else:
            click.echo(f"{kind.name:<29} {kind.severity.value:<8} {kind.strategy.value:<20} {kind.level.value}")


@click.command()
@click.argument("what")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def explain(what: str, as_json: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Explain a kind, a known issue, or the text of an error.

    \b
    streamwatch explain tool_call_index_reused
    streamwatch explain "KeyError: 'content'"
    """  # noqa: D301 -- click keeps the lines after this character as they are
    found = matching(what)
    if not found:
        msg = f"{what!r} is neither a kind, nor a known issue, nor its error. `streamwatch kinds` lists the kinds."
        raise click.ClickException(msg)
    for kind in found:
        click.echo(json.dumps(_record(kind)) if as_json else _text(kind))


def matching(what: str) -> list[Kind]:
    """The kinds that a name, an issue or an error text means."""
    wanted = what.strip().lower()
    if wanted in KINDS:
        return [KINDS[wanted]]
    issues = [issue for issue in ISSUES if wanted and (wanted in issue.name or wanted in issue.error.lower())]
    return [kind for kind in KINDS.values() if kind.issue in issues]


def _record(kind: Kind) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "severity": kind.severity.value,
        "surfaces": kind.surfaces,
        "strategy": kind.strategy.value,
        "level": kind.level.value,
        "evidence": kind.evidence.value,
        "meaning": kind.meaning,
        "issue": kind.issue.name if kind.issue else None,
    }


def _text(kind: Kind) -> str:
    repair = f"{kind.strategy.value}: {kind.strategy.meaning}"
    lines = [
        click.style(kind.name, bold=True),
        f"  {kind.meaning}",
        f"  severity  {kind.severity.value}",
        f"  seen in   {', '.join(kind.surfaces)}",
        f"  repair    {repair} ({_LEVELS[kind.level.value]})",
        f"  proof     {_PROOFS[kind.evidence.value]}",
    ]
    return "\n".join([*lines, *(_issue_lines(kind.issue) if kind.issue else ())]) + "\n"


def _issue_lines(issue: Issue) -> list[str]:
    return [
        f"  issue     {issue.name}: {issue.error} (published fix rate {issue.fix_ratio:.0%})",
        *(f"            helps: {name}, published {ratio:.0%}" for name, ratio in issue.workarounds),
        *(f"            does not help: {name}, fails {ratio:.0%}" for name, ratio in issue.dead_ends),
    ]


_LEVELS = {
    "default": "by default",
    "auto": "by default, where it cannot change what a careful reader computes",
    "opt_in": "with STREAMWATCH_REPAIR=all",
    "never": "never",
}
_PROOFS = {
    "shape": "the repaired shape is right by construction",
    "arguments": "the arguments of every tool call parse as JSON",
    "sequence": "the numbers are contiguous at the end, and repeated text equals the deltas",
    "text": "text that is repeated at the end equals the deltas",
    "complete": "the stream still ends complete",
    "none": "the stream holds none",
}
