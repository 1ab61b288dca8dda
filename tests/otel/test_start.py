"""What a process does at its start under `opentelemetry-instrument`, and what waits until something needs it."""

from __future__ import annotations

import os
import subprocess
import textwrap

import pytest

from helpers.instrumented import command, environment, finished_alone

#: What a program costs that it does not need: OpenTelemetry's SDK, Prometheus, HTTP, the clients, and most of this.
LATE = (
    *("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation.httpx", "prometheus_client"),
    *("http.server", "http.client", "requests", "urllib.request", "openai", "httpx", "httpx2", "pydantic"),
    *("streamwatch.core", "streamwatch.sdk", "streamwatch.cli", "streamwatch.otel.providers"),
    *(
        "streamwatch.otel.serving",
        "streamwatch.otel.prometheus_reader",
        "streamwatch.otel.prometheus_families",
        "streamwatch.export.telemetry",
    ),
)
#: What most programs below ask.
HELPERS = """
    import os, sys
    first = int(os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"])

    def served(port=first):
        import urllib.request
        try:
            return urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=20).read().decode()
        except OSError:
            return ""

    def built():
        return "opentelemetry.sdk._configuration" in sys.modules

    before = built()
"""


def ran(code: str, ports: range, **environ: str) -> list[str]:
    """What a program prints under the agent, with Streamwatch and its companions on."""
    done = subprocess.run(
        command(textwrap.dedent(HELPERS) + textwrap.dedent(code)),
        env=environment(
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="", OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]), **environ
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def test_nothing_is_imported_that_a_program_may_never_need(ports: range) -> None:
    """And the endpoint answers from the start, with the version that is deployed."""
    code = f"""
    print([name for name in sys.modules if name.startswith({tuple(f"{each}." for each in LATE)!r}) or name in {LATE!r}])
    text = served()
    print("streamwatch_build_info{{" in text, "target_info{{" in text, built())
    """

    assert ["[]", "True True True"] == ran(code, ports)


#: What needs the providers, and shows that they are there.
NEEDS = {
    "a number": "from opentelemetry.metrics import get_meter; get_meter('app').create_counter('hits').add(3)",
    "a span": "from opentelemetry.trace import get_tracer; assert get_tracer('app').start_span('x').is_recording()",
    "the class of the tracers": """
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import get_tracer_provider
    assert isinstance(get_tracer_provider(), TracerProvider)""",
    "the class of the meters": """
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.metrics import get_meter_provider
    assert isinstance(get_meter_provider(), MeterProvider)""",
    "the class of the logs": """
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry._logs import get_logger_provider
    assert isinstance(get_logger_provider(), LoggerProvider)""",
    "the registry": "import prometheus_client; assert b'target_info{' in prometheus_client.generate_latest()",
    "a scrape": "assert 'target_info{' in served()",
    "a client": "import openai; openai.OpenAI(api_key='none')",
    "a client in asynchronous code": "from openai import AsyncAzureOpenAI as A; A(azure_endpoint='x', api_key='x', api_version='x')",
    "the client of the module": "import openai; openai.api_key = 'none'; openai.chat.completions",
    "a client of HTTP": "import httpx; httpx.AsyncClient()",
    "a client that is instrumented": "import opentelemetry.instrumentation.httpx",
}


@pytest.mark.slow  # the test above has one need in a quick run: a scrape
@pytest.mark.parametrize("need", NEEDS.values(), ids=NEEDS)
def test_the_providers_are_there_before_anything_can_tell(need: str, ports: range) -> None:
    """Whoever needs them first, and a number is counted from the first one on."""
    code = f"""
    {need}
    print(before, built(), "hits_total" in served())
    """

    assert [f"False True {'hits' in need}"] == ran(code, ports)


@pytest.mark.slow
def test_to_import_the_libraries_is_not_to_use_them(ports: range) -> None:
    """None of what is late is imported with them but their own, and their classes are as they were soon after."""
    code = f"""
    import inspect, openai, httpx
    if "httpx2" in sys.modules:
        import httpx2
    late = {tuple(name for name in LATE if name.partition(".")[0] in ("opentelemetry", "streamwatch", "prometheus_client"))!r}
    print([name for name in sys.modules if name in late], inspect.signature(openai.OpenAI).parameters["api_key"].kind.name)
    openai.OpenAI(api_key="none"), openai.AsyncOpenAI(api_key="none"), httpx.Client()
    classes = [getattr(sys.modules[name], one) for name in ("openai", "httpx", "httpx2") if name in sys.modules
               for one in ("OpenAI", "AsyncOpenAI", "Client", "AsyncClient") if hasattr(sys.modules[name], one)]
    print({{one.__init__.__code__.co_filename.rpartition(os.sep)[2] for one in classes}})
    """

    assert ["[] KEYWORD_ONLY", "{'_client.py'}"] == ran(code, ports)


