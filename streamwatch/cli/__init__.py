"""`streamwatch` on the command line. Each command is a module of its own, imported when it is asked for.

Exit codes, of every command: 0 all is well; 1 the command did its work, and something is wrong with what it looked at;
2 it could not do its work, because of how it was called or of what it was given. Standard output has results only;
progress and errors go to standard error.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from streamwatch.cli.common.plain import use_what_the_encoding_has
from streamwatch.cli.common.results import written
from streamwatch.version import __version__

#: In the order of `--help`: the modules of this package, each with a command of that name.
COMMANDS = {
    "run": "run",
    "doctor": "doctor.command",
    "top": "top.command",
    "check": "check.command",
    "probe": "probe.command",
    "kinds": "kinds.command",
    "explain": "kinds.command",
    "dashboards": "dashboards.command",
    "completion": "completion",
}


class _Commands(click.Group):
    """The commands of the table; `streamwatch kinds` does not wait for what another command imports."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with written():
            return super().main(*args, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="streamwatch")
def main() -> None:
    """Detect broken OpenAI streams, repair what is provably safe, and measure the rest.

    To watch an application, start it with: opentelemetry-instrument python app.py
    """
    use_what_the_encoding_has()
