"""The dashboards: fresh, whole, lint-free, legible, and asking only for what Streamwatch exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grafana_foundation_sdk", reason="the group `dashboards` is not installed")

with warnings.catch_warnings():  # the SDK prefers the schema that only Grafana 12 and later import
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    from dashboards import __main__ as generator
    from dashboards import names, panels, promql
from dashboards.records import OF_JOBS, total_of
from dashboards.records import STREAMS as STREAM_TOTALS
from streamwatch.cli.dashboards import filling
from streamwatch.core.kinds import KINDS
from streamwatch.core.known_issues import ISSUES
from streamwatch.core.settings import Settings
from streamwatch.core.vocabulary import Condition, Outcome, Severity, Verdict

ROOT = Path(__file__).parents[2]
#: The templates: what is written for a site whose addresses are known has the same links.
BOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in filling.templates("json")}

#: What an empty panel may say.
NOTHING = {"no streams yet", "nothing found yet", "no alert", "no errors"}

board = pytest.mark.parametrize("name", BOARDS)


def drawn(name: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, but for the headings of rows."""
    return [panel for panel in BOARDS[name]["panels"] if panel["type"] != "row"]


def queries(name: str) -> Iterator[tuple[str, str]]:
    """The title of each panel or annotation of a dashboard, and what it asks."""
    for panel in drawn(name):
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in BOARDS[name]["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


# --- generated


def test_the_files_are_fresh(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is what the tables give; `--check` says so."""
    assert (0, "") == (generator.main(["--check"]), capsys.readouterr().out), "make dashboards"
    written = {*generator.FOLDER.glob("*.json"), *filling.templates("json"), filling.TEMPLATES / "streamwatch.yaml"}
    assert written == set(generator.generated())


@pytest.mark.slow
def test_a_stale_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--check` fails and writes nothing; without it, the file is written once."""
    monkeypatch.setattr(generator, "FOLDER", tmp_path / "json")
    monkeypatch.setattr(filling, "TEMPLATES", tmp_path / "templates")

    assert 1 == generator.main(["--check"])
    assert "streamwatch-overview.json is not fresh: make dashboards" in capsys.readouterr().out
    assert not (tmp_path / "json").exists()
    assert 0 == generator.main([])
    assert 2 * len(BOARDS) + 1 == len(capsys.readouterr().out.splitlines())
    assert (0, "") == (generator.main([]), capsys.readouterr().out)


@board
def test_nothing_in_it_is_unknown_to_grafana(name: str) -> None:
    """Read with Grafana's own types and written again, no key is lost: none is misspelled."""
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(BOARDS[name])))

    assert [] == list(lost(BOARDS[name], again))


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The keys of `before` that `after` lacks."""
    if isinstance(before, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{path}.{key}"
            else:
                yield from lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{place}]")


def test_a_misspelled_key_is_found() -> None:
    """The check above can fail."""
    register_default_plugins()
    wrong = json.loads(json.dumps(BOARDS["streamwatch-overview"]))
    wrong["panels"][0]["fieldConfig"]["defaults"]["unitt"] = "s"

    assert [".panels[0].fieldConfig.defaults.unitt"] == list(
        lost(wrong, json.loads(JSONEncoder().encode(Dashboard.from_json(wrong))))
    )


# --- what every dashboard keeps to


@board
def test_names_and_defaults(name: str) -> None:
    """A stable uid, a title with the product's name, read-only, one hour, a shared crosshair."""
    found = BOARDS[name]

    assert name == found["uid"]
    assert re.fullmatch(r"Streamwatch / [A-Z][a-z ]+", found["title"])
    assert (False, "30s", "now-1h", "browser", 1, ["streamwatch"]) == (
        found["editable"],
        found["refresh"],
        found["time"]["from"],
        found["timezone"],
        found["graphTooltip"],
        found["tags"],
    )
    assert len(found["panels"]) == len({panel["id"] for panel in found["panels"]})


def variables(name: str) -> list[str]:
    """The variables of a dashboard; records know no instance, so that only one of processes can choose it."""
    return [variable for variable in names.VARIABLES if variable != "instance" or name == "streamwatch-agent"]


@board
def test_variables(name: str) -> None:
    """One data source for all; every other variable is read from Prometheus again when the range changes."""
    source, *others = BOARDS[name]["templating"]["list"]

    assert ("datasource", "datasource", "Data source", "prometheus") == (
        source["type"],
        source["name"],
        source["label"],
        source["query"],
    )
    asked = [variable for variable in others if variable["type"] == "query"]
    assert variables(name) == [variable["name"] for variable in asked]
    for variable in asked:
        assert (2, True, True, "${datasource}") == (
            variable["refresh"],
            variable["multi"],
            variable["includeAll"],
            variable["datasource"]["uid"],
        )
        # A stream without the label must not be hidden by "All"; every series has a job and an instance.
        assert (".+" if variable["name"] in ("job", "instance") else ".*") == variable["allValue"]


