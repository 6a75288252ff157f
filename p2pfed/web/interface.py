"""The servers of pages: uvicorn on loopback, beside a host in its own loop, or alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from p2pfed.errors import LocalError
from p2pfed.runtime.host import Host
from p2pfed.storage.api_token import ready_token
from p2pfed.web.app import make_app

LOOPBACK = "127.0.0.1"
CONNECTIONS_MAX = 64
STOP_S = 1  # Open event streams get no longer than this when the peer ends.


def serve(make: Callable[[int], ASGIApp], port: int, told: Callable[[int], None]) -> None:
    """Serve an application on loopback until Ctrl-C.

    Args:
        make: Returns it for the port that is used.
        port: The port, 0 for any.
        told: Called with the port once it is ours.

    Raises:
        LocalError: The port is in use.
    """
    listener = _listen(port, "choose another with --port, 0 for any")
    used: int = listener.getsockname()[1]
    told(used)
    uvicorn.Server(_config(make(used), loop="asyncio")).run(sockets=[listener])


def _listen(port: int, remedy: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()  # At once: two peers can bind one port as long as neither listens.
    except OSError as error:
        listener.close()
        raise LocalError(
            f"the HTTP port {LOOPBACK}:{port} can't be used ({error.strerror}); {remedy}"
        ) from None
    return listener


def _config(app: ASGIApp, loop: Literal["none", "asyncio"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="error",  # A stranger's bytes on the port are no line of our log.
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_S,
        ws="none",
        http="h11",
        loop=loop,
    )


class _Server(uvicorn.Server):
    """A server that leaves signals to the host."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebInterface:
    """Serves `web.app` on 127.0.0.1; a taken default port is one clear sentence."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self, host: Host) -> int:
        """Listen and return the port.

        Raises:
            LocalError: The port is in use.
            DiskFull, StorageFault: The token of the home can't be read or made.
        """
        token = ready_token(host.store.home.api_token)
        listener = self._socket = _listen(
            self._port, "choose another with --http-port, 0 for any, or --no-http"
        )
        port: int = listener.getsockname()[1]
        config = _config(make_app(host, port, token), loop="none")
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return port

    async def stop(self) -> None:
        """Stop serving; returns when the port is free."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._socket is not None:
            self._socket.close()
