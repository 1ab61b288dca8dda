"""The record of an endpoint's answers: broken invariants, anomalies, client code; in words, and as one record.

The record is what `--json` prints and what the report card and the page are made from. Text of the model is in it only
where that was asked for; nor are the texts of exceptions, which may quote it.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from streamwatch.cli import common
from streamwatch.cli.check.recordings import Recording
from streamwatch.cli.check.replay import replay
from streamwatch.cli.common.ci_reports import ERROR, level_of
from streamwatch.cli.probe.endpoint import ProbedEndpoint, Reply, printable
from streamwatch.cli.probe.invariants import checked, table
from streamwatch.cli.probe.recorded_answer import RecordedAnswer
from streamwatch.cli.probe.remedies import KIND_OF, offending, remedy
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.report import Report
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import FIXED
from streamwatch.core.vocabulary import BROKEN_VERDICTS, Severity
from streamwatch.version import __version__

#: Arrivals in a record: what a plot can show.
_MAX_ARRIVALS = 400
#: Worst first.
_STATES = ("failed", "answered", "refused", "not_offered")
_SEVERITIES = (Severity.FAULT, Severity.DIALECT, Severity.HAZARD)
#: Outcomes of a reading that leave nothing to wish for.
FINE = frozenset({"reads", "told"})
#: What each reader made of an answer.
Readings = list[tuple[Any, Any]]


@dataclass(frozen=True)
class ClientReading:
    """The way in which one reader took one answer, without and with Streamwatch.

    An outcome is `reads`, `raises TypeError`, `differs` (another answer than a careful reader gets) `unaware`
    (it takes a broken answer for a whole one) or `told` (it raises, as it should, because the answer was cut).
    """

    reader: str
    meaning: str
    api: str
    plain: str
    watched: str
    errors: tuple[str, str] = ("", "")


@dataclass
class Score:
    """A reply and all that is found in it."""

    reply: Reply
    report: Report | None = None
    checks: dict[str, bool | None] = field(default_factory=dict)
    readings: list[ClientReading] = field(default_factory=list)
    policy: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """The kinds of severity fault, repaired or not, and the broken invariants that matter, as the policy says."""
        anomalies = self.report.anomalies if self.report else {}
        kinds = {kind.name: kind.severity is Severity.FAULT for kind in anomalies}
        broken = {name: table()[name].matters for name, holds in self.checks.items() if holds is False}
        found = [*kinds.items(), *broken.items()]
        return [name for name, is_fault in found if level_of(name, self.policy, is_fault=is_fault) == ERROR]

    def fixed(self, kind: AnomalyKind) -> int:
        """Return how many anomalies of a kind were repaired."""
        outcomes = self.report.outcomes.get(kind, {}) if self.report else {}
        return sum(outcomes.get(outcome, 0) for outcome in FIXED)

    def told_by_kind(self, name: str) -> bool:
        """Return whether a kind that was found in the answer says the same as an invariant."""
        found = self.report.anomalies if self.report else {}
        return KIND_OF.get(name) in {kind.name for kind in found}


def judge(reply: Reply, model: str, policy: Mapping[str, str] | None = None) -> Score:
    """Return a reply, checked; client code is tried in `try_readers`."""
    if reply.answer is None:
        return Score(reply)
    return Score(reply, reply.answer.report(model), checked(reply.answer), policy=policy or {})


# --- client code


def try_readers(scores: Iterable[Score], model: str) -> None:
    """Read every recorded answer in every way that the SDK has, without Streamwatch and with it; nothing is asked."""
    from streamwatch.cli.common.client_code import watched

    answered = [each for each in scores if each.reply.answer is not None]
    with watched(None):
        plain = [_read(each, model) for each in answered]
    with watched(Settings()):
        repaired = [_read(each, model) for each in answered]
    for each, without, with_ in zip(answered, plain, repaired, strict=True):
        each.readings += _compared(each, without, with_)


def _compared(score: Score, plain: Readings, repaired: Readings) -> Iterator[ClientReading]:
    """Yield what each reader had without Streamwatch, and with it."""
    reference = next((got for _, got in repaired if got is not None and not got.error and _is_careful(_)), None)
    for (reader, one), (_, other) in zip(plain, repaired, strict=True):
        if one is not None and other is not None:
            before, after = (_outcome(score, reader, got, reference) for got in (one, other))
            errors = one.error, other.error
            yield ClientReading(reader.title, reader.meaning, reader.api, before, after, errors)


def _read(score: Score, model: str) -> Readings:
    from streamwatch.cli.common.client_code import read, readers_of, served

    answer = score.reply.answer
    assert answer is not None  # noqa: S101 -- for the type checker
    connect = served(answer.body, cut=bool(answer.ended))
    request = {"model": model, "n": answer.asked.n if (answer.asked.n or 1) > 1 else None}
    return [(reader, read(reader, connect, request)) for reader in readers_of(answer.asked.api)]


def _is_careful(reader: Any) -> bool:
    return bool(reader.name == ("loop" if reader.api == "responses" else "careful"))


def _outcome(score: Score, reader: Any, got: Any, reference: Any) -> str:
    if got.error and _tells_of_cut(score, reader, got):
        return "told"
    if got.error:
        return f"raises {got.error.partition(':')[0]}"
    if score.report is not None and score.report.verdict in BROKEN_VERDICTS:
        return "unaware"
    if reference is None or got is reference:
        return "reads"
    same = got.text == reference.text
    if reader.api == "responses" or reader.name not in ("loop", "dict"):  # these do not look for tool calls
        same = same and _calls(got) == _calls(reference)
    return "reads" if same else "differs"


def _tells_of_cut(score: Score, reader: Any, got: Any) -> bool:
    """Return whether this is a helper raising on an answer that ran out of tokens, as it must."""
    answer = score.reply.answer
    limited = answer is not None and answer.asked.limited and not score.faults
    return bool(
        limited and reader.name == "helper" and got.error.startswith(("LengthFinishReason", "RuntimeError: Did"))
    )


def _calls(got: Any) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in got.tool_calls.values()]


# --- the comparison


@lru_cache(maxsize=1)
def providers() -> dict[str, Any]:
    """Return what recordings of real servers show: made by `baseline`."""
    text = Path(common.__file__).with_name("providers.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def company(name: str) -> dict[str, Any]:
    """Return how real servers do with an invariant: how many were looked at, and who breaks it, most often first."""
    counts = providers()["invariants"].get(name, {})
    broken = {provider: seen - held for provider, (held, seen) in counts.items() if held < seen}
    return {
        "providers": len(counts),
        "streams": sum(seen for _, seen in counts.values()),
        "broken_by": sorted(broken, key=lambda provider: (-broken[provider] / counts[provider][1], provider)),
    }


def company_of_kind(name: str) -> dict[str, Any]:
    """Return how real servers do with a kind of anomaly."""
    counts = providers()["kinds"].get(name, {})
    total = providers()["streams_as_sent"]
    return {
        "providers": len(total),
        "streams": sum(total.values()),
        "broken_by": sorted(counts, key=lambda provider: (-counts[provider] / total[provider], provider)),
    }


# --- the record


def record(endpoint: ProbedEndpoint, scores: list[Score], undone: str, at: str, *, content: bool) -> dict[str, Any]:
    """Return everything that is known, as data."""
    from streamwatch.cli.common.client_code import sdk_version

    return {
        "streamwatch": __version__,
        "openai": sdk_version(),
        "at": at,
        "base_url": endpoint.address,
        "model": printable(endpoint.model),
        "exit_code": exit_code(scores, undone),
        "undone": undone,
        "invariants": _invariants(scores),
        "kinds": _kinds(scores),
        "readers": _readers(scores),
        "answers": [_answer(endpoint, each, content=content) for each in scores],
    }


def exit_code(scores: list[Score], undone: str) -> int:
    """Return 2 if the questions could not be asked, 1 if anything is wrong, else 0."""
    if undone or not any(each.reply.answer for each in scores):
        return 2
    return int(any(each.faults or each.reply.state == "failed" for each in scores))


def label(score: Score) -> str:
    """Return the name of an answer."""
    reply = score.reply
    return f"{reply.question.name}#{reply.round + 1}" if reply.round else reply.question.name


def _invariants(scores: list[Score]) -> list[dict[str, Any]]:
    """Return every invariant that could be judged, the worst first: what matters and is broken most, by the fewest."""
    found = []
    for name, each in table().items():
        told = {label(one): one.checks[name] for one in scores if one.checks.get(name) is not None}
        broken = [answer for answer, holds in told.items() if not holds]
        if told:
            facts = {"invariant": name, "matters": each.matters, "holds": not broken, "broken_in": broken}
            facts |= _first_broken(scores, name) if broken else {}
            sentence = each.broken if broken else each.holds
            found.append({**facts, "looked_at": len(told), "sentence": sentence, "compared": company(name)})
    return sorted(
        found,
        key=lambda row: (
            row["holds"],
            not row["matters"],
            -len(row["broken_in"]) / row["looked_at"],
            len(row["compared"]["broken_by"]),
        ),
    )


def _first_broken(scores: list[Score], name: str) -> dict[str, Any]:
    """Return the event at fault in the first answer that breaks an invariant, and what to do about it."""
    answers = [one.reply.answer for one in scores if one.checks.get(name) is False]
    at = offending(answers[0], name) if answers[0] is not None else None
    what = remedy(table()[name])
    place = {"event": at.event, "line": at.line, "byte": at.offset} if at else None
    told = all(one.told_by_kind(name) for one in scores if one.checks.get(name) is False)
    return {"first_at": place, "kind": what.kind, "remedy": what.text, "told_by_kind": told}


def _kinds(scores: list[Score]) -> list[dict[str, Any]]:
    """Return the anomalies of all answers, the worst first."""
    found: dict[str, dict[str, Any]] = {}
    for one in scores:
        for kind, count in one.report.anomalies.items() if one.report else ():
            fixed = one.fixed(kind)
            if kind.name not in found:
                found[kind.name] = {"kind": kind.name, "count": 0, "repaired": 0, "answers": []}
                found[kind.name]["first_at"] = _first_found(one, kind)
            row = found[kind.name]
            row["count"] += count
            row["repaired"] += fixed
            row["answers"].append(label(one))
    rows = [
        {
            **row,
            "severity": KINDS[name].severity.value,
            "repair": KINDS[name].strategy.value,
            "level": KINDS[name].level.value,
            "meaning": KINDS[name].meaning,
            "compared": company_of_kind(name),
        }
        for name, row in found.items()
    ]
    return sorted(rows, key=lambda row: (_SEVERITIES.index(Severity(row["severity"])), row["repaired"] == row["count"]))


def _first_found(score: Score, kind: AnomalyKind) -> dict[str, Any] | None:
    """Return the event in which a kind was found first; None where it shows at the end, or in time alone."""
    answer = score.reply.answer
    seen = replay(Recording("", answer.body, "body", api=answer.asked.api), Settings()) if answer else None
    at = next(iter(seen.positions.get(kind, ())), None) if seen else None
    return {"event": at.event, "line": at.line, "byte": at.offset} if at and at.event else None


def _readers(scores: list[Score]) -> list[dict[str, Any]]:
    """Return each way to read: how many answers it takes as it should, and what goes wrong with the others."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in scores:
        for reading in one.readings:
            row = found.setdefault(
                (reading.api, reading.reader),
                {"api": reading.api, "reader": reading.reader, "meaning": reading.meaning, "answers": 0}
                | {"plain": {}, "watched": {}},
            )
            row["answers"] += 1
            for column, outcome in (("plain", reading.plain), ("watched", reading.watched)):
                row[column][outcome] = row[column].get(outcome, 0) + 1
    return list(found.values())


