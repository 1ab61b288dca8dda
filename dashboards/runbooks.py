"""Runbooks: one page for each kind of anomaly, and the facts in the pages of the alerts.

The pages of the kinds come out of the table of kinds and of `streamwatch.cli.kinds.explanations`. The pages of the
alerts are written by people; between two marks in each stands what the rule says.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from dashboards import alerts, records, waiting_rules
from dashboards.alerts import Alert
from dashboards.records import Options
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, STREAM_STALLED, AnomalyKind
from streamwatch.core.known_issues import Issue
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
_REPORTED = "It is reported only: nothing that is on the wire could repair it, or a repair would be a guess."
#: Evidence that no stream can give: repairs end `unverified`.
_NO_EVIDENCE = (Evidence.SHAPE, Evidence.NONE)
#: Levels that repair more, or elsewhere, when they are asked for.
_ASKED_FOR = (Level.AUTO, Level.HELPER, Level.OPT_IN)


# --- kinds


def kind_page(kind: AnomalyKind) -> str:
    """Everything a person needs who was sent here by an alert, a log line or a graph."""
    known = EXPLANATIONS[kind.name]
    sections = {
        "What the application sees": known.symptom,
        "Who sends it": f"{known.senders[0].upper()}{known.senders[1:]}.",
        "What Streamwatch does": _repair(kind),
        "What helps": _help(kind, known.advice),
        "What does not help": _dead_ends(kind.issue),
        "How to prove it": _proof(kind),
        "Alerts": _alerts_of(kind),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    severity = _SILENCE if kind is STREAM_STALLED else _SEVERITIES[kind.severity]
    facts = f"Severity: {severity}. Seen in: {', '.join(kind.surfaces)}."
    return f"# {kind.name}\n\n{kind.meaning}\n\n{facts}\n\n{text}\n"


def _repair(kind: AnomalyKind) -> str:
    if kind.strategy is Strategy.NONE:
        return _REPORTED
    on = f" `STREAMWATCH_REPAIR=default,+{kind.name}` asks for it." if kind.level in _ASKED_FOR else ""
    off = f" `STREAMWATCH_REPAIR=default,-{kind.name}` leaves it alone." if kind.level is not Level.OPT_IN else ""
    does = f"`{kind.strategy.value}`: {kind.strategy.meaning}. It is repaired {kind.level.meaning}.{on}{off}"
    ends = "repairs end `unverified`" if kind.evidence in _NO_EVIDENCE else "`verified`, else `failed`"
    return f"{does}\n\nEvidence: {kind.evidence.meaning}: {ends}."


def _help(kind: AnomalyKind, advice: str) -> str:
    issue = kind.issue
    if issue is None:
        return advice
    rows = [
        f"| {'`' + name + '`' if name in _STRATEGIES else name} | {ratio:.0%} |" for name, ratio in issue.workarounds
    ]
    table = "\n".join(("| workaround | published success |", "|---|---|", *rows))
    known = f"It belongs to the known issue `{issue.name}` (*{issue.error}*)."
    known += f" {issue.fix_ratio:.0%} of its cases are said to be fixable:"
    ours = "The measured rate is on the dashboard `streamwatch-fix-rates`; published figures are estimates."
    return f"{advice}\n\n{known}\n\n{table}\n\n{ours}"


_STRATEGIES = {strategy.value for strategy in Strategy}


def _dead_ends(issue: Issue | None) -> str:
    if issue is None:
        return ""
    return "\n".join(
        f"- {name[0].upper()}{name[1:]}: fails in {ratio:.0%} of the cases." for name, ratio in issue.dead_ends
    )


def _proof(kind: AnomalyKind) -> str:
    options = Options(keep=())
    where = ("server_address", "gen_ai_response_model")
    found = records.total(records.ANOMALIES, options, "1h", f'{{streamwatch_anomaly="{kind.name}"}}', by=where)
    steps = [
        f"`streamwatch explain {kind.name}` says what was found, in the words of the version that runs.",
        f"{_CAPTURE_HAZARD if kind.severity is Severity.HAZARD else _CAPTURE.format(name=kind.name)}",
        f"See where it comes from:\n\n{_promql(found)}",
    ]
    if kind.strategy is not Strategy.NONE:
        by = ("streamwatch_outcome", "streamwatch_applied")
        ended = records.total(records.CASES, options, "1d", f'{{streamwatch_issue="{kind.name}"}}', by=by)
        steps.append(f"See what became of it, by streams:\n\n{_promql(ended)}")
    return "\n\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _promql(query: str) -> str:
    """Return a query as a block within a step of a list."""
    return textwrap.indent(f"```promql\n{query}\n```", "   ")


_CAPTURE = (
    "Set `STREAMWATCH_CAPTURE_DIR=/var/tmp/streams` and restart the application: anomalous streams are kept there as"
    " `.sse` files, their content masked. `grep -l 'kinds=.*{name}' /var/tmp/streams/*.sse` finds those of this kind."
)
_CAPTURE_HAZARD = (
    "A stream that shows hazards alone is not kept by `STREAMWATCH_CAPTURE_DIR`: nearly every healthy one has some. Its"
    " span has an event `streamwatch.anomaly` for each kind."
)


def alerts_of(kind: AnomalyKind) -> list[str]:
    """The alerts that a kind can make fire."""
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


def _alerts_of(kind: AnomalyKind) -> str:
    names = alerts_of(kind)
    return "\n".join(f"- [{name}](../{name}.md)" for name in names) if names else "None, by design."


def render() -> dict[str, str]:
    """The text of every kind's page, by its file name."""
    return {f"{kind.name}.md": kind_page(kind) for kind in KINDS.values()}


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


def filled(options: Options | None = None) -> dict[str, str]:
    """The pages of the alerts, with what their rules say now."""
    options, pages = options or Options(), {}
    rules: dict[str, list[Alert]] = {}
    for rule in (*alerts.alerts(options), *waiting_rules.alerts(options)):
        rules.setdefault(rule.name, []).append(rule)
    for name, same in rules.items():
        path = FOLDER / f"{name}.md"
        if not path.exists():
            raise SystemExit(f"{name} has no page: write {path}, with `<!-- rule -->` and `<!-- /rule -->` in it")
        text = path.read_text("utf-8")
        facts = f"{_BEGIN}\n\n{_facts(same, options)}\n\n{_END}"
        pages[f"{name}.md"] = re.sub(f"{_BEGIN}.*?{_END}", lambda _: facts, text, flags=re.DOTALL)  # noqa: B023 -- used at once
    return pages
