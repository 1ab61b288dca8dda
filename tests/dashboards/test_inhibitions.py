"""One cause makes one call: asked of a real Alertmanager, with the configuration that is deployed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from dashboards import alerts, inhibitions
from dashboards.records import MODEL, Options
from helpers.documents import document
from helpers.ports import free_port
from streamwatch.cli.dashboards import filling

ALERTS = {alert.name: alert for alert in alerts.alerts(Options())}
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def test_the_configuration_is_fresh() -> None:
    """`python -m dashboards.rules` would write what is there, in the package as well."""
    assert inhibitions.configuration() == inhibitions.FILE.read_text("utf-8"), "make dashboards"
    assert inhibitions.rendered() == (filling.TEMPLATES / "inhibit_rules.yaml").read_text("utf-8"), "make dashboards"


@pytest.mark.parametrize("one", inhibitions.INHIBITIONS, ids=lambda one: one.target)
def test_an_inhibition_is_of_alerts_that_are_there_and_have_its_labels(one: inhibitions.Inhibition) -> None:
    """Alertmanager takes two labels that are missing for equal."""
    for name in (*one.sources, one.target):
        assert {*one.labels} <= {*ALERTS[name].labels}


def test_other_labels_reach_the_rules() -> None:
    """A cause in one namespace keeps nothing quiet in another."""
    text = filling.files(filling.Site(("namespace", "service")))["alertmanager/inhibit_rules.yaml"]
    assert all(rule["equal"][:2] == ["namespace", "service"] for rule in document(text)["inhibit_rules"])


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that runs, and its address."""
    if ALERTMANAGER is None:
        pytest.skip("Alertmanager is not installed")
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    command = [ALERTMANAGER, f"--config.file={inhibitions.FILE}", f"--storage.path={folder}"]
    where = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    with subprocess.Popen([*command, *where], stderr=subprocess.DEVNULL) as program:
        try:
            yield f"http://127.0.0.1:{port}/api/v2/alerts"
        finally:
            program.terminate()


def asked(url: str, body: Any = None) -> Any:
    """What Alertmanager answers, as soon as it is there."""
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(100):
        with suppress(OSError):
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
            with opener.open(request, timeout=5) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        time.sleep(0.1)
    raise AssertionError("Alertmanager does not answer")


def labels(name: str, severity: str, job: str, model: str = "gpt-4o", **more: str) -> dict[str, str]:
    """Those of an alert that fires."""
    of_model = {"server_address": "api", "gen_ai_operation_name": "chat", "gen_ai_request_model": model}
    has = {label: value for label, value in of_model.items() if label in ALERTS[name].labels}
    return {"alertname": name, "severity": severity, "job": job, **has, **more}


def key(found: dict[str, str]) -> tuple[str, str, str]:
    """What tells the alerts of a test apart."""
    return found["alertname"], found["severity"], found.get(MODEL[2], "")


BURN, CUT, FAULTS, TOOLS, FIX, NEW = (
    *("StreamwatchErrorBudgetBurn", "StreamwatchTruncatedStreams", "StreamwatchUnrepairedFaults"),
    *("StreamwatchToolCallsBroken", "StreamwatchFixRateBelowPublished", "StreamwatchNewAnomalyKind"),
)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("fires", "told"),
    [
        ([(BURN, "critical"), (BURN, "warning")], [(BURN, "critical")]),
        ([(CUT, "critical"), (BURN, "critical"), (BURN, "warning"), (NEW, "info")], [(CUT, "critical")]),
        ([(FAULTS, "warning"), (TOOLS, "warning"), (BURN, "warning"), (NEW, "info")], [(TOOLS, "warning")]),
        ([(FAULTS, "warning"), (BURN, "critical")], [(BURN, "critical"), (FAULTS, "warning")]),
        ([(NEW, "info"), (BURN, "warning")], [(BURN, "warning"), (NEW, "info")]),
    ],
)
def test_one_cause_makes_one_call(
    alertmanager: str, fires: list[tuple[str, str]], told: list[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    """What is not kept quiet is what says most; another service, or another model, is told all the same."""
    job = request.node.name
    posted = [labels(name, severity, job) for name, severity in fires]
    elsewhere = labels(FIX, "warning", job, "another-model", streamwatch_issue="tool_calls")
    asked(alertmanager, [{"labels": one} for one in (*posted, elsewhere)])
    found: dict[tuple[str, str, str], str] = {}
    for _ in range(50):
        time.sleep(0.2)
        mine = [one for one in asked(alertmanager) if one["labels"]["job"] == job]
        found = {
            (one["labels"]["alertname"], one["labels"]["severity"], one["labels"].get(MODEL[2], "")): one["status"][
                "state"
            ]
            for one in mine
        }
        if len(found) == len(posted) + 1 and "unprocessed" not in found.values():
            break
    active = {(name, severity) for (name, severity, model), state in found.items() if state == "active" and name != FIX}
    assert {*told} == active
    assert found[FIX, "warning", "another-model"] == "active"
