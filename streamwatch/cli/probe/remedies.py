"""From an invariant to what is done about it: the kind that the same finding is, its remedy, and the event at fault."""

from __future__ import annotations

from dataclasses import dataclass

from streamwatch.cli.check.recordings import Recording
from streamwatch.cli.check.replay import Position, positions
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.cli.probe.invariants import Invariant, table
from streamwatch.cli.probe.recorded_answer import RecordedAnswer

#: The kind of anomaly that says the same as an invariant.
KIND_OF = {
    "json_events": "payload_invalid",
    "utf8": "content_undecodable",
    "has_events": "stream_empty",
    "last_event_ends": "sse_event_unterminated",
    "body_ends": "stream_truncated",
    "no_error": "error_in_stream",
    "framing": "sse_framing_variant",
    "no_comments": "keepalive_frame",
    "done_marker": "sse_framing_variant",
    "model_constant": "stream_spliced",
    "letters_whole": "content_undecodable",
    "is_stream": "error_hidden",
    "choices_are_lists": "choices_empty",
    "choices_filled": "choices_empty",
    "id_constant": "chunk_metadata_irregular",
    "object_name": "chunk_metadata_irregular",
    "choice_index": "choice_index_invalid",
    "delta_present": "delta_missing",
    "role_first": "role_irregular",
    "role_once": "role_irregular",
    "role_assistant": "role_irregular",
    "content_present": "content_absent",
    "content_not_null": "content_null",
    "content_is_text": "content_not_string",
    "finish_reason": "finish_reason_missing",
    "finish_once": "finish_reason_irregular",
    "finish_known": "finish_reason_irregular",
    "finish_is_last": "finish_reason_premature",
    "finish_fits": "finish_reason_irregular",
    "call_index_present": "tool_call_index_missing",
    "call_index_in_order": "tool_call_index_sparse",
    "calls_not_interleaved": "tool_calls_interleaved",
    "call_header_first": "tool_call_header_incomplete",
    "call_ids_unique": "tool_call_index_reused",
    "call_named_once": "tool_call_name_repeated",
    "call_type": "tool_call_fragment_irregular",
    "call_arguments": "tool_call_arguments_invalid",
    "usage_last": "usage_misplaced",
    "usage_alone": "usage_misplaced",
    "numbered": "sequence_unusable",
    "numbers_contiguous": "sequence_gap",
    "begins_with_created": "response_event_missing",
    "terminal_last": "stream_truncated",
    "terminal_status": "response_terminal_mismatch",
    "event_line_fits": "payload_invalid",
    "response_id_constant": "response_reference_invalid",
    "items_in_order": "response_reference_invalid",
    "items_announced": "response_event_missing",
    "parts_announced": "response_event_missing",
    "items_closed": "response_event_missing",
    "item_ids_constant": "response_reference_invalid",
    "text_agrees": "response_text_lost",
    "arguments_agree": "response_text_lost",
    "arguments_parse": "tool_call_arguments_invalid",
    "output_repeated": "response_terminal_mismatch",
}
#: What to do where no kind says it.
_REMEDIES = {
    "content_type": "Let the server send Content-Type: text/event-stream.",
    "done_is_last": "Send nothing after [DONE], where clients no longer read.",
    "arrives_in_pieces": "Switch buffering off in the proxy (nginx: proxy_buffering off), and flush each event.",
    "n_honored": "Honor n, or refuse the request with HTTP 400.",
    "limit_told": "Send finish_reason length where max_tokens ended the answer.",
    "incomplete_told": "End with response.incomplete where max_output_tokens ended the answer.",
    "tools_called": "See the chat template and the tool parser of the server.",
    "functions_called": "See the chat template and the tool parser of the server.",
    "usage_sent": "Send a chunk with usage and no choices where stream_options.include_usage asks for it.",
    "usage_adds_up": "Let total_tokens be the sum of the other two.",
    "schema_kept": "Constrain the output to the schema, or refuse response_format with HTTP 400.",
    "numbers_from_zero": "Number the events of a response from 0.",
    "event_lines": "Write an event: line with the type of each event.",
    "no_done_marker": "End a Responses stream with its terminal event alone.",
    "usage_in_terminal": "Put the usage into the response of response.completed.",
}
#: Invariants that only the end, or the whole, can break: no single event is at fault.
OF_THE_WHOLE = frozenset(
    {
        "has_events",
        "utf8",
        "last_event_ends",
        "body_ends",
        "content_type",
        "framing",
        "done_marker",
        "arrives_in_pieces",
        "is_stream",
        "n_honored",
        "choice_index",
        "finish_reason",
        "limit_told",
        "tools_called",
        "usage_sent",
        "schema_kept",
        "numbered",
        "terminal_last",
        "incomplete_told",
        "items_closed",
        "output_repeated",
        "functions_called",
        "no_comments",
    }
)
#: Events of an answer that are looked at for the one at fault.
_MOST_EVENTS = 5_000


@dataclass(frozen=True)
class Remedy:
    """The advice for a broken invariant, and the kind that explains it, if one does."""

    kind: str
    text: str


def remedy(rule: Invariant) -> Remedy:
    """Return what to do about an invariant that is broken."""
    kind = KIND_OF.get(rule.name, "")
    return Remedy(kind, EXPLANATIONS[kind].advice if kind else _REMEDIES[rule.name])


def offending(answer: RecordedAnswer, name: str) -> Position | None:
    """Return the event from which on an invariant is broken; None where it is broken by the whole."""
    if name in OF_THE_WHOLE:
        return None
    ends = list(positions(Recording("", answer.body, "body", api=answer.asked.api)))[:_MOST_EVENTS]
    check = table()[name].check

    def is_broken(count: int) -> bool:
        part = answer.body[: ends[count - 1][0]]
        return check(_cut(answer, part)) is False

    low, high = 1, len(ends)
    if not ends or not is_broken(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_broken(middle) else (middle + 1, high)
    return ends[low - 1][1]


def _cut(answer: RecordedAnswer, body: bytes) -> RecordedAnswer:
    return RecordedAnswer(
        answer.asked,
        ((0.0, body),),
        content_type=answer.content_type,
        exact=answer.exact,
        ending=answer.ending,
        literal=answer.literal,
    )
