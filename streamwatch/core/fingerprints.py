"""The server software that answered, where `system_fingerprint` of its chunks names it.

The rows are what these servers send: Ollama `fp_ollama` in every chunk, vLLM its release, as `vllm-0.32.0-38949bf2`, in
the chunk with the finish reason or the usage (from 0.21 on). llama.cpp names itself in a header.
"""

from __future__ import annotations

import re
from typing import Any

_SERVERS = (
    (re.compile(r"fp_ollama\Z"), "ollama"),
    (re.compile(r"vllm-\d"), "vllm"),
)


def server_of(fingerprint: Any) -> str:
    """Return the server that a fingerprint names; "" where it names none."""
    if not isinstance(fingerprint, str):
        return ""
    return next((name for pattern, name in _SERVERS if pattern.match(fingerprint)), "")
