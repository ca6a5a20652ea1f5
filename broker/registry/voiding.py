"""What was asked about one tool is not valid for another: requests for a tool that has changed are voided."""

from __future__ import annotations

from datetime import datetime

import structlog

from broker.domain.requests import ApprovalRequest, Change
from broker.domain.servers import ToolDefinition
from broker.errors import Malformed, RequestError
from broker.registry.drift import differences, summary
from broker.registry.pins import Pins
from broker.registry.ports import Listing, Pending

log = structlog.get_logger()


class Voiding:
    """Ends the requests that wait for a tool which no longer is what people were shown."""

    def __init__(self, pending: Pending, pins: Pins) -> None:
        self._pending = pending
        self._pins = pins

    async def listed(self, listing: Listing) -> int:
        """Compare what waits with what the server offers now. Returns how many were voided. Raises `StoreUnavailable`."""
        voided = 0
        for request in await self._pending.waiting(listing.server):
            tool = listing.tool(request.call.tool)
            if _digest(tool) != request.definition:
                voided += await self._void(request, await self._why(request, listing))
        return voided

    async def _why(self, request: ApprovalRequest, listing: Listing) -> str:
        """Say what changed, where the accepted definition tells."""
        tool = listing.tool(request.call.tool)
        if tool is None:
            return "the server no longer offers this tool"
        pin = await self._pins.get(listing.server, request.call.tool)
        if pin is None or pin.digest != request.definition:
            return "the tool's definition changed after people were asked"
        return f"the tool's definition changed after people were asked: {summary(differences(pin.definition, tool.raw))}"

    async def _void(self, request: ApprovalRequest, why: str) -> bool:
        def change(held: ApprovalRequest, now: datetime) -> Change:
            return held.voided(now, why)

        try:
            await self._pending.update(request.id, change)
        except RequestError as error:
            log.info("registry.not_voided", request=request.id, code=error.code)
            return False
        return True


def _digest(tool: ToolDefinition | None) -> str:
    """The digest of what is offered now; empty for a tool that is gone, or can't be named by one."""
    try:
        return tool.digest() if tool else ""
    except Malformed:
        return ""
