"""The protocol's own words: closed sets of what may stand in a label, an attribute or a masked capture.

A server can write anything where the protocol has a word. Only what is in a table here is known to say nothing of a
prompt, an answer, a person or a key; everything else counts as text. The words are those of OpenAI's published event
and object types (openai 3.57), and those that recorded servers use in the same places.
"""

from __future__ import annotations

#: What is exported for a word that is in no table: GenAI conventions write unknown finish reasons so.
OTHER_WORD = "other"

#: Why an answer ended: OpenAI's words, then what other servers and the APIs behind gateways call the same. The status
#: of a response is among them, as it is what a response has instead; `error` stands for a choice that was cut off.
_REASONS = """
    stop length tool_calls content_filter function_call
    completed incomplete failed cancelled in_progress queued error expired requires_action
    eos eos_token end_turn stop_sequence max_tokens max_output_tokens max_prompt_tokens max_completion_tokens
    model_length model_context_window_exceeded token_limit time_limit tool_use tool_call pause_turn refusal
    safety recitation sensitive guardrail_intervened blocklist prohibited_content spii language image_safety
    abort aborted canceled network_error malformed_function_call unexpected_tool_call insufficient_system_resource
    complete content_filtered finish_reason_unspecified not_finished other unknown null none
"""
FINISH_REASONS = frozenset(_REASONS.split())

