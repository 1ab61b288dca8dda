"""Streamwatch beside every other instrumentation of the OpenAI client: what each does without it, and with it.

    python tests/neighbours/run.py

That is all: it makes a virtual environment for each of them beside the checkout (`.venv-neighbours/`, 1.5 GB, newest
releases), reads some thirty streams in each, synchronously and asynchronously, and prints the tables of
docs/neighbours.md. Python 3.10 or later; a quarter of an hour. Nothing is sent anywhere.

The process ends with 1 if, beside Streamwatch, an instrumentation raised in an application where it did not do so
before, stored a wrong answer where it had a right one, lost its span, or if Streamwatch lost its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
MARK = "@@"
#: Seconds for one driver: half a minute on a busy machine.
TIMEOUT = 600
#: Processes at a time: one for each core of the smallest machine.
PROCESSES = 2
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_QUIET = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}


@dataclass(frozen=True)
class Neighbour:
    """An instrumentation, and how it is installed and told to keep answers."""

    name: str
    packages: tuple[str, ...]  #: the first one is shown
    environ: dict[str, str] = field(default_factory=dict)
    loads_itself: bool = False  #: whether `opentelemetry-instrument` switches it on
    makes_otel_spans: bool = True


NEIGHBOURS = {
    each.name: each
    for each in (
        Neighbour("genai", ("opentelemetry-instrumentation-genai-openai",), {_CONTENT: "span_only"}, True),
        Neighbour("openllmetry", ("opentelemetry-instrumentation-openai",), {}, True),
        Neighbour("openinference", ("openinference-instrumentation-openai",), {}, True),
        # Without a bound, the resolver takes an openlit two years old rather than an older SDK.
        Neighbour("openlit", ("openlit>=1.45",)),
        Neighbour("logfire", ("logfire>=5",)),
        Neighbour("langfuse", ("langfuse",)),
        Neighbour("ddtrace", ("ddtrace",), _QUIET, makes_otel_spans=False),
        Neighbour("sentry", ("sentry-sdk",), makes_otel_spans=False),
        Neighbour("langsmith", ("langsmith",), {"LANGSMITH_TRACING": "true"}, makes_otel_spans=False),
        Neighbour("elastic", ("elastic-opentelemetry-instrumentation-openai",), {_CONTENT: "true"}, True),
    )
}


def package(neighbour: Neighbour) -> str:
    """The name of its package."""
    return neighbour.packages[0].partition(">")[0]


def build(neighbour: Neighbour, venvs: Path, *, upgrade: bool) -> Path:
    """The interpreter of a neighbour's environment, which is made if there is none."""
    python = venvs / neighbour.name / "bin" / "python"
    if python.exists() and not upgrade:
        return python
    print(f"installing {package(neighbour)}", file=sys.stderr)
    uv = shutil.which("uv")
    if not python.exists():
        make = [uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        subprocess.run([*make, str(venvs / neighbour.name)], check=True)
    install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    pre = ["--prerelease=allow" if uv else "--pre"] if neighbour.name == "genai" else []
    wanted = ["--quiet", "--upgrade", *pre, *neighbour.packages, "openai", "--editable", str(CHECKOUT)]
    subprocess.run([*install, *wanted], check=True)
    return python


def drive(neighbour: Neighbour, python: Path, order: str) -> dict[str, Any]:
    """What the driver tells."""
    command = [str(python), str(HERE / "driver.py"), neighbour.name, order]
    unwanted = ("PROXY", "OPENAI", "STREAMWATCH", "OTEL")
    environ = {key: value for key, value in os.environ.items() if not any(word in key.upper() for word in unwanted)}
    if order == "entry_points":
        command = [str(python.parent / "opentelemetry-instrument"), *command]
        environ["OTEL_METRICS_EXPORTER"] = "none"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env={**environ, **neighbour.environ}
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not told:
        raise RuntimeError(f"{neighbour.name}, {order}: nothing was told\n{done.stderr[-3000:]}")
    print(f"{neighbour.name}, {order}: done", file=sys.stderr)
    return json.loads(told[0][len(MARK) :])  # type: ignore[no-any-return]


def version(python: Path, name: str) -> str:
    """The release that is installed."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


# --- what it comes to


def crashed(stream: dict[str, Any]) -> bool:
    """Whether the application got an exception that the plain SDK does not raise."""
    return bool(stream["raised"]) and not stream["raised_plain"]


def lost(stream: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether the answer that is stored was right without Streamwatch, and is not with it."""
    return before["stored"] == "right" != stream["stored"]  # type: ignore[no-any-return]


def parentage(healthy: list[dict[str, Any]]) -> str:
    """Under what the span of each stream stands, in a word."""
    return ", ".join(sorted({parent for each in healthy for parent in each["parents"]}))


def complaints(neighbour: Neighbour, runs: dict[str, dict[str, Any]]) -> list[str]:  # noqa: C901 -- a list of cases
    """What is worse with Streamwatch than without it, and what of Streamwatch's own is missing."""
    found = []
    without = runs["without"]
    for order, run in runs.items():
        if order == "without":
            continue
        if any(each["ours"] != 1 or not each["one_trace"] for each in run["healthy"]):
            found.append(f"{order}: not one span of Streamwatch in the application's trace")
        if [each["theirs"] for each in run["healthy"]] != [each["theirs"] for each in without["healthy"]]:
            found.append(f"{order}: not as many spans of its own")
        if any("unknown" in each["parents"] or "none" in each["parents"] for each in run["healthy"]):
            found.append(f"{order}: a parent that nobody knows")
        for stream, before in zip(run["streams"], without["streams"], strict=True):
            if order != "entry_points" and crashed(stream) and not crashed(before):
                found.append(f"{order}: raises on {stream['stream']}: {stream['raised']}")
            if lost(stream, before):
                found.append(f"{order}: {stream['stream']} was right, and is {stream['stored']}")
            if before["text_is_right"] and not stream["text_is_right"]:
                found.append(f"{order}: {stream['stream']}: the application has another text")
        for each in run.get("without_ours", ()):
            if each["ours"] or not each["theirs"] or not each["text_is_right"]:
                found.append(f"{order}: Streamwatch off: {each}")
        for each in run.get("without_theirs", ()):
            if each["ours"] != 1 or not each["text_is_right"]:
                found.append(f"{order}: it is off: {each}")
    return found


def count(runs: dict[str, Any], order: str, group: str | None, wanted: Any) -> int:
    """In how many streams of a group, of both modes, something is so."""
    return sum(wanted(stream) for stream in runs[order]["streams"] if group in (None, stream["group"]))


def summary(all_runs: dict[str, dict[str, Any]], versions: dict[str, str]) -> str:
    """One row for each neighbour."""
    head = ("| instrumentation | openai | raises in the application | text is wrong | stores a wrong answer"
            " | stores part or none | Streamwatch's span is under | it can be switched off |")  # fmt: skip
    lines = [head, "|---|---|--:|--:|--:|--:|---|---|"]
    for name, runs in all_runs.items():
        cells = []
        for wanted in (
            crashed,
            lambda one: not one["text_is_right"] and not one["raised_plain"],
            lambda one: one["stored"] == "wrong",
            lambda one: one["stored"] in ("part", "none"),
        ):
            before, after = (count(runs, order, None, wanted) for order in ("without", "last"))
            cells.append(f"{before} → {after}")
        off = "no" if "without_theirs" not in runs["last"] else "yes"
        if off == "yes" and any(each["theirs"] for each in runs["last"]["without_theirs"]):
            off = "no: it goes on"
        shown = f"{package(NEIGHBOURS[name])} {versions[name]}"
        parents = {parentage(run["healthy"]) for order, run in runs.items() if order != "without"}
        row = (shown, runs["last"]["sdk"], *cells, " or ".join(sorted(parents)), off)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def cell(stream: dict[str, Any]) -> str:
    """What became of one stream."""
    if crashed(stream):
        return f"**raises** {stream['raised'].partition(':')[0]}"
    return {"-": "reads on", "right": "right", "none": "no answer"}.get(stream["stored"], f"**{stream['stored']}**")


def details(all_runs: dict[str, dict[str, Any]]) -> str:
    """Each stream on which at least one neighbour does not do well, read synchronously, before and after."""
    names = list(all_runs)
    lines = ["| stream | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    streams = [one["stream"] for one in all_runs[names[0]]["without"]["streams"] if one["mode"] == "sync"]
    for stream in streams:
        cells = []
        for runs in all_runs.values():
            before, after = (
                next(cell(one) for one in runs[order]["streams"] if (one["stream"], one["mode"]) == (stream, "sync"))
                for order in ("without", "last")
            )
            cells.append(before if before == after else f"{before} → {after}")
        lines.append(f"| {stream} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Build, run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", nargs="+", choices=list(NEIGHBOURS), default=list(NEIGHBOURS))
    parser.add_argument("--venvs", type=Path, default=CHECKOUT / ".venv-neighbours", help="where the environments are")
    parser.add_argument("--upgrade", action="store_true", help="bring the environments to the newest releases")
    arguments = parser.parse_args()
    chosen = [NEIGHBOURS[name] for name in arguments.neighbours]
    pythons = {each.name: build(each, arguments.venvs.absolute(), upgrade=arguments.upgrade) for each in chosen}
    jobs = [
        (each, order)
        for each in chosen
        for order in ("without", "first", "last", "entry_points")
        if order != "entry_points" or each.loads_itself
    ]
    with ThreadPoolExecutor(PROCESSES) as pool:
        told = list(pool.map(lambda job: drive(job[0], pythons[job[0].name], job[1]), jobs))
    all_runs: dict[str, dict[str, Any]] = {each.name: {} for each in chosen}
    for (each, order), run in zip(jobs, told, strict=True):
        all_runs[each.name][order] = run
    versions = {each.name: version(pythons[each.name], package(each)) for each in chosen}
    print(f"{summary(all_runs, versions)}\n\n{details(all_runs)}")
    found = [f"{each.name}: {one}" for each in chosen for one in complaints(each, all_runs[each.name])]
    print("\n".join(found) or "Nothing is worse with Streamwatch than without it.", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
