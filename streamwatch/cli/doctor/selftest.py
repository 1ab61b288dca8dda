"""The application that `streamwatch doctor` starts: it reads streams with the installed client, and reports.

    opentelemetry-instrument python -m streamwatch.cli.doctor.selftest RESULT.json

The server is a function in this process. Healthy streams must come through unchanged, and broken ones as the healthy
ones that they were made of, wherever the settings say that such a fault is repaired.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from streamwatch.core.kinds import CONTENT_ABSENT
from streamwatch.export.log import FINDING
from streamwatch.synthetic.faults import FAULTS, HEALTHY, Fault, broken
from streamwatch.synthetic.streams import SHORT, Event, Mark, Shape, chat, encode, responses

#: What is read, each synchronously and asynchronously.
_CASES = (
    (Shape.CHAT_TEXT, HEALTHY),
    (Shape.CHAT_TOOLS, FAULTS["index_always_0"]),
    (Shape.RESPONSES_TEXT, HEALTHY),
    (Shape.RESPONSES_TEXT, FAULTS["reorder"]),
)
_MODEL = "streamwatch-selftest"
_REQUESTS: dict[bool, dict[str, Any]] = {
    True: {"model": _MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True},
    False: {"model": _MODEL, "input": "hi", "stream": True},
}
#: One text each: the same streams at each run, so that two reports can be compared.
_SEED = 1


class _Log(logging.Handler):
    """A handler that keeps the log, except findings, which are made here on purpose."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not hasattr(record, FINDING):
            self.lines.append(record.getMessage())


def main(path: str) -> None:
    """Write what came of it as JSON."""
    log, logger = _Log(), logging.getLogger("streamwatch")
    logger.addHandler(log)
    logger.propagate = False
    result: dict[str, Any] = {"error": "", "active": False, "openai": "", "readings": [], "counted": None}
    try:
        _fill(result)
    except Exception as error:  # whatever it is, it is what the doctor was asked for
        result["error"] = f"{type(error).__name__}: {error}"
        result["missing"] = error.name if isinstance(error, ModuleNotFoundError) else None
    result["said"] = log.lines
    Path(path).write_text(json.dumps(result), "utf-8")


def _fill(result: dict[str, Any]) -> None:
    from opentelemetry.metrics import get_meter_provider
    from opentelemetry.trace import get_tracer_provider

    from streamwatch.sdk.dict_forms import fills_dicts
    from streamwatch.sdk.instrumentor import agent

    result["meter_provider"] = type(get_meter_provider()).__qualname__
    result["tracer_provider"] = type(get_tracer_provider()).__qualname__
    result["active"] = agent.active
    openai = importlib.import_module("openai")
    openai.OpenAI, openai.AsyncOpenAI  # noqa: B018 -- not there in what only has the name of the package
    result["openai"] = str(openai.__version__)
    result["hooked"] = agent.is_patched
    reports: list[Any] = []
    agent.on_report = reports.append
    policy = agent.settings.repair
    if not policy.observe and CONTENT_ABSENT in policy.default:
        result["fills_dicts"], result["unfilled"] = fills_dicts()
    for shape, fault in _CASES:
        if shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS) or hasattr(openai.OpenAI, "responses"):
            repaired = not policy.observe and all(kind in policy.default for kind in fault.kinds)
            for way in (_sync, _async):
                result["readings"].append(_reading(openai, shape, fault, reports, way, repaired=repaired))
    if "streamwatch.otel.prometheus_reader" in sys.modules:
        result["counted"] = _counted()


def _reading(
    openai: Any, shape: Shape, fault: Fault, reports: list[Any], way: Callable[..., Any], *, repaired: bool
) -> dict[str, Any]:
    """Read one stream in one way; return what was sent, what came, and what Streamwatch says of it."""
    healthy = _events(shape)
    sent = broken(fault, healthy, Random(_SEED))  # noqa: S311 -- no secret
    wanted, before = (healthy if repaired else sent), len(reports)
    kinds = [kind.name for kind in fault.kinds]
    told: dict[str, Any] = {"stream": shape.value, "fault": kinds, "way": way.__name__[1:], "repairs": repaired}
    try:
        got = way(openai, shape, b"".join(encode(sent)))
    except Exception as error:
        return {**told, "came": f"{type(error).__name__}: {error}", "right": False}
    right = got == [event for event in wanted if not isinstance(event, Mark)]
    came = "as sent" if fault is HEALTHY or not repaired else "repaired"
    told.update(came=came if right else "otherwise", right=right)
    for report in reports[before:]:
        told["verdict"], told["condition"] = report.verdict and report.verdict.value, report.condition.value
        told["kinds"] = {
            kind.name: {outcome.value: count for outcome, count in report.outcomes.get(kind, {}).items()}
            for kind in report.anomalies
        }
    return told


def _events(shape: Shape) -> list[Event]:
    """Return a healthy stream in which every delta has a content, so that no reader gets any filled in."""
    is_chat = shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS)
    events = (chat if is_chat else responses)(_REQUESTS[is_chat], shape, SHORT, Random(_SEED))  # noqa: S311 -- no secret
    events = copy.deepcopy(events)
    for event in events:
        for choice in () if isinstance(event, Mark) else event.get("choices", ()):
            choice["delta"]["content"] = choice["delta"].get("content") or ""
    return events


# --- the application


def _options(openai: Any, body: bytes, kind: str) -> dict[str, Any]:
    httpx: Any = getattr(openai._base_client, "httpx", None) or openai._base_client.httpx2

    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):  # type: ignore[misc]
        """A body that comes at once, to either kind of client."""

        def __iter__(self) -> Any:
            yield body

        async def __aiter__(self) -> Any:
            yield body

    def respond(_request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    client = getattr(httpx, kind)(transport=httpx.MockTransport(respond), trust_env=False)
    return {"api_key": "none", "base_url": "http://selftest.invalid/v1", "max_retries": 0, "http_client": client}


def _sync(openai: Any, shape: Shape, body: bytes) -> list[Any]:
    with openai.OpenAI(**_options(openai, body, "Client")) as client:
        create, request = _method(client, shape)
        return [_as_json(chunk) for chunk in create(**request)]  # read to the end, it needs no `with`


def _async(openai: Any, shape: Shape, body: bytes) -> list[Any]:
    async def read() -> list[Any]:
        async with openai.AsyncOpenAI(**_options(openai, body, "AsyncClient")) as client:
            create, request = _method(client, shape)
            return [_as_json(chunk) async for chunk in await create(**request)]

    return asyncio.run(read())


def _method(client: Any, shape: Shape) -> tuple[Any, dict[str, Any]]:
    is_chat = shape in (Shape.CHAT_TEXT, Shape.CHAT_TOOLS)
    return (client.chat.completions if is_chat else client.responses).create, _REQUESTS[is_chat]


def _as_json(chunk: Any) -> Any:
    """Return what came, as it was on the wire; under pydantic 1, by its own name for that."""
    as_json = getattr(chunk, "model_dump_json", None) or chunk.json
    return json.loads(as_json(exclude_unset=True))


def _counted() -> int:
    """Return how many streams the Prometheus endpoint of this process would report."""
    from prometheus_client import REGISTRY, generate_latest

    from streamwatch.cli.common.measured import parse

    return parse(generate_latest(REGISTRY).decode()).streams


if __name__ == "__main__":
    main(sys.argv[1])
