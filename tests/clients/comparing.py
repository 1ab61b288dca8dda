"""What a client computed of a stream without Streamwatch, and with it: what differs, and which of the two is right."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from streams import Stream

_MISSING = "(absent)"
#: Characters of a value, and differences of a stream, that are kept for reading.
_SHOWN = 300
_KEPT = 40

Difference = tuple[str, Any, Any]


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Every place where two values differ; lists of another length also as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key, _MISSING), after.get(key, _MISSING), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}.length", len(before), len(after)
        for at, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from differences(one, other, f"{path}[{at}]")
    elif before != after or type(before) is not type(after):
        yield path, before, after


def computed(result: dict[str, Any]) -> dict[str, Any]:
    """What counts of a result: not what Streamwatch says of it."""
    return {key: value for key, value in result.items() if key not in ("id", "reports")}


def is_fill(difference: Difference) -> bool:
    """Whether this is what `fill_content` promises the loop of an application: "" for nothing."""
    path, before, after = difference
    return path.endswith("delta.content") and before in (None, _MISSING) and after == ""


def of_pieces(difference: Difference) -> bool:
    """Whether this is in what came piece by piece, and not in what it comes to."""
    return difference[0].startswith(".chunks")


def right(result: dict[str, Any], expect: dict[str, Any]) -> bool:
    """Whether a client got the answer of an oracle. Instructor knows no names, and agents no calls but those they make."""
    if result["error"]:
        return False
    if "choices" in expect:
        choice = expect["choices"].get("0", {})
        texts, calls = [choice.get("content") or ""] if "content" in choice else None, choice.get("tool_calls", [])
    else:
        delta_text = expect.get("delta_text", expect.get("output_text", ""))
        texts = [expect.get("output_text"), *(delta_text if isinstance(delta_text, list) else [delta_text])]
        calls = expect.get("function_calls", [])
    if texts is not None and result["text"] not in (None, *texts):
        return False
    wanted = [(call.get("name"), _parsed(call.get("arguments"))) for call in calls]
    got = [(name, _parsed(arguments)) for name, arguments in result["tools"]]
    return len(wanted) == len(got) and all(
        (not name or not known or name == known) and arguments == right_ones
        for (name, arguments), (known, right_ones) in zip(got, wanted, strict=True)
    )


def _parsed(arguments: Any) -> Any:
    with contextlib.suppress(TypeError, ValueError):
        return json.loads(arguments)
    return arguments


@dataclass
class Compared:
    """One stream, read by one client without Streamwatch and with it."""

    client: str
    stream: Stream
    sort: str
    errors: tuple[Any, Any]  #: without, with
    reports: list[Any]  #: what Streamwatch says of it
    found: list[Difference] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, dict[str, int]]:
        """What Streamwatch found, and what became of it."""
        return {kind: outcomes for report in self.reports for kind, outcomes in report["kinds"].items()}

    @property
    def repaired(self) -> list[str]:
        """The kinds that were repaired."""
        return sorted(kind for kind, outcomes in self.kinds.items() if set(outcomes) - {"unrepaired"})

    def details(self) -> dict[str, Any]:
        """For the file of details."""
        return {
            "client": self.client,
            "stream": self.stream.id,
            "sort": self.sort,
            "kinds": self.kinds,
            "errors": self.errors,
            "differences": self.found,
        }


def compare(client: str, stream: Stream, off: dict[str, Any], again: dict[str, Any], on: dict[str, Any]) -> Compared:
    """`again` is `off` a second time: what differs between these two differs by itself, and is left out."""
    by_itself = {path for path, _, _ in differences(computed(off), computed(again))}
    found = [each for each in differences(computed(off), computed(on)) if each[0] not in by_itself]
    filled = client.startswith("openai_create") and any(map(is_fill, found))
    if filled:
        found = [each for each in found if not is_fill(each)]
    sort = _healthy(off, on, found, filled=filled) if stream.healthy else _broken(stream, off, on, found)
    shown = [(path, _short(one), _short(other)) for path, one, other in sorted(found, key=of_pieces)[:_KEPT]]
    return Compared(client, stream, sort, (off["error"], on["error"]), on["reports"], shown)


def _healthy(off: Any, on: Any, found: list[Difference], *, filled: bool) -> str:
    if bool(off["error"]) != bool(on["error"]):
        return "raises only without" if off["error"] else "raises only with"
    if not all(map(of_pieces, found)):
        return "another result"
    return "other pieces" if found else "filled" if filled else "same"


def _broken(stream: Stream, off: Any, on: Any, found: list[Difference]) -> str:
    sorts = {(0, 0): "neither", (0, 1): "only with", (1, 0): "only without", (1, 1): "both"}
    if stream.expect is not None:
        return f"right: {sorts[right(off, stream.expect), right(on, stream.expect)]}"
    ends = sorts[not off["error"], not on["error"]]
    return f"reads: {ends}{', changed' if ends == 'both' and found else ''}"


# --- tables


HEALTHY = ("same", "filled", "other pieces", "another result", "raises only without", "raises only with")
BROKEN = (
    *(f"right: {sort}" for sort in ("both", "only with", "only without", "neither")),
    *(f"reads: {sort}" for sort in ("both", "both, changed", "only with", "only without", "neither")),
)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]], *, numbers: bool = True) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---", *(["--:" if numbers else "---"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def healthy_table(of: dict[str, list[Compared]], names: dict[str, str]) -> str:
    """How many healthy streams read alike."""
    head = ("client", "healthy streams", "watched", "raises in both", *HEALTHY)
    rows = []
    for client, each in of.items():
        healthy = [one for one in each if one.stream.healthy]
        counts = Counter(one.sort for one in healthy)
        watched = sum(bool(one.reports) for one in healthy)
        fails = sum(all(one.errors) for one in healthy)
        rows.append((names[client], len(healthy), watched, fails, *(counts[sort] for sort in HEALTHY)))
    return table(head, rows)


def broken_table(of: dict[str, list[Compared]]) -> str:
    """How many broken streams are read right, or to their end."""
    rows = []
    for client, each in of.items():
        counts = Counter(one.sort for one in each if not one.stream.healthy)
        rows.append((client, *(counts[sort] for sort in BROKEN)))
    return table(("client", *BROKEN), rows)


def differing(of: dict[str, list[Compared]]) -> str:
    """Where healthy streams read differently: each place once for a client and what was repaired, with an example."""
    groups: dict[tuple[Any, ...], list[Compared]] = defaultdict(list)
    for client, each in of.items():
        for one in each:
            if not one.stream.healthy or not one.found:
                continue
            places = sorted({re.sub(r"\[\d+\]", "[]", path) for path, _, _ in one.found if not of_pieces((path, 0, 0))})
            what = ", ".join(places[:4]) if places else "pieces only"
            groups[client, one.sort, what, ", ".join(one.repaired)].append(one)
    rows = [(*key, len(ones), ones[0].stream.id) for key, ones in sorted(groups.items())]
    return table(("client", "", "where", "repaired", "streams", "one of them"), rows, numbers=False)


def raising(of: dict[str, list[Compared]]) -> str:
    """What clients raise on healthy streams with Streamwatch or without."""
    groups: dict[tuple[str, str], list[Compared]] = defaultdict(list)
    for client, each in of.items():
        for one in each:
            if one.stream.healthy and all(one.errors):
                error = one.errors[1]
                groups[client, f"{error['type']}: {error['message'].splitlines()[0][:80]}"].append(one)
    rows = [(*key, len(ones), ones[0].stream.id) for key, ones in sorted(groups.items())]
    return table(("client", "raises", "streams", "one of them"), rows, numbers=False) if rows else "Nothing."


def silenced(one: Compared) -> bool:
    """Whether a client is wrong about a broken stream, and no longer says so."""
    return one.sort == "right: neither" and bool(one.errors[0]) and not one.errors[1]


def listed(of: dict[str, list[Compared]], wanted: Callable[[Compared], bool]) -> str:
    """Some broken streams, and whose they are."""
    clients: dict[str, list[str]] = defaultdict(list)
    repaired: dict[str, set[str]] = defaultdict(set)
    for client, each in of.items():
        for one in each:
            if wanted(one):
                clients[one.stream.id].append(client)
                repaired[one.stream.id].update(one.repaired)
    rows = [(id, ", ".join(sorted(repaired[id])), ", ".join(clients[id])) for id in sorted(clients)]
    return table(("stream", "repaired", "clients"), rows, numbers=False) if rows else "None."


def _short(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
