"""Does Streamwatch change what real clients compute? Every driver here, without and with it, over the same bytes.

    python tests/clients/run.py

That is all: it makes a virtual environment for each client beside the checkout's own (`.venv-clients/`, some
hundred MB, newest releases), runs every driver, and prints tables in Markdown. Python 3.10 or later; two
processes at a time; half an hour at most. The recordings and oracles are read from `../shared` where that is
beside the checkout; else the recordings in `tests/recordings` are all there is.

Each driver reads every stream without Streamwatch and with it, in processes of their own, and a second time
without where the two differ: what differs by itself (made-up ids, times) is known then, and left out. The
process ends with 1 if a client raised on a healthy stream only with Streamwatch, or was right on a broken one
only without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from comparing import (
    Compared,
    broken_table,
    compare,
    computed,
    differing,
    healthy_table,
    listed,
    raising,
    silenced,
)
from environments import CHECKOUT, CLIENTS, Client, build, python_of, releases
from recorded import MARK
from streams import Stream, all_streams

ALIKE = "of healthy recordings of one provider and API, with the same repairs, read N; 0: all; default: 2"
HERE = Path(__file__).parent
#: Seconds for one driver over one batch; it takes a minute at most.
DRIVER_TIMEOUT = 900
#: Streams that a driver reads before what it computed is compared, and forgotten: all of it would be gigabytes.
BATCH = 400
#: Processes at a time: drivers of all clients at once would make time itself differ.
PROCESSES = 2


def drive(client: Client, python: Path, streams: list[Stream], policy: str) -> dict[str, dict[str, Any]]:
    """What a client computes of every stream."""
    command = [str(python), str(HERE / f"with_{client.name}.py"), policy]
    lines = "".join(f"{stream.line()}\n" for stream in streams)
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, timeout=DRIVER_TIMEOUT, check=False, env=_environment()
    )
    results = [json.loads(line[len(MARK) :]) for line in done.stdout.split("\n") if line.startswith(MARK)]
    if len(results) != len(streams):
        raise RuntimeError(f"{client.name} at {policy}: {len(results)} of {len(streams)}\n{done.stderr[-3000:]}")
    return {result["id"]: result for result in results}


def _environment() -> dict[str, str]:
    """No proxy, no key and no setting of whoever runs this."""
    unwanted = ("PROXY", "OPENAI", "STREAMWATCH", "OTEL")
    return {key: value for key, value in os.environ.items() if not any(word in key.upper() for word in unwanted)}


def run(client: Client, python: Path, streams: list[Stream], policy: str) -> list[Compared]:
    """All runs of one client."""
    streams = [stream for stream in streams if _suits(stream, client)]
    batches = [streams[at : at + BATCH] for at in range(0, len(streams), BATCH)]
    compared = [one for batch in batches for one in _run_batch(client, python, batch, policy)]
    print(f"{client.name}: {len(streams)} streams read", file=sys.stderr)
    return compared


def _run_batch(client: Client, python: Path, streams: list[Stream], policy: str) -> list[Compared]:
    off, on = (drive(client, python, streams, each) for each in ("off", policy))
    differ = [stream for stream in streams if computed(off[stream.id]) != computed(on[stream.id])]
    again = {**off, **(drive(client, python, differ, "off") if differ else {})}
    return [compare(client.name, stream, off[stream.id], again[stream.id], on[stream.id]) for stream in streams]


def _suits(stream: Stream, client: Client) -> bool:
    """Whether a client can ask for such an answer, and make something of it."""
    asked = stream.api in client.apis and (client.asks_for_n or stream.request.get("n", 1) == 1)
    return asked and not (client.only_calls and stream.expect is not None and not stream.has_calls)


def show(of: dict[str, list[Compared]], names: dict[str, str]) -> None:
    """All tables."""
    print(f"## Healthy streams\n\n{healthy_table(of, names)}\n")
    print(f"### What differs on them\n\n{differing(of)}\n")
    print(f"### What clients raise on them either way\n\n{raising(of)}\n")
    print(f"## Broken streams\n\n{broken_table(of)}\n")
    print(f"### Wrong with Streamwatch where the client raised without\n\n{listed(of, silenced)}")
    for sort in ("right: only with", "reads: only with", "right: only without", "reads: only without"):
        print(f"\n### {sort}\n\n{listed(of, lambda one, sort=sort: one.sort == sort)}")


def main() -> int:
    """Build, run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", nargs="+", choices=list(CLIENTS), default=list(CLIENTS))
    parser.add_argument("--repair", default="default", help="the policy to compare with; default: default")
    parser.add_argument("--alike", type=int, default=2, metavar="N", help=ALIKE)
    parser.add_argument("--venvs", type=Path, default=CHECKOUT / ".venv-clients", help="where the environments are")
    parser.add_argument("--upgrade", action="store_true", help="bring the environments to the newest releases")
    parser.add_argument("--details", type=Path, help="a file for every difference, with both values")
    arguments = parser.parse_args()
    clients, venvs = [CLIENTS[name] for name in arguments.clients], arguments.venvs.absolute()
    for environment in {client.environment: client for client in clients}.values():
        build(environment, venvs, upgrade=arguments.upgrade)
    streams = all_streams(arguments.alike)
    print(f"{len(streams)} streams, {sum(stream.healthy for stream in streams)} of them healthy", file=sys.stderr)
    with ThreadPoolExecutor(PROCESSES) as pool:
        ran = list(pool.map(lambda client: run(client, python_of(client, venvs), streams, arguments.repair), clients))
    of = {client.name: each for client, each in zip(clients, ran, strict=True)}
    versions = {client.name: releases(client, venvs) for client in clients}
    names = {name: f"{name} ({', '.join(' '.join(each) for each in v.items())})" for name, v in versions.items()}
    show(of, names)
    every = [one for each in of.values() for one in each]
    if arguments.details:
        details = [one.details() for one in every if one.found]
        arguments.details.write_text(json.dumps(details, indent=1, ensure_ascii=False), "utf-8")
    return int(any(one.sort in ("raises only with", "right: only without", "reads: only without") for one in every))


if __name__ == "__main__":
    sys.exit(main())
