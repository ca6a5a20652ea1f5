"""Plain forwarding: uvicorn, aiohttp and streaming, as one would write it, with nothing of the broker in it.

python -m broker.bench.plain URL        prints its port and runs until its standard input ends
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_PASSED = {b"content-type", b"accept", b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name"}
_BACK = {"content-type", "content-length", "mcp-session-id"}


class Plain:
    """An ASGI app that sends each request on, and the answer back as it comes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http: aiohttp.ClientSession | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout, auto_decompress=False)
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"] if name in _PASSED}
        async with self._http.request(scope["method"], self._url, data=body, headers=headers) as answer:
            back = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items() if name.lower() in _BACK]
            await send({"type": "http.response.start", "status": answer.status, "headers": back})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    config = uvicorn.Config(Plain(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off", log_level="warning")
    server = uvicorn.Server(config)

    def end_with_input() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run([listener])


if __name__ == "__main__":
    main()
