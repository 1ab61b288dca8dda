"""The site's configuration: the repository's own Markdown, where it lies, read by Sphinx with MyST.

Nothing is copied. A link to anything but a page becomes a link into the repository, where STREAMWATCH_REPOSITORY
has its address (`https://HOST/OWNER/NAME`), and a copy to download where it has not. `make docs` builds it: a broken
link, a page in no table of contents or a lost anchor is an error.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.site import sidebar  # noqa: E402 -- the checkout's, found through the line above
from streamwatch import __version__  # noqa: E402 -- the same

REPOSITORY = os.environ.get("STREAMWATCH_REPOSITORY", "").rstrip("/")

project = "Streamwatch"
author = "The Streamwatch authors"
project_copyright = "The Streamwatch authors"
version = release = __version__

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = sidebar.ROOT
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RELEASING.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "benchmarks/**.md",
    "dashboards/README.md",
    "deploy/**.md",
    "docs/**.md",
    "tests/**.md",
]
exclude_patterns = [".*", "**/node_modules", "**/.venv*", "build", "dist", "mutants"]

myst_heading_anchors = 4
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # a shell command over two lines has the wrong colors, and no more

html_theme = "furo"
html_title = f"Streamwatch {release}"
myst_html_meta = {
    "description": "Streamwatch detects broken OpenAI streams, repairs what is provably safe, and measures the rest."
}
html_additional_pages = {"index": "redirect.html"}
templates_path = ["templates"]
html_copy_source = False
pygments_style = "default"  # output of commands with a contrast of 4.7, not 3.1
pygments_dark_style = "github-dark"
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
highlight_language = "text"

_LINK = re.compile(r"(?P<bang>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#]+)(?P<anchor>#[^()\s]*)?\)")
_FENCE = re.compile(r"^( *(?:`{3,}|~{3,})).*?^\1", re.MULTILINE | re.DOTALL)


def _target(page: Path, link: re.Match[str]) -> str:
    """Return a link as the site has it: pages, pictures and addresses as they are, folders and files elsewhere."""
    whole, target = link[0], link["target"]
    if link["bang"] or re.match(r"[a-z]+:", target):
        return whole
    path = (page.parent / target).resolve()
    if not path.exists() or not path.is_relative_to(ROOT) or path.suffix == ".md":
        return whole  # Sphinx finds it, or complains
    if (path / "README.md").is_file():
        return f"[{link['text']}]({target.rstrip('/')}/README.md{link['anchor'] or ''})"
    if REPOSITORY:
        kind = "tree" if path.is_dir() else "blob"
        return f"[{link['text']}]({REPOSITORY}/{kind}/main/{path.relative_to(ROOT).as_posix()})"
    return link["text"] if path.is_dir() else whole


def rewrite(app: Sphinx, name: str, source: list[str]) -> None:
    """Rewrite what a page links to, but not in its blocks of code; add what the sidebar shows below it."""
    page = Path(str(app.env.doc2path(name)))
    parts, end = [], 0
    for fence in _FENCE.finditer(source[0]):
        parts += [_LINK.sub(lambda link: _target(page, link), source[0][end : fence.start()]), fence[0]]
        end = fence.end()
    parts.append(_LINK.sub(lambda link: _target(page, link), source[0][end:]))
    source[0] = "".join([*parts, sidebar.added(name)])


def setup(app: Sphinx) -> None:
    """Set the extension up, for Sphinx."""
    app.connect("source-read", rewrite)
    app.add_lexer("promql", TextLexer)  # Pygments' own takes no colon, and every recorded series has one
