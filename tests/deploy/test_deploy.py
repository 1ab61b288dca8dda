"""What is in deploy/: fresh, pinned, closed to the network, valid, and proved with the programs it is for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from apps.otlp_sink import Sink
from helpers.documents import document, documents
from helpers.listening import Listener, serving
from helpers.ports import free_port
from helpers.programs import loaded
from helpers.tutorial import Server, samples, scrape, tutorial
from streamwatch.version import __version__

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("scrape", "collector")
COMPOSE = document((DEPLOY / "compose" / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]

needs_e2e = pytest.mark.skipif(not os.environ.get("STREAMWATCH_E2E"), reason="STREAMWATCH_E2E is not set")


def run(*command: Any, **options: Any) -> str:
    """What a command prints; what it complains of is the failure."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    return ran.stdout  # type: ignore[no-any-return]


# --- docker compose


def test_compose_mounts_what_exists_and_for_reading_only() -> None:
    """A path that is not there would be made an empty folder by Docker, without a word."""
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source, _, mode = mount.split(":")
            assert (DEPLOY / "compose" / source).exists(), f"{name} mounts {source}"
            assert "ro" == mode


def test_compose_images_have_a_version() -> None:
    """Each is built here or pinned; no `latest`, and no tag left out."""
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$", service["image"]), name


def test_compose_publishes_on_the_loopback_interface_only() -> None:
    """Nothing here has a password, so nobody else may reach it."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_compose_takes_rights_away() -> None:
    """No capability, no way to new ones."""
    for service in SERVICES.values():
        assert ["ALL"] == service["cap_drop"]
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert not service.get("privileged")


def test_compose_knows_when_everything_is_up() -> None:
    """The two images without a shell are asked from the container that holds their network."""
    asked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert {"collector", "tempo"} == set(SERVICES) - asked
    assert {"13133", "3200"} == set(re.findall(r":(\d+)/", SERVICES["machine"]["healthcheck"]["test"]))


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_no_secret_is_in_a_file(path: Path) -> None:
    """Nothing that is called a password, token or key has a value; it is read from a file or a Secret."""
    secret = r"(?im)^[^#\n]*\b\w*(?:password|passwd|token|api[_-]?key|secret)\w*['\"]?\s*[:=]\s*['\"]?[^\s{\"'$][^\n]*$"
    assert [] == re.findall(secret, path.read_text("utf-8"))


def test_docker_finds_nothing_to_complain_of() -> None:
    """`docker compose config`, where there is the plugin."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    run(docker, "compose", "-f", DEPLOY / "compose" / "compose.yaml", "config", "--quiet")


def test_grafana_finds_the_traces_that_exemplars_name() -> None:
    """The data source has the address that Tempo listens on, and the exemplars its uid."""
    provisioning = ROOT / "dashboards" / "provisioning" / "datasources" / "streamwatch.yaml"
    sources = {one["type"]: one for one in document(provisioning.read_text("utf-8"))["datasources"]}
    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {"name": "trace_id", "datasourceUid": sources["tempo"]["uid"]} == destination
    tempo = document((DEPLOY / "compose" / "tempo.yaml").read_text("utf-8"))
    assert sources["tempo"]["url"].endswith(f":{tempo['server']['http_listen_port']}")
    listens = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert listens.rpartition(":")[2] == SERVICES["collector"]["environment"]["TRACES_ENDPOINT"].rpartition(":")[2]


# --- Kubernetes


def generator() -> Any:
    return loaded(KUBERNETES / "generate.py", "generate")


def test_generated_resources_are_fresh() -> None:
    """`python deploy/kubernetes/generate.py` would write what is there, and no file is left over."""
    generate = generator()
    written = {path: path.read_text("utf-8") for path in generate.generated()}
    assert generate.generated() == written, "python deploy/kubernetes/generate.py"
    rules = {path for path in generate.generated() if path.parent.name == "rules"}
    assert rules == set((KUBERNETES / "base" / "rules").iterdir())


