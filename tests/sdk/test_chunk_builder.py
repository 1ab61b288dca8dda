"""The objects that the SDK is spared to construct: nothing can tell them from its own."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from openai._models import construct_type
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from conftest import Watched
from helpers import sdk
from helpers.letters import LETTERS
from helpers.quick import examples
from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.core.settings import Policy, Settings
from streamwatch.sdk import chunk_builder
from streamwatch.sdk.chunk_builder import ChunkBuilder, EventTypes
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

pydantic = pytest.importorskip("pydantic")
pytestmark = pytest.mark.skipif(pydantic.VERSION.startswith("1."), reason="models are built with pydantic 2 alone")

CASTS: dict[str, Any] = {"chat": ChatCompletionChunk, "completions": Completion}
if sdk.HAS_RESPONSES:
    from openai.types.responses import ResponseStreamEvent

    CASTS["responses"] = ResponseStreamEvent
SERVED = [name for name in RECORDINGS if recorded_api(name) in CASTS]


def inside(value: Any) -> Any:
    """All that makes up an object: classes, the order of fields, what was set, what is extra."""
    if isinstance(value, list):
        return ["list", *map(inside, value)]
    if isinstance(value, dict):
        return ["dict", *((key, inside(member)) for key, member in value.items())]
    if isinstance(value, pydantic.BaseModel):
        extra, state = value.__pydantic_extra__, value.__pydantic_private__
        return [type(value), inside(value.__dict__), inside(extra), sorted(value.__pydantic_fields_set__), state]
    return type(value), repr(value)


def own(api: str, payload: Any) -> Any:
    """What the SDK itself constructs; an exception where it raises."""
    try:
        return construct_type(type_=CASTS[api], value=copy.deepcopy(payload))
    except Exception as error:
        return error


def new(api: str) -> ChunkBuilder:
    """Nothing learned yet."""
    return ChunkBuilder(construct_type, CASTS[api])


class Counting(ChunkBuilder):
    """A builder that counts what the SDK constructs for it."""

    def __init__(self, api: str = "chat") -> None:
        self.lessons = 0
        super().__init__(self._counted, CASTS[api])

    def _counted(self, value: Any, type_: Any) -> Any:
        self.lessons += 1
        return construct_type(value=value, type_=type_)

    def follows(self, payload: dict[str, Any]) -> bool:
        """Build an object; return whether a template was followed."""
        before = self.lessons
        return self.build(payload) is not payload and self.lessons == before

    def learns(self, payload: dict[str, Any]) -> bool:
        """Return whether the object after this payload follows a template of it."""
        self.build(payload)
        return self.follows(payload)

    @property
    def kinds(self) -> int:
        """How many kinds of events are known."""
        return len(self._young) + len(self._old)

    @property
    def weight(self) -> int:
        """How many bytes all templates take."""
        return sum(shapes.weight for shapes in (*self._young.values(), *self._old.values(), self._unnamed))


def payloads(wire: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a body."""
    found = []
    for line in wire.splitlines():
        if line.startswith(b"data: {"):
            try:
                payload = json.loads(line[6:])
            except ValueError:
                continue
            found.append(payload)
    return found


def dumped(value: Any) -> Any:
    """An object as JSON; the error where pydantic cannot write it."""
    try:
        return value.model_dump_json()
    except Exception as error:
        return repr(error)


def check(api: str, made: Any, payload: Any) -> bool:
    """Whether an object was made; if so, it is the SDK's own in every respect."""
    if made is payload:
        return False
    expected = own(api, payload)
    assert inside(made) == inside(expected)
    assert repr(made) == repr(expected)
    assert made == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic on what a server made up; the SDK's own object does it too
        assert dumped(made) == dumped(expected)
    return True


# --- the same object


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("name", SERVED)
def test_recorded_chunks_are_the_sdks_own(name: str) -> None:
    """Whatever a server sends: read twice, the second time with what was learned the first time."""
    api = recorded_api(name)
    known = new(api)
    wire = (HERE / f"{name}.sse").read_bytes()
    for payload in payloads(wire) + payloads(wire):
        check(api, known.build(payload), payload)


