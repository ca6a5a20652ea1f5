"""The HTTP server in front of the rooms: one socket, one dispatcher, a shutdown that tells everybody who waits."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from broker.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
# Seconds that open streams get at shutdown, after they were told.
GRACEFUL = 4
# Seconds between two looks whether the last connection has gone.
_LOOK = 0.005


class Front:
    """Sends each request to the room whose prefix it has. The gateway lies outside Litestar: nothing slow on its road."""

    def __init__(self, routes: dict[str, ASGIApp], otherwise: ASGIApp) -> None:
        self._routes = tuple((prefix, prefix + "/", app) for prefix, app in routes.items())
        self._otherwise = otherwise

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = scope.get("path", "")
        for prefix, below, app in self._routes:
            if path == prefix or path.startswith(below):
                return app(scope, receive, send)
        return self._otherwise(scope, receive, send)


class Server(uvicorn.Server):
    """Uvicorn, with `stopping` set at the first signal: parked calls answer PENDING, event streams end.

    It ends when it is told and when the last connection has gone, where uvicorn looks ten times a second.
    """

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._told = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        self._told.set()
        super().handle_exit(sig, frame)

    async def main_loop(self) -> None:
        await self.on_tick(0)  # makes the headers of all answers
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._left()
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel()

    async def _left(self) -> None:
        """Wait until all callers and their answers have gone; a second Ctrl-C ends the waiting."""
        while (self.server_state.connections or self.server_state.tasks) and not self.force_exit:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(_LOOK)
        for listener in self.servers:
            await listener.wait_closed()

    def stop(self) -> None:
        """End as at SIGTERM, for whoever runs the broker inside a program."""
        self.handle_exit(signal.SIGTERM, None)


def listening(host: str, port: int) -> socket.socket:
    """Return a bound socket: port 0 takes a free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio lifts Nagle's delay only from sockets that name their protocol: an answer goes out in two writes.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def server(app: ASGIApp, stopping: asyncio.Event, protocol: type[asyncio.Protocol] | str = "httptools") -> Server:
    """Return a server that is not started: the rooms are opened around it, so it has no lifespan of its own."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACEFUL,
        timeout_keep_alive=75,
        backlog=4096,
    )
    return Server(config, stopping)


def raise_file_limit() -> None:
    """Lift the soft limit of open files to the hard one: every parked call is an open connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hosts(settings: Settings, address: str) -> set[str]:
    """Return the names by which the gateway may be spoken to: DNS rebinding ends here."""
    public = urlsplit(settings.public_url).hostname or ""
    own = {settings.host, address} - {"", "0.0.0.0", "::"}
    return own | {"127.0.0.1", "localhost", "::1"} | ({public} - {""})
