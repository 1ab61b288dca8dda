"""`streamwatch kinds` and `streamwatch explain`: what a kind of anomaly is, and what is done about it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from streamwatch.cli import common
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.known_issues import ISSUES, Issue
from streamwatch.core.stream_cases import KNOWN as KNOWN_CASES
from streamwatch.core.stream_cases import CaseRate
from streamwatch.core.vocabulary import Outcome

if TYPE_CHECKING:
    from streamwatch.cli.common.measured import Measured

#: Columns of the text.
_WIDTH = 120
#: Providers that are named; the JSON has all.
_PROVIDERS = 6
#: Characters of an error text: a shorter one stands in half of all sentences.
_MIN_ERROR = 8


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
@click.option(
    "--measured", metavar="URL", help="What an endpoint of Streamwatch's has counted, such as localhost:9464."
)
def explain(what: str, as_json: bool, measured: str | None) -> None:  # noqa: FBT001 -- click passes it by name
    """Explain a kind, a known issue, or the text of an error, also as the last line of a traceback.

    \b
    streamwatch explain tool_call_index_reused
    streamwatch explain "KeyError: 'content'"
    streamwatch explain sequence_out_of_order --measured localhost:9464
    """  # noqa: D301 -- click keeps the lines after this character as they are
    found = matching(what)
    if not found:
        msg = f"{what!r} is neither a kind, nor a known issue, nor its error. `streamwatch kinds` lists the kinds."
        raise click.ClickException(msg)
    counted = _counted(measured) if measured else None
    for kind in found:
        record = {**_record(kind), **_explanation(kind)}
        if counted:
            record["measured"] = {**_rates(kind, counted), "issues": _measured_lines(kind, counted)}
        click.echo(json.dumps(record) if as_json else _text(kind, record))


def matching(what: str) -> list[AnomalyKind]:
    """The kinds that a name, an issue or an error text means."""
    wanted = what.strip().lower()
    if wanted in KINDS:
        return [KINDS[wanted]]
    issues = [issue for issue in ISSUES if wanted and (wanted in issue.name or wanted in issue.error.lower())]
    return [kind for kind in KINDS.values() if kind.issue in issues] or _showing(wanted)


def _showing(wanted: str) -> list[AnomalyKind]:
    """The kinds that an application sees as an error, or as the last line of a traceback."""
    line = (wanted.splitlines() or [""])[-1].strip()
    if len(line) < _MIN_ERROR:
        return []
    issues = [issue for issue in ISSUES if issue.error.lower() in line]
    shown = [KINDS[name] for name, known in EXPLANATIONS.items() if line in known.symptom.lower()]
    return [kind for kind in KINDS.values() if kind.issue in issues] or shown


def _record(kind: AnomalyKind) -> dict[str, Any]:
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


def _explanation(kind: AnomalyKind) -> dict[str, Any]:
    """What is known of it beside its row: in public reports, and in the recordings of `providers.json`."""
    recorded = json.loads((Path(common.__file__).with_name("providers.json")).read_text("utf-8"))
    known, streams = EXPLANATIONS[kind.name], recorded["streams"]
    counts = sorted(recorded["kinds"].get(kind.name, {}).items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "seen_as": known.symptom,
        "reported_of": known.senders,
        "advice": known.advice,
        "recorded": {provider: [count, streams[provider]] for provider, count in counts},
        "recorded_streams": sum(streams.values()),
    }


def _counted(url: str) -> Measured:
    """What an endpoint has counted since its process began."""
    from streamwatch.cli.common.environment import address
    from streamwatch.cli.common.measured import parse
    from streamwatch.cli.common.scraping import NoAnswerError, fetch

    named = url if "://" in url else f"http://{url}"
    named = named if urlsplit(named).path.strip("/") else f"{named.rstrip('/')}/metrics"
    if urlsplit(named).scheme not in ("http", "https") or not urlsplit(named).hostname:
        raise click.UsageError(f"{address(url)!r} is no address such as localhost:9464")
    try:
        return parse(fetch(named))
    except (NoAnswerError, ValueError) as error:
        raise click.UsageError(f"{address(named)}: {error}") from error


def _rates(kind: AnomalyKind, counted: Measured) -> dict[str, Any]:
    """What a process counted of a kind: anomalies, streams, and how the streams ended."""
    applied = not counted.observe
    rate = counted.rate_of_kind(kind, applied=applied) or CaseRate({})
    outcomes = {outcome.value: rate[outcome] for outcome in Outcome}
    rates = {"fix_ratio": rate.fix_ratio, "interval": rate.interval, "verified_ratio": rate.verified_ratio}
    cases = {"cases": rate.cases, "applied": applied}
    return {"found": counted.anomalies[kind.name], "streams": counted.streams, **cases, **outcomes, **rates}


def _measured_lines(kind: AnomalyKind, counted: Measured) -> list[str]:
    """What was measured of the issues that a kind is part of, beside what is published for the same cases."""
    lines = []
    for definition in KNOWN_CASES:
        rate = counted.rate_of(definition, applied=not counted.observe)
        if kind not in definition.kinds or not rate.cases or not definition.published or not rate.interval:
            continue
        low, high = rate.interval
        said = f"{rate.fix_ratio:.1%} of {rate.cases} streams ({low:.1%} to {high:.1%}), published"
        lines.append(
            f"{definition.name}: {said} {definition.published[1]:.0%}: {rate.against(definition.published[1])}"
        )
    return lines


def _text(kind: AnomalyKind, record: dict[str, Any]) -> str:
    repair = f"{kind.strategy.value}: {kind.strategy.meaning}"
    lines = [
        click.style(kind.name, bold=True),
        f"  {kind.meaning}",
        f"  severity  {kind.severity.value}",
        f"  seen in   {', '.join(kind.surfaces)}",
        *_folded("seen as", record["seen_as"]),
        *_folded("from", record["reported_of"]),
        *_folded("recorded", _recorded_text(record)),
        *_folded("repair", f"{repair} ({kind.level.meaning})"),
        *_folded("proof", kind.evidence.meaning),
        *_folded("advice", record["advice"]),
        *_measured_parts(record.get("measured")),
    ]
    return "\n".join([*lines, *(_issue_lines(kind.issue) if kind.issue else ())]) + "\n"


def _folded(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12)


def _recorded_text(record: dict[str, Any]) -> str:
    """In how many recordings of whom; the few with the most."""
    pairs = [f"{provider} {count} of {streams}" for provider, (count, streams) in record["recorded"].items()]
    more = len(pairs) - _PROVIDERS
    told = ", ".join(pairs[:_PROVIDERS]) + (f", and {more} more providers" if more > 0 else "")
    total = record["recorded_streams"]
    return f"in streams of {told} (of {total:,} recordings)" if pairs else f"in none of {total:,} recordings"


def _measured_text(rates: dict[str, Any]) -> str:
    counts = ", ".join(f"{rates[outcome.value]} {outcome.value}" for outcome in Outcome if rates[outcome.value])
    shadow = "" if rates["applied"] or not counts else " in the shadow"
    fixed = (
        ""
        if rates["interval"] is None
        else "; fix rate {:.1%} ({:.1%} to {:.1%})".format(rates["fix_ratio"], *rates["interval"])
    )
    proved = "" if rates["verified_ratio"] is None else f", verified rate {rates['verified_ratio']:.1%}"
    ended = f", in {rates['cases']} of them{shadow}: {counts}{fixed}{proved}" if counts else ""
    return f"{rates['found']} found in {rates['streams']} streams{ended}"


def _measured_parts(rates: dict[str, Any] | None) -> list[str]:
    if rates is None:
        return []
    return [
        *_folded("measured", _measured_text(rates)),
        *(text for one in rates["issues"] for text in _folded("", one)),
    ]


def _issue_lines(issue: Issue) -> list[str]:
    return [
        f"  issue     {issue.name}: {issue.error} (published fix rate {issue.fix_ratio:.0%})",
        *(f"            helps: {name}, published {ratio:.0%}" for name, ratio in issue.workarounds),
        *(f"            does not help: {name}, fails {ratio:.0%}" for name, ratio in issue.dead_ends),
    ]
