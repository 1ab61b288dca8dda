"""The reference pages, written from the tables of the code: metrics, settings, kinds, errors, private names, the API.

python -m docs.site            writes docs/reference/*.md
python -m docs.site --check    only says whether they are fresh
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from dashboards.names import INSTRUMENTS, OF_PROCESS, is_counter, is_histogram, metric
from dashboards.runbooks import _SEVERITIES
from docs.site import errors, python_api, upstream
from docs.site.examples import OF_TIME, Example, difference, example
from streamwatch.core import settings, via
from streamwatch.core import vocabulary as words
from streamwatch.core.kinds import KINDS, AnomalyKind
from streamwatch.core.settings import Settings
from streamwatch.core.stream_cases import BY_KIND, DEFINITIONS
from streamwatch.core.vocabulary import Strategy
from streamwatch.export import close_codes, genai, telemetry
from streamwatch.export.instruments import COMMON, COMMON_OF_OPEN, Instrument

FOLDER = Path(__file__).parents[1] / "reference"
#: What the last search with the policy `all` has found.
ON_REQUEST = Path(__file__).parents[2] / "tests" / "harm" / "on_request.json"

#: What each attribute says; those of closed vocabularies are listed with their values below the tables.
ATTRIBUTES = {
    "error.type": "On a metric the class of the exception, `_other` for one of the application's own; on a span the"
    " verdict, where the stream ended badly.",
    "gen_ai.operation.name": "The API: `chat`, `responses`, `text_completion`, ... as OpenTelemetry names it.",
    "gen_ai.provider.name": "Whose API it is: [in which order](../guides/gateways.md#labels) address, client and answer"
    " decide.",
    "gen_ai.request.model": "The model that the application asked for.",
    "gen_ai.response.finish_reasons": "The finish reason of each choice; `other` for one that is not a known word.",
    "gen_ai.response.id": "The id of the completion or response, if it has the form of one.",
    "gen_ai.response.model": "The model that answered: the snapshot. Empty where no chunk came.",
    "gen_ai.response.time_to_first_chunk": "Seconds from the request to the first chunk.",
    "server.address": "The host that the client talks to.",
    "server.port": "Its port.",
    "streamwatch.added_requests": "How many requests were added to read the stream on, if any.",
    "streamwatch.anomalies": "How many anomalies were found in the stream.",
    "streamwatch.anomaly": "A kind of anomaly: [all kinds](kinds.md).",
    "streamwatch.applied": "Whether the repair reached the application; `false` where Streamwatch only observes.",
    "streamwatch.chunk": "What a chunk mainly carries.",
    "streamwatch.close_code": "The code with which the WebSocket was closed before the stream had come to its end; on a"
    " span the number itself.",
    "streamwatch.condition": "The condition in which the stream reached its reader.",
    "streamwatch.count": "How often the kind was found in the stream.",
    "streamwatch.events": "How many events came.",
    "streamwatch.events_per_read": "How many of them came in one read, on average: many where a proxy buffers.",
    "streamwatch.issue": "What a stream is a case of: see the table of issues; for published figures a known issue.",
    "streamwatch.longest_gap": "Seconds that the reader waited for the next chunk at most, once the first had come.",
    "streamwatch.openai.version": "The release of the OpenAI client.",
    "streamwatch.outcome": "How an anomaly ended; of a case, how the worst of its anomalies did.",
    "streamwatch.outcome.*": "How many anomalies of the kind ended so; one attribute for each outcome.",
    "streamwatch.reading_seconds": "Seconds that the reader was at work on what it got.",
    "streamwatch.reconnects": "How often the SDK had replaced the WebSocket connection before the stream began.",
    "streamwatch.reorder.max_delay": "Seconds that the event which waited longest was held.",
    "streamwatch.reorder.max_distance": "Places that the event which came earliest was early.",
    "streamwatch.repairs": "How many repairs were made in the stream.",
    "streamwatch.request.id": "The provider's own name for the request, from the response's headers, if it is an id.",
    "streamwatch.resumed": "What came of a request that was added.",
    "streamwatch.severity": "How bad a kind is.",
    "streamwatch.silence": "Seconds that the reader had waited when the end came.",
    "streamwatch.state": "What an open stream is doing.",
    "streamwatch.strategy": "What a repair does; for published figures the workaround, `any` for all of them.",
    "streamwatch.unwatched": "Why the rest of the stream was left alone, if it was.",
    "streamwatch.verdict": "How the stream ended.",
    "streamwatch.via": "The intermediaries that the headers of the response name, the nearest one first.",
    "streamwatch.waited_for": "Who took the time: `server`, for which a reader waited, or `reader`, which was at work.",
    "streamwatch.waiting_seconds": "Seconds that the reader waited for the server, from the request on.",
    "version": "The version of Streamwatch.",
}
_VOCABULARIES: dict[str, type[Enum]] = {
    "streamwatch.verdict": words.Verdict,
    "streamwatch.state": words.StreamState,
    "streamwatch.condition": words.Condition,
    "streamwatch.severity": words.Severity,
    "streamwatch.outcome": words.Outcome,
    "streamwatch.strategy": words.Strategy,
    "streamwatch.resumed": words.Resumed,
}


def pages() -> dict[str, str]:
    """Return the text of every page, by its name."""
    return {
        "errors.md": _page("Errors of streams", "streamwatch/cli/kinds/errors.py", *filter(None, errors.sections())),
        "kinds.md": kinds_page(),
        "metrics.md": metrics_page(),
        "python.md": _page("The Python interface", "the public names' docstrings", *python_api.sections()),
        "repair-all.md": repair_all_page(),
        "settings.md": settings_page(),
        "upstream.md": upstream_page(),
    }


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _page(title: str, source: str, *parts: str) -> str:
    mark = f"<!-- Written by `python -m docs.site` from {source}. -->"
    return "\n\n".join((f"# {title}", mark, *parts)) + "\n"


# --- metrics


def metrics_page() -> str:
    """Return every instrument, every attribute, and what a span has."""
    rows = [_instrument(row) for row in INSTRUMENTS.values()]
    common = (
        f"All but {_and(sorted(OF_PROCESS & INSTRUMENTS.keys()))} have the common attributes beside those in the table:"
        f" {_and(COMMON)}. Those of open streams have {_and(COMMON_OF_OPEN)} only."
    )
    buckets = [
        [f"`{row.name}`", f"{row.unit.strip('{}')}", ", ".join(f"{bound:g}" for bound in row.boundaries)]
        for row in INSTRUMENTS.values()
        if is_histogram(row)
    ]
    vocabularies = [
        f"### `{name}`\n\n{table(('value', 'meaning'), _values(kind))}" for name, kind in _VOCABULARIES.items()
    ]
    chunks = _and(chunk.value for chunk in words.ChunkType)
    return _page(
        "Metrics, spans and attributes",
        "streamwatch/export/instruments.py, streamwatch/export/close_codes.py, streamwatch/core/via.py and"
        " streamwatch/core/kinds.py",
        "Streamwatch exports these metrics and spans through OpenTelemetry: [where they go](../exporting.md).",
        "## Metrics",
        table(("instrument", "in Prometheus", "", "what it says", "attributes"), rows),
        common,
        "## Buckets",
        table(("histogram", "unit", "bounds"), buckets),
        "## Metrics of the GenAI conventions",
        _genai(),
        "## Spans",
        _spans(),
        "## Attributes",
        table(("attribute", "meaning"), ([f"`{name}`", text] for name, text in sorted(ATTRIBUTES.items()))),
        "Values off the wire are words of a closed set, or names: ASCII letters, digits and `-_.:/@+~`, cut to 100"
        " characters. What has another form is `_other`, and so is what comes after `STREAMWATCH_MAX_LABEL_VALUES`"
        " distinct values of a label, or after five times as many sets of common attributes.",
        "## Values",
        *vocabularies,
        f"### `streamwatch.chunk`\n\nOne of {chunks}.",
        f"### `streamwatch.close_code`\n\n{table(('value', 'meaning'), _closes())}",
        f"### `streamwatch.via`\n\n{_paths()}",
        f"### `streamwatch.issue`\n\n{_cases()}",
    )


def _genai() -> str:
    """Return the metrics that are there on request."""
    return (
        "With `STREAMWATCH_GENAI_METRICS=true`, and experimental: the conventions are changing these names, so both"
        " spellings are recorded, once for each stream. Nothing is recorded where an instrumentation is loaded that"
        f" does so itself ({_and(genai.OTHERS)}). Tokens are recorded where the stream says them: a chat does so with"
        ' `stream_options={"include_usage": True}`. They have '
        f"{_and(genai.COMMON)}.\n\n"
        + table(("instrument", "in Prometheus", "", "what it says", "attributes"), map(_instrument, genai.ROWS))
    )


def _closes() -> list[list[str]]:
    return [[f"`{value}`", meaning] for value, meaning in close_codes.values().items()]


def _paths() -> str:
    """Return who can stand in a path, and by which header."""
    rows = [
        [
            f"`{row.name}`",
            row.role.name.lower(),
            ", ".join([*(f"`{name}`" for name in row.headers), *(f"`{name}: {said}`" for name, said in row.says)]),
        ]
        for row in via.INTERMEDIARIES
    ]
    return (
        f"The names of a path are joined by `{via.SEPARATOR}`, {via.MOST_NAMES} at most, the one nearest to the"
        " application first: in the order of `via`, and else in that of the table, in which they mostly stand."
        f" `{via.DIRECT}` stands where no header names anybody; `{via.BUFFERING}` where nobody between is named and"
        f" {via.BURST:g} events or more come in a read, of {via.FEWEST_OF_BURSTS} or more. nginx that passes `server`"
        " on, HAProxy and load balancers mostly leave no trace.\n\n"
        + table(("name", "role", "header, and the pattern of what it says"), rows)
    )


def _cases() -> str:
    """Return what makes a stream a case, of everything but a single kind."""
    rows = [
        [f"`{row.name}`", row.severity.value, row.meaning, ", ".join(f"`{kind.name}`" for kind in row.kinds)]
        for row in DEFINITIONS.values()
        if row not in BY_KIND.values()
    ]
    return (
        "A stream is at most one case of each issue, and the case ends as the worst of its anomalies did:"
        f" {_and(outcome.value for outcome in words.Outcome)}, from best to worst. The fix rate of an issue is"
        " (verified + unverified) / all of its cases where `streamwatch.applied` is true; what was tried in the shadow"
        " is never added to it.\n\n"
        + table(("issue", "severity", "a case is", "kinds"), rows)
        + "\n\nEach kind that is a fault or has a repair is an issue by its own name as well: [all kinds](kinds.md)."
    )


def _instrument(row: Instrument) -> list[str]:
    sort = "histogram" if is_histogram(row) else "counter" if is_counter(row) else "gauge"
    unit = row.unit.strip("{}")
    own = ", ".join(f"`{name}`" for name in row.attributes)
    return [f"`{row.name}`", f"`{metric(row)}`", f"{sort}, {unit}", row.meaning, own]


def _and(names: Iterable[str]) -> str:
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def _values(vocabulary: type[Enum]) -> list[list[str]]:
    """Return the members of a vocabulary with what the code says of them."""
    if vocabulary is words.Severity:
        return [[f"`{member.value}`", _SEVERITIES[member].partition(": ")[2]] for member in words.Severity]
    said = comments(words, vocabulary.__name__)
    return [[f"`{member.value}`", getattr(member, "meaning", None) or said[member.name]] for member in vocabulary]


def comments(module: ModuleType, name: str) -> dict[str, str]:
    """Return what stands behind `#:` on the line of each member of a class."""
    source = inspect.getsource(getattr(module, name))
    return dict(re.findall(r"^    (\w+)\b.*?#: (.*)$", source, re.MULTILINE))


def span_attributes() -> dict[str, list[str]]:
    """Return the names of attributes that the code of a span writes: of the span, and of its events."""
    tree = ast.parse(inspect.getsource(telemetry))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = {
        name: [
            f"{node.value}*" if node.value.endswith(".") else node.value
            for node in ast.walk(functions[name])
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"(gen_ai|server|streamwatch|error)\.[a-z_.]+", node.value)
        ]
        for name in ("_call_attributes", "_describe", "_times", "_tell")
    }
    events = list(dict.fromkeys(found["_tell"]))
    return {
        "span": list(dict.fromkeys(found["_call_attributes"] + found["_describe"] + found["_times"])),
        "event": events,
    }


def _spans() -> str:
    names = span_attributes()
    return (
        "One span for each stream, `stream {operation} {model}`, kind INTERNAL, under the span that was current when"
        " the stream was opened. Its status is an error where the stream was truncated, empty or ended in an error.\n\n"
        f"Attributes of the span, where there is a value: {_and(names['span'])}.\n\n"
        f"One event `streamwatch.anomaly` for each kind that was found, with {_and(names['event'])}."
    )


# --- settings


def settings_page() -> str:
    """Return every variable that Streamwatch itself reads."""
    together: dict[str, list[tuple[str, str]]] = {}
    for name, (field, text) in variables().items():
        together.setdefault(text, []).append((f"`{name}`", _default(getattr(Settings(), field))))
    rows = [[*("<br>".join(column) for column in zip(*same, strict=True)), text] for text, same in together.items()]
    return _page(
        "Settings",
        "streamwatch/core/settings.py",
        "These environment variables configure Streamwatch; none of them is needed. A value that is not usable is"
        " reported in one warning, and the default applies. From code:"
        " `streamwatch.instrument(settings=streamwatch.Settings(...))`, where the names are in lower case and without"
        " the prefix.",
        table(("variable", "default", "meaning"), rows),
        "## STREAMWATCH_REPAIR",
        _policy(),
        "## What OpenTelemetry names already",
        "Exporters, endpoints, the service's name, sampling and what is switched off are set with"
        " [OpenTelemetry's own variables](https://opentelemetry.io/docs/languages/sdk-configuration/);"
        " [Where telemetry goes](../exporting.md) says what the defaults are here.",
    )


def variables() -> dict[str, tuple[str, str]]:
    """Return the variables that `Settings.from_environ` asks for: the field of each, and what its comment says."""
    asked: list[str] = []

    class Asked(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.append(name)
            return default

    Settings.from_environ(Asked())
    said = _field_comments()
    fields = {field.name for field in dataclasses.fields(Settings)}
    named = {name: name.removeprefix("STREAMWATCH_").lower() for name in asked}
    if fields != set(named.values()):
        msg = f"fields and variables differ: {fields ^ set(named.values())}"
        raise ValueError(msg)
    return {name: (field, said[field]) for name, field in named.items()}


def _field_comments() -> Mapping[str, str]:
    """Return the `#:` comment above each field; fields that follow each other share one."""
    said: dict[str, str] = {}
    comment, fresh = "", True
    for line in inspect.getsource(settings.Settings).splitlines():
        text = line.strip()
        if text.startswith("#: "):
            comment, fresh = (text[3:] if fresh else f"{comment} {text[3:]}"), False
        elif field := re.match(r"(\w+): .* = ", text):
            said[field[1]], fresh = _sentence(comment), True
        elif text.startswith("def "):
            break
    return said


def _sentence(comment: str) -> str:
    """Return what a comment says behind the names of its variables."""
    text = re.sub(r"^STREAMWATCH_\w+(, _\w+)*: ", "", comment)
    return f"{text[0].upper()}{text[1:]}"


def _default(value: Any) -> str:
    if isinstance(value, settings.Policy):
        return f"`{value.text}`"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"{value:,}".removesuffix(".0") if isinstance(value, (int, float)) else f"`{value}`" if value else ""


def _policy() -> str:
    rows = [
        ["`default`", "what can be proved right", str(len(_repaired("default")))],
        ["`all`", "heuristics too", str(len(_repaired("all")))],
        ["`none`", "nothing: repairs run on a copy, their outcomes are exported", "0"],
    ]
    return (
        f"{table(('base', 'repairs', 'kinds'), rows)}\n\n"
        "Refine it with `+` and `-` and the name of a kind or of a strategy: `default,-fill_content`,"
        " `none,+tool_call_index_reused`. `streamwatch kinds` lists kinds, strategies and levels."
        " [What `all` may change](repair-all.md) for a program that reads streams well is measured, kind by kind."
    )


def _repaired(policy: str) -> set[AnomalyKind]:
    """Return what a policy repairs; an opt-in kind only where it is asked for."""
    wanted = settings.Policy(policy)
    default = {kind for kind in wanted.default if kind.level not in (words.Level.OPT_IN, words.Level.HELPER)}
    return {kind for kind in default | wanted.opt_in if kind.level is not words.Level.SETTING}


# --- kinds


def kinds_page() -> str:
    """Return every kind: what is known of it, and a stream before and after."""
    rows = [
        [f"[`{kind.name}`](#{kind.name})", kind.severity.value, f"`{kind.strategy.value}`", kind.level.value]
        for kind in KINDS.values()
    ]
    return _page(
        "Kinds of anomaly",
        "streamwatch/core/kinds.py and tests/helpers/cases.py",
        "This page lists every kind of anomaly with a stream that has it. Lines with `-` are what the server sent,"
        " lines with `+` what the application gets instead; all other"
        " repairs are off. What all chunks of a stream have in common (id, object, created, model) is left out, and"
        " long lines are cut in the middle.",
        table(("kind", "severity", "repair", "when"), rows),
        *(_kind(kind) for kind in KINDS.values()),
    )


def _kind(kind: AnomalyKind) -> str:
    shown = None if kind.name in OF_TIME else example(kind)
    facts = [
        ["severity", kind.severity.value],
        ["seen in", ", ".join(kind.apis)],
        ["repair", _repair(kind)],
        ["evidence", kind.evidence.meaning],
        *([["this stream", _ended(kind, shown)]] if shown else []),
        ["runbook", f"[who sends it, and what to do](../runbooks/kinds/{kind.name}.md)"],
    ]
    text = f"```diff\n{difference(shown)}\n```" if shown else "No bytes show it: the time between two reads does."
    return f"## {kind.name}\n\n{kind.meaning}\n\n{table(('', ''), facts)}\n\n{text}"


def _ended(kind: AnomalyKind, shown: Example) -> str:
    report = shown.seen.report
    outcomes = [f"{count} {outcome.value}" for outcome, count in report.outcomes.get(kind, {}).items()]
    verdict = [f"verdict {report.verdict.value}"] if report.verdict else []
    return "; ".join([*verdict, *outcomes])


def _repair(kind: AnomalyKind) -> str:
    if kind.strategy is Strategy.NONE:
        return "none: it is reported only"
    return f"`{kind.strategy.value}`: {kind.strategy.meaning}; {kind.level.meaning}"


# --- the policy `all`


def repair_all_page() -> str:
    """Return what each repair on request was found to change, for programs that read the stream well without it."""
    found = json.loads(ON_REQUEST.read_text("utf-8"))
    kinds, results = found["kinds"], found["results"]
    read = {name for name, kind in kinds.items() if kind["readings"]}
    rows = [
        [
            f"[`{name}`](kinds.md#{name})",
            KINDS[name].level.value,
            f"{kind['readings']:,}",
            _said(kind["changed"], results),
        ]
        for name, kind in kinds.items()
        if kind["changed"]
    ]
    kept = sorted(name for name in read if not kinds[name]["changed"])
    by_policy = (kind for kind in KINDS.values() if kind.level not in (words.Level.NEVER, words.Level.SETTING))
    unread = [kind.name for kind in by_policy if kind.name not in read]
    return _page(
        "What STREAMWATCH_REPAIR=all may change",
        "tests/harm/on_request.json",
        "`STREAMWATCH_REPAIR=default` repairs what the stream proves: a program that reads the stream to a good end"
        " ends with the same result, unless the stream proves that result wrong. `all` adds heuristics, and repairs"
        " for every reader what only the SDK's `.stream()` helper needs: so it may change what a working program gets."
        " This page lists, kind by kind, what a search has found to change. Set `default,+KIND` to add single kinds.",
        "## What changes",
        table(("kind", "level", "readings", "results that changed, and in how many of the readings"), rows),
        *([f"Repaired as well, and nothing changed: {_and(kept)}."] if kept else []),
        *([f"Not repaired in any reading: {_and(unread)}."] if unread else []),
        "## How it was measured",
        _measured(found),
    )


def _said(changed: Mapping[str, int], results: Mapping[str, str]) -> str:
    ordered = sorted(changed.items(), key=lambda pair: (-pair[1], pair[0]))
    return "; ".join(f"{results[name]} {count:,}" for name, count in ordered)


def _measured(found: Mapping[str, Any]) -> str:
    return (
        f"`python -m tests.harm.on_request` read {found['streams']:,} streams on the plain SDK and with `all`"
        f" (seeds {', '.join(map(str, found['seeds']))}): recordings, public bug reports and"
        " generated streams (sessions over WebSockets among them), changed as real servers change them. Many small"
        " programs read each of them, as people write them:"
        f" {found['readings']:,} readings in all."
        " *Readings* of a kind are of streams in which it was repaired, by programs that end well on the plain SDK."
        " A result *changed* where the program then ended otherwise, or raised, and nothing on the wire proves that"
        " right.\n\n"
        "A change belongs to the kind that makes the same difference alone, added to `default`. A change that no kind"
        " makes alone belongs to each kind without which it goes away. A kind of level `default` stands here for the"
        " part of its repair that is made on request, or for a difference that `default` makes as well and the search"
        " could not prove right.\n\n"
        "A test reads other streams, and fails at a change that is not listed here. Streams that break in a way nobody"
        " has reported may show more."
    )


# --- private names


def upstream_page() -> str:
    """Return the page of private names of other packages."""
    about = (
        "Streamwatch sits below the public interface of the SDK, so it uses names that their owners may move in any"
        " release. This page lists all of them. *Since* is the first release that was looked at and has the name;"
        " *without it* says what happens where it is missing: an application never fails for it."
    )
    watched = (
        "`tests/sdk/test_upstream.py` finds every such name in the source and demands its row here, and looks for each"
        " name in the installed releases. The test in the last column fails when the name is there and has another"
        " meaning. Every night both run with the newest release of the SDK."
    )
    head = ("name", "used in", "since", "what for", "without it", "watched by")
    parts = [f"## {package}\n\n{table(head, rows)}" for package, rows in upstream.rows()]
    return _page("Private names of other packages", "docs/site/upstream.py", about, watched, *parts)
