"""Releases: what `make release` refuses and what it makes, on a clone that is thrown away."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from helpers.programs import loaded

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tools" / "release.py"
#: What a release of the scratch clone changes.
FILES = (
    "CHANGELOG.md",
    "pyproject.toml",
    "streamwatch/version.py",
    "tools/release.py",
    "deploy/README.md",
    "README.md",
)
MADE = (
    "## [0.2.0] - 2026-01-31\n\n### Added\n\n- One thing.\n\n"
    "## [0.1.0] - 2025-12-24\n\n### Added\n\n- The first thing.\n"
)

pytestmark = [
    pytest.mark.skipif(not shutil.which("git") or not PROGRAM.exists(), reason="takes git and a checkout"),
    pytest.mark.quick_cases(1),  # each makes a repository
]
Release = Callable[..., "Done"]


def git(root: Path, *words: str) -> str:
    """What git says; it has to succeed."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root: Path) -> None:
    """Everything that has changed."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "A change")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files in which a version stands: 0.2.0 is released, one change is not."""
    root = tmp_path_factory.mktemp("release") / "clone"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    head = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n### Fixed\n\n- A thing that was broken.\n\n"
    (root / "CHANGELOG.md").write_text(head + MADE, "utf-8")
    (root / "streamwatch" / "version.py").write_text('"""The version."""\n\n__version__ = "0.2.0"\n', "utf-8")
    copied = "image: streamwatch-autoinstrumentation:0.2.0\nref: collector?ref=v0.2.0\nother-thing:0.2.0\n"
    (root / "deploy" / "README.md").write_text(copied, "utf-8")
    git(root, "init", "--quiet", "--initial-branch", "main")
    for name, value in (
        ("user.name", "Somebody"),
        ("user.email", "somebody@example.test"),
        ("commit.gpgsign", "false"),
    ):
        git(root, "config", name, value)
    commit(root)
    for tag in ("v0.1.0", "v0.2.0"):
        git(root, "tag", tag)
    return root


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A copy of that repository, to be thrown away."""
    return shutil.copytree(template, tmp_path / "clone")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program, which is no module of the package."""
    return loaded(PROGRAM, "release")


