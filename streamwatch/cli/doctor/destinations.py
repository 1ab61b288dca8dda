"""The destinations of telemetry: the Prometheus port and who has it, the OTLP endpoint and whether it answers."""

from __future__ import annotations

import errno
import io
import logging
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamwatch.cli.common.environment import address
from streamwatch.cli.common.scraping import Inquiry, NoAnswerError, exposition, fetch
from streamwatch.cli.doctor.diagnostics import Diagnostic, note, problem

#: Seconds for each of ten ports of this host: a listener that says nothing is reported as such.
_PATIENCE = 1.0
#: Seconds for an OTLP endpoint: its exporter gives it ten.
_OTLP_PATIENCE = 5.0

_OTLP = "OTEL_EXPORTER_OTLP_"
_GRPC_PORT = 4317
_SIGNALS = ("TRACES", "METRICS")
_PROMETHEUS = "streamwatch_prometheus"  # the entry point that the distro takes for `prometheus`


@dataclass(frozen=True)
class Port:
    """A port on which the metrics of a process may be; `by` says who has it."""

    number: int
    state: str  #: free, streamwatch, taken, unusable
    by: str = ""

    def __str__(self) -> str:
        words = {"free": "free", "streamwatch": "Streamwatch's", "taken": "taken", "unusable": "unusable"}[self.state]
        return f"{self.number} {words}{f' by {self.by}' if self.by else ''}"


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what Streamwatch logs meanwhile, line by line, instead of writing it anywhere."""
    text, logger, lines = io.StringIO(), logging.getLogger("streamwatch"), list[str]()
    handler, propagates = logging.StreamHandler(text), logger.propagate
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        lines += [line.removeprefix("streamwatch: ") for line in text.getvalue().splitlines()]


def exporters(environ: Mapping[str, str]) -> tuple[dict[str, list[str]], list[Diagnostic]]:
    """Return the exporters of each signal that can be used, and what is wrong with the others."""
    from streamwatch.otel.distro import usable_exporters

    with _heard() as lines:
        found = {signal.lower(): usable_exporters(signal, environ) for signal in (*_SIGNALS, "LOGS")}
    remedy = "Install the exporter that is named, or name another one in OTEL_*_EXPORTER."
    return found, [problem(line[:1].upper() + line[1:] + ".", remedy) for line in lines]


# --- Prometheus


def ports(environ: Mapping[str, str]) -> tuple[str, list[Port], list[Diagnostic]]:
    """Return the host, the ports up to the first one that the next process would take, and what is wrong with them."""
    from streamwatch.otel.endpoint import Endpoint

    with _heard() as lines:
        endpoint = Endpoint(environ)
    remedy = "Set OTEL_EXPORTER_PROMETHEUS_PORT to a free port; 0 is any."
    diagnostics = [problem(f"{line}.", remedy) for line in lines]
    found = [_port(endpoint.host, number) for number in endpoint.ports if number]
    unusable = next((port for port in found if port.state == "unusable"), None)
    if unusable is not None:
        what = f"OTEL_EXPORTER_PROMETHEUS_HOST={endpoint.host} is not usable ({unusable.by})"
        diagnostics.append(problem(f"{what}; localhost is used.", "Set it to an address of this host, or to 0.0.0.0."))
        return "localhost", [_port("localhost", port.number) for port in found], diagnostics
    return endpoint.host, found, [*diagnostics, *_of_ports(found, remedy)]


def _of_ports(found: list[Port], remedy: str) -> Iterator[Diagnostic]:
    free = [port for port in found if port.state == "free"]
    if found and not free:
        what = f"No port from {found[0].number} to {found[-1].number} is free: the next process has no endpoint."
        yield problem(what, remedy)
    elif found and found[0].state == "taken":
        what = (
            f"Port {found[0].number} is taken by {found[0].by}: the next process has its metrics on {free[0].number}."
        )
        yield note(what, f"Scrape that port, or free {found[0].number}. {remedy}")


def _port(host: str, number: int) -> Port:
    """Return whether a process could listen there now, as it would try it itself; else who does."""
    try:
        family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        with socket.create_server((host, number), family=family):
            return Port(number, "free")
    except (OSError, UnicodeError) as error:
        code = getattr(error, "errno", None)
        if code == errno.EACCES:
            return Port(number, "taken", "the system, for other users")
        if code != errno.EADDRINUSE:
            return Port(number, "unusable", getattr(error, "strerror", None) or str(error))
    near = "localhost" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 -- compared, not listened on
    named = f"[{near}]" if ":" in near else near
    try:
        url = f"http://{named}:{number}/metrics"
        version = Inquiry(lambda: exposition(fetch(url, _PATIENCE))).result(_PATIENCE).version
        return Port(number, "streamwatch", " ".join(filter(None, (version, _process(number)))))
    except NoAnswerError as error:
        return Port(number, "taken", _process(number) or f"another program: {error}")


def _listening(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a port; none where they can't be known."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
        except OSError:
            return set()
        fields = [line.split() for line in lines]
        # Address:port in hexadecimal; 0A is LISTEN.
        inodes |= {row[9] for row in fields if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    return inodes


def _process(port: int) -> str:
    """Return the process that listens on a port, where Linux says."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(one.readlink()) in wanted for one in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text('utf-8', 'replace').strip()})"
        except OSError:  # another user's, or it has ended
            continue
    return ""