@board
def test_every_panel_has_what_a_tired_person_needs(name: str) -> None:
    """A title, a description with something to do, a unit, the runbook, a word for nothing, one data source."""
    for panel in drawn(name):
        assert panel["title"]
        # Letters of 9 pixels, at a width of the whole of 1280: what is longer ends in dots.
        assert 9 * len(panel["title"]) <= 1280 / 24 * panel["gridPos"]["w"] - 40
        assert panel["description"].endswith((".", "`"))
        assert panels.DATA_SOURCE.uid == panel["datasource"]["uid"]
        assert next(link["url"] for link in panel["links"]).startswith(panels.RUNBOOKS)  # type: ignore[attr-defined]
        assert panel["fieldConfig"]["defaults"]["noValue"] in NOTHING
        if panel["type"] != "text":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["targets"]
            assert {panels.DATA_SOURCE.uid} == {target["datasource"]["uid"] for target in panel["targets"]}


@board
def test_the_columns_of_a_table_have_titles_of_their_own(name: str) -> None:
    """Two columns of one title are drawn as one, and a reader takes the one for the other."""
    for panel in drawn(name):
        for change in panel.get("transformations", ()):
            titles = list(change["options"].get("renameByName", {}).values())
            assert sorted(set(titles)) == sorted(titles), panel["title"]


@board
def test_the_panels_fill_the_grid(name: str) -> None:
    """No two overlap, and no line of panels has a hole."""
    cells: dict[tuple[int, int], str] = {}
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        width = 24 if panel["type"] == "row" else at["w"]
        for x in range(at.get("x", 0), at.get("x", 0) + width):
            for y in range(at.get("y", 0), at.get("y", 0) + at.get("h", 1)):
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]
    lines = {y for _, y in cells}
    assert {(x, y) for x in range(24) for y in lines} == set(cells)


@board
def test_the_first_row_is_the_answer(name: str) -> None:
    """Numbers or tables, before the first heading."""
    first = BOARDS[name]["panels"][0]

    assert first["type"] in ("stat", "table")
    assert (0, 0) == (first["gridPos"].get("x", 0), first["gridPos"].get("y", 0))


# --- the queries


def strangers(expression: str) -> set[str]:
    """The metrics and labels in an expression that nobody exports."""
    known = names.known()
    used = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression)
    found = {metric for metric, _ in used} - known.keys()
    for metric, matchers in used:
        found |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers)) - known.get(metric, set())
    made = set(re.findall(r'label_replace\(.*?"(\w+)",', expression, re.DOTALL))
    of_any = made.union(*(known.get(metric, set()) for metric, _ in used))
    listed = re.findall(r"\b(?:by|on|group_left|group_right|without) \(([\w, ]*)\)", expression)
    return found | {label.strip() for group in listed for label in group.split(",")} - {""} - of_any


@board
def test_queries_name_only_what_is_exported(name: str) -> None:
    """Every metric is a row of the table or known of Prometheus, and has each label it is asked for."""
    assert {} == {where: found for where, expression in queries(name) if (found := strangers(expression))}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('sum by (job) (rate(streamwatch_streams_total{job="a"}[5m]))', set()),
        ('sum by (model) (rate(streamwatch_stream_total{job="a"}[5m]))', {"streamwatch_stream_total", "job", "model"}),
        ('streamwatch_streams_total{streamwatch_anomaly="a"}', {"streamwatch_anomaly"}),
        (
            'streamwatch_start_time_seconds{job="a"} * on (le) group_left (version) streamwatch_build_info{job="a"}',
            {"le"},
        ),
    ],
)
def test_what_nobody_exports_is_found(expression: str, found: set[str]) -> None:
    """The check above can fail: a metric, a label, a label of another metric, a label that is grouped by."""
    assert found == strangers(expression)


#: What an expression consists of beside metrics, labels and numbers.
_WORDS = {
    *("by", "on", "or", "and", "unless", "bool", "offset", "group_left", "group_right", "group", "sum", "max", "min"),
    *("count", "topk", "sort_desc", "rate", "increase", "last_over_time", "present_over_time", "histogram_quantile"),
    *("label_replace", "sqrt", "clamp", "vector", "end", "time", "s", "m", "h", "y"),
}


@board
def test_no_metric_is_asked_for_without_its_filters(name: str) -> None:
    """A bare name would show all jobs, whatever is chosen above."""
    for where, expression in queries(name):
        rest = re.sub(r"[\w:]+\{[^}]*\}|\$\w+|\"[^\"]*\"", "", expression)
        rest = re.sub(r"\b(by|on|group_left|group_right) \([\w, ]*\)", "", rest)
        assert set() == set(re.findall(r"[a-zA-Z_]\w*", re.sub(r"\[\w*\]", "", rest))) - _WORDS, where


