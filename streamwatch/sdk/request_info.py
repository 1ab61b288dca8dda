"""The facts of the call that opened a stream, from the SDK's stream object.

Everything here is a best effort: a datum that this release of the SDK hides, or that the caller
never gave, is left out. Nothing is changed, and no content is kept.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from streamwatch.core.report import Request
from streamwatch.core.via import path_of
from streamwatch.export.request import FORMAT, RequestInfo
from streamwatch.sdk.interruption import is_interruption, unless_interrupted

#: The end of the request's path -> the API, and what its operation is called in telemetry.
_ENDPOINTS = (
    ("/chat/completions", "chat", "chat"),
    ("/completions", "completions", "text_completion"),
    ("/responses", "responses", "responses"),
    ("/runs", "assistants", "assistants"),
    ("/submit_tool_outputs", "assistants", "assistants"),
    ("/images/generations", "images", "images"),
    ("/images/edits", "images", "images"),
    ("/audio/transcriptions", "transcriptions", "transcriptions"),
)
#: The same for what has an id in its path: a response that is read again, the session of an agent.
_BELOW = (("/responses/", "responses", "responses"), ("/agents/sessions", "agents", "agents"))
#: The class that the SDK makes of each event -> the same: it holds for paths of a gateway's own, too.
_TYPES = {"ChatCompletionChunk": ("chat", "chat"), "Completion": ("completions", "text_completion")}
#: Hosts whose provider has a well-known name in the GenAI conventions, by the end of the host name.
_PROVIDERS = (
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    (".amazonaws.com", "aws.bedrock"),
    (".googleapis.com", "gcp.gemini"),
)
#: What AzureOpenAI and AsyncAzureOpenAI are made from.
_AZURE_CLIENT = "BaseAzureClient"
#: Headers of an answer that only one provider sends, and its name.
_HEADERS = (
    (b"apim-request-id", "azure.ai.openai"),
    (b"x-ms-deployment-name", "azure.ai.openai"),
    (b"x-litellm-call-id", "litellm"),
    (b"x-litellm-version", "litellm"),
)
#: What the header `server` begins with where the server itself names its software in it, and that name.
_SOFTWARE = ((b"llama.cpp", "llama_cpp"),)
_NO_TOOLS: frozenset[str] = frozenset()
#: The most choices that the API gives.
_MOST_CHOICES = 128
#: Members that servers know and the SDK does not, and small numbers in them: they ask for no choices.
_NO_COUNTS = frozenset(
    (
        *("top_k", "seed", "logprobs", "top_logprobs", "prompt_logprobs", "min_tokens", "max_tokens", "priority"),
        *("thinking_budget", "budget_tokens"),
    )
)
_REQUEST_IDS = (b"x-request-id", b"apim-request-id", b"request-id", b"cf-ray")
_INSTALLED = tuple(
    {path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
#: Where the SDK's helper for responses opens a stream: nothing else is called from there.
_RESPONSES_HELPER = "openai.lib.streaming.responses._responses"
_OPENS = ("__enter__", "__aenter__")
#: Frames looked at to find the helper: the SDK needs about ten, an instrumentation a few more.
_MAX_FRAMES = 60


def openai_version() -> str:
    """Return the release of the SDK."""
    version = getattr(sys.modules.get("openai._version"), "__version__", None)
    if isinstance(version, str):
        return version
    with unless_interrupted():
        from importlib.metadata import version as installed

        return installed("openai")
    return "unknown"


def sent_at(response: Any) -> float:
    """Return when the request was sent, on `time.perf_counter`; now, where httpx does not say."""
    with unless_interrupted():
        stream = response.stream
        start = getattr(stream, "_start", None) or getattr(getattr(stream, "_timer", None), "start", None)
        if isinstance(start, float) and start <= time.perf_counter():
            return start
    return time.perf_counter()


def describe(stream: Any, version: str, loads: Callable[[bytes], Any] = json.loads) -> tuple[str, Request, RequestInfo]:
    """Return the API, the request and the call of a stream of the SDK."""
    # `response.request` raises where a response was made by hand, as tests do.
    request = _attempt(lambda: stream.response.request)
    url = _attempt(lambda: request.url)
    body = body_of(stream, request, loads)
    raw: list[tuple[bytes, bytes]] = _attempt(lambda: stream.response.headers.raw, [])
    headers = _attempt(lambda: _by_name(raw), {})
    via = _attempt(lambda: path_of(raw), ())
    api, call = _call(url, body, stream, version, headers, via)
    n, choice = _choices(stream, body, api), body.get("tool_choice")
    accumulated = _attempt(lambda: opened_by_helper(request, api), default=False) or False
    known = Request(
        model=call.request_model,
        n=n,
        prompts=_prompts(body) if api == "completions" else None,
        tools=tools_of(body),
        names_tool=isinstance(choice, dict),
        starting_after=_attempt(lambda: int(url.params["starting_after"])) if api == "responses" else None,
        id=_request_id(headers),
        accumulated=accumulated,
        joins_fragments=not accumulated or _attempt(_joins_fragments, default=True),
        recovers_output=accumulated and api == "responses" and _attempt(_recovers_output, default=True),
        background=api == "responses" and is_kept(_attempt(lambda: (request.method, url.path), ("", "")), body),
    )
    return api, known, call


class _OfRaw:
    """An API response, with the names that a stream of the SDK has for the same."""

    def __init__(self, raw: Any) -> None:
        self.response = raw.http_response
        for name in ("_cast_to", "_client", "_options"):
            setattr(self, name, getattr(raw, name, None))


def describe_raw(
    raw: Any, version: str, loads: Callable[[bytes], Any] = json.loads
) -> tuple[str, Request, RequestInfo]:
    """Return the same of an API response that is read as bytes or lines."""
    return describe(_OfRaw(raw), version, loads)


def _call(
    url: Any, body: dict[str, Any], source: Any, version: str, headers: dict[bytes, bytes], via: tuple[str, ...]
) -> tuple[str, RequestInfo]:
    """Return the API and the call of a request; `source` is the SDK's object that has the answer."""
    path = _attempt(lambda: url.path, "") or ""
    api, operation = api_at(path, source)
    model = body.get("model")
    if not isinstance(model, str):
        model = _deployment(path)
    host = _attempt(lambda: url.host, "") or ""
    provider = provider_at(host) or _provider_of_client(source) or _provider_in(headers) or FORMAT
    return api, RequestInfo(operation, model, provider, host, _attempt(lambda: url.port), version, via)


