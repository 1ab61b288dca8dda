"""CPU time of starting a process: bare `opentelemetry-instrument`, opentelemetry-distro with Prometheus, Streamwatch.

python benchmarks/startup.py [--rounds 9] [--environments DIR]

Each has an environment of its own, with the newest releases, made on first use. All take turns in a new order each
round; a difference is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "bare": ("opentelemetry-instrumentation",),
    "opentelemetry-distro": ("opentelemetry-distro", "opentelemetry-exporter-prometheus"),
    "Streamwatch": ("--editable", str(ROOT)),
}
#: What opentelemetry-distro needs for a Prometheus endpoint and nothing else; Streamwatch needs nothing.
VARIABLES = {
    "OTEL_METRICS_EXPORTER": "prometheus",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
}
PROGRAMS = {
    "a program that never imports openai": "pass",
    "one that imports openai": "import openai",
    "one that makes a client": "import openai; openai.OpenAI(api_key='none')",
}


def made(folder: Path, arm: str) -> Path:
    """Return the commands of an environment."""
    commands = folder / arm.replace(" ", "-") / ("Scripts" if os.name == "nt" else "bin")
    if not (commands / "opentelemetry-instrument").exists():
        venv.create(commands.parent, with_pip=True)
        install: list[str | Path] = [commands / "python", "-m", "pip", "install", "--quiet", *PACKAGES[arm], "openai"]
        subprocess.run(install, check=True)
    return commands


def cpu_seconds(commands: Path, program: str, variables: dict[str, str]) -> float:
    """Return the CPU time of a process from its start to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    command: list[str | Path] = [commands / "opentelemetry-instrument", commands / "python", "-c", program]
    process = subprocess.Popen(
        command, env={**clean, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    usage = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "streamwatch-startup")
    arguments = parser.parse_args()
    environments = {arm: made(arguments.environments, arm) for arm in PACKAGES}
    for title, program in PROGRAMS.items():
        samples: dict[str, list[float]] = {arm: [] for arm in PACKAGES}
        for _ in range(arguments.rounds + 1):
            for arm in random.sample(list(PACKAGES), len(PACKAGES)):
                variables = VARIABLES if arm == "opentelemetry-distro" else {}
                samples[arm].append(1000 * cpu_seconds(environments[arm], program, variables))
        print(title)
        for arm, times in samples.items():
            more = [one - bare for one, bare in zip(times[1:], samples["bare"][1:], strict=True)]
            print(f"  {arm:22} {min(times[1:]):6.0f} ms at the least, {statistics.median(more):+5.0f} ms beside bare")


if __name__ == "__main__":
    main()
