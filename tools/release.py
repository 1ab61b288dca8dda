"""Cuts a release on this machine, and checks one before it is published: RELEASING.md says when to use what.

    python tools/release.py cut VERSION        what `make release VERSION=x` runs
    python tools/release.py verify TAG         what the release workflow runs first
    python tools/release.py notes [VERSION]    the changelog's section of a release, in Markdown

Nothing leaves the machine: `cut` ends with a commit and a tag, and says how to push them.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

#: What a release has to pass, in this order: the slowest comes last.
CHECKS = ("make check", "make docs", "make test", "make wheel", "make sbom")
#: How the version is written where people copy it from, beside version.py and the changelog.
MENTIONS = (
    r"(?<=streamwatch-autoinstrumentation:){}(?![\w.])",
    r"(?<=\?ref=v){}(?![\w.])",
    r"(?<=streamwatch: ){}(?= watches )",
)
_SECTION = re.compile(
    r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
_VERSION = re.compile(r"^__version__ = \"(.+)\"$", re.MULTILINE)
_REPOSITORY = re.compile(r"^Repository = \"(.+)\"$", re.MULTILINE)


class Refused(Exception):  # noqa: N818 -- what happened, and no error of the program
    """Raised when a release cannot be made; its arguments are all the reasons."""


class Checkout:
    """A checkout of this repository, and the places in which a version stands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changelog = root / "CHANGELOG.md"
        self.version_file = root / "streamwatch" / "version.py"

    def git(self, *words: str) -> str:
        """Return what git says; it has to succeed."""
        done = subprocess.run(["git", *words], cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"git {words[0]} failed: {done.stderr.strip()}")
        return done.stdout

    @property
    def version(self) -> str:
        """The version of the package."""
        found = _VERSION.search(self.version_file.read_text("utf-8"))
        if found is None:
            raise Refused(f'{self.version_file.name} has no line __version__ = "..."')
        return found[1]

    def sections(self) -> dict[str, re.Match[str]]:
        """Return the sections of the changelog by name, the newest first."""
        return {found["name"]: found for found in _SECTION.finditer(self.changelog.read_text("utf-8"))}

    def entries(self, name: str) -> str:
        """Return the text of a section, without headings under which nothing stands."""
        section = self.sections().get(name)
        parts = re.split(r"^(?=### )", section["text"], flags=re.MULTILINE) if section else []
        return "\n\n".join(part.strip() for part in parts if re.search(r"^- ", part, re.MULTILINE))

    def releases(self) -> list[str]:
        """Return the versions that the changelog gives a date, the newest first."""
        return [name for name, section in self.sections().items() if section["date"]]

    def is_tagged(self, version: str) -> bool:
        """Return whether there is a tag for a version."""
        return bool(self.git("tag", "--list", f"v{version}").strip())

    def mentions(self) -> Iterator[tuple[Path, str]]:
        """Yield each file that names the version for people to copy, and its text."""
        for name in self.git("ls-files", "*.md", "*.yaml").splitlines():
            path = self.root / name
            text = path.read_text("utf-8")
            if path != self.changelog and any(re.search(form.format(r"\d+\.\d+\.\d+"), text) for form in MENTIONS):
                yield path, text


def following(version: str) -> tuple[str, str, str]:
    """Return the versions that may follow a version: the next patch, minor and major release."""
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0", f"{major + 1}.0.0"


def reasons_against(checkout: Checkout, version: str) -> Iterator[str]:
    """Yield why a version cannot be released from a checkout as it is."""
    changed = checkout.git("status", "--porcelain").splitlines()
    if changed:
        yield f"the tree is not clean: commit or stash {', '.join(line[3:] for line in changed[:5])}"
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version!r} is not a version: write it as 1.2.3"
        return
    if checkout.is_tagged(version):
        yield f"the tag v{version} is there already: a release is never made twice"
    newest = next(iter(checkout.releases()), None)
    if newest is not None and not checkout.is_tagged(newest):
        if version != newest:
            yield f"{newest} has a date in the changelog, and no tag: run git fetch --tags, or release {newest} first"
    else:
        may = following(newest) if newest is not None else (checkout.version, *following(checkout.version))
        if version not in (*may, newest):
            yield f"{version} does not follow {newest or checkout.version}: the next one is {' or '.join(may)}"
    if not checkout.entries(version if version in checkout.releases() else "Unreleased"):
        yield "the changelog has no entry under [Unreleased]: say there what changed for users"