def is_kept(asked: tuple[str, str], body: dict[str, Any]) -> bool:
    """Return whether a response is kept: it is made in the background, or read again. `asked`: method and path."""
    method, path = asked
    if method == "GET":
        return bool(id_in(path))
    return path.endswith("/responses") and body.get("background") is True and body.get("store") is not False


def id_in(path: str) -> str:
    """Return the id of the response that a request reads again; "" if it names none."""
    _before, _found, id = path.rpartition("/responses/")
    return "" if "/" in id or id == path else id


def opened_by_helper(request: Any, api: str) -> bool:
    """Return whether the SDK's accumulating helper opens the stream.

    The helper of chat completions says so in a header; that of responses has to be seen at work.
    """
    if "x-stainless-helper-method" in request.headers:
        return True
    if api != "responses" or _RESPONSES_HELPER not in sys.modules:
        return False
    frame = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if frame.f_code.co_name in _OPENS and frame.f_globals.get("__name__") == _RESPONSES_HELPER:
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


def is_installed(filename: str) -> bool:
    """Return whether a source file belongs to Python or to an installed package."""
    return "site-packages" in filename or "dist-packages" in filename or filename.startswith(_INSTALLED)


def _joins_fragments() -> bool:
    """Return whether this release's helper puts fragments of one call together that come in one chunk: not all do."""
    deltas = sys.modules["openai.lib.streaming._deltas"]
    fragments = [{"index": 0, "function": {"arguments": piece}} for piece in ("{", "}")]
    return len(deltas.accumulate_delta({}, {"tool_calls": fragments})["tool_calls"]) == 1


@cache
def _recovers_output() -> bool:
    """Return whether this release's helper completes a response whose output is null: not all do."""
    state = sys.modules[_RESPONSES_HELPER].ResponseStreamState(input_tools=(), text_format=None)
    types = sys.modules["openai.types.responses"]
    response = {"id": "", "output": None}

    def is_completed() -> bool:
        state.handle_event(types.ResponseCreatedEvent.construct(type="response.created", response=response))
        state.handle_event(types.ResponseCompletedEvent.construct(type="response.completed", response=response))
        return True

    return bool(_attempt(is_completed, default=False))


