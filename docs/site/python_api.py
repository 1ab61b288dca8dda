"""The page of the Python interface: the public names of the package, their signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

import streamwatch
from streamwatch import testing

#: The public names by what a reader wants of them; a test holds them to `__all__`.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Switch on, off, and send": ("instrument", "uninstrument", "flush", "StreamwatchInstrumentor"),
    "Settings from code": ("Settings", "Policy"),
    "Read a stream without the SDK": ("StreamWatch", "Request", "Report"),
}
#: What tests import from `streamwatch.testing`.
IN_TESTS = ("reports", "last_report")
#: Methods of these classes that an application calls; the other public ones serve the package itself.
METHODS: dict[str, tuple[str, ...]] = {
    "Settings": ("from_environ",),
    "StreamWatch": ("receive", "expire", "close", "report"),
}

#: Defaults that a signature shows as they are, and the most parameters that it lists.
_PLAIN = (str, int, float, bool, type(None))
_MANY = 8


def sections() -> Iterator[str]:
    """Yield the page, a part at a time."""
    yield (
        "Most applications need none of this: `streamwatch run -- python app.py` watches them as they are."
        " This page lists the public names. Every other name in the package is private and may change in any release."
    )
    yield "```python\nimport streamwatch\n\nstreamwatch.instrument()\n```"
    for title, names in SECTIONS.items():
        yield f"## {title}"
        for name in names:
            yield from _entry("streamwatch", name, getattr(streamwatch, name))
    yield "## In tests"
    for name in IN_TESTS:
        yield from _entry("streamwatch.testing", name, getattr(testing, name))


def _entry(module: str, name: str, what: Any) -> Iterator[str]:
    """Yield a name with its signature, its docstring, its fields and its methods."""
    yield f"### {module}.{name}"
    if not (inspect.isclass(what) and issubclass(what, Enum)):
        yield f"```text\n{name}{_signature(what)}\n```"
    yield _text(what)
    if dataclasses.is_dataclass(what) and name == "Report":
        yield f"Fields: {', '.join(f'`{field.name}`' for field in dataclasses.fields(what))}."
    for method in METHODS.get(name, ()):
        function = getattr(what, method)
        yield f"`{method}{_signature(function)}`: {_text(function).partition(chr(10) * 2)[0]}"


def _signature(what: Any) -> str:
    """Return the parameters without `self`; a class with many fields has a page of its own."""
    signature = inspect.signature(what)
    parameters = [
        parameter
        if parameter.default is parameter.empty or isinstance(parameter.default, _PLAIN)
        else parameter.replace(default=...)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    if parameters and all(
        parameter.kind is parameter.VAR_POSITIONAL or name == "kwargs"
        for name, parameter in signature.parameters.items()
    ):
        return "()"
    if len(parameters) > _MANY:
        return "(...)"
    returns = inspect.Signature.empty if inspect.isclass(what) else signature.return_annotation
    written = str(signature.replace(parameters=parameters, return_annotation=returns))
    return written.replace("'", "").replace("Ellipsis", "...").replace("= default", '= "default"')


def _text(what: Any) -> str:
    """Return a docstring in Markdown: what is indented is code."""
    text = inspect.getdoc(what) or ""
    text = text.replace("Args:\n", "Arguments:\n\n")
    return re.sub(
        r"(?:^    .*\n?)+",
        lambda block: f"```text\n{textwrap.dedent(block[0]).rstrip()}\n```\n",
        text,
        flags=re.MULTILINE,
    ).strip()
