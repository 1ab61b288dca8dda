"""Does Streamwatch change what real clients compute? Every driver here, without and with it, over the same bytes.

    python tests/clients/run.py --venvs FOLDER [--clients NAME ...] [--details FILE]

FOLDER holds one virtual environment per client, named after its distribution, each with the client,
`openai` and this checkout. Run it with a Python that has Streamwatch, as one of them has.

Each driver reads every stream three times, each time in a process of its own: twice without
Streamwatch, so that what differs by itself (made-up ids, times) is known and left out, and once with
it. The table goes to standard output; every difference, with both values, to the file of details.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recorded import MARK
from streamwatch.anomalies import Outcome
from streamwatch.report import Request
from streamwatch.settings import Settings
from streamwatch.stream import StreamWatch

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared"
#: Driver -> the environment it runs in, the surfaces it reads, and the packages whose versions matter.
CLIENTS = {
    "openai_create": ("openai", ("chat", "responses"), ("openai",)),
    "openai_naive": ("openai", ("chat",), ("openai",)),
    "openai_stream": ("openai", ("chat", "responses"), ("openai",)),
    "agents": ("openai-agents", ("chat", "responses"), ("openai-agents", "openai")),
    "langchain": ("langchain-openai", ("chat", "responses"), ("langchain-openai", "langchain-core", "openai")),
    "pydantic_ai": ("pydantic-ai-slim", ("chat", "responses"), ("pydantic-ai-slim", "openai")),
    "litellm": ("litellm", ("chat", "responses"), ("litellm", "openai")),
    "instructor": ("instructor", ("chat", "responses"), ("instructor", "openai")),
    "llama_index": ("llama-index-llms-openai", ("chat", "responses"), ("llama-index-llms-openai", "openai")),
}
#: Streams taken for each provider, API and set of repairs: what differs in none of them reads alike.
PER_GROUP = 2
#: Events. A longer recording says the same more often.
LONGEST = 250
#: Seconds for one driver over all streams; it takes some tens.
DRIVER_TIMEOUT = 900
_MISSING = "(absent)"


@dataclass
class Stream:
    """A stream to be read, and what is known of it."""

    id: str
    surface: str
    wire: bytes
    healthy: bool
    content_type: str = "text/event-stream"
    connection_cut: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    expect: dict[str, Any] | None = None
    group: tuple[Any, ...] = ()

    def line(self) -> str:
        """What a driver is told."""
        told = {key: getattr(self, key) for key in ("id", "surface", "content_type", "connection_cut", "request")}
        return json.dumps({**told, "wire": base64.b64encode(self.wire).decode()})


# --- the streams


def own() -> Iterator[Stream]:
    """The healthy streams beside the tests."""
    for path in sorted((HERE.parent / "recordings").glob("*.sse")):
        surface = {"chat": "chat", "resp": "responses"}.get(path.stem.partition("-")[0])
        if surface:
            request = {"n": 2} if "two-choices" in path.stem else {}
            yield Stream(f"own/{path.stem}", surface, path.read_bytes(), healthy=True, request=request)


def corpus() -> Iterator[Stream]:
    """Recordings of real servers, where they are: some of each provider, API and set of repairs, and all broken ones."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        return
    known = {json.loads(line)["id"] for line in (folder / "known_faults.jsonl").read_text("utf-8").splitlines()}
    taken: Counter[tuple[Any, ...]] = Counter()
    entries = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
    # In an order that has nothing to do with the names, and is the same each time.
    for entry in sorted(entries, key=lambda entry: hashlib.sha256(entry["id"].encode()).digest()):
        if entry["surface"] not in ("chat", "responses") or entry["n_events"] > LONGEST:
            continue
        stream = _of_corpus(folder, entry, healthy=entry["id"] not in known)
        if stream.healthy and entry["origin"] != "recorded":
            continue
        taken[stream.group] += 1
        if not stream.healthy or taken[stream.group] <= PER_GROUP:
            yield stream


def _of_corpus(folder: Path, entry: dict[str, Any], *, healthy: bool) -> Stream:
    wire = (folder / "streams" / f"{entry['id']}.sse").read_bytes()
    request: dict[str, Any] = {}
    n = max(entry["request_n"] or 1, entry["n_choices"] if healthy else 1)  # a healthy server sends what was asked for
    if n > 1:
        request["n"] = n
    if entry["surface"] == "chat" and entry["request_tool_choice"] == "named:function":
        named = {"type": "function", "function": {"name": "named"}}
        request.update(tools=[named], tool_choice=named)
    watch = StreamWatch(entry["surface"], Request(n=request.get("n", 1), naive=False), Settings())
    watch.receive(wire)
    watch.close()
    mended = {Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED}
    repaired = sorted(kind.name for kind, outcomes in watch.report().outcomes.items() if mended & set(outcomes))
    group = (entry["provider"], entry["surface"], entry["has_tool_calls"], *repaired)
    return Stream(f"corpus/{entry['id']}", entry["surface"], wire, healthy=healthy, request=request, group=group)


