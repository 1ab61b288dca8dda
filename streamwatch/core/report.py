"""The record of a stream: of its request beforehand, and of itself afterwards.

Frozen records, so that telemetry, tests and people read the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from streamwatch.core.kinds import AnomalyKind
from streamwatch.core.stream_cases import ANY_FAULT, FIXED, CaseDefinition, cases_of
from streamwatch.core.vocabulary import ChunkType, Condition, Outcome, Resumed, Verdict


@dataclass(frozen=True, slots=True)
class Request:
    """The request that a stream answers, as far as it is known.

    `prompts` is how many texts a legacy completion was asked to complete, each `n` times.
    `accumulated` says that the SDK's own helper reads the stream, `joins_fragments` that the helper of
    this release puts several fragments of one call in one chunk together by itself, `recovers_output` that
    the one for responses makes an output that is null of the items that are done.
    """

    model: str = ""
    n: int | None = None
    prompts: int | None = None
    tools: frozenset[str] = frozenset()
    names_tool: bool = False  #: tool_choice names a function
    starting_after: int | None = None
    id: str = ""  #: the provider's own name for the request, from the response headers
    accumulated: bool = False
    joins_fragments: bool = True
    recovers_output: bool = False
    background: bool = False  #: the server works on, and keeps the answer, whatever becomes of the stream


@dataclass(frozen=True, slots=True)
class Times:
    """The time of a stream, in seconds, by how it was spent; silence is as real as an event."""

    duration: float  #: from the request to the end, silence included
    waiting: float  #: of it, for the server: for its headers, and in every read
    longest_gap: float = 0.0  #: the longest wait in one read after the first chunk
    silence: float = 0.0  #: the wait in the read that met the end
    first_chunk: float | None = None  #: from the request to the first chunk

    @property
    def reading(self) -> float:
        """What is left: the reader was at work on what it got."""
        return max(self.duration - self.waiting, 0.0)


@dataclass(frozen=True)
class Report:
    """The record of a stream that telemetry, tests and people read.

    `verdict` and `outcomes` are there when the stream has ended. Counts are of the whole stream;
    distances are in places, delays in seconds.
    """

    serial: int  #: counts the streams of this process, in the order in which they were opened
    api: str
    request: Request
    verdict: Verdict | None
    response_model: str
    response_id: str
    finish_reasons: tuple[str, ...]
    events: int
    chunks: dict[ChunkType, int]
    anomalies: dict[AnomalyKind, int]
    outcomes: dict[AnomalyKind, dict[Outcome, int]]
    applied: bool
    reorder_distances: tuple[int, ...] = ()
    reorder_delays: tuple[float, ...] = ()
    reorder_max_distance: int = 0
    reorder_max_delay: float = 0.0
    server: str = ""  #: the server software that answered, where the answer names it
    unwatched: str = ""  #: why the rest of the stream was left alone, if it was
    # How a stream came is not part of what it was: two reports of the same bytes are equal.
    events_per_read: float = field(default=0.0, compare=False)  #: on average: a proxy that buffers shows as bursts
    resumed: tuple[Resumed, ...] = ()  #: what came of each request that was added to read the answer on
    times: Times | None = field(default=None, compare=False)  #: of a stream that has ended, where there was a clock
    close_code: int | None = field(default=None, compare=False)  #: of the connection whose closing ended the stream
    reconnects: int = field(default=0, compare=False)  #: how often that connection had been replaced before

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the kinds found, in the order they were first seen."""
        return tuple(kind.name for kind in self.anomalies)

    @cached_property
    def cases(self) -> dict[CaseDefinition, Outcome]:
        """What the stream is a case of, each at most once, and how the case ended."""
        return cases_of(self.anomalies, self.outcomes, self.verdict)

    @property
    def condition(self) -> Condition:
        """The condition in which the stream reached its reader, as far as it is known."""
        ended = self.cases.get(ANY_FAULT)
        if ended is None:
            return Condition.CLEAN
        return Condition.REPAIRED if self.applied and ended in FIXED else Condition.BROKEN
