"""The alert on streams that hang, as a real Prometheus sees it: while they hang, with the server's name, and no longer.

The rules come out of the generator that writes the committed ones, with every duration divided by 60. The threshold
of a silence is 2 s, and a scrape is made every second.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from helpers.ports import free_port
from servers.scripted import Scripted, Step, answer, until

for library in ("openai", "yaml", "prometheus_client"):
    pytest.importorskip(library, reason=f"{library} is not installed")

import openai
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server

from dashboards import rules
from dashboards.records import Options
from streamwatch.core.settings import Settings
from streamwatch.otel.prometheus_reader import PrometheusReader
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed"),
]

FASTER = 60
THRESHOLD = 2.0
MODEL, OTHER = "gpt-4o", "thinker"
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{folder}/rules/*.yml"]
scrape_configs: [{{job_name: shop, static_configs: [{{targets: ["localhost:{port}"]}}]}}]
"""


class Application:
    """Reads streams of two models, a few at a time, and serves its metrics."""

    def __init__(self, base_url: str, port: int) -> None:
        registry = CollectorRegistry()
        self.provider = MeterProvider([PrometheusReader(registry)])
        self.on = StreamwatchInstrumentor()
        self.on.instrument(meter_provider=self.provider, settings=Settings(stall_seconds=THRESHOLD))
        self.web, _ = start_http_server(port, "127.0.0.1", registry)
        self.client = openai.OpenAI(base_url=base_url, api_key="k", max_retries=0)
        self.leaving = threading.Event()
        self.readers = [
            threading.Thread(target=self._read, args=(model,), daemon=True) for model in (MODEL, MODEL, *[OTHER] * 12)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, model: str) -> None:
        while not self.leaving.wait(0.1):
            with contextlib.suppress(Exception):  # the server goes before its readers do
                for _ in self.client.chat.completions.create(model=model, messages=[], stream=True):
                    pass

    def end(self) -> None:
        self.leaving.set()
        for reader in self.readers:
            reader.join(10)
        self.web.shutdown()
        self.web.server_close()
        self.client.close()
        self.on.uninstrument()
        self.provider.shutdown()


class Site:
    """The server, the application and Prometheus."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self.healthy = [step for chunk in answer(MODEL) for step in (chunk, 0.02)]
        # This one pauses for longer than the threshold in every stream, and always has: a third of the time it is silent.
        self.scripts: dict[str, list[Step]] = {MODEL: self.healthy, OTHER: answer(OTHER, at=2, pause=THRESHOLD * 1.5)}
        self.server = Scripted(self.scripts)  # type: ignore[arg-type]
        port, own = free_port(), free_port()
        application = Application(self.server.base_url, port)
        ended.callback(application.end)
        ended.callback(self.server.end)  # first: whoever reads comes to an end then
        rules.write(folder / "rules", rules.render(Options(faster=FASTER)))
        (folder / "prometheus.yml").write_text(CONFIG.format(folder=folder, port=port))
        self.url = f"http://127.0.0.1:{own}"
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{own}",
                "--log.level=error",
            ]
        )
        ended.callback(process.wait)
        ended.callback(process.terminate)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers; nothing while it is not there."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answered:
                return list(json.loads(answered.read())["data"]["result"])
        except OSError:
            return []

    def firing(self) -> list[dict[str, str]]:
        """The alerts on silence that fire now, by their labels."""
        found = self.query('ALERTS{alertname="StreamwatchStalledStreams",alertstate="firing"}')
        return [one["metric"] for one in found]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as ended:
        yield Site(tmp_path, ended)


def test_the_alert_fires_while_the_stream_hangs_names_the_server_and_resolves(site: Site) -> None:
    """Not for the model that always pauses; within seconds of the threshold; and it ends with the silence."""
    usual = "model:streamwatch_silent_per_open:usual"
    until(lambda: len(site.query(usual)) == 2, 150, lambda: (site.query(usual), site.query("up")))
    quiet_until = time.monotonic() + 10
    while time.monotonic() < quiet_until:
        assert [] == site.firing()
        time.sleep(0.5)

    site.scripts[MODEL] = answer(MODEL, at=2, pause=600)
    began = time.monotonic()
    until(
        lambda: site.query(
            f'streamwatch_open_streams{{gen_ai_request_model="{MODEL}",streamwatch_state="silent"}} == 2'
        ),
        20,
    )
    seen = time.monotonic() - began
    until(site.firing, 30, lambda: site.query('ALERTS{alertname=~"Streamwatch.+"}'))
    fired = time.monotonic() - began
    (alert,) = site.firing()

    assert (alert["gen_ai_request_model"], alert["server_address"]) == (MODEL, "127.0.0.1")
    assert alert["severity"] == "warning"
    silent = site.query(f'streamwatch_longest_silence_seconds{{gen_ai_request_model="{MODEL}"}}')
    assert float(silent[0]["value"][1]) > THRESHOLD  # it still hangs

    site.scripts[MODEL] = site.healthy
    site.server.ended.set()
    resolved = until(lambda: not site.firing(), 30)
    print(f"seen after {seen:.1f} s, fired after {fired:.1f} s, resolved {resolved:.1f} s after the end")
    assert fired < THRESHOLD + 10
