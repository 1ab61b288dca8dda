"""Write the reference pages: `python -m docs.site`; `--check` only says whether they are fresh."""

from __future__ import annotations

import argparse
import sys

from docs.site.reference import FOLDER, pages


def main(arguments: list[str] | None = None) -> int:
    """Write what has changed, or with `--check` name it and fail."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not fresh")
    check = parser.parse_args(arguments).check
    stale = {name: text for name, text in pages().items() if _text(name) != text}
    for name, text in stale.items():
        if not check:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(text, "utf-8")
        sys.stdout.write(f"docs/reference/{name} {'is not fresh: make docs' if check else 'written'}\n")
    return int(check and bool(stale))


def _text(name: str) -> str:
    path = FOLDER / name
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
