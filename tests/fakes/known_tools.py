"""What a catalogue knows about tools, asked of the server itself with the SDK's client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mcp import Client

from broker.approvals.ports import SeenTool
from broker.domain.servers import ToolDefinition


class ProbedTools:
    """Fits the approvals' `Tools` and the gateway's `Schemas`. `address` leads from a server's name to its URL.

    Whoever asks while somebody is asking shares the answer: the SDK's client is slow to begin.
    """

    def __init__(self, address: Callable[[str], str]) -> None:
        self._address = address
        self._seen: dict[tuple[str, str], ToolDefinition] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}
        self._asked: set[str] = set()

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        if fresh or server not in self._asked:
            asking = self._asking.get(server)
            if asking is None:
                asking = self._asking[server] = asyncio.ensure_future(self._ask(server))
            await asyncio.shield(asking)
        return SeenTool((server, tool) in self._seen, self._seen.get((server, tool)))

    async def _ask(self, server: str) -> None:
        try:
            async with Client(self._address(server)) as client:
                for listed in (await client.list_tools()).tools:
                    raw = listed.model_dump(by_alias=True, mode="json", exclude_none=True)
                    self._seen[server, listed.name] = ToolDefinition(server, listed.name, raw)
            self._asked.add(server)
        finally:
            del self._asking[server]

    async def schema(self, server: str, tool: str) -> Mapping[str, Any] | None:
        seen = await self.look(server, tool)
        return seen.definition.input_schema if seen.definition else None
