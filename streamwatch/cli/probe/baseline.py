"""The maker of providers.json: how often invariants hold and kinds are found, in recordings of real servers.

    python -m streamwatch.cli.probe.baseline ../shared/corpus

The recordings lie beside the checkout and are not part of it; what is kept of them is facts and counts, no text.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from streamwatch.cli import common
from streamwatch.cli.probe.invariants import ALL, checked
from streamwatch.cli.probe.recorded_answer import Asked, RecordedAnswer

#: Kinds that only the bytes as they were sent can show.
_FRAMING = {"sse_framing_variant", "keepalive_frame", "sse_event_unterminated"}

PROVIDERS = Path(common.__file__).with_name("providers.json")


def answer_of(entry: dict[str, Any], body: bytes) -> RecordedAnswer:
    """Return a recording as an answer; what its way into the collection has lost is left out."""
    fidelity = entry["fidelity"]
    created = b"response.created" in body[:2000]
    asked = Asked(
        entry["surface"],
        n=entry["request_n"],
        usage="include_usage" in str(entry["request_stream_options"])
        and "true" in str(entry["request_stream_options"]).lower(),
        names_tool=str(entry["request_tool_choice"] or "").startswith("named:"),
        resumed=entry["surface"] == "responses" and not created,
    )
    return RecordedAnswer(
        asked,
        ((0.0, body),),
        content_type=entry["content_type"] or "" if fidelity == "exact" else "",
        exact=fidelity == "exact",
        ending=fidelity in ("exact", "frames", "normalized"),
        literal=fidelity != "parsed",
    )


def _recorded(corpus: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of what servers sent: what projects made by hand says nothing of any server."""
    for line in (corpus / "index.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["origin"] == "recorded" and entry["surface"] in ALL:
            yield entry


def measured(corpus: Path) -> dict[str, Any]:
    """Return, for each provider, in how many streams an invariant holds of how many that can say, and a kind is."""
    streams: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    counts: dict[str, dict[str, list[int]]] = defaultdict(dict)
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in _recorded(corpus):
        streams[entry["provider"]] += 1
        answer = answer_of(entry, (corpus / "streams" / f"{entry['id']}.sse").read_bytes())
        # Of a stream that went through somebody's parser the kinds would describe that parser.
        if answer.ending:
            whole[entry["provider"]] += 1
            kinds_of = {kind.name for kind in answer.report().anomalies} - (set() if answer.exact else _FRAMING)
            for kind in kinds_of:
                kinds[kind][entry["provider"]] += 1
        for name, holds in checked(answer).items():
            if holds is not None:
                held = counts[name].setdefault(entry["provider"], [0, 0])
                held[0] += holds
                held[1] += 1
    return {
        "made_by": "python -m streamwatch.cli.probe.baseline",
        "streams": dict(sorted(streams.items())),
        "streams_as_sent": dict(sorted(whole.items())),
        "invariants": {name: dict(sorted(counts[name].items())) for name in sorted(counts)},
        "kinds": {name: dict(sorted(kinds[name].items())) for name in sorted(kinds)},
    }


def _laid_out(measurements: dict[str, Any]) -> str:
    """Return JSON with a line for each invariant and kind: a change of one is a change of one line."""
    tables = []
    for name, table in measurements.items():
        rows = (
            [f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in table.items()]
            if isinstance(table, dict)
            else None
        )
        shown = "{\n" + ",\n".join(rows) + "\n }" if rows is not None else json.dumps(table)
        tables.append(f" {json.dumps(name)}: {shown}")
    return "{\n" + ",\n".join(tables) + "\n}\n"


@click.command()
@click.argument("corpus", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(corpus: Path) -> None:
    """Measure the recordings in CORPUS, and write providers.json into `cli/common`."""
    PROVIDERS.write_text(_laid_out(measured(corpus)), "utf-8")


if __name__ == "__main__":
    main()