@pytest.mark.slow
def test_chunks_of_all_real_servers_are_the_sdks_own(shared: Path) -> None:
    """One process that talks to 39 providers: no difference, and most chunks are spared the construction."""
    index = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text("utf-8").splitlines()]
    known = {api: new(api) for api in CASTS}
    made = total = 0
    for entry in index[
        ::3
    ]:  # a second of the CPU for each hundred: all of them were checked once, without a difference
        api = entry["surface"]
        if api in CASTS:
            for payload in payloads((shared / "corpus" / "streams" / f"{entry['id']}.sse").read_bytes())[:60]:
                total += 1
                made += check(api, known[api].build(payload), payload)
    assert made > 0.5 * total > 2_000


STRANGE: Any = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, 2**70, "", "x", "stop", "assistant", "\ud83d", "\x00", "é", [], {}]
)
JSON = st.recursive(
    STRANGE, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(LETTERS), inner, max_size=2)
)
KEYS = ["id", "type", "role", "content", "delta", "index", "usage", "created", "x", "_fields_set", "error", "choices"]


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of everything in a payload."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, member in value.items():
            found += paths(member, (*at, key))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            found += paths(member, (*at, place))
    return found


def changed(payload: Any, chance: random.Random, value: Any) -> Any:
    """A payload with one thing in it changed, taken out, added, or the order of its members."""
    payload = copy.deepcopy(payload)
    holder = payload
    *way, last = chance.choice(paths(payload))
    for step in way:
        holder = holder[step]
    how = chance.randrange(4)
    if how == 0 or not isinstance(holder, dict):
        holder[last] = value
    elif how == 1:
        del holder[last]
    elif how == 2:
        holder[chance.choice(KEYS)] = value
    else:
        members = list(holder.items())
        chance.shuffle(members)
        holder.clear()
        holder.update(members)
    return payload


SEEDS: dict[str, list[Any]] = {api: [] for api in CASTS}
for _name in SERVED:
    SEEDS[recorded_api(_name)] += payloads((HERE / f"{_name}.sse").read_bytes())[:40]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("api", CASTS)
def test_no_payload_makes_another_object_than_the_sdk_does(api: str) -> None:
    """A template of one payload, and one that differs in anything at all from it, in both orders."""

    @hypothesis_settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(SEEDS[api]), st.integers(0, 2**32), st.lists(JSON, min_size=1, max_size=4))
    def holds(payload: Any, seed: int, values: list[Any]) -> None:
        chance = random.Random(seed)
        known = new(api)
        variants = [payload]
        for value in values:
            variants.append(changed(chance.choice(variants), chance, value))
        for variant in variants + variants:
            check(api, known.build(variant), variant)

    holds()


@pytest.mark.parametrize(
    ("field", "value"),
    [("choices", []), ("usage", {}), ("created", 1.5), ("created", True), ("id", None), ("model", "\ud83d")],
)
def test_what_does_not_fit_is_constructed_by_the_sdk(field: str, value: Any) -> None:
    """The first payload of a shape of its own is like no template."""
    known = Counting()
    first, second = sdk.chat("a", "b")[1:3]
    known.build(first)
    assert known.follows(second)
    assert inside(known.build(second)) == inside(own("chat", second))
    odd = {**second, field: value}
    assert not known.follows(odd)
    assert check("chat", known.build(odd), odd)


def test_objects_share_nothing() -> None:
    """What an application does to one chunk is not seen in another; the first is the one that the SDK constructed."""
    known = new("chat")
    chunks = [known.build(payload) for payload in sdk.chat(*"abcde")[1:6]]
    for chunk in chunks:
        chunk.choices[0].delta.content = "changed"
        chunk.choices[0].delta.__pydantic_fields_set__.clear()
        chunk.choices.append(chunk.choices[0])
        chunk.__pydantic_fields_set__.add("model")
        chunk.model_extra["more"] = 1
    payload = sdk.chat("f")[1]
    assert check("chat", known.build(payload), payload)


# --- how much is learned


def test_the_second_chunk_of_a_shape_is_built() -> None:
    """One lesson is enough, and its object is not constructed twice."""
    known = Counting()
    assert [known.follows(payload) for payload in sdk.chat(*"abcdefgh")] == [False, False, *[True] * 7, False]
    assert known.lessons == 3


@pytest.mark.slow
def test_shapes_that_never_recur_cost_next_to_nothing() -> None:
    """Lessons are rationed: one for 64 events, and patience ends after 16 misses."""
    known = Counting()
    for number in range(20_000):
        known.build({**sdk.chat("a")[1], f"new_{number}": number})
    assert 16 <= known.lessons <= 64 + 20_000 / 64