def _answer(endpoint: ProbedEndpoint, score: Score, *, content: bool) -> dict[str, Any]:
    reply, answer, report = score.reply, score.reply.answer, score.report
    facts: dict[str, Any] = {
        "answer": label(score),
        "title": reply.question.title,
        "api": reply.question.api,
        "state": reply.state,
        "message": reply.message,
        "http_status": reply.status,
        "faults": score.faults,
    }
    if answer is None or report is None:
        return facts
    return {
        **facts,
        "verdict": report.verdict.value if report.verdict else "",
        "response_model": endpoint.shown(answer.model),
        "finish_reasons": [endpoint.shown(str(reason)) for reason in report.finish_reasons],
        "kinds": {kind.name: count for kind, count in report.anomalies.items()},
        "broken": [name for name, holds in score.checks.items() if holds is False],
        "ended": endpoint.shown(answer.ended),
        **_times(answer),
        "readers": [_reading(endpoint, each, content=content) for each in score.readings],
        **({"text": endpoint.shown(answer.text(), 4000), "tool_calls": _said(endpoint, answer)} if content else {}),
    }


def _reading(endpoint: ProbedEndpoint, reading: ClientReading, *, content: bool) -> dict[str, Any]:
    errors = {"errors": [endpoint.shown(error) for error in reading.errors]} if content else {}
    return {"reader": reading.reader, "plain": reading.plain, "watched": reading.watched, **errors}


