"""The Python SDK as a client, in its mode of both eras: one call an attempt, told as JSON on standard output."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client


async def main(order: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {order['token']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300)) as http:
        transport = streamable_http_client(order["url"], http_client=http)
        async with Client(transport, mode=order["mode"], read_timeout_seconds=order["timeout"] or None) as client:
            for attempt in range(order["attempts"]):
                if attempt:
                    await asyncio.to_thread(sys.stdin.readline)
                print(json.dumps(await one(client, order["tool"], order["arguments"])), flush=True)


async def one(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    try:
        result = await client.call_tool(tool, arguments)
        said = {"text": "".join(getattr(block, "text", "") for block in result.content), "error": ""}
    except Exception as error:  # whatever the SDK makes of a timeout is what the test wants to see
        said = {"text": "", "error": f"{type(error).__name__}: {error}"}
    return {**said, "seconds": time.monotonic() - began}


asyncio.run(main(json.loads(sys.argv[1])))
