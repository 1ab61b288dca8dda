"""One answer of an endpoint: what was asked, the bytes as they came and when, and the events in them.

Nothing here repairs or trusts anything: a server may send whatever it likes, of any type, in any place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streamwatch.core.ledger import Ledger
from streamwatch.core.payloads import read_json
from streamwatch.core.report import Report, Request
from streamwatch.core.settings import Policy, Settings
from streamwatch.core.sse import Decoder
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Strategy

#: What is found in the framing is noted, and stays as it is.
_NOTHING = Policy(",".join(["none", *(f"-{strategy.value}" for strategy in Strategy if strategy is not Strategy.NONE)]))
#: The events of the Responses API that end an answer, and the status each stands for.
TERMINAL = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
}


#: Output tokens of an answer that is to be cut.
FEW_TOKENS = 16
_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Asked:
    """The request that an answer is compared with; unknown members keep their defaults."""

    api: str
    n: int | None = None
    usage: bool = False  #: usage was asked for
    calls: int = 0  #: how many tool calls answer the question
    limited: bool = False  #: the answer is longer than the tokens it may have
    members: tuple[str, ...] = ()  #: the text is to be a JSON object with just these members
    echo: str = ""  #: the text is to hold this
    names_tool: bool = False
    resumed: bool = False  #: the stream goes on after one that broke off


@dataclass(frozen=True)
class Seen:
    """A server-sent event: when its last byte came, its name, its payload if that is a JSON object."""

    seconds: float
    name: str | None
    raw: bytes
    payload: dict[str, Any] | None


@dataclass(frozen=True)
class RecordedFragment:
    """An entry of `delta.tool_calls`: the place of its chunk, and its members, whatever their types."""

    at: int
    index: Any
    id: Any
    type: Any
    name: Any
    arguments: Any


def as_dict(value: Any) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return the value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


class RecordedAnswer:
    """The body of one response, in reads: seconds since the request, and bytes.

    `exact` says that framing is as the server sent it, `ending` that [DONE] is, `literal` that null and absent are
    distinguished: recordings may have lost any of them.
    """

    def __init__(
        self,
        asked: Asked,
        reads: tuple[tuple[float, bytes], ...],
        *,
        ended: str = "",
        content_type: str = "",
        exact: bool = True,
        ending: bool = True,
        literal: bool = True,
    ) -> None:
        self.asked, self.reads, self.ended, self.content_type = asked, reads, ended, content_type
        self.exact, self.ending, self.literal = exact, ending, literal
        self.utf8 = self.terminated = True
        self.framing: set[str] = set()  #: kinds that the decoder itself recorded
        self.events = tuple(self._events())

    @cached_property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(data for _, data in self.reads)

    def _events(self) -> Iterator[Seen]:
        ledger = Ledger(_NOTHING)
        decoder = Decoder(ledger, Settings().max_event_bytes, observe=True)
        for seconds, data in self.reads:
            if decoder.rest is not None:
                break
            for event in decoder.push(data):
                yield _seen(seconds, event.event, event.raw)
        self.terminated = not decoder.pending().strip() and decoder.rest is None
        for event in decoder.flush(lambda *_: True):
            yield _seen(self.reads[-1][0], event.event, event.raw)
        self.utf8 = decoder.rest is None
        self.framing = {kind.name for kind in ledger.anomalies}

    # --- what came

    @cached_property
    def done(self) -> list[int]:
        """The places of [DONE]."""
        return [at for at, event in enumerate(self.events) if event.raw.startswith(b"[DONE]")]

    @cached_property
    def payloads(self) -> list[dict[str, Any]]:
        """The payloads before [DONE], where the SDK stops."""
        end = self.done[0] if self.done else len(self.events)
        return [event.payload for event in self.events[:end] if event.payload is not None]

    @cached_property
    def chunks(self) -> list[dict[str, Any]]:
        """The payloads of a chat or a completion that are no error."""
        return [payload for payload in self.payloads if not payload.get("error")]

    @cached_property
    def choices(self) -> dict[int, list[tuple[int, dict[str, Any]]]]:
        """Of each choice: the places of its chunks, and what they say of it."""
        found: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for at, chunk in enumerate(self.chunks):
            for choice in as_list(chunk.get("choices")):
                index = as_dict(choice).get("index")
                found.setdefault(index if type(index) is int else 0, []).append((at, as_dict(choice)))
        return found

    def deltas(self, index: int) -> list[dict[str, Any]]:
        """Return what a choice said, piece by piece."""
        return [as_dict(choice.get("delta")) for _, choice in self.choices.get(index, ())]

    def finishes(self, index: int) -> list[Any]:
        """Return every finish_reason of a choice."""
        reasons = [choice.get("finish_reason") for _, choice in self.choices.get(index, ())]
        return [reason for reason in reasons if reason is not None]

    def text(self, index: int = 0) -> str:
        """Return the text of a choice, or of the whole response."""
        if self.asked.api == "responses":
            return "".join(
                as_text(event.get("delta"))
                for event in self.payloads
                if event.get("type") == "response.output_text.delta"
            )
        pieces = [as_text(delta.get("content")) for delta in self.deltas(index)]
        return "".join(pieces) or "".join(as_text(choice.get("text")) for _, choice in self.choices.get(index, ()))

    def fragments(self, index: int) -> list[RecordedFragment]:
        """Return the fragments of a choice's tool calls."""
        found = []
        for at, choice in self.choices.get(index, ()):
            for call in as_list(as_dict(choice.get("delta")).get("tool_calls")):
                said, function = as_dict(call), as_dict(as_dict(call).get("function"))
                found.append(
                    RecordedFragment(
                        at,
                        said.get("index"),
                        said.get("id"),
                        said.get("type"),
                        function.get("name"),
                        function.get("arguments"),
                    )
                )
        return found

    @cached_property
    def calls(self) -> list[list[RecordedFragment]]:
        """The tool calls of all choices, each with the fragments that have its index."""
        found: dict[tuple[int, str], list[RecordedFragment]] = {}
        for choice in self.choices:
            for fragment in self.fragments(choice):
                found.setdefault((choice, repr(fragment.index)), []).append(fragment)
        return list(found.values())

    @cached_property
    def usages(self) -> list[int]:
        """The places of the chunks with usage."""
        return [at for at, chunk in enumerate(self.chunks) if chunk.get("usage") is not None]

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """Return the events of the Responses API that have one of these types."""
        return [payload for payload in self.payloads if payload.get("type") in types]

    @cached_property
    def terminal(self) -> dict[str, Any]:
        """The response in the event that ended it; empty if none did."""
        ends = self.of_type(*TERMINAL)
        return as_dict(ends[-1].get("response")) if ends else {}

    @cached_property
    def was_cut(self) -> bool:
        """Whether the answer is as long as the few tokens that it was given: one that is shorter just ended."""
        usage = as_dict(self.chunks[self.usages[-1]]["usage"]) if self.usages else as_dict(self.terminal.get("usage"))
        used = usage.get("completion_tokens", usage.get("output_tokens"))
        if type(used) is int:
            return used == FEW_TOKENS
        # Without a count: a word or a mark is a token or more, and a few tokens make no more than twice as many.
        return FEW_TOKENS - 1 <= len(_WORDS.findall(self.text())) <= 2 * FEW_TOKENS

    @property
    def model(self) -> str:
        """The model that says it answered."""
        named = (as_text(each.get("model") or as_dict(each.get("response")).get("model")) for each in self.payloads)
        return next((name for name in named if name), "")

    @property
    def first_event(self) -> float | None:
        """Seconds until the first event with a payload."""
        return next((event.seconds for event in self.events if event.payload is not None), None)

    # --- what Streamwatch makes of it

    def report(self, model: str = "", repair: str = "default") -> Report:
        """Return the report of this stream, its window timed as the bytes came."""
        now = [0.0]
        known = Request(
            model=model,
            n=self.asked.n,
            names_tool=self.asked.names_tool,
            starting_after=0 if self.asked.resumed else None,
        )
        settings = Settings(repair=Policy(repair))
        watch = StreamWatch(self.asked.api, known, settings, clock=lambda: now[0])
        for seconds, data in self.reads:
            now[0] = seconds
            if not watch.receive(data):
                watch.leave("undecodable")
                break
            watch.ready.clear()
        watch.close(ConnectionError(self.ended) if self.ended else None)
        return watch.report()


def _seen(seconds: float, name: str | None, raw: bytes) -> Seen:
    value = read_json(raw)
    return Seen(seconds, name, raw, value if isinstance(value, dict) else None)
