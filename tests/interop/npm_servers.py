"""Servers that we did not write, from npm, and everything that can be seen of them in one value."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from tests.fakes.serving import started
from tests.node.install import install

HERE = Path(__file__).resolve().parent

EVERYTHING_CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("echo", {"message": "héllo \u202e wörld"}),
    ("get-sum", {"a": 2, "b": 40.5}),
    ("get-structured-content", {"location": "Chicago"}),
    ("get-tiny-image", {}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-resource-links", {"count": 3}),
    ("trigger-long-running-operation", {"duration": 0.3, "steps": 3}),
)


def filesystem(folder: Path) -> tuple[str, ...]:
    """The command of the filesystem server over one folder."""
    return (*install().script("@modelcontextprotocol/server-filesystem", "dist/index.js"), str(folder))


def everything() -> tuple[str, ...]:
    """The command of the server that shows every feature, over stdio."""
    return (*install().script("@modelcontextprotocol/server-everything", "dist/index.js"), "stdio")


@contextmanager
def everything_over_http() -> Iterator[str]:
    """Run it over HTTP and yield its address."""
    node, script = install().script("@modelcontextprotocol/server-everything", "dist/index.js")
    tell_port = (HERE / "tell_port.mjs").as_uri()
    with started([node, "--import", tell_port, script, "streamableHttp"], {"PORT": "0"}) as url:
        yield url


async def seen(client: Client, calls: tuple[tuple[str, Mapping[str, Any]], ...]) -> dict[str, Any]:
    """What a client sees: every list and the result of every call, as plain JSON; an error is a value too."""
    views: dict[str, Any] = {
        "tools": await _plain(client.list_tools()),
        "prompts": await _plain(client.list_prompts()),
        "resources": await _plain(client.list_resources()),
        "templates": await _plain(client.list_resource_templates()),
    }
    for number, (tool, arguments) in enumerate(calls):
        views[f"{number} {tool}"] = await _plain(client.call_tool(tool, dict(arguments)))
    return views


async def _plain(answer: Awaitable[BaseModel]) -> Any:
    try:
        return (await answer).model_dump(mode="json", by_alias=True)
    except MCPError as error:
        return {"error": error.error.model_dump(mode="json")}


def without_ours(views: dict[str, Any]) -> dict[str, Any]:
    """The same without what the broker adds for agents: its tool, its hints, how long a list may be kept, and, for a client
    of the newer era in front of an older server, who that server is.
    """
    views = {name: _unmarked(value) for name, value in views.items()}
    tools = {name: value for name, value in views["tools"].items() if name not in ("ttlMs", "cacheScope")}
    kept = [_unmarked(tool) for tool in tools["tools"] if tool["name"] != "approval_wait"]
    return {**views, "tools": {**tools, "tools": kept}}


def _unmarked(value: dict[str, Any]) -> dict[str, Any]:
    meta = value.get("_meta") or {}
    kept = {key: told for key, told in meta.items() if not key.startswith(("approval-broker/", "io.modelcontextprotocol/"))}
    return {**value, "_meta": kept or None}
