"""Chunks whose dicts have a content: every attribute says what the SDK's says, and every dict says `content: ""`."""

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
import sdk
from conftest import Watched
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.chat import chat_completion_chunk as module
from recordings.build import HERE, RECORDINGS, surface_of

from streamwatch.core.sse import Event
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

#: How a chunk becomes a dict or JSON; releases lack some.
FORMS: dict[str, Callable[[Any], Any]] = {
    "to_dict": lambda chunk: chunk.to_dict(),
    "to_dict mode=json": lambda chunk: chunk.to_dict(mode="json"),
    "to_dict all": lambda chunk: chunk.to_dict(exclude_unset=False),
    "to_json": lambda chunk: chunk.to_json(),
    "to_json compact": lambda chunk: chunk.to_json(indent=None),
    "model_dump": lambda chunk: chunk.model_dump(),
    "model_dump exclude_unset": lambda chunk: chunk.model_dump(exclude_unset=True),
    "model_dump mode=json": lambda chunk: chunk.model_dump(mode="json"),
    "model_dump by_alias": lambda chunk: chunk.model_dump(by_alias=True),
    "model_dump include": lambda chunk: chunk.model_dump(include={"choices": {0: {"delta": {"content"}}}}),
    "model_dump_json": lambda chunk: chunk.model_dump_json(),
    "model_dump_json exclude_unset": lambda chunk: chunk.model_dump_json(exclude_unset=True),
    "model_dump_json indent": lambda chunk: chunk.model_dump_json(indent=2),
    "dict": lambda chunk: chunk.dict(),
    "dict exclude_unset": lambda chunk: chunk.dict(exclude_unset=True),
    "json": lambda chunk: chunk.json(),
    "json exclude_unset": lambda chunk: chunk.json(exclude_unset=True),
    "of a copy": lambda chunk: copy.copy(chunk).model_dump(),
    "of a deep copy": lambda chunk: copy.deepcopy(chunk).model_dump(exclude_unset=True),
    "of a model_copy": lambda chunk: chunk.model_copy().model_dump(),
    "of a deep model_copy": lambda chunk: chunk.model_copy(deep=True).model_dump(),
    "of the choice": lambda chunk: {"choices": [chunk.choices[0].model_dump()]},
    "of the delta": lambda chunk: {"choices": [{"delta": chunk.choices[0].delta.model_dump()}]},
    "JSON of the delta": lambda chunk: {"choices": [{"delta": _read(chunk.choices[0].delta.model_dump_json())}]},
    "pairs of the delta": lambda chunk: {"choices": [{"delta": dict(chunk.choices[0].delta)}]},
    "of a copy of the delta": lambda chunk: {"choices": [{"delta": copy.copy(chunk.choices[0].delta).model_dump()}]},
}
#: How a reader asks to leave out what says nothing.
LEAVING_OUT: dict[str, Callable[[Any], Any]] = {
    "model_dump exclude_none": lambda chunk: chunk.model_dump(exclude_none=True),
    "model_dump exclude_defaults": lambda chunk: chunk.model_dump(exclude_defaults=True),
    "model_dump_json exclude_none": lambda chunk: chunk.model_dump_json(exclude_none=True),
    "to_dict exclude_none": lambda chunk: chunk.to_dict(exclude_none=True),
    "to_json exclude_none": lambda chunk: chunk.to_json(exclude_none=True),
    "to_dict exclude_defaults": lambda chunk: chunk.to_dict(exclude_defaults=True),
    "dict exclude_none": lambda chunk: chunk.dict(exclude_none=True),
    "model_dump exclude": lambda chunk: chunk.model_dump(exclude={"choices": {0: {"delta": {"content"}}}}),
}


def _read(text: str) -> Any:
    """JSON in which no key stands twice: strict parsers refuse that."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), text
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def form(make: Callable[[Any], Any], chunk: Any) -> Any:
    """A chunk as data; skips the test where this release has no such method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of methods that pydantic gave other names
        try:
            made = make(chunk)
        except UNKNOWN as error:
            pytest.skip(f"not in this release: {error}")
    return _read(made) if isinstance(made, str) else made


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