@dataclass
class Done:
    """How the program ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def release(clone: Path, program: ModuleType, capfd: pytest.CaptureFixture[str]) -> Release:
    """The program in the clone, as `make release` runs it, with checks of its own."""

    def run(*words: str) -> Done:
        code = program.main([*words], clone)
        return Done(code, *capfd.readouterr())

    return run


PASSING = ("--check", "git status --short")


def refused(done: Done, root: Path) -> str:
    """Why a release was refused; nothing may have been made."""
    assert done.returncode == 1
    assert git(root, "tag", "--list").split() == ["v0.1.0", "v0.2.0"]
    return done.stderr


# --- what it refuses


def test_a_tree_with_changes_is_refused(clone: Path, release: Release) -> None:
    """They are named."""
    (clone / "README.md").write_text("changed", "utf-8")
    (clone / "new.txt").write_text("new", "utf-8")

    assert "the tree is not clean: commit or stash README.md, new.txt" in refused(
        release("cut", "0.2.1", *PASSING), clone
    )


def test_a_release_that_was_made_is_refused(clone: Path, release: Release) -> None:
    """Its tag is there."""
    assert "the tag v0.2.0 is there already" in refused(release("cut", "0.2.0", *PASSING), clone)


@pytest.mark.parametrize("version", ["0.2.2", "0.4.0", "2.0.0", "0.0.9", "0.1.1"])
def test_a_version_that_is_not_the_next_is_refused(version: str, clone: Path, release: Release) -> None:
    """It says which ones may be next."""
    said = refused(release("cut", version, *PASSING), clone)

    assert f"{version} does not follow 0.2.0: the next one is 0.2.1 or 0.3.0 or 1.0.0" in said


@pytest.mark.parametrize("version", ["v0.2.1", "0.2", "0.2.1rc1", "next"])
def test_what_is_no_version_is_refused(version: str, clone: Path, release: Release) -> None:
    """It says how one is written."""
    assert f"'{version}' is not a version: write it as 1.2.3" in refused(release("cut", version, *PASSING), clone)


@pytest.mark.parametrize("empty", ["", "### Added\n\n### Fixed\n\n"])
def test_a_release_without_a_change_is_refused(empty: str, clone: Path, release: Release) -> None:
    """Headings alone are none."""
    (clone / "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n{empty}{MADE}", "utf-8")
    commit(clone)

    assert "no entry under [Unreleased]" in refused(release("cut", "0.2.1", *PASSING), clone)


def test_a_release_after_one_that_was_not_tagged_is_refused(clone: Path, release: Release) -> None:
    """The clone may lack the tags, or that release was never made."""
    git(clone, "tag", "--delete", "v0.2.0")
    done = release("cut", "0.3.0", *PASSING)

    assert (done.returncode, git(clone, "tag", "--list").split()) == (1, ["v0.1.0"])
    assert "0.2.0 has a date in the changelog, and no tag: run git fetch --tags, or release 0.2.0 first" in done.stderr


def test_all_reasons_are_said_at_once(clone: Path, release: Release) -> None:
    """Nobody runs it four times to learn four of them."""
    (clone / "CHANGELOG.md").write_text(f"# Changelog\n\n## [Unreleased]\n\n{MADE}", "utf-8")

    assert refused(release("cut", "0.5.0", *PASSING), clone).count("release: ") == 3


def test_what_fails_a_check_leaves_no_trace(clone: Path, release: Release) -> None:
    """No commit, no tag, and the files are as they were."""
    head = git(clone, "rev-parse", "HEAD")
    done = release("cut", "0.3.0", *PASSING, "--check", "git no-such-command")

    assert "failed: nothing was committed, and no tag was made" in refused(done, clone)
    assert git(clone, "rev-parse", "HEAD") == head
    assert git(clone, "status", "--porcelain") == ""


# --- what it makes


@pytest.mark.parametrize("version", ["0.2.1", "0.3.0", "1.0.0"])
def test_a_release_is_a_commit_and_a_tag(version: str, clone: Path, release: Release) -> None:
    """The version wherever people copy it from, the changelog with a date, the tag with what changed."""
    before = git(clone, "rev-parse", "HEAD").strip()
    done = release("cut", version, "--check", f"git grep -q {version} streamwatch/version.py")

    assert done.returncode == 0, done.stderr
    assert git(clone, "rev-list", f"{before}..v{version}").split() == [git(clone, "rev-parse", "HEAD").strip()]
    assert git(clone, "status", "--porcelain") == ""
    changelog = (clone / "CHANGELOG.md").read_text("utf-8")
    dated = (
        rf"## \[Unreleased\]\n\n## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n\n### Added\n\n### Fixed\n\n- A thing"
    )
    assert re.search(dated, changelog)
    assert (clone / "streamwatch" / "version.py").read_text("utf-8").endswith(f'__version__ = "{version}"\n')
    copied = (clone / "deploy" / "README.md").read_text("utf-8")
    assert (
        copied
        == f"image: streamwatch-autoinstrumentation:{version}\nref: collector?ref=v{version}\nother-thing:0.2.0\n"
    )
    tag = git(clone, "cat-file", "-p", f"v{version}")
    assert f"Streamwatch {version}\n\n### Fixed\n\n- A thing that was broken." in tag
    assert "### Added" not in tag


def test_nothing_leaves_the_machine(clone: Path, release: Release, tmp_path: Path) -> None:
    """The repository that the clone pushes to knows nothing of it; the last lines say how to publish and undo it."""
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    git(clone, "remote", "add", "origin", str(tmp_path / "origin"))
    done = release("cut", "0.3.0", *PASSING)

    assert git(tmp_path / "origin", "for-each-ref") == ""
    assert "git push origin HEAD v0.3.0" in done.stdout
    undo = done.stdout.partition("To take it back:\n")[2].strip()
    subprocess.run(undo, cwd=clone, shell=True, check=True)
    assert git(clone, "tag", "--list").split() == ["v0.1.0", "v0.2.0"]
    assert 'version__ = "0.2.0"' in (clone / "streamwatch" / "version.py").read_text("utf-8")


def test_what_the_changelog_has_already_cut_is_tagged_as_it_stands(clone: Path, release: Release) -> None:
    """No commit is needed, then."""
    git(clone, "tag", "--delete", "v0.2.0")
    head = git(clone, "rev-parse", "HEAD")
    done = release("cut", "0.2.0", *PASSING)

    assert done.returncode == 0, done.stderr
    assert git(clone, "rev-parse", "HEAD", "v0.2.0^{commit}").split() == [head.strip()] * 2
    assert "- One thing." in git(clone, "cat-file", "-p", "v0.2.0")


# --- what the workflow asks


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["v0.2.0"], ""),
        (["v0.2.1"], "the tag is v0.2.1, and version.py says 0.2.0"),
        (["v0.2.0", "--repository", "https://host.test/somebody/else"], "[project.urls] in pyproject.toml names https"),
    ],
)
def test_a_tag_is_verified(words: list[str], said: str, release: Release) -> None:
    """Against the version, the changelog and the address in the metadata."""
    done = release("verify", *words)

    assert (done.returncode, bool(done.stderr)) == (bool(said), bool(said))
    assert said in done.stderr


def test_a_tag_of_the_repository_that_the_metadata_name_passes(release: Release, clone: Path) -> None:
    """The address in pyproject.toml is the only one."""
    address = re.search(r'^Repository = "(.+)"$', (clone / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert address

    assert release("verify", "v0.2.0", "--repository", address[1]).returncode == 0


def test_notes_are_the_section_of_the_changelog(release: Release) -> None:
    """Of the version at hand, or of another one."""
    assert release("notes").stdout == "### Added\n\n- One thing.\n"
    assert release("notes", "0.1.0").stdout == "### Added\n\n- The first thing.\n"
