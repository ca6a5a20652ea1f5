"""The OpenAI Agents SDK's MCP layer as a client: one call an attempt, told as JSON on standard output. No model is needed."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from agents.mcp import MCPServerStreamableHttp, MCPServerStreamableHttpParams


async def main(order: dict[str, Any]) -> None:
    params: MCPServerStreamableHttpParams = {"url": order["url"], "headers": {"Authorization": f"Bearer {order['token']}"}}
    own = {"client_session_timeout_seconds": order["timeout"]} if order["timeout"] else {}
    async with MCPServerStreamableHttp(params, **own) as server:
        await server.list_tools()
        for attempt in range(order["attempts"]):
            if attempt:
                await asyncio.to_thread(sys.stdin.readline)
            print(json.dumps(await one(server, order["tool"], order["arguments"])), flush=True)


async def one(server: MCPServerStreamableHttp, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        result = await server.call_tool(tool, arguments)
        said = {"text": "".join(getattr(block, "text", "") for block in result.content), "error": ""}
    except Exception as error:  # whatever the SDK makes of a timeout is what the test wants to see
        said = {"text": "", "error": f"{type(error).__name__}: {error}"}
    return {**said, "seconds": time.monotonic() - began}


asyncio.run(main(json.loads(sys.argv[1])))
