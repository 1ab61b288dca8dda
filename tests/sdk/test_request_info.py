"""What is known of a request: what was asked for decides what is right in the answer."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from helpers import sdk
from helpers.stream_builders import DONE, answered, body, chunk, completion, fragment, named, said
from streamwatch.core.report import Request
from streamwatch.sdk import request_info
from streamwatch.testing import reports

httpx = sdk.httpx
COMPLETION = [body([completion("One"), completion("", "stop")])]


def asked(read: Any) -> Request:
    """The request of the one stream that `read` reads."""
    with reports("default") as seen:
        read()
    (report,) = seen
    return report.request


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("One", 1),
        (["One"], 1),
        (["One", "two", "three"], 3),
        ([1, 2, 3], 1),  # one text, in tokens
        ([[1, 2], [3]], 2),
        ([], None),
        ([1, "two"], None),
        (["One", None], None),
    ],
    ids=str,
)
def test_a_completion_is_asked_for_each_prompt(prompt: Any, prompts: int | None) -> None:
    """A list of texts, or of texts in tokens; one text in tokens is one."""
    client = sdk.client(COMPLETION)
    known = asked(lambda: list(client.completions.create(model="m", prompt=prompt, stream=True, n=2)))

    assert (known.n, known.prompts) == (2, prompts)


def test_three_prompts_get_three_texts() -> None:
    """The choices of a list of prompts, `n` unset, reach the application as they came."""
    pieces = [completion(text, index=index) for text, index in zip("abcdef", (0, 1, 2, 0, 1, 2), strict=True)]
    client = sdk.client([body([*pieces, *(completion("", "stop", index=index) for index in range(3))])])
    texts: dict[int, str] = {}
    with reports("default") as seen:
        for each in client.completions.create(model="m", prompt=["x", "y", "z"], stream=True):
            for choice in each.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text

    assert texts == {0: "ad", 1: "be", 2: "cf"}
    assert not seen[0].anomalies


@pytest.mark.parametrize(("n", "known"), [(None, 1), (1, 1), (3, 3)])
def test_a_chat_completion_has_one_choice_unless_more_was_asked(n: int | None, known: int) -> None:
    """And nothing is known of prompts."""
    client = sdk.client([body(said("One"))])
    given = {} if n is None else {"n": n}
    request = asked(lambda: list(client.chat.completions.create(model="m", messages=[], stream=True, **given)))

    assert (request.n, request.prompts, request.accumulated, request.joins_fragments) == (known, None, False, True)


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ({"num_return_sequences": 2}, None),
        ({"google": {"candidate_count": 2}}, None),
        ({"n": 2}, 2),
        ({"n": 2, "n_cmpl": 2}, 2),
        ({"n": None, "n_cmpl": 2}, None),
        ({"num_return_sequences": 1, "do_sample": True, "top_k": 40, "provider": {"order": ["a", "b"]}}, 1),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1),
    ],
    ids=str,
)
def test_how_many_choices_a_server_s_own_members_ask_for_is_not_known(extra: dict[str, Any], known: int | None) -> None:
    """They may come under any name: a small number in a member that the SDK does not know may be theirs."""
    client = sdk.client([body(said("One"))])
    request = asked(lambda: list(client.chat.completions.create(model="m", messages=[], stream=True, extra_body=extra)))

    assert request.n == known


@pytest.mark.parametrize("extra", [{"prompt_embeds": ["x", "y"]}, {"n_cmpl": 2}], ids=str)
def test_texts_that_a_server_s_own_members_ask_for_stay_apart(extra: dict[str, Any]) -> None:
    """vLLM takes a list of embedded prompts, llama.cpp another name for `n`."""
    pieces = [completion(text, index=index) for text, index in zip("abcd", (0, 1, 0, 1), strict=True)]
    client = sdk.client([body([*pieces, *(completion("", "stop", index=index) for index in range(2))])])
    texts: dict[int, str] = {}
    with reports("default"):
        for each in client.completions.create(model="m", prompt="", stream=True, extra_body=extra):
            for choice in each.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text

    assert texts == {0: "ac", 1: "bd"}


def read_by_helper(reads: list[bytes]) -> Any:
    """Read a stream with the SDK's accumulating helper; its completion."""
    client = sdk.client(reads)
    chat = getattr(client.chat.completions, "stream", None) or client.beta.chat.completions.stream
    with chat(model="m", messages=[]) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


