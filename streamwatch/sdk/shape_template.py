"""An object of one shape of JSON, built as the SDK constructed one before.

A template can be taken only where the outcome can be known beforehand. A string where the model declares a string
stays what it is, whatever it says, and so does a number; anything else (a literal, a null, a float that was an integer)
has to be equal to what the template was taken of.
"""

from __future__ import annotations

from functools import partial
from inspect import getattr_static
from typing import Any, List, Optional, Union, get_args  # noqa: UP035 -- compared with what models declare

from streamwatch.sdk.shape_code import are_integers, builder_of

#: Bytes of a string that a template holds, be it a key or a value that has to be equal. The literals and members of the
#: SDK's models have less than 64 characters; what is longer will hardly come again.
_MAX_HELD = 256
#: Bytes of one template; of 359 of all recordings the largest but one has 16,000, and that one 2 million.
_MAX_TEMPLATE = 32 << 10
#: Bytes that an object of one shape takes, and each key and value that is held besides what it says: measured, of all
#: recordings together.
_BYTES_A_TEMPLATE, _BYTES_A_STRING = 900, 100

#: What a field may declare for a value of a type to stay what it is.
_FREE: dict[type, tuple[Any, ...]] = {
    kind: (kind, Optional[kind], Union[None, kind])  # noqa: UP007, UP045 -- compared with what models declare
    for kind in (str, int, float)
}
#: The same for lists of integers: the bytes of a token, of which there are some in each log probability.
_FREE_LISTS = (list[int], List[int], Optional[list[int]], Optional[List[int]])  # noqa: UP006, UP045
_SCALARS = (str, int, float, bool, type(None))
#: Where pydantic keeps what a model holds. Its descriptors take a third less time than `object.__setattr__`.
_INSIDE = ("__dict__", "__pydantic_private__", "__pydantic_extra__", "__pydantic_fields_set__")


class UnlearnableError(Exception):
    """The error of an object that gives no template."""


class ShapeTemplate:
    """The way in which the SDK constructs the objects of one shape of JSON objects."""

    __slots__ = (
        *("build", "cls", "fields", "fixed", "free", "has_extra", "integers", "lists", "loose", "models"),
        *("new_fields_set", "setters", "size", "texts", "weight"),
    )

    def __init__(self, payload: dict[str, Any], made: Any) -> None:
        """Take the template of `made`, which the SDK constructed of `payload`."""
        if not _is_model(made):
            raise UnlearnableError
        self.cls = type(made)
        self.setters = [getattr_static(self.cls, name).__set__ for name in _INSIDE]
        self.size = len(payload)
        self.weight = _BYTES_A_TEMPLATE
        # In the order of the model, whatever the order on the wire; what is on the wire has its place kept.
        fields = made.__dict__.items()
        self.fields: dict[str, Any] = {name: None if name in payload else _scalar(value) for name, value in fields}
        # Of the class that it has, which may say that the dict of the object answers for a content.
        fields_set: set[str] = made.__pydantic_fields_set__
        self.new_fields_set = partial(type(fields_set), frozenset(fields_set))  # of a set twice as fast as of a tuple
        self.has_extra = made.__pydantic_extra__ is not None
        self.fixed: dict[str, Any] = {}  #: what has to be equal
        self.texts: list[str] = []  #: strings that stay free
        self.free: list[tuple[str, type]] = []  #: numbers that stay free
        self.models: list[tuple[str, ShapeTemplate]] = []
        self.lists: list[tuple[str, list[ShapeTemplate]]] = []
        self.integers: list[str] = []
        self.loose: list[str] = []
        for key, value in payload.items():
            self._hold(key)
            self._take(key, value, made)
        self.build = builder_of(self)

    @classmethod
    def taken(cls, declared: Any, payload: Any, made: Any) -> ShapeTemplate:
        """Return a template, if the class of the object does not depend on what stays free in it."""
        template = cls(payload, made)
        if not (_names_one_class(declared) or "type" in template.fixed):
            raise UnlearnableError
        return template

    def _take(self, key: str, value: Any, made: Any) -> None:
        """Take a member of the payload, and what it became."""
        extra, field = made.__pydantic_extra__, self.cls.model_fields.get(key)
        if extra and key in extra:
            if extra[key] is not value:
                raise UnlearnableError
            self.loose.append(key)
        elif field is not None and not field.alias:
            self._take_field(key, value, made.__dict__[key], field)
        else:
            raise UnlearnableError

    def _take_field(self, key: str, value: Any, made: Any, field: Any) -> None:
        kind = type(value)
        if kind is dict:
            self.models.append((key, self._part(field.annotation, value, made)))
        elif kind is list and field.annotation in _FREE_LISTS and are_integers(value) and made == value:
            self.integers.append(key)
        elif kind is list:
            if type(made) is not list or len(made) != len(value):
                raise UnlearnableError
            self.lists.append((key, [self._part(field.annotation, *both) for both in zip(value, made, strict=True)]))
        elif field.annotation in _FREE.get(kind, ()) and not field.metadata and type(made) is kind and made == value:
            self.texts.append(key) if kind is str else self.free.append((key, kind))
        elif kind is not float:  # 0.0 equals -0.0
            self._hold(value)
            self.fixed[key] = value
            self.fields[key] = _scalar(made)
        else:
            raise UnlearnableError

    def _part(self, declared: Any, payload: Any, made: Any) -> ShapeTemplate:
        """Return the template of an object inside of this one."""
        part = ShapeTemplate.taken(declared, payload, made)
        self._add(part.weight)
        return part

    def _hold(self, value: Any) -> None:
        """Count a key or a value off the wire that is kept."""
        size = _size_of(value)
        if size > _MAX_HELD:
            raise UnlearnableError
        self._add(size + _BYTES_A_STRING)

    def _add(self, size: int) -> None:
        self.weight += size
        if self.weight > _MAX_TEMPLATE:
            raise UnlearnableError


def _is_model(made: Any) -> bool:
    """Return whether an object is of one of the SDK's own models, and no state is hidden in it."""
    cls = type(made)
    own = cls.__module__.startswith("openai.types.") and hasattr(made, "__pydantic_fields_set__")
    # A model that says of what type its extra fields are may make something else of them.
    return (
        own and made.__pydantic_private__ is None and "__pydantic_extra__" not in vars(cls).get("__annotations__", ())
    )


def _names_one_class(declared: Any) -> bool:
    """Return whether a type is a class, if perhaps an optional one, or a list of such objects."""
    arguments = [argument for argument in get_args(declared) if argument is not type(None)]
    return _names_one_class(arguments[0]) if len(arguments) == 1 else isinstance(declared, type)


def _scalar(value: Any) -> Any:
    """Return a value that objects may share."""
    if type(value) not in _SCALARS:
        raise UnlearnableError
    return value


def _size_of(value: Any) -> int:
    """Return how many bytes a value holds; the same with every Python."""
    if type(value) is str:
        return len(value) if value.isascii() else 4 * len(value)
    return value.bit_length() // 8 if type(value) is int else 0


def same(one: Any, other: Any) -> bool:
    """Return whether two objects are the same: their classes, values, order of fields and sets of fields."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if hasattr(one, "__pydantic_fields_set__"):
        return all(same(getattr(one, name), getattr(other, name)) for name in _INSIDE)
    return bool(one == other)
