"""`streamwatch kinds` and `streamwatch explain`: what a kind of anomaly is, and what is done about it."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from streamwatch.cli import common
from streamwatch.cli.kinds.answer import error_answer, kind_answer
from streamwatch.cli.kinds.errors import KnownError
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.cli.kinds.pasted import exceptions, known_errors, near, shown
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
#: Characters that are read of standard input: more than any traceback has.
_MOST = 1 << 20


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def kinds(as_json: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """List the kinds of anomaly, with their severity and repair.

    \b
    streamwatch kinds
    streamwatch kinds --json | jq -r 'select(.severity == "fault").kind'
    """  # noqa: D301 -- click keeps the lines after this character as they are
    if as_json:
        for kind in KINDS.values():
            click.echo(json.dumps(_record(kind)))
        return
    click.echo(_row("kind", "severity", "repair", "repaired"))
    for kind in KINDS.values():
        click.echo(_row(kind.name, kind.severity.value, kind.strategy.value, kind.level.value))


def _row(kind: str, severity: str, repair: str, level: str) -> str:
    return f"{kind:<29} {severity:<8} {repair:<20} {level}"


@click.command()
@click.argument("what", required=False)
@click.option("--more", is_flag=True, help="Print all that is known of each kind behind it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--measured", metavar="URL", help="Add what an endpoint of Streamwatch counted, such as localhost:9464.")
def explain(what: str | None, more: bool, as_json: bool, measured: str | None) -> None:  # noqa: FBT001 -- click's
    """Explain a kind, a known issue, or an error: its text, a traceback, or `-` for standard input.

    \b
    streamwatch explain tool_call_index_reused
    streamwatch explain "KeyError: 'content'"
    python app.py 2>&1 | streamwatch explain
    streamwatch explain sequence_out_of_order --measured localhost:9464
    """  # noqa: D301 -- click keeps the lines after this character as they are
    asked = _asked(what)
    found, errors = matching(asked), _errors(asked)
    if not found and not errors:
        raise click.ClickException(_unknown(asked))
    counted = _counted(measured) if measured else None
    if as_json or more or counted or not (errors or len(found) == 1):
        _echo_records(found, counted, as_json=as_json)
    elif errors:
        click.echo(error_answer(errors[0], errors[1:]))
    else:
        click.echo(kind_answer(found[0], EXPLANATIONS[found[0].name]))


def _asked(what: str | None) -> str:
    """Return what was asked, from the arguments or from standard input."""
    if what not in (None, "-"):
        return what or ""
    stdin = sys.stdin
    unread = stdin is None or (what is None and stdin.isatty())
    text = "" if unread else stdin.buffer.read(_MOST).decode("utf-8", "replace")
    if not text.strip():
        msg = "Missing argument 'WHAT': a kind, an error, or `-` and a text on standard input."
        raise click.UsageError(msg, click.get_current_context())
    return text


def _unknown(asked: str) -> str:
    """Return what to do about a text that nothing is known of."""
    guesses = near(asked)
    meant = f" Did you mean {' or '.join(repr(guess) for guess in guesses)}?" if guesses else ""
    said = f"{shown(asked)!r} is not a kind, a known issue or a known error.{meant}"
    return f"{said} `streamwatch kinds` lists the kinds."


def _errors(asked: str) -> list[KnownError]:
    """Return the errors that a text is about; the name of a kind is about none."""
    wanted = asked.strip().lower()
    if wanted in KINDS:
        return []
    issue = next((issue for issue in ISSUES if wanted and wanted in issue.name), None)
    return known_errors(issue.error if issue else asked)


def matching(what: str) -> list[AnomalyKind]:
    """Return the kinds that a name, an issue or an error text means."""
    wanted = what.strip().lower()
    if wanted in KINDS:
        return [KINDS[wanted]]
    lines = [wanted, *(each.lower() for each in exceptions(wanted) if len(each) >= _MIN_ERROR)]
    issues = [issue for issue in ISSUES if wanted and (wanted in issue.name or wanted in issue.error.lower())]
    issues = issues or [issue for issue in ISSUES if any(issue.error.lower() in line for line in lines)]
    named = [name for error in known_errors(what) for name in error.kinds]
    shown_as = [name for name, known in EXPLANATIONS.items() if _stands_in(lines, known.symptom.lower())]
    return [kind for kind in KINDS.values() if kind.issue in issues] or [
        KINDS[name] for name in dict.fromkeys([*named, *shown_as])
    ]


def _stands_in(lines: list[str], symptom: str) -> bool:
    return any(len(line) >= _MIN_ERROR and line in symptom for line in lines)


def _echo_records(found: list[AnomalyKind], counted: Measured | None, *, as_json: bool) -> None:
    """Print all that is known of some kinds."""
    for kind in found:
        record = {**_record(kind), **_explanation(kind)}
        if counted:
            record["measured"] = {**_rates(kind, counted), "issues": _measured_lines(kind, counted)}
        click.echo(json.dumps(record) if as_json else _text(kind, record))


def _record(kind: AnomalyKind) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "severity": kind.severity.value,
        "apis": kind.apis,
        "strategy": kind.strategy.value,
        "level": kind.level.value,
        "evidence": kind.evidence.value,
        "meaning": kind.meaning,
        "issue": kind.issue.name if kind.issue else None,
    }


def _explanation(kind: AnomalyKind) -> dict[str, Any]:
    """Return what is known beside a kind's row: in public reports, and in the recordings of `providers.json`."""
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
    """Return what an endpoint has counted since its process began."""
    from streamwatch.cli.common.environment import address
    from streamwatch.cli.common.measured import parse
    from streamwatch.cli.common.scraping import NoAnswerError, fetch

    named = url if "://" in url else f"http://{url}"
    named = named if urlsplit(named).path.strip("/") else f"{named.rstrip('/')}/metrics"
    if urlsplit(named).scheme not in ("http", "https") or not urlsplit(named).hostname:
        raise click.UsageError(f"{address(url)!r} is not an address such as localhost:9464")
    try:
        return parse(fetch(named))
    except (NoAnswerError, ValueError) as error:
        raise click.UsageError(f"{address(named)}: {error}") from error


def _rates(kind: AnomalyKind, counted: Measured) -> dict[str, Any]:
    """Return what a process counted of a kind: anomalies, streams, and how the streams ended."""
    applied = not counted.observe
    rate = counted.rate_of_kind(kind, applied=applied) or CaseRate({})
    outcomes = {outcome.value: rate[outcome] for outcome in Outcome}
    rates = {"fix_ratio": rate.fix_ratio, "interval": rate.interval, "verified_ratio": rate.verified_ratio}
    cases = {"cases": rate.cases, "applied": applied}
    return {"found": counted.anomalies[kind.name], "streams": counted.streams, **cases, **outcomes, **rates}


def _measured_lines(kind: AnomalyKind, counted: Measured) -> list[str]:
    """Return what was measured of a kind's issues, beside what is published for the same cases."""
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
        f"  seen in   {', '.join(kind.apis)}",
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
    """Say in how many recordings of whom a kind is; the few with the most."""
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