@pytest.mark.skipif(sdk.VERSION < (1, 40), reason="this release of the SDK has no helper")
def test_the_helper_ends_with_one_call_whatever_it_joins_by_itself() -> None:
    """Fragments of one call in its first chunk: old releases keep them apart."""
    pieces = [fragment(0, '{"a"', id="call_a", name="weather"), fragment(0, ":1}")]
    wire = body([chunk({"role": "assistant", "tool_calls": pieces}), chunk({}, "tool_calls")], done=False) + DONE
    with reports("default") as seen:
        (call,) = read_by_helper([wire]).choices[0].message.tool_calls

    assert (call.function.name, call.function.arguments) == ("weather", '{"a":1}')
    assert seen[0].request.accumulated


def test_a_helper_that_nobody_knows_is_taken_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that has moved its function: nothing is done for it."""
    monkeypatch.setitem(request_info.sys.modules, "openai.lib.streaming._deltas", None)  # type: ignore[attr-defined]

    assert request_info._attempt(request_info._joins_fragments, default=True) is True


@pytest.mark.skipif(sdk.VERSION < (1, 66), reason="this release of the SDK has no helper for responses")
def test_a_response_without_output_ends_with_its_items_whether_the_helper_recovers_them_by_itself() -> None:
    """Releases from 3.20 on do so, others raise on null; what this one does is asked of it, and not of its number."""
    events = answered("One two")
    events[-1] = {**events[-1], "response": {**events[-1]["response"], "output": None}}

    def final() -> Any:
        with sdk.client([named(events)]).responses.stream(model="m", input="hi") as stream:
            return stream.get_final_response()

    recovers = True
    try:
        final()
    except (AttributeError, TypeError):
        recovers = False
    with reports("default") as seen:
        watched = final()

    assert watched.output_text == "One two"
    assert seen[0].request.recovers_output is recovers


def test_a_helper_that_is_not_there_is_taken_to_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that has moved it: nothing is done for it."""
    request_info._recovers_output.cache_clear()
    monkeypatch.setitem(request_info.sys.modules, request_info._RESPONSES_HELPER, None)  # type: ignore[attr-defined]

    assert request_info._attempt(request_info._recovers_output, default=True) is True


# --- the provider, where the address is one's own


def _stream(headers: dict[str, str], **client: Any) -> Any:
    """A stream of a client on an address of one's own, as the SDK makes it."""
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, headers={"content-type": "text/event-stream", **headers}, content=b"")
    )
    made = client.pop("of", openai.OpenAI)
    built = made(api_key="x", http_client=httpx.Client(transport=transport), **client)
    return built.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}], stream=True)


@pytest.mark.parametrize(
    ("headers", "client", "provider"),
    [
        ({}, {"base_url": "https://llm.example.test/v1"}, "openai"),
        (
            {},
            {"of": openai.AzureOpenAI, "azure_endpoint": "https://llm.example.test", "api_version": "2024-06-01"},
            "azure.ai.openai",
        ),
        ({"apim-request-id": "1"}, {"base_url": "https://llm.example.test/v1"}, "azure.ai.openai"),
        ({"x-litellm-call-id": "1"}, {"base_url": "https://llm.example.test/v1"}, "litellm"),
        ({"x-litellm-call-id": "1"}, {"base_url": "https://api.groq.com/openai/v1"}, "groq"),
        ({"server": "llama.cpp"}, {"base_url": "http://127.0.0.1:8080/v1"}, "llama_cpp"),
        ({"server": "llama.cpp", "x-litellm-call-id": "1"}, {"base_url": "http://127.0.0.1:8080/v1"}, "litellm"),
        ({"server": "uvicorn"}, {"base_url": "http://127.0.0.1:11434/v1"}, "openai"),
    ],
)
def test_the_provider_is_told_by_client_and_headers(
    headers: dict[str, str], client: dict[str, Any], provider: str
) -> None:
    """The address first, where it is a provider's; then the class of the client; then the answer's headers."""
    _, _, call = request_info.describe(_stream(headers, **client), "1")

    assert call.provider == provider
