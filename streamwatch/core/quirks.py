"""The habits of providers that differ from OpenAI: one table, each row with its source, and a few questions to it.

`recorded` as a source means that the habit stands in recordings of real servers. The fields in
which relays stamp the order of chunks are a setting: `settings.SEQUENCE_FIELDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# --- the end of a choice

#: The words of OpenAI's chat and legacy completions APIs.
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
#: Finish reasons that promise a call.
CALLING = frozenset({"tool_calls", "function_call"})
#: What stands in for null until a choice ends. "": text-generation-inference (recorded), Ollama (ollama#4357), SGLang
#: (sglang#3912); "null": KoboldCpp (AIShell#350); "None": gateways in Python that make a text of it.
PLACEHOLDERS = ("", "null", "None")
#: What says that the answer failed, in lower case. `abort`: vLLM, SGLang; `cancelled`: gateways, after a status of the
#: Responses API; `error`: Mistral's specification, OpenRouter; `network_error`: Zhipu; `insufficient_system_resource`:
#: DeepSeek; `malformed_function_call`, `unexpected_tool_call`: Gemini.
FAILURES = frozenset(
    (
        *("abort", "aborted", "cancelled", "canceled", "error", "network_error", "insufficient_system_resource"),
        *("malformed_function_call", "unexpected_tool_call"),
    )
)
#: Parts of such a word that say the same, whatever stands beside them: `error_finish` (hermes-agent#92161).
_FAILING = frozenset(("error", "fail", "failed", "failure", "timeout", "overloaded"))
#: What other APIs call the same end.
SYNONYMS: Mapping[str, str] = {
    "eos": "stop",  # Together (recorded)
    "eos_token": "stop",  # text-generation-inference
    "end_turn": "stop",  # Anthropic
    "stop_sequence": "stop",  # Anthropic
    "STOP": "stop",  # Gemini
    "COMPLETE": "stop",  # Cohere
    "MAX_TOKENS": "length",  # Gemini, Cohere
    "max_tokens": "length",  # Anthropic
    "max_output_tokens": "length",  # OpenAI's Responses API
    "model_context_window_exceeded": "length",  # Anthropic, Zhipu
    "SAFETY": "content_filter",  # Gemini
    "PROHIBITED_CONTENT": "content_filter",  # Gemini
    "RECITATION": "content_filter",  # Gemini
    "content_filtered": "content_filter",  # Bedrock
    "refusal": "content_filter",  # Anthropic
    "sensitive": "content_filter",  # Zhipu
    "guardrail_intervened": "content_filter",  # Bedrock
    "tool_use": "tool_calls",  # Anthropic
}


def finish_word(finish_reason: str) -> str:
    """Return OpenAI's word for a finish reason; "" where nobody knows what it means.

    The same word in capitals or with hyphens means the same: the AI SDK's `tool-calls` (eliza#12945).
    """
    same = finish_reason.lower().replace("-", "_")
    return SYNONYMS.get(finish_reason, same if same in FINISH_REASONS else "")


def is_failure(finish_reason: str) -> bool:
    """Return whether a finish reason says that the answer failed: by a known word, or by one that every vendor uses."""
    same = finish_reason.lower().replace("-", "_")
    return same in FAILURES or not _FAILING.isdisjoint(same.split("_"))


# --- the members of a delta

#: Where reasoning stands. `reasoning_content`: DeepSeek, and most others; `reasoning`: Groq, Ollama, OpenRouter, vLLM;
#: `reasoning_details`: OpenRouter, MiniMax (recorded); `reasoning_text`: GitHub Copilot.
REASONING = ("reasoning_content", "reasoning", "reasoning_details", "reasoning_text")
#: Members that are no answer, beside role and reasoning. `index`: Mistral; `name`: MiniMax; `channel`: Groq; `phase`:
#: Cline; `token_id`: text-generation-inference; `provider_metadata`: Vercel; `reasoning_encrypted`: Venice (all
#: recorded); `reasoning_opaque`: GitHub Copilot; `reasoning_signature`: Bedrock; `thinking_blocks`: LiteLLM.
NO_ANSWER = frozenset(
    (
        *("role", "index", "name", "channel", "phase", "token_id", "provider_metadata"),
        *("reasoning_encrypted", "reasoning_opaque", "reasoning_signature", "thinking_blocks", *REASONING),
    )
)

# --- errors in members of a vendor's own

#: Codes: anything says failure but these. MiniMax: `base_resp.status_code`; Baidu: `error_code`.
_CODES = (("base_resp", "status_code"), ("error_code",), ("errorCode",))
_GOOD_CODES = frozenset(("", "0", "200", "none", "ok", "success", "false"))
#: Messages that say of any other code that it is one of success.
_GOOD_WORDS = frozenset(("ok", "success"))
#: Members that are there, or not empty, on failure only. `errors`: Cloudflare; `fault`: Apigee.
_ERRORS = ("error_type", "error_message", "error_msg", "errorMessage", "errors", "fault")
#: How the `__type` of a failure ends: AWS.
_EXCEPTIONS = ("Exception", "Error")
#: HTTP statuses in the body: 400 and above says failure. Spring's error page has `status`, FastAPI gateways `code`.
_STATUSES = ("status", "status_code", "statusCode", "code")
_FIRST_ERROR_STATUS = 400
_BAD_STATUSES = frozenset(("error", "failed", "failure", "fail"))
#: Where the words of the error stand, the most telling first.
_MESSAGES = (
    *(("error_message",), ("error_msg",), ("errorMessage",), ("base_resp", "status_msg")),
    *(("message",), ("msg",), ("detail",), ("fault", "faultstring"), ("error_type",)),
)


def says_failure(payload: Mapping[str, Any]) -> bool:
    """Return whether a member of a vendor's own says that the request failed."""
    codes = [_member(payload, path) for path in _CODES]
    if any(isinstance(code, (int, str)) and str(code).lower() not in _GOOD_CODES for code in codes):
        return True
    if payload.get("success") is False or any(payload.get(name) for name in _ERRORS):
        return True
    return error_message(payload).lower() not in _GOOD_WORDS and _has_code_of_failure(payload)


