"""The tables of the demo: what was found, what was repaired, and what the application saw of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamwatch.cli.common.measured import Measured
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.stream_cases import ANY_FAULT, CONTENT, ORDER, TOOL_CALLS, CaseDefinition, CaseRate
from streamwatch.core.vocabulary import Outcome, Severity, Strategy
from streamwatch.synthetic.faults import FAULTS

_COLOURS = {Severity.FAULT: "red", Severity.DIALECT: "yellow", Severity.HAZARD: "cyan"}

#: Lines that everything but the anomalies and the errors takes; and the fewest rows worth showing of those.
_FRAME_LINES, _FEWEST_ROWS = 27, 6

#: Errors of the application that are shown: the ones it really suffers from are the most frequent.
_MOST_ERRORS = 8


@dataclass(frozen=True)
class View:
    """The whole picture at one moment."""

    title: str
    observe: bool
    measured: Measured = field(default_factory=Measured)
    sent: dict[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    beside: dict[str, Any] = field(default_factory=dict)  #: what the application without Streamwatch saw


def draw(view: View, height: int | None = None) -> RenderableType:
    """Return the whole picture; `height` is that of the terminal it has to fit, None shows everything."""
    rows = None if height is None else max(_FEWEST_ROWS, height - _FRAME_LINES)
    notices = list(view.notices)
    if view.measured.internal_errors:
        notices.append(f"{view.measured.internal_errors} errors of Streamwatch's own: please report them")
    parts: list[RenderableType] = [Text(view.title, style="bold"), *(Text(line, "yellow") for line in notices)]
    tables = (issues(view), _anomalies(view, rows), _application(view))
    return Group(*parts, Text(_streams(view)), *(Padding(table, (1, 0, 0, 0)) for table in tables))


def injected(faults: dict[str, int]) -> Counter[str]:
    """Return how many streams were sent that must show each kind, given how often each fault was sent."""
    kinds: Counter[str] = Counter()
    for name, count in faults.items():
        if name in FAULTS:
            kinds.update({kind.name: count for kind in FAULTS[name].kinds})
    return kinds


def _streams(view: View) -> str:
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in view.measured.verdicts.most_common())
    versions, snapshots = sorted(view.measured.openai_versions), sorted(view.measured.snapshots)
    return (
        f"{view.measured.streams} streams seen of {view.sent.get('streams', 0)} sent: {verdicts or 'none ended yet'}\n"
        f"openai {', '.join(versions) or '?'}; {', '.join(snapshots) or 'no snapshot yet'}"
    )


#: What stands in the table of issues: the headline, the known issues, and what nobody published a figure of.
ISSUES = (ANY_FAULT, ORDER, TOOL_CALLS)


def issues(view: View, *, one_line: bool = False) -> RenderableType:
    """Return what was measured of streams, beside what is published, and apart from it what is not a repair.

    With `one_line` a title that is too long is cut, where it would take a second line.
    """
    applied, repaired = not view.observe, _repaired(view)
    table = columns("streams with", "published", "measured", "95 % sure", repaired, "verdict")
    for definition in ISSUES:
        named = line(title(definition)) if one_line else title(definition)
        table.add_row(named, *_issue_row(definition, view.measured.rate_of(definition, applied=applied)))
    return Group(table, *(line(text, "dim") for text in issue_notes(view)))


def issue_notes(view: View) -> list[str]:
    """Return what stands below the table of issues, a line each: what is not a fault, and what is not a repair."""
    return [text for text in (_defused(view), _not_repairable(view)) if text]


def _issue_row(definition: CaseDefinition, rate: CaseRate) -> list[RenderableType]:
    published = None if definition.published is None else definition.published[1]
    return [
        percent(published),
        Text(percent(rate.fix_ratio), "bold"),
        "-" if rate.interval is None else "{:.0%} to {:.0%}".format(*rate.interval),
        f"{rate.fixed} of {rate.cases}",
        "" if published is None or not rate.cases else rate.against(published),
    ]


def title(definition: CaseDefinition) -> str:
    """Return what people call the streams of a definition: by the error that they know, if there is one."""
    if definition is ANY_FAULT:
        return "anything wrong"
    return definition.known.error.partition(" - ")[0] if definition.known else definition.name.replace("_", " ")


def _defused(view: View) -> str:
    """Return what was done about legal streams that naive code breaks on."""
    rate = view.measured.rate_of(CONTENT, applied=not view.observe)
    if not rate.cases:
        return ""
    published = "" if CONTENT.published is None else f", published {percent(CONTENT.published[1])}"
    fixed = f"{rate.fixed} of {rate.cases} ({percent(rate.fix_ratio)}{published})"
    return f"hazards {'to defuse' if view.observe else 'defused'}, {title(CONTENT)}: {fixed}"


def _not_repairable(view: View) -> str:
    """Return how many streams showed each kind that nothing can repair."""
    counts = {
        kind.name: rate.cases
        for kind in KINDS.values()
        if kind.strategy is Strategy.NONE and (rate := view.measured.rate_of_kind(kind, applied=not view.observe))
    }
    told = ", ".join(f"{name} {count}" for name, count in Counter(counts).most_common() if count)
    return f"cannot be repaired: {told}" if told else ""


def _anomalies(view: View, rows: int | None) -> Table:
    repaired = _repaired(view)
    table = columns("anomaly", "severity", "sent", "found", "streams", repaired, "failed")
    sent = injected(view.sent.get("faults", {}))
    kinds = [kind for kind in KINDS.values() if view.measured.anomalies[kind.name] or sent[kind.name]]
    kinds.sort(key=lambda kind: list(_COLOURS).index(kind.severity))  # faults first: they are what is cut last
    for kind in kinds[:rows]:
        table.add_row(*_row(kind, view, sent))
    if rows is not None and len(kinds) > rows:
        table.caption = f"and {len(kinds) - rows} more kinds: enlarge the terminal, or wait for the summary"
    elif kinds:
        table.caption = "`found` counts anomalies, all else streams."
    table.caption_justify = "left"
    return table


def _row(kind: AnomalyKind, view: View, sent: Counter[str]) -> list[RenderableType]:
    numbers = [str(number) for number in outcomes(view.measured.rate_of_kind(kind, applied=not view.observe))]
    severity = Text(kind.severity.value, _COLOURS[kind.severity])
    found = str(view.measured.anomalies[kind.name])
    return [line(kind.name), severity, str(sent[kind.name] or ""), found, *(numbers or ["-"] * 3)]


def outcomes(rate: CaseRate | None) -> tuple[int, ...]:
    """Return how many streams were cases, were repaired, and failed; nothing where no case is counted."""
    if rate is None:
        return ()
    return rate.cases, rate.fixed, rate[Outcome.FAILED]


def _application(view: View) -> Table:
    """Return what the application saw, and beside it what the same one saw without Streamwatch."""
    sides = [view.totals, view.beside] if view.beside else [view.totals]
    names = ("with Streamwatch", "without") if view.beside else ("requests",)
    failed = [Counter[str](side.get("failed", {})) for side in sides]
    table = columns("what the application saw", *names)
    table.add_row(line("answered", "green"), *(str(side.get("ok", 0)) for side in sides))
    table.add_row(line("failed", "red"), *(str(sum(counts.values())) for counts in failed))
    worst: Counter[str] = sum(failed, Counter())
    for error, _ in worst.most_common(_MOST_ERRORS):
        table.add_row(line(f"  {error}"), *(str(counts[error] or "-") for counts in failed))
    return table


def _repaired(view: View) -> str:
    return "fixable" if view.observe else "repaired"


def columns(*names: str) -> Table:
    """Return a table of words and numbers: where it is too narrow, the words of the first column give way."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(names[0])
    for column in names[1:]:
        justify: Literal["left", "right"] = "left" if column == "severity" else "right"
        table.add_column(column, justify=justify, no_wrap=True, min_width=len(column))
    return table


def line(text: str, style: str = "") -> Text:
    """Return words that are cut where they are too long, instead of taking a second line."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def percent(ratio: float | None) -> str:
    """Return a share; `-` where there is none."""
    return "-" if ratio is None else f"{ratio:.1%}"
