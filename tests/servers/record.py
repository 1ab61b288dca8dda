"""Writes tests/recordings/servers: what the real servers send, byte for byte, and what is to be found in it.

    python tests/servers/record.py [transformers litellm llama vllm]

Texts are cut to some tokens, to keep the files small, but for one. What is found stands in `index.json` as it was
on the day: read the difference before it is committed.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parents[1]))

from helpers.stream_builders import watch
from servers import environments, programs
from servers.questions import TOOL, ask
from servers.relay import Relay
from streamwatch.core.report import Request

RECORDINGS = HERE.parent / "recordings" / "servers"
INDEX = RECORDINGS / "index.json"
#: Bytes of an answer, with its header, after which the cut ones are cut.
CUT = 3000
_FUNCTION = {"type": "function", **TOOL["function"]}
_FEW = 24
ASKED: dict[str, dict[str, Any]] = {
    "text": {"messages": ask("text"), "max_tokens": _FEW},
    "whole-text": {"messages": ask("text")},
    "usage": {"messages": ask("text"), "max_tokens": _FEW, "stream_options": {"include_usage": True}},
    "two": {"messages": ask("text"), "max_tokens": _FEW, "n": 2, "temperature": 0.01},
    "call": {"messages": ask("call"), "tools": [TOOL]},
    "calls": {"messages": ask("calls"), "tools": [TOOL], "stream_options": {"include_usage": True}},
    "response": {"input": ask("text"), "max_output_tokens": _FEW},
    "response-call": {"input": ask("call"), "tools": [_FUNCTION]},
    "response-calls": {"input": ask("calls"), "tools": [_FUNCTION]},
    "cut": {"messages": ask("text")},
    "response-cut": {"input": ask("text")},
}
#: What is recorded of each.
OF = {
    "transformers": [name for name in ASKED if name not in ("two", "usage")],
    "litellm": ["text", "usage", "call", "calls", "response"],
    "llama": [name for name in ASKED if "cut" not in name and name != "whole-text"],
    "vllm": [name for name in ASKED if "cut" not in name and name != "whole-text"],
}


def api_of(name: str) -> str:
    """The API of a question."""
    return "responses" if name.startswith("response") else "chat"


def body_of(port: int, model: str, name: str) -> bytes:
    """The body of an answer as far as it came."""
    path = "/v1/responses" if api_of(name) == "responses" else "/v1/chat/completions"
    request = json.dumps({"model": model, "stream": True, **ASKED[name]})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(
        "POST", path, request, {"content-type": "application/json", "authorization": f"Bearer {programs.KEY}"}
    )
    answer = connection.getresponse()
    try:
        wire = answer.read()
    except http.client.IncompleteRead as cut:
        wire = cut.partial
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{name}: {answer.status} {wire[:300]!r}")
    return wire


def found(name: str, wire: bytes) -> dict[str, Any]:
    """What Streamwatch says of a body."""
    n = int(ASKED[name].get("n", 1))
    seen = watch(api_of(name), wire, request=Request(n=n))
    kinds = {kind.name: kind.severity.value for kind in seen.report.anomalies}
    verdict = seen.report.verdict
    return {"n": n, "verdict": verdict and verdict.value, "kinds": kinds}


def record(server: str, program: Any, ended: ExitStack) -> dict[str, Any]:
    """All recordings of a server."""
    index = {}
    for name in OF[server]:
        port = program.port
        if name.endswith("cut"):
            relay = Relay(port, CUT, "close")
            ended.callback(relay.end)
            port = relay.port
        wire = body_of(port, program.model, name)
        (RECORDINGS / f"{server}-{name}.sse").write_bytes(wire)
        release = environments.ENVIRONMENTS[server].release
        today = datetime.now(timezone.utc).date().isoformat()
        about = {"release": release, "date": today, "api": api_of(name), **found(name, wire)}
        index[f"{server}-{name}"] = about
        print(f"{server}-{name}: {len(wire)} bytes, {about['verdict']}, {', '.join(about['kinds'])}", flush=True)
    return index


def main(names: list[str]) -> None:
    RECORDINGS.mkdir(exist_ok=True)
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    with ExitStack() as ended, tempfile.TemporaryDirectory() as folder:

        def run(program: Any) -> Any:
            ended.callback(program.end)
            program.start()
            return program

        kinds = {"transformers": programs.Transformers, "llama": programs.Llama, "vllm": programs.Vllm}
        running = {
            name: run(kind(Path(folder)))
            for name, kind in kinds.items()
            if name in names or (name == "transformers" and "litellm" in names)
        }
        if "litellm" in names:
            behind = running["transformers"]
            running["litellm"] = run(programs.LiteLLM(Path(folder), behind.base_url, behind.model))
        for name in names:
            index.update(record(name, running[name], ended))
            INDEX.write_text(json.dumps(dict(sorted(index.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ["transformers", "litellm"])