@board
def test_queries_are_filtered_by_the_variables(name: str) -> None:
    """By job everywhere but for alerts; by model, snapshot, SDK and server wherever a metric has them."""
    known, chosen = names.known(), variables(name)
    for where, expression in queries(name):
        for metric, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
            for variable in chosen:
                label = names.VARIABLES[variable]
                if metric != "ALERTS" and variable != "kind" and label in known[metric]:
                    assert f'{label}=~"${variable}"' in matchers, f"{where}: {metric}"


@board
def test_dashboards_are_drawn_from_the_records(name: str) -> None:
    """No counter and no bucket of a process is read, but for the dots, which take no sample; nor is any range."""
    for where, expression in queries(name):
        read = re.sub(r"\w+_bucket\{[^}]*\} offset 20y", "", expression)
        assert not re.search(r"(?<![\w:])streamwatch_\w+_(?:total|bucket|count|sum)\{", read), where
        assert set() == set(re.findall(r"\[([^]]*)\]", read)) - {"10s:10s"}, where


def test_the_real_linter_has_nothing_to_say() -> None:
    """Grafana's dashboard-linter, strict, with the exclusions and reasons in `.lint`."""
    linter = shutil.which("dashboard-linter")
    if linter is None:
        pytest.skip("dashboard-linter is not on PATH: build it from github.com/grafana/dashboard-linter")
    for name in BOARDS:
        path = generator.FOLDER / f"{name}.json"
        said = subprocess.run([linter, "lint", "--strict", str(path)], capture_output=True, text=True, check=False)
        assert 0 == said.returncode, said.stdout + said.stderr


# --- the arithmetic, by Prometheus' own hand


