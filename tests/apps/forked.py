"""An application with forked workers, as a pre-forking web server has them; run it under `opentelemetry-instrument`.

    forked.py WORKERS PAUSE

Each worker asks over and over, PAUSE seconds between two requests, and reads each answer to its end. Every 0.5 s it
writes a line of JSON: what it asked, what went wrong that no server said, and how long its slowest request took since
the line before. SIGTERM ends it as a web server ends its workers: with `sys.exit`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter

from openai import OpenAI

from streamwatch.demo.app import JOBS


class Worker:
    """What one process asked, and what came of it."""

    def __init__(self) -> None:
        self.asked = 0
        self.odd: Counter[str] = Counter()
        self.slowest = 0.0

    def run(self, number: int, pause: float, stop: threading.Event) -> None:
        with OpenAI(max_retries=0) as client:
            for api, request, _ in itertools.islice(itertools.cycle(JOBS), number, None):
                started = time.monotonic()
                self.ask(client, api, request)
                self.slowest = max(self.slowest, time.monotonic() - started)
                if stop.wait(pause):
                    return

    def ask(self, client: OpenAI, api: str, request: dict[str, object]) -> None:
        create = client.chat.completions.create if api == "chat" else client.responses.create
        try:
            with create(**request) as stream:
                for _ in stream:
                    pass
        except Exception as error:
            # A tenth of the streams is cut or ends in an error that the server sends.
            known = ("peer closed connection", "had an error while processing your request")
            if not any(text in repr(error) + repr(error.__cause__) for text in known):
                self.odd[f"{error!r} from {error.__cause__!r}"[:200]] += 1
        self.asked += 1

    def tell(self) -> None:
        slowest, self.slowest = self.slowest, 0.0
        line = {"pid": os.getpid(), "asked": self.asked, "odd": self.odd, "slowest": round(slowest, 3)}
        # One write: the lines of all workers go to one pipe.
        os.write(1, f"{json.dumps(line)}\n".encode())


def work(number: int, pause: float) -> None:
    """The life of a worker."""
    worker, stop = Worker(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=worker.run, args=(number, pause, stop), daemon=True).start()
    while not stop.wait(0.5):
        worker.tell()
    worker.tell()
    sys.exit(0)


def main() -> None:
    workers, pause = int(sys.argv[1]), float(sys.argv[2])
    pids = []
    for number in range(workers):
        pid = os.fork()
        if pid == 0:
            work(number, pause)
        pids.append(pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: [os.kill(pid, signal.SIGTERM) for pid in pids])
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