def _said(endpoint: ProbedEndpoint, answer: RecordedAnswer) -> list[str]:
    """Return the arguments of the tool calls, as they came."""
    return [endpoint.shown("".join(str(fragment.arguments or "") for fragment in call), 1000) for call in answer.calls]


def _times(answer: RecordedAnswer) -> dict[str, Any]:
    """Return when events came, and how they were packed."""
    came = [event.seconds for event in answer.events]
    pauses = [later - earlier for earlier, later in itertools.pairwise(came)]
    sizes = [len(data) for _, data in answer.reads]
    return {
        "bytes": len(answer.body),
        "events": len(answer.events),
        "reads": len(sizes),
        "median_read_bytes": int(statistics.median(sizes)) if sizes else 0,
        "first_event_seconds": round(answer.first_event, 4) if answer.first_event is not None else None,
        "seconds": round(answer.reads[-1][0], 4) if answer.reads else 0.0,
        "longest_pause_seconds": round(max(pauses), 4) if pauses else 0.0,
        "arrivals": [round(seconds, 4) for seconds in came[:_MAX_ARRIVALS]],
    }


# --- words


def headline(record: dict[str, Any]) -> str:
    """Return the verdict, in a sentence."""
    answers = record["answers"]
    answered = [each for each in answers if each["state"] == "answered"]
    if record["exit_code"] == 2:
        return record["undone"] or "Not one question was answered."
    faulty = [each for each in answers if each["faults"] or each["state"] == "failed"]
    if not faulty:
        return f"Healthy: no fault in {_count(len(answered), 'answer')}."
    return f"Faults in {len(faulty)} of {_count(len(answers), 'answer')}."


