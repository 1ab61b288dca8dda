"""The forms of a checked stream: lines and tables for people, JSON for programs.

What came off a wire is shown without its control characters: a recording must not write to anybody's terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamwatch.cli.check.replay import Position, Replay
from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.vocabulary import Condition, Outcome, Severity, Strategy

if TYPE_CHECKING:
    from rich.table import Table

    from streamwatch.cli.common.client_code import Answer, Reader

#: Characters of a text in a cell, and of the part before the first difference: two cells fit on a line.
_SHOWN, _BEFORE = 60, 20
#: Positions shown of a kind; `--json` has more.
_POSITIONS = 3
_STYLES = {Severity.FAULT: "red", Severity.DIALECT: "yellow", Severity.HAZARD: "dim"}
_CONDITIONS = {Condition.CLEAN: "green", Condition.REPAIRED: "yellow", Condition.BROKEN: "red"}


@dataclass(frozen=True)
class Comparison:
    """The answers that one reader gets of a stream, without and with Streamwatch."""

    reader: Reader
    plain: Answer
    repaired: Answer

    @property
    def is_same(self) -> bool:
        """Whether Streamwatch makes no difference to it."""
        return self.plain == self.repaired


def printable(text: str) -> str:
    """Return a text off the wire without control characters."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]


# --- for people


def line(replay: Replay) -> str:
    """Return a stream on one line."""
    report = replay.report
    serious = [kind for kind in report.anomalies if kind.severity is not Severity.HAZARD]
    found = ", ".join(f"{kind.name} {report.anomalies[kind]}" for kind in serious)
    label = "ok" if replay.is_well else _condition(replay)
    facts = ", ".join(filter(None, (_verdict(replay), report.api, model_of(replay))))
    told = f"{label:<8}  {printable(replay.recording.name)}  {facts}"
    return f"{told}: {found}" if found else told


def headline(replay: Replay) -> str:
    """Return what a stream is, and how it ended."""
    report, recording = replay.report, replay.recording
    what = [recording.format, report.api, model_of(replay), printable(recording.host)]
    size = f"{report.events:,} events, {len(recording.body):,} bytes"
    return f"{', '.join(filter(None, what))}; {size}"


def conclusion(replay: Replay) -> list[tuple[str, str]]:
    """Return verdict and condition, each with its style."""
    style = _CONDITIONS[replay.report.condition] if replay.report.verdict else "red"
    return [(f"verdict {_verdict(replay)}, ", ""), (f"condition {_condition(replay)}", style)]


def findings(replay: Replay) -> Table:
    """Return the anomalies of a stream: how many, where, and what repairs came to."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("kind", "severity", "found", _where(replay), "repair"):
        table.add_column(name, header_style="bold", justify="right" if name == "found" else "left", overflow="fold")
    for kind, count in by_severity(replay.report.anomalies):
        style = _STYLES[kind.severity]
        places = _places(replay.positions.get(kind, ()), count)
        cells = (kind.severity.value, str(count), places, _repair(kind, replay))
        table.add_row(Text(kind.name, style), *map(Text, cells))
    return table


def by_severity(anomalies: Mapping[AnomalyKind, int]) -> list[tuple[AnomalyKind, int]]:
    """Return the kinds with the worst first; equals stay in the order in which they were found."""
    order = (Severity.FAULT, Severity.DIALECT, Severity.HAZARD)
    return sorted(anomalies.items(), key=lambda pair: order.index(pair[0].severity))


def advice(replay: Replay) -> str:
    """Return where to read more of the worst that was found; nothing where all is well."""
    faults = [kind.name for kind, _ in by_severity(replay.report.anomalies) if kind.severity is Severity.FAULT]
    return f"More: streamwatch explain {faults[0]}" if faults else ""


def comparison(compared: Sequence[Comparison], version: str) -> Table:
    """Return what each reader gets, side by side."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("reader", f"openai {version} alone", "with Streamwatch"):
        table.add_column(name, header_style="bold", ratio=None if name == "reader" else 1, overflow="fold")
    for each in compared:
        alone = Text(_got(each.plain, each.repaired), "red" if each.plain.error else "")
        style = "dim" if each.is_same else "red" if each.repaired.error else "green"
        repaired = Text("the same" if each.is_same else _got(each.repaired, each.plain), style)
        table.add_row(each.reader.title, alone, repaired)
    return table


def summary(replays: Iterable[Mapping[str, Any]]) -> Table:
    """Return streams by who served them and which model; of the records that `record` makes."""
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in replays:
        groups.setdefault((each["host"] or "-", each["model"] or "-"), []).append(each)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("provider", "model", "streams", "clean", "repaired", "broken", "faults and dialects"):
        table.add_column(name, header_style="bold", justify="right" if name in _COUNTED else "left", overflow="fold")
    for (host, model), group in sorted(groups.items()):
        conditions = [each["condition"] for each in group]
        counts = (len(group), *(conditions.count(condition.value) for condition in Condition))
        table.add_row(Text(printable(host)), Text(printable(model)), *map(str, counts), Text(_kinds(group)))
    return table


