"""The demo's server, with pauses in its streams as a busy provider makes them: longer than a scrape, within the window."""

from __future__ import annotations

import random

from streamwatch.demo import server

#: One event in so many comes late, by so many seconds; the window of a reader is two.
_ONE_IN, _SECONDS = 40, 0.4


class Pauses:
    """What the server asks how long to wait before an event."""

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high) + (_SECONDS if not random.randrange(_ONE_IN) else 0)


if __name__ == "__main__":
    vars(server)["random"] = Pauses()
    server.main()
