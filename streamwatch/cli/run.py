"""`streamwatch run`: start an application with everything switched on.

It becomes `opentelemetry-instrument` of the same environment, which becomes the application: there is no process in
between, and no shell, so that signals, standard input and the exit code are the application's own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from streamwatch.cli.common.environment import address, filled_in, obstacles, scrub, shown
from streamwatch.core.settings import Policy

_INSTRUMENT = "opentelemetry-instrument"
_INSTALL = "pip install openai-streamwatch"

#: Each option, and the variable that it sets.
_OPTIONS = {
    "repair": "STREAMWATCH_REPAIR",
    "port": "OTEL_EXPORTER_PROMETHEUS_PORT",
    "host": "OTEL_EXPORTER_PROMETHEUS_HOST",
    "otlp": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "service": "OTEL_SERVICE_NAME",
    "capture": "STREAMWATCH_CAPTURE_DIR",
}
#: Bytes of a program that are looked at for its first line: no system takes a longer one.
_SHEBANG = 512
_PYTHON = re.compile(r"(python|pypy)[0-9.]*w?t?(\.exe)?", re.IGNORECASE)
#: Options of Python's: those that keep Streamwatch out, those whose value is the next argument, and what comes last and
#: names the program. Letters may stand together.
_ISOLATING = re.compile(r"-[^-cmWXIES]*([IES])")
_WITH_VALUE = re.compile(r"-[^-cmWXIES]*[WX]|--check-hash-based-pycs")
_PROGRAM = re.compile(r"-[^-cmWXIES]*[cm].*|[^-].*|-?", re.DOTALL)


class _CannotRunError(click.ClickException):
    """The command could not do its work."""

    exit_code = 2


def _policy(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    try:
        return text if text is None else Policy(text).text
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _endpoint(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and not (text.startswith(("http://", "https://")) and urlsplit(text).hostname):
        raise click.BadParameter("an endpoint is an address such as http://localhost:4318")
    return text


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--repair", metavar="POLICY", callback=_policy, help="Repair so: none, default, all, or refined: default,-reframe."
)
@click.option("--port", type=click.IntRange(0, 65535), help="Serve metrics on this port; 9464 by default, 0 is any.")
@click.option("--host", help="Serve metrics on this interface; localhost by default.")
@click.option("--otlp", metavar="ENDPOINT", callback=_endpoint, help="Send metrics and spans there by OTLP, too.")
@click.option("--service", metavar="NAME", help="Give the application this name in all telemetry.")
@click.option("--capture", metavar="DIR", help="Keep anomalous streams there, their content masked.")
@click.option("--dry-run", is_flag=True, help="Show what would be executed, with which variables; execute nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as one JSON object.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] PROGRAM [ARGUMENTS]...")
def run(command: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001 -- click's way
    """Start an application with Streamwatch.

    The same as `opentelemetry-instrument PROGRAM ...`. Each option sets one variable, nothing else; metrics are on
    localhost:9464 unless that is said otherwise.

    \b
    streamwatch run -- python app.py
    streamwatch run gunicorn --workers 2 app:app
    streamwatch run --repair none --otlp http://localhost:4318 -- python app.py
    streamwatch run --dry-run --capture /var/tmp/streams -- python app.py
    """  # noqa: D301 -- click keeps the lines after this character as they are
    chosen = {_OPTIONS[name]: str(value) for name, value in options.items() if value is not None}
    environ = {**os.environ, **chosen}
    executed = [instrument_program(), _program(command[0]), *command[1:]]
    said = [*_replaced(chosen, os.environ), *_doubts(executed[1:], environ)]
    if as_json:
        click.echo(json.dumps(_plan(executed, chosen, environ, said), indent=2))
        return
    for line in said:
        click.echo(f"streamwatch: {scrub(line, environ)}", err=True)
    if dry_run:
        click.echo(_written(executed, chosen, environ))
        return
    os.environ.update(chosen)
    if sys.stdout is not None:  # it is None where it was closed before the start
        sys.stdout.flush()
    try:
        if sys.platform == "win32":
            sys.exit(_run_below(executed))
        os.execvp(executed[0], executed)  # noqa: S606 -- to run a program is what was asked for
    except OSError as error:
        raise _CannotRunError(
            f"{executed[0]} cannot be run ({error.strerror or error}). {_INSTALL} installs it again."
        ) from None


def _run_below(command: list[str]) -> int:
    """Run a program and wait for its end: on Windows `exec` would end this process at once, its exit code unknown."""
    with subprocess.Popen(command) as process:  # noqa: S603 -- to run a program is what was asked for
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the program gets it as well, and says when it is over
                continue


def instrument_program() -> str:
    """Return the program of the running environment, whatever else is on the PATH."""
    found = shutil.which(_INSTRUMENT, path=_our_programs())
    if found is None:
        raise _CannotRunError(f"There is no {_INSTRUMENT} beside {sys.executable}. {_INSTALL} installs it.")
    return found


def _our_programs() -> str:
    places = [Path(sys.executable).parent, sysconfig.get_path("scripts"), Path(sys.argv[0]).absolute().parent]
    return os.pathsep.join(map(str, places))


def _program(name: str) -> str:
    # Where the environment is not activated, its programs are not on the PATH.
    found = shutil.which(name) or shutil.which(name, path=_our_programs())
    if found is None:
        hint = f" To run a script: streamwatch run -- python {name}" if name.endswith(".py") else ""
        raise _CannotRunError(f"There is no program {name!r}, on the PATH or beside {sys.executable}.{hint}")
    return found


# --- what is worth a line


def _replaced(chosen: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    """Refuse to replace in silence what the environment says: yield a sentence for each option that would."""
    for name, value in chosen.items():
        if environ.get(name) not in (None, "", value):
            yield f"{name}={shown(name, environ[name])} of the environment gives way to {shown(name, value)}."


def _doubts(command: list[str], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield why the application may run without Streamwatch, or without what it is expected to do."""
    program, *arguments = command
    foreign = _foreign_python(program)
    if foreign is not None:
        runs = "is" if str(foreign) == program else f"runs with {foreign}, which is"
        yield (
            f"{program} {runs} not the Python that Streamwatch is installed in"
            f" ({sys.executable}): streams may go unwatched. Activate that environment, or name its own program."
        )
    else:
        yield from (f"{what} {remedy}" for what, remedy in unsupported())
    option = _isolation(arguments) if _PYTHON.fullmatch(Path(program).name) else ""
    if option:
        yield (
            f"Python's option {option} keeps Streamwatch out, which is loaded by way of PYTHONPATH: streams go"
            " unwatched. Leave it out, or call streamwatch.instrument() in the program."
        )
    yield from (f"{one.what} {one.remedy}" for one in obstacles(environ))


