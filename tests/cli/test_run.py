"""`streamwatch run` becomes the application, with Streamwatch on; what it changes, it says."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamwatch.cli import main
from streamwatch.cli import run as _run  # noqa: F401 -- the module, before its command takes the name
from streamwatch.cli.common import environment
from streamwatch.otel.distro import StreamwatchDistro
from streamwatch.sdk.instrumentor import StreamwatchInstrumentor

module = sys.modules["streamwatch.cli.run"]
MAIN = [sys.executable, "-c", "from streamwatch.cli import main; main()"]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is configured."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "STREAMWATCH_")):
            monkeypatch.delenv(name)


def run(*arguments: str) -> Result:
    """The command, in this process: nothing is executed."""
    return CliRunner().invoke(main, ["run", *arguments])


def plan(*arguments: str) -> dict[str, object]:
    """What would be executed."""
    result = run("--json", *arguments, "--", sys.executable, "app.py")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def executed(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own; telemetry is off, as no port is to be taken."""
    return subprocess.run(
        [*MAIN, "run", *arguments],
        env={**os.environ, "OTEL_SDK_DISABLED": "true", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


# --- becoming the application


@pytest.mark.slow
def test_the_exit_code_and_the_output_are_those_of_the_application() -> None:
    """Nothing of ours is on standard output."""
    ran = executed("--", sys.executable, "-c", "print('hi'); raise SystemExit(7)")

    assert (7, "hi\n") == (ran.returncode, ran.stdout)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_signals_reach_the_application_itself() -> None:
    """There is no process in between: the application has the number of the one that was started."""
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [*MAIN, "run", "--port", "0", "--", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.pid == int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert -signal.SIGTERM == process.wait(60)


@pytest.mark.slow  # test_known_issues.py starts the same in a quick run
def test_streamwatch_is_on_in_the_application() -> None:
    """With our distro, as nothing else was named."""
    try:
        importlib.metadata.distribution("openai-streamwatch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("openai-streamwatch is not installed here")
    code = (
        "import os; from streamwatch.sdk.instrumentor import StreamwatchInstrumentor as S;"
        "print(S().is_instrumented_by_opentelemetry, os.environ['OTEL_PYTHON_DISTRO'])"
    )
    assert "True streamwatch\n" == executed("--", sys.executable, "-c", code).stdout


@pytest.mark.slow
def test_arguments_reach_the_application_as_they_are() -> None:
    """Also those that look like options of ours, have spaces, or are empty: there is no shell."""
    words = ["--json", "--port", "3", "--", "a b", "", "$HOME", "*"]
    ran = executed(sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words)

    assert words == json.loads(ran.stdout)


# --- options


@pytest.mark.slow
def test_each_option_sets_the_documented_variable_and_nothing_else() -> None:
    """In the application itself."""
    given = {
        "--repair": ("all", "STREAMWATCH_REPAIR"),
        "--port": ("19464", "OTEL_EXPORTER_PROMETHEUS_PORT"),
        "--host": ("127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_HOST"),
        "--otlp": ("http://localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "--service": ("shop", "OTEL_SERVICE_NAME"),
        "--capture": ("captured", "STREAMWATCH_CAPTURE_DIR"),
    }
    arguments = [word for option, (value, _) in given.items() for word in (option, value)]
    code = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n[:3] in ('STR', 'OTE')}))"
    ran = executed(*arguments, "--", sys.executable, "-c", code, OTEL_TRACES_EXPORTER="none")

    # The last two are what our distro and `opentelemetry-instrument` set themselves.
    own = {"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_PYTHON_DISTRO", "OTEL_PYTHON_CONFIGURATOR"}
    seen = {name: value for name, value in json.loads(ran.stdout).items() if name not in own}
    assert {name: value for value, name in given.values()} == seen
    assert set(module._OPTIONS.values()) == set(seen)


def test_without_options_nothing_is_set() -> None:
    """What is filled in is what the distro fills in by itself."""
    planned = plan()

    assert ({}, {}, []) == (planned["set"], planned["inherited"], planned["warnings"])
    assert "prometheus" == planned["filled_in"]["OTEL_METRICS_EXPORTER"]  # type: ignore[index]


def test_an_option_replaces_nothing_of_the_environment_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins, as it was typed last, and a line says so; the same value is no news."""
    monkeypatch.setenv("STREAMWATCH_REPAIR", "all")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    planned = plan("--repair", "none", "--service", "shop")

    assert {"STREAMWATCH_REPAIR": "none", "OTEL_SERVICE_NAME": "shop"} == planned["set"]
    assert ["STREAMWATCH_REPAIR=all of the environment gives way to none."] == planned["warnings"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--repair", "everything"), "'everything' is none of none, default, all"),
        (("--repair", "default,+nonsense"), "'nonsense' is neither a kind nor a strategy"),
        (("--port", "70000"), "0<=x<=65535"),
        (("--otlp", "localhost:4318"), "such as http://localhost:4318"),
        (("--nonsense",), "No such option"),
    ],
)
def test_a_value_that_is_not_usable_is_told_before_anything_runs(arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, by words that name what is wrong."""
    result = run(*arguments, "--", sys.executable, "-c", "print('ran')")

    assert 2 == result.exit_code
    assert "" == result.stdout
    assert said in result.stderr


# --- what would be done


@pytest.mark.slow
def test_a_dry_run_executes_nothing(tmp_path: Path) -> None:
    """And shows a line that does the same in a shell."""
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')"
    ran = executed("--dry-run", "--service", "my shop", "--", sys.executable, "-c", code, OTEL_SDK_DISABLED="")

    assert 0 == ran.returncode
    assert ran.stdout.startswith("OTEL_SERVICE_NAME='my shop' ")
    assert not mark.exists()
    subprocess.run(ran.stdout, shell=True, check=True, env={**os.environ, "OTEL_SDK_DISABLED": "true"}, timeout=120)
    assert mark.exists()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither headers, nor keys, nor credentials in an address, by any way out."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic hunter2hunter2")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter3hunter3")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hunter4@a.test/v1?token=hunter5")
    arguments = ("--otlp", "https://me:hunter6@b.test", "--", sys.executable, "-c", "sk-hunter3hunter3")
    for way in ("--json", "--dry-run"):
        result = run(way, *arguments)
        assert 0 == result.exit_code
        assert "hunter" not in result.output
        assert "b.test" in result.output


