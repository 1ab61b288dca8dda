"""A machine looks for leaks: what was planted anywhere in any stream is left only where the table says so."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.quick import examples, is_quick, sample
from helpers.stream_builders import body, chunk, fragment, watch
from recordings.build import RECORDINGS, recorded_api
from streamwatch.core.apis.response_families import FAMILIES
from streamwatch.core.apis.response_families import PARTS as PARTS_OF_RESPONSES
from streamwatch.core.settings import SEQUENCE_FIELDS
from streamwatch.export.labels import is_identifier
from streamwatch.export.masking import mask
from streamwatch.export.places import FREE, NAMES, PLACES, PayloadPlace, Rule, api_of
from streamwatch.export.stand_ins import json_text
from streamwatch.export.words import FINISH_REASONS, PARTS, WORDS, finish_reason

Path_ = tuple[str | int, ...]

#: What is planted: a sentence, something in the form of an id, a number. No mask has these letters and digits of its
#: own, so that one of them is a leak.
SENTENCE, ID_LIKE, NUMBER = "QZ J{}' Zé", "QZJ-{}Z", "98{}89"
_LEAK = re.compile(r"[QZJ89é]|\\u00(?:51|5[aA]|4[aA]|3[89]|[eE]9)")
#: Escapes that stand in for others.
_STAND_INS = re.compile(r"\\u(?:00[67][0-9a-f]|d83d|de00)")
_KEPT = {SENTENCE: frozenset[Rule](), ID_LIKE: {Rule.ID, Rule.MODEL}, NUMBER: {Rule.NUMBER, Rule.CODE, Rule.ID}}


def at(place: PayloadPlace, path: Path_) -> PayloadPlace:
    """The place below another one, read without the code that masks."""
    for step in path:
        below = place.element or FREE
        place = below if isinstance(step, int) else (place.members or below.members).get(step, FREE)
    return place


class Planter:
    """Plants a canary at every place of a payload that has a value of its JSON type, or at some of them."""

    def __init__(self, form: str, *, seed: int | None = None) -> None:
        self.form = form
        self.allowed: list[str] = []
        self._planted = 0
        self._random = random.Random(seed) if seed is not None else None
        self._place = FREE

    def plant(self, payload: Any, api: str) -> Any:
        """The payload with canaries in it."""
        if self._random is None and isinstance(payload, dict):
            payload = {key: value for key, value in payload.items() if key not in ("object", "type")} | {
                key: "" for key in ("object", "type") if key in payload
            }
        self._place = PLACES.get(api_of(payload), PLACES[api])
        return self._in(payload, ())

    def _in(self, value: Any, path: Path_) -> Any:
        if isinstance(value, dict):
            planted = {name: self._in(each, (*path, name)) for name, each in value.items()}
            return planted if self._random is None else {**self._more(), **planted}
        if isinstance(value, list):
            return [self._in(each, (*path, at)) for at, each in enumerate(value)]
        if self._random and (path in (("object",), ("type",)) or self._random.random() < 0.5):
            return None if _LEAK.search(json.dumps(value)) else value
        if not isinstance(value, (int, float) if self.form == NUMBER else str) or isinstance(value, bool):
            return None if _LEAK.search(json.dumps(value)) else value
        return self._canary(path)

    def _canary(self, path: Path_) -> Any:
        self._planted += 1
        canary = self.form.format(f"{self._planted:o}")
        if at(self._place, path).rule in _KEPT[self.form]:
            self.allowed.append(canary)
        return int(canary) if self.form == NUMBER else canary

    def _more(self) -> dict[str, Any]:
        """Members that an application or a vendor adds, with names of the protocol inside."""
        below = {name: self._canary(("",)) for name in ("id", "index", "model", "role", "created", "call_id")}
        return {ID_LIKE.format("key"): below, SENTENCE.format("key"): [below, self._canary(("",))]}


def leaks(masked: bytes, allowed: list[str]) -> list[str]:
    """What is left of canaries, beside those that may be."""
    kept = "|".join(map(re.escape, allowed)) or "(?!)"
    return _LEAK.findall(_STAND_INS.sub("", re.sub(rf"(?<![\w-])(?:{kept})(?![\w-])", "", masked.decode())))


def payloads(wire: bytes) -> Iterator[Any]:
    """The JSON payloads of a stream."""
    for line in re.split(rb"\r\n|\n|\r", wire):
        try:
            yield json.loads(line.removeprefix(b"data:"))
        except (ValueError, RecursionError):
            continue


def framed(planted: list[Any], form: str, *, pretty: bool, escaped: bool) -> bytes:
    """Payloads as events, with canaries in every field of a frame, and as a document that is printed over lines."""
    said = form.format(7)
    pieces = [f": {said}\n{said}: {said}\n{said}\n\nevent: {said}\nid: {said}!\nretry: {said}!\n\n<p {said}>{said}\n\n"]
    for payload in planted:
        text = json.dumps(payload, ensure_ascii=escaped, indent=1 if pretty else None)
        pieces.append("".join(f"data: {line}\n" for line in text.split("\n")) + "\n")
    pieces.append(json.dumps(planted[-1:], ensure_ascii=escaped, indent=2))
    return "".join(pieces).encode()


def check(payloads_: list[Any], api: str, form: str, *, seed: int | None = None, **shape: bool) -> int:
    """Plant canaries in payloads and look for what is left of them; returns how many were planted."""
    planter = Planter(form, seed=seed)
    wire = framed([planter.plant(each, api) for each in payloads_], form, **shape)
    masked = mask(wire, api)

    assert leaks(masked, planter.allowed) == []
    assert len(masked) == len(wire)
    return planter._planted


_SEEDS = (None, 1, 2)
_FORMS = pytest.mark.parametrize("form", [SENTENCE, ID_LIKE, NUMBER], ids=["sentence", "id", "number"])


@pytest.mark.quick_cases(8)
@_FORMS
@pytest.mark.parametrize("pretty", [False, True], ids=["line", "lines"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_nothing_planted_in_a_recording_is_left(name: str, form: str, pretty: bool) -> None:
    """At every place of every event, and at half of them, so that the rest is the protocol as it was."""
    found = list(payloads(RECORDINGS[name].wire))

    assert found
    seeds = _SEEDS[pretty:][:1] if is_quick() else _SEEDS
    planted = [check(found, recorded_api(name), form, seed=seed, pretty=pretty, escaped=seed == 1) for seed in seeds]
    assert all(planted) or form == NUMBER  # some events have none


@pytest.mark.slow
@_FORMS
def test_nothing_planted_in_a_stream_of_a_real_server_is_left(form: str, shared: Path) -> None:
    """A sample of every provider and API."""
    entries = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text("utf-8").split("\n") if line]
    random.Random(5).shuffle(entries)
    sample = {(entry["provider"], entry["surface"]): entry for entry in entries if entry["n_events"] < 200}

    assert len(sample) > 30
    for entry in sample.values():
        wire = (shared / "corpus" / "streams" / f"{entry['id']}.sse").read_bytes()
        found = [each for each in payloads(wire) if isinstance(each, dict)]
        for seed in (None, 3) if found else ():
            check(found, entry["surface"], form, seed=seed, pretty=False, escaped=False)


#: JSON with names of the protocol and names of nobody, canaries for strings, at any place and in any shape.
_NAMES = st.sampled_from([*sorted(NAMES), SENTENCE.format("key"), ID_LIKE.format("key"), "metadata", "properties"])
_JSON = st.recursive(
    st.sampled_from(["", None, True, 0, 1]),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_NAMES, below, max_size=6)),
    max_leaves=30,
)


@pytest.mark.quick_cases(2)
@_FORMS
@pytest.mark.parametrize("api", PLACES)
@given(payload=st.dictionaries(_NAMES, _JSON, min_size=1, max_size=8), pretty=st.booleans(), escaped=st.booleans())
@hypothesis_settings(max_examples=examples(60), deadline=None)
def test_nothing_planted_in_any_json_is_left(api: str, form: str, payload: Any, pretty: bool, escaped: bool) -> None:
    """Names that are known in places where they are not, objects for lists, lists for texts."""
    check([payload], api, form, pretty=pretty, escaped=escaped)


def places(place: PayloadPlace, path: Path_ = ()) -> Iterator[tuple[Path_, PayloadPlace]]:
    """Every place of a table, by its path."""
    yield path, place
    for name, below in place.members.items():
        yield from places(below, (*path, name))
    if place.element:
        yield from places(place.element, (*path, 0))


def payload_with(path: Path_, value: Any) -> Any:
    """The smallest payload that has a value at a path."""
    for step in reversed(path):
        value = [value] if isinstance(step, int) else {step: value}
    return value


def shown(path: Path_, value: Any, api: str) -> Any:
    """What a mask shows of a value."""
    masked = json.loads(mask(b"data: " + json.dumps(payload_with(path, value)).encode(), api)[6:])
    for step in path:
        masked = masked[step]
    return masked


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("api", PLACES)
def test_every_place_keeps_what_its_rule_says_and_nothing_else(api: str) -> None:
    """A word where words stand, an id where ids stand, a number where numbers stand; and the names on the way."""
    words = {Rule.WORD, Rule.CODE, Rule.TYPE}
    for path, place in sample(list(places(PLACES[api])), 60):
        rule = place.rule
        kept = {value: shown(path, value, api) == value for value in ("in_progress", "a-b.1:c", 478, "weather")}
        assert kept == {
            "in_progress": rule in words | {Rule.ID, Rule.MODEL},
            "a-b.1:c": rule in {Rule.ID, Rule.MODEL},
            478: rule in {Rule.NUMBER, Rule.CODE, Rule.ID},
            "weather": rule in {Rule.ID, Rule.MODEL},
        }, path
        (below,) = shown(path, {"my own": {"id": 1, "role": 1, "name": 1, "content": 1}}, api).values()
        assert not {*below} & NAMES, path
        assert not _LEAK.search(json.dumps(shown(path, {SENTENCE: {"id": SENTENCE}, "QZJ": [9, "QZJ"]}, api)))


def test_ids_and_names_stay_apart() -> None:
    """What is masked of them is another one for each, and the same each time; none is a word or a member."""
    names = [f"name {letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    payload = {"id": "a b", "metadata": {name: {name: 1} for name in names}, "model": "a b", "n n": 1}
    masked = json.loads(mask(b"data: " + json.dumps(payload).encode(), "chat")[6:])
    (aliases,) = (value for value in masked.values() if isinstance(value, dict))

    assert len(aliases) == len(names)
    assert all(list(below) == [alias] for alias, below in aliases.items())
    assert masked["id"] == masked["model"] != payload["id"]
    assert not {*aliases} & (NAMES | WORDS)


def test_the_name_of_an_event_that_nobody_knows_keeps_its_family() -> None:
    """The parts that the protocol has, and no other."""
    wire = b'event: response.jane_doe.delta\ndata: {"type":"response.jane_doe.delta"}\n\n'
    masked = mask(wire, "responses")

    assert masked.count(b"response.xxxx_xxx.delta") == 2
    assert b'"type":"jane doe.delta"' not in mask(wire.replace(b"response.jane_doe", b"jane doe"), "responses")


@pytest.mark.parametrize("api", PLACES)
def test_the_type_of_an_event_is_no_place_for_a_sentence(api: str) -> None:
    """Not one of its words stays, if all of them are the protocol's."""
    masked = shown(("type",), "user text message", api)

    assert not {"user", "text", "message"} & set(masked.split())


