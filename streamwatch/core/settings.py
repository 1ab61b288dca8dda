"""What to repair, and how far: one frozen dataclass, read from the environment.

A bad value never costs the application anything: it is reported in one sentence that names the
variable, the value and what is used instead, and the default applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from streamwatch.core.kinds import KINDS, AnomalyKind, Strategy

_T = TypeVar("_T")

#: The policies that a text may begin with.
_BASES = ("none", "default", "all")

#: Top-level members of a chat chunk in which relays are known to stamp their order, the best name first. What the
#: numbers say of what came decides; where several say the same, the better name does. SSE `id:` lines come last.
SEQUENCE_FIELDS = ("sequence_number", "sequence", "sequenceNumber", "seq", "chunk_index", "index")


@dataclass(frozen=True)
class Policy:
    """Which kinds are repaired, at each level of repair that a rule can name.

    `observe` says that nothing reaches the application repaired: repairs then run in shadow, on
    data of our own, to learn what they would have done: the default ones, so that `opt_in` is empty.
    """

    text: str = "default"
    default: frozenset[AnomalyKind] = field(init=False, repr=False)
    opt_in: frozenset[AnomalyKind] = field(init=False, repr=False)
    observe: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        base, *changes = (part.strip() for part in self.text.split(","))
        if base[:1] in ("+", "-"):
            base, changes = "default", [base, *changes]
        if base not in _BASES:
            msg = f"{base!r} is none of {', '.join(_BASES)}"
            raise ValueError(msg)
        # Observing runs the default repairs in shadow, so that their outcome is known beforehand.
        observe = base == "none" and not any(change[:1] == "+" for change in changes)
        repaired = {kind for kind in KINDS.values() if kind.strategy is not Strategy.NONE}
        default = repaired if base != "none" or observe else set[AnomalyKind]()
        opt_in = repaired if base == "all" else set[AnomalyKind]()
        for change in changes:
            if change[:1] not in ("+", "-"):
                msg = f"{change!r} starts with neither + nor -"
                raise ValueError(msg)
            named = _named(change[1:].strip())
            if change[:1] == "+":
                default, opt_in = default | named, opt_in | named
            else:
                default, opt_in = default - named, opt_in - named
        object.__setattr__(self, "default", frozenset(default))
        object.__setattr__(self, "opt_in", frozenset(opt_in))
        object.__setattr__(self, "observe", observe)


def _named(name: str) -> set[AnomalyKind]:
    """The kinds meant by the name of a kind or of a strategy."""
    kinds = {kind for kind in KINDS.values() if name in (kind.name, kind.strategy.value)}
    if not kinds or name == Strategy.NONE:
        msg = f"{name!r} is neither a kind nor a strategy"
        raise ValueError(msg)
    return kinds


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. Sizes in bytes, times in seconds."""

    #: STREAMWATCH_REPAIR: `default`, `all` or `none`, refined as in `default,+drop_duplicate,-fill_content`.
    repair: Policy = field(default_factory=Policy)

    #: STREAMWATCH_WINDOW_EVENTS, _BYTES, _SECONDS: how much a gap may hold back before it is given up.
    #: 64 events are a second or so of a fast model, 1 MiB bounds what 10,000 broken streams can cost,
    #: and 2 s is about what a person waits before taking a stream for dead.
    window_events: int = 64
    window_bytes: int = 1 << 20
    window_seconds: float = 2.0

    #: STREAMWATCH_SEQUENCE_FIELDS: where relays stamp the order of chat chunks.
    sequence_fields: tuple[str, ...] = SEQUENCE_FIELDS

    #: STREAMWATCH_STALL_SECONDS: a wait for the server longer than this is a stall. Reasoning models think for
    #: seconds between two events; proxies cut what is silent for 30 to 100 s.
    stall_seconds: float = 15.0

    #: STREAMWATCH_MAX_EVENT_BYTES: an event larger than this is left to the SDK, and the rest of its
    #: stream with it. The largest legal events are images in base64: 8 MiB has been seen.
    max_event_bytes: int = 32 << 20

    #: STREAMWATCH_BUILD_CHUNKS: build the SDK's chunk objects after templates, at a tenth of the SDK's own cost.
    build_chunks: bool = True

    #: STREAMWATCH_MAX_LABEL_VALUES: distinct values of a label that comes off the wire; then `_other`.
    max_label_values: int = 100

    #: STREAMWATCH_CAPTURE_DIR: where anomalous streams are kept as files; empty: nowhere.
    capture_dir: str = ""
    #: STREAMWATCH_CAPTURE_CONTENT: keep their content too, instead of masking it.
    capture_content: bool = False
    #: STREAMWATCH_CAPTURE_FILES, _BYTES: how many a process keeps, and how much of each. Enough for a
    #: day's odd streams, and at worst 100 MiB of disk.
    capture_files: int = 100
    capture_bytes: int = 1 << 20

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
        """The settings of an environment, and one sentence for each value that is not usable."""
        defaults, complaints = cls(), list[str]()

        def read(name: str, default: _T, parse: Callable[[str], _T], used: str | None = None) -> _T:
            text = environ.get(f"STREAMWATCH_{name}", "").strip()
            if not text:
                return default
            try:
                return parse(text)
            except ValueError as error:
                shown = used if used is not None else repr(default)
                complaints.append(f"STREAMWATCH_{name}={text[:100]!r} is not usable ({error}); using {shown}")
                return default

        settings = cls(
            repair=read("REPAIR", defaults.repair, Policy, defaults.repair.text),
            window_events=read("WINDOW_EVENTS", defaults.window_events, _positive_int),
            window_bytes=read("WINDOW_BYTES", defaults.window_bytes, _positive_int),
            window_seconds=read("WINDOW_SECONDS", defaults.window_seconds, _seconds),
            sequence_fields=read("SEQUENCE_FIELDS", defaults.sequence_fields, _names, ",".join(SEQUENCE_FIELDS)),
            stall_seconds=read("STALL_SECONDS", defaults.stall_seconds, _seconds),
            max_event_bytes=read("MAX_EVENT_BYTES", defaults.max_event_bytes, _positive_int),
            build_chunks=read("BUILD_CHUNKS", defaults.build_chunks, _boolean, "true"),
            max_label_values=read("MAX_LABEL_VALUES", defaults.max_label_values, _positive_int),
            capture_dir=read("CAPTURE_DIR", defaults.capture_dir, str),
            capture_content=read("CAPTURE_CONTENT", defaults.capture_content, _boolean, "false"),
            capture_files=read("CAPTURE_FILES", defaults.capture_files, _positive_int),
            capture_bytes=read("CAPTURE_BYTES", defaults.capture_bytes, _positive_int),
        )
        return settings, complaints


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = "must be at least 1"
        raise ValueError(msg)
    return number


def _boolean(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        msg = "must be true or false"
        raise ValueError(msg)
    return words[text.lower()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        msg = "must be a number of seconds, 0 or more"
        raise ValueError(msg)
    return seconds


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        msg = "names no field"
        raise ValueError(msg)
    return names
