"""`streamwatch top`: the streams of running applications, live in a terminal.

It reads the Prometheus endpoints of applications, or a Prometheus that scrapes them; the applications notice nothing
but a scrape. `rates` turns counters into what is shown, `sources` asks for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import click

from streamwatch.cli.top import open_streams
from streamwatch.cli.top.rates import Frame, History
from streamwatch.cli.top.sources import MetricsSource, State, take_all, usual
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.stream_cases import ANY_FAULT, KNOWN, CaseDefinition, CaseRate
from streamwatch.core.vocabulary import Outcome, Severity

_COLOURS = {Severity.FAULT: "red", Severity.DIALECT: "yellow", Severity.HAZARD: "cyan"}
_CONDITIONS = {"clean": "green", "repaired": "yellow", "broken": "red"}
_BARS = " ▁▂▃▄▅▆▇█"

#: Lines of the tables beside the rows of models and kinds: gaps, heads, captions, the table of issues; and the fewest
#: rows worth showing of models and of kinds.
_FRAME_LINES, _FEWEST_ROWS = 12, 2
#: Columns from which the table of kinds has all of its own.
_WIDE = 100
#: Columns of a line of bars that its words take.
_LINE_WORDS = 26
#: Rows of models: beyond, one looks at a dashboard.
_MOST_MODELS = 10


@click.command()
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Look every N seconds."
)
@click.option("--prometheus", is_flag=True, help="Take the addresses for those of Prometheus servers.")
@click.option("--once", is_flag=True, help="Show a single frame, of two scrapes that far apart, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each frame.")
def top(urls: tuple[str, ...], interval: float, prometheus: bool, once: bool, as_json: bool) -> None:  # noqa: FBT001
    """Show the streams of running applications, live.

    URL is that of an application's metrics, or of a Prometheus. Without one, localhost:9464 to 9473 are looked at,
    where Streamwatch puts its endpoints. q or Ctrl-C ends it.

    \b
    streamwatch top
    streamwatch top http://10.0.0.7:9464 http://10.0.0.8:9464
    streamwatch top --prometheus http://localhost:9090
    streamwatch top --once --json | jq .issues
    """  # noqa: D301 -- click keeps the lines after this character as they are
    if prometheus and not urls:
        raise click.UsageError("--prometheus needs the address of one, such as http://localhost:9090.")
    try:
        sources = [MetricsSource(url, prometheus=prometheus) for url in urls] or usual()
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="URL") from error
    watch = _Watch(sources)
    with contextlib.suppress(KeyboardInterrupt, ValueError):  # a thread that is not the main one takes no signals
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is put back, then as well
    try:
        if once:
            watch.look()
            time.sleep(interval)
        _run(watch, interval, once=once, as_json=as_json)
    except KeyboardInterrupt:
        return
    if once:
        _end(sources)


def _end(sources: list[MetricsSource]) -> None:
    """Exit with the code of a single frame: whether there was something to see."""
    states = [source.state() for source in sources]
    if not any(state.up for state in states):
        for state in states if sources[0].named else ():
            click.echo(f"{state.address}: {state.error}.", err=True)
        if not sources[0].named:
            click.echo(_nobody(sources), err=True)
        sys.exit(2)
    if any(source.named and not state.up for source, state in zip(sources, states, strict=True)):
        sys.exit(1)


def _nobody(sources: list[MetricsSource]) -> str:
    where = f"{sources[0].address.removeprefix('http://')} to {sources[-1].address.rpartition(':')[2]}"
    return f"No application with Streamwatch answers on {where}. Start one: streamwatch run -- python app.py"


class _Watch:
    """The sources, and what was seen of them."""

    def __init__(self, sources: list[MetricsSource]) -> None:
        self.sources = sources
        self.history = History()
        self._last: float | None = None

    def look(self) -> Frame:
        """Ask all sources, and put together what they say."""
        increases = take_all(self.sources)
        now = time.monotonic()
        if increases is not None:
            # At first there is no increase, but from a Prometheus, which knows how it was a minute ago.
            since = now - self._last if self._last is not None else self.history.window
            if self._last is not None or increases:
                self.history.add(now, since, increases)
            self._last = now
        totals: dict[Any, float] = {}
        for source in self.sources:
            for series, value in source.increases.totals.items():
                totals[series] = totals.get(series, 0.0) + value
        open_now = open_streams.open_streams(source.open for source in self.sources)
        return Frame(totals, self.history.increases(), self.history.seconds, self.history.lines(), open_now)


def _run(watch: _Watch, interval: float, *, once: bool, as_json: bool) -> None:
    """Show frames: one below the other where there is no terminal, else in place."""
    from rich.live import Live

    from streamwatch.cli.common.console import output

    console = output()
    live_here = console.is_terminal and not as_json and not once
    with contextlib.ExitStack() as stack:
        pressed = stack.enter_context(_keys()) if live_here else _waited
        live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False)) if live_here else None
        while True:
            began = time.monotonic()
            frame = watch.look()
            if as_json:
                click.echo(json.dumps(record(frame, watch.sources)))
            elif live is not None:
                live.update(draw(frame, watch.sources, console.height, console.width), refresh=True)
            else:
                console.print(draw(frame, watch.sources, width=console.width))
            if once or pressed(max(0.0, interval - (time.monotonic() - began))):
                return


def _waited(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for some seconds, or until q is pressed, and says whether it was."""
    try:
        import select
        import termios
        import tty

        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)  # type: ignore[attr-defined, unused-ignore]
        tty.setcbreak(keyboard)  # type: ignore[attr-defined, unused-ignore]
    except Exception:  # no terminal to read from, or Windows: Ctrl-C ends it there
        yield _waited
        return

    def pressed(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while select.select([keyboard], [], [], max(0.0, end - time.monotonic()))[0]:
            keys = os.read(keyboard, 64)
            if not keys or b"q" in keys.lower():
                return True
        return False

    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)  # type: ignore[attr-defined, unused-ignore]


