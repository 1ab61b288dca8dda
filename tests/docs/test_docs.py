"""What the pages say is so: code runs, commands and options are there, links lead somewhere, reference pages are fresh.

Code is found by markdown-it, which reads Markdown as the site does. A block of Python runs in a process of its own with
a model on this machine that sends its text out of order; a comment before a block says what cannot be run, or what it needs.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.site.examples import OF_TIME
from helpers import quick
from helpers.listening import Listener, serving
from helpers.tutorial import TEXT
from streamwatch.cli import COMMANDS, main
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.settings import Settings
from streamwatch.core.vocabulary import Level

markdown_it = pytest.importorskip("markdown_it")

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "dashboards", "deploy", "docs", "streamwatch", "tests")
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")))
    if "node_modules" not in path.parts
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())

#: What commands may start with beside ours: programs that a reader has, or is told to install.
PROGRAMS = {
    *(
        "alertmanager",
        "cat",
        "cd",
        "celery",
        "cp",
        "curl",
        "docker",
        "echo",
        "export",
        "gh",
        "git",
        "grep",
        "gunicorn",
        "head",
    ),
    *("jq", "kubectl", "ls", "mkdir", "open", "prometheus", "promtool", "sed", "sort", "source", "tail", "tee"),
    *("timeout", "uniq", "uv", "uvicorn", "wc", "xargs"),
}
#: Programs of a reader's own.
OF_READERS = {"app.py", "job.py"}
#: Files of another repository, openai-python.
OF_OTHERS = {"tests/test_streaming.py"}
#: Commands of ours that need nothing but themselves: they are run, and have to say what the page says.
OFFLINE = {"kinds", "explain", "completion"}


@dataclass(frozen=True)
class Block:
    """A block of code, and the comment before it."""

    page: Path
    line: int
    language: str
    text: str
    comment: str

    def __repr__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


@functools.cache
def tokens(page: Path) -> list[markdown_it.token.Token]:  # type: ignore[name-defined]
    """What Markdown is made of."""
    return markdown_it.MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))  # type: ignore[no-any-return]


def blocks(*languages: str, pages: Sequence[Path] = PAGES) -> list[Block]:
    """All blocks in some languages, or those of some pages."""
    found = []
    for page in pages:
        before = None
        for token in tokens(page):
            if token.type == "fence" and token.info.split(" ")[0] in languages:
                comment = before.content.strip() if before is not None and before.type == "html_block" else ""
                comment = comment.removeprefix("<!--").removesuffix("-->").strip()
                found.append(Block(page, token.map[0] + 1, token.info, token.content, comment))
            before = token
    return found


# --- Python


class Model(http.server.BaseHTTPRequestHandler):
    """Counts to seven, as a load balancer hands it on: 5 and 6 come after 7."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for payload in [*(json.dumps(TEXT[n]) for n in (0, 1, 2, 3, 4, 7, 5, 6, 8)), "[DONE]"]:
            self.wfile.write(f"data: {payload}\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    """The environment of a program that asks the model, and exports nothing."""
    with serving(Listener(("127.0.0.1", 0), Model)) as address:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMWATCH_", "OPENAI_"))}
        yield clean | {
            "OPENAI_BASE_URL": f"http://{address}/v1",
            "OPENAI_API_KEY": "sk-test",
            "OTEL_METRICS_EXPORTER": "none",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "127.0.0.1",
        }


def ran(words: list[str], environ: dict[str, str], folder: Path) -> str:
    """What a program says, which has to end well."""
    done = subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
# To find the blocks takes a second, which each process of a quick run would spend in vain.
@pytest.mark.parametrize("block", [] if quick.is_quick() else blocks("python", "py"), ids=repr)
def test_python_runs(block: Block, environ: dict[str, str], tmp_path: Path) -> None:
    """In a process of its own, its tests included; or it stands in a program that another test runs."""
    reason = re.match(r"not run: (.+)", block.comment, re.DOTALL)
    if reason:
        pytest.skip(reason[1])
    if any(block.text in path.read_text("utf-8") for path in (ROOT / "tests" / "apps").glob("*.py")):
        return
    needed = block.comment.removeprefix("to run it:").lstrip("\n") if block.comment.startswith("to run it:") else ""
    tests = "\nfor name in [name for name in globals() if name.startswith('test_')]: globals()[name]()\n"
    (tmp_path / "page.py").write_text(f"{needed}\n\n{block.text}{tests}", "utf-8")

    ran([sys.executable, "page.py"], environ, tmp_path)


@pytest.mark.slow
def test_the_first_program_is_mended(environ: dict[str, str], tmp_path: Path) -> None:
    """That of the page for beginners: out of order on its own, in order under the command of that page."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    if not instrument.exists():
        pytest.skip("the package is not installed")
    page = ROOT / "docs" / "getting-started.md"
    (program,) = [block.text for block in blocks("python") if block.page == page and "print(" in block.text]
    (tmp_path / "app.py").write_text(program, "utf-8")
    # A checkout that is not installed has no entry points, and nothing would be switched on.
    installed = {k: v for k, v in environ.items() if k != "PYTHONPATH"}

    assert ran([sys.executable, "app.py"], environ, tmp_path) == "1 2 3 4 7 5 6 "
    assert ran([str(instrument), sys.executable, "app.py"], installed, tmp_path) == "1 2 3 4 5 6 7 "


# --- commands


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block with what it printed; lines that are not finished go on in the next one."""
    lines = iter(text.splitlines())
    command, output = "", list[str]()
    for line in lines:
        if not line.startswith("$ "):
            output.append(line)
            continue
        if command:
            yield command, "\n".join(output)
        command, output = line[2:], []
        while unfinished(command):
            command = f"{command.removesuffix(chr(92))}\n{next(lines)}"
    if command:
        yield command, "\n".join(output)


def unfinished(command: str) -> bool:
    """A line that ends in a backslash or inside quotes."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return command.endswith("\\")


def simple(command: str) -> Iterator[list[str]]:
    """The programs of a line with their arguments: those of a pipe, and those that follow each other."""
    lexer = shlex.shlex(re.sub(r"\$\([^)]*\)", "", command), posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words = list[str]()
    for word in lexer:
        if set(word) <= set("|&;"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def complaint(words: list[str]) -> str:
    """What is wrong with a program and its arguments, as far as can be told without running it."""
    while words and re.match(r"[A-Za-z_]+=", words[0]):
        name = words.pop(0).partition("=")[0]
        if name.startswith("STREAMWATCH_") and name not in VARIABLES:
            return f"{name} is no setting"
    if not words or words[0].startswith(("$", "#", "...")):
        return ""
    program, *arguments = words
    if program == "opentelemetry-instrument":
        return complaint(arguments)
    if program in CHECKS:
        return CHECKS[program](arguments)
    path = ROOT / program
    if program not in PROGRAMS and not path.is_file():
        return f"{program} is neither a program that a reader has nor a file"
    return missing(arguments)


#: Settings, and what the tests themselves read.
VARIABLES = {f"STREAMWATCH_{name.upper()}" for name in Settings.__dataclass_fields__} | {
    "STREAMWATCH_E2E",
    "STREAMWATCH_E2E_SERVERS",
    "STREAMWATCH_FUZZ",
    "STREAMWATCH_REPOSITORY",
    "STREAMWATCH_SOAK_SECONDS",
}


def missing(words: list[str]) -> str:
    """A path into this repository that leads nowhere."""
    for word in words:
        path = word.partition("=")[2] or word
        known = path.split("/")[0] in FOLDERS and "/" in path and not re.search(r"[<>*$]|[A-Z]{4}", path)
        if known and not (ROOT / path).exists():
            return f"{path} is not there"
    return ""


def of_streamwatch(arguments: list[str]) -> str:
    """A command or option that click does not know."""
    if not arguments or arguments[0] in ("-h", "--help", "--version"):
        return ""
    name, *rest = arguments
    if name not in COMMANDS:
        return f"streamwatch has no command {name!r}"
    context = click.Context(main)
    command = main.get_command(context, name)
    try:
        inside = click.Context(command, context, info_name=name, **command.context_settings)  # type: ignore[arg-type, union-attr]
        command.make_parser(inside).parse_args([*rest])  # type: ignore[union-attr]
    except click.UsageError as error:
        return f"streamwatch {name}: {error.format_message()}"
    return ""


def of_make(arguments: list[str]) -> str:
    """A target that the Makefile does not have."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = [word for word in arguments if "=" not in word]
    return ", ".join(name for name in targets if not re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE))


def of_python(arguments: list[str]) -> str:
    """A module or script that is not there."""
    if arguments[:1] == ["-m"]:
        module = arguments[1]
        found = importlib.util.find_spec(module.partition(".")[0]) and (
            module.partition(".")[0] not in FOLDERS or importlib.util.find_spec(module)
        )
        return missing(arguments[2:]) if found or module in ("venv", "pip", "build") else f"no module {module}"
    script = next((word for word in arguments if word.endswith(".py")), "")
    return "" if script in OF_READERS or script.startswith("../shared/") else missing([script])


def of_pip(arguments: list[str]) -> str:
    """An extra or a group of ours that is not there."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    asked = re.findall(r"openai-streamwatch\[(\w+)\]", " ".join(arguments))
    asked += [after for word, after in itertools.pairwise(arguments) if word == "--group"]
    return ", ".join(name for name in asked if not re.search(rf"^{name} = \[", text, re.MULTILINE))


def of_nox(arguments: list[str]) -> str:
    """A session that the noxfile does not have."""
    text = (ROOT / "noxfile.py").read_text("utf-8")
    named = [after.partition("(")[0] for word, after in itertools.pairwise(arguments) if word == "-s"]
    return ", ".join(name for name in named if f"def {name}(" not in text and f'name="{name}"' not in text)


CHECKS = {
    "streamwatch": of_streamwatch,
    "make": of_make,
    "python": of_python,
    "python3": of_python,
    "pip": of_pip,
    "nox": of_nox,
}


@each_page
def test_commands_are_there(page: Path) -> None:
    """Programs, subcommands, options, targets, modules, settings and paths; ours that work offline say the same."""
    for block in blocks("console", pages=[page]):
        for command, output in commands(block.text):
            for words in simple(command):
                assert complaint([*words]) == "", (block, command)
            if block.comment.startswith("not run:"):
                continue
            if re.fullmatch(r"streamwatch [^|>&]*", command) and (words := shlex.split(command))[1] in OFFLINE:
                assert_says(words[1:], output)


def assert_says(words: list[str], output: str) -> None:
    """A command of ours ends well, and says what stands below it, if anything does; `...` stands for the rest."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, words
    wanted = ".*".join(re.escape(part) for part in re.split(r"^\.\.\.$", output, flags=re.MULTILINE))
    assert not output or re.fullmatch(wanted, result.stdout.strip("\n"), re.DOTALL), words


@each_page
def test_lines_of_shell_are_commands(page: Path) -> None:
    """The same for blocks without a prompt."""
    for block in blocks("sh", "bash", pages=[page]):
        for line in block.text.replace("\\\n", " ").splitlines():
            for words in simple(line):
                assert complaint([*words]) == "", (block, line)


def test_what_is_wrong_is_noticed() -> None:
    """The checks above find what they are for."""
    wrong = (
        "streamwatch kind",
        "streamwatch kinds --jsn",
        "make tset",
        "python -m streamwatch.demonstration",
        "python tests/clients/runs.py",
        "pip install 'openai-streamwatch[demos]'",
        "STREAMWATCH_REPIAR=none make demo",
        "opentelemetry-instruments python app.py",
        "curl localhost | greb x",
        "docker compose -f deploy/compose/composed.yaml up",
        "nox -s sdks",
    )

    assert [] == [line for line in wrong if not any(complaint([*words]) for words in simple(line))]


# --- data


@each_page
def test_data_is_data(page: Path) -> None:
    """YAML, TOML and JSON are valid: a document, or one a line."""
    for block in blocks("yaml", "json", "toml", pages=[page]):
        if block.language == "yaml":
            yaml = pytest.importorskip("yaml")
            assert list(yaml.safe_load_all(block.text)), block
        elif block.language == "toml":
            assert pytest.importorskip("tomllib").loads(block.text), block
        else:
            try:
                json.loads(block.text)
            except ValueError:
                assert all(json.loads(line) for line in block.text.splitlines() if line != "..."), block


# --- prose


def inline(page: Path, kind: str) -> list[markdown_it.token.Token]:  # type: ignore[name-defined]
    """What stands in the text of a page: links, images, code."""
    return [child for token in tokens(page) for child in token.children or () if child.type == kind]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """To a file or folder that is there; the site's builder looks at what stands behind the #."""
    targets = [token.attrs["href"] for token in inline(page, "link_open")]
    targets += [token.attrs["src"] for token in inline(page, "image")]
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", str(target))]

    assert [] == [target for target in local if not (page.parent / target).exists()]


@each_page
def test_what_a_page_names_is_there(page: Path) -> None:
    """Targets of make, commands of streamwatch, settings and paths that stand in a line of text."""
    code = [token.content for token in inline(page, "code_inline")]
    lines = [line for line in code if re.match(r"(make|streamwatch|python) [a-z-]", line) and "..." not in line]
    paths = [text for text in code if re.fullmatch(r"[\w./-]+/[\w./-]*\.\w+", text) and text.split("/")[0] in FOLDERS]
    settings = [name for text in code for name in re.findall(r"\bSTREAMWATCH_[A-Z_]+[A-Z]\b", text)]

    assert [] == [line for line in lines if any(complaint([*words]) for words in simple(line))]
    assert "" == missing([path for path in paths if path not in OF_OTHERS])
    assert set() == set(settings) - VARIABLES


def test_the_excerpt_in_the_readme_stands_in_the_whole() -> None:
    """Each line of it, in the same order."""
    (excerpt,) = [
        block.text
        for block in blocks("console")
        if block.page.name == "README.md" and "published measured" in block.text
    ]
    whole = iter((ROOT / "docs" / "demo.md").read_text("utf-8").splitlines())

    assert all(line in whole for line in excerpt.splitlines())


def test_every_command_has_a_page_with_its_options() -> None:
    """docs/commands has a heading for each command of the table, and says each option."""
    pages = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs" / "commands").glob("*.md")}
    for name, module in COMMANDS.items():
        page = pages.get(name) or pages.get(module.partition(".")[0], "")
        assert f"streamwatch {name}" in page, f"docs/commands/{name}.md"
        command = main.get_command(click.Context(main), name)
        options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]  # type: ignore[union-attr]
        untold = [each for each in options if not any(word in page for word in (*each.opts, *each.secondary_opts))]
        assert [] == [option.opts[-1] for option in untold], name


# --- what is generated


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The reference pages as the tables have them now."""
    from docs.site.reference import pages

    return pages()


def test_reference_pages_are_fresh(pages: dict[str, str]) -> None:
    """They say what the tables say, and none is left over."""
    folder = ROOT / "docs" / "reference"
    stale = [name for name, text in pages.items() if (folder / name).read_text("utf-8") != text]

    assert [] == stale, "make docs"
    assert {path.name for path in folder.glob("*.md")} == set(pages)


def test_every_attribute_is_explained_and_no_other() -> None:
    """Of metrics, spans and events."""
    from dashboards.names import INSTRUMENTS
    from docs.site.reference import ATTRIBUTES, span_attributes
    from streamwatch.export.instruments import COMMON

    written = {name for names in span_attributes().values() for name in names} - {"streamwatch.outcome.*"}
    exported = {name for row in INSTRUMENTS.values() for name in row.attributes}

    assert written | exported | set(COMMON) | {"streamwatch.outcome.*"} == set(ATTRIBUTES)


@pytest.mark.quick_cases(16)
@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.name not in OF_TIME], ids=repr)
def test_an_example_shows_the_repair(kind: AnomalyKind) -> None:
    """A kind with a repair is repaired in its example, one line at least differs, and no two of them look alike."""
    from docs.site.examples import difference, example

    shown = example(kind)
    lines = difference(shown).splitlines()
    removed = [line[1:] for line in lines if line.startswith("-")]
    added = [line[1:] for line in lines if line.startswith("+")]

    assert kind in shown.seen.report.anomalies
    assert lines
    assert bool(removed or added) == (kind.level not in (Level.NEVER, Level.SETTING))
    assert not set(removed) & set(added) or kind.name == "sequence_out_of_order"
