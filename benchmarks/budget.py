"""The budget of a chunk: what of its time goes where, in bytecodes and in CPU time, beside the plain SDK's.

python benchmarks/budget.py [--rounds 5]

The floor is the SDK's own loop over objects that are ready, with the transport below it: no way of watching a stream
below its parser costs less. A stage's CPU time is that of the stage alone, over what it gets in a stream; what is left
of the whole is handing over: the iterators, the session, and the record of the stream.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import bytecodes
import workload

CHUNKS = 800
#: The parts of a chunk's time, and the files that are in each; a part without files works in C.
PARTS = {
    "SDK's loop, transport": ("openai/", "httpx2/", "httpx/", "typing", "abc", "inspect", "/", "<frozen"),
    "SSE": ("streamwatch/core/sse.py",),
    "JSON": (),
    "rules": ("streamwatch/core/",),
    "objects": ("streamwatch/sdk/shape", "streamwatch/sdk/chunk_builder.py", "streamwatch/sdk/dict_forms.py"),
    "handing over": ("streamwatch/sdk/",),
    "telemetry": ("streamwatch/export/", "opentelemetry/"),
}


def by_part(counts: Counter[str]) -> dict[str, float]:
    """Return the bytecodes of each part: a file belongs to the part with the longest beginning of its name."""
    found = dict.fromkeys(PARTS, 0.0)
    beginnings = [(beginning, part) for part, files in PARTS.items() for beginning in files]
    for place, count in counts.items():
        fitting = [(len(beginning), part) for beginning, part in beginnings if place.startswith(beginning)]
        found[max(fitting)[1] if fitting else "SDK's loop, transport"] += count
    return found


class _Ready:
    """An event whose object is ready."""

    __slots__ = ("_made", "data", "event")

    def __init__(self, data: str, event: str | None, made: Any) -> None:
        self.data, self.event, self._made = data, event, made

    def json(self) -> Any:
        return self._made


class _AsItIs:
    """A type for the SDK to cast to, by its `ModelBuilderProtocol`, that leaves objects as they are."""

    @classmethod
    def build(cls, *, response: Any, data: Any) -> Any:  # noqa: ARG003 -- the protocol of the SDK
        return data


class _Decoder:
    """A decoder that has its events already."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events

    def iter_bytes(self, chunks: Iterator[bytes]) -> Iterator[Any]:
        yield from (event for event, _ in zip(self._events, chunks, strict=False))


def floor(name: str, reads: list[bytes]) -> Callable[[], None]:
    """Return a function that lets the SDK's loop go over objects that are ready, while the body is read."""
    open_stream = workload.opener(name, reads)
    made = list(open_stream())
    texts = [read.decode().partition("data: ")[2] for read in reads]
    events = [_Ready(text, getattr(one, "type", None), one) for text, one in zip(texts, made, strict=False)]
    events.append(_Ready("[DONE]", None, None))

    def read() -> None:
        stream = open_stream()
        stream._decoder, stream._cast_to = _Decoder(events), _AsItIs
        for _ in stream:
            pass

    return read


def stages(name: str, reads: list[bytes]) -> dict[str, Callable[[], object]]:
    """Return each stage alone, over what it gets of a stream."""
    from openai._models import construct_type

    from streamwatch.core.ledger import Ledger
    from streamwatch.core.settings import Policy
    from streamwatch.core.sse import Decoder
    from streamwatch.core.stream import StreamWatch
    from streamwatch.sdk.chunk_builder import ChunkBuilder
    from streamwatch.sdk.instrumentor import _fastest_loads

    loads, cast_to = _fastest_loads(), workload.opener(name, reads)()._cast_to
    raws = [read.partition(b"data: ")[2].strip() for read in reads if b"[DONE]" not in read]
    payloads = [loads(raw) for raw in raws]
    build = ChunkBuilder(construct_type, cast_to).build

    def sse() -> None:
        decoder = Decoder(Ledger(Policy()), 1 << 25)
        for read in reads:
            decoder.push(read)

    def core() -> None:
        watch = StreamWatch("responses" if "responses" in name else "chat", loads=loads)
        for read in reads:
            watch.take(read)
            watch.ready.clear()

    return {
        "SSE": sse,
        "JSON": lambda: [loads(raw) for raw in raws],
        "core": core,
        "objects": lambda: [build(payload) for payload in payloads],
    }


def cpu_shares(name: str, rounds: int) -> tuple[float, dict[str, float]]:
    """Return the plain SDK's microseconds a chunk, and the share of them that each part takes."""
    reads = workload.wire(name, CHUNKS)
    arms: dict[str, Callable[[], object]] = {
        "plain": workload.reader(name, reads),
        "floor": floor(name, reads),
        **stages(name, reads),
    }
    samples: dict[str, list[float]] = {arm: [] for arm in (*arms, "watched")}
    for _ in range(rounds):
        for arm, run in arms.items():
            samples[arm].append(workload.least_cpu_seconds(run))
        workload.instrument()
        samples["watched"].append(workload.least_cpu_seconds(arms["plain"]))
        workload.uninstrument()
    share = {
        arm: statistics.median(one / plain for one, plain in zip(each, samples["plain"], strict=True))
        for arm, each in samples.items()
    }
    rules = max(share["core"] - share["SSE"] - share["JSON"], 0.0)
    rest = share["watched"] - share["floor"] - share["core"] - share["objects"]
    parts = {"SDK's loop, transport": share["floor"], "SSE": share["SSE"], "JSON": share["JSON"], "rules": rules}
    parts |= {"objects": share["objects"], "handing over": rest, "all": share["watched"]}
    return 1e6 * statistics.median(samples["plain"]) / CHUNKS, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    names = ("chat", "tools", "responses")
    plain = {name: bytecodes.by_file(name).total() for name in names}
    shares = {name: cpu_shares(name, rounds) for name in names}
    workload.instrument()
    counted = {name: by_part(bytecodes.by_file(name)) for name in names}
    print("| of a chunk | " + " | ".join(f"{name}, bytecodes | CPU, x plain" for name in names) + " |")
    print("|---" * (1 + 2 * len(names)) + "|")
    for part in PARTS:
        cells = (f"{counted[name][part]:,.0f} | {_share(shares[name][1].get(part))}" for name in names)
        print(f"| {part} | {' | '.join(cells)} |")
    cells = (f"{sum(counted[name].values()):,.0f} | {_share(shares[name][1]['all'])}" for name in names)
    print(f"| all | {' | '.join(cells)} |")
    print("| plain SDK | " + " | ".join(f"{plain[name]:,.0f} | {shares[name][0]:.0f} us" for name in names) + " |")


def _share(share: float | None) -> str:
    return "in handing over" if share is None else f"{share:.3f}"


if __name__ == "__main__":
    main()
