"""A stdio server of ours on the mcp SDK, with a tool for each thing that can happen on a pipe.

python -m tests.fakes.stdio_tools [both|older|newer] [FILE]      which eras it speaks; a line in FILE for each effect
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

Context = ServerRequestContext[Any, Any]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
bus = InMemorySubscriptionBus()
added: list[str] = []
told: dict[str, str] = {}
held = anyio.Event()


def _effect(line: str) -> None:
    if len(sys.argv) > 2:
        with Path(sys.argv[2]).open("a") as file:
            file.write(line + "\n")


async def _list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """Two pages, so that whoever lists has to follow the cursor."""
    tools = [types.Tool(name=name, description=told.get(name, f"Does {name}."), input_schema=SCHEMA) for name in TOOLS_DO]
    tools += [types.Tool(name=name, input_schema={"type": "object"}) for name in added]
    if params is None or params.cursor is None:
        return types.ListToolsResult(tools=tools[:5], next_cursor="5")
    return types.ListToolsResult(tools=tools[5:])


async def _list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(uri="memo://one", name="one")])


async def _read(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text="one")])


async def _subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    _effect(f"subscribe {params.uri}")
    return types.EmptyResult()


async def _unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    _effect(f"unsubscribe {params.uri}")
    return types.EmptyResult()


async def _level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def _call(ctx: Context, params: types.CallToolRequestParams) -> Any:
    text = str((params.arguments or {}).get("text", ""))
    if params.name not in TOOLS_DO:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    done = await TOOLS_DO[params.name](ctx, params, text)
    return done if isinstance(done, types.Result) else _told(text if done is None else done)


def _told(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def _echo(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    """The text comes back."""


async def _noted(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    _effect(text)


async def _steps(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    total = int((params.arguments or {})["n"])
    for step in range(1, total + 1):
        await ctx.session.report_progress(step, total, f"step {step}")


async def _die(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    os._exit(7)


async def _pid(ctx: Context, params: types.CallToolRequestParams, text: str) -> str:
    return str(os.getpid())


async def _say(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    await ctx.session.send_log_message("info", text, logger="tools", related_request_id=ctx.request_id)


async def _change(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    """A tool more, and one resource changed."""
    added.append(f"added_{len(added)}")
    await bus.publish(ToolsListChanged())
    await bus.publish(ResourceUpdated(uri="memo://one"))
    if ctx.protocol_version != "2026-07-28":
        await ctx.session.send_tool_list_changed()
        await ctx.session.send_resource_updated("memo://one")


async def _redefine(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    """From now on `echo` is said to do something else."""
    told["echo"] = text


async def _env(ctx: Context, params: types.CallToolRequestParams, text: str) -> str:
    value = os.environ.get(text, "(unset)")
    print(f"the variable {text} is {value}", file=sys.stderr, flush=True)
    return value


async def _hang(ctx: Context, params: types.CallToolRequestParams, text: str) -> None:
    _effect(f"hangs {text}")
    try:
        await held.wait()
    except anyio.get_cancelled_exc_class():
        _effect(f"cancelled {text}")
        raise


async def _ask(ctx: Context, params: types.CallToolRequestParams, text: str) -> str:
    """Ask the client's user in the middle of the call: the older era only."""
    answer = await ctx.session.elicit_form(text, {"type": "object", "properties": {"name": {"type": "string"}}}, ctx.request_id)
    return f"{answer.action}: {(answer.content or {}).get('name')}"


async def _round(ctx: Context, params: types.CallToolRequestParams, text: str) -> Any:
    """Ask by a round: the newer era only."""
    answers = params.input_responses or {}
    if "who" in answers:
        answer = answers["who"]
        return f"{answer.action}: {answer.content['name']}"
    form = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    question = types.ElicitRequest(params=types.ElicitRequestFormParams(message=text, requested_schema=form))
    return types.InputRequiredResult(input_requests={"who": question}, request_state="state")


TOOLS_DO = {
    "echo": _echo, "effect": _noted, "steps": _steps, "hang": _hang, "die": _die, "pid": _pid, "ask": _ask, "say": _say,
    "change": _change, "redefine": _redefine, "env": _env, "round": _round,
}  # fmt: skip


def _only_newer(server: Server[Any]) -> None:
    async def refuse(ctx: Context, call_next: Any) -> Any:
        if ctx.method == "initialize":
            raise MCPError(-32022, "Unsupported protocol version", {"supported": ["2026-07-28"], "requested": "2025-11-25"})
        return await call_next(ctx)

    server.middleware.append(refuse)


def make(eras: str) -> Server[Any]:
    server: Server[Any] = Server(
        "tools", version="1.0", instructions="Have fun.", on_list_tools=_list_tools, on_call_tool=_call,
        on_list_resources=_list_resources, on_read_resource=_read, on_subscribe_resource=_subscribe,
        on_unsubscribe_resource=_unsubscribe, on_set_logging_level=_level, on_subscriptions_listen=ListenHandler(bus),
    )  # fmt: skip
    if eras == "newer":
        _only_newer(server)
    return server


async def main(eras: str) -> None:
    server = make(eras)
    async with stdio_server() as (read, write):
        if eras == "older":
            await serve_loop(server, read, write, lifespan_state=None)
        else:
            await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "both")
