"""The tests of openai-python itself, without and with Streamwatch: they must come to the same results.

    python tests/openai_suite/run.py PATH/TO/openai-python [--releases v3.3.1 v2.54.0] [--repair all]

PATH is a clone or a bare repository of github.com/openai/openai-python, or the source distribution of one release
(`pip download --no-deps --no-binary openai openai==3.57.0`), which is only read: each release is unpacked into a
temporary folder and gets an environment there, by uv where it is on PATH, else by pip.

All tests are run, or those given with --tests, but `tests/api_resources`, which need a mock server of the whole API. The second run has
`-p streamwatch.testing`. A test that comes to another result is run again, three times each way: what differs
then only now and then is unsteady, and listed as such; what differs always is harm, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
#: The last of each line that has tags.
RELEASES = ("v3.3.1", "v2.54.0", "v1.109.1")
#: What the tests import, out of the two hundred things that the project develops with.
NEEDED = re.compile(
    r"^(pytest|pytest-asyncio|pytest-xdist|respx|time-machine|dirty-equals|importlib-metadata|rich|inline-snapshot"
    r"|azure-identity|botocore|trio|nest[-_]asyncio|jsonschema)\b",
    re.IGNORECASE,
)
ALL = ("tests", "--ignore=tests/api_resources")
#: Those that stream, for the table; all others run, too.
STREAMING = re.compile(r"tests\.(test_streaming|lib\.)")
#: Of a test that fails by itself one time in two, this takes 98 of 100 for what they are.
RUNS_AGAIN = 3
#: A run takes two minutes on an idle machine; the other hour is for busy ones.
TIMEOUT = 3600

#: What became of each test: "passed", or how it failed and the first line of why.
Results = dict[str, str]


@dataclass
class Suite:
    """One release of openai-python, unpacked, with an environment of its own."""

    release: str
    folder: Path
    repair: str = "default"
    tests: tuple[str, ...] = ()
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.folder / self.release

    @property
    def python(self) -> Path:
        return self.folder / f"{self.release}-venv" / "bin" / "python"

    def unpack(self, repository: Path) -> None:
        """The release's own files, and nothing else's."""
        self.source.mkdir(parents=True)
        if repository.is_file():
            subprocess.run(["tar", "-xf", str(repository), "-C", str(self.source), "--strip-components=1"], check=True)
            return
        archive = subprocess.run(
            ["git", "-C", str(repository), "archive", self.release], check=True, stdout=subprocess.PIPE
        ).stdout
        subprocess.run(["tar", "-x", "-C", str(self.source)], input=archive, check=True)

    def install(self) -> None:
        """The SDK from these files, what its tests import, in the releases it was locked to, and Streamwatch."""
        uv = shutil.which("uv")
        venv = str(self.python.parents[1])
        subprocess.run(
            [uv, "venv", "-q", "-p", sys.executable, venv] if uv else [sys.executable, "-m", "venv", venv], check=True
        )
        install = (
            [uv, "pip", "install", "-q", "-p", str(self.python)]
            if uv
            else [str(self.python), "-m", "pip", "install", "-q"]
        )
        constraints = self.folder / f"{self.release}-constraints.txt"
        constraints.write_text("\n".join(self._locked()), "utf-8")
        wanted = [f"{self.source}[aiohttp,realtime]", *self._needed(), str(CHECKOUT)]
        subprocess.run([*install, "-c", str(constraints), *wanted], check=True)

    def _needed(self) -> list[str]:
        """The requirements of the tests, as pyproject.toml has them; read by line, for Python 3.10 has no TOML."""
        quoted = re.findall(r'^\s+"([^"]+)",?$', (self.source / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
        return [requirement for requirement in quoted if NEEDED.match(requirement)]

    def _locked(self) -> list[str]:
        """The releases of 1.x and 2.x that the tests were written with, where we do not need others."""
        lock = self.source / "requirements-dev.lock"
        lines = lock.read_text("utf-8").splitlines() if lock.exists() else []
        return [line for line in lines if re.match(r"[\w.-]+==", line) and NEEDED.match(line)]

    def run(self, *tests: str, watched: bool) -> Results:
        """Run tests, all or some."""
        report, seen = self.folder / "junit.xml", self.folder / "seen.json"
        for file in (report, seen):
            file.unlink(missing_ok=True)
        command = [str(self.python), "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
        if watched:
            command += ["-p", "streamwatch.testing", "-p", "streams_seen"]
        command += tests or self._chosen()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "OTEL_", "STREAMWATCH_"))}
        environment |= {"PYTHONPATH": str(HERE), "STREAMS_SEEN_FILE": str(seen), "STREAMS_SEEN_REPAIR": self.repair}
        log = self.folder / f"{self.release}-{'watched' if watched else 'plain'}{'-again' if tests else ''}.log"
        with log.open("w") as out:
            subprocess.run(
                command,
                cwd=self.source,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            )
        if not report.exists() or (watched and not seen.exists()):
            raise SystemExit(f"The tests of {self.release} did not run to their end; see {log}.")
        if watched and not tests:
            self.seen = json.loads(seen.read_text("utf-8"))
        found = results(report)
        if not found:
            raise SystemExit(f"No test of {self.release} was run; see {log}.")
        return found

    def _chosen(self) -> list[str]:
        """The tests that were asked for, with the files that patterns stand for in this release."""
        return [
            name
            for each in self.tests
            for name in (sorted(str(file.relative_to(self.source)) for file in self.source.glob(each)) or [each])
        ]


def results(report: Path) -> Results:
    """What became of each test, out of pytest's report."""
    found: Results = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome = "passed"
        for element in case:
            if element.tag in ("failure", "error", "skipped"):
                outcome = f"{element.get('type') or element.tag}: {(element.get('message') or '').splitlines()[:1]}"
                outcome = f"{element.tag} {steady(outcome)}"
        found[name] = outcome
    return found