def test_a_field_that_is_set_to_number_chunks_is_kept() -> None:
    """STREAMWATCH_SEQUENCE_FIELDS names it."""
    wire = b'data: {"my_order":17,"choices":[{"my_order":17}]}\n\n'

    assert mask(wire, "chat", ("my_order",)) == wire.replace(b'[{"my_order":17', b'[{"xx_xxxxx":11'.replace(b"_", b"."))
    assert b"17" not in mask(wire, "chat")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("api", ["chat", "responses", "other"])
def test_a_stream_cut_anywhere_says_nothing(api: str) -> None:
    """In a name, an escape, a character: what is torn is masked as well."""
    planter = Planter(SENTENCE)
    payload = {
        "id": "",
        "choices": [{"index": 0, "delta": {"content": "", "": ""}}],
        "metadata": {"a": ""},
        "délta": "",
    }
    wire = framed([planter.plant(payload, api)], SENTENCE, pretty=False, escaped=False)
    for end in range(len(wire)):
        masked = mask(wire[:end], api)
        assert len(masked) == end
        assert not _LEAK.search(masked.decode("utf-8", "replace")), end


@pytest.mark.parametrize(
    "torn",
    [
        '{"metadata":[{"a":1]',
        '{"metadata":{"a":[1}',
        '{"metadata":{"a":1]',
        '{"metadata":[1}',
        '{"metadata":{"a":1:',
        '{"metadata":[1:',
        '{"metadata":{"a",',
        '{"metadata":{"a":1,,',
        '{"metadata":[{}{}',
    ],
)
def test_where_json_ends_no_place_begins(torn: str) -> None:
    """After a bracket or a comma that cannot stand there, nothing is taken for a member of what is around it."""
    wire = f'data: {torn},"id":"QZJ-1","model":"QZJ-2","choices":[{{"index":89,"finish_reason":"stop"}}]}}\n\n'

    assert leaks(mask(wire.encode(), "chat"), []) == []
    assert b"stop" not in mask(wire.encode(), "chat")


