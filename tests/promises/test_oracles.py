"""The oracles beside the checkout: wires with the exact result that a consumer of the SDK must get.

They and their scorer were made apart from the rules, so they are run as they are, in a process of
their own, with the SDK that is installed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers import sdk
from streamwatch.core.kinds import KINDS
from streamwatch.core.vocabulary import Strategy

pytestmark = pytest.mark.slow  # four runs of the scorer over all cases
#: The kinds of the two known issues, and what stands next to them.
HEADLINE = {
    *("sequence_out_of_order", "sequence_gap", "sequence_duplicate", "sequence_unusable"),
    *("content_absent", "content_null", "choices_empty", "delta_missing"),
    *("tool_call_index_missing", "tool_call_index_reused", "tool_call_index_sparse", "tool_call_fragment_irregular"),
    *("error_in_stream", "stream_empty", "stream_truncated", "finish_reason_missing"),
}
INSTRUMENTED = ["--instrument", "streamwatch.testing:instrument", "--observe", "streamwatch.testing:last_report"]
RUNS = {
    "plain": [],
    "none": [*INSTRUMENTED, "--level", "none"],
    "default": [*INSTRUMENTED, "--level", "default"],
    "opt_in": [*INSTRUMENTED, "--level", "opt_in"],
}
#: What a level repairs, and with it what it has to get right.
REACHED = {"default": ("none", "default"), "opt_in": ("none", "default", "opt_in")}

#: Seconds. A run takes a few; a busy machine has its time.
_TIMEOUT = 300

Scores = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def oracles(shared: Path) -> list[dict[str, Any]]:
    """The cases of the APIs that this release of the SDK streams."""
    lines = (shared / "oracles" / "cases.jsonl").read_text("utf-8").split("\n")  # U+2028 is data here
    cases = [json.loads(line) for line in lines if line.strip()]
    return [case for case in cases if sdk.STREAMS_RUNS or case["surface"] != "assistants"]


@pytest.fixture(scope="module")
def scores(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scores]:
    """Every case, scored with the plain SDK and at each level of repair."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder  # one run for all workers
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(RUNS, pool.map(lambda run: scored(shared, folder, run), RUNS), strict=True))


def scored(shared: Path, folder: Path, run: str) -> Scores:
    """One run of the scorer; waited for, where another worker has begun it."""
    out = folder / f"oracles-{run}.json"
    try:
        (folder / f"oracles-{run}.begun").touch(exist_ok=False)
    except FileExistsError:
        deadline = time.monotonic() + _TIMEOUT
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    else:
        part = out.with_suffix(".part")
        score(shared, run, part)
        part.rename(out)
    cases = json.loads(out.read_text("utf-8"))["cases"]
    return {case["id"]: case for case in cases if sdk.STREAMS_RUNS or case["surface"] != "assistants"}


def score(shared: Path, run: str, out: Path) -> None:
    """Run the scorer. It exits with 1 when a case is not right, which is ours to judge."""
    folder, taxonomy = shared / "oracles", ["--taxonomy", shared / "taxonomy.json"] if RUNS[run] else []
    command = [sys.executable, folder / "score.py", folder / "cases.jsonl", *RUNS[run], *taxonomy, "--json", out]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OTEL_SDK_DISABLED": "true"}
    done = subprocess.run(
        [str(part) for part in command], env=environ, capture_output=True, text=True, timeout=_TIMEOUT
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]


def results(case: dict[str, Any]) -> dict[str, str]:
    """How each way of reading a case came out."""
    return {reading: result["result"] for reading, result in case["readings"].items()}


#: Cases whose expectation of `create` is older than the promise that presence is kept: with the default policy nothing is
#: put into what attribute readers get, or taken out of it, that only the SDK's helper needs.
OF_THE_HELPER = {
    "finish-key-missing",
    "responses-missing-done-events",
    "responses-no-content-part-added",
    "role-never-sent",
    "tool-calls-null",
    "usage-inside-choice",
}


def reasons(scores: Scores, ids: set[str]) -> dict[str, list[str]]:
    """Why some cases are not right, for people."""
    found = {}
    for id in sorted(ids):
        case = scores[id]
        parts = [*case["readings"].items(), ("observed", case.get("observed", {"why": []}))]
        found[id] = [f"{name}: {why}" for name, part in parts for why in part["why"]]
    return found


