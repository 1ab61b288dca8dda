"""The words that are said about an anomaly and about a stream: the values of labels, and what people read.

    severity   hazard   legal, but breaks naive code; never a reason for an alert
               dialect  another shape than OpenAI's own; the SDK mostly copes
               fault    data is lost or corrupted, or the SDK raises

This module has no behaviour and imports the standard library only.
"""

from __future__ import annotations

from enum import Enum


class _Word(str, Enum):
    """A word with a meaning: the value is the label, `meaning` the phrase for people."""

    meaning: str

    def __new__(cls, label: str, meaning: str) -> _Word:
        member = str.__new__(cls, label)
        member._value_ = label
        member.meaning = meaning
        return member


class Severity(str, Enum):
    """The severity of an anomaly for the reader of the stream."""

    HAZARD = "hazard"
    DIALECT = "dialect"
    FAULT = "fault"


class Level(_Word):
    """The request that a repair needs before it is made."""

    DEFAULT = "default", "by default: its preconditions prove it right for every reader"
    AUTO = "auto", "by default, for code that asks a dict of a chunk; attributes and JSON stay as they came"
    HELPER = "helper", "by default for the SDK's `.stream()` helper, which needs it; on request for every other reader"
    OPT_IN = "opt_in", "on request: it is a heuristic, or it changes what a healthy stream delivers"
    SETTING = "setting", "on request, with `STREAMWATCH_RESUME=true`: it adds requests to the application's own"
    NEVER = "never", "never: it is reported only"


class Strategy(_Word):
    """The way in which a kind is repaired."""

    REFRAME = "reframe", "write the frame as OpenAI would: LF, `data: `, a blank line"
    DROP_FRAME = "drop_frame", "do not hand the frame to the SDK"
    DROP_DUPLICATE = "drop_duplicate", "drop what was already delivered, or comes after the end"
    FILL_CONTENT = "fill_content", "make delta.content a string"
    NORMALIZE_CHOICES = "normalize_choices", "choices a list, delta an object, index within n"
    NORMALIZE_CHUNK = "normalize_chunk", "correct one scalar of a chunk or event: role, object, finish_reason, ids"
    NORMALIZE_TOOL_CALL = "normalize_tool_call", "correct the fields of a tool call fragment"
    REINDEX_TOOL_CALLS = "reindex_tool_calls", "number the tool calls of a choice 0, 1, 2 in order of appearance"
    HOLD_TOOL_HEADER = "hold_tool_header", "hold the fragments of a tool call until its id and name are known"
    REORDER_BUFFER = "reorder_buffer", "put events back in order of their sequence numbers, in a bounded window"
    SYNTHESIZE_EVENTS = "synthesize_events", "insert an event the protocol demands, from data that is on the wire"
    RESUME = "resume", "ask the server for the rest of a response that it keeps, from the last event on"
    NONE = "none", "report only"


class Outcome(str, Enum):
    """The end of one detected anomaly.

    The fix rate is (verified + unverified) / all, of cases: see `stream_cases`; the verified
    rate is verified / (verified + failed).
    """

    VERIFIED = "verified"  #: repaired, and evidence in the stream agrees
    UNVERIFIED = "unverified"  #: repaired, and the stream holds no evidence either way
    FAILED = "failed"  #: repaired, and evidence contradicts; or the repair ran out of window
    UNREPAIRED = "unrepaired"  #: the policy is off, or nothing can be done


class Resumed(_Word):
    """The result of a request for the rest of a response: the label `streamwatch.resumed`."""

    READ_ON = "read_on", "events came that follow the last one"
    EMPTY = "empty", "the answer ended without a new event"
    WRONG = "wrong", "an event came that does not follow the last one, and nothing of the answer was used from there on"
    REFUSED = "refused", "an error status, no event stream, or no answer at all"
    ABANDONED = "abandoned", "the reader left while the request was under way"


class Verdict(str, Enum):
    """The end of a stream: the first that applies, in this order."""

    ABANDONED = "abandoned"  #: the consumer left before the end
    ERROR = "error"  #: the server reported an error in the stream
    EMPTY = "empty"  #: no JSON payload came
    TRUNCATED = "truncated"  #: the body ended before the protocol's end
    COMPLETE = "complete"  #: none of the above; faults that were repaired do not change it


class Condition(str, Enum):
    """The condition in which a stream reached its reader: the worst that applies."""

    CLEAN = "clean"  #: no fault was found; hazards and dialects may have been, nearly every healthy stream has some
    REPAIRED = "repaired"  #: every fault was repaired before the stream reached its reader
    BROKEN = "broken"  #: a fault reached the reader, or the stream was truncated, empty or ended in an error


class Evidence(_Word):
    """The evidence in the stream that can prove a repair right; the repair's own product is not evidence."""

    SHAPE = "shape", "only the shape changes, and a stream does not say how that was meant"
    ARGUMENTS = "arguments", "the arguments of every tool call parse as JSON"
    SEQUENCE = "sequence", "the numbers are contiguous at the end, and repeated text equals the deltas"
    TEXT = "text", "text that is repeated at the end equals the deltas"
    COMPLETE = "complete", "the stream still ends complete"
    NONE = "none", "the stream holds none"


#: Verdicts of streams that nobody could read to their end.
BROKEN_VERDICTS = frozenset({Verdict.TRUNCATED, Verdict.ERROR, Verdict.EMPTY})


class ChunkType(str, Enum):
    """The main content of a chunk: the label of `streamwatch.chunks`."""

    TEXT = "text"
    TOOL_CALL = "tool_call"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    ROLE = "role"
    FINISH = "finish"
    USAGE = "usage"
    LIFECYCLE = "lifecycle"
    OTHER = "other"


class StreamState(str, Enum):
    """The state of an open stream."""

    STARTING = "starting"  #: its reader waits for the first chunk
    UNANSWERED = "unanswered"  #: the same, for longer than the threshold
    FLOWING = "flowing"  #: its reader waits for the next chunk
    SILENT = "silent"  #: the same, for longer than the threshold
    READING = "reading"  #: its reader is at work on what it got


#: What a stream does of which nothing has come for longer than the threshold, while its reader waits.
SILENT_STATES = (StreamState.UNANSWERED, StreamState.SILENT)
