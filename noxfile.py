"""The tests with every line of releases of the SDK, every Python and both generations of pydantic.

    nox                the whole matrix, then the table of what came of it
    nox -t core        what continuous integration runs: five releases on one Python, then the table
    nox -s table       the table of the last run of each session; `-- docs/compatibility.md` writes it there

Interpreters are looked for on PATH, and uv fetches those that are missing where it can. With pyenv, put its
versions there: `PATH="$(printf '%s:' ~/.pyenv/versions/3.1*/bin)$PATH" nox`. A session that cannot run has no row
in the table, and fails under `nox --error-on-missing-interpreters`.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["sdk", "pydantic1", "pythons", "table"]

#: Releases where the streams, models or dependencies of the SDK changed, and the ends of its lines.
RELEASES = (
    *("1.0.0", "1.3.9", "1.10.0", "1.23.0", "1.40.0", "1.55.3", "1.66.0", "1.109.1"),
    *("2.0.0", "2.54.0", "3.0.0", "newest", "pre-release"),
)
#: The ends of the lines, and the release that the two known issues name.
CORE = ("1.0.0", "1.23.0", "1.109.1", "2.54.0", "newest")
#: On which every release is tried, and the others, on which the ends are.
PYTHON, OTHERS = "3.11", ("3.10", "3.12", "3.13", "3.14")

#: What depends on the SDK; two thirds of the suite do not, and are run by `make test`.
TESTS = [
    *(
        f"tests/sdk/test_{name}.py"
        for name in (
            *("canary", "upstream", "instrumentor", "lifecycle", "chunk_builder", "dict_forms", "pydantic"),
            *("transports", "concurrency", "agents"),
            *("websocket", "websocket_apis", "websocket_events", "websocket_repair"),
        )
    ),
    *(f"tests/promises/test_{name}.py" for name in ("recordings", "oracles", "known_issues", "do_no_harm")),
    *("tests/core/test_assistants.py", "tests/test_testing.py"),
]
#: test_known_issues makes an environment with 1.23.0 itself. Of some 300 functions that test_do_no_harm makes fail,
#: those at the seam: what they catch, and what they call first.
SEAM = (
    *("request_info", "observed_stream", "session", "websocket", "socket_protocols", "socket_lane", "socket_streams"),
    *("socket_waiting", "socket_events"),
    *("instrumentor", "chunk_builder", "shape_template"),
)
SAMPLE = f"not 1.23.0 and (not test_do_no_harm or {' or '.join(f'{name}.' for name in SEAM)})"

RESULTS = Path(".nox", "results")
PROJECT = nox.project.load_toml("pyproject.toml")
#: Prints what the tests ran with.
INSTALLED = (
    "import platform, sys, openai, pydantic; print(openai.__version__, pydantic.VERSION, platform.python_version())"
)
EACH_RELEASE = [nox.param(name, id=name, tags=["core"] if name in CORE else ["matrix"]) for name in RELEASES]


@nox.session(python=PYTHON)
@nox.parametrize("openai", EACH_RELEASE)
def sdk(session: nox.Session, openai: str) -> None:
    """Test every release, on one Python, with the newest pydantic that it takes.

    The ends of the lines with every example, the others with a tenth.
    """
    run_tests(session, openai, quick=openai not in CORE)


@nox.session(python=PYTHON, tags=["matrix"])
@nox.parametrize("openai", [nox.param(name, id=name) for name in RELEASES[:-1]])
def pydantic1(session: nox.Session, openai: str) -> None:
    """Test every release with pydantic 1, with which the SDK constructs all objects itself."""
    run_tests(session, openai, "pydantic<2")


@nox.session(python=OTHERS, tags=["matrix"])
@nox.parametrize("openai", [nox.param(name, id=name) for name in CORE])
def pythons(session: nox.Session, openai: str) -> None:
    """Test the ends of the lines, on the other Pythons."""
    run_tests(session, openai)


def run_tests(session: nox.Session, openai: str, *more: str, quick: bool = True) -> None:
    """Install a release of the SDK, and run what depends on it: with a tenth of the examples, where that is said."""
    session.install("--editable", ".", *requirements(openai), *more)
    # Behind warnings, as pydantic's of a new Python.
    release, pydantic, python = session.run("python", "-c", INSTALLED, silent=True).split()[-3:]  # type: ignore[union-attr]
    if openai == "pre-release" and release.replace(".", "").isdigit():
        session.skip(f"there is no pre-release after {release}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = f"{release}-py{python}-pydantic{pydantic}-{'quick' if quick else 'all'}"
    for old in RESULTS.glob(f"{release}-py{python}-pydantic{pydantic.partition('.')[0]}.*"):
        old.unlink()
    # A part of the tests is not a row of the table.
    which = session.posargs or [*TESTS, f"--junitxml={RESULTS / name}.xml"]
    session.run(
        *(
            "python",
            "-m",
            "pytest",
            "-q",
            "-n",
            "auto",
            "-p",
            "no:cacheprovider",
            "-m",
            "not e2e",
            "-k",
            SAMPLE,
            *(["--quick"] if quick else []),
            *which,
        ),
        env={"CI": "1"},  # the same examples for every release
    )


def requirements(openai: str) -> list[str]:
    """Return a release of the SDK, and what the tests need."""
    groups = nox.project.dependency_groups(PROJECT, "test", "transports")
    wanted = [name for name in groups if not name.startswith("openai")]
    if openai == "newest":
        return ["--upgrade", "openai", *wanted]
    if openai == "pre-release":
        return ["--upgrade", "--pre", "openai", *wanted]
    # httpx 0.28 dropped an argument that the SDK passed until 1.55.3.
    old = tuple(map(int, openai.split("."))) < (1, 55, 3)
    return [f"openai=={openai}", *(["httpx<0.28"] if old else []), *wanted]


# --- what came of it


@dataclass(frozen=True)
class Row:
    """One session, as its report has it."""

    release: str
    python: str
    pydantic: str
    examples: str
    outcomes: Counter[str]
    seconds: float
    when: str

    @classmethod
    def read(cls, report: Path) -> Row:
        """Read what pytest wrote."""
        release, python, pydantic, examples = report.stem.split("-")
        suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 -- written by our own session
        counts = Counter({name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")})
        seconds, when = float(suite.get("time", 0)), suite.get("timestamp", "")[:10]
        versions = (release, python.removeprefix("py"), pydantic.removeprefix("pydantic"))
        return cls(*versions, "a tenth" if examples == "quick" else "all", counts, seconds, when)

    @property
    def order(self) -> tuple[list[tuple[int, str]], ...]:
        """By release, then Python, then pydantic."""
        versions = (self.release, self.python, self.pydantic)
        return tuple(
            [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")] for name in versions
        )

    def __str__(self) -> str:
        failed = self.outcomes["failures"] + self.outcomes["errors"]
        passed = self.outcomes["tests"] - failed - self.outcomes["skipped"]
        cells = [self.release, self.python, self.pydantic, self.examples, passed, failed, self.outcomes["skipped"]]
        return "| " + " | ".join(map(str, [*cells, f"{self.seconds:.0f}", self.when])) + " |"


HEAD = """\
| openai | Python | pydantic | examples | passed | failed | skipped | seconds | on |
|---|---|---|---|---|---|---|---|---|"""
BEGIN, END = "<!-- nox: begin -->", "<!-- nox: end -->"


@nox.session(python=False, tags=["core", "matrix"])
def table(session: nox.Session) -> None:
    """Print what came of the last run of each session; with the name of a file, between the marks in it."""
    rows = sorted(map(Row.read, RESULTS.glob("*.xml")), key=lambda row: row.order)
    text = "\n".join([HEAD, *map(str, rows)])
    sys.stdout.write(f"{text}\n")
    for name in session.posargs if session.posargs[:1] and session.posargs[0].endswith(".md") else []:
        before, _, rest = Path(name).read_text("utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        Path(name).write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
