"""The table of readers: small programs over what the SDK gives, as working programs are written.

A reader gets the chunks (or a helper's events and its final result) one after the other, and returns plain data. It
must alter nothing. Its `role` says what its result is:

    answer   what the application is about: text, calls, how it ended
    calls    an answer that is a list of calls, each a list that ends with the arguments
    form     how the answer came: how many chunks, which types, ids, roles, what is null and what is absent

The judge holds both to the same rule. The difference matters only where a stream proves the plain reading wrong: then
a repair may come in another form, and the answer must be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .serving import Read, failure

Run = Callable[[Any], Any]


@dataclass(frozen=True)
class Reader:
    """One program. `twin` names the reader whose result is right where this one raises on the plain SDK."""

    name: str
    run: Run
    api: str
    role: str = "form"
    way: str = "create"
    twin: str = ""
    dump: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether the result is what the application is about."""
        return self.role in ("answer", "calls")


@dataclass(frozen=True)
class Outcome:
    """How a reader ended: its result or its own exception, and the exception of the stream if it got that far."""

    value: Any = None
    raised: tuple[str, str] | None = None
    error: tuple[str, str] | None = None

    @property
    def well(self) -> bool:
        """Whether the reader came to a good end."""
        return self.raised is None and self.error is None


#: The ways of the readers that there are in a way of reading, where they are not those of `create`.
_WAYS = {"helper": ("helper", "final"), "bytes": ("bytes", "closed"), "session": ("session",)}
READERS: dict[str, dict[str, Reader]] = {}
#: How chunks become dicts, by the name of the method.
DUMPS: dict[str, Callable[[Any], Any]] = {}


def reader(api: str, role: str = "form", way: str = "create", twin: str = "") -> Callable[[Run], Run]:
    """Put a program into the table."""

    def put(run: Run) -> Run:
        name = run.__name__.rstrip("_")
        READERS.setdefault(api, {})[name] = Reader(name, run, api, role, way, twin)
        return run

    return put


def dict_reader(api: str, role: str = "form", twin: str = "") -> Callable[[Run], Run]:
    """Put a program over dicts into the table, once for each way to make them."""

    def put(run: Run) -> Run:
        for dump in DUMPS:
            name = f"{run.__name__}[{dump}]"
            READERS.setdefault(api, {})[name] = Reader(name, run, api, role, "create", twin, dump)
        return run

    return put


class _Feed:
    """The chunks of a read, which knows whether all of them were taken."""

    def __init__(self, chunks: Iterable[Any]) -> None:
        self.chunks, self.over = chunks, False

    def __iter__(self) -> Iterator[Any]:
        yield from self.chunks
        self.over = True


def dumped(read: Read, dump: str) -> Iterator[Any]:
    """Return the chunks of a read as dicts; made once for all readers."""
    made = read.dumped.setdefault(dump, [])
    for place, chunk in enumerate(read.chunks):
        if place == len(made):
            made.append(DUMPS[dump](chunk))
        yield made[place]


def outcome(reader: Reader, read: Read) -> Outcome:
    """Return how a reader ends; kept with the read."""
    found = read.results.get(reader.name)
    if found is None:
        found = read.results[reader.name] = _outcome(reader, read)
    return found


def _outcome(reader: Reader, read: Read) -> Outcome:
    feed = _Feed(dumped(read, reader.dump) if reader.dump else read.chunks)
    error = read.error
    try:
        if reader.way in ("final", "closed"):
            error = error or read.final_error
            value = None if error else reader.run(read.final)
            return Outcome(value, None, error)
        value = reader.run(feed)
    except Exception as problem:
        return Outcome(None, failure(problem))
    return Outcome(value, None, error if feed.over else None)


def readers_of(api: str, mode: str) -> list[Reader]:
    """Return the readers of an API in a way of reading."""
    ways = _WAYS.get(mode.partition("_")[0], ("create",))
    found = [reader for reader in READERS.get(api, {}).values() if reader.way in ways]
    return [reader for reader in found if not reader.dump or mode == "create"]
