"""An application as the tutorials show it: it asks a model over and over and reads the streamed answers.

Set OPENAI_BASE_URL and OPENAI_API_KEY. Half of the requests go through the sync client, half through
the async one. A request that fails is logged and counted, and the next one is sent. Once a second
the totals are written to stdout as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import signal
import threading
import time
from collections import Counter
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

log = logging.getLogger("app")

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}
TIME = {
    "name": "get_time",
    "description": "The time in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "seconds": {"type": "boolean"}},
        "required": ["city"],
    },
}
QUESTION = {"role": "user", "content": "What should I see in Lisbon?"}
CHAT = {"messages": [QUESTION], "stream": True}
CHAT_TOOLS = {**CHAT, "tools": [{"type": "function", "function": function} for function in (WEATHER, TIME)]}
RESPONSES = {"input": [QUESTION], "stream": True}
RESPONSES_TOOLS = {
    **RESPONSES,
    "tools": [{"type": "function", "strict": False, **function} for function in (WEATHER, TIME)],
}


class Text:
    """The text of an answer."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, chunk: Any) -> None:
        self.text += chunk.choices[0].delta.content

    def finish(self) -> None:
        if not self.text:
            raise ValueError("the answer is empty")


class TextFromDict(Text):
    """The text of an answer, from chunks as dicts."""

    def add(self, chunk: Any) -> None:
        self.text += chunk.to_dict()["choices"][0]["delta"]["content"]


class Json(Text):
    """An answer in JSON mode."""

    def add(self, chunk: Any) -> None:
        self.text += chunk.choices[0].delta.content or ""

    def finish(self) -> None:
        json.loads(self.text)


class TextAndUsage(Text):
    """The text of an answer and what it cost, read with care."""

    usage = None

    def add(self, chunk: Any) -> None:
        if chunk.choices and chunk.choices[0].delta and chunk.choices[0].delta.content:
            self.text += chunk.choices[0].delta.content
        if chunk.usage:
            self.usage = chunk.usage

    def finish(self) -> None:
        super().finish()
        if self.usage is None:
            raise ValueError("the answer has no usage")


class ChatCalls:
    """The calls that the model wants made."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []

    def add(self, chunk: Any) -> None:
        for fragment in chunk.to_dict()["choices"][0]["delta"].get("tool_calls", []):
            if fragment["index"] == len(self.calls):
                self.calls.append({"name": "", "arguments": ""})
            call = self.calls[fragment["index"]]
            if "id" in fragment:
                call["name"] = fragment["function"]["name"]
            call["arguments"] += fragment["function"]["arguments"]

    def finish(self) -> None:
        if not self.calls:
            raise ValueError("the answer calls no tool")
        for call in self.calls:
            json.loads(call["arguments"])
            if call["name"] not in ("get_weather", "get_time"):
                raise LookupError(f"no tool has the name {call['name']}")


class TextAndCalls(ChatCalls):
    """The calls that the model wants made, and what it says beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def add(self, chunk: Any) -> None:
        self.text += chunk.to_dict()["choices"][0]["delta"]["content"] or ""
        super().add(chunk)


class ResponseText:
    """The text of a response, compared with the one that ends it."""

    def __init__(self) -> None:
        self.text = ""
        self.final: str | None = None

    def add(self, event: Any) -> None:
        if event.type == "response.output_text.delta":
            self.text += event.delta
        elif event.type == "response.completed":
            self.final = event.response.output_text

    def finish(self) -> None:
        if self.final is None:
            raise ValueError("the response never completed")
        if self.text != self.final:
            raise ValueError("the deltas do not add up to the final text")


class ResponseCalls:
    """The calls that a response wants made."""

    def __init__(self) -> None:
        self.arguments: dict[int, str] = {}

    def add(self, event: Any) -> None:
        if event.type == "response.output_item.added":
            self.arguments[event.output_index] = ""
        elif event.type == "response.function_call_arguments.delta":
            self.arguments[event.output_index] += event.delta

    def finish(self) -> None:
        if not self.arguments:
            raise ValueError("the response calls no tool")
        for arguments in self.arguments.values():
            json.loads(arguments)