# --- as data


def record(frame: Frame, sources: list[MetricsSource]) -> dict[str, Any]:
    """Return one frame as JSON has it; counts are since the processes started, rates of the window."""
    conditions, recent = frame.conditions(frame.totals), frame.conditions(frame.increases)
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "window_seconds": round(frame.seconds, 3),
        "sources": [vars(state) for source in sources if (state := source.state()).up or source.named or state.version],
        "observe": frame.observe,
        "streams": {"total": frame.measured.streams, "per_second": frame.per_second(frame.recent.streams)},
        "conditions": {
            name: {"total": count, "per_second": frame.per_second(recent[name])} for name, count in conditions.items()
        },
        "verdicts": dict(frame.measured.verdicts),
        "models": [
            {"model": one.name, "total": one.streams, "per_second": one.per_second, **one.conditions}
            for one in frame.models()
        ],
        "kinds": [_kind_record(kind, frame) for kind in _kinds(frame)],
        "issues": [_issue_record(definition, frame) for definition in (ANY_FAULT, *KNOWN)],
        "open": open_streams.record(frame.open_now),
        "reorder": frame.reorder(),
        "internal_errors": frame.measured.internal_errors,
    }


def _kind_record(kind: AnomalyKind, frame: Frame) -> dict[str, Any]:
    rate = frame.measured.rate_of_kind(kind, applied=not frame.observe)
    return {
        "kind": kind.name,
        "severity": kind.severity.value,
        "total": frame.measured.anomalies[kind.name],
        "per_second": frame.per_second(frame.recent.anomalies[kind.name]),
        **(_rate_record(rate) if rate else {}),
    }


def _rate_record(rate: CaseRate) -> dict[str, Any]:
    return {
        "cases": rate.cases,
        "fixed": rate.fixed,
        "fix_ratio": rate.fix_ratio,
        "interval": rate.interval,
        "verified_ratio": rate.verified_ratio,
        "outcomes": {outcome.value: rate[outcome] for outcome in Outcome},
    }


def _issue_record(definition: CaseDefinition, frame: Frame) -> dict[str, Any]:
    rate = frame.measured.rate_of(definition)
    published = definition.published[1] if definition.published else None
    return {
        "issue": definition.name,
        "severity": definition.severity.value,
        "error": definition.known.error if definition.known else None,
        "published_fix_ratio": published,
        "against_published": None if published is None else rate.against(published),
        **_rate_record(rate),
        "shadow": _rate_record(frame.measured.rate_of(definition, applied=False)),
    }


def _kinds(frame: Frame) -> list[AnomalyKind]:
    """Return the kinds that were found: faults first, then what comes most often now."""
    found = [kind for kind in KINDS.values() if frame.measured.anomalies[kind.name]]
    order = list(_COLOURS)
    return sorted(found, key=lambda kind: (order.index(kind.severity), -frame.recent.anomalies[kind.name]))


# --- as people see it


