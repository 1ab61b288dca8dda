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
    return "\n".join([*lines, *_grouped(tally, examples)])


def _grouped(tally: Tally, examples: list[Finding]) -> list[str]:
    """Return the findings by what was repaired: all readers with their counts, then the examples."""
    readers: dict[str, Counter[str]] = defaultdict(Counter)
    for (kinds, reader), count in tally.groups.items():
        readers[kinds][reader] += count
    lines = []
    for kinds in sorted(readers, key=lambda kinds: -sum(readers[kinds].values())):
        lines.append(f"=== {kinds}: {sum(readers[kinds].values())}")
        lines.append("    " + ", ".join(f"{reader} {count}" for reader, count in readers[kinds].most_common()))
        lines += [described(finding) for finding in examples if finding.group[0] == kinds]
        lines.append("")
    return lines


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


def described(finding: Finding) -> str:
    """Return one finding: who is harmed, by what, and the smallest stream that shows it."""
    judged, case = finding.judged, finding.case
    lines = [
        f"--- {judged.verdict}: {case.base.api}, reader {judged.reader.name}, {judged.why}",
        (
            f"    stream:   {case.base.name}, change {' + '.join(case.changes) or 'none'}, seed {case.seed}, "
            f"read by {case.mode} in reads of {case.cut}"
        ),
        f"    request:  {_short(case.base.request)}",
        f"    plain:    {_outcome(judged.plain)}",
        f"    watched:  {_outcome(judged.watched)}",
    ]
    return "\n".join([*lines, *(f"    | {line}" for line in _lines(finding.events))])


def _lines(events: tuple[Any, ...]) -> list[str]:
    """Return the events, a line each: what all of them say alike is said once."""
    payloads = [event.payload for event in events if event.is_object]
    alike = {}
    if len(payloads) > 1:
        alike = {key: value for key, value in payloads[0].items() if all(_has(p, key, value) for p in payloads)}
    lines = [f"in every event: {_short(alike)}"] if alike else []
    for event in events:
        text = event.written().decode("utf-8", "replace").strip("\r\n").replace("\n", "; ")
        if event.is_object and event.raw is None:
            head = "".join(f"{key}: {value}; " for key, value in (("event", event.name), ("id", event.id)) if value)
            text = f"{head}data: " + _short({k: v for k, v in event.payload.items() if k not in alike}, 2 * _SHOWN)
        lines.append(text[: 2 * _SHOWN])
    return lines


def _has(payload: Any, key: str, value: Any) -> bool:
    return key in payload and repr(payload[key]) == repr(value)


def _outcome(outcome: Any) -> str:
    if outcome.raised or outcome.error:
        return f"raises {': '.join(outcome.raised or outcome.error)}; {_short(outcome.value)}"
    return _short(outcome.value)


def _short(value: Any, most: int = _SHOWN) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= most else f"{text[:most]}..."


def changed_by_kind(tally: Tally) -> str:
    """Return what each kind of repair changes for whom: for the docs of a policy that repairs more than is proved."""
    readers: dict[str, Counter[str]] = defaultdict(Counter)
    for (kind, reader), count in tally.by_kind.items():
        readers[kind][reader] += count
    rows = ["| kind | readers that end otherwise |", "|---|---|"]
    for kind in sorted(readers):
        found = ", ".join(f"{reader} ({count})" for reader, count in readers[kind].most_common())
        rows.append(f"| `{kind}` | {found} |")
    return "\n".join(rows)


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