def test_templates_come_back_after_a_while_of_misses() -> None:
    """A server that sends what cannot be learned does not spoil it for the next one."""
    known = Counting()
    for payload in sdk.chat("a", "b"):
        known.build(payload)
    for number in range(500):
        known.build({**sdk.chat("a")[1], "created": number + 0.5})
    chunks = sdk.chat(*("a" * 60))
    assert [known.follows(chunk) for chunk in chunks][20:60] == [True] * 40


# --- how much is kept


def typed(name: str, **more: Any) -> dict[str, Any]:
    """An event of a type of its own."""
    return {**sdk.chat("a")[1], "type": name, **more}


def shaped(*names: str) -> dict[str, Any]:
    """A chunk whose delta has these members."""
    return {**sdk.chat("a")[1], "choices": [{"index": 0, "delta": dict.fromkeys(names, 1), "finish_reason": None}]}


@pytest.mark.parametrize("make", [typed, shaped])
def test_kinds_are_bounded(make: Any) -> None:
    """A server that makes up kinds of events does not fill the memory: 128 are known at most."""
    known = Counting()
    most = 0
    for number in range(1000):
        known.build(make(f"made.up.{number}"))
        most = max(most, known.kinds)
    assert most == 128


def test_kinds_that_are_used_outlive_those_that_are_not() -> None:
    """However many kinds an endpoint makes up: the streams of the others are built as fast as before."""
    known = Counting()
    text = sdk.chat("a")[1]
    assert known.learns(text)
    for number in range(1000):
        known.build(typed(f"made.up.{number}"))
        assert known.follows(text)


@pytest.mark.slow
def test_kinds_that_were_forgotten_are_learned_again() -> None:
    """More kinds than are kept, all at once, do not switch the templates off."""
    known = Counting()
    text = sdk.chat("a")[1]
    known.build(text)
    for number in range(130):
        known.build(typed(f"made.up.{number}"))
    assert [known.follows(text) for _ in range(200)][96:] == [True] * 104


def test_templates_of_a_kind_are_bounded() -> None:
    """Of one kind 16 are known."""
    known = Counting()
    for number in range(200):
        known.build({**sdk.chat("a")[1], **{f"x{each}": 1 for each in range(number % 40)}})
    assert [len(shapes.templates) for shapes in known._young.values()] == [16]


@pytest.mark.parametrize(
    ("payload", "is_kept"),
    [
        (typed("x" * 64), True),
        (typed("x" * 65), False),
        (shaped(*"abcdefghijklmnop"), True),
        (shaped(*"abcdefghijklmnopq"), False),
        (shaped("x" * 64), True),
        (shaped("x" * 65), False),
    ],
)
def test_long_names_of_kinds_are_not_kept(payload: dict[str, Any], is_kept: bool) -> None:
    """Nothing is kept of them; those that come again are built all the same."""
    known = Counting()
    assert known.learns(payload)
    assert known.kinds == is_kept


@pytest.mark.parametrize(
    ("name", "value", "is_learned"),
    [
        ("created", "x" * 256, True),
        ("created", "x" * 257, False),
        ("created", "é" * 64, True),
        ("created", "é" * 65, False),
        ("model", 2**2047, True),
        ("model", 2**2055, False),
    ],
    ids=repr,
)
def test_long_values_are_not_kept(name: str, value: Any, is_learned: bool) -> None:
    """A template holds what has to be equal, up to 256 bytes each: here a text in place of a number, and the reverse."""
    assert Counting().learns({**sdk.chat("a")[1], name: value}) is is_learned


@pytest.mark.parametrize(("length", "is_learned"), [(256, True), (257, False)])
def test_long_keys_are_not_kept(length: int, is_learned: bool) -> None:
    """The same of the names of members that nobody knows."""
    assert Counting().learns({**sdk.chat("a")[1], "x" * length: 1}) is is_learned


@pytest.mark.slow
@pytest.mark.parametrize("is_inside", [False, True])
def test_large_shapes_are_not_kept(is_inside: bool) -> None:
    """A template takes up to 32 KiB: with one long name more, none is taken; the same of an object inside."""
    weights = []
    for members in range(120):
        known, payload = Counting(), sdk.chat("a")[1]
        holder = payload["choices"][0]["delta"] if is_inside else payload
        holder.update({f"{number:0256}": 1 for number in range(members)})
        # A delta with so many members has no kind of its own: its templates are kept all the same.
        if known.learns(payload):
            weights.append(known.weight)
    assert len(weights) < 120
    assert 32_768 - (256 + 100) < max(weights) <= 32_768


