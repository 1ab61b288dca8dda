"""Requests for metrics: bounded in time and size, and reported in one sentence when they fail.

Whatever is listening there answers as it likes: pages of HTML, bodies without end, a byte a second. Nothing of that
holds a command up for longer than it has patience, or fills its memory.
"""

from __future__ import annotations

import base64
import functools
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from streamwatch.cli.common.environment import address

_T = TypeVar("_T")

#: Bytes of an answer: a process with a hundred models, each with all there is to count, serves about 3 MB.
MAX_BYTES = 16 << 20
#: Seconds until an answer must be whole: half of what Prometheus gives by default.
SECONDS = 5.0
#: Bytes of a read.
_READ = 1 << 16
#: Ports that Streamwatch itself tries, from the first one on.
FIRST_PORT, PORTS = 9464, 10
#: Characters of what somebody else says that are repeated.
_MAX_WORDS = 120

#: Lines that are read: some 20,000 series are a hundred models with everything there is to count.
_MOST_LINES = 100_000
#: Series that are remembered, and the characters of the longest: 20 MB at most.
_KNOWN_SERIES, _LONG_SERIES = 20_000, 1_000
#: Characters of a label's value: Streamwatch itself cuts them to 100.
_MAX_LABEL = 200

#: The families that are read, without what a sample adds to the name.
OURS = "streamwatch_"
#: Families that no command shows.
_UNREAD = (f"{OURS}chunks_total", f"{OURS}repairs_total", f"{OURS}published_fix_ratio")
#: When a process started: it separates what counts from zero again from what only went on.
STARTED = "process_start_time_seconds"

Series = tuple[str, tuple[tuple[str, str], ...]]  # a name, and its labels in the order of their names
Samples = dict[Series, float]


class NoAnswerError(Exception):
    """The error of an address that gives no metrics; the message says why."""


class OtherAnswerError(NoAnswerError):
    """The error of an address that answers with something else than Streamwatch's metrics."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect: only addresses that were named are asked."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def fetch(
    url: str,
    seconds: float = SECONDS,
    limit: int = MAX_BYTES,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> str:
    """Return the body at a URL, which may name a user and a password; raises NoAnswerError."""
    parts = urllib.parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 -- the scheme was checked where the address was read
        parts._replace(netloc=host).geturl(), data, {"User-Agent": "streamwatch", "Accept-Encoding": "identity"}
    )
    for name, value in (headers or {}).items():
        request.add_unredirected_header(name, value)
    if user:
        named = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {named}")
    end = time.monotonic() + seconds
    try:
        with _opener(parts.hostname or "", context).open(request, timeout=seconds) as answer:
            return _body(answer, end, limit)
    except NoAnswerError:
        raise
    except urllib.error.HTTPError as error:
        raise OtherAnswerError(_status(error)) from error
    except Exception as error:
        reason = getattr(error, "reason", None) or error
        raise NoAnswerError(f"no answer ({_words(reason)})") from error


def _opener(host: str, context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [_NoRedirects]
    if host in ("localhost", "::1") or host.startswith("127."):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy has no business on the loopback interface
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _body(answer: Any, end: float, limit: int) -> str:
    pieces, size = [], 0
    while piece := answer.read1(_READ):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            msg = f"the answer is longer than {limit >> 20} MiB"
            raise NoAnswerError(msg)
        if time.monotonic() > end:
            raise NoAnswerError("the answer came too slowly")
    return b"".join(pieces).decode("utf-8", "replace")


def _status(error: urllib.error.HTTPError) -> str:
    with error:
        where = error.headers.get("Location")
    if 300 <= error.code < 400 and where:
        return f"it answers {error.code}, and leads to {_words(address(where))}: name that address instead"
    return f"it answers HTTP {error.code}"


def _words(reason: object) -> str:
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return _printable(str(text))[:_MAX_WORDS]


class Inquiry(Generic[_T]):
    """A question that is being asked in a thread, which is left alone when it takes too long."""

    def __init__(self, ask: Callable[[], _T]) -> None:
        self._ask = ask
        self._result: list[_T] = []
        self._error: NoAnswerError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._ask())
        except NoAnswerError as error:
            self._error = error
        except Exception as error:
            self._error = NoAnswerError(f"{type(error).__name__}: {_words(error)}")

    @property
    def pending(self) -> bool:
        """Whether it still waits."""
        return self._thread.is_alive()

    def result(self, seconds: float) -> _T:
        """Return the answer; raises NoAnswerError, also where there is none after `seconds`."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive():
            raise NoAnswerError("no answer in time")
        if self._error is not None:
            raise self._error
        return self._result[0]


@dataclass(frozen=True)
class Exposition:
    """The metrics of Streamwatch at a Prometheus endpoint."""

    samples: Samples
    version: str
    started: float | None


def exposition(text: str) -> Exposition:
    """Return what a text exposition says of Streamwatch; raise NoAnswerError where it is none, or another's."""
    # Buckets and what no command shows are most of the text.
    lines = [line for line in text.split("\n") if line.startswith((OURS, STARTED)) and not _unread(line)]
    if len(lines) > _MOST_LINES:
        msg = f"it has more than {_MOST_LINES:,} lines about Streamwatch"
        raise NoAnswerError(msg)
    samples: Samples = {}
    try:
        samples.update(map(_sample, lines))
    except Exception as error:
        raise NoAnswerError(f"its metrics cannot be read ({_words(error)})") from error
    started = next((value for (name, _), value in samples.items() if name == STARTED), None)
    if not any(name.startswith(OURS) for name, _ in samples):
        kind = "metrics, but none of Streamwatch's" if "# TYPE " in text else "something that is not metrics"
        raise OtherAnswerError(f"it answers with {kind}")
    return Exposition(ours(samples), version_in(samples), started)


def _unread(line: str) -> bool:
    return "_bucket{" in line or line.startswith(_UNREAD)


def _sample(line: str) -> tuple[Series, float]:
    """Return one line, read: its series is read once, as a live table asks for the same ones again and again."""
    end = line.rfind("}") + 1 or line.find(" ")
    value = line[end:].split(None, 1)[0]
    read = _series_of if end <= _LONG_SERIES else _series_of.__wrapped__
    return read(line[:end]), float(value)


@functools.lru_cache(_KNOWN_SERIES)
def _series_of(head: str) -> Series:
    from prometheus_client.parser import text_string_to_metric_families

    ((one,),) = (family.samples for family in text_string_to_metric_families(f"{head} 0\n"))
    return series(one.name, one.labels)


def series(name: str, labels: Mapping[str, str]) -> Series:
    """Return a name and its labels, fit for a terminal: what is there is somebody else's choice."""
    return name, tuple(sorted((label, _printable(value)[:_MAX_LABEL]) for label, value in labels.items()))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def ours(samples: Mapping[Series, float]) -> Samples:
    """Return the samples of Streamwatch."""
    return {series: value for series, value in samples.items() if series[0].startswith(OURS)}


def version_in(samples: Iterable[Series]) -> str:
    """Return the version that is deployed, as far as the endpoint says."""
    versions = {dict(labels).get("version", "") for name, labels in samples if name == f"{OURS}build_info"}
    return ", ".join(sorted(versions - {""}))