# --- OTLP


def otlp(environ: Mapping[str, str], used: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """Return where each signal goes by OTLP, and how; credentials included."""
    from streamwatch.otel.distro import otlp_protocol
    from streamwatch.otel.whereabouts import usual_endpoint

    found = {}
    for signal in _SIGNALS:
        if not any(name.startswith("otlp") for name in used.get(signal.lower(), ())):
            continue
        protocol = otlp_protocol(signal, environ)
        own, common = environ.get(f"{_OTLP}{signal}_ENDPOINT"), environ.get(f"{_OTLP}ENDPOINT")
        usual = usual_endpoint(grpc=protocol == "grpc")
        path = "" if protocol == "grpc" else f"/v1/{signal.lower()}"
        found[signal.lower()] = {"protocol": protocol, "endpoint": own or (common or usual).rstrip("/") + path}
    return found


def of_otlp(targets: Mapping[str, Mapping[str, str]]) -> Iterator[Diagnostic]:
    """Yield what is wrong with it, as far as looking shows."""
    wrong = [signal for signal, target in targets.items() if _by_http_to_grpc(target)]
    if wrong:
        yield problem(
            f"{' and '.join(wrong)} go by HTTP to port {_GRPC_PORT}, which is the one for gRPC.",
            "Use port 4318, or install opentelemetry-exporter-otlp-proto-grpc.",
        )


def _by_http_to_grpc(target: Mapping[str, str]) -> bool:
    return target["protocol"] == "http/protobuf" and _port_of(target["endpoint"]) == _GRPC_PORT


def _port_of(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint).port
    except ValueError:
        return None


def asked(
    targets: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> Iterator[tuple[str, Diagnostic | None]]:
    """Yield each signal with what is wrong with its endpoint, which gets an empty export with the user's headers."""
    for signal, target in targets.items():
        failure = _unreachable(signal, target, environ)
        where = address(target["endpoint"])
        remedy = "Start the collector, or set OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS right."
        yield signal, problem(f"{signal}: {where} cannot be used: {failure}.", remedy) if failure else None


def _unreachable(signal: str, target: Mapping[str, str], environ: Mapping[str, str]) -> str:
    parts = urlsplit(target["endpoint"])
    if target["protocol"] == "grpc":
        try:
            host = parts.hostname or parts.path.rpartition(":")[0] or "localhost"
            socket.create_connection((host, parts.port or 4317), _OTLP_PATIENCE).close()
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        return ""

    def said(name: str) -> str:
        return environ.get(f"{_OTLP}{signal.upper()}_{name}") or environ.get(f"{_OTLP}{name}", "")

    headers = {"Content-Type": "application/x-protobuf"}
    for pair in said("HEADERS").split(","):
        name, found, value = pair.partition("=")
        if found:
            headers[name.strip()] = unquote(value.strip())
    try:
        context = _trusted(said("CERTIFICATE"), said("CLIENT_CERTIFICATE"), said("CLIENT_KEY"))
        where = target["endpoint"]
        Inquiry(lambda: fetch(where, _OTLP_PATIENCE, data=b"", headers=headers, context=context)).result(_OTLP_PATIENCE)
    except NoAnswerError as error:
        return str(error)
    return ""


def _trusted(authorities: str, certificate: str, key: str) -> ssl.SSLContext | None:
    """Return the certificates that the exporter would take, where the user names some."""
    if not (authorities or certificate):
        return None
    try:
        context = ssl.create_default_context(cafile=authorities or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:
        msg = f"a certificate in {_OTLP}*CERTIFICATE cannot be used ({getattr(error, 'strerror', None) or error})"
        raise NoAnswerError(msg) from error
    return context