def steady(message: str) -> str:
    """A message without what differs from run to run: addresses, ports, temporary names, times."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", message)


def node(release: Path, name: str) -> str:
    """The test as pytest takes it from the command line."""
    module, _, test = name.partition("::")
    *parts, last = module.split(".")
    file = Path(*parts, f"{last}.py")
    inside = ""
    if not (release / file).exists():  # a class in the module
        file, inside = Path(*parts).with_suffix(".py"), f"{last}::"
    return f"{file}::{inside}{test}"


@dataclass
class Comparison:
    """What came of the tests of one release, both ways."""

    plain: Results
    watched: Results
    harmed: dict[str, str] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)


def compare(suite: Suite) -> Comparison:
    """Run all, and what differs again."""
    both = Comparison(suite.run(watched=False), suite.run(watched=True))
    names = both.plain.keys() | both.watched.keys()
    differ = sorted(name for name in names if both.plain.get(name) != both.watched.get(name))
    if not differ:
        return both
    nodes = [node(suite.source, name) for name in differ]
    again = {way: [suite.run(*nodes, watched=way) for _ in range(RUNS_AGAIN)] for way in (False, True)}
    for name in differ:
        before, after = ({run.get(name, "not run") for run in again[way]} for way in (False, True))
        if before & after:
            both.unsteady.append(name)
        else:
            both.harmed[name] = f"{sorted(before)} without, {sorted(after)} with"
    return both


def counts(results: Iterable[str]) -> str:
    """How many passed, failed and were skipped."""
    first = Counter(outcome.split()[0] for outcome in results)
    return f"{first['passed']} / {first['failure'] + first['error']} / {first['skipped']}"


def row(suite: Suite, both: Comparison) -> str:
    """A line of the table."""
    streaming = [[v for k, v in each.items() if STREAMING.match(k)] for each in (both.plain, both.watched)]
    seen = suite.seen
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(seen["verdicts"].items()))
    cells = [
        suite.release,
        suite.repair,
        counts(both.plain.values()),
        counts(both.watched.values()),
        *map(counts, streaming),
        f"{len(both.harmed)}" + (f" ({len(both.unsteady)} unsteady)" if both.unsteady else ""),
        f"{seen['streams']}: {verdicts}",
        str(len(seen["errors"])),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = """\
| tests of openai-python | repair | plain: passed / failed / skipped | watched | plain, those that stream | watched | differ | streams seen | errors of Streamwatch |
|---|---|---|---|---|---|---|---|---|"""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("repository", type=Path)
    arguments.add_argument("--releases", nargs="+", default=RELEASES, help="tags (default: %(default)s)")
    arguments.add_argument("--repair", default="default", help="default, all or none")
    arguments.add_argument("--tests", nargs="+", default=ALL, help="what pytest is given (default: %(default)s)")
    arguments.add_argument("--keep", type=Path, help="a folder to work in and to keep (default: a temporary one)")
    given = arguments.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="openai-suite-"))
    rows, harm = [], False
    try:
        for release in (given.repository.name,) if given.repository.is_file() else given.releases:
            suite = Suite(release, folder.resolve(), given.repair, tuple(given.tests))
            if not suite.python.exists():
                suite.unpack(given.repository)
                suite.install()
            both = compare(suite)
            rows.append(row(suite, both))
            print(f"{release}: repaired {suite.seen['repaired']} of {suite.seen['anomalies']}", file=sys.stderr)
            for name, difference in both.harmed.items():
                harm = True
                print(f"{release}: {name}: {difference}", file=sys.stderr)
            for line in (*both.unsteady, *suite.seen["errors"]):
                print(f"{release}: {line}", file=sys.stderr)
            harm = harm or bool(suite.seen["errors"]) or not suite.seen["streams"]
    finally:
        if given.keep is None:
            shutil.rmtree(folder)
    print(f"{date.today()}: {' '.join(given.tests)}; Python {sys.version.split()[0]}\n\n{HEAD}", *rows, sep="\n")  # noqa: DTZ011
    return harm


if __name__ == "__main__":
    sys.exit(main())