# --- what is worth a line


def test_a_program_that_is_none_is_told() -> None:
    """With what was probably meant."""
    result = run("app.py")

    assert (2, "") == (result.exit_code, result.stdout)
    assert "no program 'app.py'" in result.stderr
    assert "streamwatch run -- python app.py" in result.stderr


def test_a_program_of_our_environment_need_not_be_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nobody has activated it."""
    monkeypatch.setenv("PATH", "/nowhere")
    result = run("--json", Path(sys.executable).name)

    assert sys.executable == json.loads(result.stdout)["command"][1]
    assert [] == json.loads(result.stdout)["warnings"]


def test_a_missing_opentelemetry_instrument_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    monkeypatch.setattr(module, "_INSTRUMENT", "no-such-instrument")
    result = run(sys.executable)

    assert (2, "") == (result.exit_code, result.stdout)
    assert "no no-such-instrument beside" in result.stderr
    assert "pip install openai-streamwatch installs it" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_PYTHON_DISTRO", "distro", "OTEL_PYTHON_DISTRO=distro: that distro decides"),
        ("OTEL_PYTHON_CONFIGURATOR", "configurator", "that configurator builds the exporters"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "httpx, streamwatch", "switches Streamwatch off"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*", "switches Streamwatch off"),
        ("OTEL_SDK_DISABLED", "True", "nothing is exported"),
    ],
)
def test_what_the_environment_says_against_us_is_told(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; the application is started all the same."""
    assert [] == plan()["warnings"]
    monkeypatch.setenv(name, value)
    (line,) = plan()["warnings"]  # type: ignore[misc]

    assert said in line  # type: ignore[has-type]
    assert "\n" not in line  # type: ignore[has-type]


def test_another_distro_gets_none_of_our_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not read them from us."""
    monkeypatch.setenv("OTEL_PYTHON_DISTRO", "distro")

    assert {} == plan()["filled_in"]


@pytest.mark.parametrize(
    ("needed", "said"),
    [("no-such-client >= 1", "openai is not installed"), ("click > 99", "Streamwatch knows click > 99")],
)
def test_a_client_that_is_missing_or_unknown_is_told(needed: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the instrumentor itself sees it."""
    monkeypatch.setattr(StreamwatchInstrumentor, "instrumentation_dependencies", lambda self: (needed,))
    (line,) = plan()["warnings"]  # type: ignore[misc]

    assert said in line  # type: ignore[has-type]