def expected(plain: Any, payload: Any) -> Any:
    """What a dict must be that was made of a chunk: the plain one, and its content."""
    made = copy.deepcopy(plain)
    for place in without_content(payload):
        made["choices"][place]["delta"]["content"] = ""
    return made


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
            assert one.model_fields_set == other.model_fields_set
            assert one.model_extra == other.model_extra


@pytest.mark.parametrize("delta", DELTAS, ids=str)
def test_attributes_are_the_sdks(filled: Maker, delta: Any) -> None:
    """An absent or null content is None to whoever asks for the attribute, in whichever way."""
    for chunk in filled(payload(delta)):
        assert chunk.choices[0].delta.content is None
        check_attributes(chunk, own(payload(delta)))


@pytest.mark.parametrize("name", [name for name in RECORDINGS if surface_of(name) == "chat"])
def test_recorded_chunks_keep_their_attributes(filled: Maker, name: str) -> None:
    """Whatever a server sends; and their dicts differ in nothing but the content."""
    check_body(filled, (HERE / f"{name}.sse").read_bytes())


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
                for exclude_unset in (True, False):
                    dump, other = _dump(chunk), _dump(plain)
                    assert dump(exclude_unset=exclude_unset) == expected(other(exclude_unset=exclude_unset), sent)
    return lacking


def _dump(chunk: Any) -> Any:
    return chunk.dict if sdk.PYDANTIC_1 else chunk.model_dump


# --- dicts