def _has_code_of_failure(payload: Mapping[str, Any]) -> bool:
    """Return whether a status, a code or the name of an exception says it."""
    statuses = [payload.get(name) for name in _STATUSES]
    if any(type(status) is int and status >= _FIRST_ERROR_STATUS for status in statuses):
        return True
    status, exception, code = payload.get("status"), payload.get("__type"), payload.get("code")
    if isinstance(status, str) and status.lower() in _BAD_STATUSES:
        return True
    if isinstance(exception, str) and exception.endswith(_EXCEPTIONS):
        return True
    if type(code) is int and code < 0 and error_message(payload):
        return True  # as the errors of C, in gateways that begin at 0
    # DashScope's own form: {"code": "InvalidParameter", "message": "..."}
    return isinstance(code, str) and code.lower() not in _GOOD_CODES and bool(payload.get("message"))


def error_message(payload: Mapping[str, Any]) -> str:
    """Return the words in which a payload says what failed, as far as they stand where one is known to put them."""
    texts = (_member(payload, path) for path in _MESSAGES)
    return next((text for text in texts if isinstance(text, str) and text), "")


def _member(payload: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload


# --- other protocols, by the shape of their events

#: How the `type` or `object` of an event begins: OpenAI's Responses and Assistants APIs, Anthropic's Messages API,
#: Cohere's chat API.
_FOREIGN_TYPES = ("response.", "thread.", "message_", "content_block_", "message-", "content-", "tool-call-")
#: Members that stand together: Gemini; Ollama's chat and generate APIs; text-generation-inference's own API;
#: llama.cpp's own API; DashScope's own API.
_FOREIGN_MEMBERS = (
    *(("candidates",), ("message", "done"), ("response", "done"), ("token", "generated_text")),
    *(("content", "stop"), ("output", "request_id")),
)


def is_of_another_api(payload: Mapping[str, Any]) -> bool:
    """Return whether an event without choices has the shape of a protocol that is not chat completions."""
    names = [name for name in (payload.get("type"), payload.get("object")) if isinstance(name, str)]
    if any(name.startswith(_FOREIGN_TYPES) for name in names):
        return True
    return any(all(member in payload for member in members) for members in _FOREIGN_MEMBERS)


#: What servers and relays call an event that keeps the connection open, without `response.`, hyphens and underscores:
#: OpenAI sends `keepalive`, a gateway `response.keep_alive`, Azure an event of that name with {}.
_KEEPALIVE = "keepalive"
#: The same, if there is nothing else in it: Anthropic's, and relays'.
_PINGS = frozenset(("ping", "heartbeat"))


def is_keepalive(name: Any, payload: Mapping[str, Any]) -> bool:
    """Return whether an event only keeps the connection open; `name` is its type, or its SSE name if it has none."""
    word = name.lower().removeprefix("response.").replace("_", "").replace("-", "") if isinstance(name, str) else ""
    return word == _KEEPALIVE or (word in _PINGS and payload.keys() <= {"type", "sequence_number"})


def tells_failure(payload: Mapping[str, Any]) -> bool:
    """Return whether a payload may say that the request failed: FastAPI's `detail`, or a member of a vendor's own."""
    detail = payload.get("detail")
    return (isinstance(detail, (str, list)) and bool(detail)) or says_failure(payload)


def show_error(payload: dict[str, Any]) -> None:
    """Have an error where the SDK looks for it."""
    error = {key: value for key, value in payload.items() if key != "choices"}
    error.setdefault("message", error_message(payload) or str(payload.get("detail", "")))
    payload.clear()
    payload["error"] = error
