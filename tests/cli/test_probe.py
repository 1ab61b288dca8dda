"""What `streamwatch probe` judges by: every invariant can fail and holds on a healthy answer; sentences; the table."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.endpoint import delta, healthy
from helpers.letters import LETTERS
from helpers.quick import examples
from streamwatch.cli import main
from streamwatch.cli.probe.endpoint import ProbedEndpoint
from streamwatch.cli.probe.invariants import checked, table
from streamwatch.cli.probe.questions import QUESTIONS, TOKENS
from streamwatch.cli.probe.recorded_answer import RecordedAnswer
from streamwatch.cli.probe.scorecard import providers
from streamwatch.core.kinds import KINDS
from streamwatch.synthetic import streams
from streamwatch.synthetic.streams import Mark

#: What OpenAI itself does not keep to, and no client can rely on.
HABITS = {"content_present", "content_not_null"}

# --- each invariant

Payload = dict[str, Any]
Change = Callable[[list[Payload]], object]


def request_of(name: str) -> dict[str, Any]:
    """The body of a question's request, as the server sees it."""
    question = QUESTIONS[name]
    prompt = {"messages": [{"role": "user", "content": question.prompt}]} if question.api == "chat" else {}
    tokens = {"max_tokens" if question.api == "chat" else "max_output_tokens": question.tokens or TOKENS}
    asked = {"input": question.prompt} if question.api == "responses" else prompt
    return {"model": "gpt-4o", "stream": True, **asked, **tokens, **question.arguments}


def answered(
    name: str,
    change: Change | None = None,
    rewrite: Callable[[bytes], bytes] | None = None,
    seconds: float = 0.01,
    **how: Any,
) -> RecordedAnswer:
    """The answer of a healthy endpoint to a question, changed; each event comes for itself."""
    events = healthy(request_of(name))
    if change is not None:
        payloads = [event for event in events if isinstance(event, dict)]
        change(payloads)
        events = [*payloads, *(event for event in events if isinstance(event, Mark))]
    wire = list(streams.encode(events))
    if rewrite is not None:
        wire = [rewrite(b"".join(wire))]
    reads = tuple((0.1 + place * seconds, frame) for place, frame in enumerate(wire))
    return RecordedAnswer(QUESTIONS[name].asked, reads, **{"content_type": "text/event-stream", **how})


def fragments(chunks: list[Payload]) -> list[Payload]:
    """Every tool call fragment."""
    return [call for chunk in chunks for call in delta(chunk).get("tool_calls", ())]


def of(events: list[Payload], type: str) -> Payload:
    """The first event of a type."""
    return next(event for event in events if event["type"] == type)


def without(type: str) -> Change:
    """Every event of a type left out."""

    def change(events: list[Payload]) -> None:
        events[:] = [event for event in events if event["type"] != type]

    return change


def put(where: Callable[[list[Payload]], Payload], **members: Any) -> Change:
    """Members of one object replaced."""
    return lambda chunks: where(chunks).update(**members)


def first_choice(chunks: list[Payload]) -> Payload:
    return chunks[1]["choices"][0]  # type: ignore[no-any-return]


def last_choice(chunks: list[Payload]) -> Payload:
    return chunks[-1]["choices"][0]  # type: ignore[no-any-return]


def second_delta(chunks: list[Payload]) -> Payload:
    return delta(chunks[2])


def terminal(events: list[Payload]) -> Payload:
    return events[-1]["response"]  # type: ignore[no-any-return]


def _arguments_cut(chunks: list[Payload]) -> None:
    fragments(chunks)[-1]["function"]["arguments"] = ""


def _interleaved(chunks: list[Payload]) -> None:
    chunks.insert(len(chunks) - 2, chunks.pop(2))


def _late_header(chunks: list[Payload]) -> None:
    fragments(chunks)[0]["id"] = None


def _shared_id(chunks: list[Payload]) -> None:
    heads = [call for call in fragments(chunks) if call.get("id")]
    heads[1]["id"] = heads[0]["id"]


def _tail(chunks: list[Payload]) -> None:
    chunks.append({**chunks[2], "choices": [{"index": 0, "delta": {"content": "more"}, "finish_reason": None}]})


OUTPUT_DELTA, OUTPUT_DONE = "response.output_text.delta", "response.output_text.done"
ADDED, DONE = "response.output_item.added", "response.output_item.done"

#: As many tokens as an answer has that is cut at 16.
CUT = "one, two, three, four, five, six, seven, eight,"


def say(events: list[Any], text: str) -> None:
    """Let an answer be this text."""
    for place, event in enumerate(event for event in events if isinstance(event, dict) and delta(event).get("content")):
        delta(event)["content"] = text if place == 0 else ""


