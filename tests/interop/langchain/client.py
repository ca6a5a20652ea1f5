"""LangChain's MCP adapters as a client: one call an attempt, told as JSON on standard output."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import timedelta
from typing import Any

from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient


async def main(order: dict[str, Any]) -> None:
    connection: dict[str, Any] = {
        "transport": "streamable_http",
        "url": order["url"],
        "headers": {"Authorization": f"Bearer {order['token']}"},
    }
    if order["timeout"]:
        connection["session_kwargs"] = {"read_timeout_seconds": timedelta(seconds=order["timeout"])}
    tools = await MultiServerMCPClient({"guarded": connection}).get_tools()
    tool = next(tool for tool in tools if tool.name == order["tool"])
    for attempt in range(order["attempts"]):
        if attempt:
            await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await one(tool, order["arguments"])), flush=True)


async def one(tool: BaseTool, arguments: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        said = {"text": "".join(block.get("text", "") for block in await tool.ainvoke(arguments)), "error": ""}
    except Exception as error:  # whatever the adapters make of a timeout is what the test wants to see
        said = {"text": "", "error": f"{type(error).__name__}: {error}"}
    return {**said, "seconds": time.monotonic() - began}


asyncio.run(main(json.loads(sys.argv[1])))
