"""`streamwatch probe`: a healthy endpoint passes, a broken one is told by the right invariant, and nothing leaks."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.endpoint import Document, Server, delta, each_chunk, fault, healthy, serving
from streamwatch.cli import main
from streamwatch.cli.probe import baseline, endpoint
from streamwatch.cli.probe.endpoint import ProbedEndpoint
from streamwatch.cli.probe.invariants import table
from streamwatch.cli.probe.questions import FEW_TOKENS, QUESTIONS, TOKENS, plan  # type: ignore[attr-defined]
from streamwatch.cli.probe.scorecard import company
from streamwatch.export import capture
from streamwatch.synthetic import streams

#: What OpenAI itself does not keep to, and no client can rely on.
HABITS = {"content_present", "content_not_null"}
KEY, SECRET = "sk-canary-key-0123456789", "canary-header-value"
CANARY = "Canary-answer"

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sends a key of whoever runs it, nor asks a proxy."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def run(url: str, *arguments: str) -> Result:
    """The command, run in this process; an exception that escapes it fails the test."""
    result = CliRunner().invoke(main, ["probe", "--base-url", url, "--model", "gpt-4o", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def probed(server: Server, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the record."""
    result = run(server.url, "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


def broken(report: dict[str, Any]) -> set[str]:
    """The invariants that do not hold in some answer."""
    return {row["invariant"] for row in report["invariants"] if not row["holds"]}


# --- a whole endpoint


def test_a_healthy_endpoint_passes_everything() -> None:
    """Twelve requests, no fault, no broken invariant that matters, and exit code 0."""
    with serving() as server:
        code, report = probed(server)

    assert code == report["exit_code"] == 0
    assert [each["answer"] for each in report["answers"]] == [*QUESTIONS]
    assert {each["state"] for each in report["answers"]} == {"answered"}
    assert all(each["faults"] == [] and each["verdict"] == "complete" for each in report["answers"])
    assert broken(report) == HABITS
    # Every rule was looked at: none passes because nothing could break it.
    assert {row["invariant"] for row in report["invariants"]} == set(table())


def test_few_tokens_are_asked_for_and_told_beforehand() -> None:
    """Every request bounds its output, as the first line on stderr said."""
    with serving() as server:
        result = run(server.url)

    bounds = [body.get("max_tokens") or body.get("max_output_tokens") for _, body, _ in server.asked]
    told = plan([*QUESTIONS.values()], 1)
    assert len(bounds) == 12
    assert set(bounds) == {TOKENS, FEW_TOKENS}
    assert f"12 requests, at most {TOKENS} output tokens for each answer and 1,440 in all" in told
    assert told in result.stderr
    assert sum(bound * body.get("n", 1) for bound, (_, body, _) in zip(bounds, server.asked, strict=True)) == 1440


@pytest.mark.parametrize(
    ("change", "only", "invariant", "kind"),
    [
        (fault("index_missing"), "tools", "call_index_present", "tool_call_index_missing"),
        (fault("index_always_0"), "tools", "call_ids_unique", "tool_call_index_reused"),
        (fault("index_from_1"), "tools", "call_index_in_order", "tool_call_index_sparse"),
        (fault("truncated"), "text", "finish_reason", "stream_truncated"),
        (fault("truncated"), "responses", "terminal_last", "stream_truncated"),
        (fault("chat_error"), "text", "no_error", "error_in_stream"),
        (fault("responses_error"), "responses", "no_error", "error_in_stream"),
        (fault("empty"), "text", "has_events", "stream_empty"),
        (fault("gap"), "responses", "numbers_contiguous", "sequence_gap"),
        (fault("duplicate"), "responses", "numbers_contiguous", "sequence_duplicate"),
        (fault("reorder"), "responses", "numbers_contiguous", "sequence_out_of_order"),
        (fault("delta_missing"), "text", "delta_present", "delta_missing"),
        (fault("choices_null"), "text", "choices_are_lists", "choices_empty"),
    ],
)
def test_a_broken_endpoint_is_told_by_invariant_and_kind(change: Any, only: str, invariant: str, kind: str) -> None:
    """Exit code 1, and the fault by both its names."""
    with serving(change=change) as server:
        code, report = probed(server, "--only", only)

    assert code == 1
    assert invariant in broken(report)
    assert invariant in report["answers"][0]["faults"]
    assert kind in report["answers"][0]["kinds"]
    assert report["invariants"][0]["matters"]  # the worst first
    assert not report["invariants"][0]["holds"]


def test_client_code_is_tried_without_streamwatch_and_with_it() -> None:
    """Tool calls without an index: the helper raises, and reads them once they are repaired. Nothing is asked again."""
    with serving(change=fault("index_missing")) as server:
        _, report = probed(server, "--only", "tools")

    rows = {(row["api"], row["reader"]): row for row in report["readers"]}
    for name in ("helper", "async helper"):
        assert rows["chat", name]["plain"] == {"raises TypeError": 1}
        assert rows["chat", name]["watched"] == {"reads": 1}
    assert rows["chat", "careful"]["plain"] == {"differs": 1}
    assert rows["chat", "careful"]["watched"] == {"reads": 1}
    assert len(server.asked) == 1


def test_the_helpers_may_raise_on_a_cut_answer() -> None:
    """That is how they tell of max_tokens, and no fault of the endpoint."""
    with serving() as server:
        code, report = probed(server, "--only", "limit", "--only", "responses-limit")

    helpers = [row for row in report["readers"] if "helper" in row["reader"]]
    assert code == 0
    assert [(row["plain"], row["watched"]) for row in helpers] == [({"told": 1}, {"told": 1})] * 4


@pytest.mark.parametrize(
    ("rewrite", "invariant"),
    [
        (lambda wire: wire.replace(b"data: [DONE]\n\n", b""), "done_marker"),
        (lambda wire: b": ping\n\n" + wire, "no_comments"),
        (lambda wire: wire.replace(b"\n", b"\r\n"), "framing"),
    ],
)
def test_a_habit_is_told_and_is_no_fault(rewrite: Callable[[bytes], bytes], invariant: str) -> None:
    """Exit code 0, and who else has it."""
    with serving(rewrite=rewrite) as server:
        code, report = probed(server, "--only", "text")

    (row,) = [row for row in report["invariants"] if row["invariant"] == invariant]
    assert (code, row["holds"], row["matters"]) == (0, False, False)
    assert row["compared"]["broken_by"] == company(invariant)["broken_by"] != []


def test_arrivals_are_timed() -> None:
    """A server that pauses between events is seen to."""
    with serving(pause=0.02) as server:
        _, report = probed(server, "--only", "text")

    (answer,) = report["answers"]
    assert len(answer["arrivals"]) == answer["events"] > 10
    assert answer["arrivals"] == sorted(answer["arrivals"])
    assert answer["seconds"] >= 0.2
    assert 0 <= answer["first_event_seconds"] <= answer["seconds"]
    assert answer["reads"] > 3


# --- what is asked


def test_questions_are_chosen() -> None:
    """--only, --skip, --api and --repeat, together."""
    with serving() as server:
        _, report = probed(
            server, "--api", "chat", "--only", "text", "--only", "tool", "--skip", "tool", "--repeat", "2"
        )

    assert [each["answer"] for each in report["answers"]] == ["text", "text#2"]
    assert [path for path, _, _ in server.asked] == ["/v1/chat/completions"] * 2


def test_models_that_take_the_newer_limit_alone_are_asked_with_it() -> None:
    """One more request, and no broken answer."""

    def instead(path: str, body: dict[str, Any]) -> Document | None:
        error = {"message": "Use 'max_completion_tokens' instead.", "type": "invalid_request_error"}
        return (400, "application/json", json.dumps({"error": error}).encode()) if "max_tokens" in body else None

    with serving(instead=instead) as server:
        code, report = probed(server, "--only", "text", "--only", "tool")

    assert (code, [each["state"] for each in report["answers"]]) == (0, ["answered"] * 2)
    assert ["max_tokens" in body for _, body, _ in server.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "text", "--skip", "text"), "no question is left"),
        (("--only", "nonsense"), "nonsense"),
        (("--api-key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("--header", f"{SECRET}"), "Name: value"),
        (("--repeat", "1000"), "1000"),
        (("--html", "/nowhere/at/all.html"), "there is no such folder"),
        (("--base-url", "localhost:8000"), "http://127.0.0.1:8000/v1"),
        (("--base-url", "http://exa mple/v1"), "http://127.0.0.1:8000/v1"),
        (("--base-url", "http://[::1"), "http://127.0.0.1:8000/v1"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and one sentence."""
    with serving() as server:
        result = run(server.url, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert SECRET not in result.output
    assert server.asked == []


# --- what goes wrong


def whole(status: int, body: Any, kind: str = "application/json") -> Callable[[str, dict[str, Any]], Document]:
    """The same document in the place of every stream."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return lambda _path, _body: (status, kind, data)


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "code": None}}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (whole(401, error("Incorrect key")), "does not accept the key (HTTP 401: Incorrect key). Set OPENAI_API_KEY"),
        (whole(403, "no"), "does not accept the key (HTTP 403)"),
        (whole(402, error("No credit")), "cannot pay for this (HTTP 402: No credit)"),
        (whole(429, error("Slow down")), "takes no more requests for now (HTTP 429, again in 7 s: Slow down). Wait"),
        (
            whole(404, error("No such model")),
            "the model gpt-4o (HTTP 404: No such model). A base URL mostly ends in /v1",
        ),
        (whole(404, "<html>not here</html>", "text/html"), "mostly ends in /v1"),
        (whole(502, "<html>bad gateway</html>", "text/html"), "HTTP 502"),
        (whole(200, "<!DOCTYPE html><p>Welcome", "text/html"), "answers with an HTML page and no stream"),
        (whole(200, "<!DOCTYPE html><p>Welcome", "text/plain"), "answers with an HTML page and no stream"),
    ],
)
def test_an_endpoint_that_cannot_be_asked_is_told_in_a_sentence(document: Any, said: str) -> None:
    """Exit code 2; nothing on stdout but the record; the first refusal ends the questions."""
    with serving(instead=document, headers={"retry-after": "7"}) as server:
        result = run(server.url)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(server.asked) == 1
    assert "Traceback" not in result.output


