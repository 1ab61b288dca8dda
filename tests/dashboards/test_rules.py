"""The Prometheus rules and the runbooks: fresh, valid, about metrics that exist, and tested one by one."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

from apps import pipeline
from dashboards import alerts, looks, names, rules, runbooks
from dashboards.records import Options, Record
from helpers.documents import document
from streamwatch.cli.dashboards import filling
from streamwatch.cli.kinds.explanations import EXPLANATIONS
from streamwatch.core.kinds import KINDS, STREAM_STALLED
from streamwatch.core.stream_cases import DEFINITIONS, TOOL_CALLS
from streamwatch.core.vocabulary import Condition, Outcome, Severity, Strategy, StreamState, Verdict
from streamwatch.export.instruments import COMMON, INTERNAL_ERRORS, PUBLISHED, STARTED

ROOT = Path(__file__).parents[2]
FILES = rules.files(Options())
ALL = [rule for groups in FILES.values() for group in groups for rule in group.rules]
ALERTS = [rule for rule in ALL if isinstance(rule, alerts.Alert)]
NAMES = sorted({alert.name for alert in ALERTS})
TESTS = sorted((ROOT / "tests" / "rules").glob("*.yml"))
PAGES = sorted((ROOT / "docs" / "runbooks").rglob("*.md"))

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")


def promtool(*arguments: str) -> None:
    """Run it; what it complains of is the failure."""
    ran = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    assert 0 == ran.returncode, ran.stdout + ran.stderr


# --- what is committed


def test_rule_files_are_fresh() -> None:
    """`python -m dashboards.rules` would write what is there."""
    written = {path.name: path.read_text("utf-8") for path in rules.FOLDER.iterdir()}
    assert rules.filled(Options()) == written, "make dashboards"
    templates = {path.name: path.read_text("utf-8") for path in filling.templates("yml")}
    assert rules.render() == templates, "make dashboards"


def test_runbooks_are_fresh() -> None:
    """Pages of kinds, and the rules in the pages of alerts, are those of the tables."""
    kinds = {path.name: path.read_text("utf-8") for path in (runbooks.FOLDER / "kinds").iterdir()}
    pages = {f"{name}.md": page(name) for name in NAMES}

    assert runbooks.render() == kinds, "make dashboards"
    assert runbooks.filled() == pages, "make dashboards"
    assert runbooks.index() == page("README"), "make dashboards"


def parts(text: str) -> list[str]:
    """What a page says below its headings, without its own name."""
    return [one.strip() for one in re.split("(?m)^## .*$", text)[1:]]


def test_no_section_stands_on_page_after_page() -> None:
    """What is true of all kinds is said once, in the index; five at most share a strategy and say so."""
    seen: dict[str, list[str]] = {}
    for kind in KINDS:
        for part in parts(page(f"kinds/{kind}")):
            seen.setdefault(part.replace(kind, "KIND"), []).append(kind)
    queries = {part for part in seen if part.startswith("```promql")}
    assert {} == {part: kinds for part, kinds in seen.items() if len(kinds) > 5 and part not in queries}


def test_what_helps_with_many_kinds_is_said_in_the_index() -> None:
    """It is on none of their pages."""
    assert runbooks.GENERAL
    assert all(f"- {advice}" in page("README") for advice in runbooks.GENERAL)


FIRST_LOOKS = {alert.name: alert for alert in ALERTS}


@pytest.mark.parametrize("name", FIRST_LOOKS)
def test_first_looks_are_queries_on_the_records_filtered_as_the_alert_is(name: str) -> None:
    """No raw counter, no rate that misses births; each label of the alert that a record has, unless it is compared."""
    alert, (_, _, text) = FIRST_LOOKS[name], page(name).partition("<!-- /rule -->")
    recorded = {each.name for each in ALL if isinstance(each, Record)}
    blocks = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        assert not re.search(r"\b(increase|rate|sum_over_time)\(|(?<![\w:])streamwatch_\w+_(total|bucket)\{", block)
        assert set(re.findall(r"\w+:\w+(?::\w+)*", block)) <= recorded
        assert block.count('job="JOB"') == len(re.findall(r"[\w:]+\{", block))
    for label in alert.labels:
        assert f'{label}="{looks.PLACEHOLDERS[label]}"' in text


def page(name: str) -> str:
    """A page of the runbooks; nothing where it is not there."""
    path = runbooks.FOLDER / f"{name}.md"
    return path.read_text("utf-8") if path.exists() else ""


def lacks(alert: alerts.Alert) -> list[str]:
    """What there is still to do for an alert, in order."""
    row = rf"\[{alert.name}\]\({alert.name}\.md\) \| [a-z, ]*{alert.severity}"
    steps = {
        f"its page, docs/runbooks/{alert.name}.md, with `<!-- rule -->` and `<!-- /rule -->` in it": "<!-- rule -->"
        in page(alert.name),
        "its row in docs/runbooks/README.md": re.search(row, page("README")) is not None,
        f"its test, tests/rules/{alert.name}.yml": alert.name in {path.stem for path in TESTS},
        "the rule files and the rule in its page: `make dashboards`": f"severity **{alert.severity}**"
        in page(alert.name)
        and alert.name in (rules.FOLDER / "streamwatch-alerts.yml").read_text("utf-8"),
        "the manifests: `python deploy/kubernetes/generate.py`": alert.name
        in (ROOT / "deploy/kubernetes/base/rules/streamwatch-alerts.yml").read_text("utf-8"),
    }
    return [step for step, is_done in steps.items() if not is_done]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name}-{alert.severity}")
def test_an_alert_is_whole(alert: alerts.Alert) -> None:
    """A page, a row of the index, a test, and the files that are made of it."""
    left = lacks(alert)

    assert not left, f"{alert.name} still lacks:\n" + "\n".join(f"{n}. {step}" for n, step in enumerate(left, 1))


def test_what_an_alert_lacks_is_said() -> None:
    """One that is a function and nothing else lacks all of it."""
    assert len(lacks(replace(ALERTS[0], name="StreamwatchUpsideDown"))) == 5


def test_every_alert_and_every_kind_has_its_page_and_no_page_is_left_over() -> None:
    """A page for each, with the rule in it, and all in the index."""
    assert {path.name for path in runbooks.FOLDER.glob("*.md")} == {"README.md", *(f"{name}.md" for name in NAMES)}
    assert set(EXPLANATIONS) == set(KINDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or folder."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        file, _, heading = target.partition("#")
        assert (page.parent / file).exists(), target
        if heading:
            titles = re.findall("(?m)^#+ (.*)$", (page.parent / file).read_text("utf-8"))
            assert heading in {title.lower().replace(" ", "-") for title in titles}


# --- what the rules say


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name}-{alert.severity}")
def test_an_alert_tells_a_person_what_and_where(alert: alerts.Alert) -> None:
    """A severity, one fixed sentence, a description with its labels, a runbook that exists, a dashboard."""
    rule = rules._rule(alert, Options())
    assert {"severity": alert.severity} == rule["labels"]
    assert alert.severity in ("critical", "warning", "info")
    said = rule["annotations"]
    assert said["summary"].endswith(".")
    assert "{{" not in said["summary"]
    assert "{{ $labels.job }}" in said["description"]
    assert all("{{ $labels." + label in said["description"] for label in alert.labels)
    runbook = said["runbook_url"].removeprefix(f"{filling.RUNBOOKS}/").removesuffix(filling.PAGE)
    assert (runbooks.FOLDER / f"{runbook}.md").is_file()
    boards = {"streamwatch-overview", "streamwatch-fix-rates", "streamwatch-anatomy", "streamwatch-agent"}
    boards.add("streamwatch-waiting")
    assert said["dashboard_url"].removeprefix(f"{filling.GRAFANA}/d/").partition("?")[0] in boards


def test_only_what_users_lose_is_critical() -> None:
    """The oddities of somebody else's API wake nobody."""
    critical = {alert.name for alert in ALERTS if alert.severity == "critical"}
    assert {"StreamwatchErrorBudgetBurn", "StreamwatchTruncatedStreams"} == critical


