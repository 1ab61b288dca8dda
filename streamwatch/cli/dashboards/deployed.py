"""The rules that a Prometheus has loaded, beside those that this release would write for the site."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

from streamwatch.cli.common.scraping import NoAnswerError, fetch

#: A rule: the group in which it stands, its name, and which one of that name it is.
Key = tuple[str, str, int]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


def differences(url: str, texts: list[str]) -> list[str]:
    """Return a line for each rule that is not loaded as it would be written; raises NoAnswerError."""
    wanted = {key: query for text in texts for key, query in _written(text)}
    groups = {group for group, _, _ in wanted}
    loaded = {key: query for key, query in _loaded(url) if key[0] in groups}
    lines = [f"- {_named(key)}: not of this release" for key in sorted(loaded.keys() - wanted.keys())]
    lines += [f"+ {_named(key)}: not loaded" for key in sorted(wanted.keys() - loaded.keys())]
    lines += [
        f"! {_named(key)}: another query is loaded"
        for key in sorted(wanted.keys() & loaded.keys())
        if _normal(wanted[key]) != _normal(loaded[key])
    ]
    return [f"{url}: {line}\n" for line in lines]


def _named(key: Key) -> str:
    group, name, number = key
    return f"{group}, {name}" + (f", number {number}" if number > 1 else "")


def _numbered(rules: Iterator[tuple[str, str, str]]) -> Iterator[tuple[Key, str]]:
    seen: dict[tuple[str, str], int] = {}
    for group, name, query in rules:
        number = seen[group, name] = seen.get((group, name), 0) + 1
        yield (group, name, number), query


def _written(text: str) -> Iterator[tuple[Key, str]]:
    """Return the rules in a generated file, whose form is known."""
    return _numbered(_rules_in(text))


def _rules_in(text: str) -> Iterator[tuple[str, str, str]]:
    for part in re.split(r"(?m)^- name: ", text)[1:]:
        group = part.partition("\n")[0]
        for rule in re.split(r"(?m)^  - (?:record|alert): ", part)[1:]:
            name, _, rest = rule.partition("\n")
            found = re.match(r"    expr: (?:\|-?\n((?:      .*\n|\n)+)|(.*)\n)", rest)
            if found:
                block, line = found.groups()
                yield group, name, textwrap.dedent(block) if block else _unquoted(line)


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def _loaded(url: str) -> Iterator[tuple[Key, str]]:
    try:
        answer = json.loads(fetch(f"{url}/api/v1/rules"))
        groups = answer["data"]["groups"]
        rules = [(group["name"], rule["name"], rule["query"]) for group in groups for rule in group["rules"]]
    except (ValueError, KeyError, TypeError):
        raise NoAnswerError("it answers, and not as a Prometheus does") from None
    return _numbered(iter(rules))


_MATCHER = r'\w+(?:=~|!~|!=|=)"(?:[^"\\]|\\.)*"'


def _normal(query: str) -> str:
    """Return a query without what Prometheus writes in its own way: white space, order of matchers, lengths of time."""
    parts = re.split(r'("(?:[^"\\]|\\.)*")', query)
    dense = "".join(part if part.startswith('"') else _plain(part) for part in parts)
    return re.sub(rf"\{{({_MATCHER}(?:,{_MATCHER})*)\}}", _in_order, dense)


def _in_order(matchers: re.Match[str]) -> str:
    return f"{{{','.join(sorted(re.findall(_MATCHER, matchers[1])))}}}"


def _plain(text: str) -> str:
    spaced = re.sub(r"\b(?:\d+(?:ms|[smhdwy]))+\b", _seconds, text)
    return re.sub(r"\s+", "", spaced)


def _seconds(duration: re.Match[str]) -> str:
    parts = re.findall(r"(\d+)(ms|[smhdwy])", duration[0])
    return f"{sum(int(number) * _UNITS[unit] for number, unit in parts):g}s"
