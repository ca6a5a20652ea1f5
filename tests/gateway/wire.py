"""Messages by hand, for what no SDK would send."""

from __future__ import annotations

import json
from typing import Any

import httpx2

MODERN = "2026-07-28"
ENVELOPE = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def head(method: str, name: str = "", **more: str) -> dict[str, str]:
    """The headers of a modern request."""
    named = {"mcp-name": name} if name else {}
    extra = {key.replace("_", "-"): value for key, value in more.items()}
    return {**ACCEPT, "mcp-protocol-version": MODERN, "mcp-method": method, **named, **extra}


def modern(method: str, params: dict[str, Any] | None = None, *, id: Any = 1, **meta: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**(params or {}), "_meta": {**ENVELOPE, **meta}}}


def call(tool: str = "echo", arguments: Any = None, *, id: Any = 1, **more: Any) -> dict[str, Any]:
    return modern("tools/call", {"name": tool, "arguments": {} if arguments is None else arguments, **more}, id=id)


async def post(http: httpx2.AsyncClient, url: str, message: Any, **headers: str) -> httpx2.Response:
    """Send one modern message with the headers that fit it; `headers` replace or add."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    told = json.loads(body) if not isinstance(message, bytes) else {}
    extra = {key.replace("_", "-"): value for key, value in headers.items()}
    params = told.get("params", {})
    fit = head(told.get("method", "tools/call"), str(params.get("name", params.get("taskId", ""))))
    return await http.post(url, content=body, headers={**fit, **extra})


async def legacy(
    http: httpx2.AsyncClient, url: str, message: dict[str, Any], session: str = "", **headers: str
) -> httpx2.Response:
    """Send one message of the older era."""
    known = {"mcp-session-id": session} if session else {}
    extra = {key.replace("_", "-"): value for key, value in headers.items()}
    return await http.post(url, json=message, headers={**ACCEPT, "mcp-protocol-version": "2025-11-25", **known, **extra})


async def begun(http: httpx2.AsyncClient, url: str, capabilities: dict[str, Any] | None = None) -> str:
    """Begin a session of the older era and return the id that the gateway gave."""
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities or {},
        "clientInfo": {"name": "by-hand", "version": "1"},
    }
    response = await http.post(url, json=request("initialize", hello, id=0), headers=ACCEPT)
    assert response.status_code == 200, response.text
    return str(response.headers["mcp-session-id"])


def request(method: str, params: dict[str, Any] | None = None, *, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def events(text: str) -> list[dict[str, Any]]:
    """The messages of a stream, in order."""
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line]


def forged(sealed: str) -> str:
    """Return what the broker sealed with its end changed, whatever it ended in."""
    return sealed[:-2] + ("AA" if not sealed.endswith("AA") else "BB")
