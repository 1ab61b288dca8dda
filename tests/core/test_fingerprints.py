"""The server software that a chat stream names in `system_fingerprint`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamwatch import StreamWatch
from streamwatch.core.fingerprints import server_of

RECORDINGS = Path(__file__).parents[1] / "recordings" / "servers"


@pytest.mark.parametrize(
    ("fingerprint", "server"),
    [
        ("fp_ollama", "ollama"),
        ("vllm-0.32.0-38949bf2", "vllm"),
        ("vllm-0.23.1rc1.dev1029+ga601a9d99-tp4-1381023c", "vllm"),
        ("fp_4fae27f477", ""),
        ("fp_ollama_2", ""),
        ("not-vllm-0.1", ""),
        ("vllm-", ""),
        ("b10499-6d05498", ""),
        ("", ""),
        (None, ""),
        (7, ""),
        ({"vllm-0": 1}, ""),
    ],
)
def test_a_fingerprint_names_a_server(fingerprint: Any, server: str) -> None:
    """Only those that the servers send, from their beginning on; anything else names nobody."""
    assert server == server_of(fingerprint)


def server_in(body: bytes, api: str = "chat") -> str:
    """Return the server of a stream."""
    watch = StreamWatch(api)
    watch.receive(body)
    watch.close()
    return watch.report().server


@pytest.mark.parametrize(
    ("recording", "server"),
    [
        ("vllm-text", "vllm"),
        ("vllm-calls", "vllm"),
        ("transformers-text", ""),
        ("litellm-text", ""),
        ("llama-text", ""),
    ],
)
def test_recorded_servers_are_known(recording: str, server: str) -> None:
    """vLLM says it in its last chunks; an empty fingerprint says nothing."""
    assert server == server_in((RECORDINGS / f"{recording}.sse").read_bytes())


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_first_that_is_named_stays(api: str) -> None:
    """A gateway that answers out of two servers does not change the name in the middle."""
    chunks = [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk" if api == "chat" else "text_completion",
            "created": 1,
            "model": "m",
            "system_fingerprint": fingerprint,
            "choices": [
                {"index": 0, "delta": {"role": "assistant", "content": "x"}, "text": "x", "finish_reason": None}
            ],
        }
        for fingerprint in ("fp_4fae27f477", "fp_ollama", "vllm-0.32.0")
    ]

    assert "ollama" == server_in(b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks), api)
