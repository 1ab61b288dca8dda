"""Healthy streams: no fault is found in them, nothing of them is held, and careful readers see no difference.

The project's own recordings are always read; those of real servers where they lie beside the checkout.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import sdk
from helpers.corpus import Recorded, beside, own, some
from helpers.quick import examples
from helpers.stream_builders import bytewise, parsers, reference, sdk_value, split, watch
from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.core.kinds import CONTENT_ABSENT, CONTENT_NULL, USAGE_MISPLACED
from streamwatch.core.report import Report, Request
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Verdict
from streamwatch.testing import reports

_EACH = pytest.mark.parametrize("name", RECORDINGS)
FILLED = {"content_absent", "content_null"}


def wire_of(name: str) -> bytes:
    """A recording."""
    return (HERE / f"{name}.sse").read_bytes()


def careful(request: Request) -> Request:
    """The same request, read by a framework."""
    return Request(n=request.n, names_tool=request.names_tool, starting_after=request.starting_after)


def test_the_files_are_those_that_are_built() -> None:
    """No recording was edited by hand, and none is left over."""
    assert {path.stem: path.read_bytes() for path in HERE.glob("*.sse")} == {
        name: recording.wire for name, recording in RECORDINGS.items()
    }


@pytest.mark.quick_cases(12)
@_EACH
@pytest.mark.parametrize("loads", parsers(), ids=lambda loads: loads.__module__.partition(".")[0])
def test_no_fault_is_found_however_it_is_cut(name: str, loads: Callable[[bytes], Any]) -> None:
    """Whole, byte by byte and in random reads: no fault, complete, and the same each way."""
    wire, request = wire_of(name), RECORDINGS[name].request
    whole = watch(recorded_api(name), wire, request=request, loads=loads)

    assert whole.faults == set()
    assert whole.report.verdict is Verdict.COMPLETE
    for reads in (bytewise(wire), *(split(wire, f"{name} {seed}") for seed in range(3))):
        assert watch(recorded_api(name), reads, request=request, loads=loads).comparable() == whole.comparable()


@pytest.mark.quick_cases(7)
@_EACH
def test_nothing_is_held(name: str) -> None:
    """Every event is there with its last byte; only a usage that comes too early makes one chunk wait for the next."""
    recording = RECORDINGS[name]
    stream, held = StreamWatch(recorded_api(name), recording.request), 0
    for at in range(len(recording.wire)):
        stream.receive(recording.wire[at : at + 1])
        whole = recording.wire[: at + 1]
        if whole.endswith((b"\n\n", b"\r\n\r\n")):
            held += len(reference(whole)) - len(stream.ready)

    assert held == 0 or USAGE_MISPLACED in stream.report().anomalies
    assert held <= 2


@_EACH
def test_a_repair_leaves_alone_what_it_does_not_mend(name: str) -> None:
    """Where nothing was repaired no event differs; and never does the number of events that hold data."""
    wire, request = wire_of(name), careful(RECORDINGS[name].request)
    seen = watch(recorded_api(name), wire, request=request)
    came = [sdk_value(event) for event in reference(wire)]

    if not seen.repaired - {"sse_framing_variant"}:
        assert [each.value for each in seen.delivered][: len(came)] == came[: len(seen.delivered)]
    assert len(seen.payloads) == len([value for value in came if isinstance(value, dict)])


# --- through the SDK


def ask(client: Any, api: str) -> Any:
    """A stream of an API; None where this release of the SDK has no such API."""
    if api == "completions":
        return client.completions.create(model="gpt-4o", prompt="hi", stream=True)
    if api == "assistants":
        return client.beta.threads.runs.create(thread_id="thread_1", assistant_id="asst_1", stream=True)
    return sdk.create(client, api)


def offered(api: str) -> bool:
    """Whether this release of the SDK has the API, streaming."""
    if api == "assistants":
        return sdk.STREAMS_RUNS
    return api != "responses" or sdk.HAS_RESPONSES


def through_sdk(name: str, wire: bytes, api: str) -> tuple[list[tuple[str, Any]], str]:
    """What an application gets: the type and data of every chunk, and what was raised."""
    chunks, raised = [], ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's, of deprecated APIs and of values that its models do not know
        try:
            for each in ask(sdk.client(split(wire, name, most=400)), api):
                chunks.append((type(each).__qualname__, sdk.dump(each)))
        except Exception as error:
            raised = repr(error)
    return chunks, raised


def without_content(chunks: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Chunks without the content of their deltas."""
    plain = json.loads(json.dumps(chunks, default=repr))
    for _, data in plain:
        for choice in (data.get("choices") or []) if isinstance(data, dict) else []:
            (choice.get("delta") or {}).pop("content", None)
    return [tuple(each) for each in plain]


