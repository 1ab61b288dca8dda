"""The background of each kind beyond its row: who sends it, what it does to an application, what helps.

The senders are those of public bug reports and of 2,875 recorded streams of 39 providers; versions are the
ones named there, and most have been fixed since. It is a list of places to look first, not of culprits.
"""

from __future__ import annotations

from dataclasses import dataclass

HEALTHY = "Every provider that was recorded sends it in healthy streams"


@dataclass(frozen=True)
class Explanation:
    """The background of a kind: who sends it, what an application sees where nothing is repaired, and what helps."""

    senders: str
    symptom: str
    advice: str


_GATEWAY = (
    "Ask the endpoint behind the gateway or relay directly, and compare: if it is gone, report it to the gateway."
)
_SERVER = "Report it to the maintainers of the server, with a capture; only a corrected server removes the cause."
_CAREFUL = "It is legal, so nothing has to change upstream: read the member with care."
_FILLED = (
    _CAREFUL + ' Dicts of the chunk (to_dict, model_dump) answer "" for it; STREAMWATCH_REPAIR=default,+fill_content'
    " puts it on the attribute, too."
)
_RETRY = "Retry the request where that is safe; nothing in the stream can replace what did not come."

EXPLANATIONS: dict[str, Explanation] = {
    "sse_framing_variant": Explanation(
        "Perplexity and AI21 (CRLF), Perplexity, Writer and the Hugging Face router (no [DONE]), Ant Ling and gateways"
        " of DeepSeek and GLM (no space after the colon), Portkey (a bare [DONE])",
        "Mostly nothing: the SDK copes. Parsers written by hand drop streams, or wait for a [DONE] that never comes.",
        "Do not parse SSE by hand. " + _SERVER,
    ),
    "payload_invalid": Explanation(
        "gateways that send `retry:` or comments after an `id:`, proxies that wrap `data:` twice, upstreams that send"
        " `null` while a model thinks, OmniRoute (an event before response.created), Azure in 2024 (renamed events)",
        "json.decoder.JSONDecodeError: Expecting value, from inside the SDK, often about 15 s into a slow answer;"
        " or AttributeError: 'NoneType' object has no attribute 'choices'.",
        "Switch off keepalives in the gateway, or lengthen their interval. " + _GATEWAY,
    ),
    "sse_event_unterminated": Explanation(
        "builds of llama-server, and servers that close the connection right after the last byte",
        "The last event is dropped without an error: the end of the text, or the finish_reason, is missing.",
        _SERVER,
    ),
    "keepalive_frame": Explanation(
        "OpenRouter, Perplexity, xAI, llama.cpp, OpenAI itself in long Responses streams",
        "Nothing with the SDK. Parsers written by hand fail on the colon at the start of a line.",
        "Leave them: they keep proxies from closing an idle connection.",
    ),
    "error_in_stream": Explanation(
        "every provider, OpenAI included: overload, a content filter, too long a context, an upstream that failed",
        "openai.APIError while the stream is read, after HTTP 200; on the Responses API an event of type `error` and no"
        " exception at all.",
        "Read the message in the span or in a capture. Retry overloads with a backoff; the SDK does not retry a stream"
        " that has begun.",
    ),
    "error_hidden": Explanation(
        "llama.cpp until late 2025 (an `error:` field), Lemonade and gpustack (a JSON document in place of a stream),"
        " proxies that ignore stream=true",
        "An empty answer that looks like a success; the .stream() helper ends with an AssertionError.",
        "Set STREAMWATCH_REPAIR=default,+error_hidden: then the SDK raises the error that the server meant to send.",
    ),
    "stream_empty": Explanation(
        "gateways whose upstream fails after HTTP 200 was sent, corporate proxies, earlier vLLM",
        "An answer without a single chunk, and no exception.",
        "Look at the gateway's log for the same second. " + _RETRY,
    ),
    "stream_truncated": Explanation(
        "idle timeouts of load balancers and nginx, gateways that hide the failure of their upstream, OpenAI itself on"
        " very long runs",
        "The text stops in the middle of a sentence, or a tool call in the middle of its arguments. If the connection"
        " was closed cleanly no SDK release raises anything.",
        "See whether they all end after the same number of seconds: then raise that proxy's read timeout, or switch its"
        " buffering off. " + _RETRY,
    ),
    "stream_stalled": Explanation(
        "models that reason for long, overloaded servers, proxies that buffer, workers that hang; reported of Kimi,"
        " DeepSeek, GitHub Copilot, Goose and Open WebUI",
        "The answer stands still, for seconds or until a timeout cuts it; the application looks as if it hung.",
        "See whether the silence ends in an answer or in a cut. A cut that comes after the same number of seconds each"
        " time is a proxy's idle timeout: raise it, or let the server send keep-alives.",
    ),
    "answer_missing": Explanation(
        "models that spend all their tokens on reasoning, bridges that translate from another API and lose the message"
        " (Jan, CLIProxyAPI, codex-lb)",
        "A stream that ends well, and an answer that is the empty string.",
        "Look at the reasoning and at the token limit first: a limit that counts reasoning leaves nothing for the"
        " answer. Otherwise ask the server behind the gateway directly.",
    ),
    "protocol_foreign": Explanation(
        "gateways that serve one API's path with another API's events (vLLM's semantic router: chat chunks on"
        " /responses)",
        "No exception and no answer: each event is of a type that the reader passes over.",
        "Ask for the API that the server speaks, or correct the route in the gateway. " + _GATEWAY,
    ),
    "stream_spliced": Explanation(
        "routers that fall back to another model in the middle of a stream (LiteLLM), gateways that forward a request"
        " again (Manifest), in the worst case a gateway that mixes two users' streams",
        "The beginning of the answer comes twice, or text of another answer stands in it.",
        "If the foreign text belongs to somebody else, take the gateway out of service: that is a privacy incident."
        " Else switch off fallback in the middle of a stream, or set STREAMWATCH_REPAIR=default,+stream_spliced.",
    ),
    "finish_reason_missing": Explanation(
        "Gemini's compatible endpoint in 2024 (it wrote finishReason), the LiteLLM proxy with n > 1",
        "Loops that wait for a finish_reason never see one; an agent does not know whether to call a tool or to stop.",
        "STREAMWATCH_REPAIR=default,+finish_reason_missing adds it; but a proxy may send [DONE] after its upstream"
        " broke, so look at a capture first.",
    ),
    "finish_reason_premature": Explanation(
        "Together, Open WebUI in front of Ollama, Gemini through LiteLLM",
        "Readers that stop at the first finish_reason lose the rest of the answer, sometimes all of it.",
        "STREAMWATCH_REPAIR=default,+finish_reason_premature moves it to the end, at the price of holding one chunk.",
    ),
    "finish_reason_irregular": Explanation(
        "Ollama, SGLang and GLM (an empty string), KoboldCpp (the string null), xAI (no key), OpenRouter (repeated),"
        " Together (eos), Gemini and Z.AI (words of their own), OpenAI (stop for a forced tool)",
        "Strict readers fail validation; agents that look for tool_calls skip the tool.",
        "Decide by the presence of tool calls, not by finish_reason.",
    ),
    "chunk_metadata_irregular": Explanation(
        "Azure and Copilot (empty strings on the filter chunk), LiteLLM (a new id for every chunk), TGI and TensorRT"
        " (another object), Foundry Local (model null)",
        "Mostly nothing. The .stream() helper drops every chunk whose object is wrong, without a word.",
        "Do not group chunks by their id. " + _SERVER,
    ),
    "choices_empty": Explanation(
        HEALTHY + ": the chunk with the usage, and Azure's first chunk with the prompt filter",
        "IndexError: list index out of range, from chunk.choices[0]: the crash that is reported most often.",
        _CAREFUL + " STREAMWATCH_REPAIR=default,+choices_empty leaves chunks out that have neither choices nor usage.",
    ),
    "delta_missing": Explanation(
        "Azure with the asynchronous content filter",
        "AttributeError: 'NoneType' object has no attribute 'content'.",
        "Test the delta before its content, switch the deployment to the default filter mode, or set"
        " STREAMWATCH_REPAIR=default,+delta_missing.",
    ),
    "content_misplaced": Explanation(
        "bridges that send the chunks of a stream in the shape of a whole completion (WebAI-to-API)",
        "AttributeError: 'NoneType' object has no attribute 'content', as there is no delta; or an empty answer.",
        _SERVER,
    ),
    "choice_index_invalid": Explanation(
        "Foundry Local and early TGI (a token counter), LiteLLM with Bedrock (1 for chunks of tools)",
        "IndexError in the .stream() helper, or a tool call that ends up in a choice nobody reads.",
        _SERVER,
    ),
    "usage_misplaced": Explanation(
        "Perplexity, Databricks, Groq and Hugging Face (in several chunks), Moonshot (in a choice), xAI via LiteLLM",
        "Token counts of 0, or counted as often as there are chunks: costs are wrong.",
        "Take the last usage that is not null; never add them up.",
    ),
    "content_absent": Explanation(
        HEALTHY + ": the chunk that finishes, and every fragment of a tool call",
        "KeyError: 'content' where chunks are read as dicts, as many tutorials do.",
        _FILLED,
    ),
    "content_null": Explanation(
        "OpenAI in a quarter of its streams, llama.cpp in all, OpenRouter, DeepSeek",
        'TypeError: can only concatenate str (not "NoneType") to str.',
        _FILLED,
    ),
    "content_not_string": Explanation(
        "Mistral's reasoning models (a list of parts), models served through Mistral's API",
        "TypeError: sequence item 0: expected str instance, list found; or a validation error in a framework.",
        "STREAMWATCH_REPAIR=default,+content_not_string joins the text; thinking then comes as reasoning_content.",
    ),
    "content_replayed": Explanation(
        "DashScope (cumulative deltas), TensorRT-LLM and Rapid-MLX (the whole answer again at the end)",
        "The answer stands there twice, or grows with every chunk.",
        "Ask the server for incremental output, or set STREAMWATCH_REPAIR=default,+content_replayed.",
    ),
    "content_undecodable": Explanation(
        "relays that decode every network read for itself",
        "U+FFFD in the place of letters, in texts beyond ASCII; in tool arguments they corrupt data.",
        "Nothing can bring the letters back. " + _GATEWAY,
    ),
    "role_irregular": Explanation(
        "OpenRouter, Ollama, SGLang and LiteLLM (in every chunk), Cloudflare and gpustack (never)",
        "The .stream() helper joins them: assistantassistantassistant.",
        _SERVER,
    ),
    "reasoning_nonstandard": Explanation(
        "every provider of reasoning models but OpenAI: DeepSeek, vLLM, SGLang, OpenRouter",
        "The reasoning is not shown, or shown as part of the answer.",
        "Read all of reasoning, reasoning_content and reasoning_details; nothing is changed here.",
    ),
    "tool_call_index_missing": Explanation(
        "Gemini's compatible endpoint, early Mistral, mistral.rs, Ollama before 0.4.7",
        "TypeError: list indices must be integers or slices, not NoneType, in the .stream() helper; parallel calls"
        " merged elsewhere.",
        _SERVER,
    ),
    "tool_call_index_reused": Explanation(
        "Ollama, SGLang, NVIDIA Dynamo, lmdeploy, bridges to Gemini: the most widespread fault of all",
        "Two calls become one, with the name file_writefile_write and two JSON objects back to back as arguments.",
        "Switch parallel tool calls off (parallel_tool_calls=False) where the repair fails. " + _SERVER,
    ),
    "tool_call_index_sparse": Explanation(
        "LiteLLM and bedrock-access-gateway in front of Anthropic models: the index of a content block leaks",
        "IndexError in the .stream() helper, or an empty call in the first place.",
        _GATEWAY,
    ),
    "tool_call_fragment_irregular": Explanation(
        "Mistral, DeepInfra, DashScope, Venice, Writer, Databricks, Bedrock, vLLM with speculative decoding",
        "A bare AssertionError in the .stream() helper (type null), or a call that is dropped for its empty id.",
        _SERVER,
    ),
    "tool_call_header_incomplete": Explanation(
        "StepFun, Azure through bridges, Command A on vLLM",
        "A call without id: the next turn is refused with `empty string` for call_id; or a tool named ''.",
        _SERVER,
    ),
    "tool_call_name_repeated": Explanation(
        "MiniMax on NVIDIA NIM, gateways that translate Anthropic's API",
        "The tool read_fileread_file does not exist.",
        _GATEWAY,
    ),
    "tool_call_id_changed": Explanation(
        "servers that make a new id for each fragment (poolside, mlx-openai-server)",
        "Ids that are joined to one long id (call_acall_b) by the `.stream()` helper, or one call taken for many by"
        " readers that go by the id.",
        _SERVER,
    ),
    "tool_call_missing": Explanation(
        "servers whose parser fails on the model's call (vLLM with some templates), bridges for old APIs",
        "finish_reason says tool_calls, and there is none: agents loop, or raise IndexError.",
        "Look at the text of the answer: a call that the server's parser did not understand often stands there."
        " Correct the tool parser or the chat template of the server.",
    ),
    "tool_call_malformed": Explanation(
        "TGI before 2025-03 (an object in place of the list), custom servers (arguments as an object)",
        "AttributeError or KeyError while the stream is read, or arguments that are not text.",
        _SERVER,
    ),
    "tool_call_arguments_invalid": Explanation(
        "every provider where max_tokens cuts a call off; Bedrock gateways ({} before the real object), tool parsers of"
        " vLLM (doubled, or without the first brace)",
        "json.decoder.JSONDecodeError in the application; an agent that does not check executes half a command.",
        "Raise max_tokens if the arguments end in the middle. Never complete them by guess: ask the model again.",
    ),
    "tool_calls_interleaved": Explanation(
        "models behind OCI's generative AI service",
        "One tool gets garbage and the other one {} where fragments are joined without looking at their index.",
        "Join fragments by their index: the order is legal.",
    ),
    "sequence_out_of_order": Explanation(
        "relays that put every event on a queue of its own (SQS, callbacks that are not awaited), servers that schedule"
        " asynchronously (vLLM in late 2025)",
        "streaming response chunk order mismatch - expected index 5 but got 7; or words in another order.",
        "Compare the rates by server_address: an endpoint without the relay, proxy or load balancer should show none."
        " Where repairs fail, see streamwatch_reorder_distance, and raise STREAMWATCH_WINDOW_EVENTS to what it shows.",
    ),
    "sequence_gap": Explanation(
        "gateways that filter or rewrite events (guardrails), relays that lose messages",
        "Words are missing in the middle of the text; the text of the closing event is whole.",
        "Take the text of response.output_text.done, or of the completed response, as the answer. " + _GATEWAY,
    ),
    "sequence_duplicate": Explanation(
        "relays that deliver at least once, streams that were resumed with starting_after",
        "Words come twice; openai 3.x raises a RuntimeError in its helper.",
        _GATEWAY,
    ),
    "event_repeated": Explanation(
        "servers and relays that send events once more after a client has reconnected",
        "Words come twice for who reads the events of a session; the SDK's own helper drops events with a known id.",
        "Pass over an event whose event_id was seen, or let STREAMWATCH_REPAIR=default,+event_repeated do it.",
    ),
    "sequence_unusable": Explanation(
        "bridges from chat to Responses (LiteLLM, Onyx, mlx-vlm), OpenAI before May 2025",
        "Nothing by itself; but no event can be put back in order.",
        _SERVER,
    ),
    "response_interrupted": Explanation(
        "idle timeouts of proxies and load balancers, and whatever else cuts a connection that lives for minutes",
        "The stream of a background response ends in the middle, with an APIConnectionError or as if it were whole,"
        " while the server works on.",
        "Read it on with responses.retrieve(id, stream=True, starting_after=n), or let STREAMWATCH_RESUME=true do it.",
    ),
    "response_event_missing": Explanation(
        "bridges that translate chat streams (LiteLLM, hermes, gemini-web2api), vLLM, OpenAI with several tool servers",
        "IndexError or RuntimeError in the helper at the first delta; an empty answer although it was sent.",
        _GATEWAY,
    ),
    "response_text_lost": Explanation(
        "LiteLLM, codex-lb and AxonHub in front of other APIs",
        "Readers of deltas get less than the answer: its end, or all of it, stands in the closing events alone.",
        "Read the text of the closing event instead of the deltas, or let the repair put in the missing tail. "
        + _GATEWAY,
    ),
    "response_reference_invalid": Explanation(
        "GitHub Copilot and LiteLLM (ids that change), Lemonade (no indexes), adapters that count deltas",
        "RuntimeError: Completed output item identity changed, since openai 3; an IndexError before.",
        _SERVER,
    ),
    "response_terminal_mismatch": Explanation(
        "the ChatGPT back end and vLLM (an empty output in the completed response)",
        "response.output_text is empty although the text was streamed.",
        "Join the deltas, or set STREAMWATCH_REPAIR=default,+response_terminal_mismatch.",
    ),
}
