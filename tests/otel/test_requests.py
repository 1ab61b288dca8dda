"""What is added to a request: nothing by Streamwatch, `traceparent` by the instrumentation of httpx beside it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from helpers.instrumented import command, environment
from helpers.listening import serving
from helpers.tutorial import Server

pytest.importorskip("openai")
pytestmark = pytest.mark.slow  # each test starts two programs with all instrumentations
ROOT = str(Path(__file__).parents[2])
READ = """
from openai import OpenAI
question = [{"role": "user", "content": "count!"}]
with OpenAI().chat.completions.create(model="gpt-4o", messages=question, stream=True) as stream:
    list(stream)
"""
INSTRUMENTED = command(READ)
PLAIN = [sys.executable, "-W", "ignore", "-c", READ]
FROM_CODE = [
    sys.executable,
    "-W",
    "ignore",
    "-c",
    f"import streamwatch; streamwatch.instrument()\n{textwrap.dedent(READ)}",
]


class Listening(Server):
    """A model that notes the names of headers."""

    seen: ClassVar[list[set[str]]] = []

    def do_POST(self) -> None:  # noqa: N802 -- as http.server calls it
        self.seen.append({name.lower() for name in self.headers})
        super().do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A model that notes the headers of requests."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Listening)) as address:
        yield f"http://{address}/v1"


def headers(words: list[str], url: str, **environ: str) -> set[str]:
    """The names of the headers of a program's only request."""
    Listening.seen.clear()
    asked = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x", "NO_PROXY": "127.0.0.1", "PYTHONPATH": ROOT}
    more = {"OTEL_METRICS_EXPORTER": "none", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "", **environ}
    subprocess.run(words, env=environment(**asked, **more), capture_output=True, timeout=60, check=True)
    (names,) = Listening.seen
    return names


@pytest.mark.parametrize(
    ("words", "environ", "added"),
    [
        (INSTRUMENTED, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,httpx2"}, set()),
        (INSTRUMENTED, {}, {"traceparent"}),
        (INSTRUMENTED, {"OTEL_PROPAGATORS": "none"}, set()),
        (INSTRUMENTED, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, set()),
        (FROM_CODE, {}, set()),
    ],
    ids=["streamwatch alone", "as installed", "no propagators", "nothing instrumented", "from code"],
)
def test_headers_are_those_that_the_docs_name(
    words: list[str], environ: dict[str, str], added: set[str], url: str
) -> None:
    """docs/exporting.md, what is added to a request."""
    plain = headers(PLAIN, url)
    found = headers(words, url, **environ)

    assert found - plain == added
    assert plain <= found