def test_wrapped_rules_are_the_rules() -> None:
    """The spec of a PrometheusRule is what Prometheus reads from the file."""
    for source in (ROOT / "dashboards" / "rules").glob("*.yml"):
        resource = document((KUBERNETES / "base" / "rules" / source.name).read_text("utf-8"))
        assert document(source.read_text("utf-8")) == resource["spec"]


def test_every_file_is_named_in_its_kustomization() -> None:
    """What lies there and is not named would silently not be applied."""
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        said = document(kustomization.read_text("utf-8"))
        named = {*said.get("resources", ()), *(patch["path"] for patch in said.get("patches", ()) if "path" in patch)}
        there = {
            path.relative_to(kustomization.parent).as_posix()
            for path in kustomization.parent.rglob("*.y*ml")
            if path != kustomization
        }
        assert there == {name for name in named if not name.startswith("..")}


def test_every_dashboard_is_a_config_map_that_grafana_takes() -> None:
    """None is forgotten, none is larger than a ConfigMap may be, and each has the sidecar's label."""
    said = document((ROOT / "dashboards" / "kustomization.yaml").read_text("utf-8"))
    assert {"grafana_dashboard": "1"} == said["generatorOptions"]["labels"]
    listed = [name for one in said["configMapGenerator"] for name in one["files"]]
    assert {f"json/{path.name}" for path in (ROOT / "dashboards" / "json").glob("*.json")} == set(listed)
    assert all(len(one["files"]) == 1 for one in said["configMapGenerator"])
    assert all((ROOT / "dashboards" / name).stat().st_size < 1 << 20 for name in listed)


def kustomized(folder: str | Path) -> list[dict[str, Any]]:
    """What would be applied."""
    kustomize, kubectl = shutil.which("kustomize"), shutil.which("kubectl")
    if not kustomize and not kubectl:
        pytest.skip("neither kustomize nor kubectl is installed")
    command = [kustomize, "build"] if kustomize else [kubectl, "kustomize"]
    return documents(run(*command, KUBERNETES / folder))


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_builds(overlay: str) -> None:
    """Everything is in one namespace, and the kinds that a team needs are all there."""
    resources = kustomized(overlay)
    assert {"streamwatch"} == {one["metadata"]["namespace"] for one in resources if one["kind"] != "Namespace"}
    kinds = {one["kind"] for one in resources}
    assert {"Instrumentation", "PodMonitor", "PrometheusRule", "ConfigMap"} <= kinds
    if overlay == "collector":
        (collector,) = (one for one in resources if one["kind"] == "OpenTelemetryCollector")
        assert {"env", "config", "image"} <= set(collector["spec"])
        assert {"metrics", "traces"} == set(collector["spec"]["config"]["service"]["pipelines"])


def test_the_example_builds() -> None:
    """A deployment with the annotation, and the policy that closes its metrics ports."""
    assert {"Deployment", "NetworkPolicy"} == {one["kind"] for one in kustomized("example")}


def test_the_collector_listens_beyond_its_pod_on_what_is_declared() -> None:
    """Every address that has a variable is opened by it, or nothing outside would reach the collector."""
    config = (KUBERNETES / "collector" / "config.yaml").read_text("utf-8")
    collector = document((KUBERNETES / "collector" / "collector.yaml").read_text("utf-8"))
    opened = {one["name"] for one in collector["spec"]["env"] if one["value"].startswith("0.0.0.0")}
    assert set(re.findall(r"\$\{env:(\w+(?:_LISTEN|_HOST))\b", config)) == opened
    without_default = set(re.findall(r"\$\{env:(\w+)\}", config))
    assert without_default <= {one["name"] for one in collector["spec"]["env"]}


