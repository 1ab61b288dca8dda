"""What real servers sent, byte for byte: quiet where the run was healthy, truncated where it was cut.

`tests/servers/record.py` recorded it, of a tiny model of our own; the index says of which release, and when.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from test_recordings import assert_same_through_sdk, offered

from helpers.stream_builders import bytewise, read, split, watch
from recordings.build import HERE
from servers.questions import CITIES, TEXT
from streamwatch.core.report import Request
from streamwatch.core.vocabulary import Severity, Verdict

FOLDER = HERE / "servers"
INDEX: dict[str, dict[str, Any]] = json.loads((FOLDER / "index.json").read_text("utf-8"))
CUT = [name for name in INDEX if name.endswith("-cut") and not name.startswith("litellm")]
HEALTHY = [name for name, about in INDEX.items() if about["verdict"] == "complete"]
#: Healthy runs in which a server leaves out what the API has: docs/servers.md.
KNOWN = {
    "transformers-response-call": {"response_reference_invalid"},
    "transformers-response-calls": {"response_reference_invalid"},
    "llama-two": {"choice_index_invalid"},
    "llama-response": {"response_reference_invalid"},
    "llama-response-call": {"response_reference_invalid", "response_event_missing"},
    "llama-response-calls": {"response_reference_invalid", "response_event_missing"},
}


def wire_of(name: str) -> bytes:
    return (FOLDER / f"{name}.sse").read_bytes()


def request_of(name: str) -> Request:
    return Request(n=INDEX[name]["n"])


def test_every_recording_is_in_the_index() -> None:
    """And none is left over; all together they are small."""
    files = {path.stem: path.stat().st_size for path in FOLDER.glob("*.sse")}
    assert set(INDEX) == set(files)
    assert sum(files.values()) < 200 << 10
    assert len(HEALTHY) + len(CUT) >= len(INDEX) - 2  # and LiteLLM's two errors


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", INDEX)
def test_what_is_found_is_what_is_known(name: str) -> None:
    """Verdict and kinds as in the index, however the bytes are cut into reads."""
    wire, request, api = wire_of(name), request_of(name), INDEX[name]["api"]
    whole = watch(api, wire, request=request)

    assert INDEX[name]["verdict"] == whole.report.verdict
    assert INDEX[name]["kinds"] == {kind.name: kind.severity.value for kind in whole.report.anomalies}
    for reads in (bytewise(wire), *(split(wire, f"{name} {seed}", 300) for seed in range(3))):
        assert watch(api, reads, request=request).comparable() == whole.comparable()


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize("name", HEALTHY)
def test_no_fault_is_found_on_healthy_runs(name: str) -> None:
    """But for what a server is known to leave out; and that is repaired for the SDK's helper, which needs it."""
    seen = watch(INDEX[name]["api"], wire_of(name), request=request_of(name))
    helped = watch(INDEX[name]["api"], wire_of(name), request=replace(request_of(name), accumulated=True))

    assert KNOWN.get(name, set()) == seen.faults
    faults = {kind.name for kind in helped.report.anomalies if kind.severity is Severity.FAULT}
    assert faults <= helped.repaired


@pytest.mark.parametrize("name", HEALTHY)
def test_the_answer_is_whole(name: str) -> None:
    """What a consumer makes of it: a call's arguments are JSON, and text is there."""
    api = INDEX[name]["api"]
    seen = watch(api, wire_of(name), request=request_of(name))
    answer = read(api, seen.delivered)
    called = [(call.name, call.arguments) for said in answer.said.values() for call in said.calls]
    if api == "responses":  # where deltas may be missing: the announcement says it all
        done = [each["item"] for each in seen.payloads if each["type"] == "response.output_item.done"]
        called = [(item["name"], item["arguments"]) for item in done if item["type"] == "function_call"]

    cities = CITIES.get(name.rpartition("-")[2], [])
    assert "" == answer.raised
    assert [("get_weather", {"city": city, "unit": "celsius"}) for city in cities] == [
        (function, json.loads(arguments)) for function, arguments in called
    ]
    if not cities:
        texts = [said.text for said in answer.said.values()]
        assert all(TEXT.startswith(text.strip()) and len(text) > 20 for text in texts)
        assert INDEX[name]["n"] == len(texts) or name.startswith(("transformers", "litellm"))


@pytest.mark.parametrize("error", [None, ConnectionError("peer closed connection")], ids=["ended", "lost"])
@pytest.mark.parametrize("name", CUT)
def test_a_cut_is_a_truncation(name: str, error: ConnectionError | None) -> None:
    """Whether the connection ended in order, as a proxy can make it, or was lost."""
    seen = watch(INDEX[name]["api"], wire_of(name), request=request_of(name), error=error)

    assert Verdict.TRUNCATED is seen.report.verdict
    assert "stream_truncated" in seen.faults


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", [name for name in HEALTHY if name not in KNOWN])
def test_the_application_gets_the_same_chunks(name: str) -> None:
    """Through the SDK: type and data of every chunk, with Streamwatch and without."""
    api = INDEX[name]["api"]
    if not offered(api):
        pytest.skip("this release of the SDK has no such API")
    report = assert_same_through_sdk(name, api, wire_of(name))

    assert report.verdict is Verdict.COMPLETE
