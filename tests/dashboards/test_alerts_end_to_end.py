"""The alerts as they reach a person: the demo's application, Prometheus, Alertmanager and a webhook, all real.

The rules come out of the generator that writes the committed ones, with every duration divided by 60: an
evaluation a second instead of one a minute, and windows of 15 s instead of 15 min. Thresholds are the same.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from helpers.listening import Listener
from helpers.ports import free_port

for library in ("openai", "starlette", "uvicorn", "yaml"):
    pytest.importorskip(library, reason=f"{library} is not installed")

from dashboards import rules, waiting_rules
from dashboards.records import Options
from streamwatch.cli.dashboards import filling
from streamwatch.demo import processes

PROGRAMS = {name: shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(None in PROGRAMS.values(), reason="Prometheus and Alertmanager are not installed"),
    pytest.mark.skipif(
        not Path(sys.executable).with_name("opentelemetry-instrument").exists(), reason="the package is not installed"
    ),
]

FASTER = 60
INTERVAL = 60 / FASTER
#: Requests a second: some four of them are Responses streams of the one model that the test looks at.
RATE = 20.0
MODEL = "gpt-4.1"

PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{folder}/rules/*.yml"]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs: [{{job_name: demo, static_configs: [{{targets: ["localhost:{application}"]}}]}}]
"""
ALERTMANAGER = """
route: {{receiver: test, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: test, webhook_configs: [{{url: "http://127.0.0.1:{webhook}", send_resolved: true}}]}}]
"""


