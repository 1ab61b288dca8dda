"""The function that builds the objects of one shape: written for the shape, so that nothing is looked up for a chunk.

A function in the source would loop over the fields of a template for each chunk, which takes twice as many bytecodes.
The source that is written here has no word of a server's in it: keys, values and classes are arguments with defaults.
So the same source serves all templates of one structure, and is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamwatch.sdk.shape_template import ShapeTemplate

Build = Callable[[Any], Any]

#: Where the functions say that they are from.
FILE = "<streamwatch/sdk/shape_code.py: one shape>"
#: Sources that are kept compiled: all recordings together have some hundred.
_SOURCES = 512
#: Objects of a list that are built one by one in the source; a list of more is built in a loop.
_UNROLLED = 4
#: What is raised where an object has as many members as its template, but others, or a string is none.
MISFITS = (KeyError, AttributeError)
_new = object.__new__
#: All that a function that was written can look up: one for all of them. By the name of the module `interruption` knows
#: that the function is Streamwatch's.
_GLOBALS: dict[str, Any] = {"__builtins__": {"len": len}, "__name__": __name__}


class _Writer:
    """The lines of a function, and what its names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: list[Any] = []

    def name(self, value: Any) -> str:
        """Return the name of an argument that has a value by default."""
        self.values.append(value)
        return f"a{len(self.values) - 1}"

    def line(self, text: str) -> None:
        self.lines.append(f"    {text}")

    def unless(self, condition: str) -> None:
        """Give up where the payload is of another shape."""
        self.line(f"if {condition}: return None")

    def function(self) -> Build:
        """Return the function that was written."""
        arguments = ", ".join(["payload", *(f"a{number}=None" for number in range(len(self.values)))])
        code = _compiled("\n".join([f"def build({arguments}):", *self.lines]))
        return FunctionType(code, _GLOBALS, "build", tuple(self.values))


@lru_cache(_SOURCES)
def _compiled(source: str) -> CodeType:
    """Return the code of the only function in a source."""
    module = compile(source, FILE, "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def builder_of(template: ShapeTemplate) -> Build:
    """Return what builds the object that the SDK would construct of a JSON value.

    It returns None, or raises one of `MISFITS`, where the value is not of the shape of the template.
    """
    writer = _Writer()
    writer.unless(f"payload.__class__ is not {writer.name(dict)} or len(payload) != {template.size}")
    _write_fixed(writer, template)
    writer.line(f"fields = {writer.name(template.fields.copy)}()")
    _write_free(writer, template)
    for key, part in template.models:
        name = writer.name(key)
        writer.line(f"fields[{name}] = made = {writer.name(part.build)}(payload[{name}])")
        writer.unless("made is None")
    for key, parts in template.lists:
        _write_list(writer, key, parts)
    for key in template.integers:
        name = writer.name(key)
        writer.line(f"value = payload[{name}]")
        writer.unless(f"not {writer.name(are_integers)}(value)")
        writer.line(f"fields[{name}] = value.copy()")
    _write_extra(writer, template)
    writer.line(f"made = {writer.name(_new)}({writer.name(template.cls)})")
    values = ("fields", "None", "extra", f"{writer.name(template.new_fields_set)}()")
    for setter, value in zip(template.setters, values, strict=True):
        writer.line(f"{writer.name(setter)}(made, {value})")
    writer.line("return made")
    return writer.function()


def _write_fixed(writer: _Writer, template: ShapeTemplate) -> None:
    """Have what has to be equal read and compared all together, in C."""
    fixed = template.fixed
    if len(fixed) > 1:
        read, expected = writer.name(itemgetter(*fixed)), writer.name(tuple(fixed.values()))
        writer.unless(f"{read}(payload) != {expected}")
    for key, value in fixed.items():
        if len(fixed) == 1:
            writer.unless(f"payload[{writer.name(key)}] != {writer.name(value)}")
        if not isinstance(value, (str, type(None))):  # numbers that are equal may be of another type
            writer.unless(f"payload[{writer.name(key)}].__class__ is not {writer.name(type(value))}")


def _write_free(writer: _Writer, template: ShapeTemplate) -> None:
    for key in template.texts:
        name = writer.name(key)
        writer.line(f"fields[{name}] = value = payload[{name}]")
        is_text = writer.name(_is_text)
        writer.unless(f"not (value.isascii() or {is_text}(value))")  # of all that JSON has, a string alone can say so
    for key, kind in template.free:
        name = writer.name(key)
        writer.line(f"fields[{name}] = value = payload[{name}]")
        writer.unless(f"value.__class__ is not {writer.name(kind)}")


def _write_list(writer: _Writer, key: str, parts: list[ShapeTemplate]) -> None:
    name = writer.name(key)
    writer.line(f"value = payload[{name}]")
    writer.unless(f"value.__class__ is not {writer.name(list)} or len(value) != {len(parts)}")
    if len(parts) > _UNROLLED:
        writer.line(f"fields[{name}] = made = {writer.name(_build_all)}({writer.name(parts)}, value)")
        writer.unless("made is None")
        return
    for number, part in enumerate(parts):
        writer.line(f"made{number} = {writer.name(part.build)}(value[{number}])")
        writer.unless(f"made{number} is None")
    writer.line(f"fields[{name}] = [{', '.join(f'made{number}' for number in range(len(parts)))}]")


def _write_extra(writer: _Writer, template: ShapeTemplate) -> None:
    """Write what the model does not declare, in the order of the wire."""
    loose = template.loose
    if len(loose) == 1:
        name = writer.name(loose[0])
        writer.line(f"extra = {{{name}: payload[{name}]}}")
    elif loose:
        writer.line(f"extra = {writer.name(_members)}(payload, {writer.name(loose)})")
        writer.unless("extra is None")
    else:
        writer.line(f"extra = {'{}' if template.has_extra else None}")


def _members(payload: dict[str, Any], names: list[str]) -> dict[str, Any] | None:
    """Return these members of an object in the order of the wire; None unless it has them all."""
    found = {key: value for key, value in payload.items() if key in names}
    return found if len(found) == len(names) else None


def _build_all(templates: list[ShapeTemplate], payloads: list[Any]) -> list[Any] | None:
    made = []
    for template, payload in zip(templates, payloads, strict=True):
        part = template.build(payload)
        if part is None:
            return None
        made.append(part)
    return made


def are_integers(value: Any) -> bool:
    """Return whether a value is a list of integers, of which none is a Boolean."""
    return type(value) is list and all(type(each) is int for each in value)


def _is_text(value: str) -> bool:
    """Return whether a string can be encoded; of lone surrogates pydantic makes no string."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