def test_what_was_answered_before_is_still_told() -> None:
    """A limit that is reached half way: exit code 2, with a report of the first half."""
    calls: list[int] = []

    def instead(path: str, body: dict[str, Any]) -> Document | None:
        calls.append(1)
        return whole(429, error("Slow down"))(path, body) if len(calls) > 2 else None

    with serving(instead=instead) as server:
        code, report = probed(server)

    assert code == report["exit_code"] == 2
    assert "HTTP 429" in report["undone"]
    assert [each["answer"] for each in report["answers"]] == ["text", "letters"]


def test_an_endpoint_without_responses_is_no_fault() -> None:
    """Not offered, and told as that."""

    def instead(path: str, body: dict[str, Any]) -> Document | None:
        return whole(404, error("Not Found"))(path, body) if path.endswith("/responses") else None

    with serving(instead=instead) as server:
        result = run(server.url)
        code, report = probed(server)

    assert result.exit_code == code == 0
    assert [each["state"] for each in report["answers"]].count("not_offered") == 4
    named = "responses, responses-tool, responses-limit, responses-schema"
    assert f"{named}: No Responses API here (HTTP 404)." in result.stdout


def test_a_client_without_responses_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older releases of the SDK: the rest is asked."""
    monkeypatch.setattr(endpoint, "_APIS", {"chat": "completions", "responses": "no_such_api"})
    with serving() as server:
        code, report = probed(server, "--only", "text", "--only", "responses")

    assert (code, [each["state"] for each in report["answers"]]) == (0, ["answered", "not_offered"])
    assert "a newer release of the client is needed" in report["answers"][1]["message"]


def test_a_request_that_is_not_taken_is_no_fault_and_one_that_fails_is() -> None:
    """400 is an answer; 500 is none."""
    for status, state, expected in ((400, "refused", 0), (500, "failed", 1)):

        def instead(path: str, body: dict[str, Any], status: int = status) -> Document | None:
            return whole(status, error("n is not supported"))(path, body) if body.get("n") == 2 else None

        with serving(instead=instead) as server:
            code, report = probed(server, "--only", "text", "--only", "choices")
        assert (code, [each["state"] for each in report["answers"]]) == (expected, ["answered", state])
        assert "n is not supported" in report["answers"][1]["message"]


def test_a_document_in_the_place_of_a_stream_is_a_fault() -> None:
    """stream=True is ignored: the SDK would silently deliver nothing."""
    with serving(instead=whole(200, {"object": "chat.completion", "choices": []})) as server:
        code, report = probed(server, "--only", "text")

    assert code == 1
    assert {"is_stream", "has_events"} <= broken(report)


def test_nobody_listens() -> None:
    """A refused connection, in a sentence with the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run(f"http://127.0.0.1:{port}/v1")

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Nothing listens at 127.0.0.1:{port} (connection refused)" in result.stderr


