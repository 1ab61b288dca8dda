"""The SDK's own clients on the recordings here, and what the comparison itself can tell."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from comparing import compare, silenced
from environments import CLIENTS
from run import run
from streams import Stream, own

HEALTHY = Stream("healthy", "chat", b"", healthy=True)
BROKEN = Stream("broken", "chat", b"", healthy=False, expect={"choices": {"0": {"content": "Yes."}}})


def result(text: str = "Yes.", error: object = None, chunks: Sequence[object] = (), **final: object) -> dict[str, Any]:
    """What a driver tells of a stream."""
    return {"text": text, "tools": [], "final": final, "chunks": list(chunks), "error": error, "reports": []}


RAISED = result("", {"type": "TypeError", "message": "no"})


@pytest.mark.parametrize(
    ("off", "on", "sort"),
    [
        (result(), result(), "same"),
        (result(), result("No."), "another result"),
        (result(usage=1), result(usage=2), "another result"),
        (result(chunks=["Yes."]), result(chunks=["Yes.", ""]), "other pieces"),
        (RAISED, result(), "raises only without"),
        (result(), RAISED, "raises only with"),
    ],
)
def test_every_way_in_which_a_healthy_stream_can_read_differently_is_told_apart(
    off: dict[str, Any], on: dict[str, Any], sort: str
) -> None:
    """What a client computes, hands out in pieces, and raises."""
    assert compare("langchain", HEALTHY, off, off, on).sort == sort


def test_what_differs_by_itself_is_left_out() -> None:
    """A made-up id is another one each time; the text beside it is not."""
    off, again = result(id="one"), result(id="two")
    assert compare("langchain", HEALTHY, off, again, result(id="three")).sort == "same"
    assert compare("langchain", HEALTHY, off, again, result("No.", id="three")).sort == "another result"


def test_a_content_that_was_filled_in_counts_as_promised_for_a_loop_of_an_application_only() -> None:
    """The same chunk in a framework is a difference."""
    off, on = (result(chunks=[{"delta": {"content": content}}]) for content in (None, ""))
    assert compare("openai_create", HEALTHY, off, off, on).sort == "filled"
    assert compare("langchain", HEALTHY, off, off, on).sort == "other pieces"


@pytest.mark.parametrize(
    ("off", "on", "sort"),
    [
        (RAISED, result(), "right: only with"),
        (result(), result("No."), "right: only without"),
        (result(), result(chunks=[""]), "right: both"),
        (RAISED, result("No."), "right: neither"),
    ],
)
def test_an_answer_to_a_broken_stream_is_right_or_wrong(off: dict[str, Any], on: dict[str, Any], sort: str) -> None:
    """By the answer that is known to be right; an error that only gave way to a wrong answer is noticed."""
    compared = compare("langchain", BROKEN, off, off, on)
    assert compared.sort == sort
    assert silenced(compared) == (sort == "right: neither")


@pytest.mark.e2e
@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.environment == "openai"])
def test_the_sdk_reads_every_healthy_recording_with_streamwatch_as_well_as_without(name: str) -> None:
    """Over a real socket: no error that was not there, no other text, and no tool call less."""
    client = CLIENTS[name]
    streams = [stream for stream in own() if stream.api in client.apis]
    for one in run(client, Path(sys.executable), streams, "default"):
        assert one.reports, f"{one.stream.id} was not watched"
        assert one.sort != "raises only with", one.errors
        if one.sort == "another result" and "response_terminal_mismatch" not in one.kinds:
            changed = [each for each in one.found if each[0].startswith((".text", ".tools"))]
            assert not changed, one.stream.id
