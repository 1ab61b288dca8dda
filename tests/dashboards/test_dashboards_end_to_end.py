"""Every query of every dashboard, asked of a real Prometheus that scrapes real applications."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

for library in ("openai", "starlette", "uvicorn", "grafana_foundation_sdk"):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed", allow_module_level=True)

from prometheus_client.parser import text_string_to_metric_families

from apps import pipeline
from dashboards import names
from dashboards.preview.live import MAY_BE_EMPTY, TELLS_ITS_VERSION, Application, Collector, Live, filled_in
from streamwatch.export.instruments import ADDED, BUILD, CLOSES, LONGEST_SILENCE, RECONNECTS

with warnings.catch_warnings():  # the SDK prefers the schema that only Grafana 12 and later import
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards.__main__ import FOLDER

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not on PATH"),
]

#: Seconds of traffic: every fault of the demo comes at least once in a hundred requests, at 24 a second in all.
_TRAFFIC = 45
_RANGE, _BEFORE = 40, "20s"
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}


#: How metrics come: scraped, or by OTLP through the collector, to each Prometheus that is here.
WAYS = [(major, way) for major in pipeline.prometheus_programs() for way in ("scraped", "otlp")]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """An application whose streams are repaired, one that is only watched, and Prometheus."""
    major, way = request.param
    with ExitStack() as running:
        found = Live(
            [Application("repaired", rate=16), Application("watched", host="localhost", repair="none", rate=8)],
            running,
            program=pipeline.prometheus_programs()[major],
            collector=_collector(running, tmp_path_factory.mktemp("collector")) if way == "otlp" else None,
        )
        deadline = time.monotonic() + _TRAFFIC
        while time.monotonic() < deadline:
            found.check()
            time.sleep(0.5)
        yield found


def _collector(running: ExitStack, folder: Path) -> Collector:
    """A collector that is scraped, with the configuration of deploy/."""
    if pipeline.collector() is None:
        pytest.skip("the collector is not built: deploy/collector/build.sh builds it")
    agent = pipeline.Collector(
        folder, "agent", ["common", "agent"], {"GATEWAY_ENDPOINT": "127.0.0.1:9", "GATEWAY_INSECURE": "true"}
    )
    running.callback(agent.end)
    agent.start()
    return Collector(agent.ports["http"], agent.ports["metrics"])


def targets(board: dict[str, Any]) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
    """Each query of a dashboard, with where it stands."""
    for panel in board["panels"]:
        for target in panel.get("targets") or ():
            yield (board["uid"], panel["title"], target["refId"]), target


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_has_data(live: Live, name: str) -> None:
    """A number at least once, or a reason why there may be none."""
    empty = set()
    for where, target in targets(BOARDS[name]):
        expression = filled_in(target["expr"], _RANGE, _BEFORE)
        found = live.ask(expression, 0 if target.get("instant") else _RANGE)
        values = [value for one in found for _, value in one.get("values", [one.get("value")])]
        if not any(value != "NaN" for value in values):
            empty.add(where)

    assert set() == empty - MAY_BE_EMPTY.keys()


@pytest.mark.parametrize("name", BOARDS)
def test_every_annotation_can_be_asked_for(live: Live, name: str) -> None:
    """What is new at the beginning of the run is marked; alerts need rules, and none are loaded."""
    found = {
        annotation["name"]: live.ask(filled_in(annotation["expr"], _RANGE, _BEFORE), 90)
        for annotation in BOARDS[name]["annotations"]["list"]
    }

    assert [] == found.pop("Alerts firing")
    if not TELLS_ITS_VERSION:
        found.pop("New Streamwatch version")
    assert [] == [annotation for annotation, series in found.items() if not series]


def test_empty_panels_are_still_panels() -> None:
    """What is excused above exists."""
    assert MAY_BE_EMPTY.keys() <= {where for board in BOARDS.values() for where, _ in targets(board)}


def test_the_variables_have_values(live: Live) -> None:
    """Each label that a variable offers is on the metric it is asked of."""
    for variable in BOARDS["streamwatch-overview"]["templating"]["list"][1:]:
        metric = "streamwatch_anomalies_total" if variable["name"] == "kind" else "streamwatch_streams_total"
        assert variable["definition"].startswith(f"label_values({metric}")
        label = names.VARIABLES[variable["name"]]
        assert live.ask(f'count({metric}{{{label}!=""}})')


def test_metrics_have_the_names_and_labels_that_the_table_gives_them(live: Live) -> None:
    """Nothing more and nothing less, in what an application really serves."""
    known = names.known()
    (target, *_) = live.ask('up{job=~"repaired|collector"}')
    if target["metric"]["job"] == "collector":
        pytest.skip("tests/deploy/test_collector_end_to_end.py looks at what a collector serves")
    with urllib.request.urlopen(f"http://{target['metric']['instance']}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    seen: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            labels = {name for name in sample.labels if not name.startswith("otel_scope_")}
            seen.setdefault(sample.name, set()).update(labels)

    ours = {name: labels for name, labels in seen.items() if name.startswith("streamwatch_")}
    assert set() == {name for name in ours if not name.endswith("_created")} - known.keys()
    assert {} == {
        name: labels ^ (known[name] - {"job", "instance"})
        for name, labels in ours.items()
        if name in known and labels != known[name] - {"job", "instance"}
    }
    never = {"streamwatch_internal_errors_total", "streamwatch_unobserved_streams_total"}
    never |= {names.metric(CLOSES), names.metric(RECONNECTS)}  # nothing comes over a WebSocket here
    never |= {names.metric(ADDED)}  # and nothing is read on
    never |= {names.metric(LONGEST_SILENCE)}  # nothing is silent for so long here
    never |= set() if TELLS_ITS_VERSION else {names.metric(BUILD)}
    assert {name for name in known if name.startswith("streamwatch_")} - ours.keys() <= never


def test_a_share_over_the_range_is_what_was_counted(live: Live) -> None:
    """The first panel's arithmetic, against the counters themselves: every series was born in the run."""
    board = BOARDS["streamwatch-overview"]
    (broken,) = [panel for panel in board["panels"] if panel["title"] == "Broken"]
    expression = filled_in(broken["targets"][0]["expr"], 600, _BEFORE)
    count = "sum(streamwatch_streams_total{})"
    counted = live.ask(count.format('{streamwatch_condition="broken"}') + " / " + count.format(""))
    asked = live.ask(expression)

    assert float(counted[0]["value"][1]) == pytest.approx(float(asked[0]["value"][1]), abs=0.02)
    assert 0.2 < float(asked[0]["value"][1]) < 0.6
