"""A guarded server that does what a test tells it: well-formed by default, and as wrong as wanted for one method.

`on["tools/call"] = async (seen, reply) -> None` replaces what it does there. `seen` is all that reached it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

TOOLS = ("echo", "park_me", "approval_wait")
SESSION = "the-servers-own-session"


class Seen(NamedTuple):
    """One HTTP request as it arrived. `message` is None without a body."""

    verb: str
    headers: dict[str, str]
    message: dict[str, Any] | None

    @property
    def method(self) -> str:
        return str((self.message or {}).get("method", ""))


class Reply:
    """Answers one request."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self.gone = asyncio.Event()

    async def raw(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer with any bytes. Underscores in header names become hyphens."""
        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": told})
        await self._send({"type": "http.response.body", "body": body})

    async def json(self, message: dict[str, Any], status: int = 200, **headers: str) -> None:
        await self.raw(status, json.dumps(message).encode(), content_type="application/json", **headers)

    async def stream(self, media: str = "text/event-stream", **headers: str) -> None:
        told = [(b"content-type", media.encode())]
        told += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": told})

    async def event(self, message: dict[str, Any] | bytes, id: str = "") -> None:
        """Send one event, or any bytes."""
        data = message if isinstance(message, bytes) else b"data: " + json.dumps(message).encode() + b"\n\n"
        await self.part((f"id: {id}\n".encode() if id else b"") + data)

    async def part(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def left(self) -> None:
        """Return when whoever asked has hung up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


Does = Callable[[Seen, Reply], Awaitable[None]]


class Upstream:
    """The ASGI app."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.on: dict[str, Does] = {}
        self.heard = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(scope["method"], headers, json.loads(body) if body else None)
        self.seen.append(seen)
        async with self.heard:
            self.heard.notify_all()
        await self.on.get(seen.method or seen.verb, usual)(seen, Reply(receive, send))

    async def until(self, what: str, count: int = 1) -> list[Seen]:
        """Wait until so many requests of this method (or verb) have come. Bound it with `anyio.fail_after`."""
        async with self.heard:
            await self.heard.wait_for(lambda: len(self.of(what)) >= count)
        return self.of(what)

    def of(self, what: str) -> list[Seen]:
        return [seen for seen in self.seen if what in (seen.method, seen.verb)]


async def usual(seen: Seen, reply: Reply) -> None:
    """What a server does that means well."""
    message = seen.message
    if message is None:
        await reply.raw(405 if seen.verb == "GET" else 200, allow="POST")
    elif "id" not in message or "method" not in message:
        await reply.raw(202)
    elif message["method"] == "initialize":
        about = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "tasks": {"list": {}}}, "serverInfo": _INFO}
        await reply.json(answer(seen, about), mcp_session_id=SESSION)
    else:
        await reply.json(answer(seen, _result(message)))


def answer(seen: Seen, result: dict[str, Any]) -> dict[str, Any]:
    assert seen.message is not None
    return {"jsonrpc": "2.0", "id": seen.message["id"], "result": result}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "resultType": "complete", **more}


_INFO = {"name": "scripted", "version": "1"}


def _result(message: dict[str, Any]) -> dict[str, Any]:
    kept = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
    match message["method"]:
        case "server/discover":
            extensions = {"io.modelcontextprotocol/tasks": {}, "com.example/other": {}}
            capabilities = {"tools": {}, "extensions": extensions}
            return {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "serverInfo": _INFO, **kept}
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS], **kept}
        case "tools/call":
            return said(json.dumps(message["params"].get("arguments")))
        case _:
            return {"resultType": "complete"}