def test_a_torn_event_is_forgotten_with_its_end() -> None:
    """The next one is read from its beginning, and keeps what is the protocol's."""
    whole = body([chunk({"content": "x"}, "stop")], done=False)

    assert mask(b'data: {"id":"a","choices":[{"delta":\n\n' + whole, "chat").endswith(mask(whole, "chat"))


@pytest.mark.parametrize("encoding", ["latin-1", "gb18030", "utf-16", "shift_jis", "cp1251"])
def test_bytes_that_are_not_utf_8_say_nothing(encoding: str) -> None:
    """A byte that no character begins with stands in for each."""
    text = "Привет 日本語 naïve".encode(encoding, "ignore")
    masked = mask(b'data: {"choices":[{"index":0,"delta":{"content":"' + text + b'"}}]}\n\n' + text, "chat")
    bad = {byte for byte in masked if byte >= 0x80}

    assert len(text) > 5
    assert bad <= {0xFF, *"\u0101\u3042\U0001f600".encode()}


def test_a_payload_is_masked_by_what_it_says_it_is() -> None:
    """A server that answers in another API's words, and an address that nobody knows."""
    chunks = body([chunk({"content": "x"}, "stop")], done=False)

    assert b'"finish_reason":"stop"' in mask(chunks, "responses")
    assert b'"finish_reason":"stop"' in mask(chunks, "other")
    assert b"stop" not in mask(b'data: {"choices":[{"finish_reason":"stop"}],"id":"078-05-1120"}\n\n', "other")