JOBS: list[tuple[str, dict[str, Any], type[Any]]] = [
    ("chat", {**CHAT, "model": "gpt-4o"}, Text),
    ("responses", {**RESPONSES, "model": "gpt-4o"}, ResponseText),
    ("chat", {**CHAT_TOOLS, "model": "gpt-4o"}, ChatCalls),
    ("responses", {**RESPONSES_TOOLS, "model": "gpt-4.1"}, ResponseCalls),
    ("chat", {**CHAT, "model": "gpt-4-turbo"}, TextFromDict),
    ("responses", {**RESPONSES, "model": "gpt-4.1"}, ResponseText),
    ("chat", {**CHAT_TOOLS, "model": "gpt-4o-mini"}, TextAndCalls),
    ("chat", {**CHAT, "model": "gpt-4o", "response_format": {"type": "json_object"}}, Json),
    ("chat", {**CHAT, "model": "gpt-4.1", "stream_options": {"include_usage": True}}, TextAndUsage),
]
if not hasattr(OpenAI, "responses"):  # clients before 1.66 know chat only, and some of them no usage
    JOBS = [job for job in JOBS if job[0] == "chat" and "stream_options" not in job[1]]


class Totals:
    """The outcomes of the requests."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.unreachable_in_a_row = 0

    def succeeded(self) -> None:
        self.ok += 1
        self.unreachable_in_a_row = 0

    def caught(self, error: Exception) -> None:
        # The position in a JSON text differs from one request to the next; the error is the same.
        text = f"{type(error).__name__}: {error}".split(": line ")[0]
        self.failed[text] += 1
        refused = isinstance(error, openai.APIConnectionError)
        self.unreachable_in_a_row = self.unreachable_in_a_row + 1 if refused else 0
        log.error("request failed: %s", text)

    def write(self) -> None:
        print(json.dumps({"ok": self.ok, "failed": dict(self.failed)}), flush=True)


def ask(client: OpenAI, api: str, request: dict[str, Any], answer: Any) -> None:
    create: Any = client.chat.completions.create if api == "chat" else client.responses.create
    with create(**request) as stream:
        for chunk in stream:
            answer.add(chunk)
    answer.finish()


async def ask_async(client: AsyncOpenAI, api: str, request: dict[str, Any], answer: Any) -> None:
    create: Any = client.chat.completions.create if api == "chat" else client.responses.create
    async with await create(**request) as stream:
        async for chunk in stream:
            answer.add(chunk)
    answer.finish()


def work(totals: Totals, stop: threading.Event, interval: float) -> None:
    """Ask one question after the other: the sync half."""
    with OpenAI() as client:
        for api, request, answer in itertools.cycle(JOBS):
            started = time.monotonic()
            try:
                ask(client, api, request, answer())
                totals.succeeded()
            except Exception as error:  # whatever went wrong, the next request is sent
                totals.caught(error)
            if stop.wait(max(0.0, interval - (time.monotonic() - started))):
                return


async def work_async(totals: Totals, stop: threading.Event, interval: float) -> None:
    """Ask a new question at each interval, some of them at the same time: the async half."""
    slots = asyncio.Semaphore(16)  # a slow server is not asked ever more

    async def one(api: str, request: dict[str, Any], answer: type[Any]) -> None:
        async with slots:
            try:
                await ask_async(client, api, request, answer())
                totals.succeeded()
            except Exception as error:  # whatever went wrong, the next request is sent
                totals.caught(error)

    async with AsyncOpenAI() as client:
        tasks: set[asyncio.Task[None]] = set()
        jobs = itertools.cycle(JOBS)
        while not stop.is_set():
            if not slots.locked():
                tasks.add(asyncio.create_task(one(*next(jobs))))
            await asyncio.sleep(interval)
            tasks = {task for task in tasks if not task.done()}
        for task in tasks:
            task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10, help="requests a second (default: 10)")
    parser.add_argument("--seconds", type=float, help="how long to go on (default: until interrupted)")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")

    totals, stop = Totals(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    interval = 2 / options.rate  # for each half
    threading.Thread(target=work, args=(totals, stop, interval), daemon=True).start()
    threading.Thread(target=lambda: asyncio.run(work_async(totals, stop, interval)), daemon=True).start()

    started = time.monotonic()
    while not stop.wait(1) and totals.unreachable_in_a_row < 20:
        totals.write()
        if options.seconds and time.monotonic() - started >= options.seconds:
            break
    totals.write()
    if totals.unreachable_in_a_row >= 20:
        raise SystemExit("the service cannot be reached, giving up")


if __name__ == "__main__":
    main()
