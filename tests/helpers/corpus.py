"""Recorded streams: the project's own, which everybody has, and those of real servers beside the checkout."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.core.report import Request


@dataclass(frozen=True)
class Recorded:
    """A stream that a server sent."""

    name: str
    api: str
    provider: str
    wire: bytes
    request: Request
    is_faulty: bool = False  #: something is known to be wrong in it
    has_end: bool = True  #: its [DONE] was recorded, if there was one
    is_exact: bool = True  #: byte for byte what came

    @property
    def events(self) -> int:
        """Return about how many events it has."""
        return self.wire.count(b"\n\n")


def own() -> list[Recorded]:
    """Return the recordings of this repository, without those that were cut or broken on purpose."""
    built = [
        Recorded(name, recorded_api(name), name, each.wire, each.request, is_exact=False)
        for name, each in RECORDINGS.items()
    ]
    index = json.loads((HERE / "servers" / "index.json").read_text("utf-8"))
    whole = {name: about for name, about in index.items() if about["verdict"] == "complete"}
    return built + [
        Recorded(
            name,
            about["api"],
            name.partition("-")[0],
            (HERE / "servers" / f"{name}.sse").read_bytes(),
            Request(n=about["n"]),
            is_faulty="fault" in about["kinds"].values(),
        )
        for name, about in whole.items()
    ]


def beside(shared: Path) -> list[Recorded]:
    """Return the recordings beside the checkout."""
    folder = shared / "corpus"
    faulty = {json.loads(line)["id"] for line in (folder / "known_faults.jsonl").read_text("utf-8").splitlines()}
    entries = map(json.loads, (folder / "index.jsonl").read_text("utf-8").splitlines())
    return [
        Recorded(
            each["id"],
            each["surface"],
            each["provider"],
            (folder / "streams" / f"{each['id']}.sse").read_bytes(),
            Request(n=each["request_n"], names_tool=str(each["request_tool_choice"] or "").startswith("named:")),
            is_faulty=each["id"] in faulty,
            has_end=each["fidelity"] not in ("parsed", "reframed"),
            is_exact=each["fidelity"] == "exact",
        )
        for each in entries
        if each["origin"] == "recorded"
    ]


def some(recorded: list[Recorded], count: int, longest: int) -> list[Recorded]:
    """Return some recordings of not too many events, the same each time, of every provider and API at least one."""
    mixed = [each for each in recorded if each.events <= longest]
    random.Random(7).shuffle(mixed)
    by_provider = {(each.provider, each.api): each for each in mixed}
    return list({each.name: each for each in [*by_provider.values(), *mixed[:count]]}.values())
