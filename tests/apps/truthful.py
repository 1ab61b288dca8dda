"""An application that reads so many streams to their ends, and tells their server what it made of each.

Set OPENAI_BASE_URL and OPENAI_API_KEY. It instruments nothing by itself. When all is read it prints a line and waits for
the end of its input, so that its metrics can be looked at.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
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
                construct_type(type_=kind, value=event).to_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", type=int)
    count = parser.parse_args().streams
    warm_up()
    with OpenAI(max_retries=0) as client, ThreadPoolExecutor(4) as threads:
        jobs = itertools.islice(zip(itertools.cycle(JOBS), itertools.cycle(MODELS), strict=False), count)
        done = [threads.submit(read, client, api, {**request, "model": model}) for (api, request), model in jobs]
        for one in done:
            one.result()
    print("read", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
