"""The invariants of a stream of an OpenAI-compatible endpoint: a table, each a function of an answer.

A check says True where the invariant holds, False where it is broken and None where the answer cannot say. One
`matters` where no healthy recorded stream breaks it: a client that relies on it loses data without it. The others are
habits in which servers differ, and clients must cope with them. The tables of each API are in `invariants_chat` and
`invariants_responses`; this module has what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamwatch.cli.probe.recorded_answer import RecordedAnswer, as_text
from streamwatch.core.kinds import KEEPALIVE_FRAME, SSE_FRAMING_VARIANT

CHOICES = ("chat", "completions")
CHAT = ("chat",)
RESPONSES = ("responses",)
ALL = (*CHOICES, *RESPONSES)

Check = Callable[[RecordedAnswer], "bool | None"]


@dataclass(frozen=True)
class Invariant:
    """A rule: its sentence where it holds, its sentence where it is broken, and the check."""

    name: str
    apis: tuple[str, ...]
    matters: bool
    holds: str
    broken: str
    check: Check


INVARIANTS: dict[str, Invariant] = {}


def invariant(apis: tuple[str, ...], holds: str, broken: str, *, matters: bool = False) -> Callable[[Check], Check]:
    """Enter a check in the table, under its own name."""

    def enter(check: Check) -> Check:
        INVARIANTS[check.__name__] = Invariant(check.__name__, apis, matters, holds, broken, check)
        return check

    return enter


def table() -> dict[str, Invariant]:
    """Return all invariants, of every API."""
    import streamwatch.cli.probe.invariants_chat
    import streamwatch.cli.probe.invariants_responses  # noqa: F401 -- each enters its own

    return INVARIANTS


def checked(answer: RecordedAnswer) -> dict[str, bool | None]:
    """Return, for every invariant of the answer's API, whether it holds."""
    return {each.name: _holds(each, answer) for each in table().values() if answer.asked.api in each.apis}


def _holds(rule: Invariant, answer: RecordedAnswer) -> bool | None:
    try:
        return rule.check(answer)
    except RecursionError:  # a server may nest what should be a number as deep as the parser goes
        return None


# --- framing: of every API


@invariant(ALL, "Every event is JSON.", "An event is not JSON: the SDK raises JSONDecodeError.", matters=True)
def json_events(answer: RecordedAnswer) -> bool | None:
    """Return whether every data payload but [DONE] is a JSON object."""
    sent = [event for event in answer.events if not event.raw.startswith(b"[DONE]")]
    return all(event.payload is not None for event in sent) if sent else None


@invariant(ALL, "The body is UTF-8.", "The body is not UTF-8: the SDK raises UnicodeDecodeError.", matters=True)
def utf8(answer: RecordedAnswer) -> bool | None:
    """Return whether the body is valid UTF-8."""
    return answer.utf8 if answer.body else None


@invariant(ALL, "The stream has events.", "HTTP 200, and not one event in the body.", matters=True)
def has_events(answer: RecordedAnswer) -> bool | None:
    """Return whether at least one event with a payload came."""
    return bool(answer.payloads)


@invariant(
    ALL,
    "The last event ends with a blank line.",
    "The body ends inside an event: every SSE parser drops it.",
    matters=True,
)
def last_event_ends(answer: RecordedAnswer) -> bool | None:
    """Return whether the last event is whole; a [DONE] without its blank line costs nobody anything."""
    if not answer.exact or not answer.body:
        return None
    return answer.terminated or answer.body.rstrip().endswith(b"[DONE]")


@invariant(
    ALL,
    "The connection ends after the stream does.",
    "The connection broke, or stood still until the time was up, before the body ended.",
    matters=True,
)
def body_ends(answer: RecordedAnswer) -> bool | None:
    """Return whether the transport reported no error."""
    return not answer.ended


@invariant(ALL, "No error comes inside the stream.", "The server reports an error inside the stream.", matters=True)
def no_error(answer: RecordedAnswer) -> bool | None:
    """Return whether no payload has an error, and no event is called so."""
    if any(event.name == "error" for event in answer.events):
        return False
    return not any(payload.get("error") or payload.get("type") == "error" for payload in answer.payloads)


@invariant(
    ALL,
    "The content type is text/event-stream.",
    "The content type is not text/event-stream: proxies and browsers may buffer it.",
)
def content_type(answer: RecordedAnswer) -> bool | None:
    """Return whether the header says so."""
    return answer.content_type.lower().startswith("text/event-stream") if answer.content_type else None


@invariant(
    ALL,
    "Frames are written as OpenAI writes them.",
    "Frames are written differently from OpenAI's (line ends, spaces, fields): old parsers stumble.",
)
def framing(answer: RecordedAnswer) -> bool | None:
    """Return whether lines end in LF, one space follows the colon, and only known fields are there."""
    return SSE_FRAMING_VARIANT.name not in answer.framing if answer.exact and answer.body else None


@invariant(
    ALL,
    "No comments or empty frames keep the connection open.",
    "Comments keep the connection open: readers that split lines by hand must skip them.",
)
def no_comments(answer: RecordedAnswer) -> bool | None:
    """Return whether no line begins with a colon."""
    return KEEPALIVE_FRAME.name not in answer.framing if answer.exact and answer.body else None


@invariant(CHOICES, "[DONE] ends the stream.", "The stream does not end with [DONE]: readers that wait for it wait.")
def done_marker(answer: RecordedAnswer) -> bool | None:
    """Return whether there is exactly one."""
    return len(answer.done) == 1 if answer.ending and answer.payloads else None


@invariant(CHOICES, "Nothing follows [DONE].", "Data follows [DONE], where the SDK no longer reads.")
def done_is_last(answer: RecordedAnswer) -> bool | None:
    """Return whether it is the last event."""
    return answer.done[0] == len(answer.events) - 1 if answer.ending and answer.done else None


@invariant(ALL, "The model is the same throughout.", "The name of the model changes inside one answer.", matters=True)
def model_constant(answer: RecordedAnswer) -> bool | None:
    """Return whether one name came; empty names do not count."""
    names = {as_text(each.get("model")) for each in answer.chunks}
    names |= {
        as_text(each["response"].get("model")) for each in answer.payloads if isinstance(each.get("response"), dict)
    }
    return len(names - {""}) <= 1 if names - {""} else None


@invariant(
    ALL,
    "Events come one by one.",
    "The whole answer comes at once: something on the way holds it back, and streaming gains nothing.",
)
def arrives_in_pieces(answer: RecordedAnswer) -> bool | None:
    """Return whether there is more than one moment of arrival, in long answers whose moments are known."""
    if len(answer.payloads) < _MANY or not answer.reads[-1][0]:
        return None
    return len({event.seconds for event in answer.events}) > 1


#: Events. Fewer may well fit in one packet of a fast server.
_MANY = 12


@invariant(
    ALL,
    "Letters beyond ASCII arrive whole.",
    "Letters beyond ASCII arrive destroyed: U+FFFD stands in their place.",
    matters=True,
)
def letters_whole(answer: RecordedAnswer) -> bool | None:
    """Return whether an answer that repeats a text without replacement characters has none."""
    return "\ufffd" not in answer.text() if answer.asked.echo and answer.text() else None


@invariant(
    ALL,
    "The answer is a stream.",
    "The answer is a JSON document and no stream: the endpoint ignores stream=True, or reports an error as HTTP 200.",
    matters=True,
)
def is_stream(answer: RecordedAnswer) -> bool | None:
    """Return whether the body does not begin as a JSON document does."""
    return not answer.body.lstrip().startswith((b"{", b"[")) if answer.body else None
