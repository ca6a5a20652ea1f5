"""The three toy servers over HTTP: inside the demo, or one alone by `python -m broker.demo.toys` (compose does that)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import MCPServer

from broker.demo.files import files
from broker.demo.payments import payments
from broker.demo.warehouse import warehouse

TOYS: dict[str, Callable[[Path], MCPServer]] = {
    "warehouse": lambda folder: warehouse(folder / "warehouse.db"),
    "payments": lambda folder: payments(folder / "ledger.db"),
    "files": lambda folder: files(folder / "files"),
}


class Inside(uvicorn.Server):
    """A server that lives in somebody else's process: signals are the host's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(name: str, folder: Path, host: str) -> Inside:
    folder.mkdir(parents=True, exist_ok=True)
    # Not for the open: host checks of the SDK are off where the toy listens for other machines (compose).
    app = TOYS[name](folder).streamable_http_app(json_response=True, host=host)
    return Inside(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1))


@asynccontextmanager
async def toys(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the three servers on free ports of 127.0.0.1; yields name -> URL. Their files lie in `folder`."""
    running: list[tuple[Inside, asyncio.Task[None]]] = []
    urls = {}
    try:
        for name in TOYS:
            listener = socket.create_server(("127.0.0.1", 0))
            server = server_of(name, folder, "127.0.0.1")
            running.append((server, asyncio.create_task(server.serve([listener]))))
            urls[name] = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        yield urls
    finally:
        for server, _ in running:
            server.should_exit = True
        await asyncio.gather(*(task for _, task in running))


def main() -> None:
    """Run one toy server until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m broker.demo.toys", description="One toy MCP server.")
    parser.add_argument("name", choices=TOYS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--folder", type=Path, default=Path("toys"))
    args = parser.parse_args()
    alone = uvicorn.Server(server_of(args.name, args.folder, args.host).config)
    asyncio.run(alone.serve([socket.create_server((args.host, args.port))]))


if __name__ == "__main__":
    main()
