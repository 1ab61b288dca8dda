"""The server software that answered, where `system_fingerprint` of its chunks names it.

The rows are what these servers send: Ollama `fp_ollama` in every chunk, vLLM its release, as `vllm-0.32.0-38949bf2`, in
the chunk with the finish reason or the usage (from 0.21 on). llama.cpp names itself in a header.
"""

from __future__ import annotations

from typing import Any

_WHOLE = {"fp_ollama": "ollama"}
#: Before a release: `vllm-0.32.0`.
_BEFORE_RELEASE = {"vllm-": "vllm"}
_LENGTH = 5


def server_of(fingerprint: Any) -> str:
    """Return the server that a fingerprint names; "" where it names none."""
    if not isinstance(fingerprint, str):
        return ""
    if fingerprint[_LENGTH : _LENGTH + 1].isdigit():
        return _BEFORE_RELEASE.get(fingerprint[:_LENGTH], "")
    return _WHOLE.get(fingerprint, "")
