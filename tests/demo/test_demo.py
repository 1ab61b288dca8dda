"""The demo's parts: streams, faults and their schedule, the server, what is read and what is shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

for library in ("openai", "starlette", "uvicorn", "rich"):
    pytest.importorskip(library, reason="the extra `demo` is not installed")

import openai
from rich.console import Console

from helpers.demo_server import serving
from helpers.programs import loaded
from streamwatch.cli.common import measured, table
from streamwatch.core.kinds import KINDS
from streamwatch.core.stream_cases import CONTENT, ORDER, CaseRate
from streamwatch.core.vocabulary import Outcome, Strategy
from streamwatch.demo import processes
from streamwatch.synthetic.faults import FAULTS, fault_for
from streamwatch.synthetic.streams import Shape

MAKEFILE = Path(__file__).parents[2] / "Makefile"
APP = Path(processes.__file__).with_name("app.py")


# --- the server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The base URL of a running server."""
    with serving(1) as url:
        yield url


def count(server: str) -> dict[str, Any]:
    """What the server says it sent."""
    return json.loads(processes._fetch(server.removesuffix("/v1") + "/count"))  # type: ignore[no-any-return]


def test_the_server_counts_what_it_sends(server: str) -> None:
    """Read by the real client, each request is one stream and one fault, the one of the schedule."""
    before = count(server)
    cut = 0
    with openai.OpenAI(base_url=server, api_key="test", max_retries=0) as client:
        for _ in range(12):
            try:
                messages: Any = [{"role": "user", "content": "?"}]
                with client.chat.completions.create(model="gpt-4-turbo", messages=messages, stream=True) as stream:
                    models = {chunk.model for chunk in stream}
                assert models <= {"gpt-4-turbo-2024-04-09"}
            except openai.APIError as error:
                cut += isinstance(error, openai.APIConnectionError)
            except Exception as error:
                assert "incomplete chunked read" in str(error)
                cut += 1
    after = count(server)
    sent = Counter(after["faults"])
    sent.subtract(before["faults"])
    scheduled = Counter(fault_for(1, Shape.CHAT_TEXT, number).name for number in range(12))

    assert 12 == after["streams"] - before["streams"]
    assert scheduled == +sent
    assert scheduled["truncated"] == cut


def test_the_server_answers_without_a_stream_as_well(server: str) -> None:
    """A request that does not stream gets a whole answer."""
    with openai.OpenAI(base_url=server, api_key="test", max_retries=0) as client:
        answer = client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "?"}])

    assert "gpt-4.1-2025-04-14" == answer.model
    assert answer.choices[0].message.content


@pytest.mark.slow
def test_a_paused_server_lets_new_requests_wait() -> None:
    """After a pause no stream begins, so that all counters can come to rest."""
    with serving(1) as url:
        processes._fetch(url.removesuffix("/v1") + "/pause", b"")
        with (
            openai.OpenAI(base_url=url, api_key="test", max_retries=0, timeout=0.5) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "?"}], stream=True)

        assert 0 == count(url)["streams"]


# --- the application


def test_the_application_knows_nothing_of_streamwatch() -> None:
    """It is what a user has: not one word of us, nor of OpenTelemetry."""
    assert not re.search("streamwatch|telemetry|otel|instrument", APP.read_text(), re.IGNORECASE)


def test_the_application_counts_its_errors_by_what_they_say() -> None:
    """Positions in a JSON text are left out, so that the same error is counted as one."""
    app = loaded(APP, "demo_app")
    totals = app.Totals()
    totals.succeeded()
    for text in ("", "[", '{"a": 1}{'):
        with suppress(ValueError):
            try:
                json.loads(text)
            except ValueError as error:
                totals.caught(error)
    totals.caught(KeyError("content"))

    assert 1 == totals.ok
    assert {
        "JSONDecodeError: Expecting value": 2,
        "JSONDecodeError: Extra data": 1,
        "KeyError: 'content'": 1,
    } == totals.failed


# --- what is read

EXPOSITION = """\
# TYPE streamwatch_streams_total counter
streamwatch_streams_total{streamwatch_verdict="complete",gen_ai_response_model="gpt-4o-2024-05-13",streamwatch_openai_version="3.54.0"} 7.0
streamwatch_streams_total{streamwatch_verdict="truncated",gen_ai_response_model="",streamwatch_openai_version="3.54.0"} 2.0
# TYPE streamwatch_anomalies_total counter
streamwatch_anomalies_total{streamwatch_anomaly="sequence_out_of_order",streamwatch_severity="fault"} 4.0
streamwatch_anomalies_total{streamwatch_anomaly="sequence_gap",streamwatch_severity="fault"} 1.0
# TYPE streamwatch_cases_total counter
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="verified",streamwatch_applied="true",gen_ai_request_model="a"} 2.0
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="verified",streamwatch_applied="true",gen_ai_request_model="b"} 1.0
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="failed",streamwatch_applied="true"} 1.0
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="unrepaired",streamwatch_applied="true"} 1.0
streamwatch_cases_total{streamwatch_issue="llm/streaming-chunk-order-mismatch",streamwatch_outcome="verified",streamwatch_applied="false"} 9.0
streamwatch_cases_total{streamwatch_issue="sequence_gap",streamwatch_outcome="unrepaired",streamwatch_applied="true"} 1.0
# TYPE streamwatch_internal_errors_total counter
streamwatch_internal_errors_total{error_type="TypeError"} 2.0
"""


