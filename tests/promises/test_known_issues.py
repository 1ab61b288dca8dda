"""The two issues that Streamwatch began with, in an unmodified application, over a real socket."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from helpers.listening import Listener, serving
from helpers.ports import free_port
from helpers.tutorial import SNAPSHOT, Server, samples, scrape, tutorial

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with serving(Listener(("127.0.0.1", 0), Server)) as address:
        yield f"http://{address}/v1"


@pytest.fixture(scope="module", params=["installed", pytest.param("1.23.0", marks=pytest.mark.slow)])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with Streamwatch and a release of openai: the one installed, and one of those the issues name."""
    if request.param == "installed":
        if not hasattr(openai._models.BaseModel, "to_dict"):
            pytest.skip(f"openai {openai.__version__} has no to_dict(), which the tutorial uses")
        return Path(sys.executable)
    home = tmp_path_factory.mktemp("openai") / "venv"
    venv.create(home, with_pip=True)
    # httpx 0.28 dropped an argument that this openai passes.
    wanted = ["--editable", str(PROJECT), f"openai=={request.param}", "httpx<0.28"]
    command = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    if subprocess.run(command, check=False).returncode:  # type: ignore[arg-type]
        pytest.skip(f"openai {request.param} cannot be installed here")
    return home / "bin" / "python"


def openai_version(python: Path) -> str:
    show = "from importlib.metadata import version; print(version('openai'))"
    return subprocess.check_output([str(python), "-c", show], text=True).strip()


@pytest.mark.slow  # what the plain SDK does changes with its releases only
def test_the_tutorial_fails_without_streamwatch(python: Path, base_url: str) -> None:
    """KeyError: 'content', and the text in the order 5, 7, 6."""
    with tutorial(python, base_url) as (said, _):
        assert said == {"tools": "KeyError: 'content'", "text": "1 2 3 4 7 5 6 "}


def test_the_tutorial_succeeds_with_streamwatch_and_the_counters_say_so(python: Path, base_url: str) -> None:
    """The same program, started with opentelemetry-instrument and nothing configured but its port."""
    port = free_port()
    instrument = str(python.parent / "opentelemetry-instrument")
    with tutorial(python, base_url, instrument, OTEL_EXPORTER_PROMETHEUS_PORT=str(port)) as (said, _):
        assert said == {"tools": ["", '{"city":"Paris"}'], "text": "1 2 3 4 5 6 7 "}
        metrics = scrape(port)

    version = openai_version(python)
    common = {
        "gen_ai_operation_name": "chat",
        "gen_ai_request_model": "gpt-4o",
        "gen_ai_response_model": SNAPSHOT,
        "server_address": "127.0.0.1",
        "streamwatch_openai_version": version,
    }
    found = list(samples(metrics, "streamwatch_anomalies_total"))
    assert all(common.items() <= labels.items() for labels, _ in found)
    assert {labels["streamwatch_anomaly"]: count for labels, count in found} == {
        "content_absent": 5,  # the three fragments of a tool call, two finish chunks
        "sequence_out_of_order": 2,  # 5 and 6 came after 7
    }
    repaired = {
        labels["streamwatch_anomaly"]: (labels["streamwatch_outcome"], labels["streamwatch_applied"], count)
        for labels, count in samples(metrics, "streamwatch_repairs_total")
    }
    assert repaired == {
        "content_absent": ("unverified", "true", 5),
        "sequence_out_of_order": ("verified", "true", 2),
    }
    assert sorted(
        (labels["streamwatch_verdict"], labels["streamwatch_condition"], count)
        for labels, count in samples(metrics, "streamwatch_streams_total")
    ) == [("complete", "clean", 1), ("complete", "repaired", 1)]


@pytest.mark.slow
def test_observing_changes_nothing_and_tells_what_a_repair_would_come_to(python: Path, base_url: str) -> None:
    """STREAMWATCH_REPAIR=none: the application's own errors, the same anomalies, applied=false."""
    port = free_port()
    instrument = str(python.parent / "opentelemetry-instrument")
    variables = {"OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "STREAMWATCH_REPAIR": "none"}
    with tutorial(python, base_url, instrument, **variables) as (said, _):
        assert said == {"tools": "KeyError: 'content'", "text": "1 2 3 4 7 5 6 "}
        metrics = scrape(port)
    applied = {labels["streamwatch_applied"] for labels, _ in samples(metrics, "streamwatch_repairs_total")}
    assert applied == {"false"}
    out_of_order = [
        (labels["streamwatch_outcome"], count)
        for labels, count in samples(metrics, "streamwatch_repairs_total")
        if labels["streamwatch_anomaly"] == "sequence_out_of_order"
    ]
    assert out_of_order == [("verified", 2)]
