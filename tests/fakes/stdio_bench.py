"""stdio servers of ours behind a forwarder and a bare HTTP face, and the few moves that tests make on them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec
from mcp import Client
from mcp_types.version import LATEST_MODERN_VERSION

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan
from broker.domain.requests import ApprovalRequest, Origin, RequestId, RequestState
from broker.domain.servers import Server
from broker.upstream import eras
from broker.upstream.stdio import StdioForwarder
from tests.fakes.front import Front, fronted

ROOT = str(Path(__file__).parents[2])
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def tools_server(name: str, *, speaks: str = "both", effects: Path | None = None, **more: Any) -> Server:
    """The entry of `tests.fakes.stdio_tools`: `speaks` both, older or newer."""
    command = (sys.executable, "-m", "tests.fakes.stdio_tools", speaks, *([str(effects)] if effects else []))
    return Server(name=name, command=command, cwd=ROOT, **more)


class Bench:
    """A forwarder over `catalogue`, its HTTP face at `address`, and a raw client."""

    def __init__(self, forwarder: StdioForwarder, catalogue: dict[str, Server], address: str, front: Front) -> None:
        self.forwarder = forwarder
        self.catalogue = catalogue
        self.address = address
        self.front = front
        self.http: aiohttp.ClientSession

    def client(self, server: str, mode: str = "auto", **more: Any) -> Client:
        return Client(self.address + server, mode=mode, **more)

    async def post(self, server: str, message: dict[str, Any], session: str = "") -> Reply:
        """Post one message as an older client does."""
        headers = {"mcp-session-id": session} if session else {}
        return await self._send(server, {"jsonrpc": "2.0", **message}, headers)

    async def session(self, server: str) -> str:
        """Begin a session of the older era."""
        return (await self.post(server, {"id": 0, "method": "initialize", "params": HANDSHAKE})).headers["mcp-session-id"]

    async def call(self, server: str, session: str, tool: str, number: Any = 1, **arguments: Any) -> Any:
        """Call a tool in a session and return the whole answer, None where there was none."""
        params = {"name": tool, "arguments": arguments}
        return (await self.post(server, {"id": number, "method": "tools/call", "params": params}, session)).answer

    async def newer(self, server: str, tool: str, number: Any = 1, **arguments: Any) -> Reply:
        """Call a tool as a newer client does."""
        request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        headers = {"mcp-protocol-version": LATEST_MODERN_VERSION, "mcp-method": "tools/call", "mcp-name": tool}
        return await self._send(server, eras.enveloped(request, {}, eras.US), headers)

    async def _send(self, server: str, message: dict[str, Any], headers: dict[str, str]) -> Reply:
        async with self.http.post(self.address + server, json=message, headers=headers) as response:
            if response.content_type == "text/event-stream":
                return Reply(response.status, response.headers, [message async for message in events(response)])
            body = await response.read()
            if response.content_type == "application/json":
                return Reply(response.status, response.headers, [msgspec.json.decode(body)])
            return Reply(response.status, response.headers, [], body.decode())


class Reply:
    """What came back over HTTP, whole: `messages` of a body or a stream, `text` where it was neither."""

    def __init__(self, status: int, headers: Mapping[str, str], messages: list[Any], text: str = "") -> None:
        self.status = status
        self.headers = headers
        self.messages = messages
        self.text = text

    @property
    def answer(self) -> Any:
        """The last message that is an answer; None where there was none."""
        return next((message for message in reversed(self.messages) if "method" not in message), None)


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The messages of a stream, also one larger than a line's limit of the client."""
    buffer = b""
    async for chunk in response.content.iter_any():
        *whole, buffer = (buffer + chunk).split(b"\n\n")
        for event in whole:
            for line in event.splitlines():
                if line.startswith(b"data:"):
                    yield msgspec.json.decode(line[5:])


@asynccontextmanager
async def stdio_bench(*servers: Server, silence: float = 20.0) -> AsyncIterator[Bench]:
    catalogue = {server.name: server for server in servers}
    forwarder = StdioForwarder(catalogue.get, silence=timedelta(seconds=silence))
    async with forwarder.running(), fronted(forwarder) as (address, front):
        bench = Bench(forwarder, catalogue, address, front)
        async with aiohttp.ClientSession() as bench.http:
            yield bench


def text_of(answer: Any) -> str:
    """The text of a tool's result, raw or as the SDK gives it."""
    if isinstance(answer, dict):
        return str(answer["result"]["content"][0]["text"])
    return str(answer.content[0].text)


async def lines(file: Path, *wanted: str) -> list[str]:
    """Wait until the effects of a server hold all that is wanted."""
    with anyio.fail_after(10):
        while True:
            found = _read(file)
            if set(wanted) <= set(found):
                return found
            await anyio.sleep(0.01)


def approved(server: str, tool: str, arguments: dict[str, Any], origin: Origin) -> ApprovalRequest:
    """A request as the releaser hands it over."""
    call = ToolCall(server, tool, {"name": tool, "arguments": arguments}, Caller(agent="bot"))
    return ApprovalRequest(
        id=RequestId("r1"), version=2, state=RequestState.EXECUTING, call=call, digest=call.digest(),
        plan=ApprovalPlan("Do it", (), timedelta(hours=1)), policy="", definition="", rules=(), reasons=(), opened_at=NOON,
        expires_at=NOON + timedelta(hours=1), origin=origin,
    )  # fmt: skip


def _read(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
