"""Dicts of chunks that came without content answer for it; to every other question a chunk and its dicts are the SDK's."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import yaml
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.chat import chat_completion_chunk as module

from conftest import Watched
from helpers import sdk
from recordings.build import HERE, RECORDINGS, recorded_api
from streamwatch.sdk import dict_forms
from streamwatch.sdk.chunk_builder import EventTypes
from streamwatch.sdk.dict_forms import DictForms, fills_dicts

CLASSES = (module.ChatCompletionChunk, module.Choice, module.ChoiceDelta)
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
#: Deltas without a content, as servers send them.
DELTAS: list[dict[str, Any]] = [
    {},
    {"content": None},
    {"role": "assistant"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
    {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
    {"reasoning_content": "Hm.", "content": None},
    {"function_call": {"arguments": "{"}},
    {"refusal": "No."},
]
SET = "__fields_set__" if sdk.PYDANTIC_1 else "__pydantic_fields_set__"
#: What a release raises on a method or an argument that it does not have.
UNKNOWN = (AttributeError, TypeError, ValueError)

#: How a chunk becomes a dict; releases lack some.
UNSET: dict[str, Callable[[Any], Any]] = {
    "to_dict": lambda chunk: chunk.to_dict(),
    "to_dict mode=json": lambda chunk: chunk.to_dict(mode="json"),
    "model_dump": lambda chunk: chunk.model_dump(exclude_unset=True),
    "model_dump mode=json": lambda chunk: chunk.model_dump(mode="json", exclude_unset=True),
    "model_dump by_alias": lambda chunk: chunk.model_dump(by_alias=True, exclude_unset=True),
    "dict": lambda chunk: chunk.dict(exclude_unset=True),
    "of a copy": lambda chunk: copy.copy(chunk).to_dict(),
    "of a deep copy": lambda chunk: copy.deepcopy(chunk).model_dump(exclude_unset=True),
    "of a model_copy": lambda chunk: chunk.model_copy().to_dict(),
    "of a deep model_copy": lambda chunk: chunk.model_copy(deep=True).to_dict(),
    "of the choice": lambda chunk: {"choices": [chunk.choices[0].to_dict()]},
    "of the delta": lambda chunk: {"choices": [{"delta": chunk.choices[0].delta.to_dict()}]},
    "of a copy of the delta": lambda chunk: {"choices": [{"delta": copy.copy(chunk.choices[0].delta).to_dict()}]},
    "copied": lambda chunk: copy.deepcopy(chunk.to_dict()),
    "copied as one": lambda chunk: {"choices": [{"delta": chunk.to_dict()["choices"][0]["delta"].copy()}]},
    "copied alone": lambda chunk: {"choices": [{"delta": copy.copy(chunk.choices[0].delta.to_dict())}]},
}
#: The same without what says nothing: content is in none of them.
LEFT_OUT: dict[str, Callable[[Any], Any]] = {
    "to_dict exclude_none": lambda chunk: chunk.to_dict(exclude_none=True),
    "to_dict exclude_defaults": lambda chunk: chunk.to_dict(exclude_defaults=True),
    "model_dump exclude_none": lambda chunk: chunk.model_dump(exclude_none=True),
    "model_dump exclude_defaults": lambda chunk: chunk.model_dump(exclude_defaults=True),
    "dict exclude_none": lambda chunk: chunk.dict(exclude_none=True),
    "model_dump exclude": lambda chunk: chunk.model_dump(exclude={"choices": {0: {"delta": {"content"}}}}),
}
#: With all fields: content is in all of them, as null.
FULL: dict[str, Callable[[Any], Any]] = {
    "model_dump": lambda chunk: chunk.model_dump(),
    "model_dump mode=json": lambda chunk: chunk.model_dump(mode="json"),
    "model_dump include": lambda chunk: chunk.model_dump(include={"choices": {0: {"delta": {"content"}}}}),
    "dict": lambda chunk: chunk.dict(),
    "of the choice": lambda chunk: {"choices": [chunk.choices[0].model_dump()]},
    "of the delta": lambda chunk: {"choices": [{"delta": chunk.choices[0].delta.model_dump()}]},
}
#: What leaves the process, or is no dict of ours.
WRITTEN: dict[str, Callable[[Any], Any]] = {
    "model_dump_json": lambda chunk: chunk.model_dump_json(),
    "model_dump_json exclude_unset": lambda chunk: chunk.model_dump_json(exclude_unset=True),
    "to_json": lambda chunk: chunk.to_json(),
    "to_json exclude_none": lambda chunk: chunk.to_json(exclude_none=True),
    "json": lambda chunk: chunk.json(),
    "json exclude_unset": lambda chunk: chunk.json(exclude_unset=True),
    "pairs of the delta": lambda chunk: list(chunk.choices[0].delta),
    "dict(delta)": lambda chunk: dict(chunk.choices[0].delta),
    "dict(chunk)": dict,
    "JSON of a dict": lambda chunk: json.dumps(chunk.to_dict()),
    "JSON of a dict, in Python": lambda chunk: json.dumps(chunk.to_dict(), indent=1),
    "YAML of a dict": lambda chunk: yaml.safe_dump(chunk.to_dict()),
    "YAML of a dict by another": lambda chunk: yaml.dump(chunk.to_dict()),
    "a dict of a dict": lambda chunk: dict(chunk.to_dict()["choices"][0]["delta"]),
    "a dict with a dict": lambda chunk: {**chunk.to_dict()["choices"][0]["delta"]},
    "a dict and a dict": lambda chunk: chunk.to_dict()["choices"][0]["delta"] | {"a": 1},
    "a pickled dict": lambda chunk: pickle.loads(pickle.dumps(chunk.to_dict())),
}
DICTS = {
    **{f"unset: {name}": make for name, make in (*UNSET.items(), *LEFT_OUT.items())},
    **{f"full: {name}": make for name, make in FULL.items()},
}


def form(make: Callable[[Any], Any], chunk: Any) -> Any:
    """A chunk in some form; skips the test where this release has no such method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of methods that pydantic gave other names
        try:
            return make(chunk)
        except UNKNOWN as error:
            pytest.skip(f"not in this release: {error}")