@pytest.mark.slow
def test_all_templates_together_are_bounded() -> None:
    """Large ones of as many kinds as are known: 2 MiB, and one template more."""
    known = Counting()
    most = 0
    for number in range(3000):
        known._credit = 64
        known.build(typed(f"{number % 50}", **{f"{number * 100 + each:0256}": 1 for each in range(75)}))
        most = max(most, known.weight)
    assert 1_900_000 < most <= (2 << 20) + (32 << 10)


# --- who may be spared


class Client(openai.OpenAI):
    """A client that looks at what comes."""

    def _process_response_data(self, **options: Any) -> Any:
        assert isinstance(options["data"], dict)
        return super()._process_response_data(**options)


def received(watched: Watched, **options: Any) -> list[Any]:
    """Chunks of one stream, read with Streamwatch."""
    chunks = list(sdk.create(sdk.client(sdk.frames(sdk.chat(*"abcdef")), **options)))
    watched.settle()
    assert watched.reports[-1].verdict == "complete"
    return chunks


@pytest.fixture
def constructed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the SDK's client casts, chunk by chunk."""
    seen = []
    original = ChatCompletionChunk.construct.__func__  # type: ignore[attr-defined]

    def process(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        seen.append(data)
        return stock(self, data=data, cast_to=cast_to, response=response)

    stock = openai._base_client.BaseClient._process_response_data
    assert original
    monkeypatch.setattr(chunk_builder, "home", _home_of_stock)
    monkeypatch.setattr(openai._base_client.BaseClient, "_process_response_data", process)
    return seen


def _home_of_stock(function: Any) -> Any:
    """The test's own wrapper passes for the SDK's."""
    name = getattr(function, "__name__", "")
    return "openai._base_client" if name in ("process", "_process_response_data") else "openai._models"


def test_the_sdk_is_given_events_to_build(watched: Watched, constructed: list[Any]) -> None:
    """It casts them to a type of ours."""
    received(watched)
    assert {"CastEvent"} == set(of_types(constructed))


@pytest.mark.parametrize("api", [api for api in CASTS if api != "completions"])
def test_nobody_holds_an_object_but_the_application(watched: Watched, api: str) -> None:
    """The SDK's loop holds what it gets of an event until the next one, and an object is larger than its JSON."""
    for _ in range(2):
        stream = sdk.create(sdk.client(sdk.healthy(api)), api)
        alive = [weakref.ref(next(stream))() for _ in range(2)]
        stream.response.close()
    assert [None, None] == alive


@pytest.mark.parametrize("error", ["null", "false", "{}"])
def test_an_error_without_anything_in_it_raises_nothing(watched: Watched, error: str) -> None:
    """Nor is it built: the SDK looks for one in the JSON."""
    chunk = {**sdk.chat("a")[1], "error": json.loads(error)}
    chunks, raised = everything("sync", "chat", sdk.frames([*sdk.chat("a")[:2], chunk]))
    assert raised is None
    assert inside(own("chat", chunk)) == inside(chunks[2])


def test_an_error_raises_as_without_us(watch: Callable[..., Watched]) -> None:
    body = sdk.frames([*sdk.chat("a")[:2], {**sdk.chat("a")[1], "error": {"message": "busy"}}])
    _, plain = everything("sync", "chat", body)
    watch()
    chunks, raised = everything("sync", "chat", body)
    assert 2 == len(chunks)
    assert isinstance(raised, openai.APIError)
    assert repr(plain) == repr(raised)


def test_a_client_that_processes_the_data_itself_gets_data(watched: Watched) -> None:
    """Whoever overrides the SDK's method sees what the SDK would have given it."""
    assert 8 == len(received(watched, cls=Client))


def test_strict_validation_stays_strict(watched: Watched) -> None:
    """The SDK validates what it is asked to validate."""
    broken = [{**payload, "created": "no number"} for payload in sdk.chat(*"abc")]
    with pytest.raises((openai.APIResponseValidationError, pydantic.ValidationError)):
        list(sdk.create(sdk.client(sdk.frames(broken), _strict_response_validation=True)))


@pytest.mark.parametrize("place", ["_base_client.construct_type", "_models.BaseModel.construct"])
def test_who_patches_the_construction_is_asked(watched: Watched, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Every chunk goes through a patched function, as it would without Streamwatch."""
    *way, name = place.split(".")
    holder: Any = openai
    for step in way:
        holder = getattr(holder, step)
    original = getattr(holder, name)
    seen = []

    def patched(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs)
        return original(*args, **kwargs)

    monkeypatch.setattr(holder, name, patched)
    received(watched)
    assert len(seen) >= 8


def test_it_can_be_switched_off(constructed: list[Any]) -> None:
    """STREAMWATCH_BUILD_CHUNKS=false leaves all construction to the SDK."""
    settings, complaints = Settings.from_environ({"STREAMWATCH_BUILD_CHUNKS": "false"})
    assert complaints == []
    instrumentor = StreamwatchInstrumentor()
    instrumentor.instrument(settings=settings)
    try:
        for _ in range(2):
            list(sdk.create(sdk.client(sdk.frames(sdk.chat(*"abcdef")))))
    finally:
        instrumentor.uninstrument()
    assert {dict} == {type(data) for data in constructed}


class Other(ChatCompletionChunk):
    """A model of an application's own."""


class Stream:
    """What is asked of a stream."""

    def __init__(self, cast_to: Any, **options: Any) -> None:
        self._cast_to = cast_to
        self._client = sdk.client([], **options)


@pytest.fixture
def types() -> Iterator[EventTypes]:
    """The classes of events, and the SDK's classes as they were afterwards."""
    made = EventTypes(openai._streaming.ServerSentEvent, pytest.fail, builds=True)  # type: ignore[arg-type]
    yield made
    made.close()


def test_only_the_sdks_own_sorts_are_built(types: EventTypes) -> None:
    """What an application has its streams cast to is the SDK's to construct."""
    plain = types.of(object())
    assert plain is types.of(Stream(Other))
    assert plain is not types.of(Stream(ChatCompletionChunk))
    assert types.of(Stream(ChatCompletionChunk)) is types.of(Stream(ChatCompletionChunk))


def test_after_the_end_nothing_is_built_and_no_class_is_touched(types: EventTypes) -> None:
    """Another thread may be opening a stream while Streamwatch is switched off."""
    before = vars(ChatCompletionChunk).copy()
    types.close()
    assert types.of(Stream(ChatCompletionChunk)) is types.of(object())
    assert vars(ChatCompletionChunk) == before


def test_who_stands_between_is_noticed_on_one_client_alone(types: EventTypes) -> None:
    """A client whose own method was exchanged, as tests and proxies do."""
    stream = Stream(ChatCompletionChunk)
    stream._client._process_response_data = lambda **options: options["data"]
    assert types.of(stream) is types.of(object())
    assert types.of(Stream(ChatCompletionChunk)) is not types.of(object())


# --- what the SDK casts to


def test_everybody_but_the_loop_finds_the_sdks_own_type(watched: Watched) -> None:
    """Programs ask a stream what it is a stream of, and make another one of it: before, while and after it is read."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    found = [stream._cast_to, vars(stream)["_cast_to"]]
    next(stream)
    found += [stream._cast_to, *(stream._cast_to for _ in stream), getattr(stream, "_cast_to", None)]

    assert {ChatCompletionChunk} == set(found)
    stream._cast_to = Other
    assert stream._cast_to is Other
    del stream._cast_to
    assert not hasattr(stream, "_cast_to")


def everything(mode: str, api: str, body: Any) -> tuple[list[Any], Any]:
    """The chunks of a stream, and what ended it."""
    chunks: list[Any] = []

    async def read() -> None:
        async for chunk in await sdk.create(sdk.async_client(body), api):
            chunks.append(chunk)

    try:
        if mode == "async":
            asyncio.run(read())
        else:
            chunks.extend(sdk.create(sdk.client(body), api))
    except Exception as error:
        return chunks, error
    return chunks, None


STREAMED = [api for api in CASTS if api != "completions"]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("api", STREAMED)
def test_the_loop_asks_no_class_what_a_built_object_is(
    api: str, mode: str, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A union of 50 classes costs more than all else of a chunk."""
    everything(mode, api, sdk.healthy(api))
    casts = []
    stock = openai._base_client.BaseClient._process_response_data

    def process(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        casts.append(cast_to)
        return stock(self, data=data, cast_to=cast_to, response=response)

    monkeypatch.setattr(chunk_builder, "home", _home_of_stock)
    monkeypatch.setattr(openai._base_client.BaseClient, "_process_response_data", process)
    chunks, error = everything(mode, api, sdk.healthy(api))

    assert len(casts) == len(chunks)
    assert error is None
    assert CASTS[api] not in casts
    assert [inside(chunk) for chunk in chunks] == [
        inside(own(api, chunk.model_dump(exclude_unset=True))) for chunk in chunks
    ]


def test_who_comes_between_before_the_first_read_finds_the_sdks_own_type(watched: Watched) -> None:
    """The SDK's loop looks for the method of its client when it begins."""
    stream = sdk.create(sdk.client(sdk.healthy("chat")))
    casts = []

    def process(*, data: Any, cast_to: Any, response: Any) -> Any:
        casts.append(cast_to)
        return stock(data=data, cast_to=cast_to, response=response)

    stock = stream._client._process_response_data
    stream._client._process_response_data = process

    assert list(stream)
    assert {ChatCompletionChunk} == set(casts)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("api", STREAMED)
@pytest.mark.parametrize("name", ["thread.run.created", "error", "other"])
@pytest.mark.parametrize("data", ['{"id": "a"}', "[1]", '"text"', "7", "true", "null", "[]", '{"type": "error"}'])
def test_what_is_not_built_is_constructed_as_without_us(
    name: str, data: str, api: str, watch: Callable[..., Watched]
) -> None:
    """Events with a name of their own, of which some releases make an object that holds both, and data of any type."""
    body = [f"event: {name}\ndata: {data}\n\n".encode(), *sdk.healthy(api)]
    plain = everything("sync", api, body)
    watch(settings=Settings(repair=Policy("none")))
    watched = everything("sync", api, body)

    assert list(map(inside, plain[0])) == list(map(inside, watched[0]))
    assert repr(plain[1]) == repr(watched[1])


# --- who gets objects


def of_types(chunks: list[Any]) -> list[str]:
    """The names of classes."""
    return [type(chunk).__name__ for chunk in chunks]


def test_an_event_with_a_name_of_its_own_stays_data(watched: Watched, constructed: list[Any]) -> None:
    """Some releases make another object of it, which holds the name and the data."""
    body = [b"event: vendor\n" + frame for frame in sdk.frames(sdk.chat(*"abcdef"))]
    for _ in range(2):
        list(sdk.create(sdk.client(body)))
    assert set(of_types(constructed)) <= {"dict"}


def test_whoever_reads_events_gets_json(watch: Callable[..., Watched]) -> None:
    """As from the SDK: objects are for its own loop alone."""
    watched, payloads = watch(repair="none"), sdk.chat(*"abcdef")
    for _ in range(2):
        stream = sdk.create(sdk.client(sdk.frames(payloads)))
        events = [event.json() for event in stream._iter_events() if event.data != "[DONE]"]
        assert events == payloads
        received(watched)


async def test_whoever_reads_events_asynchronously_gets_json(watch: Callable[..., Watched]) -> None:
    """The same for asynchronous code."""
    watched, payloads = watch(repair="none"), sdk.chat(*"abcdef")
    for _ in range(2):
        stream = await sdk.create(sdk.async_client(sdk.frames(payloads)))
        events = [event.json() async for event in stream._iter_events() if event.data != "[DONE]"]
        assert events == payloads
        received(watched)


@pytest.mark.parametrize("mode", sdk.MODES)
def test_a_method_of_one_client_gets_json(watched: Watched, mode: str) -> None:
    """Tests and proxies exchange it on the client that they have."""
    body, seen = sdk.frames(sdk.chat(*"abcdef")), []
    client = sdk.client(body) if mode == "sync" else sdk.async_client(body)
    own = client._process_response_data

    def process(**options: Any) -> Any:
        seen.append(options["data"])
        return own(**options)

    client._process_response_data = process
    if mode == "sync":
        list(sdk.create(client))
    else:
        asyncio.run(read(client))
    assert {dict} == {type(data) for data in seen}


async def read(client: Any) -> None:
    """Read a stream to its end."""
    async for _ in await sdk.create(client):
        pass
