"""A raw HTTP/1.1 client for load: one connection, one request at a time, an asyncio.Protocol and nothing else.

A client library would cost more than the calls that are measured (notes: 0.03 ms a call for a direct upstream).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import cast

import httptools
import msgspec

VERSION = "2026-07-28"
SESSION_VERSION = "2025-06-18"


class Answer(msgspec.Struct):
    """`first` and `last` are when the first byte of the body and the end came, by `perf_counter`."""

    status: int
    body: bytes
    first: float
    last: float
    headers: dict[str, str]


class Connection(asyncio.Protocol):
    """One keep-alive connection; `heard` ends at its first bytes.

    What was sent ends in `ConnectionError` when the other side closes in the middle of the answer.
    """

    def __init__(self) -> None:
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._first = 0.0
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape, not by name

    def data_received(self, data: bytes) -> None:
        if not self.heard.done():
            self.heard.set_result(None)
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("closed before the answer ended"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._first = self._first or perf_counter()
        self._body.append(data)

    def on_message_complete(self) -> None:
        now, status = perf_counter(), self._parser.get_status_code()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(Answer(status, b"".join(self._body), self._first or now, now, self._headers))

    def send(self, data: bytes) -> asyncio.Future[Answer]:
        """Send one whole request; the future holds its whole answer."""
        assert self._transport
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._first = 0.0
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._waiting

    def close(self) -> None:
        if self._transport:
            self._transport.close()


async def connect(host: str, port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def request(method: str, host: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    head = {"host": host, "content-length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def message(
    method: str, params: Mapping[str, object], *, stateless: bool, message_id: int = 1, meta: Mapping[str, object] = {}
) -> bytes:  # fmt: skip
    """Return a JSON-RPC request; without a session it carries the envelope that 2026-07-28 asks for, and `meta`."""
    if stateless:
        params = {
            **params,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                **meta,
            },
        }
    return msgspec.json.encode({"jsonrpc": "2.0", "id": message_id, "method": method, "params": params})


def mcp_headers(method: str, name: str, token: str, *, session: str = "", stateless: bool = True) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if stateless:
        return headers | {"mcp-protocol-version": VERSION, "mcp-method": method} | ({"mcp-name": name} if name else {})
    headers["mcp-protocol-version"] = SESSION_VERSION
    return headers | ({"mcp-session-id": session} if session else {})
