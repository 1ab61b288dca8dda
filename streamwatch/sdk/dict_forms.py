"""Put `content` into the dicts and the JSON of chat chunks that came without it; the attribute stays None.

`chunk.to_dict()["choices"][0]["delta"]["content"]` raises KeyError where the server sent no content. Other programs
read `delta.content is None`, and must go on reading None.

How it works. A chunk stays the SDK's own in every respect: its classes, its values, the fields that were set. Only
the class of a delta's set of fields says that its dicts are filled, and the methods of the SDK's three classes that
make dicts and JSON then work on a copy with `content: ""`. Whoever asks to leave out None or defaults still gets no
content, and the SDK's own accumulating code gets what it would get without Streamwatch.

What was tried instead. `content` among the extras of the delta: `model_dump_json()` writes the key twice, which strict
parsers refuse, and a `delta.content = "text"` of the application is lost in every dump. A subclass of the delta with
content `""` inside: pydantic dumps what `vars(delta)` shows, and instrumentations read that as they read attributes. A
serializer in the class: pydantic drops fields that were not set before it asks one.

What is left as it came: a chunk inside a model of the application's own, or given to a `TypeAdapter`, is written by
pydantic without a call that could be seen; and a pickle holds the SDK's plain object, as its reader may have nothing of
Streamwatch.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_MODULE = "openai.types.chat.chat_completion_chunk"
#: What makes dicts and JSON with pydantic 2; `to_dict`, `to_json`, `dict` and `json` call it. With pydantic 1 the last
#: two do not.
_DUMPS = ("model_dump", "model_dump_json")
_DUMPS_OF_PYDANTIC_1 = (*_DUMPS, "dict", "json")
#: The SDK's modules that pass on what somebody else asked for.
_PASSING_ON = ("openai._models", "openai._compat")

_new = object.__new__
_set = object.__setattr__


class FilledFieldsSet(set[str]):
    """The fields that were set of a delta whose dicts get a content. Its pickle is a plain set."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return set, (list(self),)

    def __copy__(self) -> FilledFieldsSet:
        return FilledFieldsSet(self)

    def __deepcopy__(self, _memo: dict[int, Any]) -> FilledFieldsSet:
        return FilledFieldsSet(self)

    def __repr__(self) -> str:
        return repr(set(self))


