"""Show what Streamwatch does: a server that breaks its streams, an application, and a live table."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from streamwatch.core.settings import Settings
from streamwatch.demo.processes import Demo, DemoError

if TYPE_CHECKING:
    from rich.console import Console

    from streamwatch.cli.common.table import View

#: What the extra `demo` brings.
_LIBRARIES = ("openai", "starlette", "uvicorn", "rich")

#: Seconds between two looks: often enough to seem alive, and a scrape costs the application some milliseconds.
_LOOK_SECONDS = 0.5

#: Columns of the table where the output is not a terminal, so that no line is cut.
_WIDTH = 120


def main() -> int:
    """Run the demo; 0 if it was shown, however it ended."""
    options = _arguments().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by a script, it sums up as well
    try:
        missing = [name for name in _LIBRARIES if find_spec(name) is None]
        if missing:
            msg = (
                f"The demo needs {', '.join(missing)}: pip install 'openai-streamwatch[demo]' installs what is missing."
            )
            raise DemoError(msg)
        _run(options)
    except DemoError as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before there was anything to sum up, or while it was summed up
        return 0
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamwatch.demo", description=__doc__)
    parser.add_argument("--seconds", type=_positive, help="end after N seconds (default: Ctrl-C ends it)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another order of faults (default: 1)")
    parser.add_argument("--rate", type=_positive, default=10.0, help="requests a second (default: 10)")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        msg = f"{text} is not more than 0"
        raise argparse.ArgumentTypeError(msg)
    return number


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console

    from streamwatch.cli.common.table import draw

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    with ExitStack() as processes:
        console.print("Starting a server that breaks its streams, and an application that reads them ...")
        demo = Demo(options.seed, options.rate, processes)
        length = f"for {options.seconds:g} s" if options.seconds else "until Ctrl-C"
        console.print(f"Running {length}; the metrics are on {demo.metrics_url}")
        try:
            _watch(demo, options.seconds, console)
        except KeyboardInterrupt:
            console.print("Ending ...")
        demo.settle()
        console.print(draw(_view(demo)))
        console.print(_hint())


def _watch(demo: Demo, seconds: float | None, console: Console) -> None:
    """Show the table until the time is over; where there is no terminal, only wait."""
    from rich.live import Live

    from streamwatch.cli.common.table import draw

    end = time.monotonic() + seconds if seconds else float("inf")
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while time.monotonic() < end:
            demo.check()
            if console.is_terminal:
                live.update(draw(_view(demo), console.height), refresh=True)
            time.sleep(_LOOK_SECONDS)


def _view(demo: Demo) -> View:
    from streamwatch.cli.common.table import View

    settings, _ = Settings.from_environ(os.environ)
    title = f"Streamwatch on {demo.metrics_url}, STREAMWATCH_REPAIR={settings.repair.text}"
    return View(
        title,
        settings.repair.observe,
        demo.measured(),
        demo.sent(),
        demo.totals(),
        demo.notices(),
        demo.totals_beside(),
    )


def _hint() -> str:
    settings, _ = Settings.from_environ(os.environ)
    if settings.repair.observe:
        return "\nNothing was repaired: both applications fail alike. Now try: make demo"
    return (
        "\nBoth servers broke their streams on the same schedule. What cannot be repaired fails in both applications."
    )


if __name__ == "__main__":
    sys.exit(main())
