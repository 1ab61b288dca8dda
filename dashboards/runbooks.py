"""Runbooks: one page for each kind of anomaly, and the facts in the pages of the alerts.

The pages of the kinds come out of the table of kinds and of `streamwatch.cli.kinds.explanations`. The pages of the
alerts are written by people; between two marks in each stands what the rule says.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from pathlib import Path

from dashboards import alerts, looks, records, waiting_rules
from dashboards.alerts import Alert
from dashboards.looks import Look
from dashboards.records import Options
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, STREAM_STALLED, AnomalyKind
from streamwatch.core.known_issues import ISSUES, Issue
from streamwatch.core.stream_cases import TOOL_CALLS
from streamwatch.core.vocabulary import Evidence, Level, Severity, Strategy

FOLDER = Path(__file__).parents[1] / "docs" / "runbooks"

_BEGIN, _END = "<!-- rule -->", "<!-- /rule -->"

_SEVERITIES = {
    Severity.HAZARD: "hazard: legal, but it breaks code that reads streams naively; never a reason for an alert",
    Severity.DIALECT: "dialect: another shape than OpenAI's own; the SDK mostly copes",
    Severity.FAULT: "fault: data is lost or corrupted, or the SDK raises",
}
_SILENCE = "hazard: legal, but users wait; an alert only where it is more than usual"
#: Evidence that no stream can give: repairs end `unverified`.
_NO_EVIDENCE = (Evidence.SHAPE, Evidence.NONE)
#: Levels that repair more, or elsewhere, when they are asked for.
_ASKED_FOR = (Level.AUTO, Level.HELPER, Level.OPT_IN)


# --- kinds


def kind_page(kind: AnomalyKind) -> str:
    """Return everything that is true of this kind alone; what is true of all of them stands in the index."""
    known = EXPLANATIONS[kind.name]
    sections = {
        "What the application sees": known.symptom,
        "Who sends it": f"{known.senders[0].upper()}{known.senders[1:]}.",
        "What Streamwatch does": _repair(kind),
        "What helps": _help(kind, known.advice),
        "Where it comes from, and what became of it": _proof(kind),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    severity = _SILENCE if kind is STREAM_STALLED else _SEVERITIES[kind.severity]
    facts = [
        f"Severity: {severity}.",
        f"Seen in: {', '.join(kind.apis)}.",
        *(["It is reported only."] if kind.strategy is Strategy.NONE else []),
        *([f"Alerts: {', '.join(map(_page_of, names))}."] if (names := alerts_of(kind)) else []),
        f"[How to prove it]({_INDEX}#how-to-prove-a-kind).",
    ]
    return f"# {kind.name}\n\n{kind.meaning}\n\n{' '.join(facts)}\n\n{text}\n"


_INDEX = "../README.md"
#: What is advised on most kinds, so that the index says it for all of them.
_ADVICE = Counter(each.advice for each in EXPLANATIONS.values())
GENERAL = {advice for advice, kinds in _ADVICE.items() if kinds > 2}


def _page_of(alert: str) -> str:
    return f"[{alert}](../{alert}.md)"


def _repair(kind: AnomalyKind) -> str:
    if kind.strategy is Strategy.NONE:
        return ""
    on = f" `STREAMWATCH_REPAIR=default,+{kind.name}` asks for it." if kind.level in _ASKED_FOR else ""
    off = f" `STREAMWATCH_REPAIR=default,-{kind.name}` leaves it alone." if kind.level is not Level.OPT_IN else ""
    does = f"`{kind.strategy.value}`: {kind.strategy.meaning}. It is repaired {kind.level.meaning}.{on}{off}"
    ends = "repairs end `unverified`" if kind.evidence in _NO_EVIDENCE else "`verified`, else `failed`"
    return f"{does}\n\nEvidence: {kind.evidence.meaning}: {ends}."


def _help(kind: AnomalyKind, advice: str) -> str:
    issue = kind.issue
    if advice in GENERAL:
        return ""
    if issue is None:
        return advice
    known = f"It is a case of the known issue `{issue.name}`: [what is published for it]({_INDEX}#known-issues)."
    return f"{advice}\n\n{known}"


def _proof(kind: AnomalyKind) -> str:
    by = ("server_address", *records.RELEASE[:1])
    found = Look(records.ANOMALIES, by, "1h", f'streamwatch_anomaly="{kind.name}"').query(())
    blocks = [f"```promql\n{found}\n```"]
    if kind.strategy is not Strategy.NONE:
        outcomes = ("streamwatch_outcome", "streamwatch_applied")
        ended = Look(records.CASES, outcomes, "1d", f'streamwatch_issue="{kind.name}"').query(())
        blocks.append(f"```promql\n{ended}\n```")
    return "\n\n".join(blocks)


def _promql(query: str) -> str:
    """Return a query as a block within a step of a list."""
    return textwrap.indent(f"```promql\n{query}\n```", "   ")


def alerts_of(kind: AnomalyKind) -> list[str]:
    """Return the alerts that a kind can make fire."""
    if kind is STREAM_STALLED:
        return ["StreamwatchStalledStreams", "StreamwatchStallsRising"]
    if kind.severity is not Severity.FAULT:
        return []
    if kind.name in ("stream_truncated", "stream_empty"):
        names = ["StreamwatchTruncatedStreams"]
    elif kind.name in ("error_in_stream", "error_hidden"):
        names = []
    else:
        names = ["StreamwatchUnrepairedFaults"]
    names += ["StreamwatchToolCallsBroken"] * (kind in TOOL_CALLS.kinds)
    names += ["StreamwatchReorderSpike"] * (kind.name == "sequence_out_of_order")
    names += ["StreamwatchFixRateBelowPublished"] * any(kind in one.kinds for one in alerts.FAULTS_WITH_FIGURES)
    return [*names, "StreamwatchErrorBudgetBurn", "StreamwatchNewAnomalyKind"]


def render() -> dict[str, str]:
    """Return the text of every kind's page, by its file name."""
    return {f"{kind.name}.md": kind_page(kind) for kind in KINDS.values()}


