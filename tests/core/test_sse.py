"""Bytes to events: the same as the SDK's own decoder gives, however the bytes are cut."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.quick import examples
from helpers.stream_builders import DONE, body, bytewise, chunk, reference, said, settings, split, sse, watch
from streamwatch.core.kinds import PAYLOAD_INVALID, SSE_FRAMING_VARIANT
from streamwatch.core.stream import StreamWatch
from streamwatch.core.vocabulary import Verdict

#: What bodies are made of. Every line end, every field, every byte that some reader treats specially.
TOKENS = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"),
    *(b"data: ", b"data:", b"data", b"data:  ", b"data :", b" data: ", b"DATA: "),
    *(b"event: ", b"event:", b"event", b"id: ", b"id:", b"id", b"retry: ", b"retry:", b"retry"),
    *(b": ping", b":", b": ", b" ", b"error: ", b"foo: bar", b"foo"),
    *(b"{}", b'{"a":1}', b'{"a":"b: c"}', b"{", b"[]", b"null", b"7", b"x", b"[DONE]", b"data: [DONE]\n\n"),
    *(b"\0", b"\xef\xbb\xbf", "\u2028".encode(), "\u0085".encode(), "é🙂".encode(), b"\x0b\x0c\x1c"),
]
BODIES = st.lists(st.sampled_from(TOKENS), max_size=24).map(b"".join)
#: Bytes that are no UTF-8, as a relay leaves them that cuts characters in two.
TORN = st.lists(st.sampled_from([*TOKENS, b"\xff", b"\xc3", b"\x80"]), max_size=12).map(b"".join)
SEEDS = st.integers(0, 2**16)
Pairs = list[tuple[str | None, str]]

#: Where observing is not yet the same as not watching, each with a wire that shows it.
EDGES = {
    "the last event has no blank line: the SDK drops it": b"data: {}\n",
    "[DONE] stands alone on its line: the SDK ignores it": b"[DONE]\n\ndata: {}\n\n",
    "[DONE] is prefixed twice: the SDK raises": b"data: data: [DONE]\n\ndata: {}\n\n",
    "a byte order mark: the SDK ignores the first line": b"\xef\xbb\xbfdata: {}\n\ndata: {}\n\n",
    "a blank line too many at the end, after an id: the SDK raises": b"id: 7\ndata: {}\n\n\n",
    "a body that ends inside a character: the SDK raises": b"data: {}\n\ndata: caf\xc3",
    "a comment that is not UTF-8: the SDK raises": b": caf\xc3\n\ndata: {}\n\n",
    "an error line that is not UTF-8: the SDK raises": b"error: caf\xc3\n\ndata: {}\n\n",
    "a stray line of JSON that is not UTF-8: the SDK raises": b'{"caf\xc3"}\n\ndata: {}\n\n',
    "an id with a NUL that is not UTF-8: the SDK raises": b"id: \0\xc3\n\ndata: {}\n\n",
    "a retry that is not UTF-8: the SDK raises": b"retry: caf\xc3\n\ndata: {}\n\n",
    "a retry that only int() can read: the SDK makes an event of it": b"retry: -1\n\ndata: {}\n\n",
}
often = hypothesis_settings(max_examples=examples(400), deadline=None)


def cuts(wire: bytes, seed: int) -> list[bytes]:
    """The reads of a wire: whole, byte by byte, or at random, empty reads among them."""
    if seed % 3 == 0:
        return [wire]
    if seed % 3 == 1:
        return bytewise(wire)
    reads = split(wire, seed, most=9)
    reads.insert(seed % (len(reads) + 1), b"")
    return reads


def to_end(pairs: Pairs) -> Pairs:
    """Up to [DONE], or to an event without data, on which the SDK raises: nobody reads on."""
    ends = (at for at, (_, data) in enumerate(pairs, 1) if not data or data.startswith("[DONE]"))
    return pairs[: next(ends, None)]


def pairs_of(wire: bytes) -> tuple[Pairs, bool]:
    """The events of a body that nobody watches, and whether its bytes can be decoded to the end."""
    try:
        return to_end([(event.event, event.data) for event in reference(wire)]), True
    except UnicodeDecodeError as error:
        line = re.search(rb"(?:^|(?<=[\r\n]))" + re.escape(error.object), wire)
        assert line is not None
        whole = wire[: line.start()]
        return to_end([(event.event, event.data) for event in reference(whole)]), False


def watched(reads: Sequence[bytes]) -> tuple[Pairs, bool]:
    """The same of a body that is only watched; what the watch leaves alone is the SDK's to decode."""
    stream = StreamWatch("other", None, settings("none"), clock=lambda: 0.0)
    pairs: Pairs = []
    for at, data in enumerate(reads, 1):
        stream.receive(data)
        if stream.rest is not None:
            events, rest = stream.undelivered()
            pairs += [(event.event, event.data) for event in events]
            left, whole = pairs_of(rest + b"".join(reads[at:]))
            return to_end(pairs + left), whole
        pairs += [(event.event, event.data) for event in stream.ready]
        stream.ready.clear()
    stream.close()
    events, rest = stream.undelivered()
    left, whole = pairs_of(rest) if stream.rest is not None else ([], True)
    return to_end(pairs + [(event.event, event.data) for event in events] + left), whole


