"""Where a masked capture keeps what: for each API the places of its payloads, as data.

A place that is not here is not the protocol's own: the application, a tool, a person or a vendor may have chosen what
stands there, names of members included, and all of it is masked. A place that is here has the names of its members
kept, and of its values only what its rule says. The APIs are those of openai 3.57; further members are those that the
recorded servers add.

In the tables a name stands for a member, a list for the elements of one, a tuple for a value that comes in more than
one shape, and `...` for anything, masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import EllipsisType
from typing import Any, TypeAlias

from streamwatch.core.settings import SEQUENCE_FIELDS


class Rule(Enum):
    """What is kept of a value that is no object and no list."""

    MASKED = "its JSON type and its length"
    WORD = "a word of the protocol"
    CODE = "the same, or a number"
    TYPE = "the same, and the known parts of a type that nobody knows"
    ID = "an identifier that a server made"
    MODEL = "the name of a model"
    NAME = "nothing, but which one it is: the name of a tool"
    NUMBER = "a number: an index, a sequence number, a time, a count of tokens"
    TEXT = "of a text in deltas, how far it has come, so that a repeated one is known again"
    JSON = "of JSON in a string, its punctuation and its literals"
    FRAGMENT = "the same of JSON that comes in fragments, one after the other"
    DELTA = "the same where the type of the event says arguments, else nothing"


@dataclass(frozen=True)
class PayloadPlace:
    """What is kept at one place, and the places below it."""

    rule: Rule = Rule.MASKED
    members: Mapping[str, PayloadPlace] = field(default_factory=dict)
    element: PayloadPlace | None = None


Table: TypeAlias = "Rule | EllipsisType | dict[str, Any] | list[Any] | tuple[Any, ...]"

WORD, CODE, TYPE, ID, MODEL, NUMBER = Rule.WORD, Rule.CODE, Rule.TYPE, Rule.ID, Rule.MODEL, Rule.NUMBER
NAME, TEXT, JSON, FRAGMENT, DELTA = Rule.NAME, Rule.TEXT, Rule.JSON, Rule.FRAGMENT, Rule.DELTA


def _masked(names: str) -> dict[str, Table]:
    return dict.fromkeys(names.split(), ...)


def _numbers(names: str) -> dict[str, Table]:
    return dict.fromkeys(names.split(), NUMBER)


def _words(names: str) -> dict[str, Table]:
    return dict.fromkeys(names.split(), WORD)


def _ids(names: str) -> dict[str, Table]:
    return dict.fromkeys(names.split(), ID)


# --- what several APIs have in common

_TOKENS = _numbers(
    "prompt_tokens completion_tokens total_tokens input_tokens output_tokens reasoning_tokens cached_tokens "
    "cache_write_tokens cache_creation_input_tokens cache_read_input_tokens audio_tokens text_tokens image_tokens "
    "video_tokens accepted_prediction_tokens rejected_prediction_tokens prompt_cache_hit_tokens "
    "prompt_cache_miss_tokens num_cached_tokens promptTokens completionTokens totalTokens seconds"
)
_USAGE: Table = {
    **_TOKENS,
    **_words("type service_tier"),
    "prompt_tokens_details": _TOKENS,
    "prompt_token_details": _TOKENS,
    "completion_tokens_details": _TOKENS,
    "input_tokens_details": _TOKENS,
    "input_token_details": _TOKENS,
    "output_tokens_details": _TOKENS,
    **_masked("cost cost_details is_byok prompt_time completion_time queue_time total_time"),
}
_ERROR: Table = (
    ...,
    {
        **_masked("message msg detail param innererror inner_error metadata failed_generation"),
        "type": CODE,
        "code": CODE,
        "status": CODE,
        **_numbers("status_code http_code"),
    },
)
#: What an error looks like that stands where the protocol does not look for one.
_ERRORS: dict[str, Table] = {
    "error": _ERROR,
    "code": CODE,
    "status": CODE,
    "error_code": CODE,
    **_numbers("status_code"),
    "error_type": CODE,
    "base_resp": {"status_code": NUMBER, "status_msg": ...},
    **_masked("message detail param error_message error_msg errors"),
}
_LOGPROBS: Table = [{**_masked("token logprob bytes"), "top_logprobs": [_masked("token logprob bytes")]}]
_FILTERS: Table = {
    category: {"filtered": ..., "detected": ..., "severity": WORD}
    for category in _masked(
        "hate self_harm sexual violence jailbreak profanity protected_material_code protected_material_text "
        "indirect_attack custom_blocklists"
    )
}
_FUNCTION: Table = {"name": NAME, "arguments": FRAGMENT, **_masked("description parameters strict output")}

# --- chat and legacy completions

_CALLS: Table = [
    {
        "index": NUMBER,
        "id": ID,
        "type": WORD,
        "function": _FUNCTION,
        "custom": {"name": NAME, "input": ...},
        "name": NAME,
    }
]
_PARTS: Table = [
    {
        "type": WORD,
        "text": (..., _masked("value annotations")),
        "thinking": [{"type": WORD, "text": ...}],
        "closed": ...,
    }
]
_REASONING: dict[str, Table] = {
    **_masked("reasoning_content reasoning reasoning_text reasoning_signature reasoning_encrypted reasoning_opaque"),
    **_masked("thinking thinking_blocks"),
    "reasoning_details": [
        {"type": TYPE, "format": WORD, "index": NUMBER, "id": ID, **_masked("text summary data signature")}
    ],
}
_DELTA: dict[str, Table] = {
    "role": WORD,
    "content": (TEXT, _PARTS),
    "tool_calls": _CALLS,
    "function_call": _FUNCTION,
    "audio": {"id": ID, "expires_at": NUMBER, **_masked("data transcript")},
    **_REASONING,
    **_masked("refusal annotations citations name audio_content image_data token_id provider_metadata"),
    **_words("channel phase"),
    **_numbers("index"),
}
_MESSAGE: Table = {**_DELTA, "content": (..., _PARTS)}
_CHOICE: Table = {
    "index": NUMBER,
    "delta": (..., _DELTA),
    "message": (..., _MESSAGE),
    "text": TEXT,
    **_words("finish_reason finishReason native_finish_reason stop_reason"),
    "logprobs": {
        "content": _LOGPROBS,
        "refusal": _LOGPROBS,
        "reasoning_content": _LOGPROBS,
        **_masked("tokens token_logprobs top_logprobs text_offset"),
    },
    "content_filter_results": _FILTERS,
    "content_filter_offsets": _numbers("check_offset start_offset end_offset"),
    "usage": _USAGE,
    **_masked("token_ids prompt_token_ids seed matched_stop raw_output obfuscation"),
}
_CHUNK: Table = {
    "id": ID,
    "object": TYPE,
    "type": TYPE,
    "created": NUMBER,
    "created_at": NUMBER,
    "model": MODEL,
    "system_fingerprint": ID,
    "service_tier": WORD,
    "choices": [_CHOICE],
    "usage": _USAGE,
    **_numbers(" ".join(SEQUENCE_FIELDS)),
    **_ERRORS,
    "prompt_filter_results": [{"prompt_index": NUMBER, "content_filter_results": _FILTERS}],
    "x_groq": {"id": ID, "usage": _USAGE, "error": ..., "seed": ...},
    "timings": _masked(
        "cache_n prompt_n prompt_ms prompt_per_token_ms prompt_per_second predicted_n predicted_ms "
        "predicted_per_token_ms predicted_per_second"
    ),
    **_masked(
        "provider obfuscation p citations search_results time_info cost nonce prompt_token_ids latency_checkpoint "
        "generationId"
    ),
}

# --- responses

_ANNOTATION: Table = {
    "type": WORD,
    **_numbers("index start_index end_index"),
    **_masked("url title file_id filename container_id"),
}
_PART: Table = {
    "type": WORD,
    "annotations": [_ANNOTATION],
    "logprobs": _LOGPROBS,
    **_masked("text refusal reasoning thinking image_url file_id detail transcript data"),
}
_ACTION: Table = {
    "type": WORD,
    **_masked(
        "query queries sources url pattern command commands env timeout_ms max_output_length user working_directory "
        "x y button keys text path scroll_x scroll_y"
    ),
}
#: A tool as it was asked for: what of it is the application's, a schema above all, is most of it.
_TOOL: Table = {
    "type": WORD,
    "search_context_size": WORD,
    "execution": WORD,
    "container": (..., {"type": WORD, "container_id": ID}),
    "environment": {"type": WORD, "container_id": ID},
    "user_location": {"type": WORD, **_masked("city country region timezone")},
    "format": {"type": WORD, **_masked("definition syntax")},
    "ranking_options": {"ranker": WORD, "score_threshold": ...},
    **_masked(
        "name description parameters output_schema input_schema strict filters headers server_label server_url "
        "server_description allowed_tools allowed_callers require_approval connector_id authorization vector_store_ids "
        "max_num_results model n size quality background moderation output_format output_compression partial_images "
        "input_fidelity input_image_mask display_width display_height defer_loading tools function file_search"
    ),
}
_ITEM: dict[str, Table] = {
    **_ids("id call_id"),
    "type": TYPE,
    **_words("status role phase execution"),
    "content": (..., [_PART]),
    "summary": (..., [{"type": WORD, "text": ...}]),
    "arguments": JSON,
    "action": _ACTION,
    "approval_request_id": ID,
    "container_id": ID,
    "error": _ERROR,
    "environment": {"type": WORD, "container_id": ID},
    "caller": {"type": WORD, "caller_id": ID},
    "operation": {"type": WORD, **_masked("diff path")},
    "outcome": {"type": WORD, "exit_code": ...},
    "output": (..., [{"type": WORD, "outcome": {"type": WORD, "exit_code": ...}, **_masked("stdout stderr text")}]),
    "outputs": [{"type": WORD, **_masked("logs url")}],
    "results": [_masked("file_id filename score text attributes")],
    "tools": [_TOOL],
    **_words("output_format quality size background format"),
    "name": NAME,
    **_masked(
        "namespace input code encrypted_content queries result revised_prompt prompt server_label fingerprint "
        "max_output_length pending_safety_checks acknowledged_safety_checks text"
    ),
}
_RESPONSE: Table = {
    **_ids("id previous_response_id"),
    "object": TYPE,
    "model": MODEL,
    **_words("status service_tier"),
    **_numbers("created_at completed_at max_output_tokens max_tool_calls top_logprobs"),
    "output": [_ITEM],
    "usage": _USAGE,
    "error": _ERROR,
    "incomplete_details": {"reason": WORD},
    "reasoning": _words("effort summary generate_summary mode context"),
    "text": {"verbosity": WORD, "format": {"type": WORD, **_masked("name description schema strict")}},
    "tool_choice": (WORD, {"type": WORD, "mode": WORD, **_masked("name tools server_label")}),
    "tools": [_TOOL],
    "truncation": WORD,
    "conversation": {"id": ID},
    "prompt_cache_retention": WORD,
    "tool_usage": {"image_gen": _USAGE, "web_search": _numbers("num_requests")},
    "content_filters": [
        {"content_filter_results": _FILTERS, "source_type": WORD, **_masked("blocked content_filter_offsets")}
    ],
    **_masked(
        "background instructions metadata parallel_tool_calls temperature top_p frequency_penalty presence_penalty "
        "prompt prompt_cache_key prompt_cache_options safety_identifier store user output_text moderation system_prompt"
    ),
}
_EVENT: dict[str, Table] = {
    "type": TYPE,
    **_numbers("sequence_number output_index content_index summary_index annotation_index command_index"),
    **_numbers("partial_image_index created_at"),
    **_ids("item_id response_id event_id stream_id call_id"),
    "response": _RESPONSE,
    "item": _ITEM,
    "part": _PART,
    "annotation": _ANNOTATION,
    "delta": (DELTA, {"stdout": ..., "stderr": ...}),
    "arguments": JSON,
    "logprobs": _LOGPROBS,
    "usage": _USAGE,
    "output": (..., [{"type": WORD, "outcome": {"type": WORD, "exit_code": ...}, **_masked("stdout stderr")}]),
    "rate_limits": {
        **_numbers("limit_requests limit_tokens remaining_requests remaining_tokens reset_requests_ms reset_tokens_ms")
    },
    **_ERRORS,
    **_words("output_format quality size background"),
    "name": NAME,
    **_masked("text refusal input command diff obfuscation partial_image_b64 transcript"),
}

# --- the sessions of agents

_TURN: Table = {
    **_ids("id agent_id session_id subagent_id"),
    "object": TYPE,
    "status": WORD,
    **_numbers("created_at started_at completed_at"),
    "error": _ERROR,
    "usage": _USAGE,
}
_SESSION: Table = {
    **_ids("id agent_id environment_id"),
    "object": TYPE,
    "status": WORD,
    **_numbers("created_at updated_at last_active_at expires_at"),
    "agent": {"id": ID, "model": MODEL, "service_tier": WORD, **_masked("name instructions tools")},
    "error": _ERROR,
    "usage": _USAGE,
    **_masked("metadata title required_actions"),
}
_AGENT_EVENT: Table = {
    **{name: place for name, place in _EVENT.items() if name not in ("response", "rate_limits")},
    **_ids("session_id turn_id subagent_id"),
    "item": {**_ITEM, "turn_id": ID, **_masked("command cwd duration_ms exit_code")},
    "turn": _TURN,
    "session": _SESSION,
    "subagent": {"id": ID, "status": WORD, **_masked("name")},
    "environment": {"id": ID, "type": WORD, "status": WORD, "error": _ERROR},
}

# --- assistants

_RANKING: Table = {"ranker": WORD, "score_threshold": ..., "hybrid_search": ...}
_STEP_CALLS: Table = [
    {
        "index": NUMBER,
        "id": ID,
        "type": WORD,
        "function": _FUNCTION,
        "code_interpreter": {
            "input": ...,
            "outputs": [{"index": NUMBER, "type": WORD, "logs": ..., "image": {"file_id": ID}}],
        },
        "file_search": {
            "ranking_options": _RANKING,
            "results": [
                {"content": [{"type": WORD, "text": ...}], **_masked("attributes file_id file_name filename score")}
            ],
        },
    }
]
_STEP: Table = {"type": WORD, "message_creation": {"message_id": ID}, "tool_calls": _STEP_CALLS}
_SAID: Table = [
    {
        **_numbers("index"),
        **_words("type"),
        **_masked("refusal"),
        "text": (
            ...,
            {
                "value": ...,
                "annotations": [
                    {
                        "type": WORD,
                        "text": ...,
                        **_numbers("index start_index end_index"),
                        "file_citation": _masked("file_id quote"),
                        "file_path": _masked("file_id"),
                    }
                ],
            },
        ),
        "image_file": {"file_id": ID, "detail": WORD},
        "image_url": {"url": ..., "detail": WORD},
    }
]
_RUN: Table = {
    "object": TYPE,
    **_words("type status role"),
    "model": MODEL,
    **_ids("id thread_id run_id assistant_id"),
    **_numbers("created_at started_at completed_at cancelled_at failed_at expires_at expired_at incomplete_at"),
    **_numbers("max_completion_tokens max_prompt_tokens"),
    "delta": {"role": WORD, "content": (..., _SAID), "step_details": _STEP},
    "content": (..., _SAID),
    "step_details": _STEP,
    "incomplete_details": {"reason": WORD},
    "last_error": _ERROR,
    "usage": _USAGE,
    "required_action": {"type": WORD, "submit_tool_outputs": {"tool_calls": _STEP_CALLS}},
    "tools": [_TOOL],
    "tool_choice": (WORD, {"type": WORD, "function": {"name": ...}}),
    "truncation_strategy": {"type": WORD, "last_messages": NUMBER},
    "response_format": (WORD, {"type": WORD, "json_schema": ...}),
    "reasoning_effort": WORD,
    "tool_resources": {"code_interpreter": {"file_ids": ...}, "file_search": {"vector_store_ids": ...}},
    **_ERRORS,
    **_masked("instructions metadata attachments file_ids temperature top_p parallel_tool_calls"),
}

# --- images, transcriptions, and what nobody knows

_IMAGE: Table = {
    "type": TYPE,
    "b64_json": ...,
    "usage": _USAGE,
    **_numbers("created_at partial_image_index sequence_number"),
    **_words("output_format quality size background"),
    **_ERRORS,
}
_TRANSCRIPT: Table = {
    "type": TYPE,
    "logprobs": _LOGPROBS,
    "usage": _USAGE,
    **_numbers("sequence_number"),
    **_ERRORS,
    **_masked("delta text segment_id speaker start end id languages"),
}
_UNKNOWN: Table = {"type": TYPE, "event_id": ID, "sequence_number": NUMBER, **_ERRORS}


def _place(table: Table) -> PayloadPlace:
    """Return the place that a table describes."""
    rule, members, element = Rule.MASKED, dict[str, PayloadPlace](), None
    for shape in table if isinstance(table, tuple) else (table,):
        if isinstance(shape, Rule):
            rule = shape
        elif isinstance(shape, dict):
            members = {name: _place(below) for name, below in shape.items()}
        elif isinstance(shape, list):
            element = _place(shape[0])
    return PayloadPlace(rule, members, element)


#: Of each API, the place of a whole payload.
PLACES: dict[str, PayloadPlace] = {
    "chat": _place(_CHUNK),
    "completions": _place(_CHUNK),
    "responses": _place(_EVENT),
    "assistants": _place(_RUN),
    "agents": _place(_AGENT_EVENT),
    "images": _place(_IMAGE),
    "transcriptions": _place(_TRANSCRIPT),
    "other": _place(_UNKNOWN),
}
#: Where nothing is the protocol's own.
FREE = PayloadPlace()


def api_of(payload: object) -> str:
    """Return the API that a payload says it is of, by its `object` or `type`; "" where it does not say.

    A server may answer in another API's words than it was asked in, and an address may be one that nobody knows.
    """
    said = (payload.get("object"), payload.get("type")) if isinstance(payload, dict) else ()
    for word in said:
        if not isinstance(word, str):
            continue
        for beginning, api in _BEGINNINGS:
            if word.startswith(beginning):
                return api
    return ""


_BEGINNINGS = (
    ("chat.completion", "chat"),
    ("text_completion", "completions"),
    ("response.", "responses"),
    ("thread.", "assistants"),
    ("agent.", "agents"),
    ("image_generation.", "images"),
    ("image_edit.", "images"),
    ("transcript.text.", "transcriptions"),
)


def names_of(place: PayloadPlace) -> set[str]:
    """Return the names of all members at and below a place."""
    below = [*place.members.values(), *([place.element] if place.element else [])]
    return set(place.members).union(*map(names_of, below))


#: Every name that is kept somewhere: what stands in for a masked name is none of them.
NAMES = frozenset().union(*map(names_of, PLACES.values()))
