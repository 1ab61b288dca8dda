"""The harm finder: whoever reads a stream to a good end on the plain SDK, ends the same with Streamwatch.

A case is a stream, changed as real servers change streams, and read twice in the same way: by the plain SDK, and
with Streamwatch switched on. Then many small programs (the readers) run over what came of both, and a judge that
looks at the wire alone says whether a difference is a repair or harm. It drives the SDK and the public names of
Streamwatch only, so that it survives any change of the engine.

| module | duty |
|---|---|
| `wire` | events, streams, and chance that can be repeated |
| `serving` | what the SDK makes of a stream: sync, async, raw, and the helpers |
| `streams`, `recorded`, `generated_*` | the streams |
| `changes`, `changes_*` | what servers, gateways and proxies do to them |
| `readers`, `readers_*` | working programs |
| `ideal`, `ideal_*`, `proof` | what a stream proves about itself, and when a difference is a repair |
| `judge` | one verdict for each combination |
| `finder`, `shrink`, `table` | the plan, the smallest example, and the figures |
| `messages`, `scripted`, `connected` | sessions over WebSockets: as streams, without sockets, and what the SDK makes of them |
| `on_request`, `results` | what the policy `all` may change, kind by kind |
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[1])
if _TESTS not in sys.path:  # pytest puts it there: `helpers` is imported by this name
    sys.path.append(_TESTS)
