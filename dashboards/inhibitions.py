"""The alerts that repeat what another one says: for Alertmanager, so that one cause makes one call.

The alert nearest to the cause is kept. That the budget burns says less than that streams are cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dashboards.records import MODEL

FILE = Path(__file__).parents[1] / "deploy" / "alertmanager" / "alertmanager.yml"
_BEGIN, _END = "  # Written by `python -m dashboards.rules`, down to `receivers`.\n", "\nreceivers:"


@dataclass(frozen=True)
class Inhibition:
    """A rule: while one of `sources` fires, `target` is not sent, where job and `labels` are the same."""

    why: str
    sources: tuple[str, ...]
    target: str
    labels: tuple[str, ...] = ()
    severity: tuple[str, str] = ("", "")
    issue: str = ""


INHIBITIONS = (
    Inhibition(
        "A person who was called for the budget needs no second call about it.",
        ("StreamwatchErrorBudgetBurn",),
        "StreamwatchErrorBudgetBurn",
        severity=("critical", "warning"),
    ),
    Inhibition(
        "Streams that are cut fast are cut slowly, too.",
        ("StreamwatchTruncatedStreams",),
        "StreamwatchTruncatedStreams",
        MODEL,
        ("critical", "warning"),
    ),
    Inhibition("Streams that are cut burn the budget.", ("StreamwatchTruncatedStreams",), "StreamwatchErrorBudgetBurn"),
    Inhibition(
        "So do streams that are damaged; that they do it fast is still reported.",
        ("StreamwatchUnrepairedFaults", "StreamwatchToolCallsBroken"),
        "StreamwatchErrorBudgetBurn",
        severity=("", "warning"),
    ),
    Inhibition(
        "A broken tool call is a fault that was not repaired.",
        ("StreamwatchToolCallsBroken",),
        "StreamwatchUnrepairedFaults",
        MODEL,
    ),
    Inhibition(
        "Few broken tool calls were fixed.",
        ("StreamwatchToolCallsBroken",),
        "StreamwatchFixRateBelowPublished",
        MODEL,
        issue="tool_calls",
    ),
    Inhibition(
        "A fault that comes often was new at first.",
        (
            "StreamwatchTruncatedStreams",
            "StreamwatchUnrepairedFaults",
            "StreamwatchToolCallsBroken",
            "StreamwatchReorderSpike",
        ),
        "StreamwatchNewAnomalyKind",
        ("gen_ai_request_model",),
    ),
)


def rendered() -> str:
    """Return the rules as Alertmanager reads them."""
    return "inhibit_rules:\n" + _BEGIN + "".join(map(_rule, INHIBITIONS))


def _rule(one: Inhibition) -> str:
    sources = [f'alertname=~"{"|".join(one.sources)}"', *_of(one.severity[0])]
    targets = [f'alertname="{one.target}"', *_of(one.severity[1])]
    targets += [f'streamwatch_issue="{one.issue}"'] if one.issue else []
    return (
        f"  # {one.why}\n"
        f"  - source_matchers: {_listed(sources)}\n"
        f"    target_matchers: {_listed(targets)}\n"
        f"    equal: [{', '.join(('job', *one.labels))}]\n"
    )


def _of(severity: str) -> list[str]:
    return [f'severity="{severity}"'] if severity else []


def _listed(matchers: list[str]) -> str:
    quoted = (f"'{matcher}'" for matcher in matchers)
    return f"[{', '.join(quoted)}]"


def configuration() -> str:
    """Return Alertmanager's configuration with the rules in it."""
    text = FILE.read_text("utf-8")
    return re.sub(f"inhibit_rules:\n.*?{_END}", lambda _: rendered() + _END, text, flags=re.DOTALL)