#: How an application gets its client; it reads a stream with it, and says what was counted.
CLIENTS = {
    "sync": "client = openai.OpenAI(**options)",
    "a class of its own": """
    class Client(openai.OpenAI):
        def __init__(self, **more):
            super().__init__(**more)
    client = Client(**options)""",
    "two threads at once": """
    import threading
    made = []
    threads = [threading.Thread(target=lambda: made.append(openai.OpenAI(**options))) for _ in range(4)]
    [each.start() for each in threads], [each.join() for each in threads]
    client = made[0]""",
    "a client of HTTP made before": """
    import httpx2 as httpx
    client = openai.OpenAI(**options, http_client=httpx.Client())""",
}


@pytest.mark.slow  # in a quick run test_known_issues.py watches one
@pytest.mark.parametrize("made", CLIENTS.values(), ids=CLIENTS)
def test_the_first_client_is_watched(made: str, ports: range) -> None:
    """And not before: none of the agent is there."""
    if "httpx2" in made:
        pytest.importorskip("httpx2")
    code = f"""
    import openai
    before = "streamwatch.sdk.instrumentor" in sys.modules
    options = dict(api_key="none", base_url=f"http://localhost:{{first}}", max_retries=0)
    {textwrap.indent(textwrap.dedent(made), "    ").strip()}
    from streamwatch.sdk.instrumentor import StreamwatchInstrumentor, agent
    print(before, agent.is_patched, StreamwatchInstrumentor().is_instrumented_by_opentelemetry)
    try:
        client.chat.completions.create(model="m", messages=[], stream=True)
    except openai.APIStatusError:
        print("http_client_" in served())
    """

    assert ["False True True", "True"] == ran(code, ports)


@pytest.mark.slow
def test_what_may_have_clients_already_is_watched_at_once(ports: range) -> None:
    """A program that sets OpenTelemetry up after its clients are made has them watched."""
    code = """
    import openai
    client = openai.OpenAI(api_key="none")
    from opentelemetry.instrumentation.auto_instrumentation import initialize
    initialize()
    from streamwatch.sdk.instrumentor import agent
    print(agent.is_patched)
    """
    done = finished_alone(code, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="", OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]))

    assert (0, "True\n") == (done.returncode, done.stdout), done.stderr


@pytest.mark.slow
def test_who_switches_it_off_before_the_import_has_it_off(ports: range) -> None:
    """An application that takes the switch in its hand has it switched on first, as at the start."""
    code = """
    import streamwatch
    streamwatch.uninstrument()
    import openai
    from streamwatch.sdk.instrumentor import agent
    print(agent.is_patched)
    """

    assert ["False"] == ran(code, ports)


@pytest.mark.slow
def test_what_the_environment_said_at_the_start_counts(ports: range) -> None:
    """Whatever needs the providers first, and when: they are the same."""
    code = """
    os.environ["OTEL_SERVICE_NAME"] = "late"
    os.environ["OTEL_METRICS_EXPORTER"] = "console"
    text = served()
    print('service_name="early"' in text, [os.environ[f"OTEL_{name}"] for name in ("SERVICE_NAME", "METRICS_EXPORTER")])
    """

    assert ["True ['late', 'console']"] == ran(code, ports, OTEL_SERVICE_NAME="early")


@pytest.mark.slow  # test_distro.py has a forked child in a quick run
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_an_endpoint_before_it_has_anything_to_serve(ports: range) -> None:
    """On a port of its own, with what it counts itself."""
    code = """
    import time
    to_child = os.pipe()
    if os.fork() == 0:
        from opentelemetry.metrics import get_meter
        get_meter("app").create_counter("hits").add(2)
        os.read(to_child[0], 1)
        os._exit(0)
    end = time.monotonic() + 10
    while not served(first + 1) and time.monotonic() < end:
        time.sleep(0.1)
    for port in (first, first + 1):
        text = served(port)
        print([line.split()[-1] for line in text.splitlines() if line.startswith("hits_total")], "target_info{" in text)
    os.write(to_child[1], b"x")
    os.wait()
    """

    assert ["[] True", "['2.0'] True"] == ran(code, ports)


@pytest.mark.slow
def test_a_thread_that_records_while_another_one_is_asked_loses_nothing(ports: range) -> None:
    """The first scrape and the first number at once: the providers are built once."""
    code = """
    import threading
    from opentelemetry.metrics import get_meter
    scrape = threading.Thread(target=served)
    scrape.start()
    get_meter("app").create_counter("hits").add(1)
    scrape.join()
    print([line.split()[-1] for line in served().splitlines() if line.startswith("hits_total")])
    """

    assert ["['1.0']"] == ran(code, ports)


@pytest.mark.slow
def test_a_terminal_has_its_lines_without_any_stream(ports: range) -> None:
    """The first line is there at the start, before the program has done anything."""
    done = subprocess.run(
        command("import sys; sys.stderr.write('the program\\n'); print('streamwatch.sdk' in sys.modules)"),
        env=environment(
            OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="",
            OTEL_EXPORTER_PROMETHEUS_PORT=str(ports[0]),
            STREAMWATCH_SUMMARY="always",
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, program, *rest = done.stderr.splitlines()

    assert first.endswith(f"metrics are on http://localhost:{ports[0]}/metrics")
    assert "the program" == program
    assert rest[0].startswith("streamwatch: no streams in this process")
    assert "False\n" == done.stdout