def write(checkout: Checkout, version: str, date: str) -> list[Path]:
    """Write the version wherever it stands, and give the changelog's section its date; return what was changed."""
    old, changed = checkout.version, []
    texts = {}
    for path, text in checkout.mentions():
        texts[path] = text
        for form in MENTIONS:
            texts[path] = re.sub(form.format(re.escape(old)), version, texts[path])
    texts[checkout.version_file] = checkout.version_file.read_text("utf-8").replace(f'"{old}"', f'"{version}"')
    if version not in checkout.releases():
        text = checkout.changelog.read_text("utf-8")
        heading = f"## [Unreleased]\n\n## [{version}] - {date}"
        texts[checkout.changelog] = text.replace("## [Unreleased]", heading, 1)
    for path, text in texts.items():
        if path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed


def cut(checkout: Checkout, version: str, date: str, checks: Sequence[str]) -> None:
    """Make a release: version and changelog, checks, commit, tag. What was written is taken back if a check fails."""
    if reasons := [*reasons_against(checkout, version)]:
        raise Refused(*reasons)
    changed = [str(path.relative_to(checkout.root)) for path in write(checkout, version, date)]
    for command in checks:
        sys.stdout.write(f"== {command}\n")
        sys.stdout.flush()
        if subprocess.run(shlex.split(command), cwd=checkout.root, check=False).returncode:
            if changed:
                checkout.git("checkout", "--", *changed)
            raise Refused(f"{command} failed: nothing was committed, and no tag was made")
    if changed:
        checkout.git("commit", "--message", f"Release {version}", "--", *changed)
    notes = checkout.entries(version)
    checkout.git(
        "tag", "--annotate", "--cleanup=verbatim", "--message", f"Streamwatch {version}\n\n{notes}", f"v{version}"
    )
    sys.stdout.write(
        f"Streamwatch {version} is tagged as v{version}. Nothing has left this machine. To publish it:\n"
        f"  git push origin HEAD v{version}\n"
        f"To take it back:\n  git tag --delete v{version}{' && git reset --keep HEAD~1' if changed else ''}\n"
    )


def verify(checkout: Checkout, tag: str, repository: str | None) -> None:
    """Refuse a tag that is not what its checkout says."""
    version, wrong = checkout.version, []
    if tag != f"v{version}":
        wrong.append(f"the tag is {tag}, and version.py says {version}")
    if version not in checkout.releases() or not checkout.entries(version):
        wrong.append(f"the changelog has no section of {version} with a date and entries")
    address = _REPOSITORY.search((checkout.root / "pyproject.toml").read_text("utf-8"))
    if repository and (address is None or address[1] != repository):
        named = address[1] if address else "nothing"
        wrong.append(f"[project.urls] in pyproject.toml names {named}, and this is {repository}")
    if wrong:
        raise Refused(*wrong)


def main(arguments: list[str] | None = None, root: Path = Path(__file__).parents[1]) -> int:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    cutting = commands.add_parser("cut", help="make a release here")
    cutting.add_argument("version")
    cutting.add_argument("--check", action="append", metavar="COMMAND", help="run COMMAND instead of all checks")
    verifying = commands.add_parser("verify", help="check a tag before it is published")
    verifying.add_argument("tag")
    verifying.add_argument("--repository", help="the address from which it is published")
    commands.add_parser("notes", help="print what changed").add_argument("version", nargs="?")
    asked, checkout = parser.parse_args(arguments), Checkout(root)
    try:
        if asked.command == "cut":
            today = datetime.now(timezone.utc).date().isoformat()
            cut(checkout, asked.version, today, asked.check or CHECKS)
        elif asked.command == "verify":
            verify(checkout, asked.tag, asked.repository)
        else:
            sys.stdout.write(f"{checkout.entries(asked.version or checkout.version)}\n")
    except Refused as refused:
        sys.stderr.writelines(f"release: {reason}\n" for reason in refused.args)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
