"""A small stream for each kind of anomaly, put through the core: what a server sends, and what the SDK gets instead.

The streams are those of the acceptance cases (`tests/helpers/cases.py`), so what is shown is what is tested. Everything
but the kind in question is left unrepaired, so that a page shows one repair at a time.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.sse import Event
from streamwatch.core.vocabulary import Level, Outcome, Severity, Strategy

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from helpers.cases import CASES, Case
from helpers.stream_builders import Seen, bare, completion, watch

#: Kinds that no bytes alone show: the time between two reads does.
OF_TIME = {"stream_stalled"}
#: Where the shortest case is not the one that says most.
_BEST = {
    "choice_index_invalid": "choice-index-counts-chunks",
    "chunk_metadata_irregular": "metadata-object-missing",
    "error_in_stream": "error-object",
    "finish_reason_irregular": "finish-empty-string",
    "finish_reason_missing": "finish-never-sent",
    "payload_invalid": "payload-null",
    "response_reference_invalid": "item-id-changes",
    "sequence_out_of_order": "order-expected-5-but-got-7",
    "sse_event_unterminated": "last-event-unterminated",
    "sse_framing_variant": "frames-without-a-space",
    "stream_empty": "empty-but-comments",
    "stream_spliced": "opt-in-restart-by-another-model",
    "stream_truncated": "truncated-cleanly",
    "tool_call_index_reused": "tool-index-always-0",
}
#: What all chunks of a stream have in common says nothing about the one that is odd.
_ENVELOPES = tuple(
    {name: each[name] for name in ("id", "object", "created", "model")} for each in (bare(), completion(""))
)
#: Members of the Responses API that are there for the protocol alone.
_SILENT = {"logprobs", "annotations", "parallel_tool_calls", "tool_choice", "tools", "created_at"}
#: Columns: what a page shows without scrolling, with room for a tool call. Longer lines are cut in the middle.
_WIDTH = 150
#: Lines of a stream around each one that differs, as in `diff -U`.
_AROUND = 1
#: Lines of a stream of which nothing is changed.
_MOST = 8


@dataclass(frozen=True)
class Example:
    """A case, the policy that repairs its kind alone, and what became of the stream."""

    case: Case
    policy: str
    seen: Seen


def example(kind: AnomalyKind) -> Example:
    """Return the shortest stream that has this kind, repaired if there is a repair, and no other kind if possible."""
    alone = kind.strategy is not Strategy.NONE and kind.level is not Level.SETTING  # no stream is read on here
    policy = f"none,+{kind.name}" if alone else "none"
    found = [Example(case, policy, _see(case, policy)) for case in CASES if kind in case.found]
    return min(found, key=lambda each: _order(kind, each))


def _order(kind: AnomalyKind, each: Example) -> tuple[bool, bool, int, int]:
    mended = each.seen.outcome(kind) & {Outcome.VERIFIED, Outcome.UNVERIFIED}
    others = [other for other in each.seen.report.anomalies if other is not kind and other.severity != Severity.HAZARD]
    unsaid = each.case.name != _BEST.get(kind.name, each.case.name)
    return unsaid, kind.strategy is not Strategy.NONE and not mended, len(others), len(each.case.wire)


def _see(case: Case, policy: str) -> Seen:
    return watch(case.api, case.wire, policy, request=case.request, error=case.error)


def difference(each: Example) -> str:
    """Return the stream as it came, and where it differs what is handed on: the lines of a diff."""
    sent, handed_on = _sent(each.case.wire), [line for event in each.seen.events for line in _lines(event)]
    if each.policy == "none":
        shown = sent if len(sent) <= _MOST else ["...", *sent[-_MOST:]]
        return "\n".join(f" {_cut(line)}" for line in shown)
    rows = list(difflib.unified_diff(sent, handed_on, lineterm="", n=_AROUND))[2:]
    return "\n".join(" ..." if row.startswith("@@") else row[0] + _cut(row[1:]) for row in rows)


def _sent(wire: bytes) -> list[str]:
    """Return the lines of a body as it came; one that ends in the middle says so."""
    text = wire.decode("utf-8", "backslashreplace")
    lines = [_line(line) for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", text) if line.strip("\r\n")]
    if text and not re.search(r"(\r\n|\n|\r)\1$", text):
        lines.append("(the body ends without a blank line)")
    return [line for line in lines if not line.startswith("event: response.")]


def _lines(event: Event) -> list[str]:
    """Return an event as the SDK gets it; the names of the Responses API stand in the payload as well."""
    data = json.dumps(event.payload) if event.shared and event.payload is not None else event.data
    head = [f"event: {event.event}"] if event.event and not event.event.startswith("response.") else []
    head += [f"id: {event.id}"] if event.id else []
    return [*head, *(_line(f"data: {line}") for line in data.split("\n"))]


def _line(line: str) -> str:
    """Return a line with what it says of itself: the envelope left out, control characters written."""
    line = line.removesuffix("\n")
    head, _, text = line.partition(":")
    try:
        value = json.loads(text) if head == "data" else None
    except ValueError:
        value = None
    if isinstance(value, dict):
        space = " " if text.startswith(" ") else ""
        line = f"data:{space}{json.dumps(_bare(value), ensure_ascii=False)}"
    return line.replace("\r", "\\r").replace("\0", "\\0").replace("\ufeff", "\\ufeff")


def _bare(value: Any) -> Any:
    """Return a payload without what every payload of the stream has."""
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if not isinstance(value, dict):
        return value
    usual = next((each for each in _ENVELOPES if value.get("object") == each["object"]), {})
    if value.get("object") == "response":
        usual = {name: value[name] for name in ("object", "model", "usage") if name in value}
    return {
        name: _bare(member)
        for name, member in value.items()
        if name not in _SILENT and not (name in usual and usual[name] == member)
    }


def _cut(line: str) -> str:
    """Return a line with its middle left out, where it is long: what differs is mostly at one of its ends."""
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH // 2]} ... {line[-_WIDTH // 2 + 5 :]}"
