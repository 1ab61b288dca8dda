"""The client metrics of OpenTelemetry's GenAI conventions: what a stream holds for nothing. Experimental, and opt-in.

The conventions are changing their names. Both spellings are recorded, so that dashboards of either kind work: the old
one of `gen_ai.client.operation.*` and `gen_ai.client.token.usage`, and the new one of `gen_ai.client.inference.*`.

One record for each metric and stream. The time of each output chunk is left out: a record costs 55 us, and a stream has
hundreds of chunks. Where an instrumentation is loaded that records these metrics itself, nothing is recorded here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from streamwatch.core.report import Report
from streamwatch.core.vocabulary import BROKEN_VERDICTS
from streamwatch.export import own_log
from streamwatch.export.instruments import Instrument
from streamwatch.export.request import RequestInfo

#: The conventions' own boundaries.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(float(4**power) for power in range(14))

#: Attributes of every one of them.
COMMON = (
    *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"),
    *("server.address", "server.port"),
)
OPERATION_DURATION = Instrument(
    "gen_ai.client.operation.duration", "s", "GenAI operation duration.", ("error.type",), _SECONDS, COMMON
)
OPERATION_FIRST_CHUNK = Instrument(
    "gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.", (), _SECONDS, COMMON
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    "{token}",
    "Number of input and output tokens used.",
    ("gen_ai.token.type",),
    _TOKENS,
    COMMON,
)
INFERENCE_DURATION = Instrument(
    "gen_ai.client.inference.duration", "s", "Duration of the inference.", ("error.type",), _SECONDS, COMMON
)
INFERENCE_FIRST_CHUNK = Instrument(
    "gen_ai.client.inference.time_to_first_chunk", "s", "Time to receive the first chunk.", (), _SECONDS, COMMON
)
INPUT_TOKENS = Instrument(
    "gen_ai.client.inference.usage.input_tokens", "{token}", "Input tokens used.", common=COMMON, form="counter"
)
OUTPUT_TOKENS = Instrument(
    "gen_ai.client.inference.usage.output_tokens", "{token}", "Output tokens used.", common=COMMON, form="counter"
)
ROWS = (
    *(OPERATION_DURATION, OPERATION_FIRST_CHUNK, TOKEN_USAGE),
    *(INFERENCE_DURATION, INFERENCE_FIRST_CHUNK, INPUT_TOKENS, OUTPUT_TOKENS),
)

#: Instrumentations that record these metrics, by the module that a process has then: OpenTelemetry's own, old and new,
#: OpenLLMetry, OpenInference, OpenLIT.
OTHERS = (
    "opentelemetry.instrumentation.genai.openai",
    "opentelemetry.instrumentation.openai_v2",
    "opentelemetry.instrumentation.openai",
    "openinference.instrumentation.openai",
    "openlit",
)

#: What the conventions call an operation that has another name here.
_OPERATIONS = {"responses": "chat"}


@dataclass(slots=True)
class Usage:
    """The tokens of a stream, as the server counts them; None where it does not say."""

    input: int | None = None
    output: int | None = None

    def see(self, payload: Any) -> None:
        """Take the usage of an event: of a chunk, or of the response in it. What is said last holds."""
        for holder in (payload, payload.get("response")) if isinstance(payload, dict) else ():
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                self.input = _count(usage, ("prompt_tokens", "input_tokens"), self.input)
                self.output = _count(usage, ("completion_tokens", "output_tokens"), self.output)


def _count(usage: Mapping[str, Any], names: tuple[str, ...], before: int | None) -> int | None:
    counts = (usage.get(name) for name in names)
    return next((count for count in counts if type(count) is int and count >= 0), before)


class GenAIMetrics:
    """The instruments, once they are asked for."""

    def __init__(self, meter: Meter) -> None:
        self._said = False
        self._made: dict[str, Any] = {}
        for row in ROWS:
            if row.is_histogram:
                self._made[row.name] = row.histogram(meter)
            else:
                self._made[row.name] = meter.create_counter(row.name, row.unit, row.meaning)

    @property
    def instruments(self) -> list[Any]:
        """All of them."""
        return list(self._made.values())

    def record(
        self, call: RequestInfo, report: Report, usage: Usage, common: Mapping[str, Any], context: Context
    ) -> None:
        """Record a stream that has ended, unless somebody else does."""
        if report.times is None or self._is_done_by_another():
            return
        attributes = {name: common[name] for name in COMMON if name in common}
        attributes["gen_ai.operation.name"] = _OPERATIONS.get(call.operation, call.operation)
        if call.port is not None:
            attributes["server.port"] = call.port
        failed = report.verdict in BROKEN_VERDICTS
        ended = {**attributes, "error.type": report.verdict.value} if failed and report.verdict else attributes
        for row in (OPERATION_DURATION, INFERENCE_DURATION):
            self._made[row.name].record(report.times.duration, ended, context)
        if report.times.first_chunk is not None:
            for row in (OPERATION_FIRST_CHUNK, INFERENCE_FIRST_CHUNK):
                self._made[row.name].record(report.times.first_chunk, attributes, context)
        for kind, count, row in (("input", usage.input, INPUT_TOKENS), ("output", usage.output, OUTPUT_TOKENS)):
            if count is not None:
                self._made[TOKEN_USAGE.name].record(count, {**attributes, "gen_ai.token.type": kind}, context)
                self._made[row.name].add(count, attributes, context)

    def _is_done_by_another(self) -> bool:
        other = next((name for name in OTHERS if name in sys.modules), None)
        if other is not None and not self._said:
            self._said = True
            line = "STREAMWATCH_GENAI_METRICS has no effect: %s is loaded, which records these metrics."
            own_log.write(logging.INFO, line, other)
        return other is not None
