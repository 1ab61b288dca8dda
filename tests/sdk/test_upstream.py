"""The private names of other packages: each that is used has a row, and installed releases have it."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionChunk
from packaging.version import Version

from conftest import Watched
from docs.site.private_names import OTHER_STRINGS, PACKAGE, PUBLIC, names_in, used
from docs.site.upstream import TABLE, PrivateName
from helpers import sdk

ROOT = Path(__file__).parents[2]
#: The distribution of the SDK has lines; of the others one release is installed.
OLD = {"openai": Version(openai.__version__), "pydantic": Version(pydantic.VERSION)}

each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.package}.{row.name}")


@pytest.mark.slow  # reads the whole source: `make check` runs it
def test_every_private_name_that_is_used_has_a_row() -> None:
    """For each module that uses it; every row is used, and a name has one row for each package that it belongs to."""
    rows = [(row.package, row.name) for row in TABLE]
    written = sorted((row.name, module) for row in TABLE for module in row.used_in)

    assert written == sorted((name, module) for name, modules in used().items() for module in modules)
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("stream._decoder = 1", {"_decoder"}),
        ("def f(x): return x._a._b", {"_a", "_b"}),
        ("import openai\nopenai._base_client.httpx", {"_base_client"}),
        ("from openai._streaming import Stream", {"openai._streaming"}),
        ("from openai.lib import _hidden", {"_hidden"}),
        ("import sys\nsys.modules['openai.lib._deltas']", {"openai.lib._deltas"}),
        ("def wrap():\n    def __init__(self): self._decoder = 1", {"_decoder"}),
        ("class A:\n    def f(self):\n        def g(): return self._own\n        return self._own", set()),
        ("class A(B):\n    def f(self): super()._taken()", {"_taken"}),
        ("class A(Ours):\n    def f(self): super()._ours()", set()),
        ("class A:\n    __slots__ = ('_own',)", set()),
        ("made.__pydantic_extra__", {"__pydantic_extra__"}),
        ("from streamwatch.core.sse import Event\nimport sys\nsys._getframe(1)", set()),
    ],
)
def test_a_private_name_is_noticed(source: str, found: set[str]) -> None:
    """Wherever it is written; what is the package's own, or documented, is none."""
    assert names_in(source, {"Ours"})[0] == found


@pytest.mark.parametrize(
    "source", ["getattr(stream, '_client', None)", "vars(stream)['_client']", "'_client' in members"]
)
def test_a_private_name_in_a_string_is_noticed(source: str) -> None:
    """That is how most of them are asked for."""
    assert names_in(source, set()) == (set(), {"_client"})


@pytest.mark.slow  # reads the whole source
def test_what_is_said_to_be_something_else_is_there() -> None:
    """Every exception is needed: the string stands in that module, the public name somewhere."""
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    strings = {module: names_in(texts[module], set())[1] for module in OTHER_STRINGS}

    assert {} == {
        module: names.keys() - strings[module]
        for module, names in OTHER_STRINGS.items()
        if names.keys() - strings[module]
    }
    assert [] == [name for name in PUBLIC if not any(re.search(rf"\b{name}\b", text) for text in texts.values())]


def test_a_body_that_was_there_from_the_start_is_watched(watched: Watched) -> None:
    """As in the SDK's own tests: such a response is consumed already, and has `_content`."""
    request = sdk.httpx.Request("POST", "https://host.test/v1/chat/completions")
    response = sdk.httpx.Response(200, content=b"".join(sdk.healthy("chat")), request=request)
    client = sdk.client(())
    chunks = list(openai.Stream(cast_to=ChatCompletionChunk, response=response, client=client))

    assert chunks
    assert watched.report.verdict == "complete"
    assert watched.samples("streamwatch.unobserved_streams") == {}


@pytest.mark.skipif(not sdk.HAS_RESPONSES or not sdk.has_helper(sdk.client(()), "responses"), reason="no such helper")
def test_the_helper_for_responses_is_seen_at_work(watched: Watched) -> None:
    """By the module that opens the stream; a loop of the application's own is no helper."""
    with sdk.helper(sdk.client(sdk.healthy("responses")), "responses") as stream:
        helped = list(stream)
    sdk.read("sync", sdk.healthy("responses"), "responses")
    watched.settle()

    assert helped
    assert [True, False] == [report.request.accumulated for report in watched.reports]


# --- the installed releases


def owner_of(path: str) -> Any:
    """A module, or a class in it; skips where the package is not installed."""
    module, _, name = path.partition(":")
    package = module.partition(".")[0]
    if package != "opentelemetry":  # of which the parts that are looked at are always installed
        pytest.importorskip(package)
    return getattr(importlib.import_module(module), name) if name else importlib.import_module(module)


@functools.lru_cache
def members(module: str) -> dict[str, set[str]]:
    """The classes of a module, each with the attributes and names in its source."""
    try:
        source = inspect.getsource(importlib.import_module(module))
    except (OSError, TypeError):  # compiled
        return {}
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return {class_.name: {name_of(node) for node in ast.walk(class_)} for class_ in classes}


def name_of(node: ast.AST) -> str:
    """The name of an attribute, a variable or a function."""
    return str(getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))))


def has(path: str, name: str) -> bool:
    """Whether a class has an attribute, or names it in its source or that of a base; whether a module has a member."""
    owner, module = owner_of(path), path.partition(":")[0]
    if inspect.ismodule(owner):
        return module in (name, f"openai.{name}") or hasattr(owner, name)
    if hasattr(owner, name):
        return True  # pydantic 1 is compiled, and has no source
    # A package may say of a class that it lies where it is imported from.
    return any(
        name in members(home).get(base.__name__, ()) for base in owner.__mro__ for home in (module, base.__module__)
    )


INSTALLED = [(row, owner) for row in TABLE for owner in row.owners]


@pytest.mark.slow
@pytest.mark.parametrize(("row", "owner"), INSTALLED, ids=[f"{owner}.{row.name}" for row, owner in INSTALLED])
def test_a_name_is_where_it_was(row: PrivateName, owner: str) -> None:
    """In the releases that are installed here, from the first one on that is known to have it."""
    installed = OLD.get(row.package)
    if installed is not None and installed < Version(row.since):
        pytest.skip(f"{row.package} {installed} has no {row.name} yet: {row.without}")

    assert has(owner, row.name), f"{row.package} has moved {row.name}: {row.without}. It was there for: {row.why}"


def test_a_name_that_has_moved_is_noticed() -> None:
    """In a module, in a class, and in its bases."""
    assert has("openai._streaming", "openai._streaming")
    assert has("openai._streaming:Stream", "_decoder")
    assert has("opentelemetry.sdk._configuration:_OTelSDKConfigurator", "_configure")
    assert not has("openai._streaming", "_decoder")
    assert not has("openai._streaming:Stream", "_parser")


@each_row
def test_who_watches_a_name_is_there(row: PrivateName) -> None:
    """The test that is named, in a file that is there; nothing in the row is left out."""
    file, _, name = row.watched_by.partition("::")

    assert (ROOT / file).is_file()
    assert not name or re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert all((row.since, row.why, row.without, row.owners))
