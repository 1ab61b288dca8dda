"""The package as such: layers, budgets, names, entry points, and the table of kinds."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import complexipy
import pytest

import streamwatch
from streamwatch.core.kinds import KINDS
from streamwatch.core.vocabulary import Level

pytestmark = pytest.mark.slow  # `make check` runs them

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamwatch"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: What a folder may import of the others, beside itself, the standard library and what `OUTSIDE` says. Imports point
#: one way: from the bottom of this table to its top.
FOLDERS: dict[str, set[str]] = {
    "version": set(),
    "exchange": set(),
    "core": set(),
    "export": {"core", "version"},
    "sdk": {"core", "exchange", "export"},
    "otel": {"core", "exchange", "export", "version"},
    "testing": {"core", "sdk"},
    "synthetic": {"core"},
    "cli": {"core", "export", "otel", "sdk", "synthetic", "version"},
    "demo": {"cli", "core", "export", "otel", "sdk", "synthetic"},
    "__init__": {"core", "sdk", "version"},
}
#: The packages that a folder may import, by their beginnings. `cli` and `demo` are programs.
OUTSIDE: dict[str, tuple[str, ...]] = {
    "export": ("opentelemetry.context", "opentelemetry.metrics", "opentelemetry.trace"),
    "sdk": ("opentelemetry.instrumentation", "opentelemetry.metrics", "opentelemetry.trace", "wrapt", "jiter"),
    "otel": ("opentelemetry", "prometheus_client", "wrapt"),
    "testing": ("pytest",),
}
#: Within the core: what the stages may not import, of each other and of the driver.
STAGES = {
    "apis": {"candidates", "patience", "reorder", "sequence", "stream"},
    "reorder": {"apis", "stream"},
    "sse": {"apis", "reorder", "stream"},
}
#: Functions over the budget, and why each is better whole.
LONG = {
    "core.apis.chat.Chat.push": "what every chunk goes through: another call would cost more than all else in it",
    "core.sse.Decoder._lines": "the fields of an event, one by one",
    "core.stream.StreamWatch.__init__": "the state of a stream, in one place",
    "core.stream.StreamWatch._step": "what every event goes through: another call would cost more than all else in it",
    "core.sequence.Numbers.__init__": "the books of one name, in one place",
    "otel.making_room.watch": "two wrappers and their end share one state",
    "core.sse.Decoder._decode": "what changes in one step stands in one place",
}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return what a module is made of."""
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or at the place of use; ours without `streamwatch.`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports relatively"
            own = node.module == "streamwatch"
            names = [f"streamwatch.{alias.name}" for alias in node.names] if own else [str(node.module)]
        else:
            continue
        yield from (name.removeprefix("streamwatch.") for name in names)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file, and how many lines each has without its docstring."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                qualified = f"{name}.{child.name}"
                if not isinstance(child, ast.ClassDef):
                    docstring = child.body[0] if ast.get_docstring(child) else None
                    length = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
                    yield qualified, (child.end_lineno or 0) - child.lineno + 1 - length
                yield from walk(child, qualified)

    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    yield from walk(parsed(path), module)


# --- layers


