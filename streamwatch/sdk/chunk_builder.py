"""The SDK's own objects, made again without asking it to construct each one.

How it works. Of the 83 µs of CPU that the plain SDK spends on a chunk, 73 go into constructing its
model (measured, openai 3.52, Python 3.11). What it makes is a function of the JSON alone, and the
chunks of a stream differ in a few strings and numbers. So the SDK makes one object of each shape,
a blueprint is taken of it, and the next chunk of that shape is made after the blueprint: same
classes, same values, same sets of fields, in a tenth of the time.

A blueprint is of a shape only if the outcome can be known beforehand. A string where the model
declares a string stays what it is, whatever it says, and so does a number; anything else (a
literal, a null, a float that was an integer) has to be equal to what the blueprint was taken of.
What does not fit a blueprint, and every shape of which none can be taken, is the SDK's to
construct. The first object after a blueprint is compared with the SDK's own, down to the order of
its fields, before the blueprint is used.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, List, Optional, Union, get_args  # noqa: UP035 -- compared with what models declare

from streamwatch.core.sse import Event

#: Blueprints of one kind of event that are tried; a stream has four or so, a process several sorts of streams.
_MAX_BLUEPRINTS = 16
#: Kinds of events: the Responses API has some 60, the deltas of all servers that were recorded some 40; a server may
#: make up more.
_MAX_KINDS = 128
#: A blueprint is taken for each 64 events at most, and of each of the first 64 events: to take one costs up to a
#: millisecond, and shapes that change all the time are not worth it.
_EVENTS_A_LESSON = 64
#: Events in a row without a blueprint that fits, after which only each 16th is tried.
_PATIENCE = 16

#: What a field may declare for a value of a type to stay what it is.
_FREE: dict[type, tuple[Any, ...]] = {
    kind: (kind, Optional[kind], Union[None, kind])  # noqa: UP007, UP045 -- compared with what models declare
    for kind in (str, int, float)
}
#: The same for lists of integers: the bytes of a token, of which there are some in each log probability.
_FREE_LISTS = (list[int], List[int], Optional[list[int]], Optional[List[int]])  # noqa: UP006, UP045
#: The streams whose chunks can be made: the SDK constructs what they are cast to, and nothing around it.
_SORTS = (
    ("openai.types.chat.chat_completion_chunk", "ChatCompletionChunk"),
    ("openai.types.responses.response_stream_event", "ResponseStreamEvent"),
    ("openai.types.completion", "Completion"),
)
_SCALARS = (str, int, float, bool, type(None))
_new = object.__new__
_set = object.__setattr__


class UnlearnableError(Exception):
    """No blueprint can be taken of an object."""


class ShapeTemplate:
    """How the SDK makes an object of one shape of JSON objects."""

    __slots__ = (
        "cls",
        "fields",
        "fields_set",
        "fixed",
        "free",
        "has_extra",
        "has_parts",
        "integers",
        "lists",
        "loose",
        "models",
        "size",
    )

    def __init__(self, payload: dict[str, Any], made: Any) -> None:
        """Take the blueprint of `made`, which the SDK constructed from `payload`."""
        if not _is_model(made):
            raise UnlearnableError
        self.cls = type(made)
        self.size = len(payload)
        # In the order of the model, whatever the order on the wire; what is on the wire has its place kept.
        fields = made.__dict__.items()
        self.fields: dict[str, Any] = {name: None if name in payload else _scalar(value) for name, value in fields}
        self.fields_set: set[str] = made.__pydantic_fields_set__
        extra = made.__pydantic_extra__
        self.has_extra = extra is not None
        self.fixed: list[tuple[str, Any, type]] = []
        self.free: list[tuple[str, type]] = []
        self.models: list[tuple[str, ShapeTemplate]] = []
        self.lists: list[tuple[str, list[ShapeTemplate]]] = []
        self.integers: list[str] = []
        self.loose: list[str] = []
        declared = self.cls.model_fields
        for key, value in payload.items():
            if extra and key in extra:
                if extra[key] is not value:
                    raise UnlearnableError
                self.loose.append(key)
            elif key in declared and not declared[key].alias:
                self._take(key, value, made.__dict__[key], declared[key])
            else:
                raise UnlearnableError
        self.has_parts = bool(self.models or self.lists or self.integers)

    @classmethod
    def taken(cls, declared: Any, payload: Any, made: Any) -> ShapeTemplate:
        """A blueprint, if the class of the object does not depend on what stays free in it."""
        blueprint = cls(payload, made)
        if not _names_one_class(declared) and "type" not in [key for key, _, _ in blueprint.fixed]:
            raise UnlearnableError
        return blueprint

    def _take(self, key: str, value: Any, made: Any, field: Any) -> None:
        kind = type(value)
        if kind is dict:
            self.models.append((key, ShapeTemplate.taken(field.annotation, value, made)))
        elif kind is list and field.annotation in _FREE_LISTS and _are_integers(value) and made == value:
            self.integers.append(key)
        elif kind is list:
            if type(made) is not list or len(made) != len(value):
                raise UnlearnableError
            taken = [ShapeTemplate.taken(field.annotation, *both) for both in zip(value, made, strict=True)]
            self.lists.append((key, taken))
        elif field.annotation in _FREE.get(kind, ()) and not field.metadata and type(made) is kind and made == value:
            self.free.append((key, kind))
        elif kind is not float:  # 0.0 equals -0.0
            self.fixed.append((key, value, kind))
            self.fields[key] = _scalar(made)
        else:
            raise UnlearnableError

    def build(self, payload: Any) -> Any:
        """The object that the SDK would construct; None, or a KeyError, if `payload` is not of this shape."""
        if type(payload) is not dict or len(payload) != self.size:
            return None
        for key, expected, kind in self.fixed:
            value = payload[key]
            if value is not expected and (value != expected or type(value) is not kind):
                return None
        fields = self.fields.copy()
        for key, kind in self.free:
            fields[key] = value = payload[key]
            if type(value) is not kind or (type(value) is str and not _is_text(value)):
                return None
        if self.has_parts and not self._build_parts(payload, fields):
            return None
        loose, extra = self.loose, None
        if self.has_extra:  # in the order of the wire
            extra = {key: value for key, value in payload.items() if key in loose} if loose else {}
            if len(extra) != len(loose):
                return None
        made = _new(self.cls)
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_private__", None)
        _set(made, "__pydantic_extra__", extra)
        _set(made, "__pydantic_fields_set__", self.fields_set.copy())
        return made

    def _build_parts(self, payload: dict[str, Any], fields: dict[str, Any]) -> bool:
        """What is not a scalar; False if it is not of this shape."""
        for key, blueprint in self.models:
            fields[key] = made = blueprint.build(payload[key])
            if made is None:
                return False
        for key, blueprints in self.lists:
            fields[key] = made = _build_all(blueprints, payload[key])
            if made is None:
                return False
        for key in self.integers:
            value = payload[key]
            if not _are_integers(value):
                return False
            fields[key] = value.copy()
        return True


def _build_all(blueprints: list[ShapeTemplate], payloads: Any) -> list[Any] | None:
    if type(payloads) is not list or len(payloads) != len(blueprints):
        return None
    made = []
    for blueprint, payload in zip(blueprints, payloads):  # noqa: B905 -- as long as each other: `strict` costs
        one = blueprint.build(payload)
        if one is None:
            return None
        made.append(one)
    return made


def _is_model(made: Any) -> bool:
    """Whether an object is of one of the SDK's own models, and no state is hidden in it."""
    cls = type(made)
    own = cls.__module__.startswith("openai.types.") and hasattr(made, "__pydantic_fields_set__")
    # A model that says of what type its extra fields are may make something else of them.
    return (
        own and made.__pydantic_private__ is None and "__pydantic_extra__" not in vars(cls).get("__annotations__", ())
    )