def assert_same_through_sdk(name: str, api: str, wire: bytes) -> Report:
    """Observing, no chunk differs; repairing, none in which nothing was repaired, but for content."""
    unwatched = through_sdk(name, wire, api)
    with reports("none"):
        assert through_sdk(name, wire, api) == unwatched
    with reports("default") as seen:
        chunks, raised = through_sdk(name, wire, api)
    repaired = {kind.name for kind, outcomes in seen[-1].outcomes.items() if set(outcomes) - {"unrepaired"}}
    repaired -= {"sse_framing_variant", "keepalive_frame"}
    if not repaired:
        assert (chunks, raised) == unwatched
    elif repaired <= FILLED:
        assert (without_content(chunks), raised) == (without_content(unwatched[0]), unwatched[1])
    else:
        assert raised == unwatched[1]
    return seen[-1]


@pytest.mark.quick_cases(7)
@_EACH
def test_the_application_gets_the_same_chunks(name: str) -> None:
    """Through the SDK: type and data of every chunk, with Streamwatch and without."""
    api = recorded_api(name)
    if not offered(api):
        pytest.skip("this release of the SDK has no such API")
    report = assert_same_through_sdk(name, api, wire_of(name))

    is_read = sdk.STREAMS_RUNS or api != "responses"  # 1.x raises at an event that it does not know, on Python 3.14
    assert report.verdict is Verdict.COMPLETE or not is_read


# --- the project's own recordings once more, and those of real servers, beside the checkout

#: How many recordings there are at least, and how many in which something is known to be wrong, and is found.
LEAST = {"own": (60, 3), "beside": (1000, 15)}


@pytest.fixture(
    scope="module", params=["own", pytest.param("beside", marks=[pytest.mark.acceptance, pytest.mark.slow])]
)
def recorded(request: pytest.FixtureRequest) -> list[Recorded]:
    """Every recording of a collection."""
    return own() if request.param == "own" else beside(request.getfixturevalue("shared"))


def test_no_fault_is_found_on_real_servers(recorded: list[Recorded], request: pytest.FixtureRequest) -> None:
    """Every recording, whole: faults only where something is known to be wrong."""
    loads = parsers()[-1]
    alarms = {}
    for each in recorded:
        faults = watch(each.api, each.wire, request=each.request, loads=loads).faults
        faults -= set() if each.has_end else {"stream_truncated"}
        if faults:
            alarms[each.name] = faults
    many, wrong = LEAST[request.node.callspec.params["recorded"]]

    assert len(recorded) > many
    assert {each.name: alarms[each.name] for each in recorded if each.name in alarms and not each.is_faulty} == {}
    assert len(alarms) >= wrong


@pytest.mark.slow
def test_a_cut_makes_no_difference_on_real_servers(recorded: list[Recorded]) -> None:
    """A sample of every provider in random reads, and a smaller one byte by byte."""
    loads = parsers()[-1]
    for each in some(recorded, 150, 200):
        whole = watch(each.api, each.wire, request=each.request, loads=loads).comparable()
        in_reads = split(each.wire, each.name, 300)
        assert watch(each.api, in_reads, request=each.request, loads=loads).comparable() == whole
    for each in some(recorded, 20, 20):
        whole = watch(each.api, each.wire, request=each.request, loads=loads).comparable()
        assert watch(each.api, bytewise(each.wire), request=each.request, loads=loads).comparable() == whole


def test_observing_changes_nothing_on_real_servers(recorded: list[Recorded]) -> None:
    """Every recording: the SDK reads of each event what stands in its bytes."""
    for each in recorded:
        seen = watch(each.api, each.wire, "none", request=each.request)
        events = [(event.event, sdk_value(event)) for event in reference(each.wire)]
        ends = (at for at, (_, value) in enumerate(events, 1) if value == "[DONE]")
        assert [tuple(one) for one in seen.delivered] == events[: next(ends, None)], each.name


@pytest.mark.slow
def test_the_application_gets_the_same_chunks_of_real_servers(recorded: list[Recorded]) -> None:
    """A sample of every provider through the SDK, with Streamwatch and without."""
    entries = [each for each in some(recorded, examples(40), 60) if offered(each.api)]
    for each in entries:
        assert_same_through_sdk(each.name, each.api, each.wire)

    assert len(entries) > 30


def test_real_numbers_are_gapless(recorded: list[Recorded]) -> None:
    """What the reordering stands on: no recorded response lacks a number, or has one twice."""
    responses = [each for each in recorded if each.api == "responses"]
    for each in responses:
        seen = watch("responses", each.wire, request=each.request, loads=parsers()[-1])
        assert not {kind.name for kind in seen.report.anomalies} & {
            *("sequence_gap", "sequence_duplicate", "sequence_out_of_order")
        }, each.name

    assert len(responses) >= 10


@pytest.mark.slow
def test_the_kinds_of_known_issue_2_are_everywhere(shared: Path) -> None:
    """Why they are hazards and not faults: most healthy chat streams have deltas without content."""
    chats = [each for each in beside(shared) if each.api == "chat" and each.is_exact]
    with_hazard = 0
    for each in chats:
        found = watch("chat", each.wire, request=each.request, loads=parsers()[-1]).report.anomalies
        with_hazard += bool({CONTENT_ABSENT, CONTENT_NULL} & set(found))

    assert with_hazard > len(chats) / 2
