"""The dict of a chat chunk that answers for a `content` that did not come; all else stays as it came.

`chunk.to_dict()["choices"][0]["delta"]["content"]` raises KeyError where the server sent no content. Other programs
ask whether `delta.content is None`, whether `"content" in delta`, or pass the JSON of the chunk on to programs that do:
they must find what they find on the plain SDK.

How it works. A chunk is the SDK's own in every respect: its classes, its values, the fields that were set. Only the
class of its sets of fields says that its dicts answer for a content. The SDK's method that makes a dict of it then
hands out the delta as a dict that returns "" where `delta["content"]` would raise, and is a plain dict for every other
question: `get`, `in`, `len`, `==`, loops, copies into another dict, JSON. A null raises nothing, and is returned as ""
only where unset fields are left out, as in `to_dict`: elsewhere every delta has a null where it has no content, and
programs ask for it.

What was tried instead, over 825 healthy recordings:

- `content: ""` in all dicts and JSON: a reader of `get("content") is not None ... elif get("tool_calls")` ends
  otherwise on 656 of them, and so does code that reads the JSON that a gateway passes on; on 182 tool calls are lost.
- content among the extras of the delta: the same; `model_dump_json()` has the key twice, which strict parsers refuse;
  and no dict shows what an application wrote into `delta.content`.
- a subclass of the delta, or a serializer in its class: instrumentations read `vars(delta)` as others read attributes;
  and pydantic drops fields that were not set before it asks a serializer.

What is left as on the plain SDK: a chunk inside a model of the application's own, or given to a `TypeAdapter`, is
dumped by pydantic 2 without a call that could be seen; and pickles hold plain objects and dicts, as their reader may
have nothing of Streamwatch.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from wrapt import register_post_import_hook

from streamwatch.exchange import exchange

_MODULE = "openai.types.chat.chat_completion_chunk"
#: What makes dicts: with pydantic 2 `to_dict` and `dict` call the first, with pydantic 1 both are methods of their own.
_DUMPS = ("model_dump",)
_DUMPS_OF_PYDANTIC_1 = ("model_dump", "dict")


class DeltaDict(dict[str, Any]):
    """The dict of a delta that has no content: "" for code that takes one for granted. Its pickle is a plain dict."""

    __slots__ = ()

    def __missing__(self, key: str) -> str:
        if key == "content":
            return ""
        raise KeyError(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> DeltaDict:
        return type(self)(copy.deepcopy(dict(self), memo))

    def copy(self) -> DeltaDict:
        """Return a shallow copy, which answers alike."""
        return type(self)(self)

    __copy__ = copy


class NullDeltaDict(DeltaDict):
    """The dict of a delta whose content is null."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return "" if value is None and key == "content" else value


