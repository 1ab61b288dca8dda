"""`streamwatch doctor`: whether an application that is started here would be watched, and where its telemetry would go.

It really starts one, as `opentelemetry-instrument` does and with the caller's environment, and has it read streams
through the installed client: what is in force is seen, and not concluded. Exporters are off meanwhile: nothing is sent
anywhere, and no port but one of its own is taken.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from streamwatch.cli.common import environment
from streamwatch.cli.doctor import destinations, installed
from streamwatch.cli.doctor.diagnostics import Diagnostic, note, problem

#: Seconds for the application: importing openai takes ten of them on a slow machine.
_PATIENCE = 120.0
#: Lines of what was said at the start, and characters of each: a traceback is not a screen of its own.
_MOST_LINES, _MOST_CHARACTERS = 6, 300
#: What OpenTelemetry says of configurators that were not asked for.
_USUAL = re.compile(r"Configuration of ((?!streamwatch )\S+ not loaded|.* is set by OTEL_PYTHON_CONFIGURATOR)")

#: What is to be done about what nobody can explain.
_REPORT = "Report it with this output."
_READER = "streamwatch_prometheus"  # the entry point of Streamwatch's Prometheus reader

#: How lines begin that are coloured.
_STYLES = {
    "- **problem**": "bold red",
    "- **note**": "yellow",
    "- wrong": "red",
    "- ok": "green",
    "###": "bold",
}


@click.command()
@click.option("--network", is_flag=True, help="Ask the OTLP endpoint, too: with an export of nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(network: bool, as_json: bool) -> None:  # noqa: FBT001 -- click passes it by name
    """Check whether Streamwatch would work in an application that is started here.

    Starts one with your environment and lets it read streams through your openai client, from a server inside of it.
    Nothing is sent anywhere; no keys, headers or credentials are shown. Paste the output into a report of a bug.

    \b
    streamwatch doctor
    streamwatch doctor --network
    streamwatch doctor --json | jq .findings
    """  # noqa: D301 -- click keeps the lines after this character as they are
    if not as_json:
        click.echo("Starting an application with your environment ...", err=True)
    seen = _scrubbed(examine(os.environ, network=network), environment.secrets(os.environ))
    if as_json:
        click.echo(json.dumps(seen, indent=2))
    else:
        _show(seen)
    sys.exit(1 if seen["problems"] else 0)


def _scrubbed(value: Any, secrets: list[str]) -> Any:
    """Return the same without secrets, wherever in it."""
    if isinstance(value, str):
        return environment.without(secrets, value)
    if isinstance(value, dict):
        return {name: _scrubbed(one, secrets) for name, one in value.items()}
    return [_scrubbed(one, secrets) for one in value] if isinstance(value, list) else value


def examine(environ: Mapping[str, str], *, network: bool = False) -> dict[str, Any]:
    """Return all that was found, the worst first."""
    filled = {**environ, **environment.filled_in(environ)}
    used, wrong = destinations.exporters(filled)
    serves = _READER in used["metrics"] and environment.in_charge(environ) and not _builds_none(environ)
    host, ports, of_ports = destinations.ports(environ) if serves else ("", [], [])
    otlp, of_otlp = _otlp(filled, used, network=network)
    diagnostics = [*_of_settings(environ), *installed.diagnostics(environ), *wrong, *of_ports, *of_otlp]
    tried = tried_out(environ, serves=serves)
    diagnostics += _of_trial(tried, diagnostics)
    diagnostics.sort(key=lambda one: not one.is_problem)
    return {
        "problems": sum(one.is_problem for one in diagnostics),
        "findings": [{"problem": one.is_problem, "what": one.what, "remedy": one.remedy} for one in diagnostics],
        "selftest": tried,
        "installed": installed.versions(),
        "executable": installed.where(),
        "neighbours": installed.neighbours(),
        "entry_points": installed.entry_points(),
        "distro": environment.other_distro(environ) or "streamwatch",
        "in_charge": environment.in_charge(environ),
        "exporters": used,
        "prometheus": {"host": host, "ports": [vars(port) | {"text": str(port)} for port in ports]},
        "otlp": otlp,
        "settings": [vars(one) for one in environment.variables(environ)],
    }


def _otlp(
    environ: Mapping[str, str], used: Mapping[str, list[str]], *, network: bool
) -> tuple[dict[str, dict[str, str]], list[Diagnostic]]:
    """Return where each signal goes by OTLP, and what is wrong with that."""
    targets = destinations.otlp(environ, used)
    diagnostics, told = list(destinations.of_otlp(targets)), {}
    answers = dict(destinations.asked(targets, environ)) if network else {}
    for signal, target in targets.items():
        finding = answers.get(signal)
        diagnostics += [finding] if finding else []
        state = "not asked" if signal not in answers else "does not answer as it should" if finding else "answers"
        where = environment.address(target["endpoint"])
        told[signal] = {"protocol": target["protocol"], "endpoint": where, "asked": state}
    return told, diagnostics


def _builds_none(environ: Mapping[str, str]) -> bool:
    """Return whether Streamwatch's configurator leaves the exporters alone."""
    return bool(environ.get("OTEL_CONFIG_FILE")) or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


