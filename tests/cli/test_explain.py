"""`streamwatch explain`: the answer first, to what people paste."""

from __future__ import annotations

import ast
import io
import json
import traceback

import pytest
from click.testing import CliRunner, Result

from streamwatch.cli import main
from streamwatch.cli.kinds.errors import KNOWN_ERRORS, KnownError
from streamwatch.cli.kinds.pasted import exceptions, known_errors, near, shown
from streamwatch.core.kinds import KINDS

each_error = pytest.mark.parametrize("error", KNOWN_ERRORS, ids=lambda error: error.title)
PEER_CLOSED = "peer closed connection without sending complete message body (incomplete chunked read)"

#: The last lines of tracebacks in public threads, and the row that answers.
PASTED = [
    ("KeyError: 'content'", "KeyError: 'content'"),
    ("KeyError: 'choices'", "KeyError: 'choices'"),
    ("KeyError: 'delta'", "KeyError: 'delta'"),
    (f"httpx.RemoteProtocolError: {PEER_CLOSED}", "RemoteProtocolError"),
    (f"LLM request failed: {PEER_CLOSED}", "RemoteProtocolError"),
    (
        (
            "openai.APIError: The server had an error processing your request. Sorry about that! You can retry your request, "
            "or contact us through our help center at help.openai.com if you keep seeing this error."
        ),
        "APIError",
    ),
    ("openai.APIError: The server had an error while processing your request. Sorry about that!", "APIError"),
    ("openai.APIError: An error occurred during streaming", "APIError"),
    ("RuntimeError: Didn't receive a `response.completed` event.", "RuntimeError: Didn't receive"),
    ("stream finished without response.completed event", "RuntimeError: Didn't receive"),
    ('ModelBehaviorError("Model did not produce a final response!")', "RuntimeError: Didn't receive"),
    (
        "ERROR: streamError=When snapshot hasn't been set yet, expected 'response.created' event, got response.completed",
        "RuntimeError: Expected to have received",
    ),
    ('TypeError: can only concatenate str (not "NoneType") to str', "TypeError: can only concatenate"),
    ("TypeError: can only concatenate str (not 'NoneType') to str", "TypeError: can only concatenate"),
    ("TypeError: list indices must be integers or slices, not NoneType", "TypeError: list indices"),
    ("IndexError: list index out of range", "IndexError"),
    ("AttributeError: 'NoneType' object has no attribute 'content'", "AttributeError: 'NoneType' object has no"),
    ("AttributeError: 'NoneType' object has no attribute 'get'", "AttributeError: 'NoneType' object has no"),
    ("AttributeError: 'ChatCompletionChunk' object has no attribute 'get'", "AttributeError: 'ChatCompletionChunk'"),
    ("Error with openai API: 'ResponseCreatedEvent' object has no attribute 'choices'", "AttributeError: 'Response"),
    ("AttributeError: 'Stream' object has no attribute 'choices'", "AttributeError: 'Stream'"),
    ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "JSONDecodeError: Expecting value"),
    ("Error: Extra data: line 1 column 17 (char 16)", "JSONDecodeError: Extra data"),
    ("JSONDecodeError: Unterminated string starting at: line 1 column 1 (char 0)", "JSONDecodeError: Unterminated"),
    ("httpx.ReadTimeout: The read operation timed out", "ReadTimeout"),
    ("openai.APIConnectionError: Connection error.", "APIConnectionError"),
    ("AssertionError", "AssertionError"),
    ("Unexpected error in ask_tool: 'str' object has no attribute 'choices'", "AttributeError: 'str' object"),
    (
        "openai.LengthFinishReasonError: Could not parse response content as the length limit was reached",
        "LengthFinishReasonError",
    ),
    (
        (
            "Error: litellm.BadRequestError: OpenAIException - An assistant message with 'tool_calls' must be followed by tool "
            "messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: call_jJ"
        ),
        "BadRequestError",
    ),
    ("KeyError: 'index'", "KeyError: 'index'"),
    ("aiohttp.client_exceptions.ClientPayloadError: Response payload is not completed", "RemoteProtocolError"),
    ("│ KeyError: 'content'                                   │", "KeyError: 'content'"),
]

GROUP = f"""\
  + Exception Group Traceback (most recent call last):
  |   File "/app/main.py", line 9, in <module>
  |     asyncio.run(main())
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/main.py", line 5, in read
    |     text += chunk.to_dict()["choices"][0]["delta"]["content"]
    | KeyError: 'content'
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/lib/httpx/_transports/default.py", line 118, in map_httpcore_exceptions
    | httpx.RemoteProtocolError: {PEER_CLOSED}
    +------------------------------------
"""