def payload(delta: Any, **more: Any) -> dict[str, Any]:
    """A chunk with this delta."""
    return sdk.chunk(copy.deepcopy(delta), **more)


def own(payload: Any) -> Any:
    """What the SDK constructs."""
    return construct_type(type_=ChatCompletionChunk, value=copy.deepcopy(payload))


def inside(value: Any) -> Any:
    """All that makes up an object: classes, the order of fields, what was set, what is extra."""
    if isinstance(value, list):
        return ["list", *map(inside, value)]
    if isinstance(value, dict):
        return ["dict", *((key, inside(member)) for key, member in value.items())]
    if isinstance(value, pydantic.BaseModel):
        more = () if sdk.PYDANTIC_1 else (inside(value.__pydantic_extra__), value.__pydantic_private__)
        return [type(value), inside(vars(value)), sorted(getattr(value, SET)), *more]
    return type(value), repr(value)


def without_content(payload: Any) -> Any:
    """The place of each delta without content: its choice."""
    choices = payload.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else ()):
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and delta.get("content") is None:
            yield place


def check_dict(made: Any, plain: Any, sent: Any, *, nulls: bool) -> None:
    """A dict is the plain one, but that it returns "" where that one raises, or has a null that no other stands for."""
    assert made == plain
    assert plain == made
    assert repr(made) == repr(plain)
    assert json.dumps(made, default=str) == json.dumps(plain, default=str)
    for place in without_content(sent) if made.get("choices") else ():
        one, other = made["choices"][place]["delta"], plain["choices"][place]["delta"]
        assert isinstance(one, dict)
        assert list(one.items()) == list(other.items())
        assert ("content" in one, one.get("content", 0), len(one)) == (
            "content" in other,
            other.get("content", 0),
            len(other),
        )
        assert one["content"] == ("" if nulls or "content" not in other else None)
        assert {key: one[key] for key in one if key != "content"} == {
            key: other[key] for key in other if key != "content"
        }
        with pytest.raises(KeyError, match="no such member"):
            one["no such member"]


