"""The language of what users and developers read: no word of the list below, and docstrings that begin with a verb."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # `make check` runs them

ROOT = Path(__file__).parents[2]
FOLDERS = ("streamwatch", "dashboards", "docs", "deploy", "benchmarks")
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.md")) if "node_modules" not in path.parts),
]
MODULES = [
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if "node_modules" not in path.parts),
    ROOT / "noxfile.py",
]

#: Words that are not used, as patterns, and what is written instead.
WORDS = {
    r"mend(s|ed|ing)?": "repair, fix",
    r"cure[sd]?": "fix",
    r"told": "said, reported, recorded",
    r"tells?( \w+){1,3} apart": "distinguish",
    r"anew": "again",
    r"whoever": "the reader, the caller, code that, anybody who",
    r"of ours": "of Streamwatch",
    r"so many": "N, this number of, so often",
    r"but for": "except",
    r"bears?": "carry, have, cope with",
    r"(are|is|was|were) worth to": "the condition in which it reached",
    r"worth (less|more|nothing)": "in a worse, a better condition",
    r"(?<!there )is no(?! (longer|more|such|better|safer|one)\b)(?= \w)": "is not a",
}
LIST = {
    re.compile(rf"\b{pattern}\b" if "<" not in pattern else pattern, re.IGNORECASE): w for pattern, w in WORDS.items()
}
#: First words of a docstring that names a thing instead of saying what the function does.
NOUNS = {"The", "A", "An", "What", "Whether", "How", "Every", "All", "Where", "Who", "One", "No", "Of", "In"}
#: First words of a clause that stands for a noun.
CLAUSES = ("What", "How", "Why", "Where", "Who", "Whether", "Whose", "Which", "When", "Everything")


def name_of(path: Path) -> str:
    """Return a path as it is known in the repository."""
    return str(path.relative_to(ROOT))


def found(lines: Iterator[tuple[int, str]]) -> list[str]:
    """Return a message for each word of the list in some lines."""
    return [
        f"line {number}: {match.group()!r}: write {instead!r}"
        for number, line in lines
        for pattern, instead in LIST.items()
        for match in [pattern.search(line)]
        if match
    ]


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page, without code and addresses."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`|\]\([^)]*\)", "", line)


def words_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments, docstrings and texts of a module; a text without a space is a name."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], re.sub(r"`[^`]*`", "", token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, re.sub(r"`[^`]*`", "", line)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_use_plain_words(path: Path) -> None:
    """None of the list, outside of code."""
    assert [] == found(prose(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_code_uses_plain_words(path: Path) -> None:
    """None of the list in comments, docstrings, messages and options."""
    assert [] == found(words_of_code(path.read_text("utf-8")))


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield the functions of a module that have a docstring, and that; a property is a thing, and left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            docstring = ast.get_docstring(node)
            if docstring and not decorators & {"property", "cached_property"}:
                yield node, docstring


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_docstrings_begin_with_a_verb(path: Path) -> None:
    """Ruff's D401 knows verbs in the wrong form; this knows nouns. A predicate returns whether something is so."""
    for node, docstring in functions(path):
        assert docstring.split()[0] not in NOUNS, f"{node.name}: say what it does: {docstring.splitlines()[0]}"
        if re.match(r"_?(is|has|may|can)_", node.name) and node.returns and ast.unparse(node.returns) == "bool":
            assert "whether" in docstring, f"{node.name}: begin with 'Return whether': {docstring.splitlines()[0]}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_classes_say_what_they_are(path: Path) -> None:
    """Not by a clause, as in `What is known of a stream`."""
    tree = ast.parse(path.read_text("utf-8"))
    documented: list[ast.Module | ast.ClassDef] = [tree]
    documented += [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in documented:
        first = (ast.get_docstring(node) or "The").splitlines()[0]
        assert not re.match(rf"({'|'.join(CLAUSES)})\b", first), f"write a noun: {first}"


def test_a_word_of_the_list_is_noticed() -> None:
    """With what to write instead, and where; not in code, and not where the words mean something else."""
    page = "It is mended.\n\n```text\nanew\n```\nThere is no `told` here, and it is no longer.\nThis is no stream."

    assert [
        "line 1: 'mended': write 'repair, fix'",
        "line 7: 'is no': write 'is not a'",
    ] == found(prose(page))
    assert ["line 1: 'anew': write 'again'"] == found(words_of_code("anew = 'anew'  # begins anew"))