def test_fragments_that_come_in_disorder_are_masked_in_order() -> None:
    """JSON stays JSON, whatever came first: a string that is open in one fragment is open in the next by number."""
    pieces = ['{"a": "', "true, false", '", "b": tr', "ue}"]
    events = [
        {"type": "response.function_call_arguments.delta", "item_id": "i", "sequence_number": at, "delta": piece}
        for at, piece in enumerate(pieces)
    ]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        wire = b"".join(b"data: %s\n\n" % json.dumps(events[at]).encode() for at in order)
        masked = sorted(payloads(mask(wire, "responses")), key=lambda event: event["sequence_number"])
        assert "".join(event["delta"] for event in masked) == '{"x": "xxxx. xxxxx", "x": true}'


def test_fragments_of_other_calls_are_other_texts() -> None:
    """Each call of each choice has arguments of its own."""
    said = {0: '{"a": ', 1: '["b", ', 2: '{"c": "'}
    first = [chunk({"tool_calls": [fragment(at, piece)]}) for at, piece in said.items()]
    second = [chunk({"tool_calls": [fragment(at, "null")]}) for at in said]
    masked = [
        each["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
        for each in payloads(mask(body(first + second, done=False), "chat"))
    ]

    assert masked == ['{"x": ', '["x", ', '{"x": "', "null", "null", "xxxx"]


def test_the_same_piece_of_a_text_goes_on_where_nothing_numbers_it() -> None:
    """A word that is said twice in a row is no duplicate; with numbers it is."""

    def texts(wire: bytes) -> str:
        return "".join(each["choices"][0]["delta"]["content"] for each in payloads(mask(wire, "chat")))

    pieces = ["Once more unto", " the", " the", " breach"]
    plain = body([chunk({"content": piece}) for piece in pieces], done=False)
    whole = body([chunk({"content": "".join(pieces)})], done=False)
    numbered = body([{**chunk({"content": piece}), "seq": len(piece)} for piece in pieces], done=False)

    assert texts(plain) == texts(whole)
    assert texts(numbered)[14:18] == texts(numbered)[18:22]
    assert "seq" in SEQUENCE_FIELDS


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ('{"a": [true, null, false], "b": -1.5e+9}', '{"x": [true, null, false], "x": -1.1e+1}'),
        (r"{\n  \"a\": true,\n \"b\": null}", r"{\n  \"x\": true,\n \"x\": null}"),
        ("null", "null"),
        ("Is it true or null? e E", "xx xx xxxx xx xxxx? x x"),
        ('{"a": trueish, "b": nul', '{"x": xxxxxxx, "x": xxx'),
    ],
)
def test_literals_are_kept_where_json_has_them(said: str, masked: str) -> None:
    """And are words of a text where it has not."""
    assert json_text(said) == masked


