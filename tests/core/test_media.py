"""Streamed images and transcriptions: where they end, what fails in them, and that nothing is touched."""

from __future__ import annotations

import pytest

from helpers.stream_builders import DONE, Payload, named, sse, watch
from streamwatch.core.kinds import ERROR_IN_STREAM, STREAM_TRUNCATED
from streamwatch.core.vocabulary import ChunkType, Verdict

#: The events of one answer, by API and by what was asked for; the last one ends it.
ANSWERS: dict[str, tuple[str, list[Payload]]] = {
    "an image": (
        "images",
        [
            {"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {"total_tokens": 100}},
        ],
    ),
    "an edit": (
        "images",
        [
            {"type": "image_edit.partial_image", "b64_json": "AAAA", "partial_image_index": 0},
            {"type": "image_edit.completed", "b64_json": "AAAA", "usage": {"total_tokens": 100}},
        ],
    ),
    "a transcription": (
        "transcriptions",
        [
            {"type": "transcript.text.delta", "delta": "One "},
            {"type": "transcript.text.delta", "delta": "two"},
            {"type": "transcript.text.done", "text": "One two"},
        ],
    ),
}
_EACH = pytest.mark.parametrize("name", ANSWERS)


@_EACH
@pytest.mark.parametrize("done", [b"", DONE], ids=["", "[DONE]"])
def test_an_answer_ends_with_its_own_last_event(name: str, done: bytes) -> None:
    """[DONE] or not: every event as it came, and nothing found."""
    api, events = ANSWERS[name]
    seen = watch(api, named(events) + done)

    assert seen.payloads == events
    assert seen.report.verdict is Verdict.COMPLETE
    assert seen.report.anomalies == {}
    assert seen.report.chunks[ChunkType.FINISH] == 1
    assert seen.report.chunks.get(ChunkType.TEXT, 0) == (len(events) - 1) * (api == "transcriptions")
    assert sum(seen.report.chunks.values()) == len(events)


@_EACH
@pytest.mark.parametrize("done", [b"", DONE], ids=["", "[DONE]"])
def test_an_answer_without_its_last_event_is_cut(name: str, done: bytes) -> None:
    """[DONE] is no end of these APIs: what the other API ends with is none, either."""
    api, events = ANSWERS[name]
    other = "image_edit.completed" if api == "transcriptions" else "transcript.text.done"
    seen = watch(api, named([*events[:-1], {"type": other}]) + done)

    assert seen.report.verdict is Verdict.TRUNCATED
    assert set(seen.report.anomalies) == {STREAM_TRUNCATED}


@_EACH
def test_an_error_is_an_error_and_no_chunk(name: str) -> None:
    """The SDK raises on it, as it came."""
    api, events = ANSWERS[name]
    error: Payload = {"type": "error", "error": {"message": "Overloaded"}}
    seen = watch(api, named([*events[:-1], error]))

    assert seen.payloads == [*events[:-1], error]
    assert seen.report.verdict is Verdict.ERROR
    assert set(seen.report.anomalies) == {ERROR_IN_STREAM}
    assert sum(seen.report.chunks.values()) == len(events) - 1


CHUNKS = [
    {"object": "transcription.chunk", "choices": [{"delta": {"content": word}, "finish_reason": end}]}
    for word, end in (("One ", None), ("two", None), ("", "stop"))
]
FOREIGN = {
    "chunks": CHUNKS,
    "texts": [{"text": "One "}, {"text": "two"}],
    "images": [{"created": 1, "data": [{"b64_json": "AAAA"}]}],
}


@pytest.mark.parametrize("api", ["images", "transcriptions"])
@pytest.mark.parametrize("events", FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize("done", [b"", DONE], ids=["", "[DONE]"])
def test_of_a_server_s_own_protocol_no_end_is_known(api: str, events: list[Payload], done: bytes) -> None:
    """vLLM sends chunks with an end of their own, others texts or images alone: nothing is missing there."""
    seen = watch(api, b"".join(map(sse, events)) + done)

    assert seen.payloads == events
    assert seen.report.verdict is Verdict.COMPLETE
    assert seen.report.anomalies == {}


@pytest.mark.parametrize(
    "events",
    [
        CHUNKS[:2],
        [{"type": "transcript.text.delta", "delta": "One"}, {"text": "two"}],
        [{"type": "ping"}],
        [{"object": "error", "message": "no"}],
        [{"detail": "no"}],
    ],
    ids=str,
)
def test_an_answer_that_lacks_the_end_of_its_protocol_is_cut(events: list[Payload]) -> None:
    """vLLM's chunks have a finish_reason; one documented event says which protocol it is; a ping says nothing."""
    assert watch("transcriptions", b"".join(map(sse, events))).report.verdict is Verdict.TRUNCATED


def test_nothing_is_no_answer() -> None:
    """In no protocol."""
    assert watch("transcriptions", b"").report.verdict is Verdict.EMPTY
