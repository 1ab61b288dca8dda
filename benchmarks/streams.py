"""CPU time of reading a stream through the SDK; with `--watched`, under Streamwatch. `make bench` compares the two."""

from __future__ import annotations

import logging
from typing import Any

import pyperf
import workload

#: Chunks of a long stream: enough for what a stream costs once to vanish, and short enough for many samples.
LONG = 400
SHORT = 5


def main() -> None:
    logging.getLogger("streamwatch").setLevel(logging.CRITICAL)  # the broken streams are broken on purpose
    runner = pyperf.Runner(add_cmdline_args=_pass_on)
    runner.argparser.add_argument("--watched", action="store_true", help="with Streamwatch on")
    if runner.parse_args().watched:
        workload.instrument()
    for name in workload.STREAMS:
        read = workload.reader(name, workload.wire(name, LONG))
        runner.bench_time_func(f"{name}: {LONG} chunks", lambda loops, read=read: workload.cpu_seconds(read, loops))
    read_async = workload.async_reader("chat", workload.wire("chat", LONG))
    runner.bench_time_func(f"chat, async: {LONG} chunks", lambda loops: workload.cpu_seconds(read_async, loops))
    read_short = workload.reader("chat", workload.wire("chat", SHORT))
    runner.bench_time_func(f"chat: {SHORT} chunks", lambda loops: workload.cpu_seconds(read_short, loops))


def _pass_on(command: list[str], arguments: Any) -> None:
    if arguments.watched:
        command.append("--watched")


if __name__ == "__main__":
    main()
