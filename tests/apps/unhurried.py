"""The demo's server with 0.2 to 0.4 s between two chunks.

A stream takes some ten seconds, so that many are open at a time and few end in a second. It prints its base URL once it listens.
"""

from __future__ import annotations

from streamwatch.demo import server

server._PAUSE = (0.2, 0.4)
server.main()
