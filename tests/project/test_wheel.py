"""What is published: the wheel holds the package and nothing else, the sdist makes the same wheel, both install."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from streamwatch.core.kinds import KINDS
from streamwatch.version import __version__

pytest.importorskip("build")
pytest.importorskip("hatchling")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "streamwatch"
Test = TypeVar("Test", bound=Callable[..., None])


def needs_network(test: Test) -> Test:
    """Slow, and only on demand."""
    asked = os.environ.get("STREAMWATCH_E2E")
    marked: Test = pytest.mark.e2e(pytest.mark.skipif(not asked, reason="STREAMWATCH_E2E is not set")(test))
    return marked


def run(*words: object, cwd: Path = ROOT) -> str:
    """What a program says, which has to end well; it finds no package but those that are installed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OTEL_", "STREAMWATCH_"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def build(source: Path, *what: str, into: Path) -> None:
    """Built with the hatchling that is here."""
    run(sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", into, source)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, each built from the checkout."""
    into = tmp_path_factory.mktemp("dist")
    build(ROOT, "--wheel", "--sdist", into=into)
    return into


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (wheel,) = dist.glob("*.whl")
    return wheel


def files(folder: Path) -> set[str]:
    """The files of a package as they lie in the checkout, but for what Python makes itself."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_the_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of streamwatch/, data included, in the same bytes; and what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"openai_streamwatch-{__version__}.dist-info"
        inside = {name for name in names if name.startswith("streamwatch/")}

        assert inside == files(PACKAGE)
        assert {"streamwatch/py.typed", "streamwatch/cli/__init__.py"} <= inside
        assert [] == [name for name in inside if archive.read(name) != (ROOT / name).read_bytes()]
        assert names - inside == {
            f"{about}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
        }
    assert wheel.name == f"openai_streamwatch-{__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_wheel_says_what_the_project_says(wheel: Path) -> None:
    """Entry points and dependencies are those of pyproject.toml."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brought it")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        points = configparser.ConfigParser()
        points.read_string(archive.read(f"openai_streamwatch-{__version__}.dist-info/entry_points.txt").decode())
        metadata = archive.read(f"openai_streamwatch-{__version__}.dist-info/METADATA").decode()

    groups = {**project["entry-points"], "console_scripts": project["scripts"]}
    assert {name: dict(points[name]) for name in points.sections()} == groups
    required = {Requirement(text) for text in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)}
    assert {Requirement(text) for text in project["dependencies"]} <= required


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    """Byte for byte; and it has the tests, and nothing that was made here."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    build(source, "--wheel", into=tmp_path / "again")

    assert {"tests/conftest.py", "Makefile", "README.md", "docs/index.md", "LICENSE", "PKG-INFO"} <= names
    assert [] == [name for name in names if re.search(r"__pycache__|node_modules|\.pyc$|\.venv|^dist/|\.env$", name)]
    (again,) = (tmp_path / "again").glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_the_index_can_show_it(dist: Path) -> None:
    """The description renders, and the metadata are whole."""
    pytest.importorskip("twine")

    assert "FAILED" not in run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())


# --- installed, in an environment that has nothing else


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its Python."""
    home = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(home, with_pip=True)
    run(home / "bin" / "python", "-m", "pip", "install", "--quiet", f"{wheel}[demo]")
    return home / "bin" / "python"


@needs_network
def test_every_module_imports(python: Path, tmp_path: Path) -> None:
    """Without pytest, which streamwatch.testing does without as well; and what is installed fits together."""
    walk = (
        "import importlib, pkgutil, streamwatch\n"
        "for each in pkgutil.walk_packages(streamwatch.__path__, 'streamwatch.'):\n"
        "    if not each.name.endswith('__main__'): importlib.import_module(each.name)\n"
        "print(streamwatch.__file__)"
    )

    assert str(python.parents[1]) in run(python, "-W", "error", "-c", walk, cwd=tmp_path)
    assert "No broken requirements" in run(python, "-m", "pip", "check", cwd=tmp_path)