_ROLES = "assistant critic developer discriminator function model system tool unknown user"
_STATUSES = """
    active calling cancelled cancelling closed completed connected disconnected expired failed generating idle
    in_progress incomplete interpreting paused pending queued ready requires_action searching skipped suspended waiting
"""
_ERRORS = """
    authentication_error api_error bad_request billing_not_active bio_policy connection_failed content_filter
    content_policy_violation context_length_exceeded credit_balance_exhausted cyber_policy engine_overloaded
    failed_to_download_image flex_unavailable http_error image_parse_error insufficient_quota internal_error
    internal_server_error invalid_api_key invalid_image invalid_prompt invalid_request invalid_request_error
    invalid_type invalid_value json_validate_failed max_output_tokens model_not_found not_found_error
    overloaded_error permission_error previous_response_not_found quota_exceeded rate_limit_error
    rate_limit_exceeded request_timeout resource_not_found response_not_found server_error server_overloaded
    service_unavailable timeout tokens tool_use_failed unknown-error unknown_error unsupported_value
    usage_limit_exceeded
"""
_SETTINGS = """
    24h all_turns analysis approximate auto client commentary concise current_turn default default-2024-11-15
    default_2024_08_21 detailed direct disabled enabled explicit fast final final_answer flex high image implicit
    in_memory input json json_object json_schema large last_messages low max medium minimal mode none on_demand opaque
    original output priority pro programmatic provisioned required safe scale server small srt standard text thought
    transparent ultrafast verbose_json vtt xhigh
    anthropic-claude-v1 google-gemini-v1 openai-responses-v1 xai-responses-v1
    gif jpeg png svg webp mp3 wav 1024x1024 1024x1536 1536x1024
"""
_OBJECTS = """
    agent.session agent.session.turn chat.completion chat.completion.chunk chat.completion.done completion
    completion.chunk error list response text_completion thread thread.message thread.message.delta thread.run
    thread.run.step thread.run.step.delta
"""
#: What an event, an item, a part, a tool or an annotation is.
_TYPES = """
    allowed_tools apply_patch apply_patch_call apply_patch_call_output code_interpreter code_interpreter_call
    compaction computer computer_call computer_call_output computer_screenshot computer_use_preview container_auto
    container_file_citation container_reference create_file custom custom_tool_call custom_tool_call_output
    delete_file duration error exec exit file file_citation file_path file_search file_search_call find_in_page
    function function_call function_call_output grammar image_file image_generation image_generation_call image_url
    input_audio input_file input_image input_text item_reference local local_shell local_shell_call
    local_shell_call_output logs mcp mcp_approval_request mcp_approval_response mcp_call mcp_list_tools message
    message_creation namespace open_page output_text program program_output programmatic_tool_calling reasoning
    reasoning.encrypted reasoning.summary reasoning.text reasoning_text refusal search shell shell_call
    shell_call_output submit_tool_outputs summary_text text thinking tokens tool_calls tool_search tool_search_call
    tool_search_output update_file url_citation web_search web_search_2025_08_26 web_search_call web_search_preview
    web_search_preview_2025_03_11
    keepalive keep_alive keep-alive ping heartbeat message_delta done
    image_generation.completed image_generation.partial_image image_edit.completed image_edit.partial_image
    transcript.text.delta transcript.text.done transcript.text.segment
    thread.created thread.run.created thread.run.queued thread.run.in_progress thread.run.requires_action
    thread.run.completed thread.run.incomplete thread.run.failed thread.run.cancelling thread.run.cancelled
    thread.run.expired thread.run.step.created thread.run.step.in_progress thread.run.step.completed
    thread.run.step.failed thread.run.step.cancelled thread.run.step.expired thread.message.created
    thread.message.in_progress thread.message.completed thread.message.incomplete
    agent.session.created agent.session.in_progress agent.session.idle agent.session.failed
    agent.session.requires_action agent.session.turn.created agent.session.turn.in_progress
    agent.session.turn.completed agent.session.turn.failed agent.session.turn.cancelled
    agent.session.turn.item.added agent.session.turn.item.done agent.session.turn.content_part.added
    agent.session.turn.content_part.done agent.session.turn.output_text.delta agent.session.turn.output_text.done
    response.created response.queued response.in_progress response.completed response.incomplete response.failed
    response.cancelled response.output_item.added response.output_item.done response.content_part.added
    response.content_part.done response.output_text.delta response.output_text.done
    response.output_text.annotation.added response.refusal.delta response.refusal.done
    response.reasoning_part.added response.reasoning_part.done response.reasoning_text.delta
    response.reasoning_text.done response.reasoning_summary_part.added response.reasoning_summary_part.done
    response.reasoning_summary_text.delta response.reasoning_summary_text.done
    response.function_call_arguments.delta response.function_call_arguments.done
    response.custom_tool_call_input.delta response.custom_tool_call_input.done response.mcp_call_arguments.delta
    response.mcp_call_arguments.done response.mcp_call.in_progress response.mcp_call.completed
    response.mcp_call.failed response.mcp_list_tools.in_progress response.mcp_list_tools.completed
    response.mcp_list_tools.failed response.file_search_call.in_progress response.file_search_call.searching
    response.file_search_call.completed response.web_search_call.in_progress response.web_search_call.searching
    response.web_search_call.completed response.code_interpreter_call.in_progress
    response.code_interpreter_call.interpreting response.code_interpreter_call.completed
    response.code_interpreter_call_code.delta response.code_interpreter_call_code.done
    response.image_generation_call.in_progress response.image_generation_call.generating
    response.image_generation_call.partial_image response.image_generation_call.completed
    response.shell_call_command.added response.shell_call_command.delta response.shell_call_command.done
    response.shell_call_output_content.delta response.shell_call_output_content.done
    response.compaction.compacting response.audio.delta response.audio.done response.audio.transcript.delta
    response.audio.transcript.done response.rate_limits.updated response.keep_alive response.keepalive
    response.heartbeat
"""

#: Every word that a masked capture keeps, where the protocol has a word.
WORDS = frozenset(
    {
        *FINISH_REASONS,
        *(reason.upper() for reason in FINISH_REASONS),  # Google's
        "None",  # what Python makes of null
        *f"{_ROLES} {_STATUSES} {_ERRORS} {_SETTINGS} {_OBJECTS} {_TYPES}".split(),
    }
)
#: The parts of these words. The type of an event that nobody knows keeps them, as its family and its verb say what
#: kind of event it is.
PARTS = frozenset(part for word in WORDS for part in word.replace(".", "_").split("_") if part.isalpha())


def finish_reason(reason: object) -> str:
    """Return a finish reason that is in the table, as it came; `other` for everything else."""
    if not isinstance(reason, str):
        return OTHER_WORD
    known = reason in FINISH_REASONS or (reason.isupper() and reason.lower() in FINISH_REASONS)
    return reason if known else OTHER_WORD
