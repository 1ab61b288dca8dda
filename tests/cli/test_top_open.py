"""`streamwatch top` shows the streams that are open, and those that hang, while nothing arrives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from rich.text import Text
from test_top import answering, serving

from helpers import sdk
from streamwatch.cli import main
from streamwatch.cli.common.scraping import exposition, series
from streamwatch.cli.top.open_streams import gauges, lines, open_streams, record
from streamwatch.core.settings import Settings
from streamwatch.otel.prometheus_reader import PrometheusReader
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor


def of(state: str, count: float, model: str = "m", server: str = "s") -> dict[str, Any]:
    """The gauge of streams in a state."""
    labels = {"gen_ai_request_model": model, "server_address": server, "streamwatch_state": state}
    return {series("streamwatch_open_streams", labels): count}  # type: ignore[dict-item]


def seconds(name: str, value: float, model: str = "m", server: str = "s") -> dict[str, Any]:
    """A gauge of seconds."""
    return {series(f"streamwatch_{name}_seconds", {"gen_ai_request_model": model, "server_address": server}): value}  # type: ignore[dict-item]


def plain(sources: list[dict[str, Any]]) -> list[str]:
    """The lines, without their colors."""
    return [Text.from_markup(line).plain for line in lines(open_streams(sources))]  # type: ignore[arg-type]


def test_what_hangs_is_said_with_its_model_its_server_and_how_long() -> None:
    """The counts of all processes together, and of the ages the greatest."""
    first = {**of("silent", 2), **of("flowing", 3), **seconds("oldest_stream", 70.0), **seconds("longest_silence", 61)}
    second = {**of("unanswered", 1), **seconds("oldest_stream", 20.0), **seconds("longest_silence", 19.0)}

    assert plain([first, second]) == [
        "6 streams open now, the oldest for 70 s; 3 of them silent",
        "m at s: 3 silent for up to 61 s, 1 of them not begun",
    ]
    assert record(open_streams([first, second]))["states"] == {  # type: ignore[list-item]
        "starting": 0,
        "unanswered": 1,
        "flowing": 3,
        "silent": 2,
        "reading": 0,
    }


def test_nothing_open_is_a_line_and_nothing_known_is_none() -> None:
    """A process that never had a stream says nothing."""
    assert plain([of("flowing", 0), seconds("oldest_stream", 0.0)]) == ["0 streams open now"]
    assert plain([]) == []
    assert record([])["streams"] == 0


def test_many_servers_that_hang_are_few_lines() -> None:
    """The worst first; a name is no markup."""
    found = plain([of("silent", n, server=f"[red]{n}") for n in range(1, 6)])

    assert found[1:] == [
        *(f"m at [red]{n}: {n} silent for up to 0 s" for n in (5, 4, 3)),
        "and at 2 more models and servers",
    ]


def test_numbers_that_are_none_are_not_shown() -> None:
    """An endpoint says what it likes."""
    said = exposition('streamwatch_open_streams{streamwatch_state="silent"} NaN\nstreamwatch_streams_total 1\n').samples

    assert gauges(said) == {}


class _Held:
    """A server that sends one chunk, and the rest when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield sdk.healthy("chat")[0]
        assert self.go.wait(20)
        yield from sdk.healthy("chat")[1:]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_stream_that_hangs_is_shown_while_it_hangs(as_json: bool) -> None:
    """By the real reader of Prometheus, over HTTP."""
    registry, held = CollectorRegistry(), _Held()
    provider = MeterProvider([PrometheusReader(registry)])
    on = StreamwatchInstrumentor()
    on.instrument(meter_provider=provider, settings=Settings(stall_seconds=0.1))
    reader = threading.Thread(target=lambda: list(sdk.create(sdk.client(held))))
    reader.start()
    try:
        time.sleep(0.3)
        with serving(answering(lambda: generate_latest(registry))) as address:
            options = ["--json"] if as_json else []
            shown = CliRunner().invoke(main, ["top", address, "--once", "--interval", "0.2", *options]).output
    finally:
        held.go.set()
        reader.join()
        on.uninstrument()
        provider.shutdown()

    if as_json:
        found = json.loads(shown)["open"]
        assert (found["streams"], found["states"]["silent"]) == (1, 1)
        assert found["longest_silence_seconds"] > 0.1
        assert [(one["model"], one["server"]) for one in found["by_server"]] == [("gpt-4o", "server.test")]
    else:
        assert "1 stream open now" in shown
        assert "gpt-4o at server.test: 1 silent for up to" in shown
