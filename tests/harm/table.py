"""The figures for people: verdicts by change, reader and source, and the shrunk examples."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from .finder import Finding, Tally
from .judge import BAD, VERDICTS

#: Characters of a result or of an event that are shown.
_SHOWN = 300


def rendered(tally: Tally, examples: list[Finding], *, rows: int = 0) -> str:
    """Return the whole page; of each table the worst `rows`, or all."""
    lines = [_headline(tally), ""]
    for title, counts in (("source", tally.by_source), ("change", tally.by_change), ("reader", tally.by_reader)):
        lines += [*_table(title, counts, rows), ""]
    lines += ["why", *(f"{count:8} {why}" for why, count in tally.why.most_common(rows or None)), ""]
    for finding in sorted(examples, key=lambda finding: -tally.groups[finding.group]):
        lines += [described(finding, tally.groups[finding.group]), ""]
    return "\n".join(lines)


def _headline(tally: Tally) -> str:
    counts = ", ".join(f"{tally.verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{tally.combinations} combinations of {tally.cases} streams: {counts}"


def _table(title: str, counts: Counter[tuple[str, str]], rows: int) -> list[str]:
    names: dict[str, dict[str, int]] = defaultdict(dict)
    for (name, verdict), count in counts.items():
        names[name][verdict] = count
    worst = sorted(names, key=lambda name: (-sum(names[name].get(verdict, 0) for verdict in BAD), name))
    head = f"{title:44}" + "".join(f"{verdict:>10}" for verdict in VERDICTS)
    body = [f"{name:44}" + "".join(f"{names[name].get(v, 0):10}" for v in VERDICTS) for name in worst]
    return [head, *(body[:rows] if rows else body)]


def described(finding: Finding, count: int = 1) -> str:
    """Return one finding: who is harmed, by what, and the smallest stream that shows it."""
    judged, case = finding.judged, finding.case
    lines = [
        f"--- {judged.verdict}: {case.base.api}, reader {judged.reader.name}, {judged.why} ({count} of this group)",
        f"    reported: {', '.join(finding.kinds) or 'nothing'}",
        f"    stream:   {case.base.name}, change {' + '.join(case.changes) or 'none'}, seed {case.seed}, "
        f"read by {case.mode} in reads of {case.cut}",
        f"    request:  {_short(case.base.request)}",
        f"    plain:    {_outcome(judged.plain)}",
        f"    watched:  {_outcome(judged.watched)}",
    ]
    lines += [f"    | {line}" for event in finding.events for line in _lines(event)]
    return "\n".join(lines)


def _lines(event: Any) -> list[str]:
    text = event.written().decode("utf-8", "replace").strip("\r\n")
    return [line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..." for line in text.splitlines() if line]


def _outcome(outcome: Any) -> str:
    if outcome.raised or outcome.error:
        return f"raises {': '.join(outcome.raised or outcome.error)}; {_short(outcome.value)}"
    return _short(outcome.value)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def as_data(tally: Tally, examples: list[Finding]) -> dict[str, Any]:
    """Return the figures and the examples as JSON."""
    return {
        "cases": tally.cases,
        "verdicts": dict(tally.verdicts),
        **{name: _nested(getattr(tally, f"by_{name}")) for name in ("source", "change", "reader", "kind")},
        "why": dict(tally.why),
        "examples": [_example(finding, tally.groups[finding.group]) for finding in examples],
    }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    result: dict[str, dict[str, int]] = defaultdict(dict)
    for (name, other), count in sorted(counts.items()):
        result[name][other] = count
    return dict(result)


def _example(finding: Finding, count: int) -> dict[str, Any]:
    case, judged = finding.case, finding.judged
    return {
        "count": count,
        "verdict": judged.verdict,
        "why": judged.why,
        "reader": judged.reader.name,
        "api": case.base.api,
        "kinds": finding.kinds,
        "stream": case.base.name,
        "changes": case.changes,
        "seed": case.seed,
        "mode": case.mode,
        "request": case.base.request,
        "plain": repr(judged.plain),
        "watched": repr(judged.watched),
        "body": b"".join(event.written() for event in finding.events).decode("utf-8", "replace"),
    }
