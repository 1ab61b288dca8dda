"""The cost of watching a WebSocket: messages a second and CPU time of the client, beside the plain SDK.

    python benchmarks/sockets.py [--messages 4000] [--rounds 15] [--each | --pace N] [--json FILE]

One process is the client. It reads the same messages with Streamwatch switched off and on in turns, and the figures are
medians of the ratios of neighbors: whatever else the machine does, it does to both. Another process is the server. It
has made all frames beforehand and writes them in one piece, so that the client is what is measured, at its limit. With
`--each` the server sends one message after the other, as servers do, and with `--pace` as often as that says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import openai
from workload import Payload, instrument, responses, uninstrument

#: How a client reads: in which kind of code, and what it asks the connection for.
READERS = (("sync", "recv"), ("async", "recv"), ("sync", "recv_bytes"), ("async", "recv_bytes"))
#: Base64 of 40 ms of audio as the Realtime API sends it: 24 kHz, 16 bits.
AUDIO = 2560 * "A"
Taken = tuple[float, float]


def realtime(count: int) -> list[Payload]:
    """Return the events of a response of the Realtime API: transcript and audio in turns."""
    at = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    item = {"id": "item_1", "type": "message", "role": "assistant", "content": []}
    pieces = [f" word{number % 1000}" for number in range(count // 2)]
    said, heard = "response.output_audio_transcript", "response.output_audio"
    audio = {"type": f"{heard}.delta", "delta": AUDIO}
    events: list[Payload] = [
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "response_id": "resp_1", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": {"type": "audio", "transcript": ""}},
        *({**delta, **at} for each in pieces for delta in ({"type": f"{said}.delta", "delta": each}, audio)),
        {"type": f"{said}.done", **at, "transcript": "".join(pieces)},
        {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "output": [item]}},
    ]
    return [{**event, "event_id": f"event_{number}"} for number, event in enumerate(events)]


APIS: dict[str, Callable[[int], Iterable[Payload]]] = {"responses": responses, "realtime": realtime}


def serve(messages: list[str], port: Any, *, pace: float | None) -> None:
    """Send messages to each client that has said something: `pace` of them a second, or None: all in one piece."""
    from websockets.frames import Frame, Opcode
    from websockets.sync.server import serve as serving

    frames = b"".join(Frame(Opcode.TEXT, message.encode()).serialize(mask=False) for message in messages)

    def answer(connection: Any) -> None:
        connection.recv()
        if pace is not None:
            begun = time.perf_counter()
            for number, message in enumerate(messages):
                if (early := begun + number / pace - time.perf_counter()) > 0:
                    time.sleep(early)
                connection.send(message)
        else:
            connection.socket.sendall(frames)
        for _ in connection:
            pass

    with serving(answer, "127.0.0.1", 0, compression=None) as server:
        port.put(server.socket.getsockname()[1])
        server.serve_forever()


@contextmanager
def server_of(messages: list[Payload], *, pace: float | None) -> Iterator[str]:
    """Run a server in a process of its own, and yield its address."""
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    texts = [json.dumps(message) for message in messages]
    server = context.Process(target=serve, args=(texts, port), kwargs={"pace": pace}, daemon=True)
    server.start()
    yield f"http://127.0.0.1:{port.get(timeout=30)}/v1"
    server.terminate()


def opened(client: Any, api: str) -> Any:
    """Return a connection that is to be entered."""
    return client.responses.connect() if api == "responses" else client.realtime.connect(model="gpt-realtime")


def read(url: str, api: str, method: str, count: int) -> Taken:
    """Read all messages, and return the seconds and the CPU seconds that it took."""
    with opened(openai.OpenAI(base_url=url, api_key="x"), api) as connection:
        connection.send({"type": "response.create"})
        receive = getattr(connection, method)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            receive()
        return time.perf_counter() - begun, time.process_time() - begun_cpu


async def read_async(url: str, api: str, method: str, count: int) -> Taken:
    """Read all messages in asynchronous code."""
    async with opened(openai.AsyncOpenAI(base_url=url, api_key="x"), api) as connection:
        await connection.send({"type": "response.create"})
        receive = getattr(connection, method)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            await receive()
        return time.perf_counter() - begun, time.process_time() - begun_cpu


def measured(url: str, api: str, reader: tuple[str, str], count: int, *, watched: bool) -> Taken:
    """Read all messages once."""
    mode, method = reader
    if watched:
        instrument()
    try:
        return asyncio.run(read_async(url, api, method, count)) if mode == "async" else read(url, api, method, count)
    finally:
        if watched:
            uninstrument()


def compared(url: str, api: str, reader: tuple[str, str], count: int, rounds: int) -> dict[str, Any]:
    """Return how reading compares, plain and watched in turns, each first in half of the rounds."""
    pairs: list[tuple[Taken, Taken]] = []
    for number in range(rounds + 1):
        order = (False, True) if number % 2 else (True, False)
        taken = {watched: measured(url, api, reader, count, watched=watched) for watched in order}
        pairs.append((taken[False], taken[True]))
    del pairs[0]  # the first round warms up
    rates = [plain[0] / watched[0] for plain, watched in pairs]
    costs = [watched[1] / plain[1] for plain, watched in pairs]
    return {
        "api": api,
        "code": reader[0],
        "method": reader[1],
        "messages": count,
        "rounds": rounds,
        "rate": median(rates),
        "rate quartiles": quantiles(rates, n=4)[::2],
        "cpu": median(costs),
        "cpu quartiles": quantiles(costs, n=4)[::2],
        "plain messages a second": count / median(plain[0] for plain, _ in pairs),
        "plain CPU microseconds a message": 1e6 * median(plain[1] for plain, _ in pairs) / count,
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    rate, cpu = (" to ".join(f"{each:.2f}" for each in row[f"{name} quartiles"]) for name in ("rate", "cpu"))
    plain = f"{row['plain messages a second']:,.0f} | {row['plain CPU microseconds a message']:.0f}"
    return (
        f"| {row['api']}, {row['code']}, `{row['method']}` | {row['rate']:.2f} ({rate}) | {row['cpu']:.2f} ({cpu})"
        f" | {plain} |"
    )


def main() -> None:
    """Measure every API and reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000, help="deltas of a response")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of readings")
    parser.add_argument("--api", choices=sorted(APIS), action="append", help="only these")
    sending = parser.add_mutually_exclusive_group()
    sending.add_argument(
        "--each", dest="pace", action="store_const", const=math.inf, help="one message after the other"
    )
    sending.add_argument("--pace", type=float, help="messages a second that the server sends")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    options = parser.parse_args()
    logging.getLogger("streamwatch").setLevel(logging.ERROR)
    found = []
    print("| | messages/s, x plain (quartiles) | CPU time, x plain (quartiles) | plain messages/s | plain µs CPU |")
    print("|---|---|---|---|---|")
    for api in options.api or APIS:
        messages = list(APIS[api](options.messages))
        with server_of(messages, pace=options.pace) as url:
            for reader in READERS:
                found.append(compared(url, api, reader, len(messages), options.rounds))
                print(line(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