def test_the_counters_are_summed_over_models() -> None:
    """What is shown is the whole process; labels that are empty name nothing."""
    seen = measured.parse(EXPOSITION)

    assert {"complete": 7, "truncated": 2} == seen.verdicts
    assert 9 == seen.streams
    assert {"sequence_out_of_order": 4, "sequence_gap": 1} == seen.anomalies
    assert {"gpt-4o-2024-05-13"} == seen.snapshots
    assert {"3.54.0"} == seen.openai_versions
    assert 2 == seen.internal_errors


def test_the_fix_rate_counts_what_has_no_repair_and_no_shadow() -> None:
    """A gap is a case that nobody can repair; what was tried in the shadow is never added to what was applied."""
    seen = measured.parse(EXPOSITION)
    order, shadow = (seen.rate_of(ORDER, applied=applied) for applied in (True, False))

    assert (3, 5, 0.6, 0.75) == (order.fixed, order.cases, order.fix_ratio, order.verified_ratio)
    assert (9, 9) == (shadow.fixed, shadow.cases)
    assert not seen.observe
    assert seen.rate_of(CONTENT).fix_ratio is seen.rate_of(CONTENT).verified_ratio is None
    assert seen.rate_of_kind(KINDS["reasoning_nonstandard"]) is None


def test_every_outcome_counts_in_the_fix_rate() -> None:
    """Fixed are verified and unverified ones, of all; verified ones are those of the decided."""
    rate = CaseRate({outcome.value: 10**place for place, outcome in enumerate(Outcome)})

    assert (11, 1111) == (rate.fixed, rate.cases)
    assert 1 / 101 == rate.verified_ratio


# --- what is shown


def drawn(view: table.View, height: int | None = None, width: int = 120) -> str:
    """The picture as plain text."""
    console = Console(width=width, color_system=None)
    with console.capture() as text:
        console.print(table.draw(view, height))
    return text.get()


def test_the_table_sets_measured_beside_published() -> None:
    """Streams, with the published figure of the same cases; hazards, and what has no repair, stand apart."""
    hazards = 'streamwatch_cases_total{streamwatch_issue="llm/streaming-assistant-content-empty",'
    hazards += 'streamwatch_outcome="unverified",streamwatch_applied="true"} 30.0\n'
    text = drawn(table.View("title", observe=False, measured=measured.parse(EXPOSITION + hazards)))

    assert re.search(r"anything wrong +- +- +- +0 of 0 *\n", text)
    assert re.search(r"chunk order mismatch +75\.0% +60\.0% +23% to 88% +3 of 5 +too few *\n", text)
    assert re.search(r"tool calls +85\.0% +- +- +0 of 0 *\n", text)
    assert "hazards defused, KeyError: 'content': 30 of 30 (100.0%, published 90.0%)" in text
    assert "cannot be repaired: sequence_gap 1" in text
    assert re.search(r"sequence_out_of_order +fault +4 +0 +0 +0 *\n", text)
    assert re.search(r"sequence_gap +fault +1 +1 +0 +0 *\n", text)


def test_what_was_tried_in_the_shadow_is_shown_where_nothing_is_applied() -> None:
    """It is never added to what was applied."""
    text = drawn(table.View("title", observe=True, measured=measured.parse(EXPOSITION)))

    assert re.search(r"chunk order mismatch +75\.0% +100\.0% +70% to 100% +9 of 9 +too few *\n", text)


def test_the_table_shows_what_the_application_saw() -> None:
    """The application's own errors are shown with their numbers, the most frequent first."""
    totals = {"ok": 5, "failed": {"TypeError: no": 1, "KeyError: 'content'": 9}}
    text = drawn(table.View("title", observe=True, totals=totals))

    assert re.search(r"answered +5 *\n", text)
    assert re.search(r"failed +10 *\n +KeyError: 'content' +9 *\n +TypeError: no +1 *\n", text)
    assert "fixable" in text


def test_the_table_shows_both_applications_beside_each_other() -> None:
    """An error that one of them does not have is a dash there."""
    totals = {"ok": 9, "failed": {"APIError: no": 1}}
    beside = {"ok": 5, "failed": {"APIError: no": 1, "KeyError: 'content'": 4}}
    text = drawn(table.View("title", observe=False, totals=totals, beside=beside))

    assert re.search(r"what the application saw +with Streamwatch +without *\n", text)
    assert re.search(r"answered +9 +5 *\nfailed +1 +5 *\n +KeyError: 'content' +- +4 *\n +APIError: no +1 +1 *\n", text)