@pytest.fixture
def forms() -> Iterator[DictForms]:
    """The SDK's methods wrapped, for the time of a test."""
    made = DictForms(lambda error, doing: pytest.fail(f"{doing}: {error!r}"))
    made.install()
    yield made
    made.remove()


class Maker:
    """Makes filled chunks in both ways: by the SDK, and by a template of that."""

    def __init__(self, types: EventTypes) -> None:
        self.build: Any = types._builders("ChatCompletionChunk", ChatCompletionChunk)[1]

    def __call__(self, payload: Any) -> list[Any]:
        """The first is the SDK's, the second follows its template."""
        return [self.build(copy.deepcopy(payload)) for _ in range(2)]


@pytest.fixture
def filled() -> Iterator[Maker]:
    """Makes filled chunks."""
    types = EventTypes(
        openai._streaming.ServerSentEvent, lambda error, doing: pytest.fail(f"{doing}: {error!r}"), builds=True
    )
    yield Maker(types)
    types.close()


# --- attributes


def check_attributes(chunk: Any, plain: Any) -> None:
    """Nothing can be told from the SDK's own object but by what it is as a dict."""
    assert inside(chunk) == inside(plain)
    assert repr(chunk) == repr(plain)
    assert str(chunk) == str(plain)
    assert chunk == plain
    assert plain == chunk
    choices = zip(chunk.choices, plain.choices) if isinstance(plain.choices, list) else ()
    for one, other in [(getattr(one, "delta", None), getattr(other, "delta", None)) for one, other in choices]:
        assert one == other
        assert other == one
        if isinstance(other, module.ChoiceDelta):
            assert {name: getattr(one, name) for name in vars(other)} == vars(other)
            assert vars(one) == vars(other)
            assert sorted(repr(getattr(one, SET))) == sorted(repr(getattr(other, SET)))
        if isinstance(other, module.ChoiceDelta) and not sdk.PYDANTIC_1:
            assert one.model_fields_set == other.model_fields_set  # type: ignore[union-attr]
            assert one.model_extra == other.model_extra  # type: ignore[union-attr]


@pytest.mark.parametrize("delta", DELTAS, ids=str)
def test_attributes_are_the_sdks(filled: Maker, delta: Any) -> None:
    """An absent or null content is None to whoever asks for the attribute, in whichever way."""
    for chunk in filled(payload(delta)):
        assert chunk.choices[0].delta.content is None
        check_attributes(chunk, own(payload(delta)))


@pytest.mark.parametrize("name", [name for name in RECORDINGS if recorded_api(name) == "chat"])
def test_recorded_chunks_keep_their_attributes(filled: Maker, name: str) -> None:
    """Whatever a server sends; and their dicts differ in nothing but the content."""
    check_body(filled, (HERE / f"{name}.sse").read_bytes())


@pytest.mark.slow
def test_chunks_of_all_real_servers_keep_their_attributes(filled: Maker, shared: Path) -> None:
    """The same for 39 providers."""
    index = [json.loads(line) for line in (shared / "corpus" / "index.jsonl").read_text("utf-8").splitlines()]
    checked = 0
    for entry in [entry for entry in index if entry["surface"] == "chat"][::5]:
        checked += check_body(filled, (shared / "corpus" / "streams" / f"{entry['id']}.sse").read_bytes(), most=20)
    assert checked > 800