# --- settings


def _of_settings(environ: Mapping[str, str]) -> Iterator[Diagnostic]:
    from streamwatch.core.settings import Settings

    settings, complaints = Settings.from_environ(environ)
    for complaint in complaints:
        yield problem(f"{complaint}.", "Correct it: the table of settings is in the README.")
    for name, meant in environment.misspelled(environ):
        what = f"{name} is read by nobody{f': was {meant} meant?' if meant else '.'}"
        yield problem(what, f"Rename it to {meant}." if meant else "Remove it; the settings are below.")
    for one in environment.obstacles(environ):
        yield problem(one.what, one.remedy) if one.is_off else note(one.what, one.remedy)
    if environ.get("OTEL_CONFIG_FILE"):
        yield note("OTEL_CONFIG_FILE names every exporter; it is not used in the self-test.", "Nothing.")
    folder = settings.capture_dir
    if folder and not _may_be_written(Path(folder).absolute()):
        yield problem(
            f"STREAMWATCH_CAPTURE_DIR={folder} is not a directory that this user may write to, or make.",
            "Name another one, or give this user the right.",
        )


def _may_be_written(folder: Path) -> bool:
    """Return whether a directory is there and writable, or can be made."""
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError:  # no name for a file at all
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


# --- the application


def tried_out(environ: Mapping[str, str], *, serves: bool) -> dict[str, Any]:
    """Return what an application gets that is started with this environment, and what was said at its start."""
    from streamwatch.cli.run import instrument_program

    with tempfile.TemporaryDirectory(prefix="streamwatch-") as folder:
        path = Path(folder, "result.json")
        try:
            command = [instrument_program(), sys.executable, "-m", "streamwatch.cli.doctor.selftest", str(path)]
            ran = subprocess.run(  # noqa: S603 -- the command is ours
                command,
                env=_quiet(environ, folder, serves=serves),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
            said = [line for line in ran.stderr.splitlines() if line.strip() and not _USUAL.search(line)]
            result: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
            result.setdefault("error", f"it ended with code {ran.returncode} and said nothing")
            result["at_start"] = [line[:_MOST_CHARACTERS] for line in said[-_MOST_LINES:]]
        except subprocess.TimeoutExpired:
            result = {"error": f"it did not end within {_PATIENCE:g} s", "at_start": []}
        except (OSError, click.ClickException) as error:
            result = {"error": f"it cannot be started: {getattr(error, 'message', error)}", "at_start": []}
    return {"readings": [], "said": [], **result, "serves": serves}


def _quiet(environ: Mapping[str, str], folder: str, *, serves: bool) -> dict[str, str]:
    """Return the caller's environment, with nothing sent or kept, and the endpoint on a port that nobody knows."""
    quiet = {name: value for name, value in environ.items() if name != "OTEL_CONFIG_FILE"}
    quiet.update(dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER"), "none"))
    quiet["OTEL_METRICS_EXPORTER"] = "prometheus" if serves else "none"
    quiet.update(OTEL_EXPORTER_PROMETHEUS_HOST="localhost", OTEL_EXPORTER_PROMETHEUS_PORT="0")
    quiet["STREAMWATCH_SUMMARY"] = "never"
    if environ.get("STREAMWATCH_CAPTURE_DIR", "").strip():
        quiet["STREAMWATCH_CAPTURE_DIR"] = folder
    return quiet


def _of_readings(tried: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Yield the streams that the application read, what it had of them, and how many were counted."""
    for reading in tried["readings"]:
        if not (reading["right"] and reading.get("verdict")):
            came = "came unwatched" if reading["right"] else f"came otherwise than it must: {reading['came']}"
            yield problem(f"{_named(reading)}: {came}.", _REPORT)
    if tried.get("fills_dicts") is False:
        what = f"Dicts of chunks are the SDK's own here ({tried['unfilled']}): KeyError: 'content' is not repaired"
        yield note(f"{what}.", "Read the attribute, `delta.content`; report it with this output.")
    if tried["serves"] and tried["counted"] != len(tried["readings"]):
        what = f"{tried['counted']} streams are in the metrics, of {len(tried['readings'])} that were read"
        yield problem(f"{what}: other code may have set up OpenTelemetry's MeterProvider first.", _REPORT)


def _of_trial(tried: Mapping[str, Any], known: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield what the application met with; what follows from earlier diagnostics is not repeated."""
    explained = any(one.is_problem for one in known)
    if tried["error"]:
        if not (explained and tried.get("missing") == "openai"):
            yield problem(f"The self-test failed: {tried['error']}.", _shadowing() or _REPORT)
    elif not tried["active"]:
        if not explained:
            yield problem("Streamwatch is not switched on in an application that is started here.", _REPORT)
    elif not tried["hooked"]:
        yield problem(f"openai {tried['openai']} is not watched: it is not built as Streamwatch knows it.", _REPORT)
    else:
        yield from _of_readings(tried)
    for line in (*tried["at_start"], *tried["said"]):
        if not any(line.removeprefix("streamwatch: ").lower() in one.what.lower() for one in known):
            yield note(f"Said in the self-test: {line}", "Nothing, if this is expected.")


def _shadowing() -> str:
    """Return a file of the user's that is imported instead of a package: the classic mistake."""
    for name in ("openai", "httpx", "httpx2", "pydantic"):
        for path in (Path(f"{name}.py"), Path(name, "__init__.py")):
            if path.exists():
                return f"{path} in this directory is imported instead of the package: rename it."
    return ""


def _named(reading: Mapping[str, Any]) -> str:
    return f"{reading['stream']}, {reading['way']}, {', '.join(reading['fault']) or 'healthy'}"


# --- for people


def _show(seen: Mapping[str, Any]) -> None:
    from rich.text import Text

    from streamwatch.cli.common.console import output

    console = output()
    for line in _lines(seen):
        style = next((style for start, style in _STYLES.items() if line.startswith(start)), "")
        words = len(next((start for start in _STYLES if line.startswith(start)), ""))
        console.print(Text.assemble((line[:words], style), line[words:]), soft_wrap=True)


def _lines(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield Markdown, so that it can be pasted."""
    notes = len(seen["findings"]) - seen["problems"]
    yield f"### streamwatch doctor: {_count(seen['problems'], 'problem')}, {_count(notes, 'note')}"
    yield from [""] if seen["findings"] else []
    for finding in seen["findings"]:
        yield f"- **{'problem' if finding['problem'] else 'note'}** {finding['what']} → {finding['remedy']}"
    yield from _trial_lines(seen["selftest"])
    yield from ("", "### Installed", "")
    versions = ", ".join(f"{name} {version}" for name, version in seen["installed"].items())
    yield f"- {versions}"
    yield f"- in {seen['executable']}"
    others = ", ".join(f"{name} {version}" for name, version in seen["neighbours"].items())
    yield f"- other instrumentations of the OpenAI client: {others or 'none'}"
    groups = seen["entry_points"]
    yield f"- distros: {', '.join(groups['distro']) or 'none'}; instrumentors: {', '.join(groups['instrumentor'])}"
    yield from ("", "### Where telemetry goes", "")
    yield from _destination_lines(seen)
    yield from ("", "### Settings", "", "| variable | value | from |", "|---|---|---|")
    for one in seen["settings"]:
        if one["source"] != "default":
            yield f"| {one['name']} | {one['value'].replace('|', chr(92) + '|')} | {one['source']} |"
    defaults = [one for one in seen["settings"] if one["source"] == "default"]
    values = " ".join(f"{one['name'].removeprefix('STREAMWATCH_')}={one['value']}" for one in defaults)
    yield from ("", f"STREAMWATCH_* by default: {values}")


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _trial_lines(tried: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", "### Self-test", "")
    if tried["error"]:
        yield f"- wrong: {tried['error']}"
    for reading in tried["readings"]:
        found = "; ".join(
            f"{kind}: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items()) or 'found'}"
            for kind, outcomes in reading.get("kinds", {}).items()
        )
        begin = "ok" if reading["right"] and reading.get("verdict") else "wrong"
        told = ", ".join(reading[name] for name in ("verdict", "condition") if reading.get(name)) or "not watched"
        yield f"- {begin}: {_named(reading)}: came {reading['came']}; {told}{f' ({found})' if found else ''}"
    if tried.get("fills_dicts"):
        yield '- ok: `to_dict()` of a chunk without content answers ""; its attribute is None'
    if tried["serves"] and not tried["error"]:
        yield f"- metrics: {tried['counted']} of {len(tried['readings'])} streams counted"


def _port_line(prometheus: Mapping[str, Any]) -> str:
    """Return what is on the ports up to the first free one, and where else Streamwatch listens."""
    ports = prometheus["ports"]
    states = [port["state"] for port in ports]
    shown = ports[: states.index("free") + 1 if "free" in states else None]
    ours = [port for port in ports[len(shown) :] if port["state"] == "streamwatch"]
    return f"- Prometheus on {prometheus['host']}: {', '.join(port['text'] for port in (*shown, *ours))}"


def _destination_lines(seen: Mapping[str, Any]) -> Iterator[str]:
    used = seen["exporters"]
    if not seen["in_charge"]:
        yield f"- as the distro {seen['distro']!r} and its configurator decide"
    if seen["prometheus"]["ports"]:
        yield _port_line(seen["prometheus"])
    for signal, target in seen["otlp"].items():
        yield f"- {signal} by OTLP ({target['protocol']}) to {target['endpoint']}: {target['asked']}"
    for signal in ("metrics", "traces"):
        rest = [name for name in used[signal] if name != _READER and not name.startswith("otlp")]
        if rest:
            yield f"- {signal} to {', '.join(rest)}"
        if not used[signal] and seen["in_charge"]:
            yield f"- {signal}: nowhere"