def evaluated(tmp_path: Path, expression: str, value: float, series: dict[str, str] | None = None) -> None:
    """Assert what promtool makes of an expression ten minutes after the first sample."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH")
    expression = f"round({expression.replace('$__range', '5m')}, 0.0001)"
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in (series or {}).items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": value}]}
        ],
    }
    path = tmp_path / "test.yml"  # JSON is YAML
    path.write_text(json.dumps({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}), "utf-8")
    said = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert 0 == said.returncode, said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1)],
)
def test_the_interval_is_wilsons(tmp_path: Path, part: int, whole: int, low: float, high: float) -> None:
    """Figures of any textbook; ten streams give a wide one, and it never leaves 0 to 1."""
    evaluated(tmp_path, promql.wilson(f"vector({part})", f"vector({whole})", "-"), low)
    evaluated(tmp_path, promql.wilson(f"vector({part})", f"vector({whole})", "+"), high)


def test_no_part_is_a_share_of_nothing(tmp_path: Path) -> None:
    """Where no series has the property, the share is 0, and the interval that of 0 of ten."""
    nothing, ten = "(vector(1) > 2)", "vector(10)"
    evaluated(tmp_path, promql.ratio(nothing, ten), 0)
    evaluated(tmp_path, promql.wilson(nothing, ten, "-"), 0)
    evaluated(tmp_path, promql.wilson(nothing, ten, "+"), 0.2775)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("part", "whole", "verdict"), [(10, 10, 0), (40, 80, -1), (60, 80, 0), (66, 80, 0), (70, 80, 1), (99, 100, 1)]
)
def test_a_difference_is_said_only_when_it_is_shown(tmp_path: Path, part: int, whole: int, verdict: int) -> None:
    """1 exactly where the interval lies above the published share, -1 where it lies below, and less between."""
    published = 0.75
    low = promql.wilson(f"vector({part})", f"vector({whole})", "-")
    high = promql.wilson(f"vector({part})", f"vector({whole})", "+")
    by_interval = f"(({low}) > bool {published}) - (({high}) < bool {published})"
    found = promql.distance(f"vector({part})", f"vector({whole})", f"vector({published})", "")

    evaluated(tmp_path, by_interval, verdict)
    evaluated(tmp_path, f"(({found}) == bool 1) - (({found}) == bool -1)", verdict)


@pytest.mark.slow
def test_what_a_total_grew_by_is_the_difference_of_two_values(tmp_path: Path) -> None:
    """A new one grew by all it has, one that began anew by what it has now; and as much in an earlier window."""
    total = total_of(STREAM_TOTALS)
    ends = {
        f'{total}{{a="old"}}': "100+1x10",
        f'{total}{{a="born"}}': "_ _ _ _ _ _ _ _ 3 3 3",
        f'{total}{{a="anew"}}': "50 50 50 50 50 50 50 0 2 2 2",
        f'{total}{{a="quiet"}}': "9 9 9 9 9 9 9 9 9 9 9",
    }

    evaluated(tmp_path, promql.grown(f'{total}{{a!=""}}', over="5m"), 5 + 3 + 2, ends)
    evaluated(tmp_path, promql.grown(f'{total}{{a="old"}}', over="2m", offset="3m"), 2, ends)
    evaluated(tmp_path, promql.grown(f'{total}{{a="quiet"}}', over="5m"), 0, ends)


CHOSEN = {"job": ".+", "instance": ".+", "__interval": "5m"}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("model", "streams"), [(".*", 30), ("a", 10), ("(a|b)", 15), ("nobody", None)])
def test_a_graph_is_of_services_until_a_model_is_chosen(tmp_path: Path, model: str, streams: int | None) -> None:
    """It reads the sums of services, or what models have, and never adds one to the other."""
    values = CHOSEN | {"model": model}
    expression = re.sub(
        r"\$\{?([a-z_]\w*)\}?", lambda match: values.get(match[1], ".*"), promql.over_time(STREAM_TOTALS)
    )
    services = total_of(OF_JOBS[STREAM_TOTALS][0])
    ends = {
        f'{services}{{job="shop"}}': "0+6x10",
        f'{total_of(STREAM_TOTALS)}{{job="shop",gen_ai_request_model="a"}}': "0+2x10",
        f'{total_of(STREAM_TOTALS)}{{job="shop",gen_ai_request_model="b"}}': "0+1x10",
    }

    evaluated(tmp_path, f"{expression} or vector(-1)", -1 if streams is None else streams, ends)


# --- words, links, colors


def test_everything_published_is_said() -> None:
    """Each known issue, each workaround that is only measured, and each dead end: there, or in the index of the runbooks."""
    index = (ROOT / "docs" / "runbooks" / "README.md").read_text("utf-8")
    board = json.dumps(BOARDS["streamwatch-fix-rates"], ensure_ascii=False)
    text = (board + index).lower()
    strategies = {kind.strategy.value for kind in KINDS.values()}
    for issue in ISSUES:
        assert issue.name in text
        assert issue.error.lower() in text
        for name, ratio in (*issue.workarounds, *issue.dead_ends):
            if name not in strategies:
                assert re.search(rf"{re.escape(name.lower())}[^\n]*? {ratio:.0%}", text)


@board
def test_settings_that_are_named_exist(name: str) -> None:
    """A variable that a description tells to set is one that Streamwatch reads."""
    settings = {f"STREAMWATCH_{field.name.upper()}" for field in fields(Settings)}

    assert set(re.findall(r"STREAMWATCH_[A-Z_]+", json.dumps(BOARDS[name]))) <= settings


@board
def test_runbooks_exist(name: str) -> None:
    """Every page that is linked is in the repository; a link with a variable leads to a page of each kind."""
    folder = ROOT / "docs" / "runbooks"
    if not folder.is_dir():
        pytest.skip("there are no runbooks in this checkout")
    pages = set(re.findall(re.escape(panels.RUNBOOKS) + rf"/([^\"]+?){panels.PAGE}", json.dumps(BOARDS[name])))  # type: ignore[attr-defined]
    of_kinds = {f"kinds/{kind}" for kind in KINDS} if any("kinds/${" in page for page in pages) else set()

    wanted = {page for page in pages if "$" not in page} | of_kinds
    assert set() == {page for page in wanted if not (folder / f"{page}.md").is_file()}


def luminance(color: str) -> float:
    """How bright a color is, as WCAG defines it."""
    parts = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in rgb(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def rgb(color: str) -> list[float]:
    """Red, green and blue, 0 to 1."""
    return [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]


#: Panels of Grafana's light and dark theme.
@pytest.mark.parametrize("background", ["#ffffff", "#181b1f"])
def test_colors_are_legible(background: str) -> None:
    """A contrast of 3 : 1 at least, as WCAG asks of what is no text, and of large text."""
    for color in set(panels.COLORS.values()) | {panels.GRAY, panels.AMBER}:
        light, dark = sorted((luminance(color), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, color


#: How people without red or green cones see (Machado, Oliveira and Fernandes 2009, severity 1).
_SEEN = {
    "as is": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


@pytest.mark.parametrize("eyes", _SEEN)
@pytest.mark.parametrize("group", [Condition, Severity, Verdict, Outcome])
def test_colors_of_a_group_stay_apart(group: Any, eyes: str) -> None:
    """Also for the one man in twelve who sees two colors only; the legend names them besides."""

    def seen(color: str) -> list[float]:
        return [sum(part * channel for part, channel in zip(row, rgb(color), strict=True)) for row in _SEEN[eyes]]

    for one, other in combinations(group, 2):
        a, b = (seen(panels.COLORS[word.value]) for word in (one, other))
        assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 0.2, (one, other)