def assert_watched_alike(wire: bytes, seed: int) -> None:
    """Watching a body makes no difference."""
    assert watched(cuts(wire, seed)) == pairs_of(wire)


@given(BODIES, SEEDS)
@often
def test_the_reference_is_what_the_sdk_does(wire: bytes, seed: int) -> None:
    """The decoder that these tests compare with decodes as the newest SDK does."""
    streaming = pytest.importorskip("openai._streaming")
    if not hasattr(streaming, "_SSELineDecoder"):
        pytest.skip("this release splits lines its own way")
    sdk = streaming.SSEDecoder().iter_bytes(iter(cuts(wire, seed)))

    assert [(sent.event, sent.data, sent.id or None, sent.retry) for sent in sdk] == [
        (event.event, event.data, event.id, event.retry) for event in reference(wire)
    ]


@given(BODIES, SEEDS)
@example(b"id: 7\n\n\n\n: ping\n\n", 0)
@example(b"id: 7\r\nid: \0\r\n\r\ndata:\r\n\r\n\r\n", 1)
@example(b"retry: 1\n\nretry: x\n\n", 0)
@example(b"event\n\nevent:\n\nevent: x\n\ndata\n\n", 1)
@example(b'data: {"a":\ndata: 1}\n\n', 2)
@example("data: a\u2028b\u0085c\n\n".encode(), 1)
@often
def test_observing_gives_what_the_sdk_decodes(wire: bytes, seed: int) -> None:
    """Any fields, any line ends, any cut: names and data are those of the SDK's own decoder."""
    assert_watched_alike(wire, seed)


@given(TORN, SEEDS)
@example(b"data: a\n\ndata: \xff\n\ndata: b\n\n", 1)
@often
def test_bytes_that_are_no_text_are_left_to_the_sdk(wire: bytes, seed: int) -> None:
    """Up to the first line that is not UTF-8 the same events; then the SDK raises, where it always did."""
    assert_watched_alike(wire, seed)


@given(st.binary(max_size=400), SEEDS)
@often
def test_any_bytes_at_all(wire: bytes, seed: int) -> None:
    """Noise is decoded, or left alone, as the SDK does."""
    assert_watched_alike(wire, seed)


@pytest.mark.parametrize("wire", EDGES.values(), ids=EDGES.keys())
def test_the_edges_are_read_as_the_sdk_does(wire: bytes) -> None:
    """Wires at the edges of the format, which repairs touch, or which are no good in any way."""
    assert watched([wire]) == pairs_of(wire)


@given(BODIES, SEEDS, st.sampled_from(["default", "all"]))
@often
def test_a_cut_makes_no_difference_to_repairs(wire: bytes, seed: int, repair: str) -> None:
    """Whatever is repaired in the framing, it is the same for every cut."""
    wire += b"\n\ndata: last\n\n"
    assume(b"id" not in wire or b"\r" not in wire)  # blank lines after an id are events, and CR CR LF is cut at will
    whole = watch("other", wire, repair)

    assert watch("other", cuts(wire, seed), repair).comparable() == whole.comparable()


def test_a_cut_makes_no_difference_to_a_stray_document() -> None:
    """A line of JSON after an event is the same thing whether both came in one read or not."""
    wire = b"data: {}\n\n{}\n\n"

    assert watch("other", bytewise(wire)).comparable() == watch("other", wire).comparable()


def test_an_event_is_there_with_the_last_byte_of_its_blank_line() -> None:
    """Not a byte later, and not one earlier, in each kind of line end."""
    for end in (b"\n", b"\r\n", b"\r"):
        stream, wire = StreamWatch("other"), b'data: {"a":1}\n\n'.replace(b"\n", end)
        for at in range(len(wire)):
            early = end == b"\r\n" and at == len(wire) - 1  # the CR has ended the line already
            assert bool(stream.ready) == early
            stream.receive(wire[at : at + 1])
        assert [event.data for event in stream.ready] == ['{"a":1}']