@pytest.mark.parametrize(
    "level",
    ["none", "default", "opt_in"],
)
def test_no_case_that_the_plain_sdk_gets_right_becomes_wrong(scores: dict[str, Scores], level: str) -> None:
    """In each of the four ways of reading: do no harm."""
    harmed = {
        id
        for id, case in scores[level].items()
        for reading, result in results(case).items()
        if results(scores["plain"][id])[reading] == "right" and result != "right"
    }

    assert reasons(scores[level], harmed) == {}


def test_observing_reads_as_the_plain_sdk_does(scores: dict[str, Scores]) -> None:
    """With the policy `none` every case comes out as without Streamwatch, wrong or right."""
    observed = {id: results(case) for id, case in scores["none"].items()}
    plain = {id: results(case) for id, case in scores["plain"].items()}
    if sdk.VERSION < (1, 14):  # these split lines at U+2028, too, and raise; read as bytes, the line is whole
        assert set(observed.pop("u2028-line-split").values()) <= {"right", "n/a"}
        del plain["u2028-line-split"]

    assert observed == plain


def of_the_sdk_alone(oracles: list[dict[str, Any]], scores: dict[str, Scores]) -> set[str]:
    """Cases that need no repair, and that an old release reads wrongly by itself: 1.66 has errors without a type."""
    if sdk.VERSION >= (1, 109):
        return set()
    unrepaired = {case["id"] for case in oracles if case["repairs"] == "none"}
    return {id for id in unrepaired if set(results(scores["plain"][id]).values()) - {"right", "n/a"}}


@pytest.mark.parametrize("level", REACHED)
def test_headline_cases_are_right(oracles: list[dict[str, Any]], scores: dict[str, Scores], level: str) -> None:
    """Cases of the known issues: right in all four ways of reading, and reported as they should be."""
    cases = {case["id"] for case in oracles if set(case["kinds"]) <= HEADLINE and case["repairs"] in REACHED[level]}
    cases = {id for id in cases if results(scores[level][id])["create"] != "n/a"}  # this SDK has no such API
    cases -= of_the_sdk_alone(oracles, scores)
    wrong = {
        id
        for id in cases
        if set(results(scores[level][id]).values()) - {"right", "n/a"}
        or scores[level][id]["observed"]["result"] != "right"
    }

    assert len(cases) >= 15
    assert reasons(scores[level], wrong) == {}


@pytest.mark.parametrize("level", REACHED)
def test_cases_of_every_kind_are_right(oracles: list[dict[str, Any]], scores: dict[str, Scores], level: str) -> None:
    """All that a level claims to repair."""
    cases = {case["id"] for case in oracles if case["repairs"] in REACHED[level]} - of_the_sdk_alone(oracles, scores)
    wrong = {
        id
        for id in cases
        for reading, result in results(scores[level][id]).items()
        if result not in ("right", "n/a")
        if not (level == "default" and id in OF_THE_HELPER and reading in ("create", "create_async"))
    }

    assert reasons(scores[level], wrong) == {}


def test_what_is_repaired_for_the_helper_alone_is_as_it_came_for_other_readers(scores: dict[str, Scores]) -> None:
    """With the default policy; the level `opt_in` repairs it for everybody, which the test above says."""
    for id in OF_THE_HELPER:
        read, plain = results(scores["default"][id]), results(scores["plain"][id])
        assert read["create"] == plain["create"] != "right"
        assert {read["stream"], read["stream_async"]} <= {"right", "n/a"}


@pytest.mark.parametrize("level", ["none", "default", "opt_in"])
def test_every_case_is_reported_as_it_should_be(scores: dict[str, Scores], level: str) -> None:
    """Verdict, kinds, and no fault in vain, of all streams that the consumer could read to their end."""
    read = {id: case for id, case in scores[level].items() if results(case)["create"] == "right"}
    wrong = {id for id, case in read.items() if case["observed"]["result"] != "right"}

    assert reasons(scores[level], wrong) == {}


def test_the_oracles_cover_the_repairs(oracles: list[dict[str, Any]]) -> None:
    """A repair that no oracle asks for is proved by our own word alone: few are."""
    asked_for = {kind for case in oracles for kind in case["kinds"]}
    apis = {case["surface"] for case in oracles}
    without = Strategy.NONE, Strategy.RESUME  # an oracle is one body: no server that can be asked for the rest
    repaired = {kind.name for kind in KINDS.values() if kind.strategy not in without and apis & set(kind.apis)}

    assert len(repaired - asked_for) <= 3
