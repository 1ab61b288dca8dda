"""Mutants of what mutmut leaves alone: constants and tables at module and class level, and properties.

    python tests/mutation/tables.py [MODULE ...]

Each number becomes one more and one less, each text another one, each member of an enumeration its neighbor; in a
property each comparison and condition is turned round as well. A mutant is killed if a test of the core fails on it.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import openai  # noqa: F401 -- what many tests import is imported once, and not once a mutant
import pytest

ROOT = Path(__file__).parents[2]
CORE = (
    *("settings", "sequence", "sse", "texts", "tool_calls", "chat", "deltas", "items", "responses", "assistants"),
    *("surface", "report", "stream", "anomalies"),
)
#: Tests that kill most, and then the others: to collect all of them takes longer than to fail.
TESTS = (
    ("bounds", "settings", "report", "digest"),
    ("chat", "responses", "tool_calls", "sequence", "sse", "assistants", "kinds"),
    ("stream", "cases"),
)
#: Where a wire is cut, and what it costs, is no matter of tables; these tests take most of the time.
SELECTION = ["-m", "not e2e and not hypothesis", "-k", "not cut_of_the_wire and not costs and not an_application"]
#: Seconds. A mutant that loops for ever is killed too; the whole selection takes a fraction of this.
TIMEOUT = 300
#: Members of enumerations, each with the one that it is exchanged for.
NEIGHBORS = {
    ("Level", "DEFAULT"): "OPT_IN",
    ("Level", "AUTO"): "OPT_IN",
    ("Level", "OPT_IN"): "DEFAULT",
    ("Evidence", "SHAPE"): "NONE",
    ("Evidence", "ARGUMENTS"): "SHAPE",
    ("Evidence", "SEQUENCE"): "SHAPE",
    ("Evidence", "TEXT"): "SHAPE",
    ("Evidence", "COMPLETE"): "SHAPE",
    ("Evidence", "NONE"): "SHAPE",
    ("Severity", "FAULT"): "HAZARD",
    ("Severity", "HAZARD"): "FAULT",
    ("Severity", "DIALECT"): "FAULT",
    ("ChunkType", "TEXT"): "OTHER",
    ("ChunkType", "REFUSAL"): "OTHER",
    ("ChunkType", "REASONING"): "OTHER",
    ("ChunkType", "TOOL_CALL"): "OTHER",
}
TURNED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}


def targets(tree: ast.Module) -> Iterator[ast.AST]:
    """What stands at module and class level, and properties; without docstrings, imports and annotations."""
    bodies: list[ast.stmt] = list(tree.body)
    while bodies:
        node = bodies.pop(0)
        if isinstance(node, ast.ClassDef):
            bodies = node.body + bodies
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            if "__slots__" not in ast.unparse(node):
                yield node.value
        elif isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list
        ):
            yield from node.body[1:] if ast.get_docstring(node) else node.body


def exchanged(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that a node is exchanged for."""
    if isinstance(node, ast.Constant):
        if type(node.value) in (int, float):
            yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
        elif isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, (str, bytes)) and " " not in str(node.value).strip():
            yield ast.Constant(node.value + ("X" if isinstance(node.value, str) else b"X"))
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        other = NEIGHBORS.get((node.value.id, node.attr))
        if other:
            yield ast.Attribute(node.value, other, node.ctx)
    elif isinstance(node, ast.Compare):
        yield from (
            ast.Compare(node.left, [*node.ops[:at], TURNED[type(op)], *node.ops[at + 1 :]], node.comparators)
            for at, op in enumerate(node.ops)
        )
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


class Exchange(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, at: tuple[int, int, type[ast.AST]], new: ast.AST) -> None:
        self.at, self.new = at, new

    def visit(self, node: ast.AST) -> ast.AST:
        if place(node) == self.at:
            return ast.copy_location(self.new, node)
        return self.generic_visit(node)


def place(node: ast.AST) -> tuple[int, int, type[ast.AST]]:
    """What tells a node from all others of its module."""
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0), type(node)


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """The line, what is exchanged for what, and the source of each mutant."""
    tree = ast.parse(source)
    for target in targets(tree):
        for node in ast.walk(target):
            for new in exchanged(node):
                mutant = ast.fix_missing_locations(Exchange(place(node), new).visit(copy.deepcopy(tree)))
                yield place(node)[0], f"{ast.unparse(node)} -> {ast.unparse(new)}", ast.unparse(mutant)


def survives(module: str, source: str) -> bool:
    """Whether no test of the core fails on the package with this source for one module."""
    with tempfile.TemporaryDirectory() as name:  # a new one each time, so that no compiled module is an old one
        shutil.copytree(ROOT / "streamwatch", Path(name, "streamwatch"), ignore=shutil.ignore_patterns("__pycache__"))
        Path(name, "streamwatch", f"{module}.py").write_text(source, "utf-8")
        return all(passes(name, tests) for tests in TESTS)


def passes(folder: str, tests: tuple[str, ...]) -> bool:
    """Whether some test files pass on the package in a folder."""
    pid = os.fork()
    if not pid:
        run_tests(folder, [str(ROOT / "tests" / "core" / f"test_{name}.py") for name in tests])
    for _ in range(TIMEOUT * 10):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def run_tests(folder: str, tests: list[str]) -> None:
    """Run test files on the package in a folder, and end this process, which is one of their own."""
    os.chdir(ROOT)
    sys.path.insert(0, folder)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    code = 1
    with contextlib.suppress(BaseException):
        warned = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *warned, *SELECTION, *tests]))
    os._exit(code)


def main(modules: list[str]) -> None:
    """Make every mutant, and say which ones live."""
    if not survives("version", (ROOT / "streamwatch" / "version.py").read_text("utf-8")):
        sys.exit("the tests fail without any mutant")
    for module in modules:
        source = (ROOT / "streamwatch" / f"{module}.py").read_text("utf-8")
        made = alive = 0
        for line, change, mutant in mutants(source):
            lives = survives(module, mutant)
            made, alive = made + 1, alive + lives
            if lives:
                print(f"  {module}.py:{line} survives: {change}", flush=True)
        print(f"{module}: {made - alive} of {made} killed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CORE))
