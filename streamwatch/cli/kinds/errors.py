"""The errors that people paste: what happened, the corrected line of code, and what Streamwatch does about it.

A row names a public thread in which somebody met the error, where one was found. Rows are tried from the first to the
last, so what is specific stands before what is general.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GITHUB = "https://github.com/"


@dataclass(frozen=True)
class KnownError:
    """An error as it is pasted, and the answer to it.

    `before` and `after` are lines of an application's code; without a line that is wrong, `after` is advice.
    """

    title: str
    pattern: str
    happened: str
    before: str
    after: str
    does: str
    kinds: tuple[str, ...]
    thread: str

    def matches(self, text: str) -> bool:
        """Return whether an exception's text is this error."""
        return re.search(self.pattern, text, re.IGNORECASE) is not None

    @property
    def url(self) -> str:
        """The address of the thread; empty without one."""
        return self.thread and _GITHUB + self.thread


_GUARDED = 'text += (chunk.choices[0].delta.content or "") if chunk.choices else ""'
_COUNTS = "It cannot bring back what did not come. It counts the stream as {} and names its server and model."

KNOWN_ERRORS = (
    KnownError(
        "KeyError: 'content'",
        r"KeyError: '?\"?content",
        "A chunk has no `content`: the chunk that finishes an answer and every fragment of a tool call lack it.",
        'text += chunk.to_dict()["choices"][0]["delta"]["content"]',
        'text += chunk.to_dict()["choices"][0]["delta"].get("content") or ""',
        'Repairs it by default: dicts of a chunk answer "" for a content that did not come. It does not see code that'
        " parses the HTTP body itself.",
        ("content_absent", "content_null", "choices_empty"),
        "",
    ),
    KnownError(
        "KeyError: 'choices'",
        r"KeyError: '?\"?choices",
        "An event has no `choices`: an error of the server in place of a chunk, or an event of another API.",
        'delta = chunk["choices"][0]["delta"]',
        'choices = chunk.get("choices") or []  # look at chunk.get("error") if there are none',
        "Names the event: error_in_stream, error_hidden or protocol_foreign. STREAMWATCH_REPAIR=default,+error_hidden"
        " lets the SDK raise the error that the server meant to send.",
        ("error_hidden", "error_in_stream", "choices_empty", "protocol_foreign"),
        "BerriAI/litellm/pull/34382",
    ),
    KnownError(
        "KeyError: 'delta'",
        r"KeyError: '?\"?(delta|message)\b",
        "A choice has no `delta`: the server sent the shape of a whole completion, or a chunk with metadata only.",
        'text += chunk["choices"][0]["delta"]["content"]',
        'text += (chunk["choices"][0].get("delta") or {}).get("content") or ""',
        "Moves a content that stands in the wrong place to the delta by default (content_misplaced).",
        ("content_misplaced", "delta_missing"),
        "microsoft/sample-app-aoai-chatGPT/issues/349",
    ),
    KnownError(
        "IndexError: list index out of range",
        r"IndexError: (list|tuple) index out of range",
        "A chunk has no choices: the chunk with the usage, or Azure's first chunk with its prompt filter.",
        "text += chunk.choices[0].delta.content",
        _GUARDED,
        "Repairs it for the SDK's `.stream()` helper. For other readers the chunk stays, as healthy streams have it;"
        " STREAMWATCH_REPAIR=default,+choices_empty leaves out chunks that have neither choices nor usage.",
        ("choices_empty", "tool_call_index_sparse", "choice_index_invalid", "response_event_missing"),
        "langfuse/langfuse/issues/2833",
    ),
    KnownError(
        'TypeError: can only concatenate str (not "NoneType") to str',
        r"can only concatenate str \(not ['\"]?NoneType|unsupported operand type.*(NoneType.*str|str.*NoneType)"
        r"|sequence item \d+: expected str instance, NoneType",
        "`delta.content` is None: OpenAI sends null in chunks with a role or a tool call, and in the last chunk.",
        "text += chunk.choices[0].delta.content",
        'text += chunk.choices[0].delta.content or ""',
        'Dicts of a chunk answer "" by default. STREAMWATCH_REPAIR=default,+fill_content puts it on the attribute.',
        ("content_null", "content_absent"),
        "microsoft/graphrag/pull/520",
    ),
    KnownError(
        "TypeError: sequence item 0: expected str instance, list found",
        r"sequence item \d+: expected str instance, (list|dict)|can only concatenate str \(not ['\"]?(list|dict)",
        "`delta.content` is a list of parts: Mistral's reasoning models send their thinking so.",
        "text += chunk.choices[0].delta.content",
        'content = chunk.choices[0].delta.content; text += content if isinstance(content, str) else ""',
        "STREAMWATCH_REPAIR=default,+content_not_string joins the text; thinking comes as reasoning_content.",
        ("content_not_string",),
        "",
    ),
    KnownError(
        "AttributeError: 'NoneType' object has no attribute 'content'",
        r"'NoneType' object has no attribute '(content|role|get)'|'NoneType' object is not subscriptable",
        "The delta of a choice is null: Azure's asynchronous content filter sends such chunks.",
        "text += chunk.choices[0].delta.content",
        'delta = chunk.choices[0].delta if chunk.choices else None; text += (delta.content if delta else "") or ""',
        "Repairs it for the SDK's `.stream()` helper. STREAMWATCH_REPAIR=default,+delta_missing does for every reader.",
        ("delta_missing", "content_misplaced"),
        "microsoft/promptflow/issues/4000",
    ),
    KnownError(
        "AttributeError: 'NoneType' object has no attribute 'choices'",
        r"'NoneType' object has no attribute '(choices|model|id|usage)'|'NoneType' object is not iterable",
        "The server sent `null` in place of a chunk, or null in place of a list, often while a model thinks.",
        "for chunk in stream: use(chunk.choices)",
        "for chunk in stream: use(chunk.choices or []) if chunk is not None else None",
        "Drops the frame by default (payload_invalid).",
        ("payload_invalid", "choices_empty"),
        "microsoft/autogen/issues/7130",
    ),
    KnownError(
        "AttributeError: 'ChatCompletionChunk' object has no attribute 'get'",
        r"'(ChatCompletionChunk|Choice|ChoiceDelta|Completion)' object (has no attribute 'get'|is not subscriptable)",
        "Chunks are objects since openai 1.0; the code reads them as the dicts of openai 0.x.",
        'chunk["choices"][0]["delta"].get("content")',
        "chunk.choices[0].delta.content  # or chunk.to_dict() for a dict",
        "Nothing: the stream is well. Streamwatch works with openai 1.x, 2.x and 3.x, not with 0.x.",
        (),
        "Chainlit/chainlit/issues/1178",
    ),
    KnownError(
        "AttributeError: 'ResponseCreatedEvent' object has no attribute 'choices'",
        r"'Response\w+Event' object has no attribute '(choices|delta)'",
        "The stream is one of the Responses API; the code reads chunks of Chat Completions.",
        "text += chunk.choices[0].delta.content",
        'text += event.delta if event.type == "response.output_text.delta" else ""',
        "Nothing: the stream is well.",
        (),
        "AsyncFuncAI/deepwiki-open/issues/585",
    ),
    KnownError(
        "AttributeError: 'Stream' object has no attribute 'choices'",
        r"'(Async)?Stream' object has no attribute '\w+'",
        "The request had stream=True, so the answer is an iterator of chunks.",
        "text = response.choices[0].message.content",
        'text = "".join(chunk.choices[0].delta.content or "" for chunk in response if chunk.choices)',
        "Nothing: the stream is well.",
        (),
        "phdowling/openai_multi_tool_use_parallel_patch/issues/2",
    ),
    KnownError(
        "AttributeError: 'str' object has no attribute 'choices'",
        r"'(str|dict|bytes)' object has no attribute '(choices|delta|message)'",
        "The answer is plain text or a page of HTML, not a stream: mostly the base URL lacks /v1.",
        'client = OpenAI(base_url="http://127.0.0.1:8000")',
        'client = OpenAI(base_url="http://127.0.0.1:8000/v1")  # try it: streamwatch probe',
        "Nothing: there is no stream to repair. `streamwatch probe` says what the endpoint answers.",
        (),
        "neavo/LinguaGacha/issues/137",
    ),
    KnownError(
        "LengthFinishReasonError: Could not parse response content as the length limit was reached",
        r"LengthFinishReasonError|length limit was reached",
        "max_tokens cut the answer, and the helper does not parse a half. Reasoning counts against it, too.",
        "client.chat.completions.stream(..., max_tokens=256)",
        "client.chat.completions.stream(..., max_completion_tokens=4096)",
        "Nothing: the stream says truly that it was cut.",
        ("tool_call_arguments_invalid", "answer_missing"),
        "bytedance/deer-flow/issues/474",
    ),
    KnownError(
        "BadRequestError: tool_call_ids did not have response messages",
        r"tool_call_ids? did not have response|must be followed by tool messages|role 'tool' must be a response"
        r"|Missing parameter 'tool_call_id'",
        "A tool call of the last turn has no id, or two calls became one: the next request does not fit the answer.",
        'messages.append({"role": "tool", "tool_call_id": call.id, "content": result})',
        "for call in message.tool_calls: ...  # one tool message each, with the id of its first fragment",
        "Keeps parallel calls apart and holds a call until its id is known, both by default.",
        ("tool_call_header_incomplete", "tool_call_index_reused", "tool_call_id_changed"),
        "lmstudio-ai/lmstudio-bug-tracker/issues/830",
    ),
    KnownError(
        "KeyError: 'index'",
        r"KeyError: '?\"?index",
        "A choice or a fragment of a tool call has no `index`: some compatible servers leave it out.",
        'calls[fragment["index"]] += fragment["function"]["arguments"]',
        'key = fragment.get("index", fragment.get("id") or last_key)',
        "Numbers tool calls by default, by their ids and in order of appearance (tool_call_index_missing).",
        ("tool_call_index_missing", "choice_index_invalid"),
        "openai/openai-python/issues/2806",
    ),
    KnownError(
        "RemoteProtocolError: peer closed connection without sending complete message body (incomplete chunked read)",
        r"peer closed connection|incomplete chunked read|Server disconnected without sending|Response payload is not"
        r" completed|ChunkedEncodingError|IncompleteRead",
        "The connection was cut in the middle of the answer: by the server, or by a proxy's idle or total timeout.",
        "for chunk in stream: ...",
        "except (openai.APIConnectionError, httpx.TransportError): ...  # discard the half answer, then ask again",
        _COUNTS.format("truncated") + " Cuts after the same number of seconds each time are a proxy's timeout.",
        ("stream_truncated", "stream_stalled", "response_interrupted"),
        "openai/openai-python/issues/2065",
    ),
    KnownError(
        "ReadTimeout: The read operation timed out",
        r"ReadTimeout|read operation timed out|APITimeoutError|Request timed out",
        "No byte came for as long as the read timeout: a model that thinks in silence, or a proxy that buffers.",
        "client = OpenAI(timeout=30)",
        "client = OpenAI(timeout=httpx.Timeout(600, connect=10))  # the read timeout is one between two chunks",
        "Repairs nothing. It counts waits beyond STREAMWATCH_STALL_SECONDS as stream_stalled.",
        ("stream_stalled", "stream_truncated"),
        "gptme/gptme/pull/3247",
    ),
    KnownError(
        "APIError: The server had an error while processing your request",
        r"The server had an error (while )?processing your request|An error occurred during streaming"
        r"|Internal server error|Provider returned error|overloaded",
        "The server reported an error inside the stream, after HTTP 200: the SDK does not retry such a stream.",
        "for chunk in stream: ...",
        "except openai.APIError as error: ...  # error.body has the server's words; ask again after a pause",
        _COUNTS.format("error") + ' Streams that ended so are `streamwatch_verdict="error"` in the metrics.',
        ("error_in_stream",),
        "openai/openai-python/issues/1625",
    ),
    KnownError(
        "RuntimeError: Didn't receive a `response.completed` event.",
        r"Didn'?t receive a [`']?response\.completed|stream (closed|finished|ended) (before|without)"
        r" [`']?response\.completed|Model did not produce a final response",
        "The stream ended without `response.completed`: it was cut, or ended with `response.incomplete` or an error.",
        "answer = stream.get_final_response()",
        "last = list(stream)[-1]  # last.response: `response.incomplete` and `response.failed` carry it, too",
        _COUNTS.format("truncated, error or complete")
        + " An event that the helper needs and a bridge left out is inserted (response_event_missing).",
        ("stream_truncated", "error_in_stream", "response_event_missing", "response_interrupted"),
        "openai/openai-python/pull/3538",
    ),
    KnownError(
        "RuntimeError: Expected to have received `response.created` before",
        r"Expected to have received [`']?response\.created|expected '?response\.created'? event",
        "The stream does not begin with `response.created`: a bridge leaves it out, or events changed their order.",
        "with client.responses.stream(...) as stream: ...",
        "stream = client.responses.create(..., stream=True)  # reads events without the helper's checks",
        "Inserts the event for the helper, and puts numbered events back in order.",
        ("response_event_missing", "sequence_out_of_order", "payload_invalid"),
        "BerriAI/litellm/issues/9545",
    ),
    KnownError(
        "RuntimeError: Completed output item identity changed.",
        r"identity changed|conflicting output identities|Duplicate response output index|unfinished output items",
        "The ids or indexes of output items contradict each other within the stream; openai 3 checks them.",
        "with client.responses.stream(...) as stream: ...",
        "stream = client.responses.create(..., stream=True)  # reads events without the helper's checks",
        "Corrects the ids by default, to those that were announced first (response_reference_invalid).",
        ("response_reference_invalid", "sequence_duplicate", "sequence_out_of_order"),
        "",
    ),
    KnownError(
        "TypeError: list indices must be integers or slices, not NoneType",
        r"list indices must be integers or slices, not NoneType|to have an [`']?index[`']? key"
        r"|index[`']? value is not an integer",
        "A fragment of a tool call has no `index`: Gemini's compatible endpoint and some local servers leave it out.",
        "calls[fragment.index].arguments += fragment.function.arguments",
        "key = fragment.index if fragment.index is not None else fragment.id or last_key",
        "Numbers the calls by default, by their ids and in order of appearance (tool_call_index_missing).",
        ("tool_call_index_missing",),
        "openai/openai-python/issues/2806",
    ),
    KnownError(
        "JSONDecodeError: Extra data",
        r"Extra data: line \d|JSONDecodeError: Extra data",
        "Two JSON texts stand back to back: fragments of two tool calls were joined, as both have the same index.",
        "arguments[fragment.index] += fragment.function.arguments",
        "if fragment.id and fragment.id != ids.get(key): key = fragment.id  # a new id begins a new call",
        "Gives each call an index of its own by default (tool_call_index_reused).",
        ("tool_call_index_reused", "tool_call_arguments_invalid", "payload_invalid"),
        "google/adk-python/issues/1038",
    ),
    KnownError(
        "JSONDecodeError: Unterminated string",
        r"Unterminated string starting at|Expecting (property name|',' delimiter|':' delimiter)|Invalid control char",
        "The JSON of a tool call is cut or doubled: max_tokens ended the answer, or the server's parser erred.",
        "arguments = json.loads(call.function.arguments)",
        'if choice.finish_reason == "length": ...  # raise max_tokens; never execute half a command',
        "Reports it (tool_call_arguments_invalid). Streamwatch never completes arguments by guess.",
        ("tool_call_arguments_invalid", "stream_truncated", "payload_invalid"),
        "TheR1D/shell_gpt/issues/353",
    ),
    KnownError(
        "JSONDecodeError: Expecting value",
        r"JSONDecodeError: Expecting value|Expecting value: line \d",
        "An event's data is not JSON: an empty event between chunks, a keep-alive, or an error page in HTML.",
        "for line in response.iter_lines(): chunk = json.loads(line[6:])",
        'if line.startswith("data: ") and line != "data: [DONE]": chunk = json.loads(line[6:])  # or use the SDK',
        "Drops such frames before the SDK parses them, by default (payload_invalid).",
        ("payload_invalid", "tool_call_arguments_invalid"),
        "openai/openai-python/pull/2721",
    ),
    KnownError(
        "streaming response chunk order mismatch - expected index 5 but got 7",
        r"order mismatch|expected index \d+ but got \d+|out[- ]of[- ]order",
        "Events arrived in another order than they were sent: a relay or a load balancer reordered them.",
        "",
        "No line of the reader is wrong. Ask the endpoint without the relay, and compare.",
        "Puts numbered events back in order by default, within STREAMWATCH_WINDOW_EVENTS and _SECONDS.",
        ("sequence_out_of_order", "sequence_gap", "sequence_duplicate"),
        "",
    ),
    KnownError(
        "AssertionError (in openai/lib/streaming)",
        r"^AssertionError\s*$|lib[/\\]streaming.*AssertionError",
        "The `.stream()` helper asserts what it expects: a tool call of type function, an answer that is not empty.",
        "with client.chat.completions.stream(...) as stream: ...",
        "stream = client.chat.completions.create(..., stream=True)  # reads chunks without the helper's checks",
        "Corrects the fields for the helper by default (tool_call_fragment_irregular).",
        ("tool_call_fragment_irregular", "error_hidden", "stream_empty"),
        "",
    ),
    KnownError(
        "UnicodeDecodeError: 'utf-8' codec can't decode byte",
        r"UnicodeDecodeError.*utf-?8",
        "A letter of several bytes was split between two reads, and the code decoded each read for itself.",
        "text += data.decode()",
        'decoder = codecs.getincrementaldecoder("utf-8")(); text += decoder.decode(data)',
        "The SDK decodes whole lines. Letters that a relay already replaced by U+FFFD are reported, not repaired.",
        ("content_undecodable",),
        "",
    ),
    KnownError(
        "APIConnectionError: Connection error.",
        r"APIConnectionError|Connection error\.|Connection reset by peer|httpx\.ReadError|httpcore\.ReadError",
        "The connection failed: before the answer, which the SDK retries, or in the middle of it, which it does not.",
        "for chunk in stream: ...",
        "except openai.APIConnectionError as error: ...  # error.__cause__ names the reason; ask again",
        _COUNTS.format("truncated"),
        ("stream_truncated",),
        "",
    ),
)
