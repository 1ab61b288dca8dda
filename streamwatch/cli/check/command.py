"""`streamwatch check`: what recorded streams hold, what a client gets of them, and what Streamwatch makes of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamwatch.cli.check import ci, fixes, render
from streamwatch.cli.check.recordings import Recording, Unreadable, contents, recordings_in
from streamwatch.cli.check.replay import Replay, choices_asked, replay
from streamwatch.cli.common import ci_reports
from streamwatch.core.kinds import KINDS
from streamwatch.core.settings import Policy, Settings

if TYPE_CHECKING:
    from rich.progress import Progress

_FILE = click.Path(dir_okay=False, path_type=Path)
APIS = ("chat", "completions", "responses", "assistants", "agents", "images", "transcriptions", "other")
#: Files of a directory that are of no use, and may be many.
_SKIPPED = ("node_modules", "__pycache__")
#: Bytes of a stream from which the SDK takes seconds to read it: 1.6 MB, 10,000 chunks, took 20 s (openai 3.57, one
#: core), and less than one without the SDK.
_LARGE = 800_000


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--api", type=click.Choice(APIS), help="Take the streams for this API, where a recording does not say it."
)
@click.option("--repair", metavar="POLICY", help="Repair so, as STREAMWATCH_REPAIR: default, all, none, ...")
@click.option("--fix", "out", metavar="OUT", help="Write the repaired stream: a file, a directory/, or - for stdout.")
@click.option("--force", is_flag=True, help="Let --fix overwrite files.")
@click.option("--sdk/--no-sdk", default=True, help="Let the installed openai read the streams, or not.")
@click.option("--async", "with_async", is_flag=True, help="Show AsyncOpenAI beside OpenAI.")
@click.option("--junit", type=_FILE, help="Write JUnit's XML, a test for each stream.")
@click.option("--sarif", type=_FILE, help="Write SARIF 2.1.0, a result for each kind found.")
@ci_reports.policy_option(lambda: KINDS)
@click.option("--quiet", is_flag=True, help="Show only the streams with something wrong, a line each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a stream.")
def check(files: tuple[str, ...], repair: str | None, **options: Any) -> None:
    """Check recorded streams: what is wrong in them, and what clients get.

    FILES are bodies as `curl -N` writes them, captures, HAR files, VCR cassettes, chunks as JSON lines, gzipped or
    not; directories are searched; - is standard input. Exit code 0: all streams are complete and without a fault;
    1: some are not; 2: nothing could be read, or written.

    \b
    streamwatch check answer.sse
    curl -sN https://... | streamwatch check -
    streamwatch check recordings/ --quiet
    streamwatch check recordings/ --junit check.xml --policy sequence_gap=warning
    streamwatch check broken.sse --fix repaired.sse
    streamwatch check devtools.har --json | jq -r 'select(.well | not).verdict'
    """  # noqa: D301 -- click keeps the lines after this character as they are
    sys.exit(_Checking(_settings(repair), Options(**options)).run(files))


class _Refused(click.ClickException):
    """The work could not be done."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of one call of the command."""

    api: str | None = None
    out: str | None = None
    force: bool = False
    sdk: bool = True
    with_async: bool = False
    quiet: bool = False
    as_json: bool = False
    junit: Path | None = None
    sarif: Path | None = None
    policy: dict[str, str] = dataclasses.field(default_factory=dict)


def _settings(policy: str | None) -> Settings:
    """Return the settings of the environment and of the command line; a recording is not captured again."""
    settings, complaints = Settings.from_environ(os.environ)
    for complaint in complaints:
        click.echo(complaint, err=True)
    if policy is not None:
        try:
            settings = dataclasses.replace(settings, repair=Policy(policy))
        except ValueError as error:
            raise click.BadParameter(f"{error}.", param_hint="--repair") from error
    return dataclasses.replace(settings, capture_dir="")