# --- the closed sets


def test_words_are_words() -> None:
    """Short, in the alphabet of identifiers, and no set grows by accident into a vocabulary of prose."""
    assert all(is_identifier(word) and len(word) <= 64 for word in WORDS)
    assert all(part.isalpha() for part in PARTS)


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "end_turn", "MAX_TOKENS", "STOP", "completed", "error"])
def test_a_known_finish_reason_is_told(reason: str) -> None:
    """As the server spells it."""
    assert finish_reason(reason) == reason


@pytest.mark.parametrize("reason", ["", "sToP", "stop ", "John Smith", "error: 401", 7, None, ["stop"], {"stop": 1}])
def test_any_other_finish_reason_is_other(reason: object) -> None:
    """Whatever its type."""
    assert finish_reason(reason) == "other"


def test_finish_reasons_that_a_rule_knows_are_in_the_table() -> None:
    """A stream that shows one is a stream of a known word: none is told as other."""
    for reason in FINISH_REASONS:
        report = watch("chat", body([chunk({"role": "assistant", "content": "x"}), chunk({}, reason)])).report
        assert {finish_reason(each) for each in report.finish_reasons} <= FINISH_REASONS | {"tool_calls"}


@pytest.mark.parametrize("name", [*FAMILIES, *PARTS_OF_RESPONSES])
def test_the_type_of_an_event_that_is_known_is_kept(name: str) -> None:
    """So that a masked capture shows the same kinds as the stream."""
    for verb in ("added", "delta", "done"):
        wire = json.dumps({"type": f"{name}.{verb}"}).encode()

        assert wire in mask(b"data: " + wire + b"\n\n", "responses", ()), "its words: streamwatch/export/words.py"