def name_of(path: Path) -> str:
    """A module's name within the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    """A module imports what its folder may, and nothing else; a new folder needs a row in the table."""
    folder = name_of(path).partition(".")[0]
    assert folder in FOLDERS, f"{folder} has no place in the layers: give it a row in FOLDERS"
    own = {module.partition(".")[0] for module in imports(path) if (PACKAGE / module.partition(".")[0]).exists()}
    own |= {module for module in imports(path) if (PACKAGE / f"{module}.py").exists()}
    outside = {
        module
        for module in imports(path)
        if module.partition(".")[0] not in sys.stdlib_module_names | own | {"streamwatch"}
        and not any(module == may or module.startswith(f"{may}.") for may in OUTSIDE.get(folder, ()))
    }

    assert set() == own - FOLDERS[folder] - {folder, "__init__"}
    assert folder in ("cli", "demo") or set() == outside


def test_the_folders_have_no_circle() -> None:
    """What a folder may import stands above it in the table."""
    seen: set[str] = set()
    for folder, may in FOLDERS.items():
        assert may <= seen, f"{folder} imports what stands below it"
        seen.add(folder)


def test_imports_of_the_core_point_one_way() -> None:
    """No circle among its modules, no stage that knows another one, and nothing above the driver."""
    core = {name_of(path).removeprefix("core."): path for path in (PACKAGE / "core").rglob("[a-z]*.py")}
    left = {
        module: {name.removeprefix("core.") for name in imports(path) if name.startswith("core.")}
        for module, path in core.items()
    }
    for module, imported in left.items():
        below = {name.partition(".")[0] for name in imported}
        assert not below & STAGES.get(module.partition(".")[0], {"stream"}), module
    while left:
        leaves = {module for module, imported in left.items() if not imported & left.keys()}
        assert leaves, f"a circle among {sorted(left)}"
        left = {module: imported for module, imported in left.items() if module not in leaves}


@pytest.mark.parametrize("path", [path for path in MODULES if "demo" not in path.parts], ids=name_of)
def test_nothing_imports_openai(path: Path) -> None:
    """The hook waits for the application to do that; the demo is an application."""
    watched = name_of(path).partition(".")[0] != "cli"
    assert not watched or not {
        name for name in imports(path) if name.partition(".")[0] in ("openai", "httpx", "httpx2")
    }


# --- budgets


def test_modules_are_short() -> None:
    """500 lines at most: a longer one has more than one duty."""
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}

    assert {} == {name: length for name, length in lengths.items() if length > 500}


def test_functions_are_short() -> None:
    """30 lines at most, but for a few that are better whole; a reason that is no longer needed goes."""
    lengths = dict(pair for path in PACKAGE.rglob("*.py") for pair in functions(path))
    long = {name: length for name, length in lengths.items() if length > 30}

    assert {} == {name: length for name, length in long.items() if name not in LONG or length > 45}
    assert set() == LONG.keys() - long.keys()


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "dashboards"], ids=lambda folder: folder.name)
def test_functions_are_simple(folder: Path) -> None:
    """A cognitive complexity of 15 at most, or the docstring says why the function is better in one piece."""
    intricate, excused = set(), set()
    for path in folder.rglob("*.py"):
        found = {
            function.line_start: function.complexity for function in complexipy.file_complexity(str(path)).functions
        }
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = range(min(each.lineno for each in (node, *node.decorator_list)), node.body[0].lineno)
                excused |= {(path.name, node.name)} if "In one piece:" in (ast.get_docstring(node) or "") else set()
                complexity = max((found.get(line, 0) for line in lines), default=0)
                intricate |= {(path.name, node.name)} if complexity > 15 else set()

    assert intricate == excused


def test_every_module_states_its_duty() -> None:
    """In a docstring, the first thing in it."""
    assert [] == [path.name for path in PACKAGE.rglob("*.py") if not ast.get_docstring(parsed(path))]


# --- names


#: What a class is called when nobody knows what it is.
VAGUE = ("Engine", "Handler", "Helper", "Manager", "Processor", "Util", "Utils")


def test_a_class_has_a_name_of_its_own_that_says_what_it_is() -> None:
    """No two classes of the package have one name, and none a name that fits anything."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name_of(path))

    assert {} == {name: modules for name, modules in places.items() if len(modules) > 1}
    assert [] == [name for name in places if name.endswith(VAGUE)]


def private_names(tree: ast.AST) -> Iterator[str]:
    """The names with an underscore that a file takes from another module of the package."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "streamwatch":
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_private(alias.name))
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and is_private(node.attr):
            module = modules.get(node.value.id)
            if module is not None and module.rpartition(".")[2].islower():
                yield f"{module}.{node.attr}"


def is_private(name: str) -> bool:
    """Whether a name is its module's own."""
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_private_names_cross_no_module(path: Path) -> None:
    """What two modules need is public in the lower one; ruff's SLF001 watches over members of objects."""
    assert [] == list(private_names(parsed(path)))


def test_a_private_name_of_another_module_is_noticed() -> None:
    """By import, or through the module."""
    code = "from streamwatch.core import sse\nfrom streamwatch.core.sse import _BOM\nsse._BOM, sse.Event"

    assert ["streamwatch.core.sse._BOM"] * 2 == list(private_names(ast.parse(code)))


def test_public_names_are_there() -> None:
    """Everything that `__all__` promises can be imported, and everything public is promised."""
    public = {name for name in vars(streamwatch) if not name.startswith("_")}
    modules = set(FOLDERS)

    assert sorted(streamwatch.__all__) == list(streamwatch.__all__)
    assert all(getattr(streamwatch, name).__doc__ for name in streamwatch.__all__)
    assert public - modules - {"annotations", "TYPE_CHECKING", "Any"} <= set(streamwatch.__all__)
    assert streamwatch._HOMES.keys() <= set(streamwatch.__all__)
    with pytest.raises(AttributeError, match="module 'streamwatch' has no attribute 'nothing'"):
        streamwatch.nothing  # noqa: B018


