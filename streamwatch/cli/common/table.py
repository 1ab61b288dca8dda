"""How the demo looks: what was found, what was repaired, and what the application saw of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamwatch.cli.common.measured import Measured, Rate
from streamwatch.core.kinds import KINDS, AnomalyKind, Outcome, Severity, Strategy
from streamwatch.core.known_issues import ISSUES
from streamwatch.synthetic.faults import FAULTS

_COLOURS = {Severity.FAULT: "red", Severity.DIALECT: "yellow", Severity.HAZARD: "cyan"}

#: Lines that everything but the anomalies and the errors takes; and the fewest rows worth showing of those.
_FRAME_LINES, _FEWEST_ROWS = 24, 6

#: Errors of the application that are shown: the ones it really suffers from are the most frequent.
_MOST_ERRORS = 8


@dataclass(frozen=True)
class View:
    """Everything that is shown, at one moment."""

    title: str
    observe: bool
    measured: Measured = field(default_factory=Measured)
    sent: dict[str, Any] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def draw(view: View, height: int | None = None) -> RenderableType:
    """The whole picture; `height` is that of the terminal it has to fit, None shows everything."""
    rows = None if height is None else max(_FEWEST_ROWS, height - _FRAME_LINES)
    notices = list(view.notices)
    if view.measured.internal_errors:
        notices.append(f"{view.measured.internal_errors} errors of Streamwatch's own: please report them")
    parts: list[RenderableType] = [Text(view.title, style="bold"), *(Text(line, "yellow") for line in notices)]
    tables = (issues(view), _anomalies(view, rows), _application(view))
    return Group(*parts, Text(_streams(view)), *(Padding(table, (1, 0, 0, 0)) for table in tables))


def injected(faults: dict[str, int]) -> Counter[str]:
    """How many streams were sent that must show each kind, given how often each fault was sent."""
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


def issues(view: View) -> Table:
    """What was measured of the known issues, beside what is published."""
    repaired = _repaired(view)
    table = columns("known issue", "published", "measured", repaired, "proved right")
    for issue in ISSUES:
        rate = view.measured.rate_of(issue)
        table.add_row(
            issue.error,
            percent(issue.fix_ratio),
            Text(percent(rate.fix_ratio), "bold"),
            f"{rate.fixed} of {rate.detected}",
            percent(rate.verified_ratio),
        )
    return table


def _anomalies(view: View, rows: int | None) -> Table:
    repaired = _repaired(view)
    table = columns("anomaly", "severity", "broken", "found", repaired, "verified", "failed", "left")
    sent = injected(view.sent.get("faults", {}))
    kinds = [kind for kind in KINDS.values() if view.measured.anomalies[kind.name] or sent[kind.name]]
    kinds.sort(key=lambda kind: list(_COLOURS).index(kind.severity))  # faults first: they are what is cut last
    for kind in kinds[:rows]:
        table.add_row(*_row(kind, view.measured, sent))
    if rows is not None and len(kinds) > rows:
        table.caption = f"and {len(kinds) - rows} more kinds: enlarge the terminal, or wait for the summary"
    elif kinds:
        table.caption = "`broken` counts streams, the rest anomalies; healthy streams have hazards too."
    table.caption_justify = "left"
    return table


def _row(kind: AnomalyKind, measured: Measured, sent: Counter[str]) -> list[RenderableType]:
    rate = measured.rate([kind])
    outcomes = [str(number) for number in _outcomes(rate)] if kind.strategy is not Strategy.NONE else ["-"] * 4
    severity = Text(kind.severity.value, _COLOURS[kind.severity])
    return [line(kind.name), severity, str(sent[kind.name] or ""), str(measured.anomalies[kind.name]), *outcomes]


def _outcomes(rate: Rate) -> tuple[int, ...]:
    return rate.fixed, rate[Outcome.VERIFIED], rate[Outcome.FAILED], rate[Outcome.UNREPAIRED]


def _application(view: View) -> Table:
    failed: Counter[str] = Counter(view.totals.get("failed", {}))
    table = columns("what the application saw", "requests")
    table.add_row(line("answered", "green"), str(view.totals.get("ok", 0)))
    table.add_row(line("failed", "red"), str(sum(failed.values())))
    for error, count in failed.most_common(_MOST_ERRORS):
        table.add_row(line(f"  {error}"), str(count))
    return table


def _repaired(view: View) -> str:
    return "fixable" if view.observe else "repaired"


def columns(*names: str) -> Table:
    """A table of words and numbers: where it is too narrow, the words of the first column give way."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(names[0])
    for column in names[1:]:
        justify: Literal["left", "right"] = "left" if column == "severity" else "right"
        table.add_column(column, justify=justify, no_wrap=True, min_width=len(column))
    return table


def line(text: str, style: str = "") -> Text:
    """Words that give way by being cut, not by a second line."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def percent(ratio: float | None) -> str:
    """A share; `-` where there is none."""
    return "-" if ratio is None else f"{ratio:.1%}"
