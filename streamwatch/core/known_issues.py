"""The known issues that the project began with, and the figures that were published for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Issue:
    """A known issue with the figures published for it: estimates, to be set beside what is measured.

    `fix_ratio` is the published share of cases fixed, `workarounds` the one per workaround; a
    workaround is named after the strategy that applies it, or described where Streamwatch can only
    measure it. `dead_ends` are published failure shares of what does not help. Ratios are 0 to 1.
    """

    name: str
    error: str
    fix_ratio: float
    workarounds: tuple[tuple[str, float], ...]
    dead_ends: tuple[tuple[str, float], ...]


#: A workaround that is measured by itself: it puts tool calls together.
DELTA_ACCUMULATOR = "a delta accumulator"

ORDER_MISMATCH = Issue(
    "llm/streaming-chunk-order-mismatch",
    "streaming response chunk order mismatch - expected index 5 but got 7",
    0.75,
    (
        ("reorder_buffer", 0.85),
        ("endpoint without a reordering load balancer", 0.70),
        ("no proxy or CDN before the streaming endpoint", 0.75),
    ),
    (("a longer timeout", 0.60), ("no streaming", 0.30)),
)
CONTENT_EMPTY = Issue(
    "llm/streaming-assistant-content-empty",
    "KeyError: 'content'",
    0.90,
    (("fill_content", 0.95), ("the SDK's streaming helper", 0.90), (DELTA_ACCUMULATOR, 0.85)),
    (("catching the error and going on", 0.60), ("skipping chunks without content", 0.80), ("no streaming", 0.40)),
)
ISSUES = (ORDER_MISMATCH, CONTENT_EMPTY)
