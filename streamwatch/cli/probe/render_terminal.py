"""The report card of an endpoint, for a terminal: one screen, the worst first."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamwatch.cli.probe import scorecard

#: Rows of each table: all of them together are one screen. What is left out is in --json and --html.
_MAX_BROKEN, _MAX_HABITS, _MAX_KINDS = 8, 5, 6
_STYLES = {0: "bold green", 1: "bold red", 2: "bold yellow"}


def show(console: Console, record: dict[str, Any]) -> None:
    """Print the card. What a server chose is text here, never markup."""
    console.print(Text(f"{record['base_url']}  {record['model']}", style="bold"))
    console.print(Text(scorecard.headline(record), style=_STYLES[record["exit_code"]]))
    for sentence in scorecard.others(record):
        console.print(Text(f"  {sentence}"))
    broken = [row for row in record["invariants"] if not row["holds"]]
    _invariants(console, "Broken", [row for row in broken if row["matters"] and not row["told_by_kind"]], _MAX_BROKEN)
    _kinds(console, record["kinds"])
    _readers(console, record["readers"])
    habits = [row for row in broken if not row["matters"]]
    _invariants(console, "Habits that clients must cope with", habits, _MAX_HABITS)
    kept = len(record["invariants"]) - len(broken)
    if record["invariants"]:
        console.print(Text(f"\n{kept} of {len(record['invariants'])} invariants hold. {scorecard.speed(record)}"))


def _table(console: Console, title: str, *columns: str) -> Table:
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column(Text(title, style="bold not dim"), ratio=3)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _invariants(console: Console, title: str, rows: list[dict[str, Any]], most: int) -> None:
    if not rows:
        return
    table = _table(console, title, "in", "first at", "also at")
    for row in rows[:most]:
        style = "red" if row["matters"] else ""
        table.add_row(
            Text(row["sentence"], style=style),
            _places(row["broken_in"], row),
            f"event {row['first_at']['event']}" if row["first_at"] else "-",
            scorecard.in_company(row["compared"]),
        )
    console.print(table)
    _left(console, len(rows) - most)
    for row in (row for row in rows[:most] if row["matters"]):
        more = f" More: streamwatch explain {row['kind']}" if row["kind"] else ""
        console.print(Text(f"{row['invariant']}: {row['remedy']}{more}", style="dim"))


def _places(names: list[str], row: dict[str, Any]) -> Text:
    """Return the answers, by name while they are few."""
    return Text(", ".join(names) if len(names) <= 2 else f"{len(names)} of {row['looked_at']} answers")


def _kinds(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = _table(console, "Anomalies", "severity", "count", "first at", "Streamwatch", "also at")
    for row in rows[:_MAX_KINDS]:
        style = {"fault": "red"}.get(row["severity"], "")
        also = scorecard.in_company(row["compared"])
        place = f"{row['answers'][0]}, event {row['first_at']['event']}" if row["first_at"] else row["answers"][0]
        repaired = scorecard.repaired_text(row)
        table.add_row(Text(row["kind"], style=style), row["severity"], str(row["count"]), place, repaired, also)
    console.print(table)
    _left(console, len(rows) - _MAX_KINDS)
    for row in (row for row in rows[:_MAX_KINDS] if row["severity"] == "fault"):
        console.print(Text(f"{row['kind']}: {row['meaning']} More: streamwatch explain {row['kind']}", style="dim"))


def _readers(console: Console, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = _table(console, "Client code", "without Streamwatch", "with it")
    for row in rows:
        cells = (
            Text(scorecard.outcomes_text(row, column), style=_style(row[column])) for column in ("plain", "watched")
        )
        table.add_row(f"{row['api']}: {row['reader']}", *cells)
    console.print(table)


def _style(outcomes: dict[str, int]) -> str:
    return "green" if set(outcomes) <= scorecard.FINE else "red"


def _left(console: Console, count: int) -> None:
    if count > 0:
        console.print(Text(f"and {count} more: --json or --html FILE shows all", style="dim"))
