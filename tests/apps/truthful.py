"""An application that reads so many streams to their ends, and tells their server what it made of each.

    truthful.py STREAMS [FORKS]

Set OPENAI_BASE_URL and OPENAI_API_KEY. It instruments nothing by itself. Each of FORKS children reads as many streams as
the parent has, one process after the other. When all is read it prints a line and waits for the end of its input, so
that its metrics can be looked at.

Streams are read one after the other: so the faults that a server's model shows come in the same order in each run, and
with them how patient the reader is with it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import urllib.request
from random import Random
from typing import Any

from openai import OpenAI
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from streamwatch.demo.app import CHAT, CHAT_TOOLS, RESPONSES, RESPONSES_TOOLS
from streamwatch.synthetic import streams
from streamwatch.synthetic.readings import Reading
from streamwatch.synthetic.streams import Shape

JOBS = [("chat", CHAT), ("responses", RESPONSES), ("chat", CHAT_TOOLS), ("responses", RESPONSES_TOOLS)]
MODELS = ("gpt-4o", "gpt-4.1", "gpt-4o-mini")


def read(client: OpenAI, api: str, request: dict[str, Any]) -> None:
    """Read one stream, and say what came out of it."""
    create: Any = client.chat.completions.create if api == "chat" else client.responses.create
    reading, stream = Reading(), create(**request)
    try:
        for chunk in stream:
            reading.add(chunk.to_dict())
    except Exception:  # an error in the stream, or a cut connection: it is what the reading ended with
        reading.ended = False
    number = stream.response.headers["x-request-id"]
    root = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
    body = json.dumps(reading.record()).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"{root}/ended/{number}", body, timeout=10).close()


def warm_up() -> None:
    """Let the SDK build its types: a reader that takes longer over an event than the window lasts spoils a shadow.

    Where nothing is repaired nothing is held, so that the half second of a first event passes while others arrive.
    """
    for shape in Shape:
        is_chat = shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS)
        make, kind = (streams.chat, ChatCompletionChunk) if is_chat else (streams.responses, ResponseStreamEvent)
        for event in make({"model": "gpt-4o"}, shape, streams.SHORT, Random(0)):
            if isinstance(event, dict):
                construct_type(type_=kind, value=event).to_dict()  # type: ignore[attr-defined]


def read_all(count: int) -> None:
    """Read so many streams."""
    with OpenAI(max_retries=0) as client:
        jobs = zip(itertools.cycle(JOBS), itertools.cycle(MODELS), strict=False)
        for (api, request), model in itertools.islice(jobs, count):
            read(client, api, {**request, "model": model})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", type=int)
    parser.add_argument("forks", type=int, nargs="?", default=0)
    options = parser.parse_args()
    warm_up()
    read_all(options.streams)
    for _ in range(options.forks):
        receive, send = os.pipe()
        if not os.fork():
            read_all(options.streams)
            os.write(send, b".")
            sys.stdin.read()
            sys.exit()
        assert os.read(receive, 1)
    print("read", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
