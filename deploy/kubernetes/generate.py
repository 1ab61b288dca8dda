# ruff: noqa: INP001 -- a program that stands alone
"""The parts for Kubernetes that wrap others: the Prometheus rules, and the collector's configuration.

python deploy/kubernetes/generate.py    writes base/rules/ and collector/config.yaml
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RULES = ROOT / "dashboards" / "rules"
COLLECTOR = ROOT / "deploy" / "collector"

#: The collector's files, each on top of the one before, as its own `--config` options would have them.
LAYERS = ("common.yaml", "gateway.yaml", "gateway-scraped.yaml")

NOTE = "# Written by `python deploy/kubernetes/generate.py`; do not edit.\n"


def rule(source: Path) -> str:
    """Return a PrometheusRule: its spec is the text of a rule file, which Prometheus itself reads elsewhere."""
    head = f"apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {source.stem}\nspec:\n"
    return NOTE + head + textwrap.indent(source.read_text("utf-8"), "  ")


def merged(below: Any, above: Any) -> Any:
    """Return what the collector makes of two configurations: maps are joined, everything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def opened(config: Any) -> Any:
    """Return a configuration whose own metrics have a number for a port: the operator parses it without variables."""
    for reader in config["service"]["telemetry"]["metrics"]["readers"]:
        exporter = reader["pull"]["exporter"]["prometheus"]
        exporter["port"] = int(re.sub(r"\$\{env:\w+:-(\d+)\}", r"\1", str(exporter["port"])))
    return config


def collector(layers: list[Path]) -> str:
    """Return the part of an OpenTelemetryCollector that is its configuration; kustomize joins it with the rest."""
    config: Any = {}
    for layer in layers:
        config = merged(config, yaml.safe_load(layer.read_text("utf-8")))
    resource = {
        "apiVersion": "opentelemetry.io/v1beta1",
        "kind": "OpenTelemetryCollector",
        "metadata": {"name": "streamwatch"},
        "spec": {"config": opened(config)},
    }
    return NOTE + yaml.safe_dump(resource, sort_keys=False, width=120)


def generated() -> dict[Path, str]:
    """Return every generated file and its text."""
    files = {HERE / "base" / "rules" / source.name: rule(source) for source in sorted(RULES.glob("*.yml"))}
    files[HERE / "collector" / "config.yaml"] = collector([COLLECTOR / name for name in LAYERS])
    return files


def main() -> None:
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
