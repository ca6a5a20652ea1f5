"""An agent without an SDK: one POST a call in the newest revision, so that hundreds fit into a test and can be cut off."""

from __future__ import annotations

import itertools
import json
from types import TracebackType
from typing import Any, Self

import httpx2

REVISION = "2026-07-28"
MARK = "approval-broker/"


class CutOff(Exception):
    """The connection ended before the answer."""


class Agent:
    """Calls one guarded server with one token."""

    def __init__(self, url: str, token: str, *, name: str = "journey") -> None:
        self.url = url
        self._ids = itertools.count(1)
        self._name = name
        limits = httpx2.Limits(max_connections=None)
        self.http = httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=120, limits=limits, verify=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.http.aclose()

    async def call(self, tool: str, arguments: dict[str, Any], **meta: Any) -> dict[str, Any]:
        """Return the JSON-RPC answer's `result`, or `{"error": …}`. Raises `CutOff`."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments}, **meta)

    async def ask(self, method: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
        rpc_id = next(self._ids)
        about = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": self._name, "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": {**params, "_meta": {**about, **meta}}}
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": REVISION,
            "mcp-method": method,
            **({"mcp-name": params["name"]} if "name" in params else {}),
        }
        try:
            response = await self.http.post(self.url, json=body, headers=headers)
        except httpx2.TransportError as error:
            raise CutOff(str(error)) from error
        return _answer(response, rpc_id)


def _answer(response: httpx2.Response, rpc_id: int) -> dict[str, Any]:
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = [line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:")]
        messages = [json.loads(event) for event in events if event]
    else:
        messages = [response.json()] if response.content else []
    for message in messages:
        if message.get("id") == rpc_id and ("result" in message or "error" in message):
            return message["result"] if "result" in message else {"error": message["error"], "status": response.status_code}
    if response.status_code >= 400:
        return {"error": messages[0].get("error") if messages else response.text, "status": response.status_code}
    raise CutOff("the answer is missing")


def text_of(result: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in result.get("content", ()))


def code_of(result: dict[str, Any]) -> str:
    """What the broker says became of the call; empty for an answer that is the server's alone."""
    return str(result.get("_meta", {}).get(MARK + "code", ""))


def request_of(result: dict[str, Any]) -> str:
    return str(result.get("_meta", {}).get(MARK + "request", ""))