#: Of each invariant: a question whose answer breaks it, once it is changed like this.
BREAKS: dict[str, tuple[str, dict[str, Any]]] = {
    "json_events": ("text", {"rewrite": lambda wire: wire.replace(b'"delta"', b'"delta', 1)}),
    "utf8": ("text", {"rewrite": lambda wire: wire.replace(b"tram", b"tr\xffm", 1)}),
    "has_events": ("text", {"rewrite": lambda wire: b": nothing\n\n"}),
    "last_event_ends": ("responses", {"rewrite": lambda wire: wire[:-1]}),
    "body_ends": ("text", {"ended": "ReadTimeout"}),
    "no_error": ("text", {"change": lambda chunks: chunks.append({"error": {"message": "no"}})}),
    "content_type": ("text", {"content_type": "text/plain"}),
    "framing": ("text", {"rewrite": lambda wire: wire.replace(b"\n", b"\r\n")}),
    "no_comments": ("text", {"rewrite": lambda wire: b": keep-alive\n\n" + wire}),
    "done_marker": ("text", {"rewrite": lambda wire: wire.replace(b"data: [DONE]\n\n", b"")}),
    "done_is_last": ("text", {"rewrite": lambda wire: wire + b'data: {"cost": 1}\n\n'}),
    "model_constant": ("text", {"change": lambda chunks: chunks[3].update(model="another")}),
    "arrives_in_pieces": ("text", {"seconds": 0.0}),
    "letters_whole": ("letters", {"change": put(second_delta, content="\ufffd")}),
    "is_stream": ("text", {"rewrite": lambda wire: b'{"choices": []}'}),
    "choices_are_lists": ("text", {"change": lambda chunks: chunks[3].update(choices=None)}),
    "choices_filled": ("text", {"change": lambda chunks: chunks[3].update(choices=[])}),
    "id_constant": ("text", {"change": lambda chunks: chunks[3].update(id="another")}),
    "object_name": ("text", {"change": lambda chunks: chunks[3].update(object="")}),
    "choice_index": ("choices", {"change": lambda chunks: [c["choices"][0].update(index=1) for c in chunks]}),
    "n_honored": ("choices", {"change": lambda chunks: [c["choices"][0].update(index=0) for c in chunks]}),
    "delta_present": ("text", {"change": lambda chunks: first_choice(chunks).pop("delta")}),
    "role_first": ("text", {"change": lambda chunks: delta(chunks[0]).pop("role")}),
    "role_once": ("text", {"change": put(second_delta, role="assistant")}),
    "role_assistant": ("text", {"change": lambda chunks: delta(chunks[0]).update(role="model")}),
    "content_present": ("text", {"change": lambda chunks: second_delta(chunks).pop("content")}),
    "content_not_null": ("text", {"change": put(second_delta, content=None)}),
    "content_is_text": ("text", {"change": put(second_delta, content=["x"])}),
    "finish_reason": ("text", {"change": put(last_choice, finish_reason=None)}),
    "finish_once": ("text", {"change": lambda chunks: chunks.append(chunks[-1])}),
    "finish_known": ("text", {"change": put(last_choice, finish_reason="eos")}),
    "finish_is_last": ("text", {"change": _tail}),
    "finish_fits": ("text", {"change": put(last_choice, finish_reason="tool_calls")}),
    "limit_told": (
        "limit",
        {"change": lambda events: [put(last_choice, finish_reason="stop")(events), say(events, CUT)]},  # type: ignore[func-returns-value]
    ),
    "call_index_present": ("tool", {"change": lambda chunks: fragments(chunks)[1].pop("index")}),
    "call_index_in_order": ("tool", {"change": lambda chunks: [c.update(index=1) for c in fragments(chunks)]}),
    "calls_not_interleaved": ("tools", {"change": _interleaved}),
    "call_header_first": ("tool", {"change": _late_header}),
    "call_ids_unique": ("tools", {"change": _shared_id}),
    "call_named_once": ("tool", {"change": lambda chunks: fragments(chunks)[1]["function"].update(name="x")}),
    "call_type": ("tool", {"change": lambda chunks: fragments(chunks)[0].pop("type")}),
    "call_arguments": ("tool", {"change": _arguments_cut}),
    "tools_called": ("tools", {"change": lambda chunks: [delta(chunk).pop("tool_calls", 0) for chunk in chunks]}),
    "usage_sent": ("usage", {"change": lambda chunks: chunks.pop()}),
    "usage_last": ("usage", {"change": lambda chunks: chunks.append(chunks[-1])}),
    "usage_alone": ("usage", {"change": lambda chunks: chunks[-1].update(choices=chunks[-2]["choices"])}),
    "usage_adds_up": ("usage", {"change": lambda chunks: chunks[-1]["usage"].update(total_tokens=1)}),
    "schema_kept": ("schema", {"change": put(second_delta, content="{")}),
    "numbered": ("responses", {"change": lambda events: events[2].pop("sequence_number")}),
    "numbers_contiguous": ("responses", {"change": lambda events: events.pop(6)}),
    "numbers_from_zero": (
        "responses",
        {"change": lambda events: [e.update(sequence_number=e["sequence_number"] + 1) for e in events]},
    ),
    "begins_with_created": ("responses", {"change": lambda events: events.pop(0)}),
    "terminal_last": ("responses", {"change": lambda events: events.pop()}),
    "terminal_status": ("responses", {"change": put(terminal, status="in_progress")}),
    "incomplete_told": (
        "responses-limit",
        {"change": put(terminal, status="completed", usage={"input_tokens": 9, "output_tokens": 16})},
    ),
    "event_lines": ("responses", {"rewrite": lambda wire: re.sub(rb"event: .*\n", b"", wire)}),
    "event_line_fits": (
        "responses",
        {"rewrite": lambda wire: wire.replace(b"event: response.created", b"event: message")},
    ),
    "no_done_marker": ("responses", {"rewrite": lambda wire: wire + b"data: [DONE]\n\n"}),
    "response_id_constant": ("responses", {"change": put(terminal, id="resp_other")}),
    "items_in_order": (
        "responses",
        {"change": lambda events: [e.update(output_index=1) for e in events if "output_index" in e]},
    ),
    "items_announced": ("responses", {"change": without(ADDED)}),
    "parts_announced": ("responses", {"change": without("response.content_part.added")}),
    "items_closed": ("responses", {"change": without(DONE)}),
    "item_ids_constant": ("responses", {"change": lambda events: of(events, OUTPUT_DELTA).update(item_id="msg_other")}),
    "text_agrees": ("responses", {"change": lambda events: of(events, OUTPUT_DONE).update(text="another")}),
    "arguments_agree": ("responses-tool", {"change": lambda events: of(events, DONE)["item"].update(arguments="{}")}),
    "arguments_parse": ("responses-tool", {"change": lambda events: of(events, DONE)["item"].update(arguments="{")}),
    "output_repeated": ("responses", {"change": put(terminal, output=[])}),
    "usage_in_terminal": ("responses", {"change": put(terminal, usage=None)}),
    "functions_called": (
        "responses-tool",
        {"change": lambda events: [e["item"].update(type="message") for e in events if "item" in e]},
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_healthy_answer_keeps_to_every_invariant(name: str) -> None:
    """But for the habits of OpenAI itself."""
    assert {rule for rule, holds in checked(answered(name)).items() if holds is False} <= HABITS


def test_every_invariant_can_fail() -> None:
    """A check that cannot fail tells nothing: each has an answer that breaks it, and one that keeps to it."""
    assert set(BREAKS) == set(table())
    for name in BREAKS.keys() - HABITS:
        assert checked(answered(BREAKS[name][0]))[name] is True, name


@pytest.mark.parametrize("name", BREAKS)
def test_an_invariant_is_broken_by_what_it_is_about(name: str) -> None:
    """A change of one answer makes it false."""
    question, how = BREAKS[name]

    assert checked(answered(question, **how))[name] is False


@pytest.mark.parametrize(
    ("text", "usage"),
    [("I cannot count that far.", None), (" ".join(["one,"] * 100), None), (CUT, 9), ("one", 200)],
)
def test_an_answer_that_just_ended_is_not_accused(text: str, usage: int | None) -> None:
    """It is shorter than its tokens, or longer: nothing cut it, and `stop` is right."""

    def ended(events: list[Any]) -> None:
        put(last_choice, finish_reason="stop")(events)
        say(events, text)
        if usage is not None:
            events[-2]["usage"] = {"completion_tokens": usage}

    def completed(events: list[Any]) -> None:
        put(terminal, status="completed", usage={"output_tokens": usage or 5})(events)

    assert checked(answered("limit", change=ended))["limit_told"] is None
    assert checked(answered("responses-limit", change=completed))["incomplete_told"] is None


def test_invariants_are_sentences_for_people() -> None:
    """One for either case, and both of them end."""
    for each in table().values():
        assert each.holds != each.broken
        assert each.holds[-1] == each.broken[-1] == "."
        assert len(each.broken) < 120


def test_what_follows_from_a_missing_index_is_not_told_as_well() -> None:
    """One fault is one line: what cannot be looked at without an index is left out."""
    seen = checked(answered("tools", lambda chunks: [call.pop("index") for call in fragments(chunks)]))

    assert {name for name, holds in seen.items() if holds is False} - HABITS == {"call_index_present"}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(LETTERS, max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=examples(150), deadline=None)
@given(st.sampled_from([*QUESTIONS]), st.data())
def test_no_check_raises_whatever_a_server_sends(name: str, data: st.DataObject) -> None:
    """Any value in any place of a healthy stream: every check still answers."""

    def change(payloads: list[Payload]) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            node: Any = data.draw(st.sampled_from(payloads))
            while isinstance(node, (dict, list)) and node:
                key = data.draw(st.sampled_from([*node] if isinstance(node, dict) else [*range(len(node))]))
                if not isinstance(node[key], (dict, list)) or not node[key] or data.draw(st.booleans()):
                    node[key] = data.draw(_json)
                    break
                node = node[key]

    answer = answered(name, change)

    assert {type(holds) for holds in checked(answer).values()} <= {bool, type(None)}
    assert isinstance(answer.text(), str)
    assert answer.report().verdict is not None


@settings(max_examples=examples(100), deadline=None)
@given(st.sampled_from(["text", "responses"]), st.lists(st.binary(max_size=60), max_size=6))
def test_no_check_raises_whatever_the_bytes_are(name: str, reads: list[bytes]) -> None:
    """The same for bytes that are no stream at all."""
    answer = RecordedAnswer(QUESTIONS[name].asked, tuple((0.1, data) for data in reads))

    assert checked(answer)
    assert answer.report().verdict is not None


def test_a_number_nested_as_deep_as_the_parser_goes_is_borne() -> None:
    """The check cannot tell, and the others can."""
    for depth in (100, 500, 900, 990):
        deep = b"[" * depth + b"1" + b"]" * depth
        assert checked(
            answered("tool", rewrite=lambda wire, deep=deep: wire.replace(b'"index":0,"id"', b'"index":%b,"id"' % deep))  # type: ignore[misc]
        )


# --- asking


def test_help_names_every_question() -> None:
    """For --only and --skip."""
    help = CliRunner().invoke(main, ["probe", "--help"]).output

    assert set(QUESTIONS) <= set(re.split(r"[\s,.]+", help))


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED"), "The TLS certificate of h.test is not trusted"),
        (socket.gaierror(-2, "Name or service not known"), "The name h.test cannot be resolved"),
        (OSError(101, "Network is unreachable"), "h.test cannot be reached ([Errno 101] Network is unreachable)"),
        (RuntimeError("Server disconnected without sending a response."), "h.test closes the connection"),
    ],
)
def test_what_else_a_network_does_is_told(cause: Exception, said: str) -> None:
    """By the cause at the bottom of the chain."""
    failed = RuntimeError("Connection error.")
    failed.__cause__ = cause

    assert said in ProbedEndpoint("https://user:pass@h.test/v1", "m")._unreachable(failed)


