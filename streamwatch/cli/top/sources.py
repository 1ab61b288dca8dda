"""The sources of `streamwatch top`: the endpoints of processes, and a Prometheus that has scraped them."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from streamwatch.cli.common.environment import address
from streamwatch.cli.common.scraping import (
    FIRST_PORT,
    PORTS,
    SECONDS,
    Exposition,
    Inquiry,
    NoAnswerError,
    OtherAnswerError,
    Samples,
    Series,
    exposition,
    fetch,
    series,
    version_in,
)
from streamwatch.cli.top.open_streams import GAUGES, gauges
from streamwatch.cli.top.rates import WINDOW, Increases

_API = "/api/v1/query"
#: What is asked of a Prometheus: every counter and gauge that is shown, and the version.
_QUERY = (
    '{__name__=~"streamwatch_((streams|anomalies|cases|internal_errors)_total|build_info'
    f'|reorder_(distance|delay_seconds)_(sum|count)|{"|".join(GAUGES)})"}}'
)
#: Seconds to wait for one of the usual ports, where nobody has named it.
_UNNAMED_PATIENCE = 1.0


@dataclass(frozen=True)
class State:
    """The condition of a source; `away` are the seconds since it last answered."""

    address: str
    kind: str
    up: bool
    version: str
    error: str
    away: float | None


class MetricsSource:
    """An address, its last answer, and the increases since."""

    def __init__(self, url: str, *, named: bool = True, prometheus: bool = False) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or _has_no_port(parts):
            msg = f"{address(url) if '@' in url else url!r} is not an address such as http://localhost:9464/metrics"
            raise ValueError(msg)
        is_query = parts.path.endswith(_API)
        self.named = named
        self.kind = "prometheus" if prometheus or is_query else ""
        self.base = parts._replace(path=parts.path.removesuffix(_API).rstrip("/"), fragment="")
        self.increases = Increases()
        self.open: Samples = {}  #: the gauges of open streams, as they were said last
        self._inquiry: Inquiry[list[Exposition]] | None = None
        self._answered: float | None = None
        self._error, self._version = "", ""

    @property
    def address(self) -> str:
        """What people call it; never with a password."""
        return address(self.base.geturl())

    def ask(self) -> None:
        """Begin to ask, unless it still thinks about the last time."""
        if self._inquiry is None:
            self._inquiry = Inquiry(self._answer)

    def take(self, end: float) -> dict[Series, float] | None:
        """Return what increased, None without an answer; wait until `end` on the monotonic clock."""
        inquiry = self._inquiry
        if inquiry is None:
            return None
        patience = SECONDS if self.named or self._answered is not None else _UNNAMED_PATIENCE
        increases: dict[Series, float] = {}
        try:
            for one in inquiry.result(min(end - time.monotonic(), patience)):
                increases = self.increases.take(one)
                self.open = gauges(one.samples)
                self._version = one.version
        except NoAnswerError as error:
            self._error, self.open = str(error), {}
            if not inquiry.pending:
                self._inquiry = None
            return None
        self._inquiry, self._error, self._answered = None, "", time.monotonic()
        return increases

    def state(self) -> State:
        """Return how it is."""
        away = None if self._answered is None else time.monotonic() - self._answered
        up = self._answered is not None and not self._error
        return State(self.address, self.kind or "endpoint", up, self._version, self._error, None if up else away)

    # --- in a thread

    def _answer(self) -> list[Exposition]:
        if self.kind == "prometheus":
            return self._from_prometheus()
        try:
            path = self.base.path or "/metrics"
            found = [exposition(fetch(self.base._replace(path=path).geturl()))]
            self.kind = "endpoint"
        except NoAnswerError as error:
            if self.kind or not self.named or not isinstance(error, OtherAnswerError):
                raise
            try:
                found = self._from_prometheus()
            except NoAnswerError:
                raise error from None
            self.kind = "prometheus"
        return found

    def _from_prometheus(self) -> list[Exposition]:
        """Return what it has now; at first also what it had a minute ago, as it is scraped seldom."""
        times = [] if self._answered is not None else [time.time() - WINDOW]
        return [*map(self._queried, times), self._queried(None)]

    def _queried(self, at: float | None) -> Exposition:
        query = {"query": _QUERY, **({} if at is None else {"time": f"{at:.3f}"})}
        url = self.base._replace(path=f"{self.base.path}{_API}", query=urllib.parse.urlencode(query)).geturl()
        text = fetch(url)
        try:
            result = json.loads(text)["data"]["result"]
            samples: Samples = {}
            for one in result:
                labels = {str(name): str(value) for name, value in one["metric"].items()}
                name = labels.pop("__name__")
                samples[series(name, labels)] = float(one["value"][1])
        except Exception:
            raise NoAnswerError("it answers with something that is not an answer of Prometheus") from None
        return Exposition(samples, version_in(samples), None)


def _has_no_port(parts: urllib.parse.SplitResult) -> bool:
    try:
        return parts.port == 0
    except ValueError:
        return True


def usual() -> list[MetricsSource]:
    """Return the ports that Streamwatch itself takes."""
    return [MetricsSource(f"http://localhost:{port}", named=False) for port in range(FIRST_PORT, FIRST_PORT + PORTS)]


def take_all(sources: list[MetricsSource], clock: Callable[[], float] = time.monotonic) -> dict[Series, float] | None:
    """Return what increased over all sources, asked at the same time; None if none of them answered."""
    for source in sources:
        source.ask()
    end, total, answered = clock() + SECONDS, dict[Series, float](), False
    for source in sources:
        increases = source.take(end)
        answered = answered or increases is not None
        for counter, increase in (increases or {}).items():
            total[counter] = total.get(counter, 0.0) + increase
    return total if answered else None
