"""The unit tests against an installed wheel: `python tests/helpers/installed.py WHEEL [PYTEST'S ARGUMENTS]`.

The wheel goes into an environment of its own, and the tests, with what they read, into a folder that has no streamwatch/
beside them: what is tested is what users get, data files and entry points included. With LOCKED or CI set, the tools come
from the lock, by hash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What tests read beside themselves.
BESIDE = ("tests", "benchmarks", "dashboards", "deploy", "docs", ".github", ".ci")
#: Tests of the checkout, not of the package: they read its sources, or build it.
OF_CHECKOUT = (
    *("docs/test_docs.py", "docs/test_decisions.py", "sdk/test_upstream.py", "promises/test_platforms.py"),
    *(f"project/test_{name}.py" for name in ("package", "wheel", "release", "repository", "workflows")),
)


def run(*words: object, cwd: Path) -> int:
    """A program that finds no package but those that are installed."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    print("$", *words, file=sys.stderr, flush=True)
    return subprocess.run([str(word) for word in words], cwd=cwd, env=clean, check=False).returncode


def installed(wheel: Path, home: Path) -> Path:
    """The Python of an environment with the wheel, and with what the tests need."""
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    if os.environ.get("LOCKED") or os.environ.get("CI"):
        steps = [("--require-hashes", "--requirement", ROOT / ".ci" / "requirements.txt"), ("--no-deps", wheel)]
    else:
        steps = [("--upgrade", "pip>=25.1"), (f"{wheel}[demo]", "--group", f"{ROOT / 'pyproject.toml'}:dev")]
    for step in steps:
        if run(*pip, *step, cwd=ROOT):
            raise SystemExit(f"pip could not install {step[-1]}")
    return python


def copied(folder: Path) -> Path:
    """The tests and what they read, without the package."""
    folder.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "node_modules", ".venv*", "dist")
    for name in BESIDE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder)
    return folder


def main(wheel: str, *arguments: str) -> int:
    """0 if all tests pass."""
    with tempfile.TemporaryDirectory() as temporary:
        python = installed(Path(wheel).resolve(), Path(temporary) / "venv")
        folder = copied(Path(temporary) / "checkout")
        where = "import sys, streamwatch; sys.exit(not streamwatch.__file__.startswith(sys.prefix))"
        if run(python, "-c", where, cwd=folder):
            raise SystemExit("The package that would be tested is not the one that was installed.")
        ignored = [f"--ignore=tests/{name}" for name in OF_CHECKOUT]
        chosen = arguments or ("-n", "auto", "-m", "not e2e")
        return run(python, "-m", "pytest", "-q", *ignored, *chosen, cwd=folder)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
