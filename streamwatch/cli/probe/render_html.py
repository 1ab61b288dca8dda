"""The report card as a page: one file, nothing in it comes from elsewhere, and no script is in it.

The page is built as a tree of elements and written by the standard library, which escapes every text and attribute:
nothing that a server chose can become markup. The plots are rectangles and circles of SVG in the same tree; a plotting
library would bring a megabyte of script, or pictures that know neither a phone nor a dark room.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from streamwatch.cli.probe import scorecard

_CSS = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1a1d21; --dim: #5b636d; --line: #d9dde2; --bad: #b3261e;
  --good: #1b7f3b; --odd: #8a5a00; --bar: #3867d6; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171a; --fg: #e8eaed; --dim: #9aa3ad; --line: #333a42;
  --bad: #ff8a80; --good: #7bd88f; --odd: #ffc266; --bar: #7ea2ff; } }
body { background: var(--bg); color: var(--fg); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem;
  padding: 1.5rem 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .dim, th, footer { color: var(--dim); font-weight: normal; }
.bad { color: var(--bad); } .good { color: var(--good); } .odd { color: var(--odd); } .verdict { font-size: 1.2rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); }
@media (max-width: 40rem) { th { display: none; } tr, td { display: block; } tr { padding: .5rem 0;
  border-bottom: 1px solid var(--line); } td { border: 0; padding: 0; } td:empty { display: none; }
  td[data-of]::before { content: attr(data-of) ": "; color: var(--dim); } }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--fg); font: 11px system-ui, sans-serif; }
svg .dim { fill: var(--dim); } svg line { stroke: var(--line); } svg circle, svg rect { fill: var(--bar); }
svg .wait { fill: var(--line); } pre { white-space: pre-wrap; font-size: .85rem; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
#: Width of the plots in units of their own; the screen scales them.
_WIDTH, _LEFT, _ROW = 600, 130, 20

Child = "ET.Element | str | None"


def written(record: dict[str, Any]) -> str:
    """Return the page of a record."""
    head = _e(
        "head",
        _e("meta", charset="utf-8"),
        _e("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        _e("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _e("title", f"Streamwatch: {record['base_url']}"),
        _e("style", _CSS),
    )
    broken = [row for row in record["invariants"] if not row["holds"]]
    body = _e(
        "body",
        *_head(record),
        *_broken("Broken", [row for row in broken if row["matters"]]),
        *_kinds(record["kinds"]),
        *_readers(record["readers"]),
        *_arrivals(record["answers"]),
        *_broken("Habits that clients must cope with", [row for row in broken if not row["matters"]]),
        *_answers(record["answers"]),
        *_kept([row for row in record["invariants"] if row["holds"]]),
        _foot(record),
    )
    return (
        "<!doctype html>\n" + ET.tostring(_e("html", head, body, lang="en"), encoding="unicode", method="html") + "\n"
    )


def _e(tag: str, *children: Any, **attributes: str) -> ET.Element:
    """Make an element; a dict among the children has attributes, `cls` is the class."""
    element = ET.Element(tag)
    for child in children:
        if isinstance(child, dict):
            attributes = {**attributes, **child}
    for name, value in attributes.items():
        element.set("class" if name == "cls" else name, value)
    for child in children:
        if isinstance(child, ET.Element):
            element.append(child)
        elif isinstance(child, str):
            _add_text(element, child)
    return element


def _add_text(element: ET.Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


# --- the parts


def _head(record: dict[str, Any]) -> list[ET.Element]:
    tone = {0: "good", 1: "bad", 2: "odd"}[record["exit_code"]]
    return [
        _e("h1", record["base_url"]),
        _e("p", f"{record['model']}, {record['at']}", cls="dim"),
        _e("p", scorecard.headline(record), cls=f"verdict {tone}"),
        *(_e("p", sentence) for sentence in scorecard.others(record)),
        _e("p", scorecard.speed(record), cls="dim"),
    ]


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[ET.Element]:
    """Return a heading and a table; a cell is a text, or a text and its class."""
    columns = list(columns)
    head = _e("tr", *(_e("th", column) for column in columns))
    lines = [_e("tr", *map(_cell, row, columns)) for row in rows]
    return [_e("h2", title), _e("div", _e("table", head, *lines), cls="scroll")] if lines else []


def _cell(cell: Any, column: str) -> ET.Element:
    """Return a cell that knows its column: on a phone it stands below the one before."""
    named = {"data-of": column} if column else {}
    return _e("td", cell[0], named, cls=cell[1]) if isinstance(cell, tuple) else _e("td", cell, named)


def _broken(title: str, rows: list[dict[str, Any]]) -> list[ET.Element]:
    def line(row: dict[str, Any]) -> tuple[Any, ...]:
        tone = "bad" if row["matters"] else "odd"
        at = scorecard.position(row["broken_in"], row["first_at"])
        also = scorecard.in_company(row["compared"])
        return (row["sentence"], tone), row["invariant"], _places(row), at, row["remedy"], also

    return _table(title, ("", "invariant", "in", "first at", "what to do", "broken also at"), map(line, rows))


def _kept(rows: list[dict[str, Any]]) -> list[ET.Element]:
    def line(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["sentence"], row["invariant"], _places(row), scorecard.in_company(row["compared"])

    return _table("Invariants that hold", ("", "invariant", "in", "broken also at"), map(line, rows))


def _places(row: dict[str, Any]) -> str:
    count, names = len(row["broken_in"]), ", ".join(row["broken_in"])
    if not count:
        return f"{row['looked_at']} answers"
    return f"all {count} answers" if count == row["looked_at"] > 2 else names


def _kinds(rows: list[dict[str, Any]]) -> list[ET.Element]:
    def line(row: dict[str, Any]) -> tuple[Any, ...]:
        tone = {"fault": "bad", "dialect": "odd"}.get(row["severity"], "")
        at = scorecard.position(row["answers"], row["first_at"])
        facts = str(row["count"]), at, scorecard.repaired_text(row), scorecard.in_company(row["compared"])
        return (row["kind"], tone), row["meaning"], row["severity"], *facts

    columns = ("kind", "", "severity", "count", "first at", "Streamwatch", "also at")
    return _table("Anomalies", columns, map(line, rows))


def _readers(rows: list[dict[str, Any]]) -> list[ET.Element]:
    def line(row: dict[str, Any]) -> tuple[Any, ...]:
        cells = (
            (scorecard.outcomes_text(row, column), "good" if set(row[column]) <= scorecard.FINE else "bad")
            for column in ("plain", "watched")
        )
        return f"{row['api']}: {row['reader']}", row["meaning"], *cells

    return _table("Client code", ("", "what it does", "without Streamwatch", "with it"), map(line, rows))


def _answers(rows: list[dict[str, Any]]) -> list[ET.Element]:
    def line(row: dict[str, Any]) -> tuple[Any, ...]:
        tone = "bad" if row["faults"] or row["state"] == "failed" else "good" if row["state"] == "answered" else "odd"
        found = ", ".join(row.get("kinds", ()))
        said = (row.get("response_model", ""), ", ".join(row.get("finish_reasons", ())))
        return (row["answer"], tone), row["title"], row.get("verdict") or row["state"], *said, found

    table = _table("Answers", ("", "what was asked", "verdict", "model", "finish", "anomalies"), map(line, rows))
    texts = [
        _e("pre", "\n".join([each["answer"], each["text"], *each["tool_calls"]])) for each in rows if "text" in each
    ]
    return [*table, *([_e("h2", "What the model said"), *texts] if texts else [])]


def _foot(record: dict[str, Any]) -> ET.Element:
    made = f"Made by streamwatch probe {record['streamwatch']} with openai {record['openai']}."
    compared = scorecard.providers()["streams"]
    basis = f"Compared with {sum(compared.values()):,} recorded streams of {len(compared)} providers."
    return _e("footer", _e("p", made), _e("p", basis))


# --- the plot


def _arrivals(answers: list[dict[str, Any]]) -> list[ET.Element]:
    """Draw when the events of each answer came: a bar for the wait, and a dot for every event."""
    rows = [each for each in answers if each.get("arrivals")]
    if not rows:
        return []
    longest = max(max(each["arrivals"][-1], 0.001) for each in rows)
    height = _ROW * len(rows) + 18
    drawn = [shape for place, each in enumerate(rows) for shape in _row(each, place * _ROW, longest)]
    axis = [
        _e("line", x1=str(_LEFT), x2=str(_WIDTH), y1=str(height - 17), y2=str(height - 17)),
        _e("text", "request sent", {"x": str(_LEFT), "y": str(height - 4), "class": "dim"}),
        _e("text", f"{longest:.2f} s", {"x": str(_WIDTH), "y": str(height - 4), "class": "dim", "text-anchor": "end"}),
    ]
    title = _e("title", "When the events of each answer came")
    plot = _e("svg", {"viewBox": f"0 0 {_WIDTH + 4} {height}", "role": "img"}, title, *drawn, *axis)
    return [_e("h2", "When events came"), plot]


def _row(answer: dict[str, Any], top: int, longest: float) -> list[ET.Element]:
    scale = (_WIDTH - _LEFT) / longest
    wait = f"{answer['arrivals'][0] * scale:.1f}"
    middle = str(top + 9)
    return [
        _e("text", answer["answer"][:20], {"x": "0", "y": str(top + 13)}),
        _e("rect", x=str(_LEFT), y=str(top + 7), width=wait, height="4", cls="wait"),
        *(_e("circle", cx=f"{_LEFT + seconds * scale:.1f}", cy=middle, r="2.5") for seconds in answer["arrivals"]),
    ]
