"""APIs of which nothing is known: `client.post(..., stream_cls=Stream[object])` may stream any JSON at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers import sdk
from helpers.letters import LETTERS
from helpers.quick import examples
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(LETTERS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS), inner, max_size=3),
    max_leaves=8,
)
#: What else stands between events: comments, names, identifiers, blank lines.
BETWEEN = st.sampled_from([b"", b": keep-alive\n\n", b"event: ping\n", b"id: 7\n", b"retry: 10\n", b"\n\n"])


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("mode", sdk.MODES)
@pytest.mark.parametrize("repair", ["none", "default"])
def test_any_json_comes_as_the_plain_sdk_gives_it(mode: str, repair: str) -> None:
    """Lists, strings, numbers and null are payloads, too: none is dropped, none is an anomaly."""

    @hypothesis_settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(BETWEEN, JSON), max_size=5), st.booleans())
    def holds(events: list[tuple[bytes, Any]], done: bool) -> None:
        reads = [between + b"data: " + json.dumps(value).encode() + b"\n\n" for between, value in events]
        reads += [b"data: [DONE]\n\n"] if done else []
        plain = sdk.read(mode, reads, "other")
        StreamwatchInstrumentor().instrument(repair=repair)
        try:
            assert sdk.read(mode, reads, "other") == plain
        finally:
            StreamwatchInstrumentor().uninstrument()

    holds()


@pytest.mark.parametrize("wire", [b"event: ping\n\n", b"data: text\n\n", b"data: {\n\n", b"data: : a comment\n\n"])
def test_what_is_no_json_is_the_sdks_to_judge(wire: bytes, watch: Callable[..., Any]) -> None:
    """Most releases raise on an event without data, and all on text: it is known why."""
    plain = sdk.read("sync", [wire], "other")
    watched = watch()

    assert sdk.read("sync", [wire], "other") == plain
    assert "payload_invalid" in watched.report.kinds


def test_json_that_is_no_object_is_no_anomaly(watch: Callable[..., Any]) -> None:
    """It is a stream like any other."""
    watched = watch()
    outcome = sdk.read("sync", [b"data: [1, 2]\n\n", b'data: "x"\n\n', b"data: null\n\n", b"data: [DONE]\n\n"], "other")

    assert [("list", [1, 2]), ("str", "x"), ("NoneType", None)] == outcome.chunks
    assert watched.report.kinds == ()
    assert watched.report.verdict == "complete"