def test_a_large_event_in_small_reads_costs_no_more_than_its_bytes() -> None:
    """2 MiB in reads of 64 bytes: searched once, not once a read. Quadratic, it would take minutes."""
    wire = sse(chunk({"content": "x" * (2 << 20)}))
    start = time.process_time()

    seen = watch("chat", [wire[at : at + 64] for at in range(0, len(wire), 64)])

    assert len(seen.payloads[0]["choices"][0]["delta"]["content"]) == 2 << 20
    assert time.process_time() - start < 5


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_event_too_large_is_left_alone_with_all_that_follows(size: int) -> None:
    """Memory is bounded, and no byte is lost: what is not handed on stands in `undelivered`."""
    small, large = body(said("One")[:2], done=False), body(said("x" * 900)) + DONE
    wire, stream = small + large, StreamWatch("chat", None, settings(max_event_bytes=300))
    at = 0
    while stream.rest is None and at < len(wire):
        stream.receive(wire[at : at + size])
        at += size
    events, rest = stream.undelivered()
    given_back = b"".join(b"data: " + event.raw + b"\n\n" for event in events) + rest + wire[at:]

    assert stream.rest is not None
    assert reference_data(given_back) == reference_data(wire)


def reference_data(wire: bytes) -> list[str]:
    """The data of every event."""
    return [event.data for event in reference(wire)]


def test_the_frame_of_an_event_is_counted_once_a_stream() -> None:
    """A server that frames every event its own way is one anomaly, not ten thousand."""
    seen = watch("chat", body(said(*"abcdefgh")).replace(b"data: ", b"data:").replace(b"\n", b"\r\n"))

    assert seen.report.anomalies[SSE_FRAMING_VARIANT] == 1


def test_a_byte_order_mark_is_one_even_in_three_reads() -> None:
    """The mark is taken off however it comes, and only at the start."""
    wire = b"\xef\xbb\xbf" + body(said("\ufeffOne"))
    seen = watch("chat", bytewise(wire))

    assert seen.report.anomalies[PAYLOAD_INVALID] == 1
    assert seen.payloads[1]["choices"][0]["delta"]["content"] == "\ufeffOne"


@pytest.mark.parametrize("torn", [1, 2, 3, 9, 40])
def test_a_torn_last_event_stays_lost(torn: int) -> None:
    """An event that stops in the middle of its JSON is not handed on: nobody could read it."""
    wire = body(said("One"), done=False)[: -2 - torn]
    seen = watch("chat", wire)

    assert len(seen.events) == 2
    assert seen.report.verdict is Verdict.TRUNCATED


def test_line_ends_of_unicode_end_no_line() -> None:
    """U+2028, U+2029, U+0085 and the control characters of `str.splitlines` are text."""
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"
    wire = f'data: {{"text":"{text}"}}\n\n'.encode()

    assert [event.data for event in watch("other", wire, "none").events] == [f'{{"text":"{text}"}}']


def test_an_id_stays_until_another_one_comes() -> None:
    """As the SDK reads it: the last id is on every later event, and one with a NUL is ignored."""
    wire = b'data: {"a":1}\n\nid: 7\ndata: {}\n\ndata: {}\n\nid: x\0\ndata: {}\n\nid: 8\ndata: {}\n\n'

    assert [event.id for event in watch("other", wire, "none").events] == [None, "7", "7", "7", "8"]


@pytest.mark.parametrize("line", [b"retry: x", b"retry: ", b"retry: 1.5"])
def test_a_retry_that_is_no_number_is_none(line: bytes) -> None:
    """It makes no event; the last one that is a number counts."""
    (event,) = watch("other", b"retry: 7\n" + line + b"\ndata: {}\n\n", "none").events

    assert event.retry == 7
    assert watch("other", line + b"\n\n", "none").events == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("character", "\u0085\u2028\u2029")
def test_a_false_line_end_in_the_text_is_told(character: str, end: bytes) -> None:
    """Old readers split events there, on the shortest way and on the longest."""
    wire = f'data: {{"text":"a{character}b"}}\n\n'.encode().replace(b"\n", end)
    seen = watch("other", wire + wire)

    assert seen.report.anomalies == {SSE_FRAMING_VARIANT: 1}
    assert seen.payloads == [{"text": f"a{character}b"}] * 2


