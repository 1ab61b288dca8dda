"""Beside another instrumentation nothing gets worse, and the comparison would notice if it did."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import Fault, faults
from judging import judge, parts

from conftest import Watched
from helpers import sdk
from helpers.programs import loaded

HERE = Path(__file__).parent


def load_run() -> Any:
    """`run.py`, under another name than the one beside it in tests/clients."""
    return loaded(HERE / "run.py", "neighbours_run")


run = load_run()


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("fault", list(faults()), ids=lambda fault: fault.name)
def test_a_stream_that_the_plain_sdk_reads_is_read_with_streamwatch(
    fault: Fault, mode: str, watch: Callable[..., Watched]
) -> None:
    """None of the streams that instrumentations choke on raises only because Streamwatch is there."""
    if sdk.VERSION < (1, 10) and not fault.reads:
        pytest.skip("this release raises on an empty body")
    plain = sdk.read(mode, fault.reads, fault.api)
    watch()

    assert plain.error == sdk.read(mode, fault.reads, fault.api).error


@pytest.mark.parametrize(
    ("strings", "verdict"),
    [
        ({"one two three"}, "right"),
        ({"first, one two three", "other"}, "right"),
        ({"one three two"}, "wrong"),
        ({"one two two three"}, "wrong"),
        ({"one two threefour"}, "wrong"),
        ({"one two"}, "part"),
        ({"something else"}, "none"),
        (set(), "none"),
    ],
)
def test_a_stored_text_is_right_or_what_is_wrong_with_it_is_told(strings: set[str], verdict: str) -> None:
    """Exactly, in another order, repeated, grown, cut, or not at all."""
    assert verdict == judge("one two three", strings)


def test_answers_are_found_in_json_inside_of_attributes() -> None:
    """Instrumentations store messages as JSON in an attribute, and arguments as JSON in that."""
    kept = {"messages": '[{"parts": [{"arguments": "{\\"city\\": \\"Paris\\"}"}]}]'}
    assert "right" == judge('{"city": "Paris"}', set(parts(kept)))
    glued = {"messages": '[{"parts": [{"arguments": "{\\"city\\": \\"Paris\\"}{\\"zone\\": 1}"}]}]'}
    assert "wrong" == judge('{"city": "Paris"}', set(parts(glued)))


# --- the comparison itself

_STREAM = {"stream": "text", "group": "healthy", "mode": "sync", "raised": None, "raised_plain": None}
_FINE = {**_STREAM, "text_is_right": True, "stored": "right"}
_HEALTHY = {"mode": "sync", "ours": 1, "theirs": 1, "parents": ["theirs"], "one_trace": True, "text_is_right": True}


def two_runs() -> dict[str, dict[str, Any]]:
    """Without Streamwatch and with it, and nothing to complain of."""
    without = {"healthy": [{**_HEALTHY, "ours": 0, "parents": []}], "streams": [_FINE]}
    last = {
        "healthy": [dict(_HEALTHY)],
        "streams": [dict(_FINE)],
        "without_ours": [{**_HEALTHY, "ours": 0}],
        "without_theirs": [{**_HEALTHY, "theirs": 0}],
    }
    return copy.deepcopy({"without": without, "last": last})


def test_there_is_nothing_to_complain_of_where_all_is_well() -> None:
    """The other tests change one thing each."""
    assert [] == run.complaints(run.NEIGHBOURS["genai"], two_runs())


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("streams", {"raised": "TypeError: no"}),
        ("streams", {"stored": "wrong"}),
        ("streams", {"stored": "none"}),
        ("streams", {"text_is_right": False}),
        ("healthy", {"ours": 0}),
        ("healthy", {"ours": 2}),
        ("healthy", {"theirs": 0}),
        ("healthy", {"one_trace": False}),
        ("healthy", {"parents": ["unknown"]}),
        ("without_ours", {"ours": 1}),
        ("without_ours", {"theirs": 0}),
        ("without_theirs", {"ours": 0}),
        ("without_theirs", {"text_is_right": False}),
    ],
)
def test_what_gets_worse_is_complained_of(where: str, change: dict[str, Any]) -> None:
    """An exception, a wrong answer, a lost span, a span too many, a wrong parent."""
    runs = two_runs()
    runs["last"][where][0].update(change)

    assert run.complaints(run.NEIGHBOURS["genai"], runs)


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["genai", "openinference"])
def test_nothing_gets_worse_beside_a_real_neighbour(name: str, tmp_path: Path) -> None:
    """The newest release, in an environment of its own, loaded before Streamwatch, after it, and by entry points."""
    neighbour = run.NEIGHBOURS[name]
    python = run.build(neighbour, tmp_path, upgrade=False)
    runs = {order: run.drive(neighbour, python, order) for order in ("without", "first", "last", "entry_points")}

    assert [] == run.complaints(neighbour, runs)
    assert ["theirs"] == [*{parent for each in runs["last"]["healthy"] for parent in each["parents"]}]