def kustomization_of_the_readme() -> str:
    """The kustomization that README.md prints, with the files of this checkout instead of an address."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    (block,) = (one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "# kustomization.yaml" in one)
    plain = "\n".join(line[3:] for line in block.splitlines())
    return re.sub(r"https://\S+?/deploy/kubernetes/(\S+)\?ref=\S+", r"../deploy/kubernetes/\1", plain)


def test_the_printed_order_pulls_no_image_that_nobody_pushed() -> None:
    """The image is pushed, then named, then applied, then asked for by an annotation."""
    text = (DEPLOY / "README.md").read_text("utf-8").partition("## Kubernetes")[2]
    steps = ["docker build", "docker push", "path: /spec/python/image", "$ kubectl apply", "$ kubectl patch"]
    assert sorted(steps, key=text.index) == steps
    assert all(text.count(step) == 1 for step in steps)


@pytest.mark.slow
def test_the_kustomization_of_the_readme_builds(tmp_path: Path) -> None:
    """With both components: the image of one's own, and a policy that lets traces out and names be asked for anywhere."""
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "deploy" / "kubernetes")
    shutil.copytree(ROOT / "dashboards", tmp_path / "dashboards", ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(kustomization_of_the_readme(), "utf-8")
    resources = kustomized(tmp_path / "own")
    (watching,) = (one for one in resources if one["kind"] == "Instrumentation")
    assert watching["spec"]["python"]["image"] == (
        f"registry.internal/team/streamwatch-autoinstrumentation:{__version__}"
    )
    (policy,) = (one for one in resources if one["kind"] == "NetworkPolicy")
    blocks = {
        to["ipBlock"]["cidr"] for rule in policy["spec"]["egress"] for to in rule.get("to", ()) if "ipBlock" in to
    }
    assert {"0.0.0.0/0", "::/0"} == blocks
    anywhere = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
    assert [{53, 5353}] == [{port["port"] for port in ports} for ports in anywhere]


@pytest.mark.slow
def test_the_operator_reads_the_collector() -> None:
    """By its own types, of its Go module: the port of the collector's own metrics is a number, and all are opened."""
    tools = Path(os.environ.get("STREAMWATCH_TOOLS", Path.home() / ".cache" / "streamwatch"))
    programs = sorted(tools.glob("operator-*/operator"))
    if not programs:
        pytest.skip("tests/apps/operator/build.sh was not run")
    (collector,) = (one for one in kustomized("collector") if one["kind"] == "OpenTelemetryCollector")
    said = json.loads(run(programs[-1], input=json.dumps(collector)))
    assert 8888 == said["metrics"]
    assert {4317, 4318, 8889, 13133} == set(said["ports"].values())
    (reader,) = collector["spec"]["config"]["service"]["telemetry"]["metrics"]["readers"]
    reader["pull"]["exporter"]["prometheus"]["port"] = "${env:OWN_METRICS_PORT:-8888}"
    refused = subprocess.run([programs[-1]], input=json.dumps(collector), capture_output=True, text=True, check=False)
    assert (1, "service.telemetry cannot be read\n") == (refused.returncode, refused.stderr)


def test_images_are_built_from_pinned_ones() -> None:
    """Each base image by digest or by version."""
    for dockerfile in DEPLOY.rglob("Dockerfile"):
        text = dockerfile.read_text("utf-8")
        stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
        variables = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
        for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
            image = variables.get(image.strip("${}"), image)
            assert image in stages or re.search(r"@sha256:[0-9a-f]{64}$|:\d[\w.]+$", image), image


def locked() -> dict[str, tuple[str, int]]:
    """The distributions of the image: their version, and how many hashes each has."""
    text = (KUBERNETES / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    rows = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {
        row.partition("==")[0]: (re.split(r"[ ;]", row.partition("==")[2])[0], row.count("--hash=")) for row in rows
    }


COMMAND_LINE = {"click", "rich"}


def test_the_image_has_what_streamwatch_requires() -> None:
    """Every dependency in a version that is asked for, all by hash; what the command line is made of stays out."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brought it")
    required = [
        Requirement(text)
        for text in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    ]
    have = locked()
    assert {one.name for one in required} - set(have) == COMMAND_LINE
    for one in required:
        if one.name in have:
            assert SpecifierSet(str(one.specifier), prereleases=True).contains(have[one.name][0]), one
    assert all(hashes for _, hashes in have.values())


@pytest.mark.slow
def test_nothing_at_run_time_imports_what_the_command_line_is_made_of() -> None:
    """The image has none of it."""
    watching = "import streamwatch, streamwatch.otel.distro, streamwatch.otel.prometheus_reader, streamwatch.sdk.instrumentor, sys"
    assert "[]\n" == run(
        sys.executable, "-c", f"{watching}; print([one for one in {COMMAND_LINE} if one in sys.modules])", cwd=ROOT
    )


# --- what the operator does, done by hand


def variables(overlay: str) -> dict[str, str]:
    """The environment of a watched container: what the Instrumentation says, then what the operator adds itself."""
    resource = document((KUBERNETES / "base" / "instrumentation.yaml").read_text("utf-8"))
    env = list(resource["spec"]["python"]["env"])
    said = document((KUBERNETES / overlay / "kustomization.yaml").read_text("utf-8"))
    for patch in (one["patch"] for one in said["patches"] if "patch" in one):
        env += [step["value"] for step in document(patch) if step["path"] == "/spec/python/env/-"]
    operator = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "otlp")
    operator["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    operator["OTEL_RESOURCE_ATTRIBUTES"] = "k8s.pod.name=chat-0,service.instance.id=chat.chat-0.chat"
    return {**operator, **{one["name"]: one["value"] for one in env}}


def pythons() -> list[Any]:
    """Every supported Python of this machine, one of each minor version; this one, where the slow tests do not run."""
    if not os.environ.get("STREAMWATCH_E2E"):
        return [pytest.param(Path(sys.executable), id="this")]
    found = [Path(sys.executable)]
    found += sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    found += [Path(path) for minor in range(10, 15) if (path := shutil.which(f"python3.{minor}"))]
    versions: dict[tuple[int, ...], Path] = {}
    for python in found:
        show = "import sys; print(*sys.version_info[:2])"
        said = subprocess.run([python, "-c", show], capture_output=True, text=True, check=False).stdout
        version = tuple(map(int, said.split()))
        if version >= (3, 10):
            versions.setdefault(version, python)
    return [pytest.param(versions[version], id=".".join(map(str, version))) for version in sorted(versions)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image holds, made by its Dockerfile's own commands."""
    home = tmp_path_factory.mktemp("image")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", home / "wheel", ROOT)
    (wheel,) = (home / "wheel").iterdir()
    into = ["install", "--no-compile", "--target", home / "autoinstrumentation"]
    run(*pip, *into, "--require-hashes", "-r", KUBERNETES / "requirements.txt")
    run(*pip, *into, "--no-deps", wheel)
    return home / "autoinstrumentation"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """A model server with the streams of the two known issues."""
    with serving(Listener(("127.0.0.1", 0), Server)) as address:
        yield f"http://{address}/v1"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An environment with openai, and without a word of Streamwatch, for a Python."""
    made: dict[Path, Path] = {}

    def make(python: Path) -> Path:
        if python not in made:
            home = tmp_path_factory.mktemp("application")
            run(python, "-m", "venv", home)
            run(home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "openai")
            made[python] = home / "bin" / "python"
        return made[python]

    return make


def injected(tree: Path) -> str:
    """The PYTHONPATH that the operator sets."""
    return f"{tree}/opentelemetry/instrumentation/auto_instrumentation:{tree}"


REPAIRED = {"tools": ["", '{"city":"Paris"}'], "text": "1 2 3 4 5 6 7 "}


@pytest.mark.e2e
@needs_e2e
@pytest.mark.parametrize("python", pythons())
def test_the_image_repairs_streams_on_every_python(python: Path, tree: Path, application: Any, base_url: str) -> None:
    """One tree for all; the application is repaired, and its metrics are where the PodMonitor asks."""
    port = free_port()
    environ = {**variables("scrape"), "OTEL_EXPORTER_PROMETHEUS_PORT": str(port), "PYTHONPATH": injected(tree)}
    with tutorial(application(python), base_url, **environ) as (said, _):
        metrics = scrape(port)
    assert REPAIRED == said
    repairs = {labels["streamwatch_anomaly"]: value for labels, value in samples(metrics, "streamwatch_repairs_total")}
    assert repairs["sequence_out_of_order"] == 2
    assert repairs["content_absent"] >= 3


@pytest.mark.e2e
@needs_e2e
def test_processes_of_one_pod_reach_the_collector_as_two(tree: Path, application: Any, base_url: str) -> None:
    """The operator gives both one service.instance.id; their counters would overwrite each other."""
    python = application(Path(sys.executable))
    with Sink() as sink:
        environ = {**variables("collector"), "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, "PYTHONPATH": injected(tree)}
        with tutorial(python, base_url, **environ) as (one, _), tutorial(python, base_url, **environ) as (other, _):
            pass
        streams = sink.counts("streamwatch.streams")
        spans = sink.spans()
    assert REPAIRED == one == other
    assert [2, 2] == list(streams.values())
    assert "chat.chat-0.chat" not in streams
    assert 4 == len([span for span in spans if span.name == "stream chat gpt-4o"])


# --- the PodMonitor, in a real Prometheus


POD = {
    "__meta_kubernetes_pod_annotation_instrumentation_opentelemetry_io_inject_python": "streamwatch/streamwatch",
    "__meta_kubernetes_pod_container_name": "chat",
    "__meta_kubernetes_pod_name": "chat-0",
}


def relabelings() -> list[dict[str, Any]]:
    """Those of the PodMonitor as Prometheus has them, behind the container label that its operator puts first."""
    monitor = document((KUBERNETES / "scrape" / "podmonitor.yaml").read_text("utf-8"))
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    container = {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"}
    return [container, *({names.get(key, key): value for key, value in one.items()} for one in endpoint["relabelings"])]


@contextlib.contextmanager
def prometheus(folder: Path, targets: list[dict[str, Any]]) -> Iterator[str]:
    """A Prometheus that discovers these targets; its address."""
    (folder / "targets.json").write_text(json.dumps(targets), "utf-8")
    job = {"job_name": "pods", "file_sd_configs": [{"files": ["targets.json"]}], "relabel_configs": relabelings()}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}), "utf-8")  # which is YAML
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.e2e
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_annotated_pods_are_scraped_once_and_others_never(tmp_path: Path) -> None:
    """Whatever ports and containers a pod has, by IPv4 and IPv6; no annotation of another Instrumentation counts."""
    other = dict.fromkeys([key for key in POD if "annotation" in key], "elsewhere/notstreamwatch")
    pods = [
        ("10.0.0.1:8000", {"__meta_kubernetes_pod_ip": "10.0.0.1"}),
        ("10.0.0.1:8001", {"__meta_kubernetes_pod_ip": "10.0.0.1"}),
        ("10.0.0.1", {"__meta_kubernetes_pod_ip": "10.0.0.1", "__meta_kubernetes_pod_container_name": "sidecar"}),
        ("[fd00::2]:8000", {"__meta_kubernetes_pod_ip": "fd00::2"}),
        ("10.0.0.3:9464", {"__meta_kubernetes_pod_ip": "10.0.0.3", **other}),
    ]
    targets = [{"targets": [address], "labels": {**POD, **labels}} for address, labels in pods]
    with prometheus(tmp_path, targets) as url:
        urls: list[str] = []
        for _ in range(100):
            if urls:
                break
            time.sleep(0.2)
            with contextlib.suppress(OSError):
                answer = json.load(urllib.request.urlopen(f"{url}/api/v1/targets?state=active", timeout=5))
                urls = sorted(one["scrapeUrl"] for one in answer["data"]["activeTargets"])
    assert ["http://10.0.0.1:9464/metrics", "http://[fd00::2]:9464/metrics"] == urls