class _Checking:
    """One run of the command."""

    def __init__(self, settings: Settings, options: Options) -> None:
        from streamwatch.cli.common import console

        self.settings, self.options = settings, options
        self.records: list[dict[str, Any]] = []
        self.cases: list[ci_reports.CiCase] = []
        self.failed = False  # something could not be written
        self.unread = 0
        self.version = ""
        self._bar: Progress | None = None
        self._has_warned = False  # that a stream takes a while
        # With `--fix -` standard output is the repaired stream, and nothing else.
        self.output = console.messages() if options.out == "-" else console.output()
        self.messages = console.messages()
        self.fixes = fixes.Fixes(options.out, force=options.force) if options.out else None
        streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
        for stream in streams:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")

    def run(self, paths: Sequence[str]) -> int:
        """Check everything; the exit code."""
        if self.fixes is not None:
            prepare = self.fixes.prepare
            self._try_writing(lambda: prepare(paths, self.settings))
        if self.options.sdk and not self.options.quiet:
            self._find_sdk()
        alone = len(paths) == 1 and not Path(paths[0]).is_dir()
        with self._progress(list(self._files(paths))) as files:
            for path, found in files:
                self._file(path, found=found, alone=alone)
        if self.fixes is not None and self.records:
            self._try_writing(self.fixes.finish)
        ci_reports.write(self.cases, self.options.junit, self.options.sarif)
        if len(self.records) > 1 and not (self.options.as_json or self.options.quiet):
            self.output.print()
            self.output.print(render.summary(self.records))
        if self.failed or not self.records:
            return 2
        return 0 if all(record["well"] for record in self.records) else 1

    def tell(self, message: str) -> None:
        """Print a message for people."""
        click.echo(render.printable(message), err=True)

    def _print(self, line: str) -> None:
        """Print a line of results as it is: rich would make pictures of `:warning:`."""
        click.echo(line, err=self.options.out == "-")

    # --- files

    def _files(self, paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Yield every file, and whether it was found in a directory."""
        for path in paths:
            if path == "-" or not Path(path).is_dir():
                yield path, False
                continue
            for directory, below, names in os.walk(path, onerror=self._unsearched):
                below[:] = sorted(name for name in below if name[:1] != "." and name not in _SKIPPED)
                yield from ((str(Path(directory, name)), True) for name in sorted(names) if name[:1] != ".")

    def _unsearched(self, error: OSError) -> None:
        self.tell(f"{error.filename}: cannot be searched: {error.strerror or error}.")

    @contextlib.contextmanager
    def _progress(self, files: list[tuple[str, bool]]) -> Iterator[Iterator[tuple[str, bool]]]:
        """Yield the files, with a bar on standard error where there are many; the bar makes way for what is printed."""
        if len(files) < 2 or not self.messages.is_terminal:
            yield iter(files)
            self._tell_unread()
            return
        from rich.progress import Progress

        bar = Progress(console=self.messages, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._bar = bar
        task = bar.add_task("checking", total=len(files))

        def each() -> Iterator[tuple[str, bool]]:
            for file in files:
                bar.start()
                bar.advance(task)
                yield file

        try:
            yield each()
        finally:
            bar.stop()
        self._tell_unread()

    def _hide(self) -> None:
        """Make way for what is printed; the bar is back with the next file."""
        if self._bar is not None:
            self._bar.stop()

    def _tell_unread(self) -> None:
        if self.unread and not self.options.quiet:
            self.tell(f"Files in the directories that hold no stream: {self.unread}.")

    def _file(self, path: str, *, found: bool, alone: bool) -> None:
        """Check one file; what is wrong with it never stops the others."""
        try:
            for recording in recordings_in(contents(path), path, found=found):
                if isinstance(recording, Unreadable):
                    self._hide()
                    self.tell(f"{path}: {recording}.")
                else:
                    self._stream(recording, alone=alone)
        except Unreadable as problem:
            if found:
                self.unread += 1
            else:
                self._hide()
                self.tell(f"{path} {problem}.")
        except (OSError, click.ClickException):
            raise
        except Exception as error:
            self._hide()
            self.tell(f"{path} cannot be checked, which is a bug of Streamwatch's ({type(error).__name__}: {error}).")

    # --- streams

    def _stream(self, recording: Recording, *, alone: bool) -> None:
        if self.options.api:
            recording = dataclasses.replace(recording, api=self.options.api)
        checked = replay(recording, self.settings)
        well = ci.is_well(checked, self.options.policy)
        whole = alone or self.options.as_json or not well
        compared = self._compare(recording) if self.version and whole else []
        record = render.record(checked, compared, self.version)
        record["well"] = well
        self.cases.append(ci.case(checked, self.options.policy))
        if self.fixes is not None:
            take = self.fixes.take
            self._try_writing(lambda: record.update(take(checked, self.settings)))
        self._hide()
        if self.options.as_json:
            self._print(json.dumps(record))
        elif whole and not self.options.quiet:
            self._show(checked, compared, record)
        elif not (self.options.quiet and well):
            self._print(render.line(checked))
        self.records.append({**record, "readers": None})

    def _show(self, checked: Replay, compared: list[render.Comparison], record: dict[str, Any]) -> None:
        from rich.text import Text

        self.output.print(Text(render.printable(checked.recording.name), "bold"), soft_wrap=True)
        self.output.print(Text(render.headline(checked)), soft_wrap=True)
        self.output.print(Text.assemble(*render.conclusion(checked)))
        if checked.report.anomalies:
            self.output.print()
            self.output.print(render.findings(checked))
        if compared:
            self.output.print()
            self.output.print(render.comparison(compared, self.version))
        for line in (fixes.told(record) if record["fixed"] else "", render.advice(checked)):
            if line:
                self.output.print()
                self.output.print(Text(line), soft_wrap=True)
        self.output.print()

    def _try_writing(self, write: Any) -> None:
        try:
            write()
        except fixes.Unwritten as problem:
            self.failed = True
            self._hide()
            if problem.is_final:
                raise _Refused(f"{problem}.") from problem
            self.tell(f"{problem}.")

    # --- the SDK

    def _find_sdk(self) -> None:
        from streamwatch.cli.common import client_code

        self.version = client_code.sdk_version()
        if not self.version:
            self.tell(
                "openai cannot be imported here: what a client gets is not shown, only what the streams hold."
                " To see both: pip install openai."
            )

    def _compare(self, recording: Recording) -> list[render.Comparison]:
        """Return what each reader gets, without and with Streamwatch."""
        from streamwatch.cli.common import client_code

        those = [each for each in client_code.readers_of(recording.api) if self.options.with_async or not each.is_async]
        connect = client_code.served(recording.body, cut=recording.cut)
        request = {**recording.request, "n": choices_asked(recording)}
        self._say_what_takes_long(recording, 2 * len(those))
        with client_code.watched(None):
            plain = [client_code.read(each, connect, request) for each in those]
        with client_code.watched(self.settings):
            repaired = [client_code.read(each, connect, request) for each in those]
        return [
            render.Comparison(reader, one, two)
            for reader, one, two in zip(those, plain, repaired, strict=True)
            if one is not None and two is not None
        ]

    def _say_what_takes_long(self, recording: Recording, times: int) -> None:
        """Say before the first large stream is read why nothing is printed for a while, and how to do without."""
        if self._has_warned or self.options.as_json or len(recording.body) < _LARGE:
            return
        self._has_warned = True
        self._hide()
        self.tell(
            f"{recording.name} is large ({len(recording.body):,} bytes), and openai {self.version} reads it"
            f" {times} times: this takes a while. --no-sdk shows at once what it holds."
        )
