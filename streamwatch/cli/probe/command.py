"""`streamwatch probe`: asks an endpoint a dozen small questions, and reports how it streams."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

import click

from streamwatch.cli.common.ci_reports import policy_option
from streamwatch.cli.probe.questions import QUESTIONS, chosen, plan
from streamwatch.core.kinds import KINDS

if TYPE_CHECKING:
    from streamwatch.cli.probe.endpoint import ProbedEndpoint
    from streamwatch.cli.probe.questions import Question
    from streamwatch.cli.probe.scorecard import Score

_FILE = click.Path(dir_okay=False, path_type=Path)
_NAMES = click.Choice(list(QUESTIONS))
#: Requests of one kind: more is a load test, and costs somebody money.
_MAX_REPEAT = 20


def _rules() -> Collection[str]:
    """Return the names that a policy may have: those of kinds and invariants."""
    from streamwatch.cli.probe.invariants import table

    return {*KINDS, *table()}


class _Undoable(click.ClickException):
    """The command could not do its work."""

    exit_code = 2


def _header(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse `Name: value`; the value may be secret, so that no message shows it."""
    headers = {}
    for value in values:
        name, colon, text = (part.strip() for part in value.partition(":"))
        if not (name.isascii() and name and colon and text.isascii() and text.isprintable() and " " not in name):
            raise click.BadParameter("give a header as 'Name: value'")
        headers[name] = text
    return headers


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        usable = usable and value.isprintable() and " " not in value
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter("give an address as http://127.0.0.1:8000/v1")
    return value


@click.command()
@click.option(
    "--base-url", required=True, callback=_address, help="Ask the API at this address; it mostly ends in /v1."
)
@click.option("--model", required=True, help="Ask for this model.")
@click.option("--api", type=click.Choice(["all", "chat", "responses"]), default="all", help="Ask this API only.")
@click.option("--only", type=_NAMES, multiple=True, metavar="NAME", help="Ask only this question; may be repeated.")
@click.option("--skip", type=_NAMES, multiple=True, metavar="NAME", help="Leave this question out; may be repeated.")
@click.option(
    "--repeat",
    type=click.IntRange(1, _MAX_REPEAT),
    default=1,
    show_default=True,
    help="Repeat each question this many times.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    default=60.0,
    show_default=True,
    help="Wait N seconds for one answer.",
)
@click.option("--api-key-env", metavar="NAME", help="Take the key from this variable.  [default: OPENAI_API_KEY]")
@click.option("--header", "headers", multiple=True, callback=_header, metavar="'N: V'", help="Send this header too.")
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), help="Keep the answers, as .sse files.")
@click.option("--junit", type=_FILE, help="Write JUnit's XML, a test for each invariant of each answer.")
@click.option("--sarif", type=_FILE, help="Write SARIF 2.1.0, a result for each finding.")
@policy_option(_rules)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as a page.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("--content", is_flag=True, help="Let --json and --html show what the model said.")
@click.pass_context
def probe(context: click.Context, /, **options: Any) -> None:
    """Test how an endpoint streams.

    Asks a dozen small questions through the openai client (text, tools, n=2, usage, structured output, Responses),
    checks what comes against the invariants of healthy streams, compares it with recordings of other providers, and
    tries client code on it, without Streamwatch and with it. Ends with 1 if an answer has a fault, with 2 if it could
    not ask.

    \b
    The questions: text, letters, tool, tools, choices, usage, limit, schema,
    responses, responses-tool, responses-limit, responses-schema.

    \b
    streamwatch probe --base-url http://127.0.0.1:8000/v1 --model llama3
    streamwatch probe --base-url https://api.example.com/v1 --model m --html report.html --save answers
    streamwatch probe --base-url http://127.0.0.1:8000/v1 --model llama3 --only tools --repeat 5 --json
    streamwatch probe --base-url ... --model llama3 --junit probe.xml --policy tools_called=error
    """  # noqa: D301 -- click keeps the lines after this character as they are
    questions = chosen(options["api"], options["only"], options["skip"])
    if not questions:
        raise click.UsageError("no question is left: see --only, --skip and --api")
    endpoint = _endpoint(options)
    _check_files(options, questions)
    click.echo(f"{plan(questions, options['repeat'])}, to {endpoint.address}", err=True)
    scores, undone = _asked(endpoint, questions, options["repeat"], options["policy"])
    context.exit(_told(endpoint, scores, undone, options))


