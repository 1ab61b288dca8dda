"""Writes the dashboards as JSON: `python -m dashboards`; `--check` only tells whether they are fresh."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import agent, anatomy, fix_rates, overview, waiting

FOLDER = Path(__file__).with_name("json")


def generated() -> dict[str, str]:
    """The text of every file, by its name: the uid."""
    boards = [module.dashboard() for module in (overview, fix_rates, anatomy, agent, waiting)]
    return {f"{board.uid}.json": JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n" for board in boards}


def main(arguments: list[str] | None = None) -> int:
    """Write what has changed, or with `--check` name it and fail."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not fresh")
    check = parser.parse_args(arguments).check
    stale = [(FOLDER / name, text) for name, text in generated().items() if _text(FOLDER / name) != text]
    for path, text in stale:
        if not check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.name} {'is not fresh: make dashboards' if check else 'written'}\n")
    return int(check and bool(stale))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
