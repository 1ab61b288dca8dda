"""Reports for CI: JUnit's XML and SARIF 2.1.0, and the policy that says what fails a build.

Both are small enough for the standard library: what a server sent becomes text in them, never markup.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from streamwatch.version import __version__

_Function = TypeVar("_Function", bound=Callable[..., Any])

ERROR, WARNING, IGNORE = "error", "warning", "ignore"
LEVELS = (ERROR, WARNING, IGNORE)
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class CiFinding:
    """A finding: the rule, how bad it is here, where it is, and what to do about it."""

    rule: str
    level: str
    message: str
    remedy: str
    event: int | None = None  #: the number of the offending event, from 1
    line: int | None = None
    offset: int | None = None

    @property
    def place(self) -> str:
        """Where it is, in words; empty where it is of the whole stream."""
        parts = [("event", self.event), ("line", self.line), ("byte", self.offset)]
        return ", ".join(f"{name} {number}" for name, number in parts if number is not None)


@dataclass
class CiCase:
    """The subject of one test: `skipped` says why it could not be tested, `errored` why the test broke."""

    suite: str
    name: str
    artifact: str = ""
    findings: list[CiFinding] = field(default_factory=list)
    skipped: str = ""
    errored: str = ""


# --- the policy


def policy_option(names: Callable[[], Collection[str]]) -> Callable[[_Function], _Function]:
    """Return the option `--policy NAME=LEVEL` for rules of these names, which are asked for when it is given."""

    def read(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
        policy: dict[str, str] = {}
        known = names() if values else ()
        for value in values:
            name, _, level = (part.strip() for part in value.partition("="))
            if name not in known or level not in LEVELS:
                raise click.BadParameter(f"{value!r} is not NAME=LEVEL, with a level of {', '.join(LEVELS)}")
            policy[name] = level
        return policy

    return click.option(
        "--policy",
        multiple=True,
        callback=read,
        metavar="NAME=LEVEL",
        help="Let a kind or invariant fail the run (error), be reported (warning), or be left out (ignore).",
    )


def level_of(name: str, policy: Mapping[str, str], *, is_fault: bool) -> str:
    """Return how bad a rule is: as the policy says, or by what it is."""
    return policy.get(name, ERROR if is_fault else WARNING)


# --- both reports


def write(cases: Iterable[CiCase], junit_file: Path | None, sarif_file: Path | None) -> None:
    """Write the reports that are wanted; raises OSError."""
    if junit_file is None and sarif_file is None:
        return
    tested = list(cases)
    for path, form in ((junit_file, junit), (sarif_file, sarif)):
        if path is not None:
            path.write_text(form(tested), "utf-8")


# --- JUnit


def junit(cases: Iterable[CiCase]) -> str:
    """Return the report as JUnit's XML: a failure for each finding that fails the run."""
    suites: dict[str, list[CiCase]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ET.Element("testsuites", name="streamwatch")
    for name, found in suites.items():
        counts = {
            "name": _xml(name),
            "tests": str(len(found)),
            "failures": str(sum(any(one.level == ERROR for one in case.findings) for case in found)),
            "errors": str(sum(bool(case.errored) for case in found)),
            "skipped": str(sum(bool(case.skipped) for case in found)),
        }
        suite = ET.SubElement(root, "testsuite", counts)
        for case in found:
            _junit_case(ET.SubElement(suite, "testcase", classname=_xml(name), name=_xml(case.name)), case)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _junit_case(element: ET.Element, case: CiCase) -> None:
    if case.errored:
        ET.SubElement(element, "error", message=_xml(case.errored))
    if case.skipped:
        ET.SubElement(element, "skipped", message=_xml(case.skipped))
    failures = [one for one in case.findings if one.level == ERROR]
    if failures:
        message = failures[0].message + (f" ({len(failures)} findings)" if len(failures) > 1 else "")
        failure = ET.SubElement(element, "failure", type=failures[0].rule, message=_xml(message))
        failure.text = _xml("\n\n".join(map(_words, failures)))
    warnings = [one for one in case.findings if one.level == WARNING]
    if warnings:
        ET.SubElement(element, "system-out").text = _xml("\n\n".join(map(_words, warnings)))


def _words(finding: CiFinding) -> str:
    place = f"\nWhere: {finding.place}" if finding.place else ""
    return f"{finding.level}: {finding.rule}: {finding.message}{place}\nWhat to do: {finding.remedy}"


def _xml(text: str) -> str:
    """Return a text without what XML cannot hold."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "?" for letter in text)


# --- SARIF


def sarif(cases: Iterable[CiCase]) -> str:
    """Return the report as SARIF 2.1.0: a result for each finding, its rule with the remedy."""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for case in cases:
        for finding in case.findings:
            rules.setdefault(finding.rule, _sarif_rule(finding))
            results.append(_sarif_result(case, finding))
    driver = {"name": "streamwatch", "version": __version__, "rules": list(rules.values())}
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _sarif_rule(finding: CiFinding) -> dict[str, Any]:
    text = f"{finding.remedy}\n\nMore: streamwatch explain {finding.rule}"
    return {"id": finding.rule, "shortDescription": {"text": finding.message}, "help": {"text": text}}


def _sarif_result(case: CiCase, finding: CiFinding) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": case.artifact or case.suite}}
    region = {"startLine": finding.line, "byteOffset": finding.offset}
    region = {name: value for name, value in region.items() if value is not None}
    if region:
        physical["region"] = region
    where = f" ({finding.place})" if finding.place else ""
    return {
        "ruleId": finding.rule,
        "level": finding.level,
        "message": {"text": f"{finding.message}{where} {finding.remedy}"},
        "locations": [{"physicalLocation": physical}],
        "properties": {"stream": case.suite, **({"event": finding.event} if finding.event else {})},
    }