def _endpoint(options: dict[str, Any]) -> ProbedEndpoint:
    try:
        import openai  # noqa: F401
    except ImportError:
        _leave("the openai client is not installed: pip install 'openai-streamwatch[instruments]'")
    from streamwatch.cli.probe.endpoint import ProbedEndpoint

    name = options["api_key_env"]
    key = os.environ.get(name or "OPENAI_API_KEY", "").strip()
    if name and not key:
        raise click.UsageError(f"the environment has no {name}, which --api-key-env names")
    if not (key.isascii() and key.isprintable()):
        raise click.UsageError(f"{name or 'OPENAI_API_KEY'} has characters that no header can carry")
    endpoint = ProbedEndpoint(options["base_url"], options["model"], key, options["headers"], options["timeout"])
    if not key:
        click.echo("OPENAI_API_KEY is not set: asking without a key", err=True)
    if endpoint.sends_key_in_clear:
        click.echo("the key goes over the network unencrypted: the base URL begins with http://", err=True)
    return endpoint


def _leave(sentence: str) -> None:
    """Say why nothing can be done."""
    raise _Undoable(sentence)


# --- asking


def _asked(
    endpoint: ProbedEndpoint, questions: list[Question], repeat: int, policy: Mapping[str, str]
) -> tuple[list[Score], str]:
    """Return every reply with its score, and why no more could be asked, if so."""
    from streamwatch.cli.probe.endpoint import Undone
    from streamwatch.cli.probe.scorecard import judge, try_readers

    scores: list[Score] = []
    undone = ""
    with _progress() as tell:
        try:
            for round in range(repeat):
                for question in questions:
                    tell(f"asking for {question.title}")
                    scores.append(judge(endpoint.ask(question, round), endpoint.model, policy))
        except Undone as reason:
            undone = str(reason)
        except KeyboardInterrupt:  # what is paid for is shown
            undone = "Interrupted."
        finally:
            endpoint.close()
        tell("reading the answers as applications do")
        try_readers(scores, endpoint.model)
    return scores, undone


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show a line that says what is being done, where a person looks."""
    from streamwatch.cli.common.console import messages

    console = messages()
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("") as status:
        yield status.update


# --- telling


def _told(endpoint: ProbedEndpoint, scores: list[Score], undone: str, options: dict[str, Any]) -> int:
    """Write everything that was asked for; the exit code."""
    from streamwatch.cli.probe.scorecard import record

    at = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    report = record(endpoint, scores, undone, at, content=options["content"])
    try:
        _save(options["save"], scores)
        if options["html"] is not None:
            from streamwatch.cli.probe.render_html import written

            options["html"].write_text(written(report), "utf-8")
        _write_for_ci(scores, options)
    except OSError as error:
        _leave(f"{error.filename} cannot be written: {error.strerror}")
    if undone:
        click.echo(f"Error: {undone}", err=True)
    if options["as_json"]:
        click.echo(json.dumps(report))
    elif scores:
        from streamwatch.cli.common.console import output
        from streamwatch.cli.probe.render_terminal import show

        show(output(), report)
    return int(report["exit_code"])


def _write_for_ci(scores: list[Score], options: dict[str, Any]) -> None:
    """Write the reports that CI reads."""
    from streamwatch.cli.common.ci_reports import write
    from streamwatch.cli.probe.ci import cases

    write(cases(scores, options["policy"], options["save"]), options["junit"], options["sarif"])


def _paths(directory: Path, questions: list[Question], repeat: int) -> list[Path]:
    return [directory / _file(question.name, round) for round in range(repeat) for question in questions]


def _file(name: str, round: int) -> str:
    return f"{name}-{round + 1}.sse"


def _check_files(options: dict[str, Any], questions: list[Question]) -> None:
    """Refuse files that cannot be kept before anything is asked: it would be paid for twice."""
    for name in ("html", "junit", "sarif"):
        if options[name] is not None and not options[name].absolute().parent.is_dir():
            raise click.UsageError(f"--{name} {options[name]}: there is no such folder")
    save = options["save"]
    if save is None:
        return
    taken = [path for path in _paths(save, questions, options["repeat"]) if path.exists()]
    if taken:
        raise click.UsageError(f"{taken[0]} is there already: name another folder with --save")
    try:
        save.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--save {save}: {error.strerror}") from None


def _save(directory: Path | None, scores: list[Score]) -> None:
    """Write the bodies as they came, behind the comment lines that `streamwatch check` reads."""
    from streamwatch.cli.common.client_code import sdk_version
    from streamwatch.export import capture

    for each in scores:
        answer, report = each.reply.answer, each.report
        if directory is None or answer is None or report is None:
            continue
        head = capture.header(report, answer.ended, sdk_version(), masked=False)
        capture.create_private(directory / _file(each.reply.question.name, each.reply.round), head + answer.body)