def check_body(filled: Maker, body: bytes, most: int = 60) -> int:
    """Check the chunks of a body; returns how many lacked a content."""
    lacking = 0
    for line in [line for line in body.splitlines() if line.startswith(b"data: {")][:most]:
        try:
            sent = json.loads(line[6:])
        except ValueError:
            continue
        if "error" in sent:
            continue
        try:
            plain = own(sent)
        except Exception:  # noqa: S112 -- what the SDK raises on is not filled
            continue
        lacking += len(list(without_content(sent)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic on what a server made up
            for chunk in filled(sent):
                check_attributes(chunk, plain)
                for unset in (True, False):
                    check_dict(_dump(chunk)(exclude_unset=unset), _dump(plain)(exclude_unset=unset), sent, nulls=unset)
    return lacking


def _dump(chunk: Any) -> Any:
    return chunk.dict if sdk.PYDANTIC_1 else chunk.model_dump


def answer(chunk: Any) -> Any:
    """What a dict of a chunk says is its content; "none" where it raises."""
    try:
        return _dump(chunk)(exclude_unset=True)["choices"][0]["delta"]["content"]
    except KeyError:
        return "none"


# --- dicts


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize("delta", DELTAS, ids=str)
@pytest.mark.parametrize("name", DICTS)
def test_dicts_answer_for_a_content(filled: Maker, name: str, delta: Any) -> None:
    """Whoever takes one for granted gets a text; every other question is answered as on the plain SDK."""
    for chunk in filled(payload(delta)):
        made, plain = form(DICTS[name], chunk), form(DICTS[name], own(payload(delta)))
        check_dict(made, plain, payload(delta), nulls=name.startswith("unset"))
        assert chunk.choices[0].delta.content is None


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("delta", DELTAS, ids=str)
@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_as_it_came(filled: Maker, name: str, delta: Any) -> None:
    """JSON, and dicts that others make of ours, may be read by programs that ask whether there is a content."""
    for chunk in filled(payload(delta)):
        made, plain = form(WRITTEN[name], chunk), form(WRITTEN[name], own(payload(delta)))
        assert made == plain
        assert repr(made) == repr(plain)
        assert type(made) is type(plain)


def test_each_delta_without_content_answers(filled: Maker) -> None:
    """Of several choices those that lack one, and no other."""
    sent = payload({"content": "a"})
    sent["choices"] += [
        {"index": 1, "delta": {}},
        {"index": 2, "delta": {"content": "b"}},
        {"index": 3, "delta": {"content": None}},
    ]
    for chunk in filled(sent):
        deltas = [choice["delta"] for choice in _dump(chunk)(exclude_unset=True)["choices"]]
        assert [delta["content"] for delta in deltas] == ["a", "", "b", ""]
        assert [type(delta) is dict for delta in deltas] == [True, False, True, False]
        assert [choice.delta.content for choice in chunk.choices] == ["a", None, "b", None]


def test_what_is_picked_by_place_is_as_it_came(filled: Maker) -> None:
    """With pydantic 2, which does not say of which choice a dict is."""
    sent = payload({"content": "a"})
    sent["choices"].append({"index": 1, "delta": {}})
    for chunk in filled(sent):
        options = {"exclude": {"choices": {0}}, "exclude_unset": True}
        made = _dump(chunk)(**options)
        assert made == _dump(own(sent))(**options)
        assert sdk.PYDANTIC_1 or type(made["choices"][-1]["delta"]) is dict  # pydantic 1 asks each delta


def test_a_dict_can_be_written_to(filled: Maker) -> None:
    """As a plain one, text that is added to nothing included."""
    for delta in ({}, {"content": None}):
        for chunk in filled(payload(delta)):
            made = _dump(chunk)(exclude_unset=True)["choices"][0]["delta"]
            made["content"] += "text"
            assert made == {"content": "text"}
            assert made["content"] == made.get("content") == "text"


@pytest.mark.parametrize(
    "choices",
    [None, [], "x", ["x"], [{"index": 0}], [{"index": 0, "delta": None}], [{"index": 0, "delta": "x"}], {"0": {}}],
)
def test_what_has_no_delta_is_left_alone(forms: DictForms, choices: Any) -> None:
    """Servers send odd things where choices should stand."""
    sent = {**payload({}), "choices": choices}
    try:
        plain = own(sent)
    except Exception:
        return  # the SDK raises: nothing is filled then
    chunk = forms.mark(own(sent))
    assert inside(chunk) == inside(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _dump(chunk)() == _dump(plain)()


def test_dicts_of_a_chunk_that_lacks_nothing_are_the_sdks(filled: Maker) -> None:
    """No mark, and dicts of no other class."""
    for chunk in filled(payload({"content": "a"})):
        assert type(getattr(chunk, SET)) is set
        assert type(_dump(chunk)(exclude_unset=True)["choices"][0]["delta"]) is dict


@pytest.mark.skipif(sdk.PYDANTIC_1, reason="with pydantic 1 the SDK constructs all chunks itself")
def test_the_second_chunk_of_a_shape_follows_a_template(filled: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs what any other chunk costs: the SDK is asked once for each shape."""
    for delta in DELTAS:
        filled.build(payload(delta))
    monkeypatch.setattr(ChatCompletionChunk, "construct", pytest.fail)
    for delta in DELTAS:
        assert answer(filled.build(payload(delta))) == ""


# --- what an application does with a chunk


@pytest.mark.parametrize("text", ["text", ""])
def test_what_an_application_writes_stands_in_every_dict(filled: Maker, text: str) -> None:
    """Gateways add to the last chunk, whose delta is empty, or replace what they must not show."""
    for chunk in filled(payload({}, finish_reason="stop")):
        plain = own(payload({}, finish_reason="stop"))
        for each in (chunk, plain):
            each.choices[0].delta.content = text
        check_attributes(chunk, plain)
        for make in (*DICTS.values(), *WRITTEN.values()):
            try:
                assert repr(make(chunk)) == repr(make(plain))
            except (*UNKNOWN, Warning):
                continue


@pytest.mark.parametrize("text", ["text", ""])
def test_dicts_of_what_an_application_wrote_are_plain(filled: Maker, text: str) -> None:
    """Nothing is missing there, not even where content is left out on purpose."""
    for chunk in filled(payload({})):
        chunk.choices[0].delta.content = text
        for options in ({"exclude_unset": True}, {"exclude": {"content"}}):
            assert type(_dump(chunk.choices[0].delta)(**options)) is dict


def test_changed_copies_are_as_changed(filled: Maker) -> None:
    """`model_copy(update=...)`, `copy(update=...)`, a delta of the application's own in place of the one that came."""
    for chunk in filled(payload({"role": "assistant"})):
        delta = chunk.choices[0].delta
        changed = (
            delta.copy(update={"content": "text"}) if sdk.PYDANTIC_1 else delta.model_copy(update={"content": "text"})
        )
        assert changed.content == "text"
        assert _dump(changed)()["content"] == "text"
        chunk.choices[0].delta = module.ChoiceDelta(role="user")
        assert answer(chunk) == "none"
        chunk.choices = []
        assert _dump(chunk)()["choices"] == []


def test_a_pickle_holds_the_sdks_own_object(filled: Maker) -> None:
    """Its reader may have nothing of Streamwatch."""
    for chunk in filled(payload({"role": "assistant"})):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            pickled = pickle.dumps(chunk, protocol)
            assert b"streamwatch" not in pickled
            again = pickle.loads(pickled)
            assert inside(again) == inside(own(payload({"role": "assistant"})))
            assert type(getattr(again.choices[0].delta, SET)) is set
            made = _dump(chunk)(exclude_unset=True)
            assert b"streamwatch" not in pickle.dumps(made, protocol)
            assert type(made["choices"][0]["delta"]) is not dict


@pytest.mark.skipif(sdk.PYDANTIC_1, reason="pydantic 1 asks each object for its dict")
def test_what_pydantic_writes_unasked_is_as_it_came(filled: Maker) -> None:
    """A chunk in a model of the application's own, and a TypeAdapter: no method of the chunk is called."""

    class Holder(pydantic.BaseModel):
        chunk: ChatCompletionChunk

    for chunk in filled(payload({"role": "assistant"})):
        plain = own(payload({"role": "assistant"}))
        assert Holder.model_construct(chunk=chunk).model_dump() == Holder.model_construct(chunk=plain).model_dump()
        adapter = pydantic.TypeAdapter(ChatCompletionChunk)
        assert adapter.dump_json(chunk) == adapter.dump_json(plain)


def test_the_sdks_own_accumulating_code_is_given_what_came(filled: Maker) -> None:
    """`ChatCompletionStreamState`, which its documentation feeds with the chunks of `create()`."""
    state_class = pytest.importorskip("openai.lib.streaming.chat").__dict__.get("ChatCompletionStreamState")
    if state_class is None:
        pytest.skip("not in this release")
    finals = []
    for make in (own, lambda sent: filled(sent)[1]):
        state = state_class()
        events = [event.type for sent in sdk.tool_chat() for event in state.handle_chunk(make(sent))]
        finals.append((events, state.get_final_completion().choices[0].message.content))
    assert finals[0] == finals[1]
    assert finals[1][1] is None


# --- the SDK's classes


def state() -> Any:
    """What stands in the three classes themselves."""
    return [{name: id(value) for name, value in vars(cls).items() if callable(value)} for cls in CLASSES]


def test_the_classes_are_given_back() -> None:
    """After `remove` nothing is left in them, and filled chunks are plain."""
    _dump(own(payload({})))()  # pydantic builds what it needs
    before = state()
    forms = DictForms(pytest.fail)  # type: ignore[arg-type]
    forms.install()
    forms.install()  # once is enough
    assert state() != before
    chunk = forms.mark(own(payload({})))
    forms.remove()
    assert state() == before
    assert answer(chunk) == "none"
    forms.install()
    assert answer(chunk) == ""
    forms.remove()


@pytest.mark.parametrize("is_first", [True, False])
def test_methods_that_somebody_else_wrapped_are_called(monkeypatch: pytest.MonkeyPatch, is_first: bool) -> None:
    """Before us or after: both are called, and what is wrapped around us survives our removal."""
    forms, seen = DictForms(pytest.fail), []  # type: ignore[arg-type]
    if not is_first:
        forms.install()
    name = "dict" if sdk.PYDANTIC_1 else "model_dump"
    inner = getattr(ChatCompletionChunk, name)

    def wrapped(self: Any, **options: Any) -> Any:
        seen.append(self.choices[0].delta.content)
        return inner(self, **options)

    monkeypatch.setattr(ChatCompletionChunk, name, wrapped)
    if is_first:
        forms.install()
    chunk = forms.mark(own(payload({})))
    assert answer(chunk) == ""
    assert seen == [None]
    forms.remove()
    assert answer(chunk) == "none"
    assert vars(ChatCompletionChunk)[name] is wrapped
    monkeypatch.undo()
    assert answer(chunk) == "none"
    if not is_first:
        delattr(ChatCompletionChunk, name)


def test_a_subclass_of_an_application_is_filled_by_its_own_method(forms: DictForms) -> None:
    """Which calls the SDK's."""

    class Mine(ChatCompletionChunk):
        if sdk.PYDANTIC_1:

            def dict(self, **options: Any) -> Any:
                return {"mine": True, **super().dict(**options)}

        else:

            def model_dump(self, **options: Any) -> Any:
                return {"mine": True, **super().model_dump(**options)}

    chunk = forms.mark(construct_type(type_=Mine, value=payload({})))
    assert _dump(chunk)()["mine"]
    assert answer(chunk) == ""


def test_an_error_of_ours_leaves_the_plain_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is counted."""
    errors: list[str] = []
    forms = DictForms(lambda _error, doing: errors.append(doing))
    forms.install()
    try:
        chunk = forms.mark(own(payload({})))

        def fail(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(forms, "_with_answers", fail)
        assert answer(chunk) == "none"
        assert {"making a dict"} == set(errors)
    finally:
        forms.remove()


def test_it_is_told_whether_dicts_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the doctor: by trying it, and the reason where it does not work."""
    before = state()
    assert fills_dicts() == (True, "")
    assert state() == before
    monkeypatch.setattr(DictForms, "mark", lambda _self, chunk: chunk)
    assert fills_dicts() == (False, "KeyError: 'content'")
    monkeypatch.setattr(DictForms, "install", lambda _self: 1 / 0)
    assert fills_dicts() == (False, "ZeroDivisionError: division by zero")
    monkeypatch.setattr(dict_forms, "_MODULE", "openai.types.chat.no_such_thing")
    assert fills_dicts()[1].startswith("ModuleNotFoundError")


# --- through the SDK


def read(mode: str, body: list[bytes], **options: Any) -> list[Any]:
    """The chunks of a stream."""
    if mode == "sync":
        return list(sdk.create(sdk.client(body, **options)))

    async def chunks() -> list[Any]:
        return [chunk async for chunk in await sdk.create(sdk.async_client(body, **options))]

    return asyncio.run(chunks())


def contents(chunks: list[Any]) -> list[Any]:
    """What the dicts say, and what the attributes say."""
    return [(answer(chunk), chunk.choices[0].delta.content) for chunk in chunks]


FILLED = [("", None)] * len(sdk.tool_chat())
PLAIN = [(each["choices"][0]["delta"].get("content", "none"), None) for each in sdk.tool_chat()]


@pytest.mark.parametrize("builds", ["true", "false"])
@pytest.mark.parametrize("mode", sdk.MODES)
def test_streams_are_filled(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, mode: str, builds: str
) -> None:
    """With templates and without; a stream after it as well, and none after the end."""
    plain = read(mode, sdk.frames(sdk.tool_chat()))
    monkeypatch.setenv("STREAMWATCH_BUILD_CHUNKS", builds)
    watched = watch()
    for _ in range(3):
        chunks = read(mode, sdk.frames(sdk.tool_chat()))
        assert contents(chunks) == FILLED
        for chunk, other in zip(chunks, plain):
            check_attributes(chunk, other)
    assert [report.verdict for report in watched.reports] == ["complete"] * 3
    watch.stop()  # type: ignore[attr-defined]
    assert contents(chunks) == PLAIN
    assert contents(read(mode, sdk.frames(sdk.tool_chat()))) == PLAIN


class Client(openai.OpenAI):
    """A client that looks at what comes."""

    def _process_response_data(self, **options: Any) -> Any:
        assert isinstance(options["data"], dict)
        return super()._process_response_data(**options)


def test_what_somebody_else_looks_at_is_as_it_came(watch: Callable[..., Watched]) -> None:
    """A client with a method of its own gets the JSON, and its chunks are the plain ones."""
    watch()
    assert contents(read("sync", sdk.frames(sdk.tool_chat()), cls=Client)) == PLAIN


@pytest.mark.parametrize("created", [1700000000, "no number"])
def test_what_is_validated_is_as_it_came(watch: Callable[..., Watched], created: Any) -> None:
    """A finished object would be validated by nobody."""
    body = sdk.frames([{**each, "created": created} for each in sdk.chat()])

    def outcome() -> Any:
        try:
            return contents(read("sync", body, _strict_response_validation=True))
        except (openai.APIResponseValidationError, pydantic.ValidationError) as error:
            return type(error)

    plain = outcome()
    assert isinstance(plain, list) is (created == 1700000000)
    watch()
    assert [outcome(), outcome()] == [plain, plain]


@pytest.mark.parametrize("builds", ["true", "false"])
def test_errors_are_raised_all_the_same(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, builds: str
) -> None:
    """The SDK looks for `error` in the JSON; relays send `error: null` in every chunk."""
    monkeypatch.setenv("STREAMWATCH_BUILD_CHUNKS", builds)
    watch()
    chunks = [{**each, "error": None} for each in sdk.tool_chat()]
    for _ in range(2):
        assert contents(read("sync", sdk.frames(chunks))) == FILLED
    chunks[3]["error"] = {"message": "broken"}
    for _ in range(2):
        with pytest.raises(openai.APIError, match="broken" if sdk.VERSION >= (1, 40) else "broken|streaming"):
            read("sync", sdk.frames(chunks))


def test_a_release_whose_classes_are_others_is_left_alone(
    watch: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, internal_errors: list[str]
) -> None:
    """The attributes win; it is counted once."""
    monkeypatch.setattr(DictForms, "install", lambda _self: 1 / 0)
    watch()
    for _ in range(2):
        assert contents(read("sync", sdk.frames(sdk.tool_chat()))) == PLAIN
    assert len(internal_errors) == 1
    internal_errors.clear()