class MarkedFieldsSet(set[str]):
    """The fields that were set of an object whose dict answers for a content. Its pickle is a plain set."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return set, (list(self),)

    def __copy__(self) -> MarkedFieldsSet:
        return MarkedFieldsSet(self)

    def __deepcopy__(self, _memo: dict[int, Any]) -> MarkedFieldsSet:
        return MarkedFieldsSet(self)

    def __repr__(self) -> str:
        return repr(set(self))


class DictForms:
    """The methods of the SDK's chat chunks that make dicts, and the chunks whose dicts answer for a content.

    Args:
        failed: is called with an exception of Streamwatch; the dict is then as it would be without Streamwatch.
    """

    def __init__(self, failed: Callable[[BaseException, str], None]) -> None:
        self._failed = failed
        self._undo: list[Callable[[], None]] = []
        self._choice: type
        self._delta: type
        self._fields_set = ""  #: where an object keeps which of its fields were set

    def install(self) -> None:
        """Wrap the methods; the SDK's module has to be imported."""
        if self._undo:
            return
        _teach_yaml()
        module = sys.modules[_MODULE]
        self._choice, self._delta = module.Choice, module.ChoiceDelta
        is_pydantic_2 = hasattr(module.ChatCompletionChunk, "__pydantic_fields_set__")
        self._fields_set = "__pydantic_fields_set__" if is_pydantic_2 else "__fields_set__"
        for cls in (module.ChatCompletionChunk, self._choice, self._delta):
            for name in _DUMPS if is_pydantic_2 else _DUMPS_OF_PYDANTIC_1:
                if hasattr(cls, name):
                    self._wrap(cls, name)

    def remove(self) -> None:
        """Give the classes their own methods back; all chunks are plain from then on."""
        undo, self._undo = self._undo, []
        while undo:
            undo.pop()()

    def mark(self, chunk: Any) -> Any:
        """Mark a chunk in which a delta has no content, and that delta; returns the chunk."""
        choices = getattr(chunk, "choices", None)
        for choice in choices if type(choices) is list else ():
            delta = getattr(choice, "delta", None) if isinstance(choice, self._choice) else None
            if isinstance(delta, self._delta) and delta.__dict__.get("content", "") is None:
                for model in (chunk, choice, delta):
                    object.__setattr__(model, self._fields_set, MarkedFieldsSet(getattr(model, self._fields_set)))
        return chunk

    def _wrap(self, cls: Any, name: str) -> None:
        """Let the dict that a method makes of a marked object answer for a content."""
        own = vars(cls).get(name)  # none, unless somebody else was here before
        undo, fields_set, answering = self._undo, self._fields_set, self._answering

        @functools.wraps(getattr(cls, name))
        def dump(self: Any, *args: Any, **kwargs: Any) -> Any:
            made = (getattr(super(cls, self), name) if own is None else own.__get__(self))(*args, **kwargs)
            # An outer wrapper may call this after it was removed.
            is_marked = undo and type(getattr(self, fields_set, None)) is MarkedFieldsSet
            return answering(self, made, nulls=bool(kwargs.get("exclude_unset"))) if is_marked else made

        self._undo.append(exchange(cls, name, dump))

    def _answering(self, model: Any, made: Any, *, nulls: bool) -> Any:
        """Return the dict of a model, which answers for a content wherever a marked delta stands in it."""
        try:
            return self._with_answers(model, made, nulls=nulls)
        except Exception as error:
            self._failed(error, "making a dict")
            return made

    def _with_answers(self, model: Any, made: Any, *, nulls: bool) -> Any:
        if type(made) is not dict or type(getattr(model, self._fields_set, None)) is not MarkedFieldsSet:
            return made
        if isinstance(model, self._delta):
            return _delta_with_content(model, made, nulls=nulls)
        if isinstance(model, self._choice):
            if "delta" in made:
                made["delta"] = self._with_answers(model.__dict__["delta"], made["delta"], nulls=nulls)
            return made
        choices, dicts = model.__dict__["choices"], made.get("choices")
        # What is included or excluded by place leaves others at that place.
        if type(choices) is list and type(dicts) is list and len(choices) == len(dicts):
            pairs = zip(choices, dicts, strict=True)
            made["choices"] = [self._with_answers(choice, each, nulls=nulls) for choice, each in pairs]
        return made


def _delta_with_content(model: Any, made: Any, *, nulls: bool) -> Any:
    """Return the dict of a delta with an answer for its content; an application's own is left alone."""
    if model.__dict__.get("content", "") is not None:
        return made
    if "content" in made:
        return NullDeltaDict(made) if nulls and made["content"] is None else made
    return DeltaDict(made)


@functools.cache  # once in a process
def _teach_yaml() -> None:
    """Let YAML write these dicts as dicts: it goes by the very class, and refuses those that it does not know."""
    for name in ("yaml.representer", "ruamel.yaml.representer"):
        register_post_import_hook(_represent, name)


def _represent(representer: Any) -> None:
    classes = (getattr(representer, name, None) for name in ("SafeRepresenter", "Representer", "RoundTripRepresenter"))
    for cls in filter(None, classes):
        for written in (DeltaDict, NullDeltaDict):
            cls.add_representer(written, cls.represent_dict)


def fills_dicts() -> tuple[bool, str]:
    """Return whether dicts of chunks answer for a content with what is installed here, and else the reason."""
    failures: list[BaseException] = []
    forms = DictForms(lambda error, _doing: failures.append(error))
    try:
        module = importlib.import_module(_MODULE)
        construct = importlib.import_module("openai._models").construct_type
        payload = {"id": "", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
        chunk = construct(value=payload, type_=module.ChatCompletionChunk)
        forms.install()
        forms.mark(chunk)
        dump = getattr(chunk, "model_dump", None) or chunk.dict
        found = dump(exclude_unset=True)["choices"][0]["delta"]["content"], chunk.choices[0].delta.content
    except Exception as error:
        first = failures[0] if failures else error
        return False, f"{type(first).__name__}: {first}"
    finally:
        forms.remove()
    works = found == ("", None)
    return works, "" if works else f"a dict has {found[0]!r}, and the attribute {found[1]!r}"