@pytest.mark.parametrize("delta", DELTAS, ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_dicts_have_a_content(filled: Maker, name: str, delta: Any) -> None:
    """In every form, at its place, once; all else is the SDK's."""
    for chunk in filled(payload(delta)):
        made = form(FORMS[name], chunk)
        assert made["choices"][0]["delta"]["content"] == ""
        plain = form(FORMS[name], own(payload(delta)))
        plain["choices"][0]["delta"]["content"] = ""
        assert made == plain
        assert chunk.choices[0].delta.content is None


def test_content_stands_where_the_sdk_puts_it(filled: Maker) -> None:
    """Before and after the same members."""
    for chunk in filled(payload({"tool_calls": [CALL]})):
        other = own(payload({"content": "", "tool_calls": [CALL]}))
        assert list(_dump(chunk)()["choices"][0]["delta"]) == list(_dump(other)()["choices"][0]["delta"])
        assert chunk.model_dump_json() == other.model_dump_json()


@pytest.mark.parametrize("delta", DELTAS, ids=str)
@pytest.mark.parametrize("name", LEAVING_OUT)
def test_who_asks_to_leave_out_what_says_nothing_gets_that(filled: Maker, name: str, delta: Any) -> None:
    """`exclude_none` means no content here, on the plain SDK and with Streamwatch."""
    for chunk in filled(payload(delta)):
        assert form(LEAVING_OUT[name], chunk) == form(LEAVING_OUT[name], own(payload(delta)))


def test_each_delta_without_content_is_filled(filled: Maker) -> None:
    """Of several choices those that lack one, and no other."""
    sent = payload({"content": "a"})
    sent["choices"] += [
        {"index": 1, "delta": {}},
        {"index": 2, "delta": {"content": "b"}},
        {"index": 3, "delta": {"content": None}},
    ]
    for chunk in filled(sent):
        assert [choice["delta"].get("content") for choice in _dump(chunk)(exclude_unset=True)["choices"]] == [
            "a",
            "",
            "b",
            "",
        ]
        assert [choice.delta.content for choice in chunk.choices] == ["a", None, "b", None]


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
    chunk = forms.fill(own(sent))
    assert inside(chunk) == inside(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _dump(chunk)() == _dump(plain)()


def test_dicts_of_a_chunk_that_lacks_nothing_are_the_sdks(filled: Maker) -> None:
    """No mark, no copy."""
    for chunk in filled(payload({"content": "a"})):
        assert type(getattr(chunk, SET)) is set
        assert _dump(chunk)() == _dump(own(payload({"content": "a"})))()


# --- what an application does with a chunk


@pytest.mark.parametrize("text", ["text", ""])
def test_what_an_application_writes_stands_in_every_dict(filled: Maker, text: str) -> None:
    """Gateways add to the last chunk, whose delta is empty, or replace what they must not show."""
    for chunk in filled(payload({}, finish_reason="stop")):
        plain = own(payload({}, finish_reason="stop"))
        for each in (chunk, plain):
            each.choices[0].delta.content = text
        check_attributes(chunk, plain)
        for make in FORMS.values():
            try:
                assert make(chunk) == make(plain)
            except (*UNKNOWN, Warning):
                continue


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
        assert "content" not in _dump(chunk)(exclude_unset=True)["choices"][0]["delta"]
        chunk.choices = []
        assert _dump(chunk)()["choices"] == []


def test_a_pickle_holds_the_sdks_own_object(filled: Maker) -> None:
    """Its reader may have nothing of Streamwatch."""
    for chunk in filled(payload({"role": "assistant"})):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            pickled = pickle.dumps(chunk, protocol)
            assert b"streamwatch" not in pickled
            again = pickle.loads(pickled)  # noqa: S301 -- our own
            assert inside(again) == inside(own(payload({"role": "assistant"})))
            assert type(getattr(again.choices[0].delta, SET)) is set


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
    forms = DictForms(pytest.fail)
    forms.install()
    forms.install()  # once is enough
    assert state() != before
    chunk = forms.fill(own(payload({})))
    forms.remove()
    assert state() == before
    assert _dump(chunk)() == _dump(own(payload({})))()
    forms.install()
    assert _dump(chunk)()["choices"][0]["delta"]["content"] == ""
    forms.remove()


@pytest.mark.parametrize("is_first", [True, False])
def test_methods_that_somebody_else_wrapped_are_called(monkeypatch: pytest.MonkeyPatch, is_first: bool) -> None:
    """Before us or after: both are called, and what is wrapped around us survives our removal."""
    forms, seen = DictForms(pytest.fail), []
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
    chunk = forms.fill(own(payload({})))
    assert _dump(chunk)()["choices"][0]["delta"]["content"] == ""
    assert seen == ["" if is_first else None]
    forms.remove()
    assert _dump(chunk)() == _dump(own(payload({})))()
    assert vars(ChatCompletionChunk)[name] is wrapped
    monkeypatch.undo()
    assert _dump(chunk)() == _dump(own(payload({})))()
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

    chunk = forms.fill(construct_type(type_=Mine, value=payload({})))
    made = _dump(chunk)()
    assert made["mine"]
    assert made["choices"][0]["delta"]["content"] == ""


@pytest.mark.parametrize("broken", ["_with", "_copied"])
def test_an_error_of_ours_leaves_the_plain_dict(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """And is counted."""
    errors: list[str] = []
    forms = DictForms(lambda _error, doing: errors.append(doing))
    forms.install()
    try:
        chunk, plain = forms.fill(own(payload({}))), own(payload({}))

        def fail(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(forms, broken, fail)
        assert _dump(chunk)() == _dump(plain)()
        assert {"filling in a dict"} == set(errors)
    finally:
        forms.remove()


def test_it_is_told_whether_dicts_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the doctor: by trying it, and the reason where it does not work."""
    before = state()
    assert fills_dicts() == (True, "")
    assert state() == before
    monkeypatch.setattr(DictForms, "fill", lambda _self, chunk: chunk)
    assert fills_dicts() == (False, "a dict has None, and the attribute None")
    monkeypatch.setattr(DictForms, "install", lambda _self: 1 / 0)
    assert fills_dicts() == (False, "ZeroDivisionError: division by zero")
    monkeypatch.setattr(dict_forms, "_MODULE", "openai.types.chat.no_such_thing")
    assert fills_dicts()[1].startswith("ModuleNotFoundError")


# --- through the SDK


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules want every chunk's dicts filled."""
    make = Event.__init__

    def made(self: Event, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.fills_content = True

    monkeypatch.setattr(Event, "__init__", made)


def read(mode: str, body: list[bytes], **options: Any) -> list[Any]:
    """The chunks of a stream."""
    if mode == "sync":
        return list(sdk.create(sdk.client(body, **options)))

    async def chunks() -> list[Any]:
        return [chunk async for chunk in await sdk.create(sdk.async_client(body, **options))]

    return asyncio.run(chunks())


def contents(chunks: list[Any]) -> list[Any]:
    """What the dicts say, and what the attributes say."""
    return [
        (_dump(chunk)(exclude_unset=True)["choices"][0]["delta"].get("content"), chunk.choices[0].delta.content)
        for chunk in chunks
    ]


FILLED = [("", None)] * len(sdk.tool_chat())
PLAIN = [(None, None)] * len(sdk.tool_chat())


@pytest.mark.parametrize("builds", ["true", "false"])
@pytest.mark.parametrize("mode", sdk.MODES)
def test_streams_are_filled(
    watch: Callable[..., Watched], wanted: None, monkeypatch: pytest.MonkeyPatch, mode: str, builds: str
) -> None:
    """With templates and without; a stream after it as well, and none after the end."""
    plain = read(mode, sdk.frames(sdk.tool_chat()))
    monkeypatch.setenv("STREAMWATCH_BUILD_CHUNKS", builds)
    watched = watch(repair="-fill_content")
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


def test_what_somebody_else_looks_at_is_as_it_came(watch: Callable[..., Watched], wanted: None) -> None:
    """A client with a method of its own gets the JSON, and its chunks are the plain ones."""
    watch(repair="-fill_content")
    assert contents(read("sync", sdk.frames(sdk.tool_chat()), cls=Client)) == PLAIN


@pytest.mark.parametrize("created", [1700000000, "no number"])
def test_what_is_validated_is_as_it_came(watch: Callable[..., Watched], wanted: None, created: Any) -> None:
    """A finished object would be validated by nobody."""
    body = sdk.frames([{**each, "created": created} for each in sdk.chat()])

    def outcome() -> Any:
        try:
            return contents(read("sync", body, _strict_response_validation=True))
        except (openai.APIResponseValidationError, pydantic.ValidationError) as error:
            return type(error)

    plain = outcome()
    assert isinstance(plain, list) is (created == 1700000000)
    watch(repair="-fill_content")
    assert [outcome(), outcome()] == [plain, plain]


@pytest.mark.parametrize("builds", ["true", "false"])
def test_errors_are_raised_all_the_same(
    watch: Callable[..., Watched], wanted: None, monkeypatch: pytest.MonkeyPatch, builds: str
) -> None:
    """The SDK looks for `error` in the JSON; relays send `error: null` in every chunk."""
    monkeypatch.setenv("STREAMWATCH_BUILD_CHUNKS", builds)
    watch(repair="-fill_content")
    chunks = [{**each, "error": None} for each in sdk.tool_chat()]
    for _ in range(2):
        assert contents(read("sync", sdk.frames(chunks))) == FILLED
    chunks[3]["error"] = {"message": "broken"}
    for _ in range(2):
        with pytest.raises(openai.APIError, match="broken" if sdk.VERSION >= (1, 40) else "streaming"):
            read("sync", sdk.frames(chunks))


def test_a_release_whose_classes_are_others_is_left_alone(
    watch: Callable[..., Watched], wanted: None, monkeypatch: pytest.MonkeyPatch, internal_errors: list[str]
) -> None:
    """The attributes win; it is counted once."""
    monkeypatch.setattr(DictForms, "install", lambda _self: 1 / 0)
    watch(repair="-fill_content")
    for _ in range(2):
        assert contents(read("sync", sdk.frames(sdk.tool_chat()))) == PLAIN
    assert len(internal_errors) == 1
    internal_errors.clear()