def test_a_password_in_the_address_is_not_shown() -> None:
    """Nor the query."""
    endpoint = ProbedEndpoint("https://user:pa55word@h.test/v1?token=t0ken", "m", "key")

    assert endpoint.address == "https://h.test/v1"
    assert not endpoint.sends_key_in_clear
    assert ProbedEndpoint("http://h.test/v1", "m", "key").sends_key_in_clear
    assert not ProbedEndpoint("http://127.0.0.1/v1", "m", "key").sends_key_in_clear


# --- the comparison


def test_the_table_of_providers_has_facts_and_counts_only() -> None:
    """Names of providers and numbers; of known invariants and kinds alone."""
    data = providers()
    known = set(data["streams"])

    assert set(data) == {"made_by", "streams", "streams_as_sent", "invariants", "kinds"}
    assert set(data["invariants"]) <= set(table())
    assert set(data["kinds"]) <= set(KINDS)
    for counts in (*data["invariants"].values(), *data["kinds"].values()):
        assert set(counts) <= known
    assert all(0 <= held <= seen for counts in data["invariants"].values() for held, seen in counts.values())


def test_what_matters_is_what_real_servers_keep_to() -> None:
    """No more than one stream in fifty breaks an invariant that matters."""
    for name, counts in providers()["invariants"].items():
        held, seen = (sum(pair[place] for pair in counts.values()) for place in (0, 1))
        assert not table()[name].matters or held >= 0.98 * seen, name