_COUNTED = ("streams", "clean", "repaired", "broken")


def _kinds(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the kinds of some streams that matter, with the number of streams that have them."""
    counts: dict[str, int] = {}
    for record in records:
        for anomaly in record["anomalies"]:
            if anomaly["severity"] != Severity.HAZARD.value:
                counts[anomaly["kind"]] = counts.get(anomaly["kind"], 0) + 1
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def model_of(replay: Replay) -> str:
    """Return the model that answered, or else the one that was asked."""
    return printable(replay.report.response_model or replay.report.request.model)


def _verdict(replay: Replay) -> str:
    return replay.report.verdict.value if replay.report.verdict else "unknown"


def _condition(replay: Replay) -> str:
    return replay.report.condition.value


def _where(replay: Replay) -> str:
    recording = replay.recording
    return "first at" if recording.offset is not None or recording.blocks else "first at (in the body)"


def _places(positions: Sequence[Position], count: int) -> str:
    shown = [_place(position) for position in dict.fromkeys(positions)]
    more = len(shown) > _POSITIONS or count > len(positions)
    return "; ".join(shown[:_POSITIONS]) + ("; ..." if more else "")


def _place(position: Position) -> str:
    if position.event is None:
        return "the end"
    return f"event {position.event}, line {position.line}, byte {position.offset}"


def _repair(kind: AnomalyKind, replay: Replay) -> str:
    """Return what became of the anomalies of a kind."""
    outcomes = replay.report.outcomes.get(kind, {})
    if kind.strategy is Strategy.NONE:
        return "none known"
    if set(outcomes) <= {Outcome.UNREPAIRED}:
        return f"left as it is ({kind.strategy.value})"
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in outcomes.items())
    return f"{kind.strategy.value}: {told}" + ("" if replay.report.applied else " (observed only)")


def _got(answer: Answer, other: Answer) -> str:
    """Return what a reader got, in a few words; a long text from where it differs from the other one."""
    parts = [_text(answer.text, other.text)] if answer.text or not (answer.tool_calls or answer.refusal) else []
    calls = zip(answer.tool_calls.values(), [*other.tool_calls.values(), *answer.tool_calls.values()], strict=False)
    parts += [f"{printable(call.name)}({_text(call.arguments, known.arguments, quote='')})" for call, known in calls]
    parts += [f"refusal {_text(answer.refusal, other.refusal)}"] if answer.refusal else []
    parts += [printable(answer.ended)] if answer.ended else []
    parts += [f"and raised {printable(answer.error)}"] if answer.error else []
    return ", ".join(parts)


def _text(text: str, other: str, *, quote: str = '"') -> str:
    start = next((at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), 0)
    start = start - _BEFORE if start > _SHOWN - _BEFORE else 0
    shown = text[start : start + _SHOWN]
    cut = f" ({len(text):,} characters)" if len(shown) < len(text) else ""
    before, after = "..." if start else "", "..." if start + _SHOWN < len(text) else ""
    return f"{quote}{before}{printable(shown)}{after}{quote}{cut}"


# --- for programs


def record(replay: Replay, compared: Sequence[Comparison], version: str) -> dict[str, Any]:
    """Return a checked stream as data."""
    recording, report = replay.recording, replay.report
    in_file = recording.offset is not None or bool(recording.blocks)
    return {
        "file": recording.path,
        "place": recording.place,
        "format": recording.format,
        "api": report.api,
        "host": recording.host,
        "model": report.response_model or report.request.model,
        "well": replay.is_well,
        "verdict": report.verdict.value if report.verdict else None,
        "condition": report.condition.value,
        "finish_reasons": list(report.finish_reasons),
        "events": report.events,
        "bytes": len(recording.body),
        "positions_in": "file" if in_file else "body",
        "anomalies": [_anomaly(kind, count, replay) for kind, count in report.anomalies.items()],
        "openai": version if compared else None,
        "readers": [_compared(each) for each in compared],
        "fixed": None,
        "fixed_again": None,
    }


def _anomaly(kind: AnomalyKind, count: int, replay: Replay) -> dict[str, Any]:
    outcomes = replay.report.outcomes.get(kind, {})
    positions = replay.positions.get(kind, ())
    return {
        "kind": kind.name,
        "severity": kind.severity.value,
        "count": count,
        "strategy": kind.strategy.value,
        "outcomes": {outcome.value: number for outcome, number in outcomes.items()},
        "applied": replay.report.applied,
        "positions": [{"event": each.event, "offset": each.offset, "line": each.line} for each in positions],
    }


def _compared(each: Comparison) -> dict[str, Any]:
    return {
        "reader": each.reader.name,
        "async": each.reader.is_async,
        "same": each.is_same,
        "plain": _answer(each.plain),
        "repaired": _answer(each.repaired),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments} for call in answer.tool_calls.values()
        ],
        "refusal": answer.refusal,
        "ended": answer.ended,
        "error": answer.error,
        "chunks": answer.chunks,
    }
