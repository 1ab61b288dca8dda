"""The demo's server as a production is: most streams are healthy, and one way to it breaks more of them for a while.

It mixes up their events, and takes the numbers from their tool calls.

The faults and the streams are those of `streamwatch.demo`; only how often each comes is decided here. With
`--calm` there is no spike: that is the other way.
"""

from __future__ import annotations

import sys
import time
from random import Random

from streamwatch.demo import server
from streamwatch.synthetic import faults
from streamwatch.synthetic.streams import Shape

#: The share of streams with a fault, outside the spike: enough for every panel to have data within minutes.
_FAULTY = 0.06
#: The spike: after how many seconds, for how long, and what share of the streams is broken by what each shape has here.
_SPIKE_AFTER, _SPIKE_SECONDS, _SPIKE = 150, 60, 0.35

_OF_SPIKE = {Shape.CHAT_TEXT: "relay_reorder", Shape.CHAT_TOOLS: "index_missing"}

_calm = "--calm" in sys.argv
_started = time.monotonic()
_planned = faults.fault_for


def fault_for(seed: int, shape: Shape, number: int) -> faults.Fault:
    """Return the fault of a request: mostly none, more of one kind during the spike, else the demo's own choice."""
    rng = Random(f"{seed}/{shape.value}/{number}")  # noqa: S311 -- its chance is a seed's
    age = time.monotonic() - _started
    spike = _SPIKE_AFTER <= age < _SPIKE_AFTER + _SPIKE_SECONDS
    if spike and not _calm and rng.random() < _SPIKE:
        return faults.FAULTS[_OF_SPIKE.get(shape, "reorder")]
    return _planned(seed, shape, number) if rng.random() < _FAULTY else faults.HEALTHY


if __name__ == "__main__":
    sys.argv = [argument for argument in sys.argv if argument != "--calm"]
    faults.fault_for = fault_for
    server.main()