@needs_network
def test_commands_are_there(python: Path, tmp_path: Path) -> None:
    """`streamwatch`, the demo, and a program under `opentelemetry-instrument`."""
    script = python.with_name("streamwatch")

    assert run(script, "--version", cwd=tmp_path) == f"streamwatch, version {__version__}\n"
    assert run(script, "kinds", cwd=tmp_path).count("\n") == 1 + len(KINDS)  # and what the columns are
    assert "--seconds" in run(python, "-m", "streamwatch.demo", "--help", cwd=tmp_path)
    switched = "from streamwatch import StreamwatchInstrumentor as on; print(on().is_instrumented_by_opentelemetry)"
    assert run(python.with_name("opentelemetry-instrument"), python, "-c", switched, cwd=tmp_path) == "True\n"


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make sbom` wrote."""
    pytest.importorskip("cyclonedx_py")
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    folder = tmp_path_factory.mktemp("sbom")
    (folder / "dev").touch()  # the environment of these tests is the one to take
    here = {"VENV": folder, "BIN": Path(sys.executable).parent, "PYTHON": sys.executable, "DIST": folder}
    run("make", "sbom", *(f"{name}={value}" for name, value in here.items()))
    return folder


@needs_network
@pytest.mark.parametrize("name", ["wheel", "image"])
def test_the_bill_of_materials_is_whole(name: str, bills: Path) -> None:
    """It names every dependency, direct or not, in the version of the lock, with a license; and the package."""
    bill = json.loads((bills / f"{name}.cdx.json").read_text("utf-8"))
    locked = dict(locked_in({"wheel": ".ci/runtime.txt", "image": "deploy/kubernetes/requirements.txt"}[name]))
    named = {component["name"].lower().replace("_", "-"): component for component in bill["components"]}

    assert {key: named[key]["version"] for key in locked if key in named} == locked
    assert set(named) - set(locked) <= {"openai-streamwatch"}
    assert {key for key in locked if not named[key].get("licenses")} <= {"protobuf"}  # its metadata name none
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("openai-streamwatch", __version__)
    assert len(bill["dependencies"]) > len(locked)


# --- locks


def locked_in(path: str) -> list[tuple[str, str]]:
    """The distributions that a lock names for this Python, with their versions."""
    rows = (ROOT / path).read_text("utf-8").replace("\\\n", " ").splitlines()
    requirements = [Requirement(row.partition(" --hash")[0].strip()) for row in rows if re.match(r"[a-z]", row)]
    return [
        (one.name, str(one.specifier).removeprefix("=="))
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    ]


LOCKS = [".ci/requirements.txt", ".ci/runtime.txt", "deploy/kubernetes/requirements.txt"]


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_names_releases_by_hash_and_no_host(path: str) -> None:
    """Each line is one release with a hash at least; where it comes from is the installer's to know."""
    if not (ROOT / path).exists():
        pytest.skip("not a checkout: the locks are not here")
    text = (ROOT / path).read_text("utf-8").replace("\\\n", " ")
    rows = [row for row in text.splitlines() if row and not row.startswith("#")]

    assert rows
    assert [] == [row for row in rows if not re.match(r"[a-z0-9-]+==[\w.!+]+ .*--hash=sha256:[0-9a-f]{64}", row)]
    assert "://" not in text


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_fits_the_project(path: str) -> None:
    """Every dependency is there in a version that pyproject.toml allows; CI's lock has the groups it uses as well."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brought it")
    if not (ROOT / path).exists():
        pytest.skip("not a checkout: the locks are not here")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = list(project["project"]["dependencies"])
    if path == ".ci/requirements.txt":
        groups = project["dependency-groups"]
        names = ["docs", "dev", "package", *(each["include-group"] for each in groups["dev"] if isinstance(each, dict))]
        wanted += [text for name in names for text in groups[name] if isinstance(text, str)]
        wanted += project["project"]["optional-dependencies"]["demo"]
    have = dict(locked_in(path))
    required = [one for one in map(Requirement, wanted) if one.marker is None or one.marker.evaluate()]
    # The command line alone needs these two, and the image has no command line.
    left_out = {"click", "rich"} if path.startswith("deploy/") else set()

    assert {one.name for one in required if one.name not in have} == left_out
    assert [] == [
        str(one)
        for one in required
        if one.name in have and not SpecifierSet(str(one.specifier), prereleases=True).contains(have[one.name])
    ]