def test_the_version_stands_in_one_place() -> None:
    """In version.py; the package and its metadata read it there."""
    from streamwatch.version import __version__

    assert re.fullmatch(r"\d+\.\d+\.\d+([.a-z].*)?", __version__)
    assert __version__ == streamwatch.__version__
    assert [] == [
        path.name
        for path in (*PACKAGE.rglob("*.py"), ROOT / "pyproject.toml")
        if path.name != "version.py" and re.search(r"^(__)?version(__)? = \"", path.read_text("utf-8"), re.MULTILINE)
    ]


def test_it_is_marked_as_typed() -> None:
    """So that type checkers of applications look at it."""
    assert (PACKAGE / "py.typed").is_file()


# --- what installers read


@pytest.fixture(scope="module")
def distribution() -> importlib.metadata.Distribution:
    """What is installed of this package."""
    try:
        return importlib.metadata.distribution("openai-streamwatch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("openai-streamwatch is not installed here")


ENTRY_POINTS = {
    "opentelemetry_instrumentor": "streamwatch.sdk.instrumentor:StreamwatchInstrumentor",
    "opentelemetry_distro": "streamwatch.otel.distro:StreamwatchDistro",
    "opentelemetry_configurator": "streamwatch.otel.distro:StreamwatchConfigurator",
    "opentelemetry_environment_variables": "streamwatch.otel.environment_variables",
}


@pytest.mark.parametrize("group", ENTRY_POINTS)
def test_entry_points_are_there_and_load(
    group: str, distribution: importlib.metadata.Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`opentelemetry-instrument` finds each of them under the name `streamwatch`."""
    for variable in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        monkeypatch.setenv(variable, "streamwatch")  # loading may set them, and this puts them back
    (point,) = [point for point in distribution.entry_points if point.group == group]

    assert ("streamwatch", ENTRY_POINTS[group]) == (point.name, point.value)
    assert point.load() is not None


def test_every_entry_point_loads(
    distribution: importlib.metadata.Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are added later."""
    for variable in ("OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"):
        monkeypatch.setenv(variable, "streamwatch")

    assert [] == [point.name for point in distribution.entry_points if point.load() is None]


def test_the_supported_releases_are_the_same_everywhere(distribution: importlib.metadata.Distribution) -> None:
    """What the instrumentor accepts is what the package's extra says."""
    from packaging.requirements import Requirement

    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

    extra = [
        Requirement(text) for text in distribution.requires or () if "extra == 'instruments'" in text.replace('"', "'")
    ]
    dependencies = [Requirement(text) for text in StreamwatchInstrumentor().instrumentation_dependencies()]

    assert [(one.name, set(one.specifier)) for one in extra] == [(one.name, set(one.specifier)) for one in dependencies]


# --- the table of kinds


def test_each_kind_has_a_sentence() -> None:
    """Names are labels: lower case, one word; meanings are sentences."""
    for name, kind in KINDS.items():
        assert name == kind.name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert kind.meaning[-1] == "."
        assert kind.apis
        assert (kind.strategy == "none") == (kind.level is Level.NEVER)


#: Levels that the amendments to the taxonomy changed: what only the SDK's helper needs is done for it alone.
AMENDED = dict.fromkeys(
    (
        "choices_empty",
        "chunk_metadata_irregular",
        "delta_missing",
        "finish_reason_irregular",
        "response_event_missing",
        "response_terminal_mismatch",
        "role_irregular",
        "tool_call_fragment_irregular",
        "tool_call_id_changed",
        "tool_call_name_repeated",
        "usage_misplaced",
    ),
    "helper",
)


def test_the_table_agrees_with_the_taxonomy(shared: Path) -> None:
    """Severity, strategy and level of every kind in it, as amended; a newer kind is in the table alone."""
    text = (shared / "taxonomy_amended.json").read_text("utf-8")
    taxonomy = {kind["name"]: kind for kind in json.loads(text)["kinds"]}

    rows = {name: (kind.severity.value, kind.strategy.value, kind.level.value) for name, kind in KINDS.items()}

    wanted = {
        name: (kind["severity"], kind["repair"], AMENDED.get(name, kind["default"])) for name, kind in taxonomy.items()
    }

    differ = [f"{name}: {rows.get(name, 'no row')}, not {row}" for name, row in wanted.items() if rows.get(name) != row]

    assert not differ, "rows of kinds.py that are not those of the taxonomy; AMENDED names levels that changed:\n" + (
        "\n".join(differ)
    )
