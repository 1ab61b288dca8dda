"""The demo's server with 60 to 140 ms between two chunks, as models write: a stream takes seconds, so that many are open
at a time. It prints its base URL once it listens."""

from __future__ import annotations

from streamwatch.demo import server

server._PAUSE = (0.06, 0.14)
server.main()
