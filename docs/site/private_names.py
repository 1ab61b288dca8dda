"""Finds the private names of other packages that the package uses, in its source.

A private name is an attribute with one leading underscore of an object that is not the package's own, wherever it is
written: `stream._decoder`, `getattr(stream, "_client")`, `vars(stream)["_cast_to"]`; and a module that is private.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "streamwatch"

#: Names with an underscore that are documented for everybody.
PUBLIC = {
    "_getframe": "Python documents it",
    "_replace": "the interface of a named tuple",
    "_value_": "the interface of an Enum",
    "_uninstrument": "what BaseInstrumentor has its subclasses define",
    "_instrument": "what BaseInstrumentor has its subclasses define",
}
#: Names without an underscore that no documentation has.
UNDOCUMENTED = {"recv_messages"}
#: Strings that look like a private name and are something else: where, and what.
OTHER_STRINGS = {
    "cli/check/archives.py": {"_eventSourceMessages": "a member of a HAR file", "_error": "a member of a HAR file"},
    "cli/top/rates.py": dict.fromkeys(("_total", "_count", "_sum"), "the end of a metric's name"),
    "export/labels.py": {"_other": "a label"},
    "otel/distro.py": {"_exporter": "the end of an entry point's group"},
    "otel/prometheus_families.py": dict.fromkeys(
        ("_total", "_created", "_bucket", "_count", "_sum", "_info"), "the end of a metric's name"
    ),
    "sdk/request_info.py": dict.fromkeys(("_start", "_timer"), "a member of our own"),
    "sdk/session.py": dict.fromkeys(("_own",), "a member of our own"),
}
_ATTRIBUTE = re.compile(r"_[a-z]\w*|__(?:pydantic|fields)_\w+__")
_MODULE = re.compile(r"[a-z]\w*(?:\.\w+)*\._\w+")


def _is_private(name: str) -> bool:
    return name in UNDOCUMENTED or (_ATTRIBUTE.fullmatch(name) is not None and name not in PUBLIC)


class _Finder(ast.NodeVisitor):
    """Collects the private names of others in one module."""

    def __init__(self, own_classes: set[str]) -> None:
        self.found: set[str] = set()
        self.strings: set[str] = set()
        self._own_classes = own_classes
        self._scopes: list[ast.AST] = []

    def generic_visit(self, node: ast.AST) -> None:
        is_scope = isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        self._scopes += [node] if is_scope else []
        super().generic_visit(node)
        if is_scope:
            self._scopes.pop()

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_private(node.attr) and not self._is_own(node.value):
            self.found.add(node.attr)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            if _MODULE.fullmatch(node.value):
                self.found.add(node.value)
            elif _is_private(node.value):
                self.strings.add(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if getattr(node.targets[0], "id", "") != "__slots__":
            self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = str(node.module)
        if module.partition(".")[0] not in ("streamwatch", "__future__"):
            self.found |= {module} if any(part.startswith("_") for part in module.split(".")) else set()
            self.found |= {alias.name for alias in node.names if alias.name.startswith("_")}

    def _is_own(self, value: ast.expr) -> bool:
        """Return whether an object is one of the package's: `self` in a method, or `super()` below its classes."""
        text = ast.unparse(value)
        if text == "super()":
            class_ = next(scope for scope in reversed(self._scopes) if isinstance(scope, ast.ClassDef))
            return any(ast.unparse(base) in self._own_classes for base in class_.bases)
        functions = [at for at, scope in enumerate(self._scopes) if not isinstance(scope, ast.ClassDef)]
        if text not in ("self", "cls") or not functions:
            return False
        named = [at for at in functions if any(arg.arg == text for arg in self._scopes[at].args.args)]  # type: ignore[attr-defined]
        return bool(named) and named[-1] > 0 and isinstance(self._scopes[named[-1] - 1], ast.ClassDef)


def names_in(source: str, own_classes: set[str]) -> tuple[set[str], set[str]]:
    """Return the private names of others in a source: attributes and modules, and strings that may be such names."""
    finder = _Finder(own_classes)
    finder.visit(ast.parse(source))
    return finder.found, finder.strings


@functools.cache
def used() -> dict[str, set[str]]:
    """Return the private names of others that the package uses, each with the modules that use it."""
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    own_classes = {name for source in sources.values() for name in re.findall(r"^ *class (\w+)", source, re.MULTILINE)}
    found: dict[str, set[str]] = {}
    for module, name in _all_names(sources, own_classes):
        found.setdefault(name, set()).add(module)
    return found


def _all_names(sources: dict[str, str], own_classes: set[str]) -> Iterator[tuple[str, str]]:
    for module, source in sources.items():
        names, strings = names_in(source, own_classes)
        for name in names | (strings - OTHER_STRINGS.get(module, {}).keys()):
            yield module, name