# --- what is true of all of them


def index() -> str:
    """Return the index, with what is published for the known issues in it."""
    text = (FOLDER / "README.md").read_text("utf-8")
    filled = "\n\n".join((_ISSUES, *map(_issue, ISSUES), _END_OF_ISSUES))
    return re.sub(f"{_ISSUES}.*?{_END_OF_ISSUES}", lambda _: filled, text, flags=re.DOTALL)


_ISSUES, _END_OF_ISSUES = "<!-- issues -->", "<!-- /issues -->"
_STRATEGIES = {strategy.value for strategy in Strategy}


def _issue(issue: Issue) -> str:
    kinds = ", ".join(f"[{kind.name}](kinds/{kind.name}.md)" for kind in KINDS.values() if kind.issue is issue)
    helps = [
        f"| {f'`{name}`' if name in _STRATEGIES else name} | fixes {ratio:.0%} |" for name, ratio in issue.workarounds
    ]
    ends = [f"| {name} | a dead end: fails in {ratio:.0%} |" for name, ratio in issue.dead_ends]
    table = "\n".join(("| workaround | published |", "|---|---|", *helps, *ends))
    said = f"*{issue.error}*; {issue.fix_ratio:.0%} of its cases are said to be fixable. Kinds: {kinds}."
    return f"### {issue.name}\n\n{said}\n\n{table}"


# --- alerts


def _facts(rules: list[Alert], options: Options) -> str:
    parts = []
    for rule in rules:
        waits = [f"severity **{rule.severity}**"]
        waits += [f"pending for {options.time(rule.wait)}"] * bool(rule.wait)
        waits += [f"kept for {options.time(rule.hold)} after it ends"] * bool(rule.hold)
        expression = textwrap.dedent(rule.expr).strip("\n")
        parts.append(f"{', '.join(waits)}; dashboard `{rule.dashboard}`\n\n```promql\n{expression}\n```")
    return "\n\n".join(parts)


def _with_looks(text: str, queries: list[str]) -> str:
    """Return a page whose queries behind the rule are those of the table, in their order."""
    before, mark, after = text.partition(_END)
    places = len(_QUERY.findall(after))
    if places != len(queries):
        raise SystemExit(f"{text.splitlines()[0]}: {places} blocks of promql behind the rule, and {len(queries)} looks")
    asked = iter(queries)
    return before + mark + _QUERY.sub(lambda _: _promql(next(asked)) + "\n", after)


#: A query in a step of a list.
_QUERY = re.compile(r"   ```promql\n.*?   ```\n", re.DOTALL)


def filled(options: Options | None = None) -> dict[str, str]:
    """Return the pages of the alerts, with what their rules say now."""
    options, pages = options or Options(), {}
    rules: dict[str, list[Alert]] = {}
    for rule in (*alerts.alerts(options), *waiting_rules.alerts(options)):
        rules.setdefault(rule.name, []).append(rule)
    for name, same in rules.items():
        path = FOLDER / f"{name}.md"
        if not path.exists():
            raise SystemExit(f"{name} has no page: write {path}, with `<!-- rule -->` and `<!-- /rule -->` in it")
        text = _with_looks(path.read_text("utf-8"), looks.queries(same[0]))
        facts = f"{_BEGIN}\n\n{_facts(same, options)}\n\n{_END}"
        pages[f"{name}.md"] = re.sub(f"{_BEGIN}.*?{_END}", lambda _: facts, text, flags=re.DOTALL)  # noqa: B023 -- used at once
    return pages