def oracles() -> Iterator[Stream]:
    """The oracles, where they are: odd wires, each with the answer that is right."""
    path = SHARED / "oracles" / "cases.jsonl"
    lines = path.read_text("utf-8").split("\n") if path.is_file() else []  # U+2028 is data here
    for case in (json.loads(line) for line in lines if line.strip()):
        if case["surface"] in ("chat", "responses"):
            reached = case["repairs"] != "opt_in" and case["expect"].get("raises") is None
            yield Stream(
                f"oracle/{case['id']}",
                case["surface"],
                case["wire"].encode(),
                healthy=not case["kinds"],
                content_type=case["content_type"],
                connection_cut=case["connection_cut"],
                request=case.get("request", {}),
                expect=case["expect"] if reached else None,
            )


# --- the drivers


def drive(client: str, venvs: Path, streams: list[Stream], policy: str) -> dict[str, dict[str, Any]]:
    """What a client computes of every stream."""
    python = venvs / CLIENTS[client][0] / "bin" / "python"
    command = [str(python), str(HERE / f"with_{client}.py"), policy]
    lines = "".join(f"{stream.line()}\n" for stream in streams)
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, timeout=DRIVER_TIMEOUT, check=False, env=_environment()
    )
    results = [json.loads(line[len(MARK) :]) for line in done.stdout.split("\n") if line.startswith(MARK)]
    if len(results) != len(streams):
        raise RuntimeError(f"{client} at {policy}: {len(results)} of {len(streams)} streams\n{done.stderr[-3000:]}")
    return {result["id"]: result for result in results}


def _environment() -> dict[str, str]:
    """No proxy, no key and no setting of whoever runs this."""
    unwanted = ("PROXY", "OPENAI", "STREAMWATCH", "OTEL")
    return {key: value for key, value in os.environ.items() if not any(word in key.upper() for word in unwanted)}


def versions(client: str, venvs: Path) -> str:
    """The releases that a client was run with."""
    environment, _, packages = CLIENTS[client]
    code = (
        "import sys; from importlib.metadata import version as v; print(', '.join(f'{p} {v(p)}' for p in sys.argv[1:]))"
    )
    python = venvs / environment / "bin" / "python"
    return subprocess.run(
        [str(python), "-c", code, *packages], capture_output=True, text=True, check=True
    ).stdout.strip()


# --- comparing


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place where two values differ; lists of another length also as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key, _MISSING), after.get(key, _MISSING), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}.length", len(before), len(after)
        for at, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differences(one, other, f"{path}[{at}]")
    elif before != after or type(before) is not type(after):
        yield path, before, after


def computed(result: dict[str, Any]) -> dict[str, Any]:
    """What counts of a result: not what Streamwatch says of it."""
    return {key: value for key, value in result.items() if key not in ("id", "reports")}


def is_fill(difference: tuple[str, Any, Any]) -> bool:
    """Whether this is what `fill_content` promises a naive loop: "" for nothing."""
    path, before, after = difference
    return path.endswith("delta.content") and before in (None, _MISSING) and after == ""


def right(result: dict[str, Any], expect: dict[str, Any]) -> bool:
    """Whether a client got the answer of an oracle. Instructor knows no names, and agents no calls but those they make."""
    if result["error"]:
        return False
    if "choices" in expect:
        choice = expect["choices"].get("0", {})
        texts, calls = [choice.get("content") or ""] if "content" in choice else None, choice.get("tool_calls", [])
    else:
        delta_text = expect.get("delta_text", expect.get("output_text", ""))
        texts = [expect.get("output_text"), *(delta_text if isinstance(delta_text, list) else [delta_text])]
        calls = expect.get("function_calls", [])
    if texts is not None and result["text"] not in texts:
        return False
    wanted = [(call.get("name"), _parsed(call.get("arguments"))) for call in calls]
    got = [(name, _parsed(arguments)) for name, arguments in result["tools"]]
    return len(wanted) == len(got) and all(
        (not name or not known or name == known) and arguments == right_ones
        for (name, arguments), (known, right_ones) in zip(got, wanted, strict=True)
    )


def _parsed(arguments: Any) -> Any:
    with contextlib.suppress(TypeError, ValueError):
        return json.loads(arguments)
    return arguments