def in_company(compared: dict[str, Any], verb: str = "do") -> str:
    """Return who else does so, in a few words."""
    total, broken = compared["providers"], compared["broken_by"]
    if not total:
        return "not in the recordings"
    if not broken:
        return f"none of {_count(total, 'provider')}"
    if len(broken) <= 3:
        return f"{', '.join(broken)} ({len(broken)} of {total})"
    return f"{len(broken)} of {_count(total, 'provider')}"


def position(answers: list[str], first: Mapping[str, int] | None) -> str:
    """Return the event at fault in the first of some answers, with its line and byte in the body."""
    if first is None:
        return ""
    return f"{answers[0]}: event {first['event']}, line {first['line']}, byte {first['byte']}"


def outcomes_text(row: dict[str, Any], column: str) -> str:
    """Return how a way of reading fared, in a few words."""
    wrong = {name: count for name, count in row[column].items() if name not in FINE}
    told = row[column].get("told", 0)
    if not wrong:
        return f"reads all {row['answers']}" + (f", and reports {_count(told, 'cut')}" if told else "")
    worst = sorted(wrong.items(), key=lambda pair: -pair[1])
    named = ", ".join(f"{_OUTCOMES.get(name, name.removeprefix('raises '))} {count}" for name, count in worst)
    return f"fails on {sum(wrong.values())} of {row['answers']}: {named}"


def repaired_text(row: dict[str, Any]) -> str:
    """Say what Streamwatch does about a kind, in a few words."""
    if row["repaired"]:
        return "repaired" if row["repaired"] == row["count"] else f"repaired {row['repaired']} of {row['count']}"
    return {"opt_in": "only with STREAMWATCH_REPAIR=all", "never": "reported only"}.get(row["level"], "left as it is")


def others(record: dict[str, Any]) -> list[str]:
    """Return a sentence for all requests that were not answered for the same reason, failures first."""
    order = {state: place for place, state in enumerate(_STATES)}
    grouped: dict[str, list[str]] = {}
    for each in sorted(record["answers"], key=lambda each: order[each["state"]]):
        if each["message"]:
            grouped.setdefault(each["message"], []).append(each["answer"])
    return [f"{', '.join(names)}: {message}" for message, names in grouped.items()]


def speed(record: dict[str, Any]) -> str:
    """Return how fast and how finely events come."""
    timed = [each for each in record["answers"] if each.get("first_event_seconds") is not None]
    if not timed:
        return ""
    first = statistics.median(each["first_event_seconds"] for each in timed)
    worst = max(each["longest_pause_seconds"] for each in timed)
    reads, events = sum(each["reads"] for each in timed), sum(each["events"] for each in timed)
    return (
        f"First event after {first:.2f} s (median); longest pause {worst:.2f} s; {events:,} events in {reads:,} reads."
    )


_OUTCOMES = {"differs": "another answer", "unaware": "broken, unnoticed"}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
