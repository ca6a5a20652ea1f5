"""`broker stdio [SERVER]`: lets a client that only speaks stdio use one server behind the broker, or all of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `stdio`."""
    parser = commands.add_parser("stdio", help="lets a stdio-only client in: reads BROKER_URL and BROKER_TOKEN")
    parser.add_argument(
        "server", nargs="?", default="", metavar="SERVER", help="the server's name at the broker; all, if not given"
    )
    parser.add_argument("--url", default="", help="the broker's address, instead of BROKER_URL")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pump until the client closes its side. Raises `ConfigInvalid`."""
    import anyio  # noqa: PLC0415 - the command line starts fast

    from broker.errors import ConfigInvalid  # noqa: PLC0415

    url = args.url or os.environ.get("BROKER_URL", "http://127.0.0.1:8450")
    token = os.environ.get("BROKER_TOKEN", "")
    if not token:
        raise ConfigInvalid("BROKER_TOKEN is not set: it has to hold a token of `broker agents add`")
    anyio.run(pumped, f"{url.rstrip('/')}/mcp/{args.server}".rstrip("/"), token, own_stdout())
    return 0


async def pumped(url: str, token: str, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Pump between this process's own pipes and one endpoint of the broker; `write` is of `own_stdout`."""
    import aiohttp  # noqa: PLC0415

    from broker.pump import Pump  # noqa: PLC0415

    patient = aiohttp.ClientTimeout(total=None, sock_connect=10)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=patient, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as http:
        await Pump(http, url, write).run(stdin_lines())


async def stdin_lines() -> AsyncIterator[bytes]:
    """The lines of standard input, as they come. Being cancelled does not wait for the next one."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pending = bytearray()
    try:
        while chunk := await reader.read(1 << 16):
            first, *rest = chunk.split(b"\n")
            pending += first
            for part in rest:
                yield bytes(pending)
                pending = bytearray(part)
    finally:
        transport.close()


def own_stdout() -> Callable[[bytes], Awaitable[None]]:
    """Take standard output for the protocol alone: whatever else is printed in this process goes to standard error."""
    sys.stdout.flush()
    kept = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    lock = asyncio.Lock()

    async def write(line: bytes) -> None:
        import anyio  # noqa: PLC0415

        async with lock:
            await anyio.to_thread.run_sync(_whole, kept, line)

    return write


def _whole(file: Any, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[file.write(view) :]
