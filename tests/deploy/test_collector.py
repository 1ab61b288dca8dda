"""The configurations in deploy/ are valid, to the programs that read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from apps import pipeline
from dashboards.inhibitions import INHIBITIONS
from helpers.documents import document

DEPLOY = Path(__file__).parents[2] / "deploy"
COLLECTOR = DEPLOY / "collector"

#: What each configuration file is put on top of, as README.md says.
SETS = {
    "agent": ["common", "agent"],
    "agent in kubernetes": ["common", "agent", "kubernetes"],
    "agent with metrics to the gateway": ["common", "agent", "metrics-to-gateway"],
    "agent with everything": ["common", "agent", "kubernetes", "metrics-to-gateway"],
    "gateway": ["common", "gateway"],
    "gateway that is scraped": ["common", "gateway", "gateway-scraped"],
    "gateway with OTLP metrics": ["common", "gateway", "gateway-otlp-metrics"],
}
#: What has no default, because every site has its own.
REQUIRED = {"GATEWAY_ENDPOINT": "gateway.example:4317", "TRACES_ENDPOINT": "traces.example:4317"}


def files() -> list[Path]:
    """The collector's configurations."""
    return sorted(file for file in COLLECTOR.glob("*.yaml") if file.name != "builder.yaml")


def validated(names: list[str], folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What the collector says of some files together."""
    program = pipeline.collector()
    if program is None:
        pytest.skip("the collector is not built: deploy/collector/build.sh builds it")
    ours = {"QUEUE_DIRECTORY": str(folder), "KUBE_NODE_NAME": "node", **environ}
    command = [program, "validate", *(f"--config={COLLECTOR / name}.yaml" for name in names)]
    plain = {name: value for name, value in os.environ.items() if name not in REQUIRED}
    return subprocess.run(command, env={**plain, **ours}, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_the_collector_takes_the_configuration(names: list[str], tmp_path: Path) -> None:
    """Each set of files that README.md names is valid, and says nothing that the collector has to warn of."""
    said = validated(names, tmp_path, REQUIRED)

    assert (0, "") == (said.returncode, said.stderr)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("name", "variable"), [("agent", "GATEWAY_ENDPOINT"), ("gateway", "TRACES_ENDPOINT")])
def test_a_site_that_names_no_destination_is_told_so(name: str, variable: str, tmp_path: Path) -> None:
    """Traces that would go nowhere are an error at the start, not a queue that fills."""
    said = validated(["common", name], tmp_path, {})

    assert said.returncode != 0
    assert "endpoint" in said.stderr
    assert variable in (COLLECTOR / f"{name}.yaml").read_text()


def test_every_file_is_in_a_set_and_in_the_readme() -> None:
    """No file is left untested or unexplained."""
    readme = (COLLECTOR / "README.md").read_text()

    assert {file.stem for file in files()} == {name for names in SETS.values() for name in names}
    assert [] == [file.name for file in COLLECTOR.iterdir() if f"`{file.name}`" not in readme and file.suffix != ".md"]


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_ports_are_on_loopback_and_no_secret_is_in_a_file(file: Path) -> None:
    """Whoever starts a collector without a thought opens nothing to the network."""
    text = file.read_text()
    listening = re.findall(r"^ *(?:endpoint|host): \$\{env:\w+(?:_LISTEN|_HOST)(.*)\}$", text, re.MULTILINE)

    assert all(default.startswith(":-127.0.0.1") for default in listening)
    assert "0.0.0.0" not in text
    assert not re.search(r"(?i)(authorization|token|password|api[-_]key|secret)\w*:", text)


def test_the_manifest_builds_what_is_configured_and_nothing_else() -> None:
    """Every part of a pipeline is built in; a part that no configuration names is not."""
    manifest = document((COLLECTOR / "builder.yaml").read_text())
    built = {
        re.sub(r"(receiver|processor|exporter|extension)$", "", part["gomod"].split()[0].rsplit("/", 1)[1])
        for kind in ("receivers", "processors", "exporters", "extensions")
        for part in manifest[kind]
    }
    named = {
        name.split("/")[0].replace("_", "")
        for file in files()
        for kind in ("receivers", "processors", "exporters", "extensions")
        for name in document(file.read_text()).get(kind, {})
    }

    # A module's name is not its part's in two cases; `debug` is for the person who looks for a fault.
    renamed = {"otlpgrpc": "otlp", "prometheusremotewrite": "prometheusremotewrite", "filestorage": "filestorage"}
    assert built - {"debug"} == {renamed.get(name, name) for name in named}


def test_prometheus_takes_its_configuration_and_finds_the_rules() -> None:
    """promtool passes the file, and the three rule files are found where it says."""
    promtool = shutil.which("promtool") or pytest.skip("promtool is not installed")
    command = [promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert said.returncode == 0, said.stderr
    assert "SUCCESS: 3 rule files found" in said.stdout


def test_prometheus_scrapes_every_port_that_a_process_may_take() -> None:
    """The ports of the distro, and what the collector's configuration serves."""
    from streamwatch.otel import endpoint

    jobs = document((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    common = (COLLECTOR / "common.yaml").read_text()

    ports = range(endpoint.FIRST_PORT, endpoint.FIRST_PORT + endpoint.PORTS)
    assert [f"localhost:{port}" for port in ports] == targets["my-service"]
    (scraped,) = targets["streamwatch-collector-applications"]
    assert f"METRICS_LISTEN:-{scraped}" in common
    (own,) = targets["streamwatch-collector"]
    assert f"OWN_METRICS_PORT:-{own.rpartition(':')[2]}" in common


def test_alertmanager_takes_its_configuration() -> None:
    """amtool passes the file."""
    amtool = shutil.which("amtool") or pytest.skip("amtool is not installed")
    command = [amtool, "check-config", str(DEPLOY / "alertmanager" / "alertmanager.yml")]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert said.returncode == 0, said.stderr
    assert f"{len(INHIBITIONS)} inhibit rules" in said.stdout


def test_an_alert_of_each_severity_reaches_the_receiver() -> None:
    """The route takes every alert there is."""
    amtool = shutil.which("amtool") or pytest.skip("amtool is not installed")
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    rules = document((DEPLOY.parent / "dashboards" / "rules" / "streamwatch-alerts.yml").read_text())
    severities = {rule["labels"]["severity"] for group in rules["groups"] for rule in group["rules"]}

    assert {"critical", "warning", "info"} == severities
    for severity in severities:
        command = [amtool, "config", "routes", "test", f"--config.file={file}", f"severity={severity}"]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (0, "on-call\n") == (said.returncode, said.stdout)
