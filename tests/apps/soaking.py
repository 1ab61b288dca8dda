"""Many streams at a time, for long; run it under `opentelemetry-instrument`.

    soaking.py STREAMS BASE_URL...

STREAMS async readers share the base URLs. Each asks over and over, as `streamwatch.demo.app` does, and reads each
answer to its end. Every 2 s a line of JSON: requests that ended, streams open, what went wrong that the server did not
do, resident memory in KiB, open file descriptors. After SIGUSR1 it asks no more, and says `"done": true` once all
answers are read.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import sys
from collections import Counter
from pathlib import Path

from openai import AsyncOpenAI

from streamwatch.demo.app import JOBS

#: What the server does on purpose, in the words of the HTTP client and of the server.
KNOWN = ("peer closed connection", "incomplete chunked read", "had an error while processing your request")


class Readers:
    """What all readers asked, and what came of it."""

    def __init__(self) -> None:
        self.ended = self.open = 0
        self.odd: Counter[str] = Counter()
        self.stop = asyncio.Event()
        self.done = False

    async def run(self, number: int, client: AsyncOpenAI) -> None:
        for api, request, _ in itertools.islice(itertools.cycle(JOBS), number % len(JOBS), None):
            if self.stop.is_set():
                return
            create = client.chat.completions.create if api == "chat" else client.responses.create
            try:
                async with await create(**request) as stream:
                    self.open += 1
                    try:
                        async for _ in stream:
                            pass
                    finally:
                        self.open -= 1
            except Exception as error:
                text = f"{error!r} from {error.__cause__!r}"
                if not any(known in text for known in KNOWN):
                    self.odd[text[:200]] += 1
            self.ended += 1

    async def tell(self) -> None:
        while True:
            gc.collect()  # what is garbage is no leak
            with Path("/proc/self/status").open() as status:
                resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            files = len(list(Path("/proc/self/fd").iterdir()))
            line = {
                "ended": self.ended,
                "open": self.open,
                "odd": self.odd,
                "rss": resident,
                "files": files,
                "done": self.done,
            }
            print(json.dumps(line), flush=True)
            await asyncio.sleep(2)


async def main() -> None:
    readers, count = Readers(), int(sys.argv[1])
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, readers.stop.set)
    clients = [AsyncOpenAI(base_url=url, max_retries=0, timeout=120) for url in sys.argv[2:]]
    telling = asyncio.create_task(readers.tell())
    await asyncio.gather(*(readers.run(number, clients[number % len(clients)]) for number in range(count)))
    for client in clients:
        await client.close()
    readers.done = True
    await telling


asyncio.run(main())
