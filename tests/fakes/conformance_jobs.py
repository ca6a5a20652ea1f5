"""The jobs that the suite's tasks scenarios ask for. Nothing here knows of tasks: those are the broker's, made around the calls.

python -m tests.fakes.conformance_jobs          prints its address, then serves until it is ended
"""

from __future__ import annotations

from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from tests.fakes.conformance_rounds import Answer, ask, form, given, text
from tests.fakes.serving import serve

Context = ServerRequestContext[Any, Any]

_TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "greet": ("Greets at once", {"name": {"type": "string"}}),
    "slow_compute": ("Takes its time", {"seconds": {"type": "number"}, "label": {"type": "string"}}),
    "failing_job": ("Fails after a second", {}),
    "protocol_error_job": ("Breaks the protocol's way", {}),
    "confirm_delete": ("Asks before it deletes", {"filename": {"type": "string"}}),
    "multi_input": ("Asks for two things at once", {}),
    "test_tool_with_task": ("Asks for a name, then takes its time", {}),
}


async def _list(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    tools = [
        types.Tool(name=name, description=words, input_schema={"type": "object", "properties": properties})
        for name, (words, properties) in _TOOLS.items()
    ]
    return types.ListToolsResult(tools=tools)


async def _call(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    arguments = params.arguments or {}
    match params.name:
        case "greet":
            return text(f"Hello, {arguments.get('name', 'you')}!")
        case "slow_compute":
            await anyio.sleep(arguments.get("seconds", 0))
            return text(f"computed {arguments.get('label', '')}".strip())
        case "failing_job":
            await anyio.sleep(1)
            return text("the job failed", is_error=True)
        case "protocol_error_job":
            raise MCPError(types.INTERNAL_ERROR, "the job broke down")
        case _:
            return await _asking(params)


async def _asking(params: types.CallToolRequestParams) -> Answer:
    wanted: dict[str, types.InputRequest]
    match params.name:
        case "confirm_delete":
            wanted = {"confirm": form("Delete it?", confirm="boolean")}
        case "multi_input":
            wanted = {"first": form("First?", value="string"), "second": form("Second?", value="string")}
        case "test_tool_with_task":
            wanted = {"user_name": form("What is your name?", name="string")}
        case unknown:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {unknown}")
    missing = {name: request for name, request in wanted.items() if given(params, name) is None}
    if missing:
        return ask(**missing)
    await anyio.sleep(0.2)
    return text(f"done with {[given(params, name) for name in wanted]}")


if __name__ == "__main__":
    serve(Server("jobs", version="1", on_list_tools=_list, on_call_tool=_call).streamable_http_app())
