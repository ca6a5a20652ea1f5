"""A guarded server whose every effect is one line in a file, so that an effect that happened twice can't hide.

    python -m tests.fakes.ledger_server FILE [stdio]

The file outlives this process and the broker. Each line is appended and synced before the tool answers.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from tests.fakes.serving import running, serve

Context = ServerRequestContext[Any, Any]

_TRANSFER = {
    "type": "object",
    "properties": {
        "to": {"type": "string"},
        "amount": {"type": "number"},
        "seconds": {"type": "number", "description": "how long to take after the money has moved"},
    },
    "required": ["to", "amount"],
}


class Ledger:
    """The file, seen from the tests."""

    def __init__(self, path: Path, url: str = "") -> None:
        self.path = path
        self.url = url

    def effects(self) -> list[dict[str, Any]]:
        """Every transfer that happened, in order: its arguments."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def counts(self) -> dict[str, int]:
        """How often money moved to each."""
        return dict(Counter(effect["to"] for effect in self.effects()))

    async def until(self, number: int) -> None:
        """Return once so many effects have happened. Bound it with `anyio.fail_after`."""
        while len(self.effects()) < number:  # noqa: ASYNC110  another process writes it: there is no event
            await anyio.sleep(0.01)


@contextmanager
def ledger(path: Path, env: Mapping[str, str] | None = None) -> Iterator[Ledger]:
    """Run the server in a process of its own over HTTP."""
    with running("tests.fakes.ledger_server", str(path), env=env) as url:
        yield Ledger(path, url)


def _write(path: Path, arguments: Mapping[str, Any]) -> None:
    line = json.dumps(dict(arguments)).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def server(path: Path) -> Server[Any]:
    async def tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        balance = types.Tool(name="balance", description="How much has moved so far", input_schema={"type": "object"})
        transfer = types.Tool(name="transfer", description="Move money", input_schema=_TRANSFER)
        return types.ListToolsResult(tools=[balance, transfer])

    async def call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        if params.name == "balance":
            return _says(f"{sum(effect['amount'] for effect in Ledger(path).effects())}")
        if params.name != "transfer":
            return _says(f"there is no tool {params.name}", is_error=True)
        _write(path, arguments)
        await ctx.session.report_progress(1, 2, "the money has moved")
        await anyio.sleep(arguments.get("seconds", 0))
        return _says(f"moved {arguments['amount']} to {arguments['to']}")

    return Server("ledger", version="1", on_list_tools=tools, on_call_tool=call)


def _says(words: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=words)], is_error=is_error)


async def _over_stdio(path: Path) -> None:
    guarded = server(path)
    async with stdio_server() as (read, write):
        await guarded.run(read, write, guarded.create_initialization_options())


if __name__ == "__main__":
    if "stdio" in sys.argv[2:]:
        anyio.run(_over_stdio, Path(sys.argv[1]))
    else:
        serve(server(Path(sys.argv[1])).streamable_http_app())
