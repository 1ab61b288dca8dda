"""The settings: what to repair, and how far; one frozen dataclass, read from the environment.

A bad value never costs the application anything: it is reported in one sentence that names the
variable, the value and what is used instead, and the default applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.vocabulary import Strategy

#: The policies that a text may begin with.
_BASES = ("none", "default", "all")

#: Top-level members of a chat chunk in which relays are known to stamp their order, the best name first. What the
#: numbers say of what came decides; where several say the same, the better name does. SSE `id:` lines come last.
SEQUENCE_FIELDS = ("sequence_number", "sequence", "sequenceNumber", "seq", "chunk_index", "index")


@dataclass(frozen=True)
class Policy:
    """The kinds that are repaired, at each level of repair that a rule can name.

    `observe` says that no repair reaches the application. The default repairs then run in shadow, on a copy of the
    data, to learn what they would have done, and `opt_in` is empty.
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
    """Return the kinds meant by the name of a kind or of a strategy."""
    kinds = {kind for kind in KINDS.values() if name in (kind.name, kind.strategy.value)}
    if not kinds or name == Strategy.NONE:
        msg = f"{name!r} is neither a kind nor a strategy"
        raise ValueError(msg)
    return kinds


@dataclass(frozen=True)
class Settings:
    """All settings. Sizes are in bytes, times in seconds."""

    #: STREAMWATCH_REPAIR: `default`, `all` or `none`, refined as in `default,+drop_duplicate,-fill_content`.
    repair: Policy = field(default_factory=Policy)

    #: STREAMWATCH_WINDOW_EVENTS, _BYTES, _SECONDS: how much a gap may hold back before it is given up.
    #: 64 events are a second or so of a fast model, 1 MiB bounds what 10,000 broken streams can cost,
    #: and 2 s is about what a person waits before taking a stream for dead. Numbers that are not proved yet, or that
    #: no protocol promises and that have not filled a gap before, hold events back for 0.25 s at most.
    window_events: int = 64
    window_bytes: int = 1 << 20
    window_seconds: float = 2.0

    #: STREAMWATCH_RESUME: read the cut stream of a background response on from the last event, by further requests
    #: of the application's own client.
    resume: bool = False

    #: STREAMWATCH_SEQUENCE_FIELDS: where relays stamp the order of chat chunks.
    sequence_fields: tuple[str, ...] = SEQUENCE_FIELDS

    #: STREAMWATCH_STALL_SECONDS: a wait for the server longer than this is a stall. Reasoning models think for
    #: seconds between two events; proxies cut what is silent for 30 to 100 s.
    stall_seconds: float = 15.0

    #: STREAMWATCH_GENAI_METRICS: record the client metrics of OpenTelemetry's GenAI conventions too. Experimental: the
    #: names are changing, and both spellings are recorded; none where an instrumentation is loaded that does the same.
    genai_metrics: bool = False

    #: STREAMWATCH_MAX_EVENT_BYTES: an event larger than this is left to the SDK, and the rest of its
    #: stream with it. The largest legal events are images in base64: 8 MiB has been seen.
    max_event_bytes: int = 32 << 20

    #: STREAMWATCH_BUILD_CHUNKS: build the SDK's chunk objects after templates, at a tenth of the SDK's own cost.
    build_chunks: bool = True

    #: STREAMWATCH_MAX_LABEL_VALUES: distinct values of a label that comes off the wire; then `_other`.
    max_label_values: int = 100

    #: STREAMWATCH_SUMMARY: `auto` writes a line at the start of a program and a summary at its end where stderr is a
    #: terminal, `always` wherever stderr leads, `never` not at all. Processes that the program starts write nothing.
    summary: str = "auto"

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
        """Return the settings of an environment, and one sentence for each value that is not usable."""
        values, complaints = dict[str, Any](), list[str]()
        for name, parse in _PARSERS.items():
            variable = f"STREAMWATCH_{name.upper()}"
            text = environ.get(variable, "").strip()
            if not text:
                continue
            try:
                values[name] = parse(text)
            except ValueError as error:
                used = _written(getattr(cls(), name))
                complaints.append(f"{variable}={text[:100]!r} is not usable ({error}); using {used}")
        return cls(**values), complaints


def _written(value: Any) -> str:
    """Return a value as one would set it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Policy):
        return value.text
    return ",".join(value) if isinstance(value, tuple) else str(value)


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


def _summary(text: str) -> str:
    if text.lower() not in ("always", "never", "auto"):
        msg = "must be always, never or auto"
        raise ValueError(msg)
    return text.lower()


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        msg = "names no field"
        raise ValueError(msg)
    return names


#: How the text of each variable is read, by the name of its field.
_PARSERS: dict[str, Callable[[str], Any]] = {
    "repair": Policy,
    "window_events": _positive_int,
    "window_bytes": _positive_int,
    "window_seconds": _seconds,
    "resume": _boolean,
    "sequence_fields": _names,
    "stall_seconds": _seconds,
    "genai_metrics": _boolean,
    "max_event_bytes": _positive_int,
    "build_chunks": _boolean,
    "max_label_values": _positive_int,
    "summary": _summary,
    "capture_dir": str,
    "capture_content": _boolean,
    "capture_files": _positive_int,
    "capture_bytes": _positive_int,
}
