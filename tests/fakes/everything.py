"""What a client of the mcp SDK sees of `stdio_tools`, to be compared between two ways to the same server."""

from __future__ import annotations

from typing import Any

import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPError


async def everything(client: Client) -> dict[str, Any]:
    """What a server offers and answers, without the members that only one era has."""
    first = await client.list_tools()
    second = await client.list_tools(cursor=first.next_cursor)
    echo = await client.call_tool("echo", {"text": "há \u202e 1.0"})
    resource = await client.read_resource("memo://one")
    try:
        refused = (await client.call_tool("missing", {})).model_dump(exclude={"meta", "result_type"})
    except MCPError as error:
        refused = error.error.model_dump()
    return {
        "tools": [tool.model_dump() for tool in (*first.tools, *second.tools)],
        "echo": echo.model_dump(exclude={"meta", "result_type"}),
        "resource": [content.model_dump() for content in resource.contents],
        "refused": refused,
        "name": client.server_info.name if client.server_info else "",
        "instructions": client.instructions,
    }


async def answer_ann(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "ann"})
