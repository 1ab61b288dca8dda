"""What a contributor's tools read: metadata, hooks, owners, editors' settings, the container."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from streamwatch.version import __version__

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")

pytestmark = pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="not a checkout: there are no such files")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The paths of all files that git knows."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git does not say which files there are")
    found = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in found if (ROOT / name).is_file()]


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


# --- metadata


def test_the_address_of_the_repository_stands_in_one_place(tracked: list[str]) -> None:
    """All addresses of the project begin with it; others take it from the environment, or from the reader."""
    section = PYPROJECT.partition("[project.urls]\n")[2].partition("\n\n")[0]
    urls = dict(re.findall(r'^(\w+) = "(.+)"$', section, re.MULTILINE))
    host = urls["Repository"].split("/")[2]

    assert {"Repository", "Documentation", "Changelog", "Issues", "Security"} <= set(urls)
    assert [] == [url for url in urls.values() if not url.startswith(urls["Repository"])]
    named = [urls[name].partition("/blob/main/")[2] for name in ("Documentation", "Changelog", "Security")]
    assert [] == [name for name in named if not (ROOT / name).is_file()]
    texts = [
        name for name in tracked if name.endswith((".md", ".py", ".yml", ".yaml", ".toml")) and "tests/" not in name
    ]
    address = f"//{host}"
    assert ["pyproject.toml"] == [name for name in texts if address in (ROOT / name).read_text("utf-8")]


def test_classifiers_are_those_of_the_index() -> None:
    """Every word is one that the index takes, the Pythons have no gap, and the oldest is the one required."""
    known = pytest.importorskip("trove_classifiers").classifiers
    listed = re.findall(r'"([^"]+)"', PYPROJECT.partition("classifiers = [")[2].partition("]")[0])
    minor = [int(name.rpartition(".")[2]) for name in listed if re.search(r":: 3\.\d+$", name)]

    assert [] == [name for name in listed if name not in known]
    assert minor == list(range(minor[0], minor[-1] + 1))
    assert f'requires-python = ">=3.{minor[0]}"' in PYPROJECT


def test_the_version_that_people_copy_is_this_one(tracked: list[str]) -> None:
    """Tags of the image, references to the repository, and the line of a program: `make release` writes them."""
    forms = re.findall(r'^    r"\(\?<=(.+?)\)\{\}', (ROOT / "tools" / "release.py").read_text("utf-8"), re.MULTILINE)
    found: dict[str, set[str]] = {}
    for name in tracked:
        if name.endswith((".md", ".yaml")) and name != "CHANGELOG.md":
            text = (ROOT / name).read_text("utf-8")
            for form in forms:
                found.setdefault(form, set()).update(re.findall(rf"{form}(\d+\.\d+\.\d+)", text))

    assert len(forms) == 3
    assert {form: {__version__} for form in forms} == found


# --- hooks and updates


def test_hooks_and_checks_have_the_same_tools() -> None:
    """In the same versions as pyproject.toml; every hook is local, so that nothing else is cloned."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    named = [text for repo in config["repos"] for hook in repo["hooks"] for text in hook["additional_dependencies"]]
    hooks = {one.name: str(one.specifier) for one in map(Requirement, named)}
    groups = re.findall(r"^(?:check|hooks) = \[(.*)\]$", PYPROJECT, re.MULTILINE)
    ours = {
        one.name: str(one.specifier) for group in groups for one in map(Requirement, re.findall(r'"([^"]+)"', group))
    }

    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {"ruff", "codespell", "zizmor"} <= hooks.keys() & ours.keys()
    assert {name: ours[name] for name in hooks.keys() & ours.keys()} == {
        name: hooks[name] for name in hooks.keys() & ours.keys()
    }
    assert [] == [text for text in named if not str(Requirement(text).specifier).startswith("==")]
    assert f"=={config['minimum_pre_commit_version']}" == ours["pre-commit"]


def test_updates_wait_until_a_release_is_a_week_old() -> None:
    """For actions and for tools."""
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text("utf-8"))["updates"]

    assert {"github-actions", "pip"} == {update["package-ecosystem"] for update in updates}
    assert {7} == {update["cooldown"]["default-days"] for update in updates}
    ignored = {each["dependency-name"] for update in updates for each in update.get("ignore", ())}
    assert [] == [name for name in ignored if name not in PYPROJECT]