class DictForms:
    """The methods that make dicts and JSON of the SDK's chat chunks, and the chunks whose dicts are filled.

    Args:
        failed: is told an exception of ours; the dict is then as it would be without Streamwatch.
    """

    def __init__(self, failed: Callable[[BaseException, str], None]) -> None:
        self._failed = failed
        self._undo: list[Callable[[], None]] = []
        self._chunk: type
        self._choice: type
        self._delta: type
        self._fields_set = ""  #: where an object keeps which of its fields were set
        self._state: tuple[str, ...] = ()  #: what else makes up an object

    def install(self) -> None:
        """Wrap the methods; the SDK's module has to be imported."""
        if self._undo:
            return
        module = sys.modules[_MODULE]
        self._chunk, self._choice, self._delta = module.ChatCompletionChunk, module.Choice, module.ChoiceDelta
        is_pydantic_2 = hasattr(self._chunk, "__pydantic_fields_set__")
        self._fields_set = "__pydantic_fields_set__" if is_pydantic_2 else "__fields_set__"
        self._state = ("__pydantic_extra__", "__pydantic_private__") if is_pydantic_2 else ()
        for cls in (self._chunk, self._choice, self._delta):
            for name in _DUMPS if is_pydantic_2 else _DUMPS_OF_PYDANTIC_1:
                if hasattr(cls, name):
                    self._wrap(cls, name, self._dumped)
            if not is_pydantic_2:  # which compares what `dict` makes of both
                self._wrap(cls, "__eq__", self._compared)
        self._wrap(self._delta, "__iter__", self._dumped)

    def remove(self) -> None:
        """Give the classes their own methods back; filled chunks are plain from then on."""
        undo, self._undo = self._undo, []
        while undo:
            undo.pop()()

    def fill(self, chunk: Any) -> Any:
        """Mark a chunk in which a delta has no content, and that delta, whose dicts get one; returns the chunk."""
        choices = getattr(chunk, "choices", None)
        for choice in choices if type(choices) is list else ():
            delta = getattr(choice, "delta", None) if isinstance(choice, self._choice) else None
            if isinstance(delta, self._delta) and delta.__dict__.get("content", "") is None:
                for model in (chunk, choice, delta):
                    _set(model, self._fields_set, FilledFieldsSet(getattr(model, self._fields_set)))
        return chunk

    def _wrap(self, cls: Any, name: str, prepare: Callable[[Any, dict[str, Any], FrameType], Any]) -> None:
        """Let a method work on what `prepare` returns for a marked object."""
        own = vars(cls).get(name)  # none, unless somebody else was here before
        undo, fields_set = self._undo, self._fields_set

        @functools.wraps(getattr(cls, name))
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if undo:  # not removed: who wrapped us in turn may call us still
                if type(getattr(self, fields_set, None)) is FilledFieldsSet:
                    self = prepare(self, kwargs, sys._getframe(1))
                if args and type(getattr(args[0], fields_set, None)) is FilledFieldsSet:  # what is compared
                    args = (prepare(args[0], kwargs, sys._getframe(1)), *args[1:])
            call = getattr(super(cls, self), name) if own is None else own.__get__(self)
            return call(*args, **kwargs)

        def restore() -> None:
            if vars(cls).get(name) is method:
                delattr(cls, name) if own is None else setattr(cls, name, own)

        setattr(cls, name, method)
        self._undo.append(restore)

    def _dumped(self, model: Any, asked: dict[str, Any], caller: FrameType) -> Any:
        """Return what to make a dict of: a model, or a copy of it with content."""
        try:
            filled = self._with(model, content="")
            leaves_out = asked.get("exclude_none") or asked.get("exclude_defaults")
            return model if filled is model or leaves_out or _is_of_the_sdk(caller) else filled
        except Exception as error:
            self._failed(error, "filling in a dict")
            return model

    def _compared(self, model: Any, _asked: dict[str, Any], _caller: FrameType) -> Any:
        """Return what to compare: a model, or a copy of it whose dicts are not filled."""
        try:
            return self._with(model)
        except Exception as error:
            self._failed(error, "comparing a chunk")
            return model

    def _with(self, model: Any, **content: str) -> Any:
        """Return a copy of a model without marks, with other fields in the deltas that had one; else the model."""
        if type(getattr(model, self._fields_set, None)) is not FilledFieldsSet:
            return model
        if isinstance(model, self._delta):
            return self._copied(model, content) if model.__dict__.get("content", "") is None else model
        if isinstance(model, self._choice):
            return self._copied(model, {"delta": self._with(model.__dict__.get("delta"), **content)})
        choices = model.__dict__.get("choices")
        if type(choices) is not list:
            return model
        return self._copied(model, {"choices": [self._with(choice, **content) for choice in choices]})

    def _copied(self, model: Any, fields: dict[str, Any]) -> Any:
        """Return a shallow copy of a model with other values in some of its fields."""
        copy = _new(type(model))
        _set(copy, "__dict__", {**model.__dict__, **fields})
        _set(copy, self._fields_set, {*getattr(model, self._fields_set), *fields})
        for name in self._state:
            _set(copy, name, getattr(model, name))
        return copy


def _is_of_the_sdk(frame: FrameType | None) -> bool:
    """Return whether the SDK itself asks, and not the application by way of it."""
    while frame is not None and frame.f_globals.get("__name__") in _PASSING_ON:
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("openai.")


def fills_dicts() -> tuple[bool, str]:
    """Return whether dicts of chunks get a content with what is installed here, and what is wrong where they do not."""
    failures: list[BaseException] = []
    forms = DictForms(lambda error, _doing: failures.append(error))
    try:
        module = importlib.import_module(_MODULE)
        construct = importlib.import_module("openai._models").construct_type
        payload = {"id": "", "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
        chunk = construct(value=payload, type_=module.ChatCompletionChunk)
        forms.install()
        forms.fill(chunk)
        dump = getattr(chunk, "model_dump", None) or chunk.dict
        found = dump(exclude_unset=True)["choices"][0]["delta"].get("content"), chunk.choices[0].delta.content
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    finally:
        forms.remove()
    if failures:
        return False, f"{type(failures[0]).__name__}: {failures[0]}"
    works = found == ("", None)
    return works, "" if works else f"a dict has {found[0]!r}, and the attribute {found[1]!r}"