def _attempt(read: Callable[[], Any], default: Any = None) -> Any:
    try:
        return read()
    except Exception as error:
        if is_interruption(error):
            raise
        return default


def api_at(path: str, stream: Any) -> tuple[str, str]:
    """Return the API of a stream, and what its operation is called: by the class of its events, or by the path."""
    known = _TYPES.get(getattr(getattr(stream, "_cast_to", None), "__name__", ""))
    if known is not None:
        return known
    for end, api, operation in _ENDPOINTS:
        if path.endswith(end):
            return api, operation
    for part, api, operation in _BELOW:
        if part in path:
            return api, operation
    return "other", "other"


def body_of(stream: Any, request: Any, loads: Callable[[bytes], Any]) -> dict[str, Any]:
    """Return the JSON body of the request; empty where there is none, or none can be read."""
    options = getattr(stream, "_options", None)
    body = getattr(options, "json_data", None)
    if isinstance(body, dict):
        extra = getattr(options, "extra_json", None)  # what `extra_body` overrides
        return {**body, **extra} if isinstance(extra, dict) else body
    body = _attempt(lambda: loads(request.content))
    return body if isinstance(body, dict) else {}


def _deployment(path: str) -> str:
    """Return the deployment, which Azure carries in the path."""
    _, found, rest = path.partition("/deployments/")
    return rest.partition("/")[0] if found else ""


def provider_at(host: str) -> str:
    """Return the provider that a host is known to be of; "" for all others."""
    for end, provider in _PROVIDERS:
        if host.endswith(end):
            return provider
    return ""


def _provider_of_client(source: Any) -> str:
    """Return the provider that the client's class names: addresses may be one's own."""
    client = getattr(source, "_client", None)
    return "azure.ai.openai" if any(base.__name__ == _AZURE_CLIENT for base in type(client).__mro__) else ""


def _by_name(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers of an answer by their names in lower case, of those that come twice the first."""
    return {name.lower(): value for name, value in reversed(raw)}


def _provider_in(headers: dict[bytes, bytes]) -> str:
    """Return the provider that the headers of an answer name."""
    for name, provider in _HEADERS:
        if name in headers:
            return provider
    software = headers.get(b"server", b"")
    return next((provider for start, provider in _SOFTWARE if software.startswith(start)), "")


def _choices(stream: Any, body: dict[str, Any], api: str) -> int | None:
    """Return how many choices each prompt gets; None where nobody knows.

    Servers take the number under names of their own, as `num_return_sequences`, and a list of prompts as well.
    """
    n = body.get("n")
    extra = getattr(getattr(stream, "_options", None), "extra_json", None)
    own = (
        {name: value for name, value in extra.items() if name not in ("n", "prompt")} if isinstance(extra, dict) else {}
    )
    lists = api == "completions" and any(isinstance(value, (list, tuple)) for value in own.values())
    if n in (None, 1) and (lists or _may_count(own)):
        return None
    return n if type(n) is int else 1 if body else None


def _may_count(members: dict[str, Any], depth: int = 3) -> bool:
    """Return whether a member has a number that may be one of choices, itself or in what it holds."""
    return any(
        1 < value <= _MOST_CHOICES
        if type(value) is int
        else isinstance(value, dict) and depth > 0 and _may_count(value, depth - 1)
        for name, value in members.items()
        if name not in _NO_COUNTS
    )


def _prompts(body: dict[str, Any]) -> int | None:
    """Return how many texts a legacy completion is asked to complete; None where the body does not say."""
    prompt = body.get("prompt")
    if not isinstance(prompt, (list, tuple)):
        return 1 if body else None
    if all(type(token) is int for token in prompt):
        return 1 if prompt else None  # one text, in tokens
    whole = all(isinstance(one, (str, list, tuple)) for one in prompt)
    return len(prompt) if whole else None


def tools_of(body: dict[str, Any]) -> frozenset[str]:
    """Return the names of the tools that a request offers; none where they are not known."""
    tools = body.get("tools")
    if not tools or not isinstance(tools, (list, tuple)):
        return _NO_TOOLS
    names = set()
    for tool in tools:
        name = _attempt(lambda tool=tool: tool["function"]["name"])  # type: ignore[misc]
        if isinstance(name, str):
            names.add(name)
    return frozenset(names)


def _request_id(headers: dict[bytes, bytes]) -> str:
    for name in _REQUEST_IDS:
        value = headers.get(name)
        if value is not None:
            return value.decode("latin-1")
    return ""
