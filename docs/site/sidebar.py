"""The navigation of the site, as data: five groups of pages for users, and what is inside the project apart from them.

A page stands in one place: in a group, below a page of a group, or below `INTERNALS`. The tables become Sphinx's tables
of contents when the site is built, so that the pages themselves stay plain Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable

#: The first page of the site, which holds the groups.
ROOT = "docs/index"
#: The page that leads contributors to everything that users do not need.
INTERNALS = "docs/internals"

#: The five groups: their pages in the order in which they are shown.
GROUPS: dict[str, tuple[str, ...]] = {
    "Start": (
        "README",
        "docs/getting-started",
        "docs/concepts",
        "docs/how-it-works",
        "docs/works-with",
        "docs/demo",
        "docs/reference/errors",
        "docs/troubleshooting",
    ),
    "Guides": (
        "docs/guides/README",
        "docs/exporting",
        "docs/guides/workers",
        "docs/guides/short-lived",
        "docs/guides/otlp",
        "docs/guides/gateways",
        "docs/guides/resuming",
        "docs/guides/ci",
    ),
    "Operations": ("deploy/README", "dashboards/README", "docs/runbooks/README", "docs/capacity", "SECURITY"),
    "Reference": (
        "docs/commands/run",
        "docs/commands/doctor",
        "docs/commands/top",
        "docs/commands/check",
        "docs/commands/probe",
        "docs/commands/kinds",
        "docs/commands/dashboards",
        "docs/commands/completion",
        "docs/reference/settings",
        "docs/reference/metrics",
        "docs/reference/kinds",
        "docs/reference/repair-all",
        "docs/reference/python",
        "CHANGELOG",
    ),
    "Evidence": ("docs/compatibility", "docs/servers", "docs/neighbours", "benchmarks/README"),
}

#: Pages that the sidebar shows when the page above them is open; `*` stands for any name in a folder.
BELOW: dict[str, tuple[str, ...]] = {
    "deploy/README": ("deploy/collector/README", "deploy/prometheus/README", "deploy/alertmanager/README"),
    "docs/runbooks/README": ("docs/runbooks/Streamwatch*", "docs/runbooks/kinds/*"),
    "benchmarks/README": ("benchmarks/results/*",),
    INTERNALS: (
        *(
            "CONTRIBUTING",
            "ARCHITECTURE",
            "RELEASING",
            "docs/decisions/*",
            "docs/proposals/*",
            "docs/reference/upstream",
        ),
        "tests/*/*",
    ),
}


#: Names in the sidebar where a page's title says less there.
TITLES = {
    "README": "Overview",
    "docs/capacity": "Capacity",
    "docs/guides/README": "All guides",
    "docs/guides/otlp": "OTLP and Grafana Cloud",
    "docs/reference/repair-all": "The policy all",
}


def toctree(pages: Iterable[str], caption: str = "") -> str:
    """Return a hidden table of contents, as MyST reads it."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else []), ":glob:"]
    return "\n".join(["```{toctree}", *options, "", *map(_entry, pages), "```"])


def _entry(page: str) -> str:
    return f"{TITLES[page]} </{page}>" if page in TITLES else f"/{page}"


def added(page: str) -> str:
    """Return what is added to a page when the site is built: the sidebar's groups, or the pages below it."""
    if page == ROOT:
        groups = [toctree(pages, name) for name, pages in GROUPS.items()]
        return "\n\n".join(["", *groups, toctree([INTERNALS], "Inside")]) + "\n"
    return f"\n{toctree(BELOW[page])}\n" if page in BELOW else ""