def test_hazards_and_dialects_make_no_alert() -> None:
    """They are in healthy streams: no alert can come of a kind that is not a fault, but for silence beyond the usual."""
    for kind in KINDS.values():
        assert bool(runbooks.alerts_of(kind)) is (kind.severity is Severity.FAULT or kind is STREAM_STALLED)
    assert f'streamwatch_issue="{TOOL_CALLS.name}"' in str(rules._rule(ALERTS[4], Options()))


#: What each instrument is called where it is read: of a histogram the buckets.
INSTRUMENTS = {
    names.metric(row) + ("_bucket" if names.is_histogram(row) else ""): row for row in names.INSTRUMENTS.values()
}
VALUES = {
    "streamwatch_verdict": {verdict.value for verdict in Verdict},
    "streamwatch_condition": {condition.value for condition in Condition},
    "streamwatch_outcome": {outcome.value for outcome in Outcome},
    "streamwatch_severity": {severity.value for severity in Severity},
    "streamwatch_strategy": {"any", "a delta accumulator", *(strategy.value for strategy in Strategy)},
    "streamwatch_applied": {"true", "false"},
    "streamwatch_anomaly": set(KINDS),
    "streamwatch_issue": set(DEFINITIONS),
    "streamwatch_state": {state.value for state in StreamState},
}


