"""The application's own Prometheus server goes before Streamwatch's, wherever it is asked to listen.

How it works. Every server of prometheus_client, by HTTP or HTTPS, binds its socket in one method of one class. That
method is wrapped while Streamwatch's endpoint listens. Where the application's server would meet it, the endpoint
frees the port first. The application's registry then gets what the endpoint served, unless the two are the same.

A port can also be held by another process of the same family: the supervisor of a server with workers or a reloader
takes it before the worker, which is the application, is there; or one worker takes what another one wants. The first
process puts a key into the environment that all of them have, and who shows it can ask an endpoint to move on.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wrapt import register_post_import_hook

from streamwatch.exchange import exchange
from streamwatch.otel.notices import say, warned

#: What is asked, and how it is answered.
PATH = "/-/streamwatch/make-room"
WILL_DO = "202 Accepted"
_KEY = "_STREAMWATCH_FAMILY_KEY"
#: Seconds that an answer may take, and then the letting go, which takes half a second at most.
_ANSWER, _LETTING_GO = 2.0, 3.0


class Room(Protocol):
    """Streamwatch's endpoint, as far as this module needs it."""

    host: str
    ports: range
    server: Any

    @property
    def registry(self) -> Any:
        """Return what it serves."""

    def serve(self, registry: Any) -> None:
        """Listen on the first free port that the application has not taken."""

    def close(self) -> None:
        """Let go of the port."""

    def come_back(self, port: int) -> None:
        """Listen there again."""


# --- in this process


def watch_when_imported(endpoint: Room) -> None:
    """Make room for the application's servers as soon as it has prometheus_client."""

    def imported(_module: Any) -> None:
        with warned("the application's own Prometheus server may find its port in use"):
            watch(endpoint)

    register_post_import_hook(imported, "prometheus_client.exposition")


def watch(endpoint: Room) -> Callable[[], None]:
    """Make room for the application's servers from now on; returns how to end that."""
    from prometheus_client import exposition

    server_class: Any = exposition.ThreadingWSGIServer
    bind, set_app = server_class.server_bind, server_class.set_app
    made_room = weakref.WeakSet[Any]()
    wanted = True

    def server_bind(server: Any) -> None:
        if not wanted:
            bind(server)
        elif _meets(endpoint.server, server.server_address):
            _bind_in_its_place(endpoint, server, bind)
            made_room.add(server)
        else:
            _bind(endpoint, server, bind)

    def set_app_and_move_in(server: Any, application: Any) -> None:
        set_app(server, application)
        if server in made_room:
            with warned("what Streamwatch counts is not on the application's own server"):
                _move_in(endpoint, server.server_port, _registry_of(application))

    wrappers = {"server_bind": server_bind, "set_app": set_app_and_move_in}
    put_back = [exchange(server_class, name, wrapper) for name, wrapper in wrappers.items()]

    def undo() -> None:
        nonlocal wanted
        wanted = False
        for each in put_back:
            each()

    atexit.register(undo)
    return undo


def _meets(ours: Any, address: tuple[Any, ...]) -> bool:
    """Return whether a server at an address would be where the endpoint is, or before or behind it."""
    return ours is not None and overlap(ours.server_address, address)


def overlap(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether who asks one address may reach the other: the same port, and the same or any interface."""
    if one[1] != other[1]:
        return False
    import ipaddress

    try:
        first, second = ipaddress.ip_address(one[0] or "0.0.0.0"), ipaddress.ip_address(other[0] or "0.0.0.0")  # noqa: S104
    except ValueError:  # a zone, or a name
        return True
    anywhere = first.is_unspecified or second.is_unspecified
    return anywhere or first == second or (first.is_loopback and second.is_loopback)  # localhost can be either


def _bind_in_its_place(endpoint: Room, server: Any, bind: Callable[[Any], None]) -> None:
    """Bind the application's server where the endpoint was, or leave everything as it was."""
    with warned("the Prometheus endpoint does not make room for the application's own server"):
        endpoint.close()
    try:
        bind(server)
    except BaseException:
        with warned("no Prometheus endpoint"):
            endpoint.come_back(server.server_address[1])
        raise


def _move_in(endpoint: Room, port: int, registry: Any) -> None:
    """Give the application's registry what the endpoint served."""
    from streamwatch.otel.prometheus_reader import collector_of

    if registry is not endpoint.registry:
        try:
            inherited, collector = collector_of(registry), collector_of(endpoint.registry)
            if inherited is not None:  # of the process that this one was forked from
                registry.unregister(inherited)
            registry.register(_Guest(collector, registry))
        except Exception:  # a registry of another kind, or none that is known
            endpoint.serve(endpoint.registry)
            return
    say(f"the application serves port {port} itself; Streamwatch's metrics are in its registry", logging.INFO)


def _registry_of(application: Any) -> Any:
    """Return the registry that prometheus_client's application serves; None where that is unknown."""
    with contextlib.suppress(Exception):
        cells = dict(zip(application.__code__.co_freevars, application.__closure__, strict=True))
        return cells["registry"].cell_contents
    return None


class _Guest:
    """The endpoint's series in a registry of the application's own, as far as the names are free there."""

    def __init__(self, collector: Any, registry: Any) -> None:
        self._collector = collector
        self._registry = registry

    def collect(self) -> Iterable[Any]:
        """Yield what the reader has."""
        taken = set(getattr(self._registry, "_names_to_collectors", ()))
        if self._registry.get_target_info():
            taken.add("target")
        yield from (family for family in self._collector.collect() if family.name not in taken)

    def describe(self) -> Iterable[Any]:
        """Return no names: a registry that finds none here would collect to learn them."""
        return ()


# --- in another process of the family


def found_family() -> None:
    """Make the key of this process and of those that it starts, unless it was started by one that has."""
    os.environ.setdefault(_KEY, os.urandom(32).hex())


def authorization(port: int) -> str:
    """Return the header that shows the key, and is of use for one port alone: a stranger may listen there."""
    import hmac

    key = os.environ.get(_KEY) or os.urandom(32).hex()
    return "Streamwatch " + hmac.new(key.encode(), str(port).encode(), "sha256").hexdigest()


def _bind(endpoint: Room, server: Any, bind: Callable[[Any], None]) -> None:
    """Bind the application's server; an endpoint of the family's that is there is asked to move on."""
    try:
        bind(server)
        return
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _asked(endpoint, server.server_address[1]):
            raise
    end = time.monotonic() + _LETTING_GO
    while True:
        try:
            bind(server)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise
        time.sleep(0.05)


def _asked(endpoint: Room, port: int) -> bool:
    """Return whether an endpoint lets go of a port. Another program gets a request for an unknown page."""
    if port not in endpoint.ports:  # those that endpoints take
        return False
    import http.client

    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- not to listen there
    with contextlib.suppress(Exception):
        connection = http.client.HTTPConnection(anywhere.get(endpoint.host, endpoint.host), port, timeout=_ANSWER)
        with contextlib.closing(connection):
            connection.request("GET", PATH, headers={"Authorization": authorization(port)})
            return f"{connection.getresponse().status}" == WILL_DO[:3]
    return False