def _names_one_class(declared: Any) -> bool:
    """Whether a type is a class, if perhaps an optional one, or a list of such objects."""
    arguments = [argument for argument in get_args(declared) if argument is not type(None)]
    return _names_one_class(arguments[0]) if len(arguments) == 1 else isinstance(declared, type)


def _scalar(value: Any) -> Any:
    """A value that objects may share."""
    if type(value) not in _SCALARS:
        raise UnlearnableError
    return value


def _are_integers(value: Any) -> bool:
    return type(value) is list and all(type(each) is int for each in value)


def _is_text(value: str) -> bool:
    """Whether a string can be encoded; of lone surrogates pydantic makes no string."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def same(one: Any, other: Any) -> bool:
    """Whether nothing can tell two objects apart: not a class, not the order of a field, not a set of fields."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if hasattr(one, "__pydantic_fields_set__"):
        inside = ("__dict__", "__pydantic_extra__", "__pydantic_fields_set__", "__pydantic_private__")
        return all(same(getattr(one, name), getattr(other, name)) for name in inside)
    return bool(one == other)


class Shapes:
    """What is known of one kind of event."""

    __slots__ = ("blueprints", "misses")

    def __init__(self) -> None:
        self.blueprints: tuple[ShapeTemplate, ...] = ()  #: the latest used first
        self.misses = 0  #: events in a row that none of them fitted

    def prefer(self, blueprint: ShapeTemplate) -> None:
        """Try this blueprint first from now on."""
        others = [other for other in self.blueprints if other is not blueprint]
        self.blueprints = (blueprint, *others)[:_MAX_BLUEPRINTS]
        self.misses = 0


