"""A broker that listens: rooms opened, server started, and ended in order."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from broker.app import Broker, opened
from broker.errors import ConfigInvalid
from broker.gateway.listener import bounded
from broker.serving import Server, listening, raise_file_limit, server
from broker.settings import Settings

log = structlog.get_logger()

# Seconds after the rooms began to close in which the process ends, whatever still hangs.
LAST_RESORT = 15.0
# How many new objects make the collector look for cycles, and how often it then looks at older ones. A call leaves none
# behind, and what was there at the start stays: looking at all of that took a tenth of every call.
COLLECTED = (20_000, 20, 20)


@dataclass(frozen=True)
class Running:
    """A broker that answers at `url`, on `port` of this machine. `stop()` ends it as SIGTERM does."""

    url: str
    port: int
    broker: Broker
    server: Server

    def stop(self) -> None:
        self.server.stop()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Serve in the background of a program, which handles signals itself. Raises `ConfigInvalid`, `StoreUnavailable`."""
    _with_folder(settings)
    listener = _bound(settings)
    host, port = listener.getsockname()[:2]
    async with opened(settings, address=host) as broker:
        front = server(broker.app, broker.stopping, bounded(settings.header_limit))
        serving = asyncio.create_task(front._serve([listener]))
        url = settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            await _started(front, serving)
            yield Running(url.rstrip("/"), port, broker, front)
        finally:
            front.stop()
            await serving
            listener.close()


def _with_folder(settings: Settings) -> None:
    """Raises `ConfigInvalid` where the data folder can't be had: keys, spool and seals lie there, whatever the store."""
    folder = settings.data.expanduser()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigInvalid(f"the data folder {folder} can't be made ({error.strerror}): set BROKER_DATA") from None


def _bound(settings: Settings) -> socket.socket:
    """Return the socket. Raises `ConfigInvalid` where nobody can listen."""
    try:
        return listening(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}, port {settings.port}"
        raise ConfigInvalid(f"nobody can listen on {where} ({error.strerror}): set BROKER_HOST or BROKER_PORT") from None


async def _started(front: Server, serving: asyncio.Task[None]) -> None:
    while not front.started:
        if serving.done():
            await serving
        await asyncio.sleep(0.005)


def serve(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit status."""
    raise_file_limit()
    _run(_served(settings, ready))
    return 0


async def _served(settings: Settings, ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    async with running(settings) as broker:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, broker.stop)
        _settle()
        ready(broker.url)
        await _warmed()
        await broker.broker.stopping.wait()
        log.info("broker.stops")
        threading.Thread(target=_last_resort, daemon=True).start()


def _settle() -> None:
    """Leave everything that the start has made out of later collections, and collect rarely."""
    gc.freeze()
    gc.set_threshold(*COLLECTED)
    gc.enable()


async def _warmed() -> None:
    """Import what is heavy and needed later, in a thread: a release or a stdio server would make everybody wait for it."""
    for name in ("mcp", "mcp.shared.inbound"):  # whole before its parts: see test_late_imports.py
        await asyncio.to_thread(importlib.import_module, name)
    gc.freeze()


def _last_resort() -> None:
    """End the process when the rooms do not: a supervisor must not have to kill it."""
    threading.Event().wait(LAST_RESORT)
    os._exit(3)


def _run(main: object) -> None:
    try:
        import uvloop  # noqa: PLC0415 - missing on Windows

        uvloop.run(main)  # type: ignore[arg-type]  # a coroutine
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]  # a coroutine