class Notified:
    """What Alertmanager told: alert names with what is wrong, as (status, name, model), and when."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, str, str], float] = {}
        self.annotations: dict[str, dict[str, str]] = {}
        notified = self

        class Webhook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    labels = alert["labels"]
                    key = alert["status"], labels["alertname"], labels.get("gen_ai_request_model", "")
                    notified.told.setdefault(key, time.monotonic())
                    notified.annotations[labels["alertname"]] = alert["annotations"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = Listener(("127.0.0.1", 0), Webhook)
        self.port = self.server.server_address[1]

    def names(self, status: str = "firing") -> set[str]:
        """The alerts that were told to have this status."""
        return {name for told, name, _ in self.told if told == status}

    def wait(self, status: str, name: str, model: str, seconds: float) -> float:
        """When it was told; fails if it is not told in time."""
        wait(lambda: (status, name, model) in self.told, seconds, f"{name} {status} for {model!r}; told: {self.told}")
        return self.told[status, name, model]


def wait(ready: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


class Site:
    """Everything that runs."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self.notified = Notified()
        threading.Thread(target=self.notified.server.serve_forever, daemon=True).start()
        ended.callback(self.notified.server.server_close)
        ended.callback(self.notified.server.shutdown)
        ports = {"application": free_port(), "prometheus": free_port(), "alertmanager": free_port()}
        rules.write(
            folder / "rules", rules.filled(Options(faster=FASTER), filling.Site(grafana="https://grafana.test"))
        )
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(folder=folder, **ports))
        (folder / "alertmanager.yml").write_text(ALERTMANAGER.format(webhook=self.notified.port))
        self.server = processes.Child(
            "server", [sys.executable, str(Path(__file__).parents[1] / "apps" / "spiking.py")]
        )
        ended.callback(self.server.end)
        wait(lambda: self.server.last_line, 60, "the server")
        self.url = self.server.last_line.removesuffix("/v1")
        environ = processes.app_environ(self.server.last_line, ports["application"])
        self.application = processes.Child("application", processes.app_command(RATE), environ)
        ended.callback(self.application.end)
        self.prometheus = f"http://127.0.0.1:{ports['prometheus']}"
        for program, own in (
            ("prometheus-alertmanager", [f"--storage.path={folder}/am", "--cluster.listen-address="]),
            ("prometheus", [f"--storage.tsdb.path={folder}/tsdb"]),
        ):
            name = program.removeprefix("prometheus-")
            command = [str(PROGRAMS[program]), f"--config.file={folder}/{name}.yml", "--log.level=warn", *own]
            child = processes.Child(program, [*command, f"--web.listen-address=127.0.0.1:{ports[name]}"])
            ended.callback(child.end)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers; nothing while it is not there."""
        url = f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            answer = json.loads(processes._fetch(url))
        except OSError:
            return []
        assert answer["status"] == "success"
        return list(answer["data"]["result"])

    def turn(self, to: str) -> float:
        """Begin or end the spike; the time at which it was done."""
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{to}", method="POST"), timeout=5).close()
        return time.monotonic()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("STREAMWATCH_REPAIR", raising=False)
    with ExitStack() as ended:
        yield Site(tmp_path, ended)


def test_a_spike_is_told_in_time_and_taken_back_and_so_is_an_application_that_is_gone(site: Site) -> None:
    """Nothing while all is well; the spike, for the models it hits; resolved after it; then the absent application."""
    history = f'model:streamwatch_streams:sum1d{{gen_ai_operation_name="responses",gen_ai_request_model="{MODEL}"}}'
    half_an_hour = f"{30 * 60 // FASTER}s"
    wait(lambda: site.query(f"{history} offset {half_an_hour} >= 100"), 240, "a baseline of 100 streams")
    assert set() == site.notified.names()
    assert [] == site.query("ALERTS")

    begun = site.turn("spike")
    fired = site.notified.wait("firing", "StreamwatchReorderSpike", MODEL, 60) - begun
    # Its window, its `for`, and two evaluations.
    assert fired < (15 + 5) * INTERVAL + 2 * INTERVAL
    assert {"StreamwatchReorderSpike"} == site.notified.names()
    told = site.notified.annotations["StreamwatchReorderSpike"]
    assert re.match(r".* at 127\.0\.0\.1 \(responses\): \d\.\d\d events out of order per stream", told["description"])
    assert told["dashboard_url"].startswith("https://grafana.test/d/streamwatch-overview?var-job=demo&var-server=127")

    ended = site.turn("calm")
    resolved = site.notified.wait("resolved", "StreamwatchReorderSpike", MODEL, 120) - ended
    print(f"fired after {fired:.1f} s, resolved after {resolved:.1f} s")
    assert {"StreamwatchReorderSpike"} == site.notified.names()
    assert [] == missing_records(site)

    site.application.end()
    site.notified.wait("firing", "StreamwatchAbsent", "", 60)
    assert {"StreamwatchReorderSpike", "StreamwatchAbsent"} == site.notified.names()


def missing_records(site: Site) -> list[str]:
    """The records that no real metric filled; errors of our own there must be none, and no process is new or old here.

    Nor does anything read below the parser.
    """
    groups = [group for groups in rules.files(Options()).values() for group in groups]
    names = {rule.name for group in groups for rule in group.rules if isinstance(rule, rules.Record)}  # type: ignore[attr-defined]
    errors = {f"{rules.records.ERRORS}:increase1m", f"{rules.records.ERRORS}:total"}  # type: ignore[attr-defined]
    of_some = {rules.records.AGE, rules.records.FOUND_LATE, rules.records.RETURNED}  # type: ignore[attr-defined]
    of_some |= {
        record
        for counter, (record, _) in rules.records.OF_PROCESSES.items()  # type: ignore[attr-defined]
        if counter != "streamwatch_streams"
    }
    of_some |= {waiting_rules.USUAL_BEGIN, waiting_rules.USUALLY_STALLED}  # they take six hours of history
    of_some |= {name for name in names if "streamwatch_stream_silence_seconds" in name}  # every stream is complete
    # The application has no WebSockets, and reads nothing on.
    others = ("streamwatch_closes", "streamwatch_reconnects", "streamwatch_added_requests")
    of_some |= {name for name in names if any(metric in name for metric in others)}
    return sorted(name for name in names - errors - of_some if not site.query(name))
