"""Write the dashboards as JSON: `python -m dashboards`; `--check` only says whether they are fresh."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import agent, anatomy, fix_rates, overview, waiting
from streamwatch.cli.dashboards import filling

FOLDER = Path(__file__).with_name("json")
PROVISIONING = Path(__file__).parent / "provisioning" / "dashboards" / "streamwatch.yaml"


def generated() -> dict[Path, str]:
    """Return the text of every file: the templates in the package, and what they give where no site is known."""
    found = {}
    for board in (module.dashboard() for module in (overview, fix_rates, anatomy, agent, waiting)):
        template = JSONEncoder(sort_keys=True, separators=(",", ":")).encode(board) + "\n"
        found[filling.TEMPLATES / f"{board.uid}.json"] = template
        found[FOLDER / f"{board.uid}.json"] = filling.board(template, filling.Site())
    found[filling.TEMPLATES / PROVISIONING.name] = PROVISIONING.read_text("utf-8")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write what has changed, or with `--check` name it and fail."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not fresh")
    check = parser.parse_args(arguments).check
    stale = [(path, text) for path, text in generated().items() if _text(path) != text]
    for path, text in stale:
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.name} {'is not fresh: make dashboards' if check else 'written'}\n")
    return int(check and bool(stale))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
