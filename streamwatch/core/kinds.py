"""Every kind of anomaly that a stream can show.

All labels, docs, command-line text, dashboards and rules derive from the tables here, so a kind is
added in one place. The rules were checked against 2,875 recorded streams of 39 providers: no kind
of severity `fault` is found on a healthy one.

A kind has one level, the one of its main repair; where a lesser part of it has another one, the
rule names it. This module has no behaviour and imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamwatch.core.known_issues import CONTENT_EMPTY, ORDER_MISMATCH, Issue
from streamwatch.core.vocabulary import Evidence, Level, Severity, Strategy


@dataclass(frozen=True, eq=False, repr=False)  # compared and hashed by identity: a kind is a key on the hot path
class AnomalyKind:
    """A kind of anomaly: the bounded value of the label `streamwatch.anomaly`."""

    name: str
    severity: Severity
    apis: tuple[str, ...]
    strategy: Strategy
    level: Level
    evidence: Evidence
    meaning: str
    issue: Issue | None = None

    def __repr__(self) -> str:
        return self.name


KINDS: dict[str, AnomalyKind] = {}

_ALL = ("chat", "responses", "completions", "assistants", "agents", "images", "transcriptions")
#: What can be wrong with messages over a WebSocket as well, which are not framed as events are.
_SOCKETS = (*_ALL, "realtime", "live")
_CHOICES, _CHAT, _RESPONSES, _NUMBERED = ("chat", "completions"), ("chat",), ("responses",), ("responses", "chat")
_Repair = tuple[Strategy, Level, Evidence]


def _kind(
    name: str, severity: Severity, apis: tuple[str, ...], repair: _Repair, meaning: str, issue: Issue | None = None
) -> AnomalyKind:
    kind = KINDS[name] = AnomalyKind(name, severity, apis, *repair, meaning, issue)
    return kind


_REPORT = (Strategy.NONE, Level.NEVER, Evidence.NONE)
_REINDEX = (Strategy.REINDEX_TOOL_CALLS, Level.DEFAULT, Evidence.ARGUMENTS)
_TOOL_CALL = (Strategy.NORMALIZE_TOOL_CALL, Level.DEFAULT, Evidence.ARGUMENTS)
_TOOL_CALL_HELPER = (Strategy.NORMALIZE_TOOL_CALL, Level.HELPER, Evidence.ARGUMENTS)
_HELPER = (Strategy.NORMALIZE_CHUNK, Level.HELPER, Evidence.SHAPE)
_SHAPE = (Strategy.NORMALIZE_CHOICES, Level.DEFAULT, Evidence.SHAPE)
_SHAPE_HELPER = (Strategy.NORMALIZE_CHOICES, Level.HELPER, Evidence.SHAPE)

# --- framing, and the payload as such

SSE_FRAMING_VARIANT = _kind(
    "sse_framing_variant",
    Severity.DIALECT,
    _ALL,
    (Strategy.REFRAME, Level.DEFAULT, Evidence.SHAPE),
    "The bytes are framed differently from OpenAI's, with nothing lost.",
)
PAYLOAD_INVALID = _kind(
    "payload_invalid",
    Severity.FAULT,
    _ALL,
    (Strategy.DROP_FRAME, Level.DEFAULT, Evidence.COMPLETE),
    "The SDK cannot use the payload of an event: it is empty, not a JSON object, or lacks a member of its type.",
)
SSE_EVENT_UNTERMINATED = _kind(
    "sse_event_unterminated",
    Severity.FAULT,
    _ALL,
    (Strategy.REFRAME, Level.DEFAULT, Evidence.COMPLETE),
    "The last event is not followed by a blank line, so every SSE parser drops it.",
)
KEEPALIVE_FRAME = _kind(
    "keepalive_frame",
    Severity.HAZARD,
    _ALL,
    (Strategy.DROP_FRAME, Level.OPT_IN, Evidence.SHAPE),
    "A frame carries no information: it keeps the connection open.",
)
ERROR_IN_STREAM = _kind(
    "error_in_stream",
    Severity.FAULT,
    _SOCKETS,
    _REPORT,
    "The server reports an error inside the stream in a form that the SDK raises on or documents.",
)
ERROR_HIDDEN = _kind(
    "error_hidden",
    Severity.FAULT,
    _ALL,
    (Strategy.REFRAME, Level.OPT_IN, Evidence.SHAPE),
    "The answer, mostly an error, comes in a form that the SDK silently ignores.",
)
STREAM_EMPTY = _kind(
    "stream_empty", Severity.FAULT, _ALL, _REPORT, "The server answered HTTP 200, and sent no event with a payload."
)
STREAM_TRUNCATED = _kind(
    "stream_truncated",
    Severity.FAULT,
    _SOCKETS,
    _REPORT,
    "The body ended, cleanly or by a transport error, before the protocol's end.",
)
STREAM_STALLED = _kind(
    "stream_stalled",
    Severity.HAZARD,
    _SOCKETS,
    _REPORT,
    "The reader waited for the server longer than the threshold between two reads.",
)
ANSWER_MISSING = _kind(
    "answer_missing",
    Severity.HAZARD,
    ("chat", "responses"),
    _REPORT,
    "The stream ended cleanly without text, refusal, call, image or audio: at most with reasoning.",
)
PROTOCOL_FOREIGN = _kind(
    "protocol_foreign",
    Severity.FAULT,
    _ALL,
    _REPORT,
    "JSON events came, and none of them belongs to the API that was asked.",
)
STREAM_SPLICED = _kind(
    "stream_spliced",
    Severity.FAULT,
    _ALL,
    (Strategy.DROP_DUPLICATE, Level.OPT_IN, Evidence.TEXT),
    "One stream has chunks of more than one completion.",
)

# --- the chunk and its choices

FINISH_REASON_MISSING = _kind(
    "finish_reason_missing",
    Severity.FAULT,
    _CHOICES,
    (Strategy.SYNTHESIZE_EVENTS, Level.OPT_IN, Evidence.NONE),
    "[DONE] came although a choice never got a finish_reason.",
)
FINISH_REASON_PREMATURE = _kind(
    "finish_reason_premature",
    Severity.FAULT,
    _CHOICES,
    (Strategy.NORMALIZE_CHUNK, Level.OPT_IN, Evidence.SHAPE),
    "A choice goes on after its finish_reason.",
)
FINISH_REASON_IRREGULAR = _kind(
    "finish_reason_irregular",
    Severity.DIALECT,
    _CHOICES,
    _HELPER,
    "finish_reason has a placeholder, unknown, repeated or contradictory value.",
)
CHUNK_METADATA_IRREGULAR = _kind(
    "chunk_metadata_irregular",
    Severity.DIALECT,
    _CHOICES,
    _HELPER,
    "id, model, created or object of a chunk is missing, empty, of another value or changes.",
)
CHOICES_EMPTY = _kind(
    "choices_empty", Severity.HAZARD, _CHOICES, _SHAPE_HELPER, "A chunk has no choices: [], null or absent."
)
DELTA_MISSING = _kind("delta_missing", Severity.DIALECT, _CHAT, _SHAPE_HELPER, "A choice has no delta object.")
CONTENT_MISPLACED = _kind(
    "content_misplaced",
    Severity.FAULT,
    _CHAT,
    (Strategy.NORMALIZE_CHOICES, Level.DEFAULT, Evidence.NONE),
    "A choice carries its answer in `message` or `text` and nothing in its delta: no reader of a stream looks there.",
)
CHOICE_INDEX_INVALID = _kind(
    "choice_index_invalid",
    Severity.FAULT,
    _CHOICES,
    _SHAPE,
    "choices[].index does not number the requested choices.",
)
USAGE_MISPLACED = _kind(
    "usage_misplaced",
    Severity.DIALECT,
    _CHOICES,
    _HELPER,
    "usage is nested in a choice, repeated, or not in the last chunk.",
)

# --- the text of a delta

_FILL = (Strategy.FILL_CONTENT, Level.AUTO, Evidence.SHAPE)

CONTENT_ABSENT = _kind(
    "content_absent",
    Severity.HAZARD,
    _CHAT,
    _FILL,
    "A delta has no `content` key: legal, but chunk['choices'][0]['delta']['content'] raises KeyError: 'content'.",
    CONTENT_EMPTY,
)
CONTENT_NULL = _kind(
    "content_null",
    Severity.HAZARD,
    _CHAT,
    _FILL,
    "A delta has content null: legal, but text += delta.content raises TypeError.",
    CONTENT_EMPTY,
)
CONTENT_NOT_STRING = _kind(
    "content_not_string",
    Severity.FAULT,
    _CHAT,
    (Strategy.FILL_CONTENT, Level.OPT_IN, Evidence.NONE),
    "content is neither a string nor null.",
    CONTENT_EMPTY,
)
CONTENT_REPLAYED = _kind(
    "content_replayed",
    Severity.FAULT,
    _CHOICES,
    (Strategy.DROP_DUPLICATE, Level.OPT_IN, Evidence.NONE),
    "Text already sent is sent again: the whole answer at the end, or cumulative deltas.",
)
CONTENT_UNDECODABLE = _kind(
    "content_undecodable",
    Severity.FAULT,
    _CHOICES,
    _REPORT,
    "Multi-byte characters were destroyed upstream: U+FFFD in text or tool arguments.",
)
ROLE_IRREGULAR = _kind(
    "role_irregular",
    Severity.DIALECT,
    _CHAT,
    _HELPER,
    "role is missing from the first delta of a choice or repeated later.",
)
REASONING_NONSTANDARD = _kind(
    "reasoning_nonstandard",
    Severity.HAZARD,
    _CHAT,
    _REPORT,
    "Reasoning comes in reasoning / reasoning_content / reasoning_details.",
)

# --- tool calls

TOOL_CALL_INDEX_MISSING = _kind(
    "tool_call_index_missing", Severity.FAULT, _CHAT, _REINDEX, "A tool call fragment has no int index.", CONTENT_EMPTY
)
TOOL_CALL_INDEX_REUSED = _kind(
    "tool_call_index_reused",
    Severity.FAULT,
    _CHAT,
    _REINDEX,
    "A second tool call comes under the index of the first.",
    CONTENT_EMPTY,
)
TOOL_CALL_INDEX_SPARSE = _kind(
    "tool_call_index_sparse",
    Severity.FAULT,
    _CHAT,
    _REINDEX,
    "Tool call indexes are not 0, 1, 2 in order of appearance, or a fragment has an index nobody opened.",
    CONTENT_EMPTY,
)
TOOL_CALL_FRAGMENT_IRREGULAR = _kind(
    "tool_call_fragment_irregular",
    Severity.DIALECT,
    _CHAT,
    (Strategy.NORMALIZE_TOOL_CALL, Level.HELPER, Evidence.SHAPE),
    "A fragment of a tool call has null, empty, absent or repeated fields, or shares its chunk with another one.",
    CONTENT_EMPTY,
)
TOOL_CALL_HEADER_INCOMPLETE = _kind(
    "tool_call_header_incomplete",
    Severity.DIALECT,
    _CHAT,
    (Strategy.HOLD_TOOL_HEADER, Level.DEFAULT, Evidence.SHAPE),
    "id and name do not both come in the first fragment of a call.",
    CONTENT_EMPTY,
)
TOOL_CALL_NAME_REPEATED = _kind(
    "tool_call_name_repeated",
    Severity.FAULT,
    _CHAT,
    (Strategy.NORMALIZE_TOOL_CALL, Level.HELPER, Evidence.SHAPE),
    "A continuation fragment carries a name again.",
    CONTENT_EMPTY,
)
TOOL_CALL_ID_CHANGED = _kind(
    "tool_call_id_changed",
    Severity.FAULT,
    _CHAT,
    _TOOL_CALL_HELPER,
    "A tool call and its id do not fit: a continuation has another one, or equal calls under several indexes have one.",
    CONTENT_EMPTY,
)
TOOL_CALL_MISSING = _kind(
    "tool_call_missing",
    Severity.FAULT,
    _CHAT,
    _REPORT,
    "finish_reason is tool_calls or function_call, and no call came.",
    CONTENT_EMPTY,
)
TOOL_CALL_MALFORMED = _kind(
    "tool_call_malformed",
    Severity.FAULT,
    _CHAT,
    _TOOL_CALL,
    "A tool call has a member of the wrong JSON type.",
    CONTENT_EMPTY,
)
TOOL_CALL_ARGUMENTS_INVALID = _kind(
    "tool_call_arguments_invalid",
    Severity.FAULT,
    _CHAT,
    (Strategy.DROP_DUPLICATE, Level.OPT_IN, Evidence.ARGUMENTS),
    "The concatenated arguments of a finished call are not JSON.",
    CONTENT_EMPTY,
)
TOOL_CALLS_INTERLEAVED = _kind(
    "tool_calls_interleaved", Severity.HAZARD, _CHAT, _REPORT, "Fragments of parallel tool calls alternate: legal."
)

# --- sequence numbers

SEQUENCE_OUT_OF_ORDER = _kind(
    "sequence_out_of_order",
    Severity.FAULT,
    _NUMBERED,
    (Strategy.REORDER_BUFFER, Level.DEFAULT, Evidence.SEQUENCE),
    "Events arrive in another order than their sequence numbers.",
    ORDER_MISMATCH,
)
SEQUENCE_GAP = _kind(
    "sequence_gap", Severity.FAULT, _NUMBERED, _REPORT, "Sequence numbers are missing for good.", ORDER_MISMATCH
)
SEQUENCE_DUPLICATE = _kind(
    "sequence_duplicate",
    Severity.FAULT,
    _NUMBERED,
    (Strategy.DROP_DUPLICATE, Level.DEFAULT, Evidence.SEQUENCE),
    "An event comes twice (resumed or retried relay).",
    ORDER_MISMATCH,
)
EVENT_REPEATED = _kind(
    "event_repeated",
    Severity.FAULT,
    ("agents", "realtime", "live"),
    (Strategy.DROP_DUPLICATE, Level.OPT_IN, Evidence.TEXT),
    "The same event, with the same event_id, comes again.",
)
SEQUENCE_UNUSABLE = _kind(
    "sequence_unusable",
    Severity.DIALECT,
    _NUMBERED,
    _REPORT,
    "sequence_number is absent, constant or jumps back from the start.",
    ORDER_MISMATCH,
)

# --- the Responses API

RESPONSE_INTERRUPTED = _kind(
    "response_interrupted",
    Severity.FAULT,
    _RESPONSES,
    (Strategy.RESUME, Level.SETTING, Evidence.SEQUENCE),
    "The stream of a background response was cut, and the response can be read on from the last event.",
)
RESPONSE_EVENT_MISSING = _kind(
    "response_event_missing",
    Severity.FAULT,
    _RESPONSES,
    (Strategy.SYNTHESIZE_EVENTS, Level.HELPER, Evidence.TEXT),
    "An announcing or closing event of an item or part is missing.",
)
RESPONSE_TEXT_LOST = _kind(
    "response_text_lost",
    Severity.FAULT,
    ("responses", "agents", "realtime"),
    (Strategy.SYNTHESIZE_EVENTS, Level.DEFAULT, Evidence.TEXT),
    "The deltas say less than the closing or terminal text.",
)
RESPONSE_REFERENCE_INVALID = _kind(
    "response_reference_invalid",
    Severity.FAULT,
    _RESPONSES,
    (Strategy.NORMALIZE_CHUNK, Level.DEFAULT, Evidence.TEXT),
    "output_index, content_index, item_id, call_id or response.id does not fit what was announced.",
)
RESPONSE_TERMINAL_MISMATCH = _kind(
    "response_terminal_mismatch",
    Severity.DIALECT,
    _RESPONSES,
    (Strategy.SYNTHESIZE_EVENTS, Level.HELPER, Evidence.TEXT),
    "The terminal event contradicts the events before it.",
)