@dataclass
class Tally:
    """One row of the table."""

    counts: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)

    def take(self, client: str, stream: Stream, off: Any, again: Any, on: Any) -> None:
        """Count one stream."""
        by_itself = {path for path, _, _ in differences(computed(off), computed(again))}
        found = [each for each in differences(computed(off), computed(on)) if each[0] not in by_itself]
        filled = client == "openai_create" and any(map(is_fill, found))
        if client == "openai_create":
            found = [each for each in found if not is_fill(each)]
        self.counts["watched"] += bool(on["reports"])
        self.counts["streams"] += 1
        sort = self._healthy(off, on, found, filled) if stream.healthy else self._broken(stream, off, on, found)
        self.counts[sort] += 1
        if found:
            kinds = {kind: what for report in on["reports"] for kind, what in report["kinds"].items()}
            self.details.append(
                {
                    "client": client,
                    "stream": stream.id,
                    "sort": sort,
                    "kinds": kinds,
                    "differences": sorted(found, key=_of_chunks)[:40],
                }
            )

    def _healthy(self, off: Any, on: Any, found: list[Any], filled: bool) -> str:
        self.counts["healthy"] += 1
        self.counts["raises in both"] += bool(off["error"] and on["error"])
        if off["error"] and not on["error"]:
            return "healthy, raises only without"
        if on["error"] and not off["error"]:
            return "healthy, raises only with"
        if not all(map(_of_chunks, found)):
            return "healthy, another result"
        return "healthy, other chunks" if found else "healthy, filled" if filled else "healthy, same"

    def _broken(self, stream: Stream, off: Any, on: Any, found: list[Any]) -> str:
        if stream.expect is not None:
            self.counts["oracles"] += 1
            return f"oracle, {_both(right(off, stream.expect), right(on, stream.expect))}"
        self.counts["faulty"] += 1
        if not off["error"] and not on["error"]:
            return "faulty, changed" if found else "faulty, same"
        return f"faulty, {_both(not off['error'], not on['error'])}"


def _of_chunks(difference: tuple[str, Any, Any]) -> bool:
    return difference[0].startswith(".chunks")


def _both(without: bool, with_it: bool) -> str:
    return {(0, 0): "fails in both", (0, 1): "only with", (1, 0): "only without", (1, 1): "right in both"}[
        without, with_it
    ]


COLUMNS = {
    "watched": ("watched",),
    "healthy": ("healthy",),
    "of them raises in both": ("raises in both",),
    "same": ("healthy, same",),
    "only filled": ("healthy, filled",),
    "other chunks, same result": ("healthy, other chunks",),
    "another result": ("healthy, another result",),
    "raises only without": ("healthy, raises only without",),
    "raises only with": ("healthy, raises only with",),
    "oracles": ("oracles",),
    "right only with": ("oracle, only with",),
    "right only without": ("oracle, only without",),
    "right in both": ("oracle, right in both",),
    "wrong in both": ("oracle, fails in both",),
    "known faults": ("faulty",),
    "raise only without": ("faulty, only with",),
    "raise only with": ("faulty, only without",),
}


def compare(client: str, venvs: Path, streams: list[Stream]) -> Tally:
    """All runs of one client."""
    asks_for_n = client.startswith("openai_")  # no framework here streams more than one choice
    streams = [
        stream
        for stream in streams
        if stream.surface in CLIENTS[client][1] and (asks_for_n or stream.request.get("n", 1) == 1)
    ]
    off, again, on = (drive(client, venvs, streams, policy) for policy in ("off", "off", "default"))
    tally = Tally()
    for stream in streams:
        tally.take(client, stream, off[stream.id], again[stream.id], on[stream.id])
    return tally


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--clients", nargs="+", choices=list(CLIENTS), default=list(CLIENTS))
    parser.add_argument("--details", type=Path)
    arguments = parser.parse_args()
    streams = [*own(), *corpus(), *oracles()]
    print(f"{len(streams)} streams, {sum(stream.healthy for stream in streams)} healthy", file=sys.stderr)
    with ThreadPoolExecutor(2) as pool:
        tallies = dict(
            zip(
                arguments.clients,
                pool.map(lambda client: compare(client, arguments.venvs, streams), arguments.clients),
                strict=True,
            )
        )
    print("|".join(["| client ", *(f" {column} " for column in COLUMNS), ""]))
    print("|".join(["|---", *("--:" for _ in COLUMNS), ""]))
    for client, tally in tallies.items():
        name = f"{client} ({versions(client, arguments.venvs)})"
        row = [str(sum(tally.counts[sort] for sort in sorts)) for sorts in COLUMNS.values()]
        row[0] += f"/{tally.counts['streams']}"
        print("|".join([f"| {name} ", *(f" {cell} " for cell in row), ""]))
    if arguments.details:
        details = [detail for tally in tallies.values() for detail in tally.details]
        arguments.details.write_text(json.dumps(details, indent=1, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