class Models:
    """The objects of one sort of stream.

    Args:
        construct: makes the SDK's own object of a JSON object, as the SDK's `construct_type`; may raise what it likes.
        cast_to: the type that the SDK constructs.
    """

    def __init__(self, construct: Callable[..., Any], cast_to: Any) -> None:
        self._construct = construct
        self._cast_to = cast_to
        self._kinds: dict[Any, Shapes] = {}
        self._credit = _EVENTS_A_LESSON * _EVENTS_A_LESSON

    def build(self, payload: dict[str, Any]) -> Any:
        """The object that the SDK would construct of `payload`, or `payload` for the SDK to do that."""
        self._credit += 1
        kind = _kind_of(payload)
        shapes = self._kinds.get(kind)
        if shapes is None:
            shapes = self._new_kind(kind)
        misses = shapes.misses
        if misses < _PATIENCE or not misses % _PATIENCE:
            for blueprint in shapes.blueprints:
                made = _attempt(blueprint, payload)
                if made is not None:
                    if misses or blueprint is not shapes.blueprints[0]:
                        shapes.prefer(blueprint)
                    return made
            self._learn(shapes, payload)
        shapes.misses = misses + 1
        return payload

    def _new_kind(self, kind: Any) -> Shapes:
        """The shapes of a kind that was not seen before; forgotten at once if there are too many."""
        shapes = Shapes()
        if len(self._kinds) < _MAX_KINDS:
            self._kinds[kind] = shapes
        return shapes

    def _learn(self, shapes: Shapes, payload: dict[str, Any]) -> None:
        """Take a blueprint of what the SDK makes of a payload, if one can be taken."""
        if self._credit < _EVENTS_A_LESSON or "error" in payload:  # the SDK looks for `error` itself
            return
        self._credit -= _EVENTS_A_LESSON
        try:
            made = self._construct(value=payload, type_=self._cast_to)
        except Exception:
            return  # as it will when the SDK constructs it
        with contextlib.suppress(UnlearnableError):
            blueprint = ShapeTemplate.taken(self._cast_to, payload, made)
            if same(_attempt(blueprint, payload), made):
                shapes.blueprints = (blueprint, *shapes.blueprints)[:_MAX_BLUEPRINTS]


def _kind_of(payload: dict[str, Any]) -> Any:
    """What tells most of the shape of an event at a glance: its type, or what stands in its first delta."""
    kind = payload.get("type")
    if type(kind) is str:
        return kind
    try:
        delta = payload["choices"][0]["delta"]
    except (KeyError, IndexError, TypeError):
        return ""
    return tuple(delta) if type(delta) is dict else ""


def _attempt(blueprint: ShapeTemplate, payload: dict[str, Any]) -> Any:
    try:
        return blueprint.build(payload)
    except KeyError:  # as many keys, but others
        return None


class EventTypes:
    """What the SDK takes for its own server-sent events, for each sort of stream.

    Args:
        own: the SDK's class.
        failed: is told an exception of ours; the SDK constructs the object then.
        builds: whether events give the SDK objects that are made already, where that is known to work.
    """

    def __init__(self, own: type, failed: Callable[[BaseException, str], None], *, builds: bool) -> None:
        self._own = own
        self._failed = failed
        self._plain = self._sent_event(None)
        self._builds = builds
        self._types: dict[str, type[Event]] = {}

    def of(self, stream: Any) -> type[Event]:
        """The events of a stream of the SDK."""
        cast_to = getattr(stream, "_cast_to", None)
        for module, name in _SORTS if self._builds and cast_to is not None else ():
            if getattr(sys.modules.get(module), name, None) is cast_to:
                if not _constructs_as_known(getattr(stream, "_client", None)):
                    break
                if name not in self._types:
                    self._types[name] = self._sent_event(Models(sys.modules["openai._models"].construct_type, cast_to))
                return self._types[name]
        return self._plain

    def _sent_event(self, models: Models | None) -> type[Event]:
        failed = self._failed

        class SentEvent(Event, self._own):  # type: ignore[misc, name-defined]
            __slots__ = ()

            def json(self) -> Any:
                payload = self.payload
                if payload is None or not self.shared:
                    return json.loads(self.data)
                # Of an event with a name of its own some releases make another object, which holds both.
                if models is None or (self.event is not None and self.event != payload.get("type")):
                    return payload
                try:
                    return models.build(payload)
                except Exception as error:
                    failed(error, "building a chunk")
                    return payload

        return SentEvent


def _constructs_as_known(client: Any) -> bool:
    """Whether the objects of a client are a function of the JSON: nobody validates, or has put himself between."""
    functions = (
        (getattr(type(client), "_process_response_data", None), "openai._base_client"),
        (getattr(sys.modules.get("openai._base_client"), "construct_type", None), "openai._models"),
        (getattr(getattr(sys.modules.get("openai._models"), "BaseModel", None), "construct", None), "openai._models"),
    )
    stock = all(_home(function) == module for function, module in functions)
    return stock and getattr(client, "_strict_response_validation", True) is False


def _home(function: Any) -> Any:
    """The module that a function was written in, whatever a wrapper around it says."""
    function = getattr(function, "__func__", function)
    return function.__globals__.get("__name__") if type(function) is FunctionType else None