def draw(frame: Frame, sources: list[MetricsSource], height: int | None = None, width: int = _WIDE) -> Any:
    """Return the whole picture, to fit a terminal; a `height` of None shows everything."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from streamwatch.cli.common.table import View, issue_notes, issues

    view = View("", frame.observe, frame.measured)
    of_sources, of_streams = [*_source_lines(sources)], [*_stream_lines(frame, width)]
    top_lines = [*of_sources, *of_streams]
    parts: list[Any] = [Text.from_markup(line) for line in of_sources]
    for line in of_streams:
        parts.append(Text.from_markup(line))
        parts[-1].no_wrap, parts[-1].overflow = True, "ellipsis"
    if frame.measured.streams:
        models, kinds = _rows(frame, None if height is None else height - len(top_lines) - len(issue_notes(view)))
        tables = (_models(frame, models), issues(view, one_line=True), _anomalies(frame, kinds, wide=width >= _WIDE))
        parts += [Padding(table, (1, 0, 0, 0)) for table in tables]
    elif any(source.state().up for source in sources):
        parts.append(Text("no streams yet: the tables appear when the first stream has ended", "yellow"))
    return Group(*parts)


def _rows(frame: Frame, lines: int | None) -> tuple[int | None, int | None]:
    """Return how many models and how many kinds are shown in a number of lines."""
    if lines is None:
        return None, None
    rows = max(2 * _FEWEST_ROWS, lines - _FRAME_LINES)
    models = min(len(list(frame.models())), max(_FEWEST_ROWS, min(_MOST_MODELS, rows // 3)))
    return models, rows - models


def _up_line(up: list[State]) -> str:
    from rich.markup import escape

    versions = ", ".join(sorted({state.version for state in up} - {""}))
    names = ", ".join(state.address.removeprefix("http://") for state in up)
    return f"[bold]Streamwatch {escape(versions)}[/] on {escape(names)}"


def _source_lines(sources: list[MetricsSource]) -> Iterator[str]:
    from rich.markup import escape

    seen = [(source, source.state()) for source in sources]
    up = [state for _, state in seen if state.up]
    if up:
        yield _up_line(up)
    elif not sources[0].named and not any(state.away for _, state in seen):
        yield f"[yellow]{escape(_nobody(sources))}[/]"
    for source, state in seen:
        if not state.up and (source.named or state.away is not None):
            since = f"went away {state.away:.0f} s ago" if state.away is not None else "is not there"
            yield f"[red]{escape(state.address)} {since}: {escape(state.error or 'no answer yet')}[/]"


def _stream_lines(frame: Frame, width: int) -> Iterator[str]:
    recent = frame.conditions(frame.increases)
    share = "  ".join(
        f"[{_CONDITIONS[name]}]{name}[/] {frame.per_second(count):.2f}/s" for name, count in recent.items()
    )
    window = f"in {frame.seconds:.0f} s" if frame.seconds else "first look"
    yield f"{frame.per_second(frame.recent.streams):.2f} streams/s ({window})  {share}"
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in frame.measured.verdicts.most_common())
    yield f"{frame.measured.streams:,} streams since the start: {verdicts or 'none ended yet'}"
    streams, broken = frame.lines
    points = width - _LINE_WORDS
    yield f"streams [green]{sparkline(streams[-points:])}[/] {max(streams, default=0):.2f}/s at most"
    yield f"broken  [red]{sparkline(broken[-points:])}[/] {max(broken, default=0):.2f}/s at most"
    yield from open_streams.lines(frame.open_now)
    reorder = frame.reorder()
    if reorder["events"]:
        seconds, places = reorder["mean_seconds"] or 0, reorder["mean_places"] or 0
        held = f"by {places:.1f} places, and were held {seconds * 1000:.1f} ms"
        yield f"{reorder['events']:,.0f} events came early, {held}"
    if frame.measured.internal_errors:
        yield f"[red]{frame.measured.internal_errors} errors of Streamwatch's own: please report them[/]"


def sparkline(values: list[float]) -> str:
    """Return a line of bars, the highest of them the largest value; anything above zero is seen."""
    most = max(values, default=0)
    if not most:
        return _BARS[1] * len(values) if values else ""
    steps = len(_BARS) - 1
    return "".join(_BARS[max(1, round(value / most * steps))] if value else _BARS[1] for value in values)


def _models(frame: Frame, rows: int | None) -> Any:
    from rich.text import Text

    from streamwatch.cli.common.table import columns, line, percent

    table = columns("model", "streams/s", "streams", "clean", "repaired", "broken", "broken share")
    found = list(frame.models())
    for one in found[:rows]:
        counts = [Text(f"{count:,.0f}", _CONDITIONS[name] if count else "") for name, count in one.conditions.items()]
        share = percent(one.conditions["broken"] / one.streams if one.streams else None)
        table.add_row(line(one.name), f"{one.per_second:.2f}", f"{one.streams:,.0f}", *counts, share)
    if rows is not None and len(found) > rows:
        table.caption, table.caption_justify = f"and {len(found) - rows} more models", "left"
    return table


def _anomalies(frame: Frame, rows: int | None, *, wide: bool) -> Any:
    """Return the table of kinds. A narrow one leaves the severity to the colour and the order: names stay whole."""
    from rich.text import Text

    from streamwatch.cli.common.table import columns, line, outcomes, percent

    repaired = "fixable" if frame.observe else "repaired"
    ended = ("streams", repaired, "failed")
    table = columns("anomaly", *(("severity",) if wide else ()), "a minute", *ended, "fix rate")
    found = _kinds(frame)
    for kind in found[:rows]:
        rate = frame.measured.rate_of_kind(kind, applied=not frame.observe)
        numbers = [f"{number:,}" for number in outcomes(rate)] or ["-"] * len(ended)
        often = frame.per_second(frame.recent.anomalies[kind.name]) * 60
        severity = [Text(kind.severity.value, _COLOURS[kind.severity])] if wide else []
        name = line(kind.name, "" if wide else _COLOURS[kind.severity])
        share = percent(rate.fix_ratio if rate else None)
        table.add_row(name, *severity, f"{often:.1f}", *numbers, share)
    table.columns[0].min_width = max((len(kind.name) for kind in found[:rows]), default=0)
    if rows is not None and len(found) > rows:
        table.caption, table.caption_justify = f"and {len(found) - rows} more kinds: enlarge the terminal", "left"
    return table
