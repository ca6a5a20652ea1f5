"""A bare HTTP face for a forwarder: what the gateway does, without anybody being asked. All passes as it is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import uvicorn

from broker.errors import UpstreamError
from broker.gateway.ports import Answer, Forwarder
from broker.serving import Server


class Front:
    """`/mcp/<server>` over `forwarder`. `refused` holds the mistakes that it answered with 502."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self.refused: list[UpstreamError] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        leaving = asyncio.ensure_future(_left(receive))
        passing = asyncio.ensure_future(self._pass(scope, headers, body, send))
        await asyncio.wait({leaving, passing}, return_when=asyncio.FIRST_COMPLETED)
        for task in (leaving, passing):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await passing

    async def _pass(self, scope: MutableMapping[str, Any], headers: dict[str, str], body: bytes, send: Any) -> None:
        server = scope["path"].rpartition("/")[2]
        try:
            answer: Answer = await self._forwarder.forward(server, scope["method"], headers, body)
        except UpstreamError as error:
            self.refused.append(error)
            await _reply(send, 502, {"content-type": "text/plain"}, error.message.encode())
            return
        try:
            told = {"content-type": answer.media, "mcp-session-id": answer.session, "allow": answer.allow}
            if answer.media != "text/event-stream":
                await _reply(send, answer.status, told, await answer.read())
                return
            await _start(send, answer.status, told)
            with suppress(UpstreamError):
                async for event in answer.events():
                    await send({"type": "http.response.body", "body": event.raw, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            answer.close()


@asynccontextmanager
async def fronted(forwarder: Forwarder) -> AsyncIterator[tuple[str, Front]]:
    """Serve a forwarder on a free port; yields the address before the server's name, and the front."""
    front = Front(forwarder)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(front, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = Server(config, asyncio.Event())
    with listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [listener])
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp/", front
            finally:
                server.stop()


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Any, status: int, headers: dict[str, str]) -> None:
    told = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    await send({"type": "http.response.start", "status": status, "headers": told})


async def _reply(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})