# --- owners, the container


def test_owners_have_something_to_own(tracked: list[str]) -> None:
    """Every pattern fits a file, and who is asked is the one that the metadata name."""
    lines = (ROOT / ".github" / "CODEOWNERS").read_text("utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]

    assert rows[0][0] == "*"
    assert [] == [
        row for row in rows if not any(fnmatch.fnmatch(f"/{name}", f"{row[0].rstrip('/')}*") for name in tracked)
    ]
    assert {row[1] for row in rows} == set(re.findall(r'email = "(.+?)"', PYPROJECT))


def test_the_container_makes_the_environment_of_the_makefile() -> None:
    """Its Python is one of the matrix; its command, its port and its folders are there."""
    container: dict[str, Any] = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    version = re.match(r"python:(3\.\d+)-", container["image"])
    settings = container["customizations"]["vscode"]["settings"]

    assert version
    assert f"Python :: {version[1]}" in PYPROJECT
    assert container["postCreateCommand"] == "make .venv/dev"
    assert re.search(r"^\$\(VENV\)/dev:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert container["forwardPorts"] == [9464]
    assert (ROOT / settings["python.testing.pytestArgs"][-1]).is_dir()


# --- editors


def rules_of(path: str, sections: list[tuple[str, dict[str, str]]]) -> dict[str, str]:
    """What .editorconfig says of a file: the last section that fits counts."""
    found: dict[str, str] = {}
    for glob, rules in sections:
        names = glob[1:-1].split(",") if glob.startswith("{") else [glob]
        if any(fnmatch.fnmatch(path if "/" in name else path.rpartition("/")[2], name) for name in names):
            found |= rules
    return found


@pytest.fixture(scope="module")
def sections() -> list[tuple[str, dict[str, str]]]:
    """The sections of .editorconfig: a glob, and its rules."""
    text = (ROOT / ".editorconfig").read_text("utf-8")
    parts = re.split(r"^\[(.+)\]$", text, flags=re.MULTILINE)
    return [
        (glob, dict(re.findall(r"^(\w+) = (\S+)$", rules, re.MULTILINE)))
        for glob, rules in zip(parts[1::2], parts[2::2], strict=True)
    ]


def complaints(name: str, data: bytes, rules: dict[str, str]) -> list[str]:
    """What of a file is not as .editorconfig says."""
    found = []
    lines = data.split(b"\n")
    if rules.get("end_of_line") == "lf" and b"\r" in data:
        found.append(f"{name} has a carriage return")
    if rules.get("insert_final_newline") == "true" and data and not data.endswith(b"\n"):
        found.append(f"{name} does not end with a newline")
    if rules.get("trim_trailing_whitespace") == "true" and any(line.endswith((b" ", b"\t")) for line in lines):
        found.append(f"{name} has spaces at the end of a line")
    if rules.get("indent_style") == "space" and any(line.startswith(b"\t") for line in lines):
        found.append(f"{name} has a tab")
    return found


def test_every_file_is_as_an_editor_would_leave_it(
    tracked: list[str], sections: list[tuple[str, dict[str, str]]]
) -> None:
    """Text files; what is no UTF-8 is no text, unless .editorconfig says that it is."""
    wrong = []
    for name in tracked:
        data = (ROOT / name).read_bytes()
        rules = rules_of(name, sections)
        if b"\0" not in data:
            wrong += complaints(name, data, rules)
            if rules.get("charset") == "utf-8":
                data.decode()

    assert wrong == []


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("a.py", b"x = 1\r\n", "carriage return"),
        ("a.py", b"x = 1", "newline"),
        ("a.py", b"x = 1 \n", "spaces"),
        ("a.py", b"\tx = 1\n", "tab"),
        ("a.md", b"x  \n", ""),
        ("Makefile", b"x:\n\ty\n", ""),
        ("tests/recordings/a/b.sse", b"data: x\r\n \r\n", ""),
    ],
)
def test_a_file_that_is_not_is_noticed(
    name: str, data: bytes, complaint: str, sections: list[tuple[str, dict[str, str]]]
) -> None:
    """By the rules for its name."""
    found = complaints(name, data, rules_of(name, sections))

    assert len(found) == bool(complaint)
    assert all(complaint in each for each in found)