def run(*arguments: str, stdin: str | None = None) -> Result:
    """The command, run in this process; an exception that escapes it fails the test."""
    result = CliRunner().invoke(main, ["explain", *arguments], input=stdin, env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(("text", "title"), PASTED, ids=[text[:50] for text, _ in PASTED])
def test_errors_of_public_threads_are_known(text: str, title: str) -> None:
    """The answer begins with the error's name, however the line was cut out."""
    result = run(text)

    assert result.exit_code == 0
    assert result.output.startswith(title)


@each_error
def test_the_answer_comes_first_and_in_fifteen_lines(error: KnownError) -> None:
    """What happened, the corrected line, what Streamwatch does: on the width of any terminal."""
    lines = run(error.title).output.splitlines()

    assert lines[0] == error.title
    assert [line.split()[0] for line in lines[1:2]] == ["happened"]
    assert len(lines) <= 15
    assert any(line.strip() == f"write         {error.after}" for line in lines) or not error.before
    assert any(line.lstrip().startswith("Streamwatch") for line in lines)
    assert all(
        len(line) <= 80 or "://" in line or error.after in line or error.before in line or line == lines[0]
        for line in lines
    )


@each_error
def test_the_rows_of_the_table_are_whole(error: KnownError) -> None:
    """A row finds itself, names kinds that are there, and its lines of code are code."""
    assert known_errors(error.title)[0] is error
    assert set(error.kinds) <= set(KINDS)
    assert error.happened.endswith(".")
    assert error.does.endswith(".")
    assert error.thread == "" or error.url == f"https://github.com/{error.thread}"
    if error.before:
        for line in (error.before, error.after):
            code = f"try: ...\n{line}" if line.startswith("except ") else line
            body = f"{code}\n    ..." if code.endswith(":") else code
            ast.parse(body)


@pytest.mark.quick_cases(12)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_answered_in_fifteen_lines(kind: str) -> None:
    """What it is, what an application sees, what is repaired, what to do; and how to get the rest."""
    lines = run(kind).output.splitlines()

    assert len(lines) <= 15
    assert lines[0] == f"{kind} ({KINDS[kind].severity.value})"
    assert [line.split()[0] for line in lines if line[2:3] != " "][1:] == [
        "happened",
        "seen",
        "Streamwatch",
        "do",
        "more",
    ]
    assert len(run("--more", kind).output.splitlines()) > 8


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input_is_read(arguments: tuple[str, ...]) -> None:
    """Piped, with or without a dash."""
    assert run(
        *arguments, stdin=f"Traceback ...\n  File 'a'\nhttpx.RemoteProtocolError: {PEER_CLOSED}\n"
    ).output.startswith("RemoteProtocolError")


@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_nothing_on_standard_input_is_a_wrong_call(stdin: str) -> None:
    """Exit code 2, and how the command is used."""
    result = run("-", stdin=stdin)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_a_group_is_answered_by_its_exceptions() -> None:
    """Not by the group, which says nothing; the other exceptions are named."""
    output = run("-", stdin=GROUP).output

    assert output.startswith("RemoteProtocolError: peer closed connection")
    assert "also pasted   KeyError: 'content'" in output
    assert len(output.splitlines()) <= 15


def test_a_real_group_is_read() -> None:
    """As Python itself prints it."""
    group = pytest.importorskip("builtins").__dict__.get("ExceptionGroup")
    if group is None:
        pytest.skip("Python 3.10 has no exception groups")
    try:
        raise group("unhandled errors in a TaskGroup", [KeyError("content"), ValueError("nobody knows")])
    except group:
        text = traceback.format_exc()

    assert run("-", stdin=text).output.startswith("KeyError: 'content'")


def test_a_cause_says_more_than_what_it_became() -> None:
    """`APIConnectionError: Connection error.` is the last line of many different failures."""
    chain = (
        f"httpx.RemoteProtocolError: {PEER_CLOSED}\n\nThe above exception was the direct cause of the following exception:"
        "\n\nTraceback (most recent call last):\nopenai.APIConnectionError: Connection error.\n"
    )

    assert run("-", stdin=chain).output.startswith("RemoteProtocolError")


@pytest.mark.parametrize("text", [GROUP, "Traceback (most recent call last):\n  File 'secret.py'\nFooError: bar\n"])
def test_a_traceback_is_never_printed_back(text: str) -> None:
    """Neither with an answer nor without."""
    result = run("-", stdin=text)

    assert "Traceback" not in result.output
    assert "File " not in result.output
    assert len(result.output.splitlines()) <= 15


def test_an_unknown_error_is_named_by_its_last_line() -> None:
    """Cut, in one sentence."""
    result = run("-", stdin=f"Traceback (most recent call last):\n  File 'secret.py'\nFooError: {'x' * 500}\n")

    assert result.exit_code == 1
    assert f"'FooError: {'x' * 67}...'" in result.stderr
    assert len(result.stderr) < 300


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tool_call_index_reusd", "'tool_call_index_reused'"),
        ("index reused", "'tool_call_index_reused'"),
        ("KeyError: 'contnet'", "KeyError: 'content'"),
        ("stream_truncate", "'stream_truncated'"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(typed: str, meant: str) -> None:
    """Names of kinds and errors that are near."""
    result = run(typed)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "Did you mean" in result.stderr
    assert meant in result.stderr


def test_nothing_is_near_to_nonsense() -> None:
    """No guess is better than a wild one."""
    assert near("zzzzzzzz") == []
    assert near("") == []


def test_json_has_every_kind_behind_an_error() -> None:
    """One object a line, for programs."""
    kinds = [
        json.loads(line)["kind"] for line in run(f"RemoteProtocolError: {PEER_CLOSED}", "--json").output.splitlines()
    ]

    assert kinds == ["stream_truncated", "stream_stalled", "response_interrupted"]


def test_the_last_exception_of_a_chain_comes_first() -> None:
    """And each only once."""
    assert exceptions("ValueError: a\n\nDuring handling ...\n\nKeyError: 'b'\nValueError: a\n") == [
        "ValueError: a",
        "KeyError: 'b'",
    ]
    assert exceptions("12:00 ERROR app: openai.APIError: boom") == ["openai.APIError: boom"]
    assert exceptions("  no exception ") == ["no exception"]
    assert shown("a\nb") == "a b"


def test_bytes_that_are_not_text_are_read() -> None:
    """A log may hold anything."""
    result = CliRunner().invoke(main, ["explain", "-"], input=io.BytesIO(b"\xff\xfe\nKeyError: 'content'\n"))

    assert result.output.startswith("KeyError: 'content'")