def selectors(expression: str) -> list[tuple[str, str, str, str]]:
    """Every (metric, label, operator, value) in an expression."""
    found = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression)
    return [
        (metric, *matcher)
        for metric, matchers in found
        for matcher in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers)
    ]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_a_rule_reads_metrics_labels_and_values_that_exist(rule: Any) -> None:
    """Everything named is exported by telemetry, or recorded by another rule."""
    recorded = {each.name for each in ALL if isinstance(each, Record)}
    text = re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)|\{[^}]*\}', "", rule.expr)
    raw = set(re.findall(r"(?<![\w:])streamwatch_\w+", text))
    assert raw <= set(INSTRUMENTS)
    levels = set(re.findall(r"\w+:\w+:\w+", text))
    assert levels <= recorded
    for _, label, operator, value in selectors(rule.expr):
        values = value.split("|") if "~" in operator else [value]
        assert set(values) <= VALUES[label]


@pytest.mark.parametrize(
    "rule", [rule for rule in ALL if re.search(r"_(total|bucket)\[", rule.expr)], ids=lambda rule: rule.name
)
def test_a_counter_is_asked_for_labels_that_it_has(rule: Record) -> None:
    """What the first records keep of a counter, the counter has."""
    (metric,) = {name for name in re.findall(r"streamwatch_\w+", rule.expr) if name in INSTRUMENTS}
    row = INSTRUMENTS[metric]
    common = () if row in (PUBLISHED, STARTED, INTERNAL_ERRORS) else COMMON
    has = {"job", "le"} if names.is_histogram(row) else {"job"}
    has |= {attribute.replace(".", "_") for attribute in (*common, *row.attributes)}
    (asked,) = re.findall(r"by \(([^)]*)\)", rule.expr)
    assert set(asked.split(", ")) <= has


@pytest.mark.slow
def test_labels_that_tell_services_apart_and_addresses_can_be_chosen() -> None:
    """They reach every rule; without an address there is no link."""
    options = Options(keep=("namespace", "service"))
    text = "".join(
        rules.filled(options, filling.Site(repository="https://git.test/sw", grafana="https://graf.test")).values()
    )
    assert "https://git.test/sw/blob/main/docs/runbooks/StreamwatchAbsent.md" in text
    assert "https://graf.test/d/streamwatch-overview" in text
    assert not re.search("_url|<runbooks>|<grafana>", "".join(rules.filled(options).values()))
    assert not re.search(r"\bjob\b(?!_|:)", text)
    assert all(by.startswith("namespace, service") for by in re.findall(r"(?:by|on) \(([^)]*)\)", text))


