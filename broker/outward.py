"""The side towards guarded servers, wired: the catalogue in force, its tools, and the ways to them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from broker.approvals.ports import SeenTool
from broker.domain.servers import Server, ToolDefinition
from broker.errors import PolicyInvalid, UpstreamUntouched
from broker.reload import PolicyFolder
from broker.settings import Settings
from broker.upstream.http import HttpServers
from broker.upstream.http_release import HttpReleases, Stamp
from broker.upstream.stdio import StdioForwarder
from broker.upstream.targets import Directory
from broker.upstream.ways import Ways


class Servers:
    """The catalogue, as far as the policy folder holds it."""

    def __init__(self, policies: PolicyFolder) -> None:
        self._policies = policies

    def server(self, name: str) -> Server | None:
        try:
            return self._policies.current.servers.get(name)
        except PolicyInvalid:
            return None


class Listed:
    """Tools as the operator lists them, defined as their server says now."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._directory = Directory(servers.server)
        self._seen: dict[tuple[str, str], SeenTool] = {}

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        entry = self._servers.server(server)
        if entry is None:
            return SeenTool(False, None)
        if fresh or (server, tool) not in self._seen:
            self._seen[server, tool] = SeenTool(tool in entry.tools, await self._definition(entry, tool))
        return self._seen[server, tool]

    async def _definition(self, entry: Server, tool: str) -> ToolDefinition | None:
        if not entry.url:
            return None
        target = self._directory.target(entry.name)
        try:
            async with (
                httpx2.AsyncClient(headers=dict(target.headers), timeout=10) as http,
                Client(streamable_http_client(entry.url, http_client=http), mode="auto") as client,
            ):
                tools = (await client.list_tools()).tools
        except Exception as error:
            raise UpstreamUntouched(f"the tools of {entry.name} can't be listed: {type(error).__name__}") from None
        found = [one for one in tools if one.name == tool]
        raw = found[0].model_dump(mode="json", by_alias=True, exclude_none=True) if found else None
        return ToolDefinition(entry.name, tool, raw) if raw else None

    async def schema(self, server: str, tool: str) -> Mapping[str, Any] | None:
        seen = await self.look(server, tool)
        return seen.definition.input_schema if seen.definition else None


async def ways_of(settings: Settings, servers: Servers, tools: Listed, stamp: Stamp, rooms: AsyncExitStack) -> Ways:
    """Return the ways to all servers; `rooms` closes them."""
    target = Directory(servers.server).target
    connect, silence = settings.connect_timeout.total_seconds(), settings.upstream_timeout.total_seconds()
    passing = HttpServers(target, connect_within=connect, silence=silence)
    releasing = HttpServers(target, connect_within=connect, silence=silence, pooled=False)
    rooms.push_async_callback(passing.close)
    rooms.push_async_callback(releasing.close)
    stdio = StdioForwarder(servers.server, silence=settings.upstream_timeout, stamp=stamp)
    await rooms.enter_async_context(stdio.running())
    return Ways(servers.server, passing, HttpReleases(releasing, target, tools.schema, stamp), stdio)
