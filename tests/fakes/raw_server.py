"""A server that speaks bytes: what it answers is as wrong as a test wants, and it says on which connection it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from broker.upstream.http import HttpServers

BODY = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

Does = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Reads one message after the other from each connection, and does what comes next in `does` for it; then `GOOD`."""

    def __init__(self) -> None:
        self.url = ""
        self.does: list[Does] = []
        self.seen: list[tuple[int, bytes]] = []
        self.left = asyncio.Event()
        self.streams: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams.append(writer)
        number = len(self.streams)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.seen.append((number, head))
                if not self.does or self.does[0] is not early:
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                await (self.does.pop(0) if self.does else says(GOOD))(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()

    @property
    def connections(self) -> list[int]:
        return [number for number, _ in self.seen]


def says(*parts: bytes, ends: bool = False) -> Does:
    async def does(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if ends:
            writer.close()

    return does


async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as soon as the head is here, and read no further."""
    writer.write(GOOD)
    await asyncio.Event().wait()


async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    raise ConnectionError


@asynccontextmanager
async def listening(server: RawServer) -> AsyncIterator[None]:
    running = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.ensure_future(server.serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/mcp"
    try:
        yield
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def asked(servers: HttpServers, body: bytes = BODY, **headers: str) -> bytes:
    """Send one message and return the body of its answer."""
    answer = await servers.forward("s", "POST", headers, body)
    try:
        return await answer.read()
    finally:
        answer.close()
