"""The demo's server for readers whose patience shall not end, and with pauses in its streams: `--pauses`.

Readers cease to wait for a server whose holes never fill. Here every second stream of each model and shape has a hole
that fills, so that what becomes of a stream depends on what is on the wire, and on no other stream.
"""

from __future__ import annotations

import random
import sys

from streamwatch.demo import server
from streamwatch.synthetic import faults
from streamwatch.synthetic.streams import Shape

#: One event in so many comes late, by so many seconds: long enough for a reader to count it as a wait, and less than
#: half of the quarter of a second for which it waits for numbers of which it has seen no more than a few.
_ONE_IN, _SECONDS = 40, 0.1
#: Models that readers ask in turn: so many streams of a shape are put in order, and as many have any fault.
MODELS = 3

_planned = faults.fault_for


def fault_for(seed: int, shape: Shape, number: int) -> faults.Fault:
    """The fault of a request: in turn one that makes up for waits in vain, and the demo's own choice."""
    turn, place = divmod(number, 2 * MODELS)
    fills = faults.FAULTS["relay_reorder" if shape is Shape.CHAT_TEXT else "reorder"]
    if shape in fills.shapes and place < MODELS:
        return fills
    return _planned(seed, shape, turn * MODELS + place % MODELS)


class Pauses:
    """What the server asks how long to wait before an event."""

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high) + (_SECONDS if not random.randrange(_ONE_IN) else 0)


if __name__ == "__main__":
    if "--pauses" in sys.argv:
        sys.argv.remove("--pauses")
        vars(server)["random"] = Pauses()
    faults.fault_for = fault_for
    server.main()
