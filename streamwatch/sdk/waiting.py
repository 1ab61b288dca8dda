"""What may be waited for while events are held: whether the next read can leave the reader blocked.

While events are held, the reader asks here before each read. A body that is in memory never blocks for
long, so its next read may bring what is missing. Of every other transport it is only known that a read
may take as long as the server likes: what is held goes on first, and only what came in one read is put
in order.
"""

from __future__ import annotations

import sys
from typing import Any

from streamwatch.sdk.request_info import is_installed

#: Packages whose bodies are in memory: httpx itself, and what stands in for a server in tests.
_IN_MEMORY = ("httpx", "httpx2", "pytest_httpx", "respx", "streamwatch", "vcr")


def body_of(response: Any) -> Any:
    """Return the body that the transport made, without the stream that httpx wraps around it."""
    body = response.stream
    return body._stream if type(body).__name__ in ("BoundSyncStream", "BoundAsyncStream") else body


def is_in_memory(response: Any) -> bool:
    """Return whether a body can be read without waiting for a network, as far as its type tells.

    An installed package that brings a body of its own has a network behind it. A class of the application's own is
    mostly one of its tests; `Agent.blocking` has those whose reads showed otherwise.
    """
    body = type(body_of(response))
    if "network_stream" in response.extensions:
        return False
    if body.__module__.partition(".")[0] in _IN_MEMORY:
        return True
    return not is_installed(getattr(sys.modules.get(body.__module__), "__file__", None) or "")