@pytest.mark.slow
def test_every_duration_can_be_divided() -> None:
    """The tests' own option leaves no window as long as it was, and no threshold changed."""
    slow, fast = ("".join(rules.render(Options(faster=faster)).values()) for faster in (1, 60))
    durations = r"(?:\[|offset |interval: |for: )(\d+)(ms|[smhd])"
    seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    lengths = [[int(number) * seconds[unit] for number, unit in re.findall(durations, text)] for text in (slow, fast)]
    assert [length / 60 for length in lengths[0]] == lengths[1]
    assert re.findall(r">=? [\d.]+$", slow, re.MULTILINE) == re.findall(r">=? [\d.]+$", fast, re.MULTILINE)


# --- what promtool says


@needs_promtool
def test_promtool_finds_nothing_to_complain_of() -> None:
    """`promtool check rules --lint=all`, for the committed files."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, sorted(rules.FOLDER.iterdir())))


def test_pint_finds_nothing_to_complain_of() -> None:
    """Cloudflare's linter, over what can be judged without a Prometheus."""
    programs = sorted(pipeline.tools().glob("pint-*/pint"))
    if not programs:
        pytest.skip("pint is not built: tests/apps/build_module.sh says how")
    command = [programs[-1], "--offline", "--no-color", "lint", "--min-severity=info", str(rules.FOLDER)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)  # type: ignore[arg-type]
    assert (0, "") == (ran.returncode, ran.stdout), ran.stdout + ran.stderr


@needs_promtool
def test_other_options_make_valid_rules_too(tmp_path: Path) -> None:
    """Other labels to keep, and windows of a second."""
    rules.write(tmp_path, rules.filled(Options(keep=("namespace", "service"), faster=60, objective=0.999)))
    promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, sorted(tmp_path.iterdir())))


@needs_promtool
def test_queries_in_runbooks_can_be_pasted(tmp_path: Path) -> None:
    """Every block of PromQL parses."""
    queries = {
        f"{page.stem}:query:{number}".replace(".", "_"): query
        for page in PAGES
        for number, query in enumerate(re.findall(r"```promql\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
    }
    document = {"groups": [{"name": "runbooks", "rules": [{"record": n, "expr": q} for n, q in queries.items()]}]}
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(document))
    assert len(queries) > len(KINDS)
    promtool("check", "rules", str(tmp_path / "queries.yml"))


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    """A case that fires, with all that is said; cases that must not: restarts, little traffic, no data at all."""
    assert NAMES == [path.stem for path in TESTS]
    for path in TESTS:
        cases = document(path.read_text("utf-8"))["tests"]
        told = [alert for case in cases for test in case.get("alert_rule_test", ()) for alert in test["exp_alerts"]]
        assert any(alert["exp_annotations"] for alert in told)
        asked = [[test["exp_samples"] for test in case.get("promql_expr_test", ())] for case in cases]
        silent = [case["name"] for case, samples in zip(cases, asked, strict=True) if samples and not any(samples)]
        assert len(silent) >= 2, path.stem
        assert any("restart" in case["name"] for case in cases), path.stem
        assert not cases[-1].get("input_series"), path.stem


@needs_promtool
@pytest.mark.e2e
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_must_and_only_then(path: Path) -> None:
    """`promtool test rules`: days of simulated minutes."""
    promtool("test", "rules", str(path))


def test_modules_and_functions_keep_their_budgets() -> None:
    """Modules under 500 lines, functions under 30."""
    for path in (ROOT / "dashboards" / f"{name}.py" for name in ("alerts", "records", "rules", "runbooks")):
        source = path.read_text("utf-8")
        assert len(source.splitlines()) < 500
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 30, f"{path.stem}.{node.name}"