@pytest.mark.parametrize("torn", [b"data: \xff\n\n", b"event: \xff\ndata: {}\n\n", b"data: {}\r\ndata: \xff\r\n\r\n"])
def test_bytes_that_are_no_text_end_the_watch(torn: bytes) -> None:
    """From there on all is the SDK's, what is behind them in the same read included; closing adds nothing."""
    first, rest = sse(chunk({"content": "One"})), torn + sse(chunk({"content": "two"}))
    for reads in ([first + rest], [first, rest]):
        stream = StreamWatch("chat")
        assert [stream.receive(read) for read in reads][-1] is False
        events, left = stream.undelivered()
        stream.close()

        assert len(events) == len(stream.ready) == 1
        assert left == rest.replace(b"\r\n\r\n", b"\n\n")  # what the boundary was does not matter any more
        assert stream.report().anomalies[PAYLOAD_INVALID] == 1


def test_a_torn_character_at_the_end_is_left_to_the_sdk() -> None:
    """It raises on it, and should: the bytes are there for it."""
    stream = StreamWatch("chat")
    stream.receive(sse(chunk({"content": "One"})) + b"data: caf\xc3")
    stream.close()

    assert stream.undelivered()[1] == b"data: caf\xc3"
    assert stream.report().anomalies[PAYLOAD_INVALID] == 1


def test_done_without_its_blank_line_is_done() -> None:
    """Nothing is lost with it, and nothing is handed on for it; a stream without a finish has it all the same."""
    for wire in (body(said("One"), done=False), body(said("One")[:2], done=False)):
        seen = watch("chat", wire + b"data: [DONE]\n")
        assert seen.delivered == watch("chat", wire).delivered
        assert seen.report.verdict is Verdict.COMPLETE
        assert "sse_event_unterminated" not in seen.report.kinds


def test_a_false_line_end_in_an_event_of_several_lines_is_told() -> None:
    """Read line by line, and told all the same; in another field than data it harms nobody."""
    data, name = 'id: x\ndata: {"text":"a\u2028b"}\n\n'.encode(), "id: x\nevent: a\u2028b\ndata: {}\n\n".encode()

    assert watch("other", data).report.anomalies == {SSE_FRAMING_VARIANT: 1}
    assert watch("other", name).report.anomalies == {}


@pytest.mark.parametrize("first", [b"foo: bar\n\n", b"foo\n", b"x{}\n\n"])
def test_a_field_that_is_not_known_is_no_error(first: bytes) -> None:
    """Before the first event too: only what looks like a document may hide one."""
    seen = watch("chat", first + body(said("One")))

    assert "error_hidden" not in seen.report.kinds
    assert seen.report.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("prefix", [b"data:", b"data: ", b"data:  data:"])
def test_an_event_that_was_framed_twice_keeps_what_its_frame_says(prefix: bytes) -> None:
    """Name, id and retry stand outside."""
    seen = watch("other", b"event: a\nid: 7\nretry: 5\ndata: " + prefix + b'{"x":1}\n\n')

    (event,) = seen.events
    assert (event.event, event.id, event.retry, event.data, event.payload) == ("a", "7", 5, '{"x":1}', {"x": 1})


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_every_line(end: bytes) -> None:
    """Name, comment, data and id, each on its line."""
    wire = b'event: a\n: hi\ndata: {\ndata: "x": 1}\nid: 7\n\ndata: {}\n\n'.replace(b"\n", end)

    assert [(event.event, event.id, event.payload) for event in watch("other", wire).events] == [
        ("a", "7", {"x": 1}),
        (None, "7", {}),
    ]


@pytest.mark.parametrize("field", ["data", "event", "id", "retry"])
def test_a_field_without_its_blank_is_a_variant(field: str) -> None:
    """`data:{}` for `data: {}`: one blank, if there is one, is no part of the value."""
    lines = {"event": "a", "id": "7", "retry": "5", "data": "{}"}
    wire = "".join(f"{name}:{'' if name == field else ' '}{value}\n" for name, value in lines.items()).encode() + b"\n"
    seen = watch("other", wire)

    (event,) = seen.events
    assert (event.event, event.id, event.retry, event.payload) == ("a", "7", 5, {})
    assert seen.report.anomalies == {SSE_FRAMING_VARIANT: 1}
    assert watch("other", wire.replace(f"{field}:".encode(), f"{field}: ".encode())).report.anomalies == {}