def test_tls_is_asked_of_a_server_that_does_not_speak_it() -> None:
    """The most likely mistake is named."""
    with serving() as server:
        result = run(server.url.replace("http:", "https:"))

    assert result.exit_code == 2
    assert "does not speak TLS as it should: is the base URL to begin with http://" in result.stderr


def test_a_server_that_says_nothing_is_left() -> None:
    """After --timeout, with the option that waits longer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = run(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "--timeout", "0.3")

    assert result.exit_code == 2
    assert "No answer within 0.3 s." in result.stderr
    assert "--timeout" in result.stderr


def test_a_stream_that_never_ends_is_left() -> None:
    """Drop by drop, each in time, and the whole not: the answer is told as broken off."""
    with serving(pause=0.1) as server:
        code, report = probed(server, "--only", "text", "--timeout", "0.5")

    assert code == 1
    assert "body_ends" in broken(report)
    assert report["answers"][0]["ended"] == "no end within the time"


def test_a_client_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is none, or a proxy of the environment that nobody knows: no traceback."""
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:1")
    result = run("http://h.invalid/v1")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "http://h.invalid/v1 cannot be asked" in result.stderr


def test_an_interrupted_probe_tells_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, and the report of what was answered."""

    def interrupted(path: str, body: dict[str, Any]) -> Document | None:
        if len(server.asked) == 2:
            raise_soon.append(1)
        return None

    raise_soon: list[int] = []
    ask = ProbedEndpoint.ask

    def asks(self: ProbedEndpoint, *arguments: Any) -> Any:
        if raise_soon:
            raise KeyboardInterrupt
        return ask(self, *arguments)

    monkeypatch.setattr(ProbedEndpoint, "ask", asks)
    with serving(instead=interrupted) as server:
        code, report = probed(server)

    assert (code, report["undone"]) == (2, "Interrupted.")
    assert [each["answer"] for each in report["answers"]] == ["text", "letters"]


def test_a_flood_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that grows without end is left, and told as broken off."""
    monkeypatch.setattr(endpoint, "_MAX_BODY", 2000)
    with serving() as server:
        code, report = probed(server, "--only", "text")

    assert (code, report["answers"][0]["ended"]) == (1, "larger than what is kept")