@pytest.mark.parametrize("observe", [False, True])
def test_no_kind_and_no_number_is_cut_at_80_columns(observe: bool) -> None:
    """The usual terminal shows all of it; only long errors of the application give way."""
    everything = measured.Measured(anomalies=Counter(dict.fromkeys(KINDS, 12345)))
    totals = {"ok": 12345, "failed": {"Error: " + "long " * 30: 12345}}
    text = drawn(table.View("title", observe=observe, measured=everything, totals=totals), width=80)

    assert 1 == text.count("…")
    assert len(KINDS) + 3 == text.count("12345")


def test_the_table_hides_nothing_that_streamwatch_says() -> None:
    """Its warnings and its own errors stand above everything else."""
    view = table.View("title", observe=False, measured=measured.parse(EXPOSITION), notices=("careful",))

    assert ["title", "careful", "2 errors of Streamwatch's own: please report them"] == [
        line.rstrip() for line in drawn(view).splitlines()[:3]
    ]


def test_the_table_fits_its_terminal() -> None:
    """Rows that do not fit are said to be missing, and faults are the last to go."""
    everything = measured.Measured(anomalies=Counter(dict.fromkeys(KINDS, 1)))
    failed = {f"Error: {number}": 1 for number in range(30)}
    view = table.View("title", observe=False, measured=everything, totals={"ok": 1, "failed": failed})
    text = drawn(view, height=50)

    assert text.count("\n") <= 50
    assert "more kinds" in text
    assert "stream_truncated" in text
    assert "keepalive_frame" not in text
    assert "more kinds" not in drawn(view)


def test_streams_are_counted_for_each_kind_their_fault_must_show() -> None:
    """The server counts faults; the table compares by kind."""
    kinds = table.injected({"none": 9, "delta_missing": 2, "delta_null": 3, "reorder": 1})

    assert {"delta_missing": 5, "sequence_out_of_order": 1} == kinds
    assert all(kind.strategy in Strategy for fault in FAULTS.values() for kind in fault.kinds)


# --- the processes


def test_a_taken_port_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The next free port is taken, and one line says so."""
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        found = processes.free_port(port)

    assert port < found < port + 10
    assert f"Port {port} is taken: the metrics are on port {found}.\n" == capsys.readouterr().out
    assert f"The metrics are on port {processes.free_port(0)}.\n" == capsys.readouterr().out


@pytest.mark.parametrize("text", ["65536", "-1", "http", "9464.0"])
def test_a_port_that_is_none_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and its value."""
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", text)
    with pytest.raises(processes.DemoError, match=f"OTEL_EXPORTER_PROMETHEUS_PORT='{text}' is not usable"):
        processes.wanted_port()


def test_the_usual_port_is_9464(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set, or nothing in it, is OpenTelemetry's default."""
    for text in ("", " "):
        monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", text)
        assert 9464 == processes.wanted_port()
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "9500")
    assert 9500 == processes.wanted_port()


def test_a_process_that_dies_is_reported_with_its_last_words() -> None:
    """Its exit code and its last lines stand in the message."""
    child = processes.Child("helper", [sys.executable, "-c", "import sys; sys.exit('out of cheese')"])
    child._process.wait(30)
    with pytest.raises(processes.DemoError, match=r"The helper ended by itself with code 1\.(?s:.*)out of cheese"):
        child.check()


def test_what_streamwatch_says_is_kept_apart() -> None:
    """Its lines do not drown in those of the application, and a traceback is no part of them."""
    said = "Streamwatch is here\n  File streamwatch/x.py\n" + "request failed\n" * 50
    child = processes.Child("helper", [sys.executable, "-c", f"import sys; sys.stderr.write({said!r})"])
    child._process.wait(30)
    child.end()

    assert ["Streamwatch is here"] == child.notices
    assert "Its last words:\n    Streamwatch is here\n    request failed" == child.last_words()


def test_a_process_that_does_not_want_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`end` leaves nothing behind."""
    monkeypatch.setattr(processes, "_END_SECONDS", 0.2)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = processes.Child("helper", [sys.executable, "-c", stubborn])
    while not child.last_line:
        time.sleep(0.02)
    child.end()

    assert -9 == child._process.returncode


def test_a_real_key_never_reaches_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The application gets a key that is none, the server's address, and no proxy on the way to it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("NO_PROXY", "example.org")
    environ = processes.app_environ("http://127.0.0.1:1/v1", 9500)

    assert "demo" == environ["OPENAI_API_KEY"]
    assert "http://127.0.0.1:1/v1" == environ["OPENAI_BASE_URL"]
    assert "9500" == environ["OTEL_EXPORTER_PROMETHEUS_PORT"]
    assert "127.0.0.1,localhost,example.org" == environ["NO_PROXY"] == environ["no_proxy"]


# --- make


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("arguments", "expected"), [([], ""), (["SECONDS=7"], " --seconds 7")])
def test_make_demo_passes_on_the_seconds_of_its_command_line_only(arguments: list[str], expected: str) -> None:
    """SECONDS is a variable of the shell as well: one that comes from there means nothing."""
    command = ["make", "-n", "demo", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environ = {**outside, "SECONDS": "1234"}
    said = subprocess.run(command, cwd=MAKEFILE.parent, env=environ, capture_output=True, text=True, check=True)

    assert f"-m streamwatch.demo{expected}" == said.stdout.splitlines()[-1].partition(" ")[2].strip()