@pytest.mark.skipif(os.name != "posix", reason="programs with a first line")
def test_a_program_of_another_environment_is_told(tmp_path: Path) -> None:
    """Streamwatch would not be there: by its first line, or because it is itself another Python."""
    other = tmp_path / "bin" / "python3"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    script = tmp_path / "serve"
    script.write_text(f"#!{other}\n")
    native = tmp_path / "native"
    native.write_bytes(b"\x7fELF\0\0")
    for program in (other, script, native):
        program.chmod(0o755)
    said = {path: run("--dry-run", str(path)).stderr for path in (other, script, native, Path(sys.executable))}

    assert f"{other} is not the Python that Streamwatch is installed in" in said[other]
    assert f"{script} runs with {other}, which is not the Python" in said[script]
    assert "" == said[native] == said[Path(sys.executable)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        *(("-I", "-I"), ("-E", "-E"), ("-S", "-S"), ("-IE", "-I"), ("-OE", "-E"), ("-W error -E", "-E")),
        *(("-X dev -I", "-I"), ("-Xdev -I", "-I"), ("--check-hash-based-pycs never -I", "-I")),
        *(("", ""), ("-O", ""), ("-W -I", ""), ("-XI", ""), ("-c -I", ""), ("-Bc pass -E", ""), ("-m app -E", "")),
        *(("app.py -I", ""), ("- -I", "")),
    ],
)
def test_an_option_of_python_that_keeps_streamwatch_out_is_told(options: str, named: str) -> None:
    """Python takes no PYTHONPATH then, which is the way in."""
    said = run("--dry-run", "--", sys.executable, *options.split(), "app.py").stderr

    assert (f"streamwatch: Python's option {named} keeps Streamwatch out" in said) is bool(named)
    assert named or said == ""


@pytest.mark.skipif(os.name != "posix", reason="programs with a first line")
@pytest.mark.parametrize(("name", "is_python"), [("python3.12", True), ("python", True), ("pythonic", False)])
def test_another_program_has_options_of_its_own(name: str, is_python: bool, tmp_path: Path) -> None:
    """A Python is known by its name, wherever it lies."""
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert ("keeps Streamwatch out" in run("--dry-run", "--", str(program), "-I").stderr) is is_python


# --- what it shares with `streamwatch doctor`


def test_what_is_said_to_be_filled_in_is_what_the_distro_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """By asking the distro itself."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    expected = environment.filled_in(os.environ)
    for name in expected:
        monkeypatch.setenv(name, "")  # so that it is put back after the test
    StreamwatchDistro()._configure()

    assert expected == {name: os.environ[name] for name in expected}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://me:pass@a.test/x", "https://a.test/x"),
        ("key sk-abcdefghijkl told", "key *** told"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("hunter2 and hunter22", "*** and ***2"),
        ("yes", "yes"),
    ],
)
def test_secrets_are_taken_out_of_any_text(text: str, left: str) -> None:
    """Those of the environment, and those that look like one."""
    environ = {"MY_PASSWORD": "hunter2", "SOME_TOKEN": "yes", "X_HEADERS": "a=b"}

    assert left == environment.scrub(text, environ)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STREAMWATCH_REPIAR", "STREAMWATCH_REPAIR"),
        ("STREAMWATCH_CAPTUREDIR", "STREAMWATCH_CAPTURE_DIR"),
        ("STREAMWACH_REPAIR", "STREAMWATCH_REPAIR"),
        ("streamwatch_repair", "STREAMWATCH_REPAIR"),
        ("STREAMWATCH_XYZZY", ""),
        ("OTEL_METRIC_EXPORTER", "OTEL_METRICS_EXPORTER"),
        ("OTEL_EXPORTER_OTLP_ENDPONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_a_misspelled_name_is_found(name: str, meant: str) -> None:
    """With the name that was meant, where there is one."""
    assert [(name, meant)] == list(environment.misspelled({name: "x", "PATH": "y", "HOME": "z"}))


def test_names_that_somebody_reads_are_not_misspelled() -> None:
    """Ours, OpenTelemetry's, and those of others."""
    read = [*environment.SETTINGS, "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_PROMETHEUS_PORT", "OTEL_PYTHON_DISTRO"]
    others = ["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "STREAMWATCH_E2E", "OPENAI_API_KEY", "_STREAMWATCH_COMPLETE"]

    assert [] == list(environment.misspelled(dict.fromkeys([*read, *others], "x")))