# --- what leaves


def test_neither_key_nor_headers_are_ever_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sent, and stand nowhere else: not even where the server says them back."""
    monkeypatch.setenv("MY_KEY", KEY)

    def instead(path: str, body: dict[str, Any]) -> Document | None:
        return whole(400, error(f"Bad {KEY} and {SECRET}"))(path, body) if body.get("n") == 2 else None

    page = tmp_path / "report.html"
    with serving(instead=instead, change=each_chunk(lambda chunk: chunk.update(model=KEY))) as server:
        arguments = (
            "--api-key-env",
            "MY_KEY",
            "--header",
            f"X-Extra: {SECRET}",
            "--api",
            "chat",
            "--html",
            str(page),
        )
        results = [run(server.url, *arguments), run(server.url, "--json", *arguments)]

    sent = server.asked[0][2]
    assert (sent["authorization"], sent["x-extra"]) == (f"Bearer {KEY}", SECRET)
    for text in (*(result.output for result in results), page.read_text("utf-8")):
        assert KEY not in text
        assert SECRET not in text
    assert "Bad [hidden] and [hidden]" in results[0].stdout


def _saying(text: str) -> Any:
    return each_chunk(lambda chunk: delta(chunk).update(content=text) if delta(chunk).get("content") else None)


def test_content_leaves_only_where_it_is_asked_for(tmp_path: Path) -> None:
    """--json and --html hold no word of the model without --content."""
    page = tmp_path / "report.html"
    with serving(change=_saying(CANARY)) as server:
        arguments = "--only", "text", "--only", "schema", "--only", "tool", "--json", "--html", str(page)
        silent, said = run(server.url, *arguments).stdout, ""
        assert CANARY not in silent + page.read_text("utf-8")
        assert "Lisbon" not in silent + page.read_text("utf-8")
        said = run(server.url, *arguments, "--content").stdout

    assert CANARY in said
    assert CANARY in page.read_text("utf-8")
    assert "Lisbon" in page.read_text("utf-8")


def test_saved_answers_are_the_bytes_that_came(tmp_path: Path) -> None:
    """Behind a header that says what was found; readable by their owner alone; never written over."""
    folder = tmp_path / "answers"
    with serving(change=fault("index_from_1")) as server:
        run(server.url, "--only", "tools", "--only", "responses", "--save", str(folder))
        again = run(server.url, "--only", "tools", "--save", str(folder))

    assert sorted(path.name for path in folder.iterdir()) == ["responses-1.sse", "tools-1.sse"]
    facts, body = capture.load((folder / "tools-1.sse").read_bytes())
    assert facts["api"] == "chat"
    assert "tool_call_index_sparse" in facts["kinds"]
    events = server.change(healthy(server.asked[0][1]), server.asked[0][1])
    assert body == b"".join(streams.encode(events))
    assert (folder / "tools-1.sse").stat().st_mode & 0o077 == 0
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    assert len(server.asked) == 2


# --- the page, and the card

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b[31m\x00\u202e http://evil.test/x.js"


class _Page(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> _Page:
    """A page, whose elements are all closed."""
    page = _Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def _hostile(chunk: dict[str, Any]) -> None:
    chunk.update(id=HOSTILE, model=HOSTILE)
    if delta(chunk).get("content"):
        delta(chunk)["content"] = HOSTILE
    if chunk.get("choices") and chunk["choices"][0]["finish_reason"]:
        chunk["choices"][0]["finish_reason"] = HOSTILE


def test_everything_from_a_server_is_text_on_the_page(tmp_path: Path) -> None:
    """No markup, no script, no address to fetch; also in the messages of errors, and with --content."""
    page = tmp_path / "report.html"

    def instead(path: str, body: dict[str, Any]) -> Document | None:
        return whole(400, error(HOSTILE))(path, body) if body.get("n") == 2 else None

    with serving(change=each_chunk(_hostile), instead=instead) as server:
        result = run(server.url, "--api", "chat", "--content", "--html", str(page))

    seen = parsed(page.read_text("utf-8"))
    assert "<script>alert(1)</script>" in seen.text
    assert not seen.tags & {"script", "img", "link", "iframe", "object", "embed", "base", "form", "a", "image", "use"}
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "href", "style")]
    assert not set(page.read_text("utf-8")) & {"\x1b", "\x00", "\u202e"}
    assert not set(result.output) & {"\x1b", "\x00", "\u202e"}
    assert "[31m" in result.stdout  # as text: it is no markup of rich's either


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """It states so itself, in a policy that browsers enforce; it knows dark rooms and phones."""
    page = tmp_path / "report.html"
    with serving() as server:
        run(server.url, "--html", str(page))

    text = page.read_text("utf-8")
    seen = parsed(text)
    assert any(value.startswith("default-src 'none'") for _, value in seen.attributes)
    assert not re.search(r"url\(|@import|src=|href=", text)
    assert {address.partition("/v1")[0] for address in re.findall(r"https?://[^\s<\"]+", text)} == {
        server.url.partition("/v1")[0]
    }
    assert "prefers-color-scheme: dark" in text
    assert ("name", "viewport") in seen.attributes
    assert {"svg", "circle", "table"} <= seen.tags
    assert "Healthy: no fault in 12 answers." in seen.text


def test_the_page_has_the_event_at_fault_and_what_to_do(tmp_path: Path) -> None:
    """For an anomaly and for a broken invariant, as the JSON has it: answer, event, line and byte."""
    page = tmp_path / "report.html"

    def without_index(chunk: dict[str, Any]) -> None:
        for call in delta(chunk).get("tool_calls") or ():
            del call["index"]

    with serving(change=each_chunk(without_index)) as server:
        report = json.loads(run(server.url, "--only", "tool", "--json", "--html", str(page)).stdout)

    seen = parsed(page.read_text("utf-8")).text
    (kind,) = [row for row in report["kinds"] if row["kind"] == "tool_call_index_missing"]
    (rule,) = [row for row in report["invariants"] if row["invariant"] == "call_index_present"]
    for row in (kind, rule):
        assert row["first_at"]["byte"] > 0
        assert "tool: event {event}, line {line}, byte {byte}".format_map(row["first_at"]) in seen
    assert rule["remedy"] in seen


def test_a_page_is_written_of_an_endpoint_that_cannot_be_asked(tmp_path: Path) -> None:
    """It says why."""
    page = tmp_path / "report.html"
    with serving(instead=whole(401, error("no"))) as server:
        run(server.url, "--html", str(page))

    assert "does not accept the key" in parsed(page.read_text("utf-8")).text


def test_the_card_is_one_screen_with_the_worst_first() -> None:
    """The verdict, what is wrong and where, what it means, what clients get, and only then the habits."""
    with serving(change=fault("index_missing")) as server:
        result = run(server.url)

    lines = result.stdout.splitlines()
    places = [
        next(at for at, line in enumerate(lines) if start in line)
        for start in ("Faults in 2 of 12", "tool_call_index_missing", "has no int index", "Client code", "Habits")
    ]
    assert result.exit_code == 1
    assert places == sorted(places)
    assert len(lines) < 50
    assert "\x1b" not in result.stdout


def test_no_color_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where colors are forced on otherwise."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with serving(change=fault("index_missing")) as server:
        colored = run(server.url, "--only", "tools").stdout
        monkeypatch.setenv("NO_COLOR", "1")
        plain = run(server.url, "--only", "tools").stdout

    assert "\x1b[31m" in colored
    assert "\x1b[31m" not in plain


# --- the comparison


def test_the_table_is_what_the_recordings_say(shared: Path) -> None:
    """It is made by the program that it names, and nobody edited it."""
    fresh = baseline._laid_out(baseline.measured(shared / "corpus")) == baseline.PROVIDERS.read_text("utf-8")

    assert fresh, "providers.json is not fresh: python -m streamwatch.cli.probe.baseline ../shared/corpus"
