"""Reads every stream with one instrumentation, in its own environment, and tells what came of it as JSON.

    python driver.py NAME without|first|last|entry_points

`first`: Streamwatch is switched on before the other one; `last`: after it; `entry_points`: this was started by
`opentelemetry-instrument`, which has switched both on. The plain SDK reads each stream beforehand: what it raises
itself is nobody's fault.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import loading
from faults import Fault, faults
from judging import judge, parts, plain
from opentelemetry import trace

from helpers import sdk
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, agent

MARK = "@@"
PLAIN = {"raised": None, "text": ""}


def read(fault: Fault, mode: str, wrap: Any) -> dict[str, Any]:
    """What an application gets that takes care: it looks before it uses."""
    got: dict[str, Any] = {"raised": None, "text": ""}
    try:
        if mode == "sync":
            for chunk in sdk.create(wrap(sdk.client(fault.reads)), fault.api, **fault.more):
                got["text"] += said(chunk)
        else:
            asyncio.run(_read(fault, wrap, got))
    except Exception as error:
        got["raised"] = f"{type(error).__name__}: {error}"[:200]
    return got


async def _read(fault: Fault, wrap: Any, got: dict[str, Any]) -> None:
    async for chunk in await sdk.create(wrap(sdk.async_client(fault.reads)), fault.api, **fault.more):
        got["text"] += said(chunk)


def said(chunk: Any) -> str:
    """The text in a chunk, of the first choice; whatever else is there, and whatever is not."""
    if getattr(chunk, "type", None) == "response.output_text.delta":
        return chunk.delta or ""
    for choice in getattr(chunk, "choices", None) or ():
        content = getattr(getattr(choice, "delta", None), "content", None)
        if isinstance(content, str) and getattr(choice, "index", None) == 0:
            return content
    return ""


# --- what was stored


def stored(loaded: loading.Loaded, fault: Fault) -> str:
    """Whether the answer is among what the instrumentation keeps: right, part, wrong, or none of it."""
    kept: list[Any] = [dict(span.attributes or {}) for span in loaded.spans() if not is_ours(span)]
    kept += [dict(event.attributes or {}) for span in loaded.spans() if not is_ours(span) for event in span.events]
    strings = {text for one in [*kept, *loaded.kept()] for text in parts(plain(one))}
    verdicts = {judge(wanted, strings) for wanted in fault.said.strings}
    return next((verdict for verdict in ("wrong", "part", "none", "right") if verdict in verdicts), "-")


def is_ours(span: Any) -> bool:
    """Whether a span is Streamwatch's."""
    return bool(span.instrumentation_scope and span.instrumentation_scope.name == "streamwatch")


# --- where spans stand


def traces(loaded: loading.Loaded, mode: str) -> dict[str, Any]:
    """How the spans of a healthy stream, opened under a span of the application, stand to each other."""
    found = list(loaded.spans())
    ours = [span for span in found if is_ours(span)]
    theirs = [span for span in found if not is_ours(span) and span.name != "app"]
    (app,) = [span for span in found if span.name == "app"]
    named = {span.context.span_id: "theirs" for span in theirs} | {app.context.span_id: "application"}
    parents = [named.get(span.parent.span_id, "unknown") if span.parent else "none" for span in ours]
    same = {span.context.trace_id for span in found} == {app.context.trace_id}
    return {
        "mode": mode,
        "ours": len(ours),
        "theirs": len(theirs) + loaded.own_spans,
        "theirs_in_otel": len(theirs),
        "parents": parents,
        "one_trace": same,
        "ours_ends_last": bool(ours and theirs) and ours[0].end_time > max(span.end_time for span in theirs),
    }


def settle() -> None:
    """Let what was dropped come to its end."""
    gc.collect()
    agent.record_collected()


class Run:
    """One instrumentation in one order."""

    def __init__(self, name: str, order: str) -> None:
        self.name, self.order = name, order
        self.loaded = loading.Loaded()
        self.ours = StreamwatchInstrumentor()

    def load(self) -> None:
        """Both, in the order that was asked for."""
        self.loaded.provide()
        if self.order == "first":
            self.ours.instrument()
        if self.order == "entry_points":
            self.ours = StreamwatchInstrumentor()  # a singleton
        elif self.name in loading.LOADS:
            loading.LOADS[self.name](self.loaded)
        if self.order == "last":
            self.ours.instrument()

    def once(self, fault: Fault, mode: str) -> dict[str, Any]:
        """One stream."""
        self.loaded.forget()
        tracer = trace.get_tracer("application")
        with tracer.start_as_current_span("app"), loading.around(self.name):
            got = read(fault, mode, self.loaded.wrap)
        settle()
        return got

    def healthy(self, mode: str) -> dict[str, Any]:
        """A healthy stream: what the application got, and which spans there are."""
        fault = next(faults())
        got = self.once(fault, mode)
        return {**traces(self.loaded, mode), "text_is_right": got["text"] == fault.said.text}

    def switched_off(self) -> dict[str, Any]:
        """What is left when one of the two is switched off, and then the other one alone is on."""
        self.ours.uninstrument()
        without_ours = [self.healthy(mode) for mode in sdk.MODES]
        self.ours.instrument()
        if self.loaded.off is None:
            return {"without_ours": without_ours}
        self.loaded.off()
        self.loaded.wrap = lambda client: client
        return {"without_ours": without_ours, "without_theirs": [self.healthy(mode) for mode in sdk.MODES]}


def main() -> None:
    """All of it."""
    name, order = sys.argv[1:3]
    run = Run(name, order)
    known = list(faults())
    reference = {} if order == "entry_points" else {
        (fault.name, mode): read(fault, mode, lambda client: client) for fault in known for mode in sdk.MODES
    }  # fmt: skip
    run.load()
    gc.collect()
    gc.freeze()  # what was imported need not be looked at after each stream
    told: dict[str, Any] = {"sdk": version("openai"), "healthy": [run.healthy(mode) for mode in sdk.MODES]}
    told["streams"] = []
    for fault in known:
        for mode in sdk.MODES:
            got = run.once(fault, mode)
            raised_plain = reference.get((fault.name, mode), PLAIN)["raised"]
            told["streams"].append(
                {
                    "stream": fault.name,
                    "group": fault.group,
                    "mode": mode,
                    "raised": got["raised"],
                    "raised_plain": raised_plain,
                    "text_is_right": not fault.said.text or got["text"] == fault.said.text,
                    "stored": stored(run.loaded, fault),
                }
            )
    if order in ("first", "last"):
        told |= run.switched_off()
    print(f"\n{MARK}{json.dumps(told)}")


if __name__ == "__main__":
    main()
