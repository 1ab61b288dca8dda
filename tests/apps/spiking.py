"""The demo's server, healthy until `POST /spike`, and again after `POST /calm`.

In between half of the Responses streams come out of order. It prints its base URL once it listens.
"""

from __future__ import annotations

import os
import socket
import threading

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streamwatch.demo import server
from streamwatch.synthetic import faults
from streamwatch.synthetic.streams import Shape

spiking = False


def fault_for(seed: int, shape: Shape, number: int) -> faults.Fault:
    """Every other stream is reordered while the spike lasts."""
    fault = faults.FAULTS["reorder"]
    return fault if spiking and number % 2 and shape in fault.shapes else faults.HEALTHY


async def spike(request: Request) -> PlainTextResponse:
    """Begin."""
    global spiking  # noqa: PLW0603 -- the state of this program
    spiking = True
    return PlainTextResponse("")


async def calm(request: Request) -> PlainTextResponse:
    """End."""
    global spiking  # noqa: PLW0603 -- the state of this program
    spiking = False
    return PlainTextResponse("")


def main() -> None:
    faults.fault_for = fault_for
    app = server.Service(seed=1).asgi()
    app.routes.extend(Route(f"/{turn.__name__}", turn, methods=["POST"]) for turn in (spike, calm))
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    threading.Thread(target=server._leave_with_parent, args=(running, os.getppid()), daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    running.run(sockets=[listener])


if __name__ == "__main__":
    main()
