"""Streamwatch in environments of its own: alone, and with `opentelemetry-distro` installed before and after it.

Which of several distros OpenTelemetry takes by itself depends on the order in which the file system lists them, so
real installations are tried in both orders. They need a package index and a minute: STREAMWATCH_E2E=1 runs them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.environ.get("STREAMWATCH_E2E"), reason="STREAMWATCH_E2E is not set"),
]

STREAMWATCH = str(Path(__file__).parents[2])
STOCK = "opentelemetry-distro"

APP = """
import os, urllib.request
from opentelemetry import metrics
metrics.get_meter("app").create_counter("hits").add(3)
try:
    text = urllib.request.urlopen("http://localhost:" + os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"], timeout=10).read()
except OSError:
    text = b""
print([float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith("hits_total")])
"""


@pytest.fixture(
    params=[(STREAMWATCH,), (STREAMWATCH, STOCK), (STOCK, STREAMWATCH)],
    ids=["alone", "before", "after"],
    scope="module",
)
def binaries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of an environment into which packages were installed one after the other."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    for package in request.param:
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "-q", package], check=True)
    return home / "bin"


def instrumented(binaries: Path, **environ: str) -> tuple[str, str]:
    """What the application prints, and what is on stderr, under the real `opentelemetry-instrument`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    with socket.create_server(("localhost", 0)) as free:
        clean["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(free.getsockname()[1])
    ran = subprocess.run(
        [binaries / "opentelemetry-instrument", binaries / "python", "-c", APP],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout, ran.stderr


def test_nothing_configured_means_an_endpoint(binaries: Path) -> None:
    """In whatever order what else was installed; OpenTelemetry itself may name the configurator it did not take."""
    printed, said = instrumented(binaries)

    assert "[3.0]\n" == printed
    assert [] == [line for line in said.splitlines() if not line.startswith("Configuration of configurator not loaded")]


def test_a_distro_that_the_user_names_is_the_only_one(binaries: Path) -> None:
    """We serve nothing then, and say nothing."""
    printed, said = instrumented(
        binaries,
        OTEL_PYTHON_DISTRO="distro",
        OTEL_METRICS_EXPORTER="none",
        OTEL_TRACES_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )

    assert "[]\n" == printed
    assert "streamwatch:" not in said
