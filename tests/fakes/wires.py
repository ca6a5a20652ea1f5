"""A wire to the store that a test can cut, or on which it can swallow the replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Wire:
    """Carries bytes between a client's socket and a server's."""

    def __init__(self, to: Path, path: Path) -> None:
        self._to = to
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallow: bytes | None = None
        self.swallowed = 0
        self.path = path

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def swallow_reply_to(self, command: bytes) -> None:
        """Carry the next bytes that hold `command` to the server, and cut that connection instead of carrying the reply."""
        self._swallow = command

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server, from_server = await asyncio.open_unix_connection(self._to)
        cut = asyncio.Event()
        tasks = [
            asyncio.create_task(self._carry(reader, from_server, cut, None)),
            asyncio.create_task(self._carry(to_server, writer, None, cut)),
        ]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, from_server):
            end.close()

    async def _carry(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, cuts: asyncio.Event | None, cut: asyncio.Event | None
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(1 << 16):
                if cut is not None and cut.is_set():
                    self.swallowed += 1
                    return
                if cuts is not None and self._swallow is not None and self._swallow in chunk:
                    self._swallow = None
                    cuts.set()
                to.write(chunk)
                await to.drain()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def wired(to: Path, path: Path) -> AsyncIterator[Wire]:
    """A wire from a new socket `path` to the server's socket `to`."""
    wire = Wire(to, path)
    async with _served(wire, await asyncio.start_unix_server(wire.accept, path)):
        yield wire


@asynccontextmanager
async def listening(to: Path) -> AsyncIterator[int]:
    """A wire from a free TCP port of this machine to the server's socket `to`."""
    wire = Wire(to, to)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    async with _served(wire, server):
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def _served(wire: Wire, server: asyncio.Server) -> AsyncIterator[None]:
    try:
        yield
    finally:
        server.close()
        await wire.close()
        await server.wait_closed()
