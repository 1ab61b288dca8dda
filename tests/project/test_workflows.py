"""The workflows: what they run is in the Makefile, with no more rights than it takes, out of actions pinned by hash."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.documents import document

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="not a checkout: there are no workflows")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)

#: Commands that are no target of make, and why.
OTHER_COMMANDS = {"gh": "makes the release on GitHub, out of what another job has built: there is no checkout"}
#: Rights to write, and the job that needs each.
MAY_WRITE = {
    ("docs", "publish"): {"pages", "id-token"},
    ("release", "build"): {"id-token", "attestations"},
    ("release", "publish"): {"id-token"},
    ("release", "announce"): {"contents"},
}


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow."""
    found: dict[str, dict[str, Any]] = document(path.read_text("utf-8"))["jobs"]
    return found


def steps() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every step, and the workflow it is in."""
    for path in WORKFLOWS:
        for job in jobs(path).values():
            yield from ((path, step) for step in job["steps"])


def targets() -> set[str]:
    """The targets of the Makefile that `make help` lists."""
    return set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def run_by_workflows() -> set[str]:
    """The targets of make that any workflow runs."""
    return {words[1] for words in (step["run"].split() for _, step in steps() if "run" in step) if words[0] == "make"}


def noxfile(name: str) -> Any:
    """A constant of the noxfile, which imports nox."""
    for node in ast.parse((ROOT / "noxfile.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign):
            names = ast.unparse(node.targets[0]).strip("()").split(", ")
            if name in names:
                value = ast.literal_eval(node.value)
                return value[names.index(name)] if len(names) > 1 else value
    pytest.fail(f"the noxfile has no {name}")


# --- what is run


def test_every_step_is_an_action_or_a_target_of_make() -> None:
    """One command a step, so that whoever sees it fail can run the same."""
    for path, step in steps():
        assert ("run" in step) != ("uses" in step), path.name
        if "run" in step:
            program, *arguments = step["run"].split()
            assert "\n" not in step["run"], step["run"]
            assert program == "make" or program in OTHER_COMMANDS, f"{path.name}: {step['run']}"
            named = [word for word in arguments if "=" not in word] if program == "make" else []
            assert program != "make" or (named and set(named) <= targets()), f"{path.name}: {step['run']}"


def test_the_gate_and_the_workflows_run_the_same_targets() -> None:
    """What `.ci/run` demands of a change, some workflow runs."""
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    gate = set(re.findall(r"^[^#\n]*\bmake ([a-z0-9-]+)", text, re.MULTILINE))

    assert {"check", "coverage", "docs", "wheel", "sbom", "fuzz", "harm", "e2e", "workflows"} <= gate
    assert {"test", "test-all"} & gate
    assert gate <= targets()
    # One job for each release, where the gate has one session after the other.
    assert gate - run_by_workflows() <= {"releases"}
    assert "release-of-sdk" in run_by_workflows()


def test_the_matrix_is_the_one_that_the_project_promises() -> None:
    """Pythons as in the classifiers, releases as in the noxfile, three systems; the ends of the Pythons on each."""
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    tested = jobs(FOLDER / "test.yml")
    matrix = tested["python"]["strategy"]["matrix"]

    assert matrix["python"] == pythons == sorted({noxfile("PYTHON"), *noxfile("OTHERS")}, key=lambda one: int(one[2:]))
    assert tuple(tested["sdk"]["strategy"]["matrix"]["openai"]) == noxfile("CORE")
    others: dict[str, list[str]] = {}
    for more in matrix["include"]:
        others.setdefault(more["system"].partition("-")[0], []).append(more["python"])
    assert others == {system: [pythons[0], pythons[-1]] for system in ("macos", "windows")}
    setup = [step for step in tested["sdk"]["steps"] if "setup-python" in step.get("uses", "")]
    assert [step["with"]["python-version"] for step in setup] == [noxfile("PYTHON")]


def test_nights_have_what_takes_long() -> None:
    """The harm finder, broken streams, the newest SDK, the neighbours, and what is known of vulnerabilities."""
    run = {
        step["run"].split()[1]
        for job in jobs(FOLDER / "nightly.yml").values()
        for step in job["steps"]
        if "run" in step
    }

    assert {"harm", "fuzz", "canary", "neighbours", "audit", "e2e", "matrix"} == run


# --- with which rights


@each_workflow
def test_a_workflow_has_no_right_that_no_job_asks_for(path: Path) -> None:
    """None by itself; a job reads the checkout, and writes only what the table says."""
    workflow = document(path.read_text("utf-8"))

    assert workflow["permissions"] == {}
    assert {"group", "cancel-in-progress"} == set(workflow["concurrency"])
    for name, job in workflow["jobs"].items():
        writes = {scope for scope, right in job["permissions"].items() if right != "read"}
        assert writes == MAY_WRITE.get((path.stem, name), set()), f"{path.stem}.{name}"
        assert 0 < job["timeout-minutes"] <= 360, f"{path.stem}.{name}"
        checks_out = any("actions/checkout" in step.get("uses", "") for step in job["steps"])
        assert ("contents" in job["permissions"]) == (checks_out or "contents" in writes), f"{path.stem}.{name}"


def test_actions_are_pinned_by_hash() -> None:
    """Each by one hash everywhere, with the release in a comment; and no checkout leaves its token behind."""
    pinned: dict[str, set[tuple[str, str]]] = {}
    for path in WORKFLOWS:
        for line in re.findall(r"^.*\buses:.*$", path.read_text("utf-8"), re.MULTILINE):
            found = re.fullmatch(r"\s*(?:- )?uses: ([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert found, line
            pinned.setdefault(found[1], set()).add((found[2], found[3]))

    assert {} == {action: hashes for action, hashes in pinned.items() if len(hashes) > 1}
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_release_is_published_by_no_password() -> None:
    """Trusted publishing from an environment, of what another job has built, after the tag was checked."""
    release = jobs(FOLDER / "release.yml")
    run = [step["run"] for step in release["build"]["steps"] if "run" in step]
    uses = [step["uses"].partition("@")[0] for step in release["build"]["steps"] if "uses" in step]

    assert run[0] == "make verify-release"
    assert uses.count("actions/attest") == 2
    assert release["publish"]["needs"] == "build"
    assert release["publish"]["environment"] == "pypi"
    assert "secrets." not in (FOLDER / "release.yml").read_text("utf-8")


# --- what others say of them


def test_zizmor_finds_nothing() -> None:
    """Its audits for security, the pedantic ones included; it needs Python 3.11."""
    program = Path(sys.executable).with_name("zizmor.exe" if os.name == "nt" else "zizmor")
    if not program.exists():
        pytest.skip("zizmor is not installed: Python 3.11 or later, and the group check")
    done = subprocess.run(
        [program, "--offline", "--pedantic", "--no-progress", ROOT / ".github"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings" in done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.skipif(not os.environ.get("STREAMWATCH_E2E"), reason="STREAMWATCH_E2E is not set")
@pytest.mark.skipif(not shutil.which("go"), reason="go is not installed: actionlint is built with it")
def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    """And it does find a target in a context that is not there."""
    version = re.search(r"^ACTIONLINT := (\S+) (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert version
    build = [ROOT / "tests" / "apps" / "build_module.sh", *version.groups(), "./cmd/actionlint"]
    program = subprocess.run(build, capture_output=True, text=True, check=True).stdout.strip()
    done = subprocess.run([program, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((FOLDER / "test.yml").read_text("utf-8").replace("matrix.openai", "matrix.sdk"), "utf-8")

    assert (done.returncode, done.stdout) == (0, "")
    assert 'property "sdk" is not defined' in subprocess.run([program, wrong], capture_output=True, text=True).stdout
