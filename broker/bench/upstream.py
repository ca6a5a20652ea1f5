"""The bench's own upstream: an MCP server on a bare asyncio.Protocol, of both eras, that answers in some 10 us.

    python -m broker.bench.upstream        prints its port and runs until its standard input ends

Tools: `echo` answers at once, `slow` after `seconds`, `guarded` is echo under another name, for rules that ask.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import httptools
import msgspec
import uvloop

from broker.bench.wire import SESSION_VERSION, VERSION

_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "seconds": {"type": "number"}}}
_TOOLS = [
    {"name": "echo", "description": "Say it again.", "inputSchema": _SCHEMA, "annotations": {"readOnlyHint": True}},
    {"name": "slow", "description": "Say it again, later.", "inputSchema": _SCHEMA, "annotations": {"readOnlyHint": True}},
    {"name": "guarded", "description": "Say it again, if people agree.", "inputSchema": _SCHEMA},
]
_INFO = {"name": "bench", "version": "1"}
_CACHE = {"ttlMs": 0, "cacheScope": "private"}
_CAPABILITIES: dict[str, Any] = {"tools": {}}


class _Params(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class _Message(msgspec.Struct):
    method: str = ""
    id: msgspec.Raw = msgspec.Raw(b"")
    params: _Params = msgspec.field(default_factory=_Params)


_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder().encode


def result_of(message: _Message, *, stateless: bool) -> dict[str, Any] | None:
    """Return the result member, or None for a method that is not known."""
    match message.method:
        case "tools/call":
            return {"content": [{"type": "text", "text": str(message.params.arguments.get("text", ""))}], "isError": False}
        case "tools/list":
            return {"tools": _TOOLS} | (_CACHE if stateless else {})
        case "server/discover" if stateless:
            return {"supportedVersions": [VERSION], "capabilities": _CAPABILITIES, "serverInfo": _INFO} | _CACHE
        case "initialize":
            return {"protocolVersion": SESSION_VERSION, "capabilities": _CAPABILITIES, "serverInfo": _INFO}
        case "ping":
            return {}
        case _:
            return None


class Upstream(asyncio.Protocol):
    """One connection of a client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape, not by name
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._stateless = False

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"mcp-protocol-version":
            self._stateless = value == VERSION.encode()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        if self._parser.get_method() != b"POST":
            return self._write(b"405 Method Not Allowed", b"")
        message = _decode(body)
        if not bytes(message.id):
            return self._write(b"202 Accepted", b"")
        if message.params.name == "slow":
            asyncio.get_running_loop().call_later(float(message.params.arguments.get("seconds", 5)), self._answer, message)
            return None
        return self._answer(message)

    def _answer(self, message: _Message) -> None:
        result = result_of(message, stateless=self._stateless)
        head = {"jsonrpc": "2.0", "id": message.id}
        if result is None:
            status = b"404 Not Found" if self._stateless else b"200 OK"
            return self._write(status, _encode(head | {"error": {"code": -32601, "message": "unknown method"}}))
        if self._stateless:
            result = {"resultType": "complete"} | result
        return self._write(b"200 OK", _encode(head | {"result": result}), session=message.method == "initialize")

    def _write(self, status: bytes, body: bytes, *, session: bool = False) -> None:
        if self._transport.is_closing():
            return
        extra = b"mcp-session-id: bench\r\n" if session else b""
        self._transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (status, extra, len(body), body)
        )


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watcher = loop.create_task(reader.read())
    watcher.add_done_callback(lambda _: ended.set())
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve())
