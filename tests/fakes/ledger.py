"""An outside world for the use cases: tools that can change, and a ledger that every effect is written into."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from broker.approvals.ports import Relay, SeenTool
from broker.domain.requests import ApprovalRequest
from broker.domain.servers import ToolDefinition
from broker.errors import UpstreamUntouched

REFUND = {
    "name": "refund_create",
    "description": "Pay money back.",
    "inputSchema": {"type": "object", "properties": {"amount": {"type": "number"}}},
}


class Tools:
    """A catalogue whose server may change or vanish: set `raw` or `away`."""

    def __init__(self, raw: dict[str, Any] | None = None) -> None:
        self.raw = dict(raw or REFUND)
        self.away = False
        self.known = True

    async def look(self, server: str, tool: str, *, fresh: bool = False) -> SeenTool:
        if self.away and fresh:
            raise UpstreamUntouched("connection refused")
        return SeenTool(self.known, ToolDefinition(server, tool, {**self.raw, "name": tool}))


class Ledger:
    """Runs calls by writing them down. `hold` keeps them running, `breaks` makes them fail after the effect."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.hold: asyncio.Event | None = None
        self.breaks: BaseException | None = None
        self.refuses: BaseException | None = None
        self.answer = b'{"result":{"content":[{"type":"text","text":"refunded"}]}}'
        self.told: tuple[dict[str, Any], ...] = ()
        self.started = asyncio.Event()

    async def execute(self, request: ApprovalRequest, relay: Relay) -> bytes:
        if self.refuses is not None:
            raise self.refuses
        self.rows.append(request.call.arguments)
        self.started.set()
        for message in self.told:
            relay(msgspec.json.encode(message))
        if self.hold is not None:
            await self.hold.wait()
        if self.breaks is not None:
            raise self.breaks
        return self.answer