def _isolation(arguments: list[str]) -> str:
    """Return the option of Python's that leaves PYTHONPATH or the module `site` out, or nothing."""
    given = iter(arguments)
    for argument in given:
        if _PROGRAM.fullmatch(argument):
            break
        if found := _ISOLATING.match(argument):
            return f"-{found[1]}"
        if _WITH_VALUE.fullmatch(argument):
            next(given, None)
    return ""


def unsupported() -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the client that is installed, and what to do about it."""
    from opentelemetry.instrumentation.dependencies import get_dependency_conflicts

    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

    conflict = get_dependency_conflicts(StreamwatchInstrumentor().instrumentation_dependencies())
    if conflict is None:
        return
    if conflict.found:
        yield (
            f"{conflict.found} is installed, and Streamwatch knows {conflict.required}: streams are not watched.",
            "See whether a newer openai-streamwatch knows this release.",
        )
    else:
        yield "openai is not installed beside Streamwatch: there is nothing to watch.", "pip install openai"


def _python_of_script(path: Path) -> Path:
    """Return the Python that the first line of a script names, or else the running one."""
    with path.open("rb") as file:
        first = file.readline(_SHEBANG)
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    if len(words) == 2 and words[0].endswith("/env"):
        words = [found] if (found := shutil.which(words[1])) else []
    return Path(words[0]) if words and "python" in words[0] else Path(sys.executable)


def _foreign_python(program: str) -> Path | None:
    """Return the Python of a program, where it is that of another environment."""
    path = Path(program).absolute()
    if not path.name.lower().startswith(("python", "pypy")):
        try:
            path = _python_of_script(path)
        except OSError:
            return None
    ours, theirs = Path(sys.executable).parent.resolve(), path.parent.resolve()
    same = ours == theirs or (not _is_virtual() and path.resolve() == Path(sys.executable).resolve())
    return None if same else path


def _is_virtual() -> bool:
    return sys.prefix != sys.base_prefix


# --- what would be done


def _plan(
    executed: list[str], chosen: Mapping[str, str], environ: Mapping[str, str], said: list[str]
) -> dict[str, Any]:
    given = {name: value for name, value in environ.items() if name.startswith(("STREAMWATCH_", "OTEL_")) and value}
    return {
        "command": [scrub(word, environ) for word in executed],
        "set": {name: shown(name, value) for name, value in sorted(chosen.items())},
        "inherited": {name: shown(name, value) for name, value in sorted(given.items()) if name not in chosen},
        "filled_in": filled_in(environ),
        "warnings": [scrub(line, environ) for line in said],
    }


def _written(executed: list[str], chosen: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Write a command as it is typed in a shell; credentials are left out."""
    words = [
        f"{name}={shlex.quote(address(value) if '://' in value else value)}" for name, value in sorted(chosen.items())
    ]
    return scrub(" ".join([*words, shlex.join(executed)]), environ)
